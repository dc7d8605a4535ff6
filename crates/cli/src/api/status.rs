//! `convoke status`: is the cluster healthy, and if not, what exactly is wrong and what to do; in one screen.
//!
//! It is what the node that answers sees. With `--follow` it is looked at again every [`EVERY`]: on a terminal the screen is drawn anew,
//! elsewhere it is printed when something changed that people would call a change.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | the cluster is healthy | 0 |
//! | nobody answers, or whoever does refuses | 1 |
//! | the cluster is not healthy | 4 |
//!
//! Deliberately not here: deciding what is wrong. The node does.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use clap::Args;
use convoke_web::client::ClientError;
use convoke_web::model::{Members, Service, ServiceState, Status, StatusProblem};
use convoke_web::problem::Code;

use super::{Asked, Doing, Where, marked, short, span};
use crate::output::{self, Ending, Signals, json_line, look, put, table};
use crate::table::{Cell, Table, Tone};
use crate::text::plain;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// So long an answer is waited for; a node on its way out should not keep people waiting.
const PATIENCE: Duration = Duration::from_secs(10);
/// Problems that are shown; the node says of each kind no more than a few anyway.
const PROBLEMS: usize = 32;
/// What is good to know, of which so much is shown.
const NOTES: usize = 4;
/// To the upper left corner, with nothing below it.
pub(super) const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// What `convoke status` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Goes on looking until it is interrupted
    #[arg(long, short, visible_alias = "watch")]
    follow: bool,
    #[command(flatten)]
    at: Where,
}

/// Runs it to its end.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        let mut asked = arguments.at.open().await?;
        asked.client = asked.client.with_patience(PATIENCE);
        if arguments.follow {
            return watch(&asked, arguments.at.json).await;
        }
        let status = asked
            .have(Doing::Asking, "status", async |client| {
                client.status().await
            })
            .await?;
        put(&shown(&status, arguments.at.json))?;
        verdict(&status)
    })
}

fn shown(status: &Status, is_json: bool) -> String {
    if is_json {
        json_line(status)
    } else {
        screen(status)
    }
}

/// How the program ends after it.
fn verdict(status: &Status) -> anyhow::Result<()> {
    if status.healthy {
        return Ok(());
    }
    let count = status.problems.len();
    let problems = if count == 1 { "problem" } else { "problems" };
    Err(Ending::NotSo(format!("the cluster is not healthy: {count} {problems}")).into())
}

async fn watch(asked: &Asked, is_json: bool) -> anyhow::Result<()> {
    let redraws = stdout().is_terminal() && !is_json;
    let mut signals = Signals::listen()?;
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = None;
    let mut last = Ok(());
    loop {
        tokio::select! {
            _ = signals.next() => return last,
            _ = every.tick() => {}
        }
        let looked = tokio::select! {
            _ = signals.next() => return last,
            looked = asked.client.status() => looked,
        };
        let (text, mark) = match &looked {
            Ok(status) => (shown(status, is_json), mark(status)),
            Err(error) if is_final(error) => {
                return Err(asked.failed(Doing::Asking, "status", error));
            }
            Err(error) => {
                let why = plain(&asked.words(error));
                let text = if is_json {
                    json_line(&serde_json::json!({"healthy": null, "why": why}))
                } else {
                    format!("UNKNOWN: {why}\n")
                };
                (text, why)
            }
        };
        if redraws {
            put(&format!(
                "{CLEAR}{text}\nLooked at every {} s; Ctrl-C ends.\n",
                EVERY.as_secs()
            ))?;
        } else if told.as_ref() != Some(&mark) {
            let space = if told.is_some() && !is_json { "\n" } else { "" };
            put(&format!("{space}{text}"))?;
            told = Some(mark);
        }
        last = match &looked {
            Ok(status) => verdict(status),
            Err(error) => Err(asked.failed(Doing::Asking, "status", error)),
        };
    }
}

