//! What would become of everybody under other rules, or without waiting: a planner that skips its patience, until nothing changes any more.
//!
//! Nothing is proposed by it. It says where the same world ends if it stays as it is, not how long that takes.
//!
//! Deliberately not here: a forecast. Who fails meanwhile, and what machines will measure, is not known.

use std::collections::BTreeMap;

use convoke_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use super::decision::{Notice, RoleChange};
use super::input::{Authority, Decided, Observed};
use super::pass::{Pass, Patience};
use super::planner::Planner;

/// After so many rounds a dry run ends, whether or not it has settled. Each round changes a node once at most, and roles are five.
pub const ROUNDS: usize = 16;

/// Where a dry run ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    /// Nodes that end in another role than they have, in the order of their ids, each with the reason for its last change.
    pub changes: Vec<RoleChange>,
    /// What a person should know in the end.
    pub notices: Vec<Notice>,
    /// Nothing more would change.
    pub is_settled: bool,
}

impl Planner {
    /// What would become of everybody if this were decided, for as long as the world stays as it is. Whether this planner may propose does not
    /// matter for it.
    #[must_use]
    pub fn dry_run(&self, now: Timestamp, observed: &Observed, decided: &Decided) -> DryRun {
        let mut planner = self.clone();
        let mut decided = decided.clone();
        let observed = Observed {
            authority: Authority::Leads,
            ..observed.clone()
        };
        let mut net: BTreeMap<NodeId, RoleChange> = BTreeMap::new();
        for _ in 0..ROUNDS {
            planner.look(now, &observed, &decided);
            planner.forget_asked();
            let pass = Pass::run(&planner, &observed, &decided, Patience::Skipped);
            let decision = pass.decision();
            if decision.changes.is_empty() {
                return DryRun::of(net, decision.notices, true);
            }
            for change in decision.changes {
                if let Some(enrolled) = decided.nodes.get_mut(&change.node) {
                    enrolled.role = change.to;
                }
                let from = net.get(&change.node).map_or(change.from, |it| it.from);
                net.insert(change.node, RoleChange { from, ..change });
            }
        }
        DryRun::of(net, Vec::new(), false)
    }
}

impl DryRun {
    fn of(net: BTreeMap<NodeId, RoleChange>, notices: Vec<Notice>, is_settled: bool) -> Self {
        let changes = net.into_values().filter(|it| it.from != it.to);
        Self {
            changes: changes.collect(),
            notices,
            is_settled,
        }
    }
}
