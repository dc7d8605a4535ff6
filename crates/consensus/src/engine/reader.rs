//! How far a node must have applied before it may answer a linearizable read.
//!
//! Reads that wait at the same time share one round: the leader asks a majority whether it still leads, and names the last entry that
//! may be acknowledged; a follower asks the leader to do that. One round is on its way at a time; who comes later waits for the next,
//! because an answer to a question that was asked before may be too old. There are no lease reads: a restart restores no lease (trap 5
//! of design 008).
//!
//! At most [`WAITING`] reads wait; more are told that the node is busy.
//!
//! Deliberately not here: the answer itself.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft_rt::{AsyncRuntime, Oneshot, OneshotSender as _};

use super::handle::Core;
use super::network::ask;
use super::wire::{Kind, Question, ReadFrom, put, take};

/// Reads that wait for a round.
pub(super) const WAITING: usize = 65_536;

/// Somebody who waits for a round.
pub(super) struct Reading<R: AsyncRuntime> {
    /// Another node asks, which hears *not leader* rather than have this one ask a third.
    pub(super) is_remote: bool,
    pub(super) told: Teller<R>,
}

/// Whom to tell of a round.
pub(super) type Teller<R> = <<R as AsyncRuntime>::Oneshot as Oneshot>::Sender<Round>;

/// What came of a round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Round {
    /// Whoever has applied up to here may answer.
    Index(u64),
    /// Somebody else may know.
    NotLeader(Option<crate::log::VoterId>),
    /// A majority did not answer.
    NoQuorum,
    Stopped,
}

/// Makes rounds until the queue is closed.
pub(super) async fn run<R: AsyncRuntime>(core: Arc<Core<R>>) {
    while let Some(readings) = core.reads.take(WAITING, WAITING).await {
        let own = own_round(&core).await;
        let (remote, local): (Vec<_>, Vec<_>) =
            readings.into_iter().partition(|reading| reading.is_remote);
        tell(remote, own);
        let round = match own {
            Round::NotLeader(Some(leader)) if !local.is_empty() => ask_leader(&core, leader).await,
            Round::Index(_) | Round::NotLeader(_) | Round::NoQuorum | Round::Stopped => own,
        };
        tell(local, round);
    }
}

fn tell<R: AsyncRuntime>(readings: Vec<Reading<R>>, round: Round) {
    for reading in readings {
        // Whoever asked may be gone by now.
        let _ = reading.told.send(round);
    }
}

/// A round among the others of this leader.
async fn own_round<R: AsyncRuntime>(core: &Core<R>) -> Round {
    if core.is_weakened(super::api::Weakness::ReadWithoutIndex) {
        return Round::Index(0);
    }
    let index = core.raft.get_read_log_id(ReadPolicy::ReadIndex);
    let Ok(index) = R::timeout(round_patience(core), index).await else {
        return Round::NoQuorum;
    };
    match index {
        Ok((id, _)) => Round::Index(id.index() + 1),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
            Round::NotLeader(forward.leader_id)
        }
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Round::NoQuorum,
        Err(RaftError::Fatal(_)) => Round::Stopped,
    }
}

/// A round lasts no longer than it takes to find that somebody else leads.
fn round_patience<R: AsyncRuntime>(core: &Core<R>) -> Duration {
    core.settings.lease
}

async fn ask_leader<R: AsyncRuntime>(core: &Core<R>, leader: crate::log::VoterId) -> Round {
    let message = put(Kind::ReadIndex, &Question {});
    let patience = round_patience(core) * 2;
    let member = core.member(leader);
    let Ok(answer) = ask::<R>(&*core.transport, leader, &member, message, patience).await else {
        return Round::NoQuorum;
    };
    match take::<ReadFrom>(Kind::ReadIndex, &answer) {
        Some((ReadFrom::Index(index), _)) => Round::Index(index),
        Some((ReadFrom::NotLeader(leader), _)) => Round::NotLeader(leader),
        Some((ReadFrom::NoQuorum, _)) | None => Round::NoQuorum,
    }
}
