//! What this machine is: probes that measure it, each with a value, where it comes from and how far to trust it, or *unknown*, and why.
//!
//! | file | what it finds out | kind |
//! | --- | --- | --- |
//! | `mod.rs` | all of it: [`Probes`] look, a [`Machine`] is what they find | acts |
//! | `answer.rs` | what a probe answers | decides |
//! | `root.rs` | reads files, those of this machine or of another root | acts |
//! | `mounts.rs` | what is mounted where | decides |
//! | `groups.rs` | control groups of both versions, up to the highest | reads, decides |
//! | `cpu.rs`, `memory.rs`, `pressure.rs` | processors, memory, and who waits for them | reads, decides |
//! | `disk.rs` | room and kind of the disk below the data directory | reads, decides |
//! | `writing.rs` | how fast that disk is | acts, when it is asked to |
//! | `network.rs` | what cards claim, and what was seen to go over them | reads, decides |
//! | `stability.rs` | how steadily this node is in touch with its peers, of what others saw of them | decides |
//! | `gpus.rs`, `power.rs`, `temperature.rs`, `system.rs` | the rest of the machine | reads, decides |
//! | `overrides.rs` | what the configuration says instead | decides |
//! | `laws.rs` | what holds of every machine, for tests | decides |
//! | `rows.rs` | all of it, as people and programs read it | decides |
//!
//! A look reads some dozens of small files and takes less than a millisecond of a processor, so a node may look every ten seconds. It never
//! panics, whatever is in the files, and nothing that is unknown is zero. Every file and list has a bound, which stands where it is read.
//!
//! Deliberately not here: what follows for the node's role; asking peers, since membership does, and `stability.rs` is told what it saw; and sending
//! anything to find out how fast the network is, which nodes do with each other where people ask for it (`planning/bandwidth.rs`).

mod answer;
mod cpu;
mod disk;
mod gpus;
mod groups;
#[doc(hidden)]
pub mod laws;
mod memory;
mod mounts;
mod network;
mod overrides;
mod power;
mod pressure;
mod root;
mod rows;
mod stability;
mod system;
mod temperature;
mod writing;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use self::answer::{Answer, Confidence, Known};
pub use self::cpu::Load;
pub use self::disk::DiskKind;
pub use self::gpus::Gpu;
pub use self::network::Rates;
pub(crate) use self::overrides::CONFIGURED;
pub use self::overrides::Overrides;
pub use self::power::{Battery, Charge, Power};
pub(crate) use self::pressure::Pressing;
pub use self::pressure::{Pressure, Shares};
pub use self::root::{Root, Space, Unread};
pub use self::rows::{Row, as_json};
pub use self::stability::{Seen, Stability, Steady, Window};
pub use self::writing::{FILE as MEASURED, MeasureError, Written, measure};

pub(crate) use self::writing::noise;

use self::network::Peaks;
use self::writing::Kept;

/// Every probe, in the order in which they are shown.
pub const NAMES: [&str; 31] = [
    "cores",
    "cores_online",
    "cores_allowed",
    "cpu_quota",
    "load",
    "memory",
    "memory_host",
    "memory_limit",
    "memory_available",
    "pressure_cpu",
    "pressure_memory",
    "pressure_io",
    "pressure_cpu_group",
    "pressure_memory_group",
    "pressure_io_group",
    "disk_total",
    "disk_free",
    "disk_kind",
    "disk_write",
    "disk_fsync",
    "network_link",
    "network_peak",
    "gpus",
    "battery",
    "power",
    "temperature",
    "uptime",
    "os",
    "kernel",
    "container",
    "virtual_machine",
];

