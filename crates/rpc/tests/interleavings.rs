//! Many calls at once in random order, with callers that leave, run out of time or go on to the next: each call gets exactly one
//! outcome, an answer is always the answer to its own request, nothing runs twice, and at the end nothing is left.
//!
//! Each run is one seed, printed when it fails: `CONVOKE_SEED=… cargo test -p convoke-rpc --test interleavings` runs that one alone.
mod world;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke_rpc::{
    CallError, CallOptions, Changed, Channel, ChannelConfig, Code, Limits, NoError, Streaming,
    service,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use world::{Carrier, Random, World, announce, chosen_seed, until};

/// One call: which it is, and what its handler shall do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    /// How often the handler lets others run before it answers; it never answers when this is `u32::MAX`.
    yields: u32,
    answer_size: u32,
    fails: bool,
    padding: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: u64,
    padding: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Refusal {
    id: u64,
}

#[service]
trait Orders {
    async fn take(&self, order: Order) -> Result<Receipt, Refusal>;
    async fn take_many(&self, order: Order) -> Result<Streaming<Receipt, Refusal>, NoError>;
}

/// How often each order was begun.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<HashMap<u64, u32>>>);

impl Book {
    async fn serve(&self, order: &Order) {
        *self.0.lock().unwrap().entry(order.id).or_default() += 1;
        if order.yields == u32::MAX {
            std::future::pending().await
        }
        for _ in 0..order.yields {
            tokio::task::yield_now().await;
        }
    }

    fn times(&self, id: u64) -> u32 {
        self.0.lock().unwrap().get(&id).copied().unwrap_or_default()
    }
}

impl Orders for Book {
    async fn take(&self, order: Order) -> Result<Receipt, Refusal> {
        self.serve(&order).await;
        if order.fails {
            Err(Refusal { id: order.id })
        } else {
            Ok(receipt(&order))
        }
    }

    async fn take_many(&self, order: Order) -> Result<Streaming<Receipt, Refusal>, NoError> {
        self.serve(&order).await;
        let end = order.fails.then_some(Err(Refusal { id: order.id }));
        let items: Vec<_> = (0..ITEMS).map(|_| Ok(receipt(&order))).chain(end).collect();
        Ok(Streaming::from_stream(futures_util::stream::iter(items)))
    }
}

const ITEMS: usize = 3;

fn receipt(order: &Order) -> Receipt {
    Receipt {
        id: order.id,
        padding: padding(order.id, order.answer_size as usize),
    }
}

/// A text that tells whose it is.
fn padding(id: u64, size: usize) -> String {
    let mut text = format!("{id:016x}").repeat(size / 16 + 1);
    text.truncate(size);
    text
}

/// What a caller does about its call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Caller {
    Waits,
    /// Leaves after being polled this often.
    Leaves(u32),
    Hurries(u64),
}

#[derive(Debug, Clone)]
struct Plan {
    order: Order,
    caller: Caller,
    streams: bool,
    starts_after: u32,
}

impl Plan {
    fn random(random: &mut Random, id: u64) -> Self {
        let size = |random: &mut Random| match random.below(20) {
            0 => 16_000 + random.below(800),
            1 => random.below(300_000),
            _ => random.below(200),
        };
        let caller = match random.below(10) {
            0 | 1 => Caller::Leaves(random.below(6) as u32),
            2 => Caller::Hurries(random.below(4)),
            _ => Caller::Waits,
        };
        let never = caller != Caller::Waits && random.below(3) == 0;
        let never = never && !matches!(caller, Caller::Leaves(0));
        let order = Order {
            id,
            yields: if never {
                u32::MAX
            } else {
                random.below(12).saturating_sub(4) as u32
            },
            answer_size: size(random) as u32,
            fails: random.below(8) == 0,
            padding: padding(id, size(random) as usize),
        };
        Self {
            order,
            caller,
            streams: random.below(8) == 0,
            starts_after: random.below(10) as u32,
        }
    }
}

