//! From a trait to a typed client and server: the one generator behind Convoke's RPC.
//!
//! A service is written as a trait:
//!
//! ```text
//! /// Runs models.
//! #[service]
//! pub trait Inference {
//!     /// One answer.
//!     #[rpc(idempotent, deadline_ms = 2_000, roles(master, worker))]
//!     async fn embed(&self, text: Text) -> Result<Vector, InferenceError>;
//!     async fn generate(&self, ctx: &Context, prompt: Prompt) -> Result<Streaming<Token>, InferenceError>;
//! }
//! ```
//!
//! and becomes the trait as implementors see it, an `InferenceClient`, an `InferenceServer<T>` and one descriptor that both
//! share. `docs/design/001-rpc.md` has the contract between that code and the runtime it calls.
//!
//! The way through, one module per step:
//! - `model` reads the trait into plain structs and refuses what cannot be served, everything at once;
//!   `attributes` and `wire_types` are its two larger parts, `refusals` collects what they object to;
//! - `emit` writes a model down as Rust. It never fails: whatever could be wrong was refused before.
//!
//! Not here: reading files, the attribute itself (`convoke-rpc-macros`), and anything that runs when a call is made.

mod attributes;
mod emit;
mod model;
mod refusals;
mod type_text;
mod wire_types;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Item, ItemTrait, TraitItem, parse_quote};

use crate::attributes::{is_rpc, is_service};
use crate::model::ServiceModel;

/// What the generated code needs to know about the program around it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the generated code finds the runtime: `::convoke::rpc` for users of the facade, `::convoke_rpc` for those who
    /// depend on that crate alone. Start it with `::`, so that no name in the user's module can stand in for it.
    pub runtime_path: syn::Path,
}

/// Generates the trait, client and server of one service.
///
/// A `#[service(name = "…")]` among the attributes of the trait is read and removed; without one, the service is called
/// like the trait.
///
/// # Errors
///
/// Everything that keeps the trait from being a service, combined into one error, each part pointing at the tokens to change.
pub fn generate(item: &ItemTrait, options: &Options) -> Result<TokenStream, syn::Error> {
    let service = ServiceModel::read(item)?;
    Ok(emit::service(&service, &options.runtime_path))
}

/// What the attribute `#[service(arguments)]` turns its item into.
///
/// When the item is refused, the errors come together with the item as it was written. Code that implements or names the trait
/// then still compiles, and the author reads about the mistake rather than about its consequences.
pub fn expand_attribute(
    arguments: &TokenStream,
    item: TokenStream,
    options: &Options,
) -> TokenStream {
    let mut service = match parse_trait(item.clone()) {
        Ok(service) => service,
        Err(error) => return refused(&error, item),
    };
    service
        .attrs
        .insert(0, parse_quote!(#[service(#arguments)]));
    match generate(&service, options) {
        Ok(generated) => generated,
        Err(error) => refused(&error, plain_trait(service)),
    }
}

/// Generated code as text for people, one blank line between items.
///
/// # Panics
///
/// If the tokens are not a list of items. What [`generate`] returns always is.
#[cfg(feature = "format")]
#[must_use]
pub fn format(generated: TokenStream) -> String {
    let file: syn::File = syn::parse2(generated).expect("generated code is a list of items");
    let one_by_one = file.items.into_iter().map(|item| {
        prettyplease::unparse(&syn::File {
            shebang: None,
            frontmatter: None,
            attrs: Vec::new(),
            items: vec![item],
        })
    });
    one_by_one.collect::<Vec<_>>().join("\n")
}

fn parse_trait(item: TokenStream) -> Result<ItemTrait, syn::Error> {
    if let Item::Trait(item) = syn::parse2(item.clone())? {
        return Ok(item);
    }
    Err(syn::Error::new_spanned(
        item,
        "a service is described by a trait, and this is something else: write \
         `trait Name { async fn method(&self, request: Request) -> Result<Answer, Error>; }`",
    ))
}

fn refused(error: &syn::Error, item: impl quote::ToTokens) -> TokenStream {
    let errors = error.to_compile_error();
    quote! { #errors #item }
}

/// The trait without what only the generator understands.
fn plain_trait(mut item: ItemTrait) -> ItemTrait {
    item.attrs.retain(|attribute| !is_service(attribute));
    for member in &mut item.items {
        if let TraitItem::Fn(method) = member {
            method.attrs.retain(|attribute| !is_rpc(attribute));
        }
    }
    // The generated trait asks for `Send` futures, which is what this lint wants; a refused one is not worth a second message.
    item.attrs.push(parse_quote!(#[allow(async_fn_in_trait)]));
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_trait_stays_in_the_program_without_our_attributes() {
        let item = quote! {
            /// Says hello.
            trait Hello {
                #[rpc(idempotent)]
                async fn hello(&self, name: &str) -> Result<String, Error>;
            }
        };

        let expanded = expand_attribute(&quote!(name = "Greeter"), item, &options()).to_string();

        let expected = quote! {
            /// Says hello.
            #[allow(async_fn_in_trait)]
            trait Hello {
                async fn hello(&self, name: &str) -> Result<String, Error>;
            }
        };
        assert!(
            expanded.starts_with(":: core :: compile_error"),
            "{expanded}"
        );
        assert!(expanded.ends_with(&expected.to_string()), "{expanded}");
    }

    #[test]
    fn an_item_that_is_no_trait_is_refused_and_kept() {
        let item = quote!(
            struct Hello;
        );

        let expanded = expand_attribute(&TokenStream::new(), item, &options()).to_string();

        assert!(
            expanded.contains("a service is described by a trait"),
            "{expanded}"
        );
        assert!(expanded.ends_with("struct Hello ;"), "{expanded}");
    }

    #[test]
    fn the_arguments_of_the_attribute_reach_the_model() {
        let item = quote! {
            trait Hello {
                async fn hello(&self) -> Result<String, Error>;
            }
        };

        let expanded =
            expand_attribute(&quote!(name = "acme.Greeter"), item, &options()).to_string();

        assert!(expanded.contains("\"acme.Greeter.hello\""), "{expanded}");
    }

    fn options() -> Options {
        Options {
            runtime_path: parse_quote!(::convoke_rpc),
        }
    }
}
