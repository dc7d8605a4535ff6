//! A place where lines go: a bounded queue and a thread that writes, so that a slow or broken place holds nobody up.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::record::{Record, Severity};
use super::{Format, Place};

/// Lines that may wait.
pub(crate) const WAITING: usize = 1_024;

/// A format that changes while threads read it.
#[derive(Debug)]
pub(crate) struct FormatCell(AtomicBool);

impl FormatCell {
    pub(crate) fn new(format: Format) -> Self {
        Self(AtomicBool::new(format == Format::Json))
    }

    pub(crate) fn set(&self, format: Format) {
        self.0.store(format == Format::Json, Ordering::Relaxed);
    }

    fn line(&self, record: &Record) -> String {
        let mut line = if self.0.load(Ordering::Relaxed) {
            record.to_json()
        } else {
            record.to_text()
        };
        line.push('\n');
        line
    }
}

/// A place, with its thread.
#[derive(Debug)]
pub(crate) struct Outlet {
    name: &'static str,
    /// Less grave lines pass it by.
    least: Severity,
    queue: ArcSwapOption<SyncSender<Arc<Record>>>,
    counts: Arc<Counts>,
    /// Ends when the thread has: nothing is ever sent.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Outlet {
    /// Starts its thread. When there can be none, every line is dropped and counted.
    pub(crate) fn start(
        name: &'static str,
        place: Box<dyn Write + Send>,
        format: Arc<FormatCell>,
    ) -> Self {
        let (queue, lines) = sync_channel(WAITING);
        let (end, ended) = sync_channel(0);
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            place,
            format,
            counts: counts.clone(),
            told: 0,
            is_torn: false,
        };
        let started = std::thread::Builder::new()
            .name(format!("logs-{name}"))
            .spawn(move || {
                writer.run(&lines);
                drop(end);
            });
        if let Err(error) = started {
            *counts.trouble.lock() = Some(format!("start a thread: {error}"));
        }
        Self {
            name,
            least: Severity::Trace,
            queue: ArcSwapOption::from_pointee(queue),
            counts,
            ended: Mutex::new(ended),
        }
    }

    /// Takes only lines that are as grave as this, or graver.
    pub(crate) fn from(self, least: Severity) -> Self {
        Self { least, ..self }
    }

    /// Takes a line, or counts that it could not.
    pub(crate) fn take(&self, record: &Arc<Record>) {
        if record.level < self.least {
            return;
        }
        let taken = self
            .queue
            .load()
            .as_ref()
            .is_some_and(|queue| queue.try_send(record.clone()).is_ok());
        if !taken {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            name: self.name,
            written: self.counts.written.load(Ordering::Acquire),
            dropped: self.counts.dropped.load(Ordering::Acquire),
            trouble: self.counts.trouble.lock().clone(),
        }
    }

    /// Takes no further lines.
    pub(crate) fn close(&self) {
        self.queue.store(None);
    }

    /// Waits until the thread has ended; says whether it has.
    pub(crate) fn wait(&self, bound: Duration) -> bool {
        self.ended.lock().recv_timeout(bound) == Err(RecvTimeoutError::Disconnected)
    }
}

/// What the thread owns.
struct Writer {
    place: Box<dyn Write + Send>,
    format: Arc<FormatCell>,
    counts: Arc<Counts>,
    /// How many dropped lines the place was told about.
    told: u64,
    /// Whether the last line may have come out in part.
    is_torn: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Arc<Record>>) {
        for record in lines {
            let line = self.format.line(&record);
            let mut text = String::new();
            if self.is_torn {
                text.push('\n');
            }
            let dropped = self.counts.dropped.load(Ordering::Relaxed);
            if dropped > self.told {
                text.push_str(&self.gap(&record, dropped - self.told));
            }
            text.push_str(&line);
            let written = self
                .place
                .write_all(text.as_bytes())
                .and_then(|()| self.place.flush());
            match written {
                Ok(()) => {
                    self.told = dropped;
                    self.is_torn = false;
                    self.counts.trouble.lock().take();
                    self.counts.written.fetch_add(1, Ordering::Release);
                }
                // The reason comes before the count: who sees that a line is missing sees why.
                Err(error) => {
                    self.is_torn = true;
                    *self.counts.trouble.lock() = Some(error.to_string());
                    self.counts.dropped.fetch_add(1, Ordering::Release);
                }
            }
        }
    }

    /// The line that stands where others are missing.
    fn gap(&self, next: &Record, count: u64) -> String {
        let mut message = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            message,
            "{count} lines are missing about here: this place was too slow, or refused them"
        );
        self.format.line(&Record {
            time: next.time,
            level: Severity::Warn,
            target: "convoke_node::logs".to_owned(),
            message,
            fields: vec![("dropped", count.into())],
            spans: Vec::new(),
        })
    }
}
