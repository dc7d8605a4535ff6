//! The engine's state machine over [`Decided`].
//!
//! One task applies entries in their order; everybody else looks at the state under a lock for as long as one question takes. What a
//! batch amounted to goes to whoever proposed it, its changes into the ring of those who watch, and how far it went to those who wait.
//!
//! A snapshot is frozen in the applying task, which costs no more than some thousand pointers, and made into bytes outside of it. One
//! that replaces the state was proven before, and what the log was told before is safe first: else a crash could leave the new state
//! beside entries that contradict it, and the node would not start any more.
//!
//! When there is no room for a snapshot it is tried again every second until there is, or the node stops: the engine takes an error
//! of a snapshot for the end of the node, and a full disk is none. The log waits for room in the same way (`journal`).
//!
//! Deliberately not here: who proposes and who waits (`handle`), and what commands do (`convoke-decided`).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use convoke_decided::{Applied, Batch, Changed, Decided, Frozen};
use convoke_types::wire::store::{Outcome, Revision};
use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use openraft_rt::{AsyncRuntime, Instant as _};
use parking_lot::{Mutex, RwLock};

use super::api::Written;
use super::ring::Ring;
use super::snapshot::{Image, Pieces, Snapshots, pieces_of, prove};
use super::storage::safely;
use super::types::{
    LogId, Outcomes, Proposal, RaftEntry, SnapshotMeta, StoredMembership, Types, log_id, position,
    position_of, put_payload,
};
use super::wait::Gauge;
use crate::journal::{Journal, is_full};
use crate::log::Position;

/// How long to wait for room before a snapshot is tried again.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// Hears of everything that is applied, in its order, before anybody else does. For worlds that judge, and for audits; slow ones slow
/// the node down.
pub trait Witness: Send + Sync + 'static {
    /// An entry was applied: its bytes as in the journal, its outcomes, and what changed.
    fn applied(&self, at: Position, payload: &[u8], outcomes: &[Outcome], changes: &[Changed]);

    /// A snapshot took the place of all before.
    fn installed(&self, at: Position);
}

/// How far a node has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) index: u64,
    pub(super) revision: Revision,
}

/// What became of snapshots of this node's state since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Making {
    /// One is being written.
    pub(super) is_under_way: bool,
    pub(super) written: u64,
    pub(super) failed: u64,
    /// The latest that was written.
    pub(super) latest: Option<Written>,
}

impl Making {
    fn ended(self, written: Option<Written>) -> Self {
        Self {
            is_under_way: false,
            written: self.written + u64::from(written.is_some()),
            failed: self.failed + u64::from(written.is_none()),
            latest: written.or(self.latest),
        }
    }
}

/// The state, shared by those who apply and those who ask.
pub(super) struct Held<R: AsyncRuntime> {
    pub(super) state: RwLock<State>,
    steady: Mutex<Steady<R::Instant>>,
    pub(super) progress: Gauge<Progress>,
    pub(super) making: Arc<Gauge<Making>>,
}

pub(super) struct State {
    pub(super) decided: Decided,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) ring: Ring,
    /// When the last entry was applied, by [`Held::steady`], for the leader's time.
    pub(super) applied_at: Duration,
}

/// Between two looks at a clock no more than this goes by on a node that is well; looks are four times as many (`reconciler`).
pub(super) const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// A clock that neither jumps nor stands still for others: what went by in one piece and is longer than [`LONGEST_LOOK`] does not count.
///
/// Such a piece is a clock that was set, a machine that slept, or a process that was stopped. Nobody could renew anything here in that
/// time, so leases and votes have it on top. Whoever else leads meanwhile has a clock of its own.
struct Steady<I> {
    seen: I,
    passed: Duration,
}

impl<I: openraft_rt::Instant> Steady<I> {
    fn look(&mut self, now: I) -> Duration {
        let step = now - self.seen;
        self.seen = now;
        if step <= LONGEST_LOOK {
            self.passed += step;
        }
        self.passed
    }
}

impl<R: AsyncRuntime> Held<R> {
    pub(super) fn new(decided: Decided) -> Self {
        let state = State {
            ring: Ring::from(decided.revision()),
            decided,
            applied: None,
            membership: StoredMembership::default(),
            applied_at: Duration::ZERO,
        };
        Self {
            state: RwLock::new(state),
            steady: Mutex::new(Steady {
                seen: R::Instant::now(),
                passed: Duration::ZERO,
            }),
            progress: Gauge::new(Progress::default()),
            making: Arc::new(Gauge::new(Making::default())),
        }
    }

    /// The time by which leases and votes end: what went by since this node's start, without what its clock jumped.
    pub(super) fn steady(&self) -> Duration {
        self.steady.lock().look(R::Instant::now())
    }

    /// The state as it is now, and the last entry in it.
    pub(super) fn freeze(&self) -> (Position, Frozen) {
        let state = self.state.read();
        (position_of(state.applied.as_ref()), state.decided.freeze())
    }

