//! The log on a real disk, with a thread that writes and one that makes room ahead.
//!
//! Work is decided when it is submitted, under a lock that is never held while the disk is busy; the writer carries it out. What gathers
//! while a sync runs is written together and made safe by the next one: the time a sync takes is the batching window, so nothing ever
//! waits for company.
//!
//! | bound | |
//! | --- | --- |
//! | work waiting for the disk | [`QUEUE_JOBS`] pieces; more is refused, which whoever submits prevents by waiting for answers |
//! | written between two syncs | [`GROUP_JOBS`] pieces of work |
//! | entries at hand in memory | those not safe yet, and the latest [`TAIL_BYTES`] |
//! | segments made ahead | one |
//!
//! **When the disk is full** the writer waits and tries again every second; nothing is acknowledged meanwhile, nothing is lost, and
//! [`DiskJournal::condition`] says so. **When writing or syncing fails** nothing is ever written again: after a failed sync nobody knows
//! what is on the disk.
//!
//! Deliberately not here: what files mean (`log`).

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::{Done, Journal, JournalError};
use crate::log::{
    Entry, File, Log, LogId, Mark, Op, OpenError, Owner, Position, Register, State, Work,
};

/// Pieces of work that wait for the disk at most.
const QUEUE_JOBS: usize = 1 << 16;
/// Pieces of work made safe by one sync at most.
const GROUP_JOBS: usize = 1_024;
/// Bytes of entries kept in memory behind those that are not safe yet.
const TAIL_BYTES: usize = 32 << 20;
/// How long to wait for room on a full disk before trying again.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// The log in a directory.
#[derive(Debug)]
pub struct DiskJournal {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    directory: Directory,
    /// Never locked while the disk is busy.
    state: Mutex<Live>,
    /// Nobody waits for room any more.
    closing: AtomicBool,
}

#[derive(Debug)]
struct Live {
    log: Log,
    tail: Tail,
    broken: Option<JournalError>,
    /// Pieces of work that wait.
    queued: usize,
    /// Since when the disk is at work, and what for.
    busy: Option<(Instant, Wait)>,
}

/// What the disk is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A write or a sync to end.
    Write,
    /// Room for another segment.
    Room,
}

/// How the log's disk does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has nothing to do, or has begun just now.
    Well,
    /// It has been waited for, for so long.
    Waiting(Wait, Duration),
    /// Nothing is written any more.
    Broken(JournalError),
}

struct Job {
    ops: Vec<Op>,
    mark: Mark,
    /// The last entry that is safe when this is done.
    last: u64,
    done: Done,
}

/// The latest entries.
#[derive(Debug, Default)]
struct Tail {
    /// The index of the first; meaningless without entries.
    first: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    fn note(&mut self, work: &Work) {
        match work {
            Work::Append { first, entries } => {
                let keep = first.saturating_sub(self.first);
                while self.entries.len() as u64 > keep {
                    let gone = self.entries.pop_back().expect("there are more than none");
                    self.bytes -= gone.payload.len();
                }
                if self.entries.is_empty() {
                    self.first = *first;
                }
                self.bytes += entries
                    .iter()
                    .map(|entry| entry.payload.len())
                    .sum::<usize>();
                self.entries.extend(entries.iter().cloned());
            }
            Work::Purge(position) => self.forget(position.index, 0),
            Work::Reset(_) => *self = Self::default(),
            Work::Vote { .. } | Work::Commit(_) | Work::Remember | Work::Trust | Work::Doubt(_) => {
            }
        }
    }

    /// Forgets entries up to this one, as long as there are more bytes than that.
    fn forget(&mut self, until: u64, bytes: usize) {
        while self.first <= until && (bytes == 0 || self.bytes > bytes) {
            let Some(gone) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= gone.payload.len();
            self.first += 1;
        }
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        let at = index.checked_sub(self.first)?;
        self.entries.get(usize::try_from(at).ok()?)
    }
}

/// A log that was opened.
#[derive(Debug)]
pub struct Opened {
    /// To go on with.
    pub journal: DiskJournal,
    /// Whether everything is there.
    pub state: State,
    /// It was made just now.
    pub is_new: bool,
}

