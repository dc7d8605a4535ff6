//! Decides what starts and stops, and when: `handle(now, input)` gives effects. No clock, no task, no chance.
//!
//! Each start of a service is a *run* with a number, so that what an earlier run says late is not taken for the present one.
//!
//! A role change drains what has to stop, all at once; stops it, dependents first; starts what is missing, dependents last. When something
//! that the change starts does not, the last set that ran is wanted again. A stop is a change to nothing, with a bound on the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_types::{Moment, Role};
use serde::Serialize;

use crate::config::{StopConfig, write_duration};
use crate::roles::{Mode, ServiceName, Wanted};

/// The times of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// How long a service may take to start. 1 s – 10 min; default 30 s. Longer: a service that hangs is noticed later.
    pub start: Duration,
    /// How long work is let go of before services stop. 0 – 1 h; default 10 s. Setting `stop.drain`.
    pub drain: Duration,
    /// How long one service may take to stop once it was drained. 1 s – 10 min; default 10 s. Then it is cut off.
    pub stop: Duration,
    /// How long a stop of the node takes in all. Default 30 s. Setting `stop.bound`.
    pub bound: Duration,
    /// How long a service that was cut off may take to be gone. Default 1 s. One that is not blocks its thread, and is abandoned.
    pub abort: Duration,
    /// How long a service that failed waits the first time. Default 1 s; it doubles with each failure in a row.
    pub retry_first: Duration,
    /// How long it waits at most. Default 60 s.
    pub retry_most: Duration,
    /// How long a service has to run for its failures to be forgotten. Default 60 s.
    pub stable: Duration,
}

impl Default for Params {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            start: seconds(30),
            drain: seconds(10),
            stop: seconds(10),
            bound: seconds(30),
            abort: seconds(1),
            retry_first: seconds(1),
            retry_most: seconds(60),
            stable: seconds(60),
        }
    }
}

impl From<StopConfig> for Params {
    /// The times that are settings, and the defaults of the others.
    fn from(stop: StopConfig) -> Self {
        Self {
            drain: stop.drain,
            bound: stop.bound,
            ..Self::default()
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A role is to be played, with these services.
    Want(Role, Wanted),
    /// The node is to stop, in order.
    Stop,
    /// The node is to stop at once.
    StopNow,
    /// A run has started.
    Started(ServiceName, u64),
    /// A run is of use, or is not, and why.
    Ready(ServiceName, u64, Result<(), String>),
    /// A run has let go of its work.
    Drained(ServiceName, u64),
    /// A run is over, by itself or because it was told.
    Gone(ServiceName, u64, Result<(), String>),
    /// A run came forward.
    Progress(ServiceName, u64),
    /// Other times for what begins from now on.
    Params(Params),
    /// A time has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Start a run.
    Start(ServiceName, u64, Mode),
    /// Tell a run its new mode.
    Change(ServiceName, u64, Mode),
    /// Have a run let go of its work.
    Drain(ServiceName, u64),
    /// Tell a run to end.
    Stop(ServiceName, u64),
    /// Cut a run off.
    Abort(ServiceName, u64),
    /// Say something.
    Tell(Event),
    /// All essential services came forward since the last time.
    Feed,
    /// Nothing runs, and nothing will.
    End(Ending),
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// All essential services are ready.
    Ready,
    /// An essential service is not ready any more.
    NotReady {
        /// Which.
        service: ServiceName,
        /// Why.
        why: String,
    },
    /// A role change begins.
    Changing {
        /// The role so far; none at the start.
        from: Option<Role>,
        /// The role to come.
        to: Role,
    },
    /// Everything the role wants has started.
    Changed {
        /// The role.
        role: Role,
    },
    /// The role change is undone.
    RollingBack {
        /// The role that is played again.
        to: Role,
        /// The role that did not work out.
        from: Role,
        /// Why.
        why: String,
    },
    /// A service failed.
    Failed {
        /// Which.
        service: ServiceName,
        /// Why.
        error: String,
        /// When it is tried again; `None` when the node ends, or the change is undone.
        retry_ms: Option<u64>,
    },
    /// Work was not let go of in time, and is cut off.
    DrainCut {
        /// Whose.
        service: ServiceName,
    },
    /// A service did not stop in time, and is cut off.
    StopCut {
        /// Which.
        service: ServiceName,
    },
    /// A service that was cut off is still there: it blocks its thread.
    Abandoned {
        /// Which.
        service: ServiceName,
    },
    /// The node stops.
    Stopping {
        /// Why.
        why: EndReason,
    },
}

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// Why.
    pub why: EndReason,
    /// Services that did not stop by themselves in time.
    pub cut: Vec<ServiceName>,
    /// Services that are still there.
    pub abandoned: Vec<ServiceName>,
}

/// Why a node ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum EndReason {
    /// It was asked to.
    Asked,
    /// It was asked twice, or to do it at once.
    AskedTwice,
    /// A service it is worth nothing without has failed.
    Failed {
        /// Which.
        service: ServiceName,
        /// Why.
        error: String,
    },
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It starts for the first time.
    Starting,
    /// It plays its role.
    Running,
    /// It goes from one role to another, or back.
    Changing,
    /// It stops.
    Stopping,
    /// It is over.
    Ended,
}

