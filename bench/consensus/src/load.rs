//! Callers in a closed loop, and what they and the servers took for it.
//!
//! As many tasks as calls are in flight, each calling again at once. Calls that end within the window count. The servers' CPU time
//! and writing are read at both ends of the window; what a server writes later for those calls is left out, and what it writes
//! within it for earlier ones is in, which evens out in a steady state.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bench_measure::{Counts, Disk, Histogram, Process};
use tokio::{task::JoinSet, time::Instant};

use crate::{drive::Bench, record, system::System};

/// Keys that are written and read, as many for every number of callers.
const KEYS: u64 = 16 * 1024;
/// How long callers may take for the call they are in when the window ends.
const LAST_CALLS: Duration = Duration::from_secs(30);
/// Callers that write keys before they are read.
const FILLERS: usize = 64;

/// What a case found, by the metric's name.
pub(crate) type Found = Vec<(&'static str, f64)>;

/// Writers at the leader. In the end everyone reads the last value it wrote.
pub(crate) async fn puts<S: System>(bench: &Bench<S>, callers: usize) -> anyhow::Result<Found> {
    let loops = Arc::new(Loops::default());
    let mut tasks = JoinSet::new();
    let connections = bench.connect(callers).await?;
    for caller in 0..callers {
        let writer = Writer::<S>::new(&connections, caller, callers);
        tasks.spawn(writer.until_stopped(Arc::clone(&loops)));
    }
    let found = window(bench, &loops, &mut tasks).await?;
    let writers = all(tasks).await?;
    for writer in writers {
        writer.check_last().await?;
    }
    Ok(found)
}

/// Readers at the leader, of keys that were all written before.
pub(crate) async fn gets<S: System>(bench: &Bench<S>, callers: usize) -> anyhow::Result<Found> {
    fill(bench, KEYS)
        .await
        .context("write what is to be read")?;
    let loops = Arc::new(Loops::default());
    let mut tasks = JoinSet::new();
    let connections = bench.connect(callers).await?;
    for caller in 0..callers {
        let connection = connections[caller % connections.len()].clone();
        let keys = Keys::of(caller, callers, KEYS);
        tasks.spawn(read_until_stopped::<S>(
            connection,
            keys,
            Arc::clone(&loops),
        ));
    }
    let found = window(bench, &loops, &mut tasks).await?;
    all(tasks).await?;
    Ok(found)
}

/// Writes so many keys once, each with its first value.
pub(crate) async fn fill<S: System>(bench: &Bench<S>, keys: u64) -> anyhow::Result<()> {
    let connections = bench.connect(FILLERS).await?;
    let mut tasks = JoinSet::new();
    for caller in 0..FILLERS {
        let mut connection = connections[caller % connections.len()].clone();
        let keys = Keys::of(caller, FILLERS, keys);
        tasks.spawn(async move {
            for key in keys.once() {
                S::put(&mut connection, record::key(key), record::value(key, 1)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn window<S: System, T: 'static>(
    bench: &Bench<S>,
    loops: &Loops,
    tasks: &mut JoinSet<anyhow::Result<T>>,
) -> anyhow::Result<Found> {
    let spent = tokio::select! {
        spent = spend(bench, loops) => spent?,
        Some(ended) = tasks.join_next() => {
            ended??;
            anyhow::bail!("a caller ended before the window");
        }
    };
    spent.found()
}

async fn spend<S: System>(bench: &Bench<S>, loops: &Loops) -> anyhow::Result<Spent> {
    let servers = bench.cluster.processes();
    let disk = Disk::below(&bench.cluster.layout.directory)?;
    tokio::time::sleep(bench.warm_up).await;
    let (began, before) = (Instant::now(), Counters::read(&servers, disk.as_ref())?);
    loops.turn(Phase::Counting);
    tokio::time::sleep(bench.window).await;
    loops.turn(Phase::Stopping);
    Ok(Spent {
        time: began.elapsed(),
        before,
        after: Counters::read(&servers, disk.as_ref())?,
        counts: loops.histogram.counts(),
    })
}

/// What the kernel counts for all servers of a cluster together.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    cpu: Duration,
    written_bytes: u64,
    /// Of the whole disk, so whatever else writes is in it.
    disk_bytes: Option<u64>,
}

impl Counters {
    fn read(servers: &[Process], disk: Option<&Disk>) -> anyhow::Result<Self> {
        let mut counters = Self::default();
        for server in servers {
            counters.cpu += server.cpu()?;
            counters.written_bytes += server.written_bytes()?;
        }
        counters.disk_bytes = disk.map(Disk::written_bytes).transpose()?;
        Ok(counters)
    }
}

/// A window and what was spent in it.
#[derive(Debug)]
struct Spent {
    time: Duration,
    before: Counters,
    after: Counters,
    counts: Counts,
}

impl Spent {
    fn found(&self) -> anyhow::Result<Found> {
        let calls = self.counts.total();
        anyhow::ensure!(calls > 0, "no call ended within the window");
        let calls = calls as f64;
        let (before, after) = (&self.before, &self.after);
        let written = after.written_bytes.saturating_sub(before.written_bytes);
        let cpu = after.cpu.saturating_sub(before.cpu);
        let quantile = |share| self.counts.quantile_us(share).expect("there are calls");
        let mut found = vec![
            ("ops_per_s", calls / self.time.as_secs_f64()),
            ("p50_us", quantile(0.50)),
            ("p99_us", quantile(0.99)),
            ("charged_bytes_per_op", written as f64 / calls),
            ("cpu_us_per_op", cpu.as_secs_f64() * 1e6 / calls),
        ];
        if let (Some(before), Some(after)) = (before.disk_bytes, after.disk_bytes) {
            let written = after.saturating_sub(before);
            found.push(("bytes_per_op", written as f64 / calls));
        }
        Ok(found)
    }
}

async fn all<T: 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let ending = async {
        let mut results = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            results.push(ended??);
        }
        anyhow::Ok(results)
    };
    tokio::time::timeout(LAST_CALLS, ending)
        .await
        .context("the last calls did not end")?
}

/// What all callers see and count in.
#[derive(Debug)]
pub(crate) struct Loops {
    phase: AtomicU8,
    histogram: Histogram,
}

impl Default for Loops {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(Phase::WarmUp as u8),
            histogram: Histogram::new(),
        }
    }
}

/// What callers do with a call that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    WarmUp = 0,
    Counting = 1,
    Stopping = 2,
}

