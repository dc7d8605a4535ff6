//! How the knobs of a node stand: it is asked itself, since nobody else knows.
//!
//! Deliberately not here: what people decide about knobs, which is configuration.

use convoke_rpc::{CallError, CallOptions};
use convoke_web::model::Adaptation;
use convoke_web::{Code, Fault};

use super::ask::{Desk, unanswered};
use super::nodes::REPORT;
use crate::adapting;

impl Desk {
    pub(super) async fn knobs_of(&self, node: &str) -> Result<Adaptation, Fault> {
        let id = self.resolve(node).await?;
        let none = || {
            Fault::new(
                Code::Unavailable,
                "the node takes no part in gossip just now, and turns nothing",
            )
        };
        if id == self.parts.me() {
            return adapting::report(&self.parts).ok_or_else(none);
        }
        self.must_be_known(id)?;
        let client = self.peer(id).await?;
        let options = CallOptions::new().timeout(REPORT);
        match client.with(options).knobs().await {
            Ok(report) => Ok(report),
            Err(CallError::App(_)) => Err(none()),
            Err(error) => {
                self.forget_channel(id);
                Err(unanswered(id, &error))
            }
        }
    }
}
