//! What probes find out: on odd hosts, each a tree of files with what is said of it beside it, and on machines of nonsense. What they say of this one
//! is compared with its own tools in `oracles.rs`.
//!
//! A host is a file `tests/fixtures/probe/HOST.tree`: `== PATH`, and what is in that file. What probes make of it is in `HOST.txt`, written by
//! `UPDATE_GOLDEN=1 cargo test -p convoke-node --test probe`.
#![expect(
    clippy::print_stdout,
    reason = "what is left out, and what a look costs, is for whoever runs the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use convoke_node::config::{Sources, load};
use convoke_node::probe::{
    Answer, Confidence, DiskKind, Machine, NAMES, Now, Overrides, Power, Probes, Root, Row,
    as_json, laws,
};
use proptest::prelude::*;
use serde_json::Value as Json;
use tempfile::TempDir;

/// Where the data of every host is. It is nowhere on the machine that runs the tests.
const DATA: &str = "/var/lib/convoke/nowhere";

type Files = BTreeMap<String, Vec<u8>>;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/probe")
}

/// Every host, by name.
fn hosts() -> BTreeMap<String, Files> {
    let found = fs::read_dir(fixtures()).expect("the fixtures are there");
    let paths = found.map(|entry| entry.expect("it can be read").path());
    let trees = paths.filter(|path| path.extension().is_some_and(|it| it == "tree"));
    let hosts: BTreeMap<_, _> = trees
        .map(|path| {
            let name = path.file_stem().expect("it has one").to_string_lossy();
            let text = fs::read_to_string(&path).expect("it is text");
            (name.into_owned(), files(&text))
        })
        .collect();
    assert!(hosts.len() >= 12, "{:?}", hosts.keys());
    hosts
}

fn files(text: &str) -> Files {
    let mut files = Files::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("== ") {
            files.insert(path.to_owned(), Vec::new());
            current = Some(path.to_owned());
        } else if let Some(path) = &current {
            let file = files.get_mut(path).expect("it was put there");
            file.extend(format!("{line}\n").into_bytes());
        }
    }
    files
}

/// The same files, below a directory.
fn unpacked(files: &Files) -> TempDir {
    let place = TempDir::new().expect("a directory");
    for (path, bytes) in files {
        write(place.path(), path, bytes);
    }
    place
}

fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
    fs::write(path, bytes).expect("it can be written");
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: 0,
    }
}

fn probes(root: Root) -> Probes {
    Probes::new(root, Path::new(DATA), Overrides::default())
}

fn look(root: Root) -> Machine {
    probes(root).look(now())
}

fn host(name: &str) -> Machine {
    let hosts = hosts();
    let files = hosts.get(name).unwrap_or_else(|| panic!("no {name}"));
    look(Root::memory(files.clone()))
}

/// As it is kept beside the tree.
fn shown(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let (confidence, source) = match (row.confidence, &row.source, &row.why) {
            (Some(confidence), Some(source), None) => (confidence.name(), source),
            (_, _, why) => ("", why.as_ref().expect("what is unknown says why")),
        };
        let line = format!(
            "{:21}  {:40}  {confidence:8}  {source}",
            row.probe, row.text
        );
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for the new text")]
fn every_odd_host_is_told_as_it_was_before_on_a_disk_and_in_memory() {
    let mut differ = Vec::new();
    for (name, files) in hosts() {
        let place = unpacked(&files);
        let on_disk = look(Root::below(place.path()));
        let mut in_memory = look(Root::memory(files));
        // What was measured is in the data directory, and memory has none.
        in_memory.disk_write = on_disk.disk_write.clone();
        in_memory.disk_fsync = on_disk.disk_fsync.clone();
        assert_eq!(in_memory, on_disk, "{name}");
        let text = shown(&on_disk.rows());
        let path = fixtures().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).expect("it can be written");
        }
        if fs::read_to_string(&path).unwrap_or_default() != text {
            differ.push(format!("{name}:\n{text}"));
        }
    }
    assert!(
        differ.is_empty(),
        "if that is right: UPDATE_GOLDEN=1 cargo test -p convoke-node --test probe\n{}",
        differ.join("\n")
    );
}

