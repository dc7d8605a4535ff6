//! rpcnet 0.1.0: its membership, its registry of workers and its client of a cluster, put together as its examples do.
//!
//! This process is what they call the director: a member that workers join and that calls them. Timers are those of its cluster example: a period
//! of 0.5 s, 0.2 s for an acknowledgement, 0.4 s for an indirect one; the registry looks once a second, which is a constant. Calls have a deadline of
//! ours around them, since its own is a constant of 30 s. It knows no idempotent methods and tries nothing again, and has no resumable streams, so
//! that there is one method and all failures count.
//!
//! Its tasks have no end and it prints where it listens, so each measurement is a process of its own. In `detect` each turn has a new cluster: a worker that
//! was killed stays on the list of those that are probed, and each of them makes the next one take longer.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench_measure::Running;
use bench_report::median;
use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rpcnet::cluster::{
    ClusterClient, ClusterConfig, ClusterMembership, GossipConfig, LoadBalancingStrategy,
    WorkerRegistry,
};
use rpcnet::{RpcConfig, RpcServer};
use s2n_quic::Client as Quic;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::Values;
use crate::kill::{DEADLINE, Plan, Tally, WARM_UP, WORKERS, kill_in_turn, open_loop};
use crate::world::{PATIENCE, Process, READY, net};

/// Its name in the results.
pub(crate) const NAME: &str = "rpcnet";
const METHOD: &str = "Duty.square";
/// The name in its certificate; in its pool of connections it is a constant.
const SERVER_NAME: &str = "localhost";

/// What a worker is told.
#[derive(Args)]
pub(crate) struct WorkerArguments {
    /// The directory of the certificate.
    #[arg(long)]
    certs: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    /// The director.
    #[arg(long)]
    join: SocketAddr,
}

/// Works until it is killed, or nobody needs it any more.
pub(crate) async fn work(asked: WorkerArguments) -> anyhow::Result<()> {
    bench_measure::end_with_standard_input();
    let (mut server, endpoint) = bind(&asked.certs, asked.listen).await?;
    join(&server, &asked.certs, asked.listen, vec![asked.join]).await?;
    let cluster = server.cluster().await.context("it takes part")?;
    cluster.register_self([("role", "worker")]).await;
    println!("{READY}{}", server.socket_addr.context("it listens")?);
    server.start(endpoint).await?;
    Ok(())
}

async fn bind(certs: &Path, listen: SocketAddr) -> anyhow::Result<(RpcServer, s2n_quic::Server)> {
    let config = RpcConfig::new(certificate(certs), listen.to_string()).with_key_path(key(certs));
    let mut server = RpcServer::new(config);
    server
        .register_typed(METHOD, async |number: u64| Ok(number.wrapping_mul(number)))
        .await;
    let endpoint = server.bind()?;
    Ok((server, endpoint))
}

async fn join(
    server: &RpcServer,
    certs: &Path,
    from: SocketAddr,
    seeds: Vec<SocketAddr>,
) -> anyhow::Result<()> {
    let refused = |error: &dyn std::fmt::Debug| anyhow::anyhow!("make a client: {error:?}");
    let client = Quic::builder()
        .with_tls(authority(certs).as_path())
        .map_err(|error| refused(&error))?
        .with_io(SocketAddr::new(from.ip(), 0))
        .map_err(|error| refused(&error))?
        .start()
        .map_err(|error| refused(&error))?;
    let gossip = GossipConfig::default()
        .with_protocol_period(Duration::from_millis(500))
        .with_ack_timeout(Duration::from_millis(200))
        .with_indirect_timeout(Duration::from_millis(400));
    let config = ClusterConfig {
        gossip,
        ..ClusterConfig::default()
    };
    server
        .enable_cluster(config, seeds, Arc::new(client))
        .await?;
    Ok(())
}

/// The director, and workers in processes of their own.
struct Fleet {
    registry: Arc<WorkerRegistry>,
    _cluster: Arc<ClusterMembership>,
    workers: Vec<Process>,
    certs: TempDir,
    /// The director serves as long as this is there.
    _serving: JoinSet<()>,
}

impl Fleet {
    async fn start() -> anyhow::Result<Self> {
        let certs = tempfile::tempdir()?;
        make_certificates(certs.path())?;
        let at = net();
        let listen = SocketAddr::from((at(200), 0));
        let (mut server, endpoint) = bind(certs.path(), listen).await?;
        let address = server.socket_addr.context("it listens")?;
        join(&server, certs.path(), listen, Vec::new()).await?;
        let cluster = server.cluster().await.context("it takes part")?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = server.start(endpoint).await {
                eprintln!("the director of rpcnet ended: {error}");
            }
        });
        let strategy = LoadBalancingStrategy::RoundRobin;
        let registry = Arc::new(WorkerRegistry::new(Arc::clone(&cluster), strategy));
        registry.start().await;
        let directory = certs.path().to_str().context("a path that is no text")?;
        let address = address.to_string();
        let command = ["rpcnet-worker", "--certs", directory, "--join", &address];
        let command = command.map(str::to_owned).to_vec();
        let start = |number: u8| Process::start(at(201 + number), command.clone());
        let workers = (0..WORKERS).map(start).collect::<anyhow::Result<_>>()?;
        let fleet = Self {
            registry,
            _cluster: cluster,
            workers,
            certs,
            _serving: serving,
        };
        let until = Instant::now() + PATIENCE;
        while fleet.registry.worker_count().await < usize::from(WORKERS) {
            anyhow::ensure!(Instant::now() < until, "the director finds its workers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(fleet)
    }

    async fn lists(&self, address: SocketAddr) -> bool {
        let all = self.registry.all_workers().await;
        all.iter().any(|it| it.addr == address)
    }
}

