//! The loop that acts: starts, tells and cuts off tasks as the core decides, and publishes how everything does.
//!
//! Every task of a service is in one set that this loop owns. Nothing is queued: wishes, modes, what runs say and the overview are each the
//! latest value.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::{Moment, Role};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Services;
use super::core::{Core, Effect, EndReason, Ending, Event, Input, Overview, Params};
use super::service::{Cell, Context, Failure, Service};
use crate::notify::Notifier;
use crate::roles::{Mode, ServiceName, Wanted};

/// How often it is looked whether essential services came forward. The service manager's bound should be several times as long.
const LOOK: Duration = Duration::from_secs(1);

/// How soon the node is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    None,
    InOrder,
    AtOnce,
}

/// What the owner wishes.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    pub(crate) goal: Option<(Role, Wanted)>,
    /// How often a role was asked for: after a change that was undone, the same wish again is another try.
    pub(crate) asked: u64,
    pub(crate) params: Params,
    pub(crate) urgency: Urgency,
}

impl Wishes {
    pub(crate) fn new(params: Params) -> Self {
        Self {
            goal: None,
            asked: 0,
            params,
            urgency: Urgency::None,
        }
    }
}

/// A run and how it is reached.
#[derive(Debug)]
struct Live {
    run: u64,
    cell: Arc<Cell>,
    mode: watch::Sender<Mode>,
    drain: CancellationToken,
    stop: CancellationToken,
    task: AbortHandle,
}

pub(crate) struct Runner {
    core: Core,
    services: Services,
    wishes: watch::Receiver<Wishes>,
    /// How many of them were taken.
    heard_wishes: u64,
    overview: watch::Sender<Overview>,
    notifier: Option<Notifier>,
    tell: Box<dyn FnMut(&Event) + Send>,
    began: Instant,
    heard: Arc<Notify>,
    tasks: JoinSet<Result<(), String>>,
    /// By task, for when one is over; never more than were started and are not gone.
    names: HashMap<Id, (ServiceName, u64)>, // tidy: lookup only, never walked
    live: std::collections::BTreeMap<ServiceName, Live>,
    ending: Option<Ending>,
}

/// How long the supervisor has been there.
pub(crate) fn moment(began: Instant) -> Moment {
    Moment::START + began.elapsed()
}

impl Runner {
    pub(crate) fn new(
        services: Services,
        params: Params,
        wishes: watch::Receiver<Wishes>,
        began: Instant,
        notifier: Option<Notifier>,
        tell: Box<dyn FnMut(&Event) + Send>,
    ) -> (Self, watch::Receiver<Overview>) {
        let core = Core::new(params, services.keys().copied());
        let (overview, seen) = watch::channel(core.view());
        let runner = Self {
            core,
            services,
            wishes,
            heard_wishes: 0,
            overview,
            notifier,
            tell,
            began,
            heard: Arc::new(Notify::new()),
            tasks: JoinSet::new(),
            names: HashMap::new(), // tidy: lookup only, never walked
            live: std::collections::BTreeMap::new(),
            ending: None,
        };
        (runner, seen)
    }

    pub(crate) async fn run(mut self) -> Ending {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut owner_is_there = true;
        let heard = self.heard.clone();
        loop {
            self.publish();
            if let Some(ending) = self.ending.take() {
                return ending;
            }
            let wakeup = self
                .core
                .next_wakeup()
                .map(|at| self.began + at.since(Moment::START));
            tokio::select! {
                changed = self.wishes.changed(), if owner_is_there => {
                    owner_is_there = changed.is_ok();
                    self.take_wishes(owner_is_there);
                }
                () = heard.notified() => self.hear(),
                Some(over) = self.tasks.join_next_with_id() => self.over(over),
                () = until(wakeup) => self.give(Input::Tick),
                _ = look.tick() => self.look(),
            }
        }
    }

