//! How knobs behave on made-up machines: calm, then an hour of something, then calm again, each machine drawn from a seed.
//!
//! `CONVOKE_SEED=N cargo test -p convoke-planner --test knobs` replays one.

use std::time::Duration;

use convoke_planner::knobs::law::{Look, Wish};
use convoke_planner::knobs::{Direction, Hold, Knob, Knobs, Move, Spec, TABLE, Why};
use convoke_trial::{Random, mix};

use super::plants::{Plant, Run};

const SEEDS: u64 = 12;
const CALM: Duration = Duration::from_secs(20 * 60);
const PHASE: Duration = Duration::from_secs(60 * 60);

/// What happens to a knob's machine, and how soon the knob is where it stays.
struct Trial {
    knob: Knob,
    /// Brings trouble; a number says how much, from 0 to 999.
    step: fn(&mut Plant, u64),
    /// Settle times that it takes at most until the last move, with and after the trouble.
    within: [u128; 2],
}

const TRIALS: &[Trial] = &[
    Trial {
        knob: Knob::GossipPace,
        step: |plant, more| plant.gossip_bytes = 70_000 + more * 80,
        within: [6, 28],
    },
    Trial {
        knob: Knob::GossipPace,
        step: |plant, more| {
            plant.cpu_per_gossip = 400;
            plant.others_cpu = 250 + more / 20;
        },
        within: [6, 10],
    },
    Trial {
        knob: Knob::SnapshotStreams,
        step: |plant, more| plant.clients = 10 + more / 20,
        within: [8, 6],
    },
    Trial {
        knob: Knob::SnapshotStreams,
        step: |plant, more| {
            plant.clients = 20;
            plant.delay_per_stream = 65 + more / 20;
        },
        within: [8, 6],
    },
    Trial {
        knob: Knob::ExecutorSlots,
        step: |plant, more| plant.tasks = 20 + more / 10,
        within: [14, 6],
    },
    Trial {
        knob: Knob::ExecutorSlots,
        step: |plant, more| {
            plant.tasks = 20;
            plant.cpu_per_task = 120;
            plant.others_cpu = 250 + more / 10;
        },
        within: [8, 8],
    },
    Trial {
        knob: Knob::CacheBytes,
        step: |plant, more| plant.read_mb = 1_000 + more,
        within: [30, 6],
    },
    Trial {
        knob: Knob::CacheBytes,
        step: |plant, more| {
            plant.read_mb = 1_000;
            plant.others_mb = 7_000 + more / 20;
        },
        within: [6, 6],
    },
    Trial {
        knob: Knob::FetchStreams,
        step: |plant, more| plant.blocks = 40 + more,
        within: [18, 6],
    },
    Trial {
        knob: Knob::FetchStreams,
        step: |plant, more| {
            plant.blocks = 100;
            plant.fetch_ms_per_stream = 100 + more / 10;
        },
        within: [8, 8],
    },
];

#[test]
fn a_knob_settles_after_a_step_and_after_its_end_and_stays_then() {
    let mut slowest = vec![[0; 2]; TRIALS.len()];
    each_seed("settles", |seed| {
        for (number, trial) in TRIALS.iter().enumerate() {
            let spec = &TABLE[trial.knob.index()];
            let mut random = Random::from_seed(mix(seed, number as u64));
            let mut run = Run::new(a_plant(&mut random), Knobs::new(), seed);
            run.go(CALM);
            let calm = run.plant.clone();
            for (phase, most) in trial.within.into_iter().enumerate() {
                run.plant = calm.clone();
                if phase == 0 {
                    (trial.step)(&mut run.plant, random.below(1_000));
                }
                let began = run.now;
                let moves = of(trial.knob, &run.go(PHASE));
                let took = |it: &Move| {
                    let ms = it.at.since(began).as_millis();
                    ms.div_ceil(spec.settle.as_millis())
                };
                let what = format!(
                    "seed {seed}, trial {number}, phase {phase}\n{}",
                    told(&moves)
                );
                let (soon, late): (Vec<Move>, Vec<Move>) =
                    moves.iter().cloned().partition(|it| took(it) <= most);
                // What stands on the edge of a band is moved off it once, by noise, and not back.
                assert!(late.len() <= 1, "it has not settled: {what}");
                let last = &moves[soon.len().saturating_sub(1)..];
                assert_eq!(turns(last), 0, "it has settled, and goes back: {what}");
                // A burst that falls into a settle time costs a return, and a try after that.
                assert!(turns(&soon) <= 3, "{what}");
                let took = soon.last().map_or(0, took);
                slowest[number][phase] = slowest[number][phase].max(took);
            }
        }
    });
    for (trial, [with, after]) in TRIALS.iter().zip(slowest) {
        say(&format!(
            "{}: the slowest took {with} settle times with the trouble, and {after} after it",
            trial.knob
        ));
    }
}

