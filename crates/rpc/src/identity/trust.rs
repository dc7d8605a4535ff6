//! Whom this node believes, and the one place where a certificate is judged.
//!
//! A [`TrustBundle`] is decided state as a node last read it: the issuers of the cluster and the nodes it forgot.
//! [`TrustBundle::check`] is the only function that turns a peer's bytes into [`Claims`] that may be acted upon; handshakes,
//! renewals over open links and anything else that meets a certificate go through it. [`Trust`] is the live handle: what was
//! updated counts for the next check.
//!
//! Deliberately absent: which roles may do what (that is a table of `node`), closing links when somebody is forgotten (whoever
//! owns the links watches [`Trust::watch`] and checks again), certificate revocation lists, and chains of issuers: a
//! certificate is signed by an issuer of the bundle itself, and what else the peer sends along is not looked at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convoke_types::wire::identity::{Der, TrustBundleV1};
use convoke_types::wire::{decode_versioned, encode_versioned};
use convoke_types::{ClusterId, NodeId, Timestamp};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tokio::sync::watch;
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::leaf_of;
use super::{Claims, IdentityError, IssuerCertificate};

/// The most issuers in a bundle: one per voter, and room for those that are being replaced.
pub const MAX_ISSUERS: usize = 64;
/// The most forgotten nodes in a bundle. One is needed only until its last certificate has run out, a day later.
pub const MAX_FORGOTTEN: usize = 65_536;

const ISSUERS: &str = "issuers";

/// The issuers a cluster believes and the nodes it has forgotten.
#[derive(Debug, Clone)]
pub struct TrustBundle {
    cluster: ClusterId,
    issuers: Vec<IssuerCertificate>,
    /// `issuers` as webpki wants them, in the same order.
    anchors: Vec<TrustAnchor<'static>>,
    forgotten: BTreeSet<NodeId>,
}

/// Why a trust bundle was not accepted. The one in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It has no issuer, so it would refuse everybody.
    #[error("a trust bundle without issuers would refuse every node")]
    NoIssuers,
    /// It is larger than a bundle can honestly be.
    #[error("{found} {what} in a trust bundle, {limit} are allowed")]
    TooMany {
        /// Issuers or forgotten nodes.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It, or an issuer in it, is of another cluster.
    #[error("this is of cluster {found}, not of cluster {expected}")]
    WrongCluster {
        /// Ours.
        expected: ClusterId,
        /// Its.
        found: ClusterId,
    },
    /// One of its issuers is none.
    #[error("an issuer in the trust bundle cannot be used: {0}")]
    Issuer(IdentityError),
    /// It is not a trust bundle.
    #[error("these bytes are not a trust bundle: {what}")]
    Undecodable {
        /// What is wrong with them.
        what: String,
    },
}

