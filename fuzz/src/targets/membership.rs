//! The machine of membership: whatever comes, in whatever order, at whatever time.
//!
//! An input is a list of steps, each with its length: time passes, a peer sends a datagram or a letter, or somebody asks for
//! something. Units in them are given good signatures when they ask for it, so that what follows from believing them is reached, too.
//!
//! - Nothing panics, and every event stream replays to the view.
//! - What the machine sends can be read and is no larger than allowed; it asks to be woken no sooner than it was.
//! - An incarnation of a member never goes back.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use convoke_membership::facts::Health;
use convoke_membership::{
    Effect, Fact, Input, Membership, Params, Seal, Start, Target as To, TwinSeal,
};
use convoke_types::wire::gossip::datagram::{
    DATAGRAM_MAX, DatagramReader, DatagramWriter, Section,
};
use convoke_types::wire::gossip::letter::{LETTER_MAX, Letter};
use convoke_types::wire::gossip::unit::Unit;
use convoke_types::{Incarnation, Moment, NodeId};

use super::gossip::{self, CLUSTER};
use crate::Random;

/// Steps of one input; more tell nothing new and take long.
const STEPS: usize = 200;

pub(super) fn check(input: &[u8]) {
    let me = NodeId::from_public_key([0; 32]);
    let mut now = Moment::START + Duration::from_secs(1);
    let start = Start {
        cluster: CLUSTER,
        node: me,
        boot: 2,
        addresses: vec!["10.0.0.1:7400".parse().expect("an address")],
        seed: 1,
        seal: Box::new(TwinSeal::new(me)),
        params: Params {
            members_most: 40,
            remembered_most: 8,
            ..Params::lan(10)
        },
        remembered: Vec::new(),
    };
    let mut machine = Membership::new(start, now);
    let mut roll = machine.roll();
    let mut incarnations = BTreeMap::new();
    let mut rest = input;
    for _ in 0..STEPS {
        let [kind, length, after @ ..] = rest else {
            break;
        };
        let (body, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let mut effects = Vec::new();
        step(&mut machine, &mut now, *kind, body, &mut effects);
        for effect in effects {
            look_at(effect, &mut roll);
        }
        for member in machine.members() {
            let last = incarnations.insert(member.id, member.incarnation);
            assert!(
                last <= Some(member.incarnation),
                "{:?} went back",
                member.id
            );
        }
        incarnations.retain(|id: &NodeId, _: &mut Incarnation| machine.verdict(id).is_some());
        assert!(incarnations.len() <= 40);
    }
    assert_eq!(roll, machine.roll());
}

fn step(
    machine: &mut Membership,
    now: &mut Moment,
    kind: u8,
    body: &[u8],
    effects: &mut Vec<Effect>,
) {
    let from = NodeId::from_public_key([body.first().copied().unwrap_or(1) % 8; 32]);
    let bytes = body.get(1..).unwrap_or(&[]);
    let input = match kind % 8 {
        0 => {
            *now = (*now).max(machine.next_wakeup().min(*now + Duration::from_secs(60)));
            Input::Wake
        }
        1 => {
            *now += Duration::from_millis(u64::from(body.first().copied().unwrap_or(0)) * 40);
            Input::Wake
        }
        2 | 3 => Input::Datagram {
            from,
            bytes: Bytes::from(signed_datagram(bytes)),
        },
        4 => Input::Letter {
            from,
            bytes: Bytes::from(signed_letter(bytes)),
        },
        5 => Input::Unreached { node: from },
        6 => {
            let health = [Health::Well, Health::Degraded, Health::Unfit];
            let health = health[usize::from(body.first().copied().unwrap_or(0)) % 3];
            machine
                .set_fact(*now, Fact::Health(health))
                .expect("health always fits");
            Input::ConfirmLoss(vec![(from, Incarnation::of_boot(3))])
        }
        _ if body.len() == 3 => Input::Leave,
        _ => Input::Join {
            addresses: vec!["10.0.0.2:7400".parse().expect("an address")],
        },
    };
    machine.handle(*now, input, effects);
}

/// Everything sent can be read by others.
fn look_at(effect: Effect, roll: &mut convoke_membership::Roll) {
    match effect {
        Effect::Datagram { bytes, .. } => {
            assert!(bytes.len() <= DATAGRAM_MAX);
            let mut reader = DatagramReader::new(CLUSTER, &bytes).expect("our own header");
            while reader
                .next_section()
                .expect("our own sections can be read")
                .is_some()
            {}
        }
        Effect::Letter { to, bytes } => {
            assert!(bytes.len() <= LETTER_MAX);
            assert!(Letter::decode(CLUSTER, &bytes).is_ok());
            assert_ne!(to, To::Node(NodeId::from_public_key([0; 32])));
        }
        Effect::Event(event) => roll.apply(&event).expect("events follow each other"),
        Effect::Gone | Effect::Contested(_) => {}
    }
}

/// The datagram, with every unit signed whose signature is a row of one even byte.
fn signed_datagram(bytes: &[u8]) -> Vec<u8> {
    let Ok(mut reader) = DatagramReader::new(CLUSTER, bytes) else {
        return bytes.to_vec();
    };
    let mut writer = DatagramWriter::new(CLUSTER);
    while let Ok(Some(section)) = reader.next_section() {
        let section = match section {
            Section::Unit(unit) => Section::Unit(signed(unit)),
            other @ (Section::Ping(_)
            | Section::Pong(_)
            | Section::Have(_)
            | Section::Want(_)
            | Section::Digest { .. }
            | Section::Bucket { .. }
            | Section::WantMembers(_)) => other,
        };
        let _ = writer.put(&section);
    }
    writer.finish()
}

fn signed_letter(bytes: &[u8]) -> Vec<u8> {
    let sign_all = |units: Vec<Unit>| units.into_iter().map(signed).collect();
    let letter = match Letter::decode(CLUSTER, bytes) {
        Ok(Letter::Sync { known, units }) => Letter::Sync {
            known,
            units: sign_all(units),
        },
        Ok(Letter::Reply {
            units,
            wanted,
            last,
        }) => Letter::Reply {
            units: sign_all(units),
            wanted,
            last,
        },
        Ok(Letter::Push { units }) => Letter::Push {
            units: sign_all(units),
        },
        Ok(Letter::Busy { after_ms, units }) => Letter::Busy {
            after_ms,
            units: sign_all(units),
        },
        Err(_) => return bytes.to_vec(),
    };
    letter.encode(CLUSTER)
}

fn signed(unit: Unit) -> Unit {
    let wants = |signature: &[u8; 64]| {
        signature[0].is_multiple_of(2) && signature.iter().all(|byte| *byte == signature[0])
    };
    match unit {
        Unit::Page(mut page) if wants(&page.signature) => {
            page.signature = TwinSeal::new(page.node).sign(&page.message(CLUSTER));
            Unit::Page(page)
        }
        Unit::Standing(mut standing) if wants(&standing.signature) => {
            standing.signature = TwinSeal::new(standing.node).sign(&standing.message(CLUSTER));
            Unit::Standing(standing)
        }
        Unit::Vote(mut vote) if wants(&vote.signature) => {
            let whole = |handle: u64| NodeId::from_public_key([(handle >> 56) as u8; 32]);
            let (observer, subject) = (whole(vote.observer.0), whole(vote.subject.0));
            let message = vote.message(CLUSTER, &observer, &subject);
            vote.signature = TwinSeal::new(observer).sign(&message);
            Unit::Vote(vote)
        }
        other @ (Unit::Page(_) | Unit::Standing(_) | Unit::Vote(_)) => other,
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..random.below(40) {
        let kind = random.below(8) as u8;
        let mut body = vec![random.below(8) as u8];
        match kind {
            2 | 3 => {
                let mut writer = DatagramWriter::new(CLUSTER);
                for _ in 0..=random.below(3) {
                    let _ = writer.put(&gossip::section(random));
                }
                body.extend(writer.finish());
            }
            4 => body.extend(gossip::letter(random).encode(CLUSTER)),
            _ => body.extend(random.bytes(2)),
        }
        // What is longer than a step can say is cut, and so is malformed.
        body.truncate(255);
        input.extend([kind, body.len() as u8]);
        input.extend(body);
    }
    input
}
