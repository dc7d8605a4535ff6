//! Whether a move was for the better, by what the knob is for and not by what its law hoped.
//!
//! The objective is the same for all knobs, in the order in which it counts: no load above its band; then as little as possible of what waits or
//! is missed; then nothing given away while nothing presses, and nothing added while something does. A move is compared with what was to be expected without it: where the signals
//! stood, and further up if they were rising. So a load that grows by itself is not blamed on a step against it.
//!
//! Deliberately not here: when it is judged and what follows (`controller`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::law::Look;
use super::signals::Signal;
use super::table::{Direction, Spec};
use super::trends::MILLI;

/// What has to be known of the time before a move to judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Where the knob stood.
    pub value: u64,
    /// There was too much of some load.
    is_pressed: bool,
    /// Where each signal stood, and where it was to be expected by the time of the judgement, in thousandths.
    levels: BTreeMap<Signal, (u64, u64)>,
}

/// How it was after a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something is better, and nothing is worse.
    Better,
    /// No difference that could not be chance.
    Same,
    /// Something is worse, and more than chance and what was under way explain.
    Worse(Worse),
    /// It cannot be told, since this is unknown.
    Unknown(Signal),
}

/// What is worse after a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worse {
    /// There is more of this than was to be expected, in thousandths of its unit.
    More {
        /// Of which.
        signal: Signal,
        /// So much was to be expected, or was fine.
        expected: u64,
        /// How much there is.
        level: u64,
    },
    /// Nothing pressed, and it gave something away.
    Needless,
    /// There was too much load, and it pressed harder for nothing.
    Reckless,
}

impl Before {
    /// What is known before a move.
    #[must_use]
    pub fn of(spec: &Spec, look: &Look) -> Self {
        let levels = look.levels.iter().map(|(signal, level)| {
            let both = (level.worst(), level.expected(spec.settle));
            (*signal, both)
        });
        Self {
            value: look.value,
            is_pressed: look.pressed(spec).is_some(),
            levels: levels.collect(),
        }
    }
}

/// Compares what is now with what was to be expected.
#[must_use]
pub fn judge(spec: &Spec, before: &Before, after: &Look) -> Outcome {
    let mut is_better = false;
    let fine = spec.loads.iter().map(|band| (band.signal, band.high));
    // What waits counts when nothing pressed. Under pressure it has to wait.
    let want = spec.want.filter(|_| !before.is_pressed);
    let fine = fine.chain(want.map(|want| (want.signal, want.least)));
    for (signal, fine) in fine {
        // What was unknown before a move says nothing about it.
        let Some((stood, expected)) = before.levels.get(&signal).copied() else {
            continue;
        };
        let Some(level) = after.level(signal) else {
            return Outcome::Unknown(signal);
        };
        let fine = fine * MILLI;
        let margin = |of: u64| of / 1_000 * spec.margin_permille;
        let bearable = expected.max(fine);
        if level.is_above(bearable.saturating_add(margin(bearable))) {
            return Outcome::Worse(Worse::More {
                signal,
                expected: bearable,
                level: level.average,
            });
        }
        // What was merely expected to be more has not got less.
        is_better |= stood > fine && level.is_below(stood.saturating_sub(margin(stood)));
    }
    let is_easing = Direction::between(before.value, after.value) == spec.ease;
    match (before.is_pressed, is_easing) {
        (false, true) => return Outcome::Worse(Worse::Needless),
        // A signal at its end cannot show that something is worse.
        (true, false) if !is_better => return Outcome::Worse(Worse::Reckless),
        (false, false) => is_better |= spec.is_eased(before.value),
        (true, _) => {}
    }
    if is_better {
        Outcome::Better
    } else {
        Outcome::Same
    }
}
