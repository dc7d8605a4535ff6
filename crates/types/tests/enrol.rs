//! The bytes of enrolment: machines with other versions ask each other with them, and people carry tokens. `docs/formats/enrol.md` explains
//! them.

use std::fmt::Debug;

use convoke_types::codec::{from_slice, to_vec};
use convoke_types::wire::enrol::{
    Ask, Asked, Denial, EnrolAnswerV1, EnrolRequestV1, Grant, JoinToken, Pin,
};
use convoke_types::wire::identity::Der;
use convoke_types::wire::store::{Revision, TokenId};
use convoke_types::wire::{Versioned, decode_versioned, encode_versioned};
use convoke_types::{ClusterId, NodeId, Role, RoleSet, Timestamp};

const CLUSTER: ClusterId = ClusterId::from_bytes([0xcc; 16]);
const OTHER: ClusterId = ClusterId::from_bytes([0xdd; 16]);
const ADA: NodeId = NodeId::from_public_key([0xaa; 32]);
const SERVER: NodeId = NodeId::from_public_key([0xbb; 32]);
const THEN: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

fn asked(ask: Ask) -> Asked {
    Asked {
        cluster: CLUSTER,
        node: ADA,
        server: SERVER,
        clock: THEN,
        ask,
    }
}

fn join() -> Asked {
    asked(Ask::Join {
        token: TokenId([4; 8]),
        secret: [5; 16],
        wants: Some(Role::Worker),
    })
}

fn token() -> JoinToken {
    JoinToken {
        cluster: CLUSTER,
        token: TokenId([4; 8]),
        secret: [5; 16],
        allowed: Role::Worker.into(),
        until: THEN,
        issuers: vec![Pin([6; 16])],
        addresses: vec!["192.0.2.7:4700".to_owned()],
    }
}

fn granted() -> EnrolAnswerV1 {
    EnrolAnswerV1::Granted(Grant {
        chain: vec![Der::new(vec![0x30, 7, 8])],
        trust: vec![1, 9],
        addresses: vec!["a:1".to_owned()],
        clock: THEN,
        name: "home".to_owned(),
        as_of: Revision(7),
    })
}

fn refused(denial: Denial) -> EnrolAnswerV1 {
    EnrolAnswerV1::Refused(denial)
}

/// The block of the document behind this name.
fn golden(name: &str) -> &'static str {
    let document = include_str!("../../../docs/formats/enrol.md");
    let after = document
        .split_once(&format!("`{name}`"))
        .unwrap_or_else(|| panic!("the document names {name}"))
        .1;
    let block = after.split_once("```text\n").expect("bytes follow").1;
    block.split_once("```").expect("the bytes end").0
}

/// The hexadecimal columns of a block: what stands before two blanks.
fn bytes_of(block: &str) -> String {
    let columns = block
        .lines()
        .filter_map(|line| line.split("  ").find(|part| !part.is_empty()));
    columns.flat_map(|column| column.split(' ')).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn is_versioned<T: Versioned + PartialEq + Debug>(message: &T, name: &str) {
    let bytes = encode_versioned(message).expect("plain data");
    assert_eq!(hex(&bytes), bytes_of(golden(name)), "{name}");
    assert_eq!(decode_versioned::<T>(&bytes).as_ref(), Ok(message));
}

#[test]
fn what_is_signed_has_the_bytes_of_the_document() {
    for (asked, name) in [
        (join(), "asked to join"),
        (asked(Ask::Renew), "asked to renew"),
    ] {
        let bytes = to_vec(&asked).expect("plain data");
        assert_eq!(hex(&bytes), bytes_of(golden(name)), "{name}");
        assert_eq!(from_slice::<Asked>(&bytes), Ok(asked));
    }
}

#[test]
fn a_signature_is_made_for_nothing_else() {
    let signed = EnrolRequestV1::signed(&[1, 2]);
    assert_eq!(signed, b"convoke enrol request 1\0\x01\x02");
}

#[test]
fn a_request_has_the_bytes_of_the_document() {
    let request = EnrolRequestV1 {
        asked: to_vec(&asked(Ask::Renew)).expect("plain data"),
        signature: vec![0xee; 64],
    };
    is_versioned(&request, "a request");
}

#[test]
fn every_answer_has_the_bytes_of_the_document() {
    let elsewhere = EnrolAnswerV1::Elsewhere {
        addresses: vec!["a:1".to_owned(), "b:2".to_owned()],
    };
    let later = EnrolAnswerV1::Later {
        why: "no".to_owned(),
    };
    is_versioned(&granted(), "answer: granted");
    is_versioned(&elsewhere, "answer: elsewhere");
    is_versioned(&later, "answer: later");
}

#[test]
fn every_denial_has_the_bytes_of_the_document() {
    let why = || "no".to_owned();
    let denials = [
        (Denial::Unreadable { why: why() }, "denied: unreadable"),
        (Denial::NotTheirs, "denied: not theirs"),
        (
            Denial::WrongCluster {
                theirs: OTHER,
                ours: CLUSTER,
            },
            "denied: wrong cluster",
        ),
        (
            Denial::Clock {
                apart_ms: 3_600_000,
                is_ahead: true,
            },
            "denied: clock",
        ),
        (Denial::Decided { why: why() }, "denied: decided"),
        (Denial::Unknown, "denied: unknown"),
        (Denial::Forgotten, "denied: forgotten"),
    ];
    for (denial, name) in denials {
        is_versioned(&refused(denial), name);
    }
}

#[test]
fn a_token_has_the_bytes_and_the_text_of_the_document() {
    let bytes = to_vec(&token()).expect("plain data");
    assert_eq!(hex(&bytes), bytes_of(golden("a token")));
    let text: String = golden("text of the token").split_whitespace().collect();
    assert_eq!(token().to_string(), text);
    assert_eq!(text.parse(), Ok(token()));
    let all = JoinToken {
        allowed: RoleSet::ALL,
        ..token()
    };
    assert_ne!(text.parse(), Ok(all));
}
