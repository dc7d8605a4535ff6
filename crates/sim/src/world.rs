//! The world: hosts with programs, a network between them, faults, and one queue of what happens next.
//!
//! - [`World::new`], [`World::start_all`], [`World::schedule`]: setting the scene.
//! - [`World::run_for`], [`World::run_until`], [`World::watch_until`], [`World::step`]: letting time go on.
//! - [`World::actor`], [`World::with_actor`]: looking at programs, and telling them things.
//! - [`World::traffic`]: what was sent and received. [`World::trace`]: the number that a replay must reach.
//!
//! World time is a `Duration` since the beginning. Programs never see it: each has its host's clock, a `Moment`.
//!
//! A run depends on the seed, the network, the programs and what the test does, and on nothing else.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use convoke_types::Moment;

use crate::actor::{Actor, AddressBook, Birth, DiskAct, DiskFate, MOST_HOSTS, Outbox, Packet};
use crate::actor::{Place, Sent};
use crate::clock::LocalClock;
use crate::disk::Disk;
use crate::fault::{AddressAt, DiskAt, Fault, What};
use crate::host::{Held, Host, Mode};
use crate::links::{NEVER, Traffic};
use crate::nanos;
use crate::network::Network;
use crate::queue::{Due, Queue};
use crate::random::{Random, mix};
use crate::stalls::{Stall, Stalls};
use crate::trace::{Kind, Trace};
use crate::wire::{Ends, Post, Wire};

/// How long a packet of a host to itself takes.
const LOOPBACK: u64 = 10_000;

/// How long a host takes for each thing that waited while it was paused.
const DRAIN_STEP: u64 = 1_000;

/// At birth a clock shows something from here to an hour more: the machine has been up for a while.
const YOUNGEST_CLOCK: u64 = 1_000_000_000;
const CLOCK_SPREAD: u64 = 3_600_000_000_000;

/// A virtual world in which every host runs an `A`.
pub struct World<A> {
    seed: u64,
    now: u64,
    hosts: Vec<Host<A>>,
    factory: Factory<A>,
    wire: Wire,
    stalls: Stalls,
    queue: Queue<Event>,
    /// For pauses and spread starts; the network has chance of its own, so that one does not shift the other.
    random: Random,
    /// The one outbox, used for every call. It keeps the book of addresses, because programs read it.
    out: Outbox,
    trace: Trace,
}

type Factory<A> = Box<dyn FnMut(Place, Birth<'_>) -> A>;

/// Something that happened, as whoever watches a run sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// What.
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A program was woken.
    Woke(Place),
    /// A program received something.
    Received {
        /// Who got it.
        place: Place,
        /// Who sent it, or whom it is about.
        from: Place,
    },
    /// A host started, and its program was woken for the first time.
    Started(Place),
    /// A host died.
    Died(Place),
    /// Any other fault came or went.
    Fault,
}

/// What waits in the queue.
#[derive(Debug)]
enum Event {
    Arrive(Mail),
    Wake(Place),
    Resume(Place),
    /// Hands over the next thing that waited during a pause, to this life.
    Drain(Place, u32),
    Retry {
        from: Place,
        to: Place,
    },
    Fault(Box<What>),
}

/// A packet on its way, from one life to another.
#[derive(Debug)]
struct Mail {
    from: Place,
    to: Place,
    from_life: u32,
    to_life: u32,
    /// Whether something has to be sent again before it arrives, which only a living sender does.
    needs_sender: bool,
    packet: Packet,
}

