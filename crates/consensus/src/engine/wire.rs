//! What nodes of a log say to each other, as bytes.
//!
//! Two bytes, version and kind, stand in front; then the length of a head in the codec's bytes, the head, and what is too large to be
//! copied: the payloads of entries, or a piece of a snapshot. `docs/formats/raft.md` has the table. A node answers with the same kind.
//!
//! Deliberately not here: sending, and who may say what (`serve`).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use convoke_types::codec;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft_rt::AsyncRuntime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::recall::Told;
use super::types::{
    RaftEntry, Types, Vote, ballot, log_id, position_of, put_payload, take_payload, vote,
};
use crate::log::{Ballot, Mark, Position, VoterId};

/// Written into every message; a node answers nothing of another one.
const VERSION: u8 = 1;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Entries, or nothing but a sign of life.
    Append = 1,
    /// A vote is asked for.
    Vote = 2,
    /// It is asked whether a vote would be given.
    PreVote = 3,
    /// A piece of a snapshot.
    Snapshot = 4,
    /// Leadership is handed over.
    Transfer = 5,
    /// Up to where a linearizable read has to wait is asked for.
    ReadIndex = 6,
    /// A doubtful node asks how far it has to be brought up to date.
    Refill = 7,
    /// A node that starts asks whether others know more of its log than it does.
    Return = 8,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Append,
        Self::Vote,
        Self::PreVote,
        Self::Snapshot,
        Self::Transfer,
        Self::ReadIndex,
        Self::Refill,
        Self::Return,
    ];

    /// What a message is about; nothing if it is none of ours.
    #[must_use]
    pub fn of(message: &[u8]) -> Option<Self> {
        let [VERSION, kind, ..] = message else {
            return None;
        };
        Self::ALL.into_iter().find(|known| *known as u8 == *kind)
    }
}

/// A vote as it is sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct VoteBytes {
    term: u64,
    candidate: VoterId,
    is_elected: bool,
}

impl From<&Vote> for VoteBytes {
    fn from(vote: &Vote) -> Self {
        let (term, ballot) = ballot(vote);
        Self {
            term,
            candidate: ballot.candidate,
            is_elected: ballot.is_elected,
        }
    }
}

impl From<VoteBytes> for Vote {
    fn from(bytes: VoteBytes) -> Self {
        let ballot = Ballot {
            candidate: bytes.candidate,
            is_elected: bytes.is_elected,
        };
        vote(bytes.term, ballot)
    }
}

/// A position as it is sent: term and index, zeros for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At {
    pub(super) term: u64,
    pub(super) index: u64,
}

impl From<Position> for At {
    fn from(Position { term, index }: Position) -> Self {
        Self { term, index }
    }
}

impl From<At> for Position {
    fn from(At { term, index }: At) -> Self {
        Self { term, index }
    }
}

