//! `convoke events`: what happened in the cluster, as the node that is asked saw it, and what happens.
//!
//! Every event has a cursor, and `--after` with it goes on behind it. A node keeps some thousand events and forgets them when it starts
//! again; that some are missing is said.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was shown | 0 |
//! | it failed, or nobody answers | 1 |
//!
//! Deliberately not here: changes of keys (`convoke kv watch`).

use clap::Args;
use convoke_web::client::{Follow, Heard};
use convoke_web::model::{Event, Kind};
use serde_json::json;

use super::{Asked, Doing, KEPT_MOST, Where, moment, tail};
use crate::output::{self, Signals, json_line, put};
use crate::text::plain;

/// What `convoke events` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Goes on with what happens from now on, until it is interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only what came behind this place: the cursor of an event
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// At most so many of the events that are there; by default the last 100, or all behind --after
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=i64::from(KEPT_MOST)))]
    limit: Option<u32>,
    #[command(flatten)]
    at: Where,
}

/// Runs it to its end.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        let asked = arguments.at.open().await?;
        let is_json = arguments.at.json;
        let usual = arguments.after.as_ref().map_or(100, |_| KEPT_MOST);
        let most = arguments.limit.unwrap_or(usual);
        let mut is_missing = false;
        let found = asked
            .have(Doing::Asking, "events", async |client| {
                let page = async |part: &_| {
                    let page = client.events(part).await?;
                    is_missing |= page.missed;
                    Ok((page.items, Some(page.next)))
                };
                tail(most, arguments.after.clone(), page).await
            })
            .await?;
        if is_missing {
            put(&gap(is_json))?;
        }
        let lines: String = found
            .items
            .iter()
            .map(|event| shown(event, is_json))
            .collect();
        put(&lines)?;
        if arguments.follow {
            let follow = asked.client.follow_events(found.next);
            return go_on(&asked, follow, is_json).await;
        }
        put(&farewell(found.next.as_deref(), is_json))?;
        Ok(())
    })
}

async fn go_on(asked: &Asked, mut follow: Follow<Event>, is_json: bool) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    loop {
        let heard = tokio::select! {
            _ = signals.next() => {
                put(&farewell(follow.cursor(), is_json))?;
                return Ok(());
            }
            heard = follow.next() => heard,
        };
        let heard = heard.map_err(|error| {
            // What was heard is not lost with whoever said it.
            let cursor = follow.cursor().map_or_else(String::new, plain);
            let what = format!("events, behind {cursor}");
            asked.failed(Doing::Asking, &what, &error)
        })?;
        put(&match heard {
            Heard::Item(event) => shown(&event, is_json),
            Heard::Resync => gap(is_json),
        })?;
    }
}

/// Some events are not there any more.
fn gap(is_json: bool) -> String {
    if is_json {
        json_line(&json!({"resync": true}))
    } else {
        "… some events are gone: look at the state itself, with `convoke status` …\n".to_owned()
    }
}

/// Where it goes on; in JSON every event says that.
fn farewell(cursor: Option<&str>, is_json: bool) -> String {
    match cursor {
        Some(cursor) if !is_json => format!(
            "What comes behind these: convoke events --after {}\n",
            plain(cursor)
        ),
        Some(_) | None => String::new(),
    }
}

fn shown(event: &Event, is_json: bool) -> String {
    if is_json {
        return json_line(event);
    }
    let kind = match event.kind {
        Kind::Observed => "observed",
        Kind::Decided => "decided",
    };
    let revision = event
        .revision
        .map_or_else(String::new, |revision| format!(" (revision {revision})"));
    format!(
        "{} {kind:8} {}: {}{revision}\n",
        moment(event.unix_ms),
        plain(&event.name),
        plain(&event.text)
    )
}
