//! Light clients: programs that take no part in gossip and ask a node.

mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use convoke_balance::{Health, InstanceId};
use convoke_driver::{
    AskError, AskOptions, AskTrouble, ClusterClient, DIRECTORY, Directory, DirectoryClient,
    DirectoryServer, Listing, NotTold, OF_ONE_MOST, Offer, Question, Seed, Told, WorkerRegistry,
};
use convoke_rpc::identity::Development;
use convoke_rpc::{
    BalancedConfig, CallError, Channel, ChannelConfig, Context, Endpoint, NoError, Server,
    Streaming, Target, service,
};
use convoke_types::Selector;
use futures_util::stream::{self, StreamExt as _};
use world::{Carrier, Node, PATIENCE, all_see_each_other, on_every_carrier, until, until_async};

#[service]
trait Greeter {
    #[rpc(idempotent)]
    async fn greet(&self) -> Result<usize, NoError>;
}

struct Polite(AtomicUsize);

impl Greeter for Polite {
    async fn greet(&self) -> Result<usize, NoError> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// A node that tells light clients, as those of `convoke up` do.
struct Teller {
    node: Node,
    registry: WorkerRegistry,
    listing: Listing,
    server: Server,
}

impl Teller {
    async fn start(carrier: &Carrier, cluster: &Development, seeds: &[&Node]) -> Self {
        let endpoint = carrier.endpoint(cluster);
        let listing = Listing::new();
        let server = Server::builder()
            .service(DirectoryServer::new(listing.clone()))
            .serve(&endpoint)
            .unwrap();
        let node = Node::start_with(endpoint, seeds, |settings| settings).await;
        let registry = WorkerRegistry::follow(&node.gossip).unwrap();
        listing.tell(&registry);
        node.gossip
            .offer(DIRECTORY, &Offer::default())
            .await
            .unwrap();
        Self {
            node,
            registry,
            listing,
            server,
        }
    }

