//! The handshake of a link over TCP: rustls decides, this moves its bytes, and the keys that come of it go to
//! [`records`](super::records). [`Handshake`] knows no socket; [`call`] and [`answer`] carry it out on one.
//!
//! Every wait belongs to the caller, who bounds it. Who the peer is and whether it may come in is not decided here.

use std::fmt;
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
pub(super) const HANDSHAKE_MAX: usize = 128 * 1024;
/// The alert of a server that serves none of the protocols offered.
const NOT_SERVED: AlertDescription = AlertDescription::NoApplicationProtocol;

/// What a handshake led to.
#[derive(Debug)]
pub(crate) struct Shaken {
    pub(super) socket: TcpStream,
    pub(super) round_trip: Duration,
    pub(crate) agreed: Agreed,
}

/// What both sides know after a handshake that went well.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// Data that came right behind the handshake, and records not opened yet.
    pub(super) early: Bytes,
    pub(super) received: BytesMut,
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
    shake(socket, Handshake::calling(config, name)?, round_trip).await
}

/// As the one who is called.
pub(crate) async fn answer(
    socket: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<Shaken, HandshakeError> {
    shake(socket, Handshake::answering(config)?, Duration::MAX).await
}

/// What both sides of a handshake have in common, which the library does not say.
pub(super) trait Party:
    std::ops::Deref<Target = UnbufferedConnectionCommon<Self::Data>>
{
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

/// What is to be done before a handshake can go on.
#[derive(Debug)]
pub(super) enum Next {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Wait for more from the peer.
    Receive,
    /// It is over, and went well.
    Finish,
    /// It is over. The peer deserves to be sent these bytes, which say why as far as TLS has words for it.
    Refuse {
        last_words: Vec<u8>,
        reason: CloseReason,
    },
}

/// One side of a handshake without its socket: bytes come in, and out come bytes to send and how it ends.
///
/// Whoever owns one asks for the [`next`](Self::next) step until it finishes or refuses, and does what it says.
pub(super) struct Handshake<S> {
    connection: S,
    /// What came and was not understood yet.
    pub(super) received: BytesMut,
    /// Bytes that came in all.
    taken: usize,
    prepared: Vec<u8>,
    early: Vec<u8>,
}

impl Handshake<UnbufferedClientConnection> {
    /// As the one who calls.
    pub(super) fn calling(
        config: ClientConfig,
        name: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let connection = UnbufferedClientConnection::new(Arc::new(config), name);
        connection.map(Self::new).map_err(|error| refused(&error))
    }
}

impl Handshake<UnbufferedServerConnection> {
    /// As the one who is called.
    pub(super) fn answering(config: Arc<ServerConfig>) -> Result<Self, HandshakeError> {
        let connection = UnbufferedServerConnection::new(config);
        connection.map(Self::new).map_err(|error| refused(&error))
    }
}

impl<S: Party> Handshake<S> {
    fn new(connection: S) -> Self {
        Self {
            connection,
            received: BytesMut::with_capacity(16 * 1024),
            taken: 0,
            prepared: Vec::new(),
            early: Vec::new(),
        }
    }

    /// So many bytes came and lie at the end of `received`.
    pub(super) fn took(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    pub(super) fn next(&mut self) -> Next {
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process(&mut self.received);
            let step = state.and_then(|state| step(state, &mut self.prepared, &mut self.early));
            let _ = self.received.split_to(discard);
            match step {
                Ok(Step::GoOn) => {}
                Ok(Step::Send) => return Next::Send(std::mem::take(&mut self.prepared)),
                Ok(Step::Receive) if self.taken >= HANDSHAKE_MAX => return endless(),
                Ok(Step::Receive) => return Next::Receive,
                Ok(Step::Finish) => return Next::Finish,
                Err(error) => {
                    let last_words = self.say_why();
                    let reason = by_error(&error);
                    return Next::Refuse { last_words, reason };
                }
            }
        }
    }

    /// What tells the peer what was wrong with it, as far as that goes, behind what it was to be sent anyway: without that it
    /// would not have the keys to read this.
    ///
    /// The library is asked for as long as it has something to say, which comes before it looks at what was received. What it
    /// refused it must not see again, or it refuses it a second time; and it must not see less, since it knows where in there
    /// messages begin.
    fn say_why(&mut self) -> Vec<u8> {
        while self.has_more_to_say() {
            let Ok(ConnectionState::EncodeTlsData(data)) =
                self.connection.process(&mut self.received).state
            else {
                break;
            };
            if encode(data, &mut self.prepared).is_err() {
                break;
            }
        }
        std::mem::take(&mut self.prepared)
    }

    fn has_more_to_say(&self) -> bool {
        let common: &CommonState = &self.connection;
        common.wants_write()
    }

    /// What a handshake that went well leaves behind.
    pub(super) fn finish(self) -> Result<Agreed, HandshakeError> {
        let common: &CommonState = &self.connection;
        let chain = common.peer_certificates().unwrap_or_default().to_vec();
        let alpn = common.alpn_protocol().unwrap_or_default().to_vec();
        let (secrets, kernel) = self.connection.into_keys().map_err(|e| refused(&e))?;
        let (sealer, opener) = records(secrets, kernel).map_err(|error| {
            HandshakeError::Refused(CloseReason::ours(
                CloseCode::ProtocolViolation,
                error.to_string(),
            ))
        })?;
        Ok(Agreed {
            sealer,
            opener,
            early: self.early.into(),
            received: self.received,
            chain,
            alpn,
        })
    }

    /// Bytes it keeps for itself, beside what the library does.
    pub(super) fn held(&self) -> usize {
        self.received.len() + self.prepared.len() + self.early.len()
    }
}

impl<S> fmt::Debug for Handshake<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshake {{ taken: {} }}", self.taken)
    }
}

