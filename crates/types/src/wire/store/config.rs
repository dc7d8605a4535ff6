//! Configuration that a cluster decides by vote: proposals, votes, and what is known of a key.
//!
//! A change is proposed, those in the electorate vote, and the vote that decides changes the value in the same moment, on every node.
//! Who may vote is fixed when the proposal is applied: the masters of that moment, whatever becomes of them. Whoever proposes and may vote
//! has voted *yes*. One proposal at a time is open for a key; it fails when it cannot succeed any more, and when its time is over.
//!
//! That a proposal was made is a change with a revision, and that it is over is another, even if it was decided at once.
//!
//! Versions of a key count 1, 2, 3, …; version 0 is the default. Which keys there are, and what they hold, is in [`schema`].
//!
//! Deliberately not here: counting votes (`convoke-decided`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Revision;
use super::schema::ValueFault;
use crate::{NodeId, Timestamp};

/// The most bytes of a text.
pub const TEXT_BYTES: usize = 2_048;
/// The most bytes of a key's name.
pub const NAME_BYTES: usize = 128;
/// Versions of a key that are kept, the current one among them.
pub const HISTORY: usize = 64;
/// Keys of other programs that may be decided or proposed. Those of the schema always have room.
pub const SETTINGS: usize = 512;
/// Proposals that may be open at once.
pub const OPEN: usize = 256;
/// Proposals that are over and remembered: those that ended last.
pub const ENDED: usize = 256;
/// Nodes of an electorate.
pub const ELECTORATE: usize = 1_024;
/// Nodes whose weights a rule names.
pub const WEIGHTS: usize = 64;
/// The shortest and the longest time for votes, in milliseconds.
pub const VOTING_MS: (u64, u64) = (1_000, 30 * 24 * 3_600_000);

/// A proposal: the revision in which it was made.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ProposalId(pub u64);

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number; times are in milliseconds.
    Number(i64),
    /// At most [`TEXT_BYTES`].
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// How many votes change a value.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Rule {
    /// More than half of the electorate.
    #[default]
    Majority,
    /// At least two thirds of it.
    TwoThirds,
    /// All of it.
    All,
    /// More than half of the weight. Who is not named weighs 1.
    Weighted(Vec<(NodeId, u32)>),
}

/// Proposing and voting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigCommand {
    /// A key is to hold another value.
    Propose {
        /// Which key.
        key: String,
        /// The version it has now; without one, whichever.
        expect: Option<u64>,
        /// What it is to hold; without one, its default.
        value: Option<Value>,
        /// How many votes that takes.
        rule: Rule,
        /// How long votes count, in milliseconds.
        voting_ms: u64,
    },
    /// Counts once. The same vote again changes nothing and is answered with how the proposal stands, also when it is over.
    Vote {
        /// On which proposal.
        proposal: ProposalId,
        /// For it, or against.
        yes: bool,
    },
    /// Whoever proposed it does not want it any more.
    Withdraw {
        /// Which proposal.
        proposal: ProposalId,
    },
    /// A key holds what it held in a backup, without a vote: whoever may restore keys may do that.
    Restore {
        /// Which key.
        key: String,
        /// What it held.
        value: Value,
    },
}

/// How a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Votes are counted.
    Open,
    /// The key has its value since, and this version.
    Passed {
        /// The version.
        version: u64,
    },
    /// Too many are against it.
    Failed,
    /// It did not have the votes in time.
    Expired,
    /// Whoever proposed it took it back.
    Withdrawn,
}

/// A proposal with its votes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its number.
    pub id: ProposalId,
    /// The key.
    pub key: String,
    /// What it is to hold; without one, its default.
    pub value: Option<Value>,
    /// What it takes.
    pub rule: Rule,
    /// Who proposed it.
    pub proposer: NodeId,
    /// The version of the key when it was proposed.
    pub version: u64,
    /// When it was made, and …
    pub since: Timestamp,
    /// … until when votes count, both by the time of the log.
    pub until: Timestamp,
    /// Who may vote, and how each did.
    pub electorate: Vec<(NodeId, Option<bool>)>,
    /// How it stands.
    pub verdict: Verdict,
}

