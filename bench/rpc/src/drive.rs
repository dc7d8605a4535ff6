//! The driving process: puts one case's load on a server and measures both ends.
//!
//! Calls run in a closed loop: as many tasks as calls are in flight, each calling again at once. Only calls that end
//! within the window count. CPU time is read at both ends of the window, of this process and the server's together, and
//! includes what each end's runtime, TLS and kernel work cost; the histogram's share is the same for every system.
//!
//! With several shards, this thread is the first: it also watches the time. The others are threads with a runtime, connections
//! and callers of their own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bench_measure::{Counts, Histogram, Process};
use bytes::Bytes;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tokio::{
    io::unix::AsyncFd,
    sync::{Barrier, oneshot},
    task::JoinSet,
};

use crate::{
    args::{DriveArguments, EndArguments},
    cases::{LARGE_BYTES, Load, Method, PACED_PER_SECOND, Scale},
    certs::Certs,
    end,
    message::{Message, Order, body},
    spin,
    system::{System, SystemName, with_system},
};

/// The measured values, by the metric's name.
pub(crate) type Values = BTreeMap<String, f64>;

/// How long the callers may take for the call they are in when the window ends.
const LAST_CALLS: Duration = Duration::from_secs(15);
/// Paced calls under way at the most.
const PACED_MAX: usize = 65_536;
/// Of a stream's length, what runs before to warm it up.
const WARM_UP_SHARE: u64 = 10;
const MEGABYTE: f64 = 1e6;

/// Drives the case and prints its values as one line of JSON.
pub(crate) fn drive(arguments: &DriveArguments) -> anyhow::Result<()> {
    end::settle(&arguments.end)?;
    let values = with_system!(arguments.end.system, drive_system(arguments))?;
    println!("{}", serde_json::to_string(&values)?);
    Ok(())
}

fn drive_system<S: System>(arguments: &DriveArguments) -> anyhow::Result<Values> {
    let runtime = end::runtime(&arguments.end, 0)?;
    runtime.block_on(async {
        let certs = Certs::at(&arguments.end.certs);
        let bench = Bench::<S> {
            connector: S::connector(&certs, arguments.end.at).context("prepare to connect")?,
            server: server_of(0, &arguments.addr),
            servers: arguments.addr.clone(),
            scale: Scale::of(arguments.quick, arguments.over_a_path),
            ends: [Process::this(), Process::of(arguments.server_pid)],
            end: arguments.end.clone(),
            over_a_path: arguments.over_a_path,
        };
        bench.run(arguments.case.load).await
    })
}

struct Bench<S: System> {
    connector: S::Connector,
    /// The one that this thread's connections go to, of all.
    server: SocketAddr,
    servers: Vec<SocketAddr>,
    scale: Scale,
    ends: [Process; 2],
    end: EndArguments,
    over_a_path: bool,
}

impl<S: System> Bench<S> {
    async fn run(&self, load: Load) -> anyhow::Result<Values> {
        match (load, self.scale.order(load)) {
            (
                Load::Calls {
                    method,
                    size,
                    callers,
                    connections,
                },
                _,
            ) => {
                let load = (method, size, callers, connections);
                self.calls(Share::of(load, self.end.shards).collect()).await
            }
            (Load::Paced { beside_large }, _) => self.paced(beside_large).await,
            (Load::Idle { connections }, _) => self.idle(connections).await,
            (Load::SmallItems | Load::Bulk, Some(order)) => self.stream(load, order).await,
            (Load::SmallItems | Load::Bulk, None) => unreachable!("streams have orders"),
        }
    }

