//! Looks at the machine every ten seconds, and has gossip say what changed.
//!
//! | bound | |
//! | --- | --- |
//! | between two looks | [`LOOK`]; sooner when the node goes to another role or back |
//! | files counted in the data directory | [`FILES`], once a minute |
//! | measuring the disk | once, [`SETTLED`] after the start, when nothing is kept of an earlier time; it writes less than 4 MiB |
//!
//! Deliberately not here: what a look finds (`probe`), and what counts of it (`machine`).

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_driver::{Capacity, Fact, Gossip, Load};
use convoke_planner::roles::{Machine, Refused};
use rustix::fs::{Access, access};

use super::machine::{self, Beside};
use super::report::{REPORT, Report};
use crate::custody::now;
use crate::parts::Parts;
use crate::probe::{self, Now, Probes, Window};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// Not more often, whatever changes.
const LEAST: Duration = Duration::from_secs(1);
/// Files that are counted; behind them nobody counts on.
const FILES: usize = 10_000;
const COUNT: Duration = Duration::from_secs(60);
/// A node that has just started has other things to write.
const SETTLED: Duration = Duration::from_secs(30);
/// Smaller changes of load are not told.
const STEP: u16 = 50;

/// Looks, and says.
pub(crate) struct Measuring {
    parts: Arc<Parts>,
    /// Not there while it looks.
    probes: Option<Probes>,
    own_bytes: Option<(Instant, u64)>,
    has_measured: bool,
    said: Said,
}

/// What gossip was told last.
#[derive(Default)]
struct Said {
    report: Vec<u8>,
    capacity: Capacity,
    load: Option<Load>,
    refused: Option<Refused>,
}

impl Measuring {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self {
            probes: Some(probes(&parts)),
            parts,
            own_bytes: None,
            has_measured: false,
            said: Said::default(),
        }
    }

    /// For ever: whoever runs it drops it.
    pub(crate) async fn run(mut self, gossip: &Gossip) -> Infallible {
        let mut roles = self.parts.role.subscribe();
        let mut overview = self
            .parts
            .reins
            .get()
            .map(crate::supervisor::Reins::overview);
        loop {
            if let Some((found, beside)) = self.look().await {
                let machine = machine::of(&found, &beside);
                self.say(gossip, &found, &machine).await;
                self.parts.measured.send_replace(Some(machine));
                self.measure_once(&found).await;
            }
            tokio::time::sleep(LEAST).await;
            let moved = async {
                match &mut overview {
                    Some(overview) => {
                        let seen = overview.borrow_and_update().rolled_back.clone();
                        let _ = overview.wait_for(|now| now.rolled_back != seen).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(LOOK - LEAST) => {}
                () = moved => {}
                _ = roles.changed() => {}
            }
        }
    }

    /// Beside the other tasks, since files on a disk that hangs take their time.
    async fn look(&mut self) -> Option<(probe::Machine, Beside)> {
        let mut probes = self.probes.take().unwrap_or_else(|| probes(&self.parts));
        probes.set_overrides(self.parts.overrides.borrow().clone());
        let data = self.parts.home.directory().to_owned();
        let counted = self.own_bytes.filter(|(at, _)| at.elapsed() < COUNT);
        let looked = tokio::task::spawn_blocking(move || {
            let found = probes.look(Now {
                instant: Instant::now(),
                unix_ms: now().unix_ms(),
            });
            let counted = counted.unwrap_or_else(|| (Instant::now(), bytes_in(&data)));
            let is_writable = access(&data, Access::WRITE_OK);
            let is_writable = is_writable.map_err(|error| format!("write to it: {error}"));
            (probes, found, counted, is_writable)
        });
        let (probes, found, counted, is_writable) = looked.await.ok()?;
        self.probes = Some(probes);
        self.own_bytes = Some(counted);
        let beside = Beside {
            own_bytes: Some(counted.1),
            is_writable,
            address: self.parts.own,
            is_advertised: self.parts.settings.advertise.is_some(),
            carried: self
                .parts
                .bandwidths
                .known(self.parts.settings.bandwidth, Instant::now()),
            steady: self.parts.steadiness.over(Window::Day),
        };
        Some((found, beside))
    }

    async fn say(&mut self, gossip: &Gossip, found: &probe::Machine, machine: &Machine) {
        self.note_refusal();
        let report = Report {
            machine: machine.clone(),
            plays: self.plays(),
            refused: self.said.refused.clone(),
        };
        let bytes = report.to_bytes();
        if bytes != self.said.report {
            let fact = Fact::Free {
                key: REPORT.to_owned(),
                value: bytes.clone().into(),
            };
            match gossip.set_fact(fact).await {
                Ok(()) => self.said.report = bytes,
                Err(error) => tracing::debug!(%error, "say what the machine can do"),
            }
        }
        let capacity = Capacity {
            cpu_milli: machine.cpu_milli.value(),
            memory_bytes: machine.memory_bytes.value(),
            disk_bytes: machine.disk_bytes.value(),
        };
        if capacity != self.said.capacity && gossip.set_fact(Fact::Capacity(capacity)).await.is_ok()
        {
            self.said.capacity = capacity;
        }
        let load = load(found);
        if load != self.said.load
            && let Some(load) = load
            && gossip.set_fact(Fact::Load(load)).await.is_ok()
        {
            self.said.load = Some(load);
        }
    }

    fn plays(&self) -> Option<convoke_types::Role> {
        let reins = self.parts.reins.get()?;
        reins.overview().borrow().role
    }

    /// The role that is decided and that this node went back from, if that is so now.
    fn note_refusal(&mut self) {
        let Some(reins) = self.parts.reins.get() else {
            return;
        };
        let overview = reins.overview();
        let overview = overview.borrow();
        let (Some(why), Some(decided)) = (&overview.rolled_back, *self.parts.role.borrow()) else {
            return;
        };
        let is_known = self
            .said
            .refused
            .as_ref()
            .is_some_and(|it| it.role == decided && it.why == *why);
        if overview.role == Some(decided) || is_known {
            return;
        }
        self.said.refused = Some(Refused {
            role: decided,
            at: self.parts.log_clock.now().unwrap_or_else(now),
            why: why.clone().into(),
        });
    }

    /// Without a figure nobody knows whether the disk is good enough for a log.
    async fn measure_once(&mut self, found: &probe::Machine) {
        let is_due = !self.has_measured && self.parts.begun.elapsed() >= SETTLED;
        if !is_due || found.disk_fsync.value().is_some() {
            return;
        }
        self.has_measured = true;
        if self.parts.settings.probe_root.is_some() {
            return;
        }
        let data = self.parts.home.directory().to_owned();
        let measuring = tokio::task::spawn_blocking(move || probe::measure(&data, now().unix_ms()));
        match measuring.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "measure the disk"),
            Err(error) => tracing::warn!(%error, "measure the disk"),
        }
    }
}

