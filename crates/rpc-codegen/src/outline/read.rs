//! From the text of a definition to its outline, or everything that keeps it from having one.

use std::collections::{BTreeMap, BTreeSet};

use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, Fields, GenericArgument, Generics, Item, ItemEnum, ItemStruct, Lit, Meta,
    PathArguments, PathSegment, Token, Type,
};

use super::{
    Field, MethodOutline, Outline, Payload, ServiceOutline, Shape, TypeKind, TypeOutline, Variant,
};
use crate::attributes::ROLES;
use crate::definition::{Mistakes, Unreadable, marked_trait, plain_lines, read};
use crate::model::{Method, ServiceModel};
use crate::refusals::Refusals;
use crate::wire_types::{is_streaming, peeled};
use crate::{Options, streams};

/// Aliases of aliases of aliases.
const ALIASES: usize = 16;

/// The outline of a definition. `name` is what its file is called, without folders.
///
/// # Errors
///
/// Everything that keeps the definition from having one, each with its place in the text: what keeps it from being a definition, and types of
/// which it is not known what they look like in JSON.
pub fn outline_definition(name: &str, text: &str) -> Result<Outline, Mistakes> {
    let text = &plain_lines(text);
    // A definition that no Rust can be made of is none, and this says all that is wrong with it.
    crate::generate_definition(name, text, &Options::default())?;
    let outlined = read(text).and_then(|file| {
        let mut reader = Reader::new(&file.items);
        let outline = reader.outline(name, text, &file.items);
        reader
            .refusals
            .unless_any(outline)
            .map_err(Unreadable::Refused)
    });
    outlined.map_err(|error| Mistakes::locate(name, text, error))
}

struct Reader<'f> {
    structs: BTreeMap<String, &'f ItemStruct>,
    enums: BTreeMap<String, &'f ItemEnum>,
    aliases: BTreeMap<String, &'f syn::ItemType>,
    /// The type that is being read, which calls itself `Self`.
    this: Option<String>,
    refusals: Refusals,
}

impl<'f> Reader<'f> {
    fn new(items: &'f [Item]) -> Self {
        let mut reader = Self {
            structs: BTreeMap::new(),
            enums: BTreeMap::new(),
            aliases: BTreeMap::new(),
            this: None,
            refusals: Refusals::default(),
        };
        for item in items {
            if let Item::Struct(item) = item {
                reader.structs.insert(item.ident.unraw().to_string(), item);
            } else if let Item::Enum(item) = item {
                reader.enums.insert(item.ident.unraw().to_string(), item);
            } else if let Item::Type(item) = item {
                reader.aliases.insert(item.ident.unraw().to_string(), item);
            }
        }
        reader
    }

    fn outline(&mut self, name: &str, text: &str, items: &'f [Item]) -> Outline {
        let mut services = Vec::new();
        for item in items.iter().filter_map(marked_trait) {
            let mut item = item.clone();
            streams::rewrite(&mut item, &Options::default().runtime_path);
            match ServiceModel::read(&item) {
                Ok(model) => services.push(self.service(&model)),
                Err(error) => self.refusals.add(error),
            }
        }
        // What messages are made of, and what that is made of.
        let mut used = BTreeSet::new();
        for method in services.iter().flat_map(|it| &it.methods) {
            for shape in [
                &method.request,
                &method.answer,
                &method.error,
                &method.stream_error,
            ] {
                shape.names(&mut used);
            }
        }
        let mut known: BTreeMap<String, TypeOutline> = BTreeMap::new();
        loop {
            let missing = used.iter().find(|name| !known.contains_key(*name)).cloned();
            let Some(missing) = missing else { break };
            self.this = Some(missing.clone());
            let told = self.named(&missing);
            told.kind.names(&mut used);
            known.insert(missing, told);
        }
        let in_order = items.iter().filter_map(|item| {
            let ident = if let Item::Struct(item) = item {
                &item.ident
            } else if let Item::Enum(item) = item {
                &item.ident
            } else {
                return None;
            };
            known.remove(&ident.unraw().to_string())
        });
        Outline {
            name: name.to_owned(),
            types: in_order.collect(),
            services,
            doc: text_of(
                crate::definition::documentation(text)
                    .iter()
                    .map(String::as_str),
            ),
        }
    }

