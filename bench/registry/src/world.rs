//! The processes of the bench: workers that are members of a cluster and offer an RPC service, and what the bench does to them.
//!
//! A worker keeps its key and the number of its starts in a directory, as a node of a real cluster does, and so comes back as the same member,
//! at the same address. What ran only once is written to a file there before it is answered: what was written outlives a process that is killed.
//!
//! Deliberately not here: who calls (`kill`, `detect`).

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench_measure::Running;
use clap::Args;
use convoke_balance::Health;
use convoke_driver::{Gossip, Home, Offer, Params, Seed, Settings, WorkerRegistry};
use convoke_rpc::identity::{Development, Identity, NodeKey};
use convoke_rpc::{Carriers, Endpoint, Limits, NoError, RoleSet, Server, Streaming, service};
use convoke_types::{NodeId, Selector};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// What workers offer.
pub(crate) const SERVICE: &str = "Duty";
/// A process or a cluster that is not ready after this never will be.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What a worker says when it can be called, before its address.
pub(crate) const READY: &str = "at ";
/// How long a worker takes between two items of a stream.
const ITEM_EVERY: Duration = Duration::from_millis(20);

#[service(name = "Duty")]
pub(crate) trait Duty {
    /// Its square.
    #[rpc(idempotent)]
    async fn square(&self, number: u64) -> Result<u64, NoError>;
    /// Writes down that this number ran.
    async fn once(&self, number: u64) -> Result<u64, NoError>;
    /// Numbers in order, from the first or behind one, up to a last.
    #[rpc(idempotent, resumable(after = number))]
    async fn count(&self, wanted: Wanted) -> Result<Streaming<Counted>, NoError>;
}

/// Numbers that are to be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// The last of them.
    pub(crate) last: u64,
    /// Behind this one.
    #[serde(default)]
    pub(crate) after: Option<u64>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// It.
    pub(crate) number: u64,
}

struct Worker {
    record: File,
}

impl Duty for Worker {
    async fn square(&self, number: u64) -> Result<u64, NoError> {
        Ok(number.wrapping_mul(number))
    }

    async fn once(&self, number: u64) -> Result<u64, NoError> {
        // Eight bytes in one piece, appended: the kernel has them, whatever becomes of this process.
        let written = (&self.record).write_all(&number.to_le_bytes());
        written.expect("the disk has room for a bench");
        Ok(number)
    }

    async fn count(&self, wanted: Wanted) -> Result<Streaming<Counted>, NoError> {
        let begin = wanted.after.map_or(0, |after| after + 1);
        let begun = tokio::time::Instant::now();
        let numbers = futures_util::stream::unfold(begin, move |number| async move {
            if number > wanted.last {
                return None;
            }
            let turn = u32::try_from(number - begin).unwrap_or(u32::MAX);
            tokio::time::sleep_until(begun + ITEM_EVERY * turn).await;
            Some((Ok(Counted { number }), number + 1))
        });
        Ok(Streaming::from_stream(numbers))
    }
}

/// What a worker is told.
#[derive(Args)]
pub(crate) struct WorkerArguments {
    /// The directory of the cluster's issuer.
    #[arg(long)]
    cluster: PathBuf,
    /// What belongs to this worker alone.
    #[arg(long)]
    home: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    join: Vec<Seed>,
}

/// Works until it is killed, or nobody needs it any more.
pub(crate) async fn work(asked: WorkerArguments) -> anyhow::Result<()> {
    bench_measure::end_with_standard_input();
    let cluster = Development::in_dir(&asked.cluster)?;
    let key = NodeKey::load_or_create(asked.home.join("key"))?;
    let endpoint = endpoint(&cluster, key, asked.listen)?;
    let settings = Settings {
        seeds: asked.join,
        home: Home::Directory(asked.home.join("member")),
        ..Settings::new(endpoint.clone(), Params::local())
    };
    let gossip = Gossip::start(settings).await?;
    let record = record_of(&asked.home);
    let record = File::options().create(true).append(true).open(record)?;
    let server = Server::builder().service(DutyServer::new(Worker { record }));
    let _server = server.serve(&endpoint)?;
    gossip.offer(SERVICE, &Offer::default()).await?;
    println!("{READY}{}", endpoint.local_address()?);
    std::future::pending().await
}

fn endpoint(cluster: &Development, key: NodeKey, at: SocketAddr) -> anyhow::Result<Endpoint> {
    let certificate = cluster.certificate(key.node_id(), RoleSet::ALL);
    let identity = Identity::new(key, certificate)?;
    // Fifty clients of one program are fifty links of one node, and as many again while those of a moment ago close.
    let limits = Limits {
        connections_per_peer: 256,
        handshakes_per_address: 256,
        handshakes: 512,
        ..Limits::default()
    };
    let trust = cluster.trust();
    Ok(Endpoint::bind_with(
        Carriers::Both,
        at,
        identity,
        trust,
        limits,
    )?)
}

fn record_of(home: &Path) -> PathBuf {
    home.join("record")
}

