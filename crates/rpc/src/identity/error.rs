//! What can be wrong with the credential of a peer, with the values that did not fit.
//!
//! How these travel through TLS, and what the other side is told, is in `alert.rs`.

use std::fmt;

use convoke_types::{ClusterId, Code, NodeId, Problem, Timestamp};

/// Why a peer's credential was not accepted. Nothing was changed and nothing it sent was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// It showed no certificate at all.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// Nobody whom this cluster's trust bundle names signed it.
    #[error("the certificate was signed by {}, which is not among this cluster's issuers", issuer.as_deref().unwrap_or("an issuer"))]
    UnknownIssuer {
        /// Who signed it, by its own account; `None` when the reason came through TLS.
        issuer: Option<String>,
    },
    /// It bears the name of one of our issuers, or the peer's, but was not signed with that key.
    #[error("a signature does not match the key it should be made with")]
    BadSignature,
    /// Its time is over. It is genuine otherwise.
    #[error("the certificate of {} expired at {since}; it is {now} here", Whose(*node))]
    Expired {
        /// Whose; `None` when the reason came through TLS.
        node: Option<NodeId>,
        /// Its last moment.
        since: Timestamp,
        /// The time by this machine's clock.
        now: Timestamp,
    },
    /// Its time has not begun, most likely because a clock is wrong. It is genuine otherwise.
    #[error("the certificate of {} counts from {from}, but it is {now} here: one of the two clocks is wrong", Whose(*node))]
    NotYetValid {
        /// Whose; `None` when the reason came through TLS.
        node: Option<NodeId>,
        /// Its first moment.
        from: Timestamp,
        /// The time by this machine's clock.
        now: Timestamp,
    },
    /// It is for another cluster.
    #[error("the certificate is for cluster {found}, this is cluster {expected}")]
    WrongCluster {
        /// Ours.
        expected: ClusterId,
        /// The one in the certificate.
        found: ClusterId,
    },
    /// Another node than the one meant has answered, or tries to renew a certificate that is not its own.
    #[error("this is node {found}, not node {expected}")]
    WrongNode {
        /// The node that was meant.
        expected: NodeId,
        /// The node that is there.
        found: NodeId,
    },
    /// The node it names is not the key it certifies, or not the key at hand.
    #[error("the certificate names node {claimed}, but the key is that of {key}")]
    KeyMismatch {
        /// The node the certificate names.
        claimed: NodeId,
        /// The key.
        key: NodeId,
    },
    /// The cluster has forgotten this node. Its certificate is genuine otherwise.
    #[error("{} was forgotten by this cluster", Whose(*node))]
    Forgotten {
        /// Which node; `None` when the reason came through TLS.
        node: Option<NodeId>,
    },
    /// It is not a certificate for nodes that talk to each other: an issuer's, say, or one for servers only.
    #[error("the certificate is not for what it was used for here")]
    NotForThisUse,
    /// It is not built as our certificates are.
    #[error("the certificate cannot be read: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
}

impl IdentityError {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }

    /// The code under which this crosses a boundary: we do not know who it is, or we know and they may not.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Forgotten { .. } | Self::WrongCluster { .. } => Code::Forbidden,
            Self::NoCertificate
            | Self::UnknownIssuer { .. }
            | Self::BadSignature
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::WrongNode { .. }
            | Self::KeyMismatch { .. }
            | Self::NotForThisUse
            | Self::Malformed { .. } => Code::Unauthenticated,
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

struct Whose(Option<NodeId>);

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(node) => write!(f, "node {node}"),
            None => f.write_str("the peer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_known_but_unwelcome_is_forbidden_and_the_rest_unauthenticated() {
        let [expected, found] = [1, 2].map(|byte| ClusterId::from_bytes([byte; 16]));
        assert_eq!(
            IdentityError::Forgotten { node: None }.code(),
            Code::Forbidden
        );
        assert_eq!(
            IdentityError::WrongCluster { expected, found }.code(),
            Code::Forbidden
        );
        assert_eq!(IdentityError::NoCertificate.code(), Code::Unauthenticated);
        assert_eq!(
            Problem::from(IdentityError::NoCertificate).message(),
            "the peer showed no certificate"
        );
    }
}
