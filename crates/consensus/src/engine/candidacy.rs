//! When a node stands for election.
//!
//! Voters have an order, the same on all of them: that of their ranks, which follow from decided node records; who has no record comes
//! behind those who have one, in the order of ids. When nothing was heard of a leader for the length of a lease, the first of those that
//! are left asks whether the others would vote for it, the second a step later, and so on. So as a rule one stands at a time, and a dead
//! leader costs hardly more than the lease. Two that asked at once after all are further apart the second time. The order is a hint: who
//! is passed twice waits by chance like everybody else, and longer after each election that nobody won, so that nodes with slow disks get
//! the time that their votes need. Asking who would vote costs no disk, and is done again soon.
//!
//! A rank is never a condition: whoever is first may be dead, held up or unfit, and its record says nothing of that.
//!
//! Who would vote for another gives it half a lease before it asks itself; once in a silence, so that nobody can hold up an election by
//! asking again and again. Who gave its vote waits for a whole lease.
//!
//! Who leaves stands, too, behind all others, until it has applied the change that it leaves with: that change may have reached nobody but
//! those who leave, whose logs are then longer than those of all who could stand instead.
//!
//! Nothing here is needed for safety. Whether a vote may be asked for at all the engine says: it refuses while a leader may live.
//!
//! [`Candidacy`] is pure; [`run`] acts on it. Deliberately not here: votes, which are the engine's.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft_rt::{AsyncRuntime, WatchReceiver as _};
use rand::Rng as _;

use super::handle::Core;
use crate::log::VoterId;
use crate::planner::by_rank;

/// Tries by the order; after them chance decides.
const BY_ORDER: u32 = 2;
/// Waits by chance grow to so many leases and stay there, as a power of two.
const LONGEST: u32 = 2;

/// What a node knows about whether it is time. All moments are counted from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidacy {
    lease: Duration,
    step: Duration,
    /// The last leader that was heard.
    leader: Option<VoterId>,
    /// When there was last somebody to wait for: a leader, somebody who got a vote, this node itself.
    sign: Duration,
    /// Stands no earlier.
    not_before: Duration,
    /// Somebody was let go first in this silence.
    has_yielded: bool,
    /// How often this node asked since a leader was heard, …
    tries: u32,
    /// … and how often it asked again after it had been a candidate.
    lost: u32,
    /// Chance of its own, new with each try.
    chance: u64,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before then has passed.
    Wait(Duration),
    /// Ask for votes.
    Stand,
}

impl Candidacy {
    pub(super) fn new(lease: Duration, step: Duration) -> Self {
        Self {
            lease,
            step,
            leader: None,
            sign: Duration::ZERO,
            not_before: Duration::ZERO,
            has_yielded: false,
            tries: 0,
            lost: 0,
            chance: 0,
        }
    }

    /// A leader said something.
    pub(super) fn heard(&mut self, now: Duration, leader: VoterId) {
        *self = Self {
            leader: Some(leader),
            sign: now,
            ..Self::new(self.lease, self.step)
        };
    }

    /// Another one has this node's vote.
    pub(super) fn voted(&mut self, now: Duration) {
        self.sign = now;
    }

    /// Another one would have this node's vote.
    pub(super) fn would_vote(&mut self, now: Duration) {
        if !self.has_yielded {
            self.has_yielded = true;
            self.not_before = now + self.lease / 2;
        }
    }

    /// What to do now. `voters` are in their order, with this one among them. Who is a candidate has asked for votes that count, and
    /// they may still come.
    pub(super) fn due(
        &self,
        now: Duration,
        me: VoterId,
        voters: &[VoterId],
        is_candidate: bool,
    ) -> Due {
        if voters == [me] {
            // Nobody to wait for, and nobody to be asked.
            return if self.tries == 0 {
                Due::Stand
            } else {
                self.until(now, self.sign + self.lease)
            };
        }
        let left = voters.iter().filter(|voter| Some(**voter) != self.leader);
        let place = left.take_while(|voter| **voter != me).count();
        let places = u32::try_from(place).unwrap_or(u32::MAX);
        let turns = u32::try_from(voters.len()).unwrap_or(u32::MAX);
        let answered = if is_candidate {
            self.lease
        } else {
            // Nobody has to write anything to say that it would vote, and by then everybody had a turn.
            self.step.saturating_mul(turns)
        };
        let wait = match self.tries {
            0 => self.lease + self.step.saturating_mul(places),
            tries if tries < BY_ORDER => answered + (self.lease / 2).saturating_mul(places),
            _ => {
                let longest = self.lease * (1 << self.lost.min(LONGEST));
                let by_chance = (longest.as_micros() * u128::from(self.chance >> 32)) >> 32;
                answered + Duration::from_micros(u64::try_from(by_chance).unwrap_or(u64::MAX))
            }
        };
        self.until(now, self.not_before.max(self.sign + wait))
    }

