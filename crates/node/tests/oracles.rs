//! What probes say of this machine, compared with what its own tools say.
#![expect(
    clippy::print_stdout,
    reason = "what is left out, and what a look costs, is for whoever runs the test"
)]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use convoke_node::probe::{Answer, Machine, Now, Overrides, Probes, Root};
use tempfile::TempDir;

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: 0,
    }
}

/// What a tool of this machine prints; nothing where it is missing, which is told, and a failure in CI.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env_remove("OMP_NUM_THREADS")
        .env_remove("OMP_THREAD_LIMIT")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(_) | Err(_) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "CI says by this variable that everything has to run, as for xtask"
            )]
            let must = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!must, "CI runs everything, and {program} is missing");
            println!("not compared with {program}, which is missing");
            None
        }
    }
}

fn this_machine(data: &Path) -> Machine {
    Probes::new(Root::machine(), data, Overrides::default()).look(now())
}

fn number(text: &str) -> u64 {
    let text = text.trim();
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[test]
fn processors_are_as_many_as_lscpu_and_nproc_say() {
    let machine = this_machine(Path::new("/"));
    let online = *machine.cores_online.value().expect("Linux lists them");
    let allowed = *machine.cores_allowed.value().expect("Linux says so");
    if let Some(text) = said_by("lscpu", &["--parse=cpu"]) {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(online, lines.count() as u64);
    }
    if let Some(text) = said_by("nproc", &[]) {
        let cores = *machine.cores.value().expect("both are known");
        // Newer ones keep to the quota of the group as well, in whole cores.
        let quota = cores.div_ceil(1_000);
        let nproc = number(&text);
        assert!(
            nproc == online.min(allowed) || nproc == quota,
            "{nproc} {online} {allowed} {cores}"
        );
    }
}

#[test]
fn memory_is_what_free_says() {
    let machine = this_machine(Path::new("/"));
    let Some(text) = said_by("free", &["-b"]) else {
        return;
    };
    let line = text.lines().find(|line| line.starts_with("Mem:"));
    let numbers: Vec<u64> = line
        .expect("it has a line")
        .split_whitespace()
        .skip(1)
        .map(number)
        .collect();
    assert_eq!(machine.memory_host.value(), Some(&numbers[0]));
    let available = *machine.memory_available.value().expect("Linux says so");
    // It changes from one moment to the next, and a group may leave less.
    assert!(available <= numbers[0], "{available} {numbers:?}");
}

#[test]
fn room_is_what_df_says() {
    let place = TempDir::new().expect("a directory");
    let machine = this_machine(place.path());
    let path = place.path().display().to_string();
    let Some(text) = said_by("df", &["-B1", "--output=size,avail", &path]) else {
        return;
    };
    let line = text.lines().nth(1).expect("it has a line");
    let numbers: Vec<u64> = line.split_whitespace().map(number).collect();
    let (total, free) = (machine.disk_total.value(), machine.disk_free.value());
    assert_eq!(total, Some(&numbers[0]));
    // Others write meanwhile.
    let free = *free.expect("it was asked for");
    assert!(
        free.abs_diff(numbers[1]) <= numbers[0] / 20,
        "{free} {numbers:?}"
    );
}

#[test]
fn the_kernel_is_what_uname_says_and_looking_costs_little() {
    let mut probes = Probes::new(Root::machine(), Path::new("/"), Overrides::default());
    let machine = probes.look(now());
    if let Some(text) = said_by("uname", &["-sr"]) {
        let kernel = machine.kernel.value().expect("Linux says so");
        assert!(kernel.starts_with(text.trim()), "{kernel} {text}");
    }
    let opened = probes.root().opened();
    println!("{opened} files were opened on this machine");
    assert!(opened <= 1_500, "{opened}");
}

#[test]
fn a_directory_that_is_not_there_yet_is_looked_for_above() {
    let place = TempDir::new().expect("a directory");
    let machine = this_machine(&place.path().join("not/yet"));
    let Answer::Known(free) = machine.disk_free else {
        panic!("{:?}", machine.disk_free);
    };
    let above = place.path().canonicalize().expect("it is there");
    assert!(
        free.source.ends_with(&above.display().to_string()),
        "{}",
        free.source
    );
}
