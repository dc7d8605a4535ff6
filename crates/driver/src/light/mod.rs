//! Light clients: programs that call RPC services of a cluster and take no part in it. They ask a node which instances there are.
//!
//! ```text
//! node: gossip ─► WorkerRegistry ─► Listing ─ stream ─► Follower (thinks) ─► Instances ─► Balanced    :program
//! ```
//!
//! | file | what it holds | kind |
//! | --- | --- | --- |
//! | `service.rs` | the RPC service `convoke.Instances` and its messages | – |
//! | `listing.rs` | [`Listing`], which answers on a node | thinks, and a thin actor |
//! | `follower.rs` | which node is followed, and what it said | thinks |
//! | `mod.rs` | [`WorkerRegistry::ask`]: links, names, timers | acts |
//!
//! | bound | |
//! | --- | --- |
//! | nodes that are followed | one at a time, over one link |
//! | reaching a node | [`AskOptions::patience`] for its link, and as long again for its first word |
//! | silence | [`AskOptions::silence`], then another one is followed |
//! | seeds | [`SEEDS_MOST`] |
//!
//! Deliberately not here: who a light client is. It comes with a certificate of the cluster, as every caller does, and whichever role that allows is enough.

mod follower;
mod listing;
mod service;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use convoke_rpc::{
    CallError, CallOptions, Channel, ChannelConfig, Code, Endpoint, NodeId, Problem, Streaming,
    Target,
};
use tokio::time::timeout;

use self::follower::{Follower, Next, Spot};
pub use self::listing::{Listing, OF_ONE_MOST, SUBSCRIBERS_MOST};
pub use self::service::{
    ASKED_MOST, Busy, DIRECTORY, Directory, DirectoryClient, DirectoryServer, Id, NotTold, Point,
    Question, ROWS_MOST, Row, Rows, SILENCE_LEAST, SILENCE_MOST, Told, Wellness,
};
use crate::chance;
use crate::registry::{Ours, WorkerRegistry};
use crate::seeds::{SEEDS_MOST, Seed, look_up};

/// How a light client asks.
#[derive(Clone, Debug)]
pub struct AskOptions {
    /// How long a node may be silent before another one is followed. [`SILENCE_LEAST`] – [`SILENCE_MOST`]; default 5 s. Shorter notices a dead node
    /// sooner, and costs a small message three times in it; a link that is lost is noticed at once.
    pub silence: Duration,
    /// How long a link to a node may take, and its first word after that. 50 ms – 30 s; default 3 s.
    pub patience: Duration,
    /// The first pause after a node failed is at most so long; it doubles with each failure. 10 ms – 60 s; default 100 ms.
    pub first_pause: Duration,
    /// No pause is longer, and so long is one after a node said that it leaves. From `first_pause` to 5 min; default 5 s. Longer is kinder to nodes that come
    /// back under load.
    pub longest_pause: Duration,
    /// RPC services that are of interest: what is known is of these. All, if there are none; at most one less than [`ASKED_MOST`].
    pub services: Vec<String>,
    /// With which seed chance begins; drawn if nobody says. Clients with the same seed go to the same nodes.
    pub seed: Option<u64>,
}

impl Default for AskOptions {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(5),
            patience: Duration::from_secs(3),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            services: Vec::new(),
            seed: None,
        }
    }
}

/// Why nothing is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is nobody to ask.
    #[error("a light client needs a node to ask: give it one address at least")]
    NoNodes,
    /// An option is out of bounds.
    #[error("{option} is {found}, and may be {allowed}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        allowed: String,
    },
}

/// Why a node is not followed, or not any more.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AskTrouble {
    /// The seeds lead nowhere.
    #[error("none of the nodes to ask has an address: {why}")]
    Nowhere {
        /// Why not.
        why: String,
    },
    /// It cannot be reached, or the link to it was lost.
    #[error("{0}")]
    Link(Problem),
    /// It said nothing for too long.
    #[error("it said nothing for {silence:?}")]
    Silent {
        /// How long.
        silence: Duration,
    },
    /// It is of a version that does not tell of instances.
    #[error(
        "the node runs a version of Convoke that does not tell of instances: upgrade it, or ask another one"
    )]
    TooOld,
    /// It does not want to.
    #[error("{0}")]
    Refused(NotTold),
    /// It is about to go.
    #[error("it is about to go")]
    Leaves,
    /// It ended what it told, without a word.
    #[error("it ended what it told")]
    Ended,
    /// What it says makes no sense.
    #[error("what it says makes no sense: {what}")]
    Nonsense {
        /// What.
        what: String,
    },
}

