//! Processes of the example, what they say and when, and networks of their own for them.

// tidy: shared by several test files, each of which uses another part
#![allow(dead_code, reason = "each test file uses its part of the fleet")]

pub(crate) mod network;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use network::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(180);

/// A directory that makes processes one cluster, and one for each node.
pub(crate) struct Fleet {
    directory: tempfile::TempDir,
    preset: &'static str,
}

/// Where a node is started.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) namespace: Option<Arc<Namespace>>,
    pub(crate) address: String,
}

impl Place {
    pub(crate) fn here() -> Self {
        Self {
            namespace: None,
            address: "127.0.0.1".to_owned(),
        }
    }
}

/// One process.
pub(crate) struct Process {
    child: Child,
    said: Said,
    complaints: Arc<Mutex<String>>,
    readers: JoinSet<()>,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) boot: u64,
}

type Said = Arc<Mutex<Vec<(Instant, Value)>>>;

impl Fleet {
    pub(crate) fn new(preset: &'static str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            preset,
        }
    }

    pub(crate) fn cluster(&self) -> PathBuf {
        self.directory.path().join("cluster")
    }

    /// Starts a node, and waits until it says where it is.
    pub(crate) async fn start(
        &self,
        name: &str,
        place: &Place,
        port: u16,
        seeds: &[&str],
    ) -> Process {
        let mut command = match &place.namespace {
            Some(namespace) => namespace.command(env!("CARGO_BIN_EXE_example-who-is-there")),
            None => Command::new(env!("CARGO_BIN_EXE_example-who-is-there")),
        };
        command
            .arg("--dir")
            .arg(self.cluster())
            .arg("--data")
            .arg(self.directory.path().join(name))
            .args(["--listen", &format!("{}:{port}", place.address)])
            .args(["--name", name, "--preset", self.preset, "--json"]);
        for seed in seeds {
            command.args(["--join", seed]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program is built");
        let (said, complaints) = (Said::default(), Arc::default());
        let mut readers = JoinSet::new();
        readers.spawn(listen(child.stdout.take().unwrap(), Arc::clone(&said)));
        readers.spawn(collect(
            child.stderr.take().unwrap(),
            Arc::clone(&complaints),
        ));
        let mut process = Process {
            child,
            said,
            complaints,
            readers,
            name: name.to_owned(),
            id: String::new(),
            address: String::new(),
            boot: 0,
        };
        until(&format!("{name} has started"), || {
            assert_eq!(process.complaints(), "");
            process.first("started", None).is_some()
        })
        .await;
        let (_, started) = process.first("started", None).unwrap();
        process.id = started["node"].as_str().unwrap().to_owned();
        process.address = started["address"].as_str().unwrap().to_owned();
        process.boot = started["boot"].as_u64().unwrap();
        process
    }

    /// Starts so many nodes that join at the first, and waits until all know all.
    pub(crate) async fn start_many(&self, count: usize, places: &[Place]) -> Vec<Process> {
        let mut nodes: Vec<Process> = Vec::new();
        for number in 0..count {
            let seed = nodes.first().map(|first| first.address.clone());
            let seeds: Vec<&str> = seed.iter().map(String::as_str).collect();
            let place = &places[number % places.len()];
            nodes.push(
                self.start(&format!("node-{number}"), place, 0, &seeds)
                    .await,
            );
        }
        all_know_all(&nodes.iter().collect::<Vec<_>>()).await;
        nodes
    }
}

pub(crate) async fn all_know_all(nodes: &[&Process]) {
    until("all know all", || {
        nodes.iter().all(|node| {
            let mut others = nodes.iter().filter(|other| other.id != node.id);
            others.all(|other| node.verdict(&other.id) == Some("reachable".to_owned()))
        })
    })
    .await;
}

async fn listen(output: impl AsyncRead + Unpin, said: Said) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let value = serde_json::from_str(&line).expect("every line is an object");
        said.lock().unwrap().push((Instant::now(), value));
    }
}

async fn collect(output: impl AsyncRead + Unpin, text: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut text = text.lock().unwrap();
        text.push_str(&line);
        text.push('\n');
    }
}

impl Process {
    /// The first event of this name, about this node if one is given.
    pub(crate) fn first(&self, event: &str, node: Option<&str>) -> Option<(Instant, Value)> {
        self.first_after(None, event, node)
    }

    pub(crate) fn first_after(
        &self,
        after: Option<Instant>,
        event: &str,
        node: Option<&str>,
    ) -> Option<(Instant, Value)> {
        let said = self.said.lock().unwrap();
        let is_it = |(at, value): &&(Instant, Value)| {
            value["event"] == event
                && node.is_none_or(|node| value["node"] == node)
                && after.is_none_or(|after| *at >= after)
        };
        said.iter().find(is_it).cloned()
    }

    /// What this process last said of a node.
    pub(crate) fn last_of(&self, node: &str) -> Option<Value> {
        let said = self.said.lock().unwrap();
        said.iter().rev().find_map(|(_, value)| {
            if value["event"] == "everybody" {
                let members = value["members"].as_array()?;
                return members.iter().find(|it| it["node"] == node).cloned();
            }
            let is_member = value["event"]
                .as_str()
                .is_some_and(|event| event.starts_with("Node"));
            (is_member && value["node"] == node).then(|| value.clone())
        })
    }

    pub(crate) fn verdict(&self, node: &str) -> Option<String> {
        Some(self.last_of(node)?["verdict"].as_str()?.to_owned())
    }

    /// What it wrote to its error output.
    pub(crate) fn complaints(&self) -> String {
        self.complaints.lock().unwrap().clone()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// As Ctrl-C; waits for its end and gives all that it said.
    pub(crate) async fn interrupt(mut self) -> Vec<Value> {
        self.signal(Signal::INT);
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("it ends when it is told to").unwrap();
        while self.readers.join_next().await.is_some() {}
        assert!(status.success(), "{status} {}", self.complaints());
        assert_eq!(self.complaints(), "");
        let said = self.said.lock().unwrap();
        said.iter().map(|(_, value)| value.clone()).collect()
    }

    /// Processor time so far, and kilobytes of memory.
    pub(crate) fn costs(&self) -> (Duration, u64) {
        let folder = Path::new("/proc").join(self.child.id().unwrap().to_string());
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap();
        // A hundred ticks a second, on every Linux there is.
        (Duration::from_millis(ticks * 10), resident.parse().unwrap())
    }
}

/// Waits for a state, and says which one did not come.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await; // tidy: between two looks at a state, with a deadline
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
