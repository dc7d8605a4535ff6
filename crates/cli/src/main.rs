//! The program `convoke`: reads the command line and hands on.
//!
//! What the commands do is in their modules; here is what they are called and what they take. What people are told of them beyond that, and
//! what the program ends with, is in `help`.
//!
//! The environment is read in this file only.

mod api;
mod backup;
mod config;
mod config_file;
mod debug;
mod demo;
mod doctor;
mod generate;
mod help;
mod kv;
mod latencies;
mod leave;
mod lock;
mod log;
mod names;
mod near;
mod node;
mod output;
mod picture;
mod probe;
mod progress;
mod raft;
mod recover;
mod rpc;
mod table;
mod text;
mod token;
mod up;
mod way;

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand, ValueEnum};
use convoke_node::config::{Faults, Origin};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::table::Look;

/// Turns a handful of machines into one system.
#[derive(Parser)]
#[command(name = "convoke", version)]
pub(crate) struct CommandLine {
    /// When words that mean something have colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = When::Auto, help_heading = "Everywhere")]
    color: When,
    #[command(subcommand)]
    command: Option<Command>,
}

/// When words that mean something have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also into a pipe or a file
    Always,
    /// Never
    Never,
}

#[derive(Subcommand)]
enum Command {
    /// Shows a whole cluster on this machine, and what it promises
    ///
    /// Starts real nodes in a temporary directory and shows one promise after the other, with what came of it: a node that leads is killed, one
    /// stands still, one leaves, and nothing that was acknowledged is lost. Leaves nothing behind.
    Demo(demo::Arguments),
    /// Runs a node of a cluster
    ///
    /// The first one makes the cluster, the others join it with a token. Its key and all it knows are in the data directory, so started again it is the same node and
    /// needs no token. It ends in order on SIGINT and SIGTERM, and hands leadership over before; at once on the second.
    Up(up::Arguments),
    /// Says whether the cluster is healthy, and if not, what is wrong and what to do
    Status(api::Status),
    /// Gives a link into the dashboard of this machine's node, for a browser, once
    Dashboard(api::Dashboard),
    /// Shows the cluster as it goes: nodes, who leads, what is wrong, what happens
    ///
    /// Keys: q ends, arrows and page keys scroll, s sorts by name, role, state or how far behind, / filters: Enter keeps it, Escape shows all again.
    Top(api::Top),
    /// Shows what a node wrote down lately
    Logs(api::Logs),
    /// Shows what happened in the cluster
    Events(api::Events),
    /// Shows who changed what, from where, and what came of it
    Audit(api::Audit),
    /// Says which role each node has and why, and changes that
    #[command(subcommand)]
    Role(api::RoleCommand),
    /// Says what nodes turn by themselves and why, and holds it
    #[command(subcommand)]
    Adapt(api::AdaptCommand),
    /// Shows which RPC services are offered, and where
    ///
    /// With the name of one, its instances: where they are, how they are, how busy, and their tags.
    Instances(api::Instances),
    /// Makes and revokes tokens with which the HTTP API is asked
    #[command(subcommand)]
    ApiToken(api::TokenCommand),
    /// Keeps which nodes elsewhere commands ask, and with which tokens
    #[command(subcommand)]
    Context(api::ContextCommand),
    /// Reads and changes keys and values that the cluster decides
    #[command(subcommand)]
    Kv(kv::Command),
    /// Looks after the log: how its nodes do, who leads, snapshots
    #[command(subcommand)]
    Raft(raft::Command),
    /// Reads configuration, proposes changes and votes on them
    #[command(subcommand)]
    Config(config::Command),
    /// Takes all that is decided away, as a file
    ///
    /// As of one moment, from a cluster that runs and goes on. The file is read again before it counts.
    Backup(backup::Arguments),
    /// Puts the keys and the configuration of a backup into a cluster that runs
    ///
    /// The same cluster or another one. What it holds is compared first, and only what differs is written; sessions, locks and node records
    /// are left out.
    Restore(backup::Restore),
    /// Goes on with what one node has, when a majority of the voters is lost for good
    ///
    /// The last resort. Says what it found, and changes nothing without --accept-loss. Refused while the voters that answer could decide.
    Recover(recover::Arguments),
    /// Runs a command while this machine holds a lock of the cluster
    ///
    /// The command gets the lock's name as CONVOKE_LOCK and its fence as CONVOKE_FENCE, which grows with each grant: whatever it writes to can
    /// refuse an older one. It is stopped when the lock is lost.
    Lock(lock::Arguments),
    /// Shows who holds which locks
    Locks(lock::Locks),
    /// Makes and revokes tokens with which nodes join
    #[command(subcommand)]
    Token(token::Command),
    /// Shows, renews and revokes who signs certificates
    #[command(subcommand)]
    Issuer(token::IssuerCommand),
    /// Takes the node of this machine out of its cluster for good
    ///
    /// It is drained, others vote in its place, and then its cluster forgets it: its certificate counts nowhere from then on.
    Leave(leave::Leave),
    /// Makes a directory nobody's, so that it can join again as another node
    Reset(leave::Reset),
    /// Checks and shows what a node of this machine is told by flags, environment and file
    #[command(subcommand)]
    ConfigFile(config_file::Command),
    /// Looks for what is wrong here and on the way to the other nodes, and says what to do
    ///
    /// With the node running or not; told the same flags as `convoke up`.
    Doctor(doctor::Arguments),
    /// Shows what this machine is: cores, memory, disk, network, each with its source
    ///
    /// As its node finds it, with the node running or not. What is unknown says why, and how far to trust a value stands beside it: sure, likely,
    /// at most (it may be much less), at least (it may be more).
    Probe(probe::Arguments),
    /// Gathers what somebody who helps wants to see
    #[command(subcommand)]
    Debug(debug::Command),
    /// Shows nodes and decides about them: roles, drain, forgetting
    #[command(subcommand)]
    Node(node::Command),
    /// Asks servers what they offer, calls them with JSON, and measures them
    #[command(subcommand)]
    Rpc(rpc::Command),
    /// Generates clients and servers from definition files
    ///
    /// A definition is a file called `name.rpc.rs` with types and traits marked `#[convoke::service]`. What is generated from it is
    /// what the attribute makes of the traits, together with the types; a build script does the same with
    /// `convoke_rpc_codegen::Builder`. Of a folder, each definition becomes a file, and mod.rs declares all of them. Files that are up to date
    /// are left alone.
    Gen(generate::Arguments),
    /// Prints what has a shell complete commands and options
    Completions(help::Completions),
    /// Prints a page of the manual, or writes all of them
    Man(help::Man),
}

