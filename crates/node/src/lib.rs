//! One node as one process.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`home`] | the data directory: locked while the node lives, with the key that makes it the same node at its next start |
//! | [`custody`] | belonging to a cluster: founding it, joining it, certificates and their renewal, letting others in |
//!
//! Deliberately not here: printing, and reading the command line.
#![forbid(unsafe_code)]

pub mod custody;
pub mod event;
pub mod home;
pub mod node;
