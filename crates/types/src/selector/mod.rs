//! Which of many things carry certain tags: a small language, `zone = eu and gpu >= 2`, that people write and programs evaluate fast.
//!
//! The story, in the order in which to read it:
//!
//! 1. `expression`: terms about one tag, and how they are put together; the text of each.
//! 2. `value`: when one value is less than another: decimal numbers, and versions with dots.
//! 3. `parse`: from a text to an expression; [`SelectorError`] says where it went wrong, and what to write instead.
//! 4. [`Draft`]: selectors made by a program, without a text.
//! 5. `program`: an expression as a flat list of steps, which is what is evaluated; [`Unmet`] says why something was not selected.
//!
//! A selector has one canonical text, which it shows, is compared by and travels as; reading it gives the same selector. Evaluating never
//! fails: what cannot be compared does not hold. Negation is always the complement, so `zone != eu` holds without any zone.
//!
//! | bound | | what happens beyond |
//! | --- | --- | --- |
//! | [`Selector::TEXT_BYTES`] | of the text as given, and of the canonical one | refused |
//! | [`Selector::DEPTH`] | brackets within brackets; nothing calls itself more often than follows from it | refused |
//! | [`Selector::TERMS`] | terms; as many steps are the most that evaluating takes | refused |
//! | [`Selector::VALUES`] | values in one list | refused |
//!
//! Deliberately not here: what any tag means, and what is selected. `docs/formats/selector.md` has the grammar for people.

mod draft;
mod error;
mod expression;
mod parse;
mod program;
mod value;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::draft::{About, Draft};
pub use self::error::{Mistake, SelectorError};
pub use self::program::Unmet;

use self::expression::Expression;
use self::program::Program;
use crate::id::FromText;
use crate::tag::Tags;

/// A condition on tags. Clones share it.
#[derive(Clone)]
pub struct Selector(Arc<Inner>);

struct Inner {
    text: String,
    expression: Expression,
    program: Program,
}

impl Selector {
    /// The longest text, in bytes.
    pub const TEXT_BYTES: usize = 4_096;
    /// The most brackets within brackets.
    pub const DEPTH: usize = 16;
    /// The most terms.
    pub const TERMS: usize = 64;
    /// The most values in one list.
    pub const VALUES: usize = 64;

    /// Selects everything; its text is `*`.
    #[must_use]
    pub fn everything() -> Self {
        Self::of(Expression::Everything).expect("the text of it is one character")
    }

    /// Begins a selector with the tag of this key: `Selector::tag("zone").is("eu").build()`.
    pub fn tag(key: &str) -> About {
        About::new(key)
    }

    /// Whether it selects what carries these tags.
    #[must_use]
    #[inline]
    pub fn matches(&self, tags: &Tags) -> bool {
        self.0.program.matches(tags)
    }

    /// Whether it selects everything, whatever the tags.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.expression == Expression::Everything
    }

    /// Why it does not select what carries these tags; `None` if it does.
    #[must_use]
    pub fn unmet<'a>(&'a self, tags: &'a Tags) -> Option<Unmet<'a>> {
        self.0.program.unmet(tags)
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Every limit is looked at here, so that no way to make a selector gets round one.
    fn of(expression: Expression) -> Result<Self, Mistake> {
        expression.check()?;
        let text = expression.to_string();
        if text.len() > Self::TEXT_BYTES {
            return Err(Mistake::TooLong { bytes: text.len() });
        }
        let program = Program::of(&expression);
        Ok(Self(Arc::new(Inner {
            text,
            expression,
            program,
        })))
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::of(parse::parse(text)?).map_err(SelectorError::of_the_whole)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.text)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({})", self.0.text)
    }
}

/// By their canonical texts. Two that select the same may have different ones.
impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Selector {}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.text.cmp(&other.0.text)
    }
}

impl std::hash::Hash for Selector {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

/// A selector is its text in every format.
impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText::new("a selector"))
    }
}
