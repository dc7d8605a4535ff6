//! A server: RPC services, the links that may call them, and an orderly end.
//!
//! ```text
//! Server ─ owns ─► accept task ─► a task per link ─► tasks per lane, per streaming call, per waiting handler
//! shutdown(grace): no new links, GO_AWAY on every lane, wait for what runs, then close
//! ```
//!
//! Every task belongs to a tracker that [`Server::shutdown`] waits for. How one call is served is told in
//! [`lane::server`](crate::lane::server) and, for calls with a stream of their own, at the end of this file.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use convoke_types::wire::rpc::{OPEN_CALL, OPEN_LANE, StreamOpen, item, peek_varint};
use convoke_types::{Changed, Code, NodeId, Problem, Retry};
use parking_lot::Mutex;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, warn};

use crate::context::Context;
use crate::endpoint::{Endpoint, Listener};
use crate::health::{Checks, HealthCheckServer};
use crate::identity::Claims;
use crate::interceptor::{CallSpan, Outcome, ServerInterceptor};
use crate::lane::server::{CatchPanic, LaneOut, cancelled, out_of_time, panicked};
use crate::limits::Limits;
use crate::link::{CloseCode, FIRST_STREAMS, Link, RecvHalf, SendHalf};
use crate::protocol::{Admission, Protocol, every_member};
use crate::service::{Body, Handling, IncomingCall, MethodDescriptor, MethodKind, Reply, Service};
use crate::streaming::{IncomingStream, MessageReader, ReplyStream};

/// How long a stream may take to say what it is, beyond the silence that a link survives: what it says may have been lost on the
/// way when the network stopped, while a later stream got through.
const OPENING: Duration = Duration::from_secs(10);
/// Lanes of one link. Each may bind methods and number calls, which costs a few megabytes at the worst.
const LANES_MAX: usize = 16;
/// Advice to callers that were refused for load.
const COME_BACK: Duration = Duration::from_millis(50);

/// How long a shutdown waits, after its grace, for tasks that were told to end. One that still runs then has a handler that neither
/// ends nor yields, and nobody can end it from outside.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Collects what a server offers.
#[derive(Default)]
pub struct ServerBuilder {
    services: Vec<Arc<dyn Service>>,
    interceptors: Vec<Arc<dyn ServerInterceptor>>,
    admission: Option<Admission>,
    #[cfg(feature = "reflection")]
    reflection: bool,
}

impl std::fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self
            .services
            .iter()
            .map(|service| service.descriptor().name)
            .collect();
        f.debug_struct("ServerBuilder")
            .field("services", &names)
            .finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// Offers a service. A name offered twice is refused by [`Self::serve`].
    #[must_use]
    pub fn service(mut self, service: impl Service) -> Self {
        self.services.push(Arc::new(service));
        self
    }

    /// Runs around every call; the first added is the outermost.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl ServerInterceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Decides who may open a link at all. By default every member of the cluster may.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Describes the services to whoever may call, and translates their messages from and to JSON, as `convoke rpc` asks for.
    /// See [`reflection`](crate::reflection).
    #[cfg(feature = "reflection")]
    #[must_use]
    pub fn reflection(mut self) -> Self {
        self.reflection = true;
        self
    }

    /// Starts to serve at an endpoint.
    ///
    /// # Errors
    /// When somebody serves RPC at this endpoint already, or two services have one name.
    pub fn serve(mut self, endpoint: &Endpoint) -> io::Result<Server> {
        let names = self
            .services
            .iter()
            .map(|service| service.descriptor().name)
            .collect();
        self.services
            .push(Arc::new(HealthCheckServer::new(Checks(names))));
        #[cfg(feature = "reflection")]
        if self.reflection {
            let limit = endpoint.limits().message_bytes;
            let reflector = crate::reflection::Reflector::of(&self.services, limit);
            self.services
                .push(Arc::new(crate::reflection::ReflectionServer::new(
                    reflector,
                )));
        }
        let mut methods = HashMap::new();
        for service in &self.services {
            for (index, descriptor) in service.descriptor().methods.iter().enumerate() {
                let index = u16::try_from(index).expect("a service has at most 65,536 methods");
                let method = Method {
                    service: Arc::clone(service),
                    index,
                    descriptor,
                };
                if methods.insert(descriptor.name(), method).is_some() {
                    let twice = format!("{} is offered twice", descriptor.name());
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, twice));
                }
            }
        }
        let listener =
            endpoint.listen(Protocol::Rpc, self.admission.unwrap_or_else(every_member))?;
        let core = Arc::new(ServerCore {
            methods,
            interceptors: self.interceptors.into(),
            limits: endpoint.limits().clone(),
            running: AtomicUsize::new(0),
            peers: Mutex::default(),
            accounts: Mutex::default(),
        });
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        tasks.spawn(accept_links(
            Arc::clone(&core),
            listener,
            tasks.clone(),
            stop.clone(),
        ));
        Ok(Server {
            core,
            tasks,
            stop,
            endpoint: endpoint.clone(),
        })
    }
}

