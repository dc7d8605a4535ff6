//! What happened, kept for a while, for those who follow it.
//!
//! What the node itself tells goes in as it is told; what is decided is watched from here. A cursor is a place in one start of the node:
//! after another one, who comes back with it hears that something is missing.
//!
//! | bound | |
//! | --- | --- |
//! | events kept | [`KEPT`]; the oldest go |
//!
//! Deliberately not here: changes of keys and locks, which are many and have watches of their own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_consensus::engine::Watched;
use convoke_consensus::host::LogNode;
use convoke_decided::Changed as Decision;
use convoke_driver::EventKind;
use convoke_types::wire::store::{
    CustodyNews, Found, Marked, News, NodeFound, NodeQuery, PAGE_ITEMS, Proposal, Query, Record,
    Verdict,
};
use convoke_types::{NodeId, Role};
use convoke_web::backend::{Reading, Start};
use convoke_web::model::{Event as Told, EventPage, Kind, Stamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::custody::now;
use crate::event::Event;
use crate::parts::Parts;
use crate::supervisor;
use crate::supervisor::Context;

/// Events that are kept.
pub(super) const KEPT: usize = 4_096;

/// Between two looks at the time of the log, when much is decided.
const CLOCK: Duration = Duration::from_millis(100);

/// What happened lately.
#[derive(Debug)]
pub(crate) struct Happenings {
    /// Which start of the node this is.
    start: u64,
    kept: Mutex<Kept>,
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Happening>,
    /// The place of the oldest.
    oldest: u64,
}

#[derive(Debug, Clone)]
struct Happening {
    unix_ms: u64,
    kind: Kind,
    name: String,
    node: Option<NodeId>,
    revision: Option<u64>,
    text: String,
}

impl Happenings {
    pub(crate) fn new(start: u64) -> Self {
        Self {
            start,
            kept: Mutex::default(),
            next: watch::Sender::new(0),
        }
    }

    /// What the node tells.
    pub(crate) fn hear(&self, event: &Event) {
        if let Some(happening) = of_event(event) {
            self.add(happening);
        }
    }

    fn add(&self, happening: Happening) {
        let mut kept = self.kept.lock();
        if kept.events.len() == KEPT {
            kept.events.pop_front();
            kept.oldest += 1;
        }
        kept.events.push_back(happening);
        let next = kept.oldest + kept.events.len() as u64;
        // Under the lock, so that places never go back for whoever waits.
        self.next.send_replace(next);
    }

    pub(crate) async fn read(&self, reading: Reading) -> EventPage {
        let mut news = self.next.subscribe();
        let (mut after, is_lost) = match &reading.start {
            Start::Oldest => (None, false),
            Start::Now => (Some(*news.borrow_and_update()), false),
            Start::After(cursor) => match self.place(cursor) {
                Some(place) => (Some(place), false),
                None => (None, true),
            },
        };
        let deadline = tokio::time::Instant::now() + reading.wait;
        loop {
            news.borrow_and_update();
            let mut page = self.look(after, reading.limit as usize);
            page.missed |= is_lost;
            let is_late = tokio::time::Instant::now() >= deadline;
            if !page.items.is_empty() || page.missed || is_late {
                return page;
            }
            after = after.or_else(|| self.place(&page.next));
            // Late: what is there is told.
            let _ = tokio::time::timeout_at(deadline, news.changed()).await;
        }
    }

    fn look(&self, after: Option<u64>, limit: usize) -> EventPage {
        let kept = self.kept.lock();
        let end = kept.oldest + kept.events.len() as u64;
        let is_ahead = after.is_some_and(|after| after > end);
        let begin = after.filter(|_| !is_ahead).unwrap_or(kept.oldest);
        let begin = begin.max(kept.oldest);
        let skipped = usize::try_from(begin - kept.oldest).unwrap_or(usize::MAX);
        let items: Vec<Told> = kept
            .events
            .iter()
            .skip(skipped)
            .take(limit)
            .zip(begin..)
            .map(|(happening, place)| self.told(happening, place))
            .collect();
        let next = begin + items.len() as u64;
        EventPage {
            items,
            next: self.cursor(next),
            missed: is_ahead || after.is_some_and(|after| after < kept.oldest),
            stamp: Stamp {
                kind: Kind::Observed,
                revision: None,
                age_ms: Some(0),
            },
        }
    }

    fn told(&self, happening: &Happening, place: u64) -> Told {
        Told {
            cursor: self.cursor(place + 1),
            unix_ms: happening.unix_ms,
            kind: happening.kind,
            name: happening.name.clone(),
            node: happening.node.map(|node| node.to_string()),
            revision: happening.revision,
            text: happening.text.clone(),
        }
    }

    fn cursor(&self, next: u64) -> String {
        format!("{}.{next}", self.start)
    }

    fn place(&self, cursor: &str) -> Option<u64> {
        let (start, next) = cursor.split_once('.')?;
        (start.parse() == Ok(self.start)).then_some(())?;
        next.parse().ok()
    }
}

fn happening(kind: Kind, name: &str, node: Option<NodeId>, text: String) -> Happening {
    Happening {
        unix_ms: now().unix_ms(),
        kind,
        name: name.to_owned(),
        node,
        revision: None,
        text,
    }
}

fn observed(name: &str, node: Option<NodeId>, text: impl Into<String>) -> Option<Happening> {
    Some(happening(Kind::Observed, name, node, text.into()))
}

/// What others hear of what the node tells; what concerns its start alone they do not.
fn of_event(event: &Event) -> Option<Happening> {
    match event {
        Event::Membership(kind) => of_membership(kind),
        Event::Services(event) => of_services(event),
        Event::Leads { leader, term } => {
            let text = format!("node {} leads in term {term}", leader.node.short());
            let name = "leader-changed";
            Some(happening(Kind::Decided, name, Some(leader.node), text))
        }
        Event::NobodyLeads => observed("leader-lost", None, "nobody is known to lead"),
        Event::Doubtful { is_doubtful: true } => observed(
            "log-doubtful",
            None,
            "this node's log may have lost something, so it does not vote until it is whole again",
        ),
        Event::Doubtful { is_doubtful: false } => {
            observed("log-whole", None, "this node's log is whole again")
        }
        Event::Trouble { trouble: Some(why) } => observed("disk-trouble", None, *why),
        Event::Trouble { trouble: None } => {
            observed("disk-well", None, "the disk of this node does well again")
        }
        Event::Elsewhere { known_at, own } => {
            let text = format!("others look for this node at {}, and it is at {own}", known_at.join(", "));
            observed("node-elsewhere", None, text)
        }
        Event::Renewed { until, .. } => {
            let text = format!("this node's certificate counts until {until}");
            observed("certificate-renewed", None, text)
        }
        Event::NotRenewed { why, until } => {
            let text = format!("this node's certificate, which counts until {until}, is not renewed: {why}");
            observed("certificate-not-renewed", None, text)
        }
        Event::ClockIsBehind { now, from } => {
            let text = format!("the clock of this node says {now}, before {from}, when its certificate begins");
            observed("clock-behind", None, text)
        }
        Event::Trusts { issuers, forgotten } => {
            let text = format!("this node believes {issuers} issuers and knows {forgotten} forgotten nodes");
            observed("trust-taken", None, text)
        }
        Event::Ready { role, .. } => observed("node-ready", None, format!("this node is ready as {role}")),
        Event::Stopping => observed("node-stopping", None, "this node stops"),
        Event::Started { .. }
        | Event::NewCluster
        | Event::NoLog { .. }
        | Event::Joining { .. }
        | Event::Joined { .. }
        | Event::Enrolled { .. }
        | Event::NotEnrolled { .. }
        | Event::Waiting { .. }
        | Event::Founded { .. }
        | Event::FoundedBefore
        // Decided, and told as that.
        | Event::RoleIs { .. }
        | Event::Stopped => None,
    }
}

fn of_membership(kind: &EventKind) -> Option<Happening> {
    let (name, words) = match kind {
        EventKind::NodeJoined(_) => ("node-joined", "is seen for the first time"),
        EventKind::NodeUpdated(_) => ("node-updated", "says something new of itself"),
        EventKind::NodeUnreachable(_) => ("node-unreachable", "does not answer"),
        EventKind::NodeReachable(_) => ("node-reachable", "answers again"),
        EventKind::NodeLeft(_) => ("node-left", "said goodbye"),
        EventKind::NodeFailed(_) => (
            "node-failed",
            "has not answered for long, and is held for failed",
        ),
        EventKind::NodeRejoined(_) => ("node-rejoined", "is back"),
        EventKind::NodeForgotten(_) => {
            ("member-dropped", "was gone for long, and is not remembered")
        }
        EventKind::PartitionSuspected { gone, of } => {
            let text = format!("{gone} of {of} members went at once: ownership is frozen");
            return observed("partition-suspected", None, text);
        }
        EventKind::PartitionHealed => {
            return observed("partition-healed", None, "most members are back");
        }
        EventKind::FreezeEnded => {
            return observed("freeze-ended", None, "ownership may change again");
        }
    };
    let member = kind.member()?;
    let called = member.facts.profile.name.as_deref();
    let called = called.map_or_else(String::new, |name| format!(" ({})", name.escape_debug()));
    let text = format!("node {}{called} {words}", member.id.short());
    observed(name, Some(member.id), text)
}

fn of_services(event: &supervisor::Event) -> Option<Happening> {
    use supervisor::Event as It;
    match event {
        It::Ready => observed(
            "services-ready",
            None,
            "all essential services of this node are ready",
        ),
        It::NotReady { service, why } => observed(
            "service-not-ready",
            None,
            format!("{service} is not ready: {why}"),
        ),
        It::Changing {
            from: Some(from),
            to,
        } => observed(
            "role-changing",
            None,
            format!("this node goes from {from} to {to}"),
        ),
        It::Changing { from: None, .. } => None,
        It::Changed { role } => observed(
            "role-taken",
            None,
            format!("this node plays the role of {role}"),
        ),
        It::RollingBack { to, from, why } => observed(
            "role-change-undone",
            None,
            format!("this node did not become {from} and is {to} again: {why}"),
        ),
        It::Failed { service, error, .. } => {
            observed("service-failed", None, format!("{service} failed: {error}"))
        }
        It::DrainCut { service } => observed(
            "service-cut-off",
            None,
            format!("{service} did not let go of its work in time"),
        ),
        It::StopCut { service } => observed(
            "service-cut-off",
            None,
            format!("{service} did not stop in time"),
        ),
        It::Abandoned { service } => observed(
            "service-abandoned",
            None,
            format!("{service} was cut off and is still there"),
        ),
        It::Stopping { .. } => observed("node-stopping", None, "this node stops"),
    }
}

/// What of a record others hear of.
type Seen = (Role, bool, convoke_types::RoleSet);

fn seen(record: &Record) -> Seen {
    (record.role, record.drains, record.allowed)
}

/// Tells what is decided, until the service stops.
pub(super) async fn follow(parts: &Arc<Parts>, context: &Context) {
    tokio::select! {
        () = context.stopped() => {}
        () = listen(parts) => {}
    }
}

async fn listen(parts: &Arc<Parts>) {
    let mut logs = parts.log.watch();
    loop {
        let log = logs.borrow_and_update().clone();
        let heard = async {
            match &log {
                Some(log) => hear(parts, log).await,
                None => ask(parts).await,
            }
        };
        tokio::select! {
            () = heard => {}
            changed = logs.changed() => if changed.is_err() { return },
        }
    }
}

/// From the log that is kept here.
async fn hear(parts: &Parts, log: &LogNode) {
    let consensus = log.consensus();
    let (_, frozen) = consensus.freeze();
    let records = |find: &dyn Fn(&Query) -> Found| {
        let mut all: BTreeMap<NodeId, Seen> = BTreeMap::new();
        loop {
            let after = all.last_key_value().map(|(node, _)| *node);
            let query = NodeQuery::List {
                after,
                limit: PAGE_ITEMS,
            };
            let Found::Node(NodeFound::Nodes(page)) = find(&Query::Node(query)) else {
                return all;
            };
            if page.is_empty() {
                return all;
            }
            all.extend(page.iter().map(|record| (record.node, seen(record))));
        }
    };
    let mut known = records(&|query| frozen.find(query));
    let mut watch = consensus.watch(frozen.revision());
    parts.log_clock.seen(frozen.time());
    drop(frozen);
    let mut looked = Instant::now();
    loop {
        match watch.next().await {
            Watched::Changes(changes) => {
                if looked.elapsed() >= CLOCK {
                    looked = Instant::now();
                    parts.log_clock.decided(consensus.freeze().1.time());
                }
                for changed in changes {
                    if let Decision::News(news) = changed {
                        tell(parts, &mut known, &news);
                    }
                }
            }
            Watched::Resync(frozen) => {
                known = records(&|query| frozen.find(query));
                let text =
                    "too much was decided at once to tell each of it: look at the state itself";
                let mut all = happening(Kind::Decided, "decisions-missed", None, text.to_owned());
                all.revision = Some(frozen.revision().0);
                parts.happenings.add(all);
            }
        }
    }
}

/// From others, where no log is kept.
async fn ask(parts: &Parts) {
    let mut known = BTreeMap::new();
    let mut watch = parts.store.news(None);
    loop {
        match watch.next().await {
            Ok(convoke_store::Event::News(news)) => tell(parts, &mut known, &news),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "what is decided cannot be watched");
                // Until the log is there, or the service stops.
                return std::future::pending().await;
            }
        }
    }
}

