//! Which links there are, which of them is used, and which one goes: decided here, done elsewhere.
//!
//! A peer has one link in use. When both sides opened one at the same time, both keep the one that the lower node id opened, so
//! they agree without a word. A link that a peer opens although there is an older one means that it lost the older one, and
//! takes its place. A link that lost its place is *retired*: nothing is sent on it any more, it is still read for a moment, and
//! it is taken back when the other one ends first.
//!
//! Bounded: beyond [`Table::most`] the retired go first and then whichever was not used for longest.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_types::{Moment, NodeId};

/// Links opened within this time of each other were opened at the same time: an opening that takes longer was given up.
const SAME_TIME: Duration = Duration::from_secs(3);
/// How long a retired link is still read.
const GRACE: Duration = Duration::from_secs(2);

/// The links of a node.
#[derive(Debug)]
pub(crate) struct Table<L> {
    most: usize,
    idle: Duration,
    held: BTreeMap<u64, Held<L>>,
    in_use: BTreeMap<NodeId, u64>,
    next: u64,
}

#[derive(Debug)]
struct Held<L> {
    link: L,
    peer: NodeId,
    opener: NodeId,
    since: Moment,
    used: Moment,
    retired: Option<Moment>,
}

impl<L> Table<L> {
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self {
            most,
            idle,
            held: BTreeMap::new(),
            in_use: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes in a link; gives its number, and the links that must be closed for it.
    pub(crate) fn add(
        &mut self,
        peer: NodeId,
        opener: NodeId,
        link: L,
        now: Moment,
    ) -> (u64, Vec<L>) {
        let number = self.next;
        self.next += 1;
        let retired = match self.in_use.get(&peer).copied() {
            Some(old) if self.stays(old, opener, now) => Some(now),
            Some(old) => {
                if let Some(held) = self.held.get_mut(&old) {
                    held.retired = Some(now);
                }
                None
            }
            None => None,
        };
        if retired.is_none() {
            self.in_use.insert(peer, number);
        }
        let held = Held {
            link,
            peer,
            opener,
            since: now,
            used: now,
            retired,
        };
        self.held.insert(number, held);
        (number, self.make_room(number))
    }

    /// Whether the link in use stays when one opened by `opener` comes.
    fn stays(&self, old: u64, opener: NodeId, now: Moment) -> bool {
        self.held
            .get(&old)
            .is_some_and(|held| now.since(held.since) < SAME_TIME && held.opener < opener)
    }

    fn make_room(&mut self, newest: u64) -> Vec<L> {
        let mut closed = Vec::new();
        while self.held.len() > self.most {
            let least = self
                .held
                .iter()
                .filter(|(number, _)| **number != newest)
                .min_by_key(|(_, held)| (held.retired.is_none(), held.used))
                .map(|(number, _)| *number);
            let Some(least) = least else { break };
            closed.extend(self.remove(least));
        }
        closed
    }

    /// The link to use for a peer; it is used now.
    pub(crate) fn for_peer(&mut self, peer: &NodeId, now: Moment) -> Option<(u64, &L)> {
        let number = *self.in_use.get(peer)?;
        let held = self.held.get_mut(&number)?;
        held.used = now;
        Some((number, &held.link))
    }

    /// Something came over this link.
    pub(crate) fn heard(&mut self, number: u64, now: Moment) {
        if let Some(held) = self.held.get_mut(&number) {
            held.used = now;
        }
    }

    /// The first link in use for which this is so, and its peer.
    pub(crate) fn find(&self, is_so: impl Fn(&L) -> bool) -> Option<NodeId> {
        self.held
            .values()
            .find(|held| held.retired.is_none() && is_so(&held.link))
            .map(|held| held.peer)
    }

    /// The link is over. A retired one takes its place.
    pub(crate) fn remove(&mut self, number: u64) -> Option<L> {
        let gone = self.held.remove(&number)?;
        if self.in_use.get(&gone.peer) == Some(&number) {
            self.in_use.remove(&gone.peer);
            let heir = self
                .held
                .iter_mut()
                .filter(|(_, held)| held.peer == gone.peer)
                .max_by_key(|(_, held)| held.since);
            if let Some((number, held)) = heir {
                held.retired = None;
                self.in_use.insert(gone.peer, *number);
            }
        }
        Some(gone.link)
    }

    /// Links to close now: retired for long enough, or idle for too long.
    pub(crate) fn sweep(&mut self, now: Moment) -> Vec<L> {
        let over: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| match held.retired {
                Some(since) => now.since(since) >= GRACE,
                None => now.since(held.used) >= self.idle,
            })
            .map(|(number, _)| *number)
            .collect();
        over.into_iter()
            .filter_map(|number| self.remove(number))
            .collect()
    }

