//! Enrolment: the one protocol that serves a client without a certificate.
//!
//! A node that wants to join, or whose certificate has run out, opens a connection over TCP at the one port number, speaks ALPN `enrol`,
//! and shows nothing. It knows whom it talks to: a server shows its certificate and that of its issuer, and the client has *pins*, the
//! fingerprints of issuers from a token, or a trust bundle from the time when it belonged. One request of at most [`REQUEST_BYTES`] goes
//! one way, one answer of at most [`ANSWER_BYTES`] comes back, and the connection ends.
//!
//! ```text
//! ask(address, pins, request) ─► Answered { node, answer }
//! Endpoint::serve_enrolment(enroller) ─► Enrolling, until it is dropped
//! ```
//!
//! | bound | |
//! | --- | --- |
//! | requests under way | [`AT_ONCE`]; beyond it the connection is closed as overloaded |
//! | one request, from the handshake to the answer | [`PATIENCE`] |
//!
//! TCP alone, since there the server sees what protocol is asked for before it has to insist on a certificate; over QUIC it cannot, so
//! there nobody is let in without one.
//!
//! Deliberately absent: what is in requests and answers, and who is let in. That is decided behind the [`Enroller`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use convoke_types::{ClusterId, NodeId};
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::endpoint::ConnectError;
use crate::identity::{Certificate, Trust, tls};
use crate::limits::Limits;
use crate::link::{
    CloseCode, HandshakeError, LinkError, Looks, PeerMemory, RecvHalf, Shaken, TcpCarrier,
    call_tcp, connect_tcp,
};

/// The name in the handshake.
pub(crate) const ALPN: &[u8] = b"convoke-enrol/1";
/// The most bytes of a request.
pub const REQUEST_BYTES: usize = 4 * 1024;
/// The most bytes of an answer: a certificate and 64 issuers.
pub const ANSWER_BYTES: usize = 128 * 1024;
/// Requests answered at a time.
pub const AT_ONCE: usize = 64;
/// How long one request may take.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// The first bytes of a fingerprint that a pin has.
pub const PIN_BYTES: usize = 16;

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// From where. Anybody may have sent it.
    pub from: SocketAddr,
    /// What it says.
    pub bytes: Bytes,
}

/// Answers requests.
pub type Enroller = Arc<dyn Fn(Request) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// Whom a client of this protocol takes for a server of its cluster.
#[derive(Debug, Clone)]
pub enum Pins {
    /// Whoever shows a certificate of one of these issuers: the beginnings of their fingerprints.
    Issuers {
        /// The cluster.
        cluster: ClusterId,
        /// At least one.
        issuers: Vec<[u8; PIN_BYTES]>,
    },
    /// Whoever this bundle lets in.
    Trust(Trust),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Who answered, proven.
    pub node: NodeId,
    /// What it said.
    pub bytes: Bytes,
}

/// Sends one request to a node at `address`, and waits for the answer. The request is made when it is known who is there, so that it can
/// name the server it is meant for.
///
/// # Errors
/// When nobody is there, or somebody whom the pins do not know, or no answer comes.
pub async fn ask(
    address: SocketAddr,
    pins: &Pins,
    request: impl FnOnce(NodeId) -> Vec<u8>,
) -> Result<Answered, ConnectError> {
    let tasks = TaskTracker::new();
    let asked = timeout(PATIENCE, ask_within(address, pins, request, &tasks)).await;
    tasks.close();
    tasks.wait().await;
    asked.unwrap_or(Err(ConnectError::Unreachable {
        address,
        waited: PATIENCE,
    }))
}

async fn ask_within(
    address: SocketAddr,
    pins: &Pins,
    request: impl FnOnce(NodeId) -> Vec<u8>,
    tasks: &TaskTracker,
) -> Result<Answered, ConnectError> {
    let limits = Limits::default();
    let lost = |reason: String| ConnectError::Address { address, reason };
    let waited = limits.handshake_timeout;
    let reached = timeout(waited, connect_tcp(None, address, &limits)).await;
    let (socket, round_trip) = match reached {
        Ok(Ok(reached)) => reached,
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(_) => return Err(ConnectError::Unreachable { address, waited }),
    };
    let (config, refusal) = tls::enrol_client_config(pins);
    let shaken = timeout(
        waited,
        call_tcp(socket, config, tls::server_name(None), round_trip),
    );
    let shaken = match shaken.await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(error)) => {
            return Err(match (refusal.reason(), error) {
                (Some(error), _) => ConnectError::Peer { address, error },
                (None, HandshakeError::Io(error)) => lost(error.to_string()),
                (None, HandshakeError::Refused(reason)) => {
                    ConnectError::Refused { address, reason }
                }
            });
        }
        Err(_) => return Err(ConnectError::Unreachable { address, waited }),
    };
    // The handshake has judged it; this only reads whose it is.
    let node = Certificate::from_chain(shaken.agreed.chain.clone())
        .map_err(|error| ConnectError::Peer { address, error })?
        .claims()
        .node;
    let carrier = carrier(shaken, false, &limits, tasks).map_err(|e| lost(e.to_string()))?;
    let exchanged = exchange(&carrier, request(node)).await;
    let answered = exchanged.map_err(|error| match error {
        LinkError::Closed(reason) => ConnectError::Refused { address, reason },
        other @ (LinkError::Reset(_) | LinkError::Stopped(_) | LinkError::Finished) => {
            lost(other.to_string())
        }
    });
    carrier.close(CloseCode::Done, "");
    Ok(Answered {
        node,
        bytes: answered?,
    })
}

