//! What goes wrong between two nodes, and what each side may then rely on: servers and clients that die or leave, calls that are
//! given up, handlers that panic, peers that do not read, and loads beyond the limits.
//!
//! Peers that break the protocol are in `violations.rs`. Every story waits for a state; none sleeps to let something happen.
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use convoke_rpc::health::{Health, HealthCheckClient};
use convoke_rpc::{
    CallError, CallOptions, Changed, Channel, ChannelConfig, Code, Context, Endpoint, Limits,
    NoError, Retry, Server, Streaming, Target, only, service,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use world::{Carrier, World, until};

#[service]
trait Work {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    /// Waits until the board's gate opens.
    async fn wait(&self) -> Result<u32, NoError>;
    #[rpc(idempotent)]
    async fn wait_harmlessly(&self) -> Result<u32, NoError>;
    /// Holds its text until the gate opens.
    async fn hold(&self, text: String) -> Result<u64, NoError>;
    async fn text(&self, size: u32) -> Result<String, NoError>;
    /// Counts up to `to`, then waits for the gate.
    async fn count(&self, to: u32) -> Result<Streaming<u32>, NoError>;
    /// Pieces of this size without end.
    async fn pour(&self, size: u32) -> Result<Streaming<String>, NoError>;
    async fn swallow(&self, numbers: Streaming<u32>) -> Result<u32, NoError>;
    /// Answers after the first number, without reading the rest.
    async fn first(&self, numbers: Streaming<u32>) -> Result<u32, NoError>;
    async fn hand_back(&self, numbers: Streaming<u32>) -> Result<Streaming<u32>, NoError>;
    async fn time_left(&self, ctx: &Context) -> Result<Option<u64>, NoError>;
    /// Asks the other server how long it may take.
    async fn time_left_there(&self, ctx: &Context) -> Result<Option<u64>, NoError>;
    async fn panics(&self) -> Result<(), NoError>;
    async fn panics_later(&self) -> Result<(), NoError>;
    async fn panics_after(&self, items: u32) -> Result<Streaming<u32>, NoError>;
    async fn number(&self, number: u64) -> Result<u64, NoError>;
}

/// The same name with other types, as a program built from other sources has it.
#[service(name = "Work")]
trait OtherWork {
    async fn number(&self, number: Vec<String>) -> Result<u64, NoError>;
    async fn echo(&self, text: String) -> Result<Streaming<String>, NoError>;
    async fn count(&self, to: u32) -> Result<u32, NoError>;
    async fn unheard_of(&self) -> Result<(), NoError>;
    async fn unheard_of_stream(&self) -> Result<Streaming<u32>, NoError>;
}

/// What handlers did, and the gate they wait at.
#[derive(Default)]
struct Board {
    entered: AtomicUsize,
    left: AtomicUsize,
    produced: AtomicUsize,
    is_open: std::sync::atomic::AtomicBool,
    gate: Notify,
    elsewhere: std::sync::OnceLock<Channel>,
}

impl Board {
    async fn gate(&self) {
        let mut opened = std::pin::pin!(self.gate.notified());
        opened.as_mut().enable();
        if !self.is_open.load(Ordering::SeqCst) {
            opened.await;
        }
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
        self.gate.notify_waiters();
    }

    fn entered(&self) -> usize {
        self.entered.load(Ordering::SeqCst)
    }

    fn inside(&self) -> usize {
        self.entered() - self.left.load(Ordering::SeqCst)
    }
}

/// One handler, from its beginning to its end, however it ends.
struct Inside(Arc<Board>);

impl Inside {
    fn new(board: &Arc<Board>) -> Self {
        board.entered.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(board))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::SeqCst);
    }
}

struct Worker(Arc<Board>);

impl Work for Worker {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn wait(&self) -> Result<u32, NoError> {
        let _inside = Inside::new(&self.0);
        self.0.gate().await;
        Ok(7)
    }

    async fn wait_harmlessly(&self) -> Result<u32, NoError> {
        self.wait().await
    }

    async fn hold(&self, text: String) -> Result<u64, NoError> {
        let _inside = Inside::new(&self.0);
        self.0.gate().await;
        Ok(text.len() as u64)
    }

    async fn text(&self, size: u32) -> Result<String, NoError> {
        Ok("t".repeat(size as usize))
    }

    async fn count(&self, to: u32) -> Result<Streaming<u32>, NoError> {
        let inside = Inside::new(&self.0);
        let counting =
            futures_util::stream::unfold((0, inside), move |(next, inside)| async move {
                if next == to {
                    inside.0.gate().await;
                    return None;
                }
                Some((Ok(next), (next + 1, inside)))
            });
        Ok(Streaming::from_stream(counting))
    }

    async fn pour(&self, size: u32) -> Result<Streaming<String>, NoError> {
        let inside = Inside::new(&self.0);
        Ok(Streaming::from_iter((0_usize..).map(move |number| {
            inside.0.produced.fetch_add(1, Ordering::SeqCst);
            piece(number, size as usize)
        })))
    }

