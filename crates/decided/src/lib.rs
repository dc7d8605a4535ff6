//! Decided state: what a cluster agreed on, built from its log.
//!
//! The log says in which order commands happened; [`Decided`] says what they amount to. It is a function of the log: no clock, no
//! chance, nothing that differs between nodes goes in, so whoever has applied as far holds the same, down to the byte.
//!
//! The story, in the order in which to read it:
//!
//! 1. [`Batch`]: one entry of the log. Time comes from here.
//! 2. [`Decided::apply`]: from a batch to outcomes for those who asked and changes for those who watch.
//! 3. `turn`: what a command finds and leaves behind. `session`: why a retry is not carried out twice. Then the families: `kv`, `nodes`,
//!    `config`, `locks`, `custody`; and `audit`, which remembers who had what decided.
//! 4. [`Frozen`] and [`Thawing`]: the state as chunks of bytes, made while commands go on, and back.
//! 5. `shards`: how a large state is frozen in no time.
//!
//! A family of commands is a module with a part of the state, a variant of [`Command`] and a part of
//! the snapshot. Those to come (tasks, rings, pins) get theirs beside `kv`.
//!
//! Deliberately not here: agreeing on the log and keeping it on disk, who may send which command, and waiting for anything.
#![forbid(unsafe_code)]

mod audit;
mod batch;
mod config;
mod custody;
mod kv;
mod locks;
mod nodes;
mod session;
mod shards;
mod snapshot;
mod turn;

use convoke_types::wire::store::{
    ACTOR_BYTES, Actor, Attributed, Command, CustodyCommand, CustodyFound, CustodyQuery,
    CustodyRefusal, Digest, Done, Fenced, Found, KvCommand, NodeCommand, NodeRefusal, Outcome,
    Query, Record, Refusal, Revision, SessionCommand, TokenId, Value,
};
use convoke_types::{NodeId, Role, Timestamp};

pub use batch::{BATCH_BYTES, BATCH_COMMANDS, Batch, BatchError, LEVEL, Order};
pub use kv::KeyChanged;
pub use nodes::first_role;
pub use session::{IDLE, SESSIONS, SESSIONS_EACH};
pub use snapshot::{CHUNK_BYTES, Chunks, Frozen, SnapshotError, Thawing};
pub use turn::Changed;

use crate::audit::Audit;
use crate::config::Config;
use crate::custody::Custody;
use crate::kv::Kv;
use crate::locks::Locks;
use crate::nodes::Nodes;
use crate::session::{Admission, Sessions};
use crate::turn::Turn;

/// The most bytes of all keys and values together, with what keeping them costs.
pub const STORE_BYTES: u64 = 2 << 30;

/// What a cluster agreed on so far.
#[derive(Debug, Default)]
pub struct Decided {
    state: State,
    registers: Registers,
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
    config: Config,
    locks: Locks,
    custody: Custody,
    audit: Audit,
    /// The highest feature level of a batch so far.
    level: u16,
}

/// What follows from the state, and so is no part of what is frozen: found again when a state is thawed.
#[derive(Debug, Default)]
struct Registers {
    sessions: session::Register,
    config: config::Register,
    locks: locks::Register,
}

