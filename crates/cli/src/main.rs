//! The program `convoke`: reads the command line and hands on.
//!
//! What the commands do is in their modules; here is what they are called, what they take, and what the program says at its
//! end:
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | it did what was asked, or was interrupted while all was well |
//! | 1 | it failed; the reason is on the error output |
//! | 2 | the command line makes no sense |
//! | 3 | a change was asked for, and it is not known whether it was made |
//! | 4 | the answer is no: a key is not there, or not as expected; the cluster is not healthy |
//! | 5 | a lock was lost, and the command that ran under it was stopped |
//!
//! `convoke lock` ends with what its command ended with.
//!
//! The environment is read in this file only.
#![forbid(unsafe_code)]

mod api;
mod backup;
mod config;
mod config_file;
mod debug;
mod demo;
mod doctor;
mod generate;
mod kv;
mod latencies;
mod leave;
mod lock;
mod log;
mod node;
mod output;
mod raft;
mod recover;
mod rpc;
mod text;
mod token;
mod up;
mod way;

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use convoke_node::config::{Faults, Origin};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Turns a handful of machines into one system.
#[derive(Parser)]
#[command(name = "convoke", version, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 the command line makes no sense.";

const EXIT_CODES_OF_RAFT: &str = "\
Exit codes: 0 done; 1 failed, or nobody answered; 2 the command line makes no sense; 3 it is not known whether it was done.";

const EXIT_CODES_OF_CHANGES: &str = "\
Exit codes: 0 done; 1 failed, and nothing was changed; 2 the command line makes no sense; 3 it is not known whether the change was made;
4 the key is not there (get), or not as expected (cas).";

const EXIT_CODES_OF_CONFIG: &str = "\
Exit codes: 0 done, or decided; 1 failed or refused, and nothing was changed; 2 the command line makes no sense; 3 it is not known whether it
was done; 4 there is no such key, version or proposal, or it was not decided so.";

const EXIT_CODES_OF_LOCK: &str = "\
Exit codes: that of the command, or 128 and the signal that ended it; 1 it could not be run, or nobody answered; 2 the command line makes no
sense; 4 somebody else holds the lock; 5 the lock was lost, and the command was stopped.";

const EXIT_CODES_OF_NODES: &str = "\
Exit codes: 0 done; 1 failed or refused, and nothing was changed; 2 the command line makes no sense; 3 it is not known whether it was done;
4 no such node is enrolled.";

const EXIT_CODES_OF_STATUS: &str = "\
Exit codes: 0 the cluster is healthy; 1 nobody answers, or whoever does refuses; 2 the command line makes no sense; 4 it is not healthy.";

const EXIT_CODES_OF_LOGS: &str = "\
Exit codes: 0 done; 1 failed, or nobody answers; 2 the command line makes no sense; 4 there is no such node.";

const EXIT_CODES_OF_API_TOKENS: &str = "\
Exit codes: 0 done; 1 failed or refused, and nothing was changed; 2 the command line makes no sense; 3 it is not known whether it was done;
4 there is no such token.";

const EXIT_CODES_OF_DOCTOR: &str = "\
Exit codes: 0 there is no problem, if perhaps warnings; 1 it could not look; 2 the command line makes no sense; 4 there is a problem.";

