//! `cargo xtask ordeal`: real processes that keep the log, what is done to them, and whether they kept their promises.
//!
//! The program starts itself as nodes ([`node`]) and is their clients, their nemesis and their judge. [`plan`] draws what will go wrong,
//! [`nemesis`] brings it about through [`fleet`] (processes), [`disk`] and [`ground`] (networks); [`clients`] work meanwhile, and what they
//! see is judged by [`history`]; so do [`locks`], judged by [`ledger`], and [`votes`]. [`run`] is the order of it all. `docs/design/010-ordeal.md` says what is tried, and what is not.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | every promise was kept |
//! | 1 | one was broken; what is known of it is kept in a directory |
//! | 2 | the command line makes no sense, or asks for what this machine does not have |
//! | 4 | not everything could be judged: interrupted, or a history too hard to search |
//! | 5 | the harness itself failed |

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to a terminal"
)]

mod args;
mod clients;
mod disk;
mod fleet;
mod ground;
mod history;
mod ledger;
mod locks;
mod nemesis;
mod node;
mod plan;
mod report;
mod run;
mod votes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Parser as _;

use crate::args::{Arguments, Role, RunArguments};
use crate::ground::{Needs, fits, is_left_over, move_apart, named_for_run};
use crate::report::{Report, Verdict};
use crate::run::Outcome;

const BROKEN: u8 = 1;
const WRONG_USE: u8 = 2;
const OPEN: u8 = 4;
const FAILED: u8 = 5;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Node(node)) => node::serve(node).map(|()| ExitCode::SUCCESS),
        None => try_out(arguments.run),
    };
    done.unwrap_or_else(|error| {
        eprintln!("ordeal: {error:#}");
        ExitCode::from(FAILED)
    })
}

fn try_out(mut run: RunArguments) -> anyhow::Result<ExitCode> {
    if let Err(why) = fits(run.planted, &run.faults) {
        eprintln!("ordeal: {why}");
        return Ok(ExitCode::from(WRONG_USE));
    }
    let needs = Needs::of(&run);
    if !run.apart {
        if let Err(missing) = needs.check(&run) {
            eprintln!("ordeal: {missing}");
            return Ok(ExitCode::from(WRONG_USE));
        }
        if needs.is_apart() {
            return Err(move_apart(std::env::args_os().skip(1)));
        }
    }
    let seed = *run.seed.get_or_insert_with(any_seed);
    let base = base(&run)?;
    let directory = base.join(named_for_run(""));
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let removed = RemovedAtTheEnd(directory.clone());
    let mut report = Report::new(run.json);
    report.begins(&run, seed, needs.is_apart());
    let outcome = run::run(&run, seed, &directory, &mut report)?;
    let verdict = Verdict::of(&outcome);
    let replay = run.replay(seed);
    let kept = (verdict == Verdict::Broken || run.keep)
        .then(|| keep(&base, &directory, seed, &outcome, &replay))
        .transpose()?;
    drop(removed);
    report.ends(&outcome, kept.as_deref(), &replay);
    Ok(match verdict {
        Verdict::Kept => ExitCode::SUCCESS,
        Verdict::Broken => ExitCode::from(BROKEN),
        Verdict::Open => ExitCode::from(OPEN),
    })
}

/// A seed for whoever has none.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::from(now.unwrap_or_default().subsec_nanos())
}

/// Where directories of runs go: on a real disk, beside this program, if nothing else is said. What runs left that could not remove it
/// goes.
fn base(run: &RunArguments) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?;
    let beside = program
        .parent()
        .context("find where this program is")?
        .join("ordeal");
    let base = run.data.clone().unwrap_or(beside);
    fs::create_dir_all(&base).with_context(|| format!("make {}", base.display()))?;
    for found in fs::read_dir(&base)?.flatten() {
        if found.file_name().to_str().is_some_and(is_left_over) {
            let _ = fs::remove_dir_all(found.path());
        }
    }
    Ok(base)
}

#[derive(Debug)]
struct RemovedAtTheEnd(PathBuf);

impl Drop for RemovedAtTheEnd {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Keeps what is known of a broken promise.
fn keep(
    base: &Path,
    directory: &Path,
    seed: u64,
    outcome: &Outcome,
    replay: &str,
) -> anyhow::Result<PathBuf> {
    let kept = base.join(format!("kept-{seed}-{}", std::process::id()));
    fs::create_dir_all(&kept)?;
    let mut story = format!("{replay}\n\n");
    for what in &outcome.summary.broken {
        story.push_str(&format!("{what}\n"));
    }
    story.push_str(&format!("\n{}", outcome.schedule));
    fs::write(kept.join("schedule.txt"), story)?;
    fs::write(kept.join("history.txt"), &outcome.history)?;
    fs::write(kept.join("locks.txt"), &outcome.locks)?;
    for found in fs::read_dir(directory)?.flatten() {
        let path = found.path();
        if path.extension().is_some_and(|it| it == "log") {
            fs::copy(&path, kept.join(found.file_name()))?;
        }
    }
    Ok(kept)
}
