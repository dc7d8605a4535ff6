//! The whole state as bytes, in chunks that can be sent and checked one by one, and back.
//!
//! The first chunk says how much follows, so a snapshot that ends early is noticed. Each kind of record comes in order, and the kinds do,
//! so one that is mixed up is noticed, too. Chunks of one state are the same bytes on every node.
//!
//! Deliberately not here: files, checksums, compression and which entry of the log a snapshot replaces. Whoever keeps and sends
//! chunks adds those.

use std::ops::Bound;
use std::sync::Arc;

use convoke_types::Timestamp;
use convoke_types::codec::{self, DecodeError};
use convoke_types::wire::store::{Audited, Found, Query, Revision};
use serde::{Deserialize, Serialize};

use crate::batch::LEVEL;
use crate::config::{Ballot, Kept};
use crate::custody;
use crate::kv::Stored;
use crate::locks::Held;
use crate::nodes::{Enrolled, Whole};
use crate::session::{Session, Sessions};
use crate::shards::Keyed;
use crate::{Decided, Registers, State};

/// A chunk ends when it is so large; it is larger by one item at most.
pub const CHUNK_BYTES: usize = 1 << 20;

/// What counts up by one, or by a recovery's gap, can never have come so far. From here on it could not be counted for long.
const COUNT_MOST: u64 = 1 << 62;

/// A state that does not change any more.
#[derive(Clone, Debug)]
pub struct Frozen {
    state: State,
}

/// What stands at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    time: Timestamp,
    revision: Revision,
    store_bytes: u64,
    opened: u64,
    sessions: u64,
    keys: u64,
    #[serde(default)]
    term: u64,
    #[serde(default)]
    nodes: u64,
    #[serde(default)]
    settings: u64,
    #[serde(default)]
    proposals: u64,
    #[serde(default)]
    locks: u64,
    /// Whether something is known of the cluster as a whole: 1, or 0.
    #[serde(default)]
    wholes: u64,
    /// Whether something is known of custody: 1, or 0.
    #[serde(default)]
    custodies: u64,
    #[serde(default)]
    audited: u64,
    /// 0 in heads of before there were levels, which is the first one.
    #[serde(default)]
    level: u16,
}

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Head(Head),
    Session(Arc<Session>),
    Key(Arc<Stored>),
    Whole(Arc<Whole>),
    Node(Arc<Enrolled>),
    Setting(Arc<Kept>),
    Proposal(Arc<Ballot>),
    Lock(Arc<Held>),
    Custody(Arc<custody::Kept>),
    Audited(Arc<Audited>),
}

impl Record {
    /// Where its kind stands.
    fn place(&self) -> usize {
        match self {
            Self::Head(_) => 0,
            Self::Session(_) => 1,
            Self::Key(_) => 2,
            Self::Whole(_) => 3,
            Self::Node(_) => 4,
            Self::Setting(_) => 5,
            Self::Proposal(_) => 6,
            Self::Lock(_) => 7,
            Self::Custody(_) => 8,
            Self::Audited(_) => 9,
        }
    }
}

impl Frozen {
    pub(crate) fn new(state: State) -> Self {
        Self { state }
    }

    /// The last change in it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// The time of the log then.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.state.time
    }

    /// The answer as of then.
    #[must_use]
    pub fn find(&self, query: &Query) -> Found {
        self.state.find(query)
    }

    /// All records of nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &convoke_types::wire::store::Record> {
        self.state.nodes.iter()
    }

    /// What a key of configuration holds: what was decided, or the default. Nothing if there is no such key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<convoke_types::wire::store::Value> {
        self.state.config.value(key)
    }

    /// Its bytes, a chunk at a time.
    #[must_use]
    pub fn chunks(&self) -> Chunks {
        Chunks {
            state: self.state.clone(),
            next: Next::Head,
        }
    }

    /// The state, to go on from. Copies nothing that does not change.
    #[must_use]
    pub fn thaw(&self) -> Decided {
        Decided {
            registers: Registers::of(&self.state),
            state: self.state.clone(),
        }
    }
}

/// A frozen state as chunks.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    next: Next,
}

/// What comes next: what of its kind stands behind this one.
#[derive(Debug)]
enum Next {
    Head,
    Sessions(Option<Arc<Session>>),
    Keys(Option<Arc<Stored>>),
    Whole,
    Nodes(Option<Arc<Enrolled>>),
    Settings(Option<Arc<Kept>>),
    Proposals(Option<Arc<Ballot>>),
    Locks(Option<Arc<Held>>),
    Custody,
    Audited(Option<Arc<Audited>>),
    End,
}

