//! Streams as other RPC systems write them in a trait, read as ours.
//!
//! A definition that was written for rpcnet, or by somebody who knows the `futures` crate, says
//! `Pin<Box<dyn Stream<Item = T> + Send>>`, `BoxStream<'static, T>` or `impl Stream<Item = T>`. All of them mean what `Streaming<T>`
//! says, and become that before the trait is read; `Item = Result<T, E>` becomes `Streaming<T, E>`.
//!
//! Only what a parameter or the answer *is* becomes a stream. A stream inside of something else stays as it was written, and
//! `wire_types` refuses it there.

use proc_macro2::Span;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    FnArg, GenericArgument, ItemTrait, Path, PathArguments, PathSegment, ReturnType, Token,
    TraitItem, Type, TypeParamBound, parse_quote_spanned,
};

use crate::wire_types::{outcome, peeled};

/// What may stand beside `Stream<…>` in `dyn Stream<…> + …`. None of them changes what travels.
const HARMLESS_BOUNDS: [&str; 3] = ["Send", "Sync", "Unpin"];

/// Writes the streams of all methods as `Streaming`, found at `rpc`.
pub(crate) fn rewrite(item: &mut ItemTrait, rpc: &Path) {
    for member in &mut item.items {
        let TraitItem::Fn(method) = member else {
            continue;
        };
        for input in &mut method.sig.inputs {
            if let FnArg::Typed(parameter) = input {
                rewrite_type(&mut parameter.ty, rpc);
            }
        }
        if let ReturnType::Type(_, output) = &mut method.sig.output
            && outcome(output).is_some()
            && let Some(answer) = answer_mut(output)
        {
            rewrite_type(answer, rpc);
        }
    }
}

/// Whether this bound is `Stream<…>`, by whatever path.
pub(crate) fn is_stream_bound(bound: &TypeParamBound) -> bool {
    stream_segment(bound).is_some()
}

