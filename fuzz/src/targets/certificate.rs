//! Certificates and trust bundles: what a stranger shows to be believed.
//!
//! The world is committed in `seeds/certificate/`: a bundle with two issuers, nodes that they certified, one that was
//! forgotten, and a stranger. `examples/remake_certificates.rs` makes it anew when our certificates change.
//!
//! - The bundle believes a certificate only if its signed part is, byte for byte, one that its issuers signed; what it then
//!   says is what that one said. The same goes for what it calls expired, not yet valid, or forgotten.
//! - An issuer is read only if its signed part is one that an issuer signed for itself.
//! - What reads survives being written again, and what does not is refused with a text that cannot spoil a log.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use convoke_rpc::identity::{Certificate, Claims, IdentityError, IssuerCertificate, TrustBundle};
use convoke_types::wire::identity::{CredentialV1, Der};
use convoke_types::wire::{decode_versioned, encode_versioned};
use convoke_types::{NodeId, Timestamp};
use rustls::pki_types::CertificateDer;

use super::is_fit_for_a_log;
use crate::Random;

pub(super) const BUNDLE: &[u8] = include_bytes!("../../seeds/certificate/bundle.wire");
pub(super) const WORKER: &[u8] = include_bytes!("../../seeds/certificate/worker.wire");
const MASTER: &[u8] = include_bytes!("../../seeds/certificate/master.wire");
const FORGOTTEN: &[u8] = include_bytes!("../../seeds/certificate/forgotten.wire");
const STRANGER: &[u8] = include_bytes!("../../seeds/certificate/stranger.wire");

pub(super) const WORDS: &[&[u8]] = &[
    b"convoke://",
    b"?roles=",
    b"&roles=",
    b"master",
    b"master+worker",
    b".node.convoke",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    // ed25519, alternative names, extended key usage, basic constraints, key usage.
    b"\x06\x03\x2b\x65\x70",
    b"\x06\x03\x55\x1d\x11",
    b"\x06\x03\x55\x1d\x25",
    b"\x06\x03\x55\x1d\x13",
    b"\x06\x03\x55\x1d\x0f",
    // Lengths in two and four bytes, without an end, and longer than needed; true; dates; an end of contents.
    b"\x30\x82",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x30\x80",
    b"\x30\x81\x05",
    b"\x01\x01\xff",
    b"\x17\x0d700101000000Z",
    b"\x18\x0f99991231235959Z",
    b"\x00\x00",
    b"\x1b[31m",
];

/// Whom we believe, and all that its issuers ever signed.
struct World {
    bundle: TrustBundle,
    now: SystemTime,
    worker: Certificate,
    genuine: Vec<Genuine>,
    forgotten: NodeId,
}

struct Genuine {
    signed_part: Vec<u8>,
    claims: Claims,
}

static WORLD: LazyLock<World> = LazyLock::new(World::read);

impl World {
    fn read() -> Self {
        let read = |wire| Certificate::from_wire(wire).expect("a committed certificate reads");
        let [worker, master, forgotten] = [WORKER, MASTER, FORGOTTEN].map(read);
        let now = worker.claims().not_before + Duration::from_secs(3_600);
        let genuine = [&worker, &master, &forgotten].map(|certificate| Genuine {
            signed_part: signed_part(&certificate.chain()[0])
                .expect("it is a certificate")
                .to_vec(),
            claims: certificate.claims().clone(),
        });
        let world = Self {
            bundle: TrustBundle::from_wire(BUNDLE).expect("the committed bundle reads"),
            now: at(now),
            forgotten: forgotten.claims().node,
            worker,
            genuine: genuine.into(),
        };
        world.assert_sound(&master, &forgotten);
        world
    }

