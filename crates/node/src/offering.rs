//! Which RPC services a node offers to callers by itself, and whether they should come.
//!
//! | RPC service | offered | takes calls |
//! | --- | --- | --- |
//! | `convoke.Instances` | by every node | once it is listed |
//! | `convoke.Inspect` | by every node | once it is listed |
//! | `convoke.Store` | by nodes that keep the log | once they have it |
//!
//! None takes calls on a node that is taken out of use, or is about to stop. What nodes say to each other (`convoke.Raft`, `convoke.Bandwidth`) is for nobody
//! else, and `convoke.Health` and `convoke.Reflection` are of one server, which is asked where it is; so these are not offered.
//!
//! | bound | |
//! | --- | --- |
//! | what is said | some 40 bytes for each RPC service: methods are left out, since the version says them |
//! | how late it is | [`LOOK`], and at once for what is decided about the node |
//!
//! Deliberately not here: how it is said (`convoke_driver`), and answering.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use convoke_driver::{DIRECTORY, Gossip, Offer, OfferError};

use crate::parts::Parts;

/// Between two looks at whether there is a log.
const LOOK: Duration = Duration::from_secs(1);
/// Under this name nodes that keep the log are asked what was decided.
const STORE: &str = "convoke.Store";
const INSPECT: &str = "convoke.Inspect";

/// What of a node says what it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Seen {
    /// It is listed, and answers.
    is_listed: bool,
    /// It keeps the log, or is to.
    keeps_log: bool,
    /// It has something of the log.
    has_log: bool,
    /// It is taken out of use, or about to stop.
    is_going: bool,
}

impl Seen {
    /// Each RPC service that is offered, and whether it takes calls.
    fn offered(self) -> BTreeMap<&'static str, bool> {
        let serves = self.is_listed && !self.is_going;
        let mut offered = BTreeMap::from([(DIRECTORY, serves), (INSPECT, serves)]);
        if self.keeps_log {
            offered.insert(STORE, serves && self.has_log);
        }
        offered
    }
}

fn offer(is_serving: bool) -> Offer {
    Offer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        is_serving,
        ..Offer::default()
    }
}

/// Says it, as it changes.
pub(crate) struct Offering {
    parts: Arc<Parts>,
    said: BTreeMap<&'static str, bool>,
}

impl Offering {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            said: BTreeMap::new(),
        }
    }

    /// For ever.
    pub(crate) async fn run(mut self, gossip: &Gossip) -> Infallible {
        let mut roles = self.parts.role.subscribe();
        let mut going = self.parts.is_going.subscribe();
        loop {
            let seen = see(&self.parts);
            if let Err(error) = self.say(gossip, seen.offered()).await {
                tracing::debug!(%error, "offer RPC services");
            }
            // Each sender is one of the parts, which outlive this.
            tokio::select! {
                _ = roles.changed() => {}
                _ = going.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn say(
        &mut self,
        gossip: &Gossip,
        offered: BTreeMap<&'static str, bool>,
    ) -> Result<(), OfferError> {
        for (service, is_serving) in &offered {
            if self.said.get(service) != Some(is_serving) {
                gossip.offer(service, &offer(*is_serving)).await?;
                self.said.insert(service, *is_serving);
            }
        }
        let withdrawn = self.said.keys().filter(|it| !offered.contains_key(*it));
        let withdrawn: Vec<&'static str> = withdrawn.copied().collect();
        for service in withdrawn {
            gossip.withdraw(service).await?;
            self.said.remove(service);
        }
        Ok(())
    }
}

fn see(parts: &Parts) -> Seen {
    let log = parts.log.get();
    Seen {
        is_listed: parts.role.borrow().is_some(),
        keeps_log: log.is_some(),
        has_log: log.is_some_and(|log| log.status().has_log()),
        is_going: parts.is_going.borrow().any(),
    }
}

/// Why a node should get no more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Going {
    /// It is decided.
    pub(crate) is_drained: bool,
    /// It is about to stop.
    pub(crate) stops: bool,
}

impl Going {
    pub(crate) fn any(self) -> bool {
        self.is_drained || self.stops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Seen {
        Seen {
            is_listed: true,
            keeps_log: true,
            has_log: true,
            is_going: false,
        }
    }

    #[test]
    fn what_a_node_offers_follows_from_its_role_and_state() {
        let all =
            |serves| BTreeMap::from([(DIRECTORY, serves), (INSPECT, serves), (STORE, serves)]);
        assert_eq!(well().offered(), all(true));
        let going = Seen {
            is_going: true,
            ..well()
        };
        assert_eq!(going.offered(), all(false));
        let new = Seen {
            is_listed: false,
            ..well()
        };
        assert_eq!(new.offered(), all(false));
        let waits = Seen {
            has_log: false,
            ..well()
        };
        let mut expected = all(true);
        expected.insert(STORE, false);
        assert_eq!(waits.offered(), expected);
        let asks = Seen {
            keeps_log: false,
            ..waits
        };
        expected.remove(STORE);
        assert_eq!(asks.offered(), expected);
    }

    #[test]
    fn it_takes_little_room_in_gossip() {
        let room: usize = well()
            .offered()
            .iter()
            .map(|(service, serves)| {
                let bytes = offer(*serves).to_bytes().expect("it is short");
                "rpc.".len() + service.len() + bytes.len()
            })
            .sum();
        assert!(room <= 120, "{room}");
    }
}
