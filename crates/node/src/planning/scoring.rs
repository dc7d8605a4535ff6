//! When this node tells the cluster anew how much it can do: what its record says as its score, by which equals are put in order.
//!
//! A score is told when a node is listed. After that it is told again only when it changed considerably, and seldom: each time is a decision of the log,
//! and all who look at records hear of it.
//!
//! | bound | |
//! | --- | --- |
//! | a change worth telling | a sixteenth of the larger one |
//! | between two times in the same role | [`AGAIN`]; after another role, in which the machine is worth something else, [`ANEW`] |
//! | the first time after a start | as soon as it is known how fast the disk is, or after [`SETTLED`] |
//!
//! Deliberately not here: what a machine is worth (`convoke_planner`), and telling it, which the service of the log does.

use std::time::Duration;

use convoke_planner::roles::fitness::score;
use convoke_planner::roles::{Machine, Rules};
use convoke_types::Role;

const AGAIN: Duration = Duration::from_secs(3_600);
const ANEW: Duration = Duration::from_secs(60);
const SETTLED: Duration = Duration::from_secs(60);
/// A change of less than such a part is none.
const PART: u64 = 16;

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Scoring {
    told: Option<(Duration, Role)>,
    score: u32,
}

impl Scoring {
    /// Goes on from what the record says.
    pub(crate) fn from(score: u32) -> Self {
        Self { told: None, score }
    }

    /// What the record says, as far as is known here.
    pub(crate) fn score(&self) -> u32 {
        self.score
    }

    /// Whether to tell what a machine is worth in its role, now, that long after the start; it counts as told then.
    pub(crate) fn tells(
        &mut self,
        now: Duration,
        role: Role,
        machine: &Machine,
        rules: &Rules,
    ) -> bool {
        let is_settled = machine.fsync_p99_us.value().is_some() || now >= SETTLED;
        is_settled && self.tells_score(now, role, worth(role, machine, rules))
    }

    fn tells_score(&mut self, now: Duration, role: Role, score: u32) -> bool {
        let is_due = self.told.is_none_or(|(at, told)| {
            let pause = if told == role { AGAIN } else { ANEW };
            now.saturating_sub(at) >= pause
        });
        if !is_due || !is_considerable(self.score, score) {
            return false;
        }
        self.told = Some((now, role));
        self.score = score;
        true
    }
}

/// Roles that ask nothing of a machine would all be worth nothing; what it could do as a worker tells them apart.
fn worth(role: Role, machine: &Machine, rules: &Rules) -> u32 {
    let role = match role {
        Role::Leecher | Role::Observer => Role::Worker,
        Role::Master | Role::Worker | Role::Gateway => role,
    };
    score(role, machine, rules)
}

fn is_considerable(one: u32, other: u32) -> bool {
    let larger = u64::from(one.max(other));
    let step = u64::from(one.abs_diff(other));
    step > 0 && step * PART >= larger
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_told_when_it_is_considerable_and_seldom() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let mut scoring = Scoring::from(8);
        assert!(scoring.tells_score(hours(0), Role::Worker, 4_000));
        assert!(!scoring.tells_score(hours(2), Role::Worker, 4_100));
        assert!(scoring.tells_score(hours(2), Role::Worker, 5_000));
        assert!(!scoring.tells_score(hours(2) + ANEW, Role::Worker, 9_000));
        assert!(scoring.tells_score(hours(2) + ANEW, Role::Master, 9_000));
        assert_eq!(scoring.score(), 9_000);
    }

    #[test]
    fn a_machine_of_which_little_is_known_waits_a_while() {
        let mut scoring = Scoring::from(8);
        let machine = Machine::unknown("it just began");
        let rules = Rules::default();
        let mut tells = |seconds| {
            let now = Duration::from_secs(seconds);
            scoring.tells(now, Role::Worker, &machine, &rules)
        };
        assert!(!tells(59));
        assert!(tells(60));
    }

    proptest! {
        #[test]
        fn a_score_that_wobbles_is_told_no_more_often_than_the_bound(
            looks in prop::collection::vec((0_u64..2_000, 0_u32..20_000, any::<bool>()), 1..300),
        ) {
            let (mut now, mut scoring) = (Duration::ZERO, Scoring::from(8));
            let mut told: Vec<(Duration, Role)> = Vec::new();
            for (seconds, score, is_master) in looks {
                now += Duration::from_secs(seconds);
                let role = if is_master { Role::Master } else { Role::Worker };
                if scoring.tells_score(now, role, score) {
                    told.push((now, role));
                }
            }
            for pair in told.windows(2) {
                let ((before, was), (after, is)) = (pair[0], pair[1]);
                let pause = if was == is { AGAIN } else { ANEW };
                prop_assert!(after - before >= pause, "{before:?} {after:?}");
            }
        }

        #[test]
        fn what_moves_within_a_sixteenth_is_never_told(
            looks in prop::collection::vec((0_u64..90_000, 9_500_u32..10_000), 1..200),
        ) {
            let (mut now, mut scoring) = (Duration::ZERO, Scoring::from(9_750));
            for (seconds, score) in looks {
                now += Duration::from_secs(seconds);
                prop_assert!(!scoring.tells_score(now, Role::Worker, score));
            }
        }
    }
}
