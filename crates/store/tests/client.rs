//! The client against nodes that lead, do not lead, lose answers and forget, over real links on loopback.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use convoke_decided::{Batch, Changed, Decided, KeyChanged};
use convoke_rpc::identity::Development;
use convoke_rpc::{ChannelConfig, Context, Endpoint, Server, Streaming, Target};
use convoke_store::{
    Answer, CommandRequest, Error, Event, Heard, Keeper, KeeperServer, LogStatus, QueryRequest,
    Refused, Saved, Snapshotted, Store, StoreConfig, Voters, WatchRequest, Whereabouts,
};
use convoke_types::wire::store::{Expect, Outcome, Range, Revision};
use convoke_types::{NodeId, Timestamp};
use parking_lot::Mutex;

/// What a node does instead of answering.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Busy,
    /// Decides, and then says that it does not know.
    LoseAnswer,
    /// Does not decide, and says that it does not know.
    LoseCommand,
    /// Says nothing at all.
    Silence,
    /// The session is gone by the log's time.
    Sleep(u64),
}

/// What all nodes of a pretended cluster share.
#[derive(Default)]
struct Shared {
    decided: Decided,
    now: u64,
    leader: Option<usize>,
    nodes: Vec<Whereabouts>,
    faults: VecDeque<Fault>,
    changes: Vec<Changed>,
    /// Watches end after so many changes.
    watch_ends_after: Option<usize>,
    /// Nothing before this change is remembered.
    remembered_from: u64,
}

impl Shared {
    fn decide(&mut self, principal: NodeId, request: &CommandRequest) -> Outcome {
        let mut batch = Batch::new(Timestamp::from_unix_ms(self.now), 1);
        batch.push(principal, request.ticket, request.command.clone());
        let mut applied = self.decided.apply(1, batch);
        self.changes.append(&mut applied.changes);
        applied.outcomes[0]
    }
}

#[derive(Clone)]
struct Pretender {
    place: usize,
    shared: Arc<Mutex<Shared>>,
    asked: Arc<AtomicU64>,
}

impl Pretender {
    fn leads(&self, shared: &Shared) -> Result<(), Refused> {
        if shared.leader == Some(self.place) {
            return Ok(());
        }
        let leader = shared.leader.map(|place| shared.nodes[place].clone());
        Err(Refused::NotLeader { leader })
    }
}

impl Keeper for Pretender {
    async fn command(&self, ctx: &Context, request: CommandRequest) -> Result<Outcome, Refused> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Opening a session is no occasion: faults are for the commands of the test.
        let fault = {
            let mut shared = self.shared.lock();
            self.leads(&shared)?;
            request.ticket.and_then(|_| shared.faults.pop_front())
        };
        if fault == Some(Fault::Silence) {
            return std::future::pending().await;
        }
        let mut shared = self.shared.lock();
        match fault {
            Some(Fault::Busy) => Err(Refused::Busy { retry_after_ms: 20 }),
            Some(Fault::LoseAnswer) => {
                shared.decide(ctx.caller(), &request);
                Err(Refused::OutcomeUnknown)
            }
            Some(Fault::LoseCommand) => Err(Refused::OutcomeUnknown),
            Some(Fault::Sleep(seconds)) => {
                shared.now += seconds * 1_000;
                Ok(shared.decide(ctx.caller(), &request))
            }
            None | Some(Fault::Silence) => Ok(shared.decide(ctx.caller(), &request)),
        }
    }

    async fn query(&self, _: &Context, request: QueryRequest) -> Result<Answer, Refused> {
        let shared = self.shared.lock();
        self.leads(&shared)?;
        Ok(Answer {
            found: shared.decided.find(&request.query),
            revision: shared.decided.revision(),
            age_ms: None,
        })
    }

    async fn watch(
        &self,
        _: &Context,
        request: WatchRequest,
    ) -> Result<Streaming<Heard, Refused>, Refused> {
        let shared = self.shared.lock();
        let changes = shared
            .changes
            .iter()
            .filter_map(Changed::key)
            .map(KeyChanged::to_change);
        let after = request.after.unwrap_or_default();
        let is_forgotten = request
            .after
            .is_some_and(|after| after.0 < shared.remembered_from);
        let known = changes.filter(|change| is_forgotten || change.revision > after);
        let resync = is_forgotten.then_some(Heard::Resync(shared.decided.revision()));
        let caught = Heard::Caught(shared.decided.revision());
        let heard = resync.into_iter().chain(known.map(Heard::Change));
        let heard: Vec<Heard> = match shared.watch_ends_after {
            Some(most) => heard.take(most).collect(),
            None => heard.chain([caught]).collect(),
        };
        Ok(Streaming::from_iter(heard))
    }

    async fn status(&self) -> Result<LogStatus, Refused> {
        Err(Refused::Unavailable {
            why: "pretenders have no log".to_owned(),
        })
    }

    async fn transfer(&self, _: &Context, to: NodeId) -> Result<(), Refused> {
        let mut shared = self.shared.lock();
        self.leads(&shared)?;
        shared.leader = shared.nodes.iter().position(|known| known.node == to);
        Ok(())
    }

    async fn snapshot(&self, _: &Context) -> Result<Snapshotted, Refused> {
        Err(Refused::SnapshotUnderWay)
    }

    async fn voters(&self, _: &Context) -> Result<Voters, Refused> {
        Err(Refused::NotLeader { leader: None })
    }

    async fn backup(&self, _: &Context) -> Result<Streaming<Saved, Refused>, Refused> {
        Err(Refused::Unavailable {
            why: "pretenders keep nothing".to_owned(),
        })
    }
}

