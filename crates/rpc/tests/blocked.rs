//! Whoever blocks, dawdles or says nothing, on either side, holds up itself alone: slow and silent callers, readers that never
//! read, handlers that block their thread, streams that want everything for themselves.
//!
//! What all of this may make a node hold is in `bounded.rs`.
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use convoke_rpc::link::{RecvHalf, SendHalf};
use convoke_rpc::{
    CallError, CallOptions, CloseCode, Code, Limits, Link, NoError, Protocol, Side, Streaming,
    service,
};
use convoke_types::codec;
use convoke_types::wire::rpc::{
    Framer, LANE_FRAME_MAX, MethodKind, OPEN_CALL, OPEN_LANE, StreamOpen, item, put_header,
    put_varint, to_callee, to_caller,
};
use tokio::task::JoinSet;
use world::{Beside, Carrier, PATIENCE, World, until};

#[service]
trait Work {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    async fn pour(&self, size: u32) -> Result<Streaming<String>, NoError>;
    async fn swallow(&self, texts: Streaming<String>) -> Result<u32, NoError>;
    /// Blocks its thread until the gate opens.
    async fn block(&self) -> Result<u32, NoError>;
    /// Does its work elsewhere, and that work does not hear of anything.
    async fn spin(&self) -> Result<u32, NoError>;
}

#[derive(Default)]
struct Board {
    poured: AtomicUsize,
    swallowed: AtomicUsize,
    blocked: AtomicUsize,
    is_open: Mutex<bool>,
    gate: Condvar,
}

impl Board {
    fn block(&self) {
        self.blocked.fetch_add(1, Ordering::SeqCst);
        let closed = self.is_open.lock().unwrap();
        drop(self.gate.wait_while(closed, |is_open| !*is_open).unwrap());
        self.blocked.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.gate.notify_all();
    }

    fn blocked(&self) -> usize {
        self.blocked.load(Ordering::SeqCst)
    }
}

