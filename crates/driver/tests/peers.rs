//! Peers that do what members should not, or too much of it.

mod world;

use bytes::Bytes;
use convoke_driver::Settings;
use convoke_rpc::identity::Development;
use convoke_rpc::{CloseCode, Link, Protocol};
use convoke_types::wire::gossip::letter::LETTER_MAX;
use convoke_types::wire::rpc::{OPEN_ANSWER, OPEN_LETTER};
use world::{Carrier, Node, PATIENCE, on_every_carrier, until, until_async};

on_every_carrier!(
    a_letter_that_is_too_large_ends_the_link,
    a_stream_that_is_no_letter_ends_the_link,
    nonsense_is_counted_and_harms_nobody,
);

async fn a_letter_that_is_too_large_ends_the_link(carrier: Carrier) {
    let (node, link) = node_and_link(&carrier).await;
    write(&link, OPEN_LETTER, LETTER_MAX).await;
    until_async("a letter of the largest size was read", async || {
        let status = node.gossip.status().await.unwrap();
        status.membership.counters.letters_received == 1
    })
    .await;
    assert_eq!(link.close_reason(), None);

    write(&link, OPEN_LETTER, LETTER_MAX + 1).await;

    assert_eq!(reason(&link).await, CloseCode::ProtocolViolation);
    node.die().await;
}

async fn a_stream_that_is_no_letter_ends_the_link(carrier: Carrier) {
    let (node, link) = node_and_link(&carrier).await;
    write(&link, OPEN_ANSWER, 10).await;
    assert_eq!(reason(&link).await, CloseCode::ProtocolViolation);
    node.die().await;
}

async fn nonsense_is_counted_and_harms_nobody(carrier: Carrier) {
    let (node, link) = node_and_link(&carrier).await;
    until_async("nonsense was counted", async || {
        link.send_datagram(Bytes::from_static(b"nonsense"));
        write(&link, OPEN_LETTER, 100).await;
        let status = node.gossip.status().await.unwrap();
        status.membership.counters.malformed >= 2
    })
    .await;
    assert_eq!(link.close_reason(), None);
    node.die().await;
}

#[tokio::test]
async fn there_are_only_so_many_links() {
    const MOST: usize = 24;
    let (carrier, cluster) = (Carrier::memory(), Development::new());
    let few = |settings| Settings {
        links_most: MOST,
        ..settings
    };
    let node = Node::start_with(carrier.endpoint(&cluster), &[], few).await;
    let mut links = Vec::new();
    for _ in 0..2 * MOST {
        links.push(link_to(&node, &carrier, &cluster).await);
    }

    until("the first ones were closed", || {
        links
            .iter()
            .filter(|link| link.close_reason().is_some())
            .count()
            == MOST
    })
    .await;

    let open = |link: &&Link| link.close_reason().is_none();
    assert_eq!(
        links[MOST..].iter().filter(open).count(),
        MOST,
        "the newest stay"
    );
    assert_eq!(node.gossip.status().await.unwrap().links, MOST);
    node.die().await;
}

#[tokio::test]
async fn a_node_that_stops_ends_its_links() {
    let (node, link) = node_and_link(&Carrier::memory()).await;
    node.gossip.stop().await;
    assert_eq!(reason(&link).await, CloseCode::Done);
    node.endpoint.close().await;
}

async fn node_and_link(carrier: &Carrier) -> (Node, Link) {
    let cluster = Development::new();
    let node = Node::start(carrier, &cluster, &[]).await;
    let link = link_to(&node, carrier, &cluster).await;
    (node, link)
}

/// A link from somebody of the cluster who has a mind of their own.
async fn link_to(node: &Node, carrier: &Carrier, cluster: &Development) -> Link {
    carrier
        .endpoint(cluster)
        .connect(node.address(), None, Protocol::Gossip)
        .await
        .expect("every member may gossip")
}

async fn write(link: &Link, first: u8, length: usize) {
    let Ok(mut stream) = link.open_one_way().await else {
        return;
    };
    let _ = stream.write(Bytes::from(vec![first])).await;
    let _ = stream.write(Bytes::from(vec![0; length])).await;
    stream.finish();
    stream.stopped().await;
}

async fn reason(link: &Link) -> CloseCode {
    let closed = tokio::time::timeout(PATIENCE, link.closed()).await;
    closed.expect("the link ends").code
}
