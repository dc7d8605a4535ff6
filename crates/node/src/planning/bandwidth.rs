//! How much the network between this node and another one carries: measured where people ask for it, by sending something.
//!
//! A card says how fast it is, not the line behind it. Off unless `probe.bandwidth` says otherwise, since it costs what it sends, in places by the byte; and a
//! node for which it is off is not made to send anything by others.
//!
//! ```text
//! now and then: a peer by chance ─► its `convoke.Bandwidth` ─► pieces, until enough came or it took long enough ─► bits a second, with an age
//! ```
//!
//! | bound | |
//! | --- | --- |
//! | what one measurement sends | [`BYTES`] or for [`TIME`], whichever comes first; whoever sends keeps to it, whatever it was asked |
//! | at once | one of a node, asked or asking; who comes meanwhile is told so |
//! | for one peer | once in `PEER_AGAIN`; of so many peers at most this is remembered: `PEERS`, then nobody else for that long |
//! | by itself | `BEGIN` after a start and then every `EVERY`, each later by up to as much again by the node's id; `TRIES` peers, and again after `RETRY` if none would |
//! | a figure counts for | `COUNTS` |
//!
//! Deliberately not here: what a role asks, and which of several figures counts (`machine.rs`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_driver::{Gossip, Verdict};
use convoke_rpc::{
    CallError, CallOptions, Channel, ChannelConfig, Context, Endpoint, NodeId, Streaming, Target,
    service,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::parts::Parts;
use crate::probe::noise;

/// The most that is sent for one measurement.
pub const BYTES: u64 = 16 << 20;
/// The longest that it is sent for.
pub const TIME: Duration = Duration::from_secs(2);
/// How much goes at a time.
const PIECE: usize = 64 << 10;
/// Less than that says nothing of a line: it fits into what waits on the way.
const ENOUGH: u64 = 4 * PIECE as u64;
/// One that does not end in time gives its place up.
const PLACE: Duration = Duration::from_secs(5);
const PEER_AGAIN: Duration = Duration::from_secs(3_600);
const PEERS: usize = 256;
const BEGIN: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(6 * 3_600);
const RETRY: Duration = Duration::from_secs(600);
const TRIES: usize = 3;
const COUNTS: Duration = Duration::from_secs(24 * 3_600);
const HOUR: u64 = 3_600;

/// What nodes let each other measure.
#[service(name = "convoke.Bandwidth")]
pub trait Bandwidth {
    /// Sends something, so that the caller sees how fast it comes.
    #[rpc(deadline_ms = 8_000, roles(master, worker, gateway, observer))]
    async fn measure(&self, ctx: &Context) -> Result<Streaming<Piece, NotMeasured>, NotMeasured>;
}

/// Something that was sent to see how fast it comes. It means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Letters, by chance: what makes data smaller on its way finds little to do.
    pub noise: String,
}

/// Why a node sends nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum NotMeasured {
    /// Its people do not want it.
    #[error("bandwidth is not measured there: probe.bandwidth is off")]
    Off,
    /// It measures with somebody else.
    #[error("it measures with another node now: try again in some seconds")]
    Busy,
    /// This peer has been there lately.
    #[error("it measured with this node lately: try again in {again_s} s")]
    TooOften {
        /// When it would again, in seconds.
        again_s: u64,
    },
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Bits in a second.
    pub bits: u64,
    /// How many bytes were sent for it.
    pub bytes: u64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The other side would not.
    #[error("{0}")]
    Refused(NotMeasured),
    /// It was not reached, or the link was lost.
    #[error("{0}")]
    Lost(String),
    /// Too little came.
    #[error("{bytes} bytes came within {} s, too little to say anything", TIME.as_secs())]
    TooLittle {
        /// How many.
        bytes: u64,
    },
}

