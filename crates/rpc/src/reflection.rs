//! What a server offers, told by the server; and its messages as JSON, for tools that do not have its types.
//!
//! A server that was built with [`ServerBuilder::reflection`](crate::ServerBuilder) (feature `reflection`) answers the RPC service
//! `convoke.Reflection`. It *describes* services, and it *translates*: a request from JSON to the bytes that travel, an
//! answer or an error from those bytes to JSON. It never runs a handler. A tool translates its request here, calls the method
//! itself with the bytes ([`Encoded`](crate::Encoded)), and has the answer translated: so the call is like any other, with its roles,
//! interceptors, limits and deadline, and nothing on the way of ordinary calls knows of JSON.
//!
//! How the types are had: a message goes to [`Service::dispatch`](crate::Service::dispatch) like a call, and the function of
//! [`IncomingCall`](crate::IncomingCall) that knows the types of its method translates it instead of running the handler.
//!
//! Bounds: a message in either form is at most [`Limits::message_bytes`](crate::Limits); deeper nesting than either format takes is
//! refused; a stream of messages is translated one by one, as far as its reader keeps up.
//!
//! Without the feature there is nothing here but the types of messages, for tools that ask other servers. Deliberately not
//! here: descriptions of the types beyond their names; a trait is the place to read them.

use std::fmt;

use bytes::Bytes;
use convoke_types::{Problem, RoleSet};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::NoError;
use crate::service::{MethodDescriptor, MethodKind, ServiceDescriptor};
use crate::streaming::Streaming;

#[cfg(feature = "reflection")]
mod translate;
#[cfg(feature = "reflection")]
pub(crate) use translate::{Reflector, Translation};

/// Without the feature nothing is ever translated.
#[cfg(not(feature = "reflection"))]
#[derive(Debug)]
pub(crate) enum Translation {}

#[cfg(not(feature = "reflection"))]
impl Translation {
    #[expect(
        clippy::extra_unused_type_parameters,
        reason = "callers name the types with and without the feature"
    )]
    pub(crate) fn among<Request, Answer, StreamError, Error>(self) -> crate::service::Handling {
        match self {}
    }
}

/// Asked by tools.
#[convoke_rpc_macros::service_for_rpc(name = "convoke.Reflection")]
pub trait Reflection {
    /// All RPC services of this server, in the order of their names.
    #[rpc(idempotent, deadline_ms = 5_000)]
    async fn describe(&self) -> Result<Description, NoError>;

    /// One message of a method in its other form: JSON becomes bytes, bytes become JSON.
    #[rpc(idempotent, deadline_ms = 5_000)]
    async fn translate(&self, ctx: &Context, message: Untranslated) -> Result<Form, Problem>;

    /// The same for many messages, in their order. It ends with the first that has no other form.
    async fn translate_all(
        &self,
        ctx: &Context,
        messages: Streaming<Untranslated>,
    ) -> Result<Streaming<Form, Problem>, NoError>;
}

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its RPC services.
    pub services: Vec<ServiceDescription>,
}

/// One RPC service, as [`ServiceDescriptor`] has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDescription {
    /// Its name, unique on the server.
    pub name: String,
    /// What it is for, as written above its trait.
    pub doc: String,
    /// Its methods, in the order of the trait.
    pub methods: Vec<MethodDescription>,
}

/// One method, as [`MethodDescriptor`] has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodDescription {
    /// `Service.method`.
    pub name: String,
    /// Which sides are streams.
    pub kind: MethodKind,
    /// The type of the request, as it stands in the trait; `()` when there is none.
    pub request: String,
    /// The type of the answer.
    pub answer: String,
    /// The type of the method's own error.
    pub error: String,
    /// Whether it may be repeated.
    pub idempotent: bool,
    /// How long callers wait when they do not say, if the method says.
    pub deadline_ms: Option<u64>,
    /// Nodes that may hold at least one of these roles may call.
    pub callers: RoleSet,
    /// What it does, as written above it.
    pub doc: String,
    /// How its stream of answers goes on when it is cut, if it does.
    #[serde(default)]
    pub resumption: Option<Resumption>,
}

/// How a caller has a stream of answers go on: with the same request, in which one field says behind which item. Fields are as in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// The field of the request, which is an option.
    pub request: String,
    /// The field of the last item that came, whose value it takes. A number where an item is a tuple.
    pub item: String,
}

impl From<&ServiceDescriptor> for ServiceDescription {
    fn from(service: &ServiceDescriptor) -> Self {
        Self {
            name: service.name.to_owned(),
            doc: service.doc.to_owned(),
            methods: service
                .methods
                .iter()
                .map(MethodDescription::from)
                .collect(),
        }
    }
}

impl From<&MethodDescriptor> for MethodDescription {
    fn from(method: &MethodDescriptor) -> Self {
        let deadline = method.default_deadline();
        Self {
            name: method.name().to_owned(),
            kind: method.kind(),
            request: method.request_type().to_owned(),
            answer: method.answer_type().to_owned(),
            error: method.error_type().to_owned(),
            idempotent: method.is_idempotent(),
            deadline_ms: deadline
                .map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
            callers: method.allowed_callers(),
            doc: method.documentation().to_owned(),
            resumption: method.resumption().map(|[request, item]| Resumption {
                request: request.to_owned(),
                item: item.to_owned(),
            }),
        }
    }
}

/// A message of a method, to be put into its other form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untranslated {
    /// `Service.method`.
    pub method: String,
    /// Which of the method's messages it is.
    pub part: Part,
    /// The message.
    pub message: Form,
}

/// The messages of a method. The error with which a caller may end its own stream is not among them: a tool breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The request, or one message of a stream of requests.
    Request,
    /// The answer, or one message of a stream of answers.
    Answer,
    /// The method's own error.
    Error,
    /// The error that ends a stream of answers.
    StreamError,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Error => "error",
            Self::StreamError => "error of the stream",
        })
    }
}

/// A message in one of its two forms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// As JSON.
    Json(String),
    /// As the bytes that travel.
    Bytes(#[serde(with = "as_bytes")] Bytes),
}

/// Bytes as one piece; serde sees a list of numbers otherwise.
mod as_bytes {
    use std::fmt;

    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        deserializer.deserialize_byte_buf(OneReader)
    }

    struct OneReader;

    impl<'de> de::Visitor<'de> for OneReader {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut numbers: A) -> Result<Bytes, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = numbers.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes.into())
        }
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(text) => write!(f, "Json({text})"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}
