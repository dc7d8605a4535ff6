//! How long calls take, as a value that rises at once and falls slowly (peak EWMA), and is forgotten when there are no more.
//!
//! Only the four operations are used, no exponential, so that the same samples give the same bits on every machine: what is `e^(-t/m)`
//! elsewhere is `m / (m + t)` here, which falls as fast at first and slower later.
//!
//! Methods differ by far more than instances do: one answers in a millisecond, one in a second. So what is learned of an instance is its
//! *pace*: how long a call took, over what calls of that method usually take anywhere. One millisecond stands for as long as usual.
//!
//! | bound | | what happens beyond |
//! | --- | --- | --- |
//! | [`METHODS`] | methods of which the usual latency is known | further ones share one entry |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::Moment;

#[derive(Debug, Clone, Default)]
pub(crate) struct Latency {
    /// Nanoseconds; `None` before the first sample.
    value: Option<f64>,
    at: Moment,
}

impl Latency {
    /// A sample that counts at once when it is worse.
    pub(crate) fn peak(&mut self, now: Moment, sample: Duration, memory: Duration) {
        let sample = nanos(sample);
        match self.value {
            Some(value) if sample < value => self.smooth(now, sample, memory),
            Some(_) | None => self.set(now, sample),
        }
    }

    /// A sample that counts little by little, whether it is better or worse.
    pub(crate) fn average(&mut self, now: Moment, sample: Duration, memory: Duration) {
        let sample = nanos(sample);
        match self.value {
            Some(_) => self.smooth(now, sample, memory),
            None => self.set(now, sample),
        }
    }

    /// The value now: what was learned, and the more the average of all the longer nothing came. Unknown is as the average.
    pub(crate) fn towards(&self, now: Moment, average: f64, memory: Duration) -> f64 {
        let Some(value) = self.value else {
            return average;
        };
        let memory = nanos(memory).max(1.0);
        let kept = memory / (memory + nanos(now.since(self.at)));
        average + (value - average) * kept
    }

    /// What was learned, in nanoseconds.
    pub(crate) fn value(&self) -> Option<f64> {
        self.value
    }

    fn smooth(&mut self, now: Moment, sample: f64, memory: Duration) {
        let value = self.value.unwrap_or(sample);
        // Samples of one instant have to count for something, too.
        let passed = nanos(now.since(self.at)).max(nanos(memory) / 1_000.0);
        let new = passed / (nanos(memory) + passed);
        self.set(now, value + (sample - value) * new);
    }

    fn set(&mut self, now: Moment, value: f64) {
        self.value = Some(value);
        self.at = now;
    }
}

/// Stands for as long as usual.
pub(crate) const USUAL: Duration = Duration::from_millis(1);
/// How many methods have an entry of their own.
const METHODS: usize = 64;
/// How many answers make a mean.
const MEAN_OF: u32 = 32;
/// How long the least mean is that of one part of the memory.
const PART: Duration = Duration::from_secs(60);

/// How long calls of each method usually take: the least mean of some answers, from anywhere, within the last one or two minutes. Not what they
/// take now: when all instances are overloaded nothing would look slow.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    methods: BTreeMap<Option<Arc<str>>, OfMethod>,
}

#[derive(Debug, Default)]
struct OfMethod {
    mean: f64,
    answers: u32,
    /// Of the part that goes on, and of the one before.
    least: [Option<f64>; 2],
    part_began: Moment,
}

impl Usual {
    /// Takes in an answer, and says its pace; the second one is that of a call that took `slack` longer, next to calls that always do.
    pub(crate) fn learn(
        &mut self,
        now: Moment,
        method: Option<&Arc<str>>,
        latency: Duration,
        slack: Duration,
    ) -> (Duration, Duration) {
        let method = method.cloned();
        let usual = if self.methods.len() < METHODS || self.methods.contains_key(&method) {
            self.methods.entry(method).or_default()
        } else {
            self.methods.entry(None).or_default()
        };
        usual.learn(now, nanos(latency));
        let usual = usual.usual();
        let calm = pace(latency.saturating_add(slack), usual + nanos(slack));
        (pace(latency, usual), calm)
    }

    /// How long calls of a method usually take, if that is known.
    pub(crate) fn of(&self, method: Option<&Arc<str>>) -> Option<Duration> {
        let usual = self.methods.get(&method.cloned())?;
        Some(Duration::from_nanos(usual.usual() as u64))
    }

    /// The pace of a call that has taken so long already; `None` if nobody knows what is usual.
    pub(crate) fn pace_of(&self, method: Option<&Arc<str>>, latency: Duration) -> Option<Duration> {
        let usual = self
            .methods
            .get(&method.cloned())
            .or_else(|| self.methods.get(&None))?;
        Some(pace(latency, usual.usual()))
    }
}

impl OfMethod {
    fn learn(&mut self, now: Moment, latency: f64) {
        self.answers = (self.answers + 1).min(MEAN_OF);
        self.mean += (latency - self.mean) / f64::from(self.answers);
        if self.answers < MEAN_OF {
            return;
        }
        if now.since(self.part_began) >= PART {
            self.part_began = now;
            self.least = [None, self.least[0]];
        }
        let least = &mut self.least[0];
        *least = Some(least.map_or(self.mean, |least| least.min(self.mean)));
    }

    fn usual(&self) -> f64 {
        match self.least {
            [Some(one), Some(other)] => one.min(other),
            [one, other] => one.or(other).unwrap_or(self.mean),
        }
    }
}

fn pace(latency: Duration, usual: f64) -> Duration {
    let times = nanos(latency) / usual.max(1.0);
    Duration::from_nanos((times * nanos(USUAL)).min(1e15) as u64)
}

pub(crate) fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
