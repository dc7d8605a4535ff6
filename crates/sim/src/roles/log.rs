//! The log, stood in for: terms, voters, a leader that commits what a majority has, and leaders that do not know yet that they are none any more.
//!
//! What holds of the engine holds here, since planning stands on it: who is elected has all that was committed; what a leader could not commit is lost
//! or survives with whoever had it and leads next, before anything of that term; a leader without a majority says nothing to others and goes on
//! believing that it leads until somebody tells it; nobody is elected whom a majority does not reach. Voters follow from records, one odd set after the
//! other, and never without a majority of the new ones.
//!
//! Deliberately not here: disks that lie, snapshots, and doubtful logs; `consensus` has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use convoke_decided::{Batch, Decided, LEVEL};
use convoke_planner::roles::{Presence, Rules};
use convoke_types::wire::store::{Command, NodeCommand};
use convoke_types::{NodeId, Timestamp};

use super::node::{Offer, place_of};
use super::tale::Mistake;
use super::world::World;

/// The time of the log at the beginning.
const BEGINNING: u64 = 1_000_000_000_000;
/// An entry comes no later than this after the one before, in milliseconds.
const TICK: u64 = 10_000;
/// Without a majority for so long a leader says nothing.
const QUIET: u64 = 2_000;
/// Who has heard a leader so lately votes for nobody else.
const LEASE: u64 = 1_500;
/// Voters at most.
const VOTERS: usize = 5;
/// What a leader asked for and could not have is asked of the next one for so long, where that mistake is planted.
const FORWARDED: u64 = 5_000;

/// One command of the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) term: u64,
    pub(super) time: Timestamp,
    pub(super) said: Said,
}

/// A command, whose it is, and what the oracles want to know of it.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) principal: NodeId,
    pub(super) command: Command,
    pub(super) offer: Option<Arc<Offer>>,
    /// By which whoever said it knows it again.
    pub(super) number: u64,
}

impl Entry {
    pub(super) fn batch(&self) -> Batch {
        let mut batch = Batch::new(self.time, LEVEL);
        batch.push(self.said.principal, None, self.said.command.clone());
        batch
    }
}

/// What is on its way to a leader.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) from: usize,
    pub(super) at: u64,
    pub(super) until: u64,
    pub(super) said: Said,
}

/// What was committed, and who votes.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    pub(super) voters: BTreeSet<usize>,
    next_voters: u64,
}

/// A copy of the log, and what its node knows of leaders.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) stored: usize,
    pub(super) applied: usize,
    /// The term of the last entry that is applied.
    pub(super) applied_term: u64,
    pub(super) decided: Decided,
    pub(super) rules: Arc<Rules>,
    pub(super) term: u64,
    /// The term in which it leads, as far as it knows.
    pub(super) leads: Option<u64>,
    heard: u64,
    patience: u64,
    /// Until then it applies nothing: it has much to do.
    pub(super) slow_until: u64,
    /// When a majority answered it last.
    answered: u64,
    waiting: Vec<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    term: u64,
    said: Said,
    /// Who has it on disk.
    reached: BTreeSet<usize>,
}

impl Keeper {
    pub(super) fn new() -> Self {
        Self {
            stored: 0,
            applied: 0,
            applied_term: 0,
            decided: Decided::new(),
            rules: Arc::new(Rules::default()),
            term: 0,
            leads: None,
            heard: 0,
            patience: 0,
            slow_until: 0,
            answered: 0,
            waiting: Vec::new(),
        }
    }

    pub(super) fn crash(&mut self, now: u64) {
        self.leads = None;
        self.heard = now;
        self.waiting.clear();
    }

    /// It leads, and no majority answers it.
    pub(super) fn is_quiet(&self, now: u64, pace: u64) -> bool {
        now.saturating_sub(self.answered) > QUIET + pace
    }
}

/// More than half of them.
pub(super) fn is_majority(of: &BTreeSet<usize>, those: &BTreeSet<usize>) -> bool {
    2 * of.intersection(those).count() > of.len()
}