    fn until(&self, now: Duration, then: Duration) -> Due {
        match then.checked_sub(now) {
            Some(rest) if !rest.is_zero() => Due::Wait(rest),
            Some(_) | None => Due::Stand,
        }
    }

    /// This node asks for votes. If it was a candidate, nobody won.
    pub(super) fn stood(&mut self, now: Duration, was_candidate: bool, chance: u64) {
        self.sign = now;
        self.lost = self.lost.saturating_add(u32::from(was_candidate));
        self.tries = self.tries.saturating_add(1);
        self.chance = chance;
    }
}

/// Puts `me` behind all others if it is no voter any more and has not applied the change that says so.
fn who_leaves_stands_last(
    voters: &mut Vec<VoterId>,
    mut applied: impl Iterator<Item = VoterId>,
    me: VoterId,
) {
    if !voters.contains(&me) && applied.any(|voter| voter == me) {
        voters.push(me);
    }
}

/// Stands for election when it is time, until the node is stopped.
pub(super) async fn run<R: AsyncRuntime>(core: Arc<Core<R>>) {
    loop {
        let pause = match look(&core) {
            Due::Wait(rest) => rest.min(core.settings.lease),
            Due::Stand => {
                if core.raft.trigger().elect(true).await.is_err() {
                    // The engine has ended, and whoever looks at the status knows.
                    return;
                }
                core.settings.step
            }
        };
        let stopped = core.stopping.until(|is_stopping| is_stopping);
        if R::timeout(pause, stopped).await.is_ok() {
            return;
        }
    }
}

fn look<R: AsyncRuntime>(core: &Core<R>) -> Due {
    let lease = Due::Wait(core.settings.lease);
    let metrics = core.raft.metrics();
    let (state, mut voters) = {
        let metrics = metrics.borrow_watched();
        let voters: Vec<VoterId> = metrics.membership_config.voter_ids().collect();
        (metrics.state, voters)
    };
    {
        let state = core.held.state.read();
        by_rank(&mut voters, &state.decided);
        who_leaves_stands_last(&mut voters, state.membership.voter_ids(), core.me);
    }
    let now = core.now();
    let mut candidacy = core.candidacy.lock();
    if state == ServerState::Leader {
        // It hears itself, and has waited for nobody when it leads no more.
        candidacy.heard(now, core.me);
        return lease;
    }
    if !voters.contains(&core.me) || core.may_vote().is_err() {
        return lease;
    }
    let is_candidate = state == ServerState::Candidate;
    let due = candidacy.due(now, core.me, &voters, is_candidate);
    if due == Due::Stand {
        candidacy.stood(now, is_candidate, R::thread_rng().next_u64());
    }
    due
}

#[cfg(test)]
mod tests {
    use convoke_types::NodeId;

    use super::*;
    use crate::log::LogId;

    const LEASE: Duration = Duration::from_millis(300);
    const STEP: Duration = Duration::from_millis(30);

    fn voter(number: u8) -> VoterId {
        VoterId {
            node: NodeId::from_public_key([number; 32]),
            log: LogId([number; 16]),
        }
    }