/// A running server. Dropped, it stops at once; [`Server::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Server {
    core: Arc<ServerCore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    endpoint: Endpoint,
}

impl Server {
    /// Begins to describe a server.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Where it serves.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Handlers that wait for something now.
    #[must_use]
    pub fn running_calls(&self) -> usize {
        self.core.running.load(Ordering::Relaxed)
    }

    /// Links that are served now.
    #[must_use]
    pub fn links(&self) -> usize {
        self.core.open_peers().len()
    }

    /// Takes no new links, asks callers to go elsewhere, lets running calls end for at most `grace`, then closes every link and
    /// waits for all tasks, except those whose handlers block their thread: for them it waits two seconds and leaves them behind
    /// with a warning. Says how many calls had to be cut off.
    pub async fn shutdown(self, grace: Duration) -> usize {
        self.stop.cancel();
        let peers = self.core.open_peers();
        for peer in &peers {
            peer.drain();
        }
        let drained = async {
            for peer in &peers {
                peer.idle().await;
            }
        };
        let _ = timeout(grace, drained).await;
        let cut_off = self.running_calls();
        for peer in self.core.open_peers() {
            peer.link
                .close(CloseCode::Draining, "the server was shut down");
        }
        self.tasks.close();
        if timeout(LAST_WAIT, self.tasks.wait()).await.is_err() {
            warn!(
                tasks = self.tasks.len(),
                "shut down although handlers block their threads"
            );
        }
        cut_off
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        for peer in self.core.open_peers() {
            peer.link
                .close(CloseCode::Draining, "the server was stopped");
        }
    }
}

/// What all links of a server share.
pub(crate) struct ServerCore {
    methods: HashMap<&'static str, Method>,
    interceptors: Arc<[Arc<dyn ServerInterceptor>]>,
    pub(crate) limits: Limits,
    running: AtomicUsize,
    peers: Mutex<Vec<Weak<Peer>>>,
    /// What each node makes us run and hold, over all its links.
    accounts: Mutex<HashMap<NodeId, Weak<Account>>>,
}

impl std::fmt::Debug for ServerCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCore")
            .field("methods", &self.methods.len())
            .finish_non_exhaustive()
    }
}

/// A method and who serves it.
#[derive(Clone)]
pub(crate) struct Method {
    service: Arc<dyn Service>,
    index: u16,
    descriptor: &'static MethodDescriptor,
}

impl Method {
    pub(crate) fn descriptor(&self) -> &'static MethodDescriptor {
        self.descriptor
    }
}

impl ServerCore {
    pub(crate) fn method(&self, name: &str) -> Option<Method> {
        self.methods.get(name).cloned()
    }

    /// Whether a call may begin: the method has this shape, and the caller may hold a role it asks for.
    pub(crate) fn admit(&self, context: &Context, shape: MethodKind) -> Result<(), Problem> {
        let method = context.method;
        if method.kind() != shape {
            let message = format!(
                "{} is {:?}, the call was {shape:?}",
                method.name(),
                method.kind()
            );
            return Err(Problem::new(Code::Unimplemented, message));
        }
        let (allowed, held) = (method.allowed_callers(), context.caller_roles());
        if allowed == convoke_types::RoleSet::ALL || held.intersects(allowed) {
            return Ok(());
        }
        let message = format!(
            "{} may be called by {allowed}; this certificate allows {held}",
            method.name()
        );
        Err(Problem::new(Code::Forbidden, message))
    }

