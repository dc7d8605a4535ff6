//! What a process holds: descriptors, tasks, memory. Numbers of the whole process, for tests that are alone in theirs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::until;

/// What an allocator may keep for itself between rounds of the same work.
pub(crate) const SLACK: usize = 12 << 20;
/// The same where rounds differ.
const SLACK_AFTER_FAULTS: usize = 16 << 20;

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

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics from now on. One in a task of ours ends that task alone, and a test would never hear of it.
pub(crate) fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            tell(panic);
        }));
    });
}

pub(crate) fn panics() -> usize {
    PANICS.load(Ordering::SeqCst)
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

    /// The same with the memory that was held at another time, if that was more.
    pub(crate) fn with_memory_of(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            ..self
        }
    }

    /// Waits until no more is held than then.
    pub(crate) async fn is_restored(&self) {
        until("the descriptors are given back", || {
            descriptors() <= self.descriptors
        })
        .await;
        until("the tasks are over", || tasks() <= self.tasks).await;
        let grown = resident_bytes().saturating_sub(self.resident);
        assert!(grown <= SLACK_AFTER_FAULTS, "{grown} bytes more are held");
    }
}
