//! Why a text is no selector: where, what was expected and what stands there, and what to write instead.

use std::fmt;

use super::Selector;
use crate::tag::TagError;

/// Why something is not a selector. One line, of bounded length, fit for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError {
    /// Of which character, counted from 1; `None` if it is about the whole, or there is no text.
    position: Option<usize>,
    mistake: Mistake,
    hint: Option<String>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// Something else should stand here.
    #[error("{expected} is expected, and here is {found}")]
    Expected {
        /// What should.
        expected: &'static str,
        /// What does, cut to a few characters.
        found: String,
    },
    /// No tag has such a key, or none such a value.
    #[error("{0}")]
    Tag(#[from] TagError),
    /// A comparison with something that is neither a number nor a version.
    #[error(
        "less and more are for numbers and versions, such as 2, 0.5 or 1.4.0; {found} is neither"
    )]
    NotComparable {
        /// What it is.
        found: String,
    },
    /// A quoted text without its end.
    #[error("the quoted text that begins here never ends")]
    NeverEnds,
    /// A backslash in front of something that needs none.
    #[error("in quotes, a backslash stands before '\"' or another backslash, not before {found:?}")]
    Backslash {
        /// What it stands before.
        found: char,
    },
    /// A list without values.
    #[error("a list has at least one value")]
    NoValues,
    /// The text, or the canonical text, is too long.
    #[error(
        "a selector has at most {} bytes, this one has {bytes}",
        Selector::TEXT_BYTES
    )]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Too many brackets within brackets.
    #[error("brackets stand within brackets at most {} times", Selector::DEPTH)]
    TooDeep,
    /// Too many terms.
    #[error("a selector has at most {} terms", Selector::TERMS)]
    TooManyTerms,
    /// Too many values in a list.
    #[error("a list has at most {} values", Selector::VALUES)]
    TooManyValues,
}

impl SelectorError {
    pub(super) fn at(position: usize, mistake: impl Into<Mistake>) -> Self {
        Self {
            position: Some(position),
            mistake: mistake.into(),
            hint: None,
        }
    }

    pub(super) fn of_the_whole(mistake: impl Into<Mistake>) -> Self {
        Self {
            position: None,
            mistake: mistake.into(),
            hint: None,
        }
    }

    /// Adds what to do instead.
    pub(super) fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// Of which character it is, counted from 1; `None` if it is about the whole, or the selector was made without a text.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.position
    }

    /// What is wrong.
    #[must_use]
    pub fn mistake(&self) -> &Mistake {
        &self.mistake
    }

    /// What to write instead, if that can be guessed.
    #[must_use]
    pub fn instead(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl std::error::Error for SelectorError {}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "at character {position}: ")?;
        }
        write!(f, "{}", self.mistake)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}