/// Looking again would not help.
pub(super) fn is_final(error: &ClientError) -> bool {
    match error.problem() {
        Some(problem) => !matches!(
            problem.code,
            Code::TooMany | Code::Unavailable | Code::DeadlineExceeded | Code::Internal
        ),
        None => matches!(
            error,
            ClientError::Unaskable(_) | ClientError::Strange { .. }
        ),
    }
}

/// What it says without what changes by itself: ages and other numbers in sentences, and how much was decided.
fn mark(status: &Status) -> String {
    let problems = status.problems.iter().map(|it| {
        let words = it.what.chars().filter(|it| !it.is_ascii_digit());
        format!("{} {}", it.code, words.collect::<String>())
    });
    let services = status.services.iter().map(|it| {
        format!(
            "{} {:?} {} {:?}",
            it.name, it.state, it.ready, it.last_error
        )
    });
    format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
        problems.collect::<Vec<_>>(),
        services.collect::<Vec<_>>(),
        (&status.node_id, &status.version),
        status.role.value,
        status.leader.value,
        status.term.value,
        status.voters.value,
        (status.members.value, status.frozen.value),
    )
}

/// All of it, for people.
fn screen(status: &Status) -> String {
    let mut text = headline(status);
    for (number, problem) in status.problems.iter().take(PROBLEMS).enumerate() {
        text.push_str(&one_problem(number + 1, problem));
    }
    if status.problems.len() > PROBLEMS {
        let more = status.problems.len() - PROBLEMS;
        text.push_str(&format!("\nand {more} more: see them with --json\n"));
    }
    for note in status.notes.iter().take(NOTES) {
        text.push_str(&format!("Good to know: {}.\n", plain(note)));
    }
    text.push('\n');
    text.push_str(&table(&Table::without_head().rows(facts(status))));
    text.push('\n');
    text.push_str(&table(&services(&status.services)));
    text
}

fn headline(status: &Status) -> String {
    let (tone, word) = match status.healthy {
        true => (Tone::Good, "HEALTHY"),
        false => (Tone::Bad, "NOT HEALTHY"),
    };
    let word = look().toned(Some(tone), word);
    match (status.healthy, status.problems.len()) {
        (true, _) => format!("{word}: this node knows of no problem.\n"),
        (false, 1) => format!("{word}: there is a problem.\n"),
        (false, count) => format!("{word}: there are {count} problems, the worst first.\n"),
    }
}

fn one_problem(number: usize, problem: &StatusProblem) -> String {
    format!(
        "\n{number}. {} [{}]\n   What to do: {}\n",
        plain(&problem.what),
        plain(&problem.code),
        plain(&problem.what_to_do)
    )
}

fn facts(status: &Status) -> Vec<Vec<String>> {
    let fact = |name: &str, value: String| vec![name.to_owned(), value];
    let named = |name: &Option<String>, id: &str| match name {
        Some(name) => format!("{} ({})", plain(name), short(id)),
        None => short(id),
    };
    let cluster = match &status.cluster_id {
        Some(id) => named(&status.cluster_name, &id[..id.floor_char_boundary(10)]),
        None => "unknown".to_owned(),
    };
    let node = format!(
        "{}, version {}, up for {}",
        named(&status.node_name, &status.node_id),
        plain(&status.version),
        span(status.uptime_ms)
    );
    let voters = |voters: &Vec<String>| {
        let names: Vec<String> = voters.iter().map(|voter| short(voter)).collect();
        format!("{}: {}", voters.len(), names.join(", "))
    };
    let mut rows = vec![
        fact("cluster", cluster),
        fact("node", node),
        fact("role", marked(&status.role, |role| role.name().to_owned())),
        fact("leader", marked(&status.leader, |leader| short(leader))),
        fact("term", marked(&status.term, u64::to_string)),
        fact("voters", marked(&status.voters, voters)),
        fact("members", marked(&status.members, counted)),
        fact("revision", marked(&status.applied, u64::to_string)),
    ];
    if status.frozen.value != Some(false) {
        let frozen = |is: &bool| if *is { "yes" } else { "no" }.to_owned();
        rows.push(fact("frozen", marked(&status.frozen, frozen)));
    }
    rows
}

