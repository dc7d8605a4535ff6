//! Calculates for whoever asks, until Ctrl-C.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use convoke::rpc::identity::Development;
use convoke::rpc::{Endpoint, Limits, Role};
use example_calculator::{CalculatorServer, Desk};

/// Calculates for whoever asks, until Ctrl-C.
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
    let cluster = Development::in_dir(dir)?;
    let identity = cluster.identity(Role::Worker.into());
    let endpoint = Endpoint::bind(address, identity, cluster.trust(), Limits::default())?;
    let server = endpoint.serve(CalculatorServer::new(Desk::default()))?;
    println!("serving at {}", endpoint.local_address()?);

    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::from_secs(5)).await;
    endpoint.close().await;
    Ok(())
}