struct Cluster {
    shared: Arc<Mutex<Shared>>,
    nodes: Vec<Pretender>,
    servers: Vec<Server>,
    client: Endpoint,
}

impl Cluster {
    fn new(nodes: usize) -> Self {
        let development = Development::new();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let nodes: Vec<Pretender> = (0..nodes)
            .map(|place| Pretender {
                place,
                shared: Arc::clone(&shared),
                asked: Arc::default(),
            })
            .collect();
        let servers: Vec<Server> = nodes
            .iter()
            .map(|node| {
                let endpoint = Endpoint::development(&development).expect("loopback is there");
                endpoint
                    .serve(KeeperServer::new(node.clone()))
                    .expect("it can listen")
            })
            .collect();
        shared.lock().leader = Some(0);
        shared.lock().nodes = servers.iter().map(whereabouts).collect();
        Self {
            shared,
            nodes,
            servers,
            client: Endpoint::development(&development).expect("loopback is there"),
        }
    }

    /// A client that knows one node.
    fn store(&self, place: usize, timeout: Duration) -> Store {
        let target = self.servers[place].target().expect("it listens");
        let config = StoreConfig {
            timeout,
            ..StoreConfig::default()
        };
        Store::new(&self.client, [target], config)
    }

    fn fault(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().faults.extend(faults);
    }

    fn revision(&self) -> u64 {
        self.shared.lock().decided.revision().0
    }

    async fn end(self) {
        for server in self.servers {
            server.shutdown(Duration::from_secs(5)).await;
        }
    }
}

