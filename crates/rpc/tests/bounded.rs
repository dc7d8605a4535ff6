//! What one node can make another hold, however it goes about it: many links, many streams, large bodies, answers it never takes.
//!
//! Memory is a number of the whole process, so the stories of this file run one after the other, and the peer, which is in the
//! same process, is written so as to hold little.
#![cfg(target_os = "linux")]
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use convoke_rpc::link::{RecvHalf, SendHalf};
use convoke_rpc::{CloseCode, Endpoint, Limits, Link, NoError, Protocol, Role, Streaming, service};
use convoke_types::codec;
use convoke_types::wire::rpc::{
    MethodKind, OPEN_CALL, OPEN_LANE, StreamOpen, item, put_header, put_varint, to_callee,
};
use tokio::task::JoinSet;
use world::measure::resident_bytes;
use world::{Carrier, PATIENCE, World, until};

const MIB: usize = 1 << 20;
/// What one node may make a server hold in these stories.
const MEMORY: usize = 8 * MIB;
/// Links of the greedy node.
const LINKS: usize = 16;
/// What comes on top, as the documentation of `memory_per_peer` has it: the window of each link over QUIC, with a small socket
/// buffer here; what each link over TCP may hold of its own; the in-memory twin shares what its peer wrote. And what an allocator
/// keeps, and the peer in this process.
const ON_TOP: usize = LINKS * MIB + 16 * MIB;

fn limits() -> Limits {
    Limits {
        memory_per_peer: MEMORY,
        socket_buffer_bytes: MIB / 2,
        // Over TCP, whoever does not listen to a peer looks this often whether it is still there.
        keep_alive: Duration::from_millis(500),
        // And over QUIC, a burst into a small buffer may swallow the packet that says that a link is closed; it is given up then.
        idle_timeout: Duration::from_secs(5),
        ..Limits::default()
    }
}

#[service]
trait Store {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    async fn keep(&self, text: String) -> Result<u32, NoError>;
    async fn ignore(&self, numbers: Streaming<u32>) -> Result<u32, NoError>;
    async fn fetch(&self, size: u32) -> Result<String, NoError>;
    async fn fetch_later(&self, size: u32) -> Result<String, NoError>;
}

#[derive(Clone, Default)]
struct Stored(Arc<AtomicUsize>);

impl Store for Stored {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn keep(&self, _text: String) -> Result<u32, NoError> {
        std::future::pending().await
    }

    async fn ignore(&self, _numbers: Streaming<u32>) -> Result<u32, NoError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn fetch(&self, size: u32) -> Result<String, NoError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok("f".repeat(size as usize))
    }

    async fn fetch_later(&self, size: u32) -> Result<String, NoError> {
        tokio::task::yield_now().await;
        self.fetch(size).await
    }
}

/// Whoever runs holds it.
static ALONE: Mutex<()> = Mutex::new(());

fn on_each_carrier<F: Future<Output = ()>>(story: impl Fn(Carrier) -> F) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for carrier in [Carrier::Tcp, Carrier::Quic, Carrier::memory()] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, story(carrier))
                .await
                .expect("the story ends");
        });
    }
}

struct Site {
    world: World,
    /// The greedy node.
    greedy: Endpoint,
    /// And one that wants no more than its due.
    modest: StoreClient,
    stored: Stored,
}

impl Site {
    async fn new(carrier: Carrier) -> Self {
        let stored = Stored::default();
        let world = World::with_limits(carrier, limits(), |server| {
            server.service(StoreServer::new(stored.clone()))
        });
        let greedy = world
            .carrier
            .endpoint(&world.cluster, Role::Gateway.into(), limits());
        let modest = StoreClient::new(world.channel());
        let site = Self {
            world,
            greedy,
            modest,
            stored,
        };
        site.is_well().await;
        site
    }

    async fn is_well(&self) {
        assert_eq!(self.modest.echo("well").await, Ok("well".to_owned()));
        let large = "l".repeat(MIB);
        assert_eq!(self.modest.echo(&large).await.as_ref(), Ok(&large));
    }

    async fn link(&self) -> Link {
        let address = self.world.target().addresses[0];
        let link = self.greedy.connect(address, None, Protocol::Rpc).await;
        link.expect("one of at most sixty-four")
    }

    async fn end(self, links: &[Link]) {
        for link in links {
            link.close(CloseCode::Done, "");
        }
        self.is_well().await;
        until("what was held for the greedy node is given back", || {
            (self.world.server.links(), self.world.server.running_calls()) == (1, 0)
        })
        .await;
        self.greedy.close().await;
        self.world.end().await;
    }
}

// ---- Bytes ----------------------------------------------------------------------------------------------------------------

fn opening(method: &str, shape: MethodKind) -> Vec<u8> {
    let open = StreamOpen {
        method: method.to_owned(),
        shape,
        deadline_ms: 0,
        trace: None,
    };
    let open = codec::to_vec(&open).unwrap();
    let mut bytes = vec![OPEN_CALL];
    put_header(&mut bytes, item::OPEN, open.len());
    bytes.extend(open);
    bytes
}

/// Writes what the other side takes, again and again, until this is dropped.
async fn push(link: Link, first: Vec<u8>, piece: Bytes, pieces: usize) -> (SendHalf, RecvHalf) {
    let (mut send, recv) = link.open_stream().await.unwrap();
    let pieces = std::iter::repeat_n(piece, pieces);
    for bytes in std::iter::once(Bytes::from(first)).chain(pieces) {
        if send.write(bytes).await.is_err() {
            break;
        }
    }
    (send, recv)
}

