//! The caller's end of a lane: the table of calls under its lock, the futures that wait in it, and the task that moves frames
//! between it and the link. What happens to a call is decided in [`calls`](super::calls).

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use convoke_types::wire::rpc::{Frame, FrameError, Framer, LANE_FRAME_MAX, take_varint, to_caller};
use convoke_types::{Code, Problem};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::calls::{Answer, Calls, Request, problem_from};
use super::{CHUNKS_PER_TURN, EarliestTimer, FRAMES_AT_LEAST, FRAMES_PER_TURN};
use crate::link::{CloseCode, CloseReason, Link, LinkError, RecvHalf, SendHalf, Side};

/// The caller's end of one lane. Calls are submitted here and driven by [`drive`].
#[derive(Debug)]
pub(crate) struct Lane {
    calls_max: usize,
    buffer_max: usize,
    state: Mutex<Calls>,
    driver: AtomicWaker,
    /// For the earliest deadline.
    timer: Mutex<EarliestTimer>,
    /// Told when a slot or buffer space was freed.
    room: Notify,
    /// Takes new calls. Kept beside the state for a look without the lock.
    open: AtomicBool,
}

/// Why a lane does not take a call. Nothing was sent.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// As much is waiting as may wait; see [`Lane::room`].
    Full,
    /// The lane takes no new calls; another may.
    Closed(Problem),
}

impl Lane {
    pub(crate) fn new(calls_max: usize, buffer_max: usize) -> Self {
        Self {
            calls_max,
            buffer_max,
            state: Mutex::default(),
            driver: AtomicWaker::new(),
            timer: Mutex::default(),
            room: Notify::new(),
            open: AtomicBool::new(true),
        }
    }

    /// Whether new calls are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Puts a call on the lane. The future gives its one answer; dropped before that, it cancels the call.
    pub(crate) fn submit(self: &Arc<Self>, request: &Request<'_>) -> Result<PendingCall, NotTaken> {
        let mut state = self.state.lock();
        if let Some(problem) = state.refusal() {
            return Err(NotTaken::Closed(problem));
        }
        if self.is_full(&state) {
            return Err(NotTaken::Full);
        }
        let was_empty = state.frames.is_empty();
        let call = state.enter(request);
        drop(state);
        if was_empty {
            self.driver.wake();
        }
        Ok(PendingCall {
            lane: Arc::clone(self),
            call,
            over: false,
        })
    }

    /// Waits until a call may fit, or the lane ended. At most as many wait as calls may be unanswered; beyond that the
    /// caller is told.
    pub(crate) async fn room(&self) -> Result<(), Problem> {
        let mut freed = pin!(self.room.notified());
        {
            let mut state = self.state.lock();
            if !self.is_full(&state) || state.refusal().is_some() {
                return Ok(());
            }
            if state.waiting_for_room >= self.calls_max {
                let message = format!("{} calls wait for a place already", state.waiting_for_room);
                return Err(Problem::new(Code::Overloaded, message));
            }
            state.waiting_for_room += 1;
            // Whoever frees a place looks at the count under this lock, so from here on no wake-up is missed.
            freed.as_mut().enable();
        }
        let _leaving = Leave(&self.state);
        freed.await;
        Ok(())
    }

    fn is_full(&self, state: &Calls) -> bool {
        state.unanswered() >= self.calls_max || state.frames.len() >= self.buffer_max
    }

    /// Takes no new calls, lets those under way come to their end, then ends the lane.
    pub(crate) fn drain(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.state.lock().draining = true;
        self.room.notify_waiters();
        self.driver.wake();
    }

    /// Delivers the answer of a call. `false` when no such call is waiting for one: the peer broke the protocol.
    pub(crate) fn deliver(&self, call: usize, answer: Answer) -> bool {
        let mut wakers = Vec::new();
        let mut state = self.state.lock();
        let before = state.unanswered();
        let known = state.deliver(call, answer, &mut wakers);
        let freed = state.freed_since(before);
        drop(state);
        self.offer(freed);
        self.tell(wakers);
        self.driver.wake();
        known
    }

    /// Nothing has happened for a while: lets go of the timer for calls that were answered.
    fn left_alone(&self) {
        let mut state = self.state.lock();
        if state.is_at_rest() {
            state.earliest = None;
            self.timer.lock().disarm();
        }
    }

    /// Tells as many of those who wait as places were freed.
    fn offer(&self, freed: usize) {
        for _ in 0..freed {
            self.room.notify_one();
        }
    }

    fn tell(&self, wakers: Vec<Waker>) {
        for waker in wakers {
            waker.wake();
        }
    }

    /// The link is gone: takes no new calls, and those under way have their answer.
    pub(crate) fn end(&self, reason: &CloseReason) {
        self.open.store(false, Ordering::Relaxed);
        let mut wakers = Vec::new();
        let mut state = self.state.lock();
        state.end(reason, &mut wakers);
        drop(state);
        self.room.notify_waiters();
        self.tell(wakers);
    }
}