    async fn swallow(&self, mut numbers: Streaming<u32>) -> Result<u32, NoError> {
        let _inside = Inside::new(&self.0);
        let mut count = 0;
        while let Some(Ok(_)) = numbers.next().await {
            count += 1;
        }
        self.0.gate().await;
        Ok(count)
    }

    async fn first(&self, mut numbers: Streaming<u32>) -> Result<u32, NoError> {
        Ok(numbers
            .next()
            .await
            .expect("a first number")
            .expect("a number"))
    }

    async fn hand_back(&self, numbers: Streaming<u32>) -> Result<Streaming<u32>, NoError> {
        Ok(numbers)
    }

    async fn time_left(&self, ctx: &Context) -> Result<Option<u64>, NoError> {
        Ok(ctx.time_left().map(|left| left.as_millis() as u64))
    }

    async fn time_left_there(&self, ctx: &Context) -> Result<Option<u64>, NoError> {
        let elsewhere = WorkClient::new(self.0.elsewhere.get().expect("a second server"));
        // An hour of our own is worth nothing when our caller waits for a second.
        let options = CallOptions::new()
            .timeout(Duration::from_secs(3_600))
            .within(ctx);
        Ok(elsewhere
            .with(options)
            .time_left()
            .await
            .expect("the other server answers"))
    }

    async fn panics(&self) -> Result<(), NoError> {
        panic!("at once")
    }

    async fn panics_later(&self) -> Result<(), NoError> {
        tokio::task::yield_now().await;
        panic!("later")
    }

    async fn panics_after(&self, items: u32) -> Result<Streaming<u32>, NoError> {
        Ok(Streaming::from_iter((0..).inspect(move |number| {
            assert!(*number < items, "in the middle of a stream")
        })))
    }

    async fn number(&self, number: u64) -> Result<u64, NoError> {
        Ok(number)
    }
}

/// A text whose every part tells which one it is.
fn piece(number: usize, size: usize) -> String {
    let mut text = format!("{number:08}").repeat(size / 8);
    text.truncate(size);
    text
}

struct Site {
    world: World,
    board: Arc<Board>,
    channel: Channel,
    client: WorkClient,
}

impl Site {
    fn new(carrier: Carrier) -> Self {
        Self::with_limits(carrier, Limits::default())
    }

    fn with_limits(carrier: Carrier, limits: Limits) -> Self {
        let board = Arc::new(Board::default());
        let worker = Worker(Arc::clone(&board));
        let world = World::with_limits(carrier, limits, |server| {
            server.service(WorkServer::new(worker))
        });
        let channel = world.channel();
        let client = WorkClient::new(&channel);
        Self {
            world,
            board,
            channel,
            client,
        }
    }

    async fn entered(&self, count: usize) {
        until(&format!("{count} handlers were entered"), || {
            self.board.entered() == count
        })
        .await;
    }

    async fn nothing_runs(&self) {
        until("no handler is left", || self.board.inside() == 0).await;
        until("no call is counted", || {
            self.world.server.running_calls() == 0
        })
        .await;
    }

    /// The usual end: the other calls of this client, and new ones, are none the worse for what happened.
    async fn end_well(self) {
        assert_eq!(
            self.client.echo("still here").await,
            Ok("still here".to_owned())
        );
        self.nothing_runs().await;
        self.world.end().await;
    }
}

fn millis(timeout: u64) -> CallOptions {
    CallOptions::new().timeout(Duration::from_millis(timeout))
}

fn problem<T: std::fmt::Debug, E: std::fmt::Debug>(
    result: Result<T, CallError<E>>,
) -> convoke_rpc::Problem {
    match result {
        Err(CallError::Rpc(problem)) => problem,
        other => panic!("a problem was expected, not {other:?}"),
    }
}

// ---- Servers that die -----------------------------------------------------------------------------------------------------

async fn a_call_on_a_server_that_dies_may_have_run(carrier: Carrier) {
    let site = Site::new(carrier);
    let dies = async {
        site.entered(1).await;
        site.world.host.close().await;
    };
    let (answer, ()) = tokio::join!(site.client.wait(), dies);
    let problem = problem(answer);
    assert_eq!(
        (problem.code, problem.changed),
        (Code::LinkLost, Changed::Maybe),
        "{problem}"
    );
    assert_eq!(problem.retry, Retry::IfIdempotent, "{problem}");
    site.nothing_runs().await;
    site.world.end().await;
}

