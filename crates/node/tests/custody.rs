//! Nodes that found, join, renew, forget and come back.

mod world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use convoke_node::event::Event;
use convoke_node::node::{Node, NodeError};
use convoke_rpc::{Role, RoleSet};
use convoke_types::wire::enrol::JoinToken;
use convoke_types::wire::store::{
    Admission, Command, CustodyCommand, CustodyFound, CustodyQuery, Digest, Found, Freshness, Query,
};

use crate::world::{One, PATIENCE, World, settings, start, until, voters_are, with_token};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_comes_of_one_machine_and_a_token() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 2).await;
    let second = world.join("second", &token).await;
    let third = world.join("third", &token).await;
    let all = [first, second, third];
    until("everybody knows everybody", || {
        all.iter().all(|node| node.knows() == 3)
    })
    .await;
    voters_are(&all[0], 3).await;
    // Each voter comes to sign, and each believes all.
    until("three issuers are believed", || {
        let mut trusts = all.iter().map(|node| node.node.trust().current());
        trusts.all(|trust| trust.issuers().len() == 3)
    })
    .await;
    for node in all {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_first_machine_nodes_join_and_renew() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 9).await;
    let second = world.join("second", &token).await;
    let third = world.join("third", &token).await;
    voters_are(&second, 3).await;
    until("three issuers are believed", || {
        second.node.trust().current().issuers().len() == 3
    })
    .await;
    let lost = first.node.id();
    first.stop().await;
    std::fs::remove_dir_all(world.home("first")).expect("it is gone");
    // The token names the first machine alone; one from another voter does as well.
    let other = second.token(RoleSet::ALL, 1).await;
    let fourth = world.join("fourth", &other).await;
    assert_ne!(fourth.node.id(), lost);
    for node in [second, third, fourth] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_come_in_hears_why_in_one_sentence() {
    let world = World::new();
    let first = world.found().await;
    let once = first.token(Role::Worker.into(), 1).await;
    let refusal = |name: &str, token: &JoinToken, wants: Option<Role>| {
        let (mut settings, _) = world.settings(name);
        settings.belonging = with_token(token);
        settings.wants = wants;
        async move {
            let error = Node::start(settings).await.expect_err("it is not let in");
            error.to_string()
        }
    };
    let role = refusal("a", &once, Some(Role::Master)).await;
    assert!(
        role.contains("does not let a node become a master"),
        "{role}"
    );
    let worker = world.join("worker", &once).await;
    assert_eq!(worker.node.role(), Some(Role::Worker));
    let used = refusal("b", &once, None).await;
    assert!(used.contains("used 1 times"), "{used}");
    let mut forged = once.clone();
    forged.secret = [0; 16];
    let forged = refusal("c", &forged, None).await;
    assert!(forged.contains("no token that exists"), "{forged}");
    let brief = first
        .token_for(RoleSet::ALL, 1, Duration::from_secs(1))
        .await;
    let begun = Instant::now();
    until("the token expires", || {
        begun.elapsed() > Duration::from_millis(1_500)
    })
    .await;
    let expired = refusal("d", &brief, None).await;
    assert!(expired.contains("expired"), "{expired}");
    // A token of another cluster, for an address of this one.
    let other = World::new();
    let stranger = other.found().await;
    let mut foreign = stranger.token(RoleSet::ALL, 1).await;
    foreign.addresses = vec![first.address().to_string()];
    let foreign = refusal("e", &foreign, None).await;
    assert!(foreign.contains("not of the cluster"), "{foreign}");
    // A node that belongs somewhere does not join elsewhere.
    worker.stop().await;
    let elsewhere = stranger.token(RoleSet::ALL, 1).await;
    let belongs = refusal("worker", &elsewhere, None).await;
    assert!(belongs.contains("belongs to cluster"), "{belongs}");
    for node in [first, stranger] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_is_cut_off_everywhere_and_knows_it() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 9).await;
    let second = world.join("second", &token).await;
    let worker = first.token(Role::Worker.into(), 1).await;
    let third = world.join("third", &worker).await;
    until("everybody knows everybody", || {
        [&first, &second, &third].iter().all(|it| it.knows() == 3)
    })
    .await;
    let out = third.node.id();
    first.forget(out).await;
    until("both refuse it", || {
        [&first, &second]
            .iter()
            .all(|it| it.node.trust().current().has_forgotten(&out))
    })
    .await;
    let why = tokio::time::timeout(PATIENCE, third.node.ended()).await;
    let why = why.expect("it hears of it");
    assert!(matches!(*why, NodeError::Out(_)), "{why}");
    third.stop().await;
    // It does not come back with what it has, nor with another token.
    let again = first.token(RoleSet::ALL, 1).await;
    let answer = first
        .node
        .store()
        .query(
            Query::Custody(CustodyQuery::Admission(out)),
            Freshness::Linearizable,
        )
        .await
        .expect("it answers");
    let forgotten = Found::Custody(CustodyFound::Admission(Admission::Forgotten));
    assert_eq!(answer.found, forgotten);
    let (mut settings, _) = world.settings("third");
    std::fs::remove_file(world.home("third").join("cluster.json")).expect("it was there");
    settings.belonging = with_token(&again);
    let refused = Node::start(settings).await.expect_err("it is out");
    assert!(refused.to_string().contains("forgotten"), "{refused}");
    for node in [first, second] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_directory_does_not_start_while_the_node_runs() {
    let world = World::new();
    let first = world.found().await;
    until("it wrote down where it is", || {
        let papers = std::fs::read_to_string(world.home("first").join("cluster.json"));
        papers.is_ok_and(|text| text.contains(&first.address().to_string()))
    })
    .await;
    let copy = world.home("copy");
    std::fs::create_dir(&copy).expect("there is room");
    for file in [
        "node.key",
        "boot",
        "cluster.json",
        "certificate.pem",
        "trust",
        "issuer.pem",
    ] {
        let from = world.home("first").join(file);
        std::fs::copy(from, copy.join(file)).expect("it is there");
    }
    let (settings, _) = settings(&copy);
    let error = Node::start(settings).await.expect_err("it is a copy");
    assert!(matches!(error, NodeError::Copied { .. }), "{error}");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_is_changed_without_anybody_being_cut_off() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 2).await;
    let second = world.join("second", &token).await;
    let third = world.join("third", &token).await;
    until("all sign", || {
        second.node.trust().current().issuers().len() == 3
    })
    .await;
    let (old, new) = first.node.rotate_issuer().await.expect("it is decided");
    let trust = first.trust().await;
    let named = |name: &str| {
        let mut all = trust.issuers.iter();
        all.find(|it| it.issuer.to_string() == name).cloned()
    };
    assert!(named(&old).expect("it counts still").until.is_some());
    assert!(named(&new).expect("it counts").until.is_none());
    let again = first.token(RoleSet::ALL, 1).await;
    let fourth = world.join("fourth", &again).await;
    for node in [fourth, third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_whose_key_others_may_have_stays_out_and_its_node_signs_with_another() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 2).await;
    let second = world.join("second", &token).await;
    let third = world.join("third", &token).await;
    until("all sign", || {
        first.node.trust().current().issuers().len() == 3
    })
    .await;
    let stolen = retire_issuer_of(&first, &second).await;
    let all = [first, second, third];
    all_sign_without(stolen, &all).await;
    until("everybody knows everybody", || {
        all.iter().all(|one| one.knows() == 3)
    })
    .await;
    for node in all {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_while_the_issuer_of_its_certificate_was_retired_comes_back() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 2).await;
    let second = world.join("second", &token).await;
    let third = world.join("third", &token).await;
    until("all sign", || {
        third.node.trust().current().issuers().len() == 3
    })
    .await;
    third.stop().await;
    let stolen = retire_issuer_of(&first, &second).await;
    let both = [first, second];
    all_sign_without(stolen, &both).await;
    let [first, second] = both;

    // It knows nothing of that, and neither of the others takes the certificate that it has.
    let all = [first, second, world.start("third").await];

    all_sign_without(stolen, &all).await;
    until("everybody knows everybody", || {
        all.iter().all(|one| one.knows() == 3)
    })
    .await;
    for node in all {
        node.stop().await;
    }
}

