//! Nodes: what is decided about them beside what is observed of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_driver::{Member, Offer, Verdict as Seen};
use convoke_rpc::CallOptions;
use convoke_types::NodeId;
use convoke_types::wire::store::{
    Command, Found, NodeCommand, NodeFound, NodeQuery, PAGE_ITEMS, Query, Record,
};
use convoke_web::Fault;
use convoke_web::backend::{Caller, Consistency, Part, Reading, Start};
use convoke_web::model::{
    Certificate, Changed, Fact, Kind, Level, LogLine, LogPage, NodeDetail, NodeRecord, NodeSummary,
    Page, PeerPhi, Service, ServiceState, SetAllow, SetDrain, SetRole, Stamp, Stated, Verdict,
    role_set, roles_of,
};

use super::ask::{Desk, strange, unanswered};
use super::kv::bad_place;
use crate::inspect::{
    self, Lines, LinesQuestion, NoLines, SelfReport, ServiceReport, Since, WatchedReport, in_ms,
};
use crate::planning;

/// How long another node has to say how it does.
pub(super) const REPORT: Duration = Duration::from_secs(3);
/// What the network may take beside the time that a node waits for a line.
const ON_THE_WAY: Duration = Duration::from_secs(3);

/// What is known of a node from both sides.
#[derive(Default)]
pub(super) struct Known {
    pub(super) record: Option<Record>,
    pub(super) member: Option<Arc<Member>>,
}

/// Records of a moment.
pub(super) struct Records {
    pub(super) all: Vec<Record>,
    pub(super) stamp: Stamp,
}

impl Desk {
    /// Some records behind a node, in their order, and of which moment they are.
    async fn records(&self, after: Option<NodeId>, most: usize) -> Result<Records, Fault> {
        let mut all: Vec<Record> = Vec::new();
        loop {
            let query = NodeQuery::List {
                after: all.last().map(|record| record.node).or(after),
                limit: PAGE_ITEMS,
            };
            let read = self.read(Query::Node(query), Consistency::Stale).await?;
            let stamp = read.stamp();
            let Found::Node(NodeFound::Nodes(page)) = read.found else {
                return Err(strange());
            };
            let is_last = page.is_empty();
            all.extend(page);
            if is_last || all.len() > most {
                return Ok(Records { all, stamp });
            }
        }
    }

    /// All of them. There are at most as many as the log has room for.
    pub(super) async fn all_records(&self) -> Result<Records, Fault> {
        self.records(None, usize::MAX - 1).await
    }

    pub(super) fn members(&self) -> BTreeMap<NodeId, Arc<Member>> {
        let gossip = self.parts.gossip.get();
        gossip.map_or_else(BTreeMap::new, |gossip| gossip.members().members.clone())
    }

    /// A node by its id, the beginning of it, or its name.
    pub(super) async fn resolve(&self, text: &str) -> Result<NodeId, Fault> {
        let records = self.all_records().await;
        let members = self.members();
        let mut ids: Vec<NodeId> = members.keys().copied().collect();
        match records {
            Ok(records) => ids.extend(records.all.iter().map(|record| record.node)),
            // What is observed is enough to know a node by.
            Err(fault) if ids.is_empty() => return Err(fault),
            Err(_) => {}
        }
        ids.sort_unstable();
        ids.dedup();
        let is_named = |id: &NodeId| {
            let member = members.get(id);
            member.and_then(|it| it.facts.profile.name.as_deref()) == Some(text)
        };
        find(&ids, is_named, text)
    }

    pub(super) async fn list_nodes(&self, part: Part) -> Result<Page<NodeSummary>, Fault> {
        let after = part.after.as_deref().map(str::parse::<NodeId>);
        let after = after.transpose().map_err(|_| bad_place())?;
        let limit = part.limit as usize;
        let Records { all, stamp } = self.records(after, limit).await?;
        let mut known: BTreeMap<NodeId, Known> = BTreeMap::new();
        for record in all {
            let node = record.node;
            known.entry(node).or_default().record = Some(record);
        }
        for (id, member) in self.members() {
            if after.is_none_or(|after| id > after) {
                known.entry(id).or_default().member = Some(member);
            }
        }
        let silences = self.silences().await;
        let more = known.len() > limit;
        let items: Vec<NodeSummary> = known
            .iter()
            .take(limit)
            .map(|(id, known)| self.summary(*id, known, stamp.age_ms, &silences))
            .collect();
        Ok(Page {
            next: items.last().filter(|_| more).map(|item| item.id.clone()),
            items,
            stamp,
        })
    }

