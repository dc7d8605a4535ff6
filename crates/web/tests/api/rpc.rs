//! RPC services over HTTP, with a backend in memory: what it is asked, what becomes of its answers, and who may ask.

use std::time::Duration;

use convoke_trial::random::Random;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::memory::PATIENCE;
use crate::schema;
use crate::world::{Answer, World, generous};

const GREET: &str = "/v1/rpc/Greeter/greet";
const COUNT: &str = "/v1/rpc/Greeter/count";

/// The events of a stream: names and data.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    assert_eq!(answer.media(), "text/event-stream", "{answer:?}");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let blocks = text
        .split("\n\n")
        .filter(|block| block.starts_with("event: "));
    let read = |block: &str| {
        let (name, data) = block.split_once('\n').expect("two lines");
        let data = data.strip_prefix("data: ").expect("data");
        let name = name.strip_prefix("event: ").expect("a name");
        (name.to_owned(), serde_json::from_str(data).expect("JSON"))
    };
    blocks.map(read).collect()
}

#[tokio::test]
async fn a_call_is_handed_on_as_it_was_asked_and_its_answer_as_it_came() {
    let world = World::new().await;
    let query = "selector=zone%20%3D%20eu&key=a%2Fb&timeout_ms=1500";
    let body = r#" {"a": 340282366920938463463374607431768211455, "b": "\u00e9é"}"#;
    let bearer = [
        ("authorization", "Bearer operate"),
        ("content-type", "application/json"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let answer = world
        .ask(
            "POST",
            &format!("{GREET}?{query}"),
            &bearer,
            body.as_bytes(),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.media(), "application/json");
    // Not a digit is lost on the way.
    assert_eq!(answer.body, format!("[{body}]"));
    let (by, call) = world.memory.called.lock().take().expect("a call");
    assert_eq!(by.principal.name, "operate");
    assert_eq!((&*call.service, &*call.method), ("Greeter", "greet"));
    assert_eq!(call.selector.as_deref(), Some("zone = eu"));
    assert_eq!(call.key.as_deref(), Some("a/b"));
    assert_eq!(call.timeout, Some(Duration::from_millis(1_500)));
    assert!(call.trace.is_some_and(|trace| trace.starts_with("00-0af7")));
    // A method without a request is sent nothing, or null.
    world.ask_as("operate", "POST", GREET, Some("")).await;
    let (_, call) = world.memory.called.lock().take().expect("a call");
    assert_eq!((&*call.request, call.timeout), ("null", None));
}

#[tokio::test]
async fn calling_takes_more_than_reading() {
    let world = World::new().await;
    let answer = world.ask_as("read", "POST", GREET, Some("7")).await;
    assert_eq!((answer.status, &*answer.code()), (403, "forbidden"));
    assert!(world.memory.called.lock().is_none());
    for target in [
        "/v1/instances",
        "/v1/rpc/Greeter",
        "/v1/rpc/Greeter/openapi.json",
    ] {
        let answer = world.ask_as("read", "GET", target, None).await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_before_anybody_is_called() {
    let world = World::new().await;
    for (target, body, status, code, words) in [
        (
            GREET.to_owned(),
            "{\n\"a\":}",
            400,
            "bad-json",
            "line 2, column 5",
        ),
        (GREET.to_owned(), "1 2", 400, "bad-json", "trailing"),
        (
            format!("{GREET}?timeout_ms=0"),
            "1",
            400,
            "bad-parameter",
            "timeout_ms",
        ),
        (
            format!("{GREET}?timeout_ms=300001"),
            "1",
            400,
            "bad-parameter",
            "timeout_ms",
        ),
        (
            format!("{GREET}?slector=a"),
            "1",
            400,
            "unknown-parameter",
            "slector",
        ),
    ] {
        let answer = world.ask_as("operate", "POST", &target, Some(body)).await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (status, code),
            "{target} {body}"
        );
        assert!(
            answer.json()["detail"].as_str().unwrap().contains(words),
            "{answer:?}"
        );
    }
    let long = format!("\"{}\"", "x".repeat(convoke_web::rpc::REQUEST_BYTES));
    let answer = world.ask_as("operate", "POST", GREET, Some(&long)).await;
    assert_eq!(answer.code(), "too-large");
    let fits = format!("\"{}\"", "x".repeat(convoke_web::rpc::REQUEST_BYTES - 2));
    world.memory.called.lock().take();
    let answer = world.ask_as("operate", "POST", GREET, Some(&fits)).await;
    assert_eq!(answer.status, 200);
    world.memory.called.lock().take();
    let octets = [
        ("authorization", "Bearer operate"),
        ("content-type", "text/plain"),
    ];
    let answer = world.ask("POST", GREET, &octets, b"1").await;
    assert_eq!(answer.code(), "unsupported-media-type");
    let json = [
        ("authorization", "Bearer operate"),
        ("content-type", "application/json"),
    ];
    let answer = world.ask("POST", GREET, &json, b"\"\xff\"").await;
    assert_eq!(answer.code(), "bad-json");
    assert!(world.memory.called.lock().is_none(), "nobody was called");
}

#[tokio::test]
async fn what_the_backend_says_no_with_is_a_problem_of_its_own() {
    let world = World::new().await;
    let own = world.ask_as("operate", "POST", GREET, Some("1")).await;
    assert_eq!((own.status, &*own.code()), (422, "app-error"));
    let text = String::from_utf8_lossy(&own.body).into_owned();
    // The error stands there as it came, to the last digit.
    assert!(
        text.contains(r#""error":{"Nobody":{"asked":340282366920938463463374607431768211455}}}"#),
        "{text}"
    );
    let busy = world.ask_as("operate", "POST", GREET, Some("2")).await;
    assert_eq!((busy.status, &*busy.code()), (503, "overloaded"));
    assert_eq!(busy.header("retry-after"), Some("3"));
    let unknown = world
        .ask_as("operate", "POST", "/v1/rpc/Greeter/grt", Some("2"))
        .await;
    assert_eq!(unknown.code(), "not-found");
    assert!(
        unknown.json()["what_to_do"]
            .as_str()
            .unwrap()
            .contains("greet, count, sum")
    );
    let sum = world
        .ask_as("operate", "POST", "/v1/rpc/Greeter/sum", Some("2"))
        .await;
    assert_eq!((sum.status, &*sum.code()), (422, "not-over-http"));
}

#[tokio::test]
async fn answers_that_are_a_stream_come_as_events_and_the_end_is_said() {
    let world = World::new().await;
    let answer = world.ask_as("operate", "POST", COUNT, Some("200")).await;
    assert_eq!(answer.status, 200);
    let heard = events(&answer);
    let (end, items) = heard.split_last().expect("an end");
    assert_eq!(end, &("end".to_owned(), json!({"items": 200})));
    for (at, item) in items.iter().enumerate() {
        assert_eq!(item, &("item".to_owned(), json!(at)));
    }
    assert_eq!(items.len(), 200);
    let answer = world.ask_as("operate", "POST", COUNT, Some("13")).await;
    let heard = events(&answer);
    let names: Vec<&str> = heard.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["item", "item", "item", "item", "item", "problem"]);
    let problem = &heard[5].1;
    assert_eq!(
        (&problem["code"], &problem["error"]),
        (&json!("app-error"), &json!("odd"))
    );
}

/// A stream that goes on, read until five items are here.
async fn open(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.expect("connect");
    let head = format!(
        "POST {COUNT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer operate\r\n\
         content-type: application/json\r\ncontent-length: 4\r\n\r\n1000"
    );
    stream.write_all(head.as_bytes()).await.expect("send");
    let mut heard = String::new();
    while !heard.contains("data: 4\n") {
        let mut piece = [0; 4_096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut piece));
        let read = read.await.expect("in time").expect("it goes on");
        assert!(read > 0, "it ended: {heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    stream
}

async fn given_up(world: &World, count: u64) {
    let mut watch = world.memory.given_up.subscribe();
    let given_up = watch.wait_for(|given_up| *given_up >= count);
    let given_up = tokio::time::timeout(PATIENCE, given_up).await;
    given_up
        .expect("the backend hears of it")
        .expect("it is there");
}

#[tokio::test]
async fn who_goes_away_ends_the_call() {
    let world = World::new().await;
    let stream = open(&world).await;
    assert_eq!(*world.memory.given_up.borrow(), 0);
    drop(stream);
    given_up(&world, 1).await;
}

#[tokio::test]
async fn streams_of_answers_are_bounded_and_end_with_the_token_and_with_the_node() {
    let mut settings = generous();
    settings.limits.streams = 1;
    settings.limits.keep_alive = Duration::from_millis(20);
    let world = World::with(settings).await;
    let mut stream = open(&world).await;
    let refused = world.ask_as("operate", "POST", COUNT, Some("3")).await;
    assert_eq!((refused.status, &*refused.code()), (429, "too-many"));
    world.memory.revoke("operate");
    let mut rest = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut rest));
    read.await.expect("in time").expect("it ends in order");
    assert!(
        rest.contains("event: problem") && rest.contains("unauthenticated"),
        "{rest}"
    );
    given_up(&world, 2).await;

    let world = World::new().await;
    let mut stream = open(&world).await;
    world.stop().await;
    let mut rest = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut rest));
    read.await.expect("in time").expect("it ends in order");
    assert!(rest.contains("outcome-unknown"), "{rest}");
}

