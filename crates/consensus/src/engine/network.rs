//! How the engine reaches other nodes: through a [`Transport`] that carries bytes and knows nothing of them.
//!
//! *Nobody is there* and *nobody answered* are told apart, since the engine leaves whoever is unreachable alone for 200 ms (trap 8 of
//! design 008). A pre-vote is asked for as a vote is; the engine's own default would grant it (trap 2).
//!
//! A snapshot goes piece by piece. The receiver says which one it wants next, so a snapshot whose sender or link was lost goes on where
//! it was.
//!
//! Deliberately not here: what is done with messages that arrive (`serve`).

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::alias::SnapshotOf;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RPCTypes};
use openraft_rt::{AsyncRuntime, Select2};

use super::level::Levels;
use super::machine::Carried;
use super::recall::{Recall, Told};
use super::snapshot::Image;
use super::types::{Member, Types, Vote, log_id, position_of};
use super::wait::Gauge;
use super::wire::{
    Candidacy, Handover, Kind, PieceHead, PieceTaken, Stands, Voted, put, put_append, put_piece,
    take, take_appended,
};
use crate::log::VoterId;

/// Carries messages to other nodes of a log.
pub trait Transport: Send + Sync + 'static {
    /// Brings a message, and for which voter it is, to its node's [`serve`](super::Consensus::serve) and the answer back. Messages to one node are handed over in the
    /// order in which they were sent as long as nothing is lost. Whoever asks stops waiting by dropping the future.
    fn call(
        &self,
        to: VoterId,
        member: &Member,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Unreached>>;
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    /// Nobody is there: a connection was refused. It is no use to try again at once.
    #[error("the node cannot be reached")]
    Nobody,
    /// The message or its answer was lost, or the node will not say.
    #[error("the node did not answer")]
    Unanswered,
}

/// Makes connections to the other nodes.
pub(super) struct Peers<R> {
    pub(super) me: VoterId,
    pub(super) transport: Arc<dyn Transport>,
    /// How long a piece of a snapshot may take.
    pub(super) piece: Duration,
    /// Pre-votes count as granted, as the engine does by itself. Worlds that show that promises are watched set it.
    pub(super) grants_pre_votes: bool,
    /// A leader says nothing for a while, see `keeper`.
    pub(super) is_quiet: Arc<Gauge<bool>>,
    pub(super) recall: Arc<Recall>,
    pub(super) levels: Arc<Levels>,
    pub(super) runtime: PhantomData<fn() -> R>,
}

impl<R: AsyncRuntime> RaftNetworkFactory<Types<R>> for Peers<R> {
    type Network = Peer<R>;

    async fn new_client(&mut self, to: VoterId, member: &Member) -> Peer<R> {
        Peer {
            me: self.me,
            to,
            member: member.clone(),
            transport: Arc::clone(&self.transport),
            piece: self.piece,
            grants_pre_votes: self.grants_pre_votes,
            is_quiet: Arc::clone(&self.is_quiet),
            recall: Arc::clone(&self.recall),
            levels: Arc::clone(&self.levels),
            runtime: PhantomData,
        }
    }
}

/// One other node.
pub(super) struct Peer<R> {
    me: VoterId,
    to: VoterId,
    member: Member,
    transport: Arc<dyn Transport>,
    piece: Duration,
    grants_pre_votes: bool,
    is_quiet: Arc<Gauge<bool>>,
    recall: Arc<Recall>,
    levels: Arc<Levels>,
    runtime: PhantomData<fn() -> R>,
}

/// What the engine is told when there is no answer.
type Failed<R> = RPCError<Types<R>>;

fn unreadable<R: AsyncRuntime>() -> Failed<R> {
    NetworkError::from_string("the answer cannot be read").into()
}

/// Asks a node, and waits no longer than this.
pub(super) async fn ask<R: AsyncRuntime>(
    transport: &dyn Transport,
    to: VoterId,
    member: &Member,
    message: Bytes,
    patience: Duration,
) -> Result<Bytes, Unreached> {
    let answer = transport.call(to, member, message);
    match R::timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Unreached::Unanswered),
    }
}

