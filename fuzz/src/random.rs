//! Chance that can be repeated.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014, section 5): a few instructions a
//! number, and good enough to look for mistakes with. Nothing secret may come from here.

/// A sequence of numbers that follows from how it was begun.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of one run of one target. Runs do not depend on the runs before, so any can be repeated alone.
    #[must_use]
    pub fn of_run(seed: u64, target: &str, run: u64) -> Self {
        let mut random = Self { state: seed };
        for part in target.bytes().map(u64::from).chain([run]) {
            random.state = random.number() ^ part;
        }
        random
    }

    /// The next number; every value is as likely.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.number()) * end as u128) >> 64) as usize
    }

    /// True once in `times`, on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A number of any size: small ones are as likely as large ones, and the ends of types are not rare.
    pub fn any_size(&mut self) -> u64 {
        let bits = self.below(65);
        let number = self.number().checked_shr(64 - bits as u32).unwrap_or(0);
        match self.below(8) {
            0 => u64::MAX.checked_shr(64 - bits as u32).unwrap_or(0),
            1 => 1_u64.checked_shl(bits as u32).unwrap_or(u64::MAX),
            _ => number,
        }
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.number() as u8
    }

    /// So many bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Fewer than `end` bytes.
    pub fn bytes(&mut self, end: usize) -> Vec<u8> {
        self.list(end, Self::byte)
    }

    /// Fewer than `end` of something.
    pub fn list<T>(&mut self, end: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = self.below(end);
        (0..length).map(|_| make(self)).collect()
    }

    /// Something, or nothing.
    pub fn option<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.once_in(3)).then(|| make(self))
    }

    /// A character: mostly a plain one, now and then any other there is.
    pub fn character(&mut self) -> char {
        if self.once_in(8) {
            char::from_u32(self.any_size() as u32).unwrap_or('\u{10ffff}')
        } else {
            char::from(b' ' + self.below(95) as u8)
        }
    }

    /// A text of fewer than `end` characters.
    pub fn text(&mut self, end: usize) -> String {
        let length = self.below(end);
        (0..length).map(|_| self.character()).collect()
    }

    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.below(several.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_repeats_itself_and_no_other() {
        let numbers = |seed, target, run| {
            let mut random = Random::of_run(seed, target, run);
            [random.number(), random.number()]
        };
        let one = numbers(1, "codec", 1);
        assert_eq!(one, numbers(1, "codec", 1));
        for other in [
            numbers(2, "codec", 1),
            numbers(1, "codes", 1),
            numbers(1, "codec", 2),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn numbers_of_any_size_reach_both_ends() {
        let mut random = Random::of_run(1, "", 1);
        let numbers: Vec<u64> = (0..10_000).map(|_| random.any_size()).collect();
        assert!(numbers.contains(&0) && numbers.contains(&u64::MAX));
        assert!(numbers.iter().filter(|number| **number < 256).count() > 1_000);
    }

    #[test]
    fn what_is_below_an_end_reaches_all_of_it() {
        let mut random = Random::of_run(1, "", 1);
        let mut seen = [false; 7];
        (0..1_000).for_each(|_| seen[random.below(7)] = true);
        assert_eq!(seen, [true; 7]);
    }
}
