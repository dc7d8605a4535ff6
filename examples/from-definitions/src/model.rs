//! A model that repeats what it hears: streams in every direction, from a definition that writes them as boxed `Stream`s.

use convoke::rpc::{CallError, NoError, Streaming};
use futures_util::{StreamExt, stream};

use crate::protocol::inference::{Inference, InferenceError, Piece, Prompt, Summary};

/// The one implementation of [`Inference`].
#[derive(Debug)]
pub struct Parrot;

impl Inference for Parrot {
    async fn generate(
        &self,
        request: Streaming<Prompt>,
    ) -> Result<Streaming<Piece, InferenceError>, InferenceError> {
        let connected = Piece::Connected {
            worker: "parrot".to_owned(),
        };
        let repeated = request.enumerate().map(|(sequence, prompt)| {
            let prompt = prompt.map_err(|lost| InferenceError::WorkerFailed(lost.to_string()))?;
            if prompt.text.is_empty() {
                return Err(InferenceError::NothingAsked);
            }
            Ok(Piece::Word {
                text: prompt.text,
                sequence: sequence as u64,
            })
        });
        Ok(Streaming::from_stream(
            stream::iter([Ok(connected)]).chain(repeated),
        ))
    }

    async fn complete(&self, request: Prompt) -> Result<Streaming<Piece>, InferenceError> {
        if request.text.is_empty() {
            return Err(InferenceError::NothingAsked);
        }
        let words: Vec<Piece> = request
            .text
            .split_whitespace()
            .zip(0..)
            .map(|(text, sequence)| Piece::Word {
                text: text.to_owned(),
                sequence,
            })
            .collect();
        Ok(Streaming::from_iter(words.into_iter().chain([Piece::Done])))
    }

    async fn summarize(&self, mut request: Streaming<Prompt>) -> Result<Summary, InferenceError> {
        let mut words = 0;
        while let Some(part) = request.next().await {
            let part = part.map_err(|lost: CallError<NoError>| {
                InferenceError::WorkerFailed(lost.to_string())
            })?;
            words += part.text.split_whitespace().count() as u64;
        }
        Ok(Summary { words })
    }

    async fn ready(&self) -> Result<bool, InferenceError> {
        Ok(true)
    }
}
