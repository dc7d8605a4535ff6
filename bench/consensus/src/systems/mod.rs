//! One file per system: how it serves and is talked to, in which setting, and why in that one.

pub(crate) mod etcd;
