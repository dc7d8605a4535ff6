//! What a person or a program sees of the demo: a picture that lives, sentences that stay, lines of JSON, and the sum at the end.
//!
//! Making them is pure; [`Screen`] writes. Text of nodes has been through [`text::plain`](crate::text::plain) when it gets to a terminal.
//!
//! | the output is | and there is |
//! | --- | --- |
//! | a terminal | the picture, on the terminal's other screen; at the end what was promised and what came of it |
//! | something else | a line for each promise and for what came of it |
//! | JSON | an object a line, each with its `kind`: `start`, `process`, `api`, `act`, `result`, `chaos`, `event`, `summary` |

use std::io;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::script::Act;
use crate::output::{json_line, put};
use crate::picture::{Cluster, Line, Look, NodeRow, Size, Terminal, Tone, folded, head, row, size};
use crate::text::{grouped, human, plain};

/// What came of an act.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Whether it is as was promised.
    pub(super) is_kept: bool,
    /// What was found, in sentences.
    pub(super) says: Vec<String>,
    /// The same for programs.
    pub(super) facts: Map<String, Value>,
}

impl Outcome {
    pub(super) fn kept(says: impl Into<String>) -> Self {
        Self {
            is_kept: true,
            says: vec![says.into()],
            facts: Map::new(),
        }
    }

    pub(super) fn broken(why: impl Into<String>) -> Self {
        Self {
            is_kept: false,
            ..Self::kept(why)
        }
    }

    pub(super) fn and(mut self, says: impl Into<String>) -> Self {
        self.says.push(says.into());
        self
    }

    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn fact_ms(self, name: &str, time: Duration) -> Self {
        self.fact(name, u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What was promised, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) act: Act,
    pub(super) promise: String,
    /// Nothing as long as it is being shown.
    pub(super) outcome: Option<Outcome>,
}

/// Everything that is known to be shown.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    pub(super) elapsed: Duration,
    pub(super) cluster: Option<&'a Cluster>,
    /// The nodes in the order of the cast, with what is known of their processes.
    pub(super) rows: Vec<NodeRow>,
    pub(super) told: &'a [Told],
    /// What happened lately, the oldest first.
    pub(super) events: Vec<String>,
    pub(super) acknowledged: u64,
    /// Where a browser sees the same.
    pub(super) link: Option<&'a str>,
    /// Where chance began.
    pub(super) seed: Option<u64>,
}

/// The picture, in this size.
pub(super) fn picture(view: &View<'_>, size: Size) -> Vec<Line> {
    let width = size.columns;
    let mut lines = title(view);
    let now = current(view, width);
    let link = link(view, width);
    let fixed = lines.len() + now.len() + link.len() + 2;
    let room = size.rows.saturating_sub(fixed);
    // Nodes come first, but leave some room for what happens.
    let shown = view.rows.len().min(room.saturating_sub(4).max(room / 2));
    lines.push(head(width, true));
    lines.extend(
        view.rows
            .iter()
            .take(shown)
            .map(|node| row(node, width, true)),
    );
    lines.push(Line::default());
    lines.extend(now);
    let room = room.saturating_sub(shown);
    let done = done(view, width);
    let events = view.events.len().min(room / 2);
    let kept = done.len().min(room.saturating_sub(events));
    lines.extend(done.into_iter().rev().take(kept).rev());
    let latest = view.events.iter().skip(view.events.len() - events);
    lines.extend(latest.map(|event| Line::of(Tone::Faint, event)));
    while lines.len() + link.len() < size.rows {
        lines.push(Line::default());
    }
    lines.extend(link);
    lines
}

fn title(view: &View<'_>) -> Vec<Line> {
    let (tone, how) = match view.cluster {
        None => (Tone::Faint, "starting".to_owned()),
        Some(cluster) => match cluster.problems.len() {
            0 => (Tone::Good, "healthy".to_owned()),
            1 => (Tone::Bad, "1 problem".to_owned()),
            count => (Tone::Bad, format!("{count} problems")),
        },
    };
    let leads = view.cluster.and_then(|cluster| {
        let leader = cluster.called(cluster.leader.as_deref()?);
        Some(format!(
            "   {leader} leads (term {}), {} vote",
            cluster.term?, cluster.voters?
        ))
    });
    let seed = view
        .seed
        .map_or_else(String::new, |seed| format!("   seed {seed}"));
    let rest = format!(
        "{}   {} writes{seed}   {} s",
        leads.unwrap_or_default(),
        grouped(view.acknowledged),
        view.elapsed.as_secs()
    );
    vec![
        Line::of(Tone::Strong, "convoke demo")
            .with(Tone::Plain, "   ")
            .with(tone, &how)
            .with(Tone::Plain, &rest),
    ]
}

/// What is promised just now.
fn current(view: &View<'_>, width: usize) -> Vec<Line> {
    match view.told.last() {
        Some(told) if told.outcome.is_none() => {
            folded(Tone::Strong, &format!("Now: {}", told.promise), width, 2)
        }
        Some(_) | None => Vec::new(),
    }
}

