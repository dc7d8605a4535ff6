//! Lets a case happen to a system in the virtual world, once.

use std::time::{Duration, Instant};

use convoke_sim::fault::{AddressAt, DiskAt};
use convoke_sim::random::mix;
use convoke_sim::{Place, Random, What, World};

use crate::cases::{Case, LONGEST_PAUSE, PAUSED_PERCENT, Story};
use crate::journal::Journal;
use crate::plan::{BUSY, COLD_WINDOW, Plan, STAGGER};
use crate::sample::{Measured, Quantity, Sample};
use crate::systems::{CONTACT, Scene, System};
use crate::tally::Tally;

/// All nodes start within this.
const START: Duration = Duration::from_secs(1);
/// How long nodes that stand still are watched; each does it once.
const PAUSES: Duration = Duration::from_secs(30);

/// Runs a case with a seed.
pub(crate) fn play<S: System>(case: &Case, plan: &Plan, seed: u64) -> Sample {
    let began = Instant::now();
    let mut stage = Stage::<S>::new(case, plan, seed);
    match case.story {
        Story::Deaths { percent } => stage.deaths(percent),
        Story::ColdStart => stage.cold_start(),
        Story::Pauses => stage.pauses(),
    }
    stage.sum_up();
    Sample {
        measured: stage.measured,
        remarks: stage.remarks,
        simulated: stage.world.now(),
        took: began.elapsed(),
    }
}

struct Stage<'a, S: System> {
    case: &'a Case,
    plan: &'a Plan,
    world: World<S::Node>,
    journal: Journal,
    tally: Tally,
    /// For who dies, speaks and stands still.
    random: Random,
    measured: Measured,
    remarks: Vec<String>,
}

/// What was sent per node and second.
struct Rate {
    wire: f64,
    payload: f64,
}

impl<'a, S: System> Stage<'a, S> {
    fn new(case: &'a Case, plan: &'a Plan, seed: u64) -> Self {
        let nodes = case.nodes as usize;
        let hosts = nodes + plan.newcomers as usize;
        let journal = Journal::default();
        let system = S::new(Scene { case: *case }, journal.clone());
        let network = case.network().costing(S::cost());
        Self {
            case,
            plan,
            world: World::new(seed, network, hosts, move |place, birth| {
                system.birth(place, birth)
            }),
            journal,
            tally: Tally::new(hosts, nodes),
            random: Random::from_seed(mix(seed, 0x57A6E)),
            measured: Measured::new(),
            remarks: Vec::new(),
        }
    }

    fn deaths(&mut self, percent: u32) {
        self.start_all();
        self.run_for(self.plan.warm_up);
        self.forget_the_beginning();
        self.idle();
        self.facts();
        self.kill(percent);
        self.join();
    }

    fn cold_start(&mut self) {
        self.tally.expect_everybody(self.world.now());
        self.start_all();
        let until = self.world.now() + COLD_WINDOW;
        self.run_while(until, |tally| {
            tally.everybody().is_some_and(|all| all.missing() > 0)
        });
        let Some(all) = self.tally.everybody() else {
            return;
        };
        let (seconds, missing) = (all.seconds(COLD_WINDOW), all.missing());
        self.measure(Quantity::AllKnown, [seconds]);
        let nodes = self.case.nodes as usize;
        self.remark(missing, nodes * (nodes - 1), "members not known");
    }

    fn pauses(&mut self) {
        self.start_all();
        self.run_for(self.plan.warm_up);
        self.forget_the_beginning();
        self.idle();
        for place in self.choose(self.case.share(PAUSED_PERCENT)) {
            self.tally.pauses(place);
            let at = self.world.now() + self.random.between(Duration::ZERO, PAUSES);
            let lasts = self.random.between(Duration::ZERO, LONGEST_PAUSE);
            let what = What::Pause { place, lasts };
            self.world.schedule([convoke_sim::Fault::new(at, what)]);
        }
        let busy = self.rate_for(PAUSES + LONGEST_PAUSE);
        self.measure(Quantity::BusyWire, [busy.wire]);
        self.run_for(self.plan.verdict_window);
        let paused = self.tally.paused_failed;
        self.measure(Quantity::PausedFailed, [paused as f64]);
    }

    fn start_all(&mut self) {
        for place in (0..self.case.nodes).map(Place) {
            // Whom others may want to ask is there before them.
            let latest = if place == CONTACT {
                Duration::ZERO
            } else {
                START
            };
            let at = self.world.now() + self.random.between(Duration::ZERO, latest);
            self.world
                .schedule([convoke_sim::Fault::new(at, start(place))]);
        }
    }

    /// Until all have started, some were rightly missed.
    fn forget_the_beginning(&mut self) {
        let wronged = std::mem::take(&mut self.tally.wronged).len();
        let verdicts = std::mem::take(&mut self.tally.false_failed);
        if verdicts > 0 {
            self.remarks.push(format!(
                "{verdicts} verdicts about {wronged} nodes while starting"
            ));
        }
    }

    fn idle(&mut self) {
        let idle = self.rate_for(self.plan.idle);
        self.measure(Quantity::IdleWire, [idle.wire]);
        self.measure(Quantity::IdlePayload, [idle.payload]);
    }

