//! What a node that keeps the log can be asked.
//!
//! Deliberately not here: who answers. That is the log engine, which depends on this crate and not the other way round, so that a
//! program that only talks to a cluster brings no log with it.

use std::net::SocketAddr;

use convoke_rpc::{Context, Streaming, service};
use convoke_types::wire::store::rights::NoRight;
use convoke_types::wire::store::{
    Change, Command, Found, Freshness, News, Outcome, Query, Revision, Ticket,
};
use convoke_types::{ClusterId, NodeId, Role, Timestamp};
use serde::{Deserialize, Serialize};

/// Decided state, as any node that keeps the log serves it.
#[service(name = "convoke.Store")]
pub trait Keeper {
    /// Has a command decided and carried out. With a ticket it can be sent again without being carried out twice.
    #[rpc(deadline_ms = 10_000)]
    async fn command(&self, ctx: &Context, request: CommandRequest) -> Result<Outcome, Refused>;

    /// Answers a question about what was decided.
    #[rpc(idempotent, deadline_ms = 10_000)]
    async fn query(&self, ctx: &Context, request: QueryRequest) -> Result<Answer, Refused>;

    /// Tells of changes as they are decided, without an end.
    async fn watch(
        &self,
        ctx: &Context,
        request: WatchRequest,
    ) -> Result<Streaming<Heard, Refused>, Refused>;

    /// How the log does, as this node sees it.
    #[rpc(idempotent, deadline_ms = 2_000)]
    async fn status(&self) -> Result<LogStatus, Refused>;

    /// Has another voter lead.
    #[rpc(deadline_ms = 10_000, roles(master, worker))]
    async fn transfer(&self, ctx: &Context, to: NodeId) -> Result<(), Refused>;

    /// Writes this node's state as a snapshot now, and answers when it is safe.
    #[rpc(deadline_ms = 600_000, roles(master, worker))]
    async fn snapshot(&self, ctx: &Context) -> Result<Snapshotted, Refused>;

    /// Who votes, who should, and why, as the leader sees it.
    #[rpc(idempotent, deadline_ms = 2_000)]
    async fn voters(&self, ctx: &Context) -> Result<Voters, Refused>;

    /// All that is decided, as of one moment that is not before the question.
    #[rpc(roles(master, worker))]
    async fn backup(&self, ctx: &Context) -> Result<Streaming<Saved, Refused>, Refused>;
}

/// A command to be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// Makes it known when it comes again.
    pub ticket: Option<Ticket>,
    /// What is to be changed.
    pub command: Command,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRequest {
    /// What is asked.
    pub query: Query,
    /// How new the answer has to be.
    pub freshness: Freshness,
}

/// What was found, and as of when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was found.
    pub found: Found,
    /// After which change.
    pub revision: Revision,
    /// How long ago this node last knew that it was up to date, if that was asked and it ever did.
    pub age_ms: Option<u64>,
}

/// Which changes are watched.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WatchRequest {
    /// Keys that begin so.
    #[serde(with = "serde_bytes")]
    pub prefix: Vec<u8>,
    /// Changes after this one; without it, first what is there, then what changes.
    pub after: Option<Revision>,
    /// What is watched.
    #[serde(default)]
    pub scope: Scope,
}

/// What a watcher hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Scope {
    /// Keys that begin with the prefix.
    #[default]
    Keys,
    /// All but keys: configuration, locks, nodes. What is there at the beginning is not told; whoever needs it asks, as of the revision
    /// that is told first.
    News,
}

/// What a watcher hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// A key changed.
    Change(Change),
    /// What was heard before is void: changes are no longer known as far back. What is there now follows, key by key, as changes.
    Resync(Revision),
    /// Everything up to this change was heard, also when none of it was for this watcher. Go on after it when the link is lost.
    Caught(Revision),
    /// Something else than a key changed.
    News(News),
}

/// A backup, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Saved {
    /// Comes first.
    Head {
        /// Whose it is.
        cluster: ClusterId,
        /// The last change in it.
        revision: Revision,
        /// The time of the log then.
        time: Timestamp,
    },
    /// A chunk of the state, as snapshots have them.
    Chunk(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Comes last.
    End {
        /// How many chunks there were.
        chunks: u64,
    },
}

