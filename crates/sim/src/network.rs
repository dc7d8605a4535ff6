//! What the network is like while nothing is wrong with it: delay, loss, doubling, and what a packet costs.
//!
//! - [`Network`]: the whole description, with presets [`Network::lan`] and [`Network::wan`].
//! - [`Latency`]: how long a packet takes one way.
//! - [`Loss`]: how many packets vanish, and whether in bursts.
//! - [`LinkCost`]: what a datagram, an acknowledgement and a handshake weigh on the wire.
//! - [`Letters`]: when a lost letter is sent again, and when its sender gives up.
//!
//! What goes wrong later, such as cuts and partitions, is a [`crate::Fault`].
//!
//! Absent on purpose: bandwidth and queues in the network. A packet's delay does not depend on the others;
//! budgets are held by counting bytes, not by watching them pile up.

use std::time::Duration;

use crate::actor::Place;
use crate::nanos;
use crate::random::Random;

/// What the network is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// How long a packet takes. Datagrams overtake each other as far as this varies.
    pub latency: Latency,
    /// How many packets vanish, on each way of each pair by itself.
    pub loss: Loss,
    /// The probability that a datagram comes twice. Seen in practice: below 0.001; tests use up to 0.1.
    pub duplication: f64,
    /// What things weigh on the wire.
    pub cost: LinkCost,
    /// How letters deal with loss.
    pub letters: Letters,
    /// The longest datagram; a longer one is a mistake of the sender, and the world panics. QUIC over the
    /// Internet carries about 1,200 bytes. It costs nothing.
    pub max_datagram_bytes: usize,
}

impl Network {
    /// One room: 0.5 to 3 ms, no loss, no overhead.
    pub fn lan() -> Self {
        Self::with_latency(Latency::Uniform {
            from: Duration::from_micros(500),
            to: Duration::from_millis(3),
        })
    }

    /// So many regions, hosts dealt out to them in turn; see [`Regions::ring`].
    pub fn wan(regions: u32) -> Self {
        Self::with_latency(Latency::Regions(Regions::ring(regions)))
    }

    /// Every packet takes exactly as long: the smallest world, for tests that compute times by hand.
    pub fn constant(delay: Duration) -> Self {
        Self::with_latency(Latency::Constant(delay))
    }

    fn with_latency(latency: Latency) -> Self {
        Self {
            latency,
            loss: Loss::None,
            duplication: 0.0,
            cost: LinkCost::FREE,
            letters: Letters::default(),
            max_datagram_bytes: 1_400,
        }
    }

    /// The same with this loss.
    #[must_use]
    pub fn losing(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// The same with datagrams doubled with this probability.
    #[must_use]
    pub fn doubling(self, duplication: f64) -> Self {
        Self {
            duplication,
            ..self
        }
    }

    /// The same with things weighing this much.
    #[must_use]
    pub fn costing(self, cost: LinkCost) -> Self {
        Self { cost, ..self }
    }
}

/// How long a packet takes one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Always as long.
    Constant(Duration),
    /// Anything in between, each as likely.
    Uniform {
        /// The fastest.
        from: Duration,
        /// The slowest.
        to: Duration,
    },
    /// It depends on where the two are.
    Regions(Regions),
}

impl Latency {
    /// How long this packet takes, in nanoseconds.
    pub(crate) fn draw(&self, from: Place, to: Place, random: &mut Random) -> u64 {
        nanos(match self {
            Self::Constant(delay) => *delay,
            Self::Uniform { from, to } => random.between(*from, *to),
            Self::Regions(regions) => regions.draw(from, to, random),
        })
    }
}

/// Regions far from each other. Place p is in region p modulo their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// One-way delay from the region of the row to that of the column. Square.
    pub one_way: Vec<Vec<Duration>>,
    /// Added to each packet: anything up to this.
    pub jitter: Duration,
}

