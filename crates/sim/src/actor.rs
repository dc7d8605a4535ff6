//! The contract between the world and the program under test.
//!
//! - [`Actor`]: one node's program, which only computes. It is told what happened and answers into an [`Outbox`].
//! - [`Place`]: which host of the world. A host keeps its place through crashes; its address may change.
//! - [`Packet`]: what hosts send each other.
//! - [`Birth`]: what a program finds when its host starts.
//!
//! The world knows nothing of what a program is for: membership, a log and other people's systems are all
//! wrapped into an `Actor` by whoever tests them.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::fmt;

use bytes::Bytes;
use convoke_types::Moment;

use crate::disk::Disk;

/// One node's program: synchronous, and nothing reaches it but these calls.
///
/// `now` is always the host's own clock, which started anywhere and may drift.
pub trait Actor {
    /// Some timer of its may be due. Also called once right after the birth, before anything else.
    fn wake(&mut self, now: Moment, out: &mut Outbox);

    /// Something came from `from`.
    fn receive(&mut self, now: Moment, from: Place, packet: Packet, out: &mut Outbox);

    /// When it wants to be woken next, asked after every call; [`Moment::NEVER`] when it has no timers. A moment in
    /// the past means at once.
    fn next_wakeup(&self) -> Moment;
}

/// Which host of the world, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u32);

impl Place {
    /// As an index into a table with one row per host.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The address of its first start. Where it is today, the [`AddressBook`] knows.
    pub const fn first_address(self) -> SocketAddr {
        self.address_after(0)
    }

    /// Its address after this many moves; no two hosts ever share one.
    const fn address_after(self, moves: u32) -> SocketAddr {
        let [_, _, high, low] = self.0.to_be_bytes();
        let [_, port_high, port_low, second] = moves.to_be_bytes();
        let port = FIRST_PORT + u16::from_be_bytes([port_high, port_low]);
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, second, high, low)), port)
    }
}

const FIRST_PORT: u16 = 7_400;

/// An address has room for so many places.
pub(crate) const MOST_HOSTS: usize = 1 << 16;

/// An address has room for so many moves of one place.
const MOST_MOVES: u32 = 1 << 20;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What one host sends another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// May be lost, doubled and overtaken.
    Datagram(Bytes),
    /// Comes once and in the order sent, or not at all; then the sender gets [`Packet::Unreachable`].
    Letter(Bytes),
    /// Letters to the place it "comes from" could not be delivered; whether the last ones were is unknown.
    /// Made by the world only: sending one does nothing.
    Unreachable,
}

/// What a program finds when its host starts.
#[derive(Clone, Copy, Debug)]
pub struct Birth<'a> {
    /// Which start of this host this is, counted from 1. The world's own count: it goes on when the disk is lost.
    pub boot: u64,
    /// What became of the disk.
    pub fate: DiskFate,
    /// What is on it.
    pub disk: &'a Disk,
    /// Its address during this life.
    pub address: SocketAddr,
    /// What its clock shows.
    pub now: Moment,
    /// A number for its chance, different for each place and each start.
    pub seed: u64,
}

/// What became of a host's disk before a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskFate {
    /// There was nothing yet: the first start.
    New,
    /// All that was synced is there.
    Kept,
    /// The host starts with an empty disk.
    Lost,
}

/// What a program wants done. The world empties it after each call, in the order in which things were put in.
#[derive(Debug, Default)]
pub struct Outbox {
    pub(crate) sends: Vec<Sent>,
    pub(crate) disk: Vec<DiskAct>,
    pub(crate) notes: Vec<String>,
    pub(crate) book: AddressBook,
}

/// A packet on its way out.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) to: Place,
    /// Whether it goes to where the place is now; an old address reaches nobody.
    pub(crate) to_current_address: bool,
    pub(crate) packet: Packet,
}

/// What to do with the disk.
#[derive(Debug)]
pub(crate) enum DiskAct {
    Write(String, Bytes),
    Remove(String),
    Sync,
}

impl Outbox {
    /// Sends to the host at this place, wherever it lives now.
    #[inline]
    pub fn send(&mut self, to: Place, packet: Packet) {
        self.sends.push(Sent {
            to,
            to_current_address: true,
            packet,
        });
    }

