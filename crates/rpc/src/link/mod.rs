//! A link: the one connection between two nodes that know who the other is.
//!
//! It offers ordered lanes and streams of bytes, datagrams, and an end with a reason, and hides what carries them:
//!
//! ```text
//!             Link ── peer(): who is there, by a certificate checked and still valid
//!          /   |   \
//!       quic  tcp  memory
//! ```
//!
//! Lanes and streams look alike here; they differ in what they promise. A lane is opened rarely, lives as long as the
//! link and goes first; a stream is cheap and belongs to one call. One suite (`tests/links.rs`) holds all carriers to the same
//! behaviour. What the bytes mean is known in `lane`, not here.

mod close;
mod congestion;
mod guard;
mod memory;
mod quic;
mod tcp;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use convoke_types::NodeId;
use tokio::sync::mpsc;

pub use close::{CloseCode, CloseReason, LinkError, Side};
pub(crate) use close::{STREAM_CANCELLED, STREAM_ENOUGH};
pub(crate) use guard::Guard;
pub use memory::MemoryNetwork;
pub(crate) use memory::{
    MemoryAnswer, MemoryCarrier, MemoryDoor, MemoryKnock, pair as memory_pair,
};
pub(crate) use quic::{FIRST_STREAMS, QuicSocket, close_reason as quic_close_reason};
#[doc(hidden)]
pub use tcp::testing::{
    Opening as RecordsOpening, Received as ReceivedFrames, Shaking as HandshakeOverTcp,
    ToDo as HandshakeToDo,
};
pub(crate) use tcp::{
    HandshakeError, Looks, PeerMemory, Shaken, TcpCarrier, TcpDoor, answer as answer_tcp,
    call as call_tcp, connect as connect_tcp,
};

use crate::identity::Claims;
use crate::limits::ANSWER_STREAMS;
use crate::protocol::Protocol;

/// A connection to a node whose certificate was checked. Clones share it; it stays open until someone closes it or its
/// peer's certificate ends.
#[derive(Clone, Debug)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    carrier: Carrier,
    protocol: Protocol,
    peer: ArcSwap<Claims>,
    /// Why this side closed it: a carrier remembers only that it did.
    ours: OnceLock<CloseReason>,
    /// One-way streams for the protocol's owner, sorted out from renewals by the endpoint.
    one_ways: tokio::sync::Mutex<mpsc::Receiver<(u8, RecvHalf)>>,
    sort: mpsc::Sender<(u8, RecvHalf)>,
    /// Its carrier stands in for another one that did not get through.
    stands_in: AtomicBool,
}

#[derive(Debug)]
enum Carrier {
    Quic(quinn::Connection),
    Tcp(TcpCarrier),
    Memory(MemoryCarrier),
}

/// What can carry a link from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CarrierKind {
    /// QUIC, over UDP: no stream waits for what another one lost, and a link follows a node that moves.
    Quic,
    /// TLS 1.3 over TCP: the least work for every byte and call, where little is lost on the way.
    Tcp,
    /// Inside one process.
    Memory,
}

impl std::fmt::Display for CarrierKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Memory => "memory",
        })
    }
}

/// A path that answers within this time is near: in one building or one city, where little is lost and the ends are what limits it.
pub(crate) const NEAR: Duration = Duration::from_millis(5);

impl Link {
    pub(crate) fn over_quic(
        connection: quinn::Connection,
        protocol: Protocol,
        peer: Claims,
    ) -> Self {
        Self::new(Carrier::Quic(connection), protocol, peer)
    }

    pub(crate) fn over_tcp(carrier: TcpCarrier, protocol: Protocol, peer: Claims) -> Self {
        Self::new(Carrier::Tcp(carrier), protocol, peer)
    }

    pub(crate) fn in_memory(carrier: MemoryCarrier, protocol: Protocol, peer: Claims) -> Self {
        Self::new(Carrier::Memory(carrier), protocol, peer)
    }

    fn new(carrier: Carrier, protocol: Protocol, peer: Claims) -> Self {
        let (sort, one_ways) = mpsc::channel(ANSWER_STREAMS as usize);
        Self(Arc::new(Inner {
            carrier,
            protocol,
            peer: ArcSwap::from_pointee(peer),
            ours: OnceLock::new(),
            one_ways: tokio::sync::Mutex::new(one_ways),
            sort,
            stands_in: AtomicBool::new(false),
        }))
    }

