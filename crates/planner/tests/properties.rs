//! What holds in every world: random machines, rules and histories.
//!
//! A failing case is shrunk, and the smallest world that fails is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_planner::roles::config::RoleConfig;
use convoke_planner::roles::fitness::{is_eligible, judge_all, score};
use convoke_planner::roles::record::{Recorded, ReplayError, replay};
use convoke_planner::roles::{
    Authority, Because, Confidence, Decided, Decision, Enrolled, Machine, Measure, Measured, Need,
    Notice, Observed, Planner, Presence, Requirement, RoleChange, Rules, Seen,
};
use convoke_types::{NodeId, Role, RoleSet, Timestamp};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const STEP: Duration = Duration::from_secs(10);

proptest! {
    #![proptest_config(part(1))]

    #[test]
    fn more_of_anything_lowers_no_level_no_score_and_makes_nobody_ineligible(
        machine in machine(), rules in rules(), more in more(), role in select(Role::ALL.to_vec()),
    ) {
        let better = with_more(&machine, &more);
        let levels = judge_all(role, &machine, &rules);
        for (before, after) in levels.iter().zip(judge_all(role, &better, &rules)) {
            prop_assert!(after.level >= before.level);
        }
        prop_assert!(score(role, &better, &rules) >= score(role, &machine, &rules));
        prop_assert!(is_eligible(role, &better, &rules) || !is_eligible(role, &machine, &rules));
    }

    #[test]
    fn more_of_anything_lowers_no_setting_and_all_keep_to_their_bounds(
        machine in machine(), rules in rules(), more in more(), role in select(Role::ALL.to_vec()),
    ) {
        let (before, after) = (RoleConfig::of(role, &machine, &rules), RoleConfig::of(role, &with_more(&machine, &more), &rules));
        for (before, after) in before.settings().into_iter().zip(after.settings()) {
            prop_assert!(after.value >= before.value, "{before} then {after}");
            prop_assert!((before.least..=before.most).contains(&before.value), "{before}");
            prop_assert_eq!((before.least, before.most), (after.least, after.most));
            prop_assert!(!before.why.is_empty());
        }
    }

    #[test]
    fn who_may_get_a_role_may_keep_it(machine in machine(), rules in rules(), role in select(Role::ALL.to_vec())) {
        // A lower bar to stay: raising the bar to stay up to the one to enter takes nobody in.
        let strict = Rules { leave_permille: 1_000, ..rules.clone() };
        for (lenient, strict) in judge_all(role, &machine, &rules).iter().zip(judge_all(role, &machine, &strict)) {
            prop_assert!(lenient.level >= strict.level);
        }
    }

    #[test]
    fn load_decides_nothing(mut history in history(), load in 0..=1_000_u64) {
        let calm = play(&history);
        for world in &mut history.worlds {
            for seen in world.nodes.values_mut() {
                seen.machine.load_permille = Measured::exact(load, "test");
            }
        }
        prop_assert_eq!(calm.decisions, play(&history).decisions);
    }
}

