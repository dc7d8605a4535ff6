//! Who may talk to whom, through whole endpoints: certificates that end, are renewed, are not ours or were never shown, and
//! nodes and issuers that the cluster took its trust from.
//!
//! What makes a certificate valid is tested where it is decided, in `identity/trust.rs`. Random bytes come from a printed seed:
//! `CONVOKE_SEED=… cargo test -p convoke-rpc --test identity` replays them.
mod world;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use convoke_rpc::identity::{
    Development, Identity, Issuer, NodeKey, Trust, TrustBundle, Validity, tls,
};
use convoke_rpc::{
    CallError, Changed, Channel, ChannelConfig, CloseCode, CloseReason, Code, ConnectError,
    Context, Endpoint, Limits, Link, NoError, NodeId, Problem, Protocol, Role, RoleSet, Server,
    Side, Target, every_member, service,
};
use convoke_types::Timestamp;
use convoke_types::wire::rpc::OPEN_CREDENTIAL;
use tokio::task::JoinSet;
use world::{Carrier, PATIENCE, World, until};

#[service]
trait Guarded {
    async fn open_to_all(&self) -> Result<u32, NoError>;
    #[rpc(roles(master))]
    async fn for_masters(&self) -> Result<u32, NoError>;
    #[rpc(roles(master))]
    async fn many_for_masters(&self) -> Result<convoke_rpc::Streaming<u32>, NoError>;
    async fn wait(&self) -> Result<u32, NoError>;
    /// Until when the caller's certificate counts, as the server knows it.
    async fn until_when(&self, ctx: &Context) -> Result<u64, NoError>;
}

#[derive(Default)]
struct Guards {
    waiting: AtomicUsize,
}

#[derive(Clone, Default)]
struct Shared(Arc<Guards>);

impl Guarded for Shared {
    async fn open_to_all(&self) -> Result<u32, NoError> {
        Ok(7)
    }

    async fn for_masters(&self) -> Result<u32, NoError> {
        Ok(8)
    }

    async fn many_for_masters(&self) -> Result<convoke_rpc::Streaming<u32>, NoError> {
        Ok(vec![1, 2].into())
    }