// Setting the scene.
impl<A: Actor> World<A> {
    /// A world of so many hosts, none of them started. `factory` makes the program at every start.
    ///
    /// # Panics
    ///
    /// With more than 65,536 hosts: addresses have no room for more.
    pub fn new(
        seed: u64,
        network: Network,
        hosts: usize,
        factory: impl FnMut(Place, Birth<'_>) -> A + 'static,
    ) -> Self {
        assert!(hosts <= MOST_HOSTS, "at most {MOST_HOSTS} hosts");
        let mut random = Random::from_seed(seed);
        let out = Outbox {
            book: AddressBook::of(hosts),
            ..Outbox::default()
        };
        Self {
            seed,
            now: 0,
            hosts: std::iter::repeat_with(Host::new).take(hosts).collect(),
            factory: Box::new(factory),
            wire: Wire::new(network, hosts, random.fork()),
            stalls: Stalls::default(),
            queue: Queue::new(),
            random,
            out,
            trace: Trace::new(seed),
        }
    }

    /// Starts every host from its disk, each at some time within `spread` from now.
    pub fn start_all(&mut self, spread: Duration) {
        for place in self.places() {
            let at = self.now() + self.random.between(Duration::ZERO, spread);
            let what = What::Start {
                place,
                disk: DiskAt::Kept,
                address: AddressAt::Same,
            };
            self.schedule([Fault::new(at, what)]);
        }
    }

    /// Lets these happen in their time; those whose time is over happen next.
    pub fn schedule(&mut self, faults: impl IntoIterator<Item = Fault>) {
        for Fault { at, what } in faults {
            let at = nanos(at).max(self.now);
            self.queue.push(at, Event::Fault(Box::new(what)));
        }
    }

    /// Lets this happen now.
    pub fn inject(&mut self, what: What) {
        self.suffer(what);
    }
}

// Letting time go on.
impl<A: Actor> World<A> {
    /// Runs until world time `until`, telling `watch` of every step.
    pub fn run_until(&mut self, until: Duration, mut watch: impl FnMut(&mut Self, &Step)) {
        while let Some(step) = self.step_until(until) {
            watch(self, &step);
        }
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time, |_, _| ());
    }

    /// Runs until `watch` answers something, and returns it; at the latest until world time `until`.
    pub fn watch_until<T>(
        &mut self,
        until: Duration,
        mut watch: impl FnMut(&mut Self, &Step) -> Option<T>,
    ) -> Option<T> {
        while let Some(step) = self.step_until(until) {
            if let Some(answer) = watch(self, &step) {
                return Some(answer);
            }
        }
        None
    }

    /// The next thing that happens; `None` when nothing ever will.
    pub fn step(&mut self) -> Option<Step> {
        self.step_until(Duration::from_nanos(NEVER))
    }

    /// The next thing that happens up to and including `until`; if nothing does, it is `until` afterwards.
    pub fn step_until(&mut self, until: Duration) -> Option<Step> {
        let limit = nanos(until);
        while self.queue.next_at().is_some_and(|at| at <= limit) {
            let due = self.queue.pop()?;
            self.now = due.at;
            if let Some(what) = self.happen(due) {
                let at = self.now();
                return Some(Step { at, what });
            }
        }
        if limit != NEVER {
            self.now = self.now.max(limit);
        }
        None
    }
}

