//! How long each system is watched in each case, and with how many seeds.
//!
//! Windows are wide enough for the slowest, so that nobody is cut off. Peers that take long to simulate get fewer seeds, which
//! changes how sure their figures are and not what they are.

use std::time::Duration;

use crate::cases::{Case, Story, Terrain};
use crate::systems::SystemName;

/// How one system is watched in one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// How many runs.
    pub(crate) seeds: u64,
    /// From the start until something is measured.
    pub(crate) warm_up: Duration,
    /// How long idleness is measured.
    pub(crate) idle: Duration,
    /// How many nodes say something.
    pub(crate) facts: usize,
    /// How long what the last one said may take.
    pub(crate) fact_window: Duration,
    /// How long verdicts may take.
    pub(crate) verdict_window: Duration,
    /// How many nodes join, one after the other.
    pub(crate) newcomers: u32,
    /// How long that may take.
    pub(crate) join_window: Duration,
}

/// How long after deaths bytes are counted.
pub(crate) const BUSY: Duration = Duration::from_secs(15);
/// Between two nodes that say something, or join.
pub(crate) const STAGGER: Duration = Duration::from_millis(100);
/// How long a whole cold start may take.
pub(crate) const COLD_WINDOW: Duration = Duration::from_secs(120);

/// `None` when this system is not measured in this case.
pub(crate) fn plan(system: SystemName, case: &Case, quick: bool) -> Option<Plan> {
    if !takes_part(system, case) || quick && !is_quick(system, case) {
        return None;
    }
    let s = Duration::from_secs;
    let large = case.nodes >= 5_000;
    let slow = system == SystemName::Foca && case.nodes >= 1_000;
    let wan = case.terrain == Terrain::Wan;
    let metered = case.terrain == Terrain::Metered;
    let seeds = match system {
        SystemName::Convoke => 10,
        SystemName::Foca if large => 1,
        SystemName::Foca if slow => 2,
        SystemName::Foca => 10,
        SystemName::Chitchat if case.nodes > 100 => 1,
        SystemName::Chitchat => 2,
    };
    let window = match system {
        SystemName::Convoke if wan => 60,
        SystemName::Foca if wan => 150,
        SystemName::Convoke if metered => 120,
        SystemName::Convoke => 30,
        SystemName::Foca => 45,
        SystemName::Chitchat => 60,
    };
    Some(Plan {
        seeds: if quick { 1 } else { seeds },
        warm_up: match system {
            // It weighs its first guess of five seconds against what it sees, and starts from nothing.
            SystemName::Chitchat => s(60),
            SystemName::Foca if large => s(5),
            SystemName::Convoke if metered => s(60),
            SystemName::Convoke => s(20),
            SystemName::Foca => s(10),
        },
        idle: match system {
            SystemName::Convoke if metered => s(300),
            SystemName::Chitchat => s(20),
            // foca asks for more members twice a minute, and the answers are most of what it sends.
            SystemName::Convoke | SystemName::Foca => s(30),
        },
        facts: match system {
            SystemName::Foca if large => 30,
            SystemName::Convoke | SystemName::Foca | SystemName::Chitchat => {
                case.nodes.min(100) as usize
            }
        },
        fact_window: if metered { s(60) } else { s(10) },
        verdict_window: s(window),
        newcomers: match system {
            SystemName::Convoke | SystemName::Foca if !large => 3,
            SystemName::Convoke | SystemName::Foca | SystemName::Chitchat => 1,
        },
        join_window: if large { s(10) } else { s(30) },
    })
}

fn takes_part(system: SystemName, case: &Case) -> bool {
    match system {
        SystemName::Convoke | SystemName::Foca => true,
        // Its digests grow with the cluster, and with them the time to simulate it.
        SystemName::Chitchat => {
            let plain = case.terrain == Terrain::Lan && case.story == Story::Deaths { percent: 1 };
            plain && case.nodes <= 300
        }
    }
}

/// What is left of everything when it has to end within five minutes.
fn is_quick(system: SystemName, case: &Case) -> bool {
    match system {
        SystemName::Convoke => {
            let long = case.terrain == Terrain::Wan || case.name.starts_with("kill");
            case.nodes <= 1_000 && case.name != "n1000/loss5" && !long
        }
        SystemName::Foca => {
            let small = case.nodes < 1_000 && case.terrain == Terrain::Lan;
            small || case.name == "n1000/loss0" || case.name == "cold1000"
        }
        SystemName::Chitchat => case.nodes <= 100 && case.loss_percent == 0,
    }
}
