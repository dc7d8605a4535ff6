//! What changes when a node reads its configuration again: what it takes while it runs, and what waits for a start.

use serde::Serialize;

use super::Loaded;
use super::table::{Reload, SETTINGS};

/// One setting that holds something else now. Secrets are masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which.
    pub key: &'static str,
    /// What it held.
    pub from: String,
    /// What it holds.
    pub to: String,
    /// Why a running node cannot take it; `None` when it can.
    pub why: Option<&'static str>,
}

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// What a running node takes.
    pub live: Vec<Change>,
    /// What it takes when it is started again.
    pub needs_restart: Vec<Change>,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares what a node runs with and what was read now. The same value from elsewhere is no change.
#[must_use]
pub fn changes(old: &Loaded, new: &Loaded) -> Changes {
    let mut changes = Changes::default();
    for setting in SETTINGS {
        let (from, to) = (old.get(setting.key), new.get(setting.key));
        if from.value == to.value {
            continue;
        }
        let why = match setting.reload {
            Reload::Live => None,
            Reload::Restart(why) => Some(why),
        };
        let change = Change {
            key: setting.key,
            from: from.shown(),
            to: to.shown(),
            why,
        };
        match why {
            None => changes.live.push(change),
            Some(_) => changes.needs_restart.push(change),
        }
    }
    changes
}
