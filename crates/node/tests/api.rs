//! The API of real nodes, over real sockets on loopback: what it answers, to whom, and what of it lasts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_node::api::ApiSettings;
use convoke_node::inspect::{InspectClient, Place, REACH_TIME};
use convoke_node::logs::{Record, Ring, Severity};
use convoke_node::node::{Belonging, Node, Settings};
use convoke_node::roles::ServiceName;
use convoke_node::supervisor::ServiceState;
use convoke_rpc::{Channel, ChannelConfig};
use convoke_types::Timestamp;
use convoke_web::Code;
use convoke_web::backend::{Condition, Consistency, Part};
use convoke_web::client::{Client, ClientError, Endpoint, Heard};
use convoke_web::model::{
    AuditOutcome, ConfigValue, CreateApiToken, CreateToken, Event, Level, NodeSummary,
    ProposalState, Propose, Role, RotateIssuer, Scope, SetDrain, SetRole, Status, Verdict, Vote,
};

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
const LINEARIZABLE: Consistency = Consistency::Linearizable;

struct World {
    place: tempfile::TempDir,
}

struct One {
    node: Node,
    ring: Arc<Ring>,
}

fn all() -> Part {
    Part {
        after: None,
        limit: 1_000,
    }
}

impl World {
    fn new() -> Self {
        Self {
            place: tempfile::tempdir().expect("there is room"),
        }
    }

    fn home(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn settings(&self, name: &str) -> Settings {
        Settings {
            params: convoke_driver::Params::local(),
            segment_bytes: 1 << 20,
            name: Some(name.to_owned()),
            recent: Some(Arc::new(Ring::new(100))),
            api: Some(ApiSettings {
                listen: Some(ANYWHERE.into()),
                rate: Some(10_000),
                ..ApiSettings::default()
            }),
            ..Settings::new(self.home(name), ANYWHERE.into())
        }
    }

    async fn found(&self) -> One {
        start(self.settings("first")).await
    }

    async fn join(&self, name: &str, token: &str) -> One {
        let mut settings = self.settings(name);
        settings.belonging = with_token(token);
        start(settings).await
    }

    /// Three masters that all vote.
    async fn three(&self) -> [One; 3] {
        let first = self.found().await;
        let token = first.token(None, 9).await;
        let second = self.join("second", &token).await;
        let third = self.join("third", &token).await;
        let three = [first, second, third];
        for one in &three {
            one.status_is("all is well, with three voters", |status| {
                let voters = status.voters.value.as_ref().map_or(0, Vec::len);
                status.healthy && voters == 3
            })
            .await;
        }
        three
    }
}

fn with_token(token: &str) -> Belonging {
    Belonging::Papers {
        token: Some(token.parse().expect("it is a token")),
        cluster_name: None,
        patience: Duration::from_secs(10),
    }
}

async fn start(settings: Settings) -> One {
    let ring = settings.recent.clone().expect("it keeps lines");
    let node = Node::start(settings).await.expect("it starts");
    let ready = tokio::time::timeout(PATIENCE, node.ready()).await;
    ready.expect("it is ready in time").expect("it is ready");
    let served = tokio::time::timeout(PATIENCE, node.api_served()).await;
    served.expect("its API is served");
    One { node, ring }
}

impl One {
    fn id(&self) -> String {
        self.node.id().to_string()
    }

    /// Whoever can open the socket in its directory.
    fn local(&self) -> Client {
        Client::new(Endpoint::Unix(self.node.api_socket()))
    }

    fn address(&self) -> SocketAddr {
        let url = self.node.api_address().expect("it is served");
        let address = url.strip_prefix("http://").expect("without TLS");
        address.parse().expect("an address")
    }

    fn with(&self, token: &str) -> Client {
        let client = Client::new(Endpoint::Tcp(self.address()));
        client.with_token(token).expect("a token")
    }

    async fn token(&self, roles: Option<Vec<Role>>, uses: u32) -> String {
        let what = CreateToken {
            roles,
            ttl_ms: None,
            uses: Some(uses),
        };
        let made = self.local().create_join_token(&what).await;
        made.expect("it is made").token
    }

    async fn key(&self, name: &str, scope: Scope) -> String {
        let what = CreateApiToken {
            name: name.to_owned(),
            scope,
            ttl_ms: None,
        };
        let made = self.local().create_api_token(&what).await;
        made.expect("it is made").token
    }

