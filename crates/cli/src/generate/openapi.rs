//! What a definition looks like over HTTP: the document that a node gives of a running service, made without one.
//!
//! Nodes know schemas by reflection (`convoke_rpc::reflection`), here they come from the text; a test compares the two. Documentation of types
//! and fields is here only, as a program has none any more.

use std::collections::BTreeMap;

use convoke_rpc_codegen::outline::{
    Field, MethodOutline, Outline, Payload, ServiceOutline, Shape, TypeKind, TypeOutline, Variant,
};
use convoke_types::RoleSet;
use convoke_web::model::{
    Kind, RpcKind, RpcMessages, RpcMethod, RpcSchema, RpcService, RpcTypes, Stamp, roles_of,
};
use serde_json::{Map, Value, json};

/// The document of all services of a definition, as text.
pub(super) fn document(outline: &Outline) -> String {
    let mut document = Value::Null;
    for service in &outline.services {
        let next = convoke_web::rpc::document(&described(outline, service));
        if document.is_null() {
            document = next;
            continue;
        }
        document["info"]["title"] = outline.name.as_str().into();
        document["info"]["description"] = outline.doc.as_str().into();
        for place in ["/paths", "/components/schemas"] {
            let more = next.pointer(place).and_then(Value::as_object).cloned();
            let all = document.pointer_mut(place).and_then(Value::as_object_mut);
            if let (Some(all), Some(more)) = (all, more) {
                all.extend(more);
            }
        }
        let more = next["x-not-over-http"].as_array().cloned();
        if let (Some(all), Some(more)) = (document["x-not-over-http"].as_array_mut(), more) {
            all.extend(more);
        }
    }
    document["x-generated"] = format!(
        "from {name} by `convoke gen --lang openapi`: change {name}, not this.",
        name = outline.name
    )
    .into();
    format!("{document:#}\n")
}

/// A service of a definition as a node would describe it.
pub(super) fn described(outline: &Outline, service: &ServiceOutline) -> RpcService {
    let mut schemas = Schemas {
        outline,
        types: BTreeMap::new(),
    };
    let methods = service.methods.iter();
    let methods = methods.map(|it| schemas.method(it)).collect();
    for told in &outline.types {
        let schema = schemas.of_type(told);
        schemas.types.insert(told.name.clone(), schema);
    }
    RpcService {
        name: service.name.clone(),
        doc: service.doc.clone(),
        instances: 0,
        serving: 0,
        versions: Vec::new(),
        methods,
        types: RpcTypes(schemas.types),
        stamp: Stamp {
            kind: Kind::Observed,
            revision: None,
            age_ms: None,
        },
    }
}

struct Schemas<'o> {
    outline: &'o Outline,
    types: BTreeMap<String, Value>,
}