    /// Without somebody to believe and somebody not to, there would be nothing to find.
    fn assert_sound(&self, master: &Certificate, forgotten: &Certificate) {
        let check = |certificate: &Certificate| self.bundle.check(certificate.chain(), self.now);
        assert_eq!(check(&self.worker).as_ref(), Ok(self.worker.claims()));
        assert_eq!(check(master).as_ref(), Ok(master.claims()));
        assert!(matches!(
            check(forgotten),
            Err(IdentityError::Forgotten { .. })
        ));
        let stranger = Certificate::from_wire(STRANGER).expect("a committed certificate reads");
        assert!(check(&stranger).is_err());
    }

    fn genuine(&self, leaf: &[u8]) -> Option<&Genuine> {
        let part = signed_part(leaf)?;
        self.genuine
            .iter()
            .find(|genuine| genuine.signed_part == part)
    }
}

pub(super) fn check(input: &[u8]) {
    judge(&[CertificateDer::from(input)]);
    check_certificate(Certificate::from_chain(vec![CertificateDer::from(
        input.to_vec(),
    )]));
    check_certificate(Certificate::from_pem(&String::from_utf8_lossy(input)));
    check_certificate(Certificate::from_wire(input));
    if let Ok(credential) = decode_versioned::<CredentialV1>(input) {
        // Also those that `Certificate` refuses.
        let chain: Vec<_> = credential
            .chain
            .iter()
            .map(|der| CertificateDer::from(der.as_bytes()))
            .collect();
        judge(&chain);
    }
    check_issuer(IssuerCertificate::from_der(CertificateDer::from(
        input.to_vec(),
    )));
    check_bundle(input);
}

fn check_certificate(read: Result<Certificate, IdentityError>) {
    let certificate = match read {
        Ok(certificate) => certificate,
        Err(error) => return is_fit_for_a_log(&error.to_string()),
    };
    let claims = certificate.claims();
    is_fit_for_a_log(&claims.issuer);
    let from_wire = Certificate::from_wire(&certificate.to_wire()).expect("what was written reads");
    let from_pem = Certificate::from_pem(&certificate.to_pem()).expect("what was written reads");
    for again in [from_wire, from_pem] {
        assert_eq!(
            (again.claims(), again.chain()),
            (claims, certificate.chain())
        );
    }
    let _ = certificate.renew_at();
    judge(certificate.chain());
}

fn judge(chain: &[CertificateDer<'_>]) {
    let world = &*WORLD;
    let day = Duration::from_secs(24 * 60 * 60);
    for now in [world.now, world.now - day, world.now + day] {
        let judgement = world.bundle.check(chain, now);
        let genuine = chain.first().and_then(|leaf| world.genuine(leaf));
        match judgement {
            Ok(claims) => {
                let genuine = genuine.expect("only what an issuer signed is believed");
                assert_eq!(claims, genuine.claims);
                assert!(now == world.now && claims.node != world.forgotten);
                assert!(world.bundle.standing(&claims, now).is_ok());
            }
            Err(error) => {
                is_fit_for_a_log(&error.to_string());
                let speaks_of_a_node = matches!(
                    error,
                    IdentityError::Expired { .. }
                        | IdentityError::NotYetValid { .. }
                        | IdentityError::Forgotten { .. }
                );
                assert!(
                    !speaks_of_a_node || genuine.is_some(),
                    "{error}, says somebody else"
                );
            }
        }
    }
}

fn check_issuer(read: Result<IssuerCertificate, IdentityError>) {
    match read {
        Ok(issuer) => is_genuine(&issuer),
        Err(error) => is_fit_for_a_log(&error.to_string()),
    }
}

fn is_genuine(issuer: &IssuerCertificate) {
    let part = |issuer: &IssuerCertificate| signed_part(issuer.der()).map(<[u8]>::to_vec);
    let found = WORLD
        .bundle
        .issuers()
        .iter()
        .find(|genuine| part(genuine) == part(issuer));
    let genuine = found.expect("only what an issuer signed for itself is an issuer");
    assert_eq!(
        (issuer.name(), issuer.cluster(), issuer.not_after()),
        (genuine.name(), genuine.cluster(), genuine.not_after())
    );
    is_fit_for_a_log(issuer.name());
}

fn check_bundle(input: &[u8]) {
    let world = &*WORLD;
    let bundle = match TrustBundle::from_wire(input) {
        Ok(bundle) => bundle,
        Err(error) => return is_fit_for_a_log(&error.to_string()),
    };
    bundle.issuers().iter().for_each(is_genuine);
    assert!(
        bundle
            .issuers()
            .iter()
            .all(|issuer| issuer.cluster() == bundle.cluster())
    );
    let again = TrustBundle::from_wire(&bundle.to_wire()).expect("what was written reads");
    assert_eq!(
        (again.cluster(), again.issuers()),
        (bundle.cluster(), bundle.issuers())
    );
    assert!(again.forgotten().eq(bundle.forgotten()));

    let worker = world.worker.claims();
    let may_count = bundle
        .issuers()
        .iter()
        .any(|issuer| issuer.name() == worker.issuer)
        && !bundle.has_forgotten(&worker.node);
    assert_eq!(
        bundle.check(world.worker.chain(), world.now).is_ok(),
        may_count
    );
}

/// The signed part of a certificate: the first thing in the outermost sequence, with its own header (RFC 5280 §4.1).
pub(super) fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let (header, length) = der_header(der)?;
    let content = der.get(header..header.checked_add(length)?)?;
    let (header, length) = der_header(content)?;
    content.get(..header.checked_add(length)?)
}

