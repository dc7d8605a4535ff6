//! Every bound of links and calls, in one place, each with its meaning, its range and what it costs.
//!
//! Nothing in this crate waits, queues or buffers without one of these. When a bound is reached the answer is a typed
//! problem ([`Code::Overloaded`](convoke_types::Code), `TooLarge`), back pressure on the one peer who caused it, or the end
//! of a link whose peer broke the protocol; each field says which.

use std::time::Duration;

/// Bounds for an [`Endpoint`](crate::Endpoint), its links, and the calls on them.
///
/// The defaults suit a server with a gibibyte to spare and peers that mean well but may fail; raise them knowing
/// that `connections × memory_per_peer` is what the worst peers together can make this process hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest message, in either direction, on lanes and streams. 1 KiB – 256 MiB; default 16 MiB. A larger one is
    /// refused with `TooLarge` before it is read; a whole message is held in memory while it is decoded.
    pub message_bytes: usize,
    /// Calls one client lane keeps unanswered. 1 – 65,536; default 4,096. Further calls wait, in order, until their deadline.
    /// Each costs about 100 bytes and its request while it is not yet sent.
    pub calls_per_lane: usize,
    /// Bytes waiting to be written on one lane. 64 KiB – 64 MiB; default 1 MiB. A client's calls wait when it is reached; a
    /// server stops reading that lane, so a slow reader slows its own writer and nobody else.
    pub lane_buffer_bytes: usize,
    /// Handlers running for one node beyond their first poll, over all its links. Default 4,096. Further calls answer `Overloaded`.
    pub running_calls_per_peer: usize,
    /// Handlers running in one server beyond their first poll. Default 65,536. Further calls answer `Overloaded`.
    pub running_calls: usize,
    /// Bytes held for the calls of one node, over all its links: requests of calls that run, and answers above 16 KiB that were not
    /// taken yet. Default 64 MiB. Further calls answer `Overloaded`, and so does a call whose handler ran but whose answer finds no
    /// room; at half of it no further requests are read on the lane whose answers wait.
    ///
    /// Bytes that have arrived and that no call has taken are bounded beside it, by this number again: over TCP for all links of one
    /// node with one protocol together, and in any case 512 KiB a link; over QUIC half of it for the first link of a node, half of
    /// that for the second and so on, and in any case half of what the kernel granted of `socket_buffer_bytes` for each link. So
    /// one node makes this process hold at most `2 × memory_per_peer + connections_per_peer × (socket_buffer_bytes / 2 + lanes ×
    /// lane_buffer_bytes)`, and one message for each stream that a handler sends on. A link whose peer may send no more stays open.
    pub memory_per_peer: usize,
    /// Streams one peer may have open: lanes, streaming calls, large bodies. Default 1,024. The peer waits for a free one. A
    /// link begins with 32 and grows as they are used.
    pub streams_per_link: u32,
    /// Links an endpoint accepts. Default 16,384. Further handshakes are refused.
    pub connections: usize,
    /// Links an endpoint accepts from one node. Default 64. Further links are closed with `Overloaded`.
    pub connections_per_peer: usize,
    /// Handshakes in progress. Default 256. Further attempts are refused before any key exchange is computed.
    pub handshakes: usize,
    /// Handshakes in progress with one address; for IPv6 with one network of 64 bits, which one machine can have to itself. Default 64.
    /// Further attempts are refused in the same way, so that one address cannot keep the others out by being slow. Many nodes
    /// behind one translating router share an address, and come in that many at a time.
    pub handshakes_per_address: usize,
    /// How long a handshake may take. Default 5 s.
    pub handshake_timeout: Duration,
    /// A link is lost after this long without a packet. Default 22 s; see `keep_alive`. Carriers wait twice as long before each time
    /// they send again, so a silence of up to half of this is a pause, and ten seconds are. Over TCP a link on which something was sent is
    /// looked at after half of it, and together with others up to a 64th of it later. Where nothing is under way by then, the kernel
    /// alone watches over it, on Linux: a peer whose process hangs while its kernel answers is noticed when somebody waits for it.
    pub idle_timeout: Duration,
    /// How often a silent peer is asked whether it is there: over QUIC by the side that opened the link, over TCP by the kernel.
    /// Default 5 s; must be well under `idle_timeout`. Costs one packet each way.
    pub keep_alive: Duration,
    /// Datagrams kept for a reader that is late. Default 1,024 of at most 1.2 KB; the oldest are dropped.
    pub datagrams: usize,
    /// Bytes of receive buffer asked of the kernel for an endpoint's socket. Default 4 MiB. Flow-control windows follow what
    /// is granted: larger windows than the buffer turn bursts into loss.
    pub socket_buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 << 20,
            calls_per_lane: 4_096,
            lane_buffer_bytes: 1 << 20,
            running_calls_per_peer: 4_096,
            running_calls: 65_536,
            memory_per_peer: 64 << 20,
            streams_per_link: 1_024,
            connections: 16_384,
            connections_per_peer: 64,
            handshakes: 256,
            handshakes_per_address: 64,
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(22),
            keep_alive: Duration::from_secs(5),
            datagrams: 1_024,
            socket_buffer_bytes: 4 << 20,
        }
    }
}

/// Renewal streams one link may have open at a time: a renewal is rare and small.
pub(crate) const CREDENTIAL_STREAMS: u32 = 2;
/// Large answers one link may have on their way at a time; more wait for a free stream.
pub(crate) const ANSWER_STREAMS: u32 = 16;
/// Links handed over by an endpoint and not yet taken by whoever listens for their protocol.
pub(crate) const LINKS_WAITING: usize = 128;
