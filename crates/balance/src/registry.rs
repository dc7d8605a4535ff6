//! All instances that are known, what changed since when, and who a selector chooses.
//!
//! Every change has a revision. A [`View`] follows one RPC service and one selector: it looks at what changed and at nothing else, so with a
//! thousand instances of which a hundred change in a second it evaluates its selector a hundred times in that second.
//!
//! | bound | | what happens beyond |
//! | --- | --- | --- |
//! | [`Registry::MOST`] | instances | a new one is refused, [`Full`]; those that are known go on being updated |
//! | [`Registry::CHANGES`] | changes that are remembered | whoever is further behind gets all instances anew |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use convoke_types::Selector;

use crate::instance::{Health, Instance, InstanceId, Load};

/// What somebody says of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// It is there, and is this.
    Upsert(Instance),
    /// It is no longer there.
    Remove(InstanceId),
    /// How it is. Of an instance that is not known it means nothing.
    Health(InstanceId, Health),
    /// What it says of its load. Of an instance that is not known it means nothing.
    Load(InstanceId, Load),
}

/// What changed for whoever follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// It is there, and is this.
    Put(Arc<Instance>),
    /// It is no longer there, or no longer chosen.
    Gone(InstanceId),
}

/// There are as many instances as are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {} instances are kept", Registry::MOST)
    }
}

impl std::error::Error for Full {}

/// All that changed since a revision, for whoever keeps what is known elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Up to here.
    pub revision: u64,
    /// These are all there are, and what is not among them is not there: what changed is not remembered any more.
    pub is_whole: bool,
    /// One for each instance at most, in the order of their ids.
    pub deltas: Vec<Delta>,
}

/// What has changed since a revision.
#[derive(Debug, Clone, Copy)]
enum Since<'a> {
    /// These ids, in order; one may be there twice.
    Changed(&'a VecDeque<Change>, usize),
    /// It is not remembered any more: look at all.
    TooLong,
}

/// A change: which instance, and of which RPC service. One that moves to another service is removed first.
#[derive(Debug, Clone)]
struct Change {
    id: InstanceId,
    service: Arc<str>,
}

/// All instances.
#[derive(Debug, Default)]
pub struct Registry {
    instances: BTreeMap<InstanceId, Arc<Instance>>,
    by_service: BTreeMap<Arc<str>, BTreeSet<InstanceId>>,
    /// How many changes there were.
    revision: u64,
    /// The last of them.
    changes: VecDeque<Change>,
}

impl Registry {
    /// How many instances are kept.
    pub const MOST: usize = 16_384;
    /// How many changes are remembered: at a thousand instances of which a tenth changes in a second, those of 40 s.
    pub const CHANGES: usize = 4_096;

    /// Without instances.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what somebody says. What says nothing new is no change.
    ///
    /// # Errors
    /// It is about an instance that would be one too many.
    pub fn apply(&mut self, update: Update) -> Result<(), Full> {
        match update {
            Update::Upsert(instance) => self.upsert(instance),
            Update::Remove(id) => {
                self.remove(&id);
                Ok(())
            }
            Update::Health(id, health) => {
                self.change(&id, |instance| instance.health = health);
                Ok(())
            }
            Update::Load(id, load) => {
                self.change(&id, |instance| instance.load = Some(load));
                Ok(())
            }
        }
    }

    /// The number of the last change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is known of an instance.
    #[must_use]
    pub fn get(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.instances.get(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// All RPC services of which there is an instance, in order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.by_service.keys().map(|service| &**service)
    }

    /// The instances of an RPC service that a selector chooses, in the order of their ids, however they are.
    pub fn select(
        &self,
        service: &str,
        selector: &Selector,
    ) -> impl Iterator<Item = &Arc<Instance>> {
        let ids = self.by_service.get(service).into_iter().flatten();
        ids.filter_map(|id| self.instances.get(id))
            .filter(|instance| selector.matches(&instance.tags))
    }

    /// What changed since this revision about services of interest; all there are, if nobody says since when or it was too long ago.
    #[must_use]
    pub fn changes(&self, since: Option<u64>, is_of_interest: impl Fn(&str) -> bool) -> Changes {
        let since = since.map_or(Since::TooLong, |revision| self.since(revision));
        let (is_whole, touched): (bool, BTreeSet<&InstanceId>) = match since {
            Since::Changed(changes, from) => {
                let ours = changes.range(from..);
                let ours = ours.filter(|it| is_of_interest(&it.service));
                (false, ours.map(|change| &change.id).collect())
            }
            Since::TooLong => {
                let services = self.by_service.iter();
                let ours = services.filter(|(service, _)| is_of_interest(service));
                (true, ours.flat_map(|(_, ids)| ids).collect())
            }
        };
        let delta = |id: &InstanceId| match self.instances.get(id) {
            Some(instance) if is_of_interest(&instance.service) => Delta::Put(instance.clone()),
            Some(_) | None => Delta::Gone(id.clone()),
        };
        Changes {
            revision: self.revision,
            is_whole,
            deltas: touched.into_iter().map(delta).collect(),
        }
    }

    /// What changed since this revision.
    fn since(&self, revision: u64) -> Since<'_> {
        let behind = self.revision.saturating_sub(revision);
        match usize::try_from(behind) {
            Ok(behind) if behind <= self.changes.len() => {
                Since::Changed(&self.changes, self.changes.len() - behind)
            }
            _ => Since::TooLong,
        }
    }

