//! Which keys of configuration there are, what each holds, and what it holds when nobody decided anything.
//!
//! A key that is not here cannot be changed, but for those that begin with [`FREE`]: they hold texts of other programs.
//!
//! Applying a proposal asks this table, so all who apply must have the same: another key, or another bound of one, is for a higher feature
//! level, as another command would be. Defaults are only read.
//!
//! Deliberately not here: what follows from a value, which is said where it is read.

use serde::{Deserialize, Serialize};

use super::config::{NAME_BYTES, TEXT_BYTES, Value};

/// Keys of other programs begin so. They hold texts, and nothing by default.
pub const FREE: &str = "app.";

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Flag(bool),
    /// One of these numbers; the first is the default.
    OneOf(&'static [i64]),
    /// A number between two; the third is the default.
    Number(i64, i64, i64),
    /// A text of at most so many bytes, and the default.
    Text(usize, &'static str),
}

/// Keys that say what nodes turn by themselves begin so.
pub const ADAPT: &str = "adapt.";
/// Keys that say how roles are planned begin so.
pub const ROLES: &str = "roles.";

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is for, in a sentence.
    pub about: &'static str,
}

/// How many nodes vote at most.
pub const VOTERS_MOST: &str = "voters.most";
/// After how long without an acknowledgement a voter is replaced.
pub const VOTERS_REPLACE_AFTER: &str = "voters.replace-after-ms";
/// Between two changes of the voters.
pub const VOTERS_PAUSE: &str = "voters.pause-ms";
/// Whether leechers may vote when there is nobody better.
pub const VOTERS_LEECHERS: &str = "voters.leechers";

