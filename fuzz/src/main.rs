//! The fuzzer's command line.
//!
//! Each target runs in a process of its own, the worker, which notes in a file which run it is at. So whatever ends it — a
//! panic, an exhausted stack, an abort — and whatever keeps it busy for too long, the supervisor knows which input did it.
//!
//! | part | what it does |
//! | --- | --- |
//! | this file | the command line, one target after the other |
//! | `worker.rs` | makes inputs and hands them to the target |
//! | `supervisor.rs` | watches a worker |
//! | `finding.rs` | keeps an input that was found, and says how to replay it |
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people: it prints"
)]

mod finding;
mod supervisor;
mod worker;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use convoke_fuzz::{TARGETS, Target};

use crate::supervisor::Plan;

/// Throws mutated bytes at every decoder of bytes from outside
#[derive(Debug, Parser)]
#[command(name = "convoke-fuzz")]
struct CommandLine {
    /// One target; without it, each in turn
    #[arg(value_parser = target)]
    target: Option<&'static Target>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Where chance begins; printed by every run
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// End after so many inputs, if the time is not over before
    #[arg(long, value_name = "N", default_value_t = u64::MAX)]
    runs: u64,
    /// Replay the input in a file, in this process
    #[arg(long, value_name = "PATH", requires = "target")]
    file: Option<PathBuf>,
    /// Say which targets there are
    #[arg(long)]
    list: bool,
    /// Be a worker and note the number of the run here
    #[arg(
        long,
        hide = true,
        value_name = "PATH",
        requires = "target",
        requires = "seed"
    )]
    journal: Option<PathBuf>,
    /// Write the input of the first run here, and try nothing
    #[arg(
        long,
        hide = true,
        value_name = "PATH",
        requires = "target",
        requires = "seed"
    )]
    keep: Option<PathBuf>,
    /// The first run of a worker
    #[arg(long, hide = true, default_value_t = 0)]
    first: u64,
}

fn target(name: &str) -> Result<&'static Target, String> {
    let names = || {
        TARGETS
            .iter()
            .map(|target| target.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    Target::named(name).ok_or_else(|| format!("the targets are {}", names()))
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("convoke-fuzz: {error}");
            ExitCode::from(worker::COULD_NOT_WORK)
        }
    }
}

/// Whether nothing was found.
fn run(line: CommandLine) -> io::Result<bool> {
    let seed = line.seed.unwrap_or_else(seed_from_the_clock);
    let time = Duration::from_secs(line.seconds);
    match (line.target, line.file, line.journal, line.keep) {
        _ if line.list => {
            TARGETS
                .iter()
                .for_each(|target| println!("{:<12} {}", target.name, target.checks));
            Ok(true)
        }
        (Some(target), Some(file), _, _) => worker::replay(target, &file),
        (Some(target), None, Some(journal), _) => {
            worker::work(target, seed, line.first..line.runs, time, &journal)
        }
        (Some(target), None, None, Some(path)) => worker::keep(target, seed, line.first, &path),
        (target, _, _, _) => {
            let targets = target.map_or(TARGETS, std::slice::from_ref);
            go_through(
                targets,
                Plan {
                    seed,
                    runs: line.runs,
                    time,
                },
            )
        }
    }
}

/// All of them, also when one has a finding.
fn go_through(targets: &'static [Target], plan: Plan) -> io::Result<bool> {
    println!(
        "seed {}, {} s for each target",
        plan.seed,
        plan.time.as_secs()
    );
    let mut found = 0;
    for target in targets {
        let outcome = supervisor::supervise(target, plan)?;
        println!("{outcome}");
        found += usize::from(outcome.found_something());
    }
    if found > 0 {
        println!("findings in {found} of {} targets", targets.len());
    }
    Ok(found == 0)
}

/// Another one every time: what one run does not come across, the next may.
fn seed_from_the_clock() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    since_1970.as_nanos() as u64 % 1_000_000_000
}
