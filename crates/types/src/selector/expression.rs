//! What a selector says: terms about one tag each, put together with `and`, `or` and `not`; and the canonical text of it.
//!
//! Expressions are made by [`not`], [`all`] and [`any`] only, which keep them in a form that its own text leads back to: nothing is
//! negated twice, and what is `and` within `and` is one list.

use std::fmt;

use super::error::Mistake;
use super::value::Literal;
use super::{Selector, parse};
use crate::tag::{Tag, Tags};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Everything,
    Term(Term),
    /// Of anything but another negation.
    Not(Box<Self>),
    /// At least two, none of them an `All`.
    All(Vec<Self>),
    /// At least two, none of them an `Any`.
    Any(Vec<Self>),
}

/// A condition on the tag with one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) key: String,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// The tag is there, with a value or without.
    Present,
    Is(String),
    /// Sorted, at least two, each once.
    OneOf(Vec<String>),
    Compare(Than, Literal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Than {
    Less,
    AtMost,
    AtLeast,
    More,
}

pub(super) fn not(inner: Expression) -> Expression {
    match inner {
        Expression::Not(twice) => *twice,
        other @ (Expression::Everything
        | Expression::Term(_)
        | Expression::All(_)
        | Expression::Any(_)) => Expression::Not(Box::new(other)),
    }
}

/// All of them. There is at least one.
pub(super) fn all(parts: Vec<Expression>) -> Expression {
    joined(parts, Expression::All, |part| match part {
        Expression::All(inner) => Ok(inner),
        other @ (Expression::Everything
        | Expression::Term(_)
        | Expression::Not(_)
        | Expression::Any(_)) => Err(other),
    })
}

/// Any of them. There is at least one.
pub(super) fn any(parts: Vec<Expression>) -> Expression {
    joined(parts, Expression::Any, |part| match part {
        Expression::Any(inner) => Ok(inner),
        other @ (Expression::Everything
        | Expression::Term(_)
        | Expression::Not(_)
        | Expression::All(_)) => Err(other),
    })
}

fn joined(
    parts: Vec<Expression>,
    list: fn(Vec<Expression>) -> Expression,
    same: impl Fn(Expression) -> Result<Vec<Expression>, Expression>,
) -> Expression {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match same(part) {
            Ok(inner) => flat.extend(inner),
            Err(other) => flat.push(other),
        }
    }
    match flat.len() {
        1 => flat.remove(0),
        _ => list(flat),
    }
}

/// One of these values, of which there is at least one.
pub(super) fn one_of(mut values: Vec<String>) -> Test {
    values.sort_unstable();
    values.dedup();
    match values.len() {
        1 => Test::Is(values.remove(0)),
        _ => Test::OneOf(values),
    }
}

impl Expression {
    /// Whether it keeps the limits, but for the length of its text.
    pub(super) fn check(&self) -> Result<(), Mistake> {
        if self.terms() > Selector::TERMS {
            return Err(Mistake::TooManyTerms);
        }
        if self.depth() > Selector::DEPTH {
            return Err(Mistake::TooDeep);
        }
        Ok(())
    }

    fn terms(&self) -> usize {
        match self {
            Self::Everything | Self::Term(_) => 1,
            Self::Not(inner) => inner.terms(),
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::terms).sum(),
        }
    }

    /// Brackets within brackets in the canonical text.
    fn depth(&self) -> usize {
        match self {
            Self::Everything | Self::Term(_) => 0,
            Self::Not(inner) => usize::from(inner.is_list()) + inner.depth(),
            Self::All(parts) => {
                let depth = |part: &Self| usize::from(matches!(part, Self::Any(_))) + part.depth();
                parts.iter().map(depth).max().unwrap_or(0)
            }
            Self::Any(parts) => parts.iter().map(Self::depth).max().unwrap_or(0),
        }
    }

    fn is_list(&self) -> bool {
        matches!(self, Self::All(_) | Self::Any(_))
    }
}

impl Term {
    /// Whether it holds of what carries these tags.
    #[inline]
    pub(super) fn holds(&self, tags: &Tags) -> bool {
        let Some(tag) = tags.get(&self.key) else {
            return false;
        };
        match (&self.test, tag.value()) {
            (Test::Present, _) => true,
            (Test::Is(wanted), Some(value)) => wanted == value,
            (Test::OneOf(wanted), Some(value)) => wanted
                .binary_search_by(|one| one.as_str().cmp(value))
                .is_ok(),
            (Test::Compare(than, literal), Some(value)) => literal
                .compare(value)
                .is_some_and(|order| than.allows(order)),
            (Test::Is(_) | Test::OneOf(_) | Test::Compare(..), None) => false,
        }
    }
}

impl Than {
    fn allows(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::AtLeast => order.is_ge(),
            Self::More => order.is_gt(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::More => ">",
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Term(term) => term.show(f, true),
            Self::Not(inner) => match &**inner {
                Self::Term(term) => term.show(f, false),
                inner @ (Self::All(_) | Self::Any(_)) => write!(f, "not ({inner})"),
                inner @ (Self::Everything | Self::Not(_)) => write!(f, "not {inner}"),
            },
            Self::All(parts) => show_list(f, parts, " and "),
            Self::Any(parts) => show_list(f, parts, " or "),
        }
    }
}

/// `and` binds more tightly than `or`, so only an `or` within an `and` needs brackets.
fn show_list(f: &mut fmt::Formatter<'_>, parts: &[Expression], between: &str) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        match part {
            Expression::Any(_) => write!(f, "({part})")?,
            Expression::Everything
            | Expression::Term(_)
            | Expression::Not(_)
            | Expression::All(_) => write!(f, "{part}")?,
        }
    }
    Ok(())
}

impl Term {
    /// Its text, or that of its negation.
    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>, is_wanted: bool) -> fmt::Result {
        let key = Shown(&self.key);
        match (&self.test, is_wanted) {
            (Test::Present, true) => write!(f, "{key}"),
            (Test::Present, false) => write!(f, "not {key}"),
            (Test::Is(value), true) => write!(f, "{key} = {}", Shown(value)),
            (Test::Is(value), false) => write!(f, "{key} != {}", Shown(value)),
            (Test::OneOf(values), _) => {
                let not = if is_wanted { "" } else { "not " };
                write!(f, "{key} {not}in (")?;
                for (at, value) in values.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Shown(value))?;
                }
                f.write_str(")")
            }
            (Test::Compare(than, literal), _) => {
                let not = if is_wanted { "" } else { "not " };
                write!(f, "{not}{key} {} {}", than.sign(), Shown(literal.text()))
            }
        }
    }
}

/// A key or value as it is written: bare where that can be read, else in quotes.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if parse::is_word(self.0) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for character in self.0.chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        f.write_str("\"")
    }
}

/// What a tag says, for people.
pub(super) struct Found<'a>(pub(super) &'a str, pub(super) Option<&'a Tag>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, tag) = self;
        match tag.map(Tag::value) {
            None => write!(f, "there is no {}", Shown(key)),
            Some(None) => write!(f, "{} is there without a value", Shown(key)),
            Some(Some(value)) => write!(f, "{} is {}", Shown(key), Shown(value)),
        }
    }
}
