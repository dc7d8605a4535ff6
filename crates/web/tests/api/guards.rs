//! Who is served at all: names, origins, sessions, rates, bounds, and the way servers begin and end.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use convoke_web::backend::Consistency;
use convoke_web::{Code, Ended, Fault, Limits, ListenError, Listener, Rate, Settings};

use crate::memory::{PATIENCE, Trouble};
use crate::world::{World, generous};

fn limited(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut settings = generous();
    change(&mut settings.limits);
    settings
}

#[tokio::test]
async fn a_page_whose_name_points_here_is_refused_whatever_it_asks() {
    let mut settings = generous();
    settings.hosts.push("node.example".to_owned());
    let world = World::with(settings).await;
    for target in ["/v1/status", "/v1/health", "/v1/openapi.json", "/nowhere"] {
        let answer = world
            .ask("GET", target, &[("host", "evil.example")], b"")
            .await;
        assert_eq!(answer.code(), "host-not-allowed", "{target}");
    }
    for host in ["localhost:1", "node.example", "127.0.0.1"] {
        let answer = world.ask("GET", "/v1/health", &[("host", host)], b"").await;
        assert_eq!(answer.status, 200, "{host}");
    }
    let twice = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(
        world.ask("GET", "/v1/health", &twice, b"").await.code(),
        "bad-request"
    );
}

