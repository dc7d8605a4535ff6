//! The loop that owns the machine, its links and its timers: everything that happens to a node's membership happens here, one
//! thing after the other.
//!
//! ```text
//! links ─ datagrams, letters ─┐                            ┌─► links
//! commands of the handle ─────┼─► Keeper ─ Membership ─────┼─► watchers, the log
//! dials, lookups, the clock ──┘                            └─► introductions on disk
//! ```
//!
//! Before the machine is woken it gets all the mail that waits. When the loop itself was late, as after a pause of the whole
//! process, mail may still be in the kernel: it is given a moment to come through.
//!
//! What is bounded, and what happens beyond it:
//!
//! | what | bound | beyond it |
//! | --- | --- | --- |
//! | datagrams waiting for the machine | 1,024 | readers wait, and the carrier drops the oldest |
//! | letters waiting for the machine | 16 | readers wait, at most 32 of them with a letter in hand |
//! | links | `Settings::links_most` | the least recently used are closed |
//! | peers being reached | 256, 32 of them at a time | messages to others are dropped and reported as undelivered |
//! | letters under way | 64 | the same |
//! | commands waiting | 64 | whoever asks waits |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoke_membership::{Effect, Fact, FactError, Input, Membership, Sheet, Target, Watched};
use convoke_rpc::{CloseCode, CloseReason, ConnectError, Endpoint, Link, Listener};
use convoke_types::wire::rpc::OPEN_LETTER;
use convoke_types::{ClusterId, Incarnation, Moment, NodeId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::dial::{self, Call, Waiting, Whom};
use crate::error::End;
use crate::gossip::NodeStatus;
use crate::home::{self, Boot, INTRODUCTIONS_MOST};
use crate::letters::{self, READ_AT_ONCE, READ_PER_LINK, Read};
use crate::seeds::{self, Seed, SeedError};
use crate::story;
use crate::table::Table;
use crate::watchers::Watchers;

/// Datagrams that wait for the machine.
const DATAGRAMS: usize = 1_024;
/// Letters that wait for the machine.
const LETTERS: usize = 16;
/// Letters under way to others.
const LETTERS_OUT: usize = 64;
/// Peers being reached, and how many of them at a time.
const CALLS: usize = 256;
const CALLS_AT_ONCE: usize = 32;
/// Addresses that worked last, remembered.
const WORKED: usize = 1_024;
/// A loop that is later than this waits for mail before it wakes the machine …
const LATE: Duration = Duration::from_millis(100);
/// … in such steps …
const MAIL_STEP: Duration = Duration::from_millis(2);
/// … as long as some comes, and so many times at most.
const MAIL_STEPS: usize = 25;
/// Between two looks at links and calls.
const TEND: Duration = Duration::from_secs(1);
/// While nobody has been heard, seeds are looked up so often at first …
const SEEDS_SOON: Duration = Duration::from_secs(5);
/// … so many times, …
const SEEDS_SOON_TIMES: u32 = 12;
/// … and then so often.
const SEEDS_LATER: Duration = Duration::from_secs(30);
/// Addresses handed to the machine: it tries a few at a time, all in turn.
const SEEDS_TO_TRY: usize = 12;
/// Between two times that somebody new is written down. At first it is soon done, since a node that made a cluster knows of the others by this
/// alone; each time after that takes twice as long, …
const REMEMBER_SOON: Duration = Duration::from_secs(1);
/// … up to this.
const REMEMBER: Duration = Duration::from_secs(60);

/// What the handle asks of the loop.
pub(crate) enum Command {
    SetFact(Fact, oneshot::Sender<Result<(), FactError>>),
    RemoveFact(String, oneshot::Sender<Result<(), FactError>>),
    SetAddresses(Vec<SocketAddr>, oneshot::Sender<Result<(), FactError>>),
    Status(oneshot::Sender<NodeStatus>),
    Watched(oneshot::Sender<Vec<Watched>>),
    Beside(Vec<NodeId>, oneshot::Sender<Vec<Vec<NodeId>>>),
    ConfirmLoss(Vec<(NodeId, Incarnation)>, oneshot::Sender<()>),
    SetPace(Duration, oneshot::Sender<()>),
    Leave,
}

/// Everything the loop begins with.
pub(crate) struct Beginning {
    pub(crate) endpoint: Endpoint,
    pub(crate) listener: Listener,
    pub(crate) machine: Membership,
    pub(crate) clock: Clock,
    pub(crate) cluster: ClusterId,
    pub(crate) boot: Boot,
    pub(crate) home: Option<PathBuf>,
    pub(crate) remembered: Vec<SocketAddr>,
    pub(crate) own_addresses: Vec<SocketAddr>,
    pub(crate) seeds: Vec<Seed>,
    pub(crate) links_most: usize,
    pub(crate) link_idle: Duration,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) stop: CancellationToken,
}

