//! From a request to its answer: the order in which guards are asked, and how a row of the table is carried out.
//!
//! 1. Whose name and which page (`guard::names`), how often this address asks.
//! 2. Which row: the router, made from the table.
//! 3. Who asks, how often, and whether their scope is enough.
//! 4. Parameters, content type, body.
//! 5. The handler, within the deadline. A panic in it is a 500 with the request's id, and its connection lives on.
//!
//! Whatever goes wrong on the way is a problem document. Every answer has the headers of `finish` and is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use bytes::Bytes;
use convoke_types::{Moment, Role, RoleSet};
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
    HeaderValue, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::assets::{self, Asset};
use crate::backend::{Backend, Caller, Principal, Remote};
use crate::guard::limits::{Buckets, Limits};
use crate::guard::names::Names;
use crate::guard::sessions::{self, Mark, SESSION_HEADER, Sessions};
use crate::metrics::Metrics;
use crate::model::{Changed, Check, Scope, Session};
use crate::openapi;
use crate::params::Arguments;
use crate::problem::{Code, Fault};
use crate::routes::{EVENTS, Need, Route, answer, table};
use crate::text::{harmless, nearest, shown};

/// What the HTTP side is told when it is made.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How much it takes on.
    pub limits: Limits,
    /// Names, without ports, under which this node may be asked over the network, beside `localhost` and its addresses.
    pub hosts: Vec<String>,
    /// Origins whose pages may ask, beside the node's own, as `https://panel.example`.
    pub origins: Vec<String>,
    /// The version in the OpenAPI document.
    pub version: String,
}

/// The API of a node. Servers share it.
pub struct Api {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) limits: Limits,
    pub(crate) document: Bytes,
    pub(crate) metrics: Arc<Metrics>,
    /// Streams end when it is cancelled.
    pub(crate) stop: CancellationToken,
    pub(crate) streams: Arc<Semaphore>,
    names: Names,
    sessions: Mutex<Sessions>,
    rates: Mutex<Rates>,
    router: Router,
    began: Instant,
    /// Tells requests of one life of the process from those of another.
    life: String,
    requests: AtomicU64,
}

struct Rates {
    addresses: Buckets<IpAddr>,
    failures: Buckets<IpAddr>,
    principals: Buckets<String>,
}

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) remote: Remote,
    /// The address it came to; none on the local socket.
    pub(crate) own: Option<SocketAddr>,
    pub(crate) tls: bool,
}

/// With what somebody shows who they are.
#[derive(Clone)]
enum Proof {
    Local,
    Token(String),
    Session(Mark),
}

/// A request on its way to a handler.
pub(crate) struct Call {
    pub(crate) api: Arc<Api>,
    pub(crate) arguments: Arguments,
    pub(crate) body: Bytes,
    pub(crate) wants_stream: bool,
    pub(crate) request: String,
    arrival: Arrival,
    /// None for operations that need nothing.
    caller: Option<(Caller, Proof, Option<Duration>)>,
    cookie: Arc<Mutex<Option<HeaderValue>>>,
}

