//! The text of key files.
//!
//! A node's key file can only be read from a file, under the rules of such files; the text of an issuer, which is a key and a
//! certificate, goes through the same parser. The issuer in `seeds/key_pem/` is made for this and believed by nobody.
//!
//! - What reads survives being written again, and is that issuer: nobody else's key belongs to its certificate.
//! - What does not read is refused with a text that shows nothing of the input, which may be a secret.

use std::sync::LazyLock;

use convoke_rpc::identity::Issuer;

use super::certificate::signed_part;
use super::is_fit_for_a_log;
use crate::Random;

const ISSUER: &str = include_str!("../../seeds/key_pem/issuer.pem");

pub(super) const WORDS: &[&[u8]] = &[
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----END PRIVATE KEY-----\n",
    b"-----BEGIN RSA PRIVATE KEY-----\n",
    b"-----END RSA PRIVATE KEY-----\n",
    b"-----BEGIN EC PRIVATE KEY-----\n",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"-----BEGIN ",
    b"-----",
    b"=",
    b"==",
    b"\r\n",
    b"\n\n",
    b"MC4CAQ",
    b"\xff",
];

static GENUINE: LazyLock<Issuer> =
    LazyLock::new(|| Issuer::from_pem(ISSUER).expect("the committed issuer reads"));

pub(super) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Issuer::from_pem(&text) {
        Ok(issuer) => check_issuer(&issuer),
        Err(error) => {
            let shown = format!("{error} {error:?}");
            is_fit_for_a_log(&shown);
            shows_nothing_of(&text, &shown);
        }
    }
}

fn check_issuer(issuer: &Issuer) {
    let written = issuer.to_pem();
    let again = Issuer::from_pem(&written).expect("what was written reads");
    assert_eq!(again.to_pem(), written);
    assert_eq!(again.certificate(), issuer.certificate());
    assert_eq!(
        signed_part(issuer.certificate().der()),
        signed_part(GENUINE.certificate().der())
    );
    assert_eq!(key_text(issuer), key_text(&GENUINE));
    shows_nothing_of(&written, &format!("{issuer:?}"));
}

fn key_text(issuer: &Issuer) -> String {
    issuer.to_pem().replace(&issuer.certificate().to_pem(), "")
}

/// None of the lines that could be key material.
fn shows_nothing_of(text: &str, shown: &str) {
    let secrets = text
        .lines()
        .filter(|line| line.len() >= 16 && !line.contains("-----"));
    for secret in secrets {
        assert!(!shown.contains(secret), "{shown:?} shows {secret:?}");
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let (text, key) = (GENUINE.to_pem(), key_text(&GENUINE));
    let certificate = GENUINE.certificate().to_pem();
    let parts = [
        key.clone(),
        certificate,
        key.replace("PRIVATE", "RSA PRIVATE"),
        random.text(40),
        "\n".to_owned(),
    ];
    match random.below(4) {
        0 => text,
        1 => text.replace('\n', "\r\n"),
        _ => random
            .list(6, |random| random.pick(&parts).clone())
            .concat(),
    }
    .into_bytes()
}
