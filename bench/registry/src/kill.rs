//! One of three workers is killed every 5 s and started again a second later, in turn, while clients call.
//!
//! 50 clients call in an open loop: a call begins when it is due, whatever became of those before, and its latency and its deadline of a second
//! count from there. One call in ten is not idempotent; the workers write down which of these ran. Besides, [`STREAMS`] resumable streams go on
//! all the time, each with 50 items a second.
//!
//! | metric | meaning |
//! | --- | --- |
//! | `calls_per_s` | calls that were answered, in a second |
//! | `failed_calls` | calls that failed although they were idempotent or, as they say themselves, never ran |
//! | `unknown_outcomes` | calls that are not idempotent and may have run: they failed, as they had to |
//! | `double_runs` | how often a number ran that had run already |
//! | `wrong_outcomes` | numbers that were answered and are not written down, or were said not to have run and are |
//! | `gaps`, `repeats`, `failed_streams` | items of streams that are missing, that came again, and streams that ended with an error |
//! | `p50_us`, `p99_us` | latency of calls that have nothing to do with a kill |
//! | `p99_kill_us`, `max_us` | of those that were under way at a kill or due within a second after it; and the longest of all |
//! | `retries_pct` | retries for a hundred first attempts |
//! | `kills` | how often somebody was killed |
//!
//! The load, the workers and whoever kills share the machine, so the rate has to stay well below what that can do: `cpu_pct` is what this process
//! takes of one processor.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench_measure::{Histogram, Process};
use convoke_driver::ClusterClient;
use convoke_rpc::{
    BalancedConfig, CallError, CallOptions, CarrierKind, Changed, ChannelConfig, NoError, Problem,
};
use tokio::task::JoinSet;

use crate::Values;
use crate::world::{self, DutyClient, SERVICE, Wanted, World};

/// Who has the way to the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Each client its own, with links, limits and a budget of its own.
    Own,
    /// All of them one.
    Shared,
    /// Each its own, over QUIC.
    Quic,
}

/// How long, and how many calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) time: Duration,
    /// Calls due in a second.
    pub(crate) rate: u32,
}

pub(crate) const WORKERS: u8 = 3;
pub(crate) const CLIENTS: u32 = 50;
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
pub(crate) const KILL_EVERY: Duration = Duration::from_secs(5);
/// How long a worker is away.
pub(crate) const AWAY: Duration = Duration::from_secs(1);
/// Calls before any that count.
pub(crate) const WARM_UP: Duration = Duration::from_secs(3);
/// Calls that are due so long after a kill belong to it.
const AFTER_KILL: Duration = Duration::from_secs(1);
/// Of so many calls one is not idempotent.
const ONE_IN: u64 = 10;
const STREAMS: u64 = 10;
/// The last number of a stream: ten seconds of it.
const LAST: u64 = 500;
/// Failures that are told one by one.
const TOLD: u64 = 10;

/// What calls came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    usual: Histogram,
    at_kill: Histogram,
    longest_us: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    kills: Mutex<Vec<Instant>>,
}

impl Tally {
    pub(crate) fn killed(&self, at: Instant) {
        self.kills.lock().expect("nobody panics").push(at);
    }

    pub(crate) fn kills(&self) -> usize {
        self.kills.lock().expect("nobody panics").len()
    }

    /// A call that was due then has been answered.
    pub(crate) fn answered(&self, due: Instant) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.took(due);
    }

    /// A call that was due then has failed, and should not have.
    pub(crate) fn failed(&self, due: Instant, why: &dyn std::fmt::Display) {
        if self.failed.fetch_add(1, Ordering::Relaxed) < TOLD {
            let kills = self.kills.lock().expect("nobody panics");
            let since = kills.last().map(|at| at.elapsed());
            let took = due.elapsed();
            eprintln!("a call failed after {took:.0?}, {since:.0?} after a kill: {why}");
        }
        self.took(due);
    }

    fn took(&self, due: Instant) {
        let now = Instant::now();
        let took = now - due;
        let belongs = {
            let kills = self.kills.lock().expect("nobody panics");
            let recent = kills.iter().rev().take(2);
            recent
                .into_iter()
                .any(|at| *at <= now && due <= *at + AFTER_KILL)
        };
        let histogram = if belongs { &self.at_kill } else { &self.usual };
        histogram.record(took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest_us.fetch_max(micros, Ordering::Relaxed);
    }

    /// What every system shows.
    pub(crate) fn values(&self, time: Duration) -> Values {
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
        let of = |histogram: &Histogram, share| histogram.counts().quantile_us(share);
        vec![
            ("calls_per_s", number(&self.answered) / time.as_secs_f64()),
            ("failed_calls", number(&self.failed)),
            ("p50_us", of(&self.usual, 0.5).unwrap_or_default()),
            ("p99_us", of(&self.usual, 0.99).unwrap_or_default()),
            ("p99_kill_us", of(&self.at_kill, 0.99).unwrap_or_default()),
            ("max_us", number(&self.longest_us)),
            ("kills", self.kills() as f64),
        ]
    }
}