    fn voters(count: u8) -> Vec<VoterId> {
        (1..=count).map(voter).collect()
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// One that heard voter 1 lead at 1,000 ms.
    fn follower() -> Candidacy {
        let mut candidacy = Candidacy::new(LEASE, STEP);
        candidacy.heard(at(1_000), voter(1));
        candidacy
    }

    /// When it stands next, as seen at `now`.
    fn stands(candidacy: &Candidacy, now: Duration, me: u8, is_candidate: bool) -> Duration {
        match candidacy.due(now, voter(me), &voters(3), is_candidate) {
            Due::Wait(rest) => now + rest,
            Due::Stand => now,
        }
    }

    #[test]
    fn who_leaves_stands_behind_all_others_until_it_has_applied_that() {
        let stand = |me: u8, applied: u8| {
            let mut voters = voters(2);
            who_leaves_stands_last(&mut voters, (1..=applied).map(voter), voter(me));
            voters
        };
        assert_eq!(stand(3, 3), voters(3), "it has not applied that it left");
        assert_eq!(stand(3, 2), voters(2), "it has");
        assert_eq!(stand(2, 3), voters(2), "it stays, where it was");
        assert_eq!(stand(4, 3), voters(2), "it never was one");
    }

    #[test]
    fn those_who_are_left_stand_one_after_the_other_when_a_lease_is_over() {
        let candidacy = follower();
        assert_eq!(stands(&candidacy, at(1_100), 2, false), at(1_300));
        assert_eq!(stands(&candidacy, at(1_100), 3, false), at(1_330));
        let due = candidacy.due(at(1_300), voter(2), &voters(3), false);
        assert_eq!(due, Due::Stand);
    }

    #[test]
    fn a_leader_that_is_heard_begins_it_all_again() {
        let mut candidacy = follower();
        candidacy.stood(at(1_300), false, 7);
        candidacy.would_vote(at(1_300));
        candidacy.heard(at(1_350), voter(1));
        assert_eq!(stands(&candidacy, at(1_350), 2, false), at(1_650));
    }

    #[test]
    fn who_was_refused_tries_again_when_everybody_had_a_turn_and_a_candidate_waits_for_its_votes() {
        let mut candidacy = follower();
        candidacy.stood(at(1_300), false, 7);
        assert_eq!(stands(&candidacy, at(1_301), 2, false), at(1_390));
        assert_eq!(stands(&candidacy, at(1_301), 2, true), at(1_600));
        assert_eq!(stands(&candidacy, at(1_301), 3, true), at(1_750));
    }

    #[test]
    fn who_gives_its_vote_waits_a_lease_for_what_becomes_of_it() {
        let mut candidacy = follower();
        candidacy.voted(at(1_310));
        assert_eq!(stands(&candidacy, at(1_310), 2, false), at(1_610));
    }

    #[test]
    fn another_is_let_go_first_once_in_a_silence_and_no_more() {
        let mut candidacy = follower();
        candidacy.would_vote(at(1_305));
        assert_eq!(stands(&candidacy, at(1_305), 3, false), at(1_455));
        candidacy.would_vote(at(1_400));
        assert_eq!(stands(&candidacy, at(1_400), 3, false), at(1_455));
    }

    #[test]
    fn after_two_tries_chance_decides_within_a_bound_that_grows_and_ends() {
        let mut candidacy = follower();
        let mut longest = Duration::ZERO;
        for tries in 0..40_u32 {
            let now = at(2_000 + u64::from(tries) * 10_000);
            candidacy.stood(now, true, if tries % 2 == 0 { 0 } else { u64::MAX });
            if tries < BY_ORDER {
                continue;
            }
            let wait = stands(&candidacy, now, 2, true) - now;
            longest = longest.max(wait);
            if tries % 2 == 0 {
                assert_eq!(wait, LEASE, "try {tries}");
            }
        }
        assert!(longest > LEASE * 4 && longest <= LEASE * 5, "{longest:?}");
    }

    #[test]
    fn asking_in_vain_is_no_reason_to_wait_longer() {
        let mut candidacy = follower();
        for tries in 0..40_u64 {
            let now = at(2_000 + tries * 10_000);
            candidacy.stood(now, false, u64::MAX);
            let wait = stands(&candidacy, now, 2, false) - now;
            assert!(wait <= LEASE + STEP * 3, "try {tries}: {wait:?}");
        }
    }

    #[test]
    fn who_votes_alone_waits_for_nobody() {
        let mut candidacy = Candidacy::new(LEASE, STEP);
        let due = |candidacy: &Candidacy, now| candidacy.due(now, voter(1), &[voter(1)], false);
        assert_eq!(due(&candidacy, at(0)), Due::Stand);
        candidacy.stood(at(0), false, 7);
        assert_eq!(due(&candidacy, at(1)), Due::Wait(at(299)));
        assert_eq!(due(&candidacy, at(300)), Due::Stand);
    }
}