    async fn wait(&self) -> Result<u32, NoError> {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn until_when(&self, ctx: &Context) -> Result<u64, NoError> {
        Ok(seconds(ctx.claims().not_after))
    }
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::UNIX_EPOCH + since_1970.expect("a clock after 1970")
}

fn seconds(time: Timestamp) -> u64 {
    time.since(Timestamp::UNIX_EPOCH).as_secs()
}

fn world(carrier: Carrier) -> (World, Shared) {
    let guards = Shared::default();
    let world = World::serving(carrier, |server| {
        server.service(GuardedServer::new(guards.clone()))
    });
    (world, guards)
}

fn channel(from: &Endpoint, world: &World) -> Channel {
    Channel::new(from, world.target(), ChannelConfig::default())
}

/// What a call from this endpoint comes to when it must not come to an answer.
async fn refused(from: &Endpoint, to: impl Into<Target>) -> Problem {
    let client = GuardedClient::new(Channel::new(from, to, ChannelConfig::default()));
    problem(client.open_to_all().await)
}

fn problem<T: std::fmt::Debug>(result: Result<T, CallError<NoError>>) -> Problem {
    match result {
        Err(CallError::Rpc(problem)) => problem,
        other => panic!("a problem was expected, not {other:?}"),
    }
}

async fn closed(link: &Link) -> CloseReason {
    tokio::time::timeout(PATIENCE, link.closed())
        .await
        .expect("the link ends")
}

/// One with an issuer of its own, in the same cluster.
fn second_issuer(cluster: &Development) -> Issuer {
    Issuer::generate(cluster.cluster(), Validity::for_issuer(now())).unwrap()
}

fn identity_from(issuer: &Issuer, roles: RoleSet, validity: Validity) -> Identity {
    let key = NodeKey::generate();
    let certificate = issuer.issue(key.node_id(), roles, validity).unwrap();
    Identity::new(key, certificate).unwrap()
}

// ---- Certificates that end ------------------------------------------------------------------------------------------------

async fn a_certificate_that_ends_ends_its_link(carrier: Carrier) {
    let (world, guards) = world(carrier);
    let mut listener = world.host.listen(Protocol::Gossip, every_member()).unwrap();
    let short = Validity::for_node(now()).with_lifetime(Duration::from_secs(2));
    let brief = world.cluster.identity_with(Role::Gateway.into(), short);
    let guest = world
        .carrier
        .endpoint_as(brief, &world.cluster, Limits::default());
    let near = guest
        .connect(world.target().addresses[0], None, Protocol::Gossip)
        .await
        .unwrap();
    let far = listener.accept().await.unwrap();
    let client = GuardedClient::new(channel(&guest, &world));
    let well = GuardedClient::new(world.channel());
    assert_eq!(well.open_to_all().await, Ok(7));

    let ended = problem(client.wait().await);
    assert_eq!(guards.0.waiting.load(Ordering::SeqCst), 1);
    assert_eq!(
        (ended.code, ended.changed),
        (Code::Unauthenticated, Changed::Maybe),
        "{ended}"
    );
    assert!(ended.message().contains("expired"), "{ended}");
    for (link, by) in [(&far, Side::Us), (&near, Side::Peer)] {
        let reason = closed(link).await;
        assert_eq!(
            (reason.by, reason.code),
            (by, CloseCode::Expired),
            "{reason}"
        );
        assert!(reason.detail.contains("expired"), "{reason}");
    }
    // Nothing opens with it any more, and nobody else is concerned.
    let again = refused(&guest, world.target()).await;
    assert_eq!(
        (again.code, again.changed),
        (Code::Unauthenticated, Changed::No),
        "{again}"
    );
    assert_eq!(well.open_to_all().await, Ok(7));
    assert_eq!(world.server.links(), 1);
    guest.close().await;
    world.end().await;
}

async fn an_expired_certificate_opens_nothing_in_either_direction(carrier: Carrier) {
    let (world, _) = world(carrier);
    let two_days_ago = Validity::for_node(now() - Duration::from_secs(2 * 24 * 3_600));
    let expired = world
        .cluster
        .identity_with(Role::Worker.into(), two_days_ago);
    let late = world
        .carrier
        .endpoint_as(expired, &world.cluster, Limits::default());
    let problem = refused(&late, world.target()).await;
    assert_eq!(
        (problem.code, problem.changed),
        (Code::Unauthenticated, Changed::No),
        "{problem}"
    );
    assert!(problem.message().contains("expired"), "{problem}");

    let server = Server::builder()
        .service(GuardedServer::new(Shared::default()))
        .serve(&late)
        .unwrap();
    let problem = refused(&world.client, late.local_address().unwrap()).await;
    assert_eq!(
        (problem.code, problem.changed),
        (Code::Unauthenticated, Changed::No),
        "{problem}"
    );
    assert!(problem.message().contains("expired"), "{problem}");
    until("nobody is served", || {
        (world.server.links(), server.links()) == (0, 0)
    })
    .await;
    drop(server);
    late.close().await;
    world.end().await;
}

// ---- Strangers ------------------------------------------------------------------------------------------------------------

async fn nodes_of_other_clusters_and_issuers_are_strangers(carrier: Carrier) {
    let (world, _) = world(carrier);
    let elsewhere = Development::new();
    let usurper = second_issuer(&world.cluster);
    let trust_in = |issuer: &Issuer| {
        Trust::new(
            TrustBundle::new(issuer.cluster(), vec![issuer.certificate().clone()], []).unwrap(),
        )
    };
    // Each believes in the one it calls, so that only the callee can object; then the other way round.
    let strangers = [
        (
            elsewhere.identity(RoleSet::ALL),
            elsewhere.trust(),
            &["cluster"][..],
        ),
        (
            identity_from(&usurper, RoleSet::ALL, Validity::for_node(now())),
            trust_in(&usurper),
            &["issuer"][..],
        ),
    ];
    for (identity, their_trust, words) in strangers {
        let says = |problem: &Problem| {
            let known = matches!(problem.code, Code::Unauthenticated | Code::Forbidden);
            assert!(known && problem.changed == Changed::No, "{problem}");
            assert!(
                words.iter().all(|word| problem.message().contains(word)),
                "{problem}"
            );
        };
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let trusting = world.carrier.endpoint_at(
            anywhere,
            identity.clone(),
            world.cluster.trust(),
            Limits::default(),
        );
        let trusting = trusting.unwrap();
        says(&refused(&trusting, world.target()).await);
        let wary = world
            .carrier
            .endpoint_at(anywhere, identity, their_trust, Limits::default())
            .unwrap();
        says(&refused(&wary, world.target()).await);
        let error = wary
            .connect(world.target().addresses[0], None, Protocol::Rpc)
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::Peer { .. }), "{error:?}");
        trusting.close().await;
        wary.close().await;
    }
    assert_eq!(world.server.links(), 0);
    world.end().await;
}