impl From<CallError<NotTold>> for AskTrouble {
    fn from(error: CallError<NotTold>) -> Self {
        match error {
            CallError::App(refused) => Self::Refused(refused),
            CallError::Rpc(problem) if problem.code == Code::Unimplemented => Self::TooOld,
            CallError::Rpc(problem) => Self::Link(problem),
        }
    }
}

/// From whom a registry has what it knows, and how old that is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Who tells now: this node itself, if it takes part in gossip, or the one that is asked. Nobody: what is known gets old.
    pub following: Option<NodeId>,
    /// Where the node is that is asked.
    pub place: Option<SocketAddr>,
    /// When somebody said last that this is how things are; nothing was heard yet, without it.
    pub heard: Option<Instant>,
    /// Why the last node was given up, or not reached.
    pub trouble: Option<AskTrouble>,
    /// How many nodes were followed, one after the other.
    pub followed: u64,
}

impl Standing {
    /// How old is what is known: how long ago somebody said that this is how things are. Nothing was heard yet, without it.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.heard.map(|heard| heard.elapsed())
    }
}

/// Nobody told anything in time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("no node told of instances within {within:?}{}", .trouble.as_ref().map_or_else(String::new, |it| format!("; the last one that was asked: {it}")))]
pub struct NotHeard {
    /// How long it was waited for.
    pub within: Duration,
    /// What stood in the way last.
    pub trouble: Option<AskTrouble>,
}

impl WorkerRegistry {
    /// Asks nodes from now on, one at a time, and goes to another one when that is lost; for programs that take no part in gossip. Each of `nodes` is where
    /// one may be; further ones are learned of. It has to be called where a runtime runs. [`heard`](Self::heard) waits for the first answer.
    ///
    /// # Errors
    /// When there is no node to ask, or an option makes no sense.
    pub fn ask(
        endpoint: &Endpoint,
        nodes: impl IntoIterator<Item = Seed>,
        options: AskOptions,
    ) -> Result<Self, AskError> {
        let seeds: Vec<Seed> = nodes.into_iter().take(SEEDS_MOST).collect();
        if seeds.is_empty() {
            return Err(AskError::NoNodes);
        }
        check(&options)?;
        let seed = options.seed.unwrap_or_else(chance);
        let options = AskOptions {
            seed: Some(seed),
            ..options
        };
        let (registry, ours) = Self::made(Standing::default());
        let asking = Asking {
            endpoint: endpoint.clone(),
            seeds,
            patience: options.patience,
            silence: options.silence,
            follower: Follower::new(options, seed),
            ours,
        };
        registry.spawn(asking.run());
        Ok(registry)
    }

    /// Waits until a node has told all it knows; for one that takes part in gossip that is so at once.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn heard(&self, within: Duration) -> Result<(), NotHeard> {
        let mut standing = self.watch_standing();
        let is_heard = standing.wait_for(|standing| standing.heard.is_some());
        if matches!(timeout(within, is_heard).await, Ok(Ok(_))) {
            return Ok(());
        }
        Err(NotHeard {
            within,
            trouble: self.standing().trouble,
        })
    }
}

fn check(options: &AskOptions) -> Result<(), AskError> {
    let ms = Duration::from_millis;
    let longest = Duration::from_secs(300);
    let times = [
        ("silence", options.silence, SILENCE_LEAST, SILENCE_MOST),
        ("patience", options.patience, ms(50), ms(30_000)),
        ("first_pause", options.first_pause, ms(10), ms(60_000)),
        (
            "longest_pause",
            options.longest_pause,
            options.first_pause,
            longest,
        ),
    ];
    for (option, found, least, most) in times {
        if !(least..=most).contains(&found) {
            return Err(AskError::Option {
                option,
                found: format!("{found:?}"),
                allowed: format!("{least:?} to {most:?}"),
            });
        }
    }
    let (found, most) = (options.services.len(), ASKED_MOST - 1);
    if found > most {
        return Err(AskError::Option {
            option: "services",
            found: format!("a list of {found}"),
            allowed: format!("one of {most} at most"),
        });
    }
    Ok(())
}