#[derive(Subcommand)]
enum Command {
    /// Shows a server and its clients on this machine, and what happens when the server crashes
    ///
    /// Starts real processes of this program in a temporary directory, ends the server in the middle as a crash would, starts
    /// it again, and says what its clients noticed. Leaves nothing behind.
    #[command(after_help = EXIT_CODES)]
    Demo(demo::Arguments),
    /// Runs a node of a cluster
    ///
    /// The first one makes the cluster, the others join it with a token. Its key and all it knows are in the data directory, so started
    /// again it is the same node. It ends in order on SIGINT and SIGTERM, and hands leadership over before; at once on the second.
    #[command(after_help = up::EXAMPLE)]
    Up(up::Arguments),
    /// Says whether the cluster is healthy, and if not, what is wrong and what to do
    #[command(after_help = EXIT_CODES_OF_STATUS)]
    Status(api::Status),
    /// Shows what a node wrote down lately
    #[command(after_help = EXIT_CODES_OF_LOGS)]
    Logs(api::Logs),
    /// Shows what happened in the cluster
    #[command(after_help = EXIT_CODES)]
    Events(api::Events),
    /// Shows who changed what, from where, and what came of it
    #[command(after_help = EXIT_CODES)]
    Audit(api::Audit),
    /// Makes and revokes tokens with which the HTTP API is asked
    #[command(subcommand, after_help = EXIT_CODES_OF_API_TOKENS)]
    ApiToken(api::TokenCommand),
    /// Keeps which nodes elsewhere commands ask, and with which tokens
    #[command(subcommand, after_help = EXIT_CODES)]
    Context(api::ContextCommand),
    /// Reads and changes keys and values that the cluster decides
    #[command(subcommand, after_help = EXIT_CODES_OF_CHANGES)]
    Kv(kv::Command),
    /// Looks after the log: how its nodes do, who leads, snapshots
    #[command(subcommand, after_help = EXIT_CODES_OF_RAFT)]
    Raft(raft::Command),
    /// Reads configuration, proposes changes and votes on them
    #[command(subcommand, after_help = EXIT_CODES_OF_CONFIG)]
    Config(config::Command),
    /// Takes all that is decided away, as a file
    ///
    /// As of one moment, from a cluster that runs and goes on. The file is read again before it counts.
    #[command(after_help = EXIT_CODES)]
    Backup(backup::Arguments),
    /// Puts the keys and the configuration of a backup into a cluster that runs
    ///
    /// The same cluster or another one. What it holds is compared first, and only what differs is written; sessions, locks and node records
    /// are left out.
    #[command(after_help = EXIT_CODES_OF_CHANGES)]
    Restore(backup::Restore),
    /// Goes on with what one node has, when a majority of the voters is lost for good
    ///
    /// The last resort. Says what it found, and changes nothing without --accept-loss. Refused while the voters that answer could decide.
    #[command(after_help = EXIT_CODES)]
    Recover(recover::Arguments),
    /// Runs a command while this machine holds a lock of the cluster
    ///
    /// The command gets the lock's name as CONVOKE_LOCK and its fence as CONVOKE_FENCE, which grows with each grant: whatever it writes to can
    /// refuse an older one. It is stopped when the lock is lost.
    #[command(after_help = EXIT_CODES_OF_LOCK)]
    Lock(lock::Arguments),
    /// Shows who holds which locks
    #[command(after_help = EXIT_CODES_OF_CHANGES)]
    Locks(lock::Locks),
    /// Makes and revokes tokens with which nodes join
    #[command(subcommand, after_help = EXIT_CODES_OF_RAFT)]
    Token(token::Command),
    /// Shows, renews and revokes who signs certificates
    #[command(subcommand, after_help = EXIT_CODES_OF_RAFT)]
    Issuer(token::IssuerCommand),
    /// Takes the node of this machine out of its cluster for good
    ///
    /// It is drained, others vote in its place, and then its cluster forgets it: its certificate counts nowhere from then on.
    #[command(after_help = EXIT_CODES_OF_RAFT)]
    Leave(leave::Leave),
    /// Removes everything that makes a directory a node's, so that it can join again as another one
    #[command(after_help = EXIT_CODES)]
    Reset(leave::Reset),
    /// Checks and shows what a node of this machine is told by flags, environment and file
    #[command(subcommand, after_help = EXIT_CODES)]
    ConfigFile(config_file::Command),
    /// Looks for what is wrong on this machine and between it and the other nodes, and says what to do
    ///
    /// With the node running or not; told the same flags as `convoke up`.
    #[command(after_help = EXIT_CODES_OF_DOCTOR)]
    Doctor(doctor::Arguments),
    /// Gathers what somebody who helps wants to see
    #[command(subcommand, after_help = EXIT_CODES)]
    Debug(debug::Command),
    /// Shows nodes and decides about them: roles, drain, forgetting
    #[command(subcommand, after_help = EXIT_CODES_OF_NODES)]
    Node(node::Command),
    /// Asks servers what they offer, calls them with JSON, and measures them
    #[command(subcommand, after_help = EXIT_CODES)]
    Rpc(rpc::Command),
    /// Generates clients and servers from definition files
    ///
    /// A definition is a file called `name.rpc.rs` with types and traits marked `#[convoke::service]`. What is generated from it is
    /// what the attribute makes of the traits, together with the types; a build script does the same with
    /// `convoke_rpc_codegen::Builder`. Files that are up to date are left alone.
    #[command(after_help = generate::EXAMPLE)]
    Gen(generate::Arguments),
    /// The server of the demo
    #[command(hide = true)]
    DemoServer(demo::ServerArguments),
    /// One client of the demo
    #[command(hide = true)]
    DemoClient(demo::ClientArguments),
}

