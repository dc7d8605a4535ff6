//! etcd as Debian packages it, 3.4 or later, talked to over gRPC without TLS, which favours it: nothing is encrypted, neither
//! towards clients nor between its nodes.
//!
//! The messages below are what its `rpc.proto` says, by hand and only as far as they are used, so that building needs no `protoc`.
//!
//! Setting: its defaults for everything that has to do with speed and timing (heartbeat 100 ms, election 1,000 ms, a snapshot of the
//! log every 100,000 entries, fsync before each answer), and a quota of 8 GiB, the largest it recommends, so that no run
//! fills it. Its environment is empty, because etcd takes settings from there, too. It logs errors only.
//!
//! Callers have connections to the leader, so that no write is passed on. The client for failovers goes round the nodes as
//! etcd's own does: every attempt is at the next node, on connections that reconnect by themselves.

use std::{
    convert::Infallible,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::system::{ATTEMPT, GIVE_UP, Layout, System, View};

/// See the head of this file.
#[derive(Debug)]
pub(crate) enum Etcd {}

/// Where Debian's package puts it.
const PROGRAM: &str = "/usr/bin/etcd";
const PACKAGE: &str = "etcd-server";
const QUOTA_BYTES: u64 = 8 << 30;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const MOVE_LEADER: &str = "/etcdserverpb.Maintenance/MoveLeader";
const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";

const DEADLINE: Duration = Duration::from_secs(10);
/// A node that is well answers questions about itself much sooner.
const LOOK: Duration = Duration::from_secs(1);
/// Before the next attempt after one that failed at once, so that a node that is down does not cost a CPU.
const PAUSE: Duration = Duration::from_millis(5);
/// Large enough that a snapshot does not wait for them.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Connections to all nodes, and whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    nodes: Vec<Grpc<Channel>>,
    turn: Arc<AtomicUsize>,
}

impl System for Etcd {
    type Connector = Vec<SocketAddr>;
    type Connection = Grpc<Channel>;
    type Finder = Finder;

    fn prepare(_shared: &Path) -> anyhow::Result<String> {
        if !Path::new(PROGRAM).is_file() {
            install().with_context(|| format!("{PROGRAM} is missing (Debian: {PACKAGE})"))?;
        }
        let output = Command::new(PROGRAM).arg("--version").env_clear().output();
        let output = output.with_context(|| format!("run {PROGRAM}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().context("it does not say its version")?;
        Ok(version.to_owned())
    }

    fn serve(layout: &Layout, node: usize) -> anyhow::Result<Infallible> {
        let error = Command::new(PROGRAM)
            .args(settings(layout, node))
            .env_clear()
            .exec();
        Err(error).with_context(|| format!("become {PROGRAM}"))
    }

    fn connector(layout: &Layout) -> anyhow::Result<Vec<SocketAddr>> {
        Ok(layout.clients.clone())
    }

    async fn view(nodes: &Vec<SocketAddr>, node: usize) -> anyhow::Result<View> {
        let asking = async {
            let mut connection = Self::connect(nodes, node).await?;
            let status: StatusResponse = unary(&mut connection, STATUS, StatusRequest {}).await?;
            let header = status.header.context("an answer without a header")?;
            Ok(View {
                me: header.member_id,
                leader: (status.leader != 0).then_some(status.leader),
                applied: status.raft_applied_index,
            })
        };
        timeout(LOOK, asking).await.context("it did not answer")?
    }

    async fn connect(nodes: &Vec<SocketAddr>, node: usize) -> anyhow::Result<Grpc<Channel>> {
        Ok(Grpc::new(endpoint(nodes[node])?.connect().await?))
    }

    async fn put(
        connection: &mut Grpc<Channel>,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> anyhow::Result<u64> {
        let request = PutRequest {
            key: key.into(),
            value: value.into(),
        };
        let answer: PutResponse = unary(connection, PUT, request).await?;
        let header = answer.header.context("an answer without a header")?;
        u64::try_from(header.revision).context("a revision below zero")
    }

    async fn get(connection: &mut Grpc<Channel>, key: Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
        let key = Bytes::from(key);
        let request = RangeRequest { key: key.clone() };
        let answer: RangeResponse = unary(connection, RANGE, request).await?;
        let Some(item) = answer.kvs.into_iter().next() else {
            return Ok(None);
        };
        anyhow::ensure!(item.key == key, "the answer is about another key");
        Ok(Some(item.value.into()))
    }

    fn finder(nodes: &Vec<SocketAddr>) -> anyhow::Result<Finder> {
        let node = |address: &SocketAddr| {
            let endpoint = endpoint(*address)?.connect_timeout(ATTEMPT);
            Ok(Grpc::new(endpoint.connect_lazy()))
        };
        Ok(Finder {
            nodes: nodes.iter().map(node).collect::<anyhow::Result<_>>()?,
            turn: Arc::default(),
        })
    }

    async fn find_and_put(finder: &Finder, key: Vec<u8>, value: Vec<u8>) -> anyhow::Result<()> {
        let request = PutRequest {
            key: key.into(),
            value: value.into(),
        };
        let until = Instant::now() + GIVE_UP;
        loop {
            let turn = finder.turn.fetch_add(1, Ordering::Relaxed);
            let mut connection = finder.nodes[turn % finder.nodes.len()].clone();
            let attempt = unary::<_, PutResponse>(&mut connection, PUT, request.clone());
            let why = match timeout(ATTEMPT, attempt).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error,
                Err(late) => late.into(),
            };
            anyhow::ensure!(Instant::now() < until, "gave up: {why:#}");
            sleep(PAUSE).await;
        }
    }

    /// Streams it to the driver, which is how etcd is backed up; a follower that is far behind gets the same bytes.
    async fn snapshot(nodes: &Vec<SocketAddr>, node: usize) -> anyhow::Result<u64> {
        let mut connection = Self::connect(nodes, node).await?;
        connection.ready().await?;
        let codec = ProstCodec::<SnapshotRequest, SnapshotResponse>::default();
        let path = PathAndQuery::from_static(SNAPSHOT);
        let request = Request::new(SnapshotRequest {});
        let answer = connection.server_streaming(request, path, codec).await?;
        let mut pieces = answer.into_inner();
        let (mut size, mut remaining) = (0, 0);
        while let Some(piece) = pieces.message().await? {
            size += piece.blob.len() as u64;
            remaining = piece.remaining_bytes;
        }
        anyhow::ensure!(remaining == 0 && size > 0, "the snapshot is not whole");
        Ok(size)
    }

    async fn hand_over(nodes: &Vec<SocketAddr>, leader: usize, to: usize) -> anyhow::Result<()> {
        let target = Self::view(nodes, to).await?.me;
        let mut connection = Self::connect(nodes, leader).await?;
        let request = MoveLeaderRequest { target };
        let _: MoveLeaderResponse = unary(&mut connection, MOVE_LEADER, request).await?;
        Ok(())
    }
}

/// Asks Debian for the package. Only for root, as anybody else cannot.
fn install() -> anyhow::Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "only root can install it"
    );
    eprintln!("etcd: installing Debian's package {PACKAGE}");
    let install = ["install", "-y", "--no-install-recommends", PACKAGE];
    // A machine that was never asked for a package has no lists of them.
    apt_get(&install).or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&install)))
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("run apt-get")?;
    let words = String::from_utf8_lossy(&output.stderr);
    let shown = arguments.join(" ");
    anyhow::ensure!(output.status.success(), "apt-get {shown}: {}", words.trim());
    Ok(())
}

