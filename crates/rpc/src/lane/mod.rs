//! Lanes: many calls on one ordered stream.
//!
//! ```text
//! callers ──append under a short lock──► buffer ──one driver task──► link ──► one driver task ──► handlers
//!    ▲                                                                               │ polled once in place,
//!    └────── slot by call id ◄── driver task ◄── link ◄── buffer ◄──append───────────┘ a task only if pending
//! ```
//!
//! - [`calls`]: the table of calls, pure. A call id is a slot of that table, and the slot is free again only when its one answer came,
//!   so no answer can reach another call.
//! - [`client`]: the caller's end, which owns such a table and moves its frames.
//! - [`server`]: the callee's end. Owns which calls run, and answers each exactly once: with what the handler said, or with why it
//!   was ended.
//!
//! Streaming calls and large bodies are not here; they have streams of their own, see [`streaming`](crate::streaming).

pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod server;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// Chunks a driver takes off the link at a time.
const CHUNKS_PER_TURN: usize = 16;
/// Frames a driver takes at most before it lets others run.
const FRAMES_PER_TURN: usize = 512;
/// Frames a driver takes at least, when they are there, before it sends what they led to. Both ends take halves of what is under
/// way; without this the halves shrink to single calls and each pays for a write of its own (measured: four times the work a call
/// at 64 in flight).
const FRAMES_AT_LEAST: usize = 24;

/// One timer for the earliest of many deadlines. It is set only ever earlier until it fires; whoever owns the deadlines
/// then says what the earliest is now.
#[derive(Debug, Default)]
struct EarliestTimer {
    armed: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl EarliestTimer {
    /// Whether `earliest` has come. Arranges to be woken when it does.
    fn poll(&mut self, cx: &mut Context<'_>, earliest: Option<Instant>) -> bool {
        let Some(earliest) = earliest else {
            return false;
        };
        let moved = self.armed != Some(earliest);
        if moved {
            self.armed = Some(earliest);
            let at = tokio::time::Instant::from_std(earliest);
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(at),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
            }
        }
        let sleep = self.sleep.as_mut().expect("armed above or before");
        // A timer that has fired must not be polled again before it is set anew.
        let fired = sleep.is_elapsed() || matches!(sleep.as_mut().poll(cx), Poll::Ready(()));
        if fired {
            self.armed = None;
        }
        fired
    }

    /// There is no deadline any more. Not done for every call that is answered: setting the timer again costs more than that it
    /// fires for nothing now and then. A lane that is left alone should not be woken for a call that was answered long ago.
    fn disarm(&mut self) {
        *self = Self::default();
    }
}
