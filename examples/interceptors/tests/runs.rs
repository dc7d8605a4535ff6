//! Runs the example as a reader would: both programs, one directory.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn everybody_does_what_they_may_and_it_is_counted_and_traced() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cluster");
    let (mut server, address) = start_server(&directory).await;

    let said = run_client(&directory, &address).await;

    server.kill().await.unwrap();
    for line in [
        "a worker: forbidden",
        "written: page 1",
        "page 1: first",
        "page 7: there is no page 7",
        "erased: 1",
        r#"convoke_rpc_server_calls_total{method="Archive.write",outcome="ok"} 1"#,
        r#"convoke_rpc_server_calls_total{method="Archive.write",outcome="forbidden"} 1"#,
        r#"convoke_rpc_server_calls_total{method="Archive.read",outcome="app-error"} 1"#,
        r#"convoke_rpc_server_calls_in_flight{method="Archive.metrics"} 1"#,
        r#"convoke_rpc_server_call_seconds_count{method="Archive.read"} 2"#,
        r#"made here: Archive.write [("ok", 1), ("forbidden", 1)]"#,
    ] {
        assert!(said.lines().any(|it| it == line), "{line}\nin\n{said}");
    }

    let log = rest_of(server).await;
    let traceparent = said.lines().find_map(|it| it.strip_prefix("traceparent: "));
    let parts: Vec<_> = traceparent.unwrap().split('-').collect();
    let traced: Vec<_> = log.lines().filter(|line| line.contains(parts[1])).collect();
    let reads = [r#"outcome="ok""#, r#"outcome="app-error""#];
    assert_eq!(traced.len(), reads.len(), "{log}");
    for (line, outcome) in traced.into_iter().zip(reads) {
        assert!(line.contains(&format!("parent_id={}", parts[2])), "{line}");
        assert!(line.contains(r#"method="Archive.read""#), "{line}");
        assert!(
            line.contains(outcome) && line.contains("took_us="),
            "{line}"
        );
    }
    let written = log.lines().find(|line| line.contains("a page was written"));
    assert!(
        written.is_some_and(|line| line.contains("trace_id=")),
        "what a handler logs is inside the span of its call: {log}"
    );
    assert!(log.contains(r#"outcome="forbidden""#), "{log}");
}

/// Starts the server and waits until it says where it is.
async fn start_server(directory: &Path) -> (Child, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_archive-server"))
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
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
    let client = Command::new(env!("CARGO_BIN_EXE_archive-client"))
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

/// What a server that has ended wrote to its error output.
async fn rest_of(mut server: Child) -> String {
    let mut log = String::new();
    let mut errors = server.stderr.take().unwrap();
    let reading = timeout(PATIENCE, errors.read_to_string(&mut log)).await;
    reading.expect("it has ended").unwrap();
    log
}
