//! Keys for a cluster to hold.
//!
//! Deliberately not here: measuring how fast they are written.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use convoke_rpc::{Endpoint, Limits, Target};
use convoke_store::{Store, StoreConfig};

/// Writers at once.
const WRITERS: usize = 64;
/// Bytes of a value.
const VALUE: usize = 64;

/// Writes so many, as the node in this directory.
pub(crate) fn write(home: &Path, count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (cluster, identity, trust) = convoke_node::custody::borrow(home)?;
        let anywhere = ([127, 0, 0, 1], 0).into();
        let endpoint = Endpoint::bind(anywhere, identity, trust, Limits::default())?;
        let at = cluster.own.first().context("the node has an address")?;
        let target = Target::from(at.parse::<std::net::SocketAddr>()?);
        let store = Store::new(&endpoint, [target], StoreConfig::default());
        let mut writing = tokio::task::JoinSet::new();
        let store = Arc::new(store);
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            writing.spawn(async move {
                for number in (writer..count).step_by(WRITERS) {
                    store
                        .put(format!("bench/{number:06}"), vec![7; VALUE])
                        .await?;
                }
                Ok::<(), convoke_store::Error>(())
            });
        }
        while let Some(written) = writing.join_next().await {
            written??;
        }
        store.close().await;
        endpoint.close().await;
        Ok(())
    })
}
