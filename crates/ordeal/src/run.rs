//! One run, from the first process to the verdict.
//!
//! 1. Nodes start and found a log. All of them have to be well before anything else.
//! 2. Clients work, the nemesis brings its troubles, windows of the history are judged as they close. A broken promise ends this early.
//! 3. All is healed. Within [`CONVERGE`] all nodes have to be well and at the same place, with a node that ended or stopped never excused.
//! 4. A write succeeds, no lock is held any more, every key is read once more, the nodes' states are compared, down to the bytes of their
//!    backups, and everything is judged again.
//!
//! This thread starts the processes and acts on them; the clients have a runtime of their own.
//!
//! Deliberately not here: what is promised (`history`), and printing (`report`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use anyhow::Context as _;
use convoke_rpc::identity::Development;
use convoke_rpc::{Endpoint, Limits, Target};
use convoke_types::RoleSet;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{self, JoinSet};

use crate::args::RunArguments;
use crate::clients::{Desk, until_whole};
use crate::fleet::Fleet;
use crate::ground::{Ground, Needs};
use crate::history::Summary;
use crate::ledger::Tally;
use crate::nemesis::Nemesis;
use crate::node::log_of;
use crate::plan::{What, draw};
use crate::report::Report;
use crate::votes::{Count, Elector};

/// A fresh set of keys so often.
const WINDOW: Duration = Duration::from_secs(3);
/// A log is founded within.
const BEGIN: Duration = Duration::from_secs(60);
/// When all is well again all nodes are, within.
const CONVERGE: Duration = Duration::from_secs(60);
/// Each operation of a client has a deadline, so that it ends within, once all is to be calm.
const CALM: Duration = Duration::from_secs(60);
/// Progress is told so often.
const PROGRESS: Duration = Duration::from_secs(15);
/// The same, of runs that are short.
const SHORT_PROGRESS: Duration = Duration::from_secs(5);
/// So many hear the news of locks, each from another node first.
const LISTENERS: usize = 2;
/// Windows are judged so often.
const JUDGE: Duration = Duration::from_millis(500);

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) summary: Summary,
    pub(crate) faults: Vec<(What, u64)>,
    pub(crate) refused_starts: u64,
    pub(crate) converged_after: Option<Duration>,
    pub(crate) was_interrupted: bool,
    /// What is kept of a broken promise.
    pub(crate) schedule: String,
    pub(crate) history: String,
    pub(crate) locks: String,
    pub(crate) tally: Tally,
    pub(crate) count: Count,
    pub(crate) leader_changes: u64,
}

/// Who tells the acting thread.
enum Wake {
    Interrupted,
    Broken,
}

