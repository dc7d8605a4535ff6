//! Who has a link with whom, what is owed on it, and what everything has weighed so far.
//!
//! A link joins two lives of two hosts. It is kept at the host with the lower number, in a short sorted list, and
//! dropped from there when it was idle for long: hosts that talk to everybody in turn do not fill the memory.
//!
//! Acknowledgements are settled late instead of being events: a packet that came in leaves a debt with a date, the
//! next packet back pays it when it leaves in time, and otherwise one acknowledgement is put on the account.

use crate::actor::Place;
use crate::nanos;
use crate::network::LinkCost;

/// A moment that never comes, in world time.
pub(crate) const NEVER: u64 = u64::MAX;

/// A link without a handshake, which never closes, is forgotten when nobody used it for so long. All it remembers is
/// the burst of losses it may be in.
const FORGOTTEN_AFTER: u64 = 10_000_000_000;

/// A host's list is looked through for forgotten links first at this length.
const SHORT_LIST: usize = 64;

/// What one host sent and received since the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What it put on the wire, lost or not.
    pub sent: Count,
    /// What reached it while it lived, also what its buffer then dropped.
    pub received: Count,
}

/// A count of packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Datagrams.
    pub datagrams: u64,
    /// Letters; one that was sent again counts once.
    pub letters: u64,
    /// Acknowledgements that found no packet to ride on.
    pub acknowledgements: u64,
    /// Handshakes begun, as opener or answerer.
    pub handshakes: u64,
    /// Bytes that programs handed over.
    pub payload_bytes: u64,
    /// Bytes on the wire: payload, overhead, resent pieces, acknowledgements and handshakes.
    pub wire_bytes: u64,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.letters += other.letters;
        self.acknowledgements += other.acknowledgements;
        self.handshakes += other.handshakes;
        self.payload_bytes += other.payload_bytes;
        self.wire_bytes += other.wire_bytes;
    }
}

impl Traffic {
    /// Adds another host's account.
    pub fn add(&mut self, other: &Self) {
        self.sent.add(&other.sent);
        self.received.add(&other.received);
    }
}

/// All links, and all accounts.
#[derive(Debug)]
pub(crate) struct Links {
    lists: Vec<List>,
    traffic: Vec<Traffic>,
}

/// The links of one host with hosts of higher numbers, sorted by number.
#[derive(Debug)]
struct List {
    links: Vec<Link>,
    look_through_at: usize,
}

/// Two hosts, and what is between them.
#[derive(Debug)]
pub(crate) struct Link {
    peer: Place,
    /// Which lives of the lower and the higher host it joins; 0 before the first handshake.
    pub(crate) lives: (u32, u32),
    /// When the handshake is through; never, if it failed.
    pub(crate) ready_at: u64,
    /// When something last got through.
    pub(crate) used_at: u64,
    /// When anybody last asked about it.
    asked_at: u64,
    upwards: Way,
    downwards: Way,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// Whether the network is losing everything here just now.
    pub(crate) in_burst: bool,
    /// When the last letter on this way arrives; the next one never comes before it.
    pub(crate) last_letter_at: u64,
    /// When the last letter arrives that has to be sent again; what would come sooner waits behind it.
    pub(crate) resent_letter_at: u64,
    /// Until when what came in on this way has to be acknowledged; 0 when nothing has to be.
    acknowledge_by: u64,
}

impl Link {
    fn new(peer: Place) -> Self {
        Self {
            peer,
            lives: (0, 0),
            ready_at: 0,
            used_at: 0,
            asked_at: 0,
            upwards: Way::default(),
            downwards: Way::default(),
        }
    }

    /// The way from one of its hosts to the other.
    pub(crate) fn way(&mut self, from: Place, to: Place) -> &mut Way {
        if from < to {
            &mut self.upwards
        } else {
            &mut self.downwards
        }
    }
}

impl Links {
    pub(crate) fn of(hosts: usize) -> Self {
        let list = || List {
            links: Vec::new(),
            look_through_at: SHORT_LIST,
        };
        Self {
            lists: std::iter::repeat_with(list).take(hosts).collect(),
            traffic: vec![Traffic::default(); hosts],
        }
    }

    /// The link between two hosts, in whatever state; made when there is none.
    pub(crate) fn between(&mut self, now: u64, a: Place, b: Place, cost: &LinkCost) -> &mut Link {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        let list = &mut self.lists[low.index()];
        let at = match list.links.binary_search_by_key(&high, |link| link.peer) {
            Ok(at) => at,
            Err(at) if list.links.len() < list.look_through_at => {
                list.links.insert(at, Link::new(high));
                at
            }
            Err(_) => {
                self.forget_idle(now, low, cost);
                self.insert(low, high)
            }
        };
        let link = &mut self.lists[low.index()].links[at];
        link.asked_at = now;
        link
    }

    fn insert(&mut self, low: Place, high: Place) -> usize {
        let links = &mut self.lists[low.index()].links;
        let at = links.partition_point(|link| link.peer < high);
        links.insert(at, Link::new(high));
        at
    }

    fn forget_idle(&mut self, now: u64, low: Place, cost: &LinkCost) {
        self.settle_list(now, low, cost);
        let forgotten_after = cost
            .handshake
            .map_or(FORGOTTEN_AFTER, |handshake| nanos(handshake.idle_timeout));
        let list = &mut self.lists[low.index()];
        let alive = |link: &Link| {
            let letters = link
                .upwards
                .last_letter_at
                .max(link.downwards.last_letter_at);
            link.asked_at.max(letters).saturating_add(forgotten_after) > now
        };
        list.links.retain(alive);
        list.look_through_at = SHORT_LIST.max(2 * list.links.len());
    }

