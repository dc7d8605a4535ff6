//! Reading attributes: `#[service(…)]`, `#[rpc(…)]`, documentation, and the few others that make sense on a service.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{AttrStyle, Attribute, Expr, Lit, LitInt, LitStr, Member, Meta, MetaList, Token};

use crate::refusals::Refusals;

/// Who may call, as `#[rpc(roles(…))]` spells it, and the name of the same role in the runtime.
pub(crate) const ROLES: [(&str, &str); 5] = [
    ("master", "Master"),
    ("worker", "Worker"),
    ("gateway", "Gateway"),
    ("leecher", "Leecher"),
    ("observer", "Observer"),
];

/// Deadlines travel as 32 bits of milliseconds, which is 49 days.
const LONGEST_DEADLINE_MS: u64 = u32::MAX as u64;

/// What the attributes of a trait say.
#[derive(Debug, Default)]
pub(crate) struct ServiceAttributes {
    pub(crate) name: Option<String>,
    pub(crate) carried: Carried,
}

/// What the attributes of a method say.
#[derive(Debug, Default)]
pub(crate) struct MethodAttributes {
    pub(crate) rules: Rules,
    pub(crate) carried: Carried,
}

/// What `#[rpc(…)]` says about a method.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// A second run changes nothing more, so that the caller may try again.
    pub(crate) idempotent: bool,
    /// The deadline of callers who set none, in milliseconds.
    pub(crate) deadline_ms: Option<LitInt>,
    /// The roles that may call, as the runtime names them; everybody when empty.
    pub(crate) callers: Vec<&'static str>,
    /// How its stream of answers goes on when it is cut.
    pub(crate) resumption: Option<Resumption>,
}

/// What `resumable(after = sequence)` says.
#[derive(Debug)]
pub(crate) struct Resumption {
    /// The field of the request that says behind which item to begin.
    pub(crate) request: Ident,
    /// The field of an item that it is taken from.
    pub(crate) item: Member,
    /// All of it, for what is wrong with it.
    pub(crate) written: Meta,
}

/// Attributes that are repeated on the generated items, told apart by where they go.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Documentation as it was written.
    pub(crate) docs: Vec<Attribute>,
    /// The same as text, for the descriptor.
    pub(crate) doc_text: String,
    /// `#[allow(…)]`.
    pub(crate) allows: Vec<Attribute>,
    /// `#[deprecated]`.
    pub(crate) deprecated: Option<Attribute>,
}

/// Whether this is `#[service]`, by whatever path the macro was imported. rpcnet also knows the name `#[rpc_trait]`.
pub(crate) fn is_service(attribute: &Attribute) -> bool {
    attribute
        .path()
        .segments
        .last()
        .is_some_and(|segment| segment.ident == "service")
        || attribute.path().is_ident("rpc_trait")
}

/// Whether this is `#[rpc]`.
pub(crate) fn is_rpc(attribute: &Attribute) -> bool {
    attribute.path().is_ident("rpc")
}

/// Reads the attributes of a trait.
pub(crate) fn of_service(attributes: &[Attribute], refusals: &mut Refusals) -> ServiceAttributes {
    let (own, others): (Vec<_>, Vec<_>) = attributes
        .iter()
        .partition(|attribute| is_service(attribute));
    refuse_repetition(&own, "service", refusals);
    ServiceAttributes {
        name: own
            .first()
            .and_then(|attribute| service_name(attribute, refusals)),
        carried: carried(&others, Place::Trait, refusals),
    }
}

/// Reads the attributes of a method.
pub(crate) fn of_method(attributes: &[Attribute], refusals: &mut Refusals) -> MethodAttributes {
    let (own, others): (Vec<_>, Vec<_>) =
        attributes.iter().partition(|attribute| is_rpc(attribute));
    refuse_repetition(&own, "rpc", refusals);
    MethodAttributes {
        rules: own
            .first()
            .map(|attribute| rules(attribute, refusals))
            .unwrap_or_default(),
        carried: carried(&others, Place::Method, refusals),
    }
}

fn refuse_repetition(own: &[&Attribute], name: &str, refusals: &mut Refusals) {
    for again in own.iter().skip(1) {
        refusals.refuse(
            again,
            format!("`#[{name}]` is here twice: write everything into the first one"),
        );
    }
}

// `#[service(…)]`

