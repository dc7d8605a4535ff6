//! What a service is to its supervisor, and what a run of it can say.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::roles::Mode;

/// Something to be done, behind a pointer, so that services of all kinds stand in one table.
pub type Work<'w, T> = Pin<Box<dyn Future<Output = T> + Send + 'w>>;

/// Why a service did not start, or ended.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A part of a node that is started and stopped.
pub trait Service: Send + Sync + 'static {
    /// Starts it. When this is done the service runs: its sockets are open, its files are read. Whether it is of use is another thing, and
    /// said by [`Context::ready`].
    ///
    /// It may be dropped at any point where it waits, when the node is told to stop meanwhile, and what it made until then goes with it.
    fn start<'s>(&'s self, context: Context) -> Work<'s, Result<Running, Failure>>;
}

/// A service that has started.
pub struct Running {
    pub(crate) run: Work<'static, Result<(), Failure>>,
    pub(crate) drain: Option<Work<'static, ()>>,
}

impl Running {
    /// What it does from now on. It ends in order, and soon, when [`Context::stopped`] does; an end before that is a failure of the service.
    pub fn new(run: impl Future<Output = Result<(), Failure>> + Send + 'static) -> Self {
        Self {
            run: Box::pin(run),
            drain: None,
        }
    }

    /// How it lets go of its work before it is told to stop: leadership is handed over, calls are answered, no new ones taken. It runs beside
    /// the service, and is dropped when its time is over.
    #[must_use]
    pub fn with_drain(mut self, drain: impl Future<Output = ()> + Send + 'static) -> Self {
        self.drain = Some(Box::pin(drain));
        self
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("drains", &self.drain.is_some())
            .finish_non_exhaustive()
    }
}

/// What a run hears from its supervisor, and tells it. Cheap to copy; copies of a run that is over are heard by nobody.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) mode: watch::Receiver<Mode>,
    pub(crate) stop: CancellationToken,
    pub(crate) cell: Arc<Cell>,
}

impl Context {
    /// The mode it is to work in now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// The mode, as it changes. Only modes that [`ServiceName::takes_live`](crate::roles::ServiceName::takes_live) do.
    #[must_use]
    pub fn modes(&self) -> watch::Receiver<Mode> {
        self.mode.clone()
    }

    /// Is done when the service is to end.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// The same, as a token to hand on.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// It is of use.
    pub fn ready(&self) {
        self.cell.say(|said| said.ready = Some(Ok(())));
    }

    /// It is not of use yet, or not any more, for this reason.
    pub fn not_ready(&self, why: impl Into<String>) {
        let why = why.into();
        self.cell.say(|said| said.ready = Some(Err(why)));
    }

    /// It came forward: whatever it waits for, it is not stuck. Essential services say so at least every few seconds, from the loop that does
    /// their work; the watchdog is fed by nothing else.
    pub fn progress(&self) {
        self.cell.progress.store(true, Ordering::Relaxed);
    }
}

/// What a run said and its supervisor has not heard yet. There is no queue: only the latest counts.
#[derive(Debug)]
pub(crate) struct Cell {
    said: Mutex<Said>,
    progress: AtomicBool,
    heard_by: Arc<Notify>,
}

/// What is new.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) started: bool,
    pub(crate) ready: Option<Result<(), String>>,
    pub(crate) drained: bool,
}

impl Cell {
    pub(crate) fn new(heard_by: Arc<Notify>) -> Self {
        Self {
            said: Mutex::default(),
            progress: AtomicBool::new(false),
            heard_by,
        }
    }

    pub(crate) fn say(&self, what: impl FnOnce(&mut Said)) {
        what(&mut self.said.lock());
        self.heard_by.notify_one();
    }

    pub(crate) fn hear(&self) -> Said {
        std::mem::take(&mut self.said.lock())
    }

    pub(crate) fn hear_progress(&self) -> bool {
        self.progress.swap(false, Ordering::Relaxed)
    }
}
