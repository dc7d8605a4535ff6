//! The disk of one node: the durable log over a twin of a disk, with a writer that takes time, and a place for snapshots.
//!
//! The log is the real one, and so are the bytes it writes and what it makes of them after a crash. The writer takes what waits, carries
//! out its operations, and needs a while for each sync; when all of it is safe it says so, in order. A crash keeps what was synced and of
//! the rest what chance keeps, sector by sector.
//!
//! Deliberately not here: when crashes happen (`nemesis`), and registers that rot: a log without one is not opened, which is tested where
//! logs are.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use convoke_consensus::engine::{Image, MemoryImage, Pieces, Snapshots};
use convoke_consensus::journal::{Done, Journal, JournalError};
use convoke_consensus::log::{
    Entry, Files as _, Log, Mark, Op, OpenError, Owner, Position, Register, State, TwinDisk, Work,
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::runtime::{chance, sleep};

/// Small, so that segments are made, freed and used again.
const SEGMENT_BYTES: u64 = 64 << 10;
const MICROSECOND: u64 = 1_000;

/// A node's disk, which outlives the node.
#[derive(Debug)]
pub(super) struct Disk {
    twin: TwinDisk,
    owner: Owner,
    is_made: bool,
    snapshot: Option<MemoryImage>,
    /// The disk as it was on an earlier day.
    image: Option<(TwinDisk, Option<MemoryImage>)>,
    /// A sync takes so much longer.
    pub(super) stall: u64,
    /// It says *safe* before it is; a mistake made on purpose.
    pub(super) lies: bool,
}

/// How a disk loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing that was not synced is left.
    Clean,
    /// Some sectors are, and some are not.
    Torn,
    /// The same, and a bit of what was safe has turned round, in the last batch or before.
    Rotten,
    /// Nothing is left: in its place is what the disk was when the last image was made, if one was.
    Restored,
}

impl Disk {
    pub(super) fn new(owner: Owner) -> Self {
        Self {
            twin: TwinDisk::new(),
            owner,
            is_made: false,
            snapshot: None,
            image: None,
            stall: 0,
            lies: false,
        }
    }

    /// The log on it, made if there is none.
    pub(super) fn open(&mut self) -> Result<(Log, State), OpenError> {
        let (log, state, ops) = if self.is_made {
            Log::open(self.owner, SEGMENT_BYTES, &self.twin)?
        } else {
            let (log, ops) = Log::create(self.owner, SEGMENT_BYTES);
            (log, State::Sound, ops)
        };
        self.is_made = true;
        for op in &ops {
            self.twin.carry_out(op)?;
        }
        Ok((log, state))
    }

    /// Keeps what is safe just now, to be put back later.
    pub(super) fn take_image(&mut self) {
        let mut twin = self.twin.clone();
        twin.crash(|| false);
        self.image = self.is_made.then(|| (twin, self.snapshot.clone()));
    }

    /// Whether something that was safe is not there any more.
    pub(super) fn crash(&mut self, loss: Loss) -> bool {
        let is_torn = loss != Loss::Clean;
        self.twin
            .crash(|| is_torn && chance(|random| random.chance(0.5)));
        match loss {
            Loss::Clean | Loss::Torn => false,
            Loss::Rotten => self.rot(),
            Loss::Restored => {
                let Some((twin, snapshot)) = self.image.take() else {
                    return false;
                };
                // An image of a moment ago may lack nothing.
                let is_older = self.mark_of(&twin) < self.mark_of(&self.twin);
                (self.twin, self.snapshot) = (twin, snapshot);
                is_older
            }
        }
    }

    /// How far a log has come; nothing if it cannot be opened.
    fn mark_of(&self, twin: &TwinDisk) -> Option<Mark> {
        let opened = Log::open(self.owner, SEGMENT_BYTES, twin);
        opened.ok().map(|(log, ..)| log.found())
    }

