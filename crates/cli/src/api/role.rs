//! `convoke role`: which role each node has, why, and deciding it.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed or was refused, or nobody answers | 1 |
//! | it may or may not have been carried out | 3 |
//! | there is no such node | 4 |
//!
//! Deliberately not here: the reasoning, which is the planner's; and what a node may become (`convoke node allow`).

use anyhow::bail;
use clap::{Args, Subcommand};
use convoke_types::Role;
use convoke_types::wire::store::{Value, schema};
use convoke_web::model::{
    AuditEntry, ConfigValue, NodeSummary, PlanRoles, PlannedKey, SetRole, Stated, SteerRole,
};

use super::{Doing, KEPT_MOST, Where, moment, short, tail};
use crate::near::did_you_mean;
use crate::output::{self, json_line, put, table};
use crate::table::{Cell, Table, Tone};
use crate::text::plain;

/// Operations of the audit log that are about roles.
const ABOUT_ROLES: [&str; 2] = ["appoint", "plan"];

/// What `convoke role` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists nodes with their roles and how they come to them
    #[command(visible_alias = "ls")]
    List(All),
    /// Gives a node a role; from then on its role is set by hand
    Set(Set),
    /// Has a node's role follow from what its machine can do and what the cluster needs
    Auto(One),
    /// Says why a node has its role: which measurement, which threshold, since when, what would change it
    Explain(One),
    /// Says what would become of all nodes, also under other rules; changes nothing
    Plan(Plan),
    /// Shows how roles were changed, by whom and why
    History(History),
}

/// All of them.
#[derive(Args)]
pub(crate) struct All {
    #[command(flatten)]
    at: Where,
}

/// One of them.
#[derive(Args)]
pub(crate) struct One {
    /// The node: its id, the beginning of it, or its name
    node: String,
    #[command(flatten)]
    at: Where,
}

/// What `convoke role set` takes.
#[derive(Args)]
pub(crate) struct Set {
    /// The node: its id, the beginning of it, or its name
    node: String,
    /// Its role from now on, of those it may have
    role: Role,
    /// Holds it to that role, also when it may not have it for a while
    #[arg(long)]
    pin: bool,
    #[command(flatten)]
    at: Where,
}

/// What `convoke role plan` takes.
#[derive(Args)]
pub(crate) struct Plan {
    /// Keys of configuration as if they held other values, as roles.need.masters=3
    #[arg(value_name = "KEY=VALUE", value_parser = planned)]
    instead: Vec<Planned>,
    #[command(flatten)]
    at: Where,
}

/// What `convoke role history` takes.
#[derive(Args)]
pub(crate) struct History {
    /// The last so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(KEPT_MOST)))]
    limit: u32,
    #[command(flatten)]
    at: Where,
}

/// A key as if it held another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    key: String,
    value: ConfigValue,
}

fn planned(text: &str) -> Result<Planned, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write it as KEY=VALUE, as roles.need.masters=3")?;
    let Some(kind) = schema::kind_of(key).filter(|_| key.starts_with(schema::ROLES)) else {
        let names = schema::KEYS.iter().map(|key| key.name);
        let names = names.filter(|name| name.starts_with(schema::ROLES));
        return Err(format!(
            "there is no key {} of roles{}",
            plain(key),
            did_you_mean(key, names)
        ));
    };
    let value = kind.parse(value).map_err(|why| format!("{key}: {why}"))?;
    Ok(Planned {
        key: key.to_owned(),
        value: match value {
            Value::Flag(flag) => ConfigValue::Flag(flag),
            Value::Number(number) => ConfigValue::Number(number),
            Value::Text(text) => ConfigValue::Text(text),
        },
    })
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::List(All { at }) => list(&at).await,
            Command::Set(set) => give(&set).await,
            Command::Auto(One { node, at }) => auto(&node, &at).await,
            Command::Explain(One { node, at }) => explain(&node, &at).await,
            Command::Plan(asked) => plan(asked).await,
            Command::History(asked) => history(&asked).await,
        }
    })
}

async fn list(at: &Where) -> anyhow::Result<()> {
    let asked = at.open().await?;
    let found = asked
        .have(Doing::Asking, "list roles", async |client| {
            let page = async |part: &_| {
                let page = client.nodes(part).await?;
                Ok((page.items, page.next))
            };
            tail(KEPT_MOST, None, page).await
        })
        .await?;
    let enrolled = found.items.iter().filter(|it| it.role.value.is_some());
    put(&if at.json {
        enrolled.map(json_line).collect::<String>()
    } else {
        let list = Table::new(["NODE", "NAME", "ROLE", "HOW", "IT SAYS", "SEEN"]);
        table(&list.yields(&["NAME", "IT SAYS"]).rows(enrolled.map(row)))
    })?;
    Ok(())
}

fn row(node: &NodeSummary) -> Vec<Cell> {
    let role = |stated: &Stated<convoke_web::model::Role>| {
        stated
            .value
            .map_or_else(|| "-".to_owned(), |it| it.name().to_owned())
    };
    let how = match (node.pinned.value, node.by_hand.value) {
        (Some(pin), _) => format!("held to {}", pin.name()),
        (None, Some(true)) => "by hand".to_owned(),
        (None, Some(false)) => "auto".to_owned(),
        (None, None) => "-".to_owned(),
    };
    let is_there = node.verdict.value == Some(convoke_web::model::Verdict::Reachable);
    let seen = match node.verdict.value {
        Some(verdict) => format!("{verdict:?}").to_lowercase(),
        None => "not seen".to_owned(),
    };
    vec![
        Cell::from(short(&node.id)),
        Cell::from(node.name.as_deref().map_or_else(|| "-".to_owned(), plain)),
        Cell::from(role(&node.role)),
        Cell::from(how),
        Cell::from(role(&node.role_seen)),
        Cell::toned(seen, (!is_there).then_some(Tone::Doubtful)),
    ]
}

