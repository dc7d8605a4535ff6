//! `convoke doctor` and `convoke debug bundle`, with real nodes and without.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::nodes::{complaint, until};
use crate::{STAGE, object, run};

/// Where a node that does not run would listen.
const ANYWHERE: [&str; 4] = ["--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"];

/// What the doctor says, and with what exit code.
async fn examined(command: &mut Command) -> (Value, i32) {
    let output = run(command.arg("--json")).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}{errors}");
    (object(&said), output.status.code().unwrap())
}

fn of<'r>(report: &'r Value, check: &str) -> Vec<&'r Value> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|found| found["check"] == check).collect()
}

/// The only one of this kind.
fn one<'r>(report: &'r Value, check: &str) -> &'r Value {
    let found = of(report, check);
    assert_eq!(found.len(), 1, "{check}: {report:#}");
    found[0]
}

#[tokio::test]
async fn nothing_is_wrong_with_a_healthy_cluster_of_two_and_a_node_that_stopped_is_told() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &[]).await;
    let token = cluster.token("first", &[]).await;
    let more = ["--join", token.as_str()];
    let second = cluster.start("second", &more).await;
    let cluster = &cluster;
    until("both know each other", || async {
        let nodes = cluster.say("second", &["node", "ls", "--json"]).await;
        nodes.lines().count() == 2
    })
    .await;

    for name in ["first", "second"] {
        let mut command = cluster.command(name, &["doctor"]);
        let (report, code) = examined(&mut command).await;
        assert_eq!(
            (&report["problems"], code),
            (&Value::from(0), 0),
            "{report:#}"
        );
        assert_eq!(report["running"], true);
        for check in [
            "settings",
            "data.owner",
            "data.modes",
            "data.writable",
            "clock",
            "certificate",
            "certificate.issuer",
            "node.running",
            "nodes.own",
            "nodes.reach",
            "nodes.back",
            "nodes.enrolment",
            "clock.others",
        ] {
            assert_eq!(one(&report, check)["verdict"], "ok", "{check}: {report:#}");
        }
        assert_eq!(of(&report, "nodes.version").len(), 2, "{report:#}");
        let reached = one(&report, "nodes.reach")["what"].as_str().unwrap();
        assert!(
            reached.contains("TCP in") && reached.contains("UDP in"),
            "{reached}"
        );
    }
    let people = cluster.say("first", &["doctor"]).await;
    assert!(
        people.contains("0 problems.") && !people.contains("PROBLEM"),
        "{people}"
    );

    second.stop().await;
    let what = [&["doctor"][..], &ANYWHERE].concat();
    let (report, code) = examined(&mut cluster.command("second", &what)).await;
    assert_eq!(
        (&report["running"], code),
        (&Value::from(false), 0),
        "{report:#}"
    );
    let stopped = one(&report, "node.running");
    assert_eq!(stopped["verdict"], "warning");
    assert!(
        stopped["what_to_do"]
            .as_str()
            .unwrap()
            .contains("convoke up")
    );
    // What it remembers of the others is enough to look for them.
    assert_eq!(one(&report, "nodes.reach")["verdict"], "ok", "{report:#}");
    assert!(of(&report, "nodes.own").is_empty(), "{report:#}");
    first.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_read_only_and_a_port_that_is_taken_are_told_with_what_to_do() {
    let cluster = Cluster::new();
    let home = cluster.home("node");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o500)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let what = [
        "doctor",
        "--listen",
        &address,
        "--api-listen",
        "127.0.0.1:0",
    ];
    let (report, code) = examined(&mut cluster.command("node", &what)).await;
    fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(
        (&report["problems"], code),
        (&Value::from(2), 4),
        "{report:#}"
    );
    let unwritable = one(&report, "data.writable");
    assert!(
        unwritable["what"].as_str().unwrap().contains("read-only"),
        "{unwritable}"
    );
    assert!(
        unwritable["what_to_do"]
            .as_str()
            .unwrap()
            .contains("chmod 700")
    );
    let port = one(&report, "ports.tcp");
    assert!(port["what"].as_str().unwrap().contains(&address), "{port}");
    assert!(
        port["what_to_do"]
            .as_str()
            .unwrap()
            .contains("another program has that port")
    );

    // For people, the same in a table, and what to do below.
    let told = run(&mut cluster.command("node", &what)).await;
    let text = String::from_utf8(told.stdout.clone()).unwrap();
    assert!(
        text.contains("PROBLEM  ports.tcp") && text.contains("What to do:"),
        "{text}"
    );
    assert!(complaint(&told, 4).contains("a problem"));
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_told_and_the_rest_is_looked_at_all_the_same() {
    let cluster = Cluster::new();
    let home = cluster.home("node");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("convoke.toml"), "[node]\nnmae = \"x\"\n").unwrap();
    let what = [&["doctor"][..], &ANYWHERE].concat();
    let (report, code) = examined(&mut cluster.command("node", &what)).await;
    assert_eq!(code, 4);
    let mistake = one(&report, "settings");
    assert_eq!(mistake["verdict"], "problem");
    let says = mistake["what"].as_str().unwrap();
    assert!(
        says.contains("convoke.toml:2") && says.contains("name"),
        "{says}"
    );
    assert_eq!(one(&report, "data.writable")["verdict"], "ok", "{report:#}");
    assert!(!of(&report, "machine.files").is_empty());
}

