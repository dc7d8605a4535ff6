//! How long calls take, as a value that rises at once and falls slowly (peak EWMA), and is forgotten when there are no more.
//!
//! Only the four operations are used, no exponential, so that the same samples give the same bits on every machine: what is `e^(-t/m)`
//! elsewhere is `m / (m + t)` here, which falls as fast at first and slower later.

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

pub(crate) fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
