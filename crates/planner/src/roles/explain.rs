//! The whole reasoning about one node: which measurement, which threshold, since when, and what would change it.
//!
//! It is made by the pass that decides, and not beside it, so what it says is what happens.
//!
//! Deliberately not here: words for people (`words`).

use std::borrow::Cow;

use convoke_types::{NodeId, Role, Timestamp};
use serde::{Deserialize, Serialize};

use super::decision::{Hold, Notice, RoleChange};
use super::fitness::{Basis, JUDGED, Judged, Level, Thresholds, amount, judge, score, thresholds};
use super::input::{Decided, Observed, Presence, Seen};
use super::measure::{Confidence, Machine, Measure, Measured, Reading};
use super::pass::{Pass, Patience};
use super::planner::{Memory, Planner, presence};
use super::rules::Rules;

/// Why a node has the role it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Which node.
    pub node: NodeId,
    /// When this was so.
    pub at: Timestamp,
    /// The role that is decided.
    pub role: Role,
    /// When it was last changed; nothing while it is the one the node came with.
    pub changed_at: Option<Timestamp>,
    /// Whether the node is there.
    pub presence: Presence,
    /// How busy it is, in thousandths, if that is known. No role follows from it.
    pub load_permille: Option<u64>,
    /// How it stands towards each role that asks something: master, worker, gateway.
    pub roles: Vec<Judgement>,
    /// What is done now, or why nothing is.
    pub next: Next,
    /// What is said about the cluster as a whole.
    pub notices: Vec<Notice>,
}

/// What is done about a node now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Next {
    /// This is proposed.
    Change(RoleChange),
    /// Nothing, and why.
    Hold(Hold),
}

/// How a node stands towards a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Which role.
    pub role: Role,
    /// It may have it.
    pub is_allowed: bool,
    /// How it stands: as its worst requirement.
    pub level: Level,
    /// Since when it is fit, or unfit; nothing in between.
    pub since: Option<Timestamp>,
    /// How much it can do there; more is better.
    pub score: u32,
    /// Each requirement.
    pub checks: Vec<Check>,
}

/// How a node stands towards one requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What it is about.
    pub measure: Measure,
    /// How it stands, and by what.
    pub judged: Judged,
    /// Since when.
    pub since: Timestamp,
    /// What the role asks.
    pub thresholds: Thresholds,
    /// What was found.
    pub found: Found,
    /// Where.
    pub source: Cow<'static, str>,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// What was found about a requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// So much.
    Amount(u64),
    /// Whether it is so: of storage and coordination that the data directory can be written.
    Flag(bool),
    /// Nothing, and why.
    Unknown(Cow<'static, str>),
}

impl Planner {
    /// The reasoning about a node, as it is at this time; nothing for a node without a record. The planner itself stays as it is.
    #[must_use]
    pub fn explain(
        &self,
        now: Timestamp,
        observed: &Observed,
        decided: &Decided,
        node: NodeId,
    ) -> Option<Explanation> {
        let enrolled = decided.nodes.get(&node)?;
        let mut planner = self.clone();
        planner.look(now, observed, decided);
        let memory = planner.nodes.get(&node)?;
        let pass = Pass::run(&planner, observed, decided, Patience::Kept);
        let at = pass.nodes.binary_search_by_key(&node, |it| it.id).ok()?;
        let next = match pass.nodes[at].change {
            Some(change) => Next::Change(pass.changes[change].clone()),
            None => Next::Hold(pass.why_not(at)),
        };
        let seen = observed.nodes.get(&node);
        let judgement = |role| {
            let is_allowed = enrolled.allowed.contains(role);
            judgement(role, is_allowed, seen, memory, &decided.rules)
        };
        Some(Explanation {
            node,
            at: planner.now,
            role: enrolled.role,
            changed_at: enrolled.changed_at,
            presence: presence(seen),
            load_permille: seen.and_then(|seen| seen.machine.load_permille.value()),
            roles: JUDGED.into_iter().map(judgement).collect(),
            next,
            notices: pass.decision().notices,
        })
    }
}

fn judgement(
    role: Role,
    is_allowed: bool,
    seen: Option<&Seen>,
    memory: &Memory,
    rules: &Rules,
) -> Judgement {
    let machine = seen.map(|seen| &seen.machine);
    let checks = Measure::ALL.into_iter().filter_map(|measure| {
        let thresholds = thresholds(role, measure, rules)?;
        let since = memory.since(role, measure)?;
        Some(check(role, measure, thresholds, since, machine?, rules))
    });
    let checks: Vec<Check> = checks.collect();
    let level = checks.iter().map(|check| check.judged.level).min();
    // Of a machine that was not seen nothing is known, so it has no checks.
    let without = match machine {
        Some(_) => Level::Meets,
        None => Level::Below,
    };
    let level = level.unwrap_or(without);
    let since = match level {
        Level::Meets => memory.fit_since(role),
        Level::Below => memory.unfit_since(role),
        Level::Between => None,
    };
    Judgement {
        role,
        is_allowed,
        level,
        since,
        score: machine.map_or(0, |machine| score(role, machine, rules)),
        checks,
    }
}

fn check(
    role: Role,
    measure: Measure,
    thresholds: Thresholds,
    since: Timestamp,
    machine: &Machine,
    rules: &Rules,
) -> Check {
    let judged = judge(role, measure, machine, rules);
    let (found, source, confidence) = match measure {
        // Either the directory decides, or the room in it or its speed.
        Measure::Storage | Measure::Coordination
            if is_about_directory(measure, machine, judged) =>
        {
            flag(&machine.is_writable)
        }
        Measure::Address => flag(&machine.is_addressable),
        Measure::Cpu
        | Measure::Memory
        | Measure::Disk
        | Measure::Bandwidth
        | Measure::Stability
        | Measure::Storage
        | Measure::Coordination => {
            let measured = amount(measure, machine);
            let found = match &measured.reading {
                Reading::Value(value) => Found::Amount(*value),
                Reading::Unknown(why) => Found::Unknown(why.clone()),
            };
            (found, measured.source.clone(), measured.confidence)
        }
    };
    Check {
        measure,
        judged,
        since,
        thresholds,
        found,
        source,
        confidence,
    }
}

fn is_about_directory(measure: Measure, machine: &Machine, judged: Judged) -> bool {
    match machine.is_writable.value() {
        Some(is_writable) => !is_writable,
        None => measure == Measure::Storage && judged.basis == Basis::Policy,
    }
}

fn flag(measured: &Measured<bool>) -> (Found, Cow<'static, str>, Confidence) {
    let found = match &measured.reading {
        Reading::Value(value) => Found::Flag(*value),
        Reading::Unknown(why) => Found::Unknown(why.clone()),
    };
    (found, measured.source.clone(), measured.confidence)
}

impl Check {
    /// It rests on policy and not on a value.
    #[must_use]
    pub fn is_by_policy(&self) -> bool {
        self.judged.basis == Basis::Policy
    }
}
