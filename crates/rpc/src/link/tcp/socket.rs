//! Sockets of links over TCP: how they are bound, opened and accepted, and what the kernel is asked for.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::limits::Limits;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// Whether the kernel gives a connection up when what was written is not acknowledged within `idle_timeout`, so that a link on which
/// nobody waits for an answer needs no asking of ours.
pub(super) const KERNEL_WATCHES_WRITES: bool = cfg!(target_os = "linux");
/// What the kernel may hold that is not on its way yet. More would only make what goes first wait behind it.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 128 * 1024;
/// How often the kernel asks a silent peer before it gives up.
const PROBES: u32 = 3;

/// Where links over TCP come in.
#[derive(Debug)]
pub(crate) struct TcpDoor {
    pub(crate) listener: TcpListener,
    limits: Limits,
}

impl TcpDoor {
    pub(crate) fn bind(address: SocketAddr, limits: &Limits) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        // A node that comes back takes its port again, though connections of its former life are still dying.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(BACKLOG).expect("a small number"))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            listener: TcpListener::from_std(socket.into())?,
            limits: limits.clone(),
        })
    }

    /// The next connection that still stands: one that broke before it was taken up is nobody's trouble but its own.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let (socket, from) = self.listener.accept().await?;
            if prepare(&socket, &self.limits).is_ok() {
                return Ok((socket, from));
            }
        }
    }
}

/// Opens a connection from the address `from` is bound to, and says how long the path took to answer.
pub(crate) async fn connect(
    from: Option<SocketAddr>,
    to: SocketAddr,
    limits: &Limits,
) -> io::Result<(TcpStream, Duration)> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) =
        from.filter(|from| !from.ip().is_unspecified() && from.is_ipv4() == to.is_ipv4())
    {
        socket.bind(SocketAddr::new(from.ip(), 0))?;
    }
    let begun = Instant::now();
    let socket = socket.connect(to).await?;
    let round_trip = begun.elapsed();
    prepare(&socket, limits)?;
    Ok((socket, round_trip))
}

fn prepare(socket: &TcpStream, limits: &Limits) -> io::Result<()> {
    let options = SockRef::from(socket);
    options.set_tcp_nodelay(true)?;
    // The kernel looks after peers that vanish while nobody says anything; the link itself while somebody does.
    let between = (limits.idle_timeout.saturating_sub(limits.keep_alive) / PROBES)
        .max(Duration::from_secs(1));
    let keep_alive = TcpKeepalive::new()
        .with_time(limits.keep_alive.max(Duration::from_secs(1)))
        .with_interval(between)
        .with_retries(PROBES);
    options.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    {
        options.set_tcp_user_timeout(Some(limits.idle_timeout))?;
        options.set_tcp_notsent_lowat(UNSENT_MAX)?;
    }
    Ok(())
}
