//! A program that hands the highest number it knows to somebody now and then, as real gossip does.

use std::time::Duration;

use bytes::Bytes;
use convoke_sim::{Actor, Birth, Outbox, Packet, Place, Random};
use convoke_types::Moment;

/// Tells the highest number it knows to one random host every 200 ms; keeps it on disk.
#[derive(Debug)]
pub(crate) struct Gossip {
    pub(crate) highest: u64,
    hosts: u64,
    random: Random,
    next: Moment,
}

impl Gossip {
    pub(crate) fn new(hosts: u64, birth: Birth<'_>) -> Self {
        let mut random = Random::from_seed(birth.seed);
        let spread = random.between(Duration::ZERO, Self::PERIOD);
        Self {
            highest: birth.disk.read("highest").map_or(0, |bytes| number(bytes)),
            hosts,
            random,
            next: birth.now + spread,
        }
    }

    const PERIOD: Duration = Duration::from_millis(200);

    pub(crate) fn learn(&mut self, news: u64, out: &mut Outbox) {
        if news > self.highest {
            self.highest = news;
            out.write("highest", news.to_le_bytes().to_vec());
            out.sync();
        }
    }
}

impl Actor for Gossip {
    fn wake(&mut self, now: Moment, out: &mut Outbox) {
        if now < self.next {
            return;
        }
        self.next = now + Self::PERIOD;
        let to = Place(self.random.below(self.hosts) as u32);
        let bytes = Bytes::copy_from_slice(&self.highest.to_le_bytes());
        out.send(to, Packet::Datagram(bytes));
    }

    fn receive(&mut self, _: Moment, _: Place, packet: Packet, out: &mut Outbox) {
        if let Packet::Datagram(bytes) | Packet::Letter(bytes) = packet {
            self.learn(number(&bytes), out);
        }
    }

    fn next_wakeup(&self) -> Moment {
        self.next
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("gossip is eight bytes"))
}
