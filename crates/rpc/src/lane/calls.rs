//! The table of calls of one lane, and the frames they lead to. Pure: time and wakers come in, frames and answers go out; the
//! lock around it and the task that moves its frames are in [`client`](super::client).
//!
//! A slot of the table goes one way round:
//!
//! ```text
//! free ─enter─► Waiting ─answer─► Answered ─taken─► free
//!                  │ deadline                         ▲
//!                  ├────────► Late ──taken──► Abandoned ─answer─┘
//!                  └ caller gone ─────────────►
//! ```

use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use convoke_types::wire::rpc::{TraceContext, put_header, put_varint, to_callee, varint_size};
use convoke_types::{Changed, Code, Problem, Retry, codec};
use slab::Slab;

use crate::link::CloseReason;
use crate::service::MethodDescriptor;

/// The calls of one lane and the frames they have to say.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) frames: Vec<u8>,
    slots: Slab<Slot>,
    /// Calls whose answer has not come, also where nobody waits for it any more.
    awaited: usize,
    /// By method slot: the id this lane gave the method, plus one; zero where it gave none.
    bound: Vec<u32>,
    bound_count: u32,
    /// Counts the buffers handed to the link. A call of an earlier batch may have left this process.
    pub(super) batch: u64,
    /// No deadline in the table is earlier.
    pub(super) earliest: Option<Instant>,
    pub(super) waiting_for_room: usize,
    pub(super) ended: Option<CloseReason>,
    pub(super) draining: bool,
}

#[derive(Debug)]
enum Slot {
    Waiting {
        waker: Option<Waker>,
        deadline: Option<Instant>,
        batch: u64,
    },
    Answered(Answer),
    Late,
    Abandoned,
}

/// What came back for a call.
#[derive(Debug)]
pub(crate) enum Answer {
    Ok(Bytes),
    App(Bytes),
    Problem(Problem),
}

/// One request, ready to go.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'static MethodDescriptor,
    pub(crate) body: &'a [u8],
    pub(crate) now: Instant,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
}

impl Calls {
    /// Why no new call is taken, if none is.
    pub(super) fn refusal(&self) -> Option<Problem> {
        if let Some(reason) = &self.ended {
            return Some(reason.to_problem(false));
        }
        self.draining
            .then(|| Problem::new(Code::Unavailable, "the peer is leaving").retry(Retry::Now))
    }

    /// How many calls wait for an answer, or for their caller to take it.
    pub(super) fn unanswered(&self) -> usize {
        self.slots.len()
    }

