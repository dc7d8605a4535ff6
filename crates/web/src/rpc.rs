//! Calls of RPC services over HTTP: answers as JSON, streams of answers as events, and the description of one service.
//!
//! A stream of answers is `text/event-stream`:
//!
//! | event | data |
//! | --- | --- |
//! | `item` | one answer |
//! | `end` | all is said: `{"items": 3}` |
//! | `problem` | a problem document, which ends it; the error that the method itself ends its stream with is an `app-error` |
//!
//! So whoever reads knows the end from a connection that broke. A stream is not taken up again: what was lost, was lost. Whoever goes, ends
//! the call, since it is dropped with the answer.
//!
//! | bound | |
//! | --- | --- |
//! | a request | [`REQUEST_BYTES`] |
//! | time for a call | [`TIME_MOST`]; of a stream, only if somebody says so |
//! | streams at once | [`Limits::streams`](crate::Limits), together with those of events |
//! | items in one piece | [`PIECE_ITEMS`], or as many as have [`PIECE_BYTES`] |
//!
//! Deliberately not here: who is called and how (the backend), and what may be asked (`routes`).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::backend::{RpcAnswer, RpcCall, RpcItems};
use crate::dispatch::{Call, explain};
use crate::metrics::Held;
use crate::model::{RpcKind, RpcMethod, RpcService};
use crate::problem::{Code, Fault};
use crate::routes::{EVENTS, JSON, answer};

/// The largest request.
pub const REQUEST_BYTES: usize = 1 << 20;
/// The longest that a call may take.
pub const TIME_MOST: Duration = Duration::from_secs(300);
/// Items that are written as one piece, if they are there.
const PIECE_ITEMS: usize = 64;
/// A piece with so much is written.
const PIECE_BYTES: usize = 64 << 10;

/// Calls, and answers as the backend does.
pub(crate) async fn call(call: Call) -> Result<Response, Fault> {
    let request = request(&call.body)?;
    let arguments = &call.arguments;
    let timeout = arguments
        .integer_if("timeout_ms")
        .map(Duration::from_millis);
    let wanted = RpcCall {
        service: arguments.text("service")?.to_owned(),
        method: arguments.text("method")?.to_owned(),
        request,
        selector: arguments.text_if("selector").map(str::to_owned),
        key: arguments.text_if("key").map(str::to_owned),
        timeout,
        trace: arguments.text_if("traceparent").map(str::to_owned),
    };
    match call.backend().call_rpc(call.caller()?, wanted).await? {
        RpcAnswer::One(text) => Ok(answer(StatusCode::OK, JSON, Bytes::from(text))),
        RpcAnswer::Many(items) => tell(call, items),
    }
}

/// The request as JSON. Nothing at all is `null`, which is what methods without a request take.
fn request(body: &[u8]) -> Result<String, Fault> {
    if body.is_empty() {
        return Ok("null".to_owned());
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Fault::new(
            Code::BadJson,
            format!("the body is no UTF-8 from byte {at} on"),
        )
    })?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| explain(&error))?;
    Ok(text.to_owned())
}

/// One call whose answers are told.
struct Telling {
    call: Call,
    items: RpcItems,
    told: u64,
    greeted: bool,
    over: bool,
    looked: Instant,
    _place: OwnedSemaphorePermit,
    _counted: Held,
}

fn tell(call: Call, items: RpcItems) -> Result<Response, Fault> {
    let place = call.place()?;
    let telling = Telling {
        _counted: call.api.metrics.hold_stream(),
        _place: place,
        call,
        items,
        told: 0,
        greeted: false,
        over: false,
        looked: Instant::now(),
    };
    let pieces = stream::unfold(telling, |mut telling| async move {
        let piece = telling.piece().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), telling))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let media = HeaderValue::from_static(EVENTS);
    response.headers_mut().insert(CONTENT_TYPE, media);
    Ok(response)
}

impl Telling {
    /// What is written next; nothing when all is said.
    async fn piece(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        if !self.greeted {
            // The head goes out with it, so that a reader knows that the call has begun.
            self.greeted = true;
            return Some(": the call has begun\n\n".to_owned());
        }
        let silence = self.call.api.limits.keep_alive;
        if self.looked.elapsed() >= silence {
            self.looked = Instant::now();
            if !self.call.still_counts().await {
                let what = "who opened this stream may not ask any more";
                return Some(self.problem(&Fault::new(Code::Unauthenticated, what)));
            }
        }
        let next = tokio::select! {
            biased;
            () = self.call.api.stop.cancelled() => {
                // The call may have come to anything.
                return Some(self.problem(&Fault::outcome_unknown("this node stops")));
            }
            next = tokio::time::timeout(silence, self.items.next()) => next,
        };
        let Ok(mut next) = next else {
            return Some(": all is quiet\n\n".to_owned());
        };
        let (mut piece, mut items) = (String::new(), 0);
        loop {
            match next {
                Some(Ok(item)) => {
                    self.told += 1;
                    items += 1;
                    let _ = write!(piece, "event: item\ndata: {item}\n\n");
                }
                Some(Err(fault)) => {
                    piece.push_str(&self.problem(&fault));
                    return Some(piece);
                }
                None => {
                    self.over = true;
                    let _ = write!(piece, "event: end\ndata: {{\"items\":{}}}\n\n", self.told);
                    return Some(piece);
                }
            }
            // An item is taken only if it is written, too.
            if items >= PIECE_ITEMS || piece.len() >= PIECE_BYTES {
                return Some(piece);
            }
            match self.items.next().now_or_never() {
                Some(more) => next = more,
                None => return Some(piece),
            }
        }
    }