async fn nobody_is_somebody_else(carrier: Carrier) {
    let (world, _) = world(carrier);
    let other = NodeKey::generate().node_id();
    let problem = refused(
        &world.client,
        Target {
            node: Some(other),
            ..world.target()
        },
    )
    .await;
    assert_eq!(
        (problem.code, problem.changed),
        (Code::Unauthenticated, Changed::No),
        "{problem}"
    );
    let names_both = |id: NodeId| problem.message().contains(&id.to_string());
    assert!(
        names_both(other) && names_both(world.host.identity().node_id()),
        "{problem}"
    );
    world.end().await;
}

// ---- Trust that is withdrawn ----------------------------------------------------------------------------------------------

async fn a_forgotten_node_loses_its_links_and_gets_no_new_ones(carrier: Carrier) {
    let (world, guards) = world(carrier);
    let mut listener = world.host.listen(Protocol::Gossip, every_member()).unwrap();
    let other = world
        .carrier
        .endpoint(&world.cluster, Role::Gateway.into(), Limits::default());
    let well = GuardedClient::new(channel(&other, &world));
    assert_eq!(well.open_to_all().await, Ok(7));
    let near = world
        .client
        .connect(world.target().addresses[0], None, Protocol::Gossip)
        .await
        .unwrap();
    let far = listener.accept().await.unwrap();
    let client = GuardedClient::new(world.channel());

    let forgets = async {
        until("the call is under way", || {
            guards.0.waiting.load(Ordering::SeqCst) == 1
        })
        .await;
        let issuers = vec![world.cluster.issuer().certificate().clone()];
        let node = world.client.identity().node_id();
        world
            .cluster
            .trust()
            .update(TrustBundle::new(world.cluster.cluster(), issuers, [node]).unwrap())
            .unwrap();
    };
    let (answer, ()) = tokio::join!(client.wait(), forgets);
    let ended = problem(answer);
    assert_eq!(
        (ended.code, ended.changed),
        (Code::Forbidden, Changed::Maybe),
        "{ended}"
    );
    for (link, by) in [(&far, Side::Us), (&near, Side::Peer)] {
        let reason = closed(link).await;
        assert_eq!(
            (reason.by, reason.code),
            (by, CloseCode::Forgotten),
            "{reason}"
        );
        assert!(reason.detail.contains("forgotten"), "{reason}");
    }
    let again = refused(&world.client, world.target()).await;
    assert!(
        matches!(again.code, Code::Forbidden | Code::Unauthenticated),
        "{again}"
    );
    assert!(
        again.changed == Changed::No && again.message().contains("forgotten"),
        "{again}"
    );
    assert_eq!(
        well.open_to_all().await,
        Ok(7),
        "the others are still known"
    );
    other.close().await;
    world.end().await;
}

