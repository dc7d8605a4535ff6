//! `cargo xtask`: the project's own commands. It needs nothing but cargo.
//!
//! This file reads the command line, [`plan`] says what each command consists of, [`step`] carries
//! it out, [`tidy`] holds the rules of the repository that no compiler knows, [`mutants`] plants faults that tests have to
//! notice, and [`dist`] makes what is handed out.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | everything that had to pass passed |
//! | 1 | something failed; under CI also: something was missing |
//! | 2 | the command line makes no sense: unknown command, flag, bench |
//! | 3 | the command has no content yet |
//!
//! `sim`, `ordeal`, `bench`, `fuzz` and `demo` hand the program's own exit code on.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to a terminal"
)]

mod dist;
mod mutants;
mod plan;
mod step;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::plan::Surroundings;
use crate::step::{Action, Call, Step};

const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;
const NO_CONTENT: u8 = 3;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check everything before sending a change; edits nothing
    Verify,
    /// Repair what can be repaired without thought: lints and format
    Fix,
    /// Run what CI runs; needs rustc, a C compiler and a browser, which it installs as root
    Test,
    /// Check the repository's own rules
    Tidy,
    /// Run the end-to-end tests with real binaries, long ones included
    E2e,
    /// Tell stories in the virtual world, by the thousand; `--help` says more
    #[command(disable_help_flag = true)]
    Sim {
        /// Passed on: --seeds N, --first-seed S, --story NAME, --list, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure us and the peers side by side
    Bench {
        /// A folder of bench/; without it, lists those there are
        name: Option<String>,
        /// Print one JSON object per row
        #[arg(long)]
        json: bool,
        /// End within five minutes
        #[arg(long)]
        quick: bool,
        /// Passed on to the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Throw bytes at every decoder of bytes from outside
    Fuzz {
        /// One target; without it, all of them
        target: Option<String>,
        /// How long each target runs
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// Where chance begins; printed by every run, so that a run can be repeated
        #[arg(long, value_name = "S")]
        seed: Option<u64>,
        /// Passed on to the fuzzer
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Do things to real processes that keep the log, and judge what their clients saw; `--help` says more
    #[command(disable_help_flag = true)]
    Ordeal {
        /// Passed on: --fault NAME, --seconds N, --nodes 3|5, --seed S, --json, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Plant faults into a copy of the sources, one after the other, and see a test turn red for each
    Mutants {
        /// Only the fault of this name; may be given several times
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Say which faults there are, and why they are some
        #[arg(long)]
        list: bool,
        /// Only look whether every fault still fits the sources
        #[arg(long)]
        check: bool,
        /// Print one JSON object per fault
        #[arg(long)]
        json: bool,
    },
    /// Make what is handed out: a static program as tarball, Debian package and container
    Dist(dist::Arguments),
    /// Start a whole cluster on this machine, look at it, clean up
    Demo {
        /// Passed on to `convoke demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = run(CommandLine::parse().command);
    done.unwrap_or_else(|error| {
        eprintln!("cargo xtask: {error:#}");
        ExitCode::from(FAILED)
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Verify => go_through("verify", plan::verify(Surroundings::look(root()))),
        Command::Fix => go_through("fix", plan::fix(Surroundings::of_checkout(root()))),
        Command::Test => go_through("test", plan::test(Surroundings::of_checkout(root()))),
        Command::Tidy => go_through(
            "tidy",
            vec![Step {
                name: "tidy",
                action: Action::Tidy,
            }],
        ),
        Command::E2e => end_to_end(),
        Command::Sim { args } => hand_over(&plan::sim(args)),
        Command::Bench {
            name,
            json,
            quick,
            args,
        } => bench(name.as_deref(), json, quick, args),
        Command::Fuzz {
            target,
            seconds,
            seed,
            args,
        } => fuzz(target, seconds, seed, args),
        Command::Ordeal { args } => hand_over(&plan::ordeal(args)),
        Command::Mutants {
            only,
            list,
            check,
            json,
        } => {
            let asked = mutants::Asked {
                only,
                list,
                check,
                json,
            };
            mutants::run(root(), &asked)
        }
        Command::Dist(arguments) => match dist::steps(&arguments) {
            Ok(steps) => go_through("dist", steps),
            Err(error) => {
                eprintln!("cargo xtask: {error:#}");
                Ok(ExitCode::from(WRONG_USE))
            }
        },
        Command::Demo { args } => hand_over(&plan::demo(args)),
    }
}

/// The root of the repository.
///
/// Cargo says at run time which checkout this is. What was true at build time is only the fallback:
/// two checkouts that share a target directory share the program.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo's own variable, not a setting"
)]
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = std::env::var_os("CARGO_MANIFEST_DIR");
        let here = here.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        here.parent()
            .expect("xtask is a folder in the root")
            .to_owned()
    })
}

