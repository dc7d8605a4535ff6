//! What balancing promises, each in the smallest world that could break it; and, of random worlds, what holds in all of them.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else it is fails the test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_balance::limit::Limit;
use convoke_balance::retry::{Budget, Failed, decide};
use convoke_balance::{
    Balancer, Call, Delta, Health, Instance, InstanceId, Load, Outcome, Params, Pick, Refusal,
    Registry, Safety, Stop, Strategy as How, Ticket, Update, Verdict, View, ZonePreference,
};
use convoke_types::{Code, Moment, Selector, Tag};
use proptest::prelude::*;
use proptest::sample::select;

const START: Moment = Moment::from_nanos(1_000_000_000_000);
const HOWS: [How; 5] = [
    How::RoundRobin,
    How::Random,
    How::LeastConnections,
    How::PowerOfTwo,
    How::ConsistentHash,
];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn id(number: usize) -> InstanceId {
    InstanceId::named(&format!("i{number}"))
}

fn instance(number: usize) -> Instance {
    Instance::new(id(number), "S")
}

fn tagged(number: usize, key: &str, value: &str) -> Instance {
    let mut instance = instance(number);
    instance
        .tags
        .insert(Tag::with_value(key, value).expect("a good tag"))
        .expect("room");
    instance
}

fn balancer(params: Params, instances: impl IntoIterator<Item = Instance>) -> Balancer {
    let mut balancer = Balancer::new(START, params, 1);
    for instance in instances {
        balancer.put(START, Arc::new(instance));
    }
    balancer
}

fn of(how: How, count: usize) -> Balancer {
    balancer(Params::lan().strategy(how), (0..count).map(instance))
}

fn call(now: Moment) -> Call {
    Call::until(now + ms(1_000))
}

/// Picks, which has to go out.
fn go(balancer: &mut Balancer, now: Moment, call: &Call) -> (InstanceId, Ticket) {
    match balancer.pick(now, call) {
        Pick::Go(go) => (go.instance.id.clone(), go.ticket),
        other => panic!("{other:?}"),
    }
}

/// Picks and ends at once, so often; how often each was chosen.
fn shares(balancer: &mut Balancer, now: Moment, times: usize) -> BTreeMap<InstanceId, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..times {
        let (id, ticket) = go(balancer, now, &call(now));
        balancer.done(now, ticket, Outcome::Answered, ms(1));
        *shares.entry(id).or_default() += 1;
    }
    shares
}

/// Makes calls until one is with this instance, and ends it so. The others are given up.
fn end_one_at(balancer: &mut Balancer, now: Moment, at: &InstanceId, outcome: Outcome) {
    for _ in 0..10_000 {
        let (chosen, ticket) = go(balancer, now, &call(now));
        let is_it = chosen == *at;
        balancer.done(
            now,
            ticket,
            if is_it { outcome } else { Outcome::Cancelled },
            ms(1),
        );
        if is_it {
            return;
        }
    }
    panic!("{at} is never chosen");
}

fn said(balancer: &Balancer, now: Moment, id: &InstanceId) -> String {
    let explained = balancer.explain(now);
    let mut lines = explained.iter().filter(|it| it.id == *id);
    lines.next().expect("it is known").to_string()
}

#[test]
fn round_robin_gives_each_its_weight_and_spreads_the_turns() {
    let mut heavy = instance(0);
    heavy.weight = 3;
    let mut balancer = balancer(
        Params::lan().strategy(How::RoundRobin),
        [heavy, instance(1), instance(2)],
    );
    let mut turns = Vec::new();
    for _ in 0..10 {
        let (id, ticket) = go(&mut balancer, START, &call(START));
        balancer.done(START, ticket, Outcome::Answered, ms(1));
        turns.push(id);
    }
    let count = |turns: &[InstanceId], number| turns.iter().filter(|it| **it == id(number)).count();
    assert_eq!([0, 1, 2].map(|number| count(&turns, number)), [6, 2, 2]);
    assert!(
        turns.windows(3).all(|turns| count(turns, 0) <= 2),
        "{turns:?}"
    );
}

#[test]
fn weight_counts_for_every_strategy() {
    for how in HOWS {
        let mut heavy = instance(0);
        heavy.weight = 4;
        let mut balancer = balancer(
            Params::lan().strategy(how),
            [heavy, instance(1), instance(2)],
        );
        // Calls stay, so that strategies that look at calls see some; 20 is what two of weight 1 may have.
        let mut counts = BTreeMap::<InstanceId, usize>::new();
        let mut tickets = Vec::new();
        for _ in 0..30 {
            let (id, ticket) = go(&mut balancer, START, &call(START));
            *counts.entry(id).or_default() += 1;
            tickets.push(ticket);
        }
        for ticket in tickets {
            balancer.done(START, ticket, Outcome::Cancelled, ms(1));
        }
        let heavy = counts[&id(0)];
        assert!((13..=26).contains(&heavy), "{how:?}: {counts:?}");
    }
}

