//! A worker: offers `Inference` and `Compute`, and fails now and then if it is asked to.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::net::SocketAddr;
use std::time::Duration;

use convoke::cluster::Cluster;
use example_cluster::{Worker, log, member, setting, time};

/// How long each part of a failure lasts.
struct Failure {
    up: Duration,
    warning: Duration,
    failed: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let label: String = setting("WORKER_LABEL", "worker-1")?;
    let listen: SocketAddr = setting("WORKER_ADDR", "127.0.0.1:62001")?;
    let fails: bool = setting("WORKER_FAILURE_ENABLED", "false")?;
    let failure = Failure {
        up: time("WORKER_UP_MS", "10000")?,
        warning: time("WORKER_WARNING_MS", "3000")?,
        failed: time("WORKER_FAILED_MS", "5000")?,
    };
    let thinks = time("WORKER_TOKEN_MS", "300")?;
    let cluster = member(listen)?;
    let cluster = cluster.name(&label).tag("role", "worker").build().await?;
    let worker = Worker { label, thinks };
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        ended = work(&cluster, &worker, fails.then_some(failure)) => ended?,
    }
    cluster.leave(Duration::from_secs(1)).await;
    Ok(())
}

async fn work(cluster: &Cluster, worker: &Worker, failure: Option<Failure>) -> anyhow::Result<()> {
    let label = &worker.label;
    loop {
        let server = worker.serve(cluster.endpoint())?;
        worker.offer(cluster, true).await?;
        println!("{label} serves at {}", cluster.endpoint().local_address()?);
        let Some(Failure {
            up,
            warning,
            failed,
        }) = &failure
        else {
            return std::future::pending().await;
        };
        tokio::time::sleep(*up).await;
        println!("{label} fails in {warning:.0?}");
        worker.offer(cluster, false).await?;
        tokio::time::sleep(*warning).await;
        println!("{label} has failed, for {failed:.0?}");
        worker.withdraw(cluster).await?;
        server.shutdown(Duration::ZERO).await;
        tokio::time::sleep(*failed).await;
    }
}
