//! Locks: who holds a name, until when, and with which fence.
//!
//! A lock is held by a session, for a time by the log's clock, and lost when the session ends, or when it is not renewed in that time.
//! Whoever is granted a lock gets a *fence*, the revision of the grant: it grows with every grant of any lock, so whoever is shown two
//! knows which one is older. [`Fenced`](super::Fenced) commands are carried out only while their fence is the one that holds.
//!
//! Who waits stands in a queue, and gets the lock in its turn as it would have got it at once. When the leader changes, every lease that
//! runs is extended by its whole time, once: nobody could renew it meanwhile. Until its owner renews it, that is not done again.
//!
//! Every command about a lock that its session's principal sends counts as a use of the session, with a ticket or without: whoever
//! renews is there.
//!
//! Deliberately not here: who runs out of time when (`convoke-decided`), and renewing (the client).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Revision, SessionId};
use crate::{NodeId, Timestamp};

/// The most bytes of a name.
pub const LOCK_NAME_BYTES: usize = 256;
/// The most bytes that a holder says of itself.
pub const LOCK_NOTE_BYTES: usize = 512;
/// Locks that may be held at once.
pub const LOCKS: usize = 65_536;
/// Sessions that may wait for one lock, and …
pub const LOCK_QUEUE: usize = 1_024;
/// … places in all queues together, which bounds what waiting costs: some 50 MiB when every note is as long as it may be.
pub const LOCK_WAITS: usize = 65_536;
/// The shortest and the longest lease, in milliseconds.
pub const LEASE_MS: (u64, u64) = (1_000, 3_600_000);

/// What a grant is known by: the revision in which it was made.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Taking locks and giving them back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockCommand {
    /// The session wants the lock. If it holds it already, its lease begins anew, as long as is said now; its fence and its note stay. If
    /// it waits already and would again, it keeps its place.
    Acquire {
        /// 1 to [`LOCK_NAME_BYTES`] bytes.
        name: String,
        /// Whose it is to be; of the same principal.
        session: SessionId,
        /// How long it holds without being renewed.
        lease_ms: u64,
        /// What others are told of the holder, as an address; at most [`LOCK_NOTE_BYTES`].
        note: String,
        /// Waits in the queue when somebody else holds it.
        waits: bool,
    },
    /// The lease begins anew. Only the node that was granted the lock renews it.
    Renew {
        /// Which lock.
        name: String,
        /// The grant that is renewed.
        fence: Fence,
    },
    /// The session neither holds the lock nor waits for it any more.
    Release {
        /// Which lock.
        name: String,
        /// Whose.
        session: SessionId,
    },
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its session, …
    pub session: SessionId,
    /// … whose that is, …
    pub node: NodeId,
    /// … and what it says of itself.
    pub note: String,
    /// What its grant is known by.
    pub fence: Fence,
    /// Since when, …
    pub since: Timestamp,
    /// … and until when, by the time of the log, unless it is renewed or extended.
    pub until: Timestamp,
    /// How long it holds without being renewed.
    pub lease_ms: u64,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub holder: Holder,
    /// Who waits, in their order.
    pub queue: Vec<SessionId>,
}

/// Why a lock was not taken, renewed or given back, or a command not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum LockRefusal {
    /// Names have bounds.
    #[error("the name of a lock has 1 to {limit} bytes, and this one {found}")]
    BadName {
        /// What it has.
        found: u64,
        /// What it may have.
        limit: u64,
    },
    /// Notes have bounds.
    #[error("what the holder of a lock says of itself has at most {limit} bytes, and this {found}")]
    BadNote {
        /// What it has.
        found: u64,
        /// What it may have.
        limit: u64,
    },
    /// Leases have bounds.
    #[error("a lease is {from_ms} ms to {to_ms} ms long, and not {found_ms} ms")]
    BadLease {
        /// What was asked for.
        found_ms: u64,
        /// At least.
        from_ms: u64,
        /// At most.
        to_ms: u64,
    },
    /// The session is over, or was never there.
    #[error("the session is not open, so it can hold nothing")]
    NoSession,
    /// Somebody else has it.
    #[error("the lock is held, with fence {0}")]
    Held(Fence),
    /// The grant is over.
    #[error("fence {found} does not hold the lock any more{}", now(*.holds))]
    Lost {
        /// What was shown.
        found: Fence,
        /// What holds it now, if anything does.
        holds: Option<Fence>,
    },
    /// The grant holds, and is another node's.
    #[error("fence {0} holds the lock, and another node was granted it")]
    NotGranted(Fence),
    /// It neither holds nor waits.
    #[error("the session neither holds this lock nor waits for it")]
    NotHeld,
    /// There are too many.
    #[error("{limit} locks are held already")]
    TooMany {
        /// What there may be.
        limit: u64,
    },
    /// Too many wait.
    #[error("{limit} wait for {} already", if *.own { "this lock" } else { "locks" })]
    TooManyWait {
        /// How many may.
        limit: u64,
        /// For this lock; else, for all together.
        own: bool,
    },
}

fn now(holds: Option<Fence>) -> String {
    holds.map_or_else(String::new, |fence| format!("; fence {fence} does"))
}

/// What is asked about locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockQuery {
    /// One lock.
    Get(String),
    /// Locks that are held, in the order of their names.
    List {
        /// Behind this name; empty for the first.
        after: String,
        /// At most so many, and never more than a page.
        limit: u32,
    },
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockFound {
    /// The lock, if somebody holds it.
    Lock(Option<Lock>),
    /// Locks in their order. Pages have bounds in bytes, too, so only an empty one is known to be the last.
    Locks(Vec<Lock>),
}

/// What became of a lock, as watchers hear it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockNews {
    /// The change.
    pub revision: Revision,
    /// The lock.
    pub name: String,
    /// Who holds it from here on, if anybody does. When it goes from one to the next, that is one change.
    pub holder: Option<Holder>,
}
