//! Reading and changing decided state for the API, asking other nodes, and what is said when that does not work.
//!
//! A node that keeps the log answers from its own copy, after making sure that it is as new as was asked for; one that does not asks those
//! that do. Changes go out as this node's, with whose they are, so what its role forbids is refused where commands enter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_consensus::engine::ReadError;
use convoke_rpc::{CallError, Channel, ChannelConfig, NodeId, Target};
use convoke_store::Error;
use convoke_types::Timestamp;
use convoke_types::wire::store::{
    ACTOR_BYTES, Actor, Attributed, Command, ConfigRefusal, CustodyRefusal, Done, Found, Freshness,
    LockRefusal, NodeFound, NodeQuery, NodeRefusal, Query, Record, Refusal, Revision,
};
use convoke_web::backend::{Caller, Consistency};
use convoke_web::model::{Kind, Stamp};
use convoke_web::{Code, Fault};
use parking_lot::Mutex;

use super::bridge::Bridge;
use crate::inspect::{InspectClient, in_ms};
use crate::parts::Parts;

/// Channels to other nodes that are kept; all go when one more is needed.
pub(super) const CHANNELS: usize = 64;
/// How long a node that keeps no log waits for a revision.
const REACHED: Duration = Duration::from_secs(2);

/// What the API is answered from.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) parts: Arc<Parts>,
    channels: Mutex<BTreeMap<NodeId, Channel>>,
    pub(super) bridge: Bridge,
}

/// What was read, and how new it is.
pub(super) struct Read {
    pub(super) found: Found,
    pub(super) revision: Revision,
    pub(super) age_ms: Option<u64>,
}

impl Read {
    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            kind: Kind::Decided,
            revision: Some(self.revision.0),
            age_ms: self.age_ms,
        }
    }
}

/// A different answer than asked for: ours are all of one program, so this is a mistake of it.
pub(super) fn strange() -> Fault {
    Fault::new(Code::Internal, "the answer was one to another question")
}

