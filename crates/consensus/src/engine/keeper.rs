//! What a node does by itself, now and then.
//!
//! - **A doubtful log is refilled.** The node asks the leader for an entry made after the question. When it has that one it has all that
//!   came before it, so also all it may have acknowledged and lost: whoever leads now was elected without it, by a majority that has
//!   whatever was decided; and what this leader counts on from before the loss stands before the new entry. Then it may vote again,
//!   and writes that down first.
//! - **A change of voters that was left half-way is finished.** It is two entries, and whoever wanted it may be gone after the first
//!   (trap 7 of design 008).
//! - **A leader that no majority answers falls silent**, and speaks again after a while, in turns. It may still be heard: by followers
//!   whose answers get lost on their way, or are not given. They would wait for it for as long as that lasts, and elect nobody. When
//!   one of them asks for its vote and lacks entries, it speaks earlier: it may be the only one who can lead. It
//!   keeps its term and may lead on when it is answered again; safety has no part in this. The engine has a setting of that kind, which
//!   holds back heartbeats and no entries; entries that wait are sent again and again, and heard like heartbeats.
//! - **A hand-over that nobody took is taken back.** A leader that handed over takes no writes, says nothing, and cannot stand. When
//!   nobody else can win either, since only this one has all entries, that would last for ever. So after two leases it asks
//!   who would vote for it, like anybody. If a majority would, it votes in the next term for the one it handed over to, which ends its own
//!   leadership, and stands. Nobody hears of that vote.
//! - **What is decided is written down**, every [`REMEMBER`] and at an orderly stop. The journal keeps it in mind and writes it with the
//!   next vote only; a node that starts would have an old state until it hears a leader, and not know the ranks by which one is
//!   elected. It is a hint, and costs two syncs.
//! - **A start is told.** Before a node votes or stands it asks the other members whether they remember more of its log than is in it
//!   (`recall`). Who is not there, or was not heard of for the length of [`ANSWERS`] leases, is not waited for any more.
//!
//! Deliberately not here: when it stands for election (`candidacy`), and heartbeats, which are the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use openraft::ChangeMembers;
use openraft::raft::VoteRequest;
use openraft_rt::{AsyncRuntime, Instant as _, WatchReceiver as _};

use super::handle::Core;
use super::network::{Unreached, ask};
use super::storage::safely;
use super::types::{LogId, Member, Vote, log_id};
use super::wire::{Candidacy, Kind, Question, Recalled, RefillTo, Voted, put, take};
use crate::log::{Mark, VoterId, Work};

/// Looks so often, in heartbeats.
pub(super) const LOOK: u32 = 4;
/// A joint configuration that stood so many looks long is nobody's.
const LEFT_BEHIND: u32 = 5;

/// Who leadership was handed over to has so many leases to take it.
const TAKEN: u32 = 2;

/// Other members have so many leases to say what they remember.
const ANSWERS: u32 = 4;

/// What is decided is written down so often.
const REMEMBER: Duration = Duration::from_secs(10);

