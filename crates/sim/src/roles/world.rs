//! The world of a story: nodes, what is cut between them, and its time, which goes in steps.
//!
//! A step of [`World::pace`] milliseconds is fine while things happen, and coarse while hours go by; what waits for silence waits for more steps then. In
//! a step, in this order: nodes start, look at their machines, gossip and judge; the log goes on; roles are carried out; planners pass.
//!
//! Deliberately not here: why anything happens (`tale`), and what must hold (`oracles`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use convoke_planner::roles::Refused;
use convoke_types::NodeId;
use convoke_types::wire::store::Command;

use super::log::{Ask, Log, Said};
use super::machine::Capacity;
use super::node::{Node, Passed, id_of};
use super::oracles::Judge;
use super::tale::Mistake;
use super::views::Patience;
use crate::Random;
use crate::actor::Place;
use crate::trace::{Kind, Trace};
use convoke_types::Role;

/// Steps while things happen, while they might, and while nothing does.
pub(super) const FINE: u64 = 1_000;
pub(super) const COARSE: u64 = 5_000;
pub(super) const CALM: u64 = 20_000;
/// Between two looks of a node at its machine.
const PROBE: u64 = 10_000;
/// Between two passes of a planner.
const PASS: u64 = 5_000;
/// Others that a node gossips with in a fine step. In others it is all, as many rounds go by.
const PARTNERS: usize = 2;
/// How long a change of roles takes at most.
const TURN: u64 = 30_000;

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) leaders: u64,
    pub(super) crashes: u64,
    pub(super) undone: u64,
    pub(super) passes: u64,
}

fn place_in(node: usize) -> Place {
    Place(u32::try_from(node).unwrap_or(u32::MAX))
}

/// All of it.
pub(super) struct World {
    pub(super) now: u64,
    pub(super) pace: u64,
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) nodes: Vec<Node>,
    pub(super) places: BTreeMap<NodeId, usize>,
    /// Who does not reach whom.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) loss: f64,
    pub(super) log: Log,
    pub(super) asks: Vec<Ask>,
    /// What is planned takes so much longer to get to the log.
    pub(super) asks_take: u64,
    pub(super) judge: Judge,
    pub(super) mistake: Option<Mistake>,
    pub(super) tally: Tally,
    numbers: u64,
}

impl World {
    pub(super) fn new(seed: u64, mistake: Option<Mistake>, lines: usize) -> Self {
        let mut trace = Trace::new(seed);
        trace.keep(lines);
        Self {
            now: 0,
            pace: FINE,
            random: Random::from_seed(seed),
            trace,
            nodes: Vec::new(),
            places: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0.0,
            log: Log::default(),
            asks: Vec::new(),
            asks_take: 0,
            judge: Judge::default(),
            mistake,
            tally: Tally::default(),
            numbers: 0,
        }
    }

    /// One more node; it is enrolled by whoever calls this.
    pub(super) fn join(&mut self, role: Role, capacity: Capacity) -> usize {
        let place = self.nodes.len();
        let mut node = Node::new(place, role, capacity);
        node.clock.drift_ppm = i64::try_from(self.random.below(401)).unwrap_or(0) - 200;
        self.places.insert(node.id, place);
        self.nodes.push(node);
        self.judge.expect(place, self.now);
        place
    }

