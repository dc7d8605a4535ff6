//! What the messages of methods look like as JSON: schemas, found by reading each type without anything to read.
//!
//! A type says what it wants when it is read: serde's `Deserialize` asks for a struct with these fields, for a list, for a number. So a reader
//! that holds nothing and notes what it is asked for learns the type, and types need no description beside their own code. One reading
//! ends at the first thing inside; it is made again for the next one, along another way, until there is no way left:
//!
//! ```text
//! T::deserialize(Probe) ─ "a struct" ─ first field ─ "a list" ─ element ─ "a number": noted, and broken off
//!                                    └ second field ─ …                 (the next reading)
//! ```
//!
//! Whether a field may be left out is tried as well: the type is read with all fields but this one, from samples.
//!
//! | bound | |
//! | --- | --- |
//! | readings of one message | [`READINGS`]; what was not come to by then may be anything |
//! | depth | [`DEPTH`] |
//!
//! The schemas are of JSON Schema 2020-12, as OpenAPI 3.1 has it. Types with names are told once, by name. A type that writes
//! itself otherwise than it reads itself is told as it reads itself. Deliberately not here: documentation of fields, which the program does not
//! have any more.

use std::any::type_name;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor, value::StrDeserializer,
};
use serde_json::{Map, Value, json};

/// Readings of one message. Each comes to one end of its type.
const READINGS: usize = 20_000;
/// How deep a message is looked into.
const DEPTH: usize = 64;
/// How deep samples may nest.
const SAMPLE_DEPTH: u8 = 24;

/// Schemas of many messages, which share the types that have names.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    /// Names of types as people write them, by all that the compiler calls them.
    names: BTreeMap<&'static str, String>,
    taken: BTreeSet<String>,
    types: Map<String, Value>,
}

impl Shapes {
    /// The schema of one type.
    pub(crate) fn of<T: DeserializeOwned>(&mut self) -> Value {
        let mut walk = Walk::default();
        let mut tree = Node::default();
        for _ in 0..READINGS {
            walk.at = 0;
            let probe = Probe {
                node: &mut tree,
                walk: &mut walk,
                known: &self.names,
            };
            // What it comes to does not matter: the tree has what was asked for.
            let _ = T::deserialize(probe);
            if !walk.next() {
                break;
            }
        }
        self.schema(&tree)
    }

    /// All types with names that were met, by their names.
    pub(crate) fn take_types(&mut self) -> Map<String, Value> {
        mem::take(&mut self.types)
    }

    fn schema(&mut self, node: &Node) -> Value {
        match &node.kind {
            Kind::Anything => json!({}),
            Kind::Plain(schema) => schema(),
            Kind::Optional => {
                let inner = self.child(node, 0);
                json!({"anyOf": [inner, {"type": "null"}]})
            }
            Kind::List => json!({"type": "array", "items": self.child(node, 0)}),
            Kind::Tuple(length) => self.tuple(node, *length),
            Kind::Map => {
                let keys = node.children.first().and_then(|key| self.keys(key));
                let mut schema =
                    json!({"type": "object", "additionalProperties": self.child(node, 1)});
                if let Some(keys) = keys {
                    schema["propertyNames"] = keys;
                }
                schema
            }
            Kind::Named(name, told) => self.named(name, Some((node, told))),
            Kind::Again(name) => self.named(name, None),
        }
    }

    fn child(&mut self, node: &Node, at: usize) -> Value {
        node.children
            .get(at)
            .map_or_else(|| json!({}), |child| self.schema(child))
    }