/// Looks until the node is stopped.
pub(super) async fn run<R: AsyncRuntime>(core: Arc<Core<R>>) {
    let pause = core.settings.heartbeat * LOOK;
    let mut joint: Option<(LogId, u32)> = None;
    let mut remembered = R::Instant::now();
    if !core.is_vouched() {
        come_back(&core).await;
    }
    loop {
        let stopped = core.stopping.until(|is_stopping| is_stopping);
        if R::timeout(pause, stopped).await.is_ok() {
            return;
        }
        let is_quiet = core
            .without_majority_for()
            .is_some_and(|time| falls_silent(time, core.settings.lease))
            && !is_missed(&core);
        core.is_quiet.change(|_| is_quiet);
        take_back(&core).await;
        if R::Instant::now() - remembered >= REMEMBER {
            remembered = R::Instant::now();
            core.journal.submit(vec![Work::Remember], Box::new(|_| ()));
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

/// Ends a leadership that was handed over to nobody, and stands for election.
async fn take_back<R: AsyncRuntime>(core: &Core<R>) {
    let Some((since, term, to)) = *core.handed_over.lock() else {
        return;
    };
    let leads_on = core.leader() == Some(core.me) && core.term() == term;
    if leads_on {
        let is_early = R::Instant::now() - since < core.settings.lease * TAKEN;
        if is_early || !would_win(core, term + 1).await {
            return;
        }
        tracing::warn!(
            term,
            "nobody took the leadership that was handed over; standing for election"
        );
        let last = log_id(core.journal.last());
        let mut request = VoteRequest::new(Vote::new(term + 1, to), last);
        // It is this leader's own wish, so its lease does not stand against it.
        request.leadership_transfer = true;
        if core.raft.vote(request).await.is_err() || core.raft.trigger().elect(true).await.is_err()
        {
            // The engine has ended.
            return;
        }
    }
    *core.handed_over.lock() = None;
}

/// Whether a majority would elect this node in that term.
async fn would_win<R: AsyncRuntime>(core: &Core<R>, term: u64) -> bool {
    let candidacy = Candidacy {
        vote: (&Vote::new(term, core.me)).into(),
        last: core.journal.last().into(),
        is_transfer: false,
    };
    let message = put(Kind::PreVote, &candidacy);
    let others = other_members(core).await;
    let asked = others.iter().map(|(voter, member)| {
        let patience = core.settings.lease;
        let answer = ask::<R>(&*core.transport, *voter, member, message.clone(), patience);
        async { (*voter, answer.await) }
    });
    let mut granted = BTreeSet::from([core.me]);
    for (voter, answer) in join_all(asked).await {
        let voted = answer.ok();
        let voted = voted.and_then(|answer| take::<Voted>(Kind::PreVote, &answer));
        if voted.is_some_and(|(voted, _)| voted.is_granted) {
            granted.insert(voter);
        }
    }
    let metrics = core.raft.metrics();
    let metrics = metrics.borrow_watched();
    let sets = metrics.membership_config.get_joint_config();
    sets.iter()
        .all(|set| set.intersection(&granted).count() * 2 > set.len())
}

/// Somebody asked to lead lately who cannot.
fn is_missed<R: AsyncRuntime>(core: &Core<R>) -> bool {
    let missed = *core.missed.lock();
    missed.is_some_and(|last| R::Instant::now() - last < core.settings.lease)
}

/// For the length of one lease a leader may hope; then it gives others the time of a lease and of an election, and hopes as long.
fn falls_silent(without_majority_for: Duration, lease: Duration) -> bool {
    let Some(over) = without_majority_for.checked_sub(lease) else {
        return false;
    };
    (over.as_nanos() / (lease * 2).as_nanos().max(1)).is_multiple_of(2)
}

/// Asks the other members what they remember of this log, until each has answered, is not there, or was waited for long enough.
async fn come_back<R: AsyncRuntime>(core: &Core<R>) {
    let deadline = R::Instant::now() + core.settings.lease * ANSWERS;
    let message = put(
        Kind::Return,
        &core.recall.own_return(core.me, &*core.journal),
    );
    let mut others = other_members(core).await;
    while !others.is_empty() && R::Instant::now() < deadline && !core.stopping.get() {
        let patience = core.settings.heartbeat * 2;
        let asked = others.iter().map(|(voter, member)| {
            let answer = ask::<R>(&*core.transport, *voter, member, message.clone(), patience);
            async { (*voter, answer.await) }
        });
        for (voter, answer) in join_all(asked).await {
            let answer = match answer {
                Ok(answer) => take::<Recalled>(Kind::Return, &answer),
                // Nobody runs there, so nobody remembers.
                Err(Unreached::Nobody) => Some((Recalled::Nothing, Bytes::new())),
                Err(Unreached::Unanswered) => None,
            };
            match answer {
                Some((Recalled::More(more), _)) => return doubt(core, voter, more).await,
                Some((Recalled::Nothing, _)) => {
                    others.remove(&voter);
                }
                None => {}
            }
        }
        if !others.is_empty() {
            let stopped = core.stopping.until(|is_stopping| is_stopping);
            // Whether it stopped shows at the top.
            let _ = R::timeout(core.settings.heartbeat, stopped).await;
        }
    }
    core.vouch();
}

/// Learners, too: they hear a leader, which may be this node.
async fn other_members<R: AsyncRuntime>(core: &Core<R>) -> BTreeMap<VoterId, Member> {
    let me = core.me;
    let known = core.raft.with_raft_state(move |state| {
        let membership = state.membership_state.effective();
        let nodes = membership.membership().nodes();
        let others = nodes.filter(|(voter, _)| **voter != me);
        let others = others.map(|(voter, member)| (*voter, member.clone()));
        others.collect()
    });
    // An engine that is gone votes no more either.
    known.await.unwrap_or_default()
}

/// Somebody remembers more of this log than is in it. That is written down before the node takes part in doubt.
async fn doubt<R: AsyncRuntime>(core: &Core<R>, voter: VoterId, more: Mark) {
    let found = core.recall.own_return(core.me, &*core.journal).found;
    tracing::warn!(
        %voter, ?more, ?found,
        "this log is older than what it told before, so the disk or the machine was put back; no vote until a leader has brought it up to date"
    );
    let work = Work::Doubt(more.opened + 1);
    if safely::<R>(&*core.journal, vec![work]).await.is_ok() {
        core.doubt();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_majority_is_silent_and_speaks_in_turns() {
        let lease = Duration::from_millis(250);
        let silent = |millis| falls_silent(Duration::from_millis(millis), lease);
        assert!(!silent(0) && !silent(249));
        assert!(silent(250) && silent(749));
        assert!(!silent(750) && !silent(1_249));
        assert!(silent(1_250));
    }
}
