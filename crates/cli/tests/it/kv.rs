//! `convoke kv` as people run it, against a log of three processes.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::nodes::{Nodes, complaint, until};
use crate::{PATIENCE, STAGE, convoke, hear, lines_of, object, run};

fn values(said: &str) -> Vec<Value> {
    said.lines().map(object).collect()
}

#[tokio::test]
async fn keys_are_put_read_swapped_listed_and_removed() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(11).await;

    assert_eq!(nodes.say(&["kv", "put", "colour", "green"]).await, "4\n");
    assert_eq!(
        nodes.say(&["kv", "get", "colour"]).await,
        "green",
        "as it is"
    );
    let read = nodes.say(&["kv", "get", "colour", "--json"]).await;
    let expected = json!({
        "key": "colour", "value": "green", "created": 4, "changed": 4, "version": 1, "revision": 4
    });
    assert_eq!(object(&read), expected);
    let put = nodes.say(&["kv", "put", "colour", "red", "--json"]).await;
    assert_eq!(object(&put), json!({"revision": 5}));

    let missing = nodes.ask(&["kv", "get", "shape"]).await;
    assert_eq!(
        complaint(&missing, 4),
        "convoke: get shape: it is not there, as of revision 5\n"
    );
    assert_eq!(missing.stdout, b"");
    let missing = nodes.ask(&["kv", "get", "shape", "--json"]).await;
    complaint(&missing, 4);
    let said = String::from_utf8(missing.stdout).unwrap();
    assert_eq!(
        object(&said),
        json!({"key": "shape", "value": null, "revision": 5})
    );

    let swap = ["kv", "cas", "colour", "blue", "--expect-revision"];
    assert_eq!(nodes.say(&[&swap[..], &["5"]].concat()).await, "6\n");
    let late = nodes.ask(&[&swap[..], &["5"]].concat()).await;
    let why = complaint(&late, 4);
    assert!(
        why.contains("last changed in revision 6; nothing was changed"),
        "{why}"
    );
    let late = nodes
        .ask(&["kv", "cas", "colour", "x", "--expect-absent", "--json"])
        .await;
    complaint(&late, 4);
    let said = String::from_utf8(late.stdout).unwrap();
    assert_eq!(object(&said), json!({"revision": null, "changed": 6}));
    let swapped = nodes
        .say(&["kv", "cas", "colour", "--delete", "--expect-value", "blue"])
        .await;
    assert_eq!(swapped, "7\n");
    let made = nodes
        .say(&["kv", "cas", "colour", "white", "--expect-absent"])
        .await;
    assert_eq!(made, "8\n");

    for arguments in [&["--stale"][..], &["--at-least", "8"]] {
        let until_seen = async || {
            let get = [&["kv", "get", "colour", "--json"][..], arguments].concat();
            let output = nodes.ask(&get).await;
            object(std::str::from_utf8(&output.stdout).unwrap())["value"] == "white"
        };
        until("all nodes have it", until_seen).await;
    }

    assert_eq!(nodes.say(&["kv", "del", "colour"]).await, "9\n");
    assert_eq!(
        nodes.say(&["kv", "del", "colour"]).await,
        "it was not there\n"
    );
    let gone = nodes.say(&["kv", "del", "colour", "--json"]).await;
    assert_eq!(object(&gone), json!({"revision": null}));

    for key in ["a/1", "a/2", "a/3", "b"] {
        nodes.say(&["kv", "put", key, "v\n"]).await;
    }
    let table = "KEY  CREATED  CHANGED  VERSION  VALUE\na/1       10       10        1  v\\n\n\
                 a/2       11       11        1  v\\n\n";
    assert_eq!(
        nodes
            .say(&["kv", "ls", "a/", "--values", "--limit", "2"])
            .await,
        table
    );
    let all = values(&nodes.say(&["kv", "ls", "--json"]).await);
    assert_eq!(all.len(), 4);
    assert_eq!(
        all[0],
        json!({"key": "a/1", "created": 10, "changed": 10, "version": 1})
    );
    let some = nodes
        .say(&["kv", "ls", "--from", "a/2", "--until", "b", "--json"])
        .await;
    let keys: Vec<Value> = values(&some)
        .into_iter()
        .map(|it| it["key"].clone())
        .collect();
    assert_eq!(keys, ["a/2", "a/3"]);
    assert_eq!(nodes.say(&["kv", "ls", "nothing"]).await, "");
    let status = nodes.say(&["raft", "status", "--json"]).await;
    let sessions = &values(&status)[0]["status"]["sessions"];
    assert_eq!(
        sessions, 3,
        "each node has one, and each command closes the one it used"
    );
    nodes.stop().await;
}

