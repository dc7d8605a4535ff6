//! Streams: what happens is heard, in order, once; who comes late or again is told what is gone.

use std::time::Duration;

use convoke_web::backend::Part;
use convoke_web::client::{Follow, Heard};
use convoke_web::model::{Event, Level};

use crate::memory::PATIENCE;
use crate::world::{World, generous};

async fn hear(follow: &mut Follow<Event>) -> Option<String> {
    let heard = tokio::time::timeout(PATIENCE, follow.next())
        .await
        .expect("in time")
        .expect("heard");
    match heard {
        Heard::Item(event) => Some(event.text),
        Heard::Resync => None,
    }
}

#[tokio::test]
async fn a_reader_hears_what_happens_from_now_on_and_resumes_behind_what_it_heard() {
    let world = World::new().await;
    world.memory.tell("before");
    let client = world.client("read");
    let mut follow = client.follow_events(None);
    follow.connect().await.expect("a stream");
    // The place of a stream is fixed by its first reading, which may come after its head.
    let mut number = 0;
    let first = loop {
        world.memory.tell(&number.to_string());
        number += 1;
        if let Ok(text) = tokio::time::timeout(Duration::from_millis(50), hear(&mut follow)).await {
            break text.expect("an event");
        }
    };
    assert_ne!(first, "before");
    let cursor = follow.cursor().expect("a cursor").to_owned();
    drop(follow);
    world.memory.tell("last");
    let mut again = client.follow_events(Some(cursor));
    let mut expected: u64 = first.parse::<u64>().expect("a number") + 1;
    loop {
        let text = hear(&mut again).await.expect("an event");
        if text == "last" {
            break;
        }
        assert_eq!(
            text,
            expected.to_string(),
            "nothing is skipped or told twice"
        );
        expected += 1;
    }
    assert_eq!(expected, number);
    for text in ["more", "still more"] {
        world.memory.tell(text);
        assert_eq!(hear(&mut again).await.as_deref(), Some(text));
    }
}

#[tokio::test]
async fn a_reader_behind_what_is_kept_is_told_to_look_at_the_state_itself() {
    let world = World::new().await;
    for text in ["0", "1", "2", "3"] {
        world.memory.tell(text);
    }
    world.memory.lose_events(1);
    for cursor in ["life1-0", "life0-7", "nonsense"] {
        let mut follow = world.client("read").follow_events(Some(cursor.to_owned()));
        assert_eq!(hear(&mut follow).await, None, "{cursor}");
        assert_eq!(hear(&mut follow).await.as_deref(), Some("3"), "{cursor}");
    }
}

#[tokio::test]
async fn many_large_events_at_once_are_heard_all() {
    let world = World::new().await;
    for number in 0..250 {
        world
            .memory
            .tell(&format!("{number} {}", "x".repeat(10_000)));
    }
    let mut follow = world
        .client("read")
        .follow_events(Some("life1-0".to_owned()));
    for number in 1..250 {
        let text = hear(&mut follow).await.expect("an event");
        assert!(text.starts_with(&format!("{number} ")), "{number}");
    }
}

#[tokio::test]
async fn a_page_has_the_same_events_as_the_stream() {
    let world = World::new().await;
    for text in ["0", "1", "2"] {
        world.memory.tell(text);
    }
    let client = world.client("read");
    let page = client
        .events(&Part {
            after: None,
            limit: 2,
        })
        .await
        .expect("a page");
    let rest = client
        .events(&Part {
            after: Some(page.next),
            limit: 2,
        })
        .await
        .expect("a page");
    let texts: Vec<_> = page
        .items
        .iter()
        .chain(&rest.items)
        .map(|event| &*event.text)
        .collect();
    assert_eq!(texts, ["0", "1", "2"]);
    assert!(!page.missed && !rest.missed);
    let mut lines = client.follow_logs("node-a", Level::Info, Some("life1-1".to_owned()));
    let heard = tokio::time::timeout(PATIENCE, lines.next())
        .await
        .expect("in time")
        .expect("heard");
    assert!(matches!(heard, Heard::Item(line) if line.text == "2"));
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives_and_ends_when_its_token_is_revoked() {
    let mut settings = generous();
    settings.limits.keep_alive = Duration::from_millis(20);
    let world = World::with(settings).await;
    let mut follow = world.client("read").follow_events(None);
    follow.connect().await.expect("a stream");
    world.memory.revoke("read");
    let ended = tokio::time::timeout(PATIENCE, follow.next())
        .await
        .expect("in time");
    let error = ended.expect_err("the stream ended, and no other is given");
    assert_eq!(
        error.problem().map(|problem| problem.status),
        Some(401),
        "{error}"
    );
}

#[tokio::test]
async fn more_streams_than_there_is_room_for_are_refused() {
    let mut settings = generous();
    settings.limits.streams = 1;
    let world = World::with(settings).await;
    let mut first = world.client("read").follow_events(None);
    first.connect().await.expect("a stream");
    let mut second = world.client("read").follow_events(None);
    let error = second.connect().await.expect_err("refused");
    assert_eq!(
        error.problem().map(|problem| problem.status),
        Some(429),
        "{error}"
    );
    assert_eq!(
        world
            .client("read")
            .events(&Part {
                after: None,
                limit: 1
            })
            .await
            .expect("a page")
            .items,
        []
    );
}

#[tokio::test]
async fn a_stream_of_an_unknown_node_says_so_and_ends() {
    let world = World::new().await;
    let mut lines = world
        .client("read")
        .follow_logs("nobody", Level::Info, None);
    let error = tokio::time::timeout(PATIENCE, lines.next())
        .await
        .expect("in time")
        .expect_err("refused");
    assert_eq!(
        error.problem().map(|problem| problem.status),
        Some(404),
        "{error}"
    );
}
