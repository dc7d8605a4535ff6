//! A director, workers that fail, and clients that go on where they were: what the three programs share.
//!
//! The page beside this, `README.md`, has the story and what it prints. The services are in `definitions/`, and [`protocol`] is the code that
//! `build.rs` makes of them.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use convoke::cluster::{Cluster, ClusterBuilder, Params, Seed};
use convoke::rpc::RoleSet;
use convoke::rpc::identity::Development;
use tracing_subscriber::EnvFilter;

/// What the build script made: a module for each definition.
#[expect(
    missing_docs,
    reason = "the definitions explain themselves where their author saw a need"
)]
pub mod protocol {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

mod worker;

pub use worker::Worker;

/// The value of a variable, or this one.
///
/// # Errors
/// When it says something else than such a value.
#[expect(
    clippy::disallowed_methods,
    reason = "an example has no configuration but its variables"
)]
pub fn setting<T: FromStr<Err: Display>>(name: &str, default: &str) -> anyhow::Result<T> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let value = text.parse();
    value.map_err(|error| anyhow::anyhow!("{name} is {text:?}: {error}"))
}

/// A time in milliseconds.
///
/// # Errors
/// When it is no number.
pub fn time(name: &str, default: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(setting(name, default)?))
}

/// Where the director is.
///
/// # Errors
/// When the variable holds no address.
pub fn director() -> anyhow::Result<SocketAddr> {
    setting("DIRECTOR_ADDR", "127.0.0.1:61000")
}

/// The issuer that all programs of the example get their identity from. Whoever can read its directory belongs to the cluster.
///
/// # Errors
/// When the directory cannot be used.
pub fn development() -> anyhow::Result<Development> {
    let directory: PathBuf = setting("CLUSTER_DIR", "target/example-cluster")?;
    let read = Development::in_dir(&directory);
    read.with_context(|| format!("use {} as the issuer", directory.display()))
}

/// A member at this address, which finds the others by way of the director.
///
/// # Errors
/// When a variable makes no sense.
pub fn member(listen: SocketAddr) -> anyhow::Result<ClusterBuilder> {
    let development = development()?;
    let identity = development.identity(RoleSet::ALL);
    Ok(Cluster::builder(identity, development.trust())
        .listen(listen)
        .join([Seed::Address(director()?)])
        .params(Params::local())
        .with_gossip_interval(Duration::from_millis(20))
        .with_health_check_interval(Duration::from_millis(500)))
}

/// What the programs themselves log, as `RUST_LOG` has it; warnings if it says nothing.
pub fn log() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(std::io::stderr)
        .init();
}
