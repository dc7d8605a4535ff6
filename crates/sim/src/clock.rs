//! What a host's own clock shows while the world's time goes on: from where it started, and how much too fast.
//!
//! Machines see only their own clock, so a test finds those who compare clocks of two hosts.

use convoke_types::Moment;

/// How far a clock may be off, in millionths. Real ones stay within 200.
pub(crate) const MOST_DRIFT_PPM: i32 = 500_000;

const MILLION: i128 = 1_000_000;

/// A straight line from world time to local time, with a new beginning at every change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalClock {
    world: u64,
    local: u64,
    ppm: i32,
}

impl LocalClock {
    /// A clock that shows `local` at world time `world` and runs true.
    pub(crate) fn started(world: u64, local: u64) -> Self {
        Self {
            world,
            local,
            ppm: 0,
        }
    }

    /// What it shows at world time `world`.
    pub(crate) fn shows(&self, world: u64) -> Moment {
        Moment::from_nanos(self.local_at(world))
    }

    /// The first world time at which it shows `local` or later.
    pub(crate) fn when_it_shows(&self, local: Moment) -> u64 {
        let ahead = local.as_nanos().saturating_sub(self.local);
        if local == Moment::NEVER {
            return u64::MAX;
        }
        if self.ppm == 0 {
            return self.world.saturating_add(ahead);
        }
        let rate = MILLION + i128::from(self.ppm);
        let passed = (i128::from(ahead) * MILLION + rate - 1) / rate;
        let guess = self.world.saturating_add(clamp(passed));
        // The way there rounds down, so the guess may be one short.
        if self.local_at(guess) < local.as_nanos() {
            guess.saturating_add(1)
        } else {
            guess
        }
    }

    /// From `world` on it runs `ppm` millionths too fast, or too slow when negative.
    pub(crate) fn drift(&mut self, world: u64, ppm: i32) {
        *self = Self {
            world,
            local: self.local_at(world),
            ppm: ppm.clamp(-MOST_DRIFT_PPM, MOST_DRIFT_PPM),
        };
    }

    /// It leaps forward, as a machine's does that was suspended.
    pub(crate) fn leap(&mut self, world: u64, forward: u64) {
        self.drift(world, self.ppm);
        self.local = self.local.saturating_add(forward);
    }

    fn local_at(&self, world: u64) -> u64 {
        let passed = world.saturating_sub(self.world);
        let gained = match self.ppm {
            0 => 0,
            ppm => i128::from(passed) * i128::from(ppm) / MILLION,
        };
        self.local
            .saturating_add(clamp(i128::from(passed) + gained))
    }
}

fn clamp(nanos: i128) -> u64 {
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_true_clock_differs_by_its_start_alone() {
        let clock = LocalClock::started(5, 100);
        assert_eq!(clock.shows(7), Moment::from_nanos(102));
        assert_eq!(clock.when_it_shows(Moment::from_nanos(102)), 7);
        assert_eq!(clock.when_it_shows(Moment::from_nanos(1)), 5, "now at once");
        assert_eq!(clock.when_it_shows(Moment::NEVER), u64::MAX);
    }

    #[test]
    fn a_drifting_clock_gains_and_goes_on_from_where_it_is() {
        let mut clock = LocalClock::started(0, 0);
        clock.drift(SECOND, 100_000);
        assert_eq!(clock.shows(2 * SECOND).as_nanos(), 2_100_000_000);
        clock.drift(2 * SECOND, 0);
        assert_eq!(clock.shows(3 * SECOND).as_nanos(), 3_100_000_000);
        clock.leap(3 * SECOND, SECOND);
        assert_eq!(clock.shows(3 * SECOND).as_nanos(), 4_100_000_000);
    }

    #[test]
    fn a_wake_up_is_never_early_and_less_than_two_nanoseconds_late() {
        for ppm in [-500_000, -333, -1, 1, 77, 123_456, 500_000] {
            let mut clock = LocalClock::started(17, 1_000);
            clock.drift(17, ppm);
            for ahead in [0, 1, 2, 999, 1_000_003, 77 * SECOND + 1] {
                let wanted = Moment::from_nanos(1_000 + ahead);
                let at = clock.when_it_shows(wanted);
                assert!(clock.shows(at) >= wanted, "{ppm} {ahead}");
                assert!(at == 17 || clock.shows(at - 2) < wanted, "{ppm} {ahead}");
            }
        }
    }
}
