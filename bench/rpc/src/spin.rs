//! A runtime that looks for work for a while before it parks.
//!
//! Tokio parks at once and has no setting for that, so a task does it: it keeps yielding until nothing has happened for that long,
//! and then waits until the thread has parked and woken. A task that yields comes back after the runtime has looked at its
//! sockets, so that a thread with nothing else to do asks the kernel again and again, and one with work polls one
//! task more and reads the clock once more each time that it looks.
//!
//! What happens is counted per thread, by those who make calls and by the handlers that answer them. The counter is no
//! clock: the task has read one anyway when it sees that the counter has moved.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    task::yield_now,
};

thread_local! {
    static ACTIVITY: Cell<u64> = const { Cell::new(0) };
}

/// Says that a call began or ended on this thread. Costs an addition, also where nobody spins.
pub(crate) fn active() {
    ACTIVITY.set(ACTIVITY.get().wrapping_add(1));
}

/// Builds a runtime whose threads spin that long, or one that parks at once if that is nothing. There are as many tasks that
/// spin as threads; a pool may run two of them on one thread.
pub(crate) fn build(
    mut builder: Builder,
    threads: usize,
    spin: Duration,
) -> std::io::Result<Runtime> {
    if spin.is_zero() {
        return builder.build();
    }
    let woken = Arc::new(Notify::new());
    let wakes = Arc::clone(&woken);
    let runtime = builder
        .on_thread_unpark(move || wakes.notify_one())
        .build()?;
    for _ in 0..threads {
        // Ends with the runtime, as nobody has any other use for it.
        drop(runtime.spawn(spin_after_each_park(spin, Arc::clone(&woken))));
    }
    Ok(runtime)
}

async fn spin_after_each_park(spin: Duration, woken: Arc<Notify>) {
    loop {
        woken.notified().await;
        let mut patience = Patience::new(spin, ACTIVITY.get(), Instant::now());
        while patience.lasts(ACTIVITY.get(), Instant::now()) {
            yield_now().await;
        }
    }
}

/// Whether it is still worth while to look for work.
#[derive(Debug)]
struct Patience {
    spin: Duration,
    seen: u64,
    idle_since: Instant,
}

impl Patience {
    fn new(spin: Duration, activity: u64, now: Instant) -> Self {
        Self {
            spin,
            seen: activity,
            idle_since: now,
        }
    }

    fn lasts(&mut self, activity: u64, now: Instant) -> bool {
        if activity != self.seen {
            self.seen = activity;
            self.idle_since = now;
        }
        now.saturating_duration_since(self.idle_since) < self.spin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPIN: Duration = Duration::from_micros(50);

    #[test]
    fn patience_ends_when_nothing_has_happened_for_that_long() {
        let began = Instant::now();
        let mut patience = Patience::new(SPIN, 7, began);

        assert!(patience.lasts(7, began + Duration::from_micros(49)));
        assert!(!patience.lasts(7, began + SPIN));
    }

    #[test]
    fn whatever_happens_renews_patience() {
        let began = Instant::now();
        let mut patience = Patience::new(SPIN, 7, began);

        assert!(patience.lasts(8, began + Duration::from_micros(60)));
        assert!(patience.lasts(8, began + Duration::from_micros(109)));
        assert!(!patience.lasts(8, began + Duration::from_micros(110)));
    }

    #[test]
    fn a_runtime_that_spins_still_parks_when_nothing_happens() {
        let mut builder = Builder::new_current_thread();
        builder.enable_all();
        let runtime = build(builder, 1, Duration::from_micros(1)).unwrap();
        let metrics = runtime.metrics();
        let (parked, seen) = tokio::sync::oneshot::channel();

        // Two parks: the spinning begins after the first.
        let watcher = std::thread::spawn(move || {
            while metrics.worker_park_count(0) < 2 {
                std::thread::yield_now();
            }
            parked.send(())
        });
        let beats = async {
            let mut beat = tokio::time::interval(Duration::from_millis(1));
            loop {
                beat.tick().await;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                seen = seen => seen.expect("the watcher does not panic"),
                () = beats => {}
            }
        });

        watcher.join().unwrap().unwrap();
    }
}
