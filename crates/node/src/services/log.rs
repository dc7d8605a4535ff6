//! The service of the log: keeps decided state, has this node listed in it, and hears what is decided about it.
//!
//! | mode | |
//! | --- | --- |
//! | votes, follows | the log is here; who votes is for the leader to say |
//! | asks | there is none here: others are asked |
//!
//! | bound | |
//! | --- | --- |
//! | nodes that are not up yet when a log is founded | asked again every half second, for the patience that was given |
//! | handing leadership over when it lets go | 2 s, then the others elect |
//! | saying that its sessions are over | half a second, then they end by themselves |
//! | calls under way at a stop | 1 s, then they are cut off |
//! | a new score for what this node can do | as `planning/scoring.rs` bounds it |
//! | being listed, where nobody answers | tried again at most every five seconds |
//!
//! Deliberately not here: deciding anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use convoke_consensus::engine::Watched;
use convoke_consensus::host::{HostError, HostSettings, LogNode};
use convoke_consensus::journal::{Condition, Wait};
use convoke_consensus::log::{LogId, VoterId};
use convoke_decided::Changed as Decision;
use convoke_driver::DirectoryServer;
use convoke_planner::roles::Rules;
use convoke_rpc::{Role, Server};
use convoke_types::wire::store::{
    Command, Found, Freshness, LogNumber, Marked, News, NodeCommand, NodeFound, NodeQuery, Query,
    Record,
};

use crate::event::{Event, Place};
use crate::home::random;
use crate::inspect::{InspectServer, Inspecting};
use crate::node::{Belonging, NodeError};
use crate::parts::Parts;
use crate::planning::Scoring;
use crate::planning::bandwidth::{BandwidthServer, Measured};
use crate::roles::Mode;
use crate::supervisor::{Context, Failure, Running, Service, Work};

/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(250);
/// Between two questions of a node that does not keep the log.
const ASK: Duration = Duration::from_secs(2);
/// Between two attempts to found a log with nodes that are not up yet.
const FOUND_AGAIN: Duration = Duration::from_millis(500);
/// How long the others have to take over when this node lets go.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long the cluster has to hear that this node's sessions are over.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long calls under way may take at a stop.
const GRACE: Duration = Duration::from_secs(1);
/// A disk that is busy for longer is worth a word.
const SLOW_DISK: Duration = Duration::from_secs(1);
/// How long others may take to say what this node's record says.
const LAST_SCORE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Nobody needs to hear of attempts that fail in the first moments.
const QUIET: Duration = Duration::from_secs(2);

pub(super) struct Logging(pub(super) Arc<Parts>);

impl Service for Logging {
    fn start<'s>(&'s self, context: Context) -> Work<'s, Result<Running, Failure>> {
        Box::pin(async move {
            let parts = Arc::clone(&self.0);
            if context.mode() == Mode::Asks {
                let server = Server::builder()
                    .service(InspectServer::new(Inspecting::new(Arc::clone(&parts))))
                    .service(BandwidthServer::new(Measured::new(Arc::clone(&parts))))
                    .service(DirectoryServer::new(parts.listing.clone()))
                    .interceptor(parts.calls.clone())
                    .reflection()
                    .serve(&parts.endpoint)?;
                return Ok(Running::new(ask(parts, server, context)));
            }
            let log = open(&parts).await?;
            let (raft, keeper) = log.services();
            let server = Server::builder()
                .service(raft)
                .service(keeper)
                .service(InspectServer::new(Inspecting::new(Arc::clone(&parts))))
                .service(BandwidthServer::new(Measured::new(Arc::clone(&parts))))
                .service(DirectoryServer::new(parts.listing.clone()))
                .interceptor(parts.calls.clone())
                .reflection()
                .serve(&parts.endpoint)?;
            let letting_go = let_go(Arc::clone(&parts), log.clone());
            let keeping = Keeping {
                parts,
                log,
                context,
            };
            Ok(Running::new(keeping.run(server)).with_drain(letting_go))
        })
    }
}

async fn open(parts: &Parts) -> Result<LogNode, Failure> {
    let host = HostSettings {
        segment_bytes: parts.settings.segment_bytes,
        book: parts.book.clone(),
        ..HostSettings::new(parts.home.directory(), parts.cluster, LogId(random()?))
    };
    Ok(LogNode::start(&parts.endpoint, host).await?)
}