/// All clients call until the plan is over. A call is told which client makes it, which number it has and when it was due, and whether it
/// counts; it ends in time by itself.
pub(crate) async fn open_loop<F>(
    plan: Plan,
    begun: Instant,
    call: impl Fn(usize, u64, Instant, bool) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let every = Duration::from_secs(1) * CLIENTS / plan.rate;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let call = call.clone();
        clients.spawn(async move {
            let mut calls = JoinSet::new();
            for turn in 0.. {
                let at = begun + every * client / CLIENTS + every * turn;
                if at >= begun + WARM_UP + plan.time {
                    break;
                }
                tokio::time::sleep_until(at.into()).await;
                let number = u64::from(turn) * u64::from(CLIENTS) + u64::from(client);
                calls.spawn(call(client as usize, number, at, at >= begun + WARM_UP));
                while calls.try_join_next().is_some() {}
            }
            while calls.join_next().await.is_some() {}
        });
    }
    while clients.join_next().await.is_some() {}
}

/// What became of calls that are not idempotent.
#[derive(Debug, Default)]
struct Once {
    answered: Mutex<Vec<u64>>,
    said_not_to_have_run: Mutex<Vec<u64>>,
    unknown: AtomicU64,
}

/// What came of streams.
#[derive(Debug, Default)]
struct Items {
    gaps: AtomicU64,
    repeats: AtomicU64,
    failed: AtomicU64,
    came: AtomicU64,
}

pub(crate) async fn kill(way: Way, plan: Plan) -> anyhow::Result<Values> {
    let mut world = World::of(WORKERS).await?;
    let carrier = match way {
        Way::Own | Way::Shared => None,
        Way::Quic => Some(CarrierKind::Quic),
    };
    let config = BalancedConfig {
        channel: ChannelConfig {
            carrier,
            ..ChannelConfig::default()
        },
        ..BalancedConfig::default()
    };
    let ways = if way == Way::Shared { 1 } else { CLIENTS };
    let make = || ClusterClient::new(&world.endpoint, &world.registry, config.clone());
    let clients: Vec<ClusterClient> = (0..ways).map(|_| make()).collect();
    for client in &clients {
        client
            .service(SERVICE)
            .connect(Duration::from_secs(10))
            .await;
    }
    let duties: Vec<DutyClient> = clients
        .iter()
        .map(|it| DutyClient::new(it.service(SERVICE)))
        .collect();
    let duties = Arc::new(duties);

    let (tally, once) = (Arc::new(Tally::default()), Arc::new(Once::default()));
    let items = Arc::new(Items::default());
    let begun = Instant::now();
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        let duty = duties[number as usize % duties.len()].clone();
        streams.spawn(follow_streams(duty, Arc::clone(&items)));
    }
    let calls = {
        let (tally, once) = (Arc::clone(&tally), Arc::clone(&once));
        open_loop(plan, begun, move |client, number, due, counts| {
            let duty = duties[client % duties.len()].clone();
            let (tally, once) = (Arc::clone(&tally), Arc::clone(&once));
            async move {
                let duty = duty.with(CallOptions::new().deadline(due + DEADLINE));
                let failed = if number.is_multiple_of(ONE_IN) {
                    call_once(&duty, number, &once).await
                } else {
                    square(&duty, number).await
                };
                match failed {
                    _ if !counts => {}
                    Ok(()) => tally.answered(due),
                    Err(Some(problem)) => tally.failed(due, &problem),
                    // It may have run, and nobody could have done better.
                    Err(None) => {}
                }
            }
        })
    };
    let spent = Process::this();
    let before = spent.cpu()?;
    let killing = {
        let tally = Arc::clone(&tally);
        let end = begun + WARM_UP + plan.time;
        tokio::task::spawn_blocking(move || {
            let processes = world.hosts.iter_mut().map(|it| &mut it.process);
            let killed = kill_in_turn(begun, end, &tally, &mut processes.collect::<Vec<_>>());
            (world, killed)
        })
    };
    calls.await;
    let cpu = spent.cpu()? - before;
    let all = plan.time + WARM_UP;
    streams.shutdown().await;
    let (world, killed) = killing.await?;
    killed?;

    let mut values = tally.values(plan.time);
    let (mut retries, mut first) = (0, 0);
    for client in &clients {
        let counters = client.service(SERVICE).counters();
        retries += counters.retries;
        first += counters.first_attempts;
    }
    let (double_runs, wrong_outcomes) = judge(&world.records()?, &once);
    let number = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
    anyhow::ensure!(number(&items.came) > 0.0, "streams gave something");
    values.extend([
        ("unknown_outcomes", number(&once.unknown)),
        ("double_runs", double_runs as f64),
        ("wrong_outcomes", wrong_outcomes as f64),
        ("gaps", number(&items.gaps)),
        ("repeats", number(&items.repeats)),
        ("failed_streams", number(&items.failed)),
        ("retries_pct", 100.0 * retries as f64 / first.max(1) as f64),
        ("cpu_pct", 100.0 * cpu.as_secs_f64() / all.as_secs_f64()),
    ]);
    for client in clients {
        client.close(Duration::from_secs(1)).await;
    }
    world.end().await;
    Ok(values)
}

