//! Who learnt what when: takes down every note of a run and counts what is asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_sim::Place;

use crate::journal::{Learnt, Noted};
use crate::spread::Spread;

/// Everything that is counted during one run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// How each host of the world is.
    state: Vec<State>,
    deaths: BTreeMap<Place, Death>,
    facts: Vec<Spread>,
    joins: BTreeMap<Place, Join>,
    /// Everybody about everybody.
    all: Option<Spread>,
    /// Verdicts "failed" about nodes that were alive and connected all the time …
    pub(crate) false_failed: u64,
    /// … and about how many of them.
    pub(crate) wronged: BTreeSet<Place>,
    /// Verdicts "failed" about nodes that stood still for a while.
    pub(crate) paused_failed: u64,
    /// Identities that nodes had to give up.
    pub(crate) renewals: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Healthy,
    Paused,
    Dead,
}

/// How a death becomes known.
#[derive(Debug)]
pub(crate) struct Death {
    /// To be unreachable, or worse.
    pub(crate) unreachable: Spread,
    /// To have failed.
    pub(crate) failed: Spread,
}

/// How a newcomer gets to know, and known.
#[derive(Debug)]
pub(crate) struct Join {
    knows: Spread,
    known: Spread,
}

impl Tally {
    /// Of a world with so many hosts, of which the first `nodes` are there.
    pub(crate) fn new(hosts: usize, nodes: usize) -> Self {
        let state = |host| {
            if host < nodes {
                State::Healthy
            } else {
                State::Absent
            }
        };
        Self {
            state: (0..hosts).map(state).collect(),
            deaths: BTreeMap::new(),
            facts: Vec::new(),
            joins: BTreeMap::new(),
            all: None,
            false_failed: 0,
            wronged: BTreeSet::new(),
            paused_failed: 0,
            renewals: 0,
        }
    }

    /// Takes down a note.
    pub(crate) fn take(&mut self, at: Duration, Noted { by, what }: Noted) {
        match what {
            Learnt::Here(about) => self.learnt_of(at, by, about),
            Learnt::Unreachable(about) => {
                if let Some(death) = self.deaths.get_mut(&about) {
                    death.unreachable.reach(by.index(), at);
                }
            }
            Learnt::Failed(about) => self.failed(at, by, about),
            Learnt::Fact(number) => {
                if let Some(fact) = self.facts.get_mut(number as usize) {
                    fact.reach(by.index(), at);
                }
            }
            Learnt::Renewed => self.renewals += 1,
        }
    }

    fn learnt_of(&mut self, at: Duration, by: Place, about: Place) {
        if let Some(join) = self.joins.get_mut(&about) {
            join.known.reach(by.index(), at);
        }
        if let Some(join) = self.joins.get_mut(&by) {
            join.knows.reach(about.index(), at);
        }
        let hosts = self.state.len();
        if let Some(all) = &mut self.all {
            all.reach(by.index() * hosts + about.index(), at);
        }
    }

    fn failed(&mut self, at: Duration, by: Place, about: Place) {
        match self.state[about.index()] {
            State::Healthy => {
                self.false_failed += 1;
                self.wronged.insert(about);
            }
            State::Paused => self.paused_failed += 1,
            State::Dead | State::Absent => {}
        }
        if let Some(death) = self.deaths.get_mut(&about) {
            death.unreachable.reach(by.index(), at);
            death.failed.reach(by.index(), at);
        }
    }

    /// From now on it is asked when everybody knows everybody.
    pub(crate) fn expect_everybody(&mut self, since: Duration) {
        let hosts = self.state.len();
        let healthy: Vec<usize> = self.healthy().map(Place::index).collect();
        let pairs = healthy.iter().flat_map(|by| {
            let others = healthy.iter().filter(move |about| *about != by);
            others.map(move |about| by * hosts + about)
        });
        self.all = Some(Spread::new(since, pairs));
    }

    /// When everybody knew everybody.
    pub(crate) fn everybody(&self) -> Option<&Spread> {
        self.all.as_ref()
    }

    /// These have just died.
    pub(crate) fn died(&mut self, at: Duration, victims: &[Place]) {
        for victim in victims {
            self.state[victim.index()] = State::Dead;
        }
        let survivors: Vec<usize> = self.healthy().map(Place::index).collect();
        let spread = Spread::new(at, survivors);
        for victim in victims {
            let death = Death {
                unreachable: spread.clone(),
                failed: spread.clone(),
            };
            self.deaths.insert(*victim, death);
        }
    }