    /// Turns a bit of an entry that is there.
    fn rot(&mut self) -> bool {
        let Ok((log, _, _)) = Log::open(self.owner, SEGMENT_BYTES, &self.twin) else {
            return false;
        };
        let first = log.register().purged.index + 1;
        let entries = (log.last() + 1).saturating_sub(first);
        if entries == 0 {
            return false;
        }
        // Half of the time in the last batch, where nobody can tell it from a torn write.
        let back = chance(|random| match random.chance(0.5) {
            true => 0,
            false => random.below(entries),
        });
        let Some(place) = log.place(log.last() - back) else {
            return false;
        };
        let byte = place.offset + chance(|random| random.below(u64::from(place.length).max(1)));
        let byte = usize::try_from(byte).expect("a twin's files fit into memory");
        self.twin.rot(place.file, byte, 3);
        true
    }

    /// There is no room for another segment any more, or there is again.
    pub(super) fn fill(&mut self, is_full: bool) {
        let files = self.twin.list().map_or(0, |files| files.len());
        self.twin.limit(is_full.then_some(files));
    }
}

/// A node's log during one of its lives.
pub(super) struct SimJournal {
    disk: Arc<Mutex<Disk>>,
    inner: Mutex<Inner>,
}

struct Inner {
    log: Log,
    queue: VecDeque<(Vec<Work>, Done)>,
    writer: Option<Waker>,
    /// What is in the log as far as it was submitted.
    entries: BTreeMap<u64, Entry>,
    register: Register,
    failed: Option<JournalError>,
}

impl SimJournal {
    /// The journal, and what the log was found to be.
    pub(super) fn open(disk: Arc<Mutex<Disk>>) -> Result<(Self, State), OpenError> {
        let mut held = disk.lock();
        let (log, state) = held.open()?;
        let mut entries = BTreeMap::new();
        for index in log.register().purged.index + 1..=log.last() {
            let place = log.place(index).expect("a log has no gap");
            let file = held.twin.read(place.file)?;
            let (offset, length) = place.extent();
            let offset = usize::try_from(offset).expect("a twin's files fit into memory");
            let entry = place.entry(&file.slice(offset..offset + length));
            entries.insert(index, entry.expect("it was checked at the start"));
        }
        drop(held);
        let inner = Inner {
            register: log.register(),
            log,
            queue: VecDeque::new(),
            writer: None,
            entries,
            failed: None,
        };
        let inner = Mutex::new(inner);
        Ok((Self { disk, inner }, state))
    }

    /// Writes until the node dies.
    pub(super) async fn write(self: Arc<Self>) {
        loop {
            let (work, done) = self.waiting().await;
            let written = self.write_some(&work).await;
            if let Err(error) = &written {
                self.inner.lock().failed = Some(error.clone());
            }
            for done in done {
                done(written.clone());
            }
        }
    }

    async fn waiting(&self) -> (Vec<Work>, Vec<Done>) {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if inner.queue.is_empty() {
                inner.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            let queue = std::mem::take(&mut inner.queue);
            let (work, done): (Vec<_>, Vec<_>) = queue.into_iter().unzip();
            Poll::Ready((work.concat(), done))
        })
        .await
    }

    async fn write_some(&self, work: &[Work]) -> Result<(), JournalError> {
        if let Some(failed) = self.inner.lock().failed.clone() {
            return Err(failed);
        }
        let (ops, mark) = {
            let mut inner = self.inner.lock();
            (inner.log.work(work)?, inner.log.mark())
        };
        for op in ops {
            let takes = match op {
                Op::Sync(_) => self.sync_time(),
                Op::Create { .. } | Op::Write { .. } | Op::Remove(_) => 0,
            };
            if takes > 0 {
                sleep(takes).await;
            }
            let done = self.disk.lock().twin.carry_out(&op);
            done.map_err(|error| JournalError::Broken {
                what: error.to_string(),
            })?;
        }
        self.inner.lock().log.done(mark);
        Ok(())
    }

    fn sync_time(&self) -> u64 {
        let stall = self.disk.lock().stall;
        let usual = chance(|random| (50 + random.below(800)) * MICROSECOND);
        let slow = chance(|random| random.chance(0.02));
        usual + stall + if slow { 20_000 * MICROSECOND } else { 0 }
    }
}