    pub(crate) fn start(&self, method: &Method, call: IncomingCall) -> Handling {
        if self.interceptors.is_empty() {
            return method.service.dispatch(method.index, call);
        }
        let interceptors = Arc::clone(&self.interceptors);
        let (service, index) = (Arc::clone(&method.service), method.index);
        Box::pin(intercepted(interceptors, service, index, call))
    }

    /// Tells the interceptors of a call that none of them saw.
    #[cold]
    pub(crate) fn tell_refused(
        &self,
        method: Option<&'static MethodDescriptor>,
        caller: &Claims,
        problem: &Problem,
    ) {
        for interceptor in self.interceptors.iter() {
            interceptor.refused(method, caller, problem);
        }
    }

    /// Replaces an answer that is larger than any message may be.
    pub(crate) fn within_limit(&self, reply: Reply) -> Reply {
        let (size, limit) = match &reply {
            Reply::Answer(body) | Reply::AppError(body) => (body.len(), self.limits.message_bytes),
            Reply::Problem(_) | Reply::OnStream => return reply,
        };
        if size <= limit {
            return reply;
        }
        let message = format!("the answer has {size} bytes where {limit} are allowed");
        Reply::Problem(
            Problem::new(Code::TooLarge, message)
                .changed(Changed::Yes)
                .retry(Retry::Never),
        )
    }

    fn account_of(&self, node: NodeId) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        if accounts.len() == accounts.capacity() {
            accounts.retain(|_, account| account.strong_count() > 0);
        }
        let account = accounts.entry(node).or_default();
        account.upgrade().unwrap_or_else(|| {
            let fresh = Arc::new(Account::default());
            *account = Arc::downgrade(&fresh);
            fresh
        })
    }

    fn open_peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

async fn intercepted(
    interceptors: Arc<[Arc<dyn ServerInterceptor>]>,
    service: Arc<dyn Service>,
    index: u16,
    mut call: IncomingCall,
) -> Reply {
    let mut around = Around::new(interceptors, call.context);
    let reply = match around.enter() {
        Err(problem) => Reply::Problem(problem.changed(Changed::No)),
        Ok(()) => {
            call.context = around.context.clone();
            let span = around.innermost();
            let handling = span.in_scope(|| service.dispatch(index, call));
            handling.instrument(span).await
        }
    };
    around.leave(&Outcome::of(&reply));
    reply
}

/// A call between its interceptors. Dropped before its end, it tells them that it was broken off.
struct Around {
    interceptors: Arc<[Arc<dyn ServerInterceptor>]>,
    context: Context,
    began: Instant,
    /// How many interceptors let the call pass; those hear of its end.
    entered: usize,
    /// Spans, each with the number of the interceptor that made it.
    spans: Vec<(usize, Span)>,
}

impl Around {
    fn new(interceptors: Arc<[Arc<dyn ServerInterceptor>]>, context: Context) -> Self {
        Self {
            interceptors,
            context,
            began: Instant::now(),
            entered: 0,
            spans: Vec::new(),
        }
    }

    fn enter(&mut self) -> Result<(), Problem> {
        for (number, interceptor) in self.interceptors.iter().enumerate() {
            let made = self
                .innermost()
                .in_scope(|| interceptor.span(&self.context));
            if let Some(CallSpan { span, trace }) = made {
                self.context.trace = Some(trace);
                self.spans.push((number, span));
            }
            self.innermost()
                .in_scope(|| interceptor.before(&self.context))?;
            self.entered = number + 1;
        }
        Ok(())
    }

    fn innermost(&self) -> Span {
        self.spans
            .last()
            .map_or_else(Span::none, |(_, span)| span.clone())
    }

    fn leave(&mut self, outcome: &Outcome) {
        let took = self.began.elapsed();
        while let Some(number) = self.entered.checked_sub(1) {
            self.entered = number;
            let around = self.spans.iter().rev().find(|(maker, _)| *maker <= number);
            let around = around.map_or_else(Span::none, |(_, span)| span.clone());
            around.in_scope(|| self.interceptors[number].after(&self.context, outcome, took));
        }
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        if self.entered == 0 {
            return;
        }
        let late = |deadline| deadline <= Instant::now();
        let why = if std::thread::panicking() {
            Problem::new(Code::HandlerPanicked, "the handler panicked")
        } else if self.context.deadline.is_some_and(late) {
            out_of_time()
        } else {
            cancelled()
        };
        self.leave(&Outcome::Problem(why));
    }
}

