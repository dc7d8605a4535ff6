//! The durable log: entries in order, and the little that has to be remembered beside them, safe from crashes.
//!
//! [`Log`] decides what to write where and what files that are found mean; it touches none. Whoever has the files carries out its
//! [`Op`]s one after the other and stops for good when one fails: after an error of a sync nobody knows what is on the disk.
//!
//! - **Segments** are files of one size, filled with zeros, so that a write changes no file's length and a sector that was never
//!   written is known when it is seen. Each has a generation that rises, and none is ever used again.
//! - **Batches** are what is written at once: all entries that were waiting. One sync makes them safe, however many they are. A batch
//!   says which batches were safe before it.
//! - **The register** holds term, vote and what follows, in two slots: a crash can harm one of them only.
//!
//! What a start makes of what it finds is told in `recovery`: a clean end, a write that a crash tore, or a log that is *doubtful*.
//!
//! A doubtful node may have acknowledged what it no longer has. It neither votes nor stands until a leader has brought it up to date
//! ([`Work::Trust`]). Doubt is written down before anything else, so no second crash forgets it.
//!
//! A start goes on where the log ended if nothing but zeros stands behind, and otherwise in a new segment, which says where the one before
//! ended: bytes of a write that a crash tore can never come back to life behind something new.
//!
//! - `format`: the bytes. `recovery`: what a start makes of files. `twin`: a disk in memory.
//!
//! Deliberately not here: files, threads and time (`journal`), what entries mean, and when to trust again.

mod format;
mod recovery;
mod twin;

use std::collections::VecDeque;
use std::fmt;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use format::{Ballot, LogId, Owner, Position, Register, VoterId};
pub use twin::TwinDisk;

use self::format::{
    ALIGNMENT, BLOCK, BatchHeader, ENTRY_HEADER, End, SegmentHeader, batch_size, put_entry,
    take_entry,
};

/// Bytes of a segment, unless settings say otherwise.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// The most bytes of one entry.
pub const ENTRY_BYTES: usize = 2 << 20;
/// What of a file says what it is.
pub const HEAD_BYTES: usize = BLOCK;
/// The least a segment may have: one entry of the largest size with everything around it.
const SEGMENT_LEAST: u64 = 64 << 10;

/// A file of the log, in the log's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// The register: two blocks.
    Register,
    /// A segment.
    Segment(u32),
}

/// What is to be done to files, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new file of so many zeros, itself and its name safe.
    Create {
        /// Which.
        file: File,
        /// Its size for ever.
        size: u64,
    },
    /// Bytes within a file.
    Write {
        /// Which.
        file: File,
        /// From where on.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Everything written to it is safe when this is done.
    Sync(File),
    /// It is gone, sooner or later.
    Remove(File),
}

/// Where files are found at a start.
pub trait Files {
    /// Those there are.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<File>>;

    /// The first [`HEAD_BYTES`] of a file, or all there is of them.
    ///
    /// # Errors
    /// When it cannot be read. Such a file counts as rotten.
    fn head(&self, file: File) -> io::Result<Bytes>;

    /// A whole file.
    ///
    /// # Errors
    /// When it cannot be read. Such a file counts as rotten.
    fn read(&self, file: File) -> io::Result<Bytes>;
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: u64,
    /// What it says.
    pub payload: Bytes,
}

/// What is asked of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Entries from this index on; what stands there or behind now does not count any more.
    Append {
        /// The index of the first; at most one behind the last there is.
        first: u64,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Term and vote.
    Vote {
        /// The highest term heard of.
        term: u64,
        /// How this node votes in it.
        vote: Option<Ballot>,
    },
    /// So many entries are decided. Only remembered with the next that has to be, or when it is asked for.
    Commit(u64),
    /// What is known to be decided is written down, if it is more than what was.
    Remember,
    /// Entries up to here are in a snapshot, and not needed any more.
    Purge(Position),
    /// A snapshot replaces everything there is.
    Reset(Position),
    /// A leader has brought this node up to date: it may vote again.
    Trust,
    /// Others know more of this log than is in it, and its start counts at least so much: it may have been put back to an earlier day.
    Doubt(u64),
}

