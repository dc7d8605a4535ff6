//! Which nodes vote: the planner's promises, one by one and for whatever may be known.
//!
//! A node of these worlds is a number; its log has the same one unless it was made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use convoke_consensus::log::{LogId, VoterId};
use convoke_consensus::planner::acknowledged::Acknowledged;
use convoke_consensus::planner::explain::{Hold, Reason};
use convoke_consensus::planner::voters::{
    DWELL, Enrolled, Known, MEMBERS, Rules, STEADY, Step, is_to_leave, plan,
};
use convoke_types::{NodeId, Role};
use proptest::prelude::*;

const REPLACE_AFTER: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(3_600);

fn node(number: u8) -> NodeId {
    NodeId::from_public_key([number; 32])
}

fn voter(number: u8) -> VoterId {
    with_log(number, number)
}

fn with_log(number: u8, log: u8) -> VoterId {
    VoterId {
        node: node(number),
        log: LogId([log; 16]),
    }
}

fn set(numbers: &[u8]) -> BTreeSet<VoterId> {
    numbers.iter().map(|number| voter(*number)).collect()
}

const WELL: Acknowledged = Acknowledged {
    is_known: true,
    silent_for: Duration::ZERO,
    behind: 3,
    steady_for: LONG,
};

/// What a leader knows, put together piece by piece.
#[derive(Clone)]
struct World(Known);

/// As people are told, and no more: a failed property prints one.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Known { voters, leader, .. } = &self.0;
        write!(
            f,
            "{leader} leads {voters:?}\n{}",
            plan(&self.0).explanation
        )
    }
}

impl World {
    /// The first of these leads, and all of them vote. Nobody has enrolled.
    fn of(voters: &[u8]) -> Self {
        let known = Known {
            rules: Rules {
                most: 5,
                replace_after: REPLACE_AFTER,
                pause: PAUSE,
                leechers: false,
            },
            leader: voter(voters[0]),
            voters: vec![set(voters)],
            members: set(voters),
            enrolled: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            acknowledged: voters.iter().map(|number| (voter(*number), WELL)).collect(),
            leaving: BTreeMap::new(),
            unchanged_for: LONG,
            unreachable: BTreeSet::new(),
            refused: BTreeSet::new(),
        };
        Self(known)
    }

    /// All of these are workers of score 10.
    fn workers(mut self, numbers: &[u8]) -> Self {
        for number in numbers {
            self = self.enrolled(*number, Role::Worker, 10);
        }
        self
    }

    fn enrolled(mut self, number: u8, role: Role, score: u32) -> Self {
        let enrolled = Enrolled {
            log: Some(voter(number).log),
            role,
            drains: false,
            score,
        };
        self.0.enrolled.insert(node(number), enrolled);
        self
    }

    /// These get the log, have nearly all of it and are there.
    fn learners(mut self, numbers: &[u8]) -> Self {
        for number in numbers {
            self.0.members.insert(voter(*number));
            self = self.acknowledges(*number, WELL);
        }
        self
    }

    fn acknowledges(mut self, number: u8, acknowledged: Acknowledged) -> Self {
        self.0.acknowledged.insert(voter(number), acknowledged);
        self
    }

    fn silent(self, number: u8, silent_for: Duration) -> Self {
        let acknowledged = Acknowledged {
            silent_for,
            steady_for: Duration::ZERO,
            ..WELL
        };
        self.acknowledges(number, acknowledged)
    }

    fn steady(self, number: u8, steady_for: Duration) -> Self {
        let acknowledged = Acknowledged { steady_for, ..WELL };
        self.acknowledges(number, acknowledged)
    }

    fn behind(self, number: u8) -> Self {
        let acknowledged = Acknowledged {
            behind: 5_000,
            steady_for: Duration::ZERO,
            ..WELL
        };
        self.acknowledges(number, acknowledged)
    }

    fn drains(mut self, number: u8) -> Self {
        let record = self.0.enrolled.get_mut(&node(number));
        record.expect("it is enrolled").drains = true;
        let leaving = self.0.leaving.entry(voter(number));
        leaving.or_insert(Duration::from_millis(250));
        self
    }

    fn with<T>(mut self, change: impl FnOnce(&mut Known) -> T) -> Self {
        // What it says beside is of no interest.
        let _ = change(&mut self.0);
        self
    }

    fn step(&self) -> Option<Step> {
        plan(&self.0).step
    }

