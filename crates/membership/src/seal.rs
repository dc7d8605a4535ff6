//! Signatures, as the machine sees them: something that signs for this node and checks what others signed.
//!
//! The machine decides what is signed and when a signature is worth checking; the arithmetic is somebody else's. Real nodes sign
//! with their ed25519 node key. In simulated worlds, where one process plays thousands of nodes and checking would take all
//! the time there is, [`TwinSeal`] stands in: just as impossible to get right by accident, and no secret from anybody.

use std::fmt;

use convoke_types::NodeId;
use convoke_types::wire::gossip::unit::SIGNATURE;

use crate::mix::{mix, mix_bytes};

/// Signs for one node and checks everybody's signatures.
pub trait Seal: fmt::Debug + Send {
    /// Signs for this node.
    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE];

    /// Whether `by` signed `message` so.
    fn verify(&self, by: &NodeId, message: &[u8], signature: &[u8; SIGNATURE]) -> bool;
}

/// Signatures for simulated worlds: a checksum keyed with the signer's id. Whoever wants to forge one can, so a test that has
/// liars gives them a seal of their own and nothing else.
#[derive(Debug, Clone)]
pub struct TwinSeal(NodeId);

impl TwinSeal {
    /// Signs for this node.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self(node)
    }
}

impl Seal for TwinSeal {
    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        checksum(&self.0, message)
    }

    fn verify(&self, by: &NodeId, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        checksum(by, message) == *signature
    }
}

fn checksum(node: &NodeId, message: &[u8]) -> [u8; SIGNATURE] {
    let sum = mix(mix_bytes(node.as_bytes()) ^ mix_bytes(message).rotate_left(17));
    let mut signature = [0; SIGNATURE];
    signature[..8].copy_from_slice(&sum.to_le_bytes());
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_tells_signers_and_messages_apart() {
        let (ada, bob) = (
            NodeId::from_public_key([1; 32]),
            NodeId::from_public_key([2; 32]),
        );
        let seal = TwinSeal::new(ada);
        let signature = seal.sign(b"hello");
        assert!(seal.verify(&ada, b"hello", &signature));
        assert!(!seal.verify(&bob, b"hello", &signature));
        assert!(!seal.verify(&ada, b"hullo", &signature));
    }
}
