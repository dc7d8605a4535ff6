//! A server: settles, then becomes one node of one system.
//!
//! It ends with its driver, whatever happens to that: the kernel kills it when the driver's main thread is gone. That outlives
//! `exec`, so it holds for programs that know nothing of it.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::{
    args::ServeArguments,
    site,
    system::{Layout, System, SystemName, with_system},
};

/// Serves until it is killed.
pub(crate) fn serve(arguments: &ServeArguments) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(Pid::as_raw_nonzero);
    anyhow::ensure!(
        parent.is_some_and(|parent| parent.get().cast_unsigned() == arguments.driver),
        "the driver ended before this began"
    );
    if let Some(namespace) = &arguments.namespace {
        site::enter(namespace)?;
    }
    with_system!(
        arguments.cluster.system,
        become_node(&arguments.cluster.layout(), arguments.node)
    )
}

fn become_node<S: System>(layout: &Layout, node: usize) -> anyhow::Result<()> {
    let Err(error) = S::serve(layout, node);
    Err(error)
}
