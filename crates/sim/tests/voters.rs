//! Voters that follow from node records, in the virtual world.
//!
//! `cargo xtask sim --story voters --seeds 1 --first-seed N` tells one of these stories again.

use convoke_sim::consensus::{Told, tell_voters};

/// Stories that every test run tells: all scripts, some of them several times.
const SEEDS: u64 = 30;

fn tell_all() -> Vec<Told> {
    std::thread::scope(|scope| {
        let parts = [0, 1].map(|first| {
            scope.spawn(move || {
                let seeds = (0..SEEDS).filter(|seed| seed % 2 == first);
                seeds.map(|seed| tell_voters(seed, 0)).collect::<Vec<_>>()
            })
        });
        let told = parts.map(|part| part.join().expect("no story ends in a panic"));
        told.concat()
    })
}

#[test]
fn stories_of_voters_hold() {
    let all = tell_all();
    for told in &all {
        assert!(told.broken.is_empty(), "{told}: {:?}", told.broken);
    }
    let changes: u64 = all.iter().map(|told| told.votes_changed).sum();
    assert!(changes > SEEDS, "{changes} changes of voters");
}

#[test]
fn a_story_of_voters_is_the_same_twice() {
    for seed in [4, 7] {
        assert_eq!(tell_voters(seed, 0), tell_voters(seed, 0));
    }
}

/// The change of voters had reached nobody but two who left with it when the leader lost its log: only they could be elected.
#[test]
fn a_change_that_reached_only_those_who_leave_is_finished_by_them() {
    let told = tell_voters(3_938, 0);
    assert!(told.broken.is_empty(), "{told}: {:?}", told.broken);
}

/// What a planted fault has to break.
#[test]
fn one_story_of_each_script_holds() {
    for seed in [0, 2, 3, 4, 5, 7] {
        let told = tell_voters(seed, 0);
        assert!(told.broken.is_empty(), "{told}: {:?}", told.broken);
    }
}