impl Desk {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            channels: Mutex::default(),
            bridge: Bridge::default(),
        }
    }

    /// A time of the log, as people's clocks have it.
    pub(super) fn unix_ms(&self, time: Timestamp) -> u64 {
        self.parts.log_clock.unix_ms(time)
    }

    /// The time of the log now, as far as it is known here.
    pub(super) fn log_now(&self) -> Option<Timestamp> {
        if let Some(log) = self.parts.log.get() {
            let (_, frozen) = log.consensus().freeze();
            self.parts.log_clock.seen(frozen.time());
        }
        self.parts.log_clock.now()
    }

    /// Asks what is decided.
    pub(super) async fn read(&self, query: Query, how: Consistency) -> Result<Read, Fault> {
        let freshness = match how {
            Consistency::Linearizable => Freshness::Linearizable,
            Consistency::Stale => Freshness::Stale,
            Consistency::AtLeast(revision) => Freshness::AtLeast(Revision(revision)),
        };
        // What is linearizable is as of now.
        let now = (how == Consistency::Linearizable).then_some(0);
        if let Some(log) = self.parts.log.get() {
            let answer = log.consensus().read(&query, freshness).await;
            let answer = answer.map_err(|error| not_read(&error))?;
            return Ok(Read {
                found: answer.found,
                revision: answer.revision,
                age_ms: answer.age.map(in_ms).or(now),
            });
        }
        let asking = self.parts.store.query(query, freshness);
        let answer = match how {
            Consistency::AtLeast(revision) => {
                let asked = tokio::time::timeout(REACHED, asking).await;
                asked.map_err(|_| not_yet(revision))?
            }
            Consistency::Linearizable | Consistency::Stale => asking.await,
        };
        let answer = answer.map_err(|error| {
            // Nothing changes by reading.
            if let Error::OutcomeUnknown { why } = error {
                Fault::unavailable(why)
            } else {
                fault_of(error)
            }
        })?;
        Ok(Read {
            found: answer.found,
            revision: answer.revision,
            age_ms: answer.age_ms.or(now),
        })
    }

    /// Has something decided on somebody's behalf.
    pub(super) async fn change(&self, by: &Caller, command: Command) -> Result<Done, Fault> {
        let operation = command.operation();
        let attributed = Command::Attributed(Attributed {
            by: actor(by),
            command: Box::new(command),
        });
        let done = self.parts.store.command(attributed).await;
        let (who, from, request) = (&by.principal.name, by.remote, &by.request);
        match done {
            Ok(done) => {
                tracing::debug!(%who, %from, %request, what = operation.told(), "changed");
                Ok(done)
            }
            Err(error) => {
                // What was refused before it came to the log is in no audit log.
                tracing::info!(%who, %from, %request, what = operation.told(), %error, "not changed");
                Err(fault_of(error))
            }
        }
    }

    /// The record of a node, as it is here or as of now.
    pub(super) async fn record(
        &self,
        node: NodeId,
        how: Consistency,
    ) -> Result<(Option<Record>, Read), Fault> {
        let read = self.read(Query::Node(NodeQuery::Get(node)), how).await?;
        let Found::Node(NodeFound::Node(record)) = &read.found else {
            return Err(strange());
        };
        Ok((record.clone(), read))
    }

    /// A client of what another node says of itself.
    pub(super) async fn peer(&self, node: NodeId) -> Result<InspectClient, Fault> {
        let known = self.channels.lock().get(&node).cloned();
        if let Some(channel) = known {
            return Ok(InspectClient::new(channel));
        }
        let mut addresses = Vec::new();
        if let Some(gossip) = self.parts.gossip.get()
            && let Some(member) = gossip.members().members.get(&node)
        {
            addresses.extend(member.facts.addresses());
        }
        if let Ok((Some(record), _)) = self.record(node, Consistency::Stale).await {
            for address in record.addresses.iter().filter_map(|text| text.parse().ok()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        if addresses.is_empty() {
            let why = format!("it is not known where node {} is", node.short());
            return Err(Fault::unavailable(why));
        }
        let target = Target {
            addresses,
            node: Some(node),
        };
        let config = ChannelConfig {
            patience: Duration::from_secs(2),
            ..ChannelConfig::default()
        };
        let channel = Channel::new(&self.parts.endpoint, target, config);
        let mut channels = self.channels.lock();
        if channels.len() >= CHANNELS {
            channels.clear();
        }
        channels.insert(node, channel.clone());
        Ok(InspectClient::new(channel))
    }

    /// A node that did not answer may be elsewhere now: its address is looked up again.
    pub(super) fn forget_channel(&self, node: NodeId) {
        self.channels.lock().remove(&node);
    }
}

/// Who has something done, as the audit log names them.
pub(super) fn actor(by: &Caller) -> Actor {
    let cut = |mut text: String| {
        text.truncate(text.floor_char_boundary(ACTOR_BYTES));
        text
    };
    Actor {
        name: cut(by.principal.name.clone()),
        from: cut(by.remote.to_string()),
    }
}

/// Why another node did not answer a question.
pub(super) fn unanswered<E: std::fmt::Display>(node: NodeId, error: &CallError<E>) -> Fault {
    let why = match error {
        CallError::App(error) => error.to_string(),
        CallError::Rpc(problem) => problem.message().to_owned(),
    };
    Fault::unavailable(format!("node {} does not answer: {why}", node.short()))
        .advise("see in `GET /v1/nodes` whether it is reachable from here")
}

fn not_yet(revision: u64) -> Fault {
    let what = format!("this node has not read as far as revision {revision}");
    Fault::new(Code::NotYet, what).retry_after(Duration::from_secs(1))
}

fn not_read(error: &ReadError) -> Fault {
    if let ReadError::Busy { retry_after } = error {
        return Fault::unavailable("too many reads are waiting").retry_after(*retry_after);
    }
    if let ReadError::NotYet { wanted, here } = error {
        let mut fault = not_yet(wanted.0);
        fault.detail = format!("{}, but to revision {here}", fault.detail);
        return fault;
    }
    Fault::unavailable(error.to_string()).advise(
        "see in `GET /v1/status` what is wrong; `consistency=stale` reads what this node has",
    )
}

/// Why nothing was decided, in words of HTTP.
pub(super) fn fault_of(error: Error) -> Fault {
    let words = error.to_string();
    match error {
        Error::Refused(refusal) => Fault::new(code_of(&refusal), words),
        Error::NoRight(_) => Fault::new(Code::Forbidden, words)
            .advise("ask a node that has such a role: `GET /v1/nodes` shows them"),
        Error::Failed { .. } => {
            Fault::unavailable(words).advise("see in `GET /v1/status` what is wrong, and ask again")
        }
        Error::OutcomeUnknown { .. } => Fault::outcome_unknown(words),
        Error::Unexpected { .. } => Fault::new(Code::Internal, words),
        // Kinds that come later: what may have run is never called harmless.
        _ => Fault::outcome_unknown(words),
    }
}

fn code_of(refusal: &Refusal) -> Code {
    let is_full = matches!(
        refusal,
        Refusal::Full { .. }
            | Refusal::TooManySessions { .. }
            | Refusal::Config(ConfigRefusal::TooMany { .. } | ConfigRefusal::TooManyKeys { .. })
            | Refusal::Lock(LockRefusal::TooMany { .. } | LockRefusal::TooManyWait { .. })
            | Refusal::Node(NodeRefusal::TooMany)
            | Refusal::Custody(CustodyRefusal::TooMany { .. } | CustodyRefusal::NoRoom)
    );
    let is_not_there = matches!(
        refusal,
        Refusal::Config(ConfigRefusal::UnknownKey | ConfigRefusal::NoProposal)
            | Refusal::Node(NodeRefusal::Unknown)
            | Refusal::Custody(CustodyRefusal::NoToken | CustodyRefusal::NoKey)
    );
    let is_otherwise = matches!(
        refusal,
        Refusal::Config(
            ConfigRefusal::VersionIs { .. }
                | ConfigRefusal::AnotherIsOpen(_)
                | ConfigRefusal::Over(_)
                | ConfigRefusal::VotedBefore(_),
        ) | Refusal::Custody(CustodyRefusal::TooManyOfYours | CustodyRefusal::Taken)
    );
    if is_full {
        Code::Full
    } else if is_not_there {
        Code::NotFound
    } else if is_otherwise {
        Code::Conflict
    } else {
        Code::Refused
    }
}

#[cfg(test)]
mod tests {
    use convoke_types::wire::store::rights::Operation;
    use convoke_types::{Role, RoleSet};

    use super::*;

    #[test]
    fn what_a_role_forbids_is_forbidden_with_the_sentence_of_the_table() {
        let no_right = Operation::Forget.allowed_to(RoleSet::of(&[Role::Worker]));
        let no_right = no_right.unwrap_err();
        let fault = fault_of(Error::NoRight(no_right));
        assert_eq!(fault.code, Code::Forbidden);
        assert_eq!(fault.detail, no_right.to_string());
    }

    #[test]
    fn what_may_have_run_is_never_called_harmless() {
        let why = || "a link was lost".to_owned();
        let unknown = fault_of(Error::OutcomeUnknown { why: why() });
        assert_eq!(unknown.code, Code::OutcomeUnknown);
        let failed = fault_of(Error::Failed { why: why() });
        assert_eq!(failed.code, Code::Unavailable);
        assert!(failed.retry_after.is_some());
    }
}
