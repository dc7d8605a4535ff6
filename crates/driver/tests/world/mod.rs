//! A small world for tests: nodes of one cluster, in memory or on loopback.

// tidy: shared by several test files, each of which uses another part
#![allow(dead_code, reason = "each test file uses its part of the world")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use convoke_driver::{Fact, Gossip, Home, Member, Params, Seed, Settings, Verdict};
use convoke_rpc::identity::{Development, Identity};
use convoke_rpc::{Carriers, Endpoint, Limits, MemoryNetwork, NodeId, RoleSet};

/// Only a failure takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What carries the links of a world.
#[derive(Debug, Clone)]
pub(crate) enum Carrier {
    Sockets(Carriers),
    Memory(MemoryNetwork),
}

impl Carrier {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryNetwork::new())
    }

    pub(crate) async fn endpoint_at(
        &self,
        address: SocketAddr,
        identity: Identity,
        cluster: &Development,
    ) -> Endpoint {
        let taking = async {
            loop {
                match self.try_endpoint_at(address, identity.clone(), cluster) {
                    Ok(endpoint) => return endpoint,
                    // Its socket may outlive a closed endpoint for a moment.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await, // tidy: until the address is free, with a deadline
                }
            }
        };
        tokio::time::timeout(PATIENCE, taking)
            .await
            .expect("the address becomes free")
    }

    fn try_endpoint_at(
        &self,
        address: SocketAddr,
        identity: Identity,
        cluster: &Development,
    ) -> std::io::Result<Endpoint> {
        let (trust, limits) = (cluster.trust(), Limits::default());
        match self {
            Self::Sockets(carriers) => {
                Endpoint::bind_with(*carriers, address, identity, trust, limits)
            }
            Self::Memory(network) => Endpoint::in_memory(network, address, identity, trust, limits),
        }
    }

    pub(crate) fn endpoint(&self, cluster: &Development) -> Endpoint {
        self.try_endpoint_at(anywhere(), cluster.identity(RoleSet::ALL), cluster)
            .expect("nobody else uses this address")
    }
}

/// A free port at an address of loopback that no other endpoint uses, so that a node which comes back finds its port free.
pub(crate) fn anywhere() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    SocketAddr::from(([127, 77, high, low], 0))
}

/// A node that takes part.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) gossip: Gossip,
}

impl Node {
    /// A node of its own key that joins at `seeds`.
    pub(crate) async fn start(carrier: &Carrier, cluster: &Development, seeds: &[&Self]) -> Self {
        Self::start_with(carrier.endpoint(cluster), seeds, |settings| settings).await
    }

    pub(crate) async fn start_with(
        endpoint: Endpoint,
        seeds: &[&Self],
        settings: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let seeds = seeds
            .iter()
            .map(|node| Seed::Address(node.address()))
            .collect();
        let gossip = Gossip::start(settings(Settings {
            seeds,
            ..Settings::new(endpoint.clone(), Params::local())
        }))
        .await
        .expect("the node starts");
        Self { endpoint, gossip }
    }

    /// Comes back after [`die`](Self::die) under the same key, at this address.
    pub(crate) async fn come_back(
        carrier: &Carrier,
        cluster: &Development,
        identity: Identity,
        address: SocketAddr,
        seeds: &[&Self],
        settings: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let endpoint = carrier.endpoint_at(address, identity, cluster).await;
        Self::start_with(endpoint, seeds, settings).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_address().expect("it is open")
    }

    pub(crate) fn id(&self) -> NodeId {
        self.gossip.id()
    }

    pub(crate) fn sees(&self, other: &NodeId) -> Option<Member> {
        let roll = self.gossip.members();
        roll.members.get(other).map(|member| (**member).clone())
    }

    pub(crate) fn verdict(&self, other: &NodeId) -> Option<Verdict> {
        self.sees(other).map(|member| member.verdict)
    }

    /// Goes without a word.
    pub(crate) async fn die(self) {
        self.gossip.stop().await;
        self.endpoint.close().await;
    }
}

/// Waits until everybody sees everybody as reachable.
pub(crate) async fn all_see_each_other(nodes: &[&Node]) {
    until("all see each other", || {
        nodes.iter().all(|node| {
            let others = nodes.iter().map(|other| other.id());
            others
                .into_iter()
                .all(|id| node.verdict(&id) == Some(Verdict::Reachable))
        })
    })
    .await;
}

/// Waits for a state, and says which one did not come.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    until_async(what, async || is_so()).await;
}

pub(crate) async fn until_async(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await; // tidy: between two looks at a state, with a deadline
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

pub(crate) fn named(name: &str) -> impl FnOnce(Settings) -> Settings {
    let facts = vec![Fact::Name(name.to_owned())];
    |settings| Settings { facts, ..settings }
}

pub(crate) fn at_home(home: PathBuf) -> impl FnOnce(Settings) -> Settings {
    |settings| Settings {
        home: Home::Directory(home),
        ..settings
    }
}

/// Runs each story in memory, over both carriers, and over TCP alone.
macro_rules! on_every_carrier {
    ($($story:ident),+ $(,)?) => {
        $(mod $story {
            use convoke_rpc::Carriers;
            use crate::world::{Carrier, PATIENCE};

            async fn run(carrier: Carrier) {
                tokio::time::timeout(PATIENCE * 2, super::$story(carrier)).await.expect("the story ends");
            }

            #[tokio::test]
            async fn in_memory() {
                run(Carrier::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_loopback() {
                run(Carrier::Sockets(Carriers::Both)).await;
            }

            #[tokio::test]
            async fn over_tcp_alone() {
                run(Carrier::Sockets(Carriers::Tcp)).await;
            }
        })+
    };
}

pub(crate) use on_every_carrier;
