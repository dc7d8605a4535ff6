//! Values to bytes.
//!
//! Lengths and counts that are not known beforehand get one placeholder byte that is replaced when they are;
//! only when the number needs more bytes does what follows move. Nothing is buffered elsewhere, nothing is
//! allocated per field.

use std::fmt;

use serde::{Serialize, Serializer, ser};

use super::{DEEPEST, encoded};

/// Why a value has no bytes. All but `Custom` are mistakes in the program, not in the data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Too many options, sequences, maps and enum payloads inside each other; nobody could decode it.
    #[error("the value is nested deeper than {DEEPEST}")]
    TooDeep,
    /// A map that does not know its length, which is what `#[serde(flatten)]` turns a struct into.
    #[error("a map of unknown length, as #[serde(flatten)] makes it, cannot be encoded")]
    UncountedMap,
    /// `#[serde(skip_serializing_if)]` left out a field, so the next one would be taken for it.
    #[error("the field {0:?} was skipped, and fields are told apart by their order alone")]
    SkippedField(&'static str),
    /// A sequence or map gave more or fewer elements than it had announced.
    #[error("{announced} elements were announced and {given} given")]
    Miscounted {
        /// What it had said.
        announced: usize,
        /// What came.
        given: usize,
    },
    /// The value itself refused.
    #[error("{0}")]
    Custom(Box<str>),
}

impl ser::Error for EncodeError {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::Custom(message.to_string().into_boxed_str())
    }
}

#[inline]
pub(super) fn append<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    value.serialize(&mut Encoder {
        out,
        depth: 0,
        at_frame_start: true,
    })
}

struct Encoder<'b> {
    out: &'b mut Vec<u8>,
    depth: u8,
    /// Whether the next value is all that its frame holds: the message itself, or the payload of an enum
    /// variant. A struct there needs no length of its own.
    at_frame_start: bool,
}

impl Encoder<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.out.push(value as u8);
        } else {
            // Appending all ten and cutting is faster than copying a length that is only known when running.
            let (bytes, length) = varint(value);
            let end = self.out.len() + length;
            self.out.extend_from_slice(&bytes);
            self.out.truncate(end);
        }
    }

    fn long_varint(&mut self, mut value: u128) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Keeps a byte free for a number that is known later, and says where.
    #[inline]
    fn placeholder(&mut self) -> usize {
        self.out.push(0);
        self.out.len() - 1
    }

    #[inline]
    fn replace(&mut self, placeholder: usize, number: usize) {
        if number < 0x80 {
            self.out[placeholder] = number as u8;
        } else {
            self.replace_by_more(placeholder, number);
        }
    }

    #[inline]
    fn replace_by_length_since(&mut self, placeholder: usize) {
        self.replace(placeholder, self.out.len() - placeholder - 1);
    }

    #[cold]
    fn replace_by_more(&mut self, placeholder: usize, number: usize) {
        let (bytes, length) = varint(number as u64);
        self.out
            .splice(placeholder..=placeholder, bytes.into_iter().take(length));
    }

    #[inline]
    fn deeper(&mut self) -> Result<(), EncodeError> {
        if self.depth == DEEPEST {
            return Err(EncodeError::TooDeep);
        }
        self.depth += 1;
        self.at_frame_start = false;
        Ok(())
    }

    /// Writes bytes that are all of a frame, without the length that bytes have elsewhere.
    #[cold]
    fn whole_frame<T: Serialize + ?Sized>(&mut self, bytes: &T) -> Result<(), EncodeError> {
        if !self.at_frame_start {
            return Err(ser::Error::custom(encoded::ONLY_AS_A_WHOLE));
        }
        let start = self.out.len();
        bytes.serialize(&mut *self)?;
        let length = self.out[start..].iter().take_while(|byte| **byte >= 0x80);
        let length = length.count() + 1;
        self.out.drain(start..start + length);
        Ok(())
    }

    #[inline]
    fn open_variant(&mut self, index: u32) -> Result<usize, EncodeError> {
        self.deeper()?;
        self.varint(u64::from(index) << 1 | 1);
        Ok(self.placeholder())
    }

    #[inline]
    fn close_variant(&mut self, placeholder: usize) {
        self.depth -= 1;
        self.replace_by_length_since(placeholder);
    }

    /// Writes a value of which there must be something to see, so that a reader can tell that it is there.
    #[inline]
    fn visible<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let before = self.out.len();
        value.serialize(&mut *self)?;
        if self.out.len() == before {
            self.byte(0);
        }
        Ok(())
    }
}