#[tokio::test]
async fn values_are_any_bytes_from_anywhere_and_no_more_than_a_value_may_have() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(12).await;
    let bytes = b"\xff\x00 bytes\n";
    let path = nodes.place.path().join("value");
    std::fs::write(&path, bytes).unwrap();

    nodes
        .say(&["kv", "put", "file", "--file", path.to_str().unwrap()])
        .await;
    assert_eq!(nodes.ask(&["kv", "get", "file"]).await.stdout, bytes);
    let read = object(&nodes.say(&["kv", "get", "file", "--json"]).await);
    assert_eq!(read["value_hex"], "ff002062797465730a");
    assert_eq!(read["value"], Value::Null);

    let mut putting = nodes
        .command(&["kv", "put", "input", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = putting.stdin.take().unwrap();
    input.write_all(bytes).await.unwrap();
    drop(input);
    let put = timeout(PATIENCE, putting.wait_with_output()).await;
    assert!(put.expect("it ends").unwrap().status.success());
    assert_eq!(nodes.ask(&["kv", "get", "input"]).await.stdout, bytes);

    let large = "x".repeat(4_097);
    let refused = nodes.ask(&["kv", "put", "large", &large]).await;
    let why = complaint(&refused, 1);
    assert!(
        why.contains("more than 4096 bytes") && why.contains("nothing was changed"),
        "{why}"
    );
    let key = "k".repeat(513);
    let refused = nodes.ask(&["kv", "put", &key, "v", "--json"]).await;
    let why = complaint(&refused, 1);
    assert!(
        why.contains("refused: a key has at most 512 bytes"),
        "{why}"
    );
    let said = object(std::str::from_utf8(&refused.stdout).unwrap());
    assert_eq!(said["error"]["kind"], "refused");
    nodes.stop().await;
}

#[tokio::test]
async fn a_list_goes_over_all_pages() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(13).await;
    // By way of the library: two thousand processes would take a while.
    let cluster = convoke_rpc::identity::Development::in_dir(nodes.development()).unwrap();
    let endpoint = convoke_rpc::Endpoint::development(&cluster).unwrap();
    let targets = [convoke_rpc::Target::from(nodes.node(0).address)];
    let config = convoke_store::StoreConfig {
        timeout: PATIENCE,
        ..convoke_store::StoreConfig::default()
    };
    let store = convoke_store::Store::new(&endpoint, targets, config);
    let puts = (0..2_100).map(|number| {
        let store = store.clone();
        async move { store.put(format!("k{number:04}"), "v").await.unwrap() }
    });
    futures_util::future::join_all(puts).await;

    let all = values(&nodes.say(&["kv", "ls", "--json"]).await);
    assert_eq!(all.len(), 2_100);
    assert_eq!(all[2_099]["key"], "k2099");
    let table = nodes.say(&["kv", "ls", "--limit", "1500"]).await;
    assert_eq!(table.lines().count(), 1_501, "one head");
    store.close().await;
    endpoint.close().await;
    nodes.stop().await;
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_what_changes_until_it_is_interrupted() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(14).await;
    nodes.say(&["kv", "put", "a/1", "one"]).await;
    nodes.say(&["kv", "put", "b", "other"]).await;
    let mut watching = nodes
        .command(&["kv", "watch", "a/", "--json"])
        .spawn()
        .unwrap();
    let mut said = lines_of(&mut watching);
    let there = hear(&mut said, "put").await;
    assert_eq!(
        (&there["key"], &there["value"]),
        (&json!("a/1"), &json!("one"))
    );
    let complete = hear(&mut said, "complete").await;
    assert!(complete["revision"].as_u64() >= there["revision"].as_u64());

    // The node that is watched most likely goes, and nothing is missed.
    let leader = nodes.leader().await;
    nodes.node(leader).kill().await;
    nodes.say(&["kv", "put", "a/2", "two"]).await;
    nodes.say(&["kv", "del", "a/1"]).await;
    let put = hear(&mut said, "put").await;
    assert_eq!((&put["key"], &put["value"]), (&json!("a/2"), &json!("two")));
    let gone = hear(&mut said, "delete").await;
    assert_eq!(
        (&gone["key"], &gone["revision"]),
        (&json!("a/1"), &json!(7))
    );

    let pid = Pid::from_raw(watching.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = timeout(PATIENCE, watching.wait()).await.expect("it ends");
    assert!(ended.unwrap().success());

    let mut later = nodes
        .command(&["kv", "watch", "--after", "5"])
        .spawn()
        .unwrap();
    let mut said = lines_of(&mut later);
    let line = timeout(PATIENCE, said.next_line()).await;
    let line = line.expect("it goes on").unwrap().expect("it lives");
    assert_eq!(line, "6  put  a/2  two");
    later.kill().await.unwrap();
    nodes.stop().await;
}

#[tokio::test]
async fn a_put_succeeds_though_the_leader_has_just_crashed() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(15).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;
    let leader = nodes.leader().await;

    nodes.node(leader).kill().await;
    // With the deadline it has by default.
    let put = run(&mut nodes.command(&["kv", "put", "colour", "red"])).await;

    let errors = String::from_utf8_lossy(&put.stderr);
    assert!(put.status.success(), "{errors}");
    assert_eq!(nodes.say(&["kv", "get", "colour"]).await, "red");
    nodes.start(leader, &[]).await;
    nodes.node(leader).hears("leader").await;
    nodes.stop().await;
}

