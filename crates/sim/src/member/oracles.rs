//! What is promised of membership, as oracles: asked after every step of a virtual world, now and then, and at the end.
//!
//! | promise | asked | in words |
//! | --- | --- | --- |
//! | [`NobodyWellIsFailed`] | at every verdict | no healthy, connected node is found failed by another one |
//! | [`TheDeadAreFound`] | now and then | every dead node is failed, left or forgotten in every view, within a bound |
//! | [`ViewsAgree`] | now and then | when all is quiet again, everybody has the same verdicts and the same digest |
//! | [`NothingGoesBack`] | at every event | incarnations and facts never go back in a view |
//! | [`EventsTellAll`] | now and then | whoever follows the events has what the machine has |
//! | [`NobodyIsSomebodyElse`] | at every step | ids stay, and nobody finds itself contested when nobody was copied |
//! | [`TheIsolatedJudgeNobody`] | at every verdict | who reaches nobody, of three or more, finds nobody failed |
//! | [`Thrift`] | in calm times | bytes per node and second stay under a bound |
//! | [`MemoryIsBounded`] | now and then | no more members than may be, and no queue overflows |
//!
//! That datagrams stay within their size is watched by the network, which panics at a longer one.
//!
//! **Healthy and connected.** A verdict of O about S is *unfair* when for the whole [`Bounds::fair`] before it
//!
//! 1. O and S lived, and neither was paused, had a clock that leapt, or lost packets by a fault of its own;
//! 2. nothing was cut, split or partitioned between them, either way;
//! 3. the same is true of each of them towards more than half of the hosts there are, and of its neighbours on the rings. Who
//!    reaches only a minority, or hears the news from nobody, may be outvoted before its contradiction gets around.
//!
//! What the network loses everywhere is no excuse. [`History`] keeps what this takes, and comes first in a judge's list.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use convoke_membership::{Event, EventKind, Params, Verdict};
use convoke_types::{Incarnation, NodeId};

use super::calendar::Calendar;
use super::{MemberActor, counter_of, place_of};
use crate::actor::Place;
use crate::oracle::Oracle;
use crate::world::{Happened, Step, World};

type Members = World<MemberActor>;
type Answer = Result<(), String>;

/// How long promises may take to come true, as a function of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Who was well for so long may not be found failed: the time of a whole detection, the slow path and the hold, so that a
    /// verdict cannot follow from what was before.
    pub fair: Duration,
    /// From a death, or from the end of all trouble if that was later, to the last view in which it is failed.
    pub death: Duration,
    /// Added when somebody quarrelled before: damped observers wait for so long before they vote again.
    pub damping: Duration,
    /// From the end of all trouble until everybody agrees.
    pub agreement: Duration,
    /// Then digests are never different for longer than this.
    pub repair: Duration,
    /// What a node sends in calm times, in bytes of payload per second.
    pub bytes_per_second: u64,
}

impl Bounds {
    /// The bounds of these settings, when no trouble of a story lasts longer than `longest`: who was apart for long is tried ever
    /// less often.
    #[must_use]
    pub fn of(params: &Params, longest: Duration) -> Self {
        // A silence of three periods is suspicious whatever the history of a link; then come the attempts, each of which gets
        // twice the time when the other side has never been heard.
        let detection = params.period * 3 + params.spacing_most * 2 * u32::from(params.attempts);
        let repair = params.repair_grace + params.repair * 3;
        let margin = Duration::from_secs(2);
        let death = detection + params.slow_path + params.hold + repair + margin;
        let contact = (params.contact + longest).min(params.contact_most) * 3;
        // A ping and a pong of about 60 bytes with each observer, either way, and everything else in as much again.
        let pairs = params.observers() as f64 / params.period.as_secs_f64();
        Self {
            fair: detection + params.slow_path + params.hold + margin,
            death,
            damping: params.recovery_most,
            agreement: death + contact + params.recovery_most,
            repair: repair * 2 + params.period * 4 + margin,
            bytes_per_second: (pairs * 60.0 * 2.0) as u64 + 80,
        }
    }
}

/// What was seen of a world so far: who lives where, since when, and what was reported in the last step.
#[derive(Debug, Clone)]
pub struct History(Rc<RefCell<Seen>>);

