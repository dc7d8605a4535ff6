//! Random faults for as long as one likes, and then: is everything back where it was?
//!
//! Callers of every kind call through a network, while links are cut, servers restart, the network pauses, strangers send rubbish
//! and certificates end. An oracle watches: each call has one outcome, no answer is for another call, what says that it did not run
//! did not, nothing runs twice unless it was declared harmless, and what was declared harmless succeeds as soon as the server can be
//! reached. After each round descriptors, tasks and memory are what they were after the first.
//!
//! Ten seconds in CI. `CONVOKE_SOAK_SECONDS=3600 cargo test -p convoke-rpc --test soak -- --nocapture` takes an hour.
#![cfg(target_os = "linux")]
mod raw;
mod relay;
mod world;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use convoke_rpc::identity::{Development, Identity, Validity};
use convoke_rpc::{
    CallError, CallOptions, Changed, Channel, ChannelConfig, CloseCode, Code, Endpoint, Limits,
    NoError, Problem, Protocol, Retry, Role, Server, Streaming, Target, service,
};
use convoke_types::Timestamp;
use parking_lot::Mutex;
use relay::Relay;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use world::measure::{Rest, count_panics, panics};
use world::{Carrier, Random, until};

#[service]
trait Work {
    async fn once(&self, order: Order) -> Result<Order, NoError>;
    #[rpc(idempotent)]
    async fn again(&self, order: Order) -> Result<Order, NoError>;
    async fn never(&self) -> Result<u64, NoError>;
    async fn count(&self, from: u64) -> Result<Streaming<u64>, NoError>;
    async fn sum(&self, numbers: Streaming<u64>) -> Result<u64, NoError>;
    async fn mirror(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, NoError>;
}

/// A request, and the same as an answer: it says to which call it belongs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Order {
    id: u64,
    text: String,
}

/// What ran, and how often.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Journal {
    fn note(&self, id: u64) {
        *self.0.lock().entry(id).or_default() += 1;
    }

    fn times(&self, id: u64) -> u32 {
        self.0.lock().get(&id).copied().unwrap_or_default()
    }
}

impl Work for Journal {
    async fn once(&self, order: Order) -> Result<Order, NoError> {
        self.note(order.id);
        if order.id.is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
        Ok(order)
    }

    async fn again(&self, order: Order) -> Result<Order, NoError> {
        self.note(order.id);
        if order.id.is_multiple_of(2) {
            tokio::task::yield_now().await;
        }
        Ok(order)
    }

    async fn never(&self) -> Result<u64, NoError> {
        std::future::pending().await
    }

    async fn count(&self, from: u64) -> Result<Streaming<u64>, NoError> {
        Ok(Streaming::from_iter(from..))
    }

    async fn sum(&self, mut numbers: Streaming<u64>) -> Result<u64, NoError> {
        let mut sum = 0_u64;
        while let Some(Ok(number)) = numbers.next().await {
            sum = sum.wrapping_add(number);
        }
        Ok(sum)
    }

    async fn mirror(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, NoError> {
        Ok(numbers)
    }
}

fn limits() -> Limits {
    Limits {
        idle_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_millis(250),
        handshake_timeout: Duration::from_secs(1),
        ..Limits::default()
    }
}

// ---- The world ------------------------------------------------------------------------------------------------------------

/// One round: a cluster, a server that comes and goes, and everybody who calls it.
struct Round {
    carrier: Carrier,
    cluster: Development,
    address: SocketAddr,
    host: Identity,
    relay: Option<Relay>,
    journal: Journal,
    next_id: AtomicU64,
    calls: AtomicU64,
    over: AtomicBool,
}

impl Round {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn serve(&self, endpoint: &Endpoint) -> Server {
        let service = WorkServer::new(self.journal.clone());
        let server = Server::builder().service(service).serve(endpoint);
        server.expect("nobody else serves here")
    }

    /// The host's endpoint, at the address it always has.
    async fn bind(&self) -> Endpoint {
        let bound = Mutex::new(None);
        until("the address is free again", || {
            let endpoint = self.carrier.endpoint_at(
                self.address,
                self.host.clone(),
                self.cluster.trust(),
                limits(),
            );
            let is_free = endpoint.is_ok();
            *bound.lock() = endpoint.ok();
            is_free
        })
        .await;
        bound.into_inner().expect("waited for")
    }

    fn target(&self) -> Target {
        let address = self.relay.as_ref().map_or(self.address, |r| r.address);
        Target {
            addresses: vec![address],
            node: Some(self.host.node_id()),
        }
    }

