//! Listeners and connections: HTTP/1.1 over a Unix socket, or over TCP with or without TLS.
//!
//! - [`Listener::local`]: a socket file that only its owner can open (0600). Whoever can, is admin.
//! - [`Listener::network`]: TCP. Without TLS only on a loopback address, which the constructor sees to.
//! - [`Server::run`]: serves until it is told to stop, then lets requests end within the grace time. Every task it starts
//!   has ended when it returns.
//!
//! A connection has one request at a time. One that sends its head too slowly, or does not take what it is sent, is
//! closed. What is not here: HTTP/2, which would save nothing on connections as few as these.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::backend::Remote;
use crate::dispatch::{Api, Arrival};

/// How many connections the system keeps before they are accepted.
const BACKLOG: i32 = 128;
/// How long accepting rests when the system has no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Tokens would go over the network for all to read.
    #[error(
        "{0} can be reached from other machines, so it takes TLS: give it a certificate, or listen on 127.0.0.1"
    )]
    NeedsTls(SocketAddr),
    /// Somebody serves there.
    #[error("another process serves {}: is the node running already?", .0.display())]
    InUse(PathBuf),
    /// There is a file that is no socket.
    #[error("{} is there and is no socket: move it away", .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("listen on {place}: {source}")]
    Io {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// Where requests come in.
#[derive(Debug)]
pub struct Listener(Kind);

enum Kind {
    Local {
        listener: UnixListener,
        file: SocketFile,
    },
    Network {
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
    },
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local { file, .. } => write!(f, "Local({})", file.path.display()),
            Self::Network { listener, tls } => {
                write!(
                    f,
                    "Network({:?}, tls: {})",
                    listener.local_addr(),
                    tls.is_some()
                )
            }
        }
    }
}

/// A socket file that goes with its listener.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Which file it was: another process may have put its own there since.
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// A socket file that only its owner can open. One that a dead process left is replaced.
    ///
    /// # Errors
    /// When somebody serves there, or the system refuses.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn local(path: &Path) -> Result<Self, ListenError> {
        let io = |source| ListenError::Io {
            place: path.display().to_string(),
            source,
        };
        make_way(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(io)?;
        socket
            .bind(&SockAddr::unix(path).map_err(io)?)
            .map_err(io)?;
        let file = SocketFile {
            path: path.to_owned(),
            inode: inode(path).map_err(io)?,
        };
        // Before it listens, so that there is no moment in which others can connect.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        socket.listen(BACKLOG).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        let listener = UnixListener::from_std(socket.into()).map_err(io)?;
        Ok(Self(Kind::Local { listener, file }))
    }

    /// A TCP port, with TLS when a configuration for it is given.
    ///
    /// # Errors
    /// When the address is no loopback address and there is no TLS, or the system refuses.
    pub async fn network(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self, ListenError> {
        if tls.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(ListenError::NeedsTls(address));
        }
        let io = |source| ListenError::Io {
            place: address.to_string(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(io)?;
        Ok(Self(Kind::Network {
            listener,
            tls: tls.map(TlsAcceptor::from),
        }))
    }

    /// The address it has, if it is of the network.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Local { .. } => None,
            Kind::Network { listener, .. } => listener.local_addr().ok(),
        }
    }
}

/// Removes a socket that nobody serves.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| ListenError::Io {
                place: path.display().to_string(),
                source,
            }),
        Ok(_) | Err(_) => Err(ListenError::InUse(path.to_owned())),
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).map(|found| found.ino())
}

/// What came of serving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Connections that were cut off because they did not end within the grace time.
    pub cut_off: usize,
}

/// Serves an API on listeners.
#[derive(Debug)]
pub struct Server {
    api: Arc<Api>,
    listeners: Vec<Listener>,
}

impl Server {
    /// One that serves `api` on `listeners`.
    #[must_use]
    pub fn new(api: Arc<Api>, listeners: Vec<Listener>) -> Self {
        Self { api, listeners }
    }

    /// Serves until `stop` is cancelled, and until then never returns. Streams end at once then; requests have the grace
    /// time. Several servers may serve an API if they are told to stop together; none serves it again after that.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let Self { api, listeners } = self;
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(Arc::clone(&api), listener, stop.clone()));
        }
        stop.cancelled().await;
        api.stop.cancel();
        let mut ended = Ended::default();
        while let Some(joined) = accepting.join_next().await {
            match joined {
                Ok(cut_off) => ended.cut_off += cut_off,
                Err(error) => tracing::error!(%error, "a listener's task panicked"),
            }
        }
        ended
    }
}