/// The command line of a node.
fn settings(layout: &Layout, node: usize) -> Vec<String> {
    let url = |address: &SocketAddr| format!("http://{address}");
    let (client, peer) = (url(&layout.clients[node]), url(&layout.peers[node]));
    let members = layout.peers.iter().enumerate();
    let members: Vec<String> = members
        .map(|(member, peer)| format!("{}={}", name(member), url(peer)))
        .collect();
    [
        ("--name", name(node)),
        ("--data-dir", layout.data(node).display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer),
        ("--initial-cluster", members.join(",")),
        ("--initial-cluster-state", String::from("new")),
        ("--quota-backend-bytes", QUOTA_BYTES.to_string()),
        ("--logger", String::from("zap")),
        ("--log-level", String::from("error")),
        ("--log-outputs", String::from("stderr")),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

fn name(node: usize) -> String {
    format!("node{node}")
}

fn endpoint(address: SocketAddr) -> anyhow::Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .tcp_nodelay(true))
}

async fn unary<Q, A>(
    connection: &mut Grpc<Channel>,
    path: &'static str,
    question: Q,
) -> anyhow::Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    connection.ready().await?;
    let mut request = Request::new(question);
    request.set_timeout(DEADLINE);
    let path = PathAndQuery::from_static(path);
    let answer = connection.unary(request, path, ProstCodec::<Q, A>::default());
    Ok(answer.await?.into_inner())
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// Without `serializable`, so linearizable.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
    #[prost(uint64, tag = "7")]
    raft_applied_index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MoveLeaderRequest {
    #[prost(uint64, tag = "1")]
    target: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MoveLeaderResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotResponse {
    #[prost(uint64, tag = "2")]
    remaining_bytes: u64,
    #[prost(bytes = "bytes", tag = "3")]
    blob: Bytes,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_node_is_told_of_all_and_listens_at_its_own_places() {
        let layout = Layout::new(Path::new("shared"), Path::new("here")).unwrap();
        let settings = settings(&layout, 1).join(" ");
        for peer in &layout.peers {
            assert!(settings.contains(&format!("=http://{peer}")), "{settings}");
        }
        let own = format!("--listen-client-urls http://{} ", layout.clients[1]);
        assert!(settings.contains(&own), "{settings}");
        assert!(settings.contains("--data-dir here/node1 "), "{settings}");
    }

    #[test]
    fn a_put_is_written_as_etcd_reads_it() {
        let request = PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"vv"),
        };
        assert_eq!(request.encode_to_vec(), b"\x0a\x01k\x12\x02vv");
    }

    #[test]
    fn the_fields_of_a_status_that_nobody_asked_for_are_skipped() {
        // header { cluster_id 1, member_id 2 }, version "3", leader 2, raftIndex 9, raftAppliedIndex 8
        let bytes = b"\x0a\x04\x08\x01\x10\x02\x12\x013\x20\x02\x28\x09\x38\x08";
        let status = StatusResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(status.header.unwrap().member_id, 2);
        assert_eq!((status.leader, status.raft_applied_index), (2, 8));
    }
}
