//! What is decided about roles in general: what each asks of a machine, what the cluster needs, and how patient to be.
//!
//! | | where |
//! | --- | --- |
//! | what a role asks | [`Requirement`], one for each role that asks anything, in [`Requirements`] |
//! | how much of what is too little | [`Rules::leave_permille`] below what is asked |
//! | what counts when nothing is known | [`Rules::unknown_passes`] |
//! | how many of a role there should be | [`Need`] |
//! | how soon and how often | [`Rules::dwell`], [`Rules::cooldown`], [`Rules::changes_per_minute`], [`Rules::check_every`] |
//!
//! Deliberately not here: which of them counts first; `docs/design/018-roles.md` has the table, and `pass` is that table as code.

use std::collections::BTreeSet;
use std::time::Duration;

use convoke_types::Role;
use serde::{Deserialize, Serialize};

use super::measure::Measure;

/// The largest [`Rules::changes_per_minute`].
pub const CHANGES_PER_MINUTE_MOST: u32 = 1_000;
/// The largest number in [`Need`].
pub const NEED_MOST: u32 = 65_536;
/// The shortest [`Rules::check_every`].
pub const CHECK_EVERY_LEAST: Duration = Duration::from_secs(1);
/// The longest of all times here.
pub const TIME_MOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The largest stability.
pub const STABILITY_MOST: u64 = 1_000;

const GB: u64 = 1_000_000_000;
const MBIT: u64 = 1_000_000;

/// What a role asks of a machine. Nought asks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// Thousandths of cores.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
    /// Bits per second.
    pub bandwidth_bits: u64,
    /// Thousandths; 1,000 at most.
    pub stability_permille: u64,
    /// The capability `storage`.
    pub storage: bool,
    /// The capability `coordination`.
    pub coordination: bool,
    /// An address that is reached from outside.
    pub address: bool,
}

/// What a master is asked for.
const MASTER: Requirement = Requirement {
    cpu_milli: 4_000,
    memory_bytes: 8 * GB,
    disk_bytes: 20 * GB,
    bandwidth_bits: 20 * MBIT,
    stability_permille: 900,
    storage: false,
    coordination: true,
    address: false,
};

/// What a worker is asked for.
const WORKER: Requirement = Requirement {
    cpu_milli: 2_000,
    memory_bytes: 4 * GB,
    disk_bytes: 50 * GB,
    bandwidth_bits: 10 * MBIT,
    stability_permille: 0,
    storage: true,
    coordination: false,
    address: false,
};

/// What a gateway is asked for.
const GATEWAY: Requirement = Requirement {
    cpu_milli: 0,
    memory_bytes: 0,
    disk_bytes: 0,
    bandwidth_bits: 50 * MBIT,
    stability_permille: 0,
    storage: false,
    coordination: false,
    address: true,
};

/// What a role asks that asks nothing.
const NOTHING: Requirement = Requirement {
    cpu_milli: 0,
    memory_bytes: 0,
    disk_bytes: 0,
    bandwidth_bits: 0,
    stability_permille: 0,
    storage: false,
    coordination: false,
    address: false,
};

/// What each role asks. An observer and a leecher are asked for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// Of a master.
    pub master: Requirement,
    /// Of a worker.
    pub worker: Requirement,
    /// Of a gateway.
    pub gateway: Requirement,
}

impl Default for Requirements {
    fn default() -> Self {
        Self {
            master: MASTER,
            worker: WORKER,
            gateway: GATEWAY,
        }
    }
}

impl Requirements {
    /// What this role asks.
    #[must_use]
    pub const fn of(&self, role: Role) -> &Requirement {
        match role {
            Role::Master => &self.master,
            Role::Worker => &self.worker,
            Role::Gateway => &self.gateway,
            Role::Leecher | Role::Observer => &NOTHING,
        }
    }
}

/// How many the cluster needs at least. More than that is no reason to change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Need {
    /// Masters. 1 – 5: which nodes vote and lead does not hang on it, since workers vote as well.
    pub masters: u32,
    /// Masters and workers together, who may vote: as many as `voters.most` should find. 1, 3 or 5.
    pub voters: u32,
    /// Workers. Each one more is a node that does not stay what it was.
    pub workers: u32,
    /// Gateways. 0 where the outside comes in by hand-picked nodes.
    pub gateways: u32,
}

impl Default for Need {
    fn default() -> Self {
        Self {
            masters: 1,
            voters: 3,
            workers: 1,
            gateways: 0,
        }
    }
}