#[tokio::test]
async fn pages_of_others_are_refused_and_nothing_is_ever_shared_with_them() {
    let mut settings = generous();
    settings.origins.push("https://panel.example".to_owned());
    let world = World::with(settings).await;
    let own = format!("http://{}", world.address);
    for (origin, status) in [
        (&*own, 200),
        ("https://panel.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        let headers = [("authorization", "Bearer admin"), ("origin", origin)];
        let answer = world.ask("GET", "/v1/status", &headers, b"").await;
        assert_eq!(answer.status, status, "{origin}");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
}

#[tokio::test]
async fn a_one_time_token_gives_a_session_once_and_the_session_is_for_browsers() {
    let world = World::new().await;
    let json = ("content-type", "application/json");
    let login = world
        .ask("POST", "/v1/session", &[json], br#"{"token":"once"}"#)
        .await;
    assert_eq!(login.status, 201, "{login:?}");
    let cookie = login.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age="),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().expect("a pair");
    let again = world
        .ask("POST", "/v1/session", &[json], br#"{"token":"once"}"#)
        .await;
    assert_eq!(again.code(), "unauthenticated");

    let who = world
        .ask("GET", "/v1/session", &[("cookie", cookie)], b"")
        .await
        .json();
    assert_eq!(who["name"], "browser");
    assert!(
        who["expires_in_ms"].as_u64().is_some_and(|left| left > 0),
        "{who}"
    );
    let drain = "/v1/nodes/node-a/drain";
    let bare = world
        .ask(
            "PUT",
            drain,
            &[("cookie", cookie), json],
            br#"{"drain":true}"#,
        )
        .await;
    assert_eq!(bare.code(), "forbidden");
    let meant = [("cookie", cookie), json, ("convoke-request", "dashboard")];
    assert_eq!(
        world
            .ask("PUT", drain, &meant, br#"{"drain":true}"#)
            .await
            .status,
        200
    );

    let out = [("cookie", cookie), ("convoke-request", "dashboard")];
    assert_eq!(
        world.ask("DELETE", "/v1/session", &out, b"").await.status,
        200
    );
    assert_eq!(
        world
            .ask("GET", "/v1/session", &[("cookie", cookie)], b"")
            .await
            .code(),
        "unauthenticated"
    );
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let rate = Rate { per_s: 1, burst: 3 };
    let world = World::with(limited(|limits| limits.per_principal = rate)).await;
    let mut refused = None;
    for _ in 0..5 {
        let answer = world.ask_as("read", "GET", "/v1/voters", None).await;
        if answer.status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!(refused.code(), "too-many");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        world
            .ask_as("admin", "GET", "/v1/voters", None)
            .await
            .status,
        200,
        "others go on"
    );
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_refused_whoever_it_is() {
    let rate = Rate { per_s: 1, burst: 2 };
    let world = World::with(limited(|limits| limits.per_address = rate)).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.ask("GET", "/v1/health", &[], b"").await.status);
    }
    assert!(
        statuses.starts_with(&[200, 200]) && statuses.contains(&429),
        "{statuses:?}"
    );
    world
        .local()
        .health()
        .await
        .expect("the local socket has no address");
}

#[tokio::test]
async fn guessing_tokens_ends_soon_and_then_a_right_one_waits_as_well() {
    let rate = Rate { per_s: 1, burst: 3 };
    let world = World::with(limited(|limits| limits.failures = rate)).await;
    for guess in ["a", "b", "c"] {
        assert_eq!(
            world.ask_as(guess, "GET", "/v1/status", None).await.status,
            401
        );
    }
    assert_eq!(
        world
            .ask_as("admin", "GET", "/v1/status", None)
            .await
            .code(),
        "too-many"
    );
}

#[tokio::test]
async fn bodies_have_bounds_by_operation() {
    let world = World::new().await;
    let value = vec![b'x'; 4_097];
    let octets = [
        ("authorization", "Bearer operate"),
        ("content-type", "application/octet-stream"),
    ];
    assert_eq!(
        world.ask("PUT", "/v1/kv/a", &octets, &value).await.code(),
        "too-large"
    );
    assert_eq!(
        world
            .ask("PUT", "/v1/kv/a", &octets, &value[1..])
            .await
            .status,
        200
    );
    let long = format!(r#"{{"key":"app.a","value":"{}"}}"#, "x".repeat(65_536));
    assert_eq!(
        world
            .ask_as("operate", "POST", "/v1/proposals", Some(&long))
            .await
            .code(),
        "too-large"
    );
    let key = format!("/v1/kv/{}", "x".repeat(513));
    assert_eq!(
        world.ask("PUT", &key, &octets, b"").await.code(),
        "bad-parameter"
    );
}

#[tokio::test]
async fn what_comes_too_slowly_is_closed_or_refused() {
    let world = World::with(limited(|limits| {
        limits.head_time = Duration::from_millis(100);
        limits.body_time = Duration::from_millis(100);
    }))
    .await;
    let address = world.address;
    let slow = move |bytes: &'static str| {
        tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("connect");
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
            stream.write_all(bytes.as_bytes()).expect("write");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        })
    };
    let head = slow("GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: ")
        .await
        .expect("no panic");
    assert!(!head.contains("200 OK"), "{head}");
    let body = slow(
        "PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer operate\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 9\r\n\r\nabc",
    )
    .await
    .expect("no panic");
    assert!(
        body.starts_with("HTTP/1.1 408") && body.contains("too-slow"),
        "{body}"
    );
}

#[tokio::test]
async fn what_is_no_http_is_never_carried_out_and_breaks_nothing() {
    let world = World::with(limited(|limits| {
        limits.head_time = Duration::from_millis(300)
    }))
    .await;
    let address = world.address;
    let put = "PUT /v1/kv/smuggled HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer operate\r\n\
               Content-Type: application/octet-stream\r\n";
    let with = |more: &str| format!("{put}{more}").into_bytes();
    let odd = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"GET /v1/health HTTP/9.9\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET /v1/health\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        with("Content-Length: -1\r\n\r\n"),
        with("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        with("Content-Length: 99999999999999999999\r\n\r\nabc"),
        with("Content-Length : 3\r\n\r\nabc"),
        with("Transfer-Encoding: gzip\r\n\r\nabc"),
        with("Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
        with("Content-Length: 9\r\n\r\nabc"),
    ];
    for bytes in odd {
        let told = String::from_utf8_lossy(&bytes).into_owned();
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("connect");
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
            stream.write_all(&bytes).expect("write");
            stream.shutdown(std::net::Shutdown::Write).expect("shut");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        });
        let answer = answer.await.expect("no panic");
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{told:?}: {answer}"
        );
    }
    let smuggled = world.ask_as("read", "GET", "/v1/kv/smuggled", None).await;
    assert_eq!(smuggled.code(), "not-found");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_nothing_breaks() {
    let world = World::new().await;
    let large = "x".repeat(100_000);
    let answer = world
        .ask("GET", "/v1/health", &[("x-large", &large)], b"")
        .await;
    assert_eq!(answer.status, 431);
    assert_eq!(world.ask("GET", "/v1/health", &[], b"").await.status, 200);
}

#[tokio::test]
async fn one_address_cannot_have_all_connections() {
    let world = World::with(limited(|limits| limits.connections_per_address = 2)).await;
    let connect = || tokio::net::TcpStream::connect(world.address);
    let (first, second) = (
        connect().await.expect("a place"),
        connect().await.expect("a place"),
    );
    let address = world.address;
    let closed = tokio::task::spawn_blocking(move || {
        let mut third = std::net::TcpStream::connect(address).expect("accepted by the system");
        third.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let _ = third.write_all(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut answer = Vec::new();
        third
            .read_to_end(&mut answer)
            .map_or(true, |_| answer.is_empty())
    });
    assert!(closed.await.expect("no panic"), "the third was served");
    drop((first, second));
}

#[tokio::test]
async fn without_tls_only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let address: SocketAddr = address.parse().expect("an address");
        let refused = Listener::network(address, None).await.expect_err("refused");
        assert!(
            matches!(refused, ListenError::NeedsTls(found) if found == address),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn the_socket_file_is_its_owners_alone_and_goes_with_its_listener() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    let listener = Listener::local(&path).expect("a socket");
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(Listener::local(&path), Err(ListenError::InUse(_))));
    drop(listener);
    assert!(!path.exists());
    // What a dead process left is replaced; what is no socket is left alone.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists());
    drop(Listener::local(&path).expect("replaced"));
    std::fs::write(&path, "mine").expect("written");
    assert!(matches!(
        Listener::local(&path),
        Err(ListenError::NotASocket(_))
    ));
}

#[tokio::test]
async fn what_breaks_behind_the_api_is_told_by_its_code() {
    let world = World::with(limited(|limits| limits.deadline = Duration::from_secs(1))).await;
    let no_leader = Fault::unavailable("nobody leads").retry_after(Duration::from_millis(1_500));
    for (trouble, code, status) in [
        (Trouble::Fault(no_leader), "unavailable", 503),
        (Trouble::Panic, "internal", 500),
        (Trouble::Never, "deadline-exceeded", 504),
        // An operation that has no such problem.
        (
            Trouble::Fault(Fault::new(Code::Conflict, "what?")),
            "internal",
            500,
        ),
    ] {
        *world.memory.trouble.lock() = Some(trouble);
        let answer = world.ask_as("read", "GET", "/v1/status", None).await;
        assert_eq!((answer.status, &*answer.code()), (status, code));
        if status == 503 {
            assert_eq!(answer.header("retry-after"), Some("2"));
        }
    }
    assert_eq!(
        world.ask_as("read", "GET", "/v1/status", None).await.status,
        200
    );
}

#[tokio::test]
async fn a_change_whose_answer_does_not_come_may_have_been_made_and_says_so() {
    let world = World::with(limited(|limits| limits.deadline = Duration::from_secs(1))).await;
    let lost = convoke_types::Problem::new(convoke_types::Code::LinkLost, "the leader went");
    for trouble in [Trouble::Never, Trouble::Fault(Fault::from(lost))] {
        *world.memory.trouble.lock() = Some(trouble);
        let body = Some(r#"{"drain":true}"#);
        let answer = world
            .ask_as("operate", "PUT", "/v1/nodes/node-a/drain", body)
            .await;
        assert_eq!((answer.status, &*answer.code()), (504, "outcome-unknown"));
        assert!(answer.json()["what_to_do"].is_string());
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_streams_at_once_and_waits_for_the_rest() {
    let world = World::new().await;
    let mut follow = world.client("read").follow_events(None);
    follow.connect().await.expect("a stream");
    let idle = tokio::net::TcpStream::connect(world.address)
        .await
        .expect("a connection");
    world
        .local()
        .key(b"app/colour", Consistency::Stale)
        .await
        .expect("served");
    assert_eq!(world.stop().await, Ended { cut_off: 0 });
    drop(idle);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_when_the_grace_time_is_over() {
    let world = World::with(limited(|limits| limits.grace = Duration::from_millis(100))).await;
    *world.memory.trouble.lock() = Some(Trouble::Never);
    let mut stream = std::net::TcpStream::connect(world.address).expect("connect");
    stream
        .write_all(
            b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer read\r\n\r\n",
        )
        .expect("write");
    until(|| world.memory.trouble.lock().is_none()).await;
    assert_eq!(world.stop().await, Ended { cut_off: 1 });
}

#[tokio::test]
async fn a_connection_that_asks_nothing_more_is_closed() {
    let world = World::with(limited(|limits| {
        limits.head_time = Duration::from_millis(100)
    }))
    .await;
    let address = world.address;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
            .write_all(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("write");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("closed, and not for lack of patience");
        answer
    });
    assert!(
        answer
            .await
            .expect("no panic")
            .starts_with("HTTP/1.1 200 OK")
    );
}

#[tokio::test]
async fn a_reader_that_takes_nothing_loses_its_connection_and_its_place() {
    let world = World::with(limited(|limits| {
        limits.write_stall = Duration::from_millis(100)
    }))
    .await;
    let text = "x".repeat(10_000);
    for _ in 0..2_000 {
        world.memory.tell(&text);
    }
    let mut stream = std::net::TcpStream::connect(world.address).expect("connect");
    stream
        .write_all(
            b"GET /v1/events?after=life1-0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer read\r\n\
              Accept: text/event-stream\r\n\r\n",
        )
        .expect("write");
    let client = world.client("read");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for wanted in [
        "convoke_http_requests_total{operation=\"getEvents\",status=\"200\"} 1",
        "convoke_http_streams 0",
    ] {
        while !client
            .metrics()
            .await
            .expect("numbers")
            .lines()
            .any(|line| line == wanted)
        {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{wanted} was never so"
            );
        }
    }
    drop(stream);
}

/// Waits for a state, with a limit.
async fn until(so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("in time");
}

#[tokio::test]
async fn numbers_of_the_http_side_stand_beside_those_of_the_node() {
    let world = World::new().await;
    world.ask_as("read", "GET", "/v1/voters", None).await;
    let answer = world.ask_as("read", "GET", "/metrics", None).await;
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    for line in [
        "convoke_members 1",
        "convoke_http_requests_total{operation=\"getVoters\",status=\"200\"} 1",
        "convoke_http_streams 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
