//! The balancer: puts instances, strategy, limits, ejection, queue and retries together.
//!
//! | bound | | what happens beyond |
//! | --- | --- | --- |
//! | [`Params::members_most`] | instances | further ones are left out and counted |
//! | [`Params::attempts_most`] | attempts under way | the next call is refused, `Overloaded` |
//! | [`Params::ticket_grace`] | how long a ticket is missed after its deadline | it is taken to be lost: its place is free again |
//! | [`Params::waiting_most`], [`Params::wait_most`] | calls that wait, and how long | refused |
//! | [`LOOKED_AT`] | waiting calls that are tried in a row without room for any of them | the rest waits for the next time |
//!
//! **Who gets a call.** Those that are well: said to serve, not ejected, with a link or at least none that was lost just now, and with room. If
//! *nobody* is well, the least bad are tried, and the choice says that it is desperate: first those that are ejected, then those without a
//! link, then those said to be unreachable. Who drains or failed gets nothing, however desperate. Better an answer from somebody
//! doubtful than none: when all look bad, it is more often the looker that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::{Code, Moment};

use crate::chance::Chance;
use crate::explain::{Explained, Standing};
use crate::instance::{Health, Instance, InstanceId};
use crate::latency::{Latency, USUAL, Usual, nanos};
use crate::member::{Grade, Member, long_ago};
use crate::outlier::{self, Cause};
use crate::params::Params;
use crate::queue::Queue;
use crate::registry::Delta;
use crate::retry::{Budget, Failed, Safety, Verdict, decide};
use crate::strategy::{Choice, choose};

/// How many waiting calls are tried in a row when there is room for none of them.
const LOOKED_AT: usize = 8;
/// How many instances that were tried already one call remembers.
const AVOIDED: usize = 8;

/// A call that wants an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When the answer is worth nothing any more.
    pub deadline: Moment,
    /// The method; instances that are known not to have it are passed over.
    pub method: Option<Arc<str>>,
    /// For [`Strategy::ConsistentHash`](crate::Strategy::ConsistentHash): calls with the same key go to the same instance.
    pub key: Option<u64>,
    /// Attempts before this one.
    pub attempts: u32,
    /// Instances that were tried already: they are chosen only if there is no other.
    pub tried: Vec<InstanceId>,
}

impl Call {
    /// A first attempt.
    #[must_use]
    pub fn until(deadline: Moment) -> Self {
        Self {
            deadline,
            method: None,
            key: None,
            attempts: 0,
            tried: Vec::new(),
        }
    }

    /// The next attempt of it, after `instance` was tried.
    #[must_use]
    pub fn again(mut self, instance: InstanceId) -> Self {
        self.attempts += 1;
        if self.tried.len() < AVOIDED {
            self.tried.push(instance);
        }
        self
    }
}

/// Stands for one attempt, and is given back when it ended.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "give it back with `done`, or its place is taken until its deadline"]
pub struct Ticket(u64);

/// Where a call goes.
#[derive(Debug)]
pub struct Go {
    /// To this one.
    pub instance: Arc<Instance>,
    /// To be given back.
    pub ticket: Ticket,
    /// Nobody is well, and this is the least bad.
    pub is_desperate: bool,
    /// Its link was lost, or none could be opened, and nobody knows yet whether there is one again.
    pub finds_out: bool,
    /// When it takes longer than this, an attempt that may run twice had better be made with somebody else as well; `None` if nobody knows what is
    /// usual.
    pub patience: Option<Duration>,
}

/// What becomes of a call.
#[derive(Debug)]
pub enum Pick {
    /// It goes out.
    Go(Go),
    /// Nobody has room. It waits under this number; [`Balancer::resolve`] says what becomes of it.
    Wait(u64),
    /// It does not go out. Nothing ran.
    Refused(Refusal),
}

/// A call that waited.
#[derive(Debug)]
pub struct Resolved {
    /// Its number.
    pub number: u64,
    /// What becomes of it.
    pub answer: Result<Go, Refusal>,
}

