//! Verdicts: from votes to *unreachable* and *failed*, contradiction, and when this node rather doubts itself.
//!
//! ```text
//!            enough votes             hold over
//! here ─────────────────► unreachable ─────────► failed
//!  ▲                           │                    │
//!  └──── a higher incarnation, signed by itself ◄───┘
//! ```
//!
//! **How many votes.** Of the observers that are not themselves known to be gone (`live`), those who judge at all (`able`) must agree to
//! a share: `max(1, min(live, max(3, ⌈share · able⌉)))`. Two nodes need one vote, three need two, five need three, and 5,000
//! need seven of ten. A dead observer is no vote, or a healthy node whose observers died would follow them (both were tried:
//! see the design page). *The slow path*: three votes that stood for a while without contradiction suffice, or those of half of the
//! observers whom nobody doubts (of two, both): when a third of all nodes die at once, many have too few observers left for the share, and who
//! comes late to a small cluster hears only the votes of those who were there. Whoever lives has contradicted long before.
//!
//! **Contradiction.** A vote is about one incarnation. Whoever hears of a vote about its present one raises it, and every such vote is
//! void. So a vote needs no end of its own: whoever is alive ends it.
//!
//! **Damping.** A link that comes and goes makes votes and contradictions follow each other. Whoever was contradicted waits twice as long
//! before it votes about the same member again; and a member that contradicted a *verdict* before is believed later each time.
//!
//! **Doubt in oneself.** A node whose loop was late, or that misses more than half of those it watches (and more than one), judges nobody
//! and says so in its vitals: what it said before counts no more, and others no longer count on its vote.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use convoke_types::wire::gossip::Handle;
use convoke_types::wire::gossip::unit::{Unit, Vote};
use convoke_types::{Incarnation, Moment, NodeId};

use super::receive::Source;
use super::{JUDGE, ME, Membership, Neighbour, SETTLED};
use crate::event::{Condition, Effect, EventKind};
use crate::params::Planted;
use crate::rings::Slot;
use crate::roster::{State, vote_digest};

/// Votes that suffice on the slow path, and that are needed wherever there are as many observers.
const FEW: usize = 3;
/// Votes kept about one member. Only observers' votes count, and nobody has more of those than about twenty.
pub(super) const VOTES_MOST: usize = 32;
/// From this many other members on, many that go at once look like a partition.
const MANY: usize = 4;

/// Whether this node trusts its own eyes.
#[derive(Debug)]
pub(super) struct Conscience {
    /// When the machine should have been woken.
    pub(super) planned: Moment,
    late: Option<(Moment, Duration)>,
    /// Since when more than half of those it watches have been missing.
    cut_off_since: Option<Moment>,
}

impl Conscience {
    pub(super) fn new() -> Self {
        Self {
            planned: Moment::NEVER,
            late: None,
            cut_off_since: None,
        }
    }

    pub(super) fn condition(&self) -> Condition {
        match (self.late, self.cut_off_since) {
            (Some((_, lag)), _) => Condition::Late(lag),
            (None, Some(_)) => Condition::CutOff,
            (None, None) => Condition::Well,
        }
    }

    pub(super) fn next_wakeup(&self) -> Moment {
        self.late.map_or(Moment::NEVER, |(until, _)| until)
    }
}

/// Many that went at once.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) suspected: bool,
    pub(super) frozen: bool,
    /// Who became unreachable within the last hold, and when.
    recent: VecDeque<(Moment, NodeId)>,
    /// Who is gone since the partition is suspected.
    gone: BTreeSet<NodeId>,
    /// When being cut off amounts to a suspicion.
    cut_off_at: Option<Moment>,
    /// Some were missed only because this node was cut off, which is over: who of them is gone has to be looked at.
    count_again: bool,
}

impl Partition {
    pub(super) fn next_wakeup(&self) -> Moment {
        self.cut_off_at.unwrap_or(Moment::NEVER)
    }
}

