//! What becomes of a node whose role is decided anew.

mod world;

use std::time::Duration;

use convoke_node::roles::{Mode, ServiceName};
use convoke_node::supervisor::{ServiceState, Stage};
use convoke_rpc::{Role, RoleSet};
use convoke_types::wire::store::{Command, NodeCommand};

use crate::world::{One, World, until};

async fn grant(by: &One, to: &One, role: Role) {
    let node = to.node.id();
    let command = Command::Node(NodeCommand::Grant { node, role });
    let done = by.node.store().command(command).await;
    done.expect("it is decided");
    until("it plays its role", || {
        let overview = to.node.overview();
        let seen = overview.borrow();
        seen.role == Some(role) && seen.stage == Stage::Running && seen.is_ready
    })
    .await;
}

fn mode(one: &One, service: ServiceName) -> Option<Mode> {
    let overview = one.node.overview();
    let seen = overview.borrow();
    let mut services = seen.services.iter();
    let found = services.find(|it| it.service == service);
    found.expect("it is shown").mode
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_follow_the_role_that_is_decided() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 1).await;
    let second = world.join("second", &token).await;
    assert_eq!(mode(&second, ServiceName::Log), Some(Mode::Votes));
    assert!(second.node.log().is_some());

    // A gateway follows the log, which runs on.
    let log = second.node.log().map(|log| log.me());
    grant(&first, &second, Role::Gateway).await;
    assert_eq!(mode(&second, ServiceName::Log), Some(Mode::FollowsOnly));
    assert_eq!(second.node.log().map(|log| log.me()), log);

    // A leecher has none, and asks. What it may is what its certificate allows, whatever it plays.
    grant(&first, &second, Role::Leecher).await;
    assert_eq!(mode(&second, ServiceName::Log), Some(Mode::Asks));
    assert!(second.node.log().is_none());
    let read = second.node.store().get("k").await;
    assert_eq!(read.expect("it reads"), None);
    until("it takes part as before", || second.knows() == 2).await;

    // And back.
    grant(&first, &second, Role::Worker).await;
    assert!(second.node.log().is_some());
    second
        .node
        .store()
        .put("k", "v")
        .await
        .expect("a worker writes");
    for one in [second, first] {
        one.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_built_is_shown_as_such_and_what_runs_as_ready() {
    let world = World::new();
    let first = world.found().await;
    let overview = first.node.overview();
    let seen = overview.borrow().clone();
    for status in seen.services {
        let expected = match status.service {
            ServiceName::Custody
            | ServiceName::Gossip
            | ServiceName::Log
            | ServiceName::Planner => ServiceState::Ready,
            ServiceName::Api => continue,
            ServiceName::Executor
            | ServiceName::Blobs
            | ServiceName::Gateway
            | ServiceName::Updater => ServiceState::NotBuilt,
        };
        assert_eq!(status.state, expected, "{}", status.service);
    }
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_what_it_was_when_it_starts_again() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 1).await;
    let second = world.join("second", &token).await;
    grant(&first, &second, Role::Observer).await;
    until("it wrote that down", || {
        let papers = std::fs::read_to_string(world.home("second").join("cluster.json"));
        papers.is_ok_and(|text| text.contains("observer"))
    })
    .await;
    second.stop().await;
    let second = world.start("second").await;
    assert_eq!(second.node.role(), Some(Role::Observer));
    let moments = tokio::time::timeout(Duration::from_secs(5), second.node.ready()).await;
    assert_eq!(moments.expect("at once").expect("it is"), Role::Observer);
    for one in [second, first] {
        one.stop().await;
    }
}
