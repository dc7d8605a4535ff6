//! Locks, to look at. They are taken over links between nodes, where a lost session is noticed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub holder: LockHolder,
    /// How many wait.
    pub waiting: u64,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockHolder {
    /// The node.
    pub node: String,
    /// What it says of itself.
    pub note: String,
    /// What its grant is known by. Fences only grow.
    pub fence: u64,
    /// Since when, …
    pub since_unix_ms: u64,
    /// … and until when, by the time of the log.
    pub until_unix_ms: u64,
    /// How long it holds without being renewed.
    pub lease_ms: u64,
}
