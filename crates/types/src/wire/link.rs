//! The bytes of a link over TCP: how many lanes, streams and datagrams share one ordered stream of bytes.
//!
//! QUIC brings all of this along; over TCP it is ours. Everything here is arithmetic on byte slices. What a frame does to a link,
//! and every bound but those of the numbers themselves, is in `convoke-rpc`. The layouts are described in
//! `docs/formats/link-over-tcp.md`.
//!
//! ```text
//! frame  = kind(1 byte) fields(varints) [payload]
//! stream = number * 4 + (2 if one-way) + (1 if opened by whoever accepted the link)
//! ```

use super::rpc::{FrameError, peek_varint, put_varint};

/// The longest header: a kind and two numbers.
pub const HEADER_MAX: usize = 1 + 2 * 10;

const HELLO: u8 = 0;
const DATA: u8 = 1;
const DATA_AND_END: u8 = 2;
const RESET: u8 = 3;
const STOP: u8 = 4;
const DONE: u8 = 5;
const CREDIT: u8 = 6;
const STREAMS: u8 = 7;
const ONE_WAYS: u8 = 8;
const DATAGRAM: u8 = 9;
const CLOSE: u8 = 10;
const PING: u8 = 11;
const PONG: u8 = 12;

/// The header of one frame; what it announces follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// First frame of each side: how many bytes may be sent on each new stream before more are allowed.
    Hello {
        /// The first window of every stream.
        window: u64,
    },
    /// `length` bytes of a stream follow.
    Data {
        /// Which stream.
        stream: u64,
        /// How many bytes.
        length: u64,
        /// Nothing comes after them.
        last: bool,
    },
    /// The sender gave up sending on this stream.
    Reset {
        /// Which stream.
        stream: u64,
        /// Why.
        code: u64,
    },
    /// The sender wants no more of this stream.
    Stop {
        /// Which stream.
        stream: u64,
        /// Why.
        code: u64,
    },
    /// The sender has read this stream to its end.
    Done {
        /// Which stream.
        stream: u64,
    },
    /// That many more bytes may be sent on this stream.
    Credit {
        /// Which stream.
        stream: u64,
        /// How many more.
        bytes: u64,
    },
    /// That many more streams may be opened.
    Streams {
        /// Those that only their opener writes to, or the others.
        one_way: bool,
        /// How many more.
        count: u64,
    },
    /// A datagram of `length` bytes follows.
    Datagram {
        /// How many bytes.
        length: u64,
    },
    /// The link ends; `length` bytes of words for people follow.
    Close {
        /// Why, as a number.
        code: u64,
        /// How many bytes.
        length: u64,
    },
    /// To be answered with a pong of the same number.
    Ping {
        /// Any number.
        token: u64,
    },
    /// The answer to a ping.
    Pong {
        /// The number of the ping.
        token: u64,
    },
}

impl Header {
    /// Appends its bytes.
    pub fn put(self, out: &mut Vec<u8>) {
        let (kind, first, second) = match self {
            Self::Hello { window } => (HELLO, window, None),
            Self::Data {
                stream,
                length,
                last: false,
            } => (DATA, stream, Some(length)),
            Self::Data { stream, length, .. } => (DATA_AND_END, stream, Some(length)),
            Self::Reset { stream, code } => (RESET, stream, Some(code)),
            Self::Stop { stream, code } => (STOP, stream, Some(code)),
            Self::Done { stream } => (DONE, stream, None),
            Self::Credit { stream, bytes } => (CREDIT, stream, Some(bytes)),
            Self::Streams {
                one_way: false,
                count,
            } => (STREAMS, count, None),
            Self::Streams { count, .. } => (ONE_WAYS, count, None),
            Self::Datagram { length } => (DATAGRAM, length, None),
            Self::Close { code, length } => (CLOSE, code, Some(length)),
            Self::Ping { token } => (PING, token, None),
            Self::Pong { token } => (PONG, token, None),
        };
        out.push(kind);
        put_varint(out, first);
        if let Some(second) = second {
            put_varint(out, second);
        }
    }

    /// Reads a header from the front of `bytes`: it and how many bytes it took, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError::UnknownKind`] and [`FrameError::BadNumber`]. Both mean that the peer speaks another protocol.
    pub fn peek(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((&kind, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if kind > PONG {
            return Err(FrameError::UnknownKind(kind));
        }
        let Some((first, size)) = peek_varint(rest)? else {
            return Ok(None);
        };
        let one = |header| Ok(Some((header, 1 + size)));
        let two = |header: fn(u64, u64) -> Self| {
            let second = peek_varint(&rest[size..])?;
            Ok(second.map(|(second, more)| (header(first, second), 1 + size + more)))
        };
        match kind {
            HELLO => one(Self::Hello { window: first }),
            DATA => two(|stream, length| Self::Data {
                stream,
                length,
                last: false,
            }),
            DATA_AND_END => two(|stream, length| Self::Data {
                stream,
                length,
                last: true,
            }),
            RESET => two(|stream, code| Self::Reset { stream, code }),
            STOP => two(|stream, code| Self::Stop { stream, code }),
            DONE => one(Self::Done { stream: first }),
            CREDIT => two(|stream, bytes| Self::Credit { stream, bytes }),
            STREAMS | ONE_WAYS => one(Self::Streams {
                one_way: kind == ONE_WAYS,
                count: first,
            }),
            DATAGRAM => one(Self::Datagram { length: first }),
            CLOSE => two(|code, length| Self::Close { code, length }),
            PING => one(Self::Ping { token: first }),
            _ => one(Self::Pong { token: first }),
        }
    }
}

/// Which stream of which kind, opened by whom, as one number.
#[must_use]
pub const fn stream_id(number: u64, one_way: bool, by_acceptor: bool) -> u64 {
    number << 2 | (one_way as u64) << 1 | by_acceptor as u64
}

/// Whether only the opener of this stream writes to it.
#[must_use]
pub const fn is_one_way(stream: u64) -> bool {
    stream & 2 != 0
}

/// Whether this stream was opened by whoever accepted the link.
#[must_use]
pub const fn is_by_acceptor(stream: u64) -> bool {
    stream & 1 != 0
}

/// The how-manieth of its kind and opener this stream is.
#[must_use]
pub const fn stream_number(stream: u64) -> u64 {
    stream >> 2
}
