//! What requests and answers look like: plain structs, from which JSON and its schemas are both made.
//!
//! Requests refuse fields they do not know, and [`Check`] says what a type alone cannot. Answers say of what kind of
//! state they are and how old, and `null` where nothing is known: never a zero for unknown. Numbers that count
//! revisions may go beyond 2^53; readers whose numbers are floating ones take care.
//!
//! Nothing here knows HTTP or where the values come from.

mod adapt;
mod config;
mod events;
mod instances;
mod keys;
mod locks;
mod nodes;
mod roles;
mod rpc;
mod status;
mod trust;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adapt::{Adaptation, Knob, KnobMove, KnobSignal};
pub(crate) use config::KEY_BYTES as CONFIG_KEY_BYTES;
pub use config::{
    Ballot, ConfigValue, ConfigVersion, Proposal, ProposalState, Propose, Setting, Vote,
    VotingRule, VotingWeight,
};
pub use events::{Event, EventPage, Level, LogLine, LogPage};
pub use instances::{Instance, InstanceHealth};
pub use keys::{KeyEntry, KeyWritten};
pub use locks::{Lock, LockHolder};
pub use nodes::{
    Certificate, Fact, NodeDetail, NodeRecord, NodeSummary, PeerPhi, SetAllow, SetDrain, SetRole,
    Verdict, Watching, WatchingLink, WatchingNode,
};
pub use roles::{
    PlanRoles, PlannedKey, PlannedRole, RoleCheck, RoleExplanation, RoleJudgement, RolePlan,
    RoleSetting, RoleWork, SteerRole,
};
pub(crate) use rpc::{AnyJson, any_json};
pub use rpc::{
    METHOD_BYTES, RpcKind, RpcMessages, RpcMethod, RpcSchema, RpcService, RpcServiceSummary,
    RpcTypes, SERVICE_BYTES,
};
pub use status::{
    Health, Members, OpenApiDocument, OpenApiInfo, Service, ServiceState, Status, StatusProblem,
    Voter, VoterExplanation, Voters,
};
pub(crate) use trust::SECRET_BYTES;
pub use trust::{
    ApiToken, ApiTokenCreated, AuditEntry, AuditOutcome, CreateApiToken, CreateToken, Issuer,
    IssuerState, JoinToken, Login, LoginCreated, RotateIssuer, Session, TokenCreated,
};

use crate::problem::{Code, Fault};

/// The most bytes of a name of a node, a token or a lock.
pub const NAME_BYTES: usize = 256;

/// Which kind of state a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A report with an age; it may be wrong.
    Observed,
    /// Agreed by a majority; whoever has read as far has the same.
    Decided,
}

/// Of what kind of state an answer is, and how old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stamp {
    /// Its kind.
    pub kind: Kind,
    /// For decided state, the revision up to which it was read.
    pub revision: Option<u64>,
    /// How old it may be; null when that is unknown.
    pub age_ms: Option<u64>,
}

/// A value that says of what kind of state it is, and how old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Stated_{T}")]
pub struct Stated<T> {
    /// Its kind.
    pub kind: Kind,
    /// The value; null when it is unknown.
    pub value: Option<T>,
    /// How old it is; null when that is unknown.
    pub age_ms: Option<u64>,
}

impl<T> Stated<T> {
    /// A value that was reported.
    pub const fn observed(value: T, age_ms: Option<u64>) -> Self {
        Self {
            kind: Kind::Observed,
            value: Some(value),
            age_ms,
        }
    }

    /// A value that was decided.
    pub const fn decided(value: T, age_ms: Option<u64>) -> Self {
        Self {
            kind: Kind::Decided,
            value: Some(value),
            age_ms,
        }
    }

    /// Nobody knows.
    #[must_use]
    pub const fn unknown(kind: Kind) -> Self {
        Self {
            kind,
            value: None,
            age_ms: None,
        }
    }
}

/// A part of a long list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Page_{T}")]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// `after` for the next page; null behind the last.
    pub next: Option<String>,
    /// Of what kind of state they are.
    pub stamp: Stamp,
}

/// One thing, with the state it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Found_{T}")]
pub struct Found<T> {
    /// What was asked for.
    pub item: T,
    /// Of what kind of state it is.
    pub stamp: Stamp,
}

/// A change that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The revision in which it was; null for a change of this node alone.
    pub revision: Option<u64>,
}

/// What a node is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Keeps the log and votes.
    Master,
    /// Runs tasks and keeps content; votes when masters are missing.
    Worker,
    /// Serves HTTP to content and services.
    Gateway,
    /// Takes, and gives nothing.
    Leecher,
    /// Looks on.
    Observer,
}

impl Role {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        convoke_types::Role::from(self).name()
    }
}

impl From<Role> for convoke_types::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Master => Self::Master,
            Role::Worker => Self::Worker,
            Role::Gateway => Self::Gateway,
            Role::Leecher => Self::Leecher,
            Role::Observer => Self::Observer,
        }
    }
}

impl From<convoke_types::Role> for Role {
    fn from(role: convoke_types::Role) -> Self {
        use convoke_types::Role as Inner;
        match role {
            Inner::Master => Self::Master,
            Inner::Worker => Self::Worker,
            Inner::Gateway => Self::Gateway,
            Inner::Leecher => Self::Leecher,
            Inner::Observer => Self::Observer,
        }
    }
}

/// These roles, as they are listed.
#[must_use]
pub fn roles_of(set: convoke_types::RoleSet) -> Vec<Role> {
    set.iter().map(Role::from).collect()
}

/// A list of roles, as a set.
#[must_use]
pub fn role_set(list: &[Role]) -> convoke_types::RoleSet {
    let none = convoke_types::RoleSet::of(&[]);
    list.iter().fold(none, |set, role| set.with((*role).into()))
}

/// How much somebody may do. Each includes those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See everything but secrets.
    Read,
    /// Change keys, roles, configuration; take nodes out of use.
    Operate,
    /// Decide who belongs to the cluster and who may do what.
    Admin,
}

impl Scope {
    /// From the least to the most.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// What the type of a request alone cannot say.
pub trait Check {
    /// Whether it can be taken.
    fn check(&self) -> Result<(), Fault>;
}

/// A text of a request with its name: not empty, not too long, nothing in it that does something to a terminal.
pub(crate) fn text(field: &str, value: &str, most_bytes: usize) -> Result<(), Fault> {
    if value.is_empty() {
        return Err(bad_field(field, "is empty"));
    }
    if value.len() > most_bytes {
        return Err(bad_field(
            field,
            &format!(
                "has {} bytes, and at most {most_bytes} are taken",
                value.len()
            ),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(bad_field(field, "has a control character"));
    }
    Ok(())
}

/// A number of a request with its name and its bounds.
pub(crate) fn number(field: &str, value: u64, (least, most): (u64, u64)) -> Result<(), Fault> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(bad_field(
        field,
        &format!("is {value}, and {least} to {most} are taken"),
    ))
}

pub(crate) fn bad_field(field: &str, what: &str) -> Fault {
    Fault::new(Code::BadField, format!("`{field}` {what}"))
}

/// A list of roles in a request: at least one, each once.
fn roles(field: &str, roles: &[Role]) -> Result<(), Fault> {
    if roles.is_empty() {
        return Err(bad_field(field, "is empty: name at least one role"));
    }
    let mut sorted = roles.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == roles.len() {
        Ok(())
    } else {
        Err(bad_field(field, "names a role twice"))
    }
}
