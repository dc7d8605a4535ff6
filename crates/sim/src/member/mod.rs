//! Membership as the program of a host: what a driver does on a real machine, done for the virtual one.
//!
//! A host's identity lives on its disk, as does the number of its starts; so a host that lost its disk comes back as somebody
//! else. Ids end with the number of the place, so that whoever holds one knows which host it means.
//!
//! - [`Cluster`]: how the members of a world are set up.
//! - [`MemberActor`]: one of them, with a record of what it reported.
//! - [`oracles`]: what is promised of them, and [`calendar`]: when something was wrong with whom.
//! - [`tale`]: stories that a seed draws. [`large`]: larger ones, with figures.
//! - [`script`]: stories as text.

pub mod calendar;
pub mod large;
mod liar;
pub mod oracles;
mod record;
pub mod script;
pub mod tale;

use core::net::SocketAddr;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoke_membership::facts::Address;
use convoke_membership::{
    Effect, Event, EventKind, Fact, Facts, Input, Membership, Params, Roll, Seal, Sheet, Start,
    Target, TwinSeal,
};
use convoke_types::wire::gossip::unit::Page;
use convoke_types::{ClusterId, Incarnation, Moment, NodeId, codec};

use crate::actor::{Actor, Birth, DiskFate, Outbox, Packet, Place};
use crate::random::Random;
use liar::Liar;
pub use record::Record;

/// How often a member writes down whom it knows.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);

/// How the members of a world are set up.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Their cluster.
    pub id: ClusterId,
    /// Settings, the same for all.
    pub params: Params,
    /// Where members join; a host that is the only seed joins nobody.
    pub seeds: Vec<Place>,
    /// Members that everybody remembers from before.
    pub remembered: Arc<Vec<Arc<Sheet>>>,
    /// Which zone a host is in.
    pub zone: fn(Place) -> Option<String>,
    /// Keep what was reported, and follow it on a roll: for oracles. Costs memory at every member for every member.
    pub keep_roll: bool,
    /// Who is at the other end of a link. Two clusters in one world share it.
    pub directory: Directory,
    /// Members remember on disk whom they knew, and start with them again.
    pub remembers: bool,
    /// A link to a member needs an address of it that is still right, unless it has opened one itself. Costs time.
    pub needs_addresses: bool,
    /// Hosts that start with a copy of somebody else's data directory, and whose.
    pub copies: BTreeMap<Place, Place>,
}

/// Which identity each host has now: what certificates say on a real link.
#[derive(Debug, Clone, Default)]
pub struct Directory(Rc<RefCell<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    nodes: BTreeMap<Place, NodeId>,
    /// Whom each host knew when it last wrote that down. It stands for a file.
    remembered: BTreeMap<Place, Vec<Arc<Sheet>>>,
}

impl Directory {
    /// The identity of a host, once it has started.
    #[must_use]
    pub fn at(&self, place: Place) -> Option<NodeId> {
        self.0.borrow().nodes.get(&place).copied()
    }

    fn set(&self, place: Place, node: NodeId) {
        self.0.borrow_mut().nodes.insert(place, node);
    }

    fn remember(&self, place: Place, sheets: Vec<Arc<Sheet>>) {
        self.0.borrow_mut().remembered.insert(place, sheets);
    }

    fn remembered(&self, place: Place) -> Option<Vec<Arc<Sheet>>> {
        self.0.borrow().remembered.get(&place).cloned()
    }
}

impl Cluster {
    /// A cluster whose members find each other by way of the first host.
    #[must_use]
    pub fn joining(params: Params) -> Self {
        Self {
            id: ClusterId::from_bytes(*b"a virtual world."),
            params,
            seeds: vec![Place(0)],
            remembered: Arc::default(),
            zone: |_| None,
            keep_roll: true,
            directory: Directory::default(),
            remembers: false,
            needs_addresses: false,
            copies: BTreeMap::new(),
        }
    }

    /// A cluster of so many hosts that all know each other from the beginning.
    #[must_use]
    pub fn acquainted(params: Params, hosts: u32) -> Self {
        let mut cluster = Self {
            seeds: Vec::new(),
            keep_roll: false,
            ..Self::joining(params)
        };
        let sheets = (0..hosts).map(|place| Arc::new(cluster.introduction(Place(place))));
        cluster.remembered = Arc::new(sheets.collect());
        cluster
    }

    /// The same cluster with zones. Those who are remembered are remembered with theirs: a page is one thing only.
    #[must_use]
    pub fn in_zones(mut self, zone: fn(Place) -> Option<String>) -> Self {
        self.zone = zone;
        let sheets = (0..self.remembered.len()).map(|place| {
            let place = Place(u32::try_from(place).expect("hosts are fewer"));
            Arc::new(self.introduction(place))
        });
        self.remembered = Arc::new(sheets.collect());
        self
    }

