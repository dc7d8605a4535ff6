//! The bytes of RPC: frames, and what is in them.
//!
//! An input is one byte that chooses the limit, one that says how many bytes of cuts follow, the cuts, and the stream.
//!
//! - Wherever the stream is cut, the same frames come out, each as soon as its last byte is there, and the same error.
//! - They are those that a second, simpler reader of the format finds.
//! - The framer holds no more than a frame and a header, however little of it has come.
//! - Numbers, `StreamOpen` and trace contexts survive being written again.

use bytes::Bytes;
use convoke_types::wire::rpc::{
    FrameError, Framer, LANE_FRAME_MAX, MethodKind, StreamOpen, TraceContext, peek_varint,
    put_header, put_varint, take_varint, varint_size,
};

use super::{decode_and_return, is_short};
use crate::{Random, memory};

/// Limits an input can choose; the last is the one that lanes have.
const LIMITS: [usize; 4] = [0, 7, 300, LANE_FRAME_MAX];
/// What a header has at most: a number of ten bytes.
const LONGEST_HEADER: usize = 10;

pub(super) fn check(input: &[u8]) {
    let [limit, cuts, rest @ ..] = input else {
        return;
    };
    let limit = LIMITS[usize::from(*limit) % LIMITS.len()];
    let (cuts, stream) = rest.split_at(usize::from(*cuts).min(rest.len()));

    let expected = Expected::read(stream, limit);
    let whole = compare(&expected, limit, stream, [stream.len()].into_iter());
    let cut = compare(&expected, limit, stream, cut_lengths(cuts));
    assert_eq!(whole, cut, "cut at {cuts:?}");
    expected
        .frames
        .iter()
        .for_each(|frame| check_fields(&stream[frame.body.clone()]));
}

/// What a stream says, as the format's description has it.
struct Expected {
    frames: Vec<ExpectedFrame>,
    /// Where the error shows at the latest, and which; nothing when the stream just ends.
    error: Option<FrameError>,
}

struct ExpectedFrame {
    kind: u8,
    body: std::ops::Range<usize>,
}

impl Expected {
    fn read(stream: &[u8], limit: usize) -> Self {
        let (mut at, mut frames) = (0, Vec::new());
        let error = loop {
            let header = &stream[at..stream.len().min(at + LONGEST_HEADER)];
            let last = header.iter().position(|byte| byte & 0x80 == 0);
            let given = &header[..last.map_or(header.len(), |last| last + 1)];
            let number = given
                .iter()
                .rev()
                .fold(0, |number, byte| number << 7 | u128::from(byte & 0x7f));
            let too_long = given.len() > 1 && given.last() == Some(&0);
            if too_long
                || number > u128::from(u64::MAX)
                || (last.is_none() && given.len() == LONGEST_HEADER)
            {
                break Some(FrameError::BadNumber);
            }
            let Some(last) = last else { break None };
            let number = number as u64;
            let length = number >> 4;
            if length > limit as u64 {
                break Some(FrameError::TooLarge { length, limit });
            }
            let start = at + last + 1;
            let body = start..start + length as usize;
            if body.end > stream.len() {
                break None;
            }
            at = body.end;
            frames.push(ExpectedFrame {
                kind: (number & 0x0f) as u8,
                body,
            });
        };
        Self { frames, error }
    }
}

/// Feeds the stream in pieces of these lengths and compares what comes out as it comes. How it ends is the result.
fn compare(
    expected: &Expected,
    limit: usize,
    stream: &[u8],
    lengths: impl Iterator<Item = usize>,
) -> Result<bool, FrameError> {
    let held_before = memory::held();
    let mut framer = Framer::new(limit);
    let mut frames = expected.frames.iter().peekable();
    let mut fed = 0;
    for length in lengths {
        if fed == stream.len() {
            break;
        }
        let piece = &stream[fed..stream.len().min(fed + length)];
        fed += piece.len();
        framer.feed(Bytes::copy_from_slice(piece));
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => {
                    let expected = frames
                        .next()
                        .expect("no frame that the stream does not say");
                    assert_eq!(frame.kind, expected.kind);
                    assert_eq!(frame.body, stream[expected.body.clone()]);
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(
                        frames.peek().is_none(),
                        "{error} before the last whole frame"
                    );
                    assert_eq!(Some(error), expected.error);
                    is_short(&error.to_string());
                    return Err(error);
                }
            }
        }
        assert!(
            frames.peek().is_none_or(|next| next.body.end > fed),
            "a whole frame is kept back"
        );
        // A list that grows by doubling has at most twice what is in it, and one more while it moves.
        let held = memory::held() - held_before;
        let most = 2 * (limit + LONGEST_HEADER) + 64;
        assert!(
            held <= most.cast_signed(),
            "{held} bytes are held where frames have {limit}"
        );
    }
    assert_eq!(expected.error, None, "the error goes unnoticed");
    let end_of_frames = expected.frames.last().map_or(0, |last| last.body.end);
    assert_eq!(framer.is_at_boundary(), end_of_frames == stream.len());
    Ok(framer.is_at_boundary())
}

/// Lengths of pieces, over and over; at least a byte each, and a byte at a time when nothing is said.
fn cut_lengths(cuts: &[u8]) -> impl Iterator<Item = usize> {
    let cuts = if cuts.is_empty() { &[1] } else { cuts };
    cuts.iter().cycle().map(|cut| usize::from(*cut).max(1))
}

/// Reads the body as everything that bodies begin with.
fn check_fields(body: &[u8]) {
    let mut fields = Bytes::copy_from_slice(body);
    while let Ok(number) = take_varint(&mut fields) {
        let mut again = Vec::new();
        put_varint(&mut again, number);
        assert_eq!(again.len(), varint_size(number));
        assert_eq!(peek_varint(&again), Ok(Some((number, again.len()))));
    }
    if let Some(trace) = body.first_chunk::<{ TraceContext::SIZE }>() {
        assert_eq!(TraceContext::from_bytes(trace).to_bytes(), *trace);
    }
    decode_and_return::<StreamOpen>(body);
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let cuts = match random.below(3) {
        0 => vec![],
        1 => random.bytes(4),
        _ => random.list(20, |random| random.below(6) as u8),
    };
    let mut input = vec![random.byte(), cuts.len() as u8];
    input.extend(cuts);
    for _ in 0..random.below(8) {
        let body = body(random);
        put_header(&mut input, random.below(16) as u8, body.len());
        input.extend(body);
    }
    input
}

fn body(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => vec![],
        1 => random.bytes(12),
        2 => random.bytes(400),
        3 if random.once_in(8) => random.bytes(LANE_FRAME_MAX + 2),
        4 => convoke_types::codec::to_vec(&stream_open(random)).expect("plain data"),
        _ => request(random),
    }
}

fn stream_open(random: &mut Random) -> StreamOpen {
    StreamOpen {
        method: random.text(40),
        shape: match random.below(4) {
            0 => MethodKind::Unary,
            1 => MethodKind::ServerStreaming,
            2 => MethodKind::ClientStreaming,
            _ => MethodKind::Bidirectional,
        },
        deadline_ms: random.any_size(),
        trace: random.option(|random| TraceContext::from_bytes(&random.array())),
    }
}

fn request(random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    (0..3).for_each(|_| put_varint(&mut body, random.any_size()));
    body.extend(
        random
            .option(|random| random.array::<{ TraceContext::SIZE }>())
            .into_iter()
            .flatten(),
    );
    body.extend(random.bytes(20));
    body
}
