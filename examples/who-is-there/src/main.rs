//! Takes part in a cluster and prints who is there, live, until Ctrl-C.
//!
//! In three terminals, or more:
//!
//! ```text
//! cargo run -p example-who-is-there -- --dir target/who --listen 127.0.0.1:4700 --name ada
//! cargo run -p example-who-is-there -- --dir target/who --join 127.0.0.1:4700 --name grace --tag gpu
//! cargo run -p example-who-is-there -- --dir target/who --join 127.0.0.1:4700 --name mary --zone cellar
//! ```
//!
//! Then end one with Ctrl-C, and kill another one with `kill -9`. The directory stands in for a cluster: in it is the issuer
//! that all of them get their identity from. With `--data` a node keeps its key, and is the same node at its next start.

mod show;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use convoke::cluster::{Fact, Gossip, Home, Params, Seed, Settings};
use convoke::rpc::identity::{Development, Identity, NodeKey};
use convoke::rpc::{Endpoint, Limits, Role};
use convoke::types::{Tag, Tags};
use show::Show;
use tracing_subscriber::EnvFilter;

/// Prints who is in the cluster, live, until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The directory that makes the programs one cluster
    #[arg(long)]
    dir: PathBuf,
    /// Where a member may be found; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    join: Vec<Seed>,
    /// A file with one such place a line, read again whenever it is needed
    #[arg(long, value_name = "FILE")]
    seeds_file: Option<PathBuf>,
    /// What people call this node
    #[arg(long)]
    name: Option<String>,
    /// What fails together with it: a rack, a building
    #[arg(long)]
    zone: Option<String>,
    /// A tag, as `gpu` or `disk=fast`; may be given several times
    #[arg(long)]
    tag: Vec<Tag>,
    /// Where this node keeps its key and whom it knows; without it, it is another node at each start
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where others reach this node, when that is not where it listens; may be given several times
    #[arg(long, value_name = "ADDR")]
    advertise: Vec<SocketAddr>,
    /// How closely members watch each other
    #[arg(long, value_enum, default_value_t = Preset::Local)]
    preset: Preset,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Settings for kinds of networks; all nodes should have the same.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Preset {
    /// Processes on one machine
    Local,
    /// One building or city
    Lan,
    /// Regions 20 to 250 ms apart
    Wan,
    /// Links that are paid by the byte
    Metered,
}

impl From<Preset> for Params {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Local => Self::local(),
            Preset::Lan => Self::lan(1_000),
            Preset::Wan => Self::wan(1_000),
            Preset::Metered => Self::metered(),
        }
    }
}

// One thread is plenty for one node that only gossips.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // With RUST_LOG=info it tells the story in its own words too.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    let arguments = Arguments::parse();
    let show = Show {
        json: arguments.json,
    };
    let cluster = Development::in_dir(&arguments.dir)?;
    let identity = identity(&cluster, arguments.data.as_deref())?;
    let endpoint = Endpoint::bind(
        arguments.listen,
        identity,
        cluster.trust(),
        Limits::default(),
    )
    .with_context(|| format!("listen at {}", arguments.listen))?;

    let gossip = Gossip::start(settings(endpoint.clone(), arguments)?).await?;
    show.started(&gossip);
    let mut watcher = gossip.watch()?;
    // Begun once: a signal between two turns of the loop would be lost otherwise.
    let mut pressed = std::pin::pin!(tokio::signal::ctrl_c());
    let end = loop {
        tokio::select! {
            news = watcher.next() => match news {
                Some(news) => show.news(&gossip, &news),
                None => break gossip.ended().await,
            },
            signal = &mut pressed => {
                signal?;
                break gossip.leave().await;
            }
        }
    };
    show.ended(&end);
    endpoint.close().await;
    Ok(())
}

fn identity(cluster: &Development, data: Option<&std::path::Path>) -> anyhow::Result<Identity> {
    let roles = Role::Worker.into();
    let Some(data) = data else {
        return Ok(cluster.identity(roles));
    };
    std::fs::create_dir_all(data).with_context(|| format!("create {}", data.display()))?;
    let key = NodeKey::load_or_create(data.join("node.key"))?;
    let certificate = cluster.certificate(key.node_id(), roles);
    Ok(Identity::new(key, certificate)?)
}

fn settings(endpoint: Endpoint, arguments: Arguments) -> anyhow::Result<Settings> {
    let mut facts = vec![Fact::Role(Role::Worker)];
    facts.extend(arguments.name.map(Fact::Name));
    facts.extend(arguments.zone.map(Fact::Zone));
    let mut tags = Tags::new();
    for tag in arguments.tag {
        tags.insert(tag)?;
    }
    facts.push(Fact::Tags(tags));
    let mut seeds = arguments.join;
    seeds.extend(arguments.seeds_file.map(Seed::File));
    Ok(Settings {
        seeds,
        facts,
        advertise: arguments.advertise,
        home: arguments
            .data
            .map_or(Home::Memory { boot: 1 }, Home::Directory),
        ..Settings::new(endpoint, arguments.preset.into())
    })
}
