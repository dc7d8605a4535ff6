//! What this node sees of all nodes, and what is decided about them, as the planner takes it.
//!
//! Deliberately not here: what follows.

use std::collections::BTreeMap;

use convoke_consensus::engine::Status;
use convoke_consensus::host::LogNode;
use convoke_driver::{Gossip, Member, Verdict};
use convoke_planner::roles::{
    Authority, Decided, Enrolled, Machine, Measured, Observed, Presence, Rules, Seen,
};
use convoke_types::wire::store::Revision;
use convoke_types::{NodeId, Role, Timestamp};

use super::report::{REPORT, Report};

/// All that a pass needs.
pub(super) struct World {
    pub(super) observed: Observed,
    pub(super) decided: Decided,
    /// The revision of each record, for which a change counts, and what each node says that it plays.
    pub(super) records: BTreeMap<NodeId, (Revision, Option<Role>)>,
    /// The time of the log when this was decided.
    pub(super) time: Timestamp,
}

/// Whether this node may propose. Before it has applied something of its own term it may not know what was decided in the one before; and while no
/// majority answers, all that it asks for would be decided later, when it sees more.
fn authority(status: &Status, is_frozen: bool) -> Authority {
    let knows = status.applied.term == status.term;
    if !status.is_leader() {
        Authority::Follows
    } else if status.is_doubtful || status.is_quiet || !knows {
        Authority::NoMajority
    } else if is_frozen {
        Authority::Frozen
    } else {
        Authority::Leads
    }
}

impl World {
    pub(super) fn of(log: &LogNode, gossip: Option<&Gossip>) -> Self {
        let status = log.status();
        let (_, frozen) = log.consensus().freeze();
        let roll = gossip.map(Gossip::members);
        let is_frozen = roll.as_ref().is_some_and(|roll| roll.frozen);
        let authority = authority(&status, is_frozen);
        let mut world = Self {
            observed: Observed {
                authority,
                nodes: BTreeMap::new(),
            },
            decided: Decided {
                rules: Rules::of_keys(|key| frozen.setting(key)),
                nodes: BTreeMap::new(),
            },
            records: BTreeMap::new(),
            time: frozen.time(),
        };
        for record in frozen.nodes() {
            let member = roll
                .as_ref()
                .and_then(|roll| roll.members.get(&record.node));
            let report = member.map(|member| report(member));
            let plays = report.as_ref().and_then(|report| report.plays);
            world.records.insert(record.node, (record.revision, plays));
            world
                .decided
                .nodes
                .insert(record.node, Enrolled::from(record));
            if let (Some(member), Some(report)) = (member, report) {
                world
                    .observed
                    .nodes
                    .insert(record.node, seen(member, report));
            }
        }
        world
    }
}

fn report(member: &Member) -> Report {
    let said = member.facts.free.get(REPORT);
    let read = said.map(|bytes| Report::from_bytes(bytes));
    let unknown = |why| Report {
        machine: Machine::unknown(why),
        plays: None,
        refused: None,
    };
    match read {
        Some(Ok(report)) => report,
        Some(Err(_)) => unknown("it says something that is not understood here"),
        None => unknown("it has not said anything yet"),
    }
}

fn seen(member: &Member, report: Report) -> Seen {
    let mut machine = report.machine;
    machine.load_permille = match member.facts.vitals.load {
        Some(load) => Measured::exact(u64::from(load.cpu_permille), "gossip"),
        None => Measured::unknown("it does not say", "gossip"),
    };
    Seen {
        presence: match member.verdict {
            Verdict::Reachable => Presence::Reachable,
            Verdict::Unreachable => Presence::Unreachable,
            Verdict::Failed => Presence::Failed,
            Verdict::Left => Presence::Left,
        },
        machine,
        refused: report.refused,
    }
}