/// On one thread a caller that never waits would starve what ends the dead link, and with it itself, for ever.
async fn a_caller_that_tries_again_at_once_lets_others_run(carrier: Carrier) {
    let site = Site::new(carrier);
    assert_eq!(site.client.echo("here").await, Ok("here".to_owned()));
    let large = "x".repeat(100_000);
    let others_ran = Arc::new(AtomicUsize::new(0));
    // Ends the links at once, and nothing on this side has had a turn since.
    drop(site.world.server);
    let mut others = JoinSet::new();
    let ran = Arc::clone(&others_ran);
    others.spawn(async move { ran.fetch_add(1, Ordering::SeqCst) });

    let mut refused = 0;
    while others_ran.load(Ordering::SeqCst) == 0 && refused < 1_000 {
        let hurried = site.client.with(millis(100));
        refused += usize::from(hurried.hold(&large).await.is_err());
        refused += usize::from(hurried.count(&1).await.is_err());
    }

    assert_eq!(others_ran.load(Ordering::SeqCst), 1, "{refused} calls");
    site.world.client.close().await;
    site.world.host.close().await;
}

async fn an_idempotent_call_is_repeated_on_the_next_server_at_the_address(carrier: Carrier) {
    let Site {
        world,
        board,
        channel: _channel,
        client,
    } = Site::new(carrier);
    let World {
        carrier,
        cluster,
        host,
        server,
        client: caller,
    } = world;
    let (address, identity) = (host.local_address().unwrap(), host.identity().clone());
    let moves = async {
        until("the handler was entered", || board.entered() == 1).await;
        host.close().await;
        drop((server, host));
        board.open();
        let next = bound_again(&carrier, address, &identity, &cluster.trust()).await;
        let server = Server::builder()
            .service(WorkServer::new(Worker(Arc::clone(&board))))
            .serve(&next)
            .unwrap();
        (next, server)
    };
    let (answer, (next, server)) = tokio::join!(client.wait_harmlessly(), moves);
    assert_eq!(answer, Ok(7));
    assert_eq!(board.entered(), 2, "once on each server");
    server.shutdown(Duration::from_secs(1)).await;
    caller.close().await;
    next.close().await;
}

/// Limits under which an address is free again soon: quinn keeps a connection whose first packet was its caller's farewell, and
/// with it the socket, until nothing was heard for the idle time.
fn brisk() -> Limits {
    Limits {
        idle_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_millis(200),
        ..Limits::default()
    }
}

async fn bound_again(
    carrier: &Carrier,
    address: SocketAddr,
    identity: &convoke_rpc::identity::Identity,
    trust: &convoke_rpc::identity::Trust,
) -> Endpoint {
    let next = std::cell::Cell::new(None);
    until("the address is free again", || {
        let bound = carrier.endpoint_at(address, identity.clone(), trust.clone(), brisk());
        let is_free = bound.is_ok();
        next.set(bound.ok());
        is_free
    })
    .await;
    next.take().unwrap()
}

async fn a_stream_of_a_server_that_dies_yields_one_error_and_ends(carrier: Carrier) {
    let site = Site::new(carrier);
    let mut numbers = site.client.count(&2).await.unwrap();
    assert_eq!(numbers.next().await, Some(Ok(0)));
    assert_eq!(numbers.next().await, Some(Ok(1)));
    let dies = async { site.world.host.close().await };
    let (item, ()) = tokio::join!(numbers.next(), dies);
    let problem = problem(item.expect("an error, not the end"));
    assert_eq!(
        (problem.code, problem.changed),
        (Code::LinkLost, Changed::Maybe),
        "{problem}"
    );
    assert_eq!(numbers.next().await, None);
    site.nothing_runs().await;
    site.world.end().await;
}

// ---- Callers that leave ---------------------------------------------------------------------------------------------------

async fn handlers_of_a_client_that_dies_are_dropped(carrier: Carrier) {
    let site = Site::new(carrier);
    let mut calls = JoinSet::new();
    let client = site.client.clone();
    calls.spawn(async move { client.wait().await });
    let client = site.client.clone();
    calls.spawn(async move { client.hold(&"x".repeat(100_000)).await.map(|_| 0) });
    let mut numbers = site.client.count(&1).await.unwrap();
    assert_eq!(numbers.next().await, Some(Ok(0)));
    site.entered(3).await;
    assert_eq!(site.world.server.running_calls(), 3);

    site.world.client.close().await;
    site.nothing_runs().await;
    until("the link is forgotten", || site.world.server.links() == 0).await;
    while let Some(answer) = calls.join_next().await {
        assert_eq!(problem(answer.unwrap()).code, Code::LinkLost);
    }
    site.world.end().await;
}

async fn a_call_that_is_dropped_drops_its_handler(carrier: Carrier) {
    let site = Site::new(carrier);
    for round in 1..=3 {
        tokio::select! {
            answer = site.client.wait() => panic!("{answer:?}"),
            () = site.entered(round) => {}
        }
        site.nothing_runs().await;
    }
    let large = "x".repeat(100_000);
    tokio::select! {
        answer = site.client.hold(&large) => panic!("{answer:?}"),
        () = site.entered(4) => {}
    }
    site.nothing_runs().await;
    site.end_well().await;
}

