//! Deciding together: a log that a majority keeps, and the state it amounts to.
//!
//! - [`log`]: the files of the durable log of one node, as decisions. [`journal`]: the log as the engine uses it.
#![forbid(unsafe_code)]

pub mod journal;
pub mod log;
