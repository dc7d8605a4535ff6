//! What is wrong with a definition, told to whoever wrote it: what, where, and what to write instead.

use std::fmt;

use proc_macro2::{LineColumn, Span};

use super::{LARGEST_DEFINITION, Unreadable};

/// More than these are counted and not told: by then the first ones explain the rest.
const MOST_TOLD: usize = 32;
/// Of a long line, so many characters are shown.
const SHOWN_WIDTH: usize = 120;
/// Characters that are shown before the place, when a line is too long to be shown whole.
const SHOWN_BEFORE: usize = 60;
/// No message is longer, whatever is in the text it is about.
const LONGEST_MESSAGE: usize = 600;

/// One thing that is wrong, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
    /// The line it is in, or what fits of it, without anything a terminal would obey.
    shown: String,
    /// The first character to underline in what is shown, from 0.
    underline_at: usize,
    /// How many, at least one.
    underlined: usize,
}

/// Everything that is wrong with one definition, in the order of its text.
///
/// Shown, it is a paragraph per mistake: `file:line:column: message`, the line, and a mark below the place.
#[derive(Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file, as whoever asked calls it.
    name: String,
    told: Vec<Mistake>,
    untold: usize,
}

impl Mistakes {
    pub(super) fn locate(name: &str, text: &str, error: Unreadable) -> Self {
        let mut told: Vec<Mistake> = match error {
            Unreadable::TooLarge => vec![at(
                text,
                Span::call_site(),
                &format!(
                    "a definition has at most {LARGEST_DEFINITION} bytes, and this has {}: write several files",
                    text.len()
                ),
            )],
            Unreadable::NoTokens(place) => vec![at(
                text,
                place,
                "this is not Rust from here on: look for a bracket or quote without its other half, or a character that Rust does not know",
            )],
            Unreadable::TooDeep(place) => vec![at(
                text,
                place,
                "this nests too deep to be read, or is a very long expression: give parts of it names of their own",
            )],
            Unreadable::Refused(error) => {
                error.into_iter().map(|one| refused(text, &one)).collect()
            }
        };
        told.sort_by_key(|mistake| (mistake.line, mistake.column));
        told.dedup();
        let untold = told.len().saturating_sub(MOST_TOLD);
        told.truncate(MOST_TOLD);
        Self {
            name: name.to_owned(),
            told,
            untold,
        }
    }

    /// The first mistakes; there is at least one.
    #[must_use]
    pub fn told(&self) -> &[Mistake] {
        &self.told
    }

    /// The same, with the file called by its whole path.
    pub(crate) fn of_file(self, name: String) -> Self {
        Self { name, ..self }
    }
}

fn refused(text: &str, error: &syn::Error) -> Mistake {
    let mut message = error.to_string();
    let place = error.span();
    if place.byte_range().is_empty() && message.starts_with("unexpected end of input") {
        return mistake(
            text,
            end_of(text),
            1,
            &format!("{message}: the file ends in the middle of something"),
        );
    }
    let written = text
        .lines()
        .nth(place.start().line.saturating_sub(1))
        .unwrap_or_default();
    if written.trim_start().starts_with("service ") {
        message.push_str(
            "; a service is a Rust trait: write `#[convoke::service] pub trait Name { async fn method(&self, request: Request) -> \
             Result<Answer, Error>; }`",
        );
    }
    at(text, place, &message)
}

fn at(text: &str, place: Span, message: &str) -> Mistake {
    let (start, end) = (place.start(), place.end());
    let underlined = if end.line == start.line {
        end.column.saturating_sub(start.column)
    } else {
        usize::MAX
    };
    mistake(text, start, underlined, message)
}

fn end_of(text: &str) -> LineColumn {
    let text = text.trim_end();
    let column = text.lines().last().unwrap_or_default().chars().count();
    LineColumn {
        line: text.lines().count().max(1),
        column,
    }
}

fn mistake(text: &str, start: LineColumn, underlined: usize, message: &str) -> Mistake {
    let line: Vec<char> = text
        .split('\n')
        .nth(start.line.saturating_sub(1))
        .unwrap_or_default()
        .chars()
        .collect();
    let column = start.column.min(line.len());
    let skipped = if line.len() > SHOWN_WIDTH {
        column.saturating_sub(SHOWN_BEFORE)
    } else {
        0
    };
    let shown: String = line
        .iter()
        .skip(skipped)
        .take(SHOWN_WIDTH)
        .map(|c| fit_for_a_terminal(*c))
        .collect();
    let shown = shown.trim_end().to_owned();
    let underline_at = column - skipped;
    let room = shown.chars().count().saturating_sub(underline_at);
    Mistake {
        line: start.line.max(1),
        column: column + 1,
        message: message
            .chars()
            .take(LONGEST_MESSAGE)
            .map(fit_for_a_terminal)
            .collect(),
        shown,
        underline_at,
        underlined: underlined.min(room).max(1),
    }
}

/// One column for each character, and nothing that moves the cursor or turns the direction of reading.
fn fit_for_a_terminal(character: char) -> char {
    match character {
        '\t' | '\n' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.told.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n\n" };
            let Mistake {
                line,
                column,
                message,
                shown,
                underline_at,
                underlined,
            } = mistake;
            let name: String = self.name.chars().map(fit_for_a_terminal).collect();
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "{separator}{name}:{line}:{column}: {message}")?;
            write!(f, "\n  {number} | {shown}")?;
            write!(
                f,
                "\n  {margin} | {}{}",
                " ".repeat(*underline_at),
                "^".repeat(*underlined)
            )?;
        }
        match self.untold {
            0 => Ok(()),
            untold => write!(f, "\n\nand {untold} more"),
        }
    }
}

/// As shown: a build script that ends with an error prints it this way, and its author should be able to read it.
impl fmt::Debug for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Mistakes {}