async fn a_stream_that_is_dropped_drops_its_handler_in_either_direction(carrier: Carrier) {
    let site = Site::new(carrier);
    let mut numbers = site.client.count(&1).await.unwrap();
    assert_eq!(numbers.next().await, Some(Ok(0)));
    drop(numbers);
    site.nothing_runs().await;

    // A source that was never read from says nothing; the server hears of it all the same.
    drop(site.client.pour(&1_000).await.unwrap());
    site.nothing_runs().await;

    let (sender, numbers) = Streaming::channel(4);
    sender.send(1).await.unwrap();
    tokio::select! {
        answer = site.client.swallow(numbers) => panic!("{answer:?}"),
        () = site.entered(3) => {}
    }
    site.nothing_runs().await;
    assert!(
        sender.send(2).await.is_err(),
        "nobody reads what the dropped call would have sent"
    );
    site.end_well().await;
}

async fn an_early_answer_ends_the_sending(carrier: Carrier) {
    let site = Site::new(carrier);
    let endless = Streaming::from_iter(5..);
    assert_eq!(site.client.first(endless).await, Ok(5));
    site.end_well().await;
}

async fn a_client_that_is_dropped_leaves_its_stream_alone(carrier: Carrier) {
    let Site {
        world,
        board,
        channel,
        client,
    } = Site::new(carrier);
    let mut numbers = client.count(&1_000).await.unwrap();
    drop((client, channel));
    board.open();
    for expected in 0..1_000 {
        assert_eq!(numbers.next().await, Some(Ok(expected)));
    }
    assert_eq!(numbers.next().await, None);
    drop(numbers);
    until("the link nobody uses is closed", || {
        world.client.open_links() == 0
    })
    .await;
    world.end().await;
}

// ---- Deadlines ------------------------------------------------------------------------------------------------------------

async fn deadlines_travel_and_only_ever_shrink(carrier: Carrier) {
    let site = Site::new(carrier.clone());
    let there = Site::new(carrier);
    let elsewhere = Channel::new(
        &there.world.client,
        there.world.target(),
        ChannelConfig::default(),
    );
    site.board.elsewhere.set(elsewhere).unwrap();

    let client = site.client.with(millis(5_000));
    let left = client.time_left().await.unwrap().unwrap();
    assert!((3_000..=5_000).contains(&left), "{left} ms");
    let left = client.time_left_there().await.unwrap().unwrap();
    assert!((3_000..=5_000).contains(&left), "{left} ms");
    let by_default = site.client.time_left().await.unwrap().unwrap();
    assert!((20_000..=30_000).contains(&by_default), "{by_default} ms");
    there.world.end().await;
    site.end_well().await;
}

async fn a_deadline_ends_caller_and_handler(carrier: Carrier) {
    let site = Site::new(carrier);
    let hurried = site.client.with(millis(50));
    let problem_of_lane = problem(hurried.wait().await);
    assert_eq!(
        (problem_of_lane.code, problem_of_lane.changed),
        (Code::DeadlineExceeded, Changed::Maybe)
    );
    site.nothing_runs().await;
    let problem_of_stream = problem(hurried.hold(&"x".repeat(100_000)).await);
    assert_eq!(
        (problem_of_stream.code, problem_of_stream.changed),
        (Code::DeadlineExceeded, Changed::Maybe)
    );
    site.nothing_runs().await;
    let mut numbers = hurried.count(&1).await.unwrap();
    assert_eq!(numbers.next().await, Some(Ok(0)));
    assert_eq!(
        problem(numbers.next().await.unwrap()).code,
        Code::DeadlineExceeded
    );
    assert_eq!(numbers.next().await, None);
    site.end_well().await;
}

async fn a_stream_cut_off_by_its_deadline_never_yields_a_damaged_message(carrier: Carrier) {
    let site = Site::new(carrier);
    // Small messages are the ones that a few bytes in the wrong place complete.
    for size in [80, 10_000] {
        let mut pieces = site.client.with(millis(100)).pour(&size).await.unwrap();
        assert_eq!(pieces.next().await, Some(Ok(piece(0, size as usize))));
        // The window is full by now and a message is on its way in part; the server gives up, then we read on.
        site.nothing_runs().await;
        let mut expected = 0;
        let end = loop {
            match pieces.next().await {
                Some(Ok(text)) => {
                    expected += 1;
                    assert_eq!(text, piece(expected, size as usize), "message {expected}");
                }
                other => break other,
            }
        };
        assert_eq!(
            problem(end.expect("an error, not the end")).code,
            Code::DeadlineExceeded
        );
        assert_eq!(pieces.next().await, None);
    }
    site.end_well().await;
}

// ---- Panics ---------------------------------------------------------------------------------------------------------------