/// Why a call does not go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No instance is known.
    Nobody,
    /// Instances are known, and none of them may be called: so many drain, so many failed, so many do not have the method.
    NobodyFit {
        /// They take no new calls.
        draining: usize,
        /// Their nodes are lost.
        failed: usize,
        /// They do not have the method.
        without_method: usize,
    },
    /// Nobody has room, and no more may wait.
    Overloaded {
        /// Calls under way.
        in_flight: usize,
        /// Calls that there is room for.
        limit: usize,
        /// Calls that wait.
        waiting: usize,
        /// When it makes sense to ask again.
        after: Duration,
    },
    /// Its deadline has passed, or would before an answer could come.
    TooLate {
        /// How long calls take on average.
        expected: Duration,
    },
}

impl Refusal {
    /// The code of the problem that callers are told. In all of them nothing ran.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Nobody | Self::NobodyFit { .. } => Code::Unavailable,
            Self::Overloaded { .. } => Code::Overloaded,
            Self::TooLate { .. } => Code::DeadlineExceeded,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("no instance is known"),
            Self::NobodyFit {
                draining,
                failed,
                without_method,
            } => write!(
                f,
                "no instance may be called: {draining} take no new calls, {failed} failed, {without_method} do not have the method"
            ),
            Self::Overloaded {
                in_flight,
                limit,
                waiting,
                after,
            } => write!(
                f,
                "overloaded: {in_flight} calls are under way and there is room for {limit}; {waiting} wait; ask again in {after:.0?}"
            ),
            Self::TooLate { expected } => {
                write!(f, "too late: an answer takes {expected:.1?} on average")
            }
        }
    }
}

/// How an attempt ended, as far as it says something of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came, be it an error of the method itself.
    Answered,
    /// An answer came that says more of the caller than of the instance: it counts as well, its time says nothing.
    Refused,
    /// It has too much to do: its limit falls. It is no failure.
    Overloaded,
    /// It drains. It is left alone for [`Params::link_pause_most`], unless a link to it is opened before; whether it is there after that is
    /// for its description to say.
    Leaving,
    /// It failed.
    Failed,
    /// No answer came in time. It is a failure if it was waited for twice as long as calls of its method usually take.
    Late,
    /// No link could be opened, or it was lost: it is left alone for a while, at once.
    LinkLost,
    /// The caller gave up. It says nothing.
    Cancelled,
}

impl Outcome {
    /// What a problem says of the instance. An error of the method itself, and a success, are [`Outcome::Answered`].
    #[must_use]
    pub fn of(code: Code) -> Self {
        match code {
            Code::Cancelled => Self::Cancelled,
            Code::DeadlineExceeded => Self::Late,
            Code::Overloaded => Self::Overloaded,
            Code::Unavailable | Code::LinkLost => Self::LinkLost,
            Code::ProtocolViolation | Code::HandlerPanicked | Code::Internal => Self::Failed,
            Code::Unimplemented
            | Code::Undecodable
            | Code::TooLarge
            | Code::Unauthenticated
            | Code::Forbidden
            | Code::InvalidArgument
            | Code::NotFound
            | Code::Conflict
            | Code::Unknown(_) => Self::Refused,
            // Whichever else it is, it was sent by somebody who is there.
            _ => Self::Refused,
        }
    }
}

/// What was counted since the balancer was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// First attempts that went out.
    pub first_attempts: u64,
    /// Later ones that were allowed.
    pub retries: u64,
    /// Calls that did not go out.
    pub refused: u64,
    /// Choices among nobody but bad ones.
    pub desperate: u64,
    /// Ejections.
    pub ejections: u64,
    /// Tickets that nobody gave back.
    pub lost_tickets: u64,
    /// Instances that were left out because there are too many.
    pub left_out: u64,
}

#[derive(Debug)]
struct Open {
    id: InstanceId,
    life: u64,
    ends: Moment,
    method: Option<Arc<str>>,
}

