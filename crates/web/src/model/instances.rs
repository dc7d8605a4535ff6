//! RPC services and their instances, as nodes offer them: observed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An instance of an RPC service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// The node on which it is.
    pub node: String,
    /// What people call that node; null when it says no name.
    pub name: Option<String>,
    /// Of which version it is; null when it says none.
    pub version: Option<String>,
    /// How it is.
    pub health: InstanceHealth,
    /// How much of what it can do it does, in thousandths; null when it does not say.
    pub load_permille: Option<u16>,
    /// How long ago it said so.
    pub load_age_ms: Option<u64>,
    /// What it can take next to others.
    pub weight: u32,
    /// Where it is called.
    pub addresses: Vec<String>,
    /// Its tags as `key` or `key=value`, with those that follow from its node: `role`, `zone`, `name`, `version`.
    pub tags: Vec<String>,
    /// The methods it has; null when it does not say.
    pub methods: Option<Vec<String>>,
}

/// How an instance is, as others say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceHealth {
    /// It takes calls.
    Serving,
    /// It takes no new ones: it drains, or says that it cannot.
    NotServing,
    /// Its node does not answer others.
    Unreachable,
    /// Its node is lost, or left.
    Failed,
}

impl InstanceHealth {
    /// In words for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::NotServing => "not serving",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }
}
