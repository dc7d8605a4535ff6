//! Who waits while nobody has room: few, not for long, and the one whose time is up first goes first.
//!
//! | bound | | what happens beyond |
//! | --- | --- | --- |
//! | [`Params::waiting_most`](crate::Params::waiting_most) | calls that wait | the new one is refused, `Overloaded` |
//! | [`Params::wait_most`](crate::Params::wait_most) | how long | it is refused |
//! | half of the time it has, less what calls take on average | how long | it is refused |
//!
//! The deadline decides the order. With too many calls that alone would let each of them wait until it is nearly late, and be answered just too
//! late, all capacity spent on nothing; so who waited for half of its time is refused while a retry elsewhere still makes sense.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_types::Moment;

use crate::balancer::Call;

/// The calls that wait, by deadline and then in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Place, Waiting>,
    /// Where each is, by its number, for those who no longer want to wait.
    places: BTreeMap<u64, Place>,
    /// When each has waited for as long as it may.
    ends: BTreeSet<(Moment, u64)>,
    next: u64,
}

/// Deadline and number.
type Place = (Moment, u64);

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) call: Call,
    ends: Moment,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A call waits from now on; calls are expected to take so long, and it waits no longer than `most`.
    pub(crate) fn push(
        &mut self,
        now: Moment,
        call: Call,
        expected: Duration,
        most: Duration,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let left = call.deadline.since(now).saturating_sub(expected);
        let ends = now + (left / 2).min(most);
        let place = (call.deadline, number);
        self.places.insert(number, place);
        self.ends.insert((ends, number));
        self.waiting.insert(place, Waiting { call, ends });
        number
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<Waiting> {
        let place = self.places.remove(&number)?;
        let waiting = self.waiting.remove(&place)?;
        self.ends.remove(&(waiting.ends, number));
        Some(waiting)
    }

    /// The first of those behind `after`.
    pub(crate) fn behind(&self, after: Option<Place>) -> Option<(Place, &Waiting)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let mut behind = self.waiting.range((from, Unbounded));
        behind.next().map(|(place, waiting)| (*place, waiting))
    }

    /// Takes out one that has waited for as long as it may.
    pub(crate) fn take_late(&mut self, now: Moment) -> Option<(u64, Waiting)> {
        let (ends, number) = *self.ends.first()?;
        if now < ends {
            return None;
        }
        Some((number, self.take(number)?))
    }

    /// When the next one has waited for as long as it may.
    pub(crate) fn next_late(&self) -> Moment {
        self.ends.first().map_or(Moment::NEVER, |(ends, _)| *ends)
    }
}
