//! Roles from measured capacity, in a world that a seed decides: three to nine nodes, days of their time, and all that can come between what a
//! machine is, what others see of it, what is decided and what is played.
//!
//! | | |
//! | --- | --- |
//! | **real** | the planner (`convoke_planner::roles`), one on every node that keeps the log, each with a view of its own; decided state (`convoke_decided`), one copy on every node that keeps the log: enrolment, allowed roles, pins, roles by hand, rules, and the fence of what is planned |
//! | **stood in for** | the log: terms, votes, majorities, leaders that do not know that they are none any more, entries of a former leader that survive or do not (`log`); gossip: signs of life and reports that come late, by others, or not at all, and the verdicts (`views`); the desk of a node, from what it sees to what it asks for, and carrying a role out (`node`) |
//!
//! The engine and membership have stories of their own. They are stood in for since a role is a matter of hours, and an hour of nine engines and nine
//! gossips costs minutes: here a day of nine nodes is a second. What a stand-in promises is what the real one does, but for four things that a desk here does
//! and the service of a real node does not yet; design 018 names them, and each is a [`Mistake`].
//!
//! - `machine`: what a machine can do, as it is and as its probes say.
//! - `node`, `views`, `log`, `world`: what happens.
//! - `oracles`: what must hold all the while, and in the end.
//! - `tale`: a seed's script; [`tell`] tells it. [`Mistake`]: what can be done wrong on purpose. Mistakes in the planner and in decided state are a change of
//!   their words (`cargo xtask mutants`).
//!
//! Deliberately not here: measuring, votes on rules (they are decided at once), and what a role does once it is played.

mod log;
mod machine;
mod node;
mod oracles;
mod tale;
mod views;
mod world;

pub use tale::{Mistake, Told, tell};
