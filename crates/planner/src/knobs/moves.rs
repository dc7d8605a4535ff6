//! What comes of it: moves with their reasons, each an audit line, and why a knob is not moved.
//!
//! Deliberately not here: how it comes to that (`controller`), and words for people (`words`).

use std::time::Duration;

use convoke_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::judge::Worse;
use super::signals::Signal;
use super::table::{Direction, Knob};

/// A knob is turned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When.
    pub at: Timestamp,
    /// Which one.
    pub knob: Knob,
    /// Where it stood.
    pub from: u64,
    /// Where it stands from here on.
    pub to: u64,
    /// Why.
    pub why: Why,
    /// It is only said: people asked for a dry run.
    pub is_dry: bool,
}

/// Why a knob is turned. Levels are in thousandths of the signal's unit, bounds in the unit itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// There is too much of a load.
    Eases {
        /// Of which.
        signal: Signal,
        /// How much there is.
        level: u64,
        /// How much there should be at most.
        high: u64,
    },
    /// Nothing presses any more, so it goes back towards its default.
    GoesHome {
        /// Its default.
        default: u64,
    },
    /// There is room, and more would be of use.
    Grows {
        /// What says so.
        signal: Signal,
        /// How much of it there is.
        level: u64,
    },
    /// The move before made it worse and is undone.
    Returned {
        /// What is worse.
        worse: Worse,
        /// For how long this direction is left alone.
        rests: Duration,
    },
    /// People hold it there.
    Fixed,
    /// It stood outside of the bounds that hold now.
    OutOfRange,
    /// It stood at home, and that is elsewhere now: the role or the machine is another one.
    HomeMoved,
}

/// Why a knob is not turned now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// People hold it where it stands.
    Fixed,
    /// People froze it.
    Frozen,
    /// It was turned, and it takes so long still until that shows.
    Settles(Duration),
    /// It was turned, and whether for the better cannot be told, since this is unknown now.
    Unjudged(Signal),
    /// This is unknown, or was too rarely known of late.
    Unknown(Signal),
    /// There is neither too much of this nor room.
    InBand(Signal),
    /// There is room, but this rises so fast that there soon would not be.
    Rises(Signal),
    /// There is room, and nothing asks for more.
    NothingWanted,
    /// It can go no further.
    AtBound(Direction),
    /// Going there made it worse lately.
    Rests {
        /// Where.
        direction: Direction,
        /// How long it is left alone still.
        rest: Duration,
    },
    /// Another knob that presses on the same was turned just now, and its outcome has to be told from this one's.
    Turn(Knob),
    /// A dry run said so lately and says it again after this time.
    SaidSo(Duration),
}
