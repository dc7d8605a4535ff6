//! Clients that are told whom to call: a director picks an instance for each, and counts who is with whom.
//!
//! A director knows all instances and all clients, and so it spreads *connections* evenly, which clients that each look for themselves cannot. It is one
//! more thing that has to be there: a client that has its instance goes on without it, one that wants an instance does not. Where calls are
//! short, or clients are many, a [`ClusterClient`](crate::ClusterClient) in each of them is simpler. When to use which: `docs/operate/calls.md`.
//!
//! ```text
//! assign ──► Assignment (ticket, instance) ──► hold ──► Held, while the connection lasts ──► dropped: its place is free
//!                 └── nobody holds it within the lease, or it is released: its place is free
//! ```
//!
//! | bound | |
//! | --- | --- |
//! | connections | [`DirectorConfig::connections_most`] with one instance |
//! | all that was assigned and not given back | [`ASSIGNED_MOST`]; beyond, `overloaded` |
//! | an assignment that nobody holds | [`DirectorConfig::lease`] |
//!
//! Deliberately not here: how clients ask. A director is an RPC service of the program, with whatever it wants to know of a client; the example
//! `cluster` has one. One that streams to its client for as long as that is with its instance sees the end of it, whatever ends it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_balance::{
    Balancer, Call, Explained, Instance, InstanceId, Outcome, Params, Pick, Standing, Strategy,
    Ticket, View,
};
use convoke_rpc::Instances;
use convoke_types::{Changed, Code, Moment, NodeId, Problem, Retry, Selector};
use parking_lot::Mutex;

/// Assignments of one director that were not given back.
pub const ASSIGNED_MOST: usize = 65_536;
/// Whoever is told that there is nobody asks again after so long.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How a director assigns.
#[derive(Debug, Clone)]
pub struct DirectorConfig {
    /// How long an assignment waits for its client to come and hold it. 1 s – 10 min; default 10 s. Longer counts clients that died on the way
    /// for longer.
    pub lease: Duration,
    /// Connections with one instance of weight 1 at most. 1 – 1,000,000; default 10,000.
    pub connections_most: u32,
}

impl Default for DirectorConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            connections_most: 10_000,
        }
    }
}

/// Assigns clients to instances of one RPC service. Clones share what is assigned.
#[derive(Clone)]
pub struct Director(Arc<Inner>);

struct Inner {
    instances: Instances,
    config: DirectorConfig,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    balancer: Balancer,
    view: View,
    next: u64,
    assigned: BTreeMap<u64, Assigned>,
}

struct Assigned {
    place: Ticket,
    /// When it ends by itself; not while it is held.
    ends: Option<Moment>,
}

/// Whom a client was assigned to.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// By which it is held or released.
    pub ticket: u64,
    /// Whom.
    pub instance: Arc<Instance>,
    /// How long it waits to be held.
    pub lease: Duration,
}

/// An instance, and the clients that are with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooled {
    /// Which.
    pub instance: Arc<Instance>,
    /// How it stands, as the director sees it.
    pub standing: Standing,
    /// Connections that were assigned and not given back.
    pub connections: u32,
}

/// A client that is with its instance. Dropped, its place is free.
#[derive(Debug)]
#[must_use = "dropped, the place is free"]
pub struct Held {
    director: Director,
    ticket: u64,
}

impl fmt::Debug for Director {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Director").finish_non_exhaustive()
    }
}

impl Director {
    /// For those instances of `service` that `selector` chooses.
    #[must_use]
    pub fn new(
        instances: &Instances,
        service: &str,
        selector: Selector,
        config: DirectorConfig,
    ) -> Self {
        let most = config.connections_most;
        let params = Params {
            strategy: Strategy::LeastConnections,
            // Connections last, and say nothing about how fast an instance is.
            limit_first: most,
            limit_least: most,
            limit_most: most,
            // Whoever asks is told at once.
            waiting_most: 0,
            slow_start: Duration::ZERO,
            attempts_most: ASSIGNED_MOST,
            ..Params::lan()
        };
        let state = State {
            // Among equals the first is taken, so that nothing is left to chance.
            balancer: Balancer::new(Moment::START, params, 0),
            view: View::new(service, selector),
            next: 0,
            assigned: BTreeMap::new(),
        };
        Self(Arc::new(Inner {
            instances: instances.clone(),
            config,
            begun: Instant::now(),
            state: Mutex::new(state),
        }))
    }