/// Which operation an answer is of; for logs and metrics.
#[derive(Clone, Copy)]
pub(crate) struct Operation(pub(crate) &'static str);

#[derive(Clone)]
struct Context {
    api: Arc<Api>,
    arrival: Arrival,
    request: String,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// The API over this backend.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(backend: Arc<dyn Backend>, settings: &Settings) -> Result<Arc<Self>, Fault> {
        let limits = settings.limits;
        let table = table();
        let document = openapi::document(&table, &settings.version);
        let mut life = sessions::draw()?;
        life.truncate(8);
        Ok(Arc::new(Self {
            backend,
            limits,
            document: Bytes::from(document.to_string()),
            metrics: Arc::default(),
            stop: CancellationToken::new(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            names: Names::new(&settings.hosts, &settings.origins),
            sessions: Mutex::new(Sessions::new(limits.sessions, limits.session_life)),
            rates: Mutex::new(Rates {
                addresses: Buckets::new(limits.per_address),
                failures: Buckets::new(limits.failures),
                principals: Buckets::new(limits.per_principal),
            }),
            router: router(table),
            began: Instant::now(),
            life,
            requests: AtomicU64::new(0),
        }))
    }

    /// The OpenAPI document, as it is served.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// Answers a request, whatever it is.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        arrival: Arrival,
        mut request: Request<Body>,
    ) -> Response {
        let began = Instant::now();
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.life);
        let (method, path) = (request.method().clone(), shown(request.uri().path()));
        let mut response = match self.admit(&arrival, &request) {
            Err(fault) => refuse(&fault, &id),
            Ok(()) => {
                request.extensions_mut().insert(Context {
                    api: Arc::clone(self),
                    arrival,
                    request: id.clone(),
                });
                let mut router = self.router.clone();
                match router.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        finish(&mut response, &id, arrival.tls);
        let operation = response
            .extensions()
            .get()
            .map_or("none", |Operation(id)| id);
        let status = response.status().as_u16();
        self.metrics.answered(operation, status, began.elapsed());
        tracing::debug!(%id, from = %arrival.remote, %method, path, operation, status, took = ?began.elapsed(), "answered");
        response
    }

    fn now(&self) -> Moment {
        Moment::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What is asked of every request, whatever it is about.
    fn admit(&self, arrival: &Arrival, request: &Request<Body>) -> Result<(), Fault> {
        let scheme = match arrival.own {
            None => None,
            Some(own) => {
                self.names
                    .check_host(request.uri(), request.headers(), own.ip())?;
                Some(if arrival.tls { "https" } else { "http" })
            }
        };
        self.names.check_origin(request.headers(), scheme)?;
        if let Some(address) = asking(arrival.remote) {
            let taken = self.rates.lock().addresses.take(self.now(), address);
            taken.map_err(|wait| too_many("this address asks too often", wait))?;
        }
        Ok(())
    }

    /// Who asks.
    async fn identify(
        &self,
        arrival: &Arrival,
        headers: &HeaderMap,
    ) -> Result<(Principal, Proof, Option<Duration>), Fault> {
        let proof = match arrival.own {
            None => Proof::Local,
            Some(own) => match (token(headers)?, sessions::cookie(headers, own.port())) {
                (Some(token), _) => Proof::Token(token.to_owned()),
                (None, Some(mark)) => Proof::Session(mark),
                (None, None) => return Err(unauthenticated("the request shows no authority")),
            },
        };
        let (principal, left) = self.prove(arrival, &proof).await?;
        Ok((principal, proof, left))
    }

    /// Whose proof it is, if it counts (still), and how long a session goes on.
    async fn prove(
        &self,
        arrival: &Arrival,
        proof: &Proof,
    ) -> Result<(Principal, Option<Duration>), Fault> {
        match proof {
            Proof::Local => Ok((local(arrival.remote), None)),
            Proof::Session(mark) => {
                let found = self.sessions.lock().find(self.now(), mark);
                let (principal, left) = found
                    .ok_or_else(|| unauthenticated("the session is over, or was never there"))?;
                Ok((principal, Some(left)))
            }
            Proof::Token(token) => {
                self.may_fail(arrival)?;
                match self.backend.authenticate(token).await? {
                    Some(principal) => Ok((principal, None)),
                    None => Err(self.failed(arrival, "the token does not count (any more)")),
                }
            }
        }
    }

    /// Who has guessed wrong too often waits, also with what is right.
    fn may_fail(&self, arrival: &Arrival) -> Result<(), Fault> {
        let Some(address) = asking(arrival.remote) else {
            return Ok(());
        };
        let wait = self.rates.lock().failures.wait(self.now(), &address);
        wait.map_or(Ok(()), |wait| {
            Err(too_many(
                "this address has shown too many wrong tokens",
                wait,
            ))
        })
    }

    fn failed(&self, arrival: &Arrival, what: &str) -> Fault {
        if let Some(address) = asking(arrival.remote) {
            // Whether there was one left does not matter: the next guess asks first.
            let _ = self.rates.lock().failures.take(self.now(), address);
        }
        unauthenticated(what)
    }
}

impl Call {
    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.api.backend
    }

    /// Who asks. Operations that need nothing have nobody, and must not ask.
    pub(crate) fn caller(&self) -> Result<&Caller, Fault> {
        let (caller, ..) = self.known()?;
        Ok(caller)
    }

    fn known(&self) -> Result<&(Caller, Proof, Option<Duration>), Fault> {
        self.caller
            .as_ref()
            .ok_or_else(|| unauthenticated("it is not known who asks"))
    }

    /// Room for one more stream.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        self.api.streams.clone().try_acquire_owned().map_err(|_| {
            let what = "as many streams are open as this node has room for";
            Fault::new(Code::TooMany, what).retry_after(Duration::from_secs(5))
        })
    }

    /// Whether who asked may still ask. Streams look now and then.
    pub(crate) async fn still_counts(&self) -> bool {
        match self.known() {
            Ok((_, proof, _)) => self.api.prove(&self.arrival, proof).await.is_ok(),
            Err(_) => false,
        }
    }

    pub(crate) async fn log_in(&self, token: &str) -> Result<Session, Fault> {
        self.api.may_fail(&self.arrival)?;
        let Some(principal) = self.backend().redeem_login(token).await? else {
            return Err(self.api.failed(
                &self.arrival,
                "the one-time token does not count, or was used",
            ));
        };
        let secret = sessions::draw()?;
        let life = self.api.limits.session_life;
        self.set_cookie(&secret, life);
        let session = Session {
            name: principal.name.clone(),
            scope: principal.scope,
            expires_in_ms: Some(whole_ms(life)),
        };
        let now = self.api.now();
        self.api
            .sessions
            .lock()
            .begin(now, sessions::mark(&secret), principal);
        Ok(session)
    }

    pub(crate) fn session(&self) -> Result<Session, Fault> {
        let (caller, _, left) = self.known()?;
        Ok(Session {
            name: caller.principal.name.clone(),
            scope: caller.principal.scope,
            expires_in_ms: left.map(whole_ms),
        })
    }

    pub(crate) fn log_out(&self) -> Changed {
        if let Ok((_, Proof::Session(mark), _)) = self.known() {
            self.api.sessions.lock().end(mark);
            self.set_cookie("", Duration::ZERO);
        }
        Changed { revision: None }
    }

    /// Over the local socket there is no port, and nobody who keeps cookies.
    fn set_cookie(&self, secret: &str, life: Duration) {
        let Some(own) = self.arrival.own else {
            return;
        };
        let cookie = format!(
            "{}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{}",
            sessions::name(own.port()),
            life.as_secs(),
            if self.arrival.tls { "; Secure" } else { "" }
        );
        *self.cookie.lock() = HeaderValue::from_str(&cookie).ok();
    }
}

