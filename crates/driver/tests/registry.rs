//! RPC services that nodes offer, as others learn of them and call them.

mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use convoke_balance::{Health, Params, Strategy};
use convoke_driver::{Offer, WorkerRegistry};
use convoke_rpc::identity::Development;
use convoke_rpc::{Balanced, BalancedConfig, NoError, Server, service};
use convoke_types::Selector;
use world::{Carrier, Node, all_see_each_other, named, on_every_carrier, until};

#[service]
trait Greeter {
    #[rpc(idempotent)]
    async fn greet(&self) -> Result<usize, NoError>;
}

struct Polite(usize, AtomicUsize);

impl Greeter for Polite {
    async fn greet(&self) -> Result<usize, NoError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(self.0)
    }
}

on_every_carrier!(what_nodes_offer_is_known_to_all_and_can_be_called_until_they_are_gone);

async fn what_nodes_offer_is_known_to_all_and_can_be_called_until_they_are_gone(carrier: Carrier) {
    let cluster = Development::new();
    let asks = Node::start(&carrier, &cluster, &[]).await;
    let registry = WorkerRegistry::follow(&asks.gossip).unwrap();
    let mut workers = Vec::new();
    for number in 0..2 {
        let endpoint = carrier.endpoint(&cluster);
        let server = GreeterServer::new(Polite(number, AtomicUsize::new(0)));
        let server = Server::builder().service(server).serve(&endpoint).unwrap();
        let name = named(if number == 0 { "one" } else { "two" });
        let node = Node::start_with(endpoint, &[&asks], name).await;
        node.gossip
            .offer("Greeter", &Offer::default())
            .await
            .unwrap();
        workers.push((node, server));
    }
    all_see_each_other(&[&asks, &workers[0].0, &workers[1].0]).await;
    let all = Selector::everything();
    let known = |health: Health| {
        let found = registry.select("Greeter", &all);
        found.iter().filter(|it| it.health == health).count()
    };
    until("both are known", || known(Health::Serving) == 2).await;
    assert_eq!(
        registry
            .select("Greeter", &"name = two".parse().unwrap())
            .len(),
        1
    );

    let config = BalancedConfig {
        params: Params::lan().strategy(Strategy::RoundRobin),
        ..BalancedConfig::default()
    };
    let instances = registry.instances();
    let balanced = Balanced::new(&asks.endpoint, instances, "Greeter", all.clone(), config);
    let client = GreeterClient::new(&balanced);
    let mut seen = [0; 2];
    for _ in 0..10 {
        seen[client.greet().await.unwrap()] += 1;
    }
    assert_eq!(seen, [5, 5]);

    // One drains, and gets nothing more; the other goes without a word, and is routed around.
    let drains = Offer {
        is_serving: false,
        ..Offer::default()
    };
    workers[0].0.gossip.offer("Greeter", &drains).await.unwrap();
    until("it drains", || known(Health::NotServing) == 1).await;
    for _ in 0..10 {
        assert_eq!(client.greet().await, Ok(1));
    }
    workers[0]
        .0
        .gossip
        .offer("Greeter", &Offer::default())
        .await
        .unwrap();
    until("it serves", || known(Health::Serving) == 2).await;
    let (gone, server) = workers.pop().unwrap();
    server.shutdown(Duration::ZERO).await;
    gone.die().await;
    for _ in 0..20 {
        assert_eq!(client.greet().await, Ok(0));
    }
    until("the verdict is here", || known(Health::Failed) == 1).await;

    let (left, server) = workers.pop().unwrap();
    left.gossip.withdraw("Greeter").await.unwrap();
    until("it is withdrawn", || known(Health::Serving) == 0).await;
    let error = client.greet().await.expect_err("nobody offers it");
    assert!(!error.may_have_run(), "{error}");
    balanced.close(Duration::from_secs(1)).await;
    registry.close().await;
    server.shutdown(Duration::from_secs(1)).await;
    left.die().await;
    asks.die().await;
}