#[test]
fn the_least_busy_is_chosen_by_its_calls() {
    let mut balancer = of(How::LeastConnections, 4);
    let mut tickets = Vec::new();
    for _ in 0..40 {
        let (id, ticket) = go(&mut balancer, START, &call(START));
        tickets.push((id, ticket));
    }
    for number in 0..4 {
        assert_eq!(
            tickets
                .iter()
                .filter(|(chosen, _)| *chosen == id(number))
                .count(),
            10
        );
    }
    for (at, ticket) in tickets {
        if at == id(2) {
            balancer.done(START, ticket, Outcome::Answered, ms(1));
        }
    }
    for _ in 0..10 {
        let (chosen, _lost) = go(&mut balancer, START, &call(START));
        assert_eq!(chosen, id(2));
    }
}

#[test]
fn who_was_never_called_is_tried_and_not_flooded() {
    let mut balancer = of(How::PowerOfTwo, 9);
    shares(&mut balancer, START, 500);
    let later = START + ms(60_000);
    balancer.put(later, Arc::new(instance(9)));
    let early = shares(&mut balancer, later + ms(10), 1_000);
    let few = early.get(&id(9)).copied().unwrap_or(0);
    let late = shares(&mut balancer, later + ms(20_000), 1_000);
    assert!(few < 40, "slow start: {few}");
    assert!((50..200).contains(&late[&id(9)]), "{late:?}");
}

#[test]
fn near_comes_first_and_what_it_has_no_room_for_spills_over() {
    for how in HOWS {
        let mut params = Params::lan().strategy(how);
        params.zone = Some(ZonePreference {
            zone: "eu".into(),
            spill_permille: 700,
        });
        let near = (0..2).map(|number| tagged(number, "zone", "eu"));
        let far = (2..6).map(|number| tagged(number, "zone", "us"));
        let mut balancer = balancer(params, near.chain(far));
        let mut first_far = None;
        let mut far = 0;
        for number in 0..60 {
            let (chosen, _kept) = go(&mut balancer, START, &call(START));
            if chosen >= id(2) {
                first_far = first_far.or(Some(number));
                far += 1;
            }
        }
        // Two of twenty each: the first 28 stay, then some go, and from a full zone all.
        assert!(
            first_far.is_some_and(|at| at >= 28),
            "{how:?}: {first_far:?}"
        );
        assert!(far >= 20, "{how:?}: {far}");
    }
}

#[test]
fn a_lost_link_counts_at_once_and_one_call_at_a_time_finds_out_whether_it_is_back() {
    let mut balancer = of(How::RoundRobin, 3);
    end_one_at(&mut balancer, START, &id(1), Outcome::LinkLost);
    assert_eq!(shares(&mut balancer, START, 100).get(&id(1)), None);
    assert!(said(&balancer, START, &id(1)).contains("not chosen: no link; tried again in 100.0ms"));

    let later = START + ms(100);
    let mut tries = Vec::new();
    for _ in 0..30 {
        let (chosen, ticket) = go(&mut balancer, later, &call(later));
        if chosen == id(1) {
            tries.push(ticket);
        }
    }
    assert_eq!(tries.len(), 1, "one finds out");
    balancer.done(later, tries.remove(0), Outcome::LinkLost, ms(1));
    assert!(
        said(&balancer, later, &id(1)).contains("tried again in 200.0ms"),
        "longer each time"
    );
    balancer.connected(&id(1));
    assert!(shares(&mut balancer, later, 30)[&id(1)] >= 10);
    balancer.disconnected(later, &id(1));
    assert_eq!(shares(&mut balancer, later, 30).get(&id(1)), None);
}

#[test]
fn who_has_no_link_is_passed_over_and_it_is_as_if_it_had_not_been_chosen() {
    let mut balancer = of(How::RoundRobin, 3);
    let wanted = call(START);
    let (first, ticket) = go(&mut balancer, START, &wanted);
    let before = balancer.counters();
    balancer.pass_over(START, ticket, &wanted);
    assert_eq!(
        balancer.counters().first_attempts,
        before.first_attempts - 1,
        "nothing was sent"
    );
    assert!(said(&balancer, START, &first).contains("no link"));
    assert_eq!(shares(&mut balancer, START, 100).get(&first), None);
    balancer.connected(&first);
    assert!(shares(&mut balancer, START, 30)[&first] >= 10);
    // An instance of which all are without a link is a last resort all the same.
    for number in 0..3 {
        balancer.disconnected(START, &id(number));
    }
    let Pick::Go(chosen) = balancer.pick(START, &call(START)) else {
        panic!("somebody is tried");
    };
    assert!(chosen.is_desperate);
}

