//! The QUIC carrier: quinn over one UDP socket, TLS 1.3 on both sides.
//!
//! The socket asks the kernel for a large receive buffer, and flow-control windows follow what the kernel granted: windows
//! larger than the buffer turn a burst into loss, and loss at that rate ends connections. No 0-RTT, no resumption.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, ReadError, TransportConfig, VarInt, WriteError};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Socket, Type};

use super::congestion::ByDistance;
use super::{CloseCode, CloseReason, LinkError, Side};
use crate::identity::{NodeKey, describe_alert};
use crate::limits::{ANSWER_STREAMS, CREDENTIAL_STREAMS, Limits};
use crate::protocol::Protocol;

/// A bound UDP socket with QUIC over it, and the settings for links it makes.
#[derive(Debug)]
pub(crate) struct QuicSocket {
    pub(crate) endpoint: quinn::Endpoint,
    opening: Arc<TransportConfig>,
    /// For links that carry datagrams and little else.
    opening_for_datagrams: Arc<TransportConfig>,
    accepting: Arc<TransportConfig>,
    /// The window that suits the socket's buffer.
    window: u32,
    limits: Limits,
}

impl QuicSocket {
    pub(crate) fn bind(address: SocketAddr, key: &NodeKey, limits: &Limits) -> io::Result<Self> {
        let (socket, granted) = bound_socket(address, limits)?;
        let endpoint = quinn::Endpoint::new(
            endpoint_config(key),
            None,
            socket,
            Arc::new(quinn::TokioRuntime),
        )?;
        // Linux reports twice what was asked for, the other half being its own bookkeeping.
        let window = u32::try_from((granted / 2).max(64 << 10)).unwrap_or(u32::MAX);
        // One side's packets keep a link alive as well as both sides' would.
        let mut opening = transport(limits, window, Some(limits.keep_alive));
        opening.receive_window(unread_window(window, limits, 1));
        let mut accepting = transport(limits, window, None);
        accepting.initial_rtt(FIRST_ROUND_TRIP);
        Ok(Self {
            endpoint,
            opening: Arc::new(opening),
            opening_for_datagrams: Arc::new(transport_for_datagrams(limits, window)),
            accepting: Arc::new(accepting),
            window,
            limits: limits.clone(),
        })
    }

    /// What the `number`th link of one node may hold unread on all its streams together.
    pub(crate) fn unread_window(&self, number: usize) -> VarInt {
        unread_window(self.window, &self.limits, number)
    }

    /// Moves to another local address; open links follow by path migration.
    pub(crate) fn rebind(&self, address: SocketAddr) -> io::Result<()> {
        let (socket, _) = bound_socket(address, &self.limits)?;
        self.endpoint.rebind(socket)
    }

    pub(crate) fn serve(&self, tls: rustls::ServerConfig) {
        let crypto = QuicServerConfig::try_from(tls)
            .expect("the configuration offers TLS 1.3 and a QUIC cipher suite");
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.accepting));
        config.max_incoming(self.limits.handshakes);
        self.endpoint.set_server_config(Some(config));
    }

    pub(crate) fn client_config(
        &self,
        tls: rustls::ClientConfig,
        protocol: Protocol,
    ) -> quinn::ClientConfig {
        let crypto = QuicClientConfig::try_from(tls)
            .expect("the configuration offers TLS 1.3 and a QUIC cipher suite");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(if protocol.lives_on_datagrams() {
            &self.opening_for_datagrams
        } else {
            &self.opening
        }));
        config
    }
}

/// Connection ids and stateless resets that outlive a restart.
///
/// A node that comes back does not know the links of its former life. With secrets that follow from its key it can still prove
/// to peers that a link is gone, so they open a new one at once instead of waiting for silence to end the old one.
fn endpoint_config(key: &NodeKey) -> quinn::EndpointConfig {
    // ed25519 signatures are the same each time, and nobody without the key can make this one.
    let secret = digest(&SHA256, &key.sign(b"convoke: secrets of a QUIC endpoint"));
    let (reset, ids) = secret.as_ref().split_at(24);
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, reset);
    let id_key = u64::from_le_bytes(ids.try_into().expect("32 - 24 bytes"));
    let mut config = quinn::EndpointConfig::new(Arc::new(reset_key));
    // Peers that lost the same node at the same moment ask at the same moment, and again only after twice the time. A reset is
    // smaller than what caused it, so many of them amplify nothing; this bounds the work, at a hundred thousand a second.
    config.min_reset_interval(Duration::from_micros(10));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
    config
}

