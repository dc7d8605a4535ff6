//! What goes wrong, and when, as data: schedules of faults can be drawn, printed, shortened and replayed.
//!
//! A [`Fault`] that takes something away is undone by another one later; [`What`] says which. Nothing heals by
//! itself except a pause.

use std::time::Duration;

use crate::actor::Place;
use crate::network::Loss;

/// Something that happens to the world at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When, since the beginning of the world.
    pub at: Duration,
    /// What.
    pub what: What,
}

impl Fault {
    /// A fault.
    pub const fn new(at: Duration, what: What) -> Self {
        Self { at, what }
    }
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The process ends at once: its memory and what was not synced are gone, its links break.
    Kill(Place),
    /// A dead host starts; one that lives is left alone. Its clock shows something new.
    Start {
        /// Which.
        place: Place,
        /// What it finds on its disk.
        disk: DiskAt,
        /// Where it lives from now on.
        address: AddressAt,
    },
    /// The process stops running for a while, as under a debugger or a starved hypervisor. What arrives waits in a
    /// buffer of [`PAUSE_BUFFER`] packets and the rest is dropped; at the end all of it is handed over in a scrambled
    /// order with the timers somewhere in between (letters of one sender stay in order).
    Pause {
        /// Which.
        place: Place,
        /// For how long.
        lasts: Duration,
    },
    /// The host's clock runs so many millionths too fast, or too slow when negative. 0 undoes it; what it gained stays.
    Drift {
        /// Which.
        place: Place,
        /// At most half a million either way.
        ppm: i32,
    },
    /// The host's clock leaps forward, as after a suspension.
    Jump {
        /// Which.
        place: Place,
        /// How far.
        forward: Duration,
    },
    /// Nothing gets through from one host to another; the other way is untouched. Undone by `Mend`.
    Cut {
        /// From here.
        from: Place,
        /// To here.
        to: Place,
    },
    /// Undoes a `Cut`.
    Mend {
        /// From here.
        from: Place,
        /// To here.
        to: Place,
    },
    /// Only hosts of the same group reach each other; those in no group form one of their own. Replaces the last
    /// partition; no groups at all undo it.
    Partition {
        /// The groups.
        groups: Vec<Vec<Place>>,
    },
    /// Two sets of hosts do not reach each other, while everybody else reaches both: a partial partition. Replaces
    /// the last one; an empty side undoes it.
    Split {
        /// One side.
        left: Vec<Place>,
        /// The other.
        right: Vec<Place>,
    },
    /// Packets are lost there, beside what the network loses. `Loss::None` undoes it. To make a host deaf or mute
    /// altogether, a `Flap` is better: links notice what is blocked, and take lost packets for bad luck.
    Loss {
        /// Where.
        whom: Whom,
        /// How many.
        loss: Loss,
    },
    /// Nothing gets through there for `down`, then everything for `up`, and so on. With `up` of zero nothing gets
    /// through at all; `down` of zero undoes it.
    Flap {
        /// Where.
        whom: Whom,
        /// How long nothing gets through; it begins with this.
        down: Duration,
        /// How long everything does.
        up: Duration,
    },
    /// Undoes everything that was done to the network: cuts, partitions, splits, losses and flaps.
    Heal,
}

/// What a start finds on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskAt {
    /// What was synced.
    Kept,
    /// Nothing.
    Lost,
}

/// Where a host lives after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressAt {
    /// Where it lived before.
    Same,
    /// Where nobody lived before.
    New,
}

/// Which packets a fault of the network meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// All.
    Everyone,
    /// Those that come out of this host.
    OutOf(Place),
    /// Those that go to this host.
    Into(Place),
    /// Those that go from one host to another, one way.
    Between(Place, Place),
}

/// How many packets a paused host's buffer holds.
pub const PAUSE_BUFFER: usize = 2_000;
