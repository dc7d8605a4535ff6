//! chitchat 0.13 on its own in-memory transport, under tokio's paused time.
//!
//! It owns its tasks and takes chance from the process, so it cannot live in the virtual world, and no seed decides its runs. Loss
//! is put in front of its transport; there is no delay, which changes little where a round of gossip takes a second.
//! Views are looked at four times a second, and ten times while facts spread, so its times are that coarse.
//!
//! Settings are those of its documentation: gossip every second, everything else by default, digests not compressed (which its
//! authors advise once all nodes can read them, at four times the CPU time). Each node has four values of 64 bytes.
//! All start from one seed and get a minute to know each other and each other's rhythm. Bytes are those it hands to its
//! transport and what UDP over IPv4 adds: 28 per message, and 20 for each further fragment of 1,480.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, FailureDetectorConfig,
    ProtocolVersion, spawn_chitchat,
};
use convoke_sim::random::mix;
use convoke_sim::{Place, Random};

use super::{CONTACT, FACT_BYTES};
use crate::cases::{Case, Story};
use crate::journal::{Learnt, Noted};
use crate::plan::{BUSY, Plan, STAGGER};
use crate::sample::{Quantity, Sample};
use crate::tally::Tally;

/// Between two looks at all views.
const LOOK: Duration = Duration::from_millis(250);
/// Values that a node has beside the one that changes.
const STILL_VALUES: usize = 3;
/// The key of the one that changes.
const KEY: &str = "fact";
/// What IPv4 and UDP add to a message, and IPv4 to each further fragment of it.
const HEADERS: u64 = 28;
const FRAGMENT_HEADER: u64 = 20;
const FRAGMENT: u64 = 1_480;

/// Runs a case with a seed, which decides about losses and victims.
pub(crate) fn play(case: &Case, plan: &Plan, seed: u64) -> anyhow::Result<Sample> {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("make a runtime")?;
    let mut sample = runtime.block_on(async {
        let mut stage = Stage::new(case, plan, seed);
        stage.play().await?;
        anyhow::Ok(stage.sample)
    })?;
    sample.took = began.elapsed();
    Ok(sample)
}

struct Stage<'a> {
    case: &'a Case,
    plan: &'a Plan,
    began: tokio::time::Instant,
    network: Network,
    nodes: HashMap<Place, ChitchatHandle>,
    /// Whom each node held for live when it was last looked at. Who was never live is not dead either: chitchat has a node of
    /// which it has heard once among the dead.
    live: Vec<Vec<bool>>,
    tally: Tally,
    random: Random,
    sample: Sample,
}

impl<'a> Stage<'a> {
    fn new(case: &'a Case, plan: &'a Plan, seed: u64) -> Self {
        let nodes = case.nodes as usize;
        let hosts = nodes + plan.newcomers as usize;
        Self {
            case,
            plan,
            began: tokio::time::Instant::now(),
            network: Network {
                loss: case.loss(),
                channels: ChannelTransport::default(),
                random: Arc::new(Mutex::new(Random::from_seed(mix(seed, 1)))),
                sent: Arc::default(),
            },
            nodes: HashMap::new(),
            live: vec![vec![false; hosts]; hosts],
            tally: Tally::new(hosts, nodes),
            random: Random::from_seed(mix(seed, 2)),
            sample: Sample::default(),
        }
    }

    async fn play(&mut self) -> anyhow::Result<()> {
        let Story::Deaths { percent } = self.case.story else {
            anyhow::bail!("chitchat takes part in cases with deaths only")
        };
        for place in (0..self.case.nodes).map(Place) {
            self.start(place).await?;
            tokio::time::sleep(Duration::from_secs(1) / self.case.nodes).await;
        }
        self.watch_for(self.plan.warm_up).await;
        self.tally.wronged.clear();
        self.tally.false_failed = 0;

        let (wire, payload) = self.rate_for(self.plan.idle).await;
        self.measure(Quantity::IdleWire, [wire]);
        self.measure(Quantity::IdlePayload, [payload]);
        self.facts().await;
        self.kill(percent).await;
        self.join().await?;
        let false_failed = self.tally.false_failed as f64;
        self.measure(Quantity::FalseFailed, [false_failed]);
        self.sample.simulated = self.now();
        Ok(())
    }

