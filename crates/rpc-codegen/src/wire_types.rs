//! Which types may travel: the part of the model that looks inside the types of a call.
//!
//! Only what can be seen in the text is decided here. Whether a type can be serialised is for the compiler to say, once the
//! generated code uses it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::visit::{self, Visit};
use syn::{GenericArgument, Lifetime, Path, PathArguments, PathSegment, Type};

use crate::refusals::Refusals;
use crate::streams::is_stream_bound;

/// What is said of a stream that is not the whole of a request or answer, or that says too little.
const WHOLE_STREAM: &str = "a stream is the whole request or the whole answer, never a part of one: write `Streaming<Item>` \
     there, and put what belongs together into `Item`";
const PLAIN_STREAM: &str = "this is not read as a stream: write `Streaming<Item>` as the whole request or answer; known too \
     are `BoxStream<'static, Item>`, and `dyn` and `impl Stream<Item = …>` with no bounds but `Send`, `Sync`, `Unpin` and `'static`";

/// The two types of `Result<answer, error>`.
pub(crate) struct Outcome<'t> {
    /// What a successful call answers.
    pub(crate) answer: &'t Type,
    /// What the service says no with.
    pub(crate) error: &'t Type,
}

/// Reads `Result<answer, error>`; anything else is `None`.
pub(crate) fn outcome(output: &Type) -> Option<Outcome<'_>> {
    let result = last_segment(output).filter(|segment| segment.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &result.arguments else {
        return None;
    };
    let mut types = arguments.args.iter();
    let (Some(GenericArgument::Type(answer)), Some(GenericArgument::Type(error)), None) =
        (types.next(), types.next(), types.next())
    else {
        return None;
    };
    Some(Outcome { answer, error })
}

/// Whether this is a `Streaming<…>`, by whatever path.
pub(crate) fn is_streaming(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == "Streaming")
}

/// The type of the items of a `Streaming<Item>` or `Streaming<Item, Error>`.
pub(crate) fn item_of_stream(ty: &Type) -> Option<&Type> {
    let stream = last_segment(ty).filter(|segment| segment.ident == "Streaming")?;
    let PathArguments::AngleBracketed(arguments) = &stream.arguments else {
        return None;
    };
    if let Some(GenericArgument::Type(item)) = arguments.args.first() {
        Some(item)
    } else {
        None
    }
}

/// Whether this is a `Context`, by whatever path.
pub(crate) fn is_context(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == "Context")
}

/// A type without the invisible or visible parentheses around it. Types that come out of a `macro_rules!` have them.
pub(crate) fn peeled(ty: &Type) -> &Type {
    if let Type::Group(group) = ty {
        return peeled(&group.elem);
    }
    if let Type::Paren(paren) = ty {
        return peeled(&paren.elem);
    }
    ty
}

/// Refuses whatever in this type cannot travel. A `Streaming<…>` at the top is the kind of the call, so only its items are judged.
pub(crate) fn refuse_what_cannot_travel(ty: &Type, refusals: &mut Refusals) {
    let mut check = TravelCheck { refusals };
    if is_streaming(ty)
        && let Some(streaming) = last_segment(ty)
    {
        check.visit_path_arguments(&streaming.arguments);
    } else {
        check.visit_type(ty);
    }
}

/// Refuses an error type that cannot travel, or that is a stream.
pub(crate) fn refuse_as_error(ty: &Type, refusals: &mut Refusals) {
    TravelCheck { refusals }.visit_type(ty);
}

/// What a reference to this type is better written as: `str` for a `String`, `[T]` for a `Vec<T>`.
pub(crate) fn borrowed(ty: &Type) -> Option<TokenStream> {
    let segment = last_segment(ty)?;
    match &segment.arguments {
        PathArguments::None if segment.ident == "String" => Some(quote!(::core::primitive::str)),
        PathArguments::AngleBracketed(item) if segment.ident == "Vec" && item.args.len() == 1 => {
            let item = &item.args;
            Some(quote!([#item]))
        }
        PathArguments::None
        | PathArguments::AngleBracketed(_)
        | PathArguments::Parenthesized(_) => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    if let Type::Path(path) = peeled(ty) {
        path.path.segments.last()
    } else {
        None
    }
}

struct TravelCheck<'r> {
    refusals: &'r mut Refusals,
}

impl<'ast> Visit<'ast> for TravelCheck<'_> {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        self.refusals.refuse(
            reference,
            "what travels has to own its data, there is nothing to borrow from on the other side: write the owned type, \
             such as `String` for `&str` or `Vec<T>` for `&[T]`",
        );
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.refusals.refuse(
                lifetime,
                "what travels has to own its data, there is nothing to borrow from on the other side: write an owned type \
                 without this lifetime",
            );
        }
    }

    fn visit_type_impl_trait(&mut self, opaque: &'ast syn::TypeImplTrait) {
        if opaque.bounds.iter().any(is_stream_bound) {
            self.refusals.refuse(opaque, PLAIN_STREAM);
            return;
        }
        self.refusals.refuse(
            opaque,
            "both ends have to know the type, and `impl Trait` hides it: write a concrete type, or `Streaming<T>` for a stream",
        );
    }

    fn visit_type_trait_object(&mut self, object: &'ast syn::TypeTraitObject) {
        if object.bounds.iter().any(is_stream_bound) {
            self.refusals.refuse(object, PLAIN_STREAM);
            return;
        }
        self.refusals.refuse(
            object,
            "both ends have to know the type, and a trait object hides it: write a concrete type, for example an enum",
        );
    }

    fn visit_type_fn_ptr(&mut self, pointer: &'ast syn::TypeFnPtr) {
        self.refusals.refuse(
            pointer,
            "a function cannot travel: write an enum that says what to do",
        );
    }

    fn visit_type_ptr(&mut self, pointer: &'ast syn::TypePtr) {
        self.refusals.refuse(
            pointer,
            "a pointer means nothing on the other side: write the type it points to",
        );
    }

    fn visit_type_infer(&mut self, hole: &'ast syn::TypeInfer) {
        self.refusals.refuse(
            hole,
            "both ends have to know the type: write it out instead of `_`",
        );
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path
            .segments
            .first()
            .is_some_and(|segment| segment.ident == "Self")
        {
            self.refusals.refuse(
                path,
                "the client does not know what `Self` is on the server: write a concrete type",
            );
            return;
        }
        let last = path
            .segments
            .last()
            .map(|segment| segment.ident.to_string());
        match last.as_deref() {
            Some("Streaming") => return self.refusals.refuse(path, WHOLE_STREAM),
            Some("Stream" | "BoxStream" | "LocalBoxStream") => {
                return self.refusals.refuse(path, PLAIN_STREAM);
            }
            Some(_) | None => {}
        }
        visit::visit_path(self, path);
    }
}
