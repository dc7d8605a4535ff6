//! What programs that use Convoke depend on: one name, and behind it the parts.
//!
//! A service is a trait. This is a whole program with server, client and call; ten lines when imports, braces and `main`
//! are not counted:
//!
//! ```
//! use convoke::rpc::{Endpoint, NoError, identity::Development};
//!
//! #[convoke::service]
//! trait Greeter {
//!     async fn greet(&self, name: String) -> Result<String, NoError>;
//! }
//!
//! struct Polite;
//!
//! impl Greeter for Polite {
//!     async fn greet(&self, name: String) -> Result<String, NoError> { Ok(format!("Hello, {name}!")) }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cluster = Development::new(); // a throw-away issuer: nothing runs without TLS
//!     let server = Endpoint::development(&cluster)?.serve(GreeterServer::new(Polite))?;
//!     let greeter = GreeterClient::new(Endpoint::development(&cluster)?.channel(server.target()?));
//!     println!("{}", greeter.greet("Ada").await?);
//!     Ok(())
//! }
//! ```
//!
//! From here on:
//!
//! - [`macro@service`] says what a trait may ask for: streams, deadlines, who may call.
//! - [`rpc`] has the parts that the program above put together, each with its settings: [`rpc::Endpoint::bind`] for an address
//!   and an identity of your own, [`rpc::Server::builder`], [`rpc::Channel::new`].
//! - [`rpc::CallError`] is what a failed call says: did the handler refuse, may the call have run, is it worth another try.
//! - [`rpc::metrics`] counts calls and [`rpc::trace`] puts them into traces; [`rpc::ServerInterceptor`] is how to write more such
//!   code around calls.
//! - [`rpc::reflection`] lets a server describe itself, with the feature of that name, so that `convoke rpc` can call it with JSON.
//! - [`cluster`] says who is there: nodes find each other, tell each other facts, and notice who is gone. It shares the endpoint
//!   with calls, and `Gossip::members` has the addresses to call.
//! - [`cluster::Cluster`] has all of that in one value: an endpoint, membership, and calls to what others offer.
//! - [`cluster::ClusterClient`] calls RPC services wherever they are offered, each call on the instance that is best for it; [`balance`] has the settings.
//!   [`cluster::Director`] is for programs that assign clients to instances instead.
//! - [`store`] reads, changes and watches what the cluster decided.
//! - `node`, with the feature of that name, starts a node inside the program: it takes part, votes if it is a master, and keeps what is
//!   decided. The example `embed` does that.
//! - [`types`] has the words that all of Convoke shares.
//!
//! Deliberately not here: code. Everything is written in the crate that it is re-exported from.
#![forbid(unsafe_code)]

pub use convoke_rpc_macros::service;

pub mod rpc {
    //! Typed calls between nodes that know who the other is: identity, links, channels, servers.
    //!
    //! The traits made by [`macro@crate::service`] use the names of this module.

    // Under its own name it would look for a crate that programs with the facade do not depend on.
    pub use convoke_rpc_macros::service;

    #[doc(inline)]
    pub use convoke_rpc::*;
}

pub mod cluster {
    //! Who is there: membership of this node in its cluster, as an observation that is kept up to date.
    //!
    //! [`Gossip::start`] takes part with an [`rpc::Endpoint`](crate::rpc::Endpoint); [`Gossip::members`] is everybody now,
    //! [`Gossip::watch`] what changes. The example `who-is-there` does nothing else.

    #[doc(inline)]
    pub use convoke_driver::*;
}

pub mod balance {
    //! Which instance of an RPC service gets a call: strategies, limits, retries.
    //!
    //! Nodes offer RPC services with [`Gossip::offer`](crate::cluster::Gossip::offer), and a [`ClusterClient`](crate::cluster::ClusterClient) calls
    //! them. The examples `cluster` and `cluster-client` do both; [`Params`] has every setting.

    #[doc(inline)]
    pub use convoke_balance::*;
}

