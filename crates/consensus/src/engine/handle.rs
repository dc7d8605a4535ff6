//! [`Consensus`]: the log as the rest of a node uses it.
//!
//! It is cheap to clone, and whoever has it can propose, read, watch, and change who leads and who votes. Behind it are the engine and
//! five tasks of ours: `proposer`, `reader`, `keeper`, `candidacy` and `reconciler`. [`Consensus::stop`] ends all of them and waits for them.
//!
//! Deliberately not here: finding the leader and trying again, which is the client's; and which node should vote or lead (`planner`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convoke_decided::{BATCH_BYTES, Decided, Frozen};
use convoke_types::wire::store::{Command, Freshness, Outcome, Query, Revision, Ticket};
use convoke_types::{NodeId, RoleSet};
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::{Config, Raft, SnapshotPolicy};
use openraft_rt::{AsyncRuntime, Instant as _, Oneshot, WatchReceiver as _};
use parking_lot::Mutex;
use rand::Rng as _;

use super::api::{
    Answer, ChangeError, ProposeError, ReadError, Settings, SnapshotError, StartError, Status,
    Watched, Weakness, Written,
};
use super::candidacy::{self, Candidacy};
use super::keeper;
use super::level::Levels;
use super::machine::{Held, Machine, Witness};
use super::network::{Peers, Transport};
use super::proposer::{self, Waiting, retry_after, size_of};
use super::reader::{self, Reading, Round};
use super::recall::Recall;
use super::reconciler::{self, Reconciling};
use super::serve::Arriving;
use super::snapshot::Snapshots;
use super::storage::Storage;
use super::types::{LogId, Member, Types, position_of};
use super::wait::{Gauge, Inbox, Refused};
use crate::journal::Journal;
use crate::log::{Position, VoterId, Work};
use crate::planner::acknowledged::LAG;
use crate::planner::explain::Explanation;

/// Changes a watcher is given at once.
const WATCHED: usize = 1_000;
/// Between two entries that are written for nothing but to see disks write.
const TICK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// New voters learn so long before they vote.
const LEARNING: Duration = Duration::from_secs(60);
/// Who asks for a snapshot waits so long for it. A store that is full is two gigabytes.
const WRITING: Duration = Duration::from_secs(600);

/// The log of a cluster, as one node takes part in it.
pub struct Consensus<R: AsyncRuntime> {
    pub(super) core: Arc<Core<R>>,
}

impl<R: AsyncRuntime> Clone for Consensus<R> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

impl<R: AsyncRuntime> fmt::Debug for Consensus<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus")
            .field("me", &self.core.me)
            .finish_non_exhaustive()
    }
}

/// What a node brings along.
pub struct Parts {
    /// Who it is: its id, and that of the log in `journal`.
    pub me: VoterId,
    /// Its log.
    pub journal: Arc<dyn Journal>,
    /// Its snapshots.
    pub snapshots: Arc<dyn Snapshots>,
    /// How it reaches others.
    pub transport: Arc<dyn Transport>,
    /// Who hears of everything that is applied.
    pub witness: Option<Arc<dyn Witness>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// What everything behind the handle shares.
pub(super) struct Core<R: AsyncRuntime> {
    pub(super) me: VoterId,
    pub(super) settings: Settings,
    pub(super) raft: Raft<Types<R>, Machine<R>>,
    pub(super) held: Arc<Held<R>>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) proposals: Inbox<Waiting<R>>,
    pub(super) reads: Inbox<Reading<R>>,
    pub(super) arriving: Mutex<Arriving>,
    /// When a leader was last heard of.
    pub(super) heard: Mutex<Option<R::Instant>>,
    /// What follows from that, and from votes, for this node's standing for election.
    pub(super) candidacy: Mutex<Candidacy>,
    pub(super) started: R::Instant,
    /// No vote before.
    pub(super) votes_from: R::Instant,
    /// What others told of their logs.
    pub(super) recall: Arc<Recall>,
    /// What the members of the log speak.
    pub(super) levels: Arc<Levels>,
    /// Whom an entry was written for of late, so that it is refilled.
    pub(super) refills: Mutex<BTreeMap<NodeId, R::Instant>>,
    /// When leadership was handed over, in which term and to whom.
    pub(super) handed_over: Mutex<Option<(R::Instant, u64, VoterId)>>,
    is_doubtful: AtomicBool,
    /// Nobody who was asked remembers more of this log than is in it.
    is_vouched: AtomicBool,
    /// Somebody waits for a snapshot.
    is_snapshot_wanted: AtomicBool,
    pub(super) stopping: Arc<Gauge<bool>>,
    /// This node leads, no majority answers it, and it says nothing for a while.
    pub(super) is_quiet: Arc<Gauge<bool>>,
    /// When somebody who cannot lead instead asked to, while this node said nothing.
    pub(super) missed: Mutex<Option<R::Instant>>,
    /// What is known about who should vote.
    pub(super) reconciling: Mutex<Reconciling>,
    tasks: Mutex<Vec<R::JoinHandle<()>>>,
}

