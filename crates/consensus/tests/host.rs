//! Nodes of the log with real disks and real links, in one process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use convoke_consensus::engine::{Settings, SnapshotError, Status};
use convoke_consensus::host::{HostError, HostSettings, LogNode};
use convoke_consensus::log::LogId;
use convoke_rpc::identity::{Development, Identity};
use convoke_rpc::{
    CallError, Carriers, Channel, ChannelConfig, Code, Endpoint, Limits, Server, Target,
};
use convoke_store::{
    CommandRequest, Event, KeeperClient, QueryRequest, Refused, Snapshotted, Standing, Store,
    StoreConfig, WatchRequest,
};
use convoke_types::wire::store::rights::{Operation, RIGHTS};
use convoke_types::wire::store::{
    Command, ConfigCommand, CustodyCommand, Digest, Expect, Found, Freshness, KvCommand,
    LockCommand, NodeCommand, Outcome, ProposalId, Query, Range, Revision, SessionCommand,
    SessionId, TokenId, Value,
};
use convoke_types::{NodeId, Role, RoleSet};

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    log: LogNode,
    server: Server,
    endpoint: Endpoint,
}

/// What of a node outlives it.
struct Home {
    identity: Identity,
    directory: PathBuf,
    address: std::net::SocketAddr,
    fresh: u8,
}

struct World {
    development: Development,
    homes: Vec<Home>,
    nodes: Vec<Option<Node>>,
    _place: tempfile::TempDir,
}

impl World {
    /// Nodes at addresses of their own, so that nobody else takes their ports while they are away. All of them vote.
    async fn new(nodes: u8, net: u8) -> Self {
        Self::founded(nodes, usize::from(nodes), net).await
    }

