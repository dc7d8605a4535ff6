//! Decided state as its users speak of it: commands, what becomes of them, questions, answers.
//!
//! A [`Command`] goes into the log once a leader took it; what comes back is an [`Outcome`]. A [`Query`] is answered from what a node
//! has applied. [`Change`] is what watchers hear. The same types are in the log, on the wire and in the facade.
//!
//! Commands that change something are numbered by the revision they made: 1, 2, 3, … without a gap, the same on every node. (A recovery
//! leaves a gap on purpose: what was acknowledged and lost had numbers, too.)
//!
//! Each family has a file of its own: keys and sessions are here, [`ConfigCommand`] is configuration by vote with its [`schema`],
//! [`LockCommand`] is locks, [`NodeCommand`] is node records; [`rights`] says who may do what.
//!
//! Deliberately not here: how commands are batched and stored (`convoke-decided`), who leads and how to find out (the log engine).

use std::fmt;

use serde::{Deserialize, Serialize};

mod config;
mod custody;
mod lock;
mod node;
pub mod rights;
pub mod schema;

pub use self::config::{
    ConfigCommand, ConfigFound, ConfigQuery, ConfigRefusal, ELECTORATE, ENDED, HISTORY, NAME_BYTES,
    OPEN, Proposal, ProposalId, Rule, SETTINGS, Setting, TEXT_BYTES, VOTING_MS, Value, Verdict,
    Version, WEIGHTS, told,
};
pub use self::custody::{
    ACTOR_BYTES, AUDITED, Actor, Admission, Attributed, Audited, CustodyCommand, CustodyFound,
    CustodyNews, CustodyQuery, CustodyRefusal, Digest, FORGOTTEN, FORGOTTEN_MS, ISSUER_BYTES,
    ISSUERS, ISSUERS_EACH, IssuerRecord, KEEP_MS, KEY_MS, KEYS, Key, NOTE_BYTES, NoScope,
    NoTokenId, RETIRED, Scope, TARGET_BYTES, TOKEN_MS, TOKEN_USES, TOKENS, Token, TokenId,
    TrustState,
};
pub use self::lock::{
    Fence, Holder, LEASE_MS, LOCK_NAME_BYTES, LOCK_NOTE_BYTES, LOCK_QUEUE, LOCK_WAITS, LOCKS, Lock,
    LockCommand, LockFound, LockNews, LockQuery, LockRefusal,
};
pub use self::node::{
    ADDRESS_BYTES, ADDRESSES, BUNDLE_BYTES, Issuers, LOST, LogNumber, MARKS, Mark, Marked, NODES,
    NodeCommand, NodeFound, NodeQuery, NodeRefusal, Rank, Record, WHY_BYTES,
};

/// The most bytes of a key.
pub const KEY_BYTES: usize = 512;
/// The most bytes of a value. What is larger is kept as content, and its hash goes here.
pub const VALUE_BYTES: usize = 4096;
/// The most items on one page of a list.
pub const PAGE_ITEMS: u32 = 1_000;
/// Commands of one session that may be on their way at once. A session remembers as many outcomes.
pub const WINDOW: u64 = 512;

/// A point in the history of decided state: after so many changes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A session: whoever opened it gets each answer exactly once. Never reused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which command of which session this is, so that a retry is known for what it is.
///
/// Whoever has a session numbers its commands 1, 2, 3, …, never has more than [`WINDOW`] of them unanswered, and says which ones are
/// behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The session.
    pub session: SessionId,
    /// The number of the command.
    pub sequence: u64,
    /// The outcomes of all commands before this one have arrived and may be forgotten.
    pub settled_before: u64,
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// About sessions.
    Session(SessionCommand),
    /// About keys and values.
    Kv(KvCommand),
    /// About configuration.
    Config(ConfigCommand),
    /// About locks.
    Lock(LockCommand),
    /// About nodes.
    Node(NodeCommand),
    /// About keys and values, for who holds a lock.
    Fenced(Fenced),
    /// Nothing but that time goes by; what is due happens.
    Tick,
    /// About the cluster as a whole.
    Mark(Marked),
    /// About who may join, whose certificates count, and who may call the API.
    Custody(CustodyCommand),
    /// Any of these, on somebody's behalf.
    Attributed(Attributed),
}

impl Command {
    /// The feature level of the log that it takes.
    #[must_use]
    pub fn level(&self) -> u16 {
        match self {
            // Whoever does not know a key decides otherwise about it.
            Self::Config(
                ConfigCommand::Propose { key, .. } | ConfigCommand::Restore { key, .. },
            ) if key.starts_with(schema::ROLES) || key.starts_with(schema::ADAPT) => 3,
            Self::Node(NodeCommand::Steer { .. } | NodeCommand::Assign { .. }) => 3,
            Self::Session(_)
            | Self::Kv(_)
            | Self::Config(_)
            | Self::Lock(_)
            | Self::Node(_)
            | Self::Fenced(_)
            | Self::Tick
            | Self::Mark(_) => 1,
            Self::Custody(_) => 2,
            Self::Attributed(attributed) => attributed.command.level().max(2),
        }
    }
}

