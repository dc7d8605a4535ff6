//! What was opened and ended leaves nothing behind: no links, no running calls, and no memory that grows with every round.
mod world;

use std::time::Duration;

use convoke_rpc::{CallOptions, Channel, ChannelConfig, NoError, Streaming, service};
use tokio::task::JoinSet;
use world::measure::{SLACK, resident_bytes};
use world::{Carrier, World, until};

#[service]
trait Load {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    async fn wait(&self) -> Result<(), NoError>;
    async fn pour(&self, size: u32) -> Result<Streaming<String>, NoError>;
    async fn swallow(&self, texts: Streaming<String>) -> Result<u32, NoError>;
}

struct Loaded;

impl Load for Loaded {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn wait(&self) -> Result<(), NoError> {
        std::future::pending().await
    }

    async fn pour(&self, size: u32) -> Result<Streaming<String>, NoError> {
        Ok(Streaming::from_iter(std::iter::repeat_with(move || {
            "p".repeat(size as usize)
        })))
    }

    async fn swallow(&self, mut texts: Streaming<String>) -> Result<u32, NoError> {
        let mut count = 0;
        while let Some(Ok(_)) = texts.next().await {
            count += 1;
        }
        Ok(count)
    }
}

/// Two thousand calls of all kinds, a good part of them given up, over a channel of their own.
async fn round(world: &World, in_order: bool) {
    let channel = Channel::new(
        &world.client,
        world.target(),
        ChannelConfig {
            lanes: 2,
            ..ChannelConfig::default()
        },
    );
    let client = LoadClient::new(&channel);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move {
            let small = "s".repeat(100);
            for _ in 0..90 {
                assert_eq!(client.echo(&small).await.as_ref(), Ok(&small));
            }
            let large = "l".repeat(200_000);
            assert_eq!(client.echo(&large).await.as_ref(), Ok(&large));
            let hurried = client.with(CallOptions::new().timeout(Duration::from_millis(2)));
            assert!(hurried.wait().await.is_err());
            tokio::select! {
                answer = client.wait() => panic!("{answer:?}"),
                answer = client.echo(&large) => assert!(answer.is_ok()),
            }
            let mut poured = client.pour(&1_000).await.unwrap();
            for _ in 0..50 {
                assert!(poured.next().await.is_some_and(|text| text.is_ok()));
            }
            drop(poured);
            drop(client.pour(&100_000).await.unwrap());
            assert_eq!(
                client.swallow(vec!["x".repeat(5_000); 20].into()).await,
                Ok(20)
            );
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    if in_order {
        assert!(channel.close(Duration::from_secs(10)).await);
    }
    drop((client, channel));
    let rests = || {
        (
            world.server.running_calls(),
            world.server.links(),
            world.host.open_links(),
            world.client.open_links(),
        )
    };
    until("nothing is left", || rests() == (0, 0, 0, 0)).await;
}

// One round moves about 60 MB, in two thousand calls; keeping even one large body a caller would show as 4 MB a round, sixteen in
// all.
async fn rounds(carrier: Carrier) {
    let world = World::serving(carrier, |server| server.service(LoadServer::new(Loaded)));
    let mut settled = 0;
    for number in 1..=6 {
        round(&world, number % 2 == 0).await;
        if number == 2 {
            settled = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(settled);
    assert!(
        grown <= SLACK,
        "{grown} bytes more after six rounds than after two"
    );
    world.end().await;
}

// One after the other: the memory of a process is one number.
#[cfg(target_os = "linux")]
#[test]
fn memory_comes_back_when_links_and_calls_end() {
    for carrier in [Carrier::memory(), Carrier::Quic, Carrier::Tcp] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), rounds(carrier))
                .await
                .expect("the rounds end");
        });
    }
}