    /// Who is at the other end, as their newest certificate says.
    #[must_use]
    pub fn peer(&self) -> Arc<Claims> {
        self.0.peer.load_full()
    }

    /// The peer's node id, which never changes on a link.
    #[must_use]
    pub fn peer_id(&self) -> NodeId {
        self.0.peer.load().node
    }

    fn renew_peer(&self, claims: Claims) {
        debug_assert_eq!(claims.node, self.peer_id(), "a link never changes its peer");
        self.0.peer.store(Arc::new(claims));
    }

    /// The protocol both sides agreed on.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// What carries this link.
    #[must_use]
    pub fn carrier(&self) -> CarrierKind {
        match &self.0.carrier {
            Carrier::Quic(_) => CarrierKind::Quic,
            Carrier::Tcp(_) => CarrierKind::Tcp,
            Carrier::Memory(_) => CarrierKind::Memory,
        }
    }

    /// The same link, remembered to be over the carrier that is not the first choice there.
    pub(crate) fn standing_in(self) -> Self {
        self.0.stands_in.store(true, Ordering::Relaxed);
        self
    }

    /// Whether its carrier stands in for the one that would be the first choice there and did not get through.
    pub(crate) fn stands_in(&self) -> bool {
        self.0.stands_in.load(Ordering::Relaxed)
    }