/// Chooses among the instances of one RPC service.
#[derive(Debug)]
pub struct Balancer {
    params: Params,
    chance: Chance,
    /// Sorted by id.
    members: Vec<Member>,
    /// Places of those that get calls now: near, and elsewhere.
    sides: [Side; 2],
    /// All of them are of this grade.
    grade: Grade,
    /// When the sides may change by themselves; at once if something changed them.
    sides_until: Moment,
    open: BTreeMap<u64, Open>,
    ends: BTreeSet<(Moment, u64)>,
    next_ticket: u64,
    next_life: u64,
    queue: Queue,
    budget: Budget,
    /// Of all instances and methods together.
    average: Latency,
    /// Of all instances, by method.
    usual: Usual,
    compared: Moment,
    counters: Counters,
}

/// Instances that get calls, and how much of their room is taken.
#[derive(Debug, Default)]
struct Side {
    places: Vec<usize>,
    in_flight: u64,
    limit: u64,
    /// How many of them have room.
    with_room: usize,
}

impl Side {
    fn taken(&self) -> f64 {
        self.in_flight as f64 / self.limit.max(1) as f64
    }
}

impl Balancer {
    /// Without instances. The same seed, inputs and times give the same choices; different clients should have different seeds, or they
    /// all choose the same.
    #[must_use]
    pub fn new(now: Moment, params: Params, seed: u64) -> Self {
        Self {
            chance: Chance::from_seed(seed),
            members: Vec::new(),
            sides: [Side::default(), Side::default()],
            grade: Grade::Never,
            sides_until: Moment::START,
            open: BTreeMap::new(),
            ends: BTreeSet::new(),
            next_ticket: 0,
            next_life: 0,
            queue: Queue::default(),
            budget: Budget::new(now, &params),
            average: Latency::default(),
            usual: Usual::default(),
            compared: now,
            counters: Counters::default(),
            params,
        }
    }

    /// Takes in what changed.
    pub fn follow(&mut self, now: Moment, deltas: impl IntoIterator<Item = Delta>) {
        for delta in deltas {
            match delta {
                Delta::Put(instance) => self.put(now, instance),
                Delta::Gone(id) => self.remove(&id),
            }
        }
    }

    /// An instance is there, and is this. Those that are there from the beginning do not begin slowly.
    pub fn put(&mut self, now: Moment, instance: Arc<Instance>) {
        self.touch();
        match self.place(&instance.id) {
            Ok(at) => self.members[at].describe(now, instance, &self.params),
            Err(_) if self.members.len() >= self.params.members_most => self.counters.left_out += 1,
            Err(at) => {
                self.next_life += 1;
                let mut member = Member::new(now, instance, self.next_life, &self.params);
                if self.counters.first_attempts == 0 {
                    member.since = long_ago(now, &self.params);
                }
                self.members.insert(at, member);
            }
        }
    }

    /// An instance is no longer there. Calls that are with it go on.
    pub fn remove(&mut self, id: &InstanceId) {
        if let Ok(at) = self.place(id) {
            self.members.remove(at);
            self.touch();
        }
    }

    /// What others say of an instance, on another way than its description; the worse of both counts. It counts at once, and until something
    /// else is said here.
    pub fn health(&mut self, now: Moment, id: &InstanceId, verdict: Health) {
        if let Ok(at) = self.place(id) {
            self.members[at].judge(now, verdict);
            self.touch();
        }
    }

    /// A link to it is open.
    pub fn connected(&mut self, id: &InstanceId) {
        if let Ok(at) = self.place(id) {
            self.members[at].link.works();
            self.touch();
        }
    }

    /// No link to it could be opened, or it was lost. It is not chosen from now on, for a while.
    pub fn disconnected(&mut self, now: Moment, id: &InstanceId) {
        if let Ok(at) = self.place(id) {
            self.members[at].link.lost(now, &self.params);
            self.touch();
        }
    }