/// All keys, in their order.
pub const KEYS: &[Key] = &[
    Key {
        name: "adapt.cache-bytes.fixed",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "Where cache-bytes stands on every node, within its bounds; 0: nodes turn it by themselves.",
    },
    Key {
        name: "adapt.cache-bytes.frozen",
        kind: Kind::Flag(false),
        about: "No node turns cache-bytes by itself.",
    },
    Key {
        name: "adapt.cache-bytes.least",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns cache-bytes below that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.cache-bytes.most",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns cache-bytes above that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.dry-run",
        kind: Kind::Flag(false),
        about: "Nodes say what they would turn by themselves, and turn nothing.",
    },
    Key {
        name: "adapt.executor-slots.fixed",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "Where executor-slots stands on every node, within its bounds; 0: nodes turn it by themselves.",
    },
    Key {
        name: "adapt.executor-slots.frozen",
        kind: Kind::Flag(false),
        about: "No node turns executor-slots by itself.",
    },
    Key {
        name: "adapt.executor-slots.least",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns executor-slots below that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.executor-slots.most",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns executor-slots above that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.fetch-streams.fixed",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "Where fetch-streams stands on every node, within its bounds; 0: nodes turn it by themselves.",
    },
    Key {
        name: "adapt.fetch-streams.frozen",
        kind: Kind::Flag(false),
        about: "No node turns fetch-streams by itself.",
    },
    Key {
        name: "adapt.fetch-streams.least",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns fetch-streams below that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.fetch-streams.most",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns fetch-streams above that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.frozen",
        kind: Kind::Flag(false),
        about: "Nodes turn nothing by themselves; what is fixed stands all the same.",
    },
    Key {
        name: "adapt.gossip-pace.fixed",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "Where gossip-pace stands on every node, within its bounds; 0: nodes turn it by themselves.",
    },
    Key {
        name: "adapt.gossip-pace.frozen",
        kind: Kind::Flag(false),
        about: "No node turns gossip-pace by itself.",
    },
    Key {
        name: "adapt.gossip-pace.least",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns gossip-pace below that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.gossip-pace.most",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns gossip-pace above that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.snapshot-streams.fixed",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "Where snapshot-streams stands on every node, within its bounds; 0: nodes turn it by themselves.",
    },
    Key {
        name: "adapt.snapshot-streams.frozen",
        kind: Kind::Flag(false),
        about: "No node turns snapshot-streams by itself.",
    },
    Key {
        name: "adapt.snapshot-streams.least",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns snapshot-streams below that; 0: as the table of knobs says.",
    },
    Key {
        name: "adapt.snapshot-streams.most",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "No node turns snapshot-streams above that; 0: as the table of knobs says.",
    },
    Key {
        name: "cluster.name",
        kind: Kind::Text(64, ""),
        about: "What people call the cluster.",
    },
    Key {
        name: "roles.auto",
        kind: Kind::Flag(true),
        about: "Roles of nodes follow from what their machines can do and what the cluster needs; false: people set them.",
    },
    Key {
        name: "roles.changes-per-minute",
        kind: Kind::Number(1, 1_000, 6),
        about: "So many roles are changed in a minute at most, over the whole cluster.",
    },
    Key {
        name: "roles.check-every-ms",
        kind: Kind::Number(1_000, 604_800_000, 300_000),
        about: "Milliseconds between two looks at what machines are fit for; what the cluster needs is done at once.",
    },
    Key {
        name: "roles.cooldown-ms",
        kind: Kind::Number(0, 604_800_000, 3_600_000),
        about: "For so many milliseconds after a change fitness does not change the role of the same node again.",
    },
    Key {
        name: "roles.coordination-us",
        kind: Kind::Number(1, 4_611_686_018_427_387_904, 50_000),
        about: "The longest that a synced write may take for `coordination`, in microseconds, for 99 of 100.",
    },
    Key {
        name: "roles.dwell-ms",
        kind: Kind::Number(0, 604_800_000, 600_000),
        about: "For so many milliseconds a node has to be fit, or unfit, before its role changes.",
    },
    Key {
        name: "roles.gateway.address",
        kind: Kind::Flag(true),
        about: "What a gateway is asked for: an address that is reached from outside.",
    },
    Key {
        name: "roles.gateway.bandwidth-bits",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 50_000_000),
        about: "What a gateway is asked for: bits a second.",
    },
    Key {
        name: "roles.gateway.coordination",
        kind: Kind::Flag(false),
        about: "What a gateway is asked for: synced writes that are soon done.",
    },
    Key {
        name: "roles.gateway.cpu-milli",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "What a gateway is asked for: thousandths of cores.",
    },
    Key {
        name: "roles.gateway.disk-bytes",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "What a gateway is asked for: bytes of disk, free and its own.",
    },
    Key {
        name: "roles.gateway.memory-bytes",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 0),
        about: "What a gateway is asked for: bytes of memory.",
    },
    Key {
        name: "roles.gateway.stability-permille",
        kind: Kind::Number(0, 1_000, 0),
        about: "What a gateway is asked for: stability, in thousandths.",
    },
    Key {
        name: "roles.gateway.storage",
        kind: Kind::Flag(false),
        about: "What a gateway is asked for: a data directory that can be written and has room.",
    },
    Key {
        name: "roles.leave-permille",
        kind: Kind::Number(1, 1_000, 800),
        about: "A node keeps a role while it has this part of what the role asks, in thousandths.",
    },
    Key {
        name: "roles.master.address",
        kind: Kind::Flag(false),
        about: "What a master is asked for: an address that is reached from outside.",
    },
    Key {
        name: "roles.master.bandwidth-bits",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 20_000_000),
        about: "What a master is asked for: bits a second.",
    },
    Key {
        name: "roles.master.coordination",
        kind: Kind::Flag(true),
        about: "What a master is asked for: synced writes that are soon done.",
    },
    Key {
        name: "roles.master.cpu-milli",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 4000),
        about: "What a master is asked for: thousandths of cores.",
    },
    Key {
        name: "roles.master.disk-bytes",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 20_000_000_000),
        about: "What a master is asked for: bytes of disk, free and its own.",
    },
    Key {
        name: "roles.master.memory-bytes",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 8_000_000_000),
        about: "What a master is asked for: bytes of memory.",
    },
    Key {
        name: "roles.master.stability-permille",
        kind: Kind::Number(0, 1_000, 900),
        about: "What a master is asked for: stability, in thousandths.",
    },
    Key {
        name: "roles.master.storage",
        kind: Kind::Flag(false),
        about: "What a master is asked for: a data directory that can be written and has room.",
    },
    Key {
        name: "roles.need.gateways",
        kind: Kind::Number(0, 65_536, 0),
        about: "How many gateways the cluster needs at least.",
    },
    Key {
        name: "roles.need.masters",
        kind: Kind::Number(0, 65_536, 1),
        about: "How many masters the cluster needs at least.",
    },
    Key {
        name: "roles.need.voters",
        kind: Kind::Number(0, 65_536, 3),
        about: "How many masters and workers together, who may vote the cluster needs at least.",
    },
    Key {
        name: "roles.need.workers",
        kind: Kind::Number(0, 65_536, 1),
        about: "How many workers the cluster needs at least.",
    },
    Key {
        name: "roles.prefer-upgrade",
        kind: Kind::Flag(true),
        about: "Idle nodes that are fit become workers, also when nobody needs them.",
    },
    Key {
        name: "roles.stand-in-after-ms",
        kind: Kind::Number(0, 604_800_000, 60_000),
        about: "A master is missing for so many milliseconds before a node that is not fit stands in.",
    },
    Key {
        name: "roles.storage-bytes",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 1_000_000_000),
        about: "The room that `storage` means, in bytes.",
    },
    Key {
        name: "roles.unknown.address",
        kind: Kind::Flag(false),
        about: "A node of which nobody knows its address passes as if it had enough.",
    },
    Key {
        name: "roles.unknown.bandwidth",
        kind: Kind::Flag(true),
        about: "A node of which nobody knows its bandwidth passes as if it had enough.",
    },
    Key {
        name: "roles.unknown.coordination",
        kind: Kind::Flag(false),
        about: "A node of which nobody knows its coordination passes as if it had enough.",
    },
    Key {
        name: "roles.unknown.cpu",
        kind: Kind::Flag(false),
        about: "A node of which nobody knows its cpu passes as if it had enough.",
    },
    Key {
        name: "roles.unknown.disk",
        kind: Kind::Flag(false),
        about: "A node of which nobody knows its disk passes as if it had enough.",
    },
    Key {
        name: "roles.unknown.memory",
        kind: Kind::Flag(false),
        about: "A node of which nobody knows its memory passes as if it had enough.",
    },
    Key {
        name: "roles.unknown.stability",
        kind: Kind::Flag(true),
        about: "A node of which nobody knows its stability passes as if it had enough.",
    },
    Key {
        name: "roles.unknown.storage",
        kind: Kind::Flag(false),
        about: "A node of which nobody knows its storage passes as if it had enough.",
    },
    Key {
        name: "roles.unseen-for-ms",
        kind: Kind::Number(0, 604_800_000, 60_000),
        about: "A node with a record that was not seen for so many milliseconds counts as lost.",
    },
    Key {
        name: "roles.worker.address",
        kind: Kind::Flag(false),
        about: "What a worker is asked for: an address that is reached from outside.",
    },
    Key {
        name: "roles.worker.bandwidth-bits",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 10_000_000),
        about: "What a worker is asked for: bits a second.",
    },
    Key {
        name: "roles.worker.coordination",
        kind: Kind::Flag(false),
        about: "What a worker is asked for: synced writes that are soon done.",
    },
    Key {
        name: "roles.worker.cpu-milli",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 2000),
        about: "What a worker is asked for: thousandths of cores.",
    },
    Key {
        name: "roles.worker.disk-bytes",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 50_000_000_000),
        about: "What a worker is asked for: bytes of disk, free and its own.",
    },
    Key {
        name: "roles.worker.memory-bytes",
        kind: Kind::Number(0, 4_611_686_018_427_387_904, 4_000_000_000),
        about: "What a worker is asked for: bytes of memory.",
    },
    Key {
        name: "roles.worker.stability-permille",
        kind: Kind::Number(0, 1_000, 0),
        about: "What a worker is asked for: stability, in thousandths.",
    },
    Key {
        name: "roles.worker.storage",
        kind: Kind::Flag(true),
        about: "What a worker is asked for: a data directory that can be written and has room.",
    },
    Key {
        name: VOTERS_LEECHERS,
        kind: Kind::Flag(false),
        about: "Leechers vote when there are not enough masters and workers.",
    },
    Key {
        name: VOTERS_MOST,
        kind: Kind::OneOf(&[5, 1, 3]),
        about: "How many nodes vote at most.",
    },
    Key {
        name: VOTERS_PAUSE,
        kind: Kind::Number(0, 3_600_000, 2_000),
        about: "Milliseconds between two changes of the voters.",
    },
    Key {
        name: VOTERS_REPLACE_AFTER,
        kind: Kind::Number(1_000, 86_400_000, 60_000),
        about: "A voter whose disk acknowledged nothing for so many milliseconds is replaced.",
    },
];