impl Chunks {
    /// Writes records until the chunk is full or one part is done.
    fn write(&mut self, chunk: &mut Vec<u8>) {
        let state = &self.state;
        self.next = match &self.next {
            Next::Head => {
                put(Record::Head(state.head()), chunk);
                Next::Sessions(None)
            }
            Next::Sessions(after) => {
                let rest = state.sessions.from(behind(after));
                let last = put_some(rest, Record::Session, chunk);
                last.map_or(Next::Keys(None), |last| Next::Sessions(Some(last)))
            }
            Next::Keys(after) => {
                let last = put_some(state.kv.from(behind(after)), Record::Key, chunk);
                last.map_or(Next::Whole, |last| Next::Keys(Some(last)))
            }
            Next::Whole => {
                let whole = state.nodes.whole();
                if **whole != Whole::default() {
                    put(Record::Whole(Arc::clone(whole)), chunk);
                }
                Next::Nodes(None)
            }
            Next::Nodes(after) => {
                let last = put_some(state.nodes.from(behind(after)), Record::Node, chunk);
                last.map_or(Next::Settings(None), |last| Next::Nodes(Some(last)))
            }
            Next::Settings(after) => {
                let rest = state.config.settings_from(behind(after));
                let last = put_some(rest, Record::Setting, chunk);
                last.map_or(Next::Proposals(None), |last| Next::Settings(Some(last)))
            }
            Next::Proposals(after) => {
                let rest = state.config.ballots_from(behind(after));
                let last = put_some(rest, Record::Proposal, chunk);
                last.map_or(Next::Locks(None), |last| Next::Proposals(Some(last)))
            }
            Next::Locks(after) => {
                let last = put_some(state.locks.from(behind(after)), Record::Lock, chunk);
                last.map_or(Next::Custody, |last| Next::Locks(Some(last)))
            }
            Next::Custody => {
                if let Some(kept) = state.custody.kept() {
                    put(Record::Custody(Arc::clone(kept)), chunk);
                }
                Next::Audited(None)
            }
            Next::Audited(after) => {
                let rest = state.audit.from(behind(after));
                let last = put_some(rest, Record::Audited, chunk);
                last.map_or(Next::End, |last| Next::Audited(Some(last)))
            }
            Next::End => Next::End,
        };
    }
}

fn behind<T: Keyed>(after: &Option<Arc<T>>) -> Bound<&T::Key> {
    let after = after.as_ref();
    after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.key()))
}

/// Writes members until there are no more or the chunk is full, and tells which was the last; none if there was none.
fn put_some<'a, T: 'a>(
    members: impl Iterator<Item = &'a Arc<T>>,
    record: fn(Arc<T>) -> Record,
    chunk: &mut Vec<u8>,
) -> Option<Arc<T>> {
    let mut last = None;
    for member in members {
        put(record(Arc::clone(member)), chunk);
        last = Some(Arc::clone(member));
        if chunk.len() >= CHUNK_BYTES {
            break;
        }
    }
    last
}

impl Iterator for Chunks {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_BYTES && !matches!(self.next, Next::End) {
            self.write(&mut chunk);
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

/// A record and, before it, its length, so that they can be read one after the other.
fn put(record: Record, chunk: &mut Vec<u8>) {
    let at = chunk.len();
    chunk.extend_from_slice(&[0; 4]);
    codec::encode_into(&record, chunk).expect("what is kept is within the codec's limits");
    let length = u32::try_from(chunk.len() - at - 4).expect("records are bounded far below this");
    chunk[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

impl State {
    fn head(&self) -> Head {
        Head {
            time: self.time,
            revision: self.revision,
            store_bytes: self.store_bytes,
            opened: self.sessions.opened(),
            sessions: self.sessions.len() as u64,
            keys: self.kv.len() as u64,
            term: self.term,
            nodes: self.nodes.len() as u64,
            settings: self.config.settings() as u64,
            proposals: self.config.proposals() as u64,
            locks: self.locks.len() as u64,
            wholes: u64::from(**self.nodes.whole() != Whole::default()),
            custodies: u64::from(self.custody.kept().is_some()),
            audited: self.audit.len() as u64,
            level: self.level,
        }
    }
}

/// Why chunks are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A chunk is cut.
    #[error("a chunk ends inside a record")]
    Truncated,
    /// A record cannot be read.
    #[error("read a record: {0}")]
    Undecodable(#[from] DecodeError),
    /// It does not begin with its head, or has two.
    #[error("a snapshot begins with its head, and has one")]
    Misplaced,
    /// Nobody can have counted so far.
    #[error("the head has a number that nothing can have counted to")]
    OutOfRange,
    /// A later program wrote it.
    #[error(
        "the snapshot is at feature level {found}, and this program speaks up to level {LEVEL}: install the version that the other nodes have"
    )]
    TooNew {
        /// What it takes.
        found: u16,
    },
    /// It is not in order.
    #[error("records are not in order")]
    OutOfOrder,
    /// Something is missing, or there is too much.
    #[error("there are {found} {what}, and the head says {promised}")]
    Incomplete {
        /// Of what.
        what: &'static str,
        /// What the head says.
        promised: u64,
        /// What there was.
        found: u64,
    },
}

/// A state being read from chunks.
#[derive(Debug, Default)]
pub struct Thawing {
    head: Option<Head>,
    state: State,
    /// Where the kind of the last record stands, and …
    place: usize,
    /// … the last of each kind that has many.
    last: Last,
}

#[derive(Debug, Default)]
struct Last {
    session: Option<Arc<Session>>,
    key: Option<Arc<Stored>>,
    node: Option<Arc<Enrolled>>,
    setting: Option<Arc<Kept>>,
    proposal: Option<Arc<Ballot>>,
    lock: Option<Arc<Held>>,
    audited: Option<Arc<Audited>>,
}

impl Thawing {
    /// Nothing was read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// When it cannot follow what was read before.
    pub fn take(&mut self, mut chunk: &[u8]) -> Result<(), SnapshotError> {
        while !chunk.is_empty() {
            let (length, rest) = chunk.split_first_chunk().ok_or(SnapshotError::Truncated)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (record, rest) = rest
                .split_at_checked(length)
                .ok_or(SnapshotError::Truncated)?;
            self.take_record(codec::from_slice(record)?)?;
            chunk = rest;
        }
        Ok(())
    }

