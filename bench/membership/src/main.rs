//! Our membership and its peers, side by side.
//!
//! [`cases`] says what happens to a cluster, [`plan`] how long each system is watched and with how many seeds, [`systems`]
//! how each of them is put into the world, [`stage`] lets it happen there, [`tally`] takes down who learnt what when,
//! [`sample`] makes figures of it, and [`run`] does it all in turn. `bench/README.md` explains the results.
//!
//! Deliberately not here: real sockets and real time. What is compared is what the protocols decide and send, in a network
//! that is the same for all and can be as large and as bad as one likes.

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Arguments;

mod args;
mod cases;
mod journal;
mod plan;
mod run;
mod sample;
mod spread;
mod stage;
mod systems;
mod tally;

/// The same allocator for every system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-membership: {error:#}");
            ExitCode::FAILURE
        }
    }
}
