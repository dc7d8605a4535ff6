//! RPC services over HTTP as programs use them: a real node, a worker in this process that offers a service in its cluster, and who asks the node's
//! API. Also with a generated client in Python, where there is one.

#[path = "cabinet.rpc.rs"]
#[expect(
    unreachable_pub,
    reason = "definitions are written for whoever includes them"
)]
mod cabinet;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use convoke_driver::{Gossip, Offer, Params, Settings};
use convoke_rpc::identity::Development;
use convoke_rpc::{Carriers, Context, Endpoint, Limits, NoError, RoleSet, Server, Streaming};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

use self::cabinet::{Cabinet, CabinetError, CabinetServer, Drawer, Everything};
use crate::nodes::{Nodes, until};
use crate::{PATIENCE, STAGE, convoke, run};

const DEFINITION: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/bridge/cabinet.rpc.rs"
);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/bridge/client.py");

/// Says how many calls are being handled that end only when they are given up.
#[derive(Clone)]
struct Keeper(watch::Sender<u64>);

struct Held(watch::Sender<u64>);

impl Keeper {
    fn hold(&self) -> Held {
        self.0.send_modify(|held| *held += 1);
        Held(self.0.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}

impl Cabinet for Keeper {
    async fn echo(&self, all: Everything) -> Result<Everything, CabinetError> {
        Ok(all)
    }

    async fn open(&self, drawer: Drawer) -> Result<String, CabinetError> {
        match drawer.row {
            0..=3 => Ok(format!("{} in {}", drawer.label, drawer.row)),
            9 => Err(CabinetError::Locked),
            asked => Err(CabinetError::NoDrawer {
                asked,
                highest: u128::MAX,
            }),
        }
    }

    async fn count(&self, to: u64) -> Result<Streaming<u64, CabinetError>, CabinetError> {
        if to == u64::MAX {
            return Err(CabinetError::Locked);
        }
        // Beyond what it counts to, it breaks, and soon.
        let (most, breaks) = if to > 100_000 { (5, true) } else { (to, false) };
        let end = breaks.then_some(Err(CabinetError::Locked));
        let items = (0..most).map(Ok).chain(end);
        Ok(Streaming::from_stream(futures_util::stream::iter(items)))
    }

    async fn fill(&self, numbers: Streaming<u64>) -> Result<u64, NoError> {
        Ok(numbers.count().await as u64)
    }

    async fn wait(&self) -> Result<(), NoError> {
        let _held = self.hold();
        std::future::pending().await
    }

    async fn drip(&self) -> Result<Streaming<u8>, NoError> {
        let held = self.hold();
        let drops = futures_util::stream::unfold((true, held), |(first, held)| async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Some((Ok(1), (false, held)))
        });
        Ok(Streaming::from_stream(drops))
    }

    async fn left(&self, ctx: &Context) -> Result<u64, NoError> {
        let left = ctx.time_left().unwrap_or_default().as_millis();
        Ok(u64::try_from(left).unwrap())
    }

    async fn who(&self, ctx: &Context) -> Result<String, NoError> {
        Ok(ctx.caller().to_string())
    }

    async fn pass(&self) -> Result<(), NoError> {
        Ok(())
    }
}

/// A member of the nodes' cluster that offers the service.
struct Worker {
    endpoint: Endpoint,
    gossip: Gossip,
    server: Server,
    held: watch::Sender<u64>,
}

impl Worker {
    async fn join(nodes: &Nodes, net: u8, with_reflection: bool, offer: &Offer) -> Self {
        let cluster = Development::in_dir(nodes.development()).unwrap();
        let endpoint = Endpoint::bind_with(
            Carriers::Both,
            SocketAddr::from(([127, 92, net, 100], 0)),
            cluster.identity(RoleSet::ALL),
            cluster.trust(),
            Limits::default(),
        )
        .unwrap();
        let settings = Settings {
            seeds: vec![nodes.address(0).parse().unwrap()],
            ..Settings::new(endpoint.clone(), Params::local())
        };
        let gossip = Gossip::start(settings).await.unwrap();
        let held = watch::Sender::new(0);
        let mut server = Server::builder().service(CabinetServer::new(Keeper(held.clone())));
        if with_reflection {
            server = server.reflection();
        }
        let server = server.serve(&endpoint).unwrap();
        gossip.offer("Cabinet", offer).await.unwrap();
        Self {
            endpoint,
            gossip,
            server,
            held,
        }
    }

