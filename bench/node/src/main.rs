//! What a node costs as a member of a cluster that does nothing, and how soon one is there: real processes of the program.
//!
//! | case | what happens | metrics |
//! | --- | --- | --- |
//! | `idle30` | 30 nodes and 10,000 keys; nobody asks for anything | `rss_mb`, `cpu_pct` of a member in the middle; `leader_cpu_pct`; `start_ms`, a member stopped and started again, until it is ready; `join_ms`, a new one |
//! | `together` | five nodes are started at once, with one token | `all_ready_ms`, until the last is ready |
//!
//! *Ready* is what the node says itself: it is listed in what was decided and answers a linearizable read.
//!
//! The program is built first, from this checkout, in release form. Everything it makes is in one temporary directory, and ends with it.
//!
//! Deliberately not here: load. `bench consensus` and `bench rpc` have that.

mod cluster;
mod keys;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench_measure::Process;
use bench_report::{Report, Row, median};
use clap::Parser;

use crate::cluster::{Cluster, Member, program};

/// Measures a node beside others.
#[derive(Parser)]
struct Arguments {
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Fewer nodes and shorter: for a look, not for a record.
    #[arg(long)]
    quick: bool,
    /// Runs only these cases.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// How many nodes there are in `idle30`; the name stays.
    #[arg(long, default_value_t = 30)]
    nodes: usize,
}

/// Nodes that are started at once while the cluster grows; more only wait for each other's processors.
const AT_ONCE: usize = 3;
/// Keys in the cluster.
const KEYS: usize = 10_000;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = program().context("build the program")?;
    let mut report = Report::default();
    let wants =
        |case: &str| arguments.case.is_empty() || arguments.case.iter().any(|it| it == case);
    if wants("idle30") {
        let nodes = if arguments.quick { 8 } else { arguments.nodes };
        let idle = Duration::from_secs(if arguments.quick { 5 } else { 30 });
        idle30(&program, nodes, idle, &mut report)?;
    }
    if wants("together") {
        for _ in 0..if arguments.quick { 1 } else { 3 } {
            together(&program, &mut report)?;
        }
    }
    if arguments.json {
        print!("{}", report.json_lines());
    } else {
        print!("{}", report.table("convoke"));
    }
    Ok(())
}

fn add(report: &mut Report, case: &str, metric: &str, value: f64) {
    report.add(Row {
        bench: "node".to_owned(),
        case: case.to_owned(),
        system: "convoke".to_owned(),
        metric: metric.to_owned(),
        value,
    });
}

fn idle30(
    program: &std::path::Path,
    nodes: usize,
    idle: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut cluster = Cluster::new(program)?;
    cluster.begin()?;
    let token = cluster.token(nodes + 10)?;
    while cluster.members().len() < nodes {
        let more = AT_ONCE.min(nodes - cluster.members().len());
        let names: Vec<String> = (0..more)
            .map(|at| format!("node-{}", cluster.members().len() + at))
            .collect();
        cluster.join_together(&names, &token)?;
    }
    eprintln!("{nodes} nodes are ready");
    keys::write(&cluster.home("node-0"), KEYS)?;
    eprintln!("{KEYS} keys are written");
    // What the growing left to do is done by then.
    std::thread::sleep(idle.min(Duration::from_secs(15)));
    measure_idle(&cluster, idle, report)?;
    for _ in 0..3 {
        let name = format!("node-{}", nodes - 1);
        let taken = cluster.start_again(&name)?;
        add(report, "idle30", "start_ms", ms(taken));
    }
    for number in 0..3 {
        let name = format!("new-{number}");
        let taken = cluster.join_together(&[name], &token)?;
        add(report, "idle30", "join_ms", ms(taken));
    }
    cluster.stop()
}

fn measure_idle(cluster: &Cluster, idle: Duration, report: &mut Report) -> anyhow::Result<()> {
    let before: Vec<Duration> = cluster
        .members()
        .iter()
        .map(|member| Process::of(member.id()).cpu())
        .collect::<Result<_, _>>()?;
    let begun = Instant::now();
    std::thread::sleep(idle);
    let passed = begun.elapsed().as_secs_f64();
    let mut shares = Vec::new();
    for (member, before) in cluster.members().iter().zip(before) {
        let used = Process::of(member.id()).cpu()?.saturating_sub(before);
        let share = used.as_secs_f64() / passed * 100.0;
        if member.leads() {
            add(report, "idle30", "leader_cpu_pct", share);
        }
        shares.push(share);
    }
    let memory: Vec<f64> = cluster
        .members()
        .iter()
        .map(|member| resident_mb(member))
        .collect::<Result<_, _>>()?;
    add(
        report,
        "idle30",
        "cpu_pct",
        median(shares).unwrap_or(f64::NAN),
    );
    let most = memory.iter().copied().fold(0.0, f64::max);
    add(
        report,
        "idle30",
        "rss_mb",
        median(memory).unwrap_or(f64::NAN),
    );
    add(report, "idle30", "rss_most_mb", most);
    Ok(())
}

fn resident_mb(member: &Member) -> anyhow::Result<f64> {
    let memory = Process::of(member.id()).memory()?;
    #[expect(clippy::cast_precision_loss, reason = "a size in megabytes")]
    let bytes = memory.now_bytes as f64;
    Ok(bytes / 1e6)
}

fn together(program: &std::path::Path, report: &mut Report) -> anyhow::Result<()> {
    let mut cluster = Cluster::new(program)?;
    cluster.begin()?;
    let token = cluster.token(9)?;
    let names: Vec<String> = (1..5).map(|number| format!("node-{number}")).collect();
    let taken = cluster.join_together(&names, &token)?;
    add(report, "together", "all_ready_ms", ms(taken));
    cluster.stop()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
