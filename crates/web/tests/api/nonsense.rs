//! Seeded nonsense, made from the served document: no answer is a 5xx, and every answer is as the document says.

use std::fmt::Write as _;

use convoke_trial::random::Random;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::document::{Operation, operations};
use crate::world::World;

const SEEDS: u64 = 6;
const REQUESTS: usize = 250;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the seed, and how to replay it")]
async fn no_nonsense_breaks_the_api_or_is_answered_as_the_document_does_not_say() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a seed to replay is given by whoever runs the test"
    )]
    let given = std::env::var("CONVOKE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for seed in seeds {
        println!(
            "seed {seed}; replay: CONVOKE_SEED={seed} cargo test -p convoke-web --test api nonsense -- --nocapture"
        );
        let world = World::new().await;
        let document = world.ask("GET", "/v1/openapi.json", &[], b"").await.json();
        let all = operations(&document);
        let mut random = Random::from_seed(seed);
        for number in 0..REQUESTS {
            let operation = random.pick(&all).expect("an operation");
            let Some((request, told)) = nonsense(&mut random, &document, operation) else {
                continue;
            };
            let answer = world.ask_with(request).await;
            *statuses.entry(answer.status).or_default() += 1;
            let what = format!("seed {seed}, request {number}: {told}\n{answer:?}");
            assert!(answer.status < 500, "{what}");
            // The path may be none of the document's any more: then it is nobody's.
            if answer.status == 404
                && answer.header("content-type") == Some("application/problem+json")
            {
                assert_eq!(answer.code(), "not-found", "{what}");
                continue;
            }
            if let Err(why) = operation.judge(&document, &answer) {
                panic!("{why}\n{what}");
            }
        }
    }
    println!("{statuses:?}");
    if given.is_none() {
        for status in [200, 400, 401, 403, 404, 413, 415, 422] {
            assert!(
                statuses.contains_key(&status),
                "nothing was answered {status}: {statuses:?}"
            );
        }
    }
}

/// Much of it is right, so that what is wrong gets as far as it can.
fn nonsense(
    random: &mut Random,
    document: &Value,
    operation: &Operation,
) -> Option<(Request<Full<bytes::Bytes>>, String)> {
    let mut target = operation.target();
    if random.chance(0.3) {
        target = operation.path.clone();
        while let Some(begin) = target.find('{') {
            let end = target[begin..].find('}')? + begin;
            target.replace_range(begin..=end, &odd_text(random, true));
        }
    }
    let mut query = Vec::new();
    for param in operation.about["parameters"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if param["in"] == "query" && random.chance(0.4) {
            let name = param["name"].as_str().expect("a name");
            let value = right_or_wrong(random, &param["schema"]);
            query.push(format!("{name}={value}"));
            if random.chance(0.1) {
                query.push(format!("{name}={value}"));
            }
        }
    }
    if random.chance(0.1) {
        query.push(format!(
            "{}={}",
            odd_text(random, true),
            odd_text(random, true)
        ));
    }
    if !query.is_empty() {
        write!(target, "?{}", query.join("&")).expect("a string");
    }
    let mut request = Request::new(Full::default());
    *request.method_mut() = operation.method.parse().ok()?;
    *request.uri_mut() = target.parse().ok()?;
    let headers = request.headers_mut();
    headers.insert("host", HeaderValue::from_static("localhost"));
    let token = random
        .pick(&[
            "admin", "admin", "admin", "admin", "operate", "read", "wrong",
        ])
        .expect("one");
    headers.insert(
        "authorization",
        HeaderValue::from_str(&format!("Bearer {token}")).ok()?,
    );
    for name in [
        "if-match",
        "if-none-match",
        "last-event-id",
        "content-encoding",
        "accept",
        "cookie",
        "origin",
        "x-odd",
    ] {
        if random.chance(0.05) {
            // A stream would be as right as a page, and never end.
            let value = HeaderValue::from_bytes(odd_text(random, false).as_bytes());
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
                headers.insert(name, value);
            }
        }
    }
    let (media, right) = operation.body().unwrap_or_default();
    let body = if right.is_empty() || random.chance(0.3) {
        right
    } else {
        odd_body(random, document, operation, &right)
    };
    if !media.is_empty() {
        let odd = [
            "text/plain",
            "application/json; charset=utf-8",
            "application/xml",
            "",
            "application/octet-stream",
        ];
        let media = if random.chance(0.1) {
            (*random.pick(&odd).expect("one")).to_owned()
        } else {
            media
        };
        headers.insert("content-type", HeaderValue::from_str(&media).ok()?);
    }
    let told = format!(
        "{} {target} {:?} with {:?}",
        operation.method,
        request.headers(),
        String::from_utf8_lossy(&body[..body.len().min(300)])
    );
    *request.body_mut() = Full::from(body);
    Some((request, told))
}

