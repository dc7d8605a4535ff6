//! What nodes remember of each other's logs, so that a log that was put back to an earlier day does not vote.
//!
//! A restored disk, or a machine that was rolled back, brings a log that is whole and too old: it may have voted and acknowledged what it
//! does not know of any more. Nothing on its own disk says so. Others can: with every answer, and a leader with every append, a node says
//! how far its log has come for sure ([`Mark`]), and whoever hears it remembers the most of it. A node that starts asks the other voters
//! before it votes or stands. Whoever remembers more than it brings says so, and the node is doubtful from then on: it is refilled
//! like any other.
//!
//! - A start has a number, and another one drawn by chance: a restored log may count to the same number once more.
//! - What is told is safe on the disk, so no crash makes a log older than what it told.
//! - A node that starts tells nothing until it was judged: the others would take its word for the newer one, and forget.
//! - It is remembered in memory. So nobody waits for a disk, and a node that was restored while nobody who heard of it has run on since is
//!   not noticed; `docs/design/009-the-log.md` says what follows.
//! - A node that does not answer is waited for a moment only (`keeper`): a healthy cluster votes without it.
//!
//! At most [`REMEMBERED`] voters are remembered; a cluster has a handful.
//!
//! Deliberately not here: asking (`keeper`), and what a doubtful node does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::journal::Journal;
use crate::log::{Mark, VoterId};

/// Voters that are remembered.
const REMEMBERED: usize = 256;

/// What a node says of its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Drawn at its start.
    pub(super) life: u64,
    /// How far its log has come for sure.
    pub(super) mark: Mark,
}

impl Told {
    /// Bytes of it behind an answer.
    pub(super) const SIZE: usize = 32;

    pub(super) fn put(&self, out: &mut BytesMut) {
        let Mark {
            opened,
            term,
            batch,
        } = self.mark;
        for word in [self.life, opened, term, batch] {
            out.put_u64_le(word);
        }
    }

    pub(super) fn take(mut bytes: Bytes) -> Option<Self> {
        Some(Self {
            life: bytes.try_get_u64_le().ok()?,
            mark: Mark {
                opened: bytes.try_get_u64_le().ok()?,
                term: bytes.try_get_u64_le().ok()?,
                batch: bytes.try_get_u64_le().ok()?,
            },
        })
    }
}

/// What a node that starts says before it votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Return {
    pub(super) voter: VoterId,
    pub(super) life: u64,
    /// The number of this start.
    pub(super) opened: u64,
    /// How far its log had come.
    pub(super) found: Mark,
}

/// What others told, and what this node tells.
pub(super) struct Recall {
    life: u64,
    /// Gone when the node has stopped: messages on their way must not keep a log open.
    journal: Weak<dyn Journal>,
    /// Nothing is told before the others have judged this log.
    tells: AtomicBool,
    others: Mutex<BTreeMap<VoterId, Told>>,
}

impl Recall {
    pub(super) fn new(life: u64, journal: &Arc<dyn Journal>, tells: bool) -> Self {
        Self {
            life,
            journal: Arc::downgrade(journal),
            tells: AtomicBool::new(tells),
            others: Mutex::default(),
        }
    }

    /// This log was judged.
    pub(super) fn begin_to_tell(&self) {
        self.tells.store(true, Ordering::Release);
    }

    /// What this node says of its own log: zeros until it was judged.
    pub(super) fn own(&self) -> Told {
        match self.journal.upgrade() {
            Some(journal) if self.tells.load(Ordering::Acquire) => Told {
                life: self.life,
                mark: journal.safe(),
            },
            Some(_) | None => Told::default(),
        }
    }

    /// What this node says at its start.
    pub(super) fn own_return(&self, me: VoterId, journal: &dyn Journal) -> Return {
        Return {
            voter: me,
            life: self.life,
            opened: journal.register().opened,
            found: journal.found(),
        }
    }

    /// Somebody told this.
    pub(super) fn note(&self, voter: VoterId, told: Told) {
        if told == Told::default() {
            return;
        }
        let mut others = self.others.lock();
        let Some(known) = others.get_mut(&voter) else {
            if others.len() < REMEMBERED {
                others.insert(voter, told);
            }
            return;
        };
        if told.life == known.life {
            known.mark = known.mark.max(told.mark);
        } else if told.mark.opened > known.mark.opened {
            *known = told;
        }
        // Anything else is late, or of a log that counts from an earlier day: what is known stays.
    }

    /// Somebody starts. What is known of more than its log brings, if it is; else it is remembered.
    pub(super) fn judge(&self, start: &Return) -> Option<Mark> {
        let known = self.others.lock().get(&start.voter).copied();
        let more = known.filter(|known| knows_more(known, start));
        if more.is_none() {
            let mark = Mark {
                opened: start.opened,
                ..start.found
            };
            let life = start.life;
            self.note(start.voter, Told { life, mark });
        }
        more.map(|known| known.mark)
    }
}