impl Registers {
    fn of(state: &State) -> Self {
        let mut registers = Self::default();
        let Self {
            sessions,
            config,
            locks,
        } = &mut registers;
        state.sessions.iter().for_each(|it| sessions.enter(it));
        state.config.ballots().for_each(|it| config.enter(it));
        state.locks.iter().for_each(|it| locks.enter(it));
        registers
    }
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
            config: Config::default(),
            locks: Locks::default(),
            custody: Custody::default(),
            audit: Audit::default(),
            level: 0,
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
    /// Locks that are held.
    pub locks: u64,
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
        self.state.level = self.state.level.max(batch.feature_level);
        let mut applied = Applied {
            outcomes: Vec::with_capacity(batch.commands.len()),
            changes: Vec::with_capacity(batch.commands.len()),
        };
        self.pass_time(term, &mut applied.changes);
        for order in batch.commands {
            let principal = batch.principals[usize::from(order.principal)];
            let admission = order.ticket.map_or(Admission::New, |ticket| {
                self.state.sessions.admit(ticket, principal, now)
            });
            let outcome = match admission {
                Admission::Old(outcome) => outcome,
                Admission::New => {
                    let outcome = self.decide(principal, order.command, &mut applied.changes);
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

    /// Does what is due before any command: a new leader's grace first, or it would come too late for what ended meanwhile.
    fn pass_time(&mut self, term: u64, changes: &mut Vec<Changed>) {
        let (state, registers) = (&mut self.state, &mut self.registers);
        if term > state.term {
            state.term = term;
            state.locks.extend(&mut registers.locks, state.time);
        }
        let mut turn = Turn::new(state.time, &mut state.revision, changes);
        let ended = state.sessions.expire(state.time, &mut registers.sessions);
        for session in ended {
            let locks = &mut registers.locks;
            state.locks.end(session, &state.sessions, locks, &mut turn);
        }
        state
            .locks
            .expire(&state.sessions, &mut registers.locks, &mut turn);
        state.config.expire(&mut registers.config, &mut turn);
        state.custody.expire(&mut turn);
    }

    /// Carries a command out, and remembers who sent it if that is worth remembering.
    fn decide(
        &mut self,
        principal: NodeId,
        command: Command,
        changes: &mut Vec<Changed>,
    ) -> Outcome {
        let (by, command) = if let Command::Attributed(Attributed { by, command }) = command {
            (Some(by), *command)
        } else {
            (None, command)
        };
        if matches!(command, Command::Attributed(_)) || by.as_ref().is_some_and(is_too_long) {
            return Outcome::Refused(Refusal::BadActor);
        }
        let entry = match self.state.level {
            // Whoever speaks less keeps no such log, and all have to come to the same state.
            0 | 1 => None,
            _ => audit::Entry::of(&command, principal, by),
        };
        let outcome = self.carry_out(principal, command, changes);
        if let Some(entry) = entry {
            let state = &mut self.state;
            state
                .audit
                .note(entry, &outcome, state.time, state.revision);
        }
        outcome
    }

    fn carry_out(
        &mut self,
        principal: NodeId,
        command: Command,
        changes: &mut Vec<Changed>,
    ) -> Outcome {
        let (state, registers) = (&mut self.state, &mut self.registers);
        let mut turn = Turn::new(state.time, &mut state.revision, changes);
        match command {
            Command::Session(SessionCommand::Open) => {
                let register = &mut registers.sessions;
                state.sessions.open(principal, state.time, register)
            }
            Command::Session(SessionCommand::Close(id)) => {
                let register = &mut registers.sessions;
                let outcome = state.sessions.close(id, principal, register);
                if outcome == Outcome::Done(Done::SessionClosed) {
                    let register = &mut registers.locks;
                    state.locks.end(id, &state.sessions, register, &mut turn);
                }
                outcome
            }
            Command::Kv(command) => self.write(command, changes),
            Command::Fenced(fenced) => self.write_fenced(fenced, principal, changes),
            Command::Config(command) => {
                let register = &mut registers.config;
                let done =
                    state
                        .config
                        .apply(command, principal, &state.nodes, register, &mut turn);
                outcome(done.map_err(Refusal::Config))
            }
            Command::Lock(command) => {
                let (sessions, register) = (&mut state.sessions, &mut registers.locks);
                let locks = &mut state.locks;
                outcome(locks.apply(command, principal, sessions, register, &mut turn))
            }
            Command::Node(NodeCommand::Enrol { node, .. })
                if state.custody.has_forgotten(&node) =>
            {
                Outcome::Refused(Refusal::Node(NodeRefusal::Forgotten))
            }
            Command::Node(NodeCommand::Forget { node }) => {
                let command = NodeCommand::Forget { node };
                let outcome = state.nodes.apply(command, principal, turn);
                if state.level > 1 && matches!(outcome, Outcome::Done(_)) {
                    let mut turn = Turn::new(state.time, &mut state.revision, changes);
                    state.custody.forget(node, &mut turn);
                }
                outcome
            }
            Command::Node(command) => {
                // Whoever speaks less lets it happen, and all have to come to the same state.
                let taken = state.nodes.takes_last_keeper(&command);
                match taken.filter(|_| state.level > 2) {
                    Some(role) => Outcome::Refused(Refusal::Node(NodeRefusal::LastKeeper(role))),
                    None => state.nodes.apply(command, principal, turn),
                }
            }
            Command::Custody(CustodyCommand::Redeem {
                token,
                hash,
                node,
                wants,
            }) => {
                let done = state.redeem(token, hash, node, wants, changes);
                outcome(done.map_err(Refusal::Custody))
            }
            Command::Custody(command) => {
                let done = state.custody.apply(command, principal, &mut turn);
                outcome(done.map_err(Refusal::Custody))
            }
            // Whoever decides has taken the command out of it.
            Command::Attributed(_) => Outcome::Refused(Refusal::BadActor),
            Command::Mark(marked) => state.nodes.mark(marked, turn),
            Command::Tick => Outcome::Done(Done::Ticked),
        }
    }

    fn write(&mut self, command: KvCommand, changes: &mut Vec<Changed>) -> Outcome {
        let state = &mut self.state;
        let next = Revision(state.revision.0 + 1);
        let (outcome, changed) = state.kv.apply(command, next, state.store_bytes);
        if let Some(changed) = changed {
            state.revision = next;
            changes.push(Changed::Key(changed));
        }
        outcome
    }

    fn write_fenced(
        &mut self,
        fenced: Fenced,
        principal: NodeId,
        changes: &mut Vec<Changed>,
    ) -> Outcome {
        let Fenced {
            lock,
            fence,
            command,
        } = fenced;
        match self.state.locks.holds(&lock, fence, principal) {
            Ok(_) => self.write(command, changes),
            Err(refusal) => Outcome::Refused(refusal),
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

    /// Whether this node was put out, and is remembered as such.
    #[must_use]
    pub fn has_forgotten(&self, node: &NodeId) -> bool {
        self.state.custody.has_forgotten(node)
    }

    /// The highest feature level of a batch so far: what everybody who goes on from here has to know. 0 if there was none.
    #[must_use]
    pub fn level(&self) -> u16 {
        self.state.level
    }

    /// What a key of configuration holds: what was decided, or the default. Nothing if there is no such key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<Value> {
        self.state.config.value(key)
    }

    /// When the next lease or the next open proposal ends, unless something happens to it: with the first batch that is not earlier.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = [
            self.registers.config.next_due(),
            self.registers.locks.next_due(),
            self.state.custody.next_due(),
        ];
        due.into_iter().flatten().min()
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
            locks: self.state.locks.len() as u64,
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
            Query::Config(query) => Found::Config(self.config.find(query)),
            Query::Lock(query) => Found::Lock(self.locks.find(query)),
            Query::Custody(CustodyQuery::Audit { after, limit }) => {
                Found::Custody(CustodyFound::Audit(self.audit.page(*after, *limit)))
            }
            Query::Custody(query) => {
                let admitted = |node: &NodeId| self.nodes.admitted(node);
                Found::Custody(self.custody.find(query, admitted))
            }
        }
    }

    /// Lets a node in. One that is in already stays as it is, if it shows a token that exists.
    fn redeem(
        &mut self,
        token: TokenId,
        hash: Digest,
        node: NodeId,
        wants: Option<Role>,
        changes: &mut Vec<Changed>,
    ) -> Result<Done, CustodyRefusal> {
        let allowed = self.custody.genuine(token, hash)?.allowed;
        if self.custody.has_forgotten(&node) {
            return Err(CustodyRefusal::Forgotten);
        }
        if let Some(admitted) = self.nodes.admitted(&node) {
            return Ok(Done::Admitted(admitted));
        }
        if let Some(role) = wants.filter(|role| !allowed.contains(*role)) {
            return Err(CustodyRefusal::NotAllowed { role, allowed });
        }
        if !self.nodes.has_room() {
            return Err(CustodyRefusal::NoRoom);
        }
        let mut turn = Turn::new(self.time, &mut self.revision, changes);
        let allowed = self.custody.redeem(token, hash, &mut turn)?;
        let admitted = self.nodes.admit(node, token, allowed, wants, &mut turn);
        // A token allows something, or it would not have been made.
        admitted.map_err(|_| CustodyRefusal::BadToken)?;
        Ok(Done::Admitted(allowed))
    }
}

fn is_too_long(by: &Actor) -> bool {
    by.name.len() > ACTOR_BYTES || by.from.len() > ACTOR_BYTES
}

fn outcome(done: Result<Done, Refusal>) -> Outcome {
    done.map_or_else(Outcome::Refused, Outcome::Done)
}
