//! A program that does what it is told and writes down whatever happens to it.

use std::time::Duration;

use bytes::Bytes;
use convoke_sim::{Actor, Birth, DiskFate, Network, Outbox, Packet, Place, World};
use convoke_types::Moment;

/// What a [`Scribe`] saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Wake,
    Datagram(Place, u8),
    Letter(Place, u8),
    Unreachable(Place),
}

/// Writes down what happens, and wakes when `alarm` says.
#[derive(Debug)]
pub(crate) struct Scribe {
    pub(crate) boot: u64,
    pub(crate) fate: DiskFate,
    pub(crate) seed: u64,
    pub(crate) found: Vec<(String, Bytes)>,
    pub(crate) seen: Vec<(Moment, Seen)>,
    pub(crate) alarm: Moment,
}

impl Scribe {
    pub(crate) fn new(birth: Birth<'_>) -> Self {
        let found = birth.disk.files();
        Self {
            boot: birth.boot,
            fate: birth.fate,
            seed: birth.seed,
            found: found.map(|(n, b)| (n.to_owned(), b.clone())).collect(),
            seen: Vec::new(),
            alarm: Moment::NEVER,
        }
    }

    /// Everything it saw but wake-ups, without times.
    pub(crate) fn received(&self) -> Vec<Seen> {
        let seen = self.seen.iter().map(|(_, seen)| seen.clone());
        seen.filter(|seen| *seen != Seen::Wake).collect()
    }

    /// The bytes of the letters it got.
    pub(crate) fn letters(&self) -> Vec<u8> {
        let byte = |(_, seen): &(Moment, Seen)| match seen {
            Seen::Letter(_, byte) => Some(*byte),
            Seen::Wake | Seen::Datagram(..) | Seen::Unreachable(_) => None,
        };
        self.seen.iter().filter_map(byte).collect()
    }

    /// The bytes of the datagrams it got.
    pub(crate) fn datagrams(&self) -> Vec<u8> {
        let byte = |(_, seen): &(Moment, Seen)| match seen {
            Seen::Datagram(_, byte) => Some(*byte),
            Seen::Wake | Seen::Letter(..) | Seen::Unreachable(_) => None,
        };
        self.seen.iter().filter_map(byte).collect()
    }
}

impl Actor for Scribe {
    fn wake(&mut self, now: Moment, _: &mut Outbox) {
        self.seen.push((now, Seen::Wake));
        if self.alarm <= now {
            self.alarm = Moment::NEVER;
        }
    }

    fn receive(&mut self, now: Moment, from: Place, packet: Packet, _: &mut Outbox) {
        let first = |bytes: Bytes| bytes.first().copied().unwrap_or(0);
        let seen = match packet {
            Packet::Datagram(bytes) => Seen::Datagram(from, first(bytes)),
            Packet::Letter(bytes) => Seen::Letter(from, first(bytes)),
            Packet::Unreachable => Seen::Unreachable(from),
        };
        self.seen.push((now, seen));
    }

    fn next_wakeup(&self) -> Moment {
        self.alarm
    }
}

/// A world of scribes that all live.
pub(crate) fn scribes(seed: u64, network: Network, hosts: usize) -> World<Scribe> {
    let mut world = World::new(seed, network, hosts, |_, birth| Scribe::new(birth));
    world.start_all(Duration::ZERO);
    world.run_for(Duration::ZERO);
    world
}

/// Lets one scribe send a datagram of one byte.
pub(crate) fn datagram(world: &mut World<Scribe>, from: Place, to: Place, byte: u8) {
    let packet = Packet::Datagram(Bytes::copy_from_slice(&[byte]));
    world.with_actor(from, |_, _, out| out.send(to, packet));
}

/// Lets one scribe send a letter of one byte.
pub(crate) fn letter(world: &mut World<Scribe>, from: Place, to: Place, byte: u8) {
    let packet = Packet::Letter(Bytes::copy_from_slice(&[byte]));
    world.with_actor(from, |_, _, out| out.send(to, packet));
}
