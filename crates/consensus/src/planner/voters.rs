//! Which nodes vote, and the next step on the way there.
//!
//! From what is decided about nodes and what a leader saw of their disks follows the set of voters that is wanted: 1, 3 or 5 of those who may
//! vote, masters before workers, then the higher score. [`plan`] says which one step is due towards it, if any, and why not otherwise.
//!
//! **Who may vote** has a log, is a master or a worker (a leecher if the setting says so), and does not drain. A voter without a record counts
//! as a worker of score 0: whoever founded a log by hand has none until it enrols. When it is decided
//! that it is out, or this node saw its record before, it was forgotten. A record names the log of its node: the same node with another log is
//! another voter, and the old one leaves.
//!
//! **Who is wanted**, in this order:
//!
//! 1. Whoever leads stays as long as it may vote and its disk is well. A leader is not exchanged for a better rank.
//! 2. Masters before workers, and among the same those who vote already: a better score alone exchanges nobody. A node that is not a voter
//!    counts as better than one of a lower role only after it has been there for [`DWELL`], so that one that comes and goes changes
//!    nothing.
//! 3. A voter that acknowledged nothing for `voters.replace-after-ms` comes behind all others. It is replaced if there is somebody; if not,
//!    it stays: a smaller set would not bear more.
//!
//! Of those who do not vote yet only who has nearly all of the log and has been there for [`STEADY`] is wanted, so a replacement has the log
//! before anybody leaves. What gossip says orders those who are otherwise the same. It condemns nobody.
//!
//! **What never happens**: an even number of voters (but for a moment when a single voter hands over to a single other one, since a leader
//! does not leave itself out), a change while another is under way, a change whose new set has no majority that was there lately, and a
//! leader that leaves without having handed over.
//!
//! Deliberately not here: looking (`acknowledged`), acting (`engine::reconciler`), words for people (`explain`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_decided::Decided;
use convoke_types::wire::store::schema::{
    VOTERS_LEECHERS, VOTERS_MOST, VOTERS_PAUSE, VOTERS_REPLACE_AFTER,
};
use convoke_types::wire::store::{Record, Value};
use convoke_types::{NodeId, Role};

use super::acknowledged::Acknowledged;
use super::explain::{Explanation, Hold, Node, Reason};
use crate::log::{LogId, VoterId};

/// Who does not vote yet has to be there for so long before it may.
pub const STEADY: Duration = Duration::from_secs(1);
/// … and for so long before a healthy voter of a lower role goes for it.
pub const DWELL: Duration = Duration::from_secs(10);
/// Nodes that get the log from the leader, voters among them. More would make a leader of a large cluster busy with nothing else.
pub const MEMBERS: usize = 32;
/// Nodes that are no members and are looked at: the best of them.
pub const CANDIDATES: usize = 64;
/// Who did not take leadership is not asked again for so long: each try in vain stops writes for a second or two.
pub const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What is decided about voters in general.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many vote at most: 1, 3 or 5.
    pub most: usize,
    /// A voter whose disk acknowledged nothing for so long is replaced.
    pub replace_after: Duration,
    /// Between two changes.
    pub pause: Duration,
    /// Whether leechers may vote.
    pub leechers: bool,
}

impl Rules {
    /// As they are decided.
    #[must_use]
    pub fn of(decided: &Decided) -> Self {
        let number = |key, otherwise: u64| match decided.setting(key) {
            Some(Value::Number(number)) => u64::try_from(number).unwrap_or(otherwise),
            Some(Value::Flag(_) | Value::Text(_)) | None => otherwise,
        };
        Self {
            most: usize::try_from(number(VOTERS_MOST, 5)).unwrap_or(5),
            replace_after: Duration::from_millis(number(VOTERS_REPLACE_AFTER, 60_000)),
            pause: Duration::from_millis(number(VOTERS_PAUSE, 2_000)),
            leechers: decided.setting(VOTERS_LEECHERS) == Some(Value::Flag(true)),
        }
    }
}

/// What a record says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Its log, if it keeps one.
    pub log: Option<LogId>,
    /// Its role.
    pub role: Role,
    /// It is to have nothing to do soon.
    pub drains: bool,
    /// More is better.
    pub score: u32,
}

impl From<&Record> for Enrolled {
    fn from(record: &Record) -> Self {
        Self {
            log: record.log.map(|log| LogId(log.0)),
            role: record.role,
            drains: record.drains,
            score: record.score,
        }
    }
}

