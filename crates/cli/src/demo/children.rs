//! A node as a child process: started with its output and errors piped, heard line by line, ended by its own handle.
//!
//! It is in a process group of its own, so that Ctrl-C reaches only us and we can end it in order, and the kernel kills it when we are gone
//! (`--tied-to`). It has no variable of our environment, so nothing that is meant for a node of this machine changes it.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{self, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

/// A line of a child.
#[derive(Debug)]
pub(super) struct Heard {
    /// Which node.
    pub(super) who: usize,
    /// Which of its lives, from 1.
    pub(super) life: u32,
    /// When it was heard.
    pub(super) at: Instant,
    pub(super) said: Said,
}

#[derive(Debug)]
pub(super) enum Said {
    /// On its output.
    Line(String),
    /// On its error output.
    Complaint(String),
}

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    listening: JoinSet<()>,
}

/// What nodes are told of their machine, so that a demo shows the same on a small one.
const MACHINE: [(&str, &str); 4] = [
    ("CONVOKE_PROBE_CORES", "8"),
    ("CONVOKE_PROBE_MEMORY", "16GiB"),
    ("CONVOKE_PROBE_DISK_FREE", "100GiB"),
    ("CONVOKE_PROBE_DISK_FSYNC", "1ms"),
];

/// This very program, with nothing of our environment.
pub(super) fn convoke(arguments: &[OsString]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

impl Child {
    /// Starts the node, and gives it something to read; its lines go to `ears`, which makes it wait when they are full.
    pub(super) async fn start(
        who: usize,
        life: u32,
        arguments: &[OsString],
        input: Option<&str>,
        ears: &mpsc::Sender<Heard>,
    ) -> anyhow::Result<Self> {
        let mut command = convoke(arguments)?;
        command.envs(MACHINE).stdin(Stdio::piped());
        let mut process = command.spawn().context("start a node")?;
        let mut listening = JoinSet::new();
        let said = process.stdout.take();
        let complained = process.stderr.take();
        let heard = move |said| Heard {
            who,
            life,
            at: Instant::now(),
            said,
        };
        listening.spawn(listen(said, ears.clone(), move |line| {
            heard(Said::Line(line))
        }));
        listening.spawn(listen(complained, ears.clone(), move |line| {
            heard(Said::Complaint(line))
        }));
        if let (Some(mut pipe), Some(input)) = (process.stdin.take(), input) {
            // Fits into the pipe. A node that is gone already is noticed as such.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
        Ok(Self { process, listening })
    }

    /// Its process id, as long as it has not been seen to end.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.process.try_wait().context("look after a node")
    }

    /// Nothing happens to one that has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.pid().map(u32::cast_signed).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it as a crash would, and waits for it. What it said and nobody heard yet is lost.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("kill a node")?;
        self.listening.shutdown().await;
        Ok(())
    }

    /// Tells it to end, also when it stands still.
    pub(super) fn dismiss(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended, and ends it if it does not in time.
    pub(super) async fn wait(&mut self, deadline: Instant) -> anyhow::Result<()> {
        match timeout_at(deadline.into(), self.process.wait()).await {
            Ok(ended) => {
                ended.context("wait for a node")?;
                self.listening.shutdown().await;
                Ok(())
            }
            Err(_elapsed) => self.kill().await,
        }
    }
}

/// Passes lines on until there are no more, or nobody hears them.
async fn listen(
    lines: Option<impl AsyncRead + Unpin>,
    ears: mpsc::Sender<Heard>,
    heard: impl Fn(String) -> Heard,
) {
    let Some(lines) = lines else { return };
    let mut lines = BufReader::new(lines).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if ears.send(heard(line)).await.is_err() {
            return;
        }
    }
}
