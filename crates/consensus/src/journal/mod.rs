//! The log as its users see it: work goes in, and when it is safe they are told.
//!
//! [`Journal`] is what the engine writes to. [`DiskJournal`] keeps a real directory with a thread of its own; simulated worlds bring
//! their own, over the same [`Log`](crate::log::Log).
//!
//! Deliberately not here: what is in the files (`log`), and what entries mean.

mod directory;
mod disk;

pub(crate) use disk::is_full;
pub use disk::{Condition, DiskJournal, Opened, Wait};

use crate::log::{Entry, Mark, Position, Register, Work};

/// What is called when work is safe, or never will be.
pub type Done = Box<dyn FnOnce(Result<(), JournalError>) + Send>;

/// Why work is not safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file could not be written. Nothing more is: what is on the disk is not known any more.
    #[error("the log cannot be written any more: {what}")]
    Broken {
        /// What failed.
        what: String,
    },
    /// More work waits than is taken. Nothing was changed.
    #[error("too much waits for the log's disk")]
    Overwhelmed,
    /// The journal is closed.
    #[error("the log is closed")]
    Closed,
    /// The work makes no sense; a mistake of the engine.
    #[error("the log was asked for something that cannot be: {0}")]
    Senseless(#[from] crate::log::WorkError),
    /// The entry is rotten. The node has to be started again, and gets it from the others.
    #[error("entry {0} is rotten on the disk")]
    Rotten(u64),
    /// The entry is not there: purged, cut, or never written.
    #[error("entry {0} is not in the log")]
    Missing(u64),
}

/// A durable log.
pub trait Journal: Send + Sync + 'static {
    /// Takes work, to be done in the order in which it is submitted. Entries can be read from here on; `done` is called when all of
    /// it is safe, in the same order, from any thread. Never waits for the disk.
    fn submit(&self, work: Vec<Work>, done: Done);

    /// An entry. May read the disk when it is not one of the latest.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    fn read(&self, index: u64) -> Result<Entry, JournalError>;

    /// The last entry submitted.
    fn last(&self) -> Position;

    /// What is remembered outside of entries, as last submitted.
    fn register(&self) -> Register;

    /// How far the log has come for sure: what others may be told.
    fn safe(&self) -> Mark;

    /// How far it had come when it was opened; zeros for a new one.
    fn found(&self) -> Mark;
}
