//! What is wrong, and what to do: decided from what was seen, without asking anybody.
//!
//! Each problem has a code that programs know it by, a sentence with the exact numbers and names, and a sentence that says what helps. They
//! stand in the order of their codes, the worst first. `docs/operate/api.md` has the same codes, and a test compares the two.
//!
//! Deliberately not here: seeing (`status.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_consensus::journal::{Condition, Wait};
use convoke_types::{NodeId, Role, Timestamp};
use convoke_web::model::{StatusProblem, Verdict};

use crate::inspect::ServiceReport;

/// Without a word of a leader or a majority for so long, there is none.
const STALE: Duration = Duration::from_secs(5);
/// A write that takes longer is worth a word.
const SLOW_DISK: Duration = Duration::from_secs(1);
/// A service that is on its way for longer is worth a word.
const STARTING: Duration = Duration::from_secs(30);
/// A node that is enrolled is looked for so long before it is missed.
const UNSEEN: Duration = Duration::from_secs(15);
/// Clocks that differ by more are worth a word.
const CLOCK: Duration = Duration::from_secs(30);
/// Problems of one kind that are told one by one.
const EACH: usize = 8;

macro_rules! codes {
    ($($name:ident $code:literal;)*) => {
        /// The codes, the worst first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        enum Code { $($name,)* }

        impl Code {
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$name),*];

            const fn name(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }
        }
    };
}

codes! {
    NoQuorum "no-quorum";
    LogStopped "log-stopped";
    DiskBroken "disk-broken";
    DiskFull "disk-full";
    NoLeader "no-leader";
    CutOff "cut-off";
    LogDoubtful "log-doubtful";
    CertificateExpired "certificate-expired";
    ClockBehind "clock-behind";
    ClockDiffers "clock-differs";
    PartitionSuspected "partition-suspected";
    OwnershipFrozen "ownership-frozen";
    ServiceFailed "service-failed";
    ServiceNotReady "service-not-ready";
    VoterMissing "voter-missing";
    MemberFailed "member-failed";
    MemberUnreachable "member-unreachable";
    MemberUnseen "member-unseen";
    VotersTooFew "voters-too-few";
    DiskSlow "disk-slow";
    CertificateNearExpiry "certificate-near-expiry";
    IssuersTooFew "issuers-too-few";
    RoleChangeUndone "role-change-undone";
    NoJudgement "no-judgement";
    VersionDiffers "version-differs";
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) me: NodeId,
    pub(super) uptime: Duration,
    pub(super) version: String,
    pub(super) now: Timestamp,
    /// By how many milliseconds the clock of this machine is ahead of those of other voters that said in time.
    pub(super) clocks: Vec<(NodeId, i64)>,
    /// From when on and until when the certificate counts, …
    pub(super) certificate: (Timestamp, Timestamp),
    /// … and from when on it should have been renewed.
    pub(super) overdue_at: Timestamp,
    pub(super) log: Option<SeenLog>,
    /// Members as gossip sees them, this node not among them; nothing while gossip does not run.
    pub(super) members: Option<BTreeMap<NodeId, SeenMember>>,
    pub(super) partition: bool,
    pub(super) frozen: bool,
    /// This node judges nobody, as it is not well itself.
    pub(super) abstains: bool,
    /// Roles of those that are enrolled, and whether they could vote; nothing if that is unknown.
    pub(super) enrolled: Option<BTreeMap<NodeId, (Role, bool)>>,
    /// Nodes that have an issuer that signs; nothing if that is unknown.
    pub(super) signers: Option<Vec<NodeId>>,
    pub(super) services: Vec<ServiceReport>,
    pub(super) rolled_back: Option<String>,
}

/// What was seen of the log.
#[derive(Debug)]
pub(super) struct SeenLog {
    pub(super) leader: Option<NodeId>,
    pub(super) voters: Vec<NodeId>,
    /// How long no leader was heard of, or on a leader no majority.
    pub(super) age: Option<Duration>,
    pub(super) is_doubtful: bool,
    pub(super) stopped: Option<String>,
    pub(super) disk: Option<Condition>,
    /// How many may vote at most.
    pub(super) voters_most: usize,
}

