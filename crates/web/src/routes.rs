//! The table of routes: every operation there is, once.
//!
//! The router, the OpenAPI document, the scopes, the parameters and the metrics are all made from `table`. A row is
//! built with its handler, whose types are the types of the document, so that neither can say what the other does not.
//!
//! What is not here: who may be served at all (`guard`), how a row is carried out (`dispatch`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::backend::{Condition, Consistency, PAGE_MOST, Part, Reading, Start};
use crate::dispatch::{Call, read_json};
use crate::model::{
    Adaptation, AnyJson, ApiToken, ApiTokenCreated, AuditEntry, Changed, Check, ConfigVersion,
    CreateApiToken, CreateToken, Event, EventPage, Found, Health, Instance, Issuer, JoinToken,
    KeyEntry, KeyWritten, Level, Lock, LogLine, LogPage, Login, LoginCreated, METHOD_BYTES,
    NAME_BYTES, NodeDetail, NodeSummary, OpenApiDocument, Page, PlanRoles, Proposal, Propose,
    RoleExplanation, RolePlan, RotateIssuer, RpcService, RpcServiceSummary, SERVICE_BYTES, Scope,
    Session, SetAllow, SetDrain, SetRole, Setting, Status, SteerRole, TokenCreated, Vote, Voters,
    Watching,
};
use crate::params::{Param, Place, Type};
use crate::problem::{Code, Fault};
use crate::{rpc, sse};

/// The most bytes of a key of the store.
pub(crate) const KEY_BYTES: usize = 512;
/// The most bytes of a value of the store.
pub(crate) const VALUE_BYTES: usize = 4_096;
/// The most bytes of a cursor.
const CURSOR_BYTES: usize = 2_048;
/// The longest selector.
const SELECTOR_BYTES: usize = 1_024;
/// The longest time for a call, in milliseconds.
const RPC_MS_MOST: u64 = rpc::TIME_MOST.as_secs() * 1_000;
/// How long a page is if nobody says so.
const PAGE_USUAL: u32 = 100;
/// The most nodes of a picture of who watches whom, …
const WATCHING_MOST: u32 = 200;
/// … and how many it has if nobody says so: more are a tangle.
const WATCHING_USUAL: u32 = 60;

pub(crate) const JSON: &str = "application/json";
pub(crate) const OCTETS: &str = "application/octet-stream";
pub(crate) const EVENTS: &str = "text/event-stream";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Whoever asks.
    Nothing,
    /// Who has this scope.
    Scope(Scope),
}

/// An operation.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) need: Need,
    pub(crate) params: Vec<Param>,
    pub(crate) takes: Option<Takes>,
    pub(crate) gives: Vec<Gives>,
    /// The longest it may take, if that is not what all may.
    pub(crate) patience: Option<Duration>,
    /// Problems beside those that every operation of its kind can have.
    pub(crate) problems: Vec<Code>,
    pub(crate) carry_out: CarryOut,
}

/// A body that an operation wants.
pub(crate) struct Takes {
    pub(crate) media: &'static str,
    pub(crate) most_bytes: Option<usize>,
    pub(crate) schema: Option<MakeSchema>,
    pub(crate) example: Option<Value>,
}

