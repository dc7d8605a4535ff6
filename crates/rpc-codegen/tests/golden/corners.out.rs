/// What is rare, in one place: "quotes", `code`, {braces}
/// and a second line.
#[allow(clippy::wrong_self_convention)]
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub(crate) trait Corners: ::core::marker::Send + ::core::marker::Sync + 'static {
    fn nothing(
        &self,
    ) -> impl ::core::future::Future<
        Output = Result<(), Refused>,
    > + ::core::marker::Send;
    /// A word of the language as a name.
    fn r#type(
        &self,
        r#in: T,
    ) -> impl ::core::future::Future<Output = Result<T, Refused>> + ::core::marker::Send;
    /// The names that the generated code uses itself.
    fn names(
        &self,
        service: Context,
        call: super::types::Method,
    ) -> impl ::core::future::Future<
        Output = std::result::Result<String, super::types::Refused>,
    > + ::core::marker::Send;
    /// `Arc` has a method of this name too.
    fn as_ref(
        &self,
        caller: Vec<(u32, Option<String>)>,
    ) -> impl ::core::future::Future<
        Output = Result<Vec<u8>, Refused>,
    > + ::core::marker::Send;
    /// Text by itself.
    ///
    /// # Errors
    ///
    /// `Refused` on Mondays.
    #[deprecated(note = "call `r#type`")]
    fn text(
        &self,
        request: String,
    ) -> impl ::core::future::Future<
        Output = Result<String, Refused>,
    > + ::core::marker::Send;
    fn both_ways(
        &self,
        context: &runtime::Context,
        lines: runtime::Streaming<u64>,
    ) -> impl ::core::future::Future<
        Output = Result<runtime::Streaming<u64>, Refused>,
    > + ::core::marker::Send;
}

/// Calls the service `acme.corners`. A clone shares the connection.
///
/// What is rare, in one place: "quotes", `code`, {braces}
/// and a second line.
#[allow(clippy::wrong_self_convention)]
#[allow(deprecated, reason = "what is deprecated still has to be served")]
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub(crate) struct CornersClient {
    caller: ::convoke_rpc::Caller,
}

#[allow(clippy::wrong_self_convention)]
#[allow(deprecated, reason = "what is deprecated still has to be served")]
#[allow(dead_code, reason = "a program may need only one end of a service")]
impl CornersClient {
    /// A client that calls through `caller`.
    #[must_use]
    pub(crate) fn new(
        caller: impl ::core::convert::Into<::convoke_rpc::Caller>,
    ) -> Self {
        Self {
            caller: ::core::convert::Into::into(caller),
        }
    }
    /// The same client, calling with other options.
    #[must_use]
    pub(crate) fn with(&self, options: ::convoke_rpc::CallOptions) -> Self {
        Self {
            caller: self.caller.with(options),
        }
    }
    /// What the service is called, and which methods it has.
    #[must_use]
    pub(crate) fn descriptor() -> &'static ::convoke_rpc::ServiceDescriptor {
        static METHODS: [::convoke_rpc::MethodDescriptor; 6] = [
            ::convoke_rpc::MethodDescriptor::new(
                    "acme.corners.nothing",
                    ::convoke_rpc::MethodKind::Unary,
                )
                .types("()", "()", "Refused"),
            ::convoke_rpc::MethodDescriptor::new(
                    "acme.corners.type",
                    ::convoke_rpc::MethodKind::Unary,
                )
                .types("T", "T", "Refused")
                .doc("A word of the language as a name."),
            ::convoke_rpc::MethodDescriptor::new(
                    "acme.corners.names",
                    ::convoke_rpc::MethodKind::Unary,
                )
                .types("super::types::Method", "String", "super::types::Refused")
                .doc("The names that the generated code uses itself."),
            ::convoke_rpc::MethodDescriptor::new(
                    "acme.corners.as_ref",
                    ::convoke_rpc::MethodKind::Unary,
                )
                .types("Vec<(u32, Option<String>)>", "Vec<u8>", "Refused")
                .doc("`Arc` has a method of this name too."),
            ::convoke_rpc::MethodDescriptor::new(
                    "acme.corners.text",
                    ::convoke_rpc::MethodKind::Unary,
                )
                .types("String", "String", "Refused")
                .deadline(::core::time::Duration::from_millis(1))
                .callers(::convoke_rpc::RoleSet::of(&[::convoke_rpc::Role::Observer]))
                .doc("Text by itself.\n\n# Errors\n\n`Refused` on Mondays."),
            ::convoke_rpc::MethodDescriptor::new(
                    "acme.corners.both_ways",
                    ::convoke_rpc::MethodKind::Bidirectional,
                )
                .types("runtime::Streaming<u64>", "runtime::Streaming<u64>", "Refused"),
        ];
        static DESCRIPTOR: ::convoke_rpc::ServiceDescriptor = ::convoke_rpc::ServiceDescriptor {
            name: "acme.corners",
            doc: "What is rare, in one place: \"quotes\", `code`, {braces}\nand a second line.",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `acme.corners.nothing`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub(crate) async fn nothing(
        &self,
    ) -> ::core::result::Result<(), ::convoke_rpc::CallError<Refused>> {
        self.caller.unary(&Self::descriptor().methods[0], &()).await
    }
    /// Calls `acme.corners.type`.
    ///
    /// A word of the language as a name.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub(crate) async fn r#type(
        &self,
        r#in: &T,
    ) -> ::core::result::Result<T, ::convoke_rpc::CallError<Refused>> {
        self.caller.unary(&Self::descriptor().methods[1], r#in).await
    }
    /// Calls `acme.corners.names`.
    ///
    /// The names that the generated code uses itself.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub(crate) async fn names(
        &self,
        call: &super::types::Method,
    ) -> ::core::result::Result<
        String,
        ::convoke_rpc::CallError<super::types::Refused>,
    > {
        self.caller.unary(&Self::descriptor().methods[2], call).await
    }
    /// Calls `acme.corners.as_ref`.
    ///
    /// `Arc` has a method of this name too.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub(crate) async fn as_ref(
        &self,
        caller: &[(u32, Option<String>)],
    ) -> ::core::result::Result<Vec<u8>, ::convoke_rpc::CallError<Refused>> {
        self.caller.unary(&Self::descriptor().methods[3], caller).await
    }
    /// Calls `acme.corners.text`.
    ///
    /// Text by itself.
    ///
    /// # Errors
    ///
    /// `Refused` on Mondays.
    #[deprecated(note = "call `r#type`")]
    pub(crate) async fn text(
        &self,
        request: &::core::primitive::str,
    ) -> ::core::result::Result<String, ::convoke_rpc::CallError<Refused>> {
        self.caller.unary(&Self::descriptor().methods[4], request).await
    }
    /// Calls `acme.corners.both_ways`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub(crate) async fn both_ways(
        &self,
        lines: runtime::Streaming<u64>,
    ) -> ::core::result::Result<
        runtime::Streaming<u64>,
        ::convoke_rpc::CallError<Refused>,
    > {
        self.caller.bidirectional(&Self::descriptor().methods[5], lines).await
    }
}

