//! Watches for a while, tells what it saw, and has a conversation about it.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use convoke::rpc::identity::Development;
use convoke::rpc::{Endpoint, Streaming};
use example_streaming::ThermometerClient;

/// Watches for a while, tells what it saw, and has a conversation about it.
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
    let endpoint = Endpoint::development(&cluster)?;
    let thermometer = ThermometerClient::new(endpoint.channel(address));

    let seen = watch_for_a_while(&thermometer).await?;
    let summary = thermometer.summarize(Streaming::from_iter(seen)).await?;
    println!("told: {summary:?}");
    converse(&thermometer).await?;
    endpoint.close().await;
    Ok(())
}

/// A stream to the caller, left by dropping it.
async fn watch_for_a_while(thermometer: &ThermometerClient) -> anyhow::Result<Vec<f64>> {
    let mut readings = thermometer.watch(&10).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let Some(celsius) = readings.next().await else {
            break;
        };
        seen.push(celsius?);
    }
    println!(
        "seen: {seen:?}, watched by {}",
        thermometer.watchers().await?
    );

    drop(readings);
    let mut now_and_then = tokio::time::interval(Duration::from_millis(5));
    while thermometer.watchers().await? > 0 {
        now_and_then.tick().await;
    }
    println!("left: nobody watches any more");
    Ok(seen)
}

/// Streams both ways: each question is asked after the answer to the one before.
async fn converse(thermometer: &ThermometerClient) -> anyhow::Result<()> {
    let (questions, asked) = Streaming::channel(1);
    let mut answers = thermometer.convert(asked).await?;
    for celsius in [0.0, 100.0, -300.0] {
        questions.send(celsius).await?;
        match answers.next().await {
            Some(Ok(fahrenheit)) => println!("{celsius} °C is {fahrenheit} °F"),
            Some(Err(error)) => println!("refused: {error}"),
            None => break,
        }
    }
    Ok(())
}
