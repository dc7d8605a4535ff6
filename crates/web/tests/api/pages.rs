//! The dashboard's files: who gets them, under which headers, and when they are sent again. What they do is tried in a browser (`browser`).

use crate::world::World;

/// What the page names, and the page itself.
async fn paths(world: &World) -> Vec<String> {
    let page = world.ask("GET", "/", &[], b"").await;
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    let named = text
        .split('"')
        .filter(|part| part.starts_with("/assets/"))
        .map(str::to_owned);
    std::iter::once("/".to_owned()).chain(named).collect()
}

#[tokio::test]
async fn the_page_and_its_files_take_no_authority_and_may_do_nothing_but_ask_this_node() {
    let world = World::new().await;
    let paths = paths(&world).await;
    assert!(paths.len() > 10, "{paths:?}");
    for path in &paths {
        let answer = world.ask("GET", path, &[], b"").await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{path}: {part} in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        let media = answer.media();
        let is_right = match path.rsplit_once('.').map(|(_, end)| end) {
            None => media.starts_with("text/html"),
            Some("css") => media.starts_with("text/css"),
            Some("js") => media.starts_with("text/javascript"),
            Some("svg") => media == "image/svg+xml",
            Some(_) => false,
        };
        assert!(is_right, "{path} is {media}");
    }
}

#[tokio::test]
async fn a_file_that_a_browser_has_is_not_sent_again() {
    let world = World::new().await;
    for path in paths(&world).await {
        let first = world.ask("GET", &path, &[], b"").await;
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let tag = first.header("etag").expect("a tag").to_owned();
        let again = world
            .ask("GET", &path, &[("if-none-match", &tag)], b"")
            .await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(&*tag));
        let other = world
            .ask("GET", &path, &[("if-none-match", "\"0\"")], b"")
            .await;
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_guarded_like_the_rest_and_knows_no_other_method() {
    let world = World::new().await;
    for path in ["/", "/assets/app.js"] {
        let rebound = world
            .ask("GET", path, &[("host", "evil.example")], b"")
            .await;
        assert_eq!(rebound.code(), "host-not-allowed", "{path}");
        let foreign = world
            .ask("GET", path, &[("origin", "https://evil.example")], b"")
            .await;
        assert_eq!(foreign.code(), "origin-not-allowed", "{path}");
        let head = world.ask("HEAD", path, &[], b"").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = world.ask(method, path, &[], b"").await;
            assert_eq!(answer.code(), "method-not-allowed", "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
    for nowhere in [
        "/assets/",
        "/assets/../Cargo.toml",
        "/assets/nothing.js",
        "/index.html",
    ] {
        assert_eq!(
            world.ask("GET", nowhere, &[], b"").await.code(),
            "not-found"
        );
    }
    let document = world.document();
    let paths = document["paths"].as_object().expect("paths");
    assert!(
        paths
            .keys()
            .all(|path| path.starts_with("/v1/") || path == "/metrics")
    );
}

#[tokio::test]
async fn a_login_is_made_by_an_admin_and_counts_once() {
    let world = World::new().await;
    for (token, status) in [("read", 403), ("operate", 403), ("admin", 201)] {
        let answer = world.ask_as(token, "POST", "/v1/logins", None).await;
        assert_eq!(answer.status, status, "{token}: {answer:?}");
    }
    let made = world.local().create_login().await.expect("over the socket");
    assert!(made.url.expect("served").ends_with(&made.token));
    let json = ("content-type", "application/json");
    let body = format!(r#"{{"token":"{}"}}"#, made.token);
    for status in [201, 401] {
        let answer = world
            .ask("POST", "/v1/session", &[json], body.as_bytes())
            .await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn instances_are_chosen_by_a_selector_and_a_bad_one_is_told() {
    let world = World::new().await;
    let client = world.client("read");
    let all = convoke_web::backend::Part {
        after: None,
        limit: 10,
    };
    let services = client.rpc_services(&all).await.expect("a page").items;
    assert_eq!((&*services[0].name, services[0].serving), ("Greeter", 1));
    let here = client.instances("Greeter", Some("zone = eu"), &all).await;
    assert_eq!(here.expect("a page").items[0].tags, ["zone=eu"]);
    for (target, code) in [
        ("/v1/instances/Nobody", "not-found"),
        ("/v1/instances/Greeter?selector=zone%20%3D", "bad-parameter"),
        ("/v1/instances/Greeter?selector=", "bad-parameter"),
        ("/v1/instances/Greeter?select=x", "unknown-parameter"),
    ] {
        let answer = world.ask_as("read", "GET", target, None).await;
        assert_eq!(answer.code(), code, "{target}");
    }
}

#[tokio::test]
async fn who_watches_whom_is_asked_for_within_bounds() {
    let world = World::new().await;
    let client = world.client("read");
    let all = client.watching(None, None).await.expect("a picture");
    assert_eq!((all.nodes.len(), all.links.len(), all.total), (2, 1, 2));
    let one = client.watching(Some("node-a"), Some(1)).await;
    assert_eq!(one.expect("a neighbourhood").nodes.len(), 1);
    for (target, code) in [
        ("/v1/watching?around=nobody", "not-found"),
        ("/v1/watching?limit=0", "bad-parameter"),
        ("/v1/watching?limit=201", "bad-parameter"),
    ] {
        let answer = world.ask_as("read", "GET", target, None).await;
        assert_eq!(answer.code(), code, "{target}");
    }
}