/// The router of a table: nothing is in it that is not in the table.
fn router(table: Vec<Route>) -> Router {
    let mut paths: BTreeMap<&'static str, Vec<Route>> = BTreeMap::new();
    for route in table {
        paths.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in paths {
        router = router.route(path, methods(routes));
    }
    // Beside the table, since they are pages for people and no operations: they hold no data and take no authority.
    for asset in assets::ALL {
        router = router.route(asset.path, page(asset));
    }
    router.fallback(|request: Request<Body>| async move {
        let words = format!("there is no path {:?}", shown(request.uri().path()));
        let fault = Fault::not_found(words).advise("`GET /v1/openapi.json` says which there are");
        refuse_in(&request, &fault)
    })
}

/// A file of the dashboard.
fn page(asset: &'static Asset) -> MethodRouter {
    let tag = asset.tag();
    let methods = MethodRouter::new().on(MethodFilter::GET, move |request: Request<Body>| {
        std::future::ready(asset.answer(&tag, request.headers()))
    });
    refuse_others(methods, "GET, HEAD".to_owned())
}

fn methods(routes: Vec<Route>) -> MethodRouter {
    let mut known: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if known.contains(&"GET") {
        known.push("HEAD");
    }
    let allow = known.join(", ");
    let mut methods = MethodRouter::new();
    for route in routes {
        let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::TRACE);
        let route = Arc::new(route);
        methods = methods.on(filter, move |request: Request<Body>| {
            let route = Arc::clone(&route);
            async move { carry_out(&route, request).await }
        });
    }
    refuse_others(methods, allow)
}

