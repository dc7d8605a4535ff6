//! What the HTTP side asks of the process behind it.
//!
//! [`Backend`] is all that this crate knows of gossip, log, custody and supervisor; the node implements it, and tests do
//! with a store in memory. It is object-safe, because one table of routes serves every backend.
//!
//! ```
//! # use convoke_web::backend::Reply;
//! # use convoke_web::Fault;
//! # struct Node;
//! # impl Node {
//! fn lines<'a>(&'a self, node: &'a str) -> Reply<'a, Vec<String>> {
//!     Box::pin(async move {
//!         let found = ["node-a"].contains(&node);
//!         found.then(Vec::new).ok_or_else(|| Fault::not_found("there is no such node"))
//!     })
//! }
//! # }
//! ```
//!
//! Rules for who implements it:
//! - Every change gets a [`Caller`], and whoever carries it out writes an audit entry with it, also when it refuses.
//! - The scope of the caller was checked before. What the roles of a principal's node allow was not: that is decided
//!   where commands enter.
//! - A [`Fault`] says what came of it: `outcome-unknown` if the change may have happened, anything else if not.
//! - Futures are dropped when the client goes or the deadline is over. A change that was handed on may still happen.
//! - Cursors that it makes, `next` among them, are printable ASCII of at most 2,048 bytes. One that comes back and means
//!   nothing is [`Code::BadParameter`](crate::problem::Code), and for events and lines `missed`.
//! - Names and numbers are within their bounds when they come here, and have no control characters; whether there is
//!   such a thing is the backend's business.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use convoke_types::RoleSet;
use futures_util::Stream;

use crate::model::{
    Adaptation, ApiToken, ApiTokenCreated, AuditEntry, Changed, ConfigVersion, CreateApiToken,
    CreateToken, EventPage, Found, Health, Instance, Issuer, JoinToken, KeyEntry, KeyWritten,
    Level, Lock, LogPage, LoginCreated, NodeDetail, NodeSummary, Page, PlanRoles, Proposal,
    Propose, RoleExplanation, RolePlan, RotateIssuer, RpcService, RpcServiceSummary, Scope,
    SetAllow, SetDrain, SetRole, Setting, Stamp, Status, SteerRole, TokenCreated, Vote, Voters,
    Watching,
};
use crate::problem::Fault;

/// What a backend's method gives back.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// As the audit log names it.
    pub name: String,
    /// What it may ask of the API.
    pub scope: Scope,
    /// The roles whose rights its commands have where they enter the log.
    pub roles: RoleSet,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// The socket in the data directory.
    Local {
        /// The user whose process it is, if the system says so.
        uid: Option<u32>,
    },
    /// The network.
    Network(SocketAddr),
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid: Some(uid) } => write!(f, "local user {uid}"),
            Self::Local { uid: None } => f.write_str("local"),
            Self::Network(address) => address.fmt(f),
        }
    }
}

/// Who changes something, from where, in which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// From where.
    pub remote: Remote,
    /// The request's id, as in logs and problem documents.
    pub request: String,
}

/// How fresh a read of decided state has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Consistency {
    /// It sees everything that was acknowledged before it began.
    #[default]
    Linearizable,
    /// What this node has, however old; the answer says how old.
    Stale,
    /// At least this revision. A node that has not read as far waits for a second or so, and then says
    /// [`Code::NotYet`](crate::problem::Code): the number comes from outside, and may never be reached.
    AtLeast(u64),
}

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Behind this place, as an earlier page said it; the beginning without. The text comes from outside.
    pub after: Option<String>,
    /// At most so many: 1 to [`PAGE_MOST`].
    pub limit: u32,
}

/// The longest page.
pub const PAGE_MOST: u32 = 1_000;

/// From where on something that grows is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the oldest that is kept.
    Oldest,
    /// Only what is new from here on.
    Now,
    /// Behind this cursor, which comes from outside. If what follows it is gone or it is from another life of the node,
    /// the answer begins with the oldest that is kept and says `missed`.
    After(String),
}

/// How something that grows is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// From where on.
    pub start: Start,
    /// At most so many.
    pub limit: u32,
    /// If there is nothing yet, wait so long for something, then answer with nothing. The stream of a follower is made of
    /// such readings, so that a slow one costs no queue; zero for a page.
    pub wait: Duration,
}

