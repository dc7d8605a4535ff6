//! What a node does by itself, now and then.
//!
//! - **A doubtful log is refilled.** The node asks the leader for an entry made after the question. When it has that one it has all that
//!   came before it, so also all it may have acknowledged and lost: whoever leads now was elected without it, by a majority that has
//!   whatever was decided; and what this leader counts on from before the loss stands before the new entry. Then it may vote again,
//!   and writes that down first.
//! - **A change of voters that was left half-way is finished.** It is two entries, and whoever wanted it may be gone after the first
//!   (trap 7 of design 008).
//!
//! Deliberately not here: elections and heartbeats, which are the engine's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft_rt::AsyncRuntime;

use super::handle::Core;
use super::network::ask;
use super::storage::safely;
use super::types::LogId;
use super::wire::{Kind, Question, RefillTo, put, take};
use crate::log::Work;

/// Looks so often, in heartbeats.
const LOOK: u32 = 4;
/// A joint configuration that stood so many looks long is nobody's.
const LEFT_BEHIND: u32 = 5;

/// Looks until the node is stopped.
pub(super) async fn run<R: AsyncRuntime>(core: Arc<Core<R>>) {
    let pause = core.settings.heartbeat * LOOK;
    let mut joint: Option<(LogId, u32)> = None;
    loop {
        let stopped = core.stopping.until(|is_stopping| is_stopping);
        if R::timeout(pause, stopped).await.is_ok() {
            return;
        }
        if core.is_doubtful() {
            refill(&core, pause).await;
        }
        joint = match (joint, core.joint()) {
            (Some((before, looks)), Some(now)) if before == now => Some((now, looks + 1)),
            (_, now) => now.map(|now| (now, 0)),
        };
        if joint.is_some_and(|(_, looks)| looks >= LEFT_BEHIND) {
            joint = None;
            finish_change(&core, pause).await;
        }
    }
}

async fn refill<R: AsyncRuntime>(core: &Core<R>, pause: Duration) {
    let Some(leader) = core.leader().filter(|leader| *leader != core.me) else {
        return;
    };
    let message = put(Kind::Refill, &Question {});
    let member = core.member(leader);
    let answer = ask::<R>(
        &*core.transport,
        leader,
        &member,
        message,
        core.settings.patience,
    );
    let Ok(answer) = answer.await else {
        return;
    };
    let Some((RefillTo::Index(index), _)) = take::<RefillTo>(Kind::Refill, &answer) else {
        return;
    };
    let filled = core.held.progress.until(|now| now.index >= index);
    if R::timeout(pause.max(core.settings.patience), filled)
        .await
        .is_err()
    {
        return;
    }
    if safely::<R>(&*core.journal, vec![Work::Trust]).await.is_ok() {
        core.trust();
        tracing::info!(index, "the log is whole again, and this node votes");
    }
}

/// Goes on from two sets of voters to one.
pub(super) async fn finish_change<R: AsyncRuntime>(core: &Core<R>, patience: Duration) {
    let nobody = ChangeMembers::AddVoterIds(BTreeSet::new());
    let change = core.raft.change_membership(nobody, false);
    // Whether it worked shows at the next look.
    if let Ok(Err(error)) = R::timeout(patience * LEFT_BEHIND, change).await {
        tracing::info!(%error, "a change of voters is not finished yet");
    }
}
