//! One pass over all nodes: the table of rules, in the order in which they count.
//!
//! 1. Whoever may not decide proposes nothing.
//! 2. What people decided: allowed roles, then pins. Nodes that are pinned, set by hand, draining or away are not touched by what follows.
//! 3. The cluster needs masters. Who is fit now comes first, however short it has been so.
//! 4. Nobody is fit to be a master, and one is missing for a while: the best node stands in.
//! 5. The cluster needs voters, workers, gateways: as with masters, without stand-ins. They come after 4, or the best node would be spent on less.
//! 6. A fit node takes over from a stand-in.
//! 7. A machine that has had too little for its role for the dwell: the node steps down, unless the cluster needs it.
//! 8. An idle machine that has been fit for the dwell: the node steps up.
//!
//! 6 to 8 are looked into when a check is due. 6 waits until the role was not changed within the dwell, 7 and 8 wait for the cooldown. The cap holds for
//! all of them.
//!
//! A pass changes nothing: it is a function of what the planner remembers and what it was told. One pass changes a node at most once, and looks at
//! each node a fixed number of times.
//!
//! Deliberately not here: remembering (`planner`), and words (`words`).

use std::cmp::Reverse;
use std::time::Duration;

use convoke_types::{NodeId, Role, Timestamp};

use super::decision::{Because, Decision, Hold, Notice, RoleChange, Short, Wanted};
use super::fitness::{can_stand_in, judge_all, score};
use super::input::{Authority, Decided, Enrolled, Observed, Presence, Refused, Seen};
use super::measure::Measure;
use super::planner::{ANSWER, Memory, Planner, joined, presence};
use super::rules::Rules;

/// Whether dwell, cooldown, cap and the interval of checks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// They do.
    Kept,
    /// They count as over: what would be in the end?
    Skipped,
}

/// A node in a pass.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) id: NodeId,
    pub(super) enrolled: &'a Enrolled,
    pub(super) seen: Option<&'a Seen>,
    memory: &'a Memory,
    /// The role it will have when all that is proposed is granted.
    role: Role,
    serves: bool,
    /// Why rules about need and fitness pass it over.
    bound: Option<Hold>,
    /// Why it is not changed, as the first rule said that stopped at it.
    pub(super) hold: Option<Hold>,
    /// How it is changed; an index into the changes.
    pub(super) change: Option<usize>,
}

/// How many serve in each role.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    masters: u32,
    workers: u32,
    gateways: u32,
}

/// A pass that is under way or over.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    planner: &'a Planner,
    rules: &'a Rules,
    patience: Patience,
    pub(super) nodes: Vec<Node<'a>>,
    /// How many serve when all that is proposed is granted, …
    counts: Counts,
    /// … and how many do if nothing of it is.
    granted: Counts,
    /// Masters that have not had too little for the dwell.
    fit_masters: u32,
    /// How many should be able to vote: never an even number, and no more than there are nodes.
    voters_least: u32,
    room: usize,
    waiting: u32,
    pub(super) changes: Vec<RoleChange>,
    notices: Vec<Notice>,
}

impl Authority {
    /// Whether anything may be proposed.
    #[must_use]
    pub const fn may_propose(self) -> bool {
        matches!(self, Self::Leads)
    }
}

impl Counts {
    fn of(&self, wanted: Wanted) -> u32 {
        match wanted {
            Wanted::Masters => self.masters,
            Wanted::Voters => self.masters + self.workers,
            Wanted::Workers => self.workers,
            Wanted::Gateways => self.gateways,
        }
    }

    fn add(&mut self, role: Role) {
        if let Some(count) = self.count(role) {
            *count += 1;
        }
    }

    fn take(&mut self, role: Role) {
        if let Some(count) = self.count(role) {
            *count = count.saturating_sub(1);
        }
    }

    fn count(&mut self, role: Role) -> Option<&mut u32> {
        match role {
            Role::Master => Some(&mut self.masters),
            Role::Worker => Some(&mut self.workers),
            Role::Gateway => Some(&mut self.gateways),
            Role::Leecher | Role::Observer => None,
        }
    }
}