/// What one node makes us run and hold, over all its links.
#[derive(Debug, Default)]
struct Account {
    running: AtomicUsize,
    bytes: AtomicUsize,
}

impl Account {
    /// Counts so many bytes more, if that is still within the bound.
    fn take(&self, bytes: usize, most: usize) -> Result<(), Problem> {
        let grown = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
        match self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(come_back("your calls hold as much memory as they may")),
        }
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One link that calls us.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) link: Link,
    pub(crate) server: Arc<ServerCore>,
    /// Lanes, streaming calls and waiting handlers of this link.
    pub(crate) tasks: TaskTracker,
    lanes: Mutex<Vec<Weak<LaneOut>>>,
    running: AtomicUsize,
    /// Calls with a stream of their own whose replies have not arrived yet. Lanes need no such count: their callers end them.
    replying: AtomicUsize,
    account: Arc<Account>,
    calls_ended: tokio::sync::Notify,
}

/// A call with a stream of its own, until its reply has arrived.
struct Replying(Arc<Peer>);

impl Replying {
    fn new(peer: &Arc<Peer>) -> Self {
        peer.replying.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(peer))
    }
}

impl Drop for Replying {
    fn drop(&mut self) {
        if self.0.replying.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.calls_ended.notify_waiters();
        }
    }
}

/// A handler that runs, counted; the count falls when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    peer: Arc<Peer>,
    bytes: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.peer.server.running.fetch_sub(1, Ordering::Relaxed);
        self.peer.account.running.fetch_sub(1, Ordering::Relaxed);
        self.peer.account.give_back(self.bytes);
        if self.peer.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.peer.calls_ended.notify_waiters();
        }
    }
}

/// Bytes that one stream of a peer makes us hold, counted to it until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    peer: Arc<Peer>,
    bytes: usize,
}

impl Held {
    pub(crate) fn new(peer: &Arc<Peer>) -> Self {
        Self {
            peer: Arc::clone(peer),
            bytes: 0,
        }
    }

    /// Counts up to `bytes`, if the peer may hold that much; never down.
    pub(crate) fn raise_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            let most = self.peer.server.limits.memory_per_peer;
            self.peer.account.take(more, most)?;
            self.bytes += more;
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.peer.account.give_back(self.bytes);
    }
}

impl Peer {
    /// Whether another handler may run, by the limits of this peer and of the server.
    pub(crate) fn has_room(&self, bytes: usize) -> Result<(), Problem> {
        let limits = &self.server.limits;
        let from_here = self.account.running.load(Ordering::Relaxed);
        let full = if from_here >= limits.running_calls_per_peer {
            format!("{from_here} calls of yours run already")
        } else if self.server.running.load(Ordering::Relaxed) >= limits.running_calls {
            "as many calls run here as may".to_owned()
        } else {
            return self.has_memory(bytes);
        };
        Err(come_back(full))
    }

    fn has_memory(&self, bytes: usize) -> Result<(), Problem> {
        let held = self.account.bytes.load(Ordering::Relaxed);
        if held + bytes <= self.server.limits.memory_per_peer {
            return Ok(());
        }
        Err(come_back("your calls hold as much memory as they may"))
    }

