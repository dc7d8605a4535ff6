//! A health check that every server answers: does it serve this service, and does it mean to go on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::NoError;

/// What a server says of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// It answers calls.
    Serving,
    /// It does not know the service.
    Unknown,
    /// A word of a newer server.
    #[serde(other)]
    Other,
}

/// Asked by load balancers, supervisors and people.
#[convoke_rpc_macros::service_for_rpc(name = "convoke.Health")]
pub trait HealthCheck {
    /// How the named service is doing; an empty name asks for the server as a whole.
    #[rpc(idempotent, deadline_ms = 2_000)]
    async fn check(&self, service: String) -> Result<Health, NoError>;
}

/// Answers for the services it was told of.
#[derive(Debug)]
pub(crate) struct Checks(pub(crate) BTreeSet<&'static str>);

impl HealthCheck for Checks {
    async fn check(&self, service: String) -> Result<Health, NoError> {
        let known = service.is_empty() || self.0.contains(service.as_str());
        Ok(if known {
            Health::Serving
        } else {
            Health::Unknown
        })
    }
}
