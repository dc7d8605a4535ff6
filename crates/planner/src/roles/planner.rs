//! The machine: it remembers since when things are as they are, and what it proposed lately.
//!
//! [`Planner::step`] is told the world and the time and says what should be proposed. It may be called as often as the world changes; fitness is
//! acted on at every [`Rules::check_every`](super::Rules::check_every) only. What happens between two calls is not seen, so whoever feeds it does
//! so as often as a dip should be noticed; ten seconds are plenty. A time without a look counts as a minute at most.
//!
//! Nothing in it has to be kept. A new one knows from decided state which roles there are and when they were changed; how long a machine has been
//! fit begins anew with what it sees first, which makes a new leader more patient and never less.
//!
//! | what is remembered | bound |
//! | --- | --- |
//! | a node: its role, and since when it stands how towards each requirement | one for each record; forgotten with it |
//! | what was proposed and not answered | one for each node, for [`ANSWER`] |
//! | when something was proposed | the last minute, as many as the cap |
//! | when something was changed | the last minute, as many as the cap may ever be |
//!
//! Deliberately not here: the rules (`pass`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use convoke_types::{NodeId, Role, Timestamp};

use super::decision::{Decision, Notice};
use super::fitness::{JUDGED, Level, judge, judged};
use super::input::{Decided, Enrolled, Observed, Presence, Seen};
use super::measure::Measure;
use super::pass::{Pass, Patience};
use super::rules::{CHANGES_PER_MINUTE_MOST, Rules, TIME_MOST};

/// What was proposed and is not decided after so long may be proposed again.
pub const ANSWER: Duration = Duration::from_secs(30);

/// A change that comes no later than this after the one before is one of a row. Each one of a row makes the node's dwell four times as long …
const ROW: Duration = Duration::from_secs(24 * 60 * 60);
const GROWTH: u32 = 4;
/// … up to so many.
const ROW_MOST: u8 = 8;
const MINUTE: Duration = Duration::from_secs(60);
/// What goes by between two looks counts as no more than that for how long things have been as they are: nobody saw how they were meanwhile.
const LOOKED: Duration = MINUTE;
/// While something is missing or waits for an answer, the planner wants to be asked again so soon.
const SOON: Duration = Duration::from_secs(5);

/// From the world and the time to role changes.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    pub(super) now: Timestamp,
    /// When fitness is looked into next. At the beginning at once.
    pub(super) next_check: Timestamp,
    pub(super) nodes: BTreeMap<NodeId, Memory>,
    /// When something was proposed, the oldest first.
    recent: VecDeque<Timestamp>,
    /// When a role was changed within the last minute, whoever proposed it: another node may have led then, or an answer came late.
    changed: Vec<Timestamp>,
    /// Since when there are too few masters.
    pub(super) masters_missing_since: Option<Timestamp>,
    wakeup: Timestamp,
}

/// What is remembered of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) changed_at: Option<Timestamp>,
    /// Changes of which each came within a day of the one before.
    row: u8,
    /// How it stands towards each requirement of each role, and since when.
    levels: [[(Level, Timestamp); Measure::COUNT]; JUDGED.len()],
    /// Since when it has not been seen, while it is not.
    unseen_since: Option<Timestamp>,
    /// What was proposed, and when.
    pub(super) asked: Option<(Role, Timestamp)>,
}

impl Planner {
    /// A planner that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the world, and says what should be proposed now.
    ///
    /// `now` is one clock for all calls, best the time of the log; a time earlier than the last one counts as that.
    pub fn step(&mut self, now: Timestamp, observed: &Observed, decided: &Decided) -> Decision {
        self.look(now, observed, decided);
        let decision = Pass::run(self, observed, decided, Patience::Kept).decision();
        self.note(&decision, observed, decided);
        decision
    }

    /// When it wants to be told the world again at the latest.
    #[must_use]
    pub fn next_wakeup(&self) -> Timestamp {
        self.wakeup
    }

    /// How many nodes it remembers.
    #[must_use]
    pub fn remembers(&self) -> usize {
        self.nodes.len()
    }