    /// Sends to whoever lives at this address. At an address that was left nobody answers: datagrams vanish,
    /// letters come back as unreachable. To an address that nobody ever had, nothing is sent.
    pub fn send_to_address(&mut self, to: SocketAddr, packet: Packet) {
        let Some((to, to_current_address)) = self.book.who_had(to) else {
            return;
        };
        self.sends.push(Sent {
            to,
            to_current_address,
            packet,
        });
    }

    /// Writes a whole file; a crash takes it unless [`Outbox::sync`] follows.
    pub fn write(&mut self, name: impl Into<String>, bytes: impl Into<Bytes>) {
        self.disk.push(DiskAct::Write(name.into(), bytes.into()));
    }

    /// Removes a file; a crash brings it back unless [`Outbox::sync`] follows.
    pub fn remove(&mut self, name: impl Into<String>) {
        self.disk.push(DiskAct::Remove(name.into()));
    }

    /// Makes everything written before safe, before anything of this call is sent.
    pub fn sync(&mut self) {
        self.disk.push(DiskAct::Sync);
    }

    /// Leaves a line in the trace, for whoever reads the story of a failing seed.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// Who lives where.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// What was sent and not yet taken, for tests that call a program without a world.
    pub fn sent(&self) -> impl Iterator<Item = (Place, &Packet)> {
        self.sends.iter().map(|sent| (sent.to, &sent.packet))
    }
}

/// Who lives where, and who once did.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    moves: Vec<u32>,
}

impl AddressBook {
    /// A book of so many hosts, each at its first address.
    pub(crate) fn of(hosts: usize) -> Self {
        Self {
            moves: vec![0; hosts],
        }
    }

    /// Where this host lives, or last lived when it is dead.
    pub fn address_of(&self, place: Place) -> SocketAddr {
        let moves = self.moves.get(place.index()).copied().unwrap_or(0);
        place.address_after(moves)
    }

    /// Which host lives at this address.
    pub fn place_at(&self, address: SocketAddr) -> Option<Place> {
        self.who_had(address)
            .and_then(|(place, current)| current.then_some(place))
    }

    /// Which host has or had this address, and whether it still has.
    fn who_had(&self, address: SocketAddr) -> Option<(Place, bool)> {
        let IpAddr::V4(ip) = address.ip() else {
            return None;
        };
        let [_, _, high, low] = ip.octets();
        let place = Place(u32::from_be_bytes([0, 0, high, low]));
        let moves = *self.moves.get(place.index())?;
        let past = |moves| place.address_after(moves) == address;
        (0..=moves)
            .rev()
            .find(|&n| past(n))
            .map(|n| (place, n == moves))
    }

    /// The host gets an address that nobody had before.
    pub(crate) fn moved(&mut self, place: Place) {
        let moves = &mut self.moves[place.index()];
        *moves += 1;
        assert!(*moves < MOST_MOVES, "{place} moved {MOST_MOVES} times");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_its_place_until_the_host_moves() {
        let mut book = AddressBook::of(1_000);
        let place = Place(777);
        let first = place.first_address();
        assert_eq!(first.to_string(), "10.0.3.9:7400");
        assert_eq!(book.place_at(first), Some(place));
        for _ in 0..300 {
            book.moved(place);
        }
        let today = book.address_of(place);
        assert_eq!(today.to_string(), "10.44.3.9:7401");
        assert_eq!(book.place_at(today), Some(place));
        assert_eq!(book.place_at(first), None);
        assert_eq!(book.who_had(first), Some((place, false)));
    }

    #[test]
    fn nothing_is_sent_to_an_address_nobody_had() {
        let mut out = Outbox {
            book: AddressBook::of(3),
            ..Outbox::default()
        };
        let nobody = Place(3).first_address();
        out.send_to_address(nobody, Packet::Datagram(Bytes::new()));
        out.send_to_address(Place(2).first_address(), Packet::Letter(Bytes::new()));
        assert_eq!(
            out.sent().collect::<Vec<_>>(),
            [(Place(2), &Packet::Letter(Bytes::new()))]
        );
    }
}
