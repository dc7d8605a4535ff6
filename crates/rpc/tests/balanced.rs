//! Calls to whichever instance is best: several servers, one client, and what goes wrong between them.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use convoke_balance::{Health, Instance, InstanceId, Params, Strategy, Update};
use convoke_rpc::health::HealthCheckClient;
use convoke_rpc::identity::Development;
use convoke_rpc::{
    Balanced, BalancedConfig, CallError, CallOptions, Code, Endpoint, Instances, Limits, NoError,
    RoleSet, Server, Streaming, service,
};
use convoke_types::Selector;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use world::{Carrier, until};

#[service]
trait Compute {
    /// Whoever answers says its number.
    #[rpc(idempotent)]
    async fn who(&self) -> Result<usize, NoError>;
    /// Counts, which twice is not once.
    async fn count(&self) -> Result<usize, NoError>;
    /// Waits at the gate, and says if it was given up there.
    #[rpc(idempotent)]
    async fn wait(&self) -> Result<usize, NoError>;
    /// Its number, without end.
    async fn pour(&self) -> Result<Streaming<usize>, NoError>;
    /// The numbers it is sent, and then its own.
    async fn sum(&self, numbers: Streaming<u32>) -> Result<u32, NoError>;
}

/// The same with a method that some instances do not have.
#[service(name = "Compute")]
trait NewCompute {
    async fn news(&self) -> Result<usize, NoError>;
    #[rpc(idempotent)]
    async fn who(&self) -> Result<usize, NoError>;
}

#[derive(Default)]
struct Board {
    number: usize,
    ran: AtomicUsize,
    waits: AtomicUsize,
    is_open: AtomicBool,
    gate: Notify,
}

struct Waiting<'a>(&'a Board);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Worker(Arc<Board>);

impl Compute for Worker {
    async fn who(&self) -> Result<usize, NoError> {
        self.0.ran.fetch_add(1, Ordering::SeqCst);
        Ok(self.0.number)
    }

    async fn count(&self) -> Result<usize, NoError> {
        self.0.ran.fetch_add(1, Ordering::SeqCst);
        self.wait().await
    }

    async fn wait(&self) -> Result<usize, NoError> {
        self.0.waits.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.0);
        loop {
            let opened = self.0.gate.notified();
            if self.0.is_open.load(Ordering::SeqCst) {
                return Ok(self.0.number);
            }
            opened.await;
        }
    }

    async fn pour(&self) -> Result<Streaming<usize>, NoError> {
        let number = self.0.number;
        Ok(Streaming::from_stream(futures_util::stream::repeat(Ok(
            number,
        ))))
    }

    async fn sum(&self, mut numbers: Streaming<u32>) -> Result<u32, NoError> {
        let mut sum = 0;
        while let Some(Ok(number)) = numbers.next().await {
            sum += number;
        }
        Ok(sum)
    }
}

struct NewWorker(usize);

impl NewCompute for NewWorker {
    async fn news(&self) -> Result<usize, NoError> {
        Ok(self.0)
    }

    async fn who(&self) -> Result<usize, NoError> {
        Ok(self.0)
    }
}

/// One server and what it did.
struct Host {
    board: Arc<Board>,
    endpoint: Endpoint,
    server: Server,
    instance: Instance,
}

/// Several servers that one client knows.
struct Fleet {
    cluster: Development,
    carrier: Carrier,
    hosts: Vec<Host>,
    instances: Instances,
    client: Endpoint,
}

impl Fleet {
    fn of(count: usize) -> Self {
        let (cluster, carrier) = (Development::new(), Carrier::Tcp);
        let client = carrier.endpoint(&cluster, RoleSet::ALL, Limits::default());
        let mut fleet = Self {
            cluster,
            carrier,
            hosts: Vec::new(),
            instances: Instances::new(),
            client,
        };
        for _ in 0..count {
            fleet.add();
        }
        fleet
    }

    fn host(&self) -> Endpoint {
        self.carrier
            .endpoint(&self.cluster, RoleSet::ALL, Limits::default())
    }

