//! A small world for tests: a server and a client with a cluster of their own, over a carrier of choice.

#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "each test file uses its part of the world"
)] // tidy: shared by several test files

use std::net::SocketAddr;
use std::time::Duration;

use convoke_rpc::identity::Development;
use convoke_rpc::{
    Channel, ChannelConfig, Endpoint, Limits, MemoryNetwork, Role, RoleSet, Server, ServerBuilder,
    Target,
};

/// What carries the links of a world.
#[derive(Debug, Clone)]
pub(crate) enum Carrier {
    Quic,
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
            Self::Quic => Endpoint::bind(address, identity, trust, limits),
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
            async fn in_memory() {
                run(Carrier::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_quic_on_two_threads() {
                run(Carrier::Quic).await;
            }
        })+
    };
}

pub(crate) use on_every_carrier;