/// A body that it answers with.
pub(crate) struct Gives {
    pub(crate) status: StatusCode,
    pub(crate) media: &'static str,
    pub(crate) schema: Option<MakeSchema>,
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

type MakeSchema = fn(&mut SchemaGenerator) -> Schema;
type Future_ = Pin<Box<dyn Future<Output = Result<Response, Fault>> + Send>>;
pub(crate) type CarryOut = Arc<dyn Fn(Call) -> Future_ + Send + Sync>;

impl Route {
    /// Whether it changes anything. Answers that come too late then say that nobody knows what came of it.
    pub(crate) fn changes(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it has a stream beside its page.
    pub(crate) fn streams(&self) -> bool {
        self.gives.iter().any(|gives| gives.media == EVENTS)
    }

    fn new(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        let tag = path.strip_prefix("/v1/").unwrap_or("metrics");
        let need = match method {
            Method::GET => Scope::Read,
            _ => Scope::Operate,
        };
        let mut route = Self {
            method,
            path,
            id,
            summary,
            tag: tag.split('/').next().unwrap_or(tag),
            need: Need::Scope(need),
            params: Vec::new(),
            takes: None,
            gives: Vec::new(),
            patience: None,
            problems: Vec::new(),
            carry_out: Arc::new(|_| {
                Box::pin(async { Err(Fault::new(Code::NotBuilt, "nobody carries this out")) })
            }),
        };
        if route.changes() {
            route.problems.extend([Code::Conflict, Code::Refused]);
        }
        route
    }

    fn needs(mut self, need: Need) -> Self {
        self.need = need;
        self
    }

    fn admin(self) -> Self {
        self.needs(Need::Scope(Scope::Admin))
    }

    fn public(self) -> Self {
        self.needs(Need::Nothing)
    }

    fn problem(mut self, code: Code) -> Self {
        self.problems.push(code);
        self
    }

    fn param(mut self, place: Place, name: &'static str, kind: Type, what: &'static str) -> Self {
        if place == Place::Path {
            self.problems.push(Code::NotFound);
        }
        self.params.push(Param {
            name,
            place,
            kind,
            what,
        });
        self
    }

    fn by_node(self) -> Self {
        let what = "The node's id, the beginning of it, or its name.";
        self.param(Place::Path, "node", Type::Text(NAME_BYTES), what)
    }

    fn by_id(self) -> Self {
        self.param(
            Place::Path,
            "id",
            Type::Integer(0, u64::MAX),
            "The proposal's number.",
        )
    }

    fn by_token(self) -> Self {
        self.param(
            Place::Path,
            "id",
            Type::Text(NAME_BYTES),
            "What the token is called.",
        )
    }

    fn by_setting(self) -> Self {
        let most = Type::Text(crate::model::CONFIG_KEY_BYTES);
        self.param(Place::Path, "key", most, "The key.")
    }

    fn by_key(self) -> Self {
        let what = "The key: bytes, percent-encoded, a slash as `%2F`.";
        self.param(Place::Path, "key", Type::Bytes(KEY_BYTES), what)
    }

    fn paged(self) -> Self {
        let after = "Goes on behind this place: `next` of the page before.";
        let limit = "At most so many; 100 without it.";
        self.param(Place::Query, "after", Type::Text(CURSOR_BYTES), after)
            .param(
                Place::Query,
                "limit",
                Type::Integer(1, PAGE_MOST.into()),
                limit,
            )
    }

    fn consistent(self) -> Self {
        const WORDS: &[&str] = &["linearizable", "stale", "at-least"];
        let how = "How fresh it has to be: `linearizable` without it, `stale`, or `at-least` the `revision`.";
        let revision = "The least revision, for `at-least`.";
        self.param(Place::Query, "consistency", Type::OneOf(WORDS), how)
            .param(
                Place::Query,
                "revision",
                Type::Integer(0, u64::MAX),
                revision,
            )
            .problem(Code::NotYet)
    }

    fn conditional(self) -> Self {
        let matches =
            "Only if the key was written last in this revision (`\"17\"`), or is there (`*`).";
        let matches_not = "Only if the key is not there (`*`).";
        self.param(Place::Header, "If-Match", Type::Text(32), matches)
            .param(Place::Header, "If-None-Match", Type::Text(32), matches_not)
            .problem(Code::ConditionFailed)
    }

    /// Answers 200 with JSON of this type.
    fn gives<T, A, F>(self, handler: F) -> Self
    where
        T: Serialize + JsonSchema + 'static,
        A: Future<Output = Result<T, Fault>> + Send + 'static,
        F: Fn(Call) -> A + Send + Sync + 'static,
    {
        self.answers(StatusCode::OK, handler)
    }

    /// The same with another status.
    fn answers<T, A, F>(mut self, status: StatusCode, handler: F) -> Self
    where
        T: Serialize + JsonSchema + 'static,
        A: Future<Output = Result<T, Fault>> + Send + 'static,
        F: Fn(Call) -> A + Send + Sync + 'static,
    {
        self.gives.push(Gives {
            status,
            media: JSON,
            schema: Some(|generator| generator.subschema_for::<T>()),
            headers: &[],
        });
        self.carry_out = Arc::new(move |call| {
            let answer = handler(call);
            Box::pin(async move { json_answer(status, &answer.await?) })
        });
        self
    }

    /// Takes JSON of one type and answers with JSON of another.
    fn takes<B, T, A, F>(mut self, status: StatusCode, example: Value, handler: F) -> Self
    where
        B: DeserializeOwned + Check + JsonSchema + Send + 'static,
        T: Serialize + JsonSchema + 'static,
        A: Future<Output = Result<T, Fault>> + Send + 'static,
        F: Fn(Call, B) -> A + Send + Sync + 'static,
    {
        self.takes = Some(Takes {
            media: JSON,
            most_bytes: None,
            schema: Some(|generator| generator.subschema_for::<B>()),
            example: Some(example),
        });
        self.gives.push(Gives {
            status,
            media: JSON,
            schema: Some(|generator| generator.subschema_for::<T>()),
            headers: &[],
        });
        self.carry_out = Arc::new(move |call| {
            let answer = read_json::<B>(&call.body).map(|body| handler(call, body));
            Box::pin(async move { json_answer(status, &answer?.await?) })
        });
        self
    }

    /// Takes bytes.
    fn takes_octets(mut self, most_bytes: usize) -> Self {
        self.takes = Some(Takes {
            media: OCTETS,
            most_bytes: Some(most_bytes),
            schema: None,
            example: None,
        });
        self
    }

    /// Answers with something that is not JSON of ours, or needs headers.
    fn plain<A, F>(mut self, gives: Gives, handler: F) -> Self
    where
        A: Future<Output = Result<Response, Fault>> + Send + 'static,
        F: Fn(Call) -> A + Send + Sync + 'static,
    {
        self.gives.push(gives);
        self.carry_out = Arc::new(move |call| Box::pin(handler(call)));
        self
    }

    /// Answers with a page, or with a stream to who accepts one.
    fn page_or_stream<T, A, F>(mut self, page: F, stream: fn(Call) -> Future_) -> Self
    where
        T: Serialize + JsonSchema + 'static,
        A: Future<Output = Result<T, Fault>> + Send + 'static,
        F: Fn(Call) -> A + Send + Sync + 'static,
    {
        self = self.gives(page).param(
            Place::Header,
            "Last-Event-ID",
            Type::Text(CURSOR_BYTES),
            "For a stream: goes on behind this, as `after` does.",
        );
        self.gives.push(Gives {
            status: StatusCode::OK,
            media: EVENTS,
            schema: None,
            headers: &[],
        });
        let pages = self.carry_out;
        self.carry_out = Arc::new(move |call| {
            if call.wants_stream {
                stream(call)
            } else {
                pages(call)
            }
        });
        self
    }
}

fn get(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route::new(Method::GET, path, id, summary)
}

fn put(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route::new(Method::PUT, path, id, summary)
}

fn post(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route::new(Method::POST, path, id, summary)
}

fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route::new(Method::DELETE, path, id, summary)
}

const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;

/// Every operation.
pub(crate) fn table() -> Vec<Route> {
    let mut table = about_the_node();
    table.extend(about_nodes());
    table.extend(about_configuration());
    table.extend(about_keys_and_locks());
    table.extend(about_trust());
    table.extend(about_rpc());
    table
}

fn about_rpc() -> Vec<Route> {
    let by_service = |route: Route| {
        let what = "The name of the RPC service.";
        route.param(Place::Path, "service", Type::Text(SERVICE_BYTES), what)
    };
    let mut call = by_service(post(
        "/v1/rpc/{service}/{method}",
        "callRpc",
        "Calls a method of an RPC service, on the instance that is best; answers that are a stream come as events",
    ))
    .param(
        Place::Path,
        "method",
        Type::Text(METHOD_BYTES),
        "The name of the method.",
    )
    .param(
        Place::Query,
        "selector",
        Type::Text(SELECTOR_BYTES),
        "Which instances, by their tags: `zone = eu and gpu >= 2`. All without it.",
    )
    .param(
        Place::Query,
        "key",
        Type::Text(KEY_BYTES),
        "What the call is about: where calls are balanced by it, the same goes to the same instance.",
    )
    .param(
        Place::Query,
        "timeout_ms",
        Type::Integer(1, RPC_MS_MOST),
        "How long the answer is worth something; without it, as long as the method says, or 30 s.",
    )
    .param(
        Place::Header,
        "traceparent",
        Type::Text(64),
        "The trace that the call belongs to (W3C trace context).",
    )
    .problem(Code::AppError)
    .problem(Code::NotOverHttp)
    .problem(Code::Overloaded)
    .problem(Code::DeadlineExceeded)
    .plain(
        Gives {
            status: OK,
            media: JSON,
            schema: Some(|generator| generator.subschema_for::<AnyJson>()),
            headers: &[],
        },
        rpc::call,
    );
    call.gives.push(Gives {
        status: OK,
        media: EVENTS,
        schema: None,
        headers: &[],
    });
    call.takes = Some(Takes {
        media: JSON,
        most_bytes: Some(rpc::REQUEST_BYTES),
        schema: Some(|generator| generator.subschema_for::<AnyJson>()),
        example: None,
    });
    // The call itself ends at its deadline; this is for a backend that does not come back.
    call.patience = Some(rpc::TIME_MOST + Duration::from_secs(10));
    vec![
        by_service(get(
            "/v1/rpc/{service}",
            "getRpcService",
            "An RPC service: its methods and what their messages look like",
        ))
        .gives::<RpcService, _, _>(|call| async move {
            let service = call.arguments.text("service")?;
            call.backend().rpc_service(service).await
        }),
        by_service(get(
            "/v1/rpc/{service}/openapi.json",
            "getRpcOpenApi",
            "The description of one RPC service, for generators of clients",
        ))
        .plain(
            Gives {
                status: OK,
                media: JSON,
                schema: Some(|generator| generator.subschema_for::<OpenApiDocument>()),
                headers: &[],
            },
            |call| async move {
                let service = call.arguments.text("service")?;
                let service = call.backend().rpc_service(service).await?;
                let document = rpc::document(&service).to_string();
                Ok(answer(OK, JSON, Bytes::from(document)))
            },
        ),
        call,
    ]
}

fn about_the_node() -> Vec<Route> {
    vec![
        get("/v1/openapi.json", "getOpenApi", "This description")
            .public()
            .plain(
                Gives {
                    status: OK,
                    media: JSON,
                    schema: Some(|generator| generator.subschema_for::<OpenApiDocument>()),
                    headers: &[],
                },
                |call| async move { Ok(answer(OK, JSON, call.api.document.clone())) },
            ),
        get("/v1/health", "getHealth", "Whether this node can be asked")
            .public()
            .gives::<Health, _, _>(|call| async move { call.backend().health().await }),
        post(
            "/v1/session",
            "login",
            "Exchanges a one-time token for a session, which comes as a cookie",
        )
        .public()
        .problem(Code::Unauthenticated)
        .takes::<Login, Session, _, _>(
            CREATED,
            json!({"token": "one-time-token"}),
            |call, login| async move { call.log_in(&login.token).await },
        ),
        post(
            "/v1/logins",
            "createLogin",
            "Makes a one-time token with which a browser logs in; it is shown this once",
        )
        .admin()
        .answers::<LoginCreated, _, _>(CREATED, |call| async move {
            call.backend().create_login(call.caller()?).await
        }),
        get("/v1/session", "getSession", "Who asks")
            .gives::<Session, _, _>(|call| async move { call.session() }),
        delete(
            "/v1/session",
            "logout",
            "Ends the session whose cookie comes with it",
        )
        .needs(Need::Scope(Scope::Read))
        .gives::<Changed, _, _>(|call| async move { Ok(call.log_out()) }),
        get(
            "/v1/status",
            "getStatus",
            "Is the cluster healthy, and if not, what is wrong and what to do",
        )
        .gives::<Status, _, _>(|call| async move { call.backend().status().await }),
        get(
            "/v1/events",
            "getEvents",
            "What happened: a page, or a stream for who accepts `text/event-stream`",
        )
        .paged()
        .page_or_stream::<EventPage, _, _>(
            |call| async move { call.backend().events(call.reading(Start::Oldest)).await },
            |call| {
                Box::pin(sse::follow::<Event>(call, |call, reading| {
                    Box::pin(async move { Ok(call.backend().events(reading).await?.into()) })
                }))
            },
        ),
        get("/v1/voters", "getVoters", "Who votes, and why")
            .param(Place::Query, "explain", Type::Flag, "Whether to say why.")
            .gives::<Voters, _, _>(|call| async move {
                call.backend().voters(call.arguments.flag("explain")).await
            }),
        get("/v1/audit", "listAudit", "Who changed what, from where")
            .admin()
            .paged()
            .gives::<Page<AuditEntry>, _, _>(|call| async move {
                call.backend().audit(call.part()).await
            }),
        get("/metrics", "getMetrics", "Numbers for Prometheus").plain(
            Gives {
                status: OK,
                media: TEXT,
                schema: None,
                headers: &[],
            },
            |call| async move {
                let mut text = call.backend().metrics().await?;
                text.push_str(&call.api.metrics.render());
                Ok(answer(OK, TEXT, Bytes::from(text)))
            },
        ),
    ]
}

fn about_nodes() -> Vec<Route> {
    vec![
        get(
            "/v1/nodes",
            "listNodes",
            "Nodes: what is decided and what is observed, merged",
        )
        .paged()
        .gives::<Page<NodeSummary>, _, _>(
            |call| async move { call.backend().nodes(call.part()).await },
        ),
        get(
            "/v1/nodes/{node}",
            "getNode",
            "Everything that is known of a node",
        )
        .by_node()
        .gives::<NodeDetail, _, _>(|call| async move { call.backend().node(call.node()?).await }),
        get(
            "/v1/watching",
            "getWatching",
            "Who watches whom, as this node sees it: everybody, or the neighbourhood of one",
        )
        .problem(Code::NotFound)
        .param(
            Place::Query,
            "around",
            Type::Text(NAME_BYTES),
            "The node in the middle, by its id, the beginning of it, or its name. Without it, everybody if that is not too many.",
        )
        .param(
            Place::Query,
            "limit",
            Type::Integer(1, WATCHING_MOST.into()),
            "At most so many nodes; 60 without it.",
        )
        .gives::<Watching, _, _>(|call| async move {
            let around = call.arguments.text_if("around");
            let most = call.arguments.integer_if("limit");
            let most = most.and_then(|most| u32::try_from(most).ok());
            call.backend()
                .watching(around, most.unwrap_or(WATCHING_USUAL))
                .await
        }),
        get(
            "/v1/instances",
            "listRpcServices",
            "RPC services that nodes offer, each with how many instances it has and how many of them take calls",
        )
        .paged()
        .gives::<Page<RpcServiceSummary>, _, _>(|call| async move {
            call.backend().rpc_services(call.part()).await
        }),
        get(
            "/v1/instances/{service}",
            "listInstances",
            "The instances of an RPC service: where they are, how they are, how busy, and their tags",
        )
        .param(
            Place::Path,
            "service",
            Type::Text(NAME_BYTES),
            "The name of the RPC service.",
        )
        .param(
            Place::Query,
            "selector",
            Type::Text(convoke_types::Selector::TEXT_BYTES),
            "A condition on tags, as `zone = eu and not spot`; all instances without it.",
        )
        .paged()
        .gives::<Page<Instance>, _, _>(|call| async move {
            let (service, selector) = (call.arguments.text("service")?, call.arguments.text_if("selector"));
            call.backend()
                .instances(service, selector, call.part())
                .await
        }),
        delete("/v1/nodes/{node}", "forgetNode", "Cuts a node off for good")
            .admin()
            .by_node()
            .gives::<Changed, _, _>(|call| async move {
                call.backend().forget(call.caller()?, call.node()?).await
            }),
        put(
            "/v1/nodes/{node}/role",
            "setNodeRole",
            "Gives a node a role, of those it may have",
        )
        .by_node()
        .takes::<SetRole, Changed, _, _>(
            OK,
            json!({"role": "worker"}),
            |call, to| async move {
                call.backend()
                    .set_role(call.caller()?, call.node()?, to)
                    .await
            },
        ),
        get(
            "/v1/nodes/{node}/role",
            "explainNodeRole",
            "Why a node has the role it has: which measurement, which threshold, since when, and what would change it",
        )
        .by_node()
        .problem(Code::NotBuilt)
        .gives::<RoleExplanation, _, _>(|call| async move {
            call.backend().explain_role(call.node()?).await
        }),
        put(
            "/v1/nodes/{node}/role/steer",
            "steerNodeRole",
            "How a node comes to its role from here on: by itself, by hand, or held to one",
        )
        .by_node()
        .takes::<SteerRole, Changed, _, _>(
            OK,
            json!({"auto": true}),
            |call, to| async move {
                call.backend()
                    .steer_role(call.caller()?, call.node()?, to)
                    .await
            },
        ),
        post(
            "/v1/roles/plan",
            "planRoles",
            "What would become of all nodes under other rules; changes nothing",
        )
        .problem(Code::NotBuilt)
        .takes::<PlanRoles, RolePlan, _, _>(
            OK,
            json!({"instead": [{"key": "roles.need.masters", "value": 3}]}),
            |call, what| async move { call.backend().plan_roles(what).await },
        ),
        get(
            "/v1/nodes/{node}/adapt",
            "explainNodeKnobs",
            "What a node turns by itself: where each knob stands, by which law, what it looks at, and what was turned lately",
        )
        .by_node()
        .gives::<Adaptation, _, _>(|call| async move { call.backend().knobs(call.node()?).await }),
        put(
            "/v1/nodes/{node}/allow",
            "setNodeAllow",
            "Bounds what a node may become",
        )
        .admin()
        .by_node()
        .takes::<SetAllow, Changed, _, _>(
            OK,
            json!({"roles": ["worker", "observer"]}),
            |call, to| async move {
                call.backend()
                    .set_allow(call.caller()?, call.node()?, to)
                    .await
            },
        ),
        put(
            "/v1/nodes/{node}/drain",
            "setNodeDrain",
            "Takes a node out of use, or back into it",
        )
        .by_node()
        .takes::<SetDrain, Changed, _, _>(
            OK,
            json!({"drain": true}),
            |call, to| async move {
                call.backend()
                    .set_drain(call.caller()?, call.node()?, to)
                    .await
            },
        ),
        get(
            "/v1/nodes/{node}/logs",
            "getNodeLogs",
            "A node's log: a page, or a stream for who accepts `text/event-stream`",
        )
        .by_node()
        .paged()
        .param(
            Place::Query,
            "level",
            Type::OneOf(&Level::NAMES),
            "This level and those that matter more; `info` without it.",
        )
        .page_or_stream::<LogPage, _, _>(
            |call| async move {
                call.backend()
                    .logs(call.node()?, call.level(), call.reading(Start::Oldest))
                    .await
            },
            |call| {
                Box::pin(sse::follow::<LogLine>(call, |call, reading| {
                    Box::pin(async move {
                        Ok(call
                            .backend()
                            .logs(call.node()?, call.level(), reading)
                            .await?
                            .into())
                    })
                }))
            },
        ),
    ]
}

fn about_configuration() -> Vec<Route> {
    vec![
        get("/v1/config", "listConfig", "Keys of configuration")
            .paged()
            .consistent()
            .param(
                Place::Query,
                "prefix",
                Type::Text(crate::model::CONFIG_KEY_BYTES),
                "Only keys that begin so.",
            )
            .gives::<Page<Setting>, _, _>(|call| async move {
                let prefix = call.arguments.text_if("prefix").unwrap_or_default();
                call.backend()
                    .settings(prefix, call.part(), call.consistency()?)
                    .await
            }),
        get("/v1/config/{key}", "getConfig", "A key of configuration")
            .by_setting()
            .consistent()
            .gives::<Found<Setting>, _, _>(|call| async move {
                call.backend()
                    .setting(call.arguments.text("key")?, call.consistency()?)
                    .await
            }),
        delete(
            "/v1/config/{key}",
            "proposeConfigDefault",
            "Proposes that a key has its default again",
        )
        .by_setting()
        .answers::<Proposal, _, _>(CREATED, |call| async move {
            let what = Propose {
                key: call.arguments.text("key")?.to_owned(),
                value: None,
                expect_version: None,
                rule: None,
                weights: None,
                voting_ms: None,
            };
            call.backend().propose(call.caller()?, what).await
        }),
        get(
            "/v1/config/{key}/history",
            "listConfigHistory",
            "Versions of a key, the newest first",
        )
        .by_setting()
        .paged()
        .gives::<Page<ConfigVersion>, _, _>(|call| async move {
            call.backend()
                .setting_history(call.arguments.text("key")?, call.part())
                .await
        }),
        get(
            "/v1/proposals",
            "listProposals",
            "Proposals that are open, and those that ended last",
        )
        .paged()
        .gives::<Page<Proposal>, _, _>(|call| async move {
            call.backend().proposals(call.part()).await
        }),
        post(
            "/v1/proposals",
            "propose",
            "Proposes a value for a key of configuration",
        )
        .problem(Code::NotFound)
        .takes::<Propose, Proposal, _, _>(
            CREATED,
            json!({"key": "app.colour", "value": "blue", "expect_version": 3}),
            |call, what| async move { call.backend().propose(call.caller()?, what).await },
        ),
        get(
            "/v1/proposals/{id}",
            "getProposal",
            "A proposal with its votes",
        )
        .by_id()
        .consistent()
        .gives::<Found<Proposal>, _, _>(|call| async move {
            call.backend()
                .proposal(call.arguments.integer("id")?, call.consistency()?)
                .await
        }),
        delete(
            "/v1/proposals/{id}",
            "withdrawProposal",
            "Takes a proposal back",
        )
        .by_id()
        .gives::<Proposal, _, _>(|call| async move {
            call.backend()
                .withdraw(call.caller()?, call.arguments.integer("id")?)
                .await
        }),
        post(
            "/v1/proposals/{id}/votes",
            "voteOnProposal",
            "Votes on a proposal, for the node that answers",
        )
        .by_id()
        .takes::<Vote, Proposal, _, _>(OK, json!({"yes": true}), |call, vote| async move {
            call.backend()
                .vote(call.caller()?, call.arguments.integer("id")?, vote)
                .await
        }),
    ]
}

fn about_keys_and_locks() -> Vec<Route> {
    const READ: &[(&str, &str)] = &[
        (
            "ETag",
            "The revision in which the key was written last, for `If-Match`.",
        ),
        ("Convoke-Revision", "The revision up to which it was read."),
        ("Convoke-Age-Ms", "How old that may be."),
    ];
    vec![
        get("/v1/kv", "listKeys", "Keys with their values")
            .paged()
            .consistent()
            .param(
                Place::Query,
                "prefix",
                Type::Bytes(KEY_BYTES),
                "Only keys that begin so: bytes, percent-encoded.",
            )
            .gives::<Page<KeyEntry>, _, _>(|call| async move {
                let prefix = call.arguments.bytes("prefix");
                call.backend()
                    .keys(prefix, call.part(), call.consistency()?)
                    .await
            }),
        get("/v1/kv/{key}", "getKey", "A key's value, as bytes")
            .by_key()
            .consistent()
            .plain(
                Gives {
                    status: OK,
                    media: OCTETS,
                    schema: None,
                    headers: READ,
                },
                |call| async move {
                    let read = call
                        .backend()
                        .key(call.arguments.bytes("key"), call.consistency()?)
                        .await?;
                    let mut response = answer(OK, OCTETS, read.value);
                    let headers = response.headers_mut();
                    set(headers, "etag", &format!("\"{}\"", read.written))?;
                    if let Some(revision) = read.stamp.revision {
                        set(headers, "convoke-revision", &revision.to_string())?;
                    }
                    if let Some(age_ms) = read.stamp.age_ms {
                        set(headers, "convoke-age-ms", &age_ms.to_string())?;
                    }
                    Ok(response)
                },
            ),
        put(
            "/v1/kv/{key}",
            "putKey",
            "Writes a key; the body is the value",
        )
        .by_key()
        .conditional()
        .problem(Code::Full)
        .takes_octets(VALUE_BYTES)
        .gives::<KeyWritten, _, _>(|call| async move {
            let key = call.arguments.bytes("key");
            let condition = call.condition()?;
            call.backend()
                .put_key(call.caller()?, key, call.body.clone(), condition)
                .await
        }),
        delete("/v1/kv/{key}", "deleteKey", "Removes a key")
            .by_key()
            .conditional()
            .gives::<KeyWritten, _, _>(|call| async move {
                let key = call.arguments.bytes("key");
                call.backend()
                    .delete_key(call.caller()?, key, call.condition()?)
                    .await
            }),
        get("/v1/locks", "listLocks", "Locks that are held")
            .paged()
            .consistent()
            .gives::<Page<Lock>, _, _>(|call| async move {
                call.backend().locks(call.part(), call.consistency()?).await
            }),
        get("/v1/locks/{name}", "getLock", "Who holds a lock")
            .param(
                Place::Path,
                "name",
                Type::Text(NAME_BYTES),
                "The lock's name.",
            )
            .consistent()
            .gives::<Found<Lock>, _, _>(|call| async move {
                call.backend()
                    .lock(call.arguments.text("name")?, call.consistency()?)
                    .await
            }),
    ]
}

fn about_trust() -> Vec<Route> {
    vec![
        get("/v1/tokens", "listTokens", "Tokens with which nodes join, without their secrets")
            .admin()
            .paged()
            .gives::<Page<JoinToken>, _, _>(|call| async move { call.backend().join_tokens(call.part()).await }),
        post("/v1/tokens", "createToken", "Makes a token with which nodes join; the secret is shown this once")
            .admin()
            .takes::<CreateToken, TokenCreated, _, _>(
                CREATED,
                json!({"roles": ["worker"], "ttl_ms": 3_600_000, "uses": 1}),
                |call, what| async move { call.backend().create_join_token(call.caller()?, what).await },
            ),
        delete("/v1/tokens/{id}", "revokeToken", "Revokes a token with which nodes join")
            .admin()
            .by_token()
            .gives::<Changed, _, _>(|call| async move {
                call.backend().revoke_join_token(call.caller()?, call.arguments.text("id")?).await
            }),
        get("/v1/api-tokens", "listApiTokens", "Tokens with which programs ask, without their secrets")
            .admin()
            .paged()
            .gives::<Page<ApiToken>, _, _>(|call| async move { call.backend().api_tokens(call.part()).await }),
        post("/v1/api-tokens", "createApiToken", "Makes a token with which programs ask; the secret is shown this once")
            .admin()
            .takes::<CreateApiToken, ApiTokenCreated, _, _>(
                CREATED,
                json!({"name": "grafana", "scope": "read"}),
                |call, what| async move { call.backend().create_api_token(call.caller()?, what).await },
            ),
        delete("/v1/api-tokens/{id}", "revokeApiToken", "Revokes a token with which programs ask")
            .admin()
            .by_token()
            .gives::<Changed, _, _>(|call| async move {
                call.backend().revoke_api_token(call.caller()?, call.arguments.text("id")?).await
            }),
        get("/v1/issuers", "listIssuers", "Who signs certificates")
            .paged()
            .gives::<Page<Issuer>, _, _>(|call| async move { call.backend().issuers(call.part()).await }),
        post("/v1/issuers/rotate", "rotateIssuers", "Gives a node, or all voters, new issuers without downtime")
            .admin()
            .problem(Code::NotFound)
            .takes::<RotateIssuer, Changed, _, _>(OK, json!({}), |call, what| async move {
                call.backend().rotate_issuer(call.caller()?, what).await
            }),
    ]
}

/// What handlers ask of their arguments.
impl Call {
    fn node(&self) -> Result<&str, Fault> {
        self.arguments.text("node")
    }

