//! What becomes of a packet between leaving one host and reaching another: the network's nature, the standing
//! faults and the links together.
//!
//! Here is decided *when* things arrive; the world turns that into events. A cut meets packets when they leave, so
//! what is already on its way arrives.
//!
//! Simplified on purpose: a host that started anew is known at once by those who had a link with its last life,
//! and they shake hands again (in truth a reset, one round trip later, tells them).

use crate::actor::Place;
use crate::links::{Count, Link, Links, NEVER, Traffic};
use crate::nanos;
use crate::network::{Handshake, Network};
use crate::random::Random;
use crate::weather::Weather;

/// How many times a flight of a handshake is tried before the handshake counts as failed.
const MOST_FLIGHTS: u32 = 6;

/// Everything between hosts.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) network: Network,
    pub(crate) weather: Weather,
    links: Links,
    random: Random,
}

/// Sender and receiver of a packet, as they are when it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) from_life: u32,
    pub(crate) to_life: u32,
    /// Whether there is somebody at the other end.
    pub(crate) answers: bool,
    /// Whether that somebody is awake; who is paused shakes no hands.
    pub(crate) is_awake: bool,
}

/// What becomes of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// It arrives then.
    Arrives {
        at: u64,
        /// Whether it, or one it waits behind, has to be sent again, so that it arrives only if its sender lives on.
        needs_sender: bool,
    },
    /// Nothing gets through now.
    Blocked,
    /// It was lost so often that its sender gives up.
    Hopeless,
}

impl Wire {
    pub(crate) fn new(network: Network, hosts: usize, random: Random) -> Self {
        Self {
            network,
            weather: Weather::default(),
            links: Links::of(hosts),
            random,
        }
    }

    /// Sends a datagram: when it arrives, and when it arrives once more.
    pub(crate) fn datagram(&mut self, now: u64, ends: Ends, bytes: usize) -> [Option<u64>; 2] {
        let Some(leaves) = self.shake_hands(now, ends) else {
            return [None, None];
        };
        let count = self.datagram_count(bytes);
        self.links.sent(ends.from, &count);
        self.links.pays(now, ends.from, ends.to, &self.network.cost);
        if !self.gets_through(now, ends) || self.is_lost(now, ends.from, ends.to) {
            return [None, None];
        }
        self.was_used(now, ends);
        let first = leaves + self.delay(ends.from, ends.to);
        let again = self.random.chance(self.network.duplication);
        let second = again.then(|| leaves + self.delay(ends.from, ends.to));
        [Some(first), second]
    }

    /// Sends a datagram to where nobody lives any more.
    pub(crate) fn datagram_to_nobody(&mut self, from: Place, bytes: usize) {
        let count = self.datagram_count(bytes);
        self.links.sent(from, &count);
    }

    /// A datagram reached a living host.
    pub(crate) fn datagram_arrived(&mut self, now: u64, from: Place, to: Place, bytes: usize) {
        let count = self.datagram_count(bytes);
        self.links.received(to, &count);
        self.links.owes(now, from, to, &self.network.cost);
    }

    /// Sends a letter. It needs both ways, for without an acknowledgement its sender knows nothing.
    pub(crate) fn letter(&mut self, now: u64, ends: Ends, bytes: usize) -> Post {
        if !self.gets_through(now, ends) || self.weather.blocks(now, ends.to, ends.from) {
            return Post::Blocked;
        }
        let Some(leaves) = self.shake_hands(now, ends) else {
            return Post::Blocked;
        };
        let cost = self.network.cost;
        self.links.pays(now, ends.from, ends.to, &cost);
        let Some(resending) = self.letter_packets(now, ends, bytes) else {
            return Post::Hopeless;
        };
        let soonest = leaves + resending + self.delay(ends.from, ends.to);
        let link = self.links.between(now, ends.from, ends.to, &cost);
        link.used_at = now;
        let way = link.way(ends.from, ends.to);
        way.last_letter_at = way.last_letter_at.max(soonest);
        if resending > 0 {
            way.resent_letter_at = way.last_letter_at;
        }
        Post::Arrives {
            at: way.last_letter_at,
            needs_sender: soonest <= way.resent_letter_at,
        }
    }

