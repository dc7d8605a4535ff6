//! RPC services that nodes offer: shown to people, and called by a program that is no member.

use std::net::SocketAddr;
use std::time::Duration;

use convoke_driver::{AskOptions, AskTrouble, ClusterClient, Seed, WorkerRegistry};
use convoke_node::custody;
use convoke_node::inspect::InspectClient;
use convoke_rpc::{BalancedConfig, Endpoint, Limits, NodeId};
use serde_json::Value;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::nodes::{complaint, until};
use crate::{PATIENCE, STAGE, lines_of, next_object, object, run};

/// Objects, a line each.
async fn rows(cluster: &Cluster, what: &[&str]) -> Vec<Value> {
    let said = cluster.say("first", &[what, &["--json"]].concat()).await;
    said.lines().map(object).collect()
}

/// How an instance on the node of this name is, as the first node says.
async fn health(cluster: &Cluster, service: &str, name: &str) -> String {
    let selector = format!("name = {name}");
    let rows = rows(cluster, &["instances", service, "--selector", &selector]).await;
    let health = rows.first().and_then(|row| row["health"].as_str());
    health.unwrap_or("none").to_owned()
}

async fn node(cluster: &Cluster, name: &str) -> (String, SocketAddr) {
    let selector = format!("name = {name}");
    let what = ["instances", "convoke.Instances", "--selector", &selector];
    let rows = rows(cluster, &what).await;
    let [row] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    let address = row["addresses"][0].as_str().unwrap();
    let node = row["node"].as_str().unwrap();
    (node.to_owned(), address.parse().unwrap())
}

#[tokio::test]
async fn what_nodes_offer_is_shown_with_how_it_is_and_a_light_client_calls_it_while_nodes_go() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &["--name", "first"]).await;
    let token = cluster.token("first", &["--uses", "2"]).await;
    let join = |name: &'static str| ["--name", name, "--join", &token, "--role", "master"];
    let second = cluster.start("second", &join("second")).await;
    let third = cluster.start("third", &join("third")).await;

    let all = &cluster;
    until("all three offer what they are asked", || async {
        let services = rows(all, &["instances"]).await;
        let names: Vec<&str> = services
            .iter()
            .filter_map(|it| it["name"].as_str())
            .collect();
        let serve = |it: &Value| it["serving"] == 3 && it["instances"] == 3;
        names == ["convoke.Inspect", "convoke.Instances", "convoke.Store"]
            && services.iter().all(serve)
    })
    .await;
    let shown = cluster.say("first", &["instances"]).await;
    assert!(shown.contains(env!("CARGO_PKG_VERSION")), "{shown}");
    let shown = cluster.say("first", &["instances", "convoke.Store"]).await;
    for part in ["NODE", "HEALTH", "LOAD", "second", "serving", "role=master"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    // What is wrong is said where it is.
    let bad = [
        "instances",
        "convoke.Store",
        "--selector",
        "zone = eu nad gpu",
    ];
    let refused = run(&mut cluster.command("first", &bad)).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("at character 11"), "{said}");
    let nobody = run(&mut cluster.command("first", &["instances", "Nobody"])).await;
    assert!(complaint(&nobody, 4).contains("no node offers an RPC service Nobody"));
    let nowhere = ["instances", "convoke.Store", "--selector", "gpu"];
    let shown = cluster.say("first", &nowhere).await;
    assert_eq!(shown, "No instance of convoke.Store has such tags.\n");

    // A node that is taken out of use says so, and takes calls again when it is back. Who follows hears of both.
    let (id, address) = node(&cluster, "second").await;
    let follow = [
        "instances",
        "convoke.Store",
        "--selector",
        "name = second",
        "--follow",
        "--json",
    ];
    let mut follows = cluster.command("first", &follow).spawn().unwrap();
    let mut lines = lines_of(&mut follows);
    assert_eq!(next_object(&mut lines).await["health"], "serving");
    for (what, becomes) in [("drain", "not-serving"), ("undrain", "serving")] {
        // A machine that is too busy for an answer in time is asked again; twice is as once.
        until(&format!("{what} is decided"), || async {
            let decided = run(&mut all.command("first", &["node", what, &id])).await;
            decided.status.success()
        })
        .await;
        until(&format!("after {what} it is {becomes}"), || async {
            let store = health(all, "convoke.Store", "second").await;
            store == becomes && health(all, "convoke.Inspect", "second").await == becomes
        })
        .await;
        while next_object(&mut lines).await["health"] != becomes {}
    }
    follows.kill().await.unwrap();

    // A program that is no member follows the second node, whose place alone it knows.
    let (_, identity, trust) = custody::borrow(&cluster.home("first")).unwrap();
    let anywhere: SocketAddr = ([127, 92, 105, 1], 0).into();
    let endpoint = Endpoint::bind(anywhere, identity, trust, Limits::default()).unwrap();
    let options = AskOptions::default();
    let registry = WorkerRegistry::ask(&endpoint, [Seed::Address(address)], options).unwrap();
    registry.heard(PATIENCE).await.unwrap();
    let followed = id.parse::<NodeId>().unwrap();
    assert_eq!(registry.standing().following, Some(followed));
    let everything = convoke_types::Selector::everything();
    until("it knows all three", || async {
        registry.select("convoke.Instances", &everything).len() == 3
    })
    .await;
    let calls = ClusterClient::new(&endpoint, &registry, BalancedConfig::default());
    let inspect = InspectClient::new(calls.service("convoke.Inspect"));
    inspect.facts().await.expect("a node answers");

    // That is killed: calls go on, and another one is followed.
    second.kill().await;
    until("another one is followed", || async {
        inspect.facts().await.expect("calls do not notice");
        registry
            .standing()
            .following
            .is_some_and(|it| it != followed)
    })
    .await;
    until("people see that it is gone", || async {
        let is = health(all, "convoke.Inspect", "second").await;
        is == "unreachable" || is == "failed"
    })
    .await;

    // The one that is followed now goes in order, and says so.
    let (third_id, _) = node(&cluster, "third").await;
    let is_third = registry.standing().following == Some(third_id.parse().unwrap());
    let (goes, stays) = if is_third {
        (third, first)
    } else {
        (first, third)
    };
    let went = registry.standing().following;
    let mut standing = registry.watch_standing();
    let told = async {
        let told = standing.wait_for(|it| it.trouble == Some(AskTrouble::Leaves));
        timeout(PATIENCE, told).await.is_ok_and(|told| told.is_ok())
    };
    let (is_told, ()) = tokio::join!(told, goes.stop());
    assert!(is_told, "it says that it goes");
    until("the last one is followed", || async {
        let following = registry.standing().following;
        following.is_some() && following != went
    })
    .await;
    inspect.facts().await.expect("the last one answers");
    calls.close(Duration::from_secs(1)).await;
    registry.close().await;
    endpoint.close().await;
    // Alone of three it decides nothing any more.
    stays.kill().await;
}
