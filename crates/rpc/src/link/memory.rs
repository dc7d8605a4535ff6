//! The in-memory carrier: the honest twin of the others, for tests and for programs that talk to themselves.
//!
//! It keeps the promises of a link — order, windows, limits on streams, ends with reasons, certificates checked by the same
//! code — without a socket, a clock or a cipher. Loss, delay and reordering are not simulated here.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{CloseCode, CloseReason, LinkError, RecvHalf, SendHalf, Side};
use crate::identity::Certificate;
use crate::limits::Limits;

/// The largest datagram, as small as the smallest path of the real carriers.
pub(super) const DATAGRAM_MAX: usize = 1_200;
/// Bytes on their way in one direction of one stream before its writer waits.
const WINDOW: usize = 256 * 1024;

/// A network of endpoints in one process, by address.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<MemoryKnock>>>>);

/// Someone at the door: what a handshake would have carried.
#[derive(Debug)]
pub(crate) struct MemoryKnock {
    pub(crate) from: SocketAddr,
    pub(crate) alpn: Vec<u8>,
    pub(crate) certificate: Certificate,
    pub(crate) expected: Option<convoke_types::NodeId>,
    pub(crate) answer: oneshot::Sender<MemoryAnswer>,
}

/// What comes back, in the order of a handshake: the certificate, unless it did not come to that, then half of the link or why not.
#[derive(Debug)]
pub(crate) struct MemoryAnswer {
    pub(crate) certificate: Option<Certificate>,
    pub(crate) link: Result<MemoryCarrier, CloseReason>,
}

/// One endpoint's place in the network; leaving it frees the address.
#[derive(Debug)]
pub(crate) struct MemoryDoor {
    network: MemoryNetwork,
    pub(crate) address: SocketAddr,
}

impl MemoryNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn take(
        &self,
        address: SocketAddr,
        waiting: usize,
    ) -> std::io::Result<(MemoryDoor, mpsc::Receiver<MemoryKnock>)> {
        let mut doors = self.0.lock();
        let address = if address.port() == 0 {
            free_port(&doors, address)
        } else {
            address
        };
        if doors.contains_key(&address) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::AddrInUse,
                format!("{address} is taken"),
            ));
        }
        let (knock, knocks) = mpsc::channel(waiting);
        doors.insert(address, knock);
        Ok((
            MemoryDoor {
                network: self.clone(),
                address,
            },
            knocks,
        ))
    }

    fn door(&self, address: SocketAddr) -> Option<mpsc::Sender<MemoryKnock>> {
        self.0.lock().get(&address).cloned()
    }
}

impl MemoryDoor {
    pub(crate) fn knock(&self, to: SocketAddr) -> Option<mpsc::Sender<MemoryKnock>> {
        self.network.door(to)
    }
}

impl Drop for MemoryDoor {
    fn drop(&mut self) {
        self.network.0.lock().remove(&self.address);
    }
}

fn free_port(
    doors: &HashMap<SocketAddr, mpsc::Sender<MemoryKnock>>,
    address: SocketAddr,
) -> SocketAddr {
    (1_024..=u16::MAX)
        .map(|port| SocketAddr::new(address.ip(), port))
        .find(|candidate| !doors.contains_key(candidate))
        .expect("a process has fewer than 64,000 endpoints at one address")
}

/// One side of an in-memory link.
#[derive(Debug)]
pub(crate) struct MemoryCarrier {
    shared: Arc<Shared>,
    us: usize,
    streams: tokio::sync::Mutex<mpsc::Receiver<(SendHalf, RecvHalf)>>,
    one_ways: tokio::sync::Mutex<mpsc::Receiver<RecvHalf>>,
    to_peer: mpsc::Sender<(SendHalf, RecvHalf)>,
    one_way_to_peer: mpsc::Sender<RecvHalf>,
    permits: Arc<Semaphore>,
    remote: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    closed: OnceLock<(usize, CloseCode, String)>,
    closing: Notify,
    pipes: Mutex<Vec<Weak<Pipe>>>,
    datagrams: [Mutex<VecDeque<Bytes>>; 2],
    datagram_came: [Notify; 2],
    datagrams_max: usize,
}