/// Kills and starts again until the end, and leaves nobody away. Blocks.
pub(crate) fn kill_in_turn(
    begun: Instant,
    end: Instant,
    tally: &Tally,
    processes: &mut [&mut world::Process],
) -> anyhow::Result<()> {
    let mut at = begun + WARM_UP + KILL_EVERY / 2;
    for turn in 0.. {
        // Whoever is killed just before the end would not be back before it.
        if at + AFTER_KILL > end {
            break;
        }
        wait_until(at);
        let process = &mut processes[turn % WORKERS as usize];
        tally.killed(process.kill()?);
        wait_until(at + AWAY);
        process.start_again()?;
        at += KILL_EVERY;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do, and the runtime's are busy with what is measured"
)]
fn wait_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

async fn square(duty: &DutyClient, number: u64) -> Result<(), Option<Problem>> {
    match duty.square(&number).await {
        Ok(square) => {
            assert_eq!(square, number.wrapping_mul(number));
            Ok(())
        }
        Err(error) => Err(Some(problem(error))),
    }
}

async fn call_once(duty: &DutyClient, number: u64, once: &Once) -> Result<(), Option<Problem>> {
    match duty.once(&number).await {
        Ok(_) => {
            once.answered.lock().expect("nobody panics").push(number);
            Ok(())
        }
        Err(error) => {
            let problem = problem(error);
            if problem.changed == Changed::No {
                once.said_not_to_have_run
                    .lock()
                    .expect("nobody panics")
                    .push(number);
                return Err(Some(problem));
            }
            once.unknown.fetch_add(1, Ordering::Relaxed);
            Err(None)
        }
    }
}

fn problem(error: CallError<NoError>) -> Problem {
    match error {
        CallError::Rpc(problem) => problem,
        CallError::App(never) => match never {},
    }
}

/// One stream after the other, each checked item by item.
async fn follow_streams(duty: DutyClient, items: Arc<Items>) {
    let count = |of: &AtomicU64, more: u64| of.fetch_add(more, Ordering::Relaxed);
    loop {
        let within = CallOptions::new().timeout(Duration::from_secs(60));
        let wanted = Wanted {
            last: LAST,
            after: None,
        };
        let mut next = 0;
        match duty.with(within).count(&wanted).await {
            Ok(mut stream) => {
                let ended = loop {
                    match stream.next().await {
                        Some(Ok(item)) => {
                            count(&items.came, 1);
                            if item.number < next {
                                count(&items.repeats, 1);
                            } else {
                                count(&items.gaps, item.number - next);
                                next = item.number + 1;
                            }
                        }
                        Some(Err(error)) => break Err(error),
                        None => break Ok(()),
                    }
                };
                match ended {
                    Ok(()) => {
                        count(&items.gaps, LAST + 1 - next);
                    }
                    Err(error) => {
                        count(&items.failed, 1);
                        eprintln!("a stream ended at {next}: {}", problem(error));
                    }
                }
            }
            Err(error) => {
                count(&items.failed, 1);
                eprintln!("a stream did not begin: {}", problem(error));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// How many numbers ran once more than they should, and about how many something wrong was said.
fn judge(records: &[u64], once: &Once) -> (u64, u64) {
    let mut ran: HashMap<u64, u64> = HashMap::new();
    for number in records {
        *ran.entry(*number).or_default() += 1;
    }
    let double = ran.values().map(|times| times - 1).sum();
    let answered = once.answered.lock().expect("nobody panics");
    let denied = once.said_not_to_have_run.lock().expect("nobody panics");
    let lost = answered.iter().filter(|it| !ran.contains_key(it)).count();
    let false_denials = denied.iter().filter(|it| ran.contains_key(it)).count();
    (double, (lost + false_denials) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_twice_and_what_was_said_wrongly_is_found() {
        let once = Once::default();
        once.answered.lock().unwrap().extend([1, 2, 3]);
        once.said_not_to_have_run.lock().unwrap().extend([4, 5]);
        assert_eq!(judge(&[1, 2, 3, 9], &once), (0, 0));
        assert_eq!(judge(&[1, 1, 1, 2, 3], &once), (2, 0));
        assert_eq!(judge(&[1, 2, 4], &once), (0, 2), "3 is lost, and 4 ran");
    }
}
