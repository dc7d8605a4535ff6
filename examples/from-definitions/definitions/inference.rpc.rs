//! A model that answers word by word, with streams in every direction.

use std::pin::Pin;

use futures::Stream;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// What to say something about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    pub connection: String,
    pub text: String,
}

/// What a model says, piece by piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    Connected { worker: String },
    Word { text: String, sequence: u64 },
    Done,
}

/// A text that was read to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub words: u64,
}

/// Why a model says nothing, or no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InferenceError {
    WorkerFailed(String),
    NothingAsked,
}

/// Runs a model.
#[rpcnet::service]
pub trait Inference {
    /// Prompts in, pieces out, as long as both sides like.
    async fn generate(
        &self,
        request: Pin<Box<dyn Stream<Item = Prompt> + Send>>,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Piece, InferenceError>> + Send>>, InferenceError>;

    /// Pieces that cannot fail once they have begun.
    async fn complete(
        &self,
        request: Prompt,
    ) -> Result<Pin<Box<dyn Stream<Item = Piece> + Send>>, InferenceError>;

    /// Takes in a long text, a part at a time.
    async fn summarize(
        &self,
        request: BoxStream<'static, Prompt>,
    ) -> Result<Summary, InferenceError>;

    async fn ready(&self) -> Result<bool, InferenceError>;
}
