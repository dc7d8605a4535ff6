//! What people decided about the knobs. They outrank every law, within the bounds that hold for everybody.
//!
//! Deliberately not here: where it is decided and kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::table::{Knob, Spec};

/// What holds for the knobs of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// No law moves anything, and nothing is returned either.
    pub frozen: bool,
    /// The same for these.
    pub frozen_knobs: BTreeSet<Knob>,
    /// These stand where people want them, also while they are frozen. A knob that is let go again goes on from there.
    pub fixed: BTreeMap<Knob, u64>,
    /// Narrower bounds than those of the table, also for what is fixed; wider ones count as those.
    pub ranges: BTreeMap<Knob, Range>,
    /// It is said what would be moved, and nothing is.
    pub dry_run: bool,
}

/// Bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// No less than this.
    pub least: u64,
    /// No more than this.
    pub most: u64,
}

impl Policy {
    /// No law moves this knob.
    #[must_use]
    pub fn is_frozen(&self, knob: Knob) -> bool {
        self.frozen || self.frozen_knobs.contains(&knob)
    }

    /// The bounds that hold for a knob: those of the table, narrowed. Bounds that stand the wrong way round are the lower one.
    #[must_use]
    pub fn range(&self, spec: &Spec) -> Range {
        let Spec { least, most, .. } = *spec;
        let Some(asked) = self.ranges.get(&spec.knob) else {
            return Range { least, most };
        };
        let least = asked.least.clamp(least, most);
        let most = asked.most.clamp(least, most);
        Range { least, most }
    }
}