#[test]
fn what_a_step_asks_for_is_reached() {
    each_seed("reached", |seed| {
        for (number, trial) in TRIALS.iter().enumerate() {
            let spec = &TABLE[trial.knob.index()];
            let mut random = Random::from_seed(mix(seed, number as u64));
            let mut run = Run::new(a_plant(&mut random), Knobs::new(), seed);
            run.plant.noise = 0;
            run.go(CALM);
            (trial.step)(&mut run.plant, random.below(1_000));
            run.go(PHASE);
            let (_, last) = run.seen.last().expect("it ran");
            let load = |band: &convoke_planner::knobs::Band| last.get(band.signal).expect("known");
            let is_fine = spec.loads.iter().all(|band| load(band) <= band.high);
            let has_room = spec.loads.iter().all(|band| load(band) < band.low);
            let wants = spec
                .want
                .is_some_and(|want| last.get(want.signal) >= Some(want.least));
            let value = run.knobs.value(trial.knob);
            let what = format!("seed {seed}, trial {number}: at {value} with {last:?}");
            assert!(is_fine || value == spec.eased(value), "{what}");
            assert!(
                !(has_room && wants) || value == spec.stepped(value),
                "{what}"
            );
        }
    });
}

#[test]
fn all_knobs_on_one_machine_settle_together() {
    each_seed("together", |seed| {
        let mut random = Random::from_seed(seed);
        let mut run = Run::new(a_plant(&mut random), Knobs::new(), seed);
        run.go(CALM);
        let plant = &mut run.plant;
        plant.tasks = 30;
        plant.cpu_per_task = 40;
        plant.clients = 30;
        plant.read_mb = 1_200;
        plant.blocks = 60;
        plant.others_cpu = 300 + random.below(400);
        plant.gossip_bytes = 50_000 + random.below(50_000);
        run.go(PHASE);
        let late = run.go(PHASE);
        assert!(
            late.len() <= 2,
            "seed {seed}: settled, and then\n{}",
            told(&late)
        );
        for knob in Knob::ALL {
            let moves = of(knob, &run.moves);
            assert!(turns(&moves) <= 4, "seed {seed}\n{}", told(&moves));
        }
    });
}

#[test]
fn a_band_that_no_value_hits_is_left_alone_longer_and_longer() {
    // One task leaves room, two are too many.
    let mut plant = Plant {
        others_cpu: 0,
        cpu_per_gossip: 0,
        cpu_per_task: 390,
        tasks: 20,
        ..Plant::default()
    };
    let mut run = Run::new(plant.clone(), Knobs::new(), 0);
    run.go(PHASE);
    let moves = of(Knob::ExecutorSlots, &run.go(PHASE * 12));
    let returned = moves.iter().filter(|it| is_returned(it)).count();
    // Each try is followed by 32 settle times of 30 s in which there is none.
    assert!((1..=46).contains(&returned), "{returned} in half a day");
    assert_eq!(
        moves.len(),
        2 * returned,
        "a try and its return, and nothing else\n{}",
        told(&moves)
    );
    // And what it learnt does not keep it from what becomes possible.
    plant.cpu_per_task = 100;
    run.plant = plant;
    run.go(PHASE);
    assert!(run.knobs.value(Knob::ExecutorSlots) > 1);
}

#[test]
fn a_law_with_its_sign_flipped_is_returned_and_left_alone() {
    wrong_law_is_returned(false, |spec| spec.law = flipped);
}

#[test]
fn a_knob_whose_sense_is_stated_the_wrong_way_round_is_returned_as_well() {
    // With a load that stands. One that still rises hides it, and a signal at its end does for good.
    wrong_law_is_returned(true, |spec| {
        spec.ease = spec.ease.opposite();
        spec.ease_permille = match spec.ease {
            Direction::Down => 750,
            Direction::Up => 1_500,
        };
    });
}