/// What was seen of a member.
#[derive(Debug, Clone)]
pub(super) struct SeenMember {
    pub(super) name: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) version: Option<String>,
}

impl SeenLog {
    /// Who leads, unless nothing was heard of it for a while.
    pub(super) fn led_by(&self) -> Option<NodeId> {
        self.leader
            .filter(|_| self.age.is_none_or(|age| age < STALE))
    }
}

#[derive(Default)]
struct Found(Vec<(Code, StatusProblem)>);

impl Found {
    fn add(&mut self, code: Code, what: impl Into<String>, what_to_do: impl Into<String>) {
        let problem = StatusProblem {
            code: code.name().to_owned(),
            what: what.into(),
            what_to_do: what_to_do.into(),
        };
        self.0.push((code, problem));
    }
}

/// All that is wrong, the worst first.
pub(super) fn problems(seen: &Seen) -> Vec<StatusProblem> {
    let mut found = Found::default();
    of_the_log(seen, &mut found);
    of_the_disk(seen, &mut found);
    of_members(seen, &mut found);
    of_custody(seen, &mut found);
    of_this_node(seen, &mut found);
    found.0.sort_by_key(|(code, _)| *code);
    found.0.into_iter().map(|(_, problem)| problem).collect()
}

impl Seen {
    fn called(&self, node: NodeId) -> String {
        if node == self.me {
            return "this node".to_owned();
        }
        let member = self.members.as_ref().and_then(|all| all.get(&node));
        match member.and_then(|member| member.name.as_deref()) {
            Some(name) => format!("node {} ({})", node.short(), name.escape_debug()),
            None => format!("node {}", node.short()),
        }
    }

    fn all_called(&self, nodes: &[NodeId]) -> String {
        let named = nodes.iter().take(EACH).map(|node| self.called(*node));
        let mut text = named.collect::<Vec<_>>().join(", ");
        if nodes.len() > EACH {
            text.push_str(&format!(" and {} more", nodes.len() - EACH));
        }
        text
    }

    /// Whether a node answers, as far as gossip knows; who is not known is waited for at first.
    fn answers(&self, node: NodeId) -> bool {
        let Some(members) = &self.members else {
            return true;
        };
        if node == self.me {
            return true;
        }
        match members.get(&node) {
            Some(member) => member.verdict == Verdict::Reachable,
            None => self.uptime < UNSEEN,
        }
    }

    /// Whether a node was seen, and answers.
    fn is_seen(&self, node: NodeId) -> bool {
        let known = self
            .members
            .as_ref()
            .is_none_or(|all| all.contains_key(&node));
        self.answers(node) && (known || node == self.me)
    }

    fn counts(&self, node: NodeId) -> bool {
        let role = self.enrolled.as_ref().and_then(|all| all.get(&node));
        match (role, &self.enrolled) {
            (Some((role, _)), _) => !matches!(role, Role::Leecher | Role::Observer),
            // Who is not enrolled is no part of the cluster any more.
            (None, Some(_)) => false,
            (None, None) => true,
        }
    }
}

