//! What nodes tell each other about trust: whose signatures count, and a renewed credential.
//!
//! Both travel over links that are already proven: a [`TrustBundleV1`] to everybody when the set of issuers
//! changes, a [`CredentialV1`] when a certificate was renewed, so that the link's expiry moves and nothing is
//! dropped. Their bytes are in `docs/formats/identity.md`.
//!
//! Deliberately not here: looking into certificates. Here they are bytes; whoever receives them checks every
//! one as if it came in a handshake.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{NoPrevious, Versioned};
use crate::{ClusterId, NodeId};

/// A certificate as it was signed, in DER. Unchecked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Der(Vec<u8>);

impl Der {
    /// The certificate with these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Whose signatures count in a cluster, and which nodes no longer belong to it.
///
/// It grows by one certificate per issuer and by 32 bytes per node that was forgotten; what is allowed in one
/// message bounds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundleV1 {
    cluster: ClusterId,
    issuers: Vec<Der>,
    #[serde(deserialize_with = "strictly_ascending")]
    forgotten: Vec<NodeId>,
}

impl TrustBundleV1 {
    /// The bundle of a cluster. Forgotten nodes are sorted and named once; the order of the issuers is kept
    /// and means nothing.
    pub fn new(
        cluster: ClusterId,
        issuers: Vec<Der>,
        forgotten: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let mut forgotten: Vec<_> = forgotten.into_iter().collect();
        forgotten.sort_unstable();
        forgotten.dedup();
        Self {
            cluster,
            issuers,
            forgotten,
        }
    }

    /// The cluster it speaks for.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The certificates of the issuers.
    pub fn issuers(&self) -> &[Der] {
        &self.issuers
    }

    /// The nodes that were forgotten, in ascending order, each once.
    pub fn forgotten(&self) -> &[NodeId] {
        &self.forgotten
    }

    /// Whether a node was forgotten, whatever certificate it shows.
    pub fn has_forgotten(&self, node: &NodeId) -> bool {
        self.forgotten.binary_search(node).is_ok()
    }
}

/// A renewed certificate for the node at the other end of the link, and what leads from it to an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialV1 {
    /// The node's own certificate first.
    pub chain: Vec<Der>,
}

impl Versioned for TrustBundleV1 {
    const NAME: &'static str = "trust bundle";
    const VERSION: u16 = 1;
    type Previous = NoPrevious;

    fn upgrade(previous: NoPrevious) -> Self {
        match previous {}
    }

    fn downgrade(&self) -> Option<NoPrevious> {
        None
    }
}

impl Versioned for CredentialV1 {
    const NAME: &'static str = "credential";
    const VERSION: u16 = 1;
    type Previous = NoPrevious;

    fn upgrade(previous: NoPrevious) -> Self {
        match previous {}
    }

    fn downgrade(&self) -> Option<NoPrevious> {
        None
    }
}

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(DerBytes)
    }
}

struct DerBytes;

impl<'de> de::Visitor<'de> for DerBytes {
    type Value = Der;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a certificate")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Der, E> {
        Ok(Der(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Der, E> {
        Ok(Der(bytes))
    }

    /// Formats without bytes write a list of numbers.
    fn visit_seq<A: de::SeqAccess<'de>>(self, numbers: A) -> Result<Der, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(numbers)).map(Der)
    }
}

/// One bundle has one encoding, and looking a node up may rely on the order.
fn strictly_ascending<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeId>, D::Error> {
    let nodes = Vec::<NodeId>::deserialize(deserializer)?;
    if nodes.is_sorted_by(|before, after| before < after) {
        Ok(nodes)
    } else {
        Err(de::Error::custom(
            "forgotten nodes are not in ascending order, each once",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{decode_versioned, encode_versioned};

    fn node(byte: u8) -> NodeId {
        NodeId::from_public_key([byte; 32])
    }

    #[test]
    fn a_bundle_sorts_who_was_forgotten_and_finds_them() {
        let bundle = TrustBundleV1::new(
            ClusterId::from_bytes([7; 16]),
            vec![],
            [node(9), node(1), node(9)],
        );
        assert_eq!(bundle.forgotten(), [node(1), node(9)]);
        assert!(bundle.has_forgotten(&node(9)) && !bundle.has_forgotten(&node(2)));
    }

    #[test]
    fn a_bundle_out_of_order_is_refused() {
        let bundle = |forgotten| TrustBundleV1 {
            cluster: ClusterId::from_bytes([7; 16]),
            issuers: vec![],
            forgotten,
        };
        for forgotten in [vec![node(2), node(1)], vec![node(1), node(1)]] {
            let bytes = encode_versioned(&bundle(forgotten)).expect("plain data");
            let error = decode_versioned::<TrustBundleV1>(&bytes).expect_err("must be refused");
            assert!(
                error.to_string().contains("not in ascending order"),
                "{error}"
            );
        }
    }
}
