//! What is known of instances, shared by whoever hears of them and all who call them.
//!
//! One lock, held for a look or a change and never over a wait.
//!
//! Deliberately not here: where what is known comes from. Gossip, a node that is asked, and a test all say it with
//! [`Instances::apply`].

use std::sync::Arc;

use convoke_balance::registry::Full;
use convoke_balance::{Delta, Instance, Registry, Update, View};
use convoke_types::Selector;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Instances of RPC services, as far as is known. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Instances(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    registry: Mutex<Registry>,
    revision: watch::Sender<u64>,
}

impl Instances {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what somebody says, as one change for those who watch.
    ///
    /// # Errors
    /// Some are left out, since as many as are kept are known.
    pub fn apply(&self, updates: impl IntoIterator<Item = Update>) -> Result<(), Full> {
        let mut registry = self.0.registry.lock();
        let mut left_out = Ok(());
        for update in updates {
            if let Err(full) = registry.apply(update) {
                left_out = Err(full);
            }
        }
        let revision = registry.revision();
        self.0.revision.send_if_modified(|told| {
            let is_new = *told != revision;
            *told = revision;
            is_new
        });
        left_out
    }

    /// The instances of an RPC service that a selector chooses, however they are.
    #[must_use]
    pub fn select(&self, service: &str, selector: &Selector) -> Vec<Arc<Instance>> {
        let registry = self.0.registry.lock();
        registry.select(service, selector).cloned().collect()
    }

    /// All RPC services of which an instance is known, in order.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let registry = self.0.registry.lock();
        registry.services().map(str::to_owned).collect()
    }

    /// How many changes there were; a new number after each.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// Brings a view up to what is known, for whoever chooses without calling: what changed for it.
    pub fn follow(&self, view: &mut View) -> Vec<Delta> {
        view.follow(&self.0.registry.lock())
    }

    pub(super) fn revision(&self) -> u64 {
        *self.0.revision.borrow()
    }
}
