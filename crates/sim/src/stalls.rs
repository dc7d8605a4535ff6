//! Letters that cannot get through for now: where they wait, and when their sender is told.
//!
//! A stall is one way from host to host. While it stands, every further letter on this way waits behind the others, so
//! the order holds. It ends in one of two ways: something gets through and all follow, or the sender gets one
//! `Unreachable` and everything that waited is gone.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::actor::Place;

/// A blocked way is tried again after this, twice this, and so on.
const FIRST_PAUSE: u64 = 100_000_000;
const LONGEST_PAUSE: u64 = 1_000_000_000;

/// All ways on which letters wait.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    ways: BTreeMap<(Place, Place), Stall>,
}

/// One way on which letters wait.
#[derive(Debug)]
pub(crate) struct Stall {
    /// Since when.
    pub(crate) since: u64,
    /// For which life of the receiver the letters are.
    pub(crate) to_life: u32,
    /// In order.
    pub(crate) letters: VecDeque<Bytes>,
    /// Whether something was lost for good, so that nothing may follow it.
    pub(crate) hopeless: bool,
    /// The number of the event that tries again.
    pub(crate) number: u64,
    pause: u64,
}

impl Stall {
    pub(crate) fn new(since: u64, to_life: u32) -> Self {
        Self {
            since,
            to_life,
            letters: VecDeque::new(),
            hopeless: false,
            number: 0,
            pause: FIRST_PAUSE,
        }
    }

    /// Lets a letter wait behind the others; beyond `most` all of them are lost.
    pub(crate) fn wait(&mut self, letter: Bytes, most: usize) {
        if self.letters.len() >= most {
            self.give_up();
        }
        if !self.hopeless {
            self.letters.push_back(letter);
        }
    }

    /// Nothing on this way will get through any more.
    pub(crate) fn give_up(&mut self) {
        self.hopeless = true;
        self.letters = VecDeque::new();
    }

    /// When to try again; never later than `last`.
    pub(crate) fn next_try(&mut self, now: u64, last: u64) -> u64 {
        let at = (now + self.pause).min(last);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        at
    }
}

impl Stalls {
    pub(crate) fn get(&mut self, from: Place, to: Place) -> Option<&mut Stall> {
        if self.ways.is_empty() {
            return None;
        }
        self.ways.get_mut(&(from, to))
    }

    pub(crate) fn insert(&mut self, from: Place, to: Place, stall: Stall) {
        self.ways.insert((from, to), stall);
    }

    pub(crate) fn take(&mut self, from: Place, to: Place) -> Option<Stall> {
        self.ways.remove(&(from, to))
    }

    /// A dead host waits for nothing.
    pub(crate) fn forget_sender(&mut self, from: Place) {
        self.ways.retain(|(sender, _), _| *sender != from);
    }
}
