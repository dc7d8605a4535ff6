//! Runs the example as a reader would: both programs, one directory.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_client_calculates_and_meets_every_limit() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cluster");
    let (mut server, address) = start_server(&directory).await;

    let said = run_client(&directory, &address).await;

    let expected = [
        "2 + 3 = 5",
        "1 / 4 = 0.25",
        "1 / 0: 1 cannot be divided by zero",
        "the 100th prime is 541",
        "in memory: 40",
        "in memory: 42",
        "forget: forbidden: ",
        "I am ",
        "a later prime: deadline-exceeded: ",
        "as a master, forget: 42",
    ];
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.into_iter().zip(expected) {
        assert!(line.starts_with(expected), "{line:?} is not {expected:?}");
    }
    server.kill().await.unwrap();
}

/// Starts the server and waits until it says where it is.
async fn start_server(directory: &Path) -> (Child, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_calculator-server"))
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await;
    let line = line.expect("the server starts").unwrap().unwrap();
    let address = line.strip_prefix("serving at ").unwrap().to_owned();
    (server, address)
}

/// What the client prints, having ended well.
async fn run_client(directory: &Path, address: &str) -> String {
    let client = Command::new(env!("CARGO_BIN_EXE_calculator-client"))
        .arg("--dir")
        .arg(directory)
        .args(["--address", address])
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, client)
        .await
        .expect("the client ends")
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).unwrap()
}