async fn exchange(carrier: &TcpCarrier, request: Vec<u8>) -> Result<Bytes, LinkError> {
    let (mut send, mut receive) = carrier.open_stream().await?;
    send.write(request.into()).await?;
    send.finish();
    match read(&mut receive, ANSWER_BYTES).await? {
        Some(answer) => Ok(answer),
        None => Err(LinkError::Closed(crate::link::CloseReason::ours(
            CloseCode::ProtocolViolation,
            "an answer that is too large",
        ))),
    }
}

/// Everything up to the end of a stream; nothing if that is too much.
async fn read(receive: &mut RecvHalf, most: usize) -> Result<Option<Bytes>, LinkError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = receive.read().await? {
        if bytes.len() + chunk.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes.freeze()))
}

/// A carrier that holds no more than this protocol needs.
fn carrier(
    shaken: Shaken,
    is_server: bool,
    limits: &Limits,
    tasks: &TaskTracker,
) -> std::io::Result<TcpCarrier> {
    let memory = PeerMemory::new(ANSWER_BYTES);
    let looks = Looks::new(limits.idle_timeout / 2);
    TcpCarrier::start(shaken, is_server, memory, looks, limits, tasks)
}

/// Answers the one request of a connection.
pub(crate) async fn serve(
    shaken: Shaken,
    from: SocketAddr,
    enroller: Enroller,
    limits: &Limits,
    tasks: &TaskTracker,
) {
    let since = Instant::now();
    let Ok(carrier) = carrier(shaken, true, limits, tasks) else {
        return;
    };
    let answering = timeout(PATIENCE, answer(&carrier, from, enroller));
    match answering.await {
        Ok(Ok(())) => {
            // The client closes when it has all of it.
            let left = PATIENCE.saturating_sub(since.elapsed());
            let _ = timeout(left, carrier.closed()).await;
            carrier.close(CloseCode::Done, "");
        }
        Ok(Err(code)) => carrier.close(code, "a request of enrolment is one small message"),
        Err(_) => carrier.close(CloseCode::Overloaded, "it took too long"),
    }
}

