//! The instruments of benches with real processes, the same for all of them.
//!
//! - [`Histogram`]: latencies, counted.
//! - [`Process`]: what the kernel counts of a process.
//! - [`Disk`]: what the kernel counts of a disk.
//! - [`Running`]: a process of the bench as its owner sees it.
//! - [`end_with_standard_input`], [`allow_descriptors`]: what such a process does first.
//!
//! Deliberately absent: what is measured, and how results are printed (`bench-report`).

mod child;
mod disk;
mod histogram;
mod own;
mod process;

pub use child::Running;
pub use disk::{Disk, is_in_memory};
pub use histogram::{Counts, Histogram};
pub use own::{allow_descriptors, end_with_standard_input};
pub use process::{Memory, Process};