    /// Who gets this call.
    pub fn pick(&mut self, now: Moment, call: &Call) -> Pick {
        if call.deadline <= now {
            return self.refuse(Refusal::TooLate {
                expected: self.expected(),
            });
        }
        if self.open.len() >= self.params.attempts_most {
            return self.refuse(self.overloaded());
        }
        match self.try_pick(now, call) {
            Some(go) => Pick::Go(go),
            None => match self.why_nobody(call) {
                Some(refusal) => self.refuse(refusal),
                None if self.queue.len() >= self.params.waiting_most => {
                    self.refuse(self.overloaded())
                }
                None => {
                    let (expected, most) = (self.expected(), self.params.wait_most);
                    Pick::Wait(self.queue.push(now, call.clone(), expected, most))
                }
            },
        }
    }

    /// There is no link to the instance of this choice any more, and its call goes elsewhere meanwhile: it is as if it had not been chosen, and it is left
    /// alone until there is a link, or for a while.
    pub fn pass_over(&mut self, now: Moment, ticket: Ticket, call: &Call) {
        let Some(open) = self.close(ticket.0) else {
            return;
        };
        if call.attempts == 0 {
            self.counters.first_attempts = self.counters.first_attempts.saturating_sub(1);
            self.budget.no_attempt();
        }
        if let Some(at) = self.leave(&open) {
            self.members[at].link.lost(now, &self.params);
            self.touch();
        }
    }

    /// What becomes of calls that wait: those for which there is room now go out, those that waited too long are refused.
    pub fn resolve(&mut self, now: Moment) -> Vec<Resolved> {
        let mut resolved = Vec::new();
        while let Some((number, waiting)) = self.queue.take_late(now) {
            let expected = self.expected();
            let answer = match waiting.call.deadline <= now + expected {
                true => Refusal::TooLate { expected },
                false => self.overloaded(),
            };
            self.counters.refused += 1;
            resolved.push(Resolved {
                number,
                answer: Err(answer),
            });
        }
        let mut after = None;
        let mut without_room = 0;
        while without_room < LOOKED_AT && self.open.len() < self.params.attempts_most {
            let Some((place, waiting)) = self.queue.behind(after) else {
                break;
            };
            let call = waiting.call.clone();
            let answer = match self.try_pick(now, &call) {
                Some(go) => Ok(go),
                None => match self.why_nobody(&call) {
                    Some(refusal) => Err(refusal),
                    None => {
                        without_room += 1;
                        after = Some(place);
                        continue;
                    }
                },
            };
            self.queue.take(place.1);
            self.counters.refused += u64::from(answer.is_err());
            resolved.push(Resolved {
                number: place.1,
                answer,
            });
        }
        resolved
    }

    /// A call that waits is no longer wanted.
    pub fn forget(&mut self, number: u64) {
        self.queue.take(number);
    }

    /// An attempt ended, after so long.
    pub fn done(&mut self, now: Moment, ticket: Ticket, outcome: Outcome, latency: Duration) {
        let Some(open) = self.close(ticket.0) else {
            return;
        };
        let Some(at) = self.leave(&open) else {
            return;
        };
        match outcome {
            Outcome::Answered => self.answered(now, at, open.method.as_ref(), latency),
            Outcome::Refused => self.judge(now, at, true),
            Outcome::Overloaded => self.change(at, |member, _| member.limit.refused(now)),
            Outcome::Leaving => {
                self.members[at].link.leaves(now, &self.params);
                self.touch();
            }
            Outcome::Failed => self.judge(now, at, false),
            Outcome::Late => self.late(now, at, open.method.as_ref(), latency),
            Outcome::LinkLost => {
                self.members[at].link.lost(now, &self.params);
                self.touch();
            }
            Outcome::Cancelled => {}
        }
    }

