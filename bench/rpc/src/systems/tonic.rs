//! tonic 0.14 over TLS: gRPC on HTTP/2, protobuf, the way most people make calls today.
//!
//! The client and the server below are what its generator writes for this service, by hand, so that building needs no
//! `protoc`: a boxed future per handler, the router in front, prost with bodies as `Bytes`. Every call carries a
//! deadline (`grpc-timeout`, 10 s), which both ends keep. Both ends' certificates are checked.
//!
//! Setting: a one-thread runtime, which does up to twice the calls and streams of two threads under load. HTTP/2 windows of
//! 4 and 16 MiB and frames of 1 MiB, so that a stream never waits for a window; 4096 streams, so that 512 callers fit
//! (the default of 200 would make them queue); no adaptive window, which would undo the windows.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::Grpc as ClientGrpc,
    codegen::{Service, http, http::uri::PathAndQuery},
    server::{Grpc as ServerGrpc, NamedService},
    transport::{
        Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
        server::TcpIncoming,
    },
};
use tonic_prost::ProstCodec;

use crate::{
    certs::{Certs, End, SERVER_NAME},
    end,
    message::{Message, Order, Tally, items},
    system::System,
};

/// See the head of this file.
#[derive(Debug)]
pub(crate) enum Tonic {}

const ECHO: &str = "/bench.Bench/Echo";
const ECHO_AWAIT: &str = "/bench.Bench/EchoAwait";
const STREAM: &str = "/bench.Bench/Stream";

const DEADLINE: Duration = Duration::from_secs(10);
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const FRAME_BYTES: u32 = 1024 * 1024;
/// By default a message may have 4 MiB at most, and the large ones of the paced calls are a little more.
const MESSAGE_BYTES: usize = 16 << 20;

impl System for Tonic {
    type Connector = ClientTlsConfig;
    type Client = ClientGrpc<Channel>;

    async fn serve(certs: &Certs, at: IpAddr) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind((at, 0)).await?;
        let address = listener.local_addr()?;
        let tls = ServerTlsConfig::new()
            .identity(identity(certs, End::Server)?)
            .client_ca_root(authority(certs)?);
        let serving = Server::builder()
            .tls_config(tls)?
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_streams(4096)
            .add_service(Bench)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        end::spawn(serving);
        Ok(address)
    }

    fn connector(certs: &Certs, _from: IpAddr) -> anyhow::Result<ClientTlsConfig> {
        Ok(ClientTlsConfig::new()
            .identity(identity(certs, End::Client)?)
            .ca_certificate(authority(certs)?)
            .domain_name(SERVER_NAME))
    }

    async fn connect(
        tls: &ClientTlsConfig,
        server: SocketAddr,
    ) -> anyhow::Result<ClientGrpc<Channel>> {
        let channel = Endpoint::from_shared(format!("https://{server}"))?
            .tls_config(tls.clone())?
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(ClientGrpc::new(channel).max_decoding_message_size(MESSAGE_BYTES))
    }

    async fn echo(client: &mut ClientGrpc<Channel>, message: Message) -> anyhow::Result<Message> {
        unary(client, ECHO, message).await
    }

    async fn echo_await(
        client: &mut ClientGrpc<Channel>,
        message: Message,
    ) -> anyhow::Result<Message> {
        unary(client, ECHO_AWAIT, message).await
    }

    async fn stream(client: &mut ClientGrpc<Channel>, order: Order) -> anyhow::Result<()> {
        client.ready().await?;
        let codec = ProstCodec::<Order, Message>::default();
        let path = PathAndQuery::from_static(STREAM);
        let request = Request::new(order);
        let mut items = client
            .server_streaming(request, path, codec)
            .await?
            .into_inner();
        let mut tally = Tally::of(order);
        while let Some(item) = items.message().await? {
            tally.take(&item)?;
        }
        tally.finish()
    }
}

async fn unary(
    client: &mut ClientGrpc<Channel>,
    path: &'static str,
    message: Message,
) -> anyhow::Result<Message> {
    client.ready().await?;
    let codec = ProstCodec::<Message, Message>::default();
    let path = PathAndQuery::from_static(path);
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    Ok(client.unary(request, path, codec).await?.into_inner())
}

fn authority(certs: &Certs) -> anyhow::Result<Certificate> {
    Ok(Certificate::from_pem(std::fs::read(certs.authority())?))
}

fn identity(certs: &Certs, end: End) -> anyhow::Result<Identity> {
    let certificate = std::fs::read(certs.certificate(end))?;
    let key = std::fs::read(certs.key(end))?;
    Ok(Identity::from_pem(certificate, key))
}

/// The service as the router sees it.
#[derive(Clone, Debug)]
struct Bench;

impl NamedService for Bench {
    const NAME: &'static str = "bench.Bench";
}

impl Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            ECHO => Box::pin(async move {
                let codec = ProstCodec::<Message, Message>::default();
                Ok(ServerGrpc::new(codec)
                    .max_decoding_message_size(MESSAGE_BYTES)
                    .unary(Echo, request)
                    .await)
            }),
            ECHO_AWAIT => Box::pin(async move {
                let codec = ProstCodec::<Message, Message>::default();
                Ok(ServerGrpc::new(codec).unary(EchoAwait, request).await)
            }),
            STREAM => Box::pin(async move {
                let codec = ProstCodec::<Message, Order>::default();
                Ok(ServerGrpc::new(codec)
                    .server_streaming(Stream, request)
                    .await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

/// The handler of `Echo`, as the generator wraps it.
struct Echo;
/// The handler of `EchoAwait`.
struct EchoAwait;
/// The handler of `Stream`.
struct Stream;

impl Service<Request<Message>> for Echo {
    type Response = Response<Message>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

impl Service<Request<Message>> for EchoAwait {
    type Response = Response<Message>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(Response::new(request.into_inner()))
        })
    }
}

impl Service<Request<Order>> for Stream {
    type Response = Response<BoxStream<'static, Result<Message, Status>>>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Order>) -> Self::Future {
        Box::pin(async move {
            let items = items(request.into_inner()).map(Ok);
            Ok(Response::new(stream::iter(items).boxed()))
        })
    }
}