    fn level(&self) -> Level {
        let named = self.arguments.text_if("level").and_then(Level::named);
        named.unwrap_or(Level::Info)
    }

    fn limit(&self) -> u32 {
        let asked = self.arguments.integer_if("limit");
        asked
            .and_then(|limit| u32::try_from(limit).ok())
            .unwrap_or(PAGE_USUAL)
    }

    fn part(&self) -> Part {
        Part {
            after: self.arguments.text_if("after").map(str::to_owned),
            limit: self.limit(),
        }
    }

    /// From what the request says, else from `usual` on. What a reader saw last counts more than where it began.
    pub(crate) fn reading(&self, usual: Start) -> Reading {
        let seen = self
            .arguments
            .text_if("Last-Event-ID")
            .filter(|_| self.wants_stream);
        let after = seen.or_else(|| self.arguments.text_if("after"));
        Reading {
            start: after.map_or(usual, |cursor| Start::After(cursor.to_owned())),
            limit: self.limit(),
            wait: Duration::ZERO,
        }
    }

    fn consistency(&self) -> Result<Consistency, Fault> {
        let revision = self.arguments.integer_if("revision");
        match (self.arguments.text_if("consistency"), revision) {
            (Some("at-least"), Some(revision)) => Ok(Consistency::AtLeast(revision)),
            (Some("at-least"), None) => Err(Fault::new(
                Code::BadParameter,
                "`consistency=at-least` goes with a `revision`",
            )),
            (_, Some(_)) => Err(Fault::new(
                Code::BadParameter,
                "`revision` goes with `consistency=at-least`",
            )),
            (Some("stale"), None) => Ok(Consistency::Stale),
            (_, None) => Ok(Consistency::Linearizable),
        }
    }