    /// What keys of a map may be, if not any text: JSON has them in quotes.
    fn keys(&mut self, key: &Node) -> Option<Value> {
        match &key.kind {
            Kind::Plain(schema) => match schema()["type"].as_str() {
                Some("integer") => Some(json!({"pattern": "^-?[0-9]+$"})),
                Some("boolean") => Some(json!({"enum": ["true", "false"]})),
                _ => None,
            },
            Kind::Named(_, Told::Inside) => self.keys(key.children.first()?),
            Kind::Named(_, Told::Variants(_)) => Some(self.schema(key)),
            // It is told where it was met first.
            Kind::Named(..)
            | Kind::Again(_)
            | Kind::Anything
            | Kind::Optional
            | Kind::List
            | Kind::Tuple(_)
            | Kind::Map => None,
        }
    }

    fn tuple(&mut self, node: &Node, length: usize) -> Value {
        let all: Vec<Value> = (0..length).map(|at| self.child(node, at)).collect();
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

    /// Where the schema of a type with a name is; the first time also that schema.
    fn named(&mut self, full: &'static str, told: Option<(&Node, &Told)>) -> Value {
        let name = if let Some(name) = self.names.get(full) {
            name.clone()
        } else {
            let short = short_name(full);
            let mut name = short.clone();
            let mut next = 2;
            while !self.taken.insert(name.clone()) {
                name = format!("{short}{next}");
                next += 1;
            }
            self.names.insert(full, name.clone());
            name
        };
        if let Some((node, told)) = told {
            let schema = self.told(node, told);
            self.types.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn told(&mut self, node: &Node, told: &Told) -> Value {
        match told {
            Told::Inside => self.child(node, 0),
            Told::Tuple(length) => self.tuple(node, *length),
            Told::Nothing => json!({"type": "null"}),
            Told::Fields(fields) => self.fields(node, fields),
            Told::Variants(names) => {
                let (mut units, mut others) = (Vec::new(), Vec::new());
                for (at, name) in names.iter().enumerate() {
                    let Some(child) = node.children.get(at) else {
                        continue;
                    };
                    if matches!(child.kind, Kind::Named("", Told::Nothing)) {
                        units.push(*name);
                        continue;
                    }
                    let payload = match &child.kind {
                        Kind::Named("", told) => self.told(child, told),
                        Kind::Anything
                        | Kind::Plain(_)
                        | Kind::Optional
                        | Kind::List
                        | Kind::Tuple(_)
                        | Kind::Map
                        | Kind::Named(..)
                        | Kind::Again(_) => self.schema(child),
                    };
                    others.push(json!({
                        "type": "object",
                        "properties": {*name: payload},
                        "required": [name],
                        "additionalProperties": false,
                    }));
                }
                let units = (!units.is_empty()).then(|| json!({"type": "string", "enum": units}));
                match units {
                    // There is no value of it.
                    None if others.is_empty() => json!({"not": {}}),
                    Some(units) if others.is_empty() => units,
                    units => json!({"oneOf": units.into_iter().chain(others).collect::<Vec<_>>()}),
                }
            }
        }
    }

    fn fields(&mut self, node: &Node, names: &[&'static str]) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (at, name) in names.iter().enumerate() {
            properties.insert((*name).to_owned(), self.child(node, at));
            if !node.left_out.contains(&at) {
                required.push(*name);
            }
        }
        json!({"type": "object", "properties": properties, "required": required})
    }
}

/// `my::Page<alloc::string::String>` as `Page_String`.
fn short_name(full: &str) -> String {
    let words = full.split(|mark: char| !(mark.is_alphanumeric() || mark == '_' || mark == ':'));
    let lasts = words.filter_map(|word| word.rsplit("::").next().filter(|it| !it.is_empty()));
    lasts.collect::<Vec<_>>().join("_")
}

/// What a type asked for, and within it.
#[derive(Debug, Default)]
struct Node {
    kind: Kind,
    children: Vec<Self>,
    /// Fields that may be left out.
    left_out: BTreeSet<usize>,
}

#[derive(Debug, Default)]
enum Kind {
    /// Nobody asked, or for anything.
    #[default]
    Anything,
    Plain(fn() -> Value),
    Optional,
    List,
    Tuple(usize),
    Map,
    /// A type with a name; without one, what a variant carries.
    Named(&'static str, Told),
    /// A type that was met before.
    Again(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Inside,
    Tuple(usize),
    Fields(&'static [&'static str]),
    Variants(&'static [&'static str]),
}

/// Which way each reading takes.
#[derive(Debug, Default)]
struct Walk {
    /// What was taken at each fork, and how many ways there are.
    forks: Vec<(usize, usize)>,
    at: usize,
    /// Types that are being looked into.
    open: BTreeSet<&'static str>,
}

impl Walk {
    /// Which way to take here.
    fn take(&mut self, ways: usize) -> usize {
        if self.at == self.forks.len() {
            self.forks.push((0, ways));
        }
        let (taken, _) = self.forks[self.at];
        self.at += 1;
        taken
    }

    /// The next reading goes another way, if there is one.
    fn next(&mut self) -> bool {
        // Forks that this reading did not come to are of an earlier one.
        self.forks.truncate(self.at);
        while let Some((taken, ways)) = self.forks.pop() {
            if taken + 1 < ways {
                self.forks.push((taken + 1, ways));
                return true;
            }
        }
        false
    }
}

/// Why a reading ended.
#[derive(Debug)]
enum Stop {
    /// As it should.
    Noted,
    Missing(&'static str),
    Other,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there was nothing to read")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self::Other
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// A reader that holds nothing, and notes what it is asked for.
struct Probe<'w> {
    node: &'w mut Node,
    walk: &'w mut Walk,
    known: &'w BTreeMap<&'static str, String>,
}

impl<'w> Probe<'w> {
    fn plain<T>(self, schema: fn() -> Value) -> Result<T, Stop> {
        self.node.kind = Kind::Plain(schema);
        Err(Stop::Noted)
    }

    /// The reader of what is inside, at one of so many places.
    fn inside(self, at: usize) -> Self {
        let children = &mut self.node.children;
        if children.len() <= at {
            children.resize_with(at + 1, Node::default);
        }
        Probe {
            node: &mut children[at],
            walk: self.walk,
            known: self.known,
        }
    }

    fn too_deep(&self) -> bool {
        self.walk.at >= DEPTH
    }

    /// Notes a type with a name; false when it was met before, or it is too deep here.
    fn enter(&mut self, name: &'static str, told: Told) -> bool {
        if matches!(&self.node.kind, Kind::Named(known, _) if *known == name) {
            return true;
        }
        if self.known.contains_key(name) || !self.walk.open.insert(name) {
            self.node.kind = Kind::Again(name);
            return false;
        }
        if self.too_deep() {
            return false;
        }
        self.node.kind = Kind::Named(name, told);
        true
    }

    /// One of the fields, or what becomes of it when that one is left out.
    fn fields<'de, V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if fields.is_empty() || self.too_deep() {
            return Err(Stop::Noted);
        }
        let way = self.walk.take(fields.len() * 2);
        if let Some(left_out) = way.checked_sub(fields.len()) {
            let samples = Samples {
                names: fields.iter().enumerate(),
                without: left_out,
                depth: SAMPLE_DEPTH,
            };
            // When samples do not tell, it is said to be needed, as who sends it is always right; except for what is optional anyway.
            let may = match visitor.visit_map(samples) {
                Ok(_) => true,
                Err(Stop::Missing(field)) => field != fields[left_out],
                Err(Stop::Noted | Stop::Other) => {
                    let child = self.node.children.get(left_out);
                    child.is_some_and(|child| matches!(child.kind, Kind::Optional))
                }
            };
            if may {
                self.node.left_out.insert(left_out);
            }
            return Err(Stop::Noted);
        }
        let name = Some(fields[way]);
        visitor.visit_map(OneField {
            name,
            probe: Some(self.inside(way)),
        })
    }

    fn elements<'de, V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        if length == 0 || self.too_deep() {
            return Err(Stop::Noted);
        }
        let at = self.walk.take(length);
        visitor.visit_seq(Element {
            before: at,
            probe: Some(self.inside(at)),
        })
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Stop> {
            self.plain(|| json!({"type": "integer", "minimum": <$type>::MIN, "maximum": <$type>::MAX}))
        }
    )*};
}