/// Counts a waiter out, also when its caller gave up.
struct Leave<'a>(&'a Mutex<Calls>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting_for_room -= 1;
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct PendingCall {
    lane: Arc<Lane>,
    call: usize,
    over: bool,
}

impl Future for PendingCall {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        let mut state = this.lane.state.lock();
        let Some(answer) = state.answer(this.call, cx.waker()) else {
            return Poll::Pending;
        };
        this.over = true;
        let someone_waits = state.waiting_for_room > 0;
        let was_last = state.draining && state.unanswered() == 0;
        drop(state);
        if someone_waits {
            this.lane.room.notify_one();
        }
        if was_last {
            this.lane.driver.wake();
        }
        Poll::Ready(answer)
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.lane.state.lock();
        state.abandon(self.call);
        let someone_waits = state.waiting_for_room > 0;
        drop(state);
        self.lane.driver.wake();
        if someone_waits {
            self.lane.room.notify_one();
        }
    }
}

/// Moves frames between a lane and its stream until either ends, and says why it did.
pub(crate) async fn drive(
    lane: Arc<Lane>,
    link: Link,
    send: SendHalf,
    recv: RecvHalf,
) -> CloseReason {
    let left_alone = Arc::clone(&lane);
    send.when_left_alone(move || left_alone.left_alone());
    let mut driver = Driver {
        lane: Arc::clone(&lane),
        send,
        recv,
        framer: Framer::new(LANE_FRAME_MAX),
        writing: Bytes::new(),
        yielded: false,
        chunks: VecDeque::with_capacity(CHUNKS_PER_TURN),
        answers: Vec::new(),
    };
    let ended = std::future::poll_fn(|cx| driver.poll(cx)).await;
    let reason = match ended {
        Ended::Drained => {
            driver.send.finish();
            CloseReason::ours(CloseCode::Done, "")
        }
        Ended::Finished => link.close_reason().unwrap_or_else(|| CloseReason {
            by: Side::Peer,
            code: CloseCode::Lost,
            detail: "the peer ended the lane".to_owned(),
        }),
        Ended::Link(reason) => link.close_reason().unwrap_or(reason),
        Ended::Protocol(what) => {
            link.close(CloseCode::ProtocolViolation, &what);
            CloseReason::ours(CloseCode::ProtocolViolation, what)
        }
    };
    lane.end(&reason);
    reason
}

enum Ended {
    /// Draining, and the last call came to its end.
    Drained,
    /// The peer ended the lane in order.
    Finished,
    Link(CloseReason),
    Protocol(String),
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Self {
        let lost = |detail| CloseReason {
            by: Side::Network,
            code: CloseCode::Lost,
            detail,
        };
        match error {
            LinkError::Closed(reason) => Self::Link(reason),
            LinkError::Reset(_) | LinkError::Stopped(_) | LinkError::Finished => {
                Self::Link(lost(error.to_string()))
            }
        }
    }
}

