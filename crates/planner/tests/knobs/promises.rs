//! What holds for any signals, any policy and any law.

use std::time::Duration;

use convoke_planner::knobs::explain::Next;
use convoke_planner::knobs::law::{Look, Wish};
use convoke_planner::knobs::record::{Recorded, ReplayError, replay};
use convoke_planner::knobs::{
    Hold, Knob, Knobs, LOOK_EVERY, Move, Policy, Range, Signal, Signals, Spec, TABLE, Why,
};
use convoke_types::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_knob_is_ever_outside_its_bounds_under_any_law(history in history(), law in laws()) {
        let knobs = Knobs::with_table(TABLE.map(|spec| Spec { law, ..spec }));
        play(knobs, &history, |knobs, step, moves| {
            for it in moves {
                let spec = &TABLE[it.knob.index()];
                let Range { least, most } = step.policy.range(spec);
                assert!(spec.least <= least && least <= most && most <= spec.most);
                assert!((least..=most).contains(&it.to), "{it}");
                assert_ne!(it.from, it.to, "{it}");
            }
            if !step.policy.dry_run {
                for knob in Knob::ALL {
                    let Range { least, most } = step.policy.range(&TABLE[knob.index()]);
                    assert!((least..=most).contains(&knobs.value(knob)));
                }
            }
        });
    }

    #[test]
    fn a_knob_is_moved_once_in_its_settle_time_but_for_people(history in history(), law in laws()) {
        let knobs = Knobs::with_table(TABLE.map(|spec| Spec { law, ..spec }));
        let mut last = [None::<Timestamp>; Knob::COUNT];
        play(knobs, &history, |_, step, moves| {
            for it in moves.iter().filter(|it| !it.is_dry) {
                let settle = TABLE[it.knob.index()].settle;
                let before = last[it.knob.index()].replace(step.now);
                let is_asked_for = matches!(it.why, Why::Fixed | Why::OutOfRange | Why::HomeMoved);
                let is_soon = before.is_some_and(|before| step.now.since(before) < settle);
                assert!(is_asked_for || !is_soon, "{it}");
            }
        });
    }

    #[test]
    fn what_is_unknown_moves_nothing(mut history in history(), knob in select(Knob::ALL.to_vec())) {
        for step in &mut history {
            step.policy = Policy::default();
            for signal in TABLE[knob.index()].signals() {
                step.signals.set(signal, None);
            }
        }
        play(Knobs::new(), &history, |_, _, moves| assert!(moves.iter().all(|it| it.knob != knob)));
    }

    #[test]
    fn only_what_is_known_now_is_a_reason(history in history()) {
        play(Knobs::new(), &history, |_, step, moves| for it in moves {
            match it.why {
                Why::Eases { signal, .. } | Why::Grows { signal, .. } => {
                    assert!(step.signals.get(signal).is_some(), "{it}");
                }
                Why::GoesHome { .. } => {
                    let mut loads = TABLE[it.knob.index()].loads.iter();
                    assert!(loads.all(|band| step.signals.get(band.signal).is_some()), "{it}");
                }
                Why::Returned { .. } | Why::Fixed | Why::OutOfRange | Why::HomeMoved => {}
            }
        });
    }

    #[test]
    fn a_knob_goes_along_with_its_home_and_only_from_there(history in history()) {
        let mut homes = TABLE.map(|spec| (spec.default, false));
        play(Knobs::new(), &history, |knobs, step, moves| {
            for knob in Knob::ALL {
                let spec = &TABLE[knob.index()];
                let asked = step.policy.homes.get(&knob).copied().unwrap_or(spec.default);
                let home = asked.clamp(spec.least, spec.most);
                let went = moves.iter().find(|it| it.knob == knob);
                let (before, was_there) = std::mem::replace(&mut homes[knob.index()], (home, false));
                let is_free = step.policy == Policy { homes: step.policy.homes.clone(), ..Policy::default() };
                if is_free && was_there && home != before {
                    assert_eq!(went.map(|it| (it.to, &it.why)), Some((home, &Why::HomeMoved)));
                }
                if let Some(it) = went.filter(|it| it.why == Why::HomeMoved) {
                    let Range { least, most } = step.policy.range(spec);
                    assert_eq!(it.to, home.clamp(least, most), "{it}");
                    assert!(!step.policy.is_frozen(knob) && !step.policy.fixed.contains_key(&knob), "{it}");
                }
                homes[knob.index()].1 = knobs.value(knob) == home;
            }
        });
    }

    #[test]
    fn what_is_frozen_stays_and_what_is_fixed_stands_there(history in history()) {
        play(Knobs::new(), &history, |knobs, step, moves| {
            for it in moves.iter().filter(|it| step.policy.is_frozen(it.knob)) {
                assert!(matches!(it.why, Why::Fixed | Why::OutOfRange), "{it}");
            }
            for (knob, fixed) in step.policy.fixed.iter().filter(|_| !step.policy.dry_run) {
                let Range { least, most } = step.policy.range(&TABLE[knob.index()]);
                assert_eq!(knobs.value(*knob), (*fixed).clamp(least, most));
            }
        });
    }

    #[test]
    fn a_dry_run_changes_nothing_and_says_what_would_be_done(history in history()) {
        let mut knobs = Knobs::new();
        for step in &history {
            let (now, signals) = (step.now, &step.signals);
            let policy = Policy { dry_run: false, ..step.policy.clone() };
            let dry_policy = Policy { dry_run: true, ..policy.clone() };
            let values = |knobs: &Knobs| Knob::ALL.map(|knob| knobs.value(knob));
            let mut dry = knobs.clone();
            let said = dry.step(now, signals, &dry_policy);
            assert_eq!(values(&dry), values(&knobs));
            assert!(said.iter().all(|it| it.is_dry));
            assert!(dry.step(now, signals, &dry_policy).is_empty(), "once in a settle time");
            // What is done is said. More may be said, since moves that are only said make no other knob wait.
            for it in knobs.step(now, signals, &policy) {
                assert!(said.contains(&Move { is_dry: true, ..it.clone() }), "{it}");
            }
        }
    }

    #[test]
    fn explanations_say_what_is_done(history in history()) {
        let mut knobs = Knobs::new();
        for step in &history {
            let told = knobs.explain(step.now, &step.signals, &step.policy);
            let moves = knobs.step(step.now, &step.signals, &step.policy);
            assert_eq!(told.iter().map(|it| it.knob).collect::<Vec<_>>(), Knob::ALL);
            for it in told {
                let done = moves.iter().find(|done| done.knob == it.knob);
                match &it.next {
                    Next::Move { to, why } => assert_eq!(done.map(|it| (it.to, &it.why)), Some((*to, why))),
                    Next::Hold(hold) => assert!(done.is_none() && !hold.remedy().is_empty()),
                }
                assert!(it.to_string().lines().count() >= 3);
            }
            assert!(knobs.next_wakeup() > step.now && knobs.next_wakeup().since(step.now) <= LOOK_EVERY);
        }
    }

    #[test]
    fn what_was_recorded_replays_to_the_same(history in history()) {
        let mut knobs = Knobs::new();
        let steps = history.iter().map(|step| {
            knobs.step_recorded(step.now, step.signals.clone(), step.policy.clone())
        });
        let mut steps: Vec<Recorded> = steps.collect();
        let text = |steps: &[Recorded]| steps.iter().map(Recorded::to_line).collect::<Vec<_>>().join("\n");
        assert_eq!(replay(Knobs::new(), &text(&steps)).expect("it replays"), steps.len());
        // A move that was not made is noticed, so the comparison compares.
        let last = steps.last_mut().expect("there are steps");
        let (at, knob, why) = (last.now, Knob::GossipPace, Why::Fixed);
        last.moves.push(Move { at, knob, from: 1, to: 2, why, is_dry: false });
        let differs = replay(Knobs::new(), &text(&steps));
        assert!(matches!(differs, Err(ReplayError::Differs { line, .. }) if line == steps.len()));
    }
}

