//! Cases in which everything is in one process: many workers, and one client that knows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench_report::median;
use convoke_balance::{Instance, InstanceId, Params, Strategy, Update, crowd};
use convoke_rpc::identity::Development;
use convoke_rpc::{
    Balanced, BalancedConfig, CallOptions, Carriers, Channel, ChannelConfig, Endpoint, Instances,
    Limits, NoError, RoleSet, Server, service,
};
use convoke_types::{Selector, Tag};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Values;

pub(crate) const STRATEGIES: [(&str, Strategy); 5] = [
    ("round-robin", Strategy::RoundRobin),
    ("random", Strategy::Random),
    ("least-connections", Strategy::LeastConnections),
    ("power-of-two", Strategy::PowerOfTwo),
    ("consistent-hash", Strategy::ConsistentHash),
];
pub(crate) const WORKERS: usize = 10;
pub(crate) const CLIENTS: usize = 64;
/// How long a call takes in a worker, and in the slow one. Long enough that processors have little to do with what comes of it.
pub(crate) const WORK: Duration = Duration::from_millis(10);
pub(crate) const SLOW: Duration = Duration::from_millis(100);
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
    described: Vec<Instance>,
    instances: Instances,
}

impl Fleet {
    fn of(workers: impl IntoIterator<Item = Worker>) -> anyhow::Result<Self> {
        let mut fleet = Self {
            cluster: Development::new(),
            servers: Vec::new(),
            described: Vec::new(),
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
            fleet.instances.apply([Update::Upsert(instance.clone())])?;
            fleet.described.push(instance);
            fleet.servers.push((endpoint, server));
        }
        Ok(fleet)
    }

    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let identity = self.cluster.identity(RoleSet::ALL);
        let anywhere = ([127, 0, 0, 1], 0).into();
        let trust = self.cluster.trust();
        // A thousand instances behind ten addresses.
        let limits = Limits {
            connections_per_peer: 256,
            handshakes_per_address: 1_024,
            handshakes: 1_024,
            ..Limits::default()
        };
        Ok(Endpoint::bind_with(
            Carriers::Tcp,
            anywhere,
            identity,
            trust,
            limits,
        )?)
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

pub(crate) fn filter() -> anyhow::Result<Values> {
    let instances = crowd::crowd(1_000);
    let selector: Selector = "zone = zone-1 and gpu >= 2".parse()?;
    let mut all = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        let chosen = crowd::filter(&instances, &selector);
        all.push(micros(begun.elapsed()));
        anyhow::ensure!(chosen > 0, "somebody is chosen");
    }
    Ok(vec![("us_per_eval", median(all).unwrap_or_default())])
}

/// A worker that answers at once.
fn idle() -> Worker {
    Worker {
        takes: Duration::ZERO,
        slots: Semaphore::new(1),
    }
}

/// With a runtime of one thread, where no thread waits for another and who shares a packet with whom depends on nothing else.
async fn on_one_thread<F>(measure: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<Values>
where
    F: Future<Output = anyhow::Result<Values>>,
{
    let measuring = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure())
    });
    measuring.await?
}

/// Calls that count of each kind in a turn, and how many are under way.
const CALLS: u64 = 20_000;
const AT_ONCE: u64 = 16;

