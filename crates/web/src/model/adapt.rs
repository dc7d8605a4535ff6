//! Knobs that nodes turn by themselves: where they stand, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The knobs of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adaptation {
    /// Its id.
    pub id: String,
    /// Nothing is turned, as people decided.
    pub frozen: bool,
    /// It is said what would be turned, and nothing is.
    pub dry_run: bool,
    /// Each knob.
    pub knobs: Vec<Knob>,
    /// What was turned lately, the newest last.
    pub moves: Vec<KnobMove>,
}

/// A knob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Knob {
    /// Its name.
    pub name: String,
    /// In what it is counted: `milliseconds`, `bytes`, `streams`, `slots`.
    pub unit: String,
    /// Where it stands.
    pub value: u64,
    /// Where it stands when nothing presses.
    pub default: u64,
    /// It stands no lower, …
    pub least: u64,
    /// … and no higher.
    pub most: u64,
    /// Something on this node obeys it.
    pub obeyed: bool,
    /// No law turns it.
    pub frozen: bool,
    /// People hold it where it stands.
    pub fixed: bool,
    /// Its law, in a sentence.
    pub law: String,
    /// What it looks at.
    pub signals: Vec<KnobSignal>,
    /// Where it is turned now; null while it stays.
    pub becomes: Option<u64>,
    /// Why it is turned, or why it stays.
    pub why: String,
    /// What would change that; null while it is turned.
    pub to_change: Option<String>,
    /// All of it as text, for people.
    pub text: String,
}

/// A signal as a knob sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnobSignal {
    /// Its name.
    pub name: String,
    /// In what it is counted: `permille`, `milliseconds`, `bytes-per-second`, `waiting`.
    pub unit: String,
    /// What it is now; null when nobody knows.
    pub now: Option<u64>,
    /// Its average of late, in thousandths; null when it was not known for long enough.
    pub average_milli: Option<u64>,
    /// How it goes, in thousandths a second.
    pub rises_milli: Option<i64>,
    /// Below there is room; null for what asks for more.
    pub room_below: Option<u64>,
    /// Above it is too much; null for what asks for more.
    pub too_much_above: Option<u64>,
    /// From here on it asks for more; null for a load.
    pub wants_more_from: Option<u64>,
}

/// A knob was turned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnobMove {
    /// When, by the clock of the node as it stood at its start.
    pub unix_ms: u64,
    /// Which one.
    pub knob: String,
    /// Where it stood.
    pub from: u64,
    /// Where it stands from then on.
    pub to: u64,
    /// It was only said.
    pub dry_run: bool,
    /// All of it in a sentence.
    pub text: String,
}
