//! The served document against what is served: the same operations, the same answers, nothing untyped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::memory::{NODE, SERVED_LEAST};
use crate::schema;
use crate::world::{Answer, World};

/// An operation of the document.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) scope: String,
    pub(crate) about: Value,
}

pub(crate) fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        methods.map(move |(method, about)| Operation {
            method: method.to_ascii_uppercase(),
            path: path.clone(),
            id: about["operationId"].as_str().expect("an id").to_owned(),
            scope: about["x-scope"].as_str().expect("a scope").to_owned(),
            about: about.clone(),
        })
    });
    all.collect()
}

impl Operation {
    pub(crate) fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// A path that exists, as far as one does from the beginning.
    pub(crate) fn target(&self) -> String {
        let key = if self.path.starts_with("/v1/kv") {
            "app%2Fcolour"
        } else {
            "app.colour"
        };
        self.path
            .replace("{node}", NODE)
            .replace("{key}", key)
            .replace("{name}", "nightly")
            .replace("{id}", "1")
            .replace("{service}", "Greeter")
            .replace("{method}", "greet")
    }

    /// The content type and a body that are right, if it takes one.
    pub(crate) fn body(&self) -> Option<(String, Vec<u8>)> {
        let content = self.about["requestBody"]["content"].as_object()?;
        let (media, about) = content.iter().next().expect("a content type");
        let body = match about.get("example") {
            Some(example) => example.to_string().into_bytes(),
            None => b"bytes".to_vec(),
        };
        Some((media.clone(), body))
    }