/// Seven bits a byte, the least significant first; all but the last byte have the eighth bit set.
#[inline]
fn varint(mut value: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut last) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[last] = value as u8 | 0x80;
        value >>= 7;
        last += 1;
    }
    bytes[last] = value as u8;
    (bytes, last + 1)
}

impl<'e, 'b> Serializer for &'e mut Encoder<'b> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Counted<'e, 'b>;
    type SerializeTuple = Tuple<'e, 'b>;
    type SerializeTupleStruct = Tuple<'e, 'b>;
    type SerializeTupleVariant = Variant<'e, 'b>;
    type SerializeMap = Counted<'e, 'b>;
    type SerializeStruct = Fields<'e, 'b>;
    type SerializeStructVariant = Variant<'e, 'b>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.byte(u8::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), EncodeError> {
        self.byte(value);
        Ok(())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), EncodeError> {
        self.varint(u64::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), EncodeError> {
        self.varint(u64::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), EncodeError> {
        self.varint(value);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), EncodeError> {
        self.long_varint(value);
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), EncodeError> {
        self.byte(value.cast_unsigned());
        Ok(())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), EncodeError> {
        self.serialize_i64(i64::from(value))
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), EncodeError> {
        self.serialize_i64(i64::from(value))
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), EncodeError> {
        self.varint((value << 1 ^ value >> 63).cast_unsigned());
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), EncodeError> {
        self.long_varint((value << 1 ^ value >> 127).cast_unsigned());
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.varint(u64::from(u32::from(value)));
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.bytes(value.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.bytes(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), EncodeError> {
        self.byte(0);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.deeper()?;
        self.byte(1);
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), EncodeError> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        // Both are constants where a type is encoded, so this costs nothing when running.
        if name == encoded::NAME {
            return self.whole_frame(value);
        }
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, count: Option<usize>) -> Result<Counted<'e, 'b>, EncodeError> {
        self.deeper()?;
        let announced = match count {
            Some(count) => {
                self.varint(count as u64);
                Announced::Count(count)
            }
            None => Announced::LaterAt(self.placeholder()),
        };
        Ok(Counted {
            encoder: self,
            announced,
            given: 0,
        })
    }

    #[inline]
    fn serialize_map(self, count: Option<usize>) -> Result<Counted<'e, 'b>, EncodeError> {
        match count {
            Some(_) => self.serialize_seq(count),
            None => Err(EncodeError::UncountedMap),
        }
    }

    #[inline]
    fn serialize_tuple(self, _length: usize) -> Result<Tuple<'e, 'b>, EncodeError> {
        self.at_frame_start = false;
        Ok(Tuple { encoder: self })
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        length: usize,
    ) -> Result<Tuple<'e, 'b>, EncodeError> {
        self.serialize_tuple(length)
    }

    #[inline]
    fn serialize_struct(
        self,
        _name: &'static str,
        _fields: usize,
    ) -> Result<Fields<'e, 'b>, EncodeError> {
        let fills_frame = std::mem::replace(&mut self.at_frame_start, false);
        let length_at = if fills_frame {
            None
        } else {
            Some(self.placeholder())
        };
        Ok(Fields {
            encoder: self,
            length_at,
        })
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.varint(u64::from(index) << 1);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        let length_at = self.open_variant(index)?;
        self.at_frame_start = true;
        value.serialize(&mut *self)?;
        self.at_frame_start = false;
        self.close_variant(length_at);
        Ok(())
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Variant<'e, 'b>, EncodeError> {
        let length_at = self.open_variant(index)?;
        Ok(Variant {
            encoder: self,
            length_at,
        })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        fields: usize,
    ) -> Result<Variant<'e, 'b>, EncodeError> {
        self.serialize_tuple_variant(name, index, variant, fields)
    }
}

/// A sequence or a map.
struct Counted<'e, 'b> {
    encoder: &'e mut Encoder<'b>,
    announced: Announced,
    given: usize,
}

#[derive(Clone, Copy)]
enum Announced {
    Count(usize),
    LaterAt(usize),
}

impl Counted<'_, '_> {
    #[inline]
    fn close(self) -> Result<(), EncodeError> {
        self.encoder.depth -= 1;
        match self.announced {
            Announced::Count(announced) if announced != self.given => {
                return Err(EncodeError::Miscounted {
                    announced,
                    given: self.given,
                });
            }
            Announced::Count(_) => {}
            Announced::LaterAt(placeholder) => self.encoder.replace(placeholder, self.given),
        }
        Ok(())
    }
}

impl ser::SerializeSeq for Counted<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.given += 1;
        self.encoder.visible(value)
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        self.close()
    }
}

impl ser::SerializeMap for Counted<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.given += 1;
        self.encoder.visible(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        self.close()
    }
}