/// Under trouble, a knob that is turned the wrong way stands where it stood for nine tenths of the time.
fn wrong_law_is_returned(is_steady: bool, plant_it: fn(&mut Spec)) {
    each_seed("returned", |seed| {
        for knob in Knob::ALL {
            let mut table = TABLE;
            plant_it(&mut table[knob.index()]);
            // The others stand still, so that what is felt is this one.
            let mut random = Random::from_seed(mix(seed, knob as u64));
            let mut run = Run::new(a_plant(&mut random), Knobs::with_table(table), seed);
            run.policy.frozen_knobs = Knob::ALL.into_iter().filter(|it| *it != knob).collect();
            run.plant.noise /= 2;
            press(&mut run.plant, knob);
            if is_steady {
                run.policy.frozen = true;
                run.go(Duration::from_secs(60));
                run.policy.frozen = false;
            }
            run.go(PHASE);
            let start = run.knobs.value(knob);
            let moves = run.go(PHASE * 2);
            let what = || format!("seed {seed}, {knob}\n{}", told(&run.moves));
            assert!(run.moves.iter().any(is_returned), "{}", what());
            let away: Duration = moves
                .windows(2)
                .filter(|two| two[0].to != start)
                .map(|two| two[1].at.since(two[0].at))
                .sum();
            assert!(away < PHASE * 2 / 10, "away for {away:?}, {}", what());
        }
    });
}

/// Too much of what this knob can do something about.
fn press(plant: &mut Plant, knob: Knob) {
    match knob {
        Knob::GossipPace => plant.gossip_bytes = 90_000,
        Knob::SnapshotStreams => {
            plant.clients = 60;
            plant.delay_per_stream = 80;
        }
        Knob::ExecutorSlots => {
            plant.tasks = 200;
            plant.others_cpu = 0;
            plant.cpu_per_task = 180;
        }
        Knob::CacheBytes => {
            plant.read_mb = 4_000;
            plant.others_mb = 7_300;
        }
        Knob::FetchStreams => {
            plant.blocks = 1_000;
            plant.fetch_ms_per_stream = 120;
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a law has this shape")]
fn mirrored(value: u64, wish: Wish) -> Result<Wish, Hold> {
    let to = (2 * value).saturating_sub(wish.to);
    Ok(Wish { to, ..wish })
}

fn flipped(spec: &Spec, look: &Look) -> Result<Wish, Hold> {
    mirrored(look.value, convoke_planner::knobs::law::aimd(spec, look)?)
}

fn a_plant(random: &mut Random) -> Plant {
    Plant {
        others_cpu: 50 + random.below(150),
        gossip_bytes: 5_000 + random.below(20_000),
        fetch_ms: 30 + random.below(60),
        lag: random.between(Duration::from_millis(500), Duration::from_secs(4)),
        noise: random.below(60),
        ..Plant::default()
    }
}

fn of(knob: Knob, moves: &[Move]) -> Vec<Move> {
    moves.iter().filter(|it| it.knob == knob).cloned().collect()
}

/// How often a row of moves changes its direction.
fn turns(moves: &[Move]) -> usize {
    let ways = moves.iter().map(|it| Direction::between(it.from, it.to));
    let ways: Vec<Direction> = ways.collect();
    ways.windows(2).filter(|two| two[0] != two[1]).count()
}

fn is_returned(it: &Move) -> bool {
    matches!(it.why, Why::Returned { .. })
}

fn told(moves: &[Move]) -> String {
    let lines = moves
        .iter()
        .map(|it| format!("  {:>6} s  {it}", it.at.unix_ms() / 1_000));
    lines.collect::<Vec<_>>().join("\n")
}

#[expect(
    clippy::print_stdout,
    reason = "the test runner shows it with the failure"
)]
fn say(text: &str) {
    println!("{text}");
}

pub(crate) fn each_seed(test: &str, mut body: impl FnMut(u64)) {
    #[expect(clippy::disallowed_methods, reason = "whoever replays a seed names it")]
    let given = std::env::var("CONVOKE_SEED").ok();
    let given = given.map(|seed| seed.parse::<u64>().expect("CONVOKE_SEED is a number"));
    for seed in given.map_or(0..SEEDS, |seed| seed..seed + 1) {
        say(&format!(
            "seed {seed}; replay: CONVOKE_SEED={seed} cargo test -p convoke-planner --test knobs {test}"
        ));
        body(seed);
    }
}
