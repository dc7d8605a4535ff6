//! A backend in memory: small, and as strict as a real one where the API shows it.
//!
//! It counts changes, which is how tests see that nothing happened without authority.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use convoke_types::RoleSet;
use convoke_web::backend::{
    Backend, Caller, Condition, Consistency, KeyRead, Part, Principal, Reading, Reply, RpcAnswer,
    RpcCall, Start,
};
use convoke_web::model::*;
use convoke_web::text::{base64_encode, percent_encode};
use convoke_web::{Code, Fault};
use tokio::sync::watch;

/// Operations that do what they are asked for when everything in the document is asked once.
pub(crate) const SERVED_LEAST: usize = 36;
pub(crate) const NODE: &str = "node-a";

#[derive(Debug)]
pub(crate) struct Memory {
    state: parking_lot::Mutex<State>,
    happened: watch::Sender<u64>,
    /// What `status` does instead once, and `set_drain` after it was done.
    pub(crate) trouble: parking_lot::Mutex<Option<Trouble>>,
    pub(crate) changes: AtomicU64,
    /// The last call of an RPC service.
    pub(crate) called: parking_lot::Mutex<Option<(Caller, RpcCall)>>,
    /// How many streams of answers are over or were given up.
    pub(crate) given_up: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    Fault(Fault),
    Panic,
    Never,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    tokens: BTreeMap<String, Principal>,
    logins: BTreeMap<String, Principal>,
    events: Vec<Event>,
    /// Events before this one are gone.
    oldest: usize,
    audit: Vec<(Caller, AuditEntry)>,
    keys: BTreeMap<Vec<u8>, (Bytes, u64)>,
    proposals: BTreeMap<u64, Proposal>,
    join_tokens: BTreeMap<String, JoinToken>,
    api_tokens: BTreeMap<String, ApiToken>,
}

pub(crate) fn principal(name: &str, scope: Scope) -> Principal {
    Principal {
        name: name.to_owned(),
        scope,
        roles: RoleSet::of(&[convoke_types::Role::Master]),
    }
}

