//! Stories as text, `tests/scripts-knobs/*.txt`: what is measured, what people decide, and below a line what the knobs made of it.
//!
//! ```text
//! # Work waits for processors, so the executor runs less at once.
//! set cpu-pressure 100 + 800 executor-slots
//! set memory-pressure 0
//! run 10min
//! ---
//!   0:00:10  executor-slots 4 slots -> 3 slots: cpu-pressure is 90 %, more than 70 %
//! ```
//!
//! Time is virtual, and the knobs are told every two seconds (`every T`). Nothing is known that is not set.
//!
//! | before the times, or at T … | |
//! | --- | --- |
//! | `set SIGNAL A` | it is measured as this |
//! | `set SIGNAL A + B KNOB` | it follows a knob: B more at its default, twice that at twice the default; an interval counts the other way round |
//! | `set SIGNAL A - KNOB` | so many want something, of which the knob lets as many have it as it says |
//! | `ramp SIGNAL A B until T` | it goes from A to B in even steps |
//! | `unknown SIGNAL…` | it is not known |
//! | `freeze [KNOB]`, `thaw [KNOB]`, `fix KNOB VALUE`, `let-go KNOB`, `range KNOB LEAST MOST`, `dry-run on`, `dry-run off` | what people decide |
//! | `home KNOB VALUE` | where the role and the machine of the node want it |
//! | `wrong KNOB` | before anything else: its law goes the wrong way |
//! | `every T`, `run T` | how often the knobs are told, and for how long |
//! | `look`, `explain KNOB` | where all knobs stand; the reasoning about one |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use convoke_planner::knobs::law::{Look, Wish, aimd};
use convoke_planner::knobs::{
    Hold, Knob, Knobs, LOOK_EVERY, Policy, Range, Signal, Signals, Spec, TABLE,
};
use convoke_trial::stories;
use convoke_types::Timestamp;

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-planner --test knobs stories";

#[test]
fn stories_of_knobs_end_as_they_ended_when_somebody_last_looked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts-knobs");
    let files = std::fs::read_dir(folder).expect("list the stories");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("list the stories").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are stories");
    let mut changed = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("read a story");
        let ended = stories::end(&text, run);
        let ended = ended.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        if super::update_is_asked_for() {
            std::fs::write(&path, ended.text).expect("write a story");
        } else {
            let difference = ended.difference.into_iter();
            changed.extend(difference.map(|it| format!("  {}, {it}", path.display())));
        }
    }
    assert!(
        changed.is_empty(),
        "stories end differently:\n{}\nIf that is what you want, write it down with\n    {HOW_TO_UPDATE}\nand read the difference.",
        changed.join("\n"),
    );
}

#[test]
fn a_line_of_a_story_that_cannot_be_read_is_named() {
    let why = run("set cpu-pressure 3\nat 5s explode\nrun 10s\n").expect_err("nothing explodes");
    assert_eq!(why, "`at 5s explode`: nothing like that can happen");
}

type Result<T> = std::result::Result<T, String>;

/// Runs a story and gives back what stands below its line.
fn run(text: &str) -> Result<String> {
    let mut story = Story::default();
    let mut acts = Vec::new();
    let mut end = Duration::ZERO;
    let mut every = LOOK_EVERY;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["run", time] => end = parse_time(time)?,
            ["every", time] => every = parse_time(time)?,
            ["at", time, act @ ..] => acts.push((parse_time(time)?, line, act.to_vec())),
            act => acts.push((Duration::ZERO, line, act.to_vec())),
        }
    }
    acts.sort_by_key(|(at, ..)| *at);
    let mut acts = acts.into_iter().peekable();
    let mut now = Duration::ZERO;
    while now <= end {
        while let Some((_, line, act)) = acts.next_if(|(at, ..)| *at <= now) {
            story.now = now;
            story.act(&act).map_err(|why| format!("`{line}`: {why}"))?;
        }
        story.step(now);
        now += every;
    }
    Ok(story.told)
}

/// How a signal comes about.
#[derive(Clone, Copy)]
enum Source {
    Plain(u64),
    Follows(u64, u64, Knob),
    Left(u64, Knob),
    Ramp([u64; 2], [Duration; 2]),
}

#[derive(Default)]
struct Story {
    now: Duration,
    knobs: Knobs,
    policy: Policy,
    sources: BTreeMap<Signal, Source>,
    told: String,
}