    /// A letter reached a living host.
    pub(crate) fn letter_arrived(&mut self, now: u64, from: Place, to: Place, bytes: usize) {
        let count = self.letter_count(bytes);
        self.links.received(to, &count);
        self.links.owes(now, from, to, &self.network.cost);
    }

    /// Whether the two have a link, so that a letter is meant for the life at its other end.
    pub(crate) fn life_linked(&mut self, now: u64, from: Place, to: Place) -> Option<u32> {
        let cost = self.network.cost;
        let handshake = cost.handshake?;
        let link = self.links.between(now, from, to, &cost);
        let is_open = link.ready_at != NEVER
            && link.lives != (0, 0)
            && now < link.used_at.saturating_add(nanos(handshake.idle_timeout));
        let life = if from < to {
            link.lives.1
        } else {
            link.lives.0
        };
        is_open.then_some(life)
    }

    /// Every host's account.
    pub(crate) fn traffic(&self, now: u64) -> Vec<Traffic> {
        self.links.traffic(now, &self.network.cost)
    }

    pub(crate) fn reset_traffic(&mut self, now: u64) {
        self.links.reset_traffic(now, &self.network.cost);
    }

    fn gets_through(&self, now: u64, ends: Ends) -> bool {
        ends.answers && !self.weather.blocks(now, ends.from, ends.to)
    }

    fn delay(&mut self, from: Place, to: Place) -> u64 {
        self.network.latency.draw(from, to, &mut self.random)
    }

    /// Whether a packet that leaves now is lost on the way.
    fn is_lost(&mut self, now: u64, from: Place, to: Place) -> bool {
        use crate::network::Loss;
        let by_fault = self.weather.loses(from, to, &mut self.random);
        let by_nature = match self.network.loss {
            Loss::None => false,
            loss @ Loss::Even(_) => loss.strikes(&mut false, &mut self.random),
            loss @ Loss::Bursts { .. } => {
                let link = self.links.between(now, from, to, &self.network.cost);
                let in_burst = &mut link.way(from, to).in_burst;
                loss.strikes(in_burst, &mut self.random)
            }
        };
        by_fault || by_nature
    }

    /// Something got through, and the link stays open for it if its sender can hear so: a link that is blocked on one
    /// way closes on both.
    fn was_used(&mut self, now: u64, ends: Ends) {
        let is_acknowledged = !self.weather.blocks(now, ends.to, ends.from);
        if self.network.cost.handshake.is_some() && is_acknowledged {
            let cost = &self.network.cost;
            self.links.between(now, ends.from, ends.to, cost).used_at = now;
        }
    }

    /// When a packet that is given to the link now leaves: at once, or after the handshake; `None` when there can be
    /// no link.
    fn shake_hands(&mut self, now: u64, ends: Ends) -> Option<u64> {
        let cost = self.network.cost;
        let Some(handshake) = cost.handshake else {
            return Some(now);
        };
        let link = self.links.between(now, ends.from, ends.to, &cost);
        if !is_valid(link, now, lives(ends), &handshake) {
            let ready_at = self.open(now, ends, &handshake).unwrap_or(NEVER);
            let link = self.links.between(now, ends.from, ends.to, &cost);
            link.lives = lives(ends);
            link.ready_at = ready_at;
            link.used_at = now;
        }
        let ready_at = self.links.between(now, ends.from, ends.to, &cost).ready_at;
        (ready_at != NEVER).then(|| ready_at.max(now))
    }

    /// Three flights there, back and there again, each tried until it gets through; `None` when it fails.
    fn open(&mut self, now: u64, ends: Ends, handshake: &Handshake) -> Option<u64> {
        let Ends { from, to, .. } = ends;
        let opener = handshake.opener_wire_bytes / 2;
        self.charge_handshake(from, 1, handshake.opener_wire_bytes - opener);
        if !self.gets_through(now, ends) || !ends.is_awake {
            return None;
        }
        let resend_after = nanos(handshake.resend_after);
        let mut ready_at = now + self.flight(now, from, to, opener, resend_after)?;
        self.charge_handshake(to, 1, 0);
        if self.weather.blocks(now, to, from) {
            return None;
        }
        ready_at += self.flight(now, to, from, handshake.answerer_wire_bytes, resend_after)?;
        // The opener has measured a round trip by now: its first estimate is that and four deviations of half of it.
        let round_trip = self.delay(from, to) + self.delay(to, from);
        ready_at += self.flight(now, from, to, opener, 3 * round_trip)?;
        Some(ready_at)
    }