/// Measures with the node at this address: what comes from it, and so what it can send to this one.
///
/// # Errors
/// When it refuses, is not reached, or too little came.
pub async fn measure(
    endpoint: &Endpoint,
    node: NodeId,
    addresses: Vec<SocketAddr>,
) -> Result<Carried, MeasureError> {
    let config = ChannelConfig {
        patience: Duration::from_secs(2),
        ..ChannelConfig::default()
    };
    let target = Target {
        addresses,
        node: Some(node),
    };
    let channel = Channel::new(endpoint, target, config);
    let client = BandwidthClient::new(channel).with(CallOptions::new().attempts(1));
    let refused = |error| match error {
        CallError::App(refusal) => MeasureError::Refused(refusal),
        error => MeasureError::Lost(error.to_string()),
    };
    let mut pieces = client.measure().await.map_err(refused)?;
    let mut counted = Counted::default();
    let counting = async {
        while let Some(piece) = pieces.next().await {
            let came = piece.map_err(refused)?.noise.len() as u64;
            if counted.takes(Instant::now(), came) {
                break;
            }
        }
        Ok(())
    };
    // What came until then counts, if the other side does not keep to its time.
    if let Ok(ended) = tokio::time::timeout(TIME * 2, counting).await {
        ended?;
    }
    counted.carried()
}

/// What came, and how fast.
#[derive(Debug, Default)]
struct Counted {
    /// The first piece starts the clock, and is not counted: nobody knows how long it took.
    first: Option<Instant>,
    last: Option<Instant>,
    bytes: u64,
}

impl Counted {
    /// Whether it is enough.
    fn takes(&mut self, now: Instant, bytes: u64) -> bool {
        let Some(first) = self.first else {
            self.first = Some(now);
            return false;
        };
        self.last = Some(now);
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes >= BYTES || now.saturating_duration_since(first) >= TIME
    }

    fn carried(&self) -> Result<Carried, MeasureError> {
        let bytes = self.bytes;
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return Err(MeasureError::TooLittle { bytes });
        };
        if bytes < ENOUGH {
            return Err(MeasureError::TooLittle { bytes });
        }
        let took = last.saturating_duration_since(first).as_micros().max(1);
        let bits = u128::from(bytes) * 8 * 1_000_000 / took;
        Ok(Carried {
            bits: u64::try_from(bits).unwrap_or(u64::MAX),
            bytes,
        })
    }
}

/// Who has it now, and who had it lately.
#[derive(Debug, Default)]
struct Turns {
    /// The number of the one that runs, and until when it may.
    runs: Option<(u64, Instant)>,
    given: u64,
    lately: BTreeMap<NodeId, Instant>,
}

impl Turns {
    /// This node asks another one itself: the number of its turn.
    fn take(&mut self, now: Instant) -> Result<u64, NotMeasured> {
        if self.runs.is_some_and(|(_, until)| now < until) {
            return Err(NotMeasured::Busy);
        }
        self.given += 1;
        self.runs = Some((self.given, now + PLACE));
        Ok(self.given)
    }

    /// Another node asks.
    fn give(&mut self, now: Instant, peer: NodeId) -> Result<u64, NotMeasured> {
        self.lately
            .retain(|_, at| now.saturating_duration_since(*at) < PEER_AGAIN);
        let is_full = self.lately.len() >= PEERS;
        let last = self.lately.get(&peer).copied();
        let oldest = || self.lately.values().min().copied();
        let waits_for = last.or_else(|| oldest().filter(|_| is_full));
        if let Some(at) = waits_for {
            let again = PEER_AGAIN.saturating_sub(now.saturating_duration_since(at));
            return Err(NotMeasured::TooOften {
                again_s: again.as_secs().max(1),
            });
        }
        let number = self.take(now)?;
        self.lately.insert(peer, now);
        Ok(number)
    }

    fn end(&mut self, number: u64) {
        self.runs = self.runs.filter(|(runs, _)| *runs != number);
    }
}

/// Gives a turn back when it is dropped.
struct Turn {
    turns: Arc<Mutex<Turns>>,
    number: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().end(self.number);
    }
}

