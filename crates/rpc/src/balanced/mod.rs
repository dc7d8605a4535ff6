//! Calls to whichever instance of an RPC service is best for them: the acting half of balancing.
//!
//! A [`Balanced`] is used where a [`Channel`] is, by any generated client. It follows [`Instances`], keeps a channel to each instance that was
//! chosen once, and has [`convoke_balance`] decide who gets a call, and whether one that failed is tried again.
//!
//! ```text
//! XClient ─► Caller ─► Balanced ─┬─► Channel ─► instance
//!                 Balancer ◄─────┤      …
//!                Instances ◄─────┘
//! ```
//!
//! | bound | |
//! | --- | --- |
//! | channels | one for each instance in [`Params::members_most`] |
//! | calls that wait, attempts, retries | those of [`Params`] |
//! | waiting for a link | [`BalancedConfig::patience`], then another instance is tried; not for one that was lost, while somebody else has one |
//! | links that are opened while calls go elsewhere | one for each instance |
//!
//! A stream counts as under way with its instance until it ends, and stays with it. A link that is lost under it ends it, unless its method is
//! resumable: then it goes on with another instance (`resume`).
//!
//! Deliberately not here: the laws (`docs/design/020-balancing.md`), and where instances come from.

mod instances;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use convoke_balance::{
    Balancer, Call, Counters, Explained, Go, Instance, InstanceId, Outcome, Params, Pick, Refusal,
    Safety, Stop, Ticket, Verdict, View,
};
use convoke_types::{Changed, Code, Moment, Problem, Retry, Selector};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::instances::Instances;
use crate::channel::{Boxed, Channel, ChannelConfig, Target, not_sent};
use crate::endpoint::Endpoint;
use crate::service::MethodDescriptor;

/// How calls are balanced.
#[derive(Clone, Debug)]
pub struct BalancedConfig {
    /// Who gets a call, limits, ejection, retries.
    pub params: Params,
    /// How the channel to each instance behaves; its `patience` is the one below.
    pub channel: ChannelConfig,
    /// How long one attempt waits for a link to its instance before another instance is tried. 50 ms – 5 s; default 1 s. Shorter leaves a dead one
    /// sooner, and takes one that is far away for dead.
    pub patience: Duration,
    /// With which seed chance begins; drawn if nobody says. Clients with the same seed choose alike.
    pub seed: Option<u64>,
}

impl Default for BalancedConfig {
    fn default() -> Self {
        Self {
            params: Params::lan(),
            channel: ChannelConfig::default(),
            patience: Duration::from_secs(1),
            seed: None,
        }
    }
}

/// What is asked of a call beyond its method.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) deadline: Option<Instant>,
    pub(crate) key: Option<u64>,
    /// Attempts at most; what the balancer says, when nobody does.
    pub(crate) attempts: Option<u32>,
    /// Instances that are chosen only if there is no other.
    pub(crate) tried: Vec<InstanceId>,
    /// It is a retry from the first attempt on, and counts as one; false once it was counted.
    pub(crate) is_retry: bool,
    /// It goes on where a stream was cut.
    pub(crate) goes_on: bool,
    /// How many attempts were sent.
    pub(crate) sent: u32,
}

/// The way to all instances of an RPC service that a selector chooses. Clones share channels, limits and budgets.
#[derive(Clone)]
pub struct Balanced(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    instances: Instances,
    service: String,
    channel: ChannelConfig,
    begun: Instant,
    state: Mutex<State>,
    /// Somebody waits who did not before.
    waits: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct State {
    balancer: Balancer,
    /// The revision of the instances that it knows, once it knows any.
    seen: Option<u64>,
    view: View,
    channels: BTreeMap<InstanceId, (Arc<Instance>, Channel)>,
    waiting: BTreeMap<u64, oneshot::Sender<Result<Go, Refusal>>>,
    /// Instances to which a link is being opened while calls go elsewhere.
    opening: BTreeSet<InstanceId>,
    /// Names of methods, by their slots: a name is made once.
    methods: BTreeMap<u32, Arc<str>>,
}

impl fmt::Debug for Balanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balanced")
            .field("service", &self.0.service)
            .finish_non_exhaustive()
    }
}