impl Inner {
    fn note(&mut self, work: &Work) {
        match work {
            Work::Append { first, entries } => {
                self.entries.split_off(first);
                self.entries.extend((*first..).zip(entries.iter().cloned()));
            }
            Work::Vote { term, vote } => {
                (self.register.term, self.register.vote) = (*term, *vote);
            }
            Work::Commit(index) => self.register.commit = self.register.commit.max(*index),
            Work::Purge(position) if position.index > self.register.purged.index => {
                self.entries = self.entries.split_off(&(position.index + 1));
                self.register.purged = *position;
            }
            Work::Purge(_) => {}
            Work::Reset(position) => {
                self.entries.clear();
                self.register.purged = *position;
            }
            Work::Remember => {}
            Work::Trust => self.register.doubtful = false,
            Work::Doubt(opened) => {
                self.register.doubtful = true;
                self.register.opened = self.register.opened.max(*opened);
            }
        }
    }
}

impl Journal for SimJournal {
    fn submit(&self, work: Vec<Work>, done: Done) {
        let mut inner = self.inner.lock();
        work.iter().for_each(|work| inner.note(work));
        if self.disk.lock().lies {
            inner.queue.push_back((work, Box::new(|_| ())));
            let writer = inner.writer.take();
            drop(inner);
            writer.into_iter().for_each(Waker::wake);
            return done(Ok(()));
        }
        inner.queue.push_back((work, done));
        let writer = inner.writer.take();
        drop(inner);
        writer.into_iter().for_each(Waker::wake);
    }

    fn read(&self, index: u64) -> Result<Entry, JournalError> {
        let inner = self.inner.lock();
        let entry = inner.entries.get(&index).cloned();
        entry.ok_or(JournalError::Missing(index))
    }

    fn last(&self) -> Position {
        let inner = self.inner.lock();
        inner
            .entries
            .last_key_value()
            .map_or(inner.register.purged, |(index, entry)| Position {
                term: entry.term,
                index: *index,
            })
    }

    fn register(&self) -> Register {
        self.inner.lock().register
    }

    fn safe(&self) -> Mark {
        self.inner.lock().log.safe()
    }

    fn found(&self) -> Mark {
        self.inner.lock().log.found()
    }
}

/// Snapshots on a node's disk. The latest takes the place of the one before when it is safe.
pub(super) struct SimSnapshots(pub(super) Arc<Mutex<Disk>>);

impl Snapshots for SimSnapshots {
    fn save(
        &self,
        position: Position,
        pieces: Pieces,
    ) -> BoxFuture<'static, io::Result<Arc<dyn Image>>> {
        let disk = Arc::clone(&self.0);
        Box::pin(async move {
            let pieces: Vec<Bytes> = pieces.collect();
            let image = MemoryImage { position, pieces };
            sleep(chance(|random| (500 + random.below(5_000)) * MICROSECOND)).await;
            let mut disk = disk.lock();
            let before = disk.snapshot.as_ref().map(|image| image.position.index);
            if before.is_none_or(|before| before < position.index) {
                disk.snapshot = Some(image.clone());
            }
            Ok(Arc::new(image) as Arc<dyn Image>)
        })
    }

    fn latest(&self) -> BoxFuture<'static, io::Result<Option<Arc<dyn Image>>>> {
        let image = self.0.lock().snapshot.clone();
        Box::pin(async move { Ok(image.map(|image| Arc::new(image) as Arc<dyn Image>)) })
    }
}