#[tokio::test]
async fn failed_is_told_from_perhaps_carried_out() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(16).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;
    let leader = nodes.leader().await;
    for number in (0..3).filter(|number| *number != leader) {
        nodes.node(number).kill().await;
    }

    let failed = run(nodes
        .command(&["kv", "put", "colour", "red", "--json"])
        .args(["--timeout", "1s"]))
    .await;
    let why = complaint(&failed, 1);
    assert!(why.contains("put colour: nothing was changed: "), "{why}");
    let said = object(std::str::from_utf8(&failed.stdout).unwrap());
    assert_eq!(said["error"]["kind"], "failed");

    let putting = nodes
        .command(&["kv", "put", "colour", "red"])
        .args(["--timeout", "80s"])
        .spawn()
        .unwrap();
    let catches = || async {
        let pid = putting.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        caught & (1 << (Signal::INT.as_raw() - 1)) != 0
    };
    until("it listens for Ctrl-C", catches).await;
    let pid = Pid::from_raw(putting.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = timeout(PATIENCE, putting.wait_with_output()).await;
    let why = complaint(&ended.expect("it ends").unwrap(), 3);
    assert!(
        why.contains("not known whether it was carried out"),
        "{why}"
    );
    nodes.stop().await;
}

#[tokio::test]
async fn nodes_that_are_not_there_are_no_riddle() {
    let mut nodes = Nodes::alone(1, 17).await;
    let no_log = run(nodes
        .command(&["kv", "put", "k", "v"])
        .args(["--timeout", "1s"]))
    .await;
    let why = complaint(&no_log, 1);
    assert!(
        why.contains("nothing was changed") && why.contains("does not lead"),
        "{why}"
    );
    nodes.node(0).kill().await;
    for what in [&["kv", "get", "k"][..], &["kv", "ls"], &["kv", "watch"]] {
        let output = run(nodes.command(what).args(["--timeout", "500ms"])).await;
        complaint(&output, 1);
    }
    let unknown = run(&mut nodes.command_at("nowhere.invalid:1", &["kv", "get", "k"])).await;
    let why = complaint(&unknown, 1);
    assert!(why.contains("look up nowhere.invalid:1"), "{why}");
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_refused() {
    let place = TempDir::new().unwrap();
    let way = ["--at", "127.0.0.1:1", "--development", "x"];
    for arguments in [
        &["kv"][..],
        &["kv", "get"],
        &["kv", "put", "k"],
        &["kv", "put", "k", "v", "--file", "f"],
        &["kv", "get", "k", "--stale", "--at-least", "3"],
        &["kv", "cas", "k", "v"],
        &[
            "kv",
            "cas",
            "k",
            "v",
            "--expect-absent",
            "--expect-revision",
            "3",
        ],
        &["kv", "cas", "k", "v", "--delete", "--expect-absent"],
        &["kv", "cas", "k", "--expect-absent"],
        &["kv", "ls", "a", "--from", "b"],
        &["kv", "ls", "--limit", "0"],
        &["kv", "watch", "--after", "-1"],
        &["raft", "status", "--at", "here"],
    ] {
        let output = run(convoke(&place).args(arguments).args(way)).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let output = run(convoke(&place).args(["kv", "get", "k", "--development", "x"])).await;
    let why = complaint(&output, 1);
    assert!(why.contains("say which nodes to ask, with --at"), "{why}");
    let elsewhere = run(convoke(&place).args(["kv", "get", "k"]).args(way)).await;
    let why = complaint(&elsewhere, 1);
    assert!(why.contains("no development cluster in x"), "{why}");
}
