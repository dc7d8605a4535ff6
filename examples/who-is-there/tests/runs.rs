//! Runs the example as a reader would: a few programs, one directory.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn who_joins_speaks_and_fails_is_printed_for_people() {
    let parent = tempfile::tempdir().unwrap();
    let cluster = parent.path().join("cluster");
    let seeds = parent.path().join("seeds");
    let mut ada = start(&cluster, &["--name", "ada"]);
    let address = ada.line_with("at 127.0.0.1:").await;
    let address = address.split(' ').nth(1).unwrap().to_owned();
    std::fs::write(&seeds, format!("# where ada is\n{address}\n")).unwrap();
    let seeds_file = ["--seeds-file", seeds.to_str().unwrap()];

    let mut grace = start(
        &cluster,
        &[
            &seeds_file[..],
            &["--name", "grace", "--tag", "gpu", "--zone", "cellar"],
        ]
        .concat(),
    );

    grace.line_with("ada").await;
    ada.line_with("joined").await;
    let line = ada.line_with("gpu").await;
    assert!(
        line.contains("grace") && line.contains("zone cellar"),
        "{line}"
    );

    grace.child.kill().await.unwrap();
    ada.line_with("unreachable").await;
    ada.line_with("failed").await;
}

#[tokio::test]
async fn mistakes_are_told_before_anything_is_sent() {
    let parent = tempfile::tempdir().unwrap();
    let cluster = parent.path().join("cluster");
    for (arguments, expected) in [
        (&["--join", "nowhere"][..], "HOST:PORT"),
        (&["--listen", "0.0.0.0:0"], "advertise one"),
        (&["--advertise", "0.0.0.0:4700"], "cannot be advertised"),
        (&["--tag", "NO"], "tag"),
    ] {
        let output = timeout(PATIENCE, command(&cluster, arguments).output()).await;
        let output = output.expect("it ends").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(expected),
            "{said}"
        );
    }
}

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    async fn line_with(&mut self, text: &str) -> String {
        let looking = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended before it said {text:?}"));
                if line.contains(text) {
                    return line;
                }
            }
        };
        timeout(PATIENCE, looking)
            .await
            .unwrap_or_else(|_| panic!("it never said {text:?}"))
    }
}

fn command(cluster: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-who-is-there"));
    command
        .arg("--dir")
        .arg(cluster)
        .args(arguments)
        .kill_on_drop(true);
    command
}

fn start(cluster: &Path, arguments: &[&str]) -> Program {
    let mut child = command(cluster, arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Program { child, lines }
}
