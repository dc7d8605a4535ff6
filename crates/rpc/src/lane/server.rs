//! The callee's end of a lane: requests in, handlers run, exactly one answer out for each.
//!
//! A handler is polled once in place; most are done by then and never become a task. One that waits becomes a task of
//! its link, listed by call id, so that a cancel, a deadline or the end of the link ends it. Whoever takes a call off that
//! list answers it: the task when the handler is done, or the lane when it ended the call. A call id is used again as soon as it is
//! answered, so the list says by which task a call is run, and a task takes off no other's.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use convoke_types::wire::rpc::{
    Frame, FrameError, Framer, LANE_BODY_MAX, LANE_FRAME_MAX, OPEN_ANSWER, TraceContext,
    put_header, put_varint, take_varint, to_callee, to_caller, varint_size,
};
use convoke_types::{Changed, Code, Problem, codec};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{CHUNKS_PER_TURN, EarliestTimer, FRAMES_AT_LEAST, FRAMES_PER_TURN};
use crate::context::Context as CallContext;
use crate::link::{LinkError, RecvHalf, SendHalf};
use crate::server::{Held, Method, Peer, Running, nobody_serves};
use crate::service::{Body, Handling, IncomingCall, MethodKind, Reply};

/// The highest call id a lane accepts; a client that counts further has lost count.
const CALL_MAX: u64 = 1 << 16;
/// Methods one lane may bind.
const METHODS_MAX: usize = 4_096;
/// The longest name of a method, in bytes.
const NAME_MAX: usize = 512;

/// Where answers of one lane gather, and which of its calls run.
#[derive(Debug)]
pub(crate) struct LaneOut {
    number: u64,
    peer: Arc<Peer>,
    state: Mutex<OutState>,
    /// Bytes of large answers that wait for their turn or their reader. Up to half of what a peer may make us hold, nothing small
    /// waits for them; beyond, the lane is not read.
    large: AtomicUsize,
    driver: AtomicWaker,
    /// For the earliest deadline.
    timer: Mutex<EarliestTimer>,
}

#[derive(Debug, Default)]
struct OutState {
    frames: Vec<u8>,
    running: Vec<Option<RunningCall>>,
    count: usize,
    earliest: Option<Instant>,
    gone: bool,
}

#[derive(Debug)]
struct RunningCall {
    task: AbortHandle,
    deadline: Option<Instant>,
}

impl LaneOut {
    fn new(number: u64, peer: Arc<Peer>) -> Self {
        Self {
            number,
            peer,
            state: Mutex::default(),
            large: AtomicUsize::new(0),
            driver: AtomicWaker::new(),
            timer: Mutex::default(),
        }
    }

    /// Nothing has happened for a while: lets go of the timer for calls that were answered.
    fn left_alone(&self) {
        let mut state = self.state.lock();
        if state.is_done() {
            state.earliest = None;
            self.timer.lock().disarm();
        }
    }

    /// Asks the caller to start no new calls here.
    pub(crate) fn go_away(&self) {
        put_header(&mut self.state.lock().frames, to_caller::GO_AWAY, 0);
        self.driver.wake();
    }

    /// A handler's task is done: answers, unless the call was ended before.
    fn finish(self: &Arc<Self>, call: u64, task: tokio::task::Id, reply: Reply) {
        let mut state = self.state.lock();
        if !state.take_off_if_of(call, task) {
            return;
        }
        let large = put_reply(&mut state.frames, call, reply);
        drop(state);
        self.driver.wake();
        if let Some(large) = large {
            self.send_large(call, large);
        }
    }

    /// An answer too large for the lane goes on a stream of its own, so that nothing small waits behind it.
    fn send_large(self: &Arc<Self>, call: u64, (kind, body): (u8, Vec<u8>)) {
        let mut held = Held::new(&self.peer);
        if let Err(problem) = held.raise_to(body.len()) {
            // Handlers that ran at the same time may end with more than a caller takes in time.
            let problem = Reply::Problem(problem.changed(Changed::Yes));
            put_reply(&mut self.state.lock().frames, call, problem);
            return self.driver.wake();
        }
        let (lane, size) = (Arc::clone(self), body.len());
        self.large.fetch_add(size, Ordering::Relaxed);
        self.peer.tasks.spawn(async move {
            let mut head = vec![OPEN_ANSWER];
            put_varint(&mut head, lane.number);
            put_varint(&mut head, call);
            head.push(kind);
            let sent = async {
                let mut stream = lane.peer.link.open_one_way().await?;
                stream.write(head.into()).await?;
                stream.write(body.into()).await?;
                stream.finish();
                Ok::<(), LinkError>(())
            };
            if let Err(error) = sent.await {
                // The link ended, or the caller lost interest; either way there is nobody to tell.
                tracing::debug!(%error, "send a large answer");
            }
            drop(held);
            lane.large.fetch_sub(size, Ordering::Release);
            lane.driver.wake();
        });
    }
}

