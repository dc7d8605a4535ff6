//! One node: everything it is made of, started in order and stopped in the opposite one.
//!
//! ```text
//! directory ─► papers ─► endpoint ─► supervisor ─► services: custody, gossip, log, … ─► listed ─► ready
//! ```
//!
//! The order matters: the directory is locked before anything in it is read, the key is on disk before anybody sees it, whoever has the
//! same key elsewhere is looked for before anybody hears of this node, and the node answers others before it asks them to decide anything.
//!
//! The role that is decided for it is the one it plays: when that changes, its supervisor is told, which drains, stops and starts what has
//! to, or goes back and says why.
//!
//! | bound | |
//! | --- | --- |
//! | looking for a copy of this node | [`COPY`], at each address it had |
//! | everything else | with the services, and with the supervisor |
//!
//! Deliberately not here: words for people, and reading configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use convoke_consensus::host::{AddressBook, HostError, LogNode};
use convoke_driver::{Gossip, Listing, Params};
use convoke_rpc::identity::{Development, Identity, IssuerError, Trust};
use convoke_rpc::metrics::Metrics;
use convoke_rpc::{
    CarrierKind, Carriers, Endpoint, Limits, NodeId, Protocol, Role, RoleSet, Target,
};
use convoke_store::{Store, StoreConfig};
use convoke_types::wire::enrol::{JoinToken, TokenError};
use convoke_types::{ClusterId, Tags};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::adapting::Mode;
use crate::custody::ask::{self, AskError};
use crate::custody::keeper::Out;
use crate::custody::{NAME_CHARACTERS, PaperError, Papers};
use crate::event::{Event, Teller};
use crate::home::{self, Home, HomeError};
use crate::inspect;
use crate::logs::Ring;
use crate::notify::Notifier;
use crate::parts::{Parts, Slot};
use crate::planning::Steadiness;
use crate::planning::bandwidth::Bandwidths;
use crate::probe::Overrides;
use crate::roles::wanted;
use crate::services;
pub use crate::services::api::ApiSettings;
use crate::services::api::login_url;
use crate::services::api::{Happenings, LogClock, Logins};
use crate::supervisor::{self, EndReason, Overview, Supervisor};

