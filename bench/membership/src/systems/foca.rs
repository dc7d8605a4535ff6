//! foca 2.0 in the virtual world: real encoding and decoding, its timers, and everything it sends.
//!
//! Settings are its own presets for the number of nodes, postcard as the codec, and identities that renew themselves, as
//! its documentation advises. Whoever starts with a full view gets it through `apply_many`; whoever knows one member asks it to
//! be let in, and again each second until it knows somebody. A fact travels as a custom
//! broadcast, since changing one's identity for it would cost much more. Packets weigh what UDP over IPv4 adds.
//!
//! It never says that a node does not answer: its suspicions are an inner matter, and not all nodes learn of one before the
//! node is declared down. So down is counted as failed and nothing as unreachable.

use core::cmp::Reverse;
use core::convert::Infallible;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use convoke_sim::{Actor, Birth, LinkCost, Outbox, Packet, Place};
use convoke_types::Moment;
use foca::{
    BroadcastHandler, Config, Foca, Identity, Invalidates, Member, Notification, PostcardCodec,
    Runtime, Timer,
};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use super::{CONTACT, Scene, System, fact, number_of};
use crate::cases::Terrain;
use crate::journal::{Journal, Learnt};

/// Bytes that say who speaks, in front of a fact.
const SPEAKER_BYTES: usize = 4;

/// How long a node that knows nobody waits until it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A cluster of foca nodes.
#[derive(Debug)]
pub(crate) struct FocaCluster {
    scene: Scene,
    journal: Journal,
    config: Config,
}

/// One node.
pub(crate) struct Node {
    foca: Foca<Id, PostcardCodec, SmallRng, Facts>,
    hands: Hands,
    /// Whom to ask to be let in, and when, until somebody is known.
    contact: Option<(Id, Moment)>,
}

/// Who a node is: about 18 bytes on the wire, a key, an address and how often it was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Id {
    key: u64,
    ip: u32,
    port: u16,
    renewed: u16,
}

impl Id {
    fn of(place: Place) -> Self {
        let address = place.first_address();
        let std::net::IpAddr::V4(ip) = address.ip() else {
            unreachable!("hosts of the world have IPv4 addresses")
        };
        Self {
            key: convoke_sim::random::mix(1, u64::from(place.0)),
            ip: ip.to_bits(),
            port: address.port(),
            renewed: 0,
        }
    }

    fn place(self) -> Place {
        Place(self.ip & 0xFFFF)
    }
}

impl Identity for Id {
    type Addr = u32;

    fn renew(&self) -> Option<Self> {
        Some(Self {
            renewed: self.renewed.wrapping_add(1),
            ..*self
        })
    }

    fn addr(&self) -> u32 {
        self.ip
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.renewed > adversary.renewed
    }
}

/// What a node heard others say: the number of each one's last fact.
#[derive(Debug)]
struct Facts {
    place: Place,
    heard: BTreeMap<Place, u32>,
    journal: Journal,
}

/// A fact on its way; a later one of the same speaker replaces it.
#[derive(Debug)]
struct Key(Place);

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl BroadcastHandler<Id> for Facts {
    type Key = Key;
    type Error = Infallible;

    fn receive_item(&mut self, data: &[u8], _: Option<&Id>) -> Result<Option<Key>, Infallible> {
        let (speaker, number) = read(data).expect("only facts are broadcast");
        if self.heard.get(&speaker).is_some_and(|last| *last >= number) {
            return Ok(None);
        }
        self.heard.insert(speaker, number);
        self.journal.note(self.place, Learnt::Fact(number));
        Ok(Some(Key(speaker)))
    }
}

fn read(data: &[u8]) -> Option<(Place, u32)> {
    let speaker = data.first_chunk::<SPEAKER_BYTES>()?;
    let number = number_of(&data[SPEAKER_BYTES..])?;
    Some((Place(u32::from_le_bytes(*speaker)), number))
}

/// What foca wants done, until the world asks for it.
#[derive(Debug)]
struct Hands {
    place: Place,
    now: Moment,
    journal: Journal,
    sends: Vec<(Place, Bytes)>,
    timers: BinaryHeap<Reverse<Due>>,
    count: u64,
}

