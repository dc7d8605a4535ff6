//! What a node does with messages of others.
//!
//! A message is for one voter, a node with its log: a node whose log is another one does not speak for the voter it was, or it would
//! vote twice and acknowledge what it does not have.
//!
//! A message speaks for its sender only: votes and entries of a candidate come over a link of its node. A doubtful node neither votes nor
//! says how it would, and takes no leadership; for the length of one lease after a start no node does, since it does not know whom it
//! promised to wait for (trap 5 of design 008).
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
use super::machine::Carried;
use super::reader::{Reading, Round};
use super::snapshot::{MemoryImage, open, prove};
use super::types::{SnapshotMeta, Vote, log_id, position_of};
use super::wire::{
    Candidacy, Handover, Kind, PieceHead, PieceTaken, Question, ReadFrom, RefillTo, Stands, Voted,
    put, put_appended, take, take_append,
};
use crate::log::{Position, VoterId};

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
            Kind::Refill => core.serve_refill(&message).await,
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
        let request = take_append::<R>(message).ok_or(Unserved::Unreadable)?;
        is_of_leader(&request.vote, from)?;
        let answer = self
            .raft
            .append_entries(request)
            .await
            .map_err(|_| Unserved::Stopped)?;
        match answer {
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => {
                *self.heard.lock() = Some(R::Instant::now());
            }
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => {}
        }
        Ok(put_appended::<R>(&answer))
    }

    fn may_vote(&self) -> Result<(), Unserved> {
        if self.is_doubtful() && !self.is_weakened(Weakness::VotesInDoubt) {
            return Err(Unserved::Doubtful);
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
        let voted = Voted {
            vote: (&vote).into(),
            is_granted: vote_granted,
            last: position_of(last_log_id.as_ref()).into(),
        };
        Ok(put(kind, &voted))
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

    async fn serve_refill(&self, message: &Bytes) -> Result<Bytes, Unserved> {
        take::<Question>(Kind::Refill, message).ok_or(Unserved::Unreadable)?;
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
        let arrived = match self.take_piece(&head, piece)? {
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

    /// Keeps a piece if it is the one that is wanted.
    fn take_piece(&self, head: &PieceHead, piece: Bytes) -> Result<Taken, Unserved> {
        let position: Position = head.at.into();
        let vote: Vote = head.vote.into();
        let makes_sense = head.pieces > 0 && position.index > 0;
        if !makes_sense || position.term > vote.leader_id.term {
            return Err(Unserved::BadSnapshot);
        }
        let mut arriving = self.arriving.lock();
        if arriving.position != position {
            *arriving = Arriving {
                position,
                ..Arriving::default()
            };
        }
        let wanted = arriving.pieces.len() as u64;
        if head.number == Some(wanted) {
            let size_bytes = arriving.size_bytes + piece.len();
            if open(position, wanted, &piece).is_none() || size_bytes > SNAPSHOT_BYTES {
                return Err(Unserved::BadSnapshot);
            }
            arriving.size_bytes = size_bytes;
            arriving.pieces.push(piece);
        }
        if (arriving.pieces.len() as u64) < head.pieces {
            return Ok(Taken::Next(arriving.pieces.len() as u64));
        }
        let Arriving {
            position, pieces, ..
        } = std::mem::take(&mut *arriving);
        Ok(Taken::All(MemoryImage { position, pieces }))
    }
}

enum Taken {
    Next(u64),
    All(MemoryImage),
}