    /// Where the peer's packets come from now; it may move.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        match &self.0.carrier {
            Carrier::Quic(connection) => connection.remote_address(),
            Carrier::Tcp(carrier) => carrier.remote_address(),
            Carrier::Memory(carrier) => carrier.remote_address(),
        }
    }

    /// The current estimate of the round-trip time.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        match &self.0.carrier {
            Carrier::Quic(connection) => connection.rtt(),
            Carrier::Tcp(carrier) => carrier.round_trip(),
            Carrier::Memory(_) => Duration::ZERO,
        }
    }

    /// Opens an ordered lane: long-lived, and sent before streams when both have something to send.
    ///
    /// # Errors
    /// When the link ended. Waits while the peer allows no further stream.
    pub async fn open_lane(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        let (send, recv) = self.open_stream().await?;
        send.go_first();
        Ok((send, recv))
    }

    /// Opens a stream for one call.
    ///
    /// # Errors
    /// When the link ended. Waits while the peer allows no further stream.
    pub async fn open_stream(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        match &self.0.carrier {
            Carrier::Quic(connection) => {
                let (send, recv) = connection.open_bi().await.map_err(quic::link_error)?;
                Ok((
                    SendHalf::quic(send),
                    RecvHalf::quic(quic::Reader::opened(recv)),
                ))
            }
            Carrier::Tcp(carrier) => carrier.open_stream().await,
            Carrier::Memory(carrier) => carrier.open_stream().await,
        }
    }

    /// Opens a stream that only this side writes to.
    ///
    /// # Errors
    /// When the link ended. Waits while the peer allows no further stream.
    pub async fn open_one_way(&self) -> Result<SendHalf, LinkError> {
        match &self.0.carrier {
            Carrier::Quic(connection) => Ok(SendHalf::quic(
                connection.open_uni().await.map_err(quic::link_error)?,
            )),
            Carrier::Tcp(carrier) => carrier.open_one_way().await,
            Carrier::Memory(carrier) => carrier.open_one_way().await,
        }
    }

    /// Lets the peer have `count` lanes and streams open at a time. A link begins with few, as each costs memory even unused;
    /// whoever accepts them grows the number up to [`Limits::streams_per_link`](crate::Limits::streams_per_link).
    pub fn allow_streams(&self, count: u32) {
        match &self.0.carrier {
            Carrier::Quic(connection) => {
                connection.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(count));
            }
            Carrier::Tcp(carrier) => carrier.allow_streams(count),
            // Allowed from the start: in memory an unused stream costs nothing.
            Carrier::Memory(_) => {}
        }
    }

    /// Lets all streams of a link over QUIC hold so much that was not read. The other carriers count for themselves.
    pub(crate) fn let_hold(&self, bytes: quinn::VarInt) {
        match &self.0.carrier {
            Carrier::Quic(connection) => connection.set_receive_window(bytes),
            Carrier::Tcp(_) | Carrier::Memory(_) => {}
        }
    }

    /// The next lane or stream the peer opened.
    ///
    /// # Errors
    /// When the link ended.
    pub async fn accept_stream(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        match &self.0.carrier {
            Carrier::Quic(connection) => {
                let (send, recv) = connection.accept_bi().await.map_err(quic::link_error)?;
                Ok((
                    SendHalf::quic(send),
                    RecvHalf::quic(quic::Reader::accepted(recv, connection)),
                ))
            }
            Carrier::Tcp(carrier) => carrier.accept_stream().await,
            Carrier::Memory(carrier) => carrier.accept_stream().await,
        }
    }

    /// The next one-way stream the peer opened for this protocol, and its first byte.
    ///
    /// # Errors
    /// When the link ended.
    pub async fn accept_one_way(&self) -> Result<(u8, RecvHalf), LinkError> {
        let mut one_ways = self.0.one_ways.lock().await;
        tokio::select! {
            biased;
            stream = one_ways.recv() => Ok(stream.expect("this link holds the other end")),
            reason = self.closed() => Err(LinkError::Closed(reason)),
        }
    }

    /// As the carrier hands it over: renewals among the rest.
    async fn accept_any_one_way(&self) -> Result<RecvHalf, LinkError> {
        match &self.0.carrier {
            Carrier::Quic(connection) => {
                let recv = connection.accept_uni().await.map_err(quic::link_error)?;
                Ok(RecvHalf::quic(quic::Reader::accepted(recv, connection)))
            }
            Carrier::Tcp(carrier) => carrier.accept_one_way().await,
            Carrier::Memory(carrier) => carrier.accept_one_way().await,
        }
    }

    /// Sends a datagram: it may be lost, doubled or late. `false` when it is larger than [`Self::datagram_max`] or the link
    /// ended; the oldest waiting ones are dropped when too many wait.
    pub fn send_datagram(&self, bytes: Bytes) -> bool {
        match &self.0.carrier {
            Carrier::Quic(connection) => connection.send_datagram(bytes).is_ok(),
            Carrier::Tcp(carrier) => carrier.send_datagram(bytes),
            Carrier::Memory(carrier) => carrier.send_datagram(bytes),
        }
    }

    /// The largest datagram that can be sent now.
    #[must_use]
    pub fn datagram_max(&self) -> usize {
        match &self.0.carrier {
            Carrier::Quic(connection) => connection.max_datagram_size().unwrap_or(0),
            Carrier::Tcp(_) | Carrier::Memory(_) => memory::DATAGRAM_MAX,
        }
    }

    /// The next datagram from the peer.
    ///
    /// # Errors
    /// When the link ended.
    pub async fn receive_datagram(&self) -> Result<Bytes, LinkError> {
        match &self.0.carrier {
            Carrier::Quic(connection) => connection.read_datagram().await.map_err(quic::link_error),
            Carrier::Tcp(carrier) => carrier.receive_datagram().await,
            Carrier::Memory(carrier) => carrier.receive_datagram().await,
        }
    }

    /// Ends the link now, for both sides. What was written and not yet read by the peer may be lost.
    pub fn close(&self, code: CloseCode, detail: &str) {
        // The first reason is the true one; a later close changes nothing.
        let _ = self.0.ours.set(CloseReason::ours(code, detail));
        match &self.0.carrier {
            // To quinn the last close would be the reason, also when the peer was first.
            Carrier::Quic(connection) if connection.close_reason().is_some() => {}
            Carrier::Quic(connection) => {
                connection.close(quinn::VarInt::from_u32(code.number()), detail.as_bytes())
            }
            Carrier::Tcp(carrier) => carrier.close(code, detail),
            Carrier::Memory(carrier) => carrier.close(code, detail),
        }
    }

    /// Waits for the end of the link and says why it came.
    pub async fn closed(&self) -> CloseReason {
        let reason = match &self.0.carrier {
            Carrier::Quic(connection) => quic::close_reason(&connection.closed().await),
            Carrier::Tcp(carrier) => carrier.closed().await,
            Carrier::Memory(carrier) => carrier.closed().await,
        };
        self.with_our_words(reason)
    }

    /// Why the link ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        let reason = match &self.0.carrier {
            Carrier::Quic(connection) => connection.close_reason().as_ref().map(quic::close_reason),
            Carrier::Tcp(carrier) => carrier.close_reason(),
            Carrier::Memory(carrier) => carrier.close_reason(),
        };
        reason.map(|reason| self.with_our_words(reason))
    }

    fn with_our_words(&self, reason: CloseReason) -> CloseReason {
        match self.0.ours.get() {
            Some(ours) if reason.by == Side::Us => ours.clone(),
            _ => reason,
        }
    }

    fn downgrade(&self) -> WeakLink {
        WeakLink(Arc::downgrade(&self.0))
    }
}