    /// Whether a call that failed is tried again, and when. `call` knows the attempts it had ([`Call::again`]), of which it may have `most`, or
    /// [`Params::attempts`] if it does not say; `wait` is what the callee asked for.
    pub fn retry(
        &mut self,
        now: Moment,
        safety: Safety,
        call: &Call,
        most: Option<u32>,
        wait: Option<Duration>,
    ) -> Verdict {
        let failed = Failed {
            safety,
            attempts: call.attempts,
            attempts_most: most.unwrap_or(self.params.attempts),
            deadline: call.deadline,
            expected: self.expected(),
            wait,
            drawn: self.chance.uniform(),
        };
        let verdict = decide(now, &failed, &mut self.budget, &self.params);
        self.counters.retries += u64::from(matches!(verdict, Verdict::Again(_)));
        verdict
    }

    /// When [`Balancer::tick`] and [`Balancer::resolve`] should be called at the latest; `NEVER` if nothing is under way.
    #[must_use]
    pub fn next_wakeup(&self) -> Moment {
        let ticket = self.ends.first().map_or(Moment::NEVER, |(ends, _)| *ends);
        if self.queue.len() == 0 {
            return ticket;
        }
        ticket.min(self.queue.next_late()).min(self.sides_until)
    }

    /// What is due: tickets that were lost, and the comparison with peers.
    pub fn tick(&mut self, now: Moment) {
        while let Some((ends, number)) = self.ends.first().copied().filter(|(ends, _)| *ends <= now)
        {
            self.ends.remove(&(ends, number));
            if let Some(open) = self.open.remove(&number) {
                self.counters.lost_tickets += 1;
                self.leave(&open);
            }
        }
        self.compare(now);
        self.refresh(now);
    }

    /// How each instance stands, and why it is not chosen if it is not.
    #[must_use]
    pub fn explain(&self, now: Moment) -> Vec<Explained> {
        let explained = |member: &Member| Explained {
            id: member.instance.id.clone(),
            standing: Standing::of(member, now),
            is_chosen: self.grade != Grade::Never && member.grade(now) == self.grade,
            is_desperate: self.grade != Grade::Well,
            is_near: member.is_near,
            in_flight: member.in_flight,
            limit: member.limit.limit(),
            pace: member.latency.value().map(|pace| pace / nanos(USUAL)),
            share: member.share(now, &self.params),
        };
        self.members.iter().map(explained).collect()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How long calls take on average; nothing before the first answer.
    #[must_use]
    pub fn expected(&self) -> Duration {
        Duration::from_nanos(self.average.value().unwrap_or(0.0) as u64)
    }

    /// The settings.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    fn place(&self, id: &InstanceId) -> Result<usize, usize> {
        self.members
            .binary_search_by(|member| member.instance.id.cmp(id))
    }

    /// The sides are to be made anew before the next choice.
    fn touch(&mut self) {
        self.sides_until = Moment::START;
    }

    fn refuse(&mut self, refusal: Refusal) -> Pick {
        self.counters.refused += 1;
        Pick::Refused(refusal)
    }

    fn try_pick(&mut self, now: Moment, call: &Call) -> Option<Go> {
        self.compare(now);
        self.refresh(now);
        let at = self.choose(now, call)?;
        self.change(at, |member, _| member.in_flight += 1);
        let number = self.next_ticket;
        self.next_ticket += 1;
        let member = &self.members[at];
        let ends = call.deadline + self.params.ticket_grace;
        let open = Open {
            id: member.instance.id.clone(),
            life: member.life,
            ends,
            method: call.method.clone(),
        };
        self.open.insert(number, open);
        self.ends.insert((ends, number));
        if call.attempts == 0 {
            self.counters.first_attempts += 1;
            self.budget.first_attempt();
        }
        let usual = self.usual.of(call.method.as_ref());
        let patience = usual.map(|it| self.params.hedge_after.max(it * 10));
        let is_desperate = self.grade != Grade::Well;
        self.counters.desperate += u64::from(is_desperate);
        Some(Go {
            instance: member.instance.clone(),
            ticket: Ticket(number),
            is_desperate,
            finds_out: member.link.pause.is_some(),
            patience,
        })
    }