impl<R: AsyncRuntime> Core<R> {
    pub(super) fn is_weakened(&self, weakness: Weakness) -> bool {
        self.settings.weakened == Some(weakness)
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Acquire)
    }

    pub(super) fn is_vouched(&self) -> bool {
        self.is_vouched.load(Ordering::Acquire)
    }

    /// The feature level of the next entry.
    pub(super) fn next_level(&self, term: u64) -> u16 {
        let members: Vec<VoterId> = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.nodes();
            membership.map(|(voter, _)| *voter).collect()
        };
        let decided = self.held.state.read().decided.level();
        let entries = self.journal.last().index;
        self.levels
            .next(term, self.me, &members, decided, entries, self.now())
    }

    /// Whoever could be asked knows nothing against this log.
    pub(super) fn vouch(&self) {
        self.is_vouched.store(true, Ordering::Release);
        self.recall.begin_to_tell();
    }

    /// The log lacks what it had. That is written down already.
    pub(super) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Release);
        self.is_vouched.store(true, Ordering::Release);
        self.recall.begin_to_tell();
    }

    /// The log is whole again.
    pub(super) fn trust(&self) {
        self.is_doubtful.store(false, Ordering::Release);
    }

    /// The time since this node's start.
    pub(super) fn now(&self) -> Duration {
        R::Instant::now() - self.started
    }

    pub(super) fn leader(&self) -> Option<VoterId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    pub(super) fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    pub(super) fn member(&self, id: VoterId) -> Member {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        membership.get_node(&id).cloned().unwrap_or_default()
    }

    /// Whether this node votes, as far as it knows.
    fn is_voter(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .voter_ids()
            .any(|id| id == self.me)
    }

    /// On a leader that is not the only voter: how long ago it said something that a majority answered, if it ever did.
    pub(super) fn without_majority_for(&self) -> Option<Duration> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let is_leader = metrics.current_leader == Some(self.me);
        let others = metrics
            .membership_config
            .voter_ids()
            .filter(|id| *id != self.me);
        let acked = metrics.last_quorum_acked?.into_inner();
        (is_leader && others.count() > 0).then(|| R::Instant::now() - acked)
    }

    /// On a leader with two sets of voters: where that was decided.
    pub(super) fn joint(&self) -> Option<LogId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let is_leader = metrics.current_leader == Some(self.me);
        let membership = &metrics.membership_config;
        let is_joint = membership.get_joint_config().len() > 1;
        (is_leader && is_joint)
            .then(|| *membership.log_id())
            .flatten()
    }
}

