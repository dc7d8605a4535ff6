//! A message that somebody else encoded.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole message as bytes, written and read as they are: for programs that pass on messages whose type they do not know.
///
/// It fills its frame, so it is a whole message or all that an enum variant carries; anywhere else it is an error, because
/// nothing would say where it ends. Other formats than this codec see a string of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded(pub Vec<u8>);

impl Encoded {
    /// The message, as whoever knows its type sees it.
    ///
    /// # Errors
    /// When it is none of this type.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, super::DecodeError> {
        super::from_slice(&self.0)
    }
}

/// So that an error that is known as bytes only can be shown.
impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes", self.0.len())
    }
}

/// By this name the codec knows the type; no program can write it for a type of its own.
pub(super) const NAME: &str = "$convoke::Encoded";

pub(super) const ONLY_AS_A_WHOLE: &str =
    "an encoded message can only be a whole message, or all that an enum variant carries";

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(NAME, &Bytes(&self.0))
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NAME, Whole)
    }
}

/// Bytes as one piece; a slice would be a list of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Whole;

impl<'de> de::Visitor<'de> for Whole {
    type Value = Encoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoded message")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
        Ok(Encoded(bytes.to_vec()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Encoded, D::Error> {
        inner.deserialize_byte_buf(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_slice, to_vec};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Known {
        name: String,
        numbers: Vec<u32>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Carrier<T> {
        Nothing,
        Message(T),
    }

    fn known(length: usize) -> Known {
        Known {
            name: "n".repeat(length),
            numbers: vec![1, 300],
        }
    }

    #[test]
    fn it_has_the_bytes_of_the_message_it_was_made_from() {
        for length in [0, 5, 200, 20_000] {
            let bytes = to_vec(&known(length)).unwrap();
            let passed_on: Encoded = from_slice(&bytes).unwrap();
            assert_eq!(to_vec(&passed_on).unwrap(), bytes);
        }
        assert_eq!(from_slice(&[]), Ok(Encoded::default()));
        assert_eq!(to_vec(&Encoded::default()), Ok(Vec::new()));
    }

    #[test]
    fn it_may_be_all_that_a_variant_carries() {
        let bytes = to_vec(&Carrier::Message(known(200))).unwrap();
        let passed_on: Carrier<Encoded> = from_slice(&bytes).unwrap();
        assert_eq!(to_vec(&passed_on).unwrap(), bytes);
    }

    #[test]
    fn where_nothing_would_say_where_it_ends_it_is_refused() {
        let message = Encoded(vec![1, 2, 3]);
        assert!(to_vec(&(message.clone(), 1_u8)).is_err());
        assert!(to_vec(&vec![message.clone()]).is_err());
        assert!(to_vec(&Some(message)).is_err());
        assert!(from_slice::<(Encoded, u8)>(&[1, 2]).is_err());
        assert!(from_slice::<Option<Encoded>>(&[1, 2]).is_err());
    }
}