    fn take_record(&mut self, record: Record) -> Result<(), SnapshotError> {
        if matches!(&record, Record::Head(_)) != self.head.is_none() {
            return Err(SnapshotError::Misplaced);
        }
        let before = std::mem::replace(&mut self.place, record.place());
        if self.place < before {
            return Err(SnapshotError::OutOfOrder);
        }
        let (state, last) = (&mut self.state, &mut self.last);
        match record {
            Record::Head(head) => {
                let counts = [head.revision.0, head.opened, head.term];
                if counts.iter().any(|count| *count > COUNT_MOST) {
                    return Err(SnapshotError::OutOfRange);
                }
                // Fields that this program does not know were skipped: what is left is another state.
                if head.level > LEVEL {
                    return Err(SnapshotError::TooNew { found: head.level });
                }
                state.sessions = Sessions::of_snapshot(head.opened);
                self.head = Some(head);
            }
            Record::Session(session) => {
                follow(&mut last.session, &session)?;
                state.sessions.restore(session);
            }
            Record::Key(stored) => {
                follow(&mut last.key, &stored)?;
                state.kv.restore(stored);
            }
            Record::Whole(_) if self.place == before => return Err(SnapshotError::OutOfOrder),
            Record::Whole(whole) => state.nodes.restore_whole(whole),
            Record::Node(enrolled) => {
                follow(&mut last.node, &enrolled)?;
                state.nodes.restore(enrolled);
            }
            Record::Setting(kept) => {
                follow(&mut last.setting, &kept)?;
                state.config.restore_setting(kept);
            }
            Record::Proposal(ballot) => {
                follow(&mut last.proposal, &ballot)?;
                state.config.restore_ballot(ballot);
            }
            Record::Lock(held) => {
                follow(&mut last.lock, &held)?;
                state.locks.restore(held);
            }
            Record::Custody(_) if self.place == before => return Err(SnapshotError::OutOfOrder),
            Record::Custody(kept) => state.custody.restore(kept),
            Record::Audited(entry) => {
                if entry.number > COUNT_MOST {
                    return Err(SnapshotError::OutOfRange);
                }
                follow(&mut last.audited, &entry)?;
                state.audit.restore(entry);
            }
        }
        Ok(())
    }

    /// The state, when all chunks were taken.
    ///
    /// # Errors
    /// When some are missing.
    pub fn finish(self) -> Result<Decided, SnapshotError> {
        let head = self.head.ok_or(SnapshotError::Misplaced)?;
        let mut state = self.state;
        state.time = head.time;
        state.term = head.term;
        state.revision = head.revision;
        state.store_bytes = head.store_bytes;
        state.level = head.level;
        let found = state.head();
        let counts = [
            ("sessions", head.sessions, found.sessions),
            ("keys", head.keys, found.keys),
            ("nodes", head.nodes, found.nodes),
            ("settings", head.settings, found.settings),
            ("proposals", head.proposals, found.proposals),
            ("locks", head.locks, found.locks),
            ("clusters as a whole", head.wholes, found.wholes),
            ("custodies", head.custodies, found.custodies),
            ("entries of the audit log", head.audited, found.audited),
        ];
        for (what, promised, found) in counts {
            if promised != found {
                return Err(SnapshotError::Incomplete {
                    what,
                    promised,
                    found,
                });
            }
        }
        Ok(Decided {
            registers: Registers::of(&state),
            state,
        })
    }
}

/// Members of a kind come in order, each once.
fn follow<T: Keyed>(last: &mut Option<Arc<T>>, next: &Arc<T>) -> Result<(), SnapshotError> {
    if let Some(last) = last
        && next.key() <= last.key()
    {
        return Err(SnapshotError::OutOfOrder);
    }
    *last = Some(Arc::clone(next));
    Ok(())
}