    /// All links, to be closed.
    pub(crate) fn drain(&mut self) -> Vec<L> {
        self.in_use.clear();
        std::mem::take(&mut self.held)
            .into_values()
            .map(|held| held.link)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    #[test]
    fn of_two_opened_at_the_same_time_both_sides_keep_the_one_of_the_lower_id() {
        let (low, high) = (node(1), node(2));
        for low_first in [true, false] {
            let kept = [(low, high), (high, low)].map(|(_me, peer)| {
                let mut table = Table::new(8, IDLE);
                let order = if low_first { [low, high] } else { [high, low] };
                for (step, opener) in order.into_iter().enumerate() {
                    table.add(peer, opener, opener, at(step as u64 * 100));
                }
                assert_eq!(table.len(), 2, "the other one is still read");
                assert_eq!(table.sweep(at(5_000)), [high]);
                *table.for_peer(&peer, at(5_000)).unwrap().1
            });
            assert_eq!(kept, [low, low]);
        }
    }

    #[test]
    fn a_link_that_a_peer_opens_again_takes_the_place_of_the_one_it_lost() {
        let (low, high) = (node(1), node(2));
        let mut table = Table::new(8, IDLE);
        table.add(high, low, "old", at(0));
        table.add(high, high, "again", at(10_000));
        assert_eq!(table.for_peer(&high, at(10_000)).unwrap().1, &"again");
        table.add(high, high, "and again", at(10_100));
        assert_eq!(table.for_peer(&high, at(10_100)).unwrap().1, &"and again");
    }

    #[test]
    fn when_the_link_in_use_ends_a_retired_one_is_taken_back() {
        let (low, high) = (node(1), node(2));
        let mut table = Table::new(8, IDLE);
        let (dead, _) = table.add(high, low, "dead", at(0));
        table.add(high, high, "alive", at(500));
        assert_eq!(table.for_peer(&high, at(500)).unwrap().1, &"dead");
        table.remove(dead);
        assert_eq!(table.for_peer(&high, at(600)).unwrap().1, &"alive");
        assert_eq!(table.sweep(at(5_000)), [""; 0], "it is retired no more");
    }

    #[test]
    fn idle_links_are_closed_and_busy_ones_are_not() {
        let mut table = Table::new(8, IDLE);
        table.add(node(2), node(1), "idle", at(0));
        let (busy, _) = table.add(node(3), node(1), "busy", at(0));
        table.heard(busy, at(30_000));
        assert_eq!(table.sweep(at(60_000)), ["idle"]);
        assert!(table.for_peer(&node(2), at(60_000)).is_none());
    }

    #[test]
    fn a_full_table_closes_the_retired_first_and_then_the_least_recently_used() {
        let mut table = Table::new(3, IDLE);
        table.add(node(2), node(1), "2", at(0));
        table.add(node(3), node(1), "3", at(1));
        table.add(node(4), node(1), "4", at(2));
        table.for_peer(&node(2), at(3));
        let (_, closed) = table.add(node(5), node(1), "5", at(4));
        assert_eq!(closed, ["3"]);
        let (_, closed) = table.add(node(5), node(5), "5 again", at(10_000));
        assert_eq!(closed, ["5"], "it was just retired");
        for number in 6..100 {
            table.add(node(number), node(1), "more", at(20_000));
            assert!(table.len() <= 3);
        }
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_public_key([number; 32])
    }

    fn at(ms: u64) -> Moment {
        Moment::START + Duration::from_millis(ms)
    }
}
