//! What is asked of every system, and for how long.

use std::{str::FromStr, time::Duration};

use crate::message::Order;

/// One thing to measure, under the name it has in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// Such as `echo32/c64/x8`.
    pub(crate) name: &'static str,
    /// What the driver does.
    pub(crate) load: Load,
    /// Whether it says something about a path with distance, too.
    pub(crate) over_a_path: bool,
}

/// What the driver does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// `callers` tasks, spread evenly over the connections, each calling again as soon as it has its answer.
    Calls {
        /// Which method.
        method: Method,
        /// Bytes in the body, there and back.
        size: usize,
        /// Calls in flight.
        callers: usize,
        /// Connections that share them.
        connections: usize,
    },
    /// One server stream of that many small messages.
    SmallItems,
    /// One server stream of [`BULK_ITEM_BYTES`] messages.
    Bulk,
    /// Small calls that begin at a fixed rate, whatever becomes of those before, on one connection.
    Paced {
        /// Whether messages of [`LARGE_BYTES`] go there and back beside them, one after the other.
        beside_large: bool,
    },
    /// That many connections which were used once and now do nothing.
    Idle {
        /// How many.
        connections: usize,
    },
}

/// The unary methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The handler has its answer at its first poll.
    Echo,
    /// The handler yields once before it answers.
    EchoAwait,
}

/// Bytes in a message of [`Load::Bulk`].
pub(crate) const BULK_ITEM_BYTES: u64 = 64 * 1024;
/// Bytes in a message of [`Load::SmallItems`].
const SMALL_ITEM_BYTES: u64 = 32;

/// Bytes in the large messages of [`Load::Paced`].
pub(crate) const LARGE_BYTES: usize = 4 << 20;
/// Small calls of [`Load::Paced`] that begin in a second.
pub(crate) const PACED_PER_SECOND: u32 = 2_000;

/// Every case, in the order in which they run and are shown.
pub(crate) const CASES: &[Case] = &[
    echo("echo32/c1", 32, 1, 1),
    echo("echo32/c64", 32, 64, 1),
    echo("echo32/c64/x8", 32, 64, 8),
    echo("echo32/c512", 32, 512, 1),
    echo("echo32/c512/x8", 32, 512, 8),
    echo("echo4096/c1", 4096, 1, 1),
    echo("echo4096/c64", 4096, 64, 1),
    echo("echo4096/c64/x8", 4096, 64, 8),
    echo("echo4096/c512", 4096, 512, 1),
    echo("echo4096/c512/x8", 4096, 512, 8),
    echo("echo1m/c1", 1 << 20, 1, 1),
    Case {
        name: "await32/c512",
        load: Load::Calls {
            method: Method::EchoAwait,
            size: 32,
            callers: 512,
            connections: 1,
        },
        over_a_path: false,
    },
    Case {
        name: "stream32",
        load: Load::SmallItems,
        over_a_path: true,
    },
    Case {
        name: "bulk",
        load: Load::Bulk,
        over_a_path: true,
    },
    Case {
        name: "paced32/alone",
        load: Load::Paced {
            beside_large: false,
        },
        over_a_path: false,
    },
    Case {
        name: "paced32/beside4m",
        load: Load::Paced { beside_large: true },
        over_a_path: false,
    },
    Case {
        name: "idle",
        load: Load::Idle { connections: 1_000 },
        over_a_path: false,
    },
];

/// How long and how much: the full run, or the quick one for a first look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// How often everything is repeated; results are medians.
    pub(crate) repetitions: usize,
    /// Calls before this are not counted: handshakes, caches, windows that grow.
    pub(crate) warm_up: Duration,
    /// Calls that end within this are counted.
    pub(crate) window: Duration,
    /// How long idle connections are watched: whole beats of everybody's keep-alive, the slowest of which comes every 10 s.
    pub(crate) idle_window: Duration,
    /// Between using idle connections and watching them: longer than anybody goes on working after a use. What that costs is
    /// counted by itself, since how much of it fell into the window would depend on how long connecting took.
    pub(crate) idle_settling: Duration,
    /// Messages of [`Load::SmallItems`].
    pub(crate) small_items: u64,
    /// Messages of [`Load::Bulk`].
    pub(crate) bulk_items: u64,
}

/// Everything, long enough to compare figures.
const FULL: Scale = Scale {
    repetitions: 3,
    warm_up: Duration::from_millis(700),
    window: Duration::from_secs(2),
    idle_window: Duration::from_secs(10),
    idle_settling: Duration::from_secs(10),
    small_items: 1_000_000,
    bulk_items: (1 << 30) / BULK_ITEM_BYTES,
};

