//! Our RPC and its peers, side by side.
//!
//! One program in three roles: [`run`] starts a `serve` and a `drive` process for every measurement, [`serve`] is the
//! one end and [`drive`] the other. [`cases`] says what is asked, [`system`] whom, [`systems`] how each of them is
//! brought to answer; `bench-measure` counts. `bench/README.md` explains the results.

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Role};

mod args;
mod cases;
mod certs;
mod drive;
mod end;
mod message;
mod path;
mod run;
mod serve;
mod spin;
mod system;
mod systems;

/// The same allocator in every process of every system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    certs::prefer_the_fastest_cipher();
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Serve(serve)) => serve::serve(serve),
        Some(Role::Drive(drive)) => drive::drive(drive),
        None => run::run(&arguments.run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-rpc: {error:#}");
            ExitCode::FAILURE
        }
    }
}