    fn facts(&mut self) {
        for place in self.choose(self.plan.facts) {
            let number = self.tally.says(self.world.now(), place);
            self.world
                .with_actor(place, |node, now, out| S::say(node, now, number, out));
            self.run_for(STAGGER);
        }
        let window = self.plan.fact_window;
        let until = self.world.now() + window;
        self.run_while(until, |tally| {
            tally.facts().iter().any(|fact| fact.missing() > 0)
        });
        let facts = self.tally.facts();
        let seconds: Vec<f64> = facts.iter().map(|fact| fact.seconds(window)).collect();
        let missing = facts.iter().map(|fact| fact.missing()).sum();
        let views = facts.len() * (self.case.nodes as usize - 1);
        self.measure(Quantity::Fact, seconds);
        self.remark(missing, views, "views without a fact");
    }

    fn kill(&mut self, percent: u32) {
        let at = self.world.now();
        let victims = self.choose(self.case.share(percent));
        for victim in &victims {
            self.world.inject(What::Kill(*victim));
        }
        self.tally.died(at, &victims);
        let busy = self.rate_for(BUSY);
        self.measure(Quantity::BusyWire, [busy.wire]);
        let window = self.plan.verdict_window;
        self.run_while(at + window, |tally| {
            tally.deaths().any(|death| death.failed.missing() > 0)
        });
        let views = victims.len() * self.tally.healthy().count();
        if S::WARNS {
            let deaths = self.tally.deaths().map(|death| &death.unreachable);
            let (seconds, missing) = sum(deaths, window);
            self.measure(Quantity::Unreachable, seconds);
            self.remark(missing, views, "views without unreachable");
        }
        let (seconds, missing) = sum(self.tally.deaths().map(|death| &death.failed), window);
        self.measure(Quantity::Failed, seconds);
        self.remark(missing, views, "views without failed");
    }

    fn join(&mut self) {
        let newcomers = (self.case.nodes..).take(self.plan.newcomers as usize);
        for place in newcomers.map(Place) {
            self.tally.joins(self.world.now(), place);
            self.world.inject(start(place));
            self.run_for(STAGGER);
        }
        let window = self.plan.join_window;
        let until = self.world.now() + window;
        self.run_while(until, |tally| tally.join_missing() != (0, 0));
        let seconds: Vec<f64> = self.tally.join_seconds(window).collect();
        self.measure(Quantity::Join, seconds);
        let views = self.plan.newcomers as usize * self.tally.healthy().count();
        let (unknown, unknowing) = self.tally.join_missing();
        self.remark(unknown, views, "views without a newcomer");
        self.remark(unknowing, views, "members that newcomers do not know");
    }

    fn sum_up(&mut self) {
        let false_failed = self.tally.false_failed;
        self.measure(Quantity::FalseFailed, [false_failed as f64]);
        if false_failed > 0 {
            let nodes = self.tally.wronged.len();
            self.remarks
                .push(format!("{false_failed} false verdicts about {nodes} nodes"));
        }
        let node_hours = f64::from(self.case.nodes) * self.world.now().as_secs_f64() / 3_600.0;
        let renewals = self.tally.renewals as f64 / node_hours;
        self.measure(Quantity::Renewals, [renewals]);
    }

    fn measure(&mut self, quantity: Quantity, values: impl IntoIterator<Item = f64>) {
        self.measured.entry(quantity).or_default().extend(values);
    }

    fn remark(&mut self, missing: usize, of: usize, what: &str) {
        if missing > 0 {
            self.remarks.push(format!("{missing} of {of} {what}"));
        }
    }

    /// Nodes that are healthy, but for the one that newcomers know.
    fn choose(&mut self, how_many: usize) -> Vec<Place> {
        let others = self.tally.healthy().filter(|place| *place != CONTACT);
        let mut chosen: Vec<Place> = others.collect();
        self.random.shuffle(&mut chosen);
        chosen.truncate(how_many);
        chosen
    }

    /// What those who live afterwards sent meanwhile.
    fn rate_for(&mut self, time: Duration) -> Rate {
        self.world.reset_traffic();
        self.run_for(time);
        let traffic = self.world.traffic_of_all();
        let alive: Vec<Place> = self.world.alive().collect();
        let per = alive.len() as f64 * time.as_secs_f64();
        let sent = alive.iter().map(|place| traffic[place.index()].sent);
        let (wire, payload) = sent.fold((0, 0), |(wire, payload), sent| {
            (wire + sent.wire_bytes, payload + sent.payload_bytes)
        });
        Rate {
            wire: wire as f64 / per,
            payload: payload as f64 / per,
        }
    }

    fn run_for(&mut self, time: Duration) {
        self.run_while(self.world.now() + time, |_| true);
    }

    /// Lets time go on until `until`, or until it is no longer so; asked ten times a second.
    fn run_while(&mut self, until: Duration, so: impl Fn(&Tally) -> bool) {
        while self.world.now() < until && so(&self.tally) {
            let next = (self.world.now() + STAGGER).min(until);
            let (journal, tally) = (&self.journal, &mut self.tally);
            self.world.run_until(next, |_, step| {
                journal.take(|noted| tally.take(step.at, noted));
            });
        }
    }
}

fn start(place: Place) -> What {
    What::Start {
        place,
        disk: DiskAt::Kept,
        address: AddressAt::Same,
    }
}

fn sum<'s>(
    spreads: impl Iterator<Item = &'s crate::spread::Spread>,
    window: Duration,
) -> (Vec<f64>, usize) {
    let mut missing = 0;
    let seconds = spreads
        .inspect(|spread| missing += spread.missing())
        .map(|spread| spread.seconds(window))
        .collect();
    (seconds, missing)
}
