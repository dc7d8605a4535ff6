//! How much a machine takes on in a role: slots, caches, streams, calls and times, each from what was measured, within bounds, and with why.
//!
//! | setting | how much | bounds | while nothing is known |
//! | --- | --- | --- | --- |
//! | `executor-slots` | one for each core and each GB of memory, whichever are fewer; a master half of that | 1 – 256 | 1 |
//! | `cache-bytes` | an eighth of the memory | 32 MiB – 4 GiB | 32 MiB |
//! | `cache-disk-bytes` | a quarter of the disk behind the room that storage asks | 0 – 1 TiB | 0 |
//! | `fetch-streams` | one for each 10 Mbit/s | 2 – 32 | 4 |
//! | `snapshot-streams` | one for each 50 Mbit/s | 1 – 16 | 4 |
//! | `calls-at-once` | 64 for each core | 64 – 4,096 | 64 |
//! | `drain-ms` | 10 s and half a second for each slot | 10 s – 2 min | as with one slot |
//! | `answer-ms` | 30 s, whatever the machine | | |
//!
//! What a role does not do is nought. More of anything lowers nothing: each formula rises with what it takes. The speed of a network card is an upper
//! bound, which proves that a line is slow and never that it is fast: from it follows no more than from nothing.
//!
//! Where a [knob](crate::knobs) has the name of a setting, it is at home where that is.
//!
//! Deliberately not here: whether the role is right for the machine ([`fitness`](super::fitness)), and how busy it is now.

use std::fmt;

use convoke_types::Role;
use serde::{Deserialize, Serialize};

use super::abilities::{Handles, Work, can_handle};
use super::measure::{Confidence, Machine, Measured, Reading};
use super::rules::Rules;

const GB: u64 = 1_000_000_000;
const MBIT: u64 = 1_000_000;
const MIB: u64 = 1 << 20;
const SLOTS_MOST: u64 = 256;
const DRAIN_LEAST_MS: u64 = 10_000;
const DRAIN_SLOT_MS: u64 = 500;
const DRAIN_MOST_MS: u64 = 120_000;
const ANSWER_MS: u64 = 30_000;

/// One thing that a node is set to by its role and its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// What it is called; its unit stands at the end.
    pub name: String,
    /// How much.
    pub value: u64,
    /// The least that it can be where the role does this, and …
    pub least: u64,
    /// … the most.
    pub most: u64,
    /// What it rests on is not known, so that it is what goes anywhere.
    pub is_default: bool,
    /// Why it is that.
    pub why: String,
}

/// All that a node is set to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleConfig {
    /// In which role.
    pub role: Role,
    /// Tasks that run at once.
    pub executor_slots: Setting,
    /// Bytes of memory for content that was used lately.
    pub cache_bytes: Setting,
    /// Bytes of disk for content that others keep as well.
    pub cache_disk_bytes: Setting,
    /// Pieces of content that are fetched at once.
    pub fetch_streams: Setting,
    /// Snapshots of the log that are given to others at once.
    pub snapshot_streams: Setting,
    /// Calls from outside that are worked on at once.
    pub calls_at_once: Setting,
    /// How long tasks have to end when the node lets go of them.
    pub drain_ms: Setting,
    /// How long a call from outside may take.
    pub answer_ms: Setting,
}

/// What a setting rests on: so much, or what goes anywhere since nobody knows.
struct Ground {
    value: Option<u64>,
    /// No more than that follows, if only so much is known.
    at_most: Option<u64>,
    why: String,
}

impl RoleConfig {
    /// What follows for this machine in this role.
    #[must_use]
    pub fn of(role: Role, machine: &Machine, rules: &Rules) -> Self {
        let does = |work| can_handle(role, work) != Handles::No;
        let slots = slots(role, machine);
        let drain = if does(Work::Execute) {
            let time = DRAIN_LEAST_MS.saturating_add(slots.value.saturating_mul(DRAIN_SLOT_MS));
            let why = format!("10 s, and half a second for each of {} slots", slots.value);
            let known = Ground {
                value: (!slots.is_default).then_some(time),
                at_most: None,
                why,
            };
            known.within("drain-ms", DRAIN_LEAST_MS, DRAIN_MOST_MS, time)
        } else {
            nothing("drain-ms", role, "runs no tasks")
        };
        let has_content = does(Work::KeepContent) || does(Work::CacheContent);
        let serves = does(Work::ServeApi) || does(Work::ServeHttp);
        Self {
            role,
            cache_bytes: if has_content {
                let memory =
                    Ground::of("memory", &machine.memory_bytes, "an eighth of", |it| it / 8);
                memory.within("cache-bytes", 32 * MIB, 4_096 * MIB, 32 * MIB)
            } else {
                nothing("cache-bytes", role, "has no content")
            },
            cache_disk_bytes: if does(Work::CacheContent) {
                let room = rules.storage_bytes;
                let words = "a quarter, behind the room that storage asks, of";
                let disk = Ground::of("disk", &machine.disk_bytes, words, |it| {
                    it.saturating_sub(room) / 4
                });
                disk.within("cache-disk-bytes", 0, 1 << 40, 0)
            } else {
                nothing("cache-disk-bytes", role, "caches no content on disk")
            },
            fetch_streams: if has_content {
                let line = &machine.bandwidth_bits;
                let line = Ground::of("bandwidth", line, "one for each 10 Mbit/s of", |it| {
                    it / (10 * MBIT)
                });
                line.within("fetch-streams", 2, 32, 4)
            } else {
                nothing("fetch-streams", role, "fetches no content")
            },
            snapshot_streams: if does(Work::Vote) {
                let line = &machine.bandwidth_bits;
                let line = Ground::of("bandwidth", line, "one for each 50 Mbit/s of", |it| {
                    it / (50 * MBIT)
                });
                line.within("snapshot-streams", 1, 16, 4)
            } else {
                nothing(
                    "snapshot-streams",
                    role,
                    "never leads, and gives nobody the log",
                )
            },
            calls_at_once: if serves {
                let cores = Ground::of("cores", &machine.cpu_milli, "64 for each of", |it| {
                    (it / 1_000).saturating_mul(64)
                });
                cores.within("calls-at-once", 64, 4_096, 64)
            } else {
                nothing(
                    "calls-at-once",
                    role,
                    "serves nobody outside of its machine",
                )
            },
            answer_ms: if serves {
                Setting {
                    name: "answer-ms".to_owned(),
                    value: ANSWER_MS,
                    least: ANSWER_MS,
                    most: ANSWER_MS,
                    is_default: false,
                    why: "30 s on every machine: who asks may be more impatient".to_owned(),
                }
            } else {
                nothing("answer-ms", role, "serves nobody outside of its machine")
            },
            executor_slots: slots,
            drain_ms: drain,
        }
    }

