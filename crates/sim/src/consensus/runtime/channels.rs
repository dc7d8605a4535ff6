//! Channels, watches and a mutex on virtual time.
//!
//! Whoever waits is woken through its waker and by nothing else; wakers are called when no lock is held.
//!
//! Deliberately not here: tasks and time.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use convoke_consensus::engine::runtime::{self as ort, OptionalSend, OptionalSync};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

struct Slot<T> {
    value: Option<T>,
    closed: bool,
    waker: Option<Waker>,
}
/// One value, once.
pub struct Sender<T>(Option<Arc<Mutex<Slot<T>>>>);
/// Waits for one value.
pub struct Receiver<T>(Arc<Mutex<Slot<T>>>);
/// Nobody is at the other end.
#[derive(Debug)]
pub struct Closed;
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other end is gone")
    }
}
impl std::error::Error for Closed {}

pub(crate) fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let s = Arc::new(Mutex::new(Slot {
        value: None,
        closed: false,
        waker: None,
    }));
    (Sender(Some(s.clone())), Receiver(s))
}
impl<T> Sender<T> {
    pub(crate) fn put(mut self, t: T) -> Result<(), T> {
        let s = self.0.take().expect("sent once");
        let mut s = s.lock();
        if s.closed {
            return Err(t);
        }
        s.value = Some(t);
        let waker = s.waker.take();
        drop(s);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }
}
impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(s) = self.0.take() else { return };
        let waker = {
            let mut s = s.lock();
            s.closed = true;
            s.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}
impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let value = {
            let mut s = self.0.lock();
            s.closed = true;
            s.value.take()
        };
        drop(value);
    }
}
impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut s = self.0.lock();
        if let Some(v) = s.value.take() {
            return Poll::Ready(Ok(v));
        }
        if s.closed {
            return Poll::Ready(Err(Closed));
        }
        s.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
impl<T: OptionalSend> ort::OneshotSender<T> for Sender<T> {
    fn send(self, t: T) -> Result<(), T> {
        self.put(t)
    }
}
/// Channels for one value.
#[derive(Debug)]
pub struct Oneshots;
impl ort::Oneshot for Oneshots {
    type Sender<T: OptionalSend> = Sender<T>;
    type Receiver<T: OptionalSend> = Receiver<T>;
    type ReceiverError = Closed;
    fn channel<T: OptionalSend>() -> (Sender<T>, Receiver<T>) {
        oneshot()
    }
}

struct Queue<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver: bool,
    rx: Option<Waker>,
    tx: Vec<Waker>,
}
/// Sends into a queue with a bound.
pub struct Tx<T>(Arc<Mutex<Queue<T>>>);
/// A sender that does not keep the queue open.
pub struct WeakTx<T>(Arc<Mutex<Queue<T>>>);
/// Reads a queue.
pub struct Rx<T>(Arc<Mutex<Queue<T>>>);
pub(super) fn channel<T>(capacity: usize) -> (Tx<T>, Rx<T>) {
    let c = Queue {
        queue: VecDeque::new(),
        capacity,
        senders: 1,
        receiver: true,
        rx: None,
        tx: vec![],
    };
    let c = Arc::new(Mutex::new(c));
    (Tx(c.clone()), Rx(c))
}
impl<T> Clone for Tx<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(self.0.clone())
    }
}
impl<T> Drop for Tx<T> {
    fn drop(&mut self) {
        let waker = {
            let mut c = self.0.lock();
            c.senders -= 1;
            if c.senders == 0 { c.rx.take() } else { None }
        };
        waker.into_iter().for_each(Waker::wake);
    }
}
impl<T> Clone for WeakTx<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
impl<T> Drop for Rx<T> {
    fn drop(&mut self) {
        let (queue, wakers) = {
            let mut c = self.0.lock();
            c.receiver = false;
            (std::mem::take(&mut c.queue), std::mem::take(&mut c.tx))
        };
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }
}
impl<T: OptionalSend> ort::MpscSender<Channels, T> for Tx<T> {
    fn send(&self, msg: T) -> impl Future<Output = Result<(), ort::SendError<T>>> + OptionalSend {
        let mut msg = Some(msg);
        let chan = self.0.clone();
        // The message only moves; it is never pinned.
        poll_fn(move |cx| {
            let mut c = chan.lock();
            let m = msg.take().expect("polled after ready");
            if !c.receiver {
                return Poll::Ready(Err(ort::SendError(m)));
            }
            if c.queue.len() >= c.capacity {
                c.tx.push(cx.waker().clone());
                msg = Some(m);
                return Poll::Pending;
            }
            c.queue.push_back(m);
            let waker = c.rx.take();
            drop(c);
            waker.into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(()))
        })
    }
    fn downgrade(&self) -> WeakTx<T> {
        WeakTx(self.0.clone())
    }
}
impl<T: OptionalSend> ort::MpscWeakSender<Channels, T> for WeakTx<T> {
    fn upgrade(&self) -> Option<Tx<T>> {
        let mut c = self.0.lock();
        if c.senders == 0 {
            return None;
        }
        c.senders += 1;
        Some(Tx(self.0.clone()))
    }
}
impl<T> Rx<T> {
    fn poll_take(&self, cx: Option<&mut Context<'_>>) -> Result<T, ort::TryRecvError> {
        let mut c = self.0.lock();
        if let Some(m) = c.queue.pop_front() {
            let wakers = std::mem::take(&mut c.tx);
            drop(c);
            wakers.into_iter().for_each(Waker::wake);
            return Ok(m);
        }
        if c.senders == 0 {
            return Err(ort::TryRecvError::Disconnected);
        }
        if let Some(cx) = cx {
            c.rx = Some(cx.waker().clone());
        }
        Err(ort::TryRecvError::Empty)
    }
}
impl<T: OptionalSend> ort::MpscReceiver<T> for Rx<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> + OptionalSend {
        poll_fn(|cx| match self.poll_take(Some(cx)) {
            Ok(m) => Poll::Ready(Some(m)),
            Err(ort::TryRecvError::Disconnected) => Poll::Ready(None),
            Err(ort::TryRecvError::Empty) => Poll::Pending,
        })
    }
    fn try_recv(&mut self) -> Result<T, ort::TryRecvError> {
        self.poll_take(None)
    }
}
/// Queues with a bound.
#[derive(Debug)]
pub struct Channels;
impl ort::Mpsc for Channels {
    type Sender<T: OptionalSend> = Tx<T>;
    type Receiver<T: OptionalSend> = Rx<T>;
    type WeakSender<T: OptionalSend> = WeakTx<T>;
    fn channel<T: OptionalSend>(buffer: usize) -> (Tx<T>, Rx<T>) {
        channel(buffer)
    }
}

