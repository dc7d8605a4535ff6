//! One method, in the plainest form.

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

#[rpcnet::service]
pub trait Greeting {
    async fn greet(&self, request: GreetRequest) -> Result<GreetResponse, GreetError>;
}
