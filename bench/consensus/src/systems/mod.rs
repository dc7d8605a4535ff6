//! One file per system: how it serves and is talked to, in which setting, and why in that one.

#[cfg(feature = "convoke")]
pub(crate) mod convoke;
pub(crate) mod etcd;
