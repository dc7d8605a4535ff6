//! Watches a worker: what it dies of is a finding, and so is an input it does not finish.
//!
//! A run that takes more than a second is stopped, and its input is tried once more alone: on a busy machine a process may
//! just not have had its turn.
//!
//! Nothing of ours runs in this process, not even the encoders that make samples: it has to live to tell.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use convoke_fuzz::Target;

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
        let seconds = took.as_secs_f64();
        let rate = *runs as f64 / seconds.max(0.001);
        write!(
            f,
            "{target:<12} {runs:>10} inputs in {seconds:>5.1} s, {rate:>9.0} each second"
        )?;
        finding
            .iter()
            .try_for_each(|finding| write!(f, "\n{finding}"))
    }
}

/// How a worker ended.
enum End {
    Exited(ExitStatus),
    /// It was stopped, as its run took too long.
    Stuck,
}

/// Runs a target until its time is over or something is found.
pub(crate) fn supervise(target: &'static Target, plan: Plan) -> io::Result<Outcome> {
    let name = format!("{}.{}.running", target.name, std::process::id());
    let path = finding::folder()?.join(name);
    let outcome = run(target, plan, &path);
    fs::remove_file(&path)?;
    outcome
}

fn run(target: &'static Target, plan: Plan, path: &Path) -> io::Result<Outcome> {
    let (begin, journal) = (Instant::now(), Journal::create(path)?);
    let mut first = 0;
    loop {
        let time_left = plan.time.saturating_sub(begin.elapsed());
        let worker = start_worker(target, plan, first, time_left, path)?;
        let end = watch(worker, &journal)?;
        let run = journal.run()?.unwrap_or(first);
        let find = |cause| find(target, plan.seed, run, cause);
        let finding = match end {
            End::Exited(status) if status.success() => None,
            End::Exited(status) if status.code() == Some(worker::COULD_NOT_WORK.into()) => {
                let what = format!("the worker for {} could not work", target.name);
                return Err(io::Error::other(what));
            }
            End::Exited(status) => Some(find(Cause::Died(status))?),
            End::Stuck => {
                let finding = find(Cause::TooSlow(LONGEST_RUN))?;
                if passes_alone(&finding)? {
                    first = run + 1;
                    continue;
                }
                Some(finding)
            }
        };
        return Ok(Outcome {
            target: target.name,
            runs: run,
            took: begin.elapsed(),
            finding,
        });
    }
}

fn start_worker(
    target: &Target,
    plan: Plan,
    first: u64,
    time: Duration,
    journal: &Path,
) -> io::Result<Child> {
    self_with(
        target.name,
        &[("seed", plan.seed), ("runs", plan.runs), ("first", first)],
    )?
    .args(["--seconds", &time.as_secs_f64().ceil().to_string()])
    .arg("--journal")
    .arg(journal)
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

/// Keeps the input of the run.
fn find(target: &'static Target, seed: u64, run: u64, cause: Cause) -> io::Result<Finding> {
    let file = finding::folder()?.join(format!("{}-{seed}-{run}", target.name));
    let maker = self_with(target.name, &[("seed", seed), ("first", run)])?
        .arg("--keep")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Finding {
        target: target.name,
        seed,
        run,
        cause,
        file: succeeds_soon(maker)?.then_some(file),
    })
}

/// Whether the input does no harm when nothing else is tried; then it was no finding, and its file goes.
fn passes_alone(finding: &Finding) -> io::Result<bool> {
    let Some(file) = &finding.file else {
        return Ok(false);
    };
    let replay = self_with(finding.target, &[])?
        .arg("--file")
        .arg(file)
        .spawn()?;
    let passes = succeeds_soon(replay)?;
    if passes {
        fs::remove_file(file)?;
    }
    Ok(passes)
}

fn succeeds_soon(mut process: Child) -> io::Result<bool> {
    let ended = end_of_output(&mut process);
    if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(START + LONGEST_RUN) {
        process.kill()?;
    }
    process.wait().map(|status| status.success())
}

/// This program again, for one target, with its output in a pipe.
fn self_with(target: &str, options: &[(&str, u64)]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(target).stdout(Stdio::piped());
    for (name, value) in options {
        command.arg(format!("--{name}={value}"));
    }
    Ok(command)
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