#[test]
fn calls_that_are_lost_with_one_link_are_all_tried_again() {
    let mut balancer = of(How::PowerOfTwo, 2);
    for _ in 0..100 {
        let (tried, ticket) = go(&mut balancer, START, &call(START));
        balancer.done(START, ticket, Outcome::Cancelled, ms(1));
        let lost = call(START).again(tried);
        let verdict = balancer.retry(START, Safety::Idempotent, &lost, None, None);
        assert!(matches!(verdict, Verdict::Again(_)), "{verdict:?}");
    }
}

#[test]
fn a_few_milliseconds_are_no_queue_where_calls_take_less_than_one() {
    let mut balancer = of(How::PowerOfTwo, 1);
    let limit = |balancer: &Balancer, now| balancer.explain(now)[0].limit;
    let mut now = START;
    let mut calls = |balancer: &mut Balancer, micros: [u64; 4]| {
        for took in micros.iter().cycle().take(4_000) {
            now += ms(1);
            let (_, ticket) = go(balancer, now, &call(now));
            let took = Duration::from_micros(*took);
            balancer.done(now, ticket, Outcome::Answered, took);
        }
        limit(balancer, now)
    };
    let first = calls(&mut balancer, [200; 4]);
    // As a busy machine makes it: most as before, some a hundred times slower.
    let beside_others = calls(&mut balancer, [200, 200, 3_000, 6_000]);
    assert!(beside_others * 4 > first, "{first}, then {beside_others}");
    let in_a_queue = calls(&mut balancer, [30_000; 4]);
    assert!(in_a_queue * 3 < first, "{first}, then {in_a_queue}");
}

#[test]
fn verdicts_of_others_count_at_once_and_a_failed_one_is_not_even_tried_in_despair() {
    for how in HOWS {
        let mut balancer = of(how, 3);
        balancer.health(START, &id(0), Health::Failed);
        balancer.health(START, &id(1), Health::Unreachable);
        let shares = shares(&mut balancer, START, 100);
        assert_eq!(shares[&id(2)], 100);
        balancer.health(START, &id(2), Health::NotServing);
        match balancer.pick(START, &call(START)) {
            Pick::Go(go) => {
                assert!(
                    go.is_desperate && go.instance.id == id(1),
                    "the least bad of all: {go:?}"
                );
                balancer.done(START, go.ticket, Outcome::Cancelled, ms(1));
            }
            other => panic!("{other:?}"),
        }
        assert!(
            said(&balancer, START, &id(1))
                .contains("chosen because nobody is well: its node is unreachable")
        );
        balancer.health(START, &id(1), Health::Failed);
        match balancer.pick(START, &call(START)) {
            Pick::Refused(refusal) => {
                assert_eq!(
                    refusal,
                    Refusal::NobodyFit {
                        draining: 1,
                        failed: 2,
                        without_method: 0
                    }
                );
                assert_eq!(refusal.code(), Code::Unavailable);
            }
            other => panic!("{other:?}"),
        }
        balancer.health(START, &id(0), Health::Serving);
        assert_eq!(
            go(&mut balancer, START, &call(START)).0,
            id(0),
            "who serves again is called again"
        );
    }
}

#[test]
fn a_verdict_is_not_undone_by_an_old_description() {
    let mut balancer = of(How::RoundRobin, 2);
    balancer.health(START, &id(0), Health::Failed);
    balancer.put(START, Arc::new(tagged(0, "load", "new")));
    assert_eq!(shares(&mut balancer, START, 20).get(&id(0)), None);
    balancer.health(START, &id(0), Health::Serving);
    assert!(shares(&mut balancer, START, 40).contains_key(&id(0)));
}

#[test]
fn who_drains_is_left_alone_for_a_while_and_not_for_ever() {
    let mut balancer = of(How::RoundRobin, 2);
    end_one_at(&mut balancer, START, &id(0), Outcome::Leaving);
    assert_eq!(
        shares(&mut balancer, START + ms(9_999), 20).get(&id(0)),
        None
    );
    assert!(shares(&mut balancer, START + ms(10_000), 20).contains_key(&id(0)));
}