/// Binds the socket and says how many bytes of receive buffer were granted.
fn bound_socket(address: SocketAddr, limits: &Limits) -> io::Result<(UdpSocket, usize)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // The kernel caps what it grants without an error, so ask, then read what came of it.
    socket.set_recv_buffer_size(limits.socket_buffer_bytes)?;
    socket.set_send_buffer_size(limits.socket_buffer_bytes)?;
    socket.bind(&address.into())?;
    let granted = socket.recv_buffer_size()?;
    Ok((socket.into(), granted))
}

/// Streams a peer may have open before it showed that it uses them. quinn keeps state for every stream that *may* be
/// opened, about 200 bytes, so a thousand idle links should not be allowed a thousand streams each.
pub(crate) const FIRST_STREAMS: u32 = 32;

/// One-way streams that a peer may have open.
const ONE_WAYS: u32 = CREDENTIAL_STREAMS + ANSWER_STREAMS;

/// Acknowledging every fourth packet instead of every second saves a fifth to a third of the work of small calls, whose answers carry
/// acknowledgements anyway. Loss is still reported at once, and silence after a few milliseconds.
fn seldom_acknowledgements() -> quinn::AckFrequencyConfig {
    let mut config = quinn::AckFrequencyConfig::default();
    config
        .ack_eliciting_threshold(VarInt::from_u32(4))
        .max_ack_delay(Some(Duration::from_millis(5)));
    config
}

/// The window of all streams of a link together: room for a good many streams that are not read, before they hold up lanes and
/// streams that are. What is in flight is bounded by the sender's own window, so it turns no burst into loss.
///
/// The first link of a node has half of what a peer may make us hold, each further one half of the one before, so that all of them
/// have that much and, beyond a few, no more than a single stream's worth each.
fn unread_window(window: u32, limits: &Limits, number: usize) -> VarInt {
    let shift = u32::try_from(number).unwrap_or(u32::MAX);
    let share = limits.memory_per_peer.checked_shr(shift).unwrap_or(0);
    VarInt::from_u32(u32::try_from(share).unwrap_or(u32::MAX).max(window))
}

fn transport(limits: &Limits, window: u32, keep_alive: Option<Duration>) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(ByDistance))
        .receive_window(VarInt::from_u32(window))
        .stream_receive_window(VarInt::from_u32(window / 2))
        .send_window(u64::from(window))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_link.min(FIRST_STREAMS)))
        .ack_frequency_config(Some(seldom_acknowledgements()))
        .max_concurrent_uni_streams(VarInt::from_u32(ONE_WAYS))
        .datagram_receive_buffer_size(Some(limits.datagrams * super::memory::DATAGRAM_MAX))
        .datagram_send_buffer_size(limits.datagrams * super::memory::DATAGRAM_MAX)
        .keep_alive_interval(keep_alive)
        .max_idle_timeout(Some(
            limits
                .idle_timeout
                .try_into()
                .unwrap_or_else(|_| VarInt::from_u32(15_000).into()),
        ));
    config
}

/// What whoever accepts a link, and whoever opens one for datagrams, expects of a round trip before it has measured one, instead of
/// quinn's third of a second. A handshake whose first packet is lost, either way, goes on after three times that, and not after a
/// second; then after twice that, and so on. So a node can lose four packets in a row and has still joined within a second and a half.
/// Whoever accepts does not know yet what the link is for. On paths between regions the first packets are sent twice or three times.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(25);

/// What the opener of a link asks for when it carries a datagram now and then, each way, and a letter rarely.
///
/// - No keep-alive: what it carries keeps it alive, and a link that carries nothing may go.
/// - No search for a larger MTU: it would cost more bytes than an hour of gossip, and no datagram needs it.
/// - A short first round trip is expected: see [`FIRST_ROUND_TRIP`].
/// - The peer may wait 25 ms with an acknowledgement, so that it travels with the answer. quinn asks for no more than a round trip or
///   25 ms, whichever is longer, so the answer itself is still acknowledged by a packet of its own.
fn transport_for_datagrams(limits: &Limits, window: u32) -> TransportConfig {
    let mut acknowledgements = quinn::AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(VarInt::from_u32(4))
        .max_ack_delay(Some(Duration::from_millis(25)));
    let mut config = transport(limits, window, None);
    config
        .ack_frequency_config(Some(acknowledgements))
        .initial_rtt(FIRST_ROUND_TRIP)
        .mtu_discovery_config(None);
    config
}

