//! `convoke doctor`: what is wrong on this machine and between it and the others, and what to do about it.
//!
//! Works with the node running or not, and changes nothing but a file of 20 KiB that it removes again.
//!
//! | file | looks at |
//! | --- | --- |
//! | `settings.rs` | flags, environment and file |
//! | `data.rs` | the data directory and its disk |
//! | `papers.rs` | certificate, trust, the clock by which they count |
//! | `ports.rs` | ports of a node that does not run |
//! | `nodes.rs` | other nodes, there and back; their versions and clocks |
//! | `machine.rs` | limits of the kernel and of this process |
//! | `finding.rs` | what was found, and how it is told |
//!
//! It is told by the same flags as `convoke up` what the node is told, so that it looks at the same things.
//!
//! Deliberately not here: how the cluster does as a whole, which its nodes say.

mod data;
mod finding;
mod machine;
mod nodes;
mod papers;
mod ports;
mod settings;

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use convoke_node::api::api_socket;
use convoke_node::config::{Faults, Loaded, Sources};
use convoke_types::Timestamp;
use convoke_web::client::{Client, Endpoint};
use serde_json::Value as Json;

pub(crate) use self::finding::Report;
use self::finding::{Finding, Verdict};
use self::nodes::Around;
use self::papers::Papers;
use crate::output::{self, Ending, json_line, put};
use crate::progress::Progress;
use crate::up::Flags;

/// How long the node of this machine has to answer.
const ASKING: Duration = Duration::from_secs(2);
/// The disk of the data directory has so long.
const DISK: Duration = Duration::from_secs(10);
/// Names of nodes are looked up for so long.
const LOOKING_UP: Duration = Duration::from_secs(2);

/// What `convoke doctor` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    node: Told,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// What the node of this machine is told.
#[derive(Args)]
pub(crate) struct Told {
    /// The file of settings; by default convoke.toml in the data directory, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Flags,
}

impl Told {
    /// Flags, environment and file.
    pub(crate) fn sources(&self) -> Sources {
        Sources {
            config: self.config.clone(),
            environment: crate::way::environment(),
            flags: self.settings.0.clone(),
        }
    }
}

/// Looks at everything and tells it.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let sources = arguments.node.sources();
    output::run(async {
        let looking = Progress::new("looking at", arguments.json);
        let (report, _) = looking.during(examine(&sources, &looking)).await;
        put(&if arguments.json {
            json_line(&report.as_json())
        } else {
            report.as_text()
        })?;
        match report.count(Verdict::Problem) {
            0 => Ok(()),
            1 => Err(Ending::NotSo("there is a problem".to_owned()).into()),
            many => Err(Ending::NotSo(format!("there are {many} problems")).into()),
        }
    })
}

/// Looks at everything. Gives back, too, what the node is told.
pub(crate) async fn examine(
    sources: &Sources,
    looking: &Progress,
) -> (Report, Result<Loaded, Faults>) {
    looking.at("the settings");
    let (loaded, mut findings) = settings::look(sources);
    let directory = settings::data_of(&loaded, sources);
    let (mut is_running, mut papers) = (false, None);
    if let Some(directory) = &directory {
        looking.at("the data directory and the certificate");
        match at_home(directory.clone()).await {
            Some(home) => {
                is_running = home.is_running;
                papers = home.papers;
                findings.extend(home.findings);
            }
            None => findings.push(Finding::problem(
                "data.directory",
                format!(
                    "{} does not answer within {} s",
                    directory.display(),
                    DISK.as_secs()
                ),
                "its disk, or the network that it is on, hangs: see the log of the kernel (dmesg)",
            )),
        }
    } else {
        findings.push(Finding::problem(
            "data.directory",
            "where the data is cannot be told while the settings have mistakes",
            "correct them, or name the directory with --data",
        ));
    }
    let config = loaded.as_ref().ok().map(Loaded::config);
    if let (Some(config), false) = (&config, is_running) {
        looking.at("the ports");
        let network = &config.network;
        findings.extend(ports::look(network.listen, network.udp, config.api.listen));
    }
    if let (Some(directory), true) = (&directory, is_running) {
        findings.push(api(directory).await);
    }
    if let (Some(directory), Some(papers)) = (&directory, &papers) {
        looking.at("the other nodes");
        let places = places(directory, &papers.cluster, is_running).await;
        let around = Around {
            uses_udp: config.as_ref().is_none_or(|config| config.network.udp),
            ..places
        };
        findings.extend(nodes::look(papers, around).await);
    }
    looking.at("the machine");
    findings.extend(machine::look());
    let report = Report {
        data: directory,
        is_running,
        findings,
    };
    (report, loaded)
}