async fn a_handler_that_panics_fails_its_own_call_only(carrier: Carrier) {
    let site = Site::new(carrier);
    let waiting = site.client.wait();
    let meanwhile = async {
        site.entered(1).await;
        for (panics, words) in [
            (site.client.panics().await, "at once"),
            (site.client.panics_later().await, "later"),
        ] {
            let problem = problem(panics);
            assert_eq!(problem.code, Code::HandlerPanicked);
            assert!(problem.message().contains(words), "{problem}");
        }
        // Enough messages that some are on their way when it happens.
        let mut numbers = site.client.panics_after(&20_000).await.unwrap();
        let mut expected = 0;
        let end = loop {
            match numbers.next().await {
                Some(Ok(number)) => {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                other => break other,
            }
        };
        assert_eq!(problem(end.unwrap()).code, Code::HandlerPanicked);
        assert_eq!(numbers.next().await, None);
        site.board.open();
    };
    let (answer, ()) = tokio::join!(waiting, meanwhile);
    assert_eq!(answer, Ok(7), "the call beside them was not touched");
    site.end_well().await;
}

// ---- Loads ----------------------------------------------------------------------------------------------------------------

async fn calls_beyond_what_a_peer_may_run_are_refused_unrun(carrier: Carrier) {
    let site = Site::with_limits(
        carrier,
        Limits {
            running_calls_per_peer: 2,
            ..Limits::default()
        },
    );
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let client = site.client.clone();
        calls.spawn(async move { client.wait().await });
    }
    site.entered(2).await;
    let large = "x".repeat(100_000);
    for refused in [
        problem(site.client.wait().await),
        problem(site.client.hold(&large).await),
        problem(site.client.count(&1).await),
    ] {
        assert_eq!(
            (refused.code, refused.changed),
            (Code::Overloaded, Changed::No),
            "{refused}"
        );
        assert!(matches!(refused.retry, Retry::After(_)), "{refused}");
    }
    assert_eq!(site.board.entered(), 2, "what was refused never ran");
    site.board.open();
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap(), Ok(7));
    }
    site.end_well().await;
}

async fn requests_beyond_the_memory_of_a_peer_are_refused_unrun(carrier: Carrier) {
    let site = Site::with_limits(
        carrier,
        Limits {
            memory_per_peer: 100_000,
            ..Limits::default()
        },
    );
    for size in [60_000, 12_000] {
        let before = site.board.entered();
        let running = 100_000 / size;
        let text = "x".repeat(size);
        let mut calls = JoinSet::new();
        for _ in 0..running {
            let (client, text) = (site.client.clone(), text.clone());
            calls.spawn(async move { client.hold(&text).await });
        }
        site.entered(before + running).await;
        let refused = problem(site.client.hold(&text).await);
        assert_eq!(
            (refused.code, refused.changed),
            (Code::Overloaded, Changed::No),
            "{refused}"
        );
        assert!(matches!(refused.retry, Retry::After(_)), "{refused}");
        assert_eq!(site.client.echo("small").await.unwrap(), "small");
        calls.shutdown().await;
        site.nothing_runs().await;
    }
    site.end_well().await;
}

async fn more_callers_than_places_all_get_their_answers(carrier: Carrier) {
    let site = Site::with_limits(
        carrier,
        Limits {
            calls_per_lane: 4,
            ..Limits::default()
        },
    );
    let mut calls = JoinSet::new();
    // As many wait as may be under way, so callers come in two waves of eight.
    for wave in 0..2 {
        for number in 0..8_u64 {
            let client = site.client.clone();
            let number = wave * 8 + number;
            calls.spawn(async move { (number, client.number(&number).await) });
        }
        while let Some(answer) = calls.join_next().await {
            let (number, answer) = answer.unwrap();
            assert_eq!(answer, Ok(number));
        }
    }
    site.end_well().await;
}

async fn places_freed_by_cancelled_calls_go_to_those_who_wait(carrier: Carrier) {
    let site = Site::with_limits(
        carrier,
        Limits {
            calls_per_lane: 4,
            ..Limits::default()
        },
    );
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let client = site.client.clone();
        calls.spawn(async move { client.wait().await });
    }
    site.entered(4).await;
    let client = site.client.with(millis(5_000));
    let waiting = first_polled(client.number(&5)).await;
    calls.shutdown().await;
    assert_eq!(waiting.await, Ok(5));
    site.nothing_runs().await;
    site.end_well().await;
}

/// Polls a call once, so that it stands in line before what follows.
async fn first_polled<F: Future>(call: F) -> std::pin::Pin<Box<F>> {
    let mut call = Box::pin(call);
    assert!(
        futures_util::poll!(call.as_mut()).is_pending(),
        "the call has to wait"
    );
    call
}

async fn a_stream_nobody_reads_holds_up_nobody_else(carrier: Carrier) {
    let site = Site::new(carrier);
    let size = 1_000;
    let mut unread = site.client.pour(&size).await.unwrap();
    for round in 0..100 {
        assert_eq!(site.client.number(&round).await, Ok(round));
    }
    let mut read = site.client.pour(&size).await.unwrap();
    let before = site.board.produced.load(Ordering::SeqCst);
    for number in 0..20_000 {
        assert_eq!(read.next().await, Some(Ok(piece(number, size as usize))));
    }
    drop(read);
    until("the stream that is read came to its end", || {
        site.board.inside() == 1
    })
    .await;
    let produced = site.board.produced.load(Ordering::SeqCst);
    // A window on each side, at most 4 MiB each, whatever carries it; the stream that was read needed at least 20 MB.
    assert!(
        before <= 9_000,
        "{before} messages were made for a reader that took none"
    );
    let for_the_reader = 20_000;
    assert!(
        produced - for_the_reader <= 18_000,
        "{produced} messages were made"
    );
    assert_eq!(unread.next().await, Some(Ok(piece(0, size as usize))));
    drop(unread);
    site.end_well().await;
}