fn whereabouts(server: &Server) -> Whereabouts {
    let Target { addresses, node } = server.target().expect("it listens");
    Whereabouts {
        node: node.expect("a server knows who it is"),
        addresses,
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_leader_is_found_by_way_of_any_node() {
    let cluster = Cluster::new(3);
    cluster.shared.lock().leader = Some(2);
    let store = cluster.store(0, LONG);
    assert_eq!(store.put("a", "1").await, Ok(Revision(1)));
    let before = cluster.nodes[0].asked.load(Ordering::Relaxed);
    assert_eq!(store.put("a", "2").await, Ok(Revision(2)));
    assert_eq!(
        cluster.nodes[0].asked.load(Ordering::Relaxed),
        before,
        "it is remembered"
    );
    let item = store
        .get("a")
        .await
        .expect("the leader answers")
        .expect("it was put");
    assert_eq!((item.value.as_slice(), item.version), (b"2".as_slice(), 2));
    cluster.shared.lock().leader = Some(1);
    assert_eq!(store.delete("a").await, Ok(Some(Revision(3))));
    assert_eq!(store.delete("a").await, Ok(None));
    cluster.end().await;
}

#[tokio::test]
async fn a_node_that_is_not_there_holds_nobody_up() {
    let mut cluster = Cluster::new(2);
    let gone = cluster.servers.pop().expect("there are two");
    let targets = [&gone, &cluster.servers[0]].map(|it| it.target().expect("it listens"));
    gone.shutdown(Duration::ZERO).await;
    // Whoever waits for a link or an answer from it waits for longer than this test.
    let config = StoreConfig {
        timeout: 10 * LONG,
        attempt: 10 * LONG,
        channel: ChannelConfig {
            patience: 10 * LONG,
            ..ChannelConfig::default()
        },
        ..StoreConfig::default()
    };
    let within = |put| tokio::time::timeout(LONG, put);
    let store = Store::new(&cluster.client, targets, config);
    let put = within(store.put("a", "1")).await;
    assert_eq!(put.expect("another one is asked"), Ok(Revision(1)));
    // Nor when the others name it, as they do until they have elected somebody.
    cluster.shared.lock().leader = Some(1);
    let electing = async {
        let asked = &cluster.nodes[0].asked;
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 10 {
            tokio::time::sleep(Duration::from_millis(1)).await; // tidy: between two looks at a state, with a deadline
        }
        cluster.shared.lock().leader = Some(0);
    };
    let (put, elected) = tokio::join!(
        within(store.put("a", "2")),
        tokio::time::timeout(LONG, electing)
    );
    elected.expect("it is asked again and again");
    assert_eq!(put.expect("the new leader is asked"), Ok(Revision(2)));
    cluster.end().await;
}

#[tokio::test]
async fn a_lost_answer_does_not_make_a_command_happen_twice() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    cluster.fault([Fault::LoseAnswer, Fault::LoseAnswer, Fault::LoseCommand]);
    assert_eq!(store.put("a", "1").await, Ok(Revision(1)));
    assert_eq!(cluster.revision(), 1);
    cluster.fault([Fault::LoseCommand]);
    let swapped = store
        .swap("a", Expect::Value(b"1".to_vec()), Some(b"2".to_vec()))
        .await;
    assert_eq!(swapped, Ok(Ok(Some(Revision(2)))));
    let not = store.swap("a", Expect::Absent, None).await;
    assert_eq!(not, Ok(Err(Some(Revision(2)))));
    cluster.end().await;
}

#[tokio::test]
async fn a_busy_node_is_given_time() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    cluster.fault([Fault::Busy, Fault::Busy]);
    assert_eq!(store.put("a", "1").await, Ok(Revision(1)));
    cluster.end().await;
}

#[tokio::test]
async fn a_session_that_ended_is_replaced_when_nothing_can_have_happened() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    store.put("a", "1").await.expect("it is decided");
    cluster.fault([Fault::Sleep(2 * 60 * 60)]);
    assert_eq!(store.put("a", "2").await, Ok(Revision(2)));
    cluster.end().await;
}

#[tokio::test]
async fn a_session_that_ended_in_between_leaves_the_outcome_unknown() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    store.put("a", "1").await.expect("it is decided");
    cluster.fault([Fault::LoseAnswer, Fault::Sleep(2 * 60 * 60)]);
    let outcome = store.put("a", "2").await;
    assert!(
        matches!(outcome, Err(Error::OutcomeUnknown { .. })),
        "{outcome:?}"
    );
    assert_eq!(
        store.put("a", "3").await,
        Ok(Revision(3)),
        "the next command has a new session"
    );
    cluster.end().await;
}

#[tokio::test]
async fn at_the_deadline_it_is_told_whether_something_may_have_happened() {
    let cluster = Cluster::new(1);
    // Long enough that it ends in a pause, also on a busy machine, and so with what the node said last.
    let store = cluster.store(0, Duration::from_secs(3));
    cluster.shared.lock().leader = None;
    let failed = store.put("a", "1").await;
    assert!(
        matches!(&failed, Err(Error::Failed { why }) if why.contains("does not lead")),
        "{failed:?}"
    );
    cluster.shared.lock().leader = Some(0);
    cluster.fault(std::iter::repeat_n(Fault::LoseCommand, 1_000));
    let unknown = store.put("a", "1").await;
    assert!(
        matches!(unknown, Err(Error::OutcomeUnknown { .. })),
        "{unknown:?}"
    );
    cluster.end().await;
}

#[tokio::test]
async fn who_says_nothing_may_have_carried_it_out() {
    let cluster = Cluster::new(1);
    let target = cluster.servers[0].target().expect("it listens");
    let config = StoreConfig {
        timeout: Duration::from_secs(3),
        attempt: Duration::from_secs(1),
        ..StoreConfig::default()
    };
    let store = Store::new(&cluster.client, [target], config);
    cluster.fault([Fault::Silence; 8]);
    let unknown = store.put("a", "1").await;
    assert!(
        matches!(unknown, Err(Error::OutcomeUnknown { .. })),
        "{unknown:?}"
    );
    cluster.end().await;
}

