//! Histograms for the engine of the log, which counts what it does with a package of this name.
//!
//! That package makes tables for sixteen precisions when the first histogram is made and keeps them: 26 MB in every process, of which the
//! engine uses half a kilobyte. A node that should cost 40 MB cannot afford it, so `[patch]` in the workspace puts this in its place: the
//! words that the engine uses, at the one precision that it uses. When the package makes its tables as they are needed, this goes.
//!
//! Values fall into buckets that double every four: a quantile is at most a quarter too small.
//!
//! Deliberately not here: everything the engine does not ask for.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

/// Buckets between one power of two and the next.
const STEPS: u64 = 4;
/// Buckets for all values: those below `STEPS` one by one, and `STEPS` for each further bit.
const BUCKETS: usize = 252;

/// How often values occurred, about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    total: u64,
    kind: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing occurred yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: Vec::new(),
            total: 0,
            kind: PhantomData,
        }
    }

    /// A value occurred.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// A value occurred so often.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        let bucket = &mut self.counts[bucket_of(value)];
        *bucket = bucket.saturating_add(count);
        self.total = self.total.saturating_add(count);
    }

    /// How many values occurred.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value that this share of all did not exceed, about; 0 of nothing.
    #[must_use]
    pub fn percentile(&self, share: f64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count is a count"
        )]
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= wanted {
                return least_of(bucket);
            }
        }
        0
    }

    /// The quantiles that people look at.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return usize::try_from(value).unwrap_or(0);
    }
    let bits = u64::from(value.ilog2());
    let step = (value >> (bits - 2)) & (STEPS - 1);
    usize::try_from((bits - 1) * STEPS + step).unwrap_or(BUCKETS - 1)
}

fn least_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let bits = bucket / STEPS + 1;
    (STEPS | (bucket % STEPS)) << (bits - 2)
}

/// Quantiles of a histogram, and how many values it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the quantile that its name says")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            samples,
            p50,
            p90,
            p99,
            p99_9,
            ..
        } = self;
        write!(
            f,
            "[{samples}: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}]"
        )
    }
}

/// Histograms under their names, a line each.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart(Vec<(String, PercentileStats)>);

impl AsciiChart {
    /// Nothing to show yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows this, too.
    #[must_use]
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> Self {
        self.0.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_with_the_least_value_in_it() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(least_of(bucket)), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        for value in 0..100_000_u64 {
            let least = least_of(bucket_of(value));
            assert!(least <= value && value - least <= value / 4, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_occurred() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        (1..=100).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p1), (100, 1));
        assert_eq!((stats.p50, stats.p99), (48, 96));
    }
}