async fn small_calls_do_not_wait_behind_large_answers(carrier: Carrier) {
    // With one thread the order is that of the link. With several, a thread that the machine keeps waiting now and then hands the
    // small answer on last; a link on which it waits does so every time.
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    let may_be_late = if threads > 1 { 2 } else { 0 };
    let mut late = 0;
    for _ in 0..5 {
        let site = Site::new(carrier.clone());
        let mut large = JoinSet::new();
        for _ in 0..3 {
            let client = site.client.clone();
            large.spawn(async move { client.text(&(8 << 20)).await.map(|text| text.len()) });
        }
        // Everyone's request leaves in one batch; ours is the last of them.
        tokio::task::yield_now().await;
        assert_eq!(site.client.number(&1).await, Ok(1));
        if let Some(size) = large.try_join_next() {
            assert_eq!(size.unwrap(), Ok(8 << 20));
            late += 1;
        }
        while let Some(size) = large.join_next().await {
            assert_eq!(size.unwrap(), Ok(8 << 20));
        }
        site.end_well().await;
        if late > may_be_late {
            break;
        }
    }
    assert!(
        late <= may_be_late,
        "the small answer came behind a large one {late} times"
    );
}

// ---- Orderly ends ---------------------------------------------------------------------------------------------------------

const GRACE: Duration = Duration::from_secs(10);

async fn a_server_that_shuts_down_lets_every_running_call_end(carrier: Carrier) {
    let Site {
        world,
        board,
        channel: _channel,
        client,
    } = Site::new(carrier);
    let World {
        server,
        host,
        client: caller,
        ..
    } = world;
    let ends = async {
        until("all handlers were entered", || board.entered() == 4).await;
        let opens = async {
            tokio::task::yield_now().await;
            board.open();
        };
        let began = Instant::now();
        let (cut_off, ()) = tokio::join!(server.shutdown(GRACE), opens);
        assert_eq!(cut_off, 0);
        assert!(
            began.elapsed() < GRACE / 2,
            "the shutdown waited for nothing: {:?}",
            began.elapsed()
        );
    };
    let large = "x".repeat(100_000);
    let streaming = async {
        let mut numbers = client.count(&2).await.unwrap();
        let mut count = 0;
        while let Some(number) = numbers.next().await {
            assert_eq!(number, Ok(count));
            count += 1;
        }
        count
    };
    let answers = tokio::join!(
        client.wait(),
        client.hold(&large),
        client.swallow(vec![1, 2, 3].into()),
        streaming,
        ends
    );
    assert_eq!(
        (answers.0, answers.1, answers.2, answers.3),
        (Ok(7), Ok(100_000), Ok(3), 2)
    );

    let refused = problem(client.with(millis(300)).wait().await);
    assert_eq!(
        (refused.code, refused.changed),
        (Code::Unavailable, Changed::No),
        "{refused}"
    );
    caller.close().await;
    host.close().await;
}

async fn a_server_that_is_asked_twice_says_how_many_calls_it_cut_off(carrier: Carrier) {
    let Site {
        world,
        board,
        channel: _channel,
        client,
    } = Site::new(carrier);
    let World {
        server,
        host,
        client: caller,
        ..
    } = world;
    let ends = async {
        until("all handlers were entered", || board.entered() == 2).await;
        assert_eq!(server.shutdown(Duration::from_millis(50)).await, 2);
    };
    let large = "x".repeat(100_000);
    let (lane, stream, ()) = tokio::join!(client.wait(), client.hold(&large), ends);
    for cut_off in [problem(lane), problem(stream)] {
        assert_eq!(
            (cut_off.code, cut_off.changed),
            (Code::LinkLost, Changed::Maybe),
            "{cut_off}"
        );
    }
    assert_eq!(board.inside(), 0, "a shutdown waits for all it cut off");
    caller.close().await;
    host.close().await;
}

async fn callers_move_on_when_a_server_shuts_down(carrier: Carrier) {
    let Site {
        world,
        board,
        channel,
        client,
    } = Site::new(carrier);
    drop((client, channel));
    let World {
        carrier,
        cluster,
        server,
        host,
        client: caller,
    } = world;
    let second = carrier.endpoint(
        &cluster,
        convoke_rpc::Role::Worker.into(),
        Limits::default(),
    );
    let second_server = Server::builder()
        .service(WorkServer::new(Worker(Arc::clone(&board))))
        .serve(&second)
        .unwrap();
    let addresses = vec![
        host.local_address().unwrap(),
        second.local_address().unwrap(),
    ];
    let channel = Channel::new(
        &caller,
        Target {
            addresses,
            node: None,
        },
        ChannelConfig::default(),
    );
    let client = WorkClient::new(&channel);
    assert_eq!(client.number(&1).await, Ok(1));
    assert_eq!((server.links(), second_server.links()), (1, 0));

    server.shutdown(GRACE).await;
    assert_eq!(client.with(millis(3_000)).number(&2).await, Ok(2));
    assert_eq!(second_server.links(), 1);
    second_server.shutdown(GRACE).await;
    caller.close().await;
    host.close().await;
    second.close().await;
}

