//! Bare quinn 0.11: what QUIC costs when every call has a stream of its own and nothing else is on top.
//!
//! A request is a method byte and a message, the answer a message; the end of the stream ends both. Messages are in
//! postcard, the leanest serde format at hand. Items of a stream have a `u32` length each and are written in batches of
//! 64 KiB. There are no deadlines, as QUIC knows none. Both ends' certificates are checked.
//!
//! Setting: a one-thread runtime, which does two to four times the calls of two threads (a connection is one mutex that
//! both fight for). Windows are as large as a stream needs to never wait for them and the sockets' buffers as large as the
//! kernel allows, up to 4 MiB, so that a burst is not lost before it is read. All connections of a process share one
//! endpoint. The rest is the default: BBR, larger initial windows, fewer acknowledgements and a shorter initial round
//! trip gained nothing here.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::server::WebPkiClientVerifier;
use serde::{Serialize, de::DeserializeOwned};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    certs::{Certs, End, SERVER_NAME},
    end,
    message::{Message, Order, Tally, items},
    system::System,
};

/// See the head of this file.
#[derive(Debug)]
pub(crate) enum Quinn {}

const ECHO: u8 = 0;
const ECHO_AWAIT: u8 = 1;
const STREAM: u8 = 2;

const ALPN: &[u8] = b"bench";
/// A batch of stream items.
const BATCH_BYTES: usize = 64 * 1024;
/// No message is larger.
const LARGEST_BYTES: usize = 4 * 1024 * 1024;
/// Twice what the largest case has in flight, so that none waits for the credit of an ended stream.
const CALLS_PER_CONNECTION: u32 = 1024;
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

impl System for Quinn {
    type Connector = Endpoint;
    type Client = Connection;

    async fn serve(certs: &Certs, at: IpAddr) -> anyhow::Result<SocketAddr> {
        let endpoint = endpoint(at, Some(server_config(certs)?))?;
        let address = endpoint.local_addr()?;
        end::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                end::spawn(async move { serve_connection(incoming.await?).await });
            }
        });
        Ok(address)
    }

    fn connector(certs: &Certs, from: IpAddr) -> anyhow::Result<Endpoint> {
        let mut endpoint = endpoint(from, None)?;
        endpoint.set_default_client_config(client_config(certs)?);
        Ok(endpoint)
    }

    async fn connect(endpoint: &Endpoint, server: SocketAddr) -> anyhow::Result<Connection> {
        Ok(endpoint.connect(server, SERVER_NAME)?.await?)
    }

    async fn echo(connection: &mut Connection, message: Message) -> anyhow::Result<Message> {
        unary(connection, ECHO, &message).await
    }

    async fn echo_await(connection: &mut Connection, message: Message) -> anyhow::Result<Message> {
        unary(connection, ECHO_AWAIT, &message).await
    }

    async fn stream(connection: &mut Connection, order: Order) -> anyhow::Result<()> {
        let mut answers = request(connection, STREAM, &order, 32).await?;
        let mut received = BytesMut::new();
        let mut tally = Tally::of(order);
        while let Some(chunk) = answers.read_chunk(LARGEST_BYTES, true).await? {
            received.extend_from_slice(&chunk.bytes);
            while let Some(frame) = next_frame(&mut received) {
                tally.take(&decode(&frame)?)?;
            }
        }
        tally.finish()
    }
}

async fn unary(connection: &Connection, method: u8, message: &Message) -> anyhow::Result<Message> {
    let mut answer = request(connection, method, message, message.body.len()).await?;
    decode(&answer.read_to_end(LARGEST_BYTES).await?)
}

/// Opens a stream and sends a whole request on it.
async fn request<T: Serialize + Sync>(
    connection: &Connection,
    method: u8,
    request: &T,
    size_hint: usize,
) -> anyhow::Result<RecvStream> {
    let (mut sending, receiving) = connection.open_bi().await?;
    let bytes = encode(&(method, request), size_hint)?;
    sending.write_chunk(bytes).await?;
    sending.finish()?;
    Ok(receiving)
}