/// A tuple, a tuple struct or an array: what it holds, and nothing else.
struct Tuple<'e, 'b> {
    encoder: &'e mut Encoder<'b>,
}

impl ser::SerializeTuple for Tuple<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Tuple<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        Ok(())
    }
}

/// A struct with named fields.
struct Fields<'e, 'b> {
    encoder: &'e mut Encoder<'b>,
    /// Nowhere for the struct that fills its frame.
    length_at: Option<usize>,
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.encoder.visible(value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), EncodeError> {
        Err(EncodeError::SkippedField(key))
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        if let Some(placeholder) = self.length_at {
            self.encoder.replace_by_length_since(placeholder);
        }
        Ok(())
    }
}

/// What an enum variant with several fields carries, named or not.
struct Variant<'e, 'b> {
    encoder: &'e mut Encoder<'b>,
    length_at: usize,
}

impl ser::SerializeTupleVariant for Variant<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.encoder.visible(value)
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        self.encoder.close_variant(self.length_at);
        Ok(())
    }
}

impl ser::SerializeStructVariant for Variant<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.encoder.visible(value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), EncodeError> {
        Err(EncodeError::SkippedField(key))
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        self.encoder.close_variant(self.length_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::codec::{encode_into, to_vec};

    #[derive(Serialize)]
    struct Two {
        a: u8,
        b: u8,
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        assert_eq!(to_vec(&127_u64), Ok(vec![0x7f]));
        assert_eq!(to_vec(&128_u64), Ok(vec![0x80, 1]));
        assert_eq!(to_vec(&u64::MAX).map(|bytes| bytes.len()), Ok(10));
        assert_eq!(to_vec(&-1_i64), Ok(vec![1]));
        assert_eq!(to_vec(&-64_i32), Ok(vec![0x7f]));
        assert_eq!(to_vec(&64_i16), Ok(vec![0x80, 1]));
        assert_eq!(to_vec(&-1_i8), Ok(vec![0xff]));
        assert_eq!(to_vec(&u128::MAX).map(|bytes| bytes.len()), Ok(19));
    }

    #[test]
    fn only_a_struct_that_fills_its_frame_goes_without_a_length() {
        #[derive(Serialize)]
        struct Wrapper(Two);
        let two = || Two { a: 7, b: 8 };

        assert_eq!(to_vec(&two()), Ok(vec![7, 8]));
        assert_eq!(to_vec(&Wrapper(two())), Ok(vec![7, 8]));
        assert_eq!(to_vec(&(two(), 9_u8)), Ok(vec![2, 7, 8, 9]));
        assert_eq!(to_vec(&Some(two())), Ok(vec![1, 2, 7, 8]));
        assert_eq!(
            to_vec(&Ok::<_, ()>(two())),
            Ok(vec![1, 2, 7, 8]),
            "tag, length of the payload, fields"
        );
        assert_eq!(
            to_vec(&[two(), two()].as_slice()),
            Ok(vec![2, 2, 7, 8, 2, 7, 8])
        );
    }

    #[test]
    fn a_long_content_moves_to_make_room_for_its_length() {
        #[derive(Serialize)]
        struct Outer<'a> {
            inner: Inner<'a>,
            last: u8,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            text: &'a str,
        }
        for length in [126, 127, 128, 129, 16_383, 16_384, 100_000] {
            let text = "x".repeat(length);
            let bytes = to_vec(&Outer {
                inner: Inner { text: &text },
                last: 9,
            })
            .expect("plain data");
            let inner = to_vec(&Inner { text: &text }).expect("plain data");
            let expected = [to_vec(&inner.len()).expect("a number"), inner, vec![9]].concat();
            assert!(bytes == expected, "length {length}");
        }
    }