    fn channel(&self, from: &Endpoint, random: &mut Random) -> Channel {
        let config = ChannelConfig {
            links: 1 + random.below(2) as usize,
            lanes: 1 + random.below(2) as usize,
            longest_pause: Duration::from_millis(200),
            ..ChannelConfig::default()
        };
        Channel::new(from, self.target(), config)
    }

    fn fresh_id(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

// ---- Callers and the oracle -----------------------------------------------------------------------------------------------

/// What may come of a call when its link, its server or its time is taken away. Anything else is a fault of ours.
fn is_excusable(problem: &Problem) {
    let excusable = matches!(
        problem.code,
        Code::LinkLost
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Overloaded
            | Code::Cancelled
    );
    assert!(excusable, "no fault of this test explains {problem:?}");
}

fn excused<T: std::fmt::Debug>(answer: Result<T, CallError<NoError>>) -> Result<T, Problem> {
    answer.map_err(|error| match error {
        CallError::Rpc(problem) => {
            is_excusable(&problem);
            problem
        }
        CallError::App(never) => match never {},
    })
}

impl Order {
    fn brief(id: u64) -> Self {
        let text = "brief".to_owned();
        Self { id, text }
    }

    fn new(random: &mut Random, id: u64) -> Self {
        let size = match random.below(20) {
            0 => 300_000,
            1..4 => 30_000,
            _ => random.below(500),
        };
        let text = format!("{id:08}").repeat(size as usize / 8 + 1);
        Self { id, text }
    }
}

async fn call_at_random(round: &Round, client: &WorkClient, random: &mut Random) {
    let id = round.fresh_id();
    match random.below(8) {
        0..3 => {
            let order = Order::new(random, id);
            match excused(client.once(&order).await) {
                Ok(done) => {
                    assert_eq!(done, order);
                    assert_eq!(round.journal.times(id), 1, "call {id} ran");
                }
                Err(problem) if problem.changed == Changed::No => {
                    assert_eq!(round.journal.times(id), 0, "call {id}: {problem}");
                }
                Err(_) => {}
            }
        }
        3 => {
            let order = Order::new(random, id);
            let patient = client.with(
                CallOptions::new()
                    .timeout(Duration::from_secs(20))
                    .attempts(16),
            );
            let begun = Instant::now();
            let done = loop {
                match excused(patient.again(&order).await) {
                    Ok(done) => break done,
                    Err(problem) => {
                        assert_ne!(problem.retry, Retry::Never, "call {id}: {problem}");
                        assert!(
                            begun.elapsed() < Duration::from_secs(60),
                            "call {id} is lost: {problem}"
                        );
                    }
                }
            };
            assert_eq!(done, order);
            assert!(round.journal.times(id) >= 1);
        }
        4 => {
            let hurried = client.with(CallOptions::new().timeout(Duration::from_millis(5)));
            let problem = excused(hurried.never().await).expect_err("it never answers");
            drop(problem);
        }
        5 => {
            // Given up after a few looks, at any point of its life.
            let order = Order::new(random, id);
            let mut call = Box::pin(client.once(&order));
            for _ in 0..random.below(20) {
                if futures_util::poll!(call.as_mut()).is_ready() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
        6 => {
            let Ok(mut counting) = excused(client.count(&id).await) else {
                return;
            };
            for expected in id..id + random.below(3_000) {
                match counting.next().await.expect("an error before an early end") {
                    Ok(number) => assert_eq!(number, expected),
                    Err(error) => {
                        let _ = excused::<()>(Err(error));
                        assert!(counting.next().await.is_none(), "one error, then the end");
                        return;
                    }
                }
            }
        }
        _ => {
            let count = random.below(2_000);
            let numbers = Streaming::from_iter((0..count).map(move |number| number + id));
            if random.below(2) == 0 {
                if let Ok(sum) = excused(client.sum(numbers).await) {
                    assert_eq!(sum, (0..count).map(|number| number + id).sum::<u64>());
                }
                return;
            }
            let Ok(mut mirrored) = excused(client.mirror(numbers).await) else {
                return;
            };
            for expected in id..id + count {
                match mirrored.next().await.expect("an error before an early end") {
                    Ok(number) => assert_eq!(number, expected),
                    Err(error) => return drop(excused::<()>(Err(error))),
                }
            }
            assert_eq!(mirrored.next().await, None);
        }
    }
}

async fn caller(round: Arc<Round>, endpoint: Endpoint, mut random: Random) {
    while !round.is_over() {
        let channel = round.channel(&endpoint, &mut random);
        let client = WorkClient::new(&channel).with(CallOptions::new().timeout(PATIENT));
        for _ in 0..random.below(400) {
            if round.is_over() {
                break;
            }
            call_at_random(&round, &client, &mut random).await;
        }
        if random.below(2) == 0 {
            channel.close(Duration::from_millis(random.below(50))).await;
        }
    }
}

/// Longer than any fault takes.
const PATIENT: Duration = Duration::from_secs(10);

// ---- Faults ---------------------------------------------------------------------------------------------------------------

/// The server: ends in one way or another, and comes back.
async fn restarts(round: Arc<Round>, mut random: Random) {
    while !round.is_over() {
        let endpoint = round.bind().await;
        let server = round.serve(&endpoint);
        let life = Instant::now() + Duration::from_millis(300 + random.below(2_500));
        while Instant::now() < life && !round.is_over() {
            a_moment(20).await;
        }
        match random.below(3) {
            0 => drop(server),
            1 => drop(server.shutdown(Duration::ZERO).await),
            _ => drop(server.shutdown(Duration::from_millis(200)).await),
        }
        endpoint.close().await;
    }
}

async fn breaks_the_network(round: Arc<Round>, mut random: Random) {
    let Some(relay) = &round.relay else { return };
    while !round.is_over() {
        a_moment(100 + random.below(900)).await;
        match random.below(3) {
            0 => relay.cut(),
            1 => {
                relay.pause();
                // Now and then longer than a link lasts.
                a_moment(50 + random.below(1_400)).await;
                relay.resume();
            }
            _ => {
                relay.pause();
                relay.cut();
                a_moment(random.below(200)).await;
                relay.resume();
            }
        }
    }
    relay.resume();
}

/// Bytes that mean nothing, from strangers and from a member.
async fn talks_rubbish(round: Arc<Round>, member: Endpoint, mut random: Random) {
    let rubbish = |random: &mut Random, most| -> Vec<u8> {
        let size = 1 + random.below(most);
        (0..size).map(|_| random.next() as u8).collect()
    };
    while !round.is_over() {
        a_moment(20 + random.below(100)).await;
        if random.below(2) == 0 {
            let connected = member.connect(round.address, None, Protocol::Rpc).await;
            let Ok(link) = connected else { continue };
            if let Ok((mut send, _recv)) = link.open_stream().await {
                let mut bytes = rubbish(&mut random, 2_000);
                bytes[0] = 1 + random.below(4) as u8;
                let _ = send.write(Bytes::from(bytes)).await;
            }
            link.close(CloseCode::Done, "");
            continue;
        }
        match &round.carrier {
            Carrier::Memory(_) => {}
            Carrier::Quic => {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
                for _ in 0..10 {
                    let _ = socket.send_to(&rubbish(&mut random, 1_400), round.address);
                }
            }
            Carrier::Tcp => {
                let connected = raw::connect_from([127, 0, 0, 66], round.address).await;
                let Ok(mut socket) = connected else { continue };
                let _ = socket.write_all(&rubbish(&mut random, 20_000)).await;
                a_moment(random.below(30)).await;
            }
        }
    }
}

/// A node whose certificate ends while it calls.
async fn expires(round: Arc<Round>, mut random: Random) {
    while !round.is_over() {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = Timestamp::UNIX_EPOCH + since_1970.expect("a clock after 1970");
        let brief = Validity::for_node(now).with_lifetime(Duration::from_secs(2));
        let identity = round.cluster.identity_with(Role::Gateway.into(), brief);
        let endpoint = round
            .carrier
            .endpoint_as(identity, &round.cluster, limits());
        let channel = round.channel(&endpoint, &mut random);
        let client = WorkClient::new(&channel).with(CallOptions::new().timeout(PATIENT));
        while !round.is_over() {
            let id = round.fresh_id();
            match client.once(&Order::brief(id)).await {
                Ok(done) => assert_eq!(done.id, id),
                Err(CallError::Rpc(problem)) if problem.code == Code::Unauthenticated => {
                    let says_why = problem.message().contains("expired");
                    assert!(says_why, "{problem}");
                    break;
                }
                Err(error) => drop(excused::<()>(Err(error))),
            }
            tokio::task::yield_now().await;
        }
        drop((client, channel));
        endpoint.close().await;
    }
}

async fn a_moment(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await; // tidy: faults come at random times, and no test waits for one
}

// ---- Rounds ---------------------------------------------------------------------------------------------------------------

const CALLERS: usize = 6;

/// An address that nobody else takes while its server is away: below those that the kernel gives to whoever asks for any.
async fn free_address(carrier: &Carrier, cluster: &Development, random: &mut Random) -> SocketAddr {
    loop {
        let port = u16::try_from(20_000 + random.below(10_000)).expect("a port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let identity = cluster.identity(Role::Worker.into());
        let bound = carrier.endpoint_at(address, identity, cluster.trust(), limits());
        if let Ok(endpoint) = bound {
            endpoint.close().await;
            return address;
        }
    }
}

async fn round(carrier: Carrier, seed: u64, length: Duration) -> u64 {
    let mut random = Random::new(seed);
    let cluster = Development::new();
    let host = cluster.identity(Role::Worker.into());
    let address = free_address(&carrier, &cluster, &mut random).await;
    let round = Arc::new(Round {
        relay: Relay::start(&carrier, address).await.ok(),
        carrier,
        cluster,
        address,
        host,
        journal: Journal::default(),
        next_id: AtomicU64::new(0),
        calls: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let mut one_more = || Random::new(random.next());
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            round
                .carrier
                .endpoint(&round.cluster, Role::Gateway.into(), limits())
        })
        .collect();
    let mut busy = JoinSet::new();
    for number in 0..CALLERS {
        let node = nodes[number % 2].clone();
        busy.spawn(caller(Arc::clone(&round), node, one_more()));
    }
    busy.spawn(expires(Arc::clone(&round), one_more()));
    let mut faults = JoinSet::new();
    faults.spawn(restarts(Arc::clone(&round), one_more()));
    faults.spawn(breaks_the_network(Arc::clone(&round), one_more()));
    faults.spawn(talks_rubbish(
        Arc::clone(&round),
        nodes[2].clone(),
        one_more(),
    ));
    let end = tokio::time::sleep(length); // tidy: for how long there are faults is what the caller chooses
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(ended) = faults.join_next() => ended.unwrap(),
        }
    }
    // The network is whole again and the server stays: whoever still waits for an answer has it soon.
    round.over.store(true, Ordering::SeqCst);
    while let Some(ended) = faults.join_next().await {
        ended.unwrap();
    }
    let endpoint = round.bind().await;
    let server = round.serve(&endpoint);
    let answered = async {
        while let Some(ended) = busy.join_next().await {
            ended.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answered)
        .await
        .expect("every call has an outcome");
    let ending = async {
        for node in &nodes {
            node.close().await;
        }
        server.shutdown(Duration::from_secs(1)).await;
        endpoint.close().await;
    };
    tokio::time::timeout(Duration::from_secs(30), ending)
        .await
        .expect("everything ends when it is told to");
    round.calls.load(Ordering::Relaxed)
}

/// Seconds somebody asked for.
fn chosen_seconds() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no configuration to read it from"
    )]
    let seconds = std::env::var("CONVOKE_SOAK_SECONDS");
    seconds.map_or(10, |seconds| {
        seconds.parse().expect("CONVOKE_SOAK_SECONDS is a number")
    })
}

#[expect(
    clippy::print_stdout,
    reason = "the test runner shows it with --nocapture"
)]
fn report(what: &str) {
    println!("{what}");
}