proptest! {
    #![proptest_config(part(1))]

    #[test]
    fn more_of_anything_makes_nobody_step_down(
        mut history in history(), who in any::<Index>(), more in more(),
    ) {
        let decided = &mut history.decided;
        decided.rules.dwell = Duration::ZERO;
        decided.rules.cooldown = Duration::ZERO;
        decided.rules.changes_per_minute = 1_000;
        let node = *who.get(&decided.nodes.keys().copied().collect::<Vec<_>>());
        let steps_down = |observed: &Observed| {
            let decision = Planner::new().step(Timestamp::UNIX_EPOCH, observed, decided);
            let mut changes = decision.changes.into_iter();
            changes.any(|it| it.node == node && matches!(it.because, Because::Unfit { .. }))
        };
        let observed = &history.worlds[0];
        let mut better = observed.clone();
        if let Some(seen) = better.nodes.get_mut(&node) {
            seen.machine = with_more(&seen.machine, &more);
        }
        prop_assert!(steps_down(observed) || !steps_down(&better));
    }

    #[test]
    fn a_still_world_settles(history in history()) {
        let run = Planner::new().dry_run(Timestamp::UNIX_EPOCH, &history.worlds[0], &history.decided);
        prop_assert!(run.is_settled);
    }

    #[test]
    fn a_node_is_changed_once_in_a_dwell_unless_the_cluster_needs_it(history in history()) {
        let mut last: BTreeMap<NodeId, Timestamp> = BTreeMap::new();
        for (now, change) in play(&history).changes() {
            let before = last.insert(change.node, now);
            let is_needed = matches!(change.because, Because::Need(_) | Because::StandIn(_));
            let is_lesser = power(change.to) < power(change.from);
            if let Some(before) = before {
                let is_soon = now.since(before) < history.decided.rules.dwell;
                prop_assert!(!is_soon || is_needed, "{change} after {:?}", now.since(before));
                prop_assert!(!is_soon || !is_lesser, "{change}: need only raises");
            }
        }
    }

    #[test]
    fn the_cap_holds_in_every_minute(history in history()) {
        let cap = history.decided.rules.changes_per_minute as usize;
        let played = play(&history);
        let times: Vec<Timestamp> = played.changes().map(|(now, _)| now).collect();
        for (at, first) in times.iter().enumerate() {
            let minute = times[at..].iter().take_while(|it| it.since(*first) < Duration::from_secs(60));
            prop_assert!(minute.count() <= cap);
        }
        for decision in &played.decisions {
            let nodes: BTreeSet<NodeId> = decision.changes.iter().map(|it| it.node).collect();
            prop_assert_eq!(nodes.len(), decision.changes.len(), "one change per node and pass");
        }
    }

    #[test]
    fn only_who_may_and_is_there_and_free_is_changed_and_never_to_what_it_is(history in history()) {
        let played = play(&history);
        for (at, decision) in played.decisions.iter().enumerate() {
            let world = &history.worlds[at];
            for change in &decision.changes {
                let enrolled = &played.decided[at].nodes[&change.node];
                prop_assert!(world.authority.may_propose());
                prop_assert!(enrolled.allowed.contains(change.to));
                prop_assert!(change.to != change.from && change.from == enrolled.role);
                prop_assert!(enrolled.pin.is_none_or(|pin| pin == change.to));
                prop_assert_eq!(world.nodes[&change.node].presence, Presence::Reachable);
                let is_asked_for = matches!(change.because, Because::NotAllowed | Because::Pinned);
                prop_assert!(is_asked_for || (enrolled.auto && !enrolled.drains));
                prop_assert!(is_asked_for || played.decided[at].rules.auto);
            }
        }
    }

    #[test]
    fn fitness_takes_away_nobody_who_is_needed(history in history()) {
        let played = play(&history);
        let need = history.decided.rules.need;
        for (at, decision) in played.decisions.iter().enumerate() {
            let left: BTreeSet<NodeId> = decision.changes.iter().filter(|it| matches!(it.because, Because::Unfit { .. })).map(|it| it.node).collect();
            for change in decision.changes.iter().filter(|it| left.contains(&it.node)) {
                let least = match change.from {
                    Role::Master => need.masters,
                    Role::Worker => need.workers,
                    Role::Gateway => need.gateways,
                    Role::Leecher | Role::Observer => 0,
                };
                let stay = played.decided[at].nodes.iter().filter(|(node, it)| {
                    let seen = history.worlds[at].nodes.get(*node).map(|it| it.presence);
                    let is_there = !matches!(seen, Some(Presence::Failed | Presence::Left));
                    it.role == change.from && !left.contains(*node) && is_there && !it.drains
                });
                prop_assert!(stay.count() >= least as usize, "{change}");
            }
        }
    }
}

