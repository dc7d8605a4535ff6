//! What every carrier promises of a link: order, back pressure, ends that both sides understand, limits, and who may come in.
//!
//! One suite for all carriers. Where a story asks less of one of them, it says so and why. Calls are not here.
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use convoke_rpc::identity::{Development, IdentityError, NodeKey};
use convoke_rpc::link::{RecvHalf, SendHalf};
use convoke_rpc::{
    CloseCode, CloseReason, Code, ConnectError, Endpoint, Limits, Link, LinkError, Protocol, Role,
    Side, every_member, only,
};
use tokio::task::JoinSet;
use world::{Beside, Carrier, until};

/// Two endpoints and a link between them.
struct Pair {
    cluster: Development,
    carrier: Carrier,
    client: Endpoint,
    host: Endpoint,
    listener: convoke_rpc::Listener,
    near: Link,
    far: Link,
}

impl Pair {
    async fn new(carrier: Carrier) -> Self {
        Self::with_limits(carrier, Limits::default()).await
    }

    async fn with_limits(carrier: Carrier, limits: Limits) -> Self {
        let cluster = Development::new();
        let client = carrier.endpoint(&cluster, Role::Gateway.into(), limits.clone());
        let host = carrier.endpoint(&cluster, Role::Worker.into(), limits);
        let mut listener = host.listen(Protocol::Gossip, every_member()).unwrap();
        let near = client
            .connect(
                address(&host),
                Some(host.identity().node_id()),
                Protocol::Gossip,
            )
            .await
            .unwrap();
        let far = listener.accept().await.unwrap();
        Self {
            cluster,
            carrier,
            client,
            host,
            listener,
            near,
            far,
        }
    }

    /// A stream with both of its ends in hand; one byte went there to show it to the peer.
    async fn stream(&self) -> (Ends, Ends) {
        let (mut send, recv) = self.near.open_stream().await.unwrap();
        send.write(Bytes::from_static(b"!")).await.unwrap();
        let (far_send, mut far_recv) = self.far.accept_stream().await.unwrap();
        assert_eq!(far_recv.read().await.unwrap().unwrap(), "!");
        (
            Ends { send, recv },
            Ends {
                send: far_send,
                recv: far_recv,
            },
        )
    }

    async fn end(self) {
        drop((self.near, self.far));
        let closing = async { tokio::join!(self.client.close(), self.host.close()) };
        tokio::time::timeout(world::PATIENCE, closing)
            .await
            .expect("both endpoints close");
    }
}

struct Ends {
    send: SendHalf,
    recv: RecvHalf,
}

fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_address().unwrap()
}

/// Bytes that show when one of them is missing or out of place.
fn pattern(from: usize, size: usize) -> Bytes {
    (from..from + size).map(|at| (at % 251) as u8).collect()
}

async fn write_pattern(send: &mut SendHalf, size: usize) {
    // Odd pieces, so that no boundary of ours is one of the carrier's.
    for from in (0..size).step_by(65_537) {
        send.write(pattern(from, 65_537.min(size - from)))
            .await
            .unwrap();
    }
    send.finish();
}

async fn read_pattern(recv: &mut RecvHalf) -> usize {
    let mut size = 0;
    while let Some(chunk) = recv.read().await.unwrap() {
        assert_eq!(chunk, pattern(size, chunk.len()), "at {size}");
        size += chunk.len();
    }
    size
}

async fn bytes_arrive_in_order_both_ways(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    let size = 5_000_000;
    for lane in [true, false] {
        let there = async {
            let (mut send, mut recv) = if lane {
                pair.near.open_lane().await.unwrap()
            } else {
                pair.near.open_stream().await.unwrap()
            };
            tokio::join!(write_pattern(&mut send, size), read_pattern(&mut recv)).1
        };
        let back = async {
            let (mut send, mut recv) = pair.far.accept_stream().await.unwrap();
            tokio::join!(write_pattern(&mut send, size), read_pattern(&mut recv)).1
        };
        assert_eq!(tokio::join!(there, back), (size, size));
    }
    // The side that was called may open streams, too.
    let (mut send, _recv) = pair.far.open_stream().await.unwrap();
    let (written, arrived) = tokio::join!(write_pattern(&mut send, 1_000), async {
        read_pattern(&mut pair.near.accept_stream().await.unwrap().1).await
    });
    assert_eq!((written, arrived), ((), 1_000));
    pair.end().await;
}