#[test]
fn any_law_is_tried_and_moves_something() {
    // Else the properties above would hold of knobs that never move.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut moved = [0; Knob::COUNT];
    let mut returned = 0;
    for _ in 0..100 {
        let history = history()
            .new_tree(&mut runner)
            .expect("a history")
            .current();
        play(Knobs::new(), &history, |_, _, moves| {
            for it in moves {
                let is_by_law = !matches!(it.why, Why::Fixed | Why::OutOfRange | Why::HomeMoved);
                moved[it.knob.index()] += usize::from(is_by_law && !it.is_dry);
                returned += usize::from(matches!(it.why, Why::Returned { .. }));
            }
        });
    }
    assert!(moved.iter().all(|moves| *moves > 20), "{moved:?}");
    assert!(returned > 5, "{returned}");
}

#[test]
fn the_table_is_as_its_rows_say() {
    for (knob, spec) in Knob::ALL.into_iter().zip(&TABLE) {
        assert_eq!((spec.knob, knob.index()), (knob, knob as usize));
        assert!(1 <= spec.least && spec.least <= spec.default && spec.default <= spec.most);
        assert!(!spec.loads.is_empty() && spec.loads.iter().all(|band| band.low < band.high));
        assert!(LOOK_EVERY * 5 <= spec.settle && spec.settle <= Duration::from_secs(60));
        assert!((50..1_000).contains(&spec.margin_permille));
        assert!(
            spec.says.len() < 200 && !spec.says.contains(". "),
            "one sentence"
        );
        assert_ne!(spec.eased(spec.default), spec.default);
        assert_ne!(
            spec.stepped(spec.eased(spec.default)),
            spec.eased(spec.default)
        );
        assert_eq!(Knob::named(knob.name()), Some(knob));
    }
    for signal in Signal::ALL {
        assert_eq!(Signal::named(signal.name()), Some(signal));
        let json = serde_json::to_string(&signal).expect("a name");
        assert_eq!(json, format!("{:?}", signal.name()));
        let is_used = TABLE
            .iter()
            .any(|spec| spec.signals().any(|it| it == signal));
        assert!(is_used, "{signal} is measured for nothing");
    }
}

