//! The shape that every system is brought into, and the list of them.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::ValueEnum;

use crate::site;

/// Servers of a cluster.
pub(crate) const NODES: usize = 3;

/// A cluster that decides, and how it is talked to. Nodes are numbered from 0.
pub(crate) trait System: 'static {
    /// What all connections of a driver share, such as an endpoint; it knows the layout.
    type Connector: Sync;
    /// An open connection to one node; clones share it.
    type Connection: Clone + Send + 'static;
    /// A client that finds out by itself who leads, as users have one; clones share connections to all nodes.
    type Finder: Clone + Send + 'static;

    /// Makes ready what all clusters of a run share, once and before any process starts. What it needs of files goes into that
    /// directory. Says which version will be measured.
    fn prepare(shared: &Path) -> anyhow::Result<String>;

    /// Is that node of the cluster from here on, until the process is killed: either serves, or lets another program take its
    /// place. Called first with an empty [`Layout::data`], and again with what an earlier life left there.
    fn serve(layout: &Layout, node: usize) -> anyhow::Result<Infallible>;

    /// Makes ready to talk to a cluster. Runs within the driver's runtime.
    fn connector(layout: &Layout) -> anyhow::Result<Self::Connector>;

    /// How the cluster looks to one node, asked over a way of its own. Fails while the node does not answer.
    fn view(connector: &Self::Connector, node: usize)
    -> impl Future<Output = anyhow::Result<View>>;

    /// Opens one more connection to a node, which leads when it is asked for.
    fn connect(
        connector: &Self::Connector,
        node: usize,
    ) -> impl Future<Output = anyhow::Result<Self::Connection>>;

    /// Writes, as one command, and awaits that it is durable on a majority and carried out. Gives the revision, which rises with
    /// every write.
    fn put(
        connection: &mut Self::Connection,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> impl Future<Output = anyhow::Result<u64>> + Send;

    /// Reads linearizably.
    fn get(
        connection: &mut Self::Connection,
        key: Vec<u8>,
    ) -> impl Future<Output = anyhow::Result<Option<Vec<u8>>>> + Send;

    /// A client for failovers. It gives no attempt more than [`ATTEMPT`].
    fn finder(connector: &Self::Connector) -> anyhow::Result<Self::Finder>;

    /// Writes, and tries again until it is acknowledged, or for at most [`GIVE_UP`].
    fn find_and_put(
        finder: &Self::Finder,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Has a node make a snapshot of everything, and gives its size in bytes.
    fn snapshot(
        connector: &Self::Connector,
        node: usize,
    ) -> impl Future<Output = anyhow::Result<u64>>;

    /// Has the node that leads hand over to another one.
    fn hand_over(
        connector: &Self::Connector,
        leader: usize,
        to: usize,
    ) -> impl Future<Output = anyhow::Result<()>>;
}

/// How long one node is given to answer while leaders fail.
pub(crate) const ATTEMPT: std::time::Duration = std::time::Duration::from_millis(250);
/// How long a write is tried while leaders fail.
pub(crate) const GIVE_UP: std::time::Duration = std::time::Duration::from_secs(20);

/// How the cluster looks to one node. Nodes have names here that are only compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The node that was asked.
    pub(crate) me: u64,
    /// Who leads.
    pub(crate) leader: Option<u64>,
    /// The last entry of the log that it has carried out.
    pub(crate) applied: u64,
}

/// Where the servers of a cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// What all clusters of the run share, see [`System::prepare`].
    pub(crate) shared: PathBuf,
    /// The directory of this cluster.
    pub(crate) directory: PathBuf,
    /// Where each node listens for clients.
    pub(crate) clients: Vec<SocketAddr>,
    /// Where each node listens for the others, if that is another place.
    pub(crate) peers: Vec<SocketAddr>,
}

impl Layout {
    /// A cluster on free ports.
    pub(crate) fn new(shared: &Path, directory: &Path) -> anyhow::Result<Self> {
        // All are held until all are known, so that none is given out twice.
        let mut held = Vec::new();
        let mut free = |node: usize| -> anyhow::Result<SocketAddr> {
            let listener = TcpListener::bind((address_of(node), 0)).context("find a free port")?;
            let address = listener.local_addr()?;
            held.push(listener);
            Ok(address)
        };
        let clients: anyhow::Result<_> = (0..NODES).map(&mut free).collect();
        let peers: anyhow::Result<_> = (0..NODES).map(&mut free).collect();
        Ok(Self {
            shared: shared.to_owned(),
            directory: directory.to_owned(),
            clients: clients?,
            peers: peers?,
        })
    }

    /// A cluster in a site, where all ports are free.
    pub(crate) fn in_site(shared: &Path, directory: &Path) -> Self {
        let at = |port| {
            let address = move |node| SocketAddr::from((site::address_of(node), port));
            (0..NODES).map(address).collect()
        };
        Self {
            shared: shared.to_owned(),
            directory: directory.to_owned(),
            clients: at(2379),
            peers: at(2380),
        }
    }

    /// Where a node keeps its data.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node{node}"))
    }

    /// What a node says goes there.
    pub(crate) fn words(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node{node}.log"))
    }
}

/// Each node has an address of its own on loopback. Connections go out from 127.0.0.1, so none of them can take the port of a node that
/// is down for a moment, nor meet itself there.
fn address_of(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        127,
        0,
        0,
        2 + u8::try_from(node).expect("there are few nodes"),
    )
}

/// The systems, by the names they have in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SystemName {
    /// Convoke's decided state.
    #[cfg(feature = "convoke")]
    Convoke,
    /// etcd, as Debian packages it.
    Etcd,
}

/// The system that the others are compared with.
pub(crate) const OURS: &str = "convoke";

impl fmt::Display for SystemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no system is hidden");
        f.write_str(value.get_name())
    }
}

/// Calls a function that is generic over the system with the type behind a name.
macro_rules! with_system {
    ($name:expr, $function:ident($($argument:expr),*)) => {
        match $name {
            #[cfg(feature = "convoke")]
            SystemName::Convoke => $function::<crate::systems::convoke::Convoke>($($argument),*),
            SystemName::Etcd => $function::<crate::systems::etcd::Etcd>($($argument),*),
        }
    };
}
pub(crate) use with_system;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_server_has_ports_and_data_of_its_own() {
        let layout = Layout::new(Path::new("shared"), Path::new("one")).unwrap();
        let places: BTreeSet<&SocketAddr> = layout.clients.iter().chain(&layout.peers).collect();
        let data: BTreeSet<PathBuf> = (0..NODES).map(|node| layout.data(node)).collect();
        assert_eq!((places.len(), data.len()), (2 * NODES, NODES));
    }
}
