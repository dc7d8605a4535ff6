//! Making certificates.
//!
//! An [`Issuer`] is a key of its own with a certificate that it signed itself. Every voter has one; its key is made where it
//! is used and never copied. What the cluster believes is a set of [`IssuerCertificate`]s, so losing a machine loses nothing
//! but one of several pens. An issuer sees the public half of a node's key only: a [`NodeId`] is all it takes to issue.
//!
//! The dates in an issuer's certificate bound what it signs: nothing it issues outlives it. Whether an issuer is believed is
//! a matter of the trust bundle alone, not of its dates. So taking an issuer out of the bundle takes effect at once, and no
//! cluster dies of a date that nobody watched.
//!
//! Deliberately absent: who may have a certificate and with which roles. That was decided before `issue` is called.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use convoke_types::{ClusterId, NodeId, RoleSet, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::certificate::{self, Certificate};
use super::ed25519::{self, Ed25519, PUBLIC_KEY_SIZE};
use super::pem::{self, SecretText};
use super::secret_file::{self, KeyFileError};
use super::{IdentityError, names};

/// The name of the file, in the directory given, that holds an issuer's key and certificate.
pub const ISSUER_FILE: &str = "issuer.pem";

/// How long before it is made a certificate begins to count, so that nodes whose clocks are behind take it, too.
pub(super) const BACKDATE: Duration = Duration::from_secs(5 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// From when and for how long a certificate counts.
///
/// It counts from five minutes before `now`, so that nodes whose clocks are up to five minutes behind accept it at once.
/// Nodes whose clocks are further off refuse it and say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When the certificate is made.
    pub now: Timestamp,
    /// For how long it counts from then on. Shorter means that forgetting a node needs less time to reach everybody, and
    /// more renewals. Sensible: an hour to a week for nodes, years for issuers.
    pub lifetime: Duration,
}

impl Validity {
    /// What a node gets: 24 hours.
    #[must_use]
    pub fn for_node(now: Timestamp) -> Self {
        Self { now, lifetime: DAY }
    }

    /// What an issuer gives itself: ten years.
    #[must_use]
    pub fn for_issuer(now: Timestamp) -> Self {
        Self {
            now,
            lifetime: 3_652 * DAY,
        }
    }

    /// The same beginning with another lifetime.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    fn not_before(self) -> Timestamp {
        self.now - BACKDATE
    }

    fn not_after(self) -> Timestamp {
        self.now + self.lifetime
    }
}

