//! What generated code and this crate agree on: how a service describes itself and how one call is handed to it.
//!
//! People write a trait and an implementation; the generator writes an impl of [`Service`] over it. Nothing here touches a
//! link: a call comes as decoded context and bytes, a reply leaves as bytes.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use convoke_types::{Changed, Code, Problem, RoleSet, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::NoError;
use crate::reflection::Translation;
use crate::streaming::{IncomingStream, Streaming, give_way};

pub use convoke_types::wire::rpc::MethodKind;

/// One method, as callers and servers know it. Lives in a `static` of the generated code.
pub struct MethodDescriptor {
    name: &'static str,
    kind: MethodKind,
    idempotent: bool,
    deadline: Option<Duration>,
    callers: RoleSet,
    doc: &'static str,
    types: [&'static str; 3],
    resumption: Option<[&'static str; 2]>,
    /// A process-wide number, given at first use, by which lanes remember what they bound.
    slot: AtomicU32,
}

impl MethodDescriptor {
    /// A method by its full name, `Service.method`.
    #[must_use]
    pub const fn new(name: &'static str, kind: MethodKind) -> Self {
        Self {
            name,
            kind,
            idempotent: false,
            deadline: None,
            callers: RoleSet::ALL,
            doc: "",
            types: [""; 3],
            resumption: None,
            slot: AtomicU32::new(0),
        }
    }

    /// Running it twice does what running it once does, so a call that may have run may be repeated.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// How long callers wait when they do not say.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Its stream of answers goes on elsewhere when it is cut: this field of the request says behind which item it begins, and is taken from that
    /// field of the item.
    #[must_use]
    pub const fn resumable(mut self, request: &'static str, item: &'static str) -> Self {
        self.resumption = Some([request, item]);
        self
    }

    /// Who may call: nodes that may hold at least one of these roles.
    #[must_use]
    pub const fn callers(mut self, roles: RoleSet) -> Self {
        self.callers = roles;
        self
    }

    /// What it does, for people.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Its request, answer and error, as they stand in the trait.
    #[must_use]
    pub const fn types(
        mut self,
        request: &'static str,
        answer: &'static str,
        error: &'static str,
    ) -> Self {
        self.types = [request, answer, error];
        self
    }

    /// `Service.method`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its shape.
    #[must_use]
    pub fn kind(&self) -> MethodKind {
        self.kind
    }

    /// Whether it may be repeated.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The field of the request that says behind which item to begin, and the field of an item that it is taken from, if its stream of answers goes on
    /// when it is cut.
    #[must_use]
    pub fn resumption(&self) -> Option<[&'static str; 2]> {
        self.resumption
    }

    /// How long callers wait when they do not say, if the method says.
    #[must_use]
    pub fn default_deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Who may call.
    #[must_use]
    pub fn allowed_callers(&self) -> RoleSet {
        self.callers
    }

    /// What it does, for people.
    #[must_use]
    pub fn documentation(&self) -> &'static str {
        self.doc
    }

    /// The type of its request, as it stands in the trait; `()` when it takes none. Empty when nobody said.
    #[must_use]
    pub fn request_type(&self) -> &'static str {
        self.types[0]
    }

    /// The type of its answer.
    #[must_use]
    pub fn answer_type(&self) -> &'static str {
        self.types[1]
    }

    /// The type of its own error.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        self.types[2]
    }

    /// A small number, the same for the life of the process and different for every method used in it.
    pub(crate) fn slot(&self) -> u32 {
        let slot = self.slot.load(Ordering::Relaxed);
        if slot != 0 { slot } else { self.take_slot() }
    }

    #[cold]
    fn take_slot(&self) -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
        match self
            .slot
            .compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => fresh,
            Err(taken) => taken,
        }
    }
}

impl fmt::Debug for MethodDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.name, self.kind)
    }
}

/// One RPC service, as callers and servers know it.
#[derive(Debug)]
pub struct ServiceDescriptor {
    /// Its name, unique on a server.
    pub name: &'static str,
    /// What it is for, for people.
    pub doc: &'static str,
    /// Its methods; their order is the order of [`Service::dispatch`].
    pub methods: &'static [MethodDescriptor],
}

/// Something that answers calls. Implemented by generated servers.
pub trait Service: Send + Sync + 'static {
    /// What it offers.
    fn descriptor(&self) -> &'static ServiceDescriptor;

    /// Begins one call of the method at `method` in the descriptor, by one of the functions of [`IncomingCall`] with that
    /// method's types. That function need not run the handler: reflection goes this way to translate a message.
    fn dispatch(&self, method: u16, call: IncomingCall) -> Handling;
}

/// A call being handled.
pub type Handling = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What came of a call.
#[derive(Debug)]
pub enum Reply {
    /// The method's own answer, encoded.
    Answer(Vec<u8>),
    /// The method's own error, encoded.
    AppError(Vec<u8>),
    /// No answer came to be.
    Problem(Problem),
    /// Everything was said on the call's stream.
    OnStream,
}

impl Reply {
    /// Bytes of its message.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Answer(body) | Self::AppError(body) => body.len(),
            Self::Problem(_) | Self::OnStream => 0,
        }
    }
}

/// One call on its way to its handler.
///
/// Types of messages are asked to go both ways, as both ends of a service come from one trait: what a server reads its client
/// writes, and the reverse.
#[derive(Debug)]
pub struct IncomingCall {
    pub(crate) context: Context,
    pub(crate) body: Body,
}

/// How the request arrives.
#[derive(Debug)]
pub(crate) enum Body {
    /// Whole.
    Whole(Bytes),
    /// As the messages of a stream, where the reply goes too.
    Stream(Box<IncomingStream>),
    /// No request: one message of the method is to be translated, by whoever knows its type.
    #[cfg_attr(
        not(feature = "reflection"),
        expect(dead_code, reason = "only reflection translates")
    )]
    Translate(Box<Translation>),
}