/// How far a log has come. What it told others once it never falls behind, unless somebody puts an older log in its place: every start
/// counts, and within one both numbers only rise.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Mark {
    /// How often the log was opened.
    pub opened: u64,
    /// The highest term it has heard of.
    pub term: u64,
    /// The number of its last batch.
    pub batch: u64,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry's term.
    pub term: u64,
    /// Its file.
    pub file: File,
    /// Where in it.
    pub offset: u64,
    /// How long its payload is.
    pub length: u32,
}

/// What a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything that was acknowledged is there.
    Sound,
    /// It may be that something is missing.
    Doubtful {
        /// What was found, for people; nothing if the doubt is of an earlier start.
        finding: Option<Finding>,
    },
}

/// What is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which file.
    pub file: File,
    /// Where in it.
    pub offset: u64,
    /// Whether what stood there was safe before, so that this is no trace of a crash.
    pub is_rot: bool,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, offset, what, ..
        } = self;
        let kind = if self.is_rot {
            "what was safe on the disk is not there any more"
        } else {
            "the last write is torn, or rotten"
        };
        write!(f, "{file} at byte {offset}: {what}; {kind}")
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register => f.write_str("register"),
            Self::Segment(number) => write!(f, "{number:08}.segment"),
        }
    }
}

/// Why a log is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be read.
    #[error("read the log's directory: {0}")]
    Unreadable(#[from] io::Error),
    /// Nothing is known about votes.
    #[error(
        "the log's register cannot be read ({what}), so it is not known how this node voted; move the log away, and the node \
         joins again with a new one"
    )]
    NoRegister {
        /// Why not.
        what: String,
    },
    /// It belongs to somebody else.
    #[error("the log belongs to another cluster or node; check the data directory")]
    NotOurs,
    /// A newer program wrote it.
    #[error(
        "the log was written by a newer program (format {found}, this one reads up to {known}); use that one"
    )]
    TooNew {
        /// Its format.
        found: u16,
        /// What this program knows.
        known: u16,
    },
}

/// Why work cannot be done. The engine has made a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// There would be a gap.
    #[error("entries from {first} on cannot follow {last}")]
    Gap {
        /// What was to be appended.
        first: u64,
        /// The last there is.
        last: u64,
    },
    /// A snapshot replaces it.
    #[error("entry {first} is in a snapshot up to {purged}")]
    Purged {
        /// What was to be appended.
        first: u64,
        /// What is purged.
        purged: u64,
    },
    /// It does not fit into a segment.
    #[error("an entry has at most {limit} bytes, and this one {found}")]
    TooLarge {
        /// What it has.
        found: u64,
        /// What it may have.
        limit: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    generation: u64,
    file: u32,
    /// Where the next batch goes.
    end: u64,
}

/// The log as far as it is written.
#[derive(Debug)]
pub struct Log {
    owner: Owner,
    segment_bytes: u64,
    register: Register,
    /// Writes of the register so far.
    written_register: u64,
    /// The last entry that is written down as decided.
    remembered: u64,
    /// Those with entries, oldest first; the last takes the next batch, if it is open.
    segments: VecDeque<Segment>,
    is_open: bool,
    /// Files of zeros that are ready.
    spares: Vec<u32>,
    /// Nothing in them counts any more; they go when the register says so.
    useless: Vec<u32>,
    next_file: u32,
    highest_generation: u64,
    /// Of the entries behind what is purged.
    places: VecDeque<Place>,
    /// Batches written.
    written: u64,
    /// What was safe before the work in progress.
    safe: Mark,
    /// What the start found.
    found: Mark,
    /// While segments are read: the last entries follow none that is there. It is so when what they followed was cut, and what was
    /// written instead is still to come.
    loose: Option<u64>,
}

impl Log {
    /// A new log. Its operations come first.
    #[must_use]
    pub fn create(owner: Owner, segment_bytes: u64) -> (Self, Vec<Op>) {
        let mut log = Self::empty(owner, segment_bytes);
        log.register.opened = 1;
        log.safe = log.mark();
        let mut ops = vec![Op::Create {
            file: File::Register,
            size: 2 * BLOCK as u64,
        }];
        log.put_register(&mut ops);
        (log, ops)
    }

