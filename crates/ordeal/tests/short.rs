//! A run of some seconds on loopback, as everybody can have it: without root, and without anything but killing and suspending.

use std::path::Path;
use std::process::{Command, Output};

/// Runs it, with data in a directory of its own.
fn ordeal(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_convoke-ordeal"))
        .args(words)
        .args(["--ground", "loopback", "--data"])
        .arg(directory)
        .output()
        .expect("the program is built")
}

fn told(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|text| String::from_utf8_lossy(text).into_owned())
        .concat()
}

/// What is kept of broken promises.
fn kept(directory: &Path) -> Vec<std::path::PathBuf> {
    let found = std::fs::read_dir(directory).expect("the run has made it");
    found.flatten().map(|found| found.path()).collect()
}

#[test]
fn three_processes_that_are_killed_and_suspended_keep_their_promises() {
    let place = tempfile::tempdir().expect("a temporary directory");

    let output = ordeal(
        place.path(),
        &["--fault", "kill,suspend", "--seconds", "12", "--seed", "1"],
    );

    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("verdict: kept"), "{}", told(&output));
    assert!(
        kept(place.path()).is_empty(),
        "a run cleans up after itself"
    );
}

#[test]
fn reads_that_ask_no_majority_are_found_and_what_is_known_is_kept() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let words = ["--fault", "kill", "--seconds", "60", "--seed", "2"];

    let output = ordeal(
        place.path(),
        &[&words[..], &["--planted", "read-without-index", "--json"]].concat(),
    );

    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        told(&output).contains(r#""verdict":"broken""#),
        "{}",
        told(&output)
    );
    let [kept] = &kept(place.path())[..] else {
        panic!("one directory is kept: {}", told(&output));
    };
    let read = |name: &str| std::fs::read_to_string(kept.join(name)).expect("it is kept");
    assert!(read("schedule.txt").starts_with("cargo xtask ordeal --fault kill"));
    assert!(read("history.txt").contains("get: "));
    assert!(read("node0.log").contains("INFO"));
}

#[test]
#[ignore = "long: cargo xtask e2e"]
fn a_disk_that_lies_is_found_by_killing() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let words = ["--fault", "kill", "--seconds", "60", "--seed", "2"];

    let output = ordeal(
        place.path(),
        &[&words[..], &["--planted", "lying-disk"]].concat(),
    );

    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

#[test]
fn what_this_place_does_not_have_is_refused_with_a_reason() {
    let place = tempfile::tempdir().expect("a temporary directory");

    let output = ordeal(place.path(), &["--fault", "partition", "--seconds", "5"]);

    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(
        told(&output).contains("networks of their own"),
        "{}",
        told(&output)
    );
}
