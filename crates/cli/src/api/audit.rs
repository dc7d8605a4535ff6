//! `convoke audit`: who changed what, from where, and what came of it, as the cluster decided it.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was shown | 0 |
//! | it failed or was refused, or nobody answers | 1 |
//!
//! Deliberately not here: what was only read; nobody keeps that.

use clap::Args;
use convoke_web::model::{AuditEntry, AuditOutcome};

use super::{Doing, KEPT_MOST, Where, moment, tail};
use crate::output::{self, json_line, put, table};
use crate::table::{Cell, Table, Tone};
use crate::text::plain;

/// What `convoke audit` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The last so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(KEPT_MOST)))]
    limit: u32,
    #[command(flatten)]
    at: Where,
}

/// Runs it to its end.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        let asked = arguments.at.open().await?;
        let found = asked
            .have(Doing::Asking, "audit", async |client| {
                let page = async |part: &_| {
                    let page = client.audit(part).await?;
                    Ok((page.items, page.next))
                };
                tail(arguments.limit, None, page).await
            })
            .await?;
        let items = found.items.iter();
        if arguments.at.json {
            put(&items.map(json_line).collect::<String>())?;
            return Ok(());
        }
        if found.items.is_empty() {
            put("Nobody has changed anything yet.\n")?;
            return Ok(());
        }
        let list = Table::new([
            "WHEN", "WHO", "WHAT", "TO WHAT", "FROM", "REVISION", "OUTCOME",
        ]);
        let list = list
            .numbers(&["REVISION"])
            .yields(&["FROM", "OUTCOME", "TO WHAT", "WHO"]);
        put(&table(&list.rows(items.map(row))))?;
        Ok(())
    })
}

fn row(entry: &AuditEntry) -> Vec<Cell> {
    let (outcome, tone) = match entry.outcome {
        AuditOutcome::Done => ("done", Tone::Good),
        AuditOutcome::Refused => ("refused", Tone::Bad),
        AuditOutcome::Unknown => ("unknown", Tone::Doubtful),
    };
    let outcome = match &entry.why {
        Some(why) => format!("{outcome}: {}", plain(why)),
        None => outcome.to_owned(),
    };
    let row = vec![
        moment(entry.unix_ms),
        plain(&entry.who),
        plain(&entry.operation),
        plain(&entry.target),
        plain(&entry.from),
        entry
            .revision
            .map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
    ];
    let mut row: Vec<Cell> = row.into_iter().map(Cell::from).collect();
    row.push(Cell::toned(outcome, Some(tone)));
    row
}