#[derive(Debug)]
struct Seen {
    calendar: Calendar,
    hosts: Vec<Seat>,
    lives: BTreeMap<NodeId, Life>,
    /// Reported in the last step, by whom.
    fresh: Vec<Event>,
    by: Place,
    /// When somebody was last born.
    born: Duration,
    /// When somebody was last born, or died, or left.
    changed: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    node: Option<NodeId>,
    /// Since when it lives without a break.
    up_since: Option<Duration>,
    /// How much of its record was read.
    read: usize,
}

/// One identity.
#[derive(Debug, Clone, Copy)]
struct Life {
    /// When it died or left, if it has.
    ended: Option<Duration>,
}

impl History {
    /// Nothing was seen yet of a world of so many hosts, with these faults to come.
    #[must_use]
    pub fn new(calendar: Calendar, hosts: u32) -> Self {
        Self(Rc::new(RefCell::new(Seen {
            calendar,
            hosts: vec![Seat::default(); hosts as usize],
            lives: BTreeMap::new(),
            fresh: Vec::new(),
            by: Place(0),
            born: Duration::ZERO,
            changed: Duration::ZERO,
        })))
    }

    fn seen(&self) -> Ref<'_, Seen> {
        self.0.borrow()
    }
}

impl Oracle<MemberActor> for History {
    fn name(&self) -> &str {
        "a history is kept"
    }

    fn after_step(&mut self, world: &Members, step: &Step) -> Answer {
        self.0.borrow_mut().see(world, step);
        Ok(())
    }
}

impl Seen {
    fn see(&mut self, world: &Members, step: &Step) {
        self.fresh.clear();
        match step.what {
            Happened::Fault => {}
            Happened::Died(place) => self.ended(place, step.at),
            Happened::Started(place) => {
                self.born(world, place, step.at);
                self.read(world, place, step.at);
            }
            Happened::Woke(place) | Happened::Received { place, .. } => {
                self.read(world, place, step.at);
            }
        }
    }

    fn born(&mut self, world: &Members, place: Place, at: Duration) {
        let Some(actor) = world.actor(place) else {
            return;
        };
        let node = actor.machine.id();
        self.hosts[place.index()] = Seat {
            node: Some(node),
            up_since: Some(at),
            read: 0,
        };
        self.lives.insert(node, Life { ended: None });
        self.born = at;
        self.changed = at;
    }

    fn read(&mut self, world: &Members, place: Place, at: Duration) {
        let Some(actor) = world.actor(place) else {
            return;
        };
        let seat = &mut self.hosts[place.index()];
        self.fresh.extend_from_slice(actor.record.since(seat.read));
        self.by = place;
        seat.read = actor.record.len();
        let me = actor.machine.id();
        let has_left = self
            .fresh
            .iter()
            .any(|event| matches!(&event.kind, EventKind::NodeLeft(member) if member.id == me));
        if has_left {
            self.ended(place, at);
        }
    }

    fn ended(&mut self, place: Place, at: Duration) {
        let seat = &mut self.hosts[place.index()];
        seat.up_since = None;
        if let Some(life) = seat.node.and_then(|node| self.lives.get_mut(&node)) {
            life.ended.get_or_insert(at);
        }
        self.changed = self.changed.max(at);
    }

    /// Whose views count now: they live, run and have not left.
    fn views<'a>(&'a self, world: &'a Members) -> impl Iterator<Item = (Place, &'a MemberActor)> {
        world
            .alive()
            .filter(|place| !world.is_paused(*place))
            .filter(|place| self.hosts[place.index()].up_since.is_some())
            .filter_map(|place| Some((place, world.actor(place)?)))
    }

    /// Whether a host lived and nothing was wrong with it.
    fn is_well(&self, place: Place, from: Duration, to: Duration) -> bool {
        let is_up = self.hosts[place.index()]
            .up_since
            .is_some_and(|since| since <= from);
        is_up && self.calendar.is_clear_at(place, from, to)
    }

    fn are_connected(&self, a: Place, b: Place, from: Duration, to: Duration) -> bool {
        self.is_well(a, from, to)
            && self.is_well(b, from, to)
            && self.calendar.is_clear_between(a, b, from, to)
    }

    /// Whether a host was connected with more than half of all there are, itself included, and of its neighbours.
    fn has_company(&self, world: &Members, place: Place, from: Duration, to: Duration) -> bool {
        let is_friend =
            |other: &Place| *other == place || self.are_connected(place, *other, from, to);
        let all = (0..self.hosts.len() as u32).map(Place);
        let friends = all.filter(is_friend).count();
        let Some(actor) = world.actor(place) else {
            return false;
        };
        let neighbours: Vec<Place> = actor
            .machine
            .watched(world.clock(place))
            .map(|watched| place_of(&watched.id))
            .collect();
        let near = neighbours.iter().filter(|other| is_friend(other)).count();
        2 * friends > self.hosts.len() && 2 * near > neighbours.len()
    }

    /// Since when nothing has been wrong, and nobody came or went.
    fn quiet_since(&self, now: Duration) -> Duration {
        self.changed.max(self.calendar.last_trouble(now))
    }

    fn most_live(&self) -> bool {
        let up = self.hosts.iter().filter(|seat| seat.up_since.is_some());
        2 * up.count() > self.hosts.len()
    }
}