/// The same cases for less time and once: enough to see a change of a third.
const QUICK: Scale = Scale {
    repetitions: 1,
    warm_up: Duration::from_millis(300),
    window: Duration::from_millis(600),
    idle_window: Duration::from_secs(10),
    idle_settling: Duration::from_secs(10),
    small_items: 200_000,
    bulk_items: (128 << 20) / BULK_ITEM_BYTES,
};

/// Over a path with distance a call takes a round trip, and a lost packet several.
const FAR: Scale = Scale {
    repetitions: 3,
    warm_up: Duration::from_secs(2),
    window: Duration::from_secs(10),
    idle_window: Duration::from_secs(10),
    idle_settling: Duration::from_secs(10),
    small_items: 100_000,
    bulk_items: (8 << 20) / BULK_ITEM_BYTES,
};

impl Scale {
    /// The one that such a run has.
    pub(crate) fn of(quick: bool, over_a_path: bool) -> Self {
        match (quick, over_a_path) {
            (false, false) => FULL,
            (true, false) => QUICK,
            (false, true) => FAR,
            (true, true) => Self {
                repetitions: 1,
                window: Duration::from_secs(4),
                ..FAR
            },
        }
    }

    /// What a streaming load orders, `None` for the other loads.
    pub(crate) fn order(&self, load: Load) -> Option<Order> {
        match load {
            Load::SmallItems => Some(Order {
                count: self.small_items,
                size: SMALL_ITEM_BYTES,
            }),
            Load::Bulk => Some(Order {
                count: self.bulk_items,
                size: BULK_ITEM_BYTES,
            }),
            Load::Calls { .. } | Load::Paced { .. } | Load::Idle { .. } => None,
        }
    }

    /// After this a driver hangs: its own time, and enough for the slowest system to connect, stream and finish its last
    /// calls on a busy machine. A thousand connections of rpcnet take 5 to 30 s to open.
    pub(crate) fn patience(&self, load: Load) -> Duration {
        let (own, slack) = match load {
            Load::Calls { .. } | Load::Paced { .. } => (self.warm_up + self.window, 30),
            Load::SmallItems | Load::Bulk => (Duration::ZERO, 90),
            Load::Idle { .. } => (self.idle_settling + self.idle_window, 90),
        };
        own + Duration::from_secs(slack)
    }
}

impl Load {
    /// Whether callers in a closed loop do it, who can be shared out among shards.
    pub(crate) fn has_callers(self) -> bool {
        matches!(self, Self::Calls { .. })
    }

    /// Whether a system without streams can do it.
    pub(crate) fn streams(self) -> bool {
        matches!(self, Self::SmallItems | Self::Bulk)
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        CASES
            .iter()
            .find(|case| case.name == name)
            .copied()
            .ok_or_else(|| format!("there is no case {name}"))
    }
}

/// Whether a case's name answers to a filter: the filter's parts, between `*`, occur in it in that order.
pub(crate) fn answers_to(name: &str, filter: &str) -> bool {
    let mut rest = name;
    for part in filter.split('*') {
        let Some(place) = rest.find(part) else {
            return false;
        };
        rest = &rest[place + part.len()..];
    }
    true
}

const fn echo(name: &'static str, size: usize, callers: usize, connections: usize) -> Case {
    Case {
        name,
        load: Load::Calls {
            method: Method::Echo,
            size,
            callers,
            connections,
        },
        over_a_path: connections == 1 && callers < 512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_its_name_and_only_by_it() {
        for case in CASES {
            assert_eq!(case.name.parse(), Ok(*case));
        }
        assert!("echo32".parse::<Case>().is_err());
    }

    #[test]
    fn callers_spread_evenly_over_their_connections() {
        for case in CASES {
            if let Load::Calls {
                callers,
                connections,
                ..
            } = case.load
            {
                assert_eq!(callers % connections, 0, "{}", case.name);
            }
        }
    }

    #[test]
    fn a_filter_is_text_with_stars_anywhere_in_the_name() {
        assert!(answers_to("echo32/c64/x8", ""));
        assert!(answers_to("echo32/c64/x8", "c64"));
        assert!(answers_to("echo32/c64/x8", "echo32*x8"));
        assert!(!answers_to("echo32/c64", "echo32*x8"));
        assert!(!answers_to("echo32/c64/x8", "x8*echo32"));
    }
}
