//! An endpoint: this node's one address, from which it opens links and at which it accepts them.
//!
//! It owns the sockets and every task of its links that no protocol owns: the accept loop, handshakes, the guard over
//! certificates, the looks after silent peers. It hands accepted links to whoever listens for their protocol and bounds how many there are.
//!
//! ```text
//! connect(address, expected node, protocol) ─► Link
//! listen(protocol, admission) ─► Listener ─► accept() ─► Link
//! close() ends everything and waits for it
//! ```

mod dial;
mod gate;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use convoke_types::{Changed, Code, NodeId, Problem, Retry};
use parking_lot::Mutex;
use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::enrol::{self, Enroller};
use crate::identity::{Certificate, Claims, Identity, IdentityError, Trust, tls};
use crate::limits::{LINKS_WAITING, Limits};
use crate::link::{
    CloseCode, CloseReason, Guard, Link, Looks, MemoryAnswer, MemoryDoor, MemoryKnock,
    MemoryNetwork, PeerMemory, QuicSocket, Shaken, Side, TcpCarrier, TcpDoor, answer_tcp,
    memory_pair,
};
use crate::protocol::{Admission, Protocol};
use gate::Gate;

/// This node's address, identity and open links. Clones share them; [`Endpoint::close`] ends them.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    identity: Identity,
    trust: Trust,
    limits: Limits,
    carrier: Carrier,
    listeners: Mutex<BTreeMap<Protocol, Listening>>,
    /// Who answers those without a certificate, if anybody does.
    enroller: Mutex<Option<Enroller>>,
    enrolling: Arc<Semaphore>,
    guard: Arc<Guard>,
    /// When to look whether the peers of links over TCP are still there.
    looks: Arc<Looks>,
    gate: Arc<Gate>,
    /// Accepted links by peer.
    accepted: Mutex<HashMap<NodeId, usize>>,
    /// What links over TCP hold, by peer and protocol.
    held: Mutex<BTreeMap<(NodeId, Protocol), Weak<PeerMemory>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
enum Carrier {
    Sockets(Box<Sockets>),
    Memory(MemoryDoor),
}

/// The sockets of an endpoint: one port number, at most one socket per carrier.
#[derive(Debug)]
struct Sockets {
    quic: Option<QuicSocket>,
    tcp: Option<TcpSide>,
}

/// Where connections come in, which may move, and how they are answered.
#[derive(Debug)]
struct TcpSide {
    door: watch::Sender<Arc<TcpDoor>>,
    answering: ArcSwapOption<rustls::ServerConfig>,
}

/// Which carriers an endpoint uses, for links in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carriers {
    /// QUIC and TLS over TCP, at the same port number. Whoever calls takes the one that is faster there.
    #[default]
    Both,
    /// QUIC alone.
    Quic,
    /// TLS over TCP alone.
    Tcp,
}

struct Listening {
    admission: Admission,
    links: mpsc::Sender<Link>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.identity.node_id())
            .field("carrier", &self.carrier)
            .finish_non_exhaustive()
    }
}

/// Why no link came to be. Nothing has run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answered in time.
    #[error("{address} did not answer within {waited:?}")]
    Unreachable {
        /// Whom we asked.
        address: SocketAddr,
        /// How long we waited.
        waited: Duration,
    },
    /// The address cannot be sent to.
    #[error("cannot send to {address}: {reason}")]
    Address {
        /// Whom we asked.
        address: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// We do not accept who answered.
    #[error("{address} is not who it should be: {error}")]
    Peer {
        /// Whom we asked.
        address: SocketAddr,
        /// What was wrong with them.
        error: IdentityError,
    },
    /// Whoever answered ended it.
    #[error("{address} refused the link: {reason}")]
    Refused {
        /// Whom we asked.
        address: SocketAddr,
        /// What they said.
        reason: CloseReason,
    },
    /// This endpoint was closed.
    #[error("this endpoint is closed")]
    Closed,
}

impl ConnectError {
    /// Whether it says something about the way to the peer, not about the peer.
    fn is_about_the_path(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Address { .. } => true,
            Self::Refused { reason, .. } => reason.code == CloseCode::Lost,
            Self::Peer { .. } | Self::Closed => false,
        }
    }

    /// The same as an error that can be handed to a caller.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        let problem = match self {
            Self::Unreachable { .. } | Self::Address { .. } => {
                Problem::new(Code::Unavailable, self.to_string())
            }
            Self::Peer { error, .. } => {
                Problem::new(error.code(), self.to_string()).retry(Retry::Never)
            }
            Self::Refused { reason, .. } => reason.to_problem(false),
            Self::Closed => Problem::new(Code::Unavailable, self.to_string()).retry(Retry::Never),
        };
        problem.changed(Changed::No)
    }
}