/// Accepts connections of a listener, and waits for them in the end. Says how many it cut off.
async fn accept(api: Arc<Api>, listener: Listener, stop: CancellationToken) -> usize {
    let places = Arc::new(Semaphore::new(api.limits.connections));
    let neighbours = Arc::new(Neighbours::default());
    let mut connections = JoinSet::new();
    loop {
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a connection's task panicked");
            }
        }
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = next(&listener, &places) => accepted,
        };
        let (place, stream) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(REST).await; // tidy: without descriptors, accepting at once would fail for ever
                continue;
            }
        };
        let (api, stop) = (Arc::clone(&api), stop.clone());
        match stream {
            Accepted::Local(stream, remote) => {
                let arrival = Arrival {
                    remote,
                    own: None,
                    tls: false,
                };
                connections.spawn(async move {
                    let _place = place;
                    converse(api, arrival, stream, stop).await;
                });
            }
            Accepted::Network(stream, remote, own, tls) => {
                let most = api.limits.connections_per_address;
                let Some(neighbour) = neighbours.enter(remote.ip(), most) else {
                    tracing::debug!(%remote, most, "closed a connection: its address has enough of them");
                    continue;
                };
                connections.spawn(async move {
                    let _held = (place, neighbour);
                    let arrival = Arrival {
                        remote: Remote::Network(remote),
                        own: Some(own),
                        tls: tls.is_some(),
                    };
                    encrypt_and_converse(api, arrival, stream, tls, stop).await;
                });
            }
        }
    }
    drop(listener);
    wind_down(connections, api.limits.grace).await
}

async fn wind_down(mut connections: JoinSet<()>, grace: Duration) -> usize {
    let all = async { while connections.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout(grace, all).await.is_ok();
    let cut_off = if in_time { 0 } else { connections.len() };
    connections.shutdown().await;
    cut_off
}

enum Accepted {
    Local(UnixStream, Remote),
    Network(TcpStream, SocketAddr, SocketAddr, Option<TlsAcceptor>),
}

/// The next connection, once there is a place for it.
async fn next(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, Accepted)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(|_| io::Error::other("the places are closed"))?;
    let accepted = match &listener.0 {
        Kind::Local { listener, .. } => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred().ok().map(|who| who.uid());
            Accepted::Local(stream, Remote::Local { uid })
        }
        Kind::Network { listener, tls } => {
            let (stream, remote) = listener.accept().await?;
            let own = stream.local_addr()?;
            stream.set_nodelay(true)?;
            Accepted::Network(stream, remote, own, tls.clone())
        }
    };
    Ok((place, accepted))
}

async fn encrypt_and_converse(
    api: Arc<Api>,
    arrival: Arrival,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let Some(tls) = tls else {
        return converse(api, arrival, stream, stop).await;
    };
    let shaken = tokio::select! {
        () = stop.cancelled() => return,
        shaken = tokio::time::timeout(api.limits.head_time, tls.accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => converse(api, arrival, stream, stop).await,
        Ok(Err(error)) => tracing::debug!(from = %arrival.remote, %error, "shake hands"),
        Err(_elapsed) => tracing::debug!(from = %arrival.remote, "shaking hands took too long"),
    }
}

/// Serves one connection until it ends.
async fn converse<S>(api: Arc<Api>, arrival: Arrival, stream: S, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _counted = api.metrics.hold_connection();
    let limits = api.limits;
    let stream = TokioIo::new(Patient::new(stream, limits.write_stall));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let api = Arc::clone(&api);
        async move {
            Ok::<_, std::convert::Infallible>(api.serve(arrival, request.map(Body::new)).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes.max(8_192))
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(from = %arrival.remote, %error, "a connection broke");
    }
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Neighbours(Mutex<BTreeMap<IpAddr, usize>>);

/// One of them.
struct Neighbour {
    all: Arc<Neighbours>,
    address: IpAddr,
}

impl Neighbours {
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Neighbour> {
        let mut each = self.0.lock();
        let count = each.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Neighbour {
            all: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let mut each = self.all.0.lock();
        if let Some(count) = each.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                each.remove(&self.address);
            }
        }
    }
}

/// A stream whose other end has to take what it is sent within a time.
struct Patient<S> {
    stream: S,
    patience: Duration,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    const fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            until: None,
        }
    }

    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.until = None;
            return outcome;
        }
        let patience = self.patience;
        let until = self
            .until
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience))); // tidy: a limit
        match until.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the other end does not take what it is sent",
            ))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, outcome)
    }
}