    fn tell_progress(&self) {
        let state = self.state.read();
        let now = Progress {
            index: position_of(state.applied.as_ref()).index,
            revision: state.decided.revision(),
        };
        drop(state);
        self.progress.change(|_| now);
    }
}

/// What the engine carries about as a snapshot.
pub(super) struct Carried {
    pub(super) image: Arc<dyn Image>,
    /// Of one that came over the network: what was found when it was proven.
    pub(super) proven: Option<(StoredMembership, Decided)>,
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a snapshot up to {:?}", self.image.position())
    }
}

/// Applies entries.
pub(super) struct Machine<R: AsyncRuntime> {
    pub(super) held: Arc<Held<R>>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) snapshots: Arc<dyn Snapshots>,
    pub(super) witness: Option<Arc<dyn Witness>>,
    /// Nobody waits for room any more.
    pub(super) stopping: Arc<Gauge<bool>>,
}

impl<R: AsyncRuntime> Machine<R> {
    fn apply_one(&self, entry: &RaftEntry) -> io::Result<Vec<Outcome>> {
        let mut state = self.held.state.write();
        let Applied { outcomes, changes } = match &entry.payload {
            EntryPayload::Blank => Applied::default(),
            EntryPayload::Normal(Proposal(bytes)) => {
                let batch = Batch::decode(bytes).map_err(io::Error::other)?;
                state.decided.apply(entry.log_id.leader_id.term, batch)
            }
            EntryPayload::Membership(membership) => {
                state.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Applied::default()
            }
        };
        state.applied = Some(entry.log_id);
        state.applied_at = self.held.steady();
        if let Some(witness) = &self.witness {
            let payload: Bytes = put_payload(&entry.payload);
            witness.applied(position(&entry.log_id), &payload, &outcomes, &changes);
        }
        for changed in changes {
            state.ring.push(changed);
        }
        Ok(outcomes)
    }

    fn replace(&self, at: Position, membership: StoredMembership, decided: Decided) {
        let mut state = self.held.state.write();
        state.ring = Ring::from(decided.revision());
        state.decided = decided;
        state.membership = membership;
        state.applied = log_id(at);
        state.applied_at = self.held.steady();
        if let Some(witness) = &self.witness {
            witness.installed(at);
        }
        drop(state);
        self.held.tell_progress();
    }
}

impl<R: AsyncRuntime> RaftStateMachine<Types<R>> for Machine<R> {
    type SnapshotData = Carried;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.held.state.read();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types<R>>>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let outcomes = self.apply_one(&entry)?;
            if let Some(responder) = responder {
                responder.send(Outcomes(outcomes));
            }
        }
        self.held.tell_progress();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.held.state.read();
        Builder {
            at: state.applied,
            membership: state.membership.clone(),
            frozen: state.decided.freeze(),
            snapshots: Arc::clone(&self.snapshots),
            making: Arc::clone(&self.held.making),
            stopping: Arc::clone(&self.stopping),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, carried: Carried) -> io::Result<()> {
        let Carried { image, proven } = carried;
        let is_own = proven.is_none();
        let (membership, decided) = match proven {
            Some(proven) => proven,
            None => prove(&*image).map_err(io::Error::other)?,
        };
        let at = position_of(meta.last_log_id.as_ref());
        if !is_own {
            safely::<R>(&*self.journal, Vec::new())
                .await
                .map_err(io::Error::other)?;
            let pieces = (0..image.pieces()).map(move |number| image.piece(number));
            let pieces: Vec<Bytes> = pieces.collect::<io::Result<_>>()?;
            let again = || Box::new(pieces.clone().into_iter()) as Pieces;
            save_when_there_is_room::<R>(&*self.snapshots, &self.stopping, at, again).await?;
        }
        self.replace(at, membership, decided);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Carrying>> {
        let Some(image) = self.snapshots.latest().await? else {
            return Ok(None);
        };
        let (membership, _) = prove(&*image).map_err(io::Error::other)?;
        Ok(Some(carry(image, membership)))
    }
}

type Carrying = Snapshot<
    <super::types::LeaderId as openraft::vote::RaftLeaderId>::Committed,
    crate::log::VoterId,
    super::types::Member,
    Carried,
>;

fn carry(image: Arc<dyn Image>, membership: StoredMembership) -> Carrying {
    Snapshot {
        meta: SnapshotMeta {
            last_log_id: log_id(image.position()),
            last_membership: membership,
        },
        snapshot: Carried {
            image,
            proven: None,
        },
    }
}

/// Makes a frozen state into a snapshot.
pub(super) struct Builder {
    at: Option<LogId>,
    membership: StoredMembership,
    frozen: Frozen,
    snapshots: Arc<dyn Snapshots>,
    making: Arc<Gauge<Making>>,
    stopping: Arc<Gauge<bool>>,
}

