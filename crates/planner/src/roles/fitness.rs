//! What a machine is worth for a role: each requirement met, nearly met or not, and a score. Functions of a machine and the rules, without time.
//!
//! Two thresholds for everything that is counted: a role is entered at what it asks, and left below a part of that
//! ([`Rules::leave_permille`]). What lies between keeps a role and does not get one.
//!
//! More of anything never makes a level or a score lower: each is a function that rises with its value, and nothing is divided by what a
//! machine has. What a machine has beyond what is asked counts ever less, so that no amount of memory outweighs everything else.
//!
//! Deliberately not here: since when, which the planner remembers, and what follows from it (`pass`).

use convoke_types::Role;
use serde::{Deserialize, Serialize};

use super::measure::{Confidence, Machine, Measure, Measured, Reading};
use super::rules::Rules;

/// The roles that ask something of a machine.
pub(super) const JUDGED: [Role; 3] = [Role::Master, Role::Worker, Role::Gateway];

/// The place of a role among [`JUDGED`]; nothing for roles that ask nothing.
pub(super) const fn judged(role: Role) -> Option<usize> {
    match role {
        Role::Master => Some(0),
        Role::Worker => Some(1),
        Role::Gateway => Some(2),
        Role::Leecher | Role::Observer => None,
    }
}

/// How a machine stands towards one requirement. More is better.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Too little to keep the role.
    #[default]
    Below,
    /// Enough to keep the role, too little to get it.
    Between,
    /// As much as the role asks.
    Meets,
}

/// What a level rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The role asks nothing of this measure.
    NotAsked,
    /// A value.
    Known,
    /// Policy, since the value is unknown, or known only to be no more than enough.
    Policy,
}

/// How a machine stands towards one requirement, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// How it stands.
    pub level: Level,
    /// What that rests on.
    pub basis: Basis,
}

const NOT_ASKED: Judged = Judged {
    level: Level::Meets,
    basis: Basis::NotAsked,
};

impl Judged {
    const fn known(level: Level) -> Self {
        Self {
            level,
            basis: Basis::Known,
        }
    }

    fn is_known_below(self) -> bool {
        self == Self::known(Level::Below)
    }

    /// No more than that.
    fn or_less(self, most: Level) -> Self {
        Self {
            level: self.level.min(most),
            ..self
        }
    }

    /// It counts as met, and nobody knows whether it is.
    #[must_use]
    pub fn is_flagged(self) -> bool {
        self.basis == Basis::Policy && self.level == Level::Meets
    }
}

/// What a role asks of a measure: to get it, and to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// To get the role.
    pub enter: u64,
    /// To keep it.
    pub leave: u64,
}

/// How a machine stands towards what a role asks of one measure.
#[must_use]
pub fn judge(role: Role, measure: Measure, machine: &Machine, rules: &Rules) -> Judged {
    let Some(Thresholds { enter, leave }) = thresholds(role, measure, rules) else {
        return NOT_ASKED;
    };
    let weigh = |level, confidence| weigh(level, confidence, measure, rules);
    let unknown = || by_policy(measure, rules);
    match measure {
        Measure::Cpu
        | Measure::Memory
        | Measure::Disk
        | Measure::Bandwidth
        | Measure::Stability => {
            let measured = amount(measure, machine);
            let level = measured.value().map(|value| rising(value, enter, leave));
            weigh(level, measured.confidence)
        }
        // What cannot be written has no room, and nothing in it is ever safe.
        Measure::Storage | Measure::Coordination if machine.is_writable.value() == Some(false) => {
            Judged::known(Level::Below)
        }
        Measure::Storage => {
            let room = &machine.disk_bytes;
            let level = room.value().map(|value| rising(value, enter, leave));
            let room = weigh(level, room.confidence);
            let is_proof = machine.is_writable.value().is_some() || room.is_known_below();
            if is_proof {
                room
            } else {
                unknown().or_less(room.level)
            }
        }
        Measure::Coordination => {
            let measured = &machine.fsync_p99_us;
            let level = measured.value().map(|value| falling(value, enter, leave));
            weigh(level, measured.confidence)
        }
        Measure::Address => match machine.is_addressable.value() {
            Some(true) => Judged::known(Level::Meets),
            Some(false) => Judged::known(Level::Below),
            None => unknown(),
        },
    }
}