    async fn calls(&self, shares: Vec<Share>) -> anyhow::Result<Values> {
        let loops = Arc::new(Loops::new(self.end.threads, shares.len()));
        let mut tasks = JoinSet::new();
        let mut clients = Vec::new();
        for share in shares {
            if share.shard == 0 {
                clients = self.connect(share.connections).await?;
                share.begin::<S>(&clients, &loops, &mut tasks);
            } else {
                let server = server_of(share.shard, &self.servers);
                let (end, loops) = (self.end.clone(), Arc::clone(&loops));
                tasks.spawn(on_its_own_thread(move || {
                    share.run::<S>(&end, server, &loops)
                }));
            }
        }

        let window = tokio::select! {
            window = self.window(&loops) => window?,
            Some(ended) = tasks.join_next() => {
                ended??;
                anyhow::bail!("a caller ended before the window");
            }
        };
        let ending = async {
            loops.meeting.wait().await;
            all(tasks).await
        };
        tokio::time::timeout(LAST_CALLS, ending)
            .await
            .context("the last calls did not end")??;

        let remark = clients.first().and_then(S::remark);
        let calls = window.counts.total();
        anyhow::ensure!(calls > 0, "no call ended within the window");
        let mut values = Values::new();
        let mut value = |name: &str, value: f64| values.insert(String::from(name), value);
        value("ops_per_s", calls as f64 / window.time.as_secs_f64());
        for (name, share) in [("p50_us", 0.50), ("p99_us", 0.99)] {
            if let Some(latency) = window.counts.quantile_us(share) {
                value(name, latency);
            }
        }
        value("cpu_us_per_op", micros(window.cpu) / calls as f64);
        value("rss_mb", self.peak_mb()?);
        if let (Some((name, remark)), true) = (remark, self.over_a_path) {
            value(name, remark);
        }
        Ok(values)
    }

    /// Lets the callers warm up, then counts for the window's time and stops them.
    async fn window(&self, loops: &Loops) -> anyhow::Result<Window> {
        loops.meeting.wait().await;
        tokio::time::sleep(self.scale.warm_up).await;
        let (began, cpu) = (Instant::now(), self.cpu()?);
        loops.turn(Phase::Counting);
        tokio::time::sleep(self.scale.window).await;
        loops.turn(Phase::Stopping);
        Ok(Window {
            time: began.elapsed(),
            cpu: self.cpu()?.saturating_sub(cpu),
            counts: loops.counts(),
        })
    }

    async fn stream(&self, load: Load, order: Order) -> anyhow::Result<Values> {
        let mut client = self.connect_one().await?;
        let warm_up = Order {
            count: order.count / WARM_UP_SHARE,
            ..order
        };
        S::stream(&mut client, warm_up).await.context("warm up")?;

        let (began, cpu) = (Instant::now(), self.cpu()?);
        S::stream(&mut client, order).await?;
        let (time, cpu) = (
            began.elapsed().as_secs_f64(),
            self.cpu()?.saturating_sub(cpu),
        );

        let items = order.count as f64;
        let rate = if load == Load::Bulk {
            ("mb_per_s", items * order.size as f64 / MEGABYTE / time)
        } else {
            ("ops_per_s", items / time)
        };
        let remark = S::remark(&client).filter(|_| self.over_a_path);
        let values = [
            rate,
            ("cpu_us_per_op", micros(cpu) / items),
            ("rss_mb", self.peak_mb()?),
        ];
        Ok(values
            .into_iter()
            .chain(remark)
            .map(|(name, value)| (String::from(name), value))
            .collect())
    }

    /// Small calls at a fixed rate, alone or beside large ones. Their latency counts from the moment at which they were due, so
    /// a driver or a connection that is busy with large ones cannot hide it.
    async fn paced(&self, beside_large: bool) -> anyhow::Result<Values> {
        let client = self.connect_one().await?;
        let loops = Arc::new(Loops::new(1, 1));
        let large = beside_large.then(|| Caller::<S> {
            client: client.clone(),
            method: Method::Echo,
            body: body(LARGE_BYTES),
            histogram: 0,
        });
        let large_loops = Arc::new(Loops::new(1, 1));
        let mut tasks = JoinSet::new();
        if let Some(large) = large {
            tasks.spawn(large.run(Arc::clone(&large_loops)));
        }
        tasks.spawn(paced_calls::<S>(client, Arc::clone(&loops)));

        tokio::time::sleep(self.scale.warm_up).await;
        let began = Instant::now();
        loops.turn(Phase::Counting);
        large_loops.turn(Phase::Counting);
        tokio::time::sleep(self.scale.window).await;
        loops.turn(Phase::Stopping);
        large_loops.turn(Phase::Stopping);
        let time = began.elapsed();
        tokio::time::timeout(LAST_CALLS, all(tasks))
            .await
            .context("the last calls did not end")??;

        let small = loops.counts();
        let large = large_loops.counts().total() as f64 * LARGE_BYTES as f64;
        let mut values = Values::new();
        values.insert(
            String::from("ops_per_s"),
            small.total() as f64 / time.as_secs_f64(),
        );
        if beside_large {
            let rate = large / MEGABYTE / time.as_secs_f64();
            values.insert(String::from("mb_per_s"), rate);
        }
        for (name, share) in [("p50_us", 0.50), ("p99_us", 0.99)] {
            let latency = small.quantile_us(share).context("no call was counted")?;
            values.insert(String::from(name), latency);
        }
        Ok(values)
    }

