//! A service model written down as Rust.
//!
//! People read what this writes, in an editor or in `target/`, so it is the code one would write by hand, with two differences:
//! - names are spelled from the root (`::core::…`), so that nothing in the user's module can stand in for them;
//! - tokens are *located* at what they came from and *resolved* where the generator says. When a type cannot travel, the
//!   compiler then points at the method or parameter that asks for it.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Member, Path};

use crate::attributes::{Carried, Resumption, Rules};
use crate::model::{Method, MethodKind, ServiceModel};
use crate::type_text::type_text;
use crate::wire_types::{borrowed, item_of_stream};

/// The trait, its client and its server. `rpc` is the path of the runtime.
pub(crate) fn service(service: &ServiceModel, rpc: &Path) -> TokenStream {
    let service_trait = service_trait(service);
    let client = client(service, rpc);
    let server = server(service, rpc);
    quote! {
        #service_trait
        #client
        #server
    }
}

// The trait

fn service_trait(service: &ServiceModel) -> TokenStream {
    let ServiceModel {
        ident, visibility, ..
    } = service;
    let attributes = all_of(&service.carried);
    let unused = allow_unused();
    let methods = service.methods.iter().map(trait_method);
    quote! {
        #attributes
        #unused
        #visibility trait #ident: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

fn trait_method(method: &Method) -> TokenStream {
    let Method { ident, output, .. } = method;
    let attributes = all_of(&method.carried);
    let context = method.context.as_ref().map(|context| {
        let (name, ty) = (&context.ident, &context.ty);
        quote!(, #name: #ty)
    });
    let request = method.request.as_ref().map(|request| {
        let (name, ty) = (&request.ident, &request.ty);
        quote!(, #name: #ty)
    });
    quote! {
        #attributes
        fn #ident(&self #context #request) -> impl ::core::future::Future<Output = #output> + ::core::marker::Send;
    }
}

// The client

fn client(service: &ServiceModel, rpc: &Path) -> TokenStream {
    let ServiceModel {
        visibility, name, ..
    } = service;
    let client = client_name(service);
    let docs = docs(
        &format!("Calls the service `{name}`. A clone shares the connection."),
        &service.carried,
    );
    let not_for_new_code = &service.carried.deprecated;
    let allows = allows(service);
    let unused = allow_unused();
    let descriptor = descriptor(service, rpc);
    let methods = service
        .methods
        .iter()
        .enumerate()
        .map(|(number, method)| client_method(number, method, service, rpc));
    quote! {
        #docs
        #not_for_new_code
        #allows
        #unused
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #visibility struct #client {
            caller: #rpc::Caller,
        }

        #allows
        #unused
        impl #client {
            #[doc = " A client that calls through `caller`."]
            #[must_use]
            #visibility fn new(caller: impl ::core::convert::Into<#rpc::Caller>) -> Self {
                Self { caller: ::core::convert::Into::into(caller) }
            }

            #[doc = " The same client, calling with other options."]
            #[must_use]
            #visibility fn with(&self, options: #rpc::CallOptions) -> Self {
                Self { caller: self.caller.with(options) }
            }

            #[doc = " What the service is called, and which methods it has."]
            #[must_use]
            #visibility fn descriptor() -> &'static #rpc::ServiceDescriptor {
                #descriptor
                &DESCRIPTOR
            }

            #(#methods)*
        }
    }
}

