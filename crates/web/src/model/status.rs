//! How the cluster is, in one screen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Role, Stamp, Stated};

/// Whether this node can be asked. All that is said to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// It lists members and answers linearizable reads.
    pub ready: bool,
}

/// Is the cluster healthy, and if not, what exactly is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// No problem is known.
    pub healthy: bool,
    /// All that is wrong, the worst first.
    pub problems: Vec<StatusProblem>,
    /// What is good to know about roles, and no problem: who stands in, what the cluster has too few of.
    pub notes: Vec<String>,
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The cluster's name.
    pub cluster_name: Option<String>,
    /// The node that answers.
    pub node_id: String,
    /// Its name.
    pub node_name: Option<String>,
    /// The version of its program.
    pub version: String,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// Its role.
    pub role: Stated<Role>,
    /// Its services.
    pub services: Vec<Service>,
    /// Who leads.
    pub leader: Stated<String>,
    /// In which term.
    pub term: Stated<u64>,
    /// Who votes.
    pub voters: Stated<Vec<String>>,
    /// Members by verdict.
    pub members: Stated<Members>,
    /// Whether changes of ownership are frozen because many members went at once.
    pub frozen: Stated<bool>,
    /// Up to which revision this node has applied.
    pub applied: Stated<u64>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusProblem {
    /// Its name for programs.
    pub code: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub what_to_do: String,
}

/// How many members there are of each verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Members {
    /// Seen and well.
    pub reachable: u64,
    /// Not reached, for now.
    pub unreachable: u64,
    /// Judged failed.
    pub failed: u64,
    /// Said goodbye.
    pub left: u64,
}

/// A part of a node that its supervisor runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whether the node's role wants it.
    pub wanted: bool,
    /// What it does now.
    pub state: ServiceState,
    /// Whether it can be used.
    pub ready: bool,
    /// For how long it has been so.
    pub for_ms: Option<u64>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// What a service does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// On its way.
    Starting,
    /// It runs.
    Running,
    /// It winds down.
    Stopping,
    /// It does not run.
    Stopped,
    /// It broke, and waits for its next try.
    Failed,
    /// This program does not have it.
    NotBuilt,
}

/// Who votes, and who should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Voters {
    /// Who leads.
    pub leader: Option<String>,
    /// In which term.
    pub term: Option<u64>,
    /// Who has the log, voters first.
    pub voters: Vec<Voter>,
    /// Why each is what it is; null unless `explain=true` asks for it.
    pub explanations: Option<Vec<VoterExplanation>>,
    /// Of what kind of state this is.
    pub stamp: Stamp,
}

/// A node that has the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Voter {
    /// The node.
    pub node: String,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it should.
    pub wanted: bool,
    /// How many entries it is behind the leader; null when that is unknown.
    pub behind: Option<u64>,
    /// When it last acknowledged something durably.
    pub acknowledged_ms_ago: Option<u64>,
}

/// Why a node votes or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VoterExplanation {
    /// The node.
    pub node: String,
    /// Why.
    pub why: String,
    /// What would change it.
    pub what_would_change_it: Option<String>,
    /// Since when, in milliseconds of Unix time.
    pub since_unix_ms: Option<u64>,
}

/// The description of this API (OpenAPI 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenApiDocument {
    /// The version of the language it is written in.
    pub openapi: String,
    /// What it describes.
    pub info: OpenApiInfo,
}

/// What the description describes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenApiInfo {
    /// The name of the API.
    pub title: String,
    /// Its version.
    pub version: String,
}