#[test]
fn a_deadline_that_is_too_short_is_no_fault_of_the_instance() {
    let mut balancer = of(How::RoundRobin, 2);
    for _ in 0..10 {
        let (_, ticket) = go(&mut balancer, START, &call(START));
        balancer.done(START, ticket, Outcome::Answered, ms(100));
    }
    let mut late = |waited: u64| {
        for _ in 0..20 {
            let (_, ticket) = go(&mut balancer, START, &call(START));
            balancer.done(START, ticket, Outcome::Late, ms(waited));
        }
        balancer.counters().ejections
    };
    assert_eq!(late(5), 0);
    assert_eq!(late(300), 1);
}

#[test]
fn who_fails_is_left_out_longer_each_time_and_proves_itself_first() {
    let mut balancer = of(How::RoundRobin, 4);
    let mut now = START;
    for _ in 0..5 {
        end_one_at(&mut balancer, now, &id(0), Outcome::Failed);
    }
    assert_eq!(shares(&mut balancer, now, 100).get(&id(0)), None);
    assert!(
        said(&balancer, now, &id(0))
            .contains("left out for 10.0s more, time 1: 5 failures in a row")
    );
    let meanwhile = shares(&mut balancer, now + ms(9_999), 100);
    assert!(!meanwhile.contains_key(&id(0)));

    now += ms(10_000);
    end_one_at(&mut balancer, now, &id(0), Outcome::Failed);
    assert!(
        said(&balancer, now, &id(0)).contains("left out for 20.0s more, time 2: it failed again")
    );
    now += ms(20_000);
    end_one_at(&mut balancer, now, &id(0), Outcome::Answered);
    end_one_at(&mut balancer, now, &id(0), Outcome::Failed);
    assert!(
        said(&balancer, now, &id(0)).contains("chosen: well"),
        "a success ends probation"
    );
}

#[test]
fn no_more_than_half_are_ejected_and_never_the_last() {
    for count in [1, 2, 5, 10] {
        let mut balancer = of(How::RoundRobin, count);
        for _ in 0..count * 40 {
            let (_, ticket) = go(&mut balancer, START, &call(START));
            balancer.done(START, ticket, Outcome::Failed, ms(1));
        }
        let left_out = balancer
            .explain(START)
            .iter()
            .filter(|it| !it.is_chosen)
            .count();
        assert_eq!(left_out, count / 2, "of {count}");
    }
}

#[test]
fn who_fails_more_than_its_peers_is_ejected_although_never_in_a_row() {
    let mut balancer = of(How::RoundRobin, 5);
    let mut odd = 0;
    for _ in 0..1_000 {
        let (chosen, ticket) = go(&mut balancer, START, &call(START));
        let fails = chosen == id(3) && {
            odd += 1;
            odd % 3 == 0
        };
        balancer.done(
            START,
            ticket,
            if fails {
                Outcome::Failed
            } else {
                Outcome::Answered
            },
            ms(1),
        );
    }
    let now = START + ms(10_000);
    balancer.tick(now);
    let told = said(&balancer, now, &id(3));
    assert!(
        told.contains("of 1,000 calls went well, and 1000 with its peers"),
        "{told}"
    );
    assert_eq!(balancer.counters().ejections, 1);
}

#[test]
fn a_failure_of_the_caller_ejects_nobody() {
    let mut balancer = of(How::RoundRobin, 3);
    for code in [
        Code::InvalidArgument,
        Code::NotFound,
        Code::Forbidden,
        Code::Cancelled,
        Code::Overloaded,
    ] {
        for _ in 0..50 {
            let (_, ticket) = go(&mut balancer, START, &call(START));
            balancer.done(START, ticket, Outcome::of(code), ms(1));
        }
    }
    assert_eq!(balancer.counters().ejections, 0);
    for code in [Code::LinkLost, Code::Unavailable] {
        assert_eq!(Outcome::of(code), Outcome::LinkLost);
    }
    assert_eq!(Outcome::of(Code::HandlerPanicked), Outcome::Failed);
}

