//! The processes of the nodes: started, killed, held up, and their disks with them.
//!
//! [`Fleet::become_so`] makes the world as a [`Harm`] says, whatever it was before; called again and again, it does what is left to do.
//! A node that ends by itself is a broken promise, but for one that starts on a full disk: it may refuse, and is started again.
//!
//! Processes are started from one thread only, because they end with the thread that started them.
//!
//! Deliberately not here: what should be wrong, and when.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::args::{Planted, named};
use crate::disk::{Disk, lose_tail};
use crate::ground::Ground;
use crate::node::KEY;
use crate::plan::Harm;

/// Of what a node said, so much is told when something is wrong.
const LAST_WORDS: usize = 4;

/// All nodes. Dropping it kills and reaps them, and takes their disks and networks away.
#[derive(Debug)]
pub(crate) struct Fleet {
    program: PathBuf,
    directory: PathBuf,
    planted: Option<Planted>,
    addresses: Vec<SocketAddr>,
    nodes: Vec<Node>,
    ground: Ground,
    /// Starts that a full disk did not allow.
    pub(crate) refused_starts: u64,
}

#[derive(Debug)]
struct Node {
    child: Option<Child>,
    disk: Option<Disk>,
    is_suspended: bool,
    has_lost_power: bool,
    /// It was started, and its full disk did not allow it: not again before there is room.
    waits_for_room: bool,
    /// How often a slow disk was looked at.
    turns: u32,
}

/// Of so many looks at a slow disk it works in one.
const SLOW_TURNS: u32 = 4;