#[derive(Debug, Clone)]
struct WeakLink(std::sync::Weak<Inner>);

impl WeakLink {
    fn upgrade(&self) -> Option<Link> {
        self.0.upgrade().map(Link)
    }
}

/// The writing half of a stream. Dropped before [`SendHalf::finish`], it tells the peer that the stream was abandoned.
#[derive(Debug)]
pub struct SendHalf(SendKind);

#[derive(Debug)]
enum SendKind {
    Quic {
        stream: quinn::SendStream,
        over: bool,
    },
    Tcp(tcp::TcpWriter),
    Memory(memory::PipeWriter),
}

impl SendHalf {
    fn quic(stream: quinn::SendStream) -> Self {
        Self(SendKind::Quic {
            stream,
            over: false,
        })
    }

    fn tcp(writer: tcp::TcpWriter) -> Self {
        Self(SendKind::Tcp(writer))
    }

    fn memory(writer: memory::PipeWriter) -> Self {
        Self(SendKind::Memory(writer))
    }

    /// Writes as much of `bytes` as the peer has room for now, taking it off the front.
    ///
    /// # Errors
    /// When the peer stopped reading, or the link ended.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<(), LinkError>> {
        match &mut self.0 {
            SendKind::Quic { stream, .. } => {
                // quinn's write futures hold no state, so a fresh one at each poll writes without copying.
                let mut chunks = [std::mem::take(bytes)];
                let result = pin!(stream.write_chunks(&mut chunks)).poll(cx);
                let [rest] = chunks;
                *bytes = rest;
                result.map(|written| written.map(|_| ()).map_err(quic::write_error))
            }
            SendKind::Tcp(writer) => writer.poll_write(cx, bytes),
            SendKind::Memory(writer) => writer.poll_write(cx, bytes),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// When the peer stopped reading, or the link ended.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        std::future::poll_fn(|cx| {
            if !bytes.is_empty() {
                std::task::ready!(self.poll_write(cx, &mut bytes))?;
            }
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // Others get a turn between two writes of a large body: over TCP every 64 KiB, or some thirty microseconds.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Says that nothing more follows. What was written is still delivered.
    pub fn finish(&mut self) {
        match &mut self.0 {
            SendKind::Quic { stream, over } => {
                *over = true;
                // Fails only when the stream is over already, which is what is asked for.
                let _ = stream.finish();
            }
            SendKind::Tcp(writer) => writer.finish(),
            SendKind::Memory(writer) => writer.finish(),
        }
    }

    /// Abandons the stream: what the peer has not read yet it need not read.
    pub fn reset(&mut self, code: u32) {
        match &mut self.0 {
            SendKind::Quic { stream, over } => {
                *over = true;
                let _ = stream.reset(quinn::VarInt::from_u32(code));
            }
            SendKind::Tcp(writer) => writer.reset(code),
            SendKind::Memory(writer) => writer.reset(code),
        }
    }

    /// Waits until the peer no longer reads: it stopped, it has received everything up to the end, or the link ended.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let waiting = match &self.0 {
            SendKind::Quic { stream, .. } => StoppedKind::Quic(stream.stopped()),
            SendKind::Tcp(writer) => StoppedKind::Tcp(writer.stopped()),
            SendKind::Memory(writer) => StoppedKind::Memory(writer.stopped()),
        };
        async move {
            match waiting {
                StoppedKind::Quic(future) => {
                    let _ = future.await;
                }
                StoppedKind::Tcp(future) => future.await,
                StoppedKind::Memory(future) => future.await,
            }
        }
    }

    /// Sent before others when several have something to send.
    pub(crate) fn go_first(&self) {
        match &self.0 {
            SendKind::Quic { stream, .. } => drop(stream.set_priority(1)),
            SendKind::Tcp(writer) => writer.go_first(),
            SendKind::Memory(_) => {}
        }
    }

    /// Says whether anything is under way on this stream. While nothing is on any, nobody waits to hear from the peer and it is not
    /// asked whether it is there. A stream that says nothing, or writes, is under way.
    pub(crate) fn set_at_rest(&self, at_rest: bool) {
        match &self.0 {
            // Over QUIC the link asks in any case.
            SendKind::Quic { .. } | SendKind::Memory(_) => {}
            SendKind::Tcp(writer) => writer.set_at_rest(at_rest),
        }
    }

    /// Has this called each time that the link was at rest when it was to be looked at: the moment to let go of what is of no use
    /// to a stream that rests. Can be said once.
    pub(crate) fn when_left_alone(&self, tell: impl Fn() + Send + Sync + 'static) {
        match &self.0 {
            SendKind::Quic { .. } | SendKind::Memory(_) => {}
            SendKind::Tcp(writer) => writer.when_left_alone(tell),
        }
    }
}

