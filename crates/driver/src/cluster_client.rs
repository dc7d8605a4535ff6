//! Calling RPC services by name, wherever in the cluster they are offered.
//!
//! | bound | |
//! | --- | --- |
//! | ways that are kept | [`WAYS_MOST`] pairs of service and selector; what is beyond is made anew for whoever asks, and shares nothing |
//!
//! Deliberately not here: choosing (`convoke_balance`), and knowing (`registry`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_rpc::{Balanced, BalancedConfig, Endpoint};
use convoke_types::Selector;
use parking_lot::Mutex;

use crate::error::GossipError;
use crate::gossip::Gossip;
use crate::registry::WorkerRegistry;

/// Pairs of service and selector that one client keeps.
pub const WAYS_MOST: usize = 256;

/// Calls RPC services of a cluster, each call on the instance that is best for it. Clones share everything.
///
/// ```no_run
/// # use convoke_driver::{ClusterClient, Gossip};
/// # use convoke_rpc::{BalancedConfig, Endpoint, NoError, service};
/// # #[service]
/// # trait Greeter { #[rpc(idempotent)] async fn greet(&self, name: String) -> Result<String, NoError>; }
/// # async fn example(endpoint: Endpoint, gossip: Gossip) -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = ClusterClient::follow(&endpoint, &gossip, BalancedConfig::default())?;
/// let near = cluster.service_where("Greeter", "zone = eu and not draining".parse()?);
/// println!("{}", GreeterClient::new(near).greet("Ada").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClusterClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    registry: WorkerRegistry,
    config: BalancedConfig,
    ways: Mutex<BTreeMap<(String, String), Balanced>>,
}

impl ClusterClient {
    /// Calls over links of `endpoint` what is in a registry.
    #[must_use]
    pub fn new(endpoint: &Endpoint, registry: &WorkerRegistry, config: BalancedConfig) -> Self {
        Self(Arc::new(Inner {
            endpoint: endpoint.clone(),
            registry: registry.clone(),
            config,
            ways: Mutex::default(),
        }))
    }

    /// The same with a registry of its own, which follows this gossip.
    ///
    /// # Errors
    /// When there are as many watchers of it as there may be.
    pub fn follow(
        endpoint: &Endpoint,
        gossip: &Gossip,
        config: BalancedConfig,
    ) -> Result<Self, GossipError> {
        let registry = WorkerRegistry::follow(gossip)?;
        Ok(Self::new(endpoint, &registry, config))
    }

    /// What is known of instances.
    #[must_use]
    pub fn registry(&self) -> &WorkerRegistry {
        &self.0.registry
    }

    /// The way to all instances of an RPC service, for its generated client.
    #[must_use]
    pub fn service(&self, service: &str) -> Balanced {
        self.service_where(service, Selector::everything())
    }

    /// The way to those that a selector chooses. Whoever asks for the same has the same: limits and budgets count for all of them together.
    #[must_use]
    pub fn service_where(&self, service: &str, selector: Selector) -> Balanced {
        let key = (service.to_owned(), selector.to_string());
        let mut ways = self.0.ways.lock();
        if let Some(way) = ways.get(&key) {
            return way.clone();
        }
        let instances = self.0.registry.instances();
        let config = self.0.config.clone();
        let way = Balanced::new(&self.0.endpoint, instances, service, selector, config);
        if ways.len() < WAYS_MOST {
            ways.insert(key, way.clone());
        }
        way
    }

    /// Takes no new calls, lets those under way end for at most `grace`, and follows no more. Says whether all came to their end.
    pub async fn close(&self, grace: Duration) -> bool {
        let ways = std::mem::take(&mut *self.0.ways.lock());
        let mut all = true;
        for way in ways.into_values() {
            all &= way.close(grace).await;
        }
        self.0.registry.close().await;
        all
    }
}