/// What the votes about a member amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    /// From its observers.
    votes: usize,
    /// From anybody whose word counts.
    all: usize,
    needed: usize,
    /// Of all, on the slow path.
    needed_slowly: usize,
}

impl Membership {
    /// A neighbour gave no answer to any attempt.
    pub(super) fn missing(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        self.weigh_neighbours(now);
        self.vote(now, slot, out);
    }

    /// Says that a member does not answer, unless this node has reason to doubt itself.
    pub(super) fn vote(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        let mine = Handle::of(&self.me);
        let known = self.roster.get(slot);
        if self.conscience.condition() != Condition::Well
            || matches!(known.state, State::Left { .. })
        {
            return;
        }
        let voted = known.has_vote_of(mine);
        let waits = known
            .trouble
            .as_ref()
            .is_some_and(|trouble| now < trouble.vote_after);
        if voted || waits {
            return;
        }
        let (subject, incarnation) = (*known.id(), known.incarnation);
        let mut vote = Vote {
            observer: mine,
            subject: Handle::of(&subject),
            incarnation,
            signature: [0; 64],
        };
        vote.signature = self
            .seal
            .sign(&vote.message(self.cluster, &self.me, &subject));
        self.counters.signed += 1;
        self.counters.votes += 1;
        self.take_vote(now, slot, vote, None, out);
    }

    /// Takes in a vote whose signature is good and which is new, about the present incarnation. One's own has no source.
    pub(super) fn take_vote(
        &mut self,
        now: Moment,
        slot: Slot,
        vote: Vote,
        source: Option<Source>,
        out: &mut Vec<Effect>,
    ) {
        let is_needed = self.roster.get(slot).state == State::Here;
        self.roster
            .change(slot, |known| known.trouble().votes.push(vote));
        self.doubted.insert(slot);
        let (unit, id) = (Unit::Vote(vote), vote_digest(&vote) as u32);
        let from = source.and_then(|source| source.slot);
        if source.is_none_or(|source| source.is_news) {
            if is_needed {
                self.spread(now, &unit, id, from);
            } else {
                // Nobody waits for it: it is passed on so that all hold the same.
                self.spread_slowly(now, &unit, id, from);
            }
        }
        if slot == ME {
            self.contradict(now);
        } else {
            self.judge(now, slot, out);
        }
    }

    fn tally(&mut self, slot: Slot) -> Tally {
        let generation = self.roster.generation;
        let trouble = self.roster.get(slot).trouble.as_ref();
        if trouble.is_none_or(|trouble| trouble.observers_of != generation) {
            let observers = self.roster.neighbours(slot);
            let trouble = self.roster.get_mut(slot).trouble();
            trouble.observers = observers;
            trouble.observers_of = generation;
        }
        let known = self.roster.get(slot);
        let observers = known
            .trouble
            .as_ref()
            .map_or(&[][..], |trouble| &trouble.observers);
        let is_here = |slot: Slot| matches!(self.roster.get(slot).state, State::Here);
        let live = observers.iter().filter(|slot| is_here(**slot)).count();
        let judges = |slot: Slot| is_here(slot) && self.judges(slot);
        let able = observers.iter().filter(|slot| judges(**slot)).count();
        let (mut votes, mut all) = (0, 0);
        for vote in known.votes() {
            // Who has come to doubt itself takes its word back.
            let Some(voter) = self.roster.slot(vote.observer).filter(|slot| judges(*slot)) else {
                continue;
            };
            all += 1;
            if observers.binary_search(&voter).is_ok() || self.roster.near(slot, voter) {
                votes += 1;
            }
        }
        let share = (self.params.quorum * able as f32).ceil() as usize;
        let needed = match self.params.planted {
            Some(Planted::FixedVotes(votes)) => votes,
            _ => live.min(share.max(FEW)).max(1),
        };
        let undoubted = observers
            .iter()
            .filter(|slot| judges(**slot) && self.roster.get(**slot).votes().is_empty())
            .count();
        Tally {
            votes,
            all,
            needed,
            needed_slowly: undoubted.div_ceil(2).max(2.min(undoubted)).clamp(1, FEW),
        }
    }

