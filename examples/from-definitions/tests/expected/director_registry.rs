// @generated from director_registry.rpc.rs by `convoke gen` or a build script: change director_registry.rpc.rs, not this.

// Workers tell a director that they are there; clients ask it for one of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A worker that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    pub label: String,
    pub address: String,
    pub port: u16,
    pub capabilities: Vec<String>,
}

/// The number of the worker at this director.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    pub worker: u64,
}

/// What a client needs a worker for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Need {
    pub capability: Option<String>,
}

/// The worker to talk to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub worker: u64,
    pub endpoint: String,
}

/// How many workers have each capability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Census {
    pub workers_by_capability: BTreeMap<String, u32>,
}

/// Why a director says no.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DirectorError {
    LabelTaken(String),
    NobodyCan { capability: String },
    NoWorkers,
}

/// Brings clients and workers together.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub trait DirectorRegistry: ::core::marker::Send + ::core::marker::Sync + 'static {
    fn register_worker(
        &self,
        request: Registration,
    ) -> impl ::core::future::Future<
        Output = Result<Registered, DirectorError>,
    > + ::core::marker::Send;
    fn assign(
        &self,
        request: Need,
    ) -> impl ::core::future::Future<
        Output = Result<Assignment, DirectorError>,
    > + ::core::marker::Send;
    fn census(
        &self,
    ) -> impl ::core::future::Future<
        Output = Result<Census, DirectorError>,
    > + ::core::marker::Send;
}

/// Calls the service `DirectorRegistry`. A clone shares the connection.
///
/// Brings clients and workers together.
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct DirectorRegistryClient {
    caller: ::convoke::rpc::Caller,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl DirectorRegistryClient {
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
        static METHODS: [::convoke::rpc::MethodDescriptor; 3] = [
            ::convoke::rpc::MethodDescriptor::new(
                    "DirectorRegistry.register_worker",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("Registration", "Registered", "DirectorError"),
            ::convoke::rpc::MethodDescriptor::new(
                    "DirectorRegistry.assign",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("Need", "Assignment", "DirectorError"),
            ::convoke::rpc::MethodDescriptor::new(
                    "DirectorRegistry.census",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("()", "Census", "DirectorError"),
        ];
        static DESCRIPTOR: ::convoke::rpc::ServiceDescriptor = ::convoke::rpc::ServiceDescriptor {
            name: "DirectorRegistry",
            doc: "Brings clients and workers together.",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `DirectorRegistry.register_worker`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn register_worker(
        &self,
        request: &Registration,
    ) -> ::core::result::Result<Registered, ::convoke::rpc::CallError<DirectorError>> {
        self.caller.unary(&Self::descriptor().methods[0], request).await
    }
    /// Calls `DirectorRegistry.assign`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn assign(
        &self,
        request: &Need,
    ) -> ::core::result::Result<Assignment, ::convoke::rpc::CallError<DirectorError>> {
        self.caller.unary(&Self::descriptor().methods[1], request).await
    }
    /// Calls `DirectorRegistry.census`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn census(
        &self,
    ) -> ::core::result::Result<Census, ::convoke::rpc::CallError<DirectorError>> {
        self.caller.unary(&Self::descriptor().methods[2], &()).await
    }
}

/// Serves `DirectorRegistry` with an implementation of [`DirectorRegistry`].
///
/// Brings clients and workers together.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub struct DirectorRegistryServer<T> {
    service: ::std::sync::Arc<T>,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl<T: DirectorRegistry> DirectorRegistryServer<T> {
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

impl<T> ::core::fmt::Debug for DirectorRegistryServer<T> {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.debug_struct("DirectorRegistryServer").finish_non_exhaustive()
    }
}

impl<T: DirectorRegistry> ::convoke::rpc::Service for DirectorRegistryServer<T> {
    fn descriptor(&self) -> &'static ::convoke::rpc::ServiceDescriptor {
        DirectorRegistryClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke::rpc::IncomingCall,
    ) -> ::convoke::rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => {
                call.unary(move |_, request: Registration| async move {
                    T::register_worker(&service, request).await
                })
            }
            1 => {
                call.unary(move |_, request: Need| async move {
                    T::assign(&service, request).await
                })
            }
            2 => call.unary(move |_, (): ()| async move { T::census(&service).await }),
            other => call.unknown_method(other),
        }
    }
}
