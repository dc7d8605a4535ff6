//! How many calls may be with one instance at a time: a limit that finds itself.
//!
//! Additive increase, multiplicative decrease, on latency: as long as calls take no longer than [`Params::limit_tolerance`] times the least
//! there was, the limit grows by one for each window of as many answers as the limit says, if it was made use of; when they do, or the
//! instance says that it is overloaded, it falls by a tenth.
//!
//! Why not a gradient, which scales the limit by *least / present*: it follows faster, and it follows noise as fast; with few calls for each of
//! many clients, which is what balanced clients see, one slow answer halves it. The steps here are small, and known in advance.
//!
//! A latency is what it is next to others of its method, the *pace* of `latency.rs`, wherever the balancer tells it.
//!
//! The least latency is that of the last 10 to 20 s. When it is renewed the limit falls by a quarter once, so that what is measured next has
//! less of a queue in it: else a queue that stays would after a while pass for the nature of things.
//!
//! | bound | | |
//! | --- | --- | --- |
//! | [`Params::limit_least`], [`Params::limit_most`] | the limit | it stays there |
//! | two numbers | what is remembered of the least latency | – |

use std::time::Duration;

use convoke_types::Moment;

use crate::Params;
use crate::latency::nanos;

/// How long the least latency is that of one part of the memory.
const PART: Duration = Duration::from_secs(10);

/// The limit of one instance.
#[derive(Debug, Clone)]
pub struct Limit {
    limit: f64,
    least: f64,
    most: f64,
    tolerance: f64,
    /// The least latency of the part that goes on, and of the one before, in nanoseconds.
    lowest: [Option<f64>; 2],
    part_began: Moment,
    /// Of the window: answers, their latencies together, and the most calls at once.
    answers: u32,
    sum: f64,
    peak: u32,
    /// When it last fell: it does so once for what one round of calls tells.
    fell: Option<Moment>,
}

impl Limit {
    /// Of an instance of this weight that nobody has called yet.
    #[must_use]
    pub fn new(now: Moment, params: &Params, weight: u32) -> Self {
        let least = f64::from(params.limit_least.max(1));
        let most = f64::from(params.limit_most).max(least);
        let first = f64::from(params.limit_first) * f64::from(weight.max(1));
        Self {
            limit: first.clamp(least, most),
            least,
            most,
            tolerance: params.limit_tolerance.max(1.0),
            lowest: [None; 2],
            part_began: now,
            answers: 0,
            sum: 0.0,
            peak: 0,
            fell: None,
        }
    }

    /// How many calls may be there at a time.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// The least latency that is remembered, in nanoseconds.
    pub(crate) fn lowest(&self) -> Option<f64> {
        match self.lowest {
            [Some(one), Some(other)] => Some(one.min(other)),
            [one, other] => one.or(other),
        }
    }

    /// A call was answered, after so long, while so many were there.
    pub fn answered(&mut self, now: Moment, latency: Duration, in_flight: u32) {
        self.renew(now);
        let latency = nanos(latency);
        let part = &mut self.lowest[0];
        *part = Some(part.map_or(latency, |lowest| lowest.min(latency)));
        self.answers += 1;
        self.sum += latency;
        self.peak = self.peak.max(in_flight);
        if f64::from(self.answers) >= self.limit.max(8.0) {
            self.judge(now);
        }
    }

    /// The instance said that it has too much to do, or did not answer in time.
    pub fn refused(&mut self, now: Moment) {
        let round = self.lowest().unwrap_or(0.0);
        if self.fell.is_none_or(|fell| nanos(now.since(fell)) > round) {
            self.fall(now, 0.9);
        }
    }

    fn judge(&mut self, now: Moment) {
        let mean = self.sum / f64::from(self.answers);
        let is_used = f64::from(self.peak) * 2.0 >= self.limit;
        let lowest = self.lowest().unwrap_or(mean);
        if mean > lowest * self.tolerance {
            self.fall(now, 0.9);
        } else if is_used {
            self.limit = (self.limit + 1.0).min(self.most);
        }
        (self.answers, self.sum, self.peak) = (0, 0.0, 0);
    }

    fn renew(&mut self, now: Moment) {
        if now.since(self.part_began) < PART {
            return;
        }
        self.part_began = now;
        self.lowest = [None, self.lowest[0]];
        if self.lowest[1].is_some() {
            self.fall(now, 0.75);
        }
    }

    fn fall(&mut self, now: Moment, to: f64) {
        self.limit = (self.limit * to).max(self.least);
        self.fell = Some(now);
    }
}
