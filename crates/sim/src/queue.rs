//! What will happen, in order: first by time, then by who was put in first.
//!
//! The order is total, so two runs of one seed never differ in who comes first. Events lie in a store of
//! slots that are used again, and the heap moves only their short keys: after the first moments of a run
//! nothing is allocated.
//!
//! There is no taking back. Whoever puts in an event that may be superseded keeps its number and compares.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// More than this is under way at once only when a machine answers each message with more than one.
const MOST_EVENTS: usize = 1 << 25;

/// Events ordered by time, then by number.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Key>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    numbers: u64,
}

/// The order is that of the fields: time, then number. The slot never decides, numbers are unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: u64,
    number: u64,
    slot: u32,
}

/// An event whose turn has come.
#[derive(Debug)]
pub(crate) struct Due<E> {
    pub(crate) at: u64,
    pub(crate) number: u64,
    pub(crate) event: E,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            numbers: 0,
        }
    }

    /// Puts in an event and returns its number.
    ///
    /// # Panics
    ///
    /// When 2²⁵ events are under way: some machine makes more of them than it takes.
    pub(crate) fn push(&mut self, at: u64, event: E) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        let slot = self.store(event);
        self.heap.push(Reverse(Key { at, number, slot }));
        number
    }

    fn store(&mut self, event: E) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.events[slot as usize] = Some(event);
            return slot;
        }
        let slot = self.events.len();
        assert!(
            slot < MOST_EVENTS,
            "{MOST_EVENTS} events are under way: a machine sends more than it is sent"
        );
        self.events.push(Some(event));
        slot as u32
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(key)| key.at)
    }

    pub(crate) fn pop(&mut self) -> Option<Due<E>> {
        let Reverse(Key { at, number, slot }) = self.heap.pop()?;
        let event = self.events[slot as usize]
            .take()
            .expect("a key in the heap has its event");
        self.free.push(slot);
        Some(Due { at, number, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_who_was_first() {
        let mut queue = Queue::new();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            queue.push(at, name);
        }
        assert_eq!(queue.next_at(), Some(1));
        let order: String = std::iter::from_fn(|| queue.pop().map(|due| due.event)).collect();
        assert_eq!(order, "abcd");
    }

    #[test]
    fn slots_are_used_again() {
        let mut queue = Queue::new();
        for at in 0..1_000 {
            queue.push(at, at);
            queue.push(at, at);
            queue.pop();
            queue.pop();
        }
        assert_eq!(queue.events.len(), 2);
    }
}