/// A node and its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// The role it plays, or goes to; none before it was told.
    pub role: Option<Role>,
    /// What it is doing.
    pub stage: Stage,
    /// Whether every essential service is ready.
    pub is_ready: bool,
    /// Why the last role change was undone, if it was.
    pub rolled_back: Option<String>,
    /// Every service there is, in their order.
    pub services: Vec<ServiceStatus>,
}

/// How a service does. Moments are those of [`Reins::now`](super::Reins::now).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Which.
    pub service: ServiceName,
    /// How it does.
    pub state: ServiceState,
    /// The mode it runs in, or is to run in; none when the role does not want it.
    pub mode: Option<Mode>,
    /// Since when it does so.
    pub since: Moment,
    /// Why it failed last, and when. Kept after it runs again.
    pub last_error: Option<(String, Moment)>,
    /// How often it was started.
    pub starts: u64,
}

/// How a service does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// This program does not have it.
    NotBuilt,
    /// It does not run, and need not.
    Stopped,
    /// It is wanted, and what it stands on is not there yet.
    Waiting,
    /// It is being started.
    Starting,
    /// It runs, and is not of use yet, or is not any more.
    NotReady {
        /// Why.
        why: String,
    },
    /// It runs and is of use.
    Ready,
    /// It lets go of its work.
    Draining,
    /// It was told to end.
    Stopping,
    /// It failed, and is tried again.
    Failed {
        /// When.
        next_try: Moment,
    },
    /// It was cut off and is still there.
    Abandoned,
}

impl ServiceState {
    /// In words of one piece, as `not built`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotBuilt => "not built",
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::NotReady { .. } => "not ready",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Failed { .. } => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Idle,
    Starting {
        until: Moment,
    },
    Up {
        ready: Result<(), String>,
    },
    Draining {
        until: Moment,
    },
    /// It has let go, and waits for those that stand on it to stop.
    Drained,
    Stopping {
        until: Moment,
    },
    /// It was cut off.
    Aborting {
        until: Moment,
    },
    /// It was cut off, and did not go.
    Lost,
}

/// A service and its run.
#[derive(Debug)]
struct Slot {
    phase: Phase,
    run: u64,
    /// The mode of the run.
    mode: Mode,
    since: Moment,
    last_error: Option<(String, Moment)>,
    starts: u64,
    /// When the run had started.
    up_since: Moment,
    /// Failures in a row.
    failures: u32,
    /// After a failure: when it may start again.
    not_before: Option<Moment>,
}

impl Slot {
    fn new() -> Self {
        Self {
            phase: Phase::Idle,
            run: 0,
            mode: Mode::Full,
            since: Moment::START,
            last_error: None,
            starts: 0,
            up_since: Moment::START,
            failures: 0,
            not_before: None,
        }
    }