/// How long whoever may be a copy of this node has to answer.
pub const COPY: Duration = Duration::from_secs(1);

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
    /// The bounds of its links and calls.
    pub limits: Limits,
    /// How long starts and stops may take.
    pub times: supervisor::Params,
    /// The service manager, if there is one.
    pub notifier: Option<Notifier>,
    /// The HTTP API; without it, the socket in the data directory alone.
    pub api: Option<ApiSettings>,
    /// What is known better of this machine than its probes find.
    pub overrides: Overrides,
    /// Whether it turns its knobs.
    pub adapting: Mode,
    /// Below which directory probes look, if not at this machine.
    pub probe_root: Option<PathBuf>,
    /// Whether it measures with other nodes what the network between them carries.
    pub bandwidth: bool,
    /// What the program told lately, for those who ask for this node's log.
    pub recent: Option<Arc<Ring>>,
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
            limits: Limits::default(),
            times: supervisor::Params::default(),
            notifier: None,
            api: None,
            overrides: Overrides::default(),
            adapting: Mode::default(),
            probe_root: None,
            bandwidth: false,
            recent: None,
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
    /// What it should join with is no token.
    #[error("the token to join with: {0}")]
    Token(#[from] TokenError),
    /// It has a name that none can have.
    #[error(
        "{name:?} is no name of a node or cluster: it has 1 to {NAME_CHARACTERS} characters, none of them a control character"
    )]
    BadName {
        /// Which, or the beginning of it.
        name: String,
    },
    /// It should belong to two clusters.
    #[error(
        "a node of a development cluster takes no token and no cluster name: leave them out, or the development cluster"
    )]
    TwoWays,
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
    #[error("a node takes one of the roles that it may have, and this one may be {0}")]
    NoRole(RoleSet),
    /// One of its services ended.
    #[error("{service}: {error}")]
    Service {
        /// Which.
        service: &'static str,
        /// Why.
        error: String,
    },
    /// Its cluster does not want it.
    #[error(transparent)]
    Out(#[from] Out),
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

/// A node that lives. Clones are one; it is stopped by [`Node::stop`], and not before.
#[derive(Clone, Debug)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Arc<Parts>,
    overview: watch::Receiver<Overview>,
    tasks: TaskTracker,
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
        let listen = |error| NodeError::Listen {
            address: settings.listen,
            error,
        };
        let endpoint = Endpoint::bind_with(
            settings.carriers,
            settings.listen,
            belongs.identity.clone(),
            belongs.trust.clone(),
            settings.limits.clone(),
        )
        .map_err(listen)?;
        let bound = endpoint.local_address().map_err(listen)?;
        let own = match settings.advertise {
            Some(own) => own,
            None => own_address(bound, &belongs.places).await,
        };
        let checked = async {
            if own.ip().is_unspecified() || own.ip().is_multicast() || own.port() == 0 {
                return Err(NodeError::Unreachable(own));
            }
            look_for_a_copy(&endpoint, bound, &belongs).await
        };
        if let Err(error) = checked.await {
            endpoint.close().await;
            return Err(error);
        }
        let mut belongs = belongs;
        if let Some(papers) = &mut belongs.papers {
            let (places, role) = (papers.cluster.places.clone(), papers.cluster.role);
            let remembered = papers.remember(places, vec![own.to_string()], role);
            if let Err(error) = remembered {
                endpoint.close().await;
                return Err(error.into());
            }
        }
        let store = client(&endpoint, bound, own, &belongs.places).await;
        let role = first_role(&belongs, settings.wants);
        let me = endpoint.identity().node_id();
        let start = home.start();
        let overrides = watch::Sender::new(settings.overrides.clone());
        let adapting = watch::Sender::new(settings.adapting);
        let steadiness = Steadiness::recall(home.directory(), begun);
        let parts = Arc::new(Parts {
            settings,
            home,
            cluster: belongs.cluster,
            cluster_name: belongs.cluster_name,
            identity: belongs.identity,
            trust: belongs.trust,
            papers: belongs.papers.map(|papers| Arc::new(Mutex::new(papers))),
            places: belongs.places,
            is_founder: belongs.is_founder,
            endpoint,
            bound,
            own,
            book: book_with(&own, me),
            store,
            begun,
            gossip: Slot::new(),
            registry: Slot::new(),
            listing: Listing::new(),
            is_going: watch::Sender::default(),
            log: Slot::new(),
            desk: Slot::new(),
            tuner: Slot::new(),
            adapting,
            overrides,
            measured: watch::Sender::new(None),
            steadiness,
            bandwidths: Bandwidths::default(),
            role: watch::Sender::new(None),
            was_ready: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            happenings: Happenings::new(start),
            log_clock: LogClock::new(begun),
            logins: Logins::default(),
            api: Slot::new(),
            calls: Metrics::new(),
            reins: OnceLock::new(),
        });
        Ok(Self::supervise(parts, role))
    }

    fn supervise(parts: Arc<Parts>, role: Role) -> Self {
        parts.tell(&started(&parts));
        let told = Arc::clone(&parts);
        let supervisor = Supervisor::start(
            services::all(&parts),
            parts.settings.times,
            parts.settings.notifier.clone(),
            move |event| told.tell(&Event::Services(event.clone())),
        );
        let reins = supervisor.reins();
        let _ = parts.reins.set(reins.clone());
        reins.want(role, wanted(role, &BTreeSet::new()));
        let tasks = TaskTracker::new();
        tasks.spawn(follow_role(Arc::clone(&parts), role));
        tasks.spawn(see_to_the_end(Arc::clone(&parts), supervisor));
        tasks.close();
        Self(Arc::new(Inner {
            overview: reins.overview(),
            parts,
            tasks,
        }))
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.parts.me()
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.0.parts.cluster
    }

    /// By which name people know its cluster.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.0.parts.cluster_name
    }

    /// Where others reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.parts.own
    }

    /// What it was told at its start.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.parts.settings
    }

    /// Its key and certificate.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.parts.identity
    }

    /// Whom it believes.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.0.parts.trust
    }

    /// Its links.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.parts.endpoint
    }

    /// What it observes, while that service runs.
    #[must_use]
    pub fn gossip(&self) -> Option<Gossip> {
        self.0.parts.gossip.get()
    }

    /// Its part in the log, while it has one.
    #[must_use]
    pub fn log(&self) -> Option<LogNode> {
        self.0.parts.log.get()
    }

    /// A client of what is decided, which finds who leads.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// Its directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.0.parts.home.directory()
    }

    /// Which start of it this is.
    #[must_use]
    pub fn start_number(&self) -> u64 {
        self.0.parts.home.start()
    }

    /// Since when it lives.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.0.parts.begun
    }

    /// Its role, once it is listed and answers; nothing before.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        *self.0.parts.role.borrow()
    }

    /// How it and its services do, as that changes.
    #[must_use]
    pub fn overview(&self) -> watch::Receiver<Overview> {
        self.0.overview.clone()
    }

    /// What is known better of this machine than its probes find, from the next look on.
    pub fn set_overrides(&self, overrides: Overrides) {
        self.0.parts.overrides.send_replace(overrides);
    }

    /// Whether it turns its knobs, from the next look on.
    pub fn set_adapting(&self, mode: Mode) {
        self.0.parts.adapting.send_replace(mode);
    }

    /// The moment by which an overview counts.
    #[must_use]
    pub fn now(&self) -> convoke_types::Moment {
        let reins = self.0.parts.reins.get();
        reins.map_or(convoke_types::Moment::START, supervisor::Reins::now)
    }

    /// Waits until every service it is worth nothing without is ready: it is listed and answers what was decided. Or until it ends.
    ///
    /// # Errors
    /// When it ends before.
    pub async fn ready(&self) -> Result<Role, Arc<NodeError>> {
        let mut overview = self.overview();
        let ready = async {
            loop {
                let is_ready = overview.borrow_and_update().is_ready;
                if let (true, Some(role)) = (is_ready, self.role()) {
                    return role;
                }
                if overview.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            role = ready => Ok(role),
            why = self.ended() => Err(why),
        }
    }

    /// Waits until it cannot go on, and says why. Nothing of it runs then.
    pub async fn ended(&self) -> Arc<NodeError> {
        let mut ended = self.0.parts.ended.subscribe();
        let why = loop {
            if let Some(why) = ended.borrow_and_update().clone() {
                break why;
            }
            if ended.changed().await.is_err() {
                return std::future::pending().await;
            }
        };
        self.0.tasks.wait().await;
        why
    }

    /// Why it could not go on, if it could not.
    #[must_use]
    pub fn why_ended(&self) -> Option<Arc<NodeError>> {
        self.0.parts.ended.borrow().clone()
    }

    /// A new key that signs takes the place of this node's. Gives back the old one and the new one.
    ///
    /// # Errors
    /// When it has none, or that cannot be decided.
    pub async fn rotate_issuer(&self) -> Result<(String, String), inspect::NotRotated> {
        let rotated = inspect::rotate(&self.0.parts, None).await?;
        Ok((rotated.old, rotated.new))
    }

    /// The socket at which this node's API is served to whoever can open it.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        home::api_socket(self.data())
    }

    /// Where its API is served over the network, as the beginning of an address; changes when that begins or ends.
    #[must_use]
    pub fn api_address(&self) -> Option<String> {
        self.0.parts.api_url()
    }

    /// Waits until its API is served over the network, for as long as this node is told to do that.
    pub async fn api_served(&self) -> String {
        let mut served = self.0.parts.api.watch();
        let served = served.wait_for(Option::is_some).await;
        if served.is_err() {
            return std::future::pending().await;
        }
        drop(served);
        self.api_address().unwrap_or_default()
    }

    /// A one-time token with which somebody may log in at the API as admin, within [`LOGIN_LIFE`](crate::api::LOGIN_LIFE).
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn make_login(&self) -> Result<String, HomeError> {
        self.0.parts.logins.make()
    }

    /// Where a browser logs in, once, with a token made for it. Nothing while the API is not served over the network. The token stands
    /// behind the `#`, which browsers keep to themselves.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn login_url(&self) -> Result<Option<String>, HomeError> {
        let Some(address) = self.api_address() else {
            return Ok(None);
        };
        Ok(Some(login_url(&address, &self.make_login()?)))
    }

    /// Has it stop in order; asked again, at once. For signals; [`stopped`](Self::stopped) waits for it.
    pub fn asked_to_stop(&self) {
        if let Some(reins) = self.0.parts.reins.get() {
            reins.asked_to_stop();
        }
    }

    /// Waits until nothing of it runs.
    pub async fn stopped(&self) {
        self.0.tasks.wait().await;
    }

    /// Leads no more, says farewell, answers no more, and lets go of the directory when the last clone is gone.
    pub async fn stop(&self) {
        if let Some(reins) = self.0.parts.reins.get() {
            reins.stop();
        }
        self.stopped().await;
    }
}

