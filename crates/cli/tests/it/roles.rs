//! Roles that follow from what machines can do and what the cluster needs.

use std::time::{Duration, SystemTime};

use convoke_node::probe::{Seen, Stability};
use convoke_types::Moment;
use rustix::process::Signal;
use serde_json::Value;

use crate::STAGE;
use crate::TOO_LITTLE;
use crate::cluster::{Cluster, One};
use crate::nodes::until;
use crate::object;

/// A node on a machine with so many cores, and of all else enough for every role.
fn begin(cluster: &Cluster, name: &str, cores: u32, more: &[&str]) -> One {
    std::fs::create_dir_all(cluster.home(name)).unwrap();
    is_on(cluster, name, cores);
    let mut command = cluster.up(name, more);
    cluster.spawn(name, command.env_remove(TOO_LITTLE.0))
}

async fn start(cluster: &Cluster, name: &str, cores: u32, more: &[&str]) -> One {
    let mut one = begin(cluster, name, cores, more);
    one.hears("ready").await;
    one
}

fn is_on(cluster: &Cluster, name: &str, cores: u32) {
    let text = format!(
        "[probe]\ncores = {cores}\nmemory = \"16GiB\"\ndisk_free = \"100GiB\"\ndisk_fsync = \"1ms\"\n"
    );
    std::fs::write(cluster.home(name).join("convoke.toml"), text).unwrap();
}

/// The nodes by their names, as this one sees them.
async fn listed(cluster: &Cluster, at: &str) -> Vec<Value> {
    let said = cluster.say(at, &["role", "list", "--json"]).await;
    said.lines().map(object).collect()
}

async fn role_of(cluster: &Cluster, at: &str, name: &str) -> String {
    let all = listed(cluster, at).await;
    let node = all.iter().find(|node| node["name"] == name);
    let role = node.map(|node| node["role"]["value"].clone());
    role.and_then(|role| Some(role.as_str()?.to_owned()))
        .unwrap_or_default()
}

