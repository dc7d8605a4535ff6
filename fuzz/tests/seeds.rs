//! Every committed seed passes, and so do the first inputs of a fixed seed: seconds, for every `cargo test`.
//!
//! A bug that the fuzzer found stays found: its input goes to `seeds/<target>/` under a name that says what it did.
#![expect(clippy::print_stdout, reason = "which input was tried last")]

use std::fs;
use std::path::Path;

use convoke_fuzz::{Inputs, TARGETS, Target};

#[test]
fn codec_keeps_its_promises() {
    replay("codec");
}

#[test]
fn frames_keep_their_promises() {
    replay("frames");
}

#[test]
fn links_keep_their_promises() {
    replay("link");
}

#[test]
fn handshakes_keep_their_promises() {
    replay("handshake");
}

#[test]
fn gossip_keeps_its_promises() {
    replay("gossip");
}

#[test]
fn membership_keeps_its_promises() {
    replay("membership");
}

#[test]
fn decided_state_keeps_its_promises() {
    replay("decided");
}

#[test]
fn the_log_keeps_its_promises() {
    replay("log");
}

#[test]
fn probes_keep_their_promises() {
    replay("probe");
}

#[test]
fn problems_keep_their_promises() {
    replay("problem");
}

#[test]
fn ids_keep_their_promises() {
    replay("ids");
}

#[test]
fn selectors_keep_their_promises() {
    replay("selector");
}

#[test]
fn versioned_messages_keep_their_promises() {
    replay("versioned");
}

#[test]
fn certificates_keep_their_promises() {
    replay("certificate");
}

#[test]
fn key_texts_keep_their_promises() {
    replay("key_pem");
}

#[test]
fn enrolment_keeps_its_promises() {
    replay("enrol");
}

#[test]
fn definitions_keep_their_promises() {
    replay("definition");
}

#[test]
fn every_folder_of_seeds_has_a_target_and_a_test() {
    let this_file = include_str!("seeds.rs");
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")).expect("there are seeds")
    {
        let name = entry
            .expect("it can be listed")
            .file_name()
            .into_string()
            .expect("plain names");
        assert!(Target::named(&name).is_some(), "seeds/{name} has no target");
    }
    for target in TARGETS {
        assert!(
            this_file.contains(&format!("replay(\"{}\")", target.name)),
            "{} has no test",
            target.name
        );
    }
}

fn replay(name: &str) {
    let target = Target::named(name).expect("it is in the table");
    let files = target.seed_files().expect("its seeds can be listed");
    assert!(!files.is_empty(), "{name} has no seeds");
    for file in files {
        // Seen when the test fails, and then the last line is the one.
        println!("{}", file.display());
        target.try_input(&fs::read(&file).expect("a seed can be read"));
    }
    let inputs = Inputs::of(target).expect("its seeds can be read");
    for run in 0..300 {
        println!("{name}, seed 1, run {run}");
        target.try_input(&inputs.make(1, run));
    }
}