impl IncomingCall {
    /// Serves one message with one message.
    pub fn unary<Req, Resp, E, F>(self, handler: impl FnOnce(Context, Req) -> F) -> Handling
    where
        Req: Serialize + DeserializeOwned + Send + 'static,
        Resp: Serialize + DeserializeOwned,
        E: Serialize + DeserializeOwned,
        F: Future<Output = Result<Resp, E>> + Send + 'static,
    {
        let body = match self.body {
            Body::Whole(body) => body,
            Body::Stream(_) => return wrong_shape(),
            Body::Translate(message) => return message.among::<Req, Resp, NoError, E>(),
        };
        match codec::from_slice::<Req>(&body) {
            Ok(request) => {
                let handled = handler(self.context, request);
                let size = body.len();
                Box::pin(async move {
                    give_way(size).await;
                    encode_outcome(handled.await)
                })
            }
            Err(error) => undecodable(&error),
        }
    }

    /// Serves one message with many.
    pub fn server_streaming<Req, Item, ItemError, E, F>(
        self,
        handler: impl FnOnce(Context, Req) -> F + Send + 'static,
    ) -> Handling
    where
        Req: Serialize + DeserializeOwned + Send + 'static,
        Item: Serialize + DeserializeOwned + Send + 'static,
        ItemError: Serialize + DeserializeOwned + Send + 'static,
        E: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<Streaming<Item, ItemError>, E>> + Send + 'static,
    {
        let mut stream = match self.body {
            Body::Stream(stream) => stream,
            Body::Whole(_) => return wrong_shape(),
            Body::Translate(message) => return message.among::<Req, Item, ItemError, E>(),
        };
        Box::pin(async move {
            let request = match stream.only_message::<Req>().await {
                Ok(request) => request,
                Err(problem) => return Reply::Problem(problem),
            };
            let resumes = self.context.method.resumption().is_some();
            match handler(self.context, request).await {
                Ok(items) => stream.send_items(items, resumes).await,
                Err(error) => encode_app_error(&error),
            }
        })
    }

    /// Serves many messages with one.
    pub fn client_streaming<Item, ItemError, Resp, E, F>(
        self,
        handler: impl FnOnce(Context, Streaming<Item, ItemError>) -> F + Send + 'static,
    ) -> Handling
    where
        Item: Serialize + DeserializeOwned + Send + 'static,
        ItemError: DeserializeOwned + Send + 'static,
        Resp: Serialize + DeserializeOwned + Send,
        E: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<Resp, E>> + Send + 'static,
    {
        let mut stream = match self.body {
            Body::Stream(stream) => stream,
            Body::Whole(_) => return wrong_shape(),
            Body::Translate(message) => return message.among::<Item, Resp, NoError, E>(),
        };
        Box::pin(async move {
            let items = stream.take_items();
            encode_outcome(handler(self.context, items).await)
        })
    }

    /// Serves many messages with many.
    pub fn bidirectional<In, InError, Out, OutError, E, F>(
        self,
        handler: impl FnOnce(Context, Streaming<In, InError>) -> F + Send + 'static,
    ) -> Handling
    where
        In: Serialize + DeserializeOwned + Send + 'static,
        InError: DeserializeOwned + Send + 'static,
        Out: Serialize + DeserializeOwned + Send + 'static,
        OutError: Serialize + DeserializeOwned + Send + 'static,
        E: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<Streaming<Out, OutError>, E>> + Send + 'static,
    {
        let mut stream = match self.body {
            Body::Stream(stream) => stream,
            Body::Whole(_) => return wrong_shape(),
            Body::Translate(message) => return message.among::<In, Out, OutError, E>(),
        };
        Box::pin(async move {
            let items = stream.take_items();
            match handler(self.context, items).await {
                Ok(out) => stream.send_items(out, false).await,
                Err(error) => encode_app_error(&error),
            }
        })
    }

    /// Answers a method number that the service does not have.
    #[must_use]
    pub fn unknown_method(self, method: u16) -> Handling {
        let message = format!(
            "{} has no method number {method}",
            self.context.method.name()
        );
        Box::pin(ready(Reply::Problem(Problem::new(
            Code::Unimplemented,
            message,
        ))))
    }
}

/// The caller used a shape that the method does not have.
fn wrong_shape() -> Handling {
    let message = "the method streams where the call does not, or the reverse; are both sides built from one definition?";
    Box::pin(ready(Reply::Problem(Problem::new(
        Code::Unimplemented,
        message,
    ))))
}

fn undecodable(error: &dyn fmt::Display) -> Handling {
    let message = format!("cannot decode the request: {error}");
    let problem = Problem::new(Code::Undecodable, message).changed(Changed::No);
    Box::pin(ready(Reply::Problem(problem)))
}

/// Most answers are small; one allocation without growth serves them.
const ANSWER_SIZE: usize = 64;

fn encode_outcome<T: Serialize, E: Serialize>(outcome: Result<T, E>) -> Reply {
    match outcome {
        Ok(answer) => encode(&answer).map_or_else(Reply::Problem, Reply::Answer),
        Err(error) => encode_app_error(&error),
    }
}

fn encode_app_error<E: Serialize>(error: &E) -> Reply {
    encode(error).map_or_else(Reply::Problem, Reply::AppError)
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(ANSWER_SIZE);
    match codec::encode_into(message, &mut out) {
        Ok(()) => Ok(out),
        Err(error) => Err(Problem::new(
            Code::Internal,
            format!("cannot encode the answer: {error}"),
        )),
    }
}