const fn odd(number: usize) -> usize {
    if number.is_multiple_of(2) {
        number.saturating_sub(1)
    } else {
        number
    }
}

impl World {
    /// The first leader, in the first term.
    pub(super) fn found(&mut self, leader: usize) {
        let keepers = self.keepers();
        let mut voters: Vec<usize> = keepers.into_iter().filter(|it| *it != leader).collect();
        voters.insert(0, leader);
        voters.truncate(odd(voters.len()).min(VOTERS));
        self.log.voters = voters.into_iter().collect();
        let keeper = self.keeper(leader);
        keeper.leads = Some(1);
        keeper.term = 1;
        self.commit(1, Said::nothing(super::node::id_of(leader)));
        let stored = self.log.entries.len();
        self.keeper(leader).stored = stored;
    }

    /// Nodes with a copy.
    fn keepers(&self) -> Vec<usize> {
        let all = self.nodes.iter().enumerate();
        all.filter(|(_, it)| it.keeper.is_some())
            .map(|(node, _)| node)
            .collect()
    }

    fn keeper(&mut self, node: usize) -> &mut Keeper {
        self.nodes[node]
            .keeper
            .as_mut()
            .expect("whoever asks knows that it keeps the log")
    }

    /// Who leads, has a majority, and knows it.
    pub(super) fn leader(&self) -> Option<usize> {
        let leading = self.nodes.iter().enumerate().filter_map(|(node, it)| {
            let keeper = it.keeper.as_ref()?;
            let term = keeper.leads.filter(|_| it.runs(self.now))?;
            (!keeper.is_quiet(self.now, self.pace)).then_some((term, node))
        });
        leading.max().map(|(_, node)| node)
    }

    /// One step of the log.
    pub(super) fn go_on(&mut self) {
        for node in self.keepers() {
            if self.nodes[node].runs(self.now) && self.keeper(node).leads.is_some() {
                self.lead(node);
            }
        }
        self.elect();
        self.take_asks();
        self.apply();
    }

    fn lead(&mut self, leader: usize) {
        let (now, pace) = (self.now, self.pace);
        let (term, is_quiet) = {
            let keeper = self.keeper(leader);
            (keeper.term, keeper.is_quiet(now, pace))
        };
        let mut answering = BTreeSet::from([leader]);
        let mut higher = None;
        for other in self.keepers() {
            if other == leader || !self.nodes[other].runs(now) || !self.arrives(leader, other) {
                continue;
            }
            let answers = self.arrives(other, leader);
            let follower = self.keeper(other);
            if follower.term > term {
                if answers {
                    higher = higher.max(Some(follower.term));
                }
                continue;
            }
            let led = follower.leads.is_some();
            if !is_quiet {
                follower.term = term;
                follower.heard = now;
            }
            if led && !is_quiet {
                self.give_up(other, term);
            }
            if answers {
                answering.insert(other);
            }
        }
        if let Some(higher) = higher {
            return self.give_up(leader, higher);
        }
        if !is_majority(&self.log.voters, &answering) {
            for waiting in &mut self.keeper(leader).waiting {
                waiting.reached.extend(&answering);
            }
            return;
        }
        let waiting = {
            let keeper = self.keeper(leader);
            keeper.answered = now;
            std::mem::take(&mut keeper.waiting)
        };
        for waiting in waiting {
            self.commit(waiting.term, waiting.said);
        }
        let last = self.log.entries.last().map_or(0, |it| it.time.unix_ms());
        if self.log_time(now).unix_ms() >= last + TICK {
            self.commit(term, Said::nothing(self.nodes[leader].id));
        }
        let stored = self.log.entries.len();
        for node in &answering {
            self.keeper(*node).stored = stored;
        }
        self.choose_voters(leader, &answering);
    }

