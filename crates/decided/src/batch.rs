//! What one entry of the log says: a batch of commands, with the time and who sent them.
//!
//! Nothing but these bytes and the state before them goes into applying an entry, so whatever matters is in here: the leader's time,
//! which never goes back; and, for every command, whose it is. `docs/formats/decided.md` has the bytes.

use convoke_types::codec::{self, DecodeError, EncodeError};
use convoke_types::wire::store::{Command, Ticket};
use convoke_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

/// The most commands of one batch.
pub const BATCH_COMMANDS: usize = 4096;
/// A batch that is so large takes no further command.
pub const BATCH_BYTES: usize = 1 << 20;

/// The highest feature level this program can carry out. 1: sessions, keys, configuration, locks, nodes. 2: custody, the audit log, and that
/// who was forgotten stays out. 3: roles that are planned, keys of configuration for them, and that people leave the log its last keeper.
pub const LEVEL: u16 = 3;

/// How many principals are looked at for the one of a command; one that stands further back is written again.
const NEAR: usize = 16;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's time when it made the batch.
    pub time: Timestamp,
    /// What everybody who applies it must be able to read.
    pub feature_level: u16,
    /// Who sent commands: most batches have many commands of few.
    pub principals: Vec<NodeId>,
    /// In the order in which they are carried out.
    pub commands: Vec<Order>,
}

/// A command and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which of the batch's principals sent it.
    pub principal: u16,
    /// Makes it known when it comes again.
    pub ticket: Option<Ticket>,
    /// What is to be changed.
    pub command: Command,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new(time: Timestamp, feature_level: u16) -> Self {
        Self {
            time,
            feature_level,
            ..Self::default()
        }
    }

    /// Adds a command.
    pub fn push(&mut self, principal: NodeId, ticket: Option<Ticket>, command: Command) {
        let first = self.principals.len().saturating_sub(NEAR);
        let known = self.principals[first..]
            .iter()
            .position(|known| *known == principal);
        let place = known.map_or_else(
            || {
                self.principals.push(principal);
                self.principals.len() - 1
            },
            |at| first + at,
        );
        self.commands.push(Order {
            principal: u16::try_from(place).expect("a batch has fewer commands than that"),
            ticket,
            command,
        });
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When it is larger than the codec allows.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        codec::to_vec(self)
    }

    /// The batch in these bytes.
    ///
    /// # Errors
    /// When they are no batch, or one of a program that knows more commands than this one.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let batch: Self = codec::from_slice(bytes).map_err(|fault| {
            // What cannot be read is most likely of a later program, which says so in front.
            match codec::from_slice::<Front>(bytes) {
                Ok(front) if front.feature_level > LEVEL => too_new(front.feature_level),
                Ok(_) | Err(_) => BatchError::Undecodable(fault),
            }
        })?;
        if batch.feature_level > LEVEL {
            return Err(too_new(batch.feature_level));
        }
        let principals = batch.principals.len();
        let is_named = |order: &Order| usize::from(order.principal) < principals;
        if batch.commands.iter().all(is_named) {
            Ok(batch)
        } else {
            Err(BatchError::Nobody)
        }
    }
}

fn too_new(found: u16) -> BatchError {
    BatchError::TooNew { found }
}

/// What every batch begins with.
#[derive(Deserialize)]
struct Front {
    #[expect(dead_code, reason = "it stands before what is looked for")]
    time: Timestamp,
    feature_level: u16,
}

/// Why bytes are no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A later program wrote it.
    #[error(
        "the log is at feature level {found}, and this program speaks up to level {LEVEL}: install the version that the other nodes have"
    )]
    TooNew {
        /// What it takes.
        found: u16,
    },
    /// They are something else, or come from a program that knows more commands.
    #[error("read a batch of commands: {0}")]
    Undecodable(#[from] DecodeError),
    /// A command's principal is not among those named.
    #[error("a command in a batch says nobody sent it")]
    Nobody,
}