    fn empty(owner: Owner, segment_bytes: u64) -> Self {
        Self {
            owner,
            segment_bytes: segment_bytes.max(SEGMENT_LEAST),
            register: Register::default(),
            written_register: 0,
            remembered: 0,
            segments: VecDeque::new(),
            is_open: false,
            spares: Vec::new(),
            useless: Vec::new(),
            next_file: 0,
            highest_generation: 0,
            places: VecDeque::new(),
            written: 0,
            safe: Mark::default(),
            found: Mark::default(),
            loose: None,
        }
    }

    /// Enters entries in the place of all from `first` on.
    fn put_places(&mut self, first: u64, places: Vec<Place>) {
        let base = self.base();
        // While segments are read, entries may come that are purged since.
        let known = first.saturating_sub(base + 1);
        self.places
            .truncate(usize::try_from(known).unwrap_or(usize::MAX));
        let is_purged = |number: usize| first + number as u64 <= base;
        let kept = places
            .into_iter()
            .enumerate()
            .filter(|(number, _)| !is_purged(*number));
        self.places.extend(kept.map(|(_, place)| place));
    }

    /// The index before the first place.
    fn base(&self) -> u64 {
        self.register.purged.index
    }

    /// Does work. The operations are to be carried out in order; [`Log::done`] is to be told when they are.
    ///
    /// # Errors
    /// When the work makes no sense; nothing was changed by that piece of work.
    pub fn work(&mut self, work: &[Work]) -> Result<Vec<Op>, WorkError> {
        let mut ops = Vec::new();
        let mut has_register_changed = false;
        let mut dirty = None;
        for work in work {
            match work {
                Work::Append { first, entries } => {
                    self.append(*first, entries, &mut dirty, &mut ops)?;
                }
                Work::Vote { term, vote } => {
                    let new = Register {
                        term: *term,
                        vote: *vote,
                        ..self.register
                    };
                    has_register_changed |= new != self.register;
                    self.register = new;
                }
                Work::Commit(index) => {
                    self.register.commit = self.register.commit.max(*index);
                }
                Work::Remember => {
                    has_register_changed |= self.register.commit > self.remembered;
                }
                Work::Purge(position) => {
                    has_register_changed |= self.purge(*position);
                }
                Work::Reset(position) => {
                    self.reset(*position, &mut ops);
                    dirty = None;
                    has_register_changed = false;
                }
                Work::Trust => {
                    has_register_changed |= std::mem::take(&mut self.register.doubtful);
                }
                Work::Doubt(opened) => {
                    self.register.doubtful = true;
                    self.register.opened = self.register.opened.max(*opened);
                    has_register_changed = true;
                }
            }
        }
        ops.extend(dirty.map(Op::Sync));
        if has_register_changed {
            self.free_segments();
            self.put_register(&mut ops);
            self.put_removals(&mut ops);
        }
        Ok(ops)
    }

