//! The knobs that there are, as data: bounds, steps, the signals each looks at, and its law in a sentence.
//!
//! Loads say how hard a knob presses on the machine or on others; a want says that more would be of use. Loads count first.
//!
//! Deliberately not here: the law as code ([`law`](super::law)).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::law::{Law, aimd};
use super::signals::{Signal, Unit};

/// Something that a node turns by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Knob {
    /// How long news waits for company before it is passed on. Verdicts do not wait, and nodes are watched as ever.
    GossipPace = 0,
    /// How many snapshot and watch streams the node serves at once.
    SnapshotStreams = 1,
    /// How many tasks it runs at once.
    ExecutorSlots = 2,
    /// How many bytes it keeps in memory to read them again.
    CacheBytes = 3,
    /// How many blocks it fetches at once.
    FetchStreams = 4,
}

impl Knob {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them, in the order of the numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::GossipPace,
        Self::SnapshotStreams,
        Self::ExecutorSlots,
        Self::CacheBytes,
        Self::FetchStreams,
    ];

    /// Its name, as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GossipPace => "gossip-pace",
            Self::SnapshotStreams => "snapshot-streams",
            Self::ExecutorSlots => "executor-slots",
            Self::CacheBytes => "cache-bytes",
            Self::FetchStreams => "fetch-streams",
        }
    }

    /// The knob of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|knob| knob.name() == name)
    }

    /// Its place in a table with a row for each.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which way a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It gets less.
    Down = 0,
    /// It gets more.
    Up = 1,
}

impl Direction {
    /// Which way it is from one value to another one.
    #[must_use]
    pub const fn between(from: u64, to: u64) -> Self {
        if to < from { Self::Down } else { Self::Up }
    }

    /// The other way.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Down => Self::Up,
            Self::Up => Self::Down,
        }
    }
}

/// A load: above the band is too much, below is room. Within it nothing moves, so that the two steps do not chase each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// What is looked at.
    pub signal: Signal,
    /// Below there is room.
    pub low: u64,
    /// Above it is too much.
    pub high: u64,
}

/// What says that more would be of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// What is looked at.
    pub signal: Signal,
    /// From here on it counts.
    pub least: u64,
}

/// A knob as data.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which one.
    pub knob: Knob,
    /// In what it is counted.
    pub unit: Unit,
    /// Where it stands in the beginning, and where it returns to once nothing presses.
    pub default: u64,
    /// It is never less, whoever asks. At least 1.
    pub least: u64,
    /// It is never more, whoever asks.
    pub most: u64,
    /// Which way the loads get less.
    pub ease: Direction,
    /// A step that eases multiplies by this much in thousandths: a large step, since too much load is worse than too little done.
    pub ease_permille: u64,
    /// A step the other way is so much: a small one, since it looks for a limit that nobody knows.
    pub step: u64,
    /// What must not be too much. At least one.
    pub loads: &'static [Band],
    /// What asks for more than the default. Without it the knob goes no further than that.
    pub want: Option<Want>,
    /// How long a move takes to show, and so the least time between two. At least five looks, at most a minute.
    pub settle: Duration,
    /// How much worse than expected something has to be, in thousandths, before a move is blamed for it. Below 50 noise is blamed.
    pub margin_permille: u64,
    /// The law as people read it.
    pub says: &'static str,
    /// The law as code.
    pub law: Law,
}

impl Spec {
    /// How far back its averages remember: a fifth of the settle time, so that nothing of what was before a move is left at the end of it.
    #[must_use]
    pub fn memory(&self) -> Duration {
        self.settle / 5
    }

    /// The value after a step that eases, within the bounds.
    #[must_use]
    pub fn eased(&self, value: u64) -> u64 {
        let scaled = u128::from(value) * u128::from(self.ease_permille) / 1_000;
        let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
        let value = match self.ease {
            Direction::Down => scaled.min(value.saturating_sub(1)),
            Direction::Up => scaled.max(value.saturating_add(1)),
        };
        value.clamp(self.least, self.most)
    }

    /// The value after a step the other way, within the bounds.
    #[must_use]
    pub fn stepped(&self, value: u64) -> u64 {
        let value = match self.ease {
            Direction::Down => value.saturating_add(self.step),
            Direction::Up => value.saturating_sub(self.step),
        };
        value.clamp(self.least, self.most)
    }