impl Balanced {
    /// The way to those instances of `service` that `selector` chooses, over links of `endpoint`. It has to be made where a runtime runs.
    #[must_use]
    pub fn new(
        endpoint: &Endpoint,
        instances: &Instances,
        service: &str,
        selector: Selector,
        config: BalancedConfig,
    ) -> Self {
        let seed = config.seed.unwrap_or_else(chance);
        let inner = Arc::new(Inner {
            endpoint: endpoint.clone(),
            instances: instances.clone(),
            service: service.to_owned(),
            channel: ChannelConfig {
                patience: config.patience,
                ..config.channel
            },
            begun: Instant::now(),
            state: Mutex::new(State {
                balancer: Balancer::new(Moment::START, config.params, seed),
                seen: None,
                view: View::new(service, selector),
                channels: BTreeMap::new(),
                waiting: BTreeMap::new(),
                opening: BTreeSet::new(),
                methods: BTreeMap::new(),
            }),
            waits: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let tending = tend(
            Arc::downgrade(&inner),
            instances.watch(),
            Arc::clone(&inner.waits),
            inner.stop.clone(),
        );
        inner.tasks.spawn(tending);
        Self(inner)
    }

    /// How each instance stands, and why it is not chosen if it is not.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        let mut state = self.0.state.lock();
        self.0.follow(&mut state);
        state.balancer.explain(self.0.now())
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.state.lock().balancer.counters()
    }

    /// How many calls wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.state.lock().waiting.len()
    }

    /// Opens links to all instances, so that no call waits for one; gives back how many are open within this time.
    pub async fn connect(&self, within: Duration) -> usize {
        let channels: Vec<Channel> = {
            let mut state = self.0.state.lock();
            self.0.follow(&mut state);
            let chosen: Vec<Arc<Instance>> = state.view.chosen().cloned().collect();
            let channels = chosen.iter().map(|it| self.0.channel_to(&mut state, it));
            channels.filter_map(Result::ok).collect()
        };
        let opening = channels.iter().map(|it| it.connect_within(within));
        let opened = futures_util::future::join_all(opening).await;
        opened.iter().filter(|it| it.is_ok()).count()
    }

    /// Every instance that is chosen, however it is, and the way to it.
    pub(crate) fn everybody(&self) -> Vec<(Arc<Instance>, Result<Channel, Problem>)> {
        let mut state = self.0.state.lock();
        self.0.follow(&mut state);
        let chosen: Vec<Arc<Instance>> = state.view.chosen().cloned().collect();
        let is_closed = self.0.stop.is_cancelled();
        let with_channel = chosen.into_iter().map(|instance| {
            let channel = if is_closed {
                Err(closed())
            } else {
                self.0.channel_to(&mut state, &instance)
            };
            (instance, channel)
        });
        with_channel.collect()
    }

    /// Takes no new calls, lets those under way end for at most `grace`, then closes all links. Says whether all came to their end.
    pub async fn close(&self, grace: Duration) -> bool {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let channels: Vec<Channel> = {
            let mut state = self.0.state.lock();
            state.waiting.clear();
            let channels = std::mem::take(&mut state.channels);
            channels.into_values().map(|(_, channel)| channel).collect()
        };
        let closing = channels.iter().map(|channel| channel.close(grace));
        let closed = futures_util::future::join_all(closing).await;
        closed.into_iter().all(|it| it)
    }

