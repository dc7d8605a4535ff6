//! The certificates of one run: one authority, a server and a client, made afresh and never kept.
//!
//! Whoever can check identities on both sides does (Convoke, quinn, tonic); rpcnet can only have its server checked;
//! tarpc has no TLS.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// The name in the server's certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// A directory of PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Certs {
    directory: PathBuf,
}

/// Who a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process that serves.
    Server,
    /// The process that drives.
    Client,
}

impl Certs {
    /// Makes an authority and both ends' certificates and keys in a directory.
    pub(crate) fn make(directory: &Path) -> anyhow::Result<Self> {
        let certs = Self::at(directory);
        let mut params = named("bench authority", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(certs.authority(), authority.pem())
            .context("write the authority's certificate")?;

        for end in [End::Server, End::Client] {
            let key = KeyPair::generate()?;
            let params = named(&format!("bench {end:?}"), &[SERVER_NAME])?;
            let certificate = params.signed_by(&key, &authority)?;
            fs::write(certs.certificate(end), certificate.pem()).context("write a certificate")?;
            fs::write(certs.key(end), key.serialize_pem()).context("write a key")?;
        }
        Ok(certs)
    }

    /// Those that were made in that directory before.
    pub(crate) fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of the authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    /// The file of an end's certificate.
    pub(crate) fn certificate(&self, end: End) -> PathBuf {
        self.directory.join(format!("{end:?}.pem"))
    }

    /// The file of an end's key.
    pub(crate) fn key(&self, end: End) -> PathBuf {
        self.directory.join(format!("{end:?}.key.pem"))
    }

    /// The authority as the only one to trust.
    pub(crate) fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority())?)?;
        Ok(roots)
    }

    /// An end's certificate and key.
    pub(crate) fn credential(
        &self,
        end: End,
    ) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        Ok((
            vec![CertificateDer::from_pem_file(self.certificate(end))?],
            PrivateKeyDer::from_pem_file(self.key(end))?,
        ))
    }
}

/// A certificate's contents. Each needs a name of its own: one that is called like its issuer passes for self-signed,
/// and s2n refuses it.
fn named(name: &str, hosts: &[&str]) -> anyhow::Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// Makes AES-128-GCM the first choice of every rustls user that takes the process's provider, as s2n has it:
/// with AES-256 first, as rustls has it, peers would encrypt 10 to 15 % slower than they can.
#[expect(
    clippy::disallowed_methods,
    reason = "tonic takes its provider from nowhere else, and this process is ours"
)]
pub(crate) fn prefer_the_fastest_cipher() {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| *suite != aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256);
    // Only fails if a provider is installed already, and this is the first thing that a process does.
    let _ = CryptoProvider::install_default(provider);
}
