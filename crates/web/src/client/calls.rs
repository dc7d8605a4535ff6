//! Every operation as a method with its types. Paths are made here and nowhere else on this side.
//!
//! Each gives what the node answers, or a [`ClientError`].

use bytes::Bytes;
use hyper::Method;

use super::{Ask, Client, ClientError, Follow};
use crate::backend::{Condition, Consistency, Part};
use crate::model::{
    Adaptation, ApiToken, ApiTokenCreated, AuditEntry, Changed, ConfigVersion, CreateApiToken,
    CreateToken, Event, EventPage, Found, Health, Instance, Issuer, JoinToken, KeyEntry,
    KeyWritten, Level, Lock, LogLine, LogPage, Login, LoginCreated, NodeDetail, NodeSummary, Page,
    PlanRoles, Proposal, Propose, RoleExplanation, RolePlan, RotateIssuer, RpcServiceSummary,
    Session, SetAllow, SetDrain, SetRole, Setting, Status, SteerRole, TokenCreated, Vote, Voters,
    Watching,
};
use crate::text::percent_encode;

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFound {
    /// The bytes.
    pub value: Bytes,
    /// In which revision it was written last.
    pub written: u64,
    /// Up to which revision was read.
    pub revision: Option<u64>,
    /// How old that may be.
    pub age_ms: Option<u64>,
}

/// A path with its query.
struct Target(String, bool);

impl Target {
    fn new(path: impl Into<String>) -> Self {
        Self(path.into(), false)
    }

    fn with(mut self, name: &str, value: Option<impl AsRef<[u8]>>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.1 { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&percent_encode(value.as_ref()));
            self.1 = true;
        }
        self
    }

    fn part(self, part: &Part) -> Self {
        self.with("after", part.after.as_deref())
            .with("limit", Some(part.limit.to_string()))
    }

    fn how(self, how: Consistency) -> Self {
        match how {
            Consistency::Linearizable => self,
            Consistency::Stale => self.with("consistency", Some("stale")),
            Consistency::AtLeast(revision) => self
                .with("consistency", Some("at-least"))
                .with("revision", Some(revision.to_string())),
        }
    }
}

fn node_path(node: &str, rest: &str) -> String {
    format!("/v1/nodes/{}{rest}", percent_encode(node.as_bytes()))
}

fn config_path(key: &str, rest: &str) -> String {
    format!("/v1/config/{}{rest}", percent_encode(key.as_bytes()))
}

fn key_path(key: &[u8]) -> String {
    format!("/v1/kv/{}", percent_encode(key))
}

type Answered<T> = Result<T, ClientError>;

#[expect(
    clippy::missing_errors_doc,
    reason = "the module says it once for all of them"
)]
impl Client {
    /// Whether the node can be asked.
    pub async fn health(&self) -> Answered<Health> {
        self.get("/v1/health").await
    }

    /// How the cluster is.
    pub async fn status(&self) -> Answered<Status> {
        self.get("/v1/status").await
    }

    /// Who asks, as the node sees it.
    pub async fn session(&self) -> Answered<Session> {
        self.get("/v1/session").await
    }

    /// Whether a one-time token counts; it is used up. The session itself is a browser's.
    pub async fn log_in(&self, token: &str) -> Answered<Session> {
        let login = Login {
            token: token.to_owned(),
        };
        self.send(Method::POST, "/v1/session".to_owned(), &login)
            .await
    }

    /// Makes a one-time token with which a browser logs in.
    pub async fn create_login(&self) -> Answered<LoginCreated> {
        self.json(Ask::new(Method::POST, "/v1/logins")).await
    }

