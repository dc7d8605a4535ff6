//! Text for people: what came from elsewhere made safe for a terminal, how wide it is there, numbers made readable.

use std::time::Duration;

/// The text without what a terminal would obey: control characters, and those that reorder what is read.
///
/// A line break or tab becomes a space, so that one line stays one line.
pub(crate) fn plain(text: &str) -> String {
    let visible = |character: char| match character {
        '\n' | '\t' => Some(' '),
        character if is_obeyed(character) => None,
        character => Some(character),
    };
    text.chars().filter_map(visible).collect()
}

/// The beginning of a text that has room in so many columns, with a mark where it was cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut kept = String::new();
    for character in text.chars() {
        let taken = columns_of(character);
        if taken > left {
            break;
        }
        left -= taken;
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// How many columns of a terminal a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// How many columns a terminal gives a character: two for the wide ones of East Asia and pictures, none for what stands on another one. By blocks,
/// within which nearly every character is as wide as the others.
pub(crate) fn columns_of(character: char) -> usize {
    match u32::from(character) {
        0x300..=0x36f | 0x200b..=0x200d | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0x4dbf
        | 0x4e00..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `180 µs`, `1.2 ms`, `15.0 s`
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if duration < Duration::from_millis(1) {
        format!("{} µs", duration.as_micros())
    } else if duration < Duration::from_secs(1) {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// Whether a terminal would obey it instead of showing it.
pub(crate) fn is_obeyed(character: char) -> bool {
    character.is_control() || reorders(character)
}

/// Whether it changes the direction in which the text around it is shown.
fn reorders(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        assert_eq!(plain("\u{1b}[31mred\u{7}\r\u{9b}2J"), "[31mred2J");
        assert_eq!(plain("abc\u{202e}def"), "abcdef");
    }

    #[test]
    fn words_stay_words_and_lines_become_one() {
        assert_eq!(
            plain("Grüße,\n\tÀ bientôt – 你好"),
            "Grüße,  À bientôt – 你好"
        );
    }

    #[test]
    fn wide_characters_take_two_columns_combining_ones_none_and_none_is_halved() {
        assert_eq!(columns("你好"), 4);
        assert_eq!(columns("e\u{301}"), 1);
        let cuts = [8, 7, 6, 1, 0].map(|width| cut("你好你好", width));
        assert_eq!(cuts, ["你好你好", "你好你…", "你好…", "…", ""]);
    }
}