    fn problem(&mut self, fault: &Fault) -> String {
        self.over = true;
        let document = fault.body(&self.call.request);
        format!("event: problem\ndata: {document}\n\n")
    }
}

const ABOUT: &str = "Calls go to the instance that is best for them. Errors are problem documents; the method's own error is an `app-error` \
    with that error as `error`. Streams of answers come as server-sent events: `item` for each, then `end`, or `problem`.";

/// The OpenAPI document of one RPC service: every method that can be called over HTTP.
///
/// The same of a running service and of a definition, documentation aside.
#[must_use]
pub fn document(service: &RpcService) -> Value {
    let mut paths = Map::new();
    let mut left_out = Vec::new();
    for method in &service.methods {
        if !method.kind.is_over_http() {
            left_out.push(method.name.as_str());
            continue;
        }
        let path = format!("/v1/rpc/{}/{}", service.name, method.name);
        paths.insert(path, json!({"post": operation(service, method)}));
    }
    let mut about = service.doc.clone();
    if !about.is_empty() {
        about.push_str("\n\n");
    }
    about.push_str(ABOUT);
    let mut schemas: Map<String, Value> = service.types.0.clone().into_iter().collect();
    schemas.insert(PROBLEM_NAME.to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": service.name,
            "version": service.versions.first().map_or("", String::as_str),
            "description": about,
        },
        "servers": [{"url": "/"}],
        "x-not-over-http": left_out,
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of `POST /v1/api-tokens` with the scope `operate`.",
            }},
            "schemas": schemas,
        },
    })
}

/// No type of Rust is called so.
const PROBLEM_NAME: &str = "convoke.Problem";

fn operation(service: &RpcService, method: &RpcMethod) -> Value {
    let any = json!({});
    let of = |pick: fn(&crate::model::RpcMessages) -> &crate::model::RpcSchema| {
        let messages = method.messages.as_ref();
        messages.map_or_else(|| any.clone(), |messages| pick(messages).0.clone())
    };
    let (answer, error) = (of(|it| &it.answer), of(|it| &it.error));
    let content = match method.kind {
        RpcKind::Unary => json!({JSON: {"schema": answer}}),
        RpcKind::ServerStreaming | RpcKind::ClientStreaming | RpcKind::Bidirectional => {
            json!({EVENTS: {
                "schema": {"type": "string"},
                "x-item": answer,
                "x-stream-error": of(|it| &it.stream_error),
            }})
        }
    };
    let problem = json!({"$ref": format!("#/components/schemas/{PROBLEM_NAME}")});
    let refused = |what: &str, schema: Value| json!({"description": what, "content": {"application/problem+json": {"schema": schema}}});
    let own = json!({"allOf": [problem, {"type": "object", "properties": {"error": error}}]});
    let mut operation = json!({
        "operationId": format!("{}.{}", service.name, method.name),
        "summary": method.doc.lines().next().unwrap_or_default(),
        "description": method.doc,
        "tags": [service.name],
        "security": [{"token": []}],
        "x-scope": "operate",
        "x-idempotent": method.idempotent,
        "x-roles": method.roles,
        "parameters": parameters(),
        "requestBody": {"required": true, "content": {JSON: {"schema": of(|it| &it.request)}}},
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "400": refused("The body is not JSON, or a parameter is wrong.", problem.clone()),
            "401": refused("No token, or one that does not count.", problem.clone()),
            "403": refused("Whoever asks may not, or this node may not.", problem.clone()),
            "404": refused("No instance has such a method.", problem.clone()),
            "422": refused("The method's own error (`app-error`), or a field of the request is wrong (`bad-field`).", own),
            "429": refused("Too many requests or streams.", problem.clone()),
            "503": refused("No instance can take the call. Nothing ran.", problem.clone()),
            "504": refused("The deadline is over; with `outcome-unknown` it may have run.", problem),
        },
    });
    if let Some(ms) = method.deadline_ms {
        operation["x-deadline-ms"] = ms.into();
    }
    operation
}

fn parameters() -> Value {
    json!([
        {"name": "selector", "in": "query", "required": false, "schema": {"type": "string"},
         "description": "Which instances, by their tags: `zone = eu and gpu >= 2`."},
        {"name": "key", "in": "query", "required": false, "schema": {"type": "string"},
         "description": "What the call is about: where calls are balanced by it, the same goes to the same instance."},
        {"name": "timeout_ms", "in": "query", "required": false,
         "schema": {"type": "integer", "minimum": 1, "maximum": TIME_MOST.as_millis() as u64},
         "description": "How long the answer is worth something."},
    ])
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["type", "code", "title", "status", "detail", "instance"],
        "properties": {
            "type": {"type": "string"},
            "code": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "what_to_do": {"type": ["string", "null"]},
        },
    })
}
