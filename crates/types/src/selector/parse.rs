//! From a text to an expression.
//!
//! ```text
//! any   = all { "or" all }
//! all   = unit { "and" unit }
//! unit  = ("not" | "!") unit  |  "(" any ")"  |  "*"  |  term
//! term  = key
//!       | key ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") value
//!       | key ["not"] "in" "(" value { "," value } ")"
//! key, value = word | "quoted"
//! ```
//!
//! One function for each line, one look ahead, and calls only as deep as brackets stand within brackets.

use super::Selector;
use super::error::{Mistake, SelectorError};
use super::expression::{Expression, Term, Test, Than, all, any, not, one_of};
use super::value::Literal;
use crate::tag::{check_key, check_value};

/// Words of the language; as keys and values they stand in quotes.
const RESERVED: [&str; 4] = ["and", "in", "not", "or"];
const NO_PATTERNS: &str = "there are no patterns; list the values with `in (…)`";
/// How much of what stands somewhere an error repeats, in characters.
const REPEATED: usize = 32;

/// Whether a key or value can stand without quotes.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_of_a_word) && !RESERVED.contains(&text)
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '+' | '@')
}

pub(super) fn parse(text: &str) -> Result<Expression, SelectorError> {
    if text.len() > Selector::TEXT_BYTES {
        return Err(SelectorError::of_the_whole(Mistake::TooLong {
            bytes: text.len(),
        }));
    }
    let mut parser = Parser {
        text,
        next: 0,
        token: Token::End,
        began: 0,
        terms: 0,
    };
    parser.advance()?;
    let expression = parser.any(0)?;
    if parser.token != Token::End {
        return Err(parser.no_end("`and`, `or` or the end"));
    }
    Ok(expression)
}

