//! The carrier over TCP: TLS 1.3 over one connection, and over that lanes, streams and datagrams with windows of their own.
//!
//! ```text
//! SendHalf ─► Stream::sending ─► Outgoing ─► Sealer ─► socket     by whoever writes, at once
//! RecvHalf ◄─ Stream::receiving ◄─ Incoming ◄─ Opener ◄─ socket   by the link's one task, which also sends what could not
//!                                                                 be sent at once
//! ```
//!
//! A small batch is sealed and written by the task that made it: no other task has to wake for it. When the socket takes no
//! more, writers wait; lanes are woken first. The kernel is asked to hold little that is not on its way yet, so what goes
//! first here goes first there, too.
//!
//! Locks are taken in this order, each for the length of a few moves or one write: a half of a stream, the table of streams, what
//! goes out.
//!
//! Deliberately absent: more than one connection per link, migration, compression. `docs/formats/link-over-tcp.md` has the
//! frames, `handshake` and `records` the TLS.

mod buffers;
mod driver;
mod handshake;
mod incoming;
mod looks;
mod outgoing;
mod records;
mod socket;
mod stream;
pub(crate) mod testing;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_types::wire::link::{Header, is_by_acceptor, is_one_way, stream_id, stream_number};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::memory::DATAGRAM_MAX;
use super::{CloseCode, CloseReason, LinkError, RecvHalf, SendHalf, Side, quic::FIRST_STREAMS};
use crate::limits::{ANSWER_STREAMS, CREDENTIAL_STREAMS, Limits};
use buffers::Buffers;
pub(crate) use buffers::PeerMemory;
pub(crate) use handshake::{HandshakeError, Shaken, answer, call};
pub(crate) use looks::Looks;
use outgoing::Outgoing;
pub(crate) use socket::{TcpDoor, connect};
use stream::{Read, Receiving, Sending, Stop, Violation};

/// What a new stream may send before it hears that it may send more. All streams together are bounded by what readers may hold:
/// see `buffers`.
const FIRST_WINDOW: u64 = 256 * 1024;
/// Nobody may be allowed more streams than this over the life of a link without having used them.
const STREAMS_MAX: u64 = 1 << 20;
/// Bytes of words that a close takes along.
const CLOSE_DETAIL_MAX: usize = 1024;

/// One side of a link over TCP. Closes it when dropped, together with the last half of a stream.
#[derive(Debug)]
pub(crate) struct TcpCarrier(Arc<Handle>);

/// What keeps a link open: its carrier and the halves of its streams, not the task that moves its bytes.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close(CloseReason::ours(CloseCode::Done, ""));
    }
}

#[derive(Debug)]
struct Shared {
    /// We accepted this link.
    acceptor: bool,
    remote: SocketAddr,
    streams: Mutex<Streams>,
    out: Mutex<Outgoing>,
    buffers: Arc<Buffers>,
    /// How far the windows of all streams together may grow beyond their first size.
    spare_window: Mutex<u64>,
    closed: OnceLock<CloseReason>,
    closing: Notify,
    /// Streams we may open: those both sides write to, and those only we do.
    permits: [Semaphore; 2],
    /// Told when the peer opened one.
    came: [Notify; 2],
    datagrams: Mutex<VecDeque<Bytes>>,
    datagrams_max: usize,
    datagram_came: Notify,
    /// What the peer lets a new stream send; known from its first frame.
    peer_window: AtomicU64,
    /// In nanoseconds.
    round_trip: AtomicU64,
    /// When the link was to be looked at, it was at rest; its task has not heard of that.
    passed_over: AtomicBool,
}

/// Every stream that is not over on both its halves.
#[derive(Debug, Default)]
struct Streams {
    open: HashMap<u64, Arc<Stream>>,
    /// How many we opened, by kind.
    ours: [u64; 2],
    /// How many the peer opened and may open, by kind.
    theirs: [u64; 2],
    allowed: [u64; 2],
    /// How many the peer may have at a time of those both sides write to.
    most: u64,
    /// Opened by the peer and not yet accepted, by kind.
    waiting: [VecDeque<Arc<Stream>>; 2],
}

#[derive(Debug)]
struct Stream {
    id: u64,
    receiving: Mutex<Receiving>,
    sending: Mutex<Sending>,
    /// Told when the peer has read everything or wants no more.
    left: Notify,
    /// Open, and nothing is under way on it: a lane without calls.
    at_rest: AtomicBool,
    /// Called when it was left alone.
    left_alone: OnceLock<Callback>,
}

