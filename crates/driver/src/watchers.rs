//! What others see of the loop: the members as they are, and news for those who watch.
//!
//! Everything here is under one lock that is held for a moment, so that a snapshot and the news that follow it never leave a gap.
//! A watcher has a queue of its own; one that is too slow loses the queue, not the truth: it gets everything anew and is told how
//! much it missed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use convoke_membership::{Event, Roll};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Watchers of one node at most.
pub const WATCHERS_MOST: usize = 256;
/// News that may wait for one watcher, unless it asked for another number.
pub const NEWS_WAITING: usize = 1_024;

/// Something a watcher hears.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Everything as it is now. The first thing every watcher hears, and what it hears again when it was too slow.
    Resync {
        /// All of it.
        roll: Arc<Roll>,
        /// How many events did not wait any longer; none the first time.
        missed: u64,
    },
    /// The next event; it follows what was heard before without a gap.
    Event(Event),
}

#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    roll: Arc<Roll>,
    queues: BTreeMap<u64, Queue>,
    next: u64,
    over: bool,
}

#[derive(Debug)]
struct Queue {
    events: VecDeque<Event>,
    most: usize,
    /// How many were dropped, when a new beginning is due.
    missed: Option<u64>,
    came: Arc<Notify>,
}

impl Watchers {
    pub(crate) fn new(roll: Roll) -> Self {
        Self(Mutex::new(Inner {
            roll: Arc::new(roll),
            ..Inner::default()
        }))
    }

    pub(crate) fn roll(&self) -> Arc<Roll> {
        Arc::clone(&self.0.lock().roll)
    }

    pub(crate) fn tell(&self, event: &Event) {
        let mut inner = self.0.lock();
        Arc::make_mut(&mut inner.roll)
            .apply(event)
            .expect("the loop hands over every event in its order");
        for queue in inner.queues.values_mut() {
            queue.push(event);
        }
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        let mut inner = self.0.lock();
        inner.over = true;
        for queue in inner.queues.values() {
            queue.came.notify_one();
        }
    }

    pub(crate) fn watch(watchers: &Arc<Self>, most: usize) -> Option<Watcher> {
        let mut inner = watchers.0.lock();
        if inner.queues.len() >= WATCHERS_MOST {
            return None;
        }
        let number = inner.next;
        inner.next += 1;
        let came = Arc::new(Notify::new());
        let queue = Queue {
            events: VecDeque::new(),
            most: most.max(1),
            missed: Some(0),
            came: Arc::clone(&came),
        };
        inner.queues.insert(number, queue);
        drop(inner);
        Some(Watcher {
            watchers: Arc::clone(watchers),
            number,
            came,
        })
    }
}

impl Queue {
    fn push(&mut self, event: &Event) {
        if let Some(missed) = &mut self.missed {
            // What a watcher has not begun to read is in the snapshot it will get; that is no miss the first time.
            if *missed > 0 {
                *missed += 1;
            }
        } else if self.events.len() >= self.most {
            self.missed = Some(self.events.len() as u64 + 1);
            self.events.clear();
        } else {
            self.events.push_back(event.clone());
        }
        self.came.notify_one();
    }
}

/// Hears the news of one node, in order and without gaps. Dropping it ends that.
#[derive(Debug)]
pub struct Watcher {
    watchers: Arc<Watchers>,
    number: u64,
    came: Arc<Notify>,
}

impl Watcher {
    /// The next news, or `None` when the node has stopped and everything was heard. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            match self.take() {
                Some(news) => return Some(news),
                None if self.watchers.0.lock().over => return None,
                None => self.came.notified().await,
            }
        }
    }

    /// The next news, if there is some already.
    #[must_use]
    pub fn take(&mut self) -> Option<News> {
        let mut inner = self.watchers.0.lock();
        let roll = Arc::clone(&inner.roll);
        let queue = inner.queues.get_mut(&self.number)?;
        match queue.missed.take() {
            Some(missed) => Some(News::Resync { roll, missed }),
            None => queue.events.pop_front().map(News::Event),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watchers.0.lock().queues.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use convoke_membership::EventKind;

    use super::*;

    #[test]
    fn a_watcher_that_keeps_up_hears_everything_after_the_beginning() {
        let watchers = Arc::new(Watchers::new(Roll::default()));
        watchers.tell(&event(1));
        let mut watcher = Watchers::watch(&watchers, 8).unwrap();
        watchers.tell(&event(2));

        let Some(News::Resync { roll, missed: 0 }) = watcher.take() else {
            panic!("it begins with everything")
        };
        assert_eq!(roll.sequence, 2);
        watchers.tell(&event(3));
        assert_eq!(watcher.take(), Some(News::Event(event(3))));
        assert_eq!(watcher.take(), None);
    }

    #[test]
    fn a_slow_watcher_is_told_how_much_it_missed_and_gets_everything_anew() {
        let watchers = Arc::new(Watchers::new(Roll::default()));
        let mut watcher = Watchers::watch(&watchers, 3).unwrap();
        let mut copy = follow(Roll::default(), watcher.take().unwrap());
        for sequence in 1..=10 {
            watchers.tell(&event(sequence));
        }

        let news = watcher.take().unwrap();
        assert!(matches!(news, News::Resync { missed: 10, .. }), "{news:?}");
        copy = follow(copy, news);
        watchers.tell(&event(11));
        copy = follow(copy, watcher.take().unwrap());
        assert_eq!(copy, *watchers.roll());
    }

    #[test]
    fn there_are_only_so_many_watchers() {
        let watchers = Arc::new(Watchers::new(Roll::default()));
        let mut all: Vec<Watcher> = (0..WATCHERS_MOST)
            .map(|_| Watchers::watch(&watchers, 1).unwrap())
            .collect();
        assert!(Watchers::watch(&watchers, 1).is_none());
        all.pop();
        assert!(Watchers::watch(&watchers, 1).is_some());
    }

    fn follow(mut roll: Roll, news: News) -> Roll {
        match news {
            News::Resync { roll, .. } => (*roll).clone(),
            News::Event(event) => {
                roll.apply(&event).unwrap();
                roll
            }
        }
    }

    fn event(sequence: u64) -> Event {
        Event {
            sequence,
            kind: EventKind::PartitionHealed,
        }
    }
}