    fn hold(&self) -> Option<Hold> {
        plan(&self.0).explanation.hold
    }

    fn wanted(&self) -> BTreeSet<VoterId> {
        plan(&self.0).explanation.wanted
    }

    fn reason(&self, number: u8) -> Reason {
        let explanation = plan(&self.0).explanation;
        let node = explanation
            .nodes
            .iter()
            .find(|it| it.voter == voter(number));
        node.expect("it is explained").reason
    }

    #[track_caller]
    fn changes_to(&self, numbers: &[u8]) {
        assert_eq!(
            self.step(),
            Some(Step::Change(set(numbers))),
            "{:?}",
            self.hold()
        );
    }

    /// Nothing is to be done.
    #[track_caller]
    fn rests(&self) {
        assert_eq!((self.step(), self.hold()), (None, None));
    }
}

#[test]
fn without_any_record_nothing_is_done() {
    let world = World::of(&[1, 2, 3]).silent(3, LONG).learners(&[4]);
    assert_eq!((world.step(), world.hold()), (None, Some(Hold::NoRecords)));
}

#[test]
fn one_grows_to_three_and_five_and_never_to_two_or_four() {
    let all = [1, 2, 3, 4, 5, 6, 7];
    let world = |learners: &[u8]| {
        World::of(&[1])
            .workers(&all[..=learners.len()])
            .learners(learners)
    };
    world(&[2]).rests();
    assert_eq!(world(&[2]).reason(2), Reason::Even);
    world(&[2, 3]).changes_to(&[1, 2, 3]);
    world(&[2, 3, 4]).changes_to(&[1, 2, 3]);
    world(&[2, 3, 4, 5]).changes_to(&[1, 2, 3, 4, 5]);
    world(&[2, 3, 4, 5, 6, 7]).changes_to(&[1, 2, 3, 4, 5]);
}

#[test]
fn two_nodes_are_a_voter_and_a_learner_also_when_both_voted() {
    World::of(&[1, 2]).workers(&[1, 2]).changes_to(&[1]);
}

#[test]
fn masters_come_first_and_then_workers_by_their_score() {
    let world = World::of(&[1])
        .workers(&[1])
        .enrolled(2, Role::Worker, 5)
        .enrolled(3, Role::Worker, 50)
        .enrolled(4, Role::Master, 1)
        .enrolled(5, Role::Worker, 40)
        .enrolled(6, Role::Master, 2)
        .learners(&[2, 3, 4, 5, 6]);
    world.changes_to(&[1, 3, 4, 5, 6]);
    world.with(|it| it.rules.most = 3).changes_to(&[1, 4, 6]);
}

#[test]
fn who_may_not_vote_does_not() {
    let world = World::of(&[1])
        .workers(&[1, 2])
        .enrolled(3, Role::Gateway, 90)
        .enrolled(4, Role::Observer, 90)
        .enrolled(5, Role::Leecher, 90)
        .learners(&[2, 3, 4, 5]);
    world.rests();
    assert_eq!(world.reason(3), Reason::Role(Role::Gateway));
    let world = world.with(|it| it.rules.leechers = true);
    world.changes_to(&[1, 2, 5]);
}

#[test]
fn who_has_a_record_and_a_log_gets_the_log_the_best_first_and_gossip_only_orders() {
    let world = World::of(&[1])
        .workers(&[1, 2, 3])
        .enrolled(4, Role::Gateway, 90);
    assert_eq!(world.step(), Some(Step::Learn(voter(2))));
    let world = world.with(|it| it.unreachable = [node(2)].into());
    assert_eq!(world.step(), Some(Step::Learn(voter(3))));
    let world = world.with(|it| it.members.insert(voter(3)));
    assert_eq!(world.step(), Some(Step::Learn(voter(2))));
    let world = world.with(|it| it.members.insert(voter(2)));
    assert_eq!(world.step(), Some(Step::Learn(voter(4))));
}

#[test]
fn so_many_get_the_log_and_a_better_role_makes_room() {
    let learners: Vec<u8> = (2..=u8::try_from(MEMBERS).expect("few")).collect();
    let mut world = World::of(&[1]).workers(&[1]).learners(&learners);
    for number in &learners {
        world = world.enrolled(*number, Role::Gateway, u32::from(*number));
    }
    let world = world.enrolled(100, Role::Observer, 9);
    world.rests();
    assert_eq!(world.reason(100), Reason::Role(Role::Observer));
    let world = world.enrolled(101, Role::Worker, 0);
    assert_eq!(
        world.step(),
        Some(Step::Remove(voter(2))),
        "the least of them"
    );
}

