//! How long it takes to choose among a thousand instances: `cargo run --release -p convoke-balance --example filter1000`.
#![expect(clippy::print_stdout, reason = "it is what this is for")]

use std::time::{Duration, Instant};

use convoke_balance::{Balancer, Call, Outcome, Params, Pick, Strategy, crowd};
use convoke_types::{Moment, Selector};

const ROUNDS: u32 = 100;
/// The best of so many is told: on a machine with other work the rest says more of that.
const TRIES: u32 = 40;

fn main() {
    let instances = crowd::crowd(1_000);
    for text in [
        "zone = zone-1",
        "zone = zone-1 and gpu >= 2",
        "zone in (zone-1, zone-2) and gpu >= 2 and version >= 1.4.0 and not spot",
        "model = small and (zone = zone-3 or gpu > 6)",
    ] {
        let selector: Selector = text.parse().expect("a good selector");
        let mut chosen = 0;
        let each = best(|| chosen = crowd::filter(&instances, &selector));
        println!("{each:>9.1?} for 1,000 instances, {chosen:>4} chosen: {text}");
    }
    for strategy in [
        Strategy::RoundRobin,
        Strategy::Random,
        Strategy::LeastConnections,
        Strategy::PowerOfTwo,
        Strategy::ConsistentHash,
    ] {
        for count in [10, 1_000] {
            let each = pick_and_done(strategy, &instances[..count]);
            println!("{each:>9.1?} for a pick and its end among {count:>5}: {strategy:?}");
        }
    }
}

fn pick_and_done(
    strategy: Strategy,
    instances: &[std::sync::Arc<convoke_balance::Instance>],
) -> Duration {
    let mut now = Moment::START + Duration::from_secs(60);
    let mut balancer = Balancer::new(now, Params::lan().strategy(strategy), 1);
    for instance in instances {
        balancer.put(now, instance.clone());
    }
    best(|| {
        now += Duration::from_micros(100);
        let call = Call::until(now + Duration::from_secs(1));
        if let Pick::Go(go) = balancer.pick(now, &call) {
            now += Duration::from_micros(100);
            balancer.done(
                now,
                go.ticket,
                Outcome::Answered,
                Duration::from_micros(100),
            );
        }
    })
}

fn best(mut what: impl FnMut()) -> Duration {
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let began = Instant::now();
        (0..ROUNDS).for_each(|_| what());
        tries.push(began.elapsed() / ROUNDS);
    }
    tries.into_iter().min().unwrap_or_default()
}
