//! How an [`IdentityError`] travels through TLS, and what the other side is told.
//!
//! *This side* gets an [`IdentityError`] with the values that did not fit. *The other side* gets a TLS alert, one byte that
//! says what its operator should look at; [`describe_alert`] puts it into words over there.
//!
//! rustls derives the alert from its own error, so an [`IdentityError`] goes through it in the variant with the right alert.
//! Some of those variants have no room for all of our values: what comes back says `None` where there was no room, and the
//! caller still knows whom it called, or from which address the call came. An error without an alert of its own (another
//! cluster, a key that does not fit) is carried whole.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::{NodeId, Timestamp};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, OtherError};

use super::{IdentityError, names};

impl IdentityError {
    /// The rustls error that sends the peer the right alert.
    #[must_use]
    pub fn into_rustls(self) -> rustls::Error {
        let certificate = match self {
            Self::NoCertificate => return rustls::Error::NoCertificatesPresented,
            Self::UnknownIssuer { .. } => CertificateError::UnknownIssuer,
            Self::BadSignature => CertificateError::BadSignature,
            Self::Expired { since, now, .. } => CertificateError::ExpiredContext {
                time: unix(now),
                not_after: unix(since),
            },
            Self::NotYetValid { from, now, .. } => CertificateError::NotValidYetContext {
                time: unix(now),
                not_before: unix(from),
            },
            Self::WrongNode { expected, found } => wrong_name(expected, found),
            Self::Forgotten { .. } => CertificateError::Revoked,
            Self::NotForThisUse => CertificateError::InvalidPurpose,
            whole @ (Self::WrongCluster { .. }
            | Self::KeyMismatch { .. }
            | Self::Malformed { .. }) => {
                CertificateError::Other(OtherError(Arc::new(Carried(whole))))
            }
        };
        rustls::Error::InvalidCertificate(certificate)
    }

    /// What was wrong with the *peer's* credential, when that is why a handshake failed on this side.
    ///
    /// `None` for every other failure, also when the peer did not like *our* certificate: that is an alert, see
    /// [`describe_alert`].
    #[must_use]
    pub fn from_rustls(error: &rustls::Error) -> Option<Self> {
        if matches!(error, rustls::Error::NoCertificatesPresented) {
            return Some(Self::NoCertificate);
        }
        let rustls::Error::InvalidCertificate(certificate) = error else {
            return None;
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum is another crate's and grows"
        )]
        match certificate {
            CertificateError::UnknownIssuer => Some(Self::UnknownIssuer { issuer: None }),
            CertificateError::BadSignature => Some(Self::BadSignature),
            CertificateError::ExpiredContext { time, not_after } => Some(Self::Expired {
                node: None,
                since: timestamp(*not_after),
                now: timestamp(*time),
            }),
            CertificateError::NotValidYetContext { time, not_before } => Some(Self::NotYetValid {
                node: None,
                from: timestamp(*not_before),
                now: timestamp(*time),
            }),
            CertificateError::Revoked => Some(Self::Forgotten { node: None }),
            CertificateError::InvalidPurpose => Some(Self::NotForThisUse),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => read_wrong_name(expected, presented),
            CertificateError::Other(other) => other
                .0
                .downcast_ref::<Carried>()
                .map(|carried| carried.0.clone()),
            other => Some(Self::malformed(other.to_string())),
        }
    }
}

impl From<IdentityError> for rustls::Error {
    fn from(error: IdentityError) -> Self {
        error.into_rustls()
    }
}

/// What a TLS alert means when it came from a peer, and what to do about it on this machine.
///
/// Takes the alert itself or its number, which over QUIC is the low byte of the connection's error code.
#[must_use]
pub fn describe_alert(alert: impl Into<AlertDescription>) -> &'static str {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest says nothing about certificates"
    )]
    match alert.into() {
        AlertDescription::CertificateExpired => {
            "the remote says that our certificate has expired or does not count yet: compare the clocks of both machines, \
             then see whether this node can renew its certificate"
        }
        AlertDescription::CertificateRevoked => {
            "the remote says that its cluster has forgotten this node: join again with a new key and a new token"
        }
        AlertDescription::UnknownCA => {
            "the remote does not know the issuer of our certificate: one of the two has an outdated trust bundle, or this \
             node belongs to a cluster that was made anew"
        }
        AlertDescription::BadCertificate => {
            "the remote was looking for another node at this address: compare the node id in its configuration or address \
             book with ours"
        }
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "the remote wants a certificate and we showed none: this node has not joined a cluster yet"
        }
        AlertDescription::CertificateUnknown => {
            "the remote cannot accept our certificate: most likely it is for another cluster; compare the cluster ids"
        }
        AlertDescription::UnsupportedCertificate => {
            "the remote says that our certificate is not one for nodes: see whether the right file is configured"
        }
        AlertDescription::DecryptError => {
            "the remote could not verify a signature of ours: the certificate does not belong to this node's key, or an \
             issuer of the same name has another key"
        }
        AlertDescription::AccessDenied => {
            "the remote knows who we are and refuses us: ask the operator of its cluster"
        }
        AlertDescription::NoApplicationProtocol => {
            "the remote does not serve the protocol we asked for: it may be of another version, or another program"
        }
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => {
            "the remote speaks no TLS that we speak (1.3, ed25519): it is most likely another program"
        }
        _ => {
            "the remote broke off the handshake for a reason that has nothing to do with our certificate"
        }
    }
}

