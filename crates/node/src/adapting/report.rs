//! How the knobs of a node stand, as it says so to other nodes and to people.
//!
//! Deliberately not here: the reasoning (`convoke_planner::knobs`).

use convoke_planner::knobs::explain::{Counts, Next};
use convoke_planner::knobs::{Explanation, Knob, Move};
use convoke_types::NodeId;
use convoke_web::model::{self, Adaptation, KnobMove, KnobSignal};

use super::tuner::Told;

/// All of it, of a node on which something obeys these knobs.
pub(super) fn of(node: NodeId, told: &Told, obeys: impl Fn(Knob) -> bool) -> Adaptation {
    let knobs = told.knobs.iter().map(|explained| {
        let mut knob = knob(explained, obeys(explained.knob));
        knob.frozen = told.policy.is_frozen(explained.knob);
        knob.fixed = told.policy.fixed.contains_key(&explained.knob);
        knob
    });
    Adaptation {
        id: node.to_string(),
        frozen: told.policy.frozen,
        dry_run: told.policy.dry_run,
        knobs: knobs.collect(),
        moves: told.moves.iter().map(turned).collect(),
    }
}

fn knob(explained: &Explanation, is_obeyed: bool) -> model::Knob {
    let (becomes, why, to_change) = match &explained.next {
        Next::Move { to, why } => (Some(*to), explained.unit.reason(why), None),
        Next::Hold(hold) => (None, hold.to_string(), Some(hold.remedy())),
    };
    let mut text = explained.to_string();
    if !is_obeyed {
        text.push_str("\n  nothing on this node obeys it");
    }
    model::Knob {
        name: explained.knob.to_string(),
        unit: explained.unit.name().to_owned(),
        value: explained.value,
        default: explained.default,
        least: explained.range.least,
        most: explained.range.most,
        obeyed: is_obeyed,
        frozen: false,
        fixed: false,
        law: explained.law.to_owned(),
        signals: explained.signals.iter().map(signal).collect(),
        becomes,
        why,
        to_change,
        text,
    }
}

fn signal(seen: &convoke_planner::knobs::explain::Seen) -> KnobSignal {
    let (mut room_below, mut too_much_above, mut wants_more_from) = (None, None, None);
    match seen.counts {
        Counts::Load { low, high } => (room_below, too_much_above) = (Some(low), Some(high)),
        Counts::Want { least } => wants_more_from = Some(least),
    }
    KnobSignal {
        name: seen.signal.to_string(),
        unit: seen.signal.unit().name().to_owned(),
        now: seen.now,
        average_milli: seen.level.map(|level| level.average),
        rises_milli: seen.level.map(|level| level.per_second),
        room_below,
        too_much_above,
        wants_more_from,
    }
}

fn turned(done: &Move) -> KnobMove {
    KnobMove {
        unix_ms: done.at.unix_ms(),
        knob: done.knob.to_string(),
        from: done.from,
        to: done.to,
        dry_run: done.is_dry,
        text: done.to_string(),
    }
}