/// Changes keys and values if a grant of a lock still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fenced {
    /// Which lock.
    pub lock: String,
    /// The grant.
    pub fence: Fence,
    /// What is done then.
    pub command: KvCommand,
}

/// Opening and closing sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionCommand {
    /// A new session for whoever sends this.
    Open,
    /// The session ends; its number means nothing from here on.
    Close(SessionId),
}

/// Changing keys and values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCommand {
    /// The key has this value from now on.
    Put {
        /// 1 to [`KEY_BYTES`] bytes.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// At most [`VALUE_BYTES`].
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    /// The key is gone from now on.
    Delete {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// The key gets a value, or goes, if it is as expected.
    Swap {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// What must be so.
        expect: Expect,
        /// The new value; without one, the key goes.
        #[serde(with = "serde_bytes")]
        value: Option<Vec<u8>>,
    },
}

/// What must be true of a key for a swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// It is not there.
    Absent,
    /// It was last changed in this revision.
    Revision(Revision),
    /// It has this value.
    Value(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out.
    Done(Done),
    /// Nothing changed.
    Refused(Refusal),
    /// It may have been carried out before; that is no longer remembered.
    Unknown(Forgotten),
}

/// A command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The session is open.
    SessionOpened(SessionId),
    /// The session is closed.
    SessionClosed,
    /// The value is there.
    Put(Revision),
    /// The key is gone; it was not there in the first place if there is no revision.
    Deleted(Option<Revision>),
    /// It was as expected, and is changed.
    Swapped(Revision),
    /// It was not as expected: when the key was last changed, if it is there. Nothing changed.
    NotSwapped(Option<Revision>),
    /// The proposal is made; it may be decided already.
    Proposed {
        /// Its number.
        proposal: ProposalId,
        /// How it stands.
        verdict: Verdict,
    },
    /// The vote counts, or counted before.
    Voted(Verdict),
    /// The proposal is taken back.
    Withdrawn,
    /// The lock is the session's, known by this.
    Acquired(Fence),
    /// The session waits for the lock, with so many waiting before it.
    Queued(u32),
    /// The lease began anew.
    Renewed,
    /// The session holds the lock no more, and waits for it no more.
    Released,
    /// The node is enrolled, or was before, with this role.
    Enrolled(crate::Role),
    /// The record, the issuers or the marks are changed, or were so before.
    Noted(Revision),
    /// Time went by.
    Ticked,
    /// The node is in, or was before, and may be these.
    Admitted(crate::RoleSet),
}

/// Why nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A key without bytes.
    #[error("a key has at least one byte")]
    EmptyKey,
    /// A key that is too long.
    #[error("a key has at most {limit} bytes, and this one {found}")]
    KeyTooLong {
        /// What it had.
        found: u64,
        /// What it may have.
        limit: u64,
    },
    /// A value that is too long.
    #[error(
        "a value has at most {limit} bytes, and this one {found}: keep it as content and its hash here"
    )]
    ValueTooLong {
        /// What it had.
        found: u64,
        /// What it may have.
        limit: u64,
    },
    /// There is no room for it.
    #[error("the store is full: {held} of {limit} bytes are taken; delete something first")]
    Full {
        /// What is taken.
        held: u64,
        /// What there is.
        limit: u64,
    },
    /// There are too many sessions.
    #[error("there are {limit} sessions open already{}", if *.own { " for this node" } else { "" })]
    TooManySessions {
        /// What there may be.
        limit: u64,
        /// Of this principal; else, of all.
        own: bool,
    },
    /// The session belongs to somebody else.
    #[error("this session belongs to somebody else")]
    NotYours,
    /// So many of the session's commands cannot be on their way.
    #[error(
        "command {sequence} is too far ahead: at most {window} may be unanswered, and {settled_before} is"
    )]
    TooFarAhead {
        /// The number.
        sequence: u64,
        /// The first that is not known to be answered.
        settled_before: u64,
        /// How many may be unanswered.
        window: u64,
    },
    /// About configuration.
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    /// About locks.
    #[error(transparent)]
    Lock(#[from] LockRefusal),
    /// About nodes.
    #[error(transparent)]
    Node(#[from] NodeRefusal),
    /// About who may join, whose certificates count, and who may call the API.
    #[error(transparent)]
    Custody(#[from] CustodyRefusal),
    /// On somebody's behalf, and it is not said whose as it should be.
    #[error(
        "on whose behalf it is, and from where, is said in at most {ACTOR_BYTES} bytes each, and only once"
    )]
    BadActor,
}

