//! Steps: what a command of the project consists of, and how it is carried out and told.
//!
//! A command decides first and acts then: `plan.rs` makes a list of [`Step`]s, [`run`] goes through
//! it, shows each with its time, stops at the first failure, and ends with a table and one line
//! naming everything that was not done.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::dist::{self, Went};
use crate::tidy;

/// One thing to do.
#[derive(Debug)]
pub(crate) struct Step {
    /// One word, unique in its plan.
    pub(crate) name: &'static str,
    pub(crate) action: Action,
}

/// How a step is done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Run a program.
    Run(Call),
    /// Run programs that print cargo's `test result:` lines, which are added up. They run at the same time: the first one is
    /// heard as it goes, each of the others when it has ended.
    Test(Vec<Call>),
    /// Look through the repository, in this process.
    Tidy,
    /// Make or try what is handed out, in this process.
    Dist(dist::Task),
    /// A tool or a connection is not there; says what and how to get it. Under CI this is a
    /// failure.
    Missing(String),
    /// The part of the project this step is about has not been written yet.
    NoContent,
}

/// A call of another program from the root of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Call {
    /// `cargo` with the arguments written in `line`.
    pub(crate) fn cargo(line: &str) -> Self {
        let args = line.split_whitespace().map(str::to_owned).collect();
        Self {
            program: "cargo".to_owned(),
            args,
            environment: Vec::new(),
        }
    }

    /// The same with more arguments.
    pub(crate) fn with(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.args.extend(args);
        self
    }

    /// The same with a variable in its environment.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The call as one would type it.
    pub(crate) fn shown(&self) -> String {
        let variables = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| quoted(word));
        variables.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs it with our own input and output, and waits for it.
    pub(crate) fn status(&self) -> Result<ExitStatus> {
        self.command()
            .status()
            .with_context(|| format!("start `{}`", self.shown()))
    }

    /// Runs it unheard; whether it succeeded.
    pub(crate) fn succeeds(&self) -> bool {
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(crate::root());
        command
    }
}

fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || "-_./=:,+@".contains(c));
    if is_plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What became of a step.
#[derive(Debug)]
struct Done {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Passed { note: String },
    Failed { alone: String },
    Missing { what: String },
    NoContent,
}

/// Goes through `steps`; whether everything that had to pass did.
pub(crate) fn run(title: &str, steps: Vec<Step>, missing_is_failure: bool) -> Result<bool> {
    let names: Vec<&'static str> = steps.iter().map(|step| step.name).collect();
    let mut done: Vec<Done> = Vec::new();
    for step in steps {
        let finished = carry_out(step, done.len() + 1, names.len())?;
        let stops = match finished.outcome {
            Outcome::Failed { .. } => true,
            Outcome::Missing { .. } => missing_is_failure,
            Outcome::Passed { .. } | Outcome::NoContent => false,
        };
        done.push(finished);
        if stops {
            break;
        }
    }
    println!("\n{}", closing(title, &names, &done, missing_is_failure));
    Ok(passed(&names, &done, missing_is_failure))
}

fn passed(names: &[&str], done: &[Done], missing_is_failure: bool) -> bool {
    let is_fine = |done: &Done| match done.outcome {
        Outcome::Passed { .. } | Outcome::NoContent => true,
        Outcome::Missing { .. } => !missing_is_failure,
        Outcome::Failed { .. } => false,
    };
    done.len() == names.len() && done.iter().all(is_fine)
}

fn carry_out(step: Step, number: usize, count: usize) -> Result<Done> {
    let began = Instant::now();
    let outcome = act(&step, number, count)?;
    let took = began.elapsed();
    if let Outcome::Passed { note } = &outcome {
        println!(
            "    {} passed in {}{}",
            step.name,
            shown_time(took),
            noted(note)
        );
    }
    Ok(Done {
        name: step.name,
        took,
        outcome,
    })
}

fn act(step: &Step, number: usize, count: usize) -> Result<Outcome> {
    let announce = |what: &str| println!("\n[{number}/{count}] {}: {what}", step.name);
    let judge = |status: ExitStatus, call: &Call| {
        if status.success() {
            Outcome::Passed {
                note: String::new(),
            }
        } else {
            Outcome::Failed {
                alone: call.shown(),
            }
        }
    };
    Ok(match &step.action {
        Action::Run(call) => {
            announce(&call.shown());
            judge(call.status()?, call)
        }
        Action::Test(calls) => {
            let shown: Vec<String> = calls.iter().map(Call::shown).collect();
            announce(&shown.join("; at the same time: "));
            let (failed, tally) = run_tests(calls)?;
            match failed {
                None => Outcome::Passed {
                    note: tally.to_string(),
                },
                Some(call) => Outcome::Failed {
                    alone: call.shown(),
                },
            }
        }
        Action::Tidy => {
            announce("the rules of the repository");
            run_tidy()?
        }
        Action::Dist(task) => {
            announce(&task.shown());
            match task.run() {
                Ok(Went::Passed(note)) => Outcome::Passed { note },
                Ok(Went::Missing(what)) => {
                    println!("    not done here: {what}");
                    Outcome::Missing { what }
                }
                Err(error) => {
                    println!("\n{error:#}");
                    Outcome::Failed {
                        alone: "cargo xtask dist".to_owned(),
                    }
                }
            }
        }
        Action::Missing(what) => {
            announce(&format!("not run here: {what}"));
            Outcome::Missing { what: what.clone() }
        }
        Action::NoContent => Outcome::NoContent,
    })
}

