//! The process in which a target meets its inputs.
//!
//! It does nothing about what it finds: it dies of it, and its supervisor reads in the [`Journal`] of what.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use convoke_fuzz::{Inputs, LONGEST_INPUT, Target};

/// The exit code that says: not the target's fault.
pub(crate) const COULD_NOT_WORK: u8 = 2;

/// As much as a task of a node has: tokio gives its threads two MiB.
const STACK_BYTES: usize = 2 << 20;

/// The number of the run a worker is at, in a file, so that it outlives the worker.
#[derive(Debug)]
pub(crate) struct Journal(File);

impl Journal {
    const NO_RUN_YET: u64 = u64::MAX;

    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)?;
        let journal = Self(file);
        journal.write(Self::NO_RUN_YET)?;
        Ok(journal)
    }

    fn open(path: &Path) -> io::Result<Self> {
        File::options().write(true).open(path).map(Self)
    }

    fn write(&self, run: u64) -> io::Result<()> {
        self.0.write_all_at(&run.to_le_bytes(), 0)
    }

    /// The run under way; nothing before the first.
    pub(crate) fn run(&self) -> io::Result<Option<u64>> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 0)?;
        let run = u64::from_le_bytes(bytes);
        Ok((run != Self::NO_RUN_YET).then_some(run))
    }
}

/// Tries the inputs of these runs until the time is over. At the end the journal says which run would have been next.
pub(crate) fn work(
    target: &'static Target,
    seed: u64,
    runs: Range<u64>,
    time: Duration,
    journal: &Path,
) -> io::Result<bool> {
    let end = Instant::now() + time;
    let journal = Journal::open(journal)?;
    let inputs = Inputs::of(target)?;
    on_a_small_stack(target, move || {
        for run in runs.clone() {
            journal.write(run)?;
            if Instant::now() >= end {
                return Ok(());
            }
            target.try_input(&inputs.make(seed, run));
        }
        journal.write(runs.end.max(runs.start))
    })
}

/// Writes the input of a run to a file. A process of its own for it, since making a sample runs our encoders.
pub(crate) fn keep(target: &'static Target, seed: u64, run: u64, file: &Path) -> io::Result<bool> {
    fs::write(file, Inputs::of(target)?.make(seed, run))?;
    Ok(true)
}

/// Tries the input in a file, in this process, where a debugger finds it.
pub(crate) fn replay(target: &'static Target, file: &Path) -> io::Result<bool> {
    let size = fs::metadata(file)
        .map_err(|error| about(file, &error))?
        .len();
    if size > LONGEST_INPUT as u64 {
        return Err(io::Error::other(format!(
            "{} is longer than inputs are ({LONGEST_INPUT} bytes)",
            file.display()
        )));
    }
    let input = fs::read(file).map_err(|error| about(file, &error))?;
    let passed = on_a_small_stack(target, move || {
        target.try_input(&input);
        Ok(())
    })?;
    println!(
        "{}: {} {}",
        target.name,
        file.display(),
        if passed { "passes" } else { "is a finding" }
    );
    Ok(passed)
}

/// Whether it ended without a panic.
fn on_a_small_stack(
    target: &Target,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<bool> {
    let thread = thread::Builder::new()
        .name(target.name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)?;
    match thread.join() {
        Ok(worked) => worked.map(|()| true),
        Err(_) => Ok(false),
    }
}

fn about(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("read {}: {error}", file.display()))
}
