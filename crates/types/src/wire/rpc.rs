//! The bytes of the RPC protocol: what opens a stream, and the frames that follow.
//!
//! Everything here is arithmetic on byte slices. Reading from a link, deciding what a frame means for a call, and
//! every limit but the frame's own size live in `convoke-rpc`. The layouts are described in `docs/formats/rpc.md`.
//!
//! ```text
//! frame     = varint(length << 4 | kind) bytes[length]
//! lane      = 0x01 varint(lane number) frame*          kinds: `lane::*`
//! call      = 0x02 frame(kind 0: StreamOpen) frame*     kinds: `item::*`
//! credential= 0x03 versioned Credential                 one-way
//! answer    = 0x04 varint(lane) varint(call) kind bytes one-way, a body too large for its lane
//! letter    = 0x05 bytes                               one-way, on links of gossip
//! ```
//!
//! Two choices carry the speed: a frame's header is two bytes for bodies under a kibibyte, and a frame that lies whole in
//! a received chunk is a slice of it, never a copy.

use std::fmt;
use std::str::FromStr;

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

/// First byte of a bidirectional stream that carries many calls.
pub const OPEN_LANE: u8 = 0x01;
/// First byte of a bidirectional stream that carries one call.
pub const OPEN_CALL: u8 = 0x02;
/// First byte of a one-way stream with a renewed credential.
pub const OPEN_CREDENTIAL: u8 = 0x03;
/// First byte of a one-way stream with an answer too large for its lane.
pub const OPEN_ANSWER: u8 = 0x04;
/// First byte of a one-way stream with a letter of gossip. Links of other protocols carry none; the number is kept free there, so
/// that a stream of the wrong protocol is recognised.
pub const OPEN_LETTER: u8 = 0x05;

/// Bodies above this many bytes leave the lane and travel on a stream of their own.
pub const LANE_BODY_MAX: usize = 16 * 1024;
/// The largest frame a lane may carry: a body, its header fields, and room for the fields of later versions.
pub const LANE_FRAME_MAX: usize = LANE_BODY_MAX + 1024;

/// Kinds of frames on a lane, from the caller to the callee.
pub mod to_callee {
    /// `varint(method id) name`: from now on this lane calls that method by this id.
    pub const BIND: u8 = 0;
    /// `varint(call) varint(method id) varint(milliseconds left) body`.
    pub const REQUEST: u8 = 1;
    /// As [`REQUEST`], with 25 bytes of trace context before the body.
    pub const REQUEST_TRACED: u8 = 2;
    /// `varint(call)`: the caller no longer waits.
    pub const CANCEL: u8 = 3;
}

/// Kinds of frames on a lane, from the callee to the caller.
pub mod to_caller {
    /// `varint(call) body`: the method's own answer.
    pub const ANSWER: u8 = 0;
    /// `varint(call) body`: the method's own error.
    pub const APP_ERROR: u8 = 1;
    /// `varint(call) Problem`: the call did not come to an answer.
    pub const PROBLEM: u8 = 2;
    /// Empty: start no new calls on this link; those under way are finished.
    pub const GO_AWAY: u8 = 3;
}

/// Kinds of frames on the stream of one call, in both directions.
pub mod item {
    /// [`StreamOpen`](super::StreamOpen), once, from the caller.
    pub const OPEN: u8 = 0;
    /// One message.
    pub const ITEM: u8 = 1;
    /// Empty: no more messages; all went well.
    pub const END: u8 = 2;
    /// The method's own error, in place of the end.
    pub const APP_ERROR: u8 = 3;
    /// A `Problem`, in place of the end.
    pub const PROBLEM: u8 = 4;
    /// From the callee: the handler accepted; items may follow. Empty, or one byte of flags: [`RESUMES`].
    pub const STARTED: u8 = 5;
    /// The method begins behind an item when its request says so. A callee that does not know of such methods says nothing.
    pub const RESUMES: u8 = 1;
}

/// The four shapes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MethodKind {
    /// One message there, one back.
    Unary,
    /// One message there, many back.
    ServerStreaming,
    /// Many messages there, one back.
    ClientStreaming,
    /// Many messages both ways.
    Bidirectional,
}

/// What the caller says first on the stream of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOpen {
    /// `Service.method`.
    pub method: String,
    /// The shape the caller knows the method by; a callee that knows another refuses before anything runs.
    pub shape: MethodKind,
    /// Milliseconds left until the caller stops waiting; zero when it waits without end.
    pub deadline_ms: u64,
    /// Trace context, when the caller has one.
    #[serde(default)]
    pub trace: Option<TraceContext>,
}