fn run_tidy() -> Result<Outcome> {
    let reports = tidy::check(crate::root())?;
    for report in &reports {
        println!("\n{report}");
    }
    Ok(match reports.len() {
        0 => Outcome::Passed {
            note: String::new(),
        },
        _ => Outcome::Failed {
            alone: "cargo xtask tidy".to_owned(),
        },
    })
}

/// The sum of all `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    fn add(&mut self, line: &str) {
        let Some(numbers) = line.trim_start().strip_prefix("test result:") else {
            return;
        };
        let number = |label: &str| {
            let words: Vec<&str> = numbers
                .split([' ', ';', '.'])
                .filter(|word| !word.is_empty())
                .collect();
            let at = words.iter().position(|word| *word == label)?;
            words.get(at.checked_sub(1)?)?.parse().ok()
        };
        self.programs += 1;
        self.passed += number("passed").unwrap_or(0u64);
        self.failed += number("failed").unwrap_or(0u64);
        self.ignored += number("ignored").unwrap_or(0u64);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            programs,
            passed,
            failed,
            ignored,
        } = self;
        write!(
            f,
            "{passed} passed, {failed} failed, {ignored} ignored, in {programs} test programs"
        )
    }
}

/// Runs `calls` at the same time, lets their output through, and adds up their results. Says which one failed, the first if several.
fn run_tests(calls: &[Call]) -> Result<(Option<&Call>, Tally)> {
    let (mut failed, mut tally) = (None, Tally::default());
    std::thread::scope(|scope| -> Result<()> {
        let Some((heard, others)) = calls.split_first() else {
            return Ok(());
        };
        let others: Vec<_> = others
            .iter()
            .map(|call| {
                let running = scope.spawn(move || {
                    let mut said = Vec::new();
                    let status = run_test(call, |line| {
                        said.push(line.to_owned());
                        Ok(())
                    });
                    status.map(|status| (status, said))
                });
                (call, running)
            })
            .collect();
        let mut say = |line: &str| {
            tally.add(line);
            writeln!(io::stdout().lock(), "{line}").context("pass on the tests' output")
        };
        if !run_test(heard, &mut say)?.success() {
            failed = Some(heard);
        }
        for (call, running) in others {
            let (status, said) = running.join().expect("it does not panic")?;
            say(&format!("\n{}", call.shown()))?;
            said.iter().try_for_each(|line| say(line))?;
            if !status.success() {
                failed = failed.or(Some(call));
            }
        }
        Ok(())
    })?;
    Ok((failed, tally))
}

/// Runs one call to its end. What it says on either output comes in its order, line by line.
fn run_test(call: &Call, mut say: impl FnMut(&str) -> Result<()>) -> Result<ExitStatus> {
    let (output, its_end) = io::pipe().context("make a pipe")?;
    let mut command = call.command();
    command
        .stdout(its_end.try_clone().context("share a pipe")?)
        .stderr(its_end);
    let mut child = command
        .spawn()
        .with_context(|| format!("start `{}`", call.shown()))?;
    // It holds our copies of its end, and the output ends when all of them are closed.
    drop(command);
    for line in BufReader::new(output).split(b'\n') {
        // Tests may print bytes that are no text; they are let through as well as a terminal can
        // show them.
        let line = line.context("read the tests' output")?;
        say(&String::from_utf8_lossy(&line))?;
    }
    child.wait().context("wait for the tests")
}