    /// How the deaths became known.
    pub(crate) fn deaths(&self) -> impl Iterator<Item = &Death> {
        self.deaths.values()
    }

    /// This one is about to say something new: the number of it.
    pub(crate) fn says(&mut self, at: Duration, who: Place) -> u32 {
        let others = self.healthy().filter(|place| *place != who);
        let fact = Spread::new(at, others.map(Place::index));
        self.facts.push(fact);
        self.facts.len() as u32 - 1
    }

    /// How what was said became known.
    pub(crate) fn facts(&self) -> &[Spread] {
        &self.facts
    }

    /// This one is about to join.
    pub(crate) fn joins(&mut self, at: Duration, who: Place) {
        let others: Vec<usize> = self.healthy().map(Place::index).collect();
        let spread = Spread::new(at, others);
        self.state[who.index()] = State::Healthy;
        let join = Join {
            knows: spread.clone(),
            known: spread,
        };
        self.joins.insert(who, join);
    }

    /// How long each newcomer took, to know all and to be known to all.
    pub(crate) fn join_seconds(&self, window: Duration) -> impl Iterator<Item = f64> {
        self.joins.values().map(move |join| {
            let knows = join.knows.seconds(window);
            knows.max(join.known.seconds(window))
        })
    }

    /// How many views miss a newcomer, and how many members newcomers miss.
    pub(crate) fn join_missing(&self) -> (usize, usize) {
        let sum = |missing: fn(&Join) -> usize| self.joins.values().map(missing).sum();
        (
            sum(|join| join.known.missing()),
            sum(|join| join.knows.missing()),
        )
    }

    /// This one stands still from now on, or did.
    pub(crate) fn pauses(&mut self, who: Place) {
        self.state[who.index()] = State::Paused;
    }

    /// Those that live and never stood still.
    pub(crate) fn healthy(&self) -> impl Iterator<Item = Place> {
        let places = (0..).map(Place).zip(&self.state);
        places.filter_map(|(place, state)| (*state == State::Healthy).then_some(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(5);
    const WINDOW: Duration = Duration::from_secs(60);

    fn note(by: u32, what: Learnt) -> Noted {
        let by = Place(by);
        Noted { by, what }
    }

    #[test]
    fn a_death_is_known_when_the_last_survivor_knows_it() {
        let mut tally = Tally::new(3, 3);
        tally.died(AT, &[Place(2)]);
        tally.take(2 * AT, note(0, Learnt::Unreachable(Place(2))));
        tally.take(3 * AT, note(0, Learnt::Failed(Place(2))));
        tally.take(4 * AT, note(1, Learnt::Failed(Place(2))));
        let death = tally.deaths().next().unwrap();
        assert_eq!(death.unreachable.seconds(WINDOW), 15.0);
        assert_eq!(death.failed.seconds(WINDOW), 15.0);
        assert_eq!(tally.false_failed, 0);
    }

    #[test]
    fn a_verdict_about_the_living_is_false_unless_they_stood_still() {
        let mut tally = Tally::new(3, 3);
        tally.pauses(Place(1));
        tally.take(AT, note(0, Learnt::Failed(Place(1))));
        tally.take(AT, note(0, Learnt::Failed(Place(2))));
        tally.take(AT, note(1, Learnt::Failed(Place(2))));
        assert_eq!((tally.false_failed, tally.paused_failed), (2, 1));
        assert_eq!(tally.wronged.len(), 1);
    }

    #[test]
    fn a_newcomer_has_joined_when_it_knows_all_and_all_know_it() {
        let mut tally = Tally::new(3, 2);
        tally.joins(AT, Place(2));
        tally.take(2 * AT, note(2, Learnt::Here(Place(0))));
        tally.take(2 * AT, note(2, Learnt::Here(Place(1))));
        tally.take(2 * AT, note(0, Learnt::Here(Place(2))));
        assert_eq!(tally.join_missing(), (1, 0));
        tally.take(3 * AT, note(1, Learnt::Here(Place(2))));
        assert_eq!(tally.join_seconds(WINDOW).collect::<Vec<_>>(), [10.0]);
    }
}