/// W3C trace context: which trace a call belongs to, and which span caused it.
///
/// As text it is the header `traceparent` of version 00. The header `tracestate`, with what tracing systems say among
/// themselves, is not carried: it is long, and nothing here would read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The trace; never all zero.
    pub trace_id: [u8; 16],
    /// The span that made this call; never all zero.
    pub span_id: [u8; 8],
    /// Bit 0: sampled. Bit 1: the trace id is random.
    pub flags: u8,
}

impl TraceContext {
    /// Bytes of a trace context on a lane.
    pub const SIZE: usize = 25;

    /// The fixed-size form used on lanes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..16].copy_from_slice(&self.trace_id);
        out[16..24].copy_from_slice(&self.span_id);
        out[24] = self.flags;
        out
    }

    /// Reads the fixed-size form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut trace_id = [0; 16];
        let mut span_id = [0; 8];
        trace_id.copy_from_slice(&bytes[..16]);
        span_id.copy_from_slice(&bytes[16..24]);
        Self {
            trace_id,
            span_id,
            flags: bytes[24],
        }
    }

    /// Somebody keeps the spans of this trace.
    pub const SAMPLED: u8 = 0b01;
    /// The trace id was drawn at random, so a part of it is random too.
    pub const RANDOM: u8 = 0b10;

    /// Whether somebody keeps the spans of this trace.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Whether it names a trace and a span at all. What came over a link may not, and is then as good as none.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.trace_id != [0; 16] && self.span_id != [0; 8]
    }

    /// The same trace, seen from another span of it.
    #[must_use]
    pub const fn at_span(self, span_id: [u8; 8]) -> Self {
        Self { span_id, ..self }
    }
}

/// As the header `traceparent` says it: `00-<trace id>-<span id>-<flags>`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Flags that version 00 does not know must not be passed on.
        let flags = self.flags & KNOWN_FLAGS;
        write!(
            f,
            "00-{}-{}-{flags:02x}",
            Hex(&self.trace_id),
            Hex(&self.span_id)
        )
    }
}

/// Reads the header `traceparent`. Of versions after 00 it takes the part that version 00 knows, as the specification asks
/// (W3C Trace Context, 3.2.4).
impl FromStr for TraceContext {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let (known, rest) = text
            .as_bytes()
            .split_at_checked(TRACE_PARENT)
            .ok_or(TraceParentError::Shape)?;
        let [version] = hex::<1>(&known[..2])?;
        let ends_well = match version {
            0 => rest.is_empty(),
            0xff => return Err(TraceParentError::Version),
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        if !ends_well || !dashes {
            return Err(TraceParentError::Shape);
        }
        let trace_id = hex(&known[3..35])?;
        let span_id = hex(&known[36..52])?;
        let [flags] = hex(&known[53..])?;
        let read = Self {
            trace_id,
            span_id,
            flags: flags & KNOWN_FLAGS,
        };
        if read.is_valid() {
            Ok(read)
        } else {
            Err(TraceParentError::Zero)
        }
    }
}

/// Bytes of `traceparent` in version 00, and the least of all later versions.
const TRACE_PARENT: usize = 55;
const KNOWN_FLAGS: u8 = TraceContext::SAMPLED | TraceContext::RANDOM;

/// Why a text is no `traceparent`. Whoever meets one begins a new trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// Too short, too long, or with other separators.
    #[error("not of the shape 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
    Shape,
    /// Something that is no digit, or an upper-case one.
    #[error("something other than lower-case hex digits")]
    Digit,
    /// The version `ff`, which means none.
    #[error("the version ff, which is not allowed")]
    Version,
    /// An id of nothing but zeros.
    #[error("a trace or span id of nothing but zeros")]
    Zero,
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// `2 · N` digits as `N` bytes.
fn hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], TraceParentError> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

fn digit(character: u8) -> Result<u8, TraceParentError> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        _ => Err(TraceParentError::Digit),
    }
}

/// Why bytes are not frames. The peer is at fault and the link cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame announces more than its stream may carry.
    #[error("a frame of {length} bytes where {limit} are allowed")]
    TooLarge {
        /// What the header says.
        length: u64,
        /// What this stream allows.
        limit: usize,
    },
    /// A number above 64 bits, or with more bytes than it needs.
    #[error("a number of more than 64 bits, or longer than it needs to be")]
    BadNumber,
    /// A frame ends before its fields do.
    #[error("a frame that ends inside its own fields")]
    Truncated,
    /// A kind this side does not know.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
}

/// One frame, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which of the kinds of its stream.
    pub kind: u8,
    /// Everything after the header.
    pub body: Bytes,
}