    async fn status_is(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.local().status().await.expect("it answers");
            if is_so(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited for: {what}\n{status:#?}");
            // tidy: a state of other tasks is waited for, with a deadline
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) {
        self.node.stop().await;
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Code {
    let error = answer.expect_err("it is refused");
    let problem = error.problem().unwrap_or_else(|| panic!("{error}"));
    problem.code
}

/// Times of the log are told as people's clocks have them.
fn is_about_now(unix_ms: u64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_millis();
    now.abs_diff(unix_ms.into()) < 60_000
}

fn codes(status: &Status) -> Vec<&str> {
    status.problems.iter().map(|it| &*it.code).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_healthy_until_a_voter_dies_and_then_it_says_which_one() {
    let world = World::new();
    let [first, second, third] = world.three().await;
    let status = first.local().status().await.expect("it answers");
    assert_eq!(status.members.value.expect("it is known").reachable, 3);
    assert!(status.leader.value.is_some() && status.leader.age_ms.is_some());
    let gone = third.node.id();
    third.stop().await;
    // It said goodbye, so it is left and not unreachable; a voter it is still, until another one takes its place.
    let status = first
        .status_is("the voter that is gone is missed", |status| {
            codes(status).contains(&"voter-missing")
        })
        .await;
    let problem = status.problems.iter().find(|it| it.code == "voter-missing");
    let problem = problem.expect("it was seen just now");
    assert!(
        problem.what.contains(&gone.short().to_string()),
        "{problem:?}"
    );
    assert!(
        problem.what.contains("2 of 3") && problem.what.contains("third"),
        "{problem:?}"
    );
    second.stop().await;
    let status = first
        .status_is("there is no majority", |status| {
            codes(status).contains(&"no-quorum")
        })
        .await;
    assert!(
        status.problems[0].what.contains("1 of 3 voters answer"),
        "{status:?}"
    );
    let answer = first.local().key(b"k", LINEARIZABLE).await;
    assert_eq!(refused(answer), Code::Unavailable);
    let voters = first
        .local()
        .voters(true)
        .await
        .expect("it knows who votes");
    assert_eq!(voters.voters.len(), 3);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_seen_from_each_other_with_services_certificates_and_doubts() {
    let world = World::new();
    let [first, second, third] = world.three().await;
    let page = first.local().nodes(&all()).await.expect("it answers");
    let names: Vec<_> = page.items.iter().filter_map(|it| it.name.clone()).collect();
    assert_eq!((page.items.len(), page.next), (3, None));
    assert!(names.contains(&"second".to_owned()), "{names:?}");
    for item in &page.items {
        assert_eq!(item.verdict.value, Some(Verdict::Reachable));
        assert_eq!(item.role.value, Some(Role::Master));
    }
    // In pieces it is the same list.
    let mut pieces: Vec<NodeSummary> = Vec::new();
    let mut after = None;
    loop {
        let part = Part { after, limit: 2 };
        let page = first.local().nodes(&part).await.expect("it answers");
        pieces.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let ids = |items: &[NodeSummary]| items.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&pieces), ids(&page.items));

    let other = first.local().node("second").await.expect("by its name");
    assert_eq!(other.summary.id, second.id());
    let services = other.services.value.expect("it says how its services do");
    assert!(services.iter().any(|it| it.name == "log" && it.ready));
    assert!(services.iter().any(|it| it.name == "api"));
    let certificate = other.certificate.value.expect("it says so");
    assert!(certificate.not_after_unix_ms > certificate.not_before_unix_ms);
    assert!(other.record.value.expect("it is enrolled").has_log);
    let (me, it) = (first.id(), second.id());
    assert!(
        other
            .phi
            .iter()
            .any(|doubt| doubt.observer == me && doubt.peer == it)
    );
    assert!(other.phi.iter().any(|doubt| doubt.observer == it));
    let by_id = first.local().node(&second.id()[..12]).await;
    assert_eq!(
        by_id.expect("by the beginning of its id").summary.id,
        second.id()
    );
    assert_eq!(refused(first.local().node("nobody").await), Code::NotFound);

    for (one, text) in [(&first, "of the first"), (&second, "of the second")] {
        for (level, message) in [(Severity::Debug, "quiet"), (Severity::Warn, text)] {
            one.ring.push(Arc::new(Record {
                time: Timestamp::from_unix_ms(7),
                level,
                target: "t".to_owned(),
                message: message.to_owned(),
                fields: Vec::new(),
                spans: Vec::new(),
            }));
        }
    }
    for (name, text) in [("first", "of the first"), ("second", "of the second")] {
        let page = first.local().logs(name, Level::Info, &all()).await;
        let page = page.expect("it is asked");
        let texts: Vec<_> = page.items.iter().map(|line| &*line.text).collect();
        assert_eq!((texts, page.missed), (vec![text], false));
    }
    // Who follows hears what comes, also of another node.
    let mut follow = first.local().follow_logs("second", Level::Info, None);
    follow.connect().await.expect("it is followed");
    second.ring.push(Arc::new(Record {
        time: Timestamp::from_unix_ms(8),
        level: Severity::Error,
        target: "t".to_owned(),
        message: "later".to_owned(),
        fields: Vec::new(),
        spans: Vec::new(),
    }));
    let heard = tokio::time::timeout(PATIENCE, follow.next()).await;
    let Ok(Ok(Heard::Item(line))) = heard else {
        panic!("{heard:?}");
    };
    assert_eq!((&*line.text, line.level), ("later", Level::Error));
    drop(follow);
    for node in [third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_written_on_conditions_and_the_audit_log_tells_who_did_what_from_where() {
    let world = World::new();
    let first = world.found().await;
    let key = first.key("ci", Scope::Operate).await;
    let client = first.with(&key);
    let put = |value: &'static [u8], only_if: Condition| {
        client.put_key(b"a/\xff", Bytes::from_static(value), only_if)
    };
    assert_eq!(
        refused(put(b"0", Condition::Present).await),
        Code::ConditionFailed
    );
    let made = put(b"1", Condition::Absent).await.expect("it is not there");
    assert_eq!(
        refused(put(b"2", Condition::Absent).await),
        Code::ConditionFailed
    );
    let wrong = Condition::Revision(made.revision + 1);
    assert_eq!(refused(put(b"2", wrong).await), Code::ConditionFailed);
    let swapped = put(b"2", Condition::Revision(made.revision))
        .await
        .expect("it was");
    assert!(swapped.revision > made.revision);
    put(b"3", Condition::Present).await.expect("it is there");
    let read = client
        .key(b"a/\xff", LINEARIZABLE)
        .await
        .expect("it is there");
    assert_eq!(read.value, Bytes::from_static(b"3"));
    let far = Consistency::AtLeast(1_000_000);
    assert_eq!(refused(client.key(b"a/\xff", far).await), Code::NotYet);
    let stale = client
        .key(b"a/\xff", Consistency::Stale)
        .await
        .expect("it is here");
    assert!(stale.age_ms.is_some());
    for number in 0..5 {
        let key = format!("list/{number}");
        let written = client.put_key(key.as_bytes(), Bytes::new(), Condition::Always);
        written.await.expect("it is written");
    }
    let part = Part {
        after: None,
        limit: 3,
    };
    let page = client
        .keys(b"list/", &part, LINEARIZABLE)
        .await
        .expect("a page");
    let part = Part {
        after: page.next,
        limit: 3,
    };
    let rest = client
        .keys(b"list/", &part, LINEARIZABLE)
        .await
        .expect("a page");
    assert_eq!(
        (page.items.len(), rest.items.len(), rest.next),
        (3, 2, None)
    );
    let nonsense = Part {
        after: Some("zzz".to_owned()),
        limit: 3,
    };
    let answer = client.keys(b"list/", &nonsense, LINEARIZABLE).await;
    assert_eq!(refused(answer), Code::BadParameter);
    let gone = client
        .delete_key(b"a/\xff", Condition::Always)
        .await
        .expect("it is gone");
    let again = client
        .delete_key(b"a/\xff", Condition::Always)
        .await
        .expect("nothing");
    assert!(gone.changed && !again.changed && again.revision >= gone.revision);
    assert_eq!(
        refused(client.key(b"a/\xff", LINEARIZABLE).await),
        Code::NotFound
    );

    let audit = first
        .local()
        .audit(&all())
        .await
        .expect("it is shown")
        .items;
    let of_ci: Vec<_> = audit.iter().filter(|entry| entry.who == "ci").collect();
    assert!(of_ci.len() >= 10, "{audit:#?}");
    assert!(
        of_ci
            .iter()
            .all(|entry| entry.from.starts_with("127.0.0.1:"))
    );
    assert!(of_ci.iter().all(|entry| entry.operation == "write-keys"));
    let making = of_ci
        .iter()
        .find(|entry| entry.revision == Some(made.revision));
    assert!(making.is_some_and(|entry| entry.outcome == AuditOutcome::Done));
    assert!(
        of_ci.iter().all(|entry| is_about_now(entry.unix_ms)),
        "{of_ci:#?}"
    );
    let maker = audit.iter().find(|entry| entry.operation == "invite");
    let maker = maker.expect("somebody made the token");
    assert!(
        maker.who.starts_with("local") && maker.from.starts_with("local"),
        "{maker:?}"
    );
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_is_proposed_and_voted_on_through_different_nodes() {
    let world = World::new();
    let [first, second, third] = world.three().await;
    let what = Propose {
        key: "cluster.name".to_owned(),
        value: Some(ConfigValue::Text("kitchen".to_owned())),
        expect_version: Some(0),
        rule: None,
        weights: None,
        voting_ms: None,
    };
    let made = first.local().propose(&what).await.expect("it is made");
    assert_eq!(
        (made.state, made.electorate.len()),
        (ProposalState::Open, 3)
    );
    assert_eq!(refused(first.local().propose(&what).await), Code::Conflict);
    let voted = second.local().vote(made.id, Vote { yes: true }).await;
    assert_eq!(voted.expect("it counts").state, ProposalState::Passed);
    let setting = third.local().setting("cluster.name", LINEARIZABLE).await;
    let setting = setting.expect("there is such a key").item;
    assert_eq!(setting.value, ConfigValue::Text("kitchen".to_owned()));
    let history = third.local().setting_history("cluster.name", &all()).await;
    assert_eq!(history.expect("it is kept").items[0].proposal, made.id);
    assert_eq!(
        refused(third.local().setting("no.such", LINEARIZABLE).await),
        Code::NotFound
    );
    let open = Propose {
        key: "voters.most".to_owned(),
        value: Some(ConfigValue::Number(3)),
        expect_version: None,
        ..what
    };
    let made = third.local().propose(&open).await.expect("it is made");
    assert_eq!(
        refused(first.local().withdraw(made.id).await),
        Code::Refused
    );
    let taken = third
        .local()
        .withdraw(made.id)
        .await
        .expect("by who made it");
    assert_eq!(taken.state, ProposalState::Withdrawn);
    let listed = first.local().proposals(&all()).await.expect("a page");
    assert_eq!(listed.items.len(), 2);
    for node in [third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_over_the_network_may_what_the_token_says_and_no_more() {
    let world = World::new();
    let first = world.found().await;
    let anybody = Client::new(Endpoint::Tcp(first.address()));
    assert!(anybody.health().await.expect("everybody may").ready);
    assert_eq!(refused(anybody.status().await), Code::Unauthenticated);
    let unknown = format!("cvkey1-{}-{}", "0".repeat(16), "0".repeat(64));
    assert_eq!(
        refused(first.with(&unknown).status().await),
        Code::Unauthenticated
    );
    let read = first.with(&first.key("reader", Scope::Read).await);
    let operate = first.with(&first.key("operator", Scope::Operate).await);
    let admin = first.with(&first.key("admin", Scope::Admin).await);
    for client in [&read, &operate, &admin] {
        client.status().await.expect("everybody may look");
    }
    let write = async |client: &Client| {
        let written = client.put_key(b"k", Bytes::new(), Condition::Always).await;
        written.map(|_| ())
    };
    assert_eq!(refused(write(&read).await), Code::Forbidden);
    write(&operate).await.expect("it may");
    assert_eq!(refused(operate.api_tokens(&all()).await), Code::Forbidden);
    let tokens = admin.api_tokens(&all()).await.expect("it may").items;
    assert_eq!(tokens.len(), 3);
    // A secret that is wrong by one digit is as good as none.
    let right = first.key("fourth", Scope::Admin).await;
    let mut wrong = right.clone();
    let last = wrong.pop().expect("it has digits");
    wrong.push(if last == '0' { '1' } else { '0' });
    assert_eq!(
        refused(first.with(&wrong).status().await),
        Code::Unauthenticated
    );
    first
        .with(&right)
        .status()
        .await
        .expect("the right one counts");
    let operator = tokens
        .iter()
        .find(|it| it.name == "operator")
        .expect("it is listed");
    admin
        .revoke_api_token(&operator.id)
        .await
        .expect("it is revoked");
    assert_eq!(refused(write(&operate).await), Code::Unauthenticated);
    assert_eq!(
        refused(admin.revoke_api_token("nonsense").await),
        Code::NotFound
    );

    let url = first.node.login_url().expect("there is chance");
    let url = url.expect("it is served");
    let (_, once) = url.split_once("/#login=").expect("a token");
    let session = anybody.log_in(once).await.expect("it counts");
    assert_eq!(session.scope, Scope::Admin);
    assert_eq!(
        refused(anybody.log_in(once).await),
        Code::Unauthenticated,
        "once"
    );
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_role_forbids_is_forbidden_whoever_asks_that_node() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(Some(vec![Role::Worker]), 1).await;
    let worker = world.join("worker", &token).await;
    let written = worker
        .local()
        .put_key(b"k", Bytes::new(), Condition::Always)
        .await;
    written.expect("workers write keys");
    let what = CreateToken {
        roles: None,
        ttl_ms: None,
        uses: None,
    };
    let error = worker
        .local()
        .create_join_token(&what)
        .await
        .expect_err("it may not");
    let problem = error.problem().expect("it says why");
    assert_eq!(problem.code, Code::Forbidden);
    assert!(
        problem.detail.contains("may not make tokens and keys"),
        "{problem:?}"
    );
    let tokens = first
        .local()
        .join_tokens(&all())
        .await
        .expect("a page")
        .items;
    assert_eq!((tokens.len(), tokens[0].uses_left), (1, 0));
    assert!(
        is_about_now(tokens[0].until_unix_ms - 3_600_000),
        "{tokens:?}"
    );
    // A token made so is revoked so.
    first
        .local()
        .revoke_join_token(&tokens[0].id)
        .await
        .expect("it is");
    assert_eq!(
        refused(first.local().revoke_join_token(&tokens[0].id).await),
        Code::NotFound
    );
    for node in [worker, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_log_answers_at_its_socket_alone_from_what_others_have() {
    let world = World::new();
    let first = world.found().await;
    let written = first
        .local()
        .put_key(b"k", Bytes::from_static(b"v"), Condition::Always)
        .await;
    let revision = written.expect("it is written").revision;
    let token = first.token(Some(vec![Role::Leecher]), 1).await;
    let mut settings = world.settings("leecher");
    settings.belonging = with_token(&token);
    let ring = settings.recent.clone().expect("it keeps lines");
    let node = Node::start(settings).await.expect("it starts");
    let ready = tokio::time::timeout(PATIENCE, node.ready()).await;
    ready.expect("in time").expect("it is ready");
    // A node is ready before its API, should that take longer; and this one has none on the network, for which others wait.
    let mut overview = node.overview();
    let served = overview.wait_for(|seen| {
        let mut services = seen.services.iter();
        services.any(|it| it.service == ServiceName::Api && it.state == ServiceState::Ready)
    });
    let served = tokio::time::timeout(PATIENCE, served).await;
    served.expect("in time").expect("it lives");
    let leecher = One { node, ring };
    let status = leecher
        .status_is("all is well, and it is known who leads", |status| {
            status.healthy && status.leader.value.is_some()
        })
        .await;
    assert_eq!(status.role.value, Some(Role::Leecher));
    assert_eq!(status.applied.value, None, "it applies nothing");
    assert_eq!(status.voters.value, Some(vec![first.id()]));
    assert_eq!(
        leecher.node.api_address(),
        None,
        "its network is not served"
    );
    let local = leecher.local();
    for how in [LINEARIZABLE, Consistency::AtLeast(revision)] {
        let read = local.key(b"k", how).await.expect("others have it");
        assert_eq!(read.value, Bytes::from_static(b"v"));
    }
    let far = Consistency::AtLeast(1_000_000);
    assert_eq!(refused(local.key(b"k", far).await), Code::NotYet);
    let answer = local.put_key(b"k", Bytes::new(), Condition::Always).await;
    assert_eq!(refused(answer), Code::Forbidden);
    assert_eq!(local.nodes(&all()).await.expect("a page").items.len(), 2);
    assert_eq!(
        local
            .voters(true)
            .await
            .expect("the leader says")
            .voters
            .len(),
        1
    );
    // Leechers ask nobody how it does, and everybody may ask them.
    let other = local.node("first").await.expect("it is known");
    assert_eq!(other.services.value, None);
    let seen = first.local().node("leecher").await.expect("it is known");
    assert!(seen.services.value.is_some());
    let mut follow = local.follow_events(None);
    follow.connect().await.expect("it is followed");
    first.token(None, 1).await;
    hear(&mut follow, "tokens-changed").await;
    drop(follow);
    local.metrics().await.expect("it counts");
    for node in [leecher, first] {
        node.stop().await;
    }
}

async fn hear(follow: &mut convoke_web::client::Follow<Event>, name: &str) -> Event {
    let hearing = async {
        loop {
            match follow.next().await.expect("it is told") {
                Heard::Item(event) if event.name == name => return event,
                Heard::Item(_) | Heard::Resync => {}
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, hearing).await;
    heard.unwrap_or_else(|_| panic!("waited for {name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_where_a_reader_left_off_and_another_life_is_told() {
    let world = World::new();
    let first = world.found().await;
    let mut follow = first.local().follow_events(None);
    follow.connect().await.expect("it is followed");
    let token = first.token(None, 1).await;
    let told = hear(&mut follow, "tokens-changed").await;
    assert!(told.revision.is_some());
    let cursor = told.cursor;
    drop(follow);
    // While nobody listened.
    let second = world.join("second", &token).await;
    first
        .status_is("it is seen", |status| {
            status
                .members
                .value
                .is_some_and(|members| members.reachable == 2)
        })
        .await;
    let drain = SetDrain { drain: true };
    first
        .local()
        .set_drain("second", drain)
        .await
        .expect("it is decided");
    let mut follow = first.local().follow_events(Some(cursor.clone()));
    let enrolled = hear(&mut follow, "node-enrolled").await;
    assert_eq!(enrolled.node, Some(second.id()));
    let drained = hear(&mut follow, "node-drained").await;
    assert_eq!(drained.node, Some(second.id()));
    drop(follow);
    let part = Part {
        after: None,
        limit: 1_000,
    };
    let page = first.local().events(&part).await.expect("a page");
    assert!(
        page.items
            .iter()
            .any(|event| event.name == "leader-changed"),
        "{page:#?}"
    );
    assert!(page.items.iter().any(|event| event.name == "node-joined"));
    assert!(!page.missed);
    let settings = first.node.settings().clone();
    let listen = first.node.address();
    first.stop().await;
    let again = start(Settings { listen, ..settings }).await;
    let part = Part {
        after: Some(cursor),
        limit: 10,
    };
    let page = again.local().events(&part).await.expect("a page");
    assert!(page.missed, "the cursor is of another life");
    for node in [second, again] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_as_prometheus_reads_them() {
    let world = World::new();
    let first = world.found().await;
    let text = first.local().metrics().await.expect("it counts");
    let mut typed = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned()), "twice: {line}");
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let name = series.split('{').next().expect("a name");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|it| typed.contains(*it)))
            .unwrap_or(name);
        assert!(typed.contains(family), "{line} has no type");
        assert!(series.is_ascii() && name.starts_with("convoke_"), "{line}");
    }
    for wanted in [
        "convoke_log_is_leader 1",
        "convoke_log_voters 1",
        "convoke_store_nodes 1",
        "convoke_ready 1",
        "convoke_service_ready{service=\"api\"} 1",
    ] {
        assert!(
            text.lines().any(|line| line == wanted),
            "no {wanted}\n{text}"
        );
    }
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuers_are_changed_everywhere_and_a_forgotten_node_is_out() {
    let world = World::new();
    let [first, second, third] = world.three().await;
    let active = async || -> Vec<(Option<String>, String)> {
        let page = first.local().issuers(&all()).await.expect("a page");
        let signing = page
            .items
            .into_iter()
            .filter(|it| it.until_unix_ms.is_none());
        let mut signing: Vec<_> = signing.map(|it| (it.node, it.fingerprint)).collect();
        signing.sort();
        signing
    };
    first
        .status_is("all three sign", |_| {
            first.node.trust().current().issuers().len() == 3
        })
        .await;
    let before = active().await;
    assert_eq!(before.len(), 3);
    let everywhere = RotateIssuer { node: None };
    first
        .local()
        .rotate_issuer(&everywhere)
        .await
        .expect("all have new ones");
    let after = active().await;
    assert_eq!(after.len(), 3);
    assert!(
        after.iter().all(|one| !before.contains(one)),
        "{before:?} {after:?}"
    );
    let audit = first
        .local()
        .audit(&all())
        .await
        .expect("it is shown")
        .items;
    let of_second = second.node.id().short().to_string();
    assert!(
        audit.iter().any(|entry| entry.operation == "admit"
            && entry.who.starts_with("local")
            && entry.from.contains(&of_second)),
        "it is known on whose behalf others did it: {audit:#?}"
    );

    let set = SetRole { role: Role::Worker };
    second
        .local()
        .set_role("third", set)
        .await
        .expect("it is decided");
    third
        .status_is("it has the role", |status| {
            status.role.value == Some(Role::Worker)
        })
        .await;
    first.local().forget("third").await.expect("it is decided");
    let ended = tokio::time::timeout(PATIENCE, third.node.ended()).await;
    let why = ended.expect("it ends by itself").to_string();
    assert!(why.contains("forgotten"), "{why}");
    assert_eq!(refused(first.local().forget("zzzz").await), Code::NotFound);
    for node in [second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_tell_each_other_how_they_do_and_whom_they_reach() {
    let world = World::new();
    let first = world.found().await;
    let token = first.token(None, 1).await;
    let second = world.join("second", &token).await;
    let channel = Channel::new(
        first.node.endpoint(),
        second.node.address(),
        ChannelConfig::default(),
    );
    let client = InspectClient::new(channel);
    let facts = client.facts().await.expect("it answers");
    assert_eq!(facts.name.as_deref(), Some("second"));
    assert!(is_about_now(facts.clock_unix_ms));
    let address = first.node.address();
    let reached = client.reach(&Place { address }).await.expect("it is there");
    assert_eq!(reached.node, first.node.id());
    // Somebody who speaks something else is nobody, and it is said within the time.
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = deaf.local_addr().expect("an address");
    let begun = Instant::now();
    let error = client
        .reach(&Place { address })
        .await
        .expect_err("nobody answers");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(begun.elapsed() < REACH_TIME + Duration::from_secs(2));
    // So often it may be asked, and no more.
    let mut refused = false;
    for _ in 0..30 {
        let address = first.node.address();
        if let Err(error) = client.reach(&Place { address }).await {
            refused |= error.to_string().contains("too often");
        }
    }
    assert!(refused);
    for node in [second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_said_and_the_socket_is_served_all_the_same() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let mut settings = world.settings("first");
    settings.api = Some(ApiSettings {
        listen: Some(address),
        ..ApiSettings::default()
    });
    // A socket that a dead process left is in nobody's way.
    std::fs::create_dir_all(world.home("first")).expect("there is room");
    let stale = world.home("first").join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).expect("a socket"));
    let ring = settings.recent.clone().expect("it keeps lines");
    let node = Node::start(settings).await.expect("it starts");
    node.ready()
        .await
        .expect("it is ready: it does not need that port");
    let one = One { node, ring };
    let deadline = Instant::now() + PATIENCE;
    while one.local().health().await.is_err() {
        assert!(Instant::now() < deadline, "the socket is served");
        // tidy: a state of other tasks is waited for, with a deadline
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = one
        .status_is("it is said", |status| {
            codes(status).contains(&"service-not-ready")
        })
        .await;
    let what = &status.problems[0].what;
    assert!(
        what.contains(&address.to_string()) && what.contains("api.listen"),
        "{what}"
    );
    drop(taken);
    let served = tokio::time::timeout(PATIENCE, one.node.api_served()).await;
    assert_eq!(
        served.expect("it is tried again"),
        format!("http://{address}")
    );
    one.status_is("all is well", |status| status.healthy).await;
    one.stop().await;
    assert!(!stale.exists(), "the socket goes with the node");
}