/// Processor time for each call of 16 callers. For each call one of these clients is drawn, without a thought for how they are.
async fn cost_of(clients: &[WorkClient]) -> anyhow::Result<f64> {
    let before = cpu();
    let mut callers = JoinSet::new();
    for caller in 0..AT_ONCE {
        let clients = clients.to_vec();
        callers.spawn(async move {
            let mut drawn = caller + 1;
            for number in 0..CALLS / AT_ONCE {
                // A generator of Knuth's, of which the upper bits are good.
                drawn = drawn.wrapping_mul(6_364_136_223_846_793_005) + 1_442_695_040_888_963_407;
                let client = &clients[(drawn >> 33) as usize % clients.len()];
                client.work(&number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(micros(cpu() - before) / CALLS as f64)
}

/// In turns, so that what else the machine does is in all. Each pair has the same links and as many calls on each: on one link more of them share a
/// packet, which has nothing to do with choosing.
pub(crate) async fn overhead(turns: usize) -> anyhow::Result<Values> {
    on_one_thread(move || compare_with_direct(turns)).await
}

async fn compare_with_direct(turns: usize) -> anyhow::Result<Values> {
    let fleet = Fleet::of((0..WORKERS).map(|_| idle()))?;
    let client = fleet.endpoint()?;
    let mut direct = Vec::new();
    for (endpoint, _) in &fleet.servers {
        let address = endpoint.local_address()?;
        let channel = Channel::new(&client, address, ChannelConfig::default());
        direct.push(WorkClient::new(channel));
    }
    let way = fleet.balanced(&client, Params::lan()).await;
    let alone = Instances::new();
    alone.apply(fleet.described.first().cloned().map(Update::Upsert))?;
    let config = BalancedConfig::default();
    let all = Selector::everything();
    let way_to_one = Balanced::new(&client, &alone, "Work", all, config);
    way_to_one.connect(Duration::from_secs(10)).await;
    let (many, one) = (WorkClient::new(&way), WorkClient::new(&way_to_one));
    let mut costs = [const { Vec::new() }; 4];
    for turn in 0..=turns {
        let found = [
            cost_of(&direct).await?,
            cost_of(std::slice::from_ref(&many)).await?,
            cost_of(&direct[..1]).await?,
            cost_of(std::slice::from_ref(&one)).await?,
        ];
        // The first turn warms all up.
        if turn > 0 {
            costs[0].push(found[0]);
            costs[1].push(found[1] - found[0]);
            costs[2].push(found[2]);
            costs[3].push(found[3] - found[2]);
        }
    }
    way.close(Duration::from_secs(1)).await;
    way_to_one.close(Duration::from_secs(1)).await;
    fleet.end(client).await;
    let [direct, more, direct_to_one, more_to_one] =
        costs.map(|costs| median(costs).unwrap_or_default());
    Ok(vec![
        ("direct_cpu_us_per_op", direct),
        ("cpu_us_per_op", more),
        ("one_direct_cpu_us_per_op", direct_to_one),
        ("one_cpu_us_per_op", more_to_one),
    ])
}

/// A thousand instances behind ten addresses. In turns, calls are made while nothing changes, and with a change before each, which every choice
/// has to take in: less is never done for a change.
pub(crate) async fn registry(turns: usize) -> anyhow::Result<Values> {
    on_one_thread(move || call_while_it_changes(turns)).await
}

async fn call_while_it_changes(turns: usize) -> anyhow::Result<Values> {
    const INSTANCES: usize = 1_000;
    const CALLS: usize = 2_000;
    /// A tenth of them in a second.
    const CHANGES_PER_S: f64 = INSTANCES as f64 / 10.0;
    let fleet = Fleet::of((0..WORKERS).map(|_| idle()))?;
    let client = fleet.endpoint()?;
    let mut known = Vec::new();
    for (number, instance) in crowd::crowd(INSTANCES).into_iter().enumerate() {
        let address = fleet.servers[number % WORKERS].0.local_address()?;
        known.push(Instance {
            service: "Work".into(),
            addresses: vec![address.to_string().as_str().into()],
            ..(*instance).clone()
        });
    }
    let instances = Instances::new();
    instances.apply(known.iter().cloned().map(Update::Upsert))?;
    let config = BalancedConfig {
        seed: Some(1),
        ..BalancedConfig::default()
    };
    let selector: Selector = "gpu >= 0 and zone".parse()?;
    let way = Balanced::new(&client, &instances, "Work", selector, config);
    // So many handshakes at once are more than some of them have time for.
    let mut linked = 0;
    for _ in 0..20 {
        linked = way.connect(Duration::from_secs(10)).await;
        if linked == INSTANCES {
            break;
        }
    }
    anyhow::ensure!(linked == INSTANCES, "links to {linked} instances");
    let calls = WorkClient::new(&way);
    let mut each = Vec::new();
    let mut revision = 0_usize;
    for turn in 0..=turns {
        let mut costs = [0.0; 2];
        for (changes, cost) in [false, true].into_iter().zip(&mut costs) {
            let before = cpu();
            for number in 0..CALLS {
                if changes {
                    revision += 1;
                    let instance = &mut known[revision * 7 % INSTANCES];
                    let tag = Tag::with_value("load", &revision.to_string())?;
                    instance.tags.insert(tag)?;
                    instances.apply([Update::Upsert(instance.clone())])?;
                }
                calls.work(&(number as u64)).await?;
            }
            *cost = micros(cpu() - before) / CALLS as f64;
        }
        if turn > 0 {
            each.push(costs[1] - costs[0]);
        }
    }
    way.close(Duration::from_secs(1)).await;
    fleet.end(client).await;
    let each = median(each).unwrap_or_default();
    Ok(vec![
        ("us_per_change", each),
        ("cpu_pct", each * CHANGES_PER_S / 1e6 * 100.0),
    ])
}

pub(crate) async fn slow_worker(strategy: Strategy, time: Duration) -> anyhow::Result<Values> {
    let worker = |number| Worker {
        takes: if number == 0 { SLOW } else { WORK },
        slots: Semaphore::new(CLIENTS),
    };
    let fleet = Fleet::of((0..WORKERS).map(worker))?;
    let client = fleet.endpoint()?;
    let way = fleet
        .balanced(&client, Params::lan().strategy(strategy))
        .await;
    let calls = WorkClient::new(&way);
    let values = closed_loop(time, move |number: u64| {
        let client = calls.with(CallOptions::new().key(number.to_le_bytes()));
        async move {
            client.work(&number).await?;
            Ok(())
        }
    })
    .await?;
    way.close(Duration::from_secs(1)).await;
    fleet.end(client).await;
    Ok(values)
}

/// 64 clients that call again and again.
pub(crate) async fn closed_loop<F>(
    time: Duration,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> anyhow::Result<Values>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let mut callers = JoinSet::new();
    let begun = Instant::now();
    for caller in 0..CLIENTS as u64 {
        let call = call.clone();
        callers.spawn(async move {
            let mut took = Vec::new();
            let mut number = caller;
            while begun.elapsed() < time {
                let begun = Instant::now();
                call(number).await?;
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
    all.sort_by(f64::total_cmp);
    Ok(vec![
        ("ops_per_s", all.len() as f64 / time.as_secs_f64()),
        ("p99_us", all[all.len() * 99 / 100]),
    ])
}

/// An open loop: calls come when they come, whatever became of those before.
pub(crate) async fn overload(time: Duration) -> anyhow::Result<Values> {
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
    let counters = way.counters();
    let share = 100.0 * counters.retries as f64 / counters.first_attempts.max(1) as f64;
    way.close(Duration::from_secs(1)).await;
    fleet.end(client).await;
    Ok(vec![
        ("goodput_pct", 100.0 * goodput / capacity),
        ("retries_pct", share),
    ])
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
