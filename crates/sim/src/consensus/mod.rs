//! The log as the program of hosts: the real engine, the real durable log and the real state machine, on a runtime, a network and disks
//! that a seed decides.
//!
//! - `runtime`: one thread, virtual time; lives that crash, pause and have clocks of their own.
//! - `disk`: the durable log over a twin of a disk. `world`: hosts and what is between them.
//! - `nemesis`: what goes wrong. `client`: who uses it. `oracles`: what must hold all the while.
//! - [`tell`]: a whole story; [`tell_voters`]: one in which voters follow from node records; [`tell_leases`]: one of leases while clocks jump; [`Mistake`]: what can be done wrong on purpose, so that promises are seen to be watched.
//!
//! The engine wants a runtime and runs by itself, so these hosts are no [`Actor`](crate::Actor)s of a [`World`](crate::World).
//!
//! Deliberately not here: real files, sockets and clocks.

mod client;
mod disk;
mod leases;
mod nemesis;
mod oracles;
pub mod runtime;
mod tale;
mod voters;
mod world;

pub use leases::tell_leases;
pub use tale::{Mistake, Told, tell};
pub use voters::tell_voters;
