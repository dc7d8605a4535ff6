//! Tables for people: columns under a head, that fit the terminal they are shown on.
//!
//! What says what it is by itself has no head. Numbers stand on the right of their column. On a terminal that is narrower than the table, the
//! columns that were named for it give way, the first one first, and end with `…`; where nobody's eyes are, nothing is cut. Where every word
//! matters the last column goes on in the next line instead.
//!
//! Deliberately not here: what is shown, and finding out what it is shown on (`main.rs`).

use crate::text::{columns, cut};

/// No column is cut to less.
const LEAST: usize = 8;
/// Between two columns.
const GAP: &str = "  ";

/// What a table is shown on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Columns of the terminal, if it is one.
    pub(crate) width: Option<usize>,
    /// Colours mean something there.
    pub(crate) colours: bool,
}

/// What a word means for whoever looks for trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Worth a look.
    Doubtful,
    /// Somebody has to do something.
    Bad,
}

impl Look {
    /// The text in the colour of what it means, where colours are shown.
    pub(crate) fn toned(self, tone: Option<Tone>, text: &str) -> String {
        let code = match tone {
            Some(Tone::Good) => "32",
            Some(Tone::Doubtful) => "33",
            Some(Tone::Bad) => "1;31",
            None => return text.to_owned(),
        };
        if self.colours {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// What stands in one place.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A text that means something.
    pub(crate) fn toned(text: impl Into<String>, tone: Option<Tone>) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// Rows, and how they are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    numbers: Vec<&'static str>,
    yielding: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    is_silent: bool,
    wraps: bool,
}

impl Table {
    /// Columns that are called so. The last one gives way, unless others are named.
    pub(crate) fn new(head: impl IntoIterator<Item = &'static str>) -> Self {
        let head: Vec<_> = head.into_iter().collect();
        Self {
            yielding: head.last().copied().into_iter().collect(),
            head,
            ..Self::default()
        }
    }

    /// Rows that say by themselves what they are.
    pub(crate) fn without_head() -> Self {
        Self::default()
    }

    /// Rows that go on with those of a table before.
    pub(crate) fn with_silent_head(mut self) -> Self {
        self.is_silent = true;
        self
    }

    /// The last column gives way by going on in the next line: all that it says matters.
    pub(crate) fn wraps(mut self) -> Self {
        self.wraps = true;
        self
    }

    /// These columns hold numbers.
    pub(crate) fn numbers(mut self, columns: &[&'static str]) -> Self {
        self.numbers.extend(columns);
        self
    }

    /// These columns matter least, the first one less than the others.
    pub(crate) fn yields(mut self, columns: &[&'static str]) -> Self {
        self.yielding = columns.to_vec();
        self
    }

    /// More rows below.
    pub(crate) fn rows<C: Into<Cell>>(mut self, rows: impl IntoIterator<Item = Vec<C>>) -> Self {
        let rows = rows.into_iter();
        self.rows
            .extend(rows.map(|row| row.into_iter().map(Into::into).collect()));
        self
    }

    /// All of it, as it is shown on this.
    pub(crate) fn text(&self, look: Look) -> String {
        let widths = self.widths(look.width);
        let mut text = String::new();
        if !self.head.is_empty() && !self.is_silent {
            let head: Vec<Cell> = self.head.iter().map(|name| Cell::from(*name)).collect();
            self.line(&mut text, &head, &widths, Look::default());
        }
        for row in &self.rows {
            let Some((last, rest)) = row.split_last().filter(|_| self.wraps) else {
                self.line(&mut text, row, &widths, look);
                continue;
            };
            let mut row = rest.to_vec();
            for piece in wrapped(&last.text, widths[rest.len()]) {
                row.push(Cell::toned(piece, last.tone));
                self.line(&mut text, &row, &widths, look);
                row = vec![Cell::from(""); rest.len()];
            }
        }
        text
    }

    fn line(&self, text: &mut String, row: &[Cell], widths: &[usize], look: Look) {
        let mut line = String::new();
        let last = row.iter().rposition(|cell| !cell.text.is_empty());
        for (column, cell) in row.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
            let width = widths[column];
            let shown = cut(&cell.text, width);
            let space = " ".repeat(width.saturating_sub(columns(&shown)));
            let shown = look.toned(cell.tone, &shown);
            if column > 0 {
                line.push_str(GAP);
            }
            if self.is_number(column) {
                line.push_str(&space);
                line.push_str(&shown);
            } else {
                line.push_str(&shown);
                // Nothing stands behind the last one.
                if Some(column) != last {
                    line.push_str(&space);
                }
            }
        }
        text.push_str(&line);
        text.push('\n');
    }

    fn is_number(&self, column: usize) -> bool {
        let name = self.head.get(column);
        name.is_some_and(|name| self.numbers.contains(name))
    }

    /// How wide each column is where there is so much room.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| columns(&cell.text)).max().unwrap_or(0);
            widest.max(self.head.get(column).map_or(0, |name| columns(name)))
        };
        let mut widths: Vec<usize> = (0..count.max(self.head.len())).map(width).collect();
        let Some(room) = room else {
            return widths;
        };
        for name in &self.yielding {
            let gaps = GAP.len() * widths.len().saturating_sub(1);
            let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
            let Some(column) = self.head.iter().position(|it| it == name) else {
                continue;
            };
            let least = LEAST.max(columns(name)).min(widths[column]);
            widths[column] = widths[column].saturating_sub(over).max(least);
        }
        widths
    }
}

/// The text in pieces of so many columns, broken between words; a word that is longer stays whole. At least one piece.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let wide = columns(word);
        let piece = pieces.last_mut().expect("there is always one");
        if used == 0 {
            piece.push_str(word);
            used = wide;
        } else if used + 1 + wide <= width {
            piece.push(' ');
            piece.push_str(word);
            used += 1 + wide;
        } else {
            pieces.push(word.to_owned());
            used = wide;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPED: Look = Look {
        width: None,
        colours: false,
    };

    fn on(width: usize) -> Look {
        Look {
            width: Some(width),
            colours: false,
        }
    }

    fn sample() -> Table {
        Table::new(["KEY", "N", "VALUE"]).numbers(&["N"]).rows([
            vec!["grün", "1000", ""],
            vec!["a", "7", "a value of some length"],
        ])
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_numbers_stand_on_the_right() {
        let expected = "KEY      N  VALUE\ngrün  1000\na        7  a value of some length\n";
        assert_eq!(sample().text(PIPED), expected);
        assert_eq!(Table::without_head().text(PIPED), "");
    }

    #[test]
    fn the_least_important_column_gives_way_to_a_narrow_terminal_and_no_other() {
        let text = sample().text(on(25));
        assert_eq!(
            text,
            "KEY      N  VALUE\ngrün  1000\na        7  a value of s…\n"
        );
        assert!(text.lines().all(|line| columns(line) <= 25), "{text}");
        let named = Table::new(["NAME", "WHAT"]).yields(&["NAME"]);
        let named = named.rows([vec!["a name that is long", "stays"]]);
        assert_eq!(
            named.text(on(20)),
            "NAME           WHAT\na name that …  stays\n"
        );
        let least = named.text(on(3));
        assert!(least.contains("a name …  stays"), "{least}");
        assert_eq!(sample().text(on(80)), sample().text(PIPED));
    }

    #[test]
    fn where_every_word_matters_the_last_column_goes_on_below() {
        let table = Table::new(["CHECK", "WHAT"]).wraps();
        let table = table.rows([vec!["disk", "it is slow and full"], vec!["port", ""]]);
        let expected = "CHECK  WHAT\ndisk   it is\n       slow and\n       full\nport\n";
        assert_eq!(table.text(on(15)), expected);
        assert!(table.text(PIPED).contains("it is slow and full"));
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("a longerword b", 5), ["a", "longerword", "b"]);
    }

    #[test]
    fn wide_characters_do_not_shift_what_stands_beside_them() {
        let rows = Table::new(["A", "B"]).rows([vec!["你好", "x"], vec!["abcd", "y"]]);
        assert_eq!(rows.text(PIPED), "A     B\n你好  x\nabcd  y\n");
    }

    #[test]
    fn colours_change_no_width_and_are_only_where_they_were_asked_for() {
        let table = Table::new(["A", "B"]).rows([vec![
            Cell::toned("PROBLEM", Some(Tone::Bad)),
            Cell::from("x"),
        ]]);
        assert_eq!(table.text(PIPED), "A        B\nPROBLEM  x\n");
        let look = Look {
            width: None,
            colours: true,
        };
        let text = table.text(look);
        assert_eq!(text, "A        B\n\u{1b}[1;31mPROBLEM\u{1b}[0m  x\n");
    }
}
