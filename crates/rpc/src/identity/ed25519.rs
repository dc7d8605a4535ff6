//! An ed25519 key pair as the rest of this module needs it: it signs, it is stored as PKCS#8, it never shows its secret.
//!
//! A node's key and an issuer's key are both one of these, wrapped in types of their own so that neither can be used in
//! place of the other. There is no way to get the secret half out except as the text of a key file.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::pem::{self, SecretText};

/// Bytes of a public key.
pub(super) const PUBLIC_KEY_SIZE: usize = 32;
/// Bytes of a signature.
pub(super) const SIGNATURE_SIZE: usize = 64;

/// A key pair; clones share one copy of the secret.
#[derive(Clone)]
pub(super) struct Ed25519(Arc<Ed25519KeyPair>);

impl Ed25519 {
    pub(super) fn generate() -> Self {
        let pair = Ed25519KeyPair::generate().expect("the operating system gives random bytes");
        Self(Arc::new(pair))
    }

    /// The first private key of a PEM text; the error says what is wrong with the text.
    pub(super) fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        let der = pem::read_private_key(text).ok_or("no PEM section \"PRIVATE KEY\" in it")?;
        let pair = Ed25519KeyPair::from_pkcs8(der.as_bytes())
            .map_err(|_| "the private key is not an ed25519 key in PKCS#8 form")?;
        Ok(Self(Arc::new(pair)))
    }

    /// PKCS#8 version 1, because OpenSSL before 3.5 does not read version 2 for this kind of key.
    pub(super) fn to_pkcs8(&self) -> SecretText {
        let document = self
            .0
            .to_pkcs8v1()
            .expect("a key pair in memory can be encoded");
        SecretText::new(document.as_ref().to_vec())
    }

    pub(super) fn to_pem(&self) -> SecretText {
        SecretText::new(pem::write("PRIVATE KEY", self.to_pkcs8().as_bytes()).into_bytes())
    }

    pub(super) fn public_key(&self) -> [u8; PUBLIC_KEY_SIZE] {
        self.0
            .public_key()
            .as_ref()
            .try_into()
            .expect("an ed25519 public key has 32 bytes")
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_SIZE] {
        self.0
            .sign(message)
            .as_ref()
            .try_into()
            .expect("an ed25519 signature has 64 bytes")
    }
}

/// Shows the public half only.
impl fmt::Debug for Ed25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.public_key().fmt(f)
    }
}

/// Whether `signature` is one of `message` made with the secret half of `public_key`.
pub(super) fn verify(public_key: &[u8; PUBLIC_KEY_SIZE], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(message, signature)
        .is_ok()
}

impl rcgen::PublicKeyData for Ed25519 {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Ed25519 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Self::sign(self, message).to_vec())
    }
}
