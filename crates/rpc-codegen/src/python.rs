//! A client for Python from the outline of a definition: dataclasses for its types, a class for each service.
//!
//! | in the definition | in Python |
//! | --- | --- |
//! | struct with named fields | a dataclass; fields that may be left out are `None` then, and stand behind the others |
//! | struct that holds one value | that value |
//! | struct that holds several | a tuple |
//! | enum without payloads | `enum.Enum` |
//! | enum with payloads | a class, and below it a dataclass for each variant: `PieceWord` of `Piece.Word` |
//! | the error of a method | an exception, `PieceErrorRaised` of `PieceError`, with the error in it |
//!
//! What they all need is in `convoke_http.py`, which is written beside them: nothing but the standard library, from Python 3.9 on. Names that Python
//! has for itself get a `_` behind them. The same definition gives the same text.
//!
//! Deliberately not here: streams of requests, which HTTP does not carry; such methods are named in a comment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::outline::{
    Field, MethodOutline, Outline, Payload, ServiceOutline, Shape, TypeKind, TypeOutline, Variant,
};

/// What clients need besides, and what it is called.
pub const PYTHON_RUNTIME: (&str, &str) =
    ("convoke_http.py", include_str!("python/convoke_http.py"));

/// The client of a definition.
#[must_use]
pub fn python_client(outline: &Outline) -> String {
    let mut writer = Writer::new(outline);
    writer.header(outline);
    for told in &outline.types {
        writer.a_type(told);
    }
    writer.errors(outline);
    writer.codecs(outline);
    for service in &outline.services {
        writer.service(service);
    }
    writer.text
}

struct Writer {
    text: String,
    taken: BTreeSet<String>,
    /// Types of the definition, and what they are called in Python.
    names: BTreeMap<String, String>,
    /// Types that are written as what is in them.
    plain: BTreeMap<String, TypeKind>,
    /// Classes of variants, by type and variant.
    variants: BTreeMap<(String, String), String>,
    /// Exceptions, by the types of their errors.
    raised: BTreeMap<String, String>,
}

impl Writer {
    fn new(outline: &Outline) -> Self {
        let mut writer = Self {
            text: String::new(),
            taken: BTreeSet::new(),
            names: BTreeMap::new(),
            plain: BTreeMap::new(),
            variants: BTreeMap::new(),
            raised: BTreeMap::new(),
        };
        for told in &outline.types {
            let name = writer.take(&told.name);
            writer.names.insert(told.name.clone(), name);
            match &told.kind {
                TypeKind::Unit | TypeKind::Newtype(_) | TypeKind::Tuple(_) => {
                    writer.plain.insert(told.name.clone(), told.kind.clone());
                }
                TypeKind::Fields(_) | TypeKind::Variants(_) => {}
            }
        }
        for told in &outline.types {
            if let TypeKind::Variants(variants) = &told.kind
                && !is_plain(variants)
            {
                for variant in variants {
                    let class = writer.take(&format!("{}{}", told.name, variant.name));
                    writer
                        .variants
                        .insert((told.name.clone(), variant.name.clone()), class);
                }
            }
        }
        writer
    }