impl Enrolled {
    /// The records that matter: those of members, and of the other nodes with a log the best [`CANDIDATES`].
    #[must_use]
    pub fn of_interest(decided: &Decided, members: &BTreeSet<VoterId>) -> BTreeMap<NodeId, Self> {
        let is_member = |node: &NodeId| members.iter().any(|voter| voter.node == *node);
        let (inside, outside): (Vec<&Record>, Vec<&Record>) =
            decided.nodes().partition(|record| is_member(&record.node));
        let outside = outside.into_iter().filter(|record| record.log.is_some());
        let mut outside: Vec<&Record> = outside.collect();
        if outside.len() > CANDIDATES {
            outside.select_nth_unstable_by_key(CANDIDATES, |record| record.rank());
            outside.truncate(CANDIDATES);
        }
        let of_interest = inside.into_iter().chain(outside);
        of_interest
            .map(|record| (record.node, Self::from(record)))
            .collect()
    }
}

/// All that a leader knows.
#[derive(Clone, Debug)]
pub struct Known {
    /// What is decided in general.
    pub rules: Rules,
    /// Who leads and asks.
    pub leader: VoterId,
    /// Who votes: one set, or two while they change.
    pub voters: Vec<BTreeSet<VoterId>>,
    /// Everybody who gets the log, voters among them.
    pub members: BTreeSet<VoterId>,
    /// Nodes with a record.
    pub enrolled: BTreeMap<NodeId, Enrolled>,
    /// Members whose record is gone.
    pub forgotten: BTreeSet<NodeId>,
    /// What members' disks acknowledged.
    pub acknowledged: BTreeMap<VoterId, Acknowledged>,
    /// For how long voters have been such that they are to leave.
    pub leaving: BTreeMap<VoterId, Duration>,
    /// For how long the same ones have voted.
    pub unchanged_for: Duration,
    /// Nodes that gossip does not reach.
    pub unreachable: BTreeSet<NodeId>,
    /// Who was to lead lately and did not.
    pub refused: BTreeSet<VoterId>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This node gets the log from now on, without a vote.
    Learn(VoterId),
    /// These vote from now on.
    Change(BTreeSet<VoterId>),
    /// This one leads from now on.
    HandOver(VoterId),
    /// This one gets the log no more.
    Remove(VoterId),
}

/// A step, or none, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is to be done now.
    pub step: Option<Step>,
    /// Why that, and why not more.
    pub explanation: Explanation,
}

/// Whether a node may vote, as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// It may; less is better.
    Fit(u8),
    /// It may not.
    Unfit(Reason),
}

/// A voter's record makes it unfit, whatever its disk says.
#[must_use]
pub fn is_to_leave(known: &Known, voter: VoterId) -> bool {
    matches!(fitness(known, voter), Fitness::Unfit(_))
}

pub(super) fn fitness(known: &Known, voter: VoterId) -> Fitness {
    let Some(record) = known.enrolled.get(&voter.node) else {
        return if known.forgotten.contains(&voter.node) {
            Fitness::Unfit(Reason::Forgotten)
        } else {
            Fitness::Fit(1)
        };
    };
    if record.log != Some(voter.log) {
        return Fitness::Unfit(Reason::OtherLog);
    }
    if record.drains {
        return Fitness::Unfit(Reason::Drains);
    }
    match record.role {
        Role::Master => Fitness::Fit(0),
        Role::Worker => Fitness::Fit(1),
        Role::Leecher if known.rules.leechers => Fitness::Fit(2),
        role @ (Role::Leecher | Role::Gateway | Role::Observer) => {
            Fitness::Unfit(Reason::Role(role))
        }
    }
}

/// The next step, and why.
#[must_use]
pub fn plan(known: &Known) -> Plan {
    let view = View::of(known);
    let (step, hold) = view.step();
    let explanation = view.explain(step.clone(), hold);
    Plan { step, explanation }
}

/// A node that may vote.
#[derive(Clone, Copy, Debug)]
struct Usable {
    voter: VoterId,
    class: u8,
    votes: bool,
}

/// Everything that follows from what is known, once.
struct View<'a> {
    known: &'a Known,
    present: BTreeSet<VoterId>,
    /// Who may vote now, the best first.
    usable: Vec<Usable>,
    /// Who may vote when it has the log; the best first.
    coming: Vec<VoterId>,
    wanted: BTreeSet<VoterId>,
}

