//! A node's certificate as the node holds it and as its peers read it.
//!
//! [`Certificate`] is a chain in DER with the [`Claims`] of its leaf. Having one proves nothing: anybody can write claims
//! into a certificate. Whether they are true for a cluster is for [`TrustBundle::check`](super::TrustBundle::check) to say.
//!
//! Deliberately absent: making certificates (`issuer.rs`) and judging them (`trust.rs`).

use std::fmt;
use std::sync::Arc;

use convoke_types::wire::identity::{CredentialV1, Der};
use convoke_types::wire::{decode_versioned, encode_versioned};
use convoke_types::{ClusterId, NodeId, RoleSet, Timestamp};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use super::issuer::BACKDATE;
use super::{IdentityError, names, pem};

/// The longest chain: the leaf, and its issuer for tools that like to see it. A link's peer can send no more.
pub const MAX_CHAIN_LENGTH: usize = 2;
/// The most bytes a chain may have. Ours have less than one thousand per certificate.
pub const MAX_CHAIN_BYTES: usize = 16 * 1024;

/// A node's certificate, leaf first. Clones are cheap.
#[derive(Clone)]
pub struct Certificate {
    chain: Arc<[CertificateDer<'static>]>,
    claims: Arc<Claims>,
}

/// What a certificate says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who holds it; also the public key in it.
    pub node: NodeId,
    /// The cluster it was issued for.
    pub cluster: ClusterId,
    /// The roles its holder may take. The empty set means none, never any.
    pub roles: RoleSet,
    /// The first moment it counts.
    pub not_before: Timestamp,
    /// The last moment it counts.
    pub not_after: Timestamp,
    /// The name of the issuer, for people.
    pub issuer: String,
}

impl Certificate {
    /// Takes a chain in DER, leaf first.
    ///
    /// # Errors
    /// When there is no certificate, when there are too many or too large ones, or when the leaf is not that of a node.
    pub fn from_chain(chain: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        let claims = Claims::read(leaf_of(&chain)?)?;
        Ok(Self {
            chain: chain.into(),
            claims: Arc::new(claims),
        })
    }

    /// Reads the certificates of a PEM text, leaf first; other sections are passed over.
    ///
    /// # Errors
    /// As [`from_chain`](Self::from_chain).
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        // One more than allowed is enough to be refused for it.
        let chain = pem::read_certificates(text.as_bytes()).take(MAX_CHAIN_LENGTH + 1);
        Self::from_chain(chain.map(CertificateDer::from).collect())
    }

    /// The chain as PEM text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.chain
            .iter()
            .map(|certificate| pem::write("CERTIFICATE", certificate))
            .collect()
    }

    /// The chain as the bytes that take a renewed certificate over an open link.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let chain = self
            .chain
            .iter()
            .map(|certificate| Der::new(certificate.as_ref()))
            .collect();
        encode_versioned(&CredentialV1 { chain }).expect("plain data")
    }

    /// Reads such bytes. What is in them is not judged yet.
    ///
    /// # Errors
    /// As [`from_chain`](Self::from_chain), and when the bytes are something else.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, IdentityError> {
        let wire: CredentialV1 =
            decode_versioned(bytes).map_err(|fault| IdentityError::malformed(fault.to_string()))?;
        Self::from_chain(
            wire.chain
                .into_iter()
                .map(|der| CertificateDer::from(der.into_bytes()))
                .collect(),
        )
    }

    /// The chain in DER, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What the leaf says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// When to ask for the next one: after two thirds of its life, counted from when it was made. The last third is for issuers that
    /// cannot be reached.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let made = self.claims.not_before + BACKDATE;
        made + self.claims.not_after.since(made) * 2 / 3
    }

    /// From when on it is a person's concern that there is no next one: half of the time for asking is over.
    #[must_use]
    pub fn overdue_at(&self) -> Timestamp {
        let renew_at = self.renew_at();
        renew_at + self.claims.not_after.since(renew_at) / 2
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.claims).finish()
    }
}

impl Claims {
    /// Whether they count at `now`.
    ///
    /// # Errors
    /// [`IdentityError::NotYetValid`] or [`IdentityError::Expired`].
    pub fn in_force(&self, now: Timestamp) -> Result<(), IdentityError> {
        if now < self.not_before {
            return Err(IdentityError::NotYetValid {
                node: Some(self.node),
                from: self.not_before,
                now,
            });
        }
        if now > self.not_after {
            return Err(IdentityError::Expired {
                node: Some(self.node),
                since: self.not_after,
                now,
            });
        }
        Ok(())
    }

