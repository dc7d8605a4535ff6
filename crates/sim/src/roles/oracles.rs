//! What must hold of roles, whatever happens. The judge hears every command when it is committed, in the order of the log, and applies it to a copy of
//! decided state of its own; it knows what machines really have and who really reached whom.
//!
//! | all the while | |
//! | --- | --- |
//! | no node has a role that it may not have | [`Judge::hear`] |
//! | what was planned changes what the planner saw, and nothing that people decided | `fence` |
//! | what was planned was planned by whoever led where it stands in the log | `authority` |
//! | a planner that may not propose says nothing | [`Judge::look_at`] |
//! | no more changes in a minute than the cap, over all leaders | `cap` |
//! | fitness changes a node once in a dwell and cooldown at most, and only if the machine was so for the dwell | `patience` |
//! | nobody is promoted for a master that is there, or for whom somebody was promoted already | `once` |
//!
//! | in the end, when all is well for long | |
//! | --- | --- |
//! | nothing changes any more | [`Judge::changes`], asked by whoever tells |
//! | the cluster has what it needs, where machines and people allow it | [`wanting`] |
//! | what is decided is played | [`unplayed`] |
//!
//! Deliberately not here: what a script expects beyond that (`tale`).

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_decided::Decided;
use convoke_planner::roles::{Authority, Because, RoleChange, Rules};
use convoke_types::wire::store::{Command, NodeCommand, Outcome, Record};
use convoke_types::{NodeId, Role, Timestamp};

use super::log::Entry;
use super::machine::Capacity;
use super::node::{Node, Offer, PIECE, Passed, place_of};
use super::world::World;

/// So many findings of a story are kept.
const BROKEN: usize = 20;
/// Clocks that are a little wrong, and what is on its way: that much of a time may be missing.
const SLACK: Duration = Duration::from_secs(30);
/// Who reached each other for so long knows of the other, in milliseconds.
const KNOWN: u64 = 60_000;
/// A time in which a machine was otherwise that is shorter than this may have gone by unseen, in milliseconds.
const UNSEEN: u64 = 120_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A role that was changed.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    /// In the world's time, …
    pub(super) at: u64,
    /// … and in that of the log.
    pub(super) time: Timestamp,
    pub(super) node: usize,
    pub(super) to: Role,
    pub(super) by: By,
}

/// Who had it changed.
#[derive(Clone, Debug)]
pub(super) enum By {
    People,
    Planner(Box<RoleChange>),
    /// The node could not play the role.
    Undone,
}

/// Sees everything.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) decided: Decided,
    pub(super) changes: Vec<Changed>,
    pub(super) broken: Vec<String>,
    /// Numbers of what people asked for, and what came of it.
    pub(super) answers: BTreeMap<u64, Outcome>,
    /// When these two did not reach each other last, or one of them was not there.
    apart: BTreeMap<(usize, usize), u64>,
    /// What machines had, from when on.
    had: BTreeMap<usize, Vec<(u64, Capacity)>>,
    /// The caps that held lately, and until when.
    caps: Vec<(Timestamp, u32)>,
}

/// What an entry changed.
struct Effect<'a> {
    now: u64,
    entry: &'a Entry,
    offer: &'a Offer,
    before: &'a Record,
    to: Role,
    place: usize,
}

impl Judge {
    /// A node comes in.
    pub(super) fn expect(&mut self, node: usize, now: u64) {
        (0..node).for_each(|other| self.apart(node, other, now));
    }

    pub(super) fn apart(&mut self, one: usize, other: usize, now: u64) {
        self.apart.insert((one.min(other), one.max(other)), now);
    }

    fn together_for(&self, one: usize, other: usize, now: u64) -> u64 {
        let apart = self.apart.get(&(one.min(other), one.max(other)));
        if one == other {
            u64::MAX
        } else {
            now - apart.copied().unwrap_or(0)
        }
    }

    pub(super) fn measure(&mut self, node: usize, now: u64, capacity: &Capacity) {
        let had = self.had.entry(node).or_default();
        if had.last().is_none_or(|(_, last)| last != capacity) {
            had.push((now, capacity.clone()));
        }
    }

    fn break_promise(&mut self, what: String) -> Option<String> {
        if self.broken.len() < BROKEN {
            self.broken.push(what.clone());
        }
        Some(what)
    }