    // Services

    fn service(&mut self, model: &ServiceModel) -> ServiceOutline {
        ServiceOutline {
            name: model.name.clone(),
            ident: model.ident.unraw().to_string(),
            doc: model.carried.doc_text.clone(),
            methods: model.methods.iter().map(|it| self.method(it)).collect(),
        }
    }

    fn method(&mut self, method: &Method) -> MethodOutline {
        let request = method.request.as_ref();
        let takes_stream = request.is_some_and(|it| is_streaming(&it.ty));
        let gives_stream = is_streaming(&method.answer);
        let (request_shape, _) = match request {
            None => (Shape::Unit, None),
            Some(request) => self.message(&request.ty),
        };
        let (answer, stream_error) = self.message(&method.answer);
        let rules = &method.rules;
        let role = |role: &&str| ROLES.iter().find(|(_, runtime)| runtime == role);
        MethodOutline {
            name: method.ident.unraw().to_string(),
            doc: method.carried.doc_text.clone(),
            takes_stream,
            gives_stream,
            idempotent: rules.idempotent,
            deadline_ms: rules
                .deadline_ms
                .as_ref()
                .and_then(|it| it.base10_parse().ok()),
            roles: rules
                .callers
                .iter()
                .filter_map(role)
                .map(|(name, _)| *name)
                .collect(),
            request_name: request.map(|it| it.ident.unraw().to_string()),
            request: request_shape,
            answer,
            error: self.shape(&method.error),
            stream_error: stream_error.unwrap_or(Shape::Never),
        }
    }

    /// What a request or an answer is, or each of a stream of them; and the error that ends such a stream.
    fn message(&mut self, ty: &Type) -> (Shape, Option<Shape>) {
        if !is_streaming(ty) {
            return (self.shape(ty), None);
        }
        let arguments = last_segment(ty).map(arguments).unwrap_or_default();
        let item = arguments.first().map_or(Shape::Unit, |it| self.shape(it));
        let error = arguments.get(1).map(|it| self.shape(it));
        (item, error)
    }

    // Types

    fn named(&mut self, name: &str) -> TypeOutline {
        if let Some(item) = self.structs.get(name).copied() {
            self.refuse_generics(&item.generics, name);
            let rules = self.rules(&item.attrs, true);
            let kind = match &item.fields {
                Fields::Unit => TypeKind::Unit,
                Fields::Unnamed(fields) => {
                    let kept = fields.unnamed.iter();
                    let mut all: Vec<Shape> = kept.map(|it| self.unnamed(it)).collect();
                    if all.len() == 1 {
                        TypeKind::Newtype(all.remove(0))
                    } else {
                        TypeKind::Tuple(all)
                    }
                }
                Fields::Named(_) => {
                    let mut fields = self.fields(&item.fields, rules.rename_all.as_deref());
                    if rules.defaults {
                        fields.iter_mut().for_each(|it| it.may_be_left_out = true);
                    }
                    if rules.transparent && fields.len() == 1 {
                        TypeKind::Newtype(fields.remove(0).shape)
                    } else {
                        TypeKind::Fields(fields)
                    }
                }
            };
            return TypeOutline {
                name: name.to_owned(),
                doc: doc_of(&item.attrs),
                kind,
            };
        }
        let Some(item) = self.enums.get(name).copied() else {
            unreachable!("only names of types that are there are given out")
        };
        self.refuse_generics(&item.generics, name);
        let rules = self.rules(&item.attrs, true);
        let mut variants = Vec::new();
        for variant in &item.variants {
            let own = self.rules(&variant.attrs, false);
            if own.skip {
                continue;
            }
            let ident = variant.ident.unraw().to_string();
            let by_rule = || renamed_variant(&ident, rules.rename_all.as_deref());
            let inner = own
                .rename_all
                .as_deref()
                .or(rules.rename_all_fields.as_deref());
            let payload = match &variant.fields {
                Fields::Unit => Payload::Nothing,
                Fields::Named(_) => Payload::Fields(self.fields(&variant.fields, inner)),
                Fields::Unnamed(fields) => {
                    let kept = fields.unnamed.iter();
                    let mut all: Vec<Shape> = kept.map(|it| self.unnamed(it)).collect();
                    if all.len() == 1 {
                        Payload::One(all.remove(0))
                    } else {
                        Payload::Tuple(all)
                    }
                }
            };
            variants.push(Variant {
                json: own.rename.clone().unwrap_or_else(by_rule),
                name: ident,
                doc: doc_of(&variant.attrs),
                payload,
                is_other: own.other,
            });
        }
        TypeOutline {
            name: name.to_owned(),
            doc: doc_of(&item.attrs),
            kind: TypeKind::Variants(variants),
        }
    }