async fn an_issuer_that_is_taken_out_takes_its_nodes_along(carrier: Carrier) {
    let (world, _) = world(carrier);
    let (first, second) = (
        world.cluster.issuer().clone(),
        second_issuer(&world.cluster),
    );
    let bundle = |issuers: &[&Issuer]| {
        let issuers = issuers
            .iter()
            .map(|issuer| issuer.certificate().clone())
            .collect();
        TrustBundle::new(world.cluster.cluster(), issuers, []).unwrap()
    };
    world
        .cluster
        .trust()
        .update(bundle(&[&first, &second]))
        .unwrap();
    let identity = identity_from(&second, RoleSet::ALL, Validity::for_node(now()));
    let guest = world
        .carrier
        .endpoint_as(identity, &world.cluster, Limits::default());
    let link = guest
        .connect(world.target().addresses[0], None, Protocol::Rpc)
        .await
        .unwrap();
    let client = GuardedClient::new(channel(&guest, &world));
    assert_eq!(client.open_to_all().await, Ok(7));

    world.cluster.trust().update(bundle(&[&first])).unwrap();
    let reason = closed(&link).await;
    assert_eq!(
        (reason.by, reason.code),
        (Side::Peer, CloseCode::Forgotten),
        "{reason}"
    );
    // Links are cut one after the other, and the client has one of its own.
    let refused = async {
        loop {
            match client.open_to_all().await {
                Ok(_) => tokio::task::yield_now().await,
                refused => return problem(refused),
            }
        }
    };
    let problem = tokio::time::timeout(PATIENCE, refused).await;
    let problem = problem.expect("its calls are refused soon");
    assert!(
        matches!(problem.code, Code::Forbidden | Code::Unauthenticated),
        "{problem}"
    );
    assert!(problem.message().contains("issuer"), "{problem}");
    guest.close().await;
    world.end().await;
}

// ---- Renewals -------------------------------------------------------------------------------------------------------------