macro_rules! plain {
    ($($method:ident $schema:expr),*) => {$(
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Stop> {
            self.plain(|| $schema)
        }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    integers!(
        deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64,
        deserialize_i8 i8, deserialize_i16 i16, deserialize_i32 i32, deserialize_i64 i64
    );

    plain!(
        deserialize_u128 json!({"type": "integer", "minimum": 0}),
        deserialize_i128 json!({"type": "integer"}),
        deserialize_bool json!({"type": "boolean"}),
        deserialize_f32 json!({"type": "number"}),
        deserialize_f64 json!({"type": "number"}),
        deserialize_char json!({"type": "string", "minLength": 1, "maxLength": 1}),
        deserialize_str json!({"type": "string"}),
        deserialize_string json!({"type": "string"}),
        deserialize_identifier json!({"type": "string"}),
        deserialize_bytes json!({"type": "array", "items": byte()}),
        deserialize_byte_buf json!({"type": "array", "items": byte()}),
        deserialize_unit json!({"type": "null"}),
        deserialize_any json!({}),
        deserialize_ignored_any json!({})
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.node.kind = Kind::Optional;
        if self.too_deep() {
            return Err(Stop::Noted);
        }
        self.walk.take(1);
        visitor.visit_some(self.inside(0))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.node.kind = Kind::List;
        self.elements(1, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.node.kind = Kind::Tuple(length);
        self.elements(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.node.kind = Kind::Map;
        if self.too_deep() {
            return Err(Stop::Noted);
        }
        let at = self.walk.take(2);
        visitor.visit_map(Pair {
            wants_value: at == 1,
            probe: Some(self.inside(at)),
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        _visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter(type_name::<V::Value>(), Told::Nothing);
        Err(Stop::Noted)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if !self.enter(type_name::<V::Value>(), Told::Inside) {
            return Err(Stop::Noted);
        }
        self.walk.take(1);
        visitor.visit_newtype_struct(self.inside(0))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if !self.enter(type_name::<V::Value>(), Told::Tuple(length)) {
            return Err(Stop::Noted);
        }
        self.elements(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if !self.enter(type_name::<V::Value>(), Told::Fields(fields)) {
            return Err(Stop::Noted);
        }
        self.fields(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let name = type_name::<V::Value>();
        if !self.enter(name, Told::Variants(variants)) || variants.is_empty() {
            return Err(Stop::Noted);
        }
        let way = self.walk.take(variants.len());
        visitor.visit_enum(OneVariant {
            name: variants[way],
            probe: self.inside(way),
        })
    }
}

fn byte() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": u8::MAX})
}

/// One field, which is there to be looked into.
struct OneField<'w> {
    name: Option<&'static str>,
    probe: Option<Probe<'w>>,
}

impl<'de> MapAccess<'de> for OneField<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        let name = self.name.take().ok_or(Stop::Noted)?;
        seed.deserialize(StrDeserializer::<Stop>::new(name))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(self.probe.take().ok_or(Stop::Noted)?)
    }
}

/// A key or a value of a map.
struct Pair<'w> {
    wants_value: bool,
    probe: Option<Probe<'w>>,
}

impl<'de> MapAccess<'de> for Pair<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        if self.wants_value {
            // A key that samples do not make leaves the value unknown.
            return seed.deserialize(Sample(SAMPLE_DEPTH)).map(Some);
        }
        seed.deserialize(self.probe.take().ok_or(Stop::Noted)?)
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(self.probe.take().ok_or(Stop::Noted)?)
    }
}

/// An element, and samples of those before it.
struct Element<'w> {
    before: usize,
    probe: Option<Probe<'w>>,
}

