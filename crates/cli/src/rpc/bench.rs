//! Many calls in a closed loop: each caller makes the next call when the last one was answered.
//!
//! Bounded in time (`--duration`, at most an hour) and, if asked for, in calls (`--calls`). Latencies are counted in buckets,
//! so memory does not grow with the number of calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use convoke_rpc::{CallError, Caller, Encoded, MethodDescriptor, MethodKind, Retry};
use serde::Serialize;
use tokio::task::JoinSet;

use super::list::kind;
use super::remote::Remote;
use super::way::Way;
use crate::latencies::Latencies;
use crate::output::{Screen, put};
use crate::text::{grouped, human, plain};
use crate::way::duration;

/// What `convoke rpc bench` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    way: Way,
    /// What to call, as Service.method; it must take one message and give one
    method: String,
    /// The request as JSON
    #[arg(value_name = "JSON", default_value = "null")]
    request: String,
    /// How many calls are under way at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: u32,
    /// How long it takes, as 500ms, 10s or 2m; an hour at most
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = bench_duration)]
    duration: Duration,
    /// Ends after so many calls, if they are made in time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,
    /// How many links share the calls
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// Prints one JSON object a second, and a last one that sums up
    #[arg(long)]
    json: bool,
}

/// How often progress is shown.
const TICK: Duration = Duration::from_secs(1);
/// The longest pause after a call that was refused with advice on when to come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn bench_duration(text: &str) -> Result<Duration, String> {
    let chosen = duration(text)?;
    if chosen > Duration::from_secs(3_600) {
        return Err("an hour at most".to_owned());
    }
    Ok(chosen)
}

