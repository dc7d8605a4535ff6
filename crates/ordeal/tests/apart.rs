//! Runs with networks and disks of their own, which need root. Long ones, for `cargo xtask e2e`.
#![expect(
    clippy::print_stdout,
    reason = "what is skipped is for whoever runs the test"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is left behind is looked at, so one runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs it; nothing where the machine does not have what it takes.
fn ordeal(directory: &Path, words: &[&str]) -> Option<Output> {
    let output = Command::new(env!("CARGO_BIN_EXE_convoke-ordeal"))
        .args(words)
        .arg("--data")
        .arg(directory)
        .output()
        .expect("the program is built");
    if output.status.code() == Some(2) {
        println!("skipped: {}", told(&output));
        return None;
    }
    Some(output)
}

fn told(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|text| String::from_utf8_lossy(text).into_owned())
        .concat()
}

/// Names in the place where namespaces have theirs.
fn namespaces() -> Vec<String> {
    let found = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    let names = found.filter_map(|found| found.file_name().into_string().ok());
    names.filter(|name| name.starts_with("ordeal-")).collect()
}

#[test]
#[ignore = "long: cargo xtask e2e"]
fn processes_to_which_everything_is_done_keep_their_promises_and_leave_nothing_behind() {
    let _alone = alone();
    let place = tempfile::tempdir().expect("a temporary directory");
    let words = ["--fault", "mixed", "--seconds", "60", "--seed", "1"];
    let Some(output) = ordeal(place.path(), &words) else {
        return;
    };
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let left = std::fs::read_dir(place.path()).expect("it was made");
    assert_eq!(left.count(), 0);
    let mounts = std::fs::read_to_string("/proc/mounts").expect("there are mounts");
    let data = place.path().to_str().expect("a plain name");
    assert!(!mounts.contains(data), "{mounts}");
}

#[test]
#[ignore = "long: cargo xtask e2e"]
fn a_partition_finds_reads_that_ask_no_majority() {
    let _alone = alone();
    let place = tempfile::tempdir().expect("a temporary directory");
    let words = ["--fault", "partition", "--seconds", "60", "--seed", "2"];
    let planted = ["--planted", "read-without-index"];
    let Some(output) = ordeal(place.path(), &[&words[..], &planted].concat()) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        told(&output).contains("was acknowledged before"),
        "{}",
        told(&output)
    );
    assert_eq!(namespaces(), Vec::<String>::new());
}