impl DiskJournal {
    /// Opens the log in a directory, or makes one. `owner` says whose it has to be; for a log that is made, `fresh` is its id.
    ///
    /// # Errors
    /// When it cannot be read, is somebody else's, or in use.
    pub fn open(
        path: &Path,
        owner: impl FnOnce(LogId) -> Owner,
        fresh: LogId,
        segment_bytes: u64,
    ) -> Result<Opened, OpenError> {
        let directory = Directory::open(path)?;
        let found = Log::identify(&directory)?;
        let is_new = found.is_none();
        let owner = owner(found.unwrap_or(fresh));
        let (log, state, ops) = if is_new {
            let (log, ops) = Log::create(owner, segment_bytes);
            (log, State::Sound, ops)
        } else {
            Log::open(owner, segment_bytes, &directory)?
        };
        for op in &ops {
            directory.carry_out(op)?;
        }
        let shared = Arc::new(Shared {
            directory,
            state: Mutex::new(Live {
                log,
                tail: Tail::default(),
                broken: None,
                queued: 0,
                busy: None,
            }),
            closing: AtomicBool::new(false),
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "`queued` bounds it; a channel with a bound of its own makes all the room at once, 5 MB that every node would keep"
        )]
        let (jobs, queue) = mpsc::channel();
        let writer = Writer {
            shared: Arc::clone(&shared),
            queue,
            spare: None,
        };
        let writer = std::thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || writer.run())?;
        Ok(Opened {
            journal: Self {
                shared,
                jobs: Some(jobs),
                writer: Some(writer),
            },
            state,
            is_new,
        })
    }

    /// How the disk does.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let live = self.shared.live();
        match (&live.broken, live.busy) {
            (Some(error), _) => Condition::Broken(error.clone()),
            (None, Some((since, wait))) => Condition::Waiting(wait, since.elapsed()),
            (None, None) => Condition::Well,
        }
    }

    /// Whose log it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.shared.live().log.owner()
    }
}

impl Drop for DiskJournal {
    /// What was submitted is written first, but room is not waited for.
    fn drop(&mut self) {
        self.jobs = None;
        self.shared.closing.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            writer.thread().unpark();
            // It panicked only if it was told to by a panic of ours, which is on its way already.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for DiskJournal {
    fn submit(&self, work: Vec<Work>, done: Done) {
        let mut live = self.shared.live();
        if let Some(error) = live.broken.clone() {
            drop(live);
            return done(Err(error));
        }
        if live.queued == QUEUE_JOBS {
            drop(live);
            return done(Err(JournalError::Overwhelmed));
        }
        let ops = match live.log.work(&work) {
            Ok(ops) => ops,
            Err(error) => {
                // What stood before it in the same work may be decided and is not written: nothing fits any more.
                let error = JournalError::Senseless(error);
                live.broken = Some(error.clone());
                drop(live);
                return done(Err(error));
            }
        };
        for work in &work {
            live.tail.note(work);
        }
        let job = Job {
            ops,
            mark: live.log.mark(),
            last: live.log.last(),
            done,
        };
        live.queued += 1;
        // Sent under the lock, so that jobs are carried out in the order in which they were decided. There is a place for it.
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        drop(live);
        if let Some(Err(unsent)) = sent {
            (unsent.0.done)(Err(JournalError::Closed));
        }
    }

    fn read(&self, index: u64) -> Result<Entry, JournalError> {
        let place = {
            let live = self.shared.live();
            if let Some(entry) = live.tail.get(index) {
                return Ok(entry.clone());
            }
            live.log.place(index).ok_or(JournalError::Missing(index))?
        };
        let (offset, length) = place.extent();
        let read = self.shared.directory.read_at(place.file, offset, length);
        let entry = read.ok().and_then(|read| place.entry(&read));
        entry.ok_or_else(|| {
            // It may have been purged meanwhile.
            if self.shared.live().log.place(index) == Some(place) {
                JournalError::Rotten(index)
            } else {
                JournalError::Missing(index)
            }
        })
    }

    fn last(&self) -> Position {
        self.shared.live().log.last_position()
    }

    fn register(&self) -> Register {
        self.shared.live().log.register()
    }

    fn safe(&self) -> Mark {
        self.shared.live().log.safe()
    }

    fn found(&self) -> Mark {
        self.shared.live().log.found()
    }
}

struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Job>,
    spare: Option<JoinHandle<()>>,
}

