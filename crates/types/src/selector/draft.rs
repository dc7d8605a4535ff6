//! Selectors made by a program: each part is checked when it is given, and the first mistake is what [`Draft::build`] says.

use std::ops::Not;

use super::Selector;
use super::error::{Mistake, SelectorError};
use super::expression::{self, Expression, Term, Test, Than, one_of};
use super::value::Literal;
use crate::tag::{check_key, check_value};

/// A selector in the making.
#[derive(Clone, Debug)]
#[must_use = "it is of use once it was built"]
pub struct Draft(Result<Expression, SelectorError>);

/// A tag of which something is about to be said.
#[derive(Clone, Debug)]
#[must_use = "say what is asked of the tag"]
pub struct About {
    key: Result<String, SelectorError>,
}

impl About {
    pub(super) fn new(key: &str) -> Self {
        let key = check_key(key)
            .map(|()| key.to_owned())
            .map_err(SelectorError::of_the_whole);
        Self { key }
    }

    /// The tag is there, with a value or without.
    pub fn is_there(self) -> Draft {
        self.term(|_| Ok(Test::Present))
    }

    /// The tag is not there.
    pub fn is_absent(self) -> Draft {
        !self.is_there()
    }

    /// Its value is this one.
    pub fn is(self, value: impl ToString) -> Draft {
        let value = value.to_string();
        self.term(|key| {
            check_value(key, &value)?;
            Ok(Test::Is(value))
        })
    }

    /// Its value is another one, or it has none, or it is not there.
    pub fn is_not(self, value: impl ToString) -> Draft {
        !self.is(value)
    }

    /// Its value is one of these.
    pub fn is_one_of<V: ToString>(self, values: impl IntoIterator<Item = V>) -> Draft {
        let mut given = values.into_iter();
        self.term(|key| {
            let values: Vec<String> = given
                .by_ref()
                .take(Selector::VALUES + 1)
                .map(|value| value.to_string())
                .collect();
            for value in &values {
                check_value(key, value)?;
            }
            match values.len() {
                0 => Err(Mistake::NoValues),
                1..=Selector::VALUES => Ok(one_of(values)),
                _ => Err(Mistake::TooManyValues),
            }
        })
    }

    /// Its value is none of these, or it has none, or it is not there.
    pub fn is_none_of<V: ToString>(self, values: impl IntoIterator<Item = V>) -> Draft {
        !self.is_one_of(values)
    }

    /// Its value is a number or version and not less than this one.
    pub fn at_least(self, value: impl ToString) -> Draft {
        self.compared(Than::AtLeast, &value.to_string())
    }

    /// Its value is a number or version and not more than this one.
    pub fn at_most(self, value: impl ToString) -> Draft {
        self.compared(Than::AtMost, &value.to_string())
    }

    /// Its value is a number or version and more than this one.
    pub fn more_than(self, value: impl ToString) -> Draft {
        self.compared(Than::More, &value.to_string())
    }

    /// Its value is a number or version and less than this one.
    pub fn less_than(self, value: impl ToString) -> Draft {
        self.compared(Than::Less, &value.to_string())
    }

    fn compared(self, than: Than, value: &str) -> Draft {
        self.term(|key| {
            check_value(key, value)?;
            match Literal::new(value) {
                Some(literal) => Ok(Test::Compare(than, literal)),
                None => Err(Mistake::NotComparable {
                    found: format!("{value:?}"),
                }),
            }
        })
    }

    fn term(self, test: impl FnOnce(&str) -> Result<Test, Mistake>) -> Draft {
        Draft(self.key.and_then(|key| {
            let test = test(&key).map_err(SelectorError::of_the_whole)?;
            Ok(Expression::Term(Term { key, test }))
        }))
    }
}

impl Draft {
    /// Both.
    pub fn and(self, other: impl Into<Self>) -> Self {
        self.joined(other.into(), expression::all)
    }

    /// Either, or both.
    pub fn or(self, other: impl Into<Self>) -> Self {
        self.joined(other.into(), expression::any)
    }

    /// The selector.
    ///
    /// # Errors
    /// The first mistake in any of its parts, or that it grew too large.
    pub fn build(self) -> Result<Selector, SelectorError> {
        Selector::of(self.0?).map_err(SelectorError::of_the_whole)
    }

    /// What grows too large is not kept, however long somebody goes on.
    fn joined(self, other: Self, join: fn(Vec<Expression>) -> Expression) -> Self {
        Self(self.0.and_then(|one| {
            let both = join(vec![one, other.0?]);
            both.check().map_err(SelectorError::of_the_whole)?;
            Ok(both)
        }))
    }
}

/// The opposite.
impl Not for Draft {
    type Output = Self;

    fn not(self) -> Self {
        Self(self.0.and_then(|inner| {
            let negated = expression::not(inner);
            negated.check().map_err(SelectorError::of_the_whole)?;
            Ok(negated)
        }))
    }
}

/// To go on from one that is there already.
impl From<Selector> for Draft {
    fn from(selector: Selector) -> Self {
        Self(Ok(selector.0.expression.clone()))
    }
}
