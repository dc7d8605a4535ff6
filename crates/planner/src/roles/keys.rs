//! The rules as the keys of decided configuration hold them: `roles.…`.
//!
//! Which keys there are and what they hold by default stands with all others, in the schema of decided state; here is only which belongs where.
//!
//! Deliberately not here: reading them from the running system.

use std::time::Duration;

use convoke_types::Role;
use convoke_types::wire::store::schema::ROLES;
use convoke_types::wire::store::{Value, schema};

use super::measure::Measure;
use super::rules::{Need, Requirement, Requirements, Rules};

impl Rules {
    /// The rules that these keys say. What `decided` does not know, or holds in another form, is as by default.
    #[must_use]
    pub fn of_keys(decided: impl Fn(&str) -> Option<Value>) -> Self {
        let keys = Keys(decided);
        Self {
            auto: keys.flag("auto"),
            prefer_upgrade: keys.flag("prefer-upgrade"),
            check_every: keys.time("check-every-ms"),
            dwell: keys.time("dwell-ms"),
            cooldown: keys.time("cooldown-ms"),
            changes_per_minute: keys.small("changes-per-minute"),
            leave_permille: keys.number("leave-permille"),
            stand_in_after: keys.time("stand-in-after-ms"),
            unseen_for: keys.time("unseen-for-ms"),
            requirements: Requirements {
                master: keys.requirement(Role::Master),
                worker: keys.requirement(Role::Worker),
                gateway: keys.requirement(Role::Gateway),
            },
            storage_bytes: keys.number("storage-bytes"),
            coordination_us: keys.number("coordination-us"),
            unknown_passes: Measure::ALL
                .into_iter()
                .filter(|measure| keys.flag(&format!("unknown.{measure}")))
                .collect(),
            need: Need {
                masters: keys.small("need.masters"),
                voters: keys.small("need.voters"),
                workers: keys.small("need.workers"),
                gateways: keys.small("need.gateways"),
            },
        }
    }
}

struct Keys<F>(F);

impl<F: Fn(&str) -> Option<Value>> Keys<F> {
    fn value(&self, name: &str) -> Option<Value> {
        let name = format!("{ROLES}{name}");
        let kind = schema::kind_of(&name)?;
        let decided = (self.0)(&name).filter(|value| kind.check(value).is_ok());
        Some(decided.unwrap_or_else(|| kind.default()))
    }

    fn flag(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Flag(true))
    }

    fn number(&self, name: &str) -> u64 {
        match self.value(name) {
            Some(Value::Number(number)) => u64::try_from(number).unwrap_or_default(),
            Some(Value::Flag(_) | Value::Text(_)) | None => 0,
        }
    }

    fn small(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(u32::MAX)
    }

    fn time(&self, name: &str) -> Duration {
        Duration::from_millis(self.number(name))
    }

    fn requirement(&self, role: Role) -> Requirement {
        let number = |of: &str| self.number(&format!("{role}.{of}"));
        let flag = |of: &str| self.flag(&format!("{role}.{of}"));
        Requirement {
            cpu_milli: number("cpu-milli"),
            memory_bytes: number("memory-bytes"),
            disk_bytes: number("disk-bytes"),
            bandwidth_bits: number("bandwidth-bits"),
            stability_permille: number("stability-permille"),
            storage: flag("storage"),
            coordination: flag("coordination"),
            address: flag("address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn without_a_decision_the_rules_are_the_default_ones() {
        assert_eq!(Rules::of_keys(|_| None), Rules::default());
    }

    #[test]
    fn every_key_of_roles_is_asked_for_and_no_other() {
        let asked = RefCell::new(BTreeSet::new());
        let _ = Rules::of_keys(|name| {
            asked.borrow_mut().insert(name.to_owned());
            None
        });
        let names = schema::KEYS.iter().map(|key| key.name.to_owned());
        let expected: BTreeSet<_> = names.filter(|name| name.starts_with(ROLES)).collect();
        assert_eq!(asked.into_inner(), expected);
    }

    #[test]
    fn whatever_the_schema_takes_can_be_rules() {
        for least in [true, false] {
            let rules = Rules::of_keys(|name| match schema::kind_of(name)? {
                schema::Kind::Number(from, to, _) => {
                    Some(Value::Number(if least { from } else { to }))
                }
                schema::Kind::Flag(_) | schema::Kind::OneOf(_) | schema::Kind::Text(..) => None,
            });
            assert_eq!(rules.check(), Ok(()));
        }
    }

    #[test]
    fn a_value_of_another_form_changes_nothing() {
        let rules = Rules::of_keys(|_| Some(Value::Text("much".to_owned())));
        assert_eq!(rules, Rules::default());
    }
}
