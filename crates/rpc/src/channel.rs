//! A channel: the way to one node, kept open.
//!
//! It holds a few links to its target, opens them when they are first needed, and again when they are lost, with growing, randomly
//! spread pauses. Calls find an open link without a lock; a call that finds none waits for one, within its own deadline.
//!
//! ```text
//! Channel ── slot 0 ── ClientLink ── lane driver task(s), one-way task, streams
//!         └─ slot n ── …                        all tasks belong to the link's tracker
//! ```
//!
//! Choosing among many nodes is not here (`balanced`); a channel knows one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::{Buf, Bytes};
use convoke_types::wire::rpc::{OPEN_ANSWER, OPEN_LANE, put_varint, take_varint, to_caller};
use convoke_types::{Changed, Code, NodeId, Problem, Retry};
use tokio::sync::Mutex;
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::endpoint::{ConnectError, Endpoint};
use crate::lane::calls::{Answer, problem_from};
use crate::lane::client::{Lane, drive};
use crate::limits::{ANSWER_STREAMS, Limits};
use crate::link::{CarrierKind, CloseCode, Link, LinkError, RecvHalf, SendHalf};
use crate::protocol::Protocol;

/// When the first second look is: a process that has just started may not have had the faster carrier yet.
const SECOND_LOOK_FIRST: Duration = Duration::from_secs(1);
/// The least time between two second looks.
const SECOND_LOOK_MIN: Duration = Duration::from_millis(10);

/// Whom a channel leads to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where to look, tried in order.
    pub addresses: Vec<SocketAddr>,
    /// Who must be there. Without it, any node of the cluster will do.
    pub node: Option<NodeId>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            addresses: vec![address],
            node: None,
        }
    }
}

/// How a channel behaves.
#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// Links kept open. 1 – 64; default 1. Fewer make larger batches; more help only on paths that lose packets.
    pub links: usize,
    /// Lanes on each link. 1 – 16; default 1. As for `links`.
    pub lanes: usize,
    /// What carries the links; the faster one that gets through when nobody says.
    pub carrier: Option<CarrierKind>,
    /// How often a channel whose link is over the slower carrier, because the faster one did not get through, tries the faster one
    /// again at the latest; the first time is after a second, and each pause is twice as long as the one before. Default 60 s, at least 10 ms;
    /// an attempt costs a handshake. New calls then go over the new link, and the old one ends when its last call has.
    pub second_look: Duration,
    /// The longest a call waits for a link. Default 5 s; a call's own deadline may be earlier.
    pub patience: Duration,
    /// The first pause between attempts is random below this. Default 50 ms; it doubles with each failure.
    pub first_pause: Duration,
    /// No pause is longer. Default 5 s. Longer is kinder to a node that comes back under load.
    pub longest_pause: Duration,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            links: 1,
            lanes: 1,
            carrier: None,
            second_look: Duration::from_secs(60),
            patience: Duration::from_secs(5),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// The way to one node. Clones share its links; with the last one dropped they close, as soon as no stream on them is read.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    config: ChannelConfig,
    /// Callers have others to turn to: an attempt that fails is told at once.
    is_one_of_many: bool,
    slots: Vec<Arc<Place>>,
    next: AtomicUsize,
    /// No link is opened any more.
    closed: CancellationToken,
    /// Attempts to open a link, and second looks.
    tasks: TaskTracker,
}

#[derive(Debug)]
enum Source {
    Dial {
        endpoint: Endpoint,
        target: Target,
    },
    /// One link that is not opened anew.
    Given(Link, Limits),
}

/// Where one link belongs, and who is opening it.
#[derive(Debug, Default)]
struct Place {
    link: ArcSwapOption<ClientLink>,
    opening: Arc<Mutex<Attempts>>,
}

/// Attempts in a row, and when the next may begin. A link that did not live long counts as a failure: whoever lets us in only
/// to turn us out must not be besieged either.
#[derive(Debug, Default)]
struct Attempts {
    in_a_row: u32,
    not_before: Option<Instant>,
    opened: Option<Instant>,
    last: Option<Problem>,
}

impl Attempts {
    /// Whether the last attempt gave a link that was of use for a while.
    fn lived_for(&self, time: Duration) -> bool {
        self.opened.is_some_and(|at| at.elapsed() > time)
    }
}

