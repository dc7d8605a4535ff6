//! What a planner is told: what is observed, and what is decided. Each says which kind it is by its type.
//!
//! Both are keyed by node, so there is one entry for a node and no order to depend on. Nodes that are observed and not decided are passed over:
//! who has no record has no role to change.
//!
//! Deliberately not here: reading either from the running system; that is for whoever feeds the planner.

use std::borrow::Cow;
use std::collections::BTreeMap;

use convoke_types::wire::store::Record;
use convoke_types::{NodeId, Role, RoleSet, Timestamp};
use serde::{Deserialize, Serialize};

use super::measure::Machine;
use super::rules::Rules;

/// What is observed: reports, which may be wrong or old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Whether whoever plans may propose anything.
    pub authority: Authority,
    /// The nodes that were seen; at most as many as there are records.
    pub nodes: BTreeMap<NodeId, Seen>,
}

/// Whether a planner may propose, as the node it runs on sees itself. It looks at everything in any case, so that whoever leads next knows
/// since when things are as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// Its node leads, and a majority confirmed that lately.
    Leads,
    /// Its node does not lead: somebody else plans, or nobody can.
    #[default]
    Follows,
    /// Its node leads and hears no majority: it may be on the small side of a partition.
    NoMajority,
    /// A partition is suspected and the loss is not confirmed: ownership is frozen.
    Frozen,
}

/// What is observed of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether it is there.
    pub presence: Presence,
    /// What its machine can do, as it says.
    pub machine: Machine,
    /// The last role it could not play, if there is one.
    #[serde(default)]
    pub refused: Option<Refused>,
}

/// Whether a node is there, as membership judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Nothing is wrong with it.
    Reachable,
    /// It does not answer. That alone is no reason for anything.
    Unreachable,
    /// It has not answered for the whole hold.
    Failed,
    /// It went on purpose.
    Left,
    /// It has a record and was not seen.
    Unseen,
}

impl Presence {
    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Unseen => "not seen yet",
        }
    }
}

/// A node was granted a role, could not play it, and rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which role.
    pub role: Role,
    /// When.
    pub at: Timestamp,
    /// Why, in its words.
    pub why: Cow<'static, str>,
}

/// What is decided, as far as it matters for roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What is asked of roles, what the cluster needs, and how patient to be.
    pub rules: Rules,
    /// The nodes that have a record; decided state keeps 65,536 at most.
    pub nodes: BTreeMap<NodeId, Enrolled>,
}

/// What is decided about one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Its role.
    pub role: Role,
    /// When its role was last changed; nothing while it has the one it came with.
    #[serde(default)]
    pub changed_at: Option<Timestamp>,
    /// What it may become.
    pub allowed: RoleSet,
    /// The role that people hold it to, if they do.
    #[serde(default)]
    pub pin: Option<Role>,
    /// `roles.auto` for this node: its role may be changed without being asked for.
    pub auto: bool,
    /// It is to have nothing to do soon.
    #[serde(default)]
    pub drains: bool,
}

impl From<&Record> for Enrolled {
    fn from(record: &Record) -> Self {
        Self {
            role: record.role,
            changed_at: record.changed_at,
            allowed: record.allowed,
            pin: record.pin,
            auto: !record.by_hand,
            drains: record.drains,
        }
    }
}

impl Enrolled {
    /// Why a node that is there could not play the role that was decided for it, and went back to the one it plays, if that is so and the planner is to
    /// decide that one for it again.
    #[must_use]
    pub fn went_back(&self, seen: &Seen, plays: Role) -> Option<String> {
        let refused = seen.refused.as_ref()?;
        let is_so = refused.role == self.role
            && self.changed_at.is_none_or(|at| refused.at >= at)
            && plays != self.role;
        let is_ours = self.auto && self.pin.is_none() && self.allowed.contains(plays);
        let is_there = seen.presence == Presence::Reachable;
        (is_so && is_ours && is_there)
            .then(|| format!("it could not be a {}: {}", refused.role, refused.why))
    }

    /// A node that came with this role, may have these, and is left to the planner.
    #[must_use]
    pub const fn new(role: Role, allowed: RoleSet) -> Self {
        Self {
            role,
            changed_at: None,
            allowed,
            pin: None,
            auto: true,
            drains: false,
        }
    }
}