/// No healthy, connected node is found failed by another one.
#[derive(Debug)]
pub struct NobodyWellIsFailed {
    history: History,
    fair: Duration,
}

impl NobodyWellIsFailed {
    /// Asks with the given bounds.
    #[must_use]
    pub fn new(history: &History, bounds: &Bounds) -> Self {
        Self {
            history: history.clone(),
            fair: bounds.fair,
        }
    }
}

impl Oracle<MemberActor> for NobodyWellIsFailed {
    fn name(&self) -> &str {
        "no healthy, connected node is found failed"
    }

    fn after_step(&mut self, world: &Members, step: &Step) -> Answer {
        let seen = self.history.seen();
        let Some(from) = step.at.checked_sub(self.fair) else {
            return Ok(());
        };
        for event in &seen.fresh {
            let EventKind::NodeFailed(member) = &event.kind else {
                continue;
            };
            let (judge, subject) = (seen.by, place_of(&member.id));
            let is_current = seen.hosts[subject.index()].node == Some(member.id);
            if is_current
                && seen.are_connected(judge, subject, from, step.at)
                && seen.has_company(world, judge, from, step.at)
                && seen.has_company(world, subject, from, step.at)
            {
                let fair = self.fair.as_secs_f64();
                return Err(format!(
                    "{judge} finds {subject} failed in {}, and nothing was wrong with either for {fair:.1} s",
                    member.incarnation
                ));
            }
        }
        Ok(())
    }
}

/// Every dead node is failed, left or forgotten in every view, within a bound.
#[derive(Debug)]
pub struct TheDeadAreFound {
    history: History,
    bounds: Bounds,
}

impl TheDeadAreFound {
    /// Asks with the given bounds.
    #[must_use]
    pub fn new(history: &History, bounds: &Bounds) -> Self {
        Self {
            history: history.clone(),
            bounds: bounds.clone(),
        }
    }
}

impl Oracle<MemberActor> for TheDeadAreFound {
    fn name(&self) -> &str {
        "every dead node is found"
    }

    fn at_interval(&mut self, world: &Members) -> Answer {
        let seen = self.history.seen();
        let now = world.now();
        if !seen.most_live() {
            // Who is left over among more dead than living doubts itself, and waits for whoever decides.
            return Ok(());
        }
        let trouble = seen.calendar.last_trouble(now);
        let overdue = |ended: Duration| {
            // Who came in meanwhile has to learn it first.
            let from = ended.max(trouble).max(seen.born);
            let calm_before = trouble + self.bounds.damping * 2 < ended;
            let damping = if calm_before || trouble.is_zero() {
                Duration::ZERO
            } else {
                self.bounds.damping
            };
            now > from + self.bounds.death + damping
        };
        let dead = seen
            .lives
            .iter()
            .filter(|(_, life)| life.ended.is_some_and(overdue));
        for (node, life) in dead {
            let believes = |actor: &MemberActor| {
                actor
                    .machine
                    .verdict(node)
                    .filter(|verdict| verdict.takes_part())
            };
            let mut views = seen.views(world);
            let behind = views.find_map(|(place, actor)| Some((place, believes(actor)?)));
            if let Some((place, verdict)) = behind {
                let ended = life.ended.unwrap_or_default().as_secs_f64();
                return Err(format!(
                    "{} ended at {ended:.1} s and is still {} in the view of {place}",
                    place_of(node),
                    verdict.name()
                ));
            }
        }
        Ok(())
    }
}

/// When all is quiet again, everybody has the same verdicts and the same digest.
#[derive(Debug)]
pub struct ViewsAgree {
    history: History,
    bounds: Bounds,
    /// When all digests were last seen to be the same.
    agreed: Duration,
    /// When everybody was last seen to find everybody reachable.
    whole: Duration,
}

