//! An endpoint: this node's one address, from which it opens links and at which it accepts them.
//!
//! It owns the socket and every task of its links that no protocol owns: the accept loop, handshakes, and the guard over
//! certificates. It hands accepted links to whoever listens for their protocol and bounds how many there are.
//!
//! ```text
//! connect(address, expected node, protocol) ─► Link
//! listen(protocol, admission) ─► Listener ─► accept() ─► Link
//! close() ends everything and waits for it
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use convoke_types::{Changed, Code, NodeId, Problem, Retry};
use parking_lot::Mutex;
use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::identity::{Certificate, Claims, Identity, IdentityError, Trust, tls};
use crate::limits::{LINKS_WAITING, Limits};
use crate::link::{
    CloseCode, CloseReason, Guard, Link, MemoryAnswer, MemoryDoor, MemoryKnock, MemoryNetwork,
    QuicSocket, Side, memory_pair,
};
use crate::protocol::{Admission, Protocol};

/// This node's address, identity and open links. Clones share them; [`Endpoint::close`] ends them.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    identity: Identity,
    trust: Trust,
    limits: Limits,
    carrier: Carrier,
    listeners: Mutex<BTreeMap<Protocol, Listening>>,
    guard: Arc<Guard>,
    handshakes: Arc<Semaphore>,
    /// Accepted links by peer.
    accepted: Mutex<HashMap<NodeId, usize>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
