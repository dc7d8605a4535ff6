//! What is known of a machine: each measurement with its source and how far it is to be trusted, or why there is none.
//!
//! Amounts are whole numbers in the unit that the field's name says, so that they are the same after a trip through text. A gigabyte has 10⁹
//! bytes: a machine sold with 4 GB has a little less than 4 GiB left when its kernel has taken its part, and should count as one with 4 GB.
//!
//! Deliberately not here: measuring, and what a measurement is worth for a role ([`fitness`](super::fitness)).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A measurement: a value or why there is none, where it came from, and how far to trust it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured<T> {
    /// What was found.
    pub reading: Reading<T>,
    /// Where it was found: a file, a system call, a benchmark, a setting.
    pub source: Cow<'static, str>,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading<T> {
    /// This.
    Value(T),
    /// Nothing, and why. Unknown is not zero.
    Unknown(Cow<'static, str>),
}

/// How far a measurement is to be trusted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// It is so: counted, or read from whoever decides it.
    #[default]
    Exact,
    /// About so: sampled, averaged, or a while ago.
    Estimated,
    /// No more than that, and perhaps much less, like the speed of a network card. Too little is proof; enough is none.
    UpperBound,
    /// Somebody said so in the configuration.
    Told,
}

impl Confidence {
    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Estimated => "estimated",
            Self::UpperBound => "an upper bound",
            Self::Told => "told",
        }
    }
}

impl<T> Measured<T> {
    /// A value that is so.
    pub fn exact(value: T, source: impl Into<Cow<'static, str>>) -> Self {
        Self::with(value, source, Confidence::Exact)
    }

    /// A value that is no larger, and may be smaller.
    pub fn at_most(value: T, source: impl Into<Cow<'static, str>>) -> Self {
        Self::with(value, source, Confidence::UpperBound)
    }

    /// A value with its source and how far to trust it.
    pub fn with(value: T, source: impl Into<Cow<'static, str>>, confidence: Confidence) -> Self {
        Self {
            reading: Reading::Value(value),
            source: source.into(),
            confidence,
        }
    }

    /// No value, and why.
    pub fn unknown(
        why: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            reading: Reading::Unknown(why.into()),
            source: source.into(),
            confidence: Confidence::default(),
        }
    }
}

impl<T: Copy> Measured<T> {
    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<T> {
        match self.reading {
            Reading::Value(value) => Some(value),
            Reading::Unknown(_) => None,
        }
    }
}

/// What is known of one machine. What decides roles are capacities, which change rarely; the load beside them decides nothing here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Thousandths of processor cores that the node may use, whatever else is using them now.
    pub cpu_milli: Measured<u64>,
    /// Bytes of memory that the node may use, whatever else is using them now.
    pub memory_bytes: Measured<u64>,
    /// Bytes of disk for the data directory: what is free, and what the node keeps there itself. Were it only what is free, a node would
    /// lose its role by doing its work.
    pub disk_bytes: Measured<u64>,
    /// Bits per second that the network carries.
    pub bandwidth_bits: Measured<u64>,
    /// How steadily the node could be reached over a long window, in thousandths.
    pub stability_permille: Measured<u64>,
    /// Whether the data directory can be written.
    pub is_writable: Measured<bool>,
    /// The 99th percentile of a synced write to the data directory, in microseconds. Less is better.
    pub fsync_p99_us: Measured<u64>,
    /// Whether the node has an address that others reach from outside.
    pub is_addressable: Measured<bool>,
    /// How busy the machine is now, in thousandths. It is shown, and steers where work goes; no role follows from it.
    pub load_permille: Measured<u64>,
}

impl Machine {
    /// Nothing is known, and why.
    #[must_use]
    pub fn unknown(why: &'static str) -> Self {
        let amount = || Measured::unknown(why, "nobody");
        let flag = || Measured::unknown(why, "nobody");
        Self {
            cpu_milli: amount(),
            memory_bytes: amount(),
            disk_bytes: amount(),
            bandwidth_bits: amount(),
            stability_permille: amount(),
            is_writable: flag(),
            fsync_p99_us: amount(),
            is_addressable: flag(),
            load_permille: amount(),
        }
    }
}

/// What a requirement can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Measure {
    /// Processor cores.
    Cpu = 0,
    /// Memory.
    Memory = 1,
    /// Room on disk.
    Disk = 2,
    /// What the network carries.
    Bandwidth = 3,
    /// How steadily it could be reached.
    Stability = 4,
    /// The capability `storage`: a writable data directory with room.
    Storage = 5,
    /// The capability `coordination`: writes are safe on disk soon enough for others to wait for them.
    Coordination = 6,
    /// An address that is reached from outside.
    Address = 7,
}

impl Measure {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// All of them, in the order of the numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Bandwidth,
        Self::Stability,
        Self::Storage,
        Self::Coordination,
        Self::Address,
    ];

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Bandwidth => "bandwidth",
            Self::Stability => "stability",
            Self::Storage => "storage",
            Self::Coordination => "coordination",
            Self::Address => "address",
        }
    }

    /// Its place in a table with a row for each.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
