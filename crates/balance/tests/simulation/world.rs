//! A virtual world: servers with so many workers and a queue, clients behind balancers, a network that takes time. A seed decides all of it.
//!
//! Deliberately simple: no packet is lost here, links break by an event, and a server is as fast as its mean says, with exponential times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use convoke_balance::{
    Balancer, Call, Health, Instance, InstanceId, Load, Outcome, Params, Pick, Registry, Safety,
    Ticket, Update, Verdict, View,
};
use convoke_trial::Random;
use convoke_types::{Moment, Selector};

/// One way over the network.
const NET: Duration = Duration::from_micros(200);

/// How one server is.
#[derive(Debug, Clone)]
pub(crate) struct ServerPlan {
    pub(crate) workers: usize,
    pub(crate) mean: Duration,
    /// More wait not; they are told `Overloaded`.
    pub(crate) queue: usize,
    /// Fails so many of a thousand calls, at once.
    pub(crate) fails_permille: u64,
    /// Says this of its load, whatever it is; `None`: the truth.
    pub(crate) says: Option<u16>,
}

impl ServerPlan {
    pub(crate) fn of(workers: usize, mean_ms: f64) -> Self {
        Self {
            workers,
            mean: Duration::from_secs_f64(mean_ms / 1_000.0),
            queue: 1_000,
            fails_permille: 0,
            says: None,
        }
    }
}

/// Where calls come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Demand {
    /// So many clients, each with one call at a time.
    Closed(usize),
    /// So many calls in a second, whatever becomes of them.
    Open(f64),
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<ServerPlan>,
    pub(crate) balancers: usize,
    pub(crate) params: Params,
    pub(crate) demand: Demand,
    pub(crate) deadline: Duration,
    pub(crate) length: Duration,
    /// Not counted at the beginning.
    pub(crate) warm_up: Duration,
    /// So many of a thousand calls are of a method that takes twenty times as long.
    pub(crate) slow_permille: u64,
    /// How late the registry hears of health.
    pub(crate) registry_lag: Duration,
    /// What is done to the world, and when.
    pub(crate) script: Vec<(Duration, Deed)>,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// The process is gone: calls are lost, no link can be opened. Others say so after a while.
    Kill(usize),
    Start(usize),
    /// The verdict reaches the registry at once.
    Verdict(usize, Health),
    /// These servers cannot be reached from these balancers; nobody says so.
    Cut(Vec<usize>, Vec<usize>),
    Heal,
    Mean(usize, Duration),
    Fails(usize, u64),
}

#[derive(Debug)]
enum Event {
    Arrive(usize),
    Reach(usize, u64),
    Finish(usize, u64),
    Answer(u64, u32, Outcome),
    GiveUp(u64),
    Retry(u64),
    Wake(usize),
    Deed(Deed),
    Hear(Update),
    Loads,
}

#[derive(Debug)]
struct Server {
    plan: ServerPlan,
    is_up: bool,
    running: BTreeSet<u64>,
    waiting: VecDeque<u64>,
}

#[derive(Debug)]
struct Flight {
    balancer: usize,
    call: Call,
    began: Moment,
    sent: Moment,
    on: Option<(usize, Ticket)>,
    /// Which attempt an answer is for.
    attempt: u32,
    waits: Option<u64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) good: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    /// Of good calls, in nanoseconds, sorted.
    pub(crate) latencies: Vec<u64>,
    /// Attempts that were sent to each server, in the counted time.
    pub(crate) sent: Vec<u64>,
    /// When first attempts and retries went out, by balancer.
    pub(crate) firsts: Vec<Vec<Moment>>,
    pub(crate) retries: Vec<Vec<Moment>>,
    /// When what went to which server.
    pub(crate) sends: Vec<(Moment, usize)>,
    pub(crate) seconds: f64,
    pub(crate) lost_tickets: u64,
    pub(crate) ejections: u64,
}

impl Tally {
    pub(crate) fn per_second(&self) -> f64 {
        self.good as f64 / self.seconds
    }

    pub(crate) fn percentile(&self, permille: usize) -> Duration {
        let at =
            (self.latencies.len() * permille / 1_000).min(self.latencies.len().saturating_sub(1));
        Duration::from_nanos(self.latencies.get(at).copied().unwrap_or(0))
    }

    pub(crate) fn share(&self, server: usize) -> f64 {
        self.sent[server] as f64 / self.sent.iter().sum::<u64>().max(1) as f64
    }
}

pub(crate) struct World {
    plan: Plan,
    now: Moment,
    random: Random,
    events: BTreeMap<(Moment, u64), Event>,
    next: u64,
    servers: Vec<Server>,
    registry: Registry,
    views: Vec<View>,
    balancers: Vec<Balancer>,
    wakes: Vec<Moment>,
    cut: BTreeSet<(usize, usize)>,
    flights: BTreeMap<u64, Flight>,
    waiting: BTreeMap<(usize, u64), u64>,
    tally: Tally,
}