/// What was promised before, and what came of it.
fn done(view: &View<'_>, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for told in view.told {
        let Some(outcome) = &told.outcome else {
            continue;
        };
        let (tone, mark) = if outcome.is_kept {
            (Tone::Good, "ok  ")
        } else {
            (Tone::Bad, "NOT ")
        };
        for (index, says) in outcome.says.iter().enumerate() {
            for (fold, line) in folded(Tone::Plain, says, width.saturating_sub(4), 2)
                .into_iter()
                .enumerate()
            {
                let mark = if index + fold == 0 { mark } else { "    " };
                let mut pieces = Line::of(tone, mark);
                pieces.pieces.extend(line.pieces);
                lines.push(pieces);
            }
        }
    }
    lines
}

fn link(view: &View<'_>, width: usize) -> Vec<Line> {
    let address = match view.link {
        Some(link) => format!("In a browser, once, within 15 minutes: {link}"),
        None => String::new(),
    };
    // Cut it would be worth nothing.
    let mut lines = folded(Tone::Plain, &address, width, 4);
    lines.push(Line::of(
        Tone::Faint,
        "q or Ctrl-C ends it and removes everything",
    ));
    lines
}

/// A promise before it is shown.
fn promised(told: &Told) -> String {
    format!("\n{}\n", told.promise)
}

/// What came of it.
fn found(told: &Told) -> String {
    let Some(outcome) = &told.outcome else {
        return String::new();
    };
    let mark = if outcome.is_kept { "ok" } else { "NOT KEPT:" };
    let mut text = String::new();
    for (index, says) in outcome.says.iter().enumerate() {
        let mark = if index == 0 { mark } else { "  " };
        text.push_str(&format!("  {mark} {}\n", plain(says)));
    }
    text
}

fn as_json(told: &Told) -> Value {
    match &told.outcome {
        None => json!({"kind": "act", "act": told.act.name(), "promise": told.promise}),
        Some(outcome) => {
            let mut line = outcome.facts.clone();
            line.insert("kind".to_owned(), "result".into());
            line.insert("act".to_owned(), told.act.name().into());
            line.insert("kept".to_owned(), outcome.is_kept.into());
            line.insert("says".to_owned(), outcome.says.clone().into());
            Value::Object(line)
        }
    }
}

/// What came of all of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Summary {
    pub(super) length: Duration,
    pub(super) is_interrupted: bool,
    pub(super) acknowledged: u64,
    /// The longest time without a write that was acknowledged.
    pub(super) longest: Duration,
    pub(super) seed: Option<u64>,
    /// Changes of who leads that were forced, each with how long it took.
    pub(super) failovers: Vec<Duration>,
}

impl Summary {
    fn text(&self, told: &[Told]) -> String {
        let (kept, broken) = counted(told);
        let mut text = match (broken, self.is_interrupted) {
            (0, false) => format!(
                "\nAll {kept} promises were kept, in {}.\n",
                human(self.length)
            ),
            (0, true) => format!(
                "\nInterrupted after {}; {kept} promises were shown, and kept.\n",
                human(self.length)
            ),
            (broken, _) => format!("\n{broken} of {} promises were NOT kept.\n", kept + broken),
        };
        if self.acknowledged > 0 {
            text += &format!(
                "{} writes were acknowledged; the longest time without one was {}.\n",
                grouped(self.acknowledged),
                human(self.longest)
            );
        }
        if let Some(seed) = self.seed {
            text += &format!("The same chance again: convoke demo --chaos --seed {seed}\n");
        }
        text
    }

    fn json(&self, told: &[Told]) -> Value {
        let (kept, broken) = counted(told);
        let ms = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        json!({
            "kind": "summary", "kept": kept, "broken": broken, "interrupted": self.is_interrupted, "after_ms": ms(&self.length),
            "acknowledged": self.acknowledged, "longest_without_ms": ms(&self.longest), "seed": self.seed,
            "failovers_ms": self.failovers.iter().map(ms).collect::<Vec<_>>(),
        })
    }
}

/// How many promises were kept, and how many not.
pub(super) fn counted(told: &[Told]) -> (usize, usize) {
    let ended = told.iter().filter_map(|it| it.outcome.as_ref());
    let (kept, broken): (Vec<_>, Vec<_>) = ended.partition(|it| it.is_kept);
    (kept.len(), broken.len())
}

/// Where all of it goes.
#[derive(Debug)]
pub(super) enum Screen {
    Terminal(Terminal),
    Lines,
    Json,
}

impl Screen {
    /// The output of this process.
    pub(super) fn new(look: Look, is_json: bool) -> io::Result<Self> {
        Ok(match (is_json, look.redraws) {
            (true, _) => Self::Json,
            (false, true) => Self::Terminal(Terminal::take(look.colours)?),
            (false, false) => Self::Lines,
        })
    }

    /// Shows how things are, where a picture can be drawn.
    pub(super) fn draw(&mut self, view: &View<'_>) -> io::Result<()> {
        let Self::Terminal(terminal) = self else {
            return Ok(());
        };
        let size = size();
        terminal.show(picture(view, size), size)
    }