fn of_the_log(seen: &Seen, found: &mut Found) {
    let Some(log) = &seen.log else {
        return;
    };
    if let Some(why) = &log.stopped {
        found.add(
            Code::LogStopped,
            format!("the log of this node stopped: {why}"),
            "repair that, and start the node again",
        );
    }
    if log.is_doubtful {
        found.add(
            Code::LogDoubtful,
            "the log of this node may have lost something, so it does not vote until a leader has sent it what is missing",
            "wait until it is refilled; if no other voter is left, see `convoke recover`",
        );
    }
    let all = log.voters.len();
    let missing: Vec<NodeId> = log
        .voters
        .iter()
        .copied()
        .filter(|voter| !seen.answers(*voter))
        .collect();
    let answering = all - missing.len();
    // Who was not seen yet is waited for, and does not count as answering.
    let seen_now = log.voters.iter().filter(|it| seen.is_seen(**it)).count();
    let needed = all / 2 + 1;
    let is_led = log.led_by().is_some();
    if all == 0 {
        if !is_led {
            found.add(
                Code::NoLeader,
                "this node knows of nobody who votes, so nothing is decided here",
                "start a node that keeps the log, or join one that does with a token",
            );
        }
        return;
    }
    // As long as somebody leads, a majority answers it, whatever gossip says from here.
    if seen_now < needed && !is_led {
        let gone = log.voters.iter().copied();
        let gone: Vec<NodeId> = gone.filter(|it| !seen.is_seen(*it)).collect();
        found.add(
            Code::NoQuorum,
            format!(
                "{seen_now} of {all} voters answer and {needed} are needed, so nothing can be decided; missing: {}",
                seen.all_called(&gone)
            ),
            "start those nodes again; if they are gone for good, `convoke recover` on one that is left, after reading docs/operate/log.md",
        );
    } else if !is_led {
        let for_how_long = match (log.leader, log.age) {
            (Some(leader), Some(age)) => format!(
                "nothing was heard of the leader, {}, for {} s",
                seen.called(leader),
                age.as_secs()
            ),
            (_, Some(age)) if age >= Duration::from_secs(1) => {
                format!("nobody has led for {} s", age.as_secs())
            }
            _ => "nobody leads".to_owned(),
        };
        found.add(
            Code::NoLeader,
            format!("{for_how_long}; {seen_now} of {all} voters answer, so one will be elected"),
            "wait a few seconds; if it stays so, look whether voters reach each other on their port, over UDP and TCP",
        );
    }
    for voter in missing.iter().take(EACH) {
        let spare = answering.saturating_sub(needed);
        found.add(
            Code::VoterMissing,
            format!(
                "{} votes and does not answer: {answering} of {all} voters do, and {spare} more may go before nothing can be decided",
                seen.called(*voter)
            ),
            "start it again; if it is gone for good, `convoke node forget` it, and another node takes its place",
        );
    }
    let Some(enrolled) = &seen.enrolled else {
        return;
    };
    let could = enrolled
        .iter()
        .filter(|(node, (_, could))| *could && seen.answers(**node))
        .count();
    let wanted = match could.min(log.voters_most) {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    };
    if all < wanted {
        found.add(
            Code::VotersTooFew,
            format!("{all} nodes vote, and {wanted} of the {could} that could should"),
            "wait until they have the log; `GET /v1/voters?explain=true` says of each what keeps it",
        );
    }
}

fn of_the_disk(seen: &Seen, found: &mut Found) {
    let disk = seen.log.as_ref().and_then(|log| log.disk.as_ref());
    match disk {
        Some(Condition::Broken(error)) => found.add(
            Code::DiskBroken,
            format!("the disk of the log failed, and nothing is written any more: {error}"),
            "replace it, and start the node again",
        ),
        Some(Condition::Waiting(Wait::Room, time)) if *time >= SLOW_DISK => found.add(
            Code::DiskFull,
            format!(
                "the disk of the log has been full for {} s: this node acknowledges nothing",
                time.as_secs()
            ),
            "make room on it; the node goes on by itself",
        ),
        Some(Condition::Waiting(Wait::Write, time)) if *time >= SLOW_DISK => found.add(
            Code::DiskSlow,
            format!(
                "the disk of the log has been busy with one write for {} s",
                time.as_secs()
            ),
            "look at what else uses it, and at its health",
        ),
        Some(Condition::Well | Condition::Waiting(..)) | None => {}
    }
}