fn knows_more(known: &Told, start: &Return) -> bool {
    let Mark {
        opened,
        term,
        batch,
    } = known.mark;
    if known.life == start.life {
        return false;
    }
    let is_before = opened == start.found.opened;
    opened >= start.opened || is_before && (term > start.found.term || batch > start.found.batch)
}

#[cfg(test)]
mod tests {
    use convoke_types::NodeId;

    use super::*;
    use crate::journal::{Done, JournalError};
    use crate::log::{Entry, LogId, Position, Register, Work};

    const X: VoterId = VoterId {
        node: NodeId::from_public_key([1; 32]),
        log: LogId([1; 16]),
    };

    struct Nothing;

    impl Journal for Nothing {
        fn submit(&self, _: Vec<Work>, done: Done) {
            done(Ok(()));
        }
        fn read(&self, index: u64) -> Result<Entry, JournalError> {
            Err(JournalError::Missing(index))
        }
        fn last(&self) -> Position {
            Position::default()
        }
        fn register(&self) -> Register {
            Register::default()
        }
        fn safe(&self) -> Mark {
            Mark::default()
        }
        fn found(&self) -> Mark {
            Mark::default()
        }
    }

    fn nothing() -> Arc<dyn Journal> {
        Arc::new(Nothing)
    }

    fn mark(opened: u64, term: u64, batch: u64) -> Mark {
        Mark {
            opened,
            term,
            batch,
        }
    }

    fn told(life: u64, mark: Mark) -> Told {
        Told { life, mark }
    }

    /// A start of the log as it was found.
    fn start(life: u64, found: Mark) -> Return {
        Return {
            voter: X,
            life,
            opened: found.opened + 1,
            found,
        }
    }

    fn recall(tells: &[Told]) -> Recall {
        let recall = Recall::new(0, &nothing(), true);
        tells.iter().for_each(|told| recall.note(X, *told));
        recall
    }

    #[test]
    fn whoever_brings_what_it_told_or_more_is_welcome_again_and_again() {
        let recall = recall(&[told(10, mark(3, 5, 70)), told(10, mark(3, 5, 80))]);
        assert_eq!(recall.judge(&start(11, mark(3, 5, 80))), None);
        assert_eq!(
            recall.judge(&start(11, mark(3, 5, 80))),
            None,
            "the answer was lost"
        );
        recall.note(X, told(11, mark(4, 6, 90)));
        assert_eq!(
            recall.judge(&start(11, mark(3, 5, 80))),
            None,
            "it asks late"
        );
        assert_eq!(recall.judge(&start(12, mark(4, 7, 95))), None);
        // A node that did not hear of some starts knows nothing against later ones.
        assert_eq!(recall.judge(&start(20, mark(9, 8, 96))), None);
    }

    #[test]
    fn an_image_of_the_same_life_is_noticed_by_its_term_or_its_batches() {
        for (term, batch) in [(4, 80), (5, 79)] {
            let recall = recall(&[told(10, mark(3, 5, 80))]);
            let more = recall.judge(&start(11, mark(3, term, batch)));
            assert_eq!(more, Some(mark(3, 5, 80)));
        }
    }

    #[test]
    fn an_image_of_an_earlier_life_is_noticed_by_its_count() {
        let recall = recall(&[told(10, mark(7, 5, 80))]);
        assert!(recall.judge(&start(11, mark(4, 5, 80))).is_some());
        // Made while the node was down: it counts to the same number once more.
        assert!(recall.judge(&start(11, mark(6, 5, 80))).is_some());
        assert!(
            recall.judge(&start(11, mark(6, 5, 80))).is_some(),
            "asking again does not help"
        );
    }

    #[test]
    fn a_log_that_was_filled_again_counts_on_from_there() {
        let recall = recall(&[told(10, mark(7, 5, 80))]);
        assert!(recall.judge(&start(11, mark(4, 2, 30))).is_some());
        // It goes on as start 8, and its batches count from where they were.
        recall.note(X, told(11, mark(8, 5, 35)));
        assert_eq!(recall.judge(&start(12, mark(8, 6, 41))), None);
    }

    #[test]
    fn who_was_not_judged_yet_tells_nothing_that_counts() {
        let journal = nothing();
        let young = Recall::new(11, &journal, false);
        let recall = recall(&[told(10, mark(3, 5, 80)), young.own()]);
        assert!(recall.judge(&start(11, mark(3, 5, 79))).is_some());
        assert_eq!(young.own(), Told::default());
        young.begin_to_tell();
        assert_eq!(young.own().life, 11);
    }

    #[test]
    fn what_is_told_survives_the_way() {
        let some = told(1, mark(2, 3, 4));
        let mut bytes = BytesMut::new();
        some.put(&mut bytes);
        assert_eq!(bytes.len(), Told::SIZE);
        let bytes = bytes.freeze();
        assert_eq!(Told::take(bytes.clone()), Some(some));
        assert_eq!(Told::take(bytes.slice(1..)), None);
    }
}
