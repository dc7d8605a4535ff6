//! Adapting: knobs that this node turns by itself, by what it measures of itself and within what people decided.
//!
//! | file | what it holds | kind |
//! | --- | --- | --- |
//! | `gauges.rs` | from counters that only rise to signals | decides |
//! | `tuner.rs` | the knobs of this node, what they were told last, and what they did lately | decides, and a thin actor |
//! | `report.rs` | how they stand, as other nodes are told | decides |
//! | `turning.rs` | measures every two seconds, asks the tuner, and has values obeyed | acts |
//!
//! Which knobs there are, and their laws, is `convoke_planner::knobs`. Here is which of them something obeys:
//!
//! | knob | obeyed by |
//! | --- | --- |
//! | `gossip-pace` | gossip: how long news waits for company |
//! | `snapshot-streams` | the log: how many listeners are brought up to date at once |
//! | `executor-slots`, `cache-bytes`, `fetch-streams` | nothing yet: what they would turn is not built |
//!
//! Deliberately not here: laws, and roles. What a node adapted to is not kept over a start, as it may be gone.

mod gauges;
mod report;
mod tuner;
mod turning;

use convoke_planner::knobs::Knob;
use convoke_web::model::Adaptation;

pub(crate) use self::tuner::Tuner;
pub(crate) use self::turning::Turning;
use crate::parts::Parts;

/// How the knobs of this node stand; nothing while nothing turns them.
pub(crate) fn report(parts: &Parts) -> Option<Adaptation> {
    let tuner = parts.tuner.get()?;
    let keeps_log = parts.log.get().is_some();
    Some(report::of(parts.me(), &tuner.tell(), |knob| match knob {
        Knob::GossipPace => true,
        Knob::SnapshotStreams => keeps_log,
        Knob::ExecutorSlots | Knob::CacheBytes | Knob::FetchStreams => false,
    }))
}

/// What this node's own configuration says about adapting. It makes it more careful than the cluster asks for, and never less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// As the cluster decided.
    #[default]
    On,
    /// It says what it would turn, and turns nothing.
    DryRun,
    /// It turns nothing by itself.
    Frozen,
}
