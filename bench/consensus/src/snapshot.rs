//! A million keys: what they take in memory, and what a snapshot of them does to those who write.

use std::sync::Arc;

use anyhow::Context as _;
use bench_measure::Counts;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    cases::MANY_KEYS,
    drive::Bench,
    load::{Found, Loops, Phase, Writer, fill},
    system::System,
};

/// Writers before and during the snapshot.
const CALLERS: usize = 64;
const MEGABYTE: f64 = 1e6;

/// Writes a million keys, then compares writers during a snapshot with the same writers before it.
pub(crate) async fn snapshot<S: System>(bench: &Bench<S>) -> anyhow::Result<Found> {
    fill(bench, MANY_KEYS)
        .await
        .context("write a million keys")?;
    let resident_bytes = largest_resident_bytes(bench)?;

    let (mut writers, before) = Writers::begin(bench).await?;
    let measured = async {
        sleep(bench.warm_up).await;
        before.turn(Phase::Counting);
        sleep(bench.window).await;
        before.turn(Phase::Stopping);
        anyhow::Ok(())
    };
    writers.through(measured).await?;
    writers.end().await?;

    let (mut writers, during) = Writers::begin(bench).await?;
    let measured = async {
        sleep(bench.warm_up).await;
        during.turn(Phase::Counting);
        let began = Instant::now();
        let size_bytes = S::snapshot(&bench.connector, bench.leader).await?;
        let time = began.elapsed();
        during.turn(Phase::Stopping);
        anyhow::Ok((size_bytes, time))
    };
    let (size_bytes, time) = writers.through(measured).await?;
    writers.end().await?;

    let ratio = p99_us(&during.counts())? / p99_us(&before.counts())?;
    Ok(vec![
        ("size_mb", size_bytes as f64 / MEGABYTE),
        ("seconds", time.as_secs_f64()),
        ("writer_p99_ratio", ratio),
        ("rss_mb", resident_bytes as f64 / MEGABYTE),
    ])
}

/// Callers that write beside something.
struct Writers<S: System>(JoinSet<anyhow::Result<Writer<S>>>);

impl<S: System> Writers<S> {
    async fn begin(bench: &Bench<S>) -> anyhow::Result<(Self, Arc<Loops>)> {
        let loops = Arc::new(Loops::default());
        let connections = bench.connect(CALLERS).await?;
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let writer = Writer::<S>::new(&connections, caller, CALLERS);
            tasks.spawn(writer.until_stopped(Arc::clone(&loops)));
        }
        Ok((Self(tasks), loops))
    }

    /// Does something while they write; it fails if one of them does.
    async fn through<T>(
        &mut self,
        what: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = what => done,
            Some(ended) = self.0.join_next() => {
                ended??;
                anyhow::bail!("a caller ended early")
            }
        }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.0.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Of the server that takes most.
fn largest_resident_bytes<S: System>(bench: &Bench<S>) -> anyhow::Result<u64> {
    let mut largest = 0;
    for server in bench.cluster.processes() {
        largest = largest.max(server.memory()?.now_bytes);
    }
    Ok(largest)
}

fn p99_us(counts: &Counts) -> anyhow::Result<f64> {
    counts.quantile_us(0.99).context("nobody wrote anything")
}
