//! Which role each node should have, with reasons.
//!
//! Capacity decides the role, need outranks fitness, and people outrank both. The table of rules, in the order in which they count, is in
//! `docs/design/018-roles.md`.
//!
//! The story, in the order in which to read it:
//!
//! 1. [`measure`]: what is known of a machine, and how far to trust it. [`rules`]: what is decided about roles, and [`keys`] how.
//! 2. [`input`]: all that a planner is told.
//! 3. [`fitness`]: from a machine and a role to what is met, and a score.
//! 4. [`Planner`]: remembers since when things are as they are. `pass`: the table of rules as code.
//! 5. [`decision`]: what comes of it. [`explain`]: the whole reasoning about one node. [`dry_run`]: what would come of other rules.
//! 6. [`abilities`]: which work a role does. [`config`]: how much of it a machine takes on.
//! 7. [`record`]: what a planner was told and said, a line of JSON each, and the same again.
//!
//! Deliberately not here: votes on the log, placement of work (which follows load), and carrying out a change.

pub mod abilities;
pub mod config;
pub mod decision;
pub mod dry_run;
pub mod explain;
pub mod fitness;
pub mod input;
pub mod keys;
pub mod measure;
mod pass;
mod planner;
pub mod record;
pub mod rules;
mod words;

pub use decision::{Because, Decision, Hold, Notice, RoleChange, Short, Wanted};
pub use input::{Authority, Decided, Enrolled, Observed, Presence, Refused, Seen};
pub use measure::{Confidence, Machine, Measure, Measured, Reading};
pub use planner::{ANSWER, Planner};
pub use rules::{Need, Requirement, Requirements, Rules, RulesError};