proptest! {
    #![proptest_config(part(4))]

    #[test]
    fn what_was_recorded_replays_to_the_same(history in history()) {
        let recording = record(&history);
        prop_assert_eq!(replay(&recording).expect("it replays"), history.worlds.len());
        // A changed word is noticed, so the comparison compares.
        let line = recording.lines().last().expect("there are steps");
        let mut last: Recorded = serde_json::from_str(line).expect("a step reads back");
        last.decision.notices.push(Notice::Capped { waiting: 7 });
        let steps = recording.lines().count();
        let others: Vec<&str> = recording.lines().take(steps - 1).collect();
        let planted = [others.join("\n"), last.to_line()].join("\n");
        let differs = replay(planted.trim_start());
        let at = match differs { Err(ReplayError::Differs { line, .. }) => line, other => panic!("{other:?}") };
        prop_assert_eq!(at, steps);
    }

    #[test]
    fn the_order_of_nodes_in_the_input_does_not_matter(history in history()) {
        let recording = record(&history);
        let turned: Vec<String> = recording.lines().map(turned).collect();
        prop_assert!(history.decided.nodes.len() == 1 || recording != turned.join("\n"));
        prop_assert_eq!(replay(&turned.join("\n")).expect("it replays"), history.worlds.len());
    }

    #[test]
    fn explanations_say_what_is_done(history in history()) {
        let mut planner = Planner::new();
        let mut decided = history.decided.clone();
        for (now, observed) in history.times() {
            let told: Vec<_> = decided.nodes.keys().map(|node| {
                planner.explain(now, observed, &decided, *node).expect("it has a record")
            }).collect();
            let decision = planner.step(now, observed, &decided);
            for it in told {
                let change = decision.changes.iter().find(|change| change.node == it.node);
                let said = match &it.next {
                    convoke_planner::roles::explain::Next::Change(change) => Some(change),
                    convoke_planner::roles::explain::Next::Hold(_) => None,
                };
                prop_assert_eq!(said, change);
                prop_assert!(!it.to_string().is_empty() && !it.remedy().is_empty());
            }
            grant(&mut decided, now, &decision);
        }
    }

    #[test]
    fn nodes_that_are_gone_are_forgotten(history in history()) {
        let mut planner = Planner::new();
        let mut decided = history.decided.clone();
        for (now, observed) in history.times() {
            planner.step(now, observed, &decided);
            prop_assert_eq!(planner.remembers(), decided.nodes.len());
            let _ = decided.nodes.pop_first();
        }
    }
}

#[test]
fn three_equal_candidates_yield_one_promotion_and_it_is_always_the_lowest_id() {
    let good = plain_machine();
    let seen = |presence| Seen {
        presence,
        machine: good.clone(),
        refused: None,
    };
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1]] {
        let workers = order.map(|number| (id(number), Enrolled::new(Role::Worker, RoleSet::ALL)));
        let master = (id(9), Enrolled::new(Role::Master, RoleSet::ALL));
        let decided = Decided {
            rules: Rules::default(),
            nodes: workers.into_iter().chain([master]).collect(),
        };
        let alive = order.map(|number| (id(number), seen(Presence::Reachable)));
        let lost = (id(9), seen(Presence::Failed));
        let observed = Observed {
            authority: Authority::Leads,
            nodes: alive.into_iter().chain([lost]).collect(),
        };
        let decision = Planner::new().step(Timestamp::UNIX_EPOCH, &observed, &decided);
        let changed: Vec<(NodeId, Role)> =
            decision.changes.iter().map(|it| (it.node, it.to)).collect();
        assert_eq!(changed, [(id(1), Role::Master)]);
    }
}

/// A part of the usual number of cases (256, or `PROPTEST_CASES`): histories take longer than machines, and text longer than both.
fn part(of: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases / of,
        failure_persistence: None,
        ..usual
    }
}

/// A world over time, without what is granted in it.
#[derive(Clone, Debug)]
struct History {
    decided: Decided,
    worlds: Vec<Observed>,
    /// Seconds between two of them.
    steps: Vec<u64>,
}

impl History {
    fn times(&self) -> impl Iterator<Item = (Timestamp, &Observed)> {
        let mut now = Timestamp::UNIX_EPOCH;
        self.worlds
            .iter()
            .zip(&self.steps)
            .map(move |(world, seconds)| {
                now = now + STEP + Duration::from_secs(*seconds);
                (now, world)
            })
    }
}

