//! Clusters as people make them: `convoke up`, a token, and `convoke up --join`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::nodes::{complaint, until};
use crate::{PATIENCE, STAGE, TOO_LITTLE, convoke, hear, lines_of, object, run};

/// Ends with a look at what its nodes complained of: nothing.
pub(crate) struct Cluster {
    pub(crate) place: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let complaints = complaints_below(self.place.path());
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// Lines of warnings and errors.
fn complaints_below(place: &Path) -> Vec<String> {
    let files = std::fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let texts = files
        .filter(|path| path.extension().is_some_and(|it| it == "stderr"))
        .map(|path| std::fs::read_to_string(path).unwrap());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .collect()
}

pub(crate) struct One {
    pub(crate) child: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            place: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// `convoke up` of a node, at any port.
    pub(crate) fn up(&self, name: &str, more: &[&str]) -> Command {
        self.up_as("local", name, more)
    }

    /// The same with the times of another preset.
    pub(crate) fn up_as(&self, preset: &str, name: &str, more: &[&str]) -> Command {
        let anywhere: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut command = convoke(&self.place);
        command
            .env(TOO_LITTLE.0, TOO_LITTLE.1)
            .args(["up", "--json", "--log-segment", "1MiB", "--preset", preset])
            .args(["--api-listen", &anywhere.to_string()])
            .args(["--listen", &anywhere.to_string(), "--data"])
            .arg(self.home(name))
            .args(more);
        command
    }

    pub(crate) async fn start(&self, name: &str, more: &[&str]) -> One {
        let mut one = self.begin(name, more);
        one.hears("ready").await;
        one
    }

    pub(crate) fn begin(&self, name: &str, more: &[&str]) -> One {
        self.spawn(name, &mut self.up(name, more))
    }

    pub(crate) fn spawn(&self, name: &str, command: &mut Command) -> One {
        let complaints = File::options()
            .create(true)
            .append(true)
            .open(self.home(&format!("{name}.stderr")));
        let mut child = command.stderr(complaints.unwrap()).spawn().unwrap();
        let lines = lines_of(&mut child);
        One { child, lines }
    }

    /// Something else, as a node.
    pub(crate) fn command(&self, name: &str, what: &[&str]) -> Command {
        let mut command = convoke(&self.place);
        command.args(what).arg("--data").arg(self.home(name));
        command
    }

    pub(crate) async fn say(&self, name: &str, what: &[&str]) -> String {
        let output: Output = run(&mut self.command(name, what)).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn token(&self, name: &str, more: &[&str]) -> String {
        let what = [&["token", "create", "--json"][..], more].concat();
        let made = object(&self.say(name, &what).await);
        made["token"].as_str().unwrap().to_owned()
    }
}

impl One {
    pub(crate) async fn hears(&mut self, kind: &str) -> Value {
        hear(&mut self.lines, kind).await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("it ends").unwrap();
        assert!(status.success(), "{status}");
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_stranger_makes_a_cluster_with_two_commands() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &["--cluster", "cellar"]).await;
    let token = cluster.token("first", &["--uses", "2"]).await;

    // The token never has to be in the list of processes.
    let file = cluster.home("token");
    std::fs::write(&file, &token).unwrap();
    let from_file = format!("@{}", file.display());
    let second = cluster
        .start("second", &["--join", &from_file, "--role", "worker"])
        .await;
    let mut third = cluster.up("third", &["--join", "-"]);
    let mut third = cluster.spawn("third", third.stdin(Stdio::piped()));
    let mut input = third.child.stdin.take().unwrap();
    input.write_all(token.as_bytes()).await.unwrap();
    drop(input);
    third.hears("ready").await;

