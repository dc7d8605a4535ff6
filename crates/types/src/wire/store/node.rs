//! Node records: what is decided about each node of a cluster.
//!
//! A node enrols itself; what it may become is bounded by its certificate, and what it is, is granted here. Who leads and who votes
//! follows from these records: [`Record::rank`].
//!
//! Deliberately not here: who may change a record ([`rights`](super::rights)), and what nodes observe of each other (gossip).

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::Revision;
use crate::{Incarnation, NodeId, Role, RoleSet, Timestamp};

/// Nodes that may have a record.
pub const NODES: usize = 65_536;
/// Addresses of a node.
pub const ADDRESSES: usize = 8;
/// The most bytes of an address.
pub const ADDRESS_BYTES: usize = 256;
/// The most bytes of a trust bundle.
pub const BUNDLE_BYTES: usize = 4_096;
/// Members that can be confirmed as lost at once.
pub const LOST: usize = 1_024;
/// Recoveries and losses that are remembered.
pub const MARKS: usize = 64;
/// The most bytes of the reason for a role.
pub const WHY_BYTES: usize = 256;

/// Sixteen random bytes, made with a log: which log of its node this is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogNumber(#[serde(with = "serde_bytes")] pub [u8; 16]);

/// What is to be decided about nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeCommand {
    /// A node says who it is. Said again, it changes what is new.
    Enrol {
        /// Which node.
        node: NodeId,
        /// Its log, if it keeps one.
        log: Option<LogNumber>,
        /// Where it can be reached.
        addresses: Vec<String>,
        /// What its certificate allows.
        allowed: RoleSet,
        /// How much it can do, as it measured itself; more is better.
        score: u32,
    },
    /// What a node may become at most, whatever its certificate says.
    Allow {
        /// Which node.
        node: NodeId,
        /// What it may become.
        roles: RoleSet,
    },
    /// A person gives the node this role. From here on its role is set by hand, until [`NodeCommand::Steer`] says otherwise.
    Grant {
        /// Which node.
        node: NodeId,
        /// Its role.
        role: Role,
    },
    /// The node is to have nothing to do soon, or is in use again.
    Drain {
        /// Which node.
        node: NodeId,
        /// Whether it is.
        drains: bool,
    },
    /// The node is no part of the cluster any more. It can enrol again.
    Forget {
        /// Which node.
        node: NodeId,
    },
    /// Whose certificates count.
    SetIssuers {
        /// The version there is now; 0 if there is none.
        expect: u64,
        /// The trust bundle, at most [`BUNDLE_BYTES`].
        #[serde(with = "serde_bytes")]
        bundle: Vec<u8>,
    },
    /// These members are lost: a freeze of ownership ends.
    ConfirmLoss {
        /// Each in the incarnation in which it is lost.
        lost: Vec<(NodeId, Incarnation)>,
    },
    /// How the node comes to its role from here on.
    Steer {
        /// Which node.
        node: NodeId,
        /// Its role may be changed without a person asking for it.
        auto: bool,
        /// It is held to this role, of those it may have, whatever else is planned.
        pin: Option<Role>,
    },
    /// The planner gives the node this role. Refused when the record is not what the planner saw, or the node's role is for people to set.
    Assign {
        /// Which node.
        node: NodeId,
        /// Its role.
        role: Role,
        /// The revision of the record that the planner saw.
        expect: Revision,
        /// Why, for people; at most [`WHY_BYTES`].
        why: String,
    },
}

impl NodeCommand {
    /// The planner gives a node this role, for a reason that is cut where it is too long.
    #[must_use]
    pub fn assign(node: NodeId, role: Role, expect: Revision, why: &str) -> Self {
        let end = why.floor_char_boundary(WHY_BYTES);
        Self::Assign {
            node,
            role,
            expect,
            why: why[..end].to_owned(),
        }
    }
}

/// What is decided about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which node.
    pub node: NodeId,
    /// Its log, if it keeps one.
    pub log: Option<LogNumber>,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// What it may become: what its certificate says, and what was allowed.
    pub allowed: RoleSet,
    /// Its role.
    pub role: Role,
    /// It is to have nothing to do soon.
    pub drains: bool,
    /// How much it can do; more is better.
    pub score: u32,
    /// When it first enrolled, and …
    pub since: Timestamp,
    /// … when this was last changed.
    pub revision: Revision,
    /// Its role is for people to set.
    #[serde(default)]
    pub by_hand: bool,
    /// The role that people hold it to, if they do.
    #[serde(default)]
    pub pin: Option<Role>,
    /// When its role was last changed; nothing while it has the one it came with.
    #[serde(default)]
    pub changed_at: Option<Timestamp>,
}

