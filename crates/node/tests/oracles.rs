//! What probes say of this machine, compared with what its own tools say: a difference fails, or has its reason here.
//!
//! | probes | compared with | may differ, because |
//! | --- | --- | --- |
//! | `cores_online` | `lscpu`, psutil | |
//! | `cores`, `cores_allowed` | `nproc`, `taskset`, psutil | a group leaves less, and newer versions of `nproc` keep to that in whole cores; the status of a process also names processors that are not there |
//! | `memory_host` | `free`, psutil | |
//! | `memory_available` | `free`, psutil | others use memory meanwhile ([`SLACK`]); a group leaves less |
//! | `disk_total`, `disk_free`, `disk_kind` | `df`, psutil | others write meanwhile ([`SLACK`]) |
//! | `kernel` | `uname` | older kernels do not say for which processors they are |
//! | `uptime` | `/proc/uptime`, `uptime`, psutil | they count in whole seconds ([`SECONDS`]) |
//!
//! What moves is looked at twice, and what a tool says lies between both looks. A tool that every Debian has may be missing elsewhere, which is told, but
//! not in CI. psutil may be missing anywhere.
#![expect(
    clippy::print_stdout,
    reason = "what is left out, and what a look costs, is for whoever runs the test"
)]

mod again;

use std::fmt::Debug;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use convoke_node::probe::{Answer, DiskKind, Machine, Now, Overrides, Probes, Root};
use serde_json::Value as Json;
use tempfile::TempDir;

use self::again::Again;

/// What others may take or give back while a tool starts: one part in so many of the whole.
const SLACK: u64 = 100;
/// What moves further than that in one try does not in all of so many.
const TRIES: usize = 20;
/// How far the start of a machine may be off where it is told in whole seconds: each side rounds.
const SECONDS: u64 = 2;
/// Looks whose cost is averaged.
const LOOKS: u64 = 200;

// ---- Processors --------------------------------------------------------------------------------------------------------------

#[test]
fn processors_are_those_that_lscpu_lists() {
    let Some(text) = said_by("lscpu", &["--parse=cpu"]) else {
        return;
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let machine = this_machine(Path::new("/"));
    assert_eq!(machine.cores_online.value(), Some(&(lines.count() as u64)));
}

#[test]
fn what_a_process_may_use_is_what_taskset_says_and_what_it_can_count_on_is_no_more() {
    let Some(text) = said_by("taskset", &["-cp", &own_id()]) else {
        return;
    };
    let usable = processors_of(&text).len() as u64;
    let machine = this_machine(Path::new("/"));
    let allowed = *value(&machine.cores_allowed);
    assert!(allowed >= usable, "{allowed} {usable}");
    let online = *value(&machine.cores_online);
    assert!(
        allowed == usable || allowed > online,
        "only processors that are not there are allowed and cannot be used: {allowed} of {online}, and {usable}"
    );
    let cores = counted_on(&machine, usable);
    println!("this process can count on {cores} thousandths of a core");
}

#[test]
fn nproc_says_the_same_in_whole_cores() {
    let Some(text) = said_by("nproc", &[]) else {
        return;
    };
    let nproc = number(&text);
    let machine = this_machine(Path::new("/"));
    let usable = (*value(&machine.cores_allowed)).min(*value(&machine.cores_online));
    let cores = counted_on(&machine, usable);
    // It rounds what a group gets, to one at least, or does not know of groups.
    let is_quota = cores < usable * 1_000 && cores.abs_diff(nproc * 1_000) < 1_000;
    assert!(nproc == usable || is_quota, "{nproc} {usable} {cores}");
}

#[test]
fn a_process_with_less_affinity_counts_on_less() {
    let Some(text) = said_by("taskset", &["-cp", &own_id()]) else {
        return;
    };
    let last = processors_of(&text).pop().expect("there is one");
    let mut again = Again::started(&["taskset", "-c", &last.to_string()]);
    let found = again.look();
    let told = said_by("taskset", &["-cp", &again.id().to_string()]);
    assert_eq!(
        processors_of(&told.expect("it was there just now")),
        [last],
        "taskset did what it was asked to"
    );
    assert_eq!(found["cores_allowed"]["value"], 1);
    let cores = found["cores"]["value"].as_f64().expect("it is known");
    assert!(cores > 0.0 && cores <= 1.0, "{cores}");
}

/// Thousandths of a core, which are what affinity leaves, or less by a group that is named.
fn counted_on(machine: &Machine, usable: u64) -> u64 {
    let Answer::Known(cores) = &machine.cores else {
        panic!("{:?}", machine.cores);
    };
    assert!(cores.value <= usable * 1_000, "{cores:?} {usable}");
    if cores.value < usable * 1_000 {
        let source = &cores.source;
        assert!(
            source.ends_with("/cpu.max") || source.ends_with("/cpu.cfs_quota_us"),
            "nothing but a group makes it less: {cores:?} {usable}"
        );
        assert_eq!(machine.cpu_quota.value(), Some(&Some(cores.value)));
    }
    cores.value
}

/// `pid 7's current affinity list: 0-1,4`
fn processors_of(text: &str) -> Vec<u64> {
    let (_, list) = text.rsplit_once(": ").expect("it has a list");
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        number(first)..=number(last)
    });
    ranges.flatten().collect()
}

