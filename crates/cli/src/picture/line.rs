//! Lines of pieces that have a tone, and how wide they are.
//!
//! Deliberately not here: what tones look like, which is for whoever writes to a terminal.

use crate::text::{columns, columns_of, cut, plain};

/// What a piece of a line wants to say beside its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// What is to be read first.
    Strong,
    /// What can be passed over.
    Faint,
    /// All is well.
    Good,
    /// Worth a look.
    Doubtful,
    /// Something is wrong.
    Bad,
}

/// A part of a line in one tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// One line of a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) pieces: Vec<Piece>,
}

impl Line {
    /// A line of one piece.
    pub(crate) fn of(tone: Tone, text: &str) -> Self {
        Self::default().with(tone, text)
    }

    /// The same with one piece more.
    pub(crate) fn with(mut self, tone: Tone, text: &str) -> Self {
        self.pieces.push(Piece {
            text: plain(text),
            tone,
        });
        self
    }

    /// The same with one piece more that is as wide as this: filled up, or cut.
    pub(crate) fn cell(self, tone: Tone, text: &str, width: usize) -> Self {
        let mut text = cut(&plain(text), width);
        let missing = width.saturating_sub(columns(&text));
        text.extend(std::iter::repeat_n(' ', missing));
        self.with(tone, &text)
    }

    /// The same, no wider than this.
    pub(crate) fn cut(mut self, width: usize) -> Self {
        let mut left = width;
        for piece in &mut self.pieces {
            if columns(&piece.text) > left {
                piece.text = cut(&piece.text, left);
            }
            left -= columns(&piece.text);
        }
        self.pieces.retain(|piece| !piece.text.is_empty());
        self
    }

    /// How many columns of a terminal it takes.
    pub(crate) fn width(&self) -> usize {
        self.pieces.iter().map(|piece| columns(&piece.text)).sum()
    }

    /// Its words, without the spaces at its end.
    pub(crate) fn text(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| piece.text.as_str());
        pieces.collect::<String>().trim_end().to_owned()
    }
}

/// A sentence in lines no wider than this, broken between words where that can be, and in a word that is longer than a line; at most so many, the
/// last one cut.
pub(crate) fn folded(tone: Tone, text: &str, width: usize, most: usize) -> Vec<Line> {
    let mut lines: Vec<String> = Vec::new();
    for (word, is_next) in words(&plain(text), width) {
        let space = usize::from(is_next);
        let is_last = lines.len() >= most;
        match lines.last_mut() {
            Some(line) if is_last || columns(line) + space + columns(&word) <= width => {
                line.push_str(&" ".repeat(space));
                line.push_str(&word);
            }
            Some(_) | None => lines.push(word),
        }
    }
    let lines = lines.iter().take(most);
    lines.map(|line| Line::of(tone, line).cut(width)).collect()
}

/// The words of a text, those that are longer than a line in parts; each with whether it stands apart from what is before it.
fn words(text: &str, width: usize) -> Vec<(String, bool)> {
    let mut words = Vec::new();
    for word in text.split(' ') {
        let (mut part, mut is_next) = (String::new(), true);
        for character in word.chars() {
            if !part.is_empty() && columns(&part) + columns_of(character) > width {
                words.push((std::mem::take(&mut part), is_next));
                is_next = false;
            }
            part.push(character);
        }
        words.push((part, is_next));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_says_so() {
        let line = Line::of(Tone::Good, "master-1").with(Tone::Plain, " leads");
        assert_eq!(line.clone().cut(14).text(), "master-1 leads");
        assert_eq!(line.clone().cut(11).text(), "master-1 l…");
        assert_eq!(line.clone().cut(3).text(), "ma…");
        assert_eq!(line.cut(0).text(), "");
    }

    #[test]
    fn wide_characters_take_two_columns_and_are_never_halved() {
        let line = Line::of(Tone::Plain, "节点一");
        assert_eq!(line.width(), 6);
        assert_eq!(line.clone().cut(5).text(), "节点…");
        assert_eq!(line.cut(4).text(), "节…");
        assert_eq!(Line::default().cell(Tone::Plain, "é", 3).width(), 3);
    }

    #[test]
    fn nothing_that_a_terminal_would_obey_becomes_a_piece() {
        let line = Line::of(Tone::Plain, "\u{1b}[2Jna\nme\u{9b}\u{202e}");
        assert_eq!(line.text(), "[2Jna me");
    }

    #[test]
    fn a_sentence_is_broken_between_words_and_the_last_line_is_cut() {
        let text = "another node leads, and nothing that was acknowledged is lost";
        let lines = folded(Tone::Plain, text, 24, 2);
        let texts: Vec<String> = lines.iter().map(Line::text).collect();
        assert_eq!(
            texts,
            ["another node leads, and", "nothing that was acknow…"]
        );
        assert_eq!(folded(Tone::Plain, text, 100, 3).len(), 1);
        assert!(folded(Tone::Plain, text, 24, 0).is_empty());
        let link = folded(Tone::Plain, "at http://127.0.0.1/#login=abc", 12, 4);
        let texts: Vec<String> = link.iter().map(Line::text).collect();
        assert_eq!(texts, ["at", "http://127.0", ".0.1/#login=", "abc"]);
        assert!(
            folded(Tone::Plain, text, 0, 9)
                .iter()
                .all(|line| line.width() == 0)
        );
    }
}