    /// What goes by counts, whatever clocks show.
    fn log_time(&self, now: u64) -> Timestamp {
        Timestamp::from_unix_ms(BEGINNING + now)
    }

    /// A leader hears that it is none any more.
    fn give_up(&mut self, leader: usize, term: u64) {
        let (now, mistake) = (self.now, self.mistake);
        let keeper = self.keeper(leader);
        keeper.leads = None;
        keeper.term = term;
        keeper.heard = now;
        let lost = std::mem::take(&mut keeper.waiting);
        self.note(
            leader,
            &format!("leads no more; {} of its commands are lost", lost.len()),
        );
        if mistake == Some(Mistake::Forwards) {
            let asks = lost.into_iter().map(|waiting| Ask {
                from: leader,
                at: now,
                until: now + FORWARDED,
                said: waiting.said,
            });
            self.asks.extend(asks);
        }
    }

    fn elect(&mut self) {
        let (now, pace) = (self.now, self.pace);
        for node in self.log.voters.clone() {
            if !self.nodes[node].runs(now) || self.nodes[node].keeper.is_none() {
                continue;
            }
            let patience = pace * 2 + 2_000 + self.random.below(2_000);
            let keeper = self.keeper(node);
            if keeper.patience == 0 {
                keeper.patience = patience;
            }
            if keeper.leads.is_some() || now.saturating_sub(keeper.heard) <= keeper.patience {
                continue;
            }
            keeper.patience = patience;
            let granted: BTreeSet<usize> = self
                .log
                .voters
                .iter()
                .copied()
                .filter(|voter| self.grants(*voter, node))
                .collect();
            if is_majority(&self.log.voters, &granted) {
                self.make_leader(node, &granted);
            }
        }
    }

    fn grants(&self, voter: usize, to: usize) -> bool {
        let candidate = self.nodes[to].keeper.as_ref();
        let Some((keeper, candidate)) = self.nodes[voter].keeper.as_ref().zip(candidate) else {
            return false;
        };
        let is_free = match keeper.leads {
            Some(_) => keeper.is_quiet(self.now, self.pace),
            None => self.now.saturating_sub(keeper.heard) >= LEASE + self.pace,
        };
        voter == to
            || self.nodes[voter].runs(self.now)
                && self.reach_each_other(voter, to)
                && keeper.stored <= candidate.stored
                && is_free
    }

    /// It leads from now on, whoever believes that it does as well.
    pub(super) fn make_leader(&mut self, node: usize, granted: &BTreeSet<usize>) {
        let now = self.now;
        let term = 1 + granted
            .iter()
            .filter_map(|it| self.nodes[*it].keeper.as_ref())
            .map(|it| it.term)
            .max()
            .unwrap_or(0);
        let mut survive: Vec<Waiting> = Vec::new();
        for other in self.keepers() {
            let keeper = self.keeper(other);
            survive.extend(
                keeper
                    .waiting
                    .extract_if(.., |it| it.reached.contains(&node)),
            );
            if granted.contains(&other) {
                keeper.term = term;
                keeper.heard = now;
                keeper.leads = None;
                keeper.waiting.clear();
            }
        }
        survive.sort_by_key(|it| it.term);
        let count = survive.len();
        for waiting in survive {
            self.commit(waiting.term, waiting.said);
        }
        self.commit(term, Said::nothing(self.nodes[node].id));
        let is_slow = self.random.chance(0.3);
        let slow_for = self.random.below(4_000);
        let stored = self.log.entries.len();
        for it in granted {
            self.keeper(*it).stored = stored;
        }
        let keeper = self.keeper(node);
        keeper.leads = Some(term);
        keeper.answered = now;
        if is_slow {
            keeper.slow_until = now + slow_for;
        }
        self.tally.leaders += 1;
        self.note(
            node,
            &format!("leads in term {term}; {count} commands survived"),
        );
    }