    /// Somebody wants it decided; gives back the number by which it is known again.
    pub(super) fn ask(&mut self, from: usize, command: Command) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        self.note(from, &format!("asks {number}: {command:?}"));
        let said = Said {
            principal: id_of(from),
            command,
            offer: None,
            number,
        };
        self.asks.push(Ask {
            from,
            at: self.now,
            until: self.now + 30_000,
            said,
        });
        number
    }

    pub(super) fn note(&mut self, node: usize, text: &str) {
        self.trace.note(self.now * 1_000_000, place_in(node), text);
    }

    pub(super) fn trace_fault(&mut self, text: &str) {
        self.trace.fault(self.now * 1_000_000, text);
    }

    pub(super) fn broken(&mut self, what: String) {
        self.trace_fault(&what);
        self.judge.broken.push(what);
    }

    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        from == to || !self.cut.contains(&(from, to))
    }

    pub(super) fn reach_each_other(&self, one: usize, other: usize) -> bool {
        self.reaches(one, other) && self.reaches(other, one)
    }

    /// A message gets there.
    pub(super) fn arrives(&mut self, from: usize, to: usize) -> bool {
        self.reaches(from, to) && !self.random.chance(self.loss)
    }

    /// Nobody reaches the others from inside of a side, or from outside.
    pub(super) fn part(&mut self, side: &BTreeSet<usize>) {
        for one in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                if side.contains(&one) != side.contains(&other) {
                    self.cut.insert((one, other));
                }
            }
        }
        self.trace_fault(&format!("{side:?} and the others do not reach each other"));
    }

    pub(super) fn crash(&mut self, node: usize, back_at: Option<u64>) {
        if self.nodes[node].is_up {
            self.tally.crashes += 1;
            self.note(node, "crashes");
            self.nodes[node].crash(self.now);
        }
        self.nodes[node].back_at = back_at;
    }

    pub(super) fn run_for(&mut self, millis: u64) {
        let until = self.now + millis;
        while self.now < until {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += self.pace;
        self.start_and_probe();
        self.watch_links();
        self.gossip();
        self.go_on();
        self.feed();
        self.carry_out();
        self.plan();
    }

    fn start_and_probe(&mut self) {
        let now = self.now;
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            if node.back_at.is_some_and(|at| now >= at) {
                node.back_at = None;
                node.is_up = true;
                node.leaves = false;
                node.next_probe = now;
                node.next_pass = now;
                self.note(place, "starts");
            }
            let node = &mut self.nodes[place];
            if node.runs(now) && now >= node.next_probe {
                node.next_probe = now + PROBE;
                node.probe();
            }
            let capacity = &self.nodes[place].capacity;
            self.judge.measure(place, now, capacity);
        }
    }

    fn watch_links(&mut self) {
        for one in 0..self.nodes.len() {
            for other in 0..one {
                let both_run = self.nodes[one].runs(self.now) && self.nodes[other].runs(self.now);
                if !both_run || !self.reach_each_other(one, other) {
                    self.judge.apart(one, other, self.now);
                }
            }
        }
    }

    fn gossip(&mut self) {
        let (now, count) = (self.now, self.nodes.len());
        for place in 0..count {
            let node = &mut self.nodes[place];
            if node.runs(now) {
                let report = Arc::clone(&node.report);
                node.view.hear(place, now, &report);
            }
        }
        for from in 0..count {
            if !self.nodes[from].runs(now) {
                continue;
            }
            if self.pace == FINE {
                for _ in 0..PARTNERS {
                    let to = self.random.below(count as u64) as usize;
                    self.tell(from, to);
                    self.tell(to, from);
                }
            } else {
                (0..count).for_each(|to| self.tell(from, to));
            }
        }
        let patience = Patience {
            unreachable: 6_000 + self.pace * 2,
            hold: 5_000 + self.pace,
        };
        for place in 0..count {
            if !self.nodes[place].runs(now) {
                continue;
            }
            let node = &mut self.nodes[place];
            let was = node.view.is_frozen;
            node.view.judge(place, now, patience);
            if node.view.is_frozen && !was {
                self.note(place, "suspects a partition");
            }
        }
    }

    /// All that one knows reaches the other.
    fn tell(&mut self, from: usize, to: usize) {
        let both_run = self.nodes[from].runs(self.now) && self.nodes[to].runs(self.now);
        if from == to || !both_run || !self.arrives(from, to) {
            return;
        }
        let [teller, hearer] = self
            .nodes
            .get_disjoint_mut([from, to])
            .expect("they are two");
        for (node, heard) in &teller.view.nodes {
            if *node != to {
                hearer.view.hear(*node, heard.alive_at, &heard.report);
            }
        }
    }

    fn carry_out(&mut self) {
        let now = self.now;
        for place in 0..self.nodes.len() {
            if !self.nodes[place].runs(now) {
                continue;
            }
            let node = &mut self.nodes[place];
            match node.turning {
                None => {
                    let wanted = node.granted.filter(|(role, revision)| {
                        *role != node.plays && node.undone != Some(*revision)
                    });
                    if let Some((role, revision)) = wanted {
                        let takes = 1_000 + self.random.below(TURN);
                        self.nodes[place].turning = Some((role, revision, now + takes));
                    }
                }
                Some((role, revision, at)) if now >= at => {
                    node.turning = None;
                    if node.cannot.contains(&role) {
                        node.undone = Some(revision);
                        node.refused = Some(Refused {
                            role,
                            at: node.clock.log_time(now).unwrap_or_default(),
                            why: "a port is taken".into(),
                        });
                        self.tally.undone += 1;
                        self.note(place, &format!("cannot be a {role}"));
                    } else {
                        node.plays = role;
                        self.note(place, &format!("plays {role}"));
                        self.begin_to_keep(place);
                    }
                    self.nodes[place].probe();
                }
                Some(_) => {}
            }
        }
    }

    fn plan(&mut self) {
        let now = self.now;
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            if !node.runs(now) || now < node.next_pass || !node.plays.keeps_log() {
                continue;
            }
            node.next_pass = now + PASS.max(3 * self.pace);
            let Some(passed) = node.pass(now, self.pace, &self.places, self.mistake) else {
                continue;
            };
            self.tally.passes += 1;
            self.trace
                .about(now * 1_000_000, Kind::Woke, place_in(place));
            self.judge.look_at(place, &passed);
            self.send(place, passed);
        }
    }

    fn send(&mut self, place: usize, passed: Passed) {
        for (command, offer) in passed.offers {
            let reason = offer
                .change
                .as_ref()
                .map_or_else(|| "undone".to_owned(), ToString::to_string);
            self.note(place, &format!("asks for {reason}"));
            let delay = match self.random.below(10) {
                0 => self.random.below(5_000),
                _ => self.random.below(500),
            };
            let said = Said {
                principal: id_of(place),
                command: Command::Node(command),
                offer: Some(Arc::new(offer)),
                number: 0,
            };
            let at = self.now + delay + self.asks_take;
            self.asks.push(Ask {
                from: place,
                at,
                until: at + 5_000,
                said,
            });
        }
    }
}
