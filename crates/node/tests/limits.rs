//! Limits of control groups that change while a process runs: it sees them as they are, at its next look.
//!
//! One story, told of real groups, which the test makes below or beside its own and removes again, and of files that are made up, one host for each
//! version of groups. Real ones take root and trees that can be written; where they are not to be had, the output says why.
//!
//! Deliberately not here: limits of groups above each other, and limits that cannot be read, which hosts of files have (`probe.rs`).
#![expect(
    clippy::print_stdout,
    reason = "what could not be tried is for whoever runs the test"
)]

mod again;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use convoke_node::probe::{Now, Overrides, Probes, Root, as_json};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use self::again::Again;

const MIB: u64 = 1 << 20;
/// Microseconds in which a group gets its share of processors.
const PERIOD: u64 = 100_000;

/// Of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

/// Where the limits of one process are: its group for processors, and that for memory, which may be the same one.
#[derive(Clone, Debug)]
struct Limits {
    cpu: (Version, PathBuf),
    memory: (Version, PathBuf),
}

impl Limits {
    /// Thousandths of a core, or as many as there are.
    fn cpu(&self, milli: Option<u64>) -> io::Result<()> {
        let (version, group) = &self.cpu;
        let quota = milli.map(|milli| (milli * PERIOD / 1_000).to_string());
        match version {
            Version::First => {
                write(&group.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                let quota = quota.as_deref().unwrap_or("-1");
                write(&group.join("cpu.cfs_quota_us"), quota)
            }
            Version::Second => {
                let quota = quota.as_deref().unwrap_or("max");
                write(&group.join("cpu.max"), &format!("{quota} {PERIOD}"))
            }
        }
    }

    fn memory(&self, bytes: Option<u64>) -> io::Result<()> {
        let (version, group) = &self.memory;
        let bytes = bytes.map(|bytes| bytes.to_string());
        let (file, none) = match version {
            Version::First => ("memory.limit_in_bytes", "-1"),
            Version::Second => ("memory.max", "max"),
        };
        write(&group.join(file), bytes.as_deref().unwrap_or(none))
    }
}

/// What the kernel refuses, it says of the file.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let refused = |error: io::Error| io::Error::new(error.kind(), format!("{path:?}: {error}"));
    fs::write(path, text).map_err(refused)
}

/// Low limits, then higher ones, then none.
fn limits_are_followed(limits: &Limits, mut look: impl FnMut() -> Json) {
    let before = look();
    for (milli, bytes) in [(250, 192 * MIB), (750, 384 * MIB), (500, 256 * MIB)] {
        limits.cpu(Some(milli)).expect("it was made for that");
        limits.memory(Some(bytes)).expect("it was made for that");
        let found = look();
        let cores = milli as f64 / 1_000.0;
        assert_eq!(found["cpu_quota"]["value"], json!(cores), "{found:#}");
        assert_eq!(found["cores"]["value"], json!(cores));
        assert_eq!(found["memory_limit"]["value"], json!(bytes));
        assert_eq!(found["memory"]["value"], json!(bytes));
        let available = found["memory_available"]["value"].as_u64();
        assert!(available.expect("it is known") <= bytes, "{found:#}");
        let said = |probe: &str, group: &Path| {
            let source = found[probe]["source"].as_str().expect("it is known");
            let group = group.file_name().expect("it has a name").to_str();
            assert!(source.contains(group.expect("it is text")), "{source}");
        };
        said("cores", &limits.cpu.1);
        said("memory", &limits.memory.1);
        // What there is has not changed.
        for probe in ["cores_online", "memory_host"] {
            assert_eq!(found[probe]["value"], before[probe]["value"], "{probe}");
        }
    }
    limits.cpu(None).expect("it was made for that");
    limits.memory(None).expect("it was made for that");
    let after = look();
    for probe in ["cores", "cpu_quota", "memory", "memory_limit"] {
        assert_eq!(after[probe], before[probe], "{probe}");
    }
}

// ---- Real groups -------------------------------------------------------------------------------------------------------------

