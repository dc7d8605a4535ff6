//! Two things to wait with, on any runtime: a value somebody waits for, and a queue with a bound.
//!
//! They hold wakers and no timers, so they are the same under simulated time.
//!
//! Deliberately not here: giving up, which is the runtime's.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// A value that changes, and those who wait until it is as they want it.
#[derive(Debug)]
pub(super) struct Gauge<T> {
    inner: Mutex<Gauged<T>>,
}

#[derive(Debug)]
struct Gauged<T> {
    value: T,
    waiting: Vec<Waker>,
}

impl<T: Copy + PartialEq> Gauge<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            inner: Mutex::new(Gauged {
                value,
                waiting: Vec::new(),
            }),
        }
    }

    pub(super) fn get(&self) -> T {
        self.inner.lock().value
    }

    pub(super) fn change(&self, change: impl FnOnce(T) -> T) {
        let mut inner = self.inner.lock();
        let value = change(inner.value);
        if value == inner.value {
            return;
        }
        inner.value = value;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The value, as soon as it is so.
    pub(super) async fn until(&self, is_so: impl Fn(T) -> bool) -> T {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if is_so(inner.value) {
                return Poll::Ready(inner.value);
            }
            remember(&mut inner.waiting, context);
            Poll::Pending
        })
        .await
    }
}

fn remember(waiting: &mut Vec<Waker>, context: &Context<'_>) {
    if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
        waiting.push(context.waker().clone());
    }
}

/// A queue with one reader. Full, it takes nothing more and says so.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    inner: Mutex<Queue<T>>,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<(T, usize)>,
    size_bytes: usize,
    is_closed: bool,
    reader: Vec<Waker>,
}

/// Why a queue takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

impl<T> Inbox<T> {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            inner: Mutex::new(Queue {
                items: VecDeque::new(),
                size_bytes: 0,
                is_closed: false,
                reader: Vec::new(),
            }),
            most,
            most_bytes,
        }
    }

    pub(super) fn push(&self, item: T, size_bytes: usize) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return Err(Refused::Closed);
        }
        let has_room = inner.items.len() < self.most
            && inner.size_bytes.saturating_add(size_bytes) <= self.most_bytes;
        if !has_room {
            return Err(Refused::Full);
        }
        inner.items.push_back((item, size_bytes));
        inner.size_bytes += size_bytes;
        let reader = std::mem::take(&mut inner.reader);
        drop(inner);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// What waits, at most so much of it but always one; nothing when the queue is closed.
    pub(super) async fn take(&self, most: usize, most_bytes: usize) -> Option<Vec<T>> {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if inner.is_closed {
                return Poll::Ready(None);
            }
            if inner.items.is_empty() {
                remember(&mut inner.reader, context);
                return Poll::Pending;
            }
            Poll::Ready(Some(inner.take(most, most_bytes)))
        })
        .await
    }

    /// Takes nothing from now on, and gives back what waits in it. Who drops that lets those go who wait.
    pub(super) fn close(&self) -> Vec<T> {
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        let items = std::mem::take(&mut inner.items);
        let reader = std::mem::take(&mut inner.reader);
        drop(inner);
        reader.into_iter().for_each(Waker::wake);
        items.into_iter().map(|(item, _)| item).collect()
    }
}

impl<T> Queue<T> {
    fn take(&mut self, most: usize, most_bytes: usize) -> Vec<T> {
        let mut taken = Vec::new();
        let mut size_bytes = 0;
        while let Some((_, size)) = self.items.front()
            && taken.len() < most
            && (taken.is_empty() || size_bytes + size <= most_bytes)
        {
            let (item, size) = self.items.pop_front().expect("it was looked at");
            size_bytes += size;
            taken.push(item);
        }
        self.size_bytes -= size_bytes;
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;

    use super::*;

    fn take(inbox: &Inbox<u8>, most: usize, most_bytes: usize) -> Vec<u8> {
        let mut taken = std::pin::pin!(inbox.take(most, most_bytes));
        match taken.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken.expect("it is open"),
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn a_full_queue_takes_nothing_until_something_is_taken() {
        let inbox = Inbox::new(2, 100);
        assert_eq!(inbox.push(1, 60), Ok(()));
        assert_eq!(inbox.push(2, 60), Err(Refused::Full), "too many bytes");
        assert_eq!(inbox.push(2, 10), Ok(()));
        assert_eq!(inbox.push(3, 1), Err(Refused::Full), "too many");
        assert_eq!(take(&inbox, 10, 65), [1], "the second would be too much");
        assert_eq!(inbox.push(3, 90), Ok(()));
        assert_eq!(take(&inbox, 1, 1), [2], "one is always taken");
        assert_eq!(take(&inbox, 10, 1), [3]);
        assert!(take(&inbox, 10, 10).is_empty());
        assert_eq!(inbox.push(5, 1), Ok(()));
        assert_eq!(inbox.close(), [5], "who waits in it can be told");
        assert_eq!(inbox.push(4, 1), Err(Refused::Closed));
    }

    #[test]
    fn a_gauge_is_waited_for() {
        let gauge = Gauge::new(1);
        let mut waiting = std::pin::pin!(gauge.until(|value| value > 1));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        gauge.change(|value| value + 1);
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(2));
    }
}