/// How a machine stands towards all that a role asks, in the order of [`Measure::ALL`].
#[must_use]
pub fn judge_all(role: Role, machine: &Machine, rules: &Rules) -> [Judged; Measure::COUNT] {
    Measure::ALL.map(|measure| judge(role, measure, machine, rules))
}

/// Whether a machine may get a role, time aside.
#[must_use]
pub fn is_eligible(role: Role, machine: &Machine, rules: &Rules) -> bool {
    let judged = judge_all(role, machine, rules);
    judged.iter().all(|it| it.level == Level::Meets)
}

/// Whether a machine could serve in a role at all, however badly: what it writes has to stay.
#[must_use]
pub fn can_stand_in(machine: &Machine) -> bool {
    machine.is_writable.value() != Some(false)
}

/// The thresholds of what a role asks of a measure; nothing if it asks nothing. Of flags both are 1.
#[must_use]
pub fn thresholds(role: Role, measure: Measure, rules: &Rules) -> Option<Thresholds> {
    let asked = rules.requirements.of(role);
    let enter = match measure {
        Measure::Cpu => asked.cpu_milli,
        Measure::Memory => asked.memory_bytes,
        Measure::Disk => asked.disk_bytes,
        Measure::Bandwidth => asked.bandwidth_bits,
        Measure::Stability => asked.stability_permille,
        Measure::Storage => return asked.storage.then(|| both(rules.storage_bytes, rules)),
        Measure::Coordination => {
            let enter = rules.coordination_us;
            let leave = part(enter, 1_000, rules.leave_permille.clamp(1, 1_000));
            return asked.coordination.then_some(Thresholds { enter, leave });
        }
        Measure::Address => return asked.address.then_some(Thresholds { enter: 1, leave: 1 }),
    };
    (enter > 0).then(|| both(enter, rules))
}

fn both(enter: u64, rules: &Rules) -> Thresholds {
    let leave = part(enter, rules.leave_permille.min(1_000), 1_000);
    Thresholds { enter, leave }
}

