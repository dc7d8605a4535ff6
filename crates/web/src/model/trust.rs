//! Who may join, who may ask, who signs, and who did what.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Check, NAME_BYTES, Role, Scope, number, roles, text};
use crate::problem::Fault;

/// How long a token lives with which nodes join: a second to 30 days.
const TOKEN_MS: (u64, u64) = (1_000, 30 * 24 * 3_600_000);
/// How long a token lives with which programs ask: a minute to ten years.
const KEY_MS: (u64, u64) = (60_000, 3_652 * 24 * 3_600_000);
/// The most bytes of the name of a token with which programs ask.
const KEY_NAME_BYTES: usize = 128;
/// The most bytes of a secret that is shown.
pub(crate) const SECRET_BYTES: usize = 1_024;

/// With what nodes join. The secret is kept hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinToken {
    /// What it is called.
    pub id: String,
    /// The roles it allows.
    pub roles: Vec<Role>,
    /// How often it can still be used.
    pub uses_left: u32,
    /// Until when.
    pub until_unix_ms: u64,
    /// Who made it.
    pub made_by: String,
}

/// Makes a token with which nodes join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// The roles it allows, each once; without them, all.
    #[schemars(length(min = 1, max = 5))]
    pub roles: Option<Vec<Role>>,
    /// How long it lives: 1 s to 30 days; without it, an hour.
    #[schemars(range(min = 1_000, max = 2_592_000_000_u64))]
    pub ttl_ms: Option<u64>,
    /// How often it can be used: 1 to 10,000; without it, once.
    #[schemars(range(min = 1, max = 10_000))]
    pub uses: Option<u32>,
}

/// A token that was made. The secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// What it is called.
    pub id: String,
    /// The token, with its secret.
    pub token: String,
    /// Until when.
    pub until_unix_ms: u64,
    /// In which revision it was made.
    pub revision: u64,
}

/// With what programs ask. The secret is kept hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiToken {
    /// What it is called.
    pub id: String,
    /// For whom or what it was made.
    pub name: String,
    /// What it may.
    pub scope: Scope,
    /// Until when; null for until it is revoked.
    pub until_unix_ms: Option<u64>,
    /// Who made it.
    pub made_by: String,
}

/// Makes a token with which programs ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiToken {
    /// For whom or what it is.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// What it may.
    pub scope: Scope,
    /// How long it lives: a minute to ten years; without it, ten years.
    #[schemars(range(min = 60_000, max = 315_532_800_000_u64))]
    pub ttl_ms: Option<u64>,
}

/// A token that was made. The secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiTokenCreated {
    /// What it is called.
    pub id: String,
    /// The token, for `Authorization: Bearer`.
    pub token: String,
    /// What it may.
    pub scope: Scope,
    /// In which revision it was made.
    pub revision: u64,
}

/// Who signs certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Issuer {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whose it is.
    pub node: Option<String>,
    /// Whether it signs.
    pub state: IssuerState,
    /// Since when it counts, by the time of the log.
    pub since_unix_ms: u64,
    /// Until when what it signed counts; null as long as it signs.
    pub until_unix_ms: Option<u64>,
}

/// What an issuer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerState {
    /// It signs.
    Active,
    /// What it signed counts, and it signs no more.
    Retiring,
}

/// Gives a node a new issuer; the old one counts until what it signed is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateIssuer {
    /// Which node; without one, all voters one after the other.
    #[schemars(length(min = 1, max = 256))]
    pub node: Option<String>,
}

/// A change, or the try of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Its number.
    pub id: u64,
    /// When, by the time of the log.
    pub unix_ms: u64,
    /// Who.
    pub who: String,
    /// From where.
    pub from: String,
    /// What, as an operation of this API or a command.
    pub operation: String,
    /// To what.
    pub target: String,
    /// In which revision.
    pub revision: Option<u64>,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// Why not, where it was refused.
    pub why: Option<String>,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// It was decided.
    Done,
    /// It was refused.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Exchanges a one-time token for a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The one-time token, as `convoke up` prints it.
    #[schemars(length(min = 1, max = 1024))]
    pub token: String,
}

/// A one-time token that was made, with which a browser logs in. It is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoginCreated {
    /// The token.
    pub token: String,
    /// Where a browser uses it; null while this node does not serve its API over the network.
    pub url: Option<String>,
    /// For how long it counts.
    pub expires_in_ms: u64,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Who.
    pub name: String,
    /// What they may.
    pub scope: Scope,
    /// When the session is over; null for tokens and the local socket.
    pub expires_in_ms: Option<u64>,
}

impl Check for CreateToken {
    fn check(&self) -> Result<(), Fault> {
        if let Some(list) = &self.roles {
            roles("roles", list)?;
        }
        if let Some(ttl_ms) = self.ttl_ms {
            number("ttl_ms", ttl_ms, TOKEN_MS)?;
        }
        match self.uses {
            Some(uses) => number("uses", uses.into(), (1, 10_000)),
            None => Ok(()),
        }
    }
}

impl Check for CreateApiToken {
    fn check(&self) -> Result<(), Fault> {
        text("name", &self.name, KEY_NAME_BYTES)?;
        match self.ttl_ms {
            Some(ttl_ms) => number("ttl_ms", ttl_ms, KEY_MS),
            None => Ok(()),
        }
    }
}

impl Check for RotateIssuer {
    fn check(&self) -> Result<(), Fault> {
        self.node
            .as_deref()
            .map_or(Ok(()), |node| text("node", node, NAME_BYTES))
    }
}

impl Check for Login {
    fn check(&self) -> Result<(), Fault> {
        text("token", &self.token, SECRET_BYTES)
    }
}

/// Secrets stay out of logs.
macro_rules! secret {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), " { … }"))
            }
        }
    )*};
}
secret!(TokenCreated ApiTokenCreated Login LoginCreated);
