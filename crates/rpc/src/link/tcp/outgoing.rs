//! What goes out on a link over TCP: frames are sealed in the order in which they may leave, and written as far as the socket takes them.
//!
//! At most one piece of a stream is sealed and unwritten at a time, so whoever goes first waits for that much and no more. Small
//! frames about streams wait for the next record, whoever makes it, and the link's task makes one if nobody else does.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use convoke_types::wire::link::Header;
use tokio::net::tcp::OwnedWriteHalf;

use super::records::{RecordError, Sealer};
use super::{CLOSE_DETAIL_MAX, Stream};
use crate::link::CloseReason;

/// The most of one stream that is sealed in one go: four of the largest records.
pub(super) const PIECE_MAX: usize = 64 * 1024;
/// Pieces from this size on are written at once; smaller ones of streams wait for company until the link's task comes by. Lanes
/// never wait: they gather calls themselves.
const AT_ONCE: usize = 8 * 1024;
/// Sealed bytes that may wait for company.
const UNWRITTEN_MAX: usize = PIECE_MAX;
/// Frames about streams that may wait. The peer causes them, so it is not listened to while there are more.
const SAYINGS_MAX: usize = 64 * 1024;
/// Sealed bytes beyond which the peer is not listened to. Pieces and sayings stay well below; a peer that asks for fresh keys again
/// and again and does not read makes more of them without anything being said.
const SEALED_MAX: usize = 8 * PIECE_MAX;
/// Writers of streams that are woken at a time.
const WOKEN: usize = 8;
/// Records in one write.
const SLICES: usize = 32;

#[derive(Debug)]
pub(super) struct Outgoing {
    /// `None` when the link is over: halves of streams may outlive it, its descriptor should not.
    socket: Option<OwnedWriteHalf>,
    sealer: Sealer,
    /// Frames that go with the next record.
    sayings: Vec<u8>,
    /// Streams the peer may open in place of those that are over, by kind.
    places: [u64; 2],
    datagrams: VecDeque<Bytes>,
    datagrams_max: usize,
    sealed: VecDeque<Vec<u8>>,
    /// Bytes of the first sealed record that were written.
    written: usize,
    unwritten: usize,
    /// The socket takes no more for now.
    blocked: bool,
    /// Something was said that the peer should react to since this was last asked.
    wrote: bool,
    /// The peer was asked whether it is there and has not answered, or was sent what it never answers.
    unconfirmed: bool,
    failed: Option<io::Error>,
    /// Streams whose writers wait for the socket; those in `first` go first.
    first: VecDeque<Arc<Stream>>,
    others: VecDeque<Arc<Stream>>,
    driver: Option<Waker>,
}

impl Outgoing {
    pub(super) fn new(
        socket: Option<OwnedWriteHalf>,
        sealer: Sealer,
        datagrams_max: usize,
    ) -> Self {
        Self {
            socket,
            sealer,
            sayings: Vec::new(),
            places: [0; 2],
            datagrams: VecDeque::new(),
            datagrams_max,
            sealed: VecDeque::new(),
            written: 0,
            unwritten: 0,
            blocked: false,
            wrote: false,
            unconfirmed: false,
            failed: None,
            first: VecDeque::new(),
            others: VecDeque::new(),
            driver: None,
        }
    }

    /// Whether a writer must wait: the socket takes no more, or others go first.
    pub(super) fn is_blocked(&self, first: bool) -> bool {
        self.blocked || (!first && !self.first.is_empty())
    }

    /// Remembers a stream whose writer waits for the socket.
    pub(super) fn wait(&mut self, first: bool, stream: &Arc<Stream>) {
        let waiting = if first {
            &mut self.first
        } else {
            &mut self.others
        };
        waiting.push_back(Arc::clone(stream));
    }

    /// Sends a piece of a stream.
    pub(super) fn send(&mut self, stream: u64, piece: &[u8], first: bool) {
        let mut header = std::mem::take(&mut self.sayings);
        Header::Data {
            stream,
            length: piece.len() as u64,
            last: false,
        }
        .put(&mut header);
        self.seal(&[&header, piece]);
        self.expect_to_hear();
        header.clear();
        self.sayings = header;
        if first || piece.len() >= AT_ONCE || self.unwritten >= UNWRITTEN_MAX {
            self.write();
        } else {
            self.call_driver();
        }
    }

    /// Sends a small frame soon, with the next record.
    pub(super) fn say(&mut self, header: Header) {
        header.put(&mut self.sayings);
        self.unconfirmed |= matches!(header, Header::Ping { .. });
        self.wrote |= !matches!(header, Header::Ping { .. } | Header::Pong { .. });
        self.call_driver();
    }

    /// Lets the peer open one more stream, with the next record.
    pub(super) fn allow_another(&mut self, one_way: bool) {
        self.places[usize::from(one_way)] += 1;
        self.call_driver();
    }

    pub(super) fn say_close(&mut self, reason: &CloseReason) {
        let mut end = CLOSE_DETAIL_MAX.min(reason.detail.len());
        while !reason.detail.is_char_boundary(end) {
            end -= 1;
        }
        Header::Close {
            code: u64::from(reason.code.number()),
            length: end as u64,
        }
        .put(&mut self.sayings);
        self.sayings
            .extend_from_slice(&reason.detail.as_bytes()[..end]);
        self.datagrams.clear();
        self.call_driver();
    }

