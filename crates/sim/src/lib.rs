//! A virtual world in which thinking machines are tested: clocks, a network, disks and faults, all from one seed.
//!
//! A test wraps a machine into an [`Actor`], builds a [`World`] of as many hosts as it likes, lets faults happen and
//! asks oracles whether the promises hold. Thousands of hosts run on one thread faster than real time, and a seed that
//! found a mistake finds it again.
//!
//! - [`actor`]: the contract between the world and a program: [`Actor`], [`Outbox`], [`Packet`], [`Birth`].
//! - [`network`]: delay, loss, doubling, and what things weigh on the wire.
//! - [`fault`]: what can go wrong, as data.
//! - [`world`]: the world, its hosts and its time.
//! - [`oracle`]: what must hold, asked after every step, now and then, and at the end.
//! - [`schedule`]: faults drawn from a seed, and the fewest of them that still break a promise.
//! - [`trace`]: the number that a replay must reach, and lines for people.
//! - [`member`]: membership as the program of a host.
//! - [`roles`]: roles from measured capacity: planners, decided state, and what comes between.
//! - [`random`]: chance that a seed decides.
//! - [`disk`]: what a crash leaves.
//! - [`linear`]: whether a recorded history of operations could have happened one after the other.
//!
//! ```
//! use std::time::Duration;
//! use convoke_sim::{Actor, Fault, Network, Outbox, Packet, Place, What, World};
//! use convoke_types::Moment;
//!
//! /// Answers every datagram, and counts them.
//! #[derive(Default)]
//! struct Echo(u32);
//!
//! impl Actor for Echo {
//!     fn wake(&mut self, _now: Moment, _out: &mut Outbox) {}
//!
//!     fn receive(&mut self, _now: Moment, from: Place, packet: Packet, out: &mut Outbox) {
//!         self.0 += 1;
//!         out.send(from, packet);
//!     }
//!
//!     fn next_wakeup(&self) -> Moment {
//!         Moment::NEVER
//!     }
//! }
//!
//! let (a, b) = (Place(0), Place(1));
//! let network = Network::constant(Duration::from_millis(10));
//! let mut world = World::new(1, network, 2, |_place, _birth| Echo::default());
//! world.start_all(Duration::ZERO);
//! world.schedule([Fault::new(Duration::from_secs(1), What::Kill(b))]);
//! world.run_for(Duration::from_millis(5));
//! world.with_actor(a, |_, _, out| out.send(b, Packet::Datagram("ball".into())));
//! world.run_for(Duration::from_secs(2));
//!
//! // The ball went to and fro, ten milliseconds each way; the last one was in the air when its sender died.
//! assert_eq!(world.actor(a).map(|echo| echo.0), Some(50));
//! assert!(!world.is_alive(b));
//! ```
//!
//! Deliberately not here: threads, real clocks, sockets and files, and any knowledge of what a machine is for, but in
//! the adapters.
//! Whole processes with their runtimes are tested elsewhere; here is tested what they decide.
#![forbid(unsafe_code)]

pub mod actor;
mod clock;
pub mod consensus;
pub mod disk;
pub mod fault;
mod host;
mod links;
pub mod member;
pub mod network;
pub mod oracle;
mod queue;
pub mod roles;
pub mod schedule;
mod shrink;
mod stalls;
pub mod trace;
mod weather;
mod wire;
pub mod world;

pub use actor::{Actor, AddressBook, Birth, DiskFate, Outbox, Packet, Place};
pub use disk::Disk;
pub use fault::{AddressAt, DiskAt, Fault, PAUSE_BUFFER, What, Whom};
pub use links::{Count, Traffic};
pub use member::{Cluster, MemberActor};
pub use network::{Acknowledgement, Handshake, Latency, Letters, LinkCost, Loss, Network, Regions};
pub use oracle::{Broken, Judge, Oracle};
pub use schedule::{Found, Plan, Shrunk, Sort, Trouble, draw, explore, shrink};
pub use trace::Trace;
pub use world::{Happened, Step, World};

pub use convoke_trial::{Random, linear, random};

/// World time as the inside counts it; 584 years at most.
#[inline]
pub(crate) fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
