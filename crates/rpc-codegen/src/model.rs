//! A service as plain structs, read from a trait. Whoever holds a [`ServiceModel`] holds something that can be served.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{
    FnArg, ItemTrait, Pat, PatType, ReceiverKind, ReturnType, Safety, Signature, TraitItem,
    TraitItemFn, Type, Visibility,
};

use crate::attributes::{self, Carried, Rules};
use crate::refusals::Refusals;
use crate::wire_types::{
    is_context, is_streaming, item_of_stream, outcome, peeled, refuse_as_error,
    refuse_what_cannot_travel,
};

/// What the generated client has of its own. A method of the same name would collide with it or hide it.
const NAMES_OF_THE_CLIENT: [&str; 4] = ["new", "with", "descriptor", "clone"];

/// A trait that can be served.
#[derive(Debug)]
pub(crate) struct ServiceModel {
    /// The name on the wire, in front of the names of the methods.
    pub(crate) name: String,
    /// The name of the trait.
    pub(crate) ident: Ident,
    /// The visibility of the trait, and so of its client and server.
    pub(crate) visibility: Visibility,
    pub(crate) carried: Carried,
    /// At least one. The position of a method is its number in `dispatch`.
    pub(crate) methods: Vec<Method>,
    /// A name for the type of the implementation that means nothing else in this trait.
    pub(crate) implementation: Ident,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) ident: Ident,
    /// `Service.method`, which the first use on a lane binds to a number.
    pub(crate) wire_name: String,
    pub(crate) kind: MethodKind,
    pub(crate) context: Option<Context>,
    pub(crate) request: Option<Request>,
    /// `Result<answer, error>` as it was written.
    pub(crate) output: Type,
    pub(crate) answer: Type,
    pub(crate) error: Type,
    pub(crate) rules: Rules,
    pub(crate) carried: Carried,
}

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodKind {
    Unary,
    ServerStreaming,
    ClientStreaming,
    Bidirectional,
}

/// The parameter that tells the server about the call. It does not travel.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) by_reference: bool,
}

/// The parameter that travels.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
}

impl ServiceModel {
    /// Reads a trait, or says everything that keeps it from being a service.
    pub(crate) fn read(item: &ItemTrait) -> Result<Self, syn::Error> {
        let mut refusals = Refusals::default();
        refuse_shape_of_trait(item, &mut refusals);
        let attributes = attributes::of_service(&item.attrs, &mut refusals);
        let name = attributes
            .name
            .unwrap_or_else(|| item.ident.unraw().to_string());
        let methods = read_methods(item, &name, &mut refusals);
        refusals.unless_any(Self {
            name,
            ident: item.ident.clone(),
            visibility: item.vis.clone(),
            carried: attributes.carried,
            methods,
            implementation: name_of_the_implementation(item),
        })
    }

    /// Whether generated code has to use something that its users should not.
    pub(crate) fn mentions_deprecated(&self) -> bool {
        let method_is = |method: &Method| method.carried.deprecated.is_some();
        self.carried.deprecated.is_some() || self.methods.iter().any(method_is)
    }
}

impl MethodKind {
    fn of(request_streams: bool, answer_streams: bool) -> Self {
        match (request_streams, answer_streams) {
            (false, false) => Self::Unary,
            (false, true) => Self::ServerStreaming,
            (true, false) => Self::ClientStreaming,
            (true, true) => Self::Bidirectional,
        }
    }

    /// Whether the request is a stream.
    pub(crate) fn request_streams(self) -> bool {
        matches!(self, Self::ClientStreaming | Self::Bidirectional)
    }
}

// The trait

fn refuse_shape_of_trait(item: &ItemTrait, refusals: &mut Refusals) {
    if let Err(error) = item.modifiers.require_empty() {
        refusals.add(error);
    }
    if let Some(token) = &item.unsafety {
        refusals.refuse(
            token,
            "a service asks no promises of its implementors: write `trait` without `unsafe`",
        );
    }
    if !item.generics.params.is_empty() {
        refusals.refuse(&item.generics, "both ends have to know the types of a service: write concrete types instead of parameters");
    }
    if let Some(clause) = &item.generics.where_clause {
        refusals.refuse(
            clause,
            "a service has no parameters, so it has no conditions on them: remove this `where`",
        );
    }
    if !item.supertraits.is_empty() {
        refusals.refuse(
            &item.supertraits,
            "a service says what travels and nothing else about its implementors; `Send + Sync + 'static` are added anyway: \
             remove this bound, and ask for it where an implementation is used",
        );
    }
    if item.items.is_empty() {
        refusals.refuse(
            &item.ident,
            "a service without methods cannot be called: write `async fn method(&self, request: Request) -> Result<Answer, Error>;`",
        );
    }
}

