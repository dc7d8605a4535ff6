//! Everything the definitions promise, called over links in memory: real certificates, real lanes and streams, no socket.

use std::fmt::Debug;
use std::net::SocketAddr;

use convoke::rpc::identity::Development;
use convoke::rpc::{
    CallError, Channel, Endpoint, Limits, MemoryNetwork, RoleSet, Server, Service, Streaming,
};
use example_from_definitions::protocol::calculator::{
    CalculationError, CalculatorClient, CalculatorServer, Operands, Outcome,
};
use example_from_definitions::protocol::director_registry::{
    DirectorError, DirectorRegistryClient, DirectorRegistryServer, Need, Registration,
};
use example_from_definitions::protocol::greeting::{
    GreetError, GreetRequest, GreetingClient, GreetingServer,
};
use example_from_definitions::protocol::inference::{
    InferenceClient, InferenceError, InferenceServer, Piece, Prompt,
};
use example_from_definitions::{Abacus, Director, Parrot, Polite};
use futures_util::{StreamExt, stream};

#[tokio::test]
async fn the_calculator_calculates_and_refuses_in_its_own_words() {
    let (_server, channel) = serve(CalculatorServer::new(Abacus));
    let calculator = CalculatorClient::new(channel);
    let operands = |left, right| Operands { left, right };

    let sum = calculator.add(&operands(1.5, 2.0)).await;
    let difference = calculator.subtract(&operands(1.5, 2.0)).await;
    let product = calculator.multiply(&operands(1.5, 2.0)).await;
    let quotient = calculator.divide(&operands(1.5, 2.0)).await;
    let nothing = calculator.divide(&operands(1.5, 0.0)).await;
    let too_much = calculator.multiply(&operands(f64::MAX, 2.0)).await;

    assert_eq!(sum.unwrap(), Outcome { value: 3.5 });
    assert_eq!(difference.unwrap(), Outcome { value: -0.5 });
    assert_eq!(product.unwrap(), Outcome { value: 3.0 });
    assert_eq!(quotient.unwrap(), Outcome { value: 0.75 });
    assert_eq!(said_no(nothing), CalculationError::DividedByZero);
    let value = f64::INFINITY;
    assert_eq!(said_no(too_much), CalculationError::OutOfRange { value });
}

#[tokio::test]
async fn the_greeting_greets_whoever_has_a_name() {
    let (_server, channel) = serve(GreetingServer::new(Polite));
    let greeting = GreetingClient::new(channel);
    let named = |name: &str| GreetRequest {
        name: name.to_owned(),
    };

    let ada = greeting.greet(&named("Ada")).await;
    let nobody = greeting.greet(&named("")).await;

    assert_eq!(ada.unwrap().message, "Hello, Ada!");
    assert_eq!(said_no(nobody), GreetError::NoName);
}

#[tokio::test]
async fn the_director_brings_clients_to_workers() {
    let (_server, channel) = serve(DirectorRegistryServer::new(Director::default()));
    let director = DirectorRegistryClient::new(channel);
    let worker = |label: &str, port| Registration {
        label: label.to_owned(),
        address: "10.0.0.1".to_owned(),
        port,
        capabilities: vec!["gpu".to_owned(), label.to_owned()],
    };
    let need = |capability: Option<&str>| Need {
        capability: capability.map(str::to_owned),
    };

    assert_eq!(
        said_no(director.assign(&need(None)).await),
        DirectorError::NoWorkers
    );
    assert_eq!(
        director
            .register_worker(&worker("a", 1))
            .await
            .unwrap()
            .worker,
        0
    );
    assert_eq!(
        director
            .register_worker(&worker("b", 2))
            .await
            .unwrap()
            .worker,
        1
    );
    let again = director.register_worker(&worker("a", 3)).await;
    assert_eq!(said_no(again), DirectorError::LabelTaken("a".to_owned()));
    let able = director.assign(&need(Some("b"))).await.unwrap();
    assert_eq!((able.worker, able.endpoint.as_str()), (1, "10.0.0.1:2"));
    let capability = "c".to_owned();
    let unable = director.assign(&need(Some("c"))).await;
    assert_eq!(said_no(unable), DirectorError::NobodyCan { capability });
    let census = director.census().await.unwrap().workers_by_capability;
    assert_eq!(census["gpu"], 2);
}

#[tokio::test]
async fn boxed_streams_of_a_definition_are_streams_in_both_directions() {
    let (_server, channel) = serve(InferenceServer::new(Parrot));
    let inference = InferenceClient::new(channel);
    let heard = stream::iter(["one", "two", "", "never"].map(|text| Ok(prompt(text)))).boxed();

    let pieces = inference.generate(Streaming::from_stream(heard)).await;

    let pieces: Vec<_> = pieces.unwrap().collect().await;
    let [Ok(connected), Ok(one), Ok(two), Err(CallError::App(end))] = pieces.as_slice() else {
        panic!("{pieces:?}")
    };
    let worker = "parrot".to_owned();
    assert_eq!(*connected, Piece::Connected { worker });
    assert_eq!((one, two), (&word("one", 0), &word("two", 1)));
    assert_eq!(*end, InferenceError::NothingAsked);
}

#[tokio::test]
async fn a_stream_on_one_side_only_goes_with_a_value_on_the_other() {
    let (_server, channel) = serve(InferenceServer::new(Parrot));
    let inference = InferenceClient::new(channel);

    let completed = inference.complete(&prompt("as you say")).await.unwrap();
    let refused = inference.complete(&prompt("")).await;
    let parts = vec![prompt("a few"), prompt("words and more")];
    let summary = inference.summarize(parts.into()).await;

    let completed: Vec<_> = completed.map(Result::unwrap).collect().await;
    let expected = [word("as", 0), word("you", 1), word("say", 2), Piece::Done];
    assert_eq!(completed, expected);
    assert_eq!(said_no(refused), InferenceError::NothingAsked);
    assert_eq!(summary.unwrap().words, 5);
    assert!(inference.ready().await.unwrap());
}

/// A server, and a channel that leads to it from another node.
fn serve(service: impl Service) -> (Server, Channel) {
    let (cluster, network) = (Development::new(), MemoryNetwork::new());
    let endpoint = |port| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let identity = cluster.identity(RoleSet::ALL);
        Endpoint::in_memory(
            &network,
            address,
            identity,
            cluster.trust(),
            Limits::default(),
        )
        .expect("the address is free")
    };
    let server = endpoint(1).serve(service).expect("it serves nothing else");
    let target = server.target().expect("it has an address");
    (server, endpoint(2).channel(target))
}

fn said_no<T: Debug, E: Debug>(outcome: Result<T, CallError<E>>) -> E {
    match outcome {
        Err(CallError::App(error)) => error,
        other => panic!("the handler did not say no: {other:?}"),
    }
}

fn prompt(text: &str) -> Prompt {
    Prompt {
        connection: "c".to_owned(),
        text: text.to_owned(),
    }
}

fn word(text: &str, sequence: u64) -> Piece {
    Piece::Word {
        text: text.to_owned(),
        sequence,
    }
}