/// Why an issuer could not be had, or did not issue. No certificate was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Its certificate is not one of an issuer.
    #[error("the issuer's certificate cannot be used: {0}")]
    Certificate(#[from] IdentityError),
    /// Its text holds no key, or the key of another certificate.
    #[error("the issuer's key cannot be used: {what}")]
    Key {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The certificate would never count.
    #[error("a certificate from {from} to {until} would never count")]
    Dates {
        /// The first moment asked for.
        from: Timestamp,
        /// The last moment asked for, or the last one of the issuer if that comes first.
        until: Timestamp,
    },
    /// The issuer's own life is over.
    #[error("the issuer's certificate ended at {since}; this machine needs a new issuer")]
    Expired {
        /// Its last moment.
        since: Timestamp,
    },
    /// The certificate could not be written down.
    #[error("could not encode the certificate: {0}")]
    Encoding(#[from] rcgen::Error),
}

/// A key that signs certificates, with its own certificate.
#[derive(Clone)]
pub struct Issuer {
    key: Ed25519,
    certificate: IssuerCertificate,
}

impl Issuer {
    /// A new issuer for `cluster`, in memory only.
    ///
    /// # Errors
    /// When `validity` is empty or beyond the calendar.
    pub fn generate(cluster: ClusterId, validity: Validity) -> Result<Self, IssuerError> {
        let key = Ed25519::generate();
        let mut parameters = parameters(validity.not_before(), validity.not_after())?;
        parameters.distinguished_name = common_name(format!("convoke issuer {}", short_name(&key)));
        parameters.subject_alt_names = vec![uri(names::issuer_uri(&cluster))?];
        // Path length 0: what it signs cannot sign in turn.
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = IssuerCertificate::from_der(parameters.self_signed(&key)?.der().clone())?;
        Ok(Self { key, certificate })
    }

    /// Reads the issuer in `directory`, or makes one for `cluster` and writes it there (one file, mode 0600, key and
    /// certificate). Processes that do this at the same time all end with the same issuer.
    ///
    /// # Errors
    /// When the file breaks the rules for key files or holds something else, when there is an issuer of another cluster
    /// ([`IdentityError::WrongCluster`]), and when a new one cannot be made.
    pub fn load_or_create(
        directory: impl AsRef<Path>,
        cluster: ClusterId,
        validity: Validity,
    ) -> Result<Self, IssuerError> {
        let issuer = Self::load_or_create_of_any_cluster(directory.as_ref(), cluster, validity)?;
        match issuer.cluster() {
            found if found == cluster => Ok(issuer),
            found => Err(IdentityError::WrongCluster {
                expected: cluster,
                found,
            }
            .into()),
        }
    }

    /// As [`load_or_create`](Self::load_or_create), but what is found may be of any cluster.
    pub(super) fn load_or_create_of_any_cluster(
        directory: &Path,
        cluster: ClusterId,
        validity: Validity,
    ) -> Result<Self, IssuerError> {
        let path = directory.join(ISSUER_FILE);
        let text = secret_file::read_or_create(&path, || {
            Self::generate(cluster, validity).map(|issuer| issuer.to_secret_text())
        })?;
        Self::from_secret_text(&text).map_err(|error| match error {
            IssuerError::Key { what } => KeyFileError::garbled(&path, what).into(),
            IssuerError::Certificate(what) => KeyFileError::garbled(&path, what.to_string()).into(),
            other @ (IssuerError::File(_)
            | IssuerError::Dates { .. }
            | IssuerError::Expired { .. }
            | IssuerError::Encoding(_)) => other,
        })
    }

    /// Reads key and certificate from PEM text.
    ///
    /// # Errors
    /// When one is missing or unusable, or when they do not belong together.
    pub fn from_pem(text: &str) -> Result<Self, IssuerError> {
        Self::from_secret_text(&SecretText::new(text.as_bytes().to_vec()))
    }

    /// Key and certificate as PEM text. Whoever reads it can admit anybody to the cluster.
    #[must_use]
    pub fn to_pem(&self) -> String {
        String::from_utf8(self.to_secret_text().as_bytes().to_vec()).expect("PEM is ASCII")
    }

    /// What the cluster must believe for what this issuer signs to count.
    #[must_use]
    pub fn certificate(&self) -> &IssuerCertificate {
        &self.certificate
    }

    /// The cluster it issues for.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.certificate.cluster
    }

    /// Certifies that `node` belongs to this cluster and may take `roles`.
    ///
    /// It ends with the issuer at the latest.
    ///
    /// # Errors
    /// When the issuer's life is over, or the certificate's would be empty.
    pub fn issue(
        &self,
        node: NodeId,
        roles: RoleSet,
        validity: Validity,
    ) -> Result<Certificate, IssuerError> {
        if validity.now > self.certificate.not_after {
            return Err(IssuerError::Expired {
                since: self.certificate.not_after,
            });
        }
        let not_after = validity.not_after().min(self.certificate.not_after);
        let mut parameters = parameters(validity.not_before(), not_after)?;
        parameters.distinguished_name = common_name(node.to_string());
        parameters.subject_alt_names = vec![
            uri(names::node_uri(&self.cluster(), &node, roles))?,
            SanType::DnsName(names::node_dns(&node).try_into()?),
        ];
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node is client and server of its links.
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        parameters.use_authority_key_identifier_extension = true;

        let signed = parameters.signed_by(&PublicKey(&node), &self.as_rcgen())?;
        Ok(Certificate::from_chain(vec![signed.der().clone()])?)
    }

    /// Its name is taken from its certificate, so that old issuers keep theirs when the pattern for new ones changes.
    fn as_rcgen(&self) -> rcgen::Issuer<'static, &Ed25519> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = common_name(self.certificate.name.clone());
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        rcgen::Issuer::new(parameters, &self.key)
    }

    fn to_secret_text(&self) -> SecretText {
        let certificate = pem::write("CERTIFICATE", &self.certificate.der);
        SecretText::new([self.key.to_pem().as_bytes(), certificate.as_bytes()].concat())
    }

    fn from_secret_text(text: &SecretText) -> Result<Self, IssuerError> {
        let key = Ed25519::from_pem(text.as_bytes()).map_err(|what| IssuerError::Key { what })?;
        let der = pem::read_certificates(text.as_bytes())
            .next()
            .ok_or(IdentityError::NoCertificate)?;
        let certificate = IssuerCertificate::from_der(der.into())?;
        if certificate.public_key != key.public_key() {
            return Err(IssuerError::Key {
                what: "it is not the key of the certificate beside it",
            });
        }
        Ok(Self { key, certificate })
    }
}

