//! What is wrong with the network right now: the standing faults, and whether a packet gets past them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::actor::Place;
use crate::fault::Whom;
use crate::nanos;
use crate::network::Loss;
use crate::random::Random;

/// The standing faults of the network. While there are none, asking costs one comparison.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    blocked_somewhere: bool,
    groups: Option<Vec<u32>>,
    split: Option<(BTreeSet<Place>, BTreeSet<Place>)>,
    cuts: BTreeSet<(Place, Place)>,
    flaps: BTreeMap<Whom, Flap>,
    losses: BTreeMap<Whom, Losing>,
}

#[derive(Debug)]
struct Flap {
    since: u64,
    down: u64,
    up: u64,
}

#[derive(Debug)]
struct Losing {
    loss: Loss,
    in_burst: bool,
}

impl Weather {
    pub(crate) fn cut(&mut self, from: Place, to: Place) {
        self.cuts.insert((from, to));
        self.look();
    }

    pub(crate) fn mend(&mut self, from: Place, to: Place) {
        self.cuts.remove(&(from, to));
        self.look();
    }

    /// Hosts in no group share number 0.
    pub(crate) fn partition(&mut self, groups: &[Vec<Place>], hosts: usize) {
        let mut numbers = vec![0; hosts];
        for (number, group) in (1..).zip(groups) {
            for place in group {
                if let Some(own) = numbers.get_mut(place.index()) {
                    *own = number;
                }
            }
        }
        self.groups = (!groups.is_empty()).then_some(numbers);
        self.look();
    }

    pub(crate) fn split(&mut self, left: &[Place], right: &[Place]) {
        let both = !left.is_empty() && !right.is_empty();
        let set = |side: &[Place]| side.iter().copied().collect();
        self.split = both.then(|| (set(left), set(right)));
        self.look();
    }

    pub(crate) fn flap(&mut self, since: u64, whom: Whom, down: Duration, up: Duration) {
        let (down, up) = (nanos(down), nanos(up));
        if down == 0 {
            self.flaps.remove(&whom);
        } else {
            self.flaps.insert(whom, Flap { since, down, up });
        }
        self.look();
    }

    pub(crate) fn lose(&mut self, whom: Whom, loss: Loss) {
        if loss == Loss::None {
            self.losses.remove(&whom);
        } else {
            let in_burst = false;
            self.losses.insert(whom, Losing { loss, in_burst });
        }
    }

    pub(crate) fn heal(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing at all gets from one to the other now.
    #[inline]
    pub(crate) fn blocks(&self, now: u64, from: Place, to: Place) -> bool {
        self.blocked_somewhere && self.blocks_somehow(now, from, to)
    }

    /// Whether this packet is lost on the way. Every loss that meets it is asked, so that bursts go on.
    #[inline]
    pub(crate) fn loses(&mut self, from: Place, to: Place, random: &mut Random) -> bool {
        if self.losses.is_empty() {
            return false;
        }
        let mut lost = false;
        for whom in meeting(from, to) {
            if let Some(losing) = self.losses.get_mut(&whom) {
                lost |= losing.loss.strikes(&mut losing.in_burst, random);
            }
        }
        lost
    }

    /// Whether nothing is blocked anywhere, so that everybody reaches everybody.
    pub(crate) fn is_open(&self) -> bool {
        !self.blocked_somewhere
    }

    fn blocks_somehow(&self, now: u64, from: Place, to: Place) -> bool {
        let apart = |groups: &Vec<u32>| groups[from.index()] != groups[to.index()];
        let torn = |(left, right): &(BTreeSet<Place>, BTreeSet<Place>)| {
            left.contains(&from) && right.contains(&to)
                || left.contains(&to) && right.contains(&from)
        };
        self.groups.as_ref().is_some_and(apart)
            || self.split.as_ref().is_some_and(torn)
            || self.cuts.contains(&(from, to))
            || self.flaps_down(now, from, to)
    }

    fn flaps_down(&self, now: u64, from: Place, to: Place) -> bool {
        let is_down = |flap: &Flap| (now - flap.since) % (flap.down + flap.up).max(1) < flap.down;
        !self.flaps.is_empty()
            && meeting(from, to)
                .iter()
                .any(|whom| self.flaps.get(whom).is_some_and(is_down))
    }

    fn look(&mut self) {
        self.blocked_somewhere = self.groups.is_some()
            || self.split.is_some()
            || !self.cuts.is_empty()
            || !self.flaps.is_empty();
    }
}

fn meeting(from: Place, to: Place) -> [Whom; 4] {
    [
        Whom::Everyone,
        Whom::OutOf(from),
        Whom::Into(to),
        Whom::Between(from, to),
    ]
}
