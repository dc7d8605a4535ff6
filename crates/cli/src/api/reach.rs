//! From the URL of a context to a place that can be asked.
//!
//! Without TLS only this machine is asked: whoever could listen in between would have the token. With TLS, the certificate has to be
//! signed by whom the context names, or whom this machine trusts, and has to have the name in the URL.
//!
//! | bound | |
//! | --- | --- |
//! | addresses of a name that are tried | [`ADDRESSES`], each for [`DIALLING`] |
//!
//! Deliberately not here: paths, users and queries in URLs, and proxies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use convoke_rpc::identity::tls::WallClock;
use convoke_web::client::Endpoint;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::contexts::Context;
use crate::way::resolve;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// So long one of them is tried, if there are more.
const DIALLING: Duration = Duration::from_secs(3);
/// Where systems keep whom they trust.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A URL of a node, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    is_tls: bool,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

impl Url {
    /// The place to ask, as it is looked up.
    fn place(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => format!("{}:{}", self.host, self.port),
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.place())
    }
}

/// Takes a URL apart, and refuses what could not be asked, or not safely.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let wrong =
        || "write it as https://HOST:PORT, or http://127.0.0.1:PORT on this machine".to_owned();
    let (is_tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        Some(_) | None => return Err(wrong()),
    };
    let (host, port) = rest
        .strip_suffix('/')
        .unwrap_or(rest)
        .rsplit_once(':')
        .ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0);
    let Some(port) = port.filter(|_| rest.bytes().all(|it| it.is_ascii_graphic())) else {
        return Err(wrong());
    };
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip = inner.unwrap_or(host).parse::<IpAddr>().ok();
    let is_bracketed = inner.is_some();
    let is_six = matches!(ip, Some(IpAddr::V6(_)));
    let is_host = ip.is_some() || ServerName::try_from(host).is_ok();
    if !is_host || is_bracketed != is_six {
        return Err(wrong());
    }
    if is_tls && is_six {
        return Err("with TLS, write the node's name and not its IPv6 address".to_owned());
    }
    let is_near = ip.map_or(host == "localhost", |ip| ip.is_loopback());
    if !is_tls && !is_near {
        return Err(
            "without TLS only this machine is asked, since others could read the token on its way: write https, or go through a tunnel"
                .to_owned(),
        );
    }
    Ok(Url {
        is_tls,
        host: inner.unwrap_or(host).to_owned(),
        port,
    })
}

/// The place that a context stands for.
pub(super) async fn endpoint(name: &str, context: &Context) -> anyhow::Result<Endpoint> {
    let read = url(&context.url).map_err(|why| {
        anyhow::anyhow!("the context {name} has the URL {:?}: {why}", context.url)
    })?;
    let addresses = resolve(&read.place()).await?;
    if !read.is_tls && !addresses.iter().all(|it| it.ip().is_loopback()) {
        bail!(
            "{} is not this machine, and without TLS nobody else is asked",
            read.host
        );
    }
    let address = first_that_answers(&addresses).await;
    if !read.is_tls {
        return Ok(Endpoint::Tcp(address));
    }
    Ok(Endpoint::Tls {
        address,
        name: read.host,
        config: Arc::new(tls(context.ca.as_deref())?),
    })
}

/// A name may have an address at which nobody listens, as `localhost` often has.
async fn first_that_answers(addresses: &[SocketAddr]) -> SocketAddr {
    if addresses.len() > 1 {
        for address in addresses.iter().take(ADDRESSES) {
            let dialling = tokio::net::TcpStream::connect(address);
            if let Ok(Ok(_)) = tokio::time::timeout(DIALLING, dialling).await {
                return *address;
            }
        }
    }
    addresses[0]
}

/// How a node's certificate is checked.
pub(super) fn tls(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let roots = roots(ca)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(WallClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("prepare TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let path = match ca {
        Some(ca) => ca.to_owned(),
        None => trusted_here()?,
    };
    let failed = || format!("read whom to trust from {}", path.display());
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect)
        .with_context(failed)?;
    let mut roots = RootCertStore::empty();
    // A system's bundle may have one that nobody can use; a file that somebody named has to be right as a whole.
    let (_, ignored) = roots.add_parsable_certificates(certificates);
    if roots.is_empty() || (ca.is_some() && ignored > 0) {
        bail!(
            "{} has no certificates to trust, or some that cannot be read: name a file of PEM with those that sign the node's",
            path.display()
        );
    }
    Ok(roots)
}

fn trusted_here() -> anyhow::Result<PathBuf> {
    let found = TRUSTED.iter().map(Path::new).find(|path| path.is_file());
    found.map(Path::to_owned).with_context(|| {
        format!(
            "this machine has no list of whom to trust ({}): name a file with --ca",
            TRUSTED.join(", ")
        )
    })
}

/// Why TLS did not come about, if it was that.
pub(super) fn distrust(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let advice = if let rustls::Error::InvalidCertificate(why) = error {
        advice(why)
    } else {
        "look whether TLS 1.3 is spoken there"
    };
    Some(format!("{error}; {advice}"))
}

fn advice(why: &CertificateError) -> &'static str {
    // The second when one who is trusted is called like the one who signed.
    if matches!(
        why,
        CertificateError::UnknownIssuer | CertificateError::BadSignature
    ) {
        return "if you know who signs its certificate, name the file with --ca of `convoke context add`";
    }
    let is_of_name = matches!(
        why,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    );
    if is_of_name {
        return "write the URL with a name that its certificate has";
    }
    // The library has no variant of its own for this one.
    if format!("{why:?}").contains("CaUsedAsEndEntity") {
        return "its certificate is one for signing others: give the node one with CA:FALSE among its basic constraints";
    }
    "have the node get a certificate that counts"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        for good in [
            "https://node.example:4780",
            "https://10.0.0.5:4780/",
            "http://127.0.0.1:4780",
            "http://[::1]:4780",
            "http://localhost:1",
        ] {
            let read = url(good).unwrap_or_else(|why| panic!("{good}: {why}"));
            assert_eq!(read.to_string(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "node.example:4780",
            "ftp://node.example:4780",
            "https://node.example",
            "https://:4780",
            "https://node.example:0",
            "https://node.example:70000",
            "https://node.example:4780/v1",
            "https://user:secret@node.example:4780",
            "https://a b:4780",
            "https://\u{1b}:4780",
            "http://::1:4780",
            "http://[127.0.0.1]:4780",
            "https://[fe80::1]:4780",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_tls_nobody_but_this_machine_is_asked() {
        for far in [
            "http://10.0.0.5:4780",
            "http://node.example:4780",
            "http://localhost.example:1",
        ] {
            assert!(url(far).unwrap_err().contains("TLS"), "{far}");
        }
    }

    #[test]
    fn whom_to_trust_is_a_file_that_is_there_and_says_so() {
        let missing = tls(Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert!(
            format!("{missing:#}").contains("/nowhere/ca.pem"),
            "{missing:#}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nothing of PEM").unwrap();
        let empty = tls(Some(file.path())).unwrap_err();
        assert!(empty.to_string().contains("no certificates"), "{empty:#}");
    }
}
