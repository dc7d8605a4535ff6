//! Runs the example as a reader would.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_program_is_a_node_and_stops_in_order() {
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("ada");
    let home = home.to_str().unwrap();
    let ada = ["--name", "ada", "--cluster", "cellar", "--data", home];
    let mut first = start(&ada);
    let ready = first.line_with("ready as").await;
    assert!(
        ready.starts_with("ready as master of cellar at 127.0.0.1:"),
        "{ready}"
    );
    let address = ready.rsplit(' ').next().unwrap();
    let wrote = first.line_with("wrote and read").await;
    assert_eq!(wrote, format!("wrote and read embed/ada = {address}"));
    let expected = format!("key embed/ada = {address}");
    let fence =
        |line: &str| -> Option<u64> { line.strip_prefix("leads, with fence ")?.parse().ok() };
    let heard = first
        .all_of(&["member ", &expected, "leads, with fence "])
        .await;
    let one = heard.iter().find_map(|line| fence(line)).unwrap();
    first.interrupt();
    first.line_with("stopped in order").await;
    assert!(first.ended().await);

    // The same node again: what it decided is there, and the lock was let go.
    let mut again = start(&["--name", "grace", "--data", home]);
    again.line_with("ready as master of cellar").await;
    let heard = again
        .all_of(&[&expected, "key embed/grace = ", "leads, with fence "])
        .await;
    let two = heard.iter().find_map(|line| fence(line)).unwrap();
    assert!(two > one, "{two} after {one}");
    again.interrupt();
    assert!(again.ended().await);
}

#[tokio::test]
async fn what_is_no_token_is_told() {
    let mut command = command(&["--join", "nonsense"]);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("no token"),
        "{said}"
    );
}

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    async fn line_with(&mut self, text: &str) -> String {
        let mut heard = self.all_of(&[text]).await;
        heard.pop().expect("it ends with that line")
    }

    /// What it says until each of these began a line.
    async fn all_of(&mut self, texts: &[&str]) -> Vec<String> {
        let mut heard = Vec::new();
        let mut missing = texts.to_vec();
        let listening = async {
            while !missing.is_empty() {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended before {missing:?}"));
                missing.retain(|text| !line.starts_with(text));
                heard.push(line);
            }
        };
        let in_time = timeout(PATIENCE, listening).await.is_ok();
        assert!(in_time, "it never said {missing:?}: {heard:#?}");
        heard
    }

    fn interrupt(&self) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Whether it ended well.
    async fn ended(&mut self) -> bool {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it ends").unwrap().success()
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-embed"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn start(arguments: &[&str]) -> Program {
    let mut child = command(arguments).stderr(Stdio::inherit()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Program { child, lines }
}
