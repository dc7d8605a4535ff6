//! What a process holds: descriptors, tasks, memory. Numbers of the whole process, for tests that are alone in theirs.

use std::time::Duration;

use super::until;

/// What an allocator may keep for itself.
pub(crate) const SLACK: usize = 16 << 20;

/// Open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    let listed = std::fs::read_dir("/proc/self/fd").expect("Linux lists our descriptors");
    // The listing is one of them.
    listed.count() - 1
}

/// Pages of this process that are in memory, in bytes.
pub(crate) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says how large we are");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("the second number");
    pages * 4_096
}

/// Tasks of this runtime that have not ended.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// What is held when nothing goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    descriptors: usize,
    tasks: usize,
    resident: usize,
}

impl Rest {
    pub(crate) fn now() -> Self {
        Self {
            descriptors: descriptors(),
            tasks: tasks(),
            resident: resident_bytes(),
        }
    }

    /// What is held when it has not changed for a while.
    pub(crate) async fn settled() -> Self {
        let (mut last, mut same) = (Self::now(), 0);
        while same < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await; // tidy: between two looks at a state, which settles or never does
            let now = Self::now();
            let is_same = (now.descriptors, now.tasks) == (last.descriptors, last.tasks);
            same = if is_same { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Waits until no more is held than then.
    pub(crate) async fn is_restored(&self) {
        until("the descriptors are given back", || {
            descriptors() <= self.descriptors
        })
        .await;
        until("the tasks are over", || tasks() <= self.tasks).await;
        let grown = resident_bytes().saturating_sub(self.resident);
        assert!(grown <= SLACK, "{grown} bytes more are held");
    }
}
