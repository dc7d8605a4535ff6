//! A node's own credential while it runs.
//!
//! An [`Identity`] is the node's key with its current certificate. All clones are one: a certificate that is replaced counts
//! for every handshake that begins afterwards, and whoever watches hears of it (a link, to pass it on in-band).
//!
//! Deliberately absent: when to renew, and asking for it; [`Certificate::renew_at`] says when, the node does it.

use std::fmt;
use std::sync::Arc;

use convoke_types::NodeId;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use tokio::sync::watch;

use super::{Certificate, IdentityError, NodeKey};

/// A node's key and its current certificate. Clones share both.
#[derive(Clone)]
pub struct Identity {
    key: NodeKey,
    current: Arc<watch::Sender<Certificate>>,
}

impl Identity {
    /// # Errors
    /// [`IdentityError::KeyMismatch`] when the certificate is for another key.
    pub fn new(key: NodeKey, certificate: Certificate) -> Result<Self, IdentityError> {
        belongs(&certificate, &key)?;
        Ok(Self {
            key,
            current: Arc::new(watch::Sender::new(certificate)),
        })
    }

    /// The node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.key.node_id()
    }

    /// The node's key, for what else it signs.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// The certificate of this moment.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.current.borrow().clone()
    }

    /// From now on shows `certificate`: at once in new handshakes, and to open links through [`watch`](Self::watch).
    ///
    /// # Errors
    /// When it is for another key or another cluster; the current one stays then.
    pub fn replace_certificate(&self, certificate: Certificate) -> Result<(), IdentityError> {
        belongs(&certificate, &self.key)?;
        let (expected, found) = (
            self.current.borrow().claims().cluster,
            certificate.claims().cluster,
        );
        if expected != found {
            return Err(IdentityError::WrongCluster { expected, found });
        }
        self.current.send_replace(certificate);
        Ok(())
    }

    /// The certificate as it changes. A slow watcher misses what was in between and sees the newest.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Certificate> {
        self.current.subscribe()
    }

    /// Key and certificate of this moment in the form rustls takes.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        let chain = self.current.borrow().chain().to_vec();
        Arc::new(CertifiedKey::new(chain, Arc::new(self.key.clone())))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity")
            .field(self.current.borrow().claims())
            .finish()
    }
}

fn belongs(certificate: &Certificate, key: &NodeKey) -> Result<(), IdentityError> {
    let (claimed, key) = (certificate.claims().node, key.node_id());
    if claimed == key {
        Ok(())
    } else {
        Err(IdentityError::KeyMismatch { claimed, key })
    }
}

/// Lets rustls sign handshakes without being given the secret.
impl SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(Self::sign(self, message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests {
    use convoke_types::{Role, RoleSet};

    use super::*;
    use crate::identity::Development;

    #[test]
    fn a_certificate_for_another_key_is_no_identity() {
        let development = Development::new();
        let certificate = development.identity(RoleSet::ALL).certificate();
        let error = Identity::new(NodeKey::generate(), certificate).unwrap_err();
        assert!(
            matches!(error, IdentityError::KeyMismatch { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn a_replaced_certificate_is_seen_by_all_clones_and_watchers() {
        let development = Development::new();
        let identity = development.identity(Role::Worker.into());
        let (clone, watcher) = (identity.clone(), identity.watch());

        identity
            .replace_certificate(development.certificate(identity.node_id(), Role::Master.into()))
            .unwrap();

        assert_eq!(clone.certificate().claims().roles, Role::Master.into());
        assert_eq!(clone.certified_key().cert, identity.certificate().chain());
        assert!(watcher.has_changed().unwrap());
    }

    #[test]
    fn a_certificate_of_another_node_or_cluster_does_not_replace_ours() {
        let (ours, theirs) = (Development::new(), Development::new());
        let identity = ours.identity(RoleSet::ALL);
        let before = identity.certificate();

        let other_node = identity
            .replace_certificate(ours.identity(RoleSet::ALL).certificate())
            .unwrap_err();
        let other_cluster = identity
            .replace_certificate(theirs.certificate(identity.node_id(), RoleSet::ALL))
            .unwrap_err();

        assert!(
            matches!(other_node, IdentityError::KeyMismatch { .. }),
            "{other_node:?}"
        );
        assert!(
            matches!(other_cluster, IdentityError::WrongCluster { .. }),
            "{other_cluster:?}"
        );
        assert_eq!(identity.certificate().chain(), before.chain());
    }
}
