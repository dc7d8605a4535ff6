//! The client reads on when the worker that it reads from is killed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use convoke::cluster::{Cluster, Params, Seed};
use convoke::rpc::identity::Development;
use convoke::rpc::{RoleSet, Server};
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
    let mut seeds = Vec::new();
    for label in ["one", "two"] {
        let (cluster, server) = start(&development, label, seeds.clone()).await;
        let at = cluster.endpoint().local_address().expect("it is open");
        seeds.push(Seed::Address(at));
        workers.insert(label.to_owned(), (cluster, server));
    }
    let mut client = Command::new(env!("CARGO_BIN_EXE_example-cluster-client"));
    client
        .env("CLUSTER_DIR", &dir)
        .env("DIRECTOR_ADDR", seeds[0].to_string())
        .env("CLIENT_TOKENS", "300");
    let mut tellers = std::collections::BTreeSet::new();
    let taken = read(&mut client, async |number, by| {
        tellers.insert(by.to_owned());
        if number == 100 {
            let (cluster, server) = workers.remove(by).expect("it is there");
            // Without a word to anybody.
            cluster.gossip().stop().await;
            cluster.endpoint().close().await;
            server.shutdown(Duration::ZERO).await;
        }
    });
    assert_eq!(taken.await, 300);
    assert_eq!(tellers.len(), 2, "{tellers:?}");
    for (cluster, server) in workers.into_values() {
        server.shutdown(Duration::from_secs(1)).await;
        cluster.leave(Duration::from_secs(1)).await;
    }
}

async fn start(development: &Development, label: &str, seeds: Vec<Seed>) -> (Cluster, Server) {
    let identity = development.identity(RoleSet::ALL);
    let cluster = Cluster::builder(identity, development.trust())
        .listen("127.92.98.1:0".parse().expect("it is an address"))
        .join(seeds)
        .params(Params::local())
        .name(label)
        .tag("role", "worker")
        .build();
    let cluster = cluster.await.expect("it takes part");
    let worker = Worker {
        label: label.to_owned(),
        thinks: Duration::from_millis(5),
    };
    let server = worker.serve(cluster.endpoint()).expect("nobody serves");
    worker.offer(&cluster, true).await.expect("it is offered");
    (cluster, server)
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