fn own_id() -> String {
    std::process::id().to_string()
}

// ---- Memory and disk ---------------------------------------------------------------------------------------------------------

#[test]
fn memory_is_what_free_says() {
    in_one_of_some_tries(|| {
        let before = this_machine(Path::new("/"));
        let Some(text) = said_by("free", &["-b"]) else {
            return Ok(());
        };
        let after = this_machine(Path::new("/"));
        let line = text.lines().find(|line| line.starts_with("Mem:"));
        let words = line.expect("it has such a line").split_whitespace();
        let numbers: Vec<u64> = words.skip(1).map(number).collect();
        let [total, .., available] = numbers[..] else {
            panic!("{text}");
        };
        memory_is([&before, &after], total, available)
    });
}

/// Compares what never changes at once, and says how far off the rest is.
fn memory_is(looks: [&Machine; 2], total: u64, available: u64) -> Result<(), String> {
    let [before, after] = looks;
    assert_eq!(before.memory_host.value(), Some(&total));
    let Answer::Known(whole) = &before.memory else {
        panic!("{:?}", before.memory);
    };
    assert!(
        whole.value == total || whole.source.contains("/memory."),
        "nothing but a group makes it less: {whole:?} {total}"
    );
    assert!(whole.value <= total, "{whole:?} {total}");
    let found = [before, after].map(|machine| match &machine.memory_available {
        Answer::Known(known) => known,
        Answer::Unknown { why } => panic!("{why}"),
    });
    // What is left to a group is less than what is left on the host, of which tools tell.
    let is_of_group = found.iter().any(|known| known.source != "/proc/meminfo");
    let most = found.iter().map(|known| known.value).max();
    match most.expect("there are two") {
        most if is_of_group && most <= available + total / SLACK => Ok(()),
        most if is_of_group => Err(format!("a group has {most} left, and all {available}")),
        _ => lies_between(found.map(|known| known.value), available, total),
    }
}

#[test]
fn room_is_what_df_says() {
    let place = TempDir::new().expect("a directory");
    let path = place.path().display().to_string();
    in_one_of_some_tries(|| {
        let before = this_machine(place.path());
        let Some(text) = said_by("df", &["-B1", "--output=size,avail", &path]) else {
            return Ok(());
        };
        let after = this_machine(place.path());
        let line = text.lines().nth(1).expect("it has a line");
        let numbers: Vec<u64> = line.split_whitespace().map(number).collect();
        let [total, free] = numbers[..] else {
            panic!("{text}");
        };
        room_is([&before, &after], total, free)
    });
}

fn room_is(looks: [&Machine; 2], total: u64, free: u64) -> Result<(), String> {
    let [before, after] = looks;
    assert_eq!(before.disk_total.value(), Some(&total));
    let found = [*value(&before.disk_free), *value(&after.disk_free)];
    lies_between(found, free, total)
}