#[test]
fn a_process_in_a_real_group_follows_its_limits() {
    let mut made = match Made::around(Again::started(&[])) {
        Ok(made) => made,
        Err(why) => {
            println!("not tried with real control groups, only with files: {why}");
            return;
        }
    };
    println!("groups: {:?}", made.groups);
    limits_are_followed(&made.limits, || made.inside.look());
    match &made.own {
        Some(own) if own.join("cpu.pressure").is_file() => {
            let found = made.inside.look();
            let source = own.join("cpu.pressure").display().to_string();
            assert_eq!(found["pressure_cpu_group"]["source"], source, "{found:#}");
        }
        Some(_) | None => println!("no group here keeps its own pressure"),
    }
    let groups = made.groups.clone();
    drop(made);
    let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Groups that the test made, with a process in them. They go with it, whether the test holds or not.
#[derive(Debug)]
struct Made {
    inside: Again,
    limits: Limits,
    /// Of the second version, whether it has limits or not.
    own: Option<PathBuf>,
    groups: Vec<PathBuf>,
}

impl Made {
    /// Makes them and moves a process there, or says why that cannot be.
    fn around(inside: Again) -> Result<Self, String> {
        let trees = Trees::of_this_process()?;
        let first = |controller| trees.first(controller);
        let (cpu, memory) = (first("cpu"), first("memory"));
        let needed = [("cpu", &cpu), ("memory", &memory)].into_iter();
        let needed = needed.filter(|(_, tree)| tree.is_none());
        let needed: Vec<&str> = needed.map(|(controller, _)| controller).collect();
        let second = trees.second(&needed);
        if second.is_none() && !needed.is_empty() {
            return Err(format!("no group hands {needed:?} on to others"));
        }
        let name = format!("convoke-probe-{}", inside.id());
        let below = |above: Option<PathBuf>| above.map(|above| above.join(&name));
        let (cpu, memory, own) = (below(cpu), below(memory), below(second));
        let of = |first: &Option<PathBuf>| match (first, &own) {
            (Some(group), _) => Some((Version::First, group.clone())),
            (None, own) => own.clone().map(|group| (Version::Second, group)),
        };
        let limits = Limits {
            cpu: of(&cpu).expect("there is one, or else the second"),
            memory: of(&memory).expect("there is one, or else the second"),
        };
        let mut wanted: Vec<PathBuf> = [cpu, memory, own.clone()].into_iter().flatten().collect();
        wanted.sort();
        wanted.dedup();
        // From here on, what is there already is removed whatever happens.
        let mut made = Self {
            inside,
            limits,
            own,
            groups: Vec::new(),
        };
        made.make(&wanted).map_err(|error| error.to_string())?;
        Ok(made)
    }

    fn make(&mut self, wanted: &[PathBuf]) -> io::Result<()> {
        for group in wanted {
            let refused =
                |error: io::Error| io::Error::new(error.kind(), format!("{group:?}: {error}"));
            fs::create_dir(group).map_err(refused)?;
            self.groups.push(group.clone());
        }
        self.limits.cpu(None)?;
        self.limits.memory(None)?;
        for group in wanted {
            write(&group.join("cgroup.procs"), &self.inside.id().to_string())?;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // The kernel removes no group with somebody in it.
        self.inside.end();
        for group in self.groups.drain(..) {
            if let Err(error) = fs::remove_dir(&group) {
                println!("{group:?} is left behind: {error}");
            }
        }
    }
}

/// Trees of groups: what is mounted, and where this process is in it.
#[derive(Debug)]
struct Trees {
    mountinfo: String,
    members: String,
}

impl Trees {
    fn of_this_process() -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        Ok(Self {
            mountinfo: read("/proc/self/mountinfo")?,
            members: read("/proc/self/cgroup")?,
        })
    }

    /// Where a tree is mounted whole, as the tests of containers do without.
    fn mounted(&self, kind: &str, option: &str) -> Option<PathBuf> {
        self.mountinfo.lines().find_map(|line| {
            let (before, behind) = line.split_once(" - ")?;
            let words: Vec<&str> = before.split(' ').collect();
            let is_whole = words.get(3) == Some(&"/");
            let mut behind = behind.split(' ');
            let is_kind = behind.next() == Some(kind);
            let mut options = behind.next_back()?.split(',');
            (is_whole && is_kind && options.any(|it| it == option)).then(|| PathBuf::from(words[4]))
        })
    }

    /// The path of this process's group, without its slash.
    fn member(&self, controller: &str) -> Option<&str> {
        self.members.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let mut controllers = parts.next()?.split(',');
            let path = parts.next()?.strip_prefix('/')?;
            (controllers.any(|it| it == controller) && !path.contains("..")).then_some(path)
        })
    }

    /// The own group in the tree of one controller: whoever is below it keeps to its limits as well.
    fn first(&self, controller: &str) -> Option<PathBuf> {
        Some(
            self.mounted("cgroup", controller)?
                .join(self.member(controller)?),
        )
    }

    /// The nearest group in the one tree that hands these controllers on. Not the own one, unless it is the highest: others have either processes or
    /// groups with controllers.
    fn second(&self, controllers: &[&str]) -> Option<PathBuf> {
        let top = self.mounted("cgroup2", "rw")?;
        let own = top.join(self.member("")?);
        let is_highest = |group: &Path| group == top && !top.join("cgroup.type").exists();
        let hands_on = |group: &Path| {
            let text = fs::read_to_string(group.join("cgroup.subtree_control"));
            let text = text.unwrap_or_default();
            let given: Vec<&str> = text.split_whitespace().collect();
            controllers.iter().all(|it| given.contains(it))
        };
        let above = own.ancestors().take_while(|group| group.starts_with(&top));
        let mut fit = above.filter(|group| *group != own || is_highest(group));
        fit.find(|group| hands_on(group)).map(Path::to_owned)
    }
}