enum StoppedKind<Q, T, M> {
    Quic(Q),
    Tcp(T),
    Memory(M),
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        let over = match &self.0 {
            SendKind::Quic { over, .. } => *over,
            SendKind::Tcp(writer) => writer.is_over(),
            SendKind::Memory(writer) => writer.is_over(),
        };
        if !over {
            self.reset(STREAM_CANCELLED);
        }
    }
}

/// How many chunks one read takes at most; enough to batch, little enough to stay on the stack.
pub(crate) const CHUNKS: usize = 32;

/// The reading half of a stream. Dropped before its end, it tells the peer to stop sending.
#[derive(Debug)]
pub struct RecvHalf {
    kind: RecvKind,
    /// Read once and returned, to be read again first.
    put_back: Bytes,
}

#[derive(Debug)]
enum RecvKind {
    Quic(quic::Reader),
    Tcp(tcp::TcpReader),
    Memory(memory::PipeReader),
}

impl RecvHalf {
    fn quic(reader: quic::Reader) -> Self {
        Self {
            kind: RecvKind::Quic(reader),
            put_back: Bytes::new(),
        }
    }

    fn tcp(reader: tcp::TcpReader) -> Self {
        Self {
            kind: RecvKind::Tcp(reader),
            put_back: Bytes::new(),
        }
    }

    fn memory(reader: memory::PipeReader) -> Self {
        Self {
            kind: RecvKind::Memory(reader),
            put_back: Bytes::new(),
        }
    }

    /// Takes what has arrived, in order, without copying it: how many of `chunks` were filled, or `None` at the end.
    ///
    /// # Errors
    /// When the peer abandoned the stream, or the link ended.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Option<usize>, LinkError>> {
        if !self.put_back.is_empty() {
            chunks[0] = std::mem::take(&mut self.put_back);
            return Poll::Ready(Ok(Some(1)));
        }
        match &mut self.kind {
            RecvKind::Quic(reader) => reader.poll_read(cx, chunks),
            RecvKind::Tcp(reader) => reader.poll_read(cx, chunks),
            RecvKind::Memory(reader) => reader.poll_read(cx, chunks),
        }
    }

    /// The next chunk, or `None` at the end.
    ///
    /// # Errors
    /// When the peer abandoned the stream, or the link ended.
    pub async fn read(&mut self) -> Result<Option<Bytes>, LinkError> {
        let mut chunk = [Bytes::new()];
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut chunk)).await?;
        let [chunk] = chunk;
        Ok(read.map(|_| chunk))
    }

    /// Returns bytes taken too early; the next read begins with them.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        debug_assert!(self.put_back.is_empty(), "one look ahead at a time");
        self.put_back = bytes;
    }

    /// Tells the peer to stop sending.
    pub fn stop(&mut self, code: u32) {
        match &mut self.kind {
            RecvKind::Quic(reader) => reader.stop(code),
            RecvKind::Tcp(reader) => reader.stop(code),
            RecvKind::Memory(reader) => reader.stop(code),
        }
    }
}
