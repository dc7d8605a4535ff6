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

/// Said of a line that begins as in languages which have a word for services.
const OTHER_LANGUAGE: &str = "; a service is a Rust trait: write `#[convoke::service] pub trait Name { async fn \
     method(&self, request: Request) -> Result<Answer, Error>; }`";

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
    pub(crate) fn locate(name: &str, text: &str, error: Unreadable) -> Self {
        let mut found = match error {
            Unreadable::TooLarge => vec![Found::at(
                Span::call_site(),
                format!(
                    "a definition has at most {LARGEST_DEFINITION} bytes, and this has {}: write several files",
                    text.len()
                ),
            )],
            Unreadable::NoTokens(place) => vec![Found::at(
                place,
                "this is not Rust from here on: look for a bracket or quote without its other half, or a character that Rust does not know".to_owned(),
            )],
            Unreadable::TooDeep(place) => vec![Found::at(
                place,
                "this nests too deep to be read, or is a very long expression: give parts of it names of their own".to_owned(),
            )],
            Unreadable::Refused(error) => {
                error.into_iter().map(|one| Found::refused(text, &one)).collect()
            }
        };
        found.sort_by_key(|found| (found.start.line, found.start.column));
        found.dedup_by(|one, other| one.start == other.start && one.message == other.message);
        let untold = found.len().saturating_sub(MOST_TOLD);
        found.truncate(MOST_TOLD);
        Self {
            name: name.to_owned(),
            told: found.into_iter().map(|found| found.shown(text)).collect(),
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

/// A mistake before its line is looked at. There may be many, and looking takes a walk through the text.
struct Found {
    start: LineColumn,
    underlined: usize,
    message: String,
}

impl Found {
    fn at(place: Span, message: String) -> Self {
        let (start, end) = (place.start(), place.end());
        let underlined = if end.line == start.line {
            end.column.saturating_sub(start.column)
        } else {
            usize::MAX
        };
        Self {
            start,
            underlined,
            message,
        }
    }

    fn refused(text: &str, error: &syn::Error) -> Self {
        let (message, place) = (error.to_string(), error.span());
        let at_the_end =
            place.byte_range().is_empty() && message.starts_with("unexpected end of input");
        if at_the_end {
            Self {
                start: end_of(text),
                underlined: 1,
                message: format!("{message}: the file ends in the middle of something"),
            }
        } else {
            Self::at(place, message)
        }
    }

    fn shown(self, text: &str) -> Mistake {
        let line = text.split('\n').nth(self.start.line.saturating_sub(1));
        let line = line.unwrap_or_default();
        let hint = if line.trim_start().starts_with("service ") {
            OTHER_LANGUAGE
        } else {
            ""
        };
        let message = self
            .message
            .chars()
            .take(LONGEST_MESSAGE)
            .map(fit_for_a_terminal);
        let line: Vec<char> = line.chars().collect();
        let column = self.start.column.min(line.len());
        let skipped = if line.len() > SHOWN_WIDTH {
            column.saturating_sub(SHOWN_BEFORE)
        } else {
            0
        };
        let shown = line.iter().skip(skipped).take(SHOWN_WIDTH);
        let shown: String = shown.copied().map(fit_for_a_terminal).collect();
        let shown = shown.trim_end().to_owned();
        let underline_at = column - skipped;
        let room = shown.chars().count().saturating_sub(underline_at);
        Mistake {
            line: self.start.line.max(1),
            column: column + 1,
            message: message.chain(hint.chars()).collect(),
            shown,
            underline_at,
            underlined: self.underlined.min(room).max(1),
        }
    }
}

fn end_of(text: &str) -> LineColumn {
    let text = text.trim_end();
    let column = text.lines().last().unwrap_or_default().chars().count();
    LineColumn {
        line: text.lines().count().max(1),
        column,
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
