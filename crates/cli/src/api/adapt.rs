//! `convoke adapt`: what nodes turn by themselves, why, and people's word on it.
//!
//! What people decide about knobs is configuration, and goes through a proposal as any other key: it holds for all nodes. One node alone is held back
//! by its own configuration (`adapt.mode`).
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done, or decided | 0 |
//! | it failed or was refused, or nobody answers | 1 |
//! | it may or may not have been carried out | 3 |
//! | there is no such node, or it was not decided so: it takes more votes | 4 |
//!
//! Deliberately not here: the laws, which are the planner's.

use clap::{Args, Subcommand};
use convoke_types::wire::store::schema;
use convoke_types::wire::store::schema::ADAPT;
use convoke_web::model::{Adaptation, ConfigValue, Knob, Proposal, ProposalState, Propose};

use super::{Doing, Where, moment};
use crate::near::did_you_mean;
use crate::output::{self, Ending, json_line, put, table};
use crate::table::{Cell, Table, Tone};
use crate::text::plain;

/// The part of a key's name that stands behind that of the knob.
const FIXED: &str = ".fixed";

/// What `convoke adapt` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists the knobs of a node, and where each stands
    #[command(visible_alias = "ls")]
    List(OfNode),
    /// Says why a knob stands where it does: its law, what it looks at, what was done last, what would change it
    Explain(Explain),
    /// Shows what a node turned lately, and why
    History(OfNode),
    /// Has nodes turn nothing by themselves, or one knob not
    Freeze(Which),
    /// Has them turn it again
    Thaw(Which),
    /// Has a knob stand at a value on every node, within its bounds
    Fix(Fix),
    /// Lets a knob go that was fixed: it goes on from where it stands
    Free(One),
}

/// Of which node.
#[derive(Args)]
pub(crate) struct OfNode {
    /// The node: its id, the beginning of it, or its name; without it, the one that is asked
    #[arg(long, value_name = "NODE")]
    of: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// What `convoke adapt explain` takes.
#[derive(Args)]
pub(crate) struct Explain {
    /// The knob; without one, all of them
    #[arg(value_parser = knob)]
    knob: Option<String>,
    #[command(flatten)]
    of: OfNode,
}

/// One or all.
#[derive(Args)]
pub(crate) struct Which {
    /// The knob; without one, all of them
    #[arg(value_parser = knob)]
    knob: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// A knob.
#[derive(Args)]
pub(crate) struct One {
    /// The knob
    #[arg(value_parser = knob)]
    knob: String,
    #[command(flatten)]
    at: Where,
}

/// What `convoke adapt fix` takes.
#[derive(Args)]
pub(crate) struct Fix {
    /// The knob
    #[arg(value_parser = knob)]
    knob: String,
    /// Where it is to stand: milliseconds, streams, slots or bytes, as the knob is counted
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    value: i64,
    #[command(flatten)]
    at: Where,
}

/// A knob is one about which something can be decided.
fn knob(text: &str) -> Result<String, String> {
    let names = || {
        let keys = schema::KEYS.iter().map(|key| key.name);
        keys.filter_map(|name| name.strip_prefix(ADAPT)?.strip_suffix(FIXED))
    };
    if names().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let near = did_you_mean(text, names());
    let all: Vec<&str> = names().collect();
    Err(format!(
        "there is no such knob{near}; there are {}",
        all.join(", ")
    ))
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::List(of) => list(&of).await,
            Command::Explain(asked) => explain(&asked).await,
            Command::History(of) => history(&of).await,
            Command::Freeze(Which { knob, at }) => freeze(knob.as_deref(), true, &at).await,
            Command::Thaw(Which { knob, at }) => freeze(knob.as_deref(), false, &at).await,
            Command::Fix(Fix { knob, value, at }) => fix(&knob, value, &at).await,
            Command::Free(One { knob, at }) => fix(&knob, 0, &at).await,
        }
    })
}

async fn adaptation(of: &OfNode) -> anyhow::Result<Adaptation> {
    let asked = of.at.open().await?;
    let found = asked
        .have(Doing::Asking, "ask for knobs", async |client| {
            let node = match &of.of {
                Some(node) => node.clone(),
                None => client.status().await?.node_id,
            };
            client.knobs(&node).await
        })
        .await?;
    Ok(found)
}

async fn list(of: &OfNode) -> anyhow::Result<()> {
    let found = adaptation(of).await?;
    if of.at.json {
        put(&found.knobs.iter().map(json_line).collect::<String>())?;
        return Ok(());
    }
    let list = Table::new(["KNOB", "STANDS AT", "DEFAULT", "BOUNDS", "TURNED", "WHY"]);
    let rows = found.knobs.iter().map(row);
    let mut text = table(&list.yields(&["BOUNDS", "WHY"]).rows(rows));
    if found.frozen {
        text.push_str("All knobs are frozen. `convoke adapt thaw` has nodes turn them again.\n");
    } else if found.dry_run {
        text.push_str("This is a dry run: what would be turned is only said.\n");
    }
    put(&text)?;
    Ok(())
}

