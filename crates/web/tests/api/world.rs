//! A server on real sockets, and a way to ask it anything at all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use convoke_web::client::{Client, Endpoint};
use convoke_web::{Api, Ended, Limits, Listener, Rate, Server, Settings};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::memory::{Memory, PATIENCE};

pub(crate) struct World {
    pub(crate) memory: Arc<Memory>,
    pub(crate) api: Arc<Api>,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    stop: CancellationToken,
    server: JoinSet<Ended>,
    _directory: TempDir,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {:?}", self.body))
    }

    pub(crate) fn media(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.media(), "application/problem+json", "{self:?}");
        self.json()["code"].as_str().expect("a code").to_owned()
    }
}

/// Rates that no test reaches unless it means to.
pub(crate) fn generous() -> Settings {
    let rate = Rate {
        per_s: 1_000_000,
        burst: 1_000_000,
    };
    Settings {
        limits: Limits {
            per_address: rate,
            per_principal: rate,
            failures: rate,
            ..Limits::default()
        },
        version: "test".to_owned(),
        ..Settings::default()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(generous()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let memory = Arc::new(Memory::new());
        let api = Api::new(memory.clone(), &settings).expect("an API");
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("api.sock");
        let local = Listener::local(&socket).expect("a socket");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let network = Listener::network(loopback, None).await.expect("a port");
        let address = network.address().expect("an address");
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        server.spawn(Server::new(Arc::clone(&api), vec![local, network]).run(stop.clone()));
        Self {
            memory,
            api,
            address,
            socket,
            stop,
            server,
            _directory: directory,
        }
    }

    pub(crate) fn client(&self, token: &str) -> Client {
        Client::new(Endpoint::Tcp(self.address))
            .with_token(token)
            .expect("a token")
    }

    pub(crate) fn local(&self) -> Client {
        Client::new(Endpoint::Unix(self.socket.clone()))
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_slice(self.api.document()).expect("the document is JSON")
    }

    /// Asks over the network. `Host` is right unless the headers have one.
    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .expect("a request");
        self.ask_with(request).await
    }

    pub(crate) async fn ask_with(&self, request: Request<Full<Bytes>>) -> Answer {
        let work = async {
            let stream = TcpStream::connect(self.address).await.expect("connect");
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .expect("shake hands");
            let asking = async move {
                let (parts, body) = sender
                    .send_request(request)
                    .await
                    .expect("an answer")
                    .into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                Answer {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    body,
                }
            };
            let mut asking = std::pin::pin!(asking);
            tokio::select! {
                biased;
                answer = asking.as_mut() => return answer,
                _ = connection => {}
            }
            asking.await
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .expect("an answer in time")
    }

    /// The same with a token.
    pub(crate) async fn ask_as(
        &self,
        token: &str,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
        ];
        let headers = if body.is_some() {
            &headers[..]
        } else {
            &headers[..1]
        };
        self.ask(method, target, headers, body.unwrap_or_default().as_bytes())
            .await
    }

    pub(crate) async fn stop(mut self) -> Ended {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.server.join_next()).await;
        ended.expect("it ends").expect("it ran").expect("no panic")
    }
}
