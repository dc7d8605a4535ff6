//! Durations and sizes as people write them: `90s`, `1h30m`, `64MiB`. What is printed reads back as the same value.
//!
//! A bare number is refused: `drain = 20` means seconds to one reader and milliseconds to the next. So are `MB` and `kB`, which are
//! powers of ten to some and of two to others.

use std::fmt::Write as _;
use std::time::Duration;

/// Units of time, from the longest; names and milliseconds.
const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of size, from the largest; names and bytes.
const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads a duration: numbers with units, the longest unit first, each at most once.
///
/// # Errors
///
/// Says what a duration looks like.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let no = || format!("{text:?} is not a duration; write one as 500ms, 30s, 1h30m or 7d");
    let mut rest = text;
    let mut units = TIMES.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, behind) = split(rest).ok_or_else(no)?;
        // What was skipped or used already is not tried again, so `1m1h` and `1s1s` are refused.
        let (_, ms) = units.find(|(name, _)| *name == unit).ok_or_else(no)?;
        let part = number.checked_mul(*ms).ok_or_else(no)?;
        total = total.checked_add(part).ok_or_else(no)?;
        rest = behind;
    }
    if text.is_empty() {
        return Err(no());
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration exactly, to the millisecond: `1h30m`. Days are used for whole days only, from two on: people say 24h.
#[must_use]
pub fn write_duration(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let day = TIMES[0].1;
    if ms >= 2 * day && ms.is_multiple_of(day) {
        return format!("{}d", ms / day);
    }
    let mut text = String::new();
    for (name, unit) in &TIMES[1..] {
        if ms >= *unit {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{name}", ms / unit);
            ms %= unit;
        }
    }
    text
}

/// Reads a size: one number and one unit, powers of two.
///
/// # Errors
///
/// Says what a size looks like, and which unit was probably meant.
pub fn read_size(text: &str) -> Result<u64, String> {
    let no = || format!("{text:?} is not a size; write one as 512KiB, 64MiB or 2GiB");
    let (number, unit, behind) = split(text).ok_or_else(no)?;
    let unit = unit.trim_start();
    if !behind.is_empty() {
        return Err(no());
    }
    if let Some((name, _)) = SIZES.iter().find(|(name, _)| is_loosely(unit, name)) {
        return Err(format!(
            "{text:?} is not a size: write {number}{name} (powers of two; {unit} means different things to different people)"
        ));
    }
    let (_, bytes) = SIZES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(no)?;
    number.checked_mul(*bytes).ok_or_else(no)
}

/// Writes a size exactly, in the largest unit that divides it.
#[must_use]
pub fn write_size(bytes: u64) -> String {
    let fits = |unit: &u64| bytes != 0 && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZES
        .iter()
        .find(|(_, unit)| fits(unit))
        .unwrap_or(&SIZES[SIZES.len() - 1]);
    format!("{}{name}", bytes / unit)
}

/// `MB`, `mb`, `M`, `mib` for `MiB`.
fn is_loosely(unit: &str, name: &str) -> bool {
    if unit == name || name == "B" {
        return false;
    }
    let letter = &name[..1];
    [letter, &format!("{letter}B"), name]
        .iter()
        .any(|loose| unit.eq_ignore_ascii_case(loose))
}

/// The number at the beginning, the letters behind it, and the rest.
fn split(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .filter(|at| *at > 0)?;
    let (number, behind) = text.split_at(digits);
    let end = behind
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(behind.len());
    let (unit, rest) = behind.split_at(end);
    Some((number.parse().ok()?, unit, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let read = |text| read_duration(text).expect("it is a duration").as_millis();
        assert_eq!(read("500ms"), 500);
        assert_eq!(read("30s"), 30_000);
        assert_eq!(read("1h30m"), 5_400_000);
        assert_eq!(read("7d"), 604_800_000);
        assert_eq!(read("0s"), 0);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in [
            "",
            "30",
            "s",
            "1.5h",
            "-1s",
            "1m1h",
            "1s1s",
            "30 s",
            "30S",
            "1y",
            "99999999999999999999s",
            "9999999999999999999d",
            "5s ",
            "30s\0",
        ] {
            let why = read_duration(text).expect_err(text);
            assert!(why.contains("1h30m"), "{why}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two_and_say_so() {
        assert_eq!(read_size("64MiB"), Ok(64 << 20));
        assert_eq!(read_size("1B"), Ok(1));
        assert!(read_size("64MB").expect_err("not exact").contains("64MiB"));
        assert!(read_size("64k").expect_err("not exact").contains("64KiB"));
        for text in ["", "64", "MiB", "1.5GiB", "99999999TiB", "1MiB1KiB", "-1B"] {
            assert!(read_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_is_24_hours_and_a_week_is_seven_days() {
        assert_eq!(write_duration(Duration::from_secs(86_400)), "24h");
        assert_eq!(write_duration(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(write_duration(Duration::from_millis(90_001)), "1m30s1ms");
        assert_eq!(write_size(1536), "1536B");
        assert_eq!(write_size(0), "0B");
    }

    proptest! {
        #[test]
        fn whatever_is_written_reads_back(ms in 0u64..u64::MAX / 2, bytes: u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(read_duration(&write_duration(duration)), Ok(duration));
            prop_assert_eq!(read_size(&write_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC*") {
            let _ = (read_duration(&text), read_size(&text));
        }
    }
}