#[test]
fn after_random_faults_everything_is_back_where_it_was() {
    count_panics();
    let mut random = Random::from_environment("soak");
    let until = Instant::now() + Duration::from_secs(chosen_seconds());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut rest: Option<Rest> = None;
    for times in 1.. {
        // The first time is short: it shows what the process holds when all of its code has run once.
        let left = until.saturating_duration_since(Instant::now());
        let length = match rest {
            None => Duration::from_secs(1),
            Some(_) => (left / 3).clamp(Duration::from_secs(1), Duration::from_secs(20)),
        };
        for carrier in [Carrier::Tcp, Carrier::Quic, Carrier::memory()] {
            let (name, seed) = (format!("{carrier:?}"), random.next());
            let task = round(carrier, seed, length);
            let calls = runtime.block_on(task);
            report(&format!("{calls} calls over {name:.6}, seed {seed}"));
            assert_eq!(panics(), 0, "a task panicked");
        }
        let settled = runtime.block_on(Rest::settled());
        report(&format!("{settled:?}"));
        match rest {
            None => rest = Some(settled),
            Some(before) => {
                // An allocator keeps what the busiest moment needed. How much that is shows after some long times, the first of which
                // may have had little of the machine.
                let before = if times <= 4 {
                    before.with_memory_of(settled)
                } else {
                    before
                };
                runtime.block_on(before.is_restored());
                rest = Some(if times == 2 { settled } else { before });
            }
        }
        if Instant::now() >= until {
            return;
        }
    }
}
