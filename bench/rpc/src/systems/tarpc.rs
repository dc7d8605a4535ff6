//! tarpc 0.38 over TCP without TLS: the bound that an encrypted system is measured against.
//!
//! Its own macro, its own transport, bincode (the fastest codec it comes with). Its deadline (10 s, sent with every
//! call) is on. It has no server streams.
//!
//! Setting: a one-thread runtime, which does up to three times the calls of two threads under load (one call at a time is
//! the exception: there two threads gain a third). `TCP_NODELAY` is set; the queues between its tasks hold 1024 instead of
//! 100 requests, so that 512 callers fit. The server spawns each handler, as its documentation does; polling them in
//! place saves a tenth with 64 callers and loses a fifth with 512.

use std::net::{IpAddr, SocketAddr};

use futures_util::StreamExt as _;
use tarpc::{
    client, context,
    serde_transport::Transport,
    server::{self, BaseChannel, Channel as _},
    tokio_serde::formats::Bincode,
    tokio_util::codec::LengthDelimitedCodec,
};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    certs::Certs,
    end,
    message::{Message, Order},
    system::System,
};

/// See the head of this file.
#[derive(Debug)]
pub(crate) enum Tarpc {}

#[tarpc::service]
pub(crate) trait Bench {
    async fn echo(message: Message) -> Message;
    async fn echo_await(message: Message) -> Message;
}

/// Requests between the tasks of a connection.
const QUEUE: usize = 1024;

impl System for Tarpc {
    type Connector = ();
    type Client = BenchClient;

    async fn serve(_certs: &Certs, at: IpAddr) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind((at, 0)).await?;
        let address = listener.local_addr()?;
        end::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if socket.set_nodelay(true).is_ok() {
                    end::spawn(serve_connection(socket));
                }
            }
        });
        Ok(address)
    }

    fn connector(_certs: &Certs, _from: IpAddr) -> anyhow::Result<()> {
        Ok(())
    }

    async fn connect((): &(), server: SocketAddr) -> anyhow::Result<BenchClient> {
        let socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let mut config = client::Config::default();
        config.pending_request_buffer = QUEUE;
        Ok(BenchClient::new(config, transport(socket)).spawn())
    }

    async fn echo(client: &mut BenchClient, message: Message) -> anyhow::Result<Message> {
        Ok(client.echo(context::current(), message).await?)
    }

    async fn echo_await(client: &mut BenchClient, message: Message) -> anyhow::Result<Message> {
        Ok(client.echo_await(context::current(), message).await?)
    }

    async fn stream(_client: &mut BenchClient, _order: Order) -> anyhow::Result<()> {
        anyhow::bail!("tarpc has no server streams")
    }
}

#[derive(Clone)]
struct Answering;

impl Bench for Answering {
    async fn echo(self, _: context::Context, message: Message) -> Message {
        message
    }

    async fn echo_await(self, _: context::Context, message: Message) -> Message {
        tokio::task::yield_now().await;
        message
    }
}

async fn serve_connection(socket: TcpStream) {
    let config = server::Config {
        pending_response_buffer: QUEUE,
    };
    BaseChannel::new(config, transport(socket))
        .execute(Answering.serve())
        .for_each(async |handling| end::spawn(handling))
        .await;
}

fn transport<Item, SinkItem>(
    socket: TcpStream,
) -> Transport<TcpStream, Item, SinkItem, Bincode<Item, SinkItem>>
where
    Item: for<'de> serde::Deserialize<'de>,
    SinkItem: serde::Serialize,
{
    tarpc::serde_transport::new(
        LengthDelimitedCodec::builder().new_framed(socket),
        Bincode::default(),
    )
}