    fn add(&mut self) {
        let number = self.hosts.len();
        let board = Arc::new(Board {
            number,
            ..Board::default()
        });
        let endpoint = self.host();
        let server = ComputeServer::new(Worker(Arc::clone(&board)));
        let server = Server::builder().service(server).serve(&endpoint).unwrap();
        let instance = described(&endpoint);
        self.say(Update::Upsert(instance.clone()));
        self.hosts.push(Host {
            board,
            endpoint,
            server,
            instance,
        });
    }

    fn say(&self, update: Update) {
        self.instances.apply([update]).unwrap();
    }

    fn client(&self, params: Params) -> (Balanced, ComputeClient) {
        let config = BalancedConfig {
            params,
            seed: Some(7),
            ..BalancedConfig::default()
        };
        let all = Selector::everything();
        let balanced = Balanced::new(&self.client, &self.instances, "Compute", all, config);
        let client = ComputeClient::new(&balanced);
        (balanced, client)
    }

    /// Without a word to anybody.
    async fn kill(&self, number: usize) {
        self.hosts[number].endpoint.close().await;
    }

    fn ran(&self) -> Vec<usize> {
        let ran = |host: &Host| host.board.ran.load(Ordering::SeqCst);
        self.hosts.iter().map(ran).collect()
    }

    fn open_gates(&self) {
        for host in &self.hosts {
            host.board.is_open.store(true, Ordering::SeqCst);
            host.board.gate.notify_waiters();
        }
    }

    async fn end(self, balanced: Balanced) {
        self.open_gates();
        balanced.close(Duration::from_secs(1)).await;
        for host in self.hosts {
            host.server.shutdown(Duration::from_secs(1)).await;
            host.endpoint.close().await;
        }
        self.client.close().await;
    }
}

fn described(endpoint: &Endpoint) -> Instance {
    let id = InstanceId::Node {
        node: endpoint.identity().node_id(),
        number: 0,
    };
    let address = endpoint.local_address().unwrap().to_string();
    Instance {
        addresses: vec![address.as_str().into()],
        ..Instance::new(id, "Compute")
    }
}

fn round_robin() -> Params {
    Params::lan().strategy(Strategy::RoundRobin)
}

#[tokio::test]
async fn calls_go_to_all_in_turn_and_to_a_newcomer_at_once() {
    let mut fleet = Fleet::of(2);
    let (balanced, client) = fleet.client(Params {
        slow_start: Duration::ZERO,
        ..round_robin()
    });
    for _ in 0..10 {
        client.who().await.unwrap();
    }
    assert_eq!(fleet.ran(), [5, 5]);
    fleet.add();
    for _ in 0..9 {
        client.who().await.unwrap();
    }
    assert_eq!(fleet.ran()[2], 3, "{:?}", fleet.ran());
    assert_eq!(balanced.connect(Duration::from_secs(5)).await, 3);
    fleet.end(balanced).await;
}

#[tokio::test]
async fn when_an_instance_is_killed_no_call_fails_that_may_run_again() {
    let fleet = Fleet::of(3);
    let (balanced, client) = fleet.client(Params::lan());
    let done = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (client, done) = (client.clone(), Arc::clone(&done));
        callers.spawn(async move {
            while done.load(Ordering::SeqCst) < 4_000 {
                let options = CallOptions::new().timeout(Duration::from_secs(20));
                client.with(options).who().await?;
                done.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<(), CallError<NoError>>(())
        });
    }
    until("calls flow", || done.load(Ordering::SeqCst) > 500).await;
    fleet.kill(1).await;
    until("calls flow on", || done.load(Ordering::SeqCst) > 2_000).await;
    fleet.kill(2).await;
    while let Some(ended) = callers.join_next().await {
        ended.unwrap().expect("nobody has to know");
    }
    let counters = balanced.counters();
    assert!(
        counters.retries <= counters.first_attempts / 5 + 12,
        "{counters:?}"
    );
    fleet.end(balanced).await;
}

