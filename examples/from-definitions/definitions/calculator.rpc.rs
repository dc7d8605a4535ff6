//! Arithmetic over the network.

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
#[rpcnet::service]
pub trait Calculator {
    async fn add(&self, request: Operands) -> Result<Outcome, CalculationError>;
    async fn subtract(&self, request: Operands) -> Result<Outcome, CalculationError>;
    async fn multiply(&self, request: Operands) -> Result<Outcome, CalculationError>;
    /// The left one by the right one.
    async fn divide(&self, request: Operands) -> Result<Outcome, CalculationError>;
}
