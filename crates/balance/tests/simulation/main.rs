//! Stories of clients, balancers and servers in virtual time. A seed decides each of them, so what is seen once is seen always; a failing
//! assertion names the seed, and `SEED` below is where to put another one.
//!
//! Orderings and bounds are asserted that hold with room to spare; the tables are for people: `cargo test -p convoke-balance --test simulation --
//! --nocapture`.
#![expect(clippy::print_stdout, reason = "tables for people")]

mod world;

use std::time::Duration;

use convoke_balance::{Health, Params, Strategy};
use convoke_types::Moment;

use world::{Deed, Demand, Plan, ServerPlan, Tally, run};

const SEED: u64 = 7;
const STRATEGIES: [Strategy; 5] = [
    Strategy::RoundRobin,
    Strategy::Random,
    Strategy::LeastConnections,
    Strategy::PowerOfTwo,
    Strategy::ConsistentHash,
];

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn plan(servers: Vec<ServerPlan>) -> Plan {
    Plan {
        servers,
        balancers: 4,
        params: Params::lan(),
        demand: Demand::Closed(64),
        deadline: secs(5),
        length: secs(20),
        warm_up: secs(5),
        slow_permille: 0,
        registry_lag: ms(2_600),
        script: Vec::new(),
        seed: SEED,
    }
}

/// Ten servers of eight workers and 10 ms; the last is ten times slower.
fn one_slow() -> Vec<ServerPlan> {
    let mut servers = vec![ServerPlan::of(8, 10.0); 10];
    servers[9].mean = ms(100);
    servers
}

fn row(name: &str, tally: &Tally) {
    println!(
        "{name:24} {:>8.0}/s  p50 {:>7.1?}  p99 {:>7.1?}  last {:>5.1} %  failed {:>5}  refused {:>6}",
        tally.per_second(),
        tally.percentile(500),
        tally.percentile(990),
        tally.share(tally.sent.len() - 1) * 100.0,
        tally.failed,
        tally.refused,
    );
}

/// Limits that never bind.
fn without_limits(strategy: Strategy) -> Params {
    let mut params = Params::lan().strategy(strategy);
    (params.limit_first, params.limit_least, params.limit_most) = (1_000, 1_000, 1_000);
    params
}

#[test]
fn a_slow_worker_costs_those_little_who_look_at_latency() {
    let told = |strategy, name: &str, params| {
        let tally = run(&Plan {
            params,
            ..plan(one_slow())
        });
        row(&format!("{strategy:?}{name}"), &tally);
        assert_eq!(tally.failed + tally.refused, 0, "seed {SEED}");
        tally
    };
    let [round_robin, random, least, two, _] =
        STRATEGIES.map(|it| told(it, ", no limits", without_limits(it)));
    for blind in [&round_robin, &random] {
        assert!(two.per_second() > 1.3 * blind.per_second(), "seed {SEED}");
        assert!(least.per_second() > 1.1 * blind.per_second(), "seed {SEED}");
        assert!(
            two.percentile(990) * 2 < blind.percentile(990),
            "seed {SEED}"
        );
    }
    assert!(two.per_second() > least.per_second(), "seed {SEED}");
    assert!(
        two.share(9) < 0.03 && round_robin.share(9) > 0.08,
        "seed {SEED}"
    );
    let limited = STRATEGIES.map(|it| told(it, "", Params::lan().strategy(it)));
    for (blind, limited) in [(&round_robin, &limited[0]), (&random, &limited[1])] {
        assert!(
            limited.per_second() > 1.2 * blind.per_second(),
            "limits see what these do not; seed {SEED}"
        );
    }
    assert!(
        limited[3].per_second() > 1.1 * limited[1].per_second(),
        "seed {SEED}"
    );
}

/// Ten servers of four workers and 10 ms: 4,000 calls a second.
fn overloaded(params: Params, queue: usize) -> Plan {
    let server = ServerPlan {
        queue,
        ..ServerPlan::of(4, 10.0)
    };
    Plan {
        params,
        demand: Demand::Open(12_000.0),
        deadline: ms(500),
        length: secs(12),
        ..plan(vec![server; 10])
    }
}

#[test]
fn three_times_too_much_leaves_most_of_the_capacity_to_calls_that_succeed() {
    for strategy in STRATEGIES {
        for queue in [16, 100_000] {
            let tally = run(&overloaded(Params::lan().strategy(strategy), queue));
            row(&format!("{strategy:?}, queue {queue}"), &tally);
            assert!(tally.per_second() >= 0.8 * 4_000.0, "seed {SEED}");
        }
    }
}

