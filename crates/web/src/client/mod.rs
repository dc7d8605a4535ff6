//! The other end of the API, for the command line and for tests: one small HTTP/1.1 client.
//!
//! - [`Client`]: where to ask and with what token; every call is a connection of its own, which costs nothing beside what
//!   a person does, and leaves nothing behind.
//! - [`Follow`]: a stream that resumes where it broke off.
//! - [`ClientError`]: a problem document of the node, or that it could not be asked.
//!
//! Deliberately not here: redirects, proxies of the environment, cookies, retries of what may have been done, and names
//! that are looked up: an address is an address, and whoever has a name resolves it.

mod calls;
mod connect;
mod follow;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

pub use calls::KeyFound;
pub use follow::{Follow, Heard};

/// The largest answer that is read; streams are not bounded, their events are.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Where a node is asked.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// The socket in its data directory.
    Unix(PathBuf),
    /// A port without TLS; on the same machine.
    Tcp(SocketAddr),
    /// A port with TLS.
    Tls {
        /// Where.
        address: SocketAddr,
        /// The name that its certificate has to have, and that goes into `Host`.
        name: String,
        /// How its certificate is checked.
        config: Arc<rustls::ClientConfig>,
    },
}

/// Asks a node.
#[derive(Clone)]
pub struct Client {
    endpoint: Endpoint,
    token: Option<HeaderValue>,
    patience: Duration,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The node says why not.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// There is nobody, or they did not agree on TLS. Nothing was asked.
    #[error("reach {place}: {source}")]
    Unreachable {
        /// Where.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke when the question was on its way. A change may have been made.
    #[error("the connection to {place} broke: {why}")]
    Broken {
        /// With whom.
        place: String,
        /// How.
        why: String,
    },
    /// No answer came in time. A change may have been made.
    #[error("{place} did not answer within {} s", .after.as_secs())]
    TooLate {
        /// Who.
        place: String,
        /// When that was given up.
        after: Duration,
    },
    /// The answer is none of this API's.
    #[error("{place} answered with {status} and something else than this API has: {why}")]
    Strange {
        /// Who.
        place: String,
        /// The status.
        status: u16,
        /// What is strange about it.
        why: String,
    },
    /// What is asked cannot be written down.
    #[error("{0}")]
    Unaskable(String),
}

impl ClientError {
    /// The node's problem document, if that is what went wrong.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::TooLate { .. }
            | Self::Strange { .. }
            | Self::Unaskable(_) => None,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
            Self::Tls { address, name, .. } => write!(f, "{name} ({address})"),
        }
    }
}

/// A question.
pub(crate) struct Ask {
    method: Method,
    /// Path and query, encoded.
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Result<Self, ClientError> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| ClientError::Unaskable(format!("{value:?} cannot stand in `{name}`")))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(crate) fn octets(mut self, body: Bytes) -> Self {
        self.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(crate::routes::OCTETS),
        );
        self.body = body;
        self
    }

    fn json<B: Serialize>(mut self, body: &B) -> Result<Self, ClientError> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| ClientError::Unaskable(format!("write the question: {error}")))?;
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(crate::routes::JSON));
        self.body = Bytes::from(bytes);
        Ok(self)
    }
}

/// An answer that was read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// One that asks there, without a token, and waits 40 s for an answer: longer than a node takes to say that it was
    /// too late.
    #[must_use]
    pub const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            token: None,
            patience: Duration::from_secs(40),
        }
    }

    /// The same with a token.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn with_token(mut self, token: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            ClientError::Unaskable("the token has characters that no token has".to_owned())
        })?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// The same with other patience.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks for JSON at a path with its query; for operations that have no method here.
    ///
    /// # Errors
    /// What the node says, or that it could not be asked.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.json(Ask::new(Method::GET, target)).await
    }

    async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        target: String,
        body: &B,
    ) -> Result<T, ClientError> {
        self.json(Ask::new(method, target).json(body)?).await
    }

    async fn delete<T: DeserializeOwned>(&self, target: String) -> Result<T, ClientError> {
        self.json(Ask::new(Method::DELETE, target)).await
    }

    async fn json<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, ClientError> {
        let answer = self.ask(ask).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| self.strange(answer.status, error.to_string()))
    }

    /// Asks, and reads the whole answer. Everything but success is an error.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, ClientError> {
        let work = async {
            let (mut connection, response) = self.begin(ask).await?;
            let (parts, body) = response.into_parts();
            let reading = Limited::new(body, ANSWER_BYTES).collect();
            let body = connection
                .while_it_runs(reading)
                .await
                .map_err(|error| self.broken(&error))?
                .to_bytes();
            self.judge(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        match tokio::time::timeout(self.patience, work).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(self.too_late()),
        }
    }

    /// Connects and asks; the answer's body is still to be read, with the connection.
    async fn begin(
        &self,
        ask: Ask,
    ) -> Result<(connect::Connection, hyper::Response<hyper::body::Incoming>), ClientError> {
        let mut connection =
            connect::connect(&self.endpoint)
                .await
                .map_err(|source| ClientError::Unreachable {
                    place: self.endpoint.to_string(),
                    source,
                })?;
        let request = self.request(ask)?;
        let response = connection
            .send(request)
            .await
            .map_err(|error| self.broken(&error))?;
        Ok((connection, response))
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, ClientError> {
        let Ask {
            method,
            target,
            headers,
            body,
        } = ask;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target
            .parse()
            .map_err(|_| ClientError::Unaskable(format!("{target:?} is no path")))?;
        *request.headers_mut() = headers;
        let host = match &self.endpoint {
            Endpoint::Unix(_) => "localhost".to_owned(),
            Endpoint::Tcp(address) => address.to_string(),
            Endpoint::Tls { address, name, .. } => format!("{name}:{}", address.port()),
        };
        let host = HeaderValue::from_str(&host)
            .map_err(|_| ClientError::Unaskable(format!("{host:?} is no name of a host")))?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static(crate::routes::JSON));
        }
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        Ok(request)
    }

    fn judge(&self, answer: Answer) -> Result<Answer, ClientError> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(self.strange(answer.status, "it has no problem document".to_owned())),
        }
    }

    fn strange(&self, status: StatusCode, why: String) -> ClientError {
        ClientError::Strange {
            place: self.endpoint.to_string(),
            status: status.as_u16(),
            why,
        }
    }

    fn broken(&self, error: &dyn fmt::Display) -> ClientError {
        ClientError::Broken {
            place: self.endpoint.to_string(),
            why: error.to_string(),
        }
    }

    fn too_late(&self) -> ClientError {
        ClientError::TooLate {
            place: self.endpoint.to_string(),
            after: self.patience,
        }
    }
}
