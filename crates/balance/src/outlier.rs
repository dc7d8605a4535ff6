//! Who fails is left out for a while: ejection, by failures in a row and by comparison with its peers; growing with each time; probation when
//! it comes back.
//!
//! A state for each instance, of fixed size. How many may be ejected at a time is for the balancer, which sees all.
//!
//! | state | until | what counts |
//! | --- | --- | --- |
//! | trusted | failures in a row, or a success rate far below the median of its peers | – |
//! | ejected | its time is over: the n-th is n times as long, up to a limit | what still comes back says nothing any more |
//! | on probation | a success makes it trusted; one failure ejects it again | its share rises slowly, as of one that is new |

use std::time::Duration;

use convoke_types::Moment;

use crate::Params;

/// Why an instance was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// So many failures in a row.
    InARow(u32),
    /// Its success rate, and the median of all, in thousandths.
    BelowPeers {
        /// Its own.
        rate: u32,
        /// The median.
        median: u32,
    },
    /// It failed while it was on probation.
    OnProbation,
}

/// What is known of the failures of one instance.
#[derive(Debug, Clone, Default)]
pub struct Outlier {
    in_a_row: u32,
    /// Since the last comparison.
    good: u32,
    bad: u32,
    ejected: Option<(Moment, Cause)>,
    /// How often it was ejected; forgiven one by one.
    times: u32,
    is_on_probation: bool,
}

impl Outlier {
    /// Takes in how a call ended; a reason to eject it, if that is one.
    pub fn note(&mut self, is_good: bool, params: &Params) -> Option<Cause> {
        if self.ejected.is_some() {
            return None;
        }
        if is_good {
            self.good = self.good.saturating_add(1);
            self.in_a_row = 0;
            self.is_on_probation = false;
            return None;
        }
        self.bad = self.bad.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.is_on_probation {
            return Some(Cause::OnProbation);
        }
        (self.in_a_row >= params.failures_in_a_row).then_some(Cause::InARow(self.in_a_row))
    }

    /// Ejects it; until when.
    pub fn eject(&mut self, now: Moment, cause: Cause, params: &Params) -> Moment {
        self.times = self.times.saturating_add(1);
        let length = params.ejection.saturating_mul(self.times);
        let until = now + length.min(params.ejection_most);
        self.ejected = Some((until, cause));
        self.in_a_row = 0;
        until
    }

    /// Whether its time is over; then it is on probation.
    pub fn readmit(&mut self, now: Moment) -> bool {
        let is_over = self.ejected.is_some_and(|(until, _)| until <= now);
        if is_over {
            self.ejected = None;
            self.is_on_probation = true;
            (self.good, self.bad, self.in_a_row) = (0, 0, 0);
        }
        is_over
    }

    /// Until when it is ejected and why, if it is.
    #[must_use]
    pub fn ejected(&self) -> Option<(Moment, Cause)> {
        self.ejected
    }

    /// How often it was ejected, as far as that was not forgiven.
    #[must_use]
    pub fn times(&self) -> u32 {
        self.times
    }

    /// Its success rate since the last comparison in thousandths, if enough calls say something.
    #[must_use]
    pub fn rate(&self, params: &Params) -> Option<u32> {
        let all = self.good.saturating_add(self.bad);
        (self.ejected.is_none() && all >= params.compare_calls.max(1))
            .then(|| (u64::from(self.good) * 1_000 / u64::from(all)) as u32)
    }

    /// Begins to count anew. An interval in which it was trusted forgives one ejection.
    pub fn begin_anew(&mut self) {
        if self.ejected.is_none() && !self.is_on_probation {
            self.times = self.times.saturating_sub(1);
        }
        (self.good, self.bad) = (0, 0);
    }
}

/// What the success rate of an instance that is rated `rate` gives reason to, when those of all are `rates`, sorted.
#[must_use]
pub fn compare(rate: u32, rates: &[u32], params: &Params) -> Option<Cause> {
    // Of two nobody can say which is the odd one.
    if rates.len() < 3 {
        return None;
    }
    let median = rates[rates.len() / 2];
    (rate + params.compare_gap_permille <= median).then_some(Cause::BelowPeers { rate, median })
}

/// The part of its share that an instance gets which has been back for so long.
#[must_use]
pub fn slow_start(age: Duration, params: &Params) -> f64 {
    if age >= params.slow_start {
        return 1.0;
    }
    let part = age.as_nanos() as f64 / params.slow_start.as_nanos().max(1) as f64;
    part.max(0.1)
}
