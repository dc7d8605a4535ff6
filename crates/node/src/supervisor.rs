//! Brings what runs to what is wanted: owns every service of a node, and is the one way to stop it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `core.rs` | what starts and stops, and when; pure |
//! | `service.rs` | what a service is, and what it can say while it runs |
//! | `runner.rs` | the loop that starts, watches and cuts off tasks |
//!
//! | bound | how much | what happens then |
//! | --- | --- | --- |
//! | a start | 30 s | cut off; a role change is undone, an essential service ends the node, others are tried again |
//! | letting go of work | `stop.drain` | what remains is cut off by the stop |
//! | a service's stop | 10 s | cut off |
//! | the node's stop | `stop.bound` | everything is cut off |
//! | being gone once cut off | 1 s | abandoned, and named: it blocks its thread. Never started beside itself |
//! | a pause after failures | 1 s to 60 s, doubling | tried again; forgotten after 60 s of running |
//!
//! Deliberately not here: which role it is to be (that is decided elsewhere), and signals: the program calls
//! [`Reins::asked_to_stop`] for each.

mod core;
#[cfg(test)]
mod promises;
mod runner;
mod service;
#[cfg(test)]
mod stories;

use std::collections::BTreeMap;
use std::sync::Arc;

use convoke_types::{Moment, Role};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use self::core::{
    EndReason, Ending, Event, Overview, Params, ServiceState, ServiceStatus, Stage,
};
use self::runner::{Runner, Urgency, Wishes};
pub use self::service::{Context, Failure, Running, Service, Work};
use crate::notify::Notifier;
use crate::roles::{ServiceName, Wanted};

/// The services of this program.
pub type Services = BTreeMap<ServiceName, Arc<dyn Service>>;

/// The handle, which is told as its [`Reins`] are. Dropped with all of them, it has the node stop in order; nobody waits for that then.
#[derive(Debug)]
pub struct Supervisor {
    reins: Reins,
    runner: JoinHandle<Ending>,
    /// How it ended, once it has.
    ending: Option<Ending>,
}

/// What a supervisor is told by. Clones are one.
#[derive(Clone, Debug)]
pub struct Reins {
    wishes: watch::Sender<Wishes>,
    overview: watch::Receiver<Overview>,
    began: Instant,
}

impl Supervisor {
    /// Starts to look after these services; none starts before [`want`](Reins::want). To be called inside of a runtime.
    ///
    /// `notifier` tells the service manager; `tell` hears every event, and must not take long.
    #[must_use]
    pub fn start(
        services: Services,
        params: Params,
        notifier: Option<Notifier>,
        tell: impl FnMut(&Event) + Send + 'static,
    ) -> Self {
        let (wishes, wished) = watch::channel(Wishes::new(params));
        let began = Instant::now();
        let (runner, overview) =
            Runner::new(services, params, wished, began, notifier, Box::new(tell));
        let tasks = TaskTracker::new();
        let runner = tasks.spawn(runner.run());
        Self {
            reins: Reins {
                wishes,
                overview,
                began,
            },
            runner,
            ending: None,
        }
    }

    /// A handle to tell it by, for those who do not wait for its end.
    #[must_use]
    pub fn reins(&self) -> Reins {
        self.reins.clone()
    }

    /// Waits until nothing runs any more, and says how it came to that. May be given up and called again.
    ///
    /// # Panics
    ///
    /// When the supervisor itself did.
    pub async fn ended(&mut self) -> Ending {
        if let Some(ending) = &self.ending {
            return ending.clone();
        }
        match (&mut self.runner).await {
            Ok(ending) => self.ending.insert(ending).clone(),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl std::ops::Deref for Supervisor {
    type Target = Reins;

    fn deref(&self) -> &Reins {
        &self.reins
    }
}

impl Reins {
    /// Has the node play a role with these services, from [`roles::wanted`](crate::roles::wanted). The latest wish counts. After a role
    /// change that was undone, the same wish again is another try.
    pub fn want(&self, role: Role, wanted: Wanted) {
        self.wishes.send_modify(|wishes| {
            wishes.goal = Some((role, wanted));
            wishes.asked += 1;
        });
    }

    /// Takes other times, for what begins from now on.
    pub fn set_params(&self, params: Params) {
        self.wishes.send_modify(|wishes| wishes.params = params);
    }

    /// Has the node stop in order; asked again, at once. For signals.
    pub fn asked_to_stop(&self) {
        self.wishes.send_modify(|wishes| {
            wishes.urgency = match wishes.urgency {
                Urgency::None => Urgency::InOrder,
                Urgency::InOrder | Urgency::AtOnce => Urgency::AtOnce,
            };
        });
    }

    /// Has the node stop in order, however often it is called.
    pub fn stop(&self) {
        self.wishes
            .send_modify(|wishes| wishes.urgency = wishes.urgency.max(Urgency::InOrder));
    }

    /// How the node and its services do, as it changes.
    #[must_use]
    pub fn overview(&self) -> watch::Receiver<Overview> {
        self.overview.clone()
    }

    /// The moment by which an overview counts.
    #[must_use]
    pub fn now(&self) -> Moment {
        runner::moment(self.began)
    }
}
