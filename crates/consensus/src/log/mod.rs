//! The durable log: entries in order, and the little that has to be remembered beside them, safe from crashes.
//!
//! [`Log`] decides what to write where and what files that are found mean; it touches none. Whoever has the files carries out its
//! [`Op`]s one after the other and stops for good when one fails: after an error of a sync nobody knows what is on the disk.
//!
//! - **Segments** are files of one size, filled with zeros or old segments used again, so that a write changes no file's length. Each
//!   has a generation that rises.
//! - **Batches** are what is written at once: all entries that were waiting. One sync makes them safe, however many they are. A batch
//!   says which batches were safe before it.
//! - **The register** holds term, vote and what follows, in two slots: a crash can harm one of them only.
//!
//! What a start finds ([`State`]):
//!
//! | found | what follows |
//! | --- | --- |
//! | zeros behind a good batch | a clean end |
//! | a bad batch, nothing known behind it | torn by a crash, or rotten after it was acknowledged; nobody can tell, so the node is *doubtful* |
//! | a bad batch that another one, or the register, knows to have been safe | rotten: entries are lost, the node is *doubtful* |
//! | no register, or none that can be read | nothing is known about votes: the log is not opened |
//!
//! A doubtful node may have acknowledged what it no longer has. It neither votes nor stands until a leader has brought it up to date
//! ([`Work::Trust`]). Doubt is written down before anything else, so no second crash forgets it.
//!
//! Every start goes on in a new segment, which says where the one before ended: bytes of a write that a crash tore can never come back
//! to life behind something new.
//!
//! Deliberately not here: files, threads and time (`journal`), what entries mean, and when to trust again.

mod format;
mod twin;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;

use bytes::Bytes;

pub use format::{Ballot, LogId, Owner, Position, Register, VoterId};
pub use twin::TwinDisk;

use self::format::{
    BLOCK, BatchHeader, ENTRY_HEADER, End, SegmentHeader, Wrong, batch_size, log_of_register,
    put_entry, take_entry,
};

/// Bytes of a segment, unless settings say otherwise.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// The most bytes of one entry.
pub const ENTRY_BYTES: usize = 2 << 20;
/// The least a segment may have: one entry of the largest size with everything around it.
const SEGMENT_LEAST: u64 = 64 << 10;
/// Segments kept for being used again.
const SPARES: usize = 2;

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
    /// So many entries are decided. Only remembered with the next that has to be.
    Commit(u64),
    /// Entries up to here are in a snapshot, and not needed any more.
    Purge(Position),
    /// A snapshot replaces everything there is.
    Reset(Position),
    /// A leader has brought this node up to date: it may vote again.
    Trust,
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

/// A segment that a start finds.
#[derive(Debug, Clone, Copy)]
struct Found {
    file: u32,
    header: SegmentHeader,
    /// It has all of its bytes, and as many as new ones have.
    is_reusable: bool,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    generation: u64,
    file: u32,
    /// Where the next batch goes.
    end: u64,
    /// It has the size that new ones have, so it can be used again.
    is_reusable: bool,
}

