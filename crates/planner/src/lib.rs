//! The planner: the one place where observed and decided state meet. It takes both and the time, and says what should be proposed and why.
//!
//! - [`roles`]: which role each node should have, from what its machine can do, what the cluster needs and what people decided.
//!
//! Nothing here acts. What comes out are proposals; the log grants them, and nodes carry out what was granted. The same inputs in the
//! same order give the same proposals everywhere, so what a planner did can be replayed from what it was told.
//!
//! Deliberately not here: measuring (probes of the node), watching (membership), granting (decided state), and which nodes vote, which stands
//! with the log that it is about.
#![forbid(unsafe_code)]

pub mod roles;