/// `T`, or the next of `T1`, `T2`, … when the trait has something else of that name.
fn name_of_the_implementation(item: &ItemTrait) -> Ident {
    let taken = words(item.to_token_stream());
    let candidates = std::iter::once("T".to_owned()).chain((1..).map(|n| format!("T{n}")));
    let name = candidates
        .into_iter()
        .find(|name| !taken.contains(name))
        .expect("a trait has finitely many words");
    Ident::new(&name, proc_macro2::Span::call_site())
}

fn words(tokens: proc_macro2::TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            proc_macro2::TokenTree::Ident(word) => words.push(word.to_string()),
            proc_macro2::TokenTree::Group(group) => words.extend(self::words(group.stream())),
            proc_macro2::TokenTree::Punct(_) | proc_macro2::TokenTree::Literal(_) => {}
        }
    }
    words
}

// Its methods

fn read_methods(item: &ItemTrait, service_name: &str, refusals: &mut Refusals) -> Vec<Method> {
    let mut methods = Vec::new();
    let mut seen: Vec<Ident> = Vec::new();
    for member in &item.items {
        let TraitItem::Fn(function) = member else {
            refusals.refuse(
                member,
                "a service has methods only: move this out of the trait",
            );
            continue;
        };
        let name = function.sig.ident.unraw();
        if seen.contains(&name) {
            refusals.refuse(
                &function.sig.ident,
                format!("there are two methods `{name}`: write different names"),
            );
        }
        seen.push(name);
        methods.extend(read_method(function, service_name, refusals));
    }
    methods
}

/// A method, or `None` when what was refused leaves too little of it.
fn read_method(
    function: &TraitItemFn,
    service_name: &str,
    refusals: &mut Refusals,
) -> Option<Method> {
    refuse_shape_of_method(function, refusals);
    let attributes = attributes::of_method(&function.attrs, refusals);
    let signature = &function.sig;
    let parameters = read_parameters(signature, refusals);
    let output = read_output(signature, refusals)?;
    let outcome = outcome(output)?;
    let request_streams = parameters
        .request
        .as_ref()
        .is_some_and(|request| is_streaming(&request.ty));
    let kind = MethodKind::of(request_streams, is_streaming(outcome.answer));
    refuse_resumption(
        &attributes.rules,
        kind,
        parameters.request.as_ref(),
        outcome.answer,
        refusals,
    );
    Some(Method {
        wire_name: format!("{service_name}.{}", signature.ident.unraw()),
        ident: signature.ident.clone(),
        kind,
        context: parameters.context,
        request: parameters.request,
        output: output.clone(),
        answer: outcome.answer.clone(),
        error: outcome.error.clone(),
        rules: attributes.rules,
        carried: attributes.carried,
    })
}

/// What cannot go on where it was cut.
fn refuse_resumption(
    rules: &Rules,
    kind: MethodKind,
    request: Option<&Request>,
    answer: &Type,
    refusals: &mut Refusals,
) {
    let Some(resumption) = &rules.resumption else {
        return;
    };
    let why = if kind != MethodKind::ServerStreaming {
        "only a stream of answers to one request goes on where it was cut: remove this, or answer with a `Streaming<Item>`"
    } else if request.is_none() {
        "to go on, a client asks again and says behind which item: give the method a request with a field for that, which is an `Option`"
    } else if !rules.idempotent {
        "a stream that is cut is asked for again, and so its method may run more than once: write `idempotent` as well, if that does no harm"
    } else if item_of_stream(answer).is_none() {
        "the client looks into the items of this stream: write their type, as in `Streaming<Item>`"
    } else {
        return;
    };
    refusals.refuse(&resumption.written, why);
}

fn refuse_shape_of_method(function: &TraitItemFn, refusals: &mut Refusals) {
    let signature = &function.sig;
    let name = signature.ident.unraw();
    if NAMES_OF_THE_CLIENT.iter().any(|taken| name == taken) {
        refusals.refuse(
            &signature.ident,
            format!("the generated client has a `{name}` of its own: write another name"),
        );
    }
    if let Err(error) = function.modifiers.require_empty() {
        refusals.add(error);
    }
    refuse_qualifiers(signature, refusals);
    if signature.asyncness.is_none() {
        refusals.refuse(
            signature.fn_token,
            format!("a call takes time: write `async fn {name}`"),
        );
    }
    if !signature.generics.params.is_empty() {
        refusals.refuse(&signature.generics, "both ends have to know the types of a call: write concrete types instead of parameters");
    }
    if let Some(clause) = &signature.generics.where_clause {
        refusals.refuse(clause, "a method has no parameters for types, so it has no conditions on them: remove this `where`");
    }
    if let Some(body) = &function.default {
        refusals.refuse(body, "a service only declares its methods: write `;` here, and the body in the implementation");
    }
}