/// More retries than the budget has room for in some stretch of time that begins and ends with a retry.
fn most_over_budget(tally: &Tally, params: &Params) -> f64 {
    let mut most = f64::MIN;
    for (firsts, retries) in tally.firsts.iter().zip(&tally.retries) {
        // Kadane over what each retry takes and what calls and time give between them.
        let mut over = 0.0_f64;
        let mut last: Option<Moment> = None;
        for retry in retries {
            let since = last.unwrap_or(*retry);
            let between =
                firsts.partition_point(|at| at < retry) - firsts.partition_point(|at| *at < since);
            let given = between as f64 * f64::from(params.retry_permille) / 1_000.0
                + retry.since(since).as_secs_f64() * f64::from(params.retry_per_second);
            over = (over - given).max(0.0) + 1.0;
            most = most.max(over);
            last = Some(*retry);
        }
    }
    most - f64::from(params.retry_saved)
}

#[test]
fn retries_keep_to_their_budget_in_every_stretch_of_time_whatever_fails() {
    let all_fail = Plan {
        servers: vec![
            ServerPlan {
                fails_permille: 900,
                ..ServerPlan::of(8, 5.0)
            };
            10
        ],
        demand: Demand::Open(2_000.0),
        ..overloaded(Params::lan(), 16)
    };
    let crash = Plan {
        demand: Demand::Open(3_000.0),
        script: (0..8)
            .map(|server| (secs(8), Deed::Kill(server)))
            .chain((0..8).map(|server| (secs(12), Deed::Start(server))))
            .collect(),
        ..overloaded(Params::lan(), 16)
    };
    for (name, plan) in [
        ("all fail", all_fail),
        ("crash", crash),
        ("overload", overloaded(Params::lan(), 16)),
    ] {
        let tally = run(&plan);
        row(name, &tally);
        let retries: usize = tally.retries.iter().map(Vec::len).sum();
        let firsts: usize = tally.firsts.iter().map(Vec::len).sum();
        println!("    {firsts} first attempts, {retries} retries");
        // A retry is allowed a moment before it goes out, and what was allowed may go out together: as many as a backoff lasts.
        let slack = 20.0 + 2_000.0 * 0.2 * 0.1;
        assert!(
            most_over_budget(&tally, &plan.params) <= slack,
            "seed {SEED}"
        );
        assert!(
            retries as f64
                <= 0.21 * firsts as f64 + 4.0 * (f64::from(plan.params.retry_saved) + 20.0),
            "seed {SEED}"
        );
        assert!(
            retries > 0 || name == "overload",
            "there was something to retry"
        );
    }
}

#[test]
fn after_the_verdict_failed_no_call_is_sent_there() {
    let verdict = secs(8);
    for strategy in STRATEGIES {
        let plan = Plan {
            params: Params::lan().strategy(strategy),
            script: vec![
                (verdict, Deed::Verdict(3, Health::Failed)),
                (verdict, Deed::Verdict(4, Health::NotServing)),
            ],
            length: secs(15),
            ..plan(vec![ServerPlan::of(8, 10.0); 5])
        };
        let tally = run(&plan);
        let start = Moment::START + secs(1_000);
        let after = |server| {
            tally
                .sends
                .iter()
                .filter(|(at, to)| *to == server && *at > start + verdict)
                .count()
        };
        assert_eq!((after(3), after(4)), (0, 0), "{strategy:?}, seed {SEED}");
        assert!(after(2) > 100, "others are called");
    }
}

#[test]
fn who_lies_about_its_load_gets_a_bounded_share() {
    for strategy in STRATEGIES {
        let mut servers = vec![ServerPlan::of(8, 10.0); 10];
        servers[9].says = Some(0);
        for honest in &mut servers[..9] {
            honest.says = Some(1_000);
        }
        let plan = Plan {
            params: Params::lan().strategy(strategy),
            ..plan(servers)
        };
        let tally = run(&plan);
        row(&format!("{strategy:?}"), &tally);
        assert!(
            tally.share(9) <= 0.2 + 0.02,
            "{strategy:?}: {} of a tenth, seed {SEED}",
            tally.share(9)
        );
    }
}

#[test]
fn a_crash_costs_few_calls_although_the_registry_lags_by_seconds() {
    let plan = Plan {
        demand: Demand::Open(2_000.0),
        registry_lag: secs(4),
        length: secs(35),
        script: vec![(secs(8), Deed::Kill(2)), (secs(16), Deed::Start(2))],
        ..plan(vec![ServerPlan::of(8, 10.0); 10])
    };
    let tally = run(&plan);
    row("a crash, seen late", &tally);
    // What was there when it died is retried; in the four seconds until somebody says so, 8,000 calls begin.
    assert!(tally.failed + tally.refused < 10, "seed {SEED}");
    let start = Moment::START + secs(1_000);
    let in_the_dark = |from, to| {
        let there = |at: &Moment| *at > start + from && *at <= start + to;
        tally
            .sends
            .iter()
            .filter(|(at, server)| *server == 2 && there(at))
            .count()
    };
    assert!(
        in_the_dark(ms(8_010), secs(16)) < 200,
        "it is tried now and then, no more; seed {SEED}"
    );
    assert!(
        in_the_dark(secs(31), secs(35)) > 500,
        "it gets its share when it is back for as long as the slow start takes; seed {SEED}"
    );
}