pub(crate) fn id(server: usize) -> InstanceId {
    InstanceId::named(&format!("s{server:03}"))
}

/// Lives through a plan.
pub(crate) fn run(plan: &Plan) -> Tally {
    World::new(plan.clone()).live()
}

impl World {
    fn new(plan: Plan) -> Self {
        let start = Moment::START + Duration::from_secs(1_000);
        let mut random = Random::from_seed(plan.seed);
        let mut registry = Registry::new();
        for server in 0..plan.servers.len() {
            registry
                .apply(Update::Upsert(Instance::new(id(server), "S")))
                .expect("few");
        }
        let seeds: Vec<u64> = (0..plan.balancers).map(|_| random.next_u64()).collect();
        let mut world = Self {
            now: start,
            events: BTreeMap::new(),
            next: 0,
            servers: plan
                .servers
                .iter()
                .map(|plan| Server {
                    plan: plan.clone(),
                    is_up: true,
                    running: BTreeSet::new(),
                    waiting: VecDeque::new(),
                })
                .collect(),
            registry,
            views: (0..plan.balancers)
                .map(|_| View::new("S", Selector::everything()))
                .collect(),
            balancers: seeds
                .into_iter()
                .map(|seed| Balancer::new(start, plan.params.clone(), seed))
                .collect(),
            wakes: vec![Moment::NEVER; plan.balancers],
            cut: BTreeSet::new(),
            flights: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tally: Tally {
                sent: vec![0; plan.servers.len()],
                firsts: vec![Vec::new(); plan.balancers],
                retries: vec![Vec::new(); plan.balancers],
                ..Tally::default()
            },
            random,
            plan,
        };
        world.tell_balancers();
        for (after, deed) in world.plan.script.clone() {
            world.at(after, Event::Deed(deed));
        }
        match world.plan.demand {
            Demand::Closed(clients) => {
                for client in 0..clients {
                    world.at(Duration::from_micros(client as u64), Event::Arrive(client));
                }
            }
            Demand::Open(_) => world.at(Duration::ZERO, Event::Arrive(0)),
        }
        world.at(Duration::from_secs(1), Event::Loads);
        world
    }

