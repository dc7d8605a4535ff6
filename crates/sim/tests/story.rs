//! Oracles, drawn schedules and shortening work together: a planted mistake is found and boiled down to what it takes.

#[path = "toys/gossip.rs"]
mod gossip;

use std::time::Duration;

use convoke_sim::{
    Actor, Birth, Broken, Fault, Happened, Judge, LinkCost, Loss, Network, Outbox, Packet, Place,
    Plan, Sort, What, World, draw, explore, schedule, shrink,
};
use convoke_types::Moment;
use gossip::Gossip;

const SECOND: Duration = Duration::from_secs(1);
const HOSTS: u32 = 5;

fn gossips(seed: u64) -> World<Gossip> {
    let network = Network::wan(3)
        .losing(Loss::Even(0.02))
        .costing(LinkCost::QUIC);
    let mut world = World::new(seed, network, HOSTS as usize, |_, birth| {
        Gossip::new(u64::from(HOSTS), birth)
    });
    world.start_all(SECOND);
    world
}

/// News every second, whatever happens; in the end everybody knows the last.
fn gossip_story(seed: u64, plan: &Plan, faults: &[Fault]) -> Result<(), Broken> {
    let mut world = gossips(seed);
    world.schedule(faults.iter().cloned());
    let mut judge = Judge::new(SECOND)
        .always("nobody forgets what it synced", no_forgetting(HOSTS))
        .finally("everybody knows the last news", everybody_knows);
    let seconds = plan.healed_at().as_secs();
    for second in 1..=seconds {
        let place = Place((second % u64::from(HOSTS)) as u32);
        world.with_actor(place, |gossip, _, out| gossip.learn(second, out));
        judge.run(&mut world, Duration::from_secs(second))?;
    }
    judge.run_to_the_end(&mut world, plan.end())
}

fn no_forgetting(
    hosts: u32,
) -> impl FnMut(&World<Gossip>, &convoke_sim::Step) -> Result<(), String> {
    let mut before = vec![0; hosts as usize];
    move |world, step| {
        let Happened::Received { place, .. } = step.what else {
            return Ok(());
        };
        let known = world.actor(place).map_or(0, |gossip| gossip.highest);
        let last = std::mem::replace(&mut before[place.index()], known);
        if known < last {
            return Err(format!("{place} knew {last} and now {known}"));
        }
        Ok(())
    }
}

fn everybody_knows(world: &World<Gossip>) -> Result<(), String> {
    let known = |place| world.actor(place).map(|gossip| gossip.highest);
    let first = known(Place(0));
    let behind = world.places().find(|place| known(*place) != first);
    behind.map_or(Ok(()), |place| {
        Err(format!("{place} knows {:?}, #0 {first:?}", known(place)))
    })
}

#[test]
fn gossip_survives_every_sort_of_trouble_that_keeps_disks() {
    let mut sorts = Sort::ALL.to_vec();
    sorts.retain(|sort| *sort != Sort::CrashLosingDisk);
    let plan = Plan {
        sorts,
        ..Plan::for_hosts(HOSTS)
    };
    let found = explore(1..=20, &plan, 100, |seed, faults| {
        gossip_story(seed, &plan, faults)
    });
    if let Err(found) = found {
        panic!("{found}");
    }
}

#[test]
fn what_is_asked_at_the_end_is_asked_once_and_at_the_end() {
    let plan = Plan::for_hosts(HOSTS);
    let groups = vec![vec![Place(2)]];
    let never_healed = [Fault::new(plan.calm, What::Partition { groups })];
    let broken = gossip_story(1, &plan, &never_healed).expect_err("one is cut off");
    assert_eq!(broken.promise, "everybody knows the last news");
    assert_eq!(broken.at, plan.end());
}

#[test]
fn a_lost_disk_breaks_the_promise_and_nothing_else_is_left_of_the_schedule() {
    let plan = Plan::for_hosts(HOSTS);
    let found = explore(1..=50, &plan, 200, |seed, faults| {
        gossip_story(seed, &plan, faults)
    });
    let found = found.expect_err("some seed loses a disk");
    let faults = found.shrunk.faults();
    assert_eq!(faults.len(), 2, "{found}");
    assert!(matches!(faults[0].what, What::Kill(_)), "{found}");
    assert_eq!(found.broken.promise, "nobody forgets what it synced");
}