#[test]
fn a_partition_that_nobody_announces_is_routed_around_and_healed() {
    let plan = Plan {
        demand: Demand::Open(2_000.0),
        deadline: ms(300),
        length: secs(60),
        script: vec![
            (secs(10), Deed::Cut(vec![0, 1, 2], vec![0, 1])),
            (secs(25), Deed::Heal),
        ],
        ..plan(vec![ServerPlan::of(8, 10.0); 10])
    };
    let tally = run(&plan);
    row("three of ten cut off", &tally);
    let all = tally.good + tally.failed + tally.refused;
    assert!(
        tally.failed + tally.refused < all / 100,
        "{} of {all}, seed {SEED}",
        tally.failed + tally.refused
    );
    assert!(tally.ejections >= 3, "seed {SEED}");
    let start = Moment::START + secs(1_000);
    let late = tally
        .sends
        .iter()
        .filter(|(at, to)| *to < 3 && *at > start + secs(50))
        .count();
    assert!(late > 1_000, "they get calls again: {late}, seed {SEED}");
}

#[test]
fn who_fails_fast_draws_no_calls() {
    let mut servers = vec![ServerPlan::of(8, 10.0); 10];
    servers[9].fails_permille = 1_000;
    for strategy in STRATEGIES {
        let plan = Plan {
            params: Params::lan().strategy(strategy),
            ..plan(servers.clone())
        };
        let tally = run(&plan);
        row(&format!("{strategy:?}"), &tally);
        assert!(
            tally.share(9) < 0.02,
            "{strategy:?}: {}, seed {SEED}",
            tally.share(9)
        );
        assert_eq!(tally.lost_tickets, 0);
    }
}

#[test]
fn who_becomes_slow_or_fails_now_and_then_is_noticed_and_taken_back() {
    let plan = Plan {
        demand: Demand::Open(2_000.0),
        length: secs(80),
        script: vec![
            (secs(10), Deed::Mean(0, ms(200))),
            (secs(10), Deed::Fails(1, 400)),
            (secs(30), Deed::Mean(0, ms(10))),
            (secs(30), Deed::Fails(1, 0)),
        ],
        ..plan(vec![ServerPlan::of(8, 10.0); 10])
    };
    let tally = run(&plan);
    row("slow, or failing", &tally);
    let start = Moment::START + secs(1_000);
    let share = |server, from, to| {
        let within = tally
            .sends
            .iter()
            .filter(|(at, _)| *at > start + secs(from) && *at < start + secs(to));
        let all: Vec<usize> = within.map(|(_, to)| *to).collect();
        all.iter().filter(|to| **to == server).count() as f64 / all.len() as f64
    };
    println!(
        "    shares of the slow one {:.3} then {:.3}, of the failing one {:.3} then {:.3}",
        share(0, 12, 30),
        share(0, 65, 80),
        share(1, 21, 30),
        share(1, 65, 80)
    );
    assert!(share(0, 12, 30) < 0.03, "seed {SEED}");
    assert!(share(1, 21, 30) < 0.06, "seed {SEED}");
    assert!(
        share(0, 65, 80) > 0.06 && share(1, 65, 80) > 0.06,
        "seed {SEED}"
    );
    assert!(tally.ejections > 0, "seed {SEED}");
}

#[test]
fn methods_that_take_twenty_times_as_long_are_no_sign_of_a_queue() {
    let plan = Plan {
        // 80 workers and 29 ms on average: room for 2,750 in a second.
        demand: Demand::Open(1_900.0),
        slow_permille: 100,
        // One, so that limits that fell to the least would leave room for ten calls, not for forty.
        balancers: 1,
        ..plan(vec![ServerPlan::of(8, 10.0); 10])
    };
    let tally = run(&plan);
    row("two kinds of calls", &tally);
    let all = tally.good + tally.failed + tally.refused;
    assert!(tally.failed + tally.refused < all / 100, "seed {SEED}");
    assert!(tally.percentile(500) < ms(20), "seed {SEED}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let story = || Plan {
        length: secs(8),
        ..overloaded(Params::lan(), 16)
    };
    let (one, other) = (run(&story()), run(&story()));
    assert_eq!(one.sends, other.sends);
    let third = run(&Plan {
        seed: SEED + 1,
        ..story()
    });
    assert_ne!(one.sends, third.sends);
}