fn probes(parts: &Parts) -> Probes {
    let root = parts.settings.probe_root.as_deref();
    let root = root.unwrap_or_else(|| Path::new("/"));
    Probes::new(
        probe::Root::below(root),
        parts.home.directory(),
        parts.overrides.borrow().clone(),
    )
}

/// In steps, and with the load of a minute: who places work wants no more.
fn load(found: &probe::Machine) -> Option<Load> {
    let cores = *found.cores.value()?;
    let wanted = found.load.value()?.one.saturating_mul(10);
    let cpu = wanted.saturating_mul(1_000) / cores.max(1);
    let whole = *found.memory.value()?;
    let used = whole.saturating_sub(*found.memory_available.value()?);
    let memory = u128::from(used) * 1_000 / u128::from(whole.max(1));
    let step = |permille: u64| {
        let permille = u16::try_from(permille.min(1_000)).unwrap_or(1_000);
        permille / STEP * STEP
    };
    Some(Load {
        cpu_permille: step(cpu),
        memory_permille: step(u64::try_from(memory).unwrap_or(1_000)),
    })
}

/// What the files below a directory take; links are not followed.
fn bytes_in(directory: &Path) -> u64 {
    let mut waiting = vec![directory.to_owned()];
    let (mut bytes, mut files) = (0_u64, 0);
    while let Some(next) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(next) else {
            continue;
        };
        for entry in entries.flatten() {
            files += 1;
            if files > FILES {
                return bytes;
            }
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_directory_counts_and_no_more() {
        let place = tempfile::tempdir().expect("there is room");
        std::fs::create_dir(place.path().join("a")).expect("there is room");
        std::fs::write(place.path().join("a/b"), [0; 700]).expect("there is room");
        std::fs::write(place.path().join("c"), [0; 300]).expect("there is room");
        std::os::unix::fs::symlink("/", place.path().join("away")).expect("it can be made");
        let link = std::fs::symlink_metadata(place.path().join("away")).expect("it is there");
        assert_eq!(bytes_in(place.path()), 1_000 + link.len());
        assert_eq!(bytes_in(&place.path().join("none")), 0);
    }
}
