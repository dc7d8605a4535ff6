//! The whole reasoning about each knob: where it stands, what it looks at, its law, what was done last, and what is done now or why not.
//!
//! It is made by what decides, and not beside it, so what it says is what happens.
//!
//! Deliberately not here: words for people (`words`).

use std::time::Duration;

use convoke_types::Timestamp;
use serde::Serialize;

use super::controller::Knobs;
use super::law::Wish;
use super::moves::{Hold, Move, Why};
use super::policy::{Policy, Range};
use super::signals::{Signal, Signals, Unit};
use super::table::{Direction, Knob};
use super::trends::Level;

/// Why a knob stands where it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Which one.
    pub knob: Knob,
    /// When this was so.
    pub at: Timestamp,
    /// Where it stands.
    pub value: u64,
    /// In what that is counted.
    pub unit: Unit,
    /// Where it stands when nothing presses.
    pub default: u64,
    /// The bounds that hold now.
    pub range: Range,
    /// What it looks at.
    pub signals: Vec<Seen>,
    /// Its law, as people read it.
    pub law: &'static str,
    /// What was done last.
    pub last: Option<Move>,
    /// Where it is not turned for a while, since that made things worse.
    pub rests: Vec<(Direction, Duration)>,
    /// What is done now, or why nothing is.
    pub next: Next,
    /// What is done is only said.
    pub is_dry: bool,
}

/// A signal as a knob sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Which one.
    pub signal: Signal,
    /// What it is now, if that is known.
    pub now: Option<u64>,
    /// Where it stands and goes since the last move, if it was known often enough.
    pub level: Option<Level>,
    /// What counts about it.
    pub counts: Counts,
}

/// What counts about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// A load: room below, too much above.
    Load {
        /// Below there is room.
        low: u64,
        /// Above it is too much.
        high: u64,
    },
    /// From here on more would be of use.
    Want {
        /// From here on.
        least: u64,
    },
}

/// What is done with a knob now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Next {
    /// It is turned.
    Move {
        /// To this.
        to: u64,
        /// Why.
        why: Why,
    },
    /// It stays, and why.
    Hold(Hold),
}

impl Knobs {
    /// The reasoning about all knobs, as it is at this time. The knobs themselves stay as they are.
    #[must_use]
    pub fn explain(&self, now: Timestamp, signals: &Signals, policy: &Policy) -> Vec<Explanation> {
        let mut knobs = self.clone();
        knobs.look(now, signals);
        knobs.settle_homes(policy);
        knobs.close(signals);
        let mut told = Vec::new();
        // In the order in which they have their turns, since a move of one makes another one wait.
        for knob in knobs.turns() {
            told.push(knobs.explain_one(knob, now, signals, policy));
            knobs.take_turn(knob, signals, policy);
        }
        told.sort_by_key(|it| it.knob);
        told
    }

    fn explain_one(
        &self,
        knob: Knob,
        at: Timestamp,
        signals: &Signals,
        policy: &Policy,
    ) -> Explanation {
        let spec = &self.table[knob.index()];
        let look = self.seen(knob, signals);
        let seen = |signal, counts| Seen {
            signal,
            now: signals.get(signal),
            level: look.level(signal),
            counts,
        };
        let loads = spec.loads.iter().map(|band| {
            let (low, high) = (band.low, band.high);
            seen(band.signal, Counts::Load { low, high })
        });
        let want = spec.want.map(|want| {
            let least = want.least;
            seen(want.signal, Counts::Want { least })
        });
        Explanation {
            knob,
            at,
            value: self.value(knob),
            unit: spec.unit,
            default: spec.default,
            range: policy.range(spec),
            signals: loads.chain(want).collect(),
            law: spec.says,
            last: self.state(knob).last.clone(),
            rests: self.rests(knob),
            next: match self.decide(knob, signals, policy) {
                Ok(Wish { to, why }) => Next::Move { to, why },
                Err(hold) => Next::Hold(hold),
            },
            is_dry: policy.dry_run,
        }
    }
}