#[tokio::test]
async fn nodes_that_say_nothing_are_told_after_a_while_that_is_bounded() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    cluster.start("first", &[]).await.stop().await;
    // They take connections, and nothing comes of it.
    let silent: Vec<TcpListener> = (0..4)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let path = cluster.home("first").join("cluster.json");
    let mut papers = object(&fs::read_to_string(&path).unwrap());
    papers["places"] = silent
        .iter()
        .map(|listener| listener.local_addr().unwrap().to_string())
        .collect();
    fs::write(&path, papers.to_string()).unwrap();
    let what = [&["doctor"][..], &ANYWHERE].concat();
    let begun = Instant::now();
    let (report, code) = examined(&mut cluster.command("first", &what)).await;
    let took = begun.elapsed();
    assert_eq!(code, 0, "{report:#}");
    let reached = of(&report, "nodes.reach");
    assert_eq!(reached.len(), 4, "{report:#}");
    for found in reached {
        assert_eq!(found["verdict"], "warning", "{found}");
        assert!(
            found["what"].as_str().unwrap().contains("not over TCP"),
            "{found}"
        );
    }
    assert_eq!(one(&report, "nodes.enrolment")["verdict"], "warning");
    // Two waits of 2 s for all of them together, and room for a machine that is busy.
    assert!(took < Duration::from_secs(12), "{took:?}");
}

fn bundle_in(cluster: &Cluster, out: &Path) -> Command {
    let out = out.to_str().unwrap();
    cluster.command("first", &["debug", "bundle", "--out", out])
}

#[tokio::test]
async fn a_bundle_has_what_helps_and_no_secret() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &[]).await;
    let home = cluster.home("first");
    let token = cluster.token("first", &[]).await;
    let in_environment = cluster.token("first", &[]).await;
    cluster
        .say("first", &["kv", "put", "colour", "canary-value-of-a-key"])
        .await;
    // What is in the directory and nobody knows of.
    fs::write(home.join("notes"), "canary-in-the-directory").unwrap();
    let config = format!("[cluster]\ntoken = \"{token}\"\n");
    fs::write(home.join("convoke.toml"), config).unwrap();
    let out = cluster.home("bundle.json");
    let mut command = bundle_in(&cluster, &out);
    command
        .env("CONVOKE_NODE_ZONE", "canary-in-the-environment")
        .env("CONVOKE_CLUSTER_TOKEN", &in_environment)
        .env("CANARY", "canary-in-another-variable");
    let made = run(&mut command).await;
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{errors}");
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(fs::metadata(&out).unwrap().mode() & 0o777, 0o600);

    let bundle = object(&text);
    assert_eq!(bundle["format"], "convoke debug bundle 1");
    assert!(bundle["doctor"]["findings"].as_array().unwrap().len() > 10);
    assert_eq!(bundle["cluster"]["papers"]["name"], "convoke", "{bundle:#}");
    assert!(
        bundle["node"]["status"]["node_id"].is_string(),
        "{bundle:#}"
    );
    assert_eq!(
        bundle["node"]["nodes"]["items"].as_array().unwrap().len(),
        1
    );
    for part in ["events", "lines"] {
        let items = bundle["node"][part]["items"].as_array();
        assert!(items.is_some(), "{part}: {}", bundle["node"][part]);
    }
    assert!(
        bundle["node"]["voters"]["voters"].is_array(),
        "{}",
        bundle["node"]["voters"]
    );
    assert!(
        bundle["machine"]["node/status"].is_array(),
        "{}",
        bundle["machine"]
    );
    let settings = bundle["settings"]["in_force"].as_array().unwrap();
    let zone = settings
        .iter()
        .find(|row| row["key"] == "node.zone")
        .unwrap();
    assert_eq!(
        (&zone["is_set"], &zone["value"]),
        (&Value::from(true), &Value::Null)
    );

    for secret in [
        token.as_str(),
        in_environment.as_str(),
        "canary",
        "PRIVATE KEY",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    for file in ["node.key", "issuer.pem"] {
        let secret = fs::read_to_string(home.join(file)).unwrap();
        for line in secret.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!text.contains(line), "a line of {file} in {text}");
        }
    }
    // With a mistake in the file its text is not told either, and what is there is not written over.
    let config = format!("[cluster]\ntoken = \"{token} canary\"\nname = \"canary \\u0007\"\n");
    fs::write(home.join("convoke.toml"), config).unwrap();
    let again = cluster.home("again.json");
    let mut command = bundle_in(&cluster, &again);
    assert!(run(&mut command).await.status.success());
    let text = fs::read_to_string(&again).unwrap();
    assert!(text.contains("mistakes"), "{text}");
    for secret in [token.as_str(), "canary"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let refused = run(&mut bundle_in(&cluster, &again)).await;
    assert!(complaint(&refused, 1).contains("again.json"));
    first.stop().await;
}
