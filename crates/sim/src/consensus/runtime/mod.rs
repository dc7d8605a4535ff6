//! One thread, virtual time: a runtime for the engine of the log on which a seed decides everything.
//!
//! Tasks run in the order in which they were woken, timers in the order of their time and then of their making. A task belongs to a
//! *life*: one start of one node, or the world around them. A crash drops all tasks of a life where they stand; a pause lets them lie;
//! chance and the clock are each life's own, so that what one node draws moves nobody else's.
//!
//! The engine asks for its runtime by type, not by value, so the executor is the thread's. Stories told by several threads do not meet.
//!
//! - [`Virtual`]: the runtime. `reset`, `run_until`: the world's time. `spawn_in`, `kill`, `pause`, `resume`, `jump`: lives.
//! - `channels`, `time`: what the runtime is made of.
//!
//! Deliberately not here: anything about the log.

mod channels;
mod time;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use convoke_consensus::engine::runtime::{AsyncRuntime, OptionalSend};
use parking_lot::Mutex;

pub(crate) use channels::{Sender, oneshot};
pub(crate) use time::sleep;

use self::channels::{Channels, Closed, Guarded, Oneshots, Receiver, Watches};
use self::time::{Elapsed, Instant, Sleep, Timeout};
use crate::random::{Random, mix};

/// One start of one node, or the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life(pub(crate) u64);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    life: Life,
    /// Not there while it runs.
    work: Option<Work>,
    waker: Waker,
    bell: Arc<Bell>,
}

/// Wakes a task, once until it runs.
struct Bell {
    task: u64,
    has_rung: AtomicBool,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.has_rung.swap(true, Ordering::Relaxed) {
            self.ready.lock().push_back(self.task);
        }
    }
}

/// What is a life's own.
struct Own {
    chance: Random,
    /// How far its clock is ahead of the world's.
    ahead: u64,
}

#[derive(Default)]
struct Executor {
    now: Cell<u64>,
    /// Numbers tasks and timers.
    next: Cell<u64>,
    seed: Cell<u64>,
    running: Cell<Life>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    ready: RefCell<Arc<Mutex<VecDeque<u64>>>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    lives: RefCell<BTreeMap<Life, Own>>,
    paused: RefCell<BTreeSet<Life>>,
    /// Tasks of paused lives that were woken.
    held: RefCell<Vec<(Life, u64)>>,
}

impl Default for Life {
    fn default() -> Self {
        WORLD
    }
}

/// The life of what is no node.
pub(crate) const WORLD: Life = Life(0);

thread_local! {
    static EXECUTOR: Executor = Executor::default();
}

fn with<T>(act: impl FnOnce(&Executor) -> T) -> T {
    EXECUTOR.with(act)
}

/// Forgets everything and begins at time 0.
pub(crate) fn reset(seed: u64) {
    with(|executor| {
        // Taken out first: tasks and wakers come back here when they are dropped.
        let tasks = std::mem::take(&mut *executor.tasks.borrow_mut());
        drop(tasks);
        let timers = std::mem::take(&mut *executor.timers.borrow_mut());
        drop(timers);
        *executor.ready.borrow_mut() = Arc::default();
        executor.lives.borrow_mut().clear();
        executor.paused.borrow_mut().clear();
        executor.held.borrow_mut().clear();
        executor.now.set(0);
        executor.next.set(0);
        executor.seed.set(seed);
        executor.running.set(WORLD);
    });
}

/// The world's time, in nanoseconds.
pub(crate) fn now() -> u64 {
    with(|executor| executor.now.get())
}

impl Executor {
    fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    fn own<T>(&self, life: Life, act: impl FnOnce(&mut Own) -> T) -> T {
        let mut lives = self.lives.borrow_mut();
        let own = lives.entry(life).or_insert_with(|| Own {
            chance: Random::from_seed(mix(self.seed.get(), life.0)),
            ahead: 0,
        });
        act(own)
    }

    /// The clock of the life that runs.
    fn clock(&self) -> u64 {
        let ahead = self.own(self.running.get(), |own| own.ahead);
        self.now.get() + ahead
    }
}

/// Draws from the chance of the life that runs.
pub(crate) fn chance<T>(act: impl FnOnce(&mut Random) -> T) -> T {
    with(|executor| executor.own(executor.running.get(), |own| act(&mut own.chance)))
}

/// Starts a task in a life.
pub(crate) fn spawn_in(life: Life, work: impl Future<Output = ()> + Send + 'static) {
    with(|executor| {
        let number = executor.number();
        let ready = Arc::clone(&executor.ready.borrow());
        let bell = Arc::new(Bell {
            task: number,
            has_rung: AtomicBool::new(true),
            ready,
        });
        let task = Task {
            life,
            work: Some(Box::pin(work)),
            waker: Arc::clone(&bell).into(),
            bell,
        };
        executor.tasks.borrow_mut().insert(number, task);
        executor.ready.borrow().lock().push_back(number);
    });
}

/// A crash: every task of the life is dropped where it stands, oldest first.
pub(crate) fn kill(life: Life) {
    let dead: Vec<(u64, Task)> = with(|executor| {
        executor.paused.borrow_mut().remove(&life);
        executor.held.borrow_mut().retain(|(held, _)| *held != life);
        let mut tasks = executor.tasks.borrow_mut();
        tasks.extract_if(.., |_, task| task.life == life).collect()
    });
    drop(dead);
}