fn main() -> ExitCode {
    let CommandLine { command } = CommandLine::parse();
    if !matches!(command, Command::Up(_)) {
        log_warnings();
    }
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error.downcast_ref(), Some(output::Ending::Command(_))) {
                complain(&error);
            }
            match error.downcast_ref::<output::Ending>() {
                Some(ending) => ending.exit_code().into(),
                None if makes_no_sense(&error) => 2.into(),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(arguments) => {
            let screen = demo::Screen::new(look(), arguments.json);
            demo::run(&arguments, screen)
        }
        Command::Rpc(command) => {
            let is_terminal = stdout().is_terminal();
            rpc::run(command, output::Screen { is_terminal })
        }
        Command::Up(arguments) => up::run(arguments, way::environment()),
        Command::Status(arguments) => api::status(arguments),
        Command::Logs(arguments) => api::logs(arguments),
        Command::Events(arguments) => api::events(arguments),
        Command::Audit(arguments) => api::audit(arguments),
        Command::ApiToken(command) => api::tokens(command),
        Command::Context(command) => api::context(command),
        Command::Token(command) => token::run(command),
        Command::Issuer(command) => token::run_issuer(command),
        Command::Leave(arguments) => leave::leave(arguments),
        Command::Reset(arguments) => leave::reset(arguments),
        Command::ConfigFile(command) => config_file::run(command),
        Command::Kv(command) => {
            let is_terminal = stdout().is_terminal();
            kv::run(command, output::Screen { is_terminal })
        }
        Command::Raft(command) => raft::run(command),
        Command::Config(command) => config::run(command),
        Command::Backup(arguments) => backup::run(arguments),
        Command::Recover(arguments) => recover::run(arguments),
        Command::Restore(arguments) => backup::restore(arguments),
        Command::Lock(arguments) => lock::run(arguments),
        Command::Locks(arguments) => lock::list(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Debug(command) => debug::run(command),
        Command::Node(command) => node::run(command),
        Command::Gen(arguments) => generate::run(&arguments),
        Command::DemoServer(arguments) => demo::serve(&arguments),
        Command::DemoClient(arguments) => demo::call(&arguments),
    }
}

/// A line is drawn again on a terminal only, and colours are for those who did not refuse them: <https://no-color.org>.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads the environment, here and nowhere else"
)]
fn look() -> demo::Look {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let redraws = stdout().is_terminal();
    demo::Look {
        redraws,
        colours: redraws && !refused,
    }
}

/// Warnings of the library go to the error output; the conductor of the demo passes on those of its children.
///
/// The engine of the log warns of every message that a dead node does not answer, dozens in a second. What people should know of that,
/// `convoke up` and `convoke raft status` say.
fn log_warnings() {
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("openraft", LevelFilter::ERROR);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
}

/// Whether a mistake is one of the command line.
fn makes_no_sense(error: &anyhow::Error) -> bool {
    let faults = error.downcast_ref::<Faults>();
    let mut faults = faults.iter().flat_map(|faults| &faults.list);
    faults.any(|fault| matches!(fault.origin, Origin::Flag { .. }))
}

#[expect(
    clippy::print_stderr,
    reason = "this is where the program says why it failed"
)]
fn complain(error: &anyhow::Error) {
    if let Some(faults) = error.downcast_ref::<Faults>() {
        for fault in &faults.list {
            eprintln!("convoke: {}", text::plain(&fault.to_string()));
        }
        return;
    }
    if let Some(findings) = error.downcast_ref::<generate::Findings>() {
        for line in &findings.lines {
            eprintln!("{}", text::plain(line));
        }
    }
    eprintln!("convoke: {}", text::plain(&in_words(error)));
}

/// An error and what caused it. Some say the cause themselves, and nobody wants to read it twice.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |words, cause| {
        let cause = cause.to_string();
        if words.is_empty() {
            cause
        } else if words.contains(&cause) {
            words
        } else {
            format!("{words}: {cause}")
        }
    })
}