#[test]
fn a_better_score_exchanges_nobody_and_a_better_role_does_when_it_stays() {
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3])
        .enrolled(4, Role::Worker, 99)
        .learners(&[4]);
    world.rests();
    let world = world.enrolled(4, Role::Master, 0).steady(4, DWELL / 2);
    world.rests();
    world.steady(4, DWELL).changes_to(&[1, 2, 4]);
}

#[test]
fn a_leader_is_not_exchanged_for_a_better_rank() {
    let world = World::of(&[1, 2, 3])
        .enrolled(1, Role::Worker, 0)
        .enrolled(2, Role::Master, 10)
        .enrolled(3, Role::Master, 10)
        .enrolled(4, Role::Master, 99)
        .learners(&[4]);
    world.rests();
    assert_eq!(world.reason(1), Reason::Leads);
    let alone = World::of(&[1]).workers(&[1]).enrolled(2, Role::Master, 9);
    alone.learners(&[2]).rests();
}

#[test]
fn a_silent_voter_is_replaced_when_somebody_can_and_stays_when_nobody_can() {
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3, 4])
        .silent(3, REPLACE_AFTER);
    let alone = World::of(&[1, 2, 3]).workers(&[1, 2, 3]).silent(3, LONG);
    alone.rests();
    assert_eq!(alone.reason(3), Reason::NoReplacement);
    assert_eq!(world.step(), Some(Step::Learn(voter(4))));
    let world = world.learners(&[4]);
    world.changes_to(&[1, 2, 4]);
    assert_eq!(world.reason(3), Reason::Replaced);
    world
        .silent(3, REPLACE_AFTER - Duration::from_millis(1))
        .rests();
}

#[test]
fn who_has_not_caught_up_or_came_a_moment_ago_replaces_nobody() {
    let world = || {
        World::of(&[1, 2, 3])
            .workers(&[1, 2, 3, 4])
            .silent(3, LONG)
            .learners(&[4])
    };
    world().behind(4).rests();
    assert_eq!(world().behind(4).reason(4), Reason::Behind(5_000));
    world().steady(4, STEADY / 2).rests();
    world().silent(4, Duration::from_secs(5)).rests();
    world().changes_to(&[1, 2, 4]);
}

#[test]
fn gossip_condemns_nobody() {
    let world = World::of(&[1, 2, 3]).workers(&[1, 2, 3, 4]).learners(&[4]);
    world
        .with(|it| it.unreachable = [node(2), node(3)].into())
        .rests();
}

#[test]
fn who_drains_leaves_at_once_and_the_one_that_takes_its_place_is_there_first() {
    let world = World::of(&[1, 2, 3]).workers(&[1, 2, 3, 4]).drains(3);
    let world = world.with(|it| it.unchanged_for = Duration::ZERO);
    assert_eq!(world.step(), Some(Step::Learn(voter(4))));
    assert!(matches!(world.hold(), Some(Hold::Replacement { by, .. }) if by == voter(4)));
    let world = world.learners(&[4]).behind(4);
    assert_eq!(world.step(), None);
    assert!(matches!(world.hold(), Some(Hold::Replacement { by, .. }) if by == voter(4)));
    world.acknowledges(4, WELL).changes_to(&[1, 2, 4]);
}

#[test]
fn who_drains_is_not_kept_for_a_replacement_that_does_not_come() {
    let world = || World::of(&[1, 2, 3]).workers(&[1, 2, 3]).drains(3);
    world().changes_to(&[1]);
    let waits = world().workers(&[4]).drains(3).learners(&[4]).behind(4);
    assert!(waits.hold().is_some());
    waits
        .with(|it| it.leaving = [(voter(3), REPLACE_AFTER)].into())
        .changes_to(&[1]);
    world()
        .workers(&[4])
        .drains(3)
        .learners(&[4])
        .silent(4, LONG)
        .changes_to(&[1]);
}

#[test]
fn when_everybody_is_to_leave_those_who_vote_go_on() {
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3])
        .drains(1)
        .drains(2)
        .drains(3);
    assert_eq!(world.step(), None);
    assert_eq!(world.reason(2), Reason::NobodyElse);
}