    /// Without a word to anybody.
    async fn die(self) {
        drop(self.server);
        self.registry.close().await;
        self.node.die().await;
    }
}

async fn worker(carrier: &Carrier, cluster: &Development, seeds: &[&Node]) -> (Node, Server) {
    let endpoint = carrier.endpoint(cluster);
    let server = GreeterServer::new(Polite(AtomicUsize::new(0)));
    let server = Server::builder().service(server).serve(&endpoint).unwrap();
    let node = Node::start_with(endpoint, seeds, |settings| settings).await;
    node.gossip
        .offer("Greeter", &Offer::default())
        .await
        .unwrap();
    (node, server)
}

fn options() -> AskOptions {
    AskOptions {
        silence: Duration::from_secs(1),
        longest_pause: Duration::from_millis(500),
        ..AskOptions::default()
    }
}

fn seed(node: &Node) -> Seed {
    Seed::Address(node.address())
}

on_every_carrier!(
    calls_go_on_while_the_node_that_is_followed_dies_and_another_one_is_followed,
    what_is_known_stays_and_gets_old_while_nobody_tells,
);

async fn calls_go_on_while_the_node_that_is_followed_dies_and_another_one_is_followed(
    carrier: Carrier,
) {
    let cluster = Development::new();
    let one = Teller::start(&carrier, &cluster, &[]).await;
    let two = Teller::start(&carrier, &cluster, &[&one.node]).await;
    let (first, first_server) = worker(&carrier, &cluster, &[&one.node]).await;
    let (second, second_server) = worker(&carrier, &cluster, &[&one.node]).await;
    // Of five, those that stay when two are gone are enough for a verdict.
    let stays = Node::start(&carrier, &cluster, &[&one.node]).await;
    all_see_each_other(&[&one.node, &two.node, &first, &second, &stays]).await;

    // It is told of one node alone, and learns of the other one.
    let endpoint = carrier.endpoint(&cluster);
    let registry = WorkerRegistry::ask(&endpoint, [seed(&one.node)], options()).unwrap();
    registry.heard(PATIENCE).await.unwrap();
    let all = Selector::everything();
    let serving = |service: &str| {
        let found = registry.select(service, &all);
        found
            .iter()
            .filter(|it| it.health == Health::Serving)
            .count()
    };
    until("all is known", || {
        serving("Greeter") == 2 && serving(DIRECTORY) == 2
    })
    .await;
    assert_eq!(registry.standing().following, Some(one.node.id()));

    let calls = ClusterClient::new(&endpoint, &registry, BalancedConfig::default());
    let client = GreeterClient::new(calls.service("Greeter"));
    client.greet().await.unwrap();
    let died = one.node.id();
    one.die().await;
    let made = AtomicUsize::new(0);
    until_async("the other one is followed", async || {
        client.greet().await.expect("calls do not notice");
        made.fetch_add(1, Ordering::Relaxed);
        registry.standing().following == Some(two.node.id())
    })
    .await;
    assert!(made.into_inner() > 0);

    // It is followed: what it hears the client hears.
    second_server.shutdown(Duration::ZERO).await;
    second.die().await;
    until("the verdict is here", || serving("Greeter") == 1).await;
    for _ in 0..20 {
        client.greet().await.expect("the one that is left answers");
    }
    until("the dead node is known as such", || {
        let found = registry.select(DIRECTORY, &all);
        let is_of = |id: &InstanceId| matches!(id, InstanceId::Node { node, .. } if *node == died);
        found
            .iter()
            .any(|it| is_of(&it.id) && it.health == Health::Failed)
    })
    .await;

    calls.close(Duration::from_secs(1)).await;
    registry.close().await;
    assert!(registry.standing().followed >= 2);
    until("nobody is told", || two.listing.subscribers() == 0).await;
    first_server.shutdown(Duration::ZERO).await;
    first.die().await;
    stays.die().await;
    two.die().await;
    endpoint.close().await;
}

async fn what_is_known_stays_and_gets_old_while_nobody_tells(carrier: Carrier) {
    let cluster = Development::new();
    let tells = Teller::start(&carrier, &cluster, &[]).await;
    let (works, server) = worker(&carrier, &cluster, &[&tells.node]).await;
    all_see_each_other(&[&tells.node, &works]).await;
    let endpoint = carrier.endpoint(&cluster);
    let registry = WorkerRegistry::ask(&endpoint, [seed(&tells.node)], options()).unwrap();
    registry.heard(PATIENCE).await.unwrap();
    let all = Selector::everything();
    until("it is known", || {
        registry.select("Greeter", &all).len() == 1
    })
    .await;

    // It says that it goes, and tells nobody any more.
    tells.listing.leave();
    until("it is left", || registry.standing().following.is_none()).await;
    let before = registry.standing();
    assert_eq!(
        registry.select("Greeter", &all).len(),
        1,
        "it is not forgotten"
    );
    until("it is asked again and refuses", || {
        registry.standing().trouble == Some(AskTrouble::Refused(NotTold::NotNow))
    })
    .await;
    let standing = registry.standing();
    assert_eq!(standing.heard, before.heard);
    assert!(standing.age() > before.heard.map(|_| Duration::ZERO));

    let calls = ClusterClient::new(&endpoint, &registry, BalancedConfig::default());
    let greeter = GreeterClient::new(calls.service("Greeter"));
    greeter.greet().await.expect("old knowledge is of use");
    calls.close(Duration::from_secs(1)).await;
    registry.close().await;
    server.shutdown(Duration::ZERO).await;
    works.die().await;
    tells.die().await;
    endpoint.close().await;
}

#[tokio::test]
async fn a_node_that_does_not_know_the_service_is_told_apart() {
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let old = carrier.endpoint(&cluster);
    let server = Server::builder().serve(&old).unwrap();
    let endpoint = carrier.endpoint(&cluster);
    let place = Seed::Address(old.local_address().unwrap());
    let registry = WorkerRegistry::ask(&endpoint, [place], options()).unwrap();
    until("it is told apart", || {
        registry.standing().trouble == Some(AskTrouble::TooOld)
    })
    .await;
    let error = registry.heard(Duration::from_millis(1)).await.unwrap_err();
    assert!(error.to_string().contains("upgrade it"), "{error}");
    registry.close().await;
    server.shutdown(Duration::ZERO).await;
}

/// Says one thing and then nothing any more.
struct Mute;

impl Directory for Mute {
    async fn follow(
        &self,
        _ctx: &Context,
        _question: Question,
    ) -> Result<Streaming<Told, NotTold>, NotTold> {
        let word = stream::iter([Ok(Told::Begins { is_whole: true })]);
        Ok(Streaming::from_stream(word.chain(stream::pending())))
    }
}

#[tokio::test]
async fn a_node_that_falls_silent_is_given_up() {
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let mute = carrier.endpoint(&cluster);
    let server = Server::builder()
        .service(DirectoryServer::new(Mute))
        .serve(&mute)
        .unwrap();
    let endpoint = carrier.endpoint(&cluster);
    let place = Seed::Address(mute.local_address().unwrap());
    let silence = convoke_driver::SILENCE_LEAST;
    let hasty = AskOptions {
        silence,
        ..options()
    };
    let registry = WorkerRegistry::ask(&endpoint, [place], hasty).unwrap();
    until("it is given up", || {
        registry.standing().trouble == Some(AskTrouble::Silent { silence })
    })
    .await;
    assert_eq!(registry.standing().heard, None, "half of it is nothing");
    registry.close().await;
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn there_is_room_for_so_many_subscribers_and_each_gives_its_place_back() {
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let tells = Teller::start(&carrier, &cluster, &[]).await;
    let endpoint = carrier.endpoint(&cluster);
    let client = directory(&endpoint, &tells.node);
    let question = Question {
        silence_ms: 1_000,
        ..Question::default()
    };
    let mut streams = Vec::new();
    for _ in 0..OF_ONE_MOST {
        streams.push(client.follow(&question).await.expect("there is room"));
    }
    let refused = client.follow(&question).await.map(drop);
    let limit = OF_ONE_MOST as u64;
    assert_eq!(refused, Err(CallError::App(NotTold::TooMany { limit })));
    let stream = streams.last_mut().unwrap();
    let first = stream.next().await;
    assert_eq!(first, Some(Ok(Told::Begins { is_whole: true })));
    streams.clear();
    until("all places are free", || tells.listing.subscribers() == 0).await;
    assert!(client.follow(&question).await.is_ok());
    let hasty = Question {
        silence_ms: 1,
        ..question
    };
    let refused = client.follow(&hasty).await.map(drop);
    assert!(
        matches!(refused, Err(CallError::App(NotTold::Senseless { .. }))),
        "{refused:?}"
    );
    tells.die().await;
}

#[tokio::test]
async fn options_that_make_no_sense_are_told_at_once() {
    let endpoint = Carrier::memory().endpoint(&Development::new());
    let ask = |options: AskOptions| {
        let place = "127.0.0.1:4700".parse::<Seed>().unwrap();
        WorkerRegistry::ask(&endpoint, [place], options).map(drop)
    };
    let nobody = WorkerRegistry::ask(&endpoint, [], options()).map(drop);
    assert_eq!(nobody, Err(AskError::NoNodes));
    let found = ask(AskOptions {
        silence: Duration::from_millis(10),
        ..options()
    });
    let told = found.unwrap_err().to_string();
    assert!(told.contains("silence") && told.contains("300ms"), "{told}");
    let many = AskOptions {
        services: vec!["A".to_owned(); 64],
        ..options()
    };
    assert!(ask(many).unwrap_err().to_string().contains("services"));
}

fn directory(endpoint: &Endpoint, node: &Node) -> DirectoryClient {
    let target = Target::from(node.address());
    DirectoryClient::new(Channel::new(endpoint, target, ChannelConfig::default()))
}