/// A worker's process as the bench sees it.
#[derive(Debug)]
pub(crate) struct Process {
    command: Vec<String>,
    address: SocketAddr,
    running: Option<Running>,
}

impl Process {
    /// Starts it somewhere below this address, with what is not its address in `command`; it gets the same address each time.
    pub(crate) fn start(at: Ipv4Addr, command: Vec<String>) -> anyhow::Result<Self> {
        let mut process = Self {
            command,
            address: SocketAddr::from((at, 0)),
            running: None,
        };
        process.start_again()?;
        Ok(process)
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command.args(&self.command);
        command.args(["--listen", &self.address.to_string()]);
        let running = Running::start(&mut command)?;
        let said = running.line_after(READY, PATIENCE);
        self.address = said.context("wait for a worker")?.parse()?;
        self.running = Some(running);
        Ok(())
    }

    #[cfg(feature = "peers")]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it; the moment just before.
    pub(crate) fn kill(&mut self) -> anyhow::Result<Instant> {
        let at = self.signal(Signal::KILL)?;
        self.running = None;
        Ok(at)
    }

    /// It does nothing any more, and says nothing either; the moment just before.
    pub(crate) fn stop(&self) -> anyhow::Result<Instant> {
        self.signal(Signal::STOP)
    }

    /// It goes on.
    pub(crate) fn go_on(&self) -> anyhow::Result<Instant> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<Instant> {
        let running = self.running.as_ref().context("it runs")?;
        let pid = Pid::from_raw(running.id().cast_signed()).context("a process has an id")?;
        let at = Instant::now();
        kill_process(pid, signal).context("tell a worker")?;
        Ok(at)
    }
}

/// A worker of ours.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) process: Process,
    pub(crate) node: NodeId,
    home: PathBuf,
}

/// Workers in processes of their own, and this process as a member that knows them.
pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: WorkerRegistry,
    gossip: Gossip,
    /// The last, since the workers write there.
    _place: TempDir,
}

/// Addresses of this run: those of another one at the same time are most likely others.
pub(crate) fn net() -> impl Fn(u8) -> Ipv4Addr {
    let run = (std::process::id() % 250) as u8 + 1;
    move |last| Ipv4Addr::new(127, 93, run, last)
}

impl World {
    pub(crate) async fn of(workers: u8) -> anyhow::Result<Self> {
        let place = tempfile::tempdir().context("make a directory for the cluster")?;
        let shared = place.path().join("cluster");
        let cluster = Development::in_dir(&shared)?;
        let at = net();
        let endpoint = endpoint(&cluster, NodeKey::generate(), (at(100), 0).into())?;
        let gossip = Gossip::start(Settings::new(endpoint.clone(), Params::local())).await?;
        let registry = WorkerRegistry::follow(&gossip)?;
        let mut hosts = Vec::new();
        for number in 0..workers {
            let home = place.path().join(format!("worker-{number}"));
            fs::create_dir(&home)?;
            let node = NodeKey::load_or_create(home.join("key"))?.node_id();
            let command = [
                "worker",
                "--cluster",
                path(&shared)?,
                "--home",
                path(&home)?,
                "--join",
                &endpoint.local_address()?.to_string(),
            ];
            let process = Process::start(at(number + 1), command.map(str::to_owned).to_vec())?;
            hosts.push(Host {
                process,
                node,
                home,
            });
        }
        let world = Self {
            hosts,
            endpoint,
            registry,
            gossip,
            _place: place,
        };
        world.all_serve().await?;
        Ok(world)
    }

    /// How a worker is, as far as this process has heard.
    pub(crate) fn health(&self, node: NodeId) -> Option<Health> {
        health(&self.registry, node)
    }

    /// Waits until this process has heard of each of them that it serves.
    pub(crate) async fn all_serve(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let serves = |host: &Host| self.health(host.node) == Some(Health::Serving);
        while !self.hosts.iter().all(serves) {
            anyhow::ensure!(Instant::now() < until, "not all workers are heard of");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Each number that was written down, as often as it was.
    pub(crate) fn records(&self) -> anyhow::Result<Vec<u64>> {
        let mut all = Vec::new();
        for host in &self.hosts {
            let bytes = fs::read(record_of(&host.home)).context("read what a worker wrote down")?;
            anyhow::ensure!(bytes.len() % 8 == 0, "a number in pieces");
            let numbers = bytes.chunks_exact(8);
            all.extend(numbers.map(|it| u64::from_le_bytes(it.try_into().expect("eight bytes"))));
        }
        Ok(all)
    }

    pub(crate) async fn end(self) {
        self.registry.close().await;
        self.gossip.stop().await;
        self.endpoint.close().await;
    }
}

/// How a worker is, as far as a registry has heard.
pub(crate) fn health(registry: &WorkerRegistry, node: NodeId) -> Option<Health> {
    let all = registry.select(SERVICE, &Selector::everything());
    let of_node = |it: &convoke_balance::InstanceId| matches!(it, convoke_balance::InstanceId::Node { node: of, .. } if *of == node);
    all.iter().find(|it| of_node(&it.id)).map(|it| it.health)
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}
