//! A child process: started with its input, output and errors piped, heard line by line, ended by its own handle.
//!
//! A child ends when its input is closed, by [`Child::dismiss`] or because this process is gone. It is in a process group of
//! its own, so that Ctrl-C reaches only us and we can end it in order.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{self, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a child may take to end once it was dismissed.
const GRACE: Duration = Duration::from_secs(5);

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The server.
    Server,
    /// A client, by number from 0.
    Client(usize),
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server => write!(f, "server"),
            Self::Client(index) => write!(f, "client {}", index + 1),
        }
    }
}

/// A line of a child.
#[derive(Debug)]
pub(super) enum Heard {
    /// On its output.
    Said(Who, String),
    /// On its error output.
    Complained(Who, String),
}

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    who: Who,
    process: process::Child,
    input: Option<ChildStdin>,
    was_killed: bool,
    listening: JoinSet<()>,
}

impl Child {
    /// Starts this very program as `who`; its lines go to `ears`, which makes it wait when they are full.
    pub(super) fn start(
        who: Who,
        arguments: &[OsString],
        ears: &mpsc::Sender<Heard>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start the {who}"))?;
        let (said, complained) = (process.stdout.take(), process.stderr.take());
        let mut listening = JoinSet::new();
        listening.spawn(listen(said, ears.clone(), move |line| {
            Heard::Said(who, line)
        }));
        listening.spawn(listen(complained, ears.clone(), move |line| {
            Heard::Complained(who, line)
        }));
        let input = process.stdin.take();
        Ok(Self {
            who,
            process,
            input,
            was_killed: false,
            listening,
        })
    }

    /// Which child it is.
    pub(super) fn who(&self) -> Who {
        self.who
    }

    /// Its process id, as long as it has not been seen to end.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let who = self.who;
        self.process
            .try_wait()
            .with_context(|| format!("look after the {who}"))
    }

    /// Ends it as a crash would, and waits for it. What it said and nobody heard yet is lost.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let who = self.who;
        self.was_killed = true;
        self.process
            .kill()
            .await
            .with_context(|| format!("kill the {who}"))?;
        self.listening.shutdown().await;
        Ok(())
    }

    /// Tells it to end.
    pub(super) fn dismiss(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended and its last line was taken, so somebody must be hearing; one that does not is killed, which is an error.
    pub(super) async fn wait(&mut self) -> anyhow::Result<()> {
        let who = self.who;
        let Ok(ended) = timeout(GRACE, self.process.wait()).await else {
            self.kill().await?;
            anyhow::bail!("the {who} did not end within {GRACE:?} and was killed");
        };
        while self.listening.join_next().await.is_some() {}
        let status = ended.with_context(|| format!("wait for the {who}"))?;
        anyhow::ensure!(
            status.success() || self.was_killed,
            "the {who} ended with {status}"
        );
        Ok(())
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