/// Shows the certificate only.
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.certificate).finish()
    }
}

/// An issuer as others see it: its self-signed certificate. Sure to be one of a Convoke issuer and signed by its own key;
/// whether it is to be believed is another question.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuerCertificate {
    der: CertificateDer<'static>,
    public_key: [u8; PUBLIC_KEY_SIZE],
    cluster: ClusterId,
    name: String,
    not_after: Timestamp,
}

impl IssuerCertificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// When it is not an issuer's (a node's certificate, say), or not signed by its own key.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, IdentityError> {
        if der.len() > certificate::MAX_CHAIN_BYTES {
            return Err(IdentityError::malformed(format!(
                "{} bytes are too many for an issuer",
                der.len()
            )));
        }
        let parsed = certificate::parse(&der)?;
        let may_sign = parsed
            .key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.key_cert_sign());
        if !parsed.is_ca() || !may_sign {
            return Err(IdentityError::NotForThisUse);
        }
        let cluster =
            names::parse_issuer_uri(certificate::convoke_uri(&parsed)?).ok_or_else(|| {
                IdentityError::malformed("its convoke:// name is not that of a cluster")
            })?;
        let public_key = *certificate::public_key(&parsed)?.as_bytes();
        if !ed25519::verify(
            &public_key,
            parsed.tbs_certificate.as_ref(),
            &parsed.signature_value.data,
        ) {
            return Err(IdentityError::BadSignature);
        }
        let (_, not_after) = certificate::validity(&parsed)?;
        let name = certificate::name(parsed.subject());
        Ok(Self {
            public_key,
            cluster,
            name,
            not_after,
            der,
        })
    }

    /// The certificate in DER.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// As [`from_der`](Self::from_der), from plain bytes.
    ///
    /// # Errors
    /// As there.
    pub fn from_bytes(der: Vec<u8>) -> Result<Self, IdentityError> {
        Self::from_der(CertificateDer::from(der))
    }

    /// The certificate as PEM text, as `openssl verify -CAfile` takes it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::write("CERTIFICATE", &self.der)
    }

    /// SHA-256 of the certificate: what a join token pins, and what `openssl x509 -fingerprint -sha256` shows.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The cluster it issues for.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its name, for people: `convoke issuer` and the beginning of the hash of its key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last moment that anything it issues can count.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(super) fn anchor(&self) -> Result<TrustAnchor<'static>, IdentityError> {
        let anchor = webpki::anchor_from_trusted_cert(&self.der)
            .map_err(|error| IdentityError::malformed(error.to_string()))?;
        Ok(anchor.to_owned())
    }
}

impl fmt::Debug for IssuerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerCertificate")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate; shown as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of any bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A node's key as rcgen takes a key to certify: the public half.
struct PublicKey<'a>(&'a NodeId);

impl rcgen::PublicKeyData for PublicKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