impl Loops {
    /// Callers take notice when their next call ends.
    pub(crate) fn turn(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// Counts a call that began then and has just ended.
    pub(crate) fn ended(&self, began: Instant) {
        if self.is(Phase::Counting) {
            self.histogram.record(began.elapsed());
        }
    }

    /// Whether callers are to go on.
    pub(crate) fn go_on(&self) -> bool {
        !self.is(Phase::Stopping)
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> Counts {
        self.histogram.counts()
    }
}

/// The keys of one of several callers, which no other caller has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    first: u64,
    step: u64,
    end: u64,
    next: u64,
}

impl Keys {
    /// Every caller's share of the keys from 0.
    pub(crate) fn of(caller: usize, callers: usize, keys: u64) -> Self {
        let first = caller as u64;
        Self {
            first,
            step: callers as u64,
            end: keys,
            next: first,
        }
    }

    /// One after the other, over and over.
    pub(crate) fn next(&mut self) -> u64 {
        let key = self.next;
        self.next = key + self.step;
        if self.next >= self.end {
            self.next = self.first;
        }
        key
    }

    fn once(self) -> impl Iterator<Item = u64> {
        (self.first..self.end).step_by(usize::try_from(self.step).expect("there are few callers"))
    }
}

/// A caller that writes.
pub(crate) struct Writer<S: System> {
    connection: S::Connection,
    keys: Keys,
    /// What it wrote last: key and number of the value.
    last: (u64, u64),
    revision: u64,
}

impl<S: System> Writer<S> {
    /// One of several, on one of the connections.
    pub(crate) fn new(connections: &[S::Connection], caller: usize, callers: usize) -> Self {
        Self {
            connection: connections[caller % connections.len()].clone(),
            keys: Keys::of(caller, callers, KEYS),
            last: (0, 0),
            revision: 0,
        }
    }

