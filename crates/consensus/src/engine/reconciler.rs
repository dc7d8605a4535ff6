//! Brings the voters to what they should be, one step after the other.
//!
//! A few times a second it looks at what is decided about nodes and at what members acknowledged. On the leader it asks the planner
//! ([`planner::voters`](crate::planner::voters)) for the next step, and takes it: a node gets the log, others vote, somebody else leads,
//! a node gets the log no more. One at a time; what it cannot finish the next look finds as it was left, and a change that stands
//! half-way is `keeper`'s. While no node has a record it does nothing, and voters are changed by hand.
//!
//! The leader also writes entries that only say that time goes by: when something that is decided ends by then, as a lease or the time for
//! votes, and when nothing was written for [`Settings::tick`](super::api::Settings::tick), since a disk that hangs shows with the next entry
//! and not before.
//!
//! | bound | how much |
//! | --- | --- |
//! | looks | one in [`LOOK`] heartbeats, each over all records once |
//! | a step | [`STEP`], then it is left to itself |
//! | entries for nothing but to see disks write | one in `tick`, none without a majority |
//! | entries for what ends by then | one a look |
//!
//! Deliberately not here: deciding who should vote, and finishing what somebody left half-way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use convoke_types::NodeId;
use convoke_types::wire::store::{Command, Record};
use openraft::{ChangeMembers, ServerState};
use openraft_rt::{AsyncRuntime, Oneshot, WatchReceiver as _};
use std::cmp::Reverse;

use super::handle::{Consensus, Core, change_voters};
use super::proposer::{Waiting, size_of};
use super::types::{Member, position_of};
use crate::log::VoterId;
use crate::planner::acknowledged::{Acknowledgements, Look};
use crate::planner::record_of;
use crate::planner::voters::{ASK_AGAIN, Enrolled, Known, Plan, Rules, Step, is_to_leave, plan};

/// Looks so often, in heartbeats.
const LOOK: u32 = 5;
/// A step may take so long.
const STEP: Duration = Duration::from_secs(10);

/// What is known about who should vote.
#[derive(Debug, Default)]
pub(super) struct Reconciling {
    seen: Acknowledgements,
    /// Whom gossip does not reach.
    pub(super) unreachable: BTreeSet<NodeId>,
    /// Who was to lead and did not, and when.
    refused: BTreeMap<VoterId, Duration>,
    /// When an entry was last written for nothing but that time goes by.
    ticked: Duration,
}

/// Looks and acts until the node is stopped.
pub(super) async fn run<R: AsyncRuntime>(core: Arc<Core<R>>) {
    loop {
        let stopped = core.stopping.until(|is_stopping| is_stopping);
        if R::timeout(core.settings.heartbeat * LOOK, stopped)
            .await
            .is_ok()
        {
            return;
        }
        // Also on those who follow, so that a clock that jumps before they lead is seen to.
        core.held.steady();
        let Some(plan) = look(&core) else {
            continue;
        };
        tick(&core);
        let Some(step) = plan.step else {
            continue;
        };
        let stopped = core.stopping.until(|is_stopping| is_stopping);
        let taken = R::timeout(STEP, take(&core, &step));
        match R::select2(stopped, taken).await {
            openraft_rt::Select2::First(_) => return,
            openraft_rt::Select2::Second(Ok(Ok(()))) => {
                tracing::info!(%step, "about the voters of the log");
            }
            openraft_rt::Select2::Second(Ok(Err(why))) => {
                tracing::info!(%step, %why, "about the voters of the log, in vain; it is tried again");
            }
            openraft_rt::Select2::Second(Err(_)) => {
                tracing::warn!(%step, "about the voters of the log: it takes longer than it may");
            }
        }
    }
}

/// What is known now, and on a leader what follows.
pub(super) fn look<R: AsyncRuntime>(core: &Core<R>) -> Option<Plan> {
    let (mut look, leads) = see(core);
    let state = core.held.state.read();
    let rules = Rules::of(&state.decided);
    look.replace_after = rules.replace_after;
    let nodes = look.members.iter().map(|voter| voter.node);
    look.enrolled = nodes
        .filter(|node| state.decided.node(node).is_some())
        .collect();
    let enrolled = if leads {
        Enrolled::of_interest(&state.decided, &look.members)
    } else {
        BTreeMap::new()
    };
    // Decided, as opposed to what this node remembers: whoever starts afterwards knows of them, too.
    let put_out = look.members.iter().map(|voter| voter.node);
    let put_out: BTreeSet<NodeId> = put_out
        .filter(|node| state.decided.has_forgotten(node))
        .collect();
    drop(state);
    let mut reconciling = core.reconciling.lock();
    let Reconciling { seen, refused, .. } = &mut *reconciling;
    refused.retain(|_, since| look.now.saturating_sub(*since) < ASK_AGAIN);
    if !leads {
        seen.look(&look);
        return None;
    }
    let mut known = Known {
        rules,
        leader: core.me,
        voters: look.voters.clone(),
        members: look.members.clone(),
        enrolled,
        // As of the look before; who was forgotten just now is found at the next.
        forgotten: seen.forgotten() | &put_out,
        acknowledged: BTreeMap::new(),
        leaving: BTreeMap::new(),
        unchanged_for: Duration::ZERO,
        refused: refused.keys().copied().collect(),
        unreachable: reconciling.unreachable.clone(),
    };
    let voters = look.voters.iter().flatten();
    look.leaving = voters
        .filter(|voter| is_to_leave(&known, **voter))
        .copied()
        .collect();
    let seen = &mut reconciling.seen;
    seen.look(&look);
    known.acknowledged = seen.members();
    known.leaving = seen.leaving();
    known.unchanged_for = seen.unchanged_for();
    known.forgotten = seen.forgotten() | &put_out;
    drop(reconciling);
    Some(plan(&known))
}