#[test]
fn a_full_pool_lets_few_wait_the_most_urgent_first_and_says_overloaded_to_the_rest() {
    let mut params = Params::lan();
    (
        params.limit_first,
        params.limit_least,
        params.limit_most,
        params.waiting_most,
    ) = (2, 2, 2, 3);
    let mut balancer = balancer(params, [instance(0)]);
    let (_, first) = go(&mut balancer, START, &call(START));
    let (_, second) = go(&mut balancer, START, &call(START));
    let mut wait = |left: u64| match balancer.pick(START, &Call::until(START + ms(left))) {
        Pick::Wait(number) => number,
        other => panic!("{other:?}"),
    };
    let (late, soon, forgotten) = (wait(900), wait(300), wait(200));
    match balancer.pick(START, &call(START)) {
        Pick::Refused(
            refusal @ Refusal::Overloaded {
                in_flight: 2,
                limit: 2,
                waiting: 3,
                ..
            },
        ) => {
            assert_eq!(refusal.code(), Code::Overloaded);
            assert!(
                refusal.to_string().starts_with(
                    "overloaded: 2 calls are under way and there is room for 2; 3 wait"
                )
            );
        }
        other => panic!("{other:?}"),
    }
    balancer.forget(forgotten);
    assert!(balancer.resolve(START).is_empty(), "no room yet");
    balancer.done(START, first, Outcome::Cancelled, ms(1));
    let resolved = balancer.resolve(START);
    assert_eq!(resolved.len(), 1);
    assert!(resolved[0].number == soon && resolved[0].answer.is_ok());

    let wakeup = balancer.next_wakeup();
    assert_eq!(wakeup, START + ms(450), "half of its time");
    let resolved = balancer.resolve(wakeup);
    assert!(
        resolved[0].number == late && matches!(resolved[0].answer, Err(Refusal::Overloaded { .. }))
    );
    balancer.done(wakeup, second, Outcome::Answered, ms(1));
}

#[test]
fn a_ticket_that_nobody_gives_back_frees_its_place_after_its_deadline() {
    let mut params = Params::lan();
    (params.limit_first, params.limit_least, params.limit_most) = (1, 1, 1);
    let mut balancer = balancer(params, [instance(0)]);
    let (_, lost) = go(&mut balancer, START, &call(START));
    assert_eq!(balancer.next_wakeup(), START + ms(6_000));
    let now = START + ms(6_000);
    balancer.tick(now);
    let (_, ticket) = go(&mut balancer, now, &call(now));
    balancer.done(now, lost, Outcome::Answered, ms(1));
    assert!(
        matches!(balancer.pick(now, &call(now)), Pick::Wait(_)),
        "a late ticket frees nobody else's place"
    );
    balancer.done(now, ticket, Outcome::Answered, ms(1));
    assert_eq!(balancer.counters().lost_tickets, 1);
}

#[test]
fn an_answer_from_an_earlier_life_says_nothing_of_this_one() {
    let mut balancer = of(How::PowerOfTwo, 1);
    let (_, old) = go(&mut balancer, START, &call(START));
    balancer.remove(&id(0));
    balancer.put(START, Arc::new(instance(0)));
    let (_, _new) = go(&mut balancer, START, &call(START));
    balancer.done(START, old, Outcome::LinkLost, ms(1));
    let explained = balancer.explain(START);
    assert!(
        explained[0].is_chosen && explained[0].in_flight == 1,
        "{explained:?}"
    );
}

#[test]
fn who_does_not_have_the_method_is_passed_over_and_a_retry_goes_to_another() {
    for how in HOWS {
        let with = |number: usize, methods: &[&str]| {
            let mut instance = instance(number);
            instance.methods = Some(methods.iter().map(|it| Arc::from(*it)).collect());
            instance
        };
        let mut balancer = balancer(
            Params::lan().strategy(how),
            [with(0, &["a"]), with(1, &["a", "b"]), with(2, &["a"])],
        );
        let mut b = call(START);
        b.method = Some("b".into());
        for _ in 0..10 {
            assert_eq!(go(&mut balancer, START, &b).0, id(1));
        }
        b.method = Some("c".into());
        let refused = balancer.pick(START, &b);
        assert!(
            matches!(
                refused,
                Pick::Refused(Refusal::NobodyFit {
                    without_method: 3,
                    ..
                })
            ),
            "{refused:?}"
        );

        let mut a = call(START);
        a.method = Some("a".into());
        let (first, _) = go(&mut balancer, START, &a);
        let a = a.again(first.clone());
        let (second, _) = go(&mut balancer, START, &a);
        let a = a.again(second.clone());
        let (third, _) = go(&mut balancer, START, &a);
        assert!(first != second && second != third && first != third);
        let (_, _fourth) = go(&mut balancer, START, &a.again(third));
    }
}

#[test]
fn what_is_said_of_load_counts_while_it_is_fresh() {
    let loaded = |number: usize, permille| {
        let mut instance = instance(number);
        instance.load = Some(Load {
            permille,
            at: START,
        });
        instance
    };
    let mut balancer = balancer(Params::lan(), [loaded(0, 1_000), loaded(1, 0)]);
    let fresh = shares(&mut balancer, START, 100);
    assert_eq!(fresh.get(&id(1)), Some(&100));
    let old = shares(&mut balancer, START + ms(60_000), 200);
    assert!(old.len() == 2, "{old:?}");
}