    /// It presses less than by default.
    #[must_use]
    pub fn is_eased(&self, value: u64) -> bool {
        value != self.default && Direction::between(self.default, value) == self.ease
    }

    /// All that it looks at: loads, then what asks for more.
    pub fn signals(&self) -> impl Iterator<Item = Signal> + '_ {
        let loads = self.loads.iter().map(|band| band.signal);
        loads.chain(self.want.map(|want| want.signal))
    }

    /// Both look at the same load, so that a move of one is felt by the other.
    #[must_use]
    pub fn shares_load_with(&self, other: &Self) -> bool {
        let mut loads = self.loads.iter();
        loads.any(|band| other.loads.iter().any(|it| it.signal == band.signal))
    }
}

const CPU: Band = Band {
    signal: Signal::CpuPressure,
    low: 400,
    high: 700,
};
const MEMORY: Band = Band {
    signal: Signal::MemoryPressure,
    low: 20,
    high: 100,
};

/// All knobs, each at its place. Whoever knows its machine changes defaults and bounds in a copy of it.
pub const TABLE: [Spec; Knob::COUNT] = [
    Spec {
        knob: Knob::GossipPace,
        unit: Unit::Milliseconds,
        default: 8,
        least: 2,
        most: 250,
        ease: Direction::Up,
        ease_permille: 1_500,
        step: 4,
        loads: &[
            CPU,
            Band {
                signal: Signal::GossipBytes,
                low: 30_000,
                high: 60_000,
            },
        ],
        want: None,
        settle: Duration::from_secs(20),
        margin_permille: 100,
        says: "While work waits for processors or gossip is heavy, news gathers for half as long again; with room for both it comes back by 4 ms, down to the default",
        law: aimd,
    },
    Spec {
        knob: Knob::SnapshotStreams,
        unit: Unit::Streams,
        default: 4,
        least: 1,
        most: 64,
        ease: Direction::Down,
        ease_permille: 750,
        step: 1,
        loads: &[
            CPU,
            Band {
                signal: Signal::StreamDelay,
                low: 100,
                high: 250,
            },
        ],
        want: Some(Want {
            signal: Signal::StreamsWaiting,
            least: 1,
        }),
        settle: Duration::from_secs(20),
        margin_permille: 100,
        says: "While what is ready to be sent waits too long, or work waits for processors, a quarter fewer; with room and somebody waiting, one more",
        law: aimd,
    },
    Spec {
        knob: Knob::ExecutorSlots,
        unit: Unit::Slots,
        default: 4,
        least: 1,
        most: 256,
        ease: Direction::Down,
        ease_permille: 750,
        step: 1,
        loads: &[CPU, MEMORY],
        want: Some(Want {
            signal: Signal::TasksWaiting,
            least: 1,
        }),
        settle: Duration::from_secs(30),
        margin_permille: 100,
        says: "While work waits for processors or memory, a quarter fewer; with room for both and a task waiting, one more",
        law: aimd,
    },
    Spec {
        knob: Knob::CacheBytes,
        unit: Unit::Bytes,
        default: 256_000_000,
        least: 16_000_000,
        most: 4_000_000_000,
        ease: Direction::Down,
        ease_permille: 750,
        step: 64_000_000,
        loads: &[MEMORY],
        want: Some(Want {
            signal: Signal::CacheMisses,
            least: 100,
        }),
        settle: Duration::from_secs(60),
        margin_permille: 100,
        says: "While work waits for memory, a quarter less; with room and a tenth of all reads missed, 64 MB more",
        law: aimd,
    },
    Spec {
        knob: Knob::FetchStreams,
        unit: Unit::Streams,
        default: 8,
        least: 1,
        most: 64,
        ease: Direction::Down,
        ease_permille: 750,
        step: 1,
        loads: &[Band {
            signal: Signal::FetchTime,
            low: 300,
            high: 800,
        }],
        want: Some(Want {
            signal: Signal::FetchesWaiting,
            least: 1,
        }),
        settle: Duration::from_secs(20),
        margin_permille: 100,
        says: "While a block takes too long to come, a quarter fewer; with room and blocks waiting, one more",
        law: aimd,
    },
];