impl Regions {
    /// Regions around the globe: round trips of 20 ms between neighbours up to 250 ms between opposites,
    /// 1 ms within one region, and up to 5 ms of jitter.
    pub fn ring(regions: u32) -> Self {
        let one_way = |a: u32, b: u32| {
            let apart = a.abs_diff(b).min(regions - a.abs_diff(b));
            let steps = (regions / 2).saturating_sub(1).max(1);
            let round_trip_us = match apart {
                0 => 1_000,
                _ => 20_000 + 230_000 * (apart - 1) / steps,
            };
            Duration::from_micros(u64::from(round_trip_us / 2))
        };
        let row = |a| (0..regions).map(|b| one_way(a, b)).collect();
        Self {
            one_way: (0..regions).map(row).collect(),
            jitter: Duration::from_millis(5),
        }
    }

    /// Which region a host is in.
    pub fn region_of(&self, place: Place) -> usize {
        place.index() % self.one_way.len().max(1)
    }

    fn draw(&self, from: Place, to: Place, random: &mut Random) -> Duration {
        let row = self.one_way.get(self.region_of(from));
        let delay = row.and_then(|row| row.get(self.region_of(to)));
        delay.copied().unwrap_or_default() + random.between(Duration::ZERO, self.jitter)
    }
}

/// How many packets vanish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// None.
    None,
    /// Each with this probability, whatever happened to the others. 1 loses all.
    Even(f64),
    /// In bursts, after Gilbert (1960) and Elliott (1963): a way is either good and loses nothing, or bad and loses all.
    Bursts {
        /// The share of packets lost in the long run, below 1. Sensible: up to 0.2.
        mean: f64,
        /// How many packets in a row are lost on average, at least 1. Sensible: 2 to 20. Counted in packets, so on a
        /// way that is seldom used a burst lasts long.
        burst: f64,
    },
}

impl Loss {
    /// Whether this packet is lost. `in_burst` is the memory of the way it takes.
    #[inline]
    pub(crate) fn strikes(self, in_burst: &mut bool, random: &mut Random) -> bool {
        match self {
            Self::None => false,
            Self::Even(probability) => random.chance(probability),
            Self::Bursts { mean, burst } => {
                let ends = 1.0 / burst.max(1.0);
                let begins = ends * mean / (1.0 - mean).max(f64::EPSILON);
                let changes = if *in_burst { ends } else { begins };
                *in_burst ^= random.chance(changes);
                *in_burst
            }
        }
    }
}

/// How letters deal with loss and silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letters {
    /// How long after a round trip a lost piece is sent again, doubled each time that nothing gets through. QUIC waits about
    /// 25 ms at first; shorter hides loss better and is less like the world.
    pub resend_after: Duration,
    /// After so long without success the sender gets [`crate::Packet::Unreachable`]. Sensible: 5 to 30 s.
    pub give_up_after: Duration,
    /// How many letters may wait on one way while it is blocked; one more, and all are given up.
    pub most_waiting: usize,
}

impl Default for Letters {
    fn default() -> Self {
        Self {
            resend_after: Duration::from_millis(25),
            give_up_after: Duration::from_secs(10),
            most_waiting: 4_096,
        }
    }
}

/// What things weigh on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCost {
    /// Bytes around the payload of each packet.
    pub packet_overhead_bytes: u64,
    /// How much of a letter fits into one packet.
    pub packet_payload_bytes: u64,
    /// What acknowledgements cost; `None` when nothing is acknowledged.
    pub acknowledgement: Option<Acknowledgement>,
    /// What it takes to get to know each other; `None` when nothing is needed.
    pub handshake: Option<Handshake>,
}

/// A packet that is not answered by another one soon enough costs a packet of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// How long an acknowledgement waits for a packet to ride on. QUIC's default is 25 ms.
    pub after: Duration,
    /// What it weighs when it rides on none, everything included.
    pub wire_bytes: u64,
}

/// The first packet between two hosts waits for one and a half round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// What the side that opens the link sends, everything included.
    pub opener_wire_bytes: u64,
    /// What the other side sends.
    pub answerer_wire_bytes: u64,
    /// A link unused for so long is closed; the next packet shakes hands again. Our links: 30 s.
    pub idle_timeout: Duration,
    /// How long the first flight of either side waits until it is sent again, doubled each time: three times the round trip that
    /// a side expects before it has measured one (RFC 9002, 6.2.2 and 5.3; so does quinn).
    pub resend_after: Duration,
    /// After a handshake that failed, datagrams are dropped without a word for so long.
    pub retry_after: Duration,
}

