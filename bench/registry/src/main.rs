//! What choosing among many instances costs, and what it saves.
//!
//! | case | what happens | metrics |
//! | --- | --- | --- |
//! | `overhead` | the same calls to the same ten instances, by a channel to each in turns and by the balanced way | `cpu_us_per_op`: how much more processor time the second takes for a call, both ends together |
//! | `filter1000` | a selector of two terms looks at a thousand instances | `us_per_eval` |
//! | `registry1000` | a thousand instances of which one changes before each call | `us_per_change`, `cpu_pct` of one processor when a tenth of them changes in a second |
//! | `slow-worker/STRATEGY` | ten workers of which one is ten times slower, 64 clients that call again and again | `ops_per_s`, `p99_us` |
//! | `overload3x` | three times as many calls as three workers can do, with deadlines and retries | `goodput_pct` of the capacity |
//! | `kill`, `kill-shared`, `kill-quic` | one of three workers, which are processes, is killed every 5 s while 50 clients call | `kill.rs` says which |
//! | `detect/…` | a worker is killed, or stopped without a word, until no call is sent to it | `p50_ms`, `max_ms` |
//!
//! `inside` has those that run in this one process, `world` the processes of the others. Everything is on loopback, with TLS.
//!
//! Deliberately not here: whether choices are right, which the tests of `convoke-balance` say.

mod detect;
mod inside;
mod kill;
#[cfg(feature = "peers")]
mod peers;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bench_report::{Report, Row};
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

use crate::kill::Way;