impl ViewsAgree {
    /// Asks with the given bounds.
    #[must_use]
    pub fn new(history: &History, bounds: &Bounds) -> Self {
        Self {
            history: history.clone(),
            bounds: bounds.clone(),
            agreed: Duration::ZERO,
            whole: Duration::ZERO,
        }
    }
}

impl Oracle<MemberActor> for ViewsAgree {
    fn name(&self) -> &str {
        "views agree when all is quiet"
    }

    fn at_interval(&mut self, world: &Members) -> Answer {
        let seen = self.history.seen();
        let now = world.now();
        let due = seen.quiet_since(now) + self.bounds.agreement;
        if now < due {
            return Ok(());
        }
        // A burst of losses makes doubts among two; doubts that stay are what must not be.
        match everybody_sees_everybody(&seen, world) {
            Ok(()) => self.whole = now,
            Err(what) if now > self.whole.max(due) + self.bounds.repair => return Err(what),
            Err(_) => {}
        }
        let mut digests = seen.views(world).map(|(_, actor)| actor.machine.digest());
        let first = digests.next();
        if digests.all(|digest| Some(digest) == first) {
            self.agreed = now;
        }
        let since = self.agreed.max(due);
        if now > since + self.bounds.repair {
            let digests: Vec<String> = seen
                .views(world)
                .map(|(place, actor)| format!("{place} {:08x}", actor.machine.digest() >> 32))
                .collect();
            return Err(format!(
                "digests have differed since {:.1} s: {}",
                since.as_secs_f64(),
                digests.join(", ")
            ));
        }
        Ok(())
    }
}

fn everybody_sees_everybody(seen: &Seen, world: &Members) -> Answer {
    for (place, actor) in seen.views(world) {
        for (other, seat) in (0..).map(Place).zip(&seen.hosts) {
            let Some(node) = seat.node.filter(|_| seat.up_since.is_some()) else {
                continue;
            };
            let verdict = actor.machine.verdict(&node);
            if verdict != Some(Verdict::Reachable) {
                let believed = verdict.map_or("unknown", Verdict::name);
                return Err(format!(
                    "{other} has long been well, and is {believed} in the view of {place}"
                ));
            }
        }
    }
    Ok(())
}

/// Incarnations and facts never go back in a view.
#[derive(Debug)]
pub struct NothingGoesBack {
    history: History,
    known: BTreeMap<(Place, NodeId), Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    incarnation: Incarnation,
    /// What the subject counted up to, in its facts, in that boot.
    counter: u64,
}

impl NothingGoesBack {
    /// Asks from now on.
    #[must_use]
    pub fn new(history: &History) -> Self {
        Self {
            history: history.clone(),
            known: BTreeMap::new(),
        }
    }
}

impl Oracle<MemberActor> for NothingGoesBack {
    fn name(&self) -> &str {
        "incarnations and facts never go back in a view"
    }

    fn after_step(&mut self, _: &Members, step: &Step) -> Answer {
        let seen = self.history.seen();
        if let Happened::Started(place) = step.what {
            self.known.retain(|(viewer, _), _| *viewer != place);
        }
        for event in &seen.fresh {
            let Some(member) = event.kind.member() else {
                continue;
            };
            let key = (seen.by, member.id);
            let now = Known {
                incarnation: member.incarnation,
                counter: counter_of(&member.facts),
            };
            if matches!(event.kind, EventKind::NodeForgotten(_)) {
                self.known.remove(&key);
                continue;
            }
            let Some(before) = self.known.insert(key, now) else {
                continue;
            };
            let same_boot = before.incarnation.boot == now.incarnation.boot;
            if now.incarnation < before.incarnation || same_boot && now.counter < before.counter {
                return Err(format!(
                    "in the view of {}, {} went from {} with fact {} back to {} with fact {}",
                    seen.by,
                    place_of(&member.id),
                    before.incarnation,
                    before.counter,
                    now.incarnation,
                    now.counter
                ));
            }
        }
        Ok(())
    }
}

/// Whoever follows the events has what the machine has.
#[derive(Debug)]
pub struct EventsTellAll {
    history: History,
    next: usize,
}

/// Views compared at one look: each costs as many comparisons as it has members.
const COMPARED_AT_ONCE: usize = 4;

impl EventsTellAll {
    /// Asks from now on.
    #[must_use]
    pub fn new(history: &History) -> Self {
        Self {
            history: history.clone(),
            next: 0,
        }
    }
}

impl Oracle<MemberActor> for EventsTellAll {
    fn name(&self) -> &str {
        "whoever follows the events has what the machine has"
    }