    fn take_wishes(&mut self, owner_is_there: bool) {
        let wishes = self.wishes.borrow_and_update().clone();
        self.give(Input::Params(wishes.params));
        let is_new = wishes.asked != self.heard_wishes;
        self.heard_wishes = wishes.asked;
        if let Some((role, wanted)) = wishes.goal.filter(|_| is_new) {
            self.give(Input::Want(role, wanted));
        }
        match wishes.urgency {
            Urgency::AtOnce => self.give(Input::StopNow),
            Urgency::InOrder => self.give(Input::Stop),
            Urgency::None if owner_is_there => {}
            Urgency::None => self.give(Input::Stop),
        }
    }

    /// Takes what runs have said.
    fn hear(&mut self) {
        let cells: Vec<_> = self
            .live
            .iter()
            .map(|(name, live)| (*name, live.run, live.cell.clone()))
            .collect();
        for (name, run, cell) in cells {
            let said = cell.hear();
            if said.started {
                self.give(Input::Started(name, run));
            }
            if let Some(ready) = said.ready {
                self.give(Input::Ready(name, run, ready));
            }
            if said.drained {
                self.give(Input::Drained(name, run));
            }
        }
    }

    fn look(&mut self) {
        let forward: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| live.cell.hear_progress())
            .map(|(name, live)| (*name, live.run))
            .collect();
        for (name, run) in forward {
            self.give(Input::Progress(name, run));
        }
    }

    /// A task is over: by itself, or cut off.
    fn over(&mut self, over: Result<(Id, Result<(), String>), JoinError>) {
        // What it said before its end comes before its end.
        self.hear();
        let (id, result) = match over {
            Ok(over) => over,
            Err(error) => (error.id(), why_it_broke(error)),
        };
        let Some((name, run)) = self.names.remove(&id) else {
            return;
        };
        if self.live.get(&name).is_some_and(|live| live.run == run) {
            self.live.remove(&name);
        }
        self.give(Input::Gone(name, run, result));
    }

    fn give(&mut self, input: Input) {
        let now = moment(self.began);
        for effect in self.core.handle(now, input) {
            self.act(effect);
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Start(name, run, mode) => self.start(name, run, mode),
            Effect::Change(name, run, mode) => {
                self.with(name, run, |live| {
                    live.mode.send_replace(mode);
                });
            }
            Effect::Drain(name, run) => self.with(name, run, |live| live.drain.cancel()),
            Effect::Stop(name, run) => self.with(name, run, |live| live.stop.cancel()),
            Effect::Abort(name, run) => self.with(name, run, |live| {
                live.stop.cancel();
                live.task.abort();
            }),
            Effect::Tell(event) => self.say(&event),
            Effect::Feed => self.notify(Notifier::watchdog),
            Effect::End(ending) => self.ending = Some(ending),
        }
    }

    fn with(&mut self, name: ServiceName, run: u64, act: impl FnOnce(&Live)) {
        if let Some(live) = self.live.get(&name).filter(|live| live.run == run) {
            act(live);
        }
    }

    fn start(&mut self, name: ServiceName, run: u64, mode: Mode) {
        let service = self
            .services
            .get(&name)
            .expect("the core knows those of this table only")
            .clone();
        let (sender, receiver) = watch::channel(mode);
        let cell = Arc::new(Cell::new(self.heard.clone()));
        let stop = CancellationToken::new();
        let drain = CancellationToken::new();
        let context = Context {
            mode: receiver,
            stop: stop.clone(),
            cell: cell.clone(),
        };
        let task = self.tasks.spawn(live(service, context, drain.clone()));
        self.names.insert(task.id(), (name, run));
        self.live.insert(
            name,
            Live {
                run,
                cell,
                mode: sender,
                drain,
                stop,
                task,
            },
        );
    }

    fn publish(&mut self) {
        let view = self.core.view();
        self.overview.send_if_modified(|known| {
            let is_new = *known != view;
            if is_new {
                *known = view;
            }
            is_new
        });
    }

    fn notify(&self, what: impl FnOnce(&Notifier)) {
        if let Some(notifier) = &self.notifier {
            what(notifier);
        }
    }

    fn say(&mut self, event: &Event) {
        trace_of(event);
        match event {
            Event::Ready => self.notify(|to| {
                to.ready();
                to.status("ready");
            }),
            Event::NotReady { service, why } => {
                self.notify(|to| to.status(&format!("not ready: {service}: {why}")));
            }
            Event::Changing { to: role, .. } => {
                self.notify(|to| to.status(&format!("becoming {role}")))
            }
            Event::Changed { role } => self.notify(|to| to.status(&format!("{role}"))),
            Event::RollingBack { to: role, why, .. } => {
                self.notify(|to| to.status(&format!("going back to {role}: {why}")));
            }
            Event::Stopping { .. } => self.notify(|to| {
                to.stopping();
                to.status("stopping");
            }),
            Event::Failed { .. }
            | Event::DrainCut { .. }
            | Event::StopCut { .. }
            | Event::Abandoned { .. } => {}
        }
        (self.tell)(event);
    }
}

