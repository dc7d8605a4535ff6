//! What the example `cluster` does with a director, done with `ClusterClient` alone: the client is a member, knows by itself who is there, and its stream
//! goes on by itself when a worker is lost. Start workers as the page of `cluster` says; one program at `DIRECTOR_ADDR` has to be there for the others to
//! find each other, and any member will do: `WORKER_ADDR=127.0.0.1:61000 cargo run -p example-cluster --bin cluster-worker`.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Duration;

use convoke::rpc::CallOptions;
use example_cluster::protocol::compute::Computed;
use example_cluster::protocol::inference::{InferenceClient, Prompt};
use example_cluster::{log, member, setting};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let cluster = member("127.0.0.1:0".parse()?)?.build().await?;
    let workers = "role = worker".parse()?;
    let mut known = cluster.registry().watch();
    while cluster.registry().select("Inference", &workers).is_empty() {
        println!("no worker yet");
        known.changed().await?;
    }
    // With the types of a service, or by the name of a method:
    let square = cluster
        .client()
        .call_worker("Compute.square", &12_u64, &workers);
    let Computed { value, by } = square.await?;
    println!("the square of 12 is {value}, by {by}");

    let inference = cluster.client().service_where("Inference", workers);
    let inference = InferenceClient::new(inference);
    // A worker that is alone and fails is back in five seconds.
    let patient = inference.with(CallOptions::new().resume_for(Duration::from_secs(30)));
    let prompt = Prompt {
        text: setting(
            "CLIENT_PROMPT",
            "the quick brown fox jumps over the lazy dog",
        )?,
        tokens: setting("CLIENT_TOKENS", "200")?,
        after: None,
    };
    let asked = patient.generate(&prompt).await;
    let mut tokens = asked.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    while let Some(token) = tokens.next().await {
        let token = token?;
        println!("token {} {} from {}", token.sequence, token.word, token.by);
    }
    println!("that was all");
    cluster.leave(Duration::from_secs(1)).await;
    Ok(())
}