/// What all our certificates share: dates and a serial number that nobody can foresee.
fn parameters(
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, IssuerError> {
    let dates = || IssuerError::Dates {
        from: not_before,
        until: not_after,
    };
    // Certificates know whole seconds; a life that rounds to nothing is one that was asked for by mistake.
    if not_after.unix_ms() / 1_000 <= (not_before + BACKDATE).unix_ms() / 1_000 {
        return Err(dates());
    }
    let mut parameters = CertificateParams::default();
    parameters.not_before = calendar(not_before).ok_or_else(dates)?;
    parameters.not_after = calendar(not_after).ok_or_else(dates)?;
    parameters.serial_number = Some(random_serial());
    Ok(parameters)
}

/// In whole seconds; `None` after the year 9999.
fn calendar(time: Timestamp) -> Option<time::OffsetDateTime> {
    let seconds = i64::try_from(time.unix_ms() / 1_000).ok()?;
    time::OffsetDateTime::from_unix_timestamp(seconds).ok()
}

/// 16 bytes, positive and without a leading zero in DER.
fn random_serial() -> rcgen::SerialNumber {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes[0] = bytes[0] & 0x7f | 0x40;
    rcgen::SerialNumber::from_slice(&bytes)
}

fn common_name(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn uri(text: String) -> Result<SanType, rcgen::Error> {
    Ok(SanType::URI(text.try_into()?))
}

/// Sixteen digits that tell issuers apart: the beginning of the SHA-256 of the public key.
fn short_name(key: &Ed25519) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.public_key());
    digest.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::identity::NodeKey;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
    const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

    #[test]
    fn nothing_outlives_its_issuer() {
        let hour = Duration::from_secs(3_600);
        let issuer =
            Issuer::generate(CLUSTER, Validity::for_issuer(NOW).with_lifetime(hour)).unwrap();
        let node = NodeKey::generate().node_id();

        let certificate = issuer
            .issue(node, RoleSet::ALL, Validity::for_node(NOW))
            .unwrap();
        assert_eq!(
            certificate.claims().not_after,
            issuer.certificate().not_after()
        );

        let late = issuer
            .issue(node, RoleSet::ALL, Validity::for_node(NOW + 2 * hour))
            .unwrap_err();
        assert!(matches!(late, IssuerError::Expired { .. }), "{late:?}");
    }

    #[test]
    fn a_life_without_length_or_beyond_the_calendar_is_refused() {
        for lifetime in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            let error =
                Issuer::generate(CLUSTER, Validity::for_issuer(NOW).with_lifetime(lifetime))
                    .unwrap_err();
            assert!(
                matches!(error, IssuerError::Dates { .. }),
                "{lifetime:?}: {error:?}"
            );
        }
    }

    #[test]
    fn two_certificates_for_one_node_have_different_serial_numbers() {
        let issuer = issuer();
        let node = NodeKey::generate().node_id();
        let [one, two] = [(); 2].map(|()| {
            issuer
                .issue(node, RoleSet::ALL, Validity::for_node(NOW))
                .unwrap()
        });
        let serial = |certificate: &Certificate| {
            certificate::parse(&certificate.chain()[0])
                .unwrap()
                .raw_serial_as_string()
        };
        assert_ne!(serial(&one), serial(&two));
    }

    #[test]
    fn a_node_certificate_is_no_issuer() {
        let leaf = issuer()
            .issue(
                NodeKey::generate().node_id(),
                RoleSet::ALL,
                Validity::for_node(NOW),
            )
            .unwrap();
        let error = IssuerCertificate::from_der(leaf.chain()[0].clone()).unwrap_err();
        assert_eq!(error, IdentityError::NotForThisUse);
    }

    #[test]
    fn an_issuer_signed_by_another_is_refused() {
        let (one, two) = (issuer(), issuer());
        let mut parameters = parameters(NOW, NOW + DAY).unwrap();
        parameters.distinguished_name = common_name("convoke issuer".to_owned());
        parameters.subject_alt_names = vec![uri(names::issuer_uri(&CLUSTER)).unwrap()];
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let cross = parameters.signed_by(&two.key, &one.as_rcgen()).unwrap();

        let error = IssuerCertificate::from_der(cross.der().clone()).unwrap_err();

        assert_eq!(error, IdentityError::BadSignature);
    }

    #[test]
    fn an_issuer_survives_its_file_and_keeps_its_cluster() {
        let directory = tempfile::tempdir().unwrap();

        let made =
            Issuer::load_or_create(directory.path(), CLUSTER, Validity::for_issuer(NOW)).unwrap();
        let later = Validity::for_issuer(NOW + DAY);
        let found = Issuer::load_or_create(directory.path(), CLUSTER, later).unwrap();

        assert_eq!(found.certificate(), made.certificate());
        assert_eq!(
            fs::metadata(directory.path().join(ISSUER_FILE))
                .unwrap()
                .mode()
                & 0o777,
            0o600
        );
        let other = Issuer::load_or_create(directory.path(), ClusterId::from_bytes([8; 16]), later)
            .unwrap_err();
        assert!(
            matches!(
                other,
                IssuerError::Certificate(IdentityError::WrongCluster { .. })
            ),
            "{other:?}"
        );
    }

    #[test]
    fn a_garbled_issuer_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(ISSUER_FILE);
        let issuer =
            Issuer::load_or_create(directory.path(), CLUSTER, Validity::for_issuer(NOW)).unwrap();
        let other = self::issuer();
        let key_alone = NodeKey::generate().to_pem();
        let foreign_key = key_alone.clone() + &issuer.certificate().to_pem();
        let foreign_certificate = issuer.to_pem().replace(
            &issuer.certificate().to_pem(),
            &other.certificate().to_pem(),
        );
        for bad in [
            "nothing",
            &key_alone,
            &foreign_key,
            &foreign_certificate,
            &issuer.certificate().to_pem(),
        ] {
            fs::write(&path, bad).unwrap();

            let error =
                Issuer::load_or_create(directory.path(), CLUSTER, Validity::for_issuer(NOW))
                    .unwrap_err();

            assert!(
                matches!(error, IssuerError::File(KeyFileError::Garbled { .. })),
                "{error:?}"
            );
        }
    }

    #[test]
    fn the_secret_is_not_in_debug_output() {
        let issuer = issuer();
        let shown = format!("{issuer:?}");
        assert!(
            shown.starts_with("Issuer(IssuerCertificate { name: \"convoke issuer "),
            "{shown}"
        );
        assert!(!shown.contains("key"), "{shown}");
    }

    #[test]
    fn a_fingerprint_is_shown_as_hexadecimal_digits() {
        let fingerprint = issuer().certificate().fingerprint();
        assert_eq!(fingerprint.to_string().len(), 64);
        assert!(
            fingerprint
                .to_string()
                .starts_with(&format!("{:02x}", fingerprint.as_bytes()[0]))
        );
    }

    /// Other people's tools can check our certificates: the reason for X.509.
    #[test]
    fn openssl_takes_our_certificates() {
        use std::process::Command;
        if Command::new("openssl").arg("version").output().is_err() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let issuer =
            Issuer::load_or_create(directory.path(), CLUSTER, Validity::for_issuer(NOW)).unwrap();
        let key = NodeKey::generate();
        let leaf = issuer
            .issue(key.node_id(), RoleSet::ALL, Validity::for_node(NOW))
            .unwrap();
        fs::write(directory.path().join("leaf.pem"), leaf.to_pem()).unwrap();
        fs::write(directory.path().join("node.key"), key.to_pem()).unwrap();
        let openssl = |arguments: &str| {
            let output = Command::new("openssl")
                .current_dir(&directory)
                .args(arguments.split(' '))
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "openssl {arguments}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };

        let seconds = NOW.unix_ms() / 1_000;
        openssl(&format!(
            "verify -x509_strict -purpose sslserver -attime {seconds} -CAfile {ISSUER_FILE} leaf.pem"
        ));
        openssl("pkey -in node.key -noout");
        let shown = openssl("x509 -in leaf.pem -noout -ext subjectAltName");
        assert!(
            shown.contains(&format!("URI:convoke://{CLUSTER}/{}?roles=", key.node_id())),
            "{shown}"
        );
    }

    fn issuer() -> Issuer {
        Issuer::generate(CLUSTER, Validity::for_issuer(NOW)).unwrap()
    }
}