/// What the engine says, and whether this node leads.
fn see<R: AsyncRuntime>(core: &Core<R>) -> (Look, bool) {
    let last = core.journal.last().index;
    let now = core.now();
    let metrics = core.raft.metrics();
    let metrics = metrics.borrow_watched();
    let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(core.me);
    let membership = &metrics.membership_config;
    let replication = metrics.replication.iter().flatten();
    let heartbeat = metrics.heartbeat.iter().flatten();
    let answered =
        heartbeat.filter_map(|(voter, at)| Some((*voter, **at.as_ref()? - core.started)));
    let mut look = Look {
        now,
        leads: leads.then_some(metrics.current_term),
        last,
        matched: replication
            .map(|(voter, at)| (*voter, position_of(at.as_ref()).index))
            .collect(),
        answered: answered.collect(),
        voters: membership.get_joint_config().clone(),
        members: membership.nodes().map(|(voter, _)| *voter).collect(),
        ..Look::default()
    };
    // A node answers itself.
    look.answered.insert(core.me, now);
    (look, leads)
}

/// Takes a step. What became of it shows at the next look.
async fn take<R: AsyncRuntime>(core: &Arc<Core<R>>, step: &Step) -> Result<(), String> {
    match step {
        Step::Learn(voter) => {
            let addresses = {
                let state = core.held.state.read();
                let record = record_of(*voter, &state.decided);
                record.map(|record| record.addresses.clone())
            };
            // Forgotten since the look.
            let Some(addresses) = addresses else {
                return Ok(());
            };
            let learning = core.raft.add_learner(*voter, Member { addresses }, false);
            learning.await.map(drop).map_err(|error| error.to_string())
        }
        Step::Change(voters) => {
            let voters = voters.iter().map(|voter| (*voter, core.member(*voter)));
            let changing = change_voters(core, voters.collect(), true);
            changing.await.map_err(|error| error.to_string())
        }
        Step::HandOver(to) => {
            let node = Consensus {
                core: Arc::clone(core),
            };
            let handed = node.transfer(*to).await;
            if handed.is_err() {
                core.reconciling.lock().refused.insert(*to, core.now());
            }
            handed.map_err(|error| error.to_string())
        }
        Step::Remove(voter) => {
            let nodes = ChangeMembers::RemoveNodes(BTreeSet::from([*voter]));
            let removing = core.raft.change_membership(nodes, false);
            removing.await.map(drop).map_err(|error| error.to_string())
        }
    }
}

/// An entry, when something ends now or none was written for a while.
fn tick<R: AsyncRuntime>(core: &Core<R>) {
    let tick = core.settings.tick;
    let now = core.held.steady();
    let (ends, is_idle) = {
        let state = core.held.state.read();
        let quiet = now.saturating_sub(state.applied_at);
        // What the leader's clock says now, or a little less.
        let time = state.decided.time() + quiet;
        let ends = state.decided.next_due().is_some_and(|due| due <= time);
        (ends, quiet >= tick && state.decided.extent().nodes > 0)
    };
    let now = core.now();
    let has_majority = core
        .without_majority_for()
        .is_none_or(|time| time < core.settings.lease);
    let mut reconciling = core.reconciling.lock();
    let is_due = now.saturating_sub(reconciling.ticked) >= tick;
    if !has_majority || !(ends || is_idle && is_due) {
        return;
    }
    reconciling.ticked = now;
    drop(reconciling);
    let (told, _) = <R::Oneshot as Oneshot>::channel();
    let command = Command::Tick;
    let size_bytes = size_of(&command);
    let waiting = Waiting {
        principal: core.me.node,
        ticket: None,
        command,
        told,
    };
    // A queue that is full is not idle, and one that is closed needs nothing.
    let _ = core.proposals.push(waiting, size_bytes);
}

/// Who should lead when this leader does not any more.
pub(super) fn successor<R: AsyncRuntime>(core: &Core<R>) -> Option<VoterId> {
    let (seen, leads) = see(core);
    if !leads {
        return None;
    }
    // Brings what is known of disks up to this moment.
    look(core)?;
    let acknowledged = core.reconciling.lock().seen.members();
    let state = core.held.state.read();
    let replace_after = Rules::of(&state.decided).replace_after;
    let voters = seen.voters.last()?.iter();
    let others = voters.filter(|voter| **voter != core.me);
    let near = others.filter(|voter| {
        let known = acknowledged.get(voter);
        known.is_some_and(|it| it.is_there(replace_after) && it.is_caught_up())
    });
    let best = near.min_by_key(|voter| {
        let rank = record_of(**voter, &state.decided).map(Record::rank);
        let matched = seen.matched.get(voter).copied().unwrap_or_default();
        (rank.is_none(), rank, Reverse(matched), **voter)
    });
    best.copied()
}
