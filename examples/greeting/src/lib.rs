//! A first RPC service: one method, and an error of its own.
//!
//! Server and client are programs of their own in `src/bin`. In two terminals:
//!
//! ```text
//! cargo run -p example-greeting --bin greeting-server -- --dir target/greeting --address 127.0.0.1:4700
//! cargo run -p example-greeting --bin greeting-client -- --dir target/greeting --address 127.0.0.1:4700
//! ```
//!
//! The directory stands in for a cluster: in it is the issuer that both programs get their identity from. Look at the
//! example `calculator` next.

use serde::{Deserialize, Serialize};

/// Greets people.
#[convoke::service]
pub trait Greeter {
    /// Greets one person by name.
    async fn greet(&self, name: String) -> Result<String, GreetError>;
}

/// Why somebody was not greeted. It travels to the caller as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum GreetError {
    /// There was no name.
    #[error("I do not greet people without a name")]
    NoName,
}

/// The one implementation of [`Greeter`].
#[derive(Debug)]
pub struct Polite;

impl Greeter for Polite {
    async fn greet(&self, name: String) -> Result<String, GreetError> {
        if name.is_empty() {
            return Err(GreetError::NoName);
        }
        Ok(format!("Good day, {name}."))
    }
}
