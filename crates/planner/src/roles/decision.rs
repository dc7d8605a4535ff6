//! What a planner says: role changes with their reasons, what a person should know, and why a role is not changed now.
//!
//! Deliberately not here: how it comes to that (`pass`), and words for people (`words`).

use std::time::Duration;

use convoke_types::{NodeId, Role, Timestamp};
use serde::{Deserialize, Serialize};

use super::input::{Authority, Presence};
use super::measure::Measure;

/// What should be proposed now, and what should be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Role changes, what counts first standing first; as many as the cap lets through.
    pub changes: Vec<RoleChange>,
    /// What a person should know; one for each need, stand-in and limit, in a fixed order.
    pub notices: Vec<Notice>,
}

/// A node should have another role. It is an observation's consequence and no decision: the log grants it or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChange {
    /// Which node.
    pub node: NodeId,
    /// The role that is decided.
    pub from: Role,
    /// The role that it should have.
    pub to: Role,
    /// Why.
    pub because: Because,
    /// Nobody knows whether the machine has what the role asks of these; policy says that it passes.
    pub flagged: Vec<Measure>,
}

/// Why a node should have another role, in the order in which the rules count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// It may not have the role that it has.
    NotAllowed,
    /// People hold it to this role.
    Pinned,
    /// The cluster has too few, and it is fit.
    Need(Short),
    /// The cluster has too few, nobody is fit, and it is the best there is.
    StandIn(Short),
    /// It is fit, and whoever serves in this role is not.
    Replaces {
        /// Who serves there.
        stand_in: NodeId,
    },
    /// Its machine has too little for the role that it has.
    Unfit {
        /// Since when.
        since: Timestamp,
        /// Of what.
        lacks: Vec<Measure>,
    },
    /// Its machine has all that the role asks.
    Fit {
        /// Since when.
        since: Timestamp,
    },
}

/// What the cluster has too few of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Short {
    /// Of what.
    pub of: Wanted,
    /// How many it needs at least.
    pub least: u32,
    /// How many serve.
    pub have: u32,
}

/// What a cluster needs some of, in the order in which it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// Masters.
    Masters,
    /// Masters and workers, who may vote.
    Voters,
    /// Workers.
    Workers,
    /// Gateways.
    Gateways,
}

/// What a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// Nothing is proposed here.
    Waits(Authority),
    /// Roles are set by people only.
    AutoOff,
    /// The cluster has too few, also after what is proposed now.
    Unmet(Short),
    /// This node serves as a master and is not fit to: it was the best there was.
    StandsIn {
        /// Which node.
        node: NodeId,
        /// What it has too little of, or what nobody knows.
        lacks: Vec<Measure>,
    },
    /// So many changes wait because others were proposed within the minute.
    Capped {
        /// How many wait.
        waiting: u32,
    },
}

impl Notice {
    /// Something is missing or waits, so that it is worth looking again soon.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Unmet(_) | Self::Capped { .. } => true,
            Self::Waits(_) | Self::AutoOff | Self::StandsIn { .. } => false,
        }
    }
}

/// Why a node's role is not changed now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// It has the role that it should have.
    AsItShould,
    /// Nothing is proposed here.
    Waits(Authority),
    /// Roles are set by people only.
    AutoOff,
    /// Its role is set by people only.
    AutoOffHere,
    /// People hold it to this role.
    Pinned(Role),
    /// It is to have nothing to do soon.
    Drains,
    /// It is not there.
    Away(Presence),
    /// It was proposed that it become this, and nobody answered yet.
    Asked(Role),
    /// Its machine has too little for this role, or nobody knows.
    Unfit(Role),
    /// Its machine is fit for this role, but not for long enough.
    Fresh {
        /// Which role.
        role: Role,
        /// How long it takes still.
        rest: Duration,
    },
    /// Its machine has too little for its role, but not for long enough.
    Dips {
        /// How long it takes still.
        rest: Duration,
    },
    /// Its role was changed a while ago, and fitness does not change it again so soon.
    CoolsDown {
        /// How long it takes still.
        rest: Duration,
    },
    /// Its machine has too little for its role, and without it the cluster would have too few.
    Needed(Wanted),
    /// People hold it to this role, and nobody else keeps the log.
    LastKeeper(Role),
    /// Its machine has too little for its role, and it may have no lesser one.
    NothingBelow,
    /// It may not have this role.
    NotAllowed(Role),
    /// It could not play this role when it was granted, and is not asked again so soon.
    Refused {
        /// Which role.
        role: Role,
        /// How long it takes still.
        rest: Duration,
    },
    /// It is fit for more, and nodes are raised only when the cluster needs it.
    UpgradeOff,
    /// It is fit to be a master, and there are enough.
    EnoughMasters,
    /// Fitness is looked into later.
    NotDue {
        /// How long it takes still.
        rest: Duration,
    },
    /// Others were changed within the minute.
    Capped,
}