/// Waits until nothing moves any more: as much was held for a while.
async fn settled() -> usize {
    let (mut last, mut same) = (resident_bytes(), 0);
    while same < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await; // tidy: between two looks at a state, which settles or never does
        let now = resident_bytes();
        same = if now <= last + MIB / 4 { same + 1 } else { 0 };
        last = now.max(last);
    }
    last
}

fn within_bounds(what: &str, before: usize, now: usize) {
    let grown = now.saturating_sub(before);
    assert!(
        grown <= MEMORY + ON_TOP,
        "{what}: {grown} bytes for one node that may hold {MEMORY}"
    );
}

// ---- Stories --------------------------------------------------------------------------------------------------------------

/// A hundred and twenty-eight megabytes of requests, each without its last byte.
async fn many_links_hold_no_more_than_one(carrier: Carrier) {
    let site = Site::new(carrier).await;
    let before = settled().await;
    let size = 2 * MIB;
    let mut first = opening("Store.keep", MethodKind::Unary);
    put_header(&mut first, item::ITEM, size);
    let piece = Bytes::from(vec![b'x'; MIB / 4]);
    let mut pushing = JoinSet::new();
    let mut links = Vec::new();
    for _ in 0..LINKS {
        let link = site.link().await;
        for _ in 0..4 {
            let (first, piece) = (first.clone(), piece.clone());
            pushing.spawn(push(link.clone(), first, piece, 7));
        }
        links.push(link);
    }
    within_bounds("requests", before, settled().await);
    site.is_well().await;
    drop(pushing);
    site.end(&links).await;
}

#[test]
fn one_node_holds_no_more_over_many_links_than_over_one() {
    on_each_carrier(many_links_hold_no_more_than_one);
}

/// As much as every window of every stream takes, for handlers that read none of it.
async fn unread_streams_hold_no_more(carrier: Carrier) {
    let site = Site::new(carrier).await;
    let before = settled().await;
    let mut item = Vec::new();
    put_header(&mut item, item::ITEM, 4);
    item.extend([1, 2, 3, 4]);
    let piece = Bytes::from(item.repeat(4_096));
    let first = opening("Store.ignore", MethodKind::ClientStreaming);
    let mut pushing = JoinSet::new();
    let mut links = Vec::new();
    for _ in 0..LINKS {
        let link = site.link().await;
        for _ in 0..30 {
            let (first, piece) = (first.clone(), piece.clone());
            pushing.spawn(push(link.clone(), first, piece, 1_000));
        }
        links.push(link);
    }
    within_bounds("unread streams", before, settled().await);
    assert!(
        site.stored.0.load(Ordering::SeqCst) > LINKS,
        "handlers do run"
    );
    site.is_well().await;
    drop(pushing);
    site.end(&links).await;
}

#[test]
fn what_handlers_do_not_read_holds_no_more_than_a_node_may() {
    on_each_carrier(unread_streams_hold_no_more);
}

/// Four hundred answers of a megabyte, asked for in one breath and never taken.
async fn untaken_answers_hold_no_more(carrier: Carrier, method: &str) {
    let site = Site::new(carrier).await;
    let before = settled().await;
    let link = site.link().await;
    let mut bytes = vec![OPEN_LANE, 0];
    put_header(&mut bytes, to_callee::BIND, 1 + method.len());
    bytes.push(0);
    bytes.extend(method.as_bytes());
    for call in 0..400 {
        let mut body = Vec::new();
        for number in [call, 0, 0] {
            put_varint(&mut body, number);
        }
        body.extend(codec::to_vec(&1_048_576_u32).unwrap());
        put_header(&mut bytes, to_callee::REQUEST, body.len());
        bytes.extend(body);
    }
    let (mut send, recv) = link.open_lane().await.unwrap();
    send.write(bytes.into()).await.unwrap();
    until("answers are made", || {
        site.stored.0.load(Ordering::SeqCst) >= 4
    })
    .await;
    within_bounds("answers", before, settled().await);
    site.is_well().await;
    drop((send, recv));
    site.end(&[link]).await;
}

#[test]
fn answers_that_are_never_taken_hold_no_more_than_a_node_may() {
    on_each_carrier(|carrier| untaken_answers_hold_no_more(carrier, "Store.fetch"));
}

#[test]
fn answers_of_handlers_that_ran_side_by_side_hold_no_more_either() {
    on_each_carrier(|carrier| untaken_answers_hold_no_more(carrier, "Store.fetch_later"));
}

/// Who asks for more than it may make others hold, and takes what it asked for, gets it, piece by piece.
async fn answers_that_are_taken_all_come(carrier: Carrier) {
    let site = Site::new(carrier).await;
    let mut calls = JoinSet::new();
    for _ in 0..60 {
        let modest = site.modest.clone();
        calls.spawn(async move { modest.fetch(&(MIB as u32)).await.map(|text| text.len()) });
    }
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap(), Ok(MIB));
    }
    site.end(&[]).await;
}

#[test]
fn answers_beyond_what_a_node_may_hold_all_come_when_they_are_taken() {
    on_each_carrier(answers_that_are_taken_all_come);
}