    /// How far work has come. Who carries out operations later remembers it and says so to [`Log::done`].
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            opened: self.register.opened,
            term: self.register.term,
            batch: self.written,
        }
    }

    /// The operations of all work up to this mark were carried out: what they wrote is safe.
    pub fn done(&mut self, mark: Mark) {
        self.safe = self.safe.max(mark);
    }

    /// How far the log has come for sure.
    #[must_use]
    pub fn safe(&self) -> Mark {
        self.safe
    }

    /// How far it had come when it was opened; zeros for a new one.
    #[must_use]
    pub fn found(&self) -> Mark {
        self.found
    }

    fn append(
        &mut self,
        first: u64,
        entries: &[Entry],
        dirty: &mut Option<File>,
        ops: &mut Vec<Op>,
    ) -> Result<(), WorkError> {
        let last = self.last();
        if first > last + 1 {
            return Err(WorkError::Gap { first, last });
        }
        if first <= self.base() {
            return Err(WorkError::Purged {
                first,
                purged: self.base(),
            });
        }
        let room =
            self.segment_bytes - (BLOCK + format::BATCH_HEADER + ENTRY_HEADER + ALIGNMENT) as u64;
        let limit = room.min(ENTRY_BYTES as u64);
        if let Some(entry) = entries
            .iter()
            .find(|entry| entry.payload.len() as u64 > limit)
        {
            return Err(WorkError::TooLarge {
                found: entry.payload.len() as u64,
                limit,
            });
        }
        let mut next = first;
        let mut rest = entries;
        while !rest.is_empty() {
            let batch = self.put_batch(next, rest, room, dirty, ops);
            next += batch as u64;
            rest = &rest[batch..];
        }
        if entries.is_empty() && first <= last {
            // Nothing but a cut: a batch without entries says so.
            self.put_batch(first, &[], room, dirty, ops);
        }
        Ok(())
    }

    /// Writes as many entries as fit into one batch, and gives back how many.
    fn put_batch(
        &mut self,
        first: u64,
        entries: &[Entry],
        room: u64,
        dirty: &mut Option<File>,
        ops: &mut Vec<Op>,
    ) -> usize {
        let size = |entry: &Entry| (ENTRY_HEADER + entry.payload.len()) as u64;
        let mut length = 0;
        let mut count = 0;
        for entry in entries {
            if length + size(entry) > room {
                break;
            }
            length += size(entry);
            count += 1;
        }
        let length = usize::try_from(length).expect("it fits into a segment");
        let end = self.segments.back().map_or(0, |segment| segment.end);
        let needed = batch_size(length) as u64;
        if !self.is_open || end + needed > self.segment_bytes {
            ops.extend(dirty.take().map(Op::Sync));
            self.open_segment(ops);
        }
        let segment = *self.segments.back().expect("one is open");
        let file = File::Segment(segment.file);
        let mut bytes = Vec::with_capacity(length);
        let mut places = Vec::with_capacity(count);
        for entry in &entries[..count] {
            let offset = segment.end + (format::BATCH_HEADER + bytes.len()) as u64;
            put_entry(entry.term, &entry.payload, &mut bytes);
            places.push(Place {
                term: entry.term,
                file,
                offset,
                length: u32::try_from(entry.payload.len()).expect("checked before"),
            });
        }
        self.written += 1;
        let header = BatchHeader {
            length: u32::try_from(bytes.len()).expect("it fits into a segment"),
            entries: u32::try_from(count).expect("entries have bytes"),
            number: self.written,
            synced: self.safe.batch,
            first,
        };
        let mut written = Vec::with_capacity(batch_size(bytes.len()));
        header.put(
            self.owner.log,
            segment.generation,
            segment.end,
            &bytes,
            &mut written,
        );
        let size = written.len() as u64;
        ops.push(Op::Write {
            file,
            offset: segment.end,
            bytes: written.into(),
        });
        *dirty = Some(file);
        self.segments.back_mut().expect("one is open").end += size;
        self.put_places(first, places);
        count
    }

    /// A new segment behind all others. It counts when the register says so.
    fn open_segment(&mut self, ops: &mut Vec<Op>) {
        let file = self.spares.pop().unwrap_or_else(|| {
            let file = self.next_file;
            self.next_file += 1;
            ops.push(Op::Create {
                file: File::Segment(file),
                size: self.segment_bytes,
            });
            file
        });
        self.highest_generation += 1;
        let generation = self.highest_generation;
        let before = self.segments.back().map(|segment| End {
            generation: segment.generation,
            offset: segment.end,
        });
        let header = SegmentHeader {
            generation,
            follows: before,
            first_batch: self.written + 1,
            size: self.segment_bytes,
        };
        ops.push(Op::Write {
            file: File::Segment(file),
            offset: 0,
            bytes: header.encode(&self.owner).into(),
        });
        ops.push(Op::Sync(File::Segment(file)));
        self.segments.push_back(Segment {
            generation,
            file,
            end: BLOCK as u64,
        });
        self.is_open = true;
        self.register.newest = generation;
        if self.register.oldest == 0 {
            self.register.oldest = generation;
        }
        self.put_register(ops);
    }

    fn purge(&mut self, position: Position) -> bool {
        let Some(purged) = position.index.checked_sub(self.base()).filter(|n| *n > 0) else {
            return false;
        };
        let purged = usize::try_from(purged)
            .unwrap_or(usize::MAX)
            .min(self.places.len());
        self.places.drain(..purged);
        self.register.purged = position;
        true
    }

    fn reset(&mut self, position: Position, ops: &mut Vec<Op>) {
        self.places.clear();
        self.register.purged = position;
        self.register.commit = self.register.commit.max(position.index);
        let old: Vec<Segment> = self.segments.drain(..).collect();
        self.register.oldest = 0;
        self.open_segment(ops);
        for segment in old {
            self.useless.push(segment.file);
        }
        self.put_removals(ops);
    }

    /// Lets go of segments without entries that count; the operations come after the register is safe.
    fn free_segments(&mut self) {
        let first = self.places.front().map(|place| place.file);
        while self.segments.len() > 1
            && let Some(segment) = self.segments.front().copied()
            && first != Some(File::Segment(segment.file))
        {
            self.segments.pop_front();
            self.useless.push(segment.file);
        }
        if let Some(segment) = self.segments.front() {
            self.register.oldest = segment.generation;
        }
    }

    fn put_removals(&mut self, ops: &mut Vec<Op>) {
        let useless = self.useless.drain(..);
        ops.extend(useless.map(|file| Op::Remove(File::Segment(file))));
    }

    /// Writes the register into both slots, one after the other, so that one of them is always whole.
    fn put_register(&mut self, ops: &mut Vec<Op>) {
        self.remembered = self.register.commit;
        for _ in 0..2 {
            self.written_register += 1;
            let bytes = self.register.encode(&self.owner, self.written_register);
            ops.push(Op::Write {
                file: File::Register,
                offset: (self.written_register % 2) * BLOCK as u64,
                bytes: bytes.into(),
            });
            ops.push(Op::Sync(File::Register));
        }
    }

    /// The index of the last entry; of the snapshot's if there is none behind it.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.base() + self.places.len() as u64
    }

    /// The position of the last entry.
    #[must_use]
    pub fn last_position(&self) -> Position {
        let term = self
            .places
            .back()
            .map_or(self.register.purged.term, |place| place.term);
        Position {
            term,
            index: self.last(),
        }
    }

    /// Where an entry stands; nothing if it is purged or not there.
    #[must_use]
    pub fn place(&self, index: u64) -> Option<Place> {
        let at = index.checked_sub(self.base() + 1)?;
        self.places.get(usize::try_from(at).ok()?).copied()
    }

    /// What is remembered outside of entries.
    #[must_use]
    pub fn register(&self) -> Register {
        self.register
    }

    /// Whose log it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// A file to be made ready before it is needed, so that no write waits for zeros.
    #[must_use]
    pub fn wants_spare(&mut self) -> Option<Op> {
        if !self.spares.is_empty() {
            return None;
        }
        let file = File::Segment(self.next_file);
        self.next_file += 1;
        Some(Op::Create {
            file,
            size: self.segment_bytes,
        })
    }

    /// A file that was wanted is there.
    pub fn has_spare(&mut self, file: File) {
        if let File::Segment(number) = file {
            self.spares.push(number);
        }
    }
}

impl Place {
    /// What to read of the file: from where, and how much.
    #[must_use]
    pub fn extent(&self) -> (u64, usize) {
        (self.offset, ENTRY_HEADER + self.length as usize)
    }

    /// The entry in what was read; nothing if it is rotten.
    #[must_use]
    pub fn entry(&self, read: &Bytes) -> Option<Entry> {
        let (term, payload, _) = take_entry(read)?;
        let is_it = term == self.term && payload.len() == self.length as usize;
        is_it.then(|| Entry {
            term,
            payload: read.slice(ENTRY_HEADER..ENTRY_HEADER + payload.len()),
        })
    }
}