/// What is in the directory.
struct AtHome {
    is_running: bool,
    papers: Option<Papers>,
    findings: Vec<Finding>,
}

/// Looks at the directory, on a thread of its own: a disk that hangs holds up whoever asks, for ever. Nothing when it does.
async fn at_home(data: PathBuf) -> Option<AtHome> {
    let answers = tokio::net::UnixStream::connect(api_socket(&data));
    let answers = tokio::time::timeout(DISK, answers);
    let answers = answers.await.is_ok_and(|connected| connected.is_ok());
    let looking = tokio::task::spawn_blocking(move || {
        let is_running = answers || is_locked(&data);
        let mut findings = data::look(&data, is_running);
        let (papers, about) = papers::look(&data, is_running);
        findings.extend(about);
        AtHome {
            is_running,
            papers,
            findings,
        }
    });
    tokio::time::timeout(DISK, looking).await.ok()?.ok()
}

/// Whether a node has the lock of this directory. It is not tried, since a node that starts at this moment would find it taken.
fn is_locked(data: &Path) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let lock = std::fs::metadata(data.join("lock"));
    lock.is_ok_and(|lock| holds(&locks, lock.ino(), process_in(data)))
}

/// The process that wrote down that it has the directory; it may be gone.
pub(crate) fn process_in(data: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = std::fs::File::open(data.join("lock")).ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    text.trim().strip_prefix("process ")?.parse().ok()
}

/// Whether this list of locks has one of this file, and of this process.
fn holds(locks: &str, inode: u64, process: Option<u32>) -> bool {
    let Some(process) = process else {
        return false;
    };
    // As `1: FLOCK  ADVISORY  WRITE 4711 08:02:1234 0 EOF`.
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, holder, place, ..] = words.as_slice() else {
            return false;
        };
        let of = place
            .rsplit(':')
            .next()
            .and_then(|of| of.parse::<u64>().ok());
        holder.parse() == Ok(process) && of == Some(inode)
    })
}

/// A client of the node of this machine.
pub(crate) fn local(data: &Path) -> Client {
    Client::new(Endpoint::Unix(api_socket(data))).with_patience(ASKING)
}

async fn api(data: &Path) -> Finding {
    match local(data).health().await {
        Ok(health) if health.ready => Finding::ok("node.running", "the node is ready"),
        Ok(_) => Finding::warning(
            "node.running",
            "the node runs and is not ready",
            "it has not joined, or nobody leads: see its log, and `convoke raft status`",
        ),
        Err(error) => Finding::warning(
            "node.running",
            format!("the node runs, and does not answer at its socket: {error}"),
            "run this as the user that runs the node; if you do, the node is stuck or just starting: see its log",
        ),
    }
}

/// Where nodes are: what the running node says, and what it remembered.
async fn places(data: &Path, cluster: &convoke_node::custody::Cluster, is_running: bool) -> Around {
    let own = if is_running {
        resolve(&cluster.own).await
    } else {
        Vec::new()
    };
    let mut others = Vec::new();
    if is_running && let Ok(listed) = local(data).get::<Json>("/v1/nodes?limit=1000").await {
        let nodes = listed["items"].as_array().into_iter().flatten();
        // Those that are known to have left are not looked for.
        let there = nodes.filter(|node| node["verdict"]["value"] != "left");
        let first = there.filter_map(|node| node["addresses"]["value"][0].as_str());
        others = first.map(str::to_owned).collect();
    }
    if others.is_empty() {
        others.clone_from(&cluster.places);
    }
    let mut others = resolve(&others).await;
    others.retain(|address| !own.contains(address));
    if !is_running {
        let was = resolve(&cluster.own).await;
        others.retain(|address| !was.contains(address));
    }
    Around {
        own,
        others,
        uses_udp: true,
    }
}

/// The first address of each, as far as names are known.
async fn resolve(places: &[String]) -> Vec<SocketAddr> {
    let looking = places.iter().map(|place| async move {
        let found = tokio::time::timeout(LOOKING_UP, tokio::net::lookup_host(place)).await;
        found.ok()?.ok()?.next()
    });
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in futures_util::future::join_all(looking)
        .await
        .into_iter()
        .flatten()
    {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The clock of this machine.
pub(crate) fn unix_now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_the_process_that_wrote_itself_down() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:02:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 7 08:02:1234 0 EOF\n\
                     3: -> FLOCK\nnonsense\n";
        assert!(holds(locks, 1234, Some(7)));
        assert!(!holds(locks, 1234, Some(8)));
        assert!(!holds(locks, 99, Some(7)));
        assert!(!holds(locks, 1234, None));
    }
}