/// Where a node stands in the order of those who may lead: less is better, and no two are the same.
pub type Rank = (bool, u8, Reverse<u32>, NodeId);

impl Record {
    /// Master before worker before the rest, then the higher score; whoever drains comes last.
    #[must_use]
    pub fn rank(&self) -> Rank {
        let place = match self.role {
            Role::Master => 0,
            Role::Worker => 1,
            Role::Gateway | Role::Observer => 2,
            Role::Leecher => 3,
        };
        (self.drains, place, Reverse(self.score), self.node)
    }
}

/// What happened to the cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When, in the order of changes, …
    pub revision: Revision,
    /// … and by the time of the log.
    pub at: Timestamp,
    /// What.
    pub what: Marked,
}

/// What is remembered of the cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Marked {
    /// A majority was lost for good, and one node went on with what it had. Later decisions may contradict what was acknowledged before.
    Recovered {
        /// Which node.
        by: NodeId,
    },
    /// Members were confirmed as lost.
    Lost(Vec<(NodeId, Incarnation)>),
    /// Contents of another cluster, or of an earlier day, were put in.
    Restored {
        /// By whom.
        by: NodeId,
        /// The revision that was restored.
        of: Revision,
    },
}

/// The issuers that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuers {
    /// 1 for the first.
    pub version: u64,
    /// The trust bundle.
    #[serde(with = "serde_bytes")]
    pub bundle: Vec<u8>,
    /// When it was decided.
    pub revision: Revision,
}

/// Why nothing was decided about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum NodeRefusal {
    /// It has no record.
    #[error("this node is not enrolled")]
    Unknown,
    /// It may not become that.
    #[error("this node may not become a {0}: its certificate or its record does not allow it")]
    NotAllowed(Role),
    /// Without a role there is nothing to be.
    #[error("a node may become at least one of the roles")]
    NoRole,
    /// Nodes enrol themselves.
    #[error("a node enrols itself, and nobody else")]
    NotItself,
    /// Addresses have bounds.
    #[error("a node has at most {ADDRESSES} addresses of at most {ADDRESS_BYTES} bytes")]
    BadAddresses,
    /// The bundle has another version.
    #[error("the issuers have version {found} and not {expected}: look at them again")]
    IssuersAre {
        /// What was expected.
        expected: u64,
        /// What they have.
        found: u64,
    },
    /// Bundles have bounds.
    #[error("a trust bundle has 1 to {BUNDLE_BYTES} bytes, and this one {found}")]
    BadBundle {
        /// What it has.
        found: u64,
    },
    /// Losses have bounds.
    #[error("1 to {LOST} members can be confirmed as lost at once, and these are {found}")]
    BadLoss {
        /// How many there are.
        found: u64,
    },
    /// Its log is of before a recovery.
    #[error(
        "this node's log is of the time before the cluster was recovered, and may contradict what was decided since: move its directories \
         log and snapshots away, and it joins with a new one"
    )]
    OldLog,
    /// There are too many.
    #[error("{NODES} nodes are enrolled already")]
    TooMany,
    /// It is out.
    #[error("this node was forgotten: it can join again as a new one (`convoke reset`)")]
    Forgotten,
    /// What was planned was planned for what is not so any more.
    #[error(
        "the record of this node was changed in revision {found}, and this is for revision {expected}"
    )]
    Moved {
        /// What was seen.
        expected: Revision,
        /// What there is.
        found: Revision,
    },
    /// People set its role.
    #[error("the role of this node is set by hand")]
    ByHand,
    /// Reasons have bounds.
    #[error("the reason for a role has at most {WHY_BYTES} bytes, and this one {found}")]
    LongWhy {
        /// What it has.
        found: u64,
    },
    /// Nothing could be decided any more.
    #[error(
        "it is the last node that keeps the log, which a {0} does not, and nothing could be decided any more: make another one a master or a worker first"
    )]
    LastKeeper(Role),
}

/// What is asked about nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeQuery {
    /// One node.
    Get(NodeId),
    /// Nodes in the order of their ids.
    List {
        /// Behind this one.
        after: Option<NodeId>,
        /// At most so many, and never more than a page.
        limit: u32,
    },
    /// The issuers that count.
    Issuers,
    /// What happened to the cluster as a whole.
    Marks,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeFound {
    /// The node, if it is enrolled.
    Node(Option<Record>),
    /// Nodes in their order.
    Nodes(Vec<Record>),
    /// The issuers, if any were decided.
    Issuers(Option<Issuers>),
    /// What happened, the oldest first.
    Marks(Vec<Mark>),
}