/// The monotonic clock as the machine counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Moment {
        Moment::START + self.0.elapsed()
    }

    fn instant(self, moment: Moment) -> Option<Instant> {
        (moment != Moment::NEVER).then(|| self.0 + moment.since(Moment::START))
    }
}

pub(crate) struct Keeper {
    endpoint: Endpoint,
    listener: Listener,
    me: NodeId,
    machine: Membership,
    clock: Clock,
    cluster: ClusterId,
    boot: Boot,
    home: Option<PathBuf>,
    watchers: Arc<Watchers>,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,

    links: Table<Link>,
    calls: BTreeMap<Whom, Call>,
    worked: BTreeMap<NodeId, SocketAddr>,
    mail: Mail,
    tasks: JoinSet<Done>,
    calls_running: usize,
    letters_out: usize,
    /// What follows from effects and goes back into the machine.
    inputs: VecDeque<Input>,
    tend_at: Moment,

    seeds: Vec<Seed>,
    remembered: Vec<SocketAddr>,
    /// Addresses at which this node answers itself.
    own_addresses: BTreeSet<SocketAddr>,
    seeds_at: Moment,
    seeds_tries: u32,
    seeds_said: Vec<SeedError>,
    heard_anybody: bool,

    saved: Vec<Arc<Sheet>>,
    save_at: Moment,
    save_wait: Duration,
    end: Option<End>,
}

/// Where readers of links put what came. Letters have a queue of their own, since they are large.
struct Mail {
    datagrams: mpsc::Receiver<(u64, NodeId, Bytes)>,
    letters: mpsc::Receiver<(NodeId, Bytes)>,
    slots: Slots,
}

#[derive(Clone)]
struct Slots {
    datagrams: mpsc::Sender<(u64, NodeId, Bytes)>,
    letters: mpsc::Sender<(NodeId, Bytes)>,
    reading: Arc<Semaphore>,
}

/// A task that is over.
enum Done {
    LinkEnded(u64, Option<CloseReason>),
    Called(Whom, Result<(SocketAddr, Link), ConnectError>),
    LetterSent(Target, bool),
    LookedUp(Vec<SocketAddr>, Vec<SeedError>),
    Saved(Result<(), String>),
}

impl Keeper {
    pub(crate) fn new(beginning: Beginning) -> Self {
        let Beginning {
            endpoint,
            listener,
            machine,
            clock,
            cluster,
            boot,
            home,
            remembered,
            own_addresses,
            seeds,
            links_most,
            link_idle,
            watchers,
            commands,
            stop,
        } = beginning;
        let (datagrams, datagrams_came) = mpsc::channel(DATAGRAMS);
        let (letters, letters_came) = mpsc::channel(LETTERS);
        let now = clock.now();
        Self {
            me: machine.id(),
            endpoint,
            listener,
            machine,
            clock,
            cluster,
            boot,
            home,
            watchers,
            commands,
            stop,
            links: Table::new(links_most, link_idle),
            calls: BTreeMap::new(),
            worked: BTreeMap::new(),
            mail: Mail {
                datagrams: datagrams_came,
                letters: letters_came,
                slots: Slots {
                    datagrams,
                    letters,
                    reading: Arc::new(Semaphore::new(READ_AT_ONCE)),
                },
            },
            tasks: JoinSet::new(),
            calls_running: 0,
            letters_out: 0,
            inputs: VecDeque::new(),
            tend_at: now + TEND,
            seeds,
            remembered,
            own_addresses: own_addresses.into_iter().collect(),
            seeds_at: now,
            seeds_tries: 0,
            seeds_said: Vec::new(),
            heard_anybody: false,
            saved: Vec::new(),
            save_at: now,
            save_wait: REMEMBER_SOON,
            end: None,
        }
    }

