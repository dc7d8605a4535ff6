//! What a terminal has to be told so that it shows these lines instead of those: only what differs, each piece put where it belongs.
//!
//! Nothing ever scrolls: a picture has no more lines than the terminal and none is wider, and the last line ends without a line break.
//!
//! Deliberately not here: writing.

use super::line::{Line, Piece, Tone};
use crate::text::columns;

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Default for Size {
    /// What everybody has.
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
        }
    }
}

/// As much of a picture as there is room for.
pub(crate) fn fitted(lines: Vec<Line>, size: Size) -> Vec<Line> {
    let lines = lines.into_iter().take(size.rows);
    lines.map(|line| line.cut(size.columns)).collect()
}

/// All of it, whatever was there.
pub(crate) fn whole(lines: &[Line], colours: bool) -> String {
    format!("\u{1b}[2J{}", changes(&[], lines, colours))
}

/// From these lines to those.
pub(crate) fn changes(old: &[Line], new: &[Line], colours: bool) -> String {
    let mut told = String::new();
    for (index, line) in new.iter().enumerate() {
        let row = index + 1;
        match old.get(index) {
            Some(before) if before == line => {}
            Some(before) => change(&mut told, row, before, line, colours),
            None => change(&mut told, row, &Line::default(), line, colours),
        }
    }
    if new.len() < old.len() {
        told.push_str(&format!("\u{1b}[{};1H\u{1b}[J", new.len() + 1));
    }
    told
}

fn change(told: &mut String, row: usize, before: &Line, line: &Line, colours: bool) {
    let mut column = 1;
    let mut before_column = 1;
    for (index, piece) in line.pieces.iter().enumerate() {
        let same = before.pieces.get(index);
        if same != Some(piece) || column != before_column {
            told.push_str(&format!("\u{1b}[{row};{column}H"));
            put(told, piece, colours);
        }
        column += columns(&piece.text);
        before_column += same.map_or(0, |piece| columns(&piece.text));
    }
    if before.width() > line.width() {
        told.push_str(&format!("\u{1b}[{row};{column}H\u{1b}[K"));
    }
}

fn put(told: &mut String, piece: &Piece, colours: bool) {
    match code(piece.tone).filter(|_| colours) {
        Some(code) => told.push_str(&format!("\u{1b}[{code}m{}\u{1b}[0m", piece.text)),
        None => told.push_str(&piece.text),
    }
}

fn code(tone: Tone) -> Option<u8> {
    match tone {
        Tone::Plain => None,
        Tone::Strong => Some(1),
        Tone::Faint => Some(2),
        Tone::Good => Some(32),
        Tone::Doubtful => Some(33),
        Tone::Bad => Some(31),
    }
}

#[cfg(test)]
mod tests {
    use convoke_trial::Random;

    use super::*;
    use crate::text::columns_of;

    /// A terminal as far as it is used here; it panics where a real one would scroll.
    struct Fake {
        size: Size,
        cells: Vec<Vec<char>>,
        at: (usize, usize),
    }

    impl Fake {
        fn new(size: Size) -> Self {
            let cells = vec![vec!['?'; size.columns]; size.rows];
            Self {
                size,
                cells,
                at: (0, 0),
            }
        }

        fn hears(&mut self, told: &str) {
            let mut rest = told;
            while let Some(character) = rest.chars().next() {
                rest = &rest[character.len_utf8()..];
                if character != '\u{1b}' {
                    self.shows(character);
                    continue;
                }
                let end = rest.find(|it: char| it.is_ascii_alphabetic()).unwrap();
                let (arguments, kind) = (&rest[1..end], rest.as_bytes()[end]);
                rest = &rest[end + 1..];
                match kind {
                    b'H' => {
                        let (row, column) = arguments.split_once(';').unwrap();
                        self.at = (
                            row.parse::<usize>().unwrap() - 1,
                            column.parse::<usize>().unwrap() - 1,
                        );
                    }
                    b'K' => self.blank(self.at.0, self.at.1),
                    b'J' if arguments == "2" => {
                        (0..self.size.rows).for_each(|row| self.blank(row, 0))
                    }
                    b'J' => (self.at.0..self.size.rows).for_each(|row| self.blank(row, 0)),
                    b'm' => {}
                    other => panic!("what is {other}?"),
                }
            }
        }

        fn blank(&mut self, row: usize, from: usize) {
            self.cells[row][from..].fill(' ');
        }

        fn shows(&mut self, character: char) {
            let (row, column) = self.at;
            let width = columns_of(character);
            assert!(
                row < self.size.rows && column + width <= self.size.columns,
                "{:?}",
                self.at
            );
            self.cells[row][column] = character;
            if width == 2 {
                self.cells[row][column + 1] = '\0';
            }
            self.at.1 += width;
        }

        fn text(&self) -> Vec<String> {
            let line = |cells: &Vec<char>| {
                let shown = cells.iter().filter(|it| **it != '\0');
                shown.collect::<String>().trim_end().to_owned()
            };
            self.cells.iter().map(line).collect()
        }
    }

    fn by_chance(random: &mut Random, size: Size) -> Vec<Line> {
        let words = [
            "",
            "a",
            "leads",
            "节点",
            "master-1  ",
            "much longer than the others are",
        ];
        let tones = [Tone::Plain, Tone::Bad, Tone::Strong];
        let lines = (0..random.below(size.rows as u64 + 3)).map(|_| {
            (0..random.below(5)).fold(Line::default(), |line, _| {
                let word = words[random.below(words.len() as u64) as usize];
                line.with(tones[random.below(3) as usize], word)
            })
        });
        fitted(lines.collect::<Vec<_>>(), size)
    }

    #[test]
    fn whatever_was_shown_before_the_terminal_shows_what_is_new() {
        let mut random = Random::from_seed(7);
        for round in 0..300 {
            let size = Size {
                columns: 1 + random.below(50) as usize,
                rows: 1 + random.below(8) as usize,
            };
            let mut terminal = Fake::new(size);
            let mut shown = by_chance(&mut random, size);
            terminal.hears(&whole(&shown, true));
            for _ in 0..3 {
                let next = by_chance(&mut random, size);
                terminal.hears(&changes(&shown, &next, round % 2 == 0));
                shown = next;
                let mut expected: Vec<String> = shown.iter().map(Line::text).collect();
                expected.resize(size.rows, String::new());
                assert_eq!(terminal.text(), expected, "round {round}");
            }
        }
    }

    #[test]
    fn what_stays_is_not_written_again() {
        let line = |age: &str| {
            Line::default()
                .cell(Tone::Plain, "master-1", 12)
                .cell(Tone::Good, "well", 12)
                .cell(Tone::Faint, age, 6)
        };
        let old = vec![line("1 s"), line("2 s")];
        assert_eq!(changes(&old, &old, true), "");
        let new = vec![line("1 s"), line("3 s")];
        assert_eq!(
            changes(&old, &new, true),
            "\u{1b}[2;25H\u{1b}[2m3 s   \u{1b}[0m"
        );
    }

    #[test]
    fn without_colours_nothing_is_said_but_where_and_what() {
        let lines = [Line::of(Tone::Bad, "failed")];
        assert_eq!(whole(&lines, false), "\u{1b}[2J\u{1b}[1;1Hfailed");
    }
}
