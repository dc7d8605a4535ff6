//! Snapshots: the decided state at one entry, in pieces that can be kept, sent and checked one by one.
//!
//! - [`Snapshots`] keeps the latest one; [`Image`] is one that is kept or came over the network. What is in a piece is none of their
//!   business.
//! - The first piece is the label: which entry, and who voted then. The others are chunks of the state. Each has a checksum that also
//!   covers the entry and the piece's number, so a piece in the wrong place is as bad as a wrong one.
//! - [`prove`] reads all of it. Only what was proven reaches the engine, which stops a node for good when a snapshot makes no sense
//!   (trap 11 of design 008).
//!
//! Deliberately not here: files, and how pieces travel (`network`).

use std::io;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use convoke_decided::{Decided, Frozen, SnapshotError, Thawing};
use convoke_types::codec;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::types::{StoredMembership, log_id, position_of, put_membership, take_membership};
use crate::log::Position;

/// Pieces that come one after the other.
pub type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

/// Where snapshots are kept.
pub trait Snapshots: Send + Sync + 'static {
    /// Keeps a snapshot in place of the one before, which may go when this one is safe. Pieces are made while they are taken.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there.
    fn save(
        &self,
        position: Position,
        pieces: Pieces,
    ) -> BoxFuture<'static, io::Result<Arc<dyn Image>>>;

    /// The latest one that is safe.
    ///
    /// # Errors
    /// When it cannot be read.
    fn latest(&self) -> BoxFuture<'static, io::Result<Option<Arc<dyn Image>>>>;
}

/// One snapshot.
pub trait Image: Send + Sync + 'static {
    /// The last entry in it.
    fn position(&self) -> Position;

    /// How many pieces it has.
    fn pieces(&self) -> u64;

    /// One of them, a megabyte or a little more.
    ///
    /// # Errors
    /// When it cannot be read.
    fn piece(&self, number: u64) -> io::Result<Bytes>;
}

/// A snapshot in memory.
#[derive(Clone, Debug)]
pub struct MemoryImage {
    /// The last entry in it.
    pub position: Position,
    /// Its pieces.
    pub pieces: Vec<Bytes>,
}

impl Image for MemoryImage {
    fn position(&self) -> Position {
        self.position
    }

    fn pieces(&self) -> u64 {
        self.pieces.len() as u64
    }

    fn piece(&self, number: u64) -> io::Result<Bytes> {
        let place = usize::try_from(number).ok();
        let piece = place.and_then(|place| self.pieces.get(place));
        piece.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Why a snapshot is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// A piece cannot be read.
    #[error("read piece {number} of a snapshot: {error}")]
    Unreadable {
        /// Which piece.
        number: u64,
        /// Why not.
        error: io::Error,
    },
    /// A piece is not what was written.
    #[error("piece {number} of a snapshot is rotten, or belongs to another one")]
    Rotten {
        /// Which piece.
        number: u64,
    },
    /// The label cannot be read.
    #[error("the label of a snapshot is of another version, or none")]
    Label,
    /// The chunks do not fit together.
    #[error("read the state in a snapshot: {0}")]
    State(#[from] SnapshotError),
}

/// The version of labels.
const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
struct Label {
    version: u16,
    /// Where who votes was decided, by term and index.
    members_at: (u64, u64),
    #[serde(with = "serde_bytes")]
    members: Vec<u8>,
}

/// The pieces of a state; each is made when it is asked for.
pub(super) fn pieces_of(
    position: Position,
    membership: &StoredMembership,
    frozen: &Frozen,
) -> Pieces {
    let at = position_of(membership.log_id().as_ref());
    let label = Label {
        version: VERSION,
        members_at: (at.term, at.index),
        members: put_membership(membership.membership()),
    };
    let label = codec::to_vec(&label).expect("a label is within the codec's limits");
    let bodies = std::iter::once(label).chain(frozen.chunks());
    Box::new(
        (0..)
            .zip(bodies)
            .map(move |(number, body)| seal(position, number, &body)),
    )
}

fn checksum(position: Position, number: u64, body: &[u8]) -> u32 {
    let words = [position.term, position.index, number];
    let seed = words.iter().fold(0, |sum, word| {
        crc32c::crc32c_append(sum, &word.to_le_bytes())
    });
    crc32c::crc32c_append(seed, body)
}

fn seal(position: Position, number: u64, body: &[u8]) -> Bytes {
    let mut piece = BytesMut::with_capacity(4 + body.len());
    piece.put_u32_le(checksum(position, number, body));
    piece.put_slice(body);
    piece.freeze()
}

/// What is in a piece, if it is the one it should be.
pub(super) fn open(position: Position, number: u64, piece: &Bytes) -> Option<Bytes> {
    let sum = piece.first_chunk().copied().map(u32::from_le_bytes)?;
    let body = piece.slice(4..);
    (sum == checksum(position, number, &body)).then_some(body)
}

/// What a snapshot says, all of it checked.
pub(super) fn prove(image: &dyn Image) -> Result<(StoredMembership, Decided), SnapshotFault> {
    let position = image.position();
    let body = |number| {
        let piece = image
            .piece(number)
            .map_err(|error| SnapshotFault::Unreadable { number, error })?;
        open(position, number, &piece).ok_or(SnapshotFault::Rotten { number })
    };
    let membership = members(&body(0)?).ok_or(SnapshotFault::Label)?;
    let mut thawing = Thawing::new();
    for number in 1..image.pieces() {
        thawing.take(&body(number)?)?;
    }
    Ok((membership, thawing.finish()?))
}

fn members(label: &[u8]) -> Option<StoredMembership> {
    let label: Label = codec::from_slice(label).ok()?;
    let (term, index) = label.members_at;
    let membership = take_membership(&label.members)?;
    let is_known = label.version == VERSION;
    is_known.then(|| StoredMembership::new(log_id(Position { term, index }), membership))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> MemoryImage {
        let position = Position { term: 2, index: 7 };
        let frozen = Decided::new().freeze();
        MemoryImage {
            position,
            pieces: pieces_of(position, &StoredMembership::default(), &frozen).collect(),
        }
    }

    #[test]
    fn a_snapshot_is_proven_and_no_turned_bit_passes() {
        let good = image();
        let (membership, decided) = prove(&good).expect("it was made a moment ago");
        assert!(membership == StoredMembership::default());
        assert_eq!(decided.revision(), Decided::new().revision());
        for (number, piece) in good.pieces.iter().enumerate() {
            for byte in 0..piece.len() {
                let mut bad = good.clone();
                let mut bytes = piece.to_vec();
                bytes[byte] ^= 4;
                bad.pieces[number] = bytes.into();
                assert!(prove(&bad).is_err(), "byte {byte} of piece {number}");
            }
        }
    }

    #[test]
    fn pieces_in_the_wrong_place_or_of_another_snapshot_are_refused() {
        let good = image();
        let mut swapped = good.clone();
        swapped.pieces.swap(0, 1);
        assert!(prove(&swapped).is_err());
        let mut other = good.clone();
        other.position.index += 1;
        assert!(prove(&other).is_err());
        let mut cut = good;
        cut.pieces.pop();
        assert!(prove(&cut).is_err());
    }
}