#[tokio::test]
async fn thousands_at_once_are_each_carried_out_once() {
    let cluster = Cluster::new(2);
    let store = cluster.store(0, LONG);
    cluster.fault([Fault::LoseAnswer, Fault::LoseCommand, Fault::Busy].repeat(40));
    let puts = (0..3_000).map(|number| {
        let store = store.clone();
        async move { store.put(format!("k{number:04}"), "v").await }
    });
    let mut tasks: tokio::task::JoinSet<_> = puts.collect();
    while let Some(done) = tasks.join_next().await {
        done.expect("it did not panic").expect("it is decided");
    }
    assert_eq!(cluster.revision(), 3_000);
    let extent = cluster.shared.lock().decided.extent();
    assert!(extent.sessions <= 4 + 1, "{} sessions", extent.sessions);
    let page = store
        .list(Range::prefix("k29"))
        .await
        .expect("the leader answers");
    assert_eq!(page.items.len(), 100);
    cluster.end().await;
}

#[tokio::test]
async fn a_list_goes_on_over_pages_and_ends() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    for number in 0..7 {
        let put = store.put(format!("k{number}"), "v").await;
        put.expect("it is decided");
    }
    store.put("z", "v").await.expect("it is decided");
    let mut pages = store.pages(Range {
        limit: 3,
        ..Range::prefix("k")
    });
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await.expect("the leader answers") {
        assert!(page.items.len() <= 3);
        keys.extend(page.items.into_iter().map(|listed| listed.key));
    }
    let expected = (0..7).map(|number| format!("k{number}").into_bytes());
    assert_eq!(keys, expected.collect::<Vec<_>>());
    assert_eq!(
        pages.next().await,
        Ok(None),
        "the end is told as often as asked"
    );
    cluster.end().await;
}

#[tokio::test]
async fn sessions_that_are_closed_are_not_remembered_and_others_are_opened() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    store.put("a", "1").await.expect("it is decided");
    let sessions = || cluster.shared.lock().decided.extent().sessions;
    assert_eq!(sessions(), 1);
    store.close().await;
    assert_eq!(sessions(), 0);
    assert_eq!(store.put("a", "2").await, Ok(Revision(2)));
    assert_eq!(sessions(), 1);
    cluster.end().await;
}

#[tokio::test]
async fn a_watch_says_when_all_that_is_there_was_told() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    let mut watch = store.watch("", None);
    assert_eq!(watch.next().await, Ok(Event::Complete(Revision(0))));
    store.put("a", "1").await.expect("it is decided");
    let mut watch = store.watch("", None);
    assert!(matches!(watch.next().await, Ok(Event::Change(_))));
    assert_eq!(watch.next().await, Ok(Event::Complete(Revision(1))));
    assert_eq!(watch.caught(), Some(Revision(1)));
    cluster.end().await;
}

#[tokio::test]
async fn a_watch_goes_on_where_it_broke_off() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    for number in 1..=7 {
        store
            .put(format!("k{number}"), "v")
            .await
            .expect("it is decided");
    }
    let mut watch = store.watch("", Some(Revision(0)));
    cluster.shared.lock().watch_ends_after = Some(3);
    for number in 1..=7 {
        if number == 6 {
            cluster.shared.lock().watch_ends_after = None;
        }
        let event = watch.next().await.expect("it makes sense");
        assert!(
            matches!(&event, Event::Change(change) if change.revision == Revision(number)),
            "{event:?} instead of change {number}"
        );
    }
    cluster.end().await;
}

#[tokio::test]
async fn a_watcher_is_told_when_what_it_missed_is_forgotten() {
    let cluster = Cluster::new(1);
    let store = cluster.store(0, LONG);
    for number in 1..=3 {
        store
            .put(format!("k{number}"), "v")
            .await
            .expect("it is decided");
    }
    cluster.shared.lock().remembered_from = 2;
    let mut watch = store.watch("", Some(Revision(1)));
    assert_eq!(watch.next().await, Ok(Event::Resync(Revision(3))));
    for number in 1..=3 {
        let event = watch.next().await.expect("it makes sense");
        assert!(matches!(event, Event::Change(change) if change.revision == Revision(number)));
    }
    let complete = watch.next().await;
    assert_eq!(complete, Ok(Event::Complete(Revision(3))));
    // A list that breaks off may have told of what is gone.
    cluster.shared.lock().watch_ends_after = Some(2);
    let mut watch = store.watch("", None);
    for _ in 0..2 {
        assert!(matches!(watch.next().await, Ok(Event::Change(_))));
    }
    assert_eq!(watch.next().await, Ok(Event::Resync(Revision(0))));
    cluster.end().await;
}
