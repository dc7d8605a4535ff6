//! The log in the virtual world: promises hold, mistakes are found, and a seed tells one story.
//!
//! `cargo xtask sim --story log --seeds 1 --first-seed N` tells one of them again.

use std::process::Command;

use convoke_sim::consensus::{Mistake, Told, tell};

/// Stories that every test run tells.
const SEEDS: u64 = 100;
/// Set in the child of a test, which then prints hashes.
const CHILD: &str = "child_prints_hashes";

/// Tells stories on two threads, each with worlds of its own.
fn tell_all(seeds: std::ops::Range<u64>) -> Vec<Told> {
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    std::thread::scope(|scope| {
        let parts = [seeds.start..middle, middle..seeds.end];
        let parts = parts.map(|part| {
            scope.spawn(move || part.map(|seed| tell(seed, None, 0)).collect::<Vec<_>>())
        });
        let told = parts.map(|part| part.join().expect("no story ends in a panic"));
        told.concat()
    })
}

#[test]
fn a_hundred_stories_hold_and_are_the_same_twice() {
    let first = tell_all(0..SEEDS);
    for told in &first {
        assert!(told.broken.is_empty(), "{told}: {:?}", told.broken);
    }
    let differ: Vec<u64> = first
        .iter()
        .zip(tell_all(0..SEEDS))
        .filter(|(first, second)| *first != second)
        .map(|(first, _)| first.seed)
        .collect();
    assert!(
        differ.is_empty(),
        "told otherwise the second time: {differ:?}"
    );
    let all = |count: fn(&Told) -> u64| first.iter().map(count).sum::<u64>();
    assert!(all(|told| told.crashes) > SEEDS);
    assert!(all(|told| told.doubts) > 0 && all(|told| told.rots) > 0);
    assert!(all(|told| told.outages) > SEEDS);
    assert!(all(|told| told.restores) > 0 && all(|told| told.found_old) > 0);
    assert!(all(|told| told.handovers) > 0 && all(|told| told.votes_changed) > 0);
    assert!(all(|told| told.acknowledged) > 100 * SEEDS && all(|told| told.reads) > 100 * SEEDS);
}

/// What a fault planted into the sources has to break: enough stories to be sure, few enough to be told for each fault.
#[test]
fn twenty_stories_hold() {
    for seed in 0..20 {
        let told = tell(seed, None, 0);
        assert!(told.broken.is_empty(), "{told}: {:?}", told.broken);
    }
}

#[test]
fn two_processes_tell_the_same() {
    let hashes = || {
        let program = std::env::current_exe().expect("a test is a program");
        let child = Command::new(program)
            .args(["--ignored", "--exact", "--nocapture", CHILD])
            .output()
            .expect("it can be started again");
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        let lines = text.lines().filter(|line| line.contains("story "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = hashes();
    assert_eq!(first.len(), 4, "{first:?}");
    assert_eq!(first, hashes());
}

#[test]
#[ignore = "what two_processes_tell_the_same starts"]
#[expect(clippy::print_stdout, reason = "its parent reads it")]
fn child_prints_hashes() {
    for seed in [3, 14, 15, 92] {
        println!("\nstory {seed} {:016x}", tell(seed, None, 0).hash);
    }
}

#[test]
fn every_planted_mistake_is_found() {
    for (mistake, name, _) in Mistake::ALL {
        // 102 finds what is found most rarely, a disk that lies.
        let found = std::iter::once(102).chain(0..80).any(|seed| {
            let told = std::panic::catch_unwind(|| tell(seed, Some(mistake), 0));
            told.is_err() || told.is_ok_and(|told| !told.broken.is_empty())
        });
        assert!(found, "nobody noticed {name}");
    }
}
