//! The build script is one of three doors to one generator: what it made is what was last looked at, and the same definitions, unchanged,
//! are services to the attribute as well.

// The names by which these definitions know the attribute and streams. With these two lines a program can go on as it is.
extern crate convoke as rpcnet;
extern crate futures_util as futures;

use by_attribute::inference::{Inference, InferenceError, InferenceServer, Piece, Prompt, Summary};
use convoke::rpc::identity::Development;
use convoke::rpc::{Endpoint, Streaming};
use example_from_definitions::protocol;
use futures::StreamExt;

/// The same definitions as modules of this program, their services made by the attribute.
#[path = "../definitions"]
#[expect(
    unreachable_pub,
    reason = "definitions are written for modules that are public"
)]
mod by_attribute {
    #[path = "calculator.rpc.rs"]
    pub(crate) mod calculator;
    #[path = "director_registry.rpc.rs"]
    pub(crate) mod director_registry;
    #[path = "greeting.rpc.rs"]
    pub(crate) mod greeting;
    #[path = "inference.rpc.rs"]
    #[expect(
        unused_imports,
        reason = "an attribute cannot take away the imports of streams that it read as ours"
    )]
    pub(crate) mod inference;
}

#[test]
fn the_build_script_made_what_was_last_looked_at() {
    for (made, expected) in [
        (
            include_str!(concat!(env!("OUT_DIR"), "/calculator.rs")),
            include_str!("expected/calculator.rs"),
        ),
        (
            include_str!(concat!(env!("OUT_DIR"), "/director_registry.rs")),
            include_str!("expected/director_registry.rs"),
        ),
        (
            include_str!(concat!(env!("OUT_DIR"), "/greeting.rs")),
            include_str!("expected/greeting.rs"),
        ),
        (
            include_str!(concat!(env!("OUT_DIR"), "/inference.rs")),
            include_str!("expected/inference.rs"),
        ),
        (
            include_str!(concat!(env!("OUT_DIR"), "/mod.rs")),
            include_str!("expected/mod.rs"),
        ),
    ] {
        assert_eq!(made, expected);
    }
}

#[test]
fn both_doors_describe_the_same_services() {
    use by_attribute::{calculator, director_registry, greeting, inference};
    for (attribute, script) in [
        (
            calculator::CalculatorClient::descriptor(),
            protocol::calculator::CalculatorClient::descriptor(),
        ),
        (
            director_registry::DirectorRegistryClient::descriptor(),
            protocol::director_registry::DirectorRegistryClient::descriptor(),
        ),
        (
            greeting::GreetingClient::descriptor(),
            protocol::greeting::GreetingClient::descriptor(),
        ),
        (
            inference::InferenceClient::descriptor(),
            protocol::inference::InferenceClient::descriptor(),
        ),
    ] {
        assert_eq!(format!("{attribute:?}"), format!("{script:?}"));
    }
}

#[tokio::test]
async fn a_client_of_one_door_calls_a_server_of_the_other() {
    use protocol::inference::InferenceClient;
    let cluster = Development::new();
    let host = Endpoint::development(&cluster).expect("a port is free");
    let server = host
        .serve(InferenceServer::new(Silent))
        .expect("it serves nothing else");
    let target = server.target().expect("it has an address");
    let client = InferenceClient::new(
        Endpoint::development(&cluster)
            .expect("a port is free")
            .channel(target),
    );

    let pieces = client
        .generate(Streaming::from_iter([]))
        .await
        .expect("it answers");

    let pieces: Vec<_> = pieces
        .map(|piece| piece.expect("nothing breaks"))
        .collect()
        .await;
    assert_eq!(pieces, [protocol::inference::Piece::Done]);
}

/// A model that is done at once.
struct Silent;

impl Inference for Silent {
    async fn generate(
        &self,
        _: Streaming<Prompt>,
    ) -> Result<Streaming<Piece, InferenceError>, InferenceError> {
        Ok(Streaming::from_iter([Piece::Done]))
    }

    async fn complete(&self, _: Prompt) -> Result<Streaming<Piece>, InferenceError> {
        Ok(Streaming::from_iter([Piece::Done]))
    }

    async fn summarize(&self, _: Streaming<Prompt>) -> Result<Summary, InferenceError> {
        Ok(Summary { words: 0 })
    }

    async fn ready(&self) -> Result<bool, InferenceError> {
        Ok(true)
    }
}