fn client_method(
    number: usize,
    method: &Method,
    service: &ServiceModel,
    rpc: &Path,
) -> TokenStream {
    let Method {
        ident,
        answer,
        error,
        ..
    } = method;
    let visibility = &service.visibility;
    let docs = client_method_docs(method);
    let allows = &method.carried.allows;
    let not_for_new_code = &method.carried.deprecated;
    let number = Literal::usize_unsuffixed(number);
    let (parameter, argument) = client_request(method);
    let call = match going_on(method) {
        None => {
            let call = call_name(method);
            quote_spanned!(here(ident)=> #call(&Self::descriptor().methods[#number], #argument))
        }
        Some(going_on) => quote_spanned! {here(ident)=>
            resumable_streaming(&Self::descriptor().methods[#number], #argument, #going_on)
        },
    };
    quote_spanned! {here(ident)=>
        #docs
        #(#allows)*
        #not_for_new_code
        #visibility async fn #ident(&self #parameter) -> ::core::result::Result<#answer, #rpc::CallError<#error>> {
            self.caller.#call.await
        }
    }
}

/// How the request is changed when an item came, so that it asks for those behind it.
fn going_on(method: &Method) -> Option<TokenStream> {
    let Resumption { request, item, .. } = method.rules.resumption.as_ref()?;
    let asked = &method.request.as_ref()?.ty;
    let received = item_of_stream(&method.answer)?;
    // At the field that is named, as there it can be the wrong one.
    let taken = quote_spanned!(request.span().resolved_at(Span::call_site())=>
        request.#request = ::core::option::Option::Some(::core::clone::Clone::clone(&item.#item))
    );
    Some(quote_spanned! {here(&method.ident)=>
        |request: &mut #asked, item: &#received| #taken
    })
}

/// How the client takes the request, and how it passes it on. What is not a stream is only read, so a reference is enough: to
/// a `str` or a slice where the handler gets a `String` or a `Vec`, as both have the same bytes.
fn client_request(method: &Method) -> (TokenStream, TokenStream) {
    let Some(request) = &method.request else {
        return (TokenStream::new(), quote!(&()));
    };
    let (name, ty) = (&request.ident, &request.ty);
    if method.kind.request_streams() {
        (quote!(, #name: #ty), name.to_token_stream())
    } else if method.rules.resumption.is_some() {
        (quote!(, #name: &#ty), name.to_token_stream())
    } else {
        let borrowed = borrowed(ty).unwrap_or_else(|| ty.to_token_stream());
        (quote!(, #name: &#borrowed), name.to_token_stream())
    }
}

fn client_method_docs(method: &Method) -> TokenStream {
    let docs = docs(&format!("Calls `{}`.", method.wire_name), &method.carried);
    let has_errors = method.carried.doc_text.contains("# Errors");
    let errors = (!has_errors).then(|| {
        quote! {
            #[doc = ""]
            #[doc = " # Errors"]
            #[doc = ""]
            #[doc = " `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again."]
        }
    });
    quote!(#docs #errors)
}

// The descriptor

/// The methods are a static of their own, because the runtime notes in each what it is bound to; a part of another static
/// could not change.
fn descriptor(service: &ServiceModel, rpc: &Path) -> TokenStream {
    let name = &service.name;
    let doc = &service.carried.doc_text;
    let count = Literal::usize_unsuffixed(service.methods.len());
    let methods = service
        .methods
        .iter()
        .map(|method| method_descriptor(method, rpc));
    quote! {
        static METHODS: [#rpc::MethodDescriptor; #count] = [#(#methods),*];
        static DESCRIPTOR: #rpc::ServiceDescriptor = #rpc::ServiceDescriptor {
            name: #name,
            doc: #doc,
            methods: &METHODS,
        };
    }
}

fn method_descriptor(method: &Method, rpc: &Path) -> TokenStream {
    let name = &method.wire_name;
    let kind = Ident::new(kind_name(method.kind), Span::call_site());
    let rules = rules(&method.rules, rpc);
    let doc = &method.carried.doc_text;
    let doc = (!doc.is_empty()).then(|| quote!(.doc(#doc)));
    let types = types(method);
    quote!(#rpc::MethodDescriptor::new(#name, #rpc::MethodKind::#kind) #types #rules #doc)
}

/// For people, and for programs that show them: what is asked, answered and refused, as it stands in the trait.
fn types(method: &Method) -> TokenStream {
    let request = method.request.as_ref();
    let request = request.map_or_else(|| "()".to_owned(), |request| type_text(&request.ty));
    let (answer, error) = (type_text(&method.answer), type_text(&method.error));
    quote!(.types(#request, #answer, #error))
}

fn rules(rules: &Rules, rpc: &Path) -> TokenStream {
    let idempotent = rules.idempotent.then(|| quote!(.idempotent()));
    let deadline = rules
        .deadline_ms
        .as_ref()
        .map(|ms| quote!(.deadline(::core::time::Duration::from_millis(#ms))));
    let callers = rules
        .callers
        .iter()
        .map(|role| Ident::new(role, Span::call_site()));
    let callers = (!rules.callers.is_empty())
        .then(|| quote!(.callers(#rpc::RoleSet::of(&[#(#rpc::Role::#callers),*]))));
    let resumption = rules.resumption.as_ref().map(|it| {
        let (request, item) = (it.request.unraw().to_string(), name_of(&it.item));
        quote!(.resumable(#request, #item))
    });
    quote!(#idempotent #deadline #callers #resumption)
}

/// As in JSON: the name of a field, or its number in a tuple.
fn name_of(member: &Member) -> String {
    match member {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(number) => number.index.to_string(),
    }
}

fn kind_name(kind: MethodKind) -> &'static str {
    match kind {
        MethodKind::Unary => "Unary",
        MethodKind::ServerStreaming => "ServerStreaming",
        MethodKind::ClientStreaming => "ClientStreaming",
        MethodKind::Bidirectional => "Bidirectional",
    }
}

// The server

fn server(service: &ServiceModel, rpc: &Path) -> TokenStream {
    let ServiceModel {
        visibility,
        ident,
        name,
        implementation,
        ..
    } = service;
    let server = format_ident!("{}Server", ident);
    let server_name = server.to_string();
    let docs = docs(
        &format!("Serves `{name}` with an implementation of [`{ident}`]."),
        &service.carried,
    );
    let not_for_new_code = &service.carried.deprecated;
    let allows = allows(service);
    let unused = allow_unused();
    let dispatch = dispatch(service, rpc);
    let client = client_name(service);
    quote! {
        #docs
        #not_for_new_code
        #allows
        #unused
        #visibility struct #server<#implementation> {
            service: ::std::sync::Arc<#implementation>,
        }

        #allows
        #unused
        impl<#implementation: #ident> #server<#implementation> {
            #[doc = " Serves `service`."]
            #[must_use]
            #visibility fn new(service: #implementation) -> Self {
                Self::from_arc(::std::sync::Arc::new(service))
            }

            #[doc = " Serves `service`, which others may hold as well."]
            #[must_use]
            #visibility fn from_arc(service: ::std::sync::Arc<#implementation>) -> Self {
                Self { service }
            }
        }

        #allows
        impl<#implementation> ::core::fmt::Debug for #server<#implementation> {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                formatter.debug_struct(#server_name).finish_non_exhaustive()
            }
        }

        #allows
        impl<#implementation: #ident> #rpc::Service for #server<#implementation> {
            fn descriptor(&self) -> &'static #rpc::ServiceDescriptor {
                #client::descriptor()
            }

            #dispatch
        }
    }
}

fn dispatch(service: &ServiceModel, rpc: &Path) -> TokenStream {
    let arms = service
        .methods
        .iter()
        .enumerate()
        .map(|(number, method)| dispatch_arm(number, method, service));
    quote! {
        fn dispatch(&self, method: u16, call: #rpc::IncomingCall) -> #rpc::Handling {
            let service = ::std::sync::Arc::clone(&self.service);
            match method {
                #(#arms)*
                other => call.unknown_method(other),
            }
        }
    }
}

/// The method is called by the type of the implementation: `Arc` has methods of its own, which `service.method()` would find first.
fn dispatch_arm(number: usize, method: &Method, service: &ServiceModel) -> TokenStream {
    let implementation = &service.implementation;
    let ident = &method.ident;
    let call = call_name(method);
    let number = Literal::usize_unsuffixed(number);
    let site = here(ident);
    let (context, passed_context) = match &method.context {
        None => (quote_spanned!(site=> _), TokenStream::new()),
        Some(context) if context.by_reference => (
            quote_spanned!(site=> context),
            quote_spanned!(site=> , &context),
        ),
        Some(_) => (
            quote_spanned!(site=> context),
            quote_spanned!(site=> , context),
        ),
    };
    let (request, passed_request) = match &method.request {
        None => (quote_spanned!(site=> (): ()), TokenStream::new()),
        Some(request) => {
            let ty = &request.ty;
            (
                quote_spanned!(site=> request: #ty),
                quote_spanned!(site=> , request),
            )
        }
    };
    quote_spanned! {site=>
        #number => call.#call(move |#context, #request| async move {
            #implementation::#ident(&service #passed_context #passed_request).await
        }),
    }
}

// Parts that several items share

fn client_name(service: &ServiceModel) -> Ident {
    format_ident!("{}Client", service.ident)
}

/// The name of the call at both ends: `Caller::unary` and `IncomingCall::unary`, and so on.
fn call_name(method: &Method) -> Ident {
    let name = match method.kind {
        MethodKind::Unary => "unary",
        MethodKind::ServerStreaming => "server_streaming",
        MethodKind::ClientStreaming => "client_streaming",
        MethodKind::Bidirectional => "bidirectional",
    };
    Ident::new(name, here(&method.ident))
}

/// Located at what the user wrote, resolved like all generated code.
fn here(ident: &Ident) -> Span {
    ident.span().resolved_at(Span::call_site())
}

/// A first sentence of ours, then what the user wrote.
fn docs(first: &str, carried: &Carried) -> TokenStream {
    let first = format!(" {first}");
    let users = &carried.docs;
    let gap = (!users.is_empty()).then(|| quote!(#[doc = ""]));
    quote! {
        #[doc = #first]
        #gap
        #(#users)*
    }
}

fn all_of(carried: &Carried) -> TokenStream {
    let Carried {
        docs,
        allows,
        deprecated,
        doc_text: _,
    } = carried;
    quote!(#(#docs)* #(#allows)* #deprecated)
}

/// What the user allows in the trait goes for everything made from it.
fn allows(service: &ServiceModel) -> TokenStream {
    let allows = &service.carried.allows;
    let deprecated = service.mentions_deprecated().then(
        || quote!(#[allow(deprecated, reason = "what is deprecated still has to be served")]),
    );
    quote!(#(#allows)* #deprecated)
}

fn allow_unused() -> TokenStream {
    quote!(#[allow(dead_code, reason = "a program may need only one end of a service")])
}