/// Any other method is answered with those that there are.
fn refuse_others(methods: MethodRouter, allow: String) -> MethodRouter {
    methods.fallback(move |request: Request<Body>| {
        let allow = allow.clone();
        async move {
            let words = format!(
                "this path knows {allow}, and not {}",
                shown(request.method().as_str())
            );
            let mut response = refuse_in(&request, &Fault::new(Code::MethodNotAllowed, words));
            if let Ok(allow) = HeaderValue::from_str(&allow) {
                response.headers_mut().insert(ALLOW, allow);
            }
            response
        }
    })
}

async fn carry_out(route: &Route, request: Request<Body>) -> Response {
    let Some(context) = request.extensions().get::<Context>().cloned() else {
        return refuse(
            &Fault::new(Code::Internal, "the request has no context"),
            "none",
        );
    };
    let id = context.request.clone();
    let deadline = route.patience.unwrap_or(context.api.limits.deadline);
    let work = AssertUnwindSafe(prepare_and_handle(route, context, request)).catch_unwind();
    let result = match tokio::time::timeout(deadline, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => {
            tracing::error!(request = id, operation = route.id, "a handler panicked");
            Err(Fault::new(
                Code::Internal,
                "the handler panicked; the node's log has more",
            ))
        }
        Err(_elapsed) => Err(too_late(route)),
    };
    let mut response = result.unwrap_or_else(|fault| refuse(&documented(route, fault), &id));
    response.extensions_mut().insert(Operation(route.id));
    response
}

async fn prepare_and_handle(
    route: &Route,
    context: Context,
    request: Request<Body>,
) -> Result<Response, Fault> {
    let Context {
        api,
        arrival,
        request: id,
    } = context;
    let (parts, body) = request.into_parts();
    let caller = match route.need {
        Need::Nothing => None,
        Need::Scope(scope) => Some(authorize(&api, &arrival, &parts, scope, &id).await?),
    };
    let arguments = Arguments::read(
        &route.params,
        route.path,
        parts.uri.path(),
        parts.uri.query(),
        &parts.headers,
    )?;
    let body = match &route.takes {
        None => Bytes::new(),
        Some(takes) => {
            check_content(&parts.headers, takes.media)?;
            read_body(
                body,
                takes.most_bytes.unwrap_or(api.limits.body_bytes),
                api.limits.body_time,
            )
            .await?
        }
    };
    let wants_stream =
        route.streams() && parts.method == Method::GET && accepts_stream(&parts.headers);
    let cookie = Arc::default();
    let call = Call {
        api,
        arguments,
        body,
        wants_stream,
        request: id,
        arrival,
        caller,
        cookie: Arc::clone(&cookie),
    };
    let mut response = (route.carry_out)(call).await?;
    if let Some(cookie) = cookie.lock().take() {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn authorize(
    api: &Api,
    arrival: &Arrival,
    parts: &Parts,
    scope: Scope,
    id: &str,
) -> Result<(Caller, Proof, Option<Duration>), Fault> {
    let (principal, proof, left) = api.identify(arrival, &parts.headers).await?;
    let taken = api
        .rates
        .lock()
        .principals
        .take(api.now(), principal.name.clone());
    taken.map_err(|wait| too_many("this principal asks too often", wait))?;
    if principal.scope < scope {
        return Err(Fault::new(
            Code::Forbidden,
            format!(
                "{} has the scope `{}`, and this takes `{}`",
                shown(&principal.name),
                principal.scope.name(),
                scope.name()
            ),
        ));
    }
    let reads = [Method::GET, Method::HEAD].contains(&parts.method);
    let by_session = matches!(proof, Proof::Session(_));
    if by_session && !reads && !parts.headers.contains_key(SESSION_HEADER) {
        return Err(Fault::new(
            Code::Forbidden,
            "a session changes something only with the header `Convoke-Request`",
        )
        .advise("send `Convoke-Request: dashboard`: other people's pages cannot"));
    }
    let caller = Caller {
        principal,
        remote: arrival.remote,
        request: id.to_owned(),
    };
    Ok((caller, proof, left))
}

/// The value of `Authorization: Bearer`.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let token = text.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    token
        .filter(|token| token.len() <= crate::model::SECRET_BYTES)
        .map(Some)
        .ok_or_else(|| unauthenticated("`Authorization` is not `Bearer TOKEN`"))
}

fn check_content(headers: &HeaderMap, media: &str) -> Result<(), Fault> {
    let wrong = |what: String| Err(Fault::new(Code::UnsupportedMediaType, what));
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return wrong("bodies are not compressed".to_owned());
    }
    let Some(found) = headers.get(CONTENT_TYPE) else {
        return wrong(format!(
            "the body has no content type, and {media} is taken"
        ));
    };
    let found = found.to_str().unwrap_or("something that is not ASCII");
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(media) {
        Ok(())
    } else {
        wrong(format!(
            "the body is {:?}, and {media} is taken",
            shown(found)
        ))
    }
}

