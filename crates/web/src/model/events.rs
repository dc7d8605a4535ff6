//! What happens, and what nodes write down about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Stamp};

/// Something that happened in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its place; `after` or `Last-Event-ID` with it goes on behind it.
    pub cursor: String,
    /// When, in milliseconds of Unix time by the clock of the node that answers.
    pub unix_ms: u64,
    /// Which kind of state it is about.
    pub kind: Kind,
    /// What happened, as `node-joined` or `proposal-passed`.
    pub name: String,
    /// The node it is about.
    pub node: Option<String>,
    /// For decided state, the revision.
    pub revision: Option<u64>,
    /// A sentence for people.
    pub text: String,
}

/// Events in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    /// The events.
    pub items: Vec<Event>,
    /// `after` for what comes next.
    pub next: String,
    /// Events between `after` and the first of these are gone: look at the state itself.
    pub missed: bool,
    /// Of what kind of state they are: what was seen from here.
    pub stamp: Stamp,
}

/// How much a line of a log matters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Deserves a person.
    Error,
    /// Deserves a look.
    Warn,
    /// Tells the story of the node.
    Info,
    /// For those who search.
    Debug,
    /// For those who search for long.
    Trace,
}

impl Level {
    /// From the one that matters most.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// Their names.
    pub const NAMES: [&'static str; 5] = ["error", "warn", "info", "debug", "trace"];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        Self::ALL.get(place).copied()
    }
}

/// A line of a node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Its place; `after` or `Last-Event-ID` with it goes on behind it.
    pub cursor: String,
    /// When, in milliseconds of Unix time by the node's clock.
    pub unix_ms: u64,
    /// How much it matters.
    pub level: Level,
    /// Which part of the program wrote it.
    pub target: String,
    /// What it says. From a remote node it is untrusted text: clean it before it meets a terminal.
    pub text: String,
}

/// Lines in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPage {
    /// The lines.
    pub items: Vec<LogLine>,
    /// `after` for what comes next.
    pub next: String,
    /// Lines between `after` and the first of these are gone.
    pub missed: bool,
}
