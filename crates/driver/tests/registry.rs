//! RPC services that nodes offer, as others learn of them and call them.

mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use convoke_balance::{Health, Params, Strategy};
use convoke_driver::{Cluster, ClusterBuilder, Offer, Seed, WorkerRegistry};
use convoke_rpc::identity::Development;
use convoke_rpc::{Balanced, BalancedConfig, CallOptions, Code, NoError, RoleSet, Server, service};
use convoke_types::Selector;
use world::{Carrier, Node, all_see_each_other, anywhere, named, on_every_carrier, until};

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

fn builder(development: &Development) -> ClusterBuilder {
    let identity = development.identity(RoleSet::ALL);
    Cluster::builder(identity, development.trust()).listen(anywhere())
}

#[tokio::test]
async fn a_cluster_in_one_value_is_joined_called_by_name_and_left() {
    let development = Development::new();
    let shop = builder(&development)
        .with_gossip_interval(Duration::ZERO)
        .with_health_check_interval(Duration::from_millis(500))
        .name("one")
        .tag("role", "worker")
        .build()
        .await
        .unwrap();
    let server = shop
        .endpoint()
        .serve(GreeterServer::new(Polite(7, AtomicUsize::new(0))))
        .unwrap();
    let offer = Offer::of(GreeterClient::descriptor());
    assert_eq!(offer.methods, Some(vec!["greet".to_owned()]));
    shop.gossip().offer("Greeter", &offer).await.unwrap();
    let at = shop.endpoint().local_address().unwrap();
    let asks = builder(&development)
        .join([Seed::Address(at)])
        .build()
        .await
        .unwrap();
    let workers: Selector = "role = worker".parse().unwrap();
    let known = || asks.registry().select("Greeter", &workers).len();
    until("the worker is known", || known() == 1).await;

    let options = CallOptions::new().idempotent();
    let client = asks.client().with(options.timeout(Duration::from_secs(20)));
    let one: usize = client
        .call_worker("Greeter.greet", &(), &workers)
        .await
        .unwrap();
    assert_eq!(one, 7);
    let all = client.call_all_workers("Greeter.greet", &(), &workers);
    let all = all.await.unwrap();
    let answers: Vec<_> = all.into_iter().map(|one| one.answer).collect();
    assert_eq!(answers, [Ok(7_usize)]);
    let nowhere: Selector = "role = master".parse().unwrap();
    let nobody = client.call_worker::<_, usize>("Greeter.greet", &(), &nowhere);
    assert_eq!(nobody.await.unwrap_err().code(), Some(Code::Unavailable));
    let lacking = client.call_worker::<_, usize>("Greeter.praise", &(), &workers);
    let lacking = lacking.await.unwrap_err().to_string();
    assert!(lacking.contains("1 do not have the method"), "{lacking}");

    server.shutdown(Duration::from_secs(1)).await;
    shop.leave(Duration::from_secs(1)).await;
    let gone = || asks.registry().select("Greeter", &workers);
    until("it has left", || {
        gone().iter().all(|it| it.health == Health::Failed)
    })
    .await;
    asks.leave(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn what_a_cluster_cannot_be_built_with_is_said_and_nothing_is_left_running() {
    let development = Development::new();
    let at = anywhere();
    let builder = || {
        let identity = development.identity(RoleSet::ALL);
        Cluster::builder(identity, development.trust()).listen(at)
    };
    let ms = Duration::from_millis;
    for (wrong, what) in [
        (builder().with_gossip_interval(ms(1_001)), "0 to 1 s"),
        (
            builder().with_health_check_interval(ms(199)),
            "200 ms to 10 s",
        ),
        (
            builder().with_health_check_interval(ms(10_001)),
            "200 ms to 10 s",
        ),
        (builder().tag("Role", "worker"), "is no tag"),
        (builder().name("x".repeat(1_000)), "1000 bytes"),
    ] {
        let error = wrong.build().await.expect_err(what).to_string();
        assert!(error.contains(what), "{error}");
    }
    let first = builder().build().await.unwrap();
    let taken = first.endpoint().local_address().unwrap();
    let error = builder().listen(taken).build().await.unwrap_err();
    assert!(error.to_string().contains("could not listen at"), "{error}");
    first.leave(Duration::ZERO).await;
}