/// All that a cluster needs some of, what counts first standing first.
const WANTED: [Wanted; 4] = [
    Wanted::Masters,
    Wanted::Voters,
    Wanted::Workers,
    Wanted::Gateways,
];

/// The role in which somebody helps.
const fn role_for(wanted: Wanted) -> Role {
    match wanted {
        Wanted::Masters => Role::Master,
        Wanted::Voters | Wanted::Workers => Role::Worker,
        Wanted::Gateways => Role::Gateway,
    }
}

const fn is_idle(role: Role) -> bool {
    matches!(role, Role::Leecher | Role::Observer)
}

impl<'a> Pass<'a> {
    /// One pass. The planner has looked at the same world before.
    pub(super) fn run(
        planner: &'a Planner,
        observed: &'a Observed,
        decided: &'a Decided,
        patience: Patience,
    ) -> Self {
        let mut pass = Self::begin(planner, observed, decided, patience);
        pass.decide(observed.authority);
        pass
    }

    /// What came of it.
    pub(super) fn decision(self) -> Decision {
        Decision {
            changes: self.changes,
            notices: self.notices,
        }
    }

    fn begin(
        planner: &'a Planner,
        observed: &'a Observed,
        decided: &'a Decided,
        patience: Patience,
    ) -> Self {
        let rules = &decided.rules;
        let mut counts = Counts::default();
        let mut granted = Counts::default();
        let memories = planner.nodes.values();
        let nodes = joined(observed, decided).zip(memories);
        let nodes = nodes.map(|((id, enrolled, seen), memory)| {
            let role = memory.asked.map_or(enrolled.role, |(to, _)| to);
            let serves = memory.serves(planner.now, enrolled, seen, rules);
            if serves {
                counts.add(role);
                if memory.asked.is_none() {
                    granted.add(role);
                }
            }
            Node {
                id,
                enrolled,
                seen,
                memory,
                role,
                serves,
                bound: bound(enrolled, seen, memory),
                hold: None,
                change: None,
            }
        });
        let nodes: Vec<Node<'_>> = nodes.collect();
        let serve = nodes.iter().filter(|node| node.serves).count();
        let serve = u32::try_from(serve).unwrap_or(u32::MAX);
        let room = match patience {
            Patience::Kept => planner.room(rules),
            Patience::Skipped => usize::MAX,
        };
        let mut pass = Self {
            planner,
            rules,
            patience,
            nodes,
            counts,
            granted,
            fit_masters: 0,
            voters_least: rules.need.voters.min(odd(serve)),
            room,
            waiting: 0,
            changes: Vec::new(),
            notices: Vec::new(),
        };
        let fit = pass.nodes.iter().filter(|node| pass.is_fit_master(node));
        pass.fit_masters = u32::try_from(fit.count()).unwrap_or(u32::MAX);
        pass
    }

    fn decide(&mut self, authority: Authority) {
        if !authority.may_propose() {
            self.notices.push(Notice::Waits(authority));
            return self.hold_all(&Hold::Waits(authority));
        }
        self.obey_people();
        if self.rules.auto {
            self.fill(Wanted::Masters);
            self.take_the_best();
            for wanted in [Wanted::Voters, Wanted::Workers, Wanted::Gateways] {
                self.fill(wanted);
            }
            if self.is_due() {
                self.relieve();
                self.check_fitness();
            }
        } else {
            self.notices.push(Notice::AutoOff);
            self.hold_all(&Hold::AutoOff);
        }
        self.tell();
    }

    fn hold_all(&mut self, hold: &Hold) {
        for at in 0..self.nodes.len() {
            self.hold(at, hold.clone());
        }
    }

