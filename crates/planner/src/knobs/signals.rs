//! What a node measures of itself: a closed set of signals. One that is not known now is not there; it is never zero.
//!
//! Deliberately not here: how they are measured, and what a row of them says ([`trends`](super::trends)).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that is measured again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// The share of time in which some work waited for a processor.
    CpuPressure,
    /// The share of time in which some work waited for memory.
    MemoryPressure,
    /// What gossip sends and receives.
    GossipBytes,
    /// How long what is ready to be sent on a snapshot or watch stream waits until it is.
    StreamDelay,
    /// Snapshot and watch streams that were asked for and are not served yet.
    StreamsWaiting,
    /// Tasks that wait here for a slot.
    TasksWaiting,
    /// The share of reads that the cache could not answer.
    CacheMisses,
    /// How long one block takes to be fetched.
    FetchTime,
    /// Blocks that wait to be fetched.
    FetchesWaiting,
}

/// In what a knob or signal is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Thousandths.
    Permille,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// How many streams.
    Streams,
    /// How many slots.
    Slots,
    /// How many wait.
    Waiting,
}

impl Unit {
    /// Its name, as programs read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permille => "permille",
            Self::Milliseconds => "milliseconds",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes-per-second",
            Self::Streams => "streams",
            Self::Slots => "slots",
            Self::Waiting => "waiting",
        }
    }
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::CpuPressure,
        Self::MemoryPressure,
        Self::GossipBytes,
        Self::StreamDelay,
        Self::StreamsWaiting,
        Self::TasksWaiting,
        Self::CacheMisses,
        Self::FetchTime,
        Self::FetchesWaiting,
    ];

    /// Its name, as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuPressure => "cpu-pressure",
            Self::MemoryPressure => "memory-pressure",
            Self::GossipBytes => "gossip-bytes",
            Self::StreamDelay => "stream-delay",
            Self::StreamsWaiting => "streams-waiting",
            Self::TasksWaiting => "tasks-waiting",
            Self::CacheMisses => "cache-misses",
            Self::FetchTime => "fetch-time",
            Self::FetchesWaiting => "fetches-waiting",
        }
    }

    /// In what it is counted.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::CpuPressure | Self::MemoryPressure | Self::CacheMisses => Unit::Permille,
            Self::GossipBytes => Unit::BytesPerSecond,
            Self::StreamDelay | Self::FetchTime => Unit::Milliseconds,
            Self::StreamsWaiting | Self::TasksWaiting | Self::FetchesWaiting => Unit::Waiting,
        }
    }

    /// The signal of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// All that is known of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signals {
    known: BTreeMap<Signal, u64>,
}

impl Signals {
    /// Nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// The same, and this besides.
    #[must_use]
    pub fn with(mut self, signal: Signal, value: u64) -> Self {
        self.set(signal, Some(value));
        self
    }

    /// What is known of a signal from here on; nothing makes it unknown.
    pub fn set(&mut self, signal: Signal, value: Option<u64>) {
        match value {
            Some(value) => self.known.insert(signal, value),
            None => self.known.remove(&signal),
        };
    }

    /// Its value, if that is known.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<u64> {
        self.known.get(&signal).copied()
    }

    /// What is known, in the order of the signals.
    pub fn iter(&self) -> impl Iterator<Item = (Signal, u64)> + '_ {
        self.known.iter().map(|(signal, value)| (*signal, *value))
    }
}
