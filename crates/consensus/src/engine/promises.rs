//! What the pieces around the engine promise to it, each in the smallest world in which it could break.
//!
//! Deliberately not here: what all of it together promises, which is told by stories in `crates/sim`.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use convoke_decided::Decided;
use convoke_types::NodeId;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::storage::{RaftLogStorage as _, RaftStateMachine as _};
use parking_lot::Mutex;

use super::Tokio;
use super::machine::{Carried, Held, Machine};
use super::snapshot::{Image, MemoryImage, Pieces, Snapshots};
use super::storage::Storage;
use super::types::{SnapshotMeta, StoredMembership, Vote, log_id};
use crate::journal::{Done, Journal, JournalError};
use crate::log::{Entry, LogId, Mark, Position, Register, VoterId, Work};

/// A disk that has not done yet what it was asked for.
#[derive(Default)]
struct Slow(Mutex<Vec<Done>>);

impl Slow {
    fn finish(&self) {
        let waiting = std::mem::take(&mut *self.0.lock());
        waiting.into_iter().for_each(|done| done(Ok(())));
    }
}

impl Journal for Slow {
    fn submit(&self, _: Vec<Work>, done: Done) {
        self.0.lock().push(done);
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

/// Counts snapshots.
#[derive(Default)]
struct Counting(Mutex<usize>);

impl Snapshots for Counting {
    fn save(
        &self,
        position: Position,
        pieces: Pieces,
    ) -> BoxFuture<'static, io::Result<Arc<dyn Image>>> {
        *self.0.lock() += 1;
        let pieces = pieces.collect();
        async move { Ok(Arc::new(MemoryImage { position, pieces }) as Arc<dyn Image>) }.boxed()
    }

    fn latest(&self) -> BoxFuture<'static, io::Result<Option<Arc<dyn Image>>>> {
        async { Ok(None) }.boxed()
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_vote_is_safe_before_anybody_hears_of_it() {
    let disk = Arc::new(Slow::default());
    let mut storage = Storage::<Tokio>::new(Arc::clone(&disk) as _);
    let candidate = VoterId {
        node: NodeId::from_public_key([1; 32]),
        log: LogId([1; 16]),
    };
    let vote = Vote::new(3, candidate);
    let mut saving = pin!(storage.save_vote(&vote));
    assert!(poll(saving.as_mut()).is_pending(), "the disk is not done");
    disk.finish();
    assert!(matches!(poll(saving), Poll::Ready(Ok(()))));
}

#[test]
fn a_snapshot_of_others_waits_until_what_the_log_was_told_is_safe() {
    let disk = Arc::new(Slow::default());
    let snapshots = Arc::new(Counting::default());
    let held = Arc::new(Held::<Tokio>::new(Decided::new()));
    let mut machine = Machine {
        held: Arc::clone(&held),
        journal: Arc::clone(&disk) as _,
        snapshots: Arc::clone(&snapshots) as _,
        witness: None,
    };
    let position = Position { term: 2, index: 7 };
    let meta = SnapshotMeta {
        last_log_id: log_id(position),
        last_membership: StoredMembership::default(),
    };
    let carried = Carried {
        image: Arc::new(MemoryImage {
            position,
            pieces: Vec::new(),
        }),
        proven: Some((StoredMembership::default(), Decided::new())),
    };
    let mut installing = pin!(machine.install_snapshot(&meta, carried));
    assert!(poll(installing.as_mut()).is_pending());
    assert_eq!(*snapshots.0.lock(), 0, "a crash now finds the old state");
    assert_eq!(held.freeze().0, Position::default());
    disk.finish();
    assert!(matches!(poll(installing), Poll::Ready(Ok(()))));
    assert_eq!((*snapshots.0.lock(), held.freeze().0), (1, position));
}
