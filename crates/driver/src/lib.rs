//! Membership as a service: the pure machine of `convoke-membership`, run over real links, timers and files.
//!
//! ```no_run
//! # async fn example(endpoint: convoke_rpc::Endpoint) -> Result<(), Box<dyn std::error::Error>> {
//! use convoke_driver::{Gossip, News, Params, Settings};
//!
//! let gossip = Gossip::start(Settings {
//!     seeds: vec!["seed.example:4600".parse()?],
//!     ..Settings::new(endpoint, Params::lan(100))
//! })
//! .await?;
//! let mut watcher = gossip.watch()?;
//! while let Some(news) = watcher.next().await {
//!     match news {
//!         News::Resync { roll, .. } => println!("{} members", roll.members.len()),
//!         News::Event(event) => println!("{}", event.kind.name()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `gossip.rs` | [`Gossip`], the handle |
//! | `settings.rs` | [`Settings`], and which address others are told to call |
//! | `keeper.rs` | the loop that owns the machine; every bound in one table |
//! | `table.rs` | which link to a peer is used, and which one goes |
//! | `dial.rs` | when a link is opened, and to which address |
//! | `registry.rs` | [`WorkerRegistry`]: which RPC services are offered where |
//! | `cluster.rs` | [`Cluster`]: all of it in one value |
//! | `director.rs` | [`Director`]: clients that are told whom to call |
//! | `cluster_client.rs` | [`ClusterClient`]: calls them, each call on the instance that is best |
//! | `letters.rs` | letters on their streams |
//! | `seeds.rs` | [`Seed`]: addresses, names, files |
//! | `home/` | [`Boot`], and introductions kept for the next start |
//! | `watchers.rs` | [`Watcher`]: a snapshot and what follows, without gaps |
//! | `story.rs` | what the log tells |
//!
//! Decisions are the machine's, but for those about links, which are in `table.rs` and `dial.rs` and take the time as a value.
//!
//! Deliberately not here: what a member's facts lead to, and deciding anything.
#![forbid(unsafe_code)]

mod cluster;
mod cluster_client;
mod dial;
mod director;
mod error;
mod gossip;
mod home;
mod keeper;
mod letters;
mod registry;
mod seal;
mod seeds;
mod settings;
mod story;
mod table;
mod watchers;

pub use cluster::{Cluster, ClusterBuilder, ClusterError};
pub use cluster_client::{ClusterClient, WAYS_MOST};
pub use convoke_membership::{
    Capacity, Condition, Counters, Event, EventKind, Fact, FactError, Facts, Gap, Health, Load,
    Member, Params, Roll, Status, Verdict, Watched,
};
pub use director::{ASSIGNED_MOST, Assignment, Director, DirectorConfig, Held, Pooled};
pub use error::{End, GossipError, StartError};
pub use gossip::{BESIDE_MOST, Gossip, NodeStatus};
pub use home::{Boot, BootError, Home};
pub use registry::{
    OFFER_BYTES, Offer, OfferError, SERVICE_BYTES, UnreadableOffer, WorkerRegistry, instances_of,
};
pub use seeds::{SEEDS_MOST, Seed, SeedError};
pub use settings::Settings;
pub use watchers::{NEWS_WAITING, News, WATCHERS_MOST, Watcher};
