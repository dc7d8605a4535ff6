//! Which node a light client follows, and what it knows of instances by it: thinks only.
//!
//! ```text
//! Idle ─ next ─► Opening ─ opened ─► Following ─┐
//!   ▲                │ lost              │ lost: silent, ended, it leaves, nonsense
//!   └────────────────┴───────────────────┘        what is known stays, and gets old
//! ```
//!
//! One node is believed at a time, and another one has all anew: what two nodes say of the same instance is never mixed. A part of what a node
//! says counts when it has said that this was all of it.
//!
//! | bound | | beyond |
//! | --- | --- | --- |
//! | places: seeds, and nodes that were heard of | [`SEEDS_MOST`], [`HEARD_MOST`] | not looked at; of the nodes every client keeps others |
//! | a place after a failure | random below [`AskOptions::first_pause`], doubled each time up to [`AskOptions::longest_pause`] | the best of those that wait |
//! | a place that says that it leaves | [`AskOptions::longest_pause`] | likewise |
//! | instances | [`Registry::MOST`] | what a node says is nonsense |
//!
//! Deliberately not here: links, names, the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use convoke_balance::{Health, Instance, InstanceId, Registry, Update};
use convoke_types::{Moment, NodeId};

use super::service::{DIRECTORY, Point, Question, ROWS_MOST, Told};
use super::{AskOptions, AskTrouble};
use crate::seeds::SEEDS_MOST;

/// Nodes that were heard of which one client keeps as places to go to.
pub(crate) const HEARD_MOST: usize = 64;

/// Where a node may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) addresses: Vec<SocketAddr>,
    /// Who has to be there, if that is known.
    pub(crate) node: Option<NodeId>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Seeds are looked up, and given to [`Follower::seeds`].
    LookUp,
    /// A node is asked, and what comes of it is told by [`Follower::opened`] or [`Follower::lost`].
    Open(Spot),
    /// Nothing before this moment.
    Wait(Moment),
}

#[derive(Debug)]
struct Place {
    spot: Spot,
    /// Failures in a row.
    failures: u32,
    not_before: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Opening,
    Following { since: Moment, heard: Moment },
}

/// What a node has said and not yet called all of it.
#[derive(Debug)]
struct Part {
    is_whole: bool,
    put: BTreeMap<InstanceId, Instance>,
    gone: BTreeSet<InstanceId>,
}

impl Part {
    fn new(is_whole: bool) -> Self {
        Self {
            is_whole,
            put: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }
}

/// A light client's mind.
#[derive(Debug)]
pub(crate) struct Follower {
    options: AskOptions,
    chance: u64,
    state: State,
    seeds: Vec<Place>,
    heard_of: Vec<Place>,
    /// The place that is asked or followed, as long as it is one.
    current: Option<Spot>,
    looked_up: Option<Moment>,
    point: Option<Point>,
    part: Option<Part>,
    known: BTreeSet<InstanceId>,
    /// Where else instances can be asked for, by what is known.
    directories: BTreeMap<InstanceId, Spot>,
}

impl Follower {
    pub(crate) fn new(options: AskOptions, seed: u64) -> Self {
        Self {
            options,
            chance: seed,
            state: State::Idle,
            seeds: Vec::new(),
            heard_of: Vec::new(),
            current: None,
            looked_up: None,
            point: None,
            part: None,
            known: BTreeSet::new(),
            directories: BTreeMap::new(),
        }
    }

    /// What is done next, while nobody is asked.
    pub(crate) fn next(&mut self, now: Moment) -> Next {
        if self.wants_seeds(now) {
            return Next::LookUp;
        }
        let look_again = self.looked_up.unwrap_or(now) + self.options.longest_pause;
        let places = || self.seeds.iter().chain(&self.heard_of);
        let ready: Vec<&Place> = places().filter(|it| it.not_before <= now).collect();
        let Some(least) = ready.iter().map(|it| it.failures).min() else {
            let first = places().map(|it| it.not_before).min();
            return Next::Wait(first.unwrap_or(look_again));
        };
        let best: Vec<&Place> = ready
            .into_iter()
            .filter(|it| it.failures == least)
            .collect();
        let draw = spread(self.chance) % best.len() as u64;
        let drawn = usize::try_from(draw).unwrap_or_default();
        let spot = best[drawn].spot.clone();
        self.chance = self.chance.wrapping_add(1);
        self.state = State::Opening;
        self.current = Some(spot.clone());
        Next::Open(spot)
    }