#[test]
fn who_says_that_it_has_nothing_to_do_gets_at_most_twice_what_others_get() {
    let says = |number: usize, permille| {
        let mut instance = instance(number);
        instance.load = Some(Load {
            permille,
            at: START,
        });
        instance
    };
    // Two of them, so that both are looked at for each call, and all calls stay.
    let mut balancer = balancer(Params::lan(), [says(0, 1_000), says(1, 0)]);
    let mut liar = 0;
    for _ in 0..24 {
        let (chosen, _kept) = go(&mut balancer, START, &call(START));
        liar += usize::from(chosen == id(1));
    }
    assert!((13..=16).contains(&liar), "{liar} of 24");
}

#[test]
fn a_limit_grows_while_it_is_used_and_falls_when_calls_take_twice_as_long() {
    let params = Params::lan();
    let mut limit = Limit::new(START, &params, 1);
    let mut now = START;
    for _ in 0..2_000 {
        now += ms(1);
        limit.answered(now, ms(10), limit.limit());
    }
    let grown = limit.limit();
    assert!(grown > 40, "{grown}");
    for _ in 0..2_000 {
        now += ms(1);
        limit.answered(now, ms(10), 1);
    }
    assert!(
        limit.limit() <= grown + 1,
        "who does not use it has no reason to get more"
    );
    for _ in 0..2_000 {
        now += ms(1);
        limit.answered(now, ms(25), limit.limit());
    }
    assert!(limit.limit() < grown / 3, "{}", limit.limit());
}

#[test]
fn what_may_have_run_is_not_repeated_and_nothing_is_that_cannot_end_in_time() {
    let params = Params::lan();
    let mut budget = Budget::new(START, &params);
    let failed = Failed {
        safety: Safety::NeverStarted,
        attempts: 1,
        attempts_most: 3,
        deadline: START + ms(100),
        expected: ms(10),
        wait: None,
        drawn: 0.5,
    };
    let mut decided = |failed: Failed| decide(START, &failed, &mut budget, &params);
    assert_eq!(decided(failed), Verdict::Again(START), "at once, elsewhere");
    assert_eq!(
        decided(Failed {
            attempts: 2,
            ..failed
        }),
        Verdict::Again(START + ms(20))
    );
    assert_eq!(
        decided(Failed {
            safety: Safety::Idempotent,
            ..failed
        }),
        Verdict::Again(START + ms(10))
    );
    assert_eq!(
        decided(Failed {
            safety: Safety::MayHaveRun,
            ..failed
        }),
        Verdict::Stop(Stop::MayHaveRun)
    );
    assert_eq!(
        decided(Failed {
            safety: Safety::Pointless,
            ..failed
        }),
        Verdict::Stop(Stop::Pointless)
    );
    assert_eq!(
        decided(Failed {
            attempts: 3,
            ..failed
        }),
        Verdict::Stop(Stop::Attempts)
    );
    assert_eq!(
        decided(Failed {
            attempts: 3,
            attempts_most: 4,
            ..failed
        }),
        Verdict::Again(START + ms(40))
    );
    assert_eq!(
        decided(Failed {
            expected: ms(101),
            ..failed
        }),
        Verdict::Stop(Stop::Deadline)
    );
    assert_eq!(
        decided(Failed {
            wait: Some(ms(91)),
            ..failed
        }),
        Verdict::Stop(Stop::Deadline)
    );
    let allowed = (0..200)
        .filter(|_| decided(failed) == Verdict::Again(START))
        .count();
    assert_eq!(allowed, 96, "a hundred are saved at first");
    assert_eq!(decided(failed), Verdict::Stop(Stop::Budget));
}

#[test]
fn who_follows_from_too_far_behind_gets_all_anew_and_comes_to_the_same() {
    let mut registry = Registry::new();
    for number in 0..10 {
        registry
            .apply(Update::Upsert(instance(number)))
            .expect("few");
    }
    let mut behind = View::new("S", Selector::everything());
    assert_eq!(behind.follow(&registry).len(), 10);
    registry.apply(Update::Remove(id(4))).expect("few");
    for round in 0..Registry::CHANGES as u64 + 1 {
        let load = Load {
            permille: (round % 1_000) as u16,
            at: START,
        };
        registry.apply(Update::Load(id(5), load)).expect("few");
    }
    let deltas = behind.follow(&registry);
    assert_eq!(deltas.len(), 2, "{deltas:?}");
    assert_eq!(deltas[0], Delta::Gone(id(4)));
    assert!(behind.follow(&registry).is_empty());
}