    /// Runs until the node leaves, is stopped, or must not go on; every task it started is over then.
    pub(crate) async fn run(mut self) -> End {
        let end = loop {
            self.wait().await;
            self.deliver_mail();
            self.wake_when_due().await;
            self.tend();
            if let Some(end) = self.end.take() {
                break end;
            }
        };
        self.finish(&end).await;
        end
    }

    /// Waits for whatever comes next and takes it in.
    async fn wait(&mut self) {
        let next = self.next_wakeup();
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => self.end = Some(End::Stopped),
            Some(command) = self.commands.recv() => self.obey(command),
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => self.take_done(done),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            link = self.listener.accept() => match link {
                Some(link) => self.take_link(link, None),
                None => self.end = Some(End::EndpointClosed),
            },
            Some((from, bytes)) = self.mail.letters.recv() => self.take_letter(from, bytes),
            Some((link, from, bytes)) = self.mail.datagrams.recv() => self.take_datagram(link, from, bytes),
            () = sleep_until_moment(self.clock, next) => {}
        }
    }

    fn next_wakeup(&self) -> Moment {
        let calls = self.calls.values().map(Call::next_wakeup).min();
        self.machine
            .next_wakeup()
            .min(self.tend_at)
            .min(calls.unwrap_or(Moment::NEVER))
    }

    /// All mail that waits, but no more than the queues hold: who sends without end does not keep the machine from waking.
    fn deliver_mail(&mut self) -> usize {
        let mut delivered = 0;
        for _ in 0..LETTERS {
            let Ok((from, bytes)) = self.mail.letters.try_recv() else {
                break;
            };
            delivered += 1;
            self.take_letter(from, bytes);
        }
        for _ in 0..DATAGRAMS {
            let Ok((link, from, bytes)) = self.mail.datagrams.try_recv() else {
                break;
            };
            delivered += 1;
            self.take_datagram(link, from, bytes);
        }
        delivered
    }

    async fn wake_when_due(&mut self) {
        let due = self.machine.next_wakeup();
        let now = self.clock.now();
        if due > now {
            return;
        }
        if now.since(due) > LATE {
            for _ in 0..MAIL_STEPS {
                sleep(MAIL_STEP).await;
                if self.deliver_mail() == 0 {
                    break;
                }
            }
        }
        self.tell(Input::Wake);
    }

    fn take_datagram(&mut self, link: u64, from: NodeId, bytes: Bytes) {
        self.heard_anybody = true;
        self.links.heard(link, self.clock.now());
        self.tell(Input::Datagram { from, bytes });
    }

    fn take_letter(&mut self, from: NodeId, bytes: Bytes) {
        self.heard_anybody = true;
        self.tell(Input::Letter { from, bytes });
    }

    fn tell(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.tell_what_waits();
    }

    /// Tells the machine, does what it asks for, and tells it what came of that.
    fn tell_what_waits(&mut self) {
        let mut effects = Vec::new();
        while let Some(input) = self.inputs.pop_front() {
            self.machine.handle(self.clock.now(), input, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Datagram { to, bytes } => self.send_datagram(to, bytes),
            Effect::Letter { to, bytes } => self.send_letter(to, bytes),
            Effect::Event(event) => {
                story::tell(&self.me, &event.kind);
                self.watchers.tell(&event);
            }
            Effect::Gone => self.end = Some(End::Left),
            Effect::Contested(incarnation) => {
                self.end = Some(End::Contested {
                    node: self.me,
                    incarnation,
                    home: self.home.clone(),
                });
            }
        }
    }

    // --- sending ---

    fn send_datagram(&mut self, to: NodeId, bytes: Bytes) {
        let now = self.clock.now();
        if let Some((number, link)) = self.links.for_peer(&to, now) {
            if link.send_datagram(bytes.clone()) {
                return;
            }
            if link.close_reason().is_none() {
                // Too large for this path, which no gossip is.
                return debug!(peer = %to.short(), bytes = bytes.len(), "drop a datagram");
            }
            self.links.remove(number);
            return self.send_datagram(to, bytes);
        }
        match self.call(Whom::Node(to)) {
            Some(call) => call.put_datagram(bytes, now),
            None => self.inputs.push_back(Input::Unreached { node: to }),
        }
    }

    fn send_letter(&mut self, to: Target, bytes: Bytes) {
        let now = self.clock.now();
        let peer = match to {
            Target::Node(node) => Some(node),
            Target::Address(address) => self.links.find(|link| link.remote_address() == address),
        };
        let link = peer.and_then(|peer| Some(self.links.for_peer(&peer, now)?.1.clone()));
        if let Some(link) = link.filter(|link| link.close_reason().is_none()) {
            return self.send_letter_over(link, to, bytes);
        }
        let whom = match to {
            Target::Node(node) => Whom::Node(node),
            Target::Address(address) => Whom::At(address),
        };
        let has_place = self
            .call(whom)
            .is_some_and(|call| call.put_letter(bytes, now));
        if !has_place {
            self.not_delivered(to);
        }
    }

    fn send_letter_over(&mut self, link: Link, to: Target, bytes: Bytes) {
        if self.letters_out >= LETTERS_OUT {
            return self.not_delivered(to);
        }
        self.letters_out += 1;
        self.tasks
            .spawn(async move { Done::LetterSent(to, letters::send(link, bytes).await) });
    }

    fn not_delivered(&mut self, to: Target) {
        self.inputs.push_back(match to {
            Target::Node(node) => Input::Unreached { node },
            Target::Address(address) => Input::NobodyAt { address },
        });
    }

    // --- opening links ---

    /// The call for a link, begun when it is not under way; `None` when there is no place or no address to call.
    fn call(&mut self, whom: Whom) -> Option<&mut Call> {
        if !self.calls.contains_key(&whom) {
            if self.calls.len() >= CALLS || self.addresses_of(whom).is_empty() {
                return None;
            }
            // It begins with the next look, when what it is for waits there.
            self.calls.insert(whom, Call::new(self.clock.now()));
        }
        self.calls.get_mut(&whom)
    }

    fn addresses_of(&self, whom: Whom) -> Vec<SocketAddr> {
        let node = match whom {
            Whom::At(address) => return vec![address],
            Whom::Node(node) => node,
        };
        let Some(member) = self.machine.member(&node) else {
            return Vec::new();
        };
        let mut addresses: Vec<SocketAddr> = member.facts.addresses().collect();
        if let Some(worked) = self.worked.get(&node)
            && let Some(at) = addresses.iter().position(|address| address == worked)
        {
            addresses.swap(0, at);
        }
        addresses
    }

    fn begin_calls(&mut self) {
        let now = self.clock.now();
        let due: Vec<Whom> = self
            .calls
            .iter()
            .filter(|(_, call)| call.is_due(now))
            .map(|(whom, _)| *whom)
            .collect();
        for whom in due {
            if self.calls_running >= CALLS_AT_ONCE {
                return;
            }
            let addresses = self.addresses_of(whom);
            let Some(call) = self.calls.get_mut(&whom) else {
                continue;
            };
            if addresses.is_empty() {
                // Forgotten meanwhile.
                self.calls.remove(&whom);
                continue;
            }
            call.begin(now);
            self.calls_running += 1;
            let endpoint = self.endpoint.clone();
            let expected = match whom {
                Whom::Node(node) => Some(node),
                Whom::At(_) => None,
            };
            self.tasks.spawn(async move {
                Done::Called(whom, dial::attempt(endpoint, addresses, expected).await)
            });
        }
        self.calls.retain(|_, call| !call.is_over(now));
    }

    fn called(&mut self, whom: Whom, outcome: Result<(SocketAddr, Link), ConnectError>) {
        self.calls_running -= 1;
        match outcome {
            Ok((address, link)) => {
                let waiting = self.calls.remove(&whom).map(|call| call.waiting);
                self.reached(whom, address, link, waiting.unwrap_or_default());
            }
            Err(error) => self.not_reached(whom, &error),
        }
    }

    fn reached(&mut self, whom: Whom, address: SocketAddr, link: Link, waiting: Waiting) {
        let peer = link.peer_id();
        if peer == self.me {
            self.own_addresses.insert(address);
            link.close(CloseCode::Done, "a node has no links with itself");
            self.inputs.push_back(Input::NobodyAt { address });
            return;
        }
        if self.worked.len() < WORKED || self.worked.contains_key(&peer) {
            self.worked.insert(peer, address);
        }
        self.take_link(link, Some(waiting));
        if let Whom::At(_) = whom {
            // Whoever waits for this very node need not wait for another link.
            if let Some(call) = self.calls.get_mut(&Whom::Node(peer)) {
                let waiting = std::mem::take(&mut call.waiting);
                self.send_waiting(peer, waiting);
            }
        }
    }

    fn not_reached(&mut self, whom: Whom, error: &ConnectError) {
        let Some(call) = self.calls.get_mut(&whom) else {
            return;
        };
        let waiting = call.failed(self.clock.now());
        match whom {
            Whom::Node(node) => {
                debug!(peer = %node.short(), %error, "open a link");
                // It was reached from its side meanwhile, perhaps.
                if self.links.for_peer(&node, self.clock.now()).is_some() {
                    return self.send_waiting(node, waiting);
                }
                self.inputs.push_back(Input::Unreached { node });
            }
            Whom::At(address) => {
                if matches!(
                    error,
                    ConnectError::Peer { .. } | ConnectError::Refused { .. }
                ) {
                    info!(%address, %error, "join");
                } else {
                    debug!(%address, %error, "join");
                }
                self.inputs.push_back(Input::NobodyAt { address });
            }
        }
    }

    /// Takes a link into the table and sends what waited for it; `waiting` is given by whoever opened it here.
    fn take_link(&mut self, link: Link, waiting: Option<Waiting>) {
        let (peer, now) = (link.peer_id(), self.clock.now());
        if peer == self.me {
            return link.close(CloseCode::Done, "a node has no links with itself");
        }
        let opener = if waiting.is_some() { self.me } else { peer };
        let (number, closed) = self.links.add(peer, opener, link.clone(), now);
        let slots = self.mail.slots.clone();
        self.tasks
            .spawn(async move { Done::LinkEnded(number, read(number, link, slots).await) });
        for link in closed {
            link.close(CloseCode::Done, "other links are needed more");
        }
        let waiting = waiting.or_else(|| {
            let call = self.calls.get_mut(&Whom::Node(peer))?;
            Some(std::mem::take(&mut call.waiting))
        });
        if let Some(waiting) = waiting {
            self.send_waiting(peer, waiting);
        }
        // One that rests is needed no more; one under way ends by itself.
        let whom = Whom::Node(peer);
        if self.calls.get(&whom).is_some_and(|call| !call.is_running()) {
            self.calls.remove(&whom);
        }
    }

    fn send_waiting(&mut self, peer: NodeId, waiting: Waiting) {
        let now = self.clock.now();
        let Some(link) = self
            .links
            .for_peer(&peer, now)
            .map(|(_, link)| link.clone())
        else {
            return;
        };
        for bytes in waiting.datagrams {
            link.send_datagram(bytes);
        }
        for bytes in waiting.letters {
            self.send_letter_over(link.clone(), Target::Node(peer), bytes);
        }
    }

    // --- what tasks and the handle bring ---

    fn take_done(&mut self, done: Done) {
        match done {
            Done::LinkEnded(number, reason) => self.link_ended(number, reason),
            Done::Called(whom, outcome) => self.called(whom, outcome),
            Done::LetterSent(to, arrived) => {
                self.letters_out -= 1;
                if !arrived {
                    self.not_delivered(to);
                }
            }
            Done::LookedUp(addresses, errors) => self.join(addresses, errors),
            Done::Saved(Ok(())) => {}
            Done::Saved(Err(error)) => warn!(%error, "remember members for the next start"),
        }
        self.tell_what_waits();
    }

    fn link_ended(&mut self, number: u64, reason: Option<CloseReason>) {
        let Some(link) = self.links.remove(number) else {
            return;
        };
        // Over TCP, and after a restart over QUIC too, this is the first sign that a process is gone. A link that somebody closed
        // on purpose says nothing.
        if reason.is_some_and(|reason| reason.code == CloseCode::Lost) {
            let node = link.peer_id();
            self.inputs.push_back(Input::Unreached { node });
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        // Whoever asked and no longer waits needs no answer.
        match command {
            Command::SetFact(fact, answer) => {
                let _ = answer.send(self.machine.set_fact(now, fact));
            }
            Command::RemoveFact(key, answer) => {
                let _ = answer.send(self.machine.remove_fact(now, &key));
            }
            Command::SetAddresses(addresses, answer) => {
                let _ = answer.send(self.machine.set_addresses(now, &addresses));
            }
            Command::Status(answer) => {
                let _ = answer.send(NodeStatus {
                    membership: self.machine.status(),
                    boot: self.boot.number(),
                    links: self.links.len(),
                    reaching: self.calls.len(),
                });
            }
            Command::Watched(answer) => {
                let _ = answer.send(self.machine.watched(now).collect());
            }
            Command::Beside(of, answer) => {
                let _ = answer.send(of.iter().map(|id| self.machine.beside(id)).collect());
            }
            Command::ConfirmLoss(lost, answer) => {
                self.tell(Input::ConfirmLoss(lost));
                let _ = answer.send(());
            }
            Command::SetPace(gather, answer) => {
                self.machine.set_pace(gather);
                let _ = answer.send(());
            }
            Command::Leave => self.tell(Input::Leave),
        }
    }

    // --- now and then ---

    fn tend(&mut self) {
        let now = self.clock.now();
        if now >= self.tend_at {
            self.tend_at = now + TEND;
            for link in self.links.sweep(now) {
                link.close(CloseCode::Done, "not used any more");
            }
            self.look_for_seeds(now);
            self.remember(now);
        }
        self.tell_what_waits();
        self.begin_calls();
    }

    fn look_for_seeds(&mut self, now: Moment) {
        if now < self.seeds_at || !self.is_alone() {
            return;
        }
        self.seeds_tries += 1;
        self.seeds_at = now
            + if self.seeds_tries < SEEDS_SOON_TIMES {
                SEEDS_SOON
            } else {
                SEEDS_LATER
            };
        let seeds = self.seeds.clone();
        self.tasks.spawn(async move {
            let (addresses, errors) = seeds::look_up(seeds).await;
            Done::LookedUp(addresses, errors)
        });
    }

    fn is_alone(&self) -> bool {
        let [reachable, ..] = self.machine.status().others;
        !self.heard_anybody || reachable == 0
    }

    /// Tells the machine where members may be: at seeds first, and where they were before this start.
    pub(crate) fn join(&mut self, addresses: Vec<SocketAddr>, errors: Vec<SeedError>) {
        if errors != self.seeds_said {
            for error in &errors {
                warn!(%error, "look up seeds");
            }
            self.seeds_said = errors;
        }
        let mut places = Vec::new();
        for address in addresses.iter().chain(&self.remembered) {
            if places.len() < SEEDS_TO_TRY
                && !places.contains(address)
                && !self.own_addresses.contains(address)
            {
                places.push(*address);
            }
        }
        if !places.is_empty() {
            self.tell(Input::Join { addresses: places });
        }
    }

    fn remember(&mut self, now: Moment) {
        let Some(path) = self.introductions().filter(|_| now >= self.save_at) else {
            return;
        };
        let sheets = self.to_remember();
        // A node that has lost sight of everybody keeps whom it knew.
        if sheets.is_empty() || sheets == self.saved {
            self.save_at = now + REMEMBER_SOON;
            return;
        }
        self.save_at = now + self.save_wait;
        self.save_wait = (self.save_wait * 2).min(REMEMBER);
        self.saved.clone_from(&sheets);
        let cluster = self.cluster;
        self.tasks.spawn(async move {
            let writing = tokio::task::spawn_blocking(move || home::write(&path, cluster, &sheets));
            let written = writing.await.expect("writing a file does not panic");
            Done::Saved(written.map_err(|error| error.to_string()))
        });
    }

    fn introductions(&self) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join("introductions"))
    }

    fn to_remember(&self) -> Vec<Arc<Sheet>> {
        self.machine
            .introductions()
            .take(INTRODUCTIONS_MOST)
            .collect()
    }

    async fn finish(&mut self, end: &End) {
        let links = self.links.drain();
        for link in &links {
            link.close(CloseCode::Done, "this node takes part no more");
        }
        self.commands.close();
        // Readers end with their links; what waits for peers is over.
        self.mail.datagrams.close();
        self.mail.letters.close();
        self.tasks.shutdown().await;
        let sheets = self.to_remember();
        if let Some(path) = self.introductions().filter(|_| !sheets.is_empty())
            && let Err(error) = home::write(&path, self.cluster, &sheets)
        {
            warn!(%error, path = %path.display(), "remember members for the next start");
        }
        match end {
            End::Stopped | End::Left | End::EndpointClosed => info!("membership: {end}"),
            End::Contested { .. } => tracing::error!("membership has stopped: {end}"),
        }
        self.watchers.end();
    }
}

