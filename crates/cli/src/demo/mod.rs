//! `convoke demo`: a server and its clients as real processes on this machine, and a crash in the middle.
//!
//! ```text
//! convoke demo ─ conductor ─┬─ convoke demo-server   killed and started again, on the same port with the same key
//!                           └─ convoke demo-client   × n, each tells how it fares, four times a second
//! ```
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `script.rs` | when the server dies, when it returns, when it is over | decides |
//! | `stats.rs` | latencies, what a client tells, sums and windows of it | decides |
//! | `show.rs` | the same as lines and JSON; and the screen they go to | decides, and a thin writer |
//! | `conductor.rs` | clock, children, signals, screen: carries out what was decided | acts |
//! | `children.rs` | one process: started, heard, ended | acts |
//! | `desk.rs` | the RPC service, the server and the client | acts |
//!
//! Children end when their input ends, so none outlives the conductor, however that ends.
//!
//! Deliberately not here: more than one server, and anything that needs a cluster.

mod children;
mod conductor;
mod desk;
mod script;
mod show;
mod stats;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use convoke_rpc::NodeId;

pub(crate) use conductor::run;
pub(crate) use desk::{call, serve};
pub(crate) use show::{Look, Screen};

/// What `convoke demo` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How long it takes, about; a client that is slow to return makes it longer
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub(crate) seconds: u64,
    /// How many clients call the server
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) clients: u32,
    /// Prints one JSON object per second, and a last one that sums up
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the server of the demo takes.
#[derive(Args)]
pub(crate) struct ServerArguments {
    /// The directory with the issuer and the server's key
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Where to listen
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Which of its lives this is, from 1
    #[arg(long)]
    pub(crate) life: u32,
}

/// What a client of the demo takes.
#[derive(Args)]
pub(crate) struct ClientArguments {
    /// The directory with the issuer
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Where the server is
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Who must be there
    #[arg(long)]
    pub(crate) server: NodeId,
}