async fn answer(
    carrier: &TcpCarrier,
    from: SocketAddr,
    enroller: Enroller,
) -> Result<(), CloseCode> {
    let lost = |_: LinkError| CloseCode::Lost;
    let (mut send, mut receive) = carrier.accept_stream().await.map_err(lost)?;
    let bytes = read(&mut receive, REQUEST_BYTES).await.map_err(lost)?;
    let bytes = bytes.ok_or(CloseCode::ProtocolViolation)?;
    let answer = enroller(Request { from, bytes }).await;
    send.write(answer.into()).await.map_err(lost)?;
    send.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use convoke_types::RoleSet;

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::identity::{Development, IdentityError};
    use crate::protocol::{Protocol, every_member};

    struct World {
        development: Development,
        endpoint: Endpoint,
        address: SocketAddr,
    }

    impl World {
        fn new() -> Self {
            let development = Development::new();
            let identity = development.identity(RoleSet::ALL);
            let anywhere = ([127, 0, 0, 1], 0).into();
            let endpoint =
                Endpoint::bind(anywhere, identity, development.trust(), Limits::default());
            let endpoint = endpoint.expect("loopback is there");
            let address = endpoint.local_address().expect("it is bound");
            Self {
                development,
                endpoint,
                address,
            }
        }

        fn pins(&self) -> Pins {
            let fingerprint = self.development.issuer().certificate().fingerprint();
            let pin = fingerprint.as_bytes().first_chunk().expect("it is longer");
            Pins::Issuers {
                cluster: self.development.cluster(),
                issuers: vec![*pin],
            }
        }
    }

    fn echo() -> Enroller {
        Arc::new(|request| Box::pin(async move { request.bytes.to_vec() }))
    }

    #[tokio::test]
    async fn who_has_no_certificate_asks_and_knows_who_answers() {
        let world = World::new();
        let serving = world.endpoint.serve_enrolment(echo()).expect("over TCP");
        for pins in [world.pins(), Pins::Trust(world.development.trust())] {
            let answered = ask(world.address, &pins, |server| server.to_string().into());
            let answered = answered.await.expect("it is there");
            let node = world.endpoint.identity().node_id();
            assert_eq!(answered.node, node);
            assert_eq!(answered.bytes, node.to_string());
        }
        let second = world.endpoint.serve_enrolment(echo());
        assert!(second.is_err(), "one answers");
        drop(serving);
        let refused = ask(world.address, &world.pins(), |_| Vec::new()).await;
        let refused = refused.expect_err("nobody answers any more");
        assert!(refused.to_string().contains("does not serve"), "{refused}");
        world.endpoint.close().await;
    }

    #[tokio::test]
    async fn whoever_is_not_pinned_hears_nothing() {
        let (world, other) = (World::new(), World::new());
        let _serving = world.endpoint.serve_enrolment(echo()).expect("over TCP");
        let pins = other.pins();
        let asked = ask(world.address, &pins, |_| panic!("it is a secret"));
        let error = asked.await.expect_err("it is another cluster");
        assert!(
            matches!(
                error,
                ConnectError::Peer {
                    error: IdentityError::UnknownIssuer { .. },
                    ..
                }
            ),
            "{error}"
        );
        world.endpoint.close().await;
        other.endpoint.close().await;
    }

    #[tokio::test]
    async fn an_issuer_that_is_not_pinned_is_refused_in_the_same_cluster() {
        let world = World::new();
        let _serving = world.endpoint.serve_enrolment(echo()).expect("over TCP");
        let pins = Pins::Issuers {
            cluster: world.development.cluster(),
            issuers: vec![[9; PIN_BYTES]],
        };
        let asked = ask(world.address, &pins, |_| panic!("it is a secret"));
        let error = asked.await.expect_err("it is another issuer");
        assert!(
            matches!(
                error,
                ConnectError::Peer {
                    error: IdentityError::UnknownIssuer { .. },
                    ..
                }
            ),
            "{error}"
        );
        world.endpoint.close().await;
    }

    #[tokio::test]
    async fn requests_have_a_size() {
        let world = World::new();
        let _serving = world.endpoint.serve_enrolment(echo()).expect("over TCP");
        let pins = Pins::Trust(world.development.trust());
        let most = ask(world.address, &pins, |_| vec![7; REQUEST_BYTES]).await;
        assert_eq!(most.expect("it fits").bytes.len(), REQUEST_BYTES);
        let more = ask(world.address, &pins, |_| vec![7; REQUEST_BYTES + 1]).await;
        let error = more.expect_err("it is too large");
        assert!(error.to_string().contains("small message"), "{error}");
        world.endpoint.close().await;
    }

    #[tokio::test]
    async fn for_every_other_protocol_a_certificate_is_needed() {
        let world = World::new();
        let _serving = world.endpoint.serve_enrolment(echo()).expect("over TCP");
        let limits = Limits::default();
        for protocol in Protocol::ALL {
            let mut listener = world
                .endpoint
                .listen(protocol, every_member())
                .expect("nobody listens yet");
            let (mut config, _) = tls::enrol_client_config(&world.pins());
            config.alpn_protocols = vec![protocol.alpn().to_vec()];
            let (socket, round_trip) = connect_tcp(None, world.address, &limits)
                .await
                .expect("it is there");
            let name = tls::server_name(None);
            // The issuer's certificate is shown to those who enrol, so that here the pins fail first.
            let shaken = call_tcp(socket, config, name.clone(), round_trip).await;
            assert!(shaken.is_err(), "{protocol}");
            let pins = Pins::Trust(world.development.trust());
            let (mut config, _) = tls::enrol_client_config(&pins);
            config.alpn_protocols = vec![protocol.alpn().to_vec()];
            let (socket, round_trip) = connect_tcp(None, world.address, &limits)
                .await
                .expect("it is there");
            let tasks = TaskTracker::new();
            let shaken = call_tcp(socket, config, name, round_trip).await;
            let shaken = shaken.expect("the refusal comes behind the handshake");
            let carrier = carrier(shaken, false, &limits, &tasks).expect("it is connected");
            let reason = carrier.closed().await;
            assert_eq!(reason.code, CloseCode::Unauthenticated, "{protocol}");
            assert!(reason.detail.contains("no certificate"), "{reason}");
            drop(carrier);
            tasks.close();
            tasks.wait().await;
            let nobody = timeout(Duration::ZERO, listener.accept()).await;
            assert!(nobody.is_err(), "nobody came in with {protocol}");
        }
        world.endpoint.close().await;
    }
}
