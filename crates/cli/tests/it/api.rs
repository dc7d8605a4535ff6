//! The commands that ask over the HTTP API: of the node of this machine, of others through it, and over the network with a context.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::cluster::{Cluster, One};
use crate::nodes::{complaint, until};
use crate::{STAGE, lines_of, next_object, object, run};

/// A node, and where its API listens on the network.
async fn start(cluster: &Cluster, name: &str, more: &[&str]) -> (One, String) {
    let mut one = cluster.begin(name, &[&["--name", name], more].concat());
    let (mut is_ready, mut url) = (false, None);
    while !is_ready || url.is_none() {
        let said = next_object(&mut one.lines).await;
        is_ready |= said["kind"] == "ready";
        if said["kind"] == "api" {
            url = said["address"]
                .as_str()
                .map(|it| it.trim_end_matches('/').to_owned());
        }
    }
    (one, url.unwrap())
}

/// Three nodes that all vote.
async fn three(cluster: &Cluster) -> [One; 3] {
    let (first, _) = start(cluster, "first", &[]).await;
    let token = cluster.token("first", &["--uses", "2"]).await;
    let (second, _) = start(cluster, "second", &["--join", &token]).await;
    let (third, _) = start(cluster, "third", &["--join", &token]).await;
    until("all are well", || async {
        let (code, status) = status(cluster, "first").await;
        code == Some(0) && status["voters"]["value"].as_array().unwrap().len() == 3
    })
    .await;
    [first, second, third]
}

async fn status(cluster: &Cluster, name: &str) -> (Option<i32>, Value) {
    let output = run(&mut cluster.command(name, &["status", "--json"])).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let status = said.lines().next().map_or(Value::Null, object);
    (output.status.code(), status)
}

/// The program, with its contexts in a place of its own and nothing of the machine's.
fn elsewhere(cluster: &Cluster, what: &[&str]) -> Command {
    let mut command = crate::convoke(&cluster.place);
    command
        .args(what)
        .env("XDG_CONFIG_HOME", cluster.home("config"))
        .env("HOME", cluster.home("nobody"))
        .env_remove("CONVOKE_CONTEXT")
        .env_remove("CONVOKE_API_TOKEN");
    command
}