async fn a_renewal_under_load_is_noticed_by_no_call(carrier: Carrier) {
    let links = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&links);
    let world = World::serving(carrier, |server| {
        server
            .service(GuardedServer::new(Shared::default()))
            .admission(Arc::new(move |_, _| {
                counting.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }))
    });
    let short = Validity::for_node(now()).with_lifetime(Duration::from_secs(2));
    let identity = world.cluster.identity_with(Role::Gateway.into(), short);
    let guest = world
        .carrier
        .endpoint_as(identity.clone(), &world.cluster, Limits::default());
    let client = GuardedClient::new(channel(&guest, &world));
    let first_end = client.until_when().await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        calls.spawn(async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                client
                    .until_when()
                    .await
                    .expect("no call notices the renewal");
                count += 1;
            }
            count
        });
    }
    for days in 1..=3 {
        let longer =
            Validity::for_node(now()).with_lifetime(Duration::from_secs(days * 24 * 3_600));
        let renewed = world
            .cluster
            .issuer()
            .issue(identity.node_id(), Role::Gateway.into(), longer)
            .unwrap();
        let end = seconds(renewed.claims().not_after);
        identity.replace_certificate(renewed).unwrap();
        let arrived = async { while client.until_when().await.unwrap() != end {} };
        tokio::time::timeout(PATIENCE, arrived)
            .await
            .expect("the server learns of the renewal");
    }
    // The first certificate ends, and nobody cares.
    until("the first certificate is over", || {
        seconds(now()) > first_end + 1
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    while let Some(count) = calls.join_next().await {
        assert!(count.unwrap() > 0);
    }
    assert_eq!(links.load(Ordering::SeqCst), 1, "all over one link");
    assert_eq!(world.server.links(), 1);

    // A server renews, too.
    let before = guest.open_links();
    let host = world.host.identity();
    host.replace_certificate(
        world
            .cluster
            .certificate(host.node_id(), Role::Worker.into()),
    )
    .unwrap();
    assert_eq!(client.open_to_all().await, Ok(7));
    assert_eq!(guest.open_links(), before);
    guest.close().await;
    world.end().await;
}

async fn a_renewal_changes_what_its_node_may_do(carrier: Carrier) {
    let (world, _) = world(carrier);
    let client = GuardedClient::new(world.channel());
    assert_eq!(problem(client.for_masters().await).code, Code::Forbidden);
    let me = world.client.identity();
    me.replace_certificate(world.cluster.certificate(me.node_id(), Role::Master.into()))
        .unwrap();
    let promoted = async { while client.for_masters().await != Ok(8) {} };
    tokio::time::timeout(PATIENCE, promoted)
        .await
        .expect("the server learns of the new role");
    me.replace_certificate(
        world
            .cluster
            .certificate(me.node_id(), Role::Gateway.into()),
    )
    .unwrap();
    let demoted = async { while client.for_masters().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, demoted)
        .await
        .expect("the server learns that the role is gone");
    world.end().await;
}

async fn a_renewal_that_is_not_the_peers_own_cuts_the_link(carrier: Carrier) {
    let (world, guards) = world(carrier);
    let me = world.client.identity().node_id();
    let past = Validity::for_node(now() - Duration::from_secs(2 * 24 * 3_600));
    let expired = world
        .cluster
        .issuer()
        .issue(me, RoleSet::ALL, past)
        .unwrap();
    let usurped = second_issuer(&world.cluster)
        .issue(me, RoleSet::ALL, Validity::for_node(now()))
        .unwrap();
    let another = world.cluster.identity(RoleSet::ALL).certificate();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("another node's", another.to_wire(), "not node"),
        ("an expired one", expired.to_wire(), "expired"),
        ("one of an unknown issuer", usurped.to_wire(), "issuer"),
        (
            "garbage",
            b"certainly no certificate".to_vec(),
            "certificate",
        ),
        ("nothing", Vec::new(), "certificate"),
        ("one without end", vec![7; 100_000], "certificate"),
    ];
    for (round, (what, bytes, words)) in cases.into_iter().enumerate() {
        let link = world
            .client
            .connect(world.target().addresses[0], None, Protocol::Rpc)
            .await
            .unwrap();
        let client = GuardedClient::new(Channel::over(link.clone(), world.client.limits()));
        let shows = async {
            until("the call is under way", || {
                guards.0.waiting.load(Ordering::SeqCst) == round + 1
            })
            .await;
            let mut send = link.open_one_way().await.unwrap();
            let bytes = [&[OPEN_CREDENTIAL], bytes.as_slice()].concat();
            // The server may cut us off in the middle of it.
            let _ = send.write(Bytes::from(bytes)).await;
            send.finish();
        };
        let (answer, ()) = tokio::join!(client.wait(), shows);
        let ended = problem(answer);
        let reason = closed(&link).await;
        assert_eq!(reason.by, Side::Peer, "{what}: {reason}");
        assert!(reason.detail.contains(words), "{what}: {reason}");
        assert_eq!(
            ended.changed,
            Changed::Maybe,
            "{what}: the handler did run: {ended}"
        );
    }
    until("no handler is left", || world.server.running_calls() == 0).await;
    assert_eq!(
        GuardedClient::new(world.channel()).open_to_all().await,
        Ok(7),
        "others are not concerned"
    );
    world.end().await;
}

// ---- Roles ----------------------------------------------------------------------------------------------------------------

