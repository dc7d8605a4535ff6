//! The engine's log over our [`Journal`].
//!
//! What the engine does here it does in the one loop that all else waits for, so nothing but a vote waits for the disk: appends, cuts
//! and purges are only queued, and the journal keeps the order (traps 3 and 9 of design 008). A vote must be safe before anybody hears
//! of it. An append that would leave a gap is refused, and a reader fails when what it was asked for is gone: both would make a hole in
//! somebody's log.
//!
//! What is decided is remembered as a hint, never synced by itself (trap 12): after a start it says how far to apply.
//!
//! Deliberately not here: files (`log`), and what a doubtful log means for votes (`serve`).

use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use openraft_rt::{AsyncRuntime, Oneshot, OneshotSender as _};

use super::types::{
    LogId, RaftEntry, Types, Vote, ballot, log_id, position, position_of, put_entry, take_entry,
    vote,
};
use crate::journal::{Journal, JournalError};
use crate::log::Work;

/// What one message to a follower may carry, unless a single entry is larger.
const READ_BYTES: usize = 1 << 20;

/// The engine's view of a journal.
pub(super) struct Storage<R> {
    journal: Arc<dyn Journal>,
    runtime: PhantomData<fn() -> R>,
}

impl<R> Clone for Storage<R> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.journal))
    }
}

impl<R> Storage<R> {
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            runtime: PhantomData,
        }
    }

    fn read(&self, index: u64) -> io::Result<RaftEntry> {
        let entry = self.journal.read(index).map_err(io::Error::other)?;
        take_entry(index, &entry).map_err(io::Error::other)
    }

    /// Our indices of a range of the engine's, as far as there are entries.
    fn range(&self, range: &impl RangeBounds<u64>) -> std::ops::RangeInclusive<u64> {
        let first = match range.start_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => index + 2,
            Bound::Unbounded => self.journal.register().purged.index + 1,
        };
        let last = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        first..=last.min(self.journal.last().index)
    }
}

/// Waits until work, and all before it, is safe.
pub(super) async fn safely<R: AsyncRuntime>(
    journal: &dyn Journal,
    work: Vec<Work>,
) -> Result<(), JournalError> {
    let (told, safe) = <R::Oneshot as Oneshot>::channel();
    journal.submit(
        work,
        Box::new(move |result| {
            // Whoever asked may be gone by now.
            let _ = told.send(result);
        }),
    );
    safe.await.unwrap_or(Err(JournalError::Closed))
}

impl<R: AsyncRuntime> RaftLogReader<Types<R>> for Storage<R> {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // One after the other: what is applied after a start may be all there is.
        let reader = self.clone();
        stream::iter(self.range(&range).map(move |index| reader.read(index)))
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.range(&range).map(|index| self.read(index)).collect()
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        let mut entries = Vec::new();
        let mut size_bytes = 0;
        for index in start + 1..=end {
            let entry = self.journal.read(index).map_err(io::Error::other)?;
            size_bytes += entry.payload.len();
            if !entries.is_empty() && size_bytes > READ_BYTES {
                break;
            }
            entries.push(take_entry(index, &entry).map_err(io::Error::other)?);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let register = self.journal.register();
        Ok(register.vote.map(|ballot| vote(register.term, ballot)))
    }
}

impl<R: AsyncRuntime> RaftLogStorage<Types<R>> for Storage<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types<R>>> {
        Ok(LogState {
            last_purged_log_id: log_id(self.journal.register().purged),
            last_log_id: log_id(self.journal.last()),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (term, ballot) = ballot(vote);
        let work = Work::Vote {
            term,
            vote: Some(ballot),
        };
        safely::<R>(&*self.journal, vec![work])
            .await
            .map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let work = Work::Commit(position_of(committed.as_ref()).index);
        self.journal.submit(vec![work], Box::new(|_| ()));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        // A log that lost entries knows that more was decided; what is there can be applied.
        let commit = self.journal.register().commit;
        let last = self.journal.last();
        let purged = self.journal.register().purged;
        if commit >= last.index {
            return Ok(log_id(last));
        }
        if commit <= purged.index {
            return Ok(log_id(purged));
        }
        self.read(commit).map(|entry| Some(entry.log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<R>>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut entries = entries.into_iter().peekable();
        let Some(first) = entries.peek().map(|entry| position(&entry.log_id).index) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let last = self.journal.last().index;
        if first > last + 1 {
            let hole = format!("entries from {first} on cannot follow {last}");
            return Err(io::Error::other(hole));
        }
        let work = Work::Append {
            first,
            entries: entries.map(|entry| put_entry(&entry)).collect(),
        };
        self.journal.submit(
            vec![work],
            Box::new(move |result| callback.io_completed(result.map_err(io::Error::other))),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let first = position_of(last.as_ref()).index + 1;
        if first <= self.journal.last().index {
            let cut = Work::Append {
                first,
                entries: Vec::new(),
            };
            self.journal.submit(vec![cut], Box::new(|_| ()));
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let upto = position(&upto);
        // A snapshot may go further than the log does.
        let work = if upto.index > self.journal.last().index {
            Work::Reset(upto)
        } else {
            Work::Purge(upto)
        };
        self.journal.submit(vec![work], Box::new(|_| ()));
        Ok(())
    }
}
