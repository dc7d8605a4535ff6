//! The client reads on when the worker that it reads from is killed, as long as the other one is in its list.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use convoke::rpc::Endpoint;
use convoke::rpc::identity::Development;
use example_cluster::Worker;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_reads_on_when_a_worker_is_killed() {
    let place = tempfile::tempdir().expect("there is room");
    let dir = place.path().join("cluster");
    let development = Development::in_dir(&dir).expect("it is made");
    let mut workers = BTreeMap::new();
    let mut list: Vec<String> = Vec::new();
    for label in ["one", "two"] {
        let endpoint = Endpoint::development(&development).expect("a port is free");
        let worker = Worker {
            label: label.to_owned(),
            thinks: Duration::from_millis(5),
        };
        let server = worker.serve(&endpoint).expect("nobody serves");
        let at: SocketAddr = endpoint.local_address().expect("it is open");
        list.push(at.to_string());
        workers.insert(label.to_owned(), (endpoint, server));
    }
    let mut client = Command::new(env!("CARGO_BIN_EXE_example-connection-swap"));
    client
        .env("CLUSTER_DIR", &dir)
        .env("WORKERS", list.join(","))
        .env("CLIENT_TOKENS", "300");
    let mut tellers = std::collections::BTreeSet::new();
    let taken = read(&mut client, async |number, by| {
        tellers.insert(by.to_owned());
        if number == 100 {
            let (endpoint, server) = workers.remove(by).expect("it is there");
            endpoint.close().await;
            server.shutdown(Duration::ZERO).await;
        }
    });
    assert_eq!(taken.await, 300);
    assert_eq!(tellers.len(), 2, "{tellers:?}");
    for (endpoint, server) in workers.into_values() {
        server.shutdown(Duration::from_secs(1)).await;
        endpoint.close().await;
    }
}

/// Reads all that the client says; each token has to come once and in order. Tells who said it to `at`.
async fn read(command: &mut Command, mut at: impl AsyncFnMut(u64, &str)) -> u64 {
    let command = command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut next = 0;
    let reading = async {
        while let Some(line) = lines.next_line().await.expect("it can be read") {
            let Some(token) = line.strip_prefix("token ") else {
                continue;
            };
            let words: Vec<&str> = token.split(' ').collect();
            assert_eq!(
                words[0].parse(),
                Ok(next),
                "no gap, and nothing twice: {line}"
            );
            at(next, words[3]).await;
            next += 1;
        }
        child.wait().await.expect("it can be waited for")
    };
    let ended = timeout(PATIENCE, reading).await.expect("it ends in time");
    assert!(ended.success());
    next
}