struct Played {
    times: Vec<Timestamp>,
    /// As it was when the decision of the same place was made.
    decided: Vec<Decided>,
    decisions: Vec<Decision>,
}

impl Played {
    fn changes(&self) -> impl Iterator<Item = (Timestamp, &RoleChange)> {
        let steps = self.times.iter().zip(&self.decisions);
        steps.flat_map(|(now, decision)| decision.changes.iter().map(|change| (*now, change)))
    }
}

fn play(history: &History) -> Played {
    let mut planner = Planner::new();
    let mut decided = history.decided.clone();
    let mut played = Played {
        times: Vec::new(),
        decided: Vec::new(),
        decisions: Vec::new(),
    };
    for (now, observed) in history.times() {
        let decision = planner.step(now, observed, &decided);
        played.times.push(now);
        played.decided.push(decided.clone());
        grant(&mut decided, now, &decision);
        played.decisions.push(decision);
    }
    played
}

fn record(history: &History) -> String {
    let mut planner = Planner::new();
    let mut decided = history.decided.clone();
    let mut lines = Vec::new();
    for (now, observed) in history.times() {
        let step = planner.step_recorded(now, observed.clone(), decided.clone());
        grant(&mut decided, now, &step.decision);
        lines.push(step.to_line());
    }
    lines.join("\n")
}

/// A step with its nodes written in the opposite order.
fn turned(line: &str) -> String {
    let mut step: serde_json::Value = serde_json::from_str(line).expect("a step is JSON");
    let mut nodes = Vec::new();
    for kind in ["observed", "decided"] {
        let map = step[kind]["nodes"].as_object().expect("nodes are a map");
        let pairs = map
            .iter()
            .rev()
            .map(|(node, it)| format!("\"{node}\":{it}"));
        nodes.push(format!("{{{}}}", pairs.collect::<Vec<_>>().join(",")));
        // Text fills this hole, since a map in memory has an order of its own.
        step[kind]["nodes"] = format!("<{kind}>").into();
    }
    let line = step.to_string();
    let line = line.replace("\"<observed>\"", &nodes[0]);
    line.replace("\"<decided>\"", &nodes[1])
}

fn grant(decided: &mut Decided, now: Timestamp, decision: &Decision) {
    for change in &decision.changes {
        if let Some(enrolled) = decided.nodes.get_mut(&change.node) {
            enrolled.role = change.to;
            enrolled.changed_at = Some(now);
        }
    }
}

/// How much a role is trusted with.
fn power(role: Role) -> u8 {
    match role {
        Role::Master => 2,
        Role::Worker | Role::Gateway => 1,
        Role::Leecher | Role::Observer => 0,
    }
}

fn id(number: u8) -> NodeId {
    NodeId::from_public_key([number; 32])
}

fn plain_machine() -> Machine {
    Machine {
        cpu_milli: Measured::exact(8_000, "test"),
        memory_bytes: Measured::exact(16_000_000_000, "test"),
        disk_bytes: Measured::exact(200_000_000_000, "test"),
        bandwidth_bits: Measured::exact(1_000_000_000, "test"),
        stability_permille: Measured::exact(990, "test"),
        is_writable: Measured::exact(true, "test"),
        fsync_p99_us: Measured::exact(2_000, "test"),
        is_addressable: Measured::exact(true, "test"),
        load_permille: Measured::exact(100, "test"),
    }
}

/// What is added to a machine, and what its disk is faster by.
#[derive(Clone, Debug)]
struct More {
    amounts: [u64; 5],
    faster_us: u64,
    flags: [bool; 2],
}

fn more() -> impl Strategy<Value = More> {
    let some = prop_oneof![Just(0), 1..10_000_u64, any::<u64>()];
    let amounts = proptest::array::uniform5(some);
    (amounts, 0..100_000_u64, any::<[bool; 2]>()).prop_map(|(amounts, faster_us, flags)| More {
        amounts,
        faster_us,
        flags,
    })
}

