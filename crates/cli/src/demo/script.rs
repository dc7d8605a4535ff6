//! What happens when: the server dies, returns, and the demo ends. Time comes in, acts come out.
//!
//! ```text
//! Steady ──► Down ──► Returning ──► Recovered ──► Over
//!      kill     start       every client       time is up
//!                           was answered
//! ```

use std::time::Duration;

/// How long clients may take to find the server again before the demo calls it a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What is shown of the time after the recovery, at least.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Where the demo stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The server of the first life answers.
    Steady,
    /// It was killed.
    Down,
    /// It was started again; not every client has heard from it.
    Returning,
    /// Every client is answered again.
    Recovered,
    /// Nothing more happens.
    Over,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// End the server as a crash would.
    KillServer,
    /// Start it again.
    StartServer,
    /// End everything in order.
    Finish,
    /// End everything: the clients did not find the server again.
    GiveUp,
}

/// The plan of one demo.
#[derive(Debug)]
pub(crate) struct Script {
    phase: Phase,
    since: Duration,
    length: Duration,
}

impl Script {
    /// A demo of about this length.
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            phase: Phase::Steady,
            since: Duration::ZERO,
            length,
        }
    }

    /// Where it stands.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// What is due `elapsed` after the start, when all clients have or have not been answered by the second life.
    pub(crate) fn next(&mut self, elapsed: Duration, all_are_answered: bool) -> Option<Act> {
        let waited = elapsed.saturating_sub(self.since);
        match self.phase {
            Phase::Steady if elapsed >= self.length * 2 / 5 => {
                self.enter(Phase::Down, elapsed, Some(Act::KillServer))
            }
            Phase::Down if waited >= self.downtime() => {
                self.enter(Phase::Returning, elapsed, Some(Act::StartServer))
            }
            Phase::Returning if all_are_answered => self.enter(Phase::Recovered, elapsed, None),
            Phase::Returning if waited >= PATIENCE => {
                self.enter(Phase::Over, elapsed, Some(Act::GiveUp))
            }
            Phase::Recovered if elapsed >= self.length && waited >= AFTERMATH => {
                self.enter(Phase::Over, elapsed, Some(Act::Finish))
            }
            Phase::Steady | Phase::Down | Phase::Returning | Phase::Recovered | Phase::Over => None,
        }
    }

    fn enter(&mut self, phase: Phase, now: Duration, act: Option<Act>) -> Option<Act> {
        self.phase = phase;
        self.since = now;
        act
    }

    /// How long the server stays away: long enough to be seen.
    fn downtime(&self) -> Duration {
        (self.length / 20).clamp(Duration::from_millis(200), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_server_dies_in_the_middle_returns_and_all_ends_in_time() {
        let mut script = Script::new(at(10_000));
        assert_eq!(script.next(at(3_999), false), None);
        assert_eq!(script.next(at(4_000), false), Some(Act::KillServer));
        assert_eq!(script.next(at(4_400), false), None);
        assert_eq!(script.next(at(4_500), false), Some(Act::StartServer));
        assert_eq!(script.next(at(4_600), false), None);
        assert_eq!(script.phase(), Phase::Returning);
        assert_eq!(script.next(at(4_700), true), None);
        assert_eq!(script.phase(), Phase::Recovered);
        assert_eq!(script.next(at(9_999), true), None);
        assert_eq!(script.next(at(10_000), true), Some(Act::Finish));
        assert_eq!(script.next(at(20_000), true), None);
    }

    #[test]
    fn a_late_recovery_is_still_shown() {
        let mut script = returning(at(3_000));
        assert_eq!(script.next(at(6_000), true), None);
        assert_eq!(script.next(at(6_900), true), None);
        assert_eq!(script.next(at(7_000), true), Some(Act::Finish));
    }

    #[test]
    fn clients_that_never_return_end_the_demo() {
        let mut script = returning(at(3_000));
        assert_eq!(script.next(at(21_000), false), None);
        assert_eq!(script.next(at(22_000), false), Some(Act::GiveUp));
        assert_eq!(script.next(at(50_000), false), None);
    }

    /// The server was started again before second 2.
    fn returning(length: Duration) -> Script {
        let mut script = Script::new(length);
        assert_eq!(script.next(at(1_500), false), Some(Act::KillServer));
        assert_eq!(script.next(at(1_900), false), Some(Act::StartServer));
        script
    }
}