impl Channel {
    /// A channel that opens links from `endpoint` when they are needed.
    #[must_use]
    pub fn new(endpoint: &Endpoint, target: impl Into<Target>, config: ChannelConfig) -> Self {
        let source = Source::Dial {
            endpoint: endpoint.clone(),
            target: target.into(),
        };
        Self::from_source(source, config, false)
    }

    /// The same for callers that have others to turn to: who finds no link has one attempt to open one, and none in a pause.
    pub(crate) fn one_of_many(endpoint: &Endpoint, target: Target, config: ChannelConfig) -> Self {
        let source = Source::Dial {
            endpoint: endpoint.clone(),
            target,
        };
        Self::from_source(source, config, true)
    }

    /// A channel over one link that exists already, such as one that was accepted; it ends with the link.
    #[must_use]
    pub fn over(link: Link, limits: &Limits) -> Self {
        Self::from_source(
            Source::Given(link, limits.clone()),
            ChannelConfig::default(),
            false,
        )
    }

    fn from_source(source: Source, config: ChannelConfig, is_one_of_many: bool) -> Self {
        let slots = (0..config.links.max(1)).map(|_| Arc::default()).collect();
        Self(Arc::new(Inner {
            source,
            config,
            is_one_of_many,
            slots,
            next: AtomicUsize::new(0),
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    pub(crate) fn limits(&self) -> &Limits {
        match &self.0.source {
            Source::Dial { endpoint, .. } => endpoint.limits(),
            Source::Given(_, limits) => limits,
        }
    }

    /// Opens the first link now instead of at the first call.
    ///
    /// # Errors
    /// When no link can be opened in time.
    pub async fn connect(&self) -> Result<NodeId, Problem> {
        Ok(self.link(None).await?.link.peer_id())
    }

    /// The same, for a caller that has others to turn to. A handshake that takes longer goes on, and serves who comes next.
    ///
    /// # Errors
    /// When no link is open in that time, with what stood in the way last.
    pub async fn connect_within(&self, time: Duration) -> Result<NodeId, Problem> {
        let link = self.link(Some(Instant::now() + time)).await?;
        Ok(link.link.peer_id())
    }

    /// Whether it has had a link.
    pub(crate) fn had_link(&self) -> bool {
        let mut places = self.0.slots.iter();
        places.any(|place| place.link.load().is_some())
    }

    /// Whether one of its links is open now.
    pub(crate) fn is_open(&self) -> bool {
        let is_open = |link: &Arc<ClientLink>| link.is_open();
        let mut places = self.0.slots.iter();
        places.any(|place| place.link.load().as_ref().is_some_and(is_open))
    }

    /// What carries the first of its links that is open now.
    #[must_use]
    pub fn carrier(&self) -> Option<CarrierKind> {
        let mut open = self.0.slots.iter().filter_map(|place| place.open());
        open.next().map(|link| link.link.carrier())
    }

    /// An open link, at once if there is one.
    pub(crate) async fn link(&self, deadline: Option<Instant>) -> Result<Arc<ClientLink>, Problem> {
        let slots = &self.0.slots;
        let turn = if slots.len() == 1 {
            0
        } else {
            self.0.next.fetch_add(1, Ordering::Relaxed) % slots.len()
        };
        let place = &slots[turn];
        match place.open() {
            Some(link) => Ok(link),
            None => self.open(place, deadline).await,
        }
    }

    #[cold]
    async fn open(
        &self,
        place: &Arc<Place>,
        deadline: Option<Instant>,
    ) -> Result<Arc<ClientLink>, Problem> {
        let patience = Instant::now() + self.0.config.patience;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        let mut last = None;
        let opening = async {
            loop {
                // One caller opens; those who wait behind it find the link, or try in their turn.
                let mut attempts = Arc::clone(&place.opening).lock_owned().await;
                if let Some(link) = place.open() {
                    return Ok(link);
                }
                last = attempts.last.clone().or_else(|| place.how_it_ended());
                if attempts.lived_for(self.0.config.longest_pause) {
                    *attempts = Attempts::default();
                }
                if let Some(at) = attempts.not_before {
                    if let Some(problem) = last.clone().filter(|_| self.0.is_one_of_many)
                        && at > Instant::now()
                    {
                        return Err(problem);
                    }
                    tokio::time::sleep_until(at.into()).await;
                }
                // A task of its own: it outlives a caller whose time is shorter than a handshake, and serves the next.
                let (channel, place) = (self.clone(), Arc::clone(place));
                let attempt = self
                    .0
                    .tasks
                    .spawn(async move { channel.attempt(&place, &mut attempts).await });
                match attempt.await {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err(problem)) if problem.retry == Retry::Never || self.0.is_one_of_many => {
                        return Err(problem);
                    }
                    Ok(Err(problem)) => last = Some(problem),
                    Err(error) => return Err(Problem::new(Code::Internal, error.to_string())),
                }
            }
        };
        match timeout_at(until.into(), Box::pin(opening)).await {
            Ok(result) => result,
            Err(_) => Err(last.unwrap_or_else(|| {
                Problem::new(Code::Unavailable, "no link could be opened in time")
            })),
        }
    }

    async fn attempt(
        &self,
        place: &Arc<Place>,
        attempts: &mut Attempts,
    ) -> Result<Arc<ClientLink>, Problem> {
        attempts.in_a_row = attempts.in_a_row.saturating_add(1);
        let opened = self.try_open().await;
        attempts.not_before = Some(Instant::now() + self.pause(attempts.in_a_row));
        attempts.opened = opened.is_ok().then(Instant::now);
        attempts.last = opened.as_ref().err().cloned();
        match &opened {
            Ok(link) => {
                place.link.store(Some(Arc::clone(link)));
                if link.link.stands_in() {
                    self.look_again(place, Arc::clone(link));
                }
            }
            Err(problem) => debug!(%problem, in_a_row = attempts.in_a_row, "open a link"),
        }
        opened
    }

    /// Tries the faster carrier from time to time, while `link` is over the slower one and in use.
    fn look_again(&self, place: &Arc<Place>, link: Arc<ClientLink>) {
        let most = self.0.config.second_look.max(SECOND_LOOK_MIN);
        let mut pause = SECOND_LOOK_FIRST.min(most);
        let (channel, closed) = (Arc::downgrade(&self.0), self.0.closed.clone());
        let place = Arc::clone(place);
        self.0.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = closed.cancelled() => return,
                    _ = link.link.closed() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(most);
                let Some(channel) = channel.upgrade().map(Self) else {
                    return;
                };
                let opened = closed.run_until_cancelled(channel.try_open()).await;
                let Some(Ok(better)) = opened else {
                    continue;
                };
                if better.link.stands_in() {
                    better.drain();
                    continue;
                }
                if place.replace(&link, &better) {
                    info!(peer = %better.link.peer_id().short(), carrier = %better.link.carrier(), "moved to the faster carrier");
                    link.drain();
                } else {
                    better.drain();
                }
                return;
            }
        });
    }