async fn becomes(cluster: &Cluster, at: &str, name: &str, role: &str) {
    until(&format!("{name} is a {role}"), || async {
        role_of(cluster, at, name).await == role
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_grows_is_given_work_without_a_restart_and_it_is_explained() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = start(
        &cluster,
        "first",
        8,
        &["--name", "first", "--role", "master"],
    )
    .await;
    let token = cluster.token("first", &[]).await;
    let joins = ["--name", "second", "--join", &token, "--role", "observer"];
    let second = start(&cluster, "second", 1, &joins).await;
    becomes(&cluster, "first", "second", "observer").await;

    // Who was asked for stays what it is, until somebody lets go of it.
    let explained = async || {
        let said = cluster
            .say("first", &["role", "explain", "second", "--json"])
            .await;
        object(&said)
    };
    until("it is seen", || async {
        explained().await["roles"][1]["checks"].is_array()
    })
    .await;
    let before = explained().await;
    let next = before["next"].as_str().unwrap();
    assert!(next.contains("set by people only"), "{next}");
    let said = cluster.say("second", &["role", "auto", "second"]).await;
    assert!(said.contains("role explain second"), "{said}");

    // It has too few cores, and that is said.
    until("its cores are known", || async {
        let checks = explained().await["roles"][1]["checks"].clone();
        checks[0]["measure"] == "cpu" && checks[0]["level"] == "below"
    })
    .await;
    let text = cluster.say("first", &["role", "explain", "second"]).await;
    assert!(text.contains("probe.cores in the configuration"), "{text}");
    until("status says what is missing", || async {
        let status = cluster.say("first", &["status"]).await;
        status.contains("0 of 1 workers")
    })
    .await;
    assert_eq!(role_of(&cluster, "first", "second").await, "observer");

    // A larger machine, in the same process.
    is_on(&cluster, "second", 8);
    second.signal(Signal::HUP);
    becomes(&cluster, "first", "second", "worker").await;
    let history = cluster.say("second", &["role", "history"]).await;
    assert!(
        history.contains("worker: the cluster has 0 of 1 workers, and it is fit"),
        "{history}"
    );
    assert!(history.contains("auto"), "{history}");

    // Held to a role it stays, whatever is needed; let go, it is needed.
    let pin = ["role", "set", "second", "observer", "--pin"];
    cluster.say("first", &pin).await;
    becomes(&cluster, "first", "second", "observer").await;
    until("that is known", || async {
        let next = explained().await["next"].clone();
        next.as_str().is_some_and(|next| next.contains("hold"))
    })
    .await;
    assert_eq!(role_of(&cluster, "second", "second").await, "observer");
    let plan = cluster
        .say("first", &["role", "plan", "roles.need.workers=0", "--json"])
        .await;
    assert_eq!(object(&plan)["settled"], true, "{plan}");
    cluster.say("first", &["role", "auto", "second"]).await;
    becomes(&cluster, "first", "second", "worker").await;
    for one in [second, first] {
        one.stop().await;
    }
}

/// Twenty good minutes of a node, as it keeps them for its next start, just now.
fn was_steady(cluster: &Cluster, name: &str) {
    let mut stability = Stability::default();
    let well = Seen {
        sent: 60,
        answered: 60,
        was_unreachable: false,
    };
    for minute in 0..=20 {
        let at = Moment::START + Duration::from_secs(60 * minute);
        stability.observe(at, &[well; 3]);
    }
    let path = cluster.home(name).join("stability");
    std::fs::write(&path, "").unwrap();
    let now = std::fs::metadata(&path).unwrap().modified().unwrap();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut bytes = u64::try_from(now.as_millis())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    bytes.extend(stability.to_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn how_steady_a_node_was_outlives_it_and_counts_for_its_role_elsewhere() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = start(&cluster, "first", 8, &["--name", "first"]).await;
    let token = cluster.token("first", &[]).await;
    let joins = ["--name", "second", "--join", &token];
    std::fs::create_dir_all(cluster.home("second")).unwrap();
    was_steady(&cluster, "second");
    let second = start(&cluster, "second", 8, &joins).await;
    becomes(&cluster, "first", "second", "master").await;
    let stability = async || {
        let said = cluster
            .say("first", &["role", "explain", "second", "--json"])
            .await;
        let explained = object(&said);
        let checks = explained["roles"][0]["checks"].as_array().cloned();
        let mut checks = checks.unwrap_or_default().into_iter();
        checks.find(|check| check["measure"] == "stability")
    };

    // A node that is new to all others has a past: one minute of twenty is lost by its start.
    until("the other one knows how steady it was", || async {
        stability().await.is_some_and(|check| {
            let found = check["found"].as_str().and_then(|it| it.parse().ok());
            let is_so = found.is_some_and(|found: u64| (900..1_000).contains(&found));
            is_so && check["source"] == "what its peers answered, over a day"
        })
    })
    .await;
    let check = stability().await.unwrap();
    assert_eq!(check["confidence"], "estimated", "{check}");
    assert_eq!(check["by_policy"], false, "{check}");

    // It is kept when it stops, and shown where it lies.
    second.stop().await;
    let probed = object(&cluster.say("second", &["probe", "--json"]).await);
    assert_eq!(probed["peers"]["flaps_day"]["value"], 1, "{probed:#}");
    let share = probed["peers"]["stability_day"]["value"].as_u64().unwrap();
    assert!((900..1_000).contains(&share), "{probed:#}");
    first.stop().await;
}

#[tokio::test]
async fn when_the_only_master_is_killed_a_worker_that_is_fit_takes_over() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = start(
        &cluster,
        "first",
        8,
        &["--name", "first", "--role", "master"],
    )
    .await;
    let token = cluster.token("first", &["--uses", "2"]).await;
    let mut workers = Vec::new();
    for (name, cores) in [("second", 8), ("third", 2)] {
        let joins = ["--name", name, "--join", &token, "--role", "worker"];
        workers.push(start(&cluster, name, cores, &joins).await);
        becomes(&cluster, "first", name, "worker").await;
        cluster.say("first", &["role", "auto", name]).await;
    }
    until("all vote", || async {
        let said = cluster.say("first", &["raft", "voters", "--json"]).await;
        said.matches("\"votes\":true").count() == 3
    })
    .await;

    first.kill().await;

    // The third has too few cores for a master.
    becomes(&cluster, "third", "second", "master").await;
    assert_eq!(role_of(&cluster, "third", "third").await, "worker");
    let history = cluster.say("third", &["role", "history"]).await;
    assert!(
        history.contains("master: the cluster has 0 of 1 masters, and it is fit"),
        "{history}"
    );
    cluster
        .say("third", &["kv", "put", "colour", "green"])
        .await;
    for one in workers {
        one.stop().await;
    }
}
