//! The attribute `#[service]`: a trait in, the same trait with its client and server out.
//!
//! All of the work is done by `convoke-rpc-codegen`. This crate knows one thing only, where the generated code finds the runtime,
//! and so there is one macro per place. Programs use neither directly: `convoke` and `convoke_rpc` re-export theirs as `service`.

use convoke_rpc_codegen::{Options, expand_attribute};
use proc_macro::TokenStream;
use syn::parse_quote;

/// Makes a service of a trait, with an `…Client` that calls it and an `…Server<T>` that serves an implementation.
///
/// ```text
/// /// Runs models.
/// #[convoke::service]
/// pub trait Inference {
///     /// One answer.
///     #[rpc(idempotent, deadline_ms = 2_000, roles(master, worker))]
///     async fn embed(&self, text: Text) -> Result<Vector, InferenceError>;
///     /// One token after the other.
///     async fn generate(&self, ctx: &Context, prompt: Prompt) -> Result<Streaming<Token>, InferenceError>;
///     /// Takes in a text, chunk by chunk.
///     async fn ingest(&self, chunks: Streaming<Chunk>) -> Result<Receipt, InferenceError>;
/// }
/// ```
///
/// # Methods
///
/// - Each is an `async fn` with `&self`, at most one request, and a `Result<Answer, Error>`. It has no body and no type parameters.
/// - A parameter called by the type `&Context` or `Context` tells the server about the call. It comes before the request, and
///   the client does not have it.
/// - A request or an answer that is a `Streaming<…>` makes the call a stream on that side.
/// - A boxed `Stream<Item = T>` (`Pin<Box<dyn …>>`, `BoxStream`, `impl Stream`) is read as `Streaming<T>`, and one of
///   `Result<T, E>` as `Streaming<T, E>`. Implementors and callers write the latter.
/// - A client takes a request `T` as `&T`, and a stream as it is. It answers `Result<Answer, CallError<Error>>`.
/// - No method is called `new`, `with`, `descriptor` or `clone`; the client has these already.
///
/// # `#[service(name = "acme.Inference")]`
///
/// The name on the wire, when it should differ from the name of the trait. A method is called `name.method` there, so renaming
/// either breaks programs that were built before.
///
/// # `#[rpc(…)]` on a method
///
/// - `idempotent`: a second run changes nothing more, so a call that may have run can be tried again.
/// - `deadline_ms = 2_000`: how long a call takes at most when the caller does not say.
/// - `resumable(after = sequence)`: a stream of answers that is cut goes on with whoever serves it then. The client asks again with the same request, in
///   which the field `after`, an `Option`, has the value of the field `sequence` of the last item that it gave to its program; the handler begins behind
///   that item. It wants `idempotent` as well, a request that is `Clone`, and items that are structs or tuples (`after = 0`).
/// - `roles(master, worker)`: which roles may call; without it, all of `master`, `worker`, `gateway`, `leecher` and `observer`.
///
/// # Other attributes
///
/// Documentation, `#[allow(…)]` and `#[deprecated]` are repeated on what is generated; documentation also goes into the
/// descriptor, which tools show. Everything else is refused, `#[cfg]` with a hint where to put it instead.
#[proc_macro_attribute]
pub fn service(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(arguments, item, parse_quote!(::convoke::rpc))
}

/// The same as [`macro@service`], for programs that depend on `convoke_rpc` alone, which re-exports this as `service`.
#[proc_macro_attribute]
pub fn service_for_rpc(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(arguments, item, parse_quote!(::convoke_rpc))
}

fn expand(arguments: TokenStream, item: TokenStream, runtime_path: syn::Path) -> TokenStream {
    expand_attribute(&arguments.into(), item.into(), &Options { runtime_path }).into()
}