fn config(settings: &Settings) -> Result<Config, StartError> {
    if !TICK.contains(&settings.tick) {
        let what = format!("tick is from 1 s to 60 s, and not {:?}", settings.tick);
        return Err(StartError::Settings(what));
    }
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "convoke".to_owned(),
        heartbeat_interval: millis(settings.heartbeat),
        // How long votes are waited for, which the engine wants shorter than the lease; its timer is off.
        election_timeout_min: millis(settings.lease).saturating_sub(1),
        election_timeout_max: millis(settings.lease),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
        max_in_snapshot_log_to_keep: settings.keep,
        install_snapshot_timeout: millis(LEARNING),
        enable_pre_vote: Some(true),
        enable_elect: false,
        // Trap 1: with it a leader gives the same place to two entries after a crash.
        enable_leader_restore: Some(settings.weakened == Some(Weakness::LeaderRestore)),
        // Trap 4: a follower whose log went back is brought up to date; whether it votes is ours to say.
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    config
        .validate()
        .map_err(|error| StartError::Settings(error.to_string()))
}

impl<R: AsyncRuntime> Consensus<R> {
    /// Takes part. The node must not take part twice.
    ///
    /// # Errors
    /// When the settings or what is on the disk make no sense.
    pub async fn start(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        let Parts {
            me,
            journal,
            snapshots,
            transport,
            witness,
        } = parts;
        let register = journal.register();
        let snapshot = snapshots
            .latest()
            .await
            .map_err(|error| StartError::Engine(format!("read the latest snapshot: {error}")))?;
        let snapshot = snapshot.map_or(0, |image| image.position().index);
        let purged = register.purged.index;
        if snapshot < purged {
            return Err(StartError::NoSnapshot { purged, snapshot });
        }
        // A new log has told nobody anything, and a doubtful one does not vote anyway.
        let is_vouched = register.opened <= 1 || register.doubtful;
        let config = config(&settings)?;
        let life = R::thread_rng().next_u64();
        let levels = Arc::new(Levels::new(settings.feature_level));
        let recall = Arc::new(Recall::new(life, &journal, is_vouched));
        let held = Arc::new(Held::new(Decided::with_store_bytes(settings.store_bytes)));
        let stopping = Arc::new(Gauge::new(false));
        let is_quiet = Arc::new(Gauge::new(false));
        let machine = Machine {
            held: Arc::clone(&held),
            journal: Arc::clone(&journal),
            snapshots,
            witness,
            stopping: Arc::clone(&stopping),
        };
        let peers = Peers {
            me,
            transport: Arc::clone(&transport),
            piece: settings.piece,
            grants_pre_votes: settings.weakened == Some(Weakness::FreePreVotes),
            is_quiet: Arc::clone(&is_quiet),
            recall: Arc::clone(&recall),
            levels: Arc::clone(&levels),
            runtime: PhantomData,
        };
        let storage = Storage::new(Arc::clone(&journal));
        let raft = Raft::new(me, Arc::new(config), peers, storage, machine)
            .await
            .map_err(|error| StartError::Engine(error.to_string()))?;
        let lease = if register.opened > 1 {
            settings.lease
        } else {
            Duration::ZERO
        };
        let now = R::Instant::now();
        let core = Arc::new(Core {
            me,
            raft,
            held,
            journal,
            transport,
            proposals: Inbox::new(proposer::WAITING, proposer::WAITING_BYTES),
            reads: Inbox::new(reader::WAITING, usize::MAX),
            arriving: Mutex::default(),
            heard: Mutex::new(None),
            candidacy: Mutex::new(Candidacy::new(settings.lease, settings.step)),
            started: now,
            votes_from: now + lease,
            recall,
            levels,
            refills: Mutex::default(),
            handed_over: Mutex::default(),
            is_doubtful: AtomicBool::new(register.doubtful),
            is_vouched: AtomicBool::new(is_vouched),
            is_snapshot_wanted: AtomicBool::new(false),
            stopping,
            is_quiet,
            missed: Mutex::default(),
            reconciling: Mutex::default(),
            tasks: Mutex::default(),
            settings,
        });
        let tasks = vec![
            R::spawn(proposer::run(Arc::clone(&core))),
            R::spawn(reader::run(Arc::clone(&core))),
            R::spawn(keeper::run(Arc::clone(&core))),
            R::spawn(candidacy::run(Arc::clone(&core))),
            R::spawn(reconciler::run(Arc::clone(&core))),
        ];
        *core.tasks.lock() = tasks;
        Ok(Self { core })
    }

