//! A cluster in memory with something of every kind in it: the backend that the pages are tried with.
//!
//! What it says of itself is made up, and some of it is what nobody should say: markup, control characters, text that turns around.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use convoke_types::RoleSet;
use convoke_web::backend::{
    Backend, Caller, Condition, Consistency, KeyRead, Part, Principal, Reading, Reply, RpcAnswer,
    RpcCall, Start,
};
use convoke_web::model::*;
use convoke_web::text::{base64_encode, percent_encode};
use convoke_web::{Code, Fault};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What a node should not be called.
pub(crate) const MARKUP: &str = "<img src=x onerror=\"document.title='taken'\">";
/// What it should not say: an escape, a turn of direction, something unseen.
pub(crate) const TRICKS: &str = "\u{1b}[31mred \u{202e}desrever\u{202c} zero\u{200b}width";

const NAMES: [&str; 7] = [
    "kitchen", "cellar", "attic", "garage", "office", "shed", "loft",
];

#[derive(Debug)]
pub(crate) struct Cluster {
    state: Mutex<State>,
    happened: watch::Sender<u64>,
    logins: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    is_healthy: bool,
    logins: BTreeMap<String, Scope>,
    tokens: BTreeMap<String, Scope>,
    nodes: BTreeMap<String, NodeSummary>,
    events: Vec<Event>,
    audit: Vec<AuditEntry>,
    keys: BTreeMap<Vec<u8>, (Bytes, u64)>,
    settings: BTreeMap<String, Setting>,
    proposals: BTreeMap<u64, Proposal>,
    join_tokens: BTreeMap<String, JoinToken>,
    api_tokens: BTreeMap<String, ApiToken>,
}