/// Why it is not known what became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Forgotten {
    /// There is no such session, or no longer.
    #[error("the session is not open: it was idle for too long, or closed")]
    NoSession,
    /// The session has said that it knows the outcome.
    #[error("the session settled this command before")]
    Settled,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One key.
    Get(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Keys in their order.
    List(Range),
    /// About configuration.
    Config(ConfigQuery),
    /// About locks.
    Lock(LockQuery),
    /// About nodes.
    Node(NodeQuery),
    /// About who may join, whose certificates count, and who may call the API.
    Custody(CustodyQuery),
}

/// How new an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Freshness {
    /// It knows of everything that was answered before the question was asked.
    #[default]
    Linearizable,
    /// It knows of this change and all before it.
    AtLeast(Revision),
    /// It is what this node knows now, with its age.
    Stale,
}

/// Which keys are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Range {
    /// The first key, or the one after which to go on.
    #[serde(with = "serde_bytes")]
    pub from: Vec<u8>,
    /// `from` itself was seen before.
    #[serde(default)]
    pub after: bool,
    /// Keys before this one; without it, to the end.
    #[serde(default, with = "serde_bytes")]
    pub until: Option<Vec<u8>>,
    /// At most so many, and never more than [`PAGE_ITEMS`].
    #[serde(default)]
    pub limit: u32,
    /// Leave the values out.
    #[serde(default)]
    pub keys_only: bool,
}

impl Range {
    /// All keys that begin so.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let from = prefix.into();
        Self {
            until: end_of(&from),
            from,
            limit: PAGE_ITEMS,
            ..Self::default()
        }
    }

    /// Whether a key is in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let begun = key >= self.from.as_slice() && !(self.after && key == self.from);
        begun && self.until.as_deref().is_none_or(|until| key < until)
    }
}

/// The first key after all that begin so; none if there is no end.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// A value and when it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The value.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// When the key was last not there before.
    pub created: Revision,
    /// When the value was last written.
    pub changed: Revision,
    /// How often it was written since it was created; 1 for the first time.
    pub version: u64,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// The key, if it is there.
    Item(Option<Item>),
    /// Keys in their order.
    Page(Page),
    /// About configuration.
    Config(ConfigFound),
    /// About locks.
    Lock(LockFound),
    /// About nodes.
    Node(NodeFound),
    /// About who may join, whose certificates count, and who may call the API.
    Custody(CustodyFound),
}

/// Some of the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// Keys with what they hold.
    pub items: Vec<Listed>,
    /// There are more behind the last one.
    pub more: bool,
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// What it holds; an empty value if only keys were asked for.
    pub item: Item,
}

/// What watchers hear: one key, changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The change.
    pub revision: Revision,
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// What it holds from here on; nothing if it is gone.
    pub item: Option<Item>,
}

/// What watchers of all but keys hear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// A proposal was made, or is over; a value changed if it passed.
    Proposal(Box<Proposal>, Revision),
    /// A lock has another holder, or none.
    Lock(Box<LockNews>),
    /// A node's record changed; without one, the node is forgotten.
    Node(crate::NodeId, Option<Box<Record>>, Revision),
    /// Other issuers count.
    Issuers(Box<Issuers>),
    /// Something happened to the cluster as a whole.
    Mark(Box<Mark>),
    /// Somebody else may join, counts, is out, or may call the API.
    Custody(CustodyNews, Revision),
}

impl News {
    /// The change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Proposal(_, revision)
            | Self::Node(_, _, revision)
            | Self::Custody(_, revision) => *revision,
            Self::Lock(news) => news.revision,
            Self::Issuers(issuers) => issuers.revision,
            Self::Mark(mark) => mark.revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_range_of_what_begins_so() {
        for (prefix, inside, outside) in [
            (
                b"a/".as_slice(),
                [b"a/".as_slice(), b"a/\xff\xff"],
                [b"a".as_slice(), b"a0"],
            ),
            (b"a\xff", [b"a\xff", b"a\xff\xff"], [b"a\xfe", b"b"]),
        ] {
            let range = Range::prefix(prefix);
            assert!(inside.iter().all(|key| range.contains(key)), "{range:?}");
            assert!(!outside.iter().any(|key| range.contains(key)), "{range:?}");
        }
        assert!(Range::prefix("").contains(b"\xff\xff"));
        assert_eq!(Range::prefix(b"\xff\xff".as_slice()).until, None);
    }

    #[test]
    fn a_range_goes_on_after_what_was_seen() {
        let range = Range {
            from: b"b".to_vec(),
            after: true,
            ..Range::default()
        };
        assert!(!range.contains(b"b") && range.contains(b"b\0") && !range.contains(b"a"));
    }
}