    /// Picks the instance with the fewest connections for its weight, among those that serve. Those on nodes that this client was cut off from are
    /// picked only if there is no other; nobody else is kept from them on its word.
    ///
    /// # Errors
    /// When there is nobody, or nobody has room: a problem that says when to ask again.
    pub fn assign(&self, lost: &[NodeId]) -> Result<Assignment, Problem> {
        let now = self.now();
        let mut state = self.up_to_date(now);
        let mut call = Call::until(Moment::NEVER);
        let is_lost = |id: &InstanceId| match id {
            InstanceId::Node { node, .. } => lost.contains(node),
            InstanceId::Named(_) => false,
        };
        let ids = state.view.chosen().map(|instance| &instance.id);
        call.tried = ids.filter(|id| is_lost(id)).cloned().collect();
        match state.balancer.pick(now, &call) {
            Pick::Go(go) => {
                let ticket = state.next;
                state.next += 1;
                let lease = self.0.config.lease;
                let assigned = Assigned {
                    place: go.ticket,
                    ends: Some(now + lease),
                };
                state.assigned.insert(ticket, assigned);
                Ok(Assignment {
                    ticket,
                    instance: go.instance,
                    lease,
                })
            }
            Pick::Refused(refusal) => Err(Problem::new(refusal.code(), refusal.to_string())
                .changed(Changed::No)
                .retry(Retry::After(ASK_AGAIN))),
            Pick::Wait(number) => {
                // Nobody may wait here; a balancer that says so all the same is told that nobody does.
                state.balancer.forget(number);
                let full = Problem::new(Code::Overloaded, "nobody has room");
                Err(full.retry(Retry::After(ASK_AGAIN)))
            }
        }
    }

    /// The client is with its instance for as long as this is kept. `None`: it was given back, or it came too late, and asks anew.
    #[must_use]
    pub fn hold(&self, ticket: u64) -> Option<Held> {
        let mut state = self.up_to_date(self.now());
        let assigned = state.assigned.get_mut(&ticket)?;
        // One assignment is one connection.
        assigned.ends.take()?;
        Some(Held {
            director: self.clone(),
            ticket,
        })
    }

    /// The client is no longer with its instance, or does not want it. Whether it was assigned until now.
    pub fn release(&self, ticket: u64) -> bool {
        let now = self.now();
        let mut state = self.0.state.lock();
        let assigned = state.assigned.remove(&ticket);
        assigned.is_some_and(|it| {
            // How long somebody stayed is no latency.
            let balancer = &mut state.balancer;
            balancer.done(now, it.place, Outcome::Cancelled, Duration::ZERO);
            true
        })
    }

    /// All instances, and how many clients are with each.
    #[must_use]
    pub fn pool(&self) -> Vec<Pooled> {
        let now = self.now();
        let state = self.up_to_date(now);
        let explained = state.balancer.explain(now).into_iter();
        let by_id: BTreeMap<_, Explained> = explained.map(|it| (it.id.clone(), it)).collect();
        let pooled = state.view.chosen().filter_map(|instance| {
            let explained = by_id.get(&instance.id)?;
            Some(Pooled {
                instance: Arc::clone(instance),
                standing: explained.standing,
                connections: explained.in_flight,
            })
        });
        pooled.collect()
    }

    fn now(&self) -> Moment {
        Moment::START + self.0.begun.elapsed()
    }

