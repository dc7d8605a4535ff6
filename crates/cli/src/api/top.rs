//! `convoke top`: a cluster as it goes, in a terminal: its nodes, who leads and votes, what is wrong, how much is decided, and what happens.
//!
//! It is what the node that answers sees. It is looked at again every [`EVERY`], and the terminal is told what changed. When the node does not
//! answer any more, the last picture stays, with since when, and it goes on asking. Where there is no terminal, or with `--once`, one picture
//! is printed.
//!
//! | key | does |
//! | --- | --- |
//! | q, Ctrl-C | ends |
//! | arrows, page keys, Home, End | scroll the nodes |
//! | s | the next order of the nodes |
//! | / | shows only nodes whose name, id, role or state has what is typed then; Escape shows all again |
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was told to end | 0 |
//! | nobody answered, or whoever did refused | 1 |
//!
//! | bound | |
//! | --- | --- |
//! | an answer is waited for | [`PATIENCE`] |
//! | events kept | [`EVENTS`] |
//! | what is typed behind / | [`FILTER`] characters |
//!
//! Deliberately not here: asking and drawing (`crate::picture`), and changing anything.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use convoke_web::client::ClientError;
use convoke_web::model::Event;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use super::status::is_final;
use super::{Asked, Doing, Where, moment, span};
use crate::output::{self, Signals, json_line, put};
use crate::picture::{
    Cluster, Key, Keys, Line, Look, Looked, Looker, Order, Size, Terminal, Tone, folded, head, row,
    size,
};
use crate::text::grouped;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// So long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events that are kept.
const EVENTS: usize = 200;
/// Characters of a filter.
const FILTER: usize = 64;
/// Lines of a picture that is printed once have this width.
const PRINTED: usize = 120;
/// Problems that are shown beside everything else.
const PROBLEMS: usize = 3;

/// What `convoke top` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Prints one picture and ends; so it does where the output is no terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    at: Where,
}

/// Runs it to its end.
pub(crate) fn run(arguments: Arguments, look: Look) -> anyhow::Result<()> {
    output::run(async {
        let mut asked = arguments.at.open().await?;
        asked.client = asked.client.with_patience(PATIENCE);
        let mut looker = Looker::new(asked.client.clone());
        let first = asked
            .have(Doing::Asking, "top", async |_| looker.look().await)
            .await?;
        let mut state = State::default();
        state.saw(first, Instant::now());
        if arguments.at.json {
            put(&as_json(&state))?;
        } else if arguments.once || !look.redraws {
            put(&printed(&state))?;
        } else {
            live(&asked, looker, state, look).await?;
        }
        Ok(())
    })
}

async fn live(asked: &Asked, looker: Looker, mut state: State, look: Look) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut resized = signal(SignalKind::window_change()).context("listen for signals")?;
    let mut terminal = Terminal::take(look.colours).context("take the terminal")?;
    let mut keys = Keys::listen();
    let mut looking = Box::pin(later(looker));
    let mut clock = interval(EVERY);
    loop {
        let now = size();
        terminal.show(view(&mut state, now, Instant::now()), now)?;
        tokio::select! {
            _ = signals.next() => return Ok(()),
            _ = resized.recv() => {}
            // What is said to be so many seconds old gets older while nobody answers.
            _ = clock.tick() => {}
            key = keys.next() => if state.pressed(key) == Next::End { return Ok(()) },
            (looker, looked) = &mut looking => {
                looking.set(later(looker));
                match looked {
                    Ok(looked) => state.saw(looked, Instant::now()),
                    Err(error) if is_final(&error) => return Err(asked.failed(Doing::Asking, "top", &error)),
                    Err(error) => state.missed(asked.words(&error)),
                }
            }
        }
    }
}

/// The next look, when it is time.
async fn later(mut looker: Looker) -> (Looker, Result<Looked, ClientError>) {
    tokio::time::sleep(EVERY).await;
    let looked = looker.look().await;
    (looker, looked)
}

/// What goes on after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