/// Leadership goes to the best voter that has the log, and the sessions of this node end.
async fn let_go(parts: Arc<Parts>, log: LogNode) {
    // The next command, should there be one, opens another.
    let _ = tokio::time::timeout(LAST_WORDS, parts.store.close()).await;
    let consensus = log.consensus();
    if let Some(to) = consensus.successor() {
        // What does not work now they sort out among themselves.
        let _ = tokio::time::timeout(HAND_OVER, consensus.transfer(to)).await;
    }
}

/// Without a log: this node is listed, and learns from others what it is.
async fn ask(parts: Arc<Parts>, server: Server, context: Context) -> Result<(), Failure> {
    let heard = async {
        loop {
            tokio::time::sleep(ASK).await;
            context.progress();
            ask_for_role(&parts).await;
        }
    };
    tokio::select! {
        () = context.stopped() => {}
        // Neither ends: a new certificate is told, too.
        () = be_listed(&parts, None, &context) => {}
        () = heard => {}
    }
    server.shutdown(GRACE).await;
    Ok(())
}

struct Keeping {
    parts: Arc<Parts>,
    log: LogNode,
    context: Context,
}

impl Keeping {
    async fn run(self, server: Server) -> Result<(), Failure> {
        let slot = self.parts.log.fill(self.log.clone());
        let lived = tokio::select! {
            () = self.context.stopped() => Ok(()),
            ended = self.live() => ended,
        };
        drop(slot);
        self.log.stop().await;
        server.shutdown(GRACE).await;
        lived
    }

    async fn live(&self) -> Result<(), Failure> {
        let listed = async {
            self.begin().await?;
            be_listed(&self.parts, Some(&self.log), &self.context).await;
            Ok::<(), Failure>(())
        };
        let (looked, heard, asked) = (self.look_after(), self.hear(), self.ask_meanwhile());
        // The first that fails ends all; being listed does not end.
        futures_util::try_join!(listed, looked, heard, asked).map(drop)
    }

    /// Founds a log if it is to.
    async fn begin(&self) -> Result<(), Failure> {
        let has_log = self.log.status().has_log();
        match &self.parts.settings.belonging {
            Belonging::Papers { .. } if self.parts.is_founder && !has_log => {
                self.log.found(self.parts.own, &[]).await?;
                self.parts.tell(&Event::Founded {
                    voters: vec![self.parts.own],
                });
            }
            Belonging::Papers { .. } => {}
            Belonging::Development { found, join, .. } => match found {
                Some(_) if has_log => self.parts.tell(&Event::FoundedBefore),
                Some((others, patience)) => self.found(others, *patience).await?,
                None if has_log => {}
                None if join.is_empty() => {
                    let own = self.parts.own;
                    self.parts.tell(&Event::NoLog { own });
                }
                None => self.parts.tell(&Event::Joining { at: join.clone() }),
            },
        }
        Ok(())
    }

    async fn found(&self, others: &[String], patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        let mut told = String::new();
        loop {
            let Some(why) = self.try_to_found(others).await? else {
                return Ok(());
            };
            // Somebody else may have founded one with us meanwhile.
            if self.log.status().has_log() {
                self.parts.tell(&Event::FoundedBefore);
                return Ok(());
            }
            if why != told {
                self.parts.tell(&Event::Waiting { why: why.clone() });
                told.clone_from(&why);
            }
            if Instant::now() >= deadline {
                let error = NodeError::NotFounded { why };
                let told = error.to_string();
                self.parts.end(error);
                return Err(told.into());
            }
            tokio::time::sleep(FOUND_AGAIN).await;
        }
    }

    /// Why not yet, if it may still be.
    async fn try_to_found(&self, others: &[String]) -> Result<Option<String>, Failure> {
        let mut addresses = Vec::new();
        for other in others {
            match tokio::net::lookup_host(other).await {
                Ok(found) => {
                    let found: Vec<SocketAddr> = found.collect();
                    if found.contains(&self.parts.own) {
                        continue;
                    }
                    match found.first() {
                        Some(first) => addresses.push(*first),
                        None => return Ok(Some(format!("the name {other} has no address"))),
                    }
                }
                Err(error) => return Ok(Some(format!("look up {other}: {error}"))),
            }
        }
        match self.log.found(self.parts.own, &addresses).await {
            Ok(()) => {
                let voters = [self.parts.own].into_iter().chain(addresses).collect();
                self.parts.tell(&Event::Founded { voters });
                Ok(None)
            }
            Err(error @ HostError::Hello { .. }) => Ok(Some(error.to_string())),
            Err(error) => {
                let told = error.to_string();
                self.parts.end(error.into());
                Err(told.into())
            }
        }
    }

