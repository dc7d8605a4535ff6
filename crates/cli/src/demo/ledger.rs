//! What was written and acknowledged, and whether what is read later can be all of it.
//!
//! One writer writes numbers that grow, to one key after the other and then again. Of a write that was not acknowledged it is not known whether
//! it was made, so a key may hold the number that was acknowledged last or any that was tried after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Keys that are written.
pub(super) const KEYS: u64 = 256;
/// With what they begin.
pub(super) const PREFIX: &str = "demo/written/";

/// What one writer knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    tried: u64,
    acknowledged: u64,
    keys: BTreeMap<u64, Key>,
    /// The latest one that was acknowledged: when it was begun, and when it was done.
    last: Option<(Instant, Instant)>,
    longest: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Key {
    acknowledged: Option<u64>,
    tried: u64,
}

impl Ledger {
    /// The next write: its key and its value.
    pub(super) fn tries(&mut self) -> (String, u64) {
        self.tried += 1;
        let place = self.tried % KEYS;
        self.keys.entry(place).or_default().tried = self.tried;
        (key(place), self.tried)
    }

    /// The one that was tried last was acknowledged.
    pub(super) fn acknowledges(&mut self, begun: Instant, done: Instant) {
        self.acknowledged += 1;
        if let Some((_, before)) = self.last {
            self.longest = self.longest.max(done.saturating_duration_since(before));
        }
        self.last = Some((begun, done));
        let key = self.keys.entry(self.tried % KEYS).or_default();
        key.acknowledged = Some(self.tried);
    }

    /// How many were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The longest time without any.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// When a write was done that was begun after this moment, if one was.
    pub(super) fn done_after(&self, moment: Instant) -> Option<Instant> {
        self.last
            .filter(|(begun, _)| *begun >= moment)
            .map(|(_, done)| done)
    }

    /// What is wrong with what was read, a sentence for each key.
    pub(super) fn losses(&self, read: &BTreeMap<String, u64>) -> Vec<String> {
        let loss = |(place, known): (&u64, &Key)| {
            let acknowledged = known.acknowledged?;
            let name = key(*place);
            match read.get(&name) {
                Some(value) if (acknowledged..=known.tried).contains(value) => None,
                Some(value) => Some(format!(
                    "{name} holds {value}, and {acknowledged} was acknowledged"
                )),
                None => Some(format!(
                    "{name} is gone, and {acknowledged} was acknowledged"
                )),
            }
        };
        self.keys.iter().filter_map(loss).collect()
    }
}

fn key(place: u64) -> String {
    format!("{PREFIX}{place:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(acknowledged: &[bool]) -> Ledger {
        let mut ledger = Ledger::default();
        for is_acknowledged in acknowledged {
            ledger.tries();
            if *is_acknowledged {
                ledger.acknowledges(Instant::now(), Instant::now());
            }
        }
        ledger
    }

    fn read(pairs: &[(u64, u64)]) -> BTreeMap<String, u64> {
        pairs
            .iter()
            .map(|(place, value)| (key(*place), *value))
            .collect()
    }

    #[test]
    fn what_was_acknowledged_has_to_be_there() {
        let ledger = written(&[true, false, true]);
        assert_eq!(
            ledger.losses(&read(&[(1, 1), (3, 3)])),
            Vec::<String>::new()
        );
        assert_eq!(
            ledger.losses(&read(&[(1, 1), (2, 2), (3, 3)])),
            Vec::<String>::new()
        );
        assert_eq!(ledger.losses(&read(&[(1, 1)])).len(), 1);
        assert_eq!(ledger.losses(&read(&[(1, 0), (3, 3)])).len(), 1);
        assert_eq!(ledger.losses(&read(&[(1, 9), (3, 3)])).len(), 1);
    }

    #[test]
    fn a_key_that_is_written_again_holds_the_last_or_what_was_tried_since() {
        let mut all = vec![true; usize::try_from(KEYS).unwrap()];
        all.push(false);
        let ledger = written(&all);
        let mut values: Vec<(u64, u64)> = (1..=KEYS).map(|it| (it % KEYS, it)).collect();
        assert!(ledger.losses(&read(&values)).is_empty());
        values[0] = (1, KEYS + 1);
        assert!(ledger.losses(&read(&values)).is_empty());
        values[0] = (1, KEYS + 2);
        assert_eq!(ledger.losses(&read(&values)).len(), 1);
    }

    #[test]
    fn only_what_was_begun_after_a_moment_shows_that_writing_goes_on() {
        let (before, moment) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut ledger = written(&[]);
        ledger.tries();
        ledger.acknowledges(before, moment + Duration::from_secs(1));
        assert_eq!(ledger.done_after(moment), None);
        ledger.tries();
        ledger.acknowledges(moment, moment + Duration::from_secs(3));
        assert_eq!(
            ledger.done_after(moment),
            Some(moment + Duration::from_secs(3))
        );
        assert_eq!(ledger.longest(), Duration::from_secs(2));
    }
}