#[derive(Debug, Clone, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(String),
    Sign(&'static str),
    /// Nothing that the language has.
    Other(&'a str),
    End,
}

/// Longer ones first. Those that are none of the language are here to be answered well.
const SIGNS: &[(&str, bool)] = &[
    ("==", true),
    ("!=", true),
    ("<=", true),
    (">=", true),
    ("=>", false),
    ("=<", false),
    ("<>", false),
    ("=~", false),
    ("!~", false),
    ("&&", false),
    ("||", false),
    ("=", true),
    ("<", true),
    (">", true),
    ("!", true),
    ("(", true),
    (")", true),
    (",", true),
    ("*", true),
];

struct Parser<'a> {
    text: &'a str,
    /// Where the next token is looked for, in bytes.
    next: usize,
    token: Token<'a>,
    /// Where the token begins, in bytes.
    began: usize,
    terms: usize,
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.all(depth)?];
        while self.take_word("or")? {
            parts.push(self.all(depth)?);
        }
        Ok(any(parts))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.unit(depth)?];
        while self.take_word("and")? {
            parts.push(self.unit(depth)?);
        }
        Ok(all(parts))
    }

    fn unit(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut is_negated = false;
        while self.take_word("not")? || self.take_sign("!")? {
            is_negated = !is_negated;
        }
        let inner = self.positive(depth)?;
        Ok(if is_negated { not(inner) } else { inner })
    }

    fn positive(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        if self.token == Token::Sign("(") {
            if depth == Selector::DEPTH {
                return Err(self.error(Mistake::TooDeep));
            }
            self.advance()?;
            let inner = self.any(depth + 1)?;
            if !self.take_sign(")")? {
                return Err(self.no_end("`and`, `or` or ')'"));
            }
            return Ok(inner);
        }
        if self.terms == Selector::TERMS {
            return Err(self.error(Mistake::TooManyTerms));
        }
        self.terms += 1;
        if self.take_sign("*")? {
            return Ok(Expression::Everything);
        }
        let key = self.key()?;
        let (test, is_negated) = self.test(&key)?;
        let term = Expression::Term(Term { key, test });
        Ok(if is_negated { not(term) } else { term })
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        let key = match &self.token {
            Token::Word(word) if !RESERVED.contains(word) => (*word).to_owned(),
            Token::Quoted(text) => text.clone(),
            Token::Word(_) | Token::Sign(_) | Token::Other(_) | Token::End => {
                return Err(self.expected("the key of a tag, `not` or '('"));
            }
        };
        if let Err(error) = check_key(&key) {
            let lower = key.to_ascii_lowercase();
            let instead = RESERVED.contains(&lower.as_str()) || check_key(&lower).is_ok();
            let hint = instead.then(|| format!("write {lower}"));
            return Err(self.error(error).hint(hint));
        }
        self.advance()?;
        Ok(key)
    }

    /// What is asked of the tag, and whether it is asked for the opposite.
    fn test(&mut self, key: &str) -> Result<(Test, bool), SelectorError> {
        let Token::Sign(sign) = self.token else {
            let is_negated = self.take_word("not")?;
            if self.take_word("in")? {
                return Ok((self.list(key)?, is_negated));
            }
            if is_negated {
                let hint = format!("write `not {key}`, or `{key} not in (…)`");
                return Err(self.expected("`in`").hint(Some(hint)));
            }
            return Ok((Test::Present, false));
        };
        let than = match sign {
            "=" | "==" | "!=" => None,
            "<" => Some(Than::Less),
            "<=" => Some(Than::AtMost),
            ">=" => Some(Than::AtLeast),
            ">" => Some(Than::More),
            _ => return Ok((Test::Present, false)),
        };
        self.advance()?;
        let began = self.began;
        let value = self.value(key)?;
        match than {
            None => Ok((Test::Is(value), sign == "!=")),
            Some(than) => match Literal::new(&value) {
                Some(literal) => Ok((Test::Compare(than, literal), false)),
                None => {
                    let found = repeated(&value);
                    Err(self.error_at(began, Mistake::NotComparable { found }))
                }
            },
        }
    }

    fn list(&mut self, key: &str) -> Result<Test, SelectorError> {
        if !self.take_sign("(")? {
            let hint = format!("write `{key} in (a, b)`");
            return Err(self.expected("'('").hint(Some(hint)));
        }
        if self.token == Token::Sign(")") {
            return Err(self.error(Mistake::NoValues));
        }
        let mut values = vec![self.value(key)?];
        while self.take_sign(",")? {
            if values.len() == Selector::VALUES {
                return Err(self.error(Mistake::TooManyValues));
            }
            values.push(self.value(key)?);
        }
        if !self.take_sign(")")? {
            return Err(self.expected("',' or ')'"));
        }
        Ok(one_of(values))
    }

    fn value(&mut self, key: &str) -> Result<String, SelectorError> {
        let value = match &self.token {
            Token::Word(word) if !RESERVED.contains(word) => (*word).to_owned(),
            Token::Quoted(text) => text.clone(),
            Token::Word(_) | Token::Sign(_) | Token::Other(_) | Token::End => {
                let error = self.expected("a value");
                let is_star = self.token == Token::Sign("*");
                return Err(if is_star {
                    error.hint(Some(format!("for any value write `{key}` alone")))
                } else {
                    error
                });
            }
        };
        check_value(key, &value).map_err(|error| self.error(error))?;
        self.advance()?;
        Ok(value)
    }

    fn take_word(&mut self, word: &str) -> Result<bool, SelectorError> {
        let is_it = self.token == Token::Word(word);
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    fn take_sign(&mut self, sign: &'static str) -> Result<bool, SelectorError> {
        let is_it = self.token == Token::Sign(sign);
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    /// Reads the next token.
    fn advance(&mut self) -> Result<(), SelectorError> {
        let rest = &self.text[self.next..];
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.began = self.text.len() - rest.len();
        let word = &rest[..rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len())];
        let (token, bytes) = if rest.is_empty() {
            (Token::End, 0)
        } else if !word.is_empty() {
            (Token::Word(word), word.len())
        } else if rest.starts_with('"') {
            self.quoted(rest)?
        } else if let Some((sign, is_known)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign))
        {
            let token = if *is_known {
                Token::Sign(sign)
            } else {
                Token::Other(sign)
            };
            (token, sign.len())
        } else {
            let bytes = rest.chars().next().map_or(0, char::len_utf8);
            (Token::Other(&rest[..bytes]), bytes)
        };
        self.token = token;
        self.next = self.began + bytes;
        Ok(())
    }

    /// A quoted text at the beginning of `rest`, and how many bytes it takes.
    fn quoted<'t>(&self, rest: &str) -> Result<(Token<'t>, usize), SelectorError> {
        let mut text = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return Ok((Token::Quoted(text), at + 1)),
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some((_, found)) => {
                        return Err(self.error_at(self.began + at, Mistake::Backslash { found }));
                    }
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(self.error(Mistake::NeverEnds))
    }

    fn error(&self, mistake: impl Into<Mistake>) -> SelectorError {
        self.error_at(self.began, mistake)
    }

    fn error_at(&self, byte: usize, mistake: impl Into<Mistake>) -> SelectorError {
        SelectorError::at(self.text[..byte].chars().count() + 1, mistake)
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        let found = match &self.token {
            Token::Word(word) if RESERVED.contains(word) => {
                format!("`{word}`, a word of the language")
            }
            Token::Word(word) => repeated(word),
            Token::Quoted(text) => repeated(text),
            Token::Sign(sign) => format!("'{sign}'"),
            Token::Other(text) => repeated(text),
            Token::End => "the end".to_owned(),
        };
        self.error(Mistake::Expected { expected, found })
            .hint(self.instead())
    }

    /// An expression is over, and something follows that does not go on with it.
    fn no_end(&self, expected: &'static str) -> SelectorError {
        let error = self.expected(expected);
        match &self.token {
            Token::Word(word) => {
                let hint = nearest(word).map_or_else(
                    || "a value with a blank in it stands in quotes".to_owned(),
                    |near| format!("write {near}"),
                );
                error.hint(Some(hint))
            }
            Token::Sign(",") => error.hint(Some("write `and`")),
            Token::Sign("*") => error.hint(Some(NO_PATTERNS)),
            Token::Sign(")") => error.hint(Some("there is no bracket that it could close")),
            Token::Sign(_) | Token::Quoted(_) | Token::Other(_) | Token::End => error,
        }
    }

    /// What was meant by something that the language does not have.
    fn instead(&self) -> Option<String> {
        let instead = match &self.token {
            Token::Other("&&" | "&") => "write `and`",
            Token::Other("||" | "|") => "write `or`",
            Token::Other("=>") => "write >=",
            Token::Other("=<") => "write <=",
            Token::Other("<>") => "write !=",
            Token::Other("=~" | "!~" | "~") => NO_PATTERNS,
            Token::Other("'") => "quotes are double ones: \"…\"",
            Token::Other(_) => "what is odd stands in quotes: \"…\"",
            Token::Word(word) if RESERVED.contains(word) => {
                return Some(format!(
                    "a key or value of this name stands in quotes: \"{word}\""
                ));
            }
            Token::End if self.text.trim().is_empty() => "write * for everything",
            Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => return None,
        };
        Some(instead.to_owned())
    }
}

/// The beginning of it, in quotes, with nothing that would move a cursor.
fn repeated(text: &str) -> String {
    let more = if text.chars().count() > REPEATED {
        "…"
    } else {
        ""
    };
    let text: String = text.chars().take(REPEATED).collect();
    format!("{text:?}{more}")
}

/// The word of the language that somebody nearly wrote.
fn nearest(word: &str) -> Option<&'static str> {
    let lower = word.to_ascii_lowercase();
    RESERVED.into_iter().find(|near| is_near(&lower, near))
}

/// Whether one character is other, missing or too many, or two changed places.
fn is_near(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    let other_one = !one.is_empty() && !other.is_empty() && one[1..] == other[1..];
    let missing = !other.is_empty() && *one == other[1..];
    let too_many = !one.is_empty() && one[1..] == *other;
    let changed_places = one.len() >= 2
        && other.len() >= 2
        && one[0] == other[1]
        && one[1] == other[0]
        && one[2..] == other[2..];
    other_one || missing || too_many || changed_places
}