    /// Where the seeds lead to now.
    pub(crate) fn seeds(&mut self, now: Moment, addresses: Vec<SocketAddr>) {
        self.looked_up = Some(now);
        let spots = addresses.into_iter().take(SEEDS_MOST).map(|address| Spot {
            addresses: vec![address],
            node: None,
        });
        self.seeds = places(spots.collect(), std::mem::take(&mut self.seeds), now);
        self.keep_places(now);
    }

    /// What a node is asked.
    pub(crate) fn question(&self) -> Question {
        let mut services = self.options.services.clone();
        // Without them nobody else would be known to go to.
        if !services.is_empty() {
            services.push(DIRECTORY.to_owned());
        }
        Question {
            since: self.point,
            services,
            silence_ms: u64::try_from(self.options.silence.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The node that was asked is about to tell.
    pub(crate) fn opened(&mut self, now: Moment) {
        self.part = None;
        self.state = State::Following {
            since: now,
            heard: now,
        };
    }

    /// When the node that is followed has been silent for too long.
    pub(crate) fn silent_at(&self) -> Moment {
        match self.state {
            State::Idle | State::Opening => Moment::NEVER,
            State::Following { heard, .. } => heard + self.options.silence,
        }
    }

    /// The node said something. What follows from it for those who know instances; nothing, as long as it has not said all. After an error it is
    /// given up: [`lost`](Self::lost) is for the caller to call.
    pub(crate) fn heard(
        &mut self,
        now: Moment,
        told: Told,
    ) -> Result<Option<Vec<Update>>, AskTrouble> {
        if let State::Following { heard, .. } = &mut self.state {
            *heard = now;
        }
        match told {
            Told::Begins { is_whole } => {
                self.part = Some(Part::new(is_whole));
                Ok(None)
            }
            Told::Changes(rows) => {
                let Some(part) = &mut self.part else {
                    return Err(nonsense("changes of nothing"));
                };
                if rows.put.len() + rows.gone.len() > ROWS_MOST {
                    return Err(nonsense("too much in one message"));
                }
                for id in rows.gone {
                    let id = id.into_id();
                    part.put.remove(&id);
                    part.gone.insert(id);
                }
                for row in rows.put {
                    let instance = row.into_instance(now);
                    part.gone.remove(&instance.id);
                    part.put.insert(instance.id.clone(), instance);
                }
                if part.put.len() + part.gone.len() > 2 * Registry::MOST {
                    return Err(nonsense("more instances than anybody keeps"));
                }
                Ok(None)
            }
            Told::Caught(point) => {
                let Some(part) = self.part.replace(Part::new(false)) else {
                    return Err(nonsense("the end of nothing"));
                };
                self.point = Some(point);
                Ok(Some(self.take_in(now, part)))
            }
            Told::Leaves => Err(AskTrouble::Leaves),
            Told::Other => Ok(None),
        }
    }

    /// The node that was asked or followed is no longer, for this reason.
    pub(crate) fn lost(&mut self, now: Moment, why: &AskTrouble) {
        let lived = match self.state {
            State::Idle | State::Opening => Duration::ZERO,
            State::Following { since, .. } => now.since(since),
        };
        self.state = State::Idle;
        self.part = None;
        let Some(spot) = self.current.take() else {
            return;
        };
        let (first, longest) = (self.options.first_pause, self.options.longest_pause);
        self.chance = self.chance.wrapping_add(1);
        let part = f64::from(u32::try_from(spread(self.chance) >> 32).unwrap_or_default())
            / f64::from(u32::MAX);
        let all = self.seeds.iter_mut().chain(&mut self.heard_of);
        for place in all.filter(|it| it.spot.is_where(&spot)) {
            if lived >= longest {
                place.failures = 0;
            }
            place.failures = place.failures.saturating_add(1);
            let doubled = first.saturating_mul(1 << (place.failures - 1).min(16));
            let pause = doubled.min(longest).mul_f64(0.5 + part / 2.0);
            let leaves = matches!(why, AskTrouble::Leaves);
            place.not_before = now + if leaves { longest } else { pause };
        }
    }

    fn wants_seeds(&self, now: Moment) -> bool {
        let Some(at) = self.looked_up else {
            return true;
        };
        // Names lead elsewhere in the course of time: they are looked at again when nobody that is known is of use.
        let mut all = self.seeds.iter().chain(&self.heard_of);
        let nobody = all.all(|place| place.failures > 0);
        nobody && now >= at + self.options.longest_pause
    }

    fn take_in(&mut self, now: Moment, part: Part) -> Vec<Update> {
        let mut updates = Vec::new();
        let gone: BTreeSet<InstanceId> = if part.is_whole {
            let missing = self.known.iter().filter(|id| !part.put.contains_key(id));
            missing.cloned().collect()
        } else {
            part.gone
        };
        let mut moved = false;
        for id in gone {
            self.known.remove(&id);
            moved |= self.directories.remove(&id).is_some();
            updates.push(Update::Remove(id));
        }
        for (id, instance) in part.put {
            moved |= match spot_of(&instance) {
                Some(spot) => {
                    let was = self.directories.insert(id.clone(), spot.clone());
                    was != Some(spot)
                }
                None => self.directories.remove(&id).is_some(),
            };
            self.known.insert(id);
            updates.push(Update::Upsert(instance));
        }
        if moved {
            self.keep_places(now);
        }
        updates
    }

    /// Nodes that were heard of, but for those that are seeds anyway; if there are many, others of them for each client.
    fn keep_places(&mut self, now: Moment) {
        let is_seed = |spot: &Spot| self.seeds.iter().any(|seed| seed.spot.is_where(spot));
        let mut spots: Vec<Spot> = self.directories.values().cloned().collect();
        spots.retain(|spot| !is_seed(spot));
        let seed = self.options.seed.unwrap_or_default();
        spots.sort_by_cached_key(|spot| {
            let node = spot.node.map(|node| *node.as_bytes()).unwrap_or_default();
            let [a, b, c, d, e, f, g, h, ..] = node;
            spread(seed ^ u64::from_le_bytes([a, b, c, d, e, f, g, h]))
        });
        spots.truncate(HEARD_MOST);
        self.heard_of = places(spots, std::mem::take(&mut self.heard_of), now);
    }
}

impl Spot {
    /// Whether both are of the same node, as far as can be told.
    fn is_where(&self, other: &Self) -> bool {
        let shares = |address: &SocketAddr| other.addresses.contains(address);
        self == other || self.addresses.iter().any(shares)
    }
}

/// A node that tells of instances, if this is one.
fn spot_of(instance: &Instance) -> Option<Spot> {
    let is_one = &*instance.service == DIRECTORY && instance.health == Health::Serving;
    let InstanceId::Node { node, .. } = &instance.id else {
        return None;
    };
    let addresses = instance.addresses.iter();
    let addresses: Vec<SocketAddr> = addresses.filter_map(|it| it.parse().ok()).collect();
    (is_one && !addresses.is_empty()).then_some(Spot {
        addresses,
        node: Some(*node),
    })
}

/// These places, with what is remembered of those that were there.
fn places(spots: Vec<Spot>, was: Vec<Place>, now: Moment) -> Vec<Place> {
    let find = |spot: &Spot| was.iter().find(|place| place.spot == *spot);
    let place = |spot: Spot| {
        let (failures, not_before) =
            find(&spot).map_or((0, now), |place| (place.failures, place.not_before));
        Place {
            spot,
            failures,
            not_before,
        }
    };
    spots.into_iter().map(place).collect()
}

fn nonsense(what: &str) -> AskTrouble {
    AskTrouble::Nonsense {
        what: what.to_owned(),
    }
}

/// Well spread bits (splitmix64).
fn spread(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