    /// Rule 2.
    fn obey_people(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let is_here = presence(node.seen) == Presence::Reachable;
            if !is_here || node.memory.asked.is_some() {
                continue;
            }
            let Enrolled { allowed, pin, .. } = *node.enrolled;
            let role = node.role;
            match pin {
                Some(pin) if pin != role && allowed.contains(pin) => {
                    if self.is_last_keeper(at, pin) {
                        self.hold(at, Hold::LastKeeper(pin));
                    } else {
                        self.change(at, pin, Because::Pinned);
                    }
                }
                Some(pin) if !allowed.contains(pin) => self.hold(at, Hold::NotAllowed(pin)),
                Some(_) | None if allowed.contains(role) => {}
                Some(_) | None => match self.best_allowed(at) {
                    Some(to) => self.change(at, to, Because::NotAllowed),
                    None => self.hold(at, Hold::NothingBelow),
                },
            }
        }
    }

    /// Nobody else keeps the log. Without it nothing could be decided any more, and so the pin could not be taken away.
    fn is_last_keeper(&self, at: usize, to: Role) -> bool {
        let node = &self.nodes[at];
        let counts = node.serves && node.memory.asked.is_none();
        let others = self.granted.of(Wanted::Voters) - u32::from(counts && node.role.keeps_log());
        node.role.keeps_log() && !to.keeps_log() && others == 0
    }

    /// What a node may be that loses its role: a worker if its machine does, else something that asks nothing, else anything.
    fn best_allowed(&self, at: usize) -> Option<Role> {
        let node = &self.nodes[at];
        let allowed = node.enrolled.allowed;
        let works = node.memory.unfit_since(Role::Worker).is_none();
        let first = works.then_some(Role::Worker);
        let order = [
            Role::Leecher,
            Role::Observer,
            Role::Gateway,
            Role::Worker,
            Role::Master,
        ];
        let mut order = first.into_iter().chain(order);
        order.find(|role| allowed.contains(*role))
    }

    /// Rules 3 and 5.
    fn fill(&mut self, wanted: Wanted) {
        let mut left = self.missing(wanted);
        if left == 0 {
            return;
        }
        let mut candidates = self.fit_for(wanted);
        candidates.sort_unstable();
        let to = role_for(wanted);
        let because = Because::Need(self.short(wanted));
        for Candidate { at, .. } in candidates {
            if left == 0 {
                break;
            }
            // Whoever could be spared when all were looked at may be needed by now.
            if self.may_leave(at, to) {
                self.change(at, to, because.clone());
                left -= 1;
            }
        }
    }

    fn least(&self, wanted: Wanted) -> u32 {
        match wanted {
            Wanted::Masters => self.rules.need.masters,
            Wanted::Voters => self.voters_least,
            Wanted::Workers => self.rules.need.workers,
            Wanted::Gateways => self.rules.need.gateways,
        }
    }

    fn missing(&self, wanted: Wanted) -> u32 {
        let have = self.counts.of(wanted);
        self.least(wanted).saturating_sub(have)
    }

    fn short(&self, wanted: Wanted) -> Short {
        Short {
            of: wanted,
            least: self.least(wanted),
            have: self.counts.of(wanted),
        }
    }

    /// Everybody who is fit now and can be had.
    fn fit_for(&mut self, wanted: Wanted) -> Vec<Candidate> {
        let to = role_for(wanted);
        let mut found = Vec::new();
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let is_fit = node.memory.fit_since(to).is_some();
            let class = class(node.role, wanted);
            if let (Some(class), true) = (class, is_fit)
                && self.is_free(at, to)
                && self.may_leave(at, to)
            {
                found.push(self.candidate(at, class, to));
            }
        }
        found
    }

    fn candidate(&self, at: usize, class: u8, to: Role) -> Candidate {
        let node = &self.nodes[at];
        let score = self.score(at, to);
        Candidate {
            is_fresh: self.patience == Patience::Kept
                && node.memory.is_fresh(self.planner.now, self.rules),
            class,
            // Whoever gives up more is asked last.
            score: if node.role == Role::Master {
                Reverse(u32::MAX - score)
            } else {
                Reverse(score)
            },
            id: node.id,
            at,
        }
    }

    fn score(&self, at: usize, role: Role) -> u32 {
        let seen = self.nodes[at].seen;
        seen.map_or(0, |seen| score(role, &seen.machine, self.rules))
    }

    /// Need and fitness may change the node, and to this role.
    fn is_free(&mut self, at: usize, to: Role) -> bool {
        let node = &self.nodes[at];
        if node.change.is_some() {
            return false;
        }
        let hold = node.bound.clone().or_else(|| self.barred(at, to));
        let Some(hold) = hold else { return true };
        self.hold(at, hold);
        false
    }

    fn barred(&self, at: usize, to: Role) -> Option<Hold> {
        let node = &self.nodes[at];
        if !node.enrolled.allowed.contains(to) {
            return Some(Hold::NotAllowed(to));
        }
        let Refused { role, at, .. } = node.seen?.refused.as_ref()?;
        let whole = self.rules.dwell.max(ANSWER);
        let rest = whole.saturating_sub(self.planner.now.since(*at));
        let is_barred = *role == to && !rest.is_zero() && self.patience == Patience::Kept;
        is_barred.then_some(Hold::Refused { role: to, rest })
    }

    /// What the cluster would have too few of without this node in its role. Only those count that have their roles already: what is proposed
    /// may not be granted.
    fn needed_for(&self, at: usize, to: Role) -> Option<Wanted> {
        let node = &self.nodes[at];
        if !node.serves {
            return None;
        }
        let mut after = self.granted;
        after.take(node.role);
        after.add(to);
        let falls = |wanted: &Wanted| after.of(*wanted) < self.granted.of(*wanted);
        let is_short = |wanted: &Wanted| after.of(*wanted) < self.least(*wanted);
        WANTED
            .into_iter()
            .find(|wanted| falls(wanted) && is_short(wanted))
    }

    /// Whether a node may be taken from what it does. Idle ones may, and a master is worth any worker or gateway; others only where there are
    /// more of them than the cluster needs, and masters only when neither dwell nor cooldown forbid it.
    fn may_leave(&self, at: usize, to: Role) -> bool {
        let node = &self.nodes[at];
        match (node.role, to) {
            (Role::Leecher | Role::Observer, _) | (_, Role::Master) => true,
            (Role::Worker | Role::Gateway, _) => self.needed_for(at, to).is_none(),
            (Role::Master, _) => {
                let other_fit = self.fit_masters - u32::from(self.is_fit_master(node));
                let is_spare = other_fit >= self.rules.need.masters;
                is_spare && self.needed_for(at, to).is_none() && self.cooldown(at).is_zero()
            }
        }
    }

    /// A master that has not had too little for the dwell, and had all it needs when it became one.
    fn is_fit_master(&self, node: &Node<'_>) -> bool {
        let unfit = node.memory.unfit_since(Role::Master);
        let came_unfit = unfit.is_some() && unfit <= node.memory.changed_at;
        let is_one = node.serves && node.role == Role::Master;
        is_one && !came_unfit && !self.is_over(unfit)
    }

    /// Rule 4.
    fn take_the_best(&mut self) {
        let missing = self.missing(Wanted::Masters);
        let since = self.planner.masters_missing_since;
        let waited = since.map(|since| self.planner.now.since(since));
        let is_time = self.patience == Patience::Skipped
            || waited.is_some_and(|it| it >= self.rules.stand_in_after);
        if missing == 0 || !is_time {
            return;
        }
        let mut candidates = Vec::new();
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let could = node.seen.is_some_and(|seen| can_stand_in(&seen.machine));
            let is_other = node.role != Role::Master;
            if is_other && could && self.is_free(at, Role::Master) {
                candidates.push(Candidate {
                    is_fresh: false,
                    ..self.candidate(at, 0, Role::Master)
                });
            }
        }
        candidates.sort_unstable();
        let short = self.short(Wanted::Masters);
        for candidate in candidates.into_iter().take(missing as usize) {
            self.change(candidate.at, Role::Master, Because::StandIn(short));
        }
    }

    /// Rule 6. Those who have been fit for the dwell take over from those who are not.
    fn relieve(&mut self) {
        let short = self.rules.need.masters.saturating_sub(self.fit_masters);
        if short == 0 || self.missing(Wanted::Masters) > 0 {
            return;
        }
        let mut stand_ins = self
            .nodes
            .iter()
            .filter(|node| node.serves && node.role == Role::Master && !self.is_fit_master(node));
        let Some(stand_in) = stand_ins.next().map(|node| node.id) else {
            return;
        };
        let mut candidates = self.fit_for(Wanted::Masters);
        candidates.retain(|it| {
            let since = self.nodes[it.at].memory.fit_since(Role::Master);
            !it.is_fresh && self.is_over(since)
        });
        candidates.sort_unstable();
        for candidate in candidates.into_iter().take(short as usize) {
            self.change(candidate.at, Role::Master, Because::Replaces { stand_in });
        }
    }

    /// Rules 7 and 8.
    fn check_fitness(&mut self) {
        let mut unfit: Vec<usize> = Vec::new();
        let mut fit: Vec<Candidate> = Vec::new();
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.change.is_some() {
                continue;
            }
            if is_idle(node.role) {
                if self.steps_up(at) {
                    fit.push(self.candidate(at, 0, Role::Worker));
                }
            } else if let Some(since) = node.memory.unfit_since(node.role)
                && self.steps_down(at, since)
            {
                unfit.push(at);
            }
        }
        // The least fit goes first, and then the others may be needed.
        unfit.sort_by_cached_key(|at| (self.score(*at, self.nodes[*at].role), *at));
        for at in unfit {
            self.step_down(at);
        }
        fit.sort_unstable();
        for candidate in fit {
            let since = self.nodes[candidate.at].memory.fit_since(Role::Worker);
            if let Some(since) = since {
                self.change(candidate.at, Role::Worker, Because::Fit { since });
            }
        }
    }

    fn steps_down(&mut self, at: usize, since: Timestamp) -> bool {
        if let Some(hold) = self.nodes[at].bound.clone() {
            self.hold(at, hold);
            return false;
        }
        if let Some(hold) = self.stays_anyway(at) {
            self.hold(at, hold);
            return false;
        }
        let rest = self.rest(at, since);
        if !rest.is_zero() {
            self.hold(at, Hold::Dips { rest });
            return false;
        }
        self.is_cool(at)
    }

    /// Why a node keeps a role for which it has too little, however long.
    fn stays_anyway(&self, at: usize) -> Option<Hold> {
        match self.lesser(at) {
            None => Some(Hold::NothingBelow),
            Some(to) => self.needed_for(at, to).map(Hold::Needed),
        }
    }

    fn step_down(&mut self, at: usize) {
        // Others that went before may have made it one that is needed.
        if let Some(hold) = self.stays_anyway(at) {
            return self.hold(at, hold);
        }
        let node = &self.nodes[at];
        let since = node.memory.unfit_since(node.role);
        if let (Some(since), Some(to)) = (since, self.lesser(at)) {
            let lacks = node.memory.lacks(node.role);
            self.change(at, to, Because::Unfit { since, lacks });
        }
    }

    /// Where a node goes that has too little for its role: what it can still do, or nothing in particular. A master that cannot work either
    /// works all the same where there would be too few voters or workers without it.
    fn lesser(&self, at: usize) -> Option<Role> {
        let node = &self.nodes[at];
        let allowed = node.enrolled.allowed;
        let mut idle = [Role::Leecher, Role::Observer].into_iter();
        let idle = idle.find(|role| allowed.contains(*role));
        if node.role != Role::Master || !allowed.contains(Role::Worker) {
            return idle;
        }
        let works = node.memory.unfit_since(Role::Worker).is_none();
        let is_missed = |role| match self.needed_for(at, role) {
            Some(Wanted::Voters | Wanted::Workers) => true,
            Some(Wanted::Masters | Wanted::Gateways) | None => false,
        };
        match idle {
            Some(idle) if !works && !is_missed(idle) => Some(idle),
            Some(_) => Some(Role::Worker),
            None => works.then_some(Role::Worker),
        }
    }

    fn steps_up(&mut self, at: usize) -> bool {
        let Some(since) = self.nodes[at].memory.fit_since(Role::Worker) else {
            return false;
        };
        if !self.is_free(at, Role::Worker) {
            return false;
        }
        if !self.rules.prefer_upgrade {
            self.hold(at, Hold::UpgradeOff);
            return false;
        }
        let rest = self.rest(at, since);
        if !rest.is_zero() {
            self.hold(
                at,
                Hold::Fresh {
                    role: Role::Worker,
                    rest,
                },
            );
            return false;
        }
        self.is_cool(at)
    }

    fn is_cool(&mut self, at: usize) -> bool {
        let rest = self.cooldown(at);
        if !rest.is_zero() {
            self.hold(at, Hold::CoolsDown { rest });
        }
        rest.is_zero()
    }

    fn cooldown(&self, at: usize) -> Duration {
        match self.patience {
            Patience::Kept => self.nodes[at].memory.cooldown(self.planner.now, self.rules),
            Patience::Skipped => Duration::ZERO,
        }
    }

    /// How long something has to last still before anything follows from it for this node.
    fn rest(&self, at: usize, since: Timestamp) -> Duration {
        let whole = self.nodes[at].memory.dwell(self.planner.now, self.rules);
        self.rest_of(whole, since)
    }

    /// It has lasted for the dwell of the rules.
    fn is_over(&self, since: Option<Timestamp>) -> bool {
        since.is_some_and(|since| self.rest_of(self.rules.dwell, since).is_zero())
    }

    fn rest_of(&self, whole: Duration, since: Timestamp) -> Duration {
        match self.patience {
            Patience::Kept => whole.saturating_sub(self.planner.now.since(since)),
            Patience::Skipped => Duration::ZERO,
        }
    }

    fn is_due(&self) -> bool {
        self.patience == Patience::Skipped || self.planner.is_due()
    }

    /// Proposes, if the cap lets it.
    fn change(&mut self, at: usize, to: Role, because: Because) {
        if self.room == 0 {
            self.waiting += 1;
            return self.hold(at, Hold::Capped);
        }
        self.room -= 1;
        let was_fit_master = self.is_fit_master(&self.nodes[at]);
        let node = &mut self.nodes[at];
        if node.serves {
            self.counts.take(node.role);
            self.counts.add(to);
            self.granted.take(node.role);
        }
        node.role = to;
        node.hold = None;
        node.change = Some(self.changes.len());
        let flagged = node
            .seen
            .map_or_else(Vec::new, |seen| flagged(to, seen, self.rules));
        self.changes.push(RoleChange {
            node: node.id,
            from: node.enrolled.role,
            to,
            because,
            flagged,
        });
        let is_fit_master = self.is_fit_master(&self.nodes[at]);
        self.fit_masters += u32::from(is_fit_master);
        self.fit_masters -= u32::from(was_fit_master);
    }

    fn hold(&mut self, at: usize, hold: Hold) {
        let node = &mut self.nodes[at];
        if node.change.is_none() {
            node.hold.get_or_insert(hold);
        }
    }

    /// What a person should know.
    fn tell(&mut self) {
        for wanted in WANTED {
            if self.missing(wanted) > 0 {
                self.notices.push(Notice::Unmet(self.short(wanted)));
            }
        }
        // Beyond that many fit ones, whoever is not fit is on its way out.
        if self.fit_masters < self.rules.need.masters {
            let stand_ins = self.nodes.iter().filter(|node| {
                let is_one = node.serves && node.role == Role::Master;
                is_one && node.memory.unfit_since(Role::Master).is_some()
            });
            let notices = stand_ins.map(|node| Notice::StandsIn {
                node: node.id,
                lacks: node.memory.lacks(Role::Master),
            });
            self.notices.extend(notices);
        }
        if self.waiting > 0 {
            self.notices.push(Notice::Capped {
                waiting: self.waiting,
            });
        }
    }

    /// Why the node at this place is not changed, for a person.
    pub(super) fn why_not(&self, at: usize) -> Hold {
        let node = &self.nodes[at];
        if let Some(hold) = node.hold.clone().or_else(|| node.bound.clone()) {
            return hold;
        }
        let is_fit = |role| node.memory.fit_since(role).is_some();
        if is_idle(node.role) {
            return match (node.memory.fit_since(Role::Worker), self.is_due()) {
                (None, _) => Hold::Unfit(Role::Worker),
                (Some(_), true) => Hold::AsItShould,
                (Some(since), false) => self.not_due(at, since),
            };
        }
        if let Some(since) = node.memory.unfit_since(node.role) {
            return if self.is_due() {
                Hold::AsItShould
            } else {
                self.not_due(at, since)
            };
        }
        match node.role {
            Role::Worker if is_fit(Role::Master) => Hold::EnoughMasters,
            Role::Worker | Role::Master | Role::Gateway | Role::Leecher | Role::Observer => {
                Hold::AsItShould
            }
        }
    }

    fn not_due(&self, at: usize, since: Timestamp) -> Hold {
        let until_check = self.planner.next_check.since(self.planner.now);
        let rest = self.rest(at, since).max(self.cooldown(at));
        Hold::NotDue {
            rest: rest.max(until_check),
        }
    }
}