/// Counts the gaps between its wake-ups; one gap does no harm, so no single fault shows the mistake.
#[derive(Debug)]
struct Fragile {
    last: Moment,
    gaps: u32,
}

impl Fragile {
    const PERIOD: Duration = SECOND;

    fn new(birth: Birth<'_>) -> Self {
        Self {
            last: birth.now,
            gaps: 0,
        }
    }
}

impl Actor for Fragile {
    fn wake(&mut self, now: Moment, _: &mut Outbox) {
        self.gaps += u32::from(now.since(self.last) > 2 * Self::PERIOD);
        self.last = now;
    }

    fn receive(&mut self, _: Moment, _: Place, _: Packet, _: &mut Outbox) {}

    fn next_wakeup(&self) -> Moment {
        self.last + Self::PERIOD
    }
}

fn fragile_story(seed: u64, plan: &Plan, faults: &[Fault]) -> Result<(), Broken> {
    let mut world = World::new(seed, Network::lan(), plan.hosts as usize, |_, birth| {
        Fragile::new(birth)
    });
    world.keep_lines(5);
    world.start_all(SECOND);
    world.schedule(faults.iter().cloned());
    let mut judge = Judge::new(SECOND).now_and_then("at most one gap in a life", one_gap_at_most);
    judge.run_to_the_end(&mut world, plan.end())
}

fn one_gap_at_most(world: &World<Fragile>) -> Result<(), String> {
    let is_broken = |place: &Place| world.actor(*place).is_some_and(|fragile| fragile.gaps > 1);
    let broken = world.places().find(is_broken);
    broken.map_or(Ok(()), |place| Err(format!("{place} has two gaps")))
}

#[test]
fn a_mistake_that_takes_two_faults_is_boiled_down_to_these_two() {
    let plan = Plan {
        troubles: 60,
        ..Plan::for_hosts(3)
    };
    let found = explore(1..=100, &plan, 500, |seed, faults| {
        fragile_story(seed, &plan, faults)
    });
    let found = found.expect_err("two gaps happen to some host within sixty troubles");
    assert_eq!(found.shrunk.troubles.len(), 2, "{found}");
    let is_gap = |fault: &Fault| matches!(fault.what, What::Pause { .. } | What::Jump { .. });
    assert!(found.shrunk.faults().iter().all(is_gap), "{found}");
    assert_eq!(found.broken.context.len(), 5, "the last lines are shown");
    let again = fragile_story(found.seed, &plan, &found.shrunk.faults());
    assert_eq!(again, Err(found.broken), "it can be replayed");
}

#[test]
fn an_oracle_changes_nothing() {
    let plan = Plan::for_hosts(HOSTS);
    let faults = schedule::faults_of(&draw(1, &plan));
    let mut free = gossips(1);
    free.schedule(faults.iter().cloned());
    free.run_for(plan.end());
    let mut judged = gossips(1);
    judged.schedule(faults);
    let mut judge = Judge::new(SECOND / 10).now_and_then("never broken", |_| Ok(()));
    judge
        .run_to_the_end(&mut judged, plan.end())
        .expect("nothing is promised");
    assert_eq!(free.trace().hash(), judged.trace().hash());
}

#[test]
fn every_drawn_story_told_twice_ends_with_the_same_trace() {
    let run = |seed| {
        let mut world = gossips(seed);
        world.schedule(schedule::faults_of(&draw(seed, &Plan::for_hosts(HOSTS))));
        world.run_for(Duration::from_secs(160));
        (world.trace().hash(), world.total_traffic())
    };
    for seed in 1..=20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn shortening_asks_no_more_than_it_may() {
    let troubles = draw(3, &Plan::for_hosts(HOSTS));
    let mut runs = 0;
    shrink(&troubles, 7, |_| {
        runs += 1;
        true
    });
    assert!(runs <= 7);
}