// Looking, and telling.
impl<A: Actor> World<A> {
    /// World time: how long the world has been going.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// The seed it was made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// All places, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<A> {
        (0..self.hosts.len() as u32).map(Place)
    }

    /// Where somebody lives now, paused or not, in order.
    pub fn alive(&self) -> impl Iterator<Item = Place> {
        self.places().filter(|place| self.is_alive(*place))
    }

    /// Whether the host lives, paused or not.
    pub fn is_alive(&self, place: Place) -> bool {
        self.hosts[place.index()].is_alive()
    }

    /// Whether the host lives but does not run now.
    pub fn is_paused(&self, place: Place) -> bool {
        let host = &self.hosts[place.index()];
        host.is_alive() && !host.is_running()
    }

    /// The program of a living host.
    pub fn actor(&self, place: Place) -> Option<&A> {
        self.hosts[place.index()].actor.as_ref()
    }

    /// Tells a program something, as its own user would; `None` when the host is dead or paused.
    pub fn with_actor<R>(
        &mut self,
        place: Place,
        tell: impl FnOnce(&mut A, Moment, &mut Outbox) -> R,
    ) -> Option<R> {
        if !self.hosts[place.index()].is_running() {
            return None;
        }
        self.trace.about(self.now, Kind::Command, place);
        self.call(place, tell)
    }

    /// What the host's clock shows.
    pub fn clock(&self, place: Place) -> Moment {
        self.hosts[place.index()].clock.shows(self.now)
    }

    /// How often the host was started.
    pub fn boots(&self, place: Place) -> u64 {
        u64::from(self.hosts[place.index()].life)
    }

    /// What is on the host's disk.
    pub fn disk(&self, place: Place) -> &Disk {
        &self.hosts[place.index()].disk
    }

    /// Who lives where.
    pub fn book(&self) -> &AddressBook {
        &self.out.book
    }

    /// What the network is like, standing faults apart.
    pub fn network(&self) -> &Network {
        &self.wire.network
    }

    /// Whether packets get from one living host to another now, loss apart.
    pub fn reaches(&self, from: Place, to: Place) -> bool {
        self.is_alive(from) && self.is_alive(to) && !self.wire.weather.blocks(self.now, from, to)
    }

    /// The living hosts in groups: within one, everybody reaches everybody both ways, if need be through others.
    /// Asking takes a while with thousands of hosts and standing faults.
    pub fn connected_groups(&self) -> Vec<Vec<Place>> {
        let mut left: Vec<Place> = self.alive().collect();
        let mut groups = Vec::new();
        while let Some(first) = left.first().copied() {
            groups.push(self.take_group_of(first, &mut left));
        }
        groups
    }

    /// Takes everybody out of `left` who is in the group of `first`, itself included.
    fn take_group_of(&self, first: Place, left: &mut Vec<Place>) -> Vec<Place> {
        if self.wire.weather.is_open() {
            return std::mem::take(left);
        }
        let mut group: Vec<Place> = left.extract_if(.., |place| *place == first).collect();
        let mut at = 0;
        while let Some(one) = group.get(at).copied() {
            group.extend(left.extract_if(.., |other| self.are_friends(one, *other)));
            at += 1;
        }
        group.sort_unstable();
        group
    }

    fn are_friends(&self, one: Place, other: Place) -> bool {
        self.reaches(one, other) && self.reaches(other, one)
    }

    /// What this host sent and received since the last reset. To ask for many, use [`World::traffic_of_all`].
    pub fn traffic(&self, place: Place) -> Traffic {
        self.traffic_of_all()[place.index()]
    }

    /// What each host sent and received since the last reset, in the order of places.
    pub fn traffic_of_all(&self) -> Vec<Traffic> {
        self.wire.traffic(self.now)
    }

    /// What all hosts together sent and received since the last reset.
    pub fn total_traffic(&self) -> Traffic {
        let mut total = Traffic::default();
        for traffic in &self.traffic_of_all() {
            total.add(traffic);
        }
        total
    }

    /// Every account begins anew.
    pub fn reset_traffic(&mut self) {
        self.wire.reset_traffic(self.now);
    }

    /// What happened so far, as a number and as lines.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Keeps the last so many lines of what happens, for people; 0 at first, because it costs time.
    pub fn keep_lines(&mut self, lines: usize) {
        self.trace.keep(lines);
    }
}

// What the queue brings.
impl<A: Actor> World<A> {
    fn happen(&mut self, due: Due<Event>) -> Option<Happened> {
        match due.event {
            Event::Arrive(mail) => self.arrive(mail),
            Event::Wake(place) => self.ring(place, due.number),
            Event::Resume(place) => self.resume(place),
            Event::Drain(place, life) => self.drain(place, life),
            Event::Retry { from, to } => {
                self.retry(from, to, due.number);
                None
            }
            Event::Fault(what) => Some(self.suffer(*what)),
        }
    }