/// Does it.
pub(crate) fn run(
    arguments: &RunArguments,
    seed: u64,
    directory: &Path,
    report: &mut Report,
) -> anyhow::Result<Outcome> {
    let needs = Needs::of(arguments);
    let nodes = arguments.nodes();
    let ground = Ground::make(needs, nodes)?;
    let development = Development::in_dir(directory.join("cluster"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (wake, woken) = mpsc::sync_channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn_on(hear_signals(wake.clone()), runtime.handle());

    let mut fleet = Fleet::start(ground, directory, needs.disks, arguments.planted)?;
    let desk = {
        let _within = runtime.enter();
        let identity = development.identity(RoleSet::ALL);
        let limits = Limits::default();
        let endpoint = Endpoint::bind(fleet.client(), identity, development.trust(), limits)
            .with_context(|| format!("call from {}", fleet.client()))?;
        let targets = fleet.addresses().iter().copied().map(Target::from);
        Arc::new(Desk::new(endpoint, targets.collect(), WINDOW, seed))
    };
    let mut run = Run {
        arguments,
        development,
        runtime: &runtime,
        desk,
        tasks,
        woken,
        nemesis: Nemesis::new(draw(
            seed,
            &arguments.faults,
            nodes,
            Duration::from_secs(arguments.seconds),
        )),
        report,
        was_interrupted: false,
    };
    let done = run.go(&mut fleet, wake);
    run.desk.calm();
    run.desk.close();
    run.tasks.abort_all();
    let outcome = done.map(|converged_after| Outcome {
        summary: run.desk.book.summary(),
        faults: run
            .nemesis
            .counts()
            .iter()
            .map(|(what, count)| (*what, *count))
            .collect(),
        refused_starts: fleet.refused_starts,
        converged_after,
        was_interrupted: run.was_interrupted,
        schedule: run.nemesis.log().to_owned(),
        history: run.desk.book.text(),
        locks: run.desk.ledger.text(),
        tally: run.desk.ledger.tally(),
        count: run.desk.ballots.count(),
        leader_changes: run.desk.leader_changes(),
    });
    drop(run);
    let ended = fleet.end();
    drop(fleet);
    // What still waits for an answer waits in vain.
    runtime.shutdown_background();
    ended?;
    outcome
}

/// Tasks that end by themselves when all is to be calm.
#[derive(Debug, Default)]
struct Clients {
    tasks: JoinSet<()>,
    /// Who has not ended.
    names: HashMap<task::Id, String>,
}

impl Clients {
    fn start(
        &mut self,
        name: String,
        client: impl Future<Output = ()> + Send + 'static,
        runtime: &Runtime,
    ) {
        let task = self.tasks.spawn_on(client, runtime.handle());
        self.names.insert(task.id(), name);
    }

    /// Waits for all of them. Gives those that are cut off, as they do not end within.
    async fn end(mut self, within: Duration) -> anyhow::Result<Vec<String>> {
        let until = tokio::time::Instant::now() + within;
        while let Ok(Some(ended)) =
            tokio::time::timeout_at(until, self.tasks.join_next_with_id()).await
        {
            let (id, ()) = ended.context("a client of the harness panicked")?;
            self.names.remove(&id);
        }
        self.tasks.abort_all();
        Ok(self.names.into_values().collect())
    }
}

struct Run<'a> {
    arguments: &'a RunArguments,
    development: Development,
    runtime: &'a Runtime,
    desk: Arc<Desk>,
    tasks: JoinSet<()>,
    woken: Receiver<Wake>,
    nemesis: Nemesis,
    report: &'a mut Report,
    was_interrupted: bool,
}

impl Run<'_> {
    /// Gives how long it took until all was well after all was healed, if it came so far.
    fn go(
        &mut self,
        fleet: &mut Fleet,
        wake: SyncSender<Wake>,
    ) -> anyhow::Result<Option<Duration>> {
        for node in 0..self.arguments.nodes() {
            self.start(Arc::clone(&self.desk).look(node));
        }
        let begun = self.runtime.block_on(until_whole(&self.desk, BEGIN));
        begun
            .map_err(anyhow::Error::msg)
            .context("wait until all nodes are well, before anything is done to them")?;
        self.desk.book.start();
        self.start(Arc::clone(&self.desk).watch());
        self.start(judge_on(Arc::clone(&self.desk), wake));
        let mut clients = Clients::default();
        for number in 0..self.arguments.clients {
            let client = Arc::clone(&self.desk).client(number);
            clients.start(format!("client {number}"), client, self.runtime);
        }
        if self.arguments.locks > 0 {
            for first in 0..LISTENERS {
                self.start(Arc::clone(&self.desk).hear(first));
            }
            self.start(Arc::clone(&self.desk).watch_fenced());
            for number in 0..self.arguments.locks {
                let locker = Arc::clone(&self.desk).locker(number);
                clients.start(format!("locker {number}"), locker, self.runtime);
            }
            let electors = self.electors(fleet)?;
            let voting = Arc::clone(&self.desk).vote(electors);
            clients.start("who votes".to_owned(), voting, self.runtime);
        }
        self.trouble(fleet)?;
        let healed = self.desk.book.now();
        let ended = self.nemesis.heal(healed, fleet)?;
        ended
            .into_iter()
            .for_each(|what| self.desk.book.broken(what));
        self.desk.calm();
        if self.was_interrupted {
            clients.tasks.abort_all();
            return Ok(None);
        }
        let left = self.runtime.block_on(clients.end(CALM))?;
        for who in left {
            let what = format!("{who} of the harness is still busy {CALM:?} after all was healed");
            self.desk.book.broken(what);
        }
        self.after(fleet, healed)
    }

    /// The harness as each of the nodes.
    fn electors(&self, fleet: &Fleet) -> anyhow::Result<Vec<Elector>> {
        let _within = self.runtime.enter();
        let addresses = fleet.addresses().iter().enumerate();
        addresses
            .map(|(node, address)| {
                let (key, from) = (fleet.key_of(node), fleet.client());
                let development = &self.development;
                Elector::of(&self.desk, development, key, from, *address, log_of(node))
            })
            .collect()
    }

    fn start(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, self.runtime.handle());
    }

    /// Until the time is over, a promise is broken, or somebody has seen enough.
    fn trouble(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let time = Duration::from_secs(self.arguments.seconds);
        let pace = if time < PROGRESS * 4 {
            SHORT_PROGRESS
        } else {
            PROGRESS
        };
        let mut told = Duration::ZERO;
        loop {
            let now = self.desk.book.now();
            let desk = &self.desk;
            let turn = self
                .nemesis
                .turn(now, || desk.leader(), self.arguments.nodes(), fleet);
            let (ended, next) = turn?;
            ended
                .into_iter()
                .for_each(|what| self.desk.book.broken(what));
            if now >= time && self.nemesis.is_done()
                || self.desk.book.is_broken()
                || self.desk.book.is_full()
            {
                return Ok(());
            }
            if now >= told + pace {
                told = now;
                let lasting = self.nemesis.told();
                self.report.progress(now, &self.desk, &lasting);
            }
            match self.woken.recv_timeout(next) {
                Ok(Wake::Interrupted) => {
                    self.was_interrupted = true;
                    return Ok(());
                }
                Ok(Wake::Broken) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("whoever hears signals has ended")
                }
            }
        }
    }

    fn after(&mut self, fleet: &mut Fleet, healed: Duration) -> anyhow::Result<Option<Duration>> {
        let desk = &self.desk;
        let whole = self.runtime.block_on(until_whole(desk, CONVERGE));
        // Whoever ended meanwhile did so by itself.
        let ended = fleet.become_so(&crate::plan::Harm::default())?;
        ended.into_iter().for_each(|what| desk.book.broken(what));
        if let Err(why) = whole {
            desk.book
                .broken(format!("{CONVERGE:?} after all was healed, {why}"));
            desk.book.judge_all();
            return Ok(None);
        }
        let converged = desk.book.now().saturating_sub(healed);
        if let Err(error) = self.runtime.block_on(desk.write_once()) {
            desk.book
                .broken(format!("nothing can be written when all is well: {error}"));
        }
        if let Err(why) = self.runtime.block_on(desk.until_free(CONVERGE)) {
            desk.book
                .broken(format!("{CONVERGE:?} after all was well, {why}"));
        }
        self.runtime.block_on(desk.read_all());
        self.runtime
            .block_on(compare(desk, self.arguments.nodes()))?;
        if self.arguments.locks > 0 {
            self.runtime.block_on(self.after_locks())?;
        }
        desk.book.judge_all();
        Ok(Some(converged))
    }
}

