//! Asks a node for everything that a picture shows, at once, and for what happened since the last time.
//!
//! | bound | |
//! | --- | --- |
//! | nodes of a picture | [`NODES_MOST`]; the others are counted by the status |
//! | events of one look | [`EVENTS_MOST`], the latest; older ones are left out |
//! | pages of events read at once | [`PAGES`] |

use std::collections::VecDeque;

use convoke_web::backend::{PAGE_MOST, Part};
use convoke_web::client::{Client, ClientError};
use convoke_web::model::{Event, NodeSummary};
use futures_util::future::join4;

use super::cluster::Cluster;

/// Nodes that are shown.
pub(crate) const NODES_MOST: usize = 5_000;
/// Events that are kept of one look.
pub(crate) const EVENTS_MOST: usize = 200;
/// Pages of events that are read to get to the latest.
const PAGES: usize = 8;

/// What one look brought.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    pub(crate) cluster: Cluster,
    /// What happened since the last look; with the first, what happened before.
    pub(crate) events: Vec<Event>,
    /// How many those are, with those that are left out; not counted with the first look.
    pub(crate) happened: u64,
    /// Numbers of the node that answers, as its `/metrics` has them.
    pub(crate) numbers: String,
}

/// Looks again and again through one node.
#[derive(Debug)]
pub(crate) struct Looker {
    client: Client,
    after: Option<String>,
}

impl Looker {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            after: None,
        }
    }

    /// Everything, as it is now. Numbers and who votes are left out when this node cannot say.
    pub(crate) async fn look(&mut self) -> Result<Looked, ClientError> {
        let client = &self.client;
        let (status, nodes, voters, numbers) = join4(
            client.status(),
            nodes(client),
            client.voters(false),
            client.metrics(),
        )
        .await;
        let status = status?;
        let cluster = Cluster::of(&status, &nodes?, voters.as_ref().ok());
        let is_first = self.after.is_none();
        let (events, happened) = self.events().await?;
        Ok(Looked {
            cluster,
            events,
            happened: if is_first { 0 } else { happened },
            numbers: numbers.unwrap_or_default(),
        })
    }

    async fn events(&mut self) -> Result<(Vec<Event>, u64), ClientError> {
        let mut kept = VecDeque::new();
        let mut happened = 0;
        for _ in 0..PAGES {
            let part = Part {
                after: self.after.clone(),
                limit: PAGE_MOST,
            };
            let page = self.client.events(&part).await?;
            self.after = Some(page.next);
            let is_last = page.items.len() < PAGE_MOST as usize;
            happened += page.items.len() as u64;
            kept.extend(page.items);
            let too_many = kept.len().saturating_sub(EVENTS_MOST);
            kept.drain(..too_many);
            if is_last {
                break;
            }
        }
        Ok((kept.into(), happened))
    }
}

async fn nodes(client: &Client) -> Result<Vec<NodeSummary>, ClientError> {
    let mut all = Vec::new();
    let mut after = None;
    while all.len() < NODES_MOST {
        let part = Part {
            after,
            limit: PAGE_MOST,
        };
        let page = client.nodes(&part).await?;
        let is_empty = page.items.is_empty();
        all.extend(page.items);
        after = page.next;
        if is_empty || after.is_none() {
            break;
        }
    }
    all.truncate(NODES_MOST);
    Ok(all)
}
