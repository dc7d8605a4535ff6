//! `convoke raft` as people run it, against a log of three processes.

use serde_json::Value;

use crate::nodes::{Nodes, complaint};
use crate::{STAGE, object, run};

fn rows(said: &str) -> Vec<Value> {
    said.lines().map(object).collect()
}

#[tokio::test]
async fn every_node_that_is_asked_has_a_row_also_when_it_is_gone() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(21).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;
    let leader = nodes.leader().await;
    let gone = (leader + 1) % 3;
    let address = nodes.node(gone).address.to_string();
    nodes.node(gone).kill().await;

    let said = rows(&nodes.say(&["raft", "status", "--json"]).await);
    assert_eq!(said.len(), 3);
    for (number, row) in said.iter().enumerate() {
        assert_eq!(row["at"], nodes.node(number).address.to_string());
        assert_eq!(row["error"].is_string(), number == gone, "{row}");
    }
    let status = &said[leader]["status"];
    assert_eq!(status["standing"], "leader");
    assert_eq!(status["voters"].as_array().unwrap().len(), 3);
    assert_eq!(status["is_doubtful"], false);
    assert_eq!(status["keys"], 1);

    let table = nodes.say(&["raft", "status"]).await;
    let head = table.lines().next().unwrap();
    assert!(
        head.starts_with("ASKED ") && head.ends_with(" CONDITION"),
        "{table}"
    );
    let row = table
        .lines()
        .find(|line| line.starts_with(&address))
        .unwrap();
    assert!(row.contains("does not answer: "), "{table}");
    assert!(
        table.contains("\nleader    ") && table.contains("\nvoters    "),
        "{table}"
    );
    assert!(table.contains("revision 4, 1 keys, "), "{table}");

    let only = run(&mut nodes.command_at(&address, &["raft", "status"])).await;
    let why = complaint(&only, 1);
    assert!(why.contains("none of the nodes answered"), "{why}");
    nodes.stop().await;
}

#[tokio::test]
async fn a_node_without_a_log_says_so() {
    let nodes = Nodes::alone(1, 22).await;
    let table = nodes.say(&["raft", "status"]).await;
    assert!(table.contains("belongs to no log yet"), "{table}");
    let refused = run(nodes
        .command(&["raft", "transfer"])
        .args(["--timeout", "1s"]))
    .await;
    let why = complaint(&refused, 1);
    assert!(why.contains("nobody is known to lead"), "{why}");
    let refused = nodes.ask(&["raft", "snapshot", "--json"]).await;
    complaint(&refused, 1);
    let said = object(std::str::from_utf8(&refused.stdout).unwrap());
    let why = said["error"]["message"].as_str().unwrap();
    assert!(why.contains("nothing was decided yet"), "{why}");
}

#[tokio::test]
async fn leadership_goes_where_it_is_sent() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(23).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;
    let first = nodes.leader().await;

    let said = object(&nodes.say(&["raft", "transfer", "--json"]).await);
    let second = nodes.leader().await;
    assert_ne!(first, second);
    assert_eq!(said["leader"], nodes.node(second).started["node"]);
    assert_eq!(said["before"], nodes.node(first).started["node"]);

    let address = nodes.node(first).address.to_string();
    let said = nodes.say(&["raft", "transfer", "--to", &address]).await;
    assert!(
        said.contains(&format!(" at {address} leads, in term ")),
        "{said}"
    );
    assert_eq!(nodes.leader().await, first);

    let id = nodes.node(first).started["node"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = nodes.say(&["raft", "transfer", "--to", &id[..10]]).await;
    assert!(said.contains(" leads already, in term "), "{said}");

    let nobody = nodes.ask(&["raft", "transfer", "--to", "10.0.0.9:1"]).await;
    let why = complaint(&nobody, 1);
    assert!(why.contains("no voter is 10.0.0.9:1: there are "), "{why}");
    assert_eq!(nodes.say(&["kv", "get", "colour"]).await, "green");
    nodes.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_written_when_it_is_asked_for_and_a_start_uses_it() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(24).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;

    let said = rows(&nodes.say(&["raft", "snapshot", "--json"]).await);
    assert_eq!(said.len(), 3);
    let index = |row: &Value| row["snapshot"]["index"].as_u64().unwrap();
    assert!(said.iter().all(|row| index(row) > 0), "{said:?}");
    let status = rows(&nodes.say(&["raft", "status", "--json"]).await);
    for (before, after) in said.iter().zip(&status) {
        assert_eq!(after["status"]["snapshot"], index(before));
    }
    let text = nodes.say(&["raft", "snapshot"]).await;
    assert!(text.contains(": everything up to entry "), "{text}");

    for number in 0..3 {
        nodes.node(number).kill().await;
    }
    for number in 0..3 {
        nodes.start(number, &[]).await;
    }
    assert_eq!(nodes.say(&["kv", "get", "colour"]).await, "green");
    nodes.stop().await;
}
