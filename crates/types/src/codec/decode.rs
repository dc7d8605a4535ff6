//! Bytes to values.
//!
//! The decoder is a window on the bytes that are left. A nested struct or an enum payload narrows the window
//! to its own bytes; leaving it moves on to what follows, whatever was read, which is how unknown fields are
//! skipped.
//!
//! One value has one encoding, as far as a reader that skips the unknown can tell: varints with needless
//! zeros are refused.

use std::fmt;
use std::mem;

use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer};

use super::{DEEPEST, encoded};

/// Why bytes are not a value of the type asked for, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} (at byte {at_byte})")]
pub struct DecodeError {
    fault: DecodeFault,
    at_byte: usize,
}

impl DecodeError {
    /// What is wrong.
    pub fn fault(&self) -> &DecodeFault {
        &self.fault
    }

    /// Roughly where: how many bytes had been read when it showed.
    pub fn at_byte(&self) -> usize {
        self.at_byte
    }
}

/// What can be wrong with bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeFault {
    /// The message, the struct or the payload ends within a value.
    #[error("the bytes end within a value")]
    Ended,
    /// A count or a length says more than there are bytes.
    #[error("a length of {0} is more than is there")]
    LengthBeyondInput(u64),
    /// Bytes are left behind a value that is not a struct.
    #[error("{0} bytes are left behind the value")]
    TrailingBytes(usize),
    /// Too many options, sequences, maps and enum payloads inside each other.
    #[error("the bytes are nested deeper than {DEEPEST}")]
    TooDeep,
    /// A number is too large for its type.
    #[error("a number is too large for its type")]
    NumberTooLarge,
    /// A varint ends with a needless zero byte.
    #[error("a number is written longer than needed")]
    NumberTooLong,
    /// Neither 0 nor 1 where a bool is expected.
    #[error("{0} is not a bool")]
    Bool(u8),
    /// Neither 0 nor 1 where an option begins.
    #[error("{0} does not begin an option")]
    Option(u8),
    /// Something else than 0 stands for a value that has no bytes of its own.
    #[error("{0} stands where a 0 stands for an empty value")]
    Filler(u8),
    /// Not the number of a character.
    #[error("{0:#x} is not a character")]
    Char(u32),
    /// Text that is not UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
    /// The type stopped reading before the last element.
    #[error("{0} elements were left unread")]
    Unread(usize),
    /// The type wants to be told what the bytes are, and they do not say.
    #[error(
        "the type asks what the bytes are (untagged, flatten, tag = \"...\" or a dynamic value), and they do not say"
    )]
    NotSelfDescribing,
    /// The type itself refused.
    #[error("{0}")]
    Custom(Box<str>),
}

impl de::Error for DecodeFault {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::Custom(message.to_string().into_boxed_str())
    }
}

#[inline]
pub(super) fn whole<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let mut decoder = Decoder {
        input: bytes,
        depth: 0,
        at_frame_start: true,
        elements: bytes.len(),
    };
    let value = T::deserialize(&mut decoder);
    match value {
        Ok(value) if decoder.input.is_empty() => Ok(value),
        Ok(_) => Err(decoder.located(DecodeFault::TrailingBytes(decoder.input.len()), bytes)),
        Err(fault) => Err(decoder.located(fault, bytes)),
    }
}

struct Decoder<'de> {
    /// What is left of the innermost frame. Always a part of the message, also when empty, so that a fault
    /// can be located.
    input: &'de [u8],
    depth: u8,
    /// Whether the next value is all that its frame holds; a struct there has no length of its own.
    at_frame_start: bool,
    /// How many elements may still be announced to those who set memory aside for them. An element has at
    /// least one byte of its own, so honest sequences never announce more than the message has bytes; lying
    /// ones, however nested, cannot either.
    elements: usize,
}