fn rewrite_type(ty: &mut Type, rpc: &Path) {
    if let Some(item) = stream_item(ty) {
        let located = ty.span().resolved_at(Span::call_site());
        *ty = match outcome(item) {
            Some(outcome) => {
                let (item, error) = (outcome.answer, outcome.error);
                parse_quote_spanned!(located=> #rpc::Streaming<#item, #error>)
            }
            None => parse_quote_spanned!(located=> #rpc::Streaming<#item>),
        };
    }
}

/// The first type of `Result<…>`, which is one.
fn answer_mut(output: &mut Type) -> Option<&mut Type> {
    if let Type::Group(group) = output {
        return answer_mut(&mut group.elem);
    }
    if let Type::Paren(paren) = output {
        return answer_mut(&mut paren.elem);
    }
    let Type::Path(path) = output else {
        return None;
    };
    let result = path.path.segments.last_mut()?;
    let PathArguments::AngleBracketed(arguments) = &mut result.arguments else {
        return None;
    };
    if let GenericArgument::Type(answer) = arguments.args.first_mut()? {
        Some(answer)
    } else {
        None
    }
}

/// What a stream is a stream of; `None` when this is no stream.
fn stream_item(ty: &Type) -> Option<&Type> {
    let ty = peeled(ty);
    if let Type::Path(path) = ty {
        let last = path.path.segments.last()?;
        let inner = only_type(last)?;
        return match last.ident.to_string().as_str() {
            "Pin" | "Box" => stream_item(inner),
            "BoxStream" => Some(inner),
            _ => None,
        };
    }
    if let Type::TraitObject(object) = ty {
        return item_of_bounds(&object.bounds);
    }
    if let Type::ImplTrait(opaque) = ty {
        return item_of_bounds(&opaque.bounds);
    }
    None
}

fn item_of_bounds(bounds: &Punctuated<TypeParamBound, Token![+]>) -> Option<&Type> {
    let (streams, others): (Vec<_>, Vec<_>) =
        bounds.iter().partition(|bound| is_stream_bound(bound));
    let ([stream], true) = (streams.as_slice(), others.into_iter().all(is_harmless)) else {
        return None;
    };
    let PathArguments::AngleBracketed(arguments) = &stream_segment(stream)?.arguments else {
        return None;
    };
    match (arguments.args.first()?, arguments.args.len()) {
        (GenericArgument::AssocType(item), 1) if item.ident == "Item" => Some(&item.ty),
        _ => None,
    }
}

fn stream_segment(bound: &TypeParamBound) -> Option<&PathSegment> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    bound
        .path
        .segments
        .last()
        .filter(|segment| segment.ident == "Stream")
}

fn is_harmless(bound: &TypeParamBound) -> bool {
    if let TypeParamBound::Lifetime(lifetime) = bound {
        return lifetime.ident == "static";
    }
    let TypeParamBound::Trait(bound) = bound else {
        return false;
    };
    let last = bound.path.segments.last();
    last.is_some_and(|last| HARMLESS_BOUNDS.iter().any(|known| last.ident == known))
}

/// The only type among the arguments, beside lifetimes that promise nothing: `Box<T>`, `BoxStream<'static, T>`.
fn only_type(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    let promises_nothing = |argument: &&GenericArgument| matches!(argument, GenericArgument::Lifetime(lifetime) if lifetime.ident == "static" || lifetime.ident == "_");
    let mut others = arguments.args.iter().skip_while(promises_nothing);
    if let (Some(GenericArgument::Type(only)), None) = (others.next(), others.next()) {
        Some(only)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;
    use syn::parse_quote;

    use super::*;

    #[test]
    fn every_way_to_write_a_stream_becomes_the_same() {
        for written in [
            "Pin<Box<dyn Stream<Item = A> + Send>>",
            "std::pin::Pin<Box<dyn futures::Stream<Item = A> + Send + Sync + Unpin + 'static>>",
            "Pin<Box<dyn Stream<Item = A>>>",
            "Box<dyn Stream<Item = A> + Unpin + Send>",
            "Pin<Box<impl Stream<Item = A> + Send>>",
            "BoxStream<'static, A>",
            "futures::stream::BoxStream<'_, A>",
            "impl Stream<Item = A> + Send",
            "(impl Stream<Item = A>)",
        ] {
            assert_eq!(
                method(written, "Result<B, E>"),
                method("::r::Streaming<A>", "Result<B, E>"),
                "{written}"
            );
            assert_eq!(
                method("A", &format!("Result<{written}, E>")),
                method("A", "Result<::r::Streaming<A>, E>"),
                "{written}"
            );
        }
    }

    #[test]
    fn items_that_may_be_errors_become_the_error_of_the_stream() {
        assert_eq!(
            method(
                "BoxStream<'static, Result<A, F>>",
                "Result<Pin<Box<dyn Stream<Item = Result<B, G>> + Send>>, E>"
            ),
            method("::r::Streaming<A, F>", "Result<::r::Streaming<B, G>, E>")
        );
    }

    #[test]
    fn what_is_no_stream_stays_as_it_was_written() {
        for written in [
            "Box<A>",
            "Pin<Box<dyn Other<Item = A>>>",
            "Box<dyn Stream>",
            "Box<dyn Stream<Item = A> + Seek>",
            "Box<dyn Stream<Item = A> + 'a>",
            "BoxStream<'a, A>",
            "Vec<Pin<Box<dyn Stream<Item = A>>>>",
            "Streaming<A>",
        ] {
            let method = method(written, "Result<B, E>");
            assert!(!method.contains(":: r ::"), "{method}");
        }
    }

    fn method(request: &str, output: &str) -> String {
        let text = format!("trait S {{ async fn m(&self, request: {request}) -> {output}; }}");
        let mut item = syn::parse_str(&text).expect("test traits are Rust");
        rewrite(&mut item, &parse_quote!(::r));
        item.into_token_stream().to_string()
    }
}
