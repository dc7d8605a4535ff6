//! Calls of every shape, over every carrier: what a program that only knows its trait may rely on.
mod world;

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use convoke_rpc::{CallError, CallOptions, Code, Context, NoError, Streaming, service};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use world::{Carrier, World};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Refused {
    why: String,
}

#[service]
trait Echo {
    #[rpc(idempotent)]
    async fn echo(&self, text: String) -> Result<String, Refused>;
    async fn caller(&self, ctx: &Context) -> Result<String, NoError>;
    async fn count(&self, to: u32) -> Result<Streaming<u32, Refused>, Refused>;
    async fn sum(&self, numbers: Streaming<u32>) -> Result<u32, Refused>;
    async fn double(&self, numbers: Streaming<u32>) -> Result<Streaming<u32>, Refused>;
    async fn bytes(&self, size: u32) -> Result<Vec<u8>, NoError>;
    async fn wait(&self) -> Result<(), NoError>;
    async fn panics(&self) -> Result<(), NoError>;
}

struct Echoes;

impl Echo for Echoes {
    async fn echo(&self, text: String) -> Result<String, Refused> {
        if text.is_empty() {
            Err(Refused {
                why: "nothing to say".to_owned(),
            })
        } else {
            Ok(text)
        }
    }

    async fn caller(&self, ctx: &Context) -> Result<String, NoError> {
        Ok(ctx.caller().to_string())
    }

    async fn count(&self, to: u32) -> Result<Streaming<u32, Refused>, Refused> {
        match to {
            0 => Err(Refused {
                why: "nothing to count".to_owned(),
            }),
            13 => Ok(Streaming::from_stream(futures_util::stream::iter([
                Ok(1),
                Err(Refused {
                    why: "unlucky".to_owned(),
                }),
            ]))),
            to => Ok(Streaming::from_iter(0..to)),
        }
    }

    async fn sum(&self, mut numbers: Streaming<u32>) -> Result<u32, Refused> {
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number.map_err(|error| Refused {
                why: error.to_string(),
            })?;
        }
        Ok(sum)
    }

    async fn double(&self, mut numbers: Streaming<u32>) -> Result<Streaming<u32>, Refused> {
        let doubled = futures_util::stream::poll_fn(move |cx| {
            let next = std::task::ready!(Pin::new(&mut numbers).poll_next(cx));
            Poll::Ready(next.and_then(Result::ok).map(|number| Ok(number * 2)))
        });
        Ok(Streaming::from_stream(doubled))
    }

    async fn bytes(&self, size: u32) -> Result<Vec<u8>, NoError> {
        Ok(vec![7; size as usize])
    }

    async fn wait(&self) -> Result<(), NoError> {
        std::future::pending().await
    }

    async fn panics(&self) -> Result<(), NoError> {
        panic!("on purpose")
    }
}

fn world(carrier: Carrier) -> (World, EchoClient) {
    let world = World::serving(carrier, |server| server.service(EchoServer::new(Echoes)));
    let client = EchoClient::new(world.channel());
    (world, client)
}

async fn every_shape(carrier: Carrier) {
    let (world, client) = world(carrier);
    assert_eq!(client.echo("hello").await, Ok("hello".to_owned()));
    assert_eq!(
        client.echo("").await,
        Err(CallError::App(Refused {
            why: "nothing to say".to_owned()
        }))
    );
    assert_eq!(
        client.caller().await.unwrap(),
        world.client.identity().node_id().to_string()
    );

    let mut counted = client.count(&5).await.unwrap();
    let mut numbers = Vec::new();
    while let Some(number) = counted.next().await {
        numbers.push(number.unwrap());
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert!(matches!(client.count(&0).await, Err(CallError::App(_))));
    let mut unlucky = client.count(&13).await.unwrap();
    assert_eq!(unlucky.next().await, Some(Ok(1)));
    assert!(matches!(unlucky.next().await, Some(Err(CallError::App(_)))));
    assert_eq!(unlucky.next().await, None);

    assert_eq!(client.sum(Streaming::from_iter(1..=100)).await, Ok(5050));
    let mut doubled = client.double(Streaming::from_iter(1..=3)).await.unwrap();
    for expected in [2, 4, 6] {
        assert_eq!(doubled.next().await, Some(Ok(expected)));
    }
    assert_eq!(doubled.next().await, None);
    world.end().await;
}

async fn large_bodies(carrier: Carrier) {
    let (world, client) = world(carrier);
    let text = "x".repeat(3_000_000);
    assert_eq!(client.echo(&text).await.as_ref(), Ok(&text));
    assert_eq!(client.bytes(&5_000_000).await.unwrap().len(), 5_000_000);
    let code = |result: Result<Vec<u8>, CallError<NoError>>| result.unwrap_err().code();
    assert_eq!(code(client.bytes(&(17 << 20)).await), Some(Code::TooLarge));
    world.end().await;
}

async fn ends_of_calls(carrier: Carrier) {
    let (world, client) = world(carrier);
    let hurried = client.with(CallOptions::new().timeout(Duration::from_millis(20)));
    assert_eq!(
        hurried.wait().await.unwrap_err().code(),
        Some(Code::DeadlineExceeded)
    );
    assert_eq!(
        client.panics().await.unwrap_err().code(),
        Some(Code::HandlerPanicked)
    );
    assert_eq!(client.echo("still here").await, Ok("still here".to_owned()));
    world
        .until("no call runs", |world| world.server.running_calls() == 0)
        .await;
    world.end().await;
}

world::on_every_carrier!(every_shape, large_bodies, ends_of_calls);