#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: VoteBytes,
    previous: At,
    committed: At,
    told: Told,
    /// Term and length of each entry behind `previous`.
    entries: Vec<(u64, u32)>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Appended {
    All,
    UpTo(At),
    Conflict,
    HigherVote(VoteBytes),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Candidacy {
    pub(super) vote: VoteBytes,
    pub(super) last: At,
    pub(super) is_transfer: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Voted {
    pub(super) vote: VoteBytes,
    pub(super) is_granted: bool,
    pub(super) last: At,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PieceHead {
    pub(super) vote: VoteBytes,
    pub(super) at: At,
    pub(super) pieces: u64,
    /// Without one it is asked which is wanted next.
    pub(super) number: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum PieceTaken {
    /// This one is wanted next.
    Next(u64),
    /// It is in place, and this is how the node votes.
    Installed(VoteBytes),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Handover {
    pub(super) vote: VoteBytes,
    pub(super) to: VoterId,
    pub(super) last: At,
}

/// Whether a node that leadership was handed to stands for election.
#[derive(Serialize, Deserialize)]
pub(super) struct Stands(pub(super) bool);

/// A question without words.
#[derive(Serialize, Deserialize)]
pub(super) struct Question {}

#[derive(Serialize, Deserialize)]
pub(super) enum ReadFrom {
    /// Whoever has applied up to here may answer.
    Index(u64),
    /// Ask this one.
    NotLeader(Option<VoterId>),
    /// A majority did not answer.
    NoQuorum,
}

#[derive(Serialize, Deserialize)]
pub(super) enum RefillTo {
    Index(u64),
    NotNow,
}

/// What is known of a log that starts.
#[derive(Serialize, Deserialize)]
pub(super) enum Recalled {
    /// No more than it brings.
    Nothing,
    /// It told more before.
    More(Mark),
}

/// A message without anything large.
pub(super) fn put<T: Serialize>(kind: Kind, head: &T) -> Bytes {
    put_with(kind, head, 0, |_| ())
}

/// The same with what the node says of its log.
pub(super) fn put_telling<T: Serialize>(kind: Kind, head: &T, told: Told) -> Bytes {
    put_with(kind, head, Told::SIZE, |bytes| told.put(bytes))
}

fn put_with<T: Serialize>(
    kind: Kind,
    head: &T,
    size: usize,
    tail: impl FnOnce(&mut BytesMut),
) -> Bytes {
    let head = codec::to_vec(head).expect("heads are within the codec's limits");
    let mut bytes = BytesMut::with_capacity(6 + head.len() + size);
    bytes.put_u8(VERSION);
    bytes.put_u8(kind as u8);
    bytes.put_u32_le(u32::try_from(head.len()).expect("heads are small"));
    bytes.put_slice(&head);
    tail(&mut bytes);
    bytes.freeze()
}

/// The head of a message, and what is behind it.
pub(super) fn take<T: DeserializeOwned>(kind: Kind, message: &Bytes) -> Option<(T, Bytes)> {
    if Kind::of(message) != Some(kind) {
        return None;
    }
    let mut rest = message.slice(2..);
    let length = rest.try_get_u32_le().ok()?;
    let length = usize::try_from(length).ok()?;
    if rest.len() < length {
        return None;
    }
    let head = rest.split_to(length);
    Some((codec::from_slice(&head).ok()?, rest))
}

pub(super) fn put_piece(head: &PieceHead, piece: &Bytes) -> Bytes {
    put_with(Kind::Snapshot, head, piece.len(), |bytes| {
        bytes.put_slice(piece);
    })
}

pub(super) fn put_append<R: AsyncRuntime>(
    request: &AppendEntriesRequest<Types<R>>,
    told: Told,
) -> Bytes {
    let payloads: Vec<Bytes> = request
        .entries
        .iter()
        .map(|entry| put_payload(&entry.payload))
        .collect();
    let lengths = payloads
        .iter()
        .map(|payload| u32::try_from(payload.len()).expect("entries are bounded far below this"));
    let terms = request
        .entries
        .iter()
        .map(|entry| entry.log_id.leader_id.term);
    let head = AppendHead {
        vote: (&request.vote).into(),
        previous: position_of(request.prev_log_id.as_ref()).into(),
        committed: position_of(request.leader_commit.as_ref()).into(),
        told,
        entries: terms.zip(lengths).collect(),
    };
    let size = payloads.iter().map(Bytes::len).sum();
    put_with(Kind::Append, &head, size, |bytes| {
        payloads.iter().for_each(|payload| bytes.put_slice(payload));
    })
}

pub(super) fn take_append<R: AsyncRuntime>(
    message: &Bytes,
) -> Option<(AppendEntriesRequest<Types<R>>, Told)> {
    let (head, mut tail) = take::<AppendHead>(Kind::Append, message)?;
    let mut entries = Vec::with_capacity(head.entries.len());
    for (index, (term, length)) in (head.previous.index + 1..).zip(head.entries) {
        let length = usize::try_from(length).ok()?;
        if tail.len() < length {
            return None;
        }
        entries.push(RaftEntry {
            log_id: log_id(Position { term, index })?,
            payload: take_payload(&tail.split_to(length))?,
        });
    }
    let request = AppendEntriesRequest {
        vote: head.vote.into(),
        prev_log_id: log_id(head.previous.into()),
        entries,
        leader_commit: log_id(head.committed.into()),
    };
    Some((request, head.told))
}

/// The level that the node speaks stands behind everything else, where programs that know of none do not look.
pub(super) fn put_appended<R: AsyncRuntime>(
    answer: &AppendEntriesResponse<Types<R>>,
    told: Told,
    speaks: u16,
) -> Bytes {
    let answer = match answer {
        AppendEntriesResponse::Success => Appended::All,
        AppendEntriesResponse::PartialSuccess(last) => {
            Appended::UpTo(position_of(last.as_ref()).into())
        }
        AppendEntriesResponse::Conflict => Appended::Conflict,
        AppendEntriesResponse::HigherVote(vote) => Appended::HigherVote(vote.into()),
    };
    put_with(Kind::Append, &answer, Told::SIZE + 2, |bytes| {
        told.put(bytes);
        bytes.put_u16_le(speaks);
    })
}

pub(super) fn take_appended<R: AsyncRuntime>(
    message: &Bytes,
) -> Option<(AppendEntriesResponse<Types<R>>, Told, Option<u16>)> {
    let (answer, told) = take::<Appended>(Kind::Append, message)?;
    let speaks = told.get(Told::SIZE..).unwrap_or_default();
    let speaks = speaks.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    let answer = match answer {
        Appended::All => AppendEntriesResponse::Success,
        Appended::UpTo(last) => AppendEntriesResponse::PartialSuccess(log_id(last.into())),
        Appended::Conflict => AppendEntriesResponse::Conflict,
        Appended::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
    };
    Some((answer, Told::take(told)?, speaks))
}