struct Callback(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callback")
    }
}

impl TcpCarrier {
    /// Begins a link over a finished handshake. Its task belongs to `tasks` and ends with the link.
    pub(crate) fn start(
        shaken: Shaken,
        acceptor: bool,
        memory: Arc<PeerMemory>,
        looks: Arc<Looks>,
        limits: &Limits,
        tasks: &TaskTracker,
    ) -> std::io::Result<Self> {
        let remote = shaken.socket.peer_addr()?;
        let agreed = shaken.agreed;
        let (reading, writing) = shaken.socket.into_split();
        let mut out = Outgoing::new(Some(writing), agreed.sealer, limits.datagrams);
        out.say(Header::Hello {
            window: FIRST_WINDOW,
        });
        let [both_ways, one_ways] = first_streams(limits);
        for (one_way, count) in [(false, both_ways), (true, one_ways)] {
            out.say(Header::Streams { one_way, count });
        }
        let shared = Arc::new(Shared::new(
            acceptor,
            remote,
            out,
            memory,
            limits,
            shaken.round_trip,
        ));
        let driver = driver::Driver::new(
            Arc::clone(&shared),
            reading,
            agreed.opener,
            agreed.early,
            &agreed.received,
            looks,
            limits,
        );
        tasks.spawn(driver.run());
        Ok(Self(Arc::new(Handle(shared))))
    }

    pub(super) fn remote_address(&self) -> SocketAddr {
        self.shared().remote
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.shared().round_trip()
    }

    pub(crate) async fn open_stream(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        let stream = self.open(false).await?;
        Ok((self.send_half(&stream), self.recv_half(&stream)))
    }

    pub(super) async fn open_one_way(&self) -> Result<SendHalf, LinkError> {
        let stream = self.open(true).await?;
        Ok(self.send_half(&stream))
    }

    async fn open(&self, one_way: bool) -> Result<Arc<Stream>, LinkError> {
        let shared = self.shared();
        let permit = tokio::select! {
            biased;
            reason = self.closed() => return Err(LinkError::Closed(reason)),
            permit = shared.permits[usize::from(one_way)].acquire() => permit,
        };
        // The place comes back when the peer says so.
        permit.expect("this semaphore is never closed").forget();
        let mut streams = shared.streams.lock();
        let number = &mut streams.ours[usize::from(one_way)];
        let id = stream_id(*number, one_way, shared.acceptor);
        *number += 1;
        Ok(streams.add(
            id,
            shared.peer_window.load(Ordering::Acquire),
            Instant::now(),
            shared.acceptor,
        ))
    }

    pub(crate) async fn accept_stream(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        let stream = self.accept(false).await?;
        Ok((self.send_half(&stream), self.recv_half(&stream)))
    }

    pub(super) async fn accept_one_way(&self) -> Result<RecvHalf, LinkError> {
        let stream = self.accept(true).await?;
        Ok(self.recv_half(&stream))
    }

    async fn accept(&self, one_way: bool) -> Result<Arc<Stream>, LinkError> {
        let shared = self.shared();
        let kind = usize::from(one_way);
        loop {
            if let Some(reason) = shared.closed.get() {
                return Err(LinkError::Closed(reason.clone()));
            }
            if let Some(stream) = shared.take_waiting(kind) {
                return Ok(stream);
            }
            tokio::select! {
                () = shared.came[kind].notified() => {}
                _ = self.closed() => {}
            }
        }
    }

    pub(super) fn allow_streams(&self, count: u32) {
        let shared = self.shared();
        let mut streams = shared.streams.lock();
        let more = u64::from(count).saturating_sub(streams.most);
        streams.most += more;
        streams.allowed[0] += more;
        drop(streams);
        if more > 0 {
            shared.say(Header::Streams {
                one_way: false,
                count: more,
            });
        }
    }

    pub(super) fn send_datagram(&self, bytes: Bytes) -> bool {
        if bytes.len() > DATAGRAM_MAX || self.shared().closed.get().is_some() {
            return false;
        }
        self.shared().out.lock().queue_datagram(bytes);
        true
    }

    pub(super) async fn receive_datagram(&self) -> Result<Bytes, LinkError> {
        let shared = self.shared();
        loop {
            if let Some(bytes) = shared.datagrams.lock().pop_front() {
                return Ok(bytes);
            }
            tokio::select! {
                () = shared.datagram_came.notified() => {}
                reason = self.closed() => return Err(LinkError::Closed(reason)),
            }
        }
    }