/// Measures balanced calls.
#[derive(Parser)]
struct Arguments {
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Shorter runs: for a look, not for a record.
    #[arg(long)]
    quick: bool,
    /// Runs only these cases; `detect` means all that begin with `detect/`.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// How long workers are killed in each case of `kill`; 30, and 12 with --quick.
    #[arg(long)]
    seconds: Option<u64>,
    /// Calls due in a second in `kill`, of all clients together.
    #[arg(long, default_value_t = 5_100)]
    rate: u32,
    /// Runs only these systems: convoke, tower-p2c-peak-ewma, tonic, rpcnet.
    #[arg(long, value_delimiter = ',')]
    system: Vec<String>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when the bench starts it.
#[derive(Subcommand)]
enum Role {
    /// A worker of `kill` and `detect`.
    #[command(hide = true)]
    Worker(world::WorkerArguments),
    /// The same of rpcnet.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    RpcnetWorker(peers::rpcnet::WorkerArguments),
    /// One measurement of rpcnet.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    RpcnetMeasure(peers::rpcnet::MeasureArguments),
}

/// Our name in the results.
const OURS: &str = "convoke";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Who works or is measured by itself does it with one thread, which is everybody's best.
    let mut builder = match arguments.role {
        Some(_) => Builder::new_current_thread(),
        None => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().context("start a runtime");
    match runtime.and_then(|runtime| runtime.block_on(run(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-registry: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.role {
        Some(Role::Worker(arguments)) => return world::work(arguments).await,
        #[cfg(feature = "peers")]
        Some(Role::RpcnetWorker(arguments)) => return peers::rpcnet::work(arguments).await,
        #[cfg(feature = "peers")]
        Some(Role::RpcnetMeasure(arguments)) => return peers::rpcnet::measure(arguments).await,
        None => {}
    }
    bench_measure::allow_descriptors()?;
    let mut bench = Bench {
        arguments,
        report: Report::default(),
        failures: Vec::new(),
    };
    bench.all().await;
    let found = if bench.arguments.json {
        bench.report.json_lines()
    } else {
        bench.report.table(OURS)
    };
    print!("{found}");
    let failures = bench.failures;
    anyhow::ensure!(failures.is_empty(), "not measured: {}", failures.join(", "));
    anyhow::ensure!(!found.is_empty(), "there is no such case");
    Ok(())
}

struct Bench {
    arguments: Arguments,
    report: Report,
    failures: Vec<String>,
}

/// What one system shows in one case.
type Values = Vec<(&'static str, f64)>;

impl Bench {
    async fn all(&mut self) {
        let quick = self.arguments.quick;
        let time = Duration::from_secs(if quick { 1 } else { 5 });
        if self.wants("filter1000", OURS) {
            let measured = inside::filter();
            self.take("filter1000", OURS, measured);
        }
        let turns = if quick { 5 } else { 15 };
        if self.wants("overhead", OURS) {
            let measured = inside::overhead(turns).await;
            self.take("overhead", OURS, measured);
        }
        if self.wants("registry1000", OURS) {
            let measured = inside::registry(turns).await;
            self.take("registry1000", OURS, measured);
        }
        for (name, strategy) in inside::STRATEGIES {
            let case = format!("slow-worker/{name}");
            if self.wants(&case, OURS) {
                let measured = inside::slow_worker(strategy, time).await;
                self.take(&case, OURS, measured);
            }
            #[cfg(feature = "peers")]
            if let Some(peer) = peers::tonic::Peer::beside(name)
                && self.wants(&case, peer.name())
            {
                let measured = peers::tonic::slow_worker(peer, time).await;
                self.take(&case, peer.name(), measured);
            }
        }
        if self.wants("overload3x", OURS) {
            let measured = inside::overload(time * 2).await;
            self.take("overload3x", OURS, measured);
        }
        self.kill(quick).await;
        self.detect(if quick { 3 } else { 10 }).await;
    }

    async fn kill(&mut self, quick: bool) {
        let seconds = self.arguments.seconds;
        let plan = kill::Plan {
            time: Duration::from_secs(seconds.unwrap_or(if quick { 12 } else { 30 })),
            rate: self.arguments.rate,
        };
        for (case, way) in [
            ("kill", Way::Own),
            ("kill-shared", Way::Shared),
            ("kill-quic", Way::Quic),
        ] {
            if self.wants(case, OURS) {
                let measured = kill::kill(way, plan).await;
                self.take(case, OURS, measured);
            }
        }
        #[cfg(feature = "peers")]
        if self.wants("kill", peers::rpcnet::NAME) {
            let measured = peers::rpcnet::kill(plan).await;
            self.take("kill", peers::rpcnet::NAME, measured);
        }
    }

    async fn detect(&mut self, times: usize) {
        for fault in [detect::Fault::Killed, detect::Fault::Cut] {
            let cases = fault.cases();
            let wanted = cases.map(|case| self.wants(case, OURS));
            if wanted.contains(&true) {
                match detect::detect(fault, times).await {
                    Ok(found) => {
                        for ((case, values), wanted) in cases.into_iter().zip(found).zip(wanted) {
                            if wanted {
                                self.take(case, OURS, Ok(values));
                            }
                        }
                    }
                    Err(error) => self.take(cases[0], OURS, Err(error)),
                }
            }
        }
        #[cfg(feature = "peers")]
        if self.wants("detect/kill-unconnected", peers::rpcnet::NAME) {
            let measured = peers::rpcnet::detect(times).await;
            self.take("detect/kill-unconnected", peers::rpcnet::NAME, measured);
        }
    }

    fn wants(&self, case: &str, system: &str) -> bool {
        let named = |it: &String| case == it || case.starts_with(&format!("{it}/"));
        let (cases, systems) = (&self.arguments.case, &self.arguments.system);
        (cases.is_empty() || cases.iter().any(named))
            && (systems.is_empty() || systems.iter().any(|it| it == system))
    }

    /// A system that fails one case loses that case's rows and nothing else.
    fn take(&mut self, case: &str, system: &str, measured: anyhow::Result<Values>) {
        let values = match measured {
            Ok(values) => values,
            Err(error) => {
                eprintln!("{case} {system}: WARNING, not measured: {error:#}");
                return self.failures.push(format!("{case} {system}"));
            }
        };
        let told: Vec<String> = values
            .iter()
            .map(|(metric, value)| format!("{metric} {}", bench_report::short(*value)))
            .collect();
        eprintln!("{case} {system}: {}", told.join(", "));
        for (metric, value) in values {
            self.report.add(Row {
                bench: "registry".to_owned(),
                case: case.to_owned(),
                system: system.to_owned(),
                metric: metric.to_owned(),
                value,
            });
        }
    }
}
