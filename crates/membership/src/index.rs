//! Members by handle: found fast, walked in order.
//!
//! Handles are the first bytes of public keys, so they lie evenly between the least and the greatest, and where one stands can be
//! guessed from its value. A guess and a few steps beside it cost less than the descent of a tree, which counts: every unit that
//! comes in asks for two members. Keys that somebody made to begin alike cost more steps, but no more than a tree's.
//!
//! Arrivals and departures move what stands behind them. They are rare, and many at once are put in together.
//!
//! Deliberately not here: what is known of a member.

use std::ops::Range;

use convoke_types::wire::gossip::Handle;

use crate::rings::Slot;

/// Slots in the order of handles.
#[derive(Debug, Default)]
pub(crate) struct Index {
    handles: Vec<Handle>,
    slots: Vec<Slot>,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<Slot> {
        let at = self.find(handle).ok()?;
        Some(self.slots[at])
    }

    /// Enters a member that is not there.
    pub(crate) fn insert(&mut self, handle: Handle, slot: Slot) {
        match self.find(handle) {
            Ok(at) => self.slots[at] = slot,
            Err(at) => {
                self.handles.insert(at, handle);
                self.slots.insert(at, slot);
            }
        }
    }

    /// Enters many members that are not there.
    pub(crate) fn extend(&mut self, members: impl IntoIterator<Item = (Handle, Slot)>) {
        let mut all: Vec<(Handle, Slot)> = self.iter().chain(members).collect();
        all.sort_unstable();
        (self.handles, self.slots) = all.into_iter().unzip();
    }

    pub(crate) fn remove(&mut self, handle: Handle) {
        if let Ok(at) = self.find(handle) {
            self.handles.remove(at);
            self.slots.remove(at);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, Slot)> + '_ {
        self.within(0..self.len())
    }

    /// From a handle on, and around to the beginning.
    pub(crate) fn iter_from(&self, from: Handle) -> impl Iterator<Item = (Handle, Slot)> + '_ {
        let at = self.place(from);
        self.within(at..self.len()).chain(self.within(0..at))
    }

    /// Those between two handles, both included.
    pub(crate) fn between(
        &self,
        first: Handle,
        last: Handle,
    ) -> impl Iterator<Item = (Handle, Slot)> + '_ {
        let end = match self.find(last) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        self.within(self.place(first).min(end)..end)
    }

    fn within(&self, range: Range<usize>) -> impl Iterator<Item = (Handle, Slot)> + '_ {
        let slots = self.slots[range.clone()].iter();
        self.handles[range].iter().copied().zip(slots.copied())
    }

    /// Where a handle stands or would stand.
    fn place(&self, handle: Handle) -> usize {
        self.find(handle).unwrap_or_else(|at| at)
    }

    /// Guesses, then doubles its steps away from the guess until the handle lies in between.
    fn find(&self, handle: Handle) -> Result<usize, usize> {
        let members = self.len();
        let guess = guess(handle, members);
        let mut step = 1;
        let (mut from, mut until);
        if guess < members && self.handles[guess] < handle {
            from = guess + 1;
            while from + step < members && self.handles[from + step] < handle {
                from += step + 1;
                step *= 2;
            }
            until = members.min(from + step + 1);
        } else {
            until = members.min(guess + 1);
            while let Some(at) = until.checked_sub(1 + step)
                && self.handles[at] > handle
            {
                until = at;
                step *= 2;
            }
            from = until.saturating_sub(1 + step);
        }
        let found = self.handles[from..until].binary_search(&handle);
        found.map(|at| from + at).map_err(|at| from + at)
    }
}

/// Where a handle stands if so many lie evenly.
fn guess(handle: Handle, members: usize) -> usize {
    let at = (u128::from(handle.0) * members as u128) >> 64;
    usize::try_from(at).expect("less than the members there are")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mix::mix;

    /// Evenly spread, as keys are; all alike at the beginning, as somebody could make them; and both.
    fn families() -> [Vec<u64>; 4] {
        let even: Vec<u64> = (0..3_000).map(mix).collect();
        let alike: Vec<u64> = (0..3_000).map(|n| (0xabcd << 48) | (n * n)).collect();
        let both = even.iter().chain(&alike).copied().collect();
        [vec![], even, alike, both]
    }

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        for family in families() {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (slot, handle) in family.iter().enumerate() {
                index.insert(Handle(*handle), slot as Slot);
                model.insert(Handle(*handle), slot as Slot);
            }
            for handle in family.iter().step_by(3) {
                index.remove(Handle(*handle));
                model.remove(&Handle(*handle));
            }
            assert_eq!(index.len(), model.len());
            assert!(index.iter().eq(model.iter().map(|(h, s)| (*h, *s))));
            let asked = family
                .iter()
                .flat_map(|h| [*h, h.wrapping_sub(1), h.wrapping_add(1)]);
            for handle in asked.chain([0, u64::MAX]).map(Handle) {
                assert_eq!(index.get(handle), model.get(&handle).copied());
                let from = model.range(handle..).chain(model.range(..handle));
                if handle.0 % 7 == 0 {
                    assert!(index.iter_from(handle).eq(from.map(|(h, s)| (*h, *s))));
                }
            }
        }
    }

    #[test]
    fn many_at_once_are_as_one_after_the_other() {
        let [_, even, alike, _] = families();
        let numbered = |handles: Vec<u64>| handles.into_iter().map(Handle).zip(0..);
        let (mut together, mut singly) = (Index::default(), Index::default());
        for (handle, slot) in numbered(even.clone()).chain(numbered(alike.clone())) {
            singly.insert(handle, slot);
        }
        together.extend(numbered(even));
        together.extend(numbered(alike));
        assert!(together.iter().eq(singly.iter()));
    }

    #[test]
    fn a_part_is_what_lies_between() {
        let [_, even, _, _] = families();
        let mut index = Index::default();
        index.extend(even.iter().copied().map(Handle).zip(0..));
        for bucket in 0..=255_u64 {
            let (first, last) = (bucket << 56, bucket << 56 | (u64::MAX >> 8));
            let wanted = index.iter().filter(|(h, _)| (first..=last).contains(&h.0));
            assert!(index.between(Handle(first), Handle(last)).eq(wanted));
        }
        assert_eq!(index.between(Handle(9), Handle(3)).count(), 0);
    }
}