/// A value that a key had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// The value; without one, the default.
    pub value: Option<Value>,
    /// When it was decided, …
    pub revision: Revision,
    /// … by the time of the log, …
    pub since: Timestamp,
    /// … by which proposal, …
    pub proposal: ProposalId,
    /// … made by whom.
    pub proposer: NodeId,
}

/// A key as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// What it holds: what was decided, or the default.
    pub value: Value,
    /// 0 for the default that nobody changed.
    pub version: u64,
    /// When that was decided.
    pub revision: Revision,
    /// The proposal that is open for it.
    pub open: Option<ProposalId>,
}

/// Why a proposal or a vote was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigRefusal {
    /// No such key.
    #[error(
        "there is no such key of configuration: `convoke config ls` shows which there are, and those of other programs begin with \"app.\""
    )]
    UnknownKey,
    /// The key does not hold such values.
    #[error("the key does not hold this: {0}")]
    BadValue(ValueFault),
    /// The key has another version.
    #[error("the key has version {found} and not {expected}: look at it again")]
    VersionIs {
        /// What was expected.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Another proposal is open for the key.
    #[error("proposal {0} is open for this key: vote on it, or wait for its end")]
    AnotherIsOpen(ProposalId),
    /// There are too many.
    #[error("{limit} proposals are open already")]
    TooMany {
        /// What there may be.
        limit: u64,
    },
    /// Times for votes have bounds.
    #[error("votes count for {from_ms} ms to {to_ms} ms, and not for {found_ms} ms")]
    BadTime {
        /// What was asked for.
        found_ms: u64,
        /// At least.
        from_ms: u64,
        /// At most.
        to_ms: u64,
    },
    /// Weights that nobody can reach, or too many of them.
    #[error(
        "these weights make no sense: at most {limit} of them, each node once, and together more than nothing"
    )]
    BadWeights {
        /// What there may be.
        limit: u64,
    },
    /// Too many could vote.
    #[error(
        "{found} masters are enrolled, and at most {limit} can vote: make some of them workers"
    )]
    TooManyVoters {
        /// How many there are.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Too many keys.
    #[error(
        "{limit} keys of other programs were decided already, or are proposed: use those that there are"
    )]
    TooManyKeys {
        /// What there may be.
        limit: u64,
    },
    /// Nobody could vote.
    #[error("nobody could vote: no master is enrolled")]
    NoElectorate,
    /// No such proposal, or none that is remembered.
    #[error("there is no such proposal, or it is forgotten")]
    NoProposal,
    /// It is over.
    #[error("the proposal is over: {}", told(*.0))]
    Over(Verdict),
    /// The electorate was fixed when the proposal was made.
    #[error("this node may not vote on it: the masters of the moment in which it was made do")]
    NotInElectorate,
    /// It voted otherwise before.
    #[error("this node has voted {} before, and votes are not changed", if *.0 { "yes" } else { "no" })]
    VotedBefore(bool),
    /// Only who made a proposal takes it back.
    #[error("only who made a proposal withdraws it")]
    NotTheProposer,
}

/// In words.
#[must_use]
pub fn told(verdict: Verdict) -> String {
    match verdict {
        Verdict::Open => "votes are counted".to_owned(),
        Verdict::Passed { version } => format!("it passed, and is version {version}"),
        Verdict::Failed => "too many were against it".to_owned(),
        Verdict::Expired => "it did not have the votes in time".to_owned(),
        Verdict::Withdrawn => "it was withdrawn".to_owned(),
    }
}

/// What is asked about configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigQuery {
    /// One key.
    Get(String),
    /// All keys of the schema and those that were decided, which begin so.
    List(String),
    /// The versions of a key that are kept, the newest first.
    History(String),
    /// One proposal.
    Proposal(ProposalId),
    /// Proposals that are open, and those that ended last; the newest of each, as far as one answer has room.
    Proposals,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigFound {
    /// The key, if there is such a one.
    Setting(Option<Setting>),
    /// Keys in their order.
    Settings(Vec<Setting>),
    /// Versions, the newest first.
    History(Vec<Version>),
    /// The proposal, if it is remembered.
    Proposal(Option<Proposal>),
    /// Proposals by their numbers.
    Proposals(Vec<Proposal>),
}
