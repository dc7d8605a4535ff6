//! Nothing of a real node is shown or changed without the authority that its document asks for.

use crate::document::operations;
use crate::world::World;

const LADDER: [&str; 4] = ["none", "read", "operate", "admin"];

#[tokio::test]
async fn every_operation_is_refused_to_every_scope_below_its_own() {
    let world = World::new().await;
    let document = world.document();
    let before = world.revision().await;
    for operation in operations(&document) {
        let needed = LADDER.iter().position(|scope| *scope == operation.scope);
        let needed = needed.expect("a scope");
        let is_session = ["login", "logout"].contains(&&*operation.id);
        assert!(
            !operation.changes() || is_session || needed >= 2,
            "{}",
            operation.id
        );
        let (media, body) = operation.body().unwrap_or_default();
        for token in &LADDER[..needed] {
            let bearer = format!("Bearer {token}");
            let mut headers = Vec::new();
            if *token != "none" {
                headers.push(("authorization", &*bearer));
            }
            if !media.is_empty() {
                headers.push(("content-type", &media));
            }
            let target = operation.target();
            let answer = world.ask(&operation.method, &target, &headers, &body).await;
            let expected = if *token == "none" { 401 } else { 403 };
            assert_eq!(
                answer.status, expected,
                "{} with {token}: {answer:?}",
                operation.id
            );
            operation
                .judge(&document, &answer)
                .unwrap_or_else(|why| panic!("{why}\n{answer:?}"));
        }
    }
    assert_eq!(world.revision().await, before, "something was decided");
}