    fn refuse_generics(&mut self, generics: &Generics, name: &str) {
        if !generics.params.is_empty() {
            let what = format!(
                "`{name}` has parameters, which other languages cannot follow: write a type for each use of it"
            );
            self.refusals.refuse(generics, what);
        }
    }

    fn unnamed(&mut self, field: &syn::Field) -> Shape {
        let rules = self.rules(&field.attrs, false);
        if rules.skip || rules.default {
            self.refusals.refuse(
                field,
                "fields without names all travel, in their order: give this one a name",
            );
        }
        self.shape(&field.ty)
    }

    fn fields(&mut self, fields: &Fields, rename_all: Option<&str>) -> Vec<Field> {
        let mut told = Vec::new();
        for field in fields {
            let rules = self.rules(&field.attrs, false);
            let Some(ident) = field.ident.as_ref().filter(|_| !rules.skip) else {
                continue;
            };
            let ident = ident.unraw().to_string();
            let shape = self.shape(&field.ty);
            told.push(Field {
                json: rules
                    .rename
                    .clone()
                    .unwrap_or_else(|| renamed_field(&ident, rename_all)),
                name: ident,
                doc: doc_of(&field.attrs),
                may_be_left_out: rules.default || matches!(shape, Shape::Optional(_)),
                shape,
            });
        }
        told
    }

    fn shape(&mut self, ty: &Type) -> Shape {
        self.shape_within(ty, ALIASES)
    }

