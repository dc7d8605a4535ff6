//! RPC services over HTTP: calls of any instance that is offered in the cluster, with JSON in place of types.
//!
//! ```text
//! request ─ JSON ─► translated by an instance ─ bytes ─► called on the instance that is best ─ bytes ─► translated ─ JSON ─► answer
//! ```
//!
//! The node has no types of the services that it calls: their instances put messages into their other form (`convoke.Reflection`), as they do
//! for `convoke rpc`. A call itself is like any other: balanced, with its deadline, retried only where that is safe, cancelled when it is
//! dropped. It is made as this node, and so with the roles of its certificate; who asks needs one of the roles that the method is for, too.
//!
//! Only what nodes offer can be called: services whose names begin with [`INNER`] never, though somebody offer them.
//!
//! | bound | |
//! | --- | --- |
//! | services whose methods are known | [`KNOWN_MOST`]; all are forgotten for one more |
//! | how old that may be | [`AGE_MOST`]; [`AGE_LEAST`] when somebody asks for a method that is not among them |
//! | instances that are asked to describe themselves | [`ASKED`] of each of [`VERSIONS_MOST`] versions; [`ASKING_MOST`] services at once |
//! | schemas and methods of a service | [`SCHEMA_BYTES`], [`METHODS_OF_ONE`]; what is beyond is left out |
//! | methods that can be called, as long as the process lives | [`METHODS_MOST`] |
//! | messages that one instance translates at a time | [`TRANSLATIONS_MOST`] |
//! | answers of a stream that are being translated | [`AHEAD`] |
//!
//! Deliberately not here: how instances are known and chosen (`convoke-driver`, `convoke-balance`), and what HTTP looks like (`convoke-web`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_balance::{Health, Instance, InstanceId};
use convoke_driver::{ClusterClient, WorkerRegistry};
use convoke_rpc::reflection::{
    Form, MethodDescription, MethodSchemas, Part as Message, ReflectionClient, Schemas,
    ServiceDescription, Untranslated,
};
use convoke_rpc::{
    BalancedConfig, CallError, CallOptions, Caller as Calling, Changed, Channel, ChannelConfig,
    Code as Inner, DEFAULT_DEADLINE, Encoded, Endpoint, MethodDescriptor, MethodKind, Problem,
    Retry, RoleSet, Target, TraceContext,
};
use convoke_types::Selector;
use convoke_web::backend::{Caller, RpcAnswer, RpcCall};
use convoke_web::model::{
    METHOD_BYTES, RpcKind, RpcMessages, RpcMethod, RpcSchema, RpcService, RpcTypes, roles_of,
};
use convoke_web::{Code, Fault, path_at};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ask::Desk;
use super::instances::{by_age, knows_none, serving, stamp, versions};
use crate::parts::Slot;

/// Names of services of the cluster itself begin so.
const INNER: &str = "convoke.";
/// Services whose methods are known.
pub(super) const KNOWN_MOST: usize = 256;
/// How long what an instance says of itself is believed, …
const AGE_MOST: Duration = Duration::from_secs(60);
/// … and how long when a method is asked for that it did not say.
const AGE_LEAST: Duration = Duration::from_secs(2);
/// Instances of a version that are asked, one after the other, until one answers.
const ASKED: usize = 3;
/// Versions of a service that are asked, the newest first.
const VERSIONS_MOST: usize = 8;
/// Services that are asked at once.
const ASKING_MOST: usize = 8;
/// Schemas of a service.
const SCHEMA_BYTES: usize = 256 << 10;
/// Methods of a service.
const METHODS_OF_ONE: usize = 512;
/// Documentation that is kept of anything.
const DOC_BYTES: usize = 4 << 10;
/// Methods that were called. What a caller knows of a method lives as long as the process.
const METHODS_MOST: usize = 1_024;
/// Messages that one instance translates at a time.
const TRANSLATIONS_MOST: u32 = 1_000;
/// Answers of a stream that are translated while the one before is written.
const AHEAD: usize = 16;
/// How long links may take to close.
const GRACE: Duration = Duration::from_secs(1);

/// What the node has for calls over HTTP.
#[derive(Debug)]
pub(super) struct Bridge {
    ways: Slot<Ways>,
    known: Mutex<BTreeMap<String, Arc<Known>>>,
    asking: Semaphore,
}

