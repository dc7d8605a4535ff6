//! Nodes that find each other, tell each other, lose each other and come back.

mod world;

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use convoke_driver::{End, EventKind, Fact, Home, News, Roll, Settings, Verdict};
use convoke_rpc::identity::Development;
use convoke_rpc::{Carriers, RoleSet};
use world::{
    Carrier, Node, all_see_each_other, anywhere, at_home, named, on_every_carrier, until,
    until_async,
};

on_every_carrier!(
    nodes_find_each_other_and_hear_each_others_facts,
    a_node_that_dies_is_unreachable_then_failed_and_comes_back_in_a_higher_incarnation,
    a_node_that_leaves_is_seen_to_leave,
    probes_are_counted_from_both_sides_and_so_are_those_that_are_lost,
    two_clusters_that_meet_do_not_merge,
    nodes_that_call_each_other_at_the_same_time_keep_one_link,
    everybody_starts_again_without_seeds_where_it_was,
    everybody_starts_again_elsewhere_by_way_of_seeds,
    who_is_killed_a_moment_after_it_met_others_finds_them_again_elsewhere,
);

async fn probes_are_counted_from_both_sides_and_so_are_those_that_are_lost(carrier: Carrier) {
    let cluster = Development::new();
    let first = Node::start(&carrier, &cluster, &[]).await;
    let second = Node::start(&carrier, &cluster, &[&first]).await;
    all_see_each_other(&[&first, &second]).await;
    let counted = async |node: &Node, of: &Node| {
        let watched = node.gossip.watched().await.unwrap();
        let peer = watched.into_iter().find(|peer| peer.id == of.id());
        peer.map(|peer| (peer.probes, peer.probes_answered))
            .unwrap_or_default()
    };
    // Whoever leads, either learns of three exchanges.
    until_async("both have counted", async || {
        counted(&first, &second).await.1 >= 3 && counted(&second, &first).await.1 >= 3
    })
    .await;
    let (before, _) = counted(&first, &second).await;
    second.gossip.stop().await;
    until_async("silence is counted", async || {
        let (sent, got) = counted(&first, &second).await;
        sent >= before + 5 && sent - got >= 5
    })
    .await;
    second.endpoint.close().await;
    first.die().await;
}

async fn nodes_find_each_other_and_hear_each_others_facts(carrier: Carrier) {
    let cluster = Development::new();
    let first = Node::start_with(carrier.endpoint(&cluster), &[], named("first")).await;
    let second = Node::start(&carrier, &cluster, &[&first]).await;
    let third = Node::start(&carrier, &cluster, &[&first]).await;
    all_see_each_other(&[&first, &second, &third]).await;

    let fact = Fact::Free {
        key: "colour".to_owned(),
        value: "green".into(),
    };
    second.gossip.set_fact(fact).await.unwrap();
    third
        .gossip
        .set_fact(Fact::Zone("cellar".to_owned()))
        .await
        .unwrap();

    until("everybody has heard", || {
        [&first, &third].iter().all(|node| {
            let member = node.sees(&second.id()).unwrap();
            member.facts.free("colour").is_some_and(|it| it == "green")
        }) && [&first, &second].iter().all(|node| {
            node.sees(&third.id())
                .unwrap()
                .facts
                .profile
                .zone
                .as_deref()
                == Some("cellar")
        })
    })
    .await;
    let name = second.sees(&first.id()).unwrap().facts.profile.name;
    assert_eq!(name.as_deref(), Some("first"));

    second.gossip.remove_fact("colour").await.unwrap();
    until("it is said no more", || {
        first
            .sees(&second.id())
            .unwrap()
            .facts
            .free("colour")
            .is_none()
    })
    .await;
    assert!(second.gossip.remove_fact("colour").await.is_err());
    for node in [first, second, third] {
        node.die().await;
    }
}