/// What a node knows of the network by measuring, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Bandwidths {
    turns: Arc<Mutex<Turns>>,
    found: Mutex<Option<(Carried, Instant)>>,
}

/// What is known by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// People do not want it measured.
    Off,
    /// Nothing yet, or not any more.
    Nothing,
    /// So many bits a second, so many hours ago.
    Bits(u64, u64),
}

impl Bandwidths {
    pub(super) fn known(&self, is_on: bool, now: Instant) -> Known {
        if !is_on {
            return Known::Off;
        }
        let found = *self.found.lock();
        let age = |(carried, at): (Carried, Instant)| (carried, now.saturating_duration_since(at));
        match found.map(age) {
            Some((carried, age)) if age < COUNTS => Known::Bits(carried.bits, age.as_secs() / HOUR),
            Some(_) | None => Known::Nothing,
        }
    }

    /// Measures now and then, for ever: whoever runs it drops it.
    pub(crate) async fn run(&self, parts: &Parts, gossip: &Gossip) -> Infallible {
        if !parts.settings.bandwidth {
            return std::future::pending().await;
        }
        let by_id = chance(parts.me(), 0);
        let mut wait = later(BEGIN, by_id);
        for round in 0_u64.. {
            tokio::time::sleep(wait).await;
            wait = if self.round(parts, gossip, round).await {
                later(EVERY, chance(parts.me(), round))
            } else {
                later(RETRY, by_id)
            };
        }
        std::future::pending().await
    }

    /// Whether somebody let itself be measured with.
    async fn round(&self, parts: &Parts, gossip: &Gossip, round: u64) -> bool {
        let roll = gossip.members();
        let reachable = roll
            .members
            .values()
            .filter(|member| member.verdict == Verdict::Reachable && member.id != parts.me());
        let mut peers: Vec<_> = reachable.collect();
        peers.sort_by_cached_key(|member| (chance(member.id, round), member.id));
        if peers.is_empty() {
            tracing::debug!("there is no peer to measure bandwidth with");
        }
        for peer in peers.into_iter().take(TRIES) {
            let Ok(number) = self.turns.lock().take(Instant::now()) else {
                return false;
            };
            let turns = Arc::clone(&self.turns);
            let turn = Turn { turns, number };
            let addresses = peer.facts.addresses().collect();
            let measured = measure(&parts.endpoint, peer.id, addresses).await;
            drop(turn);
            match measured {
                Ok(carried) => {
                    tracing::debug!(peer = %peer.id.short(), bits = carried.bits, "bandwidth was measured");
                    *self.found.lock() = Some((carried, Instant::now()));
                    return true;
                }
                Err(error) => {
                    tracing::debug!(peer = %peer.id.short(), %error, "bandwidth was not measured");
                }
            }
        }
        false
    }
}

/// Answers for a node.
pub(crate) struct Measured(Arc<Parts>);

impl Measured {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self(parts)
    }
}

impl Bandwidth for Measured {
    async fn measure(&self, ctx: &Context) -> Result<Streaming<Piece, NotMeasured>, NotMeasured> {
        if !self.0.settings.bandwidth {
            return Err(NotMeasured::Off);
        }
        let turns = Arc::clone(&self.0.bandwidths.turns);
        let begun = Instant::now();
        let number = turns.lock().give(begun, ctx.caller())?;
        let turn = Turn { turns, number };
        let piece = Piece {
            noise: noise(PIECE, number).into_iter().map(letter).collect(),
        };
        let pieces = (0..BYTES / PIECE as u64 + 1)
            .take_while(move |_| begun.elapsed() < TIME)
            .map(move |_| {
                let _held = &turn;
                Ok(piece.clone())
            });
        Ok(Streaming::from_stream(futures_util::stream::iter(pieces)))
    }
}

fn letter(byte: u8) -> char {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    LETTERS[usize::from(byte) % LETTERS.len()].into()
}

/// Later by up to as much again.
fn later(time: Duration, by: u64) -> Duration {
    let thousandths = u32::try_from(by % 1_000).expect("it is small");
    time + time / 1_000 * thousandths
}

