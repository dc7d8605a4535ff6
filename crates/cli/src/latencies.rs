//! Latencies as numbers that can be added and asked for quantiles, in little memory however many there are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often each latency occurred. A quantile is at most a sixteenth too large.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latencies(BTreeMap<u32, u64>);

/// Buckets between one power of two microseconds and the next.
const STEPS: u64 = 16;

impl Latencies {
    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        *self.0.entry(bucket_of(micros)).or_default() += 1;
    }

    /// Adds those of somebody else.
    pub(crate) fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            let total = self.0.entry(*bucket).or_default();
            *total = total.saturating_add(*count);
        }
    }

    /// The latency that this share of calls did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self
            .0
            .values()
            .fold(0, |sum: u64, count| sum.saturating_add(*count));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count is a count; beyond 2^53 calls the last ones do not matter"
        )]
        let wanted = ((count as f64 * share).ceil() as u64).max(1);
        let mut seen: u64 = 0;
        let found = self.0.iter().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen >= wanted
        });
        found.map(|(bucket, _)| Duration::from_micros(largest_in(*bucket)))
    }
}

/// Below 16 µs a bucket for each; above, sixteen between one power of two and the next.
fn bucket_of(micros: u64) -> u32 {
    if micros < STEPS {
        return u32::try_from(micros).expect("less than sixteen");
    }
    let doublings = micros.ilog2() - STEPS.ilog2();
    let step = (micros >> doublings) - STEPS;
    (doublings + 1) * 16 + u32::try_from(step).expect("less than sixteen")
}

fn largest_in(bucket: u32) -> u64 {
    if u64::from(bucket) < STEPS {
        return u64::from(bucket);
    }
    let (doublings, step) = ((bucket / 16 - 1).min(59), u64::from(bucket % 16));
    ((STEPS + step) << doublings) + ((1 << doublings) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_into_a_bucket_that_is_at_most_a_sixteenth_wider() {
        let samples = (0..5_000).chain((0..63).map(|power| (1 << power) + 12_345));
        for micros in samples.chain([u64::MAX]) {
            let largest = largest_in(bucket_of(micros));
            assert!(largest >= micros, "{micros} µs in a bucket up to {largest}");
            assert!(
                largest - micros <= micros / 16,
                "{micros} µs in a bucket up to {largest}"
            );
        }
    }

    #[test]
    fn quantiles_are_those_of_the_calls() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        (1..=99).for_each(|_| latencies.record(Duration::from_micros(10)));
        latencies.record(Duration::from_micros(15));
        assert_eq!(latencies.quantile(0.5), Some(Duration::from_micros(10)));
        assert_eq!(latencies.quantile(0.99), Some(Duration::from_micros(10)));
        assert_eq!(latencies.quantile(1.0), Some(Duration::from_micros(15)));
    }
}
