//! rpcnet 0.1.0: QUIC (s2n-quic, s2n-tls), a stream per call, bincode.
//!
//! Typed as its generator writes it: `register_typed` on the server, bincode around `call` on the client, bincode per
//! item of a stream. Its QUIC limits, its 30 s deadline and its framing are constants of the library; nothing there can
//! be set.
//!
//! Setting: a one-thread runtime. Every call goes through a lock, a mutex and several tasks, so a second thread mostly
//! waits: with two, it does half as many calls or fewer. Keep-alive is on, as it is by default. The server's certificate is
//! checked; it cannot check the client's. The feature `perf` only adds an allocator that the library never uses, so it
//! is off.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _, stream};
use rpcnet::{RpcClient, RpcConfig, RpcError, RpcServer};

use crate::{
    certs::{Certs, End, SERVER_NAME},
    end,
    message::{Message, Order, Tally, items},
    system::System,
};

/// See the head of this file.
#[derive(Debug)]
pub(crate) enum Rpcnet {}

fn any_port(at: IpAddr) -> String {
    SocketAddr::new(at, 0).to_string()
}

impl System for Rpcnet {
    type Connector = RpcConfig;
    type Client = Arc<RpcClient>;

    async fn serve(certs: &Certs, at: IpAddr) -> anyhow::Result<SocketAddr> {
        let config = RpcConfig::new(certs.certificate(End::Server), any_port(at))
            .with_key_path(certs.key(End::Server));
        let mut server = RpcServer::new(config);
        server
            .register_typed("Bench.echo", async |message: Message| Ok(message))
            .await;
        server
            .register_typed("Bench.echo_await", async |message: Message| {
                tokio::task::yield_now().await;
                Ok(message)
            })
            .await;
        server.register_streaming("Bench.stream", answer).await;

        let endpoint = server.bind()?;
        let address = server.socket_addr.context("rpcnet says where it listens")?;
        end::spawn(async move { server.start(endpoint).await });
        Ok(address)
    }

    fn connector(certs: &Certs, from: IpAddr) -> anyhow::Result<RpcConfig> {
        Ok(RpcConfig::new(certs.authority(), any_port(from))
            .with_server_name(SERVER_NAME)
            // The limit per item; the default of 3 s would end a stream on a machine that is busy with other things.
            .with_default_stream_timeout(Duration::from_secs(30)))
    }

    async fn connect(config: &RpcConfig, server: SocketAddr) -> anyhow::Result<Arc<RpcClient>> {
        Ok(Arc::new(RpcClient::connect(server, config.clone()).await?))
    }

    async fn echo(client: &mut Arc<RpcClient>, message: Message) -> anyhow::Result<Message> {
        unary(client, "Bench.echo", message).await
    }

    async fn echo_await(client: &mut Arc<RpcClient>, message: Message) -> anyhow::Result<Message> {
        unary(client, "Bench.echo_await", message).await
    }

    async fn stream(client: &mut Arc<RpcClient>, order: Order) -> anyhow::Result<()> {
        let items = client
            .call_server_streaming("Bench.stream", bincode::serialize(&order)?)
            .await?;
        let mut items = std::pin::pin!(items);
        let mut tally = Tally::of(order);
        while let Some(item) = items.next().await {
            let bytes = item.map_err(|error| anyhow::anyhow!("rpcnet stream: {error:?}"))?;
            tally.take(&bincode::deserialize(&bytes)?)?;
        }
        tally.finish()
    }
}

async fn unary(client: &RpcClient, method: &str, message: Message) -> anyhow::Result<Message> {
    let answer = client.call(method, bincode::serialize(&message)?).await?;
    Ok(bincode::deserialize(&answer)?)
}

/// Reads one order from the request stream and answers with its items.
async fn answer(
    requests: impl Stream<Item = Vec<u8>> + Send,
) -> impl Stream<Item = Result<Vec<u8>, RpcError>> + Send + 'static {
    let mut requests = std::pin::pin!(requests);
    let order = match requests.next().await {
        Some(bytes) => bincode::deserialize(&bytes).map_err(RpcError::from),
        None => Err(RpcError::StreamError(String::from("no order came"))),
    };
    match order {
        Ok(order) => stream::iter(items(order))
            .map(|item| bincode::serialize(&item).map_err(RpcError::from))
            .left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    }
}