async fn carry_out(plan: Plan, client: OrdersClient, book: Book) {
    for _ in 0..plan.starts_after {
        tokio::task::yield_now().await;
    }
    let client = match plan.caller {
        Caller::Hurries(ms) => client.with(CallOptions::new().timeout(Duration::from_millis(ms))),
        Caller::Waits | Caller::Leaves(_) => client,
    };
    let id = plan.order.id;
    let outcome = match plan.caller {
        Caller::Leaves(polls) => leaves_after(polls, call(&plan, &client)).await,
        Caller::Waits | Caller::Hurries(_) => Some(call(&plan, &client).await),
    };
    let ran = book.times(id);
    assert!(ran <= 1, "{id} ran {ran} times");
    match outcome {
        None => {}
        Some(Ok(())) => assert_eq!(ran, 1, "{id} was answered"),
        Some(Err(problem)) => {
            assert!(
                matches!(plan.caller, Caller::Hurries(_)),
                "{id}, which waits: {problem}"
            );
            // Whose time is over before there was a link hears that there was none.
            let unsent = problem.code == Code::Unavailable && problem.changed == Changed::No;
            assert!(
                unsent || problem.code == Code::DeadlineExceeded,
                "{id}: {problem}"
            );
            assert!(
                ran == 0 || problem.changed != Changed::No,
                "{id} ran: {problem}"
            );
        }
    }
}

/// Makes the call; whatever it comes to must be its own.
async fn call(plan: &Plan, client: &OrdersClient) -> Result<(), convoke_rpc::Problem> {
    let (order, expected) = (&plan.order, receipt(&plan.order));
    if !plan.streams {
        return match client.take(order).await {
            Ok(receipt) => {
                assert!(
                    !order.fails && receipt == expected,
                    "{} was answered with {}",
                    order.id,
                    receipt.id
                );
                Ok(())
            }
            Err(CallError::App(refusal)) => {
                assert!(
                    order.fails && refusal.id == order.id,
                    "{} was refused with {}",
                    order.id,
                    refusal.id
                );
                Ok(())
            }
            Err(CallError::Rpc(problem)) => Err(problem),
        };
    }
    let mut receipts = match client.take_many(order).await {
        Ok(receipts) => receipts,
        Err(CallError::Rpc(problem)) => return Err(problem),
        Err(CallError::App(never)) => match never {},
    };
    let mut count = 0;
    loop {
        match receipts.next().await {
            Some(Ok(receipt)) => {
                assert!(
                    receipt == expected,
                    "{} got an item of {}",
                    order.id,
                    receipt.id
                );
                count += 1;
            }
            Some(Err(CallError::App(refusal))) => {
                assert!(order.fails && refusal.id == order.id && count == ITEMS);
                assert!(receipts.next().await.is_none(), "nothing follows an error");
                return Ok(());
            }
            Some(Err(CallError::Rpc(problem))) => {
                assert!(receipts.next().await.is_none(), "nothing follows a problem");
                return Err(problem);
            }
            None => {
                assert!(
                    !order.fails && count == ITEMS,
                    "{} ended after {count} items",
                    order.id
                );
                return Ok(());
            }
        }
    }
}

async fn leaves_after<F: Future>(polls: u32, call: F) -> Option<F::Output> {
    let mut call = Box::pin(call);
    for _ in 0..=polls {
        if let std::task::Poll::Ready(outcome) = futures_util::poll!(call.as_mut()) {
            return Some(outcome);
        }
        tokio::task::yield_now().await;
    }
    None
}

