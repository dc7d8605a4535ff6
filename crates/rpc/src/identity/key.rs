//! The key that makes a node itself.
//!
//! A [`NodeId`] is the public half of a [`NodeKey`], so everybody who knows an id can check what its node signed. The secret
//! half is made on first start, lives in one file in the data directory ([`NodeKey::load_or_create`]) and leaves it only as
//! a signature. Lose the file and the node is another node; copy it and two machines claim to be one.
//!
//! Deliberately absent: what is signed (each protocol says that itself, with a prefix of its own against reuse), and
//! certificates.

use std::fmt;
use std::path::Path;

use convoke_types::NodeId;

use super::ed25519::{self, Ed25519, SIGNATURE_SIZE};
use super::pem::SecretText;
use super::secret_file::{self, KeyFileError};

/// A node's ed25519 key. Clones share one copy of the secret; `Debug` shows the id only.
#[derive(Clone)]
pub struct NodeKey(Ed25519);

impl NodeKey {
    /// A new key from the operating system's randomness, in memory only.
    #[must_use]
    pub fn generate() -> Self {
        Self(Ed25519::generate())
    }

    /// Reads the key file at `path`.
    ///
    /// # Errors
    /// When there is none, when it is not a plain file that only this user can read, or when it holds no ed25519 key.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        Self::from_file(path, &secret_file::read(path)?)
    }

    /// Reads the key file at `path` to come as that node for a while, beside it: root may do that whoever runs the node.
    ///
    /// # Errors
    /// As [`load`](Self::load), but that root may read a file of any user.
    pub fn borrow(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        Self::from_file(path, &secret_file::borrow(path)?)
    }

    /// Reads the key file at `path`; when there is none, makes a key and writes it there first (mode 0600).
    ///
    /// Processes that do this at the same time all end with the same key. A file that exists is never changed.
    ///
    /// # Errors
    /// As [`load`](Self::load), and when the file cannot be written. A bad file is an error, never a reason for a new key:
    /// a node that quietly became another one would be worse than one that does not start.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let text = secret_file::read_or_create(path, || {
            Ok::<_, KeyFileError>(Ed25519::generate().to_pem())
        })?;
        Self::from_file(path, &text)
    }

    /// The secret as PEM text, as it stands in a key file. Whoever reads it is this node.
    #[must_use]
    pub fn to_pem(&self) -> String {
        String::from_utf8(self.0.to_pem().as_bytes().to_vec()).expect("PEM is ASCII")
    }

    /// The secret as PKCS#8 DER (version 1). Whoever reads it is this node.
    #[must_use]
    pub fn to_pkcs8(&self) -> Vec<u8> {
        self.0.to_pkcs8().as_bytes().to_vec()
    }

    /// The node this key makes.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId::from_public_key(self.0.public_key())
    }

    /// Signs `message`. Deterministic: the same message gives the same signature (RFC 8032 §5.1.6).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_SIZE] {
        self.0.sign(message)
    }

    fn from_file(path: &Path, text: &SecretText) -> Result<Self, KeyFileError> {
        Ed25519::from_pem(text.as_bytes())
            .map(Self)
            .map_err(|what| KeyFileError::garbled(path, what))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.node_id())
    }
}

/// Whether `signature` is one that `node` made of `message`.
#[must_use]
pub fn verify(node: &NodeId, message: &[u8], signature: &[u8]) -> bool {
    ed25519::verify(node.as_bytes(), message, signature)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_the_node_that_signed_verifies_and_only_what_it_signed() {
        let (key, other) = (NodeKey::generate(), NodeKey::generate());
        let signature = key.sign(b"hello");

        assert!(verify(&key.node_id(), b"hello", &signature));
        assert!(!verify(&key.node_id(), b"hullo", &signature));
        assert!(!verify(&other.node_id(), b"hello", &signature));
        assert!(!verify(&key.node_id(), b"hello", &signature[..63]));
    }

    #[test]
    fn an_id_that_is_no_curve_point_verifies_nothing() {
        let nobody = NodeId::from_public_key([0xff; 32]);
        assert!(!verify(
            &nobody,
            b"hello",
            &NodeKey::generate().sign(b"hello")
        ));
    }

    /// RFC 8032 §7.1, test 2.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let pkcs8 = hex(
            "302e020100300506032b6570042204204ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        );
        let key = from_pem(&super::super::pem::write("PRIVATE KEY", &pkcs8));

        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
                        387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(key.sign(&[0x72]).to_vec(), hex(expected));
        assert_eq!(key.to_pkcs8(), pkcs8);
    }

    #[test]
    fn a_key_survives_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");

        let made = NodeKey::load_or_create(&path).unwrap();

        assert_eq!(
            NodeKey::load_or_create(&path).unwrap().node_id(),
            made.node_id()
        );
        assert_eq!(NodeKey::load(&path).unwrap().node_id(), made.node_id());
        assert_eq!(from_pem(&made.to_pem()).node_id(), made.node_id());
    }

    #[test]
    fn a_garbled_key_file_is_refused_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let whole = NodeKey::load_or_create(&path).unwrap().to_pem();
        let cut = whole.replace("-----END PRIVATE KEY-----\n", "");
        let other_kind = super::super::pem::write("PRIVATE KEY", b"not a key");
        for bad in ["not PEM", &cut, &other_kind] {
            fs::write(&path, bad).unwrap();

            let error = NodeKey::load_or_create(&path).unwrap_err();

            assert!(matches!(error, KeyFileError::Garbled { .. }), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn processes_that_start_together_share_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let start = std::sync::Barrier::new(2);
        let load = || {
            start.wait();
            NodeKey::load_or_create(&path).unwrap().node_id()
        };
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(load);
            (load(), other.join().unwrap())
        });
        assert_eq!(first, second);
    }

    #[test]
    fn the_secret_is_not_in_debug_output() {
        let key = NodeKey::generate();
        assert_eq!(format!("{key:?}"), format!("NodeKey({})", key.node_id()));
    }

    fn from_pem(text: &str) -> NodeKey {
        let text = SecretText::new(text.as_bytes().to_vec());
        NodeKey::from_file(Path::new("a test"), &text).unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}
