//! The protocols nodes speak, and who may speak which.
//!
//! Each is negotiated in the handshake (ALPN), so one port serves all of them and no byte of one is ever taken for another's.

use std::fmt;
use std::sync::Arc;

use crate::identity::Claims;

/// A protocol with its version, as negotiated in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Typed calls.
    Rpc,
    /// Membership.
    Gossip,
    /// The consensus log.
    Raft,
    /// Content by its hash.
    Blob,
    /// Sessions of devices.
    Device,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 5] = [
        Self::Rpc,
        Self::Gossip,
        Self::Raft,
        Self::Blob,
        Self::Device,
    ];

    /// The name in the handshake. The number is the wire version.
    #[must_use]
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Rpc => b"convoke-rpc/1",
            Self::Gossip => b"convoke-gossip/1",
            Self::Raft => b"convoke-raft/1",
            Self::Blob => b"convoke-blob/1",
            Self::Device => b"convoke-device/1",
        }
    }

    /// Whether it lives on datagrams, which must not wait for bytes that were lost: then QUIC is its first choice also on a path on
    /// which TCP would be the faster one.
    pub(crate) fn lives_on_datagrams(self) -> bool {
        match self {
            Self::Gossip => true,
            Self::Rpc | Self::Raft | Self::Blob | Self::Device => false,
        }
    }

    /// The protocol of a name from a handshake.
    #[must_use]
    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.alpn() == alpn)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.alpn()).expect("protocol names are ASCII"))
    }
}

/// Decides whether a node may speak a protocol, from what its certificate says. `Err` carries the reason, which the node is told.
pub type Admission = Arc<dyn Fn(&Claims, Protocol) -> Result<(), String> + Send + Sync>;

/// Admits every node of the cluster.
#[must_use]
pub fn every_member() -> Admission {
    Arc::new(|_, _| Ok(()))
}

/// Admits nodes that may hold at least one of `roles`.
#[must_use]
pub fn only(roles: convoke_types::RoleSet) -> Admission {
    Arc::new(move |claims, protocol| {
        if claims.roles.intersects(roles) {
            return Ok(());
        }
        Err(format!(
            "{protocol} is for {roles}; this node's certificate allows {}",
            claims.roles
        ))
    })
}