    /// Begins a new cluster with these voters. Once, on one of them; a node that has entries refuses.
    ///
    /// # Errors
    /// When this node has entries, or is none of them.
    pub async fn found(&self, voters: BTreeMap<VoterId, Member>) -> Result<(), ChangeError> {
        self.core
            .raft
            .initialize(voters)
            .await
            .map_err(|error| match error {
                RaftError::APIError(refused) => ChangeError::Refused(refused.to_string()),
                RaftError::Fatal(_) => ChangeError::Stopped,
            })
    }

    /// Has a command decided and carried out.
    ///
    /// # Errors
    /// Each says whether anything may have changed; see [`ProposeError`].
    pub async fn propose(
        &self,
        principal: NodeId,
        ticket: Option<Ticket>,
        command: Command,
    ) -> Result<Outcome, ProposeError> {
        let core = &self.core;
        let size_bytes = size_of(&command);
        if size_bytes > BATCH_BYTES {
            return Err(ProposeError::TooLarge { found: size_bytes });
        }
        let (told, outcome) = <R::Oneshot as Oneshot>::channel();
        let waiting = Waiting {
            principal,
            ticket,
            command,
            told,
        };
        core.proposals
            .push(waiting, size_bytes)
            .map_err(|refused| match refused {
                Refused::Full => ProposeError::Busy {
                    retry_after: retry_after(core.settings.heartbeat),
                },
                Refused::Closed => ProposeError::Stopped,
            })?;
        match R::timeout(core.settings.patience, outcome).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(ProposeError::OutcomeUnknown),
        }
    }

    /// Answers a question, as new as asked for.
    ///
    /// # Errors
    /// When that cannot be had in time.
    pub async fn read(&self, query: &Query, freshness: Freshness) -> Result<Answer, ReadError> {
        match freshness {
            Freshness::Linearizable => {
                let index = self.read_index().await?;
                self.applied(index).await?;
                Ok(self.answer(query, false))
            }
            Freshness::AtLeast(revision) => {
                self.reached(revision).await?;
                Ok(self.answer(query, false))
            }
            Freshness::Stale => Ok(self.answer(query, true)),
        }
    }

    fn answer(&self, query: &Query, may_be_old: bool) -> Answer {
        let state = self.core.held.state.read();
        let (found, revision) = (state.decided.find(query), state.decided.revision());
        drop(state);
        Answer {
            found,
            revision,
            age: may_be_old.then(|| self.age()).flatten(),
        }
    }

    /// What the record of a node allows it to be, as far as this node has applied; nothing without a record.
    #[must_use]
    pub fn allowed(&self, node: NodeId) -> Option<RoleSet> {
        let state = self.core.held.state.read();
        state.decided.node(&node).map(|record| record.allowed)
    }

    /// How long no leader was heard of, or on a leader no majority; nothing if none ever was.
    fn age(&self) -> Option<Duration> {
        let heard = if self.core.leader() == Some(self.core.me) {
            let metrics = self.core.raft.metrics();
            let metrics = metrics.borrow_watched();
            // Alone it is its own majority, and nobody acknowledges anything to it.
            if metrics.membership_config.voter_ids().count() == 1 {
                return Some(Duration::ZERO);
            }
            metrics.last_quorum_acked.map(|acked| *acked)
        } else {
            *self.core.heard.lock()
        };
        heard.map(|heard| R::Instant::now() - heard)
    }

    async fn read_index(&self) -> Result<u64, ReadError> {
        let core = &self.core;
        let (told, round) = <R::Oneshot as Oneshot>::channel();
        let reading = Reading {
            is_remote: false,
            told,
        };
        core.reads
            .push(reading, 1)
            .map_err(|refused| match refused {
                Refused::Full => ReadError::Busy {
                    retry_after: retry_after(core.settings.heartbeat),
                },
                Refused::Closed => ReadError::Stopped,
            })?;
        match R::timeout(core.settings.patience, round).await {
            Ok(Ok(Round::Index(index))) => Ok(index),
            Ok(Ok(Round::NotLeader(_) | Round::NoQuorum)) | Err(_) => Err(ReadError::NoLeader),
            Ok(Ok(Round::Stopped) | Err(_)) => Err(ReadError::Stopped),
        }
    }

    async fn applied(&self, index: u64) -> Result<(), ReadError> {
        let core = &self.core;
        let applied = core.held.progress.until(|now| now.index >= index);
        let applied = R::timeout(core.settings.patience, applied).await;
        applied.map(|_| ()).map_err(|_| ReadError::NoLeader)
    }

    async fn reached(&self, wanted: Revision) -> Result<(), ReadError> {
        let core = &self.core;
        let reached = core.held.progress.until(|now| now.revision >= wanted);
        let reached = R::timeout(core.settings.patience, reached).await;
        reached.map(|_| ()).map_err(|_| ReadError::NotYet {
            wanted,
            here: core.held.progress.get().revision,
        })
    }

    /// All changes behind a revision, as they are applied here.
    #[must_use]
    pub fn watch(&self, from: Revision) -> Watch<R> {
        Watch {
            core: Arc::clone(&self.core),
            seen: from,
        }
    }

    /// The state as it is here now, and the last entry in it.
    #[must_use]
    pub fn freeze(&self) -> (Position, Frozen) {
        self.core.held.freeze()
    }

    /// How this node sees itself and the log.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.core;
        let state = core.held.state.read();
        let applied = position_of(state.applied.as_ref());
        let revision = state.decided.revision();
        let extent = state.decided.extent();
        drop(state);
        let metrics = core.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let matching = metrics.replication.iter().flatten();
        Status {
            me: core.me,
            leader: metrics.current_leader,
            term: metrics.current_term,
            applied,
            snapshot: position_of(metrics.snapshot.as_ref()),
            revision,
            extent,
            last: core.journal.last(),
            is_doubtful: core.is_doubtful(),
            is_quiet: core.is_quiet.get(),
            stopped: metrics.running_state.as_ref().err().map(why_it_stopped),
            voters: membership
                .get_joint_config()
                .iter()
                .map(|set| set.iter().copied().collect())
                .collect(),
            members: membership
                .nodes()
                .map(|(id, member)| (*id, member.clone()))
                .collect(),
            matching: matching
                .map(|(id, last)| (*id, position_of(last.as_ref())))
                .collect(),
        }
    }

    /// Writes the state as a snapshot now, whatever is in the one before, and lets the entries in it go as after any other.
    ///
    /// # Errors
    /// As [`SnapshotError`] says.
    pub async fn snapshot(&self) -> Result<Written, SnapshotError> {
        let core = &self.core;
        let before = core.held.making.get();
        if core.held.progress.get().index == 0 {
            return Err(SnapshotError::Nothing);
        }
        if before.is_under_way || core.is_snapshot_wanted.swap(true, Ordering::AcqRel) {
            return Err(SnapshotError::UnderWay);
        }
        let _wanted = Wanted(&core.is_snapshot_wanted);
        let triggered = core.raft.trigger().snapshot().await;
        triggered.map_err(|_| SnapshotError::Stopped)?;
        let ended = core
            .held
            .making
            .until(|now| now.written > before.written || now.failed > before.failed);
        let stopped = core.stopping.until(|is_stopping| is_stopping);
        let ended = R::timeout(WRITING, R::select2(ended, stopped)).await;
        let making = match ended {
            Err(_) => return Err(SnapshotError::Late),
            Ok(openraft_rt::Select2::Second(_)) => return Err(SnapshotError::Stopped),
            Ok(openraft_rt::Select2::First(making)) => making,
        };
        if making.failed > before.failed {
            return Err(SnapshotError::Failed);
        }
        let written = making.latest.expect("one was written");
        // The engine hears of it a moment later; who asks for the status next sees it there.
        let known = core.raft.wait(Some(core.settings.patience));
        let known = known
            .metrics(
                |metrics| position_of(metrics.snapshot.as_ref()).index >= written.at.index,
                "a snapshot that was asked for",
            )
            .await;
        known.map(|_| written).map_err(|_| SnapshotError::Stopped)
    }

    /// Hands leadership to a voter that has nearly all entries, and waits until it leads.
    ///
    /// # Errors
    /// When this node does not lead, or the other one could not.
    pub async fn transfer(&self, to: VoterId) -> Result<(), ChangeError> {
        let core = &self.core;
        let status = self.status();
        if !status.is_leader() {
            return Err(ChangeError::NotLeader {
                leader: status.leader,
            });
        }
        if to == core.me {
            return Ok(());
        }
        if !status.voters.iter().any(|set| set.contains(&to)) {
            return Err(ChangeError::NoVoter(to));
        }
        // The engine forgets nobody it hands over to, also who is dead: writes are refused until an election (trap 6). If that does not
        // come, `keeper` takes it back.
        let known = status.matching.get(&to).copied().unwrap_or_default();
        let entries = status.last.index.saturating_sub(known.index);
        if entries > LAG {
            return Err(ChangeError::TooFarBehind { to, entries });
        }
        *core.handed_over.lock() = Some((R::Instant::now(), status.term, to));
        core.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|_| ChangeError::Stopped)?;
        let deadline = R::Instant::now() + core.settings.lease * 4;
        while R::Instant::now() < deadline {
            if core.leader() == Some(to) {
                return Ok(());
            }
            R::sleep(core.settings.heartbeat / 5).await;
        }
        Err(ChangeError::Unknown)
    }

    /// Has exactly these vote. New ones learn first; while it changes, majorities of the old and of the new decide. It goes on when
    /// nobody waits for it any more.
    ///
    /// # Errors
    /// When this node does not lead or is left out, or it did not happen in time.
    pub async fn change_voters(
        &self,
        voters: BTreeMap<VoterId, Member>,
    ) -> Result<(), ChangeError> {
        let core = Arc::clone(&self.core);
        let changing = R::spawn(async move {
            // Stopped with all else; what it leaves behind the next leader's keeper finishes.
            let stopped = core.stopping.until(|is_stopping| is_stopping);
            match R::select2(stopped, change_voters(&core, voters, false)).await {
                openraft_rt::Select2::First(_) => Err(ChangeError::Stopped),
                openraft_rt::Select2::Second(changed) => changed,
            }
        });
        changing.await.unwrap_or(Err(ChangeError::Stopped))
    }

    /// On the leader: to whom it should hand over when it has to. That is the voter of the best rank that has nearly all entries and
    /// acknowledges them; without records, whoever has most. Nothing if there is none, or this node does not lead.
    #[must_use]
    pub fn successor(&self) -> Option<VoterId> {
        reconciler::successor(&self.core)
    }

    /// Who should vote, who does, and why, as the leader sees it.
    ///
    /// # Errors
    /// When this node does not lead.
    pub fn explain_voters(&self) -> Result<Explanation, ChangeError> {
        let plan = reconciler::look(&self.core);
        plan.map(|plan| plan.explanation)
            .ok_or_else(|| ChangeError::NotLeader {
                leader: self.core.leader(),
            })
    }

    /// Whom gossip does not reach, as far as this node can tell. It orders those who could become voters, and does nothing else: what is
    /// observed may be wrong. Without it all count as reached.
    pub fn observe_unreachable(&self, nodes: BTreeSet<NodeId>) {
        self.core.reconciling.lock().unreachable = nodes;
    }

    /// Takes part no more, and waits until nothing of it runs.
    pub async fn stop(&self) {
        let core = &self.core;
        core.stopping.change(|_| true);
        // Written before the engine has ended, or not at all.
        core.journal.submit(vec![Work::Remember], Box::new(|_| ()));
        proposer::let_go(core);
        core.reads.close();
        let tasks = std::mem::take(&mut *core.tasks.lock());
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the log ended badly");
            }
        }
        if let Err(error) = core.raft.shutdown().await {
            tracing::error!(%error, "the engine of the log ended badly");
        }
    }
}

