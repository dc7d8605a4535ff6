//! The words of the handle: settings, what can be asked, what comes back, and why not.
//!
//! Deliberately not here: doing any of it (`handle`).

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_decided::{BATCH_BYTES, Changed, Extent, Frozen};
use convoke_types::Timestamp;
use convoke_types::wire::store::{Found, Revision};

use super::types::Member;
use crate::log::{Position, VoterId};

/// How a node takes part. All nodes of a cluster use the same times.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A leader shows so often that it is there. 20 ms to 1 s; each costs a small message to every other node. An append that takes
    /// longer than this is given up and sent again.
    pub heartbeat: Duration,
    /// Without a sign of life for so long a leader may be replaced; votes are waited for as long, too. At least four heartbeats, ten
    /// times what an append takes on a bad day, and what a vote takes to be written: less makes elections out of hiccups, and on slow
    /// disks some that nobody wins; more makes a dead leader noticed later.
    pub lease: Duration,
    /// Voters stand for election one after the other, so far apart. About what an election takes, so that one ends before the next
    /// begins; more costs as much again for every voter that is gone with the leader.
    pub step: Duration,
    /// A snapshot after so many entries. More makes starts longer and the log larger, fewer costs writing the whole state more often.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot for followers that are a little late; who is further behind gets the snapshot.
    pub keep: u64,
    /// Whoever proposes or reads is told after so long that nothing is known. A second to a minute.
    pub patience: Duration,
    /// A piece of a snapshot, a megabyte, may take so long; the last one as long again for every one before, since all of it is made
    /// safe then. A second to a minute: less gives up on slow links, more waits longer for what was lost.
    pub piece: Duration,
    /// A leader writes an entry when nothing was written for so long and nodes have records, so that a disk that hangs is noticed. A
    /// second to a minute; it adds to the time after which a voter is replaced, and costs a sync on every disk.
    pub tick: Duration,
    /// What keys and values may take in a new cluster; the same on every node.
    pub store_bytes: u64,
    /// The feature level this node speaks: what it can read and carry out. Less than the default stands in for an earlier program.
    pub feature_level: u16,
    /// The time with which a new log begins, so that people can read its times: what a clock on the wall says. From then on it goes by
    /// itself.
    pub epoch: Timestamp,
    /// A mistake made on purpose, so that a world can show that it would be found.
    pub weakened: Option<Weakness>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            lease: Duration::from_millis(350),
            step: Duration::from_millis(30),
            snapshot_every: 200_000,
            keep: 20_000,
            patience: Duration::from_secs(5),
            piece: Duration::from_secs(5),
            tick: Duration::from_secs(10),
            store_bytes: convoke_decided::STORE_BYTES,
            feature_level: convoke_decided::LEVEL,
            epoch: Timestamp::UNIX_EPOCH,
            weakened: None,
        }
    }
}

/// Mistakes that cost safety or calm. Never set where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weakness {
    /// A leader that starts again leads on in its old term (trap 1 of design 008).
    LeaderRestore,
    /// Whoever asks for pre-votes has them all (trap 2).
    FreePreVotes,
    /// A doubtful node votes and stands.
    VotesInDoubt,
    /// A read is answered without asking whether this node still leads.
    ReadWithoutIndex,
}

/// What was found, and how new it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was found.
    pub found: Found,
    /// The last change before it.
    pub revision: Revision,
    /// How long ago this node last knew that it was up to date, if the answer may be older than the question and it ever knew.
    pub age: Option<Duration>,
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Too many wait already; nothing was changed.
    #[error("too many commands wait; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// A good time to wait.
        retry_after: Duration,
    },
    /// This node does not lead; nothing was changed.
    #[error("this node does not lead{}", leader.map(|leader| format!(", {leader} does")).unwrap_or_default())]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<VoterId>,
    },
    /// It may have been carried out, or may still be. The same ticket finds out.
    #[error("it is not known what became of the command; send it again with the same ticket")]
    OutcomeUnknown,
    /// It cannot be carried out; nothing was changed, and trying again is no use.
    #[error("a command has at most {BATCH_BYTES} bytes, and this one {found}")]
    TooLarge {
        /// What it has.
        found: usize,
    },
    /// Nodes of an earlier program could not carry it out; nothing was changed.
    #[error(
        "this takes feature level {needs} and the log is at {level}: it rises when every node of the log has run a version that knows it for a \
         while, an hour at most"
    )]
    TooNew {
        /// What it takes.
        needs: u16,
        /// Where the log is.
        level: u16,
    },
    /// The node is stopping, or had to stop; nothing was changed.
    #[error("the node takes no more commands")]
    Stopped,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Too many wait already.
    #[error("too many reads wait; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// A good time to wait.
        retry_after: Duration,
    },
    /// Nobody is known to lead, or a majority did not answer in time.
    #[error("nobody leads just now")]
    NoLeader,
    /// The change is not here yet.
    #[error("this node has revision {here} and not {wanted} yet")]
    NotYet {
        /// What was asked for.
        wanted: Revision,
        /// What there is.
        here: Revision,
    },
    /// The node is stopping, or had to stop.
    #[error("the node answers no more questions")]
    Stopped,
}