    /// Whether its task may still do something.
    fn is_alive(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Whether others may stand on it.
    fn is_up(&self) -> bool {
        matches!(
            self.phase,
            Phase::Up { .. } | Phase::Draining { .. } | Phase::Drained
        )
    }

    fn until(&self) -> Option<Moment> {
        match self.phase {
            Phase::Starting { until }
            | Phase::Draining { until }
            | Phase::Stopping { until }
            | Phase::Aborting { until } => Some(until),
            Phase::Idle | Phase::Up { .. } | Phase::Drained | Phase::Lost => None,
        }
    }
}

/// A role with its services.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Goal {
    role: Role,
    wanted: Wanted,
}

/// A change under way.
#[derive(Debug)]
struct Change {
    /// What is wanted again when it does not work out; none at the start, and when this is the way back.
    back: Option<Goal>,
    /// What it starts: these have to.
    starts: BTreeSet<ServiceName>,
}

/// A stop under way.
#[derive(Debug)]
struct Stop {
    why: EndReason,
    until: Moment,
    cut: BTreeSet<ServiceName>,
}

/// What runs, what is wanted, and what is being done about it.
#[derive(Debug)]
pub(crate) struct Core {
    params: Params,
    /// Those that are built.
    slots: BTreeMap<ServiceName, Slot>,
    goal: Option<Goal>,
    /// The last goal that was reached.
    settled: Option<Goal>,
    change: Option<Change>,
    stop: Option<Stop>,
    rolled_back: Option<String>,
    came_forward: BTreeSet<ServiceName>,
    said_ready: bool,
    has_ended: bool,
    next_run: u64,
    /// When something was handled last.
    now: Moment,
    effects: Vec<Effect>,
}

impl Core {
    pub(crate) fn new(params: Params, built: impl IntoIterator<Item = ServiceName>) -> Self {
        Self {
            params,
            slots: built
                .into_iter()
                .map(|service| (service, Slot::new()))
                .collect(),
            goal: None,
            settled: None,
            change: None,
            stop: None,
            rolled_back: None,
            came_forward: BTreeSet::new(),
            said_ready: false,
            has_ended: false,
            next_run: 1,
            now: Moment::START,
            effects: Vec::new(),
        }
    }

