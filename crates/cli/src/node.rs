//! `convoke node`: what is decided about nodes, and deciding it.
//!
//! A node is named by its id, the beginning of it, or an address.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed or was refused, and nothing was changed | 1 |
//! | it may or may not have been carried out | 3 |
//! | no such node is enrolled | 4 |
//!
//! Deliberately not here: what nodes observe of each other, and who votes (`convoke raft`).

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use convoke_rpc::{NodeId, Role, RoleSet};
use convoke_store::Error;
use convoke_types::Incarnation;
use convoke_types::wire::store::{Command as Decided, Done, Mark, Marked, NodeCommand, Record};
use serde_json::{Value as Json, json};

use crate::log::{Doing, Log};
use crate::near::did_you_mean;
use crate::output::{self, Ending, json_line, put, table};
use crate::table::Table;
use crate::text::plain;

/// What `convoke node` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists nodes with their roles
    #[command(visible_alias = "list")]
    Ls(All),
    /// Shows what is decided about a node
    Show(One),
    /// Bounds what a node may become, whatever its certificate says
    Allow(Allow),
    /// Gives a node a role that it may have
    Grant(Grant),
    /// Takes a node out of use: it votes, leads and is given work no longer
    Drain(One),
    /// Takes a node into use again
    Undrain(One),
    /// Forgets a node that is gone for good
    Forget(One),
    /// Confirms that members are lost, so that what they owned may be given to others
    ConfirmLoss(ConfirmLoss),
    /// Lists what happened to the cluster as a whole: recoveries, restores, losses
    Marks(All),
}

/// All of them.
#[derive(Args)]
pub(crate) struct All {
    #[command(flatten)]
    log: Log,
}

/// One of them.
#[derive(Args)]
pub(crate) struct One {
    /// The node: its id, the beginning of it, or an address
    node: String,
    #[command(flatten)]
    log: Log,
}

/// What `convoke node allow` takes.
#[derive(Args)]
pub(crate) struct Allow {
    /// The node: its id, the beginning of it, or an address
    node: String,
    /// What it may become at most, as worker,gateway
    // The roles that a command comes with are called so, too.
    #[arg(id = "allowed", value_name = "ROLES")]
    roles: RoleSet,
    #[command(flatten)]
    log: Log,
}

/// What `convoke node grant` takes.
#[derive(Args)]
pub(crate) struct Grant {
    /// The node: its id, the beginning of it, or an address
    node: String,
    /// Its role from now on
    role: Role,
    #[command(flatten)]
    log: Log,
}

/// What `convoke node confirm-loss` takes.
#[derive(Args)]
pub(crate) struct ConfirmLoss {
    /// Which members, each with the life in which it is lost, as NODE:BOOT or NODE:BOOT.REFUTATION
    #[arg(required = true, value_parser = lost)]
    members: Vec<(String, Incarnation)>,
    #[command(flatten)]
    log: Log,
}

fn lost(text: &str) -> Result<(String, Incarnation), String> {
    let wrong = || "write it as NODE:BOOT or NODE:BOOT.REFUTATION".to_owned();
    let (node, life) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (boot, refutation) = life.split_once('.').unwrap_or((life, "0"));
    let incarnation = Incarnation {
        boot: boot.parse().map_err(|_| wrong())?,
        refutation: refutation.parse().map_err(|_| wrong())?,
    };
    Ok((node.to_owned(), incarnation))
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::Ls(All { log }) => ls(&log).await,
            Command::Show(One { node, log }) => show(&log, &node).await,
            Command::Allow(Allow { node, roles, log }) => {
                let command = |node| NodeCommand::Allow { node, roles };
                change(&log, "allow", &node, command).await
            }
            Command::Grant(Grant { node, role, log }) => {
                let command = |node| NodeCommand::Grant { node, role };
                change(&log, "grant", &node, command).await
            }
            Command::Drain(One { node, log }) => {
                let command = |node| NodeCommand::Drain { node, drains: true };
                change(&log, "drain", &node, command).await
            }
            Command::Undrain(One { node, log }) => {
                let command = |node| NodeCommand::Drain {
                    node,
                    drains: false,
                };
                change(&log, "undrain", &node, command).await
            }
            Command::Forget(One { node, log }) => {
                change(&log, "forget", &node, |node| NodeCommand::Forget { node }).await
            }
            Command::ConfirmLoss(ConfirmLoss { members, log }) => {
                confirm_loss(&log, &members).await
            }
            Command::Marks(All { log }) => marks(&log).await,
        }
    })
}

async fn records(log: &Log, what: &str) -> anyhow::Result<Vec<Record>> {
    log.have(Doing::Asking, what, async |client| {
        client.store.nodes().await
    })
    .await
}

/// The one node that is meant.
fn chosen<'a>(records: &'a [Record], name: &str) -> anyhow::Result<&'a Record> {
    let is_meant = |record: &&Record| {
        record.node.to_string().starts_with(name) || record.addresses.iter().any(|at| at == name)
    };
    let mut meant = records.iter().filter(is_meant);
    let Some(record) = meant.next().filter(|_| !name.is_empty()) else {
        let ids: Vec<String> = records
            .iter()
            .map(|it| it.node.short().to_string())
            .collect();
        let addresses = records.iter().flat_map(|it| &it.addresses);
        let known = ids.iter().chain(addresses).map(String::as_str);
        let message = format!(
            "no node {} is enrolled{}: `convoke node ls` lists those that are",
            plain(name),
            did_you_mean(name, known)
        );
        return Err(Ending::NotSo(message).into());
    };
    if meant.next().is_some() {
        bail!(
            "more than one node is called {}: write more of its id",
            plain(name)
        );
    }
    Ok(record)
}

