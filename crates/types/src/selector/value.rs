//! When one value is less than another.
//!
//! Two decimal numbers compare as numbers, exactly and of any length. If either side has more than one dot, begins with `v` or
//! ends like `-rc.1`, both compare as versions: part by part, a missing part is 0, and what has a suffix comes before what has none
//! (Semantic Versioning 2.0, section 11). Anything else cannot be compared, and then no comparison holds.
//!
//! A number with one dot is a number, so `1.10` is less than `1.9`; whoever means versions writes `v1.9` or `1.9.0`.

use std::cmp::Ordering;

/// What a tag's value is compared with: a number or a version.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    text: String,
    is_decimal: bool,
    /// What most of them are, as a number.
    small: Option<u64>,
    /// Its parts, if it is a version of small numbers and nothing else.
    parts: Option<Vec<u64>>,
}

impl Literal {
    /// `None` if the text is neither a number nor a version.
    pub(super) fn new(text: &str) -> Option<Self> {
        let is_decimal = Decimal::read(text).is_some();
        (is_decimal || Version::read(text).is_some()).then(|| Self {
            text: text.to_owned(),
            is_decimal,
            small: small(text),
            parts: text
                .strip_prefix('v')
                .unwrap_or(text)
                .split('.')
                .map(small)
                .collect(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// How `value` stands to it; `None` if they cannot be compared.
    pub(super) fn compare(&self, value: &str) -> Option<Ordering> {
        if let (Some(literal), Some(value)) = (self.small, small(value)) {
            return Some(value.cmp(&literal));
        }
        if !self.is_decimal
            && let Some(order) = self
                .parts
                .as_ref()
                .and_then(|parts| by_small_parts(value, parts))
        {
            return Some(order);
        }
        if self.is_decimal
            && let (Some(value), Some(literal)) = (Decimal::read(value), Decimal::read(&self.text))
        {
            return Some(value.cmp(&literal));
        }
        Some(Version::read(value)?.cmp(&Version::read(&self.text)?))
    }
}

/// A whole number of few digits; `None` says nothing.
fn small(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.bytes().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number * 10 + u64::from(digit))
    })
}

/// A decimal number as its digits, without those that say nothing.
struct Decimal<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, are_digits(fraction).then_some(fraction)?),
            None => (digits, ""),
        };
        if !are_digits(whole) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self {
            is_negative: is_negative && !is_zero,
            whole,
            fraction,
        })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size =
            || by_size(self.whole, other.whole).then_with(|| self.fraction.cmp(other.fraction));
        match (self.is_negative, other.is_negative) {
            (false, false) => size(),
            (true, true) => size().reverse(),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }
}

/// A version: numbers between dots, and perhaps a suffix. What stands behind `+` says nothing about the order.
struct Version<'a> {
    numbers: &'a str,
    suffix: Option<&'a str>,
}

impl<'a> Version<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = match text.split_once('+') {
            Some((text, build)) => are_names(build).then_some(text)?,
            None => text,
        };
        let (numbers, suffix) = match text.split_once('-') {
            Some((numbers, suffix)) => (numbers, Some(are_names(suffix).then_some(suffix)?)),
            None => (text, None),
        };
        numbers
            .split('.')
            .all(are_digits)
            .then_some(Self { numbers, suffix })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        by_parts(self.numbers, other.numbers).then_with(|| match (self.suffix, other.suffix) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => by_names(one, other),
        })
    }
}

/// How a version of small numbers stands to these parts; `None` says nothing.
fn by_small_parts(value: &str, parts: &[u64]) -> Option<Ordering> {
    let mut parts = parts.iter().copied();
    let mut order = Ordering::Equal;
    for part in value.strip_prefix('v').unwrap_or(value).split('.') {
        let part = small(part)?;
        order = order.then_with(|| part.cmp(&parts.next().unwrap_or(0)));
    }
    Some(order.then_with(|| {
        if parts.all(|part| part == 0) {
            Ordering::Equal
        } else {
            Ordering::Less
        }
    }))
}

fn by_parts(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        let (left, right) = (one.next(), other.next());
        if left.is_none() && right.is_none() {
            return Ordering::Equal;
        }
        let [left, right] = [left, right].map(|part| part.unwrap_or("").trim_start_matches('0'));
        let order = by_size(left, right);
        if order.is_ne() {
            return order;
        }
    }
}

/// Names between dots: numbers by size and before words, words by their bytes, and fewer names first.
fn by_names(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        let (left, right) = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => (left, right),
        };
        let order = match (are_digits(left), are_digits(right)) {
            (true, true) => by_size(left.trim_start_matches('0'), right.trim_start_matches('0')),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => left.cmp(right),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Whole numbers without leading zeros.
fn by_size(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn are_names(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !name.is_empty() && name.bytes().all(is_of_a_name)
    };
    text.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(value: &str, literal: &str) -> Option<Ordering> {
        Literal::new(literal)
            .expect("it can be compared with")
            .compare(value)
    }

    #[test]
    fn each_value_of_a_row_is_less_than_those_behind_it_and_equal_to_itself() {
        for row in [
            &[
                "-12",
                "-1.5",
                "-1.25",
                "-0",
                "0.05",
                "0.5",
                "2",
                "10",
                "99999999999999999999999",
            ][..],
            &[
                "1.2",
                "1.10.0-rc.1",
                "1.10.0-rc.2",
                "1.10.0-rc.11",
                "1.10.0-rc.x",
                "1.10.0-rc.x.1",
                "1.10.0",
                "v2",
                "2.0.1",
            ],
            &["v1.9", "v1.10", "1.10.1", "v2.0"],
        ] {
            for (at, value) in row.iter().enumerate() {
                for (other, literal) in row.iter().enumerate() {
                    assert_eq!(
                        order(value, literal),
                        Some(at.cmp(&other)),
                        "{value} to {literal}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_says_the_same_in_other_digits_is_equal() {
        for (one, other) in [
            ("2", "2.0"),
            ("-0", "0"),
            ("007", "7"),
            ("v1", "1.0.0"),
            ("1.0.0+b1", "1"),
            ("v01.2", "1.02.0"),
        ] {
            assert_eq!(
                order(one, other),
                Some(Ordering::Equal),
                "{one} and {other}"
            );
        }
    }

    #[test]
    fn a_number_with_one_dot_is_a_number_unless_the_other_side_is_a_version() {
        assert_eq!(order("1.10", "1.9"), Some(Ordering::Less));
        assert_eq!(order("1.10", "1.9.0"), Some(Ordering::Greater));
        assert_eq!(order("1.10", "v1.9"), Some(Ordering::Greater));
    }

    #[test]
    fn words_are_neither() {
        for word in [
            "", "-", ".", "1.", ".5", "1..2", "many", "16GB", "1e3", "+1", "v", "1.2-", "1.2-a..b",
            "1+", "--1", "0x10", "¹",
        ] {
            assert!(Literal::new(word).is_none(), "{word}");
            assert_eq!(order(word, "1"), None, "{word}");
            assert_eq!(order(word, "1.2.3"), None, "{word}");
        }
        assert_eq!(order("-1", "1.2.3"), None, "a version is never negative");
    }
}
