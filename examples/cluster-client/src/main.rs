//! Workers that offer an RPC service, and a client that calls whichever is best.
//!
//! In three terminals, in any order:
//!
//! ```text
//! cargo run -p example-cluster-client -- --dir target/cc --listen 127.0.0.1:4800 --name one
//! cargo run -p example-cluster-client -- --dir target/cc --join 127.0.0.1:4800 --name two
//! cargo run -p example-cluster-client -- --dir target/cc --join 127.0.0.1:4800 --calls 100
//! ```
//!
//! Kill a worker with `kill -9` while the client calls: the calls go on. The directory stands in for a cluster: in it is the issuer that all of
//! them get their identity from.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use convoke::cluster::{ClusterClient, Fact, Gossip, Offer, Params, Seed, Settings};
use convoke::rpc::identity::Development;
use convoke::rpc::{
    BalancedConfig, CallOptions, Carriers, Endpoint, Limits, NoError, RoleSet, Server,
};

#[convoke::service]
trait Compute {
    /// The square of a number, and who computed it.
    #[rpc(idempotent)]
    async fn square(&self, number: u64) -> Result<(u64, String), NoError>;
}

struct Worker(String);

impl Compute for Worker {
    async fn square(&self, number: u64) -> Result<(u64, String), NoError> {
        Ok((number.wrapping_mul(number), self.0.clone()))
    }
}

/// A worker with a name, or a client without one.
#[derive(Parser)]
struct Arguments {
    /// The directory that makes the programs one cluster
    #[arg(long)]
    dir: PathBuf,
    /// Where a member may be found
    #[arg(long)]
    join: Vec<Seed>,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Works under this name
    #[arg(long)]
    name: Option<String>,
    /// Makes so many calls
    #[arg(long, default_value_t = 10)]
    calls: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked = Arguments::parse();
    let cluster = Development::in_dir(&asked.dir)?;
    let identity = cluster.identity(RoleSet::ALL);
    let endpoint = Endpoint::bind_with(
        Carriers::Both,
        asked.listen,
        identity,
        cluster.trust(),
        Limits::default(),
    )?;
    let facts = asked.name.iter().cloned().map(Fact::Name).collect();
    let settings = Settings {
        seeds: asked.join,
        facts,
        ..Settings::new(endpoint.clone(), Params::local())
    };
    let gossip = Gossip::start(settings).await?;
    match asked.name {
        Some(name) => {
            let server = Server::builder()
                .service(ComputeServer::new(Worker(name)))
                .serve(&endpoint)?;
            gossip.offer("Compute", &Offer::default()).await?;
            println!("at {}", endpoint.local_address()?);
            tokio::signal::ctrl_c().await?;
            gossip.leave().await;
            server.shutdown(Duration::from_secs(5)).await;
        }
        None => {
            let client = ClusterClient::follow(&endpoint, &gossip, BalancedConfig::default())?;
            let mut known = client.registry().watch();
            while client.registry().instances().services().is_empty() {
                known.changed().await?;
            }
            let compute = ComputeClient::new(client.service("Compute"));
            for number in 0..asked.calls {
                let within = CallOptions::new().timeout(Duration::from_secs(5));
                let (square, by) = compute.with(within).square(&number).await?;
                println!("{square} by {by}");
            }
            client.close(Duration::from_secs(1)).await;
            gossip.leave().await;
        }
    }
    endpoint.close().await;
    Ok(())
}
