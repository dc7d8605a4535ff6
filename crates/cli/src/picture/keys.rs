//! Bytes of a terminal as keys.
//!
//! A key of several bytes comes in one piece from every terminal that is not very slow; what is cut, or unknown, is no key.

/// A key that means something to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Erase,
    Escape,
    /// What can be read.
    Letter(char),
}

/// The keys in what was read at once.
pub(crate) fn keys(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let mut keys = Vec::new();
    let mut rest = text.as_ref();
    while let Some(character) = rest.chars().next() {
        let (key, taken) = match character {
            '\u{1b}' => sequence(rest),
            '\r' | '\n' => (Some(Key::Enter), 1),
            '\u{7f}' | '\u{8}' => (Some(Key::Erase), 1),
            other if other.is_control() => (None, other.len_utf8()),
            other => (Some(Key::Letter(other)), other.len_utf8()),
        };
        keys.extend(key);
        rest = &rest[taken..];
    }
    keys
}

/// What begins with an escape: `ESC [ A`, `ESC O A`, `ESC [ 5 ~`, or the key of that name.
fn sequence(text: &str) -> (Option<Key>, usize) {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        None => return (Some(Key::Escape), 1),
        Some((_, '[' | 'O')) => {}
        Some(_) => return (Some(Key::Escape), 1),
    }
    let Some((end, last)) = characters.find(|(_, it)| matches!(it, '@'..='~')) else {
        return (None, text.len());
    };
    let key = match (&text[2..end], last) {
        (_, 'A') => Some(Key::Up),
        (_, 'B') => Some(Key::Down),
        (_, 'H') | ("1" | "7", '~') => Some(Key::Home),
        (_, 'F') | ("4" | "8", '~') => Some(Key::End),
        ("5", '~') => Some(Key::PageUp),
        ("6", '~') => Some(Key::PageDown),
        _ => None,
    };
    (key, end + last.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_alone_and_many_at_once() {
        let pressed = keys("q\u{1b}[A\u{1b}OB\u{1b}[6~ä\r\u{7f}\u{1b}[1;5C\u{1b}".as_bytes());
        let expected = [
            Key::Letter('q'),
            Key::Up,
            Key::Down,
            Key::PageDown,
            Key::Letter('ä'),
            Key::Enter,
            Key::Erase,
            Key::Escape,
        ];
        assert_eq!(pressed, expected);
    }

    #[test]
    fn whatever_comes_is_read() {
        for bytes in [
            &b"\x1b["[..],
            b"\x1b[\xff",
            b"\xff\x1b",
            b"\x1b\x1b[",
            b"\x00\x03",
        ] {
            keys(bytes);
        }
        assert_eq!(keys(b"\x1b[999"), []);
    }
}