pub(super) async fn run(arguments: &Arguments, screen: Screen) -> anyhow::Result<()> {
    let links = usize::try_from(arguments.connections).unwrap_or(1);
    let remote = Remote::open(&arguments.way, links).await?;
    let method = remote.method(&arguments.method)?;
    let shape = method.told.kind;
    if shape != MethodKind::Unary {
        bail!(
            "{} is {}: only unary methods are measured",
            plain(method.name()),
            kind(shape)
        );
    }
    let request = remote.encode(&method, arguments.request.clone()).await?;
    let load = Arc::new(Load {
        caller: remote.caller(),
        method: method.descriptor,
        request,
        until: Instant::now() + arguments.duration,
        left: AtomicU64::new(arguments.calls.unwrap_or(u64::MAX)),
        answered: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let began = Instant::now();
    let tally = drive(&load, arguments, screen).await?;
    let took = began.elapsed();
    remote.close().await;

    let summary = Summary::of(&tally, arguments, took);
    put(&if arguments.json {
        let text = serde_json::to_string(&summary).context("write the summary as JSON")?;
        super::json::checked(&text)? + "\n"
    } else {
        summary.sentences()
    })?;
    if tally.answered() == 0 {
        bail!("no call was answered");
    }
    Ok(())
}

/// What all callers share.
struct Load {
    caller: Caller,
    method: &'static MethodDescriptor,
    request: Encoded,
    until: Instant,
    /// Calls that may still begin.
    left: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// What happened to the calls of one caller, or of all.
#[derive(Debug, Default)]
struct Tally {
    latencies: Latencies,
    longest: Duration,
    ended: BTreeMap<&'static str, u64>,
}

/// The outcome of calls that were answered.
const OK: &str = "ok";

impl Tally {
    fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.longest = self.longest.max(other.longest);
        for (outcome, count) in &other.ended {
            *self.ended.entry(outcome).or_default() += count;
        }
    }

    fn answered(&self) -> u64 {
        self.ended.get(OK).copied().unwrap_or_default()
    }
}

/// Lets the callers loose and shows how they fare, until they are done or somebody interrupts.
async fn drive(load: &Arc<Load>, arguments: &Arguments, screen: Screen) -> anyhow::Result<Tally> {
    let mut callers = JoinSet::new();
    for _ in 0..arguments.concurrency {
        callers.spawn(call_again_and_again(Arc::clone(load)));
    }
    let mut progress = Progress::new(arguments.json, screen);
    let mut clock = tokio::time::interval_at((Instant::now() + TICK).into(), TICK);
    let mut tally = Tally::default();
    loop {
        tokio::select! {
            done = callers.join_next() => match done {
                Some(done) => tally.add(&done.context("run a caller")?),
                None => break,
            },
            _ = clock.tick() => progress.show(load)?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("listen for Ctrl-C")?;
                load.left.store(0, Relaxed);
            }
        }
    }
    progress.end()?;
    Ok(tally)
}

async fn call_again_and_again(load: Arc<Load>) -> Tally {
    let mut tally = Tally::default();
    while load.one_more() {
        let began = Instant::now();
        let outcome = load
            .caller
            .unary::<_, Encoded, Encoded>(load.method, &load.request)
            .await;
        let took = began.elapsed();
        let (name, pause) = match &outcome {
            Ok(_) => (OK, None),
            Err(CallError::App(_)) => ("app-error", None),
            Err(CallError::Rpc(problem)) => (problem.code.name(), Some(problem.retry)),
        };
        *tally.ended.entry(name).or_default() += 1;
        if outcome.is_ok() {
            load.answered.fetch_add(1, Relaxed);
            tally.latencies.record(took);
            tally.longest = tally.longest.max(took);
        } else {
            load.failed.fetch_add(1, Relaxed);
        }
        if let Some(Retry::After(pause)) = pause {
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        }
    }
    tally
}

impl Load {
    fn one_more(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        Instant::now() < self.until && self.left.fetch_update(Relaxed, Relaxed, one_less).is_ok()
    }
}

/// A line a second: drawn again on a terminal, an object as JSON, nothing elsewhere, where only the result counts.
struct Progress {
    json: bool,
    screen: Screen,
    second: u64,
    answered: u64,
    line_is_open: bool,
}

#[derive(Serialize)]
struct Second {
    kind: &'static str,
    second: u64,
    answered: u64,
    failed: u64,
}

impl Progress {
    fn new(json: bool, screen: Screen) -> Self {
        Self {
            json,
            screen,
            second: 0,
            answered: 0,
            line_is_open: false,
        }
    }

    fn show(&mut self, load: &Load) -> anyhow::Result<()> {
        let answered = load.answered.load(Relaxed);
        let lately = answered - self.answered;
        self.answered = answered;
        self.second += 1;
        let failed = load.failed.load(Relaxed);
        if self.json {
            let second = Second {
                kind: "second",
                second: self.second,
                answered: lately,
                failed,
            };
            let text = serde_json::to_string(&second).context("write a second as JSON")?;
            put(&format!("{text}\n"))?;
        } else if self.screen.is_terminal {
            let failed = if failed > 0 {
                format!(", {} failed", grouped(failed))
            } else {
                String::new()
            };
            let (second, rate) = (self.second, grouped(lately));
            put(&format!(
                "\r\u{1b}[K{second:>3} s  {rate:>9} calls/s{failed}"
            ))?;
            self.line_is_open = true;
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.line_is_open) {
            put("\r\u{1b}[K")?;
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Serialize)]
struct Summary {
    kind: &'static str,
    method: String,
    concurrency: u32,
    connections: u32,
    seconds: f64,
    answered: u64,
    rate: f64,
    p50_us: Option<u64>,
    p90_us: Option<u64>,
    p99_us: Option<u64>,
    max_us: Option<u64>,
    /// By outcome, without those that were answered.
    failed: BTreeMap<&'static str, u64>,
}

impl Summary {
    fn of(tally: &Tally, arguments: &Arguments, took: Duration) -> Self {
        let answered = tally.answered();
        let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let longest = (answered > 0).then(|| micros(tally.longest));
        let quantile = |share| {
            let found = tally.latencies.quantile(share).map(micros);
            // Quantiles are the upper ends of their buckets, which may lie above the longest.
            found.map(|found| found.min(longest.unwrap_or(found)))
        };
        let seconds = took.as_secs_f64();
        let failed = tally.ended.iter().filter(|(outcome, _)| **outcome != OK);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate is shown with few digits"
        )]
        let rate = answered as f64 / seconds.max(f64::MIN_POSITIVE);
        Self {
            kind: "summary",
            method: arguments.method.clone(),
            concurrency: arguments.concurrency,
            connections: arguments.connections,
            seconds: (seconds * 1e3).round() / 1e3,
            answered,
            rate: rate.round(),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            max_us: longest,
            failed: failed.map(|(outcome, count)| (*outcome, *count)).collect(),
        }
    }

    fn sentences(&self) -> String {
        let (callers, links) = (self.concurrency, self.connections);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is a whole number above zero"
        )]
        let rate = grouped(self.rate as u64);
        let mut out = format!(
            "{}: {} calls answered in {:.1} s, {rate} a second ({callers} at a time, {links} {})\n",
            plain(&self.method),
            grouped(self.answered),
            self.seconds,
            if links == 1 { "link" } else { "links" },
        );
        let latencies = [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("max", self.max_us),
        ];
        let known: Vec<_> = latencies
            .into_iter()
            .filter_map(|(name, micros)| {
                Some(format!("{name} {}", human(Duration::from_micros(micros?))))
            })
            .collect();
        if !known.is_empty() {
            out.push_str(&format!("latency: {}\n", known.join(", ")));
        }
        for (outcome, count) in &self.failed {
            out.push_str(&format!("{outcome}: {} calls\n", grouped(*count)));
        }
        out
    }
}
