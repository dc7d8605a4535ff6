//! One host of the world: its program while it lives, its clock, its disk, and what waits while it is paused.

use std::collections::{BTreeMap, VecDeque};

use crate::actor::{Packet, Place};
use crate::clock::LocalClock;
use crate::disk::Disk;
use crate::fault::PAUSE_BUFFER;
use crate::links::NEVER;
use crate::random::Random;

/// How often a program may ask to be woken without time going on.
const MOST_WAKES_AT_ONCE: u32 = 10_000;

/// A host, dead or alive.
#[derive(Debug)]
pub(crate) struct Host<A> {
    pub(crate) actor: Option<A>,
    /// How often it was started. Packets and links belong to one life.
    pub(crate) life: u32,
    pub(crate) clock: LocalClock,
    /// Belongs to the machine, so it outlives the process.
    pub(crate) drift_ppm: i32,
    pub(crate) disk: Disk,
    pub(crate) mode: Mode,
    pub(crate) backlog: Backlog,
    pub(crate) alarm: Alarm,
}

/// Whether a living host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Running,
    Paused {
        until: u64,
    },
    /// Runs again, and works off its backlog first.
    Draining,
}

impl<A> Host<A> {
    pub(crate) fn new() -> Self {
        Self {
            actor: None,
            life: 0,
            clock: LocalClock::started(0, 0),
            drift_ppm: 0,
            disk: Disk::default(),
            mode: Mode::Running,
            backlog: Backlog::default(),
            alarm: Alarm::default(),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.actor.is_some()
    }

    /// Whether it lives and is not held up.
    pub(crate) fn is_running(&self) -> bool {
        self.is_alive() && self.mode == Mode::Running
    }

    /// The process ends: only what is on disk and synced stays.
    pub(crate) fn die(&mut self) {
        self.actor = None;
        self.disk.crash();
        self.mode = Mode::Running;
        self.backlog = Backlog::default();
        self.alarm = Alarm::default();
    }
}

/// When the program is to be woken, and which event of the queue will do it.
///
/// An event that comes too early, because the program now wants to be woken later, is put in again. So a program that
/// moves its next timer back at every packet does not fill the queue.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// When the program wants to be woken, in world time.
    pub(crate) wanted: u64,
    /// When the event comes; never when there is none.
    pub(crate) set_for: u64,
    /// The number of the event; others are superseded.
    pub(crate) number: u64,
    last_at: u64,
    times_at_once: u32,
}

impl Default for Alarm {
    fn default() -> Self {
        Self {
            wanted: NEVER,
            set_for: NEVER,
            number: 0,
            last_at: NEVER,
            times_at_once: 0,
        }
    }
}

impl Alarm {
    /// Counts a wake-up.
    ///
    /// # Panics
    ///
    /// When the program keeps asking to be woken at once: its timers never get done.
    pub(crate) fn rang(&mut self, now: u64, place: Place) {
        self.times_at_once = if self.last_at == now {
            self.times_at_once + 1
        } else {
            0
        };
        self.last_at = now;
        assert!(
            self.times_at_once < MOST_WAKES_AT_ONCE,
            "{place} asked {MOST_WAKES_AT_ONCE} times to be woken at once: its next_wakeup does not move on"
        );
    }
}

/// What arrived while the host was paused. Holds [`PAUSE_BUFFER`] datagrams and as many letters; what finds no room is
/// refused.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    held: VecDeque<Held>,
    datagrams: usize,
    others: usize,
}

/// Something to hand over later.
#[derive(Debug)]
pub(crate) enum Held {
    /// The timers, due or not.
    Timers,
    Packet {
        from: Place,
        packet: Packet,
    },
}