impl<R: AsyncRuntime> Peer<R> {
    async fn ask(
        &self,
        what: RPCTypes,
        message: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Failed<R>> {
        let answer = ask::<R>(&*self.transport, self.to, &self.member, message, patience).await;
        answer.map_err(|unreached| match unreached {
            Unreached::Nobody => Unreachable::from_string(unreached).into(),
            Unreached::Unanswered => self.unanswered(what, patience),
        })
    }

    fn unanswered(&self, action: RPCTypes, timeout: Duration) -> Failed<R> {
        openraft::errors::Timeout {
            action,
            id: self.me,
            target: self.to,
            timeout,
        }
        .into()
    }

    async fn ask_vote(
        &self,
        kind: Kind,
        request: &VoteRequest<Types<R>>,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types<R>>, Failed<R>> {
        let message = put(
            kind,
            &Candidacy {
                vote: (&request.vote).into(),
                last: position_of(request.last_log_id.as_ref()).into(),
                is_transfer: request.leadership_transfer,
            },
        );
        let answer = self.ask(RPCTypes::Vote, message, option.hard_ttl()).await?;
        let (voted, told) = take::<Voted>(kind, &answer).ok_or_else(unreadable::<R>)?;
        let told = Told::take(told).ok_or_else(unreadable::<R>)?;
        self.recall.note(self.to, told);
        let vote: Vote = voted.vote.into();
        Ok(VoteResponse::new(
            vote,
            log_id(voted.last.into()),
            voted.is_granted,
        ))
    }

    async fn send_snapshot(
        &self,
        vote: &Vote,
        image: &dyn Image,
    ) -> Result<SnapshotResponse<Types<R>>, Failed<R>> {
        let mut head = PieceHead {
            vote: vote.into(),
            at: image.position().into(),
            pieces: image.pieces(),
            number: None,
        };
        let mut message = put(Kind::Snapshot, &head);
        loop {
            let is_last = head.number.is_some_and(|number| number + 1 == head.pieces);
            let times = if is_last { head.pieces } else { 1 };
            let patience = self.piece * u32::try_from(times).unwrap_or(u32::MAX);
            let answer = self
                .ask(RPCTypes::InstallSnapshot, message, patience)
                .await?;
            let (taken, _) =
                take::<PieceTaken>(Kind::Snapshot, &answer).ok_or_else(unreadable::<R>)?;
            let next = match taken {
                PieceTaken::Installed(vote) => return Ok(SnapshotResponse::new(vote.into())),
                PieceTaken::Next(next) => next,
            };
            let piece = image.piece(next).map_err(|error: io::Error| {
                Failed::<R>::from(NetworkError::new(&AnyError::new(&error)))
            })?;
            head.number = Some(next);
            message = put_piece(&head, &piece);
        }
    }
}

impl<R: AsyncRuntime> RaftNetworkV2<Types<R>> for Peer<R> {
    type SnapshotData = Carried;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R>>, Failed<R>> {
        let patience = option.hard_ttl();
        if self.is_quiet.get() {
            // As if it had been lost, which takes its time; at once, it would be tried again at once.
            R::sleep(patience).await;
            return Err(self.unanswered(RPCTypes::AppendEntries, patience));
        }
        let message = put_append(&request, self.recall.own());
        let answer = self.ask(RPCTypes::AppendEntries, message, patience).await?;
        let (answer, told, speaks) = take_appended(&answer).ok_or_else(unreadable::<R>)?;
        self.recall.note(self.to, told);
        self.levels
            .note(request.vote.leader_id.term, self.to, speaks);
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, Failed<R>> {
        self.ask_vote(Kind::Vote, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, Failed<R>> {
        if self.grants_pre_votes {
            return Ok(VoteResponse::new(request.vote, None, true));
        }
        self.ask_vote(Kind::PreVote, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types<R>, Carried>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<R>>, StreamingError<Types<R>>> {
        let image = snapshot.snapshot.image;
        match R::select2(cancel, self.send_snapshot(&vote, &*image)).await {
            Select2::First(closed) => Err(StreamingError::Closed(closed)),
            Select2::Second(answer) => Ok(answer?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<R>>, Failed<R>> {
        let message = put(
            Kind::Transfer,
            &Handover {
                vote: request.from_leader().into(),
                to: *request.to_node_id(),
                last: position_of(request.last_log_id()).into(),
            },
        );
        let answer = self
            .ask(RPCTypes::TransferLeader, message, option.hard_ttl())
            .await?;
        match take::<Stands>(Kind::Transfer, &answer) {
            Some((Stands(true), _)) => Ok(Ok(())),
            // Why not stays there; the next heartbeat finds who leads.
            Some((Stands(false), _)) => Err(NetworkError::from_string("it does not stand").into()),
            None => Err(unreadable::<R>()),
        }
    }
}
