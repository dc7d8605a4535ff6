//! A small world for tests: a server and a client with a cluster of their own, over a carrier of choice.

// tidy: shared by several test files, each of which uses another part
#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "each test file uses its part of the world"
)]

pub(crate) mod measure;

use std::net::SocketAddr;
use std::time::Duration;

use convoke_rpc::identity::Development;
use convoke_rpc::{
    Carriers, Channel, ChannelConfig, Endpoint, Limits, MemoryNetwork, Role, RoleSet, Server,
    ServerBuilder, Target,
};

/// What carries the links of a world.
#[derive(Debug, Clone)]
pub(crate) enum Carrier {
    Quic,
    Tcp,
    Memory(MemoryNetwork),
}

impl Carrier {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryNetwork::new())
    }

    pub(crate) fn endpoint(
        &self,
        cluster: &Development,
        roles: RoleSet,
        limits: Limits,
    ) -> Endpoint {
        self.endpoint_as(cluster.identity(roles), cluster, limits)
    }

    pub(crate) fn endpoint_as(
        &self,
        identity: convoke_rpc::identity::Identity,
        cluster: &Development,
        limits: Limits,
    ) -> Endpoint {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        self.endpoint_at(anywhere, identity, cluster.trust(), limits)
            .expect("an address on loopback is free")
    }

    /// At this very address, which may still be taken.
    pub(crate) fn endpoint_at(
        &self,
        address: SocketAddr,
        identity: convoke_rpc::identity::Identity,
        trust: convoke_rpc::identity::Trust,
        limits: Limits,
    ) -> std::io::Result<Endpoint> {
        match self {
            Self::Quic => Endpoint::bind_with(Carriers::Quic, address, identity, trust, limits),
            Self::Tcp => Endpoint::bind_with(Carriers::Tcp, address, identity, trust, limits),
            Self::Memory(network) => Endpoint::in_memory(network, address, identity, trust, limits),
        }
    }

    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

/// A server and a client that trust each other.
pub(crate) struct World {
    pub(crate) carrier: Carrier,
    pub(crate) cluster: Development,
    pub(crate) host: Endpoint,
    pub(crate) server: Server,
    pub(crate) client: Endpoint,
}

impl World {
    pub(crate) fn serving(
        carrier: Carrier,
        build: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        Self::with_limits(carrier, Limits::default(), build)
    }

    pub(crate) fn with_limits(
        carrier: Carrier,
        limits: Limits,
        build: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let cluster = Development::new();
        let host = carrier.endpoint(&cluster, RoleSet::of(&[Role::Worker]), limits.clone());
        let server = build(Server::builder())
            .serve(&host)
            .expect("nobody serves here yet");
        let client = carrier.endpoint(&cluster, RoleSet::of(&[Role::Gateway]), limits);
        Self {
            carrier,
            cluster,
            host,
            server,
            client,
        }
    }

    pub(crate) fn target(&self) -> Target {
        let address = self.host.local_address().expect("the endpoint is open");
        Target {
            addresses: vec![address],
            node: Some(self.host.identity().node_id()),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel::new(&self.client, self.target(), ChannelConfig::default())
    }

    /// Waits for a state, and says which one did not come.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        until(what, || is_so(self)).await;
    }

    /// Ends everything; a task that does not end fails the test.
    pub(crate) async fn end(self) {
        let ending = async {
            self.server.shutdown(Duration::from_secs(1)).await;
            self.client.close().await;
            self.host.close().await;
        };
        tokio::time::timeout(PATIENCE, ending)
            .await
            .expect("everything ends when it is told to");
    }
}

/// Something that goes on beside the story; ended with this.
pub(crate) struct Beside<T>(tokio::task::JoinSet<T>);

impl<T: Send + 'static> Beside<T> {
    pub(crate) fn start(task: impl Future<Output = T> + Send + 'static) -> Self {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(task);
        Self(tasks)
    }

    /// What came of it.
    pub(crate) async fn ended(mut self) -> T {
        let ended = self.0.join_next().await.expect("one task was started");
        ended.expect("it does not panic")
    }
}

/// How long a test waits for what must come. Only a failure takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a state, and says which one did not come.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await; // tidy: between two looks at a state, with a deadline
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// Runs each story on every carrier, on one thread and on several.
macro_rules! on_every_carrier {
    ($($story:ident),+ $(,)?) => {
        $(mod $story {
            use crate::world::{Carrier, PATIENCE};

            async fn run(carrier: Carrier) {
                tokio::time::timeout(PATIENCE * 2, super::$story(carrier)).await.expect("the story ends");
            }

            #[tokio::test]
            async fn over_quic() {
                run(Carrier::Quic).await;
            }

            #[tokio::test]
            async fn over_tcp() {
                run(Carrier::Tcp).await;
            }

            #[tokio::test]
            async fn in_memory() {
                run(Carrier::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_quic_on_two_threads() {
                run(Carrier::Quic).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_tcp_on_two_threads() {
                run(Carrier::Tcp).await;
            }
        })+
    };
}

pub(crate) use on_every_carrier;

/// Runs each story on every carrier that has a socket, on one thread and on several.
macro_rules! on_every_socket {
    ($($story:ident),+ $(,)?) => {
        $(mod $story {
            use crate::world::{Carrier, PATIENCE};

            async fn run(carrier: Carrier) {
                tokio::time::timeout(PATIENCE * 2, super::$story(carrier)).await.expect("the story ends");
            }

            #[tokio::test]
            async fn over_quic() {
                run(Carrier::Quic).await;
            }

            #[tokio::test]
            async fn over_tcp() {
                run(Carrier::Tcp).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_quic_on_two_threads() {
                run(Carrier::Quic).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_tcp_on_two_threads() {
                run(Carrier::Tcp).await;
            }
        })+
    };
}

pub(crate) use on_every_socket;

/// Numbers that look random and can be had again: splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From `CONVOKE_SEED`, or from the clock; says which, and how to have it again.
    pub(crate) fn from_environment(test: &str) -> Self {
        let seed = chosen_seed().unwrap_or_else(fresh_seed);
        announce(test, seed);
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is small beside 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The seed somebody asked for.
pub(crate) fn chosen_seed() -> Option<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no configuration to read it from"
    )]
    let seed = std::env::var("CONVOKE_SEED").ok()?;
    Some(seed.parse().expect("CONVOKE_SEED is a number"))
}

pub(crate) fn fresh_seed() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since_1970.expect("a clock after 1970").as_nanos() as u64
}

/// Shown by the test runner when the test fails.
#[expect(
    clippy::print_stdout,
    reason = "the test runner shows it with the failure"
)]
pub(crate) fn announce(test: &str, seed: u64) {
    println!("to replay: CONVOKE_SEED={seed} cargo test -p convoke-rpc --test {test}");
}