impl Run<'_> {
    /// What was decided beside keys is the same everywhere, and all of it is judged.
    async fn after_locks(&self) -> anyhow::Result<()> {
        let desk = &self.desk;
        let floor = desk.book.floor();
        if !desk.until_heard(floor, CONVERGE).await {
            let what = format!("{CONVERGE:?} after all was well, no watcher has heard of {floor}");
            desk.book.broken(what);
        }
        desk.compare_versions(self.arguments.nodes(), floor).await;
        desk.found(desk.compare_backups().await?);
        desk.found(desk.ledger.judge());
        Ok(())
    }
}

/// All nodes have the same, all of it.
async fn compare(desk: &Desk, nodes: usize) -> anyhow::Result<()> {
    let at_least = desk.book.floor();
    let mut first = None;
    for node in 0..nodes {
        let all = desk.all_of(node, at_least).await;
        let all = match all {
            Ok(all) => all,
            Err(error) => {
                desk.book
                    .broken(format!("node {node} does not tell what it has: {error:#}"));
                continue;
            }
        };
        let first = first.get_or_insert_with(|| all.clone());
        if let Some((one, other)) = first.iter().zip(&all).find(|(one, other)| one != other) {
            desk.book
                .broken(format!("node {node} has {other:?}, and node 0 has {one:?}"));
        } else if first.len() != all.len() {
            desk.book.broken(format!(
                "node {node} has {} keys, and node 0 has {}",
                all.len(),
                first.len()
            ));
        }
    }
    Ok(())
}

async fn hear_signals(wake: SyncSender<Wake>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // Full only if there is enough to wake it.
    let _ = wake.try_send(Wake::Interrupted);
    std::future::pending().await
}

async fn judge_on(desk: Arc<Desk>, wake: SyncSender<Wake>) {
    loop {
        tokio::time::sleep(JUDGE).await; // tidy: the pace at which windows are judged
        let judging = Arc::clone(&desk);
        let judged = task::spawn_blocking(move || judging.book.judge_before(judging.window()));
        desk.found(desk.ledger.judge());
        if judged.await.is_err() || desk.book.is_broken() {
            let _ = wake.try_send(Wake::Broken);
            return;
        }
    }
}
