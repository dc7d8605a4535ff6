//! Carries the demo out from its beginning to its end: signals, the script or chance, reading back, ending, the sum.
//!
//! Whatever ends it, an error and Ctrl-C included, afterwards every child has been waited for and the directory is gone. The second Ctrl-C does
//! not wait until what was written is read back.

use std::io;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Arguments;
use super::acts::{self, Memory};
use super::cast::cast;
use super::script::{Act, Script};
use super::show::{Screen, Summary, counted};
use super::stage::Stage;
use crate::picture::{Key, Keys, Look};

/// Runs the demo. On one thread, since a child ends with the thread that started it.
pub(crate) fn run(arguments: &Arguments, look: Look) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(conduct(arguments, look));
    done.or_else(nothing_wrong_when_nobody_reads)
}

/// When whoever read the output has left, as `head` does, there is nothing more to do and nothing wrong.
fn nothing_wrong_when_nobody_reads(error: anyhow::Error) -> anyhow::Result<()> {
    match error.downcast_ref::<io::Error>() {
        Some(writing) if writing.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}

async fn conduct(arguments: &Arguments, look: Look) -> anyhow::Result<()> {
    // Before anything is started, so that no signal finds us without a way to clean up.
    let mut interruption = Interruption::new()?;
    let directory = tempfile::Builder::new()
        .prefix("convoke-demo-")
        .tempdir()
        .context("make a directory")?;
    let seed = arguments
        .chaos
        .then(|| arguments.seed.unwrap_or_else(any_seed));
    let cast = cast(arguments.nodes.into());
    let screen = Screen::new(look, arguments.json).context("take the terminal")?;
    interruption.keys = match screen {
        Screen::Terminal(_) => Some(Keys::listen()),
        Screen::Lines | Screen::Json => None,
    };
    let mut stage = Stage::new(cast, directory.path().to_owned(), screen, seed);
    let mut play = Play {
        memory: Memory::default(),
        is_formed: false,
        is_interrupted: false,
        is_over: false,
    };
    let outcome = tokio::select! {
        outcome = play.run(arguments, &mut stage, seed) => outcome,
        () = interruption.comes() => {
            play.is_interrupted = true;
            Ok(())
        }
    };
    // What was acknowledged has to be there, however the play ended.
    let read = if play.is_formed && outcome.is_ok() {
        tokio::select! {
            read = acts::show(Act::ReadBack, &mut stage, &mut play.memory) => read.map(|_| ()),
            () = interruption.comes() => Ok(()),
        }
    } else {
        Ok(())
    };
    let summary = Summary {
        length: stage.elapsed(),
        is_interrupted: play.is_interrupted && !play.is_over,
        acknowledged: stage.ledger().acknowledged(),
        longest: stage.ledger().longest(),
        seed,
        failovers: play.memory.failovers,
    };
    let ended = stage.end().await;
    let removed = directory.close().context("remove the directory");
    // The terminal is given back before anything else is told.
    let ended = ended?;
    let (_, broken) = counted(&ended.told);
    let told = ended.sum_up(&summary);
    outcome.and(read).and(told).and(removed)?;
    anyhow::ensure!(broken == 0, "a promise was not kept");
    Ok(())
}

/// Anything that is not the same the next time.
fn any_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| u64::from(now.subsec_nanos()) % 1_000_000)
}

/// What happens between beginning and end.
struct Play {
    memory: Memory,
    /// There is a cluster to ask.
    is_formed: bool,
    is_interrupted: bool,
    /// The script was gone through.
    is_over: bool,
}

impl Play {
    async fn run(
        &mut self,
        arguments: &Arguments,
        stage: &mut Stage,
        seed: Option<u64>,
    ) -> anyhow::Result<()> {
        let length = Duration::from_secs(arguments.seconds);
        let line = json!({"kind": "start", "nodes": arguments.nodes, "seed": seed, "seconds": arguments.seconds});
        let begins = match seed {
            Some(seed) => format!(
                "{} nodes on this machine, and chance with seed {seed}.",
                arguments.nodes
            ),
            None => format!("{} on this machine, as processes.", nodes(arguments.nodes)),
        };
        stage.say(&begins, &line)?;
        let mut script = Script::new(length, arguments.nodes.into());
        while let Some((act, due)) = script.next() {
            stage.rest_until(due).await?;
            if !acts::show(act, stage, &mut self.memory).await? {
                return Ok(());
            }
            if act == Act::Form {
                self.is_formed = true;
                if let Some(seed) = seed {
                    return self.chance(stage, seed, length).await;
                }
            }
        }
        self.is_over = true;
        let end = if arguments.keep {
            Duration::MAX
        } else {
            length
        };
        stage.rest_until(end).await
    }

    async fn chance(
        &mut self,
        stage: &mut Stage,
        seed: u64,
        length: Duration,
    ) -> anyhow::Result<()> {
        let until = length.max(stage.elapsed());
        acts::play_chance(stage, &mut self.memory, seed, until).await?;
        acts::show(Act::Heal, stage, &mut self.memory)
            .await
            .map(|_| ())
    }
}

fn nodes(count: u8) -> String {
    if count == 1 {
        "One node".to_owned()
    } else {
        format!("{count} nodes")
    }
}

/// Ctrl-C, or whatever else politely asks us to end.
struct Interruption {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    keys: Option<Keys>,
}

impl Interruption {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            keys: None,
        })
    }

    async fn comes(&mut self) {
        let pressed = async {
            match &mut self.keys {
                Some(keys) => while !matches!(keys.next().await, Key::Letter('q' | 'Q')) {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
            () = pressed => {}
        }
    }
}
