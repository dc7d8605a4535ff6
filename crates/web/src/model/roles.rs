//! Roles: why a node has the one it has, and what would become of all of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::{ConfigValue, KEY_BYTES, TEXT_BYTES};
use super::{Check, Role, bad_field, text};
use crate::problem::Fault;

/// Keys that a plan may change at once.
const CHANGES: usize = 64;

/// How a node comes to its role from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRole {
    /// True: it follows from what its machine can do and what the cluster needs. False: people set it.
    pub auto: bool,
    /// The role that it is held to, of those it may have; none without one.
    pub pin: Option<Role>,
}

/// Why a node has the role it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleExplanation {
    /// Its id.
    pub id: String,
    /// The role that is decided.
    pub role: Option<Role>,
    /// When it was last changed; null while it is the one the node came with.
    pub changed_unix_ms: Option<u64>,
    /// Whether it is there: `reachable`, `unreachable`, `failed`, `left`, `not seen yet`.
    pub presence: String,
    /// How it stands towards each role that asks something of a machine.
    pub roles: Vec<RoleJudgement>,
    /// What is done about it now, or why nothing is.
    pub next: String,
    /// The role it is about to get; null when nothing is changed.
    pub becomes: Option<Role>,
    /// What would change its role.
    pub to_change: String,
    /// What is to be known about roles in the cluster as a whole.
    pub notices: Vec<String>,
    /// Which kinds of work it can be given in that role.
    pub can_handle: Vec<RoleWork>,
    /// How much of it its machine takes on.
    pub settings: Vec<RoleSetting>,
    /// All of it as text, for people.
    pub text: String,
}

/// Whether a role does a kind of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleWork {
    /// Which kind: `watch`, `follow`, `vote`, `plan`, `execute`, `keep-content`, `cache-content`, `serve-content`, `serve-http`, `serve-api`,
    /// `apply-releases`.
    pub work: String,
    /// `yes`, `if asked` or `no`.
    pub handles: String,
}

/// How much a machine takes on in its role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleSetting {
    /// What is set: `executor-slots`, `cache-bytes`, `cache-disk-bytes`, `fetch-streams`, `snapshot-streams`, `calls-at-once`, `drain-ms`,
    /// `answer-ms`.
    pub name: String,
    /// How much; 0 where the role does not do that.
    pub value: u64,
    /// The least it can be.
    pub least: u64,
    /// The most it can be.
    pub most: u64,
    /// What it rests on is unknown, so that it is what goes anywhere.
    pub is_default: bool,
    /// Why it is that.
    pub why: String,
}

/// How a node stands towards a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleJudgement {
    /// The role.
    pub role: Option<Role>,
    /// Whether the node may have it.
    pub allowed: bool,
    /// `meets`, `between` (enough to keep it, too little to get it) or `below`.
    pub level: String,
    /// Since when it is fit, or unfit; null in between.
    pub since_unix_ms: Option<u64>,
    /// How much it can do there; more is better.
    pub score: u64,
    /// Each requirement.
    pub checks: Vec<RoleCheck>,
}

/// How a node stands towards a requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleCheck {
    /// What it is about: `cpu`, `memory`, `disk`, `bandwidth`, `stability`, `storage`, `coordination`, `address`.
    pub measure: String,
    /// `meets`, `between` or `below`.
    pub level: String,
    /// Whether that rests on policy, as nobody knows the value.
    pub by_policy: bool,
    /// Since when.
    pub since_unix_ms: u64,
    /// What was found, as text: a number, yes or no, or why nobody knows.
    pub found: String,
    /// Where it was found.
    pub source: String,
    /// How far it is to be trusted: `exact`, `estimated`, `an upper bound`, `told`.
    pub confidence: String,
}

/// Asks what would become of all nodes under other rules. Nothing is changed by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRoles {
    /// Keys of configuration, as if they held these values; without any, what there is.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub instead: Vec<PlannedKey>,
}

/// A key of configuration as if it held a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedKey {
    /// Which key; it begins with `roles.`.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// What it would hold.
    pub value: ConfigValue,
}

/// Where the cluster would end if it stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolePlan {
    /// Nodes that would end in another role than they have.
    pub changes: Vec<PlannedRole>,
    /// What is to be known in the end.
    pub notices: Vec<String>,
    /// Whether nothing more would change.
    pub settled: bool,
}

/// A node that would get another role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedRole {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// The role it has.
    pub from: Option<Role>,
    /// The role it would have.
    pub to: Option<Role>,
    /// Why.
    pub because: String,
}

impl Check for SteerRole {
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

impl Check for PlanRoles {
    fn check(&self) -> Result<(), Fault> {
        if self.instead.len() > CHANGES {
            return Err(bad_field("instead", "names more than 64 keys"));
        }
        for planned in &self.instead {
            text("key", &planned.key, KEY_BYTES)?;
            if let ConfigValue::Text(value) = &planned.value
                && value.len() > TEXT_BYTES
            {
                return Err(bad_field("value", "has more than 2048 bytes"));
            }
        }
        Ok(())
    }
}