impl TrustBundle {
    /// The bundle of `cluster` with these issuers and forgotten nodes. Repetitions do not matter.
    ///
    /// # Errors
    /// When there is no issuer, when there are too many of either, or when an issuer is of another cluster.
    pub fn new(
        cluster: ClusterId,
        issuers: Vec<IssuerCertificate>,
        forgotten: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, TrustError> {
        at_most(MAX_ISSUERS, ISSUERS, issuers.len())?;
        if issuers.is_empty() {
            return Err(TrustError::NoIssuers);
        }
        if let Some(stranger) = issuers.iter().find(|issuer| issuer.cluster() != cluster) {
            return Err(TrustError::WrongCluster {
                expected: cluster,
                found: stranger.cluster(),
            });
        }
        let anchors = issuers
            .iter()
            .map(IssuerCertificate::anchor)
            .collect::<Result<_, _>>()
            .map_err(TrustError::Issuer)?;
        let mut nodes = BTreeSet::new();
        for node in forgotten {
            nodes.insert(node);
            at_most(MAX_FORGOTTEN, "forgotten nodes", nodes.len())?;
        }
        Ok(Self {
            cluster,
            issuers,
            anchors,
            forgotten: nodes,
        })
    }

    /// Whose bundle it is.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Who may issue.
    #[must_use]
    pub fn issuers(&self) -> &[IssuerCertificate] {
        &self.issuers
    }

    /// Who was forgotten, in the order of the ids.
    pub fn forgotten(&self) -> impl ExactSizeIterator<Item = &NodeId> {
        self.forgotten.iter()
    }

    /// Whether this node was forgotten.
    #[must_use]
    pub fn has_forgotten(&self, node: &NodeId) -> bool {
        self.forgotten.contains(node)
    }

    /// Judges the certificate chain (leaf first) that a peer showed, at the time `now`.
    ///
    /// `Ok` means: an issuer of this bundle signed the leaf; it is a node's, of this cluster, for both ends of a link; its id is
    /// its public key; it counts now; and the node was not forgotten. It does not mean that the peer *has* the key: a handshake
    /// or a signature shows that.
    ///
    /// # Errors
    /// The first thing that is wrong. `Expired`, `NotYetValid` and `Forgotten` are said only of certificates that one of our
    /// issuers signed and that are in order otherwise, so a caller may treat them as word from the node they name.
    pub fn check(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Claims, IdentityError> {
        let leaf = leaf_of(chain)?;
        let claims = Claims::read(leaf)?;
        // First, as the certificate of another cluster has an unknown issuer, too, but this tells more.
        self.same_cluster(&claims)?;
        self.check_signature(leaf, &claims)?;
        claims.in_force(timestamp(now))?;
        self.remembers(claims.node)?;
        Ok(claims)
    }

    /// As [`check`](Self::check), for a certificate that arrives over the open link of `link_peer`: it must be that node's own.
    ///
    /// # Errors
    /// As `check`, and [`IdentityError::WrongNode`].
    pub fn check_renewal(
        &self,
        link_peer: NodeId,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Claims, IdentityError> {
        let claims = self.check(chain, now)?;
        if claims.node != link_peer {
            return Err(IdentityError::WrongNode {
                expected: link_peer,
                found: claims.node,
            });
        }
        Ok(claims)
    }

    /// Whether what [`check`](Self::check) said of a peer, of this bundle or an earlier one, still holds, and for how long it
    /// will if nothing else happens.
    ///
    /// # Errors
    /// [`IdentityError::Expired`], [`IdentityError::Forgotten`], or [`IdentityError::UnknownIssuer`] when its issuer was taken
    /// out of the bundle: the link to that peer must end.
    pub fn standing(&self, claims: &Claims, now: SystemTime) -> Result<Duration, IdentityError> {
        self.same_cluster(claims)?;
        if !self
            .issuers
            .iter()
            .any(|issuer| issuer.name() == claims.issuer)
        {
            return Err(unknown_issuer(claims));
        }
        let now = timestamp(now);
        claims.in_force(now)?;
        self.remembers(claims.node)?;
        Ok(claims.not_after.since(now))
    }

    /// The bundle as bytes, in the current version.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let issuers = self
            .issuers
            .iter()
            .map(|issuer| Der::new(issuer.der().as_ref()))
            .collect();
        let wire = TrustBundleV1::new(self.cluster, issuers, self.forgotten.iter().copied());
        encode_versioned(&wire).expect("plain data")
    }

    /// Reads what [`to_wire`](Self::to_wire) wrote.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when the bytes are no bundle or an issuer in it is none.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, TrustError> {
        let wire: TrustBundleV1 =
            decode_versioned(bytes).map_err(|fault| TrustError::Undecodable {
                what: fault.to_string(),
            })?;
        // Before looking into them: each costs the check of a signature.
        at_most(MAX_ISSUERS, ISSUERS, wire.issuers().len())?;
        let read =
            |der: &Der| IssuerCertificate::from_der(CertificateDer::from(der.as_bytes().to_vec()));
        let issuers = wire
            .issuers()
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(TrustError::Issuer)?;
        Self::new(wire.cluster(), issuers, wire.forgotten().iter().copied())
    }

    fn same_cluster(&self, claims: &Claims) -> Result<(), IdentityError> {
        let (expected, found) = (self.cluster, claims.cluster);
        if expected == found {
            Ok(())
        } else {
            Err(IdentityError::WrongCluster { expected, found })
        }
    }

    fn remembers(&self, node: NodeId) -> Result<(), IdentityError> {
        if self.has_forgotten(&node) {
            Err(IdentityError::Forgotten { node: Some(node) })
        } else {
            Ok(())
        }
    }

    fn check_signature(
        &self,
        leaf: &CertificateDer<'_>,
        claims: &Claims,
    ) -> Result<(), IdentityError> {
        let parsed = EndEntityCert::try_from(leaf).map_err(|error| judge(&error, claims))?;
        // At a time when it counts by its own account: whether that is now is asked last, of certificates known to be genuine.
        let in_its_life =
            UnixTime::since_unix_epoch(Duration::from_millis(claims.not_before.unix_ms()));
        parsed
            .verify_for_usage(
                &[webpki::aws_lc_rs::ED25519],
                &self.anchors,
                // Nothing stands between a node and its issuer, whatever the peer sent along.
                &[],
                in_its_life,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(|error| judge(&error, claims))?;
        Ok(())
    }
}

/// What webpki found, in our words.
fn judge(error: &webpki::Error, claims: &Claims) -> IdentityError {
    use webpki::Error as Found;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is another crate's and grows"
    )]
    match error {
        Found::UnknownIssuer => unknown_issuer(claims),
        Found::InvalidSignatureForPublicKey
        | Found::SignatureAlgorithmMismatch
        | Found::UnsupportedSignatureAlgorithmContext(_)
        | Found::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => IdentityError::BadSignature,
        Found::CaUsedAsEndEntity
        | Found::RequiredEkuNotFoundContext(_)
        | Found::EmptyEkuExtension => IdentityError::NotForThisUse,
        other => IdentityError::malformed(other.to_string()),
    }
}