    /// Makes attempts until one ends well, or none may be made any more. What ended well is still under way with its instance until the
    /// [`Hold`] is ended or dropped.
    pub(crate) async fn run<'a, T>(
        &self,
        method: &'static MethodDescriptor,
        asked: &mut Asked,
        mut attempt: impl FnMut(Channel) -> Boxed<'a, Result<T, Problem>>,
    ) -> Result<(T, Hold), Problem> {
        let mut call = Call::until(self.0.moment(asked.deadline));
        call.key = asked.key;
        call.tried = std::mem::take(&mut asked.tried);
        if asked.is_retry {
            self.take_a_retry(call.deadline).await?;
            asked.is_retry = false;
        }
        let mut may_have_run = false;
        loop {
            let (go, channel) = self.pick(method, &mut call).await?;
            let patience = go.patience.filter(|_| method.is_idempotent());
            let hold = Hold::new(&self.0, go);
            // One that says no address is as one that cannot be reached: there are others.
            let (hold, answered) = match channel {
                Ok(channel) => {
                    asked.sent += 1;
                    let mut first = attempt(channel);
                    let soon = match patience {
                        Some(patience) => timeout(patience, first.as_mut()).await.ok(),
                        None => Some(first.as_mut().await),
                    };
                    match soon {
                        Some(answered) => (hold, answered),
                        None => {
                            let beside = self.beside(
                                method,
                                &mut call,
                                asked.attempts,
                                hold,
                                first,
                                &mut attempt,
                            );
                            Box::pin(beside).await
                        }
                    }
                }
                Err(problem) => (hold, Err(problem)),
            };
            let problem = match answered {
                Ok(answer) => return Ok((answer, hold)),
                Err(problem) => problem,
            };
            call = call.again(hold.instance().id.clone());
            hold.end(Outcome::of(problem.code));
            let safety = safety(method, &problem);
            let wait = match problem.retry {
                Retry::After(wait) => Some(wait),
                Retry::Never | Retry::IfIdempotent | Retry::Now => None,
            };
            // What an earlier attempt may have done is not undone by a later one that did not run.
            may_have_run |= problem.changed != Changed::No;
            let verdict = {
                let mut state = self.0.state.lock();
                let now = self.0.now();
                state
                    .balancer
                    .retry(now, safety, &call, asked.attempts, wait)
            };
            match verdict {
                Verdict::Again(at) => self.0.sleep_until(at).await,
                Verdict::Stop(_) if may_have_run => return Err(problem.changed(Changed::Maybe)),
                Verdict::Stop(_) => return Err(problem),
            }
        }
    }

    /// Awaits an attempt that takes suspiciously long, as with somebody who has fallen silent, and makes another one beside it, if there is budget
    /// and somebody to make it with. Who answers first counts.
    #[cold]
    async fn beside<'a, T>(
        &self,
        method: &'static MethodDescriptor,
        call: &mut Call,
        attempts: Option<u32>,
        hold: Hold,
        mut first: Boxed<'a, Result<T, Problem>>,
        attempt: &mut impl FnMut(Channel) -> Boxed<'a, Result<T, Problem>>,
    ) -> (Hold, Result<T, Problem>) {
        let mut other = call.clone().again(hold.instance().id.clone());
        let verdict = {
            let mut state = self.0.state.lock();
            let now = self.0.now();
            state
                .balancer
                .retry(now, Safety::Idempotent, &other, attempts, None)
        };
        if let Verdict::Stop(_) = verdict {
            return (hold, first.await);
        }
        *call = other.clone();
        let second = async {
            let (go, channel) = self.pick(method, &mut other).await.ok()?;
            let beside = Hold::new(&self.0, go);
            if beside.instance().id == hold.instance().id {
                return None;
            }
            match attempt(channel.ok()?).await {
                Ok(answer) => Some((beside, answer)),
                Err(problem) => {
                    beside.end(Outcome::of(problem.code));
                    None
                }
            }
        };
        let answered = tokio::select! {
            biased;
            answered = first.as_mut() => answered,
            second = second => match second {
                Some((beside, answer)) => {
                    hold.end(Outcome::Late);
                    return (beside, Ok(answer));
                }
                None => first.await,
            },
        };
        // Of two attempts nobody can say that neither ran.
        (
            hold,
            answered.map_err(|problem| problem.changed(Changed::Maybe)),
        )
    }

    /// For an attempt that is itself a retry of something else.
    async fn take_a_retry(&self, deadline: Moment) -> Result<(), Problem> {
        let verdict = {
            let mut state = self.0.state.lock();
            let failed = Call::until(deadline);
            let now = self.0.now();
            state
                .balancer
                .retry(now, Safety::NeverStarted, &failed, None, None)
        };
        match verdict {
            Verdict::Again(at) => {
                self.0.sleep_until(at).await;
                Ok(())
            }
            Verdict::Stop(why) => {
                let what = format!("call {}: {why}", self.0.service);
                let code = match why {
                    Stop::Deadline => Code::DeadlineExceeded,
                    Stop::Budget | Stop::Attempts | Stop::MayHaveRun | Stop::Pointless => {
                        Code::Overloaded
                    }
                };
                Err(not_sent(Problem::new(code, what)))
            }
        }
    }

    /// Whom a call goes to, once there is room. No call waits for a link that was lost while there is somebody with one.
    async fn pick(
        &self,
        method: &'static MethodDescriptor,
        call: &mut Call,
    ) -> Result<(Go, Result<Channel, Problem>), Problem> {
        loop {
            let (go, channel) = self.choose(method, call).await?;
            match channel {
                Ok(channel) if !channel.is_open() && (go.finds_out || channel.had_link()) => {
                    if let Some(go) = self.0.open_aside(go, call, &channel) {
                        return Ok((go, Ok(channel)));
                    }
                }
                channel => return Ok((go, channel)),
            }
        }
    }

    async fn choose(
        &self,
        method: &'static MethodDescriptor,
        call: &mut Call,
    ) -> Result<(Go, Result<Channel, Problem>), Problem> {
        let waiting = {
            let mut guard = self.0.state.lock();
            let state = &mut *guard;
            if self.0.stop.is_cancelled() {
                return Err(closed());
            }
            self.0.follow(state);
            let named = state.methods.entry(method.slot());
            let name = named.or_insert_with(|| short_name(method).into());
            call.method = Some(Arc::clone(name));
            match state.balancer.pick(self.0.now(), call) {
                Pick::Go(go) => {
                    let channel = self.0.channel_to(state, &go.instance);
                    return Ok((go, channel));
                }
                Pick::Refused(refusal) => return Err(self.0.refused(&refusal)),
                Pick::Wait(number) => {
                    let (answer, answered) = oneshot::channel();
                    state.waiting.insert(number, answer);
                    Waiting {
                        inner: &self.0,
                        number,
                        answered,
                    }
                }
            }
        };
        self.0.waits.notify_one();
        let go = waiting.go().await?;
        let channel = self.0.channel_to(&mut self.0.state.lock(), &go.instance);
        Ok((go, channel))
    }
}

