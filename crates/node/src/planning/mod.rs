//! Planning: what nodes say of their machines, and how whoever leads comes from that to roles.
//!
//! | file | what it holds | kind |
//! | --- | --- | --- |
//! | `bandwidth.rs` | measures what the network between nodes carries, where people ask for it | acts |
//! | `report.rs` | what a node says of itself by gossip, and how it is written | decides |
//! | `machine.rs` | from what probes find to what counts for a role | decides |
//! | `measuring.rs` | looks at the machine every ten seconds and says what changed | acts |
//! | `scoring.rs` | when this node's record says a new score | decides |
//! | `steadiness.rs` | tells `probe/stability.rs` what membership saw of the peers, and keeps it for the next start | acts |
//! | `world.rs` | what this node sees of all nodes, and what is decided about them, as the planner takes it | reads |
//! | `desk.rs` | the planner of this node: it is told the world, and asked why | decides, and a thin actor |
//!
//! ```text
//! every node:      probes ─► machine ─► report ─► gossip
//! masters,workers: gossip and log ─► world ─► planner ─► if it leads: the log is asked to assign roles
//! ```
//!
//! Every node that keeps the log and may lead has a planner that looks on, so that whoever leads next knows since when things are as they are.
//!
//! Deliberately not here: the rules (`convoke_planner`), and playing a role (the supervisor).

pub mod bandwidth;
mod desk;
mod machine;
mod measuring;
mod report;
mod scoring;
mod steadiness;
mod world;

pub(crate) use desk::Desk;
pub(crate) use measuring::Measuring;
pub use report::{REPORT, Report, ReportError};
pub(crate) use scoring::Scoring;
pub(crate) use steadiness::Steadiness;
pub use steadiness::stability_of;