/// So many parts of a value, in whole numbers; as much as there can be if it is more.
fn part(value: u64, parts: u64, of: u64) -> u64 {
    let product = u128::from(value) * u128::from(parts) / u128::from(of.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// The measurement behind a measure that is an amount of which more is better.
pub(super) fn amount(measure: Measure, machine: &Machine) -> &Measured<u64> {
    match measure {
        Measure::Cpu => &machine.cpu_milli,
        Measure::Memory => &machine.memory_bytes,
        Measure::Disk | Measure::Storage => &machine.disk_bytes,
        Measure::Bandwidth => &machine.bandwidth_bits,
        Measure::Stability => &machine.stability_permille,
        // Has no amount of its own; whoever asks has looked at the flag before.
        Measure::Coordination | Measure::Address => &machine.fsync_p99_us,
    }
}

/// More is better.
fn rising(value: u64, enter: u64, leave: u64) -> Level {
    match value {
        value if value >= enter => Level::Meets,
        value if value >= leave => Level::Between,
        _ => Level::Below,
    }
}

/// Less is better.
fn falling(value: u64, enter: u64, leave: u64) -> Level {
    match value {
        value if value <= enter => Level::Meets,
        value if value <= leave => Level::Between,
        _ => Level::Below,
    }
}

/// What a value is worth as proof. An upper bound proves what it is below; that it suffices, be it to stay, nobody knows.
fn weigh(level: Option<Level>, confidence: Confidence, measure: Measure, rules: &Rules) -> Judged {
    match (level, confidence) {
        (None, _) => by_policy(measure, rules),
        (Some(Level::Below), Confidence::UpperBound) => Judged::known(Level::Below),
        (Some(most), Confidence::UpperBound) => by_policy(measure, rules).or_less(most),
        (Some(level), Confidence::Exact | Confidence::Estimated | Confidence::Told) => {
            Judged::known(level)
        }
    }
}

fn by_policy(measure: Measure, rules: &Rules) -> Judged {
    let level = if rules.unknown_passes.contains(&measure) {
        Level::Meets
    } else {
        Level::Below
    };
    Judged {
        level,
        basis: Basis::Policy,
    }
}

/// What a requirement that is just met is worth.
const MET: u64 = 1_000;
/// What each doubling beyond is worth.
const DOUBLED: u64 = 250;
/// Doublings that count.
const DOUBLINGS: u32 = 20;

/// How much a machine can do in a role, for choosing among several: up to `MET` for each requirement, and a quarter of that for each doubling
/// beyond. What is unknown, or known only as an upper bound, is worth nothing.
#[must_use]
pub fn score(role: Role, machine: &Machine, rules: &Rules) -> u32 {
    let worth = Measure::ALL.map(|measure| worth(role, measure, machine, rules));
    u32::try_from(worth.iter().sum::<u64>()).unwrap_or(u32::MAX)
}

fn worth(role: Role, measure: Measure, machine: &Machine, rules: &Rules) -> u64 {
    let Some(Thresholds { enter, .. }) = thresholds(role, measure, rules) else {
        return 0;
    };
    let flag = |measured: &Measured<bool>| match measured.value() {
        Some(true) => MET,
        Some(false) | None => 0,
    };
    match measure {
        Measure::Cpu
        | Measure::Memory
        | Measure::Disk
        | Measure::Bandwidth
        | Measure::Stability => {
            let value = proven(amount(measure, machine));
            value.map_or(0, |value| diminishing(part(value, MET, enter)))
        }
        // Room counts as disk already.
        Measure::Storage => flag(&machine.is_writable),
        Measure::Coordination if machine.is_writable.value() == Some(false) => 0,
        Measure::Coordination => {
            let value = proven(&machine.fsync_p99_us);
            value.map_or(0, |value| diminishing(part(enter, MET, value)))
        }
        Measure::Address => flag(&machine.is_addressable),
    }
}

fn proven(measured: &Measured<u64>) -> Option<u64> {
    match (&measured.reading, measured.confidence) {
        (Reading::Value(value), Confidence::Exact | Confidence::Estimated | Confidence::Told) => {
            Some(*value)
        }
        (Reading::Value(_), Confidence::UpperBound) | (Reading::Unknown(_), _) => None,
    }
}

/// As it is up to [`MET`], then [`DOUBLED`] for each doubling, on straight lines between them.
fn diminishing(permille: u64) -> u64 {
    if permille <= MET {
        return permille;
    }
    let doublings = (permille / MET).ilog2().min(DOUBLINGS);
    let base = MET << doublings;
    let beyond = part((permille - base).min(base), DOUBLED, base);
    MET + DOUBLED * u64::from(doublings) + beyond
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn what_is_asked_is_met_at_the_threshold_and_lost_below_the_other() {
        let rules = Rules::default();
        let level = |cpu_milli: u64| {
            let machine = Machine {
                cpu_milli: Measured::exact(cpu_milli, "test"),
                ..good()
            };
            judge(Role::Worker, Measure::Cpu, &machine, &rules).level
        };
        assert_eq!(level(2_000), Level::Meets);
        assert_eq!(level(1_999), Level::Between);
        assert_eq!(level(1_600), Level::Between);
        assert_eq!(level(1_599), Level::Below);
    }

    #[test]
    fn a_slow_disk_does_not_coordinate() {
        let rules = Rules::default();
        let level = |fsync_p99_us: u64| {
            let machine = Machine {
                fsync_p99_us: Measured::exact(fsync_p99_us, "test"),
                ..good()
            };
            judge(Role::Master, Measure::Coordination, &machine, &rules).level
        };
        assert_eq!(level(50_000), Level::Meets);
        assert_eq!(level(62_500), Level::Between);
        assert_eq!(level(62_501), Level::Below);
    }

    #[test]
    fn unknown_passes_by_policy_and_is_flagged_or_fails_and_is_not_taken_for_a_value() {
        let rules = Rules::default();
        let machine = Machine::unknown("the probe is broken");
        let bandwidth = judge(Role::Worker, Measure::Bandwidth, &machine, &rules);
        assert!(bandwidth.is_flagged());
        let memory = judge(Role::Worker, Measure::Memory, &machine, &rules);
        assert_eq!(memory.level, Level::Below);
        assert_eq!(memory.basis, Basis::Policy);
        let stability = judge(Role::Worker, Measure::Stability, &machine, &rules);
        assert_eq!(stability, NOT_ASKED, "a worker is not asked for it");
    }

    #[test]
    fn the_speed_of_a_network_card_is_no_proof_and_too_little_of_it_is() {
        let rules = Rules::default();
        let judged = |bits: u64| {
            let machine = Machine {
                bandwidth_bits: Measured::at_most(bits, "card"),
                ..good()
            };
            judge(Role::Worker, Measure::Bandwidth, &machine, &rules)
        };
        assert!(judged(1_000_000_000).is_flagged());
        assert_eq!(judged(1_000_000), Judged::known(Level::Below));
        let nearly = judged(9_000_000);
        assert_eq!(
            (nearly.level, nearly.basis),
            (Level::Between, Basis::Policy)
        );
    }

    #[test]
    fn storage_is_a_directory_that_can_be_written_with_room() {
        let rules = Rules::default();
        let level = |is_writable: Option<bool>, room: Option<u64>| {
            let machine = Machine {
                is_writable: is_writable.map_or_else(
                    || Measured::unknown("nobody tried", "test"),
                    |it| Measured::exact(it, "test"),
                ),
                disk_bytes: room.map_or_else(
                    || Measured::unknown("nobody looked", "test"),
                    |it| Measured::exact(it, "test"),
                ),
                ..good()
            };
            judge(Role::Worker, Measure::Storage, &machine, &rules)
        };
        assert_eq!(level(Some(true), Some(GB)).level, Level::Meets);
        assert_eq!(level(Some(true), Some(GB / 2)).level, Level::Below);
        assert_eq!(
            level(Some(false), Some(GB)),
            Judged::known(Level::Below),
            "room in what is read only is none"
        );
        assert_eq!(level(None, Some(GB)).basis, Basis::Policy);
        assert_eq!(level(Some(true), None).basis, Basis::Policy);
        assert_eq!(level(None, Some(0)), Judged::known(Level::Below));
    }

    #[test]
    fn what_is_beyond_the_requirement_counts_ever_less() {
        assert_eq!(diminishing(500), 500);
        assert_eq!(diminishing(1_000), 1_000);
        assert_eq!(diminishing(2_000), 1_250);
        assert_eq!(diminishing(3_000), 1_375);
        assert_eq!(diminishing(4_000), 1_500);
        assert_eq!(diminishing(u64::MAX), 1_000 + 250 * 21);
        let mut before = 0;
        for permille in (0..100_000).step_by(7) {
            let worth = diminishing(permille);
            assert!(worth >= before, "{permille}");
            before = worth;
        }
    }

    #[test]
    fn a_better_machine_has_the_higher_score_and_an_unknown_one_none() {
        let rules = Rules::default();
        let better = Machine {
            memory_bytes: Measured::exact(64 * GB, "test"),
            ..good()
        };
        let score = |machine: &Machine| score(Role::Master, machine, &rules);
        assert!(score(&better) > score(&good()));
        assert_eq!(score(&Machine::unknown("asleep")), 0);
    }

    #[test]
    fn numbers_at_the_ends_do_no_harm() {
        let rules = Rules {
            leave_permille: 0,
            ..Rules::default()
        };
        for value in [0, 1, u64::MAX] {
            let machine = Machine {
                cpu_milli: Measured::exact(value, "test"),
                memory_bytes: Measured::exact(value, "test"),
                disk_bytes: Measured::exact(value, "test"),
                bandwidth_bits: Measured::exact(value, "test"),
                stability_permille: Measured::exact(value, "test"),
                fsync_p99_us: Measured::exact(value, "test"),
                ..good()
            };
            for role in JUDGED {
                let _ = judge_all(role, &machine, &rules);
                assert!(score(role, &machine, &rules) < 100_000);
            }
        }
    }

    fn good() -> Machine {
        Machine {
            cpu_milli: Measured::exact(8_000, "test"),
            memory_bytes: Measured::exact(16 * GB, "test"),
            disk_bytes: Measured::exact(200 * GB, "test"),
            bandwidth_bits: Measured::exact(GB, "test"),
            stability_permille: Measured::exact(990, "test"),
            is_writable: Measured::exact(true, "test"),
            fsync_p99_us: Measured::exact(2_000, "test"),
            is_addressable: Measured::exact(true, "test"),
            load_permille: Measured::exact(100, "test"),
        }
    }
}
