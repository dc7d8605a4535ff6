//! `convoke up` as people run it.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::nodes::{Nodes, complaint, up};
use crate::{STAGE, object, run};

#[tokio::test]
async fn what_was_decided_outlives_a_stop_of_all_nodes_and_each_is_the_same_again() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(1).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;
    let ids: Vec<Value> = (0..3)
        .map(|number| nodes.node(number).started["node"].clone())
        .collect();

    for (number, signal) in [Signal::TERM, Signal::INT, Signal::TERM]
        .into_iter()
        .enumerate()
    {
        nodes.node(number).signal(signal);
    }
    for number in 0..3 {
        let status = nodes.node(number).ended().await;
        assert!(status.success(), "{number}: {status}");
    }
    let addresses = nodes.at();
    for (number, id) in ids.iter().enumerate() {
        nodes.start(number, &["--found", &addresses]).await;
        nodes.node(number).hears("founded-before").await;
        let started = nodes.node(number).started.clone();
        assert_eq!(&started["node"], id, "its key was kept");
        assert_eq!(started["start"], 2);
    }

    assert_eq!(nodes.say(&["kv", "get", "colour"]).await, "green");
    let listed = nodes.say(&["kv", "ls", "--json"]).await;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    nodes.stop().await;
}

#[tokio::test]
async fn a_second_process_in_one_directory_stops_and_says_who_is_there() {
    let place = TempDir::new().unwrap();
    let nodes = Nodes::alone(1, 2).await;
    let listen = SocketAddr::from(([127, 92, 2, 2], 0));

    let second = run(&mut up(&nodes.place, 0, listen)).await;

    let why = complaint(&second, 1);
    assert!(why.contains("in use by another process (process "), "{why}");
    assert_eq!(second.stdout, b"");
    drop(place);
}

#[tokio::test]
async fn founding_waits_for_who_is_not_there_yet_and_not_for_ever() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::alone(1, 3).await;
    let gone = nodes.node(0).address;
    nodes.node(0).kill().await;
    let listen = SocketAddr::from(([127, 92, 3, 2], 0));
    let found = gone.to_string();

    let mut founding = up(&nodes.place, 1, listen);
    founding.args(["--json", "--found", &found, "--patience", "1s"]);
    let gave_up = run(&mut founding).await;
    let why = complaint(&gave_up, 1);
    assert!(
        why.contains("no log was made: ask ") && why.contains(&found),
        "{why}"
    );
    let said = String::from_utf8(gave_up.stdout).unwrap();
    let kinds: Vec<Value> = said
        .lines()
        .map(|line| object(line)["kind"].clone())
        .filter(|kind| !matches!(kind.as_str(), Some("service" | "api" | "member")))
        .collect();
    assert_eq!(kinds[..2], ["started", "waiting"], "{said}");

    let mut founding = up(&nodes.place, 1, listen);
    let mut founder = founding
        .args(["--json", "--found", &found])
        .spawn()
        .unwrap();
    let mut founder_says = crate::lines_of(&mut founder);
    crate::hear(&mut founder_says, "waiting").await;
    nodes.start(0, &[]).await;
    crate::hear(&mut founder_says, "founded").await;
    let leader = crate::hear(&mut founder_says, "leader").await;
    assert!(leader["addresses"][0].is_string(), "{leader}");
    nodes.node(0).hears("leader").await;
    founder.kill().await.unwrap();
}

#[tokio::test]
async fn a_node_of_one_log_is_not_taken_into_another() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(4).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;
    let taken = nodes.node(0).address.to_string();
    let listen = SocketAddr::from(([127, 92, 4, 9], 0));

    let refused = run(up(&nodes.place, 9, listen).args(["--found", &taken])).await;

    let why = complaint(&refused, 1);
    assert!(why.contains("belongs to a log already"), "{why}");
    nodes.stop().await;
}

#[tokio::test]
async fn one_node_alone_can_have_a_log_and_says_what_to_do_next() {
    let place = TempDir::new().unwrap();
    let listen = SocketAddr::from(([127, 92, 5, 1], 0));
    let mut node = up(&place, 0, listen).args(["--found"]).spawn().unwrap();
    let mut said = crate::lines_of(&mut node);
    let mut all = String::new();
    while !all.contains("This node leads, in term ") {
        let line = tokio::time::timeout(crate::PATIENCE, said.next_line()).await;
        all.push_str(&line.expect("it goes on").unwrap().expect("it lives"));
        all.push('\n');
    }
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines[0].starts_with("Node "), "{all}");
    assert!(lines[1].starts_with("It keeps its key"), "{all}");
    assert!(
        lines[2].starts_with("How it does: convoke raft status --at 127.92.5.1:"),
        "{all}"
    );
    assert!(
        lines[3].starts_with("A log was founded with voters at 127.92.5.1:"),
        "{all}"
    );
    node.kill().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let nodes = Nodes::alone(1, 6).await;
    let listen = SocketAddr::from(([127, 92, 6, 2], 0));
    let everywhere = ["--advertise", "0.0.0.0:4700"];
    let nowhere = run(up(&nodes.place, 1, listen).args(everywhere)).await;
    let why = complaint(&nowhere, 2);
    assert!(why.contains("--advertise"), "{why}");

    let nothing = run(up(&nodes.place, 1, listen).args(["--roles", "none"])).await;
    let why = complaint(&nothing, 1);
    assert!(why.contains("this one may be none"), "{why}");

    let taken = nodes.at().parse().unwrap();
    let why = complaint(&run(&mut up(&nodes.place, 1, taken)).await, 1);
    assert!(why.contains(&format!("listen at {taken}: ")), "{why}");

    for senseless in [
        &["--found", "127.0.0.1"][..],
        &["--listen", "here"],
        &["--log-segment", "0"],
        &["--patience", "soon"],
    ] {
        let output = run(up(&nodes.place, 1, listen).args(senseless)).await;
        assert_eq!(output.status.code(), Some(2), "{senseless:?}");
    }
}
