//! The table of targets.

mod certificate;
mod codec;
mod decided;
mod definition;
mod enrol;
mod frames;
mod gossip;
mod handshake;
mod ids;
mod key_pem;
mod link;
mod log;
mod membership;
mod probe;
mod problem;
mod selector;
mod versioned;

use std::fmt::Debug;

use convoke_types::codec::{from_slice, to_vec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Target;

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "codec",
        checks: "what decodes encodes to bytes that decode to the same; old and new programs read each other",
        check: codec::check,
        sample: codec::sample,
        words: &[],
        // A list of large optional structs: one byte each when they are not there.
        bytes_per_byte: 4 * 1024,
    },
    Target {
        name: "frames",
        checks: "frames and errors are the same wherever the bytes are cut; a stream holds no more than its limit",
        check: frames::check,
        sample: frames::sample,
        words: &[],
        // The list of what to expect: one entry for each empty frame of a byte. What a framer may hold is checked to the byte.
        bytes_per_byte: 128,
    },
    Target {
        name: "link",
        checks: "frames of a link over TCP do the same wherever they are cut, and hold no more than what was sent",
        check: link::check,
        sample: link::sample,
        words: &[],
        // A byte for each piece, with its place in a queue; two links are made, and both are told in words.
        bytes_per_byte: 4 * 1024,
    },
    Target {
        name: "gossip",
        checks: "units, datagrams and letters survive being written again, units byte for byte; nothing is larger than its limit",
        check: gossip::check,
        sample: gossip::sample,
        words: &[],
        // An entry of a list for each few bytes, read twice and compared.
        bytes_per_byte: 256,
    },
    Target {
        name: "membership",
        checks: "whatever comes in whatever order: no panic, events replay to the view, incarnations never go back",
        check: membership::check,
        sample: membership::sample,
        words: &[],
        // A machine that knows forty members with all their pages, and their views.
        bytes_per_byte: 8 * 1024,
    },
    Target {
        name: "decided",
        checks: "batches and snapshots read or are refused; what reads can be carried out, frozen and read back as the same",
        check: decided::check,
        sample: decided::sample,
        words: &[],
        // A command of two bytes is some hundred in memory, in three copies of the batch and two states.
        bytes_per_byte: 2 * 1024,
    },
    Target {
        name: "log",
        checks: "whatever is in its files: no panic, no gap; it can go on; and untouched files lose nothing that was acknowledged",
        check: log::check,
        sample: log::sample,
        words: &[],
        // A step of two bytes may open a segment of 64 KiB, and the disk is copied.
        bytes_per_byte: 512 * 1024,
    },
    Target {
        name: "handshake",
        checks: "a handshake over TCP ends or asks for more, within its bound; nobody gets in without a certificate; records give what was sealed",
        check: handshake::check,
        sample: handshake::sample,
        words: handshake::WORDS,
        // Data is sealed, sent, opened and compared, twice.
        bytes_per_byte: 64,
    },
    Target {
        name: "probe",
        checks: "whatever a machine's files say: a look ends, what is unknown says why, and nobody counts on more than there is",
        check: probe::check,
        sample: probe::sample,
        words: probe::WORDS,
        // A path of a group is a directory for each of its parts, and each of those is a path.
        bytes_per_byte: 512,
    },
    Target {
        name: "problem",
        checks: "problems survive the wire, messages stay short, texts of codes read back",
        check: problem::check,
        sample: problem::sample,
        words: problem::WORDS,
        bytes_per_byte: 32,
    },
    Target {
        name: "ids",
        checks: "ids, roles and tags read back from their texts; other texts are told apart without harm",
        check: ids::check,
        sample: ids::sample,
        words: ids::WORDS,
        bytes_per_byte: 64,
    },
    Target {
        name: "selector",
        checks: "selectors read back from their canonical text and mean the same; others are refused in bounded words, however deep they nest",
        check: selector::check,
        sample: selector::sample,
        words: selector::WORDS,
        // A term of two bytes is kept as a tree and as a step, with strings of its own, for the selector, its twin and its opposite.
        bytes_per_byte: 1_024,
    },
    Target {
        name: "versioned",
        checks: "versioned messages survive the wire in their own version and in the one before",
        check: versioned::check,
        sample: versioned::sample,
        words: &[],
        bytes_per_byte: 64,
    },
    Target {
        name: "certificate",
        checks: "no certificate or issuer counts whose signed part is not what an issuer signed",
        check: certificate::check,
        sample: certificate::sample,
        words: certificate::WORDS,
        bytes_per_byte: 64,
    },
    Target {
        name: "key_pem",
        checks: "the text of an issuer's key and certificate is read or refused, and no error shows a secret",
        check: key_pem::check,
        sample: key_pem::sample,
        words: key_pem::WORDS,
        bytes_per_byte: 16,
    },
    Target {
        name: "enrol",
        checks: "requests, answers, tokens and keys survive being written again or are refused; a grant gives nobody what no issuer signed",
        check: enrol::check,
        sample: enrol::sample,
        words: enrol::WORDS,
        // A text of no bytes is one byte in an answer and a place in a list, read and compared.
        bytes_per_byte: 256,
    },
    Target {
        name: "definition",
        checks: "a definition file becomes Rust, the same each time, or is refused in bounded words with places inside of it",
        check: definition::check,
        sample: definition::sample,
        words: definition::WORDS,
        // Trees of syntax: a byte is a token, and a token may be a node of hundreds of bytes, in the input and in what it becomes.
        bytes_per_byte: 4 * 1024,
    },
];

/// Decodes, and holds what decodes to the promise of the codec: its bytes say the same value.
fn decode_and_return<T: Serialize + DeserializeOwned + Debug>(input: &[u8]) -> Option<T> {
    let value: T = match from_slice(input) {
        Ok(value) => value,
        Err(error) => {
            assert!(error.at_byte() <= input.len(), "{error}");
            is_short(&error.to_string());
            return None;
        }
    };
    let bytes = to_vec(&value).expect("what decodes can be encoded");
    let again: T = from_slice(&bytes).expect("what was encoded decodes");
    // Bytes are compared, not values: a float that is not a number is not even equal to itself.
    assert_eq!(
        to_vec(&again).expect("it was encoded before"),
        bytes,
        "{value:?} came back as {again:?}"
    );
    Some(value)
}

/// What goes wrong ends up in logs, so a stranger must not decide how long they get.
fn is_short(error: &str) {
    assert!(
        error.len() <= 1_024,
        "an error of {} bytes: {error}",
        error.len()
    );
}

/// As [`is_short`], and nothing in it moves a cursor.
fn is_fit_for_a_log(error: &str) {
    is_short(error);
    assert!(
        !error.contains(char::is_control),
        "a control character in {error:?}"
    );
}