    /// Takes in the world.
    pub(super) fn look(&mut self, now: Timestamp, observed: &Observed, decided: &Decided) {
        let missed = now.since(self.now).saturating_sub(LOOKED);
        self.now = self.now.max(now);
        let now = self.now;
        if !missed.is_zero() {
            self.was_not_looking(missed);
        }
        while self
            .recent
            .front()
            .is_some_and(|at| now.since(*at) >= MINUTE)
        {
            self.recent.pop_front();
        }
        self.changed.retain(|at| now.since(*at) < MINUTE);
        if !self.nodes.keys().eq(decided.nodes.keys()) {
            self.nodes
                .retain(|node, _| decided.nodes.contains_key(node));
            for (node, enrolled) in &decided.nodes {
                if let Entry::Vacant(vacant) = self.nodes.entry(*node) {
                    vacant.insert(Memory::new(now, enrolled));
                    count_change(&mut self.changed, now, enrolled);
                }
            }
        }
        // Both maps have the same keys in the same order.
        let memories = self.nodes.values_mut();
        let mut masters = 0;
        for ((_, enrolled, seen), memory) in joined(observed, decided).zip(memories) {
            if memory.changed_at != enrolled.changed_at {
                count_change(&mut self.changed, now, enrolled);
            }
            memory.look(now, enrolled, seen, &decided.rules);
            let is_master = enrolled.role == Role::Master;
            let serves = memory.serves(now, enrolled, seen, &decided.rules);
            masters += u32::from(is_master && serves);
        }
        let is_missing = masters < decided.rules.need.masters;
        let since = self.masters_missing_since.unwrap_or(now);
        self.masters_missing_since = is_missing.then_some(since);
    }

    /// The log stood still, or whoever feeds this did. Without it what was seen for a moment before and after would count as seen all the while.
    fn was_not_looking(&mut self, missed: Duration) {
        let later = |since: &mut Timestamp| *since = *since + missed;
        self.masters_missing_since.iter_mut().for_each(later);
        for memory in self.nodes.values_mut() {
            memory.unseen_since.iter_mut().for_each(later);
            let levels = memory.levels.iter_mut().flatten();
            levels.for_each(|(_, since)| later(since));
        }
    }

    /// Remembers what was proposed.
    fn note(&mut self, decision: &Decision, observed: &Observed, decided: &Decided) {
        let now = self.now;
        for change in &decision.changes {
            self.recent.push_back(now);
            if let Some(memory) = self.nodes.get_mut(&change.node) {
                memory.asked = Some((change.to, now));
            }
        }
        // While the cap holds changes back, the check is not over.
        let is_capped = |notice: &Notice| matches!(notice, Notice::Capped { .. });
        let is_whole = !decision.notices.iter().any(is_capped);
        if self.is_due() && observed.authority.may_propose() && is_whole {
            self.next_check = now + decided.rules.check_every;
        }
        let is_open = decision.notices.iter().any(Notice::is_open);
        let is_soon = is_open || !decision.changes.is_empty();
        let soon = now + if is_soon { SOON } else { TIME_MOST };
        self.wakeup = soon.min(self.next_check.max(now + SOON));
    }

    /// Of nothing an answer is waited for.
    pub(super) fn forget_asked(&mut self) {
        for memory in self.nodes.values_mut() {
            memory.asked = None;
        }
    }

    /// Fitness is to be looked into.
    pub(super) fn is_due(&self) -> bool {
        self.now >= self.next_check
    }

    /// How many changes the cap lets through now: it holds for what is proposed, and for what comes of it by whatever leader.
    pub(super) fn room(&self, rules: &Rules) -> usize {
        let unanswered = self.nodes.values().filter(|it| it.asked.is_some()).count();
        let decided = self.changed.len() + unanswered;
        rules.cap().saturating_sub(self.recent.len().max(decided))
    }
}

fn count_change(changed: &mut Vec<Timestamp>, now: Timestamp, enrolled: &Enrolled) {
    // What people set is theirs, and must not hold up what the cluster needs.
    if !enrolled.auto {
        return;
    }
    let is_new = |at: &Timestamp| now.since(*at) < MINUTE;
    if changed.len() < CHANGES_PER_MINUTE_MOST as usize {
        changed.extend(enrolled.changed_at.filter(is_new));
    }
}

impl Memory {
    fn new(now: Timestamp, enrolled: &Enrolled) -> Self {
        Self {
            changed_at: enrolled.changed_at,
            row: u8::from(enrolled.changed_at.is_some()),
            // Who was not seen yet is not doubted.
            levels: [[(Level::Meets, now); Measure::COUNT]; JUDGED.len()],
            unseen_since: None,
            asked: None,
        }
    }

    fn look(&mut self, now: Timestamp, enrolled: &Enrolled, seen: Option<&Seen>, rules: &Rules) {
        if self.changed_at != enrolled.changed_at {
            self.count(enrolled.changed_at);
        }
        let refused = seen.and_then(|seen| seen.refused.as_ref());
        let is_answered = |(to, at): (Role, Timestamp)| {
            let is_refused = refused.is_some_and(|it| it.role == to && it.at >= at);
            enrolled.role == to || is_refused || now.since(at) >= ANSWER
        };
        if self.asked.is_some_and(is_answered) {
            self.asked = None;
        }
        if presence(seen) == Presence::Unseen {
            self.unseen_since.get_or_insert(now);
        } else {
            self.unseen_since = None;
        }
        let Some(seen) = seen else { return };
        for (role, levels) in JUDGED.into_iter().zip(&mut self.levels) {
            for (measure, known) in Measure::ALL.into_iter().zip(levels) {
                let level = judge(role, measure, &seen.machine, rules).level;
                if known.0 != level {
                    *known = (level, now);
                }
            }
        }
    }

