//! Chance that can be replayed: xoshiro256++ seeded by splitmix64.
//!
//! One seed gives one run, on every machine and for ever, so the generator is written out here: a package
//! may change its algorithm between versions, and with it every seed that was ever kept.
//! It is fast and well spread (Blackman and Vigna, 2018). It is no cryptography: whoever sees a few numbers
//! knows the rest.

use std::time::Duration;

/// A stream of numbers that a seed decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of this seed. Seeds next to each other give unrelated streams.
    pub fn from_seed(seed: u64) -> Self {
        let mut seeds = seed;
        Self {
            state: std::array::from_fn(|_| splitmix(&mut seeds)),
        }
    }

    /// A stream of its own: what is drawn from it does not shift what is drawn here.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.next_u64())
    }

    /// Any number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// From 0, included, to 1, excluded.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// From 0 to `bound`, excluded; 0 when there is nothing below the bound. Off from even by less than
    /// `bound` in 2⁶⁴, which no test can see.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// From `from` to `to`, both included; `from` when they stand the wrong way round.
    #[inline]
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let width = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        from + Duration::from_nanos(self.below(width.saturating_add(1)))
    }

    /// True with this probability; what is not above 0 is never true, 1 and more always.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// One of them, each as likely; `None` when there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len() as u64) as usize)
    }

    /// Puts them into any order, each as likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A waiting time with this mean, as between events that know nothing of each other.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}

/// One seed out of two numbers, for streams that must not depend on the order in which they are asked for.
pub fn mix(seed: u64, salt: u64) -> u64 {
    let mut state = seed ^ salt.wrapping_mul(0xA24B_AED4_963E_E407);
    splitmix(&mut state)
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 100_000;

    #[test]
    fn one_seed_gives_one_stream_for_ever() {
        let mut random = Random::from_seed(0);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            first,
            [
                5_987_356_902_031_041_503,
                7_051_070_477_665_621_255,
                6_633_766_593_972_829_180
            ],
            "kept seeds would tell other stories"
        );
    }

    #[test]
    fn neighbouring_seeds_and_forks_share_nothing() {
        let mut one = Random::from_seed(1);
        let mut two = Random::from_seed(2);
        let mut fork = one.fork();
        let (a, b, c) = (one.next_u64(), two.next_u64(), fork.next_u64());
        assert!(a != b && b != c && a != c);
        assert_ne!(mix(1, 2), mix(2, 1));
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = Random::from_seed(3);
        let (from, to) = (Duration::from_nanos(5), Duration::from_nanos(7));
        let mut seen = [false; 3];
        for _ in 0..1_000 {
            assert!((0.0..1.0).contains(&random.uniform()));
            assert!(random.below(10) < 10);
            let drawn = random.between(from, to);
            assert!(drawn >= from && drawn <= to);
            seen[(drawn - from).as_nanos() as usize] = true;
        }
        assert_eq!(seen, [true; 3], "both ends are reached");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(to, from), to);
        assert_eq!(random.pick::<u8>(&[]), None);
    }

    #[test]
    fn chances_and_waiting_times_have_the_mean_they_were_given() {
        let mut random = Random::from_seed(4);
        let hits = (0..DRAWS).filter(|_| random.chance(0.2)).count();
        assert!((19_000..21_000).contains(&hits), "{hits}");
        let waited: f64 = (0..DRAWS).map(|_| random.exponential(3.0)).sum();
        let mean = waited / f64::from(DRAWS);
        assert!((2.9..3.1).contains(&mean), "{mean}");
        assert!(!random.chance(0.0) && random.chance(1.0));
    }

    #[test]
    fn shuffling_keeps_everything_and_reaches_every_order() {
        let mut random = Random::from_seed(5);
        let mut orders = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let mut items = [1, 2, 3, 4];
            random.shuffle(&mut items);
            orders.insert(items);
        }
        assert_eq!(orders.len(), 24);
    }
}
