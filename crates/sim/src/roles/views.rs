//! Gossip, stood in for: what each node knows of the others, by whom it heard it, and what it makes of silence.
//!
//! A node's sign of life and its report travel from node to node, so a cut in one direction alone condemns nobody; the newest counts. Who is silent for
//! [`Patience::unreachable`] is unreachable, and after the hold failed; who is cut off itself judges nobody, as design 007 says. When more than a
//! few go at once, or a node is cut off for ten seconds, it freezes, until the log confirms a loss.
//!
//! Deliberately not here: votes of observers, and how news spread in a large cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use convoke_planner::roles::{Machine, Presence, Refused};
use convoke_types::Role;

/// A node that is cut off for so long, in milliseconds, suspects a partition.
const CUT_OFF: u64 = 10_000;
/// In a cluster of more than that, many that go at once are a partition, too.
const FEW: usize = 4;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Counts, so that the newer one is known.
    pub(super) version: u64,
    pub(super) machine: Machine,
    pub(super) plays: Role,
    pub(super) refused: Option<Refused>,
    /// It goes on purpose.
    pub(super) leaves: bool,
}

/// What is known of one node.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// When it gave the sign of life that came last.
    pub(super) alive_at: u64,
    pub(super) report: Arc<Report>,
    pub(super) verdict: Presence,
    /// When it became unreachable, while it is.
    since: u64,
}

/// How long silence may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) unreachable: u64,
    pub(super) hold: u64,
}

/// What one node knows of all.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) nodes: BTreeMap<usize, Heard>,
    pub(super) is_frozen: bool,
    cut_off_since: Option<u64>,
}

impl View {
    /// Takes news; says whether they are.
    pub(super) fn hear(&mut self, node: usize, alive_at: u64, report: &Arc<Report>) {
        let heard = self.nodes.entry(node).or_insert_with(|| Heard {
            alive_at,
            report: Arc::clone(report),
            verdict: Presence::Reachable,
            since: alive_at,
        });
        heard.alive_at = heard.alive_at.max(alive_at);
        if report.version > heard.report.version {
            heard.report = Arc::clone(report);
        }
    }

    /// Judges all others.
    pub(super) fn judge(&mut self, me: usize, now: u64, patience: Patience) {
        let is_silent = |it: &Heard| now.saturating_sub(it.alive_at) > patience.unreachable;
        let others = || {
            self.nodes
                .iter()
                .filter(|(node, _)| **node != me)
                .map(|(_, it)| it)
        };
        // Who was found to have failed is watched no more, and its silence says nothing about me.
        let watched =
            others().filter(|it| matches!(it.verdict, Presence::Reachable | Presence::Unreachable));
        let (mut silent, mut count) = (0, 0);
        for heard in watched {
            silent += usize::from(is_silent(heard));
            count += 1;
        }
        let is_cut_off = silent > 1 && 2 * silent > count;
        if is_cut_off {
            let since = *self.cut_off_since.get_or_insert(now);
            self.is_frozen |= now.saturating_sub(since) >= CUT_OFF;
        } else {
            self.cut_off_since = None;
        }
        let members = self.nodes.len();
        let mut gone_lately = 0;
        for (node, heard) in &mut self.nodes {
            if *node == me {
                heard.verdict = Presence::Reachable;
                continue;
            }
            let was = heard.verdict;
            heard.verdict = match was {
                _ if heard.report.leaves && is_silent(heard) => Presence::Left,
                _ if !is_silent(heard) => Presence::Reachable,
                Presence::Reachable => Presence::Unreachable,
                Presence::Unreachable
                    if !is_cut_off && now.saturating_sub(heard.since) >= patience.hold =>
                {
                    Presence::Failed
                }
                Presence::Unreachable | Presence::Failed | Presence::Left | Presence::Unseen => was,
            };
            if was == Presence::Reachable && heard.verdict == Presence::Unreachable {
                heard.since = now;
            }
            let is_out = matches!(heard.verdict, Presence::Unreachable | Presence::Failed);
            gone_lately += usize::from(is_out && now.saturating_sub(heard.since) < patience.hold);
        }
        if members > FEW && gone_lately > (members - 1).div_euclid(5).max(2) {
            self.is_frozen = true;
        }
    }

    /// The log knows who is lost. Those of them that are silent are waited for no more.
    pub(super) fn thaw(&mut self, now: u64, lost: impl Iterator<Item = usize>) {
        self.is_frozen = false;
        self.cut_off_since = None;
        for node in lost {
            let heard = self.nodes.get_mut(&node);
            if let Some(heard) = heard.filter(|it| it.verdict == Presence::Unreachable) {
                heard.verdict = Presence::Failed;
                heard.since = now.min(heard.since);
            }
        }
    }

    /// Those that do not answer.
    pub(super) fn out(&self) -> impl Iterator<Item = usize> + '_ {
        let out = self
            .nodes
            .iter()
            .filter(|(_, it)| matches!(it.verdict, Presence::Unreachable | Presence::Failed));
        out.map(|(node, _)| *node)
    }
}