async fn a_node_that_dies_is_unreachable_then_failed_and_comes_back_in_a_higher_incarnation(
    carrier: Carrier,
) {
    let cluster = Development::new();
    let [first, second] = two(&carrier, &cluster).await;
    let third = Node::start(&carrier, &cluster, &[&first]).await;
    all_see_each_other(&[&first, &second, &third]).await;
    let (id, address, identity) = (
        third.id(),
        third.address(),
        third.endpoint.identity().clone(),
    );
    let before = first.sees(&id).unwrap().incarnation;
    let mut watcher = first.gossip.watch().unwrap();
    let begins = watcher.next().await;
    assert!(matches!(begins, Some(News::Resync { missed: 0, .. })));

    third.die().await;
    for node in [&first, &second] {
        until("it is unreachable", || {
            node.verdict(&id) >= Some(Verdict::Unreachable)
        })
        .await;
        until("it has failed", || {
            node.verdict(&id) == Some(Verdict::Failed)
        })
        .await;
    }

    let boot_two = |settings| Settings {
        home: Home::Memory { boot: 2 },
        ..settings
    };
    let third = Node::come_back(&carrier, &cluster, identity, address, &[&first], boot_two).await;
    all_see_each_other(&[&first, &second, &third]).await;
    assert!(first.sees(&id).unwrap().incarnation > before);

    let mut told = Vec::new();
    while let Some(news) = watcher.take() {
        if let News::Event(event) = news
            && event.kind.member().is_some_and(|member| member.id == id)
            && !matches!(event.kind, EventKind::NodeUpdated(_))
        {
            told.push(event.kind.name());
        }
    }
    assert_eq!(told, ["NodeUnreachable", "NodeFailed", "NodeRejoined"]);
    for node in [first, second, third] {
        node.die().await;
    }
}

async fn a_node_that_leaves_is_seen_to_leave(carrier: Carrier) {
    let cluster = Development::new();
    let [first, second] = two(&carrier, &cluster).await;
    let id = second.id();

    assert_eq!(second.gossip.leave().await, End::Left);

    until("it has left", || first.verdict(&id) == Some(Verdict::Left)).await;
    assert!(second.gossip.status().await.is_err());
    assert_eq!(second.gossip.leave().await, End::Left, "once is enough");
    second.endpoint.close().await;
    first.die().await;
}

async fn two_clusters_that_meet_do_not_merge(carrier: Carrier) {
    let (here, there) = (Development::new(), Development::new());
    let [first, second] = two(&carrier, &here).await;
    let stranger = Node::start(&carrier, &there, &[]).await;
    // It is told of nodes of both clusters.
    let other = Node::start(&carrier, &there, &[&first, &second, &stranger]).await;

    all_see_each_other(&[&stranger, &other]).await;

    for node in [&stranger, &other] {
        assert_eq!(node.gossip.members().members.len(), 2);
    }
    assert_eq!(first.gossip.members().members.len(), 2);
    for node in [first, second, stranger, other] {
        node.die().await;
    }
}

async fn nodes_that_call_each_other_at_the_same_time_keep_one_link(carrier: Carrier) {
    let cluster = Development::new();
    let ends = [carrier.endpoint(&cluster), carrier.endpoint(&cluster)];
    let addresses = ends.clone().map(|end| end.local_address().unwrap());
    let [one, two] = ends;
    let seeded = |address| {
        move |settings| Settings {
            seeds: vec![convoke_driver::Seed::Address(address)],
            ..settings
        }
    };
    let (one, two) = tokio::join!(
        Node::start_with(one, &[], seeded(addresses[1])),
        Node::start_with(two, &[], seeded(addresses[0])),
    );
    all_see_each_other(&[&one, &two]).await;

    until_async("there is one link", async || {
        let [a, b] = [&one, &two].map(|node| node.gossip.clone());
        let (a, b) = (a.status().await.unwrap(), b.status().await.unwrap());
        (a.links, b.links) == (1, 1)
    })
    .await;
    one.die().await;
    two.die().await;
}

async fn everybody_starts_again_without_seeds_where_it_was(carrier: Carrier) {
    start_again(carrier, true).await;
}

async fn everybody_starts_again_elsewhere_by_way_of_seeds(carrier: Carrier) {
    start_again(carrier, false).await;
}

