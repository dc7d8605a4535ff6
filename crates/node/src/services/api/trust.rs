//! Who may join, who may ask, who signs, and who did what.

use std::time::Duration;

use convoke_types::wire::store::rights::Operation;
use convoke_types::wire::store::{
    self, Command, CustodyCommand, CustodyFound, CustodyQuery, Done, Found, IssuerRecord, Query,
    TokenId,
};
use convoke_types::{NodeId, RoleSet};
use convoke_web::backend::{Caller, Consistency, Part, Principal};
use convoke_web::model::{
    ApiToken, ApiTokenCreated, AuditEntry, AuditOutcome, Changed, CreateApiToken, CreateToken,
    Issuer, IssuerState, JoinToken, LoginCreated, Page, RotateIssuer, Scope, Stamp, TokenCreated,
    role_set, roles_of,
};
use convoke_web::{Code, Fault};

use super::ask::{Desk, actor, strange, unanswered};
use super::config::{number, page};
use super::login::{LOGIN_LIFE, is_same, login_url};
use crate::custody::desk::voters_at;
use crate::custody::token::{self, Wanted};
use crate::inspect::{self, OnBehalf, in_ms};

/// How long a token to join with lives if nobody says so.
const TOKEN_MS: u64 = 3_600_000;
/// How long a token to ask with lives if nobody says so: as long as one may.
const KEY_MS: u64 = *store::KEY_MS.end();

impl Desk {
    /// Whose token this is, if it counts.
    pub(super) async fn whose_key(&self, text: &str) -> Result<Option<Principal>, Fault> {
        let Some((id, shown)) = token::read_key(text) else {
            return Ok(None);
        };
        // No cache: whoever is asked over the network keeps the log, and what is here is what a cache would hold.
        let found = self.custody(CustodyQuery::Key(id), Consistency::Stale);
        let (CustodyFound::Key(Some(key)), _) = found.await? else {
            return Ok(None);
        };
        // By the time of the log, which stands still while nobody leads: nothing ends meanwhile.
        let is_over = self.log_now().is_some_and(|now| key.until <= now);
        if !is_same(&key.hash, &shown) || is_over {
            return Ok(None);
        }
        Ok(Some(Principal {
            name: key.name,
            scope: scope(key.scope),
            roles: self.own_roles(),
        }))
    }

    /// Whose one-time token this is, if it counts: the one who started the node.
    pub(super) fn whose_login(&self, text: &str) -> Option<Principal> {
        let counts = self.parts.logins.redeem(text);
        counts.then(|| Principal {
            name: "login".to_owned(),
            scope: Scope::Admin,
            roles: self.own_roles(),
        })
    }

    /// Nothing is decided by it, so no audit log knows of it: the node's own log does.
    pub(super) fn make_login(&self, by: &Caller) -> Result<LoginCreated, Fault> {
        let token = self.parts.logins.make();
        let token = token.map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
        tracing::info!(by = by.principal.name, from = %by.remote, "made a one-time token for a browser");
        Ok(LoginCreated {
            url: self.parts.api_url().map(|url| login_url(&url, &token)),
            token,
            expires_in_ms: in_ms(LOGIN_LIFE),
        })
    }

    /// Commands go out as this node's, so these are the rights they have.
    fn own_roles(&self) -> RoleSet {
        self.parts.identity.certificate().claims().roles
    }

    pub(super) async fn custody(
        &self,
        query: CustodyQuery,
        how: Consistency,
    ) -> Result<(CustodyFound, Stamp), Fault> {
        let read = self.read(Query::Custody(query), how).await?;
        let stamp = read.stamp();
        let Found::Custody(found) = read.found else {
            return Err(strange());
        };
        Ok((found, stamp))
    }

    /// Carries out a change that is noted in a revision.
    pub(super) async fn noted(&self, by: &Caller, command: Command) -> Result<Changed, Fault> {
        let done = self.change(by, command).await?;
        let revision = if let Done::Noted(revision) = done {
            Some(revision.0)
        } else {
            None
        };
        Ok(Changed { revision })
    }

    pub(super) async fn list_tokens(&self, part: Part) -> Result<Page<JoinToken>, Fault> {
        let how = Consistency::Linearizable;
        let found = self.custody(CustodyQuery::Tokens, how).await?;
        let (CustodyFound::Tokens(tokens), stamp) = found else {
            return Err(strange());
        };
        let items = tokens.into_iter().map(|token| JoinToken {
            id: token.token.to_string(),
            roles: roles_of(token.allowed),
            uses_left: token.uses.saturating_sub(token.used),
            until_unix_ms: self.unix_ms(token.until),
            made_by: token.by.to_string(),
        });
        let behind = items.filter(|it| is_behind(&it.id, &part));
        Ok(page(behind, part.limit, |it| it.id.clone(), stamp))
    }