    /// How long one flight of a handshake takes, sent again as often as it is lost: first after `resend_after`, then doubled.
    ///
    /// A flight of several packets is lost or not as one. In truth a part that arrives is acknowledged, and the rest follows
    /// after a few round trips instead of this wait. What is sent again only because the path is long is not counted.
    fn flight(
        &mut self,
        now: u64,
        from: Place,
        to: Place,
        wire_bytes: u64,
        resend_after: u64,
    ) -> Option<u64> {
        let mut waited = 0;
        for tries in 0..MOST_FLIGHTS {
            self.charge_handshake(from, 0, wire_bytes);
            if !self.is_lost(now, from, to) {
                let count = Count {
                    wire_bytes,
                    ..Count::default()
                };
                self.links.received(to, &count);
                return Some(waited + self.delay(from, to));
            }
            waited += resend_after << tries;
        }
        None
    }

    fn charge_handshake(&mut self, place: Place, handshakes: u64, wire_bytes: u64) {
        let count = Count {
            handshakes,
            wire_bytes,
            ..Count::default()
        };
        self.links.sent(place, &count);
    }

    /// Puts a letter's packets on the wire until each got through: how long that delays it; `None` when it takes
    /// too long.
    ///
    /// The pause is doubled only after nothing got through, as any acknowledgement ends the doubling (RFC 9002, 6.2.1; quinn sets
    /// `pto_count` back). That a packet is missed by those behind it, after hardly more than a round trip, is left out: so large letters
    /// take a little longer here than in truth.
    fn letter_packets(&mut self, now: u64, ends: Ends, bytes: usize) -> Option<u64> {
        let mut count = self.letter_count(bytes);
        self.links.sent(ends.from, &count);
        let give_up = nanos(self.network.letters.give_up_after);
        let round_trip = self.delay(ends.from, ends.to) + self.delay(ends.to, ends.from);
        let first_pause = nanos(self.network.letters.resend_after) + round_trip;
        let mut pause = first_pause;
        let mut waited = 0;
        let mut sent = self.network.cost.packets_of(bytes);
        let mut missing = self.lost_of(now, ends, sent);
        while missing > 0 {
            pause = if missing < sent { first_pause } else { pause };
            waited += pause;
            pause *= 2;
            if waited > give_up {
                return None;
            }
            count = self.resent_count(missing);
            self.links.sent(ends.from, &count);
            sent = missing;
            missing = self.lost_of(now, ends, sent);
        }
        Some(waited)
    }

    fn lost_of(&mut self, now: u64, ends: Ends, packets: u64) -> u64 {
        let lost = |_: &u64| self.is_lost(now, ends.from, ends.to);
        (0..packets).filter(lost).count() as u64
    }

    fn datagram_count(&self, bytes: usize) -> Count {
        let payload_bytes = bytes as u64;
        Count {
            datagrams: 1,
            payload_bytes,
            wire_bytes: payload_bytes + self.network.cost.packet_overhead_bytes,
            ..Count::default()
        }
    }

    fn letter_count(&self, bytes: usize) -> Count {
        let cost = &self.network.cost;
        let payload_bytes = bytes as u64;
        Count {
            letters: 1,
            payload_bytes,
            wire_bytes: payload_bytes + cost.packets_of(bytes) * cost.packet_overhead_bytes,
            ..Count::default()
        }
    }

    /// Resent pieces count as full packets.
    fn resent_count(&self, packets: u64) -> Count {
        let cost = &self.network.cost;
        Count {
            wire_bytes: packets * (cost.packet_payload_bytes + cost.packet_overhead_bytes),
            ..Count::default()
        }
    }
}

/// The lives at both ends, the lower host's first.
fn lives(ends: Ends) -> (u32, u32) {
    if ends.from < ends.to {
        (ends.from_life, ends.to_life)
    } else {
        (ends.to_life, ends.from_life)
    }
}

/// Whether the link still stands, or its failed handshake is too fresh to try again.
fn is_valid(link: &Link, now: u64, lives: (u32, u32), handshake: &Handshake) -> bool {
    let lasts = if link.ready_at == NEVER {
        handshake.retry_after
    } else {
        handshake.idle_timeout
    };
    link.lives == lives && now < link.used_at.saturating_add(nanos(lasts))
}
