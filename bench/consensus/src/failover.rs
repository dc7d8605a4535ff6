//! The leader fails again and again, under load: how long until a write is acknowledged?
//!
//! From the moment of the fault a new write begins every 5 ms, each by a client that finds out by itself who leads. The first of
//! them that is acknowledged ends the time; writes that began before do not count, as their answers may have been on their way
//! already. So the time is right to 5 ms, and includes what clients lose by asking nodes that cannot answer.
//!
//! Every second fault kills, the others cut all links. The load goes on through all of it, and after each fault everything that was
//! acknowledged right before it is read again. Keys are written once, so that an attempt whose outcome nobody knew can do no harm
//! when it is carried out late.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    cluster::Fault,
    drive::Bench,
    load::{Found, read},
    record,
    system::System,
};

/// Clients that write all the time.
pub(crate) const CALLERS: usize = 16;
/// A new write begins so often after a fault.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// Such writes on their way at the most; then no more begin.
const PROBES: usize = 1_000;
/// Without an acknowledged write by then, the case has failed.
const RECOVERY: Duration = Duration::from_secs(30);
/// The failed leader stays away for so long after the cluster has recovered without it.
const AWAY: Duration = Duration::from_millis(500);
/// It is back and has caught up by then, or the case has failed.
pub(crate) const WHOLE_AGAIN: Duration = Duration::from_secs(60);
/// Between the moment when everything is well again and the next fault.
const CALM: Duration = Duration::from_secs(1);

/// Keys of the load are `caller << CALLER_BITS | number`, and those of probes have a caller of their own.
const CALLER_BITS: u32 = 40;

/// Makes leaders fail and gives the times.
pub(crate) async fn failover<S: System>(
    bench: &mut Bench<S>,
    faults: usize,
) -> anyhow::Result<Found> {
    let finder = S::finder(&bench.connector)?;
    let (load, mut tasks) = begin::<S>(&finder);
    sleep(bench.warm_up).await;

    let mut probes = key_of(CALLERS, 0)..;
    let mut times = Vec::new();
    for number in 0..faults {
        let fault = fault(number);
        let time = tokio::select! {
            time = one::<S>(bench, &finder, fault, &load, &mut probes) => time,
            Some(ended) = tasks.join_next() => {
                ended??;
                anyhow::bail!("a caller ended early");
            }
        };
        let time = time.with_context(|| format!("fault {}, {fault:?}", number + 1))?;
        eprintln!(
            "  fault {}/{faults}, {fault:?}: {} ms",
            number + 1,
            time.as_millis()
        );
        times.push(time);
    }

    load.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(quantiles(times))
}

/// Callers that write until they are told to stop.
pub(crate) fn begin<S: System>(finder: &S::Finder) -> (Arc<Load>, JoinSet<anyhow::Result<()>>) {
    let load = Arc::new(Load::default());
    let mut tasks = JoinSet::new();
    for caller in 0..CALLERS {
        tasks.spawn(write_on::<S>(finder.clone(), caller, Arc::clone(&load)));
    }
    (load, tasks)
}

/// The rows of some times.
pub(crate) fn quantiles(mut times: Vec<Duration>) -> Found {
    times.sort_unstable();
    vec![
        ("p50_ms", milliseconds(quantile(&times, 0.50))),
        ("p95_ms", milliseconds(quantile(&times, 0.95))),
        ("max_ms", milliseconds(quantile(&times, 1.0))),
    ]
}

/// One fault, from a whole cluster to a whole cluster.
async fn one<S: System>(
    bench: &mut Bench<S>,
    finder: &S::Finder,
    fault: Fault,
    load: &Load,
    probes: &mut impl Iterator<Item = u64>,
) -> anyhow::Result<Duration> {
    let leader = bench.leader;
    let acknowledged = load.acknowledged();
    let began = Instant::now();
    bench.cluster.fail(leader, fault)?;
    let recovered = timeout(RECOVERY, first_write::<S>(finder, probes)).await;
    let time = began.elapsed();
    if recovered.is_ok() {
        sleep(AWAY).await;
    }
    bench.cluster.mend(leader, fault)?;
    let written = recovered.with_context(|| format!("nothing was written for {RECOVERY:?}"))??;

    let whole = bench
        .cluster
        .whole::<S>(&bench.connector, WHOLE_AGAIN)
        .await;
    bench.leader = whole?;
    let mut connection = S::connect(&bench.connector, bench.leader).await?;
    for key in acknowledged.into_iter().chain([written]) {
        read::<S>(&mut connection, key)
            .await
            .context("read what was acknowledged around the fault")?;
    }
    sleep(CALM).await;
    Ok(time)
}