impl Schemas<'_> {
    fn method(&mut self, method: &MethodOutline) -> RpcMethod {
        let roles = if method.roles.is_empty() {
            RoleSet::ALL
        } else {
            method
                .roles
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect()
        };
        RpcMethod {
            name: method.name.clone(),
            doc: method.doc.clone(),
            kind: match (method.takes_stream, method.gives_stream) {
                (false, false) => RpcKind::Unary,
                (false, true) => RpcKind::ServerStreaming,
                (true, false) => RpcKind::ClientStreaming,
                (true, true) => RpcKind::Bidirectional,
            },
            idempotent: method.idempotent,
            deadline_ms: method.deadline_ms,
            roles: roles_of(roles),
            messages: Some(RpcMessages {
                request: RpcSchema(self.of(&method.request)),
                answer: RpcSchema(self.of(&method.answer)),
                error: RpcSchema(self.of(&method.error)),
                stream_error: RpcSchema(self.of(&method.stream_error)),
            }),
        }
    }

    fn of(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Unit => json!({"type": "null"}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Integer { signed, bits } => integer(*signed, *bits),
            Shape::Float => json!({"type": "number"}),
            Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
            Shape::Text => json!({"type": "string"}),
            Shape::Bytes => json!({"type": "array", "items": integer(false, 8)}),
            Shape::Optional(inner) => json!({"anyOf": [self.of(inner), {"type": "null"}]}),
            Shape::List(inner) => json!({"type": "array", "items": self.of(inner)}),
            Shape::Array(_, 0) => json!({"type": "array", "maxItems": 0}),
            Shape::Array(inner, length) => {
                json!({"type": "array", "items": self.of(inner), "minItems": length, "maxItems": length})
            }
            Shape::Tuple(all) => self.tuple(all),
            Shape::Map(key, value) => {
                let mut schema = json!({"type": "object", "additionalProperties": self.of(value)});
                if let Some(keys) = self.keys(key) {
                    schema["propertyNames"] = keys;
                }
                schema
            }
            Shape::Duration => self.once("Duration", || {
                json!({
                    "type": "object",
                    "properties": {"secs": integer(false, 64), "nanos": integer(false, 32)},
                    "required": ["secs", "nanos"],
                })
            }),
            Shape::Outcome(ok, err) => json!({"oneOf": [
                one("Ok", &self.of(ok)),
                one("Err", &self.of(err)),
            ]}),
            Shape::Named(name) => reference(name),
            Shape::Never => self.once("NoError", || json!({"not": {}})),
        }
    }

    /// What keys of a map may be, if not any text.
    fn keys(&self, key: &Shape) -> Option<Value> {
        if matches!(key, Shape::Integer { .. }) {
            return Some(json!({"pattern": "^-?[0-9]+$"}));
        }
        if *key == Shape::Bool {
            return Some(json!({"enum": ["true", "false"]}));
        }
        let name = key.named()?;
        let told = self.outline.types.iter().find(|it| it.name == name)?;
        match &told.kind {
            TypeKind::Newtype(inner) if inner.named().is_none() => self.keys(inner),
            TypeKind::Variants(_) => Some(reference(name)),
            TypeKind::Newtype(_) | TypeKind::Unit | TypeKind::Tuple(_) | TypeKind::Fields(_) => {
                None
            }
        }
    }

    fn once(&mut self, name: &str, schema: impl FnOnce() -> Value) -> Value {
        if !self.types.contains_key(name) {
            self.types.insert(name.to_owned(), schema());
        }
        reference(name)
    }

    fn tuple(&mut self, all: &[Shape]) -> Value {
        let length = all.len();
        let all: Vec<Value> = all.iter().map(|it| self.of(it)).collect();
        match all.split_first() {
            None => json!({"type": "array", "maxItems": 0}),
            Some((first, rest)) if rest.iter().all(|it| it == first) => {
                json!({"type": "array", "items": first, "minItems": length, "maxItems": length})
            }
            Some(_) => {
                json!({"type": "array", "prefixItems": all, "minItems": length, "maxItems": length})
            }
        }
    }

    fn of_type(&mut self, told: &TypeOutline) -> Value {
        let mut schema = match &told.kind {
            TypeKind::Unit => json!({"type": "null"}),
            TypeKind::Newtype(shape) => self.of(shape),
            TypeKind::Tuple(all) => self.tuple(all),
            TypeKind::Fields(fields) => self.fields(fields),
            TypeKind::Variants(variants) => self.variants(variants),
        };
        describe(&mut schema, &told.doc);
        schema
    }

    fn fields(&mut self, fields: &[Field]) -> Value {
        let mut properties = Map::new();
        for field in fields {
            let mut schema = self.of(&field.shape);
            describe(&mut schema, &field.doc);
            properties.insert(field.json.clone(), schema);
        }
        let required = fields.iter().filter(|it| !it.may_be_left_out);
        let required: Vec<&str> = required.map(|it| it.json.as_str()).collect();
        json!({"type": "object", "properties": properties, "required": required})
    }

    fn variants(&mut self, variants: &[Variant]) -> Value {
        let (mut units, mut others) = (Vec::new(), Vec::new());
        for variant in variants {
            let payload = match &variant.payload {
                Payload::Nothing => {
                    units.push(variant.json.as_str());
                    continue;
                }
                Payload::One(shape) => self.of(shape),
                Payload::Tuple(all) => self.tuple(all),
                Payload::Fields(fields) => self.fields(fields),
            };
            let mut schema = one(&variant.json, &payload);
            describe(&mut schema, &variant.doc);
            others.push(schema);
        }
        let units = (!units.is_empty()).then(|| json!({"type": "string", "enum": units}));
        match units {
            None if others.is_empty() => json!({"not": {}}),
            Some(units) if others.is_empty() => units,
            units => json!({"oneOf": units.into_iter().chain(others).collect::<Vec<_>>()}),
        }
    }
}

fn integer(signed: bool, bits: u16) -> Value {
    match (signed, bits) {
        (false, 8) => json!({"type": "integer", "minimum": 0, "maximum": u8::MAX}),
        (false, 16) => json!({"type": "integer", "minimum": 0, "maximum": u16::MAX}),
        (false, 32) => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        (false, 64) => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
        (false, _) => json!({"type": "integer", "minimum": 0}),
        (true, 8) => json!({"type": "integer", "minimum": i8::MIN, "maximum": i8::MAX}),
        (true, 16) => json!({"type": "integer", "minimum": i16::MIN, "maximum": i16::MAX}),
        (true, 32) => json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}),
        (true, 64) => json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}),
        (true, _) => json!({"type": "integer"}),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn one(name: &str, payload: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {name: payload},
        "required": [name],
        "additionalProperties": false,
    })
}

fn describe(schema: &mut Value, doc: &str) {
    if !doc.is_empty() {
        schema["description"] = doc.into();
    }
}
