//! Decided state: what a cluster agreed on, built from its log.
//!
//! The log says in which order commands happened; [`Decided`] says what they amount to. It is a function of the log: no clock, no
//! chance, nothing that differs between nodes goes in, so whoever has applied as far holds the same, down to the byte.
//!
//! The story, in the order in which to read it:
//!
//! 1. [`Batch`]: one entry of the log. Time comes from here.
//! 2. [`Decided::apply`]: from a batch to outcomes for those who asked and changes for those who watch.
//! 3. `turn`: what a command finds and leaves behind. `session`: why a retry is not carried out twice. Then the families: `kv`, `nodes`.
//! 4. [`Frozen`] and [`Thawing`]: the state as chunks of bytes, made while commands go on, and back.
//! 5. `shards`: how a large state is frozen in no time.
//!
//! A family of commands is a module with a part of the state, a variant of [`Command`] and a part of
//! the snapshot. Those to come (tasks, rings, pins) get theirs beside `kv`.
//!
//! Deliberately not here: agreeing on the log and keeping it on disk, who may send which command, and waiting for anything.
#![forbid(unsafe_code)]

mod batch;
mod kv;
mod nodes;
mod session;
mod shards;
mod snapshot;
mod turn;

use convoke_types::wire::store::{
    Command, Done, Found, Outcome, Query, Record, Revision, SessionCommand,
};
use convoke_types::{NodeId, Timestamp};

pub use batch::{BATCH_BYTES, BATCH_COMMANDS, Batch, BatchError, Order};
pub use kv::KeyChanged;
pub use session::{IDLE, SESSIONS, SESSIONS_EACH};
pub use snapshot::{CHUNK_BYTES, Chunks, Frozen, SnapshotError, Thawing};
pub use turn::Changed;

use crate::kv::Kv;
use crate::nodes::Nodes;
use crate::session::{Admission, Register, Sessions};
use crate::turn::Turn;

/// The most bytes of all keys and values together, with what keeping them costs.
pub const STORE_BYTES: u64 = 2 << 30;

/// What a cluster agreed on so far.
#[derive(Debug, Default)]
pub struct Decided {
    state: State,
    register: Register,
}

/// All of it that does not follow from the rest. A clone shares what does not change.
#[derive(Clone, Debug)]
struct State {
    time: Timestamp,
    /// The term of the last batch.
    term: u64,
    revision: Revision,
    /// What keys and values may take.
    store_bytes: u64,
    sessions: Sessions,
    kv: Kv,
    nodes: Nodes,
}

impl Default for State {
    fn default() -> Self {
        Self {
            time: Timestamp::UNIX_EPOCH,
            term: 0,
            revision: Revision(0),
            store_bytes: STORE_BYTES,
            sessions: Sessions::default(),
            kv: Kv::default(),
            nodes: Nodes::default(),
        }
    }
}

/// What a batch amounted to.
#[derive(Debug, Default)]
pub struct Applied {
    /// One for every command, in their order.
    pub outcomes: Vec<Outcome>,
    /// In the order of their revisions.
    pub changes: Vec<Changed>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Keys.
    pub keys: u64,
    /// What they and their values take, and …
    pub store_bytes: u64,
    /// … may take.
    pub store_bytes_most: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Nodes that are enrolled.
    pub nodes: u64,
}

impl Decided {
    /// Nothing was decided yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another limit on keys and values. All nodes of a cluster begin with the same one.
    #[must_use]
    pub fn with_store_bytes(most: u64) -> Self {
        let mut decided = Self::new();
        decided.state.store_bytes = most;
        decided
    }

    /// Carries out the commands of an entry of the log, which was made in this term.
    ///
    /// # Panics
    /// When the batch does not name the principals of its commands; one that was decoded does.
    pub fn apply(&mut self, term: u64, batch: Batch) -> Applied {
        let now = self.state.time.max(batch.time);
        self.state.time = now;
        self.state.term = self.state.term.max(term);
        self.state.sessions.expire(now, &mut self.register);
        let mut applied = Applied {
            outcomes: Vec::with_capacity(batch.commands.len()),
            changes: Vec::with_capacity(batch.commands.len()),
        };
        for order in batch.commands {
            let principal = batch.principals[usize::from(order.principal)];
            let admission = order.ticket.map_or(Admission::New, |ticket| {
                self.state.sessions.admit(ticket, principal, now)
            });
            let outcome = match admission {
                Admission::Old(outcome) => outcome,
                Admission::New => {
                    let outcome = self.carry_out(principal, order.command, &mut applied.changes);
                    if let Some(ticket) = order.ticket {
                        self.state.sessions.record(ticket, outcome);
                    }
                    outcome
                }
            };
            applied.outcomes.push(outcome);
        }
        applied
    }

    fn carry_out(
        &mut self,
        principal: NodeId,
        command: Command,
        changes: &mut Vec<Changed>,
    ) -> Outcome {
        let state = &mut self.state;
        match command {
            Command::Session(SessionCommand::Open) => {
                state
                    .sessions
                    .open(principal, state.time, &mut self.register)
            }
            Command::Session(SessionCommand::Close(id)) => {
                state.sessions.close(id, principal, &mut self.register)
            }
            Command::Kv(command) => {
                let next = Revision(state.revision.0 + 1);
                let (outcome, changed) = state.kv.apply(command, next, state.store_bytes);
                if let Some(changed) = changed {
                    state.revision = next;
                    changes.push(Changed::Key(changed));
                }
                outcome
            }
            Command::Node(command) => {
                let turn = Turn::new(principal, state.time, &mut state.revision, changes);
                state.nodes.apply(command, turn)
            }
            Command::Mark(marked) => {
                let turn = Turn::new(principal, state.time, &mut state.revision, changes);
                state.nodes.mark(marked, turn)
            }
            Command::Tick => Outcome::Done(Done::Ticked),
            Command::Config(_) | Command::Lock(_) | Command::Fenced(_) => {
                unimplemented!("the next step")
            }
        }
    }

    /// The answer of what was applied so far.
    #[must_use]
    pub fn find(&self, query: &Query) -> Found {
        self.state.find(query)
    }

    /// What is decided about a node.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<&Record> {
        self.state.nodes.get(node)
    }

    /// All that is decided about nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &Record> {
        self.state.nodes.iter()
    }

    /// The last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// The time of the last batch.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.state.time
    }

    /// How much there is.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            keys: self.state.kv.len() as u64,
            store_bytes: self.state.kv.bytes(),
            store_bytes_most: self.state.store_bytes,
            sessions: self.state.sessions.len() as u64,
            nodes: self.state.nodes.len() as u64,
        }
    }

    /// The state as it is now, for a snapshot. Costs no more than some thousand pointers.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen::new(self.state.clone())
    }
}

impl State {
    fn find(&self, query: &Query) -> Found {
        match query {
            Query::Get(key) => Found::Item(self.kv.get(key)),
            Query::List(range) => Found::Page(self.kv.page(range)),
            Query::Node(query) => Found::Node(self.nodes.find(query)),
            Query::Config(_) | Query::Lock(_) => unimplemented!("the next step"),
        }
    }
}