impl Story {
    fn act(&mut self, words: &[&str]) -> Result<()> {
        match words {
            ["set", signal, rest @ ..] => {
                let source = source(rest)?;
                self.sources.insert(parse_signal(signal)?, source);
            }
            ["ramp", signal, from, to, "until", end] => {
                let values = [parse_amount(from)?, parse_amount(to)?];
                let source = Source::Ramp(values, [self.now, parse_time(end)?]);
                self.sources.insert(parse_signal(signal)?, source);
            }
            ["unknown", signals @ ..] => {
                for signal in signals {
                    self.sources.remove(&parse_signal(signal)?);
                }
            }
            ["freeze"] => self.policy.frozen = true,
            ["thaw"] => self.policy.frozen = false,
            ["freeze", knob] => {
                self.policy.frozen_knobs.insert(parse_knob(knob)?);
            }
            ["thaw", knob] => {
                self.policy.frozen_knobs.remove(&parse_knob(knob)?);
            }
            ["fix", knob, value] => {
                let value = parse_amount(value)?;
                self.policy.fixed.insert(parse_knob(knob)?, value);
            }
            ["let-go", knob] => {
                self.policy.fixed.remove(&parse_knob(knob)?);
            }
            ["range", knob, least, most] => {
                let (least, most) = (parse_amount(least)?, parse_amount(most)?);
                let range = Range { least, most };
                self.policy.ranges.insert(parse_knob(knob)?, range);
            }
            ["home", knob, value] => {
                let value = parse_amount(value)?;
                self.policy.homes.insert(parse_knob(knob)?, value);
            }
            ["dry-run", on] => self.policy.dry_run = *on == "on",
            ["wrong", knob] => {
                let mut table = TABLE;
                table[parse_knob(knob)?.index()].law = wrong;
                self.knobs = Knobs::with_table(table);
            }
            ["look"] => {
                let all = Knob::ALL.map(|knob| format!("{knob} {}", self.knobs.value(knob)));
                self.say(&all.join(", "));
            }
            ["explain", knob] => {
                let knob = parse_knob(knob)?;
                let told = self
                    .knobs
                    .explain(self.time(), &self.signals(), &self.policy);
                self.say(&told[knob.index()].to_string());
            }
            _ => return Err("nothing like that can happen".into()),
        }
        Ok(())
    }

    fn step(&mut self, now: Duration) {
        self.now = now;
        let signals = self.signals();
        for it in self.knobs.step(self.time(), &signals, &self.policy) {
            self.say(&it.to_string());
        }
    }

    fn signals(&self) -> Signals {
        let mut signals = Signals::unknown();
        for (signal, source) in &self.sources {
            let value = match *source {
                Source::Plain(value) => value,
                Source::Follows(base, gain, knob) => base + gain * self.share(knob) / 1_000,
                Source::Left(all, knob) => all.saturating_sub(self.knobs.value(knob)),
                Source::Ramp([from, to], [start, end]) => {
                    let whole = end.saturating_sub(start).as_millis().max(1) as i128;
                    let done = (self.now.saturating_sub(start).as_millis() as i128).min(whole);
                    let rise = (i128::from(to) - i128::from(from)) * done / whole;
                    u64::try_from(i128::from(from) + rise).expect("between two amounts")
                }
            };
            signals.set(*signal, Some(value));
        }
        signals
    }

    /// How hard a knob presses, in thousandths of what it does by default.
    fn share(&self, knob: Knob) -> u64 {
        let (value, default) = (self.knobs.value(knob), TABLE[knob.index()].default);
        match knob {
            Knob::GossipPace => default * 1_000 / value,
            Knob::SnapshotStreams | Knob::ExecutorSlots | Knob::CacheBytes | Knob::FetchStreams => {
                value * 1_000 / default
            }
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.now
    }

    fn say(&mut self, text: &str) {
        let seconds = self.now.as_secs();
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        for line in text.lines() {
            writeln!(self.told, "{hours:>3}:{minutes:02}:{seconds:02}  {line}")
                .expect("text grows");
        }
    }
}

fn wrong(spec: &Spec, look: &Look) -> std::result::Result<Wish, Hold> {
    let wish = aimd(spec, look)?;
    let to = (2 * look.value).saturating_sub(wish.to);
    Ok(Wish { to, ..wish })
}

fn source(words: &[&str]) -> Result<Source> {
    match words {
        [value] => Ok(Source::Plain(parse_amount(value)?)),
        [base, "+", gain, knob] => Ok(Source::Follows(
            parse_amount(base)?,
            parse_amount(gain)?,
            parse_knob(knob)?,
        )),
        [all, "-", knob] => Ok(Source::Left(parse_amount(all)?, parse_knob(knob)?)),
        _ => Err("a signal is an amount, or follows a knob".into()),
    }
}

fn parse_signal(name: &str) -> Result<Signal> {
    Signal::named(name).ok_or_else(|| format!("`{name}` is no signal"))
}

fn parse_knob(name: &str) -> Result<Knob> {
    Knob::named(name).ok_or_else(|| format!("`{name}` is no knob"))
}

/// `5`, `5k` or `5M`.
fn parse_amount(text: &str) -> Result<u64> {
    let (digits, factor) = match text.strip_suffix('M') {
        Some(digits) => (digits, 1_000_000),
        None => text.strip_suffix('k').map_or((text, 1), |it| (it, 1_000)),
    };
    let amount = digits.parse::<u64>();
    let amount = amount.map_err(|_| format!("`{text}` is no amount"))?;
    Ok(amount * factor)
}

/// `5s`, `5min` or `5h`.
fn parse_time(text: &str) -> Result<Duration> {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let unit = text.trim_start_matches(is_digit);
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        _ => return Err(format!("`{text}` is no time")),
    };
    let count = text.trim_end_matches(unit).parse::<u64>();
    let count = count.map_err(|_| format!("`{text}` is no time"))?;
    Ok(Duration::from_secs(count * seconds))
}