fn service_name(attribute: &Attribute, refusals: &mut Refusals) -> Option<String> {
    let mut name = None;
    for argument in arguments(attribute, refusals) {
        if !argument.path().is_ident("name") {
            refuse_unknown(&argument, &["name = \"…\""], refusals);
        } else if name.is_some() {
            refuse_twice(&argument, refusals);
        } else {
            name = Some(text_of(&argument, refusals));
        }
    }
    let name = name??;
    if is_wire_name(&name.value()) {
        return Some(name.value());
    }
    refusals.refuse(
        &name,
        "this cannot name a service: write letters, digits, `_` and `-`, in parts joined by `.`, such as \"acme.Inference\"",
    );
    None
}

fn text_of(argument: &Meta, refusals: &mut Refusals) -> Option<LitStr> {
    if let Some(Lit::Str(text)) = literal_of(argument) {
        return Some(text.clone());
    }
    refusals.refuse(argument, "the name is a text: write `name = \"…\"`");
    None
}

fn is_wire_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    name.split('.').all(is_part)
}

// `#[rpc(…)]`

fn rules(attribute: &Attribute, refusals: &mut Refusals) -> Rules {
    let mut rules = Rules::default();
    let mut seen: Vec<Ident> = Vec::new();
    for argument in arguments(attribute, refusals) {
        let Some(key) = argument.path().get_ident().cloned() else {
            refuse_unknown_rule(&argument, refusals);
            continue;
        };
        if seen.contains(&key) {
            refuse_twice(&argument, refusals);
            continue;
        }
        match key.to_string().as_str() {
            "idempotent" => rules.idempotent = is_bare(&argument, refusals),
            "deadline_ms" => rules.deadline_ms = deadline(&argument, refusals),
            "roles" => rules.callers = callers(&argument, refusals),
            "resumable" => rules.resumption = resumption(&argument, refusals),
            _ => refuse_unknown_rule(&argument, refusals),
        }
        seen.push(key);
    }
    rules
}

fn refuse_unknown_rule(argument: &Meta, refusals: &mut Refusals) {
    refuse_unknown(
        argument,
        &[
            "idempotent",
            "deadline_ms = 2_000",
            "roles(master, worker)",
            "resumable(after = sequence)",
        ],
        refusals,
    );
}

fn is_bare(argument: &Meta, refusals: &mut Refusals) -> bool {
    let bare = matches!(argument, Meta::Path(_));
    if !bare {
        refusals.refuse(
            argument,
            "this has no value: write `idempotent` alone, or leave it out",
        );
    }
    bare
}

fn deadline(argument: &Meta, refusals: &mut Refusals) -> Option<LitInt> {
    let Some(Lit::Int(number)) = literal_of(argument) else {
        refusals.refuse(
            argument,
            "the deadline is a number of milliseconds: write `deadline_ms = 2_000`",
        );
        return None;
    };
    let in_range = number
        .base10_parse()
        .is_ok_and(|ms: u64| (1..=LONGEST_DEADLINE_MS).contains(&ms));
    if !in_range || !number.suffix().is_empty() {
        refusals.refuse(
            number,
            format!("the deadline is a plain number of milliseconds from 1 to {LONGEST_DEADLINE_MS}: write `deadline_ms = 2_000`"),
        );
        return None;
    }
    Some(number.clone())
}

fn callers(argument: &Meta, refusals: &mut Refusals) -> Vec<&'static str> {
    let roles = match argument {
        Meta::List(list) => role_names(list),
        Meta::Path(_) | Meta::NameValue(_) => None,
    };
    let Some(roles) = roles.filter(|roles| !roles.is_empty()) else {
        refusals.refuse(argument, "this lists the roles that may call: write `roles(master, worker)`, or leave it out for everybody");
        return Vec::new();
    };
    let mut callers = Vec::new();
    for role in roles {
        let known = ROLES.iter().find(|(spelling, _)| role == spelling);
        match known {
            None => refusals.refuse(
                &role,
                format!(
                    "there is no role `{role}`: write one of {}",
                    role_spellings()
                ),
            ),
            Some((_, name)) if callers.contains(name) => {
                refusals.refuse(&role, format!("`{role}` is here twice: write it once"))
            }
            Some((_, name)) => callers.push(*name),
        }
    }
    callers
}