/// Serves `acme.corners` with an implementation of [`Corners`].
///
/// What is rare, in one place: "quotes", `code`, {braces}
/// and a second line.
#[allow(clippy::wrong_self_convention)]
#[allow(deprecated, reason = "what is deprecated still has to be served")]
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub(crate) struct CornersServer<T1> {
    service: ::std::sync::Arc<T1>,
}

#[allow(clippy::wrong_self_convention)]
#[allow(deprecated, reason = "what is deprecated still has to be served")]
#[allow(dead_code, reason = "a program may need only one end of a service")]
impl<T1: Corners> CornersServer<T1> {
    /// Serves `service`.
    #[must_use]
    pub(crate) fn new(service: T1) -> Self {
        Self::from_arc(::std::sync::Arc::new(service))
    }
    /// Serves `service`, which others may hold as well.
    #[must_use]
    pub(crate) fn from_arc(service: ::std::sync::Arc<T1>) -> Self {
        Self { service }
    }
}

#[allow(clippy::wrong_self_convention)]
#[allow(deprecated, reason = "what is deprecated still has to be served")]
impl<T1> ::core::fmt::Debug for CornersServer<T1> {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.debug_struct("CornersServer").finish_non_exhaustive()
    }
}

#[allow(clippy::wrong_self_convention)]
#[allow(deprecated, reason = "what is deprecated still has to be served")]
impl<T1: Corners> ::convoke_rpc::Service for CornersServer<T1> {
    fn descriptor(&self) -> &'static ::convoke_rpc::ServiceDescriptor {
        CornersClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke_rpc::IncomingCall,
    ) -> ::convoke_rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => call.unary(move |_, (): ()| async move { T1::nothing(&service).await }),
            1 => {
                call.unary(move |_, request: T| async move {
                    T1::r#type(&service, request).await
                })
            }
            2 => {
                call.unary(move |context, request: super::types::Method| async move {
                    T1::names(&service, context, request).await
                })
            }
            3 => {
                call.unary(move |_, request: Vec<(u32, Option<String>)>| async move {
                    T1::as_ref(&service, request).await
                })
            }
            4 => {
                call.unary(move |_, request: String| async move {
                    T1::text(&service, request).await
                })
            }
            5 => {
                call.bidirectional(move |context, request: runtime::Streaming<u64>| async move {
                    T1::both_ways(&service, &context, request).await
                })
            }
            other => call.unknown_method(other),
        }
    }
}
