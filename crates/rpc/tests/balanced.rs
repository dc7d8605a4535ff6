//! Calls to whichever instance is best: several servers, one client, and what goes wrong between them.

mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use convoke_balance::{Health, Instance, InstanceId, Params, Standing, Strategy, Update};
use convoke_rpc::identity::Development;
use convoke_rpc::{
    Balanced, BalancedConfig, CallError, CallOptions, Caller, Code, Encoded, Endpoint, Instances,
    Limits, NoError, Problem, RoleSet, Server, Streaming, service,
};
use convoke_types::{Selector, Tag};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use world::{Carrier, Random, until};

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
    /// Writes a number down, which must not happen twice.
    async fn once(&self, number: u64) -> Result<(), NoError>;
    /// Half of an even number.
    async fn half(&self, number: u32) -> Result<u32, Rude>;
    /// Numbers up to a last one, and who says them.
    #[rpc(idempotent, resumable(after = number))]
    async fn tell(&self, wanted: Wanted) -> Result<Streaming<Told, Rude>, Rude>;
}

/// Numbers to be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wanted {
    last: u64,
    #[serde(default)]
    after: Option<u64>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    number: u64,
    by: usize,
    /// So that no window holds many.
    ballast: String,
}

/// Not to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rude;

/// The same with a method that some instances do not have.
#[service(name = "Compute")]
trait NewCompute {
    async fn news(&self) -> Result<usize, NoError>;
    #[rpc(idempotent)]
    async fn who(&self) -> Result<usize, NoError>;
}

/// The same as it was before `tell` knew where to go on.
#[service(name = "Compute")]
trait OldCompute {
    #[rpc(idempotent)]
    async fn tell(&self, wanted: Wanted) -> Result<Streaming<Told, Rude>, Rude>;
}

#[derive(Default)]
struct Board {
    number: usize,
    ran: AtomicUsize,
    waits: AtomicUsize,
    is_open: AtomicBool,
    gate: Notify,
    ledger: Arc<Ledger>,
}

/// How often each number was written down, by whomever.
type Ledger = Mutex<BTreeMap<u64, u32>>;

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

    async fn once(&self, number: u64) -> Result<(), NoError> {
        *self.0.ledger.lock().unwrap().entry(number).or_default() += 1;
        // So that some are under way whenever an instance is killed.
        for _ in 0..300 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn half(&self, number: u32) -> Result<u32, Rude> {
        if number.is_multiple_of(2) {
            Ok(number / 2)
        } else {
            Err(Rude)
        }
    }

    async fn tell(&self, wanted: Wanted) -> Result<Streaming<Told, Rude>, Rude> {
        telling(Arc::clone(&self.0), wanted)
    }
}

/// It says nothing unless it is well, and numbers that nobody may hear never.
fn telling(board: Arc<Board>, wanted: Wanted) -> Result<Streaming<Told, Rude>, Rude> {
    board.ran.fetch_add(1, Ordering::SeqCst);
    let begin = wanted.after.map_or(0, |after| after + 1);
    if begin > wanted.last + 1 {
        return Err(Rude);
    }
    let by = board.number;
    let numbers = (begin..=wanted.last).map(move |number| {
        let ballast = "x".repeat(1_000);
        Ok(Told {
            number,
            by,
            ballast,
        })
    });
    Ok(Streaming::from_stream(futures_util::stream::iter(numbers)))
}

/// Tells from the beginning, whatever it is asked.
struct OldWorker(Arc<Board>);

