#[allow(dead_code, reason = "a program may need only one end of a service")]
trait Hidden: ::core::marker::Send + ::core::marker::Sync + 'static {
    fn secret(
        &self,
        context: &Context,
    ) -> impl ::core::future::Future<
        Output = Result<u64, Refused>,
    > + ::core::marker::Send;
}

/// Calls the service `Hidden`. A clone shares the connection.
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
struct HiddenClient {
    caller: ::convoke_rpc::Caller,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl HiddenClient {
    /// A client that calls through `caller`.
    #[must_use]
    fn new(caller: impl ::core::convert::Into<::convoke_rpc::Caller>) -> Self {
        Self {
            caller: ::core::convert::Into::into(caller),
        }
    }
    /// The same client, calling with other options.
    #[must_use]
    fn with(&self, options: ::convoke_rpc::CallOptions) -> Self {
        Self {
            caller: self.caller.with(options),
        }
    }
    /// What the service is called, and which methods it has.
    #[must_use]
    fn descriptor() -> &'static ::convoke_rpc::ServiceDescriptor {
        static METHODS: [::convoke_rpc::MethodDescriptor; 1] = [
            ::convoke_rpc::MethodDescriptor::new(
                    "Hidden.secret",
                    ::convoke_rpc::MethodKind::Unary,
                )
                .types("()", "u64", "Refused"),
        ];
        static DESCRIPTOR: ::convoke_rpc::ServiceDescriptor = ::convoke_rpc::ServiceDescriptor {
            name: "Hidden",
            doc: "",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `Hidden.secret`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    async fn secret(
        &self,
    ) -> ::core::result::Result<u64, ::convoke_rpc::CallError<Refused>> {
        self.caller.unary(&Self::descriptor().methods[0], &()).await
    }
}

/// Serves `Hidden` with an implementation of [`Hidden`].
#[allow(dead_code, reason = "a program may need only one end of a service")]
struct HiddenServer<T> {
    service: ::std::sync::Arc<T>,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl<T: Hidden> HiddenServer<T> {
    /// Serves `service`.
    #[must_use]
    fn new(service: T) -> Self {
        Self::from_arc(::std::sync::Arc::new(service))
    }
    /// Serves `service`, which others may hold as well.
    #[must_use]
    fn from_arc(service: ::std::sync::Arc<T>) -> Self {
        Self { service }
    }
}

impl<T> ::core::fmt::Debug for HiddenServer<T> {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.debug_struct("HiddenServer").finish_non_exhaustive()
    }
}

impl<T: Hidden> ::convoke_rpc::Service for HiddenServer<T> {
    fn descriptor(&self) -> &'static ::convoke_rpc::ServiceDescriptor {
        HiddenClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke_rpc::IncomingCall,
    ) -> ::convoke_rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => {
                call.unary(move |context, (): ()| async move {
                    T::secret(&service, &context).await
                })
            }
            other => call.unknown_method(other),
        }
    }
}