    /// What the certificate says, true or not. It is sure to be one of a node, and the node's id to be its public key.
    pub(super) fn read(leaf: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let leaf = parse(leaf)?;
        if !is_for_both_ends(&leaf) {
            return Err(IdentityError::NotForThisUse);
        }
        let uri = convoke_uri(&leaf)?;
        let (cluster, node, roles) = names::parse_node_uri(uri)
            .ok_or_else(|| IdentityError::malformed("its convoke:// name is not that of a node"))?;
        let key = public_key(&leaf)?;
        if node != key {
            return Err(IdentityError::KeyMismatch { claimed: node, key });
        }
        let (not_before, not_after) = validity(&leaf)?;
        Ok(Self {
            node,
            cluster,
            roles,
            not_before,
            not_after,
            issuer: name(leaf.issuer()),
        })
    }
}

/// The leaf of a chain of a size we accept.
pub(super) fn leaf_of<'c, 'd>(
    chain: &'c [CertificateDer<'d>],
) -> Result<&'c CertificateDer<'d>, IdentityError> {
    let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if chain.len() > MAX_CHAIN_LENGTH || bytes > MAX_CHAIN_BYTES {
        let size = format!(
            "a chain of {} certificates and {bytes} bytes is too large",
            chain.len()
        );
        return Err(IdentityError::malformed(size));
    }
    Ok(leaf)
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    let (rest, certificate) = X509Certificate::from_der(der)
        .map_err(|_| IdentityError::malformed("it is not an X.509 certificate"))?;
    if !rest.is_empty() {
        return Err(IdentityError::malformed("bytes follow the certificate"));
    }
    Ok(certificate)
}

/// The one alternative name with our scheme.
pub(super) fn convoke_uri<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<&'a str, IdentityError> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| IdentityError::malformed("it has two lists of names"))?;
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    let mut uris = names.iter().filter_map(|name| {
        let GeneralName::URI(uri) = name else {
            return None;
        };
        uri.starts_with("convoke://").then_some(*uri)
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri),
        (None, _) => Err(IdentityError::malformed("it has no convoke:// name")),
        (Some(_), Some(_)) => Err(IdentityError::malformed("it has two convoke:// names")),
    }
}

/// The subject's ed25519 key, in the form of an id.
pub(super) fn public_key(certificate: &X509Certificate<'_>) -> Result<NodeId, IdentityError> {
    let info = certificate.public_key();
    let is_ed25519 = info.algorithm.algorithm == x509_parser::oid_registry::OID_SIG_ED25519;
    let bytes: Option<[u8; 32]> = info.subject_public_key.data.as_ref().try_into().ok();
    bytes
        .filter(|_| is_ed25519)
        .map(NodeId::from_public_key)
        .ok_or_else(|| IdentityError::malformed("its key is not an ed25519 key"))
}

pub(super) fn validity(
    certificate: &X509Certificate<'_>,
) -> Result<(Timestamp, Timestamp), IdentityError> {
    let validity = certificate.validity();
    let read = |time: &ASN1Time| {
        let seconds = u64::try_from(time.timestamp())
            .map_err(|_| IdentityError::malformed("it dates from before 1970"))?;
        Ok(Timestamp::from_unix_ms(seconds.saturating_mul(1_000)))
    };
    Ok((read(&validity.not_before)?, read(&validity.not_after)?))
}

/// The common name, or all of the name when there is none. A stranger may have written it, so it is cut to what X.509
/// allows (64 characters) and cleared of control characters: it ends up in logs.
pub(super) fn name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let common = name
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    let name = common.map_or_else(|| name.to_string(), str::to_owned);
    name.chars()
        .filter(|character| !character.is_control())
        .take(64)
        .collect()
}