    /// Leadership is handed over, if that can be: the old leader does not hear of it at once, unless its own vote is needed.
    pub(super) fn hand_over(&mut self, to: usize) {
        let Some(from) = self.leader() else { return };
        let others = self.log.voters.iter().copied().filter(|it| *it != from);
        let mut granted: BTreeSet<usize> = others
            .filter(|it| self.nodes[*it].runs(self.now) && self.nodes[*it].keeper.is_some())
            .filter(|it| *it == to || self.reach_each_other(*it, to))
            .collect();
        let all = self.log.entries.len();
        let has_all = self.nodes[to]
            .keeper
            .as_ref()
            .is_some_and(|it| it.stored == all);
        let is_able =
            from != to && self.log.voters.contains(&to) && granted.contains(&to) && has_all;
        if !is_majority(&self.log.voters, &granted) && self.reach_each_other(from, to) {
            granted.insert(from);
        }
        if is_able && is_majority(&self.log.voters, &granted) {
            self.make_leader(to, &granted);
        }
    }

    /// Masters and workers vote, five at most, always an odd number; who has failed only where nobody else is there.
    fn choose_voters(&mut self, leader: usize, answering: &BTreeSet<usize>) {
        if self.now < self.log.next_voters {
            return;
        }
        self.log.next_voters = self.now + 5_000;
        let all = self.log.entries.len();
        let node = &self.nodes[leader];
        let Some(keeper) = &node.keeper else { return };
        let mut wanted = Vec::new();
        for record in keeper.decided.nodes() {
            let Some(place) = self.places.get(&record.node).copied() else {
                continue;
            };
            let may = record.role.keeps_log() && !record.drains;
            let is_voter = self.log.voters.contains(&place);
            let has_all = self.nodes[place]
                .keeper
                .as_ref()
                .is_some_and(|it| it.stored == all);
            let presence = node.view.nodes.get(&place).map(|it| it.verdict);
            let is_there = place == leader || presence == Some(Presence::Reachable);
            let is_out = matches!(presence, Some(Presence::Failed | Presence::Left));
            if may && (is_voter || has_all && is_there) {
                wanted.push((is_out, !is_voter, record.rank(), place));
            }
        }
        wanted.sort_unstable();
        wanted.truncate(odd(wanted.len()).min(VOTERS));
        let wanted: BTreeSet<usize> = wanted.into_iter().map(|it| it.3).collect();
        if wanted != self.log.voters && is_majority(&wanted, answering) {
            self.note(leader, &format!("these vote now: {wanted:?}"));
            self.log.voters = wanted;
            if !self.log.voters.contains(&leader) {
                // It hands over first, as the engine does.
                let next = self
                    .log
                    .voters
                    .iter()
                    .copied()
                    .find(|it| answering.contains(it));
                let granted: BTreeSet<usize> =
                    self.log.voters.intersection(answering).copied().collect();
                if let Some(next) = next {
                    self.make_leader(next, &granted);
                }
            }
        }
    }

    fn commit(&mut self, term: u64, said: Said) {
        let last = self
            .log
            .entries
            .last()
            .map_or(Timestamp::UNIX_EPOCH, |it| it.time);
        let entry = Entry {
            term,
            time: self.log_time(self.now).max(last),
            said,
        };
        let told = self.judge.hear(self.now, &entry, &self.nodes, &self.places);
        if let Some(told) = told {
            self.trace_fault(&told);
        }
        self.log.entries.push(entry);
    }

