//! Instants, sleeping and giving up, in virtual time.
//!
//! An instant is what a life's own clock says; sleeping goes by the world's.
//!
//! Deliberately not here: what wakes sleepers, which is the executor's.

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{EXECUTOR, now, with};
use crate::nanos;

/// What a life's clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl convoke_consensus::engine::runtime::Instant for Instant {
    fn now() -> Self {
        Self(with(super::Executor::clock))
    }
}

/// Waits for a time of the world.
#[derive(Debug)]
pub struct Sleep {
    at: u64,
    timer: Option<(u64, u64)>,
}

/// Waits so many nanoseconds.
pub(crate) fn sleep(duration: u64) -> Sleep {
    Sleep {
        at: now().saturating_add(duration),
        timer: None,
    }
}

impl Sleep {
    pub(super) fn until(deadline: Instant) -> Self {
        let left = deadline.0.saturating_sub(with(super::Executor::clock));
        sleep(left)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.at {
            return Poll::Ready(());
        }
        let at = self.at;
        let timer = *self
            .timer
            .get_or_insert_with(|| (at, with(super::Executor::number)));
        with(|executor| {
            let waker = context.waker().clone();
            executor.timers.borrow_mut().insert(timer, waker);
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(timer) = self.timer else {
            return;
        };
        // Dropped with all others when a story ends, there is no executor, or it is busy dropping.
        let _ = EXECUTOR.try_with(|executor| {
            let removed = executor
                .timers
                .try_borrow_mut()
                .map(|mut timers| timers.remove(&timer));
            drop(removed);
        });
    }
}

/// Gives up on a future when it takes too long.
pub struct Timeout<F> {
    work: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F> Timeout<F> {
    pub(super) fn new(sleep: Sleep, work: F) -> Self {
        Self {
            work: Box::pin(work),
            sleep,
        }
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("sleep", &self.sleep)
            .finish_non_exhaustive()
    }
}

/// It took too long.
#[derive(Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(done) = self.work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        Pin::new(&mut self.sleep)
            .poll(context)
            .map(|()| Err(Elapsed))
    }
}
