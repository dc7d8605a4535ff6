//! What happens to a node, for whoever started it: people at a terminal, a program that watches over it, a test.
//!
//! Deliberately not here: words for people and JSON for programs, which are the command line's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use convoke_driver::EventKind;
use convoke_rpc::{NodeId, Role, RoleSet};
use convoke_types::{ClusterId, Timestamp};

use crate::supervisor;

/// Hears of everything, in order. Must not block.
pub type Teller = Arc<dyn Fn(&Event) + Send + Sync>;

/// A node and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub node: NodeId,
    /// Where.
    pub addresses: Vec<String>,
    /// It is the one that says so.
    pub is_self: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The node answers.
    Started {
        /// Which.
        node: NodeId,
        /// Of which cluster.
        cluster: ClusterId,
        /// By which name people know that.
        cluster_name: String,
        /// Where it listens.
        listen: SocketAddr,
        /// Where others reach it.
        advertise: SocketAddr,
        /// What its certificate allows.
        roles: RoleSet,
        /// Which start of this node it is.
        start: u64,
    },
    /// It is the first of a new cluster.
    NewCluster,
    /// It belongs to no log, and nobody said that it should.
    NoLog {
        /// Where it is.
        own: SocketAddr,
    },
    /// It joins the log that nodes at these addresses keep.
    Joining {
        /// Where they are.
        at: Vec<String>,
    },
    /// It came in with a token.
    Joined {
        /// Through which node.
        through: NodeId,
        /// What it may be.
        roles: RoleSet,
    },
    /// It said who it is, and what it is was decided.
    Enrolled {
        /// Its role.
        role: Role,
    },
    /// It cannot say who it is yet.
    NotEnrolled {
        /// Why not.
        why: String,
    },
    /// It is listed, follows what is decided, and answers.
    Ready {
        /// What it is.
        role: Role,
        /// Since its start.
        after: Duration,
    },
    /// A log cannot be founded yet.
    Waiting {
        /// Why not.
        why: String,
    },
    /// A log was founded.
    Founded {
        /// By whom.
        voters: Vec<SocketAddr>,
    },
    /// A log should be founded, and there is one.
    FoundedBefore,
    /// Somebody leads, in a new term or for the first time.
    Leads {
        /// Who.
        leader: Place,
        /// In which term.
        term: u64,
    },
    /// Nobody is known to lead any more.
    NobodyLeads,
    /// Its log may have lost something, or is whole again.
    Doubtful {
        /// Whether it may.
        is_doubtful: bool,
    },
    /// Something ails the disk, or no more.
    Trouble {
        /// What.
        trouble: Option<&'static str>,
    },
    /// The others look for it elsewhere.
    Elsewhere {
        /// Where.
        known_at: Vec<String>,
        /// Where it is.
        own: SocketAddr,
    },
    /// Its certificate was renewed.
    Renewed {
        /// Until when it counts.
        until: Timestamp,
        /// What it allows.
        roles: RoleSet,
    },
    /// Its certificate cannot be renewed just now.
    NotRenewed {
        /// Why not.
        why: String,
        /// Until when it counts.
        until: Timestamp,
    },
    /// The clock of this machine is before anything that certificates say.
    ClockIsBehind {
        /// What it says.
        now: Timestamp,
        /// When its certificate begins to count.
        from: Timestamp,
    },
    /// Other issuers count, or other nodes are out.
    Trusts {
        /// How many issuers count.
        issuers: usize,
        /// How many nodes are out.
        forgotten: usize,
    },
    /// It has another role.
    RoleIs {
        /// Which.
        role: Role,
    },
    /// Somebody else came, went, or changed.
    Membership(EventKind),
    /// What its supervisor does.
    Services(supervisor::Event),
    /// It was told to stop, or has to.
    Stopping,
    /// It stopped in order.
    Stopped,
}
