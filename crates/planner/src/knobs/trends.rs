//! What a row of samples says: where a signal stands, and where it goes.
//!
//! Two answers to each, since each alone is fooled: the average is slow and the last few are noisy. [`Level::is_above`] and
//! [`Level::is_below`] want both, so that neither a spike nor the tail of something that is over moves anything.
//!
//! All is whole numbers, in thousandths of the signal's unit: the same samples say the same on every machine, and there is no value that is
//! none. The trend is the slope of Theil (1950) and Sen (1968), the median of the slopes of all pairs: a third of the samples can be
//! nonsense and it still stands.
//!
//! Deliberately not here: what follows from a level ([`law`](super::law), [`judge`](super::judge)).

use std::time::Duration;

use convoke_types::Timestamp;
use serde::{Deserialize, Serialize};

/// So many samples of a signal are kept at most; the oldest goes first.
pub const KEPT: usize = 64;
/// A sample that comes sooner after the one before is not kept, so that whoever asks often does not push the past out.
pub const KEEP_EVERY: Duration = Duration::from_secs(1);
/// What is older says nothing about now. More than the longest settle time.
pub const WINDOW: Duration = Duration::from_secs(120);
/// With fewer samples a signal has no level.
pub const LEAST: usize = 5;
/// The trend is that of so many samples: few enough to see a step that came six seconds ago.
pub const TREND: usize = 8;
/// The last few, of which the median is taken. One of them can be nonsense.
const LAST: usize = 3;
/// Larger values count as this. With it, no slope of two samples leaves 64 bits.
pub const VALUE_MOST: u64 = 1_000_000_000_000;
/// Levels are thousandths.
pub const MILLI: u64 = 1_000;

/// What was measured, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// How much.
    pub value: u64,
}

/// The last samples of a signal, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    kept: Vec<Sample>,
}

impl Samples {
    /// Takes in what is known now, and forgets what is too old. What is unknown leaves no sample.
    pub fn keep(&mut self, now: Timestamp, value: Option<u64>) {
        self.kept.retain(|sample| now.since(sample.at) <= WINDOW);
        let Some(value) = value else { return };
        let is_soon = |last: &Sample| now.since(last.at) < KEEP_EVERY;
        if self.kept.last().is_some_and(is_soon) {
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        let value = value.min(VALUE_MOST);
        self.kept.push(Sample { at: now, value });
    }

    /// Those that came later than this, or all.
    #[must_use]
    pub fn after(&self, at: Option<Timestamp>) -> &[Sample] {
        let is_before = |sample: &Sample| at.is_some_and(|at| sample.at <= at);
        &self.kept[self.kept.partition_point(is_before)..]
    }
}

/// Where a signal stands and goes, in thousandths of its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The average, in which old samples weigh little.
    pub average: u64,
    /// The median of the last three.
    pub recent: u64,
    /// How much more there is with each second; less when negative.
    pub per_second: i64,
}

impl Level {
    /// What these samples say; nothing when they are too few.
    #[must_use]
    pub fn of(samples: &[Sample], memory: Duration) -> Option<Self> {
        if samples.len() < LEAST {
            return None;
        }
        let trend = &samples[samples.len().saturating_sub(TREND)..];
        Some(Self {
            average: average(samples, memory)?,
            recent: median(&samples[samples.len() - LAST..])?,
            per_second: slope(trend)?,
        })
    }

    /// It is more than this, by either answer.
    #[must_use]
    pub fn is_above(&self, milli: u64) -> bool {
        self.average.min(self.recent) > milli
    }

    /// It is less than this, by either answer.
    #[must_use]
    pub fn is_below(&self, milli: u64) -> bool {
        self.worst() < milli
    }

    /// The higher of the two answers.
    #[must_use]
    pub fn worst(&self) -> u64 {
        self.average.max(self.recent)
    }

    /// Where it will stand after this time if it goes on rising as it does; where it stands if it falls. Nobody is to rely on a fall.
    #[must_use]
    pub fn expected(&self, after: Duration) -> u64 {
        let rise = u128::from(self.per_second.max(0).unsigned_abs()) * after.as_millis() / 1_000;
        let rise = u64::try_from(rise).unwrap_or(u64::MAX);
        self.worst().saturating_add(rise)
    }
}

/// The average in which a sample's weight falls with its age, in thousandths. Each sample moves it by the part `gap / (memory + gap)` of what
/// is between them, so that it does not matter how evenly they come, and a long gap forgets. It is never outside of its samples.
#[must_use]
pub fn average(samples: &[Sample], memory: Duration) -> Option<u64> {
    let (first, rest) = samples.split_first()?;
    let memory = memory.as_millis().max(1);
    let mut before = first.at;
    let mut average = milli(first.value);
    for sample in rest {
        let gap = sample.at.since(before).as_millis();
        let value = u128::from(milli(sample.value));
        let sum = u128::from(average) * memory + value * gap;
        average = u64::try_from(sum / (memory + gap)).expect("between two values that fit");
        before = sample.at;
    }
    Some(average)
}

/// The median of the slopes of all pairs, in thousandths per second; nothing when no two samples have different times.
#[must_use]
pub fn slope(samples: &[Sample]) -> Option<i64> {
    let mut slopes = Vec::with_capacity(samples.len() * samples.len() / 2);
    for (at, later) in samples.iter().enumerate() {
        for earlier in &samples[..at] {
            let ms = i128::try_from(later.at.since(earlier.at).as_millis()).ok()?;
            if ms > 0 {
                let rise = i128::from(milli(later.value)) - i128::from(milli(earlier.value));
                slopes.push(rise * 1_000 / ms);
            }
        }
    }
    slopes.sort_unstable();
    let (low, high) = middle(slopes.len())?;
    i64::try_from((slopes[low] + slopes[high]) / 2).ok()
}

/// The median of the values, in thousandths.
#[must_use]
pub fn median(samples: &[Sample]) -> Option<u64> {
    let mut values: Vec<u64> = samples.iter().map(|sample| milli(sample.value)).collect();
    values.sort_unstable();
    let (low, high) = middle(values.len())?;
    Some(values[low].midpoint(values[high]))
}

/// Where the middle of so many is; twice the same when they are odd.
fn middle(len: usize) -> Option<(usize, usize)> {
    (len > 0).then(|| ((len - 1) / 2, len / 2))
}

fn milli(value: u64) -> u64 {
    value.min(VALUE_MOST) * MILLI
}
