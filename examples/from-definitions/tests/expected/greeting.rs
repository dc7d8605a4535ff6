// @generated from greeting.rpc.rs by `convoke gen` or a build script: change greeting.rpc.rs, not this.

// One method, in the plainest form.

use serde::{Deserialize, Serialize};

/// Whom to greet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GreetRequest {
    pub name: String,
}

/// The greeting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GreetResponse {
    pub message: String,
}

/// Nobody can be greeted without a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GreetError {
    NoName,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
pub trait Greeting: ::core::marker::Send + ::core::marker::Sync + 'static {
    fn greet(
        &self,
        request: GreetRequest,
    ) -> impl ::core::future::Future<
        Output = Result<GreetResponse, GreetError>,
    > + ::core::marker::Send;
}

/// Calls the service `Greeting`. A clone shares the connection.
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct GreetingClient {
    caller: ::convoke::rpc::Caller,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl GreetingClient {
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
        static METHODS: [::convoke::rpc::MethodDescriptor; 1] = [
            ::convoke::rpc::MethodDescriptor::new(
                    "Greeting.greet",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("GreetRequest", "GreetResponse", "GreetError"),
        ];
        static DESCRIPTOR: ::convoke::rpc::ServiceDescriptor = ::convoke::rpc::ServiceDescriptor {
            name: "Greeting",
            doc: "",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `Greeting.greet`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn greet(
        &self,
        request: &GreetRequest,
    ) -> ::core::result::Result<GreetResponse, ::convoke::rpc::CallError<GreetError>> {
        self.caller.unary(&Self::descriptor().methods[0], request).await
    }
}

/// Serves `Greeting` with an implementation of [`Greeting`].
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub struct GreetingServer<T> {
    service: ::std::sync::Arc<T>,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl<T: Greeting> GreetingServer<T> {
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

impl<T> ::core::fmt::Debug for GreetingServer<T> {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.debug_struct("GreetingServer").finish_non_exhaustive()
    }
}

impl<T: Greeting> ::convoke::rpc::Service for GreetingServer<T> {
    fn descriptor(&self) -> &'static ::convoke::rpc::ServiceDescriptor {
        GreetingClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke::rpc::IncomingCall,
    ) -> ::convoke::rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => {
                call.unary(move |_, request: GreetRequest| async move {
                    T::greet(&service, request).await
                })
            }
            other => call.unknown_method(other),
        }
    }
}
