//! Two real nodes, and a way to ask one of them anything at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use convoke_node::api::ApiSettings;
use convoke_node::logs::Ring;
use convoke_node::node::{Belonging, Node, Settings};
use convoke_web::client::{Client, Endpoint};
use convoke_web::model::{CreateApiToken, CreateToken, Scope};
use http_body_util::{BodyExt, Full};
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use crate::memory::NODE;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    address: SocketAddr,
    document: Value,
    /// What the questions call a token, and what it is.
    tokens: Vec<(&'static str, String)>,
    asked: AtomicU32,
    _nodes: [Node; 2],
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

async fn start(settings: Settings) -> Node {
    let node = Node::start(settings).await.expect("it starts");
    let ready = tokio::time::timeout(PATIENCE, node.ready()).await;
    ready.expect("it is ready in time").expect("it is ready");
    let served = tokio::time::timeout(PATIENCE, node.api_served()).await;
    served.expect("its API is served");
    node
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = |name: &str| Settings {
            params: convoke_driver::Params::local(),
            segment_bytes: 1 << 20,
            name: Some(name.to_owned()),
            recent: Some(Arc::new(Ring::new(100))),
            api: Some(ApiSettings {
                listen: Some(anywhere),
                rate: Some(100_000),
                ..ApiSettings::default()
            }),
            ..Settings::new(directory.path().join(name), anywhere)
        };
        let first = start(settings("first")).await;
        let local = Client::new(Endpoint::Unix(first.api_socket()));
        let what = CreateToken {
            roles: None,
            ttl_ms: None,
            uses: None,
        };
        let token = local.create_join_token(&what).await.expect("it is made");
        let token = token.token.parse().expect("a token");
        let second = start(Settings {
            belonging: Belonging::Papers {
                token: Some(token),
                cluster_name: None,
                patience: PATIENCE,
            },
            ..settings(NODE)
        })
        .await;
        let mut tokens = Vec::new();
        for scope in Scope::ALL {
            let name = scope.name().to_owned();
            let what = CreateApiToken {
                name,
                scope,
                ttl_ms: None,
            };
            let made = local.create_api_token(&what).await.expect("it is made");
            tokens.push((scope.name(), made.token));
        }
        let document = local.openapi().await.expect("it is served");
        let url = first.api_address().expect("it is served");
        let address = url.strip_prefix("http://").expect("without TLS");
        Self {
            address: address.parse().expect("an address"),
            document: serde_json::from_slice(&document).expect("the document is JSON"),
            tokens,
            asked: AtomicU32::new(1),
            _nodes: [first, second],
            _directory: directory,
        }
    }

    /// From one of many addresses of this machine: one that shows wrong tokens is soon not asked for its right ones.
    async fn connect(&self) -> std::io::Result<TcpStream> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let [.., third, fourth] = number.to_be_bytes();
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 1, third, fourth], 0).into())?;
        socket.connect(self.address).await
    }

    pub(crate) fn document(&self) -> Value {
        self.document.clone()
    }

    /// Up to where the node that answers has decided, behind everything that was decided before.
    pub(crate) async fn revision(&self) -> u64 {
        let headers = [("authorization", "Bearer admin")];
        let answer = self.ask("GET", "/v1/tokens", &headers, b"").await.json();
        answer["stamp"]["revision"].as_u64().expect("a revision")
    }

    /// Asks over the network.
    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        request = request.header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body));
        self.ask_with(request.body(body).expect("a request")).await
    }

    pub(crate) async fn ask_with(&self, mut request: Request<Full<Bytes>>) -> Answer {
        let shown = request.headers().get(AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let known = self.tokens.iter().find(|(name, _)| Some(*name) == shown);
        if let Some((_, token)) = known {
            let value = format!("Bearer {token}").parse().expect("a header");
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let work = async {
            let stream = self.connect().await.expect("connect");
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
}
