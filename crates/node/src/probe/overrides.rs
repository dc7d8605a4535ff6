//! What the configuration says of a machine: it comes before whatever was found.
//!
//! What decides about roles can be said; of every probe can be said that it is not to be believed.

use std::time::Duration;

use super::answer::Answer;
use super::disk::DiskKind;
use super::gpus::Gpu;
use super::power::Power;
use super::{Machine, NAMES};

/// What is said. Each stands in `[probe]` under the name of its probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// How many cores.
    pub cores: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes that are free.
    pub disk_free: Option<u64>,
    /// Which kind of disk.
    pub disk_kind: Option<DiskKind>,
    /// How many bytes it writes in a second.
    pub disk_write: Option<u64>,
    /// How long 4 KiB take until they are safe.
    pub disk_fsync: Option<Duration>,
    /// Millions of bits a second.
    pub network_link: Option<u64>,
    /// How many graphics processors.
    pub gpus: Option<u64>,
    /// What it runs on.
    pub power: Option<Power>,
    /// Probes that are not believed.
    pub ignore: Vec<String>,
}

impl Overrides {
    /// Puts what is said in place of what was found.
    pub(crate) fn apply(&self, machine: &mut Machine) {
        for name in NAMES
            .iter()
            .filter(|name| self.ignore.iter().any(|it| it == *name))
        {
            let why = "probe.ignore in the configuration has it not believed";
            machine.forget(name, why);
        }
        say(
            &mut machine.cores,
            "cores",
            self.cores.map(|cores| cores.saturating_mul(1_000)),
        );
        say(&mut machine.memory, "memory", self.memory);
        say(&mut machine.disk_free, "disk_free", self.disk_free);
        say(&mut machine.disk_kind, "disk_kind", self.disk_kind);
        say(&mut machine.disk_write, "disk_write", self.disk_write);
        let sync = self
            .disk_fsync
            .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        say(&mut machine.disk_fsync, "disk_fsync", sync);
        say(&mut machine.network_link, "network_link", self.network_link);
        say(&mut machine.gpus, "gpus", self.gpus.map(unnamed));
        say(&mut machine.power, "power", self.power);
    }
}

/// The end of every source that is a setting.
pub(crate) const CONFIGURED: &str = " in the configuration";

fn say<T>(answer: &mut Answer<T>, name: &str, said: Option<T>) {
    if let Some(value) = said {
        *answer = Answer::sure(value, format!("probe.{name}{CONFIGURED}"));
    }
}

/// So many of which nothing else is known.
fn unnamed(count: u64) -> Vec<Gpu> {
    let gpu = Gpu {
        name: "gpu".to_owned(),
        driver: None,
        slot: None,
        memory_bytes: None,
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    vec![gpu; count.min(super::gpus::MOST)]
}