    /// Whether a member judges others, as far as it has said; this one, as it is.
    fn judges(&self, slot: Slot) -> bool {
        if slot == ME {
            self.conscience.condition() == Condition::Well
        } else {
            !self.roster.get(slot).abstains
        }
    }

    /// Looks at what the votes about a member amount to now.
    pub(super) fn judge(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        let known = self.roster.get(slot);
        match known.state {
            State::Here if known.votes().is_empty() => {}
            State::Here => {
                let tally = self.tally(slot);
                if tally.votes >= tally.needed || self.slow_path(now, slot, tally) {
                    self.found_unreachable(now, slot, out);
                }
            }
            State::Unreachable { since } => {
                let recovers_at = known.trouble.as_ref().and_then(|t| t.recovers_at);
                match recovers_at {
                    Some(at) => self.judge_recovery(now, slot, at, out),
                    None if now >= since + self.params.hold => self.found_failed(now, slot, out),
                    None => {}
                }
            }
            // Age is looked at when their time has come.
            State::Failed { .. } | State::Left { .. } => {}
        }
    }

    /// A member whose time has come: a verdict may be due, or it has been gone for long.
    fn look_at(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        match self.roster.get(slot).state {
            State::Here | State::Unreachable { .. } => self.judge(now, slot, out),
            State::Failed { since } | State::Left { since } => {
                let known = self.roster.get(slot);
                if known
                    .trouble
                    .as_ref()
                    .is_some_and(|trouble| trouble.recovers_at.is_some_and(|at| now >= at))
                {
                    self.believe_again(now, slot, out);
                } else if !known.settled && now >= since + SETTLED {
                    self.roster.change(slot, |known| known.settled = true);
                    self.deadlines.insert((now + self.params.remember, slot));
                } else if known.settled && now >= since + self.params.remember {
                    self.forget(slot, out);
                }
            }
        }
    }

    /// Whether a few votes have stood for long enough; if not yet, when to look again.
    fn slow_path(&mut self, now: Moment, slot: Slot, tally: Tally) -> bool {
        if tally.all < tally.needed_slowly
            || matches!(self.params.planted, Some(Planted::FixedVotes(_)))
        {
            return false;
        }
        let wait = self.params.slow_path;
        let trouble = self.roster.get_mut(slot).trouble();
        match trouble.slow_since {
            Some(since) => now >= since + wait,
            None => {
                trouble.slow_since = Some(now);
                self.deadlines.insert((now + wait, slot));
                false
            }
        }
    }

    fn found_unreachable(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        self.roster.change(slot, |known| {
            known.state = State::Unreachable { since: now }
        });
        self.deadlines.insert((now + self.params.hold, slot));
        self.report(slot, EventKind::NodeUnreachable, out);
        self.judge_at = self.judge_at.min(now + JUDGE);
        self.one_more_gone(now, slot, out);
    }

    fn found_failed(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        self.roster
            .change(slot, |known| known.state = State::Failed { since: now });
        self.doubted.remove(&slot);
        self.deadlines.insert((now + SETTLED, slot));
        self.report(slot, EventKind::NodeFailed, out);
        self.judge_at = self.judge_at.min(now + JUDGE);
        self.try_failed_soon(now);
    }

    /// A member has outgrown the incarnation that votes were about.
    pub(super) fn contradicted(
        &mut self,
        now: Moment,
        slot: Slot,
        voted: bool,
        out: &mut Vec<Effect>,
    ) {
        self.doubted.remove(&slot);
        if voted {
            self.vote_later(now, slot);
        }
        match self.roster.get(slot).state {
            State::Here => self.report(slot, EventKind::NodeUpdated, out),
            State::Unreachable { .. } | State::Failed { .. } | State::Left { .. } => {
                self.recover(now, slot, out);
            }
        }
    }

