//! A server that describes itself, and a caller that has none of its types.
mod world;

use std::collections::BTreeMap;

use convoke_rpc::reflection::{Form, Part, ReflectionClient, Untranslated};
use convoke_rpc::{
    CallError, Caller, Code, Encoded, MethodDescriptor, MethodKind, NoError, Problem, Role,
    RoleSet, Streaming, service,
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use world::{Carrier, World};

/// Keeps shelves.
#[service]
trait Store {
    /// What is on a shelf.
    #[rpc(idempotent, deadline_ms = 1_500, roles(gateway, master))]
    async fn look(&self, shelf: Shelf) -> Result<Goods, NoSuchShelf>;
    async fn count(&self, to: u32) -> Result<Streaming<Goods, NoSuchShelf>, NoError>;
    async fn sum(&self, numbers: Streaming<u64>) -> Result<u64, NoError>;
    async fn double(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, NoError>;
    #[rpc(roles(master))]
    async fn burn(&self) -> Result<(), NoError>;
    async fn odd(&self) -> Result<BTreeMap<(u8, u8), u8>, NoError>;
}

#[derive(Debug, Serialize, Deserialize)]
struct Shelf {
    name: String,
    row: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Goods {
    Nothing,
    Some { what: String, grams: Vec<u32> },
}

#[derive(Debug, Serialize, Deserialize)]
struct NoSuchShelf {
    asked_for: String,
}

struct Cellar;

impl Store for Cellar {
    async fn look(&self, shelf: Shelf) -> Result<Goods, NoSuchShelf> {
        match shelf.name.as_str() {
            "jam" => Ok(Goods::Some {
                what: "plum".to_owned(),
                grams: vec![250, u32::from(shelf.row)],
            }),
            "air" => Ok(Goods::Nothing),
            _ => Err(NoSuchShelf {
                asked_for: shelf.name,
            }),
        }
    }

    async fn count(&self, to: u32) -> Result<Streaming<Goods, NoSuchShelf>, NoError> {
        let goods = (0..to).map(|_| Ok(Goods::Nothing));
        let end = NoSuchShelf {
            asked_for: to.to_string(),
        };
        let all: Vec<_> = goods.chain([Err(end)]).collect();
        Ok(Streaming::from_stream(futures_util::stream::iter(all)))
    }

    async fn sum(&self, numbers: Streaming<u64>) -> Result<u64, NoError> {
        Ok(numbers
            .filter_map(async |number| number.ok())
            .fold(0, async |sum, number| sum + number)
            .await)
    }

    async fn double(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, NoError> {
        let doubled = numbers.filter_map(async |number| number.ok().map(|number| Ok(number * 2)));
        Ok(Streaming::from_stream(doubled))
    }

    async fn burn(&self) -> Result<(), NoError> {
        Ok(())
    }

    async fn odd(&self) -> Result<BTreeMap<(u8, u8), u8>, NoError> {
        Ok(BTreeMap::from([((1, 2), 3)]))
    }
}

/// As a tool makes it, from what the server said.
fn method(name: &'static str, kind: MethodKind) -> &'static MethodDescriptor {
    Box::leak(Box::new(MethodDescriptor::new(name, kind)))
}

fn reflecting() -> (World, ReflectionClient, Caller) {
    let world = World::serving(Carrier::memory(), |server| {
        server.service(StoreServer::new(Cellar)).reflection()
    });
    let channel = world.channel();
    (world, ReflectionClient::new(&channel), channel.into())
}

async fn form(
    reflection: &ReflectionClient,
    method: &str,
    part: Part,
    message: Form,
) -> Result<Form, CallError<Problem>> {
    let message = Untranslated {
        method: method.to_owned(),
        part,
        message,
    };
    reflection.translate(&message).await
}

async fn encoded(reflection: &ReflectionClient, method: &str, json: &str) -> Encoded {
    let json = Form::Json(json.to_owned());
    match form(reflection, method, Part::Request, json).await {
        Ok(Form::Bytes(bytes)) => Encoded(bytes.into()),
        other => panic!("{other:?}"),
    }
}

async fn json(reflection: &ReflectionClient, method: &str, part: Part, bytes: Encoded) -> String {
    match form(reflection, method, part, Form::Bytes(bytes.0.into())).await {
        Ok(Form::Json(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn said(error: CallError<Problem>) -> String {
    match error {
        CallError::App(problem) => {
            assert_eq!(problem.code, Code::InvalidArgument);
            problem.message().to_owned()
        }
        CallError::Rpc(problem) => panic!("{problem}"),
    }
}

#[tokio::test]
async fn a_server_describes_what_stands_in_its_traits() {
    let (world, reflection, _) = reflecting();

    let description = reflection.describe().await.unwrap();

    let names: Vec<_> = description
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["Store", "convoke.Health", "convoke.Reflection"]);
    let store = &description.services[0];
    assert_eq!(store.doc, "Keeps shelves.");
    let look = &store.methods[0];
    assert_eq!(
        (look.name.as_str(), look.doc.as_str()),
        ("Store.look", "What is on a shelf.")
    );
    assert_eq!(
        (&*look.request, &*look.answer, &*look.error),
        ("Shelf", "Goods", "NoSuchShelf")
    );
    assert!(look.idempotent && look.deadline_ms == Some(1_500));
    assert_eq!(look.callers, RoleSet::of(&[Role::Gateway, Role::Master]));
    let count = &store.methods[1];
    assert_eq!(count.kind, MethodKind::ServerStreaming);
    assert_eq!(count.answer, "Streaming<Goods, NoSuchShelf>");
    assert_eq!(count.callers, RoleSet::ALL);
    world.end().await;
}

#[tokio::test]
async fn a_caller_without_types_calls_and_is_answered() {
    let (world, reflection, caller) = reflecting();
    let look = method("Store.look", MethodKind::Unary);

    let request = encoded(&reflection, "Store.look", r#"{"row": 7, "name": "jam"}"#).await;
    let answer: Encoded = caller.unary::<_, _, Encoded>(look, &request).await.unwrap();
    assert_eq!(
        json(&reflection, "Store.look", Part::Answer, answer).await,
        r#"{"Some":{"what":"plum","grams":[250,7]}}"#
    );

    let request = encoded(&reflection, "Store.look", r#"{"name": "ham", "row": 0}"#).await;
    let refused = caller.unary::<_, Encoded, Encoded>(look, &request).await;
    let Err(CallError::App(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        json(&reflection, "Store.look", Part::Error, error).await,
        r#"{"asked_for":"ham"}"#
    );
    world.end().await;
}

#[tokio::test]
async fn streams_go_both_ways_without_types() {
    let (world, reflection, caller) = reflecting();

    let to = encoded(&reflection, "Store.count", "2").await;
    let count = method("Store.count", MethodKind::ServerStreaming);
    let mut items = caller
        .server_streaming::<_, Encoded, Encoded, Encoded>(count, &to)
        .await
        .unwrap();
    for _ in 0..2 {
        let item = items.next().await.unwrap().unwrap();
        let item = json(&reflection, "Store.count", Part::Answer, item).await;
        assert_eq!(item, r#""Nothing""#);
    }
    let Some(Err(CallError::App(end))) = items.next().await else {
        panic!("it ends with its own error")
    };
    assert_eq!(
        json(&reflection, "Store.count", Part::StreamError, end).await,
        r#"{"asked_for":"2"}"#
    );

    let numbers = ["1", "300", "70000"];
    let messages = numbers.map(|number| Untranslated {
        method: "Store.sum".to_owned(),
        part: Part::Request,
        message: Form::Json(number.to_owned()),
    });
    let translated = reflection
        .translate_all(Streaming::from_iter(messages))
        .await
        .unwrap();
    let bytes: Vec<_> = translated
        .map(|form| match form {
            Ok(Form::Bytes(bytes)) => Encoded(bytes.into()),
            other => panic!("{other:?}"),
        })
        .collect()
        .await;
    let sum: Encoded = caller
        .client_streaming::<_, NoError, _, Encoded>(
            method("Store.sum", MethodKind::ClientStreaming),
            Streaming::from_iter(bytes.clone()),
        )
        .await
        .unwrap();
    assert_eq!(
        json(&reflection, "Store.sum", Part::Answer, sum).await,
        "70301"
    );
    let double = method("Store.double", MethodKind::Bidirectional);
    let doubled = caller
        .bidirectional::<_, NoError, Encoded, Encoded, Encoded>(double, Streaming::from_iter(bytes))
        .await
        .unwrap();
    let doubled: Vec<_> = doubled.map(Result::unwrap).collect().await;
    assert_eq!(doubled.len(), 3);
    let last = doubled[2].clone();
    assert_eq!(
        json(&reflection, "Store.double", Part::Answer, last).await,
        "140000"
    );
    world.end().await;
}

#[tokio::test]
async fn the_rules_of_the_method_itself_count() {
    let (world, reflection, caller) = reflecting();
    let nothing = encoded(&reflection, "Store.burn", "null").await;
    let burn = method("Store.burn", MethodKind::Unary);
    let refused = caller.unary::<_, Encoded, Encoded>(burn, &nothing).await;
    assert_eq!(refused.unwrap_err().code(), Some(Code::Forbidden));
    world.end().await;
}

#[tokio::test]
async fn what_has_no_other_form_is_refused_and_where_it_is_wrong() {
    let (world, reflection, _) = reflecting();
    let refusal = async |method: &str, part, message| {
        said(form(&reflection, method, part, message).await.unwrap_err())
    };
    let json = |text: &str| Form::Json(text.to_owned());

    let missing = refusal("Store.look", Part::Request, json("{\n  \"row\": 1}")).await;
    assert!(
        missing.contains("missing field `name` at line 2 column 11"),
        "{missing}"
    );
    let wrong = refusal("Store.sum", Part::Request, json("-1")).await;
    assert!(wrong.contains("expected u64"), "{wrong}");
    let broken = refusal("Store.look", Part::Request, json("{")).await;
    assert!(broken.contains("EOF"), "{broken}");
    let bytes = Form::Bytes(vec![0xff, 0xff].into());
    let undecodable = refusal("Store.look", Part::Answer, bytes).await;
    assert!(undecodable.contains("no answer"), "{undecodable}");
    let keys = Form::Bytes(vec![1, 1, 2, 3].into());
    let odd = refusal("Store.odd", Part::Answer, keys).await;
    assert!(odd.contains("key must be a string"), "{odd}");
    let no_stream = refusal("Store.look", Part::StreamError, json("{}")).await;
    assert!(no_stream.contains("error of the stream"), "{no_stream}");

    let unknown = form(&reflection, "Store.sell", Part::Request, json("1")).await;
    let Err(CallError::App(problem)) = unknown else {
        panic!("{unknown:?}")
    };
    assert_eq!(problem.code, Code::NotFound);
    world.end().await;
}

#[tokio::test]
async fn text_that_would_be_too_long_is_not_made() {
    let limits = convoke_rpc::Limits {
        message_bytes: 4_096,
        ..Default::default()
    };
    let world = World::with_limits(Carrier::memory(), limits, |server| {
        server.service(StoreServer::new(Cellar)).reflection()
    });
    let reflection = ReflectionClient::new(world.channel());
    let long = Goods::Some {
        what: "\u{1}".repeat(1_000),
        grams: Vec::new(),
    };
    let bytes = Form::Bytes(convoke_types::codec::to_vec(&long).unwrap().into());
    let refused = form(&reflection, "Store.look", Part::Answer, bytes).await;
    let said = said(refused.unwrap_err());
    assert!(said.contains("longer than a message"), "{said}");
    world.end().await;
}

#[tokio::test]
async fn a_server_says_what_its_messages_look_like_as_json() {
    let (world, reflection, _) = reflecting();

    let schemas = reflection.schemas("Store").await.unwrap();

    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let types = read(&schemas.types);
    assert_eq!(types["Shelf"]["required"], json!(["name", "row"]));
    assert_eq!(types["Goods"]["oneOf"][0]["enum"], json!(["Nothing"]));
    let [look, count, sum, ..] = schemas.methods.as_slice() else {
        panic!("{schemas:?}")
    };
    assert_eq!(look.method, "Store.look");
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    assert_eq!(read(&look.request), reference("Shelf"));
    assert_eq!(read(&look.error), reference("NoSuchShelf"));
    assert_eq!(read(&count.answer), reference("Goods"));
    assert_eq!(read(&count.stream_error), reference("NoSuchShelf"));
    assert_eq!(read(&sum.request)["type"], "integer");
    let unknown = reflection.schemas("Shop").await;
    let Err(CallError::App(problem)) = unknown else {
        panic!("{unknown:?}")
    };
    assert_eq!(problem.code, Code::NotFound);
    world.end().await;
}

#[tokio::test]
async fn a_server_reflects_only_when_it_was_asked_to() {
    let world = World::serving(Carrier::memory(), |server| {
        server.service(StoreServer::new(Cellar))
    });
    let refused = ReflectionClient::new(world.channel()).describe().await;
    assert_eq!(refused.unwrap_err().code(), Some(Code::Unimplemented));
    world.end().await;
}

#[tokio::test]
async fn reflection_translates_its_own_messages_too() {
    let (world, reflection, _) = reflecting();
    let request = r#"{"method":"A.b","part":"Request","message":{"Json":"1"}}"#;
    let bytes = encoded(&reflection, "convoke.Reflection.translate", request).await;
    let read: Untranslated = convoke_types::codec::from_slice(&bytes.0).unwrap();
    assert_eq!(read.message, Form::Json("1".to_owned()));
    world.end().await;
}
