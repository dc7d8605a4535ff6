//! Messages between nodes, one file per protocol, each message with a version and a predecessor.
//!
//! Appending a field needs no new version; the codec takes care of that. A new version is for what appending
//! cannot say: a field that changes its meaning or goes away. Nodes read N and N-1, and write N-1 until the
//! decided feature level says that everybody reads N; so a version lives for two releases and no message
//! knows more than one predecessor.
//!
//! A versioned message is a varint, the version, and then the message in the codec.
//!
//! - [`Versioned`]: what a message has to say about its versions. [`NoPrevious`] ends the chain.
//! - [`encode_versioned`], [`encode_previous`], [`decode_versioned`].
//! - [`enrol`]: how a node without a certificate comes in.
//! - [`gossip`]: what members sign about themselves and each other, and how it travels.
//! - [`identity`]: the trust bundle and the credential that are renewed over open links.
//! - [`link`]: lanes, streams and datagrams over one ordered stream of bytes. [`rpc`]: calls.
//! - [`store`]: decided state as its users speak of it.
//!
//! Deliberately not here: the feature level itself. It is decided state; whoever sends asks for it.

pub mod enrol;
pub mod gossip;
pub mod identity;
pub mod link;
pub mod rpc;
pub mod store;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, EncodeError};

/// A message that knows its version and the one before.
pub trait Versioned: Serialize + DeserializeOwned {
    /// What people call it, for errors: "trust bundle".
    const NAME: &'static str;
    /// 1 for the first, and one more than the version of [`Previous`](Self::Previous) for every other, which
    /// is checked when compiling.
    const VERSION: u16;
    /// The version before; [`NoPrevious`] if this is the first.
    type Previous: Versioned;

    /// What a message of the version before means in this one.
    fn upgrade(previous: Self::Previous) -> Self;

    /// This message as the version before, if that one can say it.
    fn downgrade(&self) -> Option<Self::Previous>;
}

/// The predecessor of a first version. There are no values of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoPrevious {}

impl Versioned for NoPrevious {
    const NAME: &'static str = "nothing";
    const VERSION: u16 = 0;
    type Previous = Self;

    fn upgrade(previous: Self) -> Self {
        previous
    }

    fn downgrade(&self) -> Option<Self> {
        Some(*self)
    }
}

/// Why bytes are not a versioned message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A version that this program does not read.
    #[error("a {message} of version {found} has come, and this program reads {}", versions(*.oldest, *.newest))]
    Version {
        /// What was expected.
        message: &'static str,
        /// The version that came.
        found: u16,
        /// The oldest version this program reads.
        oldest: u16,
        /// The newest version this program reads.
        newest: u16,
    },
    /// Not even the version can be read.
    #[error("read the version of a {message}: {fault}")]
    NoVersion {
        /// What was expected.
        message: &'static str,
        /// What is wrong with the bytes.
        fault: DecodeError,
    },
    /// The version is known, and what follows is not such a message. Positions are counted from behind the
    /// version.
    #[error("read a {message} of version {version}: {fault}")]
    Undecodable {
        /// What was expected.
        message: &'static str,
        /// Its version.
        version: u16,
        /// What is wrong with the bytes.
        fault: DecodeError,
    },
}

/// The message in its own version. For when the feature level says that everybody reads it.
pub fn encode_versioned<T: Versioned>(message: &T) -> Result<Vec<u8>, EncodeError> {
    const { assert_chain::<T>() };
    encode_as(T::VERSION, message)
}

/// The message in the version before; nothing if that version cannot say it, or if there is none.
pub fn encode_previous<T: Versioned>(message: &T) -> Result<Option<Vec<u8>>, EncodeError> {
    const { assert_chain::<T>() };
    let previous = message.downgrade();
    previous
        .map(|previous| encode_as(T::Previous::VERSION, &previous))
        .transpose()
}

/// The message in these bytes, whether it came in its own version or in the one before.
pub fn decode_versioned<T: Versioned>(bytes: &[u8]) -> Result<T, WireError> {
    const { assert_chain::<T>() };
    let (version, body) = split_version::<T>(bytes)?;
    if version == T::VERSION {
        return decode_body(T::NAME, version, body);
    }
    if version == T::Previous::VERSION && version != NoPrevious::VERSION {
        return decode_body(T::NAME, version, body).map(T::upgrade);
    }
    let oldest = T::Previous::VERSION.max(1);
    Err(WireError::Version {
        message: T::NAME,
        found: version,
        oldest,
        newest: T::VERSION,
    })
}

const fn assert_chain<T: Versioned>() {
    assert!(
        T::VERSION == <T::Previous as Versioned>::VERSION + 1,
        "a version follows the one before"
    );
}

fn encode_as<T: Serialize>(version: u16, message: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = codec::to_vec(&version)?;
    codec::encode_into(message, &mut bytes)?;
    Ok(bytes)
}

