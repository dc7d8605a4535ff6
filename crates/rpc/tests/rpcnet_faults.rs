//! Faults that rpcnet 0.1.0 has, as promises that they are not here, where no other story tells of them.
//!
//! The whole list, with the stories of the other faults, is in `docs/design/005-hostile-peers.md`.
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use convoke_rpc::{CallError, Code, NoError, Server, Streaming, service};
use tokio::task::JoinSet;
use world::{Carrier, World, until};

#[service]
trait Work {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    /// How many came, and how the stream ended.
    async fn swallow(&self, numbers: Streaming<u32>) -> Result<Option<String>, NoError>;
    async fn mirror(&self, texts: Streaming<String>) -> Result<Streaming<String>, NoError>;
    async fn nothings(&self, nothings: Streaming<()>) -> Result<u32, NoError>;
    /// Reads in a task of its own, and meanwhile sends without having read anything.
    async fn apart(&self, numbers: Streaming<u32>) -> Result<Streaming<u32>, NoError>;
}

/// The same name with other items, as a program built from other sources has it.
#[service(name = "Work")]
trait OtherWork {
    async fn swallow(&self, texts: Streaming<String>) -> Result<Option<String>, NoError>;
}

#[derive(Clone, Default)]
struct Worker(Arc<Read>);

#[derive(Default)]
struct Read {
    numbers: AtomicUsize,
    readers: tokio::sync::Mutex<JoinSet<()>>,
}

impl Work for Worker {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn swallow(&self, mut numbers: Streaming<u32>) -> Result<Option<String>, NoError> {
        while let Some(number) = numbers.next().await {
            if let Err(CallError::Rpc(problem)) = number {
                assert!(numbers.next().await.is_none(), "one error, then the end");
                return Ok(Some(format!("{:?}", problem.code)));
            }
        }
        Ok(None)
    }

    async fn mirror(&self, texts: Streaming<String>) -> Result<Streaming<String>, NoError> {
        Ok(texts)
    }

    async fn nothings(&self, mut nothings: Streaming<()>) -> Result<u32, NoError> {
        let mut count = 0;
        while let Some(Ok(())) = nothings.next().await {
            count += 1;
        }
        Ok(count)
    }

    async fn apart(&self, mut numbers: Streaming<u32>) -> Result<Streaming<u32>, NoError> {
        let read = Arc::clone(&self.0);
        self.0.readers.lock().await.spawn(async move {
            while let Some(Ok(_)) = numbers.next().await {
                read.numbers.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Streaming::from_iter(0..))
    }
}

fn site(carrier: Carrier) -> (World, Worker, WorkClient) {
    let worker = Worker::default();
    let world = World::serving(carrier, |server| {
        server.service(WorkServer::new(worker.clone()))
    });
    let client = WorkClient::new(world.channel());
    (world, worker, client)
}

async fn a_malformed_item_ends_its_stream_and_nothing_else(carrier: Carrier) {
    let (world, _, client) = site(carrier);
    let other = OtherWorkClient::new(world.channel());
    for _ in 0..3 {
        let texts = vec!["no number".to_owned(), String::new(), "x".repeat(70_000)];
        let ended = other.swallow(texts.into()).await;
        assert_eq!(ended, Ok(Some(format!("{:?}", Code::Undecodable))));
        assert_eq!(client.swallow(vec![1, 2, 3].into()).await, Ok(None));
        assert_eq!(client.echo("well").await, Ok("well".to_owned()));
    }
    world.end().await;
}

async fn empty_messages_are_messages_like_others(carrier: Carrier) {
    let (world, _, client) = site(carrier);
    let texts: Vec<String> = ["", "a", "", "", "b", ""].map(str::to_owned).to_vec();
    let mut mirrored = client.mirror(texts.clone().into()).await.unwrap();
    for text in texts {
        assert_eq!(mirrored.next().await, Some(Ok(text)));
    }
    assert_eq!(mirrored.next().await, None);
    assert_eq!(client.nothings(vec![(); 100].into()).await, Ok(100));
    world.end().await;
}

async fn a_handler_answers_while_another_task_reads(carrier: Carrier) {
    let (world, worker, client) = site(carrier);
    let (sender, numbers) = Streaming::channel(1);
    // Nothing was sent, and answers come.
    let mut answers = client.apart(numbers).await.unwrap();
    for expected in 0..1_000 {
        assert_eq!(answers.next().await, Some(Ok(expected)));
    }
    // And what is sent is read, although nobody takes the answers.
    for number in 0..1_000 {
        sender.send(number).await.unwrap();
    }
    until("all of it was read", || {
        worker.0.numbers.load(Ordering::SeqCst) == 1_000
    })
    .await;
    drop((sender, answers));
    world.end().await;
}

async fn a_client_outlives_three_restarts_in_a_row(carrier: Carrier) {
    let (world, worker, client) = site(carrier);
    let World {
        carrier,
        cluster,
        mut host,
        mut server,
        client: caller,
    } = world;
    let (address, identity) = (host.local_address().unwrap(), host.identity().clone());
    for round in 0..3 {
        assert_eq!(
            client.echo("before").await,
            Ok("before".to_owned()),
            "{round}"
        );
        server.shutdown(Duration::from_secs(1)).await;
        host.close().await;
        drop(host);
        let bound = std::cell::Cell::new(None);
        until("the address is free again", || {
            let limits = convoke_rpc::Limits::default();
            let next = carrier.endpoint_at(address, identity.clone(), cluster.trust(), limits);
            let is_free = next.is_ok();
            bound.set(next.ok());
            is_free
        })
        .await;
        host = bound.take().expect("waited for");
        server = Server::builder()
            .service(WorkServer::new(worker.clone()))
            .serve(&host)
            .unwrap();
        assert_eq!(
            client.echo("after").await,
            Ok("after".to_owned()),
            "{round}"
        );
    }
    server.shutdown(Duration::from_secs(1)).await;
    caller.close().await;
    host.close().await;
}

world::on_every_carrier!(
    a_malformed_item_ends_its_stream_and_nothing_else,
    empty_messages_are_messages_like_others,
    a_handler_answers_while_another_task_reads,
    a_client_outlives_three_restarts_in_a_row,
);