    #[test]
    fn a_sequence_may_learn_its_length_at_the_end() {
        struct Unsized(usize);
        impl Serialize for Unsized {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq((0..self.0).filter(|_| true))
            }
        }
        for count in [0, 1, 127, 128, 20_000] {
            assert_eq!(
                to_vec(&Unsized(count)),
                to_vec(&(0..count).collect::<Vec<_>>())
            );
        }
    }

    #[test]
    fn what_would_be_invisible_is_one_zero_byte_where_presence_matters() {
        #[derive(Serialize)]
        struct Marked {
            mark: (),
            last: u8,
        }
        assert_eq!(to_vec(&Marked { mark: (), last: 5 }), Ok(vec![0, 5]));
        assert_eq!(to_vec(&vec![(); 3]), Ok(vec![3, 0, 0, 0]));
        assert_eq!(to_vec(&BTreeMap::from([((), 4_u8)])), Ok(vec![1, 0, 4]));
        assert_eq!(to_vec(&()), Ok(vec![]));
        assert_eq!(to_vec(&((), 1_u8, [(); 9])), Ok(vec![1]));
    }

    #[test]
    fn a_refused_value_leaves_the_buffer_as_it_was() {
        #[derive(Serialize)]
        struct Optional {
            a: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            b: Option<u8>,
        }
        #[derive(Serialize)]
        struct Flat {
            a: u8,
            #[serde(flatten)]
            two: Two,
        }
        let mut bytes = vec![1, 2, 3];
        let skipped = encode_into(&Optional { a: 1, b: None }, &mut bytes);
        assert_eq!(skipped, Err(EncodeError::SkippedField("b")));
        let flat = encode_into(
            &Flat {
                a: 1,
                two: Two { a: 7, b: 8 },
            },
            &mut bytes,
        );
        assert_eq!(flat, Err(EncodeError::UncountedMap));
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[test]
    fn a_sequence_that_miscounts_itself_is_refused() {
        struct Liar;
        impl Serialize for Liar {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut seq = serializer.serialize_seq(Some(2))?;
                ser::SerializeSeq::serialize_element(&mut seq, &1_u8)?;
                ser::SerializeSeq::end(seq)
            }
        }
        assert_eq!(
            to_vec(&Liar),
            Err(EncodeError::Miscounted {
                announced: 2,
                given: 1
            })
        );
    }

    #[test]
    fn what_nobody_could_decode_is_not_encoded() {
        #[derive(Serialize)]
        struct Chain(Option<Box<Self>>);
        let chain = |links| (0..links).fold(Chain(None), |next, _| Chain(Some(Box::new(next))));
        assert!(to_vec(&chain(usize::from(DEEPEST))).is_ok());
        assert_eq!(
            to_vec(&chain(usize::from(DEEPEST) + 1)),
            Err(EncodeError::TooDeep)
        );
    }
}
