//! What `cluster-client` does, done by hand: a list of addresses instead of a registry, one connection after the other instead of balancing, its own
//! pauses, and its own place in the stream. It knows of no worker that is not in `WORKERS`, and finds out who is gone by calling it.
//!
//! ```text
//! WORKERS=127.0.0.1:62001,127.0.0.1:62002 cargo run -p example-connection-swap
//! ```

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use convoke::rpc::{CallError, CallOptions, Channel, ChannelConfig, Code, Endpoint};
use example_cluster::protocol::inference::{InferenceClient, Prompt};
use example_cluster::{development, log, setting};

/// How long one worker is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nobody may be there before this gives up.
const GIVE_UP: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why reading ended before the end.
enum Cut {
    /// Somebody else may go on.
    Elsewhere(String),
    /// Nobody will do better.
    ForGood(String),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let list: String = setting("WORKERS", "127.0.0.1:62001")?;
    let workers: Vec<SocketAddr> = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let endpoint = Endpoint::development(&development()?)?;
    let mut prompt = Prompt {
        text: setting(
            "CLIENT_PROMPT",
            "the quick brown fox jumps over the lazy dog",
        )?,
        tokens: setting("CLIENT_TOKENS", "200")?,
        after: None,
    };
    let (mut pause, mut last_success) = (FIRST_PAUSE, Instant::now());
    // Where to begin is the only balancing there is.
    let first = std::process::id() as usize;
    for turn in 0.. {
        let address = workers[(first + turn) % workers.len()];
        let before = prompt.after;
        let ended = read_from(&endpoint, address, &mut prompt).await;
        if prompt.after != before {
            (pause, last_success) = (FIRST_PAUSE, Instant::now());
        }
        match ended {
            Ok(()) => break,
            Err(Cut::ForGood(why)) => anyhow::bail!("{address}: {why}"),
            Err(Cut::Elsewhere(why)) => println!("cut off from {address}: {why}"),
        }
        anyhow::ensure!(last_success.elapsed() < GIVE_UP, "nobody is there");
        // All were tried: a pause, lest this asks as fast as it can.
        if prompt.after == before && (turn + 1) % workers.len() == 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    println!("that was all");
    endpoint.close().await;
    Ok(())
}

/// Reads from one worker, to the end or to where it is cut; the prompt says how far that was.
async fn read_from(
    endpoint: &Endpoint,
    address: SocketAddr,
    prompt: &mut Prompt,
) -> Result<(), Cut> {
    let config = ChannelConfig {
        patience: PATIENCE,
        ..ChannelConfig::default()
    };
    let channel = Channel::new(endpoint, address, config);
    let client = InferenceClient::new(&channel);
    let by_hand = client.with(CallOptions::new().resume_for(Duration::ZERO));
    let mut tokens = match by_hand.generate(prompt).await {
        Ok(tokens) => tokens,
        Err(CallError::App(error)) => return Err(Cut::ForGood(format!("{error:?}"))),
        Err(CallError::Rpc(problem)) => return Err(cut(problem.code, problem.to_string())),
    };
    while let Some(token) = tokens.next().await {
        let token = match token {
            Ok(token) => token,
            Err(CallError::App(never)) => match never {},
            Err(CallError::Rpc(problem)) => return Err(cut(problem.code, problem.to_string())),
        };
        println!("token {} {} from {}", token.sequence, token.word, token.by);
        prompt.after = Some(token.sequence);
    }
    channel.close(Duration::ZERO).await;
    Ok(())
}

/// Whether it makes sense to ask somebody else.
fn cut(code: Code, why: String) -> Cut {
    let elsewhere = [
        Code::LinkLost,
        Code::Unavailable,
        Code::Overloaded,
        Code::Cancelled,
    ];
    if elsewhere.contains(&code) {
        Cut::Elsewhere(why)
    } else {
        Cut::ForGood(why)
    }
}