#[tokio::test]
async fn what_may_have_run_is_not_run_twice() {
    let fleet = Fleet::of(2);
    let (balanced, client) = fleet.client(round_robin());
    let mut calls = JoinSet::new();
    calls.spawn({
        let client = client.clone();
        async move { client.count().await }
    });
    until("it runs", || fleet.ran().iter().sum::<usize>() == 1).await;
    let at = fleet.ran().iter().position(|it| *it == 1).unwrap();
    fleet.kill(at).await;
    let ended = calls.join_next().await.unwrap();
    let error = ended.unwrap().expect_err("its server is gone");
    assert!(error.may_have_run(), "{error}");
    assert_eq!(fleet.ran().iter().sum::<usize>(), 1);
    fleet.end(balanced).await;
}

#[tokio::test]
async fn a_verdict_counts_for_the_next_call() {
    let fleet = Fleet::of(3);
    let (balanced, client) = fleet.client(round_robin());
    let id = |at: usize| fleet.hosts[at].instance.id.clone();
    for (health, gets) in [
        (Health::Unreachable, 0),
        (Health::Serving, 10),
        (Health::Failed, 0),
        (Health::NotServing, 0),
    ] {
        fleet.say(Update::Health(id(0), health));
        let before = fleet.ran()[0];
        for _ in 0..30 {
            client.who().await.unwrap();
        }
        assert_eq!(fleet.ran()[0] - before, gets, "{health:?}");
    }
    let explained = balanced.explain();
    let first = explained.iter().find(|it| it.id == id(0)).unwrap();
    assert!(!first.is_chosen, "{first:?}");
    // With nobody left it is said so, and nothing ran.
    for at in 0..3 {
        fleet.say(Update::Health(id(at), Health::Failed));
    }
    let error = client.who().await.expect_err("all are lost");
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert!(!error.may_have_run());
    assert!(error.to_string().contains("3 failed"), "{error}");
    fleet.end(balanced).await;
}

#[tokio::test]
async fn a_method_that_some_do_not_have_is_called_on_those_that_do() {
    let fleet = Fleet::of(2);
    let newer = fleet.host();
    let server = NewComputeServer::new(NewWorker(9));
    let server = Server::builder().service(server).serve(&newer).unwrap();
    fleet.say(Update::Upsert(described(&newer)));
    let (balanced, _) = fleet.client(round_robin());
    let client = NewComputeClient::new(&balanced);
    for _ in 0..6 {
        assert_eq!(client.news().await, Ok(9));
    }
    // One of which it is known what it has is not even asked.
    for host in &fleet.hosts {
        let methods: Vec<Arc<str>> = ["count", "pour", "wait", "who"].map(Into::into).into();
        fleet.say(Update::Upsert(Instance {
            methods: Some(methods.into()),
            ..host.instance.clone()
        }));
    }
    let before = balanced.counters().retries;
    for _ in 0..6 {
        assert_eq!(client.news().await, Ok(9));
    }
    assert_eq!(balanced.counters().retries, before);
    // What every server has besides is in no offer, and is asked all the same.
    let checks = HealthCheckClient::new(&balanced);
    for _ in 0..6 {
        let health = checks.check("Compute").await;
        assert_eq!(health, Ok(convoke_rpc::health::Health::Serving));
    }
    fleet.say(Update::Remove(described(&newer).id));
    let error = client.news().await.expect_err("nobody has it");
    assert!(
        error.to_string().contains("2 do not have the method"),
        "{error}"
    );
    server.shutdown(Duration::from_secs(1)).await;
    newer.close().await;
    fleet.end(balanced).await;
}

