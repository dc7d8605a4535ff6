//! How one piece of knowledge reaches an audience.

use std::time::Duration;

/// Who of an audience still has to learn something, and when the last one did.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    since: Duration,
    waiting: Vec<u64>,
    missing: usize,
    last: Duration,
}

impl Spread {
    /// Nobody of the audience knows it yet; time counts from `since`.
    pub(crate) fn new(since: Duration, audience: impl IntoIterator<Item = usize>) -> Self {
        let mut spread = Self {
            since,
            waiting: Vec::new(),
            missing: 0,
            last: since,
        };
        for one in audience {
            if spread.waiting.len() <= one / 64 {
                spread.waiting.resize(one / 64 + 1, 0);
            }
            spread.waiting[one / 64] |= 1 << (one % 64);
        }
        let ones = spread.waiting.iter().map(|word| word.count_ones() as usize);
        spread.missing = ones.sum();
        spread
    }

    /// One has learnt it. Who is not of the audience, or knew it, changes nothing.
    pub(crate) fn reach(&mut self, one: usize, at: Duration) {
        let Some(word) = self.waiting.get_mut(one / 64) else {
            return;
        };
        let bit = 1 << (one % 64);
        if *word & bit != 0 {
            *word ^= bit;
            self.missing -= 1;
            self.last = at;
        }
    }

    /// How many have not learnt it.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// How long until the last one knew it; `window` if somebody did not within that time.
    pub(crate) fn seconds(&self, window: Duration) -> f64 {
        let took = if self.missing == 0 {
            self.last - self.since
        } else {
            window
        };
        took.min(window).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_of_the_audience_decides_and_nobody_counts_twice() {
        let mut spread = Spread::new(s(10), [1, 64, 200]);
        spread.reach(64, s(11));
        spread.reach(64, s(12));
        spread.reach(2, s(13));
        spread.reach(1, s(14));
        assert_eq!((spread.missing(), spread.seconds(s(60))), (1, 60.0));
        spread.reach(200, s(15));
        spread.reach(1, s(16));
        assert_eq!((spread.missing(), spread.seconds(s(60))), (0, 5.0));
    }

    #[test]
    fn what_nobody_waits_for_is_known_at_once() {
        assert_eq!(Spread::new(s(3), []).seconds(s(60)), 0.0);
    }
}
