//! Membership: who is there, as this node believes it. The observed half of what Convoke knows.
//!
//! [`Membership`] is a machine without clock, socket, task or chance: it is told what happened and when, and says what should be
//! done. Real bytes go in and out, so that thousands of them can be run against each other in a simulated world and one
//! of them over real links, with the same code.
//!
//! The story, in the order in which to read it:
//!
//! 1. [`event`](Input): what the machine is told, and what it asks for.
//! 2. `rings`: who watches whom. Everybody has about ten observers, which it watches in turn.
//! 3. `watch` and `phi`: one neighbour under watch, from a missed answer to "it is missing".
//! 4. `machine::judge`: from votes of observers to the two verdicts, *unreachable* and, after a hold, *failed*; contradiction;
//!    and when this node should rather doubt itself.
//! 5. [`facts`] and `roster`: what members say about themselves, signed by them, and the digest of it all.
//! 6. `news`: how changes spread. `machine::repair`: how gaps are found and mended, how nodes join.
//! 7. [`params`](Params): every setting with its range and cost.
//!
//! `docs/design/007-membership.md` has the argument for each rule, and `docs/formats/gossip.md` the bytes.
//!
//! Deliberately not here: links (the driver has them), deciding anything (an observation changes no ownership), and devices,
//! which will attach to members by sessions of their own. The seam for those is a fact: a member that serves devices says so.
#![forbid(unsafe_code)]

mod event;
pub mod facts;
mod index;
mod machine;
mod mix;
mod news;
mod params;
mod phi;
mod ration;
mod rings;
mod roster;
mod seal;
mod tally;
mod view;
mod watch;

pub use event::{Condition, Effect, Event, EventKind, Input, Target};
pub use facts::{Capacity, Fact, FactError, Facts, Health, Load};
pub use machine::{Membership, PACE_MOST, Start};
pub use params::Params;
#[doc(hidden)]
pub use params::Planted;
pub use roster::Sheet;
pub use seal::{Seal, TwinSeal};
pub use view::{Counters, Gap, Member, Roll, Status, Verdict, Watched};

/// Units that may wait for one neighbour; the oldest go first, and repair brings them later.
pub const QUEUE: usize = 512;
