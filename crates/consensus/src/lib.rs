//! Deciding together: a log that a majority keeps, and the state it amounts to.
//!
//! - [`engine`]: the log as the rest of a node uses it: [`engine::Consensus`] takes commands and answers questions.
//! - [`planner`]: which nodes should vote, and who comes first, as pure decisions with their reasons.
//! - `host`, with the feature of that name: a node of the log in a real process, with its directory and its links.
//! - [`log`]: the files of the durable log of one node, as decisions. [`journal`]: the log as the engine uses it.
#![forbid(unsafe_code)]

pub mod engine;
#[cfg(feature = "host")]
pub mod host;
pub mod journal;
pub mod log;
pub mod planner;