    /// For how long those who are watched from here were silent.
    async fn silences(&self) -> BTreeMap<NodeId, u64> {
        let Some(gossip) = self.parts.gossip.get() else {
            return BTreeMap::new();
        };
        let watched = gossip.watched().await.unwrap_or_default();
        let silence = watched.iter().map(|it| (it.id, in_ms(it.silence)));
        silence.collect()
    }

    fn summary(
        &self,
        id: NodeId,
        known: &Known,
        decided_ms: Option<u64>,
        silences: &BTreeMap<NodeId, u64>,
    ) -> NodeSummary {
        let is_me = id == self.parts.me();
        let seen_ms = if is_me {
            Some(0)
        } else {
            silences.get(&id).copied()
        };
        let observed = |member: &Member| {
            let profile = &member.facts.profile;
            (
                profile.name.clone(),
                member.facts.addresses().map(|it| it.to_string()).collect(),
                profile.role.map(Into::into),
                profile.version.clone(),
            )
        };
        let (name, addresses, role_seen, version): (_, Vec<String>, _, _) =
            known.member.as_deref().map(observed).unwrap_or_default();
        let stated = |value: Option<_>| match value {
            Some(value) => Stated::observed(value, seen_ms),
            None => Stated::unknown(Kind::Observed),
        };
        NodeSummary {
            id: id.to_string(),
            name: name.or_else(|| is_me.then(|| self.parts.settings.name.clone()).flatten()),
            addresses: match (&known.record, addresses.is_empty()) {
                (_, false) => Stated::observed(addresses, seen_ms),
                (Some(record), true) => Stated::decided(record.addresses.clone(), decided_ms),
                (None, true) => Stated::unknown(Kind::Observed),
            },
            role: decided(&known.record, decided_ms, |record| record.role.into()),
            role_seen: match role_seen {
                Some(role) => Stated::observed(role, seen_ms),
                None => Stated::unknown(Kind::Observed),
            },
            verdict: match known.member.as_deref() {
                Some(member) => Stated::observed(verdict(member.verdict), seen_ms),
                None if is_me => Stated::observed(Verdict::Reachable, Some(0)),
                None => Stated::unknown(Kind::Observed),
            },
            by_hand: decided(&known.record, decided_ms, |record| record.by_hand),
            pinned: match known.record.as_ref().and_then(|record| record.pin) {
                Some(pin) => Stated::decided(pin.into(), decided_ms),
                None => Stated::unknown(Kind::Decided),
            },
            drained: decided(&known.record, decided_ms, |record| record.drains),
            version: stated(version),
        }
    }

    pub(super) async fn see_node(&self, node: &str) -> Result<NodeDetail, Fault> {
        let id = self.resolve(node).await?;
        let (record, read) = self.record(id, Consistency::Stale).await?;
        let known = Known {
            record,
            member: self.members().remove(&id),
        };
        let silences = self.silences().await;
        let summary = self.summary(id, &known, read.age_ms, &silences);
        let seen_ms = summary.verdict.age_ms;
        let is_me = id == self.parts.me();
        let report = if is_me {
            Some(inspect::report(&self.parts).await)
        } else {
            self.report_of(id).await
        };
        let mut phi = Vec::new();
        if !is_me {
            let own = inspect::report(&self.parts).await;
            let about = own.watched.iter().filter(|it| it.peer == id);
            phi.extend(about.map(|it| doubt(self.parts.me(), it)));
        }
        let watched = report.iter().flat_map(|report| &report.watched);
        phi.extend(watched.map(|it| doubt(id, it)));
        Ok(NodeDetail {
            incarnation: match &known.member {
                Some(member) => {
                    let told = member.incarnation;
                    let text = format!("{}.{}", told.boot, told.refutation);
                    Stated::observed(text, seen_ms)
                }
                None => Stated::unknown(Kind::Observed),
            },
            facts: known
                .member
                .as_deref()
                .map_or_else(Vec::new, |member| facts(member, seen_ms)),
            phi,
            services: match &report {
                Some(report) => Stated::observed(services(&report.services), Some(0)),
                None => Stated::unknown(Kind::Observed),
            },
            certificate: match report.and_then(|report| report.certificate) {
                Some(certificate) => Stated::observed(
                    Certificate {
                        issuer: certificate.issuer,
                        not_before_unix_ms: certificate.not_before_unix_ms,
                        not_after_unix_ms: certificate.not_after_unix_ms,
                        roles: roles_of(certificate.roles),
                    },
                    Some(0),
                ),
                None => Stated::unknown(Kind::Observed),
            },
            record: decided(&known.record, read.age_ms, |record| NodeRecord {
                role: Some(record.role.into()),
                allowed: roles_of(record.allowed),
                drained: record.drains,
                has_log: record.log.is_some(),
                score: Some(record.score.into()),
                revision: record.revision.0,
                by_hand: record.by_hand,
                pinned: record.pin.map(Into::into),
                role_changed_unix_ms: record.changed_at.map(|at| self.parts.log_clock.unix_ms(at)),
            }),
            summary,
        })
    }