struct Driver {
    lane: Arc<Lane>,
    send: SendHalf,
    recv: RecvHalf,
    framer: Framer,
    writing: Bytes,
    yielded: bool,
    /// Received, and not looked at yet.
    chunks: VecDeque<Bytes>,
    answers: Vec<(usize, Answer)>,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        match self.step(cx) {
            Ok(poll) => poll,
            Err(ended) => Poll::Ready(ended),
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Result<Poll<Ended>, Ended> {
        self.lane.driver.register(cx.waker());
        let fresh = {
            let state = self.lane.state.lock();
            let earliest = state.earliest;
            let fresh = !state.frames.is_empty();
            drop(state);
            let is_time = self.lane.timer.lock().poll(cx, earliest);
            if is_time {
                self.expire(cx);
            }
            fresh
        };
        if fresh && self.writing.is_empty() && !self.yielded {
            // Let every caller that can run add its frame first: batching without a timer.
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Ok(Poll::Pending);
        }
        self.yielded = false;
        self.write(cx)?;
        self.read(cx)?;
        // Last, as reading may have delivered the answer that was still waited for.
        let state = self.lane.state.lock();
        let at_rest = state.is_at_rest() && self.writing.is_empty();
        let is_drained = at_rest && state.draining && state.unanswered() == 0;
        drop(state);
        self.send.set_at_rest(at_rest);
        Ok(if is_drained {
            Poll::Ready(Ended::Drained)
        } else {
            Poll::Pending
        })
    }

    fn expire(&mut self, cx: &Context<'_>) {
        let mut wakers = Vec::new();
        self.lane.state.lock().expire(Instant::now(), &mut wakers);
        self.lane.tell(wakers);
        // The next deadline is known only now; come back to arm the timer for it.
        cx.waker().wake_by_ref();
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            if self.writing.is_empty() && !self.take_batch() {
                return Ok(());
            }
            match self.send.poll_write(cx, &mut self.writing) {
                Poll::Ready(result) => result?,
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn take_batch(&mut self) -> bool {
        let mut state = self.lane.state.lock();
        if state.frames.is_empty() {
            return false;
        }
        let next = Vec::with_capacity(state.frames.len());
        self.writing = Bytes::from(std::mem::replace(&mut state.frames, next));
        state.batch += 1;
        let waiting = state.waiting_for_room;
        drop(state);
        for _ in 0..waiting {
            self.lane.room.notify_one();
        }
        true
    }

    /// Takes answers until callers get their turn: half of all that are still due.
    ///
    /// Taking everything that has arrived would make both ends work in turns: one sleeps while the other works through the
    /// whole batch. By halves, the next requests are on their way while the other half of the answers is still worked
    /// through, and both ends stay awake. Measured: a fourth to a third more calls a second over QUIC, more over TCP.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        let most =
            (self.lane.state.lock().unanswered() / 2).clamp(FRAMES_AT_LEAST, FRAMES_PER_TURN);
        let taken = self.take_frames(cx, most);
        self.deliver_answers()?;
        if taken? == most {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Takes at most `most` frames, and fewer when no more are there.
    fn take_frames(&mut self, cx: &mut Context<'_>, most: usize) -> Result<usize, Ended> {
        let mut taken = 0;
        while taken < most {
            let Some(frame) = self.framer.next_frame()? else {
                match self.chunks.pop_front() {
                    Some(chunk) => self.framer.feed(chunk),
                    None if self.receive(cx)? => {}
                    None => break,
                }
                continue;
            };
            taken += 1;
            self.take_frame(frame)?;
        }
        Ok(taken)
    }

    /// `false` when nothing has arrived.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut chunks: [Bytes; CHUNKS_PER_TURN] = std::array::from_fn(|_| Bytes::new());
        match self.recv.poll_read(cx, &mut chunks) {
            Poll::Ready(Ok(Some(read))) => self.chunks.extend(chunks.into_iter().take(read)),
            Poll::Ready(Ok(None)) => return Err(Ended::Finished),
            Poll::Ready(Err(error)) => return Err(error.into()),
            Poll::Pending => return Ok(false),
        }
        Ok(true)
    }

    fn take_frame(&mut self, frame: Frame) -> Result<(), Ended> {
        let mut body = frame.body;
        if frame.kind == to_caller::GO_AWAY {
            self.lane.drain();
            return Ok(());
        }
        let call = usize::try_from(take_varint(&mut body)?).unwrap_or(usize::MAX);
        let answer = match frame.kind {
            to_caller::ANSWER => Answer::Ok(body),
            to_caller::APP_ERROR => Answer::App(body),
            to_caller::PROBLEM => Answer::Problem(problem_from(&body)),
            other => return Err(FrameError::UnknownKind(other).into()),
        };
        self.answers.push((call, answer));
        Ok(())
    }

    fn deliver_answers(&mut self) -> Result<(), Ended> {
        let mut wakers = Vec::with_capacity(self.answers.len());
        let mut stray = None;
        let mut state = self.lane.state.lock();
        let before = state.unanswered();
        for (call, answer) in self.answers.drain(..) {
            if !state.deliver(call, answer, &mut wakers) {
                stray = Some(call);
            }
        }
        let freed = state.freed_since(before);
        drop(state);
        self.lane.offer(freed);
        self.lane.tell(wakers);
        match stray {
            Some(call) => Err(Ended::Protocol(format!(
                "an answer to call {call}, which waits for none"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::{MethodDescriptor, MethodKind};

    static METHOD: MethodDescriptor = MethodDescriptor::new("Test.method", MethodKind::Unary);

    #[tokio::test]
    async fn a_lane_that_is_left_alone_keeps_its_timer_only_while_an_answer_is_due() {
        let lane = Arc::new(Lane::new(8, 1024));
        let now = Instant::now();
        let request = Request {
            method: &METHOD,
            body: b"?",
            now,
            deadline: Some(now + Duration::from_secs(30)),
            trace: None,
        };
        let Ok(call) = lane.submit(&request) else {
            panic!("the lane is empty")
        };
        let earliest = lane.state.lock().earliest;
        lane.state.lock().frames.clear();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!lane.timer.lock().poll(&mut cx, earliest));

        lane.left_alone();
        assert_eq!(lane.timer.lock().armed, request.deadline);

        assert!(lane.deliver(call.call, Answer::Ok(Bytes::new())));
        lane.left_alone();
        assert_eq!(lane.timer.lock().armed, None);
        assert_eq!(lane.state.lock().earliest, None);
    }
}
