//! Text that came from elsewhere, made safe for a terminal.

/// The text without what a terminal would obey: control characters, and those that reorder what is read.
///
/// A line break or tab becomes a space, so that one line stays one line.
pub(crate) fn plain(text: &str) -> String {
    let visible = |character: char| match character {
        '\n' | '\t' => Some(' '),
        character if character.is_control() || reorders(character) => None,
        character => Some(character),
    };
    text.chars().filter_map(visible).collect()
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
