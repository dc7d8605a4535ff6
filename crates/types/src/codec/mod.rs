//! The codec: serde values as compact bytes to which fields can be appended, also deep inside.
//!
//! The rules are in `docs/formats/codec.md`, with a worked example and what may change between two versions
//! of a program. In short: numbers are varints, names are not written, a nested struct and what an enum
//! variant carries are preceded by their length in bytes. So an old program skips what a new one appended,
//! and a new one fills what an old one did not know with `#[serde(default)]`.
//!
//! - [`to_vec`], [`encode_into`]: a value to bytes. [`from_slice`]: bytes to a value, borrowing from them
//!   where the type does.
//! - [`Encoded`]: a message whose bytes are passed on as they are, by whoever does not know its type.
//! - [`EncodeError`], [`DecodeError`] with its [`DecodeFault`]: why not.
//!
//! Bytes from strangers are harmless: nesting is bounded by [`DEEPEST`], a count never exceeds the bytes that
//! are left, and memory is set aside for what is there, not for what is promised.
//!
//! Deliberately not here: reading and writing streams (whoever frames messages knows their length),
//! compression, checksums, and whatever needs bytes that describe themselves: `untagged`, `flatten`,
//! `skip_serializing_if`, dynamic values.

mod decode;
mod encode;
mod encoded;

use serde::{Deserialize, Serialize};

pub use decode::{DecodeError, DecodeFault};
pub use encode::EncodeError;
pub use encoded::Encoded;

/// How many options, sequences, maps and enum payloads may lie inside each other.
///
/// These are what makes a type contain itself, so this bounds the stack that hostile bytes can use.
/// Structs and tuples do not count: how deep they nest is written in the program.
pub const DEEPEST: u8 = 128;

/// The bytes of a value.
#[inline]
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(128);
    encode::append(value, &mut bytes)?;
    Ok(bytes)
}

/// Appends the bytes of a value; on an error, `bytes` is as it was.
#[inline]
pub fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let before = bytes.len();
    encode::append(value, bytes).inspect_err(|_| bytes.truncate(before))
}

/// The value that these bytes, all of them, say.
///
/// Bytes behind the last field of a *struct* come from a newer program and are ignored; behind anything else
/// they are an error.
#[inline]
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    decode::whole(bytes)
}