/// Why a value is not one for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ValueFault {
    /// Another kind.
    #[error("it holds true or false")]
    NoFlag,
    /// Another kind.
    #[error("it holds a whole number")]
    NoNumber,
    /// Another kind.
    #[error("it holds a text")]
    NoText,
    /// Too small or too large.
    #[error("it holds a number from {from} to {to}")]
    OutOfRange {
        /// At least.
        from: i64,
        /// At most.
        to: i64,
    },
    /// Not one of a few.
    #[error("it holds one of a few numbers, and {found} is none of them")]
    NotOneOf {
        /// What it was.
        found: i64,
    },
    /// Too long.
    #[error("it holds a text of at most {limit} bytes, and this one has {found}")]
    TooLong {
        /// What it has.
        found: u64,
        /// What it may have.
        limit: u64,
    },
}

/// What a key holds, if there is such a one.
#[must_use]
pub fn kind_of(name: &str) -> Option<Kind> {
    if let Ok(at) = KEYS.binary_search_by_key(&name, |key| key.name) {
        return Some(KEYS[at].kind);
    }
    let rest = name.strip_prefix(FREE)?;
    let is_name = !rest.is_empty()
        && name.len() <= NAME_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte));
    is_name.then_some(Kind::Text(TEXT_BYTES, ""))
}

