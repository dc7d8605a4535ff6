//! A peer without manners: it shakes hands over TLS like any other, and then writes whatever bytes a test wants.

// tidy: shared by several test files, each of which uses another part
#![allow(
    dead_code,
    reason = "each test file uses its part of what a rude peer can do"
)]

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use convoke_rpc::identity::{Development, Identity, tls};
use convoke_rpc::{CloseCode, Protocol};
use convoke_types::wire::link::Header;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What a rude peer lets every stream send: more than any test needs.
pub(crate) const WINDOW: u64 = 1 << 30;

/// A connection whose handshake is over, and the TLS over it. Nothing of ours writes or reads frames.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    tls: rustls::ClientConnection,
    /// What came and was not looked at yet.
    come: Vec<u8>,
    /// What a stalled socket did not take yet.
    pub(crate) socket_rest: Vec<u8>,
}

/// A frame that came, with the bytes it announced.
#[derive(Debug)]
pub(crate) struct Come {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
}

/// A connection to `to` from this very address, so that a test can tell who is who on one machine.
pub(crate) async fn connect_from(from: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let socket = socket.connect(to).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

impl Raw {
    /// Shakes hands as a member of the cluster.
    pub(crate) async fn shake(
        to: SocketAddr,
        identity: &Identity,
        cluster: &Development,
    ) -> io::Result<Self> {
        Self::shake_over(connect_from([127, 0, 0, 1], to).await?, identity, cluster).await
    }

    pub(crate) async fn shake_over(
        socket: TcpStream,
        identity: &Identity,
        cluster: &Development,
    ) -> io::Result<Self> {
        let config = tls::client_config(identity, &cluster.trust(), &[Protocol::Rpc.alpn()]);
        let mut tls = rustls::ClientConnection::new(Arc::new(config), tls::server_name(None))
            .map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        let mut raw = Self {
            socket,
            tls,
            come: Vec::new(),
            socket_rest: Vec::new(),
        };
        while raw.tls.is_handshaking() {
            raw.flush().await?;
            if raw.tls.is_handshaking() && !raw.receive().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        raw.flush().await?;
        Ok(raw)
    }

    /// The same, and says hello as every link must.
    pub(crate) async fn greeted(
        to: SocketAddr,
        identity: &Identity,
        cluster: &Development,
    ) -> io::Result<Self> {
        let mut raw = Self::shake(to, identity, cluster).await?;
        raw.write(&hello()).await?;
        Ok(raw)
    }

    /// Writes bytes as the data of a record of their own.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sealed = self.seal(bytes)?;
        self.socket.write_all(&sealed).await
    }

    /// The records that these bytes become, not sent.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.tls.writer().write_all(bytes)?;
        let mut sealed = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut sealed)?;
        }
        Ok(sealed)
    }

    /// The record that asks the peer to take fresh keys into use, as often as its rules allow.
    pub(crate) fn seal_key_update(&mut self) -> io::Result<Vec<u8>> {
        self.tls.refresh_traffic_keys().map_err(io::Error::other)?;
        self.seal(&[])
    }

    /// Goes on with what a stalled socket did not take, as far as it takes it now.
    pub(crate) fn send_rest(&mut self) {
        if let Ok(wrote) = self.socket.try_write(&self.socket_rest) {
            self.socket_rest.drain(..wrote);
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let sealed = self.seal(&[])?;
        self.socket.write_all(&sealed).await
    }

    /// Takes in what the socket has; `false` at its end.
    async fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = vec![0; 64 * 1024];
        let read = self.socket.read(&mut bytes).await?;
        let mut left = &bytes[..read];
        while !left.is_empty() {
            self.tls.read_tls(&mut left)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let filled = self.come.len();
            self.come
                .resize(filled + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut self.come[filled..])?;
        }
        Ok(read > 0)
    }

    /// The next frame, or `None` when the connection ended.
    pub(crate) async fn frame(&mut self) -> io::Result<Option<Come>> {
        loop {
            if let Some(frame) = self.whole_frame() {
                return Ok(Some(frame));
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    fn whole_frame(&mut self) -> Option<Come> {
        let (header, size) = Header::peek(&self.come).expect("a server speaks the protocol")?;
        let length = match header {
            Header::Data { length, .. }
            | Header::Datagram { length }
            | Header::Close { length, .. } => length,
            Header::Hello { .. }
            | Header::Reset { .. }
            | Header::Stop { .. }
            | Header::Done { .. }
            | Header::Credit { .. }
            | Header::Streams { .. }
            | Header::Ping { .. }
            | Header::Pong { .. } => 0,
        };
        let end = size + usize::try_from(length).expect("a frame of a test");
        if self.come.len() < end {
            return None;
        }
        let body = self.come[size..end].to_vec();
        self.come.drain(..end);
        Some(Come { header, body })
    }

    /// Reads until the server says why it ends the link; `None` when it says nothing.
    pub(crate) async fn farewell(&mut self) -> Option<(CloseCode, String)> {
        while let Ok(Some(come)) = self.frame().await {
            if let Header::Close { code, .. } = come.header {
                let code = CloseCode::from_number(u32::try_from(code).expect("a small number"));
                return Some((code, String::from_utf8_lossy(&come.body).into_owned()));
            }
        }
        None
    }
}

/// These frames, one after the other.
pub(crate) fn frames(headers: &[Header]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for header in headers {
        header.put(&mut bytes);
    }
    bytes
}

/// What a link begins with.
pub(crate) fn hello() -> Vec<u8> {
    frames(&[
        Header::Hello { window: WINDOW },
        Header::Streams {
            one_way: false,
            count: 32,
        },
        Header::Streams {
            one_way: true,
            count: 18,
        },
    ])
}

/// Bytes of one stream.
pub(crate) fn data(stream: u64, bytes: &[u8]) -> Vec<u8> {
    let header = Header::Data {
        stream,
        length: bytes.len() as u64,
        last: false,
    };
    [frames(&[header]), bytes.to_vec()].concat()
}