/// What was found of a machine at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Thousandths of a core that this process can count on: the least of those there are, those it may use, and what its groups get.
    pub cores: Answer<u64>,
    /// Cores that there are.
    pub cores_online: Answer<u64>,
    /// Cores that this process may use.
    pub cores_allowed: Answer<u64>,
    /// Thousandths of a core that groups get; none without a limit.
    pub cpu_quota: Answer<Option<u64>>,
    /// How many processes wanted to run.
    pub load: Answer<Load>,
    /// Bytes of memory that this process can count on: the lower of what there is and what its groups may have.
    pub memory: Answer<u64>,
    /// Bytes of memory that there are.
    pub memory_host: Answer<u64>,
    /// Bytes that groups may have; none without a limit.
    pub memory_limit: Answer<Option<u64>>,
    /// Bytes that are to be had now.
    pub memory_available: Answer<u64>,
    /// Who waited for processors, on the whole host.
    pub pressure_cpu: Answer<Pressure>,
    /// Who waited for memory.
    pub pressure_memory: Answer<Pressure>,
    /// Who waited for disks.
    pub pressure_io: Answer<Pressure>,
    /// Who waited for processors in this process's own group.
    pub pressure_cpu_group: Answer<Pressure>,
    /// Who waited for memory there.
    pub pressure_memory_group: Answer<Pressure>,
    /// Who waited for disks there.
    pub pressure_io_group: Answer<Pressure>,
    /// Bytes that the disk below the data directory has.
    pub disk_total: Answer<u64>,
    /// Bytes that are free there.
    pub disk_free: Answer<u64>,
    /// What lies there.
    pub disk_kind: Answer<DiskKind>,
    /// Bytes that it writes in a second.
    pub disk_write: Answer<u64>,
    /// Microseconds until 4 KiB are safe there, for 99 of 100.
    pub disk_fsync: Answer<u64>,
    /// Millions of bits a second that the fastest card claims.
    pub network_link: Answer<u64>,
    /// The most that was seen to go over one.
    pub network_peak: Answer<Rates>,
    /// What can compute beside processors.
    pub gpus: Answer<Vec<Gpu>>,
    /// Batteries; none without one.
    pub battery: Answer<Option<Battery>>,
    /// What the machine runs on.
    pub power: Answer<Power>,
    /// How hot processors are, in thousandths of a degree Celsius.
    pub temperature: Answer<i64>,
    /// Milliseconds since the machine was started.
    pub uptime: Answer<u64>,
    /// What its system is called.
    pub os: Answer<String>,
    /// Its kernel, with its version and the kind of processor.
    pub kernel: Answer<String>,
    /// Which kind of container this is; none outside of one.
    pub container: Answer<Option<String>>,
    /// Which kind of virtual machine this is; none on a machine of its own.
    pub virtual_machine: Answer<Option<String>>,
}

/// When somebody looks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For rates.
    pub instant: Instant,
    /// For the age of what was measured.
    pub unix_ms: u64,
}

/// How hard work presses on the machine below this root. Cheaper than a look at all of it.
pub(crate) fn pressing(root: &Root) -> Pressing {
    let groups = groups::look(root, &mounts::read(root));
    pressure::pressing(root, &groups)
}

/// Looks at one machine, again and again.
#[derive(Debug)]
pub struct Probes {
    root: Root,
    data: PathBuf,
    overrides: Overrides,
    peaks: Peaks,
}

impl Probes {
    /// Of the machine below this root, and the disk of this data directory, which need not be there yet.
    #[must_use]
    pub fn new(root: Root, data: &Path, overrides: Overrides) -> Self {
        Self {
            root,
            data: data.to_owned(),
            overrides,
            peaks: Peaks::default(),
        }
    }

    /// What the configuration says instead, from the next look on.
    pub fn set_overrides(&mut self, overrides: Overrides) {
        self.overrides = overrides;
    }