async fn sleep_until_moment(clock: Clock, moment: Moment) {
    match clock.instant(moment) {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Reads a link until it ends, and says why it did.
async fn read(number: u64, link: Link, slots: Slots) -> Option<CloseReason> {
    let peer = link.peer_id();
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            datagram = link.receive_datagram() => {
                let Ok(bytes) = datagram else { break };
                if slots.datagrams.send((number, peer, bytes)).await.is_err() { break }
            }
            stream = link.accept_one_way(), if reading.len() < READ_PER_LINK => {
                let Ok((kind, stream)) = stream else { break };
                if kind != OPEN_LETTER {
                    link.close(CloseCode::ProtocolViolation, "a one-way stream that is no letter");
                    break;
                }
                let slots = slots.clone();
                reading.spawn(async move {
                    match letters::receive(stream, slots.reading).await {
                        Read::Letter(bytes, _place) => {
                            // The loop is over when it fails, and so is this link.
                            let _ = slots.letters.send((peer, bytes)).await;
                            true
                        }
                        Read::Abandoned => true,
                        Read::TooLarge => false,
                    }
                });
            }
            Some(read) = reading.join_next() => {
                if !read.expect("reading a letter does not panic") {
                    warn!(peer = %peer.short(), "a member sent a letter that is too large");
                    link.close(CloseCode::ProtocolViolation, "a letter that is too large");
                    break;
                }
            }
        }
    }
    let reason = link.close_reason();
    if let Some(reason) = &reason {
        debug!(peer = %peer.short(), %reason, "a link ended");
    }
    reason
}
