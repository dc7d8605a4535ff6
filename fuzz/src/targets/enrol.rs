//! Enrolment: what a stranger sends to be let in, what comes back, and the texts that people carry.
//!
//! The first byte says what the rest is: a request, an answer, a token to join with, or a key to the API.
//!
//! - What reads survives being written again, and so does what was signed inside of a request.
//! - A grant gives nobody a certificate that no issuer signed; what it carries goes through the checks of the target `certificate`.
//! - A token reads back from its text, its text is the only one but for capital letters and blanks, and nothing shows its secret.
//! - A key's text is the only one of its secret but for capital letters.
//! - What does not read is refused in words that are fit for a log.

use convoke_node::custody::token::read_key;
use convoke_types::wire::enrol::{
    Ask, Asked, Denial, EnrolAnswerV1, EnrolRequestV1, Grant, JoinToken, Pin,
};
use convoke_types::wire::identity::{CredentialV1, Der};
use convoke_types::wire::store::{Revision, TokenId};
use convoke_types::wire::{Versioned, decode_versioned, encode_versioned};
use convoke_types::{ClusterId, NodeId, Role, RoleSet, Timestamp, codec};

use super::{certificate, decode_and_return, is_fit_for_a_log, is_short};
use crate::Random;

pub(super) const WORDS: &[&[u8]] = &[
    b"cvk1",
    b"cvkey1-",
    b"-",
    b"a",
    b"7",
    b"\x1b[31m",
    b"\xc3\xbc",
];

pub(super) fn check(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind % 4 {
        0 => check_request(rest),
        1 => check_answer(rest),
        2 => check_token(&String::from_utf8_lossy(rest)),
        _ => check_key(&String::from_utf8_lossy(rest)),
    }
}

fn read<T: Versioned + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let message: T = match decode_versioned(bytes) {
        Ok(message) => message,
        Err(error) => {
            is_short(&error.to_string());
            return None;
        }
    };
    let written = encode_versioned(&message).expect("what decodes can be encoded");
    assert_eq!(decode_versioned::<T>(&written).as_ref(), Ok(&message));
    Some(message)
}

fn check_request(bytes: &[u8]) {
    // Also what would have to be signed to be read.
    decode_and_return::<Asked>(bytes);
    let Some(request) = read::<EnrolRequestV1>(bytes) else {
        return;
    };
    let signed = EnrolRequestV1::signed(&request.asked);
    assert!(signed.ends_with(&request.asked) && signed.len() > request.asked.len());
    decode_and_return::<Asked>(&request.asked);
}

fn check_answer(bytes: &[u8]) {
    match read::<EnrolAnswerV1>(bytes) {
        Some(EnrolAnswerV1::Granted(grant)) => check_grant(grant),
        Some(EnrolAnswerV1::Refused(denial)) => {
            assert!(denial.to_string().len() <= bytes.len() + 256)
        }
        Some(EnrolAnswerV1::Elsewhere { .. } | EnrolAnswerV1::Later { .. }) | None => {}
    }
}

fn check_grant(grant: Grant) {
    certificate::check(&grant.trust);
    let credential = CredentialV1 { chain: grant.chain };
    certificate::check(&encode_versioned(&credential).expect("what decodes can be encoded"));
}

fn check_token(text: &str) {
    let token: JoinToken = match text.parse() {
        Ok(token) => token,
        Err(error) => return is_fit_for_a_log(&error.to_string()),
    };
    let written = token.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&token));
    let secret = format!("{:?}", token.secret);
    assert!(!format!("{token:?}").contains(&secret));
    let text = text.trim();
    assert!(text.bytes().all(|it| it.is_ascii_alphanumeric()), "{text}");
    for other in [format!("{text}a"), text[..text.len() - 1].to_owned()] {
        assert!(other.parse::<JoinToken>().is_err(), "{other}");
    }
}

