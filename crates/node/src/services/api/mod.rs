//! The service of the HTTP API: answers people and programs from what this node keeps, observes, and can ask others.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `backend.rs` | which function answers which operation |
//! | `ask.rs` | reading and changing decided state, asking other nodes, and what is said when that does not work |
//! | `status.rs`, `problems.rs` | how the cluster is; what is wrong and what to do, decided from what was seen |
//! | `nodes.rs` | nodes: decided records beside observed members |
//! | `watching.rs` | who watches whom |
//! | `instances.rs` | RPC services and their instances |
//! | `config.rs`, `kv.rs`, `trust.rs` | configuration by vote; keys and locks; tokens, issuers, the audit log |
//! | `bridge.rs` | calls of RPC services that are offered anywhere in the cluster |
//! | `events.rs` | what happened, kept for a while |
//! | `metrics.rs` | numbers for Prometheus |
//! | `clock.rs` | the time of the log as people's clocks have it |
//! | `login.rs` | one-time tokens |
//!
//! The socket in the data directory is served always; the network where the settings say so and the role allows it. A port that is taken
//! is said and tried again, since the rest of the node does not need it.
//!
//! | bound | |
//! | --- | --- |
//! | the HTTP side | [`convoke_web::Limits`] |
//! | trying to listen again | after 1 s, doubling to [`LISTEN_AGAIN_MOST`] |
//! | events kept | [`events::KEPT`]; the oldest go, and who follows hears that |
//! | channels to other nodes kept | [`ask::CHANNELS`] |
//! | calls of RPC services | those in `bridge.rs` |
//!
//! Deliberately not here: what HTTP looks like and the dashboard (`convoke-web`), and reading certificates again at a reload.

mod adapt;
mod ask;
mod backend;
mod bridge;
mod clock;
mod config;
mod events;
mod instances;
mod kv;
mod login;
mod metrics;
mod nodes;
mod problems;
mod roles;
mod status;
mod trust;
mod watching;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use convoke_rpc::identity::tls::WallClock;
use convoke_web::{Api, Limits, Listener, Rate, Server};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use self::ask::Desk;
pub(crate) use self::clock::LogClock;
pub(crate) use self::events::Happenings;
pub use self::login::LOGIN_LIFE;
pub(crate) use self::login::{Logins, login_url};
use crate::config::ApiConfig;
use crate::home::api_socket;
use crate::parts::Parts;
use crate::roles::Mode;
use crate::supervisor::{Context, Failure, Running, Service, Work};

/// The first pause before a port is tried again, …
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// … and the longest.
pub(crate) const LISTEN_AGAIN_MOST: Duration = Duration::from_secs(60);
/// So many times the rate may be asked at once.
const BURST: u32 = 4;

/// How the API is to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// Where, over the network; without it, at the socket in the data directory alone.
    pub listen: Option<SocketAddr>,
    /// Certificates and key, both as files of PEM. Addresses that are not loopback take them.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Names of this node beside `localhost` and its addresses.
    pub hosts: Vec<String>,
    /// Origins of pages that may ask, beside its own.
    pub origins: Vec<String>,
    /// Requests a second of one address; as usual without it.
    pub rate: Option<u32>,
    /// The largest body; as usual without it.
    pub body_bytes: Option<usize>,
}

impl From<&ApiConfig> for ApiSettings {
    fn from(config: &ApiConfig) -> Self {
        Self {
            listen: Some(config.listen),
            tls: config.tls.clone(),
            hosts: config.hosts.clone(),
            origins: config.origins.clone(),
            rate: Some(config.rate),
            body_bytes: Some(config.body_bytes),
        }
    }
}