    /// Sends a datagram when the socket takes it; the oldest waiting ones are dropped when too many wait.
    pub(super) fn queue_datagram(&mut self, bytes: Bytes) {
        if self.datagrams.len() >= self.datagrams_max {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back(bytes);
        self.wrote = true;
        self.unconfirmed = true;
        self.call_driver();
    }

    /// Says in TLS's own words that nothing more follows.
    pub(super) fn end(&mut self) {
        let sealed = self.sealer.seal_end(&mut self.sealed);
        self.count(sealed);
    }

    /// The peer wants fresh keys of us.
    pub(super) fn renew_keys(&mut self) {
        let sealed = self.sealer.renew_keys(&mut self.sealed);
        self.count(sealed);
        self.call_driver();
    }

    /// The peer makes us say more than it reads.
    pub(super) fn is_overwhelmed(&self) -> bool {
        self.sayings.len() > SAYINGS_MAX || self.unwritten > SEALED_MAX
    }

    /// Seals what waits and writes it all, until the socket takes no more.
    pub(super) fn flush(&mut self) {
        while !self.blocked && self.failed.is_none() {
            self.gather();
            if self.sealed.is_empty() {
                return;
            }
            self.write();
        }
    }

    /// Makes a record of what waits for one.
    fn gather(&mut self) {
        for (one_way, count) in [(false, self.places[0]), (true, self.places[1])] {
            if count > 0 {
                Header::Streams { one_way, count }.put(&mut self.sayings);
            }
        }
        self.places = [0; 2];
        while self.sayings.len() < PIECE_MAX
            && let Some(datagram) = self.datagrams.pop_front()
        {
            Header::Datagram {
                length: datagram.len() as u64,
            }
            .put(&mut self.sayings);
            self.sayings.extend_from_slice(&datagram);
        }
        if self.sayings.is_empty() {
            return;
        }
        let sayings = std::mem::take(&mut self.sayings);
        self.seal(&[&sayings]);
    }

    fn seal(&mut self, parts: &[&[u8]]) {
        let sealed = self.sealer.seal(parts, &mut self.sealed);
        self.count(sealed);
    }

    fn count(&mut self, sealed: Result<(), RecordError>) {
        if let Err(error) = sealed {
            self.fail(io::Error::other(error));
        }
        self.unwritten = self.sealed.iter().map(Vec::len).sum::<usize>() - self.written;
    }

    /// Writes what is sealed, until the socket takes no more.
    fn write(&mut self) {
        while !self.sealed.is_empty() && !self.blocked {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.sealed.len().min(SLICES);
            for (slice, record) in slices.iter_mut().zip(&self.sealed) {
                *slice = IoSlice::new(record);
            }
            slices[0] = IoSlice::new(&self.sealed[0][self.written..]);
            let Some(socket) = &self.socket else {
                return self.fail(io::ErrorKind::NotConnected.into());
            };
            match socket.try_write_vectored(&slices[..count]) {
                Ok(written) => self.take_off(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    self.call_driver();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(error),
            }
        }
    }

    fn take_off(&mut self, mut count: usize) {
        self.unwritten -= count;
        while let Some(record) = self.sealed.front() {
            let left = record.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.sealed.pop_front();
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
        self.sealed.clear();
        self.written = 0;
        self.unwritten = 0;
        self.call_driver();
    }

    /// The link's task looks after the peer while we wait to hear from it.
    pub(super) fn expect_to_hear(&mut self) {
        if !std::mem::replace(&mut self.wrote, true) {
            self.call_driver();
        }
    }

    fn call_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Who makes records that nobody else makes.
    pub(super) fn set_driver(&mut self, waker: &Waker) {
        if !self
            .driver
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.driver = Some(waker.clone());
        }
    }

    pub(super) fn socket(&self) -> Option<&tokio::net::TcpStream> {
        self.socket.as_ref().map(AsRef::as_ref)
    }

    /// What is to be said, for tests.
    pub(super) fn describe(&self) -> String {
        format!("{:?} {:?}", self.sayings, self.places)
    }

    /// Lets go of the socket; nothing is sent any more.
    pub(super) fn hang_up(&mut self) {
        self.socket = None;
        self.sealed.clear();
        self.datagrams.clear();
        self.sayings = Vec::new();
        self.first.clear();
        self.others.clear();
    }

    pub(super) fn waits_for_socket(&self) -> bool {
        self.blocked
    }

    /// The socket takes more again.
    pub(super) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Streams whose writers may try now: those that go first, and a few of the others in the order in which they came, so that a
    /// thousand waiting writers are not all woken for a socket that has room for one.
    pub(super) fn take_waiting(&mut self) -> Vec<Arc<Stream>> {
        if self.blocked || (self.first.is_empty() && self.others.is_empty()) {
            return Vec::new();
        }
        let few = self.others.len().min(WOKEN);
        let woken = self
            .first
            .drain(..)
            .chain(self.others.drain(..few))
            .collect();
        if !self.others.is_empty() {
            self.call_driver();
        }
        woken
    }

    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// The peer answered when it was asked.
    pub(super) fn confirm(&mut self) {
        self.unconfirmed = false;
    }

    /// Whether everything that was said is out of our hands, and nothing of it waits for a sign of life.
    pub(super) fn is_at_rest(&self) -> bool {
        let nothing_waits = self.sealed.is_empty()
            && self.sayings.is_empty()
            && self.datagrams.is_empty()
            && self.first.is_empty()
            && self.others.is_empty();
        nothing_waits && !self.blocked && !self.unconfirmed && self.failed.is_none()
    }

    /// Whether something was said since this was last asked that the peer should react to.
    pub(super) fn has_written(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }
}