    fn arrive(&mut self, mail: Mail) -> Option<Happened> {
        let Mail { from, to, .. } = mail;
        let sender_lives = self.lives_on(from, mail.from_life);
        if mail.needs_sender && !sender_lives {
            return None;
        }
        if !self.lives_on(to, mail.to_life) {
            if sender_lives && matches!(mail.packet, Packet::Letter(_)) {
                self.break_way(from, to, mail.to_life);
            }
            return None;
        }
        match &mail.packet {
            Packet::Datagram(bytes) => self.wire.datagram_arrived(self.now, from, to, bytes.len()),
            Packet::Letter(bytes) => self.wire.letter_arrived(self.now, from, to, bytes.len()),
            Packet::Unreachable => {}
        }
        if self.hosts[to.index()].mode == Mode::Running {
            return Some(self.hand_over(from, to, mail.packet));
        }
        self.hold(mail);
        None
    }

    fn lives_on(&self, place: Place, life: u32) -> bool {
        let host = &self.hosts[place.index()];
        host.is_alive() && host.life == life
    }

    fn hand_over(&mut self, from: Place, place: Place, packet: Packet) -> Happened {
        self.trace.packet(self.now, from, place, &packet);
        self.call(place, |actor, now, out| {
            actor.receive(now, from, packet, out)
        });
        Happened::Received { place, from }
    }

    fn hold(&mut self, mail: Mail) {
        let Mail { from, to, .. } = mail;
        let is_letter = matches!(mail.packet, Packet::Letter(_));
        let comes_too_late = is_letter && self.sleeps_too_long(to);
        if !comes_too_late && self.hosts[to.index()].backlog.hold(from, mail.packet) {
            return;
        }
        self.trace.about(self.now, Kind::Dropped, to);
        if is_letter && self.lives_on(from, mail.from_life) {
            self.break_way(from, to, mail.to_life);
        }
    }

    /// Whether whoever writes to this host now gives up before the host goes on.
    fn sleeps_too_long(&self, place: Place) -> bool {
        let patience = nanos(self.wire.network.letters.give_up_after);
        match self.hosts[place.index()].mode {
            Mode::Paused { until } => until > self.now.saturating_add(patience),
            Mode::Running | Mode::Draining => false,
        }
    }

    fn ring(&mut self, place: Place, number: u64) -> Option<Happened> {
        let host = &mut self.hosts[place.index()];
        if host.alarm.number != number {
            return None;
        }
        host.alarm.set_for = NEVER;
        if !host.is_running() {
            return None;
        }
        if host.alarm.wanted > self.now {
            self.set_alarm(place);
            return None;
        }
        Some(self.wake(place))
    }

    fn wake(&mut self, place: Place) -> Happened {
        self.hosts[place.index()].alarm.rang(self.now, place);
        self.trace.about(self.now, Kind::Woke, place);
        self.call(place, |actor, now, out| actor.wake(now, out));
        Happened::Woke(place)
    }

    fn resume(&mut self, place: Place) -> Option<Happened> {
        let until = self.now;
        let host = &mut self.hosts[place.index()];
        if !host.is_alive() || host.mode != (Mode::Paused { until }) {
            return None;
        }
        host.mode = Mode::Draining;
        host.backlog.scramble(&mut self.random);
        let life = host.life;
        self.queue.push(self.now, Event::Drain(place, life));
        self.trace.about(self.now, Kind::Resumed, place);
        Some(Happened::Fault)
    }

    fn drain(&mut self, place: Place, life: u32) -> Option<Happened> {
        let host = &mut self.hosts[place.index()];
        if host.life != life || !host.is_alive() || host.mode != Mode::Draining {
            return None;
        }
        let held = host.backlog.pop();
        let is_done = host.backlog.is_empty();
        if is_done {
            host.mode = Mode::Running;
        } else {
            self.queue
                .push(self.now + DRAIN_STEP, Event::Drain(place, life));
        }
        let happened = match held? {
            Held::Timers => self.wake(place),
            Held::Packet { from, packet } => self.hand_over(from, place, packet),
        };
        Some(happened)
    }
}