/// Begins writes until one is acknowledged, and says of which key.
async fn first_write<S: System>(
    finder: &S::Finder,
    keys: &mut impl Iterator<Item = u64>,
) -> anyhow::Result<u64> {
    let mut due = interval(PROBE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut writes = JoinSet::new();
    loop {
        tokio::select! {
            _ = due.tick(), if writes.len() < PROBES => {
                let key = keys.next().expect("there are enough keys");
                let finder = finder.clone();
                writes.spawn(async move {
                    let value = record::value(key, 1);
                    S::find_and_put(&finder, record::key(key), value).await.map(|()| key)
                });
            }
            Some(ended) = writes.join_next() => {
                // Who gave up leaves it to those that began later.
                if let Ok(key) = ended? {
                    return Ok(key);
                }
            }
        }
    }
}

/// What the callers of the load do and did.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) stop: AtomicBool,
    /// Of each caller, how many writes were acknowledged.
    written: [AtomicU64; CALLERS],
    /// Writes that were given up.
    pub(crate) failed: AtomicU64,
    pub(crate) pauses: Mutex<Pauses>,
}

/// How long nothing was acknowledged to anybody.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    last: Option<Instant>,
    longest: Duration,
}

impl Pauses {
    fn note(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now - last);
        }
    }

    /// The longest until now, one that goes on included, and begins anew.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        let going_on = self.last.map_or(Duration::ZERO, |last| now - last);
        std::mem::take(&mut self.longest).max(going_on)
    }
}

impl Load {
    fn note(&self, now: Instant) {
        self.pauses.lock().expect("nobody panicked").note(now);
    }

    /// The last key of each caller that was acknowledged to it.
    fn acknowledged(&self) -> Vec<u64> {
        let last = |(caller, written): (usize, &AtomicU64)| {
            let number = written.load(Ordering::Relaxed).checked_sub(1)?;
            Some(key_of(caller, number))
        };
        self.written.iter().enumerate().filter_map(last).collect()
    }
}

async fn write_on<S: System>(
    finder: S::Finder,
    caller: usize,
    load: Arc<Load>,
) -> anyhow::Result<()> {
    while !load.stop.load(Ordering::Relaxed) {
        let key = key_of(caller, load.written[caller].load(Ordering::Relaxed));
        // The same key is written until it is acknowledged, whatever it takes.
        if S::find_and_put(&finder, record::key(key), record::value(key, 1))
            .await
            .is_ok()
        {
            load.written[caller].fetch_add(1, Ordering::Relaxed);
            load.note(Instant::now());
        } else {
            load.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn fault(number: usize) -> Fault {
    if number.is_multiple_of(2) {
        Fault::Killed
    } else {
        Fault::Cut
    }
}

fn key_of(caller: usize, number: u64) -> u64 {
    (caller as u64) << CALLER_BITS | number
}

/// The smallest of the sorted times that the share of all are not above.
fn quantile(times: &[Duration], share: f64) -> Duration {
    let rank = (times.len() as f64 * share).ceil() as usize;
    times[rank.clamp(1, times.len()) - 1]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let times: Vec<Duration> = (1..=20).map(Duration::from_millis).collect();
        let found = [0.5, 0.95, 1.0].map(|share| milliseconds(quantile(&times, share)));
        assert_eq!(found, [10.0, 19.0, 20.0]);
        assert_eq!(quantile(&times[..1], 0.5), Duration::from_millis(1));
    }

    #[test]
    fn a_pause_is_the_longest_time_without_an_acknowledgement() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut pauses = Pauses::default();
        [0, 3, 10, 12]
            .map(at)
            .into_iter()
            .for_each(|now| pauses.note(now));
        assert_eq!(pauses.take(at(13)), Duration::from_millis(7));
        assert_eq!(pauses.take(at(32)), Duration::from_millis(20));
    }

    #[test]
    fn half_of_the_faults_are_of_each_kind() {
        let killed = (0..20).filter(|number| fault(*number) == Fault::Killed);
        assert_eq!(killed.count(), 10);
    }

    #[test]
    fn what_was_acknowledged_is_the_last_of_each_caller() {
        let load = Load::default();
        load.written[2].store(5, Ordering::Relaxed);
        assert_eq!(load.acknowledged(), [key_of(2, 4)]);
    }
}