impl<'de> Decoder<'de> {
    #[cold]
    fn located(&self, fault: DecodeFault, message: &[u8]) -> DecodeError {
        let at_byte = self
            .input
            .as_ptr()
            .addr()
            .saturating_sub(message.as_ptr().addr());
        DecodeError { fault, at_byte }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeFault> {
        let (byte, rest) = self.input.split_first().ok_or(DecodeFault::Ended)?;
        self.input = rest;
        Ok(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeFault> {
        let (array, rest) = self.input.split_first_chunk().ok_or(DecodeFault::Ended)?;
        self.input = rest;
        Ok(*array)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeFault> {
        match self.input {
            [byte @ 0..0x80, rest @ ..] => {
                self.input = rest;
                Ok(u64::from(*byte))
            }
            _ => self.varint_of_many_bytes(),
        }
    }

    fn varint_of_many_bytes(&mut self) -> Result<u64, DecodeFault> {
        const MOST_BYTES: usize = 10;
        let mut value = 0;
        for (at, byte) in self.input.iter().copied().enumerate().take(MOST_BYTES) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                let overflows = at == MOST_BYTES - 1 && byte > 1;
                return self.end_varint(value, at + 1, byte, overflows);
            }
        }
        Err(if self.input.len() < MOST_BYTES {
            DecodeFault::Ended
        } else {
            DecodeFault::NumberTooLarge
        })
    }

    fn varint_of_128_bits(&mut self) -> Result<u128, DecodeFault> {
        const MOST_BYTES: usize = 19;
        let mut value = 0;
        for (at, byte) in self.input.iter().copied().enumerate().take(MOST_BYTES) {
            value |= u128::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                let overflows = at == MOST_BYTES - 1 && byte > 3;
                return self.end_varint(value, at + 1, byte, overflows);
            }
        }
        Err(if self.input.len() < MOST_BYTES {
            DecodeFault::Ended
        } else {
            DecodeFault::NumberTooLarge
        })
    }

    #[inline]
    fn end_varint<N>(
        &mut self,
        value: N,
        length: usize,
        last: u8,
        overflows: bool,
    ) -> Result<N, DecodeFault> {
        if overflows {
            return Err(DecodeFault::NumberTooLarge);
        }
        if last == 0 && length > 1 {
            return Err(DecodeFault::NumberTooLong);
        }
        self.input = &self.input[length..];
        Ok(value)
    }

    #[inline]
    fn unsigned<N: TryFrom<u64>>(&mut self) -> Result<N, DecodeFault> {
        N::try_from(self.varint()?).map_err(|_| DecodeFault::NumberTooLarge)
    }

    #[inline]
    fn signed<N: TryFrom<i64>>(&mut self) -> Result<N, DecodeFault> {
        let folded = self.varint()?;
        let value = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        N::try_from(value).map_err(|_| DecodeFault::NumberTooLarge)
    }

    /// A number of things that have at least one byte each.
    #[inline]
    fn count(&mut self) -> Result<usize, DecodeFault> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.input.len() => Ok(count),
            Ok(_) | Err(_) => Err(DecodeFault::LengthBeyondInput(count)),
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'de [u8], DecodeFault> {
        let length = self.count()?;
        let (bytes, rest) = self.input.split_at(length);
        self.input = rest;
        Ok(bytes)
    }

    /// All that is left of the frame.
    #[cold]
    fn whole_frame(&mut self) -> Result<&'de [u8], DecodeFault> {
        if !self.at_frame_start {
            return Err(de::Error::custom(encoded::ONLY_AS_A_WHOLE));
        }
        let (bytes, rest) = self.input.split_at(self.input.len());
        self.input = rest;
        Ok(bytes)
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, DecodeFault> {
        str::from_utf8(self.bytes()?).map_err(|_| DecodeFault::Utf8)
    }

    #[inline]
    fn deeper(&mut self) -> Result<(), DecodeFault> {
        if self.depth == DEEPEST {
            return Err(DecodeFault::TooDeep);
        }
        self.depth += 1;
        self.at_frame_start = false;
        Ok(())
    }

    /// The other half of the encoder's `visible`.
    #[inline]
    fn visible<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DecodeFault> {
        let before = self.input.len();
        let value = seed.deserialize(&mut *self)?;
        if self.input.len() == before {
            self.filler()?;
        }
        Ok(value)
    }

    fn filler(&mut self) -> Result<(), DecodeFault> {
        match self.byte()? {
            0 => Ok(()),
            other => Err(DecodeFault::Filler(other)),
        }
    }