    /// Writes over and over, and counts.
    pub(crate) async fn until_stopped(mut self, loops: Arc<Loops>) -> anyhow::Result<Self> {
        while loops.go_on() {
            let began = Instant::now();
            self.write().await?;
            loops.ended(began);
        }
        Ok(self)
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        let (key, number) = (self.keys.next(), self.last.1 + 1);
        let value = record::value(key, number);
        let revision = S::put(&mut self.connection, record::key(key), value).await?;
        anyhow::ensure!(
            revision > self.revision,
            "revision {revision} came after {}",
            self.revision
        );
        self.revision = revision;
        self.last = (key, number);
        Ok(())
    }

    /// Nobody else writes these keys, so the last value is there.
    async fn check_last(mut self) -> anyhow::Result<()> {
        let (key, written) = self.last;
        let found = read::<S>(&mut self.connection, key).await?;
        anyhow::ensure!(
            found == written,
            "value {found} was read and {written} written last"
        );
        Ok(())
    }
}

async fn read_until_stopped<S: System>(
    mut connection: S::Connection,
    mut keys: Keys,
    loops: Arc<Loops>,
) -> anyhow::Result<()> {
    while loops.go_on() {
        let began = Instant::now();
        read::<S>(&mut connection, keys.next()).await?;
        loops.ended(began);
    }
    Ok(())
}

/// The number of the value of a key that must be there.
pub(crate) async fn read<S: System>(
    connection: &mut S::Connection,
    key: u64,
) -> anyhow::Result<u64> {
    let found = S::get(connection, record::key(key)).await?;
    record::number_of(key, &found.context("a key is gone that was written")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_share_all_keys_and_no_key_twice() {
        let mut all: Vec<u64> = (0..3)
            .flat_map(|caller| Keys::of(caller, 3, 10).once())
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_caller_goes_round_its_keys() {
        let mut keys = Keys::of(1, 3, 7);
        let round = [keys.next(), keys.next(), keys.next()];
        assert_eq!(round, [1, 4, 1]);
    }

    #[test]
    fn what_was_spent_is_divided_by_calls() {
        let histogram = Histogram::new();
        for _ in 0..4 {
            histogram.record(Duration::from_micros(100));
        }
        let spent = Spent {
            time: Duration::from_secs(2),
            before: Counters {
                cpu: Duration::from_micros(1_000),
                written_bytes: 100,
                disk_bytes: Some(0),
            },
            after: Counters {
                cpu: Duration::from_micros(1_200),
                written_bytes: 900,
                disk_bytes: Some(4_096),
            },
            counts: histogram.counts(),
        };

        let found = spent.found().unwrap();

        let of = |name| found.iter().find(|(found, _)| *found == name).unwrap().1;
        assert_eq!((of("ops_per_s"), of("bytes_per_op")), (2.0, 1_024.0));
        assert_eq!(of("charged_bytes_per_op"), 200.0);
        assert!((of("cpu_us_per_op") - 50.0).abs() < 1e-9);
    }

    #[test]
    fn calls_count_only_within_the_window() {
        let loops = Loops::default();
        loops.ended(Instant::now());
        loops.turn(Phase::Counting);
        loops.ended(Instant::now());
        loops.turn(Phase::Stopping);
        loops.ended(Instant::now());
        assert_eq!((loops.counts().total(), loops.go_on()), (1, false));
    }
}
