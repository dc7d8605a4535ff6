//! Why nodes have their roles, and what would become of them: the planner of this node is asked.
//!
//! Deliberately not here: the reasoning (`convoke_planner`).

use std::collections::BTreeMap;
use std::sync::Arc;

use convoke_consensus::host::LogNode;
use convoke_planner::roles::abilities::{Work, can_handle};
use convoke_planner::roles::config::{RoleConfig, Setting};
use convoke_planner::roles::explain::{Check, Explanation, Found, Judgement, Next};
use convoke_planner::roles::fitness::Level;
use convoke_types::Timestamp;
use convoke_types::wire::store::{Command, NodeCommand, Value, schema};
use convoke_web::backend::Caller;
use convoke_web::model::{
    Changed, ConfigValue, PlanRoles, PlannedRole, RoleCheck, RoleExplanation, RoleJudgement,
    RolePlan, RoleSetting, RoleWork, SteerRole,
};
use convoke_web::{Code, Fault};

use super::ask::Desk;
use crate::planning;

impl Desk {
    pub(super) async fn steer(
        &self,
        by: &Caller,
        node: &str,
        to: SteerRole,
    ) -> Result<Changed, Fault> {
        let command = NodeCommand::Steer {
            node: self.resolve(node).await?,
            auto: to.auto,
            pin: to.pin.map(Into::into),
        };
        self.noted(by, Command::Node(command)).await
    }

    fn planner(&self) -> Result<(Arc<planning::Desk>, LogNode, Timestamp), Fault> {
        let none = || {
            Fault::new(
                Code::NotBuilt,
                "this node plans no roles: those do that keep the log and may lead",
            )
            .advise("ask a master or a worker")
        };
        let desk = self.parts.desk.get().ok_or_else(none)?;
        let log = self.parts.log_with_entries().ok_or_else(none)?;
        let now = self.parts.log_clock.now().unwrap_or_default();
        Ok((desk, log, now))
    }

    pub(super) async fn explain_role_of(&self, node: &str) -> Result<RoleExplanation, Fault> {
        let id = self.resolve(node).await?;
        let (desk, log, now) = self.planner()?;
        let gossip = self.parts.gossip.get();
        let explained = desk.explain(now, &log, gossip.as_ref(), id);
        let (explained, config) = explained.ok_or_else(|| {
            Fault::not_found(format!(
                "node {} is not enrolled, and so has no role",
                id.short()
            ))
        })?;
        Ok(self.told(&explained, &config))
    }

    fn told(&self, explained: &Explanation, config: &RoleConfig) -> RoleExplanation {
        let at = |time| self.parts.log_clock.unix_ms(time);
        let (next, becomes) = match &explained.next {
            Next::Change(change) => (change.to_string(), Some(change.to)),
            Next::Hold(hold) => (hold.to_string(), None),
        };
        RoleExplanation {
            id: explained.node.to_string(),
            role: Some(explained.role.into()),
            changed_unix_ms: explained.changed_at.map(at),
            presence: explained.presence.name().to_owned(),
            roles: explained
                .roles
                .iter()
                .map(|it| judgement(it, &at))
                .collect(),
            next,
            becomes: becomes.map(Into::into),
            to_change: explained.remedy(),
            notices: explained.notices.iter().map(ToString::to_string).collect(),
            can_handle: Work::ALL.map(|work| ability(explained.role, work)).into(),
            settings: config.settings().map(setting).into(),
            text: format!("{explained}{config}"),
        }
    }

    pub(super) fn plan(&self, what: &PlanRoles) -> Result<RolePlan, Fault> {
        let mut instead: BTreeMap<&str, Value> = BTreeMap::new();
        for planned in &what.instead {
            let key = planned.key.as_str();
            let kind = schema::kind_of(key).filter(|_| key.starts_with(schema::ROLES));
            let kind = kind.ok_or_else(|| {
                Fault::new(Code::BadField, format!("{key:?} is no key of roles"))
                    .advise("`GET /v1/config?prefix=roles.` shows which there are")
            })?;
            let value = match &planned.value {
                ConfigValue::Flag(flag) => Value::Flag(*flag),
                ConfigValue::Number(number) => Value::Number(*number),
                ConfigValue::Text(text) => Value::Text(text.clone()),
            };
            let fits = kind.check(&value);
            fits.map_err(|why| Fault::new(Code::BadField, format!("{key}: {why}")))?;
            instead.insert(key, value);
        }
        let (desk, log, now) = self.planner()?;
        let gossip = self.parts.gossip.get();
        let run = desk.dry_run(now, &log, gossip.as_ref(), &|key| instead.get(key).cloned());
        let members = self.members();
        let name = |id| {
            let member = members.get(id)?;
            member.facts.profile.name.clone()
        };
        Ok(RolePlan {
            changes: run
                .changes
                .iter()
                .map(|change| PlannedRole {
                    id: change.node.to_string(),
                    name: name(&change.node),
                    from: Some(change.from.into()),
                    to: Some(change.to.into()),
                    because: change.because.to_string(),
                })
                .collect(),
            notices: run.notices.iter().map(ToString::to_string).collect(),
            settled: run.is_settled,
        })
    }
}

fn judgement(judged: &Judgement, at: &dyn Fn(Timestamp) -> u64) -> RoleJudgement {
    RoleJudgement {
        role: Some(judged.role.into()),
        allowed: judged.is_allowed,
        level: level(judged.level).to_owned(),
        since_unix_ms: judged.since.map(at),
        score: judged.score.into(),
        checks: judged.checks.iter().map(|it| check(it, at)).collect(),
    }
}

fn ability(role: convoke_types::Role, work: Work) -> RoleWork {
    RoleWork {
        work: work.to_string(),
        handles: can_handle(role, work).name().to_owned(),
    }
}

fn setting(setting: &Setting) -> RoleSetting {
    RoleSetting {
        name: setting.name.clone(),
        value: setting.value,
        least: setting.least,
        most: setting.most,
        is_default: setting.is_default,
        why: setting.why.clone(),
    }
}

fn check(check: &Check, at: &dyn Fn(Timestamp) -> u64) -> RoleCheck {
    RoleCheck {
        measure: check.measure.to_string(),
        level: level(check.judged.level).to_owned(),
        by_policy: check.is_by_policy(),
        since_unix_ms: at(check.since),
        found: match &check.found {
            Found::Amount(amount) => amount.to_string(),
            Found::Flag(true) => "yes".to_owned(),
            Found::Flag(false) => "no".to_owned(),
            Found::Unknown(why) => format!("nobody knows: {why}"),
        },
        source: check.source.to_string(),
        confidence: check.confidence.name().to_owned(),
    }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Meets => "meets",
        Level::Between => "between",
        Level::Below => "below",
    }
}
