//! JSON as text: checked, spread over lines, and harmless for a terminal.
//!
//! It is never read into values: numbers keep every digit and fields their order.

use anyhow::Context;
use serde::de::IgnoredAny;

use crate::text::is_obeyed;

/// The JSON that a server sent, once it is known to be JSON, without characters that a terminal would obey.
pub(super) fn checked(text: &str) -> anyhow::Result<String> {
    serde_json::from_str::<IgnoredAny>(text).context("read the JSON that the server sent")?;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        // Valid JSON has these in strings only, except for spaces between its parts.
        match character {
            '\n' | '\t' | '\r' => out.push(' '),
            character if is_obeyed(character) => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => out.push(character),
        }
    }
    Ok(out)
}

/// Checked JSON, spread over lines.
pub(super) fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                out.push('"');
                copy_string(&mut characters, &mut out);
            }
            '{' | '[' => {
                out.push(character);
                while characters
                    .next_if(|next| next.is_ascii_whitespace())
                    .is_some()
                {}
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            space if space.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

fn copy_string(characters: &mut impl Iterator<Item = char>, out: &mut String) {
    while let Some(character) = characters.next() {
        out.push(character);
        match character {
            '"' => return,
            '\\' => out.extend(characters.next()),
            _ => {}
        }
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spread_over_lines_and_stays_the_same() {
        let text =
            r#"{"b":[1,{"a":"x{,:\"y"},[]],"a":{}, "long":123456789012345678901234567890.10}"#;
        let expected = r#"{
  "b": [
    1,
    {
      "a": "x{,:\"y"
    },
    []
  ],
  "a": {},
  "long": 123456789012345678901234567890.10
}"#;
        assert_eq!(pretty(&checked(text).unwrap()), expected);
        assert_eq!(pretty("\"alone\""), "\"alone\"");
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_as_an_escape() {
        let text = "\"\u{7f}red\u{9b}2J \u{202e}back\"";
        let safe = checked(text).unwrap();
        assert_eq!(safe, r#""\u007fred\u009b2J \u202eback""#);
        let read: String = serde_json::from_str(&safe).unwrap();
        assert_eq!(format!("\"{read}\""), text);
    }

    #[test]
    fn what_is_no_json_is_not_shown() {
        assert!(checked("{\u{1b}[31m}").is_err());
        assert!(checked("1 2").is_err());
    }
}