    /// Whether the peer owes us nothing, and we have nothing to say to it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.awaited == 0 && self.frames.is_empty()
    }

    /// Takes in a call and adds its frame; says which call it is.
    pub(super) fn enter(&mut self, request: &Request<'_>) -> usize {
        self.awaited += 1;
        let method = self.bind(request.method);
        let batch = self.batch;
        let call = self.slots.insert(Slot::Waiting {
            waker: None,
            deadline: request.deadline,
            batch,
        });
        if let Some(deadline) = request.deadline {
            self.earliest = Some(
                self.earliest
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
        let left = request
            .deadline
            .map_or(0, |deadline| milliseconds_left(deadline, request.now));
        let (kind, trace) = match &request.trace {
            Some(trace) => (to_callee::REQUEST_TRACED, trace.to_bytes()),
            None => (to_callee::REQUEST, [0; TraceContext::SIZE]),
        };
        let trace = if request.trace.is_some() {
            &trace[..]
        } else {
            &[]
        };
        let head = varint_size(call as u64) + varint_size(u64::from(method)) + varint_size(left);
        let frames = &mut self.frames;
        put_header(frames, kind, head + trace.len() + request.body.len());
        put_varint(frames, call as u64);
        put_varint(frames, u64::from(method));
        put_varint(frames, left);
        frames.extend_from_slice(trace);
        frames.extend_from_slice(request.body);
        call
    }

    /// The method's id on this lane; told to the callee ahead of its first request.
    fn bind(&mut self, method: &'static MethodDescriptor) -> u32 {
        let slot = method.slot() as usize;
        match self.bound.get(slot) {
            Some(&id) if id != 0 => id - 1,
            _ => self.bind_new(slot, method.name()),
        }
    }

    #[cold]
    fn bind_new(&mut self, slot: usize, name: &str) -> u32 {
        if self.bound.len() <= slot {
            self.bound.resize(slot + 1, 0);
        }
        let id = self.bound_count;
        self.bound_count += 1;
        self.bound[slot] = id + 1;
        put_header(
            &mut self.frames,
            to_callee::BIND,
            varint_size(u64::from(id)) + name.len(),
        );
        put_varint(&mut self.frames, u64::from(id));
        self.frames.extend_from_slice(name.as_bytes());
        id
    }

    fn cancel(&mut self, call: usize) {
        put_header(
            &mut self.frames,
            to_callee::CANCEL,
            varint_size(call as u64),
        );
        put_varint(&mut self.frames, call as u64);
    }

    /// Places freed by answers to calls whose callers had left, when somebody waits for one.
    pub(super) fn freed_since(&self, before: usize) -> usize {
        (before - self.slots.len()).min(self.waiting_for_room)
    }

    /// Takes in an answer. `false` when no call waits for it.
    pub(super) fn deliver(&mut self, call: usize, answer: Answer, wakers: &mut Vec<Waker>) -> bool {
        let Some(slot) = self.slots.get_mut(call) else {
            return false;
        };
        match slot {
            Slot::Waiting { waker, .. } => {
                wakers.extend(waker.take());
                *slot = Slot::Answered(answer);
            }
            Slot::Late => *slot = Slot::Answered(Answer::Problem(too_late())),
            Slot::Abandoned => {
                self.slots.remove(call);
            }
            Slot::Answered(_) => return false,
        }
        self.awaited -= 1;
        true
    }

    /// The answer of a call, if it has come; then the call is over. Otherwise its caller is woken when it comes.
    pub(super) fn answer(&mut self, call: usize, caller: &Waker) -> Option<Answer> {
        let slot = self.slot(call);
        match slot {
            Slot::Waiting { waker, .. } => {
                match waker {
                    Some(waker) => waker.clone_from(caller),
                    None => *waker = Some(caller.clone()),
                }
                return None;
            }
            Slot::Late => {
                *slot = Slot::Abandoned;
                return Some(Answer::Problem(too_late()));
            }
            Slot::Answered(_) => {}
            Slot::Abandoned => unreachable!("abandoned only when its call is over"),
        }
        let Slot::Answered(answer) = self.slots.remove(call) else {
            unreachable!("matched above")
        };
        Some(answer)
    }

    /// The caller of a call is gone. Its slot stays taken until its answer came.
    pub(super) fn abandon(&mut self, call: usize) {
        let ended = self.ended.is_some();
        let slot = self.slot(call);
        match slot {
            Slot::Answered(_) => {
                self.slots.remove(call);
            }
            Slot::Waiting { .. } if !ended => {
                *slot = Slot::Abandoned;
                self.cancel(call);
            }
            Slot::Late | Slot::Waiting { .. } | Slot::Abandoned => *slot = Slot::Abandoned,
        }
    }

    fn slot(&mut self, call: usize) -> &mut Slot {
        self.slots
            .get_mut(call)
            .expect("a call owns its slot until it is over")
    }

    /// The lane ended: every call that waits is answered with why, and with whether it may have been sent.
    pub(super) fn end(&mut self, reason: &CloseReason, wakers: &mut Vec<Waker>) {
        self.ended.get_or_insert_with(|| reason.clone());
        for (_, slot) in &mut self.slots {
            match slot {
                Slot::Waiting { waker, batch, .. } => {
                    wakers.extend(waker.take());
                    let sent = *batch < self.batch;
                    *slot = Slot::Answered(Answer::Problem(reason.to_problem(sent)));
                }
                Slot::Answered(_) | Slot::Late | Slot::Abandoned => {}
            }
        }
        self.frames = Vec::new();
    }

    /// Ends the calls whose time is over and finds the next deadline.
    pub(super) fn expire(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        let mut late = Vec::new();
        self.earliest = None;
        for (call, slot) in &mut self.slots {
            let Slot::Waiting {
                waker,
                deadline: Some(deadline),
                ..
            } = slot
            else {
                continue;
            };
            if *deadline <= now {
                wakers.extend(waker.take());
                *slot = Slot::Late;
                late.push(call);
            } else {
                self.earliest = Some(
                    self.earliest
                        .map_or(*deadline, |earliest| earliest.min(*deadline)),
                );
            }
        }
        for call in late {
            self.cancel(call);
        }
    }
}

fn milliseconds_left(deadline: Instant, now: Instant) -> u64 {
    let left = deadline.saturating_duration_since(now);
    // Zero means "without end", so the last fraction of a millisecond counts as one.
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn too_late() -> Problem {
    Problem::new(Code::DeadlineExceeded, "no answer came in time")
}

pub(crate) fn problem_from(body: &[u8]) -> Problem {
    codec::from_slice(body).unwrap_or_else(|error| {
        let message = format!("the peer reports a problem that cannot be read: {error}");
        Problem::new(Code::Undecodable, message).changed(Changed::Maybe)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::link::{CloseCode, Side};
    use crate::service::MethodKind;

    static METHOD: MethodDescriptor = MethodDescriptor::new("Test.method", MethodKind::Unary);

    fn request(now: Instant, deadline: Option<Instant>) -> Request<'static> {
        Request {
            method: &METHOD,
            body: b"?",
            now,
            deadline,
            trace: None,
        }
    }

    fn answer(calls: &mut Calls, call: usize) -> Option<Answer> {
        calls.answer(call, Waker::noop())
    }

    fn deliver(calls: &mut Calls, call: usize) -> bool {
        calls.deliver(call, Answer::Ok(Bytes::from_static(b"!")), &mut Vec::new())
    }

    #[test]
    fn an_abandoned_call_keeps_its_place_until_its_answer_came() {
        let mut calls = Calls::default();
        let now = Instant::now();
        let first = calls.enter(&request(now, None));
        calls.abandon(first);
        let second = calls.enter(&request(now, None));
        assert_ne!(first, second);
        assert!(deliver(&mut calls, first));
        assert_eq!(calls.enter(&request(now, None)), first);
        assert!(answer(&mut calls, second).is_none());
    }

    #[test]
    fn a_late_call_is_told_so_once_and_swallows_its_answer() {
        let mut calls = Calls::default();
        let now = Instant::now();
        let soon = now + Duration::from_millis(5);
        let call = calls.enter(&request(now, Some(soon)));
        calls.expire(soon, &mut Vec::new());
        let told = answer(&mut calls, call);
        assert!(
            matches!(told, Some(Answer::Problem(problem)) if problem.code == Code::DeadlineExceeded)
        );
        assert!(deliver(&mut calls, call));
        assert_eq!(calls.unanswered(), 0);
        assert!(!deliver(&mut calls, call), "a second answer is for nobody");
    }

    #[test]
    fn calls_are_at_rest_when_the_peer_owes_no_answer_even_to_callers_that_left() {
        let mut calls = Calls::default();
        assert!(calls.is_at_rest());
        let now = Instant::now();
        let kept = calls.enter(&request(now, None));
        let left = calls.enter(&request(now, None));
        calls.abandon(left);
        calls.frames.clear();

        assert!(deliver(&mut calls, kept));
        assert!(!calls.is_at_rest());
        assert!(deliver(&mut calls, left));

        assert!(calls.is_at_rest(), "though nobody took the answer yet");
    }

    #[test]
    fn a_lane_that_ends_knows_which_calls_may_have_been_sent() {
        let mut calls = Calls::default();
        let now = Instant::now();
        let sent = calls.enter(&request(now, None));
        calls.batch += 1;
        let unsent = calls.enter(&request(now, None));
        let lost = CloseReason {
            by: Side::Network,
            code: CloseCode::Lost,
            detail: String::new(),
        };
        calls.end(&lost, &mut Vec::new());
        for (call, changed) in [(sent, Changed::Maybe), (unsent, Changed::No)] {
            let told = answer(&mut calls, call);
            assert!(matches!(told, Some(Answer::Problem(problem)) if problem.changed == changed));
        }
    }
}
