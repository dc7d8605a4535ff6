//! Networks that stop for a while: what a short pause does to calls and streams (nothing), and what a long one does (what is
//! written in `Limits`, and no more than once).
mod relay;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_rpc::{
    CallError, CallOptions, Changed, Channel, ChannelConfig, Code, Limits, NoError, Retry,
    Streaming, Target, service,
};
use parking_lot::Mutex;
use relay::Relay;
use tokio::task::JoinSet;
use world::{Beside, Carrier, World, until};

#[service]
trait Ledger {
    /// Writes it down, once for each time it runs.
    async fn enter(&self, id: u64) -> Result<u64, NoError>;
    #[rpc(idempotent)]
    async fn enter_again(&self, id: u64) -> Result<u64, NoError>;
    async fn wait(&self) -> Result<u64, NoError>;
    async fn count(&self, to: u64) -> Result<Streaming<u64>, NoError>;
    async fn echo_all(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, NoError>;
}

#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Ledger for Book {
    async fn enter(&self, id: u64) -> Result<u64, NoError> {
        *self.0.lock().entry(id).or_default() += 1;
        tokio::task::yield_now().await;
        Ok(id)
    }

    async fn enter_again(&self, id: u64) -> Result<u64, NoError> {
        self.enter(id).await
    }

    async fn wait(&self) -> Result<u64, NoError> {
        std::future::pending().await
    }

    async fn count(&self, to: u64) -> Result<Streaming<u64>, NoError> {
        Ok(Streaming::from_iter(0..to))
    }

    async fn echo_all(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, NoError> {
        Ok(numbers)
    }
}

struct Site {
    world: World,
    book: Book,
    relay: Relay,
    channel: Channel,
    client: LedgerClient,
}

impl Site {
    async fn new(carrier: Carrier, limits: Limits) -> Self {
        let book = Book::default();
        let world = World::with_limits(carrier, limits, |server| {
            server.service(LedgerServer::new(book.clone()))
        });
        let target = world.target();
        let relay = Relay::start(&world.carrier, target.addresses[0])
            .await
            .unwrap();
        let through = Target {
            addresses: vec![relay.address],
            ..target
        };
        let channel = Channel::new(&world.client, through, ChannelConfig::default());
        let client = LedgerClient::new(&channel);
        Self {
            world,
            book,
            relay,
            channel,
            client,
        }
    }