async fn a_channel_that_is_closed_lets_its_calls_end(carrier: Carrier) {
    let site = Site::new(carrier);
    let closes = async {
        site.entered(3).await;
        let opens = async {
            tokio::task::yield_now().await;
            site.board.open();
        };
        let began = Instant::now();
        let (all, ()) = tokio::join!(site.channel.close(GRACE), opens);
        assert!(all, "every call came to its end");
        assert!(
            began.elapsed() < GRACE / 2,
            "the closing waited for nothing: {:?}",
            began.elapsed()
        );
    };
    let large = "x".repeat(100_000);
    let answers = tokio::join!(
        site.client.wait(),
        site.client.hold(&large),
        site.client.swallow(vec![1, 2, 3].into()),
        closes
    );
    assert_eq!(
        (answers.0, answers.1, answers.2),
        (Ok(7), Ok(100_000), Ok(3))
    );

    let refused = problem(site.client.wait().await);
    assert_eq!(
        (refused.code, refused.changed, refused.retry),
        (Code::Unavailable, Changed::No, Retry::Never)
    );
    until("the link is gone", || site.world.server.links() == 0).await;
    site.world.end().await;
}

async fn a_channel_that_is_closed_in_haste_says_that_calls_were_cut_off(carrier: Carrier) {
    let site = Site::new(carrier);
    let closes = async {
        site.entered(1).await;
        assert!(!site.channel.close(Duration::from_millis(30)).await);
    };
    let (answer, ()) = tokio::join!(site.client.wait(), closes);
    assert_eq!(problem(answer).changed, Changed::Maybe);
    site.nothing_runs().await;
    site.world.end().await;
}

async fn a_channel_closes_although_somebody_still_holds_a_stream(carrier: Carrier) {
    let site = Site::new(carrier);
    let mut held = site.client.count(&1_000).await.unwrap();
    assert!(!site.channel.close(Duration::from_millis(30)).await);
    let mut last = held.next().await;
    while matches!(last, Some(Ok(_))) {
        last = held.next().await;
    }
    assert!(matches!(last, Some(Err(_))), "{last:?}");
    assert_eq!(held.next().await, None);
    site.nothing_runs().await;
    site.world.end().await;
}

async fn a_channel_finds_a_server_that_was_restarted(carrier: Carrier) {
    let Site {
        world,
        board,
        channel: _channel,
        client,
    } = Site::with_limits(carrier, brisk());
    let World {
        carrier,
        cluster,
        mut host,
        mut server,
        client: caller,
    } = world;
    let (address, identity) = (host.local_address().unwrap(), host.identity().clone());
    for round in 0..3 {
        assert_eq!(client.number(&round).await, Ok(round));
        host.close().await;
        drop((server, host));
        let refused = problem(client.with(millis(30)).number(&round).await);
        assert!(
            matches!(refused.code, Code::Unavailable | Code::DeadlineExceeded),
            "{refused}"
        );
        host = bound_again(&carrier, address, &identity, &cluster.trust()).await;
        server = Server::builder()
            .service(WorkServer::new(Worker(Arc::clone(&board))))
            .serve(&host)
            .unwrap();
    }
    assert_eq!(client.number(&9).await, Ok(9));
    server.shutdown(GRACE).await;
    caller.close().await;
    host.close().await;
}

async fn a_server_that_refuses_is_not_besieged(carrier: Carrier) {
    let knocks = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&knocks);
    let masters = only(convoke_rpc::Role::Master.into());
    let world = World::serving(carrier, |server| {
        server
            .service(WorkServer::new(Worker(Arc::default())))
            .admission(Arc::new(move |claims, protocol| {
                counting.fetch_add(1, Ordering::SeqCst);
                masters(claims, protocol)
            }))
    });
    let pauses = Duration::from_secs(3_600);
    let config = ChannelConfig {
        first_pause: pauses,
        longest_pause: pauses,
        ..ChannelConfig::default()
    };
    let client = WorkClient::new(Channel::new(&world.client, world.target(), config));
    let first = problem(client.number(&0).await);
    assert_eq!(
        (first.code, first.changed),
        (Code::Forbidden, Changed::No),
        "{first}"
    );
    assert!(
        first.message().contains("master") && first.message().contains("gateway"),
        "{first}"
    );
    for round in 0..10 {
        let refused = problem(client.with(millis(10)).number(&round).await);
        assert_eq!(refused.changed, Changed::No, "{refused}");
    }
    let knocks = knocks.load(Ordering::SeqCst);
    assert!(
        knocks <= 2,
        "{knocks} links were opened where a pause of up to an hour was due after each"
    );
    world.end().await;
}