    fn upsert(&mut self, instance: Instance) -> Result<(), Full> {
        let id = instance.id.clone();
        match self.instances.get(&id) {
            Some(known) if **known == instance => return Ok(()),
            Some(known) if known.service != instance.service => self.remove(&id),
            Some(_) => {}
            None if self.instances.len() == Self::MOST => return Err(Full),
            None => {}
        }
        let service = instance.service.clone();
        self.by_service
            .entry(service.clone())
            .or_default()
            .insert(id.clone());
        self.instances.insert(id.clone(), Arc::new(instance));
        self.note(id, service);
        Ok(())
    }

    fn remove(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.remove(id) else {
            return;
        };
        if let Some(ids) = self.by_service.get_mut(&instance.service) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_service.remove(&instance.service);
            }
        }
        self.note(id.clone(), instance.service.clone());
    }

    fn change(&mut self, id: &InstanceId, change: impl FnOnce(&mut Instance)) {
        let Some(known) = self.instances.get_mut(id) else {
            return;
        };
        let mut instance = (**known).clone();
        change(&mut instance);
        if instance == **known {
            return;
        }
        let service = instance.service.clone();
        *known = Arc::new(instance);
        self.note(id.clone(), service);
    }

    fn note(&mut self, id: InstanceId, service: Arc<str>) {
        if self.changes.len() == Self::CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(Change { id, service });
        self.revision += 1;
    }
}

/// The instances of one RPC service that one selector chooses, as of a revision.
#[derive(Debug)]
pub struct View {
    service: Arc<str>,
    selector: Selector,
    /// `None` before the first look.
    revision: Option<u64>,
    chosen: BTreeMap<InstanceId, Arc<Instance>>,
}

impl View {
    /// Of nothing yet; [`View::follow`] fills it.
    #[must_use]
    pub fn new(service: &str, selector: Selector) -> Self {
        Self {
            service: service.into(),
            selector,
            revision: None,
            chosen: BTreeMap::new(),
        }
    }

    /// Catches up with the registry; what came of it, one delta for each instance at most.
    pub fn follow(&mut self, registry: &Registry) -> Vec<Delta> {
        let since = match self.revision {
            Some(revision) => registry.since(revision),
            None => Since::TooLong,
        };
        let touched: BTreeSet<InstanceId> = match since {
            Since::Changed(changes, from) => {
                let ours = changes
                    .range(from..)
                    .filter(|it| it.service == self.service);
                ours.map(|change| change.id.clone()).collect()
            }
            Since::TooLong => {
                let all = registry.by_service.get(&self.service).into_iter().flatten();
                all.chain(self.chosen.keys()).cloned().collect()
            }
        };
        self.revision = Some(registry.revision);
        touched
            .into_iter()
            .filter_map(|id| self.look_at(registry, id))
            .collect()
    }

    /// Those that are chosen, in the order of their ids.
    pub fn chosen(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.chosen.values()
    }

    fn look_at(&mut self, registry: &Registry, id: InstanceId) -> Option<Delta> {
        let found = registry.get(&id).filter(|instance| {
            instance.service == self.service && self.selector.matches(&instance.tags)
        });
        match found {
            Some(instance) => {
                let before = self.chosen.insert(id, instance.clone());
                (before.as_ref() != Some(instance)).then(|| Delta::Put(instance.clone()))
            }
            None => {
                self.chosen.remove(&id)?;
                Some(Delta::Gone(id))
            }
        }
    }
}
