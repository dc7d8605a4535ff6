//! What happens to a cluster.

use std::time::Duration;

use convoke_sim::{Loss, Network};

/// One thing to measure, under the name it has in the results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    /// Such as `n1000/loss5`.
    pub(crate) name: &'static str,
    /// How many nodes there are at first.
    pub(crate) nodes: u32,
    /// Of a hundred packets, so many are lost, each by itself.
    pub(crate) loss_percent: u32,
    /// Where they are.
    pub(crate) terrain: Terrain,
    /// What happens to them.
    pub(crate) story: Story,
}

/// Where the nodes are, and which of a system's settings suits that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terrain {
    /// One room.
    Lan,
    /// Five regions around the globe.
    Wan,
    /// One room whose traffic is paid by the byte.
    Metered,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Story {
    /// All know each other. Nothing happens for a while, then facts change, then so many of a hundred nodes die at once, then
    /// some join.
    Deaths {
        /// Of a hundred nodes; at least one dies.
        percent: u32,
    },
    /// All start within a second and know one of them.
    ColdStart,
    /// All know each other, and of a hundred nodes five stand still for up to eight seconds each.
    Pauses,
}

/// Regions of [`Terrain::Wan`].
pub(crate) const REGIONS: u32 = 5;
/// Of a hundred nodes, so many stand still in [`Story::Pauses`].
pub(crate) const PAUSED_PERCENT: u32 = 5;
/// The longest that one of them does.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Every case, in the order in which they run and are shown.
pub(crate) const CASES: &[Case] = &[
    deaths("n100/loss0", 100, 0),
    deaths("n100/loss5", 100, 5),
    deaths("n100/loss10", 100, 10),
    deaths("n300/loss0", 300, 0),
    deaths("n1000/loss0", 1_000, 0),
    deaths("n1000/loss5", 1_000, 5),
    deaths("n1000/loss10", 1_000, 10),
    deaths("n5000/loss0", 5_000, 0),
    deaths("n5000/loss5", 5_000, 5),
    deaths("n5000/loss10", 5_000, 10),
    Case {
        story: Story::ColdStart,
        ..deaths("cold1000", 1_000, 0)
    },
    Case {
        terrain: Terrain::Wan,
        ..deaths("wan/n1000", 1_000, 0)
    },
    Case {
        terrain: Terrain::Metered,
        ..deaths("metered/n50", 50, 0)
    },
    Case {
        story: Story::Pauses,
        ..deaths("pauses/n1000", 1_000, 0)
    },
    kills("kill20/n1000", 20),
    kills("kill35/n1000", 35),
    kills("kill50/n1000", 50),
];

const fn deaths(name: &'static str, nodes: u32, loss_percent: u32) -> Case {
    Case {
        name,
        nodes,
        loss_percent,
        terrain: Terrain::Lan,
        story: Story::Deaths { percent: 1 },
    }
}

const fn kills(name: &'static str, percent: u32) -> Case {
    Case {
        story: Story::Deaths { percent },
        ..deaths(name, 1_000, 0)
    }
}

impl Case {
    /// What the network is like, but for what things weigh, which differs between systems.
    pub(crate) fn network(&self) -> Network {
        let network = match self.terrain {
            Terrain::Lan | Terrain::Metered => Network::lan(),
            Terrain::Wan => Network::wan(REGIONS),
        };
        match self.loss_percent {
            0 => network,
            _ => network.losing(Loss::Even(self.loss())),
        }
    }

    /// The probability that a packet is lost.
    pub(crate) fn loss(&self) -> f64 {
        f64::from(self.loss_percent) / 100.0
    }

    /// How many of its nodes that part of a hundred is, but not none.
    pub(crate) fn share(&self, percent: u32) -> usize {
        (self.nodes * percent / 100).max(1) as usize
    }

    /// Whether its name fits: a part of it, with `*` for anything between.
    pub(crate) fn is_called(&self, pattern: &str) -> bool {
        let mut rest = self.name;
        pattern.split('*').all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_parts_of_its_name() {
        let called = |pattern: &str| -> Vec<&str> {
            let fits = CASES.iter().filter(|case| case.is_called(pattern));
            fits.map(|case| case.name).collect()
        };
        assert_eq!(called("cold"), ["cold1000"]);
        assert_eq!(called("n100/"), ["n100/loss0", "n100/loss5", "n100/loss10"]);
        assert_eq!(called("n5*loss10"), ["n5000/loss10"]);
        assert_eq!(called("n7"), [""; 0]);
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }
}
