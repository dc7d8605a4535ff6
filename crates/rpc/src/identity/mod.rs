//! Who a node is, who says so, and how two nodes come to believe each other.
//!
//! ```text
//! NodeKey ──────────────┐                 the secret; its public half is the NodeId
//! Issuer ─ issue() ─▶ Certificate         "this node, this cluster, these roles, until then"
//!                       │
//!                 Identity (live)         what we show: key + current certificate, replaceable while links are open
//!                 Trust    (live)         what we believe: the cluster's issuers and whom it forgot
//!                       │
//!                 tls::{client_config, server_config}   mutual TLS 1.3 that asks both at every handshake
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `key.rs`, `secret_file.rs`, `ed25519.rs`, `pem.rs` | the node's key and the rules of the file it lives in |
//! | `issuer.rs`, `names.rs` | making certificates, and what is written in them |
//! | `certificate.rs` | reading them |
//! | `trust.rs` | the one place where a certificate is judged |
//! | `credential.rs` | a node's own, renewable credential |
//! | `tls.rs` | all of it as configurations for rustls (and so for quinn) |
//! | `error.rs`, `alert.rs` | what can be wrong with a peer's credential, in words and as a TLS alert |
//! | `development.rs` | a throw-away issuer for tests, demos and embedding programs |
//!
//! Two facts hold everywhere: a [`NodeId`](convoke_types::NodeId) *is* an ed25519 public key, so a proof of the key is a
//! proof of the id; and every judgement is made against the trust bundle of that moment, never of the time when a
//! configuration was built.
//!
//! Deliberately absent: joining (tokens, the `enrol` protocol), asking for a renewal, closing the links of a node that was
//! forgotten or has expired, and the pinned keys of enrolled voters. Those are acts; this module only gives them the means.

mod alert;
mod certificate;
mod credential;
mod development;
mod ed25519;
mod error;
mod issuer;
mod key;
mod names;
mod pem;
mod secret_file;
pub mod tls;
mod trust;

pub use alert::describe_alert;
pub use certificate::{Certificate, Claims, MAX_CHAIN_BYTES, MAX_CHAIN_LENGTH};
pub use credential::Identity;
pub use development::Development;
pub use error::IdentityError;
pub use issuer::{Fingerprint, ISSUER_FILE, Issuer, IssuerCertificate, IssuerError, Validity};
pub use key::{NodeKey, verify};
pub use secret_file::KeyFileError;
pub use trust::{MAX_FORGOTTEN, MAX_ISSUERS, Trust, TrustBundle, TrustError};