    /// All of them, in the order of the table above.
    #[must_use]
    pub fn settings(&self) -> [&Setting; 8] {
        [
            &self.executor_slots,
            &self.cache_bytes,
            &self.cache_disk_bytes,
            &self.fetch_streams,
            &self.snapshot_streams,
            &self.calls_at_once,
            &self.drain_ms,
            &self.answer_ms,
        ]
    }
}

fn slots(role: Role, machine: &Machine) -> Setting {
    let part = match can_handle(role, Work::Execute) {
        Handles::Yes => 1,
        Handles::IfAsked => 2,
        Handles::No => return nothing("executor-slots", role, "runs no tasks"),
    };
    let cores = Ground::of("cores", &machine.cpu_milli, "one for each of", |it| {
        it / 1_000
    });
    let memory = Ground::of(
        "memory",
        &machine.memory_bytes,
        "one for each GB of",
        |it| it / GB,
    );
    // Whichever is less says why, and what is not known comes first.
    let least = if cores.value <= memory.value {
        cores
    } else {
        memory
    };
    let ground = Ground {
        value: least.value.map(|slots| slots / part),
        at_most: None,
        why: match part {
            1 => least.why,
            _ => format!("half of what a worker takes: {}", least.why),
        },
    };
    ground.within("executor-slots", 1, SLOTS_MOST, 1)
}

fn nothing(name: &str, role: Role, why: &str) -> Setting {
    Setting {
        name: name.to_owned(),
        value: 0,
        least: 0,
        most: 0,
        is_default: false,
        why: format!("a {role} {why}"),
    }
}

impl Ground {
    /// `words` say what `how` does with it.
    fn of(what: &str, measured: &Measured<u64>, words: &str, how: impl Fn(u64) -> u64) -> Self {
        match (&measured.reading, measured.confidence) {
            (Reading::Unknown(why), _) => Self {
                value: None,
                at_most: None,
                why: format!("{what} is unknown: {why}"),
            },
            (Reading::Value(value), Confidence::UpperBound) => Self {
                value: None,
                at_most: Some(how(*value)),
                why: format!(
                    "{what} is known as an upper bound alone: {value} from {}",
                    measured.source
                ),
            },
            (
                Reading::Value(value),
                Confidence::Exact | Confidence::Estimated | Confidence::Told,
            ) => Self {
                value: Some(how(*value)),
                at_most: None,
                why: format!("{words} {what}: {value} from {}", measured.source),
            },
        }
    }

    fn within(self, name: &str, least: u64, most: u64, unknown: u64) -> Setting {
        let bounded = self.value.map(|value| value.clamp(least, most));
        let unknown = self.at_most.map_or(unknown, |most| unknown.min(most));
        let mut why = self.why;
        if bounded.is_some() && bounded != self.value {
            why = format!("{why}; within {least} and {most}");
        }
        Setting {
            name: name.to_owned(),
            value: bounded.unwrap_or(unknown).clamp(least, most),
            least,
            most,
            is_default: bounded.is_none(),
            why,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = if self.is_default {
            "what goes anywhere, as "
        } else {
            ""
        };
        write!(f, "{} {}: {default}{}", self.name, self.value, self.why)
    }
}

/// For people: what a node in this role can be given, and how much of it.
impl fmt::Display for RoleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |wanted: Handles| {
            let all = Work::ALL.into_iter();
            let all = all.filter(|work| can_handle(self.role, *work) == wanted);
            all.map(Work::name).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "as a {} it can handle: {}", self.role, of(Handles::Yes))?;
        let asked = of(Handles::IfAsked);
        if !asked.is_empty() {
            writeln!(f, "  and if it is asked to: {asked}")?;
        }
        let settings = self.settings().into_iter();
        let mut used = settings.filter(|setting| setting.most > 0);
        used.try_for_each(|setting| writeln!(f, "  {setting}"))
    }
}