    /// Tells what changes about the log, and ends when it does.
    async fn look_after(&self) -> Result<(), Failure> {
        let mut seen = Seen::default();
        let mut clock = tokio::time::interval(LOOK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.context.progress();
            let status = self.log.status();
            if let Some(why) = status.stopped {
                let error = NodeError::LogStopped { why };
                let told = error.to_string();
                self.parts.end(error);
                return Err(told.into());
            }
            let places = |voter: &VoterId| -> Vec<String> {
                let places = self.log.places(voter);
                places.iter().map(ToString::to_string).collect()
            };
            let is_member = status.members.contains_key(&status.me);
            let now = Seen {
                leader: status.leader.map(|leader| (leader, status.term)),
                is_doubtful: status.is_doubtful,
                trouble: trouble(&self.log.disk()),
                known_at: is_member.then(|| places(&status.me)),
            };
            for changed in seen.until(&now, self.parts.own) {
                self.parts.tell(&changed.into_event(|voter| Place {
                    node: voter.node,
                    addresses: places(&voter),
                    is_self: voter == status.me,
                }));
            }
            seen = now;
        }
    }

    /// As long as nobody gives this node the log, it asks what it is.
    async fn ask_meanwhile(&self) -> Result<(), Failure> {
        loop {
            tokio::time::sleep(ASK).await;
            if !self.log.status().has_log() {
                ask_for_role(&self.parts).await;
            }
        }
    }

    /// What was decided that concerns this node or gossip.
    async fn hear(&self) -> Result<(), Failure> {
        let consensus = self.log.consensus();
        let (_, frozen) = consensus.freeze();
        let mut watch = consensus.watch(frozen.revision());
        loop {
            match watch.next().await {
                Watched::Changes(changes) => {
                    for changed in changes {
                        if let Decision::News(news) = changed {
                            self.take(&news).await;
                        }
                    }
                }
                Watched::Resync(frozen) => {
                    let query = Query::Node(NodeQuery::Get(self.parts.me()));
                    if let Found::Node(NodeFound::Node(Some(record))) = frozen.find(&query) {
                        take_record(&self.parts, &record);
                    }
                }
            }
        }
    }

    async fn take(&self, news: &News) {
        match news {
            News::Mark(mark) => {
                if let (Marked::Lost(lost), Some(gossip)) = (&mark.what, self.parts.gossip.get()) {
                    let _ = gossip.confirm_loss(lost.clone()).await;
                }
            }
            News::Node(node, Some(record), _) if *node == self.parts.me() => {
                take_record(&self.parts, record);
            }
            News::Node(..)
            | News::Proposal(..)
            | News::Lock(_)
            | News::Issuers(_)
            | News::Custody(..) => {}
        }
    }
}