    /// Something came in on the way between two hosts, and wants to be acknowledged.
    pub(crate) fn owes(&mut self, now: u64, from: Place, to: Place, cost: &LinkCost) {
        let Some(acknowledgement) = cost.acknowledgement else {
            return;
        };
        self.settle_way(now, from, to, cost);
        let way = self.between(now, from, to, cost).way(from, to);
        if way.acknowledge_by == 0 {
            way.acknowledge_by = now + nanos(acknowledgement.after);
        }
    }

    /// Something leaves the other way, with every acknowledgement that has not left by itself.
    pub(crate) fn pays(&mut self, now: u64, from: Place, to: Place, cost: &LinkCost) {
        if cost.acknowledgement.is_none() {
            return;
        }
        self.settle_way(now, to, from, cost);
        let owed = self.between(now, to, from, cost).way(to, from);
        owed.acknowledge_by = 0;
    }

    /// Charges the acknowledgement that left by itself on this way, if one did.
    fn settle_way(&mut self, now: u64, from: Place, to: Place, cost: &LinkCost) {
        let way = self.between(now, from, to, cost).way(from, to);
        if settle(way, now) {
            self.charge_acknowledgement(to, from, cost);
        }
    }

    fn settle_list(&mut self, now: u64, low: Place, cost: &LinkCost) {
        for at in 0..self.lists[low.index()].links.len() {
            let link = &mut self.lists[low.index()].links[at];
            let high = link.peer;
            let (up, down) = (
                settle(&mut link.upwards, now),
                settle(&mut link.downwards, now),
            );
            if up {
                self.charge_acknowledgement(high, low, cost);
            }
            if down {
                self.charge_acknowledgement(low, high, cost);
            }
        }
    }

    fn charge_acknowledgement(&mut self, from: Place, to: Place, cost: &LinkCost) {
        let wire_bytes = cost.acknowledgement.map_or(0, |cost| cost.wire_bytes);
        let count = acknowledgement_count(wire_bytes);
        self.sent(from, &count);
        self.received(to, &count);
    }

    pub(crate) fn sent(&mut self, place: Place, count: &Count) {
        self.traffic[place.index()].sent.add(count);
    }

    pub(crate) fn received(&mut self, place: Place, count: &Count) {
        self.traffic[place.index()].received.add(count);
    }

    /// Every account, with all acknowledgements up to now on it.
    pub(crate) fn traffic(&self, now: u64, cost: &LinkCost) -> Vec<Traffic> {
        let mut traffic = self.traffic.clone();
        let Some(acknowledgement) = cost.acknowledgement else {
            return traffic;
        };
        let count = acknowledgement_count(acknowledgement.wire_bytes);
        let mut charge = |way: &Way, from: Place, to: Place| {
            if is_overdue(way, now) {
                traffic[to.index()].sent.add(&count);
                traffic[from.index()].received.add(&count);
            }
        };
        for (low, list) in (0..).map(Place).zip(&self.lists) {
            for link in &list.links {
                charge(&link.upwards, low, link.peer);
                charge(&link.downwards, link.peer, low);
            }
        }
        traffic
    }

    pub(crate) fn reset_traffic(&mut self, now: u64, cost: &LinkCost) {
        for low in 0..self.lists.len() as u32 {
            self.settle_list(now, Place(low), cost);
        }
        self.traffic.fill(Traffic::default());
    }
}

fn acknowledgement_count(wire_bytes: u64) -> Count {
    Count {
        acknowledgements: 1,
        wire_bytes,
        ..Count::default()
    }
}

/// Whether an acknowledgement on this way left by itself before now.
fn is_overdue(way: &Way, now: u64) -> bool {
    way.acknowledge_by != 0 && way.acknowledge_by < now
}

/// Whether an acknowledgement on this way left by itself before now; if so, it is no longer owed.
fn settle(way: &mut Way, now: u64) -> bool {
    let left = is_overdue(way, now);
    if left {
        way.acknowledge_by = 0;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const COST: LinkCost = LinkCost::QUIC;
    const A: Place = Place(0);
    const B: Place = Place(1);

    fn acknowledgements(links: &Links, now: u64) -> (u64, u64) {
        let traffic = links.traffic(now, &COST);
        (
            traffic[B.index()].sent.acknowledgements,
            traffic[A.index()].received.acknowledgements,
        )
    }

    #[test]
    fn an_answer_in_time_carries_the_acknowledgement() {
        let mut links = Links::of(2);
        links.owes(0, A, B, &COST);
        links.pays(24 * MS, B, A, &COST);
        assert_eq!(acknowledgements(&links, 1_000 * MS), (0, 0));
    }

    #[test]
    fn silence_costs_one_acknowledgement_for_all_that_came_meanwhile() {
        let mut links = Links::of(2);
        links.owes(0, A, B, &COST);
        links.owes(20 * MS, A, B, &COST);
        assert_eq!(acknowledgements(&links, 24 * MS), (0, 0), "not yet due");
        assert_eq!(acknowledgements(&links, 26 * MS), (1, 1));
        links.pays(27 * MS, B, A, &COST);
        assert_eq!(acknowledgements(&links, 1_000 * MS), (1, 1));
    }

    #[test]
    fn idle_links_are_forgotten_and_their_debts_are_not() {
        let hosts = 1_000;
        let mut links = Links::of(hosts);
        for number in 1..hosts as u32 {
            let now = u64::from(number) * 40_000 * MS;
            links.owes(now, A, Place(number), &COST);
        }
        assert!(links.lists[0].links.len() <= SHORT_LIST);
        let paid = links.traffic(NEVER, &COST)[0].received.acknowledgements;
        assert_eq!(paid, hosts as u64 - 1);
    }
}
