/// Tells numbers, from wherever one was.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub trait Resuming: ::core::marker::Send + ::core::marker::Sync + 'static {
    /// Those that come behind one.
    fn count(
        &self,
        wanted: Wanted,
    ) -> impl ::core::future::Future<
        Output = Result<Streaming<Counted>, Refused>,
    > + ::core::marker::Send;
    /// Where the item is a tuple, and its stream may fail.
    fn tell(
        &self,
        ctx: &Context,
        wanted: Wanted,
    ) -> impl ::core::future::Future<
        Output = Result<Streaming<(u64, String), Refused>, Refused>,
    > + ::core::marker::Send;
}

/// Calls the service `Resuming`. A clone shares the connection.
///
/// Tells numbers, from wherever one was.
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct ResumingClient {
    caller: ::convoke_rpc::Caller,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl ResumingClient {
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
        static METHODS: [::convoke_rpc::MethodDescriptor; 2] = [
            ::convoke_rpc::MethodDescriptor::new(
                    "Resuming.count",
                    ::convoke_rpc::MethodKind::ServerStreaming,
                )
                .types("Wanted", "Streaming<Counted>", "Refused")
                .idempotent()
                .resumable("after", "number")
                .doc("Those that come behind one."),
            ::convoke_rpc::MethodDescriptor::new(
                    "Resuming.tell",
                    ::convoke_rpc::MethodKind::ServerStreaming,
                )
                .types("Wanted", "Streaming<(u64, String), Refused>", "Refused")
                .idempotent()
                .deadline(::core::time::Duration::from_millis(60_000))
                .resumable("after", "0")
                .doc("Where the item is a tuple, and its stream may fail."),
        ];
        static DESCRIPTOR: ::convoke_rpc::ServiceDescriptor = ::convoke_rpc::ServiceDescriptor {
            name: "Resuming",
            doc: "Tells numbers, from wherever one was.",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `Resuming.count`.
    ///
    /// Those that come behind one.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn count(
        &self,
        wanted: &Wanted,
    ) -> ::core::result::Result<Streaming<Counted>, ::convoke_rpc::CallError<Refused>> {
        self.caller
            .resumable_streaming(
                &Self::descriptor().methods[0],
                wanted,
                |request: &mut Wanted, item: &Counted| {
                    request.after = ::core::option::Option::Some(
                        ::core::clone::Clone::clone(&item.number),
                    );
                },
            )
            .await
    }
    /// Calls `Resuming.tell`.
    ///
    /// Where the item is a tuple, and its stream may fail.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn tell(
        &self,
        wanted: &Wanted,
    ) -> ::core::result::Result<
        Streaming<(u64, String), Refused>,
        ::convoke_rpc::CallError<Refused>,
    > {
        self.caller
            .resumable_streaming(
                &Self::descriptor().methods[1],
                wanted,
                |request: &mut Wanted, item: &(u64, String)| {
                    request.r#after = ::core::option::Option::Some(
                        ::core::clone::Clone::clone(&item.0),
                    );
                },
            )
            .await
    }
}

/// Serves `Resuming` with an implementation of [`Resuming`].
///
/// Tells numbers, from wherever one was.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub struct ResumingServer<T> {
    service: ::std::sync::Arc<T>,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl<T: Resuming> ResumingServer<T> {
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

impl<T> ::core::fmt::Debug for ResumingServer<T> {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.debug_struct("ResumingServer").finish_non_exhaustive()
    }
}

impl<T: Resuming> ::convoke_rpc::Service for ResumingServer<T> {
    fn descriptor(&self) -> &'static ::convoke_rpc::ServiceDescriptor {
        ResumingClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke_rpc::IncomingCall,
    ) -> ::convoke_rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => {
                call.server_streaming(move |_, request: Wanted| async move {
                    T::count(&service, request).await
                })
            }
            1 => {
                call.server_streaming(move |context, request: Wanted| async move {
                    T::tell(&service, &context, request).await
                })
            }
            other => call.unknown_method(other),
        }
    }
}
