// @generated from inference.rpc.rs by `convoke gen` or a build script: change inference.rpc.rs, not this.

// A model that answers word by word, with streams in every direction.

use serde::{Deserialize, Serialize};

/// What to say something about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    pub connection: String,
    pub text: String,
}

/// What a model says, piece by piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    Connected { worker: String },
    Word { text: String, sequence: u64 },
    Done,
}

/// A text that was read to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub words: u64,
}

/// Why a model says nothing, or no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InferenceError {
    WorkerFailed(String),
    NothingAsked,
}

/// Runs a model.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub trait Inference: ::core::marker::Send + ::core::marker::Sync + 'static {
    /// Prompts in, pieces out, as long as both sides like.
    fn generate(
        &self,
        request: ::convoke::rpc::Streaming<Prompt>,
    ) -> impl ::core::future::Future<
        Output = Result<::convoke::rpc::Streaming<Piece, InferenceError>, InferenceError>,
    > + ::core::marker::Send;
    /// Pieces that cannot fail once they have begun.
    fn complete(
        &self,
        request: Prompt,
    ) -> impl ::core::future::Future<
        Output = Result<::convoke::rpc::Streaming<Piece>, InferenceError>,
    > + ::core::marker::Send;
    /// Takes in a long text, a part at a time.
    fn summarize(
        &self,
        request: ::convoke::rpc::Streaming<Prompt>,
    ) -> impl ::core::future::Future<
        Output = Result<Summary, InferenceError>,
    > + ::core::marker::Send;
    fn ready(
        &self,
    ) -> impl ::core::future::Future<
        Output = Result<bool, InferenceError>,
    > + ::core::marker::Send;
}

/// Calls the service `Inference`. A clone shares the connection.
///
/// Runs a model.
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct InferenceClient {
    caller: ::convoke::rpc::Caller,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl InferenceClient {
    /// A client that calls through `caller`.
    #[must_use]
    pub fn new(caller: impl ::core::convert::Into<::convoke::rpc::Caller>) -> Self {
        Self {
            caller: ::core::convert::Into::into(caller),
        }
    }
    /// The same client, calling with other options.
    #[must_use]
    pub fn with(&self, options: ::convoke::rpc::CallOptions) -> Self {
        Self {
            caller: self.caller.with(options),
        }
    }
    /// What the service is called, and which methods it has.
    #[must_use]
    pub fn descriptor() -> &'static ::convoke::rpc::ServiceDescriptor {
        static METHODS: [::convoke::rpc::MethodDescriptor; 4] = [
            ::convoke::rpc::MethodDescriptor::new(
                    "Inference.generate",
                    ::convoke::rpc::MethodKind::Bidirectional,
                )
                .types(
                    "::convoke::rpc::Streaming<Prompt>",
                    "::convoke::rpc::Streaming<Piece, InferenceError>",
                    "InferenceError",
                )
                .doc("Prompts in, pieces out, as long as both sides like."),
            ::convoke::rpc::MethodDescriptor::new(
                    "Inference.complete",
                    ::convoke::rpc::MethodKind::ServerStreaming,
                )
                .types("Prompt", "::convoke::rpc::Streaming<Piece>", "InferenceError")
                .doc("Pieces that cannot fail once they have begun."),
            ::convoke::rpc::MethodDescriptor::new(
                    "Inference.summarize",
                    ::convoke::rpc::MethodKind::ClientStreaming,
                )
                .types("::convoke::rpc::Streaming<Prompt>", "Summary", "InferenceError")
                .doc("Takes in a long text, a part at a time."),
            ::convoke::rpc::MethodDescriptor::new(
                    "Inference.ready",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("()", "bool", "InferenceError"),
        ];
        static DESCRIPTOR: ::convoke::rpc::ServiceDescriptor = ::convoke::rpc::ServiceDescriptor {
            name: "Inference",
            doc: "Runs a model.",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `Inference.generate`.
    ///
    /// Prompts in, pieces out, as long as both sides like.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn generate(
        &self,
        request: ::convoke::rpc::Streaming<Prompt>,
    ) -> ::core::result::Result<
        ::convoke::rpc::Streaming<Piece, InferenceError>,
        ::convoke::rpc::CallError<InferenceError>,
    > {
        self.caller.bidirectional(&Self::descriptor().methods[0], request).await
    }
    /// Calls `Inference.complete`.
    ///
    /// Pieces that cannot fail once they have begun.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn complete(
        &self,
        request: &Prompt,
    ) -> ::core::result::Result<
        ::convoke::rpc::Streaming<Piece>,
        ::convoke::rpc::CallError<InferenceError>,
    > {
        self.caller.server_streaming(&Self::descriptor().methods[1], request).await
    }
    /// Calls `Inference.summarize`.
    ///
    /// Takes in a long text, a part at a time.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn summarize(
        &self,
        request: ::convoke::rpc::Streaming<Prompt>,
    ) -> ::core::result::Result<Summary, ::convoke::rpc::CallError<InferenceError>> {
        self.caller.client_streaming(&Self::descriptor().methods[2], request).await
    }
    /// Calls `Inference.ready`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn ready(
        &self,
    ) -> ::core::result::Result<bool, ::convoke::rpc::CallError<InferenceError>> {
        self.caller.unary(&Self::descriptor().methods[3], &()).await
    }
}

/// Serves `Inference` with an implementation of [`Inference`].
///
/// Runs a model.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub struct InferenceServer<T> {
    service: ::std::sync::Arc<T>,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl<T: Inference> InferenceServer<T> {
    /// Serves `service`.
    #[must_use]
    pub fn new(service: T) -> Self {
        Self::from_arc(::std::sync::Arc::new(service))
    }
    /// Serves `service`, which others may hold as well.
    #[must_use]
    pub fn from_arc(service: ::std::sync::Arc<T>) -> Self {
        Self { service }
    }
}

impl<T> ::core::fmt::Debug for InferenceServer<T> {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.debug_struct("InferenceServer").finish_non_exhaustive()
    }
}

impl<T: Inference> ::convoke::rpc::Service for InferenceServer<T> {
    fn descriptor(&self) -> &'static ::convoke::rpc::ServiceDescriptor {
        InferenceClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke::rpc::IncomingCall,
    ) -> ::convoke::rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => {
                call.bidirectional(move |_, request: ::convoke::rpc::Streaming<Prompt>| async move {
                    T::generate(&service, request).await
                })
            }
            1 => {
                call.server_streaming(move |_, request: Prompt| async move {
                    T::complete(&service, request).await
                })
            }
            2 => {
                call.client_streaming(move |
                    _,
                    request: ::convoke::rpc::Streaming<Prompt>|
                async move { T::summarize(&service, request).await })
            }
            3 => call.unary(move |_, (): ()| async move { T::ready(&service).await }),
            other => call.unknown_method(other),
        }
    }
}
