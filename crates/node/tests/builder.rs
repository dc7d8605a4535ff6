//! Nodes inside a program, as the builder makes them: one founds a cluster, another one joins it, and both are used.

mod world;

use std::net::SocketAddr;

use convoke_node::builder::Builder;
use convoke_node::event::Event;
use convoke_node::node::{Node, NodeError};
use convoke_rpc::{Role, RoleSet};
use convoke_store::Event as Told;
use tokio::sync::mpsc;
use world::{One, PATIENCE, Story, World, until};

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A node as programs make it, in a hurry.
fn builder(world: &World, name: &str) -> Builder {
    Node::builder(world.home(name))
        .listen(anywhere())
        .name(name)
        .settings(|settings| {
            settings.params = convoke_driver::Params::local();
            settings.segment_bytes = 1 << 20;
        })
}

async fn started(builder: Builder) -> One {
    let node = builder.start().await.expect("it starts");
    let ready = tokio::time::timeout(PATIENCE, node.ready()).await;
    ready.expect("in time").expect("it is ready");
    let story = Story::default();
    One { node, story }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_founds_a_cluster_and_another_one_joins_reads_and_watches() {
    let world = World::new();
    let (tell, mut told) = mpsc::channel(64);
    let first = builder(&world, "first").cluster_name("cellar");
    let first = first.on_event(move |event| drop(tell.try_send(event.clone())));
    let first = started(first).await;
    assert_eq!(first.node.cluster_name(), "cellar");
    assert_eq!(first.node.api_address(), None);
    let mut heard = Vec::new();
    while let Ok(event) = told.try_recv() {
        heard.push(event);
    }
    assert!(heard.contains(&Event::NewCluster), "{heard:?}");

    let token = first.token(RoleSet::ALL, 2).await.to_string();
    let elsewhere = builder(&world, "elsewhere").join(&token);
    let refused = elsewhere.cluster_name("attic").start().await.unwrap_err();
    assert!(refused.to_string().contains("attic"), "{refused}");

    let second = builder(&world, "second").join(&token).role(Role::Worker);
    let second = started(second).await;
    assert_eq!(second.node.role(), Some(Role::Worker));
    until("both see both", || {
        first.knows() == 2 && second.knows() == 2
    })
    .await;

    let mut watch = second.node.store().watch("col", None);
    first.node.store().put("colour", "green").await.unwrap();
    let change = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Told::Change(change) = watch.next().await.unwrap() {
                return change;
            }
        }
    });
    let change = change.await.expect("it is told");
    assert_eq!(change.item.unwrap().value, b"green");
    let read = second.node.store().get("colour").await.unwrap();
    assert_eq!(read.unwrap().value, b"green");
    second.stop().await;

    // The token may be given at each start: it belongs already.
    let again = started(builder(&world, "second").join(&token)).await;
    assert_eq!(again.node.start_number(), 2);
    again.stop().await;
    first.stop().await;
}

#[tokio::test]
async fn a_directory_that_another_node_of_this_program_has_is_refused() {
    let world = World::new();
    let first = started(builder(&world, "only")).await;
    let second = builder(&world, "only").start().await;
    assert!(matches!(second, Err(NodeError::Home(_))), "{second:?}");
    first.stop().await;
}
