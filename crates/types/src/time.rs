//! Two times that must not be mixed: [`Timestamp`] is for people, [`Moment`] is for timers.
//!
//! A wall clock jumps when somebody sets it; a monotonic one does not, but means nothing on another machine.
//! So a `Timestamp` travels and is shown, and a `Moment` stays at home: it has no serde on purpose.
//! Neither is read here: whoever owns a clock passes the time in.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 00:00 UTC by somebody's wall clock: an observation, not an order of events.
///
/// Arithmetic stops at both ends instead of wrapping; what is finer than a millisecond is cut.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp {
    unix_ms: u64,
}

impl Timestamp {
    /// The beginning of 1970.
    pub const UNIX_EPOCH: Self = Self { unix_ms: 0 };

    /// This many milliseconds after the beginning of 1970.
    #[inline]
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self { unix_ms }
    }

    /// Milliseconds since the beginning of 1970.
    #[inline]
    pub const fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// How long ago `earlier` was; nothing if it was later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.unix_ms.saturating_sub(earlier.unix_ms))
    }
}

/// Nanoseconds since the start of one machine's monotonic clock; 584 years until it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment {
    nanos: u64,
}

impl Moment {
    /// When the clock started.
    pub const START: Self = Self { nanos: 0 };
    /// A moment that never comes.
    pub const NEVER: Self = Self { nanos: u64::MAX };

    /// This many nanoseconds after the start of the clock.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Nanoseconds since the start of the clock.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// How long ago `earlier` was; nothing if it was later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self {
            unix_ms: self.unix_ms.saturating_add(whole(duration.as_millis())),
        }
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    #[inline]
    fn sub(self, duration: Duration) -> Self {
        Self {
            unix_ms: self.unix_ms.saturating_sub(whole(duration.as_millis())),
        }
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self {
            nanos: self.nanos.saturating_add(whole(duration.as_nanos())),
        }
    }
}

impl AddAssign<Duration> for Moment {
    #[inline]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

fn whole(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds: `2026-11-20T15:04:05.678Z`. Years beyond 9999 are written with all
/// their digits.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.unix_ms / MS_PER_DAY, self.unix_ms % MS_PER_DAY);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1_000
        )
    }
}

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1_000;

/// Year, month and day of the Gregorian calendar, from days since the beginning of 1970.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_YEAR: u64 = 365;
    const DAYS_PER_4_YEARS: u64 = 4 * DAYS_PER_YEAR + 1;
    const DAYS_PER_100_YEARS: u64 = 25 * DAYS_PER_4_YEARS - 1;
    const DAYS_PER_400_YEARS: u64 = 4 * DAYS_PER_100_YEARS + 1;
    const FROM_MARCH_0000_TO_1970: u64 = 719_468;

    // A year is taken to begin in March, so that the leap day is its last and every cycle ends with its
    // longest part.
    let days = days + FROM_MARCH_0000_TO_1970;
    let (cycles, rest) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let centuries = (rest / DAYS_PER_100_YEARS).min(3);
    let rest = rest - centuries * DAYS_PER_100_YEARS;
    let (fours, rest) = (rest / DAYS_PER_4_YEARS, rest % DAYS_PER_4_YEARS);
    let ones = (rest / DAYS_PER_YEAR).min(3);
    let mut day = rest - ones * DAYS_PER_YEAR;

    let mut year = cycles * 400 + centuries * 100 + fours * 4 + ones;
    let mut month = 3;
    for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    if month > 12 {
        month -= 12;
        year += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(unix_ms: u64) -> String {
        Timestamp::from_unix_ms(unix_ms).to_string()
    }

    #[test]
    fn a_timestamp_is_shown_as_people_write_it() {
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(shown(1_709_251_200_000), "2024-03-01T00:00:00.000Z");
        assert_eq!(shown(1_767_225_599_000), "2025-12-31T23:59:59.000Z");
        assert_eq!(shown(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(shown(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_day_of_800_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..292_194 {
            assert_eq!(civil_date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let late = Timestamp::from_unix_ms(u64::MAX);
        assert_eq!(late + Duration::MAX, late);
        assert_eq!(
            Timestamp::UNIX_EPOCH - Duration::from_secs(1),
            Timestamp::UNIX_EPOCH
        );
        assert_eq!(Timestamp::UNIX_EPOCH.since(late), Duration::ZERO);
        assert_eq!(Moment::START + Duration::MAX, Moment::NEVER);
        assert_eq!(
            (Moment::START + Duration::from_nanos(7)).since(Moment::START),
            Duration::from_nanos(7)
        );
        assert_eq!(Moment::START.since(Moment::NEVER), Duration::ZERO);
        assert!(!late.to_string().is_empty());
    }
}