/// Why a node does not do what it was asked. Nothing changed, except where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Somebody else decides, or nobody does just now.
    #[error("this node does not lead; {}", leader_told(.leader.as_ref()))]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<Whereabouts>,
    },
    /// Too much is waiting.
    #[error("too much is waiting to be decided; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// It may or may not have been decided: leadership ended while it was on its way.
    #[error("leadership ended meanwhile, so it is not known whether it was decided")]
    OutcomeUnknown,
    /// This node cannot know what is decided just now: no majority answers.
    #[error("what is decided is not known here just now: {why}")]
    Unavailable {
        /// Why not.
        why: String,
    },
    /// The request makes no sense.
    #[error("{why}")]
    Senseless {
        /// Why not.
        why: String,
    },
    /// Whoever asks may not.
    #[error(transparent)]
    NoRight(#[from] NoRight),
    /// A snapshot is being written already.
    #[error("a snapshot is being written already; wait for it")]
    SnapshotUnderWay,
    /// A snapshot that was asked for is not there.
    #[error("no snapshot was written: {why}")]
    NoSnapshot {
        /// Why not.
        why: String,
    },
}

fn leader_told(leader: Option<&Whereabouts>) -> String {
    leader.map_or_else(
        || "nobody is known to".to_owned(),
        |leader| format!("{} does", leader.node.short()),
    )
}

/// A node and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// Which node.
    pub node: NodeId,
    /// Where, tried in order.
    pub addresses: Vec<SocketAddr>,
}

/// Who votes and who should, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voters {
    /// What is decided about voters in general, in words.
    pub rules: String,
    /// Every node with a log, voters first, then the best first.
    pub nodes: Vec<Voter>,
    /// What is done now, in words.
    pub step: Option<String>,
    /// Why nothing is done now though not all is as it should be, in words.
    pub hold: Option<String>,
}

/// A node with a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Which node.
    pub node: NodeId,
    /// Its role, if it has a record.
    pub role: Option<Role>,
    /// Its score, if it has a record.
    pub score: Option<u32>,
    /// It votes now.
    pub votes: bool,
    /// It gets the log.
    pub learns: bool,
    /// It should vote.
    pub should_vote: bool,
    /// It leads.
    pub leads: bool,
    /// Why it should vote or should not, in words.
    pub reason: String,
    /// What would change that, in words.
    pub remedy: String,
    /// For how long that has been so, if that is known.
    pub for_ms: Option<u64>,
    /// Entries that it lacks, if it acknowledged anything.
    pub behind: Option<u64>,
    /// For how long it has acknowledged nothing.
    pub silent_ms: Option<u64>,
}

/// A snapshot that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshotted {
    /// The term of …
    pub term: u64,
    /// … the last entry in it.
    pub index: u64,
    /// What the state takes in it.
    pub size_bytes: u64,
}

/// How the log does, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Who says so.
    pub node: NodeId,
    /// What it is in the log.
    pub standing: Standing,
    /// The term it is in.
    pub term: u64,
    /// Who leads, if that is known.
    pub leader: Option<Whereabouts>,
    /// Who votes.
    pub voters: Vec<Whereabouts>,
    /// Who follows without a vote.
    pub learners: Vec<Whereabouts>,
    /// The last entry of its log, …
    pub last: u64,
    /// … that carried out, …
    pub applied: u64,
    /// … and that in its snapshot.
    pub snapshot: u64,
    /// The last change.
    pub revision: Revision,
    /// Keys, and what they and their values take.
    pub keys: u64,
    /// Bytes.
    pub store_bytes: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Its log may have lost something, so it does not vote.
    pub is_doubtful: bool,
    /// What ails it, for people: a slow, full or broken disk, or why it stopped. Nothing if it is well.
    pub trouble: Option<String>,
    /// How far others are behind, as the leader knows.
    pub followers: Vec<Follower>,
}

/// What a node is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It leads.
    Leader,
    /// It votes and follows.
    Follower,
    /// It follows without a vote.
    Learner,
    /// It has stopped.
    Stopped,
}

/// How far somebody is, as the leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    /// Who.
    pub node: NodeId,
    /// The last entry known to be safe there.
    pub matched: u64,
}