/// Takes the wish back when nobody waits any more.
struct Wanted<'a>(&'a AtomicBool);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Who votes no more learns on, if it is to.
pub(super) async fn change_voters<R: AsyncRuntime>(
    core: &Core<R>,
    voters: BTreeMap<VoterId, Member>,
    learns_on: bool,
) -> Result<(), ChangeError> {
    // A leader that was left out still leads for a moment, and the engine's next change finds it leading as nobody (trap 17).
    let leader = core.leader();
    if leader != Some(core.me) {
        return Err(ChangeError::NotLeader { leader });
    }
    if !voters.contains_key(&core.me) || !core.is_voter() {
        return Err(ChangeError::WithoutLeader);
    }
    if core.joint().is_some() {
        keeper::finish_change(core, core.settings.patience).await;
    }
    let known: BTreeSet<VoterId> = {
        let metrics = core.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes.map(|(id, _)| *id).collect()
    };
    let set: BTreeSet<VoterId> = voters.keys().copied().collect();
    for (id, member) in voters {
        if known.contains(&id) {
            continue;
        }
        let learning = core.raft.add_learner(id, member, true);
        match R::timeout(LEARNING, learning).await {
            Ok(done) => done.map_err(refused)?,
            Err(_) => return Err(ChangeError::Unknown),
        };
    }
    let change = core.raft.change_membership(set, learns_on).await;
    change.map(|_| ()).map_err(refused)
}

