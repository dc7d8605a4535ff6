//! One file per system: how it serves and calls, in which setting, and why in that one.

#[cfg(feature = "convoke")]
pub(crate) mod convoke;
pub(crate) mod quinn;
pub(crate) mod rpcnet;
pub(crate) mod tarpc;
pub(crate) mod tonic;
