//! Comes as three different nodes, and does what each of them may and one thing it may not.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use convoke::rpc::identity::{Development, Identity};
use convoke::rpc::metrics::Metrics;
use convoke::rpc::trace::Tracing;
use convoke::rpc::{CallError, CallOptions, Caller, Endpoint, Limits, Role, RoleSet};
use example_interceptors::{ArchiveClient, owner};

/// Comes as three different nodes, and does what each of them may and one thing it may not.
#[derive(Parser)]
struct Arguments {
    /// The directory that makes the programs one cluster
    #[arg(long)]
    dir: PathBuf,
    /// Where the server is
    #[arg(long)]
    address: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { dir, address } = Arguments::parse();
    let cluster = Development::in_dir(&dir)?;
    let writers = RoleSet::of(&[Role::Worker, Role::Gateway]);
    let visit = Visit {
        cluster: cluster.clone(),
        address,
        metrics: Metrics::new(),
    };

    let worker = visit.archive(cluster.identity(Role::Worker.into()))?;
    match worker.write("a worker alone may not").await {
        Err(CallError::Rpc(problem)) => println!("a worker: {}", problem.code),
        other => anyhow::bail!("a worker that should not write came to {other:?}"),
    }

    let writer = visit.archive(cluster.identity(writers))?;
    println!("written: page {}", writer.write("first").await?);
    // All calls with these options belong to one trace, which other tools may have begun.
    let trace = Tracing::new().next_span(None);
    let trace = trace.ok_or_else(|| anyhow::anyhow!("no randomness for a trace"))?;
    println!("traceparent: {trace}");
    let traced = writer.with(CallOptions::new().trace(trace));
    println!("page 1: {}", traced.read(&1).await?);
    match traced.read(&7).await {
        Err(CallError::App(refusal)) => println!("page 7: {refusal}"),
        other => anyhow::bail!("a page that is not there came to {other:?}"),
    }

    let owner = visit.archive(owner(&cluster, &dir)?)?;
    println!("erased: {}", owner.erase().await?);
    println!("what the server counted:\n{}", owner.metrics().await?);
    for made in visit.metrics.snapshot().called {
        println!("made here: {} {:?}", made.method, made.outcomes);
    }
    Ok(())
}

/// What all nodes of this program share.
struct Visit {
    cluster: Development,
    address: SocketAddr,
    metrics: Metrics,
}

impl Visit {
    /// The archive, as this node sees it. Dropped, the client closes its link.
    fn archive(&self, identity: Identity) -> anyhow::Result<ArchiveClient> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let trust = self.cluster.trust();
        let endpoint = Endpoint::bind(anywhere, identity, trust, Limits::default())?;
        let caller = Caller::from(endpoint.channel(self.address))
            .intercepted(Tracing::new())
            .intercepted(self.metrics.clone());
        Ok(ArchiveClient::new(caller))
    }
}