impl Inner {
    fn now(&self) -> Moment {
        Moment::START + self.begun.elapsed()
    }

    fn moment(&self, deadline: Option<Instant>) -> Moment {
        let from_begin = |at: Instant| at.saturating_duration_since(self.begun);
        deadline.map_or(Moment::NEVER, |at| Moment::START + from_begin(at))
    }

    async fn sleep_until(&self, at: Moment) {
        let left = at.since(self.now());
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
    }

    /// Takes in what changed about instances. A verdict counts for the very next call.
    fn follow(&self, state: &mut State) {
        let revision = self.instances.revision();
        if state.seen.replace(revision) == Some(revision) {
            return;
        }
        let deltas = self.instances.follow(&mut state.view);
        for delta in &deltas {
            if let convoke_balance::Delta::Gone(id) = delta {
                state.channels.remove(id);
            }
        }
        state.balancer.follow(self.now(), deltas);
    }

    /// The channel to an instance, made when it is needed, and anew when the instance is elsewhere.
    fn channel_to(&self, state: &mut State, instance: &Arc<Instance>) -> Result<Channel, Problem> {
        if let Some((of, channel)) = state.channels.get_mut(&instance.id)
            && (Arc::ptr_eq(of, instance) || of.addresses == instance.addresses)
        {
            *of = Arc::clone(instance);
            return Ok(channel.clone());
        }
        let target = target(instance).ok_or_else(|| {
            let what = format!("instance {} says no address", instance.id);
            not_sent(Problem::new(Code::Unavailable, what))
        })?;
        let channel = Channel::one_of_many(&self.endpoint, target, self.channel.clone());
        let made = (Arc::clone(instance), channel.clone());
        state.channels.insert(instance.id.clone(), made);
        Ok(channel)
    }