impl LinkCost {
    /// Payload only.
    pub const FREE: Self = Self {
        packet_overhead_bytes: 0,
        packet_payload_bytes: 1_200,
        acknowledgement: None,
        handshake: None,
    };

    /// Plain datagrams: 20 bytes of IPv4 and 8 of UDP.
    pub const UDP: Self = Self {
        packet_overhead_bytes: 28,
        ..Self::FREE
    };

    /// QUIC with certificates on both sides: IP and UDP, and about 29 bytes around a datagram frame (1 of flags, 8 of
    /// connection id, 2 of packet number, 16 of tag, 2 of frame header). The weights of handshakes are estimates for
    /// one small certificate a side and a hybrid key share.
    pub const QUIC: Self = Self {
        packet_overhead_bytes: 57,
        packet_payload_bytes: 1_200,
        acknowledgement: Some(Acknowledgement {
            after: Duration::from_millis(25),
            wire_bytes: 28 + 27 + 5,
        }),
        handshake: Some(Handshake {
            opener_wire_bytes: 4_000,
            answerer_wire_bytes: 3_700,
            idle_timeout: Duration::from_secs(30),
            // Both sides of a gossip link expect 25 ms (`FIRST_ROUND_TRIP` in crates/rpc/src/link/quic.rs).
            resend_after: Duration::from_millis(75),
            retry_after: Duration::from_millis(180),
        }),
    };

    /// How many packets a letter of this length takes.
    pub(crate) fn packets_of(&self, letter_bytes: usize) -> u64 {
        let payload = self.packet_payload_bytes.max(1);
        (letter_bytes as u64).div_ceil(payload).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(loss: Loss) -> Vec<bool> {
        let mut random = Random::from_seed(1);
        let mut in_burst = false;
        (0..200_000)
            .map(|_| loss.strikes(&mut in_burst, &mut random))
            .collect()
    }

    fn share(lost: &[bool]) -> f64 {
        lost.iter().filter(|lost| **lost).count() as f64 / lost.len() as f64
    }

    fn mean_burst(lost: &[bool]) -> f64 {
        let bursts: Vec<usize> = lost
            .chunk_by(|a, b| a == b)
            .filter(|run| run[0])
            .map(<[bool]>::len)
            .collect();
        bursts.iter().sum::<usize>() as f64 / bursts.len() as f64
    }

    #[test]
    fn loss_has_the_mean_and_the_bursts_it_was_given() {
        let even = lost(Loss::Even(0.1));
        assert!((share(&even) - 0.1).abs() < 0.005);
        let bursts = lost(Loss::Bursts {
            mean: 0.1,
            burst: 8.0,
        });
        assert!((share(&bursts) - 0.1).abs() < 0.01, "{}", share(&bursts));
        assert!((mean_burst(&bursts) - 8.0).abs() < 0.5);
        assert!(lost(Loss::Even(1.0)).iter().all(|lost| *lost));
        assert!(!lost(Loss::None).contains(&true));
    }

    #[test]
    fn regions_lie_between_20_and_250_ms_of_round_trip() {
        for regions in 1..12 {
            let ring = Regions::ring(regions);
            for (a, row) in ring.one_way.iter().enumerate() {
                for (b, delay) in row.iter().enumerate() {
                    let round_trip_ms = (*delay * 2).as_millis();
                    assert_eq!(*delay, ring.one_way[b][a]);
                    assert!(
                        (20..=250).contains(&round_trip_ms) || (a == b && round_trip_ms == 1),
                        "{round_trip_ms}"
                    );
                }
            }
        }
        assert_eq!(
            Regions::ring(6).one_way[0][3],
            Duration::from_millis(125),
            "opposites"
        );
    }

    #[test]
    fn a_letter_takes_at_least_one_packet() {
        let packets = [0, 1, 1_200, 1_201].map(|bytes| LinkCost::QUIC.packets_of(bytes));
        assert_eq!(packets, [1, 1, 1, 2]);
    }
}