/// The largest number of voters that is odd.
const fn odd(number: u32) -> u32 {
    if number.is_multiple_of(2) {
        number.saturating_sub(1)
    } else {
        number
    }
}

/// Why need and fitness pass a node over.
fn bound(enrolled: &Enrolled, seen: Option<&Seen>, memory: &Memory) -> Option<Hold> {
    if let Some(pin) = enrolled.pin {
        return Some(Hold::Pinned(pin));
    }
    if !enrolled.auto {
        return Some(Hold::AutoOffHere);
    }
    if enrolled.drains {
        return Some(Hold::Drains);
    }
    let presence = presence(seen);
    if presence != Presence::Reachable {
        return Some(Hold::Away(presence));
    }
    memory.asked.map(|(to, _)| Hold::Asked(to))
}

/// Of what nobody knows whether the machine has it, though the role asks for it.
fn flagged(role: Role, seen: &Seen, rules: &Rules) -> Vec<Measure> {
    let judged = judge_all(role, &seen.machine, rules);
    let flagged = Measure::ALL.into_iter().zip(judged);
    flagged
        .filter(|(_, judged)| judged.is_flagged())
        .map(|(measure, _)| measure)
        .collect()
}

/// Who comes first when the cluster needs somebody; less is better. Nothing for roles that do not help by it.
fn class(role: Role, wanted: Wanted) -> Option<u8> {
    match (wanted, role) {
        // A worker holds the log already.
        (Wanted::Masters, Role::Worker) => Some(0),
        (Wanted::Masters, Role::Gateway) => Some(1),
        (Wanted::Masters, Role::Observer) => Some(2),
        (Wanted::Masters, Role::Leecher) => Some(3),
        (Wanted::Masters, Role::Master) => None,
        (Wanted::Voters | Wanted::Workers | Wanted::Gateways, Role::Leecher) => Some(0),
        (Wanted::Voters | Wanted::Workers | Wanted::Gateways, Role::Observer) => Some(1),
        (Wanted::Voters | Wanted::Workers, Role::Gateway) => Some(2),
        (Wanted::Workers, Role::Master) => Some(3),
        (Wanted::Voters, Role::Master | Role::Worker) => None,
        (Wanted::Workers, Role::Worker) => None,
        (Wanted::Gateways, Role::Worker) => Some(2),
        (Wanted::Gateways, Role::Master | Role::Gateway) => None,
    }
}

/// Somebody who could be had, in the order in which they are taken: whose role was not changed just now, who gives up least, who can do most,
/// and by the id where nothing else tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    is_fresh: bool,
    class: u8,
    score: Reverse<u32>,
    id: NodeId,
    at: usize,
}