/// Ways to instances. Both go by the registry of the node.
#[derive(Clone, Debug)]
struct Ways {
    calls: ClusterClient,
    /// With limits of their own: a call that is under way must not keep its own answers from being translated.
    translations: ClusterClient,
}

impl Ways {
    fn by(endpoint: &Endpoint, registry: &WorkerRegistry) -> Self {
        let calls = ClusterClient::new(endpoint, registry, BalancedConfig::default());
        let mut config = BalancedConfig::default();
        config.params.limit_first = TRANSLATIONS_MOST;
        config.params.limit_least = TRANSLATIONS_MOST;
        config.params.limit_most = TRANSLATIONS_MOST;
        let translations = ClusterClient::new(endpoint, registry, config);
        Self {
            calls,
            translations,
        }
    }

    fn registry(&self) -> &WorkerRegistry {
        self.calls.registry()
    }
}

/// A service, as its instances described themselves.
#[derive(Debug)]
struct Known {
    at: Instant,
    versions: BTreeSet<Arc<str>>,
    doc: String,
    methods: Vec<Method>,
    types: RpcTypes,
}

#[derive(Clone, Debug)]
struct Method {
    told: RpcMethod,
    full_name: String,
    kind: MethodKind,
    roles: RoleSet,
    /// Of which version the instances are that know its types.
    version: Arc<str>,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            ways: Slot::new(),
            known: Mutex::default(),
            asking: Semaphore::new(ASKING_MOST),
        }
    }
}

/// Has ways to the instances that the node knows, while it takes part in gossip.
pub(super) async fn keep(desk: &Desk, stop: &CancellationToken) {
    let mut registry = desk.parts.registry.watch();
    loop {
        let here = registry.borrow_and_update().clone();
        let ways = here.map(|registry| Ways::by(&desk.parts.endpoint, &registry));
        let filled = ways.clone().map(|ways| desk.bridge.ways.fill(ways));
        let goes_on = tokio::select! {
            () = stop.cancelled() => false,
            changed = registry.changed() => changed.is_ok(),
        };
        drop(filled);
        if let Some(ways) = ways {
            tokio::join!(ways.calls.close(GRACE), ways.translations.close(GRACE));
        }
        if !goes_on {
            return;
        }
    }
}

impl Desk {
    pub(super) async fn see_rpc_service(&self, service: &str) -> Result<RpcService, Fault> {
        let ways = self.bridge.ways()?;
        let known = self.bridge.known(self, &ways, service, None).await?;
        let instances = ways.registry().select(service, &Selector::everything());
        Ok(RpcService {
            name: service.to_owned(),
            doc: known.doc.clone(),
            instances: instances.len() as u64,
            serving: serving(&instances),
            versions: versions(&instances),
            methods: known.methods.iter().map(|it| it.told.clone()).collect(),
            types: known.types.clone(),
            stamp: stamp(ways.registry()),
        })
    }

