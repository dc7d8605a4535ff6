//! What a machine can do, as it is and as its probes say.
//!
//! [`Capacity::has`] is a second opinion on what the planner judges: the table of design 018 in its plainest form, so that a mistake in one of the two
//! shows.
//!
//! Deliberately not here: what follows.

use std::collections::BTreeSet;

use convoke_planner::roles::{Machine, Measure, Measured, Rules};
use convoke_types::Role;

pub(super) const GB: u64 = 1_000_000_000;
const MBIT: u64 = 1_000_000;

/// What a machine has, and which of it no probe finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) cpu_milli: u64,
    pub(super) memory_bytes: u64,
    pub(super) disk_bytes: u64,
    pub(super) bandwidth_bits: u64,
    pub(super) stability_permille: u64,
    pub(super) fsync_us: u64,
    pub(super) is_writable: bool,
    pub(super) is_addressable: bool,
    pub(super) unknown: BTreeSet<Measure>,
}

impl Capacity {
    /// More than any role asks. Bandwidth and stability are not known, as on every node that is new.
    pub(super) fn large() -> Self {
        Self {
            cpu_milli: 8_000,
            memory_bytes: 16 * GB,
            disk_bytes: 200 * GB,
            bandwidth_bits: 1_000 * MBIT,
            stability_permille: 990,
            fsync_us: 5_000,
            is_writable: true,
            is_addressable: false,
            unknown: BTreeSet::from([Measure::Bandwidth, Measure::Stability]),
        }
    }

    /// Enough to work, too little to be a master.
    pub(super) fn medium() -> Self {
        Self {
            cpu_milli: 2_000,
            memory_bytes: 4 * GB,
            disk_bytes: 100 * GB,
            ..Self::large()
        }
    }

    /// Enough for nothing.
    pub(super) fn small() -> Self {
        Self {
            cpu_milli: 1_000,
            memory_bytes: GB,
            disk_bytes: 8 * GB,
            ..Self::large()
        }
    }

    /// What its probes say.
    pub(super) fn told(&self, load_permille: u64) -> Machine {
        let amount = |measure, value| {
            if self.unknown.contains(&measure) {
                Measured::unknown("no probe finds it out", "sim")
            } else {
                Measured::exact(value, "sim")
            }
        };
        Machine {
            cpu_milli: amount(Measure::Cpu, self.cpu_milli),
            memory_bytes: amount(Measure::Memory, self.memory_bytes),
            disk_bytes: amount(Measure::Disk, self.disk_bytes),
            bandwidth_bits: amount(Measure::Bandwidth, self.bandwidth_bits),
            stability_permille: amount(Measure::Stability, self.stability_permille),
            is_writable: Measured::exact(self.is_writable, "sim"),
            fsync_p99_us: amount(Measure::Coordination, self.fsync_us),
            is_addressable: Measured::exact(self.is_addressable, "sim"),
            load_permille: Measured::exact(load_permille, "sim"),
        }
    }

    /// Whether it has so many thousandths of what a role asks. What nobody knows is there where the rules say so.
    pub(super) fn has(&self, role: Role, permille: u64, rules: &Rules) -> bool {
        let asked = rules.requirements.of(role);
        let is_enough = |measure, value: u64, asked: u64| {
            if asked == 0 {
                true
            } else if self.unknown.contains(&measure) {
                rules.unknown_passes.contains(&measure)
            } else {
                u128::from(value) * 1_000 >= u128::from(asked) * u128::from(permille)
            }
        };
        let has_storage = !asked.storage
            || self.is_writable && is_enough(Measure::Disk, self.disk_bytes, rules.storage_bytes);
        let is_soon_safe = if self.unknown.contains(&Measure::Coordination) {
            rules.unknown_passes.contains(&Measure::Coordination)
        } else {
            u128::from(self.fsync_us) * u128::from(permille)
                <= u128::from(rules.coordination_us) * 1_000
        };
        let has_coordination = !asked.coordination || self.is_writable && is_soon_safe;
        is_enough(Measure::Cpu, self.cpu_milli, asked.cpu_milli)
            && is_enough(Measure::Memory, self.memory_bytes, asked.memory_bytes)
            && is_enough(Measure::Disk, self.disk_bytes, asked.disk_bytes)
            && is_enough(
                Measure::Bandwidth,
                self.bandwidth_bits,
                asked.bandwidth_bits,
            )
            && is_enough(
                Measure::Stability,
                self.stability_permille,
                asked.stability_permille,
            )
            && has_storage
            && has_coordination
            && (!asked.address || self.is_addressable)
    }
}