impl ApiSettings {
    fn for_web(&self) -> convoke_web::Settings {
        let mut limits = Limits::default();
        if let Some(per_s) = self.rate {
            let burst = per_s.saturating_mul(BURST);
            limits.per_address = Rate { per_s, burst };
        }
        if let Some(bytes) = self.body_bytes {
            limits.body_bytes = bytes;
        }
        convoke_web::Settings {
            limits,
            hosts: self.hosts.clone(),
            origins: self.origins.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

pub(super) struct Serving(pub(super) Arc<Parts>);

impl Service for Serving {
    fn start<'s>(&'s self, context: Context) -> Work<'s, Result<Running, Failure>> {
        Box::pin(async move {
            let parts = Arc::clone(&self.0);
            let settings = parts.settings.api.clone().unwrap_or_default();
            let desk = Arc::new(Desk::new(Arc::clone(&parts)));
            let api = Api::new(desk.clone(), &settings.for_web())?;
            let local = Listener::local(&api_socket(parts.home.directory()))?;
            Ok(Running::new(run(desk, settings, api, local, context)))
        })
    }
}

async fn run(
    desk: Arc<Desk>,
    settings: ApiSettings,
    api: Arc<Api>,
    local: Listener,
    context: Context,
) -> Result<(), Failure> {
    let parts = &desk.parts;
    // Both servers are told to stop by the same token.
    let served = Server::new(Arc::clone(&api), vec![local]).run(context.stop());
    let network = serve_network(parts, &settings, &api, &context);
    let news = events::follow(parts, &context);
    // Requests that are being answered may still call.
    let nobody_asks = CancellationToken::new();
    let serving = async {
        tokio::join!(served, network, news);
        nobody_asks.cancel();
    };
    tokio::join!(serving, bridge::keep(&desk, &nobody_asks));
    Ok(())
}

/// Serves over the network as soon as it can be listened there.
async fn serve_network(parts: &Parts, settings: &ApiSettings, api: &Arc<Api>, context: &Context) {
    let wanted = settings.listen.filter(|_| context.mode() == Mode::Full);
    let Some(address) = wanted else {
        return context.ready();
    };
    let mut pause = LISTEN_AGAIN;
    loop {
        match listen(address, settings.tls.as_ref()).await {
            Ok(listener) => {
                let bound = listener.address().unwrap_or(address);
                let _filled = parts.api.fill((bound, settings.tls.is_some()));
                context.ready();
                Server::new(Arc::clone(api), vec![listener])
                    .run(context.stop())
                    .await;
                return;
            }
            Err(why) => context.not_ready(why),
        }
        tokio::select! {
            () = context.stopped() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LISTEN_AGAIN_MOST);
    }
}

/// A listener, or why there is none, in a sentence.
async fn listen(address: SocketAddr, tls: Option<&(PathBuf, PathBuf)>) -> Result<Listener, String> {
    let tls = tls.map(|(certificates, key)| read_tls(certificates, key));
    let listening = Listener::network(address, tls.transpose()?).await;
    listening.map_err(|error| {
        let is_taken = matches!(&error, convoke_web::ListenError::Io { source, .. }
            if source.kind() == std::io::ErrorKind::AddrInUse);
        if is_taken {
            format!(
                "{error}; another program has that port: stop it, or name another one with api.listen. The socket in the data directory is \
                 served meanwhile"
            )
        } else {
            error.to_string()
        }
    })
}

fn read_tls(certificates: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, String> {
    let failed = |what: &str, path: &Path, why: &dyn std::fmt::Display| {
        format!("read {what} of the API from {}: {why}", path.display())
    };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed("the certificates", certificates, &error))?;
    if chain.is_empty() {
        return Err(failed(
            "the certificates",
            certificates,
            &"there is none in it",
        ));
    }
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| failed("the key", key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_details(provider, Arc::new(WallClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, secret)
        })
        .map_err(|error| {
            format!(
                "the certificate {} and the key {} of the API do not go together: {error}",
                certificates.display(),
                key.display()
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn why_it_cannot_be_listened_is_one_sentence_with_a_way_out() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let why = listen(address, None).await.unwrap_err();
        assert!(
            why.contains(&address.to_string()) && why.contains("api.listen"),
            "{why}"
        );
        let world = ([192, 0, 2, 1], 1).into();
        let why = listen(world, None).await.unwrap_err();
        assert!(why.contains("TLS"), "{why}");
        let nowhere = (PathBuf::from("/nowhere.pem"), PathBuf::from("/nowhere.key"));
        let why = listen(world, Some(&nowhere)).await.unwrap_err();
        assert!(why.contains("/nowhere.pem"), "{why}");
    }
}