/// Says that nobody reads a stream any more.
struct Gone(watch::Sender<u64>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl Memory {
    fn greeter(&self) -> RpcService {
        let number = || RpcSchema(serde_json::json!({"type": "integer"}));
        let method = |name: &str, kind| RpcMethod {
            name: name.to_owned(),
            doc: format!("Does {name}.\n\nAnd more."),
            kind,
            idempotent: name == "greet",
            deadline_ms: Some(1_500),
            roles: vec![Role::Master],
            messages: Some(RpcMessages {
                request: number(),
                answer: RpcSchema(serde_json::json!({"$ref": "#/components/schemas/Word"})),
                error: number(),
                stream_error: number(),
            }),
        };
        let word = ("Word".to_owned(), serde_json::json!({"type": "string"}));
        RpcService {
            name: "Greeter".to_owned(),
            doc: "Greets.".to_owned(),
            instances: 2,
            serving: 1,
            versions: vec!["1.10.0".to_owned()],
            methods: vec![
                method("greet", RpcKind::Unary),
                method("count", RpcKind::ServerStreaming),
                method("sum", RpcKind::ClientStreaming),
            ],
            types: RpcTypes([word].into()),
            stamp: self.stamp(),
        }
    }

    /// With a token for each scope that is called like it, and a one-time token `once`.
    pub(crate) fn new() -> Self {
        let mut state = State::default();
        for scope in Scope::ALL {
            let name = scope.name();
            state.tokens.insert(name.to_owned(), principal(name, scope));
        }
        state
            .logins
            .insert("once".to_owned(), principal("browser", Scope::Admin));
        state
            .keys
            .insert(b"app/colour".to_vec(), (Bytes::from_static(b"blue"), 1));
        state.revision = 1;
        Self {
            state: parking_lot::Mutex::new(state),
            happened: watch::Sender::new(0),
            trouble: parking_lot::Mutex::new(None),
            changes: AtomicU64::new(0),
            called: parking_lot::Mutex::new(None),
            given_up: watch::Sender::new(0),
        }
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.state.lock().tokens.remove(token);
    }

    /// What was written down of the last change.
    pub(crate) fn last_audit(&self) -> Option<(Caller, AuditEntry)> {
        self.state.lock().audit.last().cloned()
    }

    pub(crate) fn tell(&self, text: &str) {
        let mut state = self.state.lock();
        let number = state.events.len() as u64;
        state.events.push(Event {
            cursor: format!("life1-{number}"),
            unix_ms: 1_000 + number,
            kind: Kind::Observed,
            name: "node-joined".to_owned(),
            node: Some(NODE.to_owned()),
            revision: None,
            text: text.to_owned(),
        });
        drop(state);
        self.happened.send_modify(|count| *count += 1);
    }

    /// All but the last so many events are gone.
    pub(crate) fn lose_events(&self, keep: usize) {
        let mut state = self.state.lock();
        state.oldest = state.events.len().saturating_sub(keep);
    }

    fn change(&self, by: &Caller, operation: &str, target: &str) -> Changed {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock();
        state.revision += 1;
        let entry = AuditEntry {
            id: state.audit.len() as u64,
            unix_ms: 1_000,
            who: by.principal.name.clone(),
            from: by.remote.to_string(),
            operation: operation.to_owned(),
            target: target.to_owned(),
            revision: Some(state.revision),
            outcome: AuditOutcome::Done,
            why: None,
        };
        state.audit.push((by.clone(), entry));
        Changed {
            revision: Some(state.revision),
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            kind: Kind::Decided,
            revision: Some(self.state.lock().revision),
            age_ms: Some(3),
        }
    }

    fn page<T>(&self, all: impl IntoIterator<Item = (String, T)>, part: &Part) -> Page<T> {
        let after = part.after.clone();
        let mut rest = all
            .into_iter()
            .filter(|(name, _)| after.as_ref().is_none_or(|after| name > after))
            .peekable();
        let (mut items, mut next) = (Vec::new(), None);
        while items.len() < part.limit as usize {
            let Some((name, item)) = rest.next() else {
                break;
            };
            items.push(item);
            next = Some(name);
        }
        let next = next.filter(|_| rest.peek().is_some());
        Page {
            items,
            next,
            stamp: self.stamp(),
        }
    }

    async fn have_trouble(&self) -> Result<(), Fault> {
        let trouble = self.trouble.lock().take();
        match trouble {
            None => Ok(()),
            Some(Trouble::Fault(fault)) => Err(fault),
            Some(Trouble::Panic) => panic!("planted"),
            Some(Trouble::Never) => std::future::pending().await,
        }
    }

    fn known(&self, node: &str) -> Result<(), Fault> {
        if node == NODE {
            return Ok(());
        }
        Err(Fault::not_found("there is no such node"))
    }

    fn fresh(&self, how: Consistency) -> Result<(), Fault> {
        match how {
            Consistency::AtLeast(revision) if revision > self.state.lock().revision => {
                Err(Fault::new(Code::NotYet, "this node has not read as far"))
            }
            Consistency::AtLeast(_) | Consistency::Linearizable | Consistency::Stale => Ok(()),
        }
    }

    fn read_events(&self, start: &Start, limit: u32) -> EventPage {
        let state = self.state.lock();
        let end = state.events.len();
        let wanted = match start {
            Start::Oldest => Some(state.oldest),
            Start::Now => Some(end),
            Start::After(cursor) => cursor
                .strip_prefix("life1-")
                .and_then(|number| number.parse::<i64>().ok())
                .and_then(|number| usize::try_from(number.checked_add(1)?).ok())
                .filter(|from| (state.oldest..=end).contains(from)),
        };
        let from = wanted.unwrap_or(state.oldest);
        let items: Vec<Event> = state.events[from..]
            .iter()
            .take(limit as usize)
            .cloned()
            .collect();
        let next = match items.last() {
            Some(last) => last.cursor.clone(),
            None => format!("life1-{}", from as i64 - 1),
        };
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

    fn summary() -> NodeSummary {
        NodeSummary {
            id: NODE.to_owned(),
            name: Some("first".to_owned()),
            addresses: Stated::observed(vec!["127.0.0.1:7000".to_owned()], Some(10)),
            role: Stated::decided(Role::Master, Some(3)),
            role_seen: Stated::observed(Role::Master, Some(10)),
            verdict: Stated::observed(Verdict::Reachable, Some(10)),
            by_hand: Stated::decided(false, Some(3)),
            pinned: Stated::unknown(Kind::Decided),
            drained: Stated::decided(false, Some(3)),
            version: Stated::unknown(Kind::Observed),
        }
    }

    fn setting() -> Setting {
        Setting {
            key: "app.colour".to_owned(),
            value: ConfigValue::Text("blue".to_owned()),
            version: 1,
            revision: 1,
            open_proposal: None,
            description: None,
        }
    }

    fn found_proposal(&self, id: u64) -> Result<Proposal, Fault> {
        let state = self.state.lock();
        let proposal = state.proposals.get(&id).cloned();
        proposal.ok_or_else(|| Fault::not_found("there is no such proposal, or it is forgotten"))
    }

    fn lock_held() -> Lock {
        Lock {
            name: "nightly".to_owned(),
            holder: LockHolder {
                node: NODE.to_owned(),
                note: "here".to_owned(),
                fence: 5,
                since_unix_ms: 1,
                until_unix_ms: 2,
                lease_ms: 1,
            },
            waiting: 0,
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
        if holds {
            return Ok(());
        }
        Err(Fault::new(Code::ConditionFailed, "the key is otherwise"))
    }
}

fn soon<'a, T: Send + 'a>(value: Result<T, Fault>) -> Reply<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Backend for Memory {
    fn authenticate<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>> {
        soon(Ok(self.state.lock().tokens.get(token).cloned()))
    }

    fn redeem_login<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>> {
        soon(Ok(self.state.lock().logins.remove(token)))
    }

    fn create_login<'a>(&'a self, by: &'a Caller) -> Reply<'a, LoginCreated> {
        let revision = self.change(by, "createLogin", "").revision;
        let token = format!("once-{}", revision.unwrap_or_default());
        let principal = principal("browser", Scope::Admin);
        self.state.lock().logins.insert(token.clone(), principal);
        soon(Ok(LoginCreated {
            url: Some(format!("http://127.0.0.1:1/#login={token}")),
            token,
            expires_in_ms: 900_000,
        }))
    }

    fn health(&self) -> Reply<'_, Health> {
        soon(Ok(Health { ready: true }))
    }

    fn status(&self) -> Reply<'_, Status> {
        Box::pin(async move {
            self.have_trouble().await?;
            Ok(Status {
                healthy: false,
                notes: vec!["the cluster has 2 of 3 voters".to_owned()],
                problems: vec![StatusProblem {
                    code: "one-master".to_owned(),
                    what: "one master is left".to_owned(),
                    what_to_do: "start another".to_owned(),
                }],
                cluster_id: None,
                cluster_name: Some("test".to_owned()),
                node_id: NODE.to_owned(),
                node_name: None,
                version: "0".to_owned(),
                uptime_ms: 5,
                role: Stated::decided(Role::Master, Some(0)),
                services: vec![Service {
                    name: "log".to_owned(),
                    wanted: true,
                    state: ServiceState::NotBuilt,
                    ready: false,
                    for_ms: None,
                    last_error: None,
                }],
                leader: Stated::unknown(Kind::Decided),
                term: Stated::decided(1, None),
                voters: Stated::decided(vec![NODE.to_owned()], Some(0)),
                members: Stated::observed(
                    Members {
                        reachable: 1,
                        unreachable: 0,
                        failed: 0,
                        left: 0,
                    },
                    Some(1),
                ),
                frozen: Stated::observed(false, Some(0)),
                applied: Stated::decided(1, Some(0)),
            })
        })
    }

    fn metrics(&self) -> Reply<'_, String> {
        soon(Ok("convoke_members 1\n".to_owned()))
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

    fn voters(&self, explain: bool) -> Reply<'_, Voters> {
        let explanation = VoterExplanation {
            node: NODE.to_owned(),
            why: "it is the only one".to_owned(),
            what_would_change_it: None,
            since_unix_ms: None,
        };
        soon(Ok(Voters {
            leader: Some(NODE.to_owned()),
            term: Some(1),
            voters: vec![Voter {
                node: NODE.to_owned(),
                votes: true,
                wanted: true,
                behind: Some(0),
                acknowledged_ms_ago: None,
            }],
            explanations: explain.then(|| vec![explanation]),
            stamp: self.stamp(),
        }))
    }

    fn audit(&self, part: Part) -> Reply<'_, Page<AuditEntry>> {
        let entries = self.state.lock().audit.clone();
        let entries = entries
            .into_iter()
            .map(|(_, entry)| (format!("{:08}", entry.id), entry));
        soon(Ok(self.page(entries, &part)))
    }

    fn nodes(&self, part: Part) -> Reply<'_, Page<NodeSummary>> {
        soon(Ok(self.page([(NODE.to_owned(), Self::summary())], &part)))
    }

    fn node<'a>(&'a self, node: &'a str) -> Reply<'a, NodeDetail> {
        soon(self.known(node).map(|()| NodeDetail {
            summary: Self::summary(),
            incarnation: Stated::observed("3.0".to_owned(), Some(1)),
            facts: vec![Fact {
                key: "cores".to_owned(),
                value: "2".to_owned(),
                version: Some(1),
                age_ms: Some(9),
            }],
            phi: vec![PeerPhi {
                observer: "node-b".to_owned(),
                peer: NODE.to_owned(),
                phi: Some(0.5),
                rtt_us: None,
                heard_ms_ago: Some(4),
            }],
            services: Stated::unknown(Kind::Observed),
            certificate: Stated::observed(
                Certificate {
                    issuer: "f".to_owned(),
                    not_before_unix_ms: 1,
                    not_after_unix_ms: 2,
                    roles: vec![Role::Master],
                },
                None,
            ),
            record: Stated::decided(
                NodeRecord {
                    role: Some(Role::Master),
                    allowed: vec![Role::Master],
                    drained: false,
                    has_log: true,
                    score: None,
                    revision: 1,
                    by_hand: false,
                    pinned: None,
                    role_changed_unix_ms: None,
                },
                Some(3),
            ),
        }))
    }

    fn watching<'a>(&'a self, around: Option<&'a str>, most: u32) -> Reply<'a, Watching> {
        let node = |id: &str| WatchingNode {
            id: id.to_owned(),
            name: None,
            verdict: Verdict::Reachable,
        };
        let all = [node(NODE), node("node-b")];
        let known = around.map_or(Ok(()), |around| self.known(around));
        soon(known.map(|()| Watching {
            around: around.map(str::to_owned),
            nodes: all.into_iter().take(most as usize).collect(),
            links: vec![WatchingLink {
                a: NODE.to_owned(),
                b: "node-b".to_owned(),
                phi: Some(0.5),
                rtt_us: None,
                heard_ms_ago: Some(4),
            }],
            total: 2,
            stamp: Stamp {
                kind: Kind::Observed,
                revision: None,
                age_ms: Some(0),
            },
        }))
    }

    fn instances<'a>(
        &'a self,
        service: &'a str,
        selector: Option<&'a str>,
        part: Part,
    ) -> Reply<'a, Page<Instance>> {
        if service != "Greeter" {
            return soon(Err(Fault::not_found("nobody offers it")));
        }
        if selector.is_some_and(|it| it != "zone = eu") {
            return soon(Err(Fault::new(
                Code::BadParameter,
                "the selector: another one",
            )));
        }
        let instance = Instance {
            node: NODE.to_owned(),
            name: None,
            version: Some("1.4.0".to_owned()),
            health: InstanceHealth::Serving,
            load_permille: Some(12),
            load_age_ms: None,
            weight: 1,
            addresses: vec!["10.0.0.1:4700".to_owned()],
            tags: vec!["zone=eu".to_owned()],
            methods: None,
        };
        soon(Ok(self.page([(NODE.to_owned(), instance)], &part)))
    }

    fn logs<'a>(&'a self, node: &'a str, level: Level, reading: Reading) -> Reply<'a, LogPage> {
        Box::pin(async move {
            self.known(node)?;
            let page = self.events(reading).await?;
            let line = |event: Event| LogLine {
                cursor: event.cursor,
                unix_ms: event.unix_ms,
                level,
                target: "test".to_owned(),
                text: event.text,
            };
            Ok(LogPage {
                items: page.items.into_iter().map(line).collect(),
                next: page.next,
                missed: page.missed,
            })
        })
    }

    fn set_role<'a>(&'a self, by: &'a Caller, node: &'a str, _: SetRole) -> Reply<'a, Changed> {
        soon(
            self.known(node)
                .map(|()| self.change(by, "setNodeRole", node)),
        )
    }

    fn steer_role<'a>(&'a self, by: &'a Caller, node: &'a str, _: SteerRole) -> Reply<'a, Changed> {
        soon(
            self.known(node)
                .map(|()| self.change(by, "steerNodeRole", node)),
        )
    }

    fn explain_role<'a>(&'a self, node: &'a str) -> Reply<'a, RoleExplanation> {
        soon(self.known(node).map(|()| RoleExplanation {
            id: NODE.to_owned(),
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
        soon(self.known(node).map(|()| Adaptation {
            id: NODE.to_owned(),
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
        soon(
            self.known(node)
                .map(|()| self.change(by, "setNodeAllow", node)),
        )
    }

    fn set_drain<'a>(&'a self, by: &'a Caller, node: &'a str, _: SetDrain) -> Reply<'a, Changed> {
        Box::pin(async move {
            self.known(node)?;
            let changed = self.change(by, "setNodeDrain", node);
            self.have_trouble().await?;
            Ok(changed)
        })
    }

    fn forget<'a>(&'a self, by: &'a Caller, node: &'a str) -> Reply<'a, Changed> {
        soon(
            self.known(node)
                .map(|()| self.change(by, "forgetNode", node)),
        )
    }

    fn settings<'a>(
        &'a self,
        prefix: &'a str,
        part: Part,
        how: Consistency,
    ) -> Reply<'a, Page<Setting>> {
        let setting = Self::setting();
        let all = setting
            .key
            .starts_with(prefix)
            .then(|| (setting.key.clone(), setting));
        soon(self.fresh(how).map(|()| self.page(all, &part)))
    }

    fn setting<'a>(&'a self, key: &'a str, how: Consistency) -> Reply<'a, Found<Setting>> {
        let setting = Self::setting();
        soon(self.fresh(how).and_then(|()| {
            if setting.key == key {
                Ok(Found {
                    item: setting,
                    stamp: self.stamp(),
                })
            } else {
                Err(Fault::not_found("there is no such key of configuration"))
            }
        }))
    }

    fn setting_history<'a>(&'a self, key: &'a str, part: Part) -> Reply<'a, Page<ConfigVersion>> {
        let version = ConfigVersion {
            version: 1,
            value: None,
            revision: 1,
            since_unix_ms: 1,
            proposal: 1,
            proposer: NODE.to_owned(),
        };
        let all = (key == "app.colour").then(|| ("1".to_owned(), version));
        soon(Ok(self.page(all, &part)))
    }

    fn proposals(&self, part: Part) -> Reply<'_, Page<Proposal>> {
        let all = self.state.lock().proposals.clone();
        soon(Ok(self.page(
            all.into_iter()
                .map(|(id, proposal)| (format!("{id:020}"), proposal)),
            &part,
        )))
    }

    fn proposal(&self, id: u64, how: Consistency) -> Reply<'_, Found<Proposal>> {
        soon(self.fresh(how).and_then(|()| {
            Ok(Found {
                item: self.found_proposal(id)?,
                stamp: self.stamp(),
            })
        }))
    }

    fn propose<'a>(&'a self, by: &'a Caller, what: Propose) -> Reply<'a, Proposal> {
        if !what.key.starts_with("app.") {
            return soon(Err(Fault::not_found(
                "there is no such key of configuration",
            )));
        }
        let id = self
            .change(by, "propose", &what.key)
            .revision
            .unwrap_or_default();
        let proposal = Proposal {
            id,
            key: what.key,
            value: what.value,
            rule: what.rule.unwrap_or(VotingRule::Majority),
            proposer: NODE.to_owned(),
            version: 1,
            since_unix_ms: 1,
            until_unix_ms: 2,
            electorate: vec![Ballot {
                node: NODE.to_owned(),
                yes: None,
            }],
            state: ProposalState::Open,
            passed_as_version: None,
        };
        self.state.lock().proposals.insert(id, proposal.clone());
        soon(Ok(proposal))
    }

    fn vote<'a>(&'a self, by: &'a Caller, id: u64, vote: Vote) -> Reply<'a, Proposal> {
        soon(self.found_proposal(id).and_then(|mut proposal| {
            if proposal.state != ProposalState::Open {
                return Err(Fault::new(Code::Conflict, "the proposal is over"));
            }
            self.change(by, "voteOnProposal", &id.to_string());
            proposal.electorate[0].yes = Some(vote.yes);
            proposal.state = if vote.yes {
                ProposalState::Passed
            } else {
                ProposalState::Failed
            };
            self.state.lock().proposals.insert(id, proposal.clone());
            Ok(proposal)
        }))
    }

    fn withdraw<'a>(&'a self, by: &'a Caller, id: u64) -> Reply<'a, Proposal> {
        soon(self.found_proposal(id).map(|mut proposal| {
            self.change(by, "withdrawProposal", &id.to_string());
            proposal.state = ProposalState::Withdrawn;
            self.state.lock().proposals.insert(id, proposal.clone());
            proposal
        }))
    }

    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        part: Part,
        how: Consistency,
    ) -> Reply<'a, Page<KeyEntry>> {
        let all = self.state.lock().keys.clone();
        let all = all
            .into_iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, (value, revision))| {
                let entry = KeyEntry {
                    key: percent_encode(&key),
                    value_base64: base64_encode(&value),
                    revision,
                };
                (entry.key.clone(), entry)
            });
        let all: BTreeMap<_, _> = all.collect();
        soon(self.fresh(how).map(|()| self.page(all, &part)))
    }

    fn key<'a>(&'a self, key: &'a [u8], how: Consistency) -> Reply<'a, KeyRead> {
        let found = self.state.lock().keys.get(key).cloned();
        soon(self.fresh(how).and_then(|()| {
            let (value, written) = found.ok_or_else(|| Fault::not_found("there is no such key"))?;
            Ok(KeyRead {
                value,
                written,
                stamp: self.stamp(),
            })
        }))
    }

    fn put_key<'a>(
        &'a self,
        by: &'a Caller,
        key: &'a [u8],
        value: Bytes,
        only_if: Condition,
    ) -> Reply<'a, KeyWritten> {
        soon(self.holds(key, only_if).map(|()| {
            let revision = self
                .change(by, "putKey", &percent_encode(key))
                .revision
                .unwrap_or_default();
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
            let revision = self
                .change(by, "deleteKey", &percent_encode(key))
                .revision
                .unwrap_or_default();
            let changed = self.state.lock().keys.remove(key).is_some();
            KeyWritten { revision, changed }
        }))
    }

    fn rpc_services(&self, part: Part) -> Reply<'_, Page<RpcServiceSummary>> {
        let RpcService {
            name,
            instances,
            serving,
            versions,
            ..
        } = self.greeter();
        let summary = RpcServiceSummary {
            name: name.clone(),
            instances,
            serving,
            versions,
        };
        soon(Ok(self.page([(name, summary)], &part)))
    }

    fn rpc_service<'a>(&'a self, service: &'a str) -> Reply<'a, RpcService> {
        soon(if service == "Greeter" {
            Ok(self.greeter())
        } else {
            Err(Fault::not_found("no instance of it is known").advise("there are: Greeter"))
        })
    }

    fn call_rpc<'a>(&'a self, by: &'a Caller, call: RpcCall) -> Reply<'a, RpcAnswer> {
        *self.called.lock() = Some((by.clone(), call.clone()));
        let number = call.request.trim().parse::<u64>();
        soon(match (&*call.service, &*call.method, number) {
            ("Greeter", "greet", Ok(1)) => Err(Fault::app_error(
                "Greeter.greet answered with its error",
                r#"{"Nobody":{"asked":340282366920938463463374607431768211455}}"#.to_owned(),
            )),
            ("Greeter", "greet", Ok(2)) => {
                Err(Fault::new(Code::Overloaded, "all are busy")
                    .retry_after(Duration::from_secs(3)))
            }
            ("Greeter", "greet", _) => Ok(RpcAnswer::One(format!("[{}]", call.request))),
            ("Greeter", "count", Ok(most)) => {
                let gone = Gone(self.given_up.clone());
                let items = futures_util::stream::unfold((0, gone), move |(at, gone)| async move {
                    match at {
                        // Nobody says anything any more.
                        5 if most == 1_000 => std::future::pending().await,
                        5 if most == 13 => Some((
                            Err(Fault::app_error("it ended so", r#""odd""#.to_owned())),
                            (most, gone),
                        )),
                        at if at < most => Some((Ok(at.to_string()), (at + 1, gone))),
                        _ => None,
                    }
                });
                Ok(RpcAnswer::Many(Box::pin(items)))
            }
            ("Greeter", "sum", _) => Err(Fault::new(Code::NotOverHttp, "it takes a stream")),
            ("Greeter", ..) => Err(Fault::not_found("there is no such method")
                .advise("Greeter has: greet, count, sum")),
            _ => Err(Fault::not_found("no instance of it is known")),
        })
    }

    fn locks(&self, part: Part, how: Consistency) -> Reply<'_, Page<Lock>> {
        soon(
            self.fresh(how)
                .map(|()| self.page([("nightly".to_owned(), Self::lock_held())], &part)),
        )
    }

    fn lock<'a>(&'a self, name: &'a str, how: Consistency) -> Reply<'a, Found<Lock>> {
        soon(self.fresh(how).and_then(|()| {
            if name == "nightly" {
                Ok(Found {
                    item: Self::lock_held(),
                    stamp: self.stamp(),
                })
            } else {
                Err(Fault::not_found("nobody holds this lock"))
            }
        }))
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
        let revision = self
            .change(by, "createToken", "")
            .revision
            .unwrap_or_default();
        let id = format!("t{revision}");
        let token = JoinToken {
            id: id.clone(),
            roles: what.roles.unwrap_or_else(|| vec![Role::Worker]),
            uses_left: what.uses.unwrap_or(1),
            until_unix_ms: 1,
            made_by: by.principal.name.clone(),
        };
        self.state.lock().join_tokens.insert(id.clone(), token);
        soon(Ok(TokenCreated {
            id,
            token: "secret".to_owned(),
            until_unix_ms: 1,
            revision,
        }))
    }

    fn revoke_join_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed> {
        let removed = self.state.lock().join_tokens.remove(id);
        soon(match removed {
            Some(_) => Ok(self.change(by, "revokeToken", id)),
            None => Err(Fault::not_found("there is no such token")),
        })
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
        let revision = self
            .change(by, "createApiToken", &what.name)
            .revision
            .unwrap_or_default();
        let id = format!("a{revision}");
        let token = ApiToken {
            id: id.clone(),
            name: what.name.clone(),
            scope: what.scope,
            until_unix_ms: None,
            made_by: by.principal.name.clone(),
        };
        let secret = format!("secret-{id}");
        let mut state = self.state.lock();
        state.api_tokens.insert(id.clone(), token);
        state
            .tokens
            .insert(secret.clone(), principal(&what.name, what.scope));
        drop(state);
        soon(Ok(ApiTokenCreated {
            id,
            token: secret,
            scope: what.scope,
            revision,
        }))
    }

    fn revoke_api_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed> {
        let removed = self.state.lock().api_tokens.remove(id);
        soon(match removed {
            Some(_) => {
                self.revoke(&format!("secret-{id}"));
                Ok(self.change(by, "revokeApiToken", id))
            }
            None => Err(Fault::not_found("there is no such token")),
        })
    }

    fn issuers(&self, part: Part) -> Reply<'_, Page<Issuer>> {
        let issuer = Issuer {
            fingerprint: "f".to_owned(),
            node: Some(NODE.to_owned()),
            state: IssuerState::Active,
            since_unix_ms: 1,
            until_unix_ms: None,
        };
        soon(Ok(self.page([("f".to_owned(), issuer)], &part)))
    }

    fn rotate_issuer<'a>(&'a self, by: &'a Caller, what: RotateIssuer) -> Reply<'a, Changed> {
        let node = what.node.unwrap_or_else(|| NODE.to_owned());
        soon(
            self.known(&node)
                .map(|()| self.change(by, "rotateIssuers", &node)),
        )
    }
}

/// How long tests wait for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
