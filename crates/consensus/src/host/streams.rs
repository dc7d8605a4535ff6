//! How many listeners are brought up to date at once: backups, and watchers that are told what is there, page by page.
//!
//! Who has caught up is told changes as they come, and takes no place. The limit moves while all goes on, and [`Gauge`] says what it is
//! moved by: how many wait, and how long a page that is ready takes until it has been taken.
//!
//! | bound | |
//! | --- | --- |
//! | waiting for a place | [`PATIENCE`]; then it goes without one. A limit evens out a rush, and a listener that takes nothing starves nobody |
//! | places | 1 to [`PLACES_MOST`] |
//!
//! Deliberately not here: what is told, and who moves the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Places at first.
const PLACES: usize = 4;
/// More are as good as no limit.
const PLACES_MOST: usize = 1_024;
/// Nobody waits longer for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// The places of one node. Clones share them.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<Semaphore>,
    limit: Mutex<Limit>,
    served: AtomicUsize,
    waiting: AtomicUsize,
    pages: AtomicU64,
    delay_us: AtomicU64,
}

#[derive(Debug)]
struct Limit {
    places: usize,
    /// Places that are to go as soon as they are given back.
    owed: usize,
}

/// How the streams do. Sums go on from the start of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// How many may have a place.
    pub limit: usize,
    /// How many are being served, with and without one.
    pub served: usize,
    /// How many wait.
    pub waiting: usize,
    /// Pages that were taken so far, …
    pub pages: u64,
    /// … and the time from when each was ready until it was, in microseconds.
    pub delay_us: u64,
}

/// Somebody is being served until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    streams: Streams,
    permit: Option<OwnedSemaphorePermit>,
    /// Since when a page has been ready.
    ready_at: Option<Instant>,
}

impl Default for Streams {
    fn default() -> Self {
        let limit = Limit {
            places: PLACES,
            owed: 0,
        };
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(PLACES)),
            limit: Mutex::new(limit),
            served: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            pages: AtomicU64::new(0),
            delay_us: AtomicU64::new(0),
        }))
    }
}

impl Streams {
    /// So many have places from here on, 1 at least. Nobody loses one.
    pub fn set_limit(&self, limit: usize) {
        let limit = limit.clamp(1, PLACES_MOST);
        let mut now = self.0.limit.lock();
        if limit > now.places {
            let more = limit - now.places;
            let kept = more.min(now.owed);
            now.owed -= kept;
            self.0.places.add_permits(more - kept);
        } else {
            let fewer = now.places - limit;
            now.owed += fewer - self.0.places.forget_permits(fewer);
        }
        now.places = limit;
    }

    /// How they do.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        Gauge {
            limit: self.0.limit.lock().places,
            served: self.0.served.load(Ordering::Relaxed),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            pages: self.0.pages.load(Ordering::Relaxed),
            delay_us: self.0.delay_us.load(Ordering::Relaxed),
        }
    }

    /// Waits for a place, but not for ever.
    pub(super) async fn enter(&self) -> Place {
        let permit = if let Ok(permit) = Arc::clone(&self.0.places).try_acquire_owned() {
            Some(permit)
        } else {
            let _counted = Counted::one_more(&self.0.waiting);
            let place = Arc::clone(&self.0.places).acquire_owned();
            timeout(PATIENCE, place).await.ok().and_then(Result::ok)
        };
        self.0.served.fetch_add(1, Ordering::Relaxed);
        Place {
            streams: self.clone(),
            permit,
            ready_at: None,
        }
    }
}

impl Place {
    /// A page is ready to be sent.
    pub(super) fn ready(&mut self) {
        self.ready_at = Some(Instant::now());
    }

    /// All of it was taken.
    pub(super) fn taken(&mut self) {
        if let Some(since) = self.ready_at.take() {
            let inner = &self.streams.0;
            let delay = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            inner.delay_us.fetch_add(delay, Ordering::Relaxed);
            inner.pages.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.streams.0;
        inner.served.fetch_sub(1, Ordering::Relaxed);
        let Some(permit) = self.permit.take() else {
            return;
        };
        let mut limit = inner.limit.lock();
        if limit.owed > 0 {
            limit.owed -= 1;
            permit.forget();
        }
    }
}

/// Counts one while it lives, also when whoever waits is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn one_more(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn fill(streams: &Streams, places: usize) -> Vec<Place> {
        let mut held = Vec::new();
        for _ in 0..places {
            held.push(streams.enter().await);
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_all_places_are_taken_waits_for_one() {
        let streams = Streams::default();
        let mut held = fill(&streams, PLACES).await;
        let mut next = Box::pin(streams.enter());
        assert!((&mut next).now_or_never().is_none());
        assert_eq!(streams.gauge().waiting, 1);
        held.pop();
        drop(next.await);
        let gauge = streams.gauge();
        assert_eq!((gauge.waiting, gauge.served), (0, PLACES - 1));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let streams = Streams::default();
        let held = fill(&streams, PLACES).await;
        let before = Instant::now();
        let late = streams.enter().await;
        assert_eq!(before.elapsed(), PATIENCE);
        assert_eq!(streams.gauge().served, PLACES + 1);
        drop((held, late));
        assert!(fill(&streams, PLACES).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_moves_while_places_are_taken() {
        let streams = Streams::default();
        let held = fill(&streams, PLACES).await;
        streams.set_limit(1);
        streams.set_limit(2);
        drop(held);
        let held = fill(&streams, 2).await;
        assert!(streams.enter().now_or_never().is_none());
        streams.set_limit(3);
        assert!(streams.enter().now_or_never().is_some());
        streams.set_limit(0);
        assert_eq!(streams.gauge().limit, 1);
        drop(held);
        let held = fill(&streams, 1).await;
        assert!(streams.enter().now_or_never().is_none());
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dropped_while_it_waits_is_not_counted() {
        let streams = Streams::default();
        let held = fill(&streams, PLACES).await;
        let mut next = Box::pin(streams.enter());
        assert!((&mut next).now_or_never().is_none());
        drop(next);
        assert_eq!(streams.gauge().waiting, 0);
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_counts_from_when_it_is_ready_until_it_is_taken() {
        let streams = Streams::default();
        let mut place = streams.enter().await;
        place.taken();
        place.ready();
        tokio::time::advance(Duration::from_millis(30)).await;
        place.taken();
        place.taken();
        let gauge = streams.gauge();
        assert_eq!((gauge.pages, gauge.delay_us), (1, 30_000));
    }
}