    /// Opens a link to an instance that was chosen and has none any more, while its call goes to another one. Gives the choice back where nobody else is well
    /// and has a link: then the call had better wait. Each time an instance is passed over it is left alone for a while, so that a call
    /// comes here once for each at most.
    fn open_aside(self: &Arc<Self>, go: Go, call: &Call, channel: &Channel) -> Option<Go> {
        let id = go.instance.id.clone();
        let mut state = self.state.lock();
        let has_link = |(_, channel): &(Arc<Instance>, Channel)| channel.is_open();
        if go.is_desperate || !state.channels.values().any(has_link) {
            return Some(go);
        }
        state.balancer.pass_over(self.now(), go.ticket, call);
        self.settle(&mut state);
        if state.opening.insert(id.clone()) {
            let (inner, stop) = (Arc::downgrade(self), self.stop.clone());
            let (channel, patience) = (channel.clone(), self.channel.patience);
            self.tasks.spawn(async move {
                let opening = channel.connect_within(patience);
                let opened = stop.run_until_cancelled(opening).await;
                let Some(inner) = inner.upgrade() else {
                    return;
                };
                let mut state = inner.state.lock();
                state.opening.remove(&id);
                if matches!(opened, Some(Ok(_))) {
                    state.balancer.connected(&id);
                    inner.settle(&mut state);
                }
            });
        }
        None
    }

    /// Those who wait hear what became of them. Whoever gave up meanwhile gives its place back.
    fn settle(&self, state: &mut State) {
        if state.waiting.is_empty() {
            return;
        }
        loop {
            let resolved = state.balancer.resolve(self.now());
            if resolved.is_empty() {
                return;
            }
            for resolved in resolved {
                let waiting = state.waiting.remove(&resolved.number);
                let answered = match waiting {
                    Some(waiting) => waiting.send(resolved.answer),
                    None => Err(resolved.answer),
                };
                if let Err(Ok(go)) = answered {
                    let now = self.now();
                    state
                        .balancer
                        .done(now, go.ticket, Outcome::Cancelled, Duration::ZERO);
                }
            }
        }
    }

    fn done(&self, ticket: Ticket, outcome: Outcome, latency: Duration) {
        let mut state = self.state.lock();
        state.balancer.done(self.now(), ticket, outcome, latency);
        self.settle(&mut state);
    }