/// How long the header of a DER element is, and how long what follows it.
fn der_header(der: &[u8]) -> Option<(usize, usize)> {
    match der {
        [_, length @ ..=0x7f, ..] => Some((2, usize::from(*length))),
        [_, count @ 0x81..=0x84, rest @ ..] => {
            let count = usize::from(count & 0x0f);
            let length = rest
                .get(..count)?
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            Some((2 + count, length))
        }
        _ => None,
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let wire = *random.pick(&[WORKER, MASTER, FORGOTTEN, STRANGER]);
    let certificate = Certificate::from_wire(wire).expect("a committed certificate reads");
    match random.below(8) {
        0 => certificate.to_pem().into_bytes(),
        1 => certificate.chain()[0].to_vec(),
        2 => random.pick(WORLD.bundle.issuers()).der().to_vec(),
        3 => BUNDLE.to_vec(),
        4 => wire.to_vec(),
        5 => credential([another_ones_signature(&certificate, random)]),
        _ => credential(random.list(4, |random| changed(&certificate, random))),
    }
}

fn credential(chain: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let chain = chain.into_iter().map(Der::new).collect();
    encode_versioned(&CredentialV1 { chain }).expect("plain data")
}

/// A byte here and there, inside a message whose lengths stay right.
fn changed(certificate: &Certificate, random: &mut Random) -> Vec<u8> {
    let mut der = certificate.chain()[0].to_vec();
    for _ in 0..random.below(3) {
        let at = random.below(der.len());
        der[at] = if random.once_in(2) {
            der[at] ^ 1 << random.below(8)
        } else {
            random.byte()
        };
    }
    der
}

/// What is said by one and signed by another.
fn another_ones_signature(certificate: &Certificate, random: &mut Random) -> Vec<u8> {
    const SIGNATURE_BYTES: usize = 64;
    let mut der = certificate.chain()[0].to_vec();
    let other = *random.pick(&[WORKER, MASTER, STRANGER]);
    let other = Certificate::from_wire(other).expect("a committed certificate reads");
    let (ours, theirs) = (
        der.len() - SIGNATURE_BYTES,
        other.chain()[0].len() - SIGNATURE_BYTES,
    );
    der[ours..].copy_from_slice(&other.chain()[0][theirs..]);
    der
}

fn at(time: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time.unix_ms())
}
