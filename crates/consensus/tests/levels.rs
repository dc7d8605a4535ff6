//! Nodes of the log in one process, one of which stands in for an earlier program.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoke_consensus::engine::{
    Consensus, Image, Member, MemoryImage, Parts, Pieces, ProposeError, Settings, Snapshots, Tokio,
    Transport, Unreached,
};
use convoke_consensus::journal::DiskJournal;
use convoke_consensus::log::{LogId, Owner, Position, VoterId};
use convoke_decided::LEVEL;
use convoke_types::wire::store::{Command, Done, KvCommand, NodeCommand, Outcome, Revision};
use convoke_types::{ClusterId, NodeId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

const NODES: u8 = 3;
/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

type Shared = Arc<Mutex<BTreeMap<VoterId, Consensus<Tokio>>>>;

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
            let node = wires.lock().get(&to).cloned();
            let node = node.ok_or(Unreached::Nobody)?;
            let answer = node.serve(me.node, to, message).await;
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

async fn start(wires: &Shared, place: &Path, number: u8, feature_level: u16) {
    let node = NodeId::from_public_key([number; 32]);
    let owner = |log| Owner {
        cluster: ClusterId::from_bytes([9; 16]),
        node,
        log,
    };
    let directory = place.join(number.to_string());
    // Tasks of a node that was stopped may hold its log for a moment.
    let opening = async {
        loop {
            let fresh = LogId([number; 16]);
            match DiskJournal::open(&directory, owner, fresh, 1 << 20) {
                Ok(opened) => return opened,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await, // tidy: until the log is free, with a deadline
            }
        }
    };
    let opened = tokio::time::timeout(PATIENCE, opening).await;
    let opened = opened.expect("its log can be opened");
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
    let settings = Settings {
        feature_level,
        ..Settings::default()
    };
    let started = Consensus::start(settings, parts).await;
    wires.lock().insert(me, started.expect("it can take part"));
}

fn voter(number: u8) -> VoterId {
    VoterId {
        node: NodeId::from_public_key([number; 32]),
        log: LogId([number; 16]),
    }
}

fn put(value: u64) -> Command {
    Command::Kv(KvCommand::Put {
        key: b"k".to_vec(),
        value: value.to_string().into_bytes(),
    })
}

/// Something that only this level knows.
fn steer() -> Command {
    Command::Node(NodeCommand::Steer {
        node: voter(1).node,
        auto: true,
        pin: None,
    })
}

/// What whoever leads says to a command; asked again as long as nobody does.
async fn tell(wires: &Shared, command: Command) -> Result<Outcome, ProposeError> {
    let telling = async {
        loop {
            let nodes = wires.lock().clone();
            let leader = nodes.iter().find(|(_, node)| node.status().is_leader());
            if let Some((id, node)) = leader {
                let told = node.propose(id.node, None, command.clone()).await;
                match told {
                    Err(ProposeError::NotLeader { .. } | ProposeError::OutcomeUnknown) => {}
                    told => return told,
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // tidy: waits for a state, with a deadline
        }
    };
    tokio::time::timeout(PATIENCE, telling)
        .await
        .expect("a majority decides")
}

async fn begin_anew(wires: &Shared, place: &Path, number: u8, feature_level: u16) {
    let node = wires.lock().remove(&voter(number)).expect("it runs");
    node.stop().await;
    drop(node);
    start(wires, place, number, feature_level).await;
}

/// All have carried out the same, and come to the same state, byte for byte.
async fn all_are_the_same(wires: &Shared, from: Revision) {
    let nodes: Vec<_> = wires.lock().values().cloned().collect();
    let comparing = async {
        loop {
            let frozen: Vec<_> = nodes.iter().map(Consensus::freeze).collect();
            let (first, others) = frozen.split_first().expect("there are nodes");
            let is_same = |(position, _): &(Position, _)| *position == first.0;
            if others.iter().all(is_same) && first.1.revision() >= from {
                for (_, other) in others {
                    assert!(other.chunks().eq(first.1.chunks()), "at {:?}", first.0);
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // tidy: waits for a state, with a deadline
        }
    };
    tokio::time::timeout(PATIENCE, comparing)
        .await
        .expect("all of them come to have all entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_member_speaks_less_what_is_new_waits_and_all_else_goes_on() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let wires = Shared::default();
    for number in 1..=NODES {
        let level = if number == NODES { LEVEL - 1 } else { LEVEL };
        start(&wires, place.path(), number, level).await;
    }
    let voters = (1..=NODES).map(|number| (voter(number), Member::default()));
    let first = wires.lock()[&voter(1)].clone();
    first.found(voters.collect()).await.expect("it is new");
    drop(first);

    // How far the log has come below that is nobody's business here.
    let is_refused = |error: &ProposeError| matches!(error, ProposeError::TooNew { needs: LEVEL, level } if *level < LEVEL);
    let mut revision = 0;
    for _ in 0..20 {
        let told = tell(&wires, steer()).await;
        assert!(told.as_ref().is_err_and(is_refused), "{told:?}");
        let written = tell(&wires, put(revision)).await;
        revision += 1;
        assert_eq!(written, Ok(Outcome::Done(Done::Put(Revision(revision)))));
    }
    all_are_the_same(&wires, Revision(revision)).await;

    // The earlier program makes room for this one. Others write on meanwhile; the log is young, so that the wait is short.
    begin_anew(&wires, place.path(), NODES, LEVEL).await;
    let rising = async {
        loop {
            match tell(&wires, steer()).await {
                Err(error) => assert!(is_refused(&error), "{error}"),
                Ok(outcome) => return outcome,
            }
            let written = tell(&wires, put(revision)).await;
            assert!(matches!(written, Ok(Outcome::Done(_))), "{written:?}");
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, rising).await;
    let outcome = outcome.expect("the level rises while others write");
    // It was carried out: the node is not enrolled.
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    let Ok(Outcome::Done(Done::Put(last))) = tell(&wires, put(revision)).await else {
        panic!("keys are of every level");
    };
    all_are_the_same(&wires, last).await;

    // What is written at the level stays there: a program that speaks less cannot bring it down.
    begin_anew(&wires, place.path(), 1, LEVEL).await;
    assert!(tell(&wires, steer()).await.is_ok());
    let nodes = wires.lock().clone();
    for node in nodes.values() {
        node.stop().await;
    }
    wires.lock().clear();
}
