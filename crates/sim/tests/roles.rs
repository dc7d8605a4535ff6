//! Roles from measured capacity, in the virtual world.
//!
//! `cargo xtask sim --story roles --seeds 1 --first-seed N` tells one of these stories again; `--lines N` shows what happened last.

use convoke_sim::roles::{Mistake, Told, tell};

/// Stories that every test run tells: every script, and chaos six times.
const SEEDS: u64 = 20;

fn tell_all(seeds: impl Iterator<Item = u64> + Clone + Send) -> Vec<Told> {
    std::thread::scope(|scope| {
        let parts = [0, 1].map(|first| {
            let seeds = seeds.clone();
            scope.spawn(move || {
                let seeds = seeds.filter(|seed| seed % 2 == first);
                seeds.map(|seed| tell(seed, None, 0)).collect::<Vec<_>>()
            })
        });
        let told = parts.map(|part| part.join().expect("no story ends in a panic"));
        told.concat()
    })
}

fn judge(all: &[Told]) {
    for told in all {
        let again = format!(
            "cargo xtask sim --story roles --seeds 1 --first-seed {} --lines 1000",
            told.seed
        );
        assert!(
            told.broken.is_empty(),
            "{told}: {:#?}\nagain: {again}",
            told.broken
        );
    }
}

#[test]
fn stories_of_roles_hold() {
    let all = tell_all(0..SEEDS);
    judge(&all);
    let sum = |count: fn(&Told) -> u64| all.iter().map(count).sum::<u64>();
    // Otherwise nothing was put to the proof.
    assert!(sum(|told| told.planned) > 2 * SEEDS);
    assert!(sum(|told| told.promotions) > SEEDS / 2);
    assert!(sum(|told| told.leaders) > 2 * SEEDS);
    assert!(sum(|told| told.crashes) > SEEDS);
    assert!(sum(|told| told.undone) > 0 && sum(|told| told.by_people) > 0);
}

#[test]
fn a_story_of_roles_is_the_same_twice() {
    for seed in [5, 12, 13, 17] {
        assert_eq!(tell(seed, None, 0), tell(seed, None, 0));
    }
}

/// What a fault planted into the planner or into decided state has to break: one of each script, and those that others are found by.
#[test]
fn one_story_of_each_script_holds() {
    judge(&tell_all((0..15).chain([17, 165, 213])));
}

#[test]
fn every_planted_mistake_is_found() {
    for (mistake, name, _) in Mistake::ALL {
        let seed = match mistake {
            Mistake::Forwards => 25,
            Mistake::PlansBehind => 165,
            Mistake::PlansAlone => 1_078,
            Mistake::PlansFrozen => 19,
            Mistake::ClockLeaps => 58,
            Mistake::NoUndoing => 11,
        };
        let told = tell(seed, Some(mistake), 0);
        assert!(!told.broken.is_empty(), "nobody noticed {name}: {told}");
    }
}