#[test]
fn a_leader_that_is_to_leave_hands_over_first_to_the_best() {
    let world = World::of(&[1, 2, 3, 4, 5])
        .workers(&[1, 2, 3])
        .enrolled(4, Role::Master, 1)
        .enrolled(5, Role::Master, 2)
        .drains(1);
    assert_eq!(world.step(), Some(Step::HandOver(voter(5))));
    let world = world.behind(5);
    assert_eq!(world.step(), Some(Step::HandOver(voter(4))));
    let world = world
        .acknowledges(5, WELL)
        .with(|it| it.refused = [voter(5)].into());
    assert_eq!(
        world.step(),
        Some(Step::HandOver(voter(4))),
        "not the one that would not"
    );
    let world = world.with(|it| it.leader = voter(4));
    world.changes_to(&[2, 4, 5]);
}

#[test]
fn who_did_not_take_leadership_is_not_asked_again_at_once() {
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3])
        .drains(1)
        .drains(3);
    assert_eq!(world.step(), Some(Step::HandOver(voter(2))));
    let world = world.with(|it| it.refused = [voter(2)].into());
    assert_eq!((world.step(), world.hold()), (None, Some(Hold::Refused)));
}

#[test]
fn a_single_voter_that_is_to_leave_takes_others_in_first() {
    let world = World::of(&[1])
        .workers(&[1, 2, 3])
        .drains(1)
        .learners(&[2, 3]);
    world.changes_to(&[1, 2, 3]);
    let world = World::of(&[1]).workers(&[1, 2]).drains(1).learners(&[2]);
    world.changes_to(&[1, 2]);
    let world = world.with(|it| it.voters = vec![set(&[1, 2])]);
    assert_eq!(world.step(), Some(Step::HandOver(voter(2))));
    world.with(|it| it.leader = voter(2)).changes_to(&[2]);
}

#[test]
fn a_leader_whose_own_disk_hangs_hands_over() {
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3])
        .silent(1, REPLACE_AFTER);
    assert_eq!(world.step(), Some(Step::HandOver(voter(2))));
    // Where it does not lead, it stays, as long as there is nobody else.
    world.with(|it| it.leader = voter(2)).rests();
}

#[test]
fn a_node_whose_log_was_made_anew_votes_with_the_new_one_and_the_old_one_goes() {
    let new = with_log(3, 33);
    let world = World::of(&[1, 2, 3]).workers(&[1, 2, 3]).silent(3, LONG);
    let world = world.with(|it| {
        let record = it.enrolled.get_mut(&node(3));
        record.expect("it is enrolled").log = Some(new.log);
    });
    assert_eq!(world.step(), Some(Step::Learn(new)));
    let world = world.with(|it| {
        it.members.insert(new);
        it.acknowledged.insert(new, WELL);
    });
    let expected = BTreeSet::from([voter(1), voter(2), new]);
    assert_eq!(world.step(), Some(Step::Change(expected.clone())));
    let world = world.with(|it| it.voters = vec![expected]);
    assert_eq!(world.step(), Some(Step::Remove(voter(3))));
    assert_eq!(world.reason(3), Reason::OtherLog);
}

#[test]
fn who_was_forgotten_leaves_and_who_never_enrolled_stays() {
    let world = World::of(&[1, 2, 3]).workers(&[1, 2]).learners(&[4]);
    world.rests();
    assert_eq!(
        (world.reason(3), world.reason(4)),
        (Reason::Best, Reason::NoRecord)
    );
    let world = world
        .workers(&[4])
        .with(|it| it.forgotten = [node(3)].into());
    world.changes_to(&[1, 2, 4]);
    let world = world.with(|it| it.voters = vec![set(&[1, 2, 4])]);
    assert_eq!(world.step(), Some(Step::Remove(voter(3))));
}

#[test]
fn there_is_a_pause_between_two_changes() {
    let world = World::of(&[1]).workers(&[1, 2, 3]).learners(&[2, 3]);
    let world = world.with(|it| it.unchanged_for = PAUSE / 4);
    assert_eq!(
        (world.step(), world.hold()),
        (None, Some(Hold::Pause(PAUSE * 3 / 4)))
    );
    world
        .with(|it| it.unchanged_for = PAUSE)
        .changes_to(&[1, 2, 3]);
}

#[test]
fn while_a_change_is_under_way_there_is_no_other() {
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3, 4, 5])
        .learners(&[4])
        .drains(3);
    let world = world.with(|it| it.voters.insert(0, set(&[1, 2])));
    assert_eq!((world.step(), world.hold()), (None, Some(Hold::UnderWay)));
}

