//! How suspicious a silence is: phi, after Hayashibara, Défago, Yared and Katayama, "The φ accrual failure detector"
//! (SRDS 2004, section 3).
//!
//! Phi is minus the decimal logarithm of the chance that a gap between two signs of life lasts even longer than this silence does
//! already, if gaps vary as those of late did. At phi 3, one silence in a thousand means nothing. The normal distribution
//! calls impossible what is merely lossy (one lost packet is a gap of two periods), so nobody is judged by phi: a high one
//! makes an observer ask.
//!
//! Mean and variance are those of the last [`WINDOW`] gaps, and the deviation is never taken to be less than a share of the
//! period, however even the gaps were.

use std::time::Duration;

use convoke_types::Moment;

/// How many gaps count.
pub(crate) const WINDOW: usize = 32;

/// A gap counts as so many periods at most.
const GAP_MOST: f32 = 3.0;

/// The gaps between signs of life of one peer.
#[derive(Debug, Clone)]
pub(crate) struct Gaps {
    /// In seconds.
    last: [f32; WINDOW],
    count: usize,
    next: usize,
    /// What a gap was expected to be before there were any.
    period: f32,
    least_deviation: f32,
}

impl Gaps {
    pub(crate) fn new(period: Duration, least_deviation: f32) -> Self {
        Self {
            last: [0.0; WINDOW],
            count: 0,
            next: 0,
            period: period.as_secs_f32(),
            least_deviation: least_deviation * period.as_secs_f32(),
        }
    }

    /// Takes in a gap. News comes in bursts, so that many gaps are short; they say that the peer lives and nothing about how long
    /// it may be silent, and what is shorter than half a period is no sample.
    pub(crate) fn push(&mut self, gap: Duration) {
        let gap = gap.as_secs_f32();
        if gap < self.period / 2.0 {
            return;
        }
        // A pause of either side is an outage, not a habit: one of them must not make a peer look irregular for half a minute.
        self.last[self.next] = gap.min(GAP_MOST * self.period);
        self.next = (self.next + 1) % WINDOW;
        self.count = (self.count + 1).min(WINDOW);
    }

    /// Phi of a silence of this length.
    pub(crate) fn phi(&self, silence: Duration) -> f32 {
        let (mean, deviation) = self.shape();
        phi_of((silence.as_secs_f32() - mean) / deviation)
    }

    /// How long a silence has this phi.
    pub(crate) fn silence(&self, deviations: f32) -> Duration {
        let (mean, deviation) = self.shape();
        Duration::from_secs_f32(mean + deviations * deviation)
    }

    fn shape(&self) -> (f32, f32) {
        if self.count == 0 {
            return (self.period, self.least_deviation);
        }
        let gaps = &self.last[..self.count];
        let count = self.count as f32;
        let mean = gaps.iter().sum::<f32>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f32>() / count;
        // A peer that is asked more often than it asks has short gaps; it is still allowed a whole period.
        (
            mean.max(self.period),
            variance.sqrt().max(self.least_deviation),
        )
    }
}

/// Phi at so many deviations above the mean, from the tail of the normal distribution.
fn phi_of(deviations: f32) -> f32 {
    let y = f64::from(deviations);
    let phi = if y < 1.0 {
        // A logistic curve is good to a thousandth here, and silences this short suspect nobody.
        let e = (-y * (1.5976 + 0.070_566 * y * y)).exp();
        -(e / (1.0 + e)).log10()
    } else {
        // Laplace's continued fraction for the tail, taken in logarithms: the tail itself underflows.
        let fraction = (1..=12)
            .rev()
            .fold(y, |below, step| y + f64::from(step) / below);
        let density = -y * y / 2.0 - (2.0 * std::f64::consts::PI).ln() / 2.0;
        -(density - fraction.ln()) / std::f64::consts::LN_10
    };
    if phi.is_nan() { 0.0 } else { phi as f32 }
}

/// The inverse: how many deviations above the mean phi is reached.
pub(crate) fn deviations_at(phi: f32) -> f32 {
    let (mut low, mut high) = (-10.0_f32, 40.0_f32);
    for _ in 0..40 {
        let middle = f32::midpoint(low, high);
        if phi_of(middle) < phi {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Signs of life of one peer: when the last one came, and how they are spaced.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    pub(crate) heard: Moment,
    /// Whether there was a sign of life at all.
    pub(crate) ever: bool,
    gaps: Gaps,
}

impl Pulse {
    pub(crate) fn new(now: Moment, period: Duration, least_deviation: f32) -> Self {
        Self {
            heard: now,
            ever: false,
            gaps: Gaps::new(period, least_deviation),
        }
    }

    /// A sign of life. A gap that ended with the peer being given up is no measure of what is usual.
    pub(crate) fn beat(&mut self, now: Moment, usual: bool) {
        if usual && self.ever {
            self.gaps.push(now.since(self.heard));
        }
        self.ever = true;
        self.heard = now;
    }

    pub(crate) fn phi(&self, now: Moment) -> f32 {
        self.gaps.phi(now.since(self.heard))
    }

    /// When a silence that began with the last sign of life is so many deviations too long.
    pub(crate) fn suspicious_at(&self, deviations: f32) -> Moment {
        self.heard + self.gaps.silence(deviations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(each: impl IntoIterator<Item = u64>) -> Gaps {
        let mut gaps = Gaps::new(Duration::from_secs(1), 0.08);
        for gap in each {
            gaps.push(Duration::from_millis(gap));
        }
        gaps
    }

    #[test]
    fn phi_rises_with_silence_and_falls_with_irregularity() {
        let even = gaps([1_000; 40]);
        let uneven = gaps([700, 1_300].into_iter().cycle().take(40));
        let phi = |gaps: &Gaps, ms| gaps.phi(Duration::from_millis(ms));
        assert!(phi(&even, 900) < phi(&even, 1_100));
        assert!(phi(&even, 1_100) < phi(&even, 1_400));
        assert!(phi(&uneven, 1_400) < phi(&even, 1_400));
        assert!(phi(&even, 60_000).is_finite());
    }

    #[test]
    fn phi_of_the_normal_distribution_is_about_right() {
        for (deviations, phi) in [
            (0.0, 0.301),
            (1.0, 0.8),
            (3.0, 2.87),
            (5.0, 6.54),
            (5.6, 7.97),
        ] {
            let found = phi_of(deviations);
            assert!((found - phi).abs() < 0.05, "{deviations}: {found}");
        }
        for phi in [1.0, 3.0, 8.0, 12.0] {
            assert!((phi_of(deviations_at(phi)) - phi).abs() < 0.01);
        }
    }

    #[test]
    fn one_long_pause_is_no_habit() {
        let mut paused = gaps([1_000; 8]);
        paused.push(Duration::from_secs(20));
        assert!(paused.silence(5.6) < Duration::from_secs(6));
    }

    #[test]
    fn bursts_are_no_measure_of_silence() {
        let mut busy = gaps([1_000; 32]);
        let before = busy.silence(5.6);
        for _ in 0..1_000 {
            busy.push(Duration::from_millis(3));
        }
        assert_eq!(busy.silence(5.6), before);
    }
}
