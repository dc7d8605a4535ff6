//! The handshake of a link over TCP: rustls decides, this moves its bytes, and the keys that come of it go to
//! [`records`](super::records).
//!
//! Every wait belongs to the caller, who bounds it. Who the peer is and whether it may come in is not decided here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedConnectionCommon, UnbufferedStatus,
};
use rustls::{AlertDescription, ClientConfig, CommonState, ExtractedSecrets, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::records::{Opener, Sealer, records};
use crate::identity::describe_alert;
use crate::link::{CloseCode, CloseReason, Side};

/// A handshake is a few kilobytes each way; whoever sends more than this before its end is not shaking hands.
const HANDSHAKE_MAX: usize = 128 * 1024;
/// The alert of a server that serves none of the protocols offered.
const NOT_SERVED: AlertDescription = AlertDescription::NoApplicationProtocol;

/// What a handshake led to.
#[derive(Debug)]
pub(crate) struct Shaken {
    pub(super) socket: TcpStream,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// Data that came right behind the handshake, and records not opened yet.
    pub(super) early: Bytes,
    pub(super) received: BytesMut,
    pub(super) round_trip: Duration,
    /// What the peer showed.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// What both agreed to speak.
    pub(crate) alpn: Vec<u8>,
}

/// Why no link came of it.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The connection broke, or ended too early.
    Io(io::Error),
    /// One side refused the other.
    Refused(CloseReason),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl HandshakeError {
    /// The same in the words of links.
    pub(crate) fn reason(self) -> CloseReason {
        match self {
            Self::Refused(reason) => reason,
            Self::Io(error) => CloseReason {
                by: Side::Network,
                code: CloseCode::Lost,
                detail: error.to_string(),
            },
        }
    }
}

/// As the one who calls.
pub(crate) async fn call(
    socket: TcpStream,
    config: ClientConfig,
    name: ServerName<'static>,
    round_trip: Duration,
) -> Result<Shaken, HandshakeError> {
    let connection =
        UnbufferedClientConnection::new(Arc::new(config), name).map_err(|e| refused(&e))?;
    shake(socket, connection, round_trip).await
}

/// As the one who is called.
pub(crate) async fn answer(
    socket: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<Shaken, HandshakeError> {
    let connection = UnbufferedServerConnection::new(config).map_err(|e| refused(&e))?;
    shake(socket, connection, Duration::MAX).await
}

/// What both sides of a handshake have in common, which the library does not say.
trait Party: std::ops::Deref<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data: Send + 'static;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn into_keys(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), rustls::Error>;
}

impl Party for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn into_keys(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), rustls::Error> {
        self.dangerous_into_kernel_connection()
    }
}

impl Party for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn into_keys(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), rustls::Error> {
        self.dangerous_into_kernel_connection()
    }
}

/// What is to be done before the handshake can go on.
enum Next {
    /// Nothing; go on.
    GoOn,
    /// Send what was prepared.
    Send,
    /// Wait for more from the peer.
    Receive,
    /// It is over, and went well.
    Finish,
}

async fn shake<S: Party>(
    mut socket: TcpStream,
    mut connection: S,
    round_trip: Duration,
) -> Result<Shaken, HandshakeError> {
    let mut received = BytesMut::with_capacity(16 * 1024);
    let mut prepared = Vec::new();
    let mut early = Vec::new();
    let mut waited = round_trip;
    loop {
        let UnbufferedStatus { discard, state } = connection.process(&mut received);
        let next = match state {
            Ok(state) => step(state, &mut prepared, &mut early),
            Err(error) => Err(error),
        };
        match next {
            Ok(Next::GoOn) => {}
            Ok(Next::Send) => socket.write_all(&std::mem::take(&mut prepared)).await?,
            Ok(Next::Finish) => {
                let _ = received.split_to(discard);
                break;
            }
            Ok(Next::Receive) => {
                let _ = received.split_to(discard);
                let since = Instant::now();
                receive(&socket, &mut received).await?;
                // The peer computes before it answers; the shortest wait is closest to the path alone.
                waited = waited.min(since.elapsed());
                continue;
            }
            Err(error) => {
                let _ = received.split_to(discard);
                say_why(&mut connection, &mut socket, &mut received).await;
                return Err(refused(&error));
            }
        }
        let _ = received.split_to(discard);
    }
    let common: &CommonState = &connection;
    let chain = common.peer_certificates().unwrap_or_default().to_vec();
    let alpn = common.alpn_protocol().unwrap_or_default().to_vec();
    let (secrets, kernel) = connection.into_keys().map_err(|e| refused(&e))?;
    let (sealer, opener) = records(secrets, kernel).map_err(|error| {
        HandshakeError::Refused(CloseReason::ours(
            CloseCode::ProtocolViolation,
            error.to_string(),
        ))
    })?;
    Ok(Shaken {
        socket,
        sealer,
        opener,
        early: early.into(),
        received,
        round_trip: waited,
        chain,
        alpn,
    })
}