    async fn try_open(&self) -> Result<Arc<ClientLink>, Problem> {
        if self.0.closed.is_cancelled() {
            return Err(
                Problem::new(Code::Unavailable, "this channel is closed").retry(Retry::Never)
            );
        }
        let link = match &self.0.source {
            Source::Dial { endpoint, target } => dial(endpoint, target, self.0.config.carrier)
                .await
                .map_err(|error| error.to_problem())?,
            Source::Given(link, _) => match link.close_reason() {
                None => link.clone(),
                Some(reason) => return Err(reason.to_problem(false).retry(Retry::Never)),
            },
        };
        let limits = self.limits();
        let starting = ClientLink::start(link.clone(), self.0.config.lanes.max(1), limits);
        let problem = match timeout(limits.handshake_timeout, starting).await {
            Ok(Ok(started)) => return Ok(started),
            Ok(Err(error)) => error.to_problem(false),
            Err(_) => Problem::new(Code::Unavailable, "the peer allows no stream"),
        };
        link.close(CloseCode::Done, "no lane could be opened");
        Err(problem)
    }

    /// Full jitter: anywhere below a bound that doubles, so that many who lost one node do not return together.
    fn pause(&self, in_a_row: u32) -> Duration {
        let config = &self.0.config;
        let bound = config
            .first_pause
            .saturating_mul(1 << in_a_row.saturating_sub(1).min(16))
            .min(config.longest_pause);
        bound.mul_f64(random_fraction())
    }

