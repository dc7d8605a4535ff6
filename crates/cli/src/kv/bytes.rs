//! Keys and values, which are bytes, as people and programs read them.
//!
//! Deliberately not here: reading them back. A command line takes bytes as they are.

use serde_json::{Map, Value};

use crate::text::is_obeyed;

/// The bytes in one line that a terminal can show: text stays text, the rest is escaped as in Rust.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_obeyed(character) || character == '\\' {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// The bytes under a name: as text, or with `_hex` behind the name as hexadecimal digits.
pub(super) fn under(name: &str, bytes: &[u8]) -> Map<String, Value> {
    let (name, value) = match std::str::from_utf8(bytes) {
        Ok(text) => (name.to_owned(), text.to_owned()),
        Err(_) => (format!("{name}_hex"), hex(bytes)),
    };
    Map::from_iter([(name, value.into())])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_line_and_harmless() {
        for (bytes, expected) in [
            (b"plain".as_slice(), "plain"),
            ("grün 你好".as_bytes(), "grün 你好"),
            (b"a\nb\t\x1b[31m", "a\\nb\\t\\u{1b}[31m"),
            (b"\xff\x00k", "\\xff\\u{0}k"),
            (b"c:\\", "c:\\\\"),
            (b"", ""),
        ] {
            assert_eq!(shown(bytes), expected);
        }
    }

    #[test]
    fn text_has_its_name_and_other_bytes_say_that_they_are_digits() {
        assert_eq!(under("key", b"k")["key"], "k");
        assert_eq!(under("key", b"\xff\x0a")["key_hex"], "ff0a");
        assert_eq!(under("key", b"")["key"], "");
    }
}