fn split_version<T: Versioned>(bytes: &[u8]) -> Result<(u16, &[u8]), WireError> {
    let last = bytes.iter().position(|byte| *byte < 0x80);
    let (version, body) = bytes.split_at(last.map_or(bytes.len(), |last| last + 1));
    let version = codec::from_slice(version).map_err(|fault| WireError::NoVersion {
        message: T::NAME,
        fault,
    })?;
    Ok((version, body))
}

fn decode_body<T: DeserializeOwned>(
    message: &'static str,
    version: u16,
    body: &[u8],
) -> Result<T, WireError> {
    codec::from_slice(body).map_err(|fault| WireError::Undecodable {
        message,
        version,
        fault,
    })
}

fn versions(oldest: u16, newest: u16) -> String {
    if oldest == newest {
        format!("only version {newest}")
    } else {
        format!("versions {oldest} and {newest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct GreetingV1 {
        name: String,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct GreetingV2 {
        names: Vec<String>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct GreetingV3 {
        names: Vec<String>,
        loud: bool,
    }

    impl Versioned for GreetingV1 {
        const NAME: &'static str = "greeting";
        const VERSION: u16 = 1;
        type Previous = NoPrevious;

        fn upgrade(previous: NoPrevious) -> Self {
            match previous {}
        }

        fn downgrade(&self) -> Option<NoPrevious> {
            None
        }
    }

    impl Versioned for GreetingV2 {
        const NAME: &'static str = "greeting";
        const VERSION: u16 = 2;
        type Previous = GreetingV1;

        fn upgrade(previous: GreetingV1) -> Self {
            Self {
                names: vec![previous.name],
            }
        }

        fn downgrade(&self) -> Option<GreetingV1> {
            let [name] = self.names.as_slice() else {
                return None;
            };
            Some(GreetingV1 { name: name.clone() })
        }
    }

    impl Versioned for GreetingV3 {
        const NAME: &'static str = "greeting";
        const VERSION: u16 = 3;
        type Previous = GreetingV2;

        fn upgrade(GreetingV2 { names }: GreetingV2) -> Self {
            Self { names, loud: false }
        }

        fn downgrade(&self) -> Option<GreetingV2> {
            Some(GreetingV2 {
                names: self.names.clone(),
            })
        }
    }

    fn to(names: &[&str]) -> GreetingV2 {
        GreetingV2 {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_message_is_read_in_its_version_and_in_the_one_before() {
        let new = encode_versioned(&to(&["ada"])).expect("plain data");
        let old = encode_previous(&to(&["ada"]))
            .expect("plain data")
            .expect("one name fits");
        assert_ne!(new, old);
        assert_eq!(decode_versioned(&new), Ok(to(&["ada"])));
        assert_eq!(decode_versioned(&old), Ok(to(&["ada"])));
        assert_eq!(
            decode_versioned(&old),
            Ok(GreetingV1 {
                name: "ada".to_owned()
            })
        );
    }

    #[test]
    fn what_the_version_before_cannot_say_is_not_said() {
        assert_eq!(encode_previous(&to(&["ada", "bob"])), Ok(None));
        assert_eq!(
            encode_previous(&GreetingV1 {
                name: String::new()
            }),
            Ok(None)
        );
    }

    #[test]
    fn a_version_out_of_reach_is_refused_with_the_versions_named() {
        let first = encode_versioned(&GreetingV1 {
            name: "ada".to_owned(),
        })
        .expect("plain data");
        let error = decode_versioned::<GreetingV3>(&first).expect_err("two versions back");
        assert_eq!(
            error.to_string(),
            "a greeting of version 1 has come, and this program reads versions 2 and 3"
        );

        let third = encode_versioned(&GreetingV3::upgrade(to(&[]))).expect("plain data");
        let error = decode_versioned::<GreetingV1>(&third).expect_err("from the future");
        assert_eq!(
            error.to_string(),
            "a greeting of version 3 has come, and this program reads only version 1"
        );
        let expected = WireError::Version {
            message: "greeting",
            found: 0,
            oldest: 1,
            newest: 1,
        };
        assert_eq!(
            decode_versioned::<GreetingV1>(&[0]),
            Err(expected),
            "nobody sends version 0"
        );
    }

    #[test]
    fn bytes_without_a_version_or_with_a_broken_message_are_told_apart() {
        for bytes in [[].as_slice(), &[0x80], &[0xff, 0xff, 0xff, 1]] {
            assert!(matches!(
                decode_versioned::<GreetingV1>(bytes),
                Err(WireError::NoVersion { .. })
            ));
        }
        let error = decode_versioned::<GreetingV1>(&[1, 5, b'a']).expect_err("the name is cut");
        assert_eq!(
            error.to_string(),
            "read a greeting of version 1: a length of 5 is more than is there (at byte 1)"
        );
    }
}