impl Kind {
    /// What it holds when nobody decided anything.
    #[must_use]
    pub fn default(self) -> Value {
        match self {
            Self::Flag(flag) => Value::Flag(flag),
            Self::OneOf(numbers) => Value::Number(numbers.first().copied().unwrap_or_default()),
            Self::Number(_, _, number) => Value::Number(number),
            Self::Text(_, text) => Value::Text(text.to_owned()),
        }
    }

    /// Whether it holds this.
    ///
    /// # Errors
    /// Why not.
    pub fn check(self, value: &Value) -> Result<(), ValueFault> {
        match (self, value) {
            (Self::Flag(_), Value::Flag(_)) => Ok(()),
            (Self::Flag(_), _) => Err(ValueFault::NoFlag),
            (Self::OneOf(numbers), Value::Number(found)) => numbers
                .contains(found)
                .then_some(())
                .ok_or(ValueFault::NotOneOf { found: *found }),
            (Self::Number(from, to, _), Value::Number(found)) => (from..=to)
                .contains(found)
                .then_some(())
                .ok_or(ValueFault::OutOfRange { from, to }),
            (Self::OneOf(_) | Self::Number(..), _) => Err(ValueFault::NoNumber),
            (Self::Text(limit, _), Value::Text(text)) => {
                let limit_kept = text.len() <= limit;
                limit_kept.then_some(()).ok_or(ValueFault::TooLong {
                    found: text.len() as u64,
                    limit: limit as u64,
                })
            }
            (Self::Text(..), _) => Err(ValueFault::NoText),
        }
    }

    /// A value as people write it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(self, text: &str) -> Result<Value, ValueFault> {
        let value = match self {
            Self::Flag(_) => Value::Flag(text.parse().map_err(|_| ValueFault::NoFlag)?),
            Self::OneOf(_) | Self::Number(..) => {
                Value::Number(text.parse().map_err(|_| ValueFault::NoNumber)?)
            }
            Self::Text(..) => Value::Text(text.to_owned()),
        };
        self.check(&value).map(|()| value)
    }

    /// What it holds, in words.
    #[must_use]
    pub fn told(self) -> String {
        match self {
            Self::Flag(_) => "true or false".to_owned(),
            Self::OneOf(numbers) => {
                let mut numbers = numbers.to_vec();
                numbers.sort_unstable();
                let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
                numbers.join(", ")
            }
            Self::Number(from, to, _) => format!("{from} to {to}"),
            Self::Text(limit, _) => format!("a text of at most {limit} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_hold_their_defaults() {
        assert!(KEYS.is_sorted_by(|one, two| one.name < two.name));
        for key in KEYS {
            let default = key.kind.default();
            assert_eq!(key.kind.check(&default), Ok(()), "{}", key.name);
            assert_eq!(key.kind.parse(&default.to_string()), Ok(default));
            assert_eq!(kind_of(key.name), Some(key.kind));
        }
    }

    #[test]
    fn keys_of_other_programs_hold_texts_and_all_else_is_no_key() {
        assert_eq!(kind_of("app.x/y-1"), Some(Kind::Text(TEXT_BYTES, "")));
        let long = format!("app.{}", "x".repeat(NAME_BYTES));
        for none in [
            "",
            "app.",
            "app.a b",
            "app.ä",
            "voters",
            "voters.mos",
            &long,
        ] {
            assert_eq!(kind_of(none), None, "{none}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_what_would() {
        let most = kind_of(VOTERS_MOST).expect("it is a key");
        assert_eq!(most.parse("4"), Err(ValueFault::NotOneOf { found: 4 }));
        assert_eq!(most.parse("many"), Err(ValueFault::NoNumber));
        assert_eq!(most.told(), "1, 3, 5");
        let pause = kind_of(VOTERS_PAUSE).expect("it is a key");
        let range = ValueFault::OutOfRange {
            from: 0,
            to: 3_600_000,
        };
        assert_eq!(pause.parse("-1"), Err(range));
        let leechers = kind_of(VOTERS_LEECHERS).expect("it is a key");
        assert_eq!(leechers.parse("yes"), Err(ValueFault::NoFlag));
        assert_eq!(leechers.check(&Value::Number(1)), Err(ValueFault::NoFlag));
        let name = kind_of("cluster.name").expect("it is a key");
        let long = ValueFault::TooLong {
            found: 65,
            limit: 64,
        };
        assert_eq!(name.parse(&"x".repeat(65)), Err(long));
    }
}
