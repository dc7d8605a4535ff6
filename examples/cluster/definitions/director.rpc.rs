//! Who tells clients which worker to talk to.

use convoke::rpc::Streaming;
use convoke::types::NodeId;
use serde::{Deserialize, Serialize};

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// Workers that it was cut off from, if there were any.
    pub lost: Vec<NodeId>,
}

/// The worker to talk to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub label: String,
    pub address: String,
    pub node: NodeId,
    /// By which the place is held.
    pub ticket: u64,
    /// How long it is kept for who does not hold it.
    pub lease_ms: u64,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DirectorError {
    NoWorkers(String),
    TooLate,
}

/// Brings clients and workers together.
#[convoke::service]
pub trait Director {
    /// The worker with the fewest clients.
    async fn assign_worker(&self, need: Need) -> Result<Assignment, DirectorError>;
    /// Says nothing, and lasts for as long as the client is with its worker: when it ends, whyever, the place is free.
    async fn hold(&self, ticket: u64) -> Result<Streaming<()>, DirectorError>;
}
