//! `convoke instances`: which RPC services are offered, and where.
//!
//! With `--follow` it is looked at again every [`EVERY`]: on a terminal the screen is drawn anew, elsewhere it is printed when something else than a
//! load changed; as JSON, what did.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was shown | 0 |
//! | nobody answers, or whoever does refuses | 1 |
//! | nobody offers such an RPC service, unless that is followed | 4 |
//!
//! Deliberately not here: calling them (`convoke rpc`).

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use clap::Args;
use convoke_types::Selector;
use convoke_web::client::{Client, ClientError};
use convoke_web::model::{Instance, InstanceHealth, RpcServiceSummary};
use convoke_web::problem::Code;
use serde_json::json;

use super::status::{CLEAR, is_final};
use super::{Asked, Doing, KEPT_MOST, Where, short, tail};
use crate::output::{self, Signals, json_line, put, table};
use crate::table::{Cell, Table, Tone};
use crate::text::plain;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// What `convoke instances` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The RPC service whose instances are shown; without one, all services
    service: Option<String>,
    /// Only instances with such tags, as 'zone = eu and not spot'
    #[arg(long, value_name = "SELECTOR", requires = "service")]
    selector: Option<Selector>,
    /// Goes on looking until it is interrupted
    #[arg(long, short, visible_alias = "watch")]
    follow: bool,
    #[command(flatten)]
    at: Where,
}

/// What was seen at one look.
#[derive(Debug, Default)]
struct Looked {
    /// For people.
    text: String,
    /// For programs, by what each is known by.
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// The name of the field that it is known by, and what that holds.
    key: (&'static str, String),
    /// What a change is seen by: all but how busy it is.
    mark: String,
    json: String,
}

/// Runs it to its end.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        let asked = arguments.at.open().await?;
        if arguments.follow {
            return follow(&asked, &arguments).await;
        }
        let what = arguments.what();
        let looked = asked
            .have(Doing::Asking, &what, async |client| {
                look(client, &arguments).await
            })
            .await?;
        put(&if arguments.at.json {
            looked.rows.into_iter().map(|row| row.json).collect()
        } else {
            looked.text
        })?;
        Ok(())
    })
}

impl Arguments {
    fn what(&self) -> String {
        match &self.service {
            Some(service) => format!("list instances of {}", plain(service)),
            None => "list RPC services".to_owned(),
        }
    }
}

async fn follow(asked: &Asked, arguments: &Arguments) -> anyhow::Result<()> {
    let is_json = arguments.at.json;
    let redraws = stdout().is_terminal() && !is_json;
    let mut signals = Signals::listen()?;
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut told, mut trouble): (Option<Vec<Row>>, Option<String>) = (None, None);
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(()),
            _ = every.tick() => {}
        }
        let looked = tokio::select! {
            _ = signals.next() => return Ok(()),
            looked = look(&asked.client, arguments) => looked,
        };
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) if is_not_there(&error) => Looked {
                text: "Nobody offers it now.\n".to_owned(),
                rows: Vec::new(),
            },
            Err(error) if is_final(&error) => {
                return Err(asked.failed(Doing::Asking, &arguments.what(), &error));
            }
            Err(error) => {
                let why = plain(&asked.words(&error));
                if trouble.as_ref() != Some(&why) {
                    put(&if is_json {
                        json_line(&json!({"why": why}))
                    } else {
                        format!("UNKNOWN: {why}\n")
                    })?;
                    trouble = Some(why);
                }
                continue;
            }
        };
        trouble = None;
        if redraws {
            put(&format!(
                "{CLEAR}{}\nLooked at every {} s; Ctrl-C ends.\n",
                looked.text,
                EVERY.as_secs()
            ))?;
            continue;
        }
        let changed = changes(told.as_deref(), &looked.rows);
        let is_first = told.is_none();
        if is_json {
            put(&changed.concat())?;
        } else if is_first || !changed.is_empty() {
            let space = if is_first { "" } else { "\n" };
            put(&format!("{space}{}", looked.text))?;
        }
        told = Some(looked.rows);
    }
}

fn is_not_there(error: &ClientError) -> bool {
    error.problem().is_some_and(|it| it.code == Code::NotFound)
}

/// Rows that are new or say something else than before, as lines, and those that are gone, by what they were known by.
fn changes(before: Option<&[Row]>, now: &[Row]) -> Vec<String> {
    let by_key = |rows: &[Row]| -> BTreeMap<String, Row> {
        rows.iter()
            .map(|row| (row.key.1.clone(), row.clone()))
            .collect()
    };
    let (before, after) = (by_key(before.unwrap_or_default()), by_key(now));
    let is_new = |row: &&Row| before.get(&row.key.1).map(|it| &it.mark) != Some(&row.mark);
    let changed = now.iter().filter(is_new).map(|row| row.json.clone());
    let gone = before
        .values()
        .filter(|row| !after.contains_key(&row.key.1));
    let gone = gone.map(|row| json_line(&json!({row.key.0: row.key.1, "gone": true})));
    changed.chain(gone).collect()
}

