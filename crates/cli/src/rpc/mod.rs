//! `convoke rpc`: asks a server what it offers, calls it with JSON, and measures it.
//!
//! None of the server's types are known here. The server describes itself and translates messages between JSON and the bytes that
//! travel ([`convoke_rpc::reflection`]); the calls themselves go to the methods like any other.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `way.rs` | who we are and where the server is: from the command line to a channel | acts |
//! | `remote.rs` | a server as it described itself, and its messages translated | acts |
//! | `list.rs` | the description as a table or JSON | decides |
//! | `call.rs` | one call of any shape, requests from the command line or the input | acts |
//! | `bench.rs` | many calls in a closed loop, and what they took | acts |
//! | `json.rs` | JSON as text: pretty, and harmless for a terminal | decides |
//! | `near.rs` | names that may have been meant | decides |
//!
//! Deliberately not here: an identity that was enrolled. Until there is enrolment, `--development` names the directory of a
//! development cluster, in which everybody may be anybody.

mod bench;
mod call;
mod json;
mod list;
mod near;
mod remote;
mod way;

use std::io::{self, Write};

use anyhow::Context;
use clap::Subcommand;

pub(crate) use way::Screen;

/// What `convoke rpc` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows the services of a server: methods, types, who may call
    List(list::Arguments),
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let done = runtime.block_on(async {
        match command {
            Command::List(arguments) => list::run(&arguments).await,
            Command::Call(arguments) => call::run(arguments, screen).await,
            Command::Bench(arguments) => bench::run(&arguments, screen).await,
        }
    });
    // A thread that still waits for input cannot be stopped, and nobody waits for what it would read.
    runtime.shutdown_background();
    match done {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let writing = error.downcast_ref::<io::Error>();
    writing.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints, at once.
fn put(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
