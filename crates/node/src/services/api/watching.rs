//! Who watches whom, as this node believes: the rings of its own view, and the doubts it has itself.
//!
//! Nobody else is asked, so the whole picture costs no more than a look, and is as old as the view. What others think of those they watch
//! is on the page of each (`see_node`).
//!
//! Deliberately not here: members that failed or left, which nobody watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use convoke_driver::{GossipError, Member};
use convoke_types::NodeId;
use convoke_web::model::{Kind, Stamp, Watching, WatchingLink, WatchingNode};
use convoke_web::{Code, Fault};

use super::ask::Desk;
use super::nodes::{doubt, verdict};
use crate::inspect::{self, WatchedReport};

impl Desk {
    pub(super) async fn see_watching(
        &self,
        around: Option<&str>,
        most: u32,
    ) -> Result<Watching, Fault> {
        let Some(gossip) = self.parts.gossip.get() else {
            return Err(Fault::new(
                Code::Unavailable,
                "this node takes no part in membership just now",
            )
            .advise("`GET /v1/status` says how its services do"));
        };
        let mut members = self.members();
        members.retain(|_, member| member.verdict.takes_part());
        let most = most as usize;
        let middle = match around {
            Some(text) => Some(self.resolve(text).await?),
            None => (members.len() > most).then(|| self.parts.me()),
        };
        let shown = match middle {
            None => members.keys().copied().collect(),
            Some(middle) if members.contains_key(&middle) => {
                let beside = gossip.beside(vec![middle]).await.map_err(stopped)?;
                neighbourhood(middle, beside.into_iter().flatten(), most)
            }
            Some(middle) => {
                let what = format!(
                    "node {} takes no part, so nobody watches it",
                    middle.short()
                );
                return Err(Fault::not_found(what)
                    .advise("`GET /v1/nodes` shows whether it failed or left"));
            }
        };
        let ids: Vec<NodeId> = shown.iter().copied().collect();
        let beside = gossip.beside(ids.clone()).await.map_err(stopped)?;
        let watched = inspect::watched(&self.parts).await;
        Ok(Watching {
            around: middle.map(|id| id.to_string()),
            links: links(self.parts.me(), ids.iter().zip(&beside), &shown, &watched),
            nodes: shown.iter().filter_map(|id| told(*id, &members)).collect(),
            total: members.len() as u64,
            stamp: Stamp {
                kind: Kind::Observed,
                revision: None,
                age_ms: Some(0),
            },
        })
    }
}

fn stopped(error: GossipError) -> Fault {
    Fault::new(Code::Unavailable, error.to_string())
}

/// One node and those beside it, at most so many of them all.
fn neighbourhood(
    middle: NodeId,
    beside: impl IntoIterator<Item = NodeId>,
    most: usize,
) -> BTreeSet<NodeId> {
    let others = beside.into_iter().take(most.saturating_sub(1));
    std::iter::once(middle).chain(others).collect()
}

/// The pairs among those shown, each once; of this node's own with what it thinks of the other.
fn links<'a>(
    me: NodeId,
    beside: impl Iterator<Item = (&'a NodeId, &'a Vec<NodeId>)>,
    shown: &BTreeSet<NodeId>,
    watched: &[WatchedReport],
) -> Vec<WatchingLink> {
    let doubts: BTreeMap<NodeId, _> = watched.iter().map(|it| (it.peer, doubt(me, it))).collect();
    let mut links = Vec::new();
    for (a, others) in beside {
        let mut behind: Vec<&NodeId> = others.iter().filter(|b| *b > a).collect();
        behind.retain(|b| shown.contains(*b));
        behind.sort_unstable();
        for b in behind {
            let other = [(a, b), (b, a)].into_iter().find(|(one, _)| **one == me);
            let doubt = other.and_then(|(_, other)| doubts.get(other));
            links.push(WatchingLink {
                a: a.to_string(),
                b: b.to_string(),
                phi: doubt.and_then(|it| it.phi),
                rtt_us: doubt.and_then(|it| it.rtt_us),
                heard_ms_ago: doubt.and_then(|it| it.heard_ms_ago),
            });
        }
    }
    links
}

fn told(id: NodeId, members: &BTreeMap<NodeId, Arc<Member>>) -> Option<WatchingNode> {
    let member = members.get(&id)?;
    Some(WatchingNode {
        id: id.to_string(),
        name: member.facts.profile.name.clone(),
        verdict: verdict(member.verdict),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from_public_key([seed; 32])
    }

    #[test]
    fn a_neighbourhood_has_its_middle_and_no_more_than_asked_for() {
        let others = || (1..20).map(node);
        for most in [1, 2, 7] {
            let shown = neighbourhood(node(0), others(), most);
            assert_eq!(shown.len(), most);
            assert!(shown.contains(&node(0)));
        }
        assert_eq!(neighbourhood(node(0), others(), 100).len(), 20);
    }

    #[test]
    fn a_pair_is_told_once_and_those_outside_are_left_out() {
        let mut ids: Vec<NodeId> = (0..4).map(node).collect();
        ids.sort_unstable();
        let [a, b, c, outside] = ids[..] else {
            unreachable!("four were made")
        };
        let shown = BTreeSet::from([a, b, c]);
        let beside = [vec![b, c, outside], vec![a, c], vec![b, a]];
        let watched = [WatchedReport {
            peer: a,
            phi_milli: Some(1_500),
            round_trip_us: Some(250),
            silent_ms: 30,
        }];
        let found = links(b, [&a, &b, &c].into_iter().zip(&beside), &shown, &watched);
        let pairs: Vec<(String, String)> = found
            .iter()
            .map(|link| (link.a.clone(), link.b.clone()))
            .collect();
        let pair = |one: NodeId, other: NodeId| (one.to_string(), other.to_string());
        assert_eq!(pairs, [pair(a, b), pair(a, c), pair(b, c)]);
        let heard: Vec<Option<u64>> = found.iter().map(|link| link.heard_ms_ago).collect();
        assert_eq!(heard, [Some(30), None, None], "only what this node watches");
        assert_eq!((found[0].phi, found[0].rtt_us), (Some(1.5), Some(250)));
    }
}
