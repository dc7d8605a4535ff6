//! All that a program needs to take part in a cluster and call what is in it, in one value.
//!
//! ```text
//! Cluster ── Endpoint ─┬─ Gossip ── WorkerRegistry ── ClusterClient
//!                      └─ (a Server of the program's own)
//! ```
//!
//! | setting | what it is | range |
//! | --- | --- | --- |
//! | [`with_gossip_interval`](ClusterBuilder::with_gossip_interval) | [`Params::gather`]: how long news waits for company before it is passed on | 0 – 1 s |
//! | [`with_health_check_interval`](ClusterBuilder::with_health_check_interval) | [`Params::period`]: how often a member and each of its observers exchange a ping | 200 ms – 10 s |
//!
//! Nothing here can do what its parts cannot: a program that shares an endpoint with something else, or wants only one of them, puts them together
//! itself.
//!
//! Deliberately not here: servers. What a program serves, and how it drains, is its own business; [`Cluster::endpoint`] is where.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use convoke_membership::{Fact, Params};
use convoke_rpc::identity::{Identity, Trust};
use convoke_rpc::{BalancedConfig, Carriers, Endpoint, Limits};
use convoke_types::{Tag, Tags};

use crate::cluster_client::ClusterClient;
use crate::error::{End, GossipError, StartError};
use crate::gossip::Gossip;
use crate::home::Home;
use crate::registry::WorkerRegistry;
use crate::seeds::Seed;
use crate::settings::Settings;
use crate::watchers::Watcher;

/// The longest gossip interval.
const GATHER_MOST: Duration = convoke_membership::PACE_MOST;
/// The shortest and longest health check interval.
const PERIODS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A program's part in a cluster: its endpoint, membership, what is offered where, and calls to it. It goes on until [`leave`](Self::leave).
///
/// ```no_run
/// # use std::time::Duration;
/// use convoke_driver::{Cluster, Offer};
/// use convoke_rpc::identity::Development;
/// use convoke_rpc::RoleSet;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let development = Development::in_dir("dev")?;
/// let cluster = Cluster::builder(development.identity(RoleSet::ALL), development.trust())
///     .listen("127.0.0.1:62001".parse()?)
///     .join(["127.0.0.1:61000".parse()?])
///     .with_gossip_interval(Duration::from_millis(20))
///     .with_health_check_interval(Duration::from_secs(1))
///     .tag("role", "worker")
///     .build()
///     .await?;
/// cluster.gossip().offer("Compute", &Offer::default()).await?;
/// let everywhere = "role = worker".parse()?;
/// let square: u64 = cluster.client().call_worker("Compute.square", &7_u64, &everywhere).await?;
/// cluster.leave(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    endpoint: Endpoint,
    gossip: Gossip,
    client: ClusterClient,
}

/// What a program wants of its part in a cluster.
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct ClusterBuilder {
    identity: Identity,
    trust: Trust,
    listen: SocketAddr,
    carriers: Carriers,
    limits: Limits,
    seeds: Vec<Seed>,
    params: Params,
    home: Home,
    name: Option<String>,
    tags: Vec<(String, String)>,
    balancing: BalancedConfig,
}