    pub(super) async fn call_rpc_service(
        &self,
        by: &Caller,
        call: RpcCall,
    ) -> Result<RpcAnswer, Fault> {
        let begun = Instant::now();
        let ways = self.bridge.ways()?;
        let selector = match &call.selector {
            None => Selector::everything(),
            Some(text) => text
                .parse::<Selector>()
                .map_err(|error| Fault::new(Code::BadParameter, format!("`selector`: {error}")))?,
        };
        let trace = call.trace.as_deref().map(str::parse::<TraceContext>);
        let trace = trace
            .transpose()
            .map_err(|error| Fault::new(Code::BadHeader, format!("`traceparent`: {error}")))?;
        let most = convoke_web::rpc::TIME_MOST;
        let first = call.timeout.unwrap_or(DEFAULT_DEADLINE);
        let looking = self.bridge.method(self, &ways, &call.service, &call.method);
        let method = tokio::time::timeout(first, looking).await;
        let method = method.map_err(|_| {
            let what = "no instance described itself before the deadline";
            Fault::new(Code::DeadlineExceeded, what)
        })??;
        let (who, request) = (&by.principal.name, &by.request);
        tracing::debug!(%who, from = %by.remote, %request, method = method.full_name, "call");
        method.may(by)?;
        let own = method.told.deadline_ms.map(Duration::from_millis);
        let wait = call.timeout.or(own).map(|wait| wait.min(most));
        let mut options = CallOptions::new();
        if let Some(trace) = trace {
            options = options.trace(trace);
        }
        // What it takes to get there counts, too. A stream without a deadline goes on as long as somebody reads it.
        let is_one = method.kind == MethodKind::Unary;
        let latest = match wait {
            Some(wait) => Some(begun + wait),
            None => is_one.then(|| begun + DEFAULT_DEADLINE),
        };
        let translator = Translator {
            reflection: ReflectionClient::new(ways.translations.service_where(
                &call.service,
                self.bridge.who_knows(&ways, &call.service, &method),
            )),
            method: method.full_name.clone(),
        };
        let within = |options: CallOptions| match latest {
            Some(latest) => options.deadline(latest),
            None => options,
        };
        let request = translator
            .request(&call.request, within(options.clone()))
            .await?;
        if let Some(key) = &call.key {
            options = options.key(key);
        }
        let way = ways.calls.service_where(&call.service, selector);
        let calling = Calling::from(way).with(within(options.clone()));
        let descriptor = method.descriptor()?;
        if is_one {
            let answer = calling
                .unary::<_, Encoded, Encoded>(descriptor, &request)
                .await;
            // The answer is told, however late it came.
            return match answer {
                Ok(answer) => Ok(RpcAnswer::One(
                    translator.json(Message::Answer, answer).await?,
                )),
                Err(error) => Err(translator.fault(&method, Message::Error, error).await),
            };
        }
        let items = calling.server_streaming::<_, Encoded, Encoded, Encoded>(descriptor, &request);
        let items = match items.await {
            Ok(items) => items,
            Err(error) => return Err(translator.fault(&method, Message::Error, error).await),
        };
        let (translator, method) = (Arc::new(translator), Arc::new(method));
        let told = items.map(move |item| {
            let (translator, method) = (Arc::clone(&translator), Arc::clone(&method));
            async move {
                match item {
                    Ok(item) => translator.json(Message::Answer, item).await,
                    Err(error) => Err(translator.fault(&method, Message::StreamError, error).await),
                }
            }
        });
        Ok(RpcAnswer::Many(Box::pin(told.buffered(AHEAD))))
    }
}

impl Bridge {
    fn ways(&self) -> Result<Ways, Fault> {
        self.ways.get().ok_or_else(knows_none)
    }

    async fn method(
        &self,
        desk: &Desk,
        ways: &Ways,
        service: &str,
        method: &str,
    ) -> Result<Method, Fault> {
        let known = self.known(desk, ways, service, Some(method)).await?;
        if let Some(found) = known.method(method) {
            return Ok(found.clone());
        }
        let names: Vec<&str> = known
            .methods
            .iter()
            .map(|it| it.told.name.as_str())
            .collect();
        let what = format!("{service} has no method {method}");
        Err(Fault::not_found(what).advise(format!("it has: {}", names.join(", "))))
    }

