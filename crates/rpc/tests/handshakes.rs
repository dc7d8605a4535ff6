//! Handshakes without end, and strangers that begin one and say nothing or rubbish: others come in all the while, and afterwards
//! everything that was taken is given back.
//!
//! Descriptors and memory are numbers of the whole process, so the stories of this file run one after the other.
#![cfg(target_os = "linux")]
mod raw;
mod world;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;

use convoke_rpc::identity::tls;
use convoke_rpc::{Channel, ChannelConfig, CloseCode, Limits, NoError, Protocol, Role, service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use world::measure::{self, Rest, descriptors};
use world::{Carrier, PATIENCE, Random, World, until};

#[service]
trait Plain {
    async fn echo(&self, text: String) -> Result<String, NoError>;
}

struct Plainly;

impl Plain for Plainly {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }
}

/// Whoever runs holds it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone(patience: Duration, story: impl Future<Output = ()>) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    measure::count_panics();
    let before = measure::panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(patience, story)
            .await
            .expect("the story ends");
    });
    assert_eq!(measure::panics(), before, "a task panicked");
}

fn serving(carrier: Carrier, limits: Limits) -> (World, PlainClient) {
    let world = World::with_limits(carrier, limits, |server| {
        server.service(PlainServer::new(Plainly))
    });
    let beside = PlainClient::new(world.channel());
    (world, beside)
}

async fn is_well(client: &PlainClient) {
    assert_eq!(client.echo("well").await, Ok("well".to_owned()));
}

// ---- One peer that comes again and again ----------------------------------------------------------------------------------

/// Handshakes at a time.
const AT_A_TIME: usize = 16;

async fn shake_hands(world: &World, peer: &convoke_rpc::Endpoint, count: usize) -> usize {
    let address = world.target().addresses[0];
    let mut shaking = JoinSet::new();
    for _ in 0..count {
        let peer = peer.clone();
        shaking.spawn(async move {
            let link = peer.connect(address, None, Protocol::Rpc).await?;
            link.close(CloseCode::Done, "");
            Ok::<(), convoke_rpc::ConnectError>(())
        });
    }
    let ended = shaking.join_all().await;
    ended.into_iter().filter(Result::is_ok).count()
}

async fn handshakes_from_one_peer_leave_nothing_behind(carrier: Carrier, count: usize) {
    let (world, beside) = serving(carrier, Limits::default());
    is_well(&beside).await;
    let identity = world.cluster.identity(Role::Gateway.into());
    let peer = world
        .carrier
        .endpoint_as(identity, &world.cluster, Limits::default());
    let only_the_good_one = || (world.server.links(), world.host.open_links()) == (1, 1);
    for _ in 0..4 {
        shake_hands(&world, &peer, AT_A_TIME).await;
    }
    until("the first ones are gone", only_the_good_one).await;
    let settled = Rest::settled().await;

    let mut shaken = 0;
    for _ in 0..count / AT_A_TIME {
        shaken += shake_hands(&world, &peer, AT_A_TIME).await;
        is_well(&beside).await;
    }
    assert!(shaken >= count / 2, "{shaken} of {count} came to be");
    until("all of them are gone", only_the_good_one).await;
    settled.is_restored().await;
    peer.close().await;
    world.end().await;
}

fn on_each_carrier(count: usize) {
    for carrier in [Carrier::Tcp, Carrier::Quic, Carrier::memory()] {
        let patience = PATIENCE * 2 + Duration::from_millis(count as u64 * 50);
        alone(
            patience,
            handshakes_from_one_peer_leave_nothing_behind(carrier, count),
        );
    }
}

#[test]
fn hundreds_of_handshakes_from_one_peer_leave_nothing_behind() {
    on_each_carrier(320);
}

#[test]
#[ignore = "long: cargo xtask e2e"]
fn ten_thousand_handshakes_from_one_peer_leave_nothing_behind() {
    on_each_carrier(10_000);
}

// ---- Strangers that say nothing -------------------------------------------------------------------------------------------

/// Where strangers come from. All of 127.0.0.0/8 is this machine.
const STRANGE: [u8; 4] = [127, 0, 0, 66];

/// Few places, so that few strangers take them; and patience that outlasts the story.
fn few_places() -> Limits {
    Limits {
        handshakes: 32,
        handshakes_per_address: 8,
        handshake_timeout: PATIENCE,
        ..Limits::default()
    }
}

async fn silent_strangers_over_tcp_keep_nobody_out() {
    let (world, beside) = serving(Carrier::Tcp, few_places());
    is_well(&beside).await;
    let address = world.target().addresses[0];
    let before = descriptors();
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(raw::connect_from(STRANGE, address).await.unwrap());
    }
    // Those beyond the places of one address are turned away at once.
    until("the rest is turned away", || {
        descriptors() <= before + strangers.len() + 8
    })
    .await;
    for _ in 0..10 {
        let link = world.client.connect(address, None, Protocol::Rpc).await;
        link.expect("there are places for another address")
            .close(CloseCode::Done, "");
    }
    is_well(&beside).await;
    drop(strangers);
    until("their places are free", || descriptors() <= before).await;
    let again = raw::connect_from(STRANGE, address).await.unwrap();
    until("there is a place for them again", || {
        descriptors() == before + 2
    })
    .await;
    drop(again);
    world.end().await;
}

