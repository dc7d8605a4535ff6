//! What a planner was told and what it said, a line of JSON for each step, and the same again.
//!
//! A planner is a function of what it was told since it began, so a recording from its beginning on replays to the same decisions, anywhere. All
//! amounts are whole numbers: text changes none of them.
//!
//! Deliberately not here: files. Who records decides how much to keep; a step of 5,000 nodes is a line of about 5 MB.

use convoke_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::decision::Decision;
use super::input::{Decided, Observed};
use super::planner::Planner;

/// The longest line that is read.
pub const LINE_BYTES: usize = 256 << 20;

/// One step: what the planner was told, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When.
    pub now: Timestamp,
    /// What was observed.
    pub observed: Observed,
    /// What was decided.
    pub decided: Decided,
    /// What it said.
    pub decision: Decision,
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
    /// The planner says something else than it did.
    #[error("line {line}: it said {said:?}, and says {says:?} now")]
    Differs {
        /// Which, counted from 1.
        line: usize,
        /// What it said.
        said: Box<Decision>,
        /// What it says.
        says: Box<Decision>,
    },
}

impl Planner {
    /// A step, and the record of it.
    pub fn step_recorded(
        &mut self,
        now: Timestamp,
        observed: Observed,
        decided: Decided,
    ) -> Recorded {
        let decision = self.step(now, &observed, &decided);
        Recorded {
            now,
            observed,
            decided,
            decision,
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

/// Plays a recording to a new planner, and gives back how many steps it has.
///
/// # Errors
/// The first line that cannot be read, or after which the planner says something else than it did.
pub fn replay(recording: &str) -> Result<usize, ReplayError> {
    let mut planner = Planner::new();
    let mut steps = 0;
    for (line, text) in (1..).zip(recording.lines()) {
        if text.len() > LINE_BYTES {
            let found = text.len();
            return Err(ReplayError::TooLong { line, found });
        }
        let unreadable = |why| ReplayError::Unreadable { line, why };
        let step: Recorded = serde_json::from_str(text).map_err(unreadable)?;
        let says = planner.step(step.now, &step.observed, &step.decided);
        if says != step.decision {
            let (said, says) = (Box::new(step.decision), Box::new(says));
            return Err(ReplayError::Differs { line, said, says });
        }
        steps = line;
    }
    Ok(steps)
}