    fn live(mut self) -> Tally {
        let start = self.now;
        let end = start + self.plan.length;
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.handle(event);
        }
        let mut tally = self.tally;
        tally.seconds = (self.plan.length - self.plan.warm_up).as_secs_f64();
        tally.latencies.sort_unstable();
        for balancer in &self.balancers {
            tally.lost_tickets += balancer.counters().lost_tickets;
            tally.ejections += balancer.counters().ejections;
        }
        tally
    }

    fn is_counted(&self) -> bool {
        let start = Moment::START + Duration::from_secs(1_000);
        self.now.since(start) >= self.plan.warm_up
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.next += 1;
        self.events.insert((self.now + after, self.next), event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive(client) => self.arrive(client),
            Event::Reach(server, call) => self.reach(server, call),
            Event::Finish(server, call) => self.finish(server, call),
            Event::Answer(call, attempt, outcome) => self.answer(call, attempt, outcome),
            Event::GiveUp(call) => self.give_up(call),
            Event::Retry(call) => self.send(call),
            Event::Wake(balancer) => {
                self.wakes[balancer] = Moment::NEVER;
                self.balancers[balancer].tick(self.now);
                self.resolve(balancer);
            }
            Event::Deed(deed) => self.carry_out(deed),
            Event::Hear(update) => {
                self.registry.apply(update).expect("few");
                self.tell_balancers();
            }
            Event::Loads => self.say_loads(),
        }
    }

    fn arrive(&mut self, client: usize) {
        let number = self.next;
        let balancer = match self.plan.demand {
            Demand::Closed(_) => client % self.plan.balancers,
            Demand::Open(rate) => {
                let next = self.random.exponential(1.0 / rate);
                self.at(Duration::from_secs_f64(next), Event::Arrive(client));
                self.random.below(self.plan.balancers as u64) as usize
            }
        };
        let mut call = Call::until(self.now + self.plan.deadline);
        call.key = Some(self.random.below(1_000));
        if self.plan.slow_permille > 0 {
            let is_slow = self.random.below(1_000) < self.plan.slow_permille;
            call.method = Some((if is_slow { "slow" } else { "quick" }).into());
        }
        let flight = Flight {
            balancer,
            call,
            began: self.now,
            sent: self.now,
            on: None,
            attempt: 0,
            waits: None,
        };
        self.flights.insert(number, flight);
        self.at(self.plan.deadline, Event::GiveUp(number));
        self.send(number);
    }

    fn send(&mut self, number: u64) {
        let Some(flight) = self.flights.get(&number) else {
            return;
        };
        let balancer = flight.balancer;
        let call = flight.call.clone();
        match self.balancers[balancer].pick(self.now, &call) {
            Pick::Go(go) => self.go(number, &go.instance.id, go.ticket),
            Pick::Wait(waits) => {
                self.waiting.insert((balancer, waits), number);
                self.flights.get_mut(&number).expect("it is there").waits = Some(waits);
            }
            Pick::Refused(_) => self.end(number, false, true),
        }
        self.plan_wake(balancer);
    }

    fn go(&mut self, number: u64, to: &InstanceId, ticket: Ticket) {
        let server = (0..self.servers.len())
            .find(|it| id(*it) == *to)
            .expect("it is one of ours");
        let is_counted = self.is_counted();
        let flight = self.flights.get_mut(&number).expect("it is there");
        flight.on = Some((server, ticket));
        flight.waits = None;
        flight.attempt += 1;
        flight.sent = self.now;
        let (balancer, attempt) = (flight.balancer, flight.attempt);
        let log = if flight.call.attempts == 0 {
            &mut self.tally.firsts
        } else {
            &mut self.tally.retries
        };
        log[balancer].push(self.now);
        self.tally.sent[server] += u64::from(is_counted);
        self.tally.sends.push((self.now, server));
        if self.cut.contains(&(server, balancer)) {
            // Nothing comes back; the deadline will end it.
            return;
        }
        if self.servers[server].is_up {
            self.at(NET, Event::Reach(server, number));
        } else {
            self.at(NET, Event::Answer(number, attempt, Outcome::LinkLost));
        }
    }

    fn reach(&mut self, server: usize, number: u64) {
        let Some(flight) = self.flights.get(&number) else {
            return;
        };
        let attempt = flight.attempt;
        let it = &mut self.servers[server];
        if !it.is_up {
            self.at(NET, Event::Answer(number, attempt, Outcome::LinkLost));
        } else if self.random.below(1_000) < it.plan.fails_permille {
            self.at(NET, Event::Answer(number, attempt, Outcome::Failed));
        } else if it.running.len() < it.plan.workers {
            self.begin(server, number);
        } else if it.waiting.len() < it.plan.queue {
            it.waiting.push_back(number);
        } else {
            self.at(NET, Event::Answer(number, attempt, Outcome::Overloaded));
        }
    }

    fn begin(&mut self, server: usize, number: u64) {
        let mean = self.servers[server].plan.mean.as_secs_f64();
        let is_slow = self
            .flights
            .get(&number)
            .is_some_and(|it| it.call.method.as_deref() == Some("slow"));
        let mean = if is_slow { mean * 20.0 } else { mean };
        let takes = self.random.exponential(mean * 0.5) + mean * 0.5;
        self.servers[server].running.insert(number);
        self.at(
            Duration::from_secs_f64(takes),
            Event::Finish(server, number),
        );
    }

    fn finish(&mut self, server: usize, number: u64) {
        if !self.servers[server].running.remove(&number) {
            return;
        }
        if let Some(flight) = self.flights.get(&number)
            && flight.on.as_ref().is_some_and(|(on, _)| *on == server)
        {
            let attempt = flight.attempt;
            self.at(NET, Event::Answer(number, attempt, Outcome::Answered));
        }
        // The deadline is known to the server as well: what nobody waits for any more is not begun.
        while let Some(next) = self.servers[server].waiting.pop_front() {
            if self.flights.contains_key(&next) {
                self.begin(server, next);
                break;
            }
        }
    }

    fn answer(&mut self, number: u64, attempt: u32, outcome: Outcome) {
        let Some(flight) = self.flights.get_mut(&number) else {
            return;
        };
        let Some((server, ticket)) = flight.on.take_if(|_| flight.attempt == attempt) else {
            return;
        };
        let balancer = flight.balancer;
        let took = self.now.since(flight.sent);
        self.balancers[balancer].done(self.now, ticket, outcome, took);
        if outcome == Outcome::Answered {
            self.end(number, true, false);
        } else {
            self.again(number, server, outcome);
        }
        self.resolve(balancer);
    }

    fn again(&mut self, number: u64, server: usize, outcome: Outcome) {
        let flight = self.flights.get_mut(&number).expect("it is there");
        let safety = match outcome {
            Outcome::Overloaded => Safety::NeverStarted,
            Outcome::Answered
            | Outcome::Refused
            | Outcome::Leaving
            | Outcome::Failed
            | Outcome::Late
            | Outcome::LinkLost
            | Outcome::Cancelled => Safety::Idempotent,
        };
        let balancer = &mut self.balancers[flight.balancer];
        let failed = flight.call.clone().again(id(server));
        match balancer.retry(self.now, safety, &failed, None, None) {
            Verdict::Again(at) => {
                flight.call = failed;
                let after = at.since(self.now);
                self.at(after, Event::Retry(number));
            }
            Verdict::Stop(_) => self.end(number, false, false),
        }
    }

    fn give_up(&mut self, number: u64) {
        let Some(flight) = self.flights.get_mut(&number) else {
            return;
        };
        let balancer = flight.balancer;
        if let Some(waits) = flight.waits.take() {
            self.balancers[balancer].forget(waits);
            self.waiting.remove(&(balancer, waits));
        }
        if let Some((_, ticket)) = flight.on.take() {
            let took = self.now.since(flight.sent);
            self.balancers[balancer].done(self.now, ticket, Outcome::Late, took);
        }
        self.end(number, false, false);
        self.resolve(balancer);
    }

    fn end(&mut self, number: u64, is_good: bool, is_refused: bool) {
        let Some(flight) = self.flights.remove(&number) else {
            return;
        };
        if self.is_counted() {
            match (is_good, is_refused) {
                (true, _) => {
                    self.tally.good += 1;
                    let took = self.now.since(flight.began).as_nanos() as u64;
                    self.tally.latencies.push(took);
                }
                (false, true) => self.tally.refused += 1,
                (false, false) => self.tally.failed += 1,
            }
        }
        if let Demand::Closed(_) = self.plan.demand {
            let pause = if is_good {
                Duration::ZERO
            } else {
                Duration::from_millis(1)
            };
            let client = flight.balancer;
            self.at(pause, Event::Arrive(client));
        }
    }

    fn resolve(&mut self, balancer: usize) {
        for resolved in self.balancers[balancer].resolve(self.now) {
            let Some(number) = self.waiting.remove(&(balancer, resolved.number)) else {
                continue;
            };
            match resolved.answer {
                Ok(go) => self.go(number, &go.instance.id, go.ticket),
                Err(_) => self.end(number, false, true),
            }
        }
        self.plan_wake(balancer);
    }

    fn plan_wake(&mut self, balancer: usize) {
        let wake = self.balancers[balancer].next_wakeup();
        if wake < self.wakes[balancer] {
            self.wakes[balancer] = wake;
            let after = wake.since(self.now).max(Duration::from_micros(1));
            self.at(after, Event::Wake(balancer));
        }
    }

    fn carry_out(&mut self, deed: Deed) {
        let lag = self.plan.registry_lag;
        match deed {
            Deed::Kill(server) => {
                let it = &mut self.servers[server];
                it.is_up = false;
                let lost: Vec<u64> = it.running.iter().chain(&it.waiting).copied().collect();
                it.running.clear();
                it.waiting.clear();
                for number in lost {
                    if let Some(attempt) = self.flights.get(&number).map(|it| it.attempt) {
                        self.at(NET, Event::Answer(number, attempt, Outcome::LinkLost));
                    }
                }
                self.at(
                    lag,
                    Event::Hear(Update::Health(id(server), Health::Unreachable)),
                );
            }
            Deed::Start(server) => {
                self.servers[server].is_up = true;
                self.at(
                    lag,
                    Event::Hear(Update::Health(id(server), Health::Serving)),
                );
            }
            Deed::Verdict(server, health) => {
                self.registry
                    .apply(Update::Health(id(server), health))
                    .expect("few");
                self.tell_balancers();
            }
            Deed::Cut(servers, balancers) => {
                for server in servers {
                    self.cut
                        .extend(balancers.iter().map(|balancer| (server, *balancer)));
                }
            }
            Deed::Heal => self.cut.clear(),
            Deed::Mean(server, mean) => self.servers[server].plan.mean = mean,
            Deed::Fails(server, permille) => self.servers[server].plan.fails_permille = permille,
        }
    }

    fn tell_balancers(&mut self) {
        for balancer in 0..self.balancers.len() {
            let deltas = self.views[balancer].follow(&self.registry);
            self.balancers[balancer].follow(self.now, deltas);
            self.resolve(balancer);
        }
    }

    fn say_loads(&mut self) {
        for server in 0..self.servers.len() {
            let it = &self.servers[server];
            let truth = (it.running.len() * 1_000 / it.plan.workers) as u16;
            let permille = it.plan.says.unwrap_or(truth);
            let load = Load {
                permille,
                at: self.now,
            };
            self.registry
                .apply(Update::Load(id(server), load))
                .expect("few");
        }
        self.tell_balancers();
        self.at(Duration::from_secs(1), Event::Loads);
    }
}