    async fn start(&mut self, place: Place) -> anyhow::Result<()> {
        let config = ChitchatConfig {
            chitchat_id: id(place),
            cluster_id: "bench".to_owned(),
            gossip_interval: Duration::from_secs(1),
            listen_addr: place.first_address(),
            seed_nodes: vec![CONTACT.first_address().to_string()],
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: Duration::from_secs(15 * 60),
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V0,
        };
        let still = (0..STILL_VALUES).map(|number| (format!("still {number}"), value(0)));
        let node = spawn_chitchat(config, still.collect(), &self.network).await?;
        self.nodes.insert(place, node);
        Ok(())
    }

    async fn facts(&mut self) {
        let mut said = Vec::new();
        for place in self.choose(self.plan.facts) {
            let number = self.tally.says(self.now(), place);
            said.push((place, number));
            let node = &self.nodes[&place];
            node.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY, value(number)))
                .await;
            tokio::time::sleep(STAGGER).await;
            self.look_for_facts(&said).await;
        }
        let window = self.plan.fact_window;
        let until = self.now() + window;
        while self.now() < until && self.tally.facts().iter().any(|fact| fact.missing() > 0) {
            tokio::time::sleep(STAGGER).await;
            self.look_for_facts(&said).await;
        }
        let facts = self.tally.facts();
        let seconds: Vec<f64> = facts.iter().map(|fact| fact.seconds(window)).collect();
        let missing = facts.iter().map(|fact| fact.missing()).sum();
        self.measure(Quantity::Fact, seconds);
        self.remark(missing, "views without a fact");
    }

    async fn look_for_facts(&mut self, said: &[(Place, u32)]) {
        let at = self.now();
        for (by, node) in &self.nodes {
            let chitchat = node.chitchat();
            let chitchat = chitchat.lock().await;
            for (speaker, number) in said {
                let state = chitchat.node_state(&id(*speaker));
                let heard = state.and_then(|state| state.get(KEY));
                if heard.is_some_and(|heard| heard == value(*number)) {
                    let what = Learnt::Fact(*number);
                    self.tally.take(at, Noted { by: *by, what });
                }
            }
        }
    }

    async fn kill(&mut self, percent: u32) {
        let at = self.now();
        let victims = self.choose(self.case.share(percent));
        for victim in &victims {
            if let Some(node) = self.nodes.remove(victim) {
                node.abort();
            }
        }
        self.tally.died(at, &victims);
        let (wire, _) = self.rate_for(BUSY).await;
        self.measure(Quantity::BusyWire, [wire]);
        let window = self.plan.verdict_window;
        let is_known = |tally: &Tally| tally.deaths().all(|death| death.failed.missing() == 0);
        while self.now() < at + window && !is_known(&self.tally) {
            self.watch_for(LOOK).await;
        }
        let deaths = self.tally.deaths().map(|death| &death.failed);
        let missing = deaths.map(crate::spread::Spread::missing).sum();
        let deaths = self.tally.deaths();
        let seconds: Vec<f64> = deaths.map(|death| death.failed.seconds(window)).collect();
        self.measure(Quantity::Failed, seconds);
        self.remark(missing, "views without failed");
    }

    async fn join(&mut self) -> anyhow::Result<()> {
        let window = self.plan.join_window;
        let newcomers = (self.case.nodes..).take(self.plan.newcomers as usize);
        for place in newcomers.map(Place) {
            self.tally.joins(self.now(), place);
            self.start(place).await?;
        }
        let until = self.now() + window;
        while self.now() < until && self.tally.join_missing() != (0, 0) {
            self.watch_for(STAGGER).await;
        }
        let seconds: Vec<f64> = self.tally.join_seconds(window).collect();
        self.measure(Quantity::Join, seconds);
        Ok(())
    }

    async fn watch_for(&mut self, time: Duration) {
        let until = self.now() + time;
        while self.now() < until {
            tokio::time::sleep(LOOK.min(until - self.now())).await;
            self.look().await;
        }
    }

    /// Takes down whom each node holds for live and did not before, and the other way round.
    async fn look(&mut self) {
        let at = self.now();
        for (by, node) in &self.nodes {
            let mut live = vec![false; self.live.len()];
            {
                let chitchat = node.chitchat();
                let chitchat = chitchat.lock().await;
                for id in chitchat.live_nodes() {
                    live[place_of(id).index()] = true;
                }
            }
            let before = &self.live[by.index()];
            for (about, (before, now)) in (0..).map(Place).zip(before.iter().zip(&live)) {
                let what = match (before, now) {
                    (false, true) => Learnt::Here(about),
                    (true, false) => Learnt::Failed(about),
                    (true, true) | (false, false) => continue,
                };
                self.tally.take(at, Noted { by: *by, what });
            }
            self.live[by.index()] = live;
        }
    }

    /// Bytes per node and second, on the wire and as payload.
    async fn rate_for(&mut self, time: Duration) -> (f64, f64) {
        let before = self.network.sent.read();
        self.watch_for(time).await;
        let after = self.network.sent.read();
        let per = self.nodes.len() as f64 * time.as_secs_f64();
        (
            (after.0 - before.0) as f64 / per,
            (after.1 - before.1) as f64 / per,
        )
    }

    fn choose(&mut self, how_many: usize) -> Vec<Place> {
        let others = self.tally.healthy().filter(|place| *place != CONTACT);
        let mut chosen: Vec<Place> = others.collect();
        self.random.shuffle(&mut chosen);
        chosen.truncate(how_many);
        chosen
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn measure(&mut self, quantity: Quantity, values: impl IntoIterator<Item = f64>) {
        let measured = self.sample.measured.entry(quantity).or_default();
        measured.extend(values);
    }

    fn remark(&mut self, missing: usize, what: &str) {
        if missing > 0 {
            self.sample.remarks.push(format!("{missing} {what}"));
        }
    }
}

