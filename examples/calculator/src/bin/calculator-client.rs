//! Calculates a little, and runs into every limit the methods have.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use convoke::rpc::identity::Development;
use convoke::rpc::{CallError, CallOptions, Endpoint, Limits, Role};
use example_calculator::{CalculatorClient, Pair};

/// Calculates a little, and runs into every limit the methods have.
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
    let cluster = Development::in_dir(dir)?;

    let gateway = endpoint(&cluster, Role::Gateway)?;
    let calculator = CalculatorClient::new(gateway.channel(address));
    calculate(&calculator).await?;
    run_out_of_time(&calculator).await?;
    gateway.close().await;

    let master = endpoint(&cluster, Role::Master)?;
    let calculator = CalculatorClient::new(master.channel(address));
    println!("as a master, forget: {}", calculator.forget().await?);
    master.close().await;
    Ok(())
}

/// A node that may hold one role. In development whoever has the directory may choose.
fn endpoint(cluster: &Development, role: Role) -> anyhow::Result<Endpoint> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let identity = cluster.identity(role.into());
    Ok(Endpoint::bind(
        anywhere,
        identity,
        cluster.trust(),
        Limits::default(),
    )?)
}

async fn calculate(calculator: &CalculatorClient) -> anyhow::Result<()> {
    let pair = |left, right| Pair { left, right };
    println!("2 + 3 = {}", calculator.add(&pair(2.0, 3.0)).await?);
    println!("1 / 4 = {}", calculator.divide(&pair(1.0, 4.0)).await?);
    match calculator.divide(&pair(1.0, 0.0)).await {
        Err(CallError::App(refusal)) => println!("1 / 0: {refusal}"),
        other => anyhow::bail!("a division by zero came to {other:?}"),
    }
    println!("the 100th prime is {}", calculator.prime(&100).await?);
    println!("in memory: {}", calculator.remember(&40.0).await?);
    println!("in memory: {}", calculator.remember(&2.0).await?);
    match calculator.forget().await {
        Err(CallError::Rpc(problem)) => println!("forget: {problem}"),
        other => anyhow::bail!("a gateway that should not forget got {other:?}"),
    }
    println!("I am {}", calculator.who_am_i().await?);
    Ok(())
}

async fn run_out_of_time(calculator: &CalculatorClient) -> anyhow::Result<()> {
    // The method allows a second; this caller has less time.
    let hurried = calculator.with(CallOptions::new().timeout(Duration::from_millis(100)));
    match hurried.prime(&1_000_000_000).await {
        Err(CallError::Rpc(problem)) => println!("a later prime: {problem}"),
        other => anyhow::bail!("a prime that takes years came to {other:?}"),
    }
    Ok(())
}
