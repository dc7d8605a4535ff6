//! Identity and trust as configurations for rustls, and so for quinn and for TLS over TCP.
//!
//! Mutual TLS 1.3 and nothing else: both ends show a certificate, both judge the other's with
//! [`TrustBundle::check`](super::TrustBundle::check), and every handshake is a full one. A configuration is built once and
//! stays right: it asks [`Identity`] and [`Trust`] at each handshake, so renewals and updates need no new one.
//!
//! Whom a client means to reach travels as the server name ([`server_name`]), because that is what connectors of every kind
//! take. It is checked against the certificate and not sent: who is being called is nobody else's business.
//!
//! After a handshake, [`peer_claims`] says who is at the other end.
//!
//! Deliberately absent:
//! - resumption, tickets and early data: a resumed session would skip the checks, and early data can be replayed;
//! - TLS 1.2, other signatures than ed25519, and lists of acceptable issuers sent to the peer.
//!
//! The `enrol` protocol has clients without a certificate. A server that offers it takes clients without one, shows its issuer's certificate
//! beside its own to those who ask for that protocol, and must refuse everybody else without one as soon as the handshake is over:
//! [`peer_claims`] does.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use convoke_types::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, DistinguishedName, PeerIncompatible,
    ServerConfig, SignatureScheme,
};

use super::{Claims, Identity, IdentityError, IssuerCertificate, Trust, TrustBundle, names};
use crate::enrol::{self, Pins};

/// The only kind of signature there is here, in certificates and in handshakes.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::aws_lc_rs::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::aws_lc_rs::ED25519])],
};

/// The cryptography of every link, chosen once for the whole process.
///
/// AES-128-GCM comes first: it is the fastest by far where the processor helps, 128 bits are enough, and QUIC needs it in any
/// case. ChaCha20 is for machines without that help. The hybrid key exchange comes first, since what is recorded today may be
/// opened by a quantum computer later; it costs about a kilobyte in each direction, once per link.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
            signature_verification_algorithms: SIGNATURES,
            ..aws_lc_rs::default_provider()
        })
    };
    Arc::clone(PROVIDER.get_or_init(make))
}

/// The time of this machine, as handshakes are told it. Before 1970 is 1970: a machine without a battery may wake up there, and a clock that is
/// wrong is for the judge of certificates to tell, as every other one.
#[derive(Debug, Clone, Copy)]
pub struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Some(UnixTime::since_unix_epoch(since.unwrap_or_default()))
    }
}

/// What a handshake found wrong with the peer. A carrier that keeps only the alert of a failed handshake, as
/// quinn does, can ask here for the whole error.
#[derive(Debug, Clone, Default)]
pub struct Refusal(Arc<OnceLock<IdentityError>>);

impl Refusal {
    /// The first thing that was wrong, if anything was.
    #[must_use]
    pub fn reason(&self) -> Option<IdentityError> {
        self.0.get().cloned()
    }
}

/// How this node calls others: shows `identity`, believes `trust`, offers the protocols `alpn` (first is best).
#[must_use]
pub fn client_config(identity: &Identity, trust: &Trust, alpn: &[&[u8]]) -> ClientConfig {
    client_config_for_one(identity, trust, alpn).0
}

/// As [`client_config`], for a single handshake, whose reason for refusing the peer can be asked for afterwards.
#[must_use]
pub fn client_config_for_one(
    identity: &Identity,
    trust: &Trust,
    alpn: &[&[u8]],
) -> (ClientConfig, Refusal) {
    let refusal = Refusal::default();
    let judge = Judge {
        trust: trust.clone(),
        refusal: refusal.clone(),
    };
    let config = client(judge).with_client_cert_resolver(Arc::new(Show(identity.clone())));
    (full_handshakes_as_client(config, owned(alpn)), refusal)
}

/// How this node is called: shows `identity`, believes `trust`, serves the protocols `alpn` (first is best).
#[must_use]
pub fn server_config(identity: &Identity, trust: &Trust, alpn: &[&[u8]]) -> ServerConfig {
    let judge = Judge {
        trust: trust.clone(),
        refusal: Refusal::default(),
    };
    server(judge, Show(identity.clone()), owned(alpn))
}

