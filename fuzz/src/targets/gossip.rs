//! The bytes of gossip: units, datagrams and letters.
//!
//! - What decodes encodes to bytes that decode to the same.
//! - Nothing is larger than its limit, and nobody is made to hold more than was sent.
//! - Units are passed on as they were signed: a unit encodes to the very bytes it was read from.

use convoke_types::wire::gossip::datagram::{
    DATAGRAM_MAX, DatagramReader, DatagramWriter, Entry, Probe, Section,
};
use convoke_types::wire::gossip::letter::Letter;
use convoke_types::wire::gossip::unit::{Page, SIGNATURE, Standing, Unit, Vote};
use convoke_types::wire::gossip::{GossipError, Handle};
use convoke_types::{ClusterId, Incarnation, NodeId};

use super::is_short;
use crate::Random;

pub(super) const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

pub(super) fn check(input: &[u8]) {
    check_unit(input);
    check_datagram(input);
    check_letter(input);
}

fn check_unit(input: &[u8]) {
    match Unit::decode(input) {
        Ok(unit) => {
            let mut again = Vec::new();
            unit.put(&mut again);
            assert_eq!(again, input, "{unit:?}");
            assert!(again.len() <= unit.size());
        }
        Err(error) => is_short(&error.to_string()),
    }
}

fn check_datagram(input: &[u8]) {
    let (sections, end) = read(input);
    if let Err(error) = end {
        is_short(&error.to_string());
    }
    let mut writer = DatagramWriter::new(CLUSTER);
    let all_fit = sections.iter().all(|section| writer.put(section));
    let again = writer.finish();
    assert!(again.len() <= DATAGRAM_MAX);
    if all_fit {
        assert_eq!(read(&again), (sections, Ok(())));
    }
}

fn read(bytes: &[u8]) -> (Vec<Section>, Result<(), GossipError>) {
    let mut sections = Vec::new();
    let mut reader = match DatagramReader::new(CLUSTER, bytes) {
        Ok(reader) => reader,
        Err(error) => return (sections, Err(error)),
    };
    loop {
        match reader.next_section() {
            Ok(Some(section)) => sections.push(section),
            Ok(None) => return (sections, Ok(())),
            Err(error) => return (sections, Err(error)),
        }
    }
}

fn check_letter(input: &[u8]) {
    match Letter::decode(CLUSTER, input) {
        Ok(letter) => {
            let again = letter.encode(CLUSTER);
            assert_eq!(Letter::decode(CLUSTER, &again), Ok(letter));
        }
        Err(error) => is_short(&error.to_string()),
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => {
            let mut bytes = Vec::new();
            unit(random).put(&mut bytes);
            bytes
        }
        1 => {
            let mut writer = DatagramWriter::new(CLUSTER);
            for _ in 0..random.below(6) {
                let _ = writer.put(&section(random));
            }
            writer.finish()
        }
        _ => letter(random).encode(CLUSTER),
    }
}

pub(super) fn letter(random: &mut Random) -> Letter {
    let units = random.list(6, unit);
    match random.below(4) {
        0 => Letter::Sync {
            known: random.list(9, entry),
            units,
        },
        1 => Letter::Reply {
            units,
            wanted: random.list(9, handle),
            last: random.once_in(2),
        },
        2 => Letter::Push { units },
        _ => Letter::Busy {
            after_ms: random.any_size() as u32,
            units,
        },
    }
}

pub(super) fn section(random: &mut Random) -> Section {
    match random.below(8) {
        0 => Section::Ping(probe(random)),
        1 => Section::Pong(probe(random)),
        2 => Section::Unit(unit(random)),
        3 => Section::Have(random.list(9, |random| random.any_size() as u32)),
        4 => Section::Want(random.list(9, |random| random.any_size() as u32)),
        5 => {
            let salt = random.any_size() as u32;
            let mut buckets = Box::new([0; 256]);
            for bucket in buckets.iter_mut().take(random.below(256)) {
                *bucket = random.any_size() as u32;
            }
            Section::Digest { salt, buckets }
        }
        6 => Section::Bucket {
            number: random.below(256) as u8,
            entries: random.list(9, entry),
            from: handle(random),
            until: random.once_in(2).then(|| handle(random)),
        },
        _ => Section::WantMembers(random.list(9, handle)),
    }
}

fn probe(random: &mut Random) -> Probe {
    Probe {
        sequence: random.below(5) as u16,
        root: random.any_size(),
        who_are_you: random.once_in(3),
        unheard: random.once_in(3),
    }
}

fn entry(random: &mut Random) -> Entry {
    Entry {
        member: handle(random),
        state: random.any_size() as u32,
    }
}

/// Mostly of a few members, so that units meet.
pub(super) fn node(random: &mut Random) -> NodeId {
    let byte = if random.once_in(8) {
        random.below(256)
    } else {
        random.below(6)
    };
    NodeId::from_public_key([byte as u8; 32])
}

fn handle(random: &mut Random) -> Handle {
    Handle::of(&node(random))
}

fn incarnation(random: &mut Random) -> Incarnation {
    Incarnation {
        boot: random.below(4) as u64,
        refutation: random.below(4) as u32,
    }
}

fn unit(random: &mut Random) -> Unit {
    match random.below(3) {
        0 => Unit::Page(Page {
            node: node(random),
            boot: random.below(4) as u64,
            number: random.below(8) as u8,
            version: random.below(5) as u64,
            content: random.bytes(80).into(),
            signature: [random.below(256) as u8; SIGNATURE],
        }),
        1 => Unit::Standing(Standing {
            node: node(random),
            incarnation: incarnation(random),
            left: random.once_in(4),
            signature: [random.below(256) as u8; SIGNATURE],
        }),
        _ => Unit::Vote(Vote {
            observer: handle(random),
            subject: handle(random),
            incarnation: incarnation(random),
            signature: [random.below(256) as u8; SIGNATURE],
        }),
    }
}