    /// With what is known by now, and without what has ended.
    fn up_to_date(&self, now: Moment) -> parking_lot::MutexGuard<'_, State> {
        let mut guard = self.0.state.lock();
        let state = &mut *guard;
        let deltas = self.0.instances.follow(&mut state.view);
        state.balancer.follow(now, deltas);
        let is_over = |assigned: &mut Assigned| assigned.ends.is_some_and(|ends| ends <= now);
        for (_, over) in state.assigned.extract_if(.., |_, it| is_over(it)) {
            let balancer = &mut state.balancer;
            balancer.done(now, over.place, Outcome::Cancelled, Duration::ZERO);
        }
        guard
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.director.release(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use convoke_balance::{Health, Update};

    use super::*;

    fn pool_of(count: usize) -> (Instances, Director) {
        let instances = Instances::new();
        for number in 0..count {
            say(&instances, Update::Upsert(instance(number)));
        }
        let all = Selector::everything();
        let director = Director::new(&instances, "Model", all, DirectorConfig::default());
        (instances, director)
    }

    fn instance(number: usize) -> Instance {
        Instance::new(id(number), "Model")
    }

    fn id(number: usize) -> InstanceId {
        InstanceId::named(&format!("worker-{number}"))
    }

    fn say(instances: &Instances, update: Update) {
        instances.apply([update]).expect("few");
    }

    fn connections(director: &Director) -> Vec<u32> {
        director.pool().iter().map(|it| it.connections).collect()
    }

    #[test]
    fn connections_are_spread_evenly_and_counted_until_they_end() {
        let (_, director) = pool_of(3);
        let held: Vec<Held> = (0..9)
            .map(|_| {
                let assigned = director.assign(&[]).expect("there is room");
                director
                    .hold(assigned.ticket)
                    .expect("it was just assigned")
            })
            .collect();
        assert_eq!(connections(&director), [3, 3, 3]);
        drop(held);
        assert_eq!(connections(&director), [0, 0, 0]);
        let assigned = director.assign(&[]).expect("there is room");
        assert!(director.release(assigned.ticket));
        assert!(!director.release(assigned.ticket), "once");
        assert!(director.hold(assigned.ticket).is_none());
    }

    #[test]
    fn an_assignment_is_held_once_and_ends_with_its_lease_if_it_is_not() {
        let (instances, _) = pool_of(1);
        let config = DirectorConfig {
            lease: Duration::ZERO,
            ..DirectorConfig::default()
        };
        let director = Director::new(&instances, "Model", Selector::everything(), config);
        let late = director.assign(&[]).expect("there is room");
        assert!(director.hold(late.ticket).is_none(), "its lease is over");
        assert_eq!(connections(&director), [0]);

        let (_, director) = pool_of(1);
        let assigned = director.assign(&[]).expect("there is room");
        let held = director.hold(assigned.ticket);
        assert!(held.is_some() && director.hold(assigned.ticket).is_none());
        assert_eq!(connections(&director), [1]);
    }

    #[test]
    fn who_drains_or_is_lost_gets_nobody_and_keeps_those_it_has() {
        let (instances, director) = pool_of(2);
        let first = director.assign(&[]).expect("there is room");
        let _held = director.hold(first.ticket);
        let other = usize::from(first.instance.id == id(0));
        say(&instances, Update::Health(id(other), Health::NotServing));
        for _ in 0..3 {
            let assigned = director.assign(&[]).expect("one is left");
            assert_eq!(assigned.instance.id, first.instance.id);
        }
        say(
            &instances,
            Update::Health(first.instance.id.clone(), Health::Failed),
        );
        let nobody = director.assign(&[]).expect_err("nobody takes any");
        assert_eq!(
            (nobody.code, nobody.changed),
            (Code::Unavailable, Changed::No)
        );
        assert!(matches!(nobody.retry, Retry::After(_)));
    }

    #[test]
    fn who_was_cut_off_from_one_is_sent_elsewhere_while_there_is_another() {
        let node = |number: u8| NodeId::from_public_key([number; 32]);
        let on_node = |number| {
            let id = InstanceId::Node {
                node: node(number),
                number: 0,
            };
            Update::Upsert(Instance::new(id, "Model"))
        };
        let (instances, director) = pool_of(0);
        say(&instances, on_node(1));
        let only = director.assign(&[node(1)]).expect("there is no other");
        say(&instances, on_node(2));
        for _ in 0..3 {
            let other = director.assign(&[node(1)]).expect("there is one");
            assert_ne!(other.instance.id, only.instance.id);
        }
        let fewest = director.assign(&[]).expect("there is room");
        assert_eq!(fewest.instance.id, only.instance.id);
    }

    #[test]
    fn who_is_full_gets_no_more() {
        let (instances, _) = pool_of(2);
        let config = DirectorConfig {
            connections_most: 2,
            ..DirectorConfig::default()
        };
        let director = Director::new(&instances, "Model", Selector::everything(), config);
        for _ in 0..4 {
            director.assign(&[]).expect("there is room");
        }
        let full = director.assign(&[]).expect_err("there is none");
        assert_eq!(full.code, Code::Overloaded, "{full}");
    }
}