/// A timer, when it is due, and a number that keeps equal ones in order.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: Moment,
    number: u64,
    timer: Timer<Id>,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Runtime<Id> for &mut Hands {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        let learnt = match notification {
            Notification::MemberUp(id) => Learnt::Here(id.place()),
            Notification::MemberDown(id) => Learnt::Failed(id.place()),
            Notification::Rejoin(_) => Learnt::Renewed,
            Notification::Rename(..)
            | Notification::Active
            | Notification::Idle
            | Notification::Defunct => return,
        };
        self.journal.note(self.place, learnt);
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.sends.push((to.place(), Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, timer: Timer<Id>, after: Duration) {
        self.count += 1;
        self.timers.push(Reverse(Due {
            at: self.now + after,
            number: self.count,
            timer,
        }));
    }
}

impl System for FocaCluster {
    type Node = Node;
    const WARNS: bool = false;

    fn new(scene: Scene, journal: Journal) -> Self {
        let nodes = NonZeroU32::new(scene.case.nodes).expect("no case is without nodes");
        let config = match scene.case.terrain {
            // Its bytes for a LAN are so few that it needs nothing else where they are paid for.
            Terrain::Lan | Terrain::Metered => Config::new_lan(nodes),
            Terrain::Wan => Config::new_wan(nodes),
        };
        Self {
            scene,
            journal,
            config,
        }
    }

    fn cost() -> LinkCost {
        LinkCost::UDP
    }

    fn birth(&self, place: Place, birth: Birth<'_>) -> Node {
        let facts = Facts {
            place,
            heard: BTreeMap::new(),
            journal: self.journal.clone(),
        };
        let mut hands = Hands {
            place,
            now: birth.now,
            journal: self.journal.clone(),
            sends: Vec::new(),
            timers: BinaryHeap::new(),
            count: 0,
        };
        let mut foca = Foca::with_custom_broadcast(
            Id::of(place),
            self.config.clone(),
            SmallRng::seed_from_u64(birth.seed),
            PostcardCodec,
            facts,
        );
        let knows_all = self.scene.knows_all(place);
        if knows_all {
            let others = (0..self.scene.case.nodes).filter(|other| *other != place.0);
            let members = others.map(|other| Member::alive(Id::of(Place(other))));
            foca.apply_many(members, false, &mut hands)
                .expect("members that are new to it");
        }
        Node {
            foca,
            hands,
            contact: (!knows_all && place != CONTACT).then(|| (Id::of(CONTACT), birth.now)),
        }
    }

    fn say(node: &mut Node, _: Moment, number: u32, _: &mut Outbox) {
        let mut data = node.hands.place.0.to_le_bytes().to_vec();
        data.extend_from_slice(&fact(number));
        node.foca
            .add_broadcast(&data)
            .expect("a fact is smaller than a packet");
    }
}

impl Node {
    /// foca asks once, and a lost packet would leave the node alone for ever.
    fn ask_to_join(&mut self, now: Moment) {
        match self.contact {
            Some(_) if self.foca.num_members() > 0 => self.contact = None,
            Some((contact, at)) if at <= now => {
                self.contact = Some((contact, now + ASK_AGAIN));
                let _ = self.foca.announce(contact, &mut self.hands);
            }
            Some(_) | None => {}
        }
    }

    fn send_all(&mut self, out: &mut Outbox) {
        for (to, bytes) in self.hands.sends.drain(..) {
            out.send(to, Packet::Datagram(bytes));
        }
    }
}

// What foca returns as errors are late or odd packets and timers, which it has dealt with; after a pause there are many.
impl Actor for Node {
    fn wake(&mut self, now: Moment, out: &mut Outbox) {
        self.hands.now = now;
        self.ask_to_join(now);
        while self.hands.timers.peek().is_some_and(|due| due.0.at <= now) {
            let Some(Reverse(due)) = self.hands.timers.pop() else {
                break;
            };
            let _ = self.foca.handle_timer(due.timer, &mut self.hands);
        }
        self.send_all(out);
    }

    fn receive(&mut self, now: Moment, _: Place, packet: Packet, out: &mut Outbox) {
        self.hands.now = now;
        if let Packet::Datagram(bytes) = packet {
            let _ = self.foca.handle_data(&bytes, &mut self.hands);
        }
        self.send_all(out);
    }

    fn next_wakeup(&self) -> Moment {
        let timer = self.hands.timers.peek();
        let timer = timer.map_or(Moment::NEVER, |due| due.0.at);
        let ask = self.contact.map_or(Moment::NEVER, |(_, at)| at);
        timer.min(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_identity_wins_and_means_the_same_host() {
        let id = Id::of(Place(4_711));
        let renewed = id.renew().unwrap();
        assert!(renewed.win_addr_conflict(&id) && !id.win_addr_conflict(&renewed));
        assert_eq!(renewed.place(), Place(4_711));
        assert_eq!(renewed.addr(), id.addr());
    }

    #[test]
    fn a_broadcast_says_who_speaks_and_what() {
        let mut data = 7_u32.to_le_bytes().to_vec();
        data.extend_from_slice(&fact(9));
        assert_eq!(read(&data), Some((Place(7), 9)));
        assert_eq!(read(&data[..6]), None);
    }
}