async fn a_method_is_for_the_roles_it_names(carrier: Carrier) {
    let (world, _) = world(carrier);
    let client = GuardedClient::new(world.channel());
    for refused in [
        problem(client.for_masters().await),
        problem(client.many_for_masters().await),
    ] {
        assert_eq!(
            (refused.code, refused.changed),
            (Code::Forbidden, Changed::No),
            "{refused}"
        );
        assert!(
            refused.message().contains("master") && refused.message().contains("gateway"),
            "{refused}"
        );
    }
    let roles = RoleSet::of(&[Role::Master, Role::Gateway]);
    let both = world
        .carrier
        .endpoint(&world.cluster, roles, Limits::default());
    let allowed = GuardedClient::new(channel(&both, &world));
    assert_eq!(allowed.for_masters().await, Ok(8));
    assert_eq!(
        allowed.many_for_masters().await.unwrap().next().await,
        Some(Ok(1))
    );
    let none = world
        .carrier
        .endpoint(&world.cluster, RoleSet::EMPTY, Limits::default());
    let nobody = GuardedClient::new(channel(&none, &world));
    assert_eq!(problem(nobody.for_masters().await).code, Code::Forbidden);
    both.close().await;
    none.close().await;
    world.end().await;
}

world::on_every_carrier!(
    a_certificate_that_ends_ends_its_link,
    an_expired_certificate_opens_nothing_in_either_direction,
    nodes_of_other_clusters_and_issuers_are_strangers,
    nobody_is_somebody_else,
    a_forgotten_node_loses_its_links_and_gets_no_new_ones,
    an_issuer_that_is_taken_out_takes_its_nodes_along,
    a_renewal_under_load_is_noticed_by_no_call,
    a_renewal_changes_what_its_node_may_do,
    a_renewal_that_is_not_the_peers_own_cuts_the_link,
    a_method_is_for_the_roles_it_names,
);

// ---- Callers that do not speak our language -------------------------------------------------------------------------------

#[tokio::test]
async fn who_shows_no_certificate_gets_nothing() {
    let (world, _) = world(Carrier::Quic);
    let mut tls = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    tls.alpn_protocols = vec![Protocol::Rpc.alpn().to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint
        .connect_with(config, world.target().addresses[0], "nobody.example")
        .unwrap();
    let error = match connecting.await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    let quinn::ConnectionError::ConnectionClosed(close) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        u64::from(close.error_code),
        0x100 + 116,
        "the alert certificate_required: {close}"
    );
    assert_eq!((world.server.links(), world.host.open_links()), (0, 0));
    world.end().await;
}

/// Believes everybody: it is the other side that is tested.
#[derive(Debug)]
struct Credulous;

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _leaf: &rustls::pki_types::CertificateDer<'_>,
        _rest: &[rustls::pki_types::CertificateDer<'_>],
        _name: &rustls::pki_types::ServerName<'_>,
        _ocsp: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &rustls::pki_types::CertificateDer<'_>,
        _signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _leaf: &rustls::pki_types::CertificateDer<'_>,
        _signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

#[tokio::test]
async fn garbage_at_the_port_does_no_harm() {
    let mut random = world::Random::from_environment("identity");
    let (world, _) = world(Carrier::Quic);
    let client = GuardedClient::new(world.channel());
    assert_eq!(client.open_to_all().await, Ok(7));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..2_000 {
        let mut datagram: Vec<u8> = (0..random.below(1_400))
            .map(|_| random.next() as u8)
            .collect();
        if round % 3 == 0 && datagram.len() > 20 {
            // As far as the first bytes go, the beginning of a handshake.
            datagram[0] |= 0xc0;
            datagram[1..6].copy_from_slice(&[0, 0, 0, 1, 8]);
        }
        socket
            .send_to(&datagram, world.target().addresses[0])
            .unwrap();
        if round % 200 == 0 {
            assert_eq!(client.open_to_all().await, Ok(7));
        }
    }
    assert_eq!(client.open_to_all().await, Ok(7));
    let fresh = GuardedClient::new(world.channel());
    assert_eq!(fresh.open_to_all().await, Ok(7));
    assert_eq!(world.server.links(), 2);
    world.end().await;
}
