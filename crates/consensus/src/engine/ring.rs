//! The last changes, for those who watch.
//!
//! Deliberately not here: waiting for changes, which is the handle's.

use std::collections::VecDeque;

use convoke_decided::Changed;
use convoke_types::wire::store::Revision;

/// Changes kept at most; the oldest go first.
const CHANGES: usize = 100_000;
/// What they may cost together.
const BYTES: u64 = 64 << 20;

/// All changes after some revision, up to now.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The change before the first that is kept.
    base: Revision,
    changes: VecDeque<Changed>,
    bytes: u64,
}

impl Ring {
    /// Nothing since this revision.
    pub(super) fn from(base: Revision) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, changed: Changed) {
        if changed.revision().0 != self.base.0 + self.changes.len() as u64 + 1 {
            // A recovery left numbers out, and whoever watches has to look at everything anew.
            *self = Self::from(Revision(changed.revision().0 - 1));
        }
        self.bytes += changed.cost_bytes();
        self.changes.push_back(changed);
        while self.changes.len() > CHANGES || self.bytes > BYTES {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= oldest.cost_bytes();
            self.base = oldest.revision();
        }
    }

    /// At most so many changes after a revision; nothing if some of them are gone.
    pub(super) fn after(&self, revision: Revision, most: usize) -> Option<Vec<Changed>> {
        // What is kept has no gap, so the place follows from the number.
        let from = revision.0.checked_sub(self.base.0)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Some(self.changes.iter().skip(from).take(most).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use convoke_decided::{Batch, Decided};
    use convoke_types::wire::store::{Command, KvCommand};
    use convoke_types::{NodeId, Timestamp};

    use super::*;

    /// So many changes of one key.
    fn ring(changes: usize) -> Ring {
        let mut ring = Ring::from(Revision(0));
        let mut decided = Decided::new();
        for _ in 0..changes {
            let mut batch = Batch::new(Timestamp::UNIX_EPOCH, 1);
            let put = KvCommand::Put {
                key: b"k".to_vec(),
                value: Vec::new(),
            };
            batch.push(NodeId::from_public_key([1; 32]), None, Command::Kv(put));
            let applied = decided.apply(1, batch);
            applied.changes.into_iter().for_each(|it| ring.push(it));
        }
        ring
    }

    #[test]
    fn who_missed_changes_that_are_gone_is_told_so() {
        let ring = ring(CHANGES + 3);
        assert!(ring.after(Revision(2), 10).is_none(), "change 3 is gone");
        let first = ring.after(Revision(3), 1).expect("change 4 is kept");
        assert_eq!(first[0].revision(), Revision(4));
        let last = Revision(CHANGES as u64 + 2);
        assert_eq!(ring.after(last, 10).map(|it| it.len()), Some(1));
    }
}