async fn read_body(body: Body, most_bytes: usize, most_time: Duration) -> Result<Bytes, Fault> {
    let collected = tokio::time::timeout(most_time, Limited::new(body, most_bytes).collect()).await;
    match collected {
        Err(_elapsed) => Err(Fault::new(
            Code::TooSlow,
            format!("the body was not there within {} s", most_time.as_secs()),
        )),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(
            Code::TooLarge,
            format!("the body has more than {most_bytes} bytes"),
        )),
        Ok(Err(_broken)) => Err(Fault::new(Code::BadRequest, "the body broke off")),
    }
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let media = item.split(';').next().unwrap_or_default().trim();
            media.eq_ignore_ascii_case(EVENTS)
        })
}

/// Reads a body of JSON, and says where it is wrong.
pub(crate) fn read_json<B: DeserializeOwned + Check>(bytes: &[u8]) -> Result<B, Fault> {
    let body: B = serde_json::from_slice(bytes).map_err(|error| explain(&error))?;
    body.check()?;
    Ok(body)
}

pub(crate) fn explain(error: &serde_json::Error) -> Fault {
    let place = format!("line {}, column {}", error.line(), error.column());
    let words = error.to_string();
    // The words end with the place, and may repeat what was sent.
    let words = words
        .rsplit_once(" at line ")
        .map_or(&*words, |(words, _)| words);
    let words: String = words.chars().take(256).map(harmless).collect();
    match error.classify() {
        serde_json::error::Category::Data => match words.strip_prefix("unknown field `") {
            Some(rest) => unknown_field(rest, &place),
            None => Fault::new(Code::BadField, format!("{words} ({place})")),
        },
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => {
            Fault::new(Code::BadJson, format!("{words} ({place})"))
        }
    }
}

/// `rest` is serde's sentence behind its beginning: ``name`, expected one of `a`, `b` ``.
fn unknown_field(rest: &str, place: &str) -> Fault {
    let mut names = rest.split('`').step_by(2);
    let name = names.next().unwrap_or_default();
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    let words = format!("there is no field `{}` ({place})", shown(name));
    let fault = Fault::new(Code::UnknownField, words);
    match nearest(name, known.iter().copied()) {
        Some(near) => fault.advise(format!("did you mean `{near}`?")),
        None => fault.advise(format!("there are: {}", known.join(", "))),
    }
}

/// What the document promises is kept also when the backend answers something unheard of.
fn documented(route: &Route, fault: Fault) -> Fault {
    let statuses = openapi::problems(route);
    if statuses
        .iter()
        .any(|code| code.status() == fault.code.status())
    {
        return fault;
    }
    tracing::error!(operation = route.id, %fault, "an operation answered with a problem that it does not have");
    Fault {
        code: Code::Internal,
        ..fault
    }
}

