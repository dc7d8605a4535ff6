//! What a log promises, and who looks that it is kept.
//!
//! [`Eye`] sees every entry as it is applied; [`watch_over`] looks at all nodes every few milliseconds; [`judge_end`] looks once, when all
//! has been calm for a while.
//!
//! - No two nodes apply different entries at one place, or reach different states there. Nodes apply without a gap and never back.
//! - What was acknowledged is there, in the revision the answer said. No command is carried out twice.
//! - In one term one node leads. Who is cut off raises no term. A doubtful node does not vote (`world` sees that).
//! - Changes are numbered without a gap, and everybody hears the same.
//! - What clients saw could have happened one after the other.
//! - When all is well again, all nodes get to the same place, nobody doubts, and commands are carried out.
//!
//! Deliberately not here: making any of it hard.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use convoke_consensus::engine::{Consensus, Watched, Witness};
use convoke_consensus::log::{Position, VoterId};
use convoke_decided::Changed;
use convoke_types::wire::store::{Outcome, Revision};

use super::runtime::{Virtual, now, sleep};
use super::world::{MILLISECOND, Worldwide};
use crate::linear::{Judgement, Operation, judge};

/// A key's value in a history.
pub(super) type Value = u64;

/// What everybody saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) broken: Vec<String>,
    /// What stands at an index: a hash of term and bytes.
    entries: BTreeMap<u64, u64>,
    /// Where each host is, in its present life.
    applied: BTreeMap<usize, u64>,
    states: BTreeMap<u64, u64>,
    leaders: BTreeMap<u64, VoterId>,
    changes: BTreeMap<Revision, (Vec<u8>, Option<Value>)>,
    /// When each value was written.
    written: BTreeMap<Value, Revision>,
    /// What clients were told.
    pub(super) acknowledged: Vec<(Revision, Vec<u8>, Option<Value>)>,
    pub(super) last_acknowledged: u64,
    pub(super) history: Vec<Operation<Vec<u8>, Value>>,
    pub(super) messages: u64,
    pub(super) crashes: u64,
    pub(super) rots: u64,
    pub(super) restores: u64,
    /// Restored logs that the others knew more of.
    pub(super) found_old: u64,
    pub(super) outages: u64,
    pub(super) doubts: u64,
    pub(super) snapshots: u64,
    pub(super) reads: u64,
    pub(super) votes_changed: u64,
    pub(super) handovers: u64,
    /// The longest that a client tried one command, and …
    pub(super) longest: u64,
    /// … commands of which it never heard what became of them.
    pub(super) unknown: u64,
    /// When a script was over.
    pub(super) over: Option<u64>,
}

impl Seen {
    pub(super) fn starts(&mut self, host: usize) {
        self.applied.remove(&host);
    }

    pub(super) fn applied_at(&self, host: usize) -> u64 {
        self.applied.get(&host).copied().unwrap_or(0)
    }

    pub(super) fn top(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| *index)
    }

    fn same<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
        match map.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                true
            }
            Entry::Occupied(first) => *first.get() == value,
        }
    }

    fn change(&mut self, changed: &Changed) -> Option<String> {
        let change = changed.key()?.to_change();
        let value = change.item.as_ref().map(|item| value_of(&item.value));
        let revision = change.revision;
        if !Self::same(&mut self.changes, revision, (change.key, value)) {
            return Some(format!("there are two changes {revision}"));
        }
        let value = value?;
        let first = *self.written.entry(value).or_insert(revision);
        (first != revision).then(|| {
            format!("the command for {value:x} was carried out twice, as {first} and {revision}")
        })
    }
}

/// The value that was put, which is what the client said it is.
pub(super) fn value_of(bytes: &[u8]) -> Value {
    bytes
        .first_chunk()
        .copied()
        .map_or(Value::MAX, Value::from_le_bytes)
}

/// FNV, for what is compared and never kept.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Sees what one node applies.
pub(super) struct Eye {
    pub(super) world: Worldwide,
    pub(super) host: usize,
}

impl Witness for Eye {
    fn applied(&self, at: Position, payload: &[u8], _outcomes: &[Outcome], changes: &[Changed]) {
        let host = self.host;
        let mut world = self.world.lock();
        let found = hash(
            at.term
                .to_le_bytes()
                .into_iter()
                .chain(payload.iter().copied()),
        );
        world.note(host, &format!("applies {at:?} {found:x}"));
        if !Seen::same(&mut world.seen.entries, at.index, found) {
            world.broken(format!("#{host} applies another entry at {at:?}"));
        }
        let before = world.seen.applied.insert(host, at.index).unwrap_or(0);
        if at.index != before + 1 {
            world.broken(format!("#{host} applies {} after {before}", at.index));
        }
        for changed in changes {
            if let Some(what) = world.seen.change(changed) {
                world.broken(what);
            }
        }
    }

    fn installed(&self, at: Position) {
        let host = self.host;
        let mut world = self.world.lock();
        world.note(host, &format!("installs a snapshot up to {at:?}"));
        world.seen.snapshots += 1;
        let before = world.seen.applied.insert(host, at.index).unwrap_or(0);
        if at.index < before {
            world.broken(format!("#{host} goes back from {before} to {}", at.index));
        }
    }
}