/// What has to hold for a key to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It was written last in this revision.
    Revision(u64),
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRead {
    /// The bytes.
    pub value: Bytes,
    /// In which revision it was written last.
    pub written: u64,
    /// What it was read from.
    pub stamp: Stamp,
}

/// A call of an RPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcCall {
    /// Of which service.
    pub service: String,
    /// Which method, without the service.
    pub method: String,
    /// The request; it is JSON.
    pub request: String,
    /// Which instances, as it was written.
    pub selector: Option<String>,
    /// What it is about, for those who balance by it.
    pub key: Option<String>,
    /// How long the answer is worth something, if somebody says so.
    pub timeout: Option<Duration>,
    /// To which trace it belongs, as the header `traceparent` has it.
    pub trace: Option<String>,
}

/// What comes of it. All texts are JSON on one line.
pub enum RpcAnswer {
    /// The answer.
    One(String),
    /// Answers; an error ends them. Dropped, the call is cancelled.
    Many(RpcItems),
}

/// Answers as they come.
pub type RpcItems = Pin<Box<dyn Stream<Item = Result<String, Fault>> + Send>>;

impl fmt::Debug for RpcAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(text) => write!(f, "One({text})"),
            Self::Many(_) => f.write_str("Many"),
        }
    }
}

/// The process behind the API. The [module](self) has the rules.
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Whose token this is, if it counts. Compare secrets, or what they hash to, in constant time.
    fn authenticate<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>>;
    /// Whose one-time token this is. It counts once: the same again gives nothing.
    fn redeem_login<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>>;

    /// Makes a one-time token, with which a browser logs in as admin.
    fn create_login<'a>(&'a self, by: &'a Caller) -> Reply<'a, LoginCreated>;

    /// Whether the node can be asked. Quick, and asks nobody.
    fn health(&self) -> Reply<'_, Health>;
    /// How the cluster is.
    fn status(&self) -> Reply<'_, Status>;
    /// Lines for `/metrics`, each ending in a newline; names begin with `convoke_`, none with `convoke_http_`.
    fn metrics(&self) -> Reply<'_, String>;
    /// What happened.
    fn events(&self, reading: Reading) -> Reply<'_, EventPage>;
    /// Who votes, and with `explain` why.
    fn voters(&self, explain: bool) -> Reply<'_, Voters>;
    /// Who did what.
    fn audit(&self, part: Part) -> Reply<'_, Page<AuditEntry>>;

    /// Decided records and observed members, merged.
    fn nodes(&self, part: Part) -> Reply<'_, Page<NodeSummary>>;
    /// A node by its id, the beginning of it, or its name.
    fn node<'a>(&'a self, node: &'a str) -> Reply<'a, NodeDetail>;
    /// Who watches whom: at most so many nodes. If there are more, the neighbourhood of one: of `around`, else of the node that answers.
    fn watching<'a>(&'a self, around: Option<&'a str>, most: u32) -> Reply<'a, Watching>;
    /// RPC services that somebody offers, in the order of their names.
    fn rpc_services(&self, part: Part) -> Reply<'_, Page<RpcServiceSummary>>;
    /// The instances of one of them that a selector chooses, in the order of their nodes.
    fn instances<'a>(
        &'a self,
        service: &'a str,
        selector: Option<&'a str>,
        part: Part,
    ) -> Reply<'a, Page<Instance>>;
    /// Lines of a node's log, of this level and those that matter more.
    fn logs<'a>(&'a self, node: &'a str, level: Level, reading: Reading) -> Reply<'a, LogPage>;
    /// Gives a node a role.
    fn set_role<'a>(&'a self, by: &'a Caller, node: &'a str, role: SetRole) -> Reply<'a, Changed>;
    /// How a node comes to its role from here on.
    fn steer_role<'a>(&'a self, by: &'a Caller, node: &'a str, to: SteerRole)
    -> Reply<'a, Changed>;
    /// Why a node has the role it has.
    fn explain_role<'a>(&'a self, node: &'a str) -> Reply<'a, RoleExplanation>;
    /// What would become of all nodes under other rules.
    fn plan_roles(&self, what: PlanRoles) -> Reply<'_, RolePlan>;
    /// How the knobs of a node stand, and why.
    fn knobs<'a>(&'a self, node: &'a str) -> Reply<'a, Adaptation>;
    /// Bounds what a node may become.
    fn set_allow<'a>(&'a self, by: &'a Caller, node: &'a str, to: SetAllow) -> Reply<'a, Changed>;
    /// Takes a node out of use, or back.
    fn set_drain<'a>(&'a self, by: &'a Caller, node: &'a str, to: SetDrain) -> Reply<'a, Changed>;
    /// Cuts a node off for good.
    fn forget<'a>(&'a self, by: &'a Caller, node: &'a str) -> Reply<'a, Changed>;

    /// Keys of configuration that begin so.
    fn settings<'a>(
        &'a self,
        prefix: &'a str,
        part: Part,
        how: Consistency,
    ) -> Reply<'a, Page<Setting>>;
    /// One of them.
    fn setting<'a>(&'a self, key: &'a str, how: Consistency) -> Reply<'a, Found<Setting>>;
    /// Its versions that are kept, the newest first.
    fn setting_history<'a>(&'a self, key: &'a str, part: Part) -> Reply<'a, Page<ConfigVersion>>;
    /// Proposals that are open and those that ended last.
    fn proposals(&self, part: Part) -> Reply<'_, Page<Proposal>>;
    /// One of them.
    fn proposal(&self, id: u64, how: Consistency) -> Reply<'_, Found<Proposal>>;
    /// Proposes a value.
    fn propose<'a>(&'a self, by: &'a Caller, what: Propose) -> Reply<'a, Proposal>;
    /// Votes, for the node that answers.
    fn vote<'a>(&'a self, by: &'a Caller, id: u64, vote: Vote) -> Reply<'a, Proposal>;
    /// Takes a proposal back.
    fn withdraw<'a>(&'a self, by: &'a Caller, id: u64) -> Reply<'a, Proposal>;

    /// Keys that begin so, with their values.
    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        part: Part,
        how: Consistency,
    ) -> Reply<'a, Page<KeyEntry>>;
    /// A key's value.
    fn key<'a>(&'a self, key: &'a [u8], how: Consistency) -> Reply<'a, KeyRead>;
    /// Writes a key. A condition that does not hold is [`Code::ConditionFailed`](crate::problem::Code).
    fn put_key<'a>(
        &'a self,
        by: &'a Caller,
        key: &'a [u8],
        value: Bytes,
        only_if: Condition,
    ) -> Reply<'a, KeyWritten>;
    /// Removes a key.
    fn delete_key<'a>(
        &'a self,
        by: &'a Caller,
        key: &'a [u8],
        only_if: Condition,
    ) -> Reply<'a, KeyWritten>;

    /// Locks that are held.
    fn locks(&self, part: Part, how: Consistency) -> Reply<'_, Page<Lock>>;
    /// One of them.
    fn lock<'a>(&'a self, name: &'a str, how: Consistency) -> Reply<'a, Found<Lock>>;

    /// An RPC service, as its instances describe themselves.
    fn rpc_service<'a>(&'a self, service: &'a str) -> Reply<'a, RpcService>;
    /// Calls a method, on the instance that is best.
    fn call_rpc<'a>(&'a self, by: &'a Caller, call: RpcCall) -> Reply<'a, RpcAnswer>;

    /// Tokens with which nodes join.
    fn join_tokens(&self, part: Part) -> Reply<'_, Page<JoinToken>>;
    /// Makes one.
    fn create_join_token<'a>(
        &'a self,
        by: &'a Caller,
        what: CreateToken,
    ) -> Reply<'a, TokenCreated>;
    /// Revokes one.
    fn revoke_join_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed>;
    /// Tokens with which programs ask.
    fn api_tokens(&self, part: Part) -> Reply<'_, Page<ApiToken>>;
    /// Makes one.
    fn create_api_token<'a>(
        &'a self,
        by: &'a Caller,
        what: CreateApiToken,
    ) -> Reply<'a, ApiTokenCreated>;
    /// Revokes one.
    fn revoke_api_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed>;
    /// Who signs certificates.
    fn issuers(&self, part: Part) -> Reply<'_, Page<Issuer>>;
    /// Gives a node, or all voters, new issuers.
    fn rotate_issuer<'a>(&'a self, by: &'a Caller, what: RotateIssuer) -> Reply<'a, Changed>;
}