    /// The program of a host at its birth.
    #[must_use]
    pub fn member(&self, place: Place, birth: Birth<'_>) -> MemberActor {
        let (identity, boot) = match birth.fate {
            // A copy starts once more than what it was copied from.
            DiskFate::New if self.copies.contains_key(&place) => (1, 2),
            DiskFate::New | DiskFate::Lost => (birth.boot, 1),
            DiskFate::Kept => (
                number(birth.disk.read(IDENTITY)).unwrap_or(birth.boot),
                number(birth.disk.read(BOOT)).unwrap_or(0) + 1,
            ),
        };
        let node = node_id(*self.copies.get(&place).unwrap_or(&place), identity);
        self.directory.set(place, node);
        let start = Start {
            cluster: self.id,
            node,
            boot,
            addresses: vec![birth.address],
            seed: birth.seed,
            seal: Box::new(TwinSeal::new(node)),
            params: self.params.clone(),
            remembered: self.remembered_by(place, node, birth.fate),
        };
        let mut machine = Membership::new(start, birth.now);
        if let Some(zone) = (self.zone)(place) {
            machine
                .set_fact(birth.now, Fact::Zone(zone))
                .expect("zones of stories are short");
        }
        MemberActor {
            roll: if self.keep_roll {
                machine.roll()
            } else {
                Roll::default()
            },
            keep_roll: self.keep_roll,
            machine,
            effects: Vec::new(),
            record: Record::default(),
            born: Some((identity, boot)),
            join: self
                .seeds
                .iter()
                .copied()
                .filter(|seed| *seed != place)
                .collect(),
            contested: None,
            gone: false,
            directory: self.directory.clone(),
            place,
            remember_at: self.remembers.then_some(birth.now),
            links: self.needs_addresses.then(BTreeMap::new),
            cluster: self.id,
            liar: None,
        }
    }

    fn remembered_by(&self, place: Place, node: NodeId, fate: DiskFate) -> Vec<Arc<Sheet>> {
        let sheets = match fate {
            DiskFate::Lost => Vec::new(),
            DiskFate::Kept if self.remembers => {
                self.directory.remembered(place).unwrap_or_default()
            }
            DiskFate::New | DiskFate::Kept => self.remembered.to_vec(),
        };
        sheets
            .into_iter()
            .filter(|sheet| sheet.node() != node)
            .collect()
    }

    /// The page by which a host is known in its first life.
    #[must_use]
    pub fn introduction(&self, place: Place) -> Sheet {
        let node = node_id(place, 1);
        let profile = Facts {
            profile: convoke_membership::facts::Profile {
                addresses: vec![Address::from(place.first_address())],
                zone: (self.zone)(place),
                ..Default::default()
            },
            ..Facts::default()
        }
        .profile;
        let mut page = Page {
            node,
            boot: 1,
            number: 0,
            version: 1,
            content: Bytes::from(codec::to_vec(&profile).expect("plain data")),
            signature: [0; 64],
        };
        page.signature = TwinSeal::new(node).sign(&page.message(self.id));
        Sheet::new(page)
    }
}

const IDENTITY: &str = "identity";
const BOOT: &str = "boot";

