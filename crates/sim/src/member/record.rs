//! What a member reported, for those who read it as it comes.
//!
//! Stories run for thousands of hours, so what was read is forgotten: whoever reads must do so after every step, and one who falls
//! behind is told by a panic rather than by silence, which would look like a promise kept.

use convoke_membership::Event;

/// So many events are kept from before a step at most.
const KEPT: usize = 1_000;

/// The events of one member since it started, the latest of them at hand.
#[derive(Debug, Default)]
pub struct Record {
    events: Vec<Event>,
    forgotten: usize,
}

impl Record {
    /// How many events there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.forgotten + self.events.len()
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those after the first `read`.
    ///
    /// # Panics
    /// When some of them are forgotten.
    #[must_use]
    pub fn since(&self, read: usize) -> &[Event] {
        let kept = read.checked_sub(self.forgotten);
        let kept = kept.expect("a reader of a record reads after every step");
        &self.events[kept.min(self.events.len())..]
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// A step begins: what the steps before it reported was read.
    pub(super) fn next_step(&mut self) {
        if self.events.len() > KEPT {
            self.forgotten += self.events.len();
            self.events.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_membership::EventKind;

    use super::*;

    fn fill(record: &mut Record, events: usize) {
        for _ in 0..events {
            let sequence = record.len() as u64 + 1;
            record.push(Event {
                sequence,
                kind: EventKind::PartitionHealed,
            });
        }
    }

    #[test]
    fn a_reader_of_every_step_misses_nothing() {
        let mut record = Record::default();
        let mut read = 0;
        for step in 0..50 {
            record.next_step();
            fill(&mut record, step * 7);
            let new = record.since(read);
            assert_eq!(new.len(), step * 7);
            assert!(new.iter().all(|event| event.sequence > read as u64));
            read = record.len();
        }
        assert!(record.forgotten > 0);
        assert!(record.events.len() <= KEPT + 49 * 7);
    }

    #[test]
    #[should_panic(expected = "reads after every step")]
    fn a_reader_who_falls_behind_is_told() {
        let mut record = Record::default();
        fill(&mut record, KEPT + 1);
        record.next_step();
        let _ = record.since(KEPT);
    }
}