struct Meta {
    version: u64,
    senders: usize,
    receivers: usize,
    wakers: Vec<Waker>,
}
struct Shared<T> {
    value: RwLock<T>,
    meta: Mutex<Meta>,
}
/// Changes a value others look at.
pub struct WatchSender<T>(Arc<Shared<T>>);
/// Looks at a value, and knows whether it is new.
pub struct WatchReceiver<T>(Arc<Shared<T>>, u64);
impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        self.0.meta.lock().senders += 1;
        Self(self.0.clone())
    }
}
impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        self.0.meta.lock().receivers += 1;
        Self(self.0.clone(), self.1)
    }
}
impl<T> Drop for WatchSender<T> {
    fn drop(&mut self) {
        let wakers = {
            let mut m = self.0.meta.lock();
            m.senders -= 1;
            if m.senders == 0 {
                std::mem::take(&mut m.wakers)
            } else {
                vec![]
            }
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
impl<T> Drop for WatchReceiver<T> {
    fn drop(&mut self) {
        self.0.meta.lock().receivers -= 1;
    }
}
impl<T> Shared<T> {
    fn changed(&self) {
        let wakers = {
            let mut m = self.meta.lock();
            m.version += 1;
            std::mem::take(&mut m.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
impl<T: OptionalSend + OptionalSync> ort::WatchSender<Watches, T> for WatchSender<T> {
    fn send(&self, value: T) -> Result<(), ort::watch::SendError<T>> {
        if self.0.meta.lock().receivers == 0 {
            return Err(ort::watch::SendError(value));
        }
        let old = std::mem::replace(&mut *self.0.value.write(), value);
        drop(old);
        self.0.changed();
        Ok(())
    }
    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = modify(&mut *self.0.value.write());
        if modified {
            self.0.changed();
        }
        modified
    }
    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read()
    }
    fn subscribe(&self) -> WatchReceiver<T> {
        let mut m = self.0.meta.lock();
        m.receivers += 1;
        WatchReceiver(self.0.clone(), m.version)
    }
}
impl<T: OptionalSend + OptionalSync> ort::WatchReceiver<Watches, T> for WatchReceiver<T> {
    async fn changed(&mut self) -> Result<(), ort::watch::RecvError> {
        poll_fn(|cx| {
            let mut m = self.0.meta.lock();
            if m.version != self.1 {
                self.1 = m.version;
                return Poll::Ready(Ok(()));
            }
            if m.senders == 0 {
                return Poll::Ready(Err(ort::watch::RecvError(())));
            }
            m.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read()
    }
    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        self.1 = self.0.meta.lock().version;
        self.0.value.read()
    }
}
/// Values that others look at.
#[derive(Debug)]
pub struct Watches;
impl ort::Watch for Watches {
    type Sender<T: OptionalSend + OptionalSync> = WatchSender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = WatchReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;
    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (WatchSender<T>, WatchReceiver<T>) {
        let meta = Meta {
            version: 0,
            senders: 1,
            receivers: 1,
            wakers: vec![],
        };
        let s = Arc::new(Shared {
            value: RwLock::new(init),
            meta: Mutex::new(meta),
        });
        (WatchSender(s.clone()), WatchReceiver(s, 0))
    }
}

/// A mutex for tasks.
pub struct Guarded<T>(futures_util::lock::Mutex<T>);
impl<T: OptionalSend + 'static> ort::Mutex<T> for Guarded<T> {
    type Guard<'a> = futures_util::lock::MutexGuard<'a, T>;
    fn new(value: T) -> Self {
        Self(futures_util::lock::Mutex::new(value))
    }
    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> + OptionalSend {
        self.0.lock()
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

opaque!(
    Sender,
    Receiver,
    Tx,
    WeakTx,
    Rx,
    WatchSender,
    WatchReceiver,
    Guarded
);