    /// A planner looked at the world.
    pub(super) fn look_at(&mut self, node: usize, passed: &Passed) {
        if passed.authority != Authority::Leads && passed.changes > 0 {
            let (authority, changes) = (passed.authority, passed.changes);
            self.break_promise(format!(
                "#{node} may propose nothing ({authority:?}) and says {changes} changes"
            ));
        }
    }

    /// A command is committed. Gives back what it did, for a line.
    pub(super) fn hear(
        &mut self,
        now: u64,
        entry: &Entry,
        nodes: &[Node],
        places: &BTreeMap<NodeId, usize>,
    ) -> Option<String> {
        let about = if let Command::Node(
            NodeCommand::Assign { node, .. }
            | NodeCommand::Grant { node, .. }
            | NodeCommand::Allow { node, .. }
            | NodeCommand::Enrol { node, .. },
        ) = &entry.said.command
        {
            Some(*node)
        } else {
            None
        };
        let before = about.and_then(|node| self.decided.node(&node).cloned());
        let applied = self.decided.apply(entry.term, entry.batch());
        let outcome = applied.outcomes.into_iter().next()?;
        let mut told =
            matches!(entry.said.command, Command::Node(_) | Command::Config(_)).then(|| {
                format!(
                    "term {}: {:?} -> {outcome:?}",
                    entry.term, entry.said.command
                )
            });
        if entry.said.number > 0 {
            self.answers.insert(entry.said.number, outcome);
        }
        self.remember_cap(entry.time);
        let (Some(before), Some(node)) = (before, about) else {
            return told;
        };
        let after = self.decided.node(&node)?.clone();
        if !after.allowed.contains(after.role) {
            return self.break_promise(format!(
                "{} is a {} and may not be one",
                after.node.short(),
                after.role
            ));
        }
        if before.role == after.role {
            return told;
        }
        let place = *places.get(&node)?;
        let by = match &entry.said.offer {
            None => By::People,
            Some(offer) => {
                let effect = Effect {
                    now,
                    entry,
                    offer,
                    before: &before,
                    to: after.role,
                    place,
                };
                let broken = self.judge_planned(&effect, nodes);
                if let Some(what) = broken {
                    let what = format!("#{place} {} -> {}: {what}", before.role, after.role);
                    told = self.break_promise(what);
                }
                offer
                    .change
                    .clone()
                    .map_or(By::Undone, |change| By::Planner(Box::new(change)))
            }
        };
        self.changes.push(Changed {
            at: now,
            time: entry.time,
            node: place,
            to: after.role,
            by,
        });
        told
    }

    fn judge_planned(&self, effect: &Effect<'_>, nodes: &[Node]) -> Option<String> {
        fence(effect)
            .or_else(|| authority(effect))
            .or_else(|| self.cap(effect, nodes))
            .or_else(|| self.patience(effect))
            .or_else(|| self.once(effect, nodes))
    }

    fn remember_cap(&mut self, time: Timestamp) {
        let key = "roles.changes-per-minute";
        let cap = match self.decided.setting(key) {
            Some(convoke_types::wire::store::Value::Number(cap)) => {
                u32::try_from(cap).unwrap_or(u32::MAX)
            }
            _ => 0,
        };
        match self.caps.last_mut() {
            Some((until, last)) if *last == cap => *until = time,
            _ => self.caps.push((time, cap)),
        }
        self.caps
            .retain(|(until, _)| time.since(*until) <= MINUTE + SLACK);
    }

    fn cap(&self, effect: &Effect<'_>, nodes: &[Node]) -> Option<String> {
        effect.offer.change.as_ref()?;
        // A minute is shorter by a clock that leapt, as far as it is believed.
        let has_leapt = nodes[effect.offer.by].clock.leapt > 0;
        let ahead = Duration::from_millis(if has_leapt { PIECE } else { 0 });
        let minute = MINUTE.saturating_sub(ahead);
        let most = self.caps.iter().map(|(_, cap)| *cap).max().unwrap_or(0) as usize;
        let time = effect.entry.time;
        let lately = self
            .changes
            .iter()
            .rev()
            .take_while(|it| time.since(it.time) < minute);
        let planned = 1 + lately.filter(|it| matches!(it.by, By::Planner(_))).count();
        (planned > most).then(|| format!("{planned} changes within a minute, and {most} may be"))
    }