    fn shape_within(&mut self, ty: &Type, aliases: usize) -> Shape {
        let ty = peeled(ty);
        if let Type::Tuple(tuple) = ty {
            if tuple.elems.is_empty() {
                return Shape::Unit;
            }
            return Shape::Tuple(
                tuple
                    .elems
                    .iter()
                    .map(|it| self.shape_within(it, aliases))
                    .collect(),
            );
        }
        if let Type::Array(array) = ty {
            if let Expr::Lit(length) = &array.len
                && let Lit::Int(length) = &length.lit
                && let Ok(length) = length.base10_parse::<usize>()
            {
                return Shape::Array(Box::new(self.shape_within(&array.elem, aliases)), length);
            }
            self.refusals.refuse(
                &array.len,
                "other languages do not know this length: write the number",
            );
            return Shape::Unit;
        }
        let Some(segment) = last_segment(ty) else {
            self.refusals.refuse(ty, "it is not known what this looks like in JSON: write a struct, an enum or a type that everybody knows");
            return Shape::Unit;
        };
        let name = segment.ident.unraw().to_string();
        let given = arguments(segment);
        let mut inner = |at: usize| {
            let shape = given.get(at).map(|it| self.shape_within(it, aliases));
            Box::new(shape.unwrap_or(Shape::Unit))
        };
        match (name.as_str(), given.len()) {
            ("Box" | "Arc" | "Rc" | "Wrapping", 1) => return *inner(0),
            ("Cow", 1) => return *inner(0),
            ("Option", 1) => return Shape::Optional(inner(0)),
            ("Vec" | "VecDeque" | "LinkedList" | "BTreeSet" | "HashSet" | "BinaryHeap", 1..) => {
                let item = inner(0);
                let is_bytes = name == "Vec"
                    && *item
                        == Shape::Integer {
                            signed: false,
                            bits: 8,
                        };
                return if is_bytes {
                    Shape::Bytes
                } else {
                    Shape::List(item)
                };
            }
            ("BTreeMap" | "HashMap", 2..) => {
                let (key, value) = (inner(0), inner(1));
                let is_key = matches!(
                    *key,
                    Shape::Text
                        | Shape::Char
                        | Shape::Bool
                        | Shape::Integer { .. }
                        | Shape::Named(_)
                );
                if !is_key {
                    self.refusals.refuse(
                        ty,
                        "keys in JSON are texts or numbers: write a list of pairs",
                    );
                }
                return Shape::Map(key, value);
            }
            ("Result", 2) => return Shape::Outcome(inner(0), inner(1)),
            ("NonZero", 1) => return *inner(0),
            _ => {}
        }
        if self.structs.contains_key(&name) || self.enums.contains_key(&name) {
            return Shape::Named(name);
        }
        if name == "Self"
            && let Some(this) = &self.this
        {
            return Shape::Named(this.clone());
        }
        if let Some(alias) = self.aliases.get(&name).copied() {
            if aliases == 0 || !alias.generics.params.is_empty() {
                self.refusals.refuse(
                    ty,
                    "other languages cannot follow this alias: write what it stands for",
                );
                return Shape::Unit;
            }
            return self.shape_within(&alias.ty, aliases - 1);
        }
        if let Some(shape) = known(&name) {
            return shape;
        }
        self.refusals.refuse(
            ty,
            format!("`{name}` is neither here nor a type that everybody knows, so it is not known what it looks like in JSON: write it into this file"),
        );
        Shape::Unit
    }

    // Attributes of serde

    fn rules(&mut self, attributes: &[Attribute], of_type: bool) -> Rules {
        let mut rules = Rules::default();
        for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
            let parsed = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            match parsed {
                Ok(all) => all
                    .iter()
                    .for_each(|rule| self.rule(rule, of_type, &mut rules)),
                Err(error) => self.refusals.add(error),
            }
        }
        rules
    }

    fn rule(&mut self, rule: &Meta, of_type: bool, rules: &mut Rules) {
        let name = rule
            .path()
            .get_ident()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = || {
            let Meta::NameValue(pair) = rule else {
                return None;
            };
            let Expr::Lit(value) = &pair.value else {
                return None;
            };
            let Lit::Str(text) = &value.lit else {
                return None;
            };
            Some(text.value())
        };
        match name.as_str() {
            "rename" if text().is_some() => rules.rename = text(),
            "rename_all" if text().is_some_and(|it| CASES.contains(&it.as_str())) => rules.rename_all = text(),
            "rename_all_fields" if text().is_some_and(|it| CASES.contains(&it.as_str())) => rules.rename_all_fields = text(),
            "default" if of_type => rules.defaults = true,
            "default" => rules.default = true,
            "skip" => rules.skip = true,
            "other" => rules.other = true,
            "transparent" => rules.transparent = true,
            // What they say makes no difference to what is written.
            "deny_unknown_fields" | "alias" | "crate" | "bound" | "borrow" | "expecting" | "skip_serializing" => {}
            _ => self.refusals.refuse(rule, "with this, it is not known here what the type looks like in JSON: leave it out, or write the type as it looks"),
        }
    }
}

/// What attributes of serde say.
#[derive(Default)]
struct Rules {
    rename: Option<String>,
    rename_all: Option<String>,
    rename_all_fields: Option<String>,
    /// All fields of the type have defaults.
    defaults: bool,
    default: bool,
    skip: bool,
    other: bool,
    transparent: bool,
}