/// What is known, and how it is looked at.
#[derive(Debug)]
struct State {
    cluster: Cluster,
    events: VecDeque<Event>,
    seen: Option<Seen>,
    rates: Rates,
    /// Why nobody answers.
    missing: Option<String>,
    order: Order,
    filter: String,
    is_typing: bool,
    /// How many nodes are above those that are shown.
    above: usize,
    /// How many were shown.
    page: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            cluster: Cluster::default(),
            events: VecDeque::new(),
            seen: None,
            rates: Rates::default(),
            missing: None,
            order: Order::Name,
            filter: String::new(),
            is_typing: false,
            above: 0,
            page: 0,
        }
    }
}

/// Counters of the last look, and when it was.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    entries: Option<f64>,
    revision: Option<u64>,
    processor: Option<f64>,
    requests: Option<f64>,
}

/// What there is in a second; nothing where nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Rates {
    entries: Option<f64>,
    changes: Option<f64>,
    events: Option<f64>,
    requests: Option<f64>,
    /// Processors that the node keeps busy.
    busy: Option<f64>,
    /// Memory that it has.
    memory: Option<f64>,
}

impl State {
    fn saw(&mut self, looked: Looked, now: Instant) {
        let numbers = &looked.numbers;
        let next = Seen {
            at: now,
            entries: number(numbers, "convoke_log_applied_index"),
            revision: looked.cluster.revision,
            processor: number(numbers, "convoke_process_cpu_seconds_total"),
            requests: sum(numbers, "convoke_http_requests_total"),
        };
        self.rates = match &self.seen {
            Some(before) => rates(before, &next, looked.happened),
            None => Rates::default(),
        };
        self.rates.memory = number(numbers, "convoke_process_resident_bytes");
        self.seen = Some(next);
        self.missing = None;
        self.cluster = looked.cluster;
        self.events.extend(looked.events);
        let too_many = self.events.len().saturating_sub(EVENTS);
        self.events.drain(..too_many);
    }

    fn missed(&mut self, why: String) {
        self.missing = Some(why);
    }

    fn pressed(&mut self, key: Key) -> Next {
        if self.is_typing {
            self.typed(key);
            return Next::GoOn;
        }
        match key {
            Key::Letter('q' | 'Q') => return Next::End,
            Key::Letter('s' | 'S') => self.order = self.order.next(),
            Key::Letter('/') => self.is_typing = true,
            Key::Escape => self.filter.clear(),
            Key::Up | Key::Letter('k') => self.above = self.above.saturating_sub(1),
            Key::Down | Key::Letter('j') => self.above += 1,
            Key::PageUp => self.above = self.above.saturating_sub(self.page.max(1)),
            Key::PageDown | Key::Letter(' ') => self.above += self.page.max(1),
            Key::Home => self.above = 0,
            // Brought back to the last page when it is drawn.
            Key::End => self.above = usize::MAX / 2,
            Key::Enter | Key::Erase | Key::Letter(_) => {}
        }
        Next::GoOn
    }

    fn typed(&mut self, key: Key) {
        match key {
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Erase => {
                self.filter.pop();
            }
            Key::Letter(letter) if self.filter.chars().count() < FILTER => {
                self.filter.push(letter);
                self.above = 0;
            }
            Key::Letter(_)
            | Key::Up
            | Key::Down
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End => {}
        }
    }
}

fn rates(before: &Seen, next: &Seen, happened: u64) -> Rates {
    let seconds = next.at.saturating_duration_since(before.at).as_secs_f64();
    let rate = |from: Option<f64>, to: Option<f64>| {
        // A counter that went back is of another start of the node.
        let grown = to? - from?;
        (grown >= 0.0 && seconds > 0.0).then(|| grown / seconds)
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with three digits"
    )]
    let whole = |number: u64| number as f64;
    Rates {
        entries: rate(before.entries, next.entries),
        changes: rate(before.revision.map(whole), next.revision.map(whole)),
        events: rate(Some(0.0), Some(whole(happened))),
        requests: rate(before.requests, next.requests),
        busy: rate(before.processor, next.processor),
        memory: None,
    }
}

/// A number of Prometheus text that has no labels.
fn number(numbers: &str, name: &str) -> Option<f64> {
    let mut values = numbers
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next()?.trim().parse().ok()
}