    /// This node was wrong about a member, and is slower to doubt it again.
    fn vote_later(&mut self, now: Moment, slot: Slot) {
        let (first, most) = (self.params.vote_again, self.params.recovery_most);
        let trouble = self.roster.get_mut(slot).trouble();
        if now >= trouble.vote_after + most {
            trouble.contradicted = 0;
        }
        trouble.vote_after = now + doubled(first, trouble.contradicted, most);
        trouble.contradicted = trouble.contradicted.saturating_add(1);
    }

    /// It is back: at once the first time, and later each time it does so again.
    fn recover(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        let (first, most) = (self.params.recovery, self.params.recovery_most);
        let trouble = self.roster.get_mut(slot).trouble();
        if now >= trouble.returned + most * 2 {
            trouble.returns = 0;
        }
        let wait = match trouble.returns {
            0 => Duration::ZERO,
            returns => doubled(first, returns - 1, most),
        };
        trouble.returns = trouble.returns.saturating_add(1);
        trouble.returned = now;
        if wait.is_zero() {
            self.believe_again(now, slot, out);
            return;
        }
        trouble.recovers_at = Some(now + wait);
        self.deadlines.insert((now + wait, slot));
        // It goes on being shown as it was, with its new incarnation.
        self.report(slot, EventKind::NodeUpdated, out);
    }

    /// It has contradicted, and is believed at `at` unless its observers still get no answer: then the hold begins again.
    fn judge_recovery(&mut self, now: Moment, slot: Slot, at: Moment, out: &mut Vec<Effect>) {
        let tally = self.tally(slot);
        if tally.votes >= tally.needed || self.slow_path(now, slot, tally) {
            self.roster.change(slot, |known| {
                known.state = State::Unreachable { since: now };
                known.trouble().recovers_at = None;
            });
            self.deadlines.insert((now + self.params.hold, slot));
        } else if now >= at {
            self.believe_again(now, slot, out);
        }
    }

    pub(super) fn believe_again(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        let was = self.roster.get(slot).state;
        self.roster.change(slot, |known| {
            known.state = State::Here;
            known.settled = false;
            if let Some(trouble) = &mut known.trouble {
                trouble.recovers_at = None;
                trouble.slow_since = None;
            }
        });
        match was {
            State::Here => {}
            State::Unreachable { .. } => self.report(slot, EventKind::NodeReachable, out),
            State::Failed { .. } | State::Left { .. } => {
                self.report(slot, EventKind::NodeRejoined, out);
            }
        }
        self.judge_at = self.judge_at.min(now + JUDGE);
        self.one_is_back(slot, out);
    }

    /// Looks at members whose time has come, and at all doubted ones when that is due.
    pub(super) fn look_at_deadlines(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some((at, slot)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            if slot != ME {
                self.look_at(now, slot, out);
            }
        }
        if now >= self.judge_at {
            self.judge_at = Moment::NEVER;
            let doubted: Vec<Slot> = self.doubted.iter().copied().collect();
            for slot in doubted {
                if slot != ME {
                    self.judge(now, slot, out);
                }
            }
            self.vote_about_missing(now, out);
        }
    }

    /// Votes that were withheld: by doubt in oneself that is over, or by damping.
    fn vote_about_missing(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let missing: Vec<Slot> = self
            .neighbours
            .iter()
            .filter(|neighbour| neighbour.watch.is_missing())
            .map(|neighbour| neighbour.watch.slot)
            .collect();
        let mut again = Moment::NEVER;
        for slot in missing {
            self.vote(now, slot, out);
            if let Some(trouble) = &self.roster.get(slot).trouble
                && trouble.vote_after > now
            {
                again = again.min(trouble.vote_after);
            }
        }
        self.judge_at = self.judge_at.min(again);
    }

