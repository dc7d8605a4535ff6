//! A model that answers token by token.

use convoke::rpc::Streaming;
use serde::{Deserialize, Serialize};

/// What to say something about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    pub text: String,
    /// How many tokens the whole answer has.
    pub tokens: u64,
    /// The answer begins behind this one.
    #[serde(default)]
    pub after: Option<u64>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub sequence: u64,
    pub word: String,
    /// The worker that said it.
    pub by: String,
}

/// Why a model says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InferenceError {
    NothingAsked,
}

/// Runs a model.
#[convoke::service]
pub trait Inference {
    /// The tokens of an answer, as they come. Which token has which number depends on the prompt alone, so another worker goes on where one was.
    #[rpc(idempotent, resumable(after = sequence))]
    async fn generate(&self, prompt: Prompt) -> Result<Streaming<Token>, InferenceError>;
}
