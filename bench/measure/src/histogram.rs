//! A histogram of latencies.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Latencies in buckets whose width is at most 1/32 of their value, from 256 ns to about 70 s.
///
/// Shared by callers, so that its memory stays in the cache however many callers there are.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<AtomicU64>,
}

/// Buckets per doubling of the value.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.ilog2();
/// Everything faster is counted as this fast.
const LOWEST_BIT: u32 = 8;
/// Everything of 2^37 ns and more is counted in the last bucket.
const HIGHEST_BIT: u32 = 36;

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let buckets = u64::from(HIGHEST_BIT - LOWEST_BIT + 1) * STEPS;
        Self {
            buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one latency.
    pub fn record(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted until now.
    pub fn counts(&self) -> Counts {
        let read = |bucket: &AtomicU64| bucket.load(Ordering::Relaxed);
        Counts(self.buckets.iter().map(read).collect())
    }
}

/// The counts of one or several histograms at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counts(Vec<u64>);

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }

    /// How many latencies were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The latency that `share` of all were not above, in microseconds; `None` if there were none.
    pub fn quantile_us(&self, share: f64) -> Option<f64> {
        let wanted = ((self.total() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(middle_ns(bucket) / 1_000.0);
            }
        }
        None
    }
}

fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.clamp(1 << LOWEST_BIT, (1 << (HIGHEST_BIT + 1)) - 1);
    let octave = nanos.ilog2();
    let step = (nanos >> (octave - STEP_BITS)) - STEPS;
    let bucket = u64::from(octave - LOWEST_BIT) * STEPS + step;
    usize::try_from(bucket).expect("there are fewer than a thousand buckets")
}

fn middle_ns(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    let octave = u32::try_from(bucket / STEPS).expect("few octaves") + LOWEST_BIT;
    let width = 1u64 << (octave - STEP_BITS);
    let lower = (bucket % STEPS + STEPS) * width;
    lower as f64 + width as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_a_thirty_second_of_the_truth() {
        for nanos in [300_u64, 1_000, 54_321, 7_654_321, 40_000_000_000] {
            let histogram = Histogram::new();
            histogram.record(Duration::from_nanos(nanos));

            let found = histogram.counts().quantile_us(0.5).unwrap() * 1_000.0;

            let error = (found - nanos as f64).abs() / nanos as f64;
            assert!(error <= 1.0 / 32.0, "{nanos} ns came out as {found} ns");
        }
    }

    #[test]
    fn quantiles_rank_what_was_counted() {
        let histogram = Histogram::new();
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        let counts = histogram.counts();

        assert_eq!(counts.total(), 100);
        assert!((48.0..=52.0).contains(&counts.quantile_us(0.5).unwrap()));
        assert!((96.0..=102.0).contains(&counts.quantile_us(0.99).unwrap()));
        assert_eq!(Counts::default().quantile_us(0.5), None);
    }

    #[test]
    fn latencies_out_of_range_count_in_the_outermost_buckets() {
        let histogram = Histogram::new();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(3_600));
        assert_eq!(histogram.counts().total(), 2);
    }

    #[test]
    fn counts_of_several_histograms_add_up() {
        let (one, other) = (Histogram::new(), Histogram::new());
        one.record(Duration::from_micros(5));
        other.record(Duration::from_micros(5));
        other.record(Duration::from_micros(500));

        let mut counts = Counts::default();
        counts.add(&one.counts());
        counts.add(&other.counts());

        assert_eq!(counts.total(), 3);
    }
}