async fn a_writer_waits_for_its_reader(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    let (near, mut far) = pair.stream().await;
    let size = 16 << 20;
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        let Ends { mut send, recv } = near;
        for from in (0..size).step_by(1 << 16) {
            send.write(pattern(from, 1 << 16)).await.unwrap();
            counter.fetch_add(1 << 16, Ordering::SeqCst);
        }
        send.finish();
        recv
    });
    // Another stream goes there and back meanwhile; what the first had to write is written after some rounds.
    for _ in 0..100 {
        let (mut here, mut there) = pair.stream().await;
        there.send.write(Bytes::from_static(b"?")).await.unwrap();
        assert_eq!(here.recv.read().await.unwrap().unwrap(), "?");
        there.send.finish();
        here.send.finish();
    }
    let waiting = accepted.load(Ordering::SeqCst);
    // At most the window of each side, and those are at most what a socket may buffer: 4 MiB.
    assert!(
        waiting <= 8 << 20,
        "{waiting} bytes were taken for a reader that took none"
    );
    assert_eq!(read_pattern(&mut far.recv).await, size);
    writing.join_next().await.unwrap().unwrap();
    pair.end().await;
}

async fn each_end_of_a_half_is_seen_by_the_other(carrier: Carrier) {
    let pair = Pair::new(carrier).await;

    let (mut near, mut far) = pair.stream().await;
    near.send.finish();
    assert_eq!(far.recv.read().await, Ok(None), "finished");
    assert_eq!(
        near.send.write(Bytes::from_static(b"more")).await,
        Err(LinkError::Finished)
    );
    far.send
        .write(Bytes::from_static(b"the other half goes on"))
        .await
        .unwrap();
    assert_eq!(
        near.recv.read().await.unwrap().unwrap(),
        "the other half goes on"
    );

    let (mut near, mut far) = pair.stream().await;
    near.send.reset(42);
    assert_eq!(far.recv.read().await, Err(LinkError::Reset(42)));
    assert_eq!(
        near.send.write(Bytes::from_static(b"more")).await,
        Err(LinkError::Finished)
    );

    let (near, mut far) = pair.stream().await;
    drop(near.send);
    assert_eq!(
        far.recv.read().await,
        Err(LinkError::Reset(1)),
        "abandoned without a word is cancelled"
    );

    let (mut near, mut far) = pair.stream().await;
    far.recv.stop(17);
    assert_eq!(
        writes_until_it_fails(&mut near.send).await,
        LinkError::Stopped(17)
    );
    assert_eq!(
        far.recv.read().await,
        Ok(None),
        "who stopped does not wait for more"
    );

    let (mut near, far) = pair.stream().await;
    let stopped = near.send.stopped();
    drop(far.recv);
    stopped.await;
    assert_eq!(
        writes_until_it_fails(&mut near.send).await,
        LinkError::Stopped(0)
    );

    let (mut near, mut far) = pair.stream().await;
    let stopped = near.send.stopped();
    near.send
        .write(Bytes::from_static(b"last words"))
        .await
        .unwrap();
    near.send.finish();
    assert_eq!(far.recv.read().await.unwrap().unwrap(), "last words");
    assert_eq!(far.recv.read().await, Ok(None));
    stopped.await;
    pair.end().await;
}

async fn writes_until_it_fails(send: &mut SendHalf) -> LinkError {
    loop {
        if let Err(error) = send.write(Bytes::from_static(b"more")).await {
            return error;
        }
        tokio::task::yield_now().await;
    }
}

async fn what_was_written_before_the_end_arrives_before_the_end(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    let (mut near, mut far) = pair.stream().await;
    near.send.write(pattern(0, 100_000)).await.unwrap();
    near.send.finish();
    drop(near.send);
    assert_eq!(read_pattern(&mut far.recv).await, 100_000);
    pair.end().await;
}

