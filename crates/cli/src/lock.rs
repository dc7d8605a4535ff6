//! `convoke lock`: runs a command while this machine holds a lock of the cluster. `convoke locks`: who holds what.
//!
//! The command gets the lock's name as `CONVOKE_LOCK` and its fence as `CONVOKE_FENCE`, and is stopped when the lock is lost: asked to end
//! at once, and killed before the lease can be somebody else's. It runs in a process group of its own, so that all it started is stopped
//! with it; only on a terminal it stays in ours, as it may want to read.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | the command ended | that of the command; 128 and the number of the signal that ended it |
//! | the command could not be run, or nobody answered | 1 |
//! | somebody else holds the lock, and patience is over | 4 |
//! | the lock was lost, and the command was stopped | 5 |
//!
//! | bound | |
//! | --- | --- |
//! | a command that was asked to end | a sixth of the lease, then it is killed |
//!
//! Deliberately not here: renewing (`convoke-store`).

use std::ffi::OsString;
use std::io::{IsTerminal, stdin};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use convoke_store::{Error, Held, LockConfig};
use convoke_types::wire::store::{LEASE_MS, Lock, LockRefusal, Refusal};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value as Json, json};
use tokio::process::{Child, Command};

use crate::log::{Client, Doing, Log};
use crate::output::{self, Ending, Signals, json_line, put, table};
use crate::table::Table;
use crate::text::plain;
use crate::way::duration;

/// What `convoke lock` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The name of the lock
    name: String,
    /// How long it stays held when this machine is gone or cannot be reached, from 1s to 1h
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = lease)]
    lease: Duration,
    /// The longest to wait while somebody else holds it; by default, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = duration)]
    wait: Option<Duration>,
    /// Does not wait at all
    #[arg(long, conflicts_with = "wait")]
    now: bool,
    /// What others are told of the holder; by default, the command
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    log: Log,
    /// The command, and what it takes
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What `convoke locks` takes.
#[derive(Args)]
pub(crate) struct Locks {
    /// Only this one
    name: Option<String>,
    #[command(flatten)]
    log: Log,
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    let (from_ms, to_ms) = LEASE_MS;
    let bounds = Duration::from_millis(from_ms)..=Duration::from_millis(to_ms);
    if bounds.contains(&lease) {
        Ok(lease)
    } else {
        Err("from 1s to 1h, or 60m".to_owned())
    }
}

/// Takes the lock, runs the command, lets the lock go.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        let client = arguments.log.open("lock", Duration::from_secs(10)).await?;
        let done = under_lock(&client, &arguments).await;
        client.close().await;
        done
    })
}

async fn under_lock(client: &Client<'_>, arguments: &Arguments) -> anyhow::Result<()> {
    let name = &arguments.name;
    let what = format!("lock {}", plain(name));
    // Once, to tell nobody there from somebody who holds it.
    client.reach(&what).await?;
    let mut signals = Signals::listen()?;
    let words: Vec<_> = arguments
        .command
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let config = LockConfig {
        lease: arguments.lease,
        note: note(arguments.note.clone().unwrap_or_else(|| words.join(" "))),
        patience: if arguments.now {
            Some(Duration::ZERO)
        } else {
            arguments.wait
        },
    };
    client.progress.at("somebody else holds it");
    let taken = client.store.lock(name.as_str(), config);
    let taken = tokio::select! {
        taken = client.progress.during(taken) => taken,
        _ = signals.next() => return Err(Ending::NotSo(format!("{what}: it was interrupted before it had the lock")).into()),
    };
    let held = match taken {
        Err(error @ Error::Refused(Refusal::Lock(LockRefusal::Held(_)))) => {
            return Err(Ending::NotSo(format!("{what}: {error}; the command was not run")).into());
        }
        taken => taken.map_err(|error| client.failed(&what, error))?,
    };
    let mut held = held;
    let ran = with(&mut held, arguments, &mut signals).await;
    let released = held.release().await;
    let ended = ran?;
    if let Err(error) = released {
        tracing::warn!(%error, "the lock is not let go; it ends with its lease");
    }
    ended
}

/// Cut where a character ends.
fn note(mut text: String) -> String {
    let mut most = convoke_types::wire::store::LOCK_NOTE_BYTES.min(text.len());
    while !text.is_char_boundary(most) {
        most -= 1;
    }
    text.truncate(most);
    text
}

