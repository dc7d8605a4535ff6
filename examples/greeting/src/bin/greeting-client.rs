//! Asks for a few greetings, one of them in vain.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use convoke::rpc::identity::Development;
use convoke::rpc::{CallError, Endpoint};
use example_greeting::GreeterClient;

/// Asks for a few greetings, one of them in vain.
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
    let greeter = GreeterClient::new(endpoint.channel(address));

    for name in ["Ada", "Grace", ""] {
        match greeter.greet(name).await {
            Ok(greeting) => println!("{greeting}"),
            // The server ran and said no, in the service's own words.
            Err(CallError::App(refusal)) => println!("refused: {refusal}"),
            // No answer; the problem says whether the call may have run, and whether to try again.
            Err(CallError::Rpc(problem)) => return Err(problem.into()),
        }
    }
    endpoint.close().await;
    Ok(())
}
