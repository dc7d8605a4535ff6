//! A client: asks the director for a worker, reads tokens from it, and goes back to the director when it is cut off.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Duration;

use convoke::rpc::{CallError, CallOptions, Channel, ChannelConfig, Endpoint, Target};
use example_cluster::protocol::director::{Assignment, DirectorClient, Need};
use example_cluster::protocol::inference::{InferenceClient, Prompt};
use example_cluster::{development, director, log, setting};

const ASK_AGAIN: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let mut prompt = Prompt {
        text: setting(
            "CLIENT_PROMPT",
            "the quick brown fox jumps over the lazy dog",
        )?,
        tokens: setting("CLIENT_TOKENS", "200")?,
        after: None,
    };
    let endpoint = Endpoint::development(&development()?)?;
    // Whoever waits too long for one has others to turn to.
    let patient = ChannelConfig {
        patience: Duration::from_secs(1),
        ..ChannelConfig::default()
    };
    let at_director = Channel::new(&endpoint, director()?, patient.clone());
    let director = DirectorClient::new(&at_director);
    let mut need = Need { lost: Vec::new() };
    loop {
        let within = CallOptions::new().timeout(Duration::from_secs(2));
        let Assignment {
            label,
            address,
            node,
            ticket,
            ..
        } = match director.with(within).assign_worker(&need).await {
            Ok(assigned) => assigned,
            Err(CallError::App(why)) => {
                println!("no worker: {why:?}");
                tokio::time::sleep(ASK_AGAIN).await;
                continue;
            }
            Err(CallError::Rpc(why)) => {
                println!("no director: {why}");
                tokio::time::sleep(ASK_AGAIN).await;
                continue;
            }
        };
        println!("assigned to {label} at {address}");
        // For as long as this is there the director counts us.
        let _held = director.hold(&ticket).await;
        let target = Target {
            addresses: vec![address.parse()?],
            node: Some(node),
        };
        let worker = Channel::new(&endpoint, target, patient.clone());
        // It is the director that says where to go on, so the stream does not try to by itself.
        let inference = InferenceClient::new(&worker);
        let inference = inference.with(CallOptions::new().resume_for(Duration::ZERO));
        match read(&inference, &mut prompt).await {
            Ok(()) => break,
            Err(why) => println!("cut off from {label}: {why}; back to the director"),
        }
        need.lost = vec![node];
        worker.close(Duration::ZERO).await;
    }
    println!("that was all");
    at_director.close(Duration::from_secs(1)).await;
    endpoint.close().await;
    Ok(())
}

/// Reads to the end, or to where it is cut; the prompt says how far that was.
async fn read(inference: &InferenceClient, prompt: &mut Prompt) -> anyhow::Result<()> {
    let told = inference.generate(prompt).await;
    let mut tokens = told.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    while let Some(token) = tokens.next().await {
        let token = token?;
        println!("token {} {} from {}", token.sequence, token.word, token.by);
        prompt.after = Some(token.sequence);
    }
    Ok(())
}