    fn at_interval(&mut self, world: &Members) -> Answer {
        let seen = self.history.seen();
        let hosts = seen.hosts.len();
        for step in 0..COMPARED_AT_ONCE.min(hosts) {
            let place = Place(((self.next + step) % hosts) as u32);
            world
                .actor(place)
                .map_or(Ok(()), |actor| compare(place, actor))?;
        }
        self.next = (self.next + COMPARED_AT_ONCE) % hosts;
        Ok(())
    }

    fn at_end(&mut self, world: &Members) -> Answer {
        let mut views = world
            .alive()
            .filter_map(|place| Some((place, world.actor(place)?)));
        views.try_for_each(|(place, actor)| compare(place, actor))
    }
}

fn compare(place: Place, actor: &MemberActor) -> Answer {
    let truth = actor.machine.roll();
    if actor.roll == truth {
        return Ok(());
    }
    let differing: Vec<String> = truth
        .members
        .iter()
        .filter(|(id, member)| actor.roll.members.get(id) != Some(member))
        .map(|(id, member)| {
            let told = actor.roll.members.get(id);
            let told = told.map_or_else(|| "nothing".to_owned(), |told| told_as(told));
            format!("{} is {}, told as {told}", place_of(id), told_as(member))
        })
        .collect();
    Err(format!(
        "the events of {place} do not add up to its view: {} (frozen {} told as {}, partition {} told as {}, members {} told as {})",
        differing.join("; "),
        truth.frozen,
        actor.roll.frozen,
        truth.partition,
        actor.roll.partition,
        truth.members.len(),
        actor.roll.members.len(),
    ))
}

fn told_as(member: &convoke_membership::Member) -> String {
    let (verdict, incarnation) = (member.verdict.name(), member.incarnation);
    format!("{verdict} {incarnation} fact {}", counter_of(&member.facts))
}

/// Ids stay, and nobody finds itself contested when nobody was copied.
#[derive(Debug)]
pub struct NobodyIsSomebodyElse {
    history: History,
}

impl NobodyIsSomebodyElse {
    /// Asks from now on.
    #[must_use]
    pub fn new(history: &History) -> Self {
        Self {
            history: history.clone(),
        }
    }
}

impl Oracle<MemberActor> for NobodyIsSomebodyElse {
    fn name(&self) -> &str {
        "nobody becomes somebody else"
    }

    fn after_step(&mut self, world: &Members, step: &Step) -> Answer {
        let (Happened::Woke(place) | Happened::Started(place) | Happened::Received { place, .. }) =
            step.what
        else {
            return Ok(());
        };
        let Some(actor) = world.actor(place) else {
            return Ok(());
        };
        let node = self.history.seen().hosts[place.index()].node;
        if node != Some(actor.machine.id()) {
            return Err(format!("{place} changed its id"));
        }
        match actor.contested {
            Some(incarnation) => Err(format!(
                "{place} is told that somebody else speaks as it, in {incarnation}, and nobody does"
            )),
            None => Ok(()),
        }
    }
}

/// Who reaches nobody, of three or more, finds nobody failed.
#[derive(Debug)]
pub struct TheIsolatedJudgeNobody {
    history: History,
    fair: Duration,
    /// Since when each host has reached nobody, if all was well in its view until then.
    alone: Vec<Option<Duration>>,
}

impl TheIsolatedJudgeNobody {
    /// Asks with the given bounds.
    #[must_use]
    pub fn new(history: &History, bounds: &Bounds) -> Self {
        let hosts = history.seen().hosts.len();
        Self {
            history: history.clone(),
            fair: bounds.fair,
            alone: vec![None; hosts],
        }
    }
}

impl Oracle<MemberActor> for TheIsolatedJudgeNobody {
    fn name(&self) -> &str {
        "who is alone finds nobody failed"
    }

    fn after_step(&mut self, _: &Members, step: &Step) -> Answer {
        let seen = self.history.seen();
        let finds = |event: &&Event| matches!(event.kind, EventKind::NodeFailed(_));
        let Some(event) = seen.fresh.iter().find(finds) else {
            return Ok(());
        };
        match self.alone[seen.by.index()].filter(|since| *since < step.at) {
            Some(since) => Err(format!(
                "{} has reached nobody since {:.1} s, and reports {}",
                seen.by,
                since.as_secs_f64(),
                super::line(&event.kind)
            )),
            None => Ok(()),
        }
    }