/// Whoever made a cluster has no seeds: what it wrote down is all it has.
async fn who_is_killed_a_moment_after_it_met_others_finds_them_again_elsewhere(carrier: Carrier) {
    let cluster = Development::new();
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("first");
    let identity = cluster.identity(RoleSet::ALL);
    let end = carrier
        .endpoint_at(anywhere(), identity.clone(), &cluster)
        .await;
    let first = Node::start_with(end, &[], at_home(home.clone())).await;
    let second = Node::start(&carrier, &cluster, &[&first]).await;
    all_see_each_other(&[&first, &second]).await;
    let kept = home.join("introductions");
    until("whom it met is on its disk", || kept.exists()).await;
    let then = std::fs::read(&kept).unwrap();
    first.die().await;
    // A kill leaves what was there then.
    std::fs::write(&kept, then).unwrap();

    let again = Node::come_back(&carrier, &cluster, identity, anywhere(), &[], at_home(home)).await;
    all_see_each_other(&[&again, &second]).await;
    for node in [again, second] {
        node.die().await;
    }
}

async fn start_again(carrier: Carrier, where_it_was: bool) {
    let cluster = Development::new();
    let directory = tempfile::tempdir().unwrap();
    let home = |number: usize| at_home(directory.path().join(number.to_string()));
    let identities: Vec<_> = (0..3).map(|_| cluster.identity(RoleSet::ALL)).collect();
    let mut nodes: Vec<Node> = Vec::new();
    for (number, identity) in identities.iter().enumerate() {
        let seeds: Vec<&Node> = nodes.first().into_iter().collect();
        let end = carrier
            .endpoint_at(anywhere(), identity.clone(), &cluster)
            .await;
        nodes.push(Node::start_with(end, &seeds, home(number)).await);
    }
    all_see_each_other(&nodes.iter().collect::<Vec<_>>()).await;
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    for node in nodes.drain(..) {
        node.die().await;
    }

    for (number, identity) in identities.iter().enumerate() {
        let seeds: Vec<&Node> = nodes
            .first()
            .into_iter()
            .filter(|_| !where_it_was)
            .collect();
        let address = if where_it_was {
            addresses[number]
        } else {
            anywhere()
        };
        let end = carrier
            .endpoint_at(address, identity.clone(), &cluster)
            .await;
        nodes.push(Node::start_with(end, &seeds, home(number)).await);
    }

    all_see_each_other(&nodes.iter().collect::<Vec<_>>()).await;
    until("everybody is known in its second life", || {
        let alive = |member: &std::sync::Arc<convoke_driver::Member>| member.incarnation.boot == 2;
        nodes
            .iter()
            .all(|node| node.gossip.members().members.values().all(alive))
    })
    .await;
    for node in nodes {
        node.die().await;
    }
}

#[tokio::test]
async fn nodes_with_and_without_udp_are_one_cluster() {
    let cluster = Development::new();
    let carriers = [Carriers::Tcp, Carriers::Both, Carriers::Both];
    let [tcp, both, third] = carriers.map(Carrier::Sockets);
    let first = Node::start(&tcp, &cluster, &[]).await;
    let second = Node::start(&both, &cluster, &[&first]).await;
    let third = Node::start(&third, &cluster, &[&first]).await;

    all_see_each_other(&[&first, &second, &third]).await;

    for node in [first, second, third] {
        node.die().await;
    }
}

/// Over both carriers; a machine without the IPv6 loopback fails this rather than passing over it.
#[tokio::test]
async fn nodes_with_ipv6_addresses_find_and_lose_each_other() {
    for carriers in [Carriers::Tcp, Carriers::Both] {
        let cluster = Development::new();
        let carrier = Carrier::Sockets(carriers);
        let loopback = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let mut nodes: Vec<Node> = Vec::new();
        for _ in 0..3 {
            let identity = cluster.identity(RoleSet::ALL);
            let endpoint = carrier.endpoint_at(loopback, identity, &cluster).await;
            let seeds: Vec<&Node> = nodes.iter().collect();
            nodes.push(Node::start_with(endpoint, &seeds, |settings| settings).await);
        }
        all_see_each_other(&nodes.iter().collect::<Vec<_>>()).await;
        assert!(nodes.iter().all(|node| node.address().is_ipv6()));
        let gone = nodes.pop().expect("there are three");
        let id = gone.id();
        gone.die().await;
        for node in &nodes {
            let is_missed = || node.verdict(&id) == Some(Verdict::Unreachable);
            until("the dead one is missed", is_missed).await;
        }
        for node in nodes {
            node.die().await;
        }
    }
}

