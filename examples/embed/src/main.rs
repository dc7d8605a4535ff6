//! A program that is a node of a cluster itself: no other process is needed, and what is decided is on its own disk.
//!
//! Each one writes where it is under `embed/`, prints what the others write there and who comes and goes, and waits for its turn to lead.
//! In one terminal:
//!
//! ```text
//! cargo run -p example-embed -- --data target/ada --listen 127.0.0.1:4700 --name ada
//! ```
//!
//! Others join with a token, which `cargo run -p convoke-cli -- token create --data target/ada` makes:
//!
//! ```text
//! cargo run -p example-embed -- --join TOKEN --name grace
//! ```
//!
//! Ctrl-C ends it in order: the lock is let go, so that the next one leads at once, and the others hear a farewell instead of missing it.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use convoke::cluster::News;
use convoke::node::{Event, Node};
use convoke::store::{self, LockConfig};
use convoke::types::Role;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// Where each program writes.
const PREFIX: &str = "embed/";
/// Whoever holds it leads.
const LOCK: &str = "embed-leader";
/// Events that wait to be printed; more are lost, and this program does not miss them.
const WAITING: usize = 64;

/// Takes part in a cluster, until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// Where the node keeps its key and what is decided; without it, in a directory that is gone afterwards
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A token of the cluster to join; without it, the program makes a cluster
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    /// The name of the cluster that it makes
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The role it wants; without it, that of the first one it may have
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// What people call this node
    #[arg(long, value_name = "NAME", default_value = "somebody")]
    name: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    let arguments = Arguments::parse();
    // Dropped when everything below has ended.
    let temporary = tempfile::tempdir().context("make a temporary directory")?;
    let data = arguments
        .data
        .unwrap_or_else(|| temporary.path().join("node"));

    let (tell, mut told) = mpsc::channel(WAITING);
    let mut builder = Node::builder(data)
        .listen(arguments.listen)
        .name(&arguments.name)
        // The node calls this on its own threads, so it hands on and does nothing else.
        .on_event(move |event| drop(tell.try_send(event.clone())));
    if let Some(token) = arguments.join {
        builder = builder.join(token);
    }
    if let Some(name) = arguments.cluster {
        builder = builder.cluster_name(name);
    }
    if let Some(role) = arguments.role {
        builder = builder.role(role);
    }
    // Begun before the node: a Ctrl-C while it starts is not lost.
    let mut pressed = std::pin::pin!(tokio::signal::ctrl_c());
    let node = tokio::select! {
        started = builder.start() => started?,
        signal = &mut pressed => return Ok(signal?),
    };
    let done = tokio::select! {
        done = live(&node, &arguments.name, &mut told) => done,
        signal = &mut pressed => signal.map_err(Into::into),
    };
    // Whatever happened, it says farewell. The sessions of its store end first, and with them what it held.
    node.store().close().await;
    node.stop().await;
    println!("stopped in order");
    done
}

/// Everything this program does, for as long as its node lives.
async fn live(node: &Node, name: &str, told: &mut mpsc::Receiver<Event>) -> anyhow::Result<()> {
    let role = node.ready().await?;
    println!(
        "ready as {role} of {} at {}",
        node.cluster_name(),
        node.address()
    );
    let gossip = node.gossip().context("a node that is ready observes")?;
    let mut members = gossip.watch()?;

    let store = node.store();
    let own = format!("{PREFIX}{name}");
    let revision = store.put(own.clone(), node.address().to_string()).await?;
    let read = store.get(own.clone()).await?;
    let read = read.with_context(|| format!("{own} was written and is not there"))?;
    println!("wrote and read {own} = {}", text(&read.value));
    // What was there before is listed by the watch itself.
    let mut keys = store.watch(PREFIX, None);

    let config = LockConfig {
        note: format!("{name} at {}", node.address()),
        ..LockConfig::default()
    };
    let mut leading = std::pin::pin!(lead(node, config));
    println!("watching {PREFIX} from revision {revision}");
    loop {
        tokio::select! {
            news = members.next() => match news {
                Some(news) => print_members(&news),
                None => anyhow::bail!("the node observes no more"),
            },
            event = keys.next() => print_key(&event?),
            Some(event) = told.recv() => print_event(&event),
            lost = &mut leading => lost?,
            why = node.ended() => anyhow::bail!("{why}"),
        }
    }
}

/// Waits for its turn, leads, and says when that is over.
async fn lead(node: &Node, config: LockConfig) -> anyhow::Result<()> {
    let mut held = node.store().lock(LOCK, config).await?;
    println!("leads, with fence {}", held.fence().0);
    let why = held.lost().await;
    anyhow::bail!("leads no more: {why}")
}

fn print_members(news: &News) {
    match news {
        News::Resync { roll, .. } => {
            for member in roll.members.values() {
                println!("member {} is {}", member.id.short(), member.verdict.name());
            }
        }
        News::Event(event) => {
            if let Some(member) = event.kind.member() {
                println!("{} {}", event.kind.name(), member.id.short());
            }
        }
    }
}

fn print_key(event: &store::Event) {
    if let store::Event::Change(change) = event {
        match &change.item {
            Some(item) => println!("key {} = {}", text(&change.key), text(&item.value)),
            None => println!("key {} is gone", text(&change.key)),
        }
    }
}

fn print_event(event: &Event) {
    if let Event::Leads { leader, term } = event {
        let who = if leader.is_self {
            "this node"
        } else {
            "another node"
        };
        println!("{who} leads the log in term {term}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