/// Types that everybody knows.
fn known(name: &str) -> Option<Shape> {
    let integer = |signed, bits| Shape::Integer { signed, bits };
    Some(match name {
        "bool" => Shape::Bool,
        "u8" | "NonZeroU8" => integer(false, 8),
        "u16" | "NonZeroU16" => integer(false, 16),
        "u32" | "NonZeroU32" => integer(false, 32),
        "u64" | "usize" | "NonZeroU64" | "NonZeroUsize" => integer(false, 64),
        "u128" | "NonZeroU128" => integer(false, 128),
        "i8" | "NonZeroI8" => integer(true, 8),
        "i16" | "NonZeroI16" => integer(true, 16),
        "i32" | "NonZeroI32" => integer(true, 32),
        "i64" | "isize" | "NonZeroI64" | "NonZeroIsize" => integer(true, 64),
        "i128" | "NonZeroI128" => integer(true, 128),
        "f32" | "f64" => Shape::Float,
        "char" => Shape::Char,
        "String" | "str" | "PathBuf" => Shape::Text,
        "IpAddr" | "Ipv4Addr" | "Ipv6Addr" | "SocketAddr" | "SocketAddrV4" | "SocketAddrV6" => {
            Shape::Text
        }
        "Bytes" | "ByteBuf" => Shape::Bytes,
        "Duration" => Shape::Duration,
        "NoError" => Shape::Never,
        _ => return None,
    })
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    if let Type::Path(path) = peeled(ty) {
        path.path.segments.last()
    } else {
        None
    }
}

fn arguments(segment: &PathSegment) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Vec::new();
    };
    let types = arguments.args.iter().filter_map(|it| {
        if let GenericArgument::Type(ty) = it {
            Some(ty)
        } else {
            None
        }
    });
    types.collect()
}

// Documentation

fn doc_of(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|it| {
            let Meta::NameValue(pair) = &it.meta else {
                return None;
            };
            let Expr::Lit(value) = &pair.value else {
                return None;
            };
            let Lit::Str(text) = &value.lit else {
                return None;
            };
            pair.path.is_ident("doc").then(|| text.value())
        })
        .collect();
    text_of(
        lines
            .iter()
            .flat_map(|it| it.lines().chain(it.is_empty().then_some(""))),
    )
}

/// Lines as they are read, without the gap behind the mark of a comment.
fn text_of<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

// Names, as serde makes them

const CASES: [&str; 8] = [
    "lowercase",
    "UPPERCASE",
    "PascalCase",
    "camelCase",
    "snake_case",
    "SCREAMING_SNAKE_CASE",
    "kebab-case",
    "SCREAMING-KEBAB-CASE",
];

fn renamed_variant(name: &str, case: Option<&str>) -> String {
    let snake = || {
        let mut text = String::new();
        for (at, letter) in name.char_indices() {
            if at > 0 && letter.is_uppercase() {
                text.push('_');
            }
            text.push(letter.to_ascii_lowercase());
        }
        text
    };
    match case {
        Some("lowercase") => name.to_ascii_lowercase(),
        Some("UPPERCASE") => name.to_ascii_uppercase(),
        Some("camelCase") => first_lower(name),
        Some("snake_case") => snake(),
        Some("SCREAMING_SNAKE_CASE") => snake().to_ascii_uppercase(),
        Some("kebab-case") => snake().replace('_', "-"),
        Some("SCREAMING-KEBAB-CASE") => snake().to_ascii_uppercase().replace('_', "-"),
        Some(_) | None => name.to_owned(),
    }
}

fn renamed_field(name: &str, case: Option<&str>) -> String {
    let pascal = || {
        let mut text = String::new();
        let mut begins = true;
        for letter in name.chars() {
            if letter == '_' {
                begins = true;
            } else if begins {
                text.push(letter.to_ascii_uppercase());
                begins = false;
            } else {
                text.push(letter);
            }
        }
        text
    };
    match case {
        Some("UPPERCASE" | "SCREAMING_SNAKE_CASE") => name.to_ascii_uppercase(),
        Some("PascalCase") => pascal(),
        Some("camelCase") => first_lower(&pascal()),
        Some("kebab-case") => name.replace('_', "-"),
        Some("SCREAMING-KEBAB-CASE") => name.to_ascii_uppercase().replace('_', "-"),
        Some(_) | None => name.to_owned(),
    }
}

fn first_lower(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|it| it.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