/// Both sides of a new link between `a` and `b`.
pub(crate) fn pair(
    a: SocketAddr,
    b: SocketAddr,
    limits: &Limits,
) -> (MemoryCarrier, MemoryCarrier) {
    let shared = Arc::new(Shared {
        closed: OnceLock::new(),
        closing: Notify::new(),
        pipes: Mutex::default(),
        datagrams: Default::default(),
        datagram_came: Default::default(),
        datagrams_max: limits.datagrams,
    });
    let bound = limits.streams_per_link as usize;
    let (to_a, a_streams) = mpsc::channel(bound);
    let (to_b, b_streams) = mpsc::channel(bound);
    let (one_way_to_a, a_one_ways) = mpsc::channel(bound);
    let (one_way_to_b, b_one_ways) = mpsc::channel(bound);
    let side = |us, streams, one_ways, to_peer, one_way_to_peer, remote| MemoryCarrier {
        shared: Arc::clone(&shared),
        us,
        streams: tokio::sync::Mutex::new(streams),
        one_ways: tokio::sync::Mutex::new(one_ways),
        to_peer,
        one_way_to_peer,
        permits: Arc::new(Semaphore::new(bound)),
        remote,
    };
    (
        side(0, a_streams, a_one_ways, to_b, one_way_to_b, b),
        side(1, b_streams, b_one_ways, to_a, one_way_to_a, a),
    )
}

impl MemoryCarrier {
    pub(super) fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    pub(super) async fn open_stream(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        let permit = self.permit().await?;
        let (our_send, their_recv) = self.pipe(self.us, Some(permit));
        let (their_send, our_recv) = self.pipe(1 - self.us, None);
        let theirs = (SendHalf::memory(their_send), RecvHalf::memory(their_recv));
        self.to_peer.send(theirs).await.map_err(|_| self.gone())?;
        Ok((SendHalf::memory(our_send), RecvHalf::memory(our_recv)))
    }

    pub(super) async fn open_one_way(&self) -> Result<SendHalf, LinkError> {
        let permit = self.permit().await?;
        let (send, recv) = self.pipe(self.us, Some(permit));
        self.one_way_to_peer
            .send(RecvHalf::memory(recv))
            .await
            .map_err(|_| self.gone())?;
        Ok(SendHalf::memory(send))
    }

    pub(super) async fn accept_stream(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        let mut streams = self.streams.lock().await;
        tokio::select! {
            biased;
            reason = self.closed() => Err(LinkError::Closed(reason)),
            stream = streams.recv() => stream.ok_or_else(|| self.gone()),
        }
    }

    pub(super) async fn accept_one_way(&self) -> Result<RecvHalf, LinkError> {
        let mut one_ways = self.one_ways.lock().await;
        tokio::select! {
            biased;
            reason = self.closed() => Err(LinkError::Closed(reason)),
            stream = one_ways.recv() => stream.ok_or_else(|| self.gone()),
        }
    }

    pub(super) fn send_datagram(&self, bytes: Bytes) -> bool {
        if bytes.len() > DATAGRAM_MAX || self.close_reason().is_some() {
            return false;
        }
        let them = 1 - self.us;
        let mut waiting = self.shared.datagrams[them].lock();
        if waiting.len() == self.shared.datagrams_max {
            waiting.pop_front();
        }
        waiting.push_back(bytes);
        drop(waiting);
        self.shared.datagram_came[them].notify_one();
        true
    }

    pub(super) async fn receive_datagram(&self) -> Result<Bytes, LinkError> {
        loop {
            if let Some(bytes) = self.shared.datagrams[self.us].lock().pop_front() {
                return Ok(bytes);
            }
            tokio::select! {
                () = self.shared.datagram_came[self.us].notified() => {}
                reason = self.closed() => return Err(LinkError::Closed(reason)),
            }
        }
    }

    pub(super) fn close(&self, code: CloseCode, detail: &str) {
        if self
            .shared
            .closed
            .set((self.us, code, detail.to_owned()))
            .is_err()
        {
            return;
        }
        self.shared.closing.notify_waiters();
        for pipe in self.shared.pipes.lock().drain(..) {
            if let Some(pipe) = pipe.upgrade() {
                pipe.wake_everyone();
            }
        }
    }

    pub(super) async fn closed(&self) -> CloseReason {
        let mut closing = std::pin::pin!(self.shared.closing.notified());
        closing.as_mut().enable();
        if let Some(reason) = self.close_reason() {
            return reason;
        }
        closing.await;
        self.close_reason()
            .expect("the notification follows the reason")
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.shared.reason_for(self.us)
    }

