/// Runs models.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub trait Inference: ::core::marker::Send + ::core::marker::Sync + 'static {
    /// One answer.
    fn embed(
        &self,
        text: Text,
    ) -> impl ::core::future::Future<
        Output = Result<Vector, InferenceError>,
    > + ::core::marker::Send;
    /// One token after the other.
    ///
    /// Stops when the prompt is answered.
    fn generate(
        &self,
        ctx: &Context,
        prompt: Prompt,
    ) -> impl ::core::future::Future<
        Output = Result<Streaming<Token>, InferenceError>,
    > + ::core::marker::Send;
    /// Takes in a text, chunk by chunk.
    fn ingest(
        &self,
        chunks: Streaming<Chunk>,
    ) -> impl ::core::future::Future<
        Output = Result<Receipt, InferenceError>,
    > + ::core::marker::Send;
    /// Answers each line while the next is being said.
    fn chat(
        &self,
        lines: Streaming<Line>,
    ) -> impl ::core::future::Future<
        Output = Result<Streaming<Line, ChatError>, InferenceError>,
    > + ::core::marker::Send;
}

/// Calls the service `Inference`. A clone shares the connection.
///
/// Runs models.
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct InferenceClient {
    caller: ::convoke_rpc::Caller,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl InferenceClient {
    /// A client that calls through `caller`.
    #[must_use]
    pub fn new(caller: impl ::core::convert::Into<::convoke_rpc::Caller>) -> Self {
        Self {
            caller: ::core::convert::Into::into(caller),
        }
    }
    /// The same client, calling with other options.
    #[must_use]
    pub fn with(&self, options: ::convoke_rpc::CallOptions) -> Self {
        Self {
            caller: self.caller.with(options),
        }
    }
    /// What the service is called, and which methods it has.
    #[must_use]
    pub fn descriptor() -> &'static ::convoke_rpc::ServiceDescriptor {
        static METHODS: [::convoke_rpc::MethodDescriptor; 4] = [
            ::convoke_rpc::MethodDescriptor::new(
                    "Inference.embed",
                    ::convoke_rpc::MethodKind::Unary,
                )
                .types("Text", "Vector", "InferenceError")
                .idempotent()
                .deadline(::core::time::Duration::from_millis(2_000))
                .callers(
                    ::convoke_rpc::RoleSet::of(
                        &[::convoke_rpc::Role::Master, ::convoke_rpc::Role::Worker],
                    ),
                )
                .doc("One answer."),
            ::convoke_rpc::MethodDescriptor::new(
                    "Inference.generate",
                    ::convoke_rpc::MethodKind::ServerStreaming,
                )
                .types("Prompt", "Streaming<Token>", "InferenceError")
                .doc("One token after the other.\n\nStops when the prompt is answered."),
            ::convoke_rpc::MethodDescriptor::new(
                    "Inference.ingest",
                    ::convoke_rpc::MethodKind::ClientStreaming,
                )
                .types("Streaming<Chunk>", "Receipt", "InferenceError")
                .doc("Takes in a text, chunk by chunk."),
            ::convoke_rpc::MethodDescriptor::new(
                    "Inference.chat",
                    ::convoke_rpc::MethodKind::Bidirectional,
                )
                .types("Streaming<Line>", "Streaming<Line, ChatError>", "InferenceError")
                .doc("Answers each line while the next is being said."),
        ];
        static DESCRIPTOR: ::convoke_rpc::ServiceDescriptor = ::convoke_rpc::ServiceDescriptor {
            name: "Inference",
            doc: "Runs models.",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `Inference.embed`.
    ///
    /// One answer.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn embed(
        &self,
        text: &Text,
    ) -> ::core::result::Result<Vector, ::convoke_rpc::CallError<InferenceError>> {
        self.caller.unary(&Self::descriptor().methods[0], text).await
    }
    /// Calls `Inference.generate`.
    ///
    /// One token after the other.
    ///
    /// Stops when the prompt is answered.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn generate(
        &self,
        prompt: &Prompt,
    ) -> ::core::result::Result<
        Streaming<Token>,
        ::convoke_rpc::CallError<InferenceError>,
    > {
        self.caller.server_streaming(&Self::descriptor().methods[1], prompt).await
    }
    /// Calls `Inference.ingest`.
    ///
    /// Takes in a text, chunk by chunk.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn ingest(
        &self,
        chunks: Streaming<Chunk>,
    ) -> ::core::result::Result<Receipt, ::convoke_rpc::CallError<InferenceError>> {
        self.caller.client_streaming(&Self::descriptor().methods[2], chunks).await
    }
    /// Calls `Inference.chat`.
    ///
    /// Answers each line while the next is being said.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn chat(
        &self,
        lines: Streaming<Line>,
    ) -> ::core::result::Result<
        Streaming<Line, ChatError>,
        ::convoke_rpc::CallError<InferenceError>,
    > {
        self.caller.bidirectional(&Self::descriptor().methods[3], lines).await
    }
}

/// Serves `Inference` with an implementation of [`Inference`].
///
/// Runs models.
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

impl<T: Inference> ::convoke_rpc::Service for InferenceServer<T> {
    fn descriptor(&self) -> &'static ::convoke_rpc::ServiceDescriptor {
        InferenceClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke_rpc::IncomingCall,
    ) -> ::convoke_rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => {
                call.unary(move |_, request: Text| async move {
                    T::embed(&service, request).await
                })
            }
            1 => {
                call.server_streaming(move |context, request: Prompt| async move {
                    T::generate(&service, &context, request).await
                })
            }
            2 => {
                call.client_streaming(move |_, request: Streaming<Chunk>| async move {
                    T::ingest(&service, request).await
                })
            }
            3 => {
                call.bidirectional(move |_, request: Streaming<Line>| async move {
                    T::chat(&service, request).await
                })
            }
            other => call.unknown_method(other),
        }
    }
}