    /// What is wrong with an answer, by the document.
    pub(crate) fn judge(&self, document: &Value, answer: &Answer) -> Result<(), String> {
        let status = answer.status.to_string();
        let response = self.about["responses"].get(&status);
        let response = response.ok_or_else(|| format!("{} does not answer {status}", self.id))?;
        let media = answer.media();
        let content = response["content"].get(media);
        let content = content
            .ok_or_else(|| format!("{} does not answer {status} with {media:?}", self.id))?;
        if media.ends_with("json") {
            let body: Value =
                serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            schema::check(document, &content["schema"], &body, &self.id)?;
            if answer.status >= 400 && body["status"].as_u64() != Some(answer.status.into()) {
                return Err(format!(
                    "{}: the document and the answer have different statuses",
                    self.id
                ));
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_is_in_the_document_is_served_and_nothing_else() {
    let world = World::new().await;
    let document = world.ask("GET", "/v1/openapi.json", &[], b"").await.json();
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in operations(&document) {
        let methods = paths.entry(operation.target()).or_default();
        if operation.method == "GET" {
            methods.insert("HEAD".to_owned());
        }
        methods.insert(operation.method);
    }
    assert!(paths.len() > 25, "{}", paths.len());
    for (target, known) in &paths {
        for method in [
            "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
        ] {
            let answer = world.ask(method, target, &[], b"").await;
            if known.contains(method) {
                assert!(
                    ![404, 405].contains(&answer.status),
                    "{method} {target}: {answer:?}"
                );
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {target}");
            if method != "HEAD" {
                assert_eq!(answer.code(), "method-not-allowed", "{method} {target}");
            }
            let allow = answer
                .header("allow")
                .expect("Allow")
                .split(", ")
                .map(str::to_owned);
            assert_eq!(&allow.collect::<BTreeSet<_>>(), known, "{target}");
        }
    }
    // The files of the dashboard are beside the document (`pages.rs`).
    for target in [
        "/v1",
        "/v1/",
        "/v1/nodes/",
        "/v1/nodes/a/b",
        "/v2/status",
        "/v1//status",
        "/v1/kv/a/b",
        "*",
    ] {
        let answer = world.ask("GET", target, &[], b"").await;
        assert_eq!(answer.code(), "not-found", "{target}");
    }
}

#[tokio::test]
async fn every_operation_answers_as_the_document_says_when_all_is_well() {
    let world = World::new().await;
    let document = world.document();
    let mut served = 0;
    for operation in operations(&document) {
        if operation.id == "login" {
            continue;
        }
        let body = operation.body();
        let (media, body) = body.unwrap_or_default();
        let mut headers = vec![("authorization", "Bearer admin")];
        if !media.is_empty() {
            headers.push(("content-type", &media));
        }
        let answer = world
            .ask(&operation.method, &operation.target(), &headers, &body)
            .await;
        operation
            .judge(&document, &answer)
            .unwrap_or_else(|why| panic!("{why}\n{answer:?}"));
        served += usize::from(answer.status < 300);
        for name in [
            "cache-control",
            "x-content-type-options",
            "convoke-request-id",
            "content-security-policy",
        ] {
            assert!(answer.header(name).is_some(), "{}: {name}", operation.id);
        }
    }
    // Proposals and tokens of this number are not there.
    assert!(served >= SERVED_LEAST, "{served}");
}

#[tokio::test]
async fn the_document_has_no_default_answers_and_no_untyped_objects() {
    let world = World::new().await;
    let document = world.document();
    assert_eq!(document["openapi"], "3.1.0");
    for operation in operations(&document) {
        let responses = operation.about["responses"].as_object().expect("responses");
        assert!(!responses.contains_key("default"), "{}", operation.id);
        for status in ["400", "403", "429", "500", "503", "504"] {
            assert!(responses.contains_key(status), "{}: {status}", operation.id);
        }
        let takes = operation.about.get("requestBody").is_some();
        for status in ["413", "415"] {
            assert_eq!(
                responses.contains_key(status),
                takes,
                "{}: {status}",
                operation.id
            );
        }
        let public = operation.scope == "none";
        assert_eq!(
            operation.about["security"]
                .as_array()
                .expect("security")
                .is_empty(),
            public
        );
        for response in responses.values() {
            for media in response["content"].as_object().expect("content").values() {
                typed(&media["schema"], &operation.id);
            }
        }
    }
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .expect("schemas")
    {
        typed(schema, name);
    }
}

#[tokio::test]
async fn references_lead_somewhere_and_examples_are_right() {
    let world = World::new().await;
    let document = world.document();
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        if let Some(place) = value.get("$ref").and_then(Value::as_str) {
            let target = place
                .strip_prefix('#')
                .and_then(|place| document.pointer(place));
            assert!(target.is_some(), "{place} leads nowhere");
            references += 1;
        }
        open.extend(
            value
                .as_object()
                .into_iter()
                .flat_map(|object| object.values()),
        );
        open.extend(value.as_array().into_iter().flatten());
    }
    assert!(references > 100, "{references}");
    let mut examples = 0;
    for operation in operations(&document) {
        let content = &operation.about["requestBody"]["content"]["application/json"];
        if let Some(example) = content.get("example") {
            schema::check(&document, &content["schema"], example, &operation.id).expect("right");
            let odd = serde_json::json!({"nobody knows": 1});
            let checked = schema::check(&document, &content["schema"], &odd, &operation.id);
            assert!(
                checked.is_err(),
                "{} takes fields that it does not know",
                operation.id
            );
            examples += 1;
        }
    }
    assert!(examples > 8, "{examples}");
}

/// Every schema says what it is.
fn typed(schema: &Value, at: &str) {
    let object = schema
        .as_object()
        .unwrap_or_else(|| panic!("{at}: {schema} is untyped"));
    let says = ["type", "$ref", "enum", "const", "anyOf", "oneOf"]
        .iter()
        .any(|word| object.contains_key(*word));
    assert!(says, "{at}: {schema} is untyped");
    if object.get("type").is_some_and(|kind| kind == "object") {
        assert!(
            object.contains_key("properties"),
            "{at}: {schema} is an untyped object"
        );
    }
    for (name, property) in object
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        typed(property, &format!("{at}.{name}"));
    }
    if let Some(items) = object.get("items") {
        typed(items, at);
    }
    for word in ["anyOf", "oneOf"] {
        for one in object
            .get(word)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            typed(one, at);
        }
    }
}
