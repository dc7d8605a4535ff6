//! What the engine is told about our types, and how entries become bytes.
//!
//! A voter is a node and its log ([`VoterId`]). What is proposed is bytes that nobody in here reads. In the journal a byte in front says
//! what an entry is; `docs/formats/raft.md` has the numbers, none of which is ever used twice. The engine counts entries from 0 and the
//! journal from 1, where a position of 0 means *nothing yet*: [`position`] and [`log_id`] go from one to the other.
//!
//! Deliberately not here: what entries do (`machine`), and messages (`wire`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes, BytesMut};
use convoke_types::codec;
use convoke_types::wire::store::Outcome;
use openraft::impls::leader_id_std;
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, OptionalSend};
use openraft_rt::AsyncRuntime;
use serde::{Deserialize, Serialize};

use crate::journal::JournalError;
use crate::log::{Ballot, Entry, Position, VoterId};

/// What is known of a member beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it can be reached, for whoever cannot find out otherwise.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// Our types, on a runtime.
pub(super) struct Types<R>(PhantomData<fn() -> R>);

// By hand: a derive would ask the runtime for what only its name is needed for.
impl<R> Clone for Types<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for Types<R> {}
impl<R> Default for Types<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<R> fmt::Debug for Types<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
impl<R> PartialEq for Types<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R> Eq for Types<R> {}
impl<R> PartialOrd for Types<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for Types<R> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// One leader a term: an entry's place is term and index, 16 bytes, and not a voter's id beside (trap 15 of design 008).
pub(super) type LeaderId = leader_id_std::LeaderId<u64, VoterId>;
type Leading = <LeaderId as RaftLeaderId>::Committed;
pub(super) type LogId = openraft::LogId<Leading>;
pub(super) type Vote = openraft::Vote<LeaderId>;
pub(super) type Payload = EntryPayload<Proposal, VoterId, Member>;
pub(super) type RaftEntry = openraft::Entry<Leading, Payload>;
pub(super) type Membership = openraft::Membership<VoterId, Member>;
pub(super) type StoredMembership = openraft::StoredMembership<Leading, VoterId, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<Leading, VoterId, Member>;

