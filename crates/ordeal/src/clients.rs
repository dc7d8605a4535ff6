//! Clients: they write, swap, delete and read a few keys as quickly as they get answers, and write down what they saw.
//!
//! Half of the reads go through the client of the store, half to one node that chance picks, leader or not. A write that has no outcome
//! in [`PATIENCE`] has none for ever; that is longer than most troubles last, because every operation that may or may not have happened
//! makes the search for an order harder.
//!
//! Deliberately not here: locks and votes (`locks`, `votes`), and judging (`history`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use convoke_rpc::{CallError, CallOptions, Channel, ChannelConfig, Endpoint, Target};
use convoke_store::{
    Error, Event, KeeperClient, LogStatus, QueryRequest, Standing, Store, StoreConfig,
};
use convoke_trial::linear::{Act, Answer};
use convoke_trial::{Random, mix};
use convoke_types::wire::store::{Expect, Found, Freshness, Listed, Query, Range, Revision};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::history::{Begun, Book, KEYS, Key, Value, Way, bytes_of, value_of};
use crate::ledger::{Broken, Ledger};
use crate::votes::Ballots;

/// How long an operation is tried.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long one node is given to answer before the client of the store asks another.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How long one node is given to answer when it alone is asked.
const ONE_NODE: Duration = Duration::from_secs(2);
/// Nodes are asked how they do so often, …
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// … and have to answer so soon.
const LOOK: Duration = Duration::from_millis(500);
/// Backups of all nodes are taken so often until they are of the same moment.
const BACKUPS: u32 = 20;
/// Client and counter make a value.
const COUNTER_BITS: u32 = 40;
/// The client that looks after the end.
const AFTERWARDS: u64 = 99;

/// What all clients have.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) book: Book,
    pub(crate) ledger: Ledger,
    pub(crate) ballots: Ballots,
    endpoint: Endpoint,
    nodes: Vec<Target>,
    direct: Vec<KeeperClient>,
    window: Duration,
    seed: u64,
    is_calm: AtomicBool,
    is_over: AtomicBool,
    views: Mutex<Vec<Option<LogStatus>>>,
    /// Terms in which somebody led.
    terms: Mutex<BTreeSet<u64>>,
}