#[tokio::test]
async fn a_service_is_described_for_generators_of_clients() {
    let world = World::new().await;
    let listed = world
        .ask_as("read", "GET", "/v1/instances", None)
        .await
        .json();
    assert_eq!(listed["items"][0]["name"], "Greeter");
    let told = world
        .ask_as("read", "GET", "/v1/rpc/Greeter", None)
        .await
        .json();
    assert_eq!(told["methods"][1]["kind"], "server-streaming");
    let target = "/v1/rpc/Greeter/openapi.json";
    let document = world.ask_as("read", "GET", target, None).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], "1.10.0");
    assert_eq!(document["x-not-over-http"], json!(["sum"]));
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), [COUNT, GREET]);
    let greet = &document["paths"][GREET]["post"];
    assert_eq!(greet["summary"], "Does greet.");
    let schema = &greet["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(
        schema::check(&document, schema, &json!("word"), "greet"),
        Ok(())
    );
    assert!(schema::check(&document, schema, &json!(1), "greet").is_err());
    let content = &document["paths"][COUNT]["post"]["responses"]["200"]["content"];
    assert_eq!(content["text/event-stream"]["x-item"], *schema);
    // Problems are as it says.
    let problem = world
        .ask_as("operate", "POST", GREET, Some("2"))
        .await
        .json();
    let schema = &greet["responses"]["503"]["content"]["application/problem+json"]["schema"];
    assert_eq!(schema::check(&document, schema, &problem, "busy"), Ok(()));
    let unknown = world
        .ask_as("read", "GET", "/v1/rpc/Nobody/openapi.json", None)
        .await;
    assert_eq!(unknown.code(), "not-found");
}

#[tokio::test]
async fn no_nonsense_in_a_call_is_a_mistake_of_the_node() {
    let world = World::new().await;
    let mut random = Random::from_seed(3);
    for number in 0..200 {
        let marks = [
            "{", "}", "[", "]", ",", ":", "\"", "1", "null", "\u{e9}", "\\u00", " ",
        ];
        let body: String = (0..random.below(12))
            .map(|_| *random.pick(&marks).expect("one"))
            .collect();
        let answer = world.ask_as("operate", "POST", GREET, Some(&body)).await;
        let what = format!("seed 3, request {number}: {body:?}: {answer:?}");
        assert!([200, 400, 422, 503].contains(&answer.status), "{what}");
        let is_json = body.is_empty() || serde_json::from_str::<Value>(&body).is_ok();
        assert_eq!(answer.status == 400, !is_json, "{what}");
    }
}