/// The story of a node, for its log.
fn trace_of(event: &Event) {
    match event {
        Event::Ready => info!("the node is ready"),
        Event::NotReady { service, why } => warn!(%service, why, "the node is not ready any more"),
        Event::Changing {
            from: Some(from),
            to,
        } => info!(%from, %to, "the role changes"),
        Event::Changing { from: None, to } => info!(role = %to, "the node starts"),
        Event::Changed { role } => info!(%role, "everything the role wants has started"),
        Event::RollingBack { to, from, why } => {
            warn!(%from, %to, why, "the role change did not work out")
        }
        Event::Failed {
            service,
            error,
            retry_ms: Some(retry_ms),
        } => {
            warn!(%service, error, retry_ms, "a service failed and is tried again");
        }
        Event::Failed {
            service,
            error,
            retry_ms: None,
        } => error!(%service, error, "a service failed"),
        Event::DrainCut { service } => warn!(%service, "work was not let go of in time"),
        Event::StopCut { service } => {
            warn!(%service, "a service did not stop in time and is cut off")
        }
        Event::Abandoned { service } => {
            error!(%service, "a service blocks its thread and is abandoned")
        }
        Event::Stopping {
            why: EndReason::Asked | EndReason::AskedTwice,
        } => info!("the node stops"),
        Event::Stopping {
            why: EndReason::Failed { service, error },
        } => {
            error!(%service, error, "the node stops, since it is worth nothing without this service");
        }
    }
}

/// The life of a run.
async fn live(
    service: Arc<dyn Service>,
    context: Context,
    drain: CancellationToken,
) -> Result<(), String> {
    let (stop, cell) = (context.stop.clone(), context.cell.clone());
    let started = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        started = service.start(context) => started,
    };
    let running = started.map_err(|error| told(&error))?;
    cell.say(|said| said.started = true);
    let letting_go = async {
        drain.cancelled().await;
        if let Some(work) = running.drain {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        }
        cell.say(|said| said.drained = true);
        pending::<()>().await;
    };
    tokio::select! {
        result = running.run => result.map_err(|error| told(&error)),
        () = letting_go => Ok(()),
    }
}

/// An error and what it came from: `open the log: no such directory`.
fn told(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many errors repeat their cause in their own words.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Why a task gave no result: cut off as it was told, or a mistake in the program.
fn why_it_broke(error: JoinError) -> Result<(), String> {
    let Ok(payload) = error.try_into_panic() else {
        return Ok(());
    };
    let said = payload
        .downcast_ref::<&str>()
        .map(|said| (*said).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Err(format!(
        "it panicked, which is a mistake in the program: {said}"
    ))
}

/// A moment, or never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