/// Carries an error through rustls. Its `Debug` is in words, as that is what rustls prints.
struct Carried(IdentityError);

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Carried {}

fn wrong_name(expected: NodeId, found: NodeId) -> CertificateError {
    let expected =
        ServerName::try_from(names::node_dns(&expected)).expect("the name of a node is a DNS name");
    CertificateError::NotValidForNameContext {
        expected,
        presented: vec![names::node_dns(&found)],
    }
}

fn read_wrong_name(expected: &ServerName<'_>, presented: &[String]) -> Option<IdentityError> {
    let expected = names::parse_node_dns(&expected.to_str())?;
    let found = names::parse_node_dns(presented.first()?)?;
    Some(IdentityError::WrongNode { expected, found })
}

/// In whole seconds, as TLS has it.
fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(time.unix_ms()))
}

fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_unix_ms(time.as_secs().saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use convoke_types::ClusterId;

    use super::*;

    const ONE: NodeId = NodeId::from_public_key([1; 32]);
    const TWO: NodeId = NodeId::from_public_key([2; 32]);
    const SECOND: Timestamp = Timestamp::from_unix_ms(1_000);
    const HOUR: Timestamp = Timestamp::from_unix_ms(3_600_000);

    #[test]
    fn every_error_sends_its_own_alert_and_comes_back_as_far_as_there_was_room() {
        use AlertDescription as Alert;
        use IdentityError as E;
        let expired = |node| E::Expired {
            node,
            since: SECOND,
            now: HOUR,
        };
        let not_yet = |node| E::NotYetValid {
            node,
            from: HOUR,
            now: SECOND,
        };
        let unknown = |issuer| E::UnknownIssuer { issuer };
        let forgotten = |node| E::Forgotten { node };
        let whole = [
            (E::BadSignature, Alert::DecryptError),
            (
                E::WrongNode {
                    expected: ONE,
                    found: TWO,
                },
                Alert::BadCertificate,
            ),
            (
                E::KeyMismatch {
                    claimed: ONE,
                    key: TWO,
                },
                Alert::CertificateUnknown,
            ),
            (E::NotForThisUse, Alert::UnsupportedCertificate),
            (E::malformed("x"), Alert::CertificateUnknown),
            (wrong_cluster(), Alert::CertificateUnknown),
        ];
        let without_names = [
            (
                unknown(Some("x".to_owned())),
                Alert::UnknownCA,
                unknown(None),
            ),
            (expired(Some(ONE)), Alert::CertificateExpired, expired(None)),
            (not_yet(Some(ONE)), Alert::CertificateExpired, not_yet(None)),
            (
                forgotten(Some(ONE)),
                Alert::CertificateRevoked,
                forgotten(None),
            ),
        ];
        let whole = whole.map(|(error, alert)| (error.clone(), alert, error));
        for (error, alert, expected) in whole.into_iter().chain(without_names) {
            let through = error.clone().into_rustls();
            assert_eq!(
                IdentityError::from_rustls(&through),
                Some(expected),
                "{error}"
            );
            let rustls::Error::InvalidCertificate(certificate) = through else {
                panic!("{error}: {through}")
            };
            assert_eq!(Alert::from(certificate), alert, "{error}");
            assert!(describe_alert(alert).starts_with("the remote "), "{error}");
        }
        let none = E::NoCertificate.into_rustls();
        assert_eq!(IdentityError::from_rustls(&none), Some(E::NoCertificate));
    }

    #[test]
    fn a_failure_that_is_not_about_the_peers_credential_is_not_one_of_ours() {
        for error in [
            rustls::Error::DecryptError,
            rustls::Error::AlertReceived(AlertDescription::CertificateExpired),
        ] {
            assert_eq!(IdentityError::from_rustls(&error), None, "{error}");
        }
    }

    #[test]
    fn what_is_carried_whole_is_printed_in_words() {
        let printed = wrong_cluster().into_rustls().to_string();
        assert!(printed.contains(&wrong_cluster().to_string()), "{printed}");
    }

    fn wrong_cluster() -> IdentityError {
        IdentityError::WrongCluster {
            expected: ClusterId::from_bytes([1; 16]),
            found: ClusterId::from_bytes([2; 16]),
        }
    }
}
