//! A node: a process that keeps the log and answers for it, until it is killed.
//!
//! It ends with whoever started it, whatever happens to that: the kernel kills it when that thread is gone.
//!
//! Deliberately not here: anything a node of the product would not have, but for the mistake that may be planted.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use convoke_consensus::engine::{Settings, Weakness};
use convoke_consensus::host::{HostSettings, LogNode};
use convoke_consensus::log::LogId;
use convoke_rpc::identity::{Development, Identity, NodeKey};
use convoke_rpc::{Endpoint, Limits, Server};
use convoke_types::RoleSet;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tracing_subscriber::EnvFilter;

use crate::args::{NodeArguments, Planted};

/// Small, so that new ones are needed often: that is when a full disk is felt.
const SEGMENT_BYTES: u64 = 1 << 20;
/// A snapshot after so many entries, which is a few seconds.
const SNAPSHOT_EVERY: u64 = 1_500;
/// Entries kept behind one: who is away for some seconds gets a snapshot.
const KEEP: u64 = 300;
/// The file with the key of a node.
pub(crate) const KEY: &str = "node.key";
/// Until the other nodes listen.
const FOUND_AGAIN: Duration = Duration::from_millis(20);
/// A process that was killed may hold its address for a moment.
const BIND_TRIES: u32 = 500;

/// Serves until it is killed.
pub(crate) fn serve(arguments: &NodeArguments) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("end with the owner")?;
    let parent = getppid().map(Pid::as_raw_nonzero);
    anyhow::ensure!(
        parent.is_some_and(|parent| parent.get().cast_unsigned() == arguments.owner),
        "the owner ended before this began"
    );
    if let Some(namespace) = &arguments.namespace {
        enter(namespace).with_context(|| format!("enter the network {namespace}"))?;
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(EnvFilter::new("info"))
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(keep_the_log(arguments))
}

/// Moves this thread there, and so all those it will start.
fn enter(namespace: &str) -> anyhow::Result<()> {
    let namespace = File::open(Path::new("/run/netns").join(namespace))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

async fn keep_the_log(arguments: &NodeArguments) -> anyhow::Result<()> {
    let NodeArguments {
        data,
        number,
        addresses,
        ..
    } = arguments;
    let development = Development::in_dir(&arguments.cluster)?;
    let address = *addresses.get(*number).context("find the own address")?;
    let identity = identity(&development, data)?;
    let endpoint = bind(&development, &identity, address).await?;
    let settings = HostSettings {
        segment_bytes: SEGMENT_BYTES,
        engine: Settings {
            snapshot_every: SNAPSHOT_EVERY,
            keep: KEEP,
            weakened: arguments.planted.and_then(weakness),
            ..Settings::default()
        },
        ..HostSettings::new(data, development.cluster(), LogId(log_of(*number)))
    };
    let log = LogNode::start(&endpoint, settings).await?;
    let (raft, store) = log.services();
    let _server = Server::builder()
        .service(raft)
        .service(store)
        .serve(&endpoint)?;
    if *number == 0 && log.is_new() {
        let others = &addresses[1..];
        while let Err(error) = log.found(address, others).await {
            tracing::info!(%error, "the log is not founded yet");
            tokio::time::sleep(FOUND_AGAIN).await; // tidy: until the other nodes listen, and its owner has a deadline
        }
    }
    std::future::pending().await
}

/// What the log of a node is known by.
pub(crate) fn log_of(number: usize) -> [u8; 16] {
    let mut log = [0xa5; 16];
    log[0] = u8::try_from(number + 1).expect("there are few nodes");
    log
}

/// The address is ours alone, but an earlier life may hold it a little longer.
async fn bind(
    development: &Development,
    identity: &Identity,
    address: SocketAddr,
) -> anyhow::Result<Endpoint> {
    let mut last = None;
    for _ in 0..BIND_TRIES {
        let limits = Limits::default();
        match Endpoint::bind(address, identity.clone(), development.trust(), limits) {
            Ok(endpoint) => return Ok(endpoint),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(FOUND_AGAIN).await; // tidy: until the address is free, for a bounded number of tries
    }
    let error = last.context("bind was tried")?;
    Err(error).with_context(|| format!("listen at {address}"))
}

fn weakness(planted: Planted) -> Option<Weakness> {
    match planted {
        Planted::ReadWithoutIndex => Some(Weakness::ReadWithoutIndex),
        Planted::LeaderRestore => Some(Weakness::LeaderRestore),
        Planted::FreePreVotes => Some(Weakness::FreePreVotes),
        Planted::VotesInDoubt => Some(Weakness::VotesInDoubt),
        // That is done to its disk when it is killed.
        Planted::LyingDisk => None,
    }
}

/// The same key in every life of a node.
fn identity(development: &Development, data: &Path) -> anyhow::Result<Identity> {
    let key = NodeKey::load_or_create(data.join(KEY))?;
    let certificate = development.certificate(key.node_id(), RoleSet::ALL);
    Ok(Identity::new(key, certificate)?)
}