impl Fleet {
    /// Makes disks if they are wanted, and starts all nodes.
    pub(crate) fn start(
        ground: Ground,
        directory: &Path,
        disks: bool,
        planted: Option<Planted>,
    ) -> anyhow::Result<Self> {
        let mut fleet = Self {
            program: std::env::current_exe().context("find this program")?,
            directory: directory.to_owned(),
            planted,
            addresses: ground.addresses(),
            nodes: Vec::new(),
            ground,
            refused_starts: 0,
        };
        for number in 0..fleet.addresses.len() {
            let data = fleet.data(number);
            fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
            let disk = disks
                .then(|| Disk::make(fleet.directory.join(format!("node{number}.image")), data))
                .transpose()?;
            fleet.nodes.push(Node {
                child: None,
                disk,
                is_suspended: false,
                has_lost_power: false,
                waits_for_room: false,
                turns: 0,
            });
            fleet.spawn(number)?;
        }
        Ok(fleet)
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(crate) fn client(&self) -> SocketAddr {
        self.ground.client()
    }

    fn data(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node{node}"))
    }

    /// Where the key of a node is, once it has begun.
    pub(crate) fn key_of(&self, node: usize) -> PathBuf {
        self.data(node).join(KEY)
    }

    fn words(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node{node}.log"))
    }

    fn spawn(&mut self, number: usize) -> anyhow::Result<()> {
        let path = self.words(number);
        let words = OpenOptions::new().create(true).append(true).open(&path);
        let words = words.with_context(|| format!("open {}", path.display()))?;
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        let mut command = Command::new(&self.program);
        command
            .arg("node")
            .arg("--cluster")
            .arg(self.directory.join("cluster"))
            .arg("--data")
            .arg(self.data(number))
            .args(["--number", &number.to_string()])
            .args(["--addresses", &addresses.join(",")])
            .args(["--owner", &std::process::id().to_string()])
            // Ctrl-C is for the harness, which ends them itself.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words);
        if let Some(namespace) = self.ground.namespace(number) {
            command.args(["--namespace", namespace]);
        }
        if let Some(planted) = &self.planted {
            command.args(["--planted", &named(planted)]);
        }
        let node = &mut self.nodes[number];
        node.child = Some(command.spawn().context("start a node")?);
        (node.is_suspended, node.has_lost_power, node.waits_for_room) = (false, false, false);
        Ok(())
    }

    /// Makes the world so, as far as that goes at once. Says what ended by itself.
    pub(crate) fn become_so(&mut self, harm: &Harm) -> anyhow::Result<Vec<String>> {
        let mut ended = Vec::new();
        self.ground.cut(&harm.cuts)?;
        for number in 0..self.nodes.len() {
            if let Some(status) = self.has_ended(number)? {
                let is_full = harm.full.contains(&number)
                    || self.nodes[number].disk.as_ref().is_some_and(Disk::is_full);
                if is_full && is_refusal(&self.last_words(number)) {
                    self.refused_starts += 1;
                    self.nodes[number].waits_for_room = true;
                } else {
                    let words = self.last_words(number);
                    ended.push(format!("node {number} ended by itself: {status}; {words}"));
                }
            }
            self.treat_disk(number, harm)?;
            self.treat_process(number, harm)?;
        }
        Ok(ended)
    }

    fn has_ended(&mut self, number: usize) -> anyhow::Result<Option<String>> {
        let node = &mut self.nodes[number];
        let Some(child) = &mut node.child else {
            return Ok(None);
        };
        let status = child.try_wait()?;
        if status.is_some() {
            node.child = None;
        }
        Ok(status.map(|status| status.to_string()))
    }

    fn treat_disk(&mut self, number: usize, harm: &Harm) -> anyhow::Result<()> {
        let is_dead = harm.dead.contains(&number);
        let node = &mut self.nodes[number];
        let Some(disk) = &mut node.disk else {
            return Ok(());
        };
        let is_slow = harm.slow.contains(&number);
        node.turns = if is_slow { node.turns + 1 } else { 0 };
        let works = is_slow && node.turns.is_multiple_of(SLOW_TURNS);
        // A process that waits for a frozen disk cannot even be killed.
        let freezes = (harm.stalled.contains(&number) || is_slow && !works) && !is_dead;
        if !freezes {
            disk.freeze(false)?;
        }
        if !disk.is_frozen() && !is_dead {
            disk.fill(harm.full.contains(&number))?;
        }
        if freezes {
            disk.freeze(true)?;
        }
        Ok(())
    }

    fn treat_process(&mut self, number: usize, harm: &Harm) -> anyhow::Result<()> {
        if harm.dead.contains(&number) {
            self.kill(number)?;
            if harm.without_power.contains(&number) && !self.nodes[number].has_lost_power {
                self.nodes[number].has_lost_power = true;
                let disk = self.nodes[number].disk.as_mut();
                disk.context("only a disk of its own loses power")?
                    .lose_power()?;
            }
            return Ok(());
        }
        if self.nodes[number].child.is_none() {
            if harm.full.contains(&number) && self.nodes[number].waits_for_room {
                return Ok(());
            }
            self.spawn(number)?;
        }
        self.suspend(number, harm.suspended.contains(&number))
    }

    fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(mut child) = self.nodes[number].child.take() else {
            return Ok(());
        };
        child.kill().context("kill a node")?;
        child.wait().context("wait until it is dead")?;
        if self.planted == Some(Planted::LyingDisk) {
            lose_tail(&self.data(number).join("log")).context("have a disk lie")?;
        }
        Ok(())
    }

    fn suspend(&mut self, number: usize, is_suspended: bool) -> anyhow::Result<()> {
        let node = &mut self.nodes[number];
        let Some(child) = &node.child else {
            return Ok(());
        };
        if node.is_suspended == is_suspended {
            return Ok(());
        }
        // It is our child and not reaped, so the number is still its own.
        let id = Pid::from_child(child);
        let signal = if is_suspended {
            Signal::STOP
        } else {
            Signal::CONT
        };
        kill_process(id, signal).context("signal a node")?;
        if is_suspended && node.disk.as_ref().is_none_or(|disk| !disk.is_frozen()) {
            waitpid(Some(id), WaitOptions::UNTRACED).context("wait until it stands")?;
        }
        node.is_suspended = is_suspended;
        Ok(())
    }

    /// Kills all of them.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        let harm = Harm {
            dead: (0..self.nodes.len()).collect::<BTreeSet<usize>>(),
            ..Harm::default()
        };
        self.become_so(&harm).map(|_| ())
    }

    fn last_words(&self, node: usize) -> String {
        let words = fs::read(self.words(node)).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let lines: Vec<&str> = words.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join(" | ")
    }
}

fn is_refusal(words: &str) -> bool {
    words.contains("No space left")
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(disk) = &mut node.disk {
                let _ = disk.freeze(false);
            }
            if let Some(mut child) = node.child.take() {
                // Both only fail for a node that has ended. One that stands still can be killed, too.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
