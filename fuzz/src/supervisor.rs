//! Watches a worker: what it dies of is a finding, and so is an input it does not finish.
//!
//! A run that takes more than a second is stopped, and its input is tried once more alone: on a busy machine a process may just
//! not have had its turn.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use convoke_fuzz::{Inputs, Target};

use crate::finding::{self, Cause, Finding};
use crate::worker::{self, Journal};

/// An input that takes longer is a finding.
const LONGEST_RUN: Duration = Duration::from_secs(1);
/// How often the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What a process may take to start, on top of its one run.
const START: Duration = Duration::from_secs(2);

/// How each target runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) runs: u64,
    pub(crate) time: Duration,
}

/// What came of running a target.
#[derive(Debug)]
pub(crate) struct Outcome {
    target: &'static str,
    runs: u64,
    took: Duration,
    finding: Option<Finding>,
}

impl Outcome {
    pub(crate) fn found_something(&self) -> bool {
        self.finding.is_some()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            runs,
            took,
            finding,
        } = self;
        let rate = *runs as f64 / took.as_secs_f64().max(0.001);
        write!(
            f,
            "{target:<12} {runs:>10} inputs in {:>5.1} s, {rate:>9.0} each second",
            took.as_secs_f64()
        )?;
        finding
            .iter()
            .try_for_each(|finding| write!(f, "\n{finding}"))
    }
}

/// How a worker ended.
enum End {
    Exited(ExitStatus),
    /// It was stopped during a run.
    Stuck,
}

/// Runs a target until its time is over or something is found.
pub(crate) fn supervise(target: &'static Target, plan: Plan) -> io::Result<Outcome> {
    let path = finding::folder()?.join(format!("{}.{}.running", target.name, std::process::id()));
    let outcome = run(target, plan, &path);
    fs::remove_file(&path)?;
    outcome
}

fn run(target: &'static Target, plan: Plan, path: &Path) -> io::Result<Outcome> {
    let (begin, journal) = (Instant::now(), Journal::create(path)?);
    let inputs = Inputs::of(target)?;
    let mut first = 0;
    loop {
        let time_left = plan.time.saturating_sub(begin.elapsed());
        let end = watch(
            start_worker(target, plan, first, time_left, path)?,
            &journal,
        )?;
        let run = journal.run()?.unwrap_or(first);
        let outcome = |finding| Outcome {
            target: target.name,
            runs: run,
            took: begin.elapsed(),
            finding,
        };
        let input = || inputs.make(plan.seed, run);
        let cause = match end {
            End::Exited(status) if status.success() => return Ok(outcome(None)),
            End::Exited(status) if status.code() == Some(worker::COULD_NOT_WORK.into()) => {
                return Err(io::Error::other(format!(
                    "the worker for {} could not work",
                    target.name
                )));
            }
            End::Exited(status) => Cause::Died(status),
            End::Stuck => Cause::TooSlow(LONGEST_RUN),
        };
        let finding = Finding::keep(target.name, plan.seed, run, input(), cause)?;
        if matches!(end, End::Exited(_)) || is_slow_alone(target, finding.file())? {
            return Ok(outcome(Some(finding)));
        }
        finding.forget()?;
        first = run + 1;
    }
}

fn start_worker(
    target: &Target,
    plan: Plan,
    first: u64,
    time: Duration,
    journal: &Path,
) -> io::Result<Child> {
    let seconds = time.as_secs_f64().ceil();
    let number = |name: &str, value: u64| [format!("--{name}"), value.to_string()];
    Command::new(std::env::current_exe()?)
        .arg(target.name)
        .args(number("seed", plan.seed))
        .args(number("runs", plan.runs))
        .args(number("first", first))
        .args(number("seconds", seconds as u64))
        .arg("--journal")
        .arg(journal)
        .stdout(Stdio::piped())
        .spawn()
}

/// Waits for the worker, or stops it when it is at one run for too long.
fn watch(mut worker: Child, journal: &Journal) -> io::Result<End> {
    let ended = end_of_output(&mut worker);
    let (mut last, mut since) = (None, Instant::now());
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_EVERY) {
        let run = journal.run()?;
        if run != last {
            (last, since) = (run, Instant::now());
        }
        if run.is_some() && since.elapsed() > LONGEST_RUN {
            worker.kill()?;
            worker.wait()?;
            return Ok(End::Stuck);
        }
    }
    worker.wait().map(End::Exited)
}

/// Whether the input takes too long, or ends the process, when nothing else is tried.
fn is_slow_alone(target: &Target, file: &Path) -> io::Result<bool> {
    let mut replay = Command::new(std::env::current_exe()?)
        .args([target.name, "--file"])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()?;
    let ended = end_of_output(&mut replay);
    if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(START + LONGEST_RUN) {
        replay.kill()?;
        replay.wait()?;
        return Ok(true);
    }
    Ok(!replay.wait()?.success())
}

/// A channel that closes when the process closes its output, which it does by ending.
fn end_of_output(process: &mut Child) -> Receiver<()> {
    let (open, closed) = sync_channel(0);
    let mut output = process.stdout.take().expect("it was started with a pipe");
    thread::spawn(move || {
        let _ = output.read_to_end(&mut Vec::new());
        drop(open);
    });
    closed
}
