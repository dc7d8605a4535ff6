//! Nodes that measure what the network between them carries.

mod world;

use convoke_node::planning::bandwidth::{BYTES, MeasureError, NotMeasured, measure};
use convoke_rpc::RoleSet;

use crate::world::{One, World, start, with_token};

fn refusal(error: &MeasureError) -> &NotMeasured {
    let MeasureError::Refused(refusal) = error else {
        panic!("it was not refused: {error}");
    };
    refusal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_from_a_node_that_is_willing_is_measured_within_bounds_and_seldom() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(RoleSet::ALL, 2).await;
    let unwilling = world.join("unwilling", &token).await;
    let (mut settings, story) = world.settings("willing");
    settings.belonging = with_token(&token);
    settings.bandwidth = true;
    let willing = start(settings, story).await;
    let with = async |node: &One| {
        let addresses = vec![node.address()];
        measure(first.node.endpoint(), node.node.id(), addresses).await
    };

    let error = with(&unwilling).await.expect_err("it is off");
    assert_eq!(refusal(&error), &NotMeasured::Off);

    let carried = with(&willing).await.expect("it is measured");
    assert!(carried.bits > 0, "{carried:?}");
    assert!((256 << 10..=BYTES).contains(&carried.bytes), "{carried:?}");

    // Asked again it says when it would.
    let error = with(&willing).await.expect_err("it was just there");
    let NotMeasured::TooOften { again_s } = refusal(&error) else {
        panic!("{error}");
    };
    assert!((3_000..=3_600).contains(again_s), "{error}");

    // Somebody else is not held up by that, and nobody is reached where nobody is.
    let addresses = vec![willing.address()];
    let other = measure(unwilling.node.endpoint(), willing.node.id(), addresses).await;
    assert!(other.is_ok(), "{other:?}");
    let stranger = measure(
        first.node.endpoint(),
        unwilling.node.id(),
        vec![willing.address()],
    );
    let error = stranger.await.expect_err("somebody else is there");
    assert!(matches!(error, MeasureError::Lost(_)), "{error}");
    for node in [willing, unwilling, first] {
        node.stop().await;
    }
}