fn of_members(seen: &Seen, found: &mut Found) {
    let Some(members) = &seen.members else {
        return;
    };
    if seen.partition {
        let gone = members
            .values()
            .filter(|it| matches!(it.verdict, Verdict::Unreachable | Verdict::Failed))
            .count();
        found.add(
            Code::PartitionSuspected,
            format!(
                "{gone} of {} other members went at once: the network may be cut",
                members.len()
            ),
            "look at the network between this node and those that are missing",
        );
    }
    if seen.frozen {
        found.add(
            Code::OwnershipFrozen,
            "what nodes own does not move, since many members went at once",
            "it ends when the leader confirms the loss, half a minute later, or when they are back",
        );
    }
    if seen.abstains {
        found.add(
            Code::NoJudgement,
            "this node is not well itself, by its own measure, and judges nobody else",
            "look whether its processor is overloaded, or whether it is cut off from the network",
        );
    }
    let with = |verdict: Verdict| -> Vec<NodeId> {
        let all = members.iter().filter(|(node, _)| seen.counts(**node));
        let gone = all.filter(|(_, member)| member.verdict == verdict);
        gone.map(|(node, _)| *node).collect()
    };
    let failed = with(Verdict::Failed);
    let unreachable = with(Verdict::Unreachable);
    let others = members.len();
    if others > 0 && others == failed.len() + unreachable.len() {
        found.add(
            Code::CutOff,
            format!("none of the {others} other members that are known answers: this node may be cut off"),
            "look at its network, and whether its port is open for UDP and TCP",
        );
    }
    let kinds = [
        (
            Code::MemberFailed,
            failed,
            "has not answered for long, and is held for failed",
        ),
        (Code::MemberUnreachable, unreachable, "does not answer"),
    ];
    for (code, nodes, words) in kinds {
        for node in nodes.iter().take(EACH) {
            found.add(
                code,
                format!("{} {words}", seen.called(*node)),
                "look at that machine and the network to it; if it is gone for good, `convoke node forget` it",
            );
        }
        if nodes.len() > EACH {
            found.add(
                code,
                format!(
                    "and {} more: {}",
                    nodes.len() - EACH,
                    seen.all_called(&nodes[EACH..])
                ),
                "`GET /v1/nodes` shows all of them",
            );
        }
    }
    if seen.uptime >= UNSEEN
        && let Some(enrolled) = &seen.enrolled
    {
        let unseen: Vec<NodeId> = enrolled
            .keys()
            .copied()
            .filter(|node| *node != seen.me && seen.counts(*node) && !members.contains_key(node))
            .collect();
        if !unseen.is_empty() {
            found.add(
                Code::MemberUnseen,
                format!(
                    "enrolled, and not seen since this node started: {}",
                    seen.all_called(&unseen)
                ),
                "start them; those that are gone for good, `convoke node forget`",
            );
        }
    }
    let others: Vec<NodeId> = members
        .iter()
        .filter(|(_, member)| member.verdict == Verdict::Reachable)
        .filter(|(_, member)| {
            member
                .version
                .as_ref()
                .is_some_and(|it| *it != seen.version)
        })
        .map(|(node, _)| *node)
        .collect();
    if !others.is_empty() {
        found.add(
            Code::VersionDiffers,
            format!(
                "this node runs version {}, and others do not: {}",
                seen.version,
                seen.all_called(&others)
            ),
            "finish the upgrade: what is new counts when all run it",
        );
    }
}

fn of_custody(seen: &Seen, found: &mut Found) {
    let (from, until) = seen.certificate;
    if seen.now < from {
        found.add(
            Code::ClockBehind,
            format!("the clock of this machine says {}, before {from}, when this node's certificate begins to count", seen.now),
            "set the clock, and have it kept (NTP)",
        );
    } else if seen.now >= until {
        found.add(
            Code::CertificateExpired,
            format!("the certificate of this node counted until {until}: others refuse its links"),
            "look whether it reaches a voter, which renews it, and whether its clock is right",
        );
    } else if seen.now > seen.overdue_at {
        found.add(
            Code::CertificateNearExpiry,
            format!(
                "the certificate of this node counts for {} s more, and should have been renewed",
                until.since(seen.now).as_secs()
            ),
            "look whether it reaches a voter, which renews it; its log says why not",
        );
    }
    of_clocks(seen, found);
    if let (Some(signers), Some(log)) = (&seen.signers, &seen.log) {
        let signing = log
            .voters
            .iter()
            .filter(|voter| signers.contains(voter))
            .count();
        let wanted = log.voters.len().min(2);
        if signing < wanted && seen.uptime >= UNSEEN {
            found.add(
                Code::IssuersTooFew,
                format!(
                    "{signing} of {} voters have an issuer that signs: without one, nobody joins and no certificate is renewed",
                    log.voters.len()
                ),
                "look at the logs of the other voters, which make their issuers by themselves",
            );
        }
    }
}