    /// A service as its instances describe themselves, lately enough.
    async fn known(
        &self,
        desk: &Desk,
        ways: &Ways,
        service: &str,
        method: Option<&str>,
    ) -> Result<Arc<Known>, Fault> {
        let instances = if service.starts_with(INNER) {
            Vec::new()
        } else {
            ways.registry().select(service, &Selector::everything())
        };
        if instances.is_empty() {
            let names = offered(ways);
            let there = if names.is_empty() {
                "no RPC service is offered in this cluster".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            let what = format!("no instance of an RPC service {service} is known");
            return Err(Fault::not_found(what).advise(there));
        }
        let versions: BTreeSet<Arc<str>> =
            instances.iter().map(|it| Arc::clone(&it.version)).collect();
        if let Some(known) = self.remembered(service, &versions, method) {
            return Ok(known);
        }
        let _turn = self.asking.acquire().await;
        // Somebody else may have asked meanwhile.
        if let Some(known) = self.remembered(service, &versions, method) {
            return Ok(known);
        }
        match ask(&desk.parts.endpoint, service, instances, versions).await {
            Ok(known) => {
                let known = Arc::new(known);
                let mut all = self.known.lock();
                if all.len() >= KNOWN_MOST && !all.contains_key(service) {
                    all.clear();
                }
                all.insert(service.to_owned(), Arc::clone(&known));
                Ok(known)
            }
            // What was known is better than nothing.
            Err(fault) => {
                let old = self.known.lock().get(service).cloned();
                let old = old.filter(|old| method.is_none_or(|it| old.method(it).is_some()));
                old.ok_or(fault)
            }
        }
    }

    fn remembered(
        &self,
        service: &str,
        versions: &BTreeSet<Arc<str>>,
        method: Option<&str>,
    ) -> Option<Arc<Known>> {
        let known = self.known.lock().get(service).cloned()?;
        let has_it = method.is_none_or(|method| known.method(method).is_some());
        let most = if has_it { AGE_MOST } else { AGE_LEAST };
        let counts = known.at.elapsed() < most && (!has_it || known.versions == *versions);
        counts.then_some(known)
    }

    /// Which instances know the types of a method.
    fn who_knows(&self, ways: &Ways, service: &str, method: &Method) -> Selector {
        let all = ways.registry().select(service, &Selector::everything());
        if all.iter().all(|it| it.version == method.version) {
            return Selector::everything();
        }
        let version = Selector::tag("version");
        let of_it = if method.version.is_empty() {
            version.is_absent().build()
        } else {
            version.is(&method.version).build()
        };
        // A version that no selector can name: whoever is asked may know it.
        of_it.unwrap_or_else(|_| Selector::everything())
    }
}

/// Services that are offered, without those of the cluster itself.
fn offered(ways: &Ways) -> Vec<String> {
    let mut names = ways.registry().instances().services();
    names.retain(|name| !name.starts_with(INNER));
    names
}

/// Asks one instance of each version what it has.
async fn ask(
    endpoint: &Endpoint,
    service: &str,
    instances: Vec<Arc<Instance>>,
    versions: BTreeSet<Arc<str>>,
) -> Result<Known, Fault> {
    let mut newest_first: Vec<&Arc<str>> = versions.iter().collect();
    newest_first.sort_by(|a, b| by_age(b).cmp(&by_age(a)));
    let mut known: Option<Known> = None;
    let mut last = Fault::unavailable(format!("no instance of {service} can be asked just now"));
    for version in newest_first.into_iter().take(VERSIONS_MOST) {
        let of_it = instances.iter().filter(|it| it.version == *version);
        let reachable = of_it.filter(|it| it.health != Health::Failed);
        for instance in reachable.take(ASKED) {
            match describe(endpoint, instance).await {
                Ok((description, schemas)) => {
                    let known = known.get_or_insert_with(|| Known::new(&versions));
                    known.add(version, description, schemas);
                    break;
                }
                Err(fault) => last = fault,
            }
        }
    }
    known.ok_or(last)
}

/// What an instance says of itself.
async fn describe(
    endpoint: &Endpoint,
    instance: &Instance,
) -> Result<(ServiceDescription, Option<Schemas>), Fault> {
    let node = match &instance.id {
        InstanceId::Node { node, .. } => Some(*node),
        InstanceId::Named(_) => None,
    };
    let target = Target {
        addresses: instance
            .addresses
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect(),
        node,
    };
    if target.addresses.is_empty() {
        return Err(Fault::unavailable(format!(
            "instance {} says no address",
            instance.id
        )));
    }
    let config = ChannelConfig {
        patience: Duration::from_secs(2),
        ..ChannelConfig::default()
    };
    let channel = Channel::new(endpoint, target, config);
    let reflection = ReflectionClient::new(&channel);
    let asked = async {
        let service = &*instance.service;
        let described = reflection.describe().await.map_err(|error| match error.code() {
            Some(Inner::Unimplemented) => Fault::new(
                Code::NotBuilt,
                format!("the instances of {service} do not describe themselves, so nobody can put JSON into their messages"),
            )
            .advise("build their program with the feature `reflection` of convoke, and its server with `Server::builder().reflection()`"),
            Some(_) | None => Fault::unavailable(format!("instance {} does not describe itself: {error}", instance.id)),
        })?;
        let mut services = described.services.into_iter();
        let found = services.find(|it| it.name == service);
        let found = found.ok_or_else(|| {
            Fault::unavailable(format!(
                "instance {} offers {service} and does not have it",
                instance.id
            ))
        })?;
        // Older ones do not say what their messages look like.
        let schemas = reflection.schemas(service).await.ok();
        Ok((found, schemas))
    };
    let described = asked.await;
    channel.close(GRACE).await;
    described
}

impl Known {
    fn new(versions: &BTreeSet<Arc<str>>) -> Self {
        Self {
            at: Instant::now(),
            versions: versions.clone(),
            doc: String::new(),
            methods: Vec::new(),
            types: RpcTypes::default(),
        }
    }

    fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|it| it.told.name == name)
    }

    /// Takes in what an instance of a version said; what a newer one said counts more.
    fn add(&mut self, version: &Arc<str>, said: ServiceDescription, schemas: Option<Schemas>) {
        let is_newest = self.methods.is_empty();
        if is_newest {
            self.doc = cut(said.doc);
        }
        // Types of another version may have the same names and be others.
        let schemas = schemas.filter(|_| is_newest).and_then(|schemas| {
            let size = |it: &MethodSchemas| it.request.len() + it.answer.len() + it.error.len();
            let all = schemas.types.len() + schemas.methods.iter().map(size).sum::<usize>();
            let types = serde_json::from_str(&schemas.types).ok();
            types
                .filter(|_| all <= SCHEMA_BYTES)
                .map(|types| (types, schemas.methods))
        });
        let (types, messages) = schemas.unwrap_or_default();
        if is_newest {
            self.types = RpcTypes(types);
        }
        for method in said.methods {
            let name = method.name.strip_prefix(said.name.as_str());
            let name = name.and_then(|name| name.strip_prefix('.'));
            let Some(name) = name.filter(|it| (1..=METHOD_BYTES).contains(&it.len())) else {
                continue;
            };
            if self.method(name).is_some() || self.methods.len() >= METHODS_OF_ONE {
                continue;
            }
            let messages = messages.iter().find(|it| it.method == method.name);
            self.methods
                .push(Method::of(name, version, &method, messages));
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DOC_BYTES));
    text
}

impl Method {
    fn of(
        name: &str,
        version: &Arc<str>,
        said: &MethodDescription,
        messages: Option<&MethodSchemas>,
    ) -> Self {
        let schema = |text: &str| serde_json::from_str(text).ok().map(RpcSchema);
        let messages = messages.and_then(|it| {
            Some(RpcMessages {
                request: schema(&it.request)?,
                answer: schema(&it.answer)?,
                error: schema(&it.error)?,
                stream_error: schema(&it.stream_error)?,
            })
        });
        let told = RpcMethod {
            name: name.to_owned(),
            doc: cut(said.doc.clone()),
            kind: match said.kind {
                MethodKind::Unary => RpcKind::Unary,
                MethodKind::ServerStreaming => RpcKind::ServerStreaming,
                MethodKind::ClientStreaming => RpcKind::ClientStreaming,
                MethodKind::Bidirectional => RpcKind::Bidirectional,
            },
            idempotent: said.idempotent,
            deadline_ms: said.deadline_ms,
            roles: roles_of(said.callers),
            messages,
        };
        Self {
            told,
            full_name: said.name.clone(),
            kind: said.kind,
            roles: said.callers,
            version: Arc::clone(version),
        }
    }

    /// Whether it can be called over HTTP by them.
    fn may(&self, by: &Caller) -> Result<(), Fault> {
        if !self.told.kind.is_over_http() {
            let what = format!(
                "{} takes a stream of requests, which HTTP does not carry here",
                self.full_name
            );
            return Err(Fault::new(Code::NotOverHttp, what)
                .advise("call it over a link: with a generated client, or `convoke rpc call`"));
        }
        if !self.roles.intersects(by.principal.roles) {
            let what = format!(
                "{} is for nodes that may be {}, and whoever asks here has the rights of {}",
                self.full_name, self.roles, by.principal.roles
            );
            return Err(Fault::new(Code::Forbidden, what)
                .advise("ask a node that has such a role: `GET /v1/nodes` shows them"));
        }
        Ok(())
    }