/// All that is decided about roles in general.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// `roles.auto` for the cluster. Off: roles are set by people only.
    pub auto: bool,
    /// Idle nodes that are fit become workers, also when nobody needs them. Off: only what the cluster needs is raised.
    pub prefer_upgrade: bool,
    /// How often fitness is looked into. What the cluster needs is done at once. 1 s – 1 h; a pass over 5,000 nodes costs milliseconds.
    pub check_every: Duration,
    /// For how long a node has to be fit, or unfit, before anything follows from it; four times as long for each change of its role in a row of which
    /// each came within a day of the one before. Longer forgives more and reacts later. 0 – 1 day.
    pub dwell: Duration,
    /// For how long after a change fitness does not change the same node again; at least the dwell. 0 – 1 day.
    pub cooldown: Duration,
    /// How many changes are proposed in a minute over the cluster, whatever they are for. More moves a large cluster faster, and takes a
    /// mistake further before somebody sees it. 1 – 1,000.
    pub changes_per_minute: u32,
    /// A node keeps a role while it has this part of what the role asks, in thousandths; the rest is room for values that move. 500 – 1,000.
    pub leave_permille: u64,
    /// For how long a master has to be missing before a node that is not fit stands in. It gives one that restarts the time to be back. 0 – 1 h.
    pub stand_in_after: Duration,
    /// For how long a node with a record may not have been seen before it counts as lost. A leader that just started has seen nobody.
    /// 10 s – 1 h.
    pub unseen_for: Duration,
    /// What each role asks.
    pub requirements: Requirements,
    /// The room that the capability `storage` means, in bytes.
    pub storage_bytes: u64,
    /// The longest that a synced write may take for the capability `coordination`, in microseconds, at the 99th percentile.
    pub coordination_us: u64,
    /// What counts as met when nothing is known about it. It is flagged wherever it decides something.
    pub unknown_passes: BTreeSet<Measure>,
    /// What the cluster needs.
    pub need: Need,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            auto: true,
            prefer_upgrade: true,
            check_every: Duration::from_secs(300),
            dwell: Duration::from_secs(600),
            cooldown: Duration::from_secs(3_600),
            changes_per_minute: 6,
            leave_permille: 800,
            stand_in_after: Duration::from_secs(60),
            unseen_for: Duration::from_secs(60),
            requirements: Requirements::default(),
            storage_bytes: GB,
            coordination_us: 50_000,
            unknown_passes: BTreeSet::from([Measure::Bandwidth, Measure::Stability]),
            need: Need::default(),
        }
    }
}

/// Why rules are not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A number outside its range.
    #[error("{name} is {found}; it has to be {least} to {most}")]
    OutOfRange {
        /// Which.
        name: &'static str,
        /// What it is.
        found: u64,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
}

impl Rules {
    /// Whether these can be decided. The planner works with any, and stays within its bounds with any; what is out of range makes no sense.
    ///
    /// # Errors
    /// The first number that is out of its range.
    pub fn check(&self) -> Result<(), RulesError> {
        let most_ms = millis(TIME_MOST);
        let times = [
            ("check_every", self.check_every, millis(CHECK_EVERY_LEAST)),
            ("dwell", self.dwell, 0),
            ("cooldown", self.cooldown, 0),
            ("stand_in_after", self.stand_in_after, 0),
            ("unseen_for", self.unseen_for, 0),
        ];
        for (name, time, least) in times {
            within(name, millis(time), least, most_ms)?;
        }
        let changes = u64::from(self.changes_per_minute);
        within(
            "changes_per_minute",
            changes,
            1,
            u64::from(CHANGES_PER_MINUTE_MOST),
        )?;
        within("leave_permille", self.leave_permille, 1, 1_000)?;
        within("coordination_us", self.coordination_us, 1, u64::MAX)?;
        let requirements = &self.requirements;
        for asked in [
            &requirements.master,
            &requirements.worker,
            &requirements.gateway,
        ] {
            within(
                "stability_permille",
                asked.stability_permille,
                0,
                STABILITY_MOST,
            )?;
        }
        let need = &self.need;
        let least = [
            ("masters", need.masters),
            ("voters", need.voters),
            ("workers", need.workers),
            ("gateways", need.gateways),
        ];
        for (name, number) in least {
            within(name, u64::from(number), 0, u64::from(NEED_MOST))?;
        }
        Ok(())
    }

    /// How many changes may be proposed in a minute.
    pub(super) fn cap(&self) -> usize {
        self.changes_per_minute.min(CHANGES_PER_MINUTE_MOST) as usize
    }
}

fn within(name: &'static str, found: u64, least: u64, most: u64) -> Result<(), RulesError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(RulesError::OutOfRange {
        name,
        found,
        least,
        most,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_decided() {
        assert_eq!(Rules::default().check(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let rules = Rules {
            changes_per_minute: 0,
            ..Rules::default()
        };
        let error = rules.check().expect_err("nothing could ever be changed");
        assert_eq!(
            error.to_string(),
            "changes_per_minute is 0; it has to be 1 to 1000"
        );
        let rules = Rules {
            dwell: Duration::MAX,
            ..Rules::default()
        };
        assert!(rules.check().is_err());
        let mut rules = Rules::default();
        rules.requirements.master.stability_permille = 1_001;
        assert!(rules.check().is_err());
    }

    #[test]
    fn leechers_and_observers_are_asked_for_nothing() {
        let requirements = Requirements::default();
        assert_eq!(*requirements.of(Role::Leecher), Requirement::default());
        assert_eq!(*requirements.of(Role::Observer), Requirement::default());
        assert_ne!(*requirements.of(Role::Gateway), Requirement::default());
    }
}