#[test]
fn without_a_majority_that_is_there_nothing_changes() {
    let moment = Duration::from_secs(5);
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3, 4, 5])
        .learners(&[4, 5]);
    let world = world.silent(2, moment).silent(3, moment);
    assert_eq!((world.step(), world.hold()), (None, Some(Hold::NoMajority)));
    // One that is there of three would be left.
    let world = World::of(&[1, 2, 3, 4, 5]).workers(&[1, 2, 3, 4, 5]);
    let world = world
        .silent(2, moment)
        .silent(3, moment)
        .with(|it| it.rules.most = 3);
    assert_eq!(
        (world.step(), world.hold()),
        (None, Some(Hold::NoMajorityThen))
    );
}

#[test]
fn what_is_said_to_people_names_every_node_and_what_is_done() {
    let world = World::of(&[1, 2, 3])
        .workers(&[1, 2, 3])
        .enrolled(4, Role::Master, 7)
        .drains(3)
        .learners(&[4])
        .behind(4);
    let text = plan(&world.0).explanation.to_string();
    for words in [
        "leads, should vote: leads, and a healthy leader is not exchanged",
        "votes, should not: drains, for 0.2 s",
        "learns, should not: 5000 entries behind (master, score 7)",
        "nothing is changed now: ",
        "could take the place of who leaves",
    ] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    assert_eq!(text.lines().count(), 6, "{text}");
}

/// A world drawn by chance: nine nodes, of which some vote.
fn worlds() -> impl Strategy<Value = World> {
    let nodes = prop::collection::vec((0_u8..8, 0_u32..4, 0_u8..8, 0_u8..8, any::<bool>()), 9);
    let rest = (
        1_usize..512,
        prop::sample::select(vec![1_usize, 3, 5]),
        any::<bool>(),
        any::<u16>(),
    );
    (nodes, rest).prop_map(|(nodes, (voting, most, leechers, seen))| {
        let voting: Vec<u8> = (1..=9)
            .filter(|number| voting >> (number - 1) & 1 == 1)
            .collect();
        let leader = voting[usize::from(seen) % voting.len()];
        let mut world = World::of(&voting).with(|it| {
            it.leader = voter(leader);
            (it.rules.most, it.rules.leechers) = (most, leechers);
            if seen % 7 == 0 {
                it.unchanged_for = Duration::ZERO;
            }
        });
        for (number, (role, score, pulse, log, is_unreachable)) in (1..).zip(nodes) {
            let role = match role {
                0..=1 => Some(Role::Master),
                2..=4 => Some(Role::Worker),
                5 => Some(Role::Leecher),
                6 => Some(Role::Gateway),
                _ => None,
            };
            if let Some(role) = role {
                world = world.enrolled(number, role, score);
            }
            if role.is_some() && log == 0 {
                world = world.drains(number);
            }
            if pulse < 6 || voting.contains(&number) {
                world = world.learners(&[number]);
            }
            world = match pulse {
                0..=3 => world,
                4 => world.silent(number, Duration::from_secs(5)),
                5 => world.silent(number, LONG),
                _ if voting.contains(&number) => world,
                _ => world.acknowledges(number, Acknowledged::default()),
            };
            world = world.with(|it| {
                if log == 1 && role.is_some() {
                    let record = it.enrolled.get_mut(&node(number));
                    record.expect("it is enrolled").log = Some(LogId([99; 16]));
                }
                if log == 2 && role.is_none() {
                    it.forgotten.insert(node(number));
                }
                if is_unreachable {
                    it.unreachable.insert(node(number));
                }
            });
        }
        world
    })
}

fn is_there(known: &Known, voter: VoterId) -> bool {
    let acknowledged = known.acknowledged.get(&voter);
    acknowledged.is_some_and(|it| it.is_there(REPLACE_AFTER))
}