impl<R: AsyncRuntime> RaftSnapshotBuilder<Types<R>> for Builder {
    type SnapshotData = Carried;

    async fn build_snapshot(&mut self) -> io::Result<Carrying> {
        let at = position_of(self.at.as_ref());
        self.making.change(|making| Making {
            is_under_way: true,
            ..making
        });
        let counted = Arc::new(AtomicU64::new(0));
        let again = || {
            counted.store(0, Ordering::Relaxed);
            let counting = Arc::clone(&counted);
            let pieces = pieces_of(at, &self.membership, &self.frozen);
            let pieces = pieces.inspect(move |piece| {
                counting.fetch_add(piece.len() as u64, Ordering::Relaxed);
            });
            Box::new(pieces) as Pieces
        };
        let saved = save_when_there_is_room::<R>(&*self.snapshots, &self.stopping, at, again).await;
        let written = saved.is_ok().then(|| Written {
            at,
            size_bytes: counted.load(Ordering::Relaxed),
        });
        self.making.change(|making| making.ended(written));
        Ok(carry(saved?, self.membership.clone()))
    }
}

/// Keeps a snapshot, however long that takes on a full disk; the node's stop ends it.
async fn save_when_there_is_room<R: AsyncRuntime>(
    snapshots: &dyn Snapshots,
    stopping: &Gauge<bool>,
    at: Position,
    pieces: impl Fn() -> Pieces,
) -> io::Result<Arc<dyn Image>> {
    let mut was_told = false;
    loop {
        let error = match snapshots.save(at, pieces()).await {
            Err(error) if is_full(&error) => error,
            done => return done,
        };
        if !std::mem::replace(&mut was_told, true) {
            tracing::warn!(%error, index = at.index, "there is no room for a snapshot; it is tried again until there is");
        }
        let stopped = stopping.until(|is_stopping| is_stopping);
        if R::timeout(ROOM_EVERY, stopped).await.is_ok() {
            return Err(error);
        }
    }
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use parking_lot::Mutex;

    use super::super::Tokio;
    use super::super::snapshot::{MemoryImage, Pieces};
    use super::*;

    /// Has these errors first, and then room.
    struct Small(Mutex<Vec<io::ErrorKind>>);

    impl Snapshots for Small {
        fn save(
            &self,
            position: Position,
            pieces: Pieces,
        ) -> BoxFuture<'static, io::Result<Arc<dyn Image>>> {
            let pieces = pieces.collect();
            let saved: io::Result<Arc<dyn Image>> = match self.0.lock().pop() {
                Some(kind) => Err(kind.into()),
                None => Ok(Arc::new(MemoryImage { position, pieces })),
            };
            async { saved }.boxed()
        }

        fn latest(&self) -> BoxFuture<'static, io::Result<Option<Arc<dyn Image>>>> {
            async { Ok(None) }.boxed()
        }
    }

    fn builder(errors: &[io::ErrorKind]) -> Builder {
        Builder {
            at: log_id(Position { term: 1, index: 3 }),
            membership: StoredMembership::default(),
            frozen: Decided::new().freeze(),
            snapshots: Arc::new(Small(Mutex::new(errors.to_vec()))),
            making: Arc::new(Gauge::new(Making::default())),
            stopping: Arc::new(Gauge::new(false)),
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_room_when_the_node_stops() {
        let mut full = builder(&[io::ErrorKind::StorageFull; 2]);
        full.stopping.change(|_| true);
        let built = RaftSnapshotBuilder::<Types<Tokio>>::build_snapshot(&mut full).await;
        let error = built.expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!full.making.get().is_under_way);
    }

    #[tokio::test]
    async fn a_snapshot_waits_for_room_and_fails_at_once_for_all_else() {
        let mut full = builder(&[io::ErrorKind::StorageFull]);
        let built = RaftSnapshotBuilder::<Types<Tokio>>::build_snapshot(&mut full).await;
        let made = full.making.get();
        assert_eq!(
            (made.written, made.failed, made.is_under_way),
            (1, 0, false)
        );
        let written = made.latest.expect("one was written");
        assert_eq!(written.at, Position { term: 1, index: 3 });
        let image = built.expect("it was written").snapshot.image;
        let pieces = (0..image.pieces()).map(|number| image.piece(number).expect("it is there"));
        let size_bytes: usize = pieces.map(|piece| piece.len()).sum();
        assert_eq!(
            written.size_bytes, size_bytes as u64,
            "only what was saved counts"
        );

        let mut broken = builder(&[io::ErrorKind::PermissionDenied]);
        let built = RaftSnapshotBuilder::<Types<Tokio>>::build_snapshot(&mut broken).await;
        assert!(built.is_err());
        assert_eq!(
            (broken.making.get().written, broken.making.get().failed),
            (0, 1)
        );
    }
}
