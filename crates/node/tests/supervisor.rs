//! The supervisor with services made for it, on a paused clock: ready, slow, failing, hanging, panicking.

use std::collections::BTreeSet;
use std::future::pending;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use convoke_node::notify::Notifier;
use convoke_node::roles::{Mode, ServiceName, wanted};
use convoke_node::supervisor::{
    Context, EndReason, Event, Overview, Params, Running, Service, ServiceState, Services, Stage,
    Supervisor, Work,
};
use convoke_types::Role;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use ServiceName::{Api, Blobs, Custody, Executor, Gossip, Log};

/// What a made-up service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Everything as it should.
    Well,
    /// Starts after a minute.
    SlowStart,
    /// Fails to start this many times, then does well.
    FailsToStart(usize),
    /// Is ready, and fails when somebody lets it.
    Breaks,
    /// Ends as soon as it has started.
    EndsAtOnce,
    /// Panics when somebody lets it.
    Panics,
    /// Lets go of its work never.
    HangsAtDrain,
    /// Ends never, but can be cut off.
    HangsAtStop,
    /// Never says that it comes forward.
    Stuck,
}

/// A made-up service, and what became of it.
struct Made {
    name: ServiceName,
    manner: Manner,
    starts: Mutex<usize>,
    breaks: Arc<tokio::sync::Notify>,
    diary: Diary,
}

/// What happened, in order.
type Diary = Arc<Mutex<Vec<String>>>;

impl Service for Made {
    fn start<'s>(
        &'s self,
        context: Context,
    ) -> Work<'s, Result<Running, convoke_node::supervisor::Failure>> {
        Box::pin(async move {
            let attempt = {
                let mut starts = self.starts.lock();
                *starts += 1;
                *starts
            };
            if self.manner == Manner::SlowStart {
                tokio::time::sleep(Duration::from_secs(60)).await; // tidy: the clock is paused
            }
            if matches!(self.manner, Manner::FailsToStart(times) if attempt <= times) {
                return Err("the address is in use".into());
            }
            self.diary
                .lock()
                .push(format!("{} starts, {}", self.name, context.mode()));
            let (name, manner, diary) = (self.name, self.manner, self.diary.clone());
            let breaks = self.breaks.clone();
            let ended = diary.clone();
            let run = async move {
                context.ready();
                if manner == Manner::EndsAtOnce {
                    return Ok(());
                }
                let mut modes = context.modes();
                let mut beat = tokio::time::interval(Duration::from_millis(500));
                loop {
                    tokio::select! {
                        () = context.stopped(), if manner != Manner::HangsAtStop => break,
                        () = breaks.notified(), if manner == Manner::Breaks => return Err("the disk is gone".into()),
                        () = breaks.notified(), if manner == Manner::Panics => panic!("an index is wrong"),
                        Ok(()) = modes.changed() => ended.lock().push(format!("{name} is {}", context.mode())),
                        _ = beat.tick(), if manner != Manner::Stuck => context.progress(),
                    }
                }
                ended.lock().push(format!("{name} ends"));
                Ok(())
            };
            let drain = async move {
                if manner == Manner::HangsAtDrain {
                    pending::<()>().await;
                }
                diary.lock().push(format!("{name} lets go"));
            };
            Ok(Running::new(run).with_drain(drain))
        })
    }
}

/// A supervisor of made-up services.
struct World {
    supervisor: Supervisor,
    diary: Diary,
    events: Arc<Mutex<Vec<Event>>>,
    breaks: Arc<tokio::sync::Notify>,
}

impl World {
    fn new(services: &[(ServiceName, Manner)]) -> Self {
        Self::with_notifier(services, None)
    }

    fn with_notifier(services: &[(ServiceName, Manner)], notifier: Option<Notifier>) -> Self {
        let diary = Diary::default();
        let breaks = Arc::new(tokio::sync::Notify::new());
        let make = |(name, manner): &(ServiceName, Manner)| {
            let made: Arc<dyn Service> = Arc::new(Made {
                name: *name,
                manner: *manner,
                starts: Mutex::new(0),
                breaks: breaks.clone(),
                diary: diary.clone(),
            });
            (*name, made)
        };
        let services: Services = services.iter().map(make).collect();
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        let supervisor = Supervisor::start(services, Params::default(), notifier, move |event| {
            heard.lock().push(event.clone());
        });
        Self {
            supervisor,
            diary,
            events,
            breaks,
        }
    }

    fn want(&self, role: Role) {
        self.supervisor.want(role, wanted(role, &BTreeSet::new()));
    }

