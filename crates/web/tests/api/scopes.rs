//! Nothing that changes anything answers without authority: every operation of the document, with each scope and none.

use std::sync::atomic::Ordering;

use crate::document::operations;
use crate::world::World;

const LADDER: [&str; 4] = ["none", "read", "operate", "admin"];

fn height(scope: &str) -> usize {
    LADDER
        .iter()
        .position(|known| *known == scope)
        .expect("a scope")
}

#[tokio::test]
async fn every_operation_is_refused_to_every_scope_below_its_own() {
    let world = World::new().await;
    let document = world.document();
    for operation in operations(&document) {
        let needed = height(&operation.scope);
        let least = if !operation.changes() || ["login", "logout"].contains(&&*operation.id) {
            0
        } else {
            2
        };
        assert!(
            needed >= least,
            "{} changes something and needs {}",
            operation.id,
            operation.scope
        );
        let (media, body) = operation.body().unwrap_or_default();
        for (at, token) in LADDER.iter().enumerate() {
            let bearer = format!("Bearer {token}");
            let mut headers = Vec::new();
            if at > 0 {
                headers.push(("authorization", &*bearer));
            }
            if !media.is_empty() {
                headers.push(("content-type", &media));
            }
            let before = world.memory.changes.load(Ordering::SeqCst);
            let answer = world
                .ask(&operation.method, &operation.target(), &headers, &body)
                .await;
            operation
                .judge(&document, &answer)
                .unwrap_or_else(|why| panic!("{why}\n{answer:?}"));
            let what = format!("{} with {token}: {answer:?}", operation.id);
            if operation.id == "login" {
                assert_eq!(answer.status, 401, "{what}");
            } else if at >= needed {
                assert!(![401, 403].contains(&answer.status), "{what}");
            } else {
                assert_eq!(answer.status, if at == 0 { 401 } else { 403 }, "{what}");
                assert_eq!(
                    world.memory.changes.load(Ordering::SeqCst),
                    before,
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_shows_no_authority_in_any_form_is_refused() {
    let world = World::new().await;
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic admin",
        "admin",
        "Bearer admin x",
    ] {
        let answer = world
            .ask("GET", "/v1/status", &[("authorization", value)], b"")
            .await;
        assert_eq!(answer.code(), "unauthenticated", "{value:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let twice = [
        ("authorization", "Bearer admin"),
        ("authorization", "Bearer admin"),
    ];
    assert_eq!(
        world.ask("GET", "/v1/status", &twice, b"").await.code(),
        "unauthenticated"
    );
    let in_query = world.ask("GET", "/v1/status?token=admin", &[], b"").await;
    assert_eq!(in_query.code(), "unauthenticated");
}

#[tokio::test]
async fn every_change_comes_with_who_and_from_where() {
    let world = World::new().await;
    let answer = world
        .ask_as(
            "operate",
            "PUT",
            "/v1/nodes/node-a/drain",
            Some(r#"{"drain":true}"#),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (caller, entry) = world.memory.last_audit().expect("an entry");
    assert_eq!(
        (&*entry.who, &*entry.operation, &*entry.target),
        ("operate", "setNodeDrain", "node-a")
    );
    assert!(
        caller.remote.to_string().starts_with("127.0.0.1:"),
        "{caller:?}"
    );
    assert_eq!(Some(&*caller.request), answer.header("convoke-request-id"));

    world
        .local()
        .set_drain("node-a", convoke_web::model::SetDrain { drain: false })
        .await
        .expect("drained");
    let (caller, _) = world.memory.last_audit().expect("an entry");
    assert!(
        caller.principal.name.starts_with("local user "),
        "{caller:?}"
    );
}