/// As when somebody else has its key: what it has signed counts no more.
async fn retire_issuer_of(one: &One, through: &One) -> Digest {
    let trust = one.trust().await;
    let mut issuers = trust.issuers.iter();
    let issuer = issuers.find(|it| it.node == one.node.id());
    let issuer = issuer.expect("it signs").issuer;
    let retire = CustodyCommand::RetireIssuer { issuer, keep_ms: 0 };
    // All have certificates of it, so that the links over which the answer comes may end first.
    let _ = through.node.store().command(Command::Custody(retire)).await;
    issuer
}

async fn all_sign_without(stolen: Digest, all: &[One]) {
    until(
        "all sign and are believed, and what was stolen is not",
        || {
            all.iter().all(|one| {
                let trust = one.node.trust().current();
                let mut issuers = trust.issuers().iter();
                let is_stolen = issuers.any(|it| *it.fingerprint().as_bytes() == stolen.0);
                trust.issuers().len() == 3 && !is_stolen
            })
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_while_they_count() {
    let world = World::new();
    let (mut settings, story) = world.settings("first");
    settings.lifetime = Duration::from_secs(3);
    let first = start(settings, story).await;
    let token = first.token(RoleSet::ALL, 1).await;
    let (mut settings, story) = world.settings("second");
    settings.lifetime = Duration::from_secs(3);
    settings.belonging = with_token(&token);
    let second = start(settings, story).await;
    let renewals = |one: &One| {
        let story = one.story.lock();
        let renewed = story
            .iter()
            .filter(|it| matches!(it, Event::Renewed { .. }));
        renewed.count()
    };
    until("both have renewed twice", || {
        renewals(&first) >= 2 && renewals(&second) >= 2
    })
    .await;
    assert_eq!((first.knows(), second.knows()), (2, 2));
    for node in [second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_off_for_longer_than_any_certificate_starts() {
    let world = World::new();
    let lifetime = Duration::from_secs(3);
    let brief = |name: &str, at: Option<SocketAddr>, token: Option<&JoinToken>| {
        let (mut settings, story) = world.settings(name);
        settings.lifetime = lifetime;
        settings.listen = at.unwrap_or(settings.listen);
        if let Some(token) = token {
            settings.belonging = with_token(token);
        }
        start(settings, story)
    };
    let first = brief("first", None, None).await;
    let token = first.token(RoleSet::ALL, 2).await;
    let gateways = first.token(Role::Gateway.into(), 1).await;
    let second = brief("second", None, Some(&token)).await;
    let third = brief("third", None, Some(&token)).await;
    let gateway = brief("gateway", None, Some(&gateways)).await;
    voters_are(&first, 3).await;
    until("three issuers are believed", || {
        let trust = gateway.node.trust().current();
        trust.issuers().len() == 3
    })
    .await;
    let last = [&first, &second, &third, &gateway]
        .map(|one| one.node.identity().certificate().claims().not_after);
    let places = [&first, &second, &third, &gateway].map(One::address);
    // All at once, as when the power goes.
    let stopping = [first, second, third, gateway].map(|one| async move { one.stop().await });
    futures_util::future::join_all(stopping).await;
    let begun = Instant::now();
    until("every certificate has run out", || {
        begun.elapsed() > lifetime + Duration::from_secs(1)
    })
    .await;

    let names = ["first", "second", "third", "gateway"].into_iter();
    let starting = names
        .zip(places)
        .map(|(name, at)| brief(name, Some(at), None));
    let all = futures_util::future::join_all(starting).await;

    for (one, last) in all.iter().zip(last) {
        let certificate = one.node.identity().certificate();
        assert!(certificate.claims().not_after > last, "it was renewed");
    }
    let stopping = all.into_iter().map(|one| async move { one.stop().await });
    futures_util::future::join_all(stopping).await;
}