/// A node is client and server of its links, so its certificate must be for both.
fn is_for_both_ends(leaf: &X509Certificate<'_>) -> bool {
    let usage = leaf.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| usage.value.client_auth && usage.value.server_auth)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use convoke_types::Role;

    use super::*;
    use crate::identity::{Issuer, NodeKey, Validity};

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
    const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

    #[test]
    fn a_certificate_says_who_where_which_roles_and_how_long() {
        let node = NodeKey::generate().node_id();
        let roles = RoleSet::of(&[Role::Worker, Role::Gateway]);

        let issuer = issuer();
        let certificate = issuer.issue(node, roles, Validity::for_node(NOW)).unwrap();

        let claims = certificate.claims();
        assert_eq!(
            (claims.node, claims.cluster, claims.roles),
            (node, CLUSTER, roles)
        );
        assert_eq!(claims.not_before, NOW - Duration::from_secs(5 * 60));
        assert_eq!(claims.not_after, NOW + Duration::from_secs(24 * 60 * 60));
        assert_eq!(claims.issuer, issuer.certificate().name());
    }

    #[test]
    fn renewal_is_due_after_two_thirds_of_its_life_and_overdue_when_half_the_rest_is_over() {
        let validity = Validity::for_node(NOW).with_lifetime(Duration::from_secs(60 * 60));
        let certificate = issuer()
            .issue(NodeKey::generate().node_id(), RoleSet::EMPTY, validity)
            .unwrap();

        // The five minutes that lie before now are no part of it.
        assert_eq!(certificate.renew_at(), NOW + Duration::from_secs(40 * 60));
        assert_eq!(certificate.overdue_at(), NOW + Duration::from_secs(50 * 60));
    }

    #[test]
    fn it_counts_from_its_first_to_its_last_moment() {
        let certificate = issuer()
            .issue(
                NodeKey::generate().node_id(),
                RoleSet::ALL,
                Validity::for_node(NOW),
            )
            .unwrap();
        let claims = certificate.claims();
        let instant = Duration::from_millis(1);

        assert_eq!(claims.in_force(claims.not_before), Ok(()));
        assert_eq!(claims.in_force(claims.not_after), Ok(()));
        assert!(matches!(
            claims.in_force(claims.not_before - instant),
            Err(IdentityError::NotYetValid { .. })
        ));
        assert!(matches!(
            claims.in_force(claims.not_after + instant),
            Err(IdentityError::Expired { .. })
        ));
    }

    #[test]
    fn a_certificate_survives_its_text_and_its_message() {
        let certificate = issuer()
            .issue(
                NodeKey::generate().node_id(),
                RoleSet::ALL,
                Validity::for_node(NOW),
            )
            .unwrap();

        for read in [
            Certificate::from_pem(&certificate.to_pem()),
            Certificate::from_wire(&certificate.to_wire()),
        ] {
            let read = read.unwrap();
            assert_eq!(read.claims(), certificate.claims());
            assert_eq!(read.chain(), certificate.chain());
        }
    }

    #[test]
    fn no_too_many_and_too_large_certificates_are_refused() {
        let certificate = issuer()
            .issue(
                NodeKey::generate().node_id(),
                RoleSet::ALL,
                Validity::for_node(NOW),
            )
            .unwrap();
        let leaf = certificate.chain()[0].clone();
        let cut = &certificate.to_wire()[..100];
        let large = CertificateDer::from(vec![0; MAX_CHAIN_BYTES]);

        assert!(matches!(
            Certificate::from_chain(vec![]),
            Err(IdentityError::NoCertificate)
        ));
        assert!(matches!(
            Certificate::from_pem("none"),
            Err(IdentityError::NoCertificate)
        ));
        assert!(matches!(
            Certificate::from_wire(cut),
            Err(IdentityError::Malformed { .. })
        ));
        assert!(matches!(
            Certificate::from_chain(vec![leaf.clone(); 3]),
            Err(IdentityError::Malformed { .. })
        ));
        assert!(matches!(
            Certificate::from_chain(vec![leaf, large]),
            Err(IdentityError::Malformed { .. })
        ));
    }

    #[test]
    fn bytes_that_are_cut_or_changed_are_an_error_and_never_a_panic() {
        let certificate = issuer()
            .issue(
                NodeKey::generate().node_id(),
                RoleSet::ALL,
                Validity::for_node(NOW),
            )
            .unwrap();
        let whole = certificate.chain()[0].to_vec();
        for length in 0..whole.len() {
            assert!(
                Claims::read(&CertificateDer::from(whole[..length].to_vec())).is_err(),
                "cut at {length}"
            );
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            // Much of it is not ours to judge here (the signature, say); what counts is that it returns.
            let _ = Claims::read(&CertificateDer::from(changed));
        }
    }

    fn issuer() -> Issuer {
        Issuer::generate(CLUSTER, Validity::for_issuer(NOW)).unwrap()
    }
}