#[tokio::test]
async fn a_slow_watcher_is_told_so_and_ends_with_the_truth() {
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let [first, second] = two(&carrier, &cluster).await;
    let mut watcher = first.gossip.watch_with(2).unwrap();
    let Some(News::Resync { roll, missed: 0 }) = watcher.next().await else {
        panic!("it begins with everything")
    };
    let begun = roll.sequence;
    for number in 0..10 {
        let fact = Fact::Version(number.to_string());
        second.gossip.set_fact(fact).await.unwrap();
        until("it was heard", || {
            let member = first.sees(&second.id()).unwrap();
            member.facts.profile.version == Some(number.to_string())
        })
        .await;
    }

    let Some(News::Resync { roll, missed }) = watcher.next().await else {
        panic!("it was too slow")
    };
    assert!(missed >= 10 && roll.sequence >= begun + 10);
    let mut copy: Roll = (*roll).clone();
    second.gossip.leave().await;
    until("it is heard to leave", || {
        first.verdict(&second.id()) == Some(Verdict::Left)
    })
    .await;
    while let Some(news) = watcher.take() {
        match news {
            News::Resync { roll, .. } => copy = (*roll).clone(),
            News::Event(event) => copy.apply(&event).unwrap(),
        }
    }
    assert_eq!(copy, *first.gossip.members());
    first.gossip.stop().await;
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn a_node_whose_data_was_copied_stops_and_says_what_to_do() {
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let [first, second] = two(&carrier, &cluster).await;
    let identity = second.endpoint.identity().clone();
    let double = carrier.endpoint_at(anywhere(), identity, &cluster).await;
    let double = Node::start_with(double, &[&first], |settings| settings).await;

    // Whoever hears something newer of itself than it has said knows that there are two.
    let said = std::sync::atomic::AtomicU32::new(0);
    until_async("one of them notices", async || {
        let number = said.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _ = double
            .gossip
            .set_fact(Fact::Version(number.to_string()))
            .await;
        second.gossip.has_ended().is_some() || double.gossip.has_ended().is_some()
    })
    .await;
    let end = second
        .gossip
        .has_ended()
        .or_else(|| double.gossip.has_ended())
        .unwrap();

    assert!(matches!(end, End::Contested { .. }), "{end:?}");
    assert!(end.to_string().contains("key of its own"), "{end}");
    for node in [first, second, double] {
        node.die().await;
    }
}

#[tokio::test]
async fn a_home_is_for_one_node_at_a_time() {
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let directory = tempfile::tempdir().unwrap();
    let home = || at_home(directory.path().to_path_buf());
    let node = Node::start_with(carrier.endpoint(&cluster), &[], home()).await;

    let second = Settings::new(carrier.endpoint(&cluster), convoke_driver::Params::local());
    let refused = convoke_driver::Gossip::start(home()(second)).await;

    assert!(refused.unwrap_err().to_string().contains("in use"));
    node.die().await;
    let again = Node::start_with(carrier.endpoint(&cluster), &[], home()).await;
    assert_eq!(again.gossip.boot(), 2);
    again.die().await;
}

#[tokio::test]
async fn a_closed_endpoint_ends_membership() {
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let node = Node::start(&carrier, &cluster, &[]).await;
    node.endpoint.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), node.gossip.ended()).await;
    assert_eq!(ended, Ok(End::EndpointClosed));
}

async fn two(carrier: &Carrier, cluster: &Development) -> [Node; 2] {
    let first = Node::start(carrier, cluster, &[]).await;
    let second = Node::start(carrier, cluster, &[&first]).await;
    all_see_each_other(&[&first, &second]).await;
    [first, second]
}
