//! The time of the log, told as people's clocks have it.
//!
//! The log has a time of its own: it begins with the log, goes on while somebody leads, and stands still while nobody does, so that no clock
//! that jumps ends anything. Tokens, leases and the audit log are told in it. Here is how far behind this process's time it is, learnt
//! whenever something was decided just now.
//!
//! What was decided before a time without a leader is told too late by as long as that took: the log does not know how long it was.
//!
//! Deliberately not here: making anything count or end, which is the log's.

use std::time::Instant;

use convoke_types::Timestamp;
use parking_lot::Mutex;

use crate::custody::now;

/// What is known of the time of the log.
#[derive(Debug)]
pub(crate) struct LogClock {
    begun: Instant,
    /// How many milliseconds it is behind those of this process.
    behind_ms: Mutex<Option<i64>>,
}

impl LogClock {
    pub(crate) fn new(begun: Instant) -> Self {
        Self {
            begun,
            behind_ms: Mutex::new(None),
        }
    }

    fn passed_ms(&self) -> i64 {
        signed(crate::inspect::in_ms(self.begun.elapsed()))
    }

    /// Something was decided at this time, just now.
    pub(super) fn decided(&self, time: Timestamp) {
        let passed = self.passed_ms();
        *self.behind_ms.lock() = Some(passed - signed(time.unix_ms()));
    }

    /// The log has come to this time, now or a while ago. In a log without an entry there is no time yet.
    pub(crate) fn seen(&self, time: Timestamp) {
        if time != Timestamp::UNIX_EPOCH {
            self.seen_at(time, self.passed_ms());
        }
    }

    fn seen_at(&self, time: Timestamp, passed_ms: i64) {
        let most = passed_ms - signed(time.unix_ms());
        let mut behind = self.behind_ms.lock();
        *behind = Some(behind.map_or(most, |behind| behind.min(most)));
    }

    /// The time of the log now, if it is known.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let behind = (*self.behind_ms.lock())?;
        let now = self.passed_ms().saturating_sub(behind).max(0);
        Some(Timestamp::from_unix_ms(now.unsigned_abs()))
    }

    /// A time of the log in milliseconds of Unix time; as it is where nothing is known.
    pub(super) fn unix_ms(&self, time: Timestamp) -> u64 {
        let wall = now();
        match self.now() {
            Some(log) => told(time, log, wall),
            None => time.unix_ms(),
        }
    }
}

/// A time of the log, where the log's now and that of people's clocks are known.
fn told(time: Timestamp, log: Timestamp, wall: Timestamp) -> u64 {
    let from_now = signed(time.unix_ms()).saturating_sub(signed(log.unix_ms()));
    let told = signed(wall.unix_ms()).saturating_add(from_now).max(0);
    told.unsigned_abs()
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    #[test]
    fn times_of_the_log_are_told_around_now() {
        let (log, wall) = (at(5_000), at(1_000_000));
        assert_eq!(told(at(5_000), log, wall), 1_000_000);
        assert_eq!(told(at(4_000), log, wall), 999_000, "a second ago");
        assert_eq!(told(at(65_000), log, wall), 1_060_000, "in a minute");
        assert_eq!(told(at(0), log, at(3)), 0, "not before there was time");
    }

    #[test]
    fn a_log_without_an_entry_says_nothing_of_time() {
        let clock = LogClock::new(Instant::now());
        clock.seen(at(0));
        assert_eq!(clock.now(), None);
        assert_eq!(clock.unix_ms(at(7_000)), 7_000);
    }

    #[test]
    fn a_look_that_comes_late_does_not_set_it_back() {
        let clock = LogClock::new(Instant::now());
        clock.seen_at(at(100), 1_100);
        clock.seen_at(at(100), 9_000);
        assert_eq!(*clock.behind_ms.lock(), Some(1_000));
        clock.seen_at(at(9_500), 10_000);
        assert_eq!(*clock.behind_ms.lock(), Some(500));
    }
}