    let listed = cluster.say("third", &["node", "ls", "--json"]).await;
    let mut roles: Vec<String> = listed
        .lines()
        .map(|line| object(line)["role"].as_str().unwrap().to_owned())
        .collect();
    roles.sort();
    assert_eq!(roles, ["master", "master", "worker"], "{listed}");
    cluster
        .say("second", &["kv", "put", "colour", "green"])
        .await;
    assert_eq!(
        cluster.say("first", &["kv", "get", "colour"]).await,
        "green"
    );
    for one in [third, second, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn everything_decided_is_there_when_all_are_killed_and_come_back_elsewhere() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &[]).await;
    let token = cluster.token("first", &["--uses", "2"]).await;
    let second = cluster.start("second", &["--join", &token]).await;
    let third = cluster.start("third", &["--join", &token]).await;
    let cluster = &cluster;
    until("all vote", || async {
        let said = cluster.say("first", &["raft", "voters", "--json"]).await;
        said.matches("\"votes\":true").count() == 3
    })
    .await;
    cluster
        .say("second", &["kv", "put", "colour", "green"])
        .await;
    for one in [first, second, third] {
        one.kill().await;
    }
    // All ports are other ones now, and each is told where one of the others is.
    let mut starting = Vec::new();
    let mut at = String::new();
    for name in ["first", "second", "third"] {
        let more = if at.is_empty() {
            vec![]
        } else {
            vec!["--join-at", at.as_str()]
        };
        let mut one = cluster.begin(name, &more);
        let started = one.hears("started").await;
        at = started["advertise"].as_str().unwrap().to_owned();
        starting.push(one);
    }
    for one in &mut starting {
        one.hears("ready").await;
    }
    for name in ["first", "second", "third"] {
        assert_eq!(cluster.say(name, &["kv", "get", "colour"]).await, "green");
    }
    for one in starting {
        one.stop().await;
    }
}

#[tokio::test]
async fn who_leaves_is_out_and_can_come_back_as_another() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &[]).await;
    let token = cluster.token("first", &["--uses", "3"]).await;
    let second = cluster.start("second", &["--join", &token]).await;
    let third = cluster.start("third", &["--join", &token]).await;
    let mut gone = cluster
        .start("gone", &["--join", &token, "--role", "worker"])
        .await;

    cluster.say("gone", &["leave"]).await;

    let ended = timeout(PATIENCE, gone.child.wait()).await;
    let status = ended.expect("it hears that it is out").unwrap();
    assert_eq!(status.code(), Some(1));
    let listed = cluster.say("first", &["node", "ls", "--json"]).await;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let again = run(&mut cluster.up("gone", &["--patience", "2s"])).await;
    assert_eq!(again.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&again.stderr);
    assert!(errors.contains("forgotten"), "{errors}");

    let unsure = run(&mut cluster.command("gone", &["reset"])).await;
    assert!(complaint(&unsure, 1).contains("--yes"));
    cluster.say("gone", &["reset", "--yes"]).await;
    let token = cluster.token("first", &[]).await;
    let back = cluster.start("gone", &["--join", &token]).await;
    for one in [back, third, second, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn a_command_as_nobody_says_how_to_become_somebody() {
    let cluster = Cluster::new();
    let nobody = run(&mut cluster.command("nobody", &["node", "ls"])).await;
    let why = complaint(&nobody, 1);
    assert!(why.contains("start one with `convoke up`"), "{why}");
    let nothing = run(&mut cluster.command("nobody", &["reset", "--yes"])).await;
    assert!(complaint(&nothing, 1).contains("nothing to reset"));
    for (token, says) in [
        ("127.0.0.1:4700", "no token to join with"),
        ("cvk1aaaa", "cut or mistyped"),
        ("@/no/such/file", "read the token in /no/such/file"),
    ] {
        let refused = run(&mut cluster.up("nobody", &["--join", token])).await;
        let why = complaint(&refused, 1);
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn mistakes_of_the_configuration_are_told_all_at_once() {
    let cluster = Cluster::new();
    let home = cluster.home("node");
    std::fs::create_dir(&home).unwrap();
    let file = home.join("convoke.toml");
    std::fs::write(&file, "[node]\nrole = \"king\"\nnmae = \"x\"\n").unwrap();
    for what in [&["config-file", "check"][..], &["up"]] {
        let refused = run(&mut cluster.command("node", what)).await;
        let errors = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{errors}");
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), 2, "{errors}");
        assert!(
            errors.contains("convoke.toml:2") && errors.contains("name"),
            "{errors}"
        );
    }
    std::fs::write(&file, "[node]\nname = \"cellar-1\"\n").unwrap();
    let shown = cluster
        .say("node", &["config-file", "print", "--origins"])
        .await;
    assert!(
        shown.contains("cellar-1") && shown.contains("convoke.toml:2"),
        "{shown}"
    );
}