/// The largest number of voters that is odd.
fn odd(number: usize) -> usize {
    if number.is_multiple_of(2) {
        number.saturating_sub(1)
    } else {
        number
    }
}

impl<'a> View<'a> {
    fn of(known: &'a Known) -> Self {
        let present = known.voters.last().cloned().unwrap_or_default();
        let mut view = Self {
            known,
            present,
            usable: Vec::new(),
            coming: Vec::new(),
            wanted: BTreeSet::new(),
        };
        view.sort_out();
        view.wanted = view.want();
        view
    }

    fn acknowledged(&self, voter: VoterId) -> Acknowledged {
        let acknowledged = self.known.acknowledged.get(&voter);
        acknowledged.copied().unwrap_or_default()
    }

    fn is_there(&self, voter: VoterId) -> bool {
        self.acknowledged(voter)
            .is_there(self.known.rules.replace_after)
    }

    /// Has nearly all of the log and is there.
    fn is_ready(&self, voter: VoterId) -> bool {
        self.is_there(voter) && self.acknowledged(voter).is_caught_up()
    }

    fn is_gone(&self, voter: VoterId) -> bool {
        self.acknowledged(voter).silent_for >= self.known.rules.replace_after
    }

    fn score(&self, node: NodeId) -> u32 {
        self.known.enrolled.get(&node).map_or(0, |it| it.score)
    }

    /// All voters and members there are or could be.
    fn candidates(&self) -> BTreeSet<VoterId> {
        let records = self.known.enrolled.iter();
        let with_logs = records.filter_map(|(node, it)| {
            Some(VoterId {
                node: *node,
                log: it.log?,
            })
        });
        let members = self.known.members.union(&self.present).copied();
        members.chain(with_logs).collect()
    }

    fn sort_out(&mut self) {
        for voter in self.candidates() {
            let Fitness::Fit(class) = fitness(self.known, voter) else {
                continue;
            };
            let votes = self.present.contains(&voter);
            let is_enrolled = self.known.enrolled.contains_key(&voter.node);
            if votes
                || (self.is_ready(voter)
                    && self.acknowledged(voter).steady_for >= STEADY
                    && is_enrolled)
            {
                self.usable.push(Usable {
                    voter,
                    class,
                    votes,
                });
            } else if is_enrolled && !self.is_gone(voter) {
                self.coming.push(voter);
            }
        }
        let mut usable = std::mem::take(&mut self.usable);
        usable.sort_by_cached_key(|it| self.place(it));
        self.usable = usable;
        let mut coming = std::mem::take(&mut self.coming);
        coming.sort_by_cached_key(|voter| self.newcomer(*voter));
        self.coming = coming;
    }

    /// The order of those who may vote now; see the header.
    fn place(&self, it: &Usable) -> (bool, bool, u8, bool, u8, bool, Reverse<u32>, VoterId) {
        let Usable {
            voter,
            class,
            votes,
        } = *it;
        let is_gone = self.is_gone(voter);
        let leads = voter == self.known.leader;
        // Behind all healthy voters until it has been there for long enough.
        let counts_as = if votes || self.acknowledged(voter).steady_for >= DWELL {
            class
        } else {
            u8::MAX
        };
        let node = voter.node;
        let is_unreachable = self.known.unreachable.contains(&node);
        (
            is_gone,
            !leads,
            counts_as,
            !votes,
            class,
            is_unreachable,
            Reverse(self.score(node)),
            voter,
        )
    }

    /// The order of those who get the log next.
    fn newcomer(&self, voter: VoterId) -> (u8, bool, Reverse<u32>, VoterId) {
        let class = match fitness(self.known, voter) {
            Fitness::Fit(class) => class,
            Fitness::Unfit(_) => u8::MAX,
        };
        let node = voter.node;
        let is_unreachable = self.known.unreachable.contains(&node);
        (class, is_unreachable, Reverse(self.score(node)), voter)
    }

    fn want(&self) -> BTreeSet<VoterId> {
        let number = odd(self.known.rules.most.min(self.usable.len()));
        if number == 0 {
            // Nobody may vote: those who do go on, rather than nobody.
            return self.present.clone();
        }
        self.usable.iter().take(number).map(|it| it.voter).collect()
    }

    fn step(&self) -> (Option<Step>, Option<Hold>) {
        if self.known.enrolled.is_empty() {
            return (None, Some(Hold::NoRecords));
        }
        if self.known.voters.len() != 1 {
            return (None, Some(Hold::UnderWay));
        }
        let (step, hold) = match self.next() {
            Ok(step) => (step, None),
            Err(hold) => (None, Some(hold)),
        };
        let step = step.or_else(|| self.learn()).or_else(|| self.remove());
        (step, hold)
    }