// What programs want.
impl<A: Actor> World<A> {
    /// Calls the program of a living host and does what it asks for.
    fn call<R>(
        &mut self,
        place: Place,
        act: impl FnOnce(&mut A, Moment, &mut Outbox) -> R,
    ) -> Option<R> {
        let host = &mut self.hosts[place.index()];
        let now = host.clock.shows(self.now);
        let answer = act(host.actor.as_mut()?, now, &mut self.out);
        self.obey(place);
        self.look_at_timers(place);
        Some(answer)
    }

    fn obey(&mut self, place: Place) {
        let disk = &mut self.hosts[place.index()].disk;
        for act in self.out.disk.drain(..) {
            match act {
                DiskAct::Write(name, bytes) => disk.write(&name, bytes),
                DiskAct::Remove(name) => disk.remove(&name),
                DiskAct::Sync => disk.sync(),
            }
        }
        for note in self.out.notes.drain(..) {
            self.trace.note(self.now, place, &note);
        }
        let mut sends = std::mem::take(&mut self.out.sends);
        for sent in sends.drain(..) {
            self.send(place, sent);
        }
        self.out.sends = sends;
    }

    /// Asks the program when to wake it.
    fn look_at_timers(&mut self, place: Place) {
        let host = &mut self.hosts[place.index()];
        let Some(actor) = &host.actor else { return };
        let wanted = host.clock.when_it_shows(actor.next_wakeup());
        host.alarm.wanted = wanted.max(self.now);
        self.set_alarm(place);
    }

    /// Puts in an event for the wanted wake-up, unless one comes soon enough or the host does not run.
    fn set_alarm(&mut self, place: Place) {
        let host = &mut self.hosts[place.index()];
        let wanted = host.alarm.wanted;
        if host.mode == Mode::Running && wanted < host.alarm.set_for {
            host.alarm.set_for = wanted;
            host.alarm.number = self.queue.push(wanted, Event::Wake(place));
        }
    }

    fn send(&mut self, from: Place, sent: Sent) {
        let to = sent.to;
        assert!(
            to.index() < self.hosts.len(),
            "{from} sends to {to}, which is not in this world"
        );
        match sent.packet {
            Packet::Unreachable => {}
            packet if from == to => self.send_to_itself(from, packet),
            Packet::Datagram(bytes) => self.send_datagram(from, to, sent.to_current_address, bytes),
            Packet::Letter(_) if !sent.to_current_address => self.return_later(from, to),
            Packet::Letter(bytes) => self.send_letter(from, to, bytes),
        }
    }

    fn send_to_itself(&mut self, place: Place, packet: Packet) {
        let ends = self.ends(place, place);
        self.dispatch(self.now + LOOPBACK, ends, false, packet);
    }

    fn send_datagram(&mut self, from: Place, to: Place, is_current: bool, bytes: Bytes) {
        let most = self.wire.network.max_datagram_bytes;
        let length = bytes.len();
        assert!(
            length <= most,
            "{from} sends a datagram of {length} bytes, the network carries {most}"
        );
        if !is_current {
            self.wire.datagram_to_nobody(from, length);
            return;
        }
        let ends = self.ends(from, to);
        let [first, second] = self.wire.datagram(self.now, ends, length);
        if let Some(at) = second {
            self.dispatch(at, ends, false, Packet::Datagram(bytes.clone()));
        }
        if let Some(at) = first {
            self.dispatch(at, ends, false, Packet::Datagram(bytes));
        }
    }