/// Carries out what the follower thinks.
struct Asking {
    endpoint: Endpoint,
    seeds: Vec<Seed>,
    patience: Duration,
    silence: Duration,
    follower: Follower,
    ours: Ours,
}

impl Asking {
    async fn run(mut self) {
        loop {
            let now = self.ours.now();
            match self.follower.next(now) {
                Next::LookUp => self.look_up().await,
                Next::Wait(until) => tokio::time::sleep(until.since(now)).await,
                Next::Open(spot) => {
                    let trouble = self.follow(&spot).await;
                    tracing::debug!(place = ?spot.addresses, %trouble, "a node is asked for instances no more");
                    self.follower.lost(self.ours.now(), &trouble);
                    self.ours.standing.send_modify(|standing| {
                        standing.following = None;
                        standing.place = None;
                        standing.trouble = Some(trouble);
                    });
                }
            }
        }
    }

    async fn look_up(&mut self) {
        let (found, errors) = look_up(self.seeds.clone()).await;
        for error in &errors {
            tracing::warn!(%error, "look up nodes to ask");
        }
        if found.is_empty() {
            let why = errors.first().map_or_else(String::new, ToString::to_string);
            let trouble = AskTrouble::Nowhere { why };
            self.ours
                .standing
                .send_modify(|standing| standing.trouble = Some(trouble));
        }
        self.follower.seeds(self.ours.now(), found);
    }

    /// Until that is over, for the reason that is given back.
    async fn follow(&mut self, spot: &Spot) -> AskTrouble {
        let target = Target {
            addresses: spot.addresses.clone(),
            node: spot.node,
        };
        let config = ChannelConfig {
            patience: self.patience,
            ..ChannelConfig::default()
        };
        let channel = Channel::new(&self.endpoint, target, config);
        let trouble = match self.open(&channel).await {
            Ok((node, stream)) => self.listen(node, spot, stream).await,
            Err(trouble) => trouble,
        };
        channel.close(Duration::ZERO).await;
        trouble
    }

    async fn open(
        &self,
        channel: &Channel,
    ) -> Result<(NodeId, Streaming<Told, NotTold>), AskTrouble> {
        let connected = channel.connect_within(self.patience).await;
        let node = connected.map_err(AskTrouble::Link)?;
        let client = DirectoryClient::new(channel).with(CallOptions::new().attempts(1));
        let question = self.follower.question();
        match timeout(self.patience, client.follow(&question)).await {
            Ok(answered) => Ok((node, answered?)),
            Err(_) => Err(AskTrouble::Silent {
                silence: self.patience,
            }),
        }
    }

    async fn listen(
        &mut self,
        node: NodeId,
        spot: &Spot,
        mut stream: Streaming<Told, NotTold>,
    ) -> AskTrouble {
        self.follower.opened(self.ours.now());
        loop {
            let silent = self.follower.silent_at().since(self.ours.now());
            let told = match timeout(silent, stream.next()).await {
                Ok(Some(Ok(told))) => told,
                Ok(Some(Err(error))) => return error.into(),
                Ok(None) => return AskTrouble::Ended,
                Err(_) => {
                    return AskTrouble::Silent {
                        silence: self.silence,
                    };
                }
            };
            match self.follower.heard(self.ours.now(), told) {
                Ok(Some(updates)) => {
                    self.ours.apply(updates);
                    self.is_up_to_date(node, spot);
                }
                Ok(None) => {}
                Err(trouble) => return trouble,
            }
        }
    }

    fn is_up_to_date(&self, node: NodeId, spot: &Spot) {
        self.ours.standing.send_modify(|standing| {
            standing.heard = Some(Instant::now());
            if standing.following != Some(node) {
                standing.following = Some(node);
                standing.place = spot.addresses.first().copied();
                standing.followed += 1;
                tracing::debug!(node = %node.short(), "a node tells of instances");
            }
        });
    }
}