/// The log as far as it is written.
#[derive(Debug)]
pub struct Log {
    owner: Owner,
    segment_bytes: u64,
    register: Register,
    /// Writes of the register so far.
    written_register: u64,
    /// Those with entries, oldest first; the last takes the next batch, if it is open.
    segments: VecDeque<Segment>,
    is_open: bool,
    spares: Vec<u32>,
    /// Found at the start, and of no use.
    useless: Vec<u32>,
    next_file: u32,
    highest_generation: u64,
    /// Of the entries behind what is purged.
    places: VecDeque<Place>,
    /// Batches written, and those of them that were safe before the work in progress.
    written: u64,
    synced: u64,
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
            segments: VecDeque::new(),
            is_open: false,
            spares: Vec::new(),
            useless: Vec::new(),
            next_file: 0,
            highest_generation: 0,
            places: VecDeque::new(),
            written: 0,
            synced: 0,
            loose: None,
        }
    }

    /// Which log lives in these files, if one does that can be read.
    ///
    /// # Errors
    /// When the directory or the register cannot be read.
    pub fn identify(files: &impl Files) -> Result<Option<LogId>, OpenError> {
        let listed = files.list()?;
        if listed.is_empty() {
            return Ok(None);
        }
        if !listed.contains(&File::Register) {
            return Err(OpenError::NoRegister {
                what: "there are segments, and no register".to_owned(),
            });
        }
        let bytes = files.read(File::Register)?;
        let slots = [bytes.get(..BLOCK), bytes.get(BLOCK..)];
        let found = slots.into_iter().flatten().find_map(log_of_register);
        match found {
            Some(id) => Ok(Some(id)),
            // Made, and crashed before anything was written: nothing was acknowledged.
            None if bytes.iter().all(|byte| *byte == 0) && listed.len() == 1 => Ok(None),
            None => Err(OpenError::NoRegister {
                what: "it is none".to_owned(),
            }),
        }
    }

    /// The log in these files, what state it is in, and the operations that come first.
    ///
    /// # Errors
    /// When it is not known how the node voted, or the log is not this node's.
    pub fn open(
        owner: Owner,
        segment_bytes: u64,
        files: &impl Files,
    ) -> Result<(Self, State, Vec<Op>), OpenError> {
        let mut log = Self::empty(owner, segment_bytes);
        log.read_register(files)?;
        let finding = log.scan(files)?;
        log.register.opened += 1;
        let was_doubtful = log.register.doubtful;
        log.register.doubtful |= finding.is_some();
        log.synced = log.written;
        let mut ops = Vec::new();
        if finding.is_some() {
            // What is wrong stands behind the end of what counts from here on, and is not found again.
            log.open_segment(&mut ops);
        } else {
            log.put_register(&mut ops);
        }
        log.put_removals(&mut ops);
        let state = if was_doubtful || finding.is_some() {
            State::Doubtful { finding }
        } else {
            State::Sound
        };
        Ok((log, state, ops))
    }

    fn read_register(&mut self, files: &impl Files) -> Result<(), OpenError> {
        let bytes = files.read(File::Register)?;
        let slots = [bytes.get(..BLOCK), bytes.get(BLOCK..)];
        let mut wrong = None;
        for slot in slots.into_iter().flatten() {
            match Register::decode(slot, &self.owner) {
                Ok((sequence, register)) if sequence > self.written_register => {
                    (self.written_register, self.register) = (sequence, register);
                }
                Ok(_) => {}
                Err(Wrong::Version(found)) => {
                    return Err(OpenError::TooNew {
                        found,
                        known: format::VERSION,
                    });
                }
                Err(other @ (Wrong::Blank | Wrong::Checksum | Wrong::Owner)) => wrong = Some(other),
            }
        }
        match wrong {
            _ if self.written_register > 0 => Ok(()),
            Some(Wrong::Owner) => Err(OpenError::NotOurs),
            Some(wrong) => Err(OpenError::NoRegister {
                what: wrong.to_string(),
            }),
            None => Err(OpenError::NoRegister {
                what: "it is cut".to_owned(),
            }),
        }
    }

    /// Reads all segments that count and enters what stands in them.
    fn scan(&mut self, files: &impl Files) -> Result<Option<Finding>, OpenError> {
        let mut headers: BTreeMap<u64, Found> = BTreeMap::new();
        let mut rotten = None;
        for file in files.list()? {
            let File::Segment(number) = file else {
                continue;
            };
            self.next_file = self.next_file.max(number + 1);
            let header = files
                .read(file)
                .map_err(|error| error.to_string())
                .and_then(|bytes| {
                    let header = SegmentHeader::decode(&bytes, &self.owner);
                    header
                        .map(|header| (header, bytes.len()))
                        .map_err(|wrong| wrong.to_string())
                });
            match header {
                Ok((header, length)) => {
                    self.highest_generation = self.highest_generation.max(header.generation);
                    let found = Found {
                        file: number,
                        header,
                        is_reusable: length as u64 == header.size
                            && header.size == self.segment_bytes,
                    };
                    headers.insert(header.generation, found);
                }
                Err(what) => {
                    rotten = Some((file, what));
                    self.useless.push(number);
                }
            }
        }
        self.highest_generation = self.highest_generation.max(self.register.newest);
        let (oldest, newest) = (self.register.oldest, self.register.newest);
        // Those outside are left from before, or were made ready and not used.
        let outside =
            headers.extract_if(.., |generation, _| !(oldest..=newest).contains(generation));
        let outside: Vec<Found> = outside.map(|(_, found)| found).collect();
        let finding = self.read_segments(files, &headers, rotten);
        // What is not read is behind something rotten, or was before somebody went on elsewhere.
        let read: Vec<u32> = self.segments.iter().map(|segment| segment.file).collect();
        let unread = headers
            .into_values()
            .filter(|found| !read.contains(&found.file));
        for found in outside.into_iter().chain(unread) {
            if found.is_reusable && self.spares.len() < SPARES {
                self.spares.push(found.file);
            } else {
                self.useless.push(found.file);
            }
        }
        self.free_segments();
        let missing = match self.loose.take() {
            Some(first) => Some(format!("entry {first} comes after {}", self.last())),
            None if self.last() < self.register.commit => Some(format!(
                "entries up to {} were decided, and the last one here is {}",
                self.register.commit,
                self.last()
            )),
            None => None,
        };
        let missing = missing.map(|what| Finding {
            file: File::Register,
            offset: 0,
            is_rot: true,
            what,
        });
        Ok(finding.or(missing))
    }

    fn read_segments(
        &mut self,
        files: &impl Files,
        headers: &BTreeMap<u64, Found>,
        rotten: Option<(File, String)>,
    ) -> Option<Finding> {
        if self.register.newest == 0 {
            return None;
        }
        let lost = |what: String, rotten: Option<(File, String)>| {
            let (file, header) =
                rotten.unwrap_or_else(|| (File::Register, "no file has it".to_owned()));
            Finding {
                file,
                offset: 0,
                is_rot: true,
                what: format!("{what}: {header}"),
            }
        };
        let mut generation = self.register.oldest;
        loop {
            let Some(found) = headers.get(&generation) else {
                return Some(lost(format!("segment {generation} is missing"), rotten));
            };
            // The newest that follows it: behind what was rotten, another one may have followed before.
            let mut followers = headers.values().rev().filter_map(|found| {
                let end = found.header.follows?;
                Some((found.header.generation, end))
            });
            let next = followers.find(|(_, end)| end.generation == generation);
            let until = next.map(|(_, end)| end.offset);
            let segment = Segment {
                generation,
                file: found.file,
                end: BLOCK as u64,
                is_reusable: found.is_reusable,
            };
            self.segments.push_back(segment);
            if self.written == 0 {
                self.written = found.header.first_batch.saturating_sub(1);
            }
            if let Some(finding) = self.read_segment(files, segment, found.header.size, until) {
                return Some(finding);
            }
            match next {
                Some((next, _)) => generation = next,
                None if generation == self.register.newest => return None,
                None => {
                    let what = format!("the segment behind {generation} is missing");
                    return Some(lost(what, rotten));
                }
            }
        }
    }

    /// Reads the batches of one segment, up to where the next one says it ends, or to the first that is none.
    fn read_segment(
        &mut self,
        files: &impl Files,
        segment: Segment,
        size: u64,
        until: Option<u64>,
    ) -> Option<Finding> {
        let file = File::Segment(segment.file);
        let finding = |offset: u64, is_rot: bool, what: String| Finding {
            file,
            offset,
            is_rot,
            what,
        };
        let bytes = match files.read(file) {
            Ok(bytes) => bytes,
            Err(error) => return Some(finding(0, true, error.to_string())),
        };
        let is_cut = bytes.len() as u64 != size;
        let mut offset = BLOCK as u64;
        loop {
            if until == Some(offset) {
                return None;
            }
            let at = usize::try_from(offset).expect("files are read whole");
            let rest = bytes.get(at..).unwrap_or_default();
            let taken = BatchHeader::take(self.owner.log, segment.generation, rest);
            let what = match taken {
                Ok((header, entries)) if header.number == self.written + 1 => {
                    match self.enter(file, offset, header, entries) {
                        Ok(()) => {
                            offset += batch_size(entries.len()) as u64;
                            self.segments.back_mut().expect("it is being read").end = offset;
                            continue;
                        }
                        Err(what) => what,
                    }
                }
                Ok((header, _)) => {
                    format!("batch {} instead of {}", header.number, self.written + 1)
                }
                Err(wrong) => wrong.to_string(),
            };
            if is_cut {
                let cut = format!("{what}; the file should have {size} bytes");
                return Some(finding(offset, true, cut));
            }
            let is_known = until.is_some() || self.is_known_behind(segment, rest);
            let is_blank = matches!(taken, Err(Wrong::Blank));
            return (is_known || !is_blank).then(|| finding(offset, is_known, what));
        }
    }

    /// Whether a batch further behind says that the next one was safe.
    fn is_known_behind(&self, segment: Segment, rest: &[u8]) -> bool {
        (8..rest.len().saturating_sub(format::BATCH_HEADER))
            .step_by(8)
            .any(|at| {
                // Cheap to reject: the generation stands at the end of a header.
                rest[at + 40..at + 48] == segment.generation.to_le_bytes()
                    && BatchHeader::take(self.owner.log, segment.generation, &rest[at..])
                        .is_ok_and(|(header, _)| header.synced > self.written)
            })
    }

    fn enter(
        &mut self,
        file: File,
        offset: u64,
        header: BatchHeader,
        mut entries: &[u8],
    ) -> Result<(), String> {
        if header.first == 0 {
            return Err("an entry of index 0".to_owned());
        }
        let mut at = offset + format::BATCH_HEADER as u64;
        let mut places = Vec::new();
        for _ in 0..header.entries {
            let (term, payload, rest) = take_entry(entries).ok_or("an entry is cut")?;
            places.push(Place {
                term,
                file,
                offset: at,
                length: u32::try_from(payload.len()).expect("as long as it says"),
            });
            at += (ENTRY_HEADER + payload.len()) as u64;
            entries = rest;
        }
        self.written = header.number;
        self.loose = (header.first > self.last() + 1).then_some(header.first);
        if self.loose.is_none() {
            self.put_places(header.first, places);
        }
        Ok(())
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

    /// The last batch there is. Who carries out operations later remembers it and says so to [`Log::done`].
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The operations of all work up to this batch were carried out: what they wrote is safe.
    pub fn done(&mut self, batch: u64) {
        self.synced = self.synced.max(batch);
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
            self.segment_bytes - (BLOCK + 2 * format::BATCH_HEADER + ENTRY_HEADER + 8) as u64;
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
        let needed = (batch_size(length) + format::BATCH_HEADER) as u64;
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
            synced: self.synced,
            first,
        };
        let mut written = Vec::with_capacity(batch_size(bytes.len()) + format::BATCH_HEADER);
        header.put(self.owner.log, segment.generation, &bytes, &mut written);
        let size = written.len() as u64;
        written.resize(written.len() + format::BATCH_HEADER, 0);
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
        let mut bytes = header.encode(&self.owner);
        // A file that is used again must not begin with an old batch.
        bytes.resize(BLOCK + format::BATCH_HEADER, 0);
        ops.push(Op::Write {
            file: File::Segment(file),
            offset: 0,
            bytes: bytes.into(),
        });
        ops.push(Op::Sync(File::Segment(file)));
        self.segments.push_back(Segment {
            generation,
            file,
            end: BLOCK as u64,
            is_reusable: true,
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
            self.free(segment);
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
            self.free(segment);
        }
        if let Some(segment) = self.segments.front() {
            self.register.oldest = segment.generation;
        }
    }

    fn free(&mut self, segment: Segment) {
        if segment.is_reusable && self.spares.len() < SPARES {
            self.spares.push(segment.file);
        } else {
            self.useless.push(segment.file);
        }
    }

    fn put_removals(&mut self, ops: &mut Vec<Op>) {
        let useless = self.useless.drain(..);
        ops.extend(useless.map(|file| Op::Remove(File::Segment(file))));
    }

    /// Writes the register into both slots, one after the other, so that one of them is always whole.
    fn put_register(&mut self, ops: &mut Vec<Op>) {
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