    #[inline]
    fn end_of_input(&self) -> &'de [u8] {
        &self.input[self.input.len()..]
    }

    #[inline]
    fn counted(&mut self) -> Result<Counted<'_, 'de>, DecodeFault> {
        self.deeper()?;
        let left = self.count()?;
        let hint = left.min(self.elements);
        self.elements -= hint;
        Ok(Counted {
            decoder: self,
            left,
            hint,
        })
    }

    #[inline]
    fn leave_counted(&mut self, left: usize) -> Result<(), DecodeFault> {
        self.depth -= 1;
        if left == 0 {
            Ok(())
        } else {
            Err(DecodeFault::Unread(left))
        }
    }
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeFault;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeFault> {
        Err(DecodeFault::NotSelfDescribing)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeFault> {
        Err(DecodeFault::NotSelfDescribing)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(
        self,
        _visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        Err(DecodeFault::NotSelfDescribing)
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            other => Err(DecodeFault::Bool(other)),
        }
    }

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_u8(self.byte()?)
    }

    #[inline]
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_u16(self.unsigned()?)
    }

    #[inline]
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_u32(self.unsigned()?)
    }

    #[inline]
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_u64(self.varint()?)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_u128(self.varint_of_128_bits()?)
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_i8(self.byte()?.cast_signed())
    }

    #[inline]
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_i16(self.signed()?)
    }

    #[inline]
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_i32(self.signed()?)
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_i64(self.signed()?)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        let folded = self.varint_of_128_bits()?;
        visitor.visit_i128((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_f32(f32::from_le_bytes(self.array()?))
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_f64(f64::from_le_bytes(self.array()?))
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        let number = self.unsigned()?;
        visitor.visit_char(char::from_u32(number).ok_or(DecodeFault::Char(number))?)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => {
                self.deeper()?;
                let value = visitor.visit_some(&mut *self)?;
                self.depth -= 1;
                Ok(value)
            }
            other => Err(DecodeFault::Option(other)),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        // Both are constants where a type is decoded, so this costs nothing when running.
        if name == encoded::NAME {
            return visitor.visit_bytes(self.whole_frame()?);
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        let mut elements = self.counted()?;
        let value = visitor.visit_seq(&mut elements)?;
        let left = elements.left;
        self.leave_counted(left)?;
        Ok(value)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeFault> {
        let mut pairs = self.counted()?;
        let value = visitor.visit_map(&mut pairs)?;
        let left = pairs.left;
        self.leave_counted(left)?;
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        self.at_frame_start = false;
        visitor.visit_seq(Tuple {
            decoder: self,
            left: length,
        })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        let fills_frame = mem::replace(&mut self.at_frame_start, false);
        let behind = if fills_frame {
            self.end_of_input()
        } else {
            let own = self.bytes()?;
            mem::replace(&mut self.input, own)
        };
        let value = visitor.visit_seq(Fields {
            decoder: self,
            left: fields.len(),
        })?;
        self.input = behind;
        Ok(value)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        self.at_frame_start = false;
        let head = self.varint()?;
        let index = u32::try_from(head >> 1).map_err(|_| DecodeFault::NumberTooLarge)?;
        let (carries_payload, depth) = (head & 1 == 1, self.depth);
        let payload = if carries_payload {
            self.deeper()?;
            self.bytes()?
        } else {
            &self.input[..0]
        };
        let behind = mem::replace(&mut self.input, payload);
        let value = visitor.visit_enum(Variant {
            decoder: self,
            index,
        })?;
        self.input = behind;
        self.depth = depth;
        Ok(value)
    }
}

/// A sequence or a map.
struct Counted<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
    hint: usize,
}

impl<'de> de::SeqAccess<'de> for &mut Counted<'_, 'de> {
    type Error = DecodeFault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeFault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.decoder.visible(seed).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint)
    }
}

impl<'de> de::MapAccess<'de> for &mut Counted<'_, 'de> {
    type Error = DecodeFault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeFault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.decoder.visible(seed).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeFault> {
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint)
    }
}

/// A tuple, a tuple struct or an array.
struct Tuple<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Tuple<'_, 'de> {
    type Error = DecodeFault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeFault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a struct or of a variant: they end with the window, and what is missing there takes its
/// default.
struct Fields<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = DecodeFault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeFault> {
        if self.left == 0 || self.decoder.input.is_empty() {
            return Ok(None);
        }
        self.left -= 1;
        self.decoder.visible(seed).map(Some)
    }
}

