//! Calling out: which carrier to take to an address, and the handshake over it.
//!
//! TCP asks less of both processors, QUIC does not make one stream wait for what another lost and follows a node that moves. So a
//! path that answers at once gets TCP, a longer one QUIC, and each stands in for the other where it does not get through:
//!
//! ```text
//! TCP answers within `NEAR`    TCP                       QUIC, if the connection breaks in the handshake
//! refused, unreachable         QUIC                      TCP, if it gets through now: who is called was just started
//! not within `NEAR`            QUIC, begun at once       TCP, when it got through and QUIC did not within some round trips
//! ```
//!
//! A protocol that lives on datagrams (gossip) takes QUIC on every path; TCP is begun a moment later and stands in for it.
//!
//! Who is at the other end is judged the same way over each; a peer that is not who it should be is not tried again over the
//! other. `docs/design/004-carriers.md` has the measurements behind `NEAR`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::NodeId;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{Carrier, ConnectError, Endpoint, Sockets};
use crate::identity::{Certificate, Claims, IdentityError, tls};
use crate::link::{
    CarrierKind, CloseCode, HandshakeError, Link, MemoryDoor, MemoryKnock, NEAR, QuicSocket,
    TcpCarrier, call_tcp, connect_tcp,
};
use crate::protocol::Protocol;

/// Over a longer path QUIC may take this many more round trips than TCP before TCP is tried, and at least and at most this long.
const HEAD_START: u32 = 3;
const HEAD_START_MIN: Duration = Duration::from_millis(100);
const HEAD_START_MAX: Duration = Duration::from_secs(1);

/// Where TCP is refused it is tried once more after this time, while QUIC goes on: a process that is about to start is found sooner than QUIC, which sends
/// again after a second, would find it.
const AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// How long a protocol that wants QUIC anyway waits until it begins with TCP too: near by QUIC is there by then, and nothing was sent
/// in vain.
const TCP_LATER: Duration = Duration::from_millis(150);

/// One call for a link: where to, to whom, to speak what.
#[derive(Clone, Copy)]
struct Call {
    address: SocketAddr,
    expected: Option<NodeId>,
    protocol: Protocol,
}

