//! Several methods, and what can be said about each: whether it may be repeated, how long it may take, who may call it.
//!
//! ```text
//! cargo run -p example-calculator --bin calculator-server -- --dir target/calculator --address 127.0.0.1:4700
//! cargo run -p example-calculator --bin calculator-client -- --dir target/calculator --address 127.0.0.1:4700
//! ```

use std::sync::{Mutex, PoisonError};

use convoke::rpc::{Context, NoError};
use serde::{Deserialize, Serialize};

/// Calculates, and remembers one number.
#[convoke::service]
pub trait Calculator {
    /// Left plus right. Asking twice does no harm, so a call whose link was lost is repeated by itself.
    #[rpc(idempotent)]
    async fn add(&self, numbers: Pair) -> Result<f64, NoError>;

    /// Left divided by right, which must not be zero.
    #[rpc(idempotent)]
    async fn divide(&self, numbers: Pair) -> Result<f64, DivideError>;

    /// The prime number at `place`; the first is 2. Nobody waits for it longer than the deadline.
    #[rpc(idempotent, deadline_ms = 1_000)]
    async fn prime(&self, place: u32) -> Result<u64, NoError>;

    /// Adds to the memory and says what is in it. Not idempotent: after a lost link the caller hears that it may have run.
    async fn remember(&self, number: f64) -> Result<f64, NoError>;

    /// Empties the memory and says what was in it. For masters only; the certificate of the caller decides.
    #[rpc(roles(master))]
    async fn forget(&self) -> Result<f64, NoError>;

    /// Says who is asking. A handler that wants to know about its call has a `Context`; callers do not see it.
    #[rpc(idempotent)]
    async fn who_am_i(&self, ctx: &Context) -> Result<String, NoError>;
}

/// Two numbers. A method takes one message; more than one value goes into a struct, to which fields can be added later.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Pair {
    /// The first.
    pub left: f64,
    /// The second.
    pub right: f64,
}

/// Why there is no quotient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum DivideError {
    /// The divisor was zero.
    #[error("{dividend} cannot be divided by zero")]
    ByZero {
        /// What should have been divided.
        dividend: f64,
    },
}

/// The one implementation of [`Calculator`]. All calls share it, so what changes is behind a lock.
#[derive(Debug, Default)]
pub struct Desk {
    memory: Mutex<f64>,
}

impl Calculator for Desk {
    async fn add(&self, Pair { left, right }: Pair) -> Result<f64, NoError> {
        Ok(left + right)
    }

    async fn divide(&self, Pair { left, right }: Pair) -> Result<f64, DivideError> {
        if right == 0.0 {
            return Err(DivideError::ByZero { dividend: left });
        }
        Ok(left / right)
    }

    async fn prime(&self, place: u32) -> Result<u64, NoError> {
        let mut found = 0;
        for candidate in 2.. {
            // A handler is ended at its deadline when it awaits; one that only computes would keep its thread.
            tokio::task::yield_now().await;
            found += u32::from(is_prime(candidate));
            if found == place.max(1) {
                return Ok(candidate);
            }
        }
        unreachable!("there are more primes than places")
    }

    async fn remember(&self, number: f64) -> Result<f64, NoError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        *memory += number;
        Ok(*memory)
    }

    async fn forget(&self) -> Result<f64, NoError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *memory))
    }

    async fn who_am_i(&self, ctx: &Context) -> Result<String, NoError> {
        Ok(format!(
            "{}, who may be {}",
            ctx.caller(),
            ctx.caller_roles()
        ))
    }
}

fn is_prime(number: u64) -> bool {
    (2..number)
        .take_while(|divisor| divisor * divisor <= number)
        .all(|divisor| !number.is_multiple_of(divisor))
}
