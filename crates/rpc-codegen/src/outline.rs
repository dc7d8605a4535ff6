//! A definition as plain data, for whoever makes something else of it than Rust: its services, and the types of their messages.
//!
//! The types are those of JSON, as serde writes and reads them; `docs/formats/rpc-json.md` has the table. So what a type looks like has to stand
//! in the definition: a type from elsewhere is refused unless it is one that everybody knows, and so is a type that says itself how it is
//! written. What no codec of ours writes (`untagged`, `flatten`, `tag`) is refused as well.
//!
//! Deliberately not here: what is made of it (`python`, and the command line for OpenAPI), and what a service may be (`model`).

mod read;

use std::collections::BTreeSet;

pub use self::read::outline_definition;

/// What stands in a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// What the file is called.
    pub name: String,
    /// The documentation of the file.
    pub doc: String,
    /// Types that messages are made of, in the order of the text. Those that no message has are left out.
    pub types: Vec<TypeOutline>,
    /// Its services, in the order of the text.
    pub services: Vec<ServiceOutline>,
}

/// A type with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeOutline {
    /// Its name.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// What it is.
    pub kind: TypeKind,
}

/// What a type with a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// Nothing, and so `null`.
    Unit,
    /// What is inside.
    Newtype(Shape),
    /// A list of so many.
    Tuple(Vec<Shape>),
    /// An object.
    Fields(Vec<Field>),
    /// One of these.
    Variants(Vec<Variant>),
}

/// A field of a struct or a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As Rust calls it.
    pub name: String,
    /// As JSON calls it.
    pub json: String,
    /// Its documentation.
    pub doc: String,
    /// What is in it.
    pub shape: Shape,
    /// It may be left out: it is optional, or has a default.
    pub may_be_left_out: bool,
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// As Rust calls it.
    pub name: String,
    /// As JSON calls it.
    pub json: String,
    /// Its documentation.
    pub doc: String,
    /// What it carries.
    pub payload: Payload,
    /// It stands for those that are not known, and is never written.
    pub is_other: bool,
}

/// What a variant carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: the variant is its name.
    Nothing,
    /// One value.
    One(Shape),
    /// A list of so many.
    Tuple(Vec<Shape>),
    /// An object.
    Fields(Vec<Field>),
}

/// What a value looks like in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `null`.
    Unit,
    /// `true` or `false`.
    Bool,
    /// A whole number of so many bits.
    Integer {
        /// It may be negative.
        signed: bool,
        /// 8 to 128.
        bits: u16,
    },
    /// A number; `null` for one that is none.
    Float,
    /// A text of one character.
    Char,
    /// A text.
    Text,
    /// A list of numbers up to 255.
    Bytes,
    /// The value, or `null`.
    Optional(Box<Self>),
    /// A list.
    List(Box<Self>),
    /// A list of exactly so many.
    Array(Box<Self>, usize),
    /// A list of exactly these.
    Tuple(Vec<Self>),
    /// An object whose names are keys.
    Map(Box<Self>, Box<Self>),
    /// `{"secs": …, "nanos": …}`.
    Duration,
    /// `{"Ok": …}` or `{"Err": …}`.
    Outcome(Box<Self>, Box<Self>),
    /// A type of the definition.
    Named(String),
    /// There is no value.
    Never,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOutline {
    /// Its name on the wire.
    pub name: String,
    /// The name of its trait.
    pub ident: String,
    /// Its documentation.
    pub doc: String,
    /// Its methods, in the order of the trait.
    pub methods: Vec<MethodOutline>,
}

/// A method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodOutline {
    /// Its name.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// Whether requests are a stream.
    pub takes_stream: bool,
    /// Whether answers are.
    pub gives_stream: bool,
    /// Whether running twice does no more than running once.
    pub idempotent: bool,
    /// How long callers wait who do not say.
    pub deadline_ms: Option<u64>,
    /// Who may call, by the names of roles; everybody if there is none.
    pub roles: Vec<&'static str>,
    /// What its request is called, if it has one.
    pub request_name: Option<String>,
    /// Its request, or one of them.
    pub request: Shape,
    /// Its answer, or one of them.
    pub answer: Shape,
    /// Its own error.
    pub error: Shape,
    /// The error that ends a stream of answers.
    pub stream_error: Shape,
}

impl Shape {
    /// The type of the definition that it is, if it is one.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        if let Self::Named(name) = self {
            Some(name)
        } else {
            None
        }
    }

    /// Names of types that it is made of.
    fn names(&self, names: &mut BTreeSet<String>) {
        match self {
            Self::Named(name) => {
                names.insert(name.clone());
            }
            Self::Optional(inner) | Self::List(inner) | Self::Array(inner, _) => inner.names(names),
            Self::Tuple(all) => all.iter().for_each(|it| it.names(names)),
            Self::Map(key, value) | Self::Outcome(key, value) => {
                key.names(names);
                value.names(names);
            }
            Self::Unit
            | Self::Bool
            | Self::Integer { .. }
            | Self::Float
            | Self::Char
            | Self::Text
            | Self::Bytes
            | Self::Duration
            | Self::Never => {}
        }
    }
}

impl TypeKind {
    fn names(&self, names: &mut BTreeSet<String>) {
        let mut fields = |all: &[Field]| all.iter().for_each(|it| it.shape.names(names));
        match self {
            Self::Unit => {}
            Self::Newtype(shape) => shape.names(names),
            Self::Tuple(all) => all.iter().for_each(|it| it.names(names)),
            Self::Fields(all) => fields(all),
            Self::Variants(all) => {
                for variant in all {
                    match &variant.payload {
                        Payload::Nothing => {}
                        Payload::One(shape) => shape.names(names),
                        Payload::Tuple(all) => all.iter().for_each(|it| it.names(names)),
                        Payload::Fields(all) => all.iter().for_each(|it| it.shape.names(names)),
                    }
                }
            }
        }
    }
}
