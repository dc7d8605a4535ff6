//! What a probe answers: a value with where it comes from and how far to trust it, or that it is unknown, and why.
//!
//! There is no third thing. What could not be read is never zero, and what somebody may rely on says how much.

use serde::Serialize;

/// A text that a machine says of itself is cut behind so many characters, …
const LONGEST: usize = 120;
/// … and so is where something comes from, or why it does not: paths of groups may be long.
const LONGEST_SOURCE: usize = 240;

/// What a probe answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// A value.
    Known(Known<T>),
    /// None.
    Unknown {
        /// Why there is none, for a person.
        why: String,
    },
}

/// A value, and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known<T> {
    /// The value.
    pub value: T,
    /// Where it comes from: a file, or who said so.
    pub source: String,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// How far to trust a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The kernel keeps this number itself, it was measured here, or the configuration says it.
    Sure,
    /// A device says it of itself, or it follows from something else that was seen.
    Likely,
    /// It is no more than that, and may be much less.
    AtMost,
    /// It was seen to be that much, and may be more.
    AtLeast,
}

impl Confidence {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::Likely => "likely",
            Self::AtMost => "at most",
            Self::AtLeast => "at least",
        }
    }
}

impl<T> Answer<T> {
    pub(crate) fn known(value: T, source: impl Into<String>, confidence: Confidence) -> Self {
        Self::Known(Known {
            value,
            source: cut(&source.into(), LONGEST_SOURCE),
            confidence,
        })
    }

    pub(crate) fn sure(value: T, source: impl Into<String>) -> Self {
        Self::known(value, source, Confidence::Sure)
    }

    pub(crate) fn likely(value: T, source: impl Into<String>) -> Self {
        Self::known(value, source, Confidence::Likely)
    }

    pub(crate) fn unknown(why: impl ToString) -> Self {
        Self::Unknown {
            why: cut(&why.to_string(), LONGEST_SOURCE),
        }
    }

    /// What a file says, or why that is nothing: it could not be read, or says something else.
    pub(crate) fn of_file(
        path: &str,
        text: Result<String, super::Unread>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Self {
        match text {
            Err(unread) => Self::unknown(unread),
            Ok(text) => match parse(&text) {
                Some(value) => Self::sure(value, path),
                None => Self::unknown(format!("{path} says {}", quoted(&text))),
            },
        }
    }

    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known(known) => Some(&known.value),
            Self::Unknown { .. } => None,
        }
    }

    /// The same with another value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Known(known) => {
                Answer::known(change(known.value), known.source, known.confidence)
            }
            Self::Unknown { why } => Answer::Unknown { why },
        }
    }
}

/// The beginning of a text that a machine says of itself.
pub(crate) fn brief(text: &str) -> String {
    cut(text.trim(), LONGEST)
}

/// The beginning of a text, without what a terminal would obey.
fn cut(text: &str, most: usize) -> String {
    let visible = text.chars().filter(|it| !crate::logs::is_obeyed(*it));
    visible.take(most).collect()
}

/// What a file says instead of what it should.
pub(crate) fn quoted(text: &str) -> String {
    match brief(text).as_str() {
        "" => "nothing".to_owned(),
        text => format!("{text:?}"),
    }
}

/// A whole number, and nothing else but space around it.
pub(crate) fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// `12.5` in hundredths: 1250. What stands behind two places is left off.
pub(crate) fn hundredths(text: &str) -> Option<u64> {
    let (before, behind) = text.split_once('.').unwrap_or((text, ""));
    let digits = behind.bytes();
    if !digits.clone().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut places = digits
        .chain([b'0', b'0'])
        .map(|byte| u64::from(byte - b'0'));
    let (tens, ones) = (places.next()?, places.next()?);
    whole(before)?
        .checked_mul(100)?
        .checked_add(tens * 10 + ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(whole(" 42\n"), Some(42));
        for text in ["", "-1", "+1", "1e3", "max", "99999999999999999999", "4 2"] {
            assert_eq!(whole(text), None, "{text:?}");
        }
        assert_eq!(hundredths("85.81"), Some(8581));
        assert_eq!(hundredths("0.5"), Some(50));
        assert_eq!(hundredths("7"), Some(700));
        assert_eq!(hundredths("16720.109"), Some(1_672_010));
        for text in [
            "",
            ".5",
            "nan",
            "inf",
            "1.x",
            "-1.0",
            "184467440737095517.00",
        ] {
            assert_eq!(hundredths(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_a_machine_says_of_itself_is_short_and_harmless() {
        assert_eq!(brief(" \u{1b}[31mDisk\u{7}\n"), "[31mDisk");
        assert_eq!(brief(&"x".repeat(9_999)).len(), LONGEST);
        assert_eq!(quoted("\n"), "nothing");
        let long = Answer::sure(1, "/a\n".repeat(9_999));
        let Answer::Known(known) = long else {
            panic!("it is known");
        };
        assert_eq!(known.source.len(), LONGEST_SOURCE);
    }
}