// ---- Misunderstandings ----------------------------------------------------------------------------------------------------

async fn calls_the_server_does_not_understand_change_nothing(carrier: Carrier) {
    let site = Site::new(carrier);
    let other = OtherWorkClient::new(&site.channel);
    let large: Vec<String> = (0..10_000)
        .map(|number| format!("number {number}"))
        .collect();
    let said = |result: convoke_rpc::Problem| (result.code, result.changed);
    assert_eq!(
        said(problem(other.unheard_of().await)),
        (Code::Unimplemented, Changed::No)
    );
    assert_eq!(
        said(problem(other.unheard_of_stream().await)),
        (Code::Unimplemented, Changed::No)
    );
    assert_eq!(
        said(problem(other.echo("a stream?").await)),
        (Code::Unimplemented, Changed::No)
    );
    assert_eq!(
        said(problem(other.count(&3).await)),
        (Code::Unimplemented, Changed::No)
    );
    assert_eq!(
        said(problem(other.number(&["no number".to_owned()]).await)),
        (Code::Undecodable, Changed::No)
    );
    assert_eq!(
        said(problem(other.number(&large).await)),
        (Code::Undecodable, Changed::No)
    );
    site.end_well().await;
}

async fn a_received_stream_can_be_sent_on_as_it_is(carrier: Carrier) {
    let site = Site::new(carrier);
    let mut back = site.client.hand_back(vec![1, 2, 3].into()).await.unwrap();
    for expected in [1, 2, 3] {
        assert_eq!(back.next().await, Some(Ok(expected)));
    }
    assert_eq!(back.next().await, None);
    site.end_well().await;
}

async fn messages_above_the_limit_are_refused_with_words(carrier: Carrier) {
    let site = Site::with_limits(
        carrier,
        Limits {
            message_bytes: 100_000,
            ..Limits::default()
        },
    );
    let request = problem(site.client.hold(&"x".repeat(100_001)).await);
    assert_eq!(
        (request.code, request.changed),
        (Code::TooLarge, Changed::No),
        "{request}"
    );
    let answer = problem(site.client.text(&100_001).await);
    assert_eq!(
        (answer.code, answer.changed),
        (Code::TooLarge, Changed::Yes),
        "{answer}"
    );
    let mut pieces = site.client.pour(&100_008).await.unwrap();
    let item = problem(pieces.next().await.unwrap());
    assert_eq!(item.code, Code::TooLarge, "{item}");
    assert_eq!(pieces.next().await, None);
    drop(pieces);
    site.end_well().await;
}

async fn every_server_says_how_it_is(carrier: Carrier) {
    let site = Site::new(carrier);
    let health = HealthCheckClient::new(&site.channel);
    assert_eq!(health.check("").await, Ok(Health::Serving));
    assert_eq!(health.check("Work").await, Ok(Health::Serving));
    assert_eq!(health.check("Play").await, Ok(Health::Unknown));
    site.end_well().await;
}

world::on_every_carrier!(
    a_call_on_a_server_that_dies_may_have_run,
    a_caller_that_tries_again_at_once_lets_others_run,
    an_idempotent_call_is_repeated_on_the_next_server_at_the_address,
    a_stream_of_a_server_that_dies_yields_one_error_and_ends,
    handlers_of_a_client_that_dies_are_dropped,
    a_call_that_is_dropped_drops_its_handler,
    a_stream_that_is_dropped_drops_its_handler_in_either_direction,
    an_early_answer_ends_the_sending,
    a_client_that_is_dropped_leaves_its_stream_alone,
    deadlines_travel_and_only_ever_shrink,
    a_deadline_ends_caller_and_handler,
    a_stream_cut_off_by_its_deadline_never_yields_a_damaged_message,
    a_handler_that_panics_fails_its_own_call_only,
    calls_beyond_what_a_peer_may_run_are_refused_unrun,
    requests_beyond_the_memory_of_a_peer_are_refused_unrun,
    more_callers_than_places_all_get_their_answers,
    places_freed_by_cancelled_calls_go_to_those_who_wait,
    a_stream_nobody_reads_holds_up_nobody_else,
    small_calls_do_not_wait_behind_large_answers,
    a_server_that_shuts_down_lets_every_running_call_end,
    a_server_that_is_asked_twice_says_how_many_calls_it_cut_off,
    callers_move_on_when_a_server_shuts_down,
    a_channel_that_is_closed_lets_its_calls_end,
    a_channel_that_is_closed_in_haste_says_that_calls_were_cut_off,
    a_channel_closes_although_somebody_still_holds_a_stream,
    a_channel_finds_a_server_that_was_restarted,
    a_server_that_refuses_is_not_besieged,
    calls_the_server_does_not_understand_change_nothing,
    a_received_stream_can_be_sent_on_as_it_is,
    messages_above_the_limit_are_refused_with_words,
    every_server_says_how_it_is,
);