impl<'de> SeqAccess<'de> for Element<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        if let Some(before) = self.before.checked_sub(1) {
            self.before = before;
            return seed.deserialize(Sample(SAMPLE_DEPTH)).map(Some);
        }
        seed.deserialize(self.probe.take().ok_or(Stop::Noted)?)
            .map(Some)
    }
}

/// One variant of an enum, whose payload is to be looked into.
struct OneVariant<'w> {
    name: &'static str,
    probe: Probe<'w>,
}

impl<'de, 'w> EnumAccess<'de> for OneVariant<'w> {
    type Error = Stop;
    type Variant = Probe<'w>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Stop> {
        let variant = seed.deserialize(StrDeserializer::<Stop>::new(self.name))?;
        Ok((variant, self.probe))
    }
}

/// What a variant carries has no name of its own.
impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        self.node.kind = Kind::Named("", Told::Nothing);
        Err(Stop::Noted)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        self.node.kind = Kind::Named("", Told::Tuple(length));
        self.elements(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.node.kind = Kind::Named("", Told::Fields(fields));
        self.fields(fields, visitor)
    }
}

/// All fields but one, from samples.
struct Samples<I> {
    names: I,
    without: usize,
    depth: u8,
}

impl<'de, I: Iterator<Item = (usize, &'static &'static str)>> MapAccess<'de> for Samples<I> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        let without = self.without;
        match self.names.find(|(at, _)| *at != without) {
            None => Ok(None),
            Some((_, name)) => seed
                .deserialize(StrDeserializer::<Stop>::new(name))
                .map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(Sample(self.depth))
    }
}