/// As [`server_config`], for a carrier that also offers enrolment: clients may come without a certificate, and [`peer_claims`] has to be asked
/// about everybody who does not come to enrol.
pub(crate) fn server_config_with_enrolment(
    identity: &Identity,
    trust: &Trust,
    alpn: &[&[u8]],
) -> ServerConfig {
    let judge = AtWill(Judge {
        trust: trust.clone(),
        refusal: Refusal::default(),
    });
    let mut served = owned(alpn);
    served.push(enrol::ALPN.to_vec());
    server(
        judge,
        ShowWithIssuer(identity.clone(), trust.clone()),
        served,
    )
}

/// How somebody without a certificate calls a server of enrolment, and why it refused whoever answered.
pub(crate) fn enrol_client_config(pins: &Pins) -> (ClientConfig, Refusal) {
    let refusal = Refusal::default();
    let judge = PinJudge {
        pins: pins.clone(),
        refusal: refusal.clone(),
    };
    let config = client(judge).with_no_client_auth();
    (
        full_handshakes_as_client(config, vec![enrol::ALPN.to_vec()]),
        refusal,
    )
}

/// What all clients have in common, but for what they show.
fn client(
    judge: impl ServerCertVerifier + 'static,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge))
}

fn full_handshakes_as_client(mut config: ClientConfig, alpn: Vec<Vec<u8>>) -> ClientConfig {
    config.alpn_protocols = alpn;
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    config.enable_secret_extraction = true;
    config
}

/// What all servers have in common.
fn server(
    judge: impl ClientCertVerifier + 'static,
    shows: impl ResolvesServerCert + 'static,
    alpn: Vec<Vec<u8>>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites for TLS 1.3")
        .with_client_cert_verifier(Arc::new(judge))
        .with_cert_resolver(Arc::new(shows));
    config.alpn_protocols = alpn;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.enable_secret_extraction = true;
    config
}

/// The server name of a client that means `expected`, or whichever node of the cluster answers.
#[must_use]
pub fn server_name(expected: Option<NodeId>) -> ServerName<'static> {
    let name = expected.map_or_else(|| names::ANY_NODE.to_owned(), |node| names::node_dns(&node));
    ServerName::try_from(name).expect("these are DNS names")
}