fn started(parts: &Parts) -> Event {
    Event::Started {
        node: parts.me(),
        cluster: parts.cluster,
        cluster_name: parts.cluster_name.clone(),
        listen: parts.bound,
        advertise: parts.own,
        roles: parts.identity.certificate().claims().roles,
        start: parts.home.start(),
    }
}

/// The role that is decided is the one that is played.
async fn follow_role(parts: Arc<Parts>, first: Role) {
    let mut roles = parts.role.subscribe();
    let mut played = first;
    let Some(reins) = parts.reins.get() else {
        return;
    };
    let mut overview = reins.overview();
    loop {
        let role = *roles.borrow_and_update();
        if let Some(role) = role.filter(|role| *role != played) {
            played = role;
            reins.want(role, wanted(role, &BTreeSet::new()));
        }
        tokio::select! {
            changed = roles.changed() => if changed.is_err() { return },
            seen = overview.wait_for(|seen| matches!(seen.stage, supervisor::Stage::Stopping | supervisor::Stage::Ended)) => {
                drop(seen);
                return;
            }
        }
    }
}

/// Waits for the services, then ends what they stood on.
async fn see_to_the_end(parts: Arc<Parts>, mut supervisor: Supervisor) {
    let ending = supervisor.ended().await;
    if let EndReason::Failed { service, error } = ending.why {
        parts.end(NodeError::Service {
            service: service.name(),
            error,
        });
    }
    parts.endpoint.close().await;
}

