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
async fn the_client_watches_leaves_tells_and_converses() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cluster");
    let (mut server, address) = start_server(&directory).await;

    let said = run_client(&directory, &address).await;

    let expected = [
        "seen: [18.0, 18.5, 19.0], watched by 1",
        "left: nobody watches any more",
        "told: Summary { count: 3, lowest: 18.0, highest: 19.0 }",
        "0 °C is 32 °F",
        "100 °C is 212 °F",
        "refused: -300 °C is below absolute zero",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    server.kill().await.unwrap();
}

/// Starts the server and waits until it says where it is.
async fn start_server(directory: &Path) -> (Child, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_streaming-server"))
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
    let client = Command::new(env!("CARGO_BIN_EXE_streaming-client"))
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
