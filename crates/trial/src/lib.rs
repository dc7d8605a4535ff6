//! What trials share, whether they happen in a virtual world (`sim`) or to real processes (`ordeal`).
//!
//! - [`random`]: chance that a seed decides.
//! - [`linear`]: whether a recorded history of operations could have happened one after the other.
//! - [`stories`]: stories as text, compared with how they ended before.
//!
//! Deliberately not here: worlds, faults, and anything that is tried.
#![forbid(unsafe_code)]

pub mod linear;
pub mod random;
pub mod stories;

pub use random::{Random, mix};
