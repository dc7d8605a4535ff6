//! What a worker does, whichever program it is in.

use std::io;
use std::time::Duration;

use convoke::cluster::{Cluster, Offer, OfferError};
use convoke::rpc::{Endpoint, NoError, Server, ServiceDescriptor, Streaming};

use crate::protocol::compute::{Compute, ComputeClient, ComputeServer, Computed};
use crate::protocol::inference::{
    Inference, InferenceClient, InferenceError, InferenceServer, Prompt, Token,
};

/// Answers prompts with their own words, and computes squares.
#[derive(Clone, Debug)]
pub struct Worker {
    /// What it calls itself.
    pub label: String,
    /// How long it thinks about each token.
    pub thinks: Duration,
}

impl Worker {
    /// Serves both services.
    ///
    /// # Errors
    /// When something is served there already.
    pub fn serve(&self, endpoint: &Endpoint) -> io::Result<Server> {
        Server::builder()
            .service(InferenceServer::new(self.clone()))
            .service(ComputeServer::new(self.clone()))
            .serve(endpoint)
    }

    /// Tells everybody what is served here, and whether new calls are taken.
    ///
    /// # Errors
    /// When membership has ended.
    pub async fn offer(&self, cluster: &Cluster, is_serving: bool) -> Result<(), OfferError> {
        for service in services() {
            let offer = Offer {
                is_serving,
                ..Offer::of(service)
            };
            cluster.gossip().offer(service.name, &offer).await?;
        }
        Ok(())
    }

    /// Tells everybody that nothing is served here any more.
    ///
    /// # Errors
    /// When membership has ended.
    pub async fn withdraw(&self, cluster: &Cluster) -> Result<(), OfferError> {
        for service in services() {
            cluster.gossip().withdraw(service.name).await?;
        }
        Ok(())
    }
}

fn services() -> [&'static ServiceDescriptor; 2] {
    [InferenceClient::descriptor(), ComputeClient::descriptor()]
}

impl Inference for Worker {
    async fn generate(&self, prompt: Prompt) -> Result<Streaming<Token>, InferenceError> {
        let words: Vec<String> = prompt.text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Err(InferenceError::NothingAsked);
        }
        let Self { label, thinks } = self.clone();
        let begin = prompt.after.map_or(0, |after| after.saturating_add(1));
        let tokens = futures_util::stream::unfold(begin, move |sequence| {
            let word = words[(sequence % words.len() as u64) as usize].clone();
            let (by, is_over) = (label.clone(), sequence >= prompt.tokens);
            async move {
                if is_over {
                    return None;
                }
                tokio::time::sleep(thinks).await;
                let token = Token { sequence, word, by };
                Some((Ok(token), sequence + 1))
            }
        });
        Ok(Streaming::from_stream(tokens))
    }
}

impl Compute for Worker {
    async fn square(&self, number: u64) -> Result<Computed, NoError> {
        Ok(Computed {
            value: number.wrapping_mul(number),
            by: self.label.clone(),
        })
    }
}
