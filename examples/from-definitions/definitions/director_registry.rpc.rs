//! Workers tell a director that they are there; clients ask it for one of them.

use std::collections::BTreeMap;

use rpcnet::service;
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
#[service]
pub trait DirectorRegistry {
    async fn register_worker(&self, request: Registration) -> Result<Registered, DirectorError>;
    async fn assign(&self, request: Need) -> Result<Assignment, DirectorError>;
    async fn census(&self) -> Result<Census, DirectorError>;
}
