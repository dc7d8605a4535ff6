//! What is promised of membership, held against stories that seeds draw: a few of them, since `cargo xtask sim` tells thousands.

use std::panic::{set_hook, take_hook};

use convoke_sim::member::tale::{MISTAKES, Tale, found, search};

/// Larger worlds take too long without optimisation.
const HOSTS: u32 = 10;

/// Runs a finding may take to be shortened.
const SHORTENING: usize = 50;

/// A change of the machine may hide a mistake from one story, but not from so many.
const STORIES_FOR_A_MISTAKE: u64 = 40;

fn small(seeds: std::ops::Range<u64>) -> impl Iterator<Item = Tale> {
    seeds.map(Tale::of).filter(|tale| tale.plan.hosts <= HOSTS)
}

fn hold(tale: Tale) {
    if let Err(finding) = search(tale, SHORTENING) {
        panic!(
            "{finding}\nagain: cargo xtask sim --story seeds --seeds 1 --first-seed {}",
            finding.tale.seed
        );
    }
}

#[test]
fn stories_of_seeds_keep_every_promise() {
    small(1..30).for_each(hold);
}

#[test]
fn stories_that_once_broke_a_promise_keep_it() {
    found().map(Tale::of).for_each(hold);
}

#[test]
fn a_story_told_twice_ends_with_the_same_trace() {
    for tale in small(100..112) {
        assert_eq!(tale.tell(), tale.tell(), "{tale}");
    }
}

#[test]
fn every_mistake_made_on_purpose_is_found_by_its_story() {
    // A panic may be what the mistake leads to.
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let missed: Vec<&str> = MISTAKES
        .iter()
        .filter(|mistake| {
            let stories = (mistake.seed..mistake.seed + STORIES_FOR_A_MISTAKE).map(Tale::of);
            let planted = stories.map(|tale| Tale {
                planted: Some(**mistake),
                ..tale
            });
            planted.map(|tale| tale.tell()).all(|told| told.is_ok())
        })
        .map(|mistake| mistake.name)
        .collect();
    set_hook(hook);
    assert!(missed.is_empty(), "not found: {missed:?}");
}