impl Endpoint {
    /// Opens a link to `address` over the carrier that is faster there, and makes sure that `expected` is there, when given.
    ///
    /// # Errors
    /// When nobody answers, or somebody we do not accept, or who does not accept us.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Link, ConnectError> {
        self.connect_over(None, address, expected, protocol).await
    }

    /// As [`Endpoint::connect`], over the given carrier and no other, if one is given.
    ///
    /// # Errors
    /// As [`Endpoint::connect`]; also when this endpoint does not use that carrier.
    pub async fn connect_over(
        &self,
        carrier: Option<CarrierKind>,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Link, ConnectError> {
        if self.0.stop.is_cancelled() {
            return Err(ConnectError::Closed);
        }
        let call = Call {
            address,
            expected,
            protocol,
        };
        let waited = self.0.limits.handshake_timeout;
        let link = timeout(waited, self.dial(carrier, call))
            .await
            .unwrap_or(Err(ConnectError::Unreachable { address, waited }))?;
        debug!(%address, carrier = %link.carrier(), "opened a link");
        self.attend(&link, || ());
        Ok(link)
    }

    async fn dial(&self, carrier: Option<CarrierKind>, call: Call) -> Result<Link, ConnectError> {
        let missing = || ConnectError::Address {
            address: call.address,
            reason: "this endpoint does not use the carrier that was asked for".to_owned(),
        };
        match (&self.0.carrier, carrier) {
            (Carrier::Memory(door), None | Some(CarrierKind::Memory)) => {
                self.connect_memory(door, call.address, call.expected, call.protocol)
                    .await
            }
            (Carrier::Sockets(sockets), None) => match (&sockets.quic, sockets.tcp.is_some()) {
                (Some(quic), true) => self.dial_the_faster(sockets, quic, call).await,
                (Some(quic), false) => self.connect_quic(quic, call).await,
                (None, _) => self.connect_tcp(sockets, call).await,
            },
            (Carrier::Sockets(sockets), Some(CarrierKind::Quic)) => {
                let quic = sockets.quic.as_ref().ok_or_else(missing)?;
                self.connect_quic(quic, call).await
            }
            (Carrier::Sockets(sockets), Some(CarrierKind::Tcp)) if sockets.tcp.is_some() => {
                self.connect_tcp(sockets, call).await
            }
            (Carrier::Sockets(_) | Carrier::Memory(_), Some(_)) => Err(missing()),
        }
    }

    async fn dial_the_faster(
        &self,
        sockets: &Sockets,
        quic: &QuicSocket,
        call: Call,
    ) -> Result<Link, ConnectError> {
        let from = sockets.local_address().ok();
        let over_quic = self.connect_quic(quic, call);
        if call.protocol.lives_on_datagrams() {
            let reaching = async {
                sleep(TCP_LATER).await;
                connect_tcp(from, call.address, &self.0.limits).await
            };
            return self.dial_far(over_quic, reaching, call).await;
        }
        let mut reaching = pin!(connect_tcp(from, call.address, &self.0.limits));
        let (socket, round_trip) = match timeout(NEAR, reaching.as_mut()).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(error)) => {
                let refused = unreachable_tcp(call, &error);
                return self.dial_refused(sockets, over_quic, refused, call).await;
            }
            Err(_) => return self.dial_far(over_quic, reaching, call).await,
        };
        match self.shake_hands(socket, round_trip, call).await {
            Err(error) if error.is_about_the_path() => first_of(over_quic, |_| error).await,
            judged => judged,
        }
    }

    /// QUIC, and TCP once more a moment later, where that was refused.
    async fn dial_refused(
        &self,
        sockets: &Sockets,
        over_quic: impl Future<Output = Result<Link, ConnectError>>,
        refused: ConnectError,
        call: Call,
    ) -> Result<Link, ConnectError> {
        let once_more = async {
            sleep(AFTER_REFUSAL).await;
            self.connect_tcp(sockets, call).await
        };
        let mut over_quic = pin!(first_of(over_quic, |_| refused));
        let link = tokio::select! {
            biased;
            link = over_quic.as_mut() => link?,
            link = once_more => match link {
                Err(error) if error.is_about_the_path() => over_quic.await?,
                judged => return judged,
            },
        };
        Ok(self.rather_tcp(sockets, link, call).await)
    }

    /// Where TCP was refused and QUIC got through somebody may have begun to listen in between, as one does who is started again: TCP is
    /// tried once more, since over it the end of that process is noticed at once.
    async fn rather_tcp(&self, sockets: &Sockets, over_quic: Link, call: Call) -> Link {
        let from = sockets.local_address().ok();
        let reached = timeout(NEAR, connect_tcp(from, call.address, &self.0.limits)).await;
        let Ok(Ok((socket, round_trip))) = reached else {
            return over_quic;
        };
        match timeout(HEAD_START_MAX, self.shake_hands(socket, round_trip, call)).await {
            Ok(Ok(over_tcp)) => {
                over_quic.close(CloseCode::Done, "there is a link over TCP, too");
                over_tcp
            }
            Ok(Err(_)) | Err(_) => over_quic,
        }
    }

    /// QUIC, with a head start, and TCP after it.
    async fn dial_far(
        &self,
        over_quic: impl Future<Output = Result<Link, ConnectError>>,
        reaching: impl Future<Output = io::Result<(tokio::net::TcpStream, Duration)>>,
        call: Call,
    ) -> Result<Link, ConnectError> {
        let over_tcp = async {
            let (socket, round_trip) = reaching.await.map_err(|e| unreachable_tcp(call, &e))?;
            sleep((round_trip * HEAD_START).clamp(HEAD_START_MIN, HEAD_START_MAX)).await;
            self.shake_hands(socket, round_trip, call).await
        };
        let (mut over_quic, mut over_tcp) = (pin!(over_quic), pin!(over_tcp));
        tokio::select! {
            biased;
            link = over_quic.as_mut() => match link {
                Err(error) if error.is_about_the_path() => first_of(over_tcp, |_| error).await,
                judged => judged,
            },
            link = over_tcp.as_mut() => match link {
                Ok(link) => Ok(link.standing_in()),
                // QUIC is the first choice here; that it takes longer than TCP makes it no other.
                Err(error) if error.is_about_the_path() => over_quic.await.map_err(|_| error),
                judged => judged,
            },
        }
    }

    async fn connect_tcp(&self, sockets: &Sockets, call: Call) -> Result<Link, ConnectError> {
        let from = sockets.local_address().ok();
        let (socket, round_trip) = connect_tcp(from, call.address, &self.0.limits)
            .await
            .map_err(|error| unreachable_tcp(call, &error))?;
        self.shake_hands(socket, round_trip, call).await
    }

    async fn shake_hands(
        &self,
        socket: tokio::net::TcpStream,
        round_trip: Duration,
        call: Call,
    ) -> Result<Link, ConnectError> {
        let address = call.address;
        let (config, refusal) =
            tls::client_config_for_one(&self.0.identity, &self.0.trust, &[call.protocol.alpn()]);
        let name = tls::server_name(call.expected);
        let shaken = call_tcp(socket, config, name, round_trip).await;
        let shaken = shaken.map_err(|error| match (refusal.reason(), error) {
            (Some(error), _) => ConnectError::Peer { address, error },
            (None, HandshakeError::Io(error)) => unreachable_tcp(call, &error),
            (None, HandshakeError::Refused(reason)) => ConnectError::Refused { address, reason },
        })?;
        let peer = tls::peer_claims(&self.0.trust, Some(&shaken.agreed.chain))
            .map_err(|error| ConnectError::Peer { address, error })?;
        let memory = self.memory_of(Some(&peer), Some(call.protocol));
        let looks = Arc::clone(&self.0.looks);
        let (limits, tasks) = (&self.0.limits, &self.0.tasks);
        let carrier = TcpCarrier::start(shaken, false, memory, looks, limits, tasks)
            .map_err(|error| unreachable_tcp(call, &error))?;
        Ok(Link::over_tcp(carrier, call.protocol, peer))
    }

    async fn connect_quic(&self, socket: &QuicSocket, call: Call) -> Result<Link, ConnectError> {
        let Call {
            address,
            expected,
            protocol,
        } = call;
        let (tls, refusal) =
            tls::client_config_for_one(&self.0.identity, &self.0.trust, &[protocol.alpn()]);
        let name = tls::server_name(expected).to_str().into_owned();
        let connecting = socket
            .endpoint
            .connect_with(socket.client_config(tls, protocol), address, &name)
            .map_err(|error| ConnectError::Address {
                address,
                reason: error.to_string(),
            })?;
        let connection = connecting
            .await
            .map_err(|error| match (refusal.reason(), error) {
                (Some(error), _) => ConnectError::Peer { address, error },
                (None, quinn::ConnectionError::TimedOut) => ConnectError::Unreachable {
                    address,
                    waited: self.0.limits.handshake_timeout,
                },
                (None, error) => ConnectError::Refused {
                    address,
                    reason: crate::link::quic_close_reason(&error),
                },
            })?;
        let peer = self
            .claims_of(&connection)
            .map_err(|error| ConnectError::Peer { address, error })?;
        Ok(Link::over_quic(connection, protocol, peer))
    }

    async fn connect_memory(
        &self,
        door: &MemoryDoor,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Link, ConnectError> {
        let nobody = || ConnectError::Address {
            address,
            reason: "nobody is there".to_owned(),
        };
        let (answer, answered) = oneshot::channel();
        let knock = MemoryKnock {
            from: door.address,
            alpn: protocol.alpn().to_vec(),
            certificate: self.0.identity.certificate(),
            expected,
            answer,
        };
        door.knock(address)
            .ok_or_else(nobody)?
            .send(knock)
            .await
            .map_err(|_| nobody())?;
        let answer = answered.await.map_err(|_| nobody())?;
        // As with TLS, a caller judges whom it reached before it hears what they think of it.
        let peer = answer
            .certificate
            .map(|certificate| self.judge_expected(&certificate, expected))
            .transpose();
        let peer = peer.map_err(|error| ConnectError::Peer { address, error })?;
        let carrier = answer
            .link
            .map_err(|reason| ConnectError::Refused { address, reason })?;
        Ok(Link::in_memory(
            carrier,
            protocol,
            peer.expect("whoever gives a link shows a certificate"),
        ))
    }

    fn judge_expected(
        &self,
        certificate: &Certificate,
        expected: Option<NodeId>,
    ) -> Result<Claims, IdentityError> {
        let peer = self.judge(certificate)?;
        let found = peer.node;
        match expected {
            Some(expected) if expected != found => {
                Err(IdentityError::WrongNode { expected, found })
            }
            Some(_) | None => Ok(peer),
        }
    }
}

/// The outcome of the second carrier, or what the first one met when neither gets through.
async fn first_of(
    second: impl Future<Output = Result<Link, ConnectError>>,
    first: impl FnOnce(&ConnectError) -> ConnectError,
) -> Result<Link, ConnectError> {
    match second.await {
        Ok(link) => Ok(link.standing_in()),
        Err(error) if error.is_about_the_path() => Err(first(&error)),
        judged => judged,
    }
}

fn unreachable_tcp(call: Call, error: &io::Error) -> ConnectError {
    ConnectError::Address {
        address: call.address,
        reason: error.to_string(),
    }
}