fn counted(members: &Members) -> String {
    format!(
        "{} reachable, {} unreachable, {} failed, {} left",
        members.reachable, members.unreachable, members.failed, members.left
    )
}

/// Services that the role wants, or that do something all the same.
fn services(all: &[Service]) -> Table {
    let matters = |it: &&Service| {
        it.wanted || !matches!(it.state, ServiceState::Stopped | ServiceState::NotBuilt)
    };
    let rows = all.iter().filter(matters).map(|it| {
        let (state, tone) = state(it);
        vec![
            Cell::from(plain(&it.name)),
            Cell::toned(state, tone),
            Cell::from(it.for_ms.map_or_else(|| "unknown".to_owned(), span)),
            Cell::from(it.last_error.as_deref().map_or_else(String::new, plain)),
        ]
    });
    Table::new(["SERVICE", "STATE", "FOR", "LAST ERROR"])
        .wraps()
        .rows(rows)
}

fn state(service: &Service) -> (&'static str, Option<Tone>) {
    match service.state {
        ServiceState::Running if !service.ready => ("running, not ready", Some(Tone::Doubtful)),
        ServiceState::Running => ("running", Some(Tone::Good)),
        ServiceState::Starting => ("starting", None),
        ServiceState::Stopping => ("stopping", None),
        ServiceState::Stopped => ("stopped", None),
        ServiceState::Failed => ("failed", Some(Tone::Bad)),
        ServiceState::NotBuilt => ("not built", None),
    }
}

#[cfg(test)]
mod tests {
    use convoke_web::model::{Kind, Stated};

    use super::*;

    fn ill() -> Status {
        Status {
            healthy: false,
            problems: vec![StatusProblem {
                code: "no-leader".to_owned(),
                what: "nobody has led for 7 s\u{1b}[2J".to_owned(),
                what_to_do: "wait".to_owned(),
            }],
            notes: vec!["somebody stands in\u{1b}[2J".to_owned()],
            cluster_id: None,
            cluster_name: Some("cellar\u{7}".to_owned()),
            node_id: "not an id\n".to_owned(),
            node_name: None,
            version: "1".to_owned(),
            uptime_ms: 1_000,
            role: Stated::unknown(Kind::Decided),
            services: vec![Service {
                name: "log".to_owned(),
                wanted: true,
                state: ServiceState::Failed,
                ready: false,
                for_ms: None,
                last_error: Some("the disk\r\n burns".to_owned()),
            }],
            leader: Stated::unknown(Kind::Decided),
            term: Stated::decided(4, Some(7_000)),
            voters: Stated::unknown(Kind::Decided),
            members: Stated::unknown(Kind::Observed),
            frozen: Stated::unknown(Kind::Observed),
            applied: Stated::unknown(Kind::Decided),
        }
    }

    #[test]
    fn what_is_not_known_is_called_unknown_and_nothing_reaches_the_terminal_as_an_order() {
        let text = screen(&ill());
        assert!(text.contains("leader    unknown"), "{text}");
        assert!(text.contains("term      4  (decided, 7 s old)"), "{text}");
        assert!(text.contains("What to do: wait"), "{text}");
        let obeyed = text.chars().find(|it| it.is_control() && *it != '\n');
        assert_eq!(obeyed, None, "{text:?}");
    }

    #[test]
    fn time_that_passes_is_no_news_and_another_problem_is() {
        let (before, mut after) = (mark(&ill()), ill());
        after.uptime_ms += 2_000;
        after.term.age_ms = Some(9_000);
        after.problems[0].what = "nobody has led for 19 s\u{1b}[2J".to_owned();
        assert_eq!(mark(&after), before);
        after.term.value = Some(5);
        assert_ne!(mark(&after), before);
    }

    #[test]
    fn who_is_not_healthy_ends_with_four() {
        let error = verdict(&ill()).unwrap_err();
        let ending = error.downcast_ref::<Ending>().unwrap();
        assert_eq!(ending.exit_code(), 4);
    }
}
