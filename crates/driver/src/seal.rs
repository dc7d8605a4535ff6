//! Signatures of real nodes: the node key signs, and a node id is the key that checks.

use convoke_membership::Seal;
use convoke_rpc::identity::{NodeKey, verify};
use convoke_types::NodeId;
use convoke_types::wire::gossip::unit::SIGNATURE;

/// Signs with this node's key.
#[derive(Debug)]
pub(crate) struct KeySeal(pub(crate) NodeKey);

impl Seal for KeySeal {
    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(message)
    }

    fn verify(&self, by: &NodeId, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        verify(by, message, signature)
    }
}