impl Desk {
    pub(crate) fn new(endpoint: Endpoint, nodes: Vec<Target>, window: Duration, seed: u64) -> Self {
        let direct = |target: &Target| {
            let config = ChannelConfig {
                longest_pause: Duration::from_millis(500),
                ..ChannelConfig::default()
            };
            KeeperClient::new(Channel::new(&endpoint, target.clone(), config))
        };
        Self {
            book: Book::new(),
            ledger: Ledger::default(),
            ballots: Ballots::default(),
            direct: nodes.iter().map(direct).collect(),
            views: Mutex::new(vec![None; nodes.len()]),
            terms: Mutex::default(),
            endpoint,
            nodes,
            window,
            seed,
            is_calm: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Clients begin nothing new.
    pub(crate) fn calm(&self) {
        self.is_calm.store(true, Ordering::Release);
    }

    /// Nobody looks any more.
    pub(crate) fn close(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Clients have begun to end.
    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Acquire)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Tells what is broken, if anything.
    pub(crate) fn found(&self, broken: Broken) {
        broken.into_iter().for_each(|what| self.book.broken(what));
    }

    /// How often somebody else came to lead, as far as anybody looked.
    pub(crate) fn leader_changes(&self) -> u64 {
        (self.terms.lock().len() as u64).saturating_sub(1)
    }

    /// This node, and no other.
    pub(crate) fn node(&self, node: usize) -> &KeeperClient {
        &self.direct[node]
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// The keys of this moment.
    pub(crate) fn window(&self) -> usize {
        (self.book.now().as_nanos() / self.window.as_nanos()) as usize
    }

    fn store(&self) -> Store {
        self.store_of(&self.endpoint)
    }

    /// One that asks this node first.
    pub(crate) fn store_from(&self, first: usize) -> Store {
        let mut nodes = self.nodes.clone();
        nodes.rotate_left(first % self.nodes.len());
        Self::store_with(&self.endpoint, nodes)
    }

    /// One that calls from somewhere else.
    pub(crate) fn store_of(&self, endpoint: &Endpoint) -> Store {
        Self::store_with(endpoint, self.nodes.clone())
    }

    fn store_with(endpoint: &Endpoint, nodes: Vec<Target>) -> Store {
        let config = StoreConfig {
            timeout: PATIENCE,
            attempt: ATTEMPT,
            sessions: 2,
            channel: ChannelConfig {
                longest_pause: Duration::from_millis(500),
                ..ChannelConfig::default()
            },
        };
        Store::new(endpoint, nodes, config)
    }

    /// How the nodes did when they were last asked; nothing of one that did not answer.
    pub(crate) fn views(&self) -> Vec<Option<LogStatus>> {
        self.views.lock().clone()
    }

    /// Who leads, as far as is known: of two that say so the one of the later term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let views = self.views.lock();
        let leaders = views.iter().enumerate().filter_map(|(node, view)| {
            let view = view.as_ref()?;
            (view.standing == Standing::Leader).then_some((view.term, node))
        });
        leaders.max().map(|(_, node)| node)
    }

    /// Asks a node how it does, until the desk is closed.
    pub(crate) async fn look(self: Arc<Self>, node: usize) {
        while !self.is_closed() {
            let options = CallOptions::new().timeout(LOOK).attempts(1);
            let view = self.direct[node].with(options).status().await.ok();
            if let Some(view) = view.as_ref().filter(|it| it.standing == Standing::Leader) {
                self.terms.lock().insert(view.term);
            }
            self.views.lock()[node] = view;
            tokio::time::sleep(LOOK_EVERY).await; // tidy: the pace at which nodes are looked at
        }
    }

    /// Watches all keys until the desk is closed.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut watch = self.store().watch(Key::PREFIX, Some(Revision(0)));
        // Nothing while what is there is told in the order of keys.
        let mut last = Some(Revision(0));
        let mut is_anew = false;
        while !self.is_closed() {
            let Ok(event) = tokio::time::timeout(ONE_NODE, watch.next()).await else {
                continue;
            };
            match event {
                Ok(Event::Change(change)) => {
                    if let Some(before) = last.replace(change.revision)
                        && change.revision <= before
                    {
                        let what =
                            format!("a watcher is told of {} after {before}", change.revision);
                        self.book.broken(what);
                    }
                    if is_anew {
                        last = None;
                    }
                    if let Some(item) = change.item {
                        self.book.told(value_of(&item.value), item.changed);
                    }
                }
                // What is there follows, in the order of keys.
                Ok(Event::Resync(_)) => (is_anew, last) = (true, None),
                // All of it was told, and changes behind it follow.
                Ok(Event::Complete(revision)) => (is_anew, last) = (false, Some(revision)),
                Ok(other) => self
                    .book
                    .broken(format!("a watcher is told what nobody knows: {other:?}")),
                Err(error) => self.book.broken(format!("a watcher is sent away: {error}")),
            }
        }
    }

    /// One client, until all is to be calm.
    pub(crate) async fn client(self: Arc<Self>, number: u64) {
        let mut client = Client {
            store: self.store(),
            random: Random::from_seed(mix(self.seed, 1_000 + number)),
            number,
            written: 0,
            last: vec![None; usize::from(KEYS)],
            seen: Revision(0),
            window: 0,
            desk: self,
        };
        while !client.desk.is_calm() && !client.desk.book.is_full() {
            client.step().await;
        }
    }

    /// Reads every key there ever was once more.
    pub(crate) async fn read_all(&self) {
        let store = self.store();
        for window in 0..self.book.windows() {
            for number in 0..KEYS {
                let key = Key { window, number };
                let begun = self.book.begin(AFTERWARDS, Way::Store, key, Act::Get);
                let query = Query::Get(key.bytes());
                match store.query(query, Freshness::Linearizable).await {
                    Ok(answer) => take_read(&self.book, begun, answer.found, answer.revision),
                    Err(error) => {
                        self.book.failed(begun);
                        let key = String::from_utf8_lossy(&key.bytes()).into_owned();
                        self.book
                            .broken(format!("{key} cannot be read when all is well: {error}"));
                        return;
                    }
                }
            }
        }
    }

    /// A write that must succeed when all is well.
    pub(crate) async fn write_once(&self) -> Result<Revision, Error> {
        self.store().put("afterwards", "1").await
    }

    /// Waits until nobody holds a lock any more: who holds one says nothing, so its lease ends.
    pub(crate) async fn until_free(&self, patience: Duration) -> Result<(), String> {
        let until = Instant::now() + patience;
        let store = self.store();
        loop {
            let why = match store.locks("").await {
                Ok(locks) if locks.is_empty() => return Ok(()),
                Ok(locks) => format!("locks are held that nobody renews: {locks:?}"),
                Err(error) => format!("nobody tells which locks are held: {error}"),
            };
            if Instant::now() >= until {
                return Err(why);
            }
            tokio::time::sleep(LOOK_EVERY).await; // tidy: between two looks at a state, with a deadline
        }
    }

    /// Waits until the news were heard up to here.
    pub(crate) async fn until_heard(&self, revision: Revision, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while !self.ledger.has_heard(revision) {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await; // tidy: between two looks at a state, with a deadline
        }
        true
    }

    /// Takes a backup of each node, as of the same change and time, and says how they differ.
    pub(crate) async fn compare_backups(&self) -> anyhow::Result<Broken> {
        for _ in 0..BACKUPS {
            let mut taken = Vec::with_capacity(self.nodes.len());
            for node in &self.nodes {
                let store = Self::store_with(&self.endpoint, vec![node.clone()]);
                let mut backup = store.backup().await.context("begin a backup")?;
                let mut chunks = Vec::new();
                while let Some(chunk) = backup.next().await.context("take a backup")? {
                    chunks.push(chunk);
                }
                taken.push((backup.head(), chunks));
            }
            let (head, chunks) = &taken[0];
            if taken.iter().any(|(other, _)| other != head) {
                // Time went by in between.
                continue;
            }
            let other = taken.iter().position(|(_, other)| other != chunks);
            return Ok(other.map_or_else(Broken::new, |node| {
                vec![format!(
                    "the backups of node 0 and node {node} as of {} are not the same",
                    head.revision
                )]
            }));
        }
        anyhow::bail!("{BACKUPS} times the log went on between two backups")
    }

    /// Everything a node has, when it has come as far as this.
    pub(crate) async fn all_of(
        &self,
        node: usize,
        at_least: Revision,
    ) -> anyhow::Result<Vec<Listed>> {
        let mut all = Vec::new();
        let mut range = Range::prefix("");
        loop {
            let request = QueryRequest {
                query: Query::List(range.clone()),
                freshness: Freshness::AtLeast(at_least),
            };
            let options = CallOptions::new().timeout(PATIENCE).attempts(1);
            let answer = self.direct[node].with(options).query(&request).await;
            let answer = answer.map_err(|error| anyhow::anyhow!("{error}"));
            let Found::Page(page) = answer.context("list all keys of a node")?.found else {
                anyhow::bail!("a list was asked for");
            };
            all.extend(page.items);
            match all.last() {
                Some(last) if page.more => {
                    range.from.clone_from(&last.key);
                    range.after = true;
                }
                Some(_) | None => return Ok(all),
            }
        }
    }
}

struct Client {
    desk: Arc<Desk>,
    store: Store,
    random: Random,
    number: u64,
    written: u64,
    /// What it last saw of each key of the window, to swap from.
    last: Vec<Option<Value>>,
    seen: Revision,
    window: usize,
}

impl Client {
    async fn step(&mut self) {
        // Many at once, then none for a moment: queues fill and run dry.
        let pause = if self.random.chance(0.3) {
            0
        } else {
            self.random.below(12_000)
        };
        tokio::time::sleep(Duration::from_micros(pause)).await; // tidy: the pace of a client
        let window = self.desk.window();
        if window != self.window {
            self.window = window;
            self.last.fill(None);
        }
        let number = self.random.below(u64::from(KEYS)) as u8;
        let key = Key { window, number };
        match self.random.below(20) {
            0..4 => self.read(key).await,
            4..8 => self.read_at_one(key).await,
            8 => self.read_at_least(key).await,
            _ => self.write(key).await,
        }
    }

