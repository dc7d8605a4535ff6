//! Nodes of the log in one process, with links that lose what goes one way.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoke_consensus::engine::{
    Consensus, Image, Member, MemoryImage, Parts, Pieces, Settings, Snapshots, Tokio, Transport,
    Unreached,
};
use convoke_consensus::journal::DiskJournal;
use convoke_consensus::log::{LogId, Owner, Position, VoterId};
use convoke_types::wire::store::{Command, SessionCommand};
use convoke_types::{ClusterId, NodeId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

const NODES: u8 = 3;
/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Wires {
    nodes: BTreeMap<VoterId, Consensus<Tokio>>,
    /// Nothing arrives at it.
    deaf: Option<VoterId>,
}

type Shared = Arc<Mutex<Wires>>;

/// A node's end of all wires.
struct End {
    me: VoterId,
    wires: Shared,
}

impl Transport for End {
    fn call(
        &self,
        to: VoterId,
        _: &Member,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Unreached>> {
        let (me, wires) = (self.me, Arc::clone(&self.wires));
        async move {
            let node = wires.lock().nodes.get(&to).cloned();
            let node = node.ok_or(Unreached::Nobody)?;
            if wires.lock().deaf == Some(to) {
                return std::future::pending().await;
            }
            let answer = node.serve(me.node, to, message).await;
            if wires.lock().deaf == Some(me) {
                return std::future::pending().await;
            }
            answer.map_err(|_| Unreached::Unanswered)
        }
        .boxed()
    }
}

/// No snapshot is made in such a short story.
struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn save(
        &self,
        position: Position,
        pieces: Pieces,
    ) -> BoxFuture<'static, io::Result<Arc<dyn Image>>> {
        let pieces = pieces.collect();
        let image: Arc<dyn Image> = Arc::new(MemoryImage { position, pieces });
        async move { Ok(image) }.boxed()
    }

    fn latest(&self) -> BoxFuture<'static, io::Result<Option<Arc<dyn Image>>>> {
        async { Ok(None) }.boxed()
    }
}

async fn start(wires: &Shared, place: &std::path::Path, number: u8) {
    let node = NodeId::from_public_key([number; 32]);
    let owner = |log| Owner {
        cluster: ClusterId::from_bytes([9; 16]),
        node,
        log,
    };
    let directory = place.join(number.to_string());
    let opened = DiskJournal::open(&directory, owner, LogId([number; 16]), 1 << 20)
        .expect("its log can be made");
    let me = voter(number);
    let end = End {
        me,
        wires: Arc::clone(wires),
    };
    let parts = Parts {
        me,
        journal: Arc::new(opened.journal),
        snapshots: Arc::new(NoSnapshots),
        transport: Arc::new(end),
        witness: None,
    };
    let started = Consensus::start(Settings::default(), parts).await;
    wires
        .lock()
        .nodes
        .insert(me, started.expect("it can take part"));
}

fn voter(number: u8) -> VoterId {
    VoterId {
        node: NodeId::from_public_key([number; 32]),
        log: LogId([number; 16]),
    }
}

/// Somebody leads other than this one, says so itself, and decides.
async fn decides(wires: &Shared, other_than: Option<VoterId>) -> VoterId {
    let deciding = async {
        loop {
            let nodes = wires.lock().nodes.clone();
            for (id, node) in nodes {
                if Some(id) == other_than || !node.status().is_leader() {
                    continue;
                }
                let open = Command::Session(SessionCommand::Open);
                if node.propose(id.node, None, open).await.is_ok() {
                    return id;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // tidy: waits for a state, with a deadline
        }
    };
    tokio::time::timeout(PATIENCE, deciding)
        .await
        .expect("a majority that hears each other decides")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nobody_is_replaced_though_it_is_heard() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let wires = Shared::default();
    for number in 1..=NODES {
        start(&wires, place.path(), number).await;
    }
    let voters = (1..=NODES).map(|number| (voter(number), Member::default()));
    let first = wires.lock().nodes[&voter(1)].clone();
    first.found(voters.collect()).await.expect("it is new");
    let leader = decides(&wires, None).await;

    wires.lock().deaf = Some(leader);
    let stuck = wires.lock().nodes[&leader].clone();
    // Something that it sends again and again, beside its heartbeats.
    let open = Command::Session(SessionCommand::Open);
    let waiting = stuck.propose(leader.node, None, open);
    let (_, next) = tokio::join!(waiting, decides(&wires, Some(leader)));
    assert_ne!(next, leader);

    wires.lock().deaf = None;
    decides(&wires, None).await;
    let nodes = wires.lock().nodes.clone();
    for node in nodes.values() {
        node.stop().await;
    }
    wires.lock().nodes.clear();
}
