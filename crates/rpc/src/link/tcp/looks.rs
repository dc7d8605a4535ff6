//! When to look after which link: one timer for all links over TCP of an endpoint.
//!
//! A timer of its own for each link would cost a thousand idle ones a thousand wake-ups some seconds after their last use, and the
//! runtime sorts a far timer again as it comes nearer. Here a link is an entry in a map, and links that are due at about the same
//! time are called together: never before their time, and at most [`TOGETHER`] of their wait after it.
//!
//! A link whose peer owes nothing by then is not even called: passing over a thousand of them is one wake-up and not a thousand, and
//! nothing is sent. What a look means for the others is decided in `driver`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::{Shared, nanos};

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
    links: BTreeMap<Key, Asking>,
    asked: u64,
}

/// A link that wants to be looked at, and how its task is called.
#[derive(Debug)]
struct Asking {
    link: Arc<Shared>,
    task: Waker,
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

    /// Has the link's task called when it is time, unless the link is at rest then.
    pub(super) fn ask(self: &Arc<Self>, now: Instant, link: &Arc<Shared>, task: &Waker) -> Look {
        let due = nanos(now - self.begun + self.every);
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.links.is_empty();
        waiting.asked += 1;
        let key = (due, waiting.asked);
        let asking = Asking {
            link: Arc::clone(link),
            task: task.clone(),
        };
        waiting.links.insert(key, asking);
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

    /// Calls every link that is due and not at rest; says when to call the next ones.
    fn call(&self, now: Instant) -> Option<Instant> {
        let until = nanos(now - self.begun);
        let mut waiting = self.waiting.lock();
        let later = waiting.links.split_off(&(until + 1, 0));
        let due = std::mem::replace(&mut waiting.links, later);
        let next = waiting.links.keys().next().copied();
        drop(waiting);
        // Before any look is due: once it is, its link may ask for the next one, and that is not to be passed over with this.
        let awaited = due.into_values().filter(|asking| !asking.link.pass_over());
        let called: Vec<Waker> = awaited.map(|asking| asking.task).collect();
        self.called.store(until, Ordering::Release);
        called.into_iter().for_each(Waker::wake);
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

    use bytes::Bytes;
    use convoke_types::wire::link::Header;

    use super::super::testing::link_without_socket;
    use super::*;
    use crate::limits::Limits;

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

    /// Nothing was said on it yet.
    fn at_rest() -> Arc<Shared> {
        Arc::new(link_without_socket(&Limits::default()))
    }

    /// The peer was asked and has not answered.
    fn in_doubt() -> Arc<Shared> {
        let link = at_rest();
        link.say(Header::Ping { token: 1 });
        link
    }

    #[test]
    fn a_link_is_called_once_and_when_its_time_has_come() {
        let looks = Looks::new(EVERY);
        let calls = Arc::new(Calls::default());
        let asked_at = looks.begun + EVERY;
        let look = looks.ask(asked_at, &in_doubt(), &Arc::clone(&calls).into());

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
        let kept = looks.ask(looks.begun, &in_doubt(), &waker);
        let dropped = looks.ask(looks.begun, &in_doubt(), &waker);

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
            .map(|part| looks.ask(looks.begun + together * part / 100, &in_doubt(), &waker))
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

    #[test]
    #[cfg(target_os = "linux")]
    fn a_link_at_rest_is_passed_over_until_something_is_written_again() {
        let looks = Looks::new(EVERY);
        let calls = Arc::new(Calls::default());
        let link = at_rest();
        link.streams
            .lock()
            .add(0, 0, looks.begun, true)
            .set_at_rest(true);
        link.out.lock().expect_to_hear();
        let look = looks.ask(looks.begun, &link, &Arc::clone(&calls).into());
        link.out.lock().set_driver(&Arc::clone(&calls).into());

        assert_eq!(looks.call(looks.begun + EVERY), None);
        assert!(look.is_due() && link.passed_over.load(Ordering::SeqCst));
        assert_eq!(calls.count(), 0);

        link.out.lock().expect_to_hear();
        assert_eq!(calls.count(), 1);
    }

    #[test]
    fn a_link_on_which_anything_is_under_way_is_called() {
        let stream_is_open: fn(&Shared) = |link| {
            link.streams.lock().add(0, 0, Instant::now(), true);
        };
        let something_is_said: fn(&Shared) = |link| link.say(Header::Done { stream: 0 });
        let peer_was_asked: fn(&Shared) = |link| link.say(Header::Ping { token: 1 });
        let datagram_went: fn(&Shared) = |link| link.out.lock().queue_datagram(Bytes::new());
        for begin in [
            stream_is_open,
            something_is_said,
            peer_was_asked,
            datagram_went,
        ] {
            let looks = Looks::new(EVERY);
            let calls = Arc::new(Calls::default());
            let link = at_rest();
            begin(&link);
            let look = looks.ask(looks.begun, &link, &Arc::clone(&calls).into());

            looks.call(looks.begun + EVERY);

            assert!(look.is_due() && calls.count() == 1);
        }
    }
}