    fn fresh(&mut self) -> Value {
        self.written += 1;
        (self.number + 1) << COUNTER_BITS | self.written
    }

    async fn write(&mut self, key: Key) {
        let value = self.fresh();
        let last = self.last[usize::from(key.number)];
        let book = &self.desk.book;
        let kind = self.random.below(7);
        let (begun, written) = match kind {
            0 => {
                let begun = book.begin(self.number, Way::Store, key, Act::Delete);
                let done = self.store.delete(key.bytes()).await;
                (begun, done.map(Ok))
            }
            1..4 => {
                let act = Act::Swap(last, Some(value));
                let begun = book.begin(self.number, Way::Store, key, act);
                let expect = last.map_or(Expect::Absent, |last| Expect::Value(bytes_of(last)));
                let new = Some(bytes_of(value));
                (begun, self.store.swap(key.bytes(), expect, new).await)
            }
            _ => {
                let begun = book.begin(self.number, Way::Store, key, Act::Put(value));
                let done = self.store.put(key.bytes(), bytes_of(value)).await;
                (begun, done.map(|revision| Ok(Some(revision))))
            }
        };
        match written {
            Ok(Ok(revision)) => {
                book.answered(begun, Answer::Done, revision);
                self.last[usize::from(key.number)] = (kind != 0).then_some(value);
                self.seen = self.seen.max(revision.unwrap_or_default());
            }
            Ok(Err(_)) => book.answered(begun, Answer::NotAsExpected, None),
            Err(Error::OutcomeUnknown { .. }) => book.unknown(begun),
            Err(Error::Failed { .. }) => book.failed(begun),
            Err(error) => {
                book.unknown(begun);
                book.broken(format!("a write is refused that makes sense: {error}"));
            }
        }
    }