    /// A name that nothing else has.
    fn take(&mut self, name: &str) -> String {
        let mut name = own(name);
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.line(line);
        }
    }

    fn doc(&mut self, indent: &str, doc: &str) {
        if doc.is_empty() {
            return;
        }
        let safe = doc.replace('\\', "\\\\").replace("\"\"\"", "\\\"\\\"\\\"");
        let mut lines = safe.lines();
        let first = lines.next().unwrap_or_default();
        let rest: Vec<&str> = lines.collect();
        if rest.is_empty() {
            // A quote at the end would be taken for a part of the mark behind it.
            let gap = if first.ends_with('"') { " " } else { "" };
            self.line(&format!("{indent}\"\"\"{first}{gap}\"\"\""));
            return;
        }
        self.line(&format!("{indent}\"\"\"{first}"));
        for line in rest {
            self.line(format!("{indent}{line}").trim_end());
        }
        self.line(&format!("{indent}\"\"\""));
    }

    fn header(&mut self, outline: &Outline) {
        let name = &outline.name;
        self.line(&format!(
            "# @generated from {name} by `convoke gen --lang python`: change {name}, not this."
        ));
        let services: Vec<&str> = outline.services.iter().map(|it| it.name.as_str()).collect();
        let doc = if outline.doc.is_empty() {
            format!(
                "Calls {} over the HTTP API of any node.",
                services.join(", ")
            )
        } else {
            outline.doc.clone()
        };
        self.doc("", &doc);
        self.lines(&[
            "",
            "from __future__ import annotations",
            "",
            "import dataclasses as _dataclasses",
            "import enum as _enum",
            "import typing as _t",
            "",
            "try:",
            "    from . import convoke_http as _http",
            "except ImportError:",
            "    import convoke_http as _http  # type: ignore[no-redef]",
        ]);
    }

    // Types

    fn a_type(&mut self, told: &TypeOutline) {
        let name = self.names[&told.name].clone();
        self.lines(&["", ""]);
        match &told.kind {
            TypeKind::Fields(fields) => self.dataclass(&name, "", &told.doc, fields),
            TypeKind::Variants(variants) if is_plain(variants) => {
                self.line(&format!("class {name}(_enum.Enum):"));
                self.doc("    ", &told.doc);
                if told.doc.is_empty() && variants.is_empty() {
                    self.line("    pass");
                }
                for (at, variant) in variants.iter().enumerate() {
                    if at > 0 || !told.doc.is_empty() {
                        self.line("");
                    }
                    let (member, json) = (member(&variant.name), quoted(&variant.json));
                    self.line(&format!("    {member} = {json}"));
                    self.doc("    ", &variant.doc);
                }
            }
            TypeKind::Variants(variants) => self.variant_classes(&name, told, variants),
            TypeKind::Unit | TypeKind::Newtype(_) | TypeKind::Tuple(_) => {
                let stands_for = self.annotation(&Shape::Named(told.name.clone()));
                for line in told.doc.lines() {
                    self.line(format!("#: {line}").trim_end());
                }
                self.line(&format!("{name} = {}", alias(&stands_for)));
            }
        }
    }

    fn variant_classes(&mut self, name: &str, told: &TypeOutline, variants: &[Variant]) {
        self.line(&format!("class {name}:"));
        let classes: Vec<String> = variants
            .iter()
            .map(|it| self.variants[&(told.name.clone(), it.name.clone())].clone())
            .collect();
        let one_of = format!("One of {}.", classes.join(", "));
        let doc = if told.doc.is_empty() {
            one_of
        } else {
            format!("{}\n\n{one_of}", told.doc)
        };
        self.doc("    ", &doc);
        for (variant, class) in variants.iter().zip(&classes) {
            self.lines(&["", ""]);
            let base = format!("({name})");
            match &variant.payload {
                Payload::Fields(fields) => self.dataclass(class, &base, &variant.doc, fields),
                Payload::Nothing => self.holder(class, &base, &variant.doc, &[]),
                Payload::One(shape) => {
                    let held = [("value".to_owned(), self.annotation(shape))];
                    self.holder(class, &base, &variant.doc, &held);
                }
                Payload::Tuple(all) => {
                    let held: Vec<(String, String)> = all
                        .iter()
                        .enumerate()
                        .map(|(at, shape)| (format!("value{at}"), self.annotation(shape)))
                        .collect();
                    self.holder(class, &base, &variant.doc, &held);
                }
            }
        }
    }

    fn holder(&mut self, class: &str, base: &str, doc: &str, held: &[(String, String)]) {
        self.line("@_dataclasses.dataclass");
        self.line(&format!("class {class}{base}:"));
        self.doc("    ", doc);
        if doc.is_empty() && held.is_empty() {
            self.line("    pass");
        } else if !doc.is_empty() && !held.is_empty() {
            self.line("");
        }
        for (name, annotation) in held {
            self.line(&format!("    {name}: {annotation}"));
        }
    }

    /// Fields that may be left out come behind the others, as Python has it.
    fn dataclass(&mut self, class: &str, base: &str, doc: &str, fields: &[Field]) {
        self.line("@_dataclasses.dataclass");
        self.line(&format!("class {class}{base}:"));
        self.doc("    ", doc);
        if doc.is_empty() && fields.is_empty() {
            self.line("    pass");
        }
        let (optional, needed): (Vec<_>, Vec<_>) = fields.iter().partition(|it| it.may_be_left_out);
        for (at, field) in needed.into_iter().chain(optional).enumerate() {
            if at > 0 || !doc.is_empty() {
                self.line("");
            }
            let (name, annotation) = (own(&field.name), self.annotation(&field.shape));
            if !field.may_be_left_out {
                self.line(&format!("    {name}: {annotation}"));
            } else if matches!(field.shape, Shape::Optional(_)) {
                self.line(&format!("    {name}: {annotation} = None"));
            } else {
                self.line(&format!("    {name}: _t.Optional[{annotation}] = None"));
            }
            self.doc("    ", &field.doc);
        }
    }

    fn annotation(&self, shape: &Shape) -> String {
        match shape {
            Shape::Unit => "None".to_owned(),
            Shape::Bool => "bool".to_owned(),
            Shape::Integer { .. } => "int".to_owned(),
            Shape::Float => "float".to_owned(),
            Shape::Char | Shape::Text => "str".to_owned(),
            Shape::Bytes => "bytes".to_owned(),
            Shape::Optional(inner) => format!("_t.Optional[{}]", self.annotation(inner)),
            Shape::Array(inner, _) if is_byte(inner) => "bytes".to_owned(),
            Shape::List(inner) | Shape::Array(inner, _) => {
                format!("_t.List[{}]", self.annotation(inner))
            }
            Shape::Tuple(all) => self.tuple(all),
            Shape::Map(key, value) => {
                let (key, value) = (self.annotation(key), self.annotation(value));
                format!("_t.Dict[{key}, {value}]")
            }
            Shape::Duration => "_http.Duration".to_owned(),
            Shape::Outcome(..) => "_t.Union[_http.Ok, _http.Err]".to_owned(),
            Shape::Never => "_t.NoReturn".to_owned(),
            Shape::Named(name) => match self.plain.get(name) {
                Some(TypeKind::Unit) => "None".to_owned(),
                Some(TypeKind::Newtype(inner)) => {
                    // One that holds itself ends somewhere.
                    let mut rest = self.without(name);
                    rest.plain.remove(name);
                    rest.annotation(inner)
                }
                Some(TypeKind::Tuple(all)) => self.without(name).tuple(all),
                Some(TypeKind::Fields(_) | TypeKind::Variants(_)) => "_t.Any".to_owned(),
                None => self
                    .names
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| "_t.Any".to_owned()),
            },
        }
    }

    /// The same, as if this type were not known: what stands within itself is told as anything.
    fn without(&self, name: &str) -> Self {
        let keep = |(known, value): (&String, &TypeKind)| {
            (known != name).then(|| (known.clone(), value.clone()))
        };
        Self {
            text: String::new(),
            taken: BTreeSet::new(),
            names: self
                .names
                .iter()
                .filter(|(it, _)| *it != name)
                .map(|(a, b)| (a.clone(), b.clone()))
                .collect(),
            plain: self.plain.iter().filter_map(keep).collect(),
            variants: BTreeMap::new(),
            raised: BTreeMap::new(),
        }
    }

    fn tuple(&self, all: &[Shape]) -> String {
        if all.is_empty() {
            return "_t.Tuple[()]".to_owned();
        }
        let all: Vec<String> = all.iter().map(|it| self.annotation(it)).collect();
        format!("_t.Tuple[{}]", all.join(", "))
    }

    // Exceptions

    fn errors(&mut self, outline: &Outline) {
        let methods = outline.services.iter().flat_map(|it| &it.methods);
        let shapes = methods
            .filter(|it| !it.takes_stream)
            .flat_map(|it| [&it.error, &it.stream_error]);
        let used: BTreeSet<&str> = shapes.filter_map(Shape::named).collect();
        for told in outline
            .types
            .iter()
            .filter(|it| used.contains(it.name.as_str()))
        {
            let class = self.take(&format!("{}Raised", told.name));
            let annotation = self.annotation(&Shape::Named(told.name.clone()));
            self.lines(&["", ""]);
            self.line(&format!("class {class}(_http.AppError):"));
            self.doc(
                "    ",
                &format!("A method answered with its own error, `{}`.", told.name),
            );
            self.lines(&["", &format!("    error: {annotation}")]);
            self.raised.insert(told.name.clone(), class);
        }
    }

    fn raises(&self, shape: &Shape) -> Option<&str> {
        self.raised.get(shape.named()?).map(String::as_str)
    }

    // Codecs

    fn codecs(&mut self, outline: &Outline) {
        self.lines(&["", "", "_types: _t.Dict[str, _http.Codec] = {}"]);
        for told in &outline.types {
            let codec = self.type_codec(told);
            self.line(&format!("_types[{}] = {codec}", quoted(&told.name)));
        }
    }

    fn type_codec(&self, told: &TypeOutline) -> String {
        let name = &self.names[&told.name];
        match &told.kind {
            TypeKind::Unit => "_http.UNIT".to_owned(),
            TypeKind::Newtype(shape) => self.codec(shape),
            TypeKind::Tuple(all) => self.parts(all),
            TypeKind::Fields(fields) => self.record(name, fields, ""),
            TypeKind::Variants(variants) if is_plain(variants) => {
                let other = variants.iter().find(|it| it.is_other);
                let other = other.map(|it| format!(", {name}.{}", member(&it.name)));
                format!("_http.Choice({name}{})", other.unwrap_or_default())
            }
            TypeKind::Variants(variants) => {
                let class =
                    |it: &Variant| self.variants[&(told.name.clone(), it.name.clone())].clone();
                let mut text = format!("_http.Variants(\n    {},\n    [\n", quoted(name));
                for variant in variants {
                    let class = class(variant);
                    let payload = match &variant.payload {
                        Payload::Nothing => "None".to_owned(),
                        Payload::One(shape) => {
                            format!("_http.Held({class}, [\"value\"], {})", self.codec(shape))
                        }
                        Payload::Tuple(all) => {
                            let names: Vec<String> =
                                (0..all.len()).map(|at| format!("\"value{at}\"")).collect();
                            format!(
                                "_http.Held({class}, [{}], {})",
                                names.join(", "),
                                self.parts(all)
                            )
                        }
                        Payload::Fields(fields) => self.record(&class, fields, "        "),
                    };
                    let _ = writeln!(
                        text,
                        "        ({}, {class}, {payload}),",
                        quoted(&variant.json)
                    );
                }
                let other = variants.iter().find(|it| it.is_other);
                let other = other.map(|it| format!("    {},\n", class(it)));
                let _ = write!(text, "    ],\n{})", other.unwrap_or_default());
                text
            }
        }
    }

    fn record(&self, class: &str, fields: &[Field], indent: &str) -> String {
        let mut text = format!("_http.Record(\n{indent}    {class},\n{indent}    [\n");
        for field in fields {
            let (name, json) = (quoted(&own(&field.name)), quoted(&field.json));
            let left_out = if field.may_be_left_out {
                "True"
            } else {
                "False"
            };
            let codec = self.codec(&field.shape);
            let _ = writeln!(
                text,
                "{indent}        ({name}, {json}, {codec}, {left_out}),"
            );
        }
        let _ = write!(text, "{indent}    ],\n{indent})");
        text
    }

    fn parts(&self, all: &[Shape]) -> String {
        let all: Vec<String> = all.iter().map(|it| self.codec(it)).collect();
        format!("_http.Parts({})", all.join(", "))
    }

    fn codec(&self, shape: &Shape) -> String {
        match shape {
            Shape::Unit => "_http.UNIT".to_owned(),
            Shape::Bool => "_http.BOOL".to_owned(),
            Shape::Integer { signed, bits } => {
                let (least, most) = if *signed {
                    (
                        format!("-(2**{})", bits - 1),
                        format!("2**{} - 1", bits - 1),
                    )
                } else {
                    ("0".to_owned(), format!("2**{bits} - 1"))
                };
                format!("_http.Integer({least}, {most})")
            }
            Shape::Float => "_http.FLOAT".to_owned(),
            Shape::Char => "_http.CHAR".to_owned(),
            Shape::Text => "_http.TEXT".to_owned(),
            Shape::Bytes => "_http.BYTES".to_owned(),
            Shape::Optional(inner) => format!("_http.Maybe({})", self.codec(inner)),
            Shape::List(inner) => format!("_http.Listing({})", self.codec(inner)),
            Shape::Array(inner, length) if is_byte(inner) => format!("_http.Bytes({length})"),
            Shape::Array(inner, length) => {
                format!("_http.Listing({}, {length})", self.codec(inner))
            }
            Shape::Tuple(all) => {
                let all: Vec<String> = all.iter().map(|it| self.codec(it)).collect();
                format!("_http.Parts({})", all.join(", "))
            }
            Shape::Map(key, value) => {
                format!("_http.Table({}, {})", self.codec(key), self.codec(value))
            }
            Shape::Duration => "_http.SPAN".to_owned(),
            Shape::Outcome(ok, err) => {
                format!("_http.Either({}, {})", self.codec(ok), self.codec(err))
            }
            Shape::Named(name) => format!("_http.Named(_types, {})", quoted(name)),
            Shape::Never => "_http.NEVER".to_owned(),
        }
    }

    // Services

    fn service(&mut self, service: &ServiceOutline) {
        let class = self.take(&format!("{}Client", service.ident));
        self.lines(&["", ""]);
        self.line(&format!("class {class}(_http.Client):"));
        let mut doc = service.doc.clone();
        let left_out: Vec<&str> = service
            .methods
            .iter()
            .filter(|it| it.takes_stream)
            .map(|it| it.name.as_str())
            .collect();
        if !left_out.is_empty() {
            if !doc.is_empty() {
                doc.push_str("\n\n");
            }
            let _ = write!(
                doc,
                "Not over HTTP, since they take streams: {}.",
                left_out.join(", ")
            );
        }
        self.doc("    ", &doc);
        let methods: Vec<&MethodOutline> = service
            .methods
            .iter()
            .filter(|it| !it.takes_stream)
            .collect();
        if doc.is_empty() && methods.is_empty() {
            self.line("    pass");
        }
        for method in methods {
            self.method(service, method);
        }
    }

    fn method(&mut self, service: &ServiceOutline, method: &MethodOutline) {
        let name = match method.name.as_str() {
            // What the client has for itself.
            "_call" | "_stream" | "_open" | "_base" | "_dial" | "_token" | "_selector"
            | "_timeout_s" => format!("{}_", method.name),
            name => own(name),
        };
        self.line("");
        self.line(&format!("    __{name} = _http.Method("));
        self.line(&format!("        {},", quoted(&service.name)));
        self.line(&format!("        {},", quoted(&method.name)));
        for (what, shape) in [
            ("request", &method.request),
            ("answer", &method.answer),
            ("error", &method.error),
        ] {
            let codec = self.codec(shape);
            self.line(&format!("        {what}={codec},"));
        }
        if let Some(class) = self.raises(&method.error).map(str::to_owned) {
            self.line(&format!("        raises={class},"));
        }
        if method.stream_error != Shape::Never {
            let codec = self.codec(&method.stream_error);
            self.line(&format!("        stream_error={codec},"));
            if let Some(class) = self.raises(&method.stream_error).map(str::to_owned) {
                self.line(&format!("        stream_raises={class},"));
            }
        }
        if let Some(ms) = method.deadline_ms {
            self.line(&format!(
                "        deadline_s={}.{:03},",
                ms / 1_000,
                ms % 1_000
            ));
        }
        self.line("    )");
        self.line("");
        self.line(&format!("    def {name}("));
        self.line("        self,");
        let request = method
            .request_name
            .as_ref()
            .map(|name| match name.as_str() {
                "self" | "timeout_s" | "selector" | "key" => format!("{name}_"),
                name => own(name),
            });
        if let Some(request) = &request {
            let annotation = self.annotation(&method.request);
            self.line(&format!("        {request}: {annotation},"));
        }
        self.lines(&[
            "        *,",
            "        timeout_s: _t.Optional[float] = None,",
            "        selector: _t.Optional[str] = None,",
            "        key: _t.Optional[str] = None,",
        ]);
        let answer = self.annotation(&method.answer);
        let (way, answer) = if method.gives_stream {
            ("_stream", format!("_t.Generator[{answer}, None, None]"))
        } else {
            ("_call", answer)
        };
        self.line(&format!("    ) -> {answer}:"));
        let mut doc = method.doc.clone();
        if method.idempotent {
            if !doc.is_empty() {
                doc.push_str("\n\n");
            }
            doc.push_str("Idempotent: running twice does no more than running once.");
        }
        self.doc("        ", &doc);
        let request = request.unwrap_or_else(|| "None".to_owned());
        self.line(&format!(
            "        return self.{way}(self.__{name}, {request}, timeout_s, selector, key)"
        ));
    }
}

