//! Messages of the engine as calls between nodes that know who the other is.
//!
//! One call a message, on a lane of its own link, so that a large answer to somebody else never stands before a heartbeat. A call
//! is dropped when the engine does not wait any more.
//!
//! **A link on which nothing is answered for [`STUCK`] is left for a new one**, at most once in that time. After a cut a carrier tries
//! again after about as long as the cut lasted, whatever is waiting, and takes a link for dead only after the idle time of
//! [`Limits`](convoke_rpc::Limits), for which as many left links wait; a new one finds a way
//! that is there again at once.
//!
//! Deliberately not here: what the messages say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_rpc::{
    CallError, CallOptions, Channel, ChannelConfig, Context, Endpoint, NoError, Target, service,
};
use convoke_types::{Changed, NodeId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::engine::{Consensus, Member, Tokio, Transport, Unreached};
use crate::log::{LogId, VoterId};

/// No message takes longer than the engine waits for it; this is for whoever asks without it.
const LONGEST: Duration = Duration::from_secs(60);

/// Without any answer for so long a link is left. Several elections; a node that is merely busy answers heartbeats sooner.
const STUCK: Duration = Duration::from_secs(1);

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

/// Where nodes are now, as far as anybody saw: an observation, which goes before the addresses that members of the log came with. Clones
/// are one.
#[derive(Clone, Debug, Default)]
pub struct AddressBook(Arc<RwLock<BTreeMap<NodeId, Vec<SocketAddr>>>>);

impl AddressBook {
    /// A node is at these addresses; none, and nothing is known of it any more.
    pub fn note(&self, node: NodeId, addresses: Vec<SocketAddr>) {
        let mut book = self.0.write();
        if addresses.is_empty() {
            book.remove(&node);
        } else if book.get(&node) != Some(&addresses) {
            book.insert(node, addresses);
        }
    }

    /// Where a node is: what is noted first, then what else its member says.
    #[must_use]
    pub fn places(&self, node: &NodeId, member: &Member) -> Vec<SocketAddr> {
        let mut places = self.0.read().get(node).cloned().unwrap_or_default();
        let known = member.addresses.iter().filter_map(|text| text.parse().ok());
        for place in known {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }
}

/// Links to the other nodes of the log.
#[derive(Debug)]
pub(super) struct Links {
    endpoint: Endpoint,
    book: AddressBook,
    /// One for every member that was ever written to. Members are few.
    clients: Mutex<BTreeMap<VoterId, Way>>,
}

/// The way to one of them.
#[derive(Debug)]
struct Way {
    places: Vec<SocketAddr>,
    client: RaftClient,
    silence: Arc<Mutex<Silence>>,
}

/// How long a link has been silent that was asked something.
#[derive(Debug, Default)]
struct Silence {
    /// The first question since the last answer.
    since: Option<Instant>,
}

impl Silence {
    /// Something is asked. Says whether the link is to be left first.
    fn asked(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let is_stuck = now.saturating_duration_since(since) >= STUCK;
        if is_stuck {
            self.since = Some(now);
        }
        is_stuck
    }

    /// Something came back.
    fn answered(&mut self) {
        self.since = None;
    }
}

impl Links {
    pub(super) fn new(endpoint: &Endpoint, book: AddressBook) -> Self {
        Self {
            endpoint: endpoint.clone(),
            book,
            clients: Mutex::default(),
        }
    }

    fn client(&self, to: VoterId, member: &Member) -> (RaftClient, Arc<Mutex<Silence>>) {
        let places = self.book.places(&to.node, member);
        let mut clients = self.clients.lock();
        if let Some(way) = clients.get_mut(&to)
            && way.places == places
        {
            if way.silence.lock().asked(Instant::now()) {
                tracing::debug!(%to, "nothing is answered on a link; opening a new one");
                way.client = self.open(to, places);
            }
            return (way.client.clone(), Arc::clone(&way.silence));
        }
        let way = Way {
            client: self.open(to, places.clone()),
            places,
            silence: Arc::default(),
        };
        way.silence.lock().asked(Instant::now());
        let way = clients.entry(to).insert_entry(way).into_mut();
        (way.client.clone(), Arc::clone(&way.silence))
    }

    fn open(&self, to: VoterId, addresses: Vec<SocketAddr>) -> RaftClient {
        let target = Target {
            addresses,
            node: Some(to.node),
        };
        let config = ChannelConfig {
            // A leader that is gone is noticed by those it does not talk to, and one that comes back must be found at once.
            longest_pause: Duration::from_millis(500),
            ..ChannelConfig::default()
        };
        RaftClient::new(Channel::new(&self.endpoint, target, config))
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
        let (client, silence) = self.client(to, member);
        let client = client.with(options);
        let message = Addressed {
            log: to.log,
            message: Message(message.into()),
        };
        async move {
            let answer = client.message(&message).await;
            if let Ok(_) | Err(CallError::App(_)) = &answer {
                silence.lock().answered();
            }
            match answer {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_answers_nothing_is_left_once_in_a_while() {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let mut silence = Silence::default();
        assert!(!silence.asked(at(0)));
        assert!(!silence.asked(at(999)));
        assert!(silence.asked(at(1_000)));
        assert!(!silence.asked(at(1_050)), "the new one gets its time");
        assert!(silence.asked(at(2_000)));
    }

    #[test]
    fn a_link_that_answers_now_and_then_is_kept_and_so_is_an_idle_one() {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let mut silence = Silence::default();
        for turn in 0..10 {
            assert!(!silence.asked(at(turn * 900)));
            assert!(!silence.asked(at(turn * 900 + 50)));
            silence.answered();
        }
        assert!(!silence.asked(at(1_000_000)), "nothing was asked meanwhile");
    }
}
