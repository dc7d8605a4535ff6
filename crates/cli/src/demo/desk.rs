//! The RPC service of the demo, its server and its client: the two programs the conductor starts.
//!
//! The server keeps its key in the directory and so is the same node in each of its lives; that is also what lets a client
//! whose link died with the old process hear of it from the new one. Both programs end when their input ends.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use convoke_rpc::identity::{Development, Identity, NodeKey};
use convoke_rpc::{
    CallError, CallOptions, Channel, ChannelConfig, Endpoint, Limits, NoError, Role, Target,
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::stats::Tally;
use super::{ClientArguments, ServerArguments};

/// What the clients call.
#[convoke_rpc::service(name = "convoke.demo.Desk")]
trait Desk {
    /// Asking twice does no harm, so a call that was lost with its link is repeated by itself.
    #[rpc(idempotent, deadline_ms = 30_000)]
    async fn ask(&self) -> Result<Answer, NoError>;
    /// Entering twice would be one time too many, so the caller is told that the call may have run.
    #[rpc(deadline_ms = 30_000)]
    async fn enter(&self) -> Result<Answer, NoError>;
}

/// Every answer says which life of the server gave it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Answer {
    life: u32,
}

struct Clerk {
    life: u32,
}

impl Desk for Clerk {
    async fn ask(&self) -> Result<Answer, NoError> {
        Ok(Answer { life: self.life })
    }

    async fn enter(&self) -> Result<Answer, NoError> {
        Ok(Answer { life: self.life })
    }
}

/// The word in front of where the server is and who it is, on its first line.
pub(super) const READY: &str = "ready";

/// How often a client tells how it fares.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How long a client waits after a call that failed, so that it does not hammer.
const BREATH: Duration = Duration::from_millis(20);
/// How long calls that are under way may take at the end.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the server until its input ends.
pub(crate) fn serve(arguments: &ServerArguments) -> anyhow::Result<()> {
    run(async {
        let ServerArguments { dir, address, life } = arguments;
        let cluster = Development::in_dir(dir)?;
        let identity = lasting_identity(&cluster, dir)?;
        let node = identity.node_id();
        let endpoint = Endpoint::bind(*address, identity, cluster.trust(), Limits::default())
            .with_context(|| format!("listen at {address}"))?;
        let server = endpoint.serve(DeskServer::new(Clerk { life: *life }))?;
        tell(&format!("{READY} {} {node}", endpoint.local_address()?))?;

        input_ended().await?;
        server.shutdown(GRACE).await;
        endpoint.close().await;
        Ok(())
    })
}

/// The key that is found in the directory, with a certificate of today.
fn lasting_identity(cluster: &Development, directory: &Path) -> anyhow::Result<Identity> {
    let key = NodeKey::load_or_create(directory.join("server.key"))?;
    let certificate = cluster.certificate(key.node_id(), Role::Worker.into());
    Ok(Identity::new(key, certificate)?)
}

/// Runs a client until its input ends.
pub(crate) fn call(arguments: &ClientArguments) -> anyhow::Result<()> {
    run(async {
        let cluster = Development::in_dir(&arguments.dir)?;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let identity = cluster.identity(Role::Gateway.into());
        let endpoint = Endpoint::bind(anywhere, identity, cluster.trust(), attentive())?;
        let target = Target {
            addresses: vec![arguments.address],
            node: Some(arguments.server),
        };
        let channel = Channel::new(&endpoint, target, eager());
        let client = Client::new(&channel);
        tokio::select! {
            ended = input_ended() => ended?,
            told = client.keep_telling() => told?,
            () = client.keep_calling() => {}
        }
        channel.close(GRACE).await;
        endpoint.close().await;
        Ok(())
    })
}

/// Notices a dead server within seconds. It costs a packet a second on a silent link, which is nothing to a demo.
fn attentive() -> Limits {
    Limits {
        idle_timeout: Duration::from_secs(3),
        keep_alive: Duration::from_secs(1),
        handshake_timeout: Duration::from_secs(1),
        ..Limits::default()
    }
}

/// Looks for the server several times a second. A server in earnest would be spared that by longer pauses.
fn eager() -> ChannelConfig {
    ChannelConfig {
        longest_pause: Duration::from_millis(200),
        ..ChannelConfig::default()
    }
}

/// Makes calls, some of each kind at a time, and remembers how they fared.
struct Client {
    desk: DeskClient,
    seen: Mutex<Seen>,
}

struct Seen {
    /// What happened since the last time it was told.
    tally: Tally,
    life: u32,
    last_answer: Instant,
}

impl Client {
    fn new(channel: &Channel) -> Self {
        let desk = DeskClient::new(channel).with(CallOptions::new().attempts(16));
        let seen = Seen {
            tally: Tally::default(),
            life: 0,
            last_answer: Instant::now(),
        };
        Self {
            desk,
            seen: Mutex::new(seen),
        }
    }

    async fn keep_calling(&self) {
        tokio::join!(
            self.keep_asking(),
            self.keep_asking(),
            self.keep_asking(),
            self.keep_entering()
        );
    }

    async fn keep_asking(&self) {
        loop {
            let (began, life) = (Instant::now(), self.seen().life);
            match self.desk.ask().await {
                Ok(answer) => self.seen().answered(began, life, answer),
                Err(error) => self.failed(&error, |tally| tally.lost += 1).await,
            }
        }
    }

    async fn keep_entering(&self) {
        loop {
            let (began, life) = (Instant::now(), self.seen().life);
            match self.desk.enter().await {
                Ok(answer) => self.seen().answered(began, life, answer),
                Err(error) if error.may_have_run() => {
                    self.failed(&error, |tally| tally.in_doubt += 1).await;
                }
                Err(error) => self.failed(&error, |tally| tally.lost += 1).await,
            }
        }
    }

    async fn failed(&self, error: &CallError<NoError>, count: impl FnOnce(&mut Tally)) {
        {
            let mut seen = self.seen();
            count(&mut seen.tally);
            seen.tally.why_lost = Some(error.to_string());
        }
        tokio::time::sleep(BREATH).await;
    }

    async fn keep_telling(&self) -> anyhow::Result<()> {
        let mut clock = tokio::time::interval(TELL_EVERY);
        loop {
            clock.tick().await;
            let tally = std::mem::take(&mut self.seen().tally);
            tell(&serde_json::to_string(&tally)?)?;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn answered(&mut self, began: Instant, life_then: u32, Answer { life }: Answer) {
        let now = Instant::now();
        self.tally.answered += 1;
        self.tally.latencies.record(now - began);
        self.tally.carried_over += u64::from(life_then > 0 && life > life_then);
        if self.life > 0 && life > self.life {
            let gap = u64::try_from((now - self.last_answer).as_millis()).unwrap_or(u64::MAX);
            self.tally.gap_ms = self.tally.gap_ms.max(Some(gap));
        }
        self.life = self.life.max(life);
        self.tally.life = self.life;
        self.last_answer = now;
    }
}

/// Each of the programs makes do with one thread; the machine has others to run.
fn run(program: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(program);
    // A read of the input that has not ended cannot be interrupted; the end of the process does.
    runtime.shutdown_background();
    outcome
}

async fn input_ended() -> anyhow::Result<()> {
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    while input.read(&mut ignored).await.context("read the input")? > 0 {}
    Ok(())
}

/// Writes a line for the conductor. It reads all the time, so this does not wait.
fn tell(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .context("tell the conductor")
}
