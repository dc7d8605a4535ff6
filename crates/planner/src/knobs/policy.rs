//! What holds for the knobs of a node: what people decided, which outranks every law within the bounds that hold for everybody; and what its role
//! and its machine ask for, which is where a knob is at home.
//!
//! Deliberately not here: where it is decided and kept, and how much a role asks for (`roles::config`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::table::{Knob, Spec};
use crate::roles::config::RoleConfig;

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
    /// Where these are at home, in place of the default of the table; within the bounds of the table.
    pub homes: BTreeMap<Knob, u64>,
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
    /// Knobs are at home where the role of the node and its machine say so, if they say something of them.
    #[must_use]
    pub fn with_homes(mut self, config: &RoleConfig) -> Self {
        let settings = config.settings().into_iter();
        let asked = settings.filter(|setting| setting.most > 0);
        let homes = asked.filter_map(|it| Some((Knob::named(&it.name)?, it.value)));
        self.homes = homes.collect();
        self
    }

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