async fn said(command: &mut Command) -> String {
    let output = run(command).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

async fn api_token(cluster: &Cluster, scope: &str, name: &str) -> Value {
    let what = [
        "api-token",
        "create",
        "--json",
        "--scope",
        scope,
        "--name",
        name,
    ];
    object(&cluster.say("first", &what).await)
}

#[tokio::test]
async fn status_is_healthy_until_a_voter_is_killed_and_then_names_it_and_says_what_to_do() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let [first, second, third] = three(&cluster).await;
    let shown = cluster.say("first", &["status"]).await;
    for says in [
        "HEALTHY",
        "master  (decided)",
        "3 reachable",
        "3: ",
        "SERVICE",
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }

    cluster.say("second", &["issuer", "rotate", "--all"]).await;
    let issuers = cluster.say("first", &["issuer", "ls", "--json"]).await;
    assert_eq!(issuers.lines().count(), 6, "{issuers}");

    third.kill().await;

    let cluster = &cluster;
    until("its loss is seen", || async {
        let (code, status) = status(cluster, "first").await;
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        code == Some(4) && problems.iter().any(|it| it["code"] == "voter-missing")
    })
    .await;
    let output = run(&mut cluster.command("first", &["status"])).await;
    assert!(complaint(&output, 4).contains("not healthy"));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("NOT HEALTHY"), "{shown}");
    for says in [
        "(third) votes and does not answer",
        "What to do: start it again",
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    for one in [second, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn who_does_not_run_is_said_to_be_started_and_how() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let nobody = run(&mut cluster.command("first", &["status"])).await;
    let why = complaint(&nobody, 1);
    assert!(why.contains("there is no node in"), "{why}");
    let (first, _) = start(&cluster, "first", &[]).await;
    first.stop().await;
    let asleep = run(&mut cluster.command("first", &["status"])).await;
    let why = complaint(&asleep, 1);
    let up = format!(
        "start it with `convoke up --data {}`",
        cluster.home("first").display()
    );
    assert!(why.contains("does not run") && why.contains(&up), "{why}");
}

#[tokio::test]
async fn status_that_is_watched_tells_each_change_once_and_outlives_the_node() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let (first, _) = start(&cluster, "first", &[]).await;
    let watching = ["status", "--watch", "--json"];
    let mut child = cluster.command("first", &watching).spawn().unwrap();
    let mut lines = lines_of(&mut child);
    let first_look = next_object(&mut lines).await;
    assert_eq!(first_look["node_name"], "first", "{first_look}");
    first.stop().await;
    loop {
        let said = next_object(&mut lines).await;
        if said["healthy"].is_null() {
            assert!(
                said["why"].as_str().unwrap().contains("convoke up"),
                "{said}"
            );
            break;
        }
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn lines_of_another_node_are_shown_and_a_node_that_is_not_there_is_a_no() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let (first, _) = start(&cluster, "first", &[]).await;
    let token = cluster.token("first", &[]).await;
    let (second, _) = start(&cluster, "second", &["--join", &token, "--role", "worker"]).await;
    let cluster = &cluster;

    until("the first shows what the second wrote", || async {
        let what = [
            "logs", "second", "--json", "--level", "debug", "--limit", "3",
        ];
        let output = run(&mut cluster.command("first", &what)).await;
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = said.lines().map(object).collect();
        assert!(lines.len() <= 3, "{said}");
        output.status.success()
            && !lines.is_empty()
            && lines.iter().all(|it| it["text"].is_string())
    })
    .await;
    // What is written while somebody follows, behind the last that was there.
    let following = ["logs", "first", "--follow", "--json", "--limit", "1"];
    let mut child = cluster.command("second", &following).spawn().unwrap();
    let mut lines = lines_of(&mut child);
    let last = next_object(&mut lines).await;
    let token = cluster.token("first", &[]).await;
    let (third, _) = start(cluster, "third", &["--join", &token, "--role", "worker"]).await;
    let heard = next_object(&mut lines).await;
    assert!(
        heard["unix_ms"].as_u64() >= last["unix_ms"].as_u64(),
        "{heard}"
    );
    assert_ne!(heard, last);
    child.kill().await.unwrap();
    let own = cluster.say("first", &["logs", "--limit", "2"]).await;
    assert!((1..=2).contains(&own.lines().count()), "{own}");
    let missing = run(&mut cluster.command("first", &["logs", "fourth"])).await;
    complaint(&missing, 4);
    let wrong = run(&mut cluster.command("first", &["logs", "--level", "loud"])).await;
    assert_eq!(wrong.status.code(), Some(2));
    for one in [third, second, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn events_go_on_behind_a_cursor_and_none_is_told_twice() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let (first, _) = start(&cluster, "first", &[]).await;
    let before = cluster.say("first", &["events", "--json"]).await;
    let before: Vec<Value> = before.lines().map(object).collect();
    let cursor = before.last().unwrap()["cursor"].as_str().unwrap();
    let following = ["events", "--follow", "--json", "--after", cursor];
    let mut child = cluster.command("first", &following).spawn().unwrap();
    let mut lines = lines_of(&mut child);

    let token = cluster.token("first", &[]).await;
    let (second, _) = start(&cluster, "second", &["--join", &token, "--role", "worker"]).await;

    let mut heard = Vec::new();
    while heard
        .last()
        .is_none_or(|it: &Value| it["name"] != "node-joined")
    {
        heard.push(next_object(&mut lines).await);
    }
    let again = cluster
        .say("first", &["events", "--json", "--after", cursor])
        .await;
    let again: Vec<Value> = again.lines().map(object).collect();
    assert_eq!(again[..heard.len()], heard[..]);
    assert!(heard.iter().all(|it| !before.contains(it)), "{heard:?}");
    let behind = heard.last().unwrap()["cursor"].as_str().unwrap();
    let rest = cluster
        .say("first", &["events", "--json", "--after", behind])
        .await;
    assert!(
        !rest.lines().map(object).any(|it| heard.contains(&it)),
        "{rest}"
    );
    let shown = cluster.say("first", &["events"]).await;
    assert!(shown.contains("convoke events --after "), "{shown}");
    // A cursor of another life is gone, and that is said.
    let lost = cluster
        .say("first", &["events", "--json", "--after", "999.1"])
        .await;
    assert_eq!(
        object(lost.lines().next().unwrap())["resync"],
        true,
        "{lost}"
    );
    child.kill().await.unwrap();
    for one in [second, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn a_context_asks_over_the_network_as_far_as_its_token_goes_and_the_audit_says_who_it_was() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let (first, url) = start(&cluster, "first", &[]).await;
    let admin = api_token(&cluster, "admin", "boss").await;
    let read = api_token(&cluster, "read", "looker").await;
    let text = |made: &Value| made["token"].as_str().unwrap().to_owned();

    // From a variable, from a file, and from the input.
    let adding = |name: &str| {
        let what = ["context", "add", name, "--url", &url];
        elsewhere(&cluster, &what)
    };
    said(adding("boss").env("CONVOKE_API_TOKEN", text(&admin))).await;
    let file = cluster.home("secret");
    std::fs::write(&file, text(&read)).unwrap();
    said(
        adding("looker")
            .arg("--token")
            .arg(format!("@{}", file.display())),
    )
    .await;
    let mut input = adding("stranger");
    let mut child = input.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"cvk1nobody\n").await.unwrap();
    drop(pipe);
    assert!(child.wait().await.unwrap().success());
    let kept = cluster.home("config").join("convoke/contexts.json");
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let twice = run(adding("boss").env("CONVOKE_API_TOKEN", "x")).await;
    assert!(complaint(&twice, 1).contains("--replace"));

    // A scope is as far as it goes.
    let make = [
        "api-token",
        "create",
        "--scope",
        "read",
        "--name",
        "made-by-boss",
    ];
    let refused = run(elsewhere(&cluster, &make).args(["--context", "looker"])).await;
    let why = complaint(&refused, 1);
    assert!(why.contains("admin"), "{why}");
    let looking = ["status", "--json", "--context", "looker"];
    let looked = run(&mut elsewhere(&cluster, &looking)).await;
    let looked = String::from_utf8(looked.stdout).unwrap();
    assert_eq!(object(looked.trim())["node_name"], "first");
    let wrong = run(elsewhere(&cluster, &["status"]).env("CONVOKE_CONTEXT", "stranger")).await;
    let why = complaint(&wrong, 1);
    assert!(
        why.contains("the token of the context stranger does not count"),
        "{why}"
    );

    // The one in use, and back to this machine.
    said(&mut elsewhere(&cluster, &["context", "use", "boss"])).await;
    said(&mut elsewhere(&cluster, &make)).await;
    let audit = said(&mut elsewhere(&cluster, &["audit", "--json"])).await;
    let entries: Vec<Value> = audit.lines().map(object).collect();
    let made = entries.iter().rfind(|it| it["who"] == "boss").unwrap();
    assert_eq!(made["outcome"], "done", "{made}");
    assert!(
        made["from"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{made}"
    );
    assert!(
        made["revision"].is_u64() && made["unix_ms"].is_u64(),
        "{made}"
    );
    let shown = said(&mut elsewhere(&cluster, &["audit", "--limit", "1"])).await;
    assert_eq!(shown.lines().count(), 2, "{shown}");

    // Tokens that were made can be seen and revoked; which counts at once.
    let listed = said(&mut elsewhere(&cluster, &["api-token", "ls", "--json"])).await;
    assert!(!listed.contains(&text(&read)), "secrets are shown once");
    let tokens: Vec<Value> = listed.lines().map(object).collect();
    let looker = tokens.iter().find(|it| it["name"] == "looker").unwrap();
    let id = looker["id"].as_str().unwrap();
    assert_eq!(read["id"], id);
    said(&mut elsewhere(&cluster, &["api-token", "revoke", id])).await;
    let over = run(&mut elsewhere(&cluster, &["status", "--context", "looker"])).await;
    assert!(complaint(&over, 1).contains("does not count"));

    // The node makes itself another issuer, whoever asks it to.
    let before = cluster.say("first", &["issuer", "ls", "--json"]).await;
    said(&mut elsewhere(&cluster, &["issuer", "rotate"])).await;
    let after = cluster.say("first", &["issuer", "ls", "--json"]).await;
    let (before, after) = (before.lines().count(), after.lines().count());
    assert!(after > before, "{before} issuers before, {after} after");

    said(&mut elsewhere(&cluster, &["context", "use", "local"])).await;
    let here = run(&mut elsewhere(&cluster, &["status"])).await;
    assert!(complaint(&here, 1).contains("there is no node in"));
    said(&mut elsewhere(&cluster, &["context", "rm", "looker"])).await;
    let listed = said(&mut elsewhere(&cluster, &["context", "ls"])).await;
    assert!(
        listed.contains("boss") && !listed.contains("looker"),
        "{listed}"
    );
    let gone = run(&mut elsewhere(&cluster, &["status", "--context", "looker"])).await;
    assert!(complaint(&gone, 1).contains("there is no context looker"));
    first.stop().await;
    let gone = run(&mut elsewhere(&cluster, &["status", "--context", "boss"])).await;
    assert!(complaint(&gone, 1).contains("nobody answers at http://127.0.0.1:"));
}

#[tokio::test]
async fn with_tls_a_context_asks_whom_it_was_told_to_trust_and_nobody_else() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (cluster.home("cert.pem"), cluster.home("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let tls = ["--api-tls-cert", certificate, "--api-tls-key", key];
    let (first, url) = start(&cluster, "first", &tls).await;
    assert!(url.starts_with("https://"), "{url}");
    let token = api_token(&cluster, "read", "looker").await;
    let token = token["token"].as_str().unwrap();
    let elsewhere_made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = cluster.home("other.pem");
    std::fs::write(&other, elsewhere_made.cert.pem()).unwrap();
    let other = other.to_str().unwrap();
    let by_name = url.replace("127.0.0.1", "localhost");
    for (name, url, ca) in [
        ("right", &url, certificate),
        ("other", &url, other),
        ("named", &by_name, certificate),
    ] {
        let what = ["context", "add", name, "--url", url, "--ca", ca];
        said(elsewhere(&cluster, &what).env("CONVOKE_API_TOKEN", token)).await;
    }

    let asking = ["events", "--json", "--context"];
    let heard = said(elsewhere(&cluster, &asking).arg("right")).await;
    assert!(heard.lines().map(object).count() > 0);
    for (name, says) in [
        ("other", "--ca"),
        ("named", "a name that its certificate has"),
    ] {
        let refused = run(elsewhere(&cluster, &asking).arg(name)).await;
        let why = complaint(&refused, 1);
        assert!(
            why.contains("is not trusted") && why.contains(says),
            "{why}"
        );
    }
    first.stop().await;
}

#[tokio::test]
async fn contexts_that_could_not_be_asked_safely_are_not_kept() {
    let cluster = Cluster::new();
    for (more, code, says) in [
        (
            &["far", "--url", "http://10.0.0.5:4780"][..],
            2,
            "without TLS",
        ),
        (&["far", "--url", "https://10.0.0.5"], 2, "PORT"),
        (&["local", "--url", "http://127.0.0.1:1"], 2, "this machine"),
        (&["near", "--url", "http://127.0.0.1:1"], 1, "no token"),
        (
            &[
                "near",
                "--url",
                "http://127.0.0.1:1",
                "--token",
                "cvk1secret",
            ],
            2,
            "@FILE",
        ),
        (
            &[
                "near",
                "--url",
                "https://127.0.0.1:1",
                "--ca",
                "/no/such/file",
            ],
            1,
            "/no/such/file",
        ),
    ] {
        let what = [&["context", "add"][..], more].concat();
        let refused = run(&mut elsewhere(&cluster, &what)).await;
        let errors = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(code), "{more:?}: {errors}");
        assert!(errors.contains(says), "{more:?}: {errors}");
    }
    assert!(!cluster.home("config").exists());
}