/// The id of the node of this number.
pub(crate) fn id(number: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letters = (0..52).map(|_| {
        mixed = mixed.rotate_left(7).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        char::from(LETTERS[(mixed >> 59) as usize])
    });
    letters.collect()
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

impl Cluster {
    /// Seven nodes and some trouble.
    pub(crate) fn small() -> Self {
        let cluster = Self::of(NAMES.iter().map(|name| (*name).to_owned()));
        cluster.fill();
        cluster
    }

    /// So many nodes, all well.
    pub(crate) fn large(count: usize) -> Self {
        let name = |number| format!("rack-{:02}-{:02}", number / 40, number % 40);
        let cluster = Self::of((0..count).map(name));
        cluster.state.lock().is_healthy = true;
        cluster
    }

    fn of(names: impl Iterator<Item = String>) -> Self {
        let mut state = State {
            revision: 4_711,
            ..State::default()
        };
        for (number, name) in names.enumerate() {
            let node = summary(number, name);
            state.nodes.insert(node.id.clone(), node);
        }
        Self {
            state: Mutex::new(state),
            happened: watch::Sender::new(0),
            logins: AtomicU64::new(0),
        }
    }

    fn fill(&self) {
        let now = now_ms();
        for (minutes, kind, name, node, text) in [
            (
                50,
                Kind::Observed,
                "node-joined",
                0,
                "kitchen is seen for the first time",
            ),
            (
                48,
                Kind::Decided,
                "node-enrolled",
                1,
                "cellar is enrolled as a master",
            ),
            (
                40,
                Kind::Observed,
                "node-joined",
                4,
                "office is seen for the first time",
            ),
            (
                31,
                Kind::Decided,
                "proposal-passed",
                0,
                "proposal 17 passed: app.colour holds \"blue\"",
            ),
            (
                9,
                Kind::Decided,
                "proposal-made",
                0,
                "proposal 18 was made: log.snapshot_entries",
            ),
            (
                4,
                Kind::Observed,
                "node-unreachable",
                5,
                "shed does not answer",
            ),
            (
                2,
                Kind::Observed,
                "node-failed",
                6,
                "loft has not answered for long, and counts as failed",
            ),
            (1, Kind::Observed, "node-updated", 3, TRICKS),
        ] {
            self.tell_at(now - minutes * 60_000, kind, name, Some(id(node)), text);
        }
        let mut state = self.state.lock();
        state.nodes.get_mut(&id(3)).expect("it is there").name = Some(MARKUP.to_owned());
        let bad = [
            (5, Verdict::Unreachable, 41_000),
            (6, Verdict::Failed, 190_000),
        ];
        for (number, verdict, age) in bad {
            state
                .nodes
                .get_mut(&id(number))
                .expect("it is there")
                .verdict = Stated::observed(verdict, Some(age));
        }
        for (number, (key, value)) in [
            (&b"app/colour"[..], &b"blue"[..]),
            (
                b"app/greeting",
                "Gr\u{fc}\u{df} Gott, \u{4e16}\u{754c}".as_bytes(),
            ),
            (
                b"app/limits.json",
                br#"{"requests_per_s": 200, "burst": 800}"#,
            ),
            (b"bin/\xff\x00key", b"\x00\x01\x02\xfe\xff"),
            (b"html/markup", MARKUP.as_bytes()),
            (b"empty", b""),
        ]
        .into_iter()
        .enumerate()
        {
            state.keys.insert(
                key.to_vec(),
                (Bytes::copy_from_slice(value), 4_000 + number as u64),
            );
        }
        for number in 0..240_u64 {
            state.keys.insert(
                format!("jobs/{number:04}").into_bytes(),
                (Bytes::from(format!("queued {number}")), 4_100 + number),
            );
        }
        for (key, value, version, what) in [
            (
                "log.snapshot_entries",
                ConfigValue::Number(50_000),
                0,
                "After how many entries a node makes a snapshot of its state.",
            ),
            (
                "membership.hold_ms",
                ConfigValue::Number(30_000),
                3,
                "How long a member stays unreachable before it counts as failed.",
            ),
            (
                "ownership.freeze",
                ConfigValue::Flag(true),
                0,
                "Whether ownership is frozen when many members go at once.",
            ),
            (
                "voters.most",
                ConfigValue::Number(5),
                1,
                "How many nodes vote at most.",
            ),
        ] {
            let revision = if version == 0 { 0 } else { 4_200 };
            let open = (key == "log.snapshot_entries").then_some(18);
            state.settings.insert(
                key.to_owned(),
                Setting {
                    key: key.to_owned(),
                    value,
                    version,
                    revision,
                    open_proposal: open,
                    description: Some(what.to_owned()),
                },
            );
        }
        let own = Setting {
            key: "app.colour".to_owned(),
            value: ConfigValue::Text("blue".to_owned()),
            version: 2,
            revision: 4_300,
            open_proposal: None,
            description: None,
        };
        state.settings.insert(own.key.clone(), own);
        let ballots = |votes: [Option<bool>; 3]| {
            votes
                .iter()
                .enumerate()
                .map(|(number, yes)| Ballot {
                    node: id(number),
                    yes: *yes,
                })
                .collect::<Vec<_>>()
        };
        for (number, key, value, votes, how) in [
            (
                16,
                "voters.most",
                Some(ConfigValue::Number(9)),
                [Some(false), Some(false), None],
                ProposalState::Failed,
            ),
            (
                17,
                "app.colour",
                Some(ConfigValue::Text("blue".to_owned())),
                [Some(true), Some(true), None],
                ProposalState::Passed,
            ),
            (
                18,
                "log.snapshot_entries",
                Some(ConfigValue::Number(20_000)),
                [None, Some(true), None],
                ProposalState::Open,
            ),
            (
                19,
                "membership.hold_ms",
                None,
                [None, None, None],
                ProposalState::Open,
            ),
        ] {
            let passed = (how == ProposalState::Passed).then_some(2);
            state.proposals.insert(
                number,
                Proposal {
                    id: number,
                    key: key.to_owned(),
                    value,
                    rule: VotingRule::Majority,
                    proposer: id(1),
                    version: 1,
                    since_unix_ms: now - 540_000,
                    until_unix_ms: now + 3_600_000,
                    electorate: ballots(votes),
                    state: how,
                    passed_as_version: passed,
                },
            );
        }
        for (name, roles, uses) in [
            ("jt-7f3a", vec![Role::Worker], 5),
            ("jt-91cc", vec![Role::Master, Role::Worker], 1),
        ] {
            state.join_tokens.insert(
                name.to_owned(),
                JoinToken {
                    id: name.to_owned(),
                    roles,
                    uses_left: uses,
                    until_unix_ms: now + 1_800_000,
                    made_by: "local user 0".to_owned(),
                },
            );
        }
        for (token, name, scope, until) in [
            ("at-11", "grafana", Scope::Read, None),
            ("at-12", "deploy", Scope::Operate, Some(now + 86_400_000)),
        ] {
            state.api_tokens.insert(
                token.to_owned(),
                ApiToken {
                    id: token.to_owned(),
                    name: name.to_owned(),
                    scope,
                    until_unix_ms: until,
                    made_by: "login".to_owned(),
                },
            );
        }
        for (number, (operation, target, outcome)) in [
            ("createToken", "jt-7f3a", AuditOutcome::Done),
            ("putKey", "app%2Fcolour", AuditOutcome::Done),
            ("setNodeRole", "office", AuditOutcome::Done),
            ("forgetNode", "kitchen", AuditOutcome::Refused),
            ("propose", "log.snapshot_entries", AuditOutcome::Done),
        ]
        .into_iter()
        .enumerate()
        {
            let is_done = outcome == AuditOutcome::Done;
            state.audit.push(AuditEntry {
                id: number as u64,
                unix_ms: now - 3_000_000 + 400_000 * number as u64,
                who: if number % 2 == 0 {
                    "login".to_owned()
                } else {
                    "deploy".to_owned()
                },
                from: "127.0.0.1:51234, through node kitchen".to_owned(),
                operation: operation.to_owned(),
                target: target.to_owned(),
                revision: is_done.then_some(4_600 + number as u64),
                outcome,
                why: (!is_done).then(|| {
                    "a voter is not forgotten before another votes in its place".to_owned()
                }),
            });
        }
    }

    /// A one-time token for this scope.
    pub(crate) fn login(&self, scope: Scope) -> String {
        let number = self.logins.fetch_add(1, Ordering::Relaxed);
        let token = format!("cvlogin1-test-{number}");
        self.state.lock().logins.insert(token.clone(), scope);
        token
    }

    pub(crate) fn tell(&self, name: &str, node: Option<String>, text: &str) {
        self.tell_at(now_ms(), Kind::Observed, name, node, text);
    }

    fn tell_at(&self, unix_ms: u64, kind: Kind, name: &str, node: Option<String>, text: &str) {
        let mut state = self.state.lock();
        let revision = (kind == Kind::Decided).then_some(state.revision);
        let cursor = format!("life-{}", state.events.len());
        state.events.push(Event {
            cursor,
            unix_ms,
            kind,
            name: name.to_owned(),
            node,
            revision,
            text: text.to_owned(),
        });
        drop(state);
        self.happened.send_modify(|count| *count += 1);
    }

    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        state.is_healthy = true;
        for node in state.nodes.values_mut() {
            node.verdict = Stated::observed(Verdict::Reachable, Some(300));
        }
    }

    pub(crate) fn value_of(&self, key: &str) -> Option<Bytes> {
        let state = self.state.lock();
        state
            .keys
            .get(key.as_bytes())
            .map(|(value, _)| value.clone())
    }

    pub(crate) fn write(&self, key: &str, value: &str) {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        state.keys.insert(
            key.as_bytes().to_vec(),
            (Bytes::copy_from_slice(value.as_bytes()), revision),
        );
    }

    pub(crate) fn proposal_now(&self, number: u64) -> Option<Proposal> {
        self.state.lock().proposals.get(&number).cloned()
    }

    pub(crate) fn tokens_now(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let state = self.state.lock();
        (
            state.join_tokens.keys().cloned().collect(),
            state.api_tokens.keys().cloned().collect(),
        )
    }

    fn change(&self, by: &Caller, operation: &str, target: &str) -> u64 {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        let entry = AuditEntry {
            id: state.audit.len() as u64,
            unix_ms: now_ms(),
            who: by.principal.name.clone(),
            from: by.remote.to_string(),
            operation: operation.to_owned(),
            target: target.to_owned(),
            revision: Some(revision),
            outcome: AuditOutcome::Done,
            why: None,
        };
        state.audit.push(entry);
        revision
    }

    fn stamp(&self) -> Stamp {
        let revision = Some(self.state.lock().revision);
        Stamp {
            kind: Kind::Decided,
            revision,
            age_ms: Some(12),
        }
    }

    fn page<T>(&self, all: impl IntoIterator<Item = (String, T)>, part: &Part) -> Page<T> {
        let behind = |name: &String| part.after.as_ref().is_none_or(|after| name > after);
        let mut rest = all.into_iter().filter(|(name, _)| behind(name)).peekable();
        let taken: Vec<(String, T)> = rest.by_ref().take(part.limit as usize).collect();
        let more = rest.peek().is_some();
        let next = taken.last().map(|(name, _)| name.clone()).filter(|_| more);
        Page {
            items: taken.into_iter().map(|(_, item)| item).collect(),
            next,
            stamp: self.stamp(),
        }
    }

    fn known(&self, text: &str) -> Result<NodeSummary, Fault> {
        let state = self.state.lock();
        let found = state.nodes.values().find(|node| {
            node.id == text
                || node.name.as_deref() == Some(text)
                || (text.len() > 5 && node.id.starts_with(text))
        });
        found.cloned().ok_or_else(|| {
            Fault::not_found(format!("there is no node {text:?}"))
                .advise("`GET /v1/nodes` shows which there are")
        })
    }

    fn changed_node(
        &self,
        by: &Caller,
        operation: &str,
        text: &str,
        change: impl FnOnce(&mut NodeSummary),
    ) -> Result<Changed, Fault> {
        let node = self.known(text)?;
        let revision = self.change(by, operation, &node.id);
        change(
            self.state
                .lock()
                .nodes
                .get_mut(&node.id)
                .expect("it was found"),
        );
        Ok(Changed {
            revision: Some(revision),
        })
    }

    fn read_events(&self, start: &Start, limit: u32) -> EventPage {
        let state = self.state.lock();
        let end = state.events.len();
        let wanted = match start {
            Start::Oldest => Some(0),
            Start::Now => Some(end),
            Start::After(cursor) => {
                let number = cursor
                    .strip_prefix("life-")
                    .and_then(|number| number.parse::<i64>().ok());
                number
                    .and_then(|number| usize::try_from(number + 1).ok())
                    .filter(|from| *from <= end)
            }
        };
        let from = wanted.unwrap_or(0);
        let items: Vec<Event> = state.events[from..]
            .iter()
            .take(limit as usize)
            .cloned()
            .collect();
        let next = items.last().map_or_else(
            || format!("life-{}", from as i64 - 1),
            |last| last.cursor.clone(),
        );
        EventPage {
            items,
            next,
            missed: wanted.is_none(),
            stamp: Stamp {
                kind: Kind::Observed,
                revision: None,
                age_ms: Some(0),
            },
        }
    }

    fn holds(&self, key: &[u8], only_if: Condition) -> Result<(), Fault> {
        let written = self.state.lock().keys.get(key).map(|(_, written)| *written);
        let holds = match only_if {
            Condition::Always => true,
            Condition::Absent => written.is_none(),
            Condition::Present => written.is_some(),
            Condition::Revision(revision) => written == Some(revision),
        };
        let why = written.map_or_else(
            || "the key is not there".to_owned(),
            |written| format!("the key was written last in r{written}"),
        );
        if holds {
            Ok(())
        } else {
            Err(Fault::new(Code::ConditionFailed, why)
                .advise("look at what it holds now, and decide again"))
        }
    }

    fn neighbours(&self, number: usize, count: usize) -> Vec<usize> {
        let steps = if count <= 11 {
            (1..count).collect()
        } else {
            vec![1, count - 1, 7, count - 7, 31 % count, count - 31 % count]
        };
        let mut found: Vec<usize> = steps
            .into_iter()
            .map(|step| (number + step) % count)
            .filter(|other| *other != number)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn summary(number: usize, name: String) -> NodeSummary {
    let role = match number {
        0..=2 => Role::Master,
        4 => Role::Gateway,
        _ if number % 9 == 8 => Role::Observer,
        _ => Role::Worker,
    };
    NodeSummary {
        id: id(number),
        name: Some(name),
        addresses: Stated::observed(
            vec![format!("10.0.{}.{}:4700", number / 250, number % 250 + 1)],
            Some(300),
        ),
        role: Stated::decided(role, Some(12)),
        role_seen: Stated::observed(role, Some(300)),
        verdict: Stated::observed(
            Verdict::Reachable,
            (number < 12).then_some(300 + 100 * number as u64),
        ),
        by_hand: Stated::decided(false, Some(3)),
        pinned: Stated::unknown(Kind::Decided),
        drained: Stated::decided(number == 3, Some(12)),
        version: Stated::observed("0.1.0".to_owned(), Some(300)),
    }
}

fn service(name: &str, state: ServiceState, ready: bool, error: Option<&str>) -> Service {
    let wanted = !matches!(state, ServiceState::Stopped);
    Service {
        name: name.to_owned(),
        wanted,
        state,
        ready,
        for_ms: Some(2_340_000),
        last_error: error.map(str::to_owned),
    }
}

fn services(is_healthy: bool) -> Vec<Service> {
    let api = if is_healthy {
        service("api", ServiceState::Running, true, None)
    } else {
        service(
            "executor",
            ServiceState::Failed,
            false,
            Some("open the queue: no space left on device; trying again in 4 s"),
        )
    };
    vec![
        service("custody", ServiceState::Running, true, None),
        service("gossip", ServiceState::Running, true, None),
        service("log", ServiceState::Running, true, None),
        service("planner", ServiceState::NotBuilt, false, None),
        api,
        service("gateway", ServiceState::Stopped, false, None),
    ]
}

fn soon<'a, T: Send + 'a>(value: Result<T, Fault>) -> Reply<'a, T> {
    Box::pin(std::future::ready(value))
}

fn principal(name: &str, scope: Scope) -> Principal {
    Principal {
        name: name.to_owned(),
        scope,
        roles: RoleSet::of(&[convoke_types::Role::Master]),
    }
}

impl Backend for Cluster {
    fn authenticate<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>> {
        let scope = self.state.lock().tokens.get(token).copied();
        soon(Ok(scope.map(|scope| principal("program", scope))))
    }
    fn redeem_login<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>> {
        let scope = self.state.lock().logins.remove(token);
        soon(Ok(scope.map(|scope| principal("login", scope))))
    }
    fn create_login<'a>(&'a self, _: &'a Caller) -> Reply<'a, LoginCreated> {
        soon(Ok(LoginCreated {
            token: self.login(Scope::Admin),
            url: None,
            expires_in_ms: 900_000,
        }))
    }
    fn health(&self) -> Reply<'_, Health> {
        soon(Ok(Health { ready: true }))
    }
    fn status(&self) -> Reply<'_, Status> {
        let state = self.state.lock();
        let problem = |code: &str, what: &str, what_to_do: &str| StatusProblem {
            code: code.to_owned(),
            what: what.to_owned(),
            what_to_do: what_to_do.to_owned(),
        };
        let problems = if state.is_healthy {
            Vec::new()
        } else {
            vec![
                problem(
                    "service-failed",
                    "the service executor of this node failed: open the queue: no space left on device",
                    "free some space where the node keeps its data; it tries again by itself",
                ),
                problem(
                    "member-failed",
                    "node loft has not answered for 3 minutes, and counts as failed",
                    "start it again, or take it out for good with `convoke node forget loft`",
                ),
                problem(
                    "member-unreachable",
                    "node shed does not answer",
                    "look whether that machine runs and is reached at 10.0.0.6:4700",
                ),
            ]
        };
        let of = |wanted: Verdict| {
            state
                .nodes
                .values()
                .filter(|node| node.verdict.value == Some(wanted))
                .count() as u64
        };
        let members = Members {
            reachable: of(Verdict::Reachable),
            unreachable: of(Verdict::Unreachable),
            failed: of(Verdict::Failed),
            left: 0,
        };
        soon(Ok(Status {
            healthy: state.is_healthy,
            notes: vec!["the cluster has 2 of 3 voters".to_owned()],
            problems,
            cluster_id: Some("c7b1f3a4e0d94b5f8a1e2d3c4b5a6978".to_owned()),
            cluster_name: Some("homelab".to_owned()),
            node_id: id(0),
            node_name: Some("kitchen".to_owned()),
            version: "0.1.0".to_owned(),
            uptime_ms: 3_120_000,
            role: Stated::decided(Role::Master, Some(12)),
            services: services(state.is_healthy),
            leader: Stated::observed(id(1), Some(140)),
            term: Stated::decided(7, Some(12)),
            voters: Stated::decided((0..3).map(id).collect(), Some(12)),
            members: Stated::observed(members, Some(300)),
            frozen: Stated::observed(false, Some(0)),
            applied: Stated::decided(state.revision, Some(12)),
        }))
    }
    fn metrics(&self) -> Reply<'_, String> {
        soon(Ok(String::new()))
    }
    fn events(&self, reading: Reading) -> Reply<'_, EventPage> {
        let mut happened = self.happened.subscribe();
        let mut page = self.read_events(&reading.start, reading.limit);
        Box::pin(async move {
            if page.items.is_empty() && !page.missed && !reading.wait.is_zero() {
                let start = Start::After(page.next.clone());
                let _ = tokio::time::timeout(reading.wait, happened.changed()).await;
                page = self.read_events(&start, reading.limit);
            }
            Ok(page)
        })
    }
    fn voters(&self, _: bool) -> Reply<'_, Voters> {
        let voter = |number| Voter {
            node: id(number),
            votes: true,
            wanted: true,
            behind: Some(0),
            acknowledged_ms_ago: Some(40),
        };
        soon(Ok(Voters {
            leader: Some(id(1)),
            term: Some(7),
            voters: (0..3).map(voter).collect(),
            explanations: None,
            stamp: self.stamp(),
        }))
    }
    fn audit(&self, part: Part) -> Reply<'_, Page<AuditEntry>> {
        let all = self.state.lock().audit.clone();
        soon(Ok(self.page(
            all.into_iter()
                .map(|entry| (format!("{:08}", entry.id), entry)),
            &part,
        )))
    }
    fn nodes(&self, part: Part) -> Reply<'_, Page<NodeSummary>> {
        let all = self.state.lock().nodes.clone();
        soon(Ok(self.page(all, &part)))
    }
    fn node<'a>(&'a self, node: &'a str) -> Reply<'a, NodeDetail> {
        let is_healthy = self.state.lock().is_healthy;
        soon(self.known(node).map(|summary| {
            let fact = |key: &str, value: &str| Fact {
                key: key.to_owned(),
                value: value.to_owned(),
                version: None,
                age_ms: Some(300),
            };
            let phi = |observer: usize, peer: usize, phi| PeerPhi {
                observer: id(observer),
                peer: id(peer),
                phi,
                rtt_us: Some(420),
                heard_ms_ago: Some(300),
            };
            let answers = summary.verdict.value == Some(Verdict::Reachable);
            let hash = "3f9a61c0d7e84b52a1f06c9d8e7b5a4433221100ffeeddccbbaa998877665544";
            NodeDetail {
                incarnation: Stated::observed("3.0".to_owned(), Some(300)),
                facts: vec![
                    fact("zone", "basement"),
                    fact("capacity.memory_bytes", "17179869184"),
                    fact("load.cpu_permille", "212"),
                    fact("free.note", TRICKS),
                    fact("free.html", MARKUP),
                ],
                phi: vec![
                    phi(0, 1, Some(0.31)),
                    phi(0, 2, Some(0.28)),
                    phi(0, 5, Some(7.9)),
                    PeerPhi {
                        rtt_us: None,
                        heard_ms_ago: None,
                        ..phi(0, 6, None)
                    },
                ],
                services: if answers {
                    Stated::observed(services(is_healthy), Some(0))
                } else {
                    Stated::unknown(Kind::Observed)
                },
                certificate: if answers {
                    Stated::observed(
                        Certificate {
                            issuer: hash.to_owned(),
                            not_before_unix_ms: now_ms() - 3_600_000,
                            not_after_unix_ms: now_ms() + 82_800_000,
                            roles: vec![Role::Master, Role::Worker],
                        },
                        Some(0),
                    )
                } else {
                    Stated::unknown(Kind::Observed)
                },
                record: Stated::decided(
                    NodeRecord {
                        role: summary.role.value,
                        allowed: vec![Role::Master, Role::Worker, Role::Gateway],
                        drained: summary.drained.value.unwrap_or_default(),
                        has_log: true,
                        score: Some(100),
                        revision: 4_180,
                        by_hand: false,
                        pinned: None,
                        role_changed_unix_ms: None,
                    },
                    Some(12),
                ),
                summary,
            }
        }))
    }
    fn watching<'a>(&'a self, around: Option<&'a str>, most: u32) -> Reply<'a, Watching> {
        let count = self.state.lock().nodes.len();
        let known: BTreeMap<usize, NodeSummary> = (0..count)
            .filter_map(|number| Some((number, self.known(&id(number)).ok()?)))
            .filter(|(_, node)| {
                !matches!(node.verdict.value, Some(Verdict::Failed | Verdict::Left))
            })
            .collect();
        let middle = match around.map(|text| self.known(text)) {
            Some(Err(fault)) => return soon(Err(fault)),
            Some(Ok(node)) => (0..count).find(|number| id(*number) == node.id),
            None => (known.len() > most as usize).then_some(0),
        };
        let shown: BTreeSet<usize> = match middle {
            None => known.keys().copied().collect(),
            Some(middle) => std::iter::once(middle)
                .chain(self.neighbours(middle, count))
                .filter(|number| known.contains_key(number))
                .take(most as usize)
                .collect(),
        };
        let mut links = Vec::new();
        for a in &shown {
            for b in self
                .neighbours(*a, count)
                .into_iter()
                .filter(|b| b > a && shown.contains(b))
            {
                let own = *a == 0;
                links.push(WatchingLink {
                    a: id(*a),
                    b: id(b),
                    phi: own.then_some(0.3),
                    rtt_us: own.then_some(420),
                    heard_ms_ago: own.then_some(300),
                });
            }
        }
        let node = |number: &usize| WatchingNode {
            id: id(*number),
            name: known[number].name.clone(),
            verdict: known[number].verdict.value.unwrap_or(Verdict::Reachable),
        };
        let stamp = Stamp {
            kind: Kind::Observed,
            revision: None,
            age_ms: Some(0),
        };
        soon(Ok(Watching {
            around: middle.map(id),
            nodes: shown.iter().map(node).collect(),
            links,
            total: known.len() as u64,
            stamp,
        }))
    }
    fn logs<'a>(&'a self, node: &'a str, level: Level, reading: Reading) -> Reply<'a, LogPage> {
        let lines = [
            (Level::Info, "convoke_node", "take part in cluster homelab"),
            (
                Level::Info,
                "convoke_consensus",
                "follow the leader cellar in term 7",
            ),
            (Level::Warn, "convoke_driver", "node shed does not answer"),
            (
                Level::Error,
                "convoke_node::executor",
                "open the queue: no space left on device",
            ),
            (Level::Info, "convoke_web", TRICKS),
        ];
        let begins_at = match &reading.start {
            Start::Oldest => 0,
            Start::Now => lines.len(),
            Start::After(cursor) => cursor.parse().unwrap_or(0),
        };
        let found = self.known(node).map(|_| {
            let numbered = lines
                .iter()
                .enumerate()
                .skip(begins_at)
                .filter(|(_, (of, ..))| *of <= level);
            let items = numbered
                .map(|(number, (level, target, text))| LogLine {
                    cursor: (number + 1).to_string(),
                    unix_ms: now_ms() - 60_000 * (5 - number as u64),
                    level: *level,
                    target: (*target).to_owned(),
                    text: (*text).to_owned(),
                })
                .collect();
            LogPage {
                items,
                next: lines.len().to_string(),
                missed: false,
            }
        });
        Box::pin(async move {
            if found.as_ref().is_ok_and(|page| page.items.is_empty()) && !reading.wait.is_zero() {
                tokio::time::sleep(reading.wait).await; // tidy: nothing comes, as of a node that says nothing
            }
            found
        })
    }
    fn set_role<'a>(&'a self, by: &'a Caller, node: &'a str, to: SetRole) -> Reply<'a, Changed> {
        if to.role == Role::Leecher {
            return soon(Err(Fault::new(
                Code::Refused,
                "this node may not become a leecher",
            )
            .advise("let it with `convoke node allow` before")));
        }
        soon(self.changed_node(by, "setNodeRole", node, |node| {
            node.role = Stated::decided(to.role, Some(0))
        }))
    }
    fn steer_role<'a>(&'a self, by: &'a Caller, node: &'a str, _: SteerRole) -> Reply<'a, Changed> {
        soon(self.changed_node(by, "steerNodeRole", node, |_| {}))
    }

    fn explain_role<'a>(&'a self, node: &'a str) -> Reply<'a, RoleExplanation> {
        soon(self.known(node).map(|node| RoleExplanation {
            id: node.id.clone(),
            role: Some(Role::Master),
            changed_unix_ms: None,
            presence: "reachable".to_owned(),
            roles: vec![RoleJudgement {
                role: Some(Role::Master),
                allowed: true,
                level: "below".to_owned(),
                since_unix_ms: Some(1_800_000_000_000),
                score: 12,
                checks: vec![RoleCheck {
                    measure: "cpu".to_owned(),
                    level: "below".to_owned(),
                    by_policy: false,
                    since_unix_ms: 1_800_000_000_000,
                    found: "2000".to_owned(),
                    source: "/proc/cpuinfo".to_owned(),
                    confidence: "exact".to_owned(),
                }],
            }],
            next: "stays: nobody else is fit".to_owned(),
            becomes: None,
            to_change: "a node with 4 cores".to_owned(),
            notices: Vec::new(),
            can_handle: vec![RoleWork {
                work: "vote".to_owned(),
                handles: "yes".to_owned(),
            }],
            settings: vec![RoleSetting {
                name: "calls-at-once".to_owned(),
                value: 128,
                least: 64,
                most: 4_096,
                is_default: false,
                why: "64 for each of cores: 2000 from /proc/cpuinfo".to_owned(),
            }],
            text: "it is a master".to_owned(),
        }))
    }

    fn plan_roles(&self, _: PlanRoles) -> Reply<'_, RolePlan> {
        soon(Ok(RolePlan {
            changes: vec![PlannedRole {
                id: "node-b".to_owned(),
                name: None,
                from: Some(Role::Leecher),
                to: Some(Role::Worker),
                because: "it is fit".to_owned(),
            }],
            notices: Vec::new(),
            settled: true,
        }))
    }

    fn knobs<'a>(&'a self, node: &'a str) -> Reply<'a, Adaptation> {
        soon(self.known(node).map(|node| Adaptation {
            id: node.id.clone(),
            frozen: false,
            dry_run: false,
            knobs: vec![Knob {
                name: "gossip-pace".to_owned(),
                unit: "milliseconds".to_owned(),
                value: 12,
                default: 8,
                least: 2,
                most: 250,
                obeyed: true,
                frozen: false,
                fixed: false,
                law: "While gossip is heavy, news gathers for longer".to_owned(),
                signals: vec![KnobSignal {
                    name: "gossip-bytes".to_owned(),
                    unit: "bytes-per-second".to_owned(),
                    now: Some(70_000),
                    average_milli: Some(69_000_000),
                    rises_milli: Some(-20),
                    room_below: Some(30_000),
                    too_much_above: Some(60_000),
                    wants_more_from: None,
                }],
                becomes: None,
                why: "its last move shows in 8 s".to_owned(),
                to_change: Some("time".to_owned()),
                text: "gossip-pace is 12 ms".to_owned(),
            }],
            moves: vec![KnobMove {
                unix_ms: 1_800_000_000_000,
                knob: "gossip-pace".to_owned(),
                from: 8,
                to: 12,
                dry_run: false,
                text: "gossip-pace 8 ms -> 12 ms: gossip-bytes is 70 KB/s, more than 60 KB/s"
                    .to_owned(),
            }],
        }))
    }

    fn set_allow<'a>(&'a self, by: &'a Caller, node: &'a str, _: SetAllow) -> Reply<'a, Changed> {
        soon(self.changed_node(by, "setNodeAllow", node, |_| {}))
    }
    fn set_drain<'a>(&'a self, by: &'a Caller, node: &'a str, to: SetDrain) -> Reply<'a, Changed> {
        soon(self.changed_node(by, "setNodeDrain", node, |node| {
            node.drained = Stated::decided(to.drain, Some(0))
        }))
    }
    fn forget<'a>(&'a self, by: &'a Caller, node: &'a str) -> Reply<'a, Changed> {
        soon(self.known(node).map(|node| {
            self.state.lock().nodes.remove(&node.id);
            Changed {
                revision: Some(self.change(by, "forgetNode", &node.id)),
            }
        }))
    }
    fn settings<'a>(
        &'a self,
        prefix: &'a str,
        part: Part,
        _: Consistency,
    ) -> Reply<'a, Page<Setting>> {
        let all = self.state.lock().settings.clone();
        soon(Ok(self.page(
            all.into_iter().filter(|(key, _)| key.starts_with(prefix)),
            &part,
        )))
    }
    fn setting<'a>(&'a self, key: &'a str, _: Consistency) -> Reply<'a, Found<Setting>> {
        let found = self.state.lock().settings.get(key).cloned();
        soon(
            found
                .map(|item| Found {
                    item,
                    stamp: self.stamp(),
                })
                .ok_or_else(|| Fault::not_found("there is no such key of configuration")),
        )
    }
    fn setting_history<'a>(&'a self, key: &'a str, part: Part) -> Reply<'a, Page<ConfigVersion>> {
        let version = |number: u64| {
            (
                format!("{:08}", u64::MAX - number),
                ConfigVersion {
                    version: number,
                    value: Some(ConfigValue::Number(number as i64)),
                    revision: 4_000 + number,
                    since_unix_ms: now_ms() - 86_400_000,
                    proposal: number,
                    proposer: id(1),
                },
            )
        };
        let versions = 1..=version_count(self, key);
        soon(Ok(self.page(versions.rev().map(version), &part)))
    }
    fn proposals(&self, part: Part) -> Reply<'_, Page<Proposal>> {
        let all = self.state.lock().proposals.clone();
        soon(Ok(self.page(
            all.into_iter().map(|(id, it)| (format!("{id:020}"), it)),
            &part,
        )))
    }
    fn proposal(&self, id: u64, _: Consistency) -> Reply<'_, Found<Proposal>> {
        soon(
            self.proposal_now(id)
                .map(|item| Found {
                    item,
                    stamp: self.stamp(),
                })
                .ok_or_else(|| Fault::not_found("there is no such proposal")),
        )
    }
    fn propose<'a>(&'a self, by: &'a Caller, what: Propose) -> Reply<'a, Proposal> {
        self.change(by, "propose", &what.key);
        let mut state = self.state.lock();
        let number = state.proposals.keys().last().map_or(1, |last| last + 1);
        let proposal = Proposal {
            id: number,
            key: what.key,
            value: what.value,
            rule: what.rule.unwrap_or(VotingRule::Majority),
            proposer: id(0),
            version: what.expect_version.unwrap_or(0),
            since_unix_ms: now_ms(),
            until_unix_ms: now_ms() + what.voting_ms.unwrap_or(600_000),
            electorate: (0..3)
                .map(|number| Ballot {
                    node: id(number),
                    yes: None,
                })
                .collect(),
            state: ProposalState::Open,
            passed_as_version: None,
        };
        state.proposals.insert(number, proposal.clone());
        soon(Ok(proposal))
    }
    fn vote<'a>(&'a self, by: &'a Caller, number: u64, vote: Vote) -> Reply<'a, Proposal> {
        self.change(by, "voteOnProposal", &number.to_string());
        let mut state = self.state.lock();
        let found = state
            .proposals
            .get_mut(&number)
            .ok_or_else(|| Fault::not_found("there is no such proposal"));
        soon(found.map(|proposal| {
            proposal.electorate[0].yes = Some(vote.yes);
            if proposal
                .electorate
                .iter()
                .filter(|ballot| ballot.yes == Some(true))
                .count()
                > 1
            {
                proposal.state = ProposalState::Passed;
                proposal.passed_as_version = Some(proposal.version + 1);
            }
            proposal.clone()
        }))
    }
    fn withdraw<'a>(&'a self, by: &'a Caller, number: u64) -> Reply<'a, Proposal> {
        self.change(by, "withdrawProposal", &number.to_string());
        let mut state = self.state.lock();
        let found = state
            .proposals
            .get_mut(&number)
            .ok_or_else(|| Fault::not_found("there is no such proposal"));
        soon(found.map(|proposal| {
            proposal.state = ProposalState::Withdrawn;
            proposal.clone()
        }))
    }
    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        part: Part,
        _: Consistency,
    ) -> Reply<'a, Page<KeyEntry>> {
        let all = self.state.lock().keys.clone();
        let entries = all
            .into_iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, (value, revision))| {
                let key = percent_encode(&key);
                (
                    key.clone(),
                    KeyEntry {
                        key,
                        value_base64: base64_encode(&value),
                        revision,
                    },
                )
            });
        let entries: BTreeMap<_, _> = entries.collect();
        soon(Ok(self.page(entries, &part)))
    }
    fn key<'a>(&'a self, key: &'a [u8], _: Consistency) -> Reply<'a, KeyRead> {
        let found = self.state.lock().keys.get(key).cloned();
        soon(
            found
                .map(|(value, written)| KeyRead {
                    value,
                    written,
                    stamp: self.stamp(),
                })
                .ok_or_else(|| Fault::not_found("there is no such key")),
        )
    }
    fn put_key<'a>(
        &'a self,
        by: &'a Caller,
        key: &'a [u8],
        value: Bytes,
        only_if: Condition,
    ) -> Reply<'a, KeyWritten> {
        soon(self.holds(key, only_if).map(|()| {
            let revision = self.change(by, "putKey", &percent_encode(key));
            self.state
                .lock()
                .keys
                .insert(key.to_vec(), (value, revision));
            KeyWritten {
                revision,
                changed: true,
            }
        }))
    }
    fn delete_key<'a>(
        &'a self,
        by: &'a Caller,
        key: &'a [u8],
        only_if: Condition,
    ) -> Reply<'a, KeyWritten> {
        soon(self.holds(key, only_if).map(|()| {
            let revision = self.change(by, "deleteKey", &percent_encode(key));
            let changed = self.state.lock().keys.remove(key).is_some();
            KeyWritten { revision, changed }
        }))
    }
    fn locks(&self, part: Part, _: Consistency) -> Reply<'_, Page<Lock>> {
        let lock = |name: &str, number: usize, note: &str, waiting| {
            let holder = LockHolder {
                node: id(number),
                note: note.to_owned(),
                fence: 4_400 + number as u64,
                since_unix_ms: now_ms() - 45_000,
                until_unix_ms: now_ms() + 15_000,
                lease_ms: 30_000,
            };
            (
                name.to_owned(),
                Lock {
                    name: name.to_owned(),
                    holder,
                    waiting,
                },
            )
        };
        soon(Ok(self.page(
            [
                lock("backup/nightly", 1, "backup.sh, pid 4711", 2),
                lock("leader/cron", 4, "", 0),
            ],
            &part,
        )))
    }
    fn lock<'a>(&'a self, _: &'a str, _: Consistency) -> Reply<'a, Found<Lock>> {
        soon(Err(Fault::not_found("nobody holds this lock")))
    }
    fn rpc_services(&self, part: Part) -> Reply<'_, Page<RpcServiceSummary>> {
        soon(Ok(self.page(Vec::new(), &part)))
    }
    fn rpc_service<'a>(&'a self, _: &'a str) -> Reply<'a, RpcService> {
        soon(Err(Fault::not_found("no RPC service is offered")))
    }
    fn call_rpc<'a>(&'a self, _: &'a Caller, _: RpcCall) -> Reply<'a, RpcAnswer> {
        soon(Err(Fault::not_found("no RPC service is offered")))
    }
    fn join_tokens(&self, part: Part) -> Reply<'_, Page<JoinToken>> {
        let all = self.state.lock().join_tokens.clone();
        soon(Ok(self.page(all, &part)))
    }
    fn create_join_token<'a>(
        &'a self,
        by: &'a Caller,
        what: CreateToken,
    ) -> Reply<'a, TokenCreated> {
        let revision = self.change(by, "createToken", "");
        let (id, until) = (
            format!("jt-{revision}"),
            now_ms() + what.ttl_ms.unwrap_or(3_600_000),
        );
        let token = JoinToken {
            id: id.clone(),
            roles: what.roles.unwrap_or_default(),
            uses_left: what.uses.unwrap_or(1),
            until_unix_ms: until,
            made_by: by.principal.name.clone(),
        };
        self.state.lock().join_tokens.insert(id.clone(), token);
        soon(Ok(TokenCreated {
            id,
            token: format!("cvjoin1-{}", "k7q2xw9m".repeat(14)),
            until_unix_ms: until,
            revision,
        }))
    }
    fn revoke_join_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed> {
        let revision = self.change(by, "revokeToken", id);
        let found = self.state.lock().join_tokens.remove(id);
        soon(
            found
                .map(|_| Changed {
                    revision: Some(revision),
                })
                .ok_or_else(|| Fault::not_found("there is no such token")),
        )
    }
    fn api_tokens(&self, part: Part) -> Reply<'_, Page<ApiToken>> {
        let all = self.state.lock().api_tokens.clone();
        soon(Ok(self.page(all, &part)))
    }
    fn create_api_token<'a>(
        &'a self,
        by: &'a Caller,
        what: CreateApiToken,
    ) -> Reply<'a, ApiTokenCreated> {
        let revision = self.change(by, "createApiToken", &what.name);
        let id = format!("at-{revision}");
        let token = ApiToken {
            id: id.clone(),
            name: what.name,
            scope: what.scope,
            until_unix_ms: what.ttl_ms.map(|ttl| now_ms() + ttl),
            made_by: by.principal.name.clone(),
        };
        self.state.lock().api_tokens.insert(id.clone(), token);
        soon(Ok(ApiTokenCreated {
            id,
            token: "cvapi1-secret".to_owned(),
            scope: what.scope,
            revision,
        }))
    }
    fn revoke_api_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed> {
        let revision = self.change(by, "revokeApiToken", id);
        let found = self.state.lock().api_tokens.remove(id);
        soon(
            found
                .map(|_| Changed {
                    revision: Some(revision),
                })
                .ok_or_else(|| Fault::not_found("there is no such token")),
        )
    }
    fn issuers(&self, part: Part) -> Reply<'_, Page<Issuer>> {
        let issuer = |number: usize, state, until| {
            let fingerprint = format!("{number:02x}{}", "9ac4e1d07b".repeat(6));
            (
                fingerprint.clone(),
                Issuer {
                    fingerprint,
                    node: Some(id(number)),
                    state,
                    since_unix_ms: now_ms() - 86_400_000,
                    until_unix_ms: until,
                },
            )
        };
        let all = [
            issuer(0, IssuerState::Active, None),
            issuer(1, IssuerState::Active, None),
            issuer(2, IssuerState::Retiring, Some(now_ms() + 40_000_000)),
        ];
        soon(Ok(self.page(all, &part)))
    }
    fn rotate_issuer<'a>(&'a self, by: &'a Caller, _: RotateIssuer) -> Reply<'a, Changed> {
        soon(Ok(Changed {
            revision: Some(self.change(by, "rotateIssuers", "")),
        }))
    }
}

fn version_count(cluster: &Cluster, key: &str) -> u64 {
    cluster
        .state
        .lock()
        .settings
        .get(key)
        .map_or(0, |setting| setting.version)
}