    fn send_letter(&mut self, from: Place, to: Place, bytes: Bytes) {
        let most = self.wire.network.letters.most_waiting;
        if let Some(stall) = self.stalls.get(from, to) {
            stall.wait(bytes, most);
            return;
        }
        let ends = self.ends(from, to);
        match self.wire.letter(self.now, ends, bytes.len()) {
            Post::Arrives { at, needs_sender } => {
                self.dispatch(at, ends, needs_sender, Packet::Letter(bytes));
            }
            Post::Blocked => {
                let mut stall = Stall::new(self.now, self.life_meant(ends));
                stall.wait(bytes, most);
                self.stall(from, to, stall);
            }
            Post::Hopeless => self.break_way(from, to, ends.to_life),
        }
    }

    fn dispatch(&mut self, at: u64, ends: Ends, needs_sender: bool, packet: Packet) {
        let mail = Mail {
            from: ends.from,
            to: ends.to,
            from_life: ends.from_life,
            to_life: ends.to_life,
            needs_sender,
            packet,
        };
        self.queue.push(at, Event::Arrive(mail));
    }

    fn ends(&self, from: Place, to: Place) -> Ends {
        let (sender, receiver) = (&self.hosts[from.index()], &self.hosts[to.index()]);
        Ends {
            from,
            to,
            from_life: sender.life,
            to_life: receiver.life,
            answers: receiver.is_alive(),
            is_awake: !matches!(receiver.mode, Mode::Paused { .. }),
        }
    }
}

// Letters that do not get through.
impl<A: Actor> World<A> {
    /// Which life of the receiver a letter that waits is for: the one at the other end of the link, else whoever
    /// lives there or will live there first.
    fn life_meant(&mut self, ends: Ends) -> u32 {
        let next = ends.to_life + u32::from(!ends.answers);
        self.wire
            .life_linked(self.now, ends.from, ends.to)
            .unwrap_or(next)
    }

    /// Something on this way was lost for good: nothing may follow it, and the sender is told in time.
    fn break_way(&mut self, from: Place, to: Place, to_life: u32) {
        if let Some(stall) = self.stalls.get(from, to) {
            stall.give_up();
            return;
        }
        let mut stall = Stall::new(self.now, to_life);
        stall.give_up();
        self.stall(from, to, stall);
    }

    /// Lets a way wait for its next try.
    fn stall(&mut self, from: Place, to: Place, mut stall: Stall) {
        let last = stall.since + nanos(self.wire.network.letters.give_up_after);
        let at = stall.next_try(self.now, last);
        stall.number = self.queue.push(at, Event::Retry { from, to });
        self.stalls.insert(from, to, stall);
    }

    fn retry(&mut self, from: Place, to: Place, number: u64) {
        if self
            .stalls
            .get(from, to)
            .is_none_or(|stall| stall.number != number)
        {
            return;
        }
        let Some(stall) = self.stalls.take(from, to) else {
            return;
        };
        let ends = self.ends(from, to);
        let is_somebody_else = ends.answers && ends.to_life != stall.to_life;
        let give_up_after = nanos(self.wire.network.letters.give_up_after);
        if is_somebody_else || self.now >= stall.since + give_up_after {
            self.return_to_sender(self.now, from, to);
        } else if stall.hopeless {
            self.stall(from, to, stall);
        } else {
            self.push_through(ends, stall);
        }
    }

    /// Sends what waited, in order, as far as it gets through.
    fn push_through(&mut self, ends: Ends, mut stall: Stall) {
        while let Some(bytes) = stall.letters.pop_front() {
            match self.wire.letter(self.now, ends, bytes.len()) {
                Post::Arrives { at, needs_sender } => {
                    self.dispatch(at, ends, needs_sender, Packet::Letter(bytes));
                }
                Post::Blocked => {
                    stall.letters.push_front(bytes);
                    return self.stall(ends.from, ends.to, stall);
                }
                Post::Hopeless => {
                    stall.give_up();
                    return self.stall(ends.from, ends.to, stall);
                }
            }
        }
    }

    fn return_later(&mut self, from: Place, to: Place) {
        let at = self.now + nanos(self.wire.network.letters.give_up_after);
        self.return_to_sender(at, from, to);
    }