    /// What a caller knows it by.
    fn descriptor(&self) -> Result<&'static MethodDescriptor, Fault> {
        type Key = (String, bool, bool);
        static ALL: Mutex<BTreeMap<Key, &'static MethodDescriptor>> = Mutex::new(BTreeMap::new());
        // What takes streams of requests is not called, so the answers tell kinds apart.
        let gives_one = self.kind == MethodKind::Unary;
        let key = (self.full_name.clone(), gives_one, self.told.idempotent);
        let mut all = ALL.lock();
        if let Some(found) = all.get(&key) {
            return Ok(found);
        }
        if all.len() >= METHODS_MOST {
            let what =
                format!("this node has called {METHODS_MOST} different methods, and keeps no more");
            return Err(
                Fault::new(Code::Full, what).advise("ask another node, or start this one again")
            );
        }
        let name: &'static str = self.full_name.clone().leak();
        let mut made = MethodDescriptor::new(name, self.kind);
        if self.told.idempotent {
            made = made.idempotent();
        }
        let made: &'static MethodDescriptor = Box::leak(Box::new(made));
        all.insert(key, made);
        Ok(made)
    }
}

/// Puts messages of one method into their other form.
struct Translator {
    reflection: ReflectionClient,
    method: String,
}

impl Translator {
    fn untranslated(&self, part: Message, message: Form) -> Untranslated {
        Untranslated {
            method: self.method.clone(),
            part,
            message,
        }
    }

    async fn request(&self, json: &str, options: CallOptions) -> Result<Encoded, Fault> {
        let message = self.untranslated(Message::Request, Form::Json(json.to_owned()));
        let translated = self.reflection.with(options).translate(&message).await;
        match translated {
            Ok(Form::Bytes(bytes)) => Ok(Encoded(bytes.into())),
            Ok(Form::Json(_)) => Err(Fault::new(
                Code::Internal,
                "an instance translated JSON into JSON",
            )),
            Err(CallError::App(problem)) if problem.code == Inner::InvalidArgument => {
                Err(bad_field(&self.method, json, problem.message()))
            }
            Err(CallError::App(problem)) if problem.code == Inner::NotFound => {
                let what = format!("the instance that was asked does not have {}", self.method);
                Err(Fault::unavailable(what))
            }
            Err(CallError::App(problem) | CallError::Rpc(problem)) => {
                // Nothing was called yet.
                Err(fault_of(problem.changed(Changed::No), true))
            }
        }
    }

    async fn json(&self, part: Message, message: Encoded) -> Result<String, Fault> {
        let message = self.untranslated(part, Form::Bytes(message.0.into()));
        let why = match self.reflection.translate(&message).await {
            Ok(Form::Json(text)) => match on_one_line(text) {
                Ok(text) => return Ok(text),
                Err(error) => error.to_string(),
            },
            Ok(Form::Bytes(_)) => "an instance translated bytes into bytes".to_owned(),
            Err(error) => error.to_string(),
        };
        let what = format!(
            "{} ran, and what it said could not be put into JSON: {why}",
            self.method
        );
        Err(Fault::outcome_unknown(what))
    }

    async fn fault(&self, method: &Method, part: Message, error: CallError<Encoded>) -> Fault {
        match error {
            CallError::Rpc(problem) => fault_of(problem, method.told.idempotent),
            CallError::App(error) => match self.json(part, error).await {
                Ok(json) => {
                    let what = format!("{} answered with its own error", self.method);
                    Fault::app_error(what, json)
                }
                Err(fault) => fault,
            },
        }
    }
}

/// JSON that somebody else wrote, once it is known to be JSON. Breaks of lines can only stand between its parts.
fn on_one_line(text: String) -> Result<String, serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(&text)?;
    if text.contains(['\n', '\r']) {
        return Ok(text.replace(['\n', '\r'], " "));
    }
    Ok(text)
}

/// What is wrong with a request, with the path to it. `why` ends with the place, as parsers say it.
fn bad_field(method: &str, json: &str, why: &str) -> Fault {
    let why = why.strip_prefix("this JSON is no request: ").unwrap_or(why);
    let placed = why.rsplit_once(" at line ").and_then(|(words, place)| {
        let (line, column) = place.split_once(" column ")?;
        let (line, column) = (line.parse().ok()?, column.parse().ok()?);
        Some(format!(
            "{}: {words} (line {line}, column {column})",
            path_at(json, line, column)
        ))
    });
    let words = placed.unwrap_or_else(|| why.to_owned());
    Fault::new(
        Code::BadField,
        format!("{method} takes something else: {words}"),
    )
    .advise("`GET /v1/rpc/SERVICE` shows what its messages look like")
}

