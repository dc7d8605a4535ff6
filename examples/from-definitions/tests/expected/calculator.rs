// @generated from calculator.rpc.rs by `convoke gen` or a build script: change calculator.rpc.rs, not this.

// Arithmetic over the network.

use serde::{Deserialize, Serialize};

/// What to calculate with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operands {
    pub left: f64,
    pub right: f64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub value: f64,
}

/// Why nothing came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CalculationError {
    DividedByZero,
    OutOfRange { value: f64 },
}

/// Knows the four operations.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub trait Calculator: ::core::marker::Send + ::core::marker::Sync + 'static {
    fn add(
        &self,
        request: Operands,
    ) -> impl ::core::future::Future<
        Output = Result<Outcome, CalculationError>,
    > + ::core::marker::Send;
    fn subtract(
        &self,
        request: Operands,
    ) -> impl ::core::future::Future<
        Output = Result<Outcome, CalculationError>,
    > + ::core::marker::Send;
    fn multiply(
        &self,
        request: Operands,
    ) -> impl ::core::future::Future<
        Output = Result<Outcome, CalculationError>,
    > + ::core::marker::Send;
    /// The left one by the right one.
    fn divide(
        &self,
        request: Operands,
    ) -> impl ::core::future::Future<
        Output = Result<Outcome, CalculationError>,
    > + ::core::marker::Send;
}

/// Calls the service `Calculator`. A clone shares the connection.
///
/// Knows the four operations.
#[allow(dead_code, reason = "a program may need only one end of a service")]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct CalculatorClient {
    caller: ::convoke::rpc::Caller,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl CalculatorClient {
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
                    "Calculator.add",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("Operands", "Outcome", "CalculationError"),
            ::convoke::rpc::MethodDescriptor::new(
                    "Calculator.subtract",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("Operands", "Outcome", "CalculationError"),
            ::convoke::rpc::MethodDescriptor::new(
                    "Calculator.multiply",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("Operands", "Outcome", "CalculationError"),
            ::convoke::rpc::MethodDescriptor::new(
                    "Calculator.divide",
                    ::convoke::rpc::MethodKind::Unary,
                )
                .types("Operands", "Outcome", "CalculationError")
                .doc("The left one by the right one."),
        ];
        static DESCRIPTOR: ::convoke::rpc::ServiceDescriptor = ::convoke::rpc::ServiceDescriptor {
            name: "Calculator",
            doc: "Knows the four operations.",
            methods: &METHODS,
        };
        &DESCRIPTOR
    }
    /// Calls `Calculator.add`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn add(
        &self,
        request: &Operands,
    ) -> ::core::result::Result<Outcome, ::convoke::rpc::CallError<CalculationError>> {
        self.caller.unary(&Self::descriptor().methods[0], request).await
    }
    /// Calls `Calculator.subtract`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn subtract(
        &self,
        request: &Operands,
    ) -> ::core::result::Result<Outcome, ::convoke::rpc::CallError<CalculationError>> {
        self.caller.unary(&Self::descriptor().methods[1], request).await
    }
    /// Calls `Calculator.multiply`.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn multiply(
        &self,
        request: &Operands,
    ) -> ::core::result::Result<Outcome, ::convoke::rpc::CallError<CalculationError>> {
        self.caller.unary(&Self::descriptor().methods[2], request).await
    }
    /// Calls `Calculator.divide`.
    ///
    /// The left one by the right one.
    ///
    /// # Errors
    ///
    /// `App` is the answer of the service; `Rpc` says whether the call may have run and whether to try again.
    pub async fn divide(
        &self,
        request: &Operands,
    ) -> ::core::result::Result<Outcome, ::convoke::rpc::CallError<CalculationError>> {
        self.caller.unary(&Self::descriptor().methods[3], request).await
    }
}

/// Serves `Calculator` with an implementation of [`Calculator`].
///
/// Knows the four operations.
#[allow(dead_code, reason = "a program may need only one end of a service")]
pub struct CalculatorServer<T> {
    service: ::std::sync::Arc<T>,
}

#[allow(dead_code, reason = "a program may need only one end of a service")]
impl<T: Calculator> CalculatorServer<T> {
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

impl<T> ::core::fmt::Debug for CalculatorServer<T> {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.debug_struct("CalculatorServer").finish_non_exhaustive()
    }
}

impl<T: Calculator> ::convoke::rpc::Service for CalculatorServer<T> {
    fn descriptor(&self) -> &'static ::convoke::rpc::ServiceDescriptor {
        CalculatorClient::descriptor()
    }
    fn dispatch(
        &self,
        method: u16,
        call: ::convoke::rpc::IncomingCall,
    ) -> ::convoke::rpc::Handling {
        let service = ::std::sync::Arc::clone(&self.service);
        match method {
            0 => {
                call.unary(move |_, request: Operands| async move {
                    T::add(&service, request).await
                })
            }
            1 => {
                call.unary(move |_, request: Operands| async move {
                    T::subtract(&service, request).await
                })
            }
            2 => {
                call.unary(move |_, request: Operands| async move {
                    T::multiply(&service, request).await
                })
            }
            3 => {
                call.unary(move |_, request: Operands| async move {
                    T::divide(&service, request).await
                })
            }
            other => call.unknown_method(other),
        }
    }
}