    /// A loop that was late missed signs of life: what it asked before is asked anew, and it judges nobody for a while.
    pub(super) fn notice_lag(&mut self, now: Moment) {
        let lag = now.since(self.conscience.planned);
        if lag <= self.params.lag || self.params.planted == Some(Planted::NoDoubtInOneself) {
            return;
        }
        self.conscience.late = Some((now + self.params.abstain, lag));
        for neighbour in &mut self.neighbours {
            neighbour.watch.start_over(now);
        }
        self.own.abstain(true, now);
    }

    /// Whether so many neighbours are missing that it is rather this node that is cut off.
    pub(super) fn weigh_neighbours(&mut self, now: Moment) {
        let cut_off = self.misses_most() && self.params.planted != Some(Planted::NoDoubtInOneself);
        match (cut_off, self.conscience.cut_off_since) {
            (true, None) => {
                self.conscience.cut_off_since = Some(now);
                self.partition.cut_off_at = Some(now + self.params.cut_off);
                self.own.abstain(true, now);
            }
            (false, Some(_)) => {
                self.conscience.cut_off_since = None;
                self.partition.cut_off_at = None;
                self.partition.count_again = true;
                self.judge_at = self.judge_at.min(now + JUDGE);
                if self.conscience.late.is_none() {
                    self.own.abstain(false, now);
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Neighbours that were never heard in this life, only remembered or heard of, say nothing about this node while others
    /// answer: a node that comes back to a small cluster may know more dead members than living ones.
    fn misses_most(&self) -> bool {
        let answers = |neighbour: &Neighbour| {
            neighbour.watch.is_acquainted() && !neighbour.watch.is_missing()
        };
        let anybody_answers = self.neighbours.iter().any(answers);
        let (mut all, mut missing) = (0, 0);
        for neighbour in &self.neighbours {
            if !anybody_answers || neighbour.watch.is_acquainted() {
                all += 1;
                missing += usize::from(neighbour.watch.is_missing());
            }
        }
        missing > 1 && 2 * missing > all
    }

    pub(super) fn examine_conscience(&mut self, now: Moment, out: &mut Vec<Effect>) {
        // Neighbours change with the rings, and the missing ones with them.
        self.weigh_neighbours(now);
        if let Some((until, _)) = self.conscience.late
            && now >= until
        {
            self.conscience.late = None;
            self.judge_at = self.judge_at.min(now + JUDGE);
            if self.conscience.cut_off_since.is_none() {
                self.own.abstain(false, now);
            }
        }
        if self.judge_at == Moment::NEVER && self.neighbours.iter().any(|n| n.watch.is_missing()) {
            self.judge_at = now + self.params.period;
        }
        if self.partition.suspected && self.conscience.cut_off_since.is_none() {
            if std::mem::take(&mut self.partition.count_again) {
                let roster = &self.roster;
                self.partition.gone.retain(|id| {
                    roster
                        .slot_of(id)
                        .is_some_and(|slot| !matches!(roster.get(slot).state, State::Here))
                });
            }
            self.has_partition_healed(out);
        }
    }

    fn one_more_gone(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        let id = *self.roster.get(slot).id();
        if self.partition.suspected {
            self.partition.gone.insert(id);
        }
        self.partition.recent.push_back((now, id));
        let hold = self.params.hold;
        while let Some((at, _)) = self.partition.recent.front()
            && now.since(*at) > hold
        {
            self.partition.recent.pop_front();
        }
        let gone = self.partition.recent.len();
        let [reachable, unreachable, ..] = self.roster.counts();
        let failed_of_them = self
            .partition
            .recent
            .iter()
            .filter(|(_, id)| {
                self.roster
                    .slot_of(id)
                    .is_some_and(|slot| matches!(self.roster.get(slot).state, State::Failed { .. }))
            })
            .count();
        let others = reachable.saturating_sub(1) + unreachable + failed_of_them;
        if others >= MANY && gone > self.coincidence(others) {
            self.suspect_partition(gone, others, out);
        }
    }

    /// How many may go within one hold and be taken for a coincidence.
    fn coincidence(&self, others: usize) -> usize {
        2.max((self.params.partition * others as f32) as usize)
    }

    fn suspect_partition(&mut self, gone: usize, of: usize, out: &mut Vec<Effect>) {
        if self.partition.suspected {
            return;
        }
        self.partition.suspected = true;
        self.partition.frozen = true;
        self.partition.gone = self.partition.recent.iter().map(|(_, id)| *id).collect();
        self.emit(EventKind::PartitionSuspected { gone, of }, out);
    }

    /// A node that has been cut off for long suspects a partition, though it judges nobody.
    pub(super) fn look_for_partition(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(at) = self.partition.cut_off_at else {
            return;
        };
        if now < at {
            return;
        }
        self.partition.cut_off_at = None;
        let missing: Vec<NodeId> = self
            .neighbours
            .iter()
            .filter(|neighbour| neighbour.watch.is_missing())
            .map(|neighbour| *self.roster.get(neighbour.watch.slot).id())
            .collect();
        let [reachable, unreachable, ..] = self.roster.counts();
        let others = reachable.saturating_sub(1) + unreachable;
        if others >= MANY {
            self.suspect_partition(missing.len(), others, out);
            self.partition.gone.extend(missing);
        }
    }

    fn one_is_back(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        let id = *self.roster.get(slot).id();
        self.partition.recent.retain(|(_, gone)| *gone != id);
        self.partition.gone.remove(&id);
        self.has_partition_healed(out);
    }

    fn has_partition_healed(&mut self, out: &mut Vec<Effect>) {
        if !self.partition.suspected || self.conscience.cut_off_since.is_some() {
            return;
        }
        let others = self.roster.len().saturating_sub(1);
        if self.partition.gone.len() <= self.coincidence(others) {
            self.partition.suspected = false;
            self.partition.gone.clear();
            self.emit(EventKind::PartitionHealed, out);
        }
    }

    /// Whoever decides has said who is lost: the freeze is over, and those who are still gone need not be waited for.
    pub(super) fn confirm_loss(
        &mut self,
        now: Moment,
        lost: &[(NodeId, Incarnation)],
        out: &mut Vec<Effect>,
    ) {
        if self.partition.frozen {
            self.partition.frozen = false;
            self.partition.suspected = false;
            self.partition.gone.clear();
            self.emit(EventKind::FreezeEnded, out);
        }
        for (id, incarnation) in lost {
            let Some(slot) = self.roster.slot_of(id) else {
                continue;
            };
            let known = self.roster.get(slot);
            if known.incarnation <= *incarnation && matches!(known.state, State::Unreachable { .. })
            {
                self.found_failed(now, slot, out);
            }
        }
    }

    fn forget(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        self.report(slot, EventKind::NodeForgotten, out);
        let id = *self.drop_member(slot).id();
        self.partition.gone.remove(&id);
        self.has_partition_healed(out);
    }

    /// Forgets those that have been gone longest when too many are remembered. Done when everything else is, so that nobody who
    /// is at work with a member finds its slot empty.
    pub(super) fn forget_surplus(&mut self, out: &mut Vec<Effect>) {
        let [_, _, failed, left] = self.roster.counts();
        let surplus = (failed + left).saturating_sub(self.params.remembered_most);
        if surplus == 0 {
            return;
        }
        let mut gone: Vec<(Moment, Slot)> = self
            .roster
            .iter()
            .filter_map(|(_, slot)| match self.roster.get(slot).state {
                State::Failed { since } | State::Left { since } => Some((since, slot)),
                State::Here | State::Unreachable { .. } => None,
            })
            .filter(|(_, slot)| *slot != ME)
            .collect();
        gone.sort_unstable();
        for (_, slot) in gone.into_iter().take(surplus) {
            self.forget(slot, out);
        }
    }
}

/// `first`, doubled so many times, at most `most`.
fn doubled(first: Duration, times: u8, most: Duration) -> Duration {
    first
        .saturating_mul(1_u32.checked_shl(u32::from(times)).unwrap_or(u32::MAX))
        .min(most)
}
