//! Nodes of a log as processes, each at an address of its own, so that nobody takes its port while it is away.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::{PATIENCE, TOO_LITTLE, convoke, lines_of, object, run};

/// The nodes of one log.
pub(crate) struct Nodes {
    pub(crate) place: TempDir,
    nodes: Vec<Node>,
}

/// One of them.
pub(crate) struct Node {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
    /// What it said first.
    pub(crate) started: Value,
}

impl Nodes {
    /// So many nodes that answer, in a net that no other test has.
    pub(crate) async fn alone(count: u8, net: u8) -> Self {
        let place = TempDir::new().unwrap();
        let mut nodes = Vec::new();
        for number in 0..count {
            let anywhere = SocketAddr::from(([127, 92, net, number + 1], 0));
            nodes.push(Node::start(&place, number.into(), anywhere, &[]).await);
        }
        Self { place, nodes }
    }

    /// Three nodes with a log; somebody leads, and all are enrolled, in the first three revisions.
    pub(crate) async fn founded(net: u8) -> Self {
        let mut nodes = Self::alone(2, net).await;
        let anywhere = SocketAddr::from(([127, 92, net, 3], 0));
        let others = nodes.at();
        let found = ["--found", others.as_str()];
        let founder = Node::start(&nodes.place, 2, anywhere, &found).await;
        nodes.nodes.push(founder);
        nodes.nodes[2].hears("founded").await;
        for node in &mut nodes.nodes {
            node.hears("enrolled").await;
        }
        nodes
    }

    /// One node with a log of its own, which is a master.
    pub(crate) async fn growing(net: u8) -> Self {
        let place = TempDir::new().unwrap();
        let anywhere = SocketAddr::from(([127, 92, net, 1], 0));
        let first = ["--found", "--roles", "master"];
        let mut node = Node::start(&place, 0, anywhere, &first).await;
        node.hears("enrolled").await;
        let nodes = vec![node];
        Self { place, nodes }
    }

    /// One more, which joins the log of the first.
    pub(crate) async fn join(&mut self, more: &[&str]) {
        let number = self.nodes.len();
        let mut address = self.nodes[0].address;
        let at = address.to_string();
        let IpAddr::V4(ip) = address.ip() else {
            unreachable!("all are there")
        };
        let [.., net, _] = ip.octets();
        let last = u8::try_from(number + 1).unwrap();
        address = SocketAddr::from(([127, 92, net, last], 0));
        let joins = [&["--join", at.as_str()][..], more].concat();
        let mut node = Node::start(&self.place, number, address, &joins).await;
        node.hears("enrolled").await;
        self.nodes.push(node);
    }

    /// Where one is.
    pub(crate) fn address(&self, number: usize) -> String {
        self.nodes[number].address.to_string()
    }

    /// The data directory of one.
    pub(crate) fn home(&self, number: usize) -> PathBuf {
        self.place.path().join(format!("node-{number}"))
    }

    pub(crate) fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// All addresses, as options take them.
    pub(crate) fn at(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|it| it.address.to_string()).collect();
        addresses.join(",")
    }

    pub(crate) fn development(&self) -> PathBuf {
        self.place.path().join("cluster")
    }

    /// Starts one again, where it was.
    pub(crate) async fn start(&mut self, number: usize, more: &[&str]) {
        let address = self.nodes[number].address;
        self.nodes[number] = Node::start(&self.place, number, address, more).await;
    }

    /// The program, with the addresses of all nodes.
    pub(crate) fn command(&self, what: &[&str]) -> Command {
        self.command_at(&self.at(), what)
    }

    pub(crate) fn command_at(&self, at: &str, what: &[&str]) -> Command {
        let mut command = convoke(&self.place);
        command
            .args(what)
            .args(["--at", at, "--development"])
            .arg(self.development());
        command
    }

    /// Runs `convoke WHAT` with the addresses of all nodes, and plenty of time.
    pub(crate) async fn ask(&self, what: &[&str]) -> Output {
        run(self.command(what).args(["--timeout", "60s"])).await
    }

    /// What it said, having succeeded.
    pub(crate) async fn say(&self, what: &[&str]) -> String {
        let output = self.ask(what).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The number of the node that leads, as soon as one does.
    pub(crate) async fn leader(&self) -> usize {
        let finding = async {
            loop {
                let said = self.ask(&["raft", "status", "--json"]).await.stdout;
                let said = String::from_utf8(said).unwrap();
                let leads = |line: &str| object(line)["status"]["standing"] == "leader";
                if let Some(number) = said.lines().position(leads) {
                    return number;
                }
            }
        };
        timeout(PATIENCE, finding).await.expect("somebody leads")
    }

    /// Stops all that still run; each has to end in order.
    pub(crate) async fn stop(&mut self) {
        for node in &self.nodes {
            node.signal(Signal::TERM);
        }
        for node in &mut self.nodes {
            let status = node.ended().await;
            assert!(
                status.success() || node.was_killed(status),
                "{}: {status}",
                node.address
            );
        }
    }
}

impl Node {
    async fn start(place: &TempDir, number: usize, listen: SocketAddr, more: &[&str]) -> Self {
        let complaints = File::options()
            .create(true)
            .append(true)
            .open(place.path().join(format!("complaints-{number}")))
            .unwrap();
        let mut child = up(place, number, listen)
            .args(["--json"])
            .args(more)
            .stderr(Stdio::from(complaints))
            .spawn()
            .unwrap();
        let mut lines = lines_of(&mut child);
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("it says something").unwrap();
        let started = object(&line.expect("it lives"));
        assert_eq!(started["kind"], "started");
        let address = started["listen"].as_str().unwrap().parse().unwrap();
        Self {
            child,
            lines,
            address,
            started,
        }
    }

    /// Its next line of this kind.
    pub(crate) async fn hears(&mut self, kind: &str) -> Value {
        crate::hear(&mut self.lines, kind).await
    }

    /// Does nothing to one that has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            let pid = Pid::from_raw(pid.cast_signed()).unwrap();
            kill_process(pid, signal).unwrap();
        }
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it ends").unwrap()
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    fn was_killed(&self, status: ExitStatus) -> bool {
        use std::os::unix::process::ExitStatusExt;
        status.signal() == Some(Signal::KILL.as_raw())
    }
}

/// `convoke up` in a directory of its own.
pub(crate) fn up(place: &TempDir, number: usize, listen: SocketAddr) -> Command {
    let mut command = convoke(place);
    command
        .env(TOO_LITTLE.0, TOO_LITTLE.1)
        .args([
            "up",
            "--log-segment",
            "1MiB",
            "--listen",
            &listen.to_string(),
        ])
        .arg("--data")
        .arg(place.path().join(format!("node-{number}")))
        .arg("--development")
        .arg(place.path().join("cluster"));
    command
}

/// Asks until the answer is as it should be.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await; // tidy: between two looks at a state, with a deadline
        }
    };
    let came = timeout(PATIENCE, waiting).await;
    came.unwrap_or_else(|_| panic!("never: {what}"));
}

/// What it complained of, having ended with this code.
pub(crate) fn complaint(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.starts_with("convoke: "), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}
