//! An ordered set that can be frozen in no time, because what is frozen and what goes on share all that has not changed since.
//!
//! Members stand in order in shards of at most [`MOST`]. A clone shares the shards; whoever then changes a member first copies the one
//! shard it stands in, which is pointers, and the member itself. So a snapshot of a million keys costs some thousand pointers at
//! the start, and every shard that changes while it is written costs some hundred more, once.
//!
//! Deliberately not here: what the members are.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// Members of a shard at most. More makes copying dearer, fewer makes freezing dearer.
const MOST: usize = 256;
/// Two neighbours that together have so few become one.
const FEW: usize = MOST / 2;

/// What can stand in order.
pub(crate) trait Keyed {
    /// What it is ordered by.
    type Key: Ord + ?Sized;

    /// What it is ordered by; never changes.
    fn key(&self) -> &Self::Key;
}

/// Members in order.
pub(crate) struct Shards<T> {
    /// None is empty.
    shards: Vec<Arc<Vec<Arc<T>>>>,
    len: usize,
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Clone for Shards<T> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
            len: self.len,
        }
    }
}

impl<T> fmt::Debug for Shards<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (members, shards) = (self.len, self.shards.len());
        write!(f, "Shards({members} members in {shards} shards)")
    }
}

impl<T: Keyed> Shards<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &T::Key) -> Option<&Arc<T>> {
        let shard = self.shards.get(self.shard_of(key))?;
        let at = find(shard, key).ok()?;
        Some(&shard[at])
    }

    /// The member itself, to be changed; its key stays.
    pub(crate) fn get_mut(&mut self, key: &T::Key) -> Option<&mut T>
    where
        T: Clone,
    {
        let number = self.shard_of(key);
        let shard = self.shards.get_mut(number)?;
        let at = find(shard, key).ok()?;
        Some(Arc::make_mut(&mut Arc::make_mut(shard)[at]))
    }

    /// Takes in a member and gives back the one that it replaces.
    pub(crate) fn insert(&mut self, member: Arc<T>) -> Option<Arc<T>> {
        let number = self.shard_of(member.key());
        let Some(shard) = self.shards.get_mut(number) else {
            self.shards.push(Arc::new(vec![member]));
            self.len += 1;
            return None;
        };
        let place = find(shard, member.key());
        let members = Arc::make_mut(shard);
        match place {
            Ok(at) => Some(std::mem::replace(&mut members[at], member)),
            Err(at) => {
                members.insert(at, member);
                if members.len() > MOST {
                    // Keys that come in order leave full shards behind, others halves.
                    let is_end = at + 1 == members.len() && number + 1 == self.shards.len();
                    self.split(number, if is_end { MOST } else { MOST / 2 });
                }
                self.len += 1;
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &T::Key) -> Option<Arc<T>> {
        let number = self.shard_of(key);
        let shard = self.shards.get_mut(number)?;
        let at = find(shard, key).ok()?;
        let members = Arc::make_mut(shard);
        let removed = members.remove(at);
        let left = members.len();
        self.len -= 1;
        if left == 0 {
            self.shards.remove(number);
        } else if left <= FEW {
            self.join(number);
        }
        Some(removed)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Members from a key on.
    pub(crate) fn from(&self, bound: Bound<&T::Key>) -> impl Iterator<Item = &Arc<T>> {
        let (number, at) = match bound {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) => self.place(key, |place| place.unwrap_or_else(|at| at)),
            Bound::Excluded(key) => {
                self.place(key, |place| place.map_or_else(|at| at, |at| at + 1))
            }
        };
        let first = self
            .shards
            .get(number)
            .map_or(&[][..], |shard| &shard[at..]);
        let rest = self.shards.get(number + 1..).unwrap_or_default();
        first
            .iter()
            .chain(rest.iter().flat_map(|shard| shard.iter()))
    }

    fn place(
        &self,
        key: &T::Key,
        at: impl FnOnce(Result<usize, usize>) -> usize,
    ) -> (usize, usize) {
        let number = self.shard_of(key);
        let shard = self.shards.get(number);
        (number, shard.map_or(0, |shard| at(find(shard, key))))
    }

    /// The shard in which a key stands or would stand: the last that begins at or before it.
    fn shard_of(&self, key: &T::Key) -> usize {
        let after = self.shards.partition_point(|shard| shard[0].key() <= key);
        after.saturating_sub(1)
    }

    fn split(&mut self, number: usize, at: usize) {
        let members = Arc::make_mut(&mut self.shards[number]);
        let behind = members.split_off(at);
        self.shards.insert(number + 1, Arc::new(behind));
    }

    /// Joins a small shard with a neighbour, if both are small.
    fn join(&mut self, number: usize) {
        let is_small_pair = |first: usize| {
            let pair = self.shards.get(first..first + 2);
            pair.is_some_and(|pair| pair[0].len() + pair[1].len() <= FEW)
        };
        let first = [Some(number), number.checked_sub(1)].into_iter().flatten();
        if let Some(first) = first.into_iter().find(|first| is_small_pair(*first)) {
            let behind = self.shards.remove(first + 1);
            Arc::make_mut(&mut self.shards[first]).extend(behind.iter().cloned());
        }
    }
}

impl<T: Keyed> FromIterator<T> for Shards<T> {
    fn from_iter<I: IntoIterator<Item = T>>(members: I) -> Self {
        let mut shards = Self::default();
        for member in members {
            shards.insert(Arc::new(member));
        }
        shards
    }
}

fn find<T: Keyed>(shard: &[Arc<T>], key: &T::Key) -> Result<usize, usize> {
    shard.binary_search_by(|member| member.key().cmp(key))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Member(u16, u32);

    impl Keyed for Member {
        type Key = u16;

        fn key(&self) -> &u16 {
            &self.0
        }
    }

    fn pairs<'a>(members: impl Iterator<Item = &'a Arc<Member>>) -> Vec<(u16, u32)> {
        members.map(|member| (member.0, member.1)).collect()
    }

    fn is_in_shape(shards: &Shards<Member>) -> bool {
        let sizes = || shards.shards.iter().map(|shard| shard.len());
        sizes().all(|size| (1..=MOST).contains(&size)) && sizes().sum::<usize>() == shards.len
    }

    #[derive(Debug, Clone)]
    enum Act {
        Insert(u16, u32),
        Remove(u16),
        Change(u16, u32),
        Freeze,
        Run(u16, u16),
        Clear(u16, u16),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => (0..2_000_u16, any::<u32>()).prop_map(|(key, value)| Act::Insert(key, value)),
            2 => (0..2_000_u16).prop_map(Act::Remove),
            2 => (0..2_000_u16, any::<u32>()).prop_map(|(key, value)| Act::Change(key, value)),
            1 => Just(Act::Freeze),
            1 => (0..2_000_u16, 1..900_u16).prop_map(|(from, many)| Act::Run(from, many)),
            1 => (0..2_000_u16, 1..900_u16).prop_map(|(from, many)| Act::Clear(from, many)),
        ];
        proptest::collection::vec(act, 1..60)
    }

    proptest! {
        #[test]
        fn shards_are_an_ordered_map_and_what_is_frozen_stays(acts in acts(), from in 0..2_100_u16) {
            let mut shards = Shards::default();
            let mut model = BTreeMap::new();
            let mut frozen: Vec<(Shards<Member>, BTreeMap<u16, u32>)> = Vec::new();
            for act in acts {
                match act {
                    Act::Insert(key, value) => {
                        let before = shards.insert(Arc::new(Member(key, value)));
                        prop_assert_eq!(before.map(|m| m.1), model.insert(key, value));
                    }
                    Act::Remove(key) => {
                        prop_assert_eq!(shards.remove(&key).map(|m| m.1), model.remove(&key));
                    }
                    Act::Change(key, value) => {
                        let held = shards.get_mut(&key);
                        prop_assert_eq!(held.is_some(), model.contains_key(&key));
                        if let Some(held) = held {
                            held.1 = value;
                            model.insert(key, value);
                        }
                    }
                    Act::Freeze => frozen.push((shards.clone(), model.clone())),
                    Act::Run(from, many) => for key in from..from.saturating_add(many) {
                        shards.insert(Arc::new(Member(key, 7)));
                        model.insert(key, 7);
                    },
                    Act::Clear(from, many) => for key in from..from.saturating_add(many) {
                        shards.remove(&key);
                        model.remove(&key);
                    },
                }
                prop_assert!(is_in_shape(&shards), "{:?}", shards);
            }
            frozen.push((shards, model));
            for (shards, model) in frozen {
                prop_assert_eq!(shards.len(), model.len());
                let all: Vec<(u16, u32)> = model.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(pairs(shards.iter()), all);
                let tail = |bound| model.range((bound, Bound::Unbounded)).map(|(k, v)| (*k, *v)).collect::<Vec<_>>();
                prop_assert_eq!(pairs(shards.from(Bound::Included(&from))), tail(Bound::Included(from)));
                prop_assert_eq!(pairs(shards.from(Bound::Excluded(&from))), tail(Bound::Excluded(from)));
                prop_assert_eq!(shards.get(&from).map(|m| m.1), model.get(&from).copied());
            }
        }
    }

    #[test]
    fn keys_in_order_fill_their_shards() {
        let shards: Shards<Member> = (0..10_000).map(|key| Member(key, 0)).collect();
        assert_eq!(shards.shards.len(), 10_000_usize.div_ceil(MOST));
    }

    #[test]
    fn a_change_copies_one_shard_of_what_is_frozen() {
        let mut shards: Shards<Member> = (0..10_000).map(|key| Member(key, 0)).collect();
        let frozen = shards.clone();
        shards.get_mut(&5_000).expect("it is there").1 = 1;
        let pairs = shards.shards.iter().zip(&frozen.shards);
        assert_eq!(pairs.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 1);
    }
}
