//! The frames of a link over TCP: the numbers and kinds of `wire::link`, and the machine that carries them out.
//!
//! An input is one byte that says how many bytes of cuts follow, the cuts, and the frames of a peer.
//!
//! - Headers survive being written again.
//! - Wherever the bytes are cut, the same is done to the link, or the same rule is broken.
//! - What a peer sends makes a link hold no more than what was sent, and streams no more than their windows.

use bytes::Bytes;
use convoke_rpc::Limits;
use convoke_rpc::testing::ReceivedFrames;
use convoke_types::wire::link::{HEADER_MAX, Header, stream_id};

use super::is_short;
use crate::Random;

pub(super) fn check(input: &[u8]) {
    let [cuts, rest @ ..] = input else {
        return;
    };
    let (cuts, frames) = rest.split_at(usize::from(*cuts).min(rest.len()));
    check_headers(frames);
    let whole = outcome(frames, [frames.len().max(1)].into_iter().cycle());
    let cut = outcome(frames, cut_lengths(cuts));
    assert_eq!(whole, cut, "cut at {cuts:?}");
}

/// Every header that begins somewhere in the input.
fn check_headers(bytes: &[u8]) {
    for at in 0..bytes.len().min(256) {
        let Ok(Some((header, size))) = Header::peek(&bytes[at..]) else {
            continue;
        };
        assert!(size <= HEADER_MAX);
        let mut again = Vec::new();
        header.put(&mut again);
        assert_eq!(again, bytes[at..at + size], "{header:?}");
        for less in 0..size {
            assert_eq!(Header::peek(&again[..less]), Ok(None), "{header:?}");
        }
    }
}

/// What the bytes did, in pieces of these lengths.
fn outcome(
    frames: &[u8],
    mut lengths: impl Iterator<Item = usize>,
) -> Result<String, &'static str> {
    let limits = Limits {
        streams_per_link: 8,
        datagrams: 4,
        ..Limits::default()
    };
    let mut link = ReceivedFrames::new(&limits);
    let mut left = frames;
    while !left.is_empty() && !link.is_closed() {
        let length = lengths.next().expect("lengths come for ever");
        let (piece, rest) = left.split_at(length.min(left.len()));
        left = rest;
        if let Err(rule) = link.take(Bytes::copy_from_slice(piece)) {
            is_short(rule);
            return Err(rule);
        }
    }
    Ok(link.describe())
}

/// Lengths of pieces, over and over; a byte at a time when nothing is said.
fn cut_lengths(cuts: &[u8]) -> impl Iterator<Item = usize> {
    let cuts = if cuts.is_empty() { &[1] } else { cuts };
    cuts.iter().cycle().map(|cut| usize::from(*cut).max(1))
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let cuts = match random.below(3) {
        0 => vec![],
        1 => random.bytes(4),
        _ => random.list(20, |random| random.below(6) as u8),
    };
    let mut input = vec![cuts.len() as u8];
    input.extend(cuts);
    if !random.once_in(8) {
        Header::Hello {
            window: random.any_size(),
        }
        .put(&mut input);
    }
    for _ in 0..random.below(12) {
        let (header, body) = frame(random);
        header.put(&mut input);
        input.extend(body);
    }
    input
}

fn frame(random: &mut Random) -> (Header, Vec<u8>) {
    // Mostly of a few streams, so that frames meet on one.
    let stream = if random.once_in(8) {
        random.any_size()
    } else {
        stream_id(random.below(3) as u64, random.once_in(3), random.once_in(4))
    };
    let code = random.any_size();
    let header = match random.below(12) {
        0..4 => {
            let body = random.bytes(60);
            let length = body.len() as u64;
            let last = random.once_in(4);
            let header = Header::Data {
                stream,
                length,
                last,
            };
            return (header, body);
        }
        4 => Header::Reset { stream, code },
        5 => Header::Stop { stream, code },
        6 => Header::Done { stream },
        7 => Header::Credit {
            stream,
            bytes: code,
        },
        8 => Header::Streams {
            one_way: random.once_in(2),
            count: random.below(40) as u64,
        },
        9 => {
            let body = random.bytes(40);
            let length = body.len() as u64;
            return (Header::Datagram { length }, body);
        }
        10 if random.once_in(4) => {
            let body = random.bytes(40);
            let length = body.len() as u64;
            return (Header::Close { code, length }, body);
        }
        10 => Header::Ping { token: code },
        _ => Header::Pong { token: code },
    };
    (header, vec![])
}
