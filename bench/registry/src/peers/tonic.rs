//! Balancing over tonic's channels, by tonic and by tower.
//!
//! - `tonic`: `Channel::balance_list`. It is tower's power of two choices with a load that is always 0, so each call goes to one that is drawn,
//!   whatever becomes of it: people call it round robin, and it is random.
//! - `tower-p2c-peak-ewma`: the same two choices with [`PeakEwma`] around each channel, tower's defaults where it has any (a decay of 10 s; a
//!   second for whoever was not asked yet), behind a `Buffer`, without which 64 clients cannot share it.
//!
//! Without TLS, which favours them a little. The workers do what ours do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::client::{Grpc as ClientGrpc, GrpcService};
use tonic::codegen::{Body as HttpBody, Bytes, StdError, http, http::uri::PathAndQuery};
use tonic::server::{Grpc as ServerGrpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma};

use crate::Values;
use crate::inside::{CLIENTS, SLOW, WORK, WORKERS, closed_loop};

const METHOD: &str = "/bench.Work/Work";
/// As in tower's own example and in Finagle, where it is from.
const DECAY: Duration = Duration::from_secs(10);
const UNASKED: Duration = Duration::from_secs(1);

/// Who balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Tonic,
    Tower,
}

impl Peer {
    /// The one that is measured beside this strategy of ours.
    pub(crate) fn beside(strategy: &str) -> Option<Self> {
        match strategy {
            "round-robin" => Some(Self::Tonic),
            "power-of-two" => Some(Self::Tower),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tonic => "tonic",
            Self::Tower => "tower-p2c-peak-ewma",
        }
    }
}

pub(crate) async fn slow_worker(peer: Peer, time: Duration) -> anyhow::Result<Values> {
    let mut workers = JoinSet::new();
    let mut endpoints = Vec::new();
    for number in 0..WORKERS {
        let takes = if number == 0 { SLOW } else { WORK };
        endpoints.push(serve(takes, &mut workers).await?);
    }
    match peer {
        Peer::Tonic => measure(Channel::balance_list(endpoints.into_iter()), time).await,
        Peer::Tower => {
            let mut channels = Vec::new();
            for endpoint in endpoints {
                let (channel, track) = (endpoint.connect().await?, CompleteOnResponse::default());
                let decay = DECAY.as_nanos() as f64;
                channels.push(PeakEwma::new(channel, UNASKED, decay, track));
            }
            let list = ServiceList::new::<http::Request<Body>>(channels);
            measure(Buffer::new(Balance::new(list), CLIENTS * 2), time).await
        }
    }
}

async fn serve(takes: Duration, workers: &mut JoinSet<()>) -> anyhow::Result<Endpoint> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .add_service(Work { takes })
        .serve_with_incoming(incoming);
    workers.spawn(async move {
        if let Err(error) = serving.await {
            eprintln!("a worker of tonic ended: {error}");
        }
    });
    Ok(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true))
}

async fn measure<S>(service: S, time: Duration) -> anyhow::Result<Values>
where
    S: GrpcService<Body> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let client = ClientGrpc::new(service);
    closed_loop(time, move |number: u64| {
        let mut client = client.clone();
        async move {
            let ready = client.ready().await;
            ready.map_err(|error| anyhow::anyhow!("get ready: {}", error.into()))?;
            let codec = ProstCodec::<u64, u64>::default();
            let path = PathAndQuery::from_static(METHOD);
            let answer = client.unary(Request::new(number), path, codec).await?;
            anyhow::ensure!(answer.into_inner() == number, "another answer");
            Ok(())
        }
    })
    .await
}

/// The service as the router sees it.
#[derive(Clone, Debug)]
struct Work {
    takes: Duration,
}

impl NamedService for Work {
    const NAME: &'static str = "bench.Work";
}

impl Service<http::Request<Body>> for Work {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<u64, u64>::default();
            Ok(ServerGrpc::new(codec).unary(handler, request).await)
        })
    }
}

impl UnaryService<u64> for Work {
    type Response = u64;
    type Future = BoxFuture<'static, Result<Response<u64>, Status>>;

    fn call(&mut self, request: Request<u64>) -> Self::Future {
        let takes = self.takes;
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            Ok(Response::new(request.into_inner()))
        })
    }
}
