//! Balancing: which instance of an RPC service gets the next call, and whether a call that failed is tried again.
//!
//! A thinking crate: no clock, no runtime, no chance but what follows from a seed. Whoever makes calls tells a [`Balancer`] what happened and
//! when, and does what it says; [`Registry`] holds what is known of all instances, as observed state that may be wrong.
//!
//! ```text
//! facts of gossip ──► Registry ──► View (service + selector) ──► Balancer ◄── pick, done, retry ── whoever makes calls
//! ```
//!
//! The story, in the order in which to read it:
//!
//! 1. [`instance`]: what can be called. [`registry`]: all of them, what changed since when, and who a selector chooses.
//! 2. [`Params`]: every setting with its range and cost.
//! 3. `member`: what one balancer learned of one instance, put together from `latency`, [`outlier`] and [`limit`].
//! 4. [`strategy`]: who is chosen among those that are well.
//! 5. [`queue`]: who waits while nobody has room. [`retry`]: what may be tried again, and what all of that may cost.
//! 6. [`Balancer`]: puts them together. [`explain`]: why an instance is not chosen.
//!
//! How it is used, by one owner, which may sit behind a lock; nothing in here waits:
//!
//! | when | call | and do |
//! | --- | --- | --- |
//! | instances changed | [`Balancer::follow`] with the deltas of [`View::follow`](registry::View::follow) | [`Balancer::resolve`] |
//! | a call begins | [`Balancer::pick`] | *Go*: send it. *Wait*: keep it under its number. *Refused*: say so |
//! | an attempt ended, however | [`Balancer::done`], once for each ticket | [`Balancer::resolve`] |
//! | it failed | [`Balancer::retry`] | *Again*: wait, then `pick` with the next attempt |
//! | a link opened again | [`Balancer::connected`] | [`Balancer::resolve`] |
//! | [`Balancer::next_wakeup`] has come | [`Balancer::tick`] | [`Balancer::resolve`] |
//!
//! The argument for each rule, and which test holds it: `docs/design/020-balancing.md`.
//!
//! Deliberately not here: links and channels (`rpc` has them), where facts come from (`driver`), and what instances are for.
#![forbid(unsafe_code)]

mod balancer;
mod chance;
#[doc(hidden)]
pub mod crowd;
pub mod explain;
pub mod instance;
mod latency;
pub mod limit;
mod member;
pub mod outlier;
mod params;
pub mod queue;
pub mod registry;
pub mod retry;
pub mod strategy;

pub use balancer::{Balancer, Call, Counters, Go, Outcome, Pick, Refusal, Resolved, Ticket};
pub use explain::{Explained, Standing};
pub use instance::{Health, Instance, InstanceId, Load};
pub use params::{Params, ZonePreference};
pub use registry::{Delta, Registry, Update, View};
pub use retry::{Safety, Stop, Verdict};
pub use strategy::Strategy;
