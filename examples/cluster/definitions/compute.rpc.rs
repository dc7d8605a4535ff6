//! A small task, which the director gives to its workers now and then.

use convoke::rpc::NoError;
use serde::{Deserialize, Serialize};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Computed {
    pub value: u64,
    /// The worker that computed it.
    pub by: String,
}

/// Computes.
#[convoke::service]
pub trait Compute {
    /// The square of a number, as far as it fits.
    #[rpc(idempotent)]
    async fn square(&self, number: u64) -> Result<Computed, NoError>;
}