    /// Near before far, unless so much of what is near is taken that some spills over; those that were not tried before those that were.
    fn choose(&mut self, now: Moment, call: &Call) -> Option<usize> {
        let order = if self.spills() { [1, 0] } else { [0, 1] };
        let choice = Choice {
            now,
            params: &self.params,
            average: nanos(USUAL),
            key: call.key,
        };
        let may = |member: &Member| {
            member.has_room()
                && call
                    .method
                    .as_ref()
                    .is_none_or(|method| member.instance.has_method(method))
        };
        let is_new = |member: &Member| may(member) && !call.tried.contains(&member.instance.id);
        for side in order {
            if self.sides[side].with_room == 0 {
                continue;
            }
            let places = &self.sides[side].places;
            let chosen = choose(&choice, &mut self.members, places, &mut self.chance, is_new);
            if chosen.is_some() {
                return chosen;
            }
        }
        if call.tried.is_empty() {
            return None;
        }
        let of_side = |side: usize| {
            choose(
                &choice,
                &mut self.members,
                &self.sides[side].places,
                &mut self.chance,
                may,
            )
        };
        order.into_iter().find_map(of_side)
    }

    /// By the room that our own calls take, which nobody can lie about.
    fn spills(&mut self) -> bool {
        let Some(preference) = &self.params.zone else {
            return false;
        };
        let [near, far] = &self.sides;
        let from = f64::from(preference.spill_permille.min(999)) / 1_000.0;
        let beyond = (near.taken() - from) / (1.0 - from);
        if beyond <= 0.0 || far.places.is_empty() || far.taken() >= near.taken() {
            return false;
        }
        self.chance.uniform() < beyond
    }

    /// Why nobody would get this call, however much room there were; `None` if it is for want of room.
    fn why_nobody(&self, call: &Call) -> Option<Refusal> {
        if self.members.is_empty() {
            return Some(Refusal::Nobody);
        }
        let lacks = |member: &Member| {
            call.method
                .as_ref()
                .is_some_and(|method| !member.instance.has_method(method))
        };
        let places = self.sides.iter().flat_map(|side| &side.places);
        if places.into_iter().any(|at| !lacks(&self.members[*at])) {
            return None;
        }
        let count = |is: &dyn Fn(&Member) -> bool| self.members.iter().filter(|it| is(it)).count();
        Some(Refusal::NobodyFit {
            draining: count(&|it| it.health() == Health::NotServing),
            failed: count(&|it| it.health() == Health::Failed),
            without_method: count(&lacks),
        })
    }

    fn overloaded(&self) -> Refusal {
        let limit: u64 = self.sides.iter().map(|side| side.limit).sum();
        Refusal::Overloaded {
            in_flight: self.open.len(),
            limit: limit as usize,
            waiting: self.queue.len(),
            after: self.expected().max(Duration::from_millis(1)),
        }
    }

    fn close(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.ends.remove(&(open.ends, number));
        Some(open)
    }

    /// Frees the place of an attempt; where its instance is, if that is still the one it went to.
    fn leave(&mut self, open: &Open) -> Option<usize> {
        let at = self.place(&open.id).ok()?;
        if self.members[at].life != open.life {
            return None;
        }
        self.change(at, |member, _| {
            member.in_flight = member.in_flight.saturating_sub(1)
        });
        Some(at)
    }

    fn answered(&mut self, now: Moment, at: usize, method: Option<&Arc<str>>, latency: Duration) {
        let memory = self.params.latency_memory;
        self.average.average(now, latency, memory);
        let slack = self.params.limit_slack;
        let (pace, calm) = self.usual.learn(now, method, latency, slack);
        if self.members[at].link.pause.is_some() {
            self.members[at].link.works();
            self.touch();
        }
        self.change(at, |member, _| {
            member.latency.peak(now, pace, memory);
            member.limit.answered(now, calm, member.in_flight + 1);
        });
        self.judge(now, at, true);
    }

