//! What choosing among many instances costs, and what it saves.
//!
//! | case | what happens | metrics |
//! | --- | --- | --- |
//! | `overhead` | the same calls over one channel and over the balanced way to ten instances, in turns | `cpu_us_per_op`: how much more processor time the second takes for a call, client and server together |
//! | `filter1000` | a selector of two terms looks at a thousand instances | `us_per_eval` |
//! | `slow-worker/STRATEGY` | ten workers of which one is ten times slower, 64 clients that call again and again | `ops_per_s`, `p99_us` |
//! | `overload3x` | three times as many calls as three workers can do, with deadlines and retries | `goodput_pct` of the capacity |
//!
//! Everything is over TCP on loopback, in one process, with TLS.
//!
//! Deliberately not here: workers that are killed, which takes processes (example `cluster-client`), and whether choices are right, which the tests of
//! `convoke-balance` say.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench_report::{Report, Row, median};
use clap::Parser;
use convoke_balance::{Instance, InstanceId, Params, Strategy, Update, crowd};
use convoke_rpc::identity::Development;
use convoke_rpc::{
    Balanced, BalancedConfig, CallOptions, Carriers, Channel, ChannelConfig, Endpoint, Instances,
    Limits, NoError, RoleSet, Server, service,
};
use convoke_types::Selector;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Measures balanced calls.
#[derive(Parser)]
struct Arguments {
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Shorter runs.
    #[arg(long)]
    quick: bool,
    /// Runs only these cases.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
}

const STRATEGIES: [(&str, Strategy); 5] = [
    ("round-robin", Strategy::RoundRobin),
    ("random", Strategy::Random),
    ("least-connections", Strategy::LeastConnections),
    ("power-of-two", Strategy::PowerOfTwo),
    ("consistent-hash", Strategy::ConsistentHash),
];
const WORKERS: usize = 10;
const CLIENTS: usize = 64;
/// How long a call takes in a worker, and in the slow one.
const WORK: Duration = Duration::from_millis(2);
const SLOW: Duration = Duration::from_millis(20);
/// Calls that a worker of the overload runs at once, and how long each takes.
const SLOTS: usize = 4;
const TASK: Duration = Duration::from_millis(20);

#[service]
trait Work {
    #[rpc(idempotent)]
    async fn work(&self, number: u64) -> Result<u64, NoError>;
}

/// Takes its time, with so many at once.
struct Worker {
    takes: Duration,
    slots: Semaphore,
}

impl Work for Worker {
    async fn work(&self, number: u64) -> Result<u64, NoError> {
        if !self.takes.is_zero() {
            let _slot = self.slots.acquire().await;
            tokio::time::sleep(self.takes).await;
        }
        Ok(number)
    }
}

/// Workers, and who knows them.
struct Fleet {
    cluster: Development,
    servers: Vec<(Endpoint, Server)>,
    instances: Instances,
}