async fn shake<S: Party>(
    mut socket: TcpStream,
    mut handshake: Handshake<S>,
    round_trip: Duration,
) -> Result<Shaken, HandshakeError> {
    let mut waited = round_trip;
    loop {
        match handshake.next() {
            Next::Send(bytes) => socket.write_all(&bytes).await?,
            Next::Receive => {
                let since = Instant::now();
                let bytes = receive(&socket, &mut handshake.received).await?;
                handshake.took(bytes);
                // The peer computes before it answers; the shortest wait is closest to the path alone.
                waited = waited.min(since.elapsed());
            }
            Next::Finish => break,
            Next::Refuse { last_words, reason } => {
                if socket.write_all(&last_words).await.is_ok() {
                    let _ = socket.shutdown().await;
                }
                return Err(HandshakeError::Refused(reason));
            }
        }
    }
    Ok(Shaken {
        socket,
        round_trip: waited,
        agreed: handshake.finish()?,
    })
}

/// What the library is up to.
enum Step {
    GoOn,
    Send,
    Receive,
    Finish,
}

fn step<Data>(
    state: ConnectionState<'_, '_, Data>,
    prepared: &mut Vec<u8>,
    early: &mut Vec<u8>,
) -> Result<Step, rustls::Error> {
    match state {
        ConnectionState::EncodeTlsData(data) => {
            encode(data, prepared)?;
            Ok(Step::GoOn)
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(Step::Send)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Receive),
        ConnectionState::WriteTraffic(_) => Ok(Step::Finish),
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                early.extend_from_slice(record?.payload);
            }
            Ok(Step::GoOn)
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

/// Waits for bytes, and says how many came.
async fn receive(socket: &TcpStream, received: &mut BytesMut) -> io::Result<usize> {
    loop {
        socket.readable().await?;
        match socket.try_read_buf(received) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            ended => return ended,
        }
    }
}

fn endless() -> Next {
    Next::Refuse {
        last_words: Vec::new(),
        reason: CloseReason::ours(
            CloseCode::ProtocolViolation,
            "a handshake that does not end",
        ),
    }
}

fn refused(error: &rustls::Error) -> HandshakeError {
    HandshakeError::Refused(by_error(error))
}

fn by_error(error: &rustls::Error) -> CloseReason {
    if let rustls::Error::AlertReceived(alert) = error {
        by_alert(*alert)
    } else {
        CloseReason::ours(CloseCode::Unauthenticated, error.to_string())
    }
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