/// Whose clock is wrong is for people to find; who is alone with what it says is told.
fn of_clocks(seen: &Seen, found: &mut Found) {
    let is_apart =
        |(_, ahead_ms): &&(NodeId, i64)| Duration::from_millis(ahead_ms.unsigned_abs()) > CLOCK;
    let apart: Vec<_> = seen.clocks.iter().filter(is_apart).collect();
    let agree = seen.clocks.len() - apart.len();
    let what_to_do = match (agree, apart.len()) {
        (0, 2..) => {
            "set the clock of this machine, with which no other agrees, and have it kept (NTP): certificates count by it"
        }
        (1.., 1) => {
            "set the clock of the other machine, as more agree with this one, and have it kept (NTP): certificates count by it"
        }
        _ => {
            "compare both with a clock that is right, and have them kept (NTP): certificates count by these clocks"
        }
    };
    for (other, ahead_ms) in apart {
        let how = if *ahead_ms > 0 { "ahead of" } else { "behind" };
        found.add(
            Code::ClockDiffers,
            format!(
                "the clock of this machine is {} s {how} that of {}: one of them is wrong",
                ahead_ms.unsigned_abs() / 1_000,
                seen.called(*other)
            ),
            what_to_do,
        );
    }
}

fn of_this_node(seen: &Seen, found: &mut Found) {
    for service in seen
        .services
        .iter()
        .filter(|service| service.mode.is_some())
    {
        let why = service
            .last_error
            .as_deref()
            .unwrap_or("no reason was given");
        let name = &service.name;
        let is_late = Duration::from_millis(service.for_ms) >= STARTING;
        match &*service.state {
            "failed" => found.add(
                Code::ServiceFailed,
                format!("{name} of this node failed, and is tried again: {why}"),
                "repair what it says; the node's log has more",
            ),
            "abandoned" => found.add(
                Code::ServiceFailed,
                format!("{name} of this node was cut off and is still there: {why}"),
                "start the node again",
            ),
            "not ready" => found.add(
                Code::ServiceNotReady,
                format!("{name} of this node is not ready: {why}"),
                "wait a moment if the node started just now; else repair what it says",
            ),
            "starting" | "waiting" if is_late => found.add(
                Code::ServiceNotReady,
                format!(
                    "{name} of this node has been {} for {} s",
                    service.state,
                    service.for_ms / 1_000
                ),
                "look at what it stands on, and at the node's log",
            ),
            _ => {}
        }
    }
    if let Some(why) = &seen.rolled_back {
        found.add(
            Code::RoleChangeUndone,
            format!("the last change of this node's role was undone: {why}"),
            "repair that, and give it the role again",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from_public_key([seed; 32])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1_000)
    }

    fn member(name: &str) -> SeenMember {
        SeenMember {
            name: Some(name.to_owned()),
            verdict: Verdict::Reachable,
            version: Some("1".to_owned()),
        }
    }

    /// Three nodes of which all is well.
    fn well() -> Seen {
        let voters = vec![node(1), node(2), node(3)];
        Seen {
            me: node(1),
            uptime: Duration::from_secs(100),
            version: "1".to_owned(),
            now: at(10_000),
            clocks: vec![(node(2), -900), (node(3), 1_200)],
            certificate: (at(9_000), at(20_000)),
            overdue_at: at(18_000),
            log: Some(SeenLog {
                leader: Some(node(1)),
                voters: voters.clone(),
                age: Some(Duration::ZERO),
                is_doubtful: false,
                stopped: None,
                disk: Some(Condition::Well),
                voters_most: 5,
            }),
            members: Some([(node(2), member("b")), (node(3), member("c"))].into()),
            partition: false,
            frozen: false,
            abstains: false,
            enrolled: Some(
                voters
                    .iter()
                    .map(|it| (*it, (Role::Master, true)))
                    .collect(),
            ),
            signers: Some(voters),
            services: Vec::new(),
            rolled_back: None,
        }
    }

    fn log(seen: &mut Seen) -> &mut SeenLog {
        seen.log.as_mut().unwrap()
    }

    fn verdict(seen: &mut Seen, seed: u8, verdict: Verdict) {
        let members = seen.members.as_mut().unwrap();
        members.get_mut(&node(seed)).unwrap().verdict = verdict;
    }

    fn service(state: &str, for_ms: u64) -> ServiceReport {
        ServiceReport {
            name: "api".to_owned(),
            mode: Some("full".to_owned()),
            state: state.to_owned(),
            for_ms,
            last_error: Some("the port is taken".to_owned()),
        }
    }

    fn told(change: impl FnOnce(&mut Seen)) -> Vec<(String, String)> {
        let mut seen = well();
        change(&mut seen);
        let found = problems(&seen);
        assert!(found.iter().all(|problem| !problem.what_to_do.is_empty()));
        found.into_iter().map(|it| (it.code, it.what)).collect()
    }

    fn codes(change: impl FnOnce(&mut Seen)) -> Vec<String> {
        told(change).into_iter().map(|(code, _)| code).collect()
    }

    #[test]
    fn where_all_is_well_nothing_is_told() {
        assert_eq!(told(|_| ()), []);
        // A cluster of one, and of two.
        assert_eq!(
            codes(|seen| {
                seen.members = Some(BTreeMap::new());
                log(seen).voters = vec![node(1)];
                seen.enrolled = Some([(node(1), (Role::Master, true))].into());
            }),
            [""; 0]
        );
    }

    #[test]
    fn a_voter_that_is_gone_is_named_with_how_many_more_may_go() {
        let found = told(|seen| verdict(seen, 2, Verdict::Unreachable));
        let short = node(2).short().to_string();
        let codes: Vec<&str> = found.iter().map(|(code, _)| &**code).collect();
        assert_eq!(codes, ["voter-missing", "member-unreachable"]);
        for (_, what) in &found {
            assert!(what.contains(&short) && what.contains("(b)"), "{what}");
        }
        assert!(
            found[0].1.contains("2 of 3") && found[0].1.contains("0 more"),
            "{}",
            found[0].1
        );
    }

    #[test]
    fn without_a_majority_it_is_said_how_many_of_how_many_answer() {
        let found = told(|seen| {
            verdict(seen, 2, Verdict::Failed);
            verdict(seen, 3, Verdict::Failed);
            log(seen).age = Some(Duration::from_secs(9));
        });
        assert_eq!(found[0].0, "no-quorum");
        assert!(
            found[0].1.contains("1 of 3 voters answer and 2 are needed"),
            "{}",
            found[0].1
        );
        assert!(found.iter().any(|(code, _)| code == "cut-off"));
    }

    #[test]
    fn a_node_that_starts_alone_says_who_is_missing_and_waits_before_it_blames_them() {
        let found = told(|seen| {
            seen.uptime = Duration::from_secs(2);
            seen.members = Some(BTreeMap::new());
            log(seen).leader = None;
            log(seen).age = None;
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "no-quorum");
        assert!(
            found[0].1.contains("1 of 3 voters answer"),
            "{}",
            found[0].1
        );
    }

    #[test]
    fn each_trouble_has_its_code() {
        let one = |change: fn(&mut Seen)| codes(change);
        assert_eq!(one(|seen| log(seen).leader = None), ["no-leader"]);
        assert_eq!(
            one(|seen| log(seen).age = Some(Duration::from_secs(7))),
            ["no-leader"],
            "a leader of which nothing is heard"
        );
        assert_eq!(one(|seen| log(seen).is_doubtful = true), ["log-doubtful"]);
        assert_eq!(
            one(|seen| log(seen).stopped = Some("x".into())),
            ["log-stopped"]
        );
        let long = Duration::from_secs(3);
        assert_eq!(
            codes(|seen| log(seen).disk = Some(Condition::Waiting(Wait::Room, long))),
            ["disk-full"]
        );
        assert_eq!(
            codes(|seen| log(seen).disk = Some(Condition::Waiting(Wait::Write, long))),
            ["disk-slow"]
        );
        assert_eq!(one(|seen| seen.partition = true), ["partition-suspected"]);
        assert_eq!(one(|seen| seen.frozen = true), ["ownership-frozen"]);
        assert_eq!(one(|seen| seen.abstains = true), ["no-judgement"]);
        assert_eq!(one(|seen| seen.now = at(20_001)), ["certificate-expired"]);
        assert_eq!(
            one(|seen| seen.now = at(19_000)),
            ["certificate-near-expiry"]
        );
        assert_eq!(one(|seen| seen.now = at(5)), ["clock-behind"], "as in 1970");
        assert_eq!(
            one(|seen| seen.signers = Some(vec![node(1)])),
            ["issuers-too-few"]
        );
        assert_eq!(
            one(|seen| seen.rolled_back = Some("x".into())),
            ["role-change-undone"]
        );
        assert_eq!(
            one(|seen| log(seen).voters = vec![node(1)]),
            ["voters-too-few"]
        );
        assert_eq!(one(|seen| seen.version = "2".into()), ["version-differs"]);
        assert_eq!(
            one(|seen| {
                seen.enrolled
                    .as_mut()
                    .unwrap()
                    .insert(node(4), (Role::Worker, false));
            }),
            ["member-unseen"]
        );
        assert_eq!(
            one(|seen| seen.services = vec![service("failed", 0)]),
            ["service-failed"]
        );
        assert_eq!(
            one(|seen| seen.services = vec![service("not ready", 0)]),
            ["service-not-ready"]
        );
        assert_eq!(
            one(|seen| seen.services = vec![service("waiting", 0)]),
            [""; 0]
        );
        assert_eq!(
            one(|seen| seen.services = vec![service("waiting", 60_000)]),
            ["service-not-ready"]
        );
        assert_eq!(
            one(|seen| seen.services = vec![service("not built", 60_000)]),
            [""; 0]
        );
    }

    #[test]
    fn clocks_that_are_apart_are_all_told_and_who_is_alone_is_set() {
        const HOUR: i64 = 3_600_000;
        let told = |clocks: &[(NodeId, i64)]| {
            let clocks = clocks.to_vec();
            let seen = Seen { clocks, ..well() };
            let told = problems(&seen).into_iter();
            told.map(|it| (it.code, it.what, it.what_to_do))
                .collect::<Vec<_>>()
        };
        // Also of one that does not lead, and is not the first to be asked.
        for (ahead_ms, how) in [(HOUR, "ahead of that of"), (-HOUR, "behind that of")] {
            let found = told(&[(node(2), 900), (node(3), ahead_ms)]);
            let [(code, what, what_to_do)] = &*found else {
                panic!("{found:?}");
            };
            assert_eq!(code, "clock-differs");
            assert!(what.contains(how) && what.contains("(c)"), "{what}");
            assert!(what_to_do.contains("of the other"), "{what_to_do}");
        }
        let found = told(&[(node(2), HOUR), (node(3), HOUR + 10)]);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|it| it.2.contains("of this machine")));
        // Of two, nobody knows.
        let found = told(&[(node(2), HOUR)]);
        assert!(found[0].2.contains("compare both"), "{found:?}");
    }

    #[test]
    fn who_only_looks_on_or_is_forgotten_may_go() {
        for enrolled in [Some(Role::Leecher), Some(Role::Observer), None] {
            let found = codes(|seen| {
                let mut gone = member("d");
                gone.verdict = Verdict::Failed;
                seen.members.as_mut().unwrap().insert(node(4), gone);
                if let Some(role) = enrolled {
                    seen.enrolled
                        .as_mut()
                        .unwrap()
                        .insert(node(4), (role, false));
                }
            });
            assert_eq!(found, [""; 0], "{enrolled:?}");
        }
    }

    #[test]
    fn names_of_others_do_nothing_to_a_terminal() {
        let found = told(|seen| {
            let bad = "\u{1b}[2J".to_owned();
            let members = seen.members.as_mut().unwrap();
            members.get_mut(&node(2)).unwrap().name = Some(bad);
            verdict(seen, 2, Verdict::Failed);
        });
        assert!(
            found.iter().all(|(_, what)| !what.contains('\u{1b}')),
            "{found:?}"
        );
    }

    #[test]
    fn every_code_is_in_the_document_for_operators() {
        let page = include_str!("../../../../../docs/operate/api.md");
        for code in Code::ALL {
            let row = format!("| `{}` |", code.name());
            assert!(
                page.contains(&row),
                "docs/operate/api.md lacks a row that begins {row}"
            );
        }
    }
}