/// The table of all steps and the lines below it.
fn closing(title: &str, names: &[&'static str], done: &[Done], missing_is_failure: bool) -> String {
    let width = names
        .iter()
        .map(|name| name.len())
        .max()
        .unwrap_or(0)
        .max("total".len());
    let row = |name: &str, time: &str, result: &str| {
        format!("{name:width$}  {time:>8}  {result}")
            .trim_end()
            .to_owned()
    };
    let mut lines = vec![row("step", "time", "result")];
    lines.extend(done.iter().map(|done| match &done.outcome {
        Outcome::Passed { note } => row(
            done.name,
            &shown_time(done.took),
            &format!("passed{}", noted(note)),
        ),
        Outcome::Failed { .. } => row(done.name, &shown_time(done.took), "FAILED"),
        Outcome::Missing { .. } if missing_is_failure => row(done.name, "-", "MISSING"),
        Outcome::Missing { .. } => row(done.name, "-", "not run here"),
        Outcome::NoContent => row(done.name, "-", "no content yet"),
    }));
    lines.extend(
        names[done.len()..]
            .iter()
            .map(|name| row(name, "-", "not reached")),
    );
    let total = done.iter().map(|done| done.took).sum();
    lines.push(row("total", &shown_time(total), ""));
    lines.push(String::new());
    lines.extend(verdict(title, done, missing_is_failure));
    lines.push(left_out(names, done));
    lines.join("\n")
}

fn verdict(title: &str, done: &[Done], missing_is_failure: bool) -> Option<String> {
    done.iter().find_map(|done| match &done.outcome {
        Outcome::Failed { alone } => Some(format!(
            "{title} stopped at {}. Run it alone: {alone}",
            done.name
        )),
        Outcome::Missing { what } if missing_is_failure => Some(format!(
            "{title} stopped at {}: CI runs everything, and this is missing: {what}",
            done.name
        )),
        Outcome::Passed { .. } | Outcome::Missing { .. } | Outcome::NoContent => None,
    })
}

fn left_out(names: &[&str], done: &[Done]) -> String {
    let missing: Vec<&str> = done
        .iter()
        .filter_map(|done| match &done.outcome {
            Outcome::Missing { what } => Some(what.as_str()),
            Outcome::Passed { .. } | Outcome::Failed { .. } | Outcome::NoContent => None,
        })
        .collect();
    let empty: Vec<&str> = done
        .iter()
        .filter(|done| matches!(done.outcome, Outcome::NoContent))
        .map(|done| done.name)
        .collect();
    let part = |label: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| format!("{label}: {}", names.join(", ")))
    };
    let parts = [
        part("not reached", names[done.len()..].to_vec()),
        part("not run here", missing),
        part("no content yet", empty),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "nothing was left out".to_owned(),
        false => parts.join("; "),
    }
}

fn noted(note: &str) -> String {
    if note.is_empty() {
        String::new()
    } else {
        format!(": {note}")
    }
}

fn shown_time(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} m {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_shown_as_one_would_type_it() {
        let call = Call::cargo("doc --no-deps").env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            call.shown(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
        assert_eq!(
            Call::cargo("run --").with(["it's".to_owned()]).shown(),
            r"cargo run -- 'it'\''s'"
        );
    }

    #[test]
    fn results_of_tests_are_added_up() {
        let mut tally = Tally::default();
        tally.add("running 3 tests");
        tally.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
                   finished in 0.01s",
        );
        tally
            .add("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(
            tally,
            Tally {
                programs: 2,
                passed: 13,
                failed: 2,
                ignored: 1
            }
        );
    }

    #[test]
    fn tests_run_at_the_same_time_and_each_is_heard_and_counted() {
        let place = tempfile::tempdir().unwrap();
        let fifo = place.path().join("fifo");
        let fifo = fifo.display();
        // Neither ends without the other.
        let shell = |line: String| Call {
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), line],
            environment: Vec::new(),
        };
        let made = shell(format!("mkfifo {fifo}")).succeeds();
        assert!(made);
        let said = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        let calls = [
            shell(format!("echo here > {fifo}; {said}")),
            shell(format!("read word < {fifo}; {said} >&2; exit 3")),
        ];
        let (failed, tally) = run_tests(&calls).unwrap();
        assert_eq!(failed, Some(&calls[1]));
        assert_eq!((tally.programs, tally.passed), (2, 4));
    }

    #[test]
    fn a_failure_is_named_with_the_command_to_run_alone() {
        let done = [
            done(
                "fmt",
                Outcome::Passed {
                    note: String::new(),
                },
            ),
            done("clippy", failed("cargo clippy")),
        ];
        let text = closing("verify", &["fmt", "clippy", "tests"], &done, false);
        assert!(
            text.contains("verify stopped at clippy. Run it alone: cargo clippy"),
            "{text}"
        );
        assert!(
            text.lines()
                .any(|line| line.starts_with("tests") && line.ends_with("not reached")),
            "{text}"
        );
        assert!(text.ends_with("not reached: tests"), "{text}");
        assert!(!passed(&["fmt", "clippy", "tests"], &done, false));
    }

    #[test]
    fn the_last_line_names_what_was_left_out() {
        let done = [
            done(
                "deny",
                Outcome::Missing {
                    what: "cargo-deny (install it)".to_owned(),
                },
            ),
            done("fuzz", Outcome::NoContent),
        ];
        let text = closing("verify", &["deny", "fuzz"], &done, false);
        assert_eq!(
            text.lines().last(),
            Some("not run here: cargo-deny (install it); no content yet: fuzz")
        );
    }

    #[test]
    fn a_missing_part_fails_only_where_everything_must_run() {
        let done = [done(
            "deny",
            Outcome::Missing {
                what: "cargo-deny".to_owned(),
            },
        )];
        assert!(passed(&["deny"], &done, false));
        assert!(!passed(&["deny"], &done, true));
    }

    #[test]
    fn a_part_without_content_is_not_a_failure() {
        assert!(passed(&["fuzz"], &[done("fuzz", Outcome::NoContent)], true));
    }

    fn done(name: &'static str, outcome: Outcome) -> Done {
        Done {
            name,
            took: Duration::from_millis(1_500),
            outcome,
        }
    }

    fn failed(alone: &str) -> Outcome {
        Outcome::Failed {
            alone: alone.to_owned(),
        }
    }
}