fn id(place: Place) -> ChitchatId {
    ChitchatId::new(format!("node-{:08}", place.0), 1, place.first_address())
}

fn place_of(id: &ChitchatId) -> Place {
    let SocketAddr::V4(address) = id.gossip_advertise_addr else {
        unreachable!("hosts have IPv4 addresses")
    };
    Place(address.ip().to_bits() & 0xFFFF)
}

fn value(number: u32) -> String {
    format!("{number:0width$}", width = FACT_BYTES)
}

/// The transport of chitchat's own tests, with loss in front of it and an account of what was sent.
#[derive(Clone)]
struct Network {
    loss: f64,
    channels: ChannelTransport,
    random: Arc<Mutex<Random>>,
    sent: Arc<Sent>,
}

/// Bytes that all nodes sent.
#[derive(Debug, Default)]
struct Sent {
    wire: AtomicU64,
    payload: AtomicU64,
}

impl Sent {
    fn add(&self, bytes: u64) {
        let fragments = (bytes + HEADERS - FRAGMENT_HEADER).div_ceil(FRAGMENT);
        let wire = bytes + HEADERS + (fragments - 1) * FRAGMENT_HEADER;
        self.wire.fetch_add(wire, Ordering::Relaxed);
        self.payload.fetch_add(bytes, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.wire), read(&self.payload))
    }
}

/// Nobody lives there: the transport counts what is sent there, and drops it.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1));

struct LossySocket {
    inner: Box<dyn Socket>,
    network: Network,
}

#[async_trait]
impl Transport for Network {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(LossySocket {
            inner: self.channels.open(address).await?,
            network: self.clone(),
        }))
    }
}

#[async_trait]
impl Socket for LossySocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.inner.local_addr()
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let is_lost = {
            let random = self.network.random.lock();
            let loss = self.network.loss;
            random.is_ok_and(|mut random| random.chance(loss))
        };
        let to = if is_lost { NOWHERE } else { to };
        let outcome = self.inner.send(to, envelope).await?;
        self.network.sent.add(outcome.num_bytes_sent as u64);
        Ok(outcome)
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.inner.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_message_pays_for_its_fragments() {
        let sent = Sent::default();
        sent.add(1_472);
        assert_eq!(sent.read(), (1_500, 1_472));
        sent.add(1_473);
        assert_eq!(sent.read(), (1_500 + 1_473 + 48, 1_472 + 1_473));
    }

    #[test]
    fn an_id_leads_to_its_place() {
        assert_eq!(place_of(&id(Place(4_711))), Place(4_711));
    }
}
