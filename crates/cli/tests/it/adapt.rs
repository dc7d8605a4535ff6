//! What nodes turn by themselves, and people's word on it.

use serde_json::Value;

use crate::STAGE;
use crate::cluster::Cluster;
use crate::nodes::until;
use crate::object;

/// A knob, as a node says that it stands.
async fn knob(cluster: &Cluster, at: &str, of: &str, name: &str) -> Value {
    let said = cluster
        .say(at, &["adapt", "list", "--of", of, "--json"])
        .await;
    let mut knobs = said.lines().map(object);
    knobs
        .find(|it| it["name"] == name)
        .expect("there is such a knob")
}

#[tokio::test]
async fn a_node_eases_what_presses_and_people_have_the_last_word() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    // A machine on which work waits for processors nearly all of the time.
    let home = cluster.home("first");
    let (root, pressure) = (home.join("machine"), home.join("machine/proc/pressure"));
    std::fs::create_dir_all(&pressure).unwrap();
    let busy = "some avg10=93.00 avg60=90.00 avg300=90.00 total=1\n";
    std::fs::write(pressure.join("cpu"), busy).unwrap();
    let config = format!("[probe]\nroot = {root:?}\n");
    std::fs::write(home.join("convoke.toml"), config).unwrap();
    let first = cluster
        .start("first", &["--name", "first", "--role", "master"])
        .await;
    let token = cluster.token("first", &[]).await;
    let joins = ["--name", "second", "--join", &token, "--role", "leecher"];
    let second = cluster.start("second", &joins).await;

    // It gives way, and says why.
    until("news gathers for longer", || async {
        let knob = knob(&cluster, "first", "first", "gossip-pace").await;
        knob["value"].as_u64() > knob["default"].as_u64()
    })
    .await;
    let explained = cluster
        .say("first", &["adapt", "explain", "gossip-pace"])
        .await;
    for part in [
        "law: While work waits for processors",
        "cpu-pressure: 93 % now",
        "last: 8 ms -> 12 ms",
    ] {
        assert!(explained.contains(part), "{explained}");
    }
    let history = cluster.say("first", &["adapt", "history"]).await;
    let line = "gossip-pace 8 ms -> 12 ms: cpu-pressure is 93 %, more than 70 %";
    assert!(history.contains(line), "{history}");
    let streams = knob(&cluster, "first", "first", "snapshot-streams").await;
    assert_eq!(streams["obeyed"], true);
    let slots = knob(&cluster, "first", "first", "executor-slots").await;
    assert_eq!(slots["obeyed"], false, "nothing runs tasks yet");

    // People freeze it, also on a node that keeps no log, and fix it where they like.
    let said = cluster.say("first", &["adapt", "freeze"]).await;
    assert_eq!(said, "No node turns anything by itself from here on.\n");
    for node in ["first", "second"] {
        until(&format!("{node} is frozen"), || async {
            knob(&cluster, "first", node, "gossip-pace").await["frozen"] == true
        })
        .await;
    }
    let said = cluster
        .say("first", &["adapt", "fix", "gossip-pace", "40"])
        .await;
    assert!(said.starts_with("gossip-pace stands at 40"), "{said}");
    until("it stands where people want it", || async {
        let knob = knob(&cluster, "second", "first", "gossip-pace").await;
        knob["value"] == 40 && knob["fixed"] == true
    })
    .await;
    let listed = cluster.say("first", &["adapt", "list"]).await;
    for part in ["40 ms", "fixed", "All knobs are frozen"] {
        assert!(listed.contains(part), "{listed}");
    }
    let config = cluster
        .say("first", &["config", "get", "adapt.gossip-pace.fixed"])
        .await;
    assert!(config.contains("40"), "{config}");

    let said = cluster
        .say("first", &["adapt", "free", "gossip-pace"])
        .await;
    assert!(said.contains("is free"), "{said}");
    cluster.say("first", &["adapt", "thaw"]).await;
    until("it goes on", || async {
        let knob = knob(&cluster, "first", "first", "gossip-pace").await;
        knob["fixed"] == false && knob["frozen"] == false
    })
    .await;

    // What is no knob is said to be none.
    let mut wrong = cluster.command("first", &["adapt", "freeze", "gosip-pace"]);
    let refused = wrong.output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("did you mean gossip-pace"), "{said}");
    for one in [second, first] {
        one.stop().await;
    }
}
