//! What people decided about knobs, as the keys of decided configuration hold it: `adapt.…`.
//!
//! Which keys there are stands with all others, in the schema of decided state; here is only which belongs where.
//!
//! Deliberately not here: reading them from the running system.

use convoke_types::wire::store::schema::ADAPT;
use convoke_types::wire::store::{Value, schema};

use super::policy::{Policy, Range};
use super::table::{Knob, TABLE};

impl Policy {
    /// What these keys say. What `decided` does not know, or holds in another form, is as by default.
    #[must_use]
    pub fn of_keys(decided: impl Fn(&str) -> Option<Value>) -> Self {
        let keys = Keys(decided);
        let mut policy = Self {
            frozen: keys.flag("frozen"),
            dry_run: keys.flag("dry-run"),
            ..Self::default()
        };
        for knob in Knob::ALL {
            if keys.flag(&format!("{knob}.frozen")) {
                policy.frozen_knobs.insert(knob);
            }
            if let Some(value) = keys.amount(&format!("{knob}.fixed")) {
                policy.fixed.insert(knob, value);
            }
            let least = keys.amount(&format!("{knob}.least"));
            let most = keys.amount(&format!("{knob}.most"));
            if least.is_some() || most.is_some() {
                let spec = &TABLE[knob.index()];
                let range = Range {
                    least: least.unwrap_or(spec.least),
                    most: most.unwrap_or(spec.most),
                };
                policy.ranges.insert(knob, range);
            }
        }
        policy
    }
}

struct Keys<F>(F);

impl<F: Fn(&str) -> Option<Value>> Keys<F> {
    fn value(&self, name: &str) -> Option<Value> {
        let name = format!("{ADAPT}{name}");
        let kind = schema::kind_of(&name)?;
        (self.0)(&name).filter(|value| kind.check(value).is_ok())
    }

    fn flag(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Flag(true))
    }

    /// An amount that people named; none is nought.
    fn amount(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => u64::try_from(number).ok().filter(|it| *it > 0),
            Value::Flag(_) | Value::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn without_a_decision_nodes_turn_their_knobs() {
        assert_eq!(Policy::of_keys(|_| None), Policy::default());
        let by_default = |name: &str| schema::kind_of(name).map(schema::Kind::default);
        assert_eq!(Policy::of_keys(by_default), Policy::default());
    }

    #[test]
    fn every_key_of_knobs_is_asked_for_and_no_other() {
        let asked = RefCell::new(BTreeSet::new());
        let _ = Policy::of_keys(|name| {
            asked.borrow_mut().insert(name.to_owned());
            None
        });
        let names = schema::KEYS.iter().map(|key| key.name.to_owned());
        let expected: BTreeSet<_> = names.filter(|name| name.starts_with(ADAPT)).collect();
        assert_eq!(asked.into_inner(), expected);
    }

    #[test]
    fn what_is_decided_counts() {
        let policy = Policy::of_keys(|name| match name {
            "adapt.frozen" => Some(Value::Number(1)),
            "adapt.dry-run" | "adapt.cache-bytes.frozen" => Some(Value::Flag(true)),
            "adapt.gossip-pace.fixed" => Some(Value::Number(40)),
            "adapt.snapshot-streams.most" => Some(Value::Number(2)),
            "adapt.snapshot-streams.least" => Some(Value::Number(-2)),
            _ => None,
        });
        let range = Range { least: 1, most: 2 };
        let expected = Policy {
            frozen: false,
            frozen_knobs: [Knob::CacheBytes].into(),
            fixed: [(Knob::GossipPace, 40)].into(),
            ranges: [(Knob::SnapshotStreams, range)].into(),
            dry_run: true,
            ..Policy::default()
        };
        assert_eq!(policy, expected);
    }
}
