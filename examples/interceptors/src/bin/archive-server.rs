//! Keeps pages for whoever may write them, until Ctrl-C. What happens is on the error output, call by call.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use convoke::rpc::identity::Development;
use convoke::rpc::metrics::Metrics;
use convoke::rpc::trace::Tracing;
use convoke::rpc::{Endpoint, Limits, Role, Server};
use example_interceptors::{ArchiveServer, Pages, owner, rules};
use tracing_subscriber::fmt::format::FmtSpan;

/// Keeps pages for whoever may write them, until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The directory that makes the programs one cluster
    #[arg(long)]
    dir: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { dir, address } = Arguments::parse();
    // A span is printed when its call is over. A collector of traces would be subscribed here instead.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .init();

    let cluster = Development::in_dir(&dir)?;
    let guard = rules(&owner(&cluster, &dir)?);
    let metrics = Metrics::new();
    let identity = cluster.identity(Role::Worker.into());
    let endpoint = Endpoint::bind(address, identity, cluster.trust(), Limits::default())?;
    // The first is the outermost: refusals of the guard are traced and counted, too.
    let server = Server::builder()
        .interceptor(Tracing::new())
        .interceptor(metrics.clone())
        .interceptor(guard)
        .service(ArchiveServer::new(Pages::new(metrics)))
        .reflection()
        .serve(&endpoint)?;
    println!("serving at {}", endpoint.local_address()?);

    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::from_secs(5)).await;
    endpoint.close().await;
    Ok(())
}