    /// How another node says it does; nothing if it does not answer.
    pub(super) async fn report_of(&self, node: NodeId) -> Option<SelfReport> {
        let asking = async {
            let client = self.peer(node).await.ok()?;
            let options = CallOptions::new().timeout(REPORT);
            client.with(options).facts().await.ok()
        };
        let report = tokio::time::timeout(REPORT, asking).await.ok().flatten();
        if report.is_none() {
            self.forget_channel(node);
        }
        report
    }

    /// Who was forgotten is not asked.
    pub(super) fn must_be_known(&self, node: NodeId) -> Result<(), Fault> {
        if self.parts.trust.current().has_forgotten(&node) {
            let what = format!("node {} is no part of this cluster any more", node.short());
            return Err(Fault::not_found(what));
        }
        Ok(())
    }

    pub(super) async fn read_logs(
        &self,
        node: &str,
        level: Level,
        reading: Reading,
    ) -> Result<LogPage, Fault> {
        let id = self.resolve(node).await?;
        let since = match &reading.start {
            Start::Oldest => Since::Oldest,
            Start::Now => Since::Now,
            // A place that means nothing is one of which everything is gone.
            Start::After(cursor) => place(cursor).unwrap_or(Since::At {
                start: 0,
                cursor: 0,
            }),
        };
        let wait = reading.wait.min(inspect::WAIT_MOST);
        let question = LinesQuestion {
            since,
            level: severity(level),
            limit: reading.limit,
            wait_ms: in_ms(wait),
        };
        if id == self.parts.me() {
            let lines = inspect::lines(&self.parts, question).await;
            return lines.map(told).map_err(|why| no_lines(&why));
        }
        self.must_be_known(id)?;
        let client = self.peer(id).await?;
        let options = CallOptions::new().timeout(wait + ON_THE_WAY);
        match client.with(options).logs(&question).await {
            Ok(lines) => Ok(told(lines)),
            Err(convoke_rpc::CallError::App(why)) => Err(no_lines(&why)),
            Err(error) => {
                self.forget_channel(id);
                Err(unanswered(id, &error))
            }
        }
    }

    pub(super) async fn grant(
        &self,
        by: &Caller,
        node: &str,
        to: SetRole,
    ) -> Result<Changed, Fault> {
        let node = self.resolve(node).await?;
        let role = to.role.into();
        let command = NodeCommand::Grant { node, role };
        self.noted(by, Command::Node(command)).await
    }

    pub(super) async fn allow(
        &self,
        by: &Caller,
        node: &str,
        to: SetAllow,
    ) -> Result<Changed, Fault> {
        let node = self.resolve(node).await?;
        let roles = role_set(&to.roles);
        let command = NodeCommand::Allow { node, roles };
        self.noted(by, Command::Node(command)).await
    }

    pub(super) async fn drain(
        &self,
        by: &Caller,
        node: &str,
        to: SetDrain,
    ) -> Result<Changed, Fault> {
        let node = self.resolve(node).await?;
        let drains = to.drain;
        let command = NodeCommand::Drain { node, drains };
        self.noted(by, Command::Node(command)).await
    }

