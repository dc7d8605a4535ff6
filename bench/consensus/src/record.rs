//! What is written: keys of 16 bytes, and values of 200 bytes that say themselves whether they are whole.
//!
//! A value holds its number and bytes that follow from its key and number. They look like chance, so that no system gains by
//! compressing them, and a reader can tell which value it got and that nothing of it is wrong.

use anyhow::Context as _;

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 200;
const WORD: usize = size_of::<u64>();

/// The key with that number.
pub(crate) fn key(key: u64) -> Vec<u8> {
    format!("k{key:015x}").into_bytes()
}

/// The value with that number of a key.
pub(crate) fn value(key: u64, number: u64) -> Vec<u8> {
    let mut state = key.rotate_left(32) ^ number;
    let mut value = number.to_le_bytes().to_vec();
    while value.len() < VALUE_BYTES {
        value.extend(next(&mut state).to_le_bytes());
    }
    value
}

/// The number of a value that was read.
///
/// # Errors
/// If it is not exactly a value of that key.
pub(crate) fn number_of(key: u64, found: &[u8]) -> anyhow::Result<u64> {
    let number = found
        .first_chunk::<WORD>()
        .context("a value is too short")?;
    let number = u64::from_le_bytes(*number);
    anyhow::ensure!(
        found == value(key, number),
        "a value is not what was written"
    );
    Ok(number)
}

/// splitmix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_its_number() {
        let value = value(7, 42);
        assert_eq!(value.len(), VALUE_BYTES);
        assert_eq!(number_of(7, &value).unwrap(), 42);
    }

    #[test]
    fn a_value_of_another_key_or_with_a_wrong_bit_is_refused() {
        let mut value = value(7, 42);
        assert!(number_of(8, &value).is_err());
        value[VALUE_BYTES - 1] ^= 1;
        assert!(number_of(7, &value).is_err());
        assert!(number_of(7, b"short").is_err());
    }

    #[test]
    fn keys_have_one_length() {
        assert_eq!(key(0).len(), 16);
        assert_eq!(key((1 << 60) - 1).len(), 16);
    }
}
