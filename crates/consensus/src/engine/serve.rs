//! What a node does with messages of others.
//!
//! A message is for one voter, a node with its log: a node whose log is another one does not speak for the voter it was, or it would
//! vote twice and acknowledge what it does not have.
//!
//! A message speaks for its sender only: votes and entries of a candidate come over a link of its node. A doubtful node neither votes nor
//! says how it would, and takes no leadership; for the length of one lease after a start no node does, since it does not know whom it
//! promised to wait for (trap 5 of design 008), nor before the others have said what they remember of its log (`recall`).
//!
//! A snapshot that arrives lies in memory, at most one and [`SNAPSHOT_BYTES`] of it, and goes to the engine when all of it is proven.
//!
//! Deliberately not here: links, and who is let in at all.

use std::sync::Arc;

use bytes::Bytes;
use convoke_types::NodeId;
use openraft::Snapshot;
use openraft::raft::{AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use openraft_rt::{AsyncRuntime, Instant as _, Oneshot};

use super::api::{Unserved, Weakness};
use super::handle::{Consensus, Core};
use super::keeper;
use super::machine::Carried;
use super::reader::{Reading, Round};
use super::recall::Return;
use super::snapshot::{MemoryImage, open, prove};
use super::types::{SnapshotMeta, Vote, log_id, position_of};
use super::wire::{
    Candidacy, Handover, Kind, PieceHead, PieceTaken, Question, ReadFrom, Recalled, RefillTo,
    Stands, Voted, put, put_appended, put_telling, take, take_append,
};
use crate::log::{Position, VoterId};

/// A node is given one entry for its refilling in so many heartbeats, half of the pause after which a doubtful one asks again, …
const REFILL_PAUSE: u32 = keeper::LOOK / 2;
/// … and so many nodes in that time.
const REFILLS: usize = 16;
/// A leader that says nothing breaks its silence once in so many leases, for one.
const MISSED_PAUSE: u32 = 4;
/// The most a snapshot that arrives may take.
const SNAPSHOT_BYTES: usize = 8 << 30;

/// A snapshot on its way.
#[derive(Default)]
pub(super) struct Arriving {
    position: Position,
    pieces: Vec<Bytes>,
    size_bytes: usize,
}

impl<R: AsyncRuntime> Consensus<R> {
    /// Answers a message of another node, which it meant for `to`.
    ///
    /// # Errors
    /// When there is no answer; the other node hears nothing then.
    pub async fn serve(
        &self,
        from: NodeId,
        to: VoterId,
        message: Bytes,
    ) -> Result<Bytes, Unserved> {
        let core = &self.core;
        if to != core.me {
            return Err(Unserved::NotForUs);
        }
        match Kind::of(&message).ok_or(Unserved::Unreadable)? {
            Kind::Append => core.serve_append(from, &message).await,
            Kind::Vote => core.serve_vote(false, from, &message).await,
            Kind::PreVote => core.serve_vote(true, from, &message).await,
            Kind::Snapshot => core.serve_snapshot(from, &message).await,
            Kind::Transfer => core.serve_transfer(from, &message).await,
            Kind::ReadIndex => core.serve_read_index(&message).await,
            Kind::Refill => core.serve_refill(from, &message).await,
            Kind::Return => core.serve_return(from, &message),
        }
    }
}

/// Whether a vote is of a leader, and comes from it.
fn is_of_leader(vote: &Vote, from: NodeId) -> Result<(), Unserved> {
    let is_theirs = vote.committed && vote.leader_id.voted_for.node == from;
    is_theirs.then_some(()).ok_or(Unserved::NotTheirs)
}

impl<R: AsyncRuntime> Core<R> {
    async fn serve_append(&self, from: NodeId, message: &Bytes) -> Result<Bytes, Unserved> {
        let (request, told) = take_append::<R>(message).ok_or(Unserved::Unreadable)?;
        is_of_leader(&request.vote, from)?;
        let leader = request.vote.leader_id.voted_for;
        self.recall.note(leader, told);
        let answer = self
            .raft
            .append_entries(request)
            .await
            .map_err(|_| Unserved::Stopped)?;
        match answer {
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => {
                *self.heard.lock() = Some(R::Instant::now());
                self.candidacy.lock().heard(self.now(), leader);
            }
            // A leader all the same, though this node does not have its entries yet.
            AppendEntriesResponse::Conflict => self.candidacy.lock().heard(self.now(), leader),
            AppendEntriesResponse::HigherVote(_) => {}
        }
        let speaks = self.levels.own();
        Ok(put_appended::<R>(&answer, self.recall.own(), speaks))
    }

    pub(super) fn may_vote(&self) -> Result<(), Unserved> {
        if self.is_doubtful() && !self.is_weakened(Weakness::VotesInDoubt) {
            return Err(Unserved::Doubtful);
        }
        if !self.is_vouched() {
            return Err(Unserved::TooEarly);
        }
        Ok(())
    }

    async fn serve_vote(
        &self,
        is_before: bool,
        from: NodeId,
        message: &Bytes,
    ) -> Result<Bytes, Unserved> {
        let kind = if is_before { Kind::PreVote } else { Kind::Vote };
        let (candidacy, _) = take::<Candidacy>(kind, message).ok_or(Unserved::Unreadable)?;
        let vote: Vote = candidacy.vote.into();
        if vote.leader_id.voted_for.node != from {
            return Err(Unserved::NotTheirs);
        }
        self.may_vote()?;
        if R::Instant::now() < self.votes_from && !candidacy.is_transfer {
            return Err(Unserved::TooEarly);
        }
        let mut request = VoteRequest::new(vote, log_id(candidacy.last.into()));
        request.leadership_transfer = candidacy.is_transfer;
        let answer = if is_before {
            self.raft.pre_vote(request).await
        } else {
            self.raft.vote(request).await
        };
        let VoteResponse {
            vote,
            vote_granted,
            last_log_id,
        } = answer.map_err(|_| Unserved::Stopped)?;
        match (vote_granted, is_before) {
            (false, _) => self.miss(),
            (true, true) => self.candidacy.lock().would_vote(self.now()),
            (true, false) => self.candidacy.lock().voted(self.now()),
        }
        let voted = Voted {
            vote: (&vote).into(),
            is_granted: vote_granted,
            last: position_of(last_log_id.as_ref()).into(),
        };
        Ok(put_telling(kind, &voted, self.recall.own()))
    }

    /// Somebody asked for a vote and gets none. If this node leads and says nothing, it is the one who is waited for, and says something,
    /// but not all the time: there may be others who could be elected if they did not hear it.
    fn miss(&self) {
        if !self.is_quiet.get() {
            return;
        }
        let now = R::Instant::now();
        let mut missed = self.missed.lock();
        let is_due = missed.is_none_or(|last| now - last >= self.settings.lease * MISSED_PAUSE);
        if is_due {
            *missed = Some(now);
        }
    }

    async fn serve_transfer(&self, from: NodeId, message: &Bytes) -> Result<Bytes, Unserved> {
        let (handover, _) =
            take::<Handover>(Kind::Transfer, message).ok_or(Unserved::Unreadable)?;
        let vote: Vote = handover.vote.into();
        is_of_leader(&vote, from)?;
        self.may_vote()?;
        let request = TransferLeaderRequest::new(vote, handover.to, log_id(handover.last.into()));
        let answer = self.raft.handle_transfer_leader(request).await;
        let stands = answer.map_err(|_| Unserved::Stopped)?.is_ok();
        Ok(put(Kind::Transfer, &Stands(stands)))
    }

    async fn serve_read_index(&self, message: &Bytes) -> Result<Bytes, Unserved> {
        take::<Question>(Kind::ReadIndex, message).ok_or(Unserved::Unreadable)?;
        let (told, round) = <R::Oneshot as Oneshot>::channel();
        let reading = Reading {
            is_remote: true,
            told,
        };
        self.reads.push(reading, 1).map_err(|_| Unserved::Stopped)?;
        let answer = match round.await.unwrap_or(Round::Stopped) {
            Round::Index(index) => ReadFrom::Index(index),
            Round::NotLeader(leader) => ReadFrom::NotLeader(leader),
            Round::NoQuorum => ReadFrom::NoQuorum,
            Round::Stopped => return Err(Unserved::Stopped),
        };
        Ok(put(Kind::ReadIndex, &answer))
    }

    fn serve_return(&self, from: NodeId, message: &Bytes) -> Result<Bytes, Unserved> {
        let (start, _) = take::<Return>(Kind::Return, message).ok_or(Unserved::Unreadable)?;
        if start.voter.node != from {
            return Err(Unserved::NotTheirs);
        }
        let answer = match self.recall.judge(&start) {
            None => Recalled::Nothing,
            Some(more) => {
                tracing::warn!(voter = %start.voter, ?more, found = ?start.found, "a log is older than what it told before");
                Recalled::More(more)
            }
        };
        Ok(put(Kind::Return, &answer))
    }

    /// Whether this node may have an entry written for its refilling again. Anybody may ask, and each entry costs a sync everywhere.
    fn may_refill(&self, from: NodeId) -> bool {
        let now = R::Instant::now();
        let pause = self.settings.heartbeat * REFILL_PAUSE;
        let mut refills = self.refills.lock();
        refills.retain(|_, last| now - *last < pause);
        if refills.len() >= REFILLS || refills.contains_key(&from) {
            return false;
        }
        refills.insert(from, now);
        true
    }

    async fn serve_refill(&self, from: NodeId, message: &Bytes) -> Result<Bytes, Unserved> {
        take::<Question>(Kind::Refill, message).ok_or(Unserved::Unreadable)?;
        if !self.may_refill(from) {
            return Ok(put(Kind::Refill, &RefillTo::NotNow));
        }
        let written = R::timeout(self.settings.patience, self.raft.write_blank()).await;
        let answer = match written {
            Ok(Ok(written)) => RefillTo::Index(written.log_id.index + 1),
            Ok(Err(_)) | Err(_) => RefillTo::NotNow,
        };
        Ok(put(Kind::Refill, &answer))
    }

    async fn serve_snapshot(&self, from: NodeId, message: &Bytes) -> Result<Bytes, Unserved> {
        let (head, piece) =
            take::<PieceHead>(Kind::Snapshot, message).ok_or(Unserved::Unreadable)?;
        let vote: Vote = head.vote.into();
        is_of_leader(&vote, from)?;
        let taken = self.arriving.lock().take(&head, piece)?;
        let arrived = match taken {
            Taken::Next(next) => return Ok(put(Kind::Snapshot, &PieceTaken::Next(next))),
            Taken::All(arrived) => arrived,
        };
        let (membership, decided) = prove(&arrived).map_err(|fault| {
            tracing::warn!(%fault, %from, "a snapshot is refused");
            Unserved::BadSnapshot
        })?;
        let snapshot = Snapshot {
            meta: SnapshotMeta {
                last_log_id: log_id(arrived.position),
                last_membership: membership.clone(),
            },
            snapshot: Carried {
                image: Arc::new(arrived),
                proven: Some((membership, decided)),
            },
        };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await;
        let vote = answer.map_err(|_| Unserved::Stopped)?.vote;
        Ok(put(Kind::Snapshot, &PieceTaken::Installed((&vote).into())))
    }
}

impl Arriving {
    /// Keeps a piece if it is the one that is wanted. What arrived stays whatever becomes of the link or of the leader, as long as it is
    /// the same snapshot, so that it goes on where it was.
    fn take(&mut self, head: &PieceHead, piece: Bytes) -> Result<Taken, Unserved> {
        let position: Position = head.at.into();
        let vote: Vote = head.vote.into();
        let makes_sense = head.pieces > 0 && position.index > 0;
        if !makes_sense || position.term > vote.leader_id.term {
            return Err(Unserved::BadSnapshot);
        }
        if self.position != position {
            *self = Self {
                position,
                ..Self::default()
            };
        }
        let wanted = self.pieces.len() as u64;
        if head.number == Some(wanted) {
            let size_bytes = self.size_bytes + piece.len();
            if open(position, wanted, &piece).is_none() || size_bytes > SNAPSHOT_BYTES {
                return Err(Unserved::BadSnapshot);
            }
            self.size_bytes = size_bytes;
            self.pieces.push(piece);
        }
        if (self.pieces.len() as u64) < head.pieces {
            return Ok(Taken::Next(self.pieces.len() as u64));
        }
        let Self {
            position, pieces, ..
        } = std::mem::take(self);
        Ok(Taken::All(MemoryImage { position, pieces }))
    }
}

#[derive(Debug)]
enum Taken {
    Next(u64),
    All(MemoryImage),
}

#[cfg(test)]
mod tests {
    use convoke_decided::Decided;

    use super::super::snapshot::pieces_of;
    use super::super::types::StoredMembership;
    use super::*;
    use crate::log::{LogId, VoterId};

    const AT: Position = Position { term: 2, index: 7 };

    fn pieces(position: Position) -> Vec<Bytes> {
        let frozen = Decided::new().freeze();
        pieces_of(position, &StoredMembership::default(), &frozen).collect()
    }

    fn head(position: Position, number: Option<u64>) -> PieceHead {
        let leader = VoterId {
            node: NodeId::from_public_key([1; 32]),
            log: LogId([1; 16]),
        };
        PieceHead {
            vote: (&Vote::new_committed(5, leader)).into(),
            at: position.into(),
            pieces: pieces(position).len() as u64,
            number,
        }
    }

    fn next(taken: Result<Taken, Unserved>) -> u64 {
        match taken.expect("it makes sense") {
            Taken::Next(next) => next,
            Taken::All(_) => panic!("a piece is missing"),
        }
    }

    #[test]
    fn a_snapshot_whose_link_was_lost_goes_on_where_it_was() {
        let mut arriving = Arriving::default();
        let pieces = pieces(AT);
        assert_eq!(next(arriving.take(&head(AT, None), Bytes::new())), 0);
        assert_eq!(
            next(arriving.take(&head(AT, Some(0)), pieces[0].clone())),
            1
        );
        // The answer was lost, or another leader sends the same snapshot: it asks what is wanted.
        assert_eq!(next(arriving.take(&head(AT, None), Bytes::new())), 1);
        assert_eq!(
            next(arriving.take(&head(AT, Some(0)), pieces[0].clone())),
            1
        );
        let all = arriving.take(&head(AT, Some(1)), pieces[1].clone());
        let Ok(Taken::All(image)) = all else {
            panic!("all of it is there");
        };
        assert_eq!(image.pieces, pieces);
        assert!(prove(&image).is_ok());
    }

    #[test]
    fn a_rotten_piece_is_refused_and_what_is_there_stays() {
        let mut arriving = Arriving::default();
        let pieces = pieces(AT);
        assert_eq!(
            next(arriving.take(&head(AT, Some(0)), pieces[0].clone())),
            1
        );
        let mut rotten = pieces[1].to_vec();
        rotten[5] ^= 1;
        let refused = arriving.take(&head(AT, Some(1)), rotten.into());
        assert!(matches!(refused, Err(Unserved::BadSnapshot)));
        assert_eq!(next(arriving.take(&head(AT, None), Bytes::new())), 1);
        // Another snapshot begins from the beginning.
        let newer = Position { index: 9, ..AT };
        assert_eq!(next(arriving.take(&head(newer, None), Bytes::new())), 0);
    }
}