/// Appends a number in base 128, low bits first.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low seven bits are meant"
        )]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80 here")]
    out.push(value as u8);
}

/// Appends a frame's header; the caller appends `length` bytes after it.
#[inline]
pub fn put_header(out: &mut Vec<u8>, kind: u8, length: usize) {
    put_varint(out, header_value(kind, length));
}

/// A frame's header as a number.
#[inline]
#[must_use]
pub fn header_value(kind: u8, length: usize) -> u64 {
    (length as u64) << 4 | u64::from(kind)
}

/// Writes a number over bytes that are as many as [`varint_size`] says.
#[inline]
pub fn set_varint(bytes: &mut [u8], mut value: u64) {
    debug_assert_eq!(bytes.len(), varint_size(value));
    let Some((last, others)) = bytes.split_last_mut() else {
        return;
    };
    for byte in others {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    *last = value as u8;
}

/// How many bytes [`put_varint`] writes.
#[inline]
#[must_use]
pub fn varint_size(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads a number from the front of `bytes`: the number and how many bytes it took, or `None` when more bytes are needed.
///
/// # Errors
/// [`FrameError::BadNumber`] when it has more than 64 bits or more bytes than it needs.
#[inline]
pub fn peek_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate() {
        // The tenth byte has one bit left of sixty-four, and no number ends in seven bits of nothing.
        if (index == LONGEST_NUMBER - 1 && byte > 1) || (byte == 0 && index > 0) {
            return Err(FrameError::BadNumber);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    Ok(None)
}

/// Bytes of the largest number.
const LONGEST_NUMBER: usize = 10;

/// Takes a number off the front of a frame's body.
///
/// # Errors
/// [`FrameError::Truncated`] when the body ends first, [`FrameError::BadNumber`] when the number is none.
#[inline]
pub fn take_varint(body: &mut Bytes) -> Result<u64, FrameError> {
    let (value, size) = peek_varint(body)?.ok_or(FrameError::Truncated)?;
    body.advance(size);
    Ok(value)
}

/// Cuts received chunks into frames.
///
/// Holds at most one partial frame, so at most `limit` bytes and a header.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    chunk: Bytes,
    partial: Vec<u8>,
    /// What is shown and not left yet.
    shown: Shown,
}

/// Where the body of a whole frame lies.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// That many bytes at the front of the chunk.
    InChunk(usize),
    /// It came in several chunks and was joined: all of `partial` behind that many bytes of header.
    Joined(usize),
}

impl Framer {
    /// A cutter that accepts frames of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            partial: Vec::new(),
            shown: Shown::InChunk(0),
        }
    }

    /// Gives it the next received bytes. [`Self::next_frame`] must have said `None` before.
    #[inline]
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the previous chunk is used up");
        self.chunk = chunk;
    }

    /// How large the unfinished frame will be, when its header has come: what its sender makes this side hold.
    #[must_use]
    pub fn announced(&self) -> usize {
        match self.header(&self.partial) {
            Ok(Some((_, length, _))) => length,
            Ok(None) | Err(_) => 0,
        }
    }

    /// Whether no byte of an unfinished frame is held.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        match self.shown {
            Shown::InChunk(size) => self.chunk.len() == size && self.partial.is_empty(),
            Shown::Joined(_) => self.chunk.is_empty(),
        }
    }

    /// The next whole frame, or `None` until more is fed.
    ///
    /// # Errors
    /// When the bytes are no frames; nothing sensible can be read from this stream afterwards.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((kind, place)) = self.find()? else {
            return Ok(None);
        };
        let body = match place {
            Shown::InChunk(length) => self.chunk.split_to(length),
            Shown::Joined(header) => {
                let mut whole = Bytes::from(std::mem::take(&mut self.partial));
                whole.advance(header);
                whole
            }
        };
        Ok(Some(Frame { kind, body }))
    }

    /// Moves on to the next whole frame and says its kind, or `None` until more is fed; its body is [`Self::shown`] until it is
    /// [left](Self::leave_shown). A frame that is only looked at needs no share of the chunk it lies in: taking one and giving it back is
    /// a good part of what a small message costs its reader.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    #[inline]
    pub fn show_next(&mut self) -> Result<Option<u8>, FrameError> {
        let found = self.find()?;
        Ok(found.map(|(kind, place)| {
            self.shown = place;
            kind
        }))
    }

    /// The body of the frame that was moved on to last.
    #[inline]
    #[must_use]
    pub fn shown(&self) -> &[u8] {
        match self.shown {
            Shown::InChunk(size) => &self.chunk[..size],
            Shown::Joined(header) => &self.partial[header..],
        }
    }

    /// Lets go of what is shown, and of its chunk if it was the last in it. Asking for the next frame does so too; whoever may not
    /// ask for a while holds no memory in this way.
    #[inline]
    pub fn leave_shown(&mut self) {
        match std::mem::replace(&mut self.shown, Shown::InChunk(0)) {
            Shown::InChunk(size) if size < self.chunk.len() => self.chunk.advance(size),
            Shown::InChunk(_) => self.chunk = Bytes::new(),
            Shown::Joined(_) => self.partial = Vec::new(),
        }
    }

    /// Where the body of the next whole frame lies.
    #[inline]
    fn find(&mut self) -> Result<Option<(u8, Shown)>, FrameError> {
        self.leave_shown();
        if !self.partial.is_empty() {
            return self.finish_partial();
        }
        let Some((kind, length, header)) = self.header(&self.chunk)? else {
            self.keep_rest();
            return Ok(None);
        };
        if self.chunk.len() < header + length {
            self.keep_rest();
            return Ok(None);
        }
        self.chunk.advance(header);
        Ok(Some((kind, Shown::InChunk(length))))
    }

    #[inline]
    fn header(&self, bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, FrameError> {
        let Some((value, size)) = peek_varint(bytes)? else {
            return Ok(None);
        };
        let kind = (value & 0x0f) as u8;
        let length = value >> 4;
        if length > self.limit as u64 {
            return Err(FrameError::TooLarge {
                length,
                limit: self.limit,
            });
        }
        // Not above `limit`, which is a usize.
        Ok(Some((kind, length as usize, size)))
    }

    fn keep_rest(&mut self) {
        self.partial.extend_from_slice(&self.chunk);
        self.chunk = Bytes::new();
    }

    /// Completes the frame whose beginning came with an earlier chunk, taking only the bytes that belong to it.
    fn finish_partial(&mut self) -> Result<Option<(u8, Shown)>, FrameError> {
        loop {
            let header = self.header(&self.partial)?;
            let wanted = match header {
                Some((_, length, size)) => size + length - self.partial.len(),
                None => 1,
            };
            if let Some((kind, _, size)) = header
                && wanted == 0
            {
                return Ok(Some((kind, Shown::Joined(size))));
            }
            if self.chunk.is_empty() {
                return Ok(None);
            }
            if header.is_some() {
                // All that is coming, once, so that a large frame does not move again and again as it grows.
                self.partial.reserve_exact(wanted);
            }
            let taken = self.chunk.split_to(wanted.min(self.chunk.len()));
            self.partial.extend_from_slice(&taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(bytes: &[u8], chunk_size: usize, limit: usize) -> Result<Vec<Frame>, FrameError> {
        let mut framer = Framer::new(limit);
        let mut frames = Vec::new();
        for chunk in bytes.chunks(chunk_size) {
            framer.feed(Bytes::copy_from_slice(chunk));
            // In turns, for both must leave the same behind.
            loop {
                let frame = if frames.len() % 2 == 0 {
                    framer.next_frame()?
                } else {
                    framer.show_next()?.map(|kind| Frame {
                        kind,
                        body: Bytes::copy_from_slice(framer.shown()),
                    })
                };
                match frame {
                    Some(frame) => frames.push(frame),
                    None => break,
                }
            }
        }
        assert!(framer.is_at_boundary());
        Ok(frames)
    }

    fn sample() -> (Vec<u8>, Vec<Frame>) {
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        for (kind, length) in [
            (0u8, 0usize),
            (1, 1),
            (15, 7),
            (2, 8),
            (3, 300),
            (1, 5_000),
            (4, 0),
        ] {
            put_header(&mut bytes, kind, length);
            let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            bytes.extend_from_slice(&body);
            frames.push(Frame {
                kind,
                body: body.into(),
            });
        }
        (bytes, frames)
    }

    #[test]
    fn frames_come_out_whole_wherever_the_chunks_are_cut() {
        let (bytes, frames) = sample();
        for chunk_size in 1..bytes.len() {
            assert_eq!(
                frames_of(&bytes, chunk_size, 5_000).unwrap(),
                frames,
                "chunks of {chunk_size}"
            );
        }
    }

    #[test]
    fn whoever_leaves_the_last_frame_of_a_chunk_keeps_none_of_its_memory() {
        let chunk = Bytes::from(vec![1 << 4, 7, 1 << 4, 8]);
        let mut framer = Framer::new(10);
        framer.feed(chunk.clone());

        for body in [[7], [8]] {
            assert!(!chunk.is_unique());
            assert_eq!(framer.show_next(), Ok(Some(0)));
            assert_eq!(framer.shown(), body);
            framer.leave_shown();
        }

        assert!(chunk.is_unique());
        assert!(framer.is_at_boundary());
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_before_its_body_arrives() {
        let mut bytes = Vec::new();
        put_header(&mut bytes, 1, 5_001);
        let refused = frames_of(&bytes, 1, 5_000);
        assert_eq!(
            refused,
            Err(FrameError::TooLarge {
                length: 5_001,
                limit: 5_000
            })
        );
    }

    #[test]
    fn an_unfinished_frame_says_how_large_it_will_be() {
        let mut bytes = Vec::new();
        put_header(&mut bytes, 1, 4_000);
        let mut framer = Framer::new(5_000);
        framer.feed(Bytes::from(bytes));
        assert_eq!((framer.next_frame(), framer.announced()), (Ok(None), 4_000));
    }

    #[test]
    fn a_number_that_is_too_large_or_too_long_is_refused() {
        let above_64_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        for bytes in [&[0xff; 10], &above_64_bits[..], &[0x80, 0x00]] {
            assert_eq!(
                frames_of(bytes, 3, 5_000),
                Err(FrameError::BadNumber),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn numbers_take_the_bytes_they_say() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_size(value));
            assert_eq!(peek_varint(&out), Ok(Some((value, out.len()))));
            let mut over = vec![0xee; out.len()];
            set_varint(&mut over, value);
            assert_eq!(over, out);
        }
    }

    const TRACE: TraceContext = TraceContext {
        trace_id: *b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36",
        span_id: *b"\x00\xf0\x67\xaa\x0b\xa9\x02\xb7",
        flags: TraceContext::SAMPLED,
    };
    const TRACE_TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_written_and_read_as_the_specification_has_it() {
        assert_eq!(TRACE.to_string(), TRACE_TEXT);
        assert_eq!(TRACE_TEXT.parse(), Ok(TRACE));
    }

    #[test]
    fn flags_that_this_version_does_not_know_are_dropped_on_both_ways() {
        let text = TRACE_TEXT.replace("-01", "-fd");
        assert_eq!(text.parse(), Ok(TRACE));
        let odd = TraceContext {
            flags: 0xfd,
            ..TRACE
        };
        assert_eq!(odd.to_string(), TRACE_TEXT);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_knows_it() {
        for text in [
            TRACE_TEXT.replacen("00", "01", 1),
            TRACE_TEXT.replacen("00", "fe", 1) + "-what-comes",
            TRACE_TEXT.replacen("00", "cc", 1) + "-",
        ] {
            assert_eq!(text.parse(), Ok(TRACE), "{text}");
        }
        let glued = TRACE_TEXT.replacen("00", "01", 1) + "2";
        assert_eq!(glued.parse::<TraceContext>(), Err(TraceParentError::Shape));
    }

    #[test]
    fn what_is_no_traceparent_is_refused_and_why() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned();
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned();
        for (text, expected) in [
            (String::new(), TraceParentError::Shape),
            (TRACE_TEXT[..54].to_owned(), TraceParentError::Shape),
            (format!("{TRACE_TEXT}-x"), TraceParentError::Shape),
            (TRACE_TEXT.replace('-', "_"), TraceParentError::Shape),
            (format!("{TRACE_TEXT}é"), TraceParentError::Shape),
            (TRACE_TEXT.to_uppercase(), TraceParentError::Digit),
            (TRACE_TEXT.replace('f', "g"), TraceParentError::Digit),
            (
                TRACE_TEXT.replacen("00", "ff", 1),
                TraceParentError::Version,
            ),
            (zero_trace, TraceParentError::Zero),
            (zero_span, TraceParentError::Zero),
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn the_bytes_of_an_opening_are_these() {
        let open = StreamOpen {
            method: "A.b".to_owned(),
            shape: MethodKind::Bidirectional,
            deadline_ms: 300,
            trace: None,
        };
        let bytes = crate::codec::to_vec(&open).unwrap();
        assert_eq!(bytes, [3, b'A', b'.', b'b', 3 << 1, 0xac, 0x02, 0]);
    }

    #[test]
    fn the_bytes_of_a_request_are_these() {
        let mut out = Vec::new();
        put_header(&mut out, to_callee::REQUEST, 8);
        for number in [300, 2, 30_000] {
            put_varint(&mut out, number);
        }
        out.extend_from_slice(b"hi");
        assert_eq!(
            out,
            [0x81, 0x01, 0xac, 0x02, 0x02, 0xb0, 0xea, 0x01, b'h', b'i']
        );
    }
}
