//! What a serving and a driving process have in common: their CPUs, their runtime, and that they do not outlive the
//! bench.

use std::{future::Future, time::Duration};

use anyhow::Context as _;
use bench_measure::{allow_descriptors, end_with_standard_input};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

use crate::{args::EndArguments, spin};

/// Keeps this process to its CPUs, gives it enough descriptors and makes it end with the bench. Before any other thread
/// exists.
pub(crate) fn settle(end: &EndArguments) -> anyhow::Result<()> {
    pin(&end.cpus)?;
    allow_descriptors()?;
    end_with_standard_input();
    Ok(())
}

/// The runtime of one shard, to be used on the thread that calls this. One thread is the runtime without work stealing, more
/// are that many workers. Where there are several shards, each keeps to one CPU, in turn.
pub(crate) fn runtime(end: &EndArguments, shard: usize) -> anyhow::Result<Runtime> {
    if let (2.., [_, ..]) = (end.shards, end.cpus.as_slice()) {
        pin(&[end.cpus[shard % end.cpus.len()]])?;
    }
    let mut builder = match end.threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(end.threads).enable_all();
    spin::build(builder, end.threads, Duration::from_micros(end.spin_us))
        .context("start the runtime")
}

/// Runs a task of a server for as long as its process lives. The process is ended from outside in the middle of
/// whatever it does, so nobody could wait for it.
#[expect(
    clippy::disallowed_methods,
    reason = "the tasks of a server end with its process; peers are run as their documentation runs them"
)]
pub(crate) fn spawn<F>(task: F)
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task);
}

/// The CPUs that this process may use.
pub(crate) fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("ask for the allowed CPUs")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect())
}

fn pin(cpus: &[usize]) -> anyhow::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    sched_setaffinity(None, &set).with_context(|| format!("keep to the CPUs {cpus:?}"))
}