    /// The same; the first so many vote.
    async fn founded(nodes: u8, voters: usize, net: u8) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let development = Development::new();
        let mut world = Self {
            homes: Vec::new(),
            nodes: Vec::new(),
            development,
            _place: place,
        };
        for number in 0..nodes {
            let mut home = Home {
                identity: world.development.identity(RoleSet::ALL),
                directory: world._place.path().join(number.to_string()),
                address: ([127, 91, net, number + 1], 0).into(),
                fresh: number + 1,
            };
            std::fs::create_dir(&home.directory).expect("there is room");
            let node = world.start(&home).await;
            home.address = node.endpoint.local_address().expect("it is open");
            world.homes.push(home);
            world.nodes.push(Some(node));
        }
        let others = world.homes[1..voters].iter();
        let others: Vec<_> = others.map(|home| home.address).collect();
        let first = world.nodes[0].as_ref().expect("it is running");
        first
            .log
            .found(world.homes[0].address, &others)
            .await
            .expect("all of them answer");
        world
    }

    async fn start(&self, home: &Home) -> Node {
        self.try_start(home).await.expect("its log can be opened")
    }

    async fn try_start(&self, home: &Home) -> Result<Node, HostError> {
        let endpoint = self.bind(home).await;
        let cluster = self.development.cluster();
        let settings = HostSettings {
            segment_bytes: 1 << 20,
            engine: Settings {
                snapshot_every: 100,
                keep: 20,
                ..Settings::default()
            },
            ..HostSettings::new(&home.directory, cluster, LogId([home.fresh; 16]))
        };
        let log = match LogNode::start(&endpoint, settings).await {
            Ok(log) => log,
            Err(error) => {
                endpoint.close().await;
                return Err(error);
            }
        };
        let (raft, store) = log.services();
        let server = Server::builder().service(raft).service(store);
        Ok(Node {
            log,
            server: server.serve(&endpoint).expect("it can listen"),
            endpoint,
        })
    }

    /// Its socket may outlive a closed endpoint for a moment.
    async fn bind(&self, home: &Home) -> Endpoint {
        let binding = async {
            loop {
                let (identity, trust) = (home.identity.clone(), self.development.trust());
                let limits = Limits::default();
                let bound =
                    Endpoint::bind_with(Carriers::Tcp, home.address, identity, trust, limits);
                if let Ok(endpoint) = bound {
                    return endpoint;
                }
                tokio::time::sleep(Duration::from_millis(5)).await; // tidy: until the address is free, with a deadline
            }
        };
        tokio::time::timeout(PATIENCE, binding)
            .await
            .expect("the address becomes free")
    }

    /// A client that knows all nodes.
    fn store(&self) -> Store {
        let endpoint = Endpoint::development(&self.development).expect("loopback is there");
        let config = StoreConfig {
            timeout: PATIENCE,
            attempt: Duration::from_millis(500),
            ..StoreConfig::default()
        };
        let targets = self.homes.iter().map(|home| Target::from(home.address));
        Store::new(&endpoint, targets, config)
    }

    async fn stop(&mut self, place: usize) {
        let node = self.nodes[place].take().expect("it is running");
        node.log.stop().await;
        node.server.shutdown(Duration::from_secs(5)).await;
        node.endpoint.close().await;
        drop(node.log);
    }

    async fn come_back(&mut self, place: usize) {
        let node = self.start(&self.homes[place]).await;
        self.nodes[place] = Some(node);
    }

    fn status(&self, place: usize) -> Status {
        let node = self.nodes[place].as_ref().expect("it is running");
        node.log.status()
    }

    /// Where a node keeps its log.
    fn log_of(&self, place: usize) -> PathBuf {
        self.homes[place].directory.join("log")
    }

    /// A node that votes and does not lead, when all have the same.
    async fn settled_follower(&self) -> usize {
        let same = || {
            let all: Vec<_> = (0..self.nodes.len()).map(|it| self.status(it)).collect();
            self.leader().is_some()
                && all
                    .iter()
                    .all(|it| it.applied == all[0].last && it.last == all[0].last)
        };
        until("all of them have the same", same).await;
        (self.leader().expect("looked at just now") + 1) % self.nodes.len()
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.as_ref()
                .is_some_and(|node| node.log.status().is_leader())
        })
    }

    async fn end(mut self) {
        for place in 0..self.nodes.len() {
            if self.nodes[place].is_some() {
                self.stop(place).await;
            }
        }
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await; // tidy: waits for a state, with a deadline
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_outlives_every_node() {
    let mut world = World::new(3, 1).await;
    let store = world.store();
    for number in 0..50 {
        store
            .put(format!("k{number:02}"), "1")
            .await
            .expect("a majority is there");
    }
    let leader = world.leader().expect("somebody has decided");
    world.stop(leader).await;
    for number in 0..50 {
        store
            .put(format!("k{number:02}"), "2")
            .await
            .expect("a majority is there");
    }
    world.come_back(leader).await;
    for place in 0..3 {
        if world.nodes[place].is_some() {
            world.stop(place).await;
        }
    }
    for place in 0..3 {
        world.come_back(place).await;
    }
    let page = store
        .list(Range::prefix("k"))
        .await
        .expect("all of them are there");
    assert_eq!(page.items.len(), 50);
    assert!(
        page.items
            .iter()
            .all(|listed| listed.item.value == b"2" && listed.item.version == 2)
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_answers_questions_and_tells_watchers() {
    let world = World::new(3, 2).await;
    let store = world.store();
    let first = store.put("a/1", "x").await.expect("a majority is there");
    let swapped = store
        .swap("a/1", Expect::Revision(first), Some(b"y".to_vec()))
        .await;
    assert_eq!(swapped, Ok(Ok(Some(Revision(2)))));
    store.put("b", "z").await.expect("a majority is there");
    for home in &world.homes {
        let endpoint = Endpoint::development(&world.development).expect("loopback is there");
        let own = Store::new(
            &endpoint,
            [Target::from(home.address)],
            StoreConfig::default(),
        );
        let item = own
            .get("a/1")
            .await
            .expect("it asks the leader how far it has to be");
        assert_eq!(item.map(|item| item.value), Some(b"y".to_vec()));
        let fresh = Freshness::AtLeast(Revision(3));
        let answer = own
            .query(Query::Get(b"b".to_vec()), fresh)
            .await
            .expect("it has it");
        assert!(matches!(answer.found, Found::Item(Some(_))) && answer.revision == Revision(3));
        let stale = own.query(Query::Get(b"b".to_vec()), Freshness::Stale).await;
        assert!(stale.is_ok());
        let mut watch = own.watch("a/", None);
        let Ok(Event::Change(change)) = watch.next().await else {
            panic!("what is there comes first");
        };
        assert_eq!(
            (change.key.as_slice(), change.revision),
            (b"a/1".as_slice(), Revision(2))
        );
        let status = own.status().await.expect("it knows itself");
        assert_eq!(
            (status.voters.len(), status.keys, status.is_doubtful),
            (3, 2, false)
        );
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_without_an_error() {
    let world = World::new(3, 3).await;
    let store = world.store();
    store.put("k", "0").await.expect("a majority is there");
    let before = world.leader().expect("somebody has decided");
    let to = world.nodes[(before + 1) % 3]
        .as_ref()
        .expect("it is running")
        .log
        .me()
        .node;
    let followed = || {
        let status = world.nodes[before]
            .as_ref()
            .expect("it is running")
            .log
            .status();
        let mut matching = status.matching.values();
        matching.all(|position| position.index == status.last.index)
    };
    until("all of them have the log", followed).await;
    let writing = async {
        for number in 1..=200 {
            store
                .put("k", number.to_string())
                .await
                .expect("no write is lost");
        }
    };
    let (handed, ()) = tokio::join!(store.transfer(to), writing);
    handed.expect("it is up to date");
    until("the other one leads", || {
        world.leader() == Some((before + 1) % 3)
    })
    .await;
    let status = store.status().await.expect("somebody answers");
    assert!(matches!(
        status.standing,
        Standing::Leader | Standing::Follower
    ));
    let item = store
        .get("k")
        .await
        .expect("a majority is there")
        .expect("it was put");
    assert_eq!(
        (item.value.as_slice(), item.version),
        (b"200".as_slice(), 201)
    );
    world.end().await;
}

/// It was up to date a moment ago, so leadership is handed over to it; it never takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leadership_is_handed_over_to_dies_and_no_write_is_lost() {
    let mut world = World::new(3, 3).await;
    let store = world.store();
    store.put("k", "0").await.expect("a majority is there");
    let to = world.settled_follower().await;
    let before = world.leader().expect("looked at just now");
    let target = world.status(to).me.node;
    world.stop(to).await;
    let endpoint = Endpoint::development(&world.development).expect("loopback is there");
    let leader = KeeperClient::new(endpoint.channel(Target::from(world.homes[before].address)));
    let writing = async {
        for number in 1..=50 {
            let written = store.put("k", number.to_string()).await;
            written.expect("no write is lost");
        }
    };
    let (handed, ()) = tokio::join!(leader.transfer(&target), writing);
    assert!(
        matches!(handed, Err(CallError::App(Refused::OutcomeUnknown))),
        "{handed:?}"
    );
    let item = store.get("k").await.expect("a majority is there");
    assert_eq!(item.expect("it was put").value, b"50");
    world.come_back(to).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_written_when_somebody_asks_for_it() {
    let world = World::new(3, 4).await;
    let store = world.store();
    let asked = |place: usize| {
        let endpoint = Endpoint::development(&world.development).expect("loopback is there");
        KeeperClient::new(endpoint.channel(Target::from(world.homes[place].address)))
    };
    for number in 0..20 {
        let put = store.put(format!("k{number:02}"), "v").await;
        put.expect("a majority is there");
    }
    for place in 0..3 {
        let log = world.nodes[place]
            .as_ref()
            .expect("it is running")
            .log
            .clone();
        until("it has all of them", || {
            log.status().revision == Revision(20)
        })
        .await;
        let applied = log.status().applied;
        let client = asked(place);
        let written = client.snapshot().await.expect("there is room");
        assert!(written.index >= applied.index && written.size_bytes > 20 * 4);
        let status = client.status().await.expect("it knows itself");
        assert_eq!(status.snapshot, written.index);
        let again = client.snapshot().await.expect("there is room");
        assert!(again.index >= written.index, "one may follow another");
    }
    let (one, two) = (asked(0), asked(0));
    let (one, two) = tokio::join!(one.snapshot(), two.snapshot());
    let refused = |written: &Result<Snapshotted, CallError<Refused>>| {
        matches!(written, Err(CallError::App(Refused::SnapshotUnderWay)))
    };
    assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    assert!(
        [&one, &two].iter().all(|it| it.is_ok() || refused(it)),
        "{one:?} {two:?}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_log_is_not_made_part_of_another() {
    let world = World::new(3, 5).await;
    let home = Home {
        identity: world.development.identity(RoleSet::ALL),
        directory: world._place.path().join("stranger"),
        address: ([127, 91, 5, 9], 0).into(),
        fresh: 9,
    };
    std::fs::create_dir(&home.directory).expect("there is room");
    let stranger = world.start(&home).await;
    let own = stranger.endpoint.local_address().expect("it is open");
    until("all of them know the log", || {
        let nodes = world.nodes.iter().flatten();
        nodes.into_iter().all(|node| node.log.status().has_log())
    })
    .await;
    for home in &world.homes {
        let refused = stranger.log.found(own, &[home.address]).await;
        assert!(
            matches!(refused, Err(HostError::Taken { address }) if address == home.address),
            "{refused:?}"
        );
    }
    let twice = stranger.log.found(own, &[own]).await;
    assert!(matches!(twice, Err(HostError::Twice { .. })), "{twice:?}");
    assert!(!stranger.log.status().has_log());
    let nothing = stranger.log.consensus().snapshot().await;
    assert_eq!(nothing, Err(SnapshotError::Nothing));
    stranger.log.stop().await;
    stranger.server.shutdown(Duration::from_secs(5)).await;
    stranger.endpoint.close().await;
    world.end().await;
}

/// Turns a bit of the last place in a log where this stands.
fn rot(log: &Path, needle: &[u8]) {
    let files = std::fs::read_dir(log).expect("it is there");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("listed").path()).collect();
    files.sort_unstable();
    for path in files.into_iter().rev() {
        let mut bytes = std::fs::read(&path).expect("it can be read");
        let found = bytes
            .windows(needle.len())
            .rposition(|window| window == needle);
        if let Some(at) = found {
            bytes[at] ^= 1;
            return std::fs::write(&path, bytes).expect("there is room");
        }
    }
    panic!("it stands nowhere");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("there is room");
    for file in std::fs::read_dir(from).expect("it is there") {
        let path = file.expect("listed").path();
        let name = path.file_name().expect("files have names");
        std::fs::copy(&path, to.join(name)).expect("there is room");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turned_bit_in_the_last_batch_is_found_and_filled_again_by_the_others() {
    let mut world = World::new(3, 4).await;
    let store = world.store();
    store.put("a", "1").await.expect("a majority is there");
    store.put("b", "needle").await.expect("a majority is there");
    let place = world.settled_follower().await;
    world.stop(place).await;
    rot(&world.log_of(place), b"needle");
    world.come_back(place).await;
    assert!(world.status(place).is_doubtful, "nothing tells it from rot");
    store.put("c", "3").await.expect("the other two are there");
    until("it is filled again, and votes", || {
        !world.status(place).is_doubtful
    })
    .await;
    let own = world.log_of(place);
    world.stop(place).await;
    assert!(own.is_dir());
    world.come_back(place).await;
    assert!(!world.status(place).is_doubtful, "and that is written down");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_new_log_is_not_taken_for_the_voter_it_was() {
    let mut world = World::new(3, 6).await;
    let store = world.store();
    store.put("k", "1").await.expect("a majority is there");
    let leader = world.leader().expect("somebody has decided");
    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.stop(lost).await;
    for name in ["log", "snapshots"] {
        let directory = world.homes[lost].directory.join(name);
        std::fs::remove_dir_all(directory).expect("it was there");
    }
    world.homes[lost].fresh += 100;
    world.come_back(lost).await;
    store.put("k", "2").await.expect("two of three are there");
    world.stop(other).await;
    let hasty = StoreConfig {
        timeout: Duration::from_secs(3),
        attempt: Duration::from_millis(500),
        ..StoreConfig::default()
    };
    let endpoint = Endpoint::development(&world.development).expect("loopback is there");
    let targets = world.homes.iter().map(|home| Target::from(home.address));
    let alone = Store::new(&endpoint, targets, hasty);

    let put = alone.put("k", "3").await;

    assert!(put.is_err(), "one voter of three decided: {put:?}");
    let stranger = world.nodes[lost].as_ref().expect("it is running");
    assert!(!stranger.log.status().has_log());
    world.come_back(other).await;
    store.put("k", "4").await.expect("two of three are there");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_an_earlier_day_is_told_by_the_others_and_filled_again() {
    let mut world = World::new(3, 5).await;
    let store = world.store();
    store.put("a", "1").await.expect("a majority is there");
    let place = world.settled_follower().await;
    // As a copy of the running machine has it.
    let image = world.homes[place].directory.join("image");
    copy(&world.log_of(place), &image);
    for number in 0..20 {
        let key = format!("k{number}");
        store.put(key, "2").await.expect("a majority is there");
    }
    let same = world.settled_follower().await;
    assert_eq!(same, place, "nobody else leads meanwhile");
    world.stop(place).await;
    std::fs::remove_dir_all(world.log_of(place)).expect("it is there");
    copy(&image, &world.log_of(place));
    world.come_back(place).await;
    until("the others have told it", || {
        world.status(place).is_doubtful
    })
    .await;
    until("it is filled again, and votes", || {
        !world.status(place).is_doubtful
    })
    .await;
    // What it told since counts from there.
    world.stop(place).await;
    world.come_back(place).await;
    store.put("b", "3").await.expect("a majority is there");
    assert_eq!(world.settled_follower().await, place);
    assert!(!world.status(place).is_doubtful);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_voter_catches_up_while_writes_go_on() {
    let world = World::founded(4, 3, 6).await;
    let store = world.store();
    for number in 0..300 {
        let key = format!("k{number}");
        store.put(key, "1").await.expect("a majority is there");
    }
    let leader = world.leader().expect("somebody has decided");
    let all: Vec<_> = world.homes.iter().map(|home| home.address).collect();
    let node = world.nodes[leader].as_ref().expect("it is running");
    let writing = async {
        for number in 0..200 {
            let key = format!("k{number}");
            store.put(key, "2").await.expect("no write is lost");
        }
    };
    let (changed, ()) = tokio::join!(node.log.change_voters(&all), writing);
    changed.expect("it learns while others write");
    world.settled_follower().await;
    let status = world.status(3);
    assert_eq!(status.voters, [world.status(leader).voters[0].clone()]);
    assert_eq!((status.voters[0].len(), status.extent.keys), (4, 300));
    assert!(status.snapshot.index > 0, "entries were purged long ago");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lost_its_log_is_another_voter_and_takes_part_again_when_it_is_told_to() {
    let mut world = World::new(3, 7).await;
    let store = world.store();
    store.put("a", "1").await.expect("a majority is there");
    let place = world.settled_follower().await;
    let before = world.nodes[place].as_ref().expect("it runs").log.me();
    world.stop(place).await;
    std::fs::remove_dir_all(world.log_of(place)).expect("it is there");
    world.homes[place].fresh = 99;
    world.come_back(place).await;
    let me = world.nodes[place].as_ref().expect("it runs").log.me();
    assert_eq!((me.node, me.log), (before.node, LogId([99; 16])));
    store.put("b", "2").await.expect("the other two are there");
    let leader = world.leader().expect("it answered");
    let voters = world.status(leader).voters.concat();
    assert!(voters.contains(&before) && !voters.contains(&me));
    let all: Vec<_> = world.homes.iter().map(|home| home.address).collect();
    let node = world.nodes[leader].as_ref().expect("it runs");
    let changed = node.log.change_voters(&all).await;
    changed.expect("the other two are there");
    world.settled_follower().await;
    let voters = world.status(place).voters.concat();
    assert!(!voters.contains(&before) && voters.contains(&me));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_snapshot_is_gone_is_not_taken_for_a_whole_one() {
    let mut world = World::new(3, 8).await;
    let store = world.store();
    for number in 0..300 {
        let key = format!("k{number}");
        store.put(key, "1").await.expect("a majority is there");
    }
    let place = world.settled_follower().await;
    until("entries are purged", || {
        world.status(place).snapshot.index > 100
    })
    .await;
    world.stop(place).await;
    let snapshots = world.homes[place].directory.join("snapshots");
    std::fs::remove_dir_all(&snapshots).expect("it is there");
    let error = world.try_start(&world.homes[place]).await;
    let error = error.err().expect("what was purged is nowhere").to_string();
    assert!(error.contains("snapshot"), "{error}");
    world.end().await;
}

/// What asks for each operation. Nobody's lock, session and proposal: what is refused for other reasons may be done.
fn asking_for(operation: Operation, me: NodeId) -> Option<Command> {
    let key = || b"k".to_vec();
    Some(match operation {
        Operation::Session => Command::Session(SessionCommand::Close(SessionId(0))),
        Operation::WriteKeys => Command::Kv(KvCommand::Delete { key: key() }),
        Operation::Lock => Command::Lock(LockCommand::Release {
            name: "l".to_owned(),
            session: SessionId(0),
        }),
        Operation::Propose => Command::Config(ConfigCommand::Withdraw {
            proposal: ProposalId(0),
        }),
        Operation::Vote => Command::Config(ConfigCommand::Vote {
            proposal: ProposalId(0),
            yes: true,
        }),
        Operation::Enrol => Command::Node(NodeCommand::Enrol {
            node: me,
            log: None,
            addresses: Vec::new(),
            allowed: RoleSet::EMPTY,
            score: 0,
        }),
        Operation::Appoint => Command::Node(NodeCommand::Allow {
            node: NodeId::from_public_key([9; 32]),
            roles: RoleSet::ALL,
        }),
        Operation::Drain => Command::Node(NodeCommand::Drain {
            node: NodeId::from_public_key([9; 32]),
            drains: true,
        }),
        Operation::Forget => Command::Node(NodeCommand::Forget {
            node: NodeId::from_public_key([9; 32]),
        }),
        Operation::SetIssuers => Command::Node(NodeCommand::SetIssuers {
            expect: 77,
            bundle: vec![1],
        }),
        Operation::ConfirmLoss => Command::Node(NodeCommand::ConfirmLoss { lost: Vec::new() }),
        Operation::TendLog => Command::Tick,
        Operation::Restore => Command::Config(ConfigCommand::Restore {
            key: "no.such.key".to_owned(),
            value: Value::Flag(true),
        }),
        Operation::Invite => Command::Custody(CustodyCommand::RevokeToken {
            token: TokenId::default(),
        }),
        // Beyond the table this takes a vote, which none of those who ask here has.
        Operation::Admit => Command::Custody(CustodyCommand::AddIssuer {
            issuer: Digest::default(),
            certificate: Vec::new(),
        }),
        Operation::Plan => Command::Node(NodeCommand::Assign {
            node: NodeId::from_public_key([9; 32]),
            role: Role::Worker,
            expect: Revision(1),
            why: String::new(),
        }),
        Operation::Read | Operation::Backup => return None,
    })
}

/// Whether the node lets somebody have it, whatever comes of it.
async fn is_let(client: &KeeperClient, operation: Operation, me: NodeId) -> bool {
    fn is_let<T>(result: Result<T, CallError<Refused>>) -> bool {
        match result {
            Err(CallError::App(Refused::NoRight(no_right))) => {
                assert!(!no_right.to_string().is_empty());
                false
            }
            Err(CallError::Rpc(problem)) => {
                assert_eq!(problem.code, Code::Forbidden, "{problem}");
                false
            }
            Ok(_) | Err(CallError::App(_)) => true,
        }
    }
    match (operation, asking_for(operation, me)) {
        (Operation::Read, _) => {
            let request = QueryRequest {
                query: Query::Get(b"k".to_vec()),
                freshness: Freshness::Stale,
            };
            let watched = is_let(client.watch(&WatchRequest::default()).await);
            let read = is_let(client.query(&request).await);
            assert_eq!(read, watched);
            read
        }
        (Operation::Backup, _) => is_let(client.backup().await),
        (Operation::TendLog, Some(command)) => {
            let request = CommandRequest {
                ticket: None,
                command,
            };
            let ticked = is_let(client.command(&request).await);
            let handed = is_let(client.transfer(&NodeId::from_public_key([9; 32])).await);
            assert_eq!(ticked, handed);
            ticked
        }
        (_, command) => {
            let request = CommandRequest {
                ticket: None,
                command: command.expect("all others are commands"),
            };
            is_let(client.command(&request).await)
        }
    }
}

#[tokio::test]
async fn every_role_is_let_do_what_the_table_says_and_nothing_else() {
    let world = World::new(1, 21).await;
    until("it leads", || world.leader() == Some(0)).await;
    let client_of = |roles: RoleSet| {
        let identity = world.development.identity(roles);
        let me = identity.node_id();
        let trust = world.development.trust();
        let anywhere = ([127, 0, 0, 1], 0).into();
        let endpoint = Endpoint::bind(anywhere, identity, trust, Limits::default());
        let endpoint = endpoint.expect("loopback is there");
        let target = Target::from(world.homes[0].address);
        let channel = Channel::new(&endpoint, target, ChannelConfig::default());
        (KeeperClient::new(channel), me, endpoint)
    };
    for role in Role::ALL {
        let (client, me, endpoint) = client_of(role.into());
        for (operation, roles, told) in RIGHTS {
            let may = roles.contains(role);
            assert_eq!(
                is_let(&client, operation, me).await,
                may,
                "a {role} may {told}: {may}"
            );
        }
        endpoint.close().await;
    }

    // A record takes rights away, and enrolling is no way around it.
    let (client, me, endpoint) = client_of(RoleSet::ALL);
    let send = |command: NodeCommand| {
        let client = client.clone();
        async move {
            let command = Command::Node(command);
            client
                .command(&CommandRequest {
                    ticket: None,
                    command,
                })
                .await
        }
    };
    let enrol = |allowed| NodeCommand::Enrol {
        node: me,
        log: None,
        addresses: Vec::new(),
        allowed,
        score: 0,
    };
    send(enrol(RoleSet::ALL)).await.expect("it may be all");
    send(NodeCommand::Allow {
        node: me,
        roles: Role::Worker.into(),
    })
    .await
    .expect("it is a master still");
    send(enrol(RoleSet::ALL)).await.expect("that it may");
    for (operation, may) in [
        (Operation::WriteKeys, true),
        (Operation::Appoint, false),
        (Operation::Vote, false),
        (Operation::Restore, false),
    ] {
        assert_eq!(is_let(&client, operation, me).await, may, "{operation:?}");
    }
    endpoint.close().await;
    let (client, me, endpoint) = client_of(Role::Observer.into());
    let command = Command::Node(NodeCommand::Enrol {
        node: me,
        log: None,
        addresses: Vec::new(),
        allowed: Role::Master.into(),
        score: 0,
    });
    let more = client
        .command(&CommandRequest {
            ticket: None,
            command,
        })
        .await;
    assert!(
        matches!(more, Err(CallError::App(Refused::Senseless { .. }))),
        "{more:?}"
    );
    endpoint.close().await;
    world.end().await;
}

#[tokio::test]
async fn only_who_votes_lets_nodes_in() {
    let world = World::new(1, 22).await;
    until("it leads", || world.leader() == Some(0)).await;
    let ask = async |identity: Identity| {
        let (trust, anywhere) = (world.development.trust(), ([127, 0, 0, 1], 0).into());
        let endpoint = Endpoint::bind(anywhere, identity, trust, Limits::default());
        let endpoint = endpoint.expect("loopback is there");
        let target = Target::from(world.homes[0].address);
        let client = KeeperClient::new(Channel::new(&endpoint, target, ChannelConfig::default()));
        let command = Command::Custody(CustodyCommand::AddIssuer {
            issuer: Digest([7; 32]),
            certificate: vec![7],
        });
        let request = CommandRequest {
            ticket: None,
            command,
        };
        let answer = client.command(&request).await;
        endpoint.close().await;
        answer
    };
    // It has every role, but no vote.
    let other = ask(world.development.identity(RoleSet::ALL)).await;
    let Err(CallError::App(Refused::Senseless { why })) = other else {
        panic!("{other:?}");
    };
    assert!(why.contains("only voters"), "{why}");
    let voter = ask(world.homes[0].identity.clone()).await;
    assert!(matches!(voter, Ok(Outcome::Done(_))), "{voter:?}");
    world.end().await;
}
