//! One node: everything it is made of, started in order and stopped in the opposite one.
//!
//! ```text
//! directory ─► papers ─► endpoint ─► custody ─► gossip ─► log ─► services for others ─► enrolled ─► ready
//! ```
//!
//! The order matters: the directory is locked before anything in it is read, the key is on disk before anybody sees it, whoever has the
//! same key elsewhere is looked for before anybody hears of this node, and the node answers others before it asks them to decide anything.
//!
//! | bound | |
//! | --- | --- |
//! | nodes that are not up yet when a log is founded | asked again every half second, for the patience that was given |
//! | looking for a copy of this node | [`COPY`], at each address it had |
//! | handing leadership over at a stop | 2 s, then the others elect |
//! | saying farewell to gossip | 3 s |
//! | calls under way at a stop | 1 s, then they are cut off |
//! | enrolling, where nobody answers | tried again at most every five seconds, while the node lives |
//!
//! Deliberately not here: words for people, and reading configuration.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_consensus::host::{AddressBook, HostError, HostSettings, LogNode};
use convoke_consensus::journal::{Condition, Wait};
use convoke_consensus::log::{LogId, VoterId};
use convoke_driver::{
    Event as Heard, EventKind, Fact, Gossip, Member, News, Params, Seed, Verdict,
};
use convoke_rpc::identity::{Development, Identity, IssuerError, Trust};
use convoke_rpc::{
    Carriers, Endpoint, Enrolling, Limits, NodeId, Protocol, Role, RoleSet, Server, Target,
};
use convoke_store::{Store, StoreConfig};
use convoke_types::wire::enrol::JoinToken;
use convoke_types::wire::store::{
    Freshness, LogNumber, Marked, News as Decision, NodeCommand, NodeQuery, Query,
};
use convoke_types::{ClusterId, Tags};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::custody::ask::{self, AskError};
use crate::custody::desk::{Bucket, Desk};
use crate::custody::keeper::{self, Keeper, Out};
use crate::custody::{PaperError, Papers};
use crate::event::{Event, Place, Teller};
use crate::home::{Home, HomeError, random};

/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(250);
/// Between two attempts to found a log with nodes that are not up yet.
const FOUND_AGAIN: Duration = Duration::from_millis(500);
/// How long the others have to take over when this node stops.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long calls under way may take at a stop.
const GRACE: Duration = Duration::from_secs(1);
/// How long the cluster has to hear that this node's sessions are over.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A disk that is busy for longer is worth a word.
const SLOW_DISK: Duration = Duration::from_secs(1);
/// How long whoever may be a copy of this node has to answer.
pub const COPY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Nobody needs to hear of attempts that fail in the first moments.
const QUIET: Duration = Duration::from_secs(2);

/// How a node comes to belong to a cluster.
#[derive(Debug, Clone)]
pub enum Belonging {
    /// By papers of its own: those it has, those a token gets it, or those of a new cluster.
    Papers {
        /// To join with, if it does not belong yet.
        token: Option<JoinToken>,
        /// The name of the cluster: that of a new one, or the one that the token has to be for.
        cluster_name: Option<String>,
        /// How long it may take to be let in.
        patience: Duration,
    },
    /// By certificates that a development cluster in a directory signs for anybody.
    Development {
        /// Where its issuer is.
        cluster: Box<Development>,
        /// What this node may be.
        roles: RoleSet,
        /// Nodes whose log it joins.
        join: Vec<String>,
        /// Nodes with which it makes a new log, and how long they may take to come up.
        found: Option<(Vec<String>, Duration)>,
    },
}

/// How a node is to be.
#[derive(Clone)]
pub struct Settings {
    /// Its directory, which it has for itself.
    pub data: PathBuf,
    /// How it comes to belong to a cluster.
    pub belonging: Belonging,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where others reach it; by default where it listens.
    pub advertise: Option<SocketAddr>,
    /// Which carriers it uses.
    pub carriers: Carriers,
    /// What it wants to be when it comes in.
    pub wants: Option<Role>,
    /// What people call it.
    pub name: Option<String>,
    /// What it says about itself.
    pub tags: Tags,
    /// What fails together with it.
    pub zone: Option<String>,
    /// Where nodes may be, beside where they were.
    pub peers: Vec<String>,
    /// How the cluster is watched.
    pub params: Params,
    /// How long certificates count that it signs.
    pub lifetime: Duration,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// Who hears of everything.
    pub teller: Teller,
}

