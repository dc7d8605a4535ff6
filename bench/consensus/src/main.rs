//! Our decided state and etcd, side by side: three servers on this machine, on a real disk, and one driver.
//!
//! One program in three roles: [`run`] starts a `drive` process for every measurement, [`drive`] starts the three `serve` processes
//! of its cluster and puts a load on them, [`serve`] becomes one server. [`cases`] says what is asked, [`system`] whom,
//! [`systems`] how each of them is brought to answer. The driver's parts: [`cluster`] holds the servers, [`load`] measures
//! callers, [`failover`] breaks leaders in a [`site`] whose cables can be pulled, [`handover`] has them hand over, [`snapshot`] fills a million keys; [`record`] is what is written and [`place`] where.
//! `bench/README.md` explains the results.

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Role};

mod args;
mod cases;
mod cluster;
mod drive;
mod failover;
mod handover;
mod load;
mod place;
mod record;
mod run;
mod serve;
mod site;
mod snapshot;
mod system;
mod systems;

/// The same allocator in every process of ours: the driver, and servers that are not programs of their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Serve(serve)) => serve::serve(serve),
        Some(Role::Drive(drive)) => drive::drive(drive),
        None => run::run(&arguments.run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-consensus: {error:#}");
            ExitCode::FAILURE
        }
    }
}