    fn at_interval(&mut self, world: &Members) -> Answer {
        let seen = self.history.seen();
        let now = world.now();
        let is_open = seen.calendar.last_trouble(now) < now;
        for place in world.places() {
            let others = || world.alive().filter(|other| *other != place);
            let reaches = |other: Place| world.reaches(place, other) || world.reaches(other, place);
            let is_alone = world.is_alive(place)
                && !(is_open && others().next().is_some())
                && !others().any(reaches);
            let began = &mut self.alone[place.index()];
            if !is_alone || !seen.is_well(place, now, now) {
                *began = None;
            } else if began.is_none()
                && had_everybody(world, place, seen.hosts.len())
                && were_all_well(&seen, now, self.fair)
            {
                *began = Some(now);
            }
        }
        Ok(())
    }
}

/// Whether nobody's loneliness can be somebody else's death: nobody had trouble of its own for long.
fn were_all_well(seen: &Seen, now: Duration, long: Duration) -> bool {
    let from = now.saturating_sub(long);
    (0..seen.hosts.len() as u32)
        .map(Place)
        .all(|place| seen.is_well(place, from, now))
}

/// Whether a host sees at least two others, and doubts none of them.
fn had_everybody(world: &Members, place: Place, hosts: usize) -> bool {
    world.actor(place).is_some_and(|actor| {
        let [reachable, unreachable, ..] = actor.machine.status().others;
        reachable >= 2 && reachable + 1 >= hosts && unreachable == 0
    })
}

/// In calm times, bytes per node and second stay under a bound.
#[derive(Debug)]
pub struct Thrift {
    history: History,
    calm_after: Duration,
    most: u64,
    /// Since when was counted, and how much each had sent by then.
    from: Option<(Duration, Vec<u64>)>,
}

/// Bytes are counted over so long.
const THRIFT_OVER: Duration = Duration::from_secs(30);

impl Thrift {
    /// Asks with the given bounds.
    #[must_use]
    pub fn new(history: &History, bounds: &Bounds, is_lossy: bool) -> Self {
        // What is lost is asked again, told again and repaired.
        let most = bounds.bytes_per_second;
        Self {
            history: history.clone(),
            calm_after: bounds.agreement,
            most: if is_lossy { most * 3 / 2 } else { most },
            from: None,
        }
    }
}

impl Oracle<MemberActor> for Thrift {
    fn name(&self) -> &str {
        "calm times cost little"
    }

    fn at_interval(&mut self, world: &Members) -> Answer {
        let now = world.now();
        if now < self.history.seen().quiet_since(now) + self.calm_after {
            self.from = None;
            return Ok(());
        }
        let is_due = |(from, _): &(Duration, Vec<u64>)| now >= *from + THRIFT_OVER;
        if self.from.as_ref().is_some_and(|from| !is_due(from)) {
            return Ok(());
        }
        let sent: Vec<u64> = world
            .traffic_of_all()
            .iter()
            .map(|traffic| traffic.sent.payload_bytes)
            .collect();
        let Some((from, before)) = self.from.replace((now, sent.clone())) else {
            return Ok(());
        };
        let seconds = (now - from).as_secs_f64();
        for ((place, sent), before) in world.places().zip(sent).zip(before) {
            let rate = ((sent - before) as f64 / seconds) as u64;
            if rate > self.most {
                return Err(format!(
                    "{place} sends {rate} bytes a second, more than {}",
                    self.most
                ));
            }
        }
        Ok(())
    }
}

/// No more members than may be, and no queue overflows.
#[derive(Debug)]
pub struct MemoryIsBounded {
    members_most: usize,
    overflows_most: u64,
}

impl MemoryIsBounded {
    /// Asks with these settings; units that found a queue full may be so many at one node.
    #[must_use]
    pub fn new(params: &Params, overflows_most: u64) -> Self {
        Self {
            members_most: params.members_most,
            overflows_most,
        }
    }
}

impl Oracle<MemberActor> for MemoryIsBounded {
    fn name(&self) -> &str {
        "memory is bounded"
    }

    fn at_interval(&mut self, world: &Members) -> Answer {
        for place in world.alive() {
            let Some(actor) = world.actor(place) else {
                continue;
            };
            let status = actor.machine.status();
            let members = 1 + status.others.iter().sum::<usize>();
            let overflowed = status.counters.overflowed;
            if members > self.members_most || overflowed > self.overflows_most {
                return Err(format!(
                    "{place} knows {members} members and dropped {overflowed} units from full queues"
                ));
            }
        }
        Ok(())
    }
}