    fn patience(&self, effect: &Effect<'_>) -> Option<String> {
        let rules = &effect.offer.rules;
        let change = effect.offer.change.as_ref()?;
        let (waits, is_fitness) = match change.because {
            Because::Fit { .. } | Because::Unfit { .. } => (rules.cooldown.max(rules.dwell), true),
            Because::Replaces { .. } => (rules.dwell, false),
            Because::NotAllowed | Because::Pinned | Because::Need(_) | Because::StandIn(_) => {
                return None;
            }
        };
        let since = effect
            .before
            .changed_at
            .map(|at| effect.entry.time.since(at));
        if let Some(since) = since.filter(|since| *since + SLACK < waits) {
            return Some(format!(
                "changed {since:?} after the last change, and it is left alone for {waits:?}"
            ));
        }
        if !is_fitness {
            return None;
        }
        let dwell = u64::try_from(rules.dwell.as_millis()).unwrap_or(u64::MAX);
        let from = effect.now.saturating_sub(dwell) + 3 * KNOWN / 2;
        let to = effect.now.saturating_sub(KNOWN / 2);
        // Whoever does not reach it does not see what its machine is.
        if self.together_for(effect.offer.by, effect.place, effect.now) < dwell {
            return None;
        }
        let is_up = matches!(change.because, Because::Fit { .. });
        let is_otherwise = |capacity: &Capacity| {
            if is_up {
                !capacity.has(effect.to, 1_000, rules)
            } else {
                capacity.has(effect.before.role, rules.leave_permille, rules)
            }
        };
        let had = self.had.get(&effect.place)?;
        let ends = had.iter().skip(1).map(|(at, _)| *at).chain([effect.now]);
        let mut otherwise = had
            .iter()
            .zip(ends)
            .filter(|((_, capacity), _)| is_otherwise(capacity));
        let long = otherwise.find(|((begins, _), ends)| {
            (*ends).min(to).saturating_sub((*begins).max(from)) >= UNSEEN
        });
        long.map(|_| format!("{change}, and its machine was otherwise within the dwell"))
    }

    /// Who served already, as whoever asked could know.
    fn once(&self, effect: &Effect<'_>, nodes: &[Node]) -> Option<String> {
        let change = effect.offer.change.as_ref()?;
        let is_need = matches!(change.because, Because::Need(_) | Because::StandIn(_));
        if !is_need || effect.to != Role::Master {
            return None;
        }
        let by = effect.offer.by;
        let serves = |record: &&Record| {
            let place = place_of(&record.node);
            // What it asked for may have come late: it knew those who were there when it asked, and …
            let since = effect.now - effect.offer.at;
            let is_known = self.together_for(by, place, effect.now) >= KNOWN + since;
            // … who takes over from somebody is no answer to a need.
            let came = self.changes.iter().rev().find(|it| it.node == place);
            let replaces = came.is_some_and(|it| {
                it.at + KNOWN > effect.now && matches!(&it.by, By::Planner(change) if matches!(change.because, Because::Replaces { .. }))
            });
            let is_there = nodes.get(place).is_some_and(|it| it.runs(effect.now));
            record.role == Role::Master
                && !record.drains
                && record.node != effect.before.node
                && is_known
                && is_there
                && !replaces
        };
        let masters = self.decided.nodes().filter(serves).count();
        let least = effect.offer.rules.need.masters as usize;
        (masters >= least).then(|| format!("{masters} of {least} masters serve already: {change}"))
    }
}

/// It changes what the planner saw, and nothing that people decided.
fn fence(effect: &Effect<'_>) -> Option<String> {
    let Effect {
        offer, before, to, ..
    } = effect;
    if offer.seen != **before {
        return Some(format!(
            "planned for {:?}, and the record was {before:?}",
            offer.seen
        ));
    }
    match before.pin {
        Some(pin) if pin != *to => Some(format!("it is pinned to {pin}")),
        None if before.by_hand => Some("it is set by hand".to_owned()),
        Some(_) | None => None,
    }
}

