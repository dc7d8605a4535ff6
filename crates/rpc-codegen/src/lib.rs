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
//! - `streams` comes first of all: streams as other RPC systems write them become ours;
//! - `emit` writes a model down as Rust. It never fails: whatever could be wrong was refused before.
//!
//! Three doors lead here, and all of them get the same code: the attribute (`convoke-rpc-macros`), and, with the feature
//! `definitions`, files named `*.rpc.rs` by way of a build script (`Builder`) or of `convoke gen`. Then there are two more steps:
//! - `definition` reads a file, has its services generated, and says in words and places what is wrong;
//! - `builder` finds files, and writes what became of them.
//!
//! For other languages a definition becomes an [`outline`]: its services and types as plain data. `python` makes a client of it.
//!
//! Not here: the attribute itself, the command line, and anything that runs when a call is made.

mod attributes;
#[cfg(feature = "definitions")]
mod builder;
#[cfg(feature = "definitions")]
mod definition;
mod emit;
mod model;
#[cfg(feature = "definitions")]
pub mod outline;
#[cfg(feature = "definitions")]
mod python;
mod refusals;
mod streams;
mod type_text;
mod wire_types;

use std::fmt;
use std::str::FromStr;

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::{Item, ItemTrait, TraitItem, parse_quote};

#[cfg(feature = "definitions")]
pub use crate::builder::{BuildError, Builder, Difference, Generated};
#[cfg(feature = "definitions")]
pub use crate::definition::{LARGEST_DEFINITION, Mistake, Mistakes, generate_definition};
#[cfg(feature = "definitions")]
pub use crate::python::{PYTHON_RUNTIME, python_client};

use crate::attributes::{is_rpc, is_service};
use crate::model::ServiceModel;

/// What the generated code needs to know about the program around it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the generated code finds the runtime: `::convoke::rpc` for users of the facade, `::convoke_rpc` for those who
    /// depend on that crate alone. Start it with `::`, so that no name in the user's module can stand in for it.
    pub runtime_path: syn::Path,
}

impl Default for Options {
    /// For users of the facade.
    fn default() -> Self {
        Self {
            runtime_path: parse_quote!(::convoke::rpc),
        }
    }
}

impl FromStr for Options {
    type Err = UnknownRuntime;

    /// `convoke`, `convoke_rpc`, or a path of Rust.
    fn from_str(runtime: &str) -> Result<Self, Self::Err> {
        let path = match runtime {
            "convoke" => "::convoke::rpc",
            "convoke_rpc" => "::convoke_rpc",
            path => path,
        };
        let parsed = syn::Path::parse_mod_style.parse_str(path).ok();
        let from_a_root = |path: &syn::Path| {
            let first = path
                .segments
                .first()
                .map(|segment| segment.ident.to_string());
            path.leading_colon.is_some() || first.is_some_and(|first| first == "crate")
        };
        match parsed.filter(from_a_root) {
            Some(runtime_path) => Ok(Self { runtime_path }),
            None => Err(UnknownRuntime(runtime.to_owned())),
        }
    }
}

/// Says what a runtime can be, of a text that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRuntime(String);

impl fmt::Display for UnknownRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no runtime: write `convoke`, `convoke_rpc`, or a path that begins with `::` or `crate::`",
            self.0
        )
    }
}

impl std::error::Error for UnknownRuntime {}

/// Generates the trait, client and server of one service.
///
/// A `#[service(name = "…")]` among the attributes of the trait is read and removed; without one, the service is called
/// like the trait.
///
/// # Errors
///
/// Everything that keeps the trait from being a service, combined into one error, each part pointing at the tokens to change.
pub fn generate(item: &ItemTrait, options: &Options) -> Result<TokenStream, syn::Error> {
    let mut item = item.clone();
    streams::rewrite(&mut item, &options.runtime_path);
    let service = ServiceModel::read(&item)?;
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

    #[test]
    fn a_runtime_is_known_by_its_crate_or_by_a_path_from_a_root() {
        for (runtime, path) in [
            ("convoke", "::convoke::rpc"),
            ("convoke_rpc", "::convoke_rpc"),
            ("::my::rpc", "::my::rpc"),
            ("crate::rpc", "crate::rpc"),
        ] {
            let options: Options = runtime.parse().expect("this is a runtime");
            let expected: syn::Path = syn::parse_str(path).expect("this is a path");
            assert_eq!(options.runtime_path, expected);
        }
        for runtime in [
            "",
            "tokio",
            "my::rpc",
            "::a::<B>",
            "::a b",
            "a-b",
            "self::rpc",
        ] {
            let unknown = runtime.parse::<Options>().expect_err(runtime);
            assert!(unknown.to_string().contains(runtime), "{unknown}");
        }
    }

    fn options() -> Options {
        Options {
            runtime_path: parse_quote!(::convoke_rpc),
        }
    }
}