fn go_through(title: &str, steps: Vec<Step>) -> Result<ExitCode> {
    let passed = step::run(title, steps, is_ci())?;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program has no configuration but its command line and this"
)]
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn end_to_end() -> Result<ExitCode> {
    let steps = plan::end_to_end(root());
    if steps
        .iter()
        .all(|step| matches!(step.action, Action::NoContent))
    {
        return Ok(no_content(
            "e2e has no content yet: it arrives with the first real binary",
        ));
    }
    go_through("e2e", steps)
}

fn bench(name: Option<&str>, json: bool, quick: bool, args: Vec<String>) -> Result<ExitCode> {
    let benches = plan::benches(root());
    if benches.is_empty() {
        return Ok(no_content("bench has no content yet"));
    }
    let Some(name) = name.filter(|name| benches.iter().any(|bench| bench == name)) else {
        let asked = name.map_or_else(
            || "bench wants a name".to_owned(),
            |name| format!("no bench is called `{name}`"),
        );
        eprintln!("cargo xtask: {asked}; there are: {}", benches.join(", "));
        return Ok(ExitCode::from(WRONG_USE));
    };
    let flags = [(json, "--json"), (quick, "--quick")];
    let flags = flags
        .into_iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, flag)| flag.to_owned());
    hand_over(&plan::bench(name, flags.chain(args).collect()))
}

fn fuzz(
    target: Option<String>,
    seconds: Option<u64>,
    seed: Option<u64>,
    args: Vec<String>,
) -> Result<ExitCode> {
    hand_over(&plan::fuzz(target, seconds, seed, args))
}

/// Runs a program that has the terminal to itself and hands its exit code on.
fn hand_over(call: &Call) -> Result<ExitCode> {
    eprintln!("{}", call.shown());
    let status = call.status()?;
    let code = status.code().context("the program was ended by a signal")?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(FAILED)))
}

fn no_content(sentence: &str) -> ExitCode {
    eprintln!("cargo xtask: {sentence}");
    ExitCode::from(NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn everything_after_sim_is_for_the_stories() {
        let line = CommandLine::parse_from(["xtask", "sim", "--seeds", "9", "--help"]);
        let Command::Sim { args } = line.command else {
            panic!("asked for stories")
        };
        assert_eq!(args, ["--seeds", "9", "--help"]);
    }

    #[test]
    fn everything_after_ordeal_is_for_the_nemesis() {
        let line = CommandLine::parse_from(["xtask", "ordeal", "--fault", "kill", "--json"]);
        let Command::Ordeal { args } = line.command else {
            panic!("asked for an ordeal")
        };
        assert_eq!(args, ["--fault", "kill", "--json"]);
    }

    #[test]
    fn flags_of_a_bench_may_follow_its_name() {
        let line = CommandLine::parse_from([
            "xtask", "bench", "rpc", "--json", "--quick", "--peers", "tonic",
        ]);
        let Command::Bench {
            name,
            json,
            quick,
            args,
        } = line.command
        else {
            panic!("asked for a bench")
        };
        assert_eq!((name.as_deref(), json, quick), (Some("rpc"), true, true));
        assert_eq!(args, ["--peers", "tonic"]);
    }
}