    /// Numbers for Prometheus, as text.
    pub async fn metrics(&self) -> Answered<String> {
        let answer = self.ask(Ask::new(Method::GET, "/metrics")).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The description of the API, as JSON.
    pub async fn openapi(&self) -> Answered<Bytes> {
        Ok(self
            .ask(Ask::new(Method::GET, "/v1/openapi.json"))
            .await?
            .body)
    }

    /// What happened.
    pub async fn events(&self, part: &Part) -> Answered<EventPage> {
        self.get(&Target::new("/v1/events").part(part).0).await
    }

    /// What happens, behind a cursor or from now on.
    #[must_use]
    pub fn follow_events(&self, after: Option<String>) -> Follow<Event> {
        Follow::new(self.clone(), "/v1/events".to_owned(), after)
    }

    /// Who votes, and why.
    pub async fn voters(&self, explain: bool) -> Answered<Voters> {
        self.get(&format!("/v1/voters?explain={explain}")).await
    }

    /// Who did what.
    pub async fn audit(&self, part: &Part) -> Answered<Page<AuditEntry>> {
        self.get(&Target::new("/v1/audit").part(part).0).await
    }

    /// Nodes.
    pub async fn nodes(&self, part: &Part) -> Answered<Page<NodeSummary>> {
        self.get(&Target::new("/v1/nodes").part(part).0).await
    }

    /// A node by its id, the beginning of it, or its name.
    pub async fn node(&self, node: &str) -> Answered<NodeDetail> {
        self.get(&node_path(node, "")).await
    }

    /// Who watches whom: everybody, or the neighbourhood of one.
    pub async fn watching(&self, around: Option<&str>, most: Option<u32>) -> Answered<Watching> {
        let most = most.map(|most| most.to_string());
        let target = Target::new("/v1/watching")
            .with("around", around)
            .with("limit", most);
        self.get(&target.0).await
    }

    /// Lines of a node's log.
    pub async fn logs(&self, node: &str, level: Level, part: &Part) -> Answered<LogPage> {
        self.get(&Self::logs_target(node, level).part(part).0).await
    }

    /// Lines of a node's log as they are written, behind a cursor or from now on.
    #[must_use]
    pub fn follow_logs(&self, node: &str, level: Level, after: Option<String>) -> Follow<LogLine> {
        Follow::new(self.clone(), Self::logs_target(node, level).0, after)
    }

    /// RPC services that somebody offers.
    pub async fn rpc_services(&self, part: &Part) -> Answered<Page<RpcServiceSummary>> {
        self.get(&Target::new("/v1/instances").part(part).0).await
    }

    /// The instances of one of them that a selector chooses; all, without one.
    pub async fn instances(
        &self,
        service: &str,
        selector: Option<&str>,
        part: &Part,
    ) -> Answered<Page<Instance>> {
        let path = format!("/v1/instances/{}", percent_encode(service.as_bytes()));
        let target = Target::new(path).with("selector", selector);
        self.get(&target.part(part).0).await
    }

    fn logs_target(node: &str, level: Level) -> Target {
        Target::new(node_path(node, "/logs")).with("level", Some(level.name()))
    }

    /// Gives a node a role.
    pub async fn set_role(&self, node: &str, to: SetRole) -> Answered<Changed> {
        self.send(Method::PUT, node_path(node, "/role"), &to).await
    }

    /// How a node comes to its role from here on.
    pub async fn steer_role(&self, node: &str, to: SteerRole) -> Answered<Changed> {
        self.send(Method::PUT, node_path(node, "/role/steer"), &to)
            .await
    }

    /// Why a node has the role it has.
    pub async fn explain_role(&self, node: &str) -> Answered<RoleExplanation> {
        self.get(&node_path(node, "/role")).await
    }

    /// What would become of all nodes under other rules.
    pub async fn plan_roles(&self, what: &PlanRoles) -> Answered<RolePlan> {
        self.send(Method::POST, "/v1/roles/plan".to_owned(), what)
            .await
    }

    /// How the knobs of a node stand, and why.
    pub async fn knobs(&self, node: &str) -> Answered<Adaptation> {
        self.get(&node_path(node, "/adapt")).await
    }

    /// Bounds what a node may become.
    pub async fn set_allow(&self, node: &str, to: &SetAllow) -> Answered<Changed> {
        self.send(Method::PUT, node_path(node, "/allow"), to).await
    }

    /// Takes a node out of use, or back.
    pub async fn set_drain(&self, node: &str, to: SetDrain) -> Answered<Changed> {
        self.send(Method::PUT, node_path(node, "/drain"), &to).await
    }

    /// Cuts a node off for good.
    pub async fn forget(&self, node: &str) -> Answered<Changed> {
        self.delete(node_path(node, "")).await
    }

    /// Keys of configuration that begin so; all, with an empty prefix.
    pub async fn settings(
        &self,
        prefix: &str,
        part: &Part,
        how: Consistency,
    ) -> Answered<Page<Setting>> {
        let prefix = (!prefix.is_empty()).then_some(prefix);
        self.get(
            &Target::new("/v1/config")
                .with("prefix", prefix)
                .part(part)
                .how(how)
                .0,
        )
        .await
    }

    /// A key of configuration.
    pub async fn setting(&self, key: &str, how: Consistency) -> Answered<Found<Setting>> {
        self.get(&Target::new(config_path(key, "")).how(how).0)
            .await
    }

    /// Its versions, the newest first.
    pub async fn setting_history(&self, key: &str, part: &Part) -> Answered<Page<ConfigVersion>> {
        self.get(&Target::new(config_path(key, "/history")).part(part).0)
            .await
    }

    /// Proposes that a key has its default again.
    pub async fn propose_default(&self, key: &str) -> Answered<Proposal> {
        self.delete(config_path(key, "")).await
    }

    /// Proposes a value.
    pub async fn propose(&self, what: &Propose) -> Answered<Proposal> {
        self.send(Method::POST, "/v1/proposals".to_owned(), what)
            .await
    }

    /// Proposals.
    pub async fn proposals(&self, part: &Part) -> Answered<Page<Proposal>> {
        self.get(&Target::new("/v1/proposals").part(part).0).await
    }

    /// A proposal.
    pub async fn proposal(&self, id: u64, how: Consistency) -> Answered<Found<Proposal>> {
        self.get(&Target::new(format!("/v1/proposals/{id}")).how(how).0)
            .await
    }

    /// Votes, for the node that is asked.
    pub async fn vote(&self, id: u64, vote: Vote) -> Answered<Proposal> {
        self.send(Method::POST, format!("/v1/proposals/{id}/votes"), &vote)
            .await
    }

    /// Takes a proposal back.
    pub async fn withdraw(&self, id: u64) -> Answered<Proposal> {
        self.delete(format!("/v1/proposals/{id}")).await
    }

    /// Keys that begin so, with their values.
    pub async fn keys(
        &self,
        prefix: &[u8],
        part: &Part,
        how: Consistency,
    ) -> Answered<Page<KeyEntry>> {
        let prefix = (!prefix.is_empty()).then_some(prefix);
        self.get(
            &Target::new("/v1/kv")
                .with("prefix", prefix)
                .part(part)
                .how(how)
                .0,
        )
        .await
    }

    /// A key's value.
    pub async fn key(&self, key: &[u8], how: Consistency) -> Answered<KeyFound> {
        let target = Target::new(key_path(key)).how(how).0;
        let answer = self
            .ask(Ask::new(Method::GET, target).header("accept", crate::routes::OCTETS)?)
            .await?;
        let number = |name: &str| {
            let value = answer.headers.get(name)?.to_str().ok()?;
            value.trim_matches('"').parse::<u64>().ok()
        };
        let written = number("etag").ok_or_else(|| {
            self.strange(
                answer.status,
                "it does not say when the key was written".to_owned(),
            )
        })?;
        Ok(KeyFound {
            written,
            revision: number("convoke-revision"),
            age_ms: number("convoke-age-ms"),
            value: answer.body,
        })
    }

    /// Writes a key.
    pub async fn put_key(
        &self,
        key: &[u8],
        value: Bytes,
        only_if: Condition,
    ) -> Answered<KeyWritten> {
        let ask = Ask::new(Method::PUT, key_path(key)).octets(value);
        self.json(conditional(ask, only_if)?).await
    }

    /// Removes a key.
    pub async fn delete_key(&self, key: &[u8], only_if: Condition) -> Answered<KeyWritten> {
        self.json(conditional(
            Ask::new(Method::DELETE, key_path(key)),
            only_if,
        )?)
        .await
    }

    /// Locks that are held.
    pub async fn locks(&self, part: &Part, how: Consistency) -> Answered<Page<Lock>> {
        self.get(&Target::new("/v1/locks").part(part).how(how).0)
            .await
    }

    /// A lock.
    pub async fn lock(&self, name: &str, how: Consistency) -> Answered<Found<Lock>> {
        let path = format!("/v1/locks/{}", percent_encode(name.as_bytes()));
        self.get(&Target::new(path).how(how).0).await
    }

    /// Tokens with which nodes join.
    pub async fn join_tokens(&self, part: &Part) -> Answered<Page<JoinToken>> {
        self.get(&Target::new("/v1/tokens").part(part).0).await
    }

    /// Makes one.
    pub async fn create_join_token(&self, what: &CreateToken) -> Answered<TokenCreated> {
        self.send(Method::POST, "/v1/tokens".to_owned(), what).await
    }

    /// Revokes one.
    pub async fn revoke_join_token(&self, id: &str) -> Answered<Changed> {
        self.delete(format!("/v1/tokens/{}", percent_encode(id.as_bytes())))
            .await
    }

    /// Tokens with which programs ask.
    pub async fn api_tokens(&self, part: &Part) -> Answered<Page<ApiToken>> {
        self.get(&Target::new("/v1/api-tokens").part(part).0).await
    }

    /// Makes one.
    pub async fn create_api_token(&self, what: &CreateApiToken) -> Answered<ApiTokenCreated> {
        self.send(Method::POST, "/v1/api-tokens".to_owned(), what)
            .await
    }

    /// Revokes one.
    pub async fn revoke_api_token(&self, id: &str) -> Answered<Changed> {
        self.delete(format!("/v1/api-tokens/{}", percent_encode(id.as_bytes())))
            .await
    }

    /// Who signs certificates.
    pub async fn issuers(&self, part: &Part) -> Answered<Page<Issuer>> {
        self.get(&Target::new("/v1/issuers").part(part).0).await
    }

    /// Gives a node, or all voters, new issuers.
    pub async fn rotate_issuer(&self, what: &RotateIssuer) -> Answered<Changed> {
        self.send(Method::POST, "/v1/issuers/rotate".to_owned(), what)
            .await
    }
}

fn conditional(ask: Ask, only_if: Condition) -> Answered<Ask> {
    match only_if {
        Condition::Always => Ok(ask),
        Condition::Absent => ask.header("if-none-match", "*"),
        Condition::Present => ask.header("if-match", "*"),
        Condition::Revision(revision) => ask.header("if-match", &format!("\"{revision}\"")),
    }
}
