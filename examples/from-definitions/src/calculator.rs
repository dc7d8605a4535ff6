//! Calculates, and says so when a result is none.

use crate::protocol::calculator::{CalculationError, Calculator, Operands, Outcome};

/// The one implementation of [`Calculator`].
#[derive(Debug)]
pub struct Abacus;

impl Calculator for Abacus {
    async fn add(&self, request: Operands) -> Result<Outcome, CalculationError> {
        in_range(request.left + request.right)
    }

    async fn subtract(&self, request: Operands) -> Result<Outcome, CalculationError> {
        in_range(request.left - request.right)
    }

    async fn multiply(&self, request: Operands) -> Result<Outcome, CalculationError> {
        in_range(request.left * request.right)
    }

    async fn divide(&self, request: Operands) -> Result<Outcome, CalculationError> {
        if request.right == 0.0 {
            return Err(CalculationError::DividedByZero);
        }
        in_range(request.left / request.right)
    }
}

fn in_range(value: f64) -> Result<Outcome, CalculationError> {
    if value.is_finite() {
        Ok(Outcome { value })
    } else {
        Err(CalculationError::OutOfRange { value })
    }
}
