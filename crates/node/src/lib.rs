//! One node as a process: who it is, what it was told, the services its role wants, and the supervisor that runs them.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`node`] | a node, put together: start, ready, stop |
//! | [`builder`] | a node inside another program, in a few words |
//! | [`home`] | the data directory: locked while the node lives, with the key that makes it the same node at its next start |
//! | [`custody`] | belonging to a cluster: founding it, joining it, certificates and their renewal, letting others in |
//! | [`event`] | what happens to a node, for whoever started it |
//! | [`inspect`] | what nodes ask each other about themselves |
//! | [`api`] | the HTTP API, for those who start a node |
//! | [`config`] | flags, environment and file, checked, with their origins |
//! | [`logs`] | what a node tells: levels, files, recent lines |
//! | [`roles`] | which services each role wants, as data |
//! | [`supervisor`] | brings what runs to what is wanted; owns every service; one way to stop |
//! | [`probe`] | what this machine is: cores, memory, disk, network, each with its source and how far to trust it |
//! | [`notify`] | what the service manager is told |
//!
//! A program puts them together so:
//!
//! ```no_run
//! use std::collections::BTreeSet;
//! use std::time::Duration;
//!
//! use convoke_node::config::{Sources, load};
//! use convoke_node::logs::Logs;
//! use convoke_node::roles::wanted;
//! use convoke_node::supervisor::{Params, Services, Supervisor};
//! use convoke_types::Role;
//!
//! # async fn example(sources: Sources) -> Result<(), Box<dyn std::error::Error>> {
//! let config = load(&sources)?.config();
//! let (logs, subscriber) = Logs::start(&config.logs, Box::new(std::io::stderr()));
//! tracing::subscriber::set_global_default(subscriber)?;
//!
//! let services = Services::new();
//! let mut supervisor = Supervisor::start(services, Params::from(config.stop), None, |_| {});
//! let role = config.node.role.unwrap_or(Role::Worker);
//! supervisor.want(role, wanted(role, &BTreeSet::new()));
//!
//! // Meanwhile, for each SIGTERM or SIGINT: supervisor.asked_to_stop()
//! let ending = supervisor.ended().await;
//! println!("{ending:?}");
//! logs.close(Duration::from_secs(1));
//! # Ok(())
//! # }
//! ```
//!
//! Deliberately not here: what HTTP looks like (`web`), and reading the environment, which the program does.
#![forbid(unsafe_code)]

pub mod api {
    //! The HTTP API of a node, as whoever starts the node sees it. What it answers is in `services/api`, what it looks like in `convoke-web`.

    pub use crate::home::{API_SOCKET, api_socket};
    pub use crate::services::api::{ApiSettings, LOGIN_LIFE};
}
pub mod adapting;
pub mod builder;
pub mod config;
pub mod custody;
pub mod event;
pub mod home;
pub mod inspect;
pub mod logs;
pub mod node;
pub mod notify;
mod offering;
mod parts;
pub mod planning;
pub mod probe;
pub mod roles;
mod services;
pub mod supervisor;