async fn one_way_streams_arrive_with_their_first_byte(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    for (from, to) in [(&pair.near, &pair.far), (&pair.far, &pair.near)] {
        let mut send = from.open_one_way().await.unwrap();
        send.write(Bytes::from_static(b"\x77rest")).await.unwrap();
        send.finish();
        let (first, mut recv) = to.accept_one_way().await.unwrap();
        assert_eq!(first, 0x77);
        assert_eq!(recv.read().await.unwrap().unwrap(), "rest");
        assert_eq!(recv.read().await, Ok(None));

        let mut alone = from.open_one_way().await.unwrap();
        alone.write(Bytes::from_static(b"\x78")).await.unwrap();
        alone.finish();
        let (first, mut recv) = to.accept_one_way().await.unwrap();
        assert_eq!((first, recv.read().await), (0x78, Ok(None)));
    }
    pair.end().await;
}

async fn one_way_streams_nobody_takes_do_not_keep_an_endpoint_open(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    let (near, opened) = (pair.near.clone(), Arc::new(AtomicUsize::new(0)));
    let mut opening = JoinSet::new();
    let counter = Arc::clone(&opened);
    opening.spawn(async move {
        let mut held = Vec::new();
        while let Ok(mut send) = near.open_one_way().await {
            if send.write(Bytes::from_static(b"\x77")).await.is_err() {
                return;
            }
            counter.fetch_add(1, Ordering::SeqCst);
            held.push(send);
        }
    });
    // More than a link keeps for a reader that does not come: no further one was opened during some round trips.
    let mut before = 0;
    loop {
        for _ in 0..20 {
            drop(pair.stream().await);
        }
        let now = opened.load(Ordering::SeqCst);
        if now > 1 && now == before {
            break;
        }
        before = now;
    }
    assert!(before < 10_000, "{before} streams nobody takes were let in");
    pair.end().await;
    opening.join_next().await.unwrap().unwrap();
}

async fn datagrams_arrive_when_they_fit(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    for (from, to) in [(&pair.near, &pair.far), (&pair.far, &pair.near)] {
        let largest = from.datagram_max();
        assert!(largest >= 1_000, "{largest}");
        for size in [0, 1, 1_000] {
            assert!(from.send_datagram(pattern(0, size)));
            assert_eq!(to.receive_datagram().await, Ok(pattern(0, size)));
        }
        assert!(
            !from.send_datagram(pattern(0, 65_000)),
            "too large for any path"
        );
    }
    assert!(
        !pair
            .near
            .send_datagram(pattern(0, pair.near.datagram_max() + 1))
    );
    pair.end().await;
}

async fn a_late_reader_finds_the_newest_datagrams(carrier: Carrier) {
    let exact = carrier.is_memory();
    let pair = Pair::with_limits(
        carrier,
        Limits {
            datagrams: 8,
            ..Limits::default()
        },
    )
    .await;
    // A kilobyte each: QUIC counts bytes where memory counts datagrams, and the bytes of eight are about eight of these.
    let datagram = |number: usize| Bytes::from(format!("{number:04}").repeat(250));
    for round in 0..10 {
        for number in 0..10 {
            assert!(pair.near.send_datagram(datagram(round * 10 + number)));
        }
        // The stream behind them shows that they are there.
        let (near, far) = pair.stream().await;
        drop((near, far));
    }
    let first = pair.far.receive_datagram().await.unwrap();
    let first: usize = std::str::from_utf8(&first[..4]).unwrap().parse().unwrap();
    if exact {
        assert_eq!(first, 92);
    }
    assert!(
        first >= 80,
        "the oldest are gone, not the newest; this is number {first}"
    );
    let mut last = first;
    while last < 99 {
        let next = pair.far.receive_datagram().await.unwrap();
        assert_eq!(next.len(), 1_000);
        last = std::str::from_utf8(&next[..4]).unwrap().parse().unwrap();
    }
    pair.end().await;
}