    /// The next change of who votes or leads; nothing if all is as it is wanted.
    fn next(&self) -> Result<Option<Step>, Hold> {
        let leader = self.known.leader;
        let is_wanted = self.wanted.contains(&leader);
        if is_wanted && !(self.is_gone(leader) && self.present.len() > 1) {
            return self.change(&self.wanted);
        }
        match self.successor() {
            Some(to) => Ok(Some(Step::HandOver(to))),
            None if is_wanted => self.change(&self.wanted),
            None => self.change(&self.bridge()),
        }
    }

    /// The best of the voters that could lead now and may stay.
    fn successor(&self) -> Option<VoterId> {
        let others = self
            .usable
            .iter()
            .filter(|it| it.votes && it.voter != self.known.leader);
        let ready = others.filter(|it| self.is_ready(it.voter));
        let willing = ready.filter(|it| !self.known.refused.contains(&it.voter));
        let best = willing.min_by_key(|it| (!self.wanted.contains(&it.voter), self.place(it)));
        best.map(|it| it.voter)
    }

    /// The leader is to leave and nobody among the voters could lead: the leader and those who can. Were that two, another voter stays
    /// with them, if there is one.
    fn bridge(&self) -> BTreeSet<VoterId> {
        let leader = self.known.leader;
        let others = self.usable.iter().map(|it| it.voter);
        let others: Vec<VoterId> = others.filter(|voter| *voter != leader).collect();
        let number = odd(self.known.rules.most.min(others.len() + 1)).max(2);
        let others = others.into_iter().take(number - 1);
        let mut bridge: BTreeSet<VoterId> = others.chain([leader]).collect();
        if bridge.len() == 2 {
            let rest = self.present.difference(&bridge);
            let stays = rest.min_by_key(|voter| (!self.is_there(**voter), **voter));
            bridge.extend(stays.copied());
        }
        bridge
    }

    fn change(&self, to: &BTreeSet<VoterId>) -> Result<Option<Step>, Hold> {
        if *to == self.present {
            let is_done = to.contains(&self.known.leader) && *to == self.wanted;
            return match (is_done, self.known.refused.is_empty()) {
                (true, _) => Ok(None),
                (false, true) => Err(Hold::NoSuccessor),
                (false, false) => Err(Hold::Refused),
            };
        }
        let has_majority = |set: &BTreeSet<VoterId>| {
            set.iter().filter(|voter| self.is_there(**voter)).count() * 2 > set.len()
        };
        if !has_majority(&self.present) {
            return Err(Hold::NoMajority);
        }
        if !has_majority(to) {
            return Err(Hold::NoMajorityThen);
        }
        let leave: Vec<VoterId> = self.present.difference(to).copied().collect();
        let must_leave: Vec<VoterId> = leave
            .into_iter()
            .filter(|voter| is_to_leave(self.known, *voter))
            .collect();
        if to.len() < self.present.len() {
            self.waits_for_replacement(to.len(), &must_leave)?;
        }
        let rest = self
            .known
            .rules
            .pause
            .saturating_sub(self.known.unchanged_for);
        if must_leave.is_empty() && !rest.is_zero() {
            return Err(Hold::Pause(rest));
        }
        Ok(Some(Step::Change(to.clone())))
    }

    /// Fewer are to vote because some have to leave: whoever could take their place gets the time to fetch the log.
    fn waits_for_replacement(&self, number: usize, must_leave: &[VoterId]) -> Result<(), Hold> {
        let coming = self.coming.iter();
        let coming: Vec<VoterId> = coming
            .filter(|voter| !self.known.unreachable.contains(&voter.node))
            .copied()
            .collect();
        let could_be = odd(self.known.rules.most.min(self.usable.len() + coming.len()));
        let waited = must_leave
            .iter()
            .filter_map(|voter| self.known.leaving.get(voter));
        let waited = waited.max().copied().unwrap_or_default();
        let rest = self.known.rules.replace_after.saturating_sub(waited);
        if must_leave.is_empty() || could_be <= number || rest.is_zero() {
            return Ok(());
        }
        Err(Hold::Replacement {
            by: coming[0],
            rest,
        })
    }