impl Writer {
    fn run(mut self) {
        self.make_room_ahead();
        while let Ok(first) = self.queue.recv() {
            let mut jobs = vec![first];
            while jobs.len() < GROUP_JOBS
                && let Ok(job) = self.queue.try_recv()
            {
                jobs.push(job);
            }
            let is_safe = self.write(&jobs);
            for job in jobs {
                (job.done)(is_safe.clone());
            }
            self.make_room_ahead();
        }
        if let Some(spare) = self.spare.take() {
            let _ = spare.join();
        }
    }

    fn write(&self, jobs: &[Job]) -> Result<(), JournalError> {
        if let Some(error) = &self.shared.live().broken {
            return Err(error.clone());
        }
        self.shared.live().queued -= jobs.len();
        self.waits_for(Wait::Write);
        let written = grouped(jobs.iter().flat_map(|job| &job.ops))
            .into_iter()
            .try_for_each(|op| {
                self.carry_out(op)
                    .map_err(|error| format!("{}: {error}", told(op)))
            });
        let mut live = self.shared.live();
        live.busy = None;
        match written {
            Ok(()) => {
                let last = jobs.last().expect("there is one at least");
                live.log.done(last.mark);
                let safe = jobs.iter().map(|job| job.last).min().unwrap_or(0);
                live.tail.forget(safe, TAIL_BYTES);
                Ok(())
            }
            Err(what) => {
                let error = JournalError::Broken { what };
                live.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Carries out an operation; for room it waits, as long as the log is open.
    fn carry_out(&self, op: &Op) -> io::Result<()> {
        loop {
            match self.shared.directory.carry_out(op) {
                Err(error)
                    if is_full(&error)
                        && matches!(op, Op::Create { .. })
                        && !self.shared.closing.load(Ordering::Acquire) =>
                {
                    self.waits_for(Wait::Room);
                    std::thread::park_timeout(ROOM_EVERY);
                }
                done => return done,
            }
        }
    }

    fn waits_for(&self, wait: Wait) {
        let mut live = self.shared.live();
        if live.busy.is_none_or(|(_, now)| now != wait) {
            live.busy = Some((Instant::now(), wait));
        }
    }

    /// Has the next segment filled with zeros by another thread, so that no write waits for it.
    fn make_room_ahead(&mut self) {
        if self
            .spare
            .as_ref()
            .is_some_and(|spare| !spare.is_finished())
        {
            return;
        }
        if let Some(spare) = self.spare.take() {
            let _ = spare.join();
        }
        let Some(op) = self.shared.live().log.wants_spare() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let maker = move || {
            // Without room it is tried again when the segment is needed, and waited for then.
            if let Op::Create { file, .. } = op
                && shared.directory.carry_out(&op).is_ok()
            {
                shared.live().log.has_spare(file);
            }
        };
        self.spare = std::thread::Builder::new()
            .name("log room".to_owned())
            .spawn(maker)
            .ok();
    }
}

fn told(op: &Op) -> String {
    match op {
        Op::Create { file, size } => format!("make {file} of {size} bytes"),
        Op::Write {
            file,
            offset,
            bytes,
        } => format!("write {} bytes of {file} at {offset}", bytes.len()),
        Op::Sync(file) => format!("sync {file}"),
        Op::Remove(file) => format!("remove {file}"),
    }
}

/// Whether an operation failed because there is no room for it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The operations with one sync for all writes to a segment that follow each other. The register keeps all of its own: its slots must
/// become safe one after the other.
fn grouped<'a>(ops: impl Iterator<Item = &'a Op>) -> Vec<&'a Op> {
    let mut grouped: Vec<&Op> = Vec::new();
    for op in ops {
        let same = match (op, grouped.last()) {
            (
                Op::Write {
                    file: File::Segment(next),
                    ..
                },
                Some(Op::Sync(File::Segment(before))),
            ) => next == before,
            _ => false,
        };
        if same {
            grouped.pop();
        }
        grouped.push(op);
    }
    grouped
}
