//! What commands that talk to nodes have in common around their work: a runtime, the output, and how they end.
//!
//! Deliberately not here: what is printed, and tables (`table.rs`).

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

use anyhow::Context;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::table::{Look, Table};
use crate::text::is_obeyed;

/// What the output is shown on, as the program found it when it began; until then, nobody's eyes.
static LOOK: OnceLock<Look> = OnceLock::new();

/// Says what the output is shown on, once.
pub(crate) fn shown_on(look: Look) {
    let _ = LOOK.set(look);
}

/// What the output is shown on.
pub(crate) fn look() -> Look {
    LOOK.get().copied().unwrap_or_default()
}

/// A table as it fits the output.
pub(crate) fn table(table: &Table) -> String {
    table.text(look())
}

/// What is known of the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// It is a terminal.
    pub(crate) is_terminal: bool,
}

/// Runs a command to its end. Whoever reads its output may leave before that; nothing is wrong then.
pub(crate) fn run(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let done = runtime.block_on(command);
    // A thread that still waits for input cannot be stopped, and nobody waits for what it would read.
    runtime.shutdown_background();
    match done {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let writing = error.downcast_ref::<io::Error>();
    writing.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints, at once.
pub(crate) fn put(text: &str) -> io::Result<()> {
    put_bytes(text.as_bytes())
}

/// Prints bytes as they are, at once.
pub(crate) fn put_bytes(bytes: &[u8]) -> io::Result<()> {
    crate::progress::clear();
    let mut output = io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()
}

/// A value as one line of JSON, without characters that a terminal would obey.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("texts and numbers are JSON");
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        // What JSON does not escape by itself stands in strings only, where an escape means the same.
        if is_obeyed(character) {
            line.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Ctrl-C, or whatever else politely asks us to end.
pub(crate) async fn interrupted() -> anyhow::Result<()> {
    Signals::listen()?.next().await;
    Ok(())
}

/// What politely asks us to end, one after the other.
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) -> rustix::process::Signal {
        tokio::select! {
            _ = self.interrupt.recv() => rustix::process::Signal::INT,
            _ = self.terminate.recv() => rustix::process::Signal::TERM,
        }
    }
}

/// An end that scripts want to tell from a failure, each with an exit code of its own.
#[derive(Debug)]
pub(crate) enum Ending {
    /// A command may or may not have been carried out.
    OutcomeUnknown(String),
    /// All went well, and the answer is no: it is not there, or not as expected.
    NotSo(String),
    /// A lock was lost, and what was done under it stopped.
    Lost(String),
    /// A command that was run ended so, and has said why itself.
    Command(u8),
}

impl Ending {
    /// What the program ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutcomeUnknown(_) => 3,
            Self::NotSo(_) => 4,
            Self::Lost(_) => 5,
            Self::Command(code) => *code,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutcomeUnknown(why) | Self::NotSo(why) | Self::Lost(why) => f.write_str(why),
            Self::Command(code) => write!(f, "the command ended with {code}"),
        }
    }
}

impl std::error::Error for Ending {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_and_nothing_to_a_terminal() {
        let text = "\u{9b}2J\u{202e}\n\u{7f}";
        let line = json_line(&text);
        assert_eq!(line, "\"\\u009b2J\\u202e\\n\\u007f\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