/// What matters most of each host, so that nobody takes a wrong text for a right one.
const FACTS: &[(&str, &str, &str)] = &[
    ("container-v1-half-a-core", "cores", "0.5"),
    ("container-v1-half-a-core", "memory", "512.0 MiB"),
    ("container-v1-half-a-core", "pressure_cpu_group", "unknown"),
    ("container-v1-half-a-core", "container", "docker"),
    ("container-v1-half-a-core", "disk_kind", "overlay"),
    ("container-v1-half-a-core", "network_link", "unknown"),
    ("container-v2", "cores", "2.5"),
    ("container-v2", "memory", "1.5 GiB"),
    ("container-v2", "container", "kubernetes"),
    ("container-v2", "pressure_cpu", "0.34 % (1 min)"),
    (
        "container-v2",
        "pressure_cpu_group",
        "38.07 %, all 37.52 % (1 min)",
    ),
    (
        "container-v2",
        "pressure_memory_group",
        "5.50 %, all 5.21 % (1 min)",
    ),
    ("container-v2", "virtual_machine", "amazon"),
    ("container-v2", "disk_kind", "virtual"),
    ("nested-limits", "cores", "1.5"),
    ("nested-limits", "cores_online", "16"),
    ("nested-limits", "cores_allowed", "8"),
    ("nested-limits", "memory", "4.0 GiB"),
    (
        "nested-limits",
        "pressure_cpu_group",
        "2.15 %, all 2.04 % (1 min)",
    ),
    ("nested-limits", "pressure_memory_group", "unknown"),
    ("nested-limits", "pressure_io_group", "unknown"),
    ("nested-limits", "disk_kind", "hdd"),
    ("nested-limits", "container", "none"),
    ("hybrid", "cores", "1.75"),
    ("hybrid", "memory", "1.0 GiB"),
    ("hybrid", "disk_kind", "virtual"),
    ("hybrid", "network_link", "unknown"),
    ("hybrid", "virtual_machine", "unknown kind"),
    ("virtual-zfs-no-pressure", "cores", "4"),
    ("virtual-zfs-no-pressure", "cores_allowed", "128"),
    ("virtual-zfs-no-pressure", "disk_kind", "zfs"),
    ("virtual-zfs-no-pressure", "pressure_memory", "unknown"),
    ("virtual-zfs-no-pressure", "gpus", "none"),
    ("virtual-zfs-no-pressure", "memory_limit", "none"),
    ("laptop-discharging", "battery", "61 %, discharging"),
    ("laptop-discharging", "power", "battery"),
    ("laptop-discharging", "temperature", "61.0 °C"),
    ("laptop-discharging", "disk_kind", "nvme"),
    ("laptop-discharging", "network_link", "unknown"),
    ("laptop-charging", "battery", "62 %, charging"),
    ("laptop-charging", "power", "mains"),
    ("laptop-charging", "network_link", "1000 Mbit/s"),
    ("laptop-unknown", "battery", "there is one"),
    ("laptop-unknown", "power", "unknown"),
    ("server", "cores", "64"),
    ("server", "battery", "none"),
    ("server", "power", "mains"),
    ("server", "gpus", "2 × NVIDIA A40"),
    ("server", "network_link", "20000 Mbit/s"),
    ("server", "disk_kind", "hdd"),
    ("server", "disk_free", "0 B"),
    ("server", "temperature", "57.2 °C"),
    ("server", "virtual_machine", "none"),
    ("board-with-a-card", "disk_kind", "card"),
    ("board-with-a-card", "network_link", "100 Mbit/s"),
    (
        "workstation",
        "gpus",
        "AMD 1002:73BF (16.0 GiB), Intel 8086:4680",
    ),
    ("workstation", "disk_kind", "ssd"),
    ("workstation", "temperature", "44.0 °C"),
    ("memory-only", "disk_kind", "memory"),
    ("memory-only", "cores", "1"),
    ("memory-only", "memory_limit", "none"),
];