/// An enum variant; the window is on its payload, empty if it carries none.
struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    index: u32,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeFault;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeFault> {
        let index: U32Deserializer<DecodeFault> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeFault;

    #[inline]
    fn unit_variant(self) -> Result<(), DecodeFault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeFault> {
        self.decoder.at_frame_start = true;
        let value = seed.deserialize(&mut *self.decoder)?;
        self.decoder.at_frame_start = false;
        Ok(value)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        visitor.visit_seq(Fields {
            decoder: self.decoder,
            left: length,
        })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeFault> {
        self.tuple_variant(fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::codec::{from_slice, to_vec};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Two {
        a: u8,
        b: u8,
    }

    fn fault<'de, T: Deserialize<'de> + fmt::Debug>(bytes: &'de [u8]) -> DecodeFault {
        from_slice::<T>(bytes).expect_err("must be refused").fault
    }

    #[test]
    fn numbers_beyond_their_type_are_refused() {
        assert_eq!(fault::<u16>(&[0x80, 0x80, 4]), DecodeFault::NumberTooLarge);
        assert_eq!(fault::<i16>(&[0x80, 0x80, 4]), DecodeFault::NumberTooLarge);
        assert_eq!(from_slice::<i16>(&[0xff, 0xff, 3]), Ok(i16::MIN));
        let ten_bytes = |last| [[0xff; 9].as_slice(), &[last]].concat();
        assert_eq!(from_slice::<u64>(&ten_bytes(1)), Ok(u64::MAX));
        assert_eq!(fault::<u64>(&ten_bytes(2)), DecodeFault::NumberTooLarge);
        assert_eq!(fault::<u64>(&[0xff; 11]), DecodeFault::NumberTooLarge);
        assert_eq!(fault::<u128>(&[0xff; 20]), DecodeFault::NumberTooLarge);
        assert_eq!(fault::<u64>(&[0xff; 9]), DecodeFault::Ended);
    }

    #[test]
    fn a_number_written_longer_than_needed_is_refused() {
        assert_eq!(fault::<u64>(&[0x81, 0]), DecodeFault::NumberTooLong);
        assert_eq!(fault::<u128>(&[0x80, 0]), DecodeFault::NumberTooLong);
        assert_eq!(from_slice::<u128>(&[0]), Ok(0));
    }

    #[test]
    fn every_signed_number_comes_back() {
        for value in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN] {
            assert_eq!(from_slice(&to_vec(&value).expect("a number")), Ok(value));
            let wide = i128::from(value) << 64;
            assert_eq!(from_slice(&to_vec(&wide).expect("a number")), Ok(wide));
        }
    }

    #[test]
    fn values_that_no_type_has_are_refused() {
        assert_eq!(fault::<bool>(&[2]), DecodeFault::Bool(2));
        assert_eq!(fault::<Option<u8>>(&[2, 0]), DecodeFault::Option(2));
        assert_eq!(fault::<char>(&[0x80, 0xb0, 3]), DecodeFault::Char(0xd800));
        assert_eq!(fault::<&str>(&[2, 0xc3, 0x28]), DecodeFault::Utf8);
        assert_eq!(fault::<Vec<()>>(&[1, 7]), DecodeFault::Filler(7));
        assert!(
            matches!(fault::<Result<u8, u8>>(&[4]), DecodeFault::Custom(_)),
            "an unknown variant"
        );
    }

    #[test]
    fn text_and_bytes_are_borrowed() {
        let message = to_vec("borrowed").expect("a text");
        let text: &str = from_slice(&message).expect("it was encoded");
        assert_eq!(text.as_ptr(), message[1..].as_ptr());
        let bytes: &[u8] = from_slice(&message).expect("a text is bytes");
        assert_eq!(bytes, b"borrowed");
    }

    #[test]
    fn a_promise_of_more_than_is_there_is_refused_at_once() {
        let huge = to_vec(&u64::MAX).expect("a number");
        assert_eq!(
            fault::<Vec<u64>>(&huge),
            DecodeFault::LengthBeyondInput(u64::MAX)
        );
        assert_eq!(
            fault::<Vec<()>>(&huge),
            DecodeFault::LengthBeyondInput(u64::MAX)
        );
        assert_eq!(
            fault::<BTreeMap<(), ()>>(&huge),
            DecodeFault::LengthBeyondInput(u64::MAX)
        );
        assert_eq!(
            fault::<String>(&[3, b'a', b'b']),
            DecodeFault::LengthBeyondInput(3)
        );
        assert_eq!(
            fault::<(Two, u8)>(&[3, 1, 2]),
            DecodeFault::LengthBeyondInput(3)
        );
    }

    #[test]
    fn nested_promises_announce_no_more_elements_than_the_message_has_bytes() {
        let mut decoder = Decoder {
            input: &[9; 10],
            depth: 0,
            at_frame_start: true,
            elements: 10,
        };
        assert_eq!(decoder.counted().expect("nine are left").hint, 9);
        decoder.input = &[9; 10];
        assert_eq!(decoder.counted().expect("nine are left").hint, 1);
        decoder.input = &[9; 10];
        assert_eq!(decoder.counted().expect("nine are left").hint, 0);
    }

    #[test]
    fn nesting_is_bounded() {
        #[derive(Debug, Deserialize)]
        struct Tree(#[expect(dead_code, reason = "only its depth matters")] Vec<Self>);
        assert_eq!(fault::<Tree>(&[1; 1_000_000]), DecodeFault::TooDeep);
        let deepest = [[1; DEEPEST as usize - 1].as_slice(), &[0]].concat();
        assert!(from_slice::<Tree>(&deepest).is_ok());
    }

    #[test]
    fn bytes_behind_a_struct_are_ignored_and_behind_anything_else_refused() {
        assert_eq!(from_slice(&[7, 8, 9]), Ok(Two { a: 7, b: 8 }));
        assert_eq!(from_slice(&[2, 7, 8, 9]), Ok((Two { a: 7, b: 8 }, 9_u8)));
        assert_eq!(
            from_slice(&[4, 7, 8, 0xff, 0xff, 9]),
            Ok((Two { a: 7, b: 8 }, 9_u8))
        );
        assert_eq!(fault::<(u8, u8)>(&[7, 8, 9]), DecodeFault::TrailingBytes(1));
        assert_eq!(fault::<()>(&[0]), DecodeFault::TrailingBytes(1));
        assert_eq!(
            fault::<Option<Two>>(&[1, 2, 7, 8, 9]),
            DecodeFault::TrailingBytes(1)
        );
    }

    #[test]
    fn a_struct_does_not_read_beyond_its_own_bytes() {
        assert!(
            matches!(fault::<(Two, u8)>(&[1, 7, 9]), DecodeFault::Custom(_)),
            "a field is missing"
        );
        #[derive(Debug, Deserialize)]
        struct Wide {
            #[expect(dead_code, reason = "never read")]
            number: u64,
        }
        assert_eq!(fault::<(Wide, u8)>(&[1, 0x80, 1]), DecodeFault::Ended);
    }

    #[test]
    fn types_that_ask_what_the_bytes_are_get_a_clear_answer() {
        #[derive(Debug, Deserialize)]
        #[serde(untagged)]
        #[expect(dead_code, reason = "never read")]
        enum Untagged {
            Number(u8),
        }
        #[derive(Debug, Deserialize)]
        #[serde(tag = "kind")]
        #[expect(dead_code, reason = "never read")]
        enum Tagged {
            Number { value: u8 },
        }
        #[derive(Debug, Deserialize)]
        struct Flat {
            #[serde(flatten)]
            #[expect(dead_code, reason = "never read")]
            two: Two,
        }
        for fault in [
            fault::<Untagged>(&[1, 2]),
            fault::<Tagged>(&[1, 2]),
            fault::<Flat>(&[1, 2]),
        ] {
            assert_eq!(fault, DecodeFault::NotSelfDescribing);
        }
        assert_eq!(
            fault::<de::IgnoredAny>(&[1]),
            DecodeFault::NotSelfDescribing
        );
    }

    #[test]
    fn an_error_says_where() {
        let error = from_slice::<(Two, (u8, bool))>(&[2, 7, 8, 1, 5]).expect_err("5 is not a bool");
        assert_eq!(error.to_string(), "5 is not a bool (at byte 5)");
        assert_eq!(error.at_byte(), 5);
        let error = from_slice::<Result<u8, u8>>(&[0]).expect_err("no payload");
        assert_eq!(
            error.to_string(),
            "the bytes end within a value (at byte 1)"
        );
    }
}
