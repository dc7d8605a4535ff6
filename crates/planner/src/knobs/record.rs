//! What the knobs were told and what they said, a line of JSON for each step, and the same again.
//!
//! Knobs are a function of what they were told since they began, so a recording from the beginning on replays to the same moves, anywhere. All
//! amounts are whole numbers: text changes none of them.
//!
//! Deliberately not here: files. Who records decides how much to keep; a step is a line of less than a kilobyte.

use convoke_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::controller::Knobs;
use super::moves::Move;
use super::policy::Policy;
use super::signals::Signals;

/// The longest line that is read.
pub const LINE_BYTES: usize = 1 << 20;

/// One step: what the knobs were told, and what they said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When.
    pub now: Timestamp,
    /// What was known.
    pub signals: Signals,
    /// What people had decided.
    pub policy: Policy,
    /// What was moved.
    pub moves: Vec<Move>,
}

/// Why a recording does not replay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A line is too long to be read.
    #[error("line {line} has {found} bytes, more than {LINE_BYTES}")]
    TooLong {
        /// Which, counted from 1.
        line: usize,
        /// How many.
        found: usize,
    },
    /// A line is no step.
    #[error("read line {line}: {why}")]
    Unreadable {
        /// Which, counted from 1.
        line: usize,
        /// Why.
        why: serde_json::Error,
    },
    /// The knobs say something else than they did.
    #[error("line {line}: it said {said:?}, and says {says:?} now")]
    Differs {
        /// Which, counted from 1.
        line: usize,
        /// What it said.
        said: Vec<Move>,
        /// What it says.
        says: Vec<Move>,
    },
}

impl Knobs {
    /// A step, and the record of it.
    pub fn step_recorded(&mut self, now: Timestamp, signals: Signals, policy: Policy) -> Recorded {
        let moves = self.step(now, &signals, &policy);
        Recorded {
            now,
            signals,
            policy,
            moves,
        }
    }
}

impl Recorded {
    /// The step as a line, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a step has text keys and whole numbers only")
    }
}

/// Plays a recording to knobs that have been told nothing, with the table it was made with, and gives back how many steps it has.
///
/// # Errors
/// The first line that cannot be read, or after which the knobs say something else than they did.
pub fn replay(mut knobs: Knobs, recording: &str) -> Result<usize, ReplayError> {
    let mut steps = 0;
    for (line, text) in (1..).zip(recording.lines()) {
        if text.len() > LINE_BYTES {
            let found = text.len();
            return Err(ReplayError::TooLong { line, found });
        }
        let unreadable = |why| ReplayError::Unreadable { line, why };
        let step: Recorded = serde_json::from_str(text).map_err(unreadable)?;
        let says = knobs.step(step.now, &step.signals, &step.policy);
        if says != step.moves {
            let said = step.moves;
            return Err(ReplayError::Differs { line, said, says });
        }
        steps = line;
    }
    Ok(steps)
}
