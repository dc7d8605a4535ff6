//! The knobs of this node, with what they were told last and what they did lately.
//!
//! | bound | |
//! | --- | --- |
//! | moves that are kept | [`KEPT`], the newest |
//!
//! Deliberately not here: measuring, and having values obeyed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use convoke_planner::knobs::{Explanation, Knob, Knobs, Move, Policy, Signals, TABLE};
use convoke_types::Timestamp;
use parking_lot::Mutex;

use super::Mode;
use crate::custody::now;

/// A move comes once in twenty seconds and knob at most.
const KEPT: usize = 64;

/// Decides about the knobs, and is asked why.
#[derive(Debug)]
pub(crate) struct Tuner {
    /// Times are told by the clock of the machine as it stood then, and go on evenly: its jumps change nothing.
    epoch: (Timestamp, Instant),
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    knobs: Knobs,
    signals: Signals,
    policy: Policy,
    moves: VecDeque<Move>,
}

/// All that can be told about the knobs.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) policy: Policy,
    /// One for each knob.
    pub(crate) knobs: Vec<Explanation>,
    /// What was moved lately, the newest last.
    pub(crate) moves: Vec<Move>,
}

impl Tuner {
    /// Knobs at their defaults; news gathers as the settings of gossip say.
    pub(crate) fn new(gather: Duration) -> Self {
        let mut table = TABLE;
        let pace = &mut table[Knob::GossipPace.index()];
        let gather = u64::try_from(gather.as_millis()).unwrap_or(u64::MAX);
        pace.default = gather.clamp(pace.least, pace.most);
        Self {
            epoch: (now(), Instant::now()),
            inside: Mutex::new(Inside {
                knobs: Knobs::with_table(table),
                signals: Signals::unknown(),
                policy: Policy::default(),
                moves: VecDeque::new(),
            }),
        }
    }

    /// Takes in what was measured and decided, and gives back what was turned.
    pub(super) fn step(&self, signals: Signals, mut policy: Policy, mode: Mode) -> Vec<Move> {
        match mode {
            Mode::On => {}
            Mode::DryRun => policy.dry_run = true,
            Mode::Frozen => policy.frozen = true,
        }
        let now = self.now();
        let mut inside = self.inside.lock();
        let moves = inside.knobs.step(now, &signals, &policy);
        inside.signals = signals;
        inside.policy = policy;
        inside.moves.extend(moves.iter().cloned());
        let over = inside.moves.len().saturating_sub(KEPT);
        inside.moves.drain(..over);
        moves
    }

    /// Where a knob stands.
    pub(super) fn value(&self, knob: Knob) -> u64 {
        self.inside.lock().knobs.value(knob)
    }

    /// How it stands, and why.
    pub(crate) fn tell(&self) -> Told {
        let now = self.now();
        let inside = self.inside.lock();
        Told {
            policy: inside.policy.clone(),
            knobs: inside.knobs.explain(now, &inside.signals, &inside.policy),
            moves: inside.moves.iter().cloned().collect(),
        }
    }

    fn now(&self) -> Timestamp {
        self.epoch.0 + self.epoch.1.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use convoke_planner::knobs::Signal;

    use super::*;

    #[test]
    fn gossip_begins_at_the_pace_of_its_settings_within_the_bounds() {
        let pace = |ms| Tuner::new(Duration::from_millis(ms)).value(Knob::GossipPace);
        assert_eq!([pace(20), pace(0), pace(10_000)], [20, 2, 250]);
    }

    #[test]
    fn what_was_moved_lately_is_kept_and_no_more() {
        let tuner = Tuner::new(Duration::from_millis(8));
        for turn in 0..2 * KEPT as u64 {
            let policy = Policy {
                fixed: [(Knob::GossipPace, 10 + turn % 2)].into(),
                ..Policy::default()
            };
            let moved = tuner.step(Signals::unknown(), policy, Mode::On);
            assert_eq!(moved.len(), 1);
        }
        let told = tuner.tell();
        assert_eq!(told.moves.len(), KEPT);
        assert_eq!(told.knobs.len(), Knob::COUNT);
        assert_eq!(told.moves.last().map(|it| it.to), Some(11));
    }

    #[test]
    fn a_node_can_be_more_careful_than_the_cluster() {
        let tuner = Tuner::new(Duration::from_millis(8));
        let signals = Signals::unknown().with(Signal::GossipBytes, 90_000);
        let of = |mode| {
            tuner.step(signals.clone(), Policy::default(), mode);
            tuner.tell().policy
        };
        assert!(of(Mode::Frozen).frozen);
        assert!(of(Mode::DryRun).dry_run);
        assert_eq!(of(Mode::On), Policy::default());
    }
}
