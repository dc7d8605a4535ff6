//! Code around every call: who may (a guard of our own), how many and how long (metrics), and what belongs together (traces).
//!
//! ```text
//! cargo run -p example-interceptors --bin archive-server -- --dir target/archive --address 127.0.0.1:4700
//! cargo run -p example-interceptors --bin archive-client -- --dir target/archive --address 127.0.0.1:4700
//! ```
//!
//! The server also describes itself, so the command line can call it:
//!
//! ```text
//! convoke rpc list 127.0.0.1:4700 --development target/archive
//! convoke rpc call 127.0.0.1:4700 Archive.read 1 --development target/archive
//! ```

mod guard;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use convoke::rpc::NoError;
use convoke::rpc::identity::{Development, Identity, NodeKey};
use convoke::rpc::metrics::Metrics;
use convoke::rpc::{Role, RoleSet, health, reflection};
use serde::{Deserialize, Serialize};
use tracing::info;

pub use guard::{Guard, Rule};

/// Keeps pages.
#[convoke::service]
pub trait Archive {
    /// A page by its number; the first is 1.
    #[rpc(idempotent)]
    async fn read(&self, number: usize) -> Result<String, NoSuchPage>;
    /// Adds a page and says which number it has.
    async fn write(&self, text: String) -> Result<usize, NoError>;
    /// Removes all pages and says how many there were.
    async fn erase(&self) -> Result<usize, NoError>;
    /// What the server counted, for Prometheus. A server that speaks HTTP would serve it there.
    #[rpc(idempotent)]
    async fn metrics(&self) -> Result<String, NoError>;
}

/// There is no page of this number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("there is no page {number}")]
pub struct NoSuchPage {
    /// What was asked for.
    pub number: usize,
}

/// The one implementation of [`Archive`]. Its events are inside the span of the call that leads to them.
#[derive(Debug, Default)]
pub struct Pages {
    pages: Mutex<Vec<String>>,
    metrics: Metrics,
}

impl Pages {
    /// None yet; `metrics` are those it tells.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            pages: Mutex::default(),
            metrics,
        }
    }
}

impl Archive for Pages {
    async fn read(&self, number: usize) -> Result<String, NoSuchPage> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let page = number.checked_sub(1).and_then(|at| pages.get(at));
        page.cloned().ok_or(NoSuchPage { number })
    }

    async fn write(&self, text: String) -> Result<usize, NoError> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.push(text);
        info!(number = pages.len(), "a page was written");
        Ok(pages.len())
    }

    async fn erase(&self) -> Result<usize, NoError> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *pages).len();
        info!(gone, "all pages were removed");
        Ok(gone)
    }

    async fn metrics(&self) -> Result<String, NoError> {
        Ok(self.metrics.snapshot().prometheus())
    }
}

/// Who may do what in the archive. What is not named here nobody may: a method that is added later is closed until somebody
/// thought about it.
#[must_use]
pub fn rules(owner: &Identity) -> Guard {
    let writers = RoleSet::of(&[Role::Worker, Role::Gateway]);
    Guard::new()
        .allow("Archive.read", Rule::Anyone)
        .allow("Archive.metrics", Rule::Anyone)
        .allow("Archive.write", Rule::HoldsAll(writers))
        .allow("Archive.erase", Rule::Only(owner.node_id()))
        .allow_all_of(health::HealthCheckClient::descriptor())
        .allow_all_of(reflection::ReflectionClient::descriptor())
}

/// The owner of the archive: a key in the directory, so that both programs know who it is.
///
/// # Errors
/// When the key cannot be read or made.
pub fn owner(cluster: &Development, directory: &Path) -> anyhow::Result<Identity> {
    let key = NodeKey::load_or_create(directory.join("owner.key"))?;
    let certificate = cluster.certificate(key.node_id(), RoleSet::ALL);
    Ok(Identity::new(key, certificate)?)
}