fn check_key(text: &str) {
    let Some((key, hash)) = read_key(text) else {
        return;
    };
    assert!(text.is_ascii() && text.len() == "cvkey1-".len() + 16 + 1 + 64);
    assert!(text.starts_with(&format!("cvkey1-{key}-")));
    for at in text.len() - 64..text.len() {
        let digit = if text.as_bytes()[at] == b'0' {
            "1"
        } else {
            "0"
        };
        let other = [&text[..at], digit, &text[at + 1..]].concat();
        let other = read_key(&other).expect("it is a key, too");
        assert!(other.0 == key && other.1 != hash, "{at}");
        assert_eq!(read_key(&text[..at]), None);
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let kind = random.below(4) as u8;
    let rest = match kind {
        0 => request(random),
        1 => encode_versioned(&answer(random)).expect("plain data"),
        2 => token(random).to_string().into_bytes(),
        _ => {
            let hex = |bytes: &[u8]| -> String {
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            };
            let (key, secret) = (random.array::<8>(), random.array::<32>());
            format!("cvkey1-{}-{}", hex(&key), hex(&secret)).into_bytes()
        }
    };
    [vec![kind], rest].concat()
}

fn asked(random: &mut Random) -> Asked {
    Asked {
        cluster: ClusterId::from_bytes(random.array()),
        node: NodeId::from_public_key(random.array()),
        server: NodeId::from_public_key(random.array()),
        clock: Timestamp::from_unix_ms(random.any_size()),
        ask: if random.once_in(3) {
            Ask::Renew
        } else {
            Ask::Join {
                token: TokenId(random.array()),
                secret: random.array(),
                wants: random.option(|random| Role::ALL[random.below(5)]),
            }
        },
    }
}

fn request(random: &mut Random) -> Vec<u8> {
    let asked = codec::to_vec(&asked(random)).expect("plain data");
    if random.once_in(3) {
        return asked;
    }
    let signature = random.array::<64>().to_vec();
    encode_versioned(&EnrolRequestV1 { asked, signature }).expect("plain data")
}

fn answer(random: &mut Random) -> EnrolAnswerV1 {
    let addresses = random.list(4, |random| random.text(12));
    match random.below(6) {
        0..=2 => {
            let credential = decode_versioned::<CredentialV1>(certificate::WORKER);
            let mut chain = credential.expect("a committed certificate reads").chain;
            if random.once_in(4) {
                chain.push(Der::new(random.bytes(9)));
            }
            EnrolAnswerV1::Granted(Grant {
                chain,
                trust: certificate::BUNDLE.to_vec(),
                addresses,
                clock: Timestamp::from_unix_ms(random.any_size()),
                name: random.text(20),
                as_of: Revision(random.any_size()),
            })
        }
        3 => EnrolAnswerV1::Elsewhere { addresses },
        4 => EnrolAnswerV1::Later {
            why: random.text(20),
        },
        _ => EnrolAnswerV1::Refused(denial(random)),
    }
}

fn denial(random: &mut Random) -> Denial {
    let why = random.text(20);
    match random.below(7) {
        0 => Denial::Unreadable { why },
        1 => Denial::NotTheirs,
        2 => Denial::WrongCluster {
            theirs: ClusterId::from_bytes(random.array()),
            ours: ClusterId::from_bytes(random.array()),
        },
        3 => Denial::Clock {
            apart_ms: random.any_size(),
            is_ahead: random.once_in(2),
        },
        4 => Denial::Decided { why },
        5 => Denial::Unknown,
        _ => Denial::Forgotten,
    }
}

fn token(random: &mut Random) -> JoinToken {
    JoinToken {
        cluster: ClusterId::from_bytes(random.array()),
        token: TokenId(random.array()),
        secret: random.array(),
        allowed: RoleSet::from_bits(random.below(32) as u8),
        until: Timestamp::from_unix_ms(random.any_size()),
        issuers: random.list(7, |random| Pin(random.array())),
        addresses: random.list(10, |random| random.text(30)),
    }
}
