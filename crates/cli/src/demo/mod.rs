//! `convoke demo`: a whole cluster of real processes on this machine, and what it promises, shown and checked one after the other.
//!
//! ```text
//! convoke demo ─ conductor ─ stage ─┬─ convoke up      × n, killed, stopped, started again
//!                                   ├─ convoke lock    while a lock is shown
//!                                   ├─ a writer        writes all the time, and remembers what was acknowledged
//!                                   └─ a looker        asks a node how things are, for the picture
//! ```
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `cast.rs` | which nodes there are, with which roles | decides |
//! | `script.rs` | the acts: what each promises, when it is due, what it needs | decides |
//! | `chaos.rs` | who is killed, stopped and healed, by chance | decides |
//! | `show.rs` | what is known as a picture, as sentences and as JSON; and where that goes | decides, and a thin writer |
//! | `ledger.rs` | what was acknowledged, and whether it is still there | decides |
//! | `writer.rs`, `watcher.rs` | write, and look, all the time | acts |
//! | `children.rs` | one process: started, heard, ended | acts |
//! | `stage.rs` | the nodes and what is heard of them; waits while the picture goes on | acts |
//! | `acts.rs` | carries the acts out, and finds what came of them | acts |
//! | `conductor.rs` | begins, goes through the script, reads back, ends | acts |
//!
//! A node ends with the process that started it, also one that is stopped and also when the demo is killed: the kernel sees to that (`convoke up
//! --tied-to`). Of a demo that is killed its directory stays.
//!
//! | bound | |
//! | --- | --- |
//! | nodes | 30 |
//! | a promise is waited for | [`PATIENCE`](script::PATIENCE) |
//! | keys that are written | [`KEYS`](ledger::KEYS), again and again |
//!
//! Deliberately not here: more than one machine, and disks and networks that fail (`cargo xtask ordeal`).

mod acts;
mod cast;
mod chaos;
mod children;
mod conductor;
mod ledger;
mod script;
mod show;
mod stage;
mod watcher;
mod writer;

use clap::Args;

pub(crate) use conductor::run;

/// What `convoke demo` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many nodes there are; roles are spread over them
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=30))]
    pub(crate) nodes: u8,
    /// How long it takes, about; a promise that takes its time makes it longer
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Kills, stops and heals nodes at random instead of going through the script
    #[arg(long)]
    pub(crate) chaos: bool,
    /// Where chance begins with --chaos; by default anywhere, and printed
    #[arg(long, value_name = "S", requires = "chaos")]
    pub(crate) seed: Option<u64>,
    /// Leaves the cluster running after the script, until Ctrl-C
    #[arg(long, conflicts_with = "chaos")]
    pub(crate) keep: bool,
    /// Prints a line of JSON for everything that happens, and a last one that sums up
    #[arg(long)]
    pub(crate) json: bool,
}