async fn look(client: &Client, arguments: &Arguments) -> Result<Looked, ClientError> {
    match &arguments.service {
        Some(service) => instances(client, service, arguments.selector.as_ref()).await,
        None => services(client).await,
    }
}

async fn services(client: &Client) -> Result<Looked, ClientError> {
    let page = async |part: &_| {
        let page = client.rpc_services(part).await?;
        Ok((page.items, page.next))
    };
    let found = tail(KEPT_MOST, None, page).await?.items;
    let rows = found.iter().map(|it| Row {
        key: ("name", it.name.clone()),
        mark: json_line(it),
        json: json_line(it),
    });
    let text = if found.is_empty() {
        "No node offers an RPC service.\n".to_owned()
    } else {
        let list = Table::new(["SERVICE", "INSTANCES", "SERVING", "VERSIONS"]);
        table(
            &list
                .yields(&["VERSIONS"])
                .rows(found.iter().map(service_row)),
        )
    };
    Ok(Looked {
        text,
        rows: rows.collect(),
    })
}

fn service_row(service: &RpcServiceSummary) -> Vec<Cell> {
    let tone = match service.serving {
        serving if serving == service.instances => None,
        0 => Some(Tone::Bad),
        _ => Some(Tone::Doubtful),
    };
    vec![
        Cell::from(plain(&service.name)),
        Cell::from(service.instances.to_string()),
        Cell::toned(service.serving.to_string(), tone),
        Cell::from(plain(&service.versions.join(", "))),
    ]
}

async fn instances(
    client: &Client,
    service: &str,
    selector: Option<&Selector>,
) -> Result<Looked, ClientError> {
    let selector = selector.map(ToString::to_string);
    let page = async |part: &_| {
        let page = client.instances(service, selector.as_deref(), part).await?;
        Ok((page.items, page.next))
    };
    let found = tail(KEPT_MOST, None, page).await?.items;
    let rows = found.iter().map(|it| Row {
        key: ("node", it.node.clone()),
        mark: json_line(&Instance {
            load_permille: None,
            load_age_ms: None,
            ..it.clone()
        }),
        json: json_line(it),
    });
    let text = if found.is_empty() {
        format!("No instance of {} has such tags.\n", plain(service))
    } else {
        let list = Table::new([
            "NODE", "NAME", "ADDRESS", "VERSION", "HEALTH", "LOAD", "TAGS",
        ]);
        table(&list.yields(&["TAGS", "NAME"]).rows(found.iter().map(row)))
    };
    Ok(Looked {
        text,
        rows: rows.collect(),
    })
}

fn row(instance: &Instance) -> Vec<Cell> {
    let or_none = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |it| plain(it));
    let tone = match instance.health {
        InstanceHealth::Serving => None,
        InstanceHealth::NotServing | InstanceHealth::Unreachable => Some(Tone::Doubtful),
        InstanceHealth::Failed => Some(Tone::Bad),
    };
    let load = match instance.load_permille {
        Some(permille) => format!("{} %", permille.div_ceil(10)),
        None => "-".to_owned(),
    };
    // What has a column of its own need not stand among the tags.
    let is_shown = |tag: &&String| {
        let key = tag.split('=').next().unwrap_or_default();
        !matches!(key, "name" | "version")
    };
    let tags: Vec<String> = instance.tags.iter().filter(is_shown).cloned().collect();
    vec![
        Cell::from(short(&instance.node)),
        Cell::from(or_none(instance.name.as_ref())),
        Cell::from(or_none(instance.addresses.first())),
        Cell::from(or_none(instance.version.as_ref())),
        Cell::toned(instance.health.name().to_owned(), tone),
        Cell::from(load),
        Cell::from(plain(&tags.join(", "))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: &str, mark: &str, json: &str) -> Row {
        Row {
            key: ("node", node.to_owned()),
            mark: mark.to_owned(),
            json: json.to_owned(),
        }
    }

    #[test]
    fn who_follows_hears_what_is_new_or_gone_and_nothing_of_loads() {
        let first = [row("a", "serving", "a1\n"), row("b", "serving", "b1\n")];
        assert_eq!(changes(None, &first), ["a1\n", "b1\n"]);
        assert!(changes(None, &[]).is_empty());
        let busier = [row("a", "serving", "a2\n"), row("b", "serving", "b2\n")];
        assert!(changes(Some(&first), &busier).is_empty());
        let later = [row("a", "not serving", "a3\n"), row("c", "serving", "c1\n")];
        let gone = "{\"gone\":true,\"node\":\"b\"}\n";
        assert_eq!(changes(Some(&first), &later), ["a3\n", "c1\n", gone]);
    }
}
