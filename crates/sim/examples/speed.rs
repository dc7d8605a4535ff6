//! How fast the world goes with programs that do next to nothing: the most that a real machine's test can reach.
//!
//! Run it with `cargo run --release -p convoke-sim --example speed`. Each host sends a datagram of 60 bytes every 50 ms: to
//! ten fixed peers in turn, or to a new one each time, so that there are links between strangers by the thousand.
//! Figures are printed and never asserted, because they tell of this machine and its mood.

use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_sim::{Actor, Birth, LinkCost, Loss, Network, Outbox, Packet, Place, World};
use convoke_types::Moment;

const FEW: u32 = 10;
const PERIOD: Duration = Duration::from_millis(50);

/// Sends to one of its peers every 50 ms, each in turn.
struct Beat {
    own: Place,
    hosts: u32,
    peers: u32,
    turn: u32,
    next: Moment,
    payload: Bytes,
    heard: u64,
}

impl Beat {
    fn new(own: Place, hosts: u32, peers: u32, birth: Birth<'_>) -> Self {
        let spread = Duration::from_nanos(birth.seed % PERIOD.as_nanos() as u64);
        Self {
            own,
            hosts,
            peers,
            turn: 0,
            next: birth.now + spread,
            payload: Bytes::from(vec![7; 60]),
            heard: 0,
        }
    }
}

impl Actor for Beat {
    fn wake(&mut self, now: Moment, out: &mut Outbox) {
        if now < self.next {
            return;
        }
        self.next = now + PERIOD;
        self.turn = (self.turn + 1) % self.peers;
        let to = Place((self.own.0 + 1 + self.turn * 7_919) % self.hosts);
        out.send(to, Packet::Datagram(self.payload.clone()));
    }

    fn receive(&mut self, _: Moment, _: Place, _: Packet, _: &mut Outbox) {
        self.heard += 1;
    }

    fn next_wakeup(&self) -> Moment {
        self.next
    }
}

fn main() {
    say(
        "| hosts | network | datagrams per simulated s | simulated s per real s | events per real s |",
    );
    say("| --- | --- | --- | --- | --- |");
    for hosts in [1_000, 5_000] {
        for (name, network) in networks() {
            measure(hosts, FEW, name, network);
        }
        let quic = Network::lan().costing(LinkCost::QUIC);
        measure(hosts, hosts, "QUIC with strangers", quic);
    }
}

fn networks() -> [(&'static str, Network); 3] {
    let bursts = Loss::Bursts {
        mean: 0.05,
        burst: 5.0,
    };
    [
        ("bare", Network::lan()),
        ("5 % loss", Network::lan().losing(Loss::Even(0.05))),
        (
            "bursts, QUIC",
            Network::lan().losing(bursts).costing(LinkCost::QUIC),
        ),
    ]
}

fn measure(hosts: u32, peers: u32, name: &str, network: Network) {
    let factory = move |place, birth: Birth<'_>| Beat::new(place, hosts, peers, birth);
    let mut world = World::new(1, network, hosts as usize, factory);
    world.start_all(PERIOD);
    world.run_for(Duration::from_secs(1));
    world.reset_traffic();
    let simulated = Duration::from_secs(u64::from(20_000 / hosts));
    let (events, began) = (world.trace().events(), Instant::now());
    world.run_for(simulated);
    let real = began.elapsed().as_secs_f64();
    let events = (world.trace().events() - events) as f64 / real;
    let datagrams = world.total_traffic().sent.datagrams as f64 / simulated.as_secs_f64();
    let speed = simulated.as_secs_f64() / real;
    say(&format!(
        "| {hosts} | {name} | {datagrams:.0} | {speed:.1} | {events:.0} |"
    ));
}

#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn say(line: &str) {
    println!("{line}");
}