fn authority(effect: &Effect<'_>) -> Option<String> {
    let (planned, stands, by) = (effect.offer.term, effect.entry.term, effect.offer.by);
    if effect.offer.is_frozen {
        return Some(format!("planned by #{by}, which suspects a partition"));
    }
    (planned != Some(stands))
        .then(|| format!("planned by #{by} in term {planned:?}, and it stands in term {stands}"))
}

/// What the cluster lacks though somebody could have it, and who has what the rules would change. Nothing when all is well.
pub(super) fn wanting(world: &World, is_patient: bool) -> Vec<String> {
    let decided = &world.judge.decided;
    let rules = Rules::of_keys(|key| decided.setting(key));
    if !rules.auto {
        return Vec::new();
    }
    let place = |record: &Record| &world.nodes[place_of(&record.node)];
    let serves = |record: &&Record| !record.drains && place(record).is_up;
    let is_free = |record: &&Record| serves(record) && record.pin.is_none() && !record.by_hand;
    let is_idle = |record: &&Record| matches!(record.role, Role::Leecher | Role::Observer);
    let could = |record: &&Record, role: Role| {
        record.allowed.contains(role)
            && !place(record).cannot.contains(&role)
            && place(record).capacity.has(role, 1_000, &rules)
    };
    let count = |role: Role| {
        decided
            .nodes()
            .filter(serves)
            .filter(|it| it.role == role)
            .count()
    };
    let serving = decided.nodes().filter(serves).count();
    let (masters, workers, gateways) = (
        count(Role::Master),
        count(Role::Worker),
        count(Role::Gateway),
    );
    let need = rules.need;
    let odd = if serving.is_multiple_of(2) {
        serving.saturating_sub(1)
    } else {
        serving
    };
    let voters = (need.voters as usize).min(odd);
    let mut wanting = Vec::new();
    for record in decided.nodes().filter(is_free) {
        let who = place_of(&record.node);
        let can_serve =
            record.allowed.contains(Role::Master) && !place(record).cannot.contains(&Role::Master);
        if masters < need.masters as usize
            && record.role != Role::Master
            && can_serve
            && place(record).capacity.is_writable
        {
            wanting.push(format!(
                "{masters} of {} masters, and #{who} could serve",
                need.masters
            ));
        }
        let is_idle = is_idle(&record);
        let could_work = is_idle && could(&record, Role::Worker);
        if could_work && (masters + workers < voters || workers < need.workers as usize) {
            wanting.push(format!(
                "{masters} masters and {workers} workers of {voters} voters, and #{who} could work"
            ));
        } else if could_work && is_patient && rules.prefer_upgrade {
            wanting.push(format!("#{who} could work, and is a {}", record.role));
        }
        if is_idle && gateways < need.gateways as usize && could(&record, Role::Gateway) {
            wanting.push(format!(
                "{gateways} of {} gateways, and #{who} could be one",
                need.gateways
            ));
        }
        let is_spare = workers > need.workers as usize && masters + workers > voters;
        let may_idle = record.allowed.contains(Role::Leecher)
            && !place(record).cannot.contains(&Role::Leecher);
        let keeps = place(record)
            .capacity
            .has(Role::Worker, rules.leave_permille, &rules);
        if is_patient && record.role == Role::Worker && is_spare && may_idle && !keeps {
            wanting.push(format!("#{who} works, is not fit to, and can be spared"));
        }
    }
    wanting
}

/// Nodes that play something else than is decided, and could play it.
pub(super) fn unplayed(world: &World) -> Vec<String> {
    let records = world.judge.decided.nodes();
    let pairs = records.zip(&world.nodes);
    let others = pairs.filter(|(record, node)| {
        let is_theirs = record.by_hand || record.pin.is_some();
        // What it plays it may not be any more, and what it may be it cannot: nobody but people can help.
        let is_stuck = is_theirs || !record.allowed.contains(node.plays);
        node.is_up && node.plays != record.role && !(is_stuck && node.undone.is_some())
    });
    others
        .map(|(record, node)| {
            format!(
                "{} is a {} and plays {}",
                node.id.short(),
                record.role,
                node.plays
            )
        })
        .collect()
}

/// The role that is decided.
pub(super) fn role(world: &World, node: usize) -> Role {
    let record = world.judge.decided.node(&world.nodes[node].id);
    record.map_or(Role::Leecher, |it| it.role)
}
