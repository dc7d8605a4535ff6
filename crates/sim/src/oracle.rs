//! What must hold: promises, and a judge who asks after them while a world runs.
//!
//! - [`Oracle`]: a promise with whatever it has to remember to see that it is broken.
//! - [`Judge`]: runs a world and asks every oracle. Simple promises are given to it as closures.
//! - [`Broken`]: which promise broke, when, and the last lines of the story.
//!
//! An oracle looks at the world and never changes it, so a run is the same with and without it.

use std::fmt;
use std::time::Duration;

use crate::actor::Actor;
use crate::world::{Step, World};

/// A promise. What it answers when it is broken says so for people: who, what was seen, what should have been.
pub trait Oracle<A: Actor> {
    /// The promise, as a sentence or a name.
    fn name(&self) -> &str;

    /// Asked after every step; there are millions, so it looks only at whom the step was about.
    fn after_step(&mut self, world: &World<A>, step: &Step) -> Result<(), String> {
        let _ = (world, step);
        Ok(())
    }

    /// Asked at every interval of the judge; here it may look at everybody.
    fn at_interval(&mut self, world: &World<A>) -> Result<(), String> {
        let _ = world;
        Ok(())
    }

    /// Asked once when the story is over and everything should be well again.
    fn at_end(&mut self, world: &World<A>) -> Result<(), String> {
        let _ = world;
        Ok(())
    }
}

/// A promise did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// In which world.
    pub seed: u64,
    /// When it was noticed.
    pub at: Duration,
    /// Which promise.
    pub promise: String,
    /// What was seen.
    pub what: String,
    /// The last lines of the trace, as far as the world kept any.
    pub context: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        writeln!(f, "broken: {}", self.promise)?;
        writeln!(f, "  at {at:.9} s of seed {}: {}", self.seed, self.what)?;
        self.context
            .iter()
            .try_for_each(|line| writeln!(f, "  | {line}"))
    }
}

impl std::error::Error for Broken {}

/// Runs a world and asks every oracle of a story.
pub struct Judge<A> {
    interval: Duration,
    oracles: Vec<Box<dyn Oracle<A>>>,
}

impl<A: Actor + 'static> Judge<A> {
    /// A judge who looks around at every multiple of `interval` of world time. Shorter sees more and costs more;
    /// 100 ms to 1 s is usual.
    ///
    /// # Panics
    ///
    /// With an interval of nothing.
    pub fn new(interval: Duration) -> Self {
        assert!(!interval.is_zero(), "a judge needs an interval");
        Self {
            interval,
            oracles: Vec::new(),
        }
    }

    /// One more promise.
    #[must_use]
    pub fn with(mut self, oracle: impl Oracle<A> + 'static) -> Self {
        self.oracles.push(Box::new(oracle));
        self
    }

    /// One more promise, asked after every step.
    #[must_use]
    pub fn always(
        self,
        name: &'static str,
        check: impl FnMut(&World<A>, &Step) -> Result<(), String> + 'static,
    ) -> Self {
        self.with(AfterStep { name, check })
    }

    /// One more promise, asked at every interval.
    #[must_use]
    pub fn now_and_then(
        self,
        name: &'static str,
        check: impl FnMut(&World<A>) -> Result<(), String> + 'static,
    ) -> Self {
        self.with(AtInterval { name, check })
    }

    /// One more promise, asked at the end.
    #[must_use]
    pub fn finally(
        self,
        name: &'static str,
        check: impl FnMut(&World<A>) -> Result<(), String> + 'static,
    ) -> Self {
        self.with(AtEnd { name, check })
    }

    /// Runs the world until `until`; stops at the first broken promise. Does not ask what is asked at the end, so
    /// that a story may go on.
    pub fn run(&mut self, world: &mut World<A>, until: Duration) -> Result<(), Broken> {
        while world.now() < until {
            let stop = self.next_look(world.now()).min(until);
            let broken = world.watch_until(stop, |world, step| self.after_step(world, step).err());
            broken.map_or(Ok(()), Err)?;
            self.ask_all(world, |oracle, world| oracle.at_interval(world))?;
        }
        Ok(())
    }

    /// Runs the world until `until`, which is the end of the story.
    pub fn run_to_the_end(&mut self, world: &mut World<A>, until: Duration) -> Result<(), Broken> {
        self.run(world, until)?;
        self.ask_all(world, |oracle, world| oracle.at_end(world))
    }

    fn next_look(&self, now: Duration) -> Duration {
        let interval = crate::nanos(self.interval);
        let looks = crate::nanos(now) / interval + 1;
        Duration::from_nanos(looks.saturating_mul(interval))
    }

    fn after_step(&mut self, world: &World<A>, step: &Step) -> Result<(), Broken> {
        self.ask_all(world, |oracle, world| oracle.after_step(world, step))
    }

    fn ask_all(
        &mut self,
        world: &World<A>,
        mut ask: impl FnMut(&mut dyn Oracle<A>, &World<A>) -> Result<(), String>,
    ) -> Result<(), Broken> {
        self.oracles.iter_mut().try_for_each(|oracle| {
            ask(oracle.as_mut(), world).map_err(|what| broken(world, oracle.name(), what))
        })
    }
}

fn broken<A: Actor>(world: &World<A>, promise: &str, what: String) -> Broken {
    Broken {
        seed: world.seed(),
        at: world.now(),
        promise: promise.to_owned(),
        what,
        context: world.trace().lines().collect(),
    }
}

struct AfterStep<F> {
    name: &'static str,
    check: F,
}

struct AtInterval<F> {
    name: &'static str,
    check: F,
}

struct AtEnd<F> {
    name: &'static str,
    check: F,
}

impl<A, F> Oracle<A> for AfterStep<F>
where
    A: Actor,
    F: FnMut(&World<A>, &Step) -> Result<(), String>,
{
    fn name(&self) -> &str {
        self.name
    }

    fn after_step(&mut self, world: &World<A>, step: &Step) -> Result<(), String> {
        (self.check)(world, step)
    }
}

impl<A, F> Oracle<A> for AtInterval<F>
where
    A: Actor,
    F: FnMut(&World<A>) -> Result<(), String>,
{
    fn name(&self) -> &str {
        self.name
    }

    fn at_interval(&mut self, world: &World<A>) -> Result<(), String> {
        (self.check)(world)
    }
}

impl<A, F> Oracle<A> for AtEnd<F>
where
    A: Actor,
    F: FnMut(&World<A>) -> Result<(), String>,
{
    fn name(&self) -> &str {
        self.name
    }

    fn at_end(&mut self, world: &World<A>) -> Result<(), String> {
        (self.check)(world)
    }
}

impl<A> fmt::Debug for Judge<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("interval", &self.interval)
            .field("oracles", &self.oracles.len())
            .finish()
    }
}
