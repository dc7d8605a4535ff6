//! Answers light clients: what a node knows of instances, told as a stream.
//!
//! ```text
//! WorkerRegistry ─► Teller (thinks: what of it this subscriber has not heard) ─► stream
//! ```
//!
//! A stream is made as its reader takes it. Nothing waits for a slow one: what changed meanwhile is told as one change.
//!
//! | bound | | beyond |
//! | --- | --- | --- |
//! | subscribers of a node | [`SUBSCRIBERS_MOST`] | the next is told so, [`NotTold::TooMany`] |
//! | those with one certificate | [`OF_ONE_MOST`] | likewise |
//! | instances in a message | [`ROWS_MOST`] | another message |
//! | RPC services that are asked for | [`ASKED_MOST`] | [`NotTold::Senseless`] |
//! | between two rounds of changes | at least [`PACE`] | changes meanwhile are one |
//! | silence | a third of what was asked for | what is known is said to be up to date |
//! | changes that are remembered | those of the registry | all is told anew |
//!
//! Deliberately not here: where the registry has it from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_balance::registry::Changes;
use convoke_balance::{Delta, InstanceId};
use convoke_rpc::{Context, Streaming};
use convoke_types::{Moment, NodeId};
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::service::{
    ASKED_MOST, Directory, Id, NotTold, Point, Question, ROWS_MOST, Row, Rows, SILENCE_LEAST,
    SILENCE_MOST, Told,
};
use crate::chance;
use crate::registry::WorkerRegistry;

/// Subscribers of one node.
pub const SUBSCRIBERS_MOST: usize = 1_024;
/// Subscribers with one certificate: programs of one machine may share it.
pub const OF_ONE_MOST: usize = 128;
/// Changes are gathered for at least so long, but for the first after a pause.
const PACE: Duration = Duration::from_millis(20);

/// What a node tells light clients. Clones are one; give one to a server as `DirectoryServer::new(listing.clone())`.
#[derive(Clone, Debug)]
pub struct Listing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    /// Who is told now, and how many streams each has.
    subscribers: Mutex<BTreeMap<NodeId, usize>>,
}

#[derive(Clone, Debug)]
enum State {
    /// There is nothing to tell of yet, or not any more.
    Nothing,
    Tells {
        registry: WorkerRegistry,
        /// Revisions count within it.
        life: u64,
    },
    /// For good.
    Leaves,
}

impl Default for Listing {
    fn default() -> Self {
        Self::new()
    }
}

impl Listing {
    /// One that has nothing to tell yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            state: watch::Sender::new(State::Nothing),
            subscribers: Mutex::default(),
        }))
    }

    /// Tells what is in this registry from now on.
    pub fn tell(&self, registry: &WorkerRegistry) {
        let tells = State::Tells {
            registry: registry.clone(),
            life: chance(),
        };
        self.become_if(tells, |was| !matches!(was, State::Leaves));
    }

    /// Tells nothing for now; subscribers go elsewhere.
    pub fn pause(&self) {
        self.become_if(State::Nothing, |was| matches!(was, State::Tells { .. }));
    }

    /// Sends everybody elsewhere, for good.
    pub fn leave(&self) {
        self.0.state.send_replace(State::Leaves);
    }

    /// Whether it has something to tell.
    #[must_use]
    pub fn tells(&self) -> bool {
        matches!(*self.0.state.borrow(), State::Tells { .. })
    }

    /// How many are told now.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.0.subscribers.lock().values().sum()
    }

    fn become_if(&self, next: State, may: impl Fn(&State) -> bool) {
        self.0.state.send_if_modified(|state| {
            let does = may(state);
            if does {
                *state = next;
            }
            does
        });
    }

    fn enter(&self, who: NodeId) -> Result<Place, NotTold> {
        let mut subscribers = self.0.subscribers.lock();
        let too_many = |limit: usize| NotTold::TooMany {
            limit: limit as u64,
        };
        if subscribers.values().sum::<usize>() >= SUBSCRIBERS_MOST {
            return Err(too_many(SUBSCRIBERS_MOST));
        }
        let count = subscribers.entry(who).or_default();
        if *count >= OF_ONE_MOST {
            return Err(too_many(OF_ONE_MOST));
        }
        *count += 1;
        Ok(Place {
            shared: Arc::clone(&self.0),
            who,
        })
    }
}

/// The place of a subscriber; dropped with its stream.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    who: NodeId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut subscribers = self.shared.subscribers.lock();
        if let Some(count) = subscribers.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                subscribers.remove(&self.who);
            }
        }
    }
}

impl Directory for Listing {
    async fn follow(
        &self,
        ctx: &Context,
        question: Question,
    ) -> Result<Streaming<Told, NotTold>, NotTold> {
        let state = self.0.state.subscribe();
        let (registry, life) = match &*state.borrow() {
            State::Tells { registry, life } => (registry.clone(), *life),
            State::Nothing | State::Leaves => return Err(NotTold::NotNow),
        };
        let silence = silence_of(&question)?;
        let teller = Teller::new(life, question)?;
        let telling = Telling {
            changed: registry.watch(),
            registry,
            state,
            teller,
            beat: silence / 3,
            not_before: Instant::now(),
            has_looked: false,
            is_over: false,
            _place: self.enter(ctx.caller())?,
        };
        let told = stream::unfold(telling, |mut telling| async move {
            let told = telling.next().await?;
            Some((Ok(told), telling))
        });
        Ok(Streaming::from_stream(told))
    }
}

