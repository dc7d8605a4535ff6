//! The receiving side of a link over TCP without a socket, for the fuzzer: frames go in, and what they did to the link can be told.

use std::collections::VecDeque;

use bytes::Bytes;

use super::incoming::Incoming;
use super::records::Sealer;
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
        let out = Outgoing::new(None, Sealer::for_nobody(), limits.datagrams);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let memory = PeerMemory::new(limits.memory_per_peer);
        Self {
            link: Shared::new(true, nowhere, out, memory, limits, Duration::ZERO),
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