    async fn read(&mut self, key: Key) {
        let begun = self.desk.book.begin(self.number, Way::Store, key, Act::Get);
        let query = Query::Get(key.bytes());
        match self.store.query(query, Freshness::Linearizable).await {
            Ok(answer) => self.take(key, begun, answer.found, answer.revision),
            Err(_) => self.desk.book.failed(begun),
        }
    }

    async fn read_at_one(&mut self, key: Key) {
        let node = self.random.below(self.desk.nodes.len() as u64) as usize;
        let begun = self
            .desk
            .book
            .begin(self.number, Way::Node(node), key, Act::Get);
        match self.ask(node, key, Freshness::Linearizable).await {
            Ok((found, revision)) => self.take(key, begun, found, revision),
            Err(_) => self.desk.book.failed(begun),
        }
    }

    /// Not linearizable, so it is in no history.
    async fn read_at_least(&mut self, key: Key) {
        let node = self.random.below(self.desk.nodes.len() as u64) as usize;
        let wanted = self.seen;
        if let Ok((_, revision)) = self.ask(node, key, Freshness::AtLeast(wanted)).await
            && revision < wanted
        {
            let what =
                format!("node {node} answers with revision {revision} where {wanted} was wanted");
            self.desk.book.broken(what);
        }
    }

    async fn ask(
        &self,
        node: usize,
        key: Key,
        freshness: Freshness,
    ) -> Result<(Found, Revision), CallError<convoke_store::Refused>> {
        let request = QueryRequest {
            query: Query::Get(key.bytes()),
            freshness,
        };
        let options = CallOptions::new().timeout(ONE_NODE).attempts(1);
        let answer = self.desk.direct[node].with(options).query(&request).await?;
        Ok((answer.found, answer.revision))
    }

    fn take(&mut self, key: Key, begun: Begun, found: Found, revision: Revision) {
        if let Found::Item(item) = &found {
            let value = item.as_ref().map(|item| value_of(&item.value));
            self.last[usize::from(key.number)] = value;
        }
        self.seen = self.seen.max(revision);
        take_read(&self.desk.book, begun, found, revision);
    }
}

fn take_read(book: &Book, begun: Begun, found: Found, revision: Revision) {
    if let Found::Item(item) = found {
        let value = item.map(|item| value_of(&item.value));
        book.answered(begun, Answer::Value(value), Some(revision));
    } else {
        book.failed(begun);
        book.broken("something else came where an item was asked for".to_owned());
    }
}

/// Whether all nodes are well and at the same place; else what is missing.
pub(crate) fn is_whole(views: &[Option<LogStatus>]) -> Result<(), String> {
    let mut leader = None;
    let mut place = None;
    for (node, view) in views.iter().enumerate() {
        let Some(view) = view else {
            return Err(format!("node {node} does not answer"));
        };
        if let Some(trouble) = &view.trouble {
            return Err(format!("node {node} has trouble: {trouble}"));
        }
        if view.is_doubtful {
            return Err(format!("node {node} doubts its log"));
        }
        let Some(theirs) = &view.leader else {
            return Err(format!("node {node} knows no leader in term {}", view.term));
        };
        if *leader.get_or_insert((view.term, theirs.node)) != (view.term, theirs.node) {
            return Err(format!(
                "node {node} follows somebody else, in term {}",
                view.term
            ));
        }
        let theirs = (
            view.applied,
            view.revision,
            view.keys,
            view.store_bytes,
            view.sessions,
        );
        if *place.get_or_insert(theirs) != theirs {
            return Err(format!(
                "node {node} is at {theirs:?}, and node 0 at {place:?}"
            ));
        }
    }
    Ok(())
}

/// Waits until that is so.
pub(crate) async fn until_whole(desk: &Desk, patience: Duration) -> Result<(), String> {
    let until = Instant::now() + patience;
    loop {
        let Err(why) = is_whole(&desk.views()) else {
            return Ok(());
        };
        if Instant::now() >= until {
            return Err(why);
        }
        tokio::time::sleep(LOOK_EVERY / 3).await; // tidy: between two looks at a state, with a deadline
    }
}
