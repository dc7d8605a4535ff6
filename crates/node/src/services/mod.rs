//! The services of a node, one file each. What each role wants of them is in [`roles`](crate::roles), who runs them in
//! [`supervisor`](crate::supervisor).
//!
//! | file | service |
//! | --- | --- |
//! | `custody.rs` | certificate, trust and issuer; letting others in |
//! | `gossip.rs` | seeing and being seen |
//! | `api/` | the HTTP API |
//! | `log.rs` | decided state, and being listed in it |
//! | `planner.rs` | roles of nodes, while this one leads |
//!
//! Deliberately not here: services that are not built yet. The supervisor shows them as such.

pub(crate) mod api;
mod custody;
mod gossip;
mod log;
mod planner;

use std::sync::Arc;

use crate::parts::Parts;
use crate::roles::ServiceName;
use crate::supervisor::{Service, Services};

/// Those that are built, for one node.
pub(crate) fn all(parts: &Arc<Parts>) -> Services {
    let custody = custody::Custody(Arc::clone(parts));
    let gossip = gossip::Gossiping(Arc::clone(parts));
    let log = log::Logging(Arc::clone(parts));
    let planner = planner::Planning(Arc::clone(parts));
    let api = api::Serving(Arc::clone(parts));
    Services::from([
        (ServiceName::Custody, Arc::new(custody) as Arc<dyn Service>),
        (ServiceName::Gossip, Arc::new(gossip)),
        (ServiceName::Log, Arc::new(log)),
        (ServiceName::Planner, Arc::new(planner)),
        (ServiceName::Api, Arc::new(api)),
    ])
}
