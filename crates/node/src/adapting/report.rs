//! How the knobs of a node stand, as it says so to other nodes.
//!
//! Deliberately not here: the reasoning (`convoke_planner::knobs`).

use convoke_planner::knobs::explain::{Counts, Next};
use convoke_planner::knobs::{Explanation, Knob, Move};
use serde::{Deserialize, Serialize};

use super::tuner::Told;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnobsReport {
    /// Nothing is turned, as people decided.
    pub frozen: bool,
    /// It is said what would be turned, and nothing is.
    pub dry_run: bool,
    /// Each knob.
    pub knobs: Vec<KnobReport>,
    /// What was turned lately, the newest last.
    pub moves: Vec<MoveReport>,
}

/// A knob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnobReport {
    /// Its name.
    pub name: String,
    /// In what it is counted.
    pub unit: String,
    /// Where it stands.
    pub value: u64,
    /// Where it stands when nothing presses.
    pub default: u64,
    /// It stands no lower, …
    pub least: u64,
    /// … and no higher.
    pub most: u64,
    /// Something on this node obeys it.
    pub is_obeyed: bool,
    /// No law turns it.
    pub is_frozen: bool,
    /// People hold it where it stands.
    pub is_fixed: bool,
    /// Its law, in a sentence.
    pub law: String,
    /// What it looks at.
    pub signals: Vec<SignalReport>,
    /// Where it is turned now; nothing while it stays.
    pub becomes: Option<u64>,
    /// Why it is turned, or why it stays.
    pub why: String,
    /// What would change that.
    pub to_change: Option<String>,
    /// All of it as text.
    pub text: String,
}

/// A signal as a knob sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalReport {
    /// Its name.
    pub name: String,
    /// In what it is counted.
    pub unit: String,
    /// What it is now, if that is known.
    pub now: Option<u64>,
    /// Its average of late, in thousandths, if it was known for long enough.
    pub average_milli: Option<u64>,
    /// How it goes, in thousandths a second.
    pub rises_milli: Option<i64>,
    /// Below there is room, for a load.
    pub room_below: Option<u64>,
    /// Above it is too much, for a load.
    pub too_much_above: Option<u64>,
    /// From here on it asks for more.
    pub wants_more_from: Option<u64>,
}

/// A knob was turned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveReport {
    /// When, by the node's own clock.
    pub unix_ms: u64,
    /// Which one.
    pub knob: String,
    /// Where it stood.
    pub from: u64,
    /// Where it stands from then on.
    pub to: u64,
    /// It was only said.
    pub dry_run: bool,
    /// All of it in a sentence.
    pub text: String,
}

impl KnobsReport {
    /// Of a node on which something obeys these knobs.
    pub(crate) fn of(told: &Told, obeys: impl Fn(Knob) -> bool) -> Self {
        let knobs = told.knobs.iter().map(|explained| {
            let mut knob = knob(explained, obeys(explained.knob));
            knob.is_frozen = told.policy.is_frozen(explained.knob);
            knob.is_fixed = told.policy.fixed.contains_key(&explained.knob);
            knob
        });
        Self {
            frozen: told.policy.frozen,
            dry_run: told.policy.dry_run,
            knobs: knobs.collect(),
            moves: told.moves.iter().map(turned).collect(),
        }
    }
}

fn knob(explained: &Explanation, is_obeyed: bool) -> KnobReport {
    let (becomes, why, to_change) = match &explained.next {
        Next::Move { to, why } => (Some(*to), explained.unit.reason(why), None),
        Next::Hold(hold) => (None, hold.to_string(), Some(hold.remedy())),
    };
    let mut text = explained.to_string();
    if !is_obeyed {
        text.push_str("\n  nothing on this node obeys it");
    }
    KnobReport {
        name: explained.knob.to_string(),
        unit: explained.unit.name().to_owned(),
        value: explained.value,
        default: explained.default,
        least: explained.range.least,
        most: explained.range.most,
        is_obeyed,
        is_frozen: false,
        is_fixed: false,
        law: explained.law.to_owned(),
        signals: explained.signals.iter().map(signal).collect(),
        becomes,
        why,
        to_change,
        text,
    }
}

fn signal(seen: &convoke_planner::knobs::explain::Seen) -> SignalReport {
    let (mut room_below, mut too_much_above, mut wants_more_from) = (None, None, None);
    match seen.counts {
        Counts::Load { low, high } => (room_below, too_much_above) = (Some(low), Some(high)),
        Counts::Want { least } => wants_more_from = Some(least),
    }
    SignalReport {
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

fn turned(done: &Move) -> MoveReport {
    MoveReport {
        unix_ms: done.at.unix_ms(),
        knob: done.knob.to_string(),
        from: done.from,
        to: done.to,
        dry_run: done.is_dry,
        text: done.to_string(),
    }
}