impl Fleet {
    fn of(workers: impl IntoIterator<Item = Worker>) -> anyhow::Result<Self> {
        let mut fleet = Self {
            cluster: Development::new(),
            servers: Vec::new(),
            instances: Instances::new(),
        };
        for worker in workers {
            let endpoint = fleet.endpoint()?;
            let server = Server::builder().service(WorkServer::new(worker));
            let server = server.serve(&endpoint)?;
            let address = endpoint.local_address()?.to_string();
            let number = fleet.servers.len();
            let instance = Instance {
                addresses: vec![address.as_str().into()],
                ..Instance::new(InstanceId::named(&format!("worker-{number}")), "Work")
            };
            fleet.instances.apply([Update::Upsert(instance)])?;
            fleet.servers.push((endpoint, server));
        }
        Ok(fleet)
    }

    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let identity = self.cluster.identity(RoleSet::ALL);
        let anywhere = ([127, 0, 0, 1], 0).into();
        let trust = self.cluster.trust();
        let limits = Limits::default();
        Ok(Endpoint::bind_with(Carriers::Tcp, anywhere, identity, trust, limits)?)
    }

    async fn balanced(&self, client: &Endpoint, params: Params) -> Balanced {
        let config = BalancedConfig {
            params,
            seed: Some(1),
            ..BalancedConfig::default()
        };
        let all = Selector::everything();
        let balanced = Balanced::new(client, &self.instances, "Work", all, config);
        balanced.connect(Duration::from_secs(10)).await;
        balanced
    }

    async fn end(self, client: Endpoint) {
        client.close().await;
        for (endpoint, server) in self.servers {
            server.shutdown(Duration::from_secs(1)).await;
            endpoint.close().await;
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-registry: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let is_wanted = |case: &str| {
        let named = |it: &String| case == it || case.starts_with(&format!("{it}/"));
        arguments.case.is_empty() || arguments.case.iter().any(named)
    };
    let mut report = Report::default();
    let time = Duration::from_secs(if arguments.quick { 1 } else { 5 });
    if is_wanted("filter1000") {
        filter(&mut report)?;
    }
    if is_wanted("overhead") {
        overhead(if arguments.quick { 5 } else { 15 }, &mut report).await?;
    }
    for (name, strategy) in STRATEGIES {
        let case = format!("slow-worker/{name}");
        if is_wanted(&case) {
            slow_worker(&case, strategy, time, &mut report).await?;
        }
    }
    if is_wanted("overload3x") {
        overload(time * 2, &mut report).await?;
    }
    let found = if arguments.json {
        report.json_lines()
    } else {
        report.table("convoke")
    };
    anyhow::ensure!(!found.is_empty(), "there is no such case");
    print!("{found}");
    Ok(())
}

fn filter(report: &mut Report) -> anyhow::Result<()> {
    let instances = crowd::crowd(1_000);
    let selector: Selector = "zone = zone-1 and gpu >= 2".parse()?;
    for _ in 0..100 {
        let begun = Instant::now();
        let chosen = crowd::filter(&instances, &selector);
        let took = begun.elapsed();
        anyhow::ensure!(chosen > 0, "somebody is chosen");
        add(report, "filter1000", "us_per_eval", micros(took));
    }
    Ok(())
}

/// In turns, so that what else the machine does is in both.
async fn overhead(turns: usize, report: &mut Report) -> anyhow::Result<()> {
    const CALLS: u64 = 20_000;
    const AT_ONCE: u64 = 16;
    let none = || Worker {
        takes: Duration::ZERO,
        slots: Semaphore::new(1),
    };
    let fleet = Fleet::of((0..WORKERS).map(|_| none()))?;
    let client = fleet.endpoint()?;
    let address = fleet.servers[0].0.local_address()?;
    let direct = WorkClient::new(Channel::new(&client, address, ChannelConfig::default()));
    let way = fleet.balanced(&client, Params::lan()).await;
    let balanced = WorkClient::new(&way);
    let mut costs = [Vec::new(), Vec::new()];
    for turn in 0..=turns {
        for (client, costs) in [&direct, &balanced].into_iter().zip(&mut costs) {
            let before = cpu();
            let mut callers = JoinSet::new();
            for _ in 0..AT_ONCE {
                let client = client.clone();
                callers.spawn(async move {
                    for number in 0..CALLS / AT_ONCE {
                        client.work(&number).await?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(ended) = callers.join_next().await {
                ended??;
            }
            let each = micros(cpu() - before) / CALLS as f64;
            // The first turn warms both up.
            if turn > 0 {
                costs.push(each);
            }
        }
    }
    let [direct, balanced] = costs.map(|costs| median(costs).unwrap_or_default());
    add(report, "overhead", "direct_cpu_us_per_op", direct);
    add(report, "overhead", "cpu_us_per_op", balanced - direct);
    way.close(Duration::from_secs(1)).await;
    fleet.end(client).await;
    Ok(())
}

async fn slow_worker(
    case: &str,
    strategy: Strategy,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let worker = |number| Worker {
        takes: if number == 0 { SLOW } else { WORK },
        slots: Semaphore::new(CLIENTS),
    };
    let fleet = Fleet::of((0..WORKERS).map(worker))?;
    let client = fleet.endpoint()?;
    let way = fleet.balanced(&client, Params::lan().strategy(strategy)).await;
    let mut callers = JoinSet::new();
    let begun = Instant::now();
    for caller in 0..CLIENTS as u64 {
        let client = WorkClient::new(&way);
        callers.spawn(async move {
            let mut took = Vec::new();
            let mut number = caller;
            while begun.elapsed() < time {
                let client = client.with(CallOptions::new().key(number.to_le_bytes()));
                let begun = Instant::now();
                client.work(&number).await?;
                took.push(micros(begun.elapsed()));
                number += CLIENTS as u64;
            }
            anyhow::Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(took) = callers.join_next().await {
        all.extend(took??);
    }
    add(report, case, "ops_per_s", all.len() as f64 / time.as_secs_f64());
    all.sort_by(f64::total_cmp);
    add(report, case, "p99_us", all[all.len() * 99 / 100]);
    way.close(Duration::from_secs(1)).await;
    fleet.end(client).await;
    Ok(())
}

/// An open loop: calls come when they come, whatever became of those before.
async fn overload(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    const FLEET: usize = 3;
    let worker = |_| Worker {
        takes: TASK,
        slots: Semaphore::new(SLOTS),
    };
    let fleet = Fleet::of((0..FLEET).map(worker))?;
    let client = fleet.endpoint()?;
    let way = fleet.balanced(&client, Params::lan()).await;
    let capacity = (FLEET * SLOTS) as f64 / TASK.as_secs_f64();
    let every = Duration::from_secs_f64(1.0 / (3.0 * capacity));
    let good = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    // Limits find themselves first.
    let settles = time / 2;
    let begun = Instant::now();
    let mut number = 0_u32;
    while begun.elapsed() < settles + time {
        tokio::time::sleep_until((begun + every * number).into()).await;
        number += 1;
        let counts = begun.elapsed() >= settles;
        let (client, good) = (WorkClient::new(&way), Arc::clone(&good));
        callers.spawn(async move {
            let within = CallOptions::new().timeout(Duration::from_millis(500));
            let answered = client.with(within).work(&0).await.is_ok();
            good.fetch_add(u64::from(answered && counts), Ordering::Relaxed);
        });
        while callers.try_join_next().is_some() {}
    }
    while callers.join_next().await.is_some() {}
    let goodput = good.load(Ordering::Relaxed) as f64 / time.as_secs_f64();
    add(report, "overload3x", "goodput_pct", 100.0 * goodput / capacity);
    let counters = way.counters();
    let share = 100.0 * counters.retries as f64 / counters.first_attempts.max(1) as f64;
    add(report, "overload3x", "retries_pct", share);
    way.close(Duration::from_secs(1)).await;
    fleet.end(client).await;
    Ok(())
}

/// Processor time of all threads of this process.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or_default(),
        u32::try_from(spent.tv_nsec).unwrap_or_default(),
    )
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn add(report: &mut Report, case: &str, metric: &str, value: f64) {
    report.add(Row {
        bench: "registry".to_owned(),
        case: case.to_owned(),
        system: "convoke".to_owned(),
        metric: metric.to_owned(),
        value,
    });
}