async fn serve_connection(connection: Connection) -> anyhow::Result<()> {
    loop {
        let (sending, receiving) = connection.accept_bi().await?;
        end::spawn(serve_call(sending, receiving));
    }
}

async fn serve_call(mut sending: SendStream, mut receiving: RecvStream) -> anyhow::Result<()> {
    let request = receiving.read_to_end(LARGEST_BYTES).await?;
    let (method, body) = request.split_first().context("the request is empty")?;
    match *method {
        ECHO => answer(&mut sending, decode(body)?).await?,
        ECHO_AWAIT => {
            let message = decode(body)?;
            tokio::task::yield_now().await;
            answer(&mut sending, message).await?;
        }
        STREAM => answer_stream(&mut sending, decode(body)?).await?,
        other => anyhow::bail!("there is no method {other}"),
    }
    sending.finish()?;
    Ok(())
}

async fn answer(sending: &mut SendStream, message: Message) -> anyhow::Result<()> {
    let bytes = encode(&message, message.body.len())?;
    Ok(sending.write_chunk(bytes).await?)
}

async fn answer_stream(sending: &mut SendStream, order: Order) -> anyhow::Result<()> {
    let mut batch = Vec::with_capacity(2 * BATCH_BYTES);
    for item in items(order) {
        append_frame(&mut batch, &item)?;
        if batch.len() >= BATCH_BYTES {
            let full = mem::replace(&mut batch, Vec::with_capacity(2 * BATCH_BYTES));
            sending.write_chunk(Bytes::from(full)).await?;
        }
    }
    Ok(sending.write_chunk(Bytes::from(batch)).await?)
}

fn append_frame(batch: &mut Vec<u8>, item: &Message) -> anyhow::Result<()> {
    let head = batch.len();
    batch.extend_from_slice(&[0; 4]);
    *batch = postcard::to_extend(item, mem::take(batch))?;
    let length = u32::try_from(batch.len() - head - 4).context("an item is larger than a frame")?;
    batch[head..head + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Takes a whole frame off the front, if there is one.
fn next_frame(received: &mut BytesMut) -> Option<BytesMut> {
    let head = received.first_chunk::<4>()?;
    let length = u32::from_le_bytes(*head) as usize;
    if received.len() < 4 + length {
        return None;
    }
    received.advance(4);
    Some(received.split_to(length))
}

/// One allocation: the body, and room for a method, a number and a length.
fn encode<T: Serialize>(value: &T, size_hint: usize) -> anyhow::Result<Bytes> {
    let bytes = postcard::to_extend(value, Vec::with_capacity(size_hint + 24))?;
    Ok(Bytes::from(bytes))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    Ok(postcard::from_bytes(bytes)?)
}

fn endpoint(at: IpAddr, server: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel takes what it allows of it.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&SocketAddr::new(at, 0).into())?;
    let runtime = Arc::new(TokioRuntime);
    Ok(Endpoint::new(
        EndpointConfig::default(),
        server,
        socket.into(),
        runtime,
    )?)
}

fn server_config(certs: &Certs) -> anyhow::Result<ServerConfig> {
    let (chain, key) = certs.credential(End::Server)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(certs.roots()?)).build()?;
    let mut tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport_config(CALLS_PER_CONNECTION));
    Ok(config)
}

fn client_config(certs: &Certs) -> anyhow::Result<ClientConfig> {
    let (chain, key) = certs.credential(End::Client)?;
    let mut tls = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(certs.roots()?)
        .with_client_auth_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport_config(0));
    Ok(config)
}

/// `streams`: how many the other end may have open at once.
fn transport_config(streams: u32) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .keep_alive_interval(Some(Duration::from_secs(10)));
    Arc::new(transport)
}
