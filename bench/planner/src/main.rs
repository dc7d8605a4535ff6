//! What a pass of the planner costs in a large cluster.
//!
//! | case | what happens | metrics |
//! | --- | --- | --- |
//! | `roles5000` | 5,000 nodes of a hundred kinds, of which one in a hundred measures something else each time; every pass is a whole one, with needs and fitness | `pass_ms`; `pass_most_ms`, the longest; `explain_ms`, the reasoning about one node; `dry_run_ms`, where it would end under other rules |
//!
//! The goal is 5 ms for a pass: the leader of the log makes it, beside all else it does. There are no peers: what decides roles elsewhere is a
//! person.
//!
//! Deliberately not here: whether the decisions are right; the tests of the planner say that.

mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench_report::{Report, Row, median};
use clap::Parser;
use convoke_planner::roles::Planner;
use convoke_types::Timestamp;

use crate::world::{World, id};

/// Measures passes of the planner.
#[derive(Parser)]
struct Arguments {
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Fewer passes.
    #[arg(long)]
    quick: bool,
    /// Runs only these cases.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
}

const CASE: &str = "roles5000";
const NODES: usize = 5_000;
/// Passes before it counts: the first one makes the planner's memory.
const WARM_UP: usize = 5;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-planner: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let is_wanted = arguments.case.is_empty() || arguments.case.iter().any(|it| it == CASE);
    anyhow::ensure!(is_wanted, "there is only the case {CASE}");
    let mut report = Report::default();
    roles(if arguments.quick { 50 } else { 500 }, &mut report);
    if arguments.json {
        print!("{}", report.json_lines());
    } else {
        print!("{}", report.table("convoke"));
    }
    Ok(())
}

fn roles(passes: usize, report: &mut Report) {
    let mut world = World::new(NODES);
    let mut planner = Planner::new();
    let mut now = Timestamp::UNIX_EPOCH;
    let mut times = Vec::new();
    let mut changes = 0;
    for pass in 0..passes + WARM_UP {
        now = now + world.decided.rules.check_every;
        world.turn();
        let start = Instant::now();
        let decision = planner.step(now, &world.observed, &world.decided);
        let took = start.elapsed();
        if pass >= WARM_UP {
            times.push(took);
        }
        changes += decision.changes.len();
        world.grant(now, &decision);
    }
    eprintln!("{passes} passes over {NODES} nodes, {changes} changes");
    let most = times.iter().max().copied().unwrap_or_default();
    add(report, "pass_ms", &times);
    add(report, "pass_most_ms", &[most]);

    let (observed, decided) = (&world.observed, &world.decided);
    let mut stricter = decided.clone();
    stricter.rules.requirements.worker.cpu_milli *= 2;
    let explained = repeated(passes / 10, || {
        let told = planner.explain(now, observed, decided, id(NODES / 2));
        assert!(told.is_some(), "every node of this world has a record");
    });
    add(report, "explain_ms", &explained);
    let run = repeated(passes / 50 + 1, || {
        let run = planner.dry_run(now, observed, &stricter);
        assert!(run.is_settled, "nothing goes to and fro in a still world");
    });
    add(report, "dry_run_ms", &run);
}

fn repeated(times: usize, act: impl Fn()) -> Vec<Duration> {
    let one = |_| {
        let start = Instant::now();
        act();
        start.elapsed()
    };
    (0..times).map(one).collect()
}

fn add(report: &mut Report, metric: &str, times: &[Duration]) {
    let values = times.iter().map(|it| it.as_secs_f64() * 1e3);
    if let Some(value) = median(values.collect()) {
        report.add(Row {
            bench: "planner".to_owned(),
            case: CASE.to_owned(),
            system: "convoke".to_owned(),
            metric: metric.to_owned(),
            value,
        });
    }
}
