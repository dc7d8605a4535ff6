//! Mixing numbers, the same way on every machine and for ever: positions on rings and digests are part of what nodes agree on.
//!
//! The mixing function is the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
//! OOPSLA 2014). It is no protection against somebody who looks for collisions. Ring positions need none, since they follow
//! from keys; digests only decide whether to compare notes, and what is then passed on is signed.

/// A number of which every bit depends on every bit of `value`.
#[must_use]
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// The same for bytes, eight at a time; their number counts too.
#[must_use]
pub(crate) fn mix_bytes(bytes: &[u8]) -> u64 {
    let mut state = mix(bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    state
}

/// A sequence of numbers that looks like chance and follows from a seed: for choosing partners and spreading timers, where
/// the outcome matters to nobody and only a pattern would hurt.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The sequence that follows from `seed`.
    #[must_use]
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The bias is below bound / 2^64.
        let wide = u128::from(self.roll()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A duration below `longest`.
    pub(crate) fn within(&mut self, longest: std::time::Duration) -> std::time::Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let wide = u128::from(self.roll()) * u128::from(nanos);
        std::time::Duration::from_nanos(u64::try_from(wide >> 64).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known values, since nodes of different versions must agree on them.
    #[test]
    fn the_mixture_never_changes() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1), 0x910a_2dec_8902_5cc1);
        assert_ne!(mix_bytes(b""), mix_bytes(b"\0"));
        assert_ne!(mix_bytes(b"convoke"), mix_bytes(b"Convoke"));
    }

    #[test]
    fn dice_stay_below_their_bound_and_reach_all_of_it() {
        let mut dice = Dice::new(1);
        let mut seen = [0; 6];
        for _ in 0..600 {
            seen[dice.below(6)] += 1;
        }
        assert!(seen.iter().all(|times| *times > 50), "{seen:?}");
        assert_eq!(dice.below(0), 0);
    }
}