    async fn holds(&self, count: u64) {
        let mut held = self.held.subscribe();
        let come = held.wait_for(|held| *held == count);
        let come = timeout(PATIENCE, come).await;
        come.unwrap_or_else(|_| panic!("it never held {count}"))
            .unwrap();
    }

    async fn stop(self) {
        self.gossip.leave().await;
        self.server.shutdown(Duration::from_secs(1)).await;
        self.endpoint.close().await;
    }
}

fn socket(nodes: &Nodes) -> PathBuf {
    nodes.home(0).join("api.sock")
}

/// An answer: its status, its head in small letters, and its body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn says(&self, status: u16, code: &str) -> String {
        let problem = self.json();
        assert_eq!(
            (self.status, &problem["code"]),
            (status, &json!(code)),
            "{}",
            self.body
        );
        format!("{} ({})", problem["detail"], problem["what_to_do"])
    }
}

async fn begin(socket: &Path, method: &str, target: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn ask(socket: &Path, method: &str, target: &str, body: &str) -> Answer {
    let mut stream = begin(socket, method, target, body).await;
    let mut text = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut text)).await;
    read.expect("it answers").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

async fn call(nodes: &Nodes, method: &str, body: &str) -> Answer {
    ask(&socket(nodes), "POST", &format!("/v1/rpc/{method}"), body).await
}