    /// Counts a handler in. Several links may do so at once after each saw room for one, so the bounds are passed by at most one
    /// small request for each thread.
    pub(crate) fn run(self: &Arc<Self>, bytes: usize) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.server.running.fetch_add(1, Ordering::Relaxed);
        self.account.running.fetch_add(1, Ordering::Relaxed);
        self.account.bytes.fetch_add(bytes, Ordering::Relaxed);
        Running {
            peer: Arc::clone(self),
            bytes,
        }
    }

    /// Counts a lane in; `false` when the link has as many as it may have.
    pub(crate) fn add_lane(&self, lane: &Arc<LaneOut>) -> bool {
        let mut lanes = self.lanes.lock();
        lanes.retain(|lane| lane.strong_count() > 0);
        if lanes.len() == LANES_MAX {
            return false;
        }
        lanes.push(Arc::downgrade(lane));
        true
    }

    /// The peer sent what no version of the protocol allows.
    pub(crate) fn violation(&self, what: &str) {
        warn!(peer = %self.link.peer_id().short(), what, "cut off a peer that breaks the protocol");
        self.link.close(CloseCode::ProtocolViolation, what);
    }

    fn drain(&self) {
        for lane in self.lanes.lock().iter().filter_map(Weak::upgrade) {
            lane.go_away();
        }
    }

    /// Waits until no call runs, every reply has arrived and the caller has ended its lanes, or the link is gone.
    async fn idle(&self) {
        loop {
            let mut ended = pin!(self.calls_ended.notified());
            ended.as_mut().enable();
            let lanes = self.lanes.lock().iter().any(|lane| lane.strong_count() > 0);
            let calls = [&self.running, &self.replying]
                .iter()
                .any(|count| count.load(Ordering::Acquire) > 0);
            let busy = lanes || calls;
            if !busy || self.link.close_reason().is_some() {
                return;
            }
            tokio::select! {
                () = ended => {}
                _ = self.link.closed() => return,
            }
        }
    }

    pub(crate) fn lane_ended(&self) {
        self.calls_ended.notify_waiters();
    }
}

fn come_back(full: impl Into<String>) -> Problem {
    Problem::new(Code::Overloaded, full).retry(Retry::After(COME_BACK))
}

async fn accept_links(
    core: Arc<ServerCore>,
    mut listener: Listener,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    while let Some(Some(link)) = stop.run_until_cancelled(listener.accept()).await {
        let account = core.account_of(link.peer_id());
        let peer = Arc::new(Peer {
            link,
            server: Arc::clone(&core),
            tasks: TaskTracker::new(),
            lanes: Mutex::default(),
            running: AtomicUsize::new(0),
            replying: AtomicUsize::new(0),
            account,
            calls_ended: tokio::sync::Notify::new(),
        });
        let mut peers = core.peers.lock();
        if peers.len() == peers.capacity() {
            peers.retain(|peer| peer.strong_count() > 0);
        }
        peers.push(Arc::downgrade(&peer));
        drop(peers);
        tasks.spawn(serve_link(peer));
    }
}

