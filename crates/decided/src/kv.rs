//! Keys and values: put, delete, compare-and-swap, lists, and a limit on the whole.
//!
//! Deliberately not here: old values. A read is of what is now, and whoever wants to see every change watches.

use std::ops::Bound;
use std::sync::Arc;

use convoke_types::wire::store::{
    Change, Done, Expect, Item, KEY_BYTES, KvCommand, Listed, Outcome, PAGE_ITEMS, Page, Range,
    Refusal, Revision, VALUE_BYTES,
};
use serde::{Deserialize, Serialize};

use crate::shards::{Keyed, Shards};

/// What a key costs beside its bytes and those of its value, so that many small ones count as what they are.
const OVERHEAD: u64 = 96;
/// A page of a list ends when it has so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// A key with its value, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    #[serde(with = "serde_bytes")]
    key: Box<[u8]>,
    #[serde(with = "serde_bytes")]
    value: Box<[u8]>,
    created: Revision,
    changed: Revision,
    version: u64,
}

impl Stored {
    fn item(&self) -> Item {
        Item {
            value: self.value.to_vec(),
            ..self.item_without_value()
        }
    }

    fn item_without_value(&self) -> Item {
        Item {
            value: Vec::new(),
            created: self.created,
            changed: self.changed,
            version: self.version,
        }
    }

    fn cost(&self) -> u64 {
        cost(self.key.len(), self.value.len())
    }
}

impl Keyed for Stored {
    type Key = [u8];

    fn key(&self) -> &[u8] {
        &self.key
    }
}

fn cost(key: usize, value: usize) -> u64 {
    key as u64 + value as u64 + OVERHEAD
}

/// A key that was changed by a command. Cheap to keep: it shares the value with the store.
#[derive(Clone, Debug)]
pub struct KeyChanged {
    revision: Revision,
    /// What is there now, or what was there last.
    stored: Arc<Stored>,
    is_gone: bool,
}

impl KeyChanged {
    /// The change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.stored.key
    }

    /// What keeping it costs, if nobody else keeps the value.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        self.stored.cost()
    }

    /// As watchers hear of it.
    #[must_use]
    pub fn to_change(&self) -> Change {
        Change {
            revision: self.revision,
            key: self.stored.key.to_vec(),
            item: (!self.is_gone).then(|| self.stored.item()),
        }
    }
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kv {
    items: Shards<Stored>,
    bytes: u64,
}

impl Kv {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn from(&self, bound: Bound<&[u8]>) -> impl Iterator<Item = &Arc<Stored>> {
        self.items.from(bound)
    }

    /// Takes a stored key back from a snapshot.
    pub(crate) fn restore(&mut self, stored: Arc<Stored>) {
        self.bytes += stored.cost();
        self.items.insert(stored);
    }

    /// Carries out a command; what it changes becomes revision `next`.
    pub(crate) fn apply(
        &mut self,
        command: KvCommand,
        next: Revision,
        limit: u64,
    ) -> (Outcome, Option<KeyChanged>) {
        let result = match command {
            KvCommand::Put { key, value } => {
                let put = self.put(key, value, next, limit);
                put.map(|changed| (Done::Put(next), Some(changed)))
            }
            KvCommand::Delete { key } => {
                let changed = self.delete(&key, next);
                let revision = changed.as_ref().map(|_| next);
                Ok((Done::Deleted(revision), changed))
            }
            KvCommand::Swap { key, expect, value } => self.swap(key, expect, value, next, limit),
        };
        match result {
            Ok((done, changed)) => (Outcome::Done(done), changed),
            Err(refusal) => (Outcome::Refused(refusal), None),
        }
    }

    fn put(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
        revision: Revision,
        limit: u64,
    ) -> Result<KeyChanged, Refusal> {
        check(&key, value.len())?;
        let before = self.items.get(&key);
        let freed = before.map_or(0, |before| before.cost());
        let bytes = self.bytes - freed + cost(key.len(), value.len());
        // Whoever makes something smaller helps, even when there is too much of everything.
        if bytes > limit && bytes > self.bytes {
            return Err(Refusal::Full {
                held: self.bytes,
                limit,
            });
        }
        let stored = Arc::new(Stored {
            created: before.map_or(revision, |before| before.created),
            version: before.map_or(0, |before| before.version) + 1,
            key: key.into_boxed_slice(),
            value: value.into_boxed_slice(),
            changed: revision,
        });
        self.bytes = bytes;
        self.items.insert(Arc::clone(&stored));
        Ok(KeyChanged {
            revision,
            stored,
            is_gone: false,
        })
    }

    fn delete(&mut self, key: &[u8], revision: Revision) -> Option<KeyChanged> {
        let stored = self.items.remove(key)?;
        self.bytes -= stored.cost();
        Some(KeyChanged {
            revision,
            stored,
            is_gone: true,
        })
    }

    fn swap(
        &mut self,
        key: Vec<u8>,
        expect: Expect,
        value: Option<Vec<u8>>,
        revision: Revision,
        limit: u64,
    ) -> Result<(Done, Option<KeyChanged>), Refusal> {
        check(&key, value.as_ref().map_or(0, Vec::len))?;
        let held = self.items.get(&key);
        let is_as_expected = match expect {
            Expect::Absent => held.is_none(),
            Expect::Revision(expected) => held.is_some_and(|held| held.changed == expected),
            Expect::Value(expected) => held.is_some_and(|held| *held.value == *expected),
        };
        if !is_as_expected {
            return Ok((Done::NotSwapped(held.map(|held| held.changed)), None));
        }
        let changed = match value {
            Some(value) => Some(self.put(key, value, revision, limit)?),
            None => self.delete(&key, revision),
        };
        match changed {
            Some(changed) => Ok((Done::Swapped(revision), Some(changed))),
            // It was expected not to be there, and shall not be.
            None => Ok((Done::Deleted(None), None)),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Item> {
        self.items.get(key).map(|held| held.item())
    }

    pub(crate) fn page(&self, range: &Range) -> Page {
        let limit = match range.limit {
            0 => PAGE_ITEMS,
            limit => limit.min(PAGE_ITEMS),
        };
        let bound = if range.after {
            Bound::Excluded(&*range.from)
        } else {
            Bound::Included(&*range.from)
        };
        let mut page = Page::default();
        let mut bytes = 0;
        let inside = self.items.from(bound);
        for stored in inside.take_while(|stored| range.contains(&stored.key)) {
            if page.items.len() == limit as usize || bytes >= PAGE_BYTES {
                page.more = true;
                break;
            }
            let item = if range.keys_only {
                stored.item_without_value()
            } else {
                stored.item()
            };
            bytes += stored.key.len() + item.value.len();
            page.items.push(Listed {
                key: stored.key.to_vec(),
                item,
            });
        }
        page
    }
}

fn check(key: &[u8], value: usize) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if key.len() > KEY_BYTES {
        return Err(Refusal::KeyTooLong {
            found: key.len() as u64,
            limit: KEY_BYTES as u64,
        });
    }
    if value > VALUE_BYTES {
        return Err(Refusal::ValueTooLong {
            found: value as u64,
            limit: VALUE_BYTES as u64,
        });
    }
    Ok(())
}