/// Until the node has heard of the service, with so many instances.
async fn offered(nodes: &Nodes, instances: u64) {
    let socket = &socket(nodes);
    until("the API is served", || async {
        UnixStream::connect(socket).await.is_ok()
    })
    .await;
    until("the service is known", || async {
        let told = ask(socket, "GET", "/v1/instances", "").await;
        told.status == 200
            && told.json()["items"][0]["serving"] == instances
            && told.json()["items"][0]["name"] == "Cabinet"
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_offered_is_called_over_http_at_any_node() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::growing(85).await;
    let offer = Offer {
        version: "1.2.0".to_owned(),
        ..Offer::default()
    };
    let worker = Worker::join(&nodes, 85, true, &offer).await;
    offered(&nodes, 1).await;
    let node = nodes.node(0).started["node"].clone();

    // Answers, and the errors of methods.
    let found = call(&nodes, "Cabinet/open", r#"{"label": "Löffel", "row": 3}"#).await;
    assert_eq!((found.status, &*found.body), (200, r#""Löffel in 3""#));
    assert!(
        found.head.contains("content-type: application/json"),
        "{}",
        found.head
    );
    let none = call(&nodes, "Cabinet/open", r#"{"label": "", "row": 4}"#).await;
    none.says(422, "app-error");
    let own =
        r#""error":{"NoDrawer":{"asked":4,"highest":340282366920938463463374607431768211455}}"#;
    assert!(none.body.contains(own), "{}", none.body);

    // Bad requests: what is wrong, where, and what there is instead.
    let bad = |target: &'static str, body: &'static str| {
        let nodes = &nodes;
        async move { call(nodes, target, body).await }
    };
    let broken = bad("Cabinet/open", "{\"row\":").await.says(400, "bad-json");
    assert!(broken.contains("line 1, column 7"), "{broken}");
    let wrong = bad("Cabinet/open", r#"{"label": "", "row": 300}"#).await;
    let wrong = wrong.says(422, "bad-field");
    assert!(
        wrong.contains("$.row: invalid value: integer `300`, expected u8"),
        "{wrong}"
    );
    let missing = bad("Cabinet/open", r#"{"row": 3}"#)
        .await
        .says(422, "bad-field");
    assert!(missing.contains("$: missing field `label`"), "{missing}");
    let method = bad("Cabinet/opn", "1").await.says(404, "not-found");
    assert!(method.contains("it has: echo, open, count"), "{method}");
    let service = bad("Cabinett/open", "1").await.says(404, "not-found");
    assert!(service.contains("there are: Cabinet"), "{service}");
    let inner = bad("convoke.Inspect/tell", "null")
        .await
        .says(404, "not-found");
    assert!(inner.contains("no instance"), "{inner}");
    let stream = bad("Cabinet/fill", "1").await.says(422, "not-over-http");
    assert!(stream.contains("convoke rpc call"), "{stream}");
    let selector = bad("Cabinet/who?selector=zone+%3D", "")
        .await
        .says(400, "bad-parameter");
    assert!(selector.contains("`selector`: at character"), "{selector}");
    let nobody = bad("Cabinet/who?selector=zone+%3D+mars", "").await;
    nobody.says(503, "unavailable");
    assert!(nobody.head.contains("retry-after: 1"), "{}", nobody.head);
    bad("Cabinet/pass", "").await.says(403, "forbidden");
    let late = bad("Cabinet/wait?timeout_ms=200", "")
        .await
        .says(504, "outcome-unknown");
    assert!(late.contains("idempotent: ask again"), "{late}");
    worker.holds(0).await;

    // The deadline goes along, and the node calls as itself.
    let left: u64 = bad("Cabinet/left?timeout_ms=60000", "")
        .await
        .body
        .parse()
        .unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    let left: u64 = bad("Cabinet/left", "").await.body.parse().unwrap();
    assert!((1..=30_000).contains(&left), "{left}");
    let who = bad("Cabinet/who?selector=version+%3E%3D+1.2", "").await;
    assert_eq!(who.json(), node);

    // Streams, and what ends them.
    let counted = bad("Cabinet/count", "3").await;
    assert!(
        counted.head.contains("text/event-stream"),
        "{}",
        counted.head
    );
    for says in [
        "event: item\ndata: 2\n\n",
        "event: end\ndata: {\"items\":3}\n\n",
    ] {
        assert!(counted.body.contains(says), "{}", counted.body);
    }
    let broke = bad("Cabinet/count", "100001").await.body;
    assert!(
        broke.contains("event: problem") && broke.contains("\"error\":\"Locked\""),
        "{broke}"
    );
    assert!(
        broke.contains("data: 4\n") && !broke.contains("event: end"),
        "{broke}"
    );
    bad("Cabinet/count", "18446744073709551615")
        .await
        .says(422, "app-error");

    // Who goes away ends the call at the worker.
    for target in [
        "/v1/rpc/Cabinet/wait?timeout_ms=300000",
        "/v1/rpc/Cabinet/drip",
    ] {
        let stream = begin(&socket(&nodes), "POST", target, "").await;
        worker.holds(1).await;
        drop(stream);
        worker.holds(0).await;
    }

    // What is told of the service is what stands in its definition.
    let told = ask(&socket(&nodes), "GET", "/v1/rpc/Cabinet", "")
        .await
        .json();
    assert_eq!(told["versions"], json!(["1.2.0"]));
    assert_eq!(told["doc"], "Keeps things.\n\nAnd gives them back.");
    let described = ask(&socket(&nodes), "GET", "/v1/rpc/Cabinet/openapi.json", "")
        .await
        .json();
    let from_text = openapi(&nodes.place).await;
    for place in ["/paths", "/components/schemas", "/x-not-over-http"] {
        let (running, written) = (described.pointer(place), from_text.pointer(place));
        let (running, written) = (plain(running.unwrap()), plain(written.unwrap()));
        assert_eq!(running, written, "{place}");
    }
    worker.stop().await;
    nodes.stop().await;
}

/// The document that is made of the definition.
async fn openapi(place: &TempDir) -> Value {
    let output = place.path().join("openapi");
    let mut generating = convoke(place);
    generating.args(["gen", "--lang", "openapi", DEFINITION, "--output"]);
    let said = run(generating.arg(&output)).await;
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let text = std::fs::read_to_string(output.join("cabinet.openapi.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Without documentation of types and fields, which a running program does not have, and with outcomes as the definition has them.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_schema = ["type", "oneOf", "$ref", "anyOf"]
                .iter()
                .any(|it| fields.contains_key(*it));
            let told = fields.iter().filter(|(name, value)| {
                !(is_schema && *name == "description" && value.is_string())
                    && *name != "Result_u8_String"
            });
            let told = told.map(|(name, value)| (name.clone(), plain(value)));
            let told: serde_json::Map<_, _> = told.collect();
            if told.get("$ref") == Some(&json!("#/components/schemas/Result_u8_String")) {
                return json!({"oneOf": [
                    {"type": "object", "properties": {"Ok": {"type": "integer", "minimum": 0, "maximum": 255}},
                     "required": ["Ok"], "additionalProperties": false},
                    {"type": "object", "properties": {"Err": {"type": "string"}},
                     "required": ["Err"], "additionalProperties": false},
                ]});
            }
            Value::Object(told)
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[tokio::test]
async fn instances_of_several_versions_and_some_that_say_nothing_are_lived_with() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::growing(86).await;
    // Nobody describes it: that is said, and what to do.
    let silent = Worker::join(&nodes, 86, false, &Offer::default()).await;
    offered(&nodes, 1).await;
    let not_built = call(&nodes, "Cabinet/who", "").await.says(503, "not-built");
    assert!(not_built.contains("reflection()"), "{not_built}");
    // One that does is enough to be called; what its offer tells of methods counts for those of the service alone.
    let offer = Offer {
        version: "2.0.0".to_owned(),
        methods: Some(["open", "who"].map(str::to_owned).into()),
        ..Offer::default()
    };
    let telling = Worker::join(&nodes, 87, true, &offer).await;
    offered(&nodes, 2).await;
    for _ in 0..20 {
        let who = call(&nodes, "Cabinet/who", "").await;
        assert_eq!(who.status, 200, "{}", who.body);
    }
    let told = ask(&socket(&nodes), "GET", "/v1/rpc/Cabinet", "")
        .await
        .json();
    assert_eq!(
        (&told["instances"], &told["versions"]),
        (&json!(2), &json!(["2.0.0"]))
    );
    // The last one that knows its types goes: what is known is not forgotten with it, and calls say what is wrong.
    telling.stop().await;
    offered(&nodes, 1).await;
    let gone = call(&nodes, "Cabinet/who", "").await;
    assert!([404, 503].contains(&gone.status), "{}", gone.body);
    silent.stop().await;
    offered(&nodes, 0).await;
    call(&nodes, "Cabinet/who", "")
        .await
        .says(503, "unavailable");
    nodes.stop().await;
}

/// Python, or why the test is left out; in CI it has to be there.
async fn python() -> Option<&'static str> {
    let looked = Command::new("python3").arg("--version").output().await;
    if looked.is_ok_and(|output| output.status.success()) {
        return Some("python3");
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "CI says by this variable that everything has to run, as for xtask"
    )]
    let must = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!must, "CI runs everything, and python3 is missing");
    println!("left out: python3 is missing");
    None
}

#[tokio::test]
async fn a_generated_client_in_python_says_and_hears_everything_to_the_last_digit() {
    let Some(python) = python().await else {
        return;
    };
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::growing(88).await;
    let worker = Worker::join(&nodes, 88, true, &Offer::default()).await;
    offered(&nodes, 1).await;
    let clients = nodes.place.path().join("clients");
    let mut generating = convoke(&nodes.place);
    generating.args(["gen", "--lang", "python", DEFINITION, "-o"]);
    let said = run(generating.arg(&clients)).await;
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let url = format!("unix:{}", socket(&nodes).display());
    let mut script = Command::new(python);
    script.arg(SCRIPT).arg(&clients).arg(url).kill_on_drop(true);
    let said = run(&mut script).await;
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{errors}");
    assert_eq!(said.stdout, b"all is well\n");
    // What it left off, and what it gave up, is over at the worker, too.
    worker.holds(0).await;
    worker.stop().await;
    nodes.stop().await;
}