/// Opens the gate also when a test fails, or its threads would never end.
struct Opens(Arc<Board>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Worker(Arc<Board>);

impl Work for Worker {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn pour(&self, size: u32) -> Result<Streaming<String>, NoError> {
        let board = Arc::clone(&self.0);
        Ok(Streaming::from_iter(std::iter::repeat_with(move || {
            board.poured.fetch_add(1, Ordering::SeqCst);
            "p".repeat(size as usize)
        })))
    }

    async fn swallow(&self, mut texts: Streaming<String>) -> Result<u32, NoError> {
        let mut count = 0;
        while let Some(Ok(_)) = texts.next().await {
            self.0.swallowed.fetch_add(1, Ordering::SeqCst);
            count += 1;
        }
        Ok(count)
    }

    async fn block(&self) -> Result<u32, NoError> {
        self.0.block();
        Ok(7)
    }

    async fn spin(&self) -> Result<u32, NoError> {
        let board = Arc::clone(&self.0);
        let elsewhere = tokio::task::spawn_blocking(move || board.block());
        elsewhere.await.expect("it ends when the gate opens");
        Ok(7)
    }
}

fn site(carrier: Carrier) -> (World, Arc<Board>, WorkClient) {
    let board = Arc::new(Board::default());
    let worker = Worker(Arc::clone(&board));
    let world = World::serving(carrier, |server| server.service(WorkServer::new(worker)));
    let client = WorkClient::new(world.channel());
    (world, board, client)
}

async fn is_well(client: &WorkClient) {
    assert_eq!(client.echo("well").await, Ok("well".to_owned()));
}

// ---- Bytes ----------------------------------------------------------------------------------------------------------------

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes, kind, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn lane(number: u8) -> Vec<u8> {
    let bind = frame(to_callee::BIND, b"\0Work.echo");
    [vec![OPEN_LANE, number], bind].concat()
}

fn request(call: u64, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [call, 0, 0] {
        put_varint(&mut body, number);
    }
    body.extend(codec::to_vec(&text.to_owned()).unwrap());
    frame(to_callee::REQUEST, &body)
}

fn opening(method: &str, shape: MethodKind) -> Vec<u8> {
    let open = StreamOpen {
        method: method.to_owned(),
        shape,
        deadline_ms: 0,
        trace: None,
    };
    let open = frame(item::OPEN, &codec::to_vec(&open).unwrap());
    [vec![OPEN_CALL], open].concat()
}

async fn rude_link(world: &World) -> Link {
    let address = world.target().addresses[0];
    let link = world.client.connect(address, None, Protocol::Rpc).await;
    link.unwrap()
}

async fn write(link: &Link, bytes: Vec<u8>) -> (SendHalf, RecvHalf) {
    let (mut send, recv) = link.open_lane().await.unwrap();
    send.write(bytes.into()).await.unwrap();
    (send, recv)
}

async fn answer(recv: &mut RecvHalf) -> Bytes {
    let mut framer = Framer::new(LANE_FRAME_MAX);
    loop {
        match framer.next_frame().unwrap() {
            Some(frame) => {
                assert_eq!(frame.kind, to_caller::ANSWER);
                return frame.body;
            }
            None => framer.feed(recv.read().await.unwrap().expect("an answer")),
        }
    }
}

// ---- Callers --------------------------------------------------------------------------------------------------------------

async fn slow_and_silent_callers_hold_up_nobody(carrier: Carrier) {
    let (world, _, beside) = site(carrier);
    is_well(&beside).await;
    let link = rude_link(&world).await;
    // Half a frame, half a body, and nothing more, for as long as the link lasts.
    let half = request(0, &"h".repeat(1_000));
    let _half_a_frame = write(&link, [lane(0), half[..500].to_vec()].concat()).await;
    let mut body = opening("Work.echo", MethodKind::Unary);
    put_header(&mut body, item::ITEM, 100_000);
    let _half_a_body = write(&link, [body, vec![b'b'; 50_000]].concat()).await;
    let _no_items = write(&link, opening("Work.swallow", MethodKind::ClientStreaming)).await;
    until("both calls run", || world.server.running_calls() == 2).await;
    // A byte at a time, on a lane beside them.
    let (mut send, mut recv) = link.open_lane().await.unwrap();
    for byte in [lane(1), request(5, "in small bites")].concat() {
        send.write(Bytes::copy_from_slice(&[byte])).await.unwrap();
        is_well(&beside).await;
    }
    assert_eq!(answer(&mut recv).await[0], 5);
    assert_eq!(link.close_reason(), None, "slow is not forbidden");
    link.close(CloseCode::Done, "");
    until("nothing of it is left", || {
        (world.server.links(), world.server.running_calls()) == (1, 0)
    })
    .await;
    world.end().await;
}

async fn a_caller_that_reads_no_answers_stops_its_own_lane_alone(carrier: Carrier) {
    let (world, _, beside) = site(carrier);
    let link = rude_link(&world).await;
    let (mut send, unread) = write(&link, lane(0)).await;
    // Answers of eight kilobytes; windows and one buffer of a megabyte take some, then the lane is not read any more.
    let mut calls = (0..).map(|call: u64| request(call % 60_000, &"u".repeat(8_000)));
    let stalls = async {
        loop {
            let more: Vec<u8> = calls.by_ref().take(16).flatten().collect();
            // Much longer than a moment of a process that has nothing else to do.
            let written = tokio::time::timeout(Duration::from_secs(1), send.write(more.into()));
            if written.await.is_err() {
                return;
            }
        }
    };
    stalls.await;
    is_well(&beside).await;
    let (_send, mut recv) = write(&link, [lane(1), request(5, "here")].concat()).await;
    assert_eq!(answer(&mut recv).await[0], 5, "its other lanes are well");
    assert_eq!(link.close_reason(), None);
    drop((send, unread));
    link.close(CloseCode::Done, "");
    until("nothing of it is left", || world.server.links() == 1).await;
    world.end().await;
}

/// Streams of which nothing is read hold their own windows, and a link has room for a good many of those.
async fn streams_nobody_reads_hold_up_no_small_call(carrier: Carrier) {
    let (world, board, client) = site(carrier);
    let mut unread = Vec::new();
    for _ in 0..8 {
        let mut poured = client.pour(&10_000).await.unwrap();
        assert!(poured.next().await.is_some());
        unread.push(poured);
    }
    let mut before = usize::MAX;
    while board.poured.load(Ordering::SeqCst) != before {
        before = board.poured.load(Ordering::SeqCst);
        for _ in 0..20 {
            is_well(&client).await;
        }
    }
    drop(unread);
    is_well(&client).await;
    world.end().await;
}

/// Many large streams both ways, and small calls on the same link in the middle of them.
async fn small_calls_get_through_between_large_streams(carrier: Carrier) {
    let (world, board, client) = site(carrier);
    let mut busy = JoinSet::new();
    // All of one direction before the other: a stream that begins while others fill the link has to wait for them, and over QUIC on
    // one thread that can be long.
    let mut pouring = Vec::new();
    for _ in 0..8 {
        pouring.push(client.pour(&20_000).await.unwrap());
    }
    for mut poured in pouring {
        busy.spawn(async move { while poured.next().await.is_some_and(|text| text.is_ok()) {} });
        let swallowing = client.clone();
        busy.spawn(async move {
            let texts = std::iter::repeat_with(|| "s".repeat(20_000));
            let options = CallOptions::new().timeout(PATIENCE * 2);
            let _ = swallowing
                .with(options)
                .swallow(Streaming::from_iter(texts))
                .await;
        });
    }
    let moved = || {
        let poured = board.poured.load(Ordering::SeqCst);
        (poured, board.swallowed.load(Ordering::SeqCst))
    };
    for _ in 0..20 {
        let before = moved();
        for _ in 0..5 {
            is_well(&client).await;
        }
        until("the streams go on, too", || {
            let now = moved();
            now.0 > before.0 && now.1 > before.1
        })
        .await;
    }
    assert_eq!(world.server.links(), 1, "all of it on one link");
    busy.shutdown().await;
    world.end().await;
}

world::on_every_carrier!(
    slow_and_silent_callers_hold_up_nobody,
    a_caller_that_reads_no_answers_stops_its_own_lane_alone,
    streams_nobody_reads_hold_up_no_small_call,
    small_calls_get_through_between_large_streams,
);

// ---- Callers that say nothing ---------------------------------------------------------------------------------------------

async fn who_opens_a_call_and_says_nothing_is_cut_off(carrier: Carrier) {
    let limits = Limits {
        idle_timeout: Duration::from_secs(2),
        keep_alive: Duration::from_millis(500),
        ..Limits::default()
    };
    let worker = Worker(Arc::default());
    let world = World::with_limits(carrier, limits, |server| {
        server.service(WorkServer::new(worker))
    });
    let beside = WorkClient::new(world.channel());
    is_well(&beside).await;
    let link = rude_link(&world).await;
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(write(&link, vec![OPEN_CALL]).await);
    }
    let reason = tokio::time::timeout(PATIENCE, link.closed()).await.unwrap();
    assert_eq!(
        (reason.by, reason.code),
        (Side::Peer, CloseCode::ProtocolViolation)
    );
    assert!(
        reason.detail.contains("does not say what it calls"),
        "{reason}"
    );
    is_well(&beside).await;
    until("nothing of it is left", || world.server.links() == 1).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn who_opens_a_call_and_says_nothing_is_cut_off_in_memory() {
    who_opens_a_call_and_says_nothing_is_cut_off(Carrier::memory()).await;
}

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn who_opens_a_call_and_says_nothing_is_cut_off_over_quic() {
    who_opens_a_call_and_says_nothing_is_cut_off(Carrier::Quic).await;
}

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn who_opens_a_call_and_says_nothing_is_cut_off_over_tcp() {
    who_opens_a_call_and_says_nothing_is_cut_off(Carrier::Tcp).await;
}

// ---- Handlers -------------------------------------------------------------------------------------------------------------

fn out_of_time(answer: Result<u32, CallError<NoError>>) {
    let Err(CallError::Rpc(problem)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(problem.code, Code::DeadlineExceeded, "{problem}");
}

/// Work that was handed elsewhere cannot be called back; its caller does not wait for it, and neither does a shutdown.
async fn work_that_hears_of_nothing_holds_up_nobody(carrier: Carrier) {
    let (world, board, client) = site(carrier);
    let _opens = Opens(Arc::clone(&board));
    let hurried = client.with(CallOptions::new().timeout(Duration::from_millis(200)));
    // On a busy machine the time may be over before the work has begun.
    for _ in 0..20 {
        out_of_time(hurried.spin().await);
        if board.blocked() > 0 {
            break;
        }
    }
    assert_eq!(board.blocked(), 1, "the work goes on");
    until("the handler is gone all the same", || {
        world.server.running_calls() == 0
    })
    .await;
    is_well(&client).await;
    // Ends in time although the work does not.
    world.end().await;
    assert_eq!(board.blocked(), 1);
}

world::on_every_carrier!(work_that_hears_of_nothing_holds_up_nobody);

/// Wakes a thread of the runtime now and then, as any other thread of a program does that uses it.
///
/// A thread that goes from waiting for sockets and timers straight into a handler that blocks leaves nobody waiting for them: the
/// others sleep until something from outside wakes one, which then takes that over. That is the runtime's, and no link's, to mend.
struct Nudges {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Nudges {
    fn start() -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (stop, stopped) = sync_channel(0);
        let thread = std::thread::spawn(move || {
            let every = Duration::from_millis(10);
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // Over as soon as it is polled; nothing waits for it.
                drop(runtime.spawn(std::future::ready(())));
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Nudges {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

/// One thread is lost to a handler that blocks it; whoever uses other links is served by the rest.
async fn a_handler_that_blocks_its_thread(carrier: Carrier) {
    let (world, board, client) = site(carrier);
    let _nudges = Nudges::start();
    let opens = Opens(Arc::clone(&board));
    let beside = WorkClient::new(world.channel());
    is_well(&beside).await;
    let hurried = client.with(CallOptions::new().timeout(Duration::from_millis(500)));
    let called = Beside::start(async move { hurried.block().await });
    until("the thread is blocked", || board.blocked() == 1).await;
    for _ in 0..100 {
        is_well(&beside).await;
    }
    out_of_time(called.ended().await);
    // A shutdown does not wait for ever for what cannot be ended.
    let shutdown = world.server.shutdown(Duration::from_millis(100));
    let ended = tokio::time::timeout(PATIENCE, shutdown).await;
    ended.expect("a shutdown is bounded");
    assert_eq!(board.blocked(), 1);
    drop(opens);
    world.client.close().await;
    world.host.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_its_thread_holds_up_its_own_link_over_quic() {
    a_handler_that_blocks_its_thread(Carrier::Quic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_its_thread_holds_up_its_own_link_over_tcp() {
    a_handler_that_blocks_its_thread(Carrier::Tcp).await;
}