/// The reading half of a stream.
///
/// quinn tells the peer that it may open another stream when a packet arrives or something was read. When a half whose end is known is given
/// up unread it frees the place and tells nobody, so that on a link where nothing else is said the peer waits for that place until silence
/// ends the link. So whoever gives a half up says it aloud.
#[derive(Debug)]
pub(super) struct Reader {
    stream: quinn::RecvStream,
    /// Of those that the peer opened: only their places are ours to give.
    accepted_on: Option<quinn::Connection>,
    /// Read to its end, or stopped: the place is free.
    is_over: bool,
}

impl Reader {
    pub(super) fn opened(stream: quinn::RecvStream) -> Self {
        Self {
            stream,
            accepted_on: None,
            is_over: false,
        }
    }

    pub(super) fn accepted(stream: quinn::RecvStream, connection: &quinn::Connection) -> Self {
        Self {
            stream,
            accepted_on: Some(connection.clone()),
            is_over: false,
        }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Option<usize>, LinkError>> {
        let read = ready!(pin!(self.stream.read_chunks(chunks)).poll(cx));
        self.is_over = !matches!(read, Ok(Some(_)));
        Poll::Ready(read.map_err(read_error))
    }

    pub(super) fn stop(&mut self, code: u32) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let _ = self.stream.stop(VarInt::from_u32(code));
        if let Some(connection) = &self.accepted_on {
            // It changes nothing, and has quinn look at places of either kind.
            connection.set_max_concurrent_uni_streams(VarInt::from_u32(ONE_WAYS));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop(0);
    }
}

pub(super) fn link_error(error: ConnectionError) -> LinkError {
    LinkError::Closed(close_reason(&error))
}

pub(super) fn write_error(error: WriteError) -> LinkError {
    match error {
        WriteError::Stopped(code) => LinkError::Stopped(stream_code(code)),
        WriteError::ConnectionLost(error) => link_error(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => LinkError::Finished,
    }
}

fn read_error(error: ReadError) -> LinkError {
    match error {
        ReadError::Reset(code) => LinkError::Reset(stream_code(code)),
        ReadError::ConnectionLost(error) => link_error(error),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            LinkError::Finished
        }
    }
}

fn stream_code(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}

/// TLS alerts travel as QUIC error codes from this one on.
const ALERTS_FROM: u64 = 0x100;
/// The alert `no_application_protocol`.
const NOT_SERVED: u8 = 120;

pub(crate) fn close_reason(error: &ConnectionError) -> CloseReason {
    let (by, code, detail) = match error {
        ConnectionError::ApplicationClosed(close) => (
            Side::Peer,
            CloseCode::from_number(stream_code(close.error_code)),
            String::from_utf8_lossy(&close.reason).into_owned(),
        ),
        ConnectionError::ConnectionClosed(close) => match alert(u64::from(close.error_code)) {
            Some(alert) => {
                let code = if alert == NOT_SERVED {
                    CloseCode::NotServed
                } else {
                    CloseCode::Unauthenticated
                };
                (Side::Peer, code, describe_alert(alert).to_owned())
            }
            None => (Side::Peer, CloseCode::Lost, error.to_string()),
        },
        ConnectionError::TransportError(error) => match alert(u64::from(error.code)) {
            Some(_) => (Side::Us, CloseCode::Unauthenticated, error.reason.clone()),
            None => (Side::Us, CloseCode::ProtocolViolation, error.to_string()),
        },
        ConnectionError::LocallyClosed => (Side::Us, CloseCode::Done, String::new()),
        ConnectionError::TimedOut => (
            Side::Network,
            CloseCode::Lost,
            "nothing was heard from the peer".to_owned(),
        ),
        ConnectionError::Reset => (
            Side::Peer,
            CloseCode::Lost,
            "the peer knows nothing of this link".to_owned(),
        ),
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => {
            (Side::Peer, CloseCode::ProtocolViolation, error.to_string())
        }
    };
    CloseReason { by, code, detail }
}

fn alert(code: u64) -> Option<u8> {
    u8::try_from(code.checked_sub(ALERTS_FROM)?).ok()
}
