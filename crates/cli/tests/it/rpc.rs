//! `convoke rpc` as people run it, against a server in this process.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use convoke_rpc::identity::Development;
use convoke_rpc::{Context, Endpoint, Limits, NoError, Role, Server, ServerBuilder, Streaming};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::{PATIENCE, convoke, run};

/// Keeps a cellar.
#[convoke_rpc::service]
trait Cellar {
    /// What lies on a shelf.
    ///
    /// Not shown in the table.
    #[rpc(idempotent, deadline_ms = 1_500)]
    async fn look(&self, shelf: Shelf) -> Result<Bottle, NoSuchShelf>;
    /// Empties it. For masters.
    #[rpc(roles(master))]
    async fn empty(&self) -> Result<u32, NoError>;
    async fn watch(&self, count: u32) -> Result<Streaming<Bottle, NoSuchShelf>, NoError>;
    async fn fill(&self, bottles: Streaming<Bottle>) -> Result<u32, String>;
    async fn label(&self, bottles: Streaming<Bottle>) -> Result<Streaming<String>, NoError>;
    #[rpc(idempotent)]
    async fn caller(&self, ctx: &Context) -> Result<String, NoError>;
    async fn wait(&self) -> Result<(), NoError>;
}

#[derive(Debug, Serialize, Deserialize)]
struct Shelf {
    row: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bottle {
    wine: String,
    year: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct NoSuchShelf {
    highest: u8,
}

struct Keeper;

fn bottle(year: u64) -> Bottle {
    Bottle {
        wine: "Blau\u{9b}2J".to_owned(),
        year,
    }
}

impl Cellar for Keeper {
    async fn look(&self, shelf: Shelf) -> Result<Bottle, NoSuchShelf> {
        match shelf.row {
            0..=3 => Ok(bottle(u64::MAX)),
            _ => Err(NoSuchShelf { highest: 3 }),
        }
    }

    async fn empty(&self) -> Result<u32, NoError> {
        Ok(12)
    }

    async fn watch(&self, count: u32) -> Result<Streaming<Bottle, NoSuchShelf>, NoError> {
        let mut bottles: Vec<_> = (0..count).map(|n| Ok(bottle(u64::from(n)))).collect();
        if count > 2 {
            bottles.push(Err(NoSuchShelf { highest: 2 }));
        }
        Ok(Streaming::from_stream(futures_util::stream::iter(bottles)))
    }

    async fn fill(&self, mut bottles: Streaming<Bottle>) -> Result<u32, String> {
        let mut count = 0;
        while let Some(bottle) = bottles.next().await {
            bottle.map_err(|error| error.to_string())?;
            count += 1;
        }
        Ok(count)
    }

    async fn label(&self, bottles: Streaming<Bottle>) -> Result<Streaming<String>, NoError> {
        let labels = bottles.filter_map(async |bottle| {
            let bottle = bottle.ok()?;
            Some(Ok(format!("{} {}", bottle.wine, bottle.year)))
        });
        Ok(Streaming::from_stream(labels))
    }

    async fn caller(&self, ctx: &Context) -> Result<String, NoError> {
        Ok(ctx.caller_roles().to_string())
    }

    async fn wait(&self) -> Result<(), NoError> {
        std::future::pending().await
    }
}

/// A server, and the directory of its cluster.
struct Shop {
    place: TempDir,
    endpoint: Endpoint,
    server: Server,
}

impl Shop {
    fn open() -> Self {
        Self::with(ServerBuilder::reflection)
    }

    fn with(build: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let place = TempDir::new().unwrap();
        let cluster = Development::in_dir(place.path().join("cluster")).unwrap();
        let identity = cluster.identity(Role::Worker.into());
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let endpoint =
            Endpoint::bind(anywhere, identity, cluster.trust(), Limits::default()).unwrap();
        let server = build(Server::builder().service(CellarServer::new(Keeper)))
            .serve(&endpoint)
            .unwrap();
        Self {
            place,
            endpoint,
            server,
        }
    }

    fn cluster(&self) -> PathBuf {
        self.place.path().join("cluster")
    }

    fn address(&self) -> String {
        self.endpoint.local_address().unwrap().to_string()
    }

    /// `convoke rpc WHAT ADDRESS --development DIR …`
    async fn rpc(&self, what: &str, more: &[&str]) -> Output {
        self.rpc_in(&self.cluster(), what, more).await
    }

    async fn rpc_in(&self, cluster: &Path, what: &str, more: &[&str]) -> Output {
        run(convoke(&self.place)
            .args(["rpc", what, &self.address(), "--development"])
            .arg(cluster)
            .args(more))
        .await
    }

    /// A call whose requests come from the input.
    async fn rpc_with_input(&self, more: &[&str], input: &str) -> Output {
        let mut child = convoke(&self.place)
            .args(["rpc", "call", &self.address(), "--development"])
            .arg(self.cluster())
            .args(more)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let ended = timeout(PATIENCE, child.wait_with_output()).await;
        ended.expect("it ends").unwrap()
    }

    async fn close(self) {
        self.server.shutdown(Duration::ZERO).await;
        self.endpoint.close().await;
    }
}

fn done(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it complained of, having failed.
fn complaint(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("convoke: "), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[tokio::test]
async fn a_server_lists_what_it_offers() {
    let shop = Shop::open();

    let table = done(&shop.rpc("list", &[]).await);
    let listed = value(&done(&shop.rpc("list", &["--json"]).await));

    let node = shop.endpoint.identity().node_id().to_string();
    assert!(table.starts_with(&format!("node {node}\n")), "{table}");
    for line in [
        "Cellar: Keeps a cellar.",
        "      What lies on a shelf.",
        "convoke.Health: ",
        "convoke.Reflection: ",
    ] {
        assert!(table.lines().any(|it| it.starts_with(line)), "{table}");
    }
    let look = table.lines().find(|line| line.starts_with("  look "));
    let words: Vec<_> = look.unwrap().split_whitespace().collect();
    let expected = "look unary Shelf Bottle NoSuchShelf all idempotent, 1.5 s";
    assert_eq!(words.join(" "), expected);

    assert_eq!(listed["node"], node);
    let cellar = &listed["services"][0];
    assert_eq!(cellar["name"], "Cellar");
    let expected = json!({
        "name": "Cellar.empty", "kind": "unary", "request": "()", "answer": "u32", "error": "NoError",
        "idempotent": false, "deadline_ms": null, "callers": ["master"], "doc": "Empties it. For masters.",
        "resumption": null
    });
    assert_eq!(cellar["methods"][1], expected);
    shop.close().await;
}

#[tokio::test]
async fn a_call_prints_its_answer_and_keeps_every_digit() {
    let shop = Shop::open();
    for carrier in ["auto", "quic", "tcp"] {
        let arguments = ["--carrier", carrier, "Cellar.look", r#"{"row": 3}"#];
        let said = done(&shop.rpc("call", &arguments).await);
        let expected = "{\"wine\":\"Blau\\u009b2J\",\"year\":18446744073709551615}\n";
        assert_eq!(said, expected, "{carrier}");
    }
    let said = shop
        .rpc("call", &["--json", "Cellar.look", r#"{"row": 3}"#])
        .await;
    assert_eq!(
        value(&done(&said)),
        json!({"answer": {"wine": "Blau\u{9b}2J", "year": u64::MAX}})
    );
    let said = shop.rpc_with_input(&["Cellar.look", "-"], "{\n\"row\": 1\n}\n");
    assert_eq!(value(&done(&said.await))["year"], u64::MAX);
    shop.close().await;
}

#[tokio::test]
async fn a_refusal_is_the_methods_own_error_and_fails() {
    let shop = Shop::open();
    let refused = shop.rpc("call", &["Cellar.look", r#"{"row":9}"#]).await;
    assert_eq!(
        complaint(&refused),
        "convoke: Cellar.look refused: {\"highest\":3}\n"
    );
    assert_eq!(refused.stdout, b"");

    let refused = shop
        .rpc("call", &["--json", "Cellar.look", r#"{"row":9}"#])
        .await;
    complaint(&refused);
    let said = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(value(&said), json!({"error": {"highest": 3}}));
    shop.close().await;
}

#[tokio::test]
async fn the_roles_one_comes_with_count() {
    let shop = Shop::open();
    let forbidden = shop
        .rpc("call", &["--json", "--roles", "worker", "Cellar.empty"])
        .await;
    let why = complaint(&forbidden);
    assert!(why.contains("forbidden: Cellar.empty"), "{why}");
    let said = value(&String::from_utf8(forbidden.stdout).unwrap());
    assert_eq!(said["problem"]["code"], "forbidden");

    let emptied = shop
        .rpc("call", &["--roles", "worker+master", "Cellar.empty"])
        .await;
    assert_eq!(done(&emptied), "12\n");
    let caller = shop
        .rpc("call", &["--roles", "gateway", "Cellar.caller"])
        .await;
    assert_eq!(done(&caller), "\"gateway\"\n");
    shop.close().await;
}

#[tokio::test]
async fn streams_go_both_ways_a_line_a_message() {
    let shop = Shop::open();

    let watched = done(&shop.rpc("call", &["Cellar.watch", "2"]).await);
    let years: Vec<_> = watched
        .lines()
        .map(|line| value(line)["year"].clone())
        .collect();
    assert_eq!(years, [0, 1]);

    let broken = shop.rpc("call", &["--json", "Cellar.watch", "3"]).await;
    assert!(complaint(&broken).contains("refused: {\"highest\":2}"));
    let said = String::from_utf8(broken.stdout).unwrap();
    let last = value(said.lines().last().unwrap());
    assert_eq!(
        (said.lines().count(), last),
        (4, json!({"error": {"highest": 2}}))
    );

    let bottles = "{\"wine\":\"a\",\"year\":1}\n\n{\"year\":2,\"wine\":\"b\"}";
    let filled = shop.rpc_with_input(&["Cellar.fill"], bottles).await;
    assert_eq!(done(&filled), "2\n");
    let none = shop.rpc_with_input(&["Cellar.fill", "-"], "").await;
    assert_eq!(done(&none), "0\n");
    let one = shop
        .rpc("call", &["Cellar.fill", r#"{"wine":"a","year":1}"#])
        .await;
    assert_eq!(done(&one), "1\n");

    let labelled = shop
        .rpc_with_input(&["--json", "Cellar.label"], bottles)
        .await;
    assert_eq!(done(&labelled), "{\"item\":\"a 1\"}\n{\"item\":\"b 2\"}\n");
    shop.close().await;
}

#[tokio::test]
async fn a_line_that_is_no_request_breaks_the_call_off() {
    let shop = Shop::open();
    let bottles = "{\"wine\":\"a\",\"year\":1}\n{\"wine\":\"b\"}\n";
    let broken = shop.rpc_with_input(&["Cellar.fill"], bottles).await;
    let why = complaint(&broken);
    assert!(
        why.contains("request 2: Cellar.fill takes Streaming<Bottle>"),
        "{why}"
    );
    assert!(why.contains("missing field `year` at line 1"), "{why}");
    assert_eq!(broken.stdout, b"", "an answer would be about half of them");
    shop.close().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_was_meant() {
    let shop = Shop::open();
    let says = async |arguments: &[&str], words: &str| {
        let why = complaint(&shop.rpc("call", arguments).await);
        assert!(why.contains(words), "{why} has no {words}");
    };
    says(&["Cellar.lok"], "did you mean Cellar.look?").await;
    says(&["fill"], "did you mean Cellar.fill?").await;
    says(&["Weather.tomorrow"], "convoke rpc ls").await;
    says(
        &["Cellar.look", "{\"row\":\n \"one\"}"],
        "takes Shelf: this JSON is no request: invalid type: string \"one\", expected u8 at line 2 column 6",
    )
    .await;
    says(&["Cellar.look", "{"], "EOF while parsing an object").await;
    says(&["Cellar.look"], "invalid type: null").await;
    says(&["--timeout", "50ms", "Cellar.wait"], "deadline-exceeded").await;
    let stranger = Development::new().identity(Role::Worker.into()).node_id();
    let stranger = stranger.to_string();
    says(&["--node", &stranger, "Cellar.caller"], "reach 127.0.0.1").await;

    let elsewhere = shop.place.path().join("nothing");
    let lost = shop.rpc_in(&elsewhere, "list", &[]).await;
    let why = complaint(&lost);
    assert!(why.contains("no development cluster in"), "{why}");
    assert!(!elsewhere.exists(), "looking does not make one");
    shop.close().await;
}

#[tokio::test]
async fn a_server_without_reflection_says_how_to_switch_it_on() {
    let shop = Shop::with(|server| server);
    let why = complaint(&shop.rpc("list", &[]).await);
    assert!(why.contains("Server::builder().reflection()"), "{why}");
    shop.close().await;
}

#[tokio::test]
async fn a_bench_says_how_many_and_how_long() {
    let shop = Shop::open();
    let arguments = ["--calls", "500", "--concurrency", "8", "--connections", "2"];
    let request = ["Cellar.look", r#"{"row":1}"#];

    let json = done(
        &shop
            .rpc("bench", &[&arguments[..], &request, &["--json"]].concat())
            .await,
    );
    let summary = value(json.lines().last().unwrap());
    assert_eq!(summary["kind"], "summary");
    assert_eq!(summary["answered"], 500);
    assert_eq!(summary["failed"], json!({}));
    let latency = |name: &str| summary[name].as_u64().unwrap();
    assert!(latency("p50_us") <= latency("p99_us") && latency("p99_us") <= latency("max_us"));

    let text = done(
        &shop
            .rpc("bench", &[&arguments[..], &request].concat())
            .await,
    );
    assert!(
        text.starts_with("Cellar.look: 500 calls answered in "),
        "{text}"
    );
    assert!(text.contains("\nlatency: p50 "), "{text}");

    let refused = shop
        .rpc(
            "bench",
            &["--calls", "20", "--json", "Cellar.look", r#"{"row":9}"#],
        )
        .await;
    assert!(complaint(&refused).contains("no call was answered"));
    let said = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(
        value(said.lines().last().unwrap())["failed"],
        json!({"app-error": 20})
    );

    let streams = shop.rpc("bench", &["Cellar.watch", "1"]).await;
    assert!(complaint(&streams).contains("only unary methods"));
    shop.close().await;
}

#[tokio::test]
async fn a_bench_ends_in_time() {
    let shop = Shop::open();
    let bench = shop
        .rpc("bench", &["--duration", "300ms", "--json", "Cellar.caller"])
        .await;
    let said = done(&bench);
    let summary = value(said.lines().last().unwrap());
    assert!(summary["answered"].as_u64().unwrap() > 0, "{summary}");
    shop.close().await;
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_refused() {
    let place = TempDir::new().unwrap();
    for arguments in [
        &["rpc"][..],
        &["rpc", "list"],
        &["rpc", "list", "127.0.0.1", "--development", "x"],
        &["rpc", "call", "127.0.0.1:1", "--development", "x"],
        &[
            "rpc",
            "bench",
            "127.0.0.1:1",
            "A.b",
            "--development",
            "x",
            "--duration",
            "2h",
        ],
        &[
            "rpc",
            "list",
            "127.0.0.1:1",
            "--development",
            "x",
            "--roles",
            "king",
        ],
        &[
            "rpc",
            "list",
            "127.0.0.1:1",
            "--development",
            "x",
            "--node",
            "me",
        ],
    ] {
        let output = run(convoke(&place).args(arguments)).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn an_interrupted_call_is_over_for_the_server_too() {
    let shop = Shop::open();
    let call = convoke(&shop.place)
        .args(["rpc", "call", &shop.address(), "--development"])
        .arg(shop.cluster())
        .arg("Cellar.wait")
        .spawn()
        .unwrap();
    until(|| shop.server.running_calls() == 1).await;

    let pid = Pid::from_raw(call.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();

    let ended = timeout(PATIENCE, call.wait_with_output()).await;
    done(&ended.expect("it ends").unwrap());
    until(|| shop.server.running_calls() == 0).await;
    shop.close().await;
}

/// Waits for a state.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await; // tidy: between two looks at a state, with a deadline
        }
    };
    timeout(PATIENCE, waiting).await.expect("it becomes so");
}

#[tokio::test]
async fn a_call_that_is_over_does_not_wait_for_more_input() {
    let shop = Shop::open();
    let mut call = convoke(&shop.place)
        .args(["rpc", "call", &shop.address(), "--development"])
        .arg(shop.cluster())
        .arg("Cellar.fill")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = call.stdin.take().unwrap();
    input.write_all(b"{\"wine\":1}\n").await.unwrap();

    let ended = timeout(PATIENCE, call.wait_with_output()).await;
    let why = complaint(&ended.expect("it ends").unwrap());
    assert!(why.contains("read request 1"), "{why}");
    drop(input);
    shop.close().await;
}