fn too_late(route: &Route) -> Fault {
    if route.changes() {
        Fault::outcome_unknown("no answer came in time; it may still be done")
    } else {
        Fault::new(Code::DeadlineExceeded, "no answer came in time")
    }
}

fn too_many(what: &str, wait: Duration) -> Fault {
    Fault::new(Code::TooMany, what).retry_after(wait)
}

fn unauthenticated(what: &str) -> Fault {
    Fault::new(Code::Unauthenticated, what)
        .advise("send `Authorization: Bearer TOKEN`; `convoke api-token create` makes one")
}

/// Whoever can open the socket in the data directory could read the node's key as well.
fn local(remote: Remote) -> Principal {
    Principal {
        name: remote.to_string(),
        scope: Scope::Admin,
        roles: RoleSet::of(&[
            Role::Master,
            Role::Worker,
            Role::Gateway,
            Role::Leecher,
            Role::Observer,
        ]),
    }
}

/// By what addresses are told apart: of IPv6 the network, since one client has all of one.
fn asking(remote: Remote) -> Option<IpAddr> {
    match remote {
        Remote::Local { .. } => None,
        Remote::Network(address) => Some(match address.ip().to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }),
    }
}

fn refuse_in(request: &Request<Body>, fault: &Fault) -> Response {
    let context = request.extensions().get::<Context>();
    refuse(fault, context.map_or("none", |context| &context.request))
}

/// A problem document.
pub(crate) fn refuse(fault: &Fault, id: &str) -> Response {
    let status =
        StatusCode::from_u16(fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(status, openapi::PROBLEM, Bytes::from(fault.body(id)));
    let headers = response.headers_mut();
    let wait = match (fault.retry_after, fault.code) {
        (Some(wait), _) => Some(wait),
        (None, Code::Unavailable | Code::NotYet | Code::Overloaded) => Some(Duration::from_secs(1)),
        (None, _) => None,
    };
    if let Some(wait) = wait {
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        if let Ok(seconds) = HeaderValue::from_str(&seconds.to_string()) {
            headers.insert(RETRY_AFTER, seconds);
        }
    }
    if fault.code == Code::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// What every answer has.
fn finish(response: &mut Response, id: &str, tls: bool) {
    const ALWAYS: [(HeaderName, &str); 6] = [
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("content-security-policy"),
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    // What a file of the dashboard says of itself counts more.
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if tls {
        let name = HeaderName::from_static("strict-transport-security");
        headers.insert(name, HeaderValue::from_static("max-age=31536000"));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("convoke-request-id"), id);
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CreateToken, SetRole};

    #[test]
    fn an_unknown_field_is_told_with_the_nearest_known_one() {
        let fault = read_json::<SetRole>(br#"{"rol": "worker"}"#).expect_err("unknown");
        assert_eq!(fault.code, Code::UnknownField);
        assert_eq!(fault.what_to_do.as_deref(), Some("did you mean `role`?"));
        let fault = read_json::<CreateToken>(br#"{"ttl": 5}"#).expect_err("unknown");
        assert_eq!(fault.detail, "there is no field `ttl` (line 1, column 6)");
        assert_eq!(
            fault.what_to_do.as_deref(),
            Some("there are: roles, ttl_ms, uses")
        );
    }

    #[test]
    fn bad_json_and_bad_fields_say_where() {
        let fault = read_json::<SetRole>(b"{\n\"role\":}").expect_err("no JSON");
        assert_eq!(
            (fault.code, &*fault.detail),
            (Code::BadJson, "expected value (line 2, column 8)")
        );
        let fault = read_json::<SetRole>(br#"{"role": "king"}"#).expect_err("no role");
        assert_eq!(fault.code, Code::BadField);
        assert!(
            fault.detail.contains("unknown variant `king`"),
            "{}",
            fault.detail
        );
    }

    #[test]
    fn what_was_sent_does_nothing_to_a_terminal_when_it_comes_back() {
        let fault = read_json::<SetRole>(br#"{"\u001b[2J": 1}"#).expect_err("unknown");
        assert!(
            !fault.detail.chars().any(char::is_control),
            "{:?}",
            fault.detail
        );
    }
}
