//! Bytes and foreign text as they travel in addresses and JSON: percent-encoding, base64, and the nearest known name.
//!
//! Everything here is bounded by its input and never panics; inputs are bounded by the head and body limits.

use std::fmt::Write as _;

/// Bytes as they stand in a path: letters, digits and `-._~` as they are, everything else as `%XX`.
#[must_use]
pub fn percent_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes of a percent-encoded text; `None` if a `%` is not followed by two digits.
#[must_use]
pub fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes in base64 with padding (RFC 4648 §4).
#[must_use]
pub fn base64_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0_u32, |sum, (at, byte)| {
            sum | u32::from(*byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            if at <= chunk.len() {
                let six = (group >> (18 - 6 * at)) & 63;
                text.push(char::from(ALPHABET[six as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes of a base64 text with padding; `None` if it is none, or not the one way to write these bytes.
#[must_use]
pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut group = 0_u32;
        for (at, letter) in chunk.iter().enumerate() {
            let six = ALPHABET.iter().position(|known| known == letter)?;
            group |= u32::try_from(six).ok()? << (18 - 6 * at);
        }
        let whole = [(group >> 16) as u8, (group >> 8) as u8, group as u8];
        bytes.extend_from_slice(&whole[..chunk.len().checked_sub(1)?]);
    }
    (base64_encode(&bytes) == text).then_some(bytes)
}

/// Foreign text in our sentences: bounded, and without characters that would do something to a terminal.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().take(64).map(harmless).collect()
}

/// The letter, or a question mark of Unicode for what is not seen and for what changes how others are seen.
#[must_use]
pub fn harmless(letter: char) -> char {
    let plain = matches!(letter, '"' | '\'' | '\\') || letter.escape_debug().count() == 1;
    if plain {
        letter
    } else {
        char::REPLACEMENT_CHARACTER
    }
}

/// The known name that is most likely meant, if one is near enough: with a mistake in every third letter, and never more than three. Two
/// neighbours that changed places are one mistake.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are no slips of the finger, and distances cost their product.
    if name.len() > 64 {
        return None;
    }
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_go_into_a_path_and_come_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(percent_decode(&percent_encode(&bytes)), Some(bytes));
        assert_eq!(percent_encode(b"a/b c"), "a%2Fb%20c");
        assert_eq!(percent_decode("%2"), None);
        assert_eq!(percent_decode("%zz"), None);
    }

    #[test]
    fn base64_is_read_in_the_one_way_it_is_written() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
        ] {
            assert_eq!(base64_encode(bytes), text);
            assert_eq!(base64_decode(text).as_deref(), Some(bytes));
        }
        for wrong in ["Zg", "Zh==", "Z", "Zm9v=", "Zm 9"] {
            assert_eq!(base64_decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_told_from_another_word() {
        assert_eq!(nearest("rol", ["role", "name"]), Some("role"));
        assert_eq!(nearest("lmit", ["after", "limit"]), Some("limit"));
        assert_eq!(nearest("banana", ["role", "name"]), None);
        assert_eq!(nearest("nmae", ["role", "name"]), Some("name"), "a swap");
        let settings = ["node.name", "node.data", "network.listen"];
        assert_eq!(nearest("node.nmae", settings), Some("node.name"));
        assert_eq!(nearest("nod.dat", settings), Some("node.data"));
        assert_eq!(nearest("network.listne", settings), Some("network.listen"));
        assert_eq!(nearest("qqqqqqqq", settings), None);
        assert_eq!(nearest("", settings), None);
    }

    #[test]
    fn shown_text_does_nothing_to_a_terminal() {
        assert_eq!(shown("a'\u{1b}[2J\u{202e}é"), "a'\u{fffd}[2J\u{fffd}é");
    }
}