    /// Takes no new calls, lets those under way end for at most `grace`, then closes the links. Says whether all came to their end.
    pub async fn close(&self, grace: Duration) -> bool {
        self.0.closed.cancel();
        let until = tokio::time::Instant::now() + grace;
        // A handshake under way is bounded by its own limit; what comes of it is closed below.
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let mut all = true;
        for place in &self.0.slots {
            if let Some(link) = place.link.swap(None) {
                link.drain();
                all &= timeout_at(until, link.ended()).await.is_ok();
                link.link.close(CloseCode::Done, "the channel was closed");
                link.ended().await;
            }
        }
        all
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closed.cancel();
        for place in &self.slots {
            if let Some(link) = place.link.swap(None) {
                // A stream outlives the client that began it; the link closes when the last one is over.
                link.drain();
            }
        }
    }
}

impl Place {
    /// Why the last link ended, for those who wait for the next.
    fn how_it_ended(&self) -> Option<Problem> {
        let link = self.link.load();
        let reason = link.as_ref()?.link.close_reason()?;
        Some(reason.to_problem(false))
    }

    /// Puts one link in the place of another, if that is still there.
    fn replace(&self, old: &Arc<ClientLink>, new: &Arc<ClientLink>) -> bool {
        let before = self
            .link
            .compare_and_swap(&Some(Arc::clone(old)), Some(Arc::clone(new)));
        before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, old))
    }

    fn open(&self) -> Option<Arc<ClientLink>> {
        let link = self.link.load();
        link.as_ref().filter(|link| link.is_open()).cloned()
    }
}

async fn dial(
    endpoint: &Endpoint,
    target: &Target,
    carrier: Option<CarrierKind>,
) -> Result<Link, ConnectError> {
    let mut last = ConnectError::Closed;
    for &address in &target.addresses {
        let link = endpoint.connect_over(carrier, address, target.node, Protocol::Rpc);
        match link.await {
            Ok(link) => return Ok(link),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the pause is the longest it may be, which is safe.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

/// One link we call over, with its lanes and the tasks that drive them.
#[derive(Debug)]
pub(crate) struct ClientLink {
    pub(crate) link: Link,
    lanes: Vec<Arc<Lane>>,
    next: AtomicUsize,
    /// Lane drivers, senders of streams, readers of large answers.
    pub(crate) tasks: TaskTracker,
    /// Open streams hold a token of this; it has no tasks.
    pub(crate) streams: TaskTracker,
    /// The one task that waits for all others, then closes the link.
    whole: TaskTracker,
}

impl ClientLink {
    async fn start(link: Link, lanes: usize, limits: &Limits) -> Result<Arc<Self>, LinkError> {
        let (tasks, streams) = (TaskTracker::new(), TaskTracker::new());
        let mut opened = Vec::with_capacity(lanes);
        let mut drivers = Vec::with_capacity(lanes);
        for number in 0..lanes {
            let (mut send, recv) = link.open_lane().await?;
            let mut opening = vec![OPEN_LANE];
            put_varint(&mut opening, number as u64);
            send.write(opening.into()).await?;
            let lane = Arc::new(Lane::new(limits.calls_per_lane, limits.lane_buffer_bytes));
            drivers.push(tasks.spawn(drive(Arc::clone(&lane), link.clone(), send, recv)));
            opened.push(lane);
        }
        let answers = take_large_answers(link.clone(), opened.clone(), limits.message_bytes);
        let answers = tasks.spawn(answers);
        let client = Arc::new(Self {
            link: link.clone(),
            lanes: opened,
            next: AtomicUsize::new(0),
            tasks: tasks.clone(),
            streams: streams.clone(),
            whole: TaskTracker::new(),
        });
        client.whole.spawn(async move {
            for driver in drivers {
                let _ = driver.await;
            }
            answers.abort();
            // Whoever reads a stream may take its time, but not longer than the link.
            streams.close();
            tokio::select! {
                () = streams.wait() => link.close(CloseCode::Done, ""),
                _ = link.closed() => {}
            }
            tasks.close();
            tasks.wait().await;
        });
        Ok(client)
    }

    fn is_open(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_open())
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        if self.lanes.len() == 1 {
            return &self.lanes[0];
        }
        &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()]
    }

    /// A stream on this link.
    pub(crate) async fn open_stream(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        let opened = self.link.open_stream().await;
        if let Err(LinkError::Closed(reason)) = &opened {
            // The lanes' own tasks will notice, but a caller that tries again at once must not find this link until they had a turn.
            for lane in &self.lanes {
                lane.end(reason);
            }
        }
        opened
    }

    fn drain(&self) {
        for lane in &self.lanes {
            lane.drain();
        }
    }

    /// Waits until every task of this link is over.
    async fn ended(&self) {
        self.whole.close();
        self.whole.wait().await;
    }
}

/// How long a large answer may stand still before it is given up.
const STALLED: Duration = Duration::from_secs(30);

/// Reads answers that came on streams of their own, several at a time, and delivers each to its lane.
async fn take_large_answers(link: Link, lanes: Vec<Arc<Lane>>, limit: usize) {
    let lanes: Arc<HashMap<u64, Arc<Lane>>> = Arc::new((0..).zip(lanes).collect());
    let mut reading = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            stream = link.accept_one_way(), if reading.len() < ANSWER_STREAMS as usize => {
                let Ok((kind, recv)) = stream else { return };
                if kind != OPEN_ANSWER {
                    link.close(CloseCode::ProtocolViolation, "a one-way stream that is no answer");
                    return;
                }
                let (link, lanes) = (link.clone(), Arc::clone(&lanes));
                reading.spawn(async move {
                    if let Err(what) = take_large_answer(recv, &lanes, limit).await {
                        info!(peer = %link.peer_id().short(), what, "cut off a peer that breaks the protocol");
                        link.close(CloseCode::ProtocolViolation, &what);
                    }
                });
            }
            Some(_) = reading.join_next() => {}
        }
    }
}

