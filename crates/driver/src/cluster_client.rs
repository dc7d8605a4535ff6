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

use convoke_rpc::by_name::{Answered, service_of};
use convoke_rpc::{Balanced, BalancedConfig, CallError, CallOptions, Caller, Encoded, Endpoint};
use convoke_types::{Problem, Selector};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
///
/// A program without the trait calls by name, with types of its own that have the same bytes, or with [`Encoded`]:
///
/// ```no_run
/// # use convoke_driver::ClusterClient;
/// # use convoke_rpc::CallOptions;
/// # async fn example(cluster: ClusterClient) -> Result<(), Box<dyn std::error::Error>> {
/// let near = "zone = eu".parse()?;
/// let hello: String = cluster.call_worker("Greeter.greet", "Ada", &near).await?;
/// let safely = cluster.with(CallOptions::new().idempotent());
/// for one in safely.call_all_workers::<_, String>("Greeter.greet", "Ada", &near).await? {
///     println!("{}: {:?}", one.by.id, one.answer);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClusterClient {
    inner: Arc<Inner>,
    options: CallOptions,
}

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
        let inner = Inner {
            endpoint: endpoint.clone(),
            registry: registry.clone(),
            config,
            ways: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            options: CallOptions::default(),
        }
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
        &self.inner.registry
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
        let mut ways = self.inner.ways.lock();
        if let Some(way) = ways.get(&key) {
            return way.clone();
        }
        let instances = self.inner.registry.instances();
        let config = self.inner.config.clone();
        let way = Balanced::new(&self.inner.endpoint, instances, service, selector, config);
        if ways.len() < WAYS_MOST {
            ways.insert(key, way.clone());
        }
        way
    }

    /// The same client, with other options for what it calls by name. Generated clients have options of their own.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Self {
        Self {
            options,
            ..self.clone()
        }
    }

    /// Calls `Service.method` on whichever instance is best among those that a selector chooses. It is taken to be not idempotent unless the
    /// options say so.
    ///
    /// # Errors
    /// `App` is the method's own error, as bytes; `Rpc` is why no answer came, and whether it may have run.
    pub async fn call_worker<Q, A>(
        &self,
        method: &str,
        data: &Q,
        filter: &Selector,
    ) -> Result<A, CallError<Encoded>>
    where
        Q: Serialize + ?Sized,
        A: DeserializeOwned,
    {
        let way = self.service_where(service_of(method)?, filter.clone());
        let caller = Caller::from(way).with(self.options.clone());
        caller.call_by_name(method, data).await
    }

    /// Calls `Service.method` once on every instance that a selector chooses, some at a time, each within the deadline of the options: what each
    /// of them answered, or why it did not.
    ///
    /// # Errors
    /// When this is no name of a method.
    pub async fn call_all_workers<Q, A>(
        &self,
        method: &str,
        data: &Q,
        filter: &Selector,
    ) -> Result<Vec<Answered<A>>, Problem>
    where
        Q: Serialize + Sync + ?Sized,
        A: DeserializeOwned,
    {
        let way = self.service_where(service_of(method)?, filter.clone());
        way.call_each(method, data, &self.options).await
    }

    /// Takes no new calls, lets those under way end for at most `grace`, and follows no more. Says whether all came to their end.
    pub async fn close(&self, grace: Duration) -> bool {
        let ways = std::mem::take(&mut *self.inner.ways.lock());
        let mut all = true;
        for way in ways.into_values() {
            all &= way.close(grace).await;
        }
        self.inner.registry.close().await;
        all
    }
}