fn silence_of(question: &Question) -> Result<Duration, NotTold> {
    let silence = Duration::from_millis(question.silence_ms);
    if (SILENCE_LEAST..=SILENCE_MOST).contains(&silence) {
        return Ok(silence);
    }
    let why = format!(
        "a silence of {silence:?} was asked for, and it is {SILENCE_LEAST:?} to {SILENCE_MOST:?}"
    );
    Err(NotTold::Senseless { why })
}

/// A stream as it is made.
struct Telling {
    registry: WorkerRegistry,
    changed: watch::Receiver<u64>,
    state: watch::Receiver<State>,
    teller: Teller,
    beat: Duration,
    /// The next round of changes is not before that.
    not_before: Instant,
    has_looked: bool,
    is_over: bool,
    _place: Place,
}

impl Telling {
    async fn next(&mut self) -> Option<Told> {
        if self.is_over {
            return None;
        }
        if self.state.has_changed().unwrap_or(true) || !self.registry.is_current() {
            return Some(self.leave());
        }
        if !std::mem::replace(&mut self.has_looked, true) {
            self.look();
        }
        let beat = tokio::time::sleep(self.beat);
        tokio::pin!(beat);
        loop {
            if let Some(told) = self.teller.next(self.registry.now()) {
                return Some(told);
            }
            let is_behind = Some(*self.changed.borrow_and_update()) != self.teller.since();
            let (changed, not_before) = (&mut self.changed, self.not_before);
            let next_change = async {
                if !is_behind {
                    changed.changed().await?;
                }
                tokio::time::sleep_until(not_before.into()).await;
                Ok::<(), watch::error::RecvError>(())
            };
            tokio::select! {
                _ = self.state.changed() => return Some(self.leave()),
                changed = next_change => match changed {
                    Ok(()) => self.look(),
                    Err(_) => return Some(self.leave()),
                },
                () = &mut beat => return Some(self.teller.caught()),
            }
        }
    }

    fn look(&mut self) {
        let teller = &mut self.teller;
        let instances = self.registry.instances();
        let changes = instances.changes(teller.since(), |service| teller.wants(service));
        teller.take_in(changes);
        self.not_before = Instant::now() + PACE;
    }

    fn leave(&mut self) -> Told {
        self.is_over = true;
        Told::Leaves
    }
}

/// What one subscriber has heard, and what it is to hear: thinks only.
#[derive(Debug)]
pub(crate) struct Teller {
    life: u64,
    services: BTreeSet<String>,
    /// All up to here is told or in the queue.
    revision: Option<u64>,
    /// It was said what follows.
    has_begun: bool,
    /// What is to be told is all there is.
    is_whole: bool,
    /// What is new of each instance.
    queue: BTreeMap<InstanceId, Delta>,
    /// Something was told behind which nothing was said to be all.
    is_open: bool,
}

impl Teller {
    pub(crate) fn new(life: u64, question: Question) -> Result<Self, NotTold> {
        let asked = question.services.len();
        if asked > ASKED_MOST {
            let why =
                format!("{asked} RPC services were asked for, and it is {ASKED_MOST} at most");
            return Err(NotTold::Senseless { why });
        }
        let since = question.since.filter(|point| point.life == life);
        Ok(Self {
            life,
            services: question.services.into_iter().collect(),
            revision: since.map(|point| point.revision),
            has_begun: false,
            is_whole: false,
            queue: BTreeMap::new(),
            is_open: true,
        })
    }

    /// From where on it has to hear.
    pub(crate) fn since(&self) -> Option<u64> {
        self.revision
    }

    pub(crate) fn wants(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }

    /// What changed since then.
    pub(crate) fn take_in(&mut self, changes: Changes) {
        if changes.is_whole {
            // What was to be told is among it.
            self.queue.clear();
            self.is_whole = true;
            self.has_begun = false;
        }
        self.revision = Some(changes.revision);
        self.is_open |= changes.is_whole || !changes.deltas.is_empty();
        let by_id = changes.deltas.into_iter().map(|delta| {
            let id = match &delta {
                Delta::Put(instance) => instance.id.clone(),
                Delta::Gone(id) => id.clone(),
            };
            (id, delta)
        });
        self.queue.extend(by_id);
    }

    /// What is said next; nothing, as long as nothing changes.
    pub(crate) fn next(&mut self, now: Moment) -> Option<Told> {
        if !self.is_open {
            return None;
        }
        if !self.has_begun {
            self.has_begun = true;
            let is_whole = std::mem::take(&mut self.is_whole);
            return Some(Told::Begins { is_whole });
        }
        if self.queue.is_empty() {
            self.is_open = false;
            return Some(self.caught());
        }
        let mut rows = Rows::default();
        for _ in 0..ROWS_MOST {
            let Some((_, delta)) = self.queue.pop_first() else {
                break;
            };
            match delta {
                Delta::Put(instance) => rows.put.push(Row::of(&instance, now)),
                Delta::Gone(id) => rows.gone.push(Id::of(&id)),
            }
        }
        Some(Told::Changes(rows))
    }

    /// All was told up to here.
    pub(crate) fn caught(&self) -> Told {
        Told::Caught(Point {
            life: self.life,
            revision: self.revision.unwrap_or_default(),
        })
    }
}