impl OldCompute for OldWorker {
    async fn tell(&self, wanted: Wanted) -> Result<Streaming<Told, Rude>, Rude> {
        let after = None;
        telling(Arc::clone(&self.0), Wanted { after, ..wanted })
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
    ledger: Arc<Ledger>,
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
            ledger: Arc::default(),
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
            ledger: Arc::clone(&self.ledger),
            ..Board::default()
        });
        let host = self.start(board);
        self.hosts.push(host);
    }

    fn start(&self, board: Arc<Board>) -> Host {
        let endpoint = self.host();
        let server = ComputeServer::new(Worker(Arc::clone(&board)));
        let server = Server::builder().service(server).serve(&endpoint).unwrap();
        let instance = described(&endpoint);
        self.say(Update::Upsert(instance.clone()));
        Host {
            board,
            endpoint,
            server,
            instance,
        }
    }

    /// Ends in order, without a word to the registry before, and starts anew elsewhere.
    async fn restart(&mut self, number: usize) {
        let next = self.start(Arc::clone(&self.hosts[number].board));
        let last = std::mem::replace(&mut self.hosts[number], next);
        last.server.shutdown(Duration::from_secs(2)).await;
        last.endpoint.close().await;
        self.say(Update::Remove(last.instance.id));
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

    fn waits(&self) -> Vec<usize> {
        let waits = |host: &Host| host.board.waits.load(Ordering::SeqCst);
        self.hosts.iter().map(waits).collect()
    }

    fn close_gates(&self) {
        for host in &self.hosts {
            host.board.is_open.store(false, Ordering::SeqCst);
        }
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
async fn no_call_finds_out_whether_a_lost_link_is_back() {
    let fleet = Fleet::of(2);
    let config = BalancedConfig {
        params: Params {
            hedge_after: Duration::MAX,
            ..round_robin()
        },
        patience: Duration::from_secs(30),
        seed: Some(7),
        ..BalancedConfig::default()
    };
    let all = Selector::everything();
    let balanced = Balanced::new(&fleet.client, &fleet.instances, "Compute", all, config);
    assert_eq!(balanced.connect(Duration::from_secs(5)).await, 2);
    let client = ComputeClient::new(&balanced);
    fleet.kill(1).await;
    let id = &fleet.hosts[1].instance.id;
    let left_alone_for = || {
        let all = balanced.explain();
        let standing = &all.iter().find(|it| it.id == *id).unwrap().standing;
        if let Standing::LinkDown(left) = standing {
            return *left;
        }
        Duration::ZERO
    };
    while left_alone_for().is_zero() {
        client.who().await.unwrap();
    }
    // Twice more its pause is over and it is somebody's turn to find out.
    let before = balanced.counters();
    while left_alone_for() < Duration::from_millis(250) {
        assert_eq!(client.who().await, Ok(0));
    }
    let after = balanced.counters();
    assert_eq!(after.retries, before.retries);
    assert_eq!(after.desperate, 0);
    fleet.end(balanced).await;
}

#[tokio::test]
async fn an_idempotent_call_does_not_wait_for_who_has_fallen_silent() {
    let fleet = Fleet::of(2);
    let (balanced, client) = fleet.client(Params {
        hedge_after: Duration::from_millis(1),
        ..round_robin()
    });
    balanced.connect(Duration::from_secs(5)).await;
    // What is usual has to be known first.
    fleet.open_gates();
    for _ in 0..100 {
        client.wait().await.unwrap();
    }
    let closed = &fleet.hosts[0].board;
    closed.is_open.store(false, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(
            client.wait().await,
            Ok(1),
            "nobody answers at the other one"
        );
    }
    // What it was given was given up there as well.
    until("nobody waits there", || {
        closed.waits.load(Ordering::SeqCst) == 0
    })
    .await;
    let counters = balanced.counters();
    assert!(counters.retries > 0, "{counters:?}");
    assert_eq!(counters.first_attempts, 120, "{counters:?}");
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
    let mut taken = 1;
    let end = loop {
        match lost.next().await {
            Some(Ok(_)) => taken += 1,
            end => break end,
        }
    };
    let Some(Err(CallError::Rpc(problem))) = end else {
        panic!("it ended without a word: {end:?}");
    };
    assert_eq!(problem.code, Code::LinkLost);
    let told = format!("the stream was cut after {taken} items");
    assert!(problem.message().contains(&told), "{problem}");
    assert_eq!(in_flight(), 0);
    let numbers = Streaming::from(vec![1, 2, 3]);
    assert_eq!(client.sum(numbers).await, Ok(6), "the other one is there");
    fleet.end(balanced).await;
}

/// Takes all that is told, checking that each number comes once and in order; in between, something happens at some of them.
async fn take_all(mut stream: Streaming<Told, Rude>, mut at: impl AsyncFnMut(&Told)) -> u64 {
    let mut next = 0;
    while let Some(told) = stream.next().await {
        let told = told.unwrap_or_else(|error| panic!("it ends at {next}: {error:?}"));
        assert_eq!(told.number, next, "no gap, and nothing twice");
        next += 1;
        at(&told).await;
    }
    next
}

/// More than any window holds, so that whoever tells is cut off while it tells.
const MANY: u64 = 60_000;

#[tokio::test]
async fn a_resumable_stream_goes_on_with_another_when_its_instance_is_killed() {
    let fleet = Fleet::of(4);
    let (balanced, client) = fleet.client(Params::lan());
    let mut random = Random::from_environment("balanced");
    let mut cuts: Vec<u64> = (0..3).map(|_| random.below(MANY / 2)).collect();
    cuts.sort_unstable();
    let stream = client.tell(&wanted(MANY)).await.unwrap();
    let mut tellers = std::collections::BTreeSet::new();
    let mut killed = None;
    let taken = take_all(stream, async |told| {
        tellers.insert(told.by);
        // What comes after its death was on its way before.
        let is_alive = killed != Some(told.by);
        if is_alive && cuts.first().is_some_and(|cut| told.number >= *cut) {
            killed = Some(told.by);
            cuts.remove(0);
            fleet.kill(told.by).await;
        }
    });
    assert_eq!(taken.await, MANY + 1);
    assert_eq!(tellers.len(), 4, "each was killed but one");
    let in_flight = balanced
        .explain()
        .iter()
        .map(|it| it.in_flight)
        .sum::<u32>();
    assert_eq!(in_flight, 0);
    fleet.end(balanced).await;
}

#[tokio::test]
async fn a_resumable_stream_goes_on_over_a_channel_when_its_server_is_back() {
    let (cluster, carrier) = (Development::new(), Carrier::Tcp);
    let identity = cluster.identity(RoleSet::ALL);
    let board = Arc::new(Board::default());
    let serve_at = async |address: SocketAddr| {
        let bound = std::cell::OnceCell::new();
        until("the address is free", || {
            let (identity, trust) = (identity.clone(), cluster.trust());
            let tried = carrier.endpoint_at(address, identity, trust, Limits::default());
            tried.is_ok_and(|endpoint| bound.set(endpoint).is_ok())
        })
        .await;
        let endpoint = bound.into_inner().expect("it was just set");
        let server = endpoint.serve(ComputeServer::new(Worker(Arc::clone(&board))));
        (server.unwrap(), endpoint)
    };
    let (server, endpoint) = serve_at("127.0.0.1:0".parse().unwrap()).await;
    let at = endpoint.local_address().unwrap();
    let caller = carrier.endpoint(&cluster, RoleSet::ALL, Limits::default());
    let channel = caller.channel(at);
    let client = ComputeClient::new(&channel);
    let stream = client.tell(&wanted(MANY)).await.unwrap();
    let mut serving = Some((server, endpoint));
    let taken = take_all(stream, async |told| {
        if told.number == 1_000 {
            let (server, endpoint) = serving.take().expect("it serves");
            endpoint.close().await;
            server.shutdown(Duration::ZERO).await;
            drop(endpoint);
            serving = Some(serve_at(at).await);
        }
    });
    assert_eq!(taken.await, MANY + 1);
    assert_eq!(board.ran.load(Ordering::SeqCst), 2);
    channel.close(Duration::from_secs(1)).await;
    let (server, endpoint) = serving.expect("it serves");
    server.shutdown(Duration::from_secs(1)).await;
    endpoint.close().await;
    caller.close().await;
}

#[tokio::test]
async fn a_stream_does_not_go_on_with_who_would_begin_again() {
    let fleet = Fleet::of(2);
    let board = Arc::new(Board {
        number: 7,
        ..Board::default()
    });
    let older = fleet.host();
    let worker = OldComputeServer::new(OldWorker(Arc::clone(&board)));
    let server = older.serve(worker).unwrap();
    fleet.say(Update::Upsert(described(&older)));
    let health = |id: &InstanceId, health| fleet.say(Update::Health(id.clone(), health));
    let old = described(&older).id;
    let [first, second] = [0, 1].map(|at: usize| fleet.hosts[at].instance.id.clone());
    let asked = || board.ran.load(Ordering::SeqCst);
    health(&old, Health::NotServing);
    health(&second, Health::NotServing);
    let (balanced, client) = fleet.client(round_robin());
    let patient = client.with(CallOptions::new().resume_for(Duration::from_secs(20)));
    let stream = patient.tell(&wanted(MANY)).await.unwrap();
    let taking = take_all(stream, async |told| {
        assert_ne!(told.by, 7, "it would have begun from the beginning");
        if told.number == 1_000 {
            // Only the older one is left, for a while.
            health(&old, Health::Serving);
            health(&first, Health::Failed);
            fleet.kill(0).await;
        }
    });
    let returning = async {
        until("the older one was asked", || asked() > 0).await;
        health(&second, Health::Serving);
    };
    let (taken, ()) = tokio::join!(taking, returning);
    assert_eq!(taken, MANY + 1);

    // With the older one alone it ends, and says so.
    health(&old, Health::NotServing);
    let short = client.with(CallOptions::new().resume_for(Duration::from_millis(300)));
    let mut stream = short.tell(&wanted(MANY)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().by, 1);
    health(&old, Health::Serving);
    health(&second, Health::Failed);
    fleet.kill(1).await;
    let (taken, problem) = cut(stream).await;
    assert_eq!(problem.code, Code::Unimplemented, "{problem}");
    let told = format!("after {} items", taken + 1);
    assert!(problem.message().contains(&told), "{problem}");
    server.shutdown(Duration::from_secs(1)).await;
    older.close().await;
    fleet.end(balanced).await;
}

/// Reads to where it is cut: how many more came, and why no more do.
async fn cut(mut stream: Streaming<Told, Rude>) -> (u64, Problem) {
    let mut taken = 0;
    let end = loop {
        match stream.next().await {
            Some(Ok(_)) => taken += 1,
            end => break end,
        }
    };
    let Some(Err(CallError::Rpc(problem))) = end else {
        panic!("it ended without a word: {end:?}");
    };
    assert_eq!(stream.next().await, None);
    (taken, problem)
}

#[tokio::test]
async fn a_stream_that_is_to_go_on_nowhere_or_not_at_all_ends_as_others_do() {
    let fleet = Fleet::of(2);
    let (balanced, client) = fleet.client(round_robin());
    let never = client.with(CallOptions::new().resume_for(Duration::ZERO));
    let mut stream = never.tell(&wanted(MANY)).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    fleet.kill(first.by).await;
    let (taken, problem) = cut(stream).await;
    assert_eq!(problem.code, Code::LinkLost, "{problem}");
    let told = format!("the stream was cut after {} items", taken + 1);
    assert!(problem.message().contains(&told), "{problem}");

    // What the handler itself refuses is its own error, at the beginning and when it goes on.
    let nonsense = Wanted {
        last: 0,
        after: Some(9),
    };
    let refused = client.tell(&nonsense).await.expect_err("it is nonsense");
    assert_eq!(refused, CallError::App(Rude));
    fleet.end(balanced).await;
}

fn wanted(last: u64) -> Wanted {
    Wanted { last, after: None }
}

#[tokio::test]
async fn who_does_not_have_the_trait_calls_by_name() {
    let fleet = Fleet::of(2);
    let (balanced, _) = fleet.client(round_robin());
    let caller = Caller::from(&balanced);
    assert_eq!(caller.call_by_name("Compute.half", &8_u32).await, Ok(4_u32));
    let odd = caller.call_by_name::<_, u32>("Compute.half", &7_u32).await;
    let Err(CallError::App(own)) = odd else {
        panic!("it is odd: {odd:?}");
    };
    assert_eq!(own.read(), Ok(Rude));
    // As bytes, by whoever only passes them on.
    let bytes: Encoded = caller
        .call_by_name("Compute.half", &Encoded(vec![8]))
        .await
        .unwrap();
    assert_eq!(bytes, Encoded(vec![4]));
    for (name, code) in [
        ("half", Code::InvalidArgument),
        ("Compute.nothing", Code::Unimplemented),
    ] {
        let error = caller.call_by_name::<_, u32>(name, &8_u32).await;
        assert_eq!(error.expect_err(name).code(), Some(code), "{name}");
    }

    // What may have run is not run again, unless somebody says that it does no harm.
    for (options, goes_on) in [
        (CallOptions::new().idempotent(), true),
        (CallOptions::new(), false),
    ] {
        let caller = caller.with(options);
        let before: Vec<usize> = fleet.waits();
        let mut calls = JoinSet::new();
        calls.spawn(async move { caller.call_by_name::<_, usize>("Compute.wait", &()).await });
        until("one waits", || fleet.waits() != before).await;
        let at = fleet.waits().iter().position(|it| *it == 1).unwrap();
        fleet.kill(at).await;
        if goes_on {
            until("another waits", || fleet.waits()[1 - at] == 1).await;
            fleet.open_gates();
        }
        let ended = calls.join_next().await.unwrap().unwrap();
        assert_eq!(ended.is_ok(), goes_on, "{ended:?}");
        if let Err(error) = ended {
            assert!(error.may_have_run(), "{error}");
        }
        fleet.close_gates();
    }
    fleet.end(balanced).await;
}

#[tokio::test]
async fn all_are_asked_and_each_has_an_answer_or_a_reason() {
    let fleet = Fleet::of(4);
    let (balanced, _) = fleet.client(round_robin());
    fleet.kill(1).await;
    let id = |at: usize| fleet.hosts[at].instance.id.clone();
    fleet.say(Update::Health(id(2), Health::Failed));
    let mut calls = JoinSet::new();
    let asking = balanced.clone();
    calls.spawn(async move {
        let options = CallOptions::new().timeout(Duration::from_secs(20));
        asking
            .call_each::<_, usize>("Compute.who", &(), &options)
            .await
    });
    let all = calls.join_next().await.unwrap().unwrap().unwrap();
    let ids: Vec<InstanceId> = all.iter().map(|one| one.by.id.clone()).collect();
    assert!(ids.is_sorted() && ids.len() == 4, "{ids:?}");
    for one in all {
        let at = (0..4).find(|at| id(*at) == one.by.id).unwrap();
        match at {
            1 | 2 => {
                let error = one.answer.expect_err("it is gone");
                assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
            }
            _ => assert_eq!(one.answer, Ok(at)),
        }
    }
    let options = CallOptions::new();
    let nonsense = balanced.call_each::<_, usize>("who", &(), &options).await;
    assert_eq!(nonsense.unwrap_err().code, Code::InvalidArgument);
    fleet.end(balanced).await;
}

#[tokio::test]
async fn a_call_has_as_many_attempts_as_it_asks_for() {
    let fleet = Fleet::of(5);
    for number in 0..5 {
        fleet.kill(number).await;
    }
    for (asked, sent) in [(None, 3), (Some(1), 1), (Some(5), 5)] {
        let (balanced, client) = fleet.client(round_robin());
        let client =
            client.with(asked.map_or_else(CallOptions::new, |it| CallOptions::new().attempts(it)));
        client.who().await.expect_err("nobody is there");
        let counters = balanced.counters();
        assert_eq!(
            counters.first_attempts + counters.retries,
            sent,
            "{asked:?}"
        );
        balanced.close(Duration::ZERO).await;
    }
    let (balanced, _) = fleet.client(round_robin());
    fleet.end(balanced).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_nothing_and_nothing_runs_twice() {
    let mut fleet = Fleet::of(3);
    // Streams that keep both processors busy look like a queue to whoever measures small calls beside them.
    let (balanced, client) = fleet.client(Params {
        limit_first: 100,
        limit_least: 100,
        limit_most: 100,
        ..Params::lan()
    });
    let (is_over, done, next) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    // One of them may be lost when its instance is killed; none is when it is restarted in order.
    let kills = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..6 {
        let client = client.with(CallOptions::new().timeout(Duration::from_secs(20)));
        let (is_over, done, next) = (is_over.clone(), done.clone(), next.clone());
        let kills = Arc::clone(&kills);
        callers.spawn(async move {
            let mut written = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                client.who().await.expect("it may run again");
                let number = next.fetch_add(1, Ordering::SeqCst);
                match client.once(&number).await {
                    Ok(()) => written.push(number),
                    Err(error) => {
                        assert!(kills.load(Ordering::SeqCst), "nobody was killed: {error}");
                        assert!(
                            error.may_have_run(),
                            "it could have been tried again: {error}"
                        );
                    }
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
            written
        });
    }
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let (client, is_over) = (client.clone(), Arc::clone(&is_over));
        readers.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let stream = client
                    .tell(&wanted(20_000))
                    .await
                    .expect("somebody is there");
                assert_eq!(take_all(stream, async |_| {}).await, 20_001);
            }
        });
    }
    let flows_on = async || {
        let before = done.load(Ordering::SeqCst);
        until("calls flow on", || {
            done.load(Ordering::SeqCst) > before + 60
        })
        .await;
    };
    for number in [0, 1, 2, 0, 1, 2] {
        flows_on().await;
        fleet.restart(number).await;
    }
    kills.store(true, Ordering::SeqCst);
    for number in [0, 1] {
        flows_on().await;
        fleet.kill(number).await;
        let id = fleet.hosts[number].instance.id.clone();
        flows_on().await;
        fleet.say(Update::Health(id, Health::Failed));
    }
    flows_on().await;
    is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = readers.join_next().await {
        ended.expect("every token came once and in order");
    }
    let ledger = Arc::clone(&fleet.ledger);
    while let Some(written) = callers.join_next().await {
        for number in written.expect("no call failed that may not") {
            assert_eq!(ledger.lock().unwrap().get(&number), Some(&1), "{number}");
        }
    }
    let twice = |ledger: &BTreeMap<u64, u32>| ledger.values().filter(|it| **it > 1).count();
    assert_eq!(twice(&ledger.lock().unwrap()), 0);
    let counters = balanced.counters();
    assert!(
        counters.retries <= counters.first_attempts / 5 + 12,
        "{counters:?}"
    );
    fleet.end(balanced).await;
}