/// Others are told where this node is now, also before they hear of it otherwise.
fn book_with(own: &SocketAddr, me: NodeId) -> AddressBook {
    let book = AddressBook::default();
    book.note(me, vec![*own]);
    book
}

/// What it plays until it hears what it is: what it was when it stopped, what it wants, or the first that it may have.
fn first_role(belongs: &Belongs, wants: Option<Role>) -> Role {
    let roles = belongs.identity.certificate().claims().roles;
    let was = belongs.papers.as_ref().and_then(|it| it.cluster.role);
    let first = || convoke_decided::first_role(roles);
    was.or(wants)
        .filter(|role| roles.contains(*role))
        .or_else(first)
        .unwrap_or(Role::Observer)
}

/// A client that asks this node first, which knows who leads.
async fn client(
    endpoint: &Endpoint,
    bound: SocketAddr,
    own: SocketAddr,
    places: &[String],
) -> Store {
    let mut targets = vec![Target {
        addresses: vec![loopback(bound, own)],
        node: Some(endpoint.identity().node_id()),
    }];
    for place in places {
        if let Ok(found) = tokio::net::lookup_host(place).await {
            targets.extend(found.map(Target::from).take(2));
        }
    }
    Store::new(endpoint, targets, StoreConfig::default())
}

/// Where others reach a node that does not say: where it listens, if that is one address; else from where this machine reaches others.
async fn own_address(bound: SocketAddr, places: &[String]) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    // The routing table is asked; nothing is sent. The last is an address that documents use: the way there is the way to the world.
    let mut towards: Vec<SocketAddr> = Vec::new();
    for place in places {
        if let Ok(found) = tokio::net::lookup_host(place).await {
            towards.extend(found);
        }
    }
    towards.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9));
    let local = towards.into_iter().find_map(|towards| {
        let any: IpAddr = if towards.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(towards).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    let loopback = || IpAddr::from(Ipv4Addr::LOCALHOST);
    SocketAddr::new(local.unwrap_or_else(loopback), bound.port())
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
            if *roles == RoleSet::EMPTY {
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
        // A node always listens over TCP, where nobody being there is known at once.
        let tcp = Some(CarrierKind::Tcp);
        let connecting = endpoint.connect_over(tcp, address, Some(me), Protocol::Rpc);
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
    UdpSocket::bind((address.ip(), 0)).is_ok()
}

/// How this process calls itself.
fn loopback(bound: SocketAddr, own: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        let ip: IpAddr = if bound.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        return SocketAddr::new(ip, bound.port());
    }
    if own.port() == bound.port() {
        own
    } else {
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_listens_everywhere_is_where_others_would_reach_it() {
        let bound: SocketAddr = ([0, 0, 0, 0], 4700).into();
        let near = own_address(bound, &["127.0.0.9:1".to_owned()]).await;
        assert_eq!(near, ([127, 0, 0, 1], 4700).into());
        let alone = own_address(bound, &[]).await;
        assert!(!alone.ip().is_unspecified());
        let one: SocketAddr = ([127, 0, 0, 7], 4700).into();
        assert_eq!(own_address(one, &[]).await, one);
    }
}
