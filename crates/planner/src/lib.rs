//! The planner: the one place where observed and decided state meet. It takes both and the time, and says what should be proposed and why.
//!
//! - [`roles`]: which role each node should have, from what its machine can do, what the cluster needs and what people decided.
//! - [`knobs`]: how a node adapts without another role, from what it measures of itself and what people decided.
//!
//! Nothing here acts. What comes out of roles are proposals; the log grants them, and nodes carry out what was granted. Knobs are a node's own, and
//! it needs nobody's grant to turn them. The same inputs in the same order give the same everywhere, so what was done can be replayed from what was
//! told.
//!
//! Deliberately not here: measuring (probes of the node), watching (membership), granting (decided state), and which nodes vote, which stands
//! with the log that it is about.
#![forbid(unsafe_code)]

pub mod knobs;
pub mod roles;