fn is_byte(shape: &Shape) -> bool {
    *shape
        == Shape::Integer {
            signed: false,
            bits: 8,
        }
}

/// Whether no variant carries anything.
fn is_plain(variants: &[Variant]) -> bool {
    variants.iter().all(|it| it.payload == Payload::Nothing)
}

/// An alias is carried out at once, so what is named in it has to wait.
fn alias(annotation: &str) -> String {
    if annotation == "None" {
        return "None".to_owned();
    }
    let words = annotation.split(|mark: char| !(mark.is_alphanumeric() || "_.".contains(mark)));
    let known = ["int", "str", "bytes", "bool", "float", "None", ""];
    let is_known =
        |word: &str| known.contains(&word) || word.starts_with("_t.") || word.starts_with("_http.");
    if words.into_iter().all(is_known) {
        return annotation.to_owned();
    }
    format!("_t.Any  # {annotation}")
}

/// A name that Python does not have for itself.
fn own(name: &str) -> String {
    if KEYWORDS.contains(&name) {
        format!("{name}_")
    } else {
        name.to_owned()
    }
}

/// Members of enums have less names to choose from.
fn member(name: &str) -> String {
    match name {
        "name" | "value" | "mro" => format!("{name}_"),
        name => own(name),
    }
}

const KEYWORDS: [&str; 43] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield", "int", "str", "bytes", "bool", "float", "property", "super", "self",
];

/// A text of Python.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
