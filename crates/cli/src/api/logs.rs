//! `convoke logs`: what a node wrote down lately, and what it writes.
//!
//! Any node can be asked for the lines of any other. Lines are those that the node keeps in memory; older ones are in its files.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was shown | 0 |
//! | it failed, or nobody answers | 1 |
//! | there is no such node | 4 |
//!
//! Deliberately not here: searching. The lines go to whatever does that better.

use clap::Args;
use convoke_web::client::{Follow, Heard};
use convoke_web::model::{Level, LogLine};
use serde_json::json;

use super::{Asked, Doing, KEPT_MOST, Where, moment, tail};
use crate::output::{self, Signals, json_line, put};
use crate::text::plain;

/// What `convoke logs` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The node: its id, the beginning of it, or its name; by default the one that is asked
    node: Option<String>,
    /// Goes on with what is written from now on, until it is interrupted
    #[arg(long, short)]
    follow: bool,
    /// Lines of this level and those that matter more: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level)]
    level: Level,
    /// At most so many of the lines that are there
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=i64::from(KEPT_MOST)))]
    limit: u32,
    #[command(flatten)]
    at: Where,
}

fn level(text: &str) -> Result<Level, String> {
    Level::named(text).ok_or_else(|| format!("write one of {}", Level::NAMES.join(", ")))
}

/// Runs it to its end.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        let asked = arguments.at.open().await?;
        let node = match &arguments.node {
            Some(node) => node.clone(),
            None => asked.own_id("logs").await?,
        };
        show(&asked, &node, &arguments).await
    })
}

async fn show(asked: &Asked, node: &str, arguments: &Arguments) -> anyhow::Result<()> {
    let (level, is_json) = (arguments.level, arguments.at.json);
    let found = asked
        .have(Doing::Asking, "logs", async |client| {
            let page = async |part: &_| {
                let page = client.logs(node, level, part).await?;
                Ok((page.items, Some(page.next)))
            };
            tail(arguments.limit, None, page).await
        })
        .await?;
    let lines: String = found
        .items
        .iter()
        .map(|line| shown(line, is_json))
        .collect();
    put(&lines)?;
    if arguments.follow {
        let follow = asked.client.follow_logs(node, level, found.next);
        return go_on(asked, follow, is_json).await;
    }
    Ok(())
}

async fn go_on(asked: &Asked, mut follow: Follow<LogLine>, is_json: bool) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    loop {
        let heard = tokio::select! {
            _ = signals.next() => return Ok(()),
            heard = follow.next() => heard,
        };
        let heard = heard.map_err(|error| asked.failed(Doing::Asking, "logs", &error))?;
        put(&match heard {
            Heard::Item(line) => shown(&line, is_json),
            Heard::Resync if is_json => json_line(&json!({"resync": true})),
            Heard::Resync => "… some lines are gone …\n".to_owned(),
        })?;
    }
}

fn shown(line: &LogLine, is_json: bool) -> String {
    if is_json {
        return json_line(line);
    }
    format!(
        "{} {:5} {}: {}\n",
        moment(line.unix_ms),
        line.level.name().to_uppercase(),
        plain(&line.target),
        plain(&line.text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_node_orders_nothing_and_stays_one_line() {
        let line = LogLine {
            cursor: "1.1".to_owned(),
            unix_ms: 0,
            level: Level::Warn,
            target: "there\u{7}".to_owned(),
            text: "all is\nwell\u{1b}[2J".to_owned(),
        };
        assert_eq!(
            shown(&line, false),
            "1970-01-01T00:00:00.000Z WARN  there: all is well[2J\n"
        );
        assert!(!shown(&line, true).contains('\u{1b}'));
    }
}