#[tokio::test]
async fn versions_are_chosen_by_a_selector_and_followed_as_they_change() {
    let fleet = Fleet::of(2);
    let says = |at: usize, version: &str| {
        let mut instance = fleet.hosts[at].instance.clone();
        let tag = Tag::with_value("version", version).unwrap();
        instance.tags.insert(tag).unwrap();
        fleet.say(Update::Upsert(instance));
    };
    says(0, "1.4.0");
    says(1, "2.0.0");
    let newer: Selector = "version >= 2.0".parse().unwrap();
    let config = BalancedConfig {
        params: Params {
            slow_start: Duration::ZERO,
            ..round_robin()
        },
        ..BalancedConfig::default()
    };
    let balanced = Balanced::new(&fleet.client, &fleet.instances, "Compute", newer, config);
    let client = ComputeClient::new(&balanced);
    let asked = async || {
        let mut seen = [0; 2];
        for _ in 0..6 {
            seen[client.who().await.unwrap()] += 1;
        }
        seen
    };
    assert_eq!(asked().await, [0, 6]);
    says(0, "2.1.0");
    assert_eq!(asked().await, [3, 3]);
    says(0, "1.9.9");
    says(1, "1.9.9");
    let error = client.who().await.expect_err("all are older");
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert!(!error.may_have_run(), "{error}");
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