/// Who is at the other end, from the chain it showed in the handshake.
///
/// Judges it once more, so that it is right whatever `chain` is, and whatever happened since the handshake.
///
/// # Errors
/// As [`TrustBundle::check`](super::TrustBundle::check); [`IdentityError::NoCertificate`] when there is no chain.
pub fn peer_claims(
    trust: &Trust,
    chain: Option<&[CertificateDer<'_>]>,
) -> Result<Claims, IdentityError> {
    trust
        .current()
        .check(chain.unwrap_or_default(), SystemTime::now())
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

/// Judges what the other end shows.
#[derive(Debug)]
struct Judge {
    trust: Trust,
    refusal: Refusal,
}

impl Judge {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Claims, IdentityError> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf)
            .chain(rest)
            .map(|certificate| CertificateDer::from(&**certificate))
            .collect();
        self.trust.current().check(
            &chain,
            SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs()),
        )
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let expected = expected_node(server_name)?;
        let checked = self
            .check(leaf, rest, now)
            .and_then(|claims| match expected {
                Some(expected) if expected != claims.node => Err(IdentityError::WrongNode {
                    expected,
                    found: claims.node,
                }),
                Some(_) | None => Ok(ServerCertVerified::assertion()),
            });
        checked.map_err(|error| {
            let _ = self.refusal.0.set(error.clone());
            error.into()
        })
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Nodes have one certificate each, so there is nothing to choose; and issuers change while the list would not.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(leaf, rest, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

/// Judges those who show a certificate, and lets those pass for now who show none.
#[derive(Debug)]
struct AtWill(Judge);

impl ClientCertVerifier for AtWill {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.verify_client_cert(leaf, rest, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

/// Judges a server of enrolment.
#[derive(Debug)]
struct PinJudge {
    pins: Pins,
    refusal: Refusal,
}

impl PinJudge {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), IdentityError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let leaf = [CertificateDer::from(&**leaf)];
        match &self.pins {
            Pins::Trust(trust) => trust.current().check(&leaf, now).map(drop),
            Pins::Issuers { cluster, issuers } => {
                let claimed = rest
                    .first()
                    .ok_or(IdentityError::UnknownIssuer { issuer: None })?;
                let issuer = IssuerCertificate::from_der(claimed.clone().into_owned())?;
                let fingerprint = issuer.fingerprint();
                let is_pinned = issuers
                    .iter()
                    .any(|pin| fingerprint.as_bytes().starts_with(pin));
                if !is_pinned {
                    let issuer = Some(issuer.name().to_owned());
                    return Err(IdentityError::UnknownIssuer { issuer });
                }
                let bundle = TrustBundle::new(*cluster, vec![issuer], []);
                let bundle = bundle.map_err(|error| IdentityError::Malformed {
                    what: error.to_string(),
                })?;
                bundle.check(&leaf, now).map(drop)
            }
        }
    }
}

impl ServerCertVerifier for PinJudge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(leaf, rest, now).map_err(|error| {
            let _ = self.refusal.0.set(error.clone());
            rustls::Error::from(error)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

/// Shows the certificate of the moment.
#[derive(Debug)]
struct Show(Identity);

impl rustls::client::ResolvesClientCert for Show {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Show {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified_key())
    }
}

/// Shows the certificate of the moment, and to who comes to enrol that of its issuer, too, which such a client has to see.
#[derive(Debug)]
struct ShowWithIssuer(Identity, Trust);

impl ResolvesServerCert for ShowWithIssuer {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.certified_key();
        let enrols = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|name| name == enrol::ALPN));
        if !enrols {
            return Some(shown);
        }
        let claims = self.0.certificate();
        let trust = self.1.current();
        let issuers = trust.issuers().iter();
        let mut issuer = issuers.filter(|it| it.name() == claims.claims().issuer);
        let Some(issuer) = issuer.next() else {
            return Some(shown);
        };
        let mut both = CertifiedKey::clone(&shown);
        both.cert.truncate(1);
        both.cert.push(issuer.der().clone());
        Some(Arc::new(both))
    }
}

/// The node a client means; `None` when any will do. Any other name is a mistake and not taken for "any".
fn expected_node(server_name: &ServerName<'_>) -> Result<Option<NodeId>, rustls::Error> {
    let name = server_name.to_str();
    if name == names::ANY_NODE {
        return Ok(None);
    }
    names::parse_node_dns(&name)
        .map(Some)
        .ok_or(rustls::Error::UnsupportedNameType)
}

fn no_tls12() -> rustls::Error {
    PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into()
}

#[cfg(test)]
mod tests {
    use convoke_types::{Role, RoleSet, Timestamp};
    use rustls::{AlertDescription, ClientConnection, HandshakeKind, NamedGroup, ServerConnection};

    use super::*;
    use crate::identity::{Development, Validity};

    const RPC: &[u8] = b"convoke-rpc";

    #[test]
    fn two_nodes_of_a_cluster_know_each_other_afterwards() {
        let development = Development::new();
        let (caller, callee) = (
            development.identity(Role::Worker.into()),
            development.identity(Role::Master.into()),
        );
        let trust = development.trust();

        let link = Link::between(&caller, &trust, &callee, &trust, Some(callee.node_id()));

        assert_eq!((&link.client_said, &link.server_said), (&Ok(()), &Ok(())));
        let seen_by_client = peer_claims(&trust, link.client.peer_certificates()).unwrap();
        let seen_by_server = peer_claims(&trust, link.server.peer_certificates()).unwrap();
        assert_eq!(&seen_by_client, callee.certificate().claims());
        assert_eq!(&seen_by_server, caller.certificate().claims());
        assert_eq!(link.server.alpn_protocol(), Some(RPC));
    }