    /// Of idle connections, `cpu_us_per_op` is what one costs per second, `cpu_us_after_use` what its use cost afterwards, and
    /// memory is what they need now, not what their handshakes needed.
    async fn idle(&self, connections: usize) -> anyhow::Result<Values> {
        let mut clients = self.connect(connections).await?;
        for client in &mut clients {
            let hello = Message {
                id: 0,
                body: body(32),
            };
            S::echo(client, hello)
                .await
                .context("use a connection once")?;
        }
        let (ends, scale) = (self.ends, self.scale);
        let idle = on_its_own_thread(move || Idle::watch(&ends, &scale)).await?;

        let values = [
            ("cpu_us_after_use", micros(idle.settling)),
            ("cpu_us_per_op", micros(idle.window) / idle.seconds),
        ];
        drop(clients);
        let rss = (String::from("rss_mb"), idle.resident_mb);
        Ok(values
            .map(|(name, value)| (String::from(name), value / connections as f64))
            .into_iter()
            .chain([rss])
            .collect())
    }

    async fn connect(&self, connections: usize) -> anyhow::Result<Vec<S::Client>> {
        connect::<S>(&self.connector, self.server, connections).await
    }

    async fn connect_one(&self) -> anyhow::Result<S::Client> {
        S::connect(&self.connector, self.server)
            .await
            .context("connect")
    }

    /// Of both ends together.
    fn cpu(&self) -> anyhow::Result<Duration> {
        self.ends.iter().map(Process::cpu).sum()
    }

    fn peak_mb(&self) -> anyhow::Result<f64> {
        let peaks = self.ends.iter().map(|end| Ok(end.memory()?.peak_bytes));
        Ok(peaks.sum::<anyhow::Result<u64>>()? as f64 / MEGABYTE)
    }
}

/// What idle connections cost both ends together.
struct Idle {
    /// CPU time from their last use until they had settled.
    settling: Duration,
    /// CPU time of the window that followed, and its length.
    window: Duration,
    seconds: f64,
    resident_mb: f64,
}

impl Idle {
    /// Watches both ends from a thread that does nothing else and whose own time is not counted. A timer of the driver's runtime
    /// would wake it, and reading these counters takes longer than a thousand idle connections for five seconds.
    #[expect(
        clippy::disallowed_methods,
        reason = "this thread has nobody to answer, and a timer of the runtime would be measured with the rest"
    )]
    fn watch(ends: &[Process], scale: &Scale) -> anyhow::Result<Self> {
        let cpu = || {
            let times = ends.iter().map(Process::cpu_of_others);
            times.sum::<anyhow::Result<Duration>>()
        };
        let used = cpu()?;
        thread::sleep(scale.idle_settling);
        let (began, settled) = (Instant::now(), cpu()?);
        thread::sleep(scale.idle_window);
        let (time, idled) = (began.elapsed(), cpu()?);
        let sizes = ends.iter().map(|end| Ok(end.memory()?.now_bytes));
        Ok(Self {
            settling: settled.saturating_sub(used),
            window: idled.saturating_sub(settled),
            seconds: time.as_secs_f64(),
            resident_mb: sizes.sum::<anyhow::Result<u64>>()? as f64 / MEGABYTE,
        })
    }
}

/// The callers of one shard.
#[derive(Clone, Copy, Debug)]
struct Share {
    shard: usize,
    method: Method,
    size: usize,
    callers: usize,
    connections: usize,
}

impl Share {
    /// What each of the shards has of a load of callers: the method, the size, how many callers, how many connections. A
    /// shard that would have no caller would only be in the way, and is left out.
    fn of(
        (method, size, callers, connections): (Method, usize, usize, usize),
        shards: usize,
    ) -> impl Iterator<Item = Self> {
        let shards = shards.min(callers);
        (0..shards).map(move |shard| Self {
            shard,
            method,
            size,
            callers: (shard..callers).step_by(shards).count(),
            connections: connections.div_ceil(shards),
        })
    }