    /// Where it looks.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Finds out all of it. Reads files, and waits for nothing else.
    pub fn look(&mut self, now: Now) -> Machine {
        let root = &self.root;
        let mountinfo = mounts::read(root);
        let groups = groups::look(root, &mountinfo);
        let cpu = cpu::look(root, &groups);
        let memory = memory::look(root, &groups);
        let pressures = pressure::of_host(root);
        let of_group = pressure::of_group(root, &groups);
        let disk = disk::look(root, &place(root, &self.data), &mountinfo);
        let (disk_write, disk_fsync) = writing::answers(&self.kept(), now.unix_ms);
        let network = network::look(root, now.instant, &mut self.peaks);
        let supply = power::look(root);
        let system = system::look(root, &mountinfo);
        let mut machine = Machine {
            cores: cpu.cores,
            cores_online: cpu.online,
            cores_allowed: cpu.allowed,
            cpu_quota: cpu.quota,
            load: cpu.load,
            memory: memory.whole,
            memory_host: memory.host,
            memory_limit: memory.limit,
            memory_available: memory.available,
            pressure_cpu: pressures.cpu,
            pressure_memory: pressures.memory,
            pressure_io: pressures.io,
            pressure_cpu_group: of_group.cpu,
            pressure_memory_group: of_group.memory,
            pressure_io_group: of_group.io,
            disk_total: disk.total,
            disk_free: disk.free,
            disk_kind: disk.kind,
            disk_write,
            disk_fsync,
            network_link: network.link,
            network_peak: network.peak,
            gpus: gpus::look(root),
            battery: supply.battery,
            power: supply.power,
            temperature: temperature::look(root),
            uptime: system.uptime,
            os: system.os,
            kernel: system.kernel,
            container: system.container,
            virtual_machine: system.virtual_machine,
        };
        self.overrides.apply(&mut machine);
        machine
    }

    /// What was measured of the disk; a machine that is only thought of has none.
    fn kept(&self) -> Kept {
        if self.root.is_memory() {
            return Kept::Nothing("it is a machine that is only thought of".to_owned());
        }
        writing::kept(&self.data)
    }
}

impl Machine {
    /// Has a probe answer that it does not know.
    fn forget(&mut self, name: &str, why: &str) {
        match name {
            "cores" => self.cores = Answer::unknown(why),
            "cores_online" => self.cores_online = Answer::unknown(why),
            "cores_allowed" => self.cores_allowed = Answer::unknown(why),
            "cpu_quota" => self.cpu_quota = Answer::unknown(why),
            "load" => self.load = Answer::unknown(why),
            "memory" => self.memory = Answer::unknown(why),
            "memory_host" => self.memory_host = Answer::unknown(why),
            "memory_limit" => self.memory_limit = Answer::unknown(why),
            "memory_available" => self.memory_available = Answer::unknown(why),
            "pressure_cpu" => self.pressure_cpu = Answer::unknown(why),
            "pressure_memory" => self.pressure_memory = Answer::unknown(why),
            "pressure_io" => self.pressure_io = Answer::unknown(why),
            "pressure_cpu_group" => self.pressure_cpu_group = Answer::unknown(why),
            "pressure_memory_group" => self.pressure_memory_group = Answer::unknown(why),
            "pressure_io_group" => self.pressure_io_group = Answer::unknown(why),
            "disk_total" => self.disk_total = Answer::unknown(why),
            "disk_free" => self.disk_free = Answer::unknown(why),
            "disk_kind" => self.disk_kind = Answer::unknown(why),
            "disk_write" => self.disk_write = Answer::unknown(why),
            "disk_fsync" => self.disk_fsync = Answer::unknown(why),
            "network_link" => self.network_link = Answer::unknown(why),
            "network_peak" => self.network_peak = Answer::unknown(why),
            "gpus" => self.gpus = Answer::unknown(why),
            "battery" => self.battery = Answer::unknown(why),
            "power" => self.power = Answer::unknown(why),
            "temperature" => self.temperature = Answer::unknown(why),
            "uptime" => self.uptime = Answer::unknown(why),
            "os" => self.os = Answer::unknown(why),
            "kernel" => self.kernel = Answer::unknown(why),
            "container" => self.container = Answer::unknown(why),
            "virtual_machine" => self.virtual_machine = Answer::unknown(why),
            _ => unreachable!("{name} is no probe, and the configuration takes none that is not"),
        }
    }
}

/// Where the data is, or the nearest directory above that is there; below another root, the path as it is written.
fn place(root: &Root, data: &Path) -> PathBuf {
    let written = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    if !root.is_machine() {
        return written;
    }
    let there = written
        .ancestors()
        .find_map(|path| path.canonicalize().ok());
    there.unwrap_or(written)
}
