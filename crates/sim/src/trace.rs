//! What happened, boiled down to one number, and the last lines of it for people.
//!
//! Two runs of one seed must end with the same number: any clock, thread or order of a hash map that creeps in
//! changes it. Keeping lines is off at first, because a run makes millions of them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::actor::{Packet, Place};

/// Never keeps more lines than this.
const MOST_LINES: usize = 1 << 20;

/// A rolling hash over all that happened, and the last lines when asked for.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    keep: usize,
    lines: VecDeque<Line>,
}

/// One event as people read it.
#[derive(Clone, Debug)]
struct Line {
    at: u64,
    kind: Kind,
    place: Place,
    other: Place,
    length: usize,
    text: String,
}

/// What kind of event it was. The numbers go into the hash, so they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Woke = 1,
    Datagram = 2,
    Letter = 3,
    Unreachable = 4,
    Born = 5,
    Died = 6,
    Fault = 7,
    Note = 8,
    Command = 9,
    Paused = 10,
    Resumed = 11,
    Dropped = 12,
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            hash: seed,
            events: 0,
            keep: 0,
            lines: VecDeque::new(),
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events went into it.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Keeps the last so many lines from now on; 0 keeps none.
    pub(crate) fn keep(&mut self, lines: usize) {
        self.keep = lines.min(MOST_LINES);
        while self.lines.len() > self.keep {
            self.lines.pop_front();
        }
    }

    /// The lines that were kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(Line::to_string)
    }

    #[inline]
    pub(crate) fn packet(&mut self, at: u64, from: Place, to: Place, packet: &Packet) {
        let (kind, bytes) = match packet {
            Packet::Datagram(bytes) => (Kind::Datagram, &bytes[..]),
            Packet::Letter(bytes) => (Kind::Letter, &bytes[..]),
            Packet::Unreachable => (Kind::Unreachable, &[][..]),
        };
        self.event(at, kind, to, from, bytes, String::new);
    }

    #[inline]
    pub(crate) fn about(&mut self, at: u64, kind: Kind, place: Place) {
        self.event(at, kind, place, place, &[], String::new);
    }

    pub(crate) fn note(&mut self, at: u64, place: Place, text: &str) {
        self.event(at, Kind::Note, place, place, text.as_bytes(), || {
            text.to_owned()
        });
    }

    pub(crate) fn fault(&mut self, at: u64, text: &str) {
        let nowhere = Place(u32::MAX);
        self.event(at, Kind::Fault, nowhere, nowhere, text.as_bytes(), || {
            text.to_owned()
        });
    }

    #[inline]
    fn event(
        &mut self,
        at: u64,
        kind: Kind,
        place: Place,
        other: Place,
        bytes: &[u8],
        text: impl FnOnce() -> String,
    ) {
        self.events += 1;
        let places = u64::from(place.0) << 32 | u64::from(other.0);
        let length = bytes.len() as u64;
        for word in [at, kind as u64 | length << 8, places, hash_bytes(bytes)] {
            self.hash = stir(self.hash, word);
        }
        if self.keep > 0 {
            let (length, text) = (bytes.len(), text());
            self.remember(Line {
                at,
                kind,
                place,
                other,
                length,
                text,
            });
        }
    }

    fn remember(&mut self, line: Line) {
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            place,
            other,
            length,
            text,
            ..
        } = self;
        let at = Duration::from_nanos(self.at).as_secs_f64();
        write!(f, "{at:14.9} ")?;
        match kind {
            Kind::Woke => write!(f, "{place} woke"),
            Kind::Datagram => write!(f, "{place} got a datagram of {length} bytes from {other}"),
            Kind::Letter => write!(f, "{place} got a letter of {length} bytes from {other}"),
            Kind::Unreachable => write!(f, "{place} heard that {other} is unreachable"),
            Kind::Born => write!(f, "{place} started"),
            Kind::Died => write!(f, "{place} died"),
            Kind::Fault => write!(f, "fault: {text}"),
            Kind::Note => write!(f, "{place} noted: {text}"),
            Kind::Command => write!(f, "{place} was told something"),
            Kind::Paused => write!(f, "{place} stopped for a while"),
            Kind::Resumed => write!(f, "{place} went on"),
            Kind::Dropped => write!(f, "{place} dropped a packet: its buffer is full"),
        }
    }
}

#[inline]
fn stir(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9FB2_1C65_1E98_DF25);
    mixed ^ (mixed >> 32)
}

/// Eight bytes at a time: the world hashes every packet, so this has to be cheap.
fn hash_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(0, |hash, word| stir(hash, u64::from_le_bytes(*word)));
    rest.iter()
        .fold(hash, |hash, byte| stir(hash, u64::from(*byte) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn hash_of(bytes: &'static [u8]) -> u64 {
        let mut trace = Trace::new(1);
        let packet = Packet::Datagram(Bytes::from_static(bytes));
        trace.packet(5, Place(0), Place(1), &packet);
        trace.hash()
    }

    #[test]
    fn every_byte_counts() {
        let hashes = [
            hash_of(b""),
            hash_of(b"\0"),
            hash_of(b"\0\0"),
            hash_of(b"12345678"),
            hash_of(b"12345679"),
            hash_of(b"123456781"),
        ];
        let different: std::collections::BTreeSet<u64> = hashes.into_iter().collect();
        assert_eq!(different.len(), hashes.len());
        assert_eq!(hash_of(b"12345678"), hash_of(b"12345678"));
    }

    #[test]
    fn only_the_last_lines_are_kept_and_only_on_demand() {
        let mut trace = Trace::new(1);
        trace.about(1, Kind::Born, Place(1));
        assert_eq!(trace.lines().count(), 0);
        trace.keep(2);
        trace.about(2, Kind::Woke, Place(1));
        trace.note(3_500_000_000, Place(2), "hello");
        trace.fault(4_000_000_000, "Heal");
        let lines: Vec<String> = trace.lines().collect();
        assert_eq!(
            lines,
            [
                "   3.500000000 #2 noted: hello",
                "   4.000000000 fault: Heal"
            ]
        );
        assert_eq!(trace.events(), 4);
    }
}