    pub(crate) fn close(&self, code: CloseCode, detail: &str) {
        self.shared().close(CloseReason::ours(code, detail));
    }

    pub(crate) async fn closed(&self) -> CloseReason {
        let shared = self.shared();
        let mut closing = std::pin::pin!(shared.closing.notified());
        closing.as_mut().enable();
        if let Some(reason) = shared.closed.get() {
            return reason.clone();
        }
        closing.await;
        shared
            .closed
            .get()
            .cloned()
            .expect("the notification follows the reason")
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.shared().closed.get().cloned()
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    fn send_half(&self, stream: &Arc<Stream>) -> SendHalf {
        SendHalf::tcp(TcpWriter {
            link: Arc::clone(&self.0),
            stream: Arc::clone(stream),
            over: false,
        })
    }

    fn recv_half(&self, stream: &Arc<Stream>) -> RecvHalf {
        RecvHalf::tcp(TcpReader {
            link: Arc::clone(&self.0),
            stream: Arc::clone(stream),
        })
    }
}

/// How many streams a peer may open before it showed that it uses them: those both sides write to, and the others.
fn first_streams(limits: &Limits) -> [u64; 2] {
    let both_ways = limits.streams_per_link.min(FIRST_STREAMS);
    [both_ways, CREDENTIAL_STREAMS + ANSWER_STREAMS].map(u64::from)
}

impl Shared {
    fn new(
        acceptor: bool,
        remote: SocketAddr,
        out: Outgoing,
        memory: Arc<PeerMemory>,
        limits: &Limits,
        round_trip: Duration,
    ) -> Self {
        let allowed = first_streams(limits);
        Self {
            acceptor,
            remote,
            streams: Mutex::new(Streams {
                allowed,
                most: allowed[0],
                ..Streams::default()
            }),
            out: Mutex::new(out),
            buffers: Buffers::new(memory),
            spare_window: Mutex::new(limits.memory_per_peer as u64 / 4),
            closed: OnceLock::new(),
            closing: Notify::new(),
            permits: [Semaphore::new(0), Semaphore::new(0)],
            came: Default::default(),
            datagrams: Mutex::default(),
            datagrams_max: limits.datagrams,
            datagram_came: Notify::new(),
            peer_window: AtomicU64::new(0),
            round_trip: AtomicU64::new(nanos(round_trip)),
            passed_over: AtomicBool::new(false),
        }
    }

    fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip.load(Ordering::Relaxed))
    }

    /// Down at once, up by and by: a measurement under load says how long the queues are, not the path. Windows that followed it
    /// would make the queues longer.
    fn learn_round_trip(&self, measured: Duration) {
        let known = self.round_trip.load(Ordering::Relaxed);
        let most = known.saturating_add(known / 4);
        self.round_trip
            .store(nanos(measured).min(most), Ordering::Relaxed);
    }

    /// Ends the link. The first reason is the true one.
    fn close(&self, reason: CloseReason) {
        let words = (reason.by == Side::Us).then(|| reason.clone());
        // The link's task, on another thread, says its farewell as soon as it sees that the link is closed: the words have to be there by then.
        let mut out = self.out.lock();
        if self.closed.set(reason).is_err() {
            return;
        }
        if let Some(reason) = words {
            out.say_close(&reason);
        }
        drop(out);
        self.closing.notify_waiters();
        let open: Vec<_> = self.streams.lock().open.drain().collect();
        for (_, stream) in open {
            stream.wake_everyone();
        }
    }

    fn say(&self, header: Header) {
        self.out.lock().say(header);
    }

    /// Lets a link be whose peer owes us nothing, until something is written again: `false` when it does, and is to be looked at.
    ///
    /// Under the lock of what goes out: whoever writes later finds that nothing was written before, and calls the link's task.
    fn pass_over(&self) -> bool {
        let streams = self.streams.lock();
        let mut out = self.out.lock();
        let at_rest = socket::KERNEL_WATCHES_WRITES
            && out.is_at_rest()
            && !self.buffers.is_exhausted()
            && streams.open.values().all(|stream| stream.is_at_rest());
        if !at_rest {
            return false;
        }
        out.has_written();
        self.passed_over.store(true, Ordering::Release);
        drop(out);
        let open: Vec<_> = streams.open.values().cloned().collect();
        drop(streams);
        self.buffers.rest();
        for callback in open.iter().filter_map(|stream| stream.left_alone.get()) {
            (callback.0)();
        }
        true
    }

    /// Lets one stream's window grow, as long as all windows together stay within their bound.
    fn take_spare_window(&self, bytes: u64) -> bool {
        let mut spare = self.spare_window.lock();
        let left = spare.checked_sub(bytes);
        *spare = left.unwrap_or(*spare);
        left.is_some()
    }

    /// The stream a frame is about: `None` when it is over, or a violation when it cannot be.
    fn stream(&self, id: u64) -> Result<Option<Arc<Stream>>, Violation> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.open.get(&id) {
            return Ok(Some(Arc::clone(stream)));
        }
        let kind = usize::from(is_one_way(id));
        let number = stream_number(id);
        if is_by_acceptor(id) == self.acceptor {
            let known = number < streams.ours[kind];
            return if known {
                Ok(None)
            } else {
                Err(Violation("a frame of a stream nobody opened"))
            };
        }
        if number < streams.theirs[kind] {
            return Ok(None);
        }
        if number >= streams.allowed[kind] {
            return Err(Violation("more streams than were allowed"));
        }
        let now = Instant::now();
        let window = self.peer_window.load(Ordering::Acquire);
        // Opening one opens all before it: their first frames are on their way.
        for number in streams.theirs[kind]..=number {
            let id = stream_id(number, kind == 1, !self.acceptor);
            let stream = streams.add(id, window, now, self.acceptor);
            streams.waiting[kind].push_back(stream);
        }
        streams.theirs[kind] = number + 1;
        let stream = streams.open.get(&id).cloned();
        drop(streams);
        self.came[kind].notify_one();
        Ok(stream)
    }

    /// The oldest stream of the peer's that nobody took up yet.
    fn take_waiting(&self, kind: usize) -> Option<Arc<Stream>> {
        let mut streams = self.streams.lock();
        let stream = streams.waiting[kind].pop_front();
        if !streams.waiting[kind].is_empty() {
            self.came[kind].notify_one();
        }
        stream
    }

    /// Forgets a stream when neither half can change any more, and lets the peer open another in its place.
    fn retire(&self, stream: &Stream) {
        let over = stream.receiving.lock().is_over() && stream.sending.lock().is_over();
        if !over {
            return;
        }
        let grown = stream.receiving.lock().give_back(FIRST_WINDOW);
        let mut streams = self.streams.lock();
        if streams.open.remove(&stream.id).is_none() {
            return;
        }
        *self.spare_window.lock() += grown;
        if is_by_acceptor(stream.id) == self.acceptor {
            return;
        }
        let one_way = is_one_way(stream.id);
        streams.allowed[usize::from(one_way)] += 1;
        drop(streams);
        self.out.lock().allow_another(one_way);
    }
}

impl Streams {
    fn add(&mut self, id: u64, window: u64, now: Instant, acceptor: bool) -> Arc<Stream> {
        let ours = is_by_acceptor(id) == acceptor;
        let one_way = is_one_way(id);
        let mut receiving = Receiving::new(FIRST_WINDOW, now);
        let mut sending = Sending::new(window);
        if one_way && ours {
            receiving.never();
        }
        if one_way && !ours {
            sending.never();
        }
        let stream = Arc::new(Stream {
            id,
            receiving: Mutex::new(receiving),
            sending: Mutex::new(sending),
            left: Notify::new(),
            at_rest: AtomicBool::new(false),
            left_alone: OnceLock::new(),
        });
        self.open.insert(id, Arc::clone(&stream));
        stream
    }
}

impl Stream {
    fn is_at_rest(&self) -> bool {
        self.at_rest.load(Ordering::Acquire)
    }

    fn set_at_rest(&self, at_rest: bool) {
        self.at_rest.store(at_rest, Ordering::Release);
    }

    fn wake_everyone(&self) {
        let reader = self.receiving.lock().take_waker();
        let writer = self.sending.lock().take_waker();
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
        self.left.notify_waiters();
    }
}

/// The writing half of a stream.
#[derive(Debug)]
pub(super) struct TcpWriter {
    link: Arc<Handle>,
    stream: Arc<Stream>,
    over: bool,
}