    fn gone(&self) -> LinkError {
        let lost = || CloseReason {
            by: Side::Network,
            code: CloseCode::Lost,
            detail: "the peer is gone".to_owned(),
        };
        LinkError::Closed(self.close_reason().unwrap_or_else(lost))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, LinkError> {
        tokio::select! {
            biased;
            reason = self.closed() => Err(LinkError::Closed(reason)),
            permit = Arc::clone(&self.permits).acquire_owned() => Ok(permit.expect("this semaphore is never closed")),
        }
    }

    fn pipe(
        &self,
        writer: usize,
        permit: Option<OwnedSemaphorePermit>,
    ) -> (PipeWriter, PipeReader) {
        let pipe = Arc::new(Pipe {
            link: Arc::clone(&self.shared),
            state: Mutex::default(),
            over: Notify::new(),
            _permit: permit,
        });
        let mut pipes = self.shared.pipes.lock();
        if pipes.len() == pipes.capacity() {
            pipes.retain(|pipe| pipe.strong_count() > 0);
        }
        pipes.push(Arc::downgrade(&pipe));
        // Both sides read a reason as their own or the peer's, so each half remembers whose it is.
        (
            PipeWriter {
                pipe: Arc::clone(&pipe),
                us: writer,
                over: false,
            },
            PipeReader {
                pipe,
                us: 1 - writer,
            },
        )
    }
}

impl Drop for MemoryCarrier {
    fn drop(&mut self) {
        self.close(CloseCode::Done, "");
    }
}

impl Shared {
    fn reason_for(&self, us: usize) -> Option<CloseReason> {
        let (closer, code, detail) = self.closed.get()?;
        let by = if *closer == us { Side::Us } else { Side::Peer };
        Some(CloseReason {
            by,
            code: *code,
            detail: detail.clone(),
        })
    }
}

/// Bytes in one direction of one stream.
#[derive(Debug)]
struct Pipe {
    link: Arc<Shared>,
    state: Mutex<PipeState>,
    over: Notify,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Default)]
struct PipeState {
    chunks: VecDeque<Bytes>,
    queued: usize,
    finished: bool,
    reset: Option<u32>,
    stopped: Option<u32>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake_everyone(&self) {
        let mut state = self.state.lock();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
        self.over.notify_waiters();
    }

    fn change(&self, change: impl FnOnce(&mut PipeState)) {
        change(&mut self.state.lock());
        self.wake_everyone();
    }
}

/// The writing end of a pipe.
#[derive(Debug)]
pub(super) struct PipeWriter {
    pipe: Arc<Pipe>,
    us: usize,
    over: bool,
}

impl PipeWriter {
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<(), LinkError>> {
        if let Some(reason) = self.pipe.link.reason_for(self.us) {
            return Poll::Ready(Err(LinkError::Closed(reason)));
        }
        if self.over {
            return Poll::Ready(Err(LinkError::Finished));
        }
        let mut state = self.pipe.state.lock();
        if let Some(code) = state.stopped {
            return Poll::Ready(Err(LinkError::Stopped(code)));
        }
        let room = WINDOW - state.queued;
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.split_to(room.min(bytes.len()));
        state.queued += taken.len();
        state.chunks.push_back(taken);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn finish(&mut self) {
        self.over = true;
        self.pipe.change(|state| state.finished = true);
    }

    pub(super) fn reset(&mut self, code: u32) {
        if self.over {
            return;
        }
        self.over = true;
        self.pipe.change(|state| {
            state.chunks.clear();
            state.queued = 0;
            state.reset = Some(code);
        });
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let pipe = Arc::clone(&self.pipe);
        let us = self.us;
        async move {
            loop {
                let mut changed = std::pin::pin!(pipe.over.notified());
                changed.as_mut().enable();
                let is_over = {
                    let state = pipe.state.lock();
                    let all_read = state.finished && state.chunks.is_empty();
                    state.stopped.is_some() || state.reset.is_some() || all_read
                };
                if is_over || pipe.link.reason_for(us).is_some() {
                    return;
                }
                changed.await;
            }
        }
    }
}

/// The reading end of a pipe.
#[derive(Debug)]
pub(super) struct PipeReader {
    pipe: Arc<Pipe>,
    us: usize,
}

impl PipeReader {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Option<usize>, LinkError>> {
        if let Some(reason) = self.pipe.link.reason_for(self.us) {
            return Poll::Ready(Err(LinkError::Closed(reason)));
        }
        let mut state = self.pipe.state.lock();
        if state.stopped.is_some() {
            return Poll::Ready(Ok(None));
        }
        if let Some(code) = state.reset {
            return Poll::Ready(Err(LinkError::Reset(code)));
        }
        let count = chunks.len().min(state.chunks.len());
        for slot in &mut chunks[..count] {
            *slot = state.chunks.pop_front().expect("counted above");
            state.queued -= slot.len();
        }
        if count > 0 {
            let writer = state.writer.take();
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Ok(Some(count)));
        }
        if state.finished {
            drop(state);
            self.pipe.over.notify_waiters();
            return Poll::Ready(Ok(None));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn stop(&mut self, code: u32) {
        self.pipe.change(|state| {
            if !(state.finished && state.chunks.is_empty()) {
                state.stopped.get_or_insert(code);
            }
            state.chunks.clear();
            state.queued = 0;
        });
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.stop(super::STREAM_ENOUGH);
    }
}
