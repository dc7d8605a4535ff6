//! A link over TCP without a socket, for the fuzzer: a handshake, the records behind it, and the frames in them. Bytes go in, and
//! what they did can be told.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};

use super::handshake::{HANDSHAKE_MAX, Handshake, Next};
use super::incoming::Incoming;
use super::records::{Opened, Opener, Sealer};
use super::*;

/// A link that was accepted, whose peer's bytes are handed in by hand. Nobody reads its streams and nothing is sent.
#[derive(Debug)]
pub struct Received {
    link: Shared,
    incoming: Incoming,
}

impl Received {
    /// A link whose peer has said nothing yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            link: link_without_socket(limits),
            incoming: Incoming::new(),
        }
    }

    /// Takes in the next bytes, as they come out of a record.
    ///
    /// # Errors
    /// Which rule they broke.
    pub fn take(&mut self, bytes: Bytes) -> Result<(), &'static str> {
        self.incoming
            .take(&self.link, bytes)
            .map_err(|violation| violation.0)
    }

    /// Whether the peer ended the link.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.closed.get().is_some()
    }

    /// Everything that frames can change, in words, and the same words however the bytes came in pieces.
    #[must_use]
    pub fn describe(&self) -> String {
        let link = &self.link;
        let streams = link.streams.lock();
        let mut open: Vec<_> = streams.open.values().collect();
        open.sort_by_key(|stream| stream.id);
        let open: Vec<_> = open
            .iter()
            .map(|stream| {
                let receiving = stream.receiving.lock().describe();
                let sending = format!("{:?}", stream.sending.lock());
                (stream.id, receiving, sending)
            })
            .collect();
        let waiting: Vec<Vec<u64>> = streams
            .waiting
            .iter()
            .map(|waiting: &VecDeque<_>| waiting.iter().map(|stream| stream.id).collect())
            .collect();
        let permits = link.permits.each_ref().map(Semaphore::available_permits);
        let counts = (streams.ours, streams.theirs, streams.allowed, permits);
        let datagrams = link.datagrams.lock();
        let window = link.peer_window.load(Ordering::Acquire);
        let closed = link.closed.get();
        let said = link.out.lock().describe();
        format!("{open:?} {waiting:?} {counts:?} {datagrams:?} {window} {closed:?} {said}")
    }
}

/// A link that was accepted and whose peer has said nothing yet.
pub(super) fn link_without_socket(limits: &Limits) -> Shared {
    let out = Outgoing::new(None, Sealer::for_nobody(), limits.datagrams);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let memory = PeerMemory::new(limits.memory_per_peer);
    Shared::new(true, nowhere, out, memory, limits, Duration::ZERO)
}

/// One side of a handshake, whose peer's bytes are handed in by hand.
#[derive(Debug)]
pub struct Shaking(Either);

#[derive(Debug)]
enum Either {
    Calling(Handshake<UnbufferedClientConnection>),
    Answering(Handshake<UnbufferedServerConnection>),
}

/// What a handshake wants done before it goes on.
#[derive(Debug)]
pub enum ToDo {
    /// Bytes for the peer.
    Send(Vec<u8>),
    /// More from the peer.
    Receive,
    /// Nothing more: it went well.
    Finish,
    /// Nothing more: it is over, and this is what the peer is sent and what is said here.
    Refuse(Vec<u8>, CloseReason),
}

impl Shaking {
    /// Nobody who sent this much is asked for more.
    pub const BYTES_MAX: usize = HANDSHAKE_MAX;

    /// The side that calls.
    ///
    /// # Panics
    /// When the configuration cannot be used.
    #[must_use]
    pub fn calling(config: ClientConfig, name: ServerName<'static>) -> Self {
        let handshake = Handshake::calling(config, name).expect("a configuration of ours");
        Self(Either::Calling(handshake))
    }

    /// The side that is called.
    ///
    /// # Panics
    /// When the configuration cannot be used.
    #[must_use]
    pub fn answering(config: Arc<ServerConfig>) -> Self {
        let handshake = Handshake::answering(config).expect("a configuration of ours");
        Self(Either::Answering(handshake))
    }

    /// What is to be done now.
    pub fn go_on(&mut self) -> ToDo {
        let next = match &mut self.0 {
            Either::Calling(handshake) => handshake.next(),
            Either::Answering(handshake) => handshake.next(),
        };
        match next {
            Next::Send(bytes) => ToDo::Send(bytes),
            Next::Receive => ToDo::Receive,
            Next::Finish => ToDo::Finish,
            Next::Refuse { last_words, reason } => ToDo::Refuse(last_words, reason),
        }
    }

    /// Takes in the next bytes of the peer.
    pub fn take(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Either::Calling(handshake) => {
                handshake.received.extend_from_slice(bytes);
                handshake.took(bytes.len());
            }
            Either::Answering(handshake) => {
                handshake.received.extend_from_slice(bytes);
                handshake.took(bytes.len());
            }
        }
    }

    /// Bytes of the peer and for it that are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.0 {
            Either::Calling(handshake) => handshake.held(),
            Either::Answering(handshake) => handshake.held(),
        }
    }

    /// Whom it let in, and the records behind it; nothing when there are no keys after all.
    #[must_use]
    pub fn finish(self) -> Option<(Vec<CertificateDer<'static>>, Opening)> {
        let agreed = match self.0 {
            Either::Calling(handshake) => handshake.finish(),
            Either::Answering(handshake) => handshake.finish(),
        };
        let agreed = agreed.ok()?;
        let opening = Opening {
            opener: agreed.opener,
            received: agreed.received,
            early: agreed.early,
        };
        Some((agreed.chain, opening))
    }
}

/// The records behind a handshake, opened as they come.
#[derive(Debug)]
pub struct Opening {
    opener: Opener,
    received: BytesMut,
    early: Bytes,
}

impl Opening {
    /// Takes in the next bytes and puts the data of whole records behind `data`; `false` when the peer says that nothing follows.
    ///
    /// # Errors
    /// What is wrong with a record.
    pub fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<bool, String> {
        data.extend_from_slice(&std::mem::take(&mut self.early));
        self.received.extend_from_slice(bytes);
        while let Some((size, opened)) = self
            .opener
            .open(&mut self.received)
            .map_err(|error| error.to_string())?
        {
            let record = self.received.split_to(size);
            match opened {
                Opened::Data(range) => data.extend_from_slice(&record[range]),
                Opened::KeysRenewed { .. } => {}
                Opened::End | Opened::Alert(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Bytes that are not a whole record yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.received.len()
    }
}
