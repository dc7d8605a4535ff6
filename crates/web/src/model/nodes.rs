//! Nodes: what is decided about them beside what is observed of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Check, Role, Service, Stamp, Stated, roles};
use crate::problem::Fault;

/// How a member looks from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Seen and well.
    Reachable,
    /// Not reached for now: route around it.
    Unreachable,
    /// Gone long enough that what it owned may move.
    Failed,
    /// It said goodbye.
    Left,
}

/// A node in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Where it is reached.
    pub addresses: Stated<Vec<String>>,
    /// The role it was granted.
    pub role: Stated<Role>,
    /// The role it says it has.
    pub role_seen: Stated<Role>,
    /// How it looks from here.
    pub verdict: Stated<Verdict>,
    /// Whether people set its role; else it follows from what its machine can do and what the cluster needs.
    pub by_hand: Stated<bool>,
    /// The role that people hold it to; null as well when they do not.
    pub pinned: Stated<Role>,
    /// Whether it is in use, or drained.
    pub drained: Stated<bool>,
    /// The version of its program.
    pub version: Stated<String>,
}

/// A node with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDetail {
    /// As in the list.
    pub summary: NodeSummary,
    /// Its current life: boot and refutation.
    pub incarnation: Stated<String>,
    /// What it says of itself.
    pub facts: Vec<Fact>,
    /// How doubtful the node that answers is of it, and it of those that it watches.
    pub phi: Vec<PeerPhi>,
    /// Its services; null when it does not say.
    pub services: Stated<Vec<Service>>,
    /// Its certificate.
    pub certificate: Stated<Certificate>,
    /// What is decided about it.
    pub record: Stated<NodeRecord>,
}

/// Something a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// Of what.
    pub key: String,
    /// What.
    pub value: String,
    /// Its version; null where facts have none of their own.
    pub version: Option<u64>,
    /// How old it is.
    pub age_ms: Option<u64>,
}

/// How doubtful one node is of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerPhi {
    /// Who watches, …
    pub observer: String,
    /// … whom.
    pub peer: String,
    /// The doubt; null when too little was heard to say.
    pub phi: Option<f64>,
    /// The round-trip time.
    pub rtt_us: Option<u64>,
    /// When it was last heard.
    pub heard_ms_ago: Option<u64>,
}

/// Who watches whom, as the node that answers believes: all that take part, or the neighbourhood of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Watching {
    /// Whose neighbourhood it is; null when it is everybody.
    pub around: Option<String>,
    /// Those in the picture, in the order of their ids; of a neighbourhood its middle and those beside it.
    pub nodes: Vec<WatchingNode>,
    /// Pairs of them that watch each other.
    pub links: Vec<WatchingLink>,
    /// How many take part in all.
    pub total: u64,
    /// Of what kind of state it is: what was seen from here.
    pub stamp: Stamp,
}

/// A node that watches and is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchingNode {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// How it looks from here.
    pub verdict: Verdict,
}

/// A pair that watches each other: one exchange serves both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchingLink {
    /// One, …
    pub a: String,
    /// … and the other, whose id is greater.
    pub b: String,
    /// Of pairs that the node that answers is one of: its doubt about the other; null when too little was heard to say.
    pub phi: Option<f64>,
    /// The round-trip time, and …
    pub rtt_us: Option<u64>,
    /// … when it was last heard.
    pub heard_ms_ago: Option<u64>,
}

/// With what a node shows who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Which issuer signed it.
    pub issuer: String,
    /// From when it counts, …
    pub not_before_unix_ms: u64,
    /// … until when.
    pub not_after_unix_ms: u64,
    /// The roles it allows.
    pub roles: Vec<Role>,
}

/// What is decided about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRecord {
    /// Its role.
    pub role: Option<Role>,
    /// The roles it may have.
    pub allowed: Vec<Role>,
    /// Whether it is out of use.
    pub drained: bool,
    /// Whether it keeps a log.
    pub has_log: bool,
    /// Its score.
    pub score: Option<u64>,
    /// When the record was changed last.
    pub revision: u64,
    /// Whether people set its role; else it follows from what its machine can do and what the cluster needs.
    pub by_hand: bool,
    /// The role that people hold it to, if they do.
    pub pinned: Option<Role>,
    /// When its role was last changed; null while it has the one it came with.
    pub role_changed_unix_ms: Option<u64>,
}

/// Gives a node a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// The role.
    pub role: Role,
}

/// Bounds what a node may become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAllow {
    /// The roles it may have, each once.
    #[schemars(length(min = 1, max = 5))]
    pub roles: Vec<Role>,
}

/// Takes a node out of use, or back into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDrain {
    /// True: out of use.
    pub drain: bool,
}

impl Check for SetRole {
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

impl Check for SetAllow {
    fn check(&self) -> Result<(), Fault> {
        roles("roles", &self.roles)
    }
}

impl Check for SetDrain {
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}