async fn ls(log: &Log) -> anyhow::Result<()> {
    let records = records(log, "list nodes").await?;
    put(&if log.is_json() {
        records
            .iter()
            .map(|record| json_line(&as_json(record)))
            .collect()
    } else {
        let rows = records.iter().map(|record| {
            vec![
                record.node.short().to_string(),
                record.role.to_string(),
                record.allowed.to_string(),
                yes_or_no(record.log.is_some()),
                record.score.to_string(),
                if record.drains {
                    "draining".to_owned()
                } else {
                    yes_or_no(true)
                },
                plain(&record.addresses.join(", ")),
            ]
        });
        let head = ["NODE", "ROLE", "MAY BE", "LOG", "SCORE", "IN USE", "AT"];
        let list = Table::new(head).numbers(&["SCORE"]);
        table(&list.yields(&["MAY BE", "AT"]).rows(rows))
    })?;
    Ok(())
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

async fn show(log: &Log, name: &str) -> anyhow::Result<()> {
    let records = records(log, "show a node").await?;
    let record = chosen(&records, name)?;
    put(&if log.is_json() {
        json_line(&as_json(record))
    } else {
        let in_use = match record.drains {
            true => "no: it is being drained",
            false => "yes",
        };
        table(&Table::without_head().rows([
            vec!["node", &record.node.to_string()],
            vec!["role", &record.role.to_string()],
            vec!["may be", &record.allowed.to_string()],
            vec!["keeps a log", &yes_or_no(record.log.is_some())],
            vec!["score", &record.score.to_string()],
            vec!["in use", in_use],
            vec!["at", &plain(&record.addresses.join(", "))],
            vec!["revision", &record.revision.to_string()],
        ]))
    })?;
    Ok(())
}

fn as_json(record: &Record) -> Json {
    json!({
        "node": record.node, "role": record.role, "allowed": record.allowed, "keeps_log": record.log.is_some(),
        "score": record.score, "drains": record.drains, "addresses": record.addresses, "since_ms": record.since.unix_ms(),
        "revision": record.revision,
    })
}

async fn change(
    log: &Log,
    verb: &str,
    name: &str,
    command: impl FnOnce(NodeId) -> NodeCommand,
) -> anyhow::Result<()> {
    let what = format!("{verb} {}", plain(name));
    let node = chosen(&records(log, &what).await?, name)?.node;
    decide(log, &what, command(node)).await
}

async fn decide(log: &Log, what: &str, command: NodeCommand) -> anyhow::Result<()> {
    let done = log
        .have(Doing::Changing, what, async |client| {
            client.store.command(Decided::Node(command)).await
        })
        .await?;
    let Done::Noted(revision) = done else {
        let error = Error::Unexpected {
            what: format!("{done:?}"),
        };
        return Err(error).context(what.to_owned());
    };
    put(&if log.is_json() {
        json_line(&json!({"revision": revision}))
    } else {
        format!("{revision}\n")
    })?;
    Ok(())
}

async fn confirm_loss(log: &Log, members: &[(String, Incarnation)]) -> anyhow::Result<()> {
    let what = "confirm a loss";
    let records = records(log, what).await?;
    let lost = members.iter().map(|(name, incarnation)| {
        // A member need not be enrolled, if it is named in full.
        let node = match name.parse::<NodeId>() {
            Ok(node) => node,
            Err(_) => chosen(&records, name)?.node,
        };
        Ok((node, *incarnation))
    });
    let lost = lost.collect::<anyhow::Result<_>>()?;
    decide(log, what, NodeCommand::ConfirmLoss { lost }).await
}

async fn marks(log: &Log) -> anyhow::Result<()> {
    let marks = log
        .have(Doing::Asking, "list marks", async |client| {
            client.store.marks().await
        })
        .await?;
    put(&marks
        .iter()
        .map(|mark| {
            if log.is_json() {
                json_line(&mark_json(mark))
            } else {
                mark_text(mark)
            }
        })
        .collect::<String>())?;
    Ok(())
}

fn mark_json(mark: &Mark) -> Json {
    let mut line = match &mark.what {
        Marked::Recovered { by } => json!({"kind": "recovered", "by": by}),
        Marked::Lost(lost) => {
            let lost: Vec<Json> = lost
                .iter()
                .map(|(node, life)| {
                    json!({"node": node, "boot": life.boot, "refutation": life.refutation})
                })
                .collect();
            json!({"kind": "lost", "members": lost})
        }
        Marked::Restored { by, of } => json!({"kind": "restored", "by": by, "of": of}),
    };
    line["revision"] = json!(mark.revision);
    line["at_ms"] = json!(mark.at.unix_ms());
    line
}

fn mark_text(mark: &Mark) -> String {
    let what = match &mark.what {
        Marked::Recovered { by } => format!(
            "recovered by {}: a majority was lost, and what it alone had acknowledged with it",
            by.short()
        ),
        Marked::Lost(lost) => {
            let lost: Vec<String> = lost
                .iter()
                .map(|(node, _)| node.short().to_string())
                .collect();
            format!("lost for good: {}", lost.join(", "))
        }
        Marked::Restored { by, of } => {
            format!("restored by {} from a backup of revision {of}", by.short())
        }
    };
    format!("{}  {what}\n", mark.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_names_the_life_that_ended() {
        let life = |boot, refutation| Incarnation { boot, refutation };
        assert_eq!(lost("ab:3"), Ok(("ab".to_owned(), life(3, 0))));
        assert_eq!(
            lost("10.0.0.1:4700:3.1"),
            Ok(("10.0.0.1:4700".to_owned(), life(3, 1)))
        );
        for wrong in ["ab", "ab:", "ab:x", "ab:1.", ""] {
            assert!(lost(wrong).is_err(), "{wrong}");
        }
    }
}