#[tokio::test]
async fn a_stream_stays_with_its_instance_and_counts_there_until_it_ends() {
    let fleet = Fleet::of(2);
    let (balanced, client) = fleet.client(round_robin());
    let in_flight = || {
        balanced
            .explain()
            .iter()
            .map(|it| it.in_flight)
            .sum::<u32>()
    };
    let mut stream = client.pour().await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    for _ in 0..50 {
        assert_eq!(stream.next().await, Some(Ok(first)));
    }
    assert_eq!(in_flight(), 1);
    drop(stream);
    until("its place is free", || in_flight() == 0).await;

    let mut lost = client.pour().await.unwrap();
    let at = lost.next().await.unwrap().unwrap();
    fleet.kill(at).await;
    let end = loop {
        match lost.next().await {
            Some(Ok(_)) => {}
            end => break end,
        }
    };
    let Some(Err(CallError::Rpc(problem))) = end else {
        panic!("it ended without a word: {end:?}");
    };
    assert_eq!(problem.code, Code::LinkLost);
    assert_eq!(in_flight(), 0);
    let numbers = Streaming::from(vec![1, 2, 3]);
    assert_eq!(client.sum(numbers).await, Ok(6), "the other one is there");
    fleet.end(balanced).await;
}

#[tokio::test]
async fn who_has_no_room_queues_and_then_refuses_and_nothing_ran() {
    let fleet = Fleet::of(1);
    let (balanced, client) = fleet.client(Params {
        limit_first: 1,
        limit_most: 1,
        waiting_most: 1,
        wait_most: Duration::from_secs(20),
        ..Params::lan()
    });
    let board = Arc::clone(&fleet.hosts[0].board);
    let mut calls = JoinSet::new();
    let mut call = || {
        let client = client.clone();
        calls.spawn(async move { client.wait().await });
    };
    call();
    until("one runs", || board.waits.load(Ordering::SeqCst) == 1).await;
    call();
    until("one waits", || balanced.waiting() == 1).await;
    let refused = client.wait().await.expect_err("there is no room");
    assert_eq!(refused.code(), Some(Code::Overloaded));
    assert!(!refused.may_have_run());
    assert!(refused.to_string().contains("overloaded"), "{refused}");
    fleet.open_gates();
    while let Some(ended) = calls.join_next().await {
        assert_eq!(ended.unwrap(), Ok(0));
    }
    fleet.end(balanced).await;
}

#[tokio::test]
async fn giving_up_reaches_the_instance_and_frees_the_place() {
    let fleet = Fleet::of(1);
    let (balanced, client) = fleet.client(Params {
        limit_first: 1,
        limit_most: 1,
        ..Params::lan()
    });
    let board = Arc::clone(&fleet.hosts[0].board);
    let mut calls = JoinSet::new();
    calls.spawn({
        let client = client.clone();
        async move { client.wait().await }
    });
    until("it waits", || board.waits.load(Ordering::SeqCst) == 1).await;
    calls.abort_all();
    until("it was given up there", || {
        board.waits.load(Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(client.who().await, Ok(0), "there is room again");
    // So does one whose time is over.
    let short = CallOptions::new().timeout(Duration::from_millis(50));
    let error = client.with(short).wait().await.expect_err("no gate opens");
    assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    until("it was given up there", || {
        board.waits.load(Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(client.who().await, Ok(0));
    fleet.end(balanced).await;
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_instance() {
    let fleet = Fleet::of(4);
    let (balanced, client) = fleet.client(Params::lan().strategy(Strategy::ConsistentHash));
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..40 {
        let client = client.with(CallOptions::new().key(format!("key-{number}")));
        let first = client.who().await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.who().await, Ok(first));
        }
        seen.insert(first);
    }
    assert!(seen.len() >= 3, "{seen:?}");
    fleet.end(balanced).await;
}

#[tokio::test]
async fn who_cannot_be_reached_costs_no_more_than_its_patience() {
    let fleet = Fleet::of(1);
    // Nobody listens there.
    let gone = fleet.host();
    let instance = described(&gone);
    gone.close().await;
    fleet.say(Update::Upsert(instance));
    // And this one does not even say where it is.
    let nowhere = InstanceId::named("nowhere");
    fleet.say(Update::Upsert(Instance::new(nowhere, "Compute")));
    let (balanced, client) = fleet.client(round_robin());
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(client.who().await, Ok(0));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it was tried each time"
    );
    balanced.close(Duration::ZERO).await;
    let error = client.who().await.expect_err("it is closed");
    assert!(error.to_string().contains("closed"), "{error}");
    fleet.end(balanced).await;
}
