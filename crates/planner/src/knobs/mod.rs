//! Adaptation without a change of role: a few named knobs that a node turns by itself, with reasons, and turns back when that made things worse.
//!
//! Which knobs there are is closed, and each is data: bounds, steps, the signals it looks at, a law in one sentence. One controller turns them all.
//! The laws as a table, and why they are so: `docs/design/019-adaptation.md`.
//!
//! The story, in the order in which to read it:
//!
//! 1. [`signals`]: what a node measures of itself; what is unknown is not there. [`trends`]: what a row of samples says.
//! 2. [`table`]: the knobs. [`policy`]: what people decided about them.
//! 3. [`law`]: from a knob and its signals to a wish. [`judge`]: whether a move was for the better.
//! 4. [`Knobs`]: remembers values, samples and moves, and decides. [`moves`]: what comes of it, each an audit line.
//! 5. [`explain`]: the whole reasoning about each knob. [`record`]: what was told and said, a line of JSON each, and the same again.
//!
//! Deliberately not here: measuring, carrying a value to the part that obeys it, and where a value is kept. A node that starts begins with the
//! defaults, since what it had adapted to may be gone.

mod controller;
pub mod explain;
pub mod judge;
mod keys;
pub mod law;
pub mod moves;
pub mod policy;
pub mod record;
pub mod signals;
pub mod table;
pub mod trends;
mod words;

pub use controller::{Knobs, LOOK_EVERY};
pub use explain::Explanation;
pub use moves::{Hold, Move, Why};
pub use policy::{Policy, Range};
pub use signals::{Signal, Signals, Unit};
pub use table::{Band, Direction, Knob, Spec, TABLE, Want};