pub mod store {
    //! What the cluster decided: keys and values that are on the disks of a majority, and read as they are.
    //!
    //! A [`Store`] finds who leads by way of any node, tries again until its time is over, and never has anything carried out twice:
    //!
    //! ```no_run
    //! use convoke::rpc::{Endpoint, Target, identity::Development};
    //! use convoke::store::{Error, Event, Expect, Store, StoreConfig};
    //!
    //! #[tokio::main]
    //! async fn main() -> Result<(), Box<dyn std::error::Error>> {
    //!     let cluster = Development::in_dir("dev")?; // that of the nodes: `convoke up --development dev …`
    //!     let endpoint = Endpoint::development(&cluster)?;
    //!     let node: std::net::SocketAddr = "127.0.0.1:4701".parse()?;
    //!     let store = Store::new(&endpoint, [Target::from(node)], StoreConfig::default());
    //!
    //!     let revision = store.put("colour", "green").await?;
    //!     match store.swap("colour", Expect::Revision(revision), Some(b"blue".to_vec())).await {
    //!         Ok(Ok(_)) => println!("it is blue"),
    //!         Ok(Err(changed)) => println!("somebody else was faster, in revision {changed:?}"),
    //!         Err(Error::OutcomeUnknown { why }) => println!("read it and see: {why}"),
    //!         Err(error) => return Err(error.into()),
    //!     }
    //!
    //!     let mut watch = store.watch("col", None);
    //!     loop {
    //!         match watch.next().await? {
    //!             Event::Change(change) => println!("{:?}: {:?}", change.key, change.item),
    //!             Event::Resync(_) => println!("forget what was told; what is there follows"),
    //!             Event::Complete(revision) => println!("that was all there is, as of revision {revision}"),
    //!             _ => {}
    //!         }
    //!     }
    //! }
    //! ```
    //!
    //! `convoke kv` does the same from the command line.
    //!
    //! Under a lock one program at a time does something; among several that do the same, the holder leads:
    //!
    //! ```no_run
    //! # async fn example(store: convoke::store::Store) -> Result<(), convoke::store::Error> {
    //! use convoke::store::LockConfig;
    //!
    //! let config = LockConfig { note: "10.0.0.1:8080".to_owned(), ..LockConfig::default() };
    //! let mut held = store.lock("reports/leader", config).await?; // waits for its turn
    //! println!("leading, with fence {}", held.fence()); // whatever is written elsewhere can refuse lower ones
    //! tokio::select! {
    //!     why = held.lost() => println!("not any more: {why}"),
    //!     () = std::future::ready(()) => held.release().await?, // the work, and after it the next one leads
    //! }
    //! if let Some(lock) = store.holder("reports/leader").await? {
    //!     println!("{} leads", lock.holder.note);
    //! }
    //! # Ok(())
    //! # }
    //! ```

    #[doc(inline)]
    pub use convoke_store::*;
    #[doc(inline)]
    pub use convoke_types::wire::store::{
        Change, Command, ConfigCommand, ConfigRefusal, Done, Expect, Fence, Fenced, Forgotten,
        Found, Freshness, Holder, Item, KEY_BYTES, KvCommand, Listed, Lock, LockCommand, LockNews,
        LockRefusal, Mark, Marked, News, NodeCommand, NodeRefusal, Outcome, PAGE_ITEMS, Page,
        Proposal, ProposalId, Query, Range, Record, Refusal, Revision, Rule, SessionCommand,
        SessionId, Setting, Ticket, VALUE_BYTES, Value, Verdict, Version, WINDOW, rights, schema,
    };
}

#[cfg(feature = "node")]
pub mod node {
    //! A node inside this program.
    //!
    //! ```no_run
    //! use convoke::node::Node;
    //!
    //! #[tokio::main]
    //! async fn main() -> Result<(), Box<dyn std::error::Error>> {
    //!     let node = Node::builder("data").cluster_name("cellar").start().await?;
    //!     let role = node.ready().await?;
    //!     println!("{} is {role} of {}", node.id(), node.cluster_name());
    //!     if let Some(gossip) = node.gossip() {
    //!         println!("{} members", gossip.members().members.len());
    //!     }
    //!     node.store().put("colour", "green").await?;
    //!     node.stop().await;
    //!     Ok(())
    //! }
    //! ```
    //!
    //! Others join with a token: `convoke token create --data data` makes one while the node runs.

    #[doc(inline)]
    pub use convoke_node::api::ApiSettings;
    #[doc(inline)]
    pub use convoke_node::builder::Builder;
    #[doc(inline)]
    pub use convoke_node::event::{Event, Place, Teller};
    #[doc(inline)]
    pub use convoke_node::node::{Belonging, COPY, LIFETIME, Node, NodeError, Settings};
    #[doc(inline)]
    pub use convoke_node::{custody, home, inspect, logs, roles, supervisor};
}

pub mod types {
    //! The words that all of Convoke shares: who a node is, what it may do, and what a failure says.

    #[doc(inline)]
    pub use convoke_types::{
        Blame, Changed, ClusterId, Code, Incarnation, NodeId, Problem, Retry, Role, RoleSet,
        Selector, SelectorError, Tag, Tags, Timestamp,
    };
}

/// The programs in the README, which are run as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The programs in the page for people who know other systems, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/coming-from.md")]
struct ComingFrom;