impl TcpWriter {
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<(), LinkError>> {
        let shared = &self.link.0;
        let mut sending = self.stream.sending.lock();
        // Under the lock: whoever ends the link sets the reason first and wakes the writer under this lock then.
        if let Some(reason) = shared.closed.get() {
            return Poll::Ready(Err(LinkError::Closed(reason.clone())));
        }
        sending.writable()?;
        if sending.credit == 0 {
            sending.wait(cx.waker());
            return Poll::Pending;
        }
        let credit = usize::try_from(sending.credit).unwrap_or(usize::MAX);
        let mut out = shared.out.lock();
        if out.is_blocked(sending.first) {
            sending.wait(cx.waker());
            if !std::mem::replace(&mut sending.queued, true) {
                out.wait(sending.first, &self.stream);
            }
            return Poll::Pending;
        }
        self.stream.set_at_rest(false);
        let piece = bytes.split_to(bytes.len().min(credit).min(outgoing::PIECE_MAX));
        sending.credit -= piece.len() as u64;
        out.send(self.stream.id, &piece, sending.first);
        Poll::Ready(Ok(()))
    }

    pub(super) fn finish(&mut self) {
        self.end(Header::Data {
            stream: self.stream.id,
            length: 0,
            last: true,
        });
    }

    pub(super) fn reset(&mut self, code: u32) {
        if self.over {
            return;
        }
        self.stream.sending.lock().abandon();
        self.end(Header::Reset {
            stream: self.stream.id,
            code: u64::from(code),
        });
        self.stream.left.notify_waiters();
    }

    fn end(&mut self, header: Header) {
        self.over = true;
        let news = self.stream.sending.lock().end();
        if news && self.link.0.closed.get().is_none() {
            self.link.0.say(header);
        }
        self.link.0.retire(&self.stream);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn go_first(&self) {
        self.stream.sending.lock().first = true;
    }

    pub(super) fn set_at_rest(&self, at_rest: bool) {
        self.stream.set_at_rest(at_rest);
    }

    pub(super) fn when_left_alone(&self, tell: impl Fn() + Send + Sync + 'static) {
        // A second one would be a second owner of the stream, and there is none.
        let _ = self.stream.left_alone.set(Callback(Box::new(tell)));
    }

    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let stream = Arc::clone(&self.stream);
        // Waiting alone keeps no link open.
        let shared = Arc::clone(&self.link.0);
        async move {
            loop {
                let mut left = std::pin::pin!(stream.left.notified());
                left.as_mut().enable();
                if stream.sending.lock().is_left() || shared.closed.get().is_some() {
                    return;
                }
                left.await;
            }
        }
    }
}

/// The reading half of a stream.
#[derive(Debug)]
pub(super) struct TcpReader {
    link: Arc<Handle>,
    stream: Arc<Stream>,
}

impl TcpReader {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Option<usize>, LinkError>> {
        let shared = &self.link.0;
        let mut receiving = self.stream.receiving.lock();
        if let Some(reason) = shared.closed.get() {
            // What the peer sent before it left is still good; what we turned away is not.
            if reason.by == Side::Us || !receiving.has_data() {
                return Poll::Ready(Err(LinkError::Closed(reason.clone())));
            }
        }
        let path = || (Instant::now(), shared.round_trip());
        let grow = |by| shared.take_spare_window(by);
        let read = receiving.read(chunks, cx.waker(), path, grow);
        drop(receiving);
        let stream = self.stream.id;
        match read {
            Read::Chunks(count, more) => {
                if let Some(bytes) = more {
                    shared.say(Header::Credit { stream, bytes });
                }
                Poll::Ready(Ok(Some(count)))
            }
            Read::End(news) => {
                if news {
                    shared.say(Header::Done { stream });
                    shared.retire(&self.stream);
                }
                Poll::Ready(Ok(None))
            }
            Read::Reset(code) => Poll::Ready(Err(LinkError::Reset(code))),
            Read::Nothing => Poll::Pending,
        }
    }

    pub(super) fn stop(&mut self, code: u32) {
        let stop = self.stream.receiving.lock().stop();
        let stream = self.stream.id;
        if self.link.0.closed.get().is_some() {
            return;
        }
        match stop {
            Stop::Sending => self.link.0.say(Header::Stop {
                stream,
                code: u64::from(code),
            }),
            Stop::Done => {
                self.link.0.say(Header::Done { stream });
                self.link.0.retire(&self.stream);
            }
            Stop::Nothing => {}
        }
    }
}

impl Drop for TcpReader {
    fn drop(&mut self) {
        self.stop(super::STREAM_ENOUGH);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