/// The life stands still from now on; its clock goes on.
pub(crate) fn pause(life: Life) {
    with(|executor| executor.paused.borrow_mut().insert(life));
}

/// It goes on.
pub(crate) fn resume(life: Life) {
    with(|executor| {
        executor.paused.borrow_mut().remove(&life);
        let mut held = executor.held.borrow_mut();
        let ready = executor.ready.borrow();
        let mut ready = ready.lock();
        held.retain(|(of, task)| {
            if *of == life {
                ready.push_back(*task);
            }
            *of != life
        });
    });
}

/// The life's clock goes forward at once, as after a machine was suspended.
pub(crate) fn jump(life: Life, by: Duration) {
    with(|executor| executor.own(life, |own| own.ahead += crate::nanos(by)));
}

/// Runs until a time of the world.
pub(crate) fn run_until(until: u64) {
    with(|executor| {
        loop {
            let ready = Arc::clone(&executor.ready.borrow());
            let task = ready.lock().pop_front();
            if let Some(task) = task {
                run(executor, task);
                continue;
            }
            let first = executor
                .timers
                .borrow()
                .first_key_value()
                .map(|(at, _)| *at);
            match first {
                Some((at, _)) if at <= until => {
                    executor.now.set(at.max(executor.now.get()));
                    let timer = executor.timers.borrow_mut().pop_first();
                    timer.expect("it was looked at").1.wake();
                }
                Some(_) | None => return executor.now.set(until),
            }
        }
    });
}

fn run(executor: &Executor, number: u64) {
    let (mut work, waker, life) = {
        let mut tasks = executor.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(&number) else {
            return;
        };
        if executor.paused.borrow().contains(&task.life) {
            executor.held.borrow_mut().push((task.life, number));
            return;
        }
        task.bell.has_rung.store(false, Ordering::Relaxed);
        let Some(work) = task.work.take() else {
            return;
        };
        (work, task.waker.clone(), task.life)
    };
    let before = executor.running.replace(life);
    let is_done = work
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_ready();
    if is_done {
        drop(work);
        let task = executor.tasks.borrow_mut().remove(&number);
        drop(task);
    } else if let Some(task) = executor.tasks.borrow_mut().get_mut(&number) {
        task.work = Some(work);
    }
    executor.running.set(before);
}

/// Chance for the engine.
#[derive(Debug)]
pub struct Dice;

impl rand::TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((chance(Random::next_u64) >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(chance(Random::next_u64))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let drawn = chance(Random::next_u64).to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }
}

/// The runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Virtual;

impl AsyncRuntime for Virtual {
    type JoinError = Closed;
    type JoinHandle<T: OptionalSend + 'static> = Receiver<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = Dice;
    type Mpsc = Channels;
    type Watch = Watches;
    type Oneshot = Oneshots;
    type Mutex<T: OptionalSend + 'static> = Guarded<T>;

    fn spawn<T>(future: T) -> Receiver<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (told, done) = oneshot();
        let life = with(|executor| executor.running.get());
        spawn_in(life, async move {
            // Nobody may be waiting for it.
            let _ = told.put(future.await);
        });
        done
    }

    fn sleep(duration: Duration) -> Sleep {
        sleep(crate::nanos(duration))
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        Sleep::until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Timeout<F> {
        Timeout::new(Self::sleep(duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Instant,
        future: F,
    ) -> Timeout<F> {
        Timeout::new(Sleep::until(deadline), future)
    }

    fn is_panic(_: &Closed) -> bool {
        // A panic ends the story.
        false
    }

    fn thread_rng() -> Dice {
        Dice
    }

    fn new(_threads: usize) -> Self {
        reset(0);
        Self
    }

    /// Only the engine's own tests of runtimes ask for it.
    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        let mut future = std::pin::pin!(future);
        let bell = Arc::new(Bell {
            task: 0,
            has_rung: AtomicBool::new(true),
            ready: Arc::default(),
        });
        let waker: Waker = Arc::clone(&bell).into();
        loop {
            if bell.has_rung.swap(false, Ordering::Relaxed)
                && let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return done;
            }
            let until = with(|executor| {
                let is_idle = executor.ready.borrow().lock().is_empty();
                let first = executor
                    .timers
                    .borrow()
                    .first_key_value()
                    .map(|(at, _)| at.0);
                first
                    .filter(|_| is_idle)
                    .unwrap_or_else(|| executor.now.get())
            });
            run_until(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_own_tests_of_runtimes_pass() {
        convoke_consensus::engine::runtime::testing::Suite::<Virtual>::test_all();
    }

    #[test]
    fn a_paused_life_stands_still_and_a_dead_one_is_gone() {
        reset(1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for life in 1..=3 {
            let seen = Arc::clone(&seen);
            spawn_in(Life(life), async move {
                for _ in 0..3 {
                    sleep(10).await; // tidy: time is virtual
                    seen.lock().push((life, now()));
                }
            });
        }
        run_until(15);
        pause(Life(1));
        kill(Life(2));
        run_until(100);
        resume(Life(1));
        run_until(200);
        let seen = seen.lock();
        let of = |life| -> Vec<u64> {
            let seen = seen.iter().filter(|(of, _)| *of == life);
            seen.map(|(_, at)| *at).collect()
        };
        assert_eq!(of(1), [10, 100, 110]);
        assert_eq!(of(2), [10]);
        assert_eq!(of(3), [10, 20, 30]);
    }
}