fn with_more(machine: &Machine, more: &More) -> Machine {
    let [cpu, memory, disk, bandwidth, stability] = more.amounts;
    let amount = |measured: &Measured<u64>, add: u64| Measured {
        reading: match &measured.reading {
            convoke_planner::roles::Reading::Value(value) => {
                convoke_planner::roles::Reading::Value(value.saturating_add(add))
            }
            unknown @ convoke_planner::roles::Reading::Unknown(_) => unknown.clone(),
        },
        ..measured.clone()
    };
    let flag = |measured: &Measured<bool>, also: bool| Measured {
        reading: match &measured.reading {
            convoke_planner::roles::Reading::Value(value) => {
                convoke_planner::roles::Reading::Value(*value || also)
            }
            unknown @ convoke_planner::roles::Reading::Unknown(_) => unknown.clone(),
        },
        ..measured.clone()
    };
    let fsync = machine.fsync_p99_us.value();
    Machine {
        cpu_milli: amount(&machine.cpu_milli, cpu),
        memory_bytes: amount(&machine.memory_bytes, memory),
        disk_bytes: amount(&machine.disk_bytes, disk),
        bandwidth_bits: amount(&machine.bandwidth_bits, bandwidth),
        stability_permille: amount(&machine.stability_permille, stability),
        is_writable: flag(&machine.is_writable, more.flags[0]),
        fsync_p99_us: fsync.map_or_else(
            || machine.fsync_p99_us.clone(),
            |value| Measured::exact(value.saturating_sub(more.faster_us), "test"),
        ),
        is_addressable: flag(&machine.is_addressable, more.flags[1]),
        load_permille: machine.load_permille.clone(),
    }
}

fn measured(values: impl Strategy<Value = u64>) -> impl Strategy<Value = Measured<u64>> {
    prop_oneof![
        8 => values.prop_map(|value| Some((value, Confidence::Exact))),
        1 => any::<u64>().prop_map(|value| Some((value, Confidence::Estimated))),
        1 => Just(None),
    ]
    .prop_map(|value| match value {
        Some((value, confidence)) => Measured::with(value, "test", confidence),
        None => Measured::unknown("nobody looked", "test"),
    })
}

fn flag() -> impl Strategy<Value = Measured<bool>> {
    prop_oneof![8 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)].prop_map(|value| {
        value.map_or_else(
            || Measured::unknown("nobody tried", "test"),
            |value| Measured::exact(value, "test"),
        )
    })
}