async fn a_close_tells_both_sides_who_and_why(carrier: Carrier) {
    let mut pair = Pair::new(carrier).await;
    for by_client in [true, false] {
        let near = pair
            .client
            .connect(address(&pair.host), None, Protocol::Gossip)
            .await
            .unwrap();
        let far = pair.listener.accept().await.unwrap();
        assert_eq!((near.close_reason(), far.close_reason()), (None, None));
        let (closing, closed) = if by_client {
            (&near, &far)
        } else {
            (&far, &near)
        };
        closing.close(CloseCode::Other(77), "on a whim");
        closing.close(CloseCode::Done, "a second thought");
        let reason = |by| CloseReason {
            by,
            code: CloseCode::Other(77),
            detail: "on a whim".to_owned(),
        };
        assert_eq!(closing.closed().await, reason(Side::Us));
        assert_eq!(closed.closed().await, reason(Side::Peer));
        closed.close(CloseCode::Done, "after the fact");
        assert_eq!(closing.close_reason(), Some(reason(Side::Us)));
        assert_eq!(closed.close_reason(), Some(reason(Side::Peer)));
    }
    assert_eq!(
        pair.near.close_reason(),
        None,
        "the link beside them goes on"
    );
    pair.end().await;
}

async fn whoever_waits_on_a_link_hears_of_its_end(carrier: Carrier) {
    let pair = Pair::with_limits(
        carrier,
        Limits {
            streams_per_link: 2,
            ..Limits::default()
        },
    )
    .await;
    let (reading, _far) = pair.stream().await;
    let (mut writing, _far) = pair.stream().await;
    let Ends {
        send: _send,
        mut recv,
    } = reading;
    let link = pair.near.clone();
    let mut waiting: JoinSet<Result<(), LinkError>> = JoinSet::new();
    waiting.spawn(async move { recv.read().await.map(|_| ()) });
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    waiting.spawn(async move {
        loop {
            writing.send.write(pattern(0, 1 << 16)).await?;
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    for _ in 0..2 {
        let near = link.clone();
        waiting.spawn(async move { near.open_stream().await.map(|_| ()) });
        let near = link.clone();
        waiting.spawn(async move { near.accept_stream().await.map(|_| ()) });
        let near = link.clone();
        waiting.spawn(async move { near.accept_one_way().await.map(|_| ()) });
        let near = link.clone();
        waiting.spawn(async move { near.receive_datagram().await.map(|_| ()) });
        let near = link.clone();
        waiting.spawn(async move { Err(LinkError::Closed(near.closed().await)) });
    }
    // The writer waits when nothing was written between many looks; a link that ends under a flood may lose its last words.
    let (seen, same) = (AtomicUsize::new(0), AtomicUsize::new(0));
    until("the writer waits for its reader", || {
        let now = written.load(Ordering::Relaxed);
        let moved = now == 0 || seen.swap(now, Ordering::Relaxed) != now;
        let looks = same.fetch_add(1, Ordering::Relaxed) + 1;
        if moved {
            same.store(0, Ordering::Relaxed);
        }
        !moved && looks >= 30
    })
    .await;
    assert!(waiting.try_join_next().is_none(), "all of them wait");
    pair.far.close(CloseCode::Draining, "enough");
    let reason = CloseReason {
        by: Side::Peer,
        code: CloseCode::Draining,
        detail: "enough".to_owned(),
    };
    while let Some(ended) = waiting.join_next().await {
        assert_eq!(ended.unwrap(), Err(LinkError::Closed(reason.clone())));
    }
    assert!(!link.send_datagram(Bytes::from_static(b"too late")));
    assert_eq!(
        link.open_stream().await.map(|_| ()),
        Err(LinkError::Closed(reason))
    );
    pair.end().await;
}

async fn at_the_limit_a_new_stream_waits_for_one_to_end(carrier: Carrier) {
    let pair = Pair::with_limits(
        carrier,
        Limits {
            streams_per_link: 3,
            ..Limits::default()
        },
    )
    .await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(pair.stream().await);
    }
    let mut fourth = Box::pin(pair.near.open_stream());
    for _ in 0..50 {
        assert!(futures_util::poll!(fourth.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    let (mut near, mut far) = streams.pop().unwrap();
    near.send.finish();
    far.send.finish();
    assert_eq!(
        (near.recv.read().await, far.recv.read().await),
        (Ok(None), Ok(None))
    );
    drop((near, far));
    let (mut send, _recv) = fourth.await.unwrap();
    send.write(Bytes::from_static(b"!")).await.unwrap();
    drop((send, _recv, pair.far.accept_stream().await.unwrap()));

    // Ends of every kind give the place back, also those nobody was polite about.
    for _ in 0..20 {
        let (near, far) = pair.stream().await;
        drop(near);
        drop(far);
    }
    pair.end().await;
}

/// On a link where nothing else is said, so that no other packet can bring the news along.
async fn a_half_given_up_after_its_end_makes_room_for_another(carrier: Carrier) {
    let limits = Limits {
        streams_per_link: 1,
        ..Limits::default()
    };
    let pair = Pair::with_limits(carrier, limits).await;
    for resets in [true, false] {
        let (mut near, mut far) = pair.stream().await;
        far.send.finish();
        assert_eq!(near.recv.read().await, Ok(None));
        if !resets {
            near.send.finish();
        }
        drop(near);
        // tidy: that nobody says anything any more is what is waited for; were it too short, the story would ask for less
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(far);
        let next = tokio::time::timeout(world::PATIENCE, pair.near.open_stream()).await;
        let (mut send, recv) = next.expect("there is room").unwrap();
        send.write(Bytes::from_static(b"!")).await.unwrap();
        let far = pair.far.accept_stream().await.unwrap();
        drop((send, recv, far));
    }
    pair.end().await;
}

async fn nobody_at_an_address_is_an_error_in_time(carrier: Carrier) {
    let quick = Limits {
        handshake_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let pair = Pair::with_limits(carrier, quick).await;
    // An address that was free a moment ago.
    let gone = pair
        .carrier
        .endpoint(&pair.cluster, Role::Worker.into(), Limits::default());
    let nowhere = address(&gone);
    gone.close().await;
    drop(gone);
    let error = pair
        .client
        .connect(nowhere, None, Protocol::Gossip)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Unreachable { .. } | ConnectError::Address { .. }
        ),
        "{error}"
    );
    assert!(error.to_string().contains(&nowhere.to_string()), "{error}");
    assert_eq!(error.to_problem().code, Code::Unavailable);
    pair.end().await;
}

async fn another_node_than_the_expected_one_is_refused(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    let somebody_else = NodeKey::generate().node_id();
    let error = pair
        .client
        .connect(address(&pair.host), Some(somebody_else), Protocol::Gossip)
        .await
        .unwrap_err();
    let ConnectError::Peer {
        error: IdentityError::WrongNode { expected, found },
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (*expected, *found),
        (somebody_else, pair.host.identity().node_id())
    );
    assert_eq!(error.to_problem().code, Code::Unauthenticated);
    pair.end().await;
}

async fn a_protocol_nobody_listens_for_is_refused(carrier: Carrier) {
    let mut pair = Pair::new(carrier).await;
    let not_served = |error: ConnectError| {
        let ConnectError::Refused { reason, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((reason.by, reason.code), (Side::Peer, CloseCode::NotServed));
    };
    not_served(
        pair.client
            .connect(address(&pair.host), None, Protocol::Raft)
            .await
            .unwrap_err(),
    );
    let taken = pair
        .host
        .listen(Protocol::Gossip, every_member())
        .unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);

    // One more protocol at the same address, and one fewer; links that are open do not mind.
    let mut raft = pair.host.listen(Protocol::Raft, every_member()).unwrap();
    let link = pair
        .client
        .connect(address(&pair.host), None, Protocol::Raft)
        .await
        .unwrap();
    assert_eq!(raft.accept().await.unwrap().protocol(), Protocol::Raft);
    drop(raft);
    not_served(
        pair.client
            .connect(address(&pair.host), None, Protocol::Raft)
            .await
            .unwrap_err(),
    );
    assert_eq!(
        (link.close_reason(), pair.near.close_reason()),
        (None, None)
    );

    // Who stops listening for everything still answers.
    let queued = pair
        .client
        .connect(address(&pair.host), None, Protocol::Gossip)
        .await
        .unwrap();
    until("the link was accepted", || pair.host.open_links() == 3).await;
    pair.listener = pair.host.listen(Protocol::Blob, every_member()).unwrap();
    assert_eq!(
        queued.closed().await.code,
        CloseCode::NotServed,
        "a link nobody will take up is ended"
    );
    let Pair {
        listener,
        client,
        host,
        ..
    } = pair;
    drop(listener);
    not_served(
        client
            .connect(address(&host), None, Protocol::Gossip)
            .await
            .unwrap_err(),
    );
    tokio::join!(client.close(), host.close());
}

async fn who_may_not_come_in_is_told_why(carrier: Carrier) {
    let pair = Pair::new(carrier).await;
    let mut masters = pair
        .host
        .listen(Protocol::Raft, only(Role::Master.into()))
        .unwrap();
    let refused = pair
        .client
        .connect(address(&pair.host), None, Protocol::Raft)
        .await;
    // The handshake is over before the refusal is on its way, so either may be the first to tell.
    let reason = match refused {
        Ok(link) => link.closed().await,
        Err(ConnectError::Refused { reason, .. }) => reason,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(
        (reason.by, reason.code),
        (Side::Peer, CloseCode::NotAdmitted)
    );
    assert!(
        reason.detail.contains("master") && reason.detail.contains("gateway"),
        "{reason}"
    );
    assert_eq!(reason.to_problem(true).code, Code::Forbidden);

    let master = pair
        .carrier
        .endpoint(&pair.cluster, Role::Master.into(), Limits::default());
    let link = master
        .connect(address(&pair.host), None, Protocol::Raft)
        .await
        .unwrap();
    assert_eq!(
        masters.accept().await.unwrap().peer_id(),
        master.identity().node_id()
    );
    assert_eq!(link.close_reason(), None);
    master.close().await;
    pair.end().await;
}

async fn a_node_gets_as_many_links_as_one_node_may_have(carrier: Carrier) {
    let mut pair = Pair::with_limits(
        carrier,
        Limits {
            connections_per_peer: 2,
            ..Limits::default()
        },
    )
    .await;
    let second = pair
        .client
        .connect(address(&pair.host), None, Protocol::Gossip)
        .await
        .unwrap();
    let far_second = pair.listener.accept().await.unwrap();
    let third = pair
        .client
        .connect(address(&pair.host), None, Protocol::Gossip)
        .await
        .unwrap();
    let reason = third.closed().await;
    assert_eq!(
        (reason.by, reason.code),
        (Side::Peer, CloseCode::Overloaded),
        "{reason}"
    );

    // Another node is not held up by this one, and a link that ended makes room.
    let other = pair
        .carrier
        .endpoint(&pair.cluster, Role::Gateway.into(), Limits::default());
    let link = other
        .connect(address(&pair.host), None, Protocol::Gossip)
        .await
        .unwrap();
    assert_eq!(
        pair.listener.accept().await.unwrap().peer_id(),
        other.identity().node_id()
    );
    second.close(CloseCode::Done, "");
    far_second.closed().await;
    until("the ended link is counted out", || {
        pair.host.open_links() == 2
    })
    .await;
    let fourth = loop {
        let fourth = pair
            .client
            .connect(address(&pair.host), None, Protocol::Gossip)
            .await
            .unwrap();
        tokio::select! {
            taken = pair.listener.accept() => { assert!(taken.is_some()); break fourth }
            // Counted out a moment later than gone.
            reason = fourth.closed() => assert_eq!(reason.code, CloseCode::Overloaded),
        }
    };
    assert_eq!((fourth.close_reason(), link.close_reason()), (None, None));
    other.close().await;
    pair.end().await;
}

async fn a_closed_endpoint_has_ended_everything(carrier: Carrier) {
    let mut pair = Pair::new(carrier).await;
    pair.host.close().await;
    assert_eq!(pair.host.open_links(), 0);
    let reason = pair.near.closed().await;
    assert_eq!(
        (reason.by, reason.code),
        (Side::Peer, CloseCode::Done),
        "{reason}"
    );
    assert_eq!(pair.far.closed().await.by, Side::Us);
    assert!(pair.listener.accept().await.is_none());
    assert!(matches!(
        pair.host
            .connect(address(&pair.client), None, Protocol::Gossip)
            .await,
        Err(ConnectError::Closed)
    ));
    // Twice is once.
    pair.host.close().await;
    pair.end().await;
}

/// Links that come to be in the very moment of a close are ended with the others, not waited for.
async fn an_endpoint_closes_while_peers_come_in(carrier: Carrier) {
    // Closing an endpoint takes QUIC a second, for its farewells.
    let rounds = if matches!(carrier, Carrier::Quic) {
        5
    } else {
        300
    };
    let pair = Pair::new(carrier).await;
    for round in 0..rounds {
        let host = pair
            .carrier
            .endpoint(&pair.cluster, Role::Worker.into(), Limits::default());
        let mut listener = host.listen(Protocol::Gossip, every_member()).unwrap();
        let to = address(&host);
        let mut coming = JoinSet::new();
        for _ in 0..8 {
            let client = pair.client.clone();
            coming.spawn(async move { client.connect(to, None, Protocol::Gossip).await });
        }
        let taking = Beside::start(async move { while listener.accept().await.is_some() {} });
        // Some are there; the others are about to be.
        while host.open_links() <= round % 6 {
            tokio::task::yield_now().await;
        }
        let closing = tokio::time::timeout(world::PATIENCE, host.close()).await;
        closing.expect("the endpoint closes although its peers stay");
        // With it go connections that nobody accepted.
        drop(host);
        taking.ended().await;
        // Whoever got a link hears of its end.
        for link in coming.join_all().await.into_iter().flatten() {
            let ended = tokio::time::timeout(world::PATIENCE, link.closed()).await;
            ended.expect("the link ends");
        }
    }
    pair.end().await;
}

world::on_every_carrier!(
    an_endpoint_closes_while_peers_come_in,
    bytes_arrive_in_order_both_ways,
    a_writer_waits_for_its_reader,
    each_end_of_a_half_is_seen_by_the_other,
    what_was_written_before_the_end_arrives_before_the_end,
    one_way_streams_arrive_with_their_first_byte,
    one_way_streams_nobody_takes_do_not_keep_an_endpoint_open,
    datagrams_arrive_when_they_fit,
    a_late_reader_finds_the_newest_datagrams,
    a_close_tells_both_sides_who_and_why,
    whoever_waits_on_a_link_hears_of_its_end,
    at_the_limit_a_new_stream_waits_for_one_to_end,
    a_half_given_up_after_its_end_makes_room_for_another,
    nobody_at_an_address_is_an_error_in_time,
    another_node_than_the_expected_one_is_refused,
    a_protocol_nobody_listens_for_is_refused,
    who_may_not_come_in_is_told_why,
    a_node_gets_as_many_links_as_one_node_may_have,
    a_closed_endpoint_has_ended_everything,
);

#[tokio::test]
async fn a_quic_link_goes_on_when_its_client_moves() {
    let pair = Pair::new(Carrier::Quic).await;
    let (mut near, mut far) = pair.stream().await;
    let before = pair.far.remote_address();
    for round in 0..3_u8 {
        pair.client
            .rebind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .unwrap();
        near.send.write(Bytes::from(vec![round])).await.unwrap();
        assert_eq!(far.recv.read().await.unwrap().unwrap(), vec![round]);
        far.send.write(Bytes::from(vec![round])).await.unwrap();
        assert_eq!(near.recv.read().await.unwrap().unwrap(), vec![round]);
    }
    assert_ne!(pair.far.remote_address(), before, "it did move");
    assert_eq!(pair.near.close_reason(), None);
    pair.end().await;
}

#[tokio::test]
async fn an_address_in_memory_does_not_move() {
    let pair = Pair::new(Carrier::memory()).await;
    let refused = pair
        .client
        .rebind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
    pair.end().await;
}