/// A clock before 1970 reads as 1970, when no certificate counts yet.
fn timestamp(time: SystemTime) -> Timestamp {
    let since_1970 = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::UNIX_EPOCH + since_1970
}

fn unknown_issuer(claims: &Claims) -> IdentityError {
    IdentityError::UnknownIssuer {
        issuer: Some(claims.issuer.clone()),
    }
}

fn at_most(limit: usize, what: &'static str, found: usize) -> Result<(), TrustError> {
    if found > limit {
        Err(TrustError::TooMany { what, found, limit })
    } else {
        Ok(())
    }
}

/// The trust bundle in force. Clones are one: an update through any of them is seen by all.
#[derive(Debug, Clone)]
pub struct Trust(Arc<watch::Sender<Arc<TrustBundle>>>);

impl Trust {
    /// Begins with `bundle`.
    #[must_use]
    pub fn new(bundle: TrustBundle) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(bundle))))
    }

    /// The bundle of this moment. Ask again for the next decision.
    #[must_use]
    pub fn current(&self) -> Arc<TrustBundle> {
        self.0.borrow().clone()
    }

    /// Puts `bundle` in force.
    ///
    /// Which of two bundles is newer is for the caller to know, who reads them from the log in order.
    ///
    /// # Errors
    /// When it is of another cluster: a node changes its cluster by joining, never by being told whom to trust.
    pub fn update(&self, bundle: TrustBundle) -> Result<(), TrustError> {
        let (expected, found) = (self.current().cluster, bundle.cluster);
        if expected != found {
            return Err(TrustError::WrongCluster { expected, found });
        }
        self.0.send_replace(Arc::new(bundle));
        Ok(())
    }

    /// The bundle as it changes. A slow watcher misses what was in between and sees the newest.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use convoke_types::{Role, RoleSet};
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
        KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType,
    };

    use super::*;
    use crate::identity::{Certificate, Issuer, NodeKey, Validity, names};

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
    const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
    const OTHER_CLUSTER: ClusterId = ClusterId::from_bytes([8; 16]);

    #[test]
    fn what_an_issuer_of_the_bundle_signed_is_believed() {
        let (one, two) = (issuer(), issuer());
        let bundle = bundle(&[&one, &two], &[]);
        for issuer in [&one, &two] {
            let certificate = node(issuer);
            assert_eq!(
                bundle.check(certificate.chain(), at(NOW)).as_ref(),
                Ok(certificate.claims())
            );
        }
    }

    #[test]
    fn no_certificate_is_not_enough() {
        assert_eq!(
            bundle(&[&issuer()], &[]).check(&[], at(NOW)),
            Err(IdentityError::NoCertificate)
        );
    }

    #[test]
    fn an_issuer_that_is_not_in_the_bundle_is_unknown() {
        let stranger = issuer();
        let error = bundle(&[&issuer()], &[])
            .check(node(&stranger).chain(), at(NOW))
            .unwrap_err();
        assert_eq!(
            error,
            IdentityError::UnknownIssuer {
                issuer: Some(stranger.certificate().name().to_owned())
            }
        );
    }

    #[test]
    fn the_name_of_a_strange_issuer_cannot_spoil_a_log() {
        let issuer_name = format!("line\n\u{1b}[31m{}", "x".repeat(1_000));
        let forged = Forgery {
            issuer_name,
            ..Forgery::new()
        }
        .sign();
        let error = bundle(&[&issuer()], &[])
            .check(&[forged], at(NOW))
            .unwrap_err();
        let expected = format!("line[31m{}", "x".repeat(56));
        assert_eq!(
            error,
            IdentityError::UnknownIssuer {
                issuer: Some(expected)
            }
        );
    }

    #[test]
    fn the_name_of_an_issuer_without_its_key_is_a_bad_signature() {
        let ours = issuer();
        let forged = Forgery {
            issuer_name: ours.certificate().name().to_owned(),
            ..Forgery::new()
        }
        .sign();
        assert_eq!(
            bundle(&[&ours], &[]).check(&[forged], at(NOW)),
            Err(IdentityError::BadSignature)
        );
    }

    #[test]
    fn a_certificate_that_was_changed_is_a_bad_signature() {
        let ours = issuer();
        let mut der = node(&ours).chain()[0].to_vec();
        let roles = b"?roles=worker";
        let found = der
            .windows(roles.len())
            .position(|window| window == roles)
            .unwrap();
        der[found + 7..][..6].copy_from_slice(b"master");
        assert_eq!(
            bundle(&[&ours], &[]).check(&[der.into()], at(NOW)),
            Err(IdentityError::BadSignature)
        );
    }

    #[test]
    fn a_certificate_counts_only_in_its_time() {
        let ours = issuer();
        let bundle = bundle(&[&ours], &[]);
        let certificate = node(&ours);
        let claims = certificate.claims();
        let (before, after) = (
            claims.not_before - Duration::from_secs(1),
            claims.not_after + Duration::from_secs(1),
        );

        let early = bundle.check(certificate.chain(), at(before)).unwrap_err();
        let late = bundle.check(certificate.chain(), at(after)).unwrap_err();

        let node = Some(claims.node);
        assert_eq!(
            early,
            IdentityError::NotYetValid {
                node,
                from: claims.not_before,
                now: before
            }
        );
        assert_eq!(
            late,
            IdentityError::Expired {
                node,
                since: claims.not_after,
                now: after
            }
        );
    }

    #[test]
    fn of_a_forged_certificate_nobody_says_that_it_expired() {
        let stranger = issuer();
        let certificate = node(&stranger);
        let late = at(certificate.claims().not_after + Duration::from_secs(1));
        let error = bundle(&[&issuer()], &[])
            .check(certificate.chain(), late)
            .unwrap_err();
        assert!(
            matches!(error, IdentityError::UnknownIssuer { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn another_clusters_certificate_is_named_as_such() {
        let theirs = Issuer::generate(OTHER_CLUSTER, Validity::for_issuer(NOW)).unwrap();
        let error = bundle(&[&issuer()], &[])
            .check(node(&theirs).chain(), at(NOW))
            .unwrap_err();
        assert_eq!(
            error,
            IdentityError::WrongCluster {
                expected: CLUSTER,
                found: OTHER_CLUSTER
            }
        );
    }

    #[test]
    fn a_certificate_whose_name_is_not_its_key_is_refused_whoever_signed_it() {
        let (claimed, forgery) = (NodeKey::generate().node_id(), Forgery::new());
        let key = forgery.node();
        let forged = Forgery {
            uri: names::node_uri(&CLUSTER, &claimed, RoleSet::ALL),
            ..forgery
        };
        let (bundle, leaf) = forged.sign_as_trusted();
        assert_eq!(
            bundle.check(&[leaf], at(NOW)),
            Err(IdentityError::KeyMismatch { claimed, key })
        );
    }

    #[test]
    fn a_forgotten_node_is_refused_and_nobody_else() {
        let ours = issuer();
        let (kept, forgotten) = (node(&ours), node(&ours));
        let bundle = bundle(&[&ours], &[forgotten.claims().node]);

        assert!(bundle.check(kept.chain(), at(NOW)).is_ok());
        let error = bundle.check(forgotten.chain(), at(NOW)).unwrap_err();
        assert_eq!(
            error,
            IdentityError::Forgotten {
                node: Some(forgotten.claims().node)
            }
        );
    }

    #[test]
    fn an_issuers_certificate_is_not_a_nodes() {
        let ours = issuer();
        let error = bundle(&[&ours], &[])
            .check(&[ours.certificate().der().clone()], at(NOW))
            .unwrap_err();
        assert_eq!(error, IdentityError::NotForThisUse);
    }

    #[test]
    fn a_node_that_could_sign_is_refused_even_if_an_issuer_signed_it() {
        let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (bundle, leaf) = Forgery {
            is_ca,
            ..Forgery::new()
        }
        .sign_as_trusted();
        assert_eq!(
            bundle.check(&[leaf], at(NOW)),
            Err(IdentityError::NotForThisUse)
        );
    }

    #[test]
    fn a_certificate_for_one_end_of_a_link_only_is_refused() {
        for usage in [
            vec![],
            vec![ExtendedKeyUsagePurpose::ServerAuth],
            vec![ExtendedKeyUsagePurpose::ClientAuth],
        ] {
            let (bundle, leaf) = Forgery {
                usage,
                ..Forgery::new()
            }
            .sign_as_trusted();
            assert_eq!(
                bundle.check(&[leaf], at(NOW)),
                Err(IdentityError::NotForThisUse)
            );
        }
    }

    #[test]
    fn a_node_cannot_sign_for_others() {
        let ours = issuer();
        let (key, certificate) = node_with_key(&ours);
        // Signed with a node's good key, in its name, and accompanied by its good certificate.
        let forged = Forgery {
            issuer_name: certificate.claims().node.to_string(),
            issuer_key: KeyPair::try_from(key.to_pkcs8()).unwrap(),
            ..Forgery::new()
        }
        .sign();

        let error = bundle(&[&ours], &[])
            .check(&[forged, certificate.chain()[0].clone()], at(NOW))
            .unwrap_err();

        assert!(
            matches!(error, IdentityError::UnknownIssuer { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn an_issuer_cannot_make_another_issuer() {
        let ours = issuer();
        let middle = Forgery {
            is_ca: IsCa::Ca(BasicConstraints::Unconstrained),
            issuer_name: ours.certificate().name().to_owned(),
            issuer_key: KeyPair::from_pem(&ours.to_pem()).unwrap(),
            ..Forgery::new()
        };
        let name = middle.node().to_string();
        let middle_der = middle.sign();
        let leaf = Forgery {
            issuer_name: name,
            issuer_key: middle.key,
            ..Forgery::new()
        }
        .sign();

        let error = bundle(&[&ours], &[])
            .check(&[leaf, middle_der], at(NOW))
            .unwrap_err();

        assert!(
            matches!(error, IdentityError::UnknownIssuer { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn what_is_not_built_as_our_certificates_are_is_malformed() {
        let foreign_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let cases = [
            Forgery {
                uri: "https://example.com/".to_owned(),
                ..Forgery::new()
            },
            Forgery {
                uri: names::issuer_uri(&CLUSTER),
                ..Forgery::new()
            },
            Forgery {
                key: foreign_key,
                ..Forgery::new()
            },
        ];
        for forgery in cases {
            let uri = forgery.uri.clone();
            let (bundle, leaf) = forgery.sign_as_trusted();
            let error = bundle.check(&[leaf], at(NOW)).unwrap_err();
            assert!(
                matches!(error, IdentityError::Malformed { .. }),
                "{uri}: {error:?}"
            );
        }
        let noise = bundle(&[&issuer()], &[])
            .check(&[vec![0x30, 0x80, 1].into()], at(NOW))
            .unwrap_err();
        assert!(
            matches!(noise, IdentityError::Malformed { .. }),
            "{noise:?}"
        );
    }

    #[test]
    fn a_renewal_is_for_the_node_whose_link_it_comes_over() {
        let ours = issuer();
        let bundle = bundle(&[&ours], &[]);
        let (one, two) = (node(&ours), node(&ours));

        assert!(
            bundle
                .check_renewal(one.claims().node, one.chain(), at(NOW))
                .is_ok()
        );
        let error = bundle
            .check_renewal(one.claims().node, two.chain(), at(NOW))
            .unwrap_err();
        assert_eq!(
            error,
            IdentityError::WrongNode {
                expected: one.claims().node,
                found: two.claims().node
            }
        );
    }

    #[test]
    fn a_link_stands_until_its_certificate_ends_or_its_node_or_issuer_goes() {
        let (ours, next) = (issuer(), issuer());
        let certificate = node(&ours);
        let claims = certificate.claims();
        let hour = Duration::from_secs(3_600);
        let end = claims.not_after;
        let standing = |bundle: TrustBundle, time| bundle.standing(claims, at(time));

        assert_eq!(standing(bundle(&[&ours], &[]), end - hour), Ok(hour));
        assert_eq!(
            standing(bundle(&[&next, &ours], &[]), end),
            Ok(Duration::ZERO)
        );
        assert!(matches!(
            standing(bundle(&[&ours], &[]), end + hour),
            Err(IdentityError::Expired { .. })
        ));
        let forgotten = standing(bundle(&[&ours], &[claims.node]), NOW);
        assert_eq!(
            forgotten,
            Err(IdentityError::Forgotten {
                node: Some(claims.node)
            })
        );
        let taken_out = standing(bundle(&[&next], &[]), NOW);
        assert_eq!(
            taken_out,
            Err(IdentityError::UnknownIssuer {
                issuer: Some(claims.issuer.clone())
            })
        );
    }

    #[test]
    fn a_bundle_is_bounded_and_of_one_cluster() {
        let ours = issuer();
        let certificate = ours.certificate();
        let make = |issuers, forgotten: usize| {
            let nodes = (0..forgotten).map(|number| {
                let mut key = [0; 32];
                key[..8].copy_from_slice(&number.to_be_bytes());
                NodeId::from_public_key(key)
            });
            TrustBundle::new(CLUSTER, vec![certificate.clone(); issuers], nodes).map(|_| ())
        };
        let theirs = Issuer::generate(OTHER_CLUSTER, Validity::for_issuer(NOW)).unwrap();

        assert_eq!(make(0, 0), Err(TrustError::NoIssuers));
        assert_eq!(make(64, 65_536), Ok(()));
        assert!(matches!(
            make(65, 0),
            Err(TrustError::TooMany {
                what: "issuers",
                found: 65,
                ..
            })
        ));
        assert!(matches!(
            make(1, 65_537),
            Err(TrustError::TooMany {
                what: "forgotten nodes",
                ..
            })
        ));
        let mixed = TrustBundle::new(CLUSTER, vec![theirs.certificate().clone()], []).unwrap_err();
        assert_eq!(
            mixed,
            TrustError::WrongCluster {
                expected: CLUSTER,
                found: OTHER_CLUSTER
            }
        );
    }

    #[test]
    fn a_bundle_survives_its_bytes() {
        let (one, two) = (issuer(), issuer());
        let forgotten = [node(&one).claims().node, node(&two).claims().node];
        let bundle = bundle(&[&one, &two], &forgotten);

        let read = TrustBundle::from_wire(&bundle.to_wire()).unwrap();

        assert_eq!(
            (read.cluster(), read.issuers()),
            (bundle.cluster(), bundle.issuers())
        );
        assert!(read.forgotten().eq(bundle.forgotten()));
        assert!(read.check(node(&two).chain(), at(NOW)).is_ok());
    }

    #[test]
    fn bytes_that_are_no_bundle_or_too_large_a_one_are_refused() {
        let ours = issuer();
        let wire = |issuers| encode_versioned(&TrustBundleV1::new(CLUSTER, issuers, [])).unwrap();
        let leaf = Der::new(node(&ours).chain()[0].as_ref());

        assert!(matches!(
            TrustBundle::from_wire(b"no bundle"),
            Err(TrustError::Undecodable { .. })
        ));
        let no_issuer = TrustBundle::from_wire(&wire(vec![leaf.clone()])).unwrap_err();
        assert_eq!(no_issuer, TrustError::Issuer(IdentityError::NotForThisUse));
        let many = TrustBundle::from_wire(&wire(vec![leaf; 65])).unwrap_err();
        assert!(
            matches!(many, TrustError::TooMany { found: 65, .. }),
            "{many:?}"
        );
    }

    #[test]
    fn an_update_is_seen_by_every_clone_and_watcher_unless_it_is_another_clusters() {
        let (one, two) = (issuer(), issuer());
        let trust = Trust::new(bundle(&[&one], &[]));
        let (clone, watcher) = (trust.clone(), trust.watch());
        let theirs = Issuer::generate(OTHER_CLUSTER, Validity::for_issuer(NOW)).unwrap();

        let error = trust
            .update(
                TrustBundle::new(OTHER_CLUSTER, vec![theirs.certificate().clone()], []).unwrap(),
            )
            .unwrap_err();
        assert_eq!(
            error,
            TrustError::WrongCluster {
                expected: CLUSTER,
                found: OTHER_CLUSTER
            }
        );
        assert!(!watcher.has_changed().unwrap());

        trust.update(bundle(&[&two], &[])).unwrap();
        assert_eq!(clone.current().issuers(), [two.certificate().clone()]);
        assert!(watcher.has_changed().unwrap());
    }

    /// A certificate that no issuer of ours would make.
    struct Forgery {
        key: KeyPair,
        uri: String,
        is_ca: IsCa,
        usage: Vec<ExtendedKeyUsagePurpose>,
        issuer_name: String,
        issuer_key: KeyPair,
    }

    impl Forgery {
        /// As a good one, but for its issuer.
        fn new() -> Self {
            let [key, issuer_key] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_ED25519).unwrap());
            let mut forgery = Self {
                key,
                uri: String::new(),
                is_ca: IsCa::ExplicitNoCa,
                usage: vec![
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ],
                issuer_name: "nobody".to_owned(),
                issuer_key,
            };
            forgery.uri = names::node_uri(&CLUSTER, &forgery.node(), RoleSet::ALL);
            forgery
        }

        fn node(&self) -> NodeId {
            NodeId::from_public_key(self.key.public_key_raw().try_into().unwrap())
        }

        /// Signed by an issuer that lets itself be used, with the bundle that believes it.
        fn sign_as_trusted(mut self) -> (TrustBundle, CertificateDer<'static>) {
            let issuer = issuer();
            self.issuer_name = issuer.certificate().name().to_owned();
            self.issuer_key = KeyPair::from_pem(&issuer.to_pem()).unwrap();
            (bundle(&[&issuer], &[]), self.sign())
        }

        fn sign(&self) -> CertificateDer<'static> {
            let mut issuer = CertificateParams::default();
            issuer.distinguished_name = rcgen::DistinguishedName::new();
            issuer.distinguished_name.push(
                DnType::CommonName,
                DnValue::Utf8String(self.issuer_name.clone()),
            );
            let mut leaf = CertificateParams::default();
            leaf.distinguished_name = rcgen::DistinguishedName::new();
            let subject = self.key.public_key_raw().try_into().map_or_else(
                |_| "x".to_owned(),
                |key| NodeId::from_public_key(key).to_string(),
            );
            leaf.distinguished_name.push(DnType::CommonName, subject);
            leaf.subject_alt_names = vec![SanType::URI(self.uri.clone().try_into().unwrap())];
            leaf.is_ca = self.is_ca;
            leaf.key_usages = vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyCertSign,
            ];
            leaf.extended_key_usages = self.usage.clone();
            let seconds = i64::try_from(NOW.unix_ms() / 1_000).unwrap();
            leaf.not_before = time::OffsetDateTime::from_unix_timestamp(seconds - 60).unwrap();
            leaf.not_after = time::OffsetDateTime::from_unix_timestamp(seconds + 60).unwrap();
            let issuer = rcgen::Issuer::new(issuer, &self.issuer_key);
            leaf.signed_by(&self.key, &issuer).unwrap().der().clone()
        }
    }

    fn issuer() -> Issuer {
        Issuer::generate(CLUSTER, Validity::for_issuer(NOW)).unwrap()
    }

    fn bundle(issuers: &[&Issuer], forgotten: &[NodeId]) -> TrustBundle {
        let issuers: Vec<_> = issuers
            .iter()
            .map(|issuer| issuer.certificate().clone())
            .collect();
        TrustBundle::new(CLUSTER, issuers, forgotten.iter().copied()).unwrap()
    }

    fn node(issuer: &Issuer) -> Certificate {
        node_with_key(issuer).1
    }

    fn node_with_key(issuer: &Issuer) -> (NodeKey, Certificate) {
        let key = NodeKey::generate();
        let certificate = issuer
            .issue(key.node_id(), Role::Worker.into(), Validity::for_node(NOW))
            .unwrap();
        (key, certificate)
    }

    fn at(time: Timestamp) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(time.unix_ms())
    }
}
