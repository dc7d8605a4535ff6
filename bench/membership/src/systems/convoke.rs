//! Convoke's membership machine in the virtual world: the adapter with which its own tests run it, and notes.
//!
//! Settings are the presets for the terrain. Signatures are twins, which weigh as much as real ones. Packets weigh what QUIC
//! makes of them, acknowledgements and handshakes included: the price of encryption and of streams, which the others
//! do not have.

use bytes::Bytes;
use convoke_membership::{EventKind, Fact, Input, Params};
use convoke_sim::member::place_of;
use convoke_sim::{Actor, Birth, Cluster, LinkCost, MemberActor, Outbox, Packet, Place};
use convoke_types::Moment;
use std::sync::Arc;

use super::{CONTACT, Scene, System, fact, number_of};
use crate::cases::{REGIONS, Terrain};
use crate::journal::{Journal, Learnt};

/// The key of the fact that changes.
const KEY: &str = "fact";

/// A cluster of members.
#[derive(Debug)]
pub(crate) struct Convoke {
    scene: Scene,
    journal: Journal,
    acquainted: Cluster,
    joining: Cluster,
}

/// One member, and where it notes what it comes to believe.
#[derive(Debug)]
pub(crate) struct Node {
    place: Place,
    member: MemberActor,
    /// How many of its events were noted.
    read: usize,
    journal: Journal,
}

impl System for Convoke {
    type Node = Node;
    const WARNS: bool = true;

    fn new(scene: Scene, journal: Journal) -> Self {
        let nodes = scene.case.nodes;
        let (params, zone): (_, fn(Place) -> Option<String>) = match scene.case.terrain {
            Terrain::Lan => (Params::lan(nodes as usize), |_| None),
            Terrain::Wan => (Params::wan(nodes as usize), |place| Some(region(place))),
            Terrain::Metered => (Params::metered(), |_| None),
        };
        let joining = Cluster {
            seeds: vec![CONTACT],
            keep_roll: false,
            zone,
            ..Cluster::joining(params)
        };
        let known = (0..nodes)
            .map(Place)
            .filter(|place| scene.knows_all(*place));
        let sheets = known.map(|place| Arc::new(joining.introduction(place)));
        let acquainted = Cluster {
            remembered: Arc::new(sheets.collect()),
            seeds: Vec::new(),
            ..joining.clone()
        };
        Self {
            scene,
            journal,
            acquainted,
            joining,
        }
    }

    fn cost() -> LinkCost {
        LinkCost::QUIC
    }

    fn birth(&self, place: Place, birth: Birth<'_>) -> Node {
        let cluster = if self.scene.knows_all(place) {
            &self.acquainted
        } else {
            &self.joining
        };
        Node {
            place,
            member: cluster.member(place, birth),
            read: 0,
            journal: self.journal.clone(),
        }
    }

    fn say(node: &mut Node, now: Moment, number: u32, out: &mut Outbox) {
        let value = Bytes::from(fact(number));
        let key = KEY.to_owned();
        node.member
            .machine
            .set_fact(now, Fact::Free { key, value })
            .expect("a short fact fits");
        node.member.tell(now, Input::Wake, out);
        node.note();
    }
}

fn region(place: Place) -> String {
    format!("region {}", place.0 % REGIONS)
}

impl Node {
    fn note(&mut self) {
        for event in self.member.record.since(self.read) {
            if let Some(learnt) = learnt(&event.kind) {
                self.journal.note(self.place, learnt);
            }
        }
        self.read = self.member.record.len();
    }
}

fn learnt(kind: &EventKind) -> Option<Learnt> {
    match kind {
        EventKind::NodeJoined(member)
        | EventKind::NodeReachable(member)
        | EventKind::NodeRejoined(member) => Some(Learnt::Here(place_of(&member.id))),
        EventKind::NodeUnreachable(member) => Some(Learnt::Unreachable(place_of(&member.id))),
        EventKind::NodeFailed(member) => Some(Learnt::Failed(place_of(&member.id))),
        EventKind::NodeUpdated(member) => {
            let number = number_of(member.facts.free(KEY)?)?;
            Some(Learnt::Fact(number))
        }
        EventKind::NodeLeft(_)
        | EventKind::NodeForgotten(_)
        | EventKind::PartitionSuspected { .. }
        | EventKind::PartitionHealed
        | EventKind::FreezeEnded => None,
    }
}

impl Actor for Node {
    fn wake(&mut self, now: Moment, out: &mut Outbox) {
        self.member.wake(now, out);
        self.note();
    }

    fn receive(&mut self, now: Moment, from: Place, packet: Packet, out: &mut Outbox) {
        self.member.receive(now, from, packet, out);
        self.note();
    }

    fn next_wakeup(&self) -> Moment {
        self.member.next_wakeup()
    }
}
