//! When to look after which link: one timer for all links over TCP of an endpoint.
//!
//! A timer of its own for each link would cost a thousand idle ones a thousand wake-ups some seconds after their last use, and the
//! runtime sorts a far timer again as it comes nearer. Here a link is an entry in a map, and links that are due at about the same
//! time are called together: never before their time, and at most [`TOGETHER`] of their wait after it.
//!
//! What a look means is decided in `driver`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::nanos;

/// After links were called the next ones wait at least this part of `every`, so that they too are called together: a quarter of a
/// second by default.
const TOGETHER: u32 = 32;

/// The looks at the links of one endpoint, each the same time after it was asked for.
#[derive(Debug)]
pub(crate) struct Looks {
    every: Duration,
    begun: Instant,
    waiting: Mutex<Waiting>,
    /// Everything due until then was called, in nanoseconds since `begun`.
    called: AtomicU64,
    /// There was nothing to wait for, and now there is.
    some: Notify,
}

/// At most one entry a link.
#[derive(Debug, Default)]
struct Waiting {
    links: BTreeMap<Key, Waker>,
    asked: u64,
}

/// When it is due, in nanoseconds since `begun`, and a number that no other has.
type Key = (u64, u64);

/// A look that was asked for. Dropped, it is not wanted any more.
#[derive(Debug)]
pub(super) struct Look {
    looks: Arc<Looks>,
    key: Key,
}

impl Looks {
    pub(crate) fn new(every: Duration) -> Arc<Self> {
        Arc::new(Self {
            every,
            begun: Instant::now(),
            waiting: Mutex::default(),
            called: AtomicU64::new(0),
            some: Notify::new(),
        })
    }

    /// How long a look lets wait for itself.
    pub(super) fn every(&self) -> Duration {
        self.every
    }

    /// Has the waker called when it is time.
    pub(super) fn ask(self: &Arc<Self>, now: Instant, waker: &Waker) -> Look {
        let due = nanos(now - self.begun + self.every);
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.links.is_empty();
        waiting.asked += 1;
        let key = (due, waiting.asked);
        waiting.links.insert(key, waker.clone());
        drop(waiting);
        if was_empty {
            // Otherwise somebody else is due before.
            self.some.notify_one();
        }
        Look {
            looks: Arc::clone(self),
            key,
        }
    }

    /// Calls links when they are due, until it is dropped.
    pub(crate) async fn run(&self) {
        loop {
            match self.call(Instant::now()) {
                Some(next) => sleep_until(next.into()).await,
                None => self.some.notified().await,
            }
        }
    }

    /// Calls every link that is due; says when to call the next ones.
    fn call(&self, now: Instant) -> Option<Instant> {
        let until = nanos(now - self.begun);
        let mut waiting = self.waiting.lock();
        let later = waiting.links.split_off(&(until + 1, 0));
        let due = std::mem::replace(&mut waiting.links, later);
        let next = waiting.links.keys().next().copied();
        self.called.store(until, Ordering::Release);
        drop(waiting);
        due.into_values().for_each(Waker::wake);
        let soonest = now + self.every / TOGETHER;
        next.map(|(due, _)| soonest.max(self.begun + Duration::from_nanos(due)))
    }
}

impl Look {
    pub(super) fn is_due(&self) -> bool {
        self.looks.called.load(Ordering::Acquire) >= self.key.0
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if !self.is_due() {
            self.looks.waiting.lock().links.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    const EVERY: Duration = Duration::from_secs(8);

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Calls {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_link_is_called_once_and_when_its_time_has_come() {
        let looks = Looks::new(EVERY);
        let calls = Arc::new(Calls::default());
        let asked_at = looks.begun + EVERY;
        let look = looks.ask(asked_at, &Arc::clone(&calls).into());

        assert_eq!(looks.call(asked_at + EVERY / 2), Some(asked_at + EVERY));
        assert!(!look.is_due() && calls.count() == 0);

        assert_eq!(looks.call(asked_at + EVERY), None);
        assert!(look.is_due() && calls.count() == 1);
        assert_eq!(looks.call(asked_at + EVERY * 2), None);
        assert_eq!(calls.count(), 1);
    }

    #[test]
    fn a_look_that_is_not_wanted_any_more_calls_nobody() {
        let looks = Looks::new(EVERY);
        let calls = Arc::new(Calls::default());
        let waker = Arc::clone(&calls).into();
        let kept = looks.ask(looks.begun, &waker);
        let dropped = looks.ask(looks.begun, &waker);

        drop(dropped);

        assert_eq!(looks.call(looks.begun + EVERY), None);
        assert!(kept.is_due());
        assert_eq!(calls.count(), 1);
    }

    #[test]
    fn links_used_one_after_the_other_are_called_together_never_early_and_hardly_late() {
        let looks = Looks::new(EVERY);
        let calls = Arc::new(Calls::default());
        let waker = Arc::clone(&calls).into();
        let together = EVERY / TOGETHER;
        let last = looks.begun + together;
        let asked: Vec<_> = (1..=100)
            .map(|part| looks.ask(looks.begun + together * part / 100, &waker))
            .collect();

        let first_call = looks.call(last).expect("a hundred wait");
        assert_eq!(first_call, looks.begun + together / 100 + EVERY);
        let second_call = looks.call(first_call).expect("all but one wait");
        assert_eq!(calls.count(), 1);
        assert!(asked[0].is_due() && !asked[1].is_due());

        assert_eq!(looks.call(second_call), None);
        assert_eq!(calls.count(), 100);
        assert!(second_call <= last + EVERY + together);
    }
}