/// Runs the command while the lock is held. The outer result is that of starting it.
async fn with(
    held: &mut Held,
    arguments: &Arguments,
    signals: &mut Signals,
) -> anyhow::Result<anyhow::Result<()>> {
    let is_apart = !stdin().is_terminal();
    let (program, rest) = arguments
        .command
        .split_first()
        .expect("the command line asks for one");
    let mut command = Command::new(program);
    command
        .args(rest)
        .env("CONVOKE_LOCK", held.name())
        .env("CONVOKE_FENCE", held.fence().to_string())
        .kill_on_drop(true);
    if is_apart {
        command.process_group(0);
    }
    let child = command
        .spawn()
        .with_context(|| format!("run {}", plain(&program.to_string_lossy())))?;
    let mut running = Running { child, is_apart };
    loop {
        tokio::select! {
            status = running.child.wait() => {
                return Ok(ended(status.context("wait for the command")?));
            }
            why = held.lost() => {
                running.stop(arguments.lease / 6).await?;
                let name = plain(held.name());
                let message = format!("lock {name}: it was lost, and the command was stopped: {}", plain(&why));
                return Ok(Err(Ending::Lost(message).into()));
            }
            signal = signals.next() => running.pass_on(signal),
        }
    }
}

fn ended(status: ExitStatus) -> anyhow::Result<()> {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Ending::Command(code).into()),
        Err(_) => Err(Ending::Command(1).into()),
    }
}

/// A command that runs.
struct Running {
    child: Child,
    /// It has a process group of its own.
    is_apart: bool,
}

impl Running {
    /// Does nothing to one that has ended.
    fn pass_on(&self, signal: Signal) {
        let id = self
            .child
            .id()
            .map(u32::cast_signed)
            .and_then(Pid::from_raw);
        let Some(pid) = id else { return };
        // It may end in this moment, and then nobody has to be told.
        let _ = if self.is_apart {
            kill_process_group(pid, signal)
        } else {
            kill_process(pid, signal)
        };
    }

    async fn stop(&mut self, grace: Duration) -> anyhow::Result<()> {
        self.pass_on(Signal::TERM);
        let ended = tokio::time::timeout(grace, self.child.wait()).await;
        if ended.is_err() {
            self.pass_on(Signal::KILL);
            self.child.wait().await.context("wait for the command")?;
        }
        Ok(())
    }
}

/// Shows locks.
pub(crate) fn list(arguments: Locks) -> anyhow::Result<()> {
    output::run(async {
        let Locks { name, log } = arguments;
        let locks = log
            .have(Doing::Asking, "locks", async |client| match &name {
                Some(name) => Ok(client.store.holder(name).await?.into_iter().collect()),
                None => all(client).await,
            })
            .await?;
        put(&if log.is_json() {
            locks.iter().map(|lock| json_line(&as_json(lock))).collect()
        } else {
            as_table(&locks)
        })?;
        match name {
            Some(name) if locks.is_empty() => {
                let message = format!("nobody holds {}", plain(&name));
                Err(Ending::NotSo(message).into())
            }
            Some(_) | None => Ok(()),
        }
    })
}

async fn all(client: &Client<'_>) -> Result<Vec<Lock>, Error> {
    let mut locks: Vec<Lock> = Vec::new();
    loop {
        let after = locks.last().map(|lock| lock.name.clone());
        let page = client.store.locks(after.unwrap_or_default()).await?;
        if page.is_empty() {
            return Ok(locks);
        }
        locks.extend(page);
    }
}

fn as_json(lock: &Lock) -> Json {
    json!({
        "lock": lock.name, "fence": lock.holder.fence, "node": lock.holder.node, "note": lock.holder.note,
        "session": lock.holder.session, "since_ms": lock.holder.since.unix_ms(), "until_ms": lock.holder.until.unix_ms(),
        "lease_ms": lock.holder.lease_ms, "waiting": lock.queue.len(),
    })
}

fn as_table(locks: &[Lock]) -> String {
    let rows = locks.iter().map(|lock| {
        vec![
            plain(&lock.name),
            lock.holder.fence.to_string(),
            lock.holder.node.short().to_string(),
            lock.queue.len().to_string(),
            plain(&lock.holder.note),
        ]
    });
    let head = ["LOCK", "FENCE", "NODE", "WAITING", "NOTE"];
    table(&Table::new(head).numbers(&["FENCE", "WAITING"]).rows(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_bounds() {
        assert_eq!(lease("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(lease("60m"), Ok(Duration::from_secs(3_600)));
        assert!(lease("500ms").is_err() && lease("61m").is_err());
    }

    #[test]
    fn a_note_is_cut_where_a_character_ends() {
        assert_eq!(note("short".to_owned()), "short");
        let cut = note("ä".repeat(400));
        assert_eq!(cut, "ä".repeat(256));
        let cut = note(format!("x{}", "ä".repeat(400)));
        assert_eq!(cut.len(), 511);
    }
}