/// How long certificates count by default.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Settings {
    /// A node with papers in this directory, listening here.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            belonging: Belonging::Papers {
                token: None,
                cluster_name: None,
                patience: Duration::from_secs(30),
            },
            listen,
            advertise: None,
            carriers: Carriers::Both,
            wants: None,
            name: None,
            tags: Tags::default(),
            zone: None,
            peers: Vec::new(),
            params: Params::lan(100),
            lifetime: LIFETIME,
            segment_bytes: 64 << 20,
            teller: Arc::new(|_| ()),
        }
    }
}

/// Why a node did not start, or does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Its papers.
    #[error(transparent)]
    Papers(#[from] PaperError),
    /// It is not let in.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The development cluster.
    #[error("the development cluster: {0}")]
    Development(#[from] IssuerError),
    /// It cannot listen.
    #[error(
        "listen at {address}: {error}{}",
        if .error.kind() == std::io::ErrorKind::AddrInUse {
            "; another program, or another node, has that port: name another one with --listen"
        } else {
            ""
        }
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// Nobody could reach it.
    #[error("others cannot reach a node at {0}: say with --advertise where they can")]
    Unreachable(SocketAddr),
    /// Somebody else has its key.
    #[error(
        "a node with the same key runs at {address}: this data directory was copied, or the node is running already. Stop that one, or have \
         this one join as a new node (`convoke reset`)"
    )]
    Copied {
        /// Where.
        address: SocketAddr,
    },
    /// Gossip does not start, or ended.
    #[error("gossip: {0}")]
    Gossip(String),
    /// The log does not start.
    #[error(transparent)]
    Log(#[from] HostError),
    /// The log ended.
    #[error("the log stopped: {why}; start the node again when that is repaired")]
    LogStopped {
        /// Why.
        why: String,
    },
    /// A log was not made.
    #[error("no log was made: {why}; start that node, or found the log without it")]
    NotFounded {
        /// Why not.
        why: String,
    },
    /// It may not do what it is to do.
    #[error("a node of the log is a master, worker, gateway or observer, and this one may be {0}")]
    NoRole(RoleSet),
    /// Its cluster does not want it.
    #[error(transparent)]
    Out(#[from] Out),
    /// It cannot answer others.
    #[error("answer other nodes: {0}")]
    Serve(std::io::Error),
}

/// A node that lives. Clones are one; it is stopped by [`Node::stop`], and not before.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    home: Home,
    cluster: ClusterId,
    cluster_name: String,
    identity: Identity,
    trust: Trust,
    papers: Option<Arc<Mutex<Papers>>>,
    endpoint: Endpoint,
    bound: SocketAddr,
    own: SocketAddr,
    gossip: Gossip,
    log: LogNode,
    store: Store,
    lifetime: Duration,
    begun: Instant,
    teller: Teller,
    is_ready: watch::Sender<Option<Role>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    ended: watch::Sender<Option<Arc<NodeError>>>,
    /// Taken when the node stops.
    serving: Mutex<Option<(Server, Option<Enrolling>)>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("node", &self.0.identity.node_id())
            .field("own", &self.0.own)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("data", &self.data)
            .field("belonging", &self.belonging)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Who a node is, before it has an address.
struct Belongs {
    cluster: ClusterId,
    cluster_name: String,
    identity: Identity,
    trust: Trust,
    papers: Option<Papers>,
    /// Where nodes may be.
    places: Vec<String>,
    is_founder: bool,
}

impl Node {
    /// Starts a node: it answers when this returns, and is ready a moment later.
    ///
    /// # Errors
    /// As [`NodeError`] says. Nothing runs then.
    pub async fn start(settings: Settings) -> Result<Self, NodeError> {
        let begun = Instant::now();
        let home = Home::open(&settings.data)?;
        let belongs = belong(&home, &settings).await?;
        let endpoint = Endpoint::bind_with(
            settings.carriers,
            settings.listen,
            belongs.identity.clone(),
            belongs.trust.clone(),
            Limits::default(),
        )
        .map_err(|error| NodeError::Listen {
            address: settings.listen,
            error,
        })?;
        let started = Self::start_at(endpoint.clone(), begun, home, belongs, settings).await;
        if started.is_err() {
            endpoint.close().await;
        }
        started
    }

    async fn start_at(
        endpoint: Endpoint,
        begun: Instant,
        home: Home,
        belongs: Belongs,
        settings: Settings,
    ) -> Result<Self, NodeError> {
        let bound = endpoint
            .local_address()
            .map_err(|error| NodeError::Listen {
                address: settings.listen,
                error,
            })?;
        look_for_a_copy(&endpoint, bound, &belongs).await?;
        let gossip = start_gossip(&endpoint, &home, &belongs, &settings).await?;
        let own = gossip.addresses()[0];
        let book = AddressBook::default();
        let host = HostSettings {
            segment_bytes: settings.segment_bytes,
            book: book.clone(),
            ..HostSettings::new(home.directory(), belongs.cluster, LogId(random()?))
        };
        let log = match LogNode::start(&endpoint, host).await {
            Ok(log) => log,
            Err(error) => {
                gossip.stop().await;
                return Err(error.into());
            }
        };
        let (raft, keeper) = log.services();
        let server = Server::builder()
            .service(raft)
            .service(keeper)
            .reflection()
            .serve(&endpoint)
            .map_err(NodeError::Serve)?;
        let mut targets = vec![Target {
            addresses: vec![loopback(bound, own)],
            node: Some(endpoint.identity().node_id()),
        }];
        for place in &belongs.places {
            if let Ok(found) = tokio::net::lookup_host(place).await {
                targets.extend(found.map(Target::from).take(2));
            }
        }
        let store = Store::new(&endpoint, targets, StoreConfig::default());
        let Belongs {
            cluster,
            cluster_name,
            identity,
            trust,
            papers,
            is_founder,
            ..
        } = belongs;
        let papers = papers.map(|papers| Arc::new(Mutex::new(papers)));
        let node = Self(Arc::new(Inner {
            home,
            cluster,
            cluster_name,
            identity,
            trust,
            papers,
            endpoint,
            bound,
            own,
            gossip,
            log,
            store,
            lifetime: settings.lifetime,
            begun,
            teller: Arc::clone(&settings.teller),
            is_ready: watch::Sender::new(None),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ended: watch::Sender::new(None),
            serving: Mutex::new(Some((server, None))),
        }));
        node.tell(&node.started());
        let begun = node.begin(&settings, is_founder, book).await;
        if let Err(error) = begun {
            node.stop().await;
            return Err(error);
        }
        Ok(node)
    }

    async fn begin(
        &self,
        settings: &Settings,
        is_founder: bool,
        book: AddressBook,
    ) -> Result<(), NodeError> {
        self.open_the_desk()?;
        self.spawn(Self::follow_gossip(self.clone(), book));
        self.spawn(Self::look_after_log(self.clone()));
        self.spawn(Self::hear_decisions(self.clone()));
        if let Some(papers) = &self.0.papers {
            let keeper = Keeper {
                log: Some(self.0.log.clone()),
                store: self.0.store.clone(),
                papers: Arc::clone(papers),
                identity: self.0.identity.clone(),
                trust: self.0.trust.clone(),
                lifetime: self.0.lifetime,
                own: self.0.own.to_string(),
                teller: Arc::clone(&self.0.teller),
                seen: keeper::Seen::default(),
            };
            let (node, stop) = (self.clone(), self.0.stop.clone());
            self.spawn(async move {
                if let Some(out) = keeper.run(stop).await {
                    node.end(out.into());
                }
            });
        }
        let has_log = self.0.log.status().has_log();
        match &settings.belonging {
            Belonging::Papers { .. } if is_founder && !has_log => {
                self.0.log.found(self.0.own, &[]).await?;
                self.tell(&Event::Founded {
                    voters: vec![self.0.own],
                });
            }
            Belonging::Development { found, .. } if found.is_some() && has_log => {
                self.tell(&Event::FoundedBefore);
            }
            Belonging::Development {
                found: Some((others, patience)),
                ..
            } => self.found(others, *patience).await?,
            Belonging::Development { join, .. } if !has_log && join.is_empty() => {
                self.tell(&Event::NoLog { own: self.0.own });
            }
            Belonging::Development { join, .. } if !has_log => {
                self.tell(&Event::Joining { at: join.clone() });
            }
            Belonging::Papers { .. } | Belonging::Development { .. } => {}
        }
        if let Belonging::Development { cluster, roles, .. } = &settings.belonging {
            self.spawn(Self::renew_in_development(
                self.clone(),
                cluster.clone(),
                *roles,
            ));
        }
        self.spawn(Self::enrol(self.clone()));
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0
            .tasks
            .spawn(async move { stop.run_until_cancelled_owned(task).await });
    }

    fn tell(&self, event: &Event) {
        (self.0.teller)(event);
    }

    /// The node cannot go on. Whoever waits for its end hears why; it is stopped by them.
    fn end(&self, why: NodeError) {
        self.0.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            if is_first {
                *ended = Some(Arc::new(why));
            }
            is_first
        });
    }

    fn started(&self) -> Event {
        let inner = &self.0;
        Event::Started {
            node: inner.identity.node_id(),
            cluster: inner.cluster,
            cluster_name: inner.cluster_name.clone(),
            listen: inner.bound,
            advertise: inner.own,
            roles: inner.identity.certificate().claims().roles,
            start: inner.home.start(),
        }
    }

    /// Lets others in, if this node has papers and speaks TCP.
    fn open_the_desk(&self) -> Result<(), NodeError> {
        let Some(papers) = &self.0.papers else {
            return Ok(());
        };
        let desk = Arc::new(Desk {
            log: self.0.log.clone(),
            store: self.0.store.clone(),
            papers: Arc::clone(papers),
            lifetime: self.0.lifetime,
            bucket: Mutex::new(Bucket::new(Instant::now())),
        });
        let enrolling = self
            .0
            .endpoint
            .serve_enrolment(desk.enroller())
            .map_err(NodeError::Serve)?;
        if let Some((_, place)) = &mut *self.0.serving.lock() {
            *place = Some(enrolling);
        }
        Ok(())
    }

    // What goes on while the node lives.

    /// Where nodes are, and who cannot be reached, for the log.
    async fn follow_gossip(self, book: AddressBook) {
        let Ok(mut watcher) = self.0.gossip.watch() else {
            return;
        };
        let me = self.0.identity.node_id();
        let mut unreachable = BTreeSet::new();
        while let Some(news) = watcher.next().await {
            let members: Vec<Arc<Member>> = match news {
                News::Resync { roll, .. } => {
                    unreachable.clear();
                    roll.members.values().cloned().collect()
                }
                News::Event(Heard { kind, .. }) => member_of(&kind).into_iter().collect(),
            };
            for member in members.iter().filter(|member| member.id != me) {
                book.note(member.id, member.facts.addresses().collect());
                if member.verdict.takes_part() && member.verdict != Verdict::Unreachable {
                    unreachable.remove(&member.id);
                } else {
                    unreachable.insert(member.id);
                }
            }
            let consensus = self.0.log.consensus();
            consensus.observe_unreachable(unreachable.clone());
        }
        if !self.0.stop.is_cancelled() {
            let end = self.0.gossip.ended().await;
            self.end(NodeError::Gossip(end.to_string()));
        }
    }

    /// What was decided that concerns this node or gossip.
    async fn hear_decisions(self) {
        let consensus = self.0.log.consensus();
        let (_, frozen) = consensus.freeze();
        let mut watch = consensus.watch(frozen.revision());
        let me = self.0.identity.node_id();
        loop {
            let changes = match watch.next().await {
                convoke_consensus::engine::Watched::Changes(changes) => changes,
                convoke_consensus::engine::Watched::Resync(_) => continue,
            };
            for changed in changes {
                let convoke_decided::Changed::News(news) = changed else {
                    continue;
                };
                match &*news {
                    Decision::Mark(mark) => {
                        if let Marked::Lost(lost) = &mark.what {
                            let _ = self.0.gossip.confirm_loss(lost.clone()).await;
                        }
                    }
                    Decision::Node(node, Some(record), _) if *node == me => {
                        self.take_role(record.role).await;
                    }
                    Decision::Node(..)
                    | Decision::Proposal(..)
                    | Decision::Lock(_)
                    | Decision::Issuers(_)
                    | Decision::Custody(..) => {}
                }
            }
        }
    }

    async fn take_role(&self, role: Role) {
        let before = *self.0.is_ready.borrow();
        let _ = self.0.gossip.set_fact(Fact::Role(role)).await;
        if before.is_some_and(|before| before != role) {
            self.0.is_ready.send_replace(Some(role));
            self.tell(&Event::RoleIs { role });
        }
    }

    /// Tells what changes about the log.
    async fn look_after_log(self) {
        let mut seen = Seen::default();
        let mut clock = tokio::time::interval(LOOK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let status = self.0.log.status();
            if let Some(why) = &status.stopped {
                self.end(NodeError::LogStopped { why: why.clone() });
                return;
            }
            let known_at = status
                .members
                .contains_key(&status.me)
                .then(|| self.0.log.places(&status.me));
            let now = Seen {
                leader: status.leader.map(|leader| (leader, status.term)),
                is_doubtful: status.is_doubtful,
                trouble: trouble(&self.0.log.disk()),
                known_at: known_at.map(|places| places.iter().map(ToString::to_string).collect()),
            };
            for changed in seen.until(&now, self.0.own) {
                self.tell(&changed.into_event(|voter| {
                    Place {
                        node: voter.node,
                        addresses: (self.0.log.places(&voter).iter())
                            .map(ToString::to_string)
                            .collect(),
                        is_self: voter == status.me,
                    }
                }));
            }
            seen = now;
        }
    }

    async fn renew_in_development(self, cluster: Box<Development>, roles: RoleSet) {
        loop {
            if self.0.identity.certificate().renew_at() <= crate::custody::now() {
                let certificate = cluster.certificate(self.0.identity.node_id(), roles);
                if let Err(error) = self.0.identity.replace_certificate(certificate) {
                    tracing::warn!(%error, "renew the certificate");
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Says to the cluster who this node is, until that is decided; and again when its certificate or its place changes.
    async fn enrol(self) {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        let mut certificates = self.0.identity.watch();
        loop {
            // A node that belongs to no log and joins none has nobody to say it to.
            match self.try_to_enrol().await {
                Ok(role) => {
                    pause = FIRST_PAUSE;
                    told.clear();
                    if self.0.is_ready.borrow().is_none() {
                        self.tell(&Event::Enrolled { role });
                        self.take_role(role).await;
                        self.be_ready(role).await;
                    }
                    if certificates.changed().await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    if self.0.begun.elapsed() > QUIET && why != told {
                        self.tell(&Event::NotEnrolled { why: why.clone() });
                        told = why;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn try_to_enrol(&self) -> Result<Role, String> {
        let me = self.0.log.me();
        let enrol = NodeCommand::Enrol {
            node: me.node,
            log: Some(LogNumber(me.log.0)),
            addresses: vec![self.0.own.to_string()],
            allowed: self.0.identity.certificate().claims().roles,
            score: cores(),
        };
        let enrolled = self.0.store.enrol(enrol).await;
        enrolled.map_err(|error| error.to_string())
    }

    /// Waits until this node answers what was decided, its own record included.
    async fn be_ready(&self, role: Role) {
        let me = self.0.identity.node_id();
        let consensus = self.0.log.consensus();
        let query = Query::Node(NodeQuery::Get(me));
        let mut pause = Duration::from_millis(5);
        loop {
            let read = consensus.read(&query, Freshness::Linearizable).await;
            if read.is_ok_and(|answer| is_listed(&answer.found)) {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
        self.0.is_ready.send_replace(Some(role));
        self.tell(&Event::Ready {
            role,
            after: self.0.begun.elapsed(),
        });
    }

    async fn found(&self, others: &[String], patience: Duration) -> Result<(), NodeError> {
        let deadline = Instant::now() + patience;
        let mut told = String::new();
        loop {
            let Some(why) = self.try_to_found(others).await? else {
                return Ok(());
            };
            // Somebody else may have founded one with us meanwhile.
            if self.0.log.status().has_log() {
                self.tell(&Event::FoundedBefore);
                return Ok(());
            }
            if why != told {
                self.tell(&Event::Waiting { why: why.clone() });
                told.clone_from(&why);
            }
            if Instant::now() >= deadline {
                return Err(NodeError::NotFounded { why });
            }
            tokio::time::sleep(FOUND_AGAIN).await;
        }
    }

    /// Why not yet, if it may still be.
    async fn try_to_found(&self, others: &[String]) -> Result<Option<String>, NodeError> {
        let mut addresses = Vec::new();
        for other in others {
            match tokio::net::lookup_host(other).await {
                Ok(found) => {
                    let found: Vec<SocketAddr> = found.collect();
                    if found.contains(&self.0.own) {
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
        match self.0.log.found(self.0.own, &addresses).await {
            Ok(()) => {
                let voters = [self.0.own].into_iter().chain(addresses).collect();
                self.tell(&Event::Founded { voters });
                Ok(None)
            }
            Err(error @ HostError::Hello { .. }) => Ok(Some(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    // What others ask of it.

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.identity.node_id()
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// By which name people know its cluster.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.0.cluster_name
    }

    /// Where others reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.own
    }

    /// Its key and certificate.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Whom it believes.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.0.trust
    }

    /// Its links.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// What it observes.
    #[must_use]
    pub fn gossip(&self) -> &Gossip {
        &self.0.gossip
    }

    /// Its part in the log.
    #[must_use]
    pub fn log(&self) -> &LogNode {
        &self.0.log
    }

    /// A client of what is decided.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Its directory.
    #[must_use]
    pub fn data(&self) -> &std::path::Path {
        self.0.home.directory()
    }

    /// Its role, once it is listed and answers; nothing before.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        *self.0.is_ready.borrow()
    }

    /// Waits until it is listed and answers what was decided, or until it ends.
    ///
    /// # Errors
    /// When it ends before.
    pub async fn ready(&self) -> Result<Role, Arc<NodeError>> {
        let mut ready = self.0.is_ready.subscribe();
        let found = async {
            loop {
                if let Some(role) = *ready.borrow_and_update() {
                    return role;
                }
                if ready.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            role = found => Ok(role),
            why = self.ended() => Err(why),
        }
    }

    /// Waits until it cannot go on, and says why. It is stopped by whoever waits for this.
    pub async fn ended(&self) -> Arc<NodeError> {
        let mut ended = self.0.ended.subscribe();
        loop {
            if let Some(why) = ended.borrow_and_update().clone() {
                return why;
            }
            if ended.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A new key that signs takes the place of this node's.
    ///
    /// # Errors
    /// When it has none, or that cannot be decided.
    pub async fn rotate_issuer(&self) -> Result<(String, String), convoke_store::Error> {
        let Some(papers) = &self.0.papers else {
            return Err(convoke_store::Error::Failed {
                why: "a node of a development cluster has no issuer".to_owned(),
            });
        };
        let rotated = keeper::rotate(&self.0.store, papers, self.0.lifetime).await?;
        Ok((rotated.0.to_string(), rotated.1.to_string()))
    }

    /// Leads no more, says farewell, answers no more, and lets go of the directory.
    pub async fn stop(&self) {
        self.hand_over().await;
        // Sessions that nobody ends now end by themselves.
        let _ = tokio::time::timeout(LAST_WORDS, self.0.store.close()).await;
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.gossip.leave().await;
        self.0.log.stop().await;
        let serving = self.0.serving.lock().take();
        if let Some((server, enrolling)) = serving {
            drop(enrolling);
            server.shutdown(GRACE).await;
        }
        self.0.endpoint.close().await;
    }

    /// To the best voter that has the log. Without it the others notice after an election's time.
    async fn hand_over(&self) {
        let consensus = self.0.log.consensus();
        let Some(to) = consensus.successor() else {
            return;
        };
        let handing = consensus.transfer(to);
        // What does not work now they sort out among themselves.
        let _ = tokio::time::timeout(HAND_OVER, handing).await;
    }
}

/// Finds out to which cluster a node belongs, or has it belong to one.
async fn belong(home: &Home, settings: &Settings) -> Result<Belongs, NodeError> {
    match &settings.belonging {
        Belonging::Development {
            cluster,
            roles,
            join,
            ..
        } => {
            if !may_keep_a_log(*roles) {
                return Err(NodeError::NoRole(*roles));
            }
            let certificate = cluster.certificate(home.key().node_id(), *roles);
            let identity = Identity::new(home.key().clone(), certificate)
                .expect("the certificate was made for this key");
            let places = join.iter().chain(&settings.peers).cloned();
            Ok(Belongs {
                cluster: cluster.cluster(),
                cluster_name: "development".to_owned(),
                identity,
                trust: cluster.trust(),
                papers: None,
                places: places.collect(),
                is_founder: false,
            })
        }
        Belonging::Papers {
            token,
            cluster_name,
            patience,
        } => {
            let (papers, is_founder) = papers(
                home,
                settings,
                token.as_ref(),
                cluster_name.as_deref(),
                *patience,
            )
            .await?;
            papers.sign_for_itself(settings.lifetime)?;
            let token_places = token.iter().flat_map(|token| &token.addresses);
            let mut places: Vec<String> = settings.peers.clone();
            for place in papers.cluster.places.iter().chain(token_places) {
                if !places.contains(place) {
                    places.push(place.clone());
                }
            }
            Ok(Belongs {
                cluster: papers.cluster.id,
                cluster_name: papers.cluster.name.clone(),
                identity: papers.identity.clone(),
                trust: papers.trust.clone(),
                papers: Some(papers),
                places,
                is_founder,
            })
        }
    }
}

async fn papers(
    home: &Home,
    settings: &Settings,
    token: Option<&JoinToken>,
    cluster_name: Option<&str>,
    patience: Duration,
) -> Result<(Papers, bool), NodeError> {
    let found = Papers::load(home)?;
    match (found, token) {
        (Some(papers), Some(token)) if papers.cluster.id != token.cluster => {
            Err(AskError::Elsewhere {
                ours: papers.cluster.id,
                theirs: token.cluster,
            }
            .into())
        }
        (Some(papers), _) => {
            if let Some(expected) = cluster_name
                && papers.cluster.name != expected
            {
                return Err(AskError::WrongName {
                    expected: expected.to_owned(),
                    found: papers.cluster.name,
                }
                .into());
            }
            // The first one may have stopped before it had a log.
            let is_founder = papers.is_founder();
            Ok((papers, is_founder))
        }
        (None, Some(token)) => {
            let joined = ask::join(home, token, settings.wants, cluster_name, patience).await?;
            let (papers, through) = joined;
            let roles = papers.identity.certificate().claims().roles;
            (settings.teller)(&Event::Joined { through, roles });
            Ok((papers, false))
        }
        (None, None) => {
            let name = cluster_name.unwrap_or("convoke");
            let papers = Papers::found(home, name, settings.lifetime)?;
            (settings.teller)(&Event::NewCluster);
            Ok((papers, true))
        }
    }
}

/// Somebody else who has the key of this node answers where this node was, and it is not this process, which listens elsewhere.
async fn look_for_a_copy(
    endpoint: &Endpoint,
    bound: SocketAddr,
    belongs: &Belongs,
) -> Result<(), NodeError> {
    let Some(papers) = &belongs.papers else {
        return Ok(());
    };
    let me = belongs.identity.node_id();
    for place in &papers.cluster.own {
        let Ok(address) = place.parse::<SocketAddr>() else {
            continue;
        };
        // At this very socket is this node itself.
        if address == bound || is_here(address, bound) {
            continue;
        }
        let connecting = endpoint.connect(address, Some(me), Protocol::Rpc);
        if let Ok(Ok(link)) = tokio::time::timeout(COPY, connecting).await {
            link.close(convoke_rpc::CloseCode::Done, "");
            return Err(NodeError::Copied { address });
        }
    }
    Ok(())
}

/// Whether an address leads to the socket that listens at another one: the same port, and all addresses of this machine.
fn is_here(address: SocketAddr, bound: SocketAddr) -> bool {
    if address.port() != bound.port() || !bound.ip().is_unspecified() {
        return false;
    }
    // What can be bound is ours.
    std::net::UdpSocket::bind((address.ip(), 0)).is_ok()
}

async fn start_gossip(
    endpoint: &Endpoint,
    home: &Home,
    belongs: &Belongs,
    settings: &Settings,
) -> Result<Gossip, NodeError> {
    let mut facts = vec![
        Fact::Version(env!("CARGO_PKG_VERSION").to_owned()),
        Fact::Tags(settings.tags.clone()),
    ];
    facts.extend(settings.name.clone().map(Fact::Name));
    facts.extend(settings.zone.clone().map(Fact::Zone));
    let seeds = belongs.places.iter().map(|place| match place.parse() {
        Ok(address) => Seed::Address(address),
        Err(_) => Seed::Name(place.clone()),
    });
    let gossip = convoke_driver::Settings {
        seeds: seeds.take(convoke_driver::SEEDS_MOST).collect(),
        advertise: settings.advertise.into_iter().collect(),
        home: convoke_driver::Home::Held {
            boot: home.start(),
            directory: home.directory().to_owned(),
        },
        facts,
        ..convoke_driver::Settings::new(endpoint.clone(), settings.params.clone())
    };
    let gossip = Gossip::start(gossip)
        .await
        .map_err(|error| NodeError::Gossip(error.to_string()))?;
    let own = gossip.addresses()[0];
    if own.ip().is_unspecified() || own.port() == 0 {
        gossip.stop().await;
        return Err(NodeError::Unreachable(own));
    }
    Ok(gossip)
}

fn is_listed(found: &convoke_types::wire::store::Found) -> bool {
    use convoke_types::wire::store::{Found, NodeFound};
    matches!(found, Found::Node(NodeFound::Node(Some(_))))
}

fn member_of(kind: &EventKind) -> Option<Arc<Member>> {
    match kind {
        EventKind::NodeJoined(member)
        | EventKind::NodeUpdated(member)
        | EventKind::NodeUnreachable(member)
        | EventKind::NodeReachable(member)
        | EventKind::NodeLeft(member)
        | EventKind::NodeFailed(member)
        | EventKind::NodeRejoined(member) => Some(Arc::clone(member)),
        _ => None,
    }
}

/// How this process calls itself.
fn loopback(bound: SocketAddr, own: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        let ip: std::net::IpAddr = if bound.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        return SocketAddr::new(ip, bound.port());
    }
    if own.port() == bound.port() {
        own
    } else {
        bound
    }
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// Others of the log let in only nodes that may have a part in it.
fn may_keep_a_log(roles: RoleSet) -> bool {
    let fit = [Role::Master, Role::Worker, Role::Gateway, Role::Observer];
    fit.into_iter().any(|role| roles.contains(role))
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

    #[test]
    fn a_node_that_others_do_not_let_in_keeps_no_log() {
        assert!(may_keep_a_log(Role::Observer.into()));
        assert!(!may_keep_a_log(Role::Leecher.into()));
        assert!(!may_keep_a_log(RoleSet::EMPTY));
    }
}