/// Says to the cluster who this node is, until that is decided; and again when its certificate changes.
async fn be_listed(parts: &Parts, log: Option<&LogNode>, context: &Context) {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    let mut certificates = parts.identity.watch();
    let mut was_ready = parts.was_ready.load(Ordering::Relaxed);
    context.not_ready("it is not listed yet");
    let mut scoring = Scoring::from(last_score(parts, log).await);
    // A score that cannot be told now makes nobody less of a node.
    let mut is_score_alone = false;
    loop {
        match enrol(parts, log, scoring.score()).await {
            Ok(role) => {
                pause = FIRST_PAUSE;
                told.clear();
                if !was_ready {
                    parts.tell(&Event::Enrolled { role });
                    keep_to_wish(parts).await;
                }
                be_ready(parts, context, role).await;
                context.ready();
                if !was_ready {
                    was_ready = true;
                    parts.was_ready.store(true, Ordering::Relaxed);
                    let after = parts.begun.elapsed();
                    parts.tell(&Event::Ready { role, after });
                }
                is_score_alone = tokio::select! {
                    changed = certificates.changed() => match changed {
                        Ok(()) => false,
                        Err(_) => return std::future::pending().await,
                    },
                    () = considerable(parts, log, &mut scoring) => true,
                };
            }
            Err(why) => {
                context.progress();
                if parts.begun.elapsed() > QUIET && why != told && !is_score_alone {
                    context.not_ready(why.clone());
                    parts.tell(&Event::NotEnrolled { why: why.clone() });
                    told = why;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whoever made the cluster and asked for a role is to have it, as those have that came in with a token.
async fn keep_to_wish(parts: &Parts) {
    let asked = parts.settings.wants.is_some() && parts.is_founder;
    if !asked || parts.home.start() > 1 {
        return;
    }
    let steer = NodeCommand::Steer {
        node: parts.me(),
        auto: false,
        pin: None,
    };
    if let Err(error) = parts.store.command(Command::Node(steer)).await {
        tracing::warn!(%error, "keep to the role that was asked for");
    }
}

/// What its record says, so that a start changes nothing; for one that is new, how many cores it has, until it was measured.
async fn last_score(parts: &Parts, log: Option<&LogNode>) -> u32 {
    let query = Query::Node(NodeQuery::Get(parts.me()));
    let log = log.filter(|log| log.status().has_log());
    let kept = match log.map(|log| log.consensus().freeze().1.find(&query)) {
        Some(Found::Node(NodeFound::Node(Some(record)))) => Some(record),
        Some(_) | None if parts.home.start() > 1 => {
            let asked = tokio::time::timeout(LAST_SCORE, parts.store.node(parts.me())).await;
            asked.ok().and_then(Result::ok).flatten()
        }
        Some(_) | None => None,
    };
    let score = kept.map(|record| record.score).filter(|score| *score > 0);
    score.unwrap_or_else(cores)
}

/// Waits until what this node can do differs so much from what its record says that it is told anew.
async fn considerable(parts: &Parts, log: Option<&LogNode>, scoring: &mut Scoring) {
    let mut measured = parts.measured.subscribe();
    loop {
        if measured.changed().await.is_err() {
            return std::future::pending().await;
        }
        let machine = measured.borrow_and_update().clone();
        let (Some(machine), Some(role)) = (machine, *parts.role.borrow()) else {
            continue;
        };
        let rules = match log {
            Some(log) => {
                let (_, frozen) = log.consensus().freeze();
                Rules::of_keys(|key| frozen.setting(key))
            }
            None => Rules::default(),
        };
        if scoring.tells(parts.begun.elapsed(), role, &machine, &rules) {
            return;
        }
    }
}

async fn enrol(parts: &Parts, log: Option<&LogNode>, score: u32) -> Result<Role, String> {
    let enrol = NodeCommand::Enrol {
        node: parts.me(),
        log: log.map(|log| LogNumber(log.me().log.0)),
        addresses: vec![parts.own.to_string()],
        allowed: parts.identity.certificate().claims().roles,
        score,
    };
    let enrolled = parts.store.enrol(enrol).await;
    enrolled.map_err(|error| error.to_string())
}

/// Waits until this node answers what was decided, its own record included: from its own log, or by asking those that have more of it. A node
/// that keeps the log may wait long for it: who is to get it, and when, is for the leader to say.
async fn be_ready(parts: &Parts, context: &Context, role: Role) {
    let mut pause = Duration::from_millis(5);
    loop {
        let query = Query::Node(NodeQuery::Get(parts.me()));
        let read = parts.store.query(query, Freshness::Linearizable).await;
        context.progress();
        if let Some(record) = read.ok().and_then(|answer| record_in(answer.found)) {
            let is_drained = record.drains;
            parts
                .is_going
                .send_modify(|going| going.is_drained = is_drained);
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    take_role(parts, role);
}

fn record_in(found: Found) -> Option<Record> {
    if let Found::Node(NodeFound::Node(record)) = found {
        return record;
    }
    None
}

/// Learns from others what this node is. Until it is listed there is nothing to learn.
async fn ask_for_role(parts: &Parts) {
    if parts.role.borrow().is_none() {
        return;
    }
    if let Ok(Some(record)) = parts.store.node(parts.me()).await {
        take_record(parts, &record);
    }
}

/// What is decided about this node.
fn take_record(parts: &Parts, record: &Record) {
    take_role(parts, record.role);
    parts.is_going.send_if_modified(|going| {
        std::mem::replace(&mut going.is_drained, record.drains) != record.drains
    });
}

/// The node has this role from here on; its supervisor sees to what that takes.
fn take_role(parts: &Parts, role: Role) {
    let before = *parts.role.borrow();
    if before == Some(role) {
        return;
    }
    parts.role.send_replace(Some(role));
    if before.is_some() {
        parts.tell(&Event::RoleIs { role });
    }
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

fn trouble(disk: &Condition) -> Option<&'static str> {
    match disk {
        Condition::Waiting(_, time) if *time < SLOW_DISK => None,
        Condition::Waiting(Wait::Room, _) => {
            Some("the disk is full; nothing is acknowledged until there is room")
        }
        Condition::Waiting(Wait::Write, _) => {
            Some("the disk is slow: a write has taken more than a second")
        }
        Condition::Well => None,
        Condition::Broken(_) => Some("the disk failed; nothing is written any more"),
    }
}

/// What of the log was seen at the last look.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    /// Who leads, in which term.
    leader: Option<(VoterId, u64)>,
    is_doubtful: bool,
    trouble: Option<&'static str>,
    /// Where the others look for this node.
    known_at: Option<Vec<String>>,
}

/// What changed between two looks.
#[derive(Debug, PartialEq, Eq)]
enum Changed {
    Leads(VoterId, u64),
    NobodyLeads,
    Doubtful(bool),
    Trouble(Option<&'static str>),
    Elsewhere(Vec<String>, SocketAddr),
}

impl Seen {
    fn until(&self, now: &Self, own: SocketAddr) -> Vec<Changed> {
        let mut changed = Vec::new();
        if self.is_doubtful != now.is_doubtful {
            changed.push(Changed::Doubtful(now.is_doubtful));
        }
        if self.known_at != now.known_at
            && let Some(known_at) = &now.known_at
            && !known_at.contains(&own.to_string())
        {
            changed.push(Changed::Elsewhere(known_at.clone(), own));
        }
        if self.leader != now.leader {
            changed.push(match now.leader {
                Some((leader, term)) => Changed::Leads(leader, term),
                None => Changed::NobodyLeads,
            });
        }
        if self.trouble != now.trouble {
            changed.push(Changed::Trouble(now.trouble));
        }
        changed
    }
}

impl Changed {
    fn into_event(self, place: impl Fn(VoterId) -> Place) -> Event {
        match self {
            Self::Leads(leader, term) => Event::Leads {
                leader: place(leader),
                term,
            },
            Self::NobodyLeads => Event::NobodyLeads,
            Self::Doubtful(is_doubtful) => Event::Doubtful { is_doubtful },
            Self::Trouble(trouble) => Event::Trouble { trouble },
            Self::Elsewhere(known_at, own) => Event::Elsewhere { known_at, own },
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_rpc::NodeId;

    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let own: SocketAddr = ([127, 0, 0, 1], 4700).into();
        let voter = VoterId {
            node: NodeId::from_public_key([7; 32]),
            log: LogId([7; 16]),
        };
        let nothing = Seen::default();
        assert_eq!(nothing.until(&nothing, own), []);
        let led = Seen {
            leader: Some((voter, 3)),
            known_at: Some(vec![own.to_string()]),
            ..Seen::default()
        };
        assert_eq!(nothing.until(&led, own), [Changed::Leads(voter, 3)]);
        let later = Seen {
            leader: Some((voter, 4)),
            ..led.clone()
        };
        assert_eq!(
            led.until(&later, own),
            [Changed::Leads(voter, 4)],
            "another term"
        );
        let moved: SocketAddr = ([127, 0, 0, 1], 4999).into();
        let known_at = vec![own.to_string()];
        assert_eq!(
            nothing.until(&led, moved)[0],
            Changed::Elsewhere(known_at, moved)
        );
        let bad = Seen {
            is_doubtful: true,
            trouble: Some("full"),
            ..nothing.clone()
        };
        let expected = [Changed::Doubtful(true), Changed::Trouble(Some("full"))];
        assert_eq!(nothing.until(&bad, own), expected);
        let well = [Changed::Doubtful(false), Changed::Trouble(None)];
        assert_eq!(bad.until(&nothing, own), well);
    }
}