/// Why a program takes no part. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The address cannot be listened at.
    #[error("could not listen at {address}: {error}")]
    Listen {
        /// It.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A tag is none.
    #[error("{key:?} = {value:?} is no tag: {error}")]
    Tag {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        error: convoke_types::TagError,
    },
    /// Membership did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Membership ended at once.
    #[error(transparent)]
    Gossip(#[from] GossipError),
}

impl Cluster {
    /// Begins to say what is wanted, as a node that has this identity and trusts these issuers.
    pub fn builder(identity: Identity, trust: Trust) -> ClusterBuilder {
        ClusterBuilder {
            identity,
            trust,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            carriers: Carriers::Both,
            limits: Limits::default(),
            seeds: Vec::new(),
            params: Params::lan(100),
            home: Home::Memory { boot: 1 },
            name: None,
            tags: Vec::new(),
            balancing: BalancedConfig::default(),
        }
    }

    /// Where links come from and go to; a server of the program serves at it.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Membership: who is there, what this node says of itself, and what it offers.
    #[must_use]
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// Which RPC services are offered where.
    #[must_use]
    pub fn registry(&self) -> &WorkerRegistry {
        self.client.registry()
    }

    /// Calls to them.
    #[must_use]
    pub fn client(&self) -> &ClusterClient {
        &self.client
    }

    /// Everybody as they are, and then what happens to them.
    ///
    /// # Errors
    /// When there are as many watchers as there may be.
    pub fn events(&self) -> Result<Watcher, GossipError> {
        self.gossip.watch()
    }

    /// Lets calls that were made here end for at most `grace`, says farewell, closes the endpoint, and waits until all of that is over. A server of the
    /// program is shut down before, so that what it still does can end.
    pub async fn leave(self, grace: Duration) -> End {
        self.client.close(grace).await;
        let end = self.gossip.leave().await;
        self.endpoint.close().await;
        end
    }
}

impl ClusterBuilder {
    /// Where to listen, and where others are told to call. A free port of the loopback interface, if nobody says.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// What links are carried by: TLS over TCP and QUIC, if nobody says.
    pub fn carriers(mut self, carriers: Carriers) -> Self {
        self.carriers = carriers;
        self
    }

    /// Bounds of links and calls.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where members may be found. They need not be there yet: they are asked again and again. A node that is given its own address is
    /// the first one.
    pub fn join(mut self, seeds: impl IntoIterator<Item = Seed>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// How the cluster is watched, all of it; [`Params::lan`] if nobody says. All nodes should say the same. What is said beside it counts for what
    /// was said before.
    pub fn params(mut self, params: Params) -> Self {
        self.params = params;
        self
    }

    /// How long news waits for company before it is passed on: 0 – 1 s, 8 ms if nobody says. Longer makes fewer and larger messages, and what
    /// happens is known later.
    pub fn with_gossip_interval(mut self, gather: Duration) -> Self {
        self.params.gather = gather;
        self
    }

    /// How often a member and each of its observers exchange a ping: 200 ms – 10 s, 1 s if nobody says. Shorter finds who is gone sooner, and costs in
    /// proportion. All nodes should say the same.
    pub fn with_health_check_interval(mut self, period: Duration) -> Self {
        self.params.period = period;
        self
    }

    /// What people call this node.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A tag that others see and select by.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Where the number of starts and introductions are kept, for a node whose key outlives its process. In memory, if nobody says.
    pub fn home(mut self, directory: impl Into<PathBuf>) -> Self {
        self.home = Home::Directory(directory.into());
        self
    }

    /// How calls are balanced.
    pub fn balancing(mut self, config: BalancedConfig) -> Self {
        self.balancing = config;
        self
    }

    /// Takes part from now on.
    ///
    /// # Errors
    /// When a setting is out of its range, the address is taken, or membership does not start. Nothing is left running.
    pub async fn build(self) -> Result<Cluster, ClusterError> {
        self.check()?;
        let tags = self.tags()?;
        let own = (self.listen.port() != 0).then_some(Seed::Address(self.listen));
        let bound = Endpoint::bind_with(
            self.carriers,
            self.listen,
            self.identity,
            self.trust,
            self.limits,
        );
        let endpoint = bound.map_err(|error| ClusterError::Listen {
            address: self.listen,
            error,
        })?;
        let name = self.name.into_iter().map(Fact::Name);
        let facts = name.chain((!tags.is_empty()).then_some(Fact::Tags(tags)));
        let settings = Settings {
            seeds: self
                .seeds
                .into_iter()
                .filter(|seed| Some(seed) != own.as_ref())
                .collect(),
            facts: facts.collect(),
            home: self.home,
            ..Settings::new(endpoint.clone(), self.params)
        };
        let gossip = match Gossip::start(settings).await {
            Ok(gossip) => gossip,
            Err(error) => {
                endpoint.close().await;
                return Err(error.into());
            }
        };
        match ClusterClient::follow(&endpoint, &gossip, self.balancing) {
            Ok(client) => Ok(Cluster {
                endpoint,
                gossip,
                client,
            }),
            Err(error) => {
                gossip.stop().await;
                endpoint.close().await;
                Err(error.into())
            }
        }
    }

    fn check(&self) -> Result<(), StartError> {
        let wrong = |setting, found: Duration, allowed| StartError::Setting {
            setting,
            found: format!("{found:?}"),
            allowed,
        };
        let (gather, period) = (self.params.gather, self.params.period);
        if gather > GATHER_MOST {
            return Err(wrong("the gossip interval", gather, "0 to 1 s"));
        }
        if !(PERIODS.0..=PERIODS.1).contains(&period) {
            return Err(wrong("the health check interval", period, "200 ms to 10 s"));
        }
        Ok(())
    }

    fn tags(&self) -> Result<Tags, ClusterError> {
        let mut tags = Tags::new();
        for (key, value) in &self.tags {
            let made = Tag::with_value(key, value).and_then(|tag| tags.insert(tag).map(|_| ()));
            made.map_err(|error| ClusterError::Tag {
                key: key.clone(),
                value: value.clone(),
                error,
            })?;
        }
        Ok(tags)
    }
}