    /// Waits until the overview is so. The clock is paused, and goes on by itself when everybody waits.
    async fn until(&self, what: &str, holds: impl FnMut(&Overview) -> bool) -> Overview {
        let mut overview = self.supervisor.overview();
        let seen = timeout(Duration::from_secs(600), overview.wait_for(holds)).await;
        let seen =
            seen.unwrap_or_else(|_| panic!("waited for: {what}; diary: {:?}", self.diary.lock()));
        seen.expect("the supervisor is there").clone()
    }

    async fn runs(&self) -> Overview {
        self.until("it runs", |overview| {
            overview.stage == Stage::Running && overview.is_ready
        })
        .await
    }

    async fn ends(&mut self) -> convoke_node::supervisor::Ending {
        let ended = timeout(Duration::from_secs(600), self.supervisor.ended()).await;
        ended.expect("a stop has a bound")
    }

    fn diary(&self) -> Vec<String> {
        std::mem::take(&mut *self.diary.lock())
    }
}

fn state(overview: &Overview, name: ServiceName) -> &ServiceState {
    &overview.services[name as usize].state
}

const ALL_WELL: [(ServiceName, Manner); 5] = [
    (Custody, Manner::Well),
    (Gossip, Manner::Well),
    (Log, Manner::Well),
    (Executor, Manner::Well),
    (Api, Manner::Well),
];