/// Why no answer came, in words of HTTP.
fn fault_of(problem: Problem, is_idempotent: bool) -> Fault {
    let words = problem.message().to_owned();
    let nothing_ran = problem.changed == Changed::No;
    let wait = match problem.retry {
        Retry::After(wait) => Some(wait),
        Retry::Now => Some(Duration::ZERO),
        Retry::Never | Retry::IfIdempotent => None,
    };
    let code = if problem.code == Inner::Overloaded && nothing_ran {
        Code::Overloaded
    } else if problem.code == Inner::DeadlineExceeded && nothing_ran {
        Code::DeadlineExceeded
    } else if problem.code == Inner::Unimplemented {
        Code::NotFound
    } else {
        let fault = Fault::from(problem);
        return if fault.code == Code::OutcomeUnknown && is_idempotent {
            fault.advise("the method is idempotent: ask again")
        } else {
            fault
        };
    };
    let fault = Fault::new(code, words);
    match wait {
        Some(wait) => fault.retry_after(wait),
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_come_first_by_their_numbers() {
        let mut all = ["1.9.2", "1.10.0", "", "2.0.0-rc1", "1.10"];
        all.sort_by(|a, b| by_age(b).cmp(&by_age(a)));
        assert_eq!(all, ["2.0.0-rc1", "1.10.0", "1.10", "1.9.2", ""]);
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_by_its_path() {
        let json = "{\"person\": {\n  \"name\": 7}}";
        let why = "this JSON is no request: invalid type: integer `7`, expected a string at line 2 column 11";
        let fault = bad_field("Greeter.greet", json, why);
        assert_eq!(fault.code, Code::BadField);
        assert_eq!(
            fault.detail,
            "Greeter.greet takes something else: $.person.name: invalid type: integer `7`, expected a string (line 2, column 11)"
        );
    }

    #[test]
    fn what_may_have_run_is_never_called_harmless() {
        for code in Inner::ALL {
            for is_idempotent in [true, false] {
                let problem = Problem::new(code, "words").changed(Changed::Maybe);
                let fault = fault_of(problem, is_idempotent);
                let harmless = matches!(
                    fault.code,
                    Code::Unavailable | Code::DeadlineExceeded | Code::Overloaded
                );
                // These are said by who refuses before anything runs.
                let before = matches!(code, Inner::Overloaded | Inner::Unavailable);
                assert!(!harmless || before, "{code}: {fault}");
            }
        }
        let late = Problem::new(Inner::DeadlineExceeded, "late").changed(Changed::No);
        assert_eq!(fault_of(late, false).code, Code::DeadlineExceeded);
        let busy =
            Problem::new(Inner::Overloaded, "busy").retry(Retry::After(Duration::from_secs(2)));
        let busy = fault_of(busy, false);
        assert_eq!(
            (busy.code, busy.retry_after),
            (Code::Overloaded, Some(Duration::from_secs(2)))
        );
    }

    #[test]
    fn what_a_newer_version_says_counts_more() {
        let method = |name: &str, doc: &str| MethodDescription {
            name: format!("Greeter.{name}"),
            kind: MethodKind::Unary,
            request: "()".to_owned(),
            answer: "()".to_owned(),
            error: "()".to_owned(),
            idempotent: false,
            deadline_ms: None,
            callers: RoleSet::ALL,
            doc: doc.to_owned(),
            resumption: None,
        };
        let said = |methods| ServiceDescription {
            name: "Greeter".to_owned(),
            doc: "Greets.".to_owned(),
            methods,
        };
        let (new, old): (Arc<str>, Arc<str>) = ("2".into(), "1".into());
        let mut known = Known::new(&BTreeSet::from([new.clone(), old.clone()]));
        known.add(
            &new,
            said(vec![method("greet", "new"), method("more", "")]),
            None,
        );
        let others = vec![
            method("greet", "old"),
            method("gone", ""),
            method("a.b", ""),
        ];
        let stranger = MethodDescription {
            name: "Other.greet".to_owned(),
            ..method("x", "")
        };
        known.add(&old, said([others, vec![stranger]].concat()), None);
        let names: Vec<&str> = known.methods.iter().map(|it| &*it.told.name).collect();
        assert_eq!(names, ["greet", "more", "gone", "a.b"]);
        assert_eq!(known.method("greet").unwrap().told.doc, "new");
        assert_eq!(known.method("gone").unwrap().version, old);
    }
}
