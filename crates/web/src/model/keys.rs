//! Keys and values, which are bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyEntry {
    /// The key as it stands in a path: percent-encoded.
    pub key: String,
    /// The value in base64.
    pub value_base64: String,
    /// The revision in which it was written last: what `If-Match` compares.
    pub revision: u64,
}

/// A key was written or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyWritten {
    /// The revision in which that was decided.
    pub revision: u64,
    /// Whether anything changed: removing what is not there does not.
    pub changed: bool,
}
