//! What a log amounts to when nobody can take part in it any more, and how a new one begins with that.
//!
//! When a majority of the voters is lost for good, nothing can be decided again. What one of them has is read here as a whole: the latest
//! snapshot and all entries behind it, also those of which it never heard that they were decided. A new log begins with that state as its
//! first snapshot, in a higher term, with one voter. The voter has another log id than before: whoever comes back from the old log speaks to
//! voters that do not exist any more, and is not listened to.
//!
//! Deliberately not here: files, and whether it may be done (`host::recovery`).

use std::collections::{BTreeMap, BTreeSet};

use convoke_decided::{Batch, Decided};
use convoke_types::Timestamp;
use convoke_types::wire::store::{Command, Marked, Revision};
use openraft::EntryPayload;

use super::snapshot::{Pieces, SnapshotFault, Snapshots, pieces_of, prove};
use super::types::{
    Member, Membership, Proposal, StoredMembership, log_id, position_of, take_entry,
};
use crate::journal::{Journal, JournalError};
use crate::log::{Ballot, Position, VoterId, Work};

/// What is left of a log.
#[derive(Debug)]
pub struct Remains {
    decided: Decided,
    last: Position,
    term: u64,
    /// Who voted at last: one set, or two if that was changing.
    pub voters: Vec<BTreeSet<VoterId>>,
    /// Everybody who got entries.
    pub members: BTreeMap<VoterId, Member>,
}

/// Why what is left cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemainsError {
    /// There is nothing.
    #[error("there is no log here, or it holds nothing")]
    Nothing,
    /// The directory cannot be read.
    #[error("read the latest snapshot: {0}")]
    Snapshots(std::io::Error),
    /// The snapshot makes no sense.
    #[error("read the latest snapshot: {0}")]
    Snapshot(#[from] SnapshotFault),
    /// The snapshot that should hold the first entries is gone.
    #[error(
        "the log begins behind entry {purged}, and the snapshot that should hold all before ends at {snapshot}"
    )]
    NoSnapshot {
        /// The last entry that the log let go of.
        purged: u64,
        /// The last entry in the latest snapshot.
        snapshot: u64,
    },
    /// An entry cannot be read.
    #[error(transparent)]
    Entry(#[from] JournalError),
    /// An entry makes no sense.
    #[error("read entry {index}: {error}")]
    Batch {
        /// Which one.
        index: u64,
        /// Why not.
        error: convoke_decided::BatchError,
    },
}

/// The beginning of a log.
pub struct Beginning {
    /// The last entry in …
    pub position: Position,
    /// … its first snapshot.
    pub pieces: Pieces,
    /// What the log is told when that is safe.
    pub work: Vec<Work>,
    /// The last change in it.
    pub revision: Revision,
}

impl Remains {
    /// Reads all of it.
    ///
    /// # Errors
    /// As [`RemainsError`] says.
    pub async fn read(
        journal: &dyn Journal,
        snapshots: &dyn Snapshots,
    ) -> Result<Self, RemainsError> {
        let image = snapshots.latest().await.map_err(RemainsError::Snapshots)?;
        let (mut at, mut membership, mut decided) = match image {
            Some(image) => {
                let (membership, decided) = prove(&*image)?;
                (image.position(), membership.membership().clone(), decided)
            }
            None => (Position::default(), Membership::default(), Decided::new()),
        };
        let register = journal.register();
        let purged = register.purged.index;
        if at.index < purged {
            let snapshot = at.index;
            return Err(RemainsError::NoSnapshot { purged, snapshot });
        }
        for index in at.index + 1..=journal.last().index {
            let entry = take_entry(index, &journal.read(index)?)?;
            at = position_of(Some(&entry.log_id));
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Proposal(bytes)) => {
                    let batch = Batch::decode(&bytes)
                        .map_err(|error| RemainsError::Batch { index, error })?;
                    decided.apply(at.term, batch);
                }
                EntryPayload::Membership(found) => membership = found,
            }
        }
        if at.index == 0 {
            return Err(RemainsError::Nothing);
        }
        Ok(Self {
            decided,
            last: at,
            term: register.term.max(at.term),
            voters: membership.get_joint_config().clone(),
            members: membership
                .nodes()
                .map(|(voter, member)| (*voter, member.clone()))
                .collect(),
        })
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    /// The last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.decided.revision()
    }

    /// Whether these voters could decide anything together.
    #[must_use]
    pub fn could_decide(&self, voters: &BTreeSet<VoterId>) -> bool {
        let has_majority =
            |set: &BTreeSet<VoterId>| set.intersection(voters).count() * 2 > set.len();
        !self.voters.is_empty() && self.voters.iter().all(has_majority)
    }

    /// A new log with this state, in which that voter votes alone. The state says that it was recovered, and by whom.
    #[must_use]
    pub fn begin_anew(mut self, voter: VoterId, member: Member) -> Beginning {
        let position = Position {
            term: self.term + 1,
            index: self.last.index + 1,
        };
        let mut batch = Batch::new(Timestamp::UNIX_EPOCH, 1);
        let mark = Command::Mark(Marked::Recovered { by: voter.node });
        batch.push(voter.node, None, mark);
        self.decided.apply(position.term, batch);
        let members = BTreeMap::from([(voter, member)]);
        let membership = Membership::new(vec![BTreeSet::from([voter])], members)
            .expect("the one voter is a member");
        let membership = StoredMembership::new(log_id(position), membership);
        let frozen = self.decided.freeze();
        Beginning {
            position,
            pieces: pieces_of(position, &membership, &frozen),
            work: vec![
                Work::Vote {
                    term: position.term,
                    vote: Some(Ballot {
                        candidate: voter,
                        is_elected: false,
                    }),
                },
                Work::Reset(position),
            ],
            revision: frozen.revision(),
        }
    }
}

impl std::fmt::Debug for Beginning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beginning")
            .field("position", &self.position)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