fn main() -> ExitCode {
    names::settle();
    let command = help::command().color(help_colour());
    let read = CommandLine::from_arg_matches(&command.get_matches());
    let CommandLine { color, command } = read.unwrap_or_else(|error| error.exit());
    let look = look(color);
    output::shown_on(look);
    let Some(command) = command else {
        return match output::put(&help::overview()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    if !matches!(command, Command::Up(_)) {
        log_warnings();
    }
    match run(command, look) {
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

fn run(command: Command, look: Look) -> anyhow::Result<()> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments, picture_look(look)),
        Command::Rpc(command) => {
            let is_terminal = stdout().is_terminal();
            rpc::run(command, output::Screen { is_terminal })
        }
        Command::Up(arguments) => up::run(arguments, way::environment()),
        Command::Status(arguments) => api::status(arguments),
        Command::Dashboard(arguments) => api::dashboard(arguments),
        Command::Top(arguments) => api::top(arguments, picture_look(look)),
        Command::Logs(arguments) => api::logs(arguments),
        Command::Events(arguments) => api::events(arguments),
        Command::Audit(arguments) => api::audit(arguments),
        Command::Role(command) => api::role(command),
        Command::Adapt(command) => api::adapt(command),
        Command::Instances(arguments) => api::instances(arguments),
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
        Command::Probe(arguments) => probe::run(arguments),
        Command::Debug(command) => debug::run(command),
        Command::Node(command) => node::run(command),
        Command::Gen(arguments) => generate::run(&arguments),
        Command::Completions(arguments) => help::completions(&arguments),
        Command::Man(arguments) => help::man(&arguments),
    }
}

/// Of what the output is shown on, what matters: how wide it is, and whether colours are welcome: <https://no-color.org>.
fn look(color: When) -> Look {
    let is_terminal = stdout().is_terminal();
    let size = rustix::termios::tcgetwinsize(stdout());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    // A terminal that does not say how wide it is is as wide as they were.
    let width = if columns == 0 { 80 } else { columns };
    Look {
        width: is_terminal.then_some(width),
        colours: match color {
            When::Auto => is_terminal && !refuses_colours(),
            When::Always => true,
            When::Never => false,
        },
    }
}

/// A picture is drawn again on a terminal only, and if it can do more than print.
fn picture_look(look: Look) -> picture::Look {
    picture::Look {
        redraws: look.width.is_some() && !is_dumb(),
        colours: look.colours,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads the environment, here and nowhere else"
)]
fn refuses_colours() -> bool {
    is_dumb() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Whether the terminal can do nothing but print.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads the environment, here and nowhere else"
)]
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

/// What was said of colours, for help and complaints, which come before the command line is read. They look at the terminal themselves.
fn help_colour() -> clap::ColorChoice {
    let mut words = std::env::args_os().take_while(|word| word != "--").skip(1);
    let mut said = None;
    while let Some(word) = words.next() {
        if word == "--color" {
            said = words.next();
        } else if let Some(when) = word.to_str().and_then(|word| word.strip_prefix("--color=")) {
            said = Some(when.into());
        }
    }
    match said.as_ref().and_then(|when| when.to_str()) {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        Some(_) | None => clap::ColorChoice::Auto,
    }
}

/// Warnings of the library go to the error output.
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
    progress::clear();
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
