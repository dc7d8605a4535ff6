//! Talking to decided state.
//!
//! - [`Keeper`]: the RPC service of every node that keeps the log, with its client and server.
//! - [`Store`]: a client that finds who leads, tries again, and never has anything carried out twice.
//! - [`Watch`]: changes as they are decided, across lost links.
//!
//! Keys, values, commands and outcomes are in [`convoke_types::wire::store`].
//!
//! Deliberately not here: the log and the state it amounts to.
#![forbid(unsafe_code)]

mod client;
mod service;
mod session;
mod watch;

pub use client::{Error, Store, StoreConfig};
pub use service::{
    Answer, CommandRequest, Follower, Heard, Keeper, KeeperClient, KeeperServer, LogStatus,
    QueryRequest, Refused, Standing, WatchRequest, Whereabouts,
};
pub use watch::{Event, Watch};