enum Carrier {
    Quic(Box<QuicSocket>),
    Memory(MemoryDoor),
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
        waited: std::time::Duration,
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

impl Endpoint {
    /// Binds a UDP socket and speaks QUIC over it. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        identity: Identity,
        trust: Trust,
        limits: Limits,
    ) -> io::Result<Self> {
        let socket = QuicSocket::bind(address, identity.key(), &limits)?;
        let quic = socket.endpoint.clone();
        let endpoint = Self::start(Carrier::Quic(Box::new(socket)), identity, trust, limits);
        let accepting = endpoint.clone();
        endpoint.0.tasks.spawn(async move {
            let stop = accepting.0.stop.clone();
            while let Some(Some(incoming)) = stop.run_until_cancelled(quic.accept()).await {
                accepting.begin_handshake(incoming);
            }
        });
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
            guard: Arc::clone(&guard),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            accepted: Mutex::default(),
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
            Carrier::Quic(socket) => socket.endpoint.local_addr(),
            Carrier::Memory(door) => Ok(door.address),
        }
    }

    /// Moves to another local address. Links that we opened follow; what is under way on them goes on.
    ///
    /// # Errors
    /// When the address cannot be bound; the old one stays in use.
    pub fn rebind(&self, address: SocketAddr) -> io::Result<()> {
        match &self.0.carrier {
            Carrier::Quic(socket) => socket.rebind(address),
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

    fn offer_protocols(&self) {
        let Carrier::Quic(socket) = &self.0.carrier else {
            return;
        };
        // Under the lock, so that of two changes the later one counts.
        let listeners = self.0.listeners.lock();
        let mut names: Vec<&[u8]> = listeners.keys().map(|protocol| protocol.alpn()).collect();
        if names.is_empty() {
            // Without any name callers would get no answer and wait until their patience ends, instead of going elsewhere.
            names.push(NOTHING);
        }
        socket.serve(tls::server_config(&self.0.identity, &self.0.trust, &names));
    }

    /// Opens a link to `address` and makes sure that `expected` is there, when given.
    ///
    /// # Errors
    /// When nobody answers, or somebody we do not accept, or who does not accept us.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Link, ConnectError> {
        if self.0.stop.is_cancelled() {
            return Err(ConnectError::Closed);
        }
        let waited = self.0.limits.handshake_timeout;
        let connecting = async {
            match &self.0.carrier {
                Carrier::Quic(socket) => {
                    self.connect_quic(socket, address, expected, protocol).await
                }
                Carrier::Memory(door) => {
                    self.connect_memory(door, address, expected, protocol).await
                }
            }
        };
        let link = timeout(waited, connecting)
            .await
            .unwrap_or(Err(ConnectError::Unreachable { address, waited }))?;
        self.attend(&link, || ());
        Ok(link)
    }

    async fn connect_quic(
        &self,
        socket: &QuicSocket,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Link, ConnectError> {
        let (tls, refusal) =
            tls::client_config_for_one(&self.0.identity, &self.0.trust, &[protocol.alpn()]);
        let name = tls::server_name(expected).to_str().into_owned();
        let connecting = socket
            .endpoint
            .connect_with(socket.client_config(tls), address, &name)
            .map_err(|error| ConnectError::Address {
                address,
                reason: error.to_string(),
            })?;
        let connection = connecting
            .await
            .map_err(|error| match (refusal.reason(), error) {
                (Some(error), _) => ConnectError::Peer { address, error },
                (None, quinn::ConnectionError::TimedOut) => ConnectError::Unreachable {
                    address,
                    waited: self.0.limits.handshake_timeout,
                },
                (None, error) => ConnectError::Refused {
                    address,
                    reason: crate::link::quic_close_reason(&error),
                },
            })?;
        let peer = self
            .claims_of(&connection)
            .map_err(|error| ConnectError::Peer { address, error })?;
        Ok(Link::over_quic(connection, protocol, peer))
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

    async fn connect_memory(
        &self,
        door: &MemoryDoor,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Link, ConnectError> {
        let nobody = || ConnectError::Address {
            address,
            reason: "nobody is there".to_owned(),
        };
        let (answer, answered) = oneshot::channel();
        let knock = MemoryKnock {
            from: door.address,
            alpn: protocol.alpn().to_vec(),
            certificate: self.0.identity.certificate(),
            expected,
            answer,
        };
        door.knock(address)
            .ok_or_else(nobody)?
            .send(knock)
            .await
            .map_err(|_| nobody())?;
        let answer = answered.await.map_err(|_| nobody())?;
        // As with TLS, a caller judges whom it reached before it hears what they think of it.
        let peer = answer
            .certificate
            .map(|certificate| self.judge_expected(&certificate, expected))
            .transpose();
        let peer = peer.map_err(|error| ConnectError::Peer { address, error })?;
        let carrier = answer
            .link
            .map_err(|reason| ConnectError::Refused { address, reason })?;
        Ok(Link::in_memory(
            carrier,
            protocol,
            peer.expect("whoever gives a link shows a certificate"),
        ))
    }

    fn judge_expected(
        &self,
        certificate: &Certificate,
        expected: Option<NodeId>,
    ) -> Result<Claims, IdentityError> {
        let peer = self.judge(certificate)?;
        let found = peer.node;
        match expected {
            Some(expected) if expected != found => {
                Err(IdentityError::WrongNode { expected, found })
            }
            Some(_) | None => Ok(peer),
        }
    }

    fn begin_handshake(&self, incoming: quinn::Incoming) {
        let Ok(permit) = Arc::clone(&self.0.handshakes).try_acquire_owned() else {
            incoming.refuse();
            return;
        };
        let endpoint = self.clone();
        self.0.tasks.spawn(async move {
            let from = incoming.remote_address();
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
            drop(permit);
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
            return link.close(
                CloseCode::NotServed,
                "nobody listens for that protocol any more",
            );
        };
        if let Err(reason) = admission(&claims, link.protocol()) {
            debug!(peer = %claims.node.short(), reason, "refuse a link");
            return link.close(CloseCode::NotAdmitted, &reason);
        }
        if let Err(reason) = self.count_in(claims.node) {
            warn!(peer = %claims.node.short(), reason, "refuse a link");
            return link.close(CloseCode::Overloaded, reason);
        }
        let (endpoint, node) = (self.clone(), claims.node);
        self.attend(link, move || endpoint.count_out(node));
        if links.try_send(link.clone()).is_err() {
            link.close(CloseCode::Overloaded, "too many links wait to be taken up");
        }
    }

    fn count_in(&self, node: NodeId) -> Result<(), &'static str> {
        let mut accepted = self.0.accepted.lock();
        if accepted.values().sum::<usize>() >= self.0.limits.connections {
            return Err("this node has as many links as it may have");
        }
        let from_node = accepted.entry(node).or_default();
        if *from_node >= self.0.limits.connections_per_peer {
            return Err("this node has as many links from you as it may have");
        }
        *from_node += 1;
        Ok(())
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
        if let Carrier::Quic(socket) = &self.0.carrier {
            socket.endpoint.close(
                quinn::VarInt::from_u32(CloseCode::Done.number()),
                b"the endpoint was closed",
            );
        }
        for (_, listening) in std::mem::take(&mut *self.0.listeners.lock()) {
            drop(listening.links);
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
        if let Carrier::Quic(socket) = &self.0.carrier {
            // Peers deserve to hear the reason; three round trips are allowed for it.
            let _ = timeout(
                std::time::Duration::from_secs(1),
                socket.endpoint.wait_idle(),
            )
            .await;
        }
    }
}
