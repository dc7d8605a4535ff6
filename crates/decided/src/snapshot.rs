//! The whole state as bytes, in chunks that can be sent and checked one by one, and back.
//!
//! The first chunk says how much follows, so a snapshot that ends early is noticed. Keys and sessions come in order, so one that is
//! mixed up is noticed, too. Chunks of one state are the same bytes on every node.
//!
//! Deliberately not here: files, checksums, compression and which entry of the log a snapshot replaces. Whoever keeps and sends
//! chunks adds those.

use std::ops::Bound;
use std::sync::Arc;

use convoke_types::codec::{self, DecodeError};
use convoke_types::wire::store::{Found, Query, Revision, SessionId};
use convoke_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::kv::{Kv, Stored};
use crate::nodes::{Enrolled, Nodes, Whole};
use crate::session::{Register, Session, Sessions};
use crate::shards::Keyed as _;
use crate::{Decided, State};

/// A chunk ends when it is so large; it is larger by one item at most.
pub const CHUNK_BYTES: usize = 1 << 20;

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
}

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Head(Head),
    Session(Arc<Session>),
    Key(Arc<Stored>),
    Whole(Arc<Whole>),
    Node(Arc<Enrolled>),
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
        let mut register = Register::default();
        for session in self.state.sessions.iter() {
            register.enter(session);
        }
        Decided {
            state: self.state.clone(),
            register,
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
    Sessions(Option<SessionId>),
    Keys(Option<Arc<Stored>>),
    Whole,
    Nodes(Option<NodeId>),
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
                let bound = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut last = None;
                for session in state.sessions.from(bound) {
                    put(Record::Session(Arc::clone(session)), chunk);
                    last = Some(*session.key());
                    if chunk.len() >= CHUNK_BYTES {
                        break;
                    }
                }
                last.map_or(Next::Keys(None), |last| Next::Sessions(Some(last)))
            }
            Next::Keys(after) => {
                let bound = after
                    .as_ref()
                    .map_or(Bound::Unbounded, |after| Bound::Excluded(after.key()));
                let mut last = None;
                for stored in state.kv.from(bound) {
                    put(Record::Key(Arc::clone(stored)), chunk);
                    last = Some(Arc::clone(stored));
                    if chunk.len() >= CHUNK_BYTES {
                        break;
                    }
                }
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
                let bound = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut last = None;
                for enrolled in state.nodes.from(bound) {
                    put(Record::Node(Arc::clone(enrolled)), chunk);
                    last = Some(*enrolled.key());
                    if chunk.len() >= CHUNK_BYTES {
                        break;
                    }
                }
                last.map_or(Next::End, |last| Next::Nodes(Some(last)))
            }
            Next::End => Next::End,
        };
    }
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
    sessions: Sessions,
    kv: Kv,
    nodes: Nodes,
    register: Register,
    last_session: SessionId,
    last_key: Box<[u8]>,
    last_node: Option<NodeId>,
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
        match record {
            Record::Head(head) => {
                self.sessions = Sessions::of_snapshot(head.opened);
                self.head = Some(head);
            }
            Record::Session(session) => {
                if *session.key() <= self.last_session || self.kv.len() > 0 {
                    return Err(SnapshotError::OutOfOrder);
                }
                self.last_session = *session.key();
                self.register.enter(&session);
                self.sessions.restore(session);
            }
            Record::Key(stored) => {
                if stored.key() <= &*self.last_key {
                    return Err(SnapshotError::OutOfOrder);
                }
                self.last_key = stored.key().into();
                self.kv.restore(stored);
            }
            Record::Whole(whole) => self.nodes.restore_whole(whole),
            Record::Node(enrolled) => {
                if self.last_node.is_some_and(|last| *enrolled.key() <= last) {
                    return Err(SnapshotError::OutOfOrder);
                }
                self.last_node = Some(*enrolled.key());
                self.nodes.restore(enrolled);
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
        let counts = [
            ("sessions", head.sessions, self.sessions.len() as u64),
            ("keys", head.keys, self.kv.len() as u64),
            ("nodes", head.nodes, self.nodes.len() as u64),
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
            state: State {
                time: head.time,
                term: head.term,
                revision: head.revision,
                store_bytes: head.store_bytes,
                sessions: self.sessions,
                kv: self.kv,
                nodes: self.nodes,
            },
            register: self.register,
        })
    }
}
