//! The director: assigns workers to clients, gives them tasks of its own, and prints what happens.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Duration;

use convoke::balance::{InstanceId, Standing};
use convoke::cluster::{Cluster, DirectorConfig, News, Pooled};
use convoke::rpc::{CallOptions, Server, Streaming};
use convoke::types::{Selector, Tag};
use example_cluster::protocol::compute::Computed;
use example_cluster::protocol::director::{
    Assignment, Director, DirectorError, DirectorServer, Need,
};
use example_cluster::{director, log, member, time};
use futures_util::StreamExt;

struct Desk(convoke::cluster::Director);

impl Director for Desk {
    async fn assign_worker(&self, need: Need) -> Result<Assignment, DirectorError> {
        let assigned = self.0.assign(&need.lost);
        let assigned = assigned.map_err(|why| DirectorError::NoWorkers(why.to_string()))?;
        let instance = &assigned.instance;
        let (InstanceId::Node { node, .. }, Some(address)) =
            (&instance.id, instance.addresses.first())
        else {
            let why = format!("{} says no address", instance.id);
            return Err(DirectorError::NoWorkers(why));
        };
        let label = instance.tags.get("name").and_then(Tag::value);
        Ok(Assignment {
            label: label.unwrap_or_default().to_owned(),
            address: address.to_string(),
            node: *node,
            ticket: assigned.ticket,
            lease_ms: assigned.lease.as_millis() as u64,
        })
    }

    async fn hold(&self, ticket: u64) -> Result<Streaming<()>, DirectorError> {
        let held = self.0.hold(ticket).ok_or(DirectorError::TooLate)?;
        // It goes with the stream, which ends with the client's wish or the client itself.
        let nothing = futures_util::stream::pending().map(move |()| {
            let _ = &held;
            Ok(())
        });
        Ok(Streaming::from_stream(nothing))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let every = time("DIRECTOR_EVERY_MS", "5000")?;
    let cluster = member(director()?)?;
    let cluster = cluster
        .name("director")
        .tag("role", "director")
        .build()
        .await?;
    let workers: Selector = "role = worker".parse()?;
    let instances = cluster.registry().instances();
    let config = DirectorConfig::default();
    let desk = convoke::cluster::Director::new(instances, "Inference", workers.clone(), config);
    let server = Server::builder().service(DirectorServer::new(Desk(desk.clone())));
    let server = server.serve(cluster.endpoint())?;
    println!("director at {}", cluster.endpoint().local_address()?);
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        ended = tell_events(&cluster) => ended?,
        () = give_tasks(&cluster, &workers, &desk, every) => {}
    }
    server.shutdown(Duration::from_secs(1)).await;
    cluster.leave(Duration::from_secs(1)).await;
    Ok(())
}

async fn tell_events(cluster: &Cluster) -> anyhow::Result<()> {
    let mut events = cluster.events()?;
    while let Some(news) = events.next().await {
        let News::Event(event) = news else {
            continue;
        };
        let member = event.kind.member();
        let name = member.and_then(|it| it.facts.profile.name.as_deref());
        println!("event {} {}", event.kind.name(), name.unwrap_or_default());
    }
    Ok(())
}

/// Asks some worker for something now and then, by name, and shows the pool.
async fn give_tasks(
    cluster: &Cluster,
    workers: &Selector,
    desk: &convoke::cluster::Director,
    every: Duration,
) {
    let options = CallOptions::new().timeout(every).idempotent();
    let client = cluster.client().with(options);
    for number in 1_u64.. {
        tokio::time::sleep(every).await;
        let computed = client.call_worker("Compute.square", &number, workers).await;
        match computed {
            Ok(Computed { value, by }) => println!("compute {number} is {value}, by {by}"),
            Err(error) => println!("compute {number}: {error}"),
        }
        // Who came back under a new key is another member than the one that was lost.
        let is_there = |worker: &Pooled| worker.standing != Standing::Failed;
        let pool: Vec<Pooled> = desk.pool().into_iter().filter(is_there).collect();
        println!("pool of {}", pool.len());
        for worker in pool {
            let label = worker.instance.tags.get("name").and_then(Tag::value);
            let (label, count) = (label.unwrap_or_default(), worker.connections);
            println!("  {label}: {count} connections, {:?}", worker.standing);
        }
    }
}