    fn condition(&self) -> Result<Condition, Fault> {
        let bad = |what| Err(Fault::new(Code::BadHeader, what));
        match (
            self.arguments.text_if("If-Match"),
            self.arguments.text_if("If-None-Match"),
        ) {
            (None, None) => Ok(Condition::Always),
            (None, Some("*")) => Ok(Condition::Absent),
            (Some("*"), None) => Ok(Condition::Present),
            (Some(tag), None) => revision_of(tag).map_or_else(
                || bad("`If-Match` is `*` or a revision in quotes, as `\"17\"`"),
                |revision| Ok(Condition::Revision(revision)),
            ),
            (None, Some(_)) => bad("`If-None-Match` is `*`"),
            (Some(_), Some(_)) => bad("`If-Match` and `If-None-Match` do not go together"),
        }
    }
}

fn revision_of(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

fn json_answer<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, Fault> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Fault::new(Code::Internal, format!("write the answer: {error}")))?;
    Ok(answer(status, JSON, Bytes::from(bytes)))
}

/// An answer of this status and type.
pub(crate) fn answer(status: StatusCode, media: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let media = hyper::header::HeaderValue::from_static(media);
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), Fault> {
    let value = value
        .parse()
        .map_err(|_| Fault::new(Code::Internal, "a header of the answer cannot be written"))?;
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn operations_have_ids_of_their_own_and_declare_the_parameters_of_their_paths() {
        let mut ids = BTreeSet::new();
        for route in table() {
            assert!(ids.insert(route.id), "{} is there twice", route.id);
            let in_path: Vec<&str> = route
                .path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            let declared: Vec<&str> = route
                .params
                .iter()
                .filter(|param| param.place == Place::Path)
                .map(|param| param.name)
                .collect();
            assert_eq!(in_path, declared, "{}", route.id);
            assert!(!route.gives.is_empty(), "{}", route.id);
        }
    }

    #[test]
    fn what_changes_something_needs_more_than_reading_unless_it_is_about_ones_own_session() {
        for route in table().iter().filter(|route| route.changes()) {
            let harmless = ["login", "logout"].contains(&route.id);
            let may_read = matches!(route.need, Need::Nothing | Need::Scope(Scope::Read));
            assert_eq!(may_read, harmless, "{}", route.id);
        }
    }

    #[test]
    fn a_revision_in_quotes_is_a_number_and_nothing_else() {
        assert_eq!(revision_of("\"17\""), Some(17));
        for wrong in [
            "17",
            "\"\"",
            "\"+1\"",
            "\"99999999999999999999\"",
            "W/\"1\"",
        ] {
            assert_eq!(revision_of(wrong), None, "{wrong}");
        }
    }
}