fn row(knob: &Knob) -> Vec<Cell> {
    let turned = match knob {
        Knob { obeyed: false, .. } => "nothing obeys it",
        Knob { fixed: true, .. } => "fixed",
        Knob { frozen: true, .. } => "frozen",
        _ => "by itself",
    };
    let is_away = knob.obeyed && knob.value != knob.default;
    let why = match knob.becomes {
        Some(to) => format!("goes to {}: {}", amount(knob, to), plain(&knob.why)),
        None => plain(&knob.why),
    };
    vec![
        Cell::from(plain(&knob.name)),
        Cell::toned(amount(knob, knob.value), is_away.then_some(Tone::Doubtful)),
        Cell::from(amount(knob, knob.default)),
        Cell::from(format!(
            "{} – {}",
            amount(knob, knob.least),
            amount(knob, knob.most)
        )),
        Cell::from(turned.to_owned()),
        Cell::from(why),
    ]
}

/// As people count it.
fn amount(knob: &Knob, value: u64) -> String {
    match knob.unit.as_str() {
        "bytes" => format!("{} MB", value / 1_000_000),
        "milliseconds" => format!("{value} ms"),
        _ => value.to_string(),
    }
}

async fn explain(asked: &Explain) -> anyhow::Result<()> {
    let found = adaptation(&asked.of).await?;
    let wanted = |it: &&Knob| asked.knob.as_ref().is_none_or(|name| *name == it.name);
    let knobs = found.knobs.iter().filter(wanted);
    put(&if asked.of.at.json {
        knobs.map(json_line).collect::<String>()
    } else {
        let texts = knobs.map(|it| {
            let lines = it.text.lines().map(plain);
            lines.map(|line| format!("{line}\n")).collect::<String>()
        });
        texts.collect::<Vec<String>>().join("\n")
    })?;
    Ok(())
}

async fn history(of: &OfNode) -> anyhow::Result<()> {
    let found = adaptation(of).await?;
    put(&if of.at.json {
        found.moves.iter().map(json_line).collect::<String>()
    } else if found.moves.is_empty() {
        "Nothing was turned since the node began.\n".to_owned()
    } else {
        let rows = found
            .moves
            .iter()
            .map(|it| vec![moment(it.unix_ms), plain(&it.text)]);
        table(&Table::new(["WHEN", "WHAT"]).yields(&["WHAT"]).rows(rows))
    })?;
    Ok(())
}

async fn freeze(knob: Option<&str>, freezes: bool, at: &Where) -> anyhow::Result<()> {
    let key = match knob {
        Some(knob) => format!("{ADAPT}{knob}.frozen"),
        None => format!("{ADAPT}frozen"),
    };
    let what = knob.map_or_else(|| "anything".to_owned(), plain);
    let done = if freezes {
        format!("No node turns {what} by itself from here on.")
    } else {
        format!(
            "Nodes turn {} by themselves from here on.",
            knob.map_or_else(|| "their knobs".to_owned(), plain)
        )
    };
    decide(key, ConfigValue::Flag(freezes), &done, at).await
}

async fn fix(knob: &str, value: i64, at: &Where) -> anyhow::Result<()> {
    let key = format!("{ADAPT}{knob}{FIXED}");
    let done = if value > 0 {
        format!("{knob} stands at {value} on every node from here on, within its bounds.")
    } else {
        format!("{knob} is free from here on, and goes on from where it stands.")
    };
    decide(key, ConfigValue::Number(value), &done, at).await
}

/// Proposes it, and says how that ended. It is done with the votes that are there; where it takes more, that is told.
async fn decide(key: String, value: ConfigValue, done: &str, at: &Where) -> anyhow::Result<()> {
    let asked = at.open().await?;
    let what = Propose {
        key,
        value: Some(value),
        expect_version: None,
        rule: None,
        weights: None,
        voting_ms: None,
    };
    let proposal = asked
        .have(Doing::Changing, "decide about knobs", async |client| {
            client.propose(&what).await
        })
        .await?;
    if at.json {
        put(&json_line(&proposal))?;
    }
    let Proposal { id, state, .. } = proposal;
    match state {
        ProposalState::Passed if at.json => Ok(()),
        ProposalState::Passed => {
            put(&format!("{done}\n"))?;
            Ok(())
        }
        ProposalState::Open => Err(Ending::NotSo(format!(
            "proposal {id} takes more votes: masters vote with `convoke config vote {id} yes`, and `convoke config show {id}` tells how it stands"
        ))
        .into()),
        ProposalState::Failed | ProposalState::Expired | ProposalState::Withdrawn => Err(Ending::NotSo(format!(
            "proposal {id} did not pass; `convoke config show {id}` tells how it ended"
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_is_one_of_those_there_are() {
        assert_eq!(knob("gossip-pace"), Ok("gossip-pace".to_owned()));
        let why = knob("gosip-pace").expect_err("it is none");
        assert!(
            why.contains("gossip-pace") && why.contains("cache-bytes"),
            "{why}"
        );
        for no_knob in ["", "frozen", "adapt.gossip-pace", "gossip-pace.fixed"] {
            assert!(knob(no_knob).is_err(), "{no_knob}");
        }
    }
}