fn refused<R: AsyncRuntime>(error: RaftError<Types<R>, ClientWriteError<Types<R>>>) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => ChangeError::NotLeader {
            leader: forward.leader_id,
        },
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ChangeError::Unknown,
        RaftError::APIError(error) => ChangeError::Refused(error.to_string()),
        RaftError::Fatal(_) => ChangeError::Stopped,
    }
}

/// Changes as they are applied on one node.
pub struct Watch<R: AsyncRuntime> {
    core: Arc<Core<R>>,
    seen: Revision,
}

impl<R: AsyncRuntime> fmt::Debug for Watch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl<R: AsyncRuntime> Watch<R> {
    /// What comes next, as soon as it is there. Dropped before it is there, nothing is lost. A slow watcher is told the whole state when
    /// what it has not seen is not kept any more.
    pub async fn next(&mut self) -> Watched {
        let seen = self.seen;
        let progress = &self.core.held.progress;
        progress.until(|now| now.revision > seen).await;
        let state = self.core.held.state.read();
        match state.ring.after(seen, WATCHED) {
            Some(changes) => {
                self.seen = changes
                    .last()
                    .map_or(seen, convoke_decided::Changed::revision);
                Watched::Changes(changes)
            }
            None => {
                let frozen = state.decided.freeze();
                self.seen = frozen.revision();
                Watched::Resync(Box::new(frozen))
            }
        }
    }
}

/// In our words: the engine has the cause as a text behind the name of its type.
fn why_it_stopped<R: AsyncRuntime>(fatal: &Fatal<Types<R>>) -> String {
    let said = fatal.to_string();
    let behind = format!("{}: ", std::any::type_name::<std::io::Error>());
    said.rsplit_once(&behind)
        .map_or_else(|| said.clone(), |(_, cause)| cause.to_owned())
}
