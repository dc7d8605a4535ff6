//! What the pieces around the engine promise to it, each in the smallest world in which it could break.
//!
//! Deliberately not here: what all of it together promises, which is told by stories in `crates/sim`.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_decided::{Decided, LEVEL};
use convoke_types::wire::store::{
    Command, Freshness, KvCommand, LogNumber, NodeCommand, Query, Revision,
};
use convoke_types::{NodeId, Role};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::network::{RPCOption, RaftNetworkFactory as _, RaftNetworkV2 as _};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::storage::{RaftLogStorage as _, RaftStateMachine as _};
use parking_lot::Mutex;

use super::Tokio;
use super::api::{ChangeError, ProposeError, Settings, StartError};
use super::handle::{Consensus, Parts};
use super::level::Levels;
use super::machine::{Carried, Held, Machine};
use super::network::{Peers, Transport, Unreached};
use super::recall::{Recall, Told};
use super::snapshot::{Image, MemoryImage, Pieces, Snapshots};
use super::storage::Storage;
use super::types::{Member, SnapshotMeta, StoredMembership, Vote, log_id};
use super::wait::Gauge;
use super::wire::{Candidacy, Kind, Stands, Voted, put, put_appended, put_telling, take};
use crate::journal::{Done, Journal, JournalError};
use crate::log::{Entry, LogId, Mark, Position, Register, VoterId, Work};

/// A log in memory, whose disk is stuck at first.
struct Slow(Mutex<Inner>);

struct Inner {
    is_stuck: bool,
    waiting: Vec<Done>,
    entries: Vec<Entry>,
    register: Register,
}

impl Default for Slow {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            is_stuck: true,
            waiting: Vec::new(),
            entries: Vec::new(),
            register: Register::default(),
        }))
    }
}

