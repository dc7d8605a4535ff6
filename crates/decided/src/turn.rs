//! A command's turn: what it finds when it is carried out, and where it puts what it changes.
//!
//! Deliberately not here: what commands do.

use std::sync::Arc;

use convoke_types::wire::store::{News, Revision};
use convoke_types::{NodeId, Timestamp};

use crate::kv::KeyChanged;

/// Something that was changed. Cheap to keep.
#[derive(Clone, Debug)]
pub enum Changed {
    /// A key.
    Key(KeyChanged),
    /// Anything else.
    News(Arc<News>),
}

impl Changed {
    /// What remembering news costs, about.
    const NEWS_BYTES: u64 = 1024;

    /// The change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Key(changed) => changed.revision(),
            Self::News(news) => news.revision(),
        }
    }

    /// What keeping it costs, if nobody else keeps it.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        match self {
            Self::Key(changed) => changed.cost_bytes(),
            Self::News(_) => Self::NEWS_BYTES,
        }
    }

    /// The key that changed, if it is one.
    #[must_use]
    pub fn key(&self) -> Option<&KeyChanged> {
        match self {
            Self::Key(changed) => Some(changed),
            Self::News(_) => None,
        }
    }
}

/// What a command finds, and what it leaves behind.
pub(crate) struct Turn<'a> {
    /// Whose command it is.
    pub(crate) principal: NodeId,
    /// The time of the log.
    pub(crate) now: Timestamp,
    revision: &'a mut Revision,
    changes: &'a mut Vec<Changed>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        principal: NodeId,
        now: Timestamp,
        revision: &'a mut Revision,
        changes: &'a mut Vec<Changed>,
    ) -> Self {
        Self {
            principal,
            now,
            revision,
            changes,
        }
    }

    /// Something changes, as this revision: whoever takes one tells what it was.
    pub(crate) fn change(&mut self, news: impl FnOnce(Revision) -> News) -> Revision {
        let next = Revision(self.revision.0 + 1);
        *self.revision = next;
        self.changes.push(Changed::News(Arc::new(news(next))));
        next
    }

    /// Leaves numbers out: whatever had them is not known here.
    pub(crate) fn skip(&mut self, numbers: u64) {
        self.revision.0 += numbers;
    }
}
