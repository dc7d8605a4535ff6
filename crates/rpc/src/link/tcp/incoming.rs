//! What comes in on a link over TCP: opened bytes are cut into frames, and each frame does to the link what it says.
//!
//! A frame may begin in one piece and end in another; a header that does is the only thing kept from one piece to the next, besides a
//! datagram or a farewell. Whatever the peer may not do ends the link, with words that say what it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Buf, Bytes};
use convoke_types::wire::link::{HEADER_MAX, Header, is_by_acceptor, is_one_way};

use super::stream::Violation;
use super::{CLOSE_DETAIL_MAX, DATAGRAM_MAX, STREAMS_MAX, Shared, Stream};
use crate::link::{CloseCode, CloseReason, Side};

/// Cuts what arrives into frames and hands them out.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The begin of a header whose rest has not arrived.
    header: Vec<u8>,
    body: Body,
    greeted: bool,
    /// The peer said farewell; what follows is nobody's business.
    over: bool,
    /// The ping under way, and since when.
    pub(super) ping: Option<(u64, Instant)>,
}

/// What the bytes that follow belong to.
#[derive(Debug)]
enum Body {
    None,
    Data {
        /// `None` when the stream is over already.
        stream: Option<Arc<Stream>>,
        left: u64,
        last: bool,
    },
    Datagram {
        left: usize,
        bytes: Vec<u8>,
    },
    Close {
        code: u64,
        left: usize,
        bytes: Vec<u8>,
    },
}

