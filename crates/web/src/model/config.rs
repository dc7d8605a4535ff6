//! Configuration by vote.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Check, bad_field, number, text};
use crate::problem::Fault;

/// The most bytes of a text that a key of configuration holds.
pub(super) const TEXT_BYTES: usize = 2_048;
/// The most bytes of the name of such a key.
pub(crate) const KEY_BYTES: usize = 128;
/// The most nodes whose weights a rule names.
const WEIGHTS: usize = 64;
/// The shortest and the longest time for votes.
const VOTING_MS: (u64, u64) = (1_000, 30 * 24 * 3_600_000);

/// What a key holds: yes or no, a whole number, or a text of at most 2,048 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConfigValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number; times are in milliseconds.
    Number(i64),
    /// A text.
    Text(String),
}

/// A key as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// What it holds: what was decided, or the default.
    pub value: ConfigValue,
    /// 0 for the default that nobody changed.
    pub version: u64,
    /// When that was decided.
    pub revision: u64,
    /// The proposal that is open for it.
    pub open_proposal: Option<u64>,
    /// What it is for; null for keys of other programs.
    pub description: Option<String>,
}

/// A value that a key had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigVersion {
    /// Its number.
    pub version: u64,
    /// The value; null for the default.
    pub value: Option<ConfigValue>,
    /// When it was decided, …
    pub revision: u64,
    /// … by the time of the log, …
    pub since_unix_ms: u64,
    /// … by which proposal, …
    pub proposal: u64,
    /// … made by whom.
    pub proposer: String,
}

/// How many votes it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VotingRule {
    /// More than half.
    Majority,
    /// At least two thirds.
    TwoThirds,
    /// All.
    All,
    /// More than half of the weight.
    Weighted,
}

/// What a node's vote weighs. Who is not named weighs 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VotingWeight {
    /// The node.
    #[schemars(length(min = 1, max = 256))]
    pub node: String,
    /// Its weight.
    pub weight: u32,
}

/// Proposes another value for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Propose {
    /// Which key.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// What it is to hold; without one, its default.
    pub value: Option<ConfigValue>,
    /// The version it has now; without one, whichever.
    pub expect_version: Option<u64>,
    /// How many votes it takes; without one, a majority.
    pub rule: Option<VotingRule>,
    /// For the rule `weighted`.
    #[schemars(length(max = 64))]
    pub weights: Option<Vec<VotingWeight>>,
    /// How long votes count: 1 s to 30 days; without one, 10 minutes.
    #[schemars(range(min = 1_000, max = 2_592_000_000_u64))]
    pub voting_ms: Option<u64>,
}

/// Votes on a proposal, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// For it, or against.
    pub yes: bool,
}

/// How a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalState {
    /// Votes are counted.
    Open,
    /// The key has its value since.
    Passed,
    /// Too many are against it.
    Failed,
    /// It did not have the votes in time.
    Expired,
    /// Whoever proposed it took it back.
    Withdrawn,
}

/// One that may vote on a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ballot {
    /// Who.
    pub node: String,
    /// How it voted; null as long as it did not.
    pub yes: Option<bool>,
}

/// A proposal with its votes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// Its number.
    pub id: u64,
    /// The key.
    pub key: String,
    /// What it is to hold; null for its default.
    pub value: Option<ConfigValue>,
    /// What it takes.
    pub rule: VotingRule,
    /// Who proposed it.
    pub proposer: String,
    /// The version of the key when it was proposed.
    pub version: u64,
    /// When it was made, and …
    pub since_unix_ms: u64,
    /// … until when votes count, by the time of the log.
    pub until_unix_ms: u64,
    /// Who may vote, and how each did.
    pub electorate: Vec<Ballot>,
    /// How it stands.
    pub state: ProposalState,
    /// The version that the key has since, if it passed.
    pub passed_as_version: Option<u64>,
}

impl Check for Propose {
    fn check(&self) -> Result<(), Fault> {
        text("key", &self.key, KEY_BYTES)?;
        if let Some(ConfigValue::Text(value)) = &self.value
            && value.len() > TEXT_BYTES
        {
            return Err(bad_field("value", "has more than 2048 bytes"));
        }
        if let Some(voting_ms) = self.voting_ms {
            number("voting_ms", voting_ms, VOTING_MS)?;
        }
        let weights = self.weights.as_deref().unwrap_or_default();
        if weights.len() > WEIGHTS {
            return Err(bad_field("weights", "names more than 64 nodes"));
        }
        let weighted = self.rule == Some(VotingRule::Weighted);
        if weighted == weights.is_empty() {
            return Err(bad_field(
                "weights",
                "go with the rule `weighted`, and with no other",
            ));
        }
        weights
            .iter()
            .try_for_each(|weight| text("weights.node", &weight.node, super::NAME_BYTES))
    }
}

impl Check for Vote {
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}
