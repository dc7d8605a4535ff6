//! Convoke over each of its carriers: calls of many callers on one lane, its own codec, certificates of both ends checked
//! against the cluster's issuers.
//!
//! The service is written as every user writes one. Every call carries the default deadline and passes admission, roles
//! and the limits of memory and running calls; nothing that is on by default is off here. Items of a stream travel on a
//! stream of their own.
//!
//! Setting: a one-thread runtime and the default limits, except that one node may open as many links as the idle case
//! has (by default 64, since the links of one node are usually one). All links of a process share one endpoint. `convoke` is
//! what a caller on a path like this one gets who asks for nothing, TLS over TCP; the endpoints offer both carriers. For
//! `convoke-quic` they offer QUIC alone.

use std::{marker::PhantomData, net::SocketAddr};

use convoke_rpc::{
    CarrierKind, Carriers, Channel, ChannelConfig, Endpoint, Limits, NoError, RoleSet, Server,
    Streaming, identity::Development,
};

use crate::{
    certs::Certs,
    end,
    message::{Message, Order, Tally, items},
    system::System,
};

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Convoke<C>(PhantomData<C>);

/// What carries the links.
pub(crate) trait Choice: 'static {
    /// What the endpoints offer.
    const OFFERED: Carriers;
    /// What must come of it, or the figures would have the wrong name.
    const EXPECTED: CarrierKind;
}

/// What a caller gets who asks for nothing.
#[derive(Debug)]
pub(crate) enum Default {}

impl Choice for Default {
    const OFFERED: Carriers = Carriers::Both;
    const EXPECTED: CarrierKind = CarrierKind::Tcp;
}

/// QUIC alone.
#[derive(Debug)]
pub(crate) enum Quic {}

impl Choice for Quic {
    const OFFERED: Carriers = Carriers::Quic;
    const EXPECTED: CarrierKind = CarrierKind::Quic;
}

/// What is measured.
#[convoke_rpc::service]
pub(crate) trait Bench {
    /// Answers with the request.
    async fn echo(&self, message: Message) -> Result<Message, NoError>;
    /// Answers with the request after it has yielded once.
    async fn echo_await(&self, message: Message) -> Result<Message, NoError>;
    /// Answers with the items of an order.
    async fn items(&self, order: Order) -> Result<Streaming<Message>, NoError>;
}

struct Answering;

impl Bench for Answering {
    async fn echo(&self, message: Message) -> Result<Message, NoError> {
        Ok(message)
    }

    async fn echo_await(&self, message: Message) -> Result<Message, NoError> {
        tokio::task::yield_now().await;
        Ok(message)
    }

    async fn items(&self, order: Order) -> Result<Streaming<Message>, NoError> {
        Ok(Streaming::from_iter(items(order)))
    }
}

impl<C: Choice> System for Convoke<C> {
    type Connector = Endpoint;
    type Client = BenchClient;

    fn prepare(certs: &Certs) -> anyhow::Result<()> {
        cluster(certs).map(drop)
    }

    async fn serve(certs: &Certs) -> anyhow::Result<SocketAddr> {
        let endpoint = endpoint::<C>(certs)?;
        let address = endpoint.local_address()?;
        let server = Server::builder()
            .service(BenchServer::new(Answering))
            .serve(&endpoint)?;
        end::spawn(async move {
            // A server stops when it is dropped.
            let _serving = server;
            std::future::pending::<()>().await;
        });
        Ok(address)
    }

    fn connector(certs: &Certs) -> anyhow::Result<Endpoint> {
        endpoint::<C>(certs)
    }

    async fn connect(endpoint: &Endpoint, server: SocketAddr) -> anyhow::Result<BenchClient> {
        let channel = Channel::new(endpoint, server, ChannelConfig::default());
        channel.connect().await?;
        let carrier = channel.carrier();
        anyhow::ensure!(
            carrier == Some(C::EXPECTED),
            "the link came up over {carrier:?}"
        );
        Ok(BenchClient::new(channel))
    }

    async fn echo(client: &mut BenchClient, message: Message) -> anyhow::Result<Message> {
        Ok(client.echo(&message).await?)
    }

    async fn echo_await(client: &mut BenchClient, message: Message) -> anyhow::Result<Message> {
        Ok(client.echo_await(&message).await?)
    }

    async fn stream(client: &mut BenchClient, order: Order) -> anyhow::Result<()> {
        let mut items = client.items(&order).await?;
        let mut tally = Tally::of(order);
        while let Some(item) = items.next().await {
            tally.take(&item?)?;
        }
        tally.finish()
    }
}

/// A node of this run's cluster on a free port.
fn endpoint<C: Choice>(certs: &Certs) -> anyhow::Result<Endpoint> {
    let cluster = cluster(certs)?;
    let limits = Limits {
        connections_per_peer: 2048,
        ..Limits::default()
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let identity = cluster.identity(RoleSet::ALL);
    let trust = cluster.trust();
    Ok(Endpoint::bind_with(
        C::OFFERED,
        address,
        identity,
        trust,
        limits,
    )?)
}

fn cluster(certs: &Certs) -> anyhow::Result<Development> {
    Ok(Development::in_dir(certs.directory().join("convoke"))?)
}