/// How long what was on its way may still raise a term.
const IN_FLIGHT: u64 = 600 * MILLISECOND;

/// Looks at all nodes until the story ends.
pub(super) async fn watch_over(world: Worldwide) {
    let mut alone: BTreeMap<usize, (u64, Option<u64>)> = BTreeMap::new();
    for look in 0_u64.. {
        sleep(5 * MILLISECOND).await;
        for (host, node) in world.nodes() {
            look_at(&world, host, &node);
            if look.is_multiple_of(8) {
                look_into(&world, host, &node);
            }
            let term = node.status().term;
            if !world.lock().is_alone(host) {
                alone.remove(&host);
                continue;
            }
            let (since, known) = alone.entry(host).or_insert_with(|| (now(), None));
            if now() - *since < IN_FLIGHT {
                continue;
            }
            if known.is_some_and(|known| known < term) {
                world
                    .lock()
                    .broken(format!("#{host} is cut off and raises the term to {term}"));
            }
            *known = Some(term);
        }
    }
}

fn look_at(world: &Worldwide, host: usize, node: &Consensus<Virtual>) {
    let status = node.status();
    let mut world = world.lock();
    if status.is_doubtful && !world.hosts[host].is_suspect {
        // The others told it.
        world.seen.found_old += 1;
        world.hosts[host].is_put_back = false;
        world.hosts[host].must_apply = world.seen.top();
    }
    let (applied, needed) = (world.seen.applied_at(host), world.hosts[host].must_apply);
    if world.hosts[host].is_suspect && !status.is_doubtful && applied < needed {
        world.broken(format!(
            "#{host} trusts itself with {applied} of {needed} entries"
        ));
    }
    world.hosts[host].is_suspect = status.is_doubtful;
    if status.is_leader() && !Seen::same(&mut world.seen.leaders, status.term, status.me) {
        world.broken(format!(
            "#{host} leads term {}, as another did",
            status.term
        ));
    }
}

fn look_into(world: &Worldwide, host: usize, node: &Consensus<Virtual>) {
    let (at, frozen) = node.freeze();
    let state = hash(frozen.chunks().flatten());
    let mut world = world.lock();
    if !Seen::same(&mut world.seen.states, at.index, state) {
        world.broken(format!("#{host} has another state at {at:?}"));
    }
}

/// Watches on one node, as a client of it would, for as long as it lives.
pub(super) async fn listen(world: Worldwide, host: usize, node: Consensus<Virtual>) {
    let mut watch = node.watch(Revision(0));
    drop(node);
    let mut seen = 0;
    loop {
        let what = match watch.next().await {
            Watched::Resync(frozen) => {
                seen = frozen.revision().0;
                continue;
            }
            Watched::Changes(changes) => changes,
        };
        let mut world = world.lock();
        for changed in &what {
            seen += 1;
            if changed.revision().0 != seen {
                let told = changed.revision();
                world.broken(format!("#{host} tells of change {told} instead of {seen}"));
            }
            if let Some(what) = world.seen.change(changed) {
                world.broken(what);
            }
        }
    }
}

/// Looks at what is there when all has been calm.
pub(super) fn judge_end(world: &Worldwide, calm_since: u64) {
    let members: Vec<VoterId> = match world.leader() {
        Some((_, leader)) => leader.status().members.into_keys().collect(),
        None => return world.lock().broken("nobody leads at the end".to_owned()),
    };
    let nodes = world.nodes();
    for (host, node) in &nodes {
        look_into(world, *host, node);
        let status = node.status();
        let mut world = world.lock();
        if let Some(why) = status.stopped {
            world.broken(format!("#{host} has stopped: {why}"));
        }
        if !members.contains(&status.me) {
            continue;
        }
        let (applied, top) = (world.seen.applied_at(*host), world.seen.top());
        if applied != top {
            let (term, last) = (status.term, status.last);
            world.broken(format!(
                "#{host} applied {applied} of {top} at the end; its log ends at {last:?}, it is in term {term}"
            ));
        }
        if status.is_doubtful {
            world.broken(format!("#{host} is doubtful at the end"));
        }
    }
    let mut world = world.lock();
    if nodes.len() < world.hosts.iter().filter(|it| !it.is_out).count() {
        world.broken("not all nodes run at the end".to_owned());
    }
    if world.seen.last_acknowledged < calm_since {
        world.broken("nothing was acknowledged at the end".to_owned());
    }
    let lost = world
        .seen
        .acknowledged
        .iter()
        .find(|(revision, key, value)| {
            world.seen.changes.get(revision) != Some(&(key.clone(), *value))
        });
    if let Some(lost) = lost {
        let what = format!("{lost:x?} was acknowledged, and is not there");
        world.broken(what);
    }
    match judge(&world.seen.history) {
        Judgement::Linearizable => {}
        Judgement::Broken { key, operation } => {
            let what = &world.seen.history[operation];
            let what = format!("no order explains {what:x?} of {key:?}");
            world.broken(what);
        }
        Judgement::TooHard { .. } => world.broken("the history is too hard to judge".to_owned()),
    }
}