async fn take_large_answer(
    mut recv: RecvHalf,
    lanes: &HashMap<u64, Arc<Lane>>,
    limit: usize,
) -> Result<(), String> {
    // The head is a few bytes and the limit is for the body; a little more is harmless.
    let Some(bytes) = read_to_end(&mut recv, limit + 32).await? else {
        return Ok(());
    };
    let mut body = Bytes::from(bytes);
    let number = take_varint(&mut body).map_err(|error| error.to_string())?;
    let call = take_varint(&mut body).map_err(|error| error.to_string())?;
    if body.is_empty() {
        return Err("an answer without a kind".to_owned());
    }
    let answer = match body.get_u8() {
        to_caller::ANSWER => Answer::Ok(body),
        to_caller::APP_ERROR => Answer::App(body),
        to_caller::PROBLEM => Answer::Problem(problem_from(&body)),
        other => return Err(format!("an answer of kind {other}")),
    };
    let lane = lanes
        .get(&number)
        .ok_or_else(|| format!("an answer for lane {number}"))?;
    if lane.deliver(usize::try_from(call).unwrap_or(usize::MAX), answer) {
        return Ok(());
    }
    Err(format!("an answer to call {call}, which waits for none"))
}

async fn read_to_end(recv: &mut RecvHalf, limit: usize) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = Vec::new();
    loop {
        match timeout(STALLED, recv.read()).await {
            Ok(Ok(Some(chunk))) if bytes.len() + chunk.len() <= limit => {
                bytes.extend_from_slice(&chunk)
            }
            Ok(Ok(Some(_))) => return Err(format!("an answer above {limit} bytes")),
            Ok(Ok(None)) => return Ok(Some(bytes)),
            // The link ended, and with it the call.
            Ok(Err(LinkError::Closed(_))) => return Ok(None),
            Ok(Err(error)) => return Err(format!("an answer that was abandoned: {error}")),
            Err(_) => return Err("an answer that stands still".to_owned()),
        }
    }
}

/// A problem for a call that was never sent.
pub(crate) fn not_sent(problem: Problem) -> Problem {
    problem.changed(Changed::No)
}

/// A future kept on the heap, so that rare paths do not make common ones larger.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