fn number(bytes: Option<&Bytes>) -> Option<u64> {
    let bytes: [u8; 8] = bytes?.as_ref().try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// The id of a host's so-and-so-many-th identity.
#[must_use]
pub fn node_id(place: Place, identity: u64) -> NodeId {
    let mut random = Random::from_seed(u64::from(place.0) << 32 ^ identity);
    let mut id = [0; 32];
    for word in id.chunks_mut(8) {
        word.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    id[28..].copy_from_slice(&place.0.to_be_bytes());
    NodeId::from_public_key(id)
}

/// Which host an id means.
#[must_use]
pub fn place_of(id: &NodeId) -> Place {
    let [.., a, b, c, d] = *id.as_bytes();
    Place(u32::from_be_bytes([a, b, c, d]))
}

/// A member as stories name it: its place, and a letter when the host was somebody else before.
#[must_use]
pub fn name_of(id: &NodeId) -> String {
    let place = place_of(id);
    let identity = (1..=26).find(|identity| node_id(place, *identity) == *id);
    match identity.and_then(|identity| char::from_digit(identity as u32 + 9, 36)) {
        Some('a') => place.to_string(),
        letter => format!("{place}{}", letter.unwrap_or('?')),
    }
}

/// Membership on a virtual host.
#[derive(Debug)]
pub struct MemberActor {
    /// The machine.
    pub machine: Membership,
    /// What it reported.
    pub record: Record,
    /// What follows from what it reported, when the cluster keeps rolls.
    pub roll: Roll,
    /// Somebody else spoke as this node.
    pub contested: Option<Incarnation>,
    /// It said farewell and went.
    pub gone: bool,
    keep_roll: bool,
    effects: Vec<Effect>,
    /// Identity and boot, until they are on disk.
    born: Option<(u64, u64)>,
    /// Where to join first.
    join: Vec<Place>,
    directory: Directory,
    place: Place,
    /// When it next writes down whom it knows, if it does.
    remember_at: Option<Moment>,
    /// Where hosts were when they last were heard of, if that matters: an answer needs no address.
    links: Option<BTreeMap<Place, SocketAddr>>,
    cluster: ClusterId,
    liar: Option<Liar>,
}

impl MemberActor {
    /// Tells the machine something.
    pub fn tell(&mut self, now: Moment, input: Input, out: &mut Outbox) {
        self.record.next_step();
        self.machine.handle(now, input, &mut self.effects);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: &mut Outbox) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Datagram { to, bytes } => {
                    self.send(&to, Packet::Datagram(bytes), out);
                }
                Effect::Letter { to, bytes } => match to {
                    Target::Node(to) => self.send(&to, Packet::Letter(bytes), out),
                    Target::Address(to) => out.send_to_address(to, Packet::Letter(bytes)),
                },
                Effect::Event(event) => self.note(event, out),
                Effect::Gone => self.gone = true,
                Effect::Contested(incarnation) => self.contested = Some(incarnation),
            }
        }
        self.effects = effects;
    }

    /// Whoever lives there now must be the one that is meant, or no link comes to be.
    fn send(&mut self, to: &NodeId, packet: Packet, out: &mut Outbox) {
        let place = place_of(to);
        let is_meant = self.directory.at(place).is_none_or(|node| node == *to);
        if !is_meant || !self.finds(to, place, out) {
            return;
        }
        let packet = match (&mut self.liar, packet) {
            (Some(liar), Packet::Datagram(bytes)) => {
                let me = self.machine.id();
                let members = self.machine.members().filter(|member| member.id != me);
                let others: Vec<_> = members.map(|of| (of.id, of.incarnation)).collect();
                Packet::Datagram(liar.twist(&bytes, &others))
            }
            (_, packet) => packet,
        };
        out.send(place, packet);
    }

    /// From now on it lies about others.
    pub fn begin_to_lie(&mut self) {
        self.liar = Some(Liar::new(self.cluster, self.machine.id()));
    }

    /// Whether there is a link to a member, or a way to open one.
    fn finds(&self, to: &NodeId, place: Place, out: &Outbox) -> bool {
        let Some(links) = &self.links else {
            return true;
        };
        let address = out.book().address_of(place);
        links.get(&place) == Some(&address)
            || self
                .machine
                .member(to)
                .is_some_and(|member| member.facts.addresses().any(|known| known == address))
    }

    /// Writes down whom it knows, now and then.
    fn remember(&mut self, now: Moment) {
        if self.remember_at.is_some_and(|at| now >= at) {
            self.remember_at = Some(now + REMEMBER_EVERY);
            let sheets = self.machine.introductions().collect();
            self.directory.remember(self.place, sheets);
        }
    }

    fn note(&mut self, event: Event, out: &mut Outbox) {
        if self.keep_roll {
            self.roll
                .apply(&event)
                .expect("a machine numbers its events without a gap");
            out.note(line(&event.kind));
        }
        self.record.push(event);
    }
}

/// The key of a free fact that only ever rises, by which stories see that facts do not go back.
const COUNTER: &str = "counter";

/// What a member that counts has counted up to; 0 when it does not.
#[must_use]
pub fn counter_of(facts: &Facts) -> u64 {
    number(facts.free(COUNTER)).unwrap_or(0)
}

/// The fact by which a member says how far it has counted.
#[must_use]
pub fn counter(value: u64) -> Fact {
    Fact::Free {
        key: COUNTER.to_owned(),
        value: Bytes::copy_from_slice(&value.to_le_bytes()),
    }
}

/// An event as a line of a story.
#[must_use]
pub fn line(kind: &EventKind) -> String {
    if let EventKind::PartitionSuspected { gone, of } = kind {
        return format!("{} {gone} of {of}", kind.name());
    }
    match kind.member() {
        Some(member) => format!(
            "{} {} {}",
            kind.name(),
            name_of(&member.id),
            member.incarnation
        ),
        None => kind.name().to_owned(),
    }
}

impl Actor for MemberActor {
    fn wake(&mut self, now: Moment, out: &mut Outbox) {
        if let Some((identity, boot)) = self.born.take() {
            out.write(IDENTITY, identity.to_le_bytes().to_vec());
            out.write(BOOT, boot.to_le_bytes().to_vec());
            out.sync();
            let addresses = self.join.iter().map(|seed| out.book().address_of(*seed));
            let addresses = addresses.collect();
            self.machine
                .handle(now, Input::Join { addresses }, &mut self.effects);
        }
        self.tell(now, Input::Wake, out);
        self.remember(now);
    }

    fn receive(&mut self, now: Moment, from: Place, packet: Packet, out: &mut Outbox) {
        if let Some(links) = &mut self.links {
            links.insert(from, out.book().address_of(from));
        }
        let Some(from) = self.directory.at(from) else {
            return;
        };
        let input = match packet {
            Packet::Datagram(bytes) => Input::Datagram { from, bytes },
            Packet::Letter(bytes) => Input::Letter { from, bytes },
            Packet::Unreachable => Input::Unreached { node: from },
        };
        self.tell(now, input, out);
    }

    fn next_wakeup(&self) -> Moment {
        if self.born.is_some() {
            return Moment::START;
        }
        self.machine.next_wakeup()
    }
}