    /// Takes what happened; says what is to be done, in this order.
    pub(crate) fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        if self.has_ended {
            return Vec::new();
        }
        self.now = self.now.max(now);
        match input {
            Input::Want(role, wanted) => self.want(now, Goal { role, wanted }),
            Input::Stop => self.begin_stop(now, EndReason::Asked),
            Input::StopNow => self.stop_now(now),
            Input::Started(service, run) => self.started(now, service, run),
            Input::Ready(service, run, ready) => self.ready(now, service, run, ready),
            Input::Drained(service, run) => self.drained(now, service, run),
            Input::Gone(service, run, result) => self.gone(now, service, run, result),
            Input::Progress(service, run) => self.progress(service, run),
            Input::Params(params) => self.params = params,
            Input::Tick => {}
        }
        self.look_at_the_clock(now);
        self.settle(now);
        self.conclude();
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Tick`] is due at the latest.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        if self.has_ended {
            return None;
        }
        let of_runs = self.slots.values().filter_map(Slot::until);
        let of_retries = self
            .slots
            .iter()
            .filter(|(service, slot)| {
                slot.phase == Phase::Idle && self.wanted_mode(**service).is_some()
            })
            .filter_map(|(_, slot)| slot.not_before)
            // One that is past waits for another service, not for the clock.
            .filter(|at| *at > self.now);
        let of_stop = self
            .stop
            .as_ref()
            .map(|stop| stop.until)
            .filter(|until| *until != Moment::NEVER);
        of_runs.chain(of_retries).chain(of_stop).min()
    }

    pub(crate) fn view(&self) -> Overview {
        Overview {
            role: self.goal.as_ref().map(|goal| goal.role),
            stage: self.stage(),
            is_ready: self.unready().is_none(),
            rolled_back: self.rolled_back.clone(),
            services: ServiceName::ALL
                .into_iter()
                .map(|service| self.status(service))
                .collect(),
        }
    }

    fn stage(&self) -> Stage {
        if self.has_ended {
            Stage::Ended
        } else if self.stop.is_some() {
            Stage::Stopping
        } else if self.settled.is_none() {
            Stage::Starting
        } else if self.change.is_some() {
            Stage::Changing
        } else {
            Stage::Running
        }
    }

    fn status(&self, service: ServiceName) -> ServiceStatus {
        let wanted = self.wanted_mode(service);
        let Some(slot) = self.slots.get(&service) else {
            return ServiceStatus {
                service,
                state: ServiceState::NotBuilt,
                mode: wanted,
                since: Moment::START,
                last_error: None,
                starts: 0,
            };
        };
        let state = match &slot.phase {
            Phase::Idle if wanted.is_none() => ServiceState::Stopped,
            Phase::Idle => match slot.not_before {
                Some(next_try) if next_try > self.now => ServiceState::Failed { next_try },
                _ => ServiceState::Waiting,
            },
            Phase::Starting { .. } => ServiceState::Starting,
            Phase::Up { ready: Ok(()) } => ServiceState::Ready,
            Phase::Up { ready: Err(why) } => ServiceState::NotReady { why: why.clone() },
            Phase::Draining { .. } | Phase::Drained => ServiceState::Draining,
            Phase::Stopping { .. } | Phase::Aborting { .. } => ServiceState::Stopping,
            Phase::Lost => ServiceState::Abandoned,
        };
        ServiceStatus {
            service,
            state,
            mode: slot.is_alive().then_some(slot.mode).or(wanted),
            since: slot.since,
            last_error: slot.last_error.clone(),
            starts: slot.starts,
        }
    }

    fn wanted_mode(&self, service: ServiceName) -> Option<Mode> {
        if self.stop.is_some() {
            return None;
        }
        self.goal.as_ref()?.wanted.get(&service).copied()
    }

    fn want(&mut self, now: Moment, goal: Goal) {
        if self.stop.is_some() || self.goal.as_ref() == Some(&goal) {
            return;
        }
        let from = self.goal.as_ref().map(|goal| goal.role);
        self.rolled_back = None;
        self.tell(Event::Changing {
            from,
            to: goal.role,
        });
        // Whoever is asked again while it changes goes back, if it has to, to where it was well.
        self.aim(now, goal, self.settled.clone());
    }

    /// Makes something the goal: modes that change live do so, what has to stop begins to let go.
    fn aim(&mut self, now: Moment, goal: Goal, back: Option<Goal>) {
        let is_missing = |(service, mode): (&ServiceName, &Mode)| {
            let runs = self
                .slots
                .get(service)
                .is_some_and(|slot| slot.is_alive() && service.takes_live(slot.mode, *mode));
            // What failed before the change is not the change's fault.
            let was_wanted = self.goal.as_ref().and_then(|goal| goal.wanted.get(service));
            (!runs && was_wanted != Some(mode)).then_some(*service)
        };
        let mut starts: BTreeSet<_> = goal.wanted.iter().filter_map(is_missing).collect();
        self.goal = Some(goal);
        for (service, slot) in &mut self.slots {
            let wanted = self.goal.as_ref().and_then(|goal| goal.wanted.get(service));
            let Some(mode) = wanted.copied() else {
                continue;
            };
            if slot.is_alive() && slot.mode != mode && service.takes_live(slot.mode, mode) {
                slot.mode = mode;
                self.effects.push(Effect::Change(*service, slot.run, mode));
            }
        }
        let stops = self.stops();
        starts.extend(
            stops
                .iter()
                .filter(|service| self.wanted_mode(**service).is_some()),
        );
        self.change = Some(Change { back, starts });
        self.drain(now, &stops);
    }

    fn drain(&mut self, now: Moment, services: &BTreeSet<ServiceName>) {
        let until = now + self.params.drain;
        for service in services.iter().rev() {
            let Some(slot) = self.slots.get_mut(service) else {
                continue;
            };
            if matches!(slot.phase, Phase::Up { .. }) {
                slot.phase = Phase::Draining { until };
                slot.since = now;
                self.effects.push(Effect::Drain(*service, slot.run));
            }
        }
    }

    fn begin_stop(&mut self, now: Moment, why: EndReason) {
        if self.stop.is_some() {
            return;
        }
        self.tell(Event::Stopping { why: why.clone() });
        self.change = None;
        self.stop = Some(Stop {
            why,
            until: now + self.params.bound,
            cut: BTreeSet::new(),
        });
        let all = self.slots.keys().copied().collect();
        self.drain(now, &all);
    }

    fn stop_now(&mut self, now: Moment) {
        self.begin_stop(now, EndReason::AskedTwice);
        if let Some(stop) = &mut self.stop {
            if stop.why == EndReason::Asked {
                stop.why = EndReason::AskedTwice;
            }
            stop.until = now;
        }
    }

    fn started(&mut self, now: Moment, service: ServiceName, run: u64) {
        let Some(slot) = self.slot(service, run) else {
            return;
        };
        if matches!(slot.phase, Phase::Starting { .. }) {
            slot.phase = Phase::Up {
                ready: Err("it has just started".to_owned()),
            };
            slot.since = now;
            slot.up_since = now;
        }
    }

    fn ready(&mut self, now: Moment, service: ServiceName, run: u64, ready: Result<(), String>) {
        let Some(slot) = self.slot(service, run) else {
            return;
        };
        if let Phase::Up { ready: known } = &mut slot.phase {
            if known.is_ok() != ready.is_ok() {
                slot.since = now;
            }
            *known = ready;
        }
    }

    fn drained(&mut self, now: Moment, service: ServiceName, run: u64) {
        let Some(slot) = self.slot(service, run) else {
            return;
        };
        if matches!(slot.phase, Phase::Draining { .. }) {
            slot.phase = Phase::Drained;
            slot.since = now;
        }
    }

    fn gone(&mut self, now: Moment, service: ServiceName, run: u64, result: Result<(), String>) {
        let stable = self.params.stable;
        let Some(slot) = self.slot(service, run) else {
            return;
        };
        let phase = std::mem::replace(&mut slot.phase, Phase::Idle);
        slot.since = now;
        if let Err(error) = &result {
            slot.last_error = Some((error.clone(), now));
        }
        match phase {
            Phase::Starting { .. } => {
                let error = result
                    .err()
                    .unwrap_or_else(|| "it ended before it had started".to_owned());
                self.failed(now, service, error, true);
            }
            Phase::Up { .. } => {
                if now.since(slot.up_since) >= stable {
                    slot.failures = 0;
                }
                let error = result
                    .err()
                    .unwrap_or_else(|| "it ended, and nobody had asked it to".to_owned());
                self.failed(now, service, error, false);
            }
            // It was to stop anyway, or has failed already, and that is known.
            Phase::Draining { .. }
            | Phase::Drained
            | Phase::Stopping { .. }
            | Phase::Aborting { .. }
            | Phase::Lost
            | Phase::Idle => {}
        }
    }

    fn progress(&mut self, service: ServiceName, run: u64) {
        if !service.row().is_essential || self.slot(service, run).is_none() {
            return;
        }
        self.came_forward.insert(service);
        let up = self
            .slots
            .iter()
            .filter(|(service, slot)| service.row().is_essential && slot.is_up());
        if up
            .map(|(service, _)| service)
            .all(|service| self.came_forward.contains(service))
        {
            self.came_forward.clear();
            self.effects.push(Effect::Feed);
        }
    }

    /// A service failed: the change is undone, the node ends, or it is tried again later.
    fn failed(&mut self, now: Moment, service: ServiceName, error: String, is_start: bool) {
        let params = self.params;
        let Some(slot) = self.slots.get_mut(&service) else {
            return;
        };
        slot.last_error = Some((error.clone(), now));
        if self.stop.is_some() {
            return;
        }
        let doubled = params
            .retry_first
            .saturating_mul(1 << slot.failures.min(16));
        let pause = doubled.min(params.retry_most);
        let is_of_change = is_start
            && self
                .change
                .as_ref()
                .is_some_and(|change| change.starts.contains(&service));
        let back = self
            .change
            .as_mut()
            .filter(|_| is_of_change)
            .and_then(|change| change.back.take());
        if let Some(back) = back {
            self.tell(Event::Failed {
                service,
                error: error.clone(),
                retry_ms: None,
            });
            self.roll_back(now, back, format!("{service} did not start: {error}"));
        } else if service.row().is_essential {
            self.tell(Event::Failed {
                service,
                error: error.clone(),
                retry_ms: None,
            });
            self.begin_stop(now, EndReason::Failed { service, error });
        } else {
            slot.failures = slot.failures.saturating_add(1);
            slot.not_before = Some(now + pause);
            let retry_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            self.tell(Event::Failed {
                service,
                error,
                retry_ms,
            });
        }
    }

    fn roll_back(&mut self, now: Moment, back: Goal, why: String) {
        let from = self.goal.as_ref().map_or(back.role, |goal| goal.role);
        self.tell(Event::RollingBack {
            to: back.role,
            from,
            why: why.clone(),
        });
        self.rolled_back = Some(format!("{from} was tried, and {why}"));
        self.aim(now, back, None);
    }

    fn look_at_the_clock(&mut self, now: Moment) {
        if self.stop.as_ref().is_some_and(|stop| stop.until <= now) {
            self.cut_all(now);
        }
        let due: Vec<ServiceName> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.until().is_some_and(|until| until <= now))
            .map(|(service, _)| *service)
            .collect();
        for service in due {
            self.time_is_up(now, service);
        }
    }

    /// The whole stop took too long, or is to be at once.
    fn cut_all(&mut self, now: Moment) {
        let Some(stop) = &mut self.stop else { return };
        stop.until = Moment::NEVER;
        for (service, slot) in &mut self.slots {
            if slot.is_alive() && !matches!(slot.phase, Phase::Aborting { .. } | Phase::Lost) {
                slot.phase = Phase::Aborting {
                    until: now + self.params.abort,
                };
                slot.since = now;
                stop.cut.insert(*service);
                self.effects.push(Effect::Abort(*service, slot.run));
            }
        }
    }

    fn time_is_up(&mut self, now: Moment, service: ServiceName) {
        let params = self.params;
        let Some(slot) = self.slots.get_mut(&service) else {
            return;
        };
        let run = slot.run;
        slot.since = now;
        match slot.phase {
            Phase::Starting { .. } => {
                slot.phase = Phase::Aborting {
                    until: now + params.abort,
                };
                self.effects.push(Effect::Abort(service, run));
                let error = format!("it did not start within {}", write_duration(params.start));
                self.failed(now, service, error, true);
            }
            Phase::Draining { .. } => {
                slot.phase = Phase::Drained;
                self.tell(Event::DrainCut { service });
            }
            Phase::Stopping { .. } => {
                slot.phase = Phase::Aborting {
                    until: now + params.abort,
                };
                let error = format!("it did not stop within {}", write_duration(params.stop));
                slot.last_error = Some((error, now));
                self.effects.push(Effect::Abort(service, run));
                self.tell(Event::StopCut { service });
                if let Some(stop) = &mut self.stop {
                    stop.cut.insert(service);
                }
            }
            Phase::Aborting { .. } => {
                slot.phase = Phase::Lost;
                self.tell(Event::Abandoned { service });
                if service.row().is_essential {
                    // A second run beside one that hangs could write where the first one does.
                    let error = "it was cut off, and is still there".to_owned();
                    self.begin_stop(now, EndReason::Failed { service, error });
                }
            }
            Phase::Idle | Phase::Up { .. } | Phase::Drained | Phase::Lost => {}
        }
    }

    /// Those whose run has to end: they are not wanted, not so, or stand on one that has to end or is gone.
    fn stops(&self) -> BTreeSet<ServiceName> {
        let mut stops = BTreeSet::new();
        // None stands on a later one, so one pass in their order finds all.
        for (service, slot) in &self.slots {
            let is_wanted = self
                .wanted_mode(*service)
                .is_some_and(|mode| service.takes_live(slot.mode, mode));
            let has_needs = service.row().needs.iter().all(|need| {
                let slot = self.slots.get(need);
                !stops.contains(need)
                    && slot.is_none_or(|slot| slot.is_up() || self.wanted_mode(*need).is_none())
            });
            // What was let go of is not taken up again: who is wanted once more starts anew.
            let has_let_go = matches!(slot.phase, Phase::Draining { .. } | Phase::Drained);
            if slot.is_alive() && (has_let_go || !is_wanted || !has_needs) {
                stops.insert(*service);
            }
        }
        stops
    }

    /// All that a service stands on, at first and at second hand, as far as it is wanted.
    fn stands_on(&self, service: ServiceName) -> BTreeSet<ServiceName> {
        let mut found = BTreeSet::new();
        let mut open = vec![service];
        while let Some(next) = open.pop() {
            let needs = next.row().needs.iter().copied();
            open.extend(
                needs.filter(|need| self.wanted_mode(*need).is_some() && found.insert(*need)),
            );
        }
        found
    }

    /// Whether another service that stands on this one is alive.
    fn is_stood_on(&self, service: ServiceName) -> bool {
        self.alive()
            .any(|other| other.row().needs.contains(&service))
    }

    fn alive(&self) -> impl Iterator<Item = ServiceName> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.is_alive() && slot.phase != Phase::Lost)
            .map(|(service, _)| *service)
    }

    /// Stops what may stop now, then starts what may start now.
    fn settle(&mut self, now: Moment) {
        let is_draining = |slot: &Slot| matches!(slot.phase, Phase::Draining { .. });
        if self.slots.values().any(is_draining) {
            return;
        }
        let stops = self.stops();
        self.stop_some(now, &stops);
        if !self.has_leftovers() {
            self.start_some(now);
        }
    }

    /// Whether something still runs that has to stop. One that hangs does not count: it must not keep others from starting, and what
    /// stands on it will not start, as it is not up.
    fn has_leftovers(&self) -> bool {
        let is_left = |service: &ServiceName| {
            self.slots
                .get(service)
                .is_some_and(|slot| slot.phase != Phase::Lost)
        };
        self.stops().iter().any(is_left)
    }

    fn stop_some(&mut self, now: Moment, stops: &BTreeSet<ServiceName>) {
        for service in stops.iter().rev() {
            let waits = self.waits_to_stop(*service, stops);
            let until = now + self.params.stop;
            let Some(slot) = self.slots.get_mut(service).filter(|_| !waits) else {
                continue;
            };
            if matches!(
                slot.phase,
                Phase::Up { .. } | Phase::Drained | Phase::Starting { .. }
            ) {
                slot.phase = Phase::Stopping { until };
                slot.since = now;
                self.effects.push(Effect::Stop(*service, slot.run));
            }
        }
    }

    /// Whether another one has to be gone before this one stops: one that stands on it, or that merely comes later and stops as well.
    fn waits_to_stop(&self, service: ServiceName, stops: &BTreeSet<ServiceName>) -> bool {
        let comes_later =
            |other: ServiceName| stops.contains(&other) && other.row().after.contains(&service);
        self.is_stood_on(service) || self.alive().any(comes_later)
    }

    fn start_some(&mut self, now: Moment) {
        if self.stop.is_some() {
            return;
        }
        let Some(goal) = &self.goal else { return };
        for (service, mode) in goal.wanted.clone() {
            if !self.may_start(now, service) {
                continue;
            }
            let (run, until) = (self.next_run, now + self.params.start);
            let Some(slot) = self.slots.get_mut(&service) else {
                continue;
            };
            self.next_run += 1;
            *slot = Slot {
                phase: Phase::Starting { until },
                run,
                mode,
                since: now,
                last_error: slot.last_error.take(),
                starts: slot.starts + 1,
                up_since: now,
                failures: slot.failures,
                not_before: None,
            };
            self.effects.push(Effect::Start(service, run, mode));
        }
    }

    fn may_start(&self, now: Moment, service: ServiceName) -> bool {
        let is_free = self.slots.get(&service).is_some_and(|slot| {
            slot.phase == Phase::Idle && slot.not_before.is_none_or(|at| at <= now)
        });
        // What is not built or not wanted is not waited for. What failed and comes merely before is not, either: it has its own pace.
        let is_there = |other: &ServiceName| match self.slots.get(other) {
            Some(slot) if self.wanted_mode(*other).is_some() => slot.is_up(),
            _ => true,
        };
        let has_come = |other: &ServiceName| {
            is_there(other)
                || self
                    .slots
                    .get(other)
                    .is_some_and(|slot| slot.not_before.is_some())
        };
        let row = service.row();
        is_free && row.needs.iter().all(is_there) && row.after.iter().all(has_come)
    }

    /// Notices when a change is complete, the node is ready, or all is over.
    fn conclude(&mut self) {
        self.conclude_change();
        self.conclude_readiness();
        let Some(stop) = &self.stop else { return };
        let is_over = |slot: &Slot| matches!(slot.phase, Phase::Idle | Phase::Lost);
        if !self.slots.values().all(is_over) {
            return;
        }
        let lost = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.phase == Phase::Lost);
        let ending = Ending {
            why: stop.why.clone(),
            cut: stop.cut.iter().copied().collect(),
            abandoned: lost.map(|(service, _)| *service).collect(),
        };
        self.has_ended = true;
        self.effects.push(Effect::End(ending));
    }

    fn conclude_change(&mut self) {
        let Some(goal) = &self.goal else { return };
        let Some(change) = &self.change else { return };
        let has_failed = |service: &ServiceName| {
            self.slots
                .get(service)
                .is_some_and(|slot| slot.phase == Phase::Idle && slot.not_before.is_some())
        };
        let is_there = |service: &ServiceName| {
            let has_started = self.slots.get(service).is_none_or(Slot::is_up);
            // At the start and on the way back there is nothing to go back to, so what is not essential is tried again later. And what
            // waits for a service that failed before is not the fault of this change.
            let is_given_up = change.back.is_none() && has_failed(service);
            has_started || is_given_up || self.stands_on(*service).iter().any(has_failed)
        };
        if change.starts.iter().all(is_there) && self.stop.is_none() && !self.has_leftovers() {
            let goal = goal.clone();
            self.change = None;
            self.tell(Event::Changed { role: goal.role });
            self.settled = Some(goal);
        }
    }

    fn conclude_readiness(&mut self) {
        match (self.unready(), self.said_ready) {
            (None, false) => {
                self.said_ready = true;
                self.tell(Event::Ready);
            }
            // Of a node that stops or changes this is no news.
            (Some((service, why)), true) if self.stop.is_none() && self.change.is_none() => {
                self.said_ready = false;
                self.tell(Event::NotReady { service, why });
            }
            (None, true) | (Some(_), _) => {}
        }
    }

    /// The first essential service that is not ready, and why.
    fn unready(&self) -> Option<(ServiceName, String)> {
        let not_asked = (
            ServiceName::Custody,
            "the node was not told its role yet".to_owned(),
        );
        let Some(goal) = self.goal.as_ref().filter(|_| self.stop.is_none()) else {
            return Some(not_asked);
        };
        let essential = goal
            .wanted
            .keys()
            .filter(|service| service.row().is_essential);
        // One that is not built keeps nobody from being ready.
        essential
            .copied()
            .find_map(|service| match &self.slots.get(&service)?.phase {
                Phase::Up { ready: Ok(()) } => None,
                Phase::Up { ready: Err(why) } => Some((service, why.clone())),
                Phase::Idle
                | Phase::Starting { .. }
                | Phase::Draining { .. }
                | Phase::Drained
                | Phase::Stopping { .. }
                | Phase::Aborting { .. }
                | Phase::Lost => Some((service, "it does not run".to_owned())),
            })
    }

    /// The slot of a service, if this is the run it has.
    fn slot(&mut self, service: ServiceName, run: u64) -> Option<&mut Slot> {
        self.slots.get_mut(&service).filter(|slot| slot.run == run)
    }

    fn tell(&mut self, event: Event) {
        self.effects.push(Effect::Tell(event));
    }
}
