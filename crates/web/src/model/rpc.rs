//! RPC services, as they can be called over HTTP.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Role, Stamp};

/// The longest name of an RPC service; offers have no longer ones.
pub const SERVICE_BYTES: usize = 59;
/// The longest name of a method.
pub const METHOD_BYTES: usize = 128;

/// An RPC service of which instances are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RpcServiceSummary {
    /// Its name.
    pub name: String,
    /// How many instances are known.
    pub instances: u64,
    /// How many of them take calls.
    pub serving: u64,
    /// The versions that instances say they are of, the newest first.
    pub versions: Vec<String>,
}

/// An RPC service with its methods, as its instances describe themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RpcService {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub doc: String,
    /// How many instances are known.
    pub instances: u64,
    /// How many of them take calls.
    pub serving: u64,
    /// The versions that instances say they are of, the newest first.
    pub versions: Vec<String>,
    /// Its methods, in the order of their trait; behind those of the newest version those that only others have.
    pub methods: Vec<RpcMethod>,
    /// Types that have names, of the newest version; the schemas of messages refer to them as `#/components/schemas/NAME`.
    pub types: RpcTypes,
    /// Of what kind of state the instances are.
    pub stamp: Stamp,
}

/// Schemas by the names of types.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcTypes(pub BTreeMap<String, Value>);

impl JsonSchema for RpcTypes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RpcTypes".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "JSON Schemas by the names of types.",
            "type": ["object"],
        })
    }
}

/// A schema of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcSchema(pub Value);

impl JsonSchema for RpcSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RpcSchema".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "A JSON Schema.", "type": ["object", "boolean"]})
    }
}

/// A method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RpcMethod {
    /// Its name within the service.
    pub name: String,
    /// What it does.
    pub doc: String,
    /// Which sides are streams.
    pub kind: RpcKind,
    /// Whether running twice does no more than running once.
    pub idempotent: bool,
    /// How long callers wait who do not say; null if it does not say.
    pub deadline_ms: Option<u64>,
    /// Nodes that may hold one of these roles may call it.
    pub roles: Vec<Role>,
    /// What its messages look like; null if the instances do not say so.
    pub messages: Option<RpcMessages>,
}

/// The messages of a method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RpcMessages {
    /// The request, or one of many.
    pub request: RpcSchema,
    /// The answer, or one of many.
    pub answer: RpcSchema,
    /// The method's own error.
    pub error: RpcSchema,
    /// The error that ends a stream of answers.
    pub stream_error: RpcSchema,
}

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RpcKind {
    /// None.
    Unary,
    /// The answers: over HTTP they come as events.
    ServerStreaming,
    /// The requests: not over HTTP.
    ClientStreaming,
    /// Both: not over HTTP.
    Bidirectional,
}

impl RpcKind {
    /// Whether it can be called over HTTP.
    #[must_use]
    pub const fn is_over_http(self) -> bool {
        matches!(self, Self::Unary | Self::ServerStreaming)
    }
}

/// Any JSON at all: what it may be is the method's business.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnyJson;

impl JsonSchema for AnyJson {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyJson".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Any JSON: what it may be is the method's business.",
            "type": ["object", "array", "string", "number", "boolean", "null"],
        })
    }
}

/// The same within something else.
pub(crate) fn any_json(generator: &mut SchemaGenerator) -> Schema {
    AnyJson::json_schema(generator)
}