fn right_or_wrong(random: &mut Random, schema: &Value) -> String {
    if random.chance(0.5) {
        return odd_text(random, true);
    }
    if let Some(words) = schema["enum"].as_array() {
        return random
            .pick(words)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
    }
    match schema["type"].as_str() {
        Some("integer") => random.below(20).to_string(),
        Some("boolean") => "true".to_owned(),
        _ => "a".to_owned(),
    }
}

fn odd_text(random: &mut Random, encoded: bool) -> String {
    let odd: [&str; 22] = [
        "",
        "0",
        "-1",
        "1",
        "1001",
        "18446744073709551615",
        "18446744073709551616",
        "1e3",
        "true",
        "null",
        "*",
        "\"1\"",
        "node-a",
        "%00",
        "%1b%5b2J",
        "%ff%fe",
        "%",
        "%zz",
        "..",
        "a%2f..%2fb",
        "\u{e9}\u{202e}",
        "a b\tc",
    ];
    let text = if random.chance(0.05) {
        "x".repeat(usize::try_from(random.below(4_000)).expect("small"))
    } else {
        (*random.pick(&odd).expect("one")).to_owned()
    };
    if !encoded {
        return text;
    }
    // What no address can have is written as it has to be.
    text.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_graphic() && !b"\"*#?&".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02x}").expect("a string");
        }
        text
    })
}

fn odd_value(random: &mut Random) -> Value {
    let odd = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("worker"),
        json!("a\u{1b}[2J\u{0}"),
        json!([]),
        json!(["worker", "worker"]),
        json!({}),
        json!({"a": {"b": []}}),
        json!("x".repeat(3_000)),
        json!([null]),
        json!([{"node": "", "weight": 0}]),
        json!("weighted"),
    ];
    random.pick(&odd).expect("one").clone()
}

/// The right body with something wrong, or something else altogether.
fn odd_body(random: &mut Random, document: &Value, operation: &Operation, right: &[u8]) -> Vec<u8> {
    let reference =
        operation.about["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
    let schema = reference.and_then(|place| document.pointer(place.strip_prefix('#')?));
    let names: Vec<String> = schema
        .and_then(|schema| schema["properties"].as_object())
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default();
    let mut body: Value = serde_json::from_slice(right).unwrap_or_default();
    match random.below(8) {
        0 => right[..right.len() / 2].to_vec(),
        1 => vec![b'['; usize::try_from(random.below(2_000)).expect("small")],
        2 => vec![b'x'; 70_000],
        3 => (0..random.below(60))
            .map(|_| (random.next_u64() & 0xff) as u8)
            .collect(),
        4 => odd_value(random).to_string().into_bytes(),
        5 => {
            body["rolee"] = odd_value(random);
            body.to_string().into_bytes()
        }
        6 => {
            let twice = String::from_utf8_lossy(right);
            let inner = twice.trim_start_matches('{').trim_end_matches('}');
            format!("{{{inner},{inner}}}").into_bytes()
        }
        _ => {
            for name in &names {
                if random.chance(0.5) {
                    body[name] = odd_value(random);
                }
            }
            body.to_string().into_bytes()
        }
    }
}