/// What a measurement is told.
#[derive(Args)]
pub(crate) struct MeasureArguments {
    /// Whom to kill in `detect`.
    #[arg(long)]
    detect: Option<usize>,
    /// How long workers are killed, if they are.
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    #[arg(long, default_value_t = 0)]
    rate: u32,
}

/// Measures and prints what was found.
pub(crate) async fn measure(asked: MeasureArguments) -> anyhow::Result<()> {
    bench_measure::end_with_standard_input();
    let values = match asked.detect {
        Some(number) => detect_one(number).await?,
        None => {
            let plan = Plan {
                time: Duration::from_secs(asked.seconds),
                rate: asked.rate,
            };
            kill_while_calling(plan).await?
        }
    };
    let told = values.iter().map(|(name, value)| format!("{name}={value}"));
    println!("{VALUES}{}", told.collect::<Vec<_>>().join(" "));
    Ok(())
}

/// What a measurement says at its end, before what it found.
const VALUES: &str = "values ";

/// Has it measured by a process of its own.
async fn apart(asked: Vec<String>, patience: Duration) -> anyhow::Result<Values> {
    let measuring = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        let running = Running::start(command.arg("rpcnet-measure").args(asked))?;
        let said = running.line_after(VALUES, patience)?;
        let value = |said: &str| {
            let (name, value) = said.split_once('=').context("a name and a value")?;
            // A few names, as long as the program.
            Ok((&*name.to_owned().leak(), value.parse()?))
        };
        said.split(' ').map(value).collect()
    });
    measuring.await?
}

pub(crate) async fn detect(times: usize) -> anyhow::Result<Values> {
    let mut all = Vec::new();
    for turn in 0..times {
        let number = (turn % usize::from(WORKERS)).to_string();
        let values = apart(vec!["--detect".to_owned(), number], PATIENCE * 4).await?;
        all.extend(values.into_iter().map(|(_, took)| took));
    }
    let max = all.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        ("p50_ms", median(all).unwrap_or_default()),
        ("max_ms", max),
    ])
}

async fn detect_one(number: usize) -> anyhow::Result<Values> {
    let mut fleet = Fleet::start().await?;
    let address = fleet.workers[number].address();
    let at = fleet.workers[number].kill()?;
    while fleet.lists(address).await {
        anyhow::ensure!(at.elapsed() < PATIENCE * 2, "it is never missed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(vec![("took_ms", at.elapsed().as_secs_f64() * 1e3)])
}

pub(crate) async fn kill(plan: Plan) -> anyhow::Result<Values> {
    let (seconds, rate) = (plan.time.as_secs().to_string(), plan.rate.to_string());
    let asked = ["--seconds", &seconds, "--rate", &rate].map(str::to_owned);
    apart(asked.to_vec(), plan.time + PATIENCE * 4).await
}

async fn kill_while_calling(plan: Plan) -> anyhow::Result<Values> {
    let mut fleet = Fleet::start().await?;
    let config = RpcConfig::new(authority(fleet.certs.path()), format!("{}:0", net()(200)))
        .with_server_name(SERVER_NAME);
    let client = Arc::new(ClusterClient::new(Arc::clone(&fleet.registry), config));
    let tally = Arc::new(Tally::default());
    let begun = Instant::now();
    let calls = {
        let tally = Arc::clone(&tally);
        open_loop(plan, begun, move |_, number, due, counts| {
            let (client, tally) = (Arc::clone(&client), Arc::clone(&tally));
            async move {
                let called = timeout_at((due + DEADLINE).into(), call(&client, number));
                let failed = match called.await {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error),
                    Err(_) => Some(anyhow::anyhow!("no answer in time")),
                };
                match failed {
                    _ if !counts => {}
                    None => tally.answered(due),
                    Some(error) => tally.failed(due, &format!("{error:#}")),
                }
            }
        })
    };
    let mut workers = std::mem::take(&mut fleet.workers);
    let killing = {
        let tally = Arc::clone(&tally);
        let end = begun + WARM_UP + plan.time;
        tokio::task::spawn_blocking(move || {
            let mut all: Vec<&mut Process> = workers.iter_mut().collect();
            let killed = kill_in_turn(begun, end, &tally, &mut all);
            (workers, killed)
        })
    };
    calls.await;
    let listed = fleet.registry.worker_count().await;
    let (_workers, killed) = killing.await?;
    killed?;
    let mut values = tally.values(plan.time);
    values.push(("listed_at_end", listed as f64));
    Ok(values)
}

async fn call(client: &ClusterClient, number: u64) -> anyhow::Result<()> {
    let role = HashMap::from([("role".to_owned(), "worker".to_owned())]);
    let request = bincode::serialize(&number)?;
    let answer = client.call_worker(METHOD, request, Some(&role)).await?;
    let square: u64 = bincode::deserialize(&answer)?;
    anyhow::ensure!(square == number.wrapping_mul(number), "another answer");
    Ok(())
}

fn make_certificates(directory: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let names = &mut params.distinguished_name;
    names.push(DnType::CommonName, "bench authority");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(authority(directory), issuer.pem())?;
    let own = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    // One that is called like its issuer passes for self-signed.
    let names = &mut params.distinguished_name;
    names.push(DnType::CommonName, "bench worker");
    let signed = params.signed_by(&own, &issuer)?;
    fs::write(certificate(directory), signed.pem())?;
    fs::write(key(directory), own.serialize_pem())?;
    Ok(())
}

fn authority(directory: &Path) -> PathBuf {
    directory.join("authority.pem")
}

fn certificate(directory: &Path) -> PathBuf {
    directory.join("worker.pem")
}

fn key(directory: &Path) -> PathBuf {
    directory.join("worker.key.pem")
}