    /// No answer came in time. Whose time was short says nothing of the instance by that.
    fn late(&mut self, now: Moment, at: usize, method: Option<&Arc<str>>, waited: Duration) {
        let pace = self.usual.pace_of(method, waited).unwrap_or(USUAL * 4);
        if pace < USUAL * 2 {
            return;
        }
        let memory = self.params.latency_memory;
        self.change(at, |member, _| {
            member.latency.peak(now, pace, memory);
            member.limit.refused(now);
        });
        self.judge(now, at, false);
    }

    /// Takes in whether an attempt went well, and ejects who has failed too often. A failure that comes fast must not make an instance look
    /// fast, so it counts as an answer after four times the usual time.
    fn judge(&mut self, now: Moment, at: usize, is_good: bool) {
        if !is_good {
            let memory = self.params.latency_memory;
            self.members[at].latency.peak(now, USUAL * 4, memory);
        }
        if let Some(cause) = self.members[at].outlier.note(is_good, &self.params) {
            self.eject(now, at, cause);
        }
    }

    fn eject(&mut self, now: Moment, at: usize, cause: Cause) {
        let ejected = self
            .members
            .iter()
            .filter(|it| it.outlier.ejected().is_some())
            .count();
        let most = self.members.len() * self.params.ejected_permille.min(999) as usize / 1_000;
        if ejected >= most {
            return;
        }
        self.members[at].outlier.eject(now, cause, &self.params);
        self.counters.ejections += 1;
        self.touch();
    }

    /// Compares success rates, when it is time.
    fn compare(&mut self, now: Moment) {
        if now.since(self.compared) < self.params.compare_every {
            return;
        }
        self.compared = now;
        let rates: Vec<Option<u32>> = self
            .members
            .iter()
            .map(|it| it.outlier.rate(&self.params))
            .collect();
        let mut sorted: Vec<u32> = rates.iter().flatten().copied().collect();
        sorted.sort_unstable();
        for (at, rate) in rates.into_iter().enumerate() {
            let cause = rate.and_then(|rate| outlier::compare(rate, &sorted, &self.params));
            if let Some(cause) = cause {
                self.eject(now, at, cause);
            }
            self.members[at].outlier.begin_anew();
        }
    }

    /// Makes the sides anew, if something changed them: those that are well, or else the least bad.
    fn refresh(&mut self, now: Moment) {
        if now < self.sides_until {
            return;
        }
        for member in &mut self.members {
            if member.outlier.readmit(now) {
                member.since = now;
            }
        }
        let grades = self.members.iter().map(|member| member.grade(now));
        self.grade = grades.min().unwrap_or(Grade::Never);
        self.sides = [Side::default(), Side::default()];
        self.sides_until = Moment::NEVER;
        for (at, member) in self.members.iter().enumerate() {
            let changes = [
                member.link.pause,
                member.outlier.ejected().map(|(until, _)| until),
            ];
            for change in changes.into_iter().flatten().filter(|change| now < *change) {
                self.sides_until = self.sides_until.min(change);
            }
            if self.grade != Grade::Never && member.grade(now) == self.grade {
                let side = &mut self.sides[usize::from(!member.is_near)];
                side.places.push(at);
                side.in_flight += u64::from(member.in_flight);
                side.limit += u64::from(member.limit.limit());
                side.with_room += usize::from(member.has_room());
            }
        }
    }

    /// Changes a member and, with it, what its side has of room.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Member, &Params)) {
        let member = &mut self.members[at];
        let taken = |member: &Member| {
            let room = usize::from(member.has_room());
            (
                u64::from(member.in_flight),
                u64::from(member.limit.limit()),
                room,
            )
        };
        let before = taken(member);
        change(member, &self.params);
        let after = taken(member);
        let side = &mut self.sides[usize::from(!member.is_near)];
        if side.places.binary_search(&at).is_ok() {
            side.in_flight = (side.in_flight + after.0).saturating_sub(before.0);
            side.limit = (side.limit + after.1).saturating_sub(before.1);
            side.with_room = (side.with_room + after.2).saturating_sub(before.2);
        }
    }
}
