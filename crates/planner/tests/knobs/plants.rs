//! Made-up machines: what is measured there, as a function of where the knobs stand and of what is asked of them.
//!
//! A plant answers late, as machines do, and its measurements have noise. Without a seed it has neither chance nor noise.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_planner::knobs::{Knob, Knobs, LOOK_EVERY, Move, Policy, Signal, Signals, TABLE};
use convoke_trial::Random;
use convoke_types::Timestamp;

/// What is asked of a machine, and what it has to answer with.
#[derive(Clone, Debug)]
pub(crate) struct Plant {
    /// Waiting for processors that is others' doing, in permille.
    pub(crate) others_cpu: u64,
    /// Waiting that a task adds.
    pub(crate) cpu_per_task: u64,
    /// Tasks that want to run.
    pub(crate) tasks: u64,
    /// Bytes of gossip in a second at the default pace.
    pub(crate) gossip_bytes: u64,
    /// Waiting for processors that gossip adds at the default pace.
    pub(crate) cpu_per_gossip: u64,
    /// Who wants to be served.
    pub(crate) clients: u64,
    /// The delay that a stream adds, in milliseconds.
    pub(crate) delay_per_stream: u64,
    /// Megabytes of the machine, of others, and of what is read again and again.
    pub(crate) memory_mb: u64,
    pub(crate) others_mb: u64,
    pub(crate) read_mb: u64,
    /// Blocks that are to be fetched, how long each takes alone, and how much longer with each other one.
    pub(crate) blocks: u64,
    pub(crate) fetch_ms: u64,
    pub(crate) fetch_ms_per_stream: u64,
    /// How late it answers.
    pub(crate) lag: Duration,
    /// How far off a measurement can be, in permille.
    pub(crate) noise: u64,
}

impl Default for Plant {
    /// A machine with little to do.
    fn default() -> Self {
        Self {
            others_cpu: 100,
            cpu_per_task: 30,
            tasks: 2,
            gossip_bytes: 20_000,
            cpu_per_gossip: 50,
            clients: 2,
            delay_per_stream: 18,
            memory_mb: 8_000,
            others_mb: 5_000,
            read_mb: 200,
            blocks: 4,
            fetch_ms: 60,
            fetch_ms_per_stream: 20,
            lag: Duration::from_secs(3),
            noise: 0,
        }
    }
}

impl Plant {
    /// What would be measured if all stayed as it is.
    fn target(&self, knobs: &Knobs) -> BTreeMap<Signal, u64> {
        let value = |knob| knobs.value(knob);
        // The longer news gathers, the less of it goes out.
        let pace = value(Knob::GossipPace).max(1);
        let by_default = TABLE[Knob::GossipPace.index()].default;
        let running = self.tasks.min(value(Knob::ExecutorSlots));
        let served = self.clients.min(value(Knob::SnapshotStreams));
        let fetched = self.blocks.min(value(Knob::FetchStreams));
        let cache = value(Knob::CacheBytes) / 1_000_000;
        let cpu =
            self.others_cpu + self.cpu_per_task * running + self.cpu_per_gossip * by_default / pace;
        let used = self.others_mb + cache.min(self.read_mb);
        let spare = self.memory_mb / 10;
        let beyond = used.saturating_sub(self.memory_mb - spare);
        let missed = self.read_mb.saturating_sub(cache) * 1_000 / self.read_mb.max(1);
        BTreeMap::from([
            (Signal::CpuPressure, cpu.min(1_000)),
            (Signal::MemoryPressure, (beyond * 500 / spare).min(1_000)),
            (Signal::GossipBytes, self.gossip_bytes * by_default / pace),
            (Signal::StreamDelay, self.delay_per_stream * served),
            (Signal::StreamsWaiting, self.clients - served),
            (Signal::TasksWaiting, self.tasks - running),
            (Signal::CacheMisses, missed),
            (
                Signal::FetchTime,
                self.fetch_ms + self.fetch_ms_per_stream * fetched,
            ),
            (Signal::FetchesWaiting, self.blocks - fetched),
        ])
    }
}

/// A plant with knobs on it, and what was moved.
pub(crate) struct Run {
    pub(crate) plant: Plant,
    pub(crate) knobs: Knobs,
    pub(crate) policy: Policy,
    pub(crate) now: Timestamp,
    pub(crate) moves: Vec<Move>,
    /// What was measured, and where a knob stood, at each look.
    pub(crate) seen: Vec<(Timestamp, Signals)>,
    /// In thousandths, so that a late answer comes in the end.
    answers: BTreeMap<Signal, u64>,
    random: Random,
}

impl Run {
    pub(crate) fn new(plant: Plant, knobs: Knobs, seed: u64) -> Self {
        let target = plant.target(&knobs).into_iter();
        Self {
            answers: target
                .map(|(signal, value)| (signal, value * 1_000))
                .collect(),
            plant,
            knobs,
            policy: Policy::default(),
            now: Timestamp::UNIX_EPOCH,
            moves: Vec::new(),
            seen: Vec::new(),
            random: Random::from_seed(seed),
        }
    }

    /// Goes on for so long, and gives back what was moved meanwhile.
    pub(crate) fn go(&mut self, time: Duration) -> Vec<Move> {
        let end = self.now + time;
        let before = self.moves.len();
        while self.now < end {
            self.now = self.now + LOOK_EVERY;
            let signals = self.measure();
            let moves = self.knobs.step(self.now, &signals, &self.policy);
            self.moves.extend(moves);
            self.seen.push((self.now, signals));
        }
        self.moves[before..].to_vec()
    }

    fn measure(&mut self) -> Signals {
        let (step, lag) = (
            LOOK_EVERY.as_millis() as u64,
            self.plant.lag.as_millis() as u64,
        );
        let mut signals = Signals::unknown();
        for (signal, target) in self.plant.target(&self.knobs) {
            let answer = self.answers.entry(signal).or_default();
            *answer = (*answer * lag + target * 1_000 * step) / (lag + step);
            let off = self.random.below(2 * self.plant.noise + 1);
            let value = *answer * (1_000 + off - self.plant.noise) / 1_000;
            signals.set(signal, Some((value + 500) / 1_000));
        }
        signals
    }
}