    /// What is promised, and later what came of it.
    pub(super) fn tell(&mut self, told: &Told) -> io::Result<()> {
        match self {
            Self::Terminal(_) => Ok(()),
            Self::Lines if told.outcome.is_none() => put(&promised(told)),
            Self::Lines => put(&found(told)),
            Self::Json => put(&json_line(&as_json(told))),
        }
    }

    /// Something that happens, as a sentence and for programs.
    pub(super) fn say(&mut self, sentence: &str, line: &Value) -> io::Result<()> {
        match self {
            Self::Terminal(_) => Ok(()),
            Self::Lines if sentence.is_empty() => Ok(()),
            Self::Lines => put(&format!("{}\n", plain(sentence))),
            Self::Json => put(&json_line(line)),
        }
    }

    /// Shows what came of it all. A terminal is given back before.
    pub(super) fn sum_up(self, told: &[Told], summary: &Summary) -> io::Result<()> {
        match self {
            Self::Json => put(&json_line(&summary.json(told))),
            Self::Lines => put(&summary.text(told)),
            Self::Terminal(terminal) => {
                drop(terminal);
                let all = told.iter().filter(|it| it.outcome.is_some());
                let texts: String = all.map(|it| promised(it) + &found(it)).collect();
                put(&format!("{texts}{}", summary.text(told)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::crowd;

    fn told(act: Act, outcome: Option<Outcome>) -> Told {
        Told {
            act,
            promise: act.promise(6),
            outcome,
        }
    }

    fn some() -> Vec<Told> {
        let long = "the node that was killed was master-1, and worker-2 leads in term 2, 480 ms after the kill; status says so";
        vec![
            told(
                Act::Form,
                Some(Outcome::kept("6 nodes were ready 3.1 s after the start")),
            ),
            told(
                Act::Kill,
                Some(Outcome::kept(long).and("what to do: start it again")),
            ),
            told(Act::Lock, Some(Outcome::broken("it was given to another"))),
            told(Act::Stop, None),
        ]
    }

    fn view<'a>(told: &'a [Told], cluster: &'a Cluster) -> View<'a> {
        View {
            elapsed: Duration::from_secs(12),
            cluster: Some(cluster),
            rows: cluster.nodes.clone(),
            told,
            events: (0..20)
                .map(|it| format!("12:00:{it:02}  node x\u{1b}[2J is there"))
                .collect(),
            acknowledged: 1_234,
            link: Some(
                "http://127.0.0.1:40000/#login=abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwxyz",
            ),
            seed: Some(7),
        }
    }

    #[test]
    fn the_picture_fits_what_everybody_has_and_shows_all_that_matters() {
        let (told, cluster) = (some(), crowd(6));
        let lines: Vec<String> = picture(&view(&told, &cluster), Size::default())
            .iter()
            .map(Line::text)
            .collect();
        assert_eq!(lines.len(), 24, "{lines:#?}");
        let all = lines.join("\n");
        for part in [
            "convoke demo   healthy   node-1 leads (term 3), 3 vote   1,234 writes   seed 7",
            "node-5",
            "Now: A node that stands still is suspected",
            "NOT it was given to another",
            "\nstuvwxyz\nq or Ctrl-C",
            "12:00:19",
            "q or Ctrl-C",
        ] {
            assert!(all.contains(part), "{part}: {lines:#?}");
        }
        assert!(!all.contains('\u{1b}'));
    }

    #[test]
    fn in_every_size_the_picture_has_no_more_lines_than_that() {
        let told = some();
        for count in [0, 1, 6, 30] {
            let cluster = crowd(count);
            for columns in [1, 40, 80, 200] {
                for rows in [10, 24, 60] {
                    let lines = picture(&view(&told, &cluster), Size { columns, rows });
                    let most = rows.max(12);
                    assert!(
                        lines.len() <= most,
                        "{count} nodes, {columns} × {rows}: {}",
                        lines.len()
                    );
                }
            }
        }
        picture(
            &View::default(),
            Size {
                columns: 0,
                rows: 0,
            },
        );
    }

    #[test]
    fn a_promise_that_was_not_kept_is_said_so_plainly() {
        let told = some();
        assert_eq!(counted(&told), (2, 1));
        assert_eq!(found(&told[2]), "  NOT KEPT: it was given to another\n");
        let summary = Summary::default();
        assert!(
            summary
                .text(&told)
                .contains("1 of 3 promises were NOT kept")
        );
        assert_eq!(summary.json(&told)["broken"], 1);
        assert_eq!(as_json(&told[2])["kept"], false);
        assert_eq!(as_json(&told[3])["kind"], "act");
    }

    #[test]
    fn the_sum_says_how_to_have_the_same_chance_again() {
        let summary = Summary {
            is_interrupted: true,
            seed: Some(7),
            acknowledged: 12,
            ..Summary::default()
        };
        let text = summary.text(&some()[..2]);
        assert!(text.contains("2 promises were shown, and kept"), "{text}");
        assert!(text.ends_with("convoke demo --chaos --seed 7\n"), "{text}");
    }
}