fn resumption(argument: &Meta, refusals: &mut Refusals) -> Option<Resumption> {
    let pair = |list: &MetaList| {
        list.parse_args_with(|input: ParseStream<'_>| {
            let request: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let item: Member = input.parse()?;
            Ok((request, item))
        })
    };
    let pair = match argument {
        Meta::List(list) => pair(list).ok(),
        Meta::Path(_) | Meta::NameValue(_) => None,
    };
    let Some((request, item)) = pair else {
        refusals.refuse(
            argument,
            "this says how a stream goes on where it was cut: write `resumable(after = sequence)`, with the field of the request that says \
             behind which item to begin, and the field of the items that it is taken from",
        );
        return None;
    };
    Some(Resumption {
        request,
        item,
        written: argument.clone(),
    })
}

fn role_names(list: &MetaList) -> Option<Punctuated<Ident, Token![,]>> {
    list.parse_args_with(Punctuated::parse_terminated).ok()
}

fn role_spellings() -> String {
    ROLES
        .map(|(spelling, _)| format!("`{spelling}`"))
        .join(", ")
}

// Arguments in general

/// The arguments of an attribute, which may have none.
fn arguments(attribute: &Attribute, refusals: &mut Refusals) -> Vec<Meta> {
    if matches!(attribute.meta, Meta::Path(_)) {
        return Vec::new();
    }
    match attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) {
        Ok(arguments) => arguments.into_iter().collect(),
        Err(error) => {
            refusals.add(error);
            Vec::new()
        }
    }
}

fn literal_of(argument: &Meta) -> Option<&Lit> {
    let Meta::NameValue(pair) = argument else {
        return None;
    };
    let Expr::Lit(value) = &pair.value else {
        return None;
    };
    Some(&value.lit)
}

fn refuse_unknown(argument: &Meta, known: &[&str], refusals: &mut Refusals) {
    let known: Vec<_> = known.iter().map(|one| format!("`{one}`")).collect();
    refusals.refuse(
        argument.path(),
        format!(
            "this is not known here, what is known: {}",
            known.join(", ")
        ),
    );
}

fn refuse_twice(argument: &Meta, refusals: &mut Refusals) {
    refusals.refuse(argument, "this is here twice: write it once");
}

// Everything else

#[derive(Clone, Copy)]
enum Place {
    Trait,
    Method,
}

fn carried(attributes: &[&Attribute], place: Place, refusals: &mut Refusals) -> Carried {
    let mut carried = Carried::default();
    let mut lines = Vec::new();
    for attribute in attributes {
        let name = attribute
            .path()
            .get_ident()
            .map(Ident::to_string)
            .unwrap_or_default();
        if matches!(attribute.style, AttrStyle::Inner(_)) {
            refusals.refuse(attribute, "attributes inside of a service are not carried to the generated code: write it above the trait");
            continue;
        }
        match name.as_str() {
            "doc" => {
                lines.extend(doc_line(attribute, refusals));
                carried.docs.push((*attribute).clone());
            }
            "allow" => carried.allows.push((*attribute).clone()),
            "deprecated" => carried.deprecated = Some((*attribute).clone()),
            "cfg" | "cfg_attr" => refusals.refuse(attribute, why_not_cfg(place)),
            _ => refusals.refuse(attribute, why_not_carried(place)),
        }
    }
    carried.doc_text = lines.join("\n").trim().to_owned();
    carried
}

/// One line of documentation without the space that `///` puts before it; nothing for `#[doc(hidden)]` and its like.
fn doc_line(attribute: &Attribute, refusals: &mut Refusals) -> Option<String> {
    if matches!(attribute.meta, Meta::List(_)) {
        return None;
    }
    let Some(Lit::Str(line)) = literal_of(&attribute.meta) else {
        refusals.refuse(
            attribute,
            "documentation also goes into the descriptor, as plain text: write it as `/// …`",
        );
        return None;
    };
    let line = line.value();
    Some(line.strip_prefix(' ').unwrap_or(&line).to_owned())
}

fn why_not_cfg(place: Place) -> &'static str {
    match place {
        Place::Trait => {
            "this would hide the trait and leave its client and server: write `#[cfg(…)]` above `#[service]`, or on the module around it"
        }
        Place::Method => {
            "both ends have to know the same methods, whatever they were built with: write a second service, in a module with \
             this `#[cfg(…)]`"
        }
    }
}

fn why_not_carried(place: Place) -> &'static str {
    match place {
        Place::Trait => {
            "it is not clear which of the generated items should have this attribute: write only documentation, `#[allow(…)]` and \
             `#[deprecated]` below `#[service]`"
        }
        Place::Method => {
            "it is not clear which of the generated functions should have this attribute: write only documentation, `#[rpc(…)]`, \
             `#[allow(…)]` and `#[deprecated]` here"
        }
    }
}