impl OutState {
    /// Whether no call runs and every answer was taken along.
    fn is_done(&self) -> bool {
        self.count == 0 && self.frames.is_empty()
    }

    fn put_on(&mut self, call: u64, running: RunningCall) {
        let at = index(call);
        if self.running.len() <= at {
            self.running.resize_with(at + 1, || None);
        }
        if let Some(deadline) = running.deadline {
            self.earliest = Some(
                self.earliest
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
        self.running[at] = Some(running);
        self.count += 1;
    }

    fn take_off(&mut self, call: u64) -> Option<RunningCall> {
        let running = self.running.get_mut(index(call))?.take()?;
        self.count -= 1;
        Some(running)
    }

    /// Takes the call off if this task is still the one that runs it. A task that is ended in the middle of its work goes on to
    /// its next pause, on another thread; when it comes to its answer there, the call's place may be the next one's already.
    fn take_off_if_of(&mut self, call: u64, task: tokio::task::Id) -> bool {
        let listed = self.running.get(index(call)).and_then(Option::as_ref);
        listed.is_some_and(|running| running.task.id() == task) && self.take_off(call).is_some()
    }

    fn is_running(&self, call: u64) -> bool {
        self.running.get(index(call)).is_some_and(Option::is_some)
    }

    /// Ends the calls that `ends` picks, each with the problem it gives.
    fn end_calls(&mut self, mut ends: impl FnMut(u64, &RunningCall) -> Option<Problem>) {
        for at in 0..self.running.len() {
            let Some(running) = &self.running[at] else {
                continue;
            };
            let Some(problem) = ends(at as u64, running) else {
                continue;
            };
            running.task.abort();
            self.running[at] = None;
            self.count -= 1;
            put_reply(&mut self.frames, at as u64, Reply::Problem(problem));
        }
    }

    fn expire(&mut self, now: Instant) {
        let mut earliest: Option<Instant> = None;
        self.end_calls(|_, running| {
            let deadline = running.deadline?;
            if deadline <= now {
                return Some(out_of_time());
            }
            earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
            None
        });
        self.earliest = earliest;
    }
}

fn index(call: u64) -> usize {
    usize::try_from(call).unwrap_or(usize::MAX)
}

pub(crate) fn out_of_time() -> Problem {
    Problem::new(
        Code::DeadlineExceeded,
        "the handler was ended when the caller's time was over",
    )
}

/// Appends an answer, or gives it back when it is too large for a lane.
fn put_reply(frames: &mut Vec<u8>, call: u64, reply: Reply) -> Option<(u8, Vec<u8>)> {
    let (kind, body) = encoded(reply);
    if body.len() > LANE_BODY_MAX {
        return Some((kind, body));
    }
    put_header(frames, kind, varint_size(call) + body.len());
    put_varint(frames, call);
    frames.extend_from_slice(&body);
    None
}

fn encoded(reply: Reply) -> (u8, Vec<u8>) {
    match reply {
        Reply::Answer(body) => (to_caller::ANSWER, body),
        Reply::AppError(body) => (to_caller::APP_ERROR, body),
        Reply::Problem(problem) => (to_caller::PROBLEM, problem_bytes(&problem)),
        Reply::OnStream => {
            let problem = Problem::new(
                Code::Internal,
                "a call without a stream was answered as if it had one",
            );
            (to_caller::PROBLEM, problem_bytes(&problem))
        }
    }
}

pub(crate) fn problem_bytes(problem: &Problem) -> Vec<u8> {
    codec::to_vec(problem).expect("a problem is plain data that always encodes")
}

/// Serves one lane until its caller ends it or the link ends.
pub(crate) async fn serve(peer: Arc<Peer>, number: u64, send: SendHalf, recv: RecvHalf) {
    let out = Arc::new(LaneOut::new(number, Arc::clone(&peer)));
    if !peer.add_lane(&out) {
        return peer.violation("more lanes than a link may have");
    }
    let left_alone = Arc::clone(&out);
    send.when_left_alone(move || left_alone.left_alone());
    let mut driver = Driver {
        buffer_max: peer.server.limits.lane_buffer_bytes,
        peer,
        out: Arc::clone(&out),
        send,
        recv,
        framer: Framer::new(LANE_FRAME_MAX),
        methods: Vec::new(),
        frames: Vec::new(),
        writing: Bytes::new(),
        yielded: false,
        chunks: VecDeque::with_capacity(CHUNKS_PER_TURN),
        slice: FRAMES_AT_LEAST,
        burst: 0,
        caller_is_done: false,
    };
    let ended = std::future::poll_fn(|cx| driver.poll(cx)).await;
    match ended {
        Ok(()) => driver.send.finish(),
        Err(Broken::Link) => {}
        Err(Broken::Protocol(what)) => driver.peer.violation(&what),
    }
    // Whoever called is gone or done with this lane; what still runs for it runs for nobody.
    let mut state = out.state.lock();
    state.gone = true;
    for running in state.running.iter_mut().filter_map(Option::take) {
        running.task.abort();
    }
}

enum Broken {
    Link,
    Protocol(String),
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

struct Driver {
    peer: Arc<Peer>,
    out: Arc<LaneOut>,
    send: SendHalf,
    recv: RecvHalf,
    framer: Framer,
    /// By the caller's id: the method, or the name nobody here serves.
    methods: Vec<Result<Method, String>>,
    /// Answers of handlers that were done at their first poll.
    frames: Vec<u8>,
    writing: Bytes,
    yielded: bool,
    /// Received, and not looked at yet.
    chunks: VecDeque<Bytes>,
    /// Frames to take before what they led to is sent, and frames taken since there was last nothing to take.
    slice: usize,
    burst: usize,
    caller_is_done: bool,
    buffer_max: usize,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.step(cx) {
            Ok(poll) => poll.map(Ok),
            Err(broken) => Poll::Ready(Err(broken)),
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Broken> {
        self.out.driver.register(cx.waker());
        let (fresh, earliest) = {
            let state = self.out.state.lock();
            (!state.frames.is_empty(), state.earliest)
        };
        let is_time = self.out.timer.lock().poll(cx, earliest);
        if is_time {
            self.out.state.lock().expire(Instant::now());
            cx.waker().wake_by_ref();
        }
        if fresh && self.writing.is_empty() && self.frames.is_empty() && !self.yielded {
            // Handlers finish in groups; let the group gather.
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Ok(Poll::Pending);
        }
        self.yielded = false;
        self.read(cx)?;
        self.write(cx)?;
        let nothing_left = self.writing.is_empty() && self.frames.is_empty();
        let at_rest = nothing_left && self.out_is_done();
        self.send.set_at_rest(at_rest);
        if self.caller_is_done && at_rest {
            return Ok(Poll::Ready(()));
        }
        Ok(Poll::Pending)
    }

    fn out_is_done(&self) -> bool {
        self.out.state.lock().is_done()
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let now = Instant::now();
        let claims = self.peer.link.peer();
        let mut taken = 0;
        // A caller that does not read its answers is not read from either. The write that makes room wakes us.
        while taken < self.slice && self.frames.len() < self.buffer_max && self.has_room_for_large()
        {
            let Some(frame) = self.framer.next_frame()? else {
                match self.chunks.pop_front() {
                    Some(chunk) => self.framer.feed(chunk),
                    None if self.unwritten() >= self.buffer_max => return Ok(()),
                    None if self.receive(cx)? => {}
                    None => {
                        self.end_of_burst();
                        return Ok(());
                    }
                }
                continue;
            };
            taken += 1;
            self.burst += 1;
            self.take_frame(frame, now, &claims)?;
        }
        if taken == self.slice {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// `false` when nothing has arrived.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        if self.caller_is_done {
            return Ok(false);
        }
        let mut chunks: [Bytes; CHUNKS_PER_TURN] = std::array::from_fn(|_| Bytes::new());
        match self.recv.poll_read(cx, &mut chunks) {
            Poll::Ready(Ok(Some(read))) => self.chunks.extend(chunks.into_iter().take(read)),
            Poll::Ready(Ok(None)) => self.caller_is_done = true,
            Poll::Ready(Err(_)) => return Err(Broken::Link),
            Poll::Pending => return Ok(false),
        }
        Ok(true)
    }

    /// The next burst will be about as large as this one; half of it is answered while the other half is still worked through,
    /// for the reason that the caller's end has, too.
    fn end_of_burst(&mut self) {
        if self.burst > 0 {
            self.slice = (self.burst / 2).clamp(FRAMES_AT_LEAST, FRAMES_PER_TURN);
            self.burst = 0;
        }
    }

    /// Whether the caller may be listened to, as far as its large answers go. The one that is sent wakes us.
    fn has_room_for_large(&self) -> bool {
        self.out.large.load(Ordering::Acquire) <= self.peer.server.limits.memory_per_peer / 2
    }

    fn unwritten(&self) -> usize {
        self.frames.len() + self.writing.len() + self.out.state.lock().frames.len()
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let was_blocked = self.unwritten() >= self.buffer_max;
        loop {
            if self.writing.is_empty() && !self.take_batch() {
                if was_blocked {
                    cx.waker().wake_by_ref();
                }
                return Ok(());
            }
            match self.send.poll_write(cx, &mut self.writing) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Broken::Link),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn take_batch(&mut self) -> bool {
        let mut state = self.out.state.lock();
        if self.frames.is_empty() {
            std::mem::swap(&mut self.frames, &mut state.frames);
        } else {
            self.frames.append(&mut state.frames);
        }
        drop(state);
        if self.frames.is_empty() {
            return false;
        }
        let next = Vec::with_capacity(self.frames.len());
        self.writing = Bytes::from(std::mem::replace(&mut self.frames, next));
        true
    }

    fn take_frame(
        &mut self,
        frame: Frame,
        now: Instant,
        claims: &Arc<crate::identity::Claims>,
    ) -> Result<(), Broken> {
        match frame.kind {
            to_callee::REQUEST => self.take_request(frame.body, None, now, claims),
            to_callee::REQUEST_TRACED => self.take_request(frame.body, Some(()), now, claims),
            to_callee::CANCEL => self.take_cancel(frame.body),
            to_callee::BIND => self.take_bind(frame.body),
            other => Err(FrameError::UnknownKind(other).into()),
        }
    }

    fn take_bind(&mut self, mut body: Bytes) -> Result<(), Broken> {
        let id = take_varint(&mut body)?;
        if id != self.methods.len() as u64 || self.methods.len() == METHODS_MAX {
            return Err(Broken::Protocol(format!(
                "method id {id} where {} was next",
                self.methods.len()
            )));
        }
        if body.len() > NAME_MAX {
            return Err(Broken::Protocol(format!(
                "a method name of {} bytes",
                body.len()
            )));
        }
        let name = String::from_utf8_lossy(&body);
        self.methods.push(
            self.peer
                .server
                .method(&name)
                .ok_or_else(|| name.into_owned()),
        );
        Ok(())
    }

    fn take_cancel(&self, mut body: Bytes) -> Result<(), Broken> {
        let call = take_varint(&mut body)?;
        let mut state = self.out.state.lock();
        // Not on the list: the answer is on its way already, and is the one answer.
        if let Some(running) = state.take_off(call) {
            running.task.abort();
            put_reply(&mut state.frames, call, Reply::Problem(cancelled()));
        }
        Ok(())
    }

    fn take_request(
        &mut self,
        mut body: Bytes,
        traced: Option<()>,
        now: Instant,
        claims: &Arc<crate::identity::Claims>,
    ) -> Result<(), Broken> {
        let call = take_varint(&mut body)?;
        let method = take_varint(&mut body)?;
        let left = take_varint(&mut body)?;
        let trace = traced.map(|()| take_trace(&mut body)).transpose()?;
        if call >= CALL_MAX || self.out.state.lock().is_running(call) {
            return Err(Broken::Protocol(format!(
                "call id {call} is in use or out of range"
            )));
        }
        let Some(method) = self.methods.get(index(method)) else {
            return Err(Broken::Protocol(format!(
                "method id {method} was never bound"
            )));
        };
        let method = match method {
            Ok(method) => method,
            Err(name) => {
                let problem = nobody_serves(name);
                self.peer.server.tell_refused(None, claims, &problem);
                put_reply(&mut self.frames, call, Reply::Problem(problem));
                return Ok(());
            }
        };
        let deadline = (left > 0).then(|| now + Duration::from_millis(left.min(FAR_MS)));
        let context = CallContext {
            peer: Arc::clone(claims),
            method: method.descriptor(),
            deadline,
            trace,
        };
        let began = match self.peer.server.admit(&context, MethodKind::Unary) {
            Ok(()) => self.begin(method, context, body),
            Err(problem) => self.refuse(&context, problem),
        };
        match began {
            Began::Done(reply) => {
                if let Some(large) = put_reply(&mut self.frames, call, reply) {
                    self.out.send_large(call, large);
                }
            }
            Began::Runs(handling, running) => self.spawn(call, deadline, handling, running),
        }
        Ok(())
    }

    /// Starts a handler and polls it once.
    fn begin(&self, method: &Method, context: CallContext, body: Bytes) -> Began {
        let held = body.len();
        if let Err(problem) = self.peer.has_room(held) {
            return self.refuse(&context, problem);
        }
        let call = IncomingCall {
            context,
            body: Body::Whole(body),
        };
        let first = catch_unwind(AssertUnwindSafe(|| {
            let mut handling = self.peer.server.start(method, call);
            // A handler that is not ready is polled again by its own task at once, which registers the waker that counts.
            let poll = handling
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            (poll, handling)
        }));
        match first {
            Ok((Poll::Ready(reply), _)) => Began::Done(self.peer.server.within_limit(reply)),
            Ok((Poll::Pending, handling)) => Began::Runs(handling, self.peer.run(held)),
            Err(panic) => Began::Done(Reply::Problem(panicked(
                method.descriptor().name(),
                &*panic,
            ))),
        }
    }

    fn refuse(&self, context: &CallContext, problem: Problem) -> Began {
        let server = &self.peer.server;
        server.tell_refused(Some(context.method), context.claims(), &problem);
        Began::Done(Reply::Problem(problem))
    }

    fn spawn(&self, call: u64, deadline: Option<Instant>, handling: Handling, running: Running) {
        let out = Arc::clone(&self.out);
        // Listed before it can finish: the task needs this lock to answer.
        let mut state = self.out.state.lock();
        let task = self.peer.tasks.spawn(async move {
            let reply = CatchPanic(handling).await;
            let reply = out.peer.server.within_limit(reply);
            out.finish(call, tokio::task::id(), reply);
            drop(running);
        });
        state.put_on(
            call,
            RunningCall {
                task: task.abort_handle(),
                deadline,
            },
        );
    }
}

/// A year: far enough for "no end", near enough to add to any clock.
const FAR_MS: u64 = 365 * 24 * 60 * 60 * 1_000;

enum Began {
    Done(Reply),
    Runs(Handling, Running),
}

fn take_trace(body: &mut Bytes) -> Result<TraceContext, FrameError> {
    if body.len() < TraceContext::SIZE {
        return Err(FrameError::Truncated);
    }
    let mut bytes = [0; TraceContext::SIZE];
    body.copy_to_slice(&mut bytes);
    Ok(TraceContext::from_bytes(&bytes))
}

pub(crate) fn cancelled() -> Problem {
    Problem::new(Code::Cancelled, "the caller no longer waits").changed(Changed::Maybe)
}

/// A handler whose panic becomes the answer to its own call.
pub(crate) struct CatchPanic(pub(crate) Handling);

impl Future for CatchPanic {
    type Output = Reply;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let handling = &mut self.0;
        match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Reply::Problem(panicked("the method", &*panic))),
        }
    }
}

pub(crate) fn panicked(method: &str, panic: &(dyn std::any::Any + Send)) -> Problem {
    let words = panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned());
    let words = words
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(method, words, "a handler panicked");
    Problem::new(Code::HandlerPanicked, format!("{method} panicked: {words}"))
}
