//! Messages of the engine as calls between nodes that know who the other is.
//!
//! One call a message, on a lane of its own link, so that a large answer to somebody else never stands before a heartbeat. A call
//! is dropped when the engine does not wait any more.
//!
//! Deliberately not here: what the messages say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use convoke_rpc::{
    CallError, CallOptions, Channel, ChannelConfig, Context, Endpoint, NoError, Target, service,
};
use convoke_types::Changed;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::engine::{Consensus, Member, Tokio, Transport, Unreached};
use crate::log::{LogId, VoterId};

/// No message takes longer than the engine waits for it; this is for whoever asks without it.
const LONGEST: Duration = Duration::from_secs(60);

/// What nodes of a log ask each other.
#[service(name = "convoke.Raft")]
pub trait Raft {
    /// Hands over a message of the engine and brings its answer back.
    #[rpc(deadline_ms = 60_000, roles(master, worker, gateway, observer))]
    async fn message(&self, ctx: &Context, message: Addressed) -> Result<Message, Unanswered>;

    /// Who this node is in the log.
    #[rpc(idempotent, deadline_ms = 5_000)]
    async fn hello(&self) -> Result<Hello, NoError>;
}

/// A message for one voter: the node that is called, if it still has this log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressed {
    /// The log of the voter.
    pub log: LogId,
    /// The message.
    pub message: Message,
}

/// Bytes that only the engine understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Why a node does not answer a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct Unanswered {
    /// For people.
    pub why: String,
}

/// Who a node is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its id and that of its log.
    pub voter: VoterId,
    /// It has entries, or votes: it belongs to a log, and cannot be made part of a new one.
    #[serde(default)]
    pub is_taken: bool,
}

/// Answers to other nodes of the log.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) consensus: Consensus<Tokio>,
    pub(super) me: VoterId,
}

impl Raft for Listening {
    async fn message(&self, ctx: &Context, message: Addressed) -> Result<Message, Unanswered> {
        let Addressed { log, message } = message;
        let to = VoterId {
            node: self.me.node,
            log,
        };
        let answer = self
            .consensus
            .serve(ctx.caller(), to, message.0.into())
            .await;
        let answer = answer.map_err(|error| Unanswered {
            why: error.to_string(),
        })?;
        Ok(Message(answer.into()))
    }

    async fn hello(&self) -> Result<Hello, NoError> {
        let status = self.consensus.status();
        Ok(Hello {
            voter: self.me,
            is_taken: status.has_log(),
        })
    }
}

/// Links to the other nodes of the log.
#[derive(Debug)]
pub(super) struct Links {
    endpoint: Endpoint,
    /// One for every member that was ever written to. Members are few.
    clients: Mutex<BTreeMap<VoterId, (Member, RaftClient)>>,
}

impl Links {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            endpoint: endpoint.clone(),
            clients: Mutex::default(),
        }
    }

    fn client(&self, to: VoterId, member: &Member) -> RaftClient {
        let mut clients = self.clients.lock();
        if let Some((known, client)) = clients.get(&to)
            && known == member
        {
            return client.clone();
        }
        let addresses = member.addresses.iter();
        let target = Target {
            addresses: addresses
                .filter_map(|text| text.parse::<SocketAddr>().ok())
                .collect(),
            node: Some(to.node),
        };
        let config = ChannelConfig {
            // A leader that is gone is noticed by those it does not talk to, and one that comes back must be found at once.
            longest_pause: Duration::from_millis(500),
            ..ChannelConfig::default()
        };
        let client = RaftClient::new(Channel::new(&self.endpoint, target, config));
        clients.insert(to, (member.clone(), client.clone()));
        client
    }
}

impl Transport for Links {
    fn call(
        &self,
        to: VoterId,
        member: &Member,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Unreached>> {
        let options = CallOptions::new().timeout(LONGEST).attempts(1);
        let client = self.client(to, member).with(options);
        let message = Addressed {
            log: to.log,
            message: Message(message.into()),
        };
        async move {
            match client.message(&message).await {
                Ok(answer) => Ok(answer.0.into()),
                Err(CallError::Rpc(problem)) if problem.changed == Changed::No => {
                    Err(Unreached::Nobody)
                }
                Err(_) => Err(Unreached::Unanswered),
            }
        }
        .boxed()
    }
}