fn refuse_qualifiers(signature: &Signature, refusals: &mut Refusals) {
    if let Some(token) = &signature.constness {
        refusals.refuse(
            token,
            "a call cannot be made by the compiler: write `async fn` without `const`",
        );
    }
    if let Safety::Unsafe(_) | Safety::Safe(_) = &signature.safety {
        refusals.refuse(
            &signature.safety,
            "nobody can keep a promise for a caller far away: write `async fn` without this",
        );
    }
    if let Some(abi) = &signature.abi {
        refusals.refuse(
            abi,
            "calls have a protocol of their own: write `async fn` without `extern`",
        );
    }
    if let Some(variadic) = &signature.variadic {
        refusals.refuse(
            variadic,
            "a call has one request: write a struct that holds a list",
        );
    }
}

// Parameters

#[derive(Default)]
struct Parameters {
    context: Option<Context>,
    request: Option<Request>,
}

fn read_parameters(signature: &Signature, refusals: &mut Refusals) -> Parameters {
    refuse_wrong_receiver(signature, refusals);
    let mut parameters = Parameters::default();
    for input in &signature.inputs {
        if let FnArg::Typed(parameter) = input {
            read_parameter(parameter, &mut parameters, refusals);
        }
    }
    parameters
}

fn refuse_wrong_receiver(signature: &Signature, refusals: &mut Refusals) {
    let Some(receiver) = signature.receiver() else {
        refusals.refuse(
            &signature.ident,
            "a service is called on a value: write `&self` as the first parameter",
        );
        return;
    };
    if !matches!(receiver.kind, ReceiverKind::Reference(_, None, None)) {
        refusals.refuse(
            receiver,
            "many calls share one service: write `&self`, and keep what changes behind a lock or a channel",
        );
    }
    refuse_parameter_attributes(&receiver.attrs, refusals);
}

fn read_parameter(parameter: &PatType, parameters: &mut Parameters, refusals: &mut Refusals) {
    refuse_parameter_attributes(&parameter.attrs, refusals);
    let Some(ident) = plain_name(&parameter.pat) else {
        refusals.refuse(
            &parameter.pat,
            "the client repeats the names of parameters: write a plain name, such as `request`",
        );
        return;
    };
    match read_context(ident, &parameter.ty, refusals) {
        Some(_) if parameters.request.is_some() => {
            refusals.refuse(parameter, "the context comes before the request: write `&self, context: &Context, request: Request`");
        }
        Some(_) if parameters.context.is_some() => {
            refusals.refuse(parameter, "a call has one context: remove this parameter");
        }
        Some(context) => parameters.context = Some(context),
        None if parameters.request.is_some() => {
            refusals.refuse(parameter, "a call has one request: write a struct that holds all of it, so that fields can be added later");
        }
        None => {
            refuse_what_cannot_travel(&parameter.ty, refusals);
            parameters.request = Some(Request {
                ident: ident.clone(),
                ty: (*parameter.ty).clone(),
            });
        }
    }
}

fn read_context(ident: &Ident, ty: &Type, refusals: &mut Refusals) -> Option<Context> {
    let reference = if let Type::Reference(reference) = peeled(ty) {
        Some(reference)
    } else {
        None
    };
    let referred = reference.map_or(ty, |reference| &reference.elem);
    if !is_context(referred) {
        return None;
    }
    if reference.is_some_and(|it| it.mutability.is_some() || it.lifetime.is_some()) {
        refusals.refuse(ty, "the context is only looked at: write `&Context`");
    }
    Some(Context {
        ident: ident.clone(),
        ty: ty.clone(),
        by_reference: reference.is_some(),
    })
}

fn plain_name(pattern: &Pat) -> Option<&Ident> {
    let Pat::Ident(name) = pattern else {
        return None;
    };
    let is_plain = name.by_ref.is_none() && name.mutability.is_none() && name.subpat.is_none();
    is_plain.then_some(&name.ident)
}

fn refuse_parameter_attributes(attributes: &[syn::Attribute], refusals: &mut Refusals) {
    for attribute in attributes {
        refusals.refuse(
            attribute,
            "attributes of parameters are not carried to the generated code: remove this one",
        );
    }
}

// Result

/// The type that is returned, which holds an answer and an error.
fn read_output<'s>(signature: &'s Signature, refusals: &mut Refusals) -> Option<&'s Type> {
    const RULE: &str = "a call can fail, and both ends have to know how: write `-> Result<Answer, Error>` with both types";
    let ReturnType::Type(_, output) = &signature.output else {
        refusals.refuse(&signature.ident, RULE);
        return None;
    };
    let Some(outcome) = outcome(output) else {
        refusals.refuse(output, RULE);
        return None;
    };
    refuse_what_cannot_travel(outcome.answer, refusals);
    refuse_as_error(outcome.error, refusals);
    Some(output)
}

#[cfg(test)]
mod tests;