// ---- Files -------------------------------------------------------------------------------------------------------------------

/// What every host has.
const FILES: &[(&str, &str)] = &[
    (
        "proc/meminfo",
        "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n",
    ),
    ("proc/self/status", "Cpus_allowed_list:\t0-3\n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
];

#[test]
fn limits_in_files_of_the_first_version_are_followed() {
    let files = [
        (
            "proc/self/cgroup",
            "3:memory:/jobs/seven\n2:cpu,cpuacct:/jobs/seven\n",
        ),
        (
            "proc/self/mountinfo",
            "32 1 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             33 1 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        ),
        (
            "sys/fs/cgroup/memory/jobs/seven/memory.usage_in_bytes",
            "1\n",
        ),
    ];
    let limits = |root: &Path| Limits {
        cpu: (Version::First, root.join("sys/fs/cgroup/cpu/jobs/seven")),
        memory: (Version::First, root.join("sys/fs/cgroup/memory/jobs/seven")),
    };
    of_files(&files, limits);
}

#[test]
fn limits_in_files_of_the_second_version_are_followed() {
    let files = [
        ("proc/self/cgroup", "0::/jobs/seven\n"),
        (
            "proc/self/mountinfo",
            "32 1 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        ),
        ("sys/fs/cgroup/jobs/seven/memory.current", "1\n"),
    ];
    let limits = |root: &Path| {
        let group = (Version::Second, root.join("sys/fs/cgroup/jobs/seven"));
        Limits {
            cpu: group.clone(),
            memory: group,
        }
    };
    of_files(&files, limits);
}

/// The same story, of a process that is only thought of.
fn of_files(files: &[(&str, &str)], limits: impl FnOnce(&Path) -> Limits) {
    let place = TempDir::new().expect("a directory");
    for (path, text) in FILES.iter().chain(files) {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }
    let limits = limits(place.path());
    for group in [&limits.cpu.1, &limits.memory.1] {
        fs::create_dir_all(group).expect("it can be made");
    }
    limits.cpu(None).expect("it is a file");
    limits.memory(None).expect("it is a file");
    let root = Root::below(place.path());
    let mut probes = Probes::new(root, Path::new("/data"), Overrides::default());
    limits_are_followed(&limits, || {
        let now = Now {
            instant: Instant::now(),
            unix_ms: 0,
        };
        as_json(&probes.look(now).rows())
    });
}