    async fn end(self) {
        let Self {
            world,
            relay,
            channel,
            client,
            ..
        } = self;
        drop((client, channel));
        world.end().await;
        drop(relay);
    }
}

fn patient(seconds: u64) -> CallOptions {
    CallOptions::new().timeout(Duration::from_secs(seconds))
}

/// Calls and streams of every kind, through a network that stops for this long in the middle of them.
async fn nothing_is_lost_or_doubled(carrier: Carrier, limits: Limits, pause: Duration) {
    let site = Site::new(carrier, limits).await;
    let client = site.client.with(patient(60));
    let mut counting = client.count(&20_000_000).await.unwrap();
    let (sender, numbers) = Streaming::channel(4);
    let mut echoed = client.echo_all(numbers).await.unwrap();
    sender.send(0).await.unwrap();
    assert_eq!(echoed.next().await, Some(Ok(0)));
    for expected in 0..1_000 {
        assert_eq!(counting.next().await, Some(Ok(expected)));
    }

    let mut calls = JoinSet::new();
    let enter = |id: u64| {
        let client = client.clone();
        async move { (id, client.enter(&id).await) }
    };
    for id in 0..50 {
        calls.spawn(enter(id));
    }
    site.relay.pause();
    for id in 50..100 {
        calls.spawn(enter(id));
    }
    for number in 1..4 {
        sender.send(number).await.unwrap();
    }
    tokio::time::sleep(pause).await; // tidy: the length of the outage is what the story is about
    site.relay.resume();

    for number in 1..4 {
        assert_eq!(echoed.next().await, Some(Ok(number)));
    }
    for expected in 1_000..20_000 {
        assert_eq!(counting.next().await, Some(Ok(expected)));
    }
    while let Some(called) = calls.join_next().await {
        let (id, answer) = called.unwrap();
        assert_eq!(answer, Ok(id));
    }
    let entered = site.book.0.lock().clone();
    assert_eq!(entered, (0..100).map(|id| (id, 1)).collect());
    assert_eq!(site.world.server.links(), 1, "the link is still the first");
    drop((counting, echoed, sender));
    site.end().await;
}

async fn a_short_pause_is_a_pause(carrier: Carrier) {
    let limits = Limits {
        idle_timeout: Duration::from_secs(4),
        keep_alive: Duration::from_millis(300),
        ..Limits::default()
    };
    nothing_is_lost_or_doubled(carrier, limits, Duration::from_millis(700)).await;
}

async fn a_long_pause_ends_calls_as_documented(carrier: Carrier) {
    let limits = Limits {
        idle_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_millis(200),
        handshake_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let site = Site::new(carrier, limits).await;
    assert_eq!(site.client.enter(&1).await, Ok(1));
    let mut counting = site.client.count(&u64::MAX).await.unwrap();
    assert_eq!(counting.next().await, Some(Ok(0)));
    let client = site.client.with(patient(30));
    let waiting = Beside::start(async move { client.wait().await });
    until("the handler waits", || {
        site.world.server.running_calls() == 2
    })
    .await;

    site.relay.pause();
    // Asked in the silence: it will be answered when somebody hears it.
    let client = site.client.with(patient(30));
    let again = Beside::start(async move { client.enter_again(&2).await });
    let Err(CallError::Rpc(lost)) = waiting.ended().await else {
        panic!("nobody answered")
    };
    assert_eq!(
        (lost.code, lost.changed, lost.retry),
        (Code::LinkLost, Changed::Maybe, Retry::IfIdempotent),
        "{lost}"
    );
    let broken = loop {
        match counting.next().await.expect("an error before the end") {
            Ok(_) => {}
            Err(CallError::Rpc(problem)) => break problem,
            Err(CallError::App(never)) => match never {},
        }
    };
    assert_eq!(broken.code, Code::LinkLost, "{broken}");
    assert_eq!(counting.next().await, None);
    until("the server noticed, too", || {
        (site.world.server.links(), site.world.server.running_calls()) == (0, 0)
    })
    .await;
    // Without an answer in time there is a typed refusal, and nothing has run.
    let hurried = site
        .client
        .with(CallOptions::new().timeout(Duration::from_millis(300)));
    let Err(CallError::Rpc(late)) = hurried.enter(&3).await else {
        panic!("nobody is there")
    };
    assert_eq!(late.changed, Changed::No, "{late}");

    site.relay.resume();
    assert_eq!(again.ended().await, Ok(2));
    assert_eq!(site.client.with(patient(30)).enter(&4).await, Ok(4));
    let entered = site.book.0.lock().clone();
    assert_eq!(entered.get(&3), None, "it said that nothing ran");
    assert_eq!((entered[&1], entered[&4]), (1, 1));
    site.end().await;
}

/// Nobody asked the peer anything in the meantime, and who calls again hears in time that nobody is there.
async fn a_link_that_was_left_alone_is_lost_when_its_next_call_finds_nobody(carrier: Carrier) {
    let limits = Limits {
        idle_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_millis(200),
        ..Limits::default()
    };
    let site = Site::new(carrier, limits).await;
    assert_eq!(site.client.enter(&1).await, Ok(1));
    tokio::time::sleep(Duration::from_secs(2)).await; // tidy: how long it was left alone is what the story is about
    assert_eq!(site.world.server.links(), 1, "it is still the first");

    site.relay.pause();
    let Err(CallError::Rpc(lost)) = site.client.with(patient(30)).wait().await else {
        panic!("nobody answered")
    };
    assert_eq!(lost.code, Code::LinkLost, "{lost}");

    site.relay.resume();
    assert_eq!(site.client.with(patient(30)).enter(&2).await, Ok(2));
    site.end().await;
}

async fn ten_seconds_are_a_pause(carrier: Carrier) {
    nothing_is_lost_or_doubled(carrier, Limits::default(), Duration::from_secs(10)).await;
}

world::on_every_socket!(
    a_short_pause_is_a_pause,
    a_long_pause_ends_calls_as_documented,
    a_link_that_was_left_alone_is_lost_when_its_next_call_finds_nobody,
);

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn ten_seconds_of_silence_are_a_pause_over_quic() {
    ten_seconds_are_a_pause(Carrier::Quic).await;
}

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn ten_seconds_of_silence_are_a_pause_over_tcp() {
    ten_seconds_are_a_pause(Carrier::Tcp).await;
}