fn machine() -> impl Strategy<Value = Machine> {
    let gb = |most: u64| (0..most).prop_map(|value| value * 1_000_000_000);
    let bandwidth = (
        measured((0..100_u64).prop_map(|it| it * 1_000_000)),
        any::<bool>(),
    );
    let bandwidth = bandwidth.prop_map(|(measured, is_bound)| Measured {
        confidence: if is_bound {
            Confidence::UpperBound
        } else {
            measured.confidence
        },
        ..measured
    });
    (
        measured((0..10_u64).prop_map(|it| it * 1_000)),
        measured(gb(16)),
        measured(gb(100)),
        bandwidth,
        measured(700..=1_000_u64),
        flag(),
        measured(0..100_000_u64),
        flag(),
    )
        .prop_map(
            |(cpu, memory, disk, bandwidth, stability, writable, fsync, address)| Machine {
                cpu_milli: cpu,
                memory_bytes: memory,
                disk_bytes: disk,
                bandwidth_bits: bandwidth,
                stability_permille: stability,
                is_writable: writable,
                fsync_p99_us: fsync,
                is_addressable: address,
                load_permille: Measured::exact(100, "test"),
            },
        )
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let amounts = (0..8_u64, 0..12_u64, 0..80_u64, 0..80_u64, 0..=1_000_u64);
    (amounts, any::<[bool; 3]>()).prop_map(|((cpu, memory, disk, net, stability), flags)| {
        Requirement {
            cpu_milli: cpu * 1_000,
            memory_bytes: memory * 1_000_000_000,
            disk_bytes: disk * 1_000_000_000,
            bandwidth_bits: net * 1_000_000,
            stability_permille: stability,
            storage: flags[0],
            coordination: flags[1],
            address: flags[2],
        }
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let need = (0..3_u32, select(vec![1_u32, 3, 5]), 0..4_u32, 0..3_u32);
    let times = (0..120_u64, 0..300_u64, 1..60_u64, 0..60_u64);
    let passes = proptest::collection::btree_set(select(Measure::ALL.to_vec()), 0..4);
    let asked = (requirement(), requirement(), requirement(), any::<bool>());
    (
        need,
        times,
        1..6_u32,
        500..=1_000_u64,
        any::<bool>(),
        passes,
        asked,
    )
        .prop_map(
            |(need, times, cap, leave_permille, prefer_upgrade, passes, asked)| {
                let (masters, voters, workers, gateways) = need;
                let (dwell, cooldown, check, stand_in) = times;
                let mut rules = Rules {
                    prefer_upgrade,
                    check_every: Duration::from_secs(check),
                    dwell: Duration::from_secs(dwell),
                    cooldown: Duration::from_secs(cooldown),
                    changes_per_minute: cap,
                    leave_permille,
                    stand_in_after: Duration::from_secs(stand_in),
                    unknown_passes: passes,
                    need: Need {
                        masters,
                        voters,
                        workers,
                        gateways,
                    },
                    ..Rules::default()
                };
                let (master, worker, gateway, is_default) = asked;
                if !is_default {
                    rules.requirements.master = master;
                    rules.requirements.worker = worker;
                    rules.requirements.gateway = gateway;
                }
                rules
            },
        )
}

fn enrolled() -> impl Strategy<Value = Enrolled> {
    let all = Just(RoleSet::ALL);
    let some = any::<u8>().prop_map(RoleSet::from_bits);
    let allowed = prop_oneof![4 => all, 1 => some];
    let pin = prop_oneof![8 => Just(None), 1 => select(Role::ALL.to_vec()).prop_map(Some)];
    let rare = || prop::bool::weighted(0.1);
    (select(Role::ALL.to_vec()), allowed, pin, rare(), rare()).prop_map(
        |(role, allowed, pin, by_hand, drains)| Enrolled {
            pin,
            auto: !by_hand,
            drains,
            ..Enrolled::new(role, allowed)
        },
    )
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        12 => Just(Presence::Reachable),
        1 => Just(Presence::Unreachable),
        1 => Just(Presence::Failed),
        1 => Just(Presence::Left),
    ]
}

fn seen() -> impl Strategy<Value = Seen> {
    (machine(), presence()).prop_map(|(machine, presence)| Seen {
        presence,
        machine,
        refused: None,
    })
}

/// Each node has two machines and two presences between which it goes.
fn history() -> impl Strategy<Value = History> {
    let node = (enrolled(), seen(), seen());
    let nodes = proptest::collection::vec(node, 1..9);
    let turns = proptest::collection::vec((any::<u16>(), 0..30_u64, 0..10_u8), 12..40);
    (rules(), nodes, turns).prop_map(|(rules, nodes, turns)| {
        let numbers = 1..=u8::MAX;
        let ids: Vec<NodeId> = numbers.take(nodes.len()).map(id).collect();
        let decided = ids
            .iter()
            .zip(&nodes)
            .map(|(id, (enrolled, ..))| (*id, *enrolled));
        let world = |(which, _, authority): &(u16, u64, u8)| Observed {
            authority: if *authority == 0 {
                Authority::NoMajority
            } else {
                Authority::Leads
            },
            nodes: ids
                .iter()
                .zip(&nodes)
                .enumerate()
                .map(|(at, (id, (_, one, other)))| {
                    let is_other = which >> at & 3 == 3;
                    (*id, if is_other { other.clone() } else { one.clone() })
                })
                .collect(),
        };
        let mut worlds: Vec<Observed> = turns.iter().map(world).collect();
        worlds[0].authority = Authority::Leads;
        History {
            decided: Decided {
                rules,
                nodes: decided.collect(),
            },
            worlds,
            steps: turns.iter().map(|(_, seconds, _)| *seconds).collect(),
        }
    })
}