/// No variant is left out of an enum, and no field of a sample.
const ALL: usize = usize::MAX;

/// Something of each type, as simple as can be; so deep it may nest.
struct Sample(u8);

impl Sample {
    fn inside(self) -> Result<Self, Stop> {
        self.0.checked_sub(1).map(Self).ok_or(Stop::Other)
    }
}

macro_rules! samples {
    ($($method:ident $visit:ident $value:expr),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Sample {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    // One, since types without a zero are common and those without a one are not.
    samples!(
        deserialize_bool visit_bool false, deserialize_char visit_char 'a',
        deserialize_u8 visit_u8 1, deserialize_u16 visit_u16 1, deserialize_u32 visit_u32 1,
        deserialize_u64 visit_u64 1, deserialize_u128 visit_u128 1,
        deserialize_i8 visit_i8 1, deserialize_i16 visit_i16 1, deserialize_i32 visit_i32 1,
        deserialize_i64 visit_i64 1, deserialize_i128 visit_i128 1,
        deserialize_f32 visit_f32 1.0, deserialize_f64 visit_f64 1.0,
        deserialize_str visit_str "", deserialize_string visit_str "", deserialize_identifier visit_str "",
        deserialize_bytes visit_bytes &[], deserialize_byte_buf visit_bytes &[]
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_none()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self.inside()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_seq(SampleElements {
            left: 0,
            depth: self.inside()?.0,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_seq(SampleElements {
            left: length,
            depth: self.inside()?.0,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_map(Samples {
            names: fields.iter().enumerate(),
            without: ALL,
            depth: self.inside()?.0,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let name = variants.first().ok_or(Stop::Other)?;
        visitor.visit_enum(SampleVariant {
            name,
            inside: self.inside()?,
        })
    }
}

struct SampleElements {
    left: usize,
    depth: u8,
}

impl<'de> SeqAccess<'de> for SampleElements {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(Sample(self.depth)).map(Some)
    }
}

struct SampleVariant {
    name: &'static str,
    inside: Sample,
}

impl<'de> EnumAccess<'de> for SampleVariant {
    type Error = Stop;
    type Variant = Sample;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Sample), Stop> {
        let name: StrDeserializer<'_, Stop> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.inside))
    }
}

impl<'de> VariantAccess<'de> for Sample {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests;