impl Backlog {
    /// Keeps a packet for later; false when there is no room.
    pub(crate) fn hold(&mut self, from: Place, packet: Packet) -> bool {
        let kept = self.kept_like(&packet);
        if *kept == PAUSE_BUFFER {
            return false;
        }
        *kept += 1;
        self.held.push_back(Held::Packet { from, packet });
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Held> {
        let held = self.held.pop_front()?;
        if let Held::Packet { packet, .. } = &held {
            *self.kept_like(packet) -= 1;
        }
        Some(held)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Puts everything into any order with the timers somewhere in it, except that what one sender's stream carried
    /// stays in its order.
    pub(crate) fn scramble(&mut self, random: &mut Random) {
        self.held.retain(|held| matches!(held, Held::Packet { .. }));
        self.held.push_back(Held::Timers);
        let streams = self.streams();
        let held = std::mem::take(&mut self.held);
        let mut numbered: Vec<(usize, Held)> = held.into_iter().enumerate().collect();
        random.shuffle(&mut numbered);
        for numbers in streams.values() {
            put_back_in_order(&mut numbered, numbers);
        }
        self.held = numbered.into_iter().map(|(_, held)| held).collect();
    }

    /// For each sender, which of the things held came by its stream, in order.
    fn streams(&self) -> BTreeMap<Place, Vec<usize>> {
        let mut streams: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (number, held) in self.held.iter().enumerate() {
            if let Held::Packet {
                from,
                packet: Packet::Letter(_) | Packet::Unreachable,
            } = held
            {
                streams.entry(*from).or_default().push(number);
            }
        }
        streams
    }

    fn kept_like(&mut self, packet: &Packet) -> &mut usize {
        match packet {
            Packet::Datagram(_) => &mut self.datagrams,
            Packet::Letter(_) | Packet::Unreachable => &mut self.others,
        }
    }
}

/// Lets the things with these numbers (rising) keep the positions they have together, in the order of numbers.
fn put_back_in_order(numbered: &mut [(usize, Held)], numbers: &[usize]) {
    if numbers.len() < 2 {
        return;
    }
    let is_meant = |(number, _): &(usize, Held)| numbers.binary_search(number).is_ok();
    let positions: Vec<usize> = (0..numbered.len())
        .filter(|&position| is_meant(&numbered[position]))
        .collect();
    for (at, &position) in positions.iter().enumerate() {
        let smallest = positions[at..]
            .iter()
            .copied()
            .min_by_key(|&later| numbered[later].0);
        numbered.swap(position, smallest.unwrap_or(position));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn letter(byte: u8) -> Packet {
        Packet::Letter(Bytes::copy_from_slice(&[byte]))
    }

    fn datagram(byte: u8) -> Packet {
        Packet::Datagram(Bytes::copy_from_slice(&[byte]))
    }

    #[test]
    fn a_scrambled_backlog_keeps_letters_in_order_and_datagrams_in_none() {
        let mut backlog = Backlog::default();
        for byte in 0..50 {
            assert!(backlog.hold(Place(1), letter(byte)));
            assert!(backlog.hold(Place(2), datagram(byte)));
        }
        backlog.scramble(&mut Random::from_seed(1));
        let (mut letters, mut datagrams, mut timers_at) = (Vec::new(), Vec::new(), None);
        for position in 0.. {
            match backlog.pop() {
                Some(Held::Timers) => timers_at = Some(position),
                Some(Held::Packet {
                    packet: Packet::Letter(bytes),
                    ..
                }) => letters.push(bytes[0]),
                Some(Held::Packet {
                    packet: Packet::Datagram(bytes),
                    ..
                }) => datagrams.push(bytes[0]),
                Some(Held::Packet { .. }) => {}
                None => break,
            }
        }
        assert!(letters.is_sorted() && letters.len() == 50);
        assert!(!datagrams.is_sorted() && datagrams.len() == 50);
        assert!((1..100).contains(&timers_at.expect("timers are always handed over")));
    }

    #[test]
    fn a_full_backlog_refuses_until_something_is_taken() {
        let mut backlog = Backlog::default();
        for _ in 0..PAUSE_BUFFER {
            assert!(backlog.hold(Place(1), datagram(0)));
        }
        assert!(!backlog.hold(Place(1), datagram(0)));
        assert!(
            backlog.hold(Place(1), letter(0)),
            "letters have their own room"
        );
        assert!(backlog.pop().is_some());
        assert!(backlog.hold(Place(1), datagram(0)));
    }
}
