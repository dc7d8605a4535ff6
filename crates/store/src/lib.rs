//! Talking to decided state.
//!
//! - [`Keeper`]: the RPC service of every node that keeps the log, with its client and server.
//! - [`Store`]: a client that finds who leads, tries again, and never has anything carried out twice.
//! - [`Watch`]: changes as they are decided, across lost links.
//! - [`Held`]: a lock that is held, and renewed until it is let go. [`Backup`]: all that is decided, taken away.
//!
//! Keys, values, commands and outcomes are in [`convoke_types::wire::store`].
//!
//! ```no_run
//! # async fn example(endpoint: convoke_rpc::Endpoint) -> Result<(), Box<dyn std::error::Error>> {
//! use convoke_rpc::Target;
//! use convoke_store::{Event, Store, StoreConfig};
//! use convoke_types::wire::store::Expect;
//!
//! let nodes = ["10.0.0.1:4700", "10.0.0.2:4700"].map(|node| Target::from(node.parse::<std::net::SocketAddr>().unwrap()));
//! let store = Store::new(&endpoint, nodes, StoreConfig::default());
//! let revision = store.put("colour", "green").await?;
//! let swapped = store.swap("colour", Expect::Revision(revision), Some(b"blue".to_vec())).await?;
//! assert!(swapped.is_ok(), "somebody else was faster");
//! let mut watch = store.watch("colour", None);
//! while let Event::Change(change) = watch.next().await? {
//!     println!("{:?}", change.item);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Deliberately not here: the log and the state it amounts to.
#![forbid(unsafe_code)]

mod backup;
mod client;
mod config;
mod lock;
mod nodes;
mod service;
mod session;
mod watch;

pub use backup::{Backup, BackupHead};
pub use client::{Error, Pages, Read, Store, StoreConfig};
pub use config::Change as ConfigChange;
pub use lock::{Held, LockConfig};
pub use service::{
    Answer, CommandRequest, Follower, Heard, Keeper, KeeperClient, KeeperServer, LogStatus,
    QueryRequest, Refused, Saved, Scope, Snapshotted, Standing, Voter, Voters, WatchRequest,
    Whereabouts,
};
pub use watch::{Event, Watch};