    fn refused(&self, refusal: &Refusal) -> Problem {
        let retry = match refusal {
            Refusal::Overloaded { after, .. } => Retry::After(*after),
            Refusal::Nobody | Refusal::NobodyFit { .. } => Retry::After(Duration::from_secs(1)),
            Refusal::TooLate { .. } => Retry::Never,
        };
        let message = format!("call {}: {refusal}", self.service);
        not_sent(Problem::new(refusal.code(), message)).retry(retry)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn closed() -> Problem {
    let problem = Problem::new(Code::Unavailable, "this client is closed");
    not_sent(problem).retry(Retry::Never)
}

/// Looks after those who wait, and takes in what changes while nobody calls.
async fn tend(
    inner: Weak<Inner>,
    mut changed: watch::Receiver<u64>,
    waits: Arc<Notify>,
    stop: CancellationToken,
) {
    loop {
        let left = {
            let Some(inner) = inner.upgrade() else {
                return;
            };
            let mut state = inner.state.lock();
            inner.follow(&mut state);
            let now = inner.now();
            state.balancer.tick(now);
            inner.settle(&mut state);
            let wakeup = state.balancer.next_wakeup();
            (wakeup != Moment::NEVER).then(|| wakeup.since(inner.now()))
        };
        let due = async {
            match left {
                Some(left) => tokio::time::sleep(left.max(SOON)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = due => {}
            () = waits.notified() => {}
            changed = changed.changed() => if changed.is_err() { return },
        }
    }
}

/// No look comes sooner after another one.
const SOON: Duration = Duration::from_millis(1);

/// A call that waits for room; dropped, it is wanted no more.
struct Waiting<'a> {
    inner: &'a Inner,
    number: u64,
    answered: oneshot::Receiver<Result<Go, Refusal>>,
}

impl Waiting<'_> {
    async fn go(mut self) -> Result<Go, Problem> {
        match (&mut self.answered).await {
            Ok(Ok(go)) => Ok(go),
            Ok(Err(refusal)) => Err(self.inner.refused(&refusal)),
            Err(_) => Err(not_sent(Problem::new(
                Code::Unavailable,
                "this client was closed",
            ))),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        if state.waiting.remove(&self.number).is_some() {
            state.balancer.forget(self.number);
        } else if let Ok(Ok(go)) = self.answered.try_recv() {
            // It was let go just when nobody waited any more.
            let now = self.inner.now();
            let balancer = &mut state.balancer;
            balancer.done(now, go.ticket, Outcome::Cancelled, Duration::ZERO);
            self.inner.settle(&mut state);
        }
    }
}

/// An attempt that is under way with its instance. Dropped, it was given up.
pub(crate) struct Hold {
    inner: Arc<Inner>,
    instance: Arc<Instance>,
    ticket: Option<Ticket>,
    began: Moment,
    /// How long it took until it was of use, for a stream.
    took: Option<Duration>,
}

impl Hold {
    fn new(inner: &Arc<Inner>, go: Go) -> Self {
        Self {
            inner: Arc::clone(inner),
            instance: go.instance,
            ticket: Some(go.ticket),
            began: inner.now(),
            took: None,
        }
    }

    /// Whom it is with.
    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// A stream has begun: how long it goes on says nothing about its instance.
    pub(crate) fn started(&mut self) {
        self.took = Some(self.inner.now().since(self.began));
    }

    /// It came to an answer, or to this problem.
    pub(crate) fn ended(self, problem: Option<Code>) {
        self.end(problem.map_or(Outcome::Answered, Outcome::of));
    }

    fn end(mut self, outcome: Outcome) {
        self.give_back(outcome);
    }

    fn give_back(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            let took = self
                .took
                .unwrap_or_else(|| self.inner.now().since(self.began));
            self.inner.done(ticket, outcome, took);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Whoever stops reading a stream that has begun has had an answer.
        self.give_back(if self.took.is_some() {
            Outcome::Answered
        } else {
            Outcome::Cancelled
        });
    }
}

fn safety(method: &MethodDescriptor, problem: &Problem) -> Safety {
    // Another instance may have what this one lacks.
    let elsewhere = problem.code == Code::Unimplemented;
    if problem.retry == Retry::Never && !elsewhere {
        Safety::Pointless
    } else if problem.changed == Changed::No {
        Safety::NeverStarted
    } else if method.is_idempotent() {
        Safety::Idempotent
    } else {
        Safety::MayHaveRun
    }
}

/// What stands behind the last dot: `greet` of `Greeter.greet`.
fn short_name(method: &MethodDescriptor) -> &'static str {
    let name = method.name();
    name.rsplit_once('.').map_or(name, |(_, name)| name)
}

fn target(instance: &Instance) -> Option<Target> {
    let addresses = instance.addresses.iter();
    let addresses: Vec<SocketAddr> = addresses.filter_map(|it| it.parse().ok()).collect();
    let node = match &instance.id {
        InstanceId::Node { node, .. } => Some(*node),
        InstanceId::Named(_) => None,
    };
    (!addresses.is_empty()).then_some(Target { addresses, node })
}

fn chance() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness clients choose alike, which costs evenness and nothing else.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
