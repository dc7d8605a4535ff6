//! Nodes as processes, and what is heard of them.
//!
//! Deliberately not here: measuring.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Builds the program from this checkout, and says where it is.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "convoke-cli"])
        .current_dir(&root)
        .stdout(Stdio::null())
        .status()?;
    ensure!(built.success(), "cargo ended with {built}");
    Ok(root.join("target/release/convoke").canonicalize()?)
}

/// A cluster that ends with this.
pub(crate) struct Cluster {
    program: PathBuf,
    place: TempDir,
    members: Vec<Member>,
}

/// One of its nodes.
pub(crate) struct Member {
    name: String,
    child: Child,
    lines: Receiver<Value>,
    leads: bool,
}

impl Cluster {
    pub(crate) fn new(program: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            program: program.to_owned(),
            place: TempDir::new()?,
            members: Vec::new(),
        })
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    fn up(&self, name: &str, more: &[&str]) -> anyhow::Result<Member> {
        let complaints = File::create(self.place.path().join(format!("{name}.stderr")))?;
        let mut child = Command::new(&self.program)
            .args([
                "up",
                "--json",
                "--listen",
                "127.0.0.1:0",
                "--log-segment",
                "1MiB",
            ])
            .args(["--api-listen", "127.0.0.1:0", "--data"])
            .arg(self.home(name))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .context("start a node")?;
        let output = child.stdout.take().context("it has an output")?;
        // A node that is not read for so many lines waits, which nobody should measure.
        let (send, lines) = sync_channel(100_000);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::Null);
                if send.send(value).is_err() {
                    return;
                }
            }
        });
        Ok(Member {
            name: name.to_owned(),
            child,
            lines,
            leads: false,
        })
    }

    /// The first node, which makes the cluster.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        let mut first = self.up("node-0", &[])?;
        first.ready().context("begin a cluster")?;
        self.members.push(first);
        Ok(())
    }

    pub(crate) fn token(&self, uses: usize) -> anyhow::Result<String> {
        let made = Command::new(&self.program)
            .args([
                "token",
                "create",
                "--json",
                "--uses",
                &uses.to_string(),
                "--data",
            ])
            .arg(self.home("node-0"))
            .output()?;
        ensure!(
            made.status.success(),
            "token create: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let made: Value = serde_json::from_slice(&made.stdout)?;
        Ok(made["token"]
            .as_str()
            .context("there is a token")?
            .to_owned())
    }

    /// Starts these at once, and says how long it took until the last was ready.
    pub(crate) fn join_together(
        &mut self,
        names: &[String],
        token: &str,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let started: Vec<Member> = names
            .iter()
            .map(|name| self.up(name, &["--join", token]))
            .collect::<Result<_, _>>()?;
        for mut member in started {
            member
                .ready()
                .with_context(|| format!("{} joins", member.name))?;
            self.members.push(member);
        }
        Ok(begun.elapsed())
    }

    /// Stops a member and starts it again, and says how long it took to be ready.
    pub(crate) fn start_again(&mut self, name: &str) -> anyhow::Result<Duration> {
        let at = self.members.iter().position(|member| member.name == name);
        let at = at.context("there is such a member")?;
        self.members[at].stop()?;
        let begun = Instant::now();
        let mut again = self.up(name, &[])?;
        again.ready()?;
        let taken = begun.elapsed();
        self.members[at] = again;
        Ok(taken)
    }

    /// Ends all of them, in order.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        for member in &self.members {
            member.signal(Signal::TERM)?;
        }
        for member in &mut self.members {
            member.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended cannot be ended again.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

impl Member {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it said that it leads, last.
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("it has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(value) if value["kind"] == "ready" => return Ok(()),
                Ok(value) => {
                    if value["kind"] == "leader" {
                        self.leads = value["is_self"] == true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("it is not ready after {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended before it was ready"),
            }
        }
    }
}
