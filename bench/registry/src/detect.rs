//! How long calls still go to a worker that is gone.
//!
//! A client calls without a pause over links that are open; another one has no link and only hears from others. In each turn a worker is killed
//! (`kill -9`), or stopped (`SIGSTOP`), so that its node falls silent and its links stay open, as when a cable is pulled.
//!
//! | case | until |
//! | --- | --- |
//! | `detect/kill-connected`, `detect/cut-connected` | the last call was sent to it by a client with a link |
//! | `detect/kill-unconnected`, `detect/cut-unconnected` | the registry says that it does not serve |
//!
//! Whom a call is sent to shows in how many calls are with each, which is looked at some thousand times a second. Where a link is lost, the worker is
//! known to be no more among those that calls are chosen from. Where nothing is heard, calls that are not answered stay with it, so that it seems
//! slow and then full, and gets few more; the last one is what counts here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_report::median;
use convoke_balance::{Explained, Health, InstanceId, Standing};
use convoke_rpc::{Balanced, BalancedConfig, CallOptions};
use convoke_types::{NodeId, Selector};
use tokio::task::JoinSet;

use crate::Values;
use crate::world::{DutyClient, PATIENCE, SERVICE, World, health};

const WORKERS: u8 = 3;
/// Callers, each of which makes a call each [`CALL_EVERY`].
const CALLERS: u32 = 10;
const CALL_EVERY: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(1);
/// Calls before something happens.
const BEFORE: Duration = Duration::from_millis(500);
/// How often the client is asked whom it chooses from.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its process is killed.
    Killed,
    /// Nothing comes from it any more.
    Cut,
}

impl Fault {
    /// Of the client with links, and of the one without.
    pub(crate) fn cases(self) -> [&'static str; 2] {
        match self {
            Self::Killed => ["detect/kill-connected", "detect/kill-unconnected"],
            Self::Cut => ["detect/cut-connected", "detect/cut-unconnected"],
        }
    }
}

/// Both clients' values.
pub(crate) async fn detect(fault: Fault, times: usize) -> anyhow::Result<[Values; 2]> {
    let mut world = World::of(WORKERS).await?;
    let mut found = [Vec::new(), Vec::new()];
    for turn in 0..times {
        let (instances, all) = (world.registry.instances(), Selector::everything());
        let config = BalancedConfig::default();
        let way = Balanced::new(&world.endpoint, instances, SERVICE, all, config);
        let linked = way.connect(PATIENCE).await;
        anyhow::ensure!(linked == usize::from(WORKERS), "links to {linked} workers");
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(call_on(DutyClient::new(&way), Arc::clone(&stop)));
        }
        tokio::time::sleep(BEFORE).await;

        let number = turn % world.hosts.len();
        let (node, registry) = (world.hosts[number].node, world.registry.clone());
        let looks = way.clone();
        let watching = tokio::task::spawn_blocking(move || {
            watch(fault, &looks, node, || health(&registry, node))
        });
        let process = &mut world.hosts[number].process;
        let at = match fault {
            Fault::Killed => process.kill()?,
            Fault::Cut => process.stop()?,
        };
        let seen = watching.await?;
        stop.store(true, Ordering::Relaxed);
        while callers.join_next().await.is_some() {}
        let process = &mut world.hosts[number].process;
        match fault {
            Fault::Killed => process.start_again()?,
            Fault::Cut => {
                process.go_on()?;
            }
        }
        way.close(Duration::from_secs(1)).await;
        world.all_serve().await?;
        for (seen, found) in seen?.into_iter().zip(&mut found) {
            found.push(seen.saturating_duration_since(at).as_secs_f64() * 1e3);
        }
    }
    world.end().await;
    Ok(found.map(|mut all| {
        all.sort_by(f64::total_cmp);
        let max = all.last().copied().unwrap_or_default();
        vec![("p50_ms", median(all).unwrap_or_default()), ("max_ms", max)]
    }))
}

async fn call_on(duty: DutyClient, stop: Arc<AtomicBool>) {
    let mut turn = tokio::time::interval(CALL_EVERY);
    let mut calls = JoinSet::new();
    for number in 0.. {
        turn.tick().await;
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let duty = duty.with(CallOptions::new().timeout(DEADLINE));
        calls.spawn(async move { duty.square(&number).await });
        while calls.try_join_next().is_some() {}
    }
}

/// Looks until this worker is known to be gone: when the last call was sent to it, and when it was known. Blocks.
fn watch(
    fault: Fault,
    way: &Balanced,
    node: NodeId,
    health: impl Fn() -> Option<Health>,
) -> anyhow::Result<[Instant; 2]> {
    let until = Instant::now() + PATIENCE;
    let mut last_sent = Instant::now();
    let (mut with_it, mut is_lost) = (0, false);
    loop {
        let now = Instant::now();
        anyhow::ensure!(now < until, "nobody heard of it");
        if let Some(it) = of_node(way.explain(), node) {
            // From there on it is only asked for a link.
            is_lost |= fault == Fault::Killed && matches!(it.standing, Standing::LinkDown(_));
            if it.in_flight > with_it && !is_lost {
                last_sent = now;
            }
            with_it = it.in_flight;
        }
        if health() != Some(Health::Serving) {
            return Ok([last_sent, now]);
        }
        nap();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do, and must not take a processor from what it watches"
)]
fn nap() {
    std::thread::sleep(LOOK_EVERY);
}

fn of_node(all: Vec<Explained>, node: NodeId) -> Option<Explained> {
    let is_of = |id: &InstanceId| matches!(id, InstanceId::Node { node: of, .. } if *of == node);
    all.into_iter().find(|it| is_of(&it.id))
}