fn tell(parts: &Parts, known: &mut BTreeMap<NodeId, Seen>, news: &News) {
    let told = match news {
        News::Proposal(proposal, _) => Some(of_proposal(proposal)),
        News::Node(node, record, _) => {
            let before = match record {
                Some(record) => known.insert(*node, seen(record)),
                None => known.remove(node),
            };
            of_record(*node, before, record.as_deref())
        }
        News::Custody(what, _) => Some(of_custody(*what)),
        News::Mark(mark) => Some(of_mark(&mark.what)),
        News::Issuers(_) => Some(("issuers-changed", None, "other issuers count".to_owned())),
        News::Lock(_) => None,
    };
    if let Some((name, node, text)) = told {
        let mut decided = happening(Kind::Decided, name, node, text);
        decided.revision = Some(news.revision().0);
        parts.happenings.add(decided);
    }
}

type Words = (&'static str, Option<NodeId>, String);

fn of_proposal(proposal: &Proposal) -> Words {
    let (name, words) = match proposal.verdict {
        Verdict::Open => ("proposal-made", "was made"),
        Verdict::Passed { .. } => ("proposal-passed", "passed"),
        Verdict::Failed => ("proposal-failed", "failed"),
        Verdict::Expired => ("proposal-expired", "did not have the votes in time"),
        Verdict::Withdrawn => ("proposal-withdrawn", "was withdrawn"),
    };
    let key = proposal.key.escape_debug();
    let text = format!("proposal {} for {key} {words}", proposal.id);
    (name, Some(proposal.proposer), text)
}

fn of_record(node: NodeId, before: Option<Seen>, record: Option<&Record>) -> Option<Words> {
    let short = node.short();
    let Some(record) = record else {
        return Some((
            "node-forgotten",
            Some(node),
            format!("node {short} is forgotten"),
        ));
    };
    let (name, text) = match before {
        None => (
            "node-enrolled",
            format!("node {short} is enrolled as {}", record.role),
        ),
        Some((role, ..)) if role != record.role => (
            "role-changed",
            format!("node {short} is {} instead of {role}", record.role),
        ),
        Some((_, false, _)) if record.drains => {
            ("node-drained", format!("node {short} is taken out of use"))
        }
        Some((_, true, _)) if !record.drains => {
            ("node-in-use", format!("node {short} is in use again"))
        }
        Some((.., allowed)) if allowed != record.allowed => (
            "node-allowed",
            format!("node {short} may be {}", record.allowed),
        ),
        // Addresses and scores.
        Some(_) => return None,
    };
    Some((name, Some(node), text))
}

fn of_custody(what: CustodyNews) -> Words {
    let (name, text) = match what {
        CustodyNews::Tokens => (
            "tokens-changed",
            "others may join: tokens were made, used or revoked",
        ),
        CustodyNews::Keys => (
            "api-tokens-changed",
            "others may ask the API: tokens were made or revoked",
        ),
        CustodyNews::Trust => (
            "issuers-changed",
            "other issuers count, or other nodes are out",
        ),
    };
    (name, None, text.to_owned())
}

fn of_mark(what: &Marked) -> Words {
    match what {
        Marked::Recovered { by } => (
            "cluster-recovered",
            Some(*by),
            format!(
                "a majority was lost for good, and node {} went on with what it had",
                by.short()
            ),
        ),
        Marked::Lost(lost) => (
            "members-lost",
            None,
            format!("{} members are confirmed as lost", lost.len()),
        ),
        Marked::Restored { by, of } => (
            "cluster-restored",
            Some(*by),
            format!("node {} put in contents of revision {of}", by.short()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(start: Start, limit: u32) -> Reading {
        Reading {
            start,
            limit,
            wait: Duration::ZERO,
        }
    }

    fn filled(start: u64, count: usize) -> Happenings {
        let happenings = Happenings::new(start);
        for number in 0..count {
            let text = number.to_string();
            happenings.add(happening(Kind::Observed, "n", None, text));
        }
        happenings
    }

    fn texts(page: &EventPage) -> Vec<&str> {
        page.items.iter().map(|event| &*event.text).collect()
    }

    #[tokio::test]
    async fn who_reads_in_pieces_hears_everything_once() {
        let happenings = filled(1, 5);
        let first = happenings.read(reading(Start::Oldest, 2)).await;
        assert_eq!((texts(&first), first.missed), (vec!["0", "1"], false));
        let behind = Start::After(first.items[0].cursor.clone());
        let second = happenings.read(reading(behind, 9)).await;
        assert_eq!(texts(&second), ["1", "2", "3", "4"]);
        let third = happenings.read(reading(Start::After(second.next), 9)).await;
        assert_eq!((texts(&third).len(), third.missed), (0, false));
        let now = happenings.read(reading(Start::Now, 9)).await;
        assert_eq!((texts(&now).len(), now.next), (0, third.next));
    }

    #[tokio::test]
    async fn who_comes_late_or_from_another_life_hears_that_something_is_missing() {
        let happenings = filled(2, KEPT + 3);
        let late = happenings
            .read(reading(Start::After("2.1".to_owned()), 1))
            .await;
        assert_eq!((texts(&late), late.missed), (vec!["3"], true));
        for cursor in ["1.5", "2.999999", "", "nonsense", "2.", "2.-1"] {
            let start = Start::After(cursor.to_owned());
            let page = happenings.read(reading(start, 1)).await;
            assert_eq!((texts(&page), page.missed), (vec!["3"], true), "{cursor}");
        }
    }

    #[tokio::test]
    async fn who_waits_hears_what_comes() {
        let happenings = filled(1, 1);
        let mut waiting = reading(Start::Now, 9);
        waiting.wait = Duration::from_secs(60);
        let (page, ()) = tokio::join!(happenings.read(waiting), async {
            happenings.hear(&Event::NobodyLeads);
        });
        assert_eq!(page.items[0].name, "leader-lost");
    }
}
