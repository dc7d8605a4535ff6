//! What is asked of every system, and for how long.

use std::{str::FromStr, time::Duration};

/// One thing to measure, under the name it has in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// Such as `put200/c64`.
    pub(crate) name: &'static str,
    /// What the driver does.
    pub(crate) load: Load,
}

/// What the driver does to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// So many callers at the leader, each writing again as soon as it has its answer.
    Put {
        /// Commands on their way.
        callers: usize,
    },
    /// The same with linearizable reads.
    Get {
        /// Reads on their way.
        callers: usize,
    },
    /// The leader fails, again and again, under load.
    Failover,
    /// The leader hands over, again and again, under load.
    Handover,
    /// A million keys, then a snapshot under load.
    Snapshot,
}

/// Keys of [`Load::Snapshot`].
pub(crate) const MANY_KEYS: u64 = 1_000_000;

/// Every case, in the order in which they run and are shown.
pub(crate) const CASES: &[Case] = &[
    put("put200/c1", 1),
    put("put200/c64", 64),
    put("put200/c1024", 1024),
    Case {
        name: "get/c64",
        load: Load::Get { callers: 64 },
    },
    Case {
        name: "failover",
        load: Load::Failover,
    },
    Case {
        name: "handover",
        load: Load::Handover,
    },
    Case {
        name: "snapshot1m",
        load: Load::Snapshot,
    },
];

const fn put(name: &'static str, callers: usize) -> Case {
    Case {
        name,
        load: Load::Put { callers },
    }
}

/// How long and how much: the full run, or the quick one for a first look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// How often everything is repeated; results are medians.
    pub(crate) repetitions: usize,
    /// Calls before this are not counted: connections, caches, a leader that finds its pace.
    pub(crate) warm_up: Duration,
    /// Calls that end within this are counted.
    pub(crate) window: Duration,
    /// Times that the leader fails in one repetition, half of each kind, or hands over.
    pub(crate) faults: usize,
}

const FULL: Scale = Scale {
    repetitions: 3,
    warm_up: Duration::from_secs(2),
    window: Duration::from_secs(8),
    faults: 20,
};

const QUICK: Scale = Scale {
    repetitions: 1,
    warm_up: Duration::from_secs(1),
    window: Duration::from_secs(3),
    faults: 6,
};

impl Scale {
    /// The one that such a run has.
    pub(crate) fn of(quick: bool) -> Self {
        if quick { QUICK } else { FULL }
    }

    /// After this, a driver never ends. It would have said so itself before.
    pub(crate) fn patience(&self, load: Load) -> Duration {
        let minutes = match load {
            Load::Put { .. } | Load::Get { .. } => 3,
            // Each fault has its own limits, see `failover`.
            Load::Failover | Load::Handover => 3 + 2 * self.faults as u64,
            Load::Snapshot => 40,
        };
        Duration::from_secs(60 * minutes) + self.warm_up + self.window
    }
}

impl Case {
    /// Whether a quick run leaves it out.
    pub(crate) fn is_long(&self) -> bool {
        self.load == Load::Snapshot
    }

    /// Whether a filter means this case: it is part of the name, with `*` for anything between.
    pub(crate) fn answers_to(&self, filter: &str) -> bool {
        let mut rest = self.name;
        filter.split('*').all(|part| {
            let found = rest.find(part);
            if let Some(at) = found {
                rest = &rest[at + part.len()..];
            }
            found.is_some()
        })
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = CASES.iter().find(|case| case.name == name);
        found
            .copied()
            .ok_or_else(|| format!("no case is called {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_part_of_a_name() {
        let named = |filter| -> Vec<&str> {
            let chosen = CASES.iter().filter(|case| case.answers_to(filter));
            chosen.map(|case| case.name).collect()
        };
        assert_eq!(named("c64"), ["put200/c64", "get/c64"]);
        assert_eq!(named("put*24"), ["put200/c1024"]);
        assert_eq!(named("24*put"), [""; 0]);
    }

    #[test]
    fn every_case_is_found_by_its_name() {
        for case in CASES {
            assert_eq!(case.name.parse::<Case>().as_ref(), Ok(case));
        }
        assert!("put".parse::<Case>().is_err());
    }
}
