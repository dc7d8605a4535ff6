//! A turn: what a command finds when it is carried out, or what is due when its time has come, and where either puts what it changes.
//!
//! Deliberately not here: what commands do.

use std::sync::Arc;

use convoke_types::Timestamp;
use convoke_types::wire::store::{News, Revision, Value};

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
    /// What remembering news costs, about, beside what may be large of it.
    const NEWS_BYTES: u64 = 1024;
    /// What one of an electorate costs.
    const ELECTOR_BYTES: u64 = 40;

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
            Self::News(news) => Self::NEWS_BYTES + large_part(news),
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

fn large_part(news: &News) -> u64 {
    let News::Proposal(proposal, _) = news else {
        return 0;
    };
    let text = match &proposal.value {
        Some(Value::Text(text)) => text.len() as u64,
        Some(Value::Flag(_) | Value::Number(_)) | None => 0,
    };
    text + proposal.electorate.len() as u64 * Changed::ELECTOR_BYTES
}

/// What a command finds, and what it leaves behind.
pub(crate) struct Turn<'a> {
    /// The time of the log.
    pub(crate) now: Timestamp,
    revision: &'a mut Revision,
    changes: &'a mut Vec<Changed>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        now: Timestamp,
        revision: &'a mut Revision,
        changes: &'a mut Vec<Changed>,
    ) -> Self {
        Self {
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