    /// What has come to a leader waits there for a majority.
    fn take_asks(&mut self) {
        let now = self.now;
        for ask in std::mem::take(&mut self.asks) {
            if now < ask.at {
                self.asks.push(ask);
                continue;
            }
            let planned = ask.said.offer.as_ref().map(|it| it.term);
            let planned = planned.filter(|_| self.mistake != Some(Mistake::Forwards));
            let is_planned = planned.is_some();
            let leader = if let Some(term) = planned {
                // A planner asks the log of its own node, which takes nothing unless it still leads as it did.
                let keeper = self.nodes[ask.from].keeper.as_ref();
                let leads = keeper.and_then(|it| it.leads);
                (leads.is_some() && leads == term).then_some(ask.from)
            } else {
                let believed = self.nodes[ask.from]
                    .keeper
                    .as_ref()
                    .is_some_and(|it| it.leads.is_some());
                let led = if believed {
                    Some(ask.from)
                } else {
                    self.leader()
                };
                led.filter(|it| *it == ask.from || self.reach_each_other(ask.from, *it))
            };
            match leader.filter(|it| self.nodes[*it].runs(now)) {
                Some(leader) => {
                    let keeper = self.keeper(leader);
                    let term = keeper.term;
                    keeper.waiting.push(Waiting {
                        term,
                        said: ask.said,
                        reached: BTreeSet::from([leader]),
                    });
                }
                None if !is_planned && now < ask.until => self.asks.push(ask),
                None => {}
            }
        }
    }

    fn apply(&mut self) {
        let now = self.now;
        for (place, node) in self.nodes.iter_mut().enumerate() {
            if !node.runs(now) {
                continue;
            }
            let Some(keeper) = node.keeper.as_mut().filter(|it| now >= it.slow_until) else {
                continue;
            };
            let is_new = keeper.applied < keeper.stored;
            while keeper.applied < keeper.stored {
                let entry = &self.log.entries[keeper.applied];
                keeper.decided.apply(entry.term, entry.batch());
                keeper.applied += 1;
                keeper.applied_term = entry.term;
                if matches!(entry.said.command, Command::Config(_)) {
                    keeper.rules = Arc::new(Rules::of_keys(|key| keeper.decided.setting(key)));
                }
                if let Command::Node(command) = &entry.said.command {
                    node.next_pass = node.next_pass.min(now + 500);
                    if let NodeCommand::ConfirmLoss { lost } = command {
                        node.view
                            .thaw(now, lost.iter().map(|(node, _)| place_of(node)));
                    }
                }
            }
            if is_new {
                node.clock.seen(now, keeper.decided.time());
                if let Some(record) = keeper.decided.node(&node.id) {
                    node.granted = Some((record.role, record.revision));
                }
            }
            // Who does not keep the log any more goes on as long as it votes.
            if !node.plays.keeps_log()
                && node.turning.is_none()
                && !self.log.voters.contains(&place)
            {
                node.keeper = None;
            }
        }
    }

    /// Those without a copy hear from one who has one.
    pub(super) fn feed(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].keeper.is_some() || !self.nodes[node].runs(self.now) {
                continue;
            }
            let id = self.nodes[node].id;
            for other in self.keepers() {
                let is_heard = self.nodes[other].runs(self.now) && self.arrives(other, node);
                let keeper = self.nodes[other].keeper.as_ref().filter(|_| is_heard);
                let Some(keeper) = keeper.filter(|it| it.applied > 0) else {
                    continue;
                };
                let time = keeper.decided.time();
                let record = keeper.decided.node(&id).map(|it| (it.role, it.revision));
                let known = self.nodes[node].granted.map(|(_, revision)| revision);
                let to = &mut self.nodes[node];
                to.clock.seen(self.now, time);
                if let Some((role, revision)) =
                    record.filter(|(_, revision)| known.is_none_or(|known| *revision > known))
                {
                    to.granted = Some((role, revision));
                }
            }
        }
    }

    /// It begins to keep the log, or goes on where it was.
    pub(super) fn begin_to_keep(&mut self, node: usize) {
        let now = self.now;
        if self.nodes[node].plays.keeps_log() && self.nodes[node].keeper.is_none() {
            let mut keeper = Keeper::new();
            keeper.heard = now;
            self.nodes[node].keeper = Some(keeper);
        }
    }
}

impl Said {
    /// Time goes by.
    pub(super) fn nothing(principal: NodeId) -> Self {
        Self {
            principal,
            command: Command::Tick,
            offer: None,
            number: 0,
        }
    }
}
