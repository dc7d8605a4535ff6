//! What one balancer learned of one instance: its own calls, how long they took, how they ended, whether there is a link.

use std::sync::Arc;
use std::time::Duration;

use convoke_types::Moment;

use crate::Params;
use crate::instance::{Health, Instance};
use crate::latency::Latency;
use crate::limit::Limit;
use crate::outlier::{Outlier, slow_start};

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) instance: Arc<Instance>,
    /// Bits that follow from its id.
    pub(crate) bits: u64,
    /// Which life of it this is: answers to calls of an earlier one say nothing of this one.
    pub(crate) life: u64,
    pub(crate) is_near: bool,
    /// What others said of it beside its description. The worse of both counts, so that an old description does not undo a verdict.
    pub(crate) verdict: Health,
    pub(crate) in_flight: u32,
    pub(crate) latency: Latency,
    pub(crate) limit: Limit,
    pub(crate) outlier: Outlier,
    pub(crate) link: Link,
    /// Since when it may be called; its share rises from there.
    pub(crate) since: Moment,
    /// What smooth weighted round robin owes it.
    pub(crate) credit: f64,
}

/// Whether a link can be had, as far as calls and connections showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// It is left alone until then. After that one call at a time tries, until one succeeds.
    pub(crate) pause: Option<Moment>,
    in_a_row: u32,
}

/// Whether an instance gets calls, the better the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    Well,
    Ejected,
    LinkDown,
    Unreachable,
    /// Not for calls, whatever else there is.
    Never,
}

impl Member {
    pub(crate) fn new(now: Moment, instance: Arc<Instance>, life: u64, params: &Params) -> Self {
        Self {
            bits: instance.id.bits(),
            life,
            is_near: is_near(&instance, params),
            verdict: Health::Serving,
            in_flight: 0,
            latency: Latency::default(),
            limit: Limit::new(now, params, instance.weight),
            outlier: Outlier::default(),
            link: Link::default(),
            since: now,
            credit: 0.0,
            instance,
        }
    }

    /// Takes in a new description.
    pub(crate) fn describe(&mut self, now: Moment, instance: Arc<Instance>, params: &Params) {
        let before = self.health();
        self.is_near = is_near(&instance, params);
        self.instance = instance;
        self.begin_slowly_if_back(now, before);
    }

    /// Takes in what others say.
    pub(crate) fn judge(&mut self, now: Moment, verdict: Health) {
        let before = self.health();
        self.verdict = verdict;
        self.begin_slowly_if_back(now, before);
    }

    pub(crate) fn health(&self) -> Health {
        self.instance.health.max(self.verdict)
    }

    fn begin_slowly_if_back(&mut self, now: Moment, before: Health) {
        if before != Health::Serving && self.health() == Health::Serving {
            self.since = now;
            self.link = Link::default();
        }
    }

    pub(crate) fn grade(&self, now: Moment) -> Grade {
        match self.health() {
            Health::Failed | Health::NotServing => Grade::Never,
            Health::Unreachable => Grade::Unreachable,
            Health::Serving if self.link.pause.is_some_and(|until| now < until) => Grade::LinkDown,
            Health::Serving if self.outlier.ejected().is_some() => Grade::Ejected,
            Health::Serving => Grade::Well,
        }
    }

    /// Whether one more call may go to it. While nobody knows whether there is a link again, one at a time finds out.
    pub(crate) fn has_room(&self) -> bool {
        let limit = if self.link.pause.is_some() {
            1
        } else {
            self.limit.limit()
        };
        self.in_flight < limit
    }

    /// The part of the whole that it should get next to others: its weight, less while it is new.
    pub(crate) fn share(&self, now: Moment, params: &Params) -> f64 {
        let weight = f64::from(self.instance.weight.clamp(1, 1_000));
        weight * slow_start(now.since(self.since), params)
    }

    /// What one more call to it is expected to take, next to others. What it says of its load counts for a factor of two at most, so
    /// that one that says nothing but lies gets at most twice what its latency earns.
    pub(crate) fn cost(&self, now: Moment, average: f64, params: &Params) -> f64 {
        let latency = self
            .latency
            .towards(now, average, params.latency_memory)
            .max(1.0);
        let queue = f64::from(self.in_flight) + 1.0;
        latency * queue * (1.0 + self.load(now, params)) / self.share(now, params)
    }

    /// From 0 to 1; what is unknown or old is in the middle.
    fn load(&self, now: Moment, params: &Params) -> f64 {
        match self.instance.load {
            Some(load) if now.since(load.at) <= params.load_age => {
                f64::from(load.permille.min(1_000)) / 1_000.0
            }
            Some(_) | None => 0.5,
        }
    }
}

fn is_near(instance: &Instance, params: &Params) -> bool {
    let zone = params.zone.as_ref().map(|near| &*near.zone);
    zone.is_none_or(|near| instance.zone() == Some(near))
}

impl Link {
    /// No link could be opened, or it was lost.
    pub(crate) fn lost(&mut self, now: Moment, params: &Params) {
        // Many calls are lost with one link; they are one loss.
        if self.pause.is_some_and(|until| now < until) {
            return;
        }
        let pause = params.link_pause.saturating_mul(1 << self.in_a_row.min(16));
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.pause = Some(now + pause.min(params.link_pause_most));
    }

    /// It said that it is about to go: there will be none for a while, unless somebody opens one.
    pub(crate) fn leaves(&mut self, now: Moment, params: &Params) {
        self.pause = Some(now + params.link_pause_most);
    }

    /// There is one.
    pub(crate) fn works(&mut self) {
        *self = Self::default();
    }
}

/// As an instance that has been there for ever.
pub(crate) fn long_ago(now: Moment, params: &Params) -> Moment {
    Moment::from_nanos(
        now.as_nanos()
            .saturating_sub(duration_nanos(params.slow_start)),
    )
}

fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
