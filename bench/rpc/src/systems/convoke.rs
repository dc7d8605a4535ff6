//! Convoke over each of its carriers: calls of many callers on one lane, its own codec, certificates of both ends checked
//! against the cluster's issuers.
//!
//! The service is written as every user writes one. Every call carries the default deadline and passes admission, roles
//! and the limits of memory and running calls; nothing that is on by default is off here. Items of a stream travel on a
//! stream of their own.
//!
//! Setting: a one-thread runtime and the default limits, except that one node may open as many links as the idle case
//! has (by default 64, since the links of one node are usually one). All links of a process share one endpoint. `convoke` is
//! what a caller gets who asks for nothing, on loopback TLS over TCP; the endpoints offer both carriers. For `convoke-quic` they
//! offer QUIC alone, for `convoke-tcp` the other alone.

use std::{
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
};

use anyhow::Context as _;

use convoke_rpc::{
    CarrierKind, Carriers, Channel, ChannelConfig, Endpoint, Limits, NoError, RoleSet, Server,
    Streaming, identity::Development,
};

use crate::{
    certs::Certs,
    end,
    message::{Message, Order, Tally, items},
    spin,
    system::System,
};

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Convoke<C>(PhantomData<C>);

/// What carries the links.
pub(crate) trait Choice: 'static {
    /// What the endpoints offer.
    const OFFERED: Carriers;
    /// What must come of it on loopback, or the figures would have the wrong name.
    const EXPECTED_NEARBY: CarrierKind;
}

/// What a caller gets who asks for nothing.
#[derive(Debug)]
pub(crate) enum Default {}

impl Choice for Default {
    const OFFERED: Carriers = Carriers::Both;
    const EXPECTED_NEARBY: CarrierKind = CarrierKind::Tcp;
}

/// TLS over TCP alone.
#[derive(Debug)]
pub(crate) enum Tcp {}

impl Choice for Tcp {
    const OFFERED: Carriers = Carriers::Tcp;
    const EXPECTED_NEARBY: CarrierKind = CarrierKind::Tcp;
}

/// QUIC alone.
#[derive(Debug)]
pub(crate) enum Quic {}

impl Choice for Quic {
    const OFFERED: Carriers = Carriers::Quic;
    const EXPECTED_NEARBY: CarrierKind = CarrierKind::Quic;
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

/// An open connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    calls: BenchClient,
    carrier: CarrierKind,
}

struct Answering;

impl Bench for Answering {
    async fn echo(&self, message: Message) -> Result<Message, NoError> {
        spin::active();
        Ok(message)
    }

    async fn echo_await(&self, message: Message) -> Result<Message, NoError> {
        spin::active();
        tokio::task::yield_now().await;
        Ok(message)
    }

    async fn items(&self, order: Order) -> Result<Streaming<Message>, NoError> {
        Ok(Streaming::from_iter(items(order)))
    }
}

impl<C: Choice> System for Convoke<C> {
    type Connector = Endpoint;
    type Client = Client;

    fn prepare(certs: &Certs) -> anyhow::Result<()> {
        cluster(certs).map(drop)
    }

    async fn serve(certs: &Certs, at: IpAddr) -> anyhow::Result<SocketAddr> {
        let endpoint = endpoint::<C>(certs, at)?;
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

    fn connector(certs: &Certs, from: IpAddr) -> anyhow::Result<Endpoint> {
        endpoint::<C>(certs, from)
    }

    async fn connect(endpoint: &Endpoint, server: SocketAddr) -> anyhow::Result<Client> {
        let channel = Channel::new(endpoint, server, ChannelConfig::default());
        channel.connect().await?;
        let carrier = channel.carrier().context("the link is gone already")?;
        let expected = C::EXPECTED_NEARBY;
        anyhow::ensure!(
            carrier == expected || !server.ip().is_loopback(),
            "the link came up over {carrier} instead of {expected}"
        );
        Ok(Client {
            calls: BenchClient::new(channel),
            carrier,
        })
    }

    fn remark(client: &Client) -> Option<(&'static str, f64)> {
        let over_quic = client.carrier == CarrierKind::Quic;
        Some(("over_quic", f64::from(u8::from(over_quic))))
    }

    async fn echo(client: &mut Client, message: Message) -> anyhow::Result<Message> {
        Ok(client.calls.echo(&message).await?)
    }

    async fn echo_await(client: &mut Client, message: Message) -> anyhow::Result<Message> {
        Ok(client.calls.echo_await(&message).await?)
    }

    async fn stream(client: &mut Client, order: Order) -> anyhow::Result<()> {
        let mut items = client.calls.items(&order).await?;
        let mut tally = Tally::of(order);
        while let Some(item) = items.next().await {
            tally.take(&item?)?;
        }
        tally.finish()
    }
}

/// A node of this run's cluster on a free port.
fn endpoint<C: Choice>(certs: &Certs, at: IpAddr) -> anyhow::Result<Endpoint> {
    let cluster = cluster(certs)?;
    let limits = Limits {
        connections_per_peer: 2048,
        ..Limits::default()
    };
    let address = SocketAddr::new(at, 0);
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