    /// Makes them call in tasks of this runtime.
    fn begin<S: System>(
        self,
        clients: &[S::Client],
        loops: &Arc<Loops>,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) {
        for (number, client) in (0..self.callers).zip(clients.iter().cycle()) {
            let caller = Caller::<S> {
                client: client.clone(),
                method: self.method,
                body: body(self.size),
                histogram: self.shard * loops.threads + number % loops.threads,
            };
            tasks.spawn(caller.run(Arc::clone(loops)));
        }
    }

    /// Makes them call from a runtime of their own on this thread until they are told to stop.
    fn run<S: System>(
        self,
        end: &EndArguments,
        server: SocketAddr,
        loops: &Arc<Loops>,
    ) -> anyhow::Result<()> {
        end::runtime(end, self.shard)?.block_on(async {
            let certs = Certs::at(&end.certs);
            let connector = S::connector(&certs, end.at).context("prepare to connect")?;
            let clients = connect::<S>(&connector, server, self.connections).await?;
            let mut tasks = JoinSet::new();
            self.begin::<S>(&clients, loops, &mut tasks);
            loops.meeting.wait().await;
            all(tasks).await?;
            loops.meeting.wait().await;
            Ok(())
        })
    }
}

/// The driver's shards and the server's keep to the CPUs in the same order. Each calls the next, so that a call goes from
/// one CPU to another, as it does with one shard.
fn server_of(shard: usize, servers: &[SocketAddr]) -> SocketAddr {
    servers[(shard + 1) % servers.len()]
}

async fn on_its_own_thread<F, T>(work: F) -> anyhow::Result<T>
where
    F: FnOnce() -> anyhow::Result<T> + Send + 'static,
    T: Send + 'static,
{
    let (done, ended) = oneshot::channel();
    let thread = thread::spawn(move || {
        // Nobody listens only when the process is about to end.
        let _ = done.send(work());
    });
    let ended = ended.await.context("a thread of the driver panicked")?;
    thread.join().expect("it has said that it ended");
    ended
}

async fn connect<S: System>(
    connector: &S::Connector,
    server: SocketAddr,
    connections: usize,
) -> anyhow::Result<Vec<S::Client>> {
    let mut clients = Vec::with_capacity(connections);
    for number in 0..connections {
        let client = S::connect(connector, server).await;
        clients.push(client.with_context(|| format!("open connection {number}"))?);
    }
    Ok(clients)
}

/// What came out of the time in which calls were counted.
struct Window {
    time: Duration,
    cpu: Duration,
    counts: Counts,
}

/// What the callers share: what they shall do, and where they count.
struct Loops {
    phase: AtomicU8,
    /// Where the shards meet: when all have their connections, and when the window is measured. A thread that ended before would
    /// have taken its CPU time with it.
    meeting: Barrier,
    /// Of each runtime.
    threads: usize,
    /// One per thread of the runtimes, so that threads do not fight for a counter.
    histograms: Vec<Histogram>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmingUp,
    Counting,
    Stopping,
}

impl Loops {
    fn new(threads: usize, shards: usize) -> Self {
        Self {
            phase: AtomicU8::new(Phase::WarmingUp as u8),
            meeting: Barrier::new(shards),
            threads,
            histograms: (0..threads * shards).map(|_| Histogram::new()).collect(),
        }
    }

    fn turn(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for histogram in &self.histograms {
            sum.add(&histogram.counts());
        }
        sum
    }
}

/// One call in flight, again and again.
struct Caller<S: System> {
    client: S::Client,
    method: Method,
    body: Bytes,
    histogram: usize,
}

impl<S: System> Caller<S> {
    async fn run(mut self, loops: Arc<Loops>) -> anyhow::Result<()> {
        let mut began = Instant::now();
        let mut id = 0;
        while !loops.is(Phase::Stopping) {
            id += 1;
            let answer = self.call(id).await?;
            spin::active();
            anyhow::ensure!(
                answer.id == id && answer.body.len() == self.body.len(),
                "call {id} got the answer of another call"
            );
            // The end of a call is the beginning of the next: one look at the clock for both.
            let ended = Instant::now();
            if loops.is(Phase::Counting) {
                loops.histograms[self.histogram].record(ended - began);
            }
            began = ended;
        }
        Ok(())
    }

