//! Text for people: what came from elsewhere made safe for a terminal, numbers made readable.

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
}