#[test]
fn a_full_registry_refuses_newcomers_and_updates_those_it_has() {
    let mut registry = Registry::new();
    for number in 0..Registry::MOST {
        registry
            .apply(Update::Upsert(instance(number)))
            .expect("room");
    }
    let revision = registry.revision();
    assert!(
        registry
            .apply(Update::Upsert(instance(Registry::MOST)))
            .is_err()
    );
    assert_eq!(registry.revision(), revision);
    assert!(registry.apply(Update::Upsert(tagged(7, "a", "b"))).is_ok());
    assert!(registry.apply(Update::Upsert(tagged(7, "a", "b"))).is_ok());
    assert_eq!(
        registry.revision(),
        revision + 1,
        "what says nothing new is no change"
    );
}

/// Which of so many instances has each of a thousand keys, while nothing is under way.
fn owners(balancer: &mut Balancer) -> Vec<InstanceId> {
    let own = |key: u64| {
        let mut call = call(START);
        call.key = Some(key);
        let (id, ticket) = go(balancer, START, &call);
        balancer.done(START, ticket, Outcome::Cancelled, ms(1));
        id
    };
    (0..1_000).map(own).collect()
}

proptest! {
    #[test]
    fn keys_move_only_to_who_comes_and_from_who_goes(
        count in 1..40_usize, weights in prop::collection::vec(1..6_u32, 40), other in 0..40_usize,
    ) {
        let make = |number: usize| Instance { weight: weights[number], ..instance(number) };
        let mut pool = balancer(Params::lan().strategy(How::ConsistentHash), (0..count).map(make));
        let before = owners(&mut pool);
        let newcomer = Instance { weight: 2, ..instance(100) };
        pool.put(START, Arc::new(newcomer));
        let with = owners(&mut pool);
        for (before, after) in before.iter().zip(&with) {
            prop_assert!(before == after || *after == id(100));
        }
        pool.remove(&id(other % count));
        let without = owners(&mut pool);
        for (before, after) in with.iter().zip(&without) {
            prop_assert!(before == after || *before == id(other % count));
        }
        let moved = before.iter().zip(&with).filter(|(before, after)| before != after).count();
        let fair = 2_000.0 / f64::from(weights[..count].iter().sum::<u32>() + 2);
        prop_assert!((moved as f64) < 2.0 * fair + 20.0, "{} moved, {} would be fair", moved, fair);
    }

    #[test]
    fn no_key_makes_an_instance_busier_than_its_bound(count in 1..20_usize, calls in 1..100_usize, keys in 1..5_u64) {
        let mut pool = of(How::ConsistentHash, count);
        let mut with = BTreeMap::<InstanceId, usize>::new();
        for number in 0..calls.min(count * 20) {
            let mut call = call(START);
            call.key = Some(number as u64 % keys);
            let (id, _kept) = go(&mut pool, START, &call);
            let its = with.entry(id).or_default();
            *its += 1;
            prop_assert!(*its as f64 <= (1.25 * (number as f64 + 1.0) / count as f64).ceil());
        }
    }

    #[test]
    fn a_view_is_what_its_selector_selects_whatever_happened(
        steps in prop::collection::vec((0..12_usize, 0..6_u8, 0..3_usize), 1..200), looks in 1..20_usize,
    ) {
        let mut registry = Registry::new();
        let selector: Selector = "zone = z1 or zone = z2".parse().expect("a good selector");
        let mut view = View::new("S", selector.clone());
        let mut followed = BTreeMap::<InstanceId, Arc<Instance>>::new();
        for (at, (number, kind, zone)) in steps.into_iter().enumerate() {
            let zone = format!("z{zone}");
            let update = match kind {
                0 => Update::Remove(id(number)),
                1 => Update::Health(id(number), Health::Unreachable),
                2 => Update::Upsert(Instance { service: "other".into(), ..tagged(number, "zone", &zone) }),
                _ => Update::Upsert(tagged(number, "zone", &zone)),
            };
            registry.apply(update).expect("few");
            if at % looks == 0 {
                for delta in view.follow(&registry) {
                    match delta {
                        Delta::Put(instance) => followed.insert(instance.id.clone(), instance),
                        Delta::Gone(id) => followed.remove(&id),
                    };
                }
                let selected: Vec<_> = registry.select("S", &selector).cloned().collect();
                prop_assert_eq!(&followed.values().cloned().collect::<Vec<_>>(), &selected);
                prop_assert_eq!(&view.chosen().cloned().collect::<Vec<_>>(), &selected);
            }
        }
    }

    #[test]
    fn retries_in_every_stretch_keep_to_the_budget(
        steps in prop::collection::vec((0..400_u64, 0..4_u8), 1..300), permille in 0..500_u32, per_second in 0..20_u32,
    ) {
        let mut params = Params::lan();
        (params.retry_permille, params.retry_per_second) = (permille, per_second);
        let mut budget = Budget::new(START, &params);
        let mut now = START;
        let mut log = Vec::new();
        for (passed, kind) in steps {
            now += ms(passed);
            if kind == 0 {
                budget.first_attempt();
                log.push((now, true));
            } else if budget.take(now) {
                log.push((now, false));
            }
        }
        for from in 0..log.len() {
            let (mut firsts, mut retries) = (0.0, 0.0);
            for (at, is_first) in &log[from..] {
                if *is_first { firsts += 1.0 } else { retries += 1.0 }
                let seconds = at.since(log[from].0).as_secs_f64();
                let given = firsts * f64::from(permille) / 1_000.0 + seconds * f64::from(per_second);
                prop_assert!(retries <= given + f64::from(params.retry_saved) + 0.002);
            }
        }
    }

    #[test]
    fn whatever_happens_the_books_are_right_and_nobody_gets_what_it_may_not(
        how in select(HOWS.to_vec()),
        steps in prop::collection::vec((0..12_u8, 0..6_usize, 0..200_u64), 1..400),
        seed in any::<u64>(),
    ) {
        let mut params = Params::lan().strategy(how);
        (params.limit_first, params.limit_most, params.waiting_most) = (3, 5, 4);
        params.zone = Some(ZonePreference { zone: "eu".into(), spill_permille: 700 });
        let mut pool = Balancer::new(START, params.clone(), seed);
        let mut twin = Balancer::new(START, params, seed);
        let mut now = START;
        let mut open: Vec<(Ticket, Ticket)> = Vec::new();
        let mut known = BTreeMap::<InstanceId, Health>::new();
        let mut waiting = 0_usize;
        for (kind, number, passed) in steps {
            now += ms(passed);
            let mut gone_out = Vec::new();
            match kind {
                0..=4 => {
                    let call = Call { key: Some(number as u64), ..call(now) };
                    match (pool.pick(now, &call), twin.pick(now, &call)) {
                        (Pick::Go(one), Pick::Go(other)) => gone_out.push((one, other)),
                        (Pick::Wait(one), Pick::Wait(other)) => {
                            prop_assert_eq!(one, other);
                            waiting += 1;
                        }
                        (Pick::Refused(one), Pick::Refused(other)) => prop_assert_eq!(one, other),
                        (one, other) => prop_assert!(false, "{:?} and {:?}", one, other),
                    }
                }
                5..=7 if !open.is_empty() => {
                    let (one, other) = open.swap_remove(number % open.len());
                    let outcome = [Outcome::Answered, Outcome::Failed, Outcome::LinkLost, Outcome::Late, Outcome::Overloaded, Outcome::Cancelled][number];
                    pool.done(now, one, outcome, ms(passed));
                    twin.done(now, other, outcome, ms(passed));
                }
                8 | 9 => {
                    let health = [Health::Serving, Health::Serving, Health::NotServing, Health::Unreachable, Health::Failed][passed as usize % 5];
                    let zone = if number % 2 == 0 { "eu" } else { "us" };
                    let one = Arc::new(Instance { health, ..tagged(number, "zone", zone) });
                    known.insert(id(number), health);
                    pool.put(now, one.clone());
                    twin.put(now, one);
                }
                10 => {
                    known.remove(&id(number));
                    pool.remove(&id(number));
                    twin.remove(&id(number));
                }
                _ => {
                    pool.tick(now);
                    twin.tick(now);
                }
            }
            let (resolved, other) = (pool.resolve(now), twin.resolve(now));
            prop_assert_eq!(resolved.len(), other.len());
            for (one, other) in resolved.into_iter().zip(other) {
                waiting -= 1;
                match (one.answer, other.answer) {
                    (Ok(one), Ok(other)) => gone_out.push((one, other)),
                    (one, other) => prop_assert_eq!(one.err(), other.err()),
                }
            }
            for (one, other) in gone_out {
                prop_assert_eq!(&one.instance.id, &other.instance.id, "the same seed, the same choice");
                let health = known.get(&one.instance.id).copied();
                prop_assert!(matches!(health, Some(Health::Serving | Health::Unreachable)), "{:?}", health);
                prop_assert!(health == Some(Health::Serving) || one.is_desperate);
                open.push((one.ticket, other.ticket));
            }
            prop_assert!(waiting <= 4);
            for explained in pool.explain(now) {
                prop_assert!(explained.in_flight <= 5 && explained.limit <= 5 && explained.limit >= 1);
                prop_assert!(!explained.to_string().is_empty());
            }
        }
        for (one, _) in open {
            pool.done(now, one, Outcome::Cancelled, ms(1));
        }
        for explained in pool.explain(now) {
            prop_assert_eq!(explained.in_flight, 0);
        }
    }
}
