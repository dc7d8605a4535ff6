//! A network between two nodes that a test can stop: what is sent to a relay arrives at the node behind it, unless it is paused.
//!
//! Over UDP, packets of a pause are lost; over TCP, connections stall, as both do when a cable is out.

// tidy: shared by several test files, each of which uses another part
#![allow(
    dead_code,
    reason = "each test file uses its part of what a network can do"
)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::{Beside, Carrier};

/// The way to one node. Dropped, it is cut.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    paused: watch::Sender<bool>,
    /// How often every connection was broken off.
    cuts: watch::Sender<u64>,
    _task: Beside<()>,
}

impl Relay {
    /// For the carrier's kind of packets; memory has no network that could stop.
    pub(crate) async fn start(carrier: &Carrier, to: SocketAddr) -> io::Result<Self> {
        let (paused, state) = watch::channel(false);
        let (cuts, cut) = watch::channel(0);
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, task) = match carrier {
            Carrier::Tcp => {
                let listener = TcpListener::bind(anywhere).await?;
                let address = listener.local_addr()?;
                (address, Beside::start(relay_tcp(listener, to, state, cut)))
            }
            Carrier::Quic => {
                let front = UdpSocket::bind(anywhere).await?;
                let address = front.local_addr()?;
                (address, Beside::start(relay_udp(front, to, state)))
            }
            Carrier::Memory(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self {
            address,
            paused,
            cuts,
            _task: task,
        })
    }

    pub(crate) fn pause(&self) {
        self.paused.send_replace(true);
    }

    pub(crate) fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Breaks off every connection over TCP; packets have nothing that could be broken.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn relay_tcp(
    listener: TcpListener,
    to: SocketAddr,
    paused: watch::Receiver<bool>,
    mut cut: watch::Receiver<u64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = cut.changed() => connections.abort_all(),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                let paused = paused.clone();
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::join!(
                        copy(near_in, far_out, paused.clone()),
                        copy(far_in, near_out, paused),
                    );
                });
            }
        }
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut paused: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let goes_on = paused.wait_for(|paused| !paused).await.is_ok();
        if !goes_on || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn relay_udp(front: UdpSocket, to: SocketAddr, paused: watch::Receiver<bool>) {
    let front = Arc::new(front);
    let mut ways: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new(); // tidy: lookup only, never walked
    let mut back = JoinSet::new();
    let mut packet = vec![0; 64 * 1024];
    loop {
        let Ok((size, from)) = front.recv_from(&mut packet).await else {
            continue;
        };
        if *paused.borrow() {
            continue;
        }
        let way = match ways.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let way = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
                let way = Arc::new(way.expect("a port on loopback is free"));
                way.connect(to).await.expect("an address on loopback");
                back.spawn(bring_back(
                    Arc::clone(&way),
                    Arc::clone(&front),
                    from,
                    paused.clone(),
                ));
                new.insert(way)
            }
        };
        let _ = way.send(&packet[..size]).await;
    }
}

async fn bring_back(
    way: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    to: SocketAddr,
    paused: watch::Receiver<bool>,
) {
    let mut packet = vec![0; 64 * 1024];
    loop {
        // A node that is gone says so with an error; it may come back.
        let Ok(size) = way.recv(&mut packet).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if !*paused.borrow() {
            let _ = front.send_to(&packet[..size], to).await;
        }
    }
}