    /// Its role was changed, by whomever.
    fn count(&mut self, changed_at: Option<Timestamp>) {
        let Some(at) = changed_at else {
            self.changed_at = None;
            self.row = 0;
            return;
        };
        let goes_on = self
            .changed_at
            .is_some_and(|before| at.since(before) <= ROW);
        self.row = if goes_on {
            (self.row + 1).min(ROW_MOST)
        } else {
            1
        };
        self.changed_at = Some(at);
    }

    /// How long fitness leaves it alone still.
    pub(super) fn cooldown(&self, now: Timestamp, rules: &Rules) -> Duration {
        let Some(at) = self.changed_at else {
            return Duration::ZERO;
        };
        let whole = rules.cooldown.max(rules.dwell);
        whole.saturating_sub(now.since(at))
    }

    /// For how long this node has to be fit, or unfit, before anything follows: the longer the more often it was changed within a day. What goes
    /// to and fro slowly enough for the first dwell does not for the second or third.
    pub(super) fn dwell(&self, now: Timestamp, rules: &Rules) -> Duration {
        let is_over = self.changed_at.is_none_or(|at| now.since(at) > ROW);
        let row = if is_over { 0 } else { self.row };
        let grown = rules.dwell.saturating_mul(GROWTH.pow(u32::from(row)));
        grown.min(ROW.max(rules.dwell))
    }

    /// Its role was changed less than a dwell ago.
    pub(super) fn is_fresh(&self, now: Timestamp, rules: &Rules) -> bool {
        self.changed_at
            .is_some_and(|at| now.since(at) < rules.dwell)
    }

    /// It counts for what the cluster needs: it is there, or was a moment ago.
    pub(super) fn serves(
        &self,
        now: Timestamp,
        enrolled: &Enrolled,
        seen: Option<&Seen>,
        rules: &Rules,
    ) -> bool {
        let is_there = match presence(seen) {
            Presence::Reachable | Presence::Unreachable => true,
            Presence::Failed | Presence::Left => false,
            Presence::Unseen => self
                .unseen_since
                .is_none_or(|since| now.since(since) < rules.unseen_for),
        };
        is_there && !enrolled.drains
    }

    /// Since when it has all that a role asks, if it has.
    pub(super) fn fit_since(&self, role: Role) -> Option<Timestamp> {
        let levels = &self.levels[judged(role)?];
        let is_fit = levels.iter().all(|(level, _)| *level == Level::Meets);
        let since = levels.iter().map(|(_, since)| *since).max();
        since.filter(|_| is_fit)
    }

    /// Since when it has too little to keep a role, if it has.
    pub(super) fn unfit_since(&self, role: Role) -> Option<Timestamp> {
        let levels = &self.levels[judged(role)?];
        let below = levels.iter().filter(|(level, _)| *level == Level::Below);
        below.map(|(_, since)| *since).min()
    }

    /// Since when it has stood as it does towards a requirement.
    pub(super) fn since(&self, role: Role, measure: Measure) -> Option<Timestamp> {
        Some(self.levels[judged(role)?][measure.index()].1)
    }

    /// Of what it has too little to keep a role, or nobody knows.
    pub(super) fn lacks(&self, role: Role) -> Vec<Measure> {
        let Some(at) = judged(role) else {
            return Vec::new();
        };
        let levels = Measure::ALL.into_iter().zip(&self.levels[at]);
        levels
            .filter(|(_, (level, _))| *level == Level::Below)
            .map(|(measure, _)| measure)
            .collect()
    }
}

pub(super) fn presence(seen: Option<&Seen>) -> Presence {
    seen.map_or(Presence::Unseen, |seen| seen.presence)
}

/// All nodes with a record, in the order of their ids, each with what is observed of it.
pub(super) fn joined<'a>(
    observed: &'a Observed,
    decided: &'a Decided,
) -> impl Iterator<Item = (NodeId, &'a Enrolled, Option<&'a Seen>)> {
    let mut seen = observed.nodes.iter().peekable();
    decided.nodes.iter().map(move |(node, enrolled)| {
        while seen.next_if(|(other, _)| *other < node).is_some() {}
        let seen = seen.next_if(|(other, _)| *other == node);
        (*node, enrolled, seen.map(|(_, seen)| seen))
    })
}