async fn give(set: &Set) -> anyhow::Result<()> {
    let asked = set.at.open().await?;
    let role = set.role.into();
    let changed = asked
        .have(Doing::Changing, "set a role", async |client| {
            if set.pin {
                let to = SteerRole {
                    auto: true,
                    pin: Some(role),
                };
                client.steer_role(&set.node, to).await?;
            }
            client.set_role(&set.node, SetRole { role }).await
        })
        .await?;
    told(set.at.json, changed.revision, || {
        let held = if set.pin { ", and is held to it" } else { "" };
        format!(
            "{} is a {} from now on{held}. `convoke role auto {}` lets it change again.",
            plain(&set.node),
            set.role,
            plain(&set.node)
        )
    })
}

async fn auto(node: &str, at: &Where) -> anyhow::Result<()> {
    let asked = at.open().await?;
    let changed = asked
        .have(Doing::Changing, "let a role change", async |client| {
            let to = SteerRole {
                auto: true,
                pin: None,
            };
            client.steer_role(node, to).await
        })
        .await?;
    told(at.json, changed.revision, || {
        format!(
            "The role of {} follows from what its machine can do and what the cluster needs. `convoke role explain {}` says how it stands.",
            plain(node),
            plain(node)
        )
    })
}

fn told(
    is_json: bool,
    revision: Option<u64>,
    words: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    put(&if is_json {
        json_line(&serde_json::json!({"revision": revision}))
    } else {
        format!("{}\n", words())
    })?;
    Ok(())
}

async fn explain(node: &str, at: &Where) -> anyhow::Result<()> {
    let asked = at.open().await?;
    let explained = asked
        .have(Doing::Asking, "explain a role", async |client| {
            client.explain_role(node).await
        })
        .await?;
    put(&if at.json {
        json_line(&explained)
    } else {
        let lines = explained.text.lines().map(plain);
        let mut text: String = lines.map(|line| format!("{line}\n")).collect();
        for notice in &explained.notices {
            text.push_str(&format!("{}\n", plain(notice)));
        }
        text
    })?;
    Ok(())
}

async fn plan(asked: Plan) -> anyhow::Result<()> {
    let node = asked.at.open().await?;
    let instead = asked.instead.into_iter();
    let what = PlanRoles {
        instead: instead
            .map(|it| PlannedKey {
                key: it.key,
                value: it.value,
            })
            .collect(),
    };
    let plan = node
        .have(Doing::Asking, "plan roles", async |client| {
            client.plan_roles(&what).await
        })
        .await?;
    if asked.at.json {
        put(&json_line(&plan))?;
        return Ok(());
    }
    let mut text = String::new();
    if plan.changes.is_empty() {
        text.push_str("Every node would keep its role.\n");
    } else {
        let name = |role: Option<convoke_web::model::Role>| {
            role.map_or("-", convoke_web::model::Role::name).to_owned()
        };
        let rows = plan.changes.iter().map(|change| {
            vec![
                short(&change.id),
                change.name.as_deref().map_or_else(|| "-".to_owned(), plain),
                name(change.from),
                name(change.to),
                plain(&change.because),
            ]
        });
        let list = Table::new(["NODE", "NAME", "IS", "WOULD BE", "WHY"]);
        text.push_str(&table(&list.yields(&["NAME", "WHY"]).rows(rows)));
    }
    for notice in &plan.notices {
        text.push_str(&format!("{}\n", plain(notice)));
    }
    put(&text)?;
    if !plan.settled {
        bail!("these rules never come to rest: they contradict each other");
    }
    Ok(())
}

async fn history(asked: &History) -> anyhow::Result<()> {
    let node = asked.at.open().await?;
    let found = node
        .have(Doing::Asking, "history of roles", async |client| {
            let page = async |part: &_| {
                let page = client.audit(part).await?;
                Ok((page.items, page.next))
            };
            tail(KEPT_MOST, None, page).await
        })
        .await?;
    let about = |entry: &&AuditEntry| ABOUT_ROLES.contains(&entry.operation.as_str());
    let mut items: Vec<&AuditEntry> = found.items.iter().filter(about).collect();
    items.drain(..items.len().saturating_sub(asked.limit as usize));
    if asked.at.json {
        put(&items.iter().map(json_line).collect::<String>())?;
        return Ok(());
    }
    if items.is_empty() {
        put("No role was changed yet.\n")?;
        return Ok(());
    }
    let rows = items.iter().map(|entry| {
        let (node, what) = entry
            .target
            .split_once(' ')
            .unwrap_or((entry.target.as_str(), ""));
        vec![
            moment(entry.unix_ms),
            short(node),
            plain(what),
            plain(&entry.who),
            match &entry.why {
                Some(why) => format!("{:?}: {}", entry.outcome, plain(why)).to_lowercase(),
                None => format!("{:?}", entry.outcome).to_lowercase(),
            },
        ]
    });
    let list = Table::new(["WHEN", "NODE", "BECAME", "WHO", "OUTCOME"]);
    put(&table(&list.yields(&["BECAME", "WHO"]).rows(rows)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_key_is_one_of_roles_with_a_value_that_fits() {
        let read = planned("roles.need.masters=3").expect("it is one");
        assert_eq!(read.value, ConfigValue::Number(3));
        for (text, says) in [
            ("roles.need.masters", "KEY=VALUE"),
            ("roles.need.master=3", "roles.need.masters"),
            ("voters.most=3", "no key"),
            ("roles.auto=perhaps", "true or false"),
        ] {
            let why = planned(text).expect_err(text);
            assert!(why.contains(says), "{why}");
        }
    }
}