async fn run(seed: u64, carrier: Carrier) {
    let mut random = Random::new(seed);
    let limits = Limits {
        // Often fewer places than callers.
        calls_per_lane: [8, 64, 4_096][random.below(3) as usize],
        lane_buffer_bytes: [64 << 10, 1 << 20][random.below(2) as usize],
        ..Limits::default()
    };
    let roomy = limits.calls_per_lane;
    let book = Book::default();
    let world = World::with_limits(carrier, limits, |server| {
        server.service(OrdersServer::new(book.clone()))
    });
    let config = ChannelConfig {
        links: 1 + random.below(2) as usize,
        lanes: 1 + random.below(3) as usize,
        ..ChannelConfig::default()
    };
    let links = config.links;
    let client = OrdersClient::new(Channel::new(&world.client, world.target(), config));
    let mut calls = JoinSet::new();
    for id in 0..60 {
        let plan = Plan::random(&mut random, id);
        calls.spawn(carry_out(plan, client.clone(), book.clone()));
        // As many may wait for a place as there are places; more are told so, which is another test's story.
        if calls.len() >= roomy {
            calls.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    until("no call runs", || world.server.running_calls() == 0).await;
    let open = world.client.open_links();
    assert!(
        open <= links,
        "{open} links are open where {links} are used"
    );
    // Every place is free again: as many calls as fit go through at once.
    for id in 1_000..1_020 {
        let order = Order {
            id,
            yields: 1,
            answer_size: 10,
            fails: false,
            padding: String::new(),
        };
        assert_eq!(client.take(&order).await.unwrap(), receipt(&order));
    }
    world.end().await;
}

/// One call that is given up in the very moment that its handler is busy, and the next in its place.
#[service]
trait Places {
    /// Does not look up from its work until the next call runs, then answers.
    async fn first(&self) -> Result<String, NoError>;
    /// Runs until the first is answered.
    async fn second(&self) -> Result<String, NoError>;
}

#[derive(Clone)]
struct TwoInOnePlace {
    first_is_busy: Arc<Notify>,
    let_first_answer: std::sync::mpsc::SyncSender<()>,
    may_answer: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
    first_is_over: Arc<Notify>,
}

impl TwoInOnePlace {
    fn new() -> Self {
        let (let_first_answer, may_answer) = std::sync::mpsc::sync_channel(1);
        Self {
            first_is_busy: Arc::default(),
            let_first_answer,
            may_answer: Arc::new(Mutex::new(may_answer)),
            first_is_over: Arc::default(),
        }
    }
}

impl Places for TwoInOnePlace {
    async fn first(&self) -> Result<String, NoError> {
        // From the next poll on it is a task, which can be ended.
        tokio::task::yield_now().await;
        self.first_is_busy.notify_one();
        tokio::task::block_in_place(|| {
            let may_answer = self.may_answer.lock().unwrap();
            may_answer
                .recv_timeout(world::PATIENCE)
                .expect("the next call runs");
        });
        Ok("first".to_owned())
    }

    async fn second(&self) -> Result<String, NoError> {
        tokio::task::yield_now().await;
        self.first_is_over.notified().await;
        Ok("second".to_owned())
    }
}

async fn give_up_and_call_again(carrier: Carrier) {
    let places = TwoInOnePlace::new();
    let limits = Limits {
        calls_per_lane: 1,
        ..Limits::default()
    };
    let world = World::with_limits(carrier, limits, |server| {
        server.service(PlacesServer::new(places.clone()))
    });
    let config = ChannelConfig {
        links: 1,
        lanes: 1,
        ..ChannelConfig::default()
    };
    let client = PlacesClient::new(Channel::new(&world.client, world.target(), config));
    tokio::select! {
        answer = client.first() => panic!("{answer:?}, while its handler waits"),
        () = places.first_is_busy.notified() => {}
    }
    let second = async { assert_eq!(client.second().await.unwrap(), "second") };
    let first_comes_to_its_end = async {
        until("both run", || world.server.running_calls() == 2).await;
        places.let_first_answer.send(()).unwrap();
        until("one runs", || world.server.running_calls() == 1).await;
        places.first_is_over.notify_one();
    };
    tokio::join!(second, first_comes_to_its_end);
    world.end().await;
}

fn run_seeds(count: u64, carrier: impl Fn() -> Carrier, threads: usize) {
    let first = chosen_seed().unwrap_or_else(world::fresh_seed);
    let count = if chosen_seed().is_some() { 1 } else { count };
    for seed in first..first + count {
        announce("interleavings", seed);
        let mut runtime = match threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime
            .worker_threads(threads)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(world::PATIENCE, run(seed, carrier()))
                .await
                .expect("the run ends");
        });
    }
}

#[test]
fn in_memory() {
    run_seeds(200, Carrier::memory, 1);
}

#[test]
fn in_memory_on_two_threads() {
    run_seeds(50, Carrier::memory, 2);
}

#[test]
fn over_quic() {
    run_seeds(20, || Carrier::Quic, 1);
}

#[test]
fn over_quic_on_two_threads() {
    run_seeds(10, || Carrier::Quic, 2);
}

#[test]
fn over_tcp() {
    run_seeds(40, || Carrier::Tcp, 1);
}

#[test]
fn over_tcp_on_two_threads() {
    run_seeds(20, || Carrier::Tcp, 2);
}

/// The task of a call that was given up may be in the middle of its work, where nothing ends it, and come to its answer when the
/// next call has its place.
fn on_two_threads(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(2 * world::PATIENCE, story)
            .await
            .expect("the story ends");
    });
}

#[test]
fn a_call_given_up_does_not_answer_the_next_in_its_place_in_memory() {
    on_two_threads(give_up_and_call_again(Carrier::memory()));
}

#[test]
fn a_call_given_up_does_not_answer_the_next_in_its_place_over_quic() {
    on_two_threads(give_up_and_call_again(Carrier::Quic));
}

#[test]
fn a_call_given_up_does_not_answer_the_next_in_its_place_over_tcp() {
    on_two_threads(give_up_and_call_again(Carrier::Tcp));
}