fn step<Data>(
    state: ConnectionState<'_, '_, Data>,
    prepared: &mut Vec<u8>,
    early: &mut Vec<u8>,
) -> Result<Next, rustls::Error> {
    match state {
        ConnectionState::EncodeTlsData(data) => {
            encode(data, prepared)?;
            Ok(Next::GoOn)
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(Next::Send)
        }
        ConnectionState::BlockedHandshake => Ok(Next::Receive),
        ConnectionState::WriteTraffic(_) => Ok(Next::Finish),
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                early.extend_from_slice(record?.payload);
            }
            Ok(Next::GoOn)
        }
        // No early data is offered or taken, and a peer that closes now has not shaken hands.
        ConnectionState::ReadEarlyData(_)
        | ConnectionState::PeerClosed
        | ConnectionState::Closed
        | _ => Err(rustls::Error::HandshakeNotComplete),
    }
}

fn encode<Data>(
    mut data: EncodeTlsData<'_, Data>,
    prepared: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let filled = prepared.len();
    let mut room = 4 * 1024;
    loop {
        prepared.resize(filled + room, 0);
        match data.encode(&mut prepared[filled..]) {
            Ok(written) => {
                prepared.truncate(filled + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(error @ EncodeError::AlreadyEncoded) => {
                return Err(rustls::Error::General(error.to_string()));
            }
        }
    }
}

async fn receive(socket: &TcpStream, received: &mut BytesMut) -> Result<(), HandshakeError> {
    if received.len() >= HANDSHAKE_MAX {
        let reason = CloseReason::ours(
            CloseCode::ProtocolViolation,
            "a handshake that does not end",
        );
        return Err(HandshakeError::Refused(reason));
    }
    loop {
        socket.readable().await?;
        match socket.try_read_buf(received) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells the peer what was wrong with it, as far as that goes; the connection is over either way.
///
/// The library is asked for as long as it has something to say, which comes before it looks at what was received. What it refused it
/// must not see again, or it refuses it a second time; and it must not see less, since it knows where in there messages begin.
async fn say_why(connection: &mut impl Party, socket: &mut TcpStream, received: &mut [u8]) {
    let mut prepared = Vec::new();
    while has_more_to_say(connection) {
        let Ok(ConnectionState::EncodeTlsData(data)) = connection.process(received).state else {
            break;
        };
        if encode(data, &mut prepared).is_err() {
            break;
        }
    }
    if socket.write_all(&prepared).await.is_ok() {
        let _ = socket.shutdown().await;
    }
}

fn has_more_to_say(connection: &impl Party) -> bool {
    let common: &CommonState = connection;
    common.wants_write()
}

fn refused(error: &rustls::Error) -> HandshakeError {
    let reason = if let rustls::Error::AlertReceived(alert) = error {
        by_alert(*alert)
    } else {
        CloseReason::ours(CloseCode::Unauthenticated, error.to_string())
    };
    HandshakeError::Refused(reason)
}

/// What the peer meant by an alert.
pub(super) fn by_alert(alert: AlertDescription) -> CloseReason {
    CloseReason {
        by: Side::Peer,
        code: if alert == NOT_SERVED {
            CloseCode::NotServed
        } else {
            CloseCode::Unauthenticated
        },
        detail: describe_alert(alert).to_owned(),
    }
}