impl Slow {
    /// Everything is safe now, and what comes at once.
    fn finish(&self) {
        let waiting = {
            let mut inner = self.0.lock();
            inner.is_stuck = false;
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(|done| done(Ok(())));
    }

    fn get_stuck(&self) {
        self.0.lock().is_stuck = true;
    }
}

impl Journal for Slow {
    fn submit(&self, work: Vec<Work>, done: Done) {
        let mut inner = self.0.lock();
        for work in work {
            match work {
                Work::Append { first, entries } => {
                    let before = usize::try_from(first - 1).expect("few entries");
                    inner.entries.truncate(before);
                    inner.entries.extend(entries);
                }
                Work::Vote { term, vote } => {
                    (inner.register.term, inner.register.vote) = (term, vote);
                }
                Work::Commit(_)
                | Work::Remember
                | Work::Purge(_)
                | Work::Reset(_)
                | Work::Trust
                | Work::Doubt(_) => {}
            }
        }
        if inner.is_stuck {
            inner.waiting.push(done);
            return;
        }
        drop(inner);
        done(Ok(()));
    }
    fn read(&self, index: u64) -> Result<Entry, JournalError> {
        let at = usize::try_from(index - 1).expect("few entries");
        let entry = self.0.lock().entries.get(at).cloned();
        entry.ok_or(JournalError::Missing(index))
    }
    fn last(&self) -> Position {
        let inner = self.0.lock();
        Position {
            term: inner.entries.last().map_or(0, |entry| entry.term),
            index: inner.entries.len() as u64,
        }
    }
    fn register(&self) -> Register {
        self.0.lock().register
    }
    fn safe(&self) -> Mark {
        Mark::default()
    }
    fn found(&self) -> Mark {
        Mark::default()
    }
}

const ME: VoterId = VoterId {
    node: NodeId::from_public_key([1; 32]),
    log: LogId([1; 16]),
};

/// Nobody else is there.
struct Nobody;

impl Transport for Nobody {
    fn call(
        &self,
        _: VoterId,
        _: &Member,
        _: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Unreached>> {
        async { Err(Unreached::Nobody) }.boxed()
    }
}

/// Everybody votes for whoever asks and takes every entry, and nobody ever wants to lead.
struct Meek;

impl Transport for Meek {
    fn call(
        &self,
        _: VoterId,
        _: &Member,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Unreached>> {
        let told = Told::default();
        let answer = match Kind::of(&message).expect("it is ours") {
            Kind::Append => put_appended::<Tokio>(&AppendEntriesResponse::Success, told, LEVEL),
            kind @ (Kind::Vote | Kind::PreVote) => {
                let (candidacy, _) = take::<Candidacy>(kind, &message).expect("it is whole");
                let voted = Voted {
                    vote: candidacy.vote,
                    is_granted: true,
                    last: candidacy.last,
                };
                put_telling(kind, &voted, told)
            }
            kind @ Kind::Transfer => put(kind, &Stands(true)),
            Kind::Snapshot | Kind::ReadIndex | Kind::Refill | Kind::Return => {
                return async { Err(Unreached::Unanswered) }.boxed();
            }
        };
        async { Ok(answer) }.boxed()
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

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_vote_is_safe_before_anybody_hears_of_it() {
    let disk = Arc::new(Slow::default());
    let mut storage = Storage::<Tokio>::new(Arc::clone(&disk) as _);
    let vote = Vote::new(3, ME);
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
        stopping: Arc::new(Gauge::new(false)),
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

#[tokio::test]
async fn who_does_not_answer_has_neither_voted_nor_taken_entries() {
    let disk: Arc<dyn Journal> = Arc::new(Slow::default());
    let mut peers = Peers::<Tokio> {
        me: ME,
        transport: Arc::new(Nobody),
        piece: Duration::from_secs(1),
        grants_pre_votes: false,
        is_quiet: Arc::new(Gauge::new(false)),
        recall: Arc::new(Recall::new(1, &disk, true)),
        levels: Arc::new(Levels::new(LEVEL)),
        runtime: PhantomData,
    };
    let mut peer = peers.new_client(ME, &Member::default()).await;
    let option = || RPCOption::new(Duration::from_secs(1));
    let candidacy = || VoteRequest::new(Vote::new(2, ME), None);
    assert!(peer.pre_vote(candidacy(), option()).await.is_err());
    assert!(peer.vote(candidacy(), option()).await.is_err());
    let append = AppendEntriesRequest {
        vote: Vote::new_committed(2, ME),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    assert!(peer.append_entries(append, option()).await.is_err());
}

fn write() -> Command {
    Command::Kv(KvCommand::Put {
        key: b"k".to_vec(),
        value: b"v".to_vec(),
    })
}

/// A node that leads alone, and its disk.
async fn alone() -> (Consensus<Tokio>, Arc<Slow>) {
    leading(Arc::new(Nobody), &[ME]).await
}

/// A node that leads these, and its disk.
async fn leading(
    transport: Arc<dyn Transport>,
    voters: &[VoterId],
) -> (Consensus<Tokio>, Arc<Slow>) {
    let disk = Arc::new(Slow::default());
    disk.finish();
    let settings = Settings {
        patience: Duration::from_millis(300),
        ..Settings::default()
    };
    let parts = Parts {
        me: ME,
        journal: Arc::clone(&disk) as _,
        snapshots: Arc::new(Counting::default()),
        transport,
        witness: None,
    };
    let node = Consensus::<Tokio>::start(settings, parts).await;
    let node = node.expect("nothing is wrong");
    let voters = voters.iter().map(|voter| (*voter, Member::default()));
    let voters = voters.collect();
    node.found(voters).await.expect("it is new");
    let leads = node.propose(ME.node, None, write());
    leads.await.expect("it leads itself");
    (node, disk)
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_disk_has_it() {
    let (node, disk) = alone().await;
    disk.get_stuck();
    let outcome = node.propose(ME.node, None, write()).await;
    assert_eq!(outcome, Err(ProposeError::OutcomeUnknown));
    assert_eq!(node.status().revision, Revision(1), "nothing is applied");
    disk.finish();
    let query = Query::Get(b"k".to_vec());
    let fresh = Freshness::AtLeast(Revision(2));
    node.read(&query, fresh).await.expect("it is decided now");
    node.stop().await;
}

/// Nobody acknowledges anything to it, so that what it last heard says nothing.
#[tokio::test]
async fn what_a_single_voter_says_is_never_old() {
    let (node, _disk) = alone().await;
    let query = Query::Get(b"k".to_vec());
    let answer = node.read(&query, Freshness::Stale).await;
    assert_eq!(answer.expect("it has it").age, Some(Duration::ZERO));
    node.stop().await;
}

/// All others would vote, but the one that was to lead is gone, and the third lacks entries: only this node can lead.
#[tokio::test]
async fn who_handed_leadership_to_nobody_leads_again() {
    let [second, third] = [2, 3].map(|number| VoterId {
        node: NodeId::from_public_key([number; 32]),
        log: LogId([number; 16]),
    });
    let (node, _disk) = leading(Arc::new(Meek), &[ME, second, third]).await;
    let term = node.status().term;
    assert_eq!(node.transfer(second).await, Err(ChangeError::Unknown));
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.propose(ME.node, None, write()).await.is_err() {
        assert!(Instant::now() < deadline, "{:?}", node.status());
    }
    assert!(node.status().term > term, "it was elected like anybody");
    node.stop().await;
}

fn enrol(voter: VoterId, role: Role) -> Command {
    Command::Node(NodeCommand::Enrol {
        node: voter.node,
        log: Some(LogNumber(voter.log.0)),
        addresses: Vec::new(),
        allowed: role.into(),
        score: 1,
    })
}

#[tokio::test]
async fn a_leader_hands_over_to_the_best_rank_and_without_records_to_anybody_who_is_there() {
    let [second, third] = [2, 3].map(|number| VoterId {
        node: NodeId::from_public_key([number; 32]),
        log: LogId([number; 16]),
    });
    let (node, _disk) = leading(Arc::new(Meek), &[ME, second, third]).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.successor().is_none() {
        let written = node.propose(ME.node, None, write()).await;
        written.expect("all take it");
        assert!(Instant::now() < deadline, "{:?}", node.status());
    }
    for (voter, role) in [
        (ME, Role::Worker),
        (second, Role::Worker),
        (third, Role::Master),
    ] {
        let enrolled = node.propose(voter.node, None, enrol(voter, role)).await;
        enrolled.expect("all take it");
    }
    while node.successor() != Some(third) {
        let written = node.propose(ME.node, None, write()).await;
        written.expect("all take it");
        assert!(Instant::now() < deadline, "{:?}", node.status());
    }
    let explanation = node.explain_voters().expect("it leads");
    assert_eq!((explanation.step, explanation.hold), (None, None));
    assert_eq!(explanation.wanted, [ME, second, third].into());
    node.stop().await;
    assert_eq!(node.successor(), None);
}

#[tokio::test]
async fn who_does_not_lead_explains_no_voters_and_names_no_successor() {
    let disk = Arc::new(Slow::default());
    disk.finish();
    let parts = || Parts {
        me: ME,
        journal: Arc::clone(&disk) as _,
        snapshots: Arc::new(Counting::default()),
        transport: Arc::new(Nobody),
        witness: None,
    };
    let settings = Settings {
        tick: Duration::from_millis(999),
        ..Settings::default()
    };
    let refused = Consensus::<Tokio>::start(settings, parts()).await;
    assert!(matches!(refused, Err(StartError::Settings(_))));
    let node = Consensus::<Tokio>::start(Settings::default(), parts()).await;
    let node = node.expect("nothing is wrong");
    let refused = node.explain_voters();
    assert_eq!(refused, Err(ChangeError::NotLeader { leader: None }));
    assert_eq!(node.successor(), None);
    node.stop().await;
}

#[tokio::test]
async fn commands_that_wait_when_a_node_stops_are_told_that_nothing_was_changed() {
    let (node, disk) = alone().await;
    disk.get_stuck();
    // These fill all entries that may be on their way; those behind them wait.
    let mut sent: Vec<_> = (0..40)
        .map(|_| {
            let node = node.clone();
            async move { node.propose(ME.node, None, write()).await }
        })
        .map(|proposing| Box::pin(proposing) as Pin<Box<dyn Future<Output = _>>>)
        .collect();
    for proposing in &mut sent {
        assert!(poll(proposing.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    // The engine ends only when its disk has.
    let stopping = async {
        node.stop().await;
    };
    let finishing = async {
        tokio::task::yield_now().await;
        disk.finish();
    };
    tokio::join!(stopping, finishing);
    let (mut stopped, mut others) = (0, 0);
    for proposing in sent {
        match proposing.await {
            Err(ProposeError::Stopped) => stopped += 1,
            Ok(_) | Err(ProposeError::OutcomeUnknown) => others += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(stopped > 0 && others > 0, "{stopped} stopped, {others} not");
}