/// The same for a node and a round, and another for others: so that not all measure at once, and not always with the same.
fn chance(node: NodeId, round: u64) -> u64 {
    let mut mixed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in node.as_bytes() {
        mixed = (mixed ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16) -> NodeId {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&number.to_le_bytes());
        NodeId::from_public_key(key)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_is_measured_with_at_a_time_and_each_seldom() {
        let begun = Instant::now();
        let mut turns = Turns::default();
        let first = turns.give(begun, peer(1)).expect("it is free");
        assert_eq!(
            turns.give(begun + seconds(1), peer(2)),
            Err(NotMeasured::Busy)
        );
        assert_eq!(turns.take(begun + seconds(1)), Err(NotMeasured::Busy));
        turns.end(first);
        let second = turns.give(begun + seconds(1), peer(2)).expect("it is free");
        turns.end(first);
        assert_eq!(
            turns.take(begun + seconds(2)),
            Err(NotMeasured::Busy),
            "one that has ended twice ends no other"
        );
        turns.end(second);
        let again_s = 3_600 - 10;
        let refused = turns.give(begun + seconds(10), peer(1));
        assert_eq!(refused, Err(NotMeasured::TooOften { again_s }));
        assert!(turns.give(begun + PEER_AGAIN, peer(1)).is_ok());
        // Whoever does not end is not waited for.
        assert!(turns.take(begun + PEER_AGAIN + PLACE).is_ok());
    }

    #[test]
    fn so_many_peers_are_remembered_and_then_nobody_else_comes_in() {
        let begun = Instant::now();
        let mut turns = Turns::default();
        let most = u16::try_from(PEERS).expect("it is small");
        for number in 0..most {
            let turn = turns.give(begun, peer(number)).expect("it is free");
            turns.end(turn);
        }
        let refused = turns.give(begun + seconds(1), peer(most));
        assert!(
            matches!(refused, Err(NotMeasured::TooOften { .. })),
            "{refused:?}"
        );
        assert_eq!(turns.lately.len(), PEERS);
        assert!(turns.give(begun + PEER_AGAIN, peer(most)).is_ok());
    }

    #[test]
    fn what_comes_after_the_first_piece_counts_until_it_is_enough() {
        let begun = Instant::now();
        let piece = PIECE as u64;
        let mut counted = Counted::default();
        assert!(matches!(
            counted.carried(),
            Err(MeasureError::TooLittle { .. })
        ));
        assert!(!counted.takes(begun, piece));
        for number in 1..=10 {
            let at = begun + Duration::from_millis(10 * number);
            assert!(!counted.takes(at, piece));
        }
        let carried = counted.carried().expect("it is enough");
        assert_eq!((carried.bytes, carried.bits), (10 * piece, 10 * piece * 80));
        assert!(counted.takes(begun + TIME, 1), "it took long enough");
        assert!(counted.takes(begun + TIME, BYTES), "it is enough");
    }

    #[test]
    fn a_figure_counts_for_a_day_and_says_how_old_it_is() {
        let begun = Instant::now();
        let bandwidths = Bandwidths::default();
        assert_eq!(bandwidths.known(true, begun), Known::Nothing);
        let carried = Carried { bits: 7, bytes: 9 };
        *bandwidths.found.lock() = Some((carried, begun));
        assert_eq!(bandwidths.known(false, begun), Known::Off);
        assert_eq!(
            bandwidths.known(true, begun + seconds(7_300)),
            Known::Bits(7, 2)
        );
        assert_eq!(bandwidths.known(true, begun + COUNTS), Known::Nothing);
    }

    #[test]
    fn nodes_begin_at_different_times_within_bounds() {
        let waits = (0..20).map(|number| later(BEGIN, chance(peer(number), 0)));
        let waits: std::collections::BTreeSet<Duration> = waits.collect();
        assert!(waits.len() > 15, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait >= BEGIN && *wait < BEGIN * 2));
    }
}
