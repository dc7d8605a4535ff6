//! What the services of one node share, and where they find each other.
//!
//! Endpoint, papers and client are there before any service and outlive them all. What a service makes, it puts into its slot when it is of
//! use and takes out before it stops, so that nobody holds on to what is gone.
//!
//! Deliberately not here: starting and stopping anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use convoke_consensus::host::{AddressBook, LogNode};
use convoke_driver::{Gossip, Listing, WorkerRegistry};
use convoke_planner::roles::Machine;
use convoke_rpc::identity::{Identity, Trust};
use convoke_rpc::metrics::Metrics;
use convoke_rpc::{Endpoint, NodeId, Role};
use convoke_store::Store;
use convoke_types::ClusterId;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::adapting::{Mode, Tuner};
use crate::custody::Papers;
use crate::event::Event;
use crate::home::Home;
use crate::node::{NodeError, Settings};
use crate::offering::Going;
use crate::planning::bandwidth::Bandwidths;
use crate::planning::{Desk, Steadiness};
use crate::probe::Overrides;
use crate::services::api::{Happenings, LogClock, Logins};
use crate::supervisor::Reins;

/// What one service makes and others use. Empty while it does not run.
#[derive(Debug)]
pub(crate) struct Slot<T>(watch::Sender<Option<T>>);

impl<T: Clone> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn get(&self) -> Option<T> {
        self.0.borrow().clone()
    }

    /// It is there until what is given back is dropped.
    pub(crate) fn fill(&self, with: T) -> Filled<T> {
        self.0.send_replace(Some(with));
        Filled(self.0.clone())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<T>> {
        self.0.subscribe()
    }
}

/// Empties its slot when it is dropped.
#[derive(Debug)]
pub(crate) struct Filled<T>(watch::Sender<Option<T>>);

impl<T> Drop for Filled<T> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// Everything that is one for a node.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) home: Home,
    pub(crate) cluster: ClusterId,
    pub(crate) cluster_name: String,
    pub(crate) identity: Identity,
    pub(crate) trust: Trust,
    /// None in a development cluster.
    pub(crate) papers: Option<Arc<Mutex<Papers>>>,
    /// Where nodes may be that this one has not heard of yet.
    pub(crate) places: Vec<String>,
    /// It made the cluster, and begins its log if it has none.
    pub(crate) is_founder: bool,
    pub(crate) endpoint: Endpoint,
    /// Where it listens.
    pub(crate) bound: SocketAddr,
    /// Where others reach it.
    pub(crate) own: SocketAddr,
    pub(crate) book: AddressBook,
    pub(crate) store: Store,
    pub(crate) begun: Instant,
    pub(crate) gossip: Slot<Gossip>,
    /// Which RPC services are offered where, while it takes part in gossip.
    pub(crate) registry: Slot<WorkerRegistry>,
    /// What light clients are told of it.
    pub(crate) listing: Listing,
    /// Why this node should get no more to do.
    pub(crate) is_going: watch::Sender<Going>,
    pub(crate) log: Slot<LogNode>,
    /// The planner of roles.
    pub(crate) desk: Slot<Arc<Desk>>,
    /// The knobs that this node turns by itself.
    pub(crate) tuner: Slot<Arc<Tuner>>,
    /// What the configuration says of turning them.
    pub(crate) adapting: watch::Sender<Mode>,
    /// What the configuration says of this machine.
    pub(crate) overrides: watch::Sender<Overrides>,
    /// What was measured of this machine last, once something was.
    pub(crate) measured: watch::Sender<Option<Machine>>,
    /// What was measured of the network, and whose turn it is.
    pub(crate) bandwidths: Bandwidths,
    /// How steadily it was in touch with its peers.
    pub(crate) steadiness: Steadiness,
    /// Its role, once it is listed and answers.
    pub(crate) role: watch::Sender<Option<Role>>,
    /// Whether it was ready before, so that this is told once.
    pub(crate) was_ready: AtomicBool,
    /// Why it cannot go on.
    pub(crate) ended: watch::Sender<Option<Arc<NodeError>>>,
    /// What happened, for those who follow it.
    pub(crate) happenings: Happenings,
    /// The time of the log.
    pub(crate) log_clock: LogClock,
    /// One-time tokens with which somebody may log in at the API.
    pub(crate) logins: Logins,
    /// Where the API is served over the network, while it is, and whether with TLS.
    pub(crate) api: Slot<(SocketAddr, bool)>,
    /// Calls that were served here.
    pub(crate) calls: Metrics,
    /// How its supervisor is told; there before any service starts.
    pub(crate) reins: std::sync::OnceLock<Reins>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("node", &self.me())
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl Parts {
    pub(crate) fn me(&self) -> NodeId {
        self.identity.node_id()
    }

    /// Where the API is served over the network, as the beginning of an address.
    pub(crate) fn api_url(&self) -> Option<String> {
        let (address, has_tls) = self.api.get()?;
        let scheme = if has_tls { "https" } else { "http" };
        Some(format!("{scheme}://{address}"))
    }

    pub(crate) fn tell(&self, event: &Event) {
        self.happenings.hear(event);
        (self.settings.teller)(event);
    }

    pub(crate) fn lifetime(&self) -> Duration {
        self.settings.lifetime
    }

    /// The log, if this node has anything of it: one that nobody gave it yet knows nothing.
    pub(crate) fn log_with_entries(&self) -> Option<LogNode> {
        self.log.get().filter(|log| log.status().has_log())
    }

    /// The node cannot go on: whoever waits for its end hears why, and its services stop.
    pub(crate) fn end(&self, why: NodeError) {
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            if is_first {
                *ended = Some(Arc::new(why));
            }
            is_first
        });
        if let Some(reins) = self.reins.get() {
            reins.stop();
        }
    }
}
