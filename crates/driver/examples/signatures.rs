//! What membership pays for signatures on this machine: how long one takes to make and to check.
//!
//! `cargo run --release -p convoke-driver --example signatures`. A node makes one for all facts set together, one for a vote and
//! one for a contradiction; it checks one for each unit that is new to it, however many copies come.
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_rpc::identity::{NodeKey, verify};
use convoke_types::ClusterId;
use convoke_types::wire::gossip::unit::Page;

const TIMES: u32 = 20_000;

fn main() {
    let key = NodeKey::generate();
    let page = Page {
        node: key.node_id(),
        boot: 1,
        number: 1,
        version: 1,
        content: Bytes::from_static(&[7; 40]),
        signature: [0; 64],
    };
    let message = page.message(ClusterId::from_bytes([1; 16]));
    let signature = key.sign(&message);

    let signing = each(|| {
        std::hint::black_box(key.sign(std::hint::black_box(&message)));
    });
    let checking = each(|| {
        let is_good = verify(&page.node, std::hint::black_box(&message), &signature);
        assert!(is_good, "a good signature is good each time");
    });

    println!(
        "to sign {:.1} us, to check {:.1} us",
        signing.as_secs_f64() * 1e6,
        checking.as_secs_f64() * 1e6
    );
    for nodes in [100, 1_000, 5_000] {
        let checks = f64::from(nodes) / 30.0;
        let share = checks * checking.as_secs_f64() * 100.0;
        println!(
            "{nodes} nodes with new vitals every 30 s: {checks:.0} checks a second and node, {share:.2} % of a core"
        );
    }
}

fn each(act: impl Fn()) -> Duration {
    let began = Instant::now();
    for _ in 0..TIMES {
        act();
    }
    began.elapsed() / TIMES
}