/// What is told in a step.
#[derive(Clone, Debug)]
struct Told {
    now: Timestamp,
    signals: Signals,
    policy: Policy,
}

fn play(mut knobs: Knobs, history: &[Told], mut check: impl FnMut(&Knobs, &Told, &[Move])) {
    for step in history {
        let moves = knobs.step(step.now, &step.signals, &step.policy);
        check(&knobs, step, &moves);
    }
}

/// Signals that stay as they are for a while, since otherwise hardly anything would follow from them.
fn history() -> impl Strategy<Value = Vec<Told>> {
    let stretch = (1..40_usize, 0..6_000_u64, signals(), policy());
    prop::collection::vec(stretch, 1..12).prop_map(|stretches| {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut told = Vec::new();
        for (steps, gap, signals, policy) in stretches {
            for _ in 0..steps {
                now = now + Duration::from_millis(gap);
                let (signals, policy) = (signals.clone(), policy.clone());
                told.push(Told {
                    now,
                    signals,
                    policy,
                });
            }
        }
        told
    })
}

fn signals() -> impl Strategy<Value = Signals> {
    let value = prop_oneof![
        1 => Just(None),
        4 => (0..300_u64).prop_map(Some),
        4 => (300..2_000_u64).prop_map(Some),
        1 => (10_000..200_000_u64).prop_map(Some),
        1 => any::<u64>().prop_map(Some),
    ];
    prop::collection::vec(value, Signal::ALL.len()).prop_map(|values| {
        let mut signals = Signals::unknown();
        for (signal, value) in Signal::ALL.into_iter().zip(values) {
            signals.set(signal, value);
        }
        signals
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let knob = || select(Knob::ALL.to_vec());
    let some = (
        prop::bool::weighted(0.2),
        prop::collection::btree_set(knob(), 0..3),
        prop::collection::btree_map(knob(), any::<u32>().prop_map(u64::from), 0..2),
        prop::collection::btree_map(knob(), (0..5_000_u64, 0..5_000_u64), 0..2),
        prop::bool::weighted(0.2),
        prop::collection::btree_map(knob(), 0..5_000_u64, 0..3),
    );
    let some = some.prop_map(
        |(frozen, frozen_knobs, fixed, ranges, dry_run, homes)| Policy {
            frozen,
            frozen_knobs,
            fixed,
            ranges: ranges
                .into_iter()
                .map(|(knob, (least, most))| (knob, Range { least, most }))
                .collect(),
            dry_run,
            homes,
        },
    );
    prop_oneof![3 => Just(Policy::default()), 1 => some]
}

/// Laws of all sorts: the one of the table, and some that are wrong.
fn laws() -> impl Strategy<Value = fn(&Spec, &Look) -> Result<Wish, Hold>> {
    fn jumps(_: &Spec, look: &Look) -> Result<Wish, Hold> {
        let seed = look.value ^ look.levels.values().map(|it| it.average).sum::<u64>();
        Ok(wish(convoke_trial::mix(seed, 1)))
    }
    fn grows(spec: &Spec, look: &Look) -> Result<Wish, Hold> {
        let level = look.level(spec.loads[0].signal);
        let level = level.ok_or(Hold::NothingWanted)?;
        Ok(wish(look.value.saturating_add(level.average)))
    }
    fn wish(to: u64) -> Wish {
        let why = Why::GoesHome { default: 0 };
        Wish { to, why }
    }
    let table = TABLE[0].law;
    select(vec![table, jumps, grows])
}

fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases / 2,
        failure_persistence: None,
        ..usual
    }
}