    /// Who gets the log next.
    fn learn(&self) -> Option<Step> {
        let news = self.known.enrolled.iter().filter_map(|(node, it)| {
            let voter = VoterId {
                node: *node,
                log: it.log?,
            };
            let may = !it.drains && (it.role != Role::Leecher || self.known.rules.leechers);
            (may && !self.known.members.contains(&voter)).then_some(voter)
        });
        let next = news.min_by_key(|voter| self.newcomer(*voter))?;
        if self.known.members.len() < MEMBERS {
            return Some(Step::Learn(next));
        }
        // A learner that is of less use, or gone, makes room.
        let learners = self.known.members.difference(&self.present);
        let worst = learners.max_by_key(|voter| (self.is_gone(**voter), self.newcomer(**voter)))?;
        let is_better = self.newcomer(next).0 < self.newcomer(*worst).0;
        (is_better || self.is_gone(*worst)).then_some(Step::Remove(*worst))
    }

    /// Who gets the log no more.
    fn remove(&self) -> Option<Step> {
        let mut learners = self.known.members.difference(&self.present);
        let old = learners.find(|voter| {
            let fitness = fitness(self.known, **voter);
            matches!(
                fitness,
                Fitness::Unfit(Reason::Forgotten | Reason::OtherLog)
            )
        });
        old.map(|voter| Step::Remove(*voter))
    }

    fn explain(&self, step: Option<Step>, hold: Option<Hold>) -> Explanation {
        let mut nodes: Vec<Node> = self
            .candidates()
            .into_iter()
            .map(|voter| self.explain_one(voter))
            .collect();
        nodes.sort_by_key(|node| (!node.votes, !node.is_wanted, self.newcomer(node.voter)));
        Explanation {
            rules: self.known.rules,
            leader: self.known.leader,
            present: self.known.voters.clone(),
            wanted: self.wanted.clone(),
            nodes,
            step,
            hold,
        }
    }

    fn explain_one(&self, voter: VoterId) -> Node {
        let record = self.known.enrolled.get(&voter.node);
        let acknowledged = self.acknowledged(voter);
        let is_member = self.known.members.contains(&voter);
        let is_wanted = self.wanted.contains(&voter);
        let (reason, since) = self.reason(voter, is_wanted, is_member);
        Node {
            voter,
            role: record.map(|it| it.role),
            score: record.map(|it| it.score),
            votes: self.present.contains(&voter),
            is_member,
            is_wanted,
            leads: voter == self.known.leader,
            is_unreachable: self.known.unreachable.contains(&voter.node),
            acknowledged: is_member.then_some(acknowledged),
            reason,
            since,
        }
    }

    fn reason(
        &self,
        voter: VoterId,
        is_wanted: bool,
        is_member: bool,
    ) -> (Reason, Option<Duration>) {
        let leaving = self.known.leaving.get(&voter).copied();
        let Acknowledged {
            silent_for,
            steady_for,
            behind,
            is_known,
        } = self.acknowledged(voter);
        if let Fitness::Unfit(reason) = fitness(self.known, voter) {
            let reason = if is_wanted {
                Reason::NobodyElse
            } else {
                reason
            };
            return (reason, leaving);
        }
        let votes = self.present.contains(&voter);
        if is_wanted {
            let reason = match () {
                () if self.is_gone(voter) => Reason::NoReplacement,
                () if voter == self.known.leader => Reason::Leads,
                () => Reason::Best,
            };
            let since = self.is_gone(voter).then_some(silent_for);
            return (reason, since);
        }
        if !is_member {
            let is_full = self.known.members.len() >= MEMBERS;
            return (
                if is_full {
                    Reason::NoRoom
                } else {
                    Reason::NotYet
                },
                None,
            );
        }
        if self.is_gone(voter) {
            return (
                if votes {
                    Reason::Replaced
                } else {
                    Reason::Silent
                },
                Some(silent_for),
            );
        }
        if !votes && !self.known.enrolled.contains_key(&voter.node) {
            return (Reason::NoRecord, None);
        }
        if !votes && !self.is_there(voter) {
            return (
                if is_known {
                    Reason::Silent
                } else {
                    Reason::NotYet
                },
                Some(silent_for),
            );
        }
        if !votes && !self.is_ready(voter) {
            return (Reason::Behind(behind), None);
        }
        if !votes && steady_for < STEADY {
            return (Reason::Fresh, Some(steady_for));
        }
        let is_even = self.wanted.len() < self.known.rules.most;
        (
            if is_even {
                Reason::Even
            } else {
                Reason::Enough
            },
            Some(steady_for),
        )
    }
}
