//! `convoke rpc`: asks a server what it offers, calls it with JSON, and measures it.
//!
//! None of the server's types are known here. The server describes itself and translates messages between JSON and the bytes that
//! travel ([`convoke_rpc::reflection`]); the calls themselves go to the methods like any other.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `way.rs` | where the server is: from the command line to a channel | acts |
//! | `remote.rs` | a server as it described itself, and its messages translated | acts |
//! | `list.rs` | the description as a table or JSON | decides |
//! | `call.rs` | one call of any shape, requests from the command line or the input | acts |
//! | `bench.rs` | many calls in a closed loop, and what they took | acts |
//! | `json.rs` | JSON as text: pretty, and harmless for a terminal | decides |
//!
//! Deliberately not here: as whom a server is called (`crate::way`).

mod bench;
mod call;
mod json;
mod list;
mod remote;
mod way;

use clap::Subcommand;

use crate::output::{self, Screen};

/// What `convoke rpc` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows the services of a server: methods, types, who may call
    #[command(visible_alias = "list")]
    Ls(list::Arguments),
    /// Calls a method with JSON and prints what it answers
    ///
    /// A stream of answers is printed as one JSON value a line. A method that takes a stream reads one JSON value a line from the
    /// input, until it ends.
    Call(call::Arguments),
    /// Calls a method as often as it can for a while, and prints rate and latencies
    ///
    /// The request is encoded once, so what is measured is the call. Every call really runs: choose a method that may.
    Bench(bench::Arguments),
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command, screen: Screen) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::Ls(arguments) => list::run(&arguments).await,
            Command::Call(arguments) => call::run(arguments, screen).await,
            Command::Bench(arguments) => bench::run(&arguments, screen).await,
        }
    })
}