/// The sum of a number over all its labels.
fn sum(numbers: &str, name: &str) -> Option<f64> {
    let labelled = numbers
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let values = labelled.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// The picture, in this size. Of the rows, a third at most are events.
fn view(state: &mut State, size: Size, now: Instant) -> Vec<Line> {
    let width = size.columns;
    let mut lines = above(state, width, now);
    let happened = size.rows.saturating_sub(lines.len()) / 3;
    let events: Vec<Line> = latest(&state.events, happened.saturating_sub(1));
    let below = if events.is_empty() {
        1
    } else {
        events.len() + 2
    };
    let rows = state.cluster.ordered(state.order, &state.filter);
    let page = size.rows.saturating_sub(lines.len() + below + 1);
    let most_above = rows.len().saturating_sub(page);
    let above = state.above.min(most_above);
    let shown = rows.iter().skip(above).take(page);
    lines.push(head(width, false));
    lines.extend(shown.map(|node| row(node, width, false)));
    let rest = rows.len().saturating_sub(above + page);
    (state.above, state.page) = (above, page);
    while lines.len() + below < size.rows {
        lines.push(Line::default());
    }
    if !events.is_empty() {
        lines.push(Line::of(Tone::Faint, "EVENTS"));
        lines.extend(events);
    }
    lines.push(foot(state, above, rest));
    lines
}

/// Everything above the nodes.
fn above(state: &State, width: usize, now: Instant) -> Vec<Line> {
    let mut lines = summary(state);
    if let Some(why) = &state.missing {
        let since = state
            .seen
            .map(|seen| now.saturating_duration_since(seen.at));
        let ms = since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        let text = format!("As it was {} ago: {why}; trying again", span(ms));
        lines.extend(folded(Tone::Bad, &text, width, 2));
        return lines;
    }
    let problems = &state.cluster.problems;
    for problem in problems.iter().take(PROBLEMS) {
        lines.push(Line::of(Tone::Bad, "! ").with(Tone::Plain, &problem.what));
    }
    if problems.len() > PROBLEMS {
        let more = format!("! and {} more: convoke status", problems.len() - PROBLEMS);
        lines.push(Line::of(Tone::Bad, &more));
    }
    lines
}

fn summary(state: &State) -> Vec<Line> {
    let cluster = &state.cluster;
    let (tone, verdict) = match cluster.problems.len() {
        0 => (Tone::Good, "healthy".to_owned()),
        1 => (Tone::Bad, "1 problem".to_owned()),
        count => (Tone::Bad, format!("{count} problems")),
    };
    let name = cluster.name.as_deref().unwrap_or("a cluster");
    let leads = match &cluster.leader {
        Some(leader) => format!("{} leads", cluster.called(leader)),
        None => "nobody is known to lead".to_owned(),
    };
    let term = cluster
        .term
        .map_or_else(String::new, |term| format!(" (term {term})"));
    let voters = cluster
        .voters
        .map_or_else(String::new, |count| format!(", {count} vote"));
    let rates = &state.rates;
    let decided = format!(
        "revision {}   {} log entries/s   {} changes/s   {} events/s",
        cluster
            .revision
            .map_or_else(|| "unknown".to_owned(), grouped),
        shown(rates.entries),
        shown(rates.changes),
        shown(rates.events),
    );
    let own = format!(
        "{} answers: {} processors busy   {}   {} requests/s",
        cluster.answers,
        rates
            .busy
            .map_or_else(|| "–".to_owned(), |busy| format!("{busy:.2}")),
        rates.memory.map_or_else(
            || "memory unknown".to_owned(),
            |bytes| format!("{:.0} MB", bytes / 1e6)
        ),
        shown(rates.requests),
    );
    vec![
        Line::of(Tone::Strong, name)
            .with(Tone::Plain, "  ")
            .with(tone, &verdict)
            .with(
                Tone::Plain,
                &format!("  {leads}{term}{voters}  {} nodes", cluster.nodes.len()),
            ),
        Line::of(Tone::Plain, &decided),
        Line::of(Tone::Faint, &own),
    ]
}

/// With as many digits as somebody reads.
fn shown(rate: Option<f64>) -> String {
    match rate {
        None => "–".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// The latest events, the oldest of them first. That nodes say something new of themselves is not news to people.
fn latest(events: &VecDeque<Event>, most: usize) -> Vec<Line> {
    let told = events.iter().filter(|it| it.name != "node-updated");
    let mut lines: Vec<Line> = told.rev().take(most).map(event).collect();
    lines.reverse();
    lines
}

fn event(event: &Event) -> Line {
    Line::of(Tone::Faint, time_of_day(event.unix_ms).as_str())
        .with(Tone::Plain, "  ")
        .with(Tone::Plain, &event.text)
}

/// `12:34:56`, of a moment as people write it.
fn time_of_day(unix_ms: u64) -> String {
    let moment = moment(unix_ms);
    let time = moment.split_once('T').map(|(_, time)| time);
    time.and_then(|time| time.get(..8))
        .unwrap_or(&moment)
        .to_owned()
}

fn foot(state: &State, above: usize, below: usize) -> Line {
    if state.is_typing {
        return Line::of(Tone::Strong, "/").with(Tone::Plain, &format!("{}_", state.filter));
    }
    let filter = match state.filter.as_str() {
        "" => String::new(),
        filter => format!("   with {filter}"),
    };
    let place = match (above, below) {
        (0, 0) => String::new(),
        (above, below) => format!("   {above} above, {below} below"),
    };
    Line::of(
        Tone::Faint,
        &format!(
            "q ends   s: by {}   / filters{filter}{place}",
            state.order.name()
        ),
    )
}

/// One picture of everything, as lines that stay.
fn printed(state: &State) -> String {
    let mut lines = above(state, PRINTED, Instant::now());
    lines.push(Line::default());
    lines.push(head(PRINTED, false));
    let rows = state.cluster.ordered(state.order, &state.filter);
    lines.extend(rows.iter().map(|node| row(node, PRINTED, false)));
    let events = latest(&state.events, 10);
    if !events.is_empty() {
        lines.push(Line::default());
        lines.extend(events);
    }
    lines.iter().map(|line| line.text() + "\n").collect()
}

fn as_json(state: &State) -> String {
    let cluster = &state.cluster;
    let nodes = cluster.ordered(state.order, "");
    let nodes: Vec<_> = nodes
        .iter()
        .map(|it| {
            json!({
                "id": it.id, "name": it.name, "role": it.role, "verdict": it.verdict, "age_ms": it.age_ms, "drained": it.drained,
                "leads": it.leads, "votes": it.votes, "behind": it.behind, "version": it.version,
            })
        })
        .collect();
    json_line(&json!({
        "cluster": cluster.name, "answers": cluster.answers, "problems": cluster.problems, "leader": cluster.leader, "term": cluster.term,
        "voters": cluster.voters, "revision": cluster.revision, "nodes": nodes,
    }))
}

#[cfg(test)]
mod tests {
    use convoke_web::model::{Kind, StatusProblem};

    use super::*;
    use crate::picture::tests::crowd;

    fn state(count: usize) -> State {
        let mut state = State::default();
        let event = |number: u64| Event {
            cursor: number.to_string(),
            unix_ms: 1_795_810_836_181 + number * 1_000,
            kind: Kind::Observed,
            name: if number.is_multiple_of(2) {
                "node-updated"
            } else {
                "node-failed"
            }
            .to_owned(),
            node: None,
            revision: None,
            text: format!("node {number} \u{1b}[2J is held for failed"),
        };
        let looked = Looked {
            cluster: crowd(count),
            events: (0..300).map(event).collect(),
            happened: 0,
            numbers:
                "convoke_log_applied_index 100\nconvoke_http_requests_total{operation=\"a\"} 3\n"
                    .to_owned(),
        };
        state.saw(looked, Instant::now());
        state
    }

    fn texts(state: &mut State, columns: usize, rows: usize) -> Vec<String> {
        let size = Size { columns, rows };
        view(state, size, Instant::now())
            .iter()
            .map(Line::text)
            .collect()
    }

    #[test]
    fn a_thousand_nodes_are_scrolled_to_their_end_and_back() {
        let mut state = state(1_000);
        let first = texts(&mut state, 80, 24);
        assert_eq!(first.len(), 24);
        assert!(
            first[0].starts_with("cellar  healthy  node-1 leads (term 3), 3 vote  1000 nodes"),
            "{first:#?}"
        );
        assert!(first[23].contains("0 above"), "{first:#?}");
        state.pressed(Key::End);
        let last = texts(&mut state, 80, 24);
        assert!(last[23].ends_with(", 0 below"), "{last:#?}");
        state.pressed(Key::PageUp);
        state.pressed(Key::Down);
        state.pressed(Key::Home);
        assert_eq!(texts(&mut state, 80, 24), first);
    }

    #[test]
    fn in_every_size_the_picture_fits() {
        let mut state = state(50);
        state.cluster.problems = vec![
            StatusProblem {
                code: "voter-missing".to_owned(),
                what: "node a votes and does not answer".to_owned(),
                what_to_do: "start it".to_owned(),
            };
            5
        ];
        for columns in [1, 10, 40, 80, 200] {
            for rows in [12, 24, 60] {
                let lines = texts(&mut state, columns, rows);
                assert!(lines.len() <= rows, "{columns} × {rows}: {lines:#?}");
            }
        }
        let narrow = texts(&mut state, 40, 24).join("\n");
        assert!(narrow.contains("node-1      worker   drained"), "{narrow}");
    }

    #[test]
    fn what_came_from_elsewhere_is_not_obeyed() {
        let lines = texts(&mut state(3), 80, 24).join("");
        assert!(
            lines.contains("held for failed") && !lines.contains('\u{1b}'),
            "{lines}"
        );
    }

    #[test]
    fn keys_sort_filter_and_end() {
        let mut state = state(30);
        state.pressed(Key::Letter('s'));
        assert_eq!(state.order, Order::Role);
        for key in ['/', 'q', 'x'] {
            assert_eq!(state.pressed(Key::Letter(key)), Next::GoOn);
        }
        state.pressed(Key::Erase);
        state.pressed(Key::Erase);
        "node-12".chars().for_each(|letter| {
            state.pressed(Key::Letter(letter));
        });
        assert!(texts(&mut state, 80, 24)[23].starts_with("/node-12_"));
        state.pressed(Key::Enter);
        let lines = texts(&mut state, 80, 24);
        assert!(
            lines
                .iter()
                .filter(|line| line.starts_with("node-12 "))
                .count()
                == 1,
            "{lines:#?}"
        );
        state.pressed(Key::Escape);
        assert!(state.filter.is_empty());
        assert_eq!(state.pressed(Key::Letter('q')), Next::End);
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks_and_unknown_after_a_start() {
        let at = Instant::now();
        let seen = |seconds, entries| Seen {
            at: at + Duration::from_secs(seconds),
            entries: Some(entries),
            revision: Some(7),
            processor: None,
            requests: None,
        };
        let rates = rates(&seen(0, 100.0), &seen(2, 150.0), 4);
        assert_eq!(
            (rates.entries, rates.changes, rates.events),
            (Some(25.0), Some(0.0), Some(2.0))
        );
        assert_eq!(
            (
                rates.busy,
                super::rates(&seen(0, 100.0), &seen(1, 3.0), 0).entries
            ),
            (None, None)
        );
        assert_eq!(super::rates(&seen(0, 1.0), &seen(0, 3.0), 0).entries, None);
    }

    #[test]
    fn a_node_that_is_gone_leaves_its_last_picture_and_since_when() {
        let mut state = state(3);
        let at = state.seen.unwrap().at;
        state.missed("the node in d does not run".to_owned());
        let size = Size {
            columns: 80,
            rows: 24,
        };
        let lines = view(&mut state, size, at + Duration::from_secs(7));
        let text: Vec<String> = lines.iter().map(Line::text).collect();
        assert!(
            text.contains(
                &"As it was 7 s ago: the node in d does not run; trying again".to_owned()
            ),
            "{text:#?}"
        );
        assert!(
            text.iter().any(|line| line.starts_with("node-1")),
            "{text:#?}"
        );
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "# HELP a\nab 2\na 1\na{x=\"1\"} 4\na{x=\"2 }\"} 5\n";
        assert_eq!(
            (number(text, "a"), sum(text, "a"), number(text, "b")),
            (Some(1.0), Some(9.0), None)
        );
    }
}
