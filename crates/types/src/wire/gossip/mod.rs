//! The bytes of gossip: what members sign about themselves and each other, and how it travels.
//!
//! ```text
//! unit      what somebody signed: a page of facts, a standing, a vote        ([`unit`])
//! datagram  version cluster-tag section*      may be lost                     ([`datagram`])
//! letter    kind fields units                 on a stream of its own, ordered ([`letter`])
//! ```
//!
//! Units are passed on exactly as they were signed, so a relay needs no key and can change nothing. Everything here is
//! arithmetic on byte slices; who may say what, and what follows from it, is known in `convoke-membership`. The layouts
//! are described in `docs/formats/gossip.md`.
//!
//! Deliberately not here: checking signatures, and what the facts on a page mean.

pub mod datagram;
pub mod letter;
pub mod unit;

use std::fmt;

use crate::NodeId;

/// The first eight bytes of a node id, enough to find a member by.
///
/// Node ids are public keys, so two of 5,000 members share a handle by chance about once in 10^12 clusters. Whoever makes
/// such a key on purpose gains nothing: what is signed names whole ids, so a mix-up shows as a bad signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u64);

impl Handle {
    /// The handle of a node.
    #[must_use]
    pub fn of(node: &NodeId) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *node.as_bytes();
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({:016x})", self.0)
    }
}

/// Why bytes are not gossip. They are counted and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// It ends inside its own fields.
    #[error("it ends inside its own fields")]
    Truncated,
    /// A number above 64 bits, or longer than it needs to be.
    #[error("a number of more than 64 bits, or longer than it needs to be")]
    BadNumber,
    /// A version this program does not read.
    #[error("version {0}, and this program reads version 1")]
    Version(u8),
    /// It belongs to another cluster.
    #[error("it belongs to another cluster")]
    OtherCluster,
    /// A kind this side does not know, where it may not be skipped.
    #[error("an unknown kind {0}")]
    UnknownKind(u8),
    /// More of something than a message may hold.
    #[error("{found} {what} where {limit} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many came.
        found: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// Bytes behind the end.
    #[error("bytes behind the end")]
    Trailing,
    /// An address that is none.
    #[error("an address of kind {0}, and there are 4 and 6")]
    Address(u8),
}

/// Takes fields off the front of a slice.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], GossipError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(GossipError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], GossipError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(GossipError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, GossipError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, GossipError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, GossipError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, GossipError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn handle(&mut self) -> Result<Handle, GossipError> {
        self.array().map(u64::from_be_bytes).map(Handle)
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, GossipError> {
        self.array().map(NodeId::from_public_key)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, GossipError> {
        let mut value = 0u64;
        for place in 0..10 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if place == 9 && byte > 1 || byte == 0 && place > 0 {
                return Err(GossipError::BadNumber);
            }
            value |= bits << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(GossipError::BadNumber)
    }

    /// A varint that counts things, at most `limit` of them.
    pub(crate) fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, GossipError> {
        let found = self.varint()?;
        match usize::try_from(found) {
            Ok(count) if count <= limit => Ok(count),
            Ok(_) | Err(_) => Err(GossipError::TooMany {
                what,
                found,
                limit: limit as u64,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rpc::put_varint;

    #[test]
    fn numbers_come_back_and_longer_forms_of_them_do_not() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Reader::new(&bytes).varint(), Ok(value));
        }
        assert_eq!(
            Reader::new(&[0x80, 0]).varint(),
            Err(GossipError::BadNumber)
        );
        assert_eq!(
            Reader::new(&[0xff; 11]).varint(),
            Err(GossipError::BadNumber)
        );
        assert_eq!(Reader::new(&[0x80]).varint(), Err(GossipError::Truncated));
    }

    #[test]
    fn a_handle_is_the_beginning_of_an_id() {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let handle = Handle::of(&NodeId::from_public_key(id));
        assert_eq!(format!("{handle:?}"), "Handle(0102030405060708)");
    }
}