    fn return_to_sender(&mut self, at: u64, from: Place, about: Place) {
        let back = self.ends(about, from);
        self.dispatch(at, back, false, Packet::Unreachable);
    }
}

// What goes wrong.
impl<A: Actor> World<A> {
    fn suffer(&mut self, what: What) -> Happened {
        self.trace.fault(self.now, &format!("{what:?}"));
        match what {
            What::Kill(place) => return self.kill(place),
            What::Start {
                place,
                disk,
                address,
            } => return self.start(place, disk, address),
            What::Pause { place, lasts } => self.pause(place, lasts),
            What::Drift { place, ppm } => {
                let host = &mut self.hosts[place.index()];
                host.drift_ppm = ppm;
                host.clock.drift(self.now, ppm);
                self.look_at_timers(place);
            }
            What::Jump { place, forward } => {
                let host = &mut self.hosts[place.index()];
                host.clock.leap(self.now, nanos(forward));
                self.look_at_timers(place);
            }
            What::Cut { from, to } => self.wire.weather.cut(from, to),
            What::Mend { from, to } => self.wire.weather.mend(from, to),
            What::Partition { groups } => {
                self.wire.weather.partition(&groups, self.hosts.len());
            }
            What::Split { left, right } => self.wire.weather.split(&left, &right),
            What::Loss { whom, loss } => self.wire.weather.lose(whom, loss),
            What::Flap { whom, down, up } => self.wire.weather.flap(self.now, whom, down, up),
            What::Heal => self.wire.weather.heal(),
        }
        Happened::Fault
    }

    fn kill(&mut self, place: Place) -> Happened {
        let host = &mut self.hosts[place.index()];
        if !host.is_alive() {
            return Happened::Fault;
        }
        host.die();
        self.stalls.forget_sender(place);
        self.trace.about(self.now, Kind::Died, place);
        Happened::Died(place)
    }

    fn start(&mut self, place: Place, disk: DiskAt, address: AddressAt) -> Happened {
        if self.is_alive(place) {
            return Happened::Fault;
        }
        if address == AddressAt::New {
            self.out.book.moved(place);
        }
        let host = &mut self.hosts[place.index()];
        if disk == DiskAt::Lost {
            host.disk = Disk::default();
        }
        host.life += 1;
        self.give_birth(place, disk);
        self.trace.about(self.now, Kind::Born, place);
        self.wake(place);
        Happened::Started(place)
    }

    fn give_birth(&mut self, place: Place, disk: DiskAt) {
        let host = &mut self.hosts[place.index()];
        let seed = mix(mix(self.seed, u64::from(place.0)), u64::from(host.life));
        let shows = YOUNGEST_CLOCK + mix(seed, 1) % CLOCK_SPREAD;
        host.clock = LocalClock::started(self.now, shows);
        host.clock.drift(self.now, host.drift_ppm);
        let birth = Birth {
            boot: u64::from(host.life),
            fate: match (host.life, disk) {
                (1, _) => DiskFate::New,
                (_, DiskAt::Kept) => DiskFate::Kept,
                (_, DiskAt::Lost) => DiskFate::Lost,
            },
            disk: &host.disk,
            address: self.out.book.address_of(place),
            now: host.clock.shows(self.now),
            seed,
        };
        host.actor = Some((self.factory)(place, birth));
    }

    fn pause(&mut self, place: Place, lasts: Duration) {
        let host = &mut self.hosts[place.index()];
        if !host.is_alive() {
            return;
        }
        let mut until = self.now.saturating_add(nanos(lasts));
        if let Mode::Paused { until: already } = host.mode {
            until = until.max(already);
        }
        host.mode = Mode::Paused { until };
        self.queue.push(until, Event::Resume(place));
        self.trace.about(self.now, Kind::Paused, place);
    }
}

impl<A> fmt::Debug for World<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &Duration::from_nanos(self.now))
            .field("hosts", &self.hosts.len())
            .field("trace", &self.trace.hash())
            .finish_non_exhaustive()
    }
}