/// Looks at a change as somebody who does not know how it was found.
fn judge(known: &Known, to: &BTreeSet<VoterId>) -> Result<(), TestCaseError> {
    let before = known.voters.last().expect("somebody votes");
    let hands_over = is_to_leave(known, known.leader) || !is_there(known, known.leader);
    let is_odd = to.len() % 2 == 1 || (to.len() == 2 && hands_over && before.len() == 1);
    prop_assert!(is_odd, "{} vote", to.len());
    let most = if hands_over { before.len().max(3) } else { 1 };
    prop_assert!(to.len() <= known.rules.most.max(most));
    prop_assert!(to.contains(&known.leader), "the leader leaves itself out");
    let there = to.iter().filter(|voter| is_there(known, **voter)).count();
    prop_assert!(there * 2 > to.len(), "no majority of the new ones is there");
    for new in to.difference(before) {
        let known_of = known.acknowledged[new];
        prop_assert!(known_of.is_caught_up() && is_there(known, *new));
        prop_assert!(!is_to_leave(known, *new) && known.enrolled.contains_key(&new.node));
    }
    // Who is well and may vote goes only for a better role, or because there are too many.
    for left in before.difference(to) {
        let is_well = is_there(known, *left) && !is_to_leave(known, *left);
        let record = known.enrolled.get(&left.node);
        if is_well && to.len() >= before.len() && record.is_some_and(|it| it.role == Role::Master) {
            let news = to.difference(before).count();
            prop_assert!(news == 0, "a healthy master is exchanged");
        }
    }
    Ok(())
}

impl World {
    /// Carries a step out, as a cluster does in which all goes well.
    fn carry_out(&mut self, step: Step) {
        let known = &mut self.0;
        match step {
            Step::Learn(voter) => {
                known.members.insert(voter);
                known.acknowledged.insert(voter, WELL);
            }
            Step::Change(voters) => {
                known.voters = vec![voters];
                known.unchanged_for = Duration::ZERO;
            }
            Step::HandOver(voter) => known.leader = voter,
            Step::Remove(voter) => {
                known.members.remove(&voter);
                known.acknowledged.remove(&voter);
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_known_a_step_is_safe_and_the_same_twice(world in worlds()) {
        let known = &world.0;
        let planned = plan(known);
        prop_assert_eq!(&planned, &plan(known));
        match &planned.step {
            Some(Step::Change(to)) => judge(known, to)?,
            Some(Step::HandOver(to)) => {
                prop_assert!(known.voters[0].contains(to) && *to != known.leader);
                prop_assert!(is_there(known, *to) && !is_to_leave(known, *to));
                let is_well = is_there(known, known.leader) && !is_to_leave(known, known.leader);
                prop_assert!(!is_well, "a healthy leader is deposed");
            }
            Some(Step::Remove(voter)) => prop_assert!(!known.voters[0].contains(voter)),
            Some(Step::Learn(voter)) => prop_assert!(!known.members.contains(voter)),
            None => {}
        }
    }

    #[test]
    fn while_a_change_is_under_way_there_is_never_a_step(world in worlds()) {
        let before = world.0.voters[0].clone();
        let joint = world.with(|it| it.voters.insert(0, before));
        prop_assert_eq!(joint.step(), None);
    }

    #[test]
    fn when_all_are_well_every_world_comes_to_rest_as_it_should_be(world in worlds()) {
        let mut world = world;
        for acknowledged in world.0.acknowledged.values_mut() {
            *acknowledged = WELL;
        }
        for _ in 0..60 {
            world.0.leaving = world.0.leaving.keys().map(|voter| (*voter, LONG)).collect();
            let Some(step) = world.step() else {
                if matches!(world.hold(), Some(Hold::Pause(_))) {
                    world.0.unchanged_for = PAUSE;
                    continue;
                }
                break;
            };
            if let Step::Change(to) = &step {
                judge(&world.0, to)?;
            }
            world.carry_out(step);
        }
        prop_assert_eq!(world.step(), None);
        let known = &world.0;
        let voters = &known.voters[0];
        prop_assert_eq!(voters, &world.wanted());
        if known.enrolled.is_empty() {
            return Ok(());
        }
        let members = known.members.iter();
        let may = members.filter(|it| {
            let may_come = known.enrolled.contains_key(&it.node) || voters.contains(it);
            may_come && !is_to_leave(known, **it)
        });
        let number = known.rules.most.min(may.count());
        if number > 0 {
            prop_assert_eq!(voters.len(), number - (1 - number % 2));
            prop_assert!(voters.iter().all(|voter| !is_to_leave(known, *voter)));
        }
    }

    #[test]
    fn more_score_makes_nobody_less_wanted(world in worlds(), number in 1_u8..=9, more in 1_u32..100) {
        let is_wanted = world.wanted().contains(&voter(number));
        let better = world.with(|it| {
            if let Some(record) = it.enrolled.get_mut(&node(number)) {
                record.score += more;
            }
        });
        prop_assert!(!is_wanted || better.wanted().contains(&voter(number)));
    }
}