/// Accepted links of one protocol.
#[derive(Debug)]
pub struct Listener {
    links: mpsc::Receiver<Link>,
    protocol: Protocol,
    endpoint: Endpoint,
}

impl Listener {
    /// The next link, or `None` when the endpoint was closed.
    pub async fn accept(&mut self) -> Option<Link> {
        self.links.recv().await
    }
}

/// Requests of enrolment are answered until this is dropped.
#[derive(Debug)]
pub struct Enrolling(Endpoint);

impl Drop for Enrolling {
    fn drop(&mut self) {
        *self.0.0.enroller.lock() = None;
        self.0.offer_protocols();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.endpoint.0.listeners.lock().remove(&self.protocol);
        self.endpoint.offer_protocols();
        self.links.close();
        while let Ok(link) = self.links.try_recv() {
            link.close(
                CloseCode::NotServed,
                "nobody listens for that protocol any more",
            );
        }
    }
}

/// What an endpoint offers that nobody listens at any more: a protocol nobody asks for.
const NOTHING: &[u8] = b"convoke-nothing";
const NOBODY_LISTENS: &str = "nobody listens for that protocol any more";
/// Port numbers tried for one that is free for every carrier.
const PORTS_TRIED: u32 = 32;
/// How long nothing is accepted when nothing can be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Endpoint {
    /// Binds `address` for every carrier: UDP and TCP at one port number. Port 0 takes a number that is free for both.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        identity: Identity,
        trust: Trust,
        limits: Limits,
    ) -> io::Result<Self> {
        Self::bind_with(Carriers::Both, address, identity, trust, limits)
    }

    /// As [`Endpoint::bind`], for chosen carriers.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind_with(
        carriers: Carriers,
        address: SocketAddr,
        identity: Identity,
        trust: Trust,
        limits: Limits,
    ) -> io::Result<Self> {
        let sockets = Sockets::bind(carriers, address, &identity, &limits)?;
        let quic = sockets.quic.as_ref().map(|quic| quic.endpoint.clone());
        let doors = sockets.tcp.as_ref().map(|tcp| tcp.door.subscribe());
        let carrier = Carrier::Sockets(Box::new(sockets));
        let endpoint = Self::start(carrier, identity, trust, limits);
        if let Some(quic) = quic {
            let accepting = endpoint.clone();
            endpoint.0.tasks.spawn(async move {
                let stop = accepting.0.stop.clone();
                while let Some(Some(incoming)) = stop.run_until_cancelled(quic.accept()).await {
                    accepting.begin_handshake(incoming);
                }
            });
        }
        if let Some(doors) = doors {
            let accepting = endpoint.clone();
            endpoint.0.tasks.spawn(async move {
                let stop = accepting.0.stop.clone();
                stop.run_until_cancelled(accepting.accept_tcp(doors)).await;
            });
        }
        Ok(endpoint)
    }

    /// Takes an address in an in-memory network.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn in_memory(
        network: &MemoryNetwork,
        address: SocketAddr,
        identity: Identity,
        trust: Trust,
        limits: Limits,
    ) -> io::Result<Self> {
        let (door, mut knocks) = network.take(address, limits.handshakes)?;
        let endpoint = Self::start(Carrier::Memory(door), identity, trust, limits);
        let accepting = endpoint.clone();
        endpoint.0.tasks.spawn(async move {
            let stop = accepting.0.stop.clone();
            while let Some(Some(knock)) = stop.run_until_cancelled(knocks.recv()).await {
                accepting.answer_knock(knock);
            }
        });
        Ok(endpoint)
    }

    fn start(carrier: Carrier, identity: Identity, trust: Trust, limits: Limits) -> Self {
        let guard = Arc::new(Guard::new(identity.clone(), trust.clone()));
        let inner = Inner {
            identity,
            trust,
            carrier,
            listeners: Mutex::default(),
            enroller: Mutex::new(None),
            enrolling: Arc::new(Semaphore::new(enrol::AT_ONCE)),
            guard: Arc::clone(&guard),
            // Half of the time a link may be silent: one question fits in before it is lost.
            looks: Looks::new(limits.idle_timeout / 2),
            gate: Gate::new(&limits),
            accepted: Mutex::default(),
            held: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            limits,
        };
        let endpoint = Self(Arc::new(inner));
        let (tasks, stop) = (endpoint.0.tasks.clone(), endpoint.0.stop.clone());
        endpoint
            .0
            .tasks
            .spawn(async move { stop.run_until_cancelled(guard.run(&tasks)).await });
        if let Carrier::Sockets(_) = endpoint.0.carrier {
            let (looks, stop) = (Arc::clone(&endpoint.0.looks), endpoint.0.stop.clone());
            endpoint
                .0
                .tasks
                .spawn(async move { stop.run_until_cancelled(looks.run()).await });
        }
        endpoint
    }

    /// Who we are.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Whom we trust.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.0.trust
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Where others reach us.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.0.carrier {
            Carrier::Sockets(sockets) => sockets.local_address(),
            Carrier::Memory(door) => Ok(door.address),
        }
    }

    /// Moves to another local address. Links over QUIC that we opened follow, and what is under way on them goes on; links over
    /// TCP stay where they are for as long as the old address works.
    ///
    /// # Errors
    /// When the address cannot be bound; the old one stays in use.
    pub fn rebind(&self, address: SocketAddr) -> io::Result<()> {
        match &self.0.carrier {
            Carrier::Sockets(sockets) => sockets.rebind(address, &self.0.limits),
            Carrier::Memory(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an in-memory address does not move",
            )),
        }
    }

    /// Accepts links of one protocol from the nodes that `admission` lets in, until the listener is dropped.
    ///
    /// # Errors
    /// When somebody already listens for it.
    pub fn listen(&self, protocol: Protocol, admission: Admission) -> io::Result<Listener> {
        let (links, accepted) = mpsc::channel(LINKS_WAITING);
        let mut listeners = self.0.listeners.lock();
        if listeners.contains_key(&protocol) {
            let taken = format!("{protocol} is already listened for on this endpoint");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, taken));
        }
        listeners.insert(protocol, Listening { admission, links });
        drop(listeners);
        self.offer_protocols();
        Ok(Listener {
            links: accepted,
            protocol,
            endpoint: self.clone(),
        })
    }

    /// Has requests of enrolment answered, from clients without a certificate, until what is given back is dropped.
    ///
    /// # Errors
    /// When somebody answers them already, or this endpoint does not use TCP.
    pub fn serve_enrolment(&self, enroller: Enroller) -> io::Result<Enrolling> {
        let has_tcp = match &self.0.carrier {
            Carrier::Sockets(sockets) => sockets.tcp.is_some(),
            Carrier::Memory(_) => false,
        };
        if !has_tcp {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "enrolment goes over TCP, which this endpoint does not use",
            ));
        }
        {
            let mut place = self.0.enroller.lock();
            if place.is_some() {
                let taken = "requests of enrolment are answered already on this endpoint";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, taken));
            }
            *place = Some(enroller);
        }
        self.offer_protocols();
        Ok(Enrolling(self.clone()))
    }

    fn offer_protocols(&self) {
        let Carrier::Sockets(sockets) = &self.0.carrier else {
            return;
        };
        // Under the lock, so that of two changes the later one counts.
        let listeners = self.0.listeners.lock();
        let mut names: Vec<&[u8]> = listeners.keys().map(|protocol| protocol.alpn()).collect();
        if names.is_empty() {
            // Without any name callers would get no answer and wait until their patience ends, instead of going elsewhere.
            names.push(NOTHING);
        }
        let (identity, trust) = (&self.0.identity, &self.0.trust);
        let config = tls::server_config(identity, trust, &names);
        if let Some(tcp) = &sockets.tcp {
            let config = match &*self.0.enroller.lock() {
                Some(_) => tls::server_config_with_enrolment(identity, trust, &names),
                None => config.clone(),
            };
            tcp.answering.store(Some(Arc::new(config)));
        }
        if let Some(quic) = &sockets.quic {
            quic.serve(config);
        }
    }

    fn claims_of(&self, connection: &quinn::Connection) -> Result<Claims, IdentityError> {
        let shown = connection
            .peer_identity()
            .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        tls::peer_claims(&self.0.trust, shown.as_deref().map(Vec::as_slice))
    }

    fn judge(&self, certificate: &Certificate) -> Result<Claims, IdentityError> {
        self.0
            .trust
            .current()
            .check(certificate.chain(), SystemTime::now())
    }

    fn begin_handshake(&self, incoming: quinn::Incoming) {
        let from = incoming.remote_address();
        // Anybody can write any address on a packet. When places get few, whoever wants one shows first that it is where it says;
        // otherwise a single machine could use up the places of every address.
        if self.0.gate.is_busy() && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            return;
        }
        let Some(place) = self.0.gate.enter(from.ip()) else {
            incoming.refuse();
            return;
        };
        let endpoint = self.clone();
        self.0.tasks.spawn(async move {
            let handshake = async { incoming.accept()?.await };
            let waiting = timeout(endpoint.0.limits.handshake_timeout, handshake);
            let connection = match endpoint.0.stop.run_until_cancelled(waiting).await {
                Some(Ok(Ok(connection))) => connection,
                Some(Ok(Err(error))) => {
                    let reason = crate::link::quic_close_reason(&error);
                    return debug!(%from, %reason, "shake hands");
                }
                Some(Err(_)) => return debug!(%from, "shake hands: the peer took too long"),
                None => return,
            };
            drop(place);
            endpoint.welcome_quic(&connection);
        });
    }

    fn welcome_quic(&self, connection: &quinn::Connection) {
        let data = connection
            .handshake_data()
            .and_then(|data| data.downcast::<HandshakeData>().ok());
        let alpn = data.and_then(|data| data.protocol).unwrap_or_default();
        let refuse = |code: CloseCode, detail: &str| {
            connection.close(quinn::VarInt::from_u32(code.number()), detail.as_bytes());
        };
        let Some(protocol) = Protocol::from_alpn(&alpn) else {
            return refuse(CloseCode::ProtocolViolation, "no protocol was agreed on");
        };
        match self.claims_of(connection) {
            Ok(peer) => self.welcome(&Link::over_quic(connection.clone(), protocol, peer)),
            Err(error) => refuse(CloseCode::Unauthenticated, &error.to_string()),
        }
    }

    async fn accept_tcp(&self, mut doors: watch::Receiver<Arc<TcpDoor>>) {
        loop {
            let door = Arc::clone(&doors.borrow_and_update());
            let accepted = tokio::select! {
                accepted = door.accept() => accepted,
                moved = doors.changed() => {
                    if moved.is_err() { return }
                    continue;
                }
            };
            match accepted {
                Ok((socket, from)) => self.begin_tcp_handshake(socket, from),
                Err(error) => {
                    // Out of descriptors, most likely. Whoever knocks waits in the kernel's queue meanwhile.
                    warn!(%error, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin_tcp_handshake(&self, socket: tokio::net::TcpStream, from: SocketAddr) {
        let Carrier::Sockets(sockets) = &self.0.carrier else {
            return;
        };
        let config = sockets
            .tcp
            .as_ref()
            .and_then(|tcp| tcp.answering.load_full());
        let place = self.0.gate.enter(from.ip());
        // Dropped, the socket tells the peer that it was turned away before any key exchange was computed.
        let (Some(config), Some(place)) = (config, place) else {
            return;
        };
        let endpoint = self.clone();
        self.0.tasks.spawn(async move {
            let waiting = timeout(
                endpoint.0.limits.handshake_timeout,
                answer_tcp(socket, config),
            );
            let shaken = match endpoint.0.stop.run_until_cancelled(waiting).await {
                Some(Ok(Ok(shaken))) => shaken,
                Some(Ok(Err(error))) => {
                    let reason = error.reason();
                    return debug!(%from, %reason, "shake hands");
                }
                Some(Err(_)) => return debug!(%from, "shake hands: the peer took too long"),
                None => return,
            };
            drop(place);
            if shaken.agreed.alpn == enrol::ALPN {
                return endpoint.enrol(shaken, from).await;
            }
            let protocol = Protocol::from_alpn(&shaken.agreed.alpn);
            let claims = tls::peer_claims(&endpoint.0.trust, Some(&shaken.agreed.chain));
            let memory = endpoint.memory_of(claims.as_ref().ok(), protocol);
            let looks = Arc::clone(&endpoint.0.looks);
            let (limits, tasks) = (&endpoint.0.limits, &endpoint.0.tasks);
            let Ok(carrier) = TcpCarrier::start(shaken, true, memory, looks, limits, tasks) else {
                return debug!(%from, "shake hands: the connection broke");
            };
            match (protocol, claims) {
                (Some(protocol), Ok(peer)) => {
                    endpoint.welcome(&Link::over_tcp(carrier, protocol, peer));
                }
                (None, _) => {
                    carrier.close(CloseCode::ProtocolViolation, "no protocol was agreed on");
                }
                (_, Err(error)) => carrier.close(CloseCode::Unauthenticated, &error.to_string()),
            }
        });
    }

    async fn enrol(&self, shaken: Shaken, from: SocketAddr) {
        let enroller = self.0.enroller.lock().clone();
        let place = Arc::clone(&self.0.enrolling).try_acquire_owned();
        // Dropped, the connection tells the peer to try again or elsewhere.
        let (Some(enroller), Ok(_place)) = (enroller, place) else {
            return debug!(%from, "nobody answers a request of enrolment now");
        };
        let (limits, tasks) = (&self.0.limits, &self.0.tasks);
        let serving = enrol::serve(shaken, from, enroller, limits, tasks);
        self.0.stop.run_until_cancelled(serving).await;
    }

    fn answer_knock(&self, knock: MemoryKnock) {
        let endpoint = self.clone();
        self.0.tasks.spawn(async move {
            let refused = |code, detail: String| {
                Err(CloseReason {
                    by: Side::Peer,
                    code,
                    detail,
                })
            };
            let protocol = Protocol::from_alpn(&knock.alpn)
                .filter(|protocol| endpoint.0.listeners.lock().contains_key(protocol));
            let us = endpoint.0.identity.node_id();
            let checked = endpoint.judge(&knock.certificate);
            let answer = match (protocol, knock.expected, checked) {
                (None, _, _) => refused(
                    CloseCode::NotServed,
                    "nobody listens for that protocol".to_owned(),
                ),
                (_, _, Err(error)) => refused(CloseCode::Unauthenticated, error.to_string()),
                (_, Some(expected), _) if expected != us => refused(
                    CloseCode::Unauthenticated,
                    format!("{expected} was expected here, this is {us}"),
                ),
                (Some(protocol), _, Ok(peer)) => Ok((protocol, peer)),
            };
            let shown = protocol.map(|_| endpoint.0.identity.certificate());
            match answer {
                // Who no longer waits needs no answer.
                Err(reason) => drop(knock.answer.send(MemoryAnswer {
                    certificate: shown,
                    link: Err(reason),
                })),
                Ok((protocol, peer)) => {
                    let here = endpoint.local_address().unwrap_or(knock.from);
                    let (theirs, ours) = memory_pair(knock.from, here, &endpoint.0.limits);
                    drop(knock.answer.send(MemoryAnswer {
                        certificate: shown,
                        link: Ok(theirs),
                    }));
                    endpoint.welcome(&Link::in_memory(ours, protocol, peer));
                }
            }
        });
    }

    /// Hands an accepted link to its protocol's listener, or ends it with the reason why not.
    fn welcome(&self, link: &Link) {
        let claims = link.peer();
        let listening = self
            .0
            .listeners
            .lock()
            .get(&link.protocol())
            .map(|l| (l.admission.clone(), l.links.clone()));
        let Some((admission, links)) = listening else {
            return link.close(CloseCode::NotServed, NOBODY_LISTENS);
        };
        if let Err(reason) = admission(&claims, link.protocol()) {
            debug!(peer = %claims.node.short(), reason, "refuse a link");
            return link.close(CloseCode::NotAdmitted, &reason);
        }
        match self.count_in(claims.node) {
            Ok(number) => {
                if let Some(quic) = self.quic() {
                    link.let_hold(quic.unread_window(number));
                }
            }
            Err(reason) => {
                warn!(peer = %claims.node.short(), reason, "refuse a link");
                return link.close(CloseCode::Overloaded, reason);
            }
        }
        let (endpoint, node) = (self.clone(), claims.node);
        self.attend(link, move || endpoint.count_out(node));
        match links.try_send(link.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                link.close(CloseCode::Overloaded, "too many links wait to be taken up");
            }
            Err(TrySendError::Closed(_)) => link.close(CloseCode::NotServed, NOBODY_LISTENS),
        }
    }

    /// What links over TCP with this node make us hold, for all of one protocol together.
    fn memory_of(&self, peer: Option<&Claims>, protocol: Option<Protocol>) -> Arc<PeerMemory> {
        let (Some(peer), Some(protocol)) = (peer, protocol) else {
            return PeerMemory::new(0);
        };
        let mut held = self.0.held.lock();
        // As many as there are links, at the most.
        held.retain(|_, memory| memory.strong_count() > 0);
        let memory = held.entry((peer.node, protocol)).or_default();
        memory.upgrade().unwrap_or_else(|| {
            let fresh = PeerMemory::new(self.0.limits.memory_per_peer);
            *memory = Arc::downgrade(&fresh);
            fresh
        })
    }

    /// Says how many links of this node there are with this one.
    fn count_in(&self, node: NodeId) -> Result<usize, &'static str> {
        let mut accepted = self.0.accepted.lock();
        if accepted.values().sum::<usize>() >= self.0.limits.connections {
            return Err("this node has as many links as it may have");
        }
        let from_node = accepted.entry(node).or_default();
        if *from_node >= self.0.limits.connections_per_peer {
            return Err("this node has as many links from you as it may have");
        }
        *from_node += 1;
        Ok(*from_node)
    }

    fn count_out(&self, node: NodeId) {
        let mut accepted = self.0.accepted.lock();
        if let Some(count) = accepted.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                accepted.remove(&node);
            }
        }
    }

    /// Watches over a link until it ends; then calls `ended`.
    fn attend(&self, link: &Link, ended: impl FnOnce() + Send + 'static) {
        self.0.guard.add(link);
        if self.0.stop.is_cancelled() {
            // Whoever closes the endpoint may have looked for open links just before this one was there.
            link.close(CloseCode::Done, "the endpoint was closed");
        }
        let (guard, link) = (Arc::clone(&self.0.guard), link.clone());
        self.0.tasks.spawn(async move {
            guard.attend(&link).await;
            ended();
        });
    }

    /// Links that are open now, in both directions.
    #[must_use]
    pub fn open_links(&self) -> usize {
        self.0.guard.open_links().len()
    }

    /// Ends every link, stops accepting, and waits until all tasks of this endpoint are over.
    pub async fn close(&self) {
        self.0.stop.cancel();
        for link in self.0.guard.open_links() {
            link.close(CloseCode::Done, "the endpoint was closed");
        }
        let quic = self.quic();
        if let Some(quic) = quic {
            quic.endpoint.close(
                quinn::VarInt::from_u32(CloseCode::Done.number()),
                b"the endpoint was closed",
            );
        }
        for (_, listening) in std::mem::take(&mut *self.0.listeners.lock()) {
            drop(listening.links);
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
        if let Some(quic) = quic {
            // Peers deserve to hear the reason; three round trips are allowed for it.
            let _ = timeout(Duration::from_secs(1), quic.endpoint.wait_idle()).await;
        }
    }

    fn quic(&self) -> Option<&QuicSocket> {
        match &self.0.carrier {
            Carrier::Sockets(sockets) => sockets.quic.as_ref(),
            Carrier::Memory(_) => None,
        }
    }
}

impl Sockets {
    fn bind(
        carriers: Carriers,
        address: SocketAddr,
        identity: &Identity,
        limits: &Limits,
    ) -> io::Result<Self> {
        let quic = |address| QuicSocket::bind(address, identity.key(), limits);
        let tcp = |address| TcpSide::bind(address, limits);
        match carriers {
            Carriers::Quic => Ok(Self {
                quic: Some(quic(address)?),
                tcp: None,
            }),
            Carriers::Tcp => Ok(Self {
                quic: None,
                tcp: Some(tcp(address)?),
            }),
            Carriers::Both => {
                let mut left = PORTS_TRIED;
                loop {
                    let quic = quic(address)?;
                    // A number that is free for UDP may be taken for TCP.
                    match tcp(quic.endpoint.local_addr()?) {
                        Ok(tcp) => {
                            return Ok(Self {
                                quic: Some(quic),
                                tcp: Some(tcp),
                            });
                        }
                        Err(error) if address.port() != 0 || left == 0 => return Err(error),
                        Err(_) => left -= 1,
                    }
                }
            }
        }
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        match (&self.quic, &self.tcp) {
            (Some(quic), _) => quic.endpoint.local_addr(),
            (None, Some(tcp)) => tcp.door.borrow().listener.local_addr(),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn rebind(&self, address: SocketAddr, limits: &Limits) -> io::Result<()> {
        let mut address = address;
        if let Some(quic) = &self.quic {
            quic.rebind(address)?;
            address = quic.endpoint.local_addr()?;
        }
        if let Some(tcp) = &self.tcp {
            tcp.door
                .send_replace(Arc::new(TcpDoor::bind(address, limits)?));
        }
        Ok(())
    }
}

impl TcpSide {
    fn bind(address: SocketAddr, limits: &Limits) -> io::Result<Self> {
        Ok(Self {
            door: watch::Sender::new(Arc::new(TcpDoor::bind(address, limits)?)),
            answering: ArcSwapOption::empty(),
        })
    }
}
