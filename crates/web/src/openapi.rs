//! The OpenAPI 3.1 document, made from the table of routes.
//!
//! Schemas come from the types that handlers take and give. Every answer that an operation can have is listed by its
//! status; there are no `default` ones. What is not in it: `HEAD`, which goes with every `GET`, and what is answered to
//! paths and methods that do not exist, which `info.description` says.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{Contract, SchemaSettings};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::guard::sessions;
use crate::params::{Param, Place};
use crate::problem::{Code, Problem};
use crate::routes::{Gives, JSON, Need, Route, Takes};

/// The media type of problem documents.
pub(crate) const PROBLEM: &str = "application/problem+json";

const ABOUT: &str = "Everything about a Convoke cluster, from any of its nodes. Errors are problem documents with \
    stable codes. A path that is not here is answered 404, a method that a path does not know 405 with `Allow`, both \
    with problem documents. `HEAD` is known where `GET` is. On the local socket whoever can open it is admin, and shows \
    nothing.";

/// The document of these operations.
pub(crate) fn document(table: &[Route], version: &str) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in table {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = operation(route, &mut schemas);
        paths
            .entry(route.path)
            .or_default()
            .insert(method, operation);
    }
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {"title": "Convoke", "version": version, "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": tags(table),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `POST /v1/api-tokens`.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": sessions::NAME,
                    "description": "A session of `POST /v1/session`; `_` and the port are added to the name. What changes something also has the header \
                        `Convoke-Request`, with any value.",
                },
            },
            "schemas": schemas.take(),
        },
    })
}

/// Every problem that an operation can answer with.
pub(crate) fn problems(route: &Route) -> BTreeSet<Code> {
    let mut codes = BTreeSet::from([
        Code::BadRequest,
        Code::HostNotAllowed,
        Code::OriginNotAllowed,
        Code::TooMany,
        Code::Internal,
        Code::Unavailable,
        Code::NotBuilt,
        Code::UnknownParameter,
    ]);
    codes.extend(route.problems.iter().copied());
    for param in &route.params {
        codes.insert(match param.place {
            Place::Path | Place::Query => Code::BadParameter,
            Place::Header => Code::BadHeader,
        });
    }
    if route.need != Need::Nothing {
        codes.extend([Code::Unauthenticated, Code::Forbidden]);
    }
    codes.extend(if route.changes() {
        &[Code::OutcomeUnknown, Code::Full][..]
    } else {
        &[Code::DeadlineExceeded][..]
    });
    if let Some(takes) = &route.takes {
        codes.extend([Code::TooSlow, Code::TooLarge, Code::UnsupportedMediaType]);
        if takes.media == JSON {
            codes.extend([Code::BadJson, Code::BadField, Code::UnknownField]);
        }
    }
    codes
}

struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let generator = |contract| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
            settings.contract = contract;
            settings.into_generator()
        };
        Self {
            taken: generator(Contract::Deserialize),
            given: generator(Contract::Serialize),
        }
    }

    /// Types that are both taken and given look the same either way: a test sees to it.
    fn take(mut self) -> Map<String, Value> {
        let mut all = self.given.take_definitions(true);
        all.extend(self.taken.take_definitions(true));
        all
    }
}

fn tags(table: &[Route]) -> Vec<Value> {
    let names: BTreeSet<&str> = table.iter().map(|route| route.tag).collect();
    names
        .into_iter()
        .map(|name| json!({"name": name}))
        .collect()
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), route.id.into());
    operation.insert("summary".into(), route.summary.into());
    operation.insert("tags".into(), json!([route.tag]));
    let (security, scope) = match route.need {
        Need::Nothing => (json!([]), "none"),
        Need::Scope(scope) => (json!([{"token": []}, {"session": []}]), scope.name()),
    };
    operation.insert("security".into(), security);
    operation.insert("x-scope".into(), scope.into());
    if !route.params.is_empty() {
        let params: Vec<Value> = route.params.iter().map(parameter).collect();
        operation.insert("parameters".into(), params.into());
    }
    if let Some(takes) = &route.takes {
        operation.insert(
            "requestBody".into(),
            request_body(takes, &mut schemas.taken),
        );
    }
    operation.insert("responses".into(), responses(route, schemas).into());
    operation.into()
}

fn parameter(param: &Param) -> Value {
    json!({
        "name": param.name,
        "in": match param.place {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        },
        "required": param.place == Place::Path,
        "description": param.what,
        "schema": param.kind.schema(),
    })
}

fn request_body(takes: &Takes, generator: &mut SchemaGenerator) -> Value {
    let mut media = Map::new();
    media.insert("schema".into(), schema(takes.schema, generator));
    if let Some(example) = &takes.example {
        media.insert("example".into(), example.clone());
    }
    let mut body = json!({"required": true, "content": {takes.media: media}});
    if let Some(most_bytes) = takes.most_bytes {
        body["x-most-bytes"] = most_bytes.into();
    }
    body
}

fn responses(route: &Route, schemas: &mut Schemas) -> Map<String, Value> {
    let mut by_status: Map<String, Value> = Map::new();
    for gives in &route.gives {
        let status = gives.status.as_str().to_owned();
        let response = by_status
            .entry(status)
            .or_insert_with(|| json!({"description": route.summary, "content": {}}));
        response["content"][gives.media] =
            json!({"schema": schema(gives.schema, &mut schemas.given)});
        if !gives.headers.is_empty() {
            response["headers"] = headers(gives);
        }
    }
    let mut faults: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in problems(route) {
        faults.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in faults {
        by_status.insert(status.to_string(), refusal(&codes, schemas));
    }
    by_status
}

fn refusal(codes: &[Code], schemas: &mut Schemas) -> Value {
    let words: Vec<String> = codes
        .iter()
        .map(|code| format!("`{code}`: {}", code.meaning()))
        .collect();
    let schema: Schema = schemas.given.subschema_for::<Problem>();
    let mut response =
        json!({"description": words.join(" "), "content": {PROBLEM: {"schema": schema}}});
    let comes_again = [
        Code::TooMany,
        Code::Unavailable,
        Code::Overloaded,
        Code::NotYet,
    ];
    if codes.iter().any(|code| comes_again.contains(code)) {
        response["headers"] = json!({"Retry-After": {
            "description": "When to come again, in seconds.",
            "schema": {"type": "integer", "minimum": 1},
        }});
    }
    response
}

fn headers(gives: &Gives) -> Value {
    let headers = gives.headers.iter().map(|(name, what)| {
        let header = json!({"description": what, "schema": {"type": "string"}});
        ((*name).to_owned(), header)
    });
    Value::Object(headers.collect())
}

fn schema(
    make: Option<fn(&mut SchemaGenerator) -> Schema>,
    generator: &mut SchemaGenerator,
) -> Value {
    match make {
        Some(make) => make(generator).to_value(),
        // Bytes and text.
        None => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{EVENTS, table};

    #[test]
    fn a_type_looks_the_same_whether_it_is_taken_or_given() {
        let mut schemas = Schemas::new();
        for route in &table() {
            operation(route, &mut schemas);
        }
        let given = schemas.given.take_definitions(true);
        for (name, taken) in schemas.taken.take_definitions(true) {
            if let Some(given) = given.get(&name) {
                assert_eq!(&taken, given, "{name}");
            }
        }
    }

    #[test]
    fn the_media_types_of_one_status_are_all_there() {
        let document = document(&table(), "1");
        let content = &document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"];
        assert!(content[JSON].is_object() && content[EVENTS].is_object());
    }
}