    #[test]
    fn a_handshake_is_tls_13_with_the_hybrid_key_exchange_and_sends_no_name() {
        let development = Development::new();
        let (caller, callee) = (
            development.identity(RoleSet::ALL),
            development.identity(RoleSet::ALL),
        );

        let link = Link::between(
            &caller,
            &development.trust(),
            &callee,
            &development.trust(),
            Some(callee.node_id()),
        );

        assert_eq!(
            link.client.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        let suite = link.client.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        let group = link.client.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(link.server.server_name(), None);
    }

    #[test]
    fn nothing_is_resumed() {
        let development = Development::new();
        let (caller, callee) = (
            development.identity(RoleSet::ALL),
            development.identity(RoleSet::ALL),
        );
        let client = Arc::new(client_config(&caller, &development.trust(), &[RPC]));
        let server = Arc::new(server_config(&callee, &development.trust(), &[RPC]));
        for _ in 0..3 {
            let link = Link::open(&client, &server, None);
            assert_eq!(link.client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(link.client.tls13_tickets_received(), 0);
        }
    }

    #[test]
    fn each_side_refuses_an_issuer_it_does_not_know() {
        let (ours, theirs) = (Development::new(), Development::new());
        let (caller, callee) = (ours.identity(RoleSet::ALL), theirs.identity(RoleSet::ALL));
        // One cluster id, two issuers, so that it is the issuer that does not fit.
        let same_cluster = crate::identity::Issuer::generate(
            ours.cluster(),
            Validity::for_issuer(Timestamp::UNIX_EPOCH + since_1970()),
        )
        .unwrap();
        let other =
            TrustBundle::new(ours.cluster(), vec![same_cluster.certificate().clone()], []).unwrap();
        let (believes_other, believes_ours) = (Trust::new(other), ours.trust());

        let refused_by_client =
            Link::between(&caller, &believes_ours, &callee, &theirs.trust(), None);
        let error = refused_by_client.client_refused();
        assert!(
            matches!(error, IdentityError::WrongCluster { .. }),
            "{error}"
        );
        assert_eq!(
            refused_by_client.server_was_told(),
            AlertDescription::CertificateUnknown
        );

        let callee = ours.identity(RoleSet::ALL);
        let refused_by_server =
            Link::between(&caller, &believes_ours, &callee, &believes_other, None);
        assert_eq!(
            refused_by_server.server_refused(),
            IdentityError::UnknownIssuer { issuer: None }
        );
        assert_eq!(
            refused_by_server.client_was_told(),
            AlertDescription::UnknownCA
        );
    }

    #[test]
    fn an_expired_certificate_is_refused_and_its_node_told_so() {
        let development = Development::new();
        let trust = development.trust();
        let good = development.identity(RoleSet::ALL);
        let yesterday = Timestamp::UNIX_EPOCH + since_1970() - Duration::from_secs(48 * 3_600);
        let expired = development.identity_with(RoleSet::ALL, Validity::for_node(yesterday));

        let calling = Link::between(&expired, &trust, &good, &trust, None);
        assert!(matches!(
            calling.server_refused(),
            IdentityError::Expired { .. }
        ));
        assert_eq!(
            calling.client_was_told(),
            AlertDescription::CertificateExpired
        );

        let called = Link::between(&good, &trust, &expired, &trust, None);
        assert!(matches!(
            called.client_refused(),
            IdentityError::Expired { .. }
        ));
        assert_eq!(
            called.server_was_told(),
            AlertDescription::CertificateExpired
        );
    }

    #[test]
    fn another_node_than_the_one_called_is_refused() {
        let development = Development::new();
        let trust = development.trust();
        let [caller, callee, meant] = [(); 3].map(|()| development.identity(RoleSet::ALL));

        let link = Link::between(&caller, &trust, &callee, &trust, Some(meant.node_id()));

        let expected = IdentityError::WrongNode {
            expected: meant.node_id(),
            found: callee.node_id(),
        };
        assert_eq!(link.client_refused(), expected);
        assert_eq!(link.server_was_told(), AlertDescription::BadCertificate);
    }

    #[test]
    fn a_server_name_that_names_no_node_is_a_mistake_and_not_anybody() {
        let development = Development::new();
        let (caller, callee) = (
            development.identity(RoleSet::ALL),
            development.identity(RoleSet::ALL),
        );
        let client = Arc::new(client_config(&caller, &development.trust(), &[RPC]));
        let server = Arc::new(server_config(&callee, &development.trust(), &[RPC]));
        for name in [
            "localhost",
            "127.0.0.1",
            "x.node.convoke",
            "sub.any.convoke",
        ] {
            let name = ServerName::try_from(name).unwrap();
            let link = Link::open_by_name(&client, &server, name.clone());
            assert_eq!(
                link.client_said,
                Err(rustls::Error::UnsupportedNameType),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_client_without_a_certificate_is_refused() {
        let development = Development::new();
        let callee = development.identity(RoleSet::ALL);
        let client = ClientConfig::builder_with_details(provider(), Arc::new(WallClock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Judge {
                trust: development.trust(),
                refusal: Refusal::default(),
            }))
            .with_no_client_auth();
        let server = server_config(&callee, &development.trust(), &[]);

        let link = Link::open(&Arc::new(client), &Arc::new(server), None);

        assert_eq!(link.server_refused(), IdentityError::NoCertificate);
        assert_eq!(
            link.client_was_told(),
            AlertDescription::CertificateRequired
        );
    }

    #[test]
    fn a_stolen_certificate_is_of_no_use_without_its_key() {
        #[derive(Debug)]
        struct Thief(Arc<CertifiedKey>);
        impl rustls::client::ResolvesClientCert for Thief {
            fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
                Some(Arc::clone(&self.0))
            }
            fn has_certs(&self) -> bool {
                true
            }
        }
        let development = Development::new();
        let [caller, callee] = [(); 2].map(|()| development.identity(RoleSet::ALL));
        let stolen = CertifiedKey::new(
            callee.certificate().chain().to_vec(),
            Arc::new(caller.key().clone()),
        );
        let mut client = client_config(&caller, &development.trust(), &[RPC]);
        client.client_auth_cert_resolver = Arc::new(Thief(Arc::new(stolen)));
        let server = server_config(&callee, &development.trust(), &[RPC]);

        let link = Link::open(&Arc::new(client), &Arc::new(server), None);

        assert_eq!(link.server_refused(), IdentityError::BadSignature);
        assert_eq!(link.client_was_told(), AlertDescription::DecryptError);
    }

    #[test]
    fn a_renewed_certificate_counts_from_the_next_handshake_on() {
        let development = Development::new();
        let trust = development.trust();
        let [caller, callee] = [(); 2].map(|()| development.identity(Role::Worker.into()));
        let client = Arc::new(client_config(&caller, &trust, &[RPC]));
        let server = Arc::new(server_config(&callee, &trust, &[RPC]));
        let before = Link::open(&client, &server, None);

        for identity in [&caller, &callee] {
            identity
                .replace_certificate(
                    development.certificate(identity.node_id(), Role::Master.into()),
                )
                .unwrap();
        }
        let after = Link::open(&client, &server, None);

        let roles =
            |chain: Option<&[CertificateDer<'static>]>| peer_claims(&trust, chain).unwrap().roles;
        assert_eq!(
            roles(before.client.peer_certificates()),
            Role::Worker.into()
        );
        assert_eq!(
            roles(before.server.peer_certificates()),
            Role::Worker.into()
        );
        assert_eq!(roles(after.client.peer_certificates()), Role::Master.into());
        assert_eq!(roles(after.server.peer_certificates()), Role::Master.into());
    }

    #[test]
    fn a_forgotten_node_is_refused_from_the_next_handshake_on() {
        let development = Development::new();
        let trust = development.trust();
        let [caller, callee] = [(); 2].map(|()| development.identity(RoleSet::ALL));
        let client = Arc::new(client_config(&caller, &trust, &[RPC]));
        let server = Arc::new(server_config(&callee, &trust, &[RPC]));
        let before = Link::open(&client, &server, None);
        assert_eq!(before.server_said, Ok(()));

        let issuers = trust.current().issuers().to_vec();
        trust
            .update(TrustBundle::new(development.cluster(), issuers, [caller.node_id()]).unwrap())
            .unwrap();
        let after = Link::open(&client, &server, None);

        assert_eq!(
            after.server_refused(),
            IdentityError::Forgotten { node: None }
        );
        assert_eq!(
            after.client_was_told(),
            AlertDescription::CertificateRevoked
        );
        let now_known = peer_claims(&trust, before.server.peer_certificates());
        assert_eq!(
            now_known,
            Err(IdentityError::Forgotten {
                node: Some(caller.node_id())
            })
        );
    }

    #[test]
    fn a_protocol_that_is_not_served_ends_the_handshake() {
        let development = Development::new();
        let [caller, callee] = [(); 2].map(|()| development.identity(RoleSet::ALL));
        let client = client_config(&caller, &development.trust(), &[b"gossip"]);
        let server = server_config(&callee, &development.trust(), &[RPC]);

        let link = Link::open(&Arc::new(client), &Arc::new(server), None);

        assert_eq!(link.server_said, Err(rustls::Error::NoApplicationProtocol));
        assert_eq!(
            link.client_was_told(),
            AlertDescription::NoApplicationProtocol
        );
    }

    /// Two ends in memory, after as much of a handshake as they came to.
    struct Link {
        client: ClientConnection,
        server: ServerConnection,
        client_said: Result<(), rustls::Error>,
        server_said: Result<(), rustls::Error>,
    }

    impl Link {
        fn between(
            caller: &Identity,
            caller_trust: &Trust,
            callee: &Identity,
            callee_trust: &Trust,
            expected: Option<NodeId>,
        ) -> Self {
            let client = Arc::new(client_config(caller, caller_trust, &[RPC]));
            let server = Arc::new(server_config(callee, callee_trust, &[RPC]));
            Self::open(&client, &server, expected)
        }

        fn open(
            client: &Arc<ClientConfig>,
            server: &Arc<ServerConfig>,
            expected: Option<NodeId>,
        ) -> Self {
            Self::open_by_name(client, server, server_name(expected))
        }

        fn open_by_name(
            client: &Arc<ClientConfig>,
            server: &Arc<ServerConfig>,
            name: ServerName<'static>,
        ) -> Self {
            let client = ClientConnection::new(Arc::clone(client), name).unwrap();
            let server = ServerConnection::new(Arc::clone(server)).unwrap();
            let mut link = Self {
                client,
                server,
                client_said: Ok(()),
                server_said: Ok(()),
            };
            while link.client.wants_write() || link.server.wants_write() {
                let Self {
                    client,
                    server,
                    client_said,
                    server_said,
                } = &mut link;
                carry(client, server, server_said);
                carry(server, client, client_said);
            }
            link
        }

        fn client_refused(&self) -> IdentityError {
            refusal(&self.client_said)
        }

        fn server_refused(&self) -> IdentityError {
            refusal(&self.server_said)
        }

        fn client_was_told(&self) -> AlertDescription {
            alert(&self.client_said)
        }

        fn server_was_told(&self) -> AlertDescription {
            alert(&self.server_said)
        }
    }

    /// Takes to `to` all that `from` has to say; the first error is kept.
    fn carry<A, B>(
        from: &mut rustls::ConnectionCommon<A>,
        to: &mut rustls::ConnectionCommon<B>,
        said: &mut Result<(), rustls::Error>,
    ) {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        let mut unread = bytes.as_slice();
        while !unread.is_empty() && said.is_ok() {
            to.read_tls(&mut unread).unwrap();
            *said = to.process_new_packets().map(|_| ());
        }
    }

    fn since_1970() -> Duration {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
    }

    fn refusal(said: &Result<(), rustls::Error>) -> IdentityError {
        let error = said.as_ref().unwrap_err();
        IdentityError::from_rustls(error)
            .unwrap_or_else(|| panic!("not about a credential: {error}"))
    }

    fn alert(said: &Result<(), rustls::Error>) -> AlertDescription {
        match said {
            Err(rustls::Error::AlertReceived(alert)) => *alert,
            other => panic!("no alert: {other:?}"),
        }
    }
}