async fn serve_link(peer: Arc<Peer>) {
    let open = Arc::new(AtomicU32::new(0));
    let most = peer.server.limits.streams_per_link;
    let mut allowed = FIRST_STREAMS.min(most);
    while let Ok((send, recv)) = peer.link.accept_stream().await {
        let now_open = open.fetch_add(1, Ordering::Relaxed) + 1;
        if now_open > allowed / 2 && allowed < most {
            allowed = allowed.saturating_mul(4).min(most);
            peer.link.allow_streams(allowed);
        }
        let (serving, open) = (Arc::clone(&peer), Arc::clone(&open));
        peer.tasks.spawn(async move {
            if let Err(what) = serve_stream(Arc::clone(&serving), send, recv).await {
                serving.violation(&what);
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    peer.tasks.close();
    peer.tasks.wait().await;
}

/// Finds out what a stream is for and serves it. `Err` says how the peer broke the protocol.
async fn serve_stream(peer: Arc<Peer>, send: SendHalf, mut recv: RecvHalf) -> Result<(), String> {
    let patience = OPENING + peer.server.limits.idle_timeout;
    let opening = timeout(patience, read_opening(&mut recv)).await;
    match opening {
        Ok(Ok(Some(Opening::Lane(number)))) => {
            send.go_first();
            crate::lane::server::serve(Arc::clone(&peer), number, send, recv).await;
            peer.lane_ended();
            Ok(())
        }
        Ok(Ok(Some(Opening::Call))) => serve_call(peer, send, recv).await,
        Ok(Ok(None)) => Ok(()),
        Ok(Err(what)) => Err(what),
        Err(_) => Err("a stream that does not say what it is for".to_owned()),
    }
}

enum Opening {
    Lane(u64),
    Call,
}

async fn read_opening(recv: &mut RecvHalf) -> Result<Option<Opening>, String> {
    let Ok(Some(mut bytes)) = recv.read().await else {
        return Ok(None);
    };
    let opening = match bytes.get_u8() {
        OPEN_CALL => Opening::Call,
        OPEN_LANE => loop {
            if let Some((number, size)) = peek_varint(&bytes).map_err(|error| error.to_string())? {
                bytes.advance(size);
                break Opening::Lane(number);
            }
            let Ok(Some(more)) = recv.read().await else {
                return Ok(None);
            };
            bytes = Bytes::from([bytes, more].concat());
        },
        other => return Err(format!("a stream that begins with {other:#04x}")),
    };
    recv.put_back(bytes);
    Ok(Some(opening))
}

/// Serves a call that has a stream of its own.
async fn serve_call(peer: Arc<Peer>, send: SendHalf, recv: RecvHalf) -> Result<(), String> {
    let _replying = Replying::new(&peer);
    let caller_left = send.stopped();
    let reply = ReplyStream::new(send);
    let reader = MessageReader::new(recv, peer.server.limits.message_bytes);
    let mut reader = reader.metered(Held::new(&peer));
    let patience = OPENING + peer.server.limits.idle_timeout;
    let open = match timeout(patience, reader.frame()).await {
        Ok(Ok(Some(frame))) if frame.kind == item::OPEN => {
            convoke_types::codec::from_slice::<StreamOpen>(&frame.body)
        }
        Ok(Ok(Some(frame))) => {
            return Err(format!(
                "a call that opens with a frame of kind {}",
                frame.kind
            ));
        }
        Ok(Ok(None) | Err(_)) => return Ok(()),
        Err(_) => return Err("a call that does not say what it calls".to_owned()),
    };
    let open = open.map_err(|error| format!("a call whose opening cannot be read: {error}"))?;
    let deadline = (open.deadline_ms > 0)
        .then(|| Instant::now() + Duration::from_millis(open.deadline_ms.min(1 << 34)));
    let handled = handle_call(&peer, &open, deadline, reader, reply.clone());
    let outcome = tokio::select! {
        outcome = handled => outcome,
        () = caller_left => Reply::Problem(cancelled()),
        () = until(deadline) => Reply::Problem(out_of_time()),
    };
    let mut held = Held::new(&peer);
    let outcome = peer.server.within_limit(outcome);
    let outcome = match held.raise_to(outcome.size()) {
        Ok(()) => outcome,
        Err(problem) => Reply::Problem(problem.changed(Changed::Yes)),
    };
    reply.finish(outcome).await;
    reply.arrived().await;
    Ok(())
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn handle_call(
    peer: &Arc<Peer>,
    open: &StreamOpen,
    deadline: Option<Instant>,
    mut reader: MessageReader,
    reply: ReplyStream,
) -> Reply {
    let server = &peer.server;
    let claims = peer.link.peer();
    let Some(method) = server.method(&open.method) else {
        let problem = nobody_serves(&open.method);
        server.tell_refused(None, &claims, &problem);
        return Reply::Problem(problem);
    };
    let descriptor = method.descriptor();
    let context = Context {
        peer: claims,
        method: descriptor,
        deadline,
        trace: open.trace,
    };
    if let Err(problem) = server
        .admit(&context, open.shape)
        .and_then(|()| peer.has_room(0))
    {
        server.tell_refused(Some(descriptor), context.claims(), &problem);
        return Reply::Problem(problem);
    }
    let _running = peer.run(0);
    let body = if descriptor.kind() == MethodKind::Unary {
        match whole_body(&mut reader).await {
            Ok(body) => Body::Whole(body),
            Err(problem) => return Reply::Problem(problem),
        }
    } else {
        Body::Stream(Box::new(IncomingStream {
            reader: Some(reader),
            reply,
        }))
    };
    let call = IncomingCall { context, body };
    match catch_unwind(AssertUnwindSafe(|| server.start(&method, call))) {
        Ok(handling) => CatchPanic(handling).await,
        Err(panic) => Reply::Problem(panicked(descriptor.name(), &*panic)),
    }
}

pub(crate) fn nobody_serves(method: &str) -> Problem {
    Problem::new(Code::Unimplemented, format!("nobody here serves {method}"))
}

/// Reads the one large message of a unary call.
async fn whole_body(reader: &mut MessageReader) -> Result<Bytes, Problem> {
    match reader.frame().await {
        Ok(Some(frame)) if frame.kind == item::ITEM => Ok(frame.body),
        Ok(Some(frame)) => Err(crate::streaming::unexpected(frame.kind)),
        Ok(None) => Err(crate::streaming::ended_early()),
        Err(problem) => Err(problem.changed(Changed::No)),
    }
}