    async fn call(&mut self, id: u64) -> anyhow::Result<Message> {
        let message = Message {
            id,
            body: self.body.clone(),
        };
        match self.method {
            Method::Echo => S::echo(&mut self.client, message).await,
            Method::EchoAwait => S::echo_await(&mut self.client, message).await,
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the runtime has no safe way in for descriptors of others"
)]
fn registered(timer: OwnedFd) -> anyhow::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is the same one, and open, for as long as it lives.
    Ok(unsafe { AsyncFd::register(timer) }?)
}

/// Begins a small call whenever one is due, until told to stop, and then waits for those under way.
async fn paced_calls<S: System>(client: S::Client, loops: Arc<Loops>) -> anyhow::Result<()> {
    let mut pacemaker = Pacemaker::start(Duration::from_secs(1) / PACED_PER_SECOND)?;
    let mut calls = JoinSet::new();
    let mut id = 0;
    while !loops.is(Phase::Stopping) {
        let due = pacemaker.beat().await?;
        id += 1;
        let (mut client, loops) = (client.clone(), Arc::clone(&loops));
        calls.spawn(async move {
            let message = Message { id, body: body(32) };
            let answer = S::echo(&mut client, message).await?;
            anyhow::ensure!(answer.id == id, "call {id} got the answer of another call");
            if loops.is(Phase::Counting) {
                loops.histograms[0].record(due.elapsed());
            }
            Ok(())
        });
        while let Some(ended) = calls.try_join_next() {
            ended??;
        }
        anyhow::ensure!(calls.len() < PACED_MAX, "calls pile up");
    }
    all(calls).await
}

/// Says when calls are due. The runtime's own timers know milliseconds only, and a thread that keeps the pace would have to wait
/// for this one to leave the CPU that they share; a timer of the kernel is one more thing that wakes the runtime.
struct Pacemaker {
    timer: AsyncFd<OwnedFd>,
    every: Duration,
    next: Instant,
    due: u64,
}

impl Pacemaker {
    fn start(every: Duration) -> anyhow::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let beat = every.try_into().context("a pace the kernel knows")?;
        let beats = Itimerspec {
            it_interval: beat,
            it_value: beat,
        };
        let next = Instant::now() + every;
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &beats)?;
        Ok(Self {
            timer: registered(timer)?,
            every,
            next,
            due: 0,
        })
    }

    /// When the next call was due.
    async fn beat(&mut self) -> anyhow::Result<Instant> {
        while self.due == 0 {
            let mut count = [0; 8];
            let mut ready = self.timer.readable().await?;
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?)) {
                Ok(read) => {
                    read?;
                    self.due = u64::from_ne_bytes(count);
                }
                Err(_not_yet) => {}
            }
        }
        self.due -= 1;
        let due = self.next;
        self.next += self.every;
        Ok(due)
    }
}

async fn all(mut tasks: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_calls_another_cpu_if_there_is_one() {
        let servers: Vec<SocketAddr> = (1..=2).map(|port| ([127, 0, 0, 1], port).into()).collect();

        assert_eq!(server_of(0, &servers), servers[1]);
        assert_eq!(server_of(1, &servers), servers[0]);
        assert_eq!(server_of(0, &servers[..1]), servers[0]);
    }

    #[test]
    fn shards_share_callers_and_connections_evenly() {
        let shares = |shards| {
            let load = (Method::Echo, 32, 64, 8);
            Share::of(load, shards)
                .map(|share| (share.shard, share.callers, share.connections))
                .collect::<Vec<_>>()
        };

        assert_eq!(shares(1), [(0, 64, 8)]);
        assert_eq!(shares(2), [(0, 32, 4), (1, 32, 4)]);
        assert_eq!(shares(3), [(0, 22, 3), (1, 21, 3), (2, 21, 3)]);
    }

    #[test]
    fn a_shard_without_a_caller_is_left_out() {
        assert_eq!(Share::of((Method::Echo, 32, 1, 1), 2).count(), 1);
    }
}