#[test]
fn strangers_that_say_nothing_over_tcp_keep_nobody_out() {
    alone(PATIENCE, silent_strangers_over_tcp_keep_nobody_out());
}

/// First packets of as many handshakes, as a caller sends them to somebody who never answers.
async fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let towards = trap.local_addr().unwrap();
    let stranger = Carrier::Quic.endpoint(
        &convoke_rpc::identity::Development::new(),
        Role::Gateway.into(),
        Limits::default(),
    );
    let mut calling = JoinSet::new();
    let mut packets = Vec::new();
    let mut packet = vec![0; 2_048];
    for _ in 0..count {
        let stranger = stranger.clone();
        calling.spawn(async move { stranger.connect(towards, None, Protocol::Rpc).await });
        // The first packet of an attempt; a second one with the rest of its greeting may follow.
        let size = trap.recv(&mut packet).await.unwrap();
        packets.push(packet[..size].to_vec());
    }
    calling.shutdown().await;
    stranger.close().await;
    packets
}

async fn first_packets_over_quic_keep_nobody_out() {
    let packets = first_packets(100).await;
    let (world, beside) = serving(Carrier::Quic, few_places());
    is_well(&beside).await;
    let address = world.target().addresses[0];
    let socket = UdpSocket::bind(SocketAddr::from((STRANGE, 0))).unwrap();
    for (number, packet) in packets.iter().enumerate() {
        socket.send_to(packet, address).unwrap();
        if number % 10 == 0 {
            is_well(&beside).await;
        }
    }
    for _ in 0..10 {
        let link = world.client.connect(address, None, Protocol::Rpc).await;
        link.expect("there are places for another address")
            .close(CloseCode::Done, "");
    }
    is_well(&beside).await;
    world.end().await;
}

#[test]
fn strangers_that_send_first_packets_over_quic_keep_nobody_out() {
    alone(PATIENCE * 2, first_packets_over_quic_keep_nobody_out());
}

// ---- Strangers that take their time, or talk rubbish ----------------------------------------------------------------------

/// The first bytes of a handshake as TLS has them.
fn greeting() -> Vec<u8> {
    let cluster = convoke_rpc::identity::Development::new();
    let identity = cluster.identity(Role::Gateway.into());
    let config = tls::client_config(&identity, &cluster.trust(), &[Protocol::Rpc.alpn()]);
    let name = tls::server_name(None);
    let mut tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).unwrap();
    bytes
}

async fn slow_and_senseless_strangers_are_sent_away() {
    let mut random = Random::from_environment("handshakes");
    let quick = Limits {
        handshake_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let (world, beside) = serving(Carrier::Tcp, quick);
    is_well(&beside).await;
    let address = world.target().addresses[0];
    let before = descriptors();
    let greeting = greeting();
    let mut strangers = JoinSet::new();
    for number in 0..60 {
        let mut bytes = match number % 5 {
            // A greeting that is cut somewhere, and one with a byte that is wrong.
            0 => greeting[..random.below(greeting.len() as u64) as usize].to_vec(),
            1 => {
                let mut bytes = greeting.clone();
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
                bytes
            }
            // Several messages of a handshake in one record, the first of which makes no sense.
            2 => {
                let messages = [1, 0, 0, 2, 9, 9].repeat(1 + random.below(20) as usize);
                let size = u16::try_from(messages.len()).unwrap().to_be_bytes();
                [&[22, 3, 3], size.as_slice(), &messages].concat()
            }
            3 => (0..random.below(4_000))
                .map(|_| random.next() as u8)
                .collect(),
            // As many records of a handshake as one can have without ending it, and more.
            _ => [22, 3, 3, 0x40, 0].repeat(60_000),
        };
        let drips = number % 8 == 0;
        strangers.spawn(async move {
            let mut socket = raw::connect_from(STRANGE, address).await.unwrap();
            if drips {
                for byte in bytes.drain(..) {
                    if socket.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            } else {
                let _ = socket.write_all(&bytes).await;
            }
            // Nobody waits longer than a handshake may take.
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer).await;
        });
    }
    while let Some(sent_away) = strangers.join_next().await {
        sent_away.unwrap();
        is_well(&beside).await;
    }
    until("nothing of them is left", || descriptors() <= before).await;
    let fresh = Channel::new(&world.client, world.target(), ChannelConfig::default());
    is_well(&PlainClient::new(&fresh)).await;
    drop(fresh);
    world.end().await;
}

#[test]
fn strangers_that_are_slow_or_senseless_are_sent_away() {
    alone(PATIENCE, slow_and_senseless_strangers_are_sent_away());
}