    pub(super) async fn forget_node(&self, by: &Caller, node: &str) -> Result<Changed, Fault> {
        let node = self.resolve(node).await?;
        let command = NodeCommand::Forget { node };
        self.noted(by, Command::Node(command)).await
    }
}

/// The one node that goes by a text, of ids in their order.
fn find(ids: &[NodeId], is_named: impl Fn(&NodeId) -> bool, text: &str) -> Result<NodeId, Fault> {
    if let Ok(id) = text.parse::<NodeId>()
        && ids.contains(&id)
    {
        return Ok(id);
    }
    let only = |found: Vec<&NodeId>, how: &str| match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        [first, second, ..] => Err(Fault::not_found(format!(
            "{text:?} {how} more than one node: {} and {}, for example",
            first.short(),
            second.short()
        ))
        .advise("name it by more of its id")),
    };
    let named = ids.iter().filter(|id| is_named(id)).collect();
    if let Some(found) = only(named, "is the name of")? {
        return Ok(found);
    }
    let begins = |id: &&NodeId| id.to_string().starts_with(text);
    let begun = ids.iter().filter(begins).collect();
    if let Some(found) = only(begun, "begins the id of")? {
        return Ok(found);
    }
    Err(Fault::not_found(format!("there is no node {text:?}"))
        .advise("`GET /v1/nodes` shows which there are"))
}

fn decided<T>(
    record: &Option<Record>,
    age_ms: Option<u64>,
    what: impl FnOnce(&Record) -> T,
) -> Stated<T> {
    match record {
        Some(record) => Stated::decided(what(record), age_ms),
        None => Stated::unknown(Kind::Decided),
    }
}

pub(super) fn verdict(seen: Seen) -> Verdict {
    match seen {
        Seen::Reachable => Verdict::Reachable,
        Seen::Unreachable => Verdict::Unreachable,
        Seen::Failed => Verdict::Failed,
        Seen::Left => Verdict::Left,
    }
}

pub(super) fn doubt(observer: NodeId, watched: &WatchedReport) -> PeerPhi {
    #[expect(
        clippy::cast_precision_loss,
        reason = "thousandths of a doubt that people look at"
    )]
    let phi = watched.phi_milli.map(|milli| milli as f64 / 1_000.0);
    PeerPhi {
        observer: observer.to_string(),
        peer: watched.peer.to_string(),
        phi,
        rtt_us: watched.round_trip_us,
        heard_ms_ago: Some(watched.silent_ms),
    }
}

/// What a member says of itself, key by key.
fn facts(member: &Member, age_ms: Option<u64>) -> Vec<Fact> {
    let facts = &member.facts;
    let profile = &facts.profile;
    let mut told: Vec<(String, String)> = Vec::new();
    let mut tell = |key: &str, value: Option<String>| {
        told.extend(value.map(|value| (key.to_owned(), value)));
    };
    tell("name", profile.name.clone());
    tell("role", profile.role.map(|role| role.to_string()));
    tell("zone", profile.zone.clone());
    tell("version", profile.version.clone());
    if let Some(capacity) = profile.capacity {
        tell(
            "capacity.cpu_milli",
            capacity.cpu_milli.map(|it| it.to_string()),
        );
        tell(
            "capacity.memory_bytes",
            capacity.memory_bytes.map(|it| it.to_string()),
        );
        tell(
            "capacity.disk_bytes",
            capacity.disk_bytes.map(|it| it.to_string()),
        );
    }
    if let Some(load) = facts.vitals.load {
        tell("load.cpu_permille", Some(load.cpu_permille.to_string()));
        tell(
            "load.memory_permille",
            Some(load.memory_permille.to_string()),
        );
    }
    let health = format!("{:?}", facts.vitals.health).to_lowercase();
    tell("health", Some(health));
    tell("abstains", facts.vitals.abstains.then(|| "true".to_owned()));
    let tags: Vec<String> = facts.tags.iter().map(ToString::to_string).collect();
    tell("tags", (!tags.is_empty()).then(|| tags.join(",")));
    for (key, value) in &facts.free {
        // What it says of its machine is told by what follows from it for its role.
        if key == planning::REPORT {
            continue;
        }
        if key.starts_with("rpc.")
            && let Ok(offer) = Offer::from_bytes(value)
        {
            let serves = if offer.is_serving { "" } else { "not " };
            let version = match &*offer.version {
                "" => String::new(),
                version => format!(", version {}", version.escape_debug()),
            };
            told.push((key.clone(), format!("{serves}serving{version}")));
            continue;
        }
        // Bytes that are no text are shown, not sent on.
        let text = String::from_utf8_lossy(value);
        told.push((format!("free.{key}"), text.escape_debug().to_string()));
    }
    let fact = |(key, value)| Fact {
        key,
        value,
        version: None,
        age_ms,
    };
    told.into_iter().map(fact).collect()
}