    pub(super) async fn make_token(
        &self,
        by: &Caller,
        what: CreateToken,
    ) -> Result<TokenCreated, Fault> {
        if self.parts.papers.is_none() {
            return Err(Fault::new(
                Code::NotBuilt,
                "nodes of a development cluster join without tokens",
            ));
        }
        let wanted = Wanted {
            allowed: what.roles.as_deref().map_or(RoleSet::ALL, role_set),
            uses: what.uses.unwrap_or(1),
            life: Duration::from_millis(what.ttl_ms.unwrap_or(TOKEN_MS)),
            note: String::new(),
        };
        let mut places = vec![self.parts.own.to_string()];
        if let Some(log) = self.parts.log.get() {
            for place in voters_at(&log) {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        let made = token::make(&self.parts.trust.current(), places, wanted);
        let made = made.map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
        let changed = self.noted(by, Command::Custody(made.command)).await?;
        Ok(TokenCreated {
            id: made.token.token.to_string(),
            token: made.token.to_string(),
            until_unix_ms: made.token.until.unix_ms(),
            revision: changed.revision.unwrap_or_default(),
        })
    }

    pub(super) async fn revoke_token(&self, by: &Caller, id: &str) -> Result<Changed, Fault> {
        let token = token_id(id)?;
        let command = CustodyCommand::RevokeToken { token };
        self.noted(by, Command::Custody(command)).await
    }

    pub(super) async fn list_keys_to_the_api(&self, part: Part) -> Result<Page<ApiToken>, Fault> {
        let how = Consistency::Linearizable;
        let found = self.custody(CustodyQuery::Keys, how).await?;
        let (CustodyFound::Keys(keys), stamp) = found else {
            return Err(strange());
        };
        let items = keys.into_iter().map(|key| ApiToken {
            id: key.key.to_string(),
            name: key.name,
            scope: scope(key.scope),
            until_unix_ms: Some(self.unix_ms(key.until)),
            made_by: key.by.to_string(),
        });
        let behind = items.filter(|it| is_behind(&it.id, &part));
        Ok(page(behind, part.limit, |it| it.id.clone(), stamp))
    }

    pub(super) async fn make_key_to_the_api(
        &self,
        by: &Caller,
        what: CreateApiToken,
    ) -> Result<ApiTokenCreated, Fault> {
        let life = Duration::from_millis(what.ttl_ms.unwrap_or(KEY_MS));
        let inner = match what.scope {
            Scope::Read => store::Scope::Read,
            Scope::Operate => store::Scope::Operate,
            Scope::Admin => store::Scope::Admin,
        };
        let made = token::make_key(inner, life, what.name);
        let (text, command) =
            made.map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
        let CustodyCommand::CreateKey { key, .. } = &command else {
            return Err(strange());
        };
        let id = key.to_string();
        let changed = self.noted(by, Command::Custody(command)).await?;
        Ok(ApiTokenCreated {
            id,
            token: text,
            scope: what.scope,
            revision: changed.revision.unwrap_or_default(),
        })
    }

    pub(super) async fn revoke_key_to_the_api(
        &self,
        by: &Caller,
        id: &str,
    ) -> Result<Changed, Fault> {
        let key = token_id(id)?;
        let command = CustodyCommand::RevokeKey { key };
        self.noted(by, Command::Custody(command)).await
    }

    pub(super) async fn list_issuers(&self, part: Part) -> Result<Page<Issuer>, Fault> {
        let how = Consistency::Linearizable;
        let found = self.custody(CustodyQuery::Trust, how).await?;
        let (CustodyFound::Trust(trust), stamp) = found else {
            return Err(strange());
        };
        let items = trust.issuers.into_iter().map(|it| issuer(self, it));
        let behind = items.filter(|it| part.after.as_ref().is_none_or(|a| it.fingerprint > *a));
        Ok(page(behind, part.limit, |it| it.fingerprint.clone(), stamp))
    }

    pub(super) async fn rotate_issuers(
        &self,
        by: &Caller,
        what: RotateIssuer,
    ) -> Result<Changed, Fault> {
        // Other nodes have it decided, so what this one may is asked here.
        Operation::Admit
            .allowed_to(self.own_roles())
            .map_err(|error| Fault::new(Code::Forbidden, error.to_string()))?;
        let nodes = match &what.node {
            Some(node) => vec![self.resolve(node).await?],
            None => self.voters_now().await?,
        };
        let mut done: Vec<NodeId> = Vec::new();
        for node in nodes {
            if let Err(fault) = self.rotate_one(by, node).await {
                if done.is_empty() {
                    return Err(fault);
                }
                let names: Vec<String> = done.iter().map(|node| node.short().to_string()).collect();
                return Err(Fault::outcome_unknown(format!(
                    "{} have new issuers, {} does not: {}",
                    names.join(", "),
                    node.short(),
                    fault.detail
                )));
            }
            done.push(node);
        }
        let found = self.custody(CustodyQuery::Trust, Consistency::Linearizable);
        let revision = match found.await {
            Ok((CustodyFound::Trust(trust), _)) => Some(trust.revision.0),
            Ok(_) | Err(_) => None,
        };
        Ok(Changed { revision })
    }

    async fn rotate_one(&self, by: &Caller, node: NodeId) -> Result<(), Fault> {
        let on_behalf = Some(actor(by));
        let rotated = if node == self.parts.me() {
            inspect::rotate(&self.parts, on_behalf).await
        } else {
            let client = self.peer(node).await?;
            match client.rotate_issuer(&OnBehalf { by: on_behalf }).await {
                Ok(rotated) => Ok(rotated),
                Err(convoke_rpc::CallError::App(not)) => Err(not),
                Err(error @ convoke_rpc::CallError::Rpc(_)) => {
                    self.forget_channel(node);
                    let fault = unanswered(node, &error);
                    let convoke_rpc::CallError::Rpc(problem) = error else {
                        return Err(fault);
                    };
                    return Err(match problem.changed {
                        convoke_rpc::Changed::No => fault,
                        convoke_rpc::Changed::Maybe | convoke_rpc::Changed::Yes => {
                            Fault::outcome_unknown(fault.detail)
                        }
                    });
                }
            }
        };
        rotated.map(|_| ()).map_err(|not| {
            let words = format!("node {}: {}", node.short(), not.why);
            if not.maybe {
                Fault::outcome_unknown(words)
            } else {
                Fault::new(Code::Refused, words)
            }
        })
    }

    pub(super) async fn see_audit(&self, part: Part) -> Result<Page<AuditEntry>, Fault> {
        let after = number(part.after.as_deref())?.unwrap_or(0);
        let query = CustodyQuery::Audit {
            after,
            limit: part.limit,
        };
        let (found, stamp) = self.custody(query, Consistency::Linearizable).await?;
        let CustodyFound::Audit(entries) = found else {
            return Err(strange());
        };
        let is_full = entries.len() >= part.limit as usize;
        let last = entries.last().filter(|_| is_full);
        Ok(Page {
            next: last.map(|entry| entry.number.to_string()),
            items: entries.into_iter().map(|it| audited(self, it)).collect(),
            stamp,
        })
    }
}

fn audited(desk: &Desk, entry: store::Audited) -> AuditEntry {
    let through = entry.node.short();
    let (who, from) = match &entry.by {
        Some(by) => (
            by.name.clone(),
            format!("{}, through node {through}", by.from),
        ),
        None => (format!("node {through}"), format!("node {through}")),
    };
    AuditEntry {
        id: entry.number,
        unix_ms: desk.unix_ms(entry.at),
        who,
        from,
        operation: name_of(entry.operation),
        target: entry.target,
        revision: entry.is_done.then_some(entry.revision.0),
        outcome: if entry.is_done {
            AuditOutcome::Done
        } else {
            AuditOutcome::Refused
        },
        why: None,
    }
}

fn name_of(operation: Operation) -> String {
    match serde_json::to_value(operation) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(_) | Err(_) => operation.told().to_owned(),
    }
}

fn issuer(desk: &Desk, record: IssuerRecord) -> Issuer {
    Issuer {
        fingerprint: record.issuer.to_string(),
        node: Some(record.node.to_string()),
        state: match record.until {
            None => IssuerState::Active,
            Some(_) => IssuerState::Retiring,
        },
        since_unix_ms: desk.unix_ms(record.since),
        until_unix_ms: record.until.map(|until| desk.unix_ms(until)),
    }
}

fn scope(scope: store::Scope) -> Scope {
    match scope {
        store::Scope::Read => Scope::Read,
        store::Scope::Operate => Scope::Operate,
        store::Scope::Admin => Scope::Admin,
    }
}

fn token_id(text: &str) -> Result<TokenId, Fault> {
    let parsed = text.parse();
    parsed.map_err(|_| Fault::not_found("there is no such token"))
}

fn is_behind(id: &str, part: &Part) -> bool {
    part.after.as_deref().is_none_or(|after| id > after)
}