#[tokio::test(start_paused = true)]
async fn services_start_in_order_and_stop_in_the_other() {
    let mut world = World::new(&ALL_WELL);
    assert_eq!(world.supervisor.overview().borrow().role, None);
    world.want(Role::Worker);
    let overview = world.runs().await;
    assert_eq!(*state(&overview, Blobs), ServiceState::NotBuilt);
    assert_eq!(state(&overview, Blobs).name(), "not built");
    let diary = world.diary();
    let at = |line: &str| diary.iter().position(|known| known == line).expect(line);
    assert!(at("custody starts, full") < at("gossip starts, full"));
    assert!(at("log starts, follows") < at("executor starts, full"));
    assert!(at("log starts, follows") < at("api starts, full"));

    world.supervisor.asked_to_stop();
    let ending = world.ends().await;
    assert_eq!(ending.why, EndReason::Asked);
    assert!(ending.cut.is_empty() && ending.abandoned.is_empty());
    assert_eq!(world.ends().await, ending, "asked again, it says the same");
    let diary = world.diary();
    let at = |line: &str| diary.iter().position(|known| known == line).expect(line);
    assert!(
        at("custody lets go") < at("api ends"),
        "all let go before any ends: {diary:?}"
    );
    assert!(at("api ends") < at("log ends") && at("executor ends") < at("log ends"));
    assert!(at("log ends") < at("custody ends") && at("gossip ends") < at("custody ends"));
    assert_eq!(world.supervisor.overview().borrow().stage, Stage::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_role_change_takes_what_can_go_on_along() {
    let world = World::new(&ALL_WELL);
    world.want(Role::Worker);
    world.runs().await;
    world.diary();
    world.want(Role::Gateway);
    let is_gateway = |overview: &Overview| {
        overview.role == Some(Role::Gateway) && overview.stage == Stage::Running
    };
    let overview = world.until("it is a gateway", is_gateway).await;
    assert_eq!(*state(&overview, Executor), ServiceState::Stopped);
    assert_eq!(
        overview.services[Log as usize].mode,
        Some(Mode::FollowsOnly)
    );
    let mut diary = world.diary();
    diary.sort();
    assert_eq!(
        diary,
        ["executor ends", "executor lets go", "log is follows-only"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_cut_off_and_the_role_change_undone() {
    let world = World::new(&[
        (Custody, Manner::Well),
        (Gossip, Manner::Well),
        (Log, Manner::Well),
        (Executor, Manner::SlowStart),
    ]);
    world.want(Role::Observer);
    world.runs().await;
    let began = Instant::now();
    world.want(Role::Worker);
    let is_back =
        |overview: &Overview| overview.rolled_back.is_some() && overview.stage == Stage::Running;
    let overview = world.until("it is back", is_back).await;
    assert_eq!(overview.role, Some(Role::Observer));
    let why = overview.rolled_back.expect("it says why");
    assert_eq!(
        why,
        "worker was tried, and executor did not start: it did not start within 30s"
    );
    assert!(
        began.elapsed() >= Duration::from_secs(30) && began.elapsed() < Duration::from_secs(33)
    );
    // Other times are no new wish, the same role once more is one.
    let tried = |events: &[Event]| {
        events
            .iter()
            .filter(|event| matches!(event, Event::RollingBack { .. }))
            .count()
    };
    let soon = Params {
        start: Duration::from_secs(5),
        ..Params::default()
    };
    world.supervisor.set_params(soon);
    tokio::time::advance(Duration::from_secs(60)).await;
    world
        .until("it still runs", |overview| overview.stage == Stage::Running)
        .await;
    assert_eq!(tried(&world.events.lock()), 1);
    world.want(Role::Worker);
    world
        .until("it tries", |overview| overview.stage == Stage::Changing)
        .await;
    world.until("it is back", is_back).await;
    assert_eq!(tried(&world.events.lock()), 2);
    assert_eq!(
        *state(&world.supervisor.overview().borrow(), Executor),
        ServiceState::Stopped
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_start_is_tried_again_later_each_time() {
    let world = World::new(&[
        (Custody, Manner::Well),
        (Gossip, Manner::Well),
        (Log, Manner::Well),
        (Api, Manner::FailsToStart(3)),
    ]);
    let began = Instant::now();
    world.want(Role::Worker);
    let overview = world
        .until("the API failed", |overview| {
            matches!(state(overview, Api), ServiceState::Failed { .. })
        })
        .await;
    assert!(overview.is_ready, "a node without its API does its work");
    let (error, _) = overview.services[Api as usize]
        .last_error
        .clone()
        .expect("it says why");
    assert_eq!(error, "the address is in use");
    let overview = world
        .until("the API is ready", |overview| {
            *state(overview, Api) == ServiceState::Ready
        })
        .await;
    assert_eq!(began.elapsed().as_secs(), 1 + 2 + 4);
    assert_eq!(overview.services[Api as usize].starts, 4);
    assert!(
        overview.services[Api as usize].last_error.is_some(),
        "the last error is kept"
    );
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_an_essential_service_ends_the_node_in_order() {
    let mut world = World::new(&[
        (Custody, Manner::Well),
        (Log, Manner::Breaks),
        (Api, Manner::Well),
    ]);
    world.want(Role::Master);
    world.runs().await;
    world.diary();
    world.breaks.notify_one();
    let ending = world.ends().await;
    let error = "the disk is gone".to_owned();
    assert_eq!(
        ending.why,
        EndReason::Failed {
            service: Log,
            error
        }
    );
    assert!(world.diary().contains(&"api ends".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_end_right_after_the_start_is_not_taken_for_a_start_that_failed() {
    for _ in 0..20 {
        let mut world = World::new(&[(Custody, Manner::Well), (Log, Manner::EndsAtOnce)]);
        world.want(Role::Master);
        let ending = world.ends().await;
        let error = "it ended, and nobody had asked it to".to_owned();
        assert_eq!(
            ending.why,
            EndReason::Failed {
                service: Log,
                error
            }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_with_its_words() {
    let mut world = World::new(&[(Custody, Manner::Well), (Log, Manner::Panics)]);
    world.want(Role::Master);
    world.runs().await;
    world.breaks.notify_one();
    let ending = world.ends().await;
    let EndReason::Failed {
        service: Log,
        error,
    } = ending.why
    else {
        panic!("the log failed: {ending:?}");
    };
    assert_eq!(
        error,
        "it panicked, which is a mistake in the program: an index is wrong"
    );
}

#[tokio::test(start_paused = true)]
async fn who_does_not_let_go_or_does_not_end_is_cut_off_within_the_bound() {
    let mut world = World::new(&[
        (Custody, Manner::Well),
        (Log, Manner::HangsAtDrain),
        (Gossip, Manner::HangsAtStop),
    ]);
    world.want(Role::Master);
    world.runs().await;
    let began = Instant::now();
    world.supervisor.stop();
    // Said again, it is no more urgent.
    world.supervisor.stop();
    let ending = world.ends().await;
    assert_eq!(ending.why, EndReason::Asked);
    assert_eq!(ending.cut, [Gossip]);
    assert!(ending.abandoned.is_empty(), "what was cut off is gone");
    assert_eq!(
        began.elapsed().as_secs(),
        10 + 10,
        "drain and stop have a bound each"
    );
    assert!(
        world
            .events
            .lock()
            .contains(&Event::DrainCut { service: Log })
    );
    assert!(
        world
            .events
            .lock()
            .contains(&Event::StopCut { service: Gossip })
    );
}

#[tokio::test(start_paused = true)]
async fn the_second_signal_waits_for_nothing() {
    let mut world = World::new(&[(Custody, Manner::HangsAtStop), (Log, Manner::HangsAtDrain)]);
    world.want(Role::Master);
    world.runs().await;
    let began = Instant::now();
    world.supervisor.asked_to_stop();
    world
        .until("it stops", |overview| overview.stage == Stage::Stopping)
        .await;
    world.supervisor.asked_to_stop();
    let ending = world.ends().await;
    assert_eq!(ending.why, EndReason::AskedTwice);
    assert_eq!(ending.cut, [Custody, Log]);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_start_does_not_wait_for_it() {
    let mut world = World::new(&[(Custody, Manner::Well), (Log, Manner::SlowStart)]);
    world.want(Role::Master);
    world
        .until("the log starts", |overview| {
            *state(overview, Log) == ServiceState::Starting
        })
        .await;
    let began = Instant::now();
    world.supervisor.stop();
    let ending = world.ends().await;
    assert!(ending.cut.is_empty());
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_owner_is_gone_stops_in_order() {
    let world = World::new(&ALL_WELL);
    world.want(Role::Worker);
    world.runs().await;
    let (diary, mut overview) = (world.diary.clone(), world.supervisor.overview());
    drop(world);
    let ended = overview.wait_for(|overview| overview.stage == Stage::Ended);
    timeout(Duration::from_secs(60), ended)
        .await
        .expect("it has a bound")
        .expect("it said so");
    assert!(diary.lock().contains(&"custody ends".to_owned()));
}

/// A service manager that writes down what it hears.
fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("the path is free");
    socket.set_nonblocking(true).expect("it can be");
    let notifier = Notifier::new(&path.display().to_string()).expect("the path is one");
    (directory, socket, notifier)
}

fn heard(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 4096];
    let mut heard = Vec::new();
    while let Ok(length) = socket.recv(&mut bytes) {
        heard.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn the_service_manager_hears_ready_and_stopping_and_that_the_node_comes_forward() {
    let (_directory, socket, notifier) = manager();
    let services = [
        (Custody, Manner::Well),
        (Log, Manner::Well),
        (Api, Manner::Stuck),
    ];
    let mut world = World::with_notifier(&services, Some(notifier));
    world.want(Role::Master);
    world.runs().await;
    assert!(heard(&socket).contains(&"READY=1".to_owned()));
    tokio::time::advance(Duration::from_secs(1)).await;
    let end = Instant::now() + Duration::from_secs(30);
    let mut feeds = 0;
    while feeds < 3 {
        assert!(Instant::now() < end, "only {feeds} feeds");
        tokio::time::advance(Duration::from_millis(250)).await;
        tokio::task::yield_now().await;
        feeds += heard(&socket)
            .iter()
            .filter(|line| *line == "WATCHDOG=1")
            .count();
    }
    world.supervisor.stop();
    world.ends().await;
    assert!(heard(&socket).contains(&"STOPPING=1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_is_not_fed_for_a_node_of_which_an_essential_part_is_stuck() {
    let (_directory, socket, notifier) = manager();
    let services = [
        (Custody, Manner::Well),
        (Log, Manner::Stuck),
        (Api, Manner::Well),
    ];
    let mut world = World::with_notifier(&services, Some(notifier));
    world.want(Role::Master);
    world.runs().await;
    for _ in 0..40 {
        tokio::time::advance(Duration::from_millis(250)).await;
        tokio::task::yield_now().await;
    }
    let heard = heard(&socket);
    assert!(
        heard.contains(&"READY=1".to_owned()) && !heard.contains(&"WATCHDOG=1".to_owned()),
        "{heard:?}"
    );
    world.supervisor.stop();
    world.ends().await;
}

/// A service that blocks its thread until somebody lets it go, whatever it is told.
struct Blocks {
    let_go: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl Service for Blocks {
    fn start<'s>(
        &'s self,
        context: Context,
    ) -> Work<'s, Result<Running, convoke_node::supervisor::Failure>> {
        let let_go = self.let_go.lock().take();
        Box::pin(async move {
            Ok(Running::new(async move {
                context.ready();
                context.stopped().await;
                // The other end is dropped at the end of the test.
                let _ = let_go.map(|let_go| let_go.recv());
                Ok(())
            }))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_blocks_a_thread_is_abandoned_and_named_and_the_node_ends_all_the_same() {
    let (letting_go, let_go) = std::sync::mpsc::sync_channel(0);
    let blocks: Arc<dyn Service> = Arc::new(Blocks {
        let_go: Mutex::new(Some(let_go)),
    });
    let soon = Duration::from_millis(100);
    let params = Params {
        drain: soon,
        stop: soon,
        abort: soon,
        ..Params::default()
    };
    let services = Services::from([(Custody, blocks)]);
    let mut supervisor = Supervisor::start(services, params, None, |_| {});
    supervisor.want(Role::Master, wanted(Role::Master, &BTreeSet::new()));
    let mut overview = supervisor.overview();
    let ready = overview.wait_for(|overview| overview.is_ready);
    timeout(Duration::from_secs(20), ready)
        .await
        .expect("it starts")
        .expect("it says so");
    supervisor.stop();
    let ending = timeout(Duration::from_secs(20), supervisor.ended())
        .await
        .expect("it has a bound");
    assert_eq!(
        (ending.cut, ending.abandoned),
        (vec![Custody], vec![Custody])
    );
    drop(letting_go);
}
