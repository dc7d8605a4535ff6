//! Which carrier a link gets, what stands in for it, and how a channel moves from one to the other.

mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use convoke_rpc::identity::Development;
use convoke_rpc::{
    CarrierKind, Carriers, Channel, ChannelConfig, Code, ConnectError, Endpoint, Limits, NoError,
    Protocol, RoleSet, Server, Target, every_member,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use world::{PATIENCE, until};

#[convoke_rpc::service]
trait Desk {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    /// Answers when the gate was opened.
    async fn wait(&self) -> Result<u32, NoError>;
}

#[derive(Debug, Default)]
struct Gate {
    opens: Notify,
    waiting: std::sync::atomic::AtomicUsize,
}

impl Desk for Arc<Gate> {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn wait(&self) -> Result<u32, NoError> {
        let opened = self.opens.notified();
        self.waiting
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        opened.await;
        Ok(7)
    }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn endpoint_at(cluster: &Development, carriers: Carriers, address: SocketAddr) -> Endpoint {
    try_endpoint_at(cluster, carriers, address).expect("the address is free")
}

fn try_endpoint_at(
    cluster: &Development,
    carriers: Carriers,
    address: SocketAddr,
) -> std::io::Result<Endpoint> {
    let identity = cluster.identity(RoleSet::ALL);
    let limits = Limits {
        handshake_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(2),
        keep_alive: Duration::from_millis(500),
        ..Limits::default()
    };
    Endpoint::bind_with(carriers, address, identity, cluster.trust(), limits)
}

fn endpoint(cluster: &Development, carriers: Carriers) -> Endpoint {
    endpoint_at(cluster, carriers, anywhere())
}

fn serve(host: &Endpoint) -> (Server, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let server = host
        .serve(DeskServer::new(Arc::clone(&gate)))
        .expect("nobody serves here yet");
    (server, gate)
}

/// The carrier of a link between two such endpoints, when the caller asks for `asked`.
async fn carrier_between(
    caller: Carriers,
    callee: Carriers,
    asked: Option<CarrierKind>,
) -> Result<CarrierKind, ConnectError> {
    carrier_for(Protocol::Rpc, caller, callee, asked).await
}

async fn carrier_for(
    protocol: Protocol,
    caller: Carriers,
    callee: Carriers,
    asked: Option<CarrierKind>,
) -> Result<CarrierKind, ConnectError> {
    let cluster = Development::new();
    let (host, client) = (endpoint(&cluster, callee), endpoint(&cluster, caller));
    let _listener = host
        .listen(protocol, every_member())
        .expect("nobody listens yet");
    let address = host.local_address().expect("the endpoint is open");
    let expected = Some(host.identity().node_id());
    let link = client
        .connect_over(asked, address, expected, protocol)
        .await;
    let carrier = link.map(|link| link.carrier());
    client.close().await;
    host.close().await;
    carrier
}

#[tokio::test]
async fn nearby_whoever_asks_for_nothing_gets_tcp() {
    let carrier = carrier_between(Carriers::Both, Carriers::Both, None).await;
    assert_eq!(carrier.unwrap(), CarrierKind::Tcp);
}

#[tokio::test]
async fn gossip_takes_quic_everywhere_and_tcp_where_quic_does_not_get_through() {
    for (callee, expected) in [
        (Carriers::Both, CarrierKind::Quic),
        (Carriers::Quic, CarrierKind::Quic),
        (Carriers::Tcp, CarrierKind::Tcp),
    ] {
        let carrier = carrier_for(Protocol::Gossip, Carriers::Both, callee, None).await;
        assert_eq!(carrier.unwrap(), expected);
    }
}

#[tokio::test]
async fn whoever_asks_for_a_carrier_gets_it_and_no_other() {
    for (asked, missing) in [
        (CarrierKind::Quic, Carriers::Tcp),
        (CarrierKind::Tcp, Carriers::Quic),
    ] {
        let got = carrier_between(Carriers::Both, Carriers::Both, Some(asked)).await;
        assert_eq!(got.unwrap(), asked);

        let nobody = carrier_between(Carriers::Both, missing, Some(asked)).await;
        let error = nobody.expect_err("nobody is there over that carrier");
        assert_eq!(error.to_problem().code, Code::Unavailable, "{error}");

        let unused = carrier_between(missing, Carriers::Both, Some(asked)).await;
        let error = unused
            .expect_err("this endpoint does not use it")
            .to_string();
        assert!(error.contains("does not use the carrier"), "{error}");
    }
}

#[tokio::test]
async fn each_carrier_stands_in_for_the_other() {
    for (callee, expected) in [
        (Carriers::Quic, CarrierKind::Quic),
        (Carriers::Tcp, CarrierKind::Tcp),
    ] {
        let carrier = carrier_between(Carriers::Both, callee, None).await;
        assert_eq!(carrier.unwrap(), expected);
    }
}

#[tokio::test]
async fn who_is_started_while_it_is_called_is_reached_over_tcp() {
    let cluster = Development::new();
    let client = endpoint(&cluster, Carriers::Both);
    let host = endpoint(&cluster, Carriers::Both);
    let address = host.local_address().expect("the endpoint is open");
    host.close().await;
    drop(host);
    // TCP is refused at once, and QUIC asks on.
    let mut calling = JoinSet::new();
    calling.spawn({
        let client = client.clone();
        async move { client.connect(address, None, Protocol::Rpc).await }
    });
    let looks = std::cell::Cell::new(0);
    until("TCP was refused", || looks.replace(looks.get() + 1) == 30).await;
    let back = std::cell::OnceCell::new();
    until("the port is free again", || {
        let bound = try_endpoint_at(&cluster, Carriers::Both, address);
        bound.is_ok_and(|bound| back.set(bound).is_ok())
    })
    .await;
    let back = back.into_inner().expect("it was just set");
    let _listener = back
        .listen(Protocol::Rpc, every_member())
        .expect("nobody listens yet");
    let called = calling.join_next().await.expect("one call");
    let link = called.expect("no panic").expect("it is there in time");
    assert_eq!(link.carrier(), CarrierKind::Tcp);
    client.close().await;
    back.close().await;
}

#[tokio::test]
async fn a_peer_who_is_not_who_it_should_be_is_not_tried_again_over_the_other_carrier() {
    let cluster = Development::new();
    let (host, client) = (
        endpoint(&cluster, Carriers::Both),
        endpoint(&cluster, Carriers::Both),
    );
    let mut listener = host
        .listen(Protocol::Rpc, every_member())
        .expect("nobody listens yet");
    let address = host.local_address().expect("the endpoint is open");
    let somebody_else = Some(client.identity().node_id());

    let refused = client
        .connect(address, somebody_else, Protocol::Rpc)
        .await
        .expect_err("somebody else is there");

    assert!(matches!(refused, ConnectError::Peer { .. }), "{refused}");
    client.close().await;
    host.close().await;
    assert!(
        listener.accept().await.is_none(),
        "no second attempt came in over QUIC"
    );
}

/// A TCP port that takes no connection and refuses none, as behind a firewall that drops: its queue is full.
async fn deaf_tcp_port() -> (Vec<TcpStream>, socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a socket can be had");
    socket.bind(&anywhere().into()).expect("an address is free");
    socket.listen(0).expect("it can listen");
    let address = socket
        .local_addr()
        .expect("it is bound")
        .as_socket()
        .expect("it is an internet address");
    let mut queue = Vec::new();
    while let Ok(Ok(one)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queue.push(one);
    }
    (queue, socket, address)
}

#[tokio::test]
async fn where_tcp_gets_no_answer_quic_does_not_wait_for_it() {
    let (_queue, _port, address) = deaf_tcp_port().await;
    let cluster = Development::new();
    let host = endpoint_at(&cluster, Carriers::Quic, address);
    let client = endpoint(&cluster, Carriers::Both);
    let _listener = host
        .listen(Protocol::Rpc, every_member())
        .expect("nobody listens yet");

    let link = client
        .connect(address, None, Protocol::Rpc)
        .await
        .expect("QUIC gets through");

    assert_eq!(link.carrier(), CarrierKind::Quic);
    client.close().await;
    host.close().await;
}

#[tokio::test]
async fn a_silent_address_is_unreachable_over_both_in_bounded_time() {
    let (_queue, _port, address) = deaf_tcp_port().await;
    let _silent = UdpSocket::bind(address).await.expect("the port is free");
    let cluster = Development::new();
    let client = endpoint(&cluster, Carriers::Both);

    let error = tokio::time::timeout(PATIENCE, client.connect(address, None, Protocol::Rpc))
        .await
        .expect("the handshake has a bound")
        .expect_err("nobody answers");

    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    client.close().await;
}

#[tokio::test]
async fn where_tcp_is_refused_quic_has_the_time_that_lost_packets_take() {
    let cluster = Development::new();
    let host = endpoint(&cluster, Carriers::Quic);
    let client = endpoint(&cluster, Carriers::Both);
    let _listener = host
        .listen(Protocol::Rpc, every_member())
        .expect("nobody listens yet");
    let there = host.local_address().expect("the endpoint is open");
    let own = SocketAddr::from(([127, 88, 0, 2], 0));
    let udp = Arc::new(UdpSocket::bind(own).await.expect("a port is free"));
    let address = udp.local_addr().expect("it is bound");
    let mut relays = JoinSet::new();
    relays.spawn(async move {
        // The first flights are lost, of which QUIC hears nothing: it sends again after pauses that double, so that this takes a second.
        let mut lost = vec![0; 65_536];
        for _ in 0..3 {
            let _ = udp.recv_from(&mut lost).await;
        }
        relay_udp(udp, there).await;
    });

    let link = client
        .connect(address, None, Protocol::Rpc)
        .await
        .expect("QUIC gets through");

    assert_eq!(link.carrier(), CarrierKind::Quic);
    client.close().await;
    host.close().await;
}

/// Carries packets of one client to a server and back.
async fn relay_udp(socket: Arc<UdpSocket>, server: SocketAddr) {
    let far = UdpSocket::bind(anywhere()).await.expect("a port is free");
    far.connect(server).await.expect("it is an address");
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut client = None;
    loop {
        tokio::select! {
            Ok((size, from)) = socket.recv_from(&mut from_client) => {
                client = Some(from);
                let _ = far.send(&from_client[..size]).await;
            }
            Ok(size) = far.recv(&mut from_server) => {
                if let Some(client) = client {
                    let _ = socket.send_to(&from_server[..size], client).await;
                }
            }
        }
    }
}

async fn relay_tcp(listener: TcpListener, server: SocketAddr) {
    let mut carried = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.expect("the listener is open");
        carried.spawn(async move {
            let mut far = TcpStream::connect(server)
                .await
                .expect("the server is there");
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

#[tokio::test]
async fn a_channel_moves_to_the_faster_carrier_when_that_gets_through_and_loses_no_call() {
    let cluster = Development::new();
    let host = endpoint(&cluster, Carriers::Both);
    let (server, gate) = serve(&host);
    let there = host.local_address().expect("the endpoint is open");
    // A port number that is free for both; TCP is refused there at first. At an address that nobody else uses, so that no other
    // program's connection takes the number for TCP meanwhile.
    let own = SocketAddr::from(([127, 88, 0, 1], 0));
    let udp = Arc::new(UdpSocket::bind(own).await.expect("a port is free"));
    let address = udp.local_addr().expect("it is bound");
    let mut relays = JoinSet::new();
    relays.spawn(relay_udp(udp, there));
    let client = endpoint(&cluster, Carriers::Both);
    let config = ChannelConfig {
        second_look: Duration::from_millis(20),
        ..ChannelConfig::default()
    };
    let target = Target {
        addresses: vec![address],
        node: Some(host.identity().node_id()),
    };
    let channel = Channel::new(&client, target, config);
    let desk = DeskClient::new(&channel);
    assert_eq!(desk.echo("over quic").await.unwrap(), "over quic");
    assert_eq!(channel.carrier(), Some(CarrierKind::Quic));
    let waiting = {
        let desk = desk.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { desk.wait().await });
        tasks
    };
    until("the slow call runs", || {
        gate.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;

    let listener = TcpListener::bind(address).await.expect("the port is free");
    relays.spawn(relay_tcp(listener, there));
    until("the channel moves", || {
        channel.carrier() == Some(CarrierKind::Tcp)
    })
    .await;

    assert_eq!(desk.echo("over tcp").await.unwrap(), "over tcp");
    assert_eq!(server.links(), 2, "the old link stays for the call on it");
    gate.opens.notify_waiters();
    let answers = waiting.join_all().await;
    assert_eq!(answers.into_iter().map(Result::unwrap).sum::<u32>(), 7);
    until("the old link ends", || server.links() == 1).await;
    assert!(channel.close(PATIENCE).await);
    relays.shutdown().await;
    client.close().await;
    server.shutdown(PATIENCE).await;
    host.close().await;
}

#[tokio::test]
async fn a_call_that_was_under_way_on_a_lost_carrier_may_have_run() {
    let cluster = Development::new();
    let host = endpoint(&cluster, Carriers::Both);
    let (server, gate) = serve(&host);
    let address = host.local_address().expect("the endpoint is open");
    let client = endpoint(&cluster, Carriers::Both);
    let channel = Channel::new(&client, address, ChannelConfig::default());
    let desk = DeskClient::new(&channel);
    assert_eq!(
        desk.echo("over tcp".to_owned().as_str()).await.unwrap(),
        "over tcp"
    );
    assert_eq!(channel.carrier(), Some(CarrierKind::Tcp));
    let mut waiting = JoinSet::new();
    let slow = desk.clone();
    waiting.spawn(async move { slow.wait().await });
    until("the slow call runs", || {
        gate.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;

    // The node comes back without TCP.
    drop(server);
    host.close().await;
    drop(host);
    let lost = waiting
        .join_next()
        .await
        .expect("one call")
        .expect("no panic");
    let back = std::cell::OnceCell::new();
    until("the port is free again", || {
        let bound = try_endpoint_at(&cluster, Carriers::Quic, address);
        bound.is_ok_and(|bound| back.set(bound).is_ok())
    })
    .await;
    let back = back.into_inner().expect("it was just set");
    let (server, _gate) = serve(&back);

    let error = lost.expect_err("the link is gone");
    let convoke_rpc::CallError::Rpc(problem) = error;
    assert_eq!(problem.changed, convoke_rpc::Changed::Maybe, "{problem}");
    assert_eq!(desk.echo("over quic").await.unwrap(), "over quic");
    assert_eq!(channel.carrier(), Some(CarrierKind::Quic));
    assert!(channel.close(PATIENCE).await);
    client.close().await;
    server.shutdown(PATIENCE).await;
    back.close().await;
}
