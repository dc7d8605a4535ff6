//! The client against the server: what is asked comes there, and what is answered comes back.

use std::sync::Arc;

use bytes::Bytes;
use convoke_web::Code;
use convoke_web::backend::{Condition, Consistency, Part};
use convoke_web::client::{Client, ClientError, Endpoint};
use convoke_web::model::{ConfigValue, CreateApiToken, ProposalState, Propose, Scope, Vote};
use convoke_web::{Api, Listener, Server};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;
use crate::world::{World, generous};

const ALL: Part = Part {
    after: None,
    limit: 100,
};

fn code(error: &ClientError) -> Option<Code> {
    error.problem().map(|problem| problem.code)
}

#[tokio::test]
async fn keys_and_values_are_any_bytes_and_changes_are_conditional() {
    let world = World::new().await;
    let client = world.client("operate");
    let key: Vec<u8> = (0..=255).collect();
    let value = Bytes::from_static(b"\0\xff\r\n");
    let written = client
        .put_key(&key, value.clone(), Condition::Absent)
        .await
        .expect("written");
    let found = client
        .key(&key, Consistency::Linearizable)
        .await
        .expect("found");
    assert_eq!(
        (found.value, found.written, found.age_ms),
        (value, written.revision, Some(3))
    );

    for condition in [Condition::Absent, Condition::Revision(written.revision - 1)] {
        let error = client
            .put_key(&key, Bytes::new(), condition)
            .await
            .expect_err("refused");
        assert_eq!(code(&error), Some(Code::ConditionFailed));
    }
    client
        .put_key(&key, Bytes::new(), Condition::Revision(written.revision))
        .await
        .expect("written");
    let listed = client
        .keys(&[0, 1], &ALL, Consistency::Stale)
        .await
        .expect("a list")
        .items;
    assert_eq!((listed.len(), &*listed[0].value_base64), (1, ""));
    assert!(
        client
            .delete_key(&key, Condition::Present)
            .await
            .expect("removed")
            .changed
    );
    let error = client
        .key(&key, Consistency::Linearizable)
        .await
        .expect_err("gone");
    assert_eq!(code(&error), Some(Code::NotFound));
    let error = client
        .key(b"app/colour", Consistency::AtLeast(1_000))
        .await
        .expect_err("too new");
    assert_eq!(code(&error), Some(Code::NotYet));
}

#[tokio::test]
async fn a_proposal_is_made_voted_on_and_over() {
    let world = World::new().await;
    let client = world.local();
    let what = Propose {
        key: "app.colour".to_owned(),
        value: Some(ConfigValue::Number(7)),
        expect_version: None,
        rule: None,
        weights: None,
        voting_ms: Some(5_000),
    };
    let proposal = client.propose(&what).await.expect("proposed");
    let passed = client
        .vote(proposal.id, Vote { yes: true })
        .await
        .expect("voted");
    assert_eq!(passed.state, ProposalState::Passed);
    let error = client
        .vote(proposal.id, Vote { yes: true })
        .await
        .expect_err("over");
    assert_eq!(code(&error), Some(Code::Conflict));
    let found = client
        .proposal(proposal.id, Consistency::Linearizable)
        .await
        .expect("found");
    assert_eq!(found.item.value, Some(ConfigValue::Number(7)));
    let short = Propose {
        voting_ms: Some(5),
        ..what
    };
    assert_eq!(
        code(&client.propose(&short).await.expect_err("refused")),
        Some(Code::BadField)
    );
}

#[tokio::test]
async fn long_lists_come_in_pages_that_miss_nothing() {
    let world = World::new().await;
    let client = world.client("operate");
    for number in 0..25 {
        client
            .put_key(
                format!("p/{number:02}").as_bytes(),
                Bytes::new(),
                Condition::Always,
            )
            .await
            .expect("written");
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = client
            .keys(b"p/", &Part { after, limit: 10 }, Consistency::Stale)
            .await
            .expect("a page");
        seen.extend(page.items.into_iter().map(|entry| entry.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..25).map(|number| format!("p%2F{number:02}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_token_made_over_the_api_counts_until_it_is_revoked() {
    let world = World::new().await;
    let made = CreateApiToken {
        name: "grafana".to_owned(),
        scope: Scope::Read,
        ttl_ms: None,
    };
    let made = world.local().create_api_token(&made).await.expect("made");
    assert!(
        !format!("{made:?}").contains(&made.token),
        "secrets stay out of logs"
    );
    let client = world.client(&made.token);
    assert_eq!(client.session().await.expect("known").name, "grafana");
    client.metrics().await.expect("it may read");
    world
        .local()
        .revoke_api_token(&made.id)
        .await
        .expect("revoked");
    assert_eq!(
        code(&client.status().await.expect_err("refused")),
        Some(Code::Unauthenticated)
    );
}

#[tokio::test]
async fn whoever_is_not_there_or_is_no_node_is_told_apart() {
    let nobody = Client::new(Endpoint::Unix("/nowhere/api.sock".into()));
    assert!(matches!(
        nobody.health().await,
        Err(ClientError::Unreachable { .. })
    ));
    assert!(matches!(
        nobody.clone().with_token("a\nb"),
        Err(ClientError::Unaskable(_))
    ));
    assert!(matches!(
        nobody.get::<()>("no path\u{7}").await,
        Err(ClientError::Unreachable { .. } | ClientError::Unaskable(_))
    ));
}

#[tokio::test]
async fn who_sends_a_client_elsewhere_is_not_obeyed() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let elsewhere = World::new().await;
    let location = format!("http://{}/v1/health", elsewhere.address);
    let serving = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4_096]);
        let answer =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).expect("written");
    });
    let asked = Client::new(Endpoint::Tcp(address)).health().await;
    assert!(
        matches!(asked, Err(ClientError::Strange { status: 302, .. })),
        "{asked:?}"
    );
    serving.await.expect("no panic");
}

#[tokio::test]
async fn over_tls_the_server_is_checked_and_its_name_is_taken_as_host() {
    let made =
        rcgen::generate_simple_self_signed(vec!["node.example".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let trusting = |certificate: Option<&rcgen::Certificate>| {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(certificate) = certificate {
            roots.add(certificate.der().clone()).expect("a root");
        }
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    };
    let mut settings = generous();
    settings.hosts.push("node.example".to_owned());
    let api = Api::new(Arc::new(Memory::new()), &settings).expect("an API");
    let listener = Listener::network(([127, 0, 0, 1], 0).into(), Some(Arc::new(server)))
        .await
        .expect("a port");
    let address = listener.address().expect("an address");
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(Server::new(api, vec![listener]).run(stop.clone()));

    let client = |config| {
        let endpoint = Endpoint::Tls {
            address,
            name: "node.example".to_owned(),
            config,
        };
        Client::new(endpoint).with_token("admin").expect("a token")
    };
    let status = client(trusting(Some(&made.cert)))
        .status()
        .await
        .expect("answered");
    assert_eq!(status.node_id, "node-a");
    let distrusting = client(trusting(None)).status().await;
    assert!(
        matches!(distrusting, Err(ClientError::Unreachable { .. })),
        "{distrusting:?}"
    );
    stop.cancel();
    running
        .join_next()
        .await
        .expect("it ends")
        .expect("no panic");
}