impl From<convoke_types::wire::rpc::FrameError> for Violation {
    fn from(error: convoke_types::wire::rpc::FrameError) -> Self {
        use convoke_types::wire::rpc::FrameError as E;
        Self(match error {
            E::UnknownKind(_) => "a frame of an unknown kind",
            E::BadNumber | E::Truncated | E::TooLarge { .. } => "a number that is none",
        })
    }
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            header: Vec::with_capacity(HEADER_MAX),
            body: Body::None,
            greeted: false,
            over: false,
            ping: None,
        }
    }

    /// Takes in the next bytes.
    pub(super) fn take(&mut self, link: &Shared, mut bytes: Bytes) -> Result<(), Violation> {
        while !bytes.is_empty() && !self.over {
            if matches!(self.body, Body::None) {
                if let Some(header) = self.next_header(&mut bytes)? {
                    self.begin(link, header)?;
                }
            } else {
                self.go_on(link, &mut bytes)?;
            }
        }
        Ok(())
    }

    fn next_header(&mut self, bytes: &mut Bytes) -> Result<Option<Header>, Violation> {
        if self.header.is_empty() {
            if let Some((header, size)) = Header::peek(bytes)? {
                bytes.advance(size);
                return Ok(Some(header));
            }
            // Less than a header, or `peek` would have said what is wrong with it.
            self.header.extend_from_slice(bytes);
            bytes.clear();
            return Ok(None);
        }
        // Byte by byte, which happens once per piece at most.
        self.header.push(bytes.get_u8());
        let header = Header::peek(&self.header)?;
        Ok(header.map(|(header, _)| {
            self.header.clear();
            header
        }))
    }

    fn begin(&mut self, link: &Shared, header: Header) -> Result<(), Violation> {
        match (header, self.greeted) {
            (Header::Hello { window }, false) => {
                self.greeted = true;
                link.peer_window
                    .store(window.min(1 << 40), Ordering::Release);
                return Ok(());
            }
            (Header::Hello { .. }, true) => return Err(Violation("a second greeting")),
            (_, false) => return Err(Violation("a link that begins without a greeting")),
            (_, true) => {}
        }
        match header {
            Header::Hello { .. } => {}
            Header::Data {
                stream,
                length,
                last,
            } => {
                may_write(link, stream)?;
                self.body = Body::Data {
                    stream: link.stream(stream)?,
                    left: length,
                    last,
                };
                self.end_data(link)?;
            }
            Header::Reset { stream, code } => {
                may_write(link, stream)?;
                if let Some(stream) = link.stream(stream)? {
                    let code = u32::try_from(code).unwrap_or(u32::MAX);
                    let waker = stream.receiving.lock().arrive_end(Some(code))?;
                    link.retire(&stream);
                    wake(waker);
                }
            }
            Header::Stop { stream, code } => {
                may_read(link, stream)?;
                if let Some(stream) = link.stream(stream)? {
                    let number = u32::try_from(code).unwrap_or(u32::MAX);
                    let (news, waker) = stream.sending.lock().stop(number);
                    if news {
                        // It asked for no more and shall know that no more comes.
                        let stream = stream.id;
                        link.say(Header::Reset { stream, code });
                    }
                    stream.left.notify_waiters();
                    link.retire(&stream);
                    wake(waker);
                }
            }
            Header::Done { stream } => {
                may_read(link, stream)?;
                if let Some(stream) = link.stream(stream)? {
                    let mut sending = stream.sending.lock();
                    if !sending.has_ended() {
                        return Err(Violation("the end of a stream that has not ended"));
                    }
                    sending.done();
                    drop(sending);
                    stream.left.notify_waiters();
                    link.retire(&stream);
                }
            }
            Header::Credit { stream, bytes } => {
                may_read(link, stream)?;
                if let Some(stream) = link.stream(stream)? {
                    let waker = stream.sending.lock().allow(bytes);
                    wake(waker.ok_or(Violation("credit beyond any use"))?);
                }
            }
            Header::Streams { one_way, count } => {
                let unused = link.permits[usize::from(one_way)].available_permits() as u64;
                if unused.saturating_add(count) > STREAMS_MAX {
                    return Err(Violation("more streams than there can be"));
                }
                let count = usize::try_from(count).expect("checked above");
                link.permits[usize::from(one_way)].add_permits(count);
            }
            Header::Datagram { length } => {
                let left = bounded(length, DATAGRAM_MAX, "a datagram that is too large")?;
                self.body = Body::Datagram {
                    left,
                    bytes: Vec::with_capacity(left),
                };
                self.end_words(link);
            }
            Header::Close { code, length } => {
                let left = bounded(length, CLOSE_DETAIL_MAX, "a farewell that is too long")?;
                self.body = Body::Close {
                    code,
                    left,
                    bytes: Vec::with_capacity(left),
                };
                self.end_words(link);
            }
            Header::Ping { token } => link.say(Header::Pong { token }),
            Header::Pong { token } => {
                if let Some((_, since)) = self.ping.take_if(|(sent, _)| *sent == token) {
                    link.learn_round_trip(since.elapsed());
                    link.out.lock().confirm();
                }
            }
        }
        Ok(())
    }

    /// Takes what belongs to the frame that was begun.
    fn go_on(&mut self, link: &Shared, bytes: &mut Bytes) -> Result<(), Violation> {
        match &mut self.body {
            Body::None => Ok(()),
            Body::Data { stream, left, .. } => {
                let size = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                let piece = bytes.split_to(size);
                *left -= size as u64;
                if let Some(stream) = stream {
                    let mut receiving = stream.receiving.lock();
                    let piece = link.buffers.keep(piece, receiving.has_data());
                    let waker = receiving.arrive(piece)?;
                    drop(receiving);
                    wake(waker);
                }
                self.end_data(link)
            }
            Body::Datagram { left, bytes: kept }
            | Body::Close {
                left, bytes: kept, ..
            } => {
                let size = bytes.len().min(*left);
                kept.extend_from_slice(&bytes.split_to(size));
                *left -= size;
                self.end_words(link);
                Ok(())
            }
        }
    }

    fn end_data(&mut self, link: &Shared) -> Result<(), Violation> {
        let Body::Data {
            stream,
            left: 0,
            last,
        } = &self.body
        else {
            return Ok(());
        };
        if let (Some(stream), true) = (stream, *last) {
            let waker = stream.receiving.lock().arrive_end(None)?;
            link.retire(stream);
            wake(waker);
        }
        self.body = Body::None;
        Ok(())
    }

    fn end_words(&mut self, link: &Shared) {
        match &mut self.body {
            Body::Datagram { left: 0, bytes } => {
                let mut waiting = link.datagrams.lock();
                if waiting.len() >= link.datagrams_max {
                    waiting.pop_front();
                }
                waiting.push_back(std::mem::take(bytes).into());
                drop(waiting);
                link.datagram_came.notify_one();
            }
            Body::Close {
                code,
                left: 0,
                bytes,
            } => {
                self.over = true;
                let code = u32::try_from(*code).unwrap_or(u32::MAX);
                link.close(CloseReason {
                    by: Side::Peer,
                    code: CloseCode::from_number(code),
                    detail: String::from_utf8_lossy(bytes).into_owned(),
                });
            }
            Body::None | Body::Data { .. } | Body::Datagram { .. } | Body::Close { .. } => return,
        }
        self.body = Body::None;
    }
}

/// Frames that only the writer of a stream sends.
fn may_write(link: &Shared, stream: u64) -> Result<(), Violation> {
    if is_one_way(stream) && is_by_acceptor(stream) == link.acceptor {
        return Err(Violation(
            "data on a stream that is not the peer's to write",
        ));
    }
    Ok(())
}

/// Frames that only the reader of a stream sends.
fn may_read(link: &Shared, stream: u64) -> Result<(), Violation> {
    if is_one_way(stream) && is_by_acceptor(stream) != link.acceptor {
        return Err(Violation("word from the reader of a stream that we read"));
    }
    Ok(())
}

fn bounded(length: u64, most: usize, what: &'static str) -> Result<usize, Violation> {
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= most)
        .ok_or(Violation(what))
}

fn wake(waker: Option<std::task::Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
