//! Measures every two seconds, asks the tuner, and has values obeyed.
//!
//! | bound | |
//! | --- | --- |
//! | between two looks | [`LOOK_EVERY`] |
//! | asking another node what is decided, where no log is kept | every [`ASK_EVERY`], after no answer every [`ASK_AGAIN`], for [`PATIENCE`] at most; until there is an answer the last one holds |
//!
//! Deliberately not here: what is turned and why.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_driver::Gossip;
use convoke_planner::knobs::{Knob, LOOK_EVERY, Policy};
use convoke_planner::roles::Rules;
use convoke_planner::roles::config::RoleConfig;
use convoke_types::wire::store::schema::ADAPT;
use convoke_types::wire::store::{ConfigFound, ConfigQuery, Found, Freshness, Query, Revision};

use super::gauges::{Reading, signals};
use super::tuner::Tuner;
use crate::parts::Parts;
use crate::probe::{self, Pressing};

/// What people decide about knobs is no hurry for who keeps no log.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks, and has it done.
pub(crate) struct Turning {
    parts: Arc<Parts>,
    tuner: Arc<Tuner>,
    policy: Policy,
    /// What the log said when it was read last.
    read_at: Option<Revision>,
    ask_at: Instant,
    /// The pace that gossip keeps.
    pace: Option<u64>,
}

impl Turning {
    pub(crate) fn new(parts: Arc<Parts>, tuner: Arc<Tuner>) -> Self {
        Self {
            parts,
            tuner,
            policy: Policy::default(),
            read_at: None,
            ask_at: Instant::now(),
            pace: None,
        }
    }

    /// For ever: whoever runs it drops it.
    pub(crate) async fn run(mut self, gossip: &Gossip) -> Infallible {
        let (mut before, mut looked_at) = (Reading::default(), Instant::now());
        loop {
            let now = self.read(gossip).await;
            let since = looked_at.elapsed();
            looked_at += since;
            self.learn_policy().await;
            let mode = *self.parts.adapting.borrow();
            let known = signals(&before, &now, since);
            let policy = self.at_home(self.policy.clone());
            for done in self.tuner.step(known, policy, mode) {
                tracing::info!("{done}");
            }
            before = now;
            self.have_obeyed(gossip).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn read(&self, gossip: &Gossip) -> Reading {
        let root = self.parts.settings.probe_root.clone();
        let pressing = tokio::task::spawn_blocking(move || {
            let root = root.as_deref().unwrap_or_else(|| Path::new("/"));
            probe::pressing(&probe::Root::below(root))
        });
        let Pressing { cpu, memory } = pressing.await.unwrap_or_default();
        let counted = gossip.status().await.ok();
        let counted = counted.map(|status| status.membership.counters);
        Reading {
            cpu_pressure: cpu,
            memory_pressure: memory,
            gossip_bytes: counted.map(|it| it.bytes_sent + it.bytes_received),
            streams: self.parts.log.get().map(|log| log.streams().gauge()),
        }
    }

    /// Knobs are at home where the role that is played and the machine say so, once both are known.
    fn at_home(&self, policy: Policy) -> Policy {
        let (role, machine) = (*self.parts.role.borrow(), self.parts.measured.borrow());
        let (Some(role), Some(machine)) = (role, machine.as_ref()) else {
            return policy;
        };
        // No knob is set by what people ask of disks, which is all that the rules have to say here.
        policy.with_homes(&RoleConfig::of(role, machine, &Rules::default()))
    }

    /// Where the log is kept it says so itself; else another node is asked now and then.
    async fn learn_policy(&mut self) {
        if let Some(log) = self.parts.log_with_entries() {
            let revision = log.status().revision;
            if self.read_at != Some(revision) {
                let (_, frozen) = log.consensus().freeze();
                self.policy = Policy::of_keys(|key| frozen.setting(key));
                self.read_at = Some(revision);
            }
            return;
        }
        self.read_at = None;
        if Instant::now() < self.ask_at {
            return;
        }
        let query = Query::Config(ConfigQuery::List(ADAPT.to_owned()));
        let asking = self.parts.store.query(query, Freshness::Stale);
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        self.ask_at = Instant::now() + ASK_AGAIN;
        if let Ok(Ok(answer)) = answer
            && let Found::Config(ConfigFound::Settings(settings)) = answer.found
        {
            self.ask_at += ASK_EVERY;
            self.policy = Policy::of_keys(|key| {
                let setting = settings.iter().find(|it| it.key == key)?;
                Some(setting.value.clone())
            });
        }
    }

    async fn have_obeyed(&mut self, gossip: &Gossip) {
        let pace = self.tuner.value(Knob::GossipPace);
        if self.pace != Some(pace) && gossip.set_pace(Duration::from_millis(pace)).await.is_ok() {
            self.pace = Some(pace);
        }
        // A log that was started again begins with its own default.
        if let Some(log) = self.parts.log.get() {
            let streams = usize::try_from(self.tuner.value(Knob::SnapshotStreams));
            let streams = streams.unwrap_or(usize::MAX);
            if log.streams().gauge().limit != streams {
                log.streams().set_limit(streams);
            }
        }
    }
}