#[test]
fn what_matters_most_of_each_host_is_found() {
    let mut rows: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, probe, expected) in FACTS {
        let rows = rows.entry(name).or_insert_with(|| host(name).rows());
        let row = rows.iter().find(|row| row.probe == *probe);
        let text = &row.expect("there is such a probe").text;
        if text != expected {
            wrong.push(format!("{name}: {probe} is {text}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_limit_that_cannot_be_seen_makes_no_number_sure() {
    let confidence = |answer: &Answer<u64>| match answer {
        Answer::Known(known) => known.confidence,
        Answer::Unknown { why } => panic!("{why}"),
    };
    // The highest group is seen here, and not from within a container.
    let nested = host("nested-limits");
    assert_eq!(confidence(&nested.cores), Confidence::Sure);
    assert_eq!(confidence(&nested.memory), Confidence::Sure);
    let container = host("container-v2");
    assert_eq!(confidence(&container.cores), Confidence::Likely);
    assert_eq!(confidence(&container.memory), Confidence::Likely);
    let card = host("board-with-a-card").network_link;
    assert_eq!(confidence(&card), Confidence::AtMost);

    // A limit whose file is garbled is not taken for none.
    let mut files = hosts().remove("nested-limits").expect("it is there");
    let path = "/sys/fs/cgroup/a.slice/memory.max";
    files.insert(path.to_owned(), b"lots\n".to_vec());
    let machine = look(Root::memory(files));
    assert_eq!(confidence(&machine.memory), Confidence::AtMost);
}

#[test]
fn nothing_is_believed_that_a_garbled_machine_says_and_nothing_is_zero() {
    let rows = host("garbled").rows();
    let known: Vec<_> = rows.iter().filter(|row| row.why.is_none()).collect();
    let names: Vec<_> = known.iter().map(|row| row.probe).collect();
    // That lists have so many places is all that is left, and firmware that names no hypervisor.
    assert_eq!(names, ["gpus", "battery", "virtual_machine"], "{known:#?}");
    for row in host_of_nothing().rows() {
        assert_eq!(row.value, Json::Null, "{row:?}");
        assert!(row.why.is_some_and(|why| !why.is_empty()), "{}", row.probe);
    }
}

fn host_of_nothing() -> Machine {
    look(Root::memory(Files::new()))
}

#[test]
fn a_limit_that_changes_is_seen_at_the_next_look() {
    let files = hosts().remove("nested-limits").expect("it is there");
    let place = unpacked(&files);
    let mut probes = probes(Root::below(place.path()));
    let mut cores = || probes.look(now()).cores.value().copied();
    assert_eq!(cores(), Some(1_500));
    let path = "/sys/fs/cgroup/a.slice/cpu.max";
    write(place.path(), path, "600000 100000\n");
    assert_eq!(cores(), Some(2_500), "the next group has a limit, too");
    write(
        place.path(),
        "/sys/fs/cgroup/a.slice/b.slice/cpu.max",
        "max 100000\n",
    );
    assert_eq!(cores(), Some(6_000));
    write(place.path(), path, "max 100000\n");
    assert_eq!(cores(), Some(8_000), "affinity is left");
    write(place.path(), "/proc/self/status", "Cpus_allowed_list:\t3\n");
    assert_eq!(cores(), Some(1_000));
}

#[test]
fn peaks_of_the_network_come_with_the_second_look() {
    let files = hosts().remove("server").expect("it is there");
    let place = unpacked(&files);
    let mut probes = probes(Root::below(place.path()));
    let start = Instant::now();
    let at = |seconds| Now {
        instant: start + Duration::from_secs(seconds),
        unix_ms: 0,
    };
    assert_eq!(probes.look(at(0)).network_peak.value(), None);
    let text = String::from_utf8(files["/proc/net/dev"].clone()).expect("it is text");
    // The bridge to containers had more, and is no network.
    let more = text
        .replace("eno1: 456481884", "eno1: 581481884")
        .replace("docker0: 456481884", "docker0: 999999999");
    write(place.path(), "/proc/net/dev", more);
    let Answer::Known(peak) = probes.look(at(10)).network_peak else {
        panic!("there were two looks");
    };
    assert_eq!((peak.value.received, peak.value.sent), (100_000_000, 0));
    assert_eq!(peak.confidence, Confidence::AtLeast);
}

#[test]
fn the_configuration_comes_before_whatever_is_found() {
    let place = TempDir::new().expect("a directory");
    let file = "[probe]\ncores = 2\nmemory = \"3GiB\"\ndisk_free = \"0B\"\ndisk_kind = \"ssd\"\ndisk_write = \"200MiB\"\n\
                disk_fsync = \"4ms\"\nnetwork_link = 50\ngpus = 1\npower = \"battery\"\nignore = [\"temperature\", \"load\"]\n";
    fs::write(place.path().join("convoke.toml"), file).expect("it can be written");
    let sources = Sources {
        flags: vec![("node.data".to_owned(), place.path().display().to_string())],
        ..Sources::default()
    };
    let config = load(&sources).expect("there is no mistake").config().probe;
    assert_eq!(config.root, None);
    let files = hosts().remove("server").expect("it is there");
    let mut probes = Probes::new(Root::memory(files), place.path(), config.overrides);
    let machine = probes.look(now());
    assert_eq!(machine.cores, said("cores", 2_000));
    assert_eq!(machine.memory, said("memory", 3 << 30));
    assert_eq!(machine.disk_free, said("disk_free", 0));
    assert_eq!(machine.disk_kind, said("disk_kind", DiskKind::Ssd));
    assert_eq!(machine.disk_write, said("disk_write", 200 << 20));
    assert_eq!(machine.disk_fsync, said("disk_fsync", 4_000));
    assert_eq!(machine.network_link, said("network_link", 50));
    assert_eq!(machine.power, said("power", Power::Battery));
    assert_eq!(machine.gpus.value().map(Vec::len), Some(1));
    for probe in ["temperature", "load"] {
        let rows = machine.rows();
        let row = rows.iter().find(|row| row.probe == probe).expect(probe);
        assert!(
            row.why
                .as_ref()
                .is_some_and(|why| why.contains("probe.ignore")),
            "{row:?}"
        );
    }
    assert_eq!(
        machine.cores_online.value(),
        Some(&64),
        "all else is as it was"
    );
}

fn said<T>(probe: &str, value: T) -> Answer<T> {
    Answer::Known(convoke_node::probe::Known {
        value,
        source: format!("probe.{probe} in the configuration"),
        confidence: Confidence::Sure,
    })
}

#[test]
fn every_probe_can_be_left_out_and_one_that_there_is_not_is_a_mistake() {
    let sources = |ignore: &str| Sources {
        environment: vec![("CONVOKE_PROBE_IGNORE".into(), ignore.into())],
        ..Sources::default()
    };
    let all = load(&sources(&NAMES.join(","))).expect("there is no mistake");
    let files = hosts().remove("server").expect("it is there");
    let overrides = all.config().probe.overrides;
    let mut probes = Probes::new(Root::memory(files), Path::new(DATA), overrides);
    for row in probes.look(now()).rows() {
        assert_eq!(row.value, Json::Null, "{row:?}");
    }
    let wrong = load(&sources("temprature")).expect_err("there is no such probe");
    assert!(
        wrong.to_string().contains("did you mean temperature?"),
        "{wrong}"
    );
}

#[test]
fn a_look_opens_some_dozens_of_files_whatever_the_host() {
    let mut most = 0;
    for (name, files) in hosts() {
        let mut probes = probes(Root::memory(files));
        probes.look(now());
        let opened = probes.root().opened();
        println!("{name}: {opened}");
        most = most.max(opened);
    }
    assert!(most <= 130, "{most}");
}

#[test]
fn names_and_rows_are_the_same_and_programs_read_what_people_do() {
    let rows = host("server").rows();
    assert!(rows.iter().map(|row| row.probe).eq(NAMES));
    let json = as_json(&rows);
    assert_eq!(
        json.as_object().map(serde_json::Map::len),
        Some(NAMES.len())
    );
    assert_eq!(json["cores"]["value"], 64.0);
    assert_eq!(json["cores"]["confidence"], "sure");
    assert_eq!(json["network_link"]["confidence"], "at_most");
    assert_eq!(json["cpu_quota"]["value"], "none");
    assert_eq!(json["disk_write"]["value"], Json::Null);
    assert_eq!(json["gpus"]["value"][0]["slot"], "0000:41:00.0");
    assert!(json["disk_write"]["why"].is_string());
}

// ---- Nonsense ----------------------------------------------------------------------------------------------------------------

/// Every path that any host has.
fn paths() -> Vec<String> {
    let hosts = hosts();
    let paths = hosts.values().flat_map(BTreeMap::keys);
    let paths: std::collections::BTreeSet<_> = paths.cloned().collect();
    paths.into_iter().collect()
}

/// Texts that are nearly what files hold.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "0",
        "1",
        "-1",
        "max",
        "50000",
        "100000",
        "18446744073709551615",
        "9223372036854771712",
        " ",
        "\n",
        "-",
        ",",
        ":",
        "/",
        "..",
        "0::",
        "memory",
        "cpu",
        "some avg10=",
        "0.00",
        "MemTotal:",
        " kB",
        "cgroup2",
        "/sys/fs/cgroup",
        " - ",
        "0:1",
        "/ / rw",
        "DEVNAME=",
        "DRIVER=",
        "\\040",
        "POWER_SUPPLY_TYPE=Battery",
        "POWER_SUPPLY_CAPACITY=",
        "Cpus_allowed_list:",
        "é",
        "\u{1b}[2J",
    ]);
    let texts = prop::collection::vec(words, 0..12).prop_map(|words| words.concat().into_bytes());
    prop_oneof![texts, prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_content_makes_a_probe_panic_or_a_zero_of_what_is_unknown(
        name in prop::sample::select(hosts().into_keys().collect::<Vec<_>>()),
        changed in prop::collection::vec((prop::sample::select(paths()), content()), 0..24),
        gone in prop::collection::vec(prop::sample::select(paths()), 0..8),
    ) {
        let mut files = hosts().remove(&name).expect("it is there");
        files.extend(changed);
        for path in gone {
            files.remove(&path);
        }
        let machine = look(Root::memory(files));
        prop_assert_eq!(laws::check(&machine), Ok(()));
    }

    #[test]
    fn all_files_may_be_nonsense_at_once(contents in prop::collection::vec(content(), 40..80)) {
        let files = paths().into_iter().zip(contents.into_iter().cycle());
        let machine = look(Root::memory(files.collect()));
        prop_assert_eq!(laws::check(&machine), Ok(()));
    }
}