/// Why leadership or the voters did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<VoterId>,
    },
    /// Only voters can lead.
    #[error("{0} does not vote")]
    NoVoter(VoterId),
    /// It would lead without having all entries for a while.
    #[error("{to} is {entries} entries behind")]
    TooFarBehind {
        /// Who.
        to: VoterId,
        /// How far; all of them if nothing is known.
        entries: u64,
    },
    /// The leader would not vote any more, or does not already. Hand leadership over first.
    #[error("a leader does not leave itself out: hand leadership over first")]
    WithoutLeader,
    /// It did not happen in time; it still may.
    #[error("it did not happen in time, and still may")]
    Unknown,
    /// The engine will not.
    #[error("the voters cannot be changed so: {0}")]
    Refused(String),
    /// The node is stopping, or had to stop.
    #[error("the node takes no part any more")]
    Stopped,
}

/// A snapshot that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The last entry in it.
    pub at: Position,
    /// What the state takes in it.
    pub size_bytes: u64,
}

/// Why no snapshot was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// One at a time.
    #[error("a snapshot is being written already; wait for it")]
    UnderWay,
    /// Nothing was decided yet, so there is nothing to write.
    #[error("nothing was decided yet, so there is nothing to write")]
    Nothing,
    /// The disk refused, and the node stops.
    #[error("the disk refused, and the node takes no part any more")]
    Failed,
    /// It did not end in time; it still may.
    #[error("it takes longer than anybody waits, and still may be written")]
    Late,
    /// The node is stopping, or had to stop.
    #[error("the node takes no part any more")]
    Stopped,
}

/// Why a node does not take part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings contradict each other.
    #[error("settings of the log: {0}")]
    Settings(String),
    /// Entries are gone from the log that should be in a snapshot, and it is not there.
    #[error(
        "the log begins behind entry {purged}, and the snapshot that should hold all before ends at {snapshot}; move the log and the \
         snapshots away, and the node joins again with a new log"
    )]
    NoSnapshot {
        /// The last entry that the log let go of.
        purged: u64,
        /// The last entry in the latest snapshot that is whole; 0 without any.
        snapshot: u64,
    },
    /// The log or the snapshot cannot be read.
    #[error("start the engine of the log: {0}")]
    Engine(String),
}

/// Why a message got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unserved {
    /// It is none of ours, or of another version.
    #[error("the message cannot be read")]
    Unreadable,
    /// It is for this node with another log: one that was lost, or never was here.
    #[error("the message is for this node with a log it does not have")]
    NotForUs,
    /// It speaks for somebody else.
    #[error("the message speaks for another node than its sender")]
    NotTheirs,
    /// This node's log may have lost entries.
    #[error("this node does not vote until its log is whole again")]
    Doubtful,
    /// It was started a moment ago, and somebody may lead whom it does not know of yet.
    #[error("this node votes a moment after its start")]
    TooEarly,
    /// A snapshot makes no sense.
    #[error("the snapshot is refused")]
    BadSnapshot,
    /// The node is stopping, or had to stop.
    #[error("the node takes no part any more")]
    Stopped,
}

/// What watchers hear.
#[derive(Debug)]
pub enum Watched {
    /// What changed, in order and without a gap.
    Changes(Vec<Changed>),
    /// What was asked for is not kept any more: this is the state; changes go on behind it.
    Resync(Box<Frozen>),
}

/// How a node sees itself and the log.
#[derive(Clone, Debug)]
pub struct Status {
    /// This node.
    pub me: VoterId,
    /// Who leads, as far as this node knows.
    pub leader: Option<VoterId>,
    /// The highest term it has heard of.
    pub term: u64,
    /// The last entry applied.
    pub applied: Position,
    /// The last entry in its snapshot.
    pub snapshot: Position,
    /// The last change.
    pub revision: Revision,
    /// How much there is.
    pub extent: Extent,
    /// The last entry of its log.
    pub last: Position,
    /// Its log may have lost entries, so it does not vote.
    pub is_doubtful: bool,
    /// It leads, no majority answers it, and it says nothing for a while.
    pub is_quiet: bool,
    /// Why it takes no part any more, if so.
    pub stopped: Option<String>,
    /// Who votes: one set, or two while they change.
    pub voters: Vec<Vec<VoterId>>,
    /// Everybody who gets entries.
    pub members: BTreeMap<VoterId, Member>,
    /// On a leader: up to where each has the log.
    pub matching: BTreeMap<VoterId, Position>,
}

impl Status {
    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.me)
    }

    /// Whether this node belongs to a log already: it has entries, or a snapshot, or knows who votes.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.last.index > 0 || self.snapshot.index > 0 || !self.members.is_empty()
    }
}