#[test]
fn what_lies_in_memory_by_df_is_no_disk() {
    for place in ["/dev/shm", "/run", "/tmp"] {
        let place = Path::new(place);
        if !place.is_dir() {
            continue;
        }
        let path = place.display().to_string();
        let Some(text) = said_by("df", &["--output=fstype", &path]) else {
            return;
        };
        let kind = this_machine(place).disk_kind;
        let is_memory = kind.value() == Some(&DiskKind::Memory);
        let named = text.lines().nth(1).expect("it has a line").trim();
        let names_memory = ["tmpfs", "ramfs", "rootfs"].contains(&named);
        assert_eq!(is_memory, names_memory, "{path}: {named} and {kind:?}");
    }
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

// ---- The system --------------------------------------------------------------------------------------------------------------

#[test]
fn the_kernel_is_what_uname_says() {
    let Some(text) = said_by("uname", &["-srm"]) else {
        return;
    };
    let kernel = value(&this_machine(Path::new("/")).kernel).clone();
    if Path::new("/proc/sys/kernel/arch").is_file() {
        assert_eq!(kernel, text.trim());
        return;
    }
    // This program knows for which processors it was built, which may be called in another way.
    let (release, _) = text.trim().rsplit_once(' ').expect("there are three words");
    assert!(kernel.starts_with(release), "{kernel} {text}");
}

#[test]
fn the_machine_was_started_when_uptime_says() {
    let read = || {
        let text = std::fs::read_to_string("/proc/uptime").expect("every Linux has it");
        let (seconds, rest) = text.split_once('.').expect("it has a point");
        let (hundredths, _) = rest.split_once(' ').expect("there are two numbers");
        number(seconds) * 1_000 + number(hundredths) * 10
    };
    let (before, found, after) = (read(), *value(&this_machine(Path::new("/")).uptime), read());
    assert!(
        (before..=after).contains(&found),
        "{before} {found} {after}"
    );

    let Some(since) = said_by("uptime", &["-s"]) else {
        return;
    };
    let Some(since) = said_by("date", &["-u", "-d", since.trim(), "+%s"]) else {
        return;
    };
    was_started(number(&since));
}

/// Compares with a time of the world, in whole seconds.
fn was_started(since: u64) {
    let uptime = *value(&this_machine(Path::new("/")).uptime) / 1_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let started = now.expect("it is later than 1970").as_secs() - uptime;
    assert!(started.abs_diff(since) <= SECONDS, "{started} {since}");
}

#[test]
fn a_program_in_python_finds_the_same() {
    let script = "import json, psutil, sys\n\
                  memory, disk = psutil.virtual_memory(), psutil.disk_usage(sys.argv[1])\n\
                  print(json.dumps({'cores': psutil.cpu_count(), 'affinity': len(psutil.Process().cpu_affinity()),\n\
                  'total': memory.total, 'available': memory.available,\n\
                  'size': disk.total, 'free': disk.free, 'boot': int(psutil.boot_time())}))";
    // Debian has neither by default.
    if printed_by("python3", &["-c", "import psutil"]).is_err() {
        println!("not compared with psutil, which is missing");
        return;
    }
    let place = TempDir::new().expect("a directory");
    let path = place.path().display().to_string();
    in_one_of_some_tries(|| {
        let before = this_machine(place.path());
        let text = printed_by("python3", &["-c", script, &path]).expect("psutil is there");
        let after = this_machine(place.path());
        let told: Json = serde_json::from_str(&text).expect("it is an object");
        let of = |name: &str| told[name].as_u64().expect("it is a number");
        assert_eq!(before.cores_online.value(), Some(&of("cores")));
        counted_on(&before, of("affinity"));
        was_started(of("boot"));
        memory_is([&before, &after], of("total"), of("available"))?;
        room_is([&before, &after], of("size"), of("free"))
    });
}

#[test]
fn a_look_at_this_machine_opens_few_files_and_its_cost_is_told() {
    let mut probes = Probes::new(Root::machine(), Path::new("/"), Overrides::default());
    probes.look(now());
    let opened = probes.root().opened();
    println!("{opened} files were opened on this machine");
    assert!(opened <= 1_500, "{opened}");

    // A figure is no promise of a test: it depends on the machine, and on how this was built.
    let before = time_of_this_thread();
    for _ in 0..LOOKS {
        probes.look(now());
    }
    match (before, time_of_this_thread()) {
        (Some(before), Some(after)) => println!(
            "a look takes {} µs of a processor",
            (after - before) / 1_000 / LOOKS
        ),
        (_, _) => {
            println!("what a look costs is not told: there is no /proc/thread-self/schedstat")
        }
    }
}

/// For how many nanoseconds this thread was carried out.
fn time_of_this_thread() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next().map(number)
}

// ---- Helpers -----------------------------------------------------------------------------------------------------------------

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: 0,
    }
}

fn this_machine(data: &Path) -> Machine {
    Probes::new(Root::machine(), data, Overrides::default()).look(now())
}

fn value<T: Debug>(answer: &Answer<T>) -> &T {
    answer.value().unwrap_or_else(|| panic!("{answer:?}"))
}

fn number(text: &str) -> u64 {
    let text = text.trim();
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// Whether what was said lies between what was found before and after it, give or take what others do meanwhile.
fn lies_between(found: [u64; 2], said: u64, whole: u64) -> Result<(), String> {
    let slack = whole / SLACK;
    let (least, most) = (found[0].min(found[1]), found[0].max(found[1]));
    let near = least.saturating_sub(slack)..=most.saturating_add(slack);
    if near.contains(&said) {
        return Ok(());
    }
    Err(format!("{said} is not near {least} to {most} of {whole}"))
}

/// A build beside the tests may take gigabytes within one try.
fn in_one_of_some_tries(mut compare: impl FnMut() -> Result<(), String>) {
    let mut differences = Vec::new();
    for _ in 0..TRIES {
        match compare() {
            Ok(()) => return,
            Err(difference) => differences.push(difference),
        }
    }
    panic!("{}", differences.join("\n"));
}

/// What a tool of this machine prints; nothing where it is missing, which is told, and a failure in CI.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    match printed_by(program, arguments) {
        Ok(text) => Some(text),
        Err(why) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "CI says by this variable that everything has to run, as for xtask"
            )]
            let must = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(
                !must,
                "CI runs everything, and {program} is of no use: {why}"
            );
            println!("not compared with {program}: {why}");
            None
        }
    }
}

/// What it prints, or why it does not.
fn printed_by(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        // What these two say would come before affinity.
        .env_remove("OMP_NUM_THREADS")
        .env_remove("OMP_THREAD_LIMIT")
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(text(&output)),
        Ok(output) => Err(format!("{}", output.status)),
        Err(error) => Err(error.to_string()),
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