impl<R: AsyncRuntime> openraft::RaftTypeConfig for Types<R> {
    type D = Proposal;
    type R = Outcomes;
    type NodeId = VoterId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = RaftEntry;
    type AsyncRuntime = R;
    type Responder<T>
        = Respond<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// The bytes of a batch of commands, shared and never copied.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proposal(pub(super) Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What became of a batch's commands, in their order; nothing for an entry without any.
#[derive(Debug, Default)]
pub(super) struct Outcomes(pub(super) Vec<Outcome>);

/// Whoever waits for an answer, as a function. Dropped without a call it tells by what it holds that the outcome is unknown.
pub(super) struct Respond<T>(pub(super) Box<dyn FnOnce(T) + Send>);

impl<R: AsyncRuntime, T: OptionalSend + 'static> Responder<Types<R>, T> for Respond<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// Where an entry stands, as everybody outside of the engine counts.
pub(super) fn position(id: &LogId) -> Position {
    Position {
        term: id.leader_id.term,
        index: id.index + 1,
    }
}

/// The position of what may be nothing.
pub(super) fn position_of(id: Option<&LogId>) -> Position {
    id.map(position).unwrap_or_default()
}

/// The other way; nothing for the position before the first.
pub(super) fn log_id(position: Position) -> Option<LogId> {
    let index = position.index.checked_sub(1)?;
    Some(LogId::new_term_index(position.term, index))
}

pub(super) fn vote(term: u64, ballot: Ballot) -> Vote {
    if ballot.is_elected {
        Vote::new_committed(term, ballot.candidate)
    } else {
        Vote::new(term, ballot.candidate)
    }
}

pub(super) fn ballot(vote: &Vote) -> (u64, Ballot) {
    let ballot = Ballot {
        candidate: vote.leader_id.voted_for,
        is_elected: vote.committed,
    };
    (vote.leader_id.term, ballot)
}

/// What an entry is: the byte in front of it in the journal.
const BLANK: u8 = 1;
const BATCH: u8 = 2;
const MEMBERSHIP: u8 = 3;

/// Who votes and who only listens, as bytes.
#[derive(Serialize, Deserialize)]
struct MembershipBytes {
    /// One set of voters, or two while they change.
    voters: Vec<BTreeSet<VoterId>>,
    members: BTreeMap<VoterId, Member>,
}

pub(super) fn put_membership(membership: &Membership) -> Vec<u8> {
    let bytes = MembershipBytes {
        voters: membership.get_joint_config().clone(),
        members: membership
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect(),
    };
    codec::to_vec(&bytes).expect("a membership is within the codec's limits")
}

pub(super) fn take_membership(bytes: &[u8]) -> Option<Membership> {
    let MembershipBytes { voters, members } = codec::from_slice(bytes).ok()?;
    Membership::new(voters, members).ok()
}

/// An entry as the journal keeps it.
pub(super) fn put_entry(entry: &RaftEntry) -> Entry {
    Entry {
        term: entry.log_id.leader_id.term,
        payload: put_payload(&entry.payload),
    }
}

/// An entry without its place.
pub(super) fn put_payload(payload: &Payload) -> Bytes {
    let (kind, body) = match payload {
        EntryPayload::Blank => (BLANK, Bytes::new()),
        EntryPayload::Normal(proposal) => (BATCH, proposal.0.clone()),
        EntryPayload::Membership(membership) => (MEMBERSHIP, put_membership(membership).into()),
    };
    let mut bytes = BytesMut::with_capacity(1 + body.len());
    bytes.put_u8(kind);
    bytes.put(body);
    bytes.freeze()
}

/// The payload in these bytes; nothing if they come from a program that knows more kinds.
pub(super) fn take_payload(bytes: &Bytes) -> Option<Payload> {
    match *bytes.first()? {
        BLANK => Some(EntryPayload::Blank),
        BATCH => Some(EntryPayload::Normal(Proposal(bytes.slice(1..)))),
        MEMBERSHIP => take_membership(&bytes[1..]).map(EntryPayload::Membership),
        _ => None,
    }
}

/// An entry the journal kept.
pub(super) fn take_entry(index: u64, entry: &Entry) -> Result<RaftEntry, JournalError> {
    let position = Position {
        term: entry.term,
        index,
    };
    let log_id = log_id(position).ok_or(JournalError::Missing(0))?;
    let payload = take_payload(&entry.payload).ok_or_else(|| JournalError::Broken {
        what: format!("entry {index} is of a kind this program does not know"),
    })?;
    Ok(RaftEntry { log_id, payload })
}

#[cfg(test)]
mod tests {
    use convoke_types::NodeId;

    use super::*;
    use crate::log::LogId as OfLog;

    fn voter(byte: u8) -> VoterId {
        VoterId {
            node: NodeId::from_public_key([byte; 32]),
            log: OfLog([byte; 16]),
        }
    }

    #[test]
    fn payloads_survive_the_journal_and_have_their_kind_in_front() {
        let voters = vec![
            BTreeSet::from([voter(1)]),
            BTreeSet::from([voter(1), voter(2)]),
        ];
        let members = BTreeMap::from([
            (voter(1), Member::default()),
            (
                voter(2),
                Member {
                    addresses: vec!["a:1".to_owned()],
                },
            ),
        ]);
        let membership = Membership::new(voters, members).expect("all voters are members");
        for (kind, payload) in [
            (1, EntryPayload::Blank),
            (2, EntryPayload::Normal(Proposal(Bytes::from_static(b"ab")))),
            (3, EntryPayload::Membership(membership)),
        ] {
            let bytes = put_payload(&payload);
            assert_eq!(bytes.first(), Some(&kind));
            assert!(take_payload(&bytes).as_ref() == Some(&payload));
        }
        assert!(take_payload(&Bytes::from_static(&[4])).is_none());
        assert!(take_payload(&Bytes::new()).is_none());
    }

    #[test]
    fn the_first_entry_is_ours_at_1_and_the_engines_at_0() {
        let first = LogId::new_term_index(0, 0);
        assert_eq!(position(&first), Position { term: 0, index: 1 });
        assert_eq!(log_id(position(&first)), Some(first));
        assert_eq!(log_id(Position::default()), None);
        assert_eq!(position_of(None), Position::default());
    }
}
