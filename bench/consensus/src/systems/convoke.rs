//! Convoke's decided state: the log on three nodes, over TLS towards clients and between nodes, every caller known by its certificate.
//!
//! Setting: the defaults of the log (heartbeat 50 ms, lease 350 ms, a snapshot every 200,000 entries, sync before each answer),
//! a runtime of one thread for each node beside the thread that writes its log. Links are over TCP, as they are on a LAN.
//!
//! Callers talk to the leader through the client that users have, with sessions, so that every write is carried out once. The client
//! for failovers is the same one, knowing all three nodes.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use convoke_consensus::{
    host::{HostSettings, LogNode},
    log::LogId,
};
use convoke_rpc::{
    CallOptions, Carriers, Channel, ChannelConfig, Endpoint, Limits, Server, Target,
    identity::{Development, Identity, NodeKey},
};
use convoke_store::{KeeperClient, Store, StoreConfig};
use convoke_types::RoleSet;

use crate::system::{ATTEMPT, GIVE_UP, Layout, NODES, System, View};

/// See the head of this file.
#[derive(Debug)]
pub(crate) enum Convoke {}

const CLUSTER: &str = "cluster";
/// A node that is well answers questions about itself much sooner.
const LOOK: Duration = Duration::from_secs(1);
/// Until the other nodes listen.
const FOUND_AGAIN: Duration = Duration::from_millis(20);

/// The driver's own place in the cluster.
#[derive(Debug)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    nodes: Vec<SocketAddr>,
    looks: Vec<KeeperClient>,
}

impl System for Convoke {
    type Connector = Connector;
    type Connection = Store;
    type Finder = Store;

    fn prepare(shared: &Path) -> anyhow::Result<String> {
        Development::in_dir(shared.join(CLUSTER)).context("make the issuer of a cluster")?;
        Ok(format!("Convoke {}", env!("CARGO_PKG_VERSION")))
    }

    fn serve(layout: &Layout, node: usize) -> anyhow::Result<Infallible> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(serve(layout, node))
    }

    fn connector(layout: &Layout) -> anyhow::Result<Connector> {
        let development = Development::in_dir(layout.shared.join(CLUSTER))?;
        // Nodes are on loopback or in a site.
        let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let identity = development.identity(RoleSet::ALL);
        let trust = development.trust();
        let endpoint = Endpoint::bind(anywhere, identity, trust, Limits::default())?;
        let look = |address: &SocketAddr| {
            let target = Target::from(*address);
            KeeperClient::new(Channel::new(&endpoint, target, ChannelConfig::default()))
        };
        Ok(Connector {
            looks: layout.clients.iter().map(look).collect(),
            nodes: layout.clients.clone(),
            endpoint,
        })
    }

    async fn view(connector: &Connector, node: usize) -> anyhow::Result<View> {
        let options = CallOptions::new().timeout(LOOK);
        let status = connector.looks[node].with(options).status().await?;
        let name = |node: &convoke_types::NodeId| {
            let [a, b, c, d, e, f, g, h, ..] = *node.as_bytes();
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        };
        Ok(View {
            me: name(&status.node),
            leader: status.leader.map(|leader| name(&leader.node)),
            applied: status.applied,
        })
    }

    async fn connect(connector: &Connector, node: usize) -> anyhow::Result<Store> {
        let target = Target::from(connector.nodes[node]);
        let store = Store::new(&connector.endpoint, [target], StoreConfig::default());
        store.status().await?;
        Ok(store)
    }

    async fn put(store: &mut Store, key: Vec<u8>, value: Vec<u8>) -> anyhow::Result<u64> {
        Ok(store.put(key, value).await?.0)
    }

    async fn get(store: &mut Store, key: Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(store.get(key).await?.map(|item| item.value))
    }

    fn finder(connector: &Connector) -> anyhow::Result<Store> {
        let config = StoreConfig {
            attempt: ATTEMPT,
            timeout: GIVE_UP,
            ..StoreConfig::default()
        };
        let targets = connector.nodes.iter().copied().map(Target::from);
        Ok(Store::new(&connector.endpoint, targets, config))
    }

    async fn find_and_put(finder: &Store, key: Vec<u8>, value: Vec<u8>) -> anyhow::Result<()> {
        finder.put(key, value).await?;
        Ok(())
    }

    async fn snapshot(connector: &Connector, node: usize) -> anyhow::Result<u64> {
        Ok(connector.looks[node].snapshot().await?.size_bytes)
    }

    async fn hand_over(connector: &Connector, leader: usize, to: usize) -> anyhow::Result<()> {
        let options = CallOptions::new().timeout(LOOK);
        let to = connector.looks[to].with(options).status().await?;
        connector.looks[leader].transfer(&to.node).await?;
        Ok(())
    }
}

async fn serve(layout: &Layout, node: usize) -> anyhow::Result<Infallible> {
    let development = Development::in_dir(layout.shared.join(CLUSTER))?;
    let address = layout.clients[node];
    let identity = identity(&development, &layout.data(node))?;
    let trust = development.trust();
    let endpoint = Endpoint::bind_with(Carriers::Tcp, address, identity, trust, Limits::default())?;
    let mut fresh = [0; 16];
    fresh[0] = u8::try_from(node + 1).context("there are few nodes")?;
    let settings = HostSettings::new(layout.data(node), development.cluster(), LogId(fresh));
    let log = LogNode::start(&endpoint, settings).await?;
    let (raft, store) = log.services();
    let _server = Server::builder()
        .service(raft)
        .service(store)
        .serve(&endpoint)?;
    if node == 0 && log.is_new() {
        let others: Vec<SocketAddr> = (1..NODES).map(|node| layout.clients[node]).collect();
        while let Err(error) = log.found(address, &others).await {
            eprintln!("not yet: {error}");
            tokio::time::sleep(FOUND_AGAIN).await;
        }
    }
    std::future::pending().await
}

/// The same key in every life of a node.
fn identity(development: &Development, data: &Path) -> anyhow::Result<Identity> {
    let key = NodeKey::load_or_create(data.join("node.key"))?;
    let certificate = development.certificate(key.node_id(), RoleSet::ALL);
    Ok(Identity::new(key, certificate)?)
}