/// Services as the API shows them.
pub(super) fn services(reports: &[ServiceReport]) -> Vec<Service> {
    let service = |report: &ServiceReport| Service {
        name: report.name.clone(),
        wanted: report.mode.is_some(),
        state: match &*report.state {
            "ready" | "not ready" => ServiceState::Running,
            "starting" | "waiting" => ServiceState::Starting,
            "draining" | "stopping" => ServiceState::Stopping,
            "failed" | "abandoned" => ServiceState::Failed,
            "not built" => ServiceState::NotBuilt,
            _ => ServiceState::Stopped,
        },
        ready: report.state == "ready",
        for_ms: Some(report.for_ms),
        last_error: report.last_error.clone(),
    };
    reports.iter().map(service).collect()
}

fn no_lines(why: &NoLines) -> Fault {
    Fault::new(convoke_web::Code::NotBuilt, why.to_string())
}

const fn severity(level: Level) -> u8 {
    match level {
        Level::Trace => 0,
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    }
}

const fn level(severity: u8) -> Level {
    match severity {
        0 => Level::Trace,
        1 => Level::Debug,
        2 => Level::Info,
        3 => Level::Warn,
        _ => Level::Error,
    }
}

/// A cursor: which start of the node, and where in what it told then. It is where to go on, so that of a line stands behind it.
fn cursor(start: u64, next: u64) -> String {
    format!("{start}.{next}")
}

fn place(cursor: &str) -> Option<Since> {
    let (start, cursor) = cursor.split_once('.')?;
    Some(Since::At {
        start: start.parse().ok()?,
        cursor: cursor.parse().ok()?,
    })
}

fn told(lines: Lines) -> LogPage {
    let start = lines.start;
    let line = |line: inspect::ToldLine| LogLine {
        cursor: cursor(start, line.cursor.saturating_add(1)),
        unix_ms: line.unix_ms,
        level: level(line.level),
        target: line.target,
        text: line.text,
    };
    LogPage {
        items: lines.lines.into_iter().map(line).collect(),
        next: cursor(start, lines.next),
        missed: lines.missed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = (0..40)
            .map(|seed| NodeId::from_public_key([seed; 32]))
            .collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_node_goes_by_its_id_its_name_and_the_beginning_of_its_id() {
        let ids = ids();
        let wanted = ids[7];
        let named = |id: &NodeId| *id == wanted;
        let whole = wanted.to_string();
        assert_eq!(find(&ids, |_| false, &whole), Ok(wanted));
        assert_eq!(find(&ids, named, "kitchen"), Ok(wanted));
        assert_eq!(find(&ids, |_| false, &whole[..12]), Ok(wanted));
        let none = find(&ids, |_| false, "nobody").unwrap_err();
        assert!(none.detail.contains("nobody"), "{none}");
        let many = find(&ids, |_| true, "twins").unwrap_err();
        assert!(many.detail.contains("more than one"), "{many}");
    }

    #[test]
    fn a_cursor_reads_back_and_nonsense_is_no_place() {
        let read = place(&cursor(3, 17));
        assert_eq!(
            read,
            Some(Since::At {
                start: 3,
                cursor: 17
            })
        );
        for nonsense in ["", "3", "3.", ".17", "a.b", "3.17.1", "-1.2"] {
            assert_eq!(place(nonsense), None, "{nonsense}");
        }
        for all in Level::ALL {
            assert_eq!(level(severity(all)), all);
        }
    }
}
