//! Greets whoever has a name.

use crate::protocol::greeting::{GreetError, GreetRequest, GreetResponse, Greeting};

/// The one implementation of [`Greeting`].
#[derive(Debug)]
pub struct Polite;

impl Greeting for Polite {
    async fn greet(&self, request: GreetRequest) -> Result<GreetResponse, GreetError> {
        if request.name.is_empty() {
            return Err(GreetError::NoName);
        }
        Ok(GreetResponse {
            message: format!("Hello, {}!", request.name),
        })
    }
}
