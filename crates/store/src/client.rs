//! The client: finds who leads, sends, and sends again what may be sent again.
//!
//! Every command gets a ticket, so that sending it again is safe whatever happened to it. What can then end a command is its outcome, a
//! refusal that trying again would not change, or its deadline. At the deadline the client knows one of two things: it was never
//! sent, or refused each time without a change ([`Error::Failed`]); or it may have been carried out ([`Error::OutcomeUnknown`]).
//!
//! | bound | |
//! | --- | --- |
//! | commands on their way | [`StoreConfig::sessions`] times the window of a session; more wait for a place, within their deadline |
//! | attempts | as many as fit before the deadline, with pauses that double from 5 ms to half a second |
//! | waiting for a link to a node | 250 ms while another one is known; else as for its answer |
//! | nodes remembered | those given, and eight that others named |
//!
//! Deliberately not here: what commands mean, and watching (`watch`).

use std::sync::Arc;
use std::time::Duration;

use convoke_rpc::{CallError, CallOptions, Channel, ChannelConfig, Endpoint, Target};
use convoke_types::wire::store::rights::NoRight;
use convoke_types::wire::store::{
    Command, Done, Expect, Forgotten, Found, Freshness, Item, KvCommand, Outcome, Page, Query,
    Range, Refusal, Revision, SessionCommand, SessionId, Ticket, WINDOW,
};
use convoke_types::{NodeId, Problem};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::debug;

use crate::service::{
    Answer, CommandRequest, KeeperClient, LogStatus, QueryRequest, Refused, Scope, Voters,
    Whereabouts,
};
use crate::session::Numbers;
use crate::watch::Watch;

/// Nodes remembered beside those given.
const NAMED_MOST: usize = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A node that did not answer is asked again by one call in this time while another one can be, whoever says that it leads, until it
/// answers: the others go on naming a dead leader until they have elected somebody, and each visit to it costs an attempt.
const AVOIDED: Duration = Duration::from_millis(250);
/// A node to which no link opens in this time is left for another one, if there is one. The handshake goes on meanwhile, so that far
/// nodes are reached in the next round.
const REACHED: Duration = Duration::from_millis(250);

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// How long an operation may take, attempts and pauses included. Default 10 s.
    pub timeout: Duration,
    /// How long one node is given to answer before another one is tried. Default 2 s.
    pub attempt: Duration,
    /// Sessions open at once. 1 – 64; default 4. Each lets 512 commands be on their way.
    pub sessions: usize,
    /// How channels to nodes behave.
    pub channel: ChannelConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempt: Duration::from_secs(2),
            sessions: 4,
            channel: ChannelConfig::default(),
        }
    }
}

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster says no, and will say so again. Nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This client may not do that. Nothing changed.
    #[error(transparent)]
    NoRight(#[from] NoRight),
    /// It was certainly not carried out.
    #[error("nothing was changed: {why}")]
    Failed {
        /// What stood in the way last.
        why: String,
    },
    /// It may or may not have been carried out, and nobody can tell any more. Read, and decide.
    #[error("it is not known whether it was carried out: {why}")]
    OutcomeUnknown {
        /// What stood in the way last.
        why: String,
    },
    /// What came back is not an answer to what was asked: a newer or broken node.
    #[error("the answer is not one to what was asked: {what}")]
    Unexpected {
        /// What came.
        what: String,
    },
}

/// A client of a cluster's decided state. Clones share sessions and links.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    config: StoreConfig,
    nodes: Mutex<Nodes>,
    sessions: Mutex<Vec<Numbers>>,
    /// One session is opened at a time.
    opening: tokio::sync::Mutex<()>,
    places: Semaphore,
}

#[derive(Debug)]
struct Nodes {
    known: Vec<Node>,
    /// How many of them were given.
    given: usize,
    /// Who is asked first.
    favourite: usize,
    /// Who did not answer before, and is asked by the next call and by no other.
    trial: Option<usize>,
}

#[derive(Debug, Clone)]
struct Node {
    target: Target,
    channel: Channel,
    client: KeeperClient,
    /// It did not answer when it was last asked, and is not asked before.
    avoided_until: Option<Instant>,
}

/// Where one command stands.
struct Attempt {
    deadline: Instant,
    pause: Duration,
    /// It may have been carried out by an attempt whose end is not known.
    may_have_run: bool,
    why: String,
}

impl Store {
    /// A client that begins with these nodes. At least one has to be given.
    ///
    /// # Panics
    /// Without any.
    #[must_use]
    pub fn new(
        endpoint: &Endpoint,
        nodes: impl IntoIterator<Item = Target>,
        config: StoreConfig,
    ) -> Self {
        let known: Vec<Node> = nodes
            .into_iter()
            .map(|target| node(endpoint, target, &config))
            .collect();
        assert!(!known.is_empty(), "a client knows at least one node");
        let sessions = config.sessions.clamp(1, 64);
        let places = sessions * usize::try_from(WINDOW).expect("a window is small");
        Self(Arc::new(Inner {
            endpoint: endpoint.clone(),
            nodes: Mutex::new(Nodes {
                given: known.len(),
                known,
                favourite: 0,
                trial: None,
            }),
            sessions: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            places: Semaphore::new(places),
            config: StoreConfig { sessions, ..config },
        }))
    }

    /// The key has this value from now on.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn put(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<Revision, Error> {
        let command = KvCommand::Put {
            key: key.into(),
            value: value.into(),
        };
        let done = self.command(Command::Kv(command)).await?;
        let Done::Put(revision) = done else {
            return Err(unexpected(&done));
        };
        Ok(revision)
    }

    /// The key is gone from now on. Without a revision it was not there.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn delete(&self, key: impl Into<Vec<u8>>) -> Result<Option<Revision>, Error> {
        let command = KvCommand::Delete { key: key.into() };
        let done = self.command(Command::Kv(command)).await?;
        let Done::Deleted(revision) = done else {
            return Err(unexpected(&done));
        };
        Ok(revision)
    }

    /// Gives the key a value, or without one lets it go, if it is as expected. `Err` inside says when it was last changed instead,
    /// if it is there.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn swap(
        &self,
        key: impl Into<Vec<u8>>,
        expect: Expect,
        value: Option<Vec<u8>>,
    ) -> Result<Result<Option<Revision>, Option<Revision>>, Error> {
        let command = KvCommand::Swap {
            key: key.into(),
            expect,
            value,
        };
        let done = self.command(Command::Kv(command)).await?;
        if let Done::Swapped(revision) = done {
            Ok(Ok(Some(revision)))
        } else if let Done::Deleted(revision) = done {
            Ok(Ok(revision))
        } else if let Done::NotSwapped(revision) = done {
            Ok(Err(revision))
        } else {
            Err(unexpected(&done))
        }
    }

    /// The value of a key, as of now.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Result<Option<Item>, Error> {
        let read = self.get_as_of(key, Freshness::Linearizable).await?;
        Ok(read.item)
    }

    /// The value of a key, as new as asked for, and how new that is.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get_as_of(
        &self,
        key: impl Into<Vec<u8>>,
        freshness: Freshness,
    ) -> Result<Read, Error> {
        let answer = self.query(Query::Get(key.into()), freshness).await?;
        let Found::Item(item) = answer.found else {
            return Err(unexpected(&answer.found));
        };
        Ok(Read {
            item,
            revision: answer.revision,
            age: answer.age_ms.map(Duration::from_millis),
        })
    }

    /// One page of the keys in a range, as of now.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn list(&self, range: Range) -> Result<Page, Error> {
        let answer = self
            .query(Query::List(range), Freshness::Linearizable)
            .await?;
        let Found::Page(page) = answer.found else {
            return Err(unexpected(&answer.found));
        };
        Ok(page)
    }

    /// All keys in a range, page by page. Each page is as of when it was asked for: keys that change meanwhile are told as they are then.
    /// For one moment of all of them, [`watch`](Self::watch).
    #[must_use]
    pub fn pages(&self, range: Range) -> Pages {
        Pages {
            store: self.clone(),
            rest: Some(range),
        }
    }

    /// Changes of keys that begin so: after a revision, or first what is there.
    #[must_use]
    pub fn watch(&self, prefix: impl Into<Vec<u8>>, after: Option<Revision>) -> Watch {
        Watch::new(self.clone(), prefix.into(), Scope::Keys, after)
    }

    /// What changes beside keys: configuration, locks, nodes. Without a revision it begins now; its first event is then
    /// [`Event::Complete`](crate::Event::Complete), and what is there can be asked for as of that revision.
    #[must_use]
    pub fn news(&self, after: Option<Revision>) -> Watch {
        Watch::new(self.clone(), Vec::new(), Scope::News, after)
    }

    /// Has a command carried out once.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn command(&self, command: Command) -> Result<Done, Error> {
        let mut attempt = Attempt::new(self.0.config.timeout);
        let place = tokio::time::timeout_at(attempt.deadline, self.0.places.acquire()).await;
        let Ok(place) = place else {
            attempt.why = "all sessions are busy".to_owned();
            return Err(attempt.given_up());
        };
        let _place = place.expect("places are never closed");
        loop {
            let (session, sequence) = self.number(&mut attempt).await?;
            let numbered = Numbered {
                store: self,
                session,
                sequence,
            };
            match self
                .try_each(Some(&numbered), &command, &mut attempt)
                .await?
            {
                Outcome::Done(done) => return Ok(done),
                Outcome::Refused(refusal) => return Err(Error::Refused(refusal)),
                Outcome::Unknown(forgotten) => {
                    self.0.forget(session);
                    // The session is over. Who never sent the command before knows that it was not carried out.
                    if attempt.may_have_run || forgotten != Forgotten::NoSession {
                        return Err(Error::OutcomeUnknown {
                            why: forgotten.to_string(),
                        });
                    }
                    attempt.pause(&forgotten.to_string()).await?;
                }
            }
        }
    }

    /// A number for a command, from a session that is open or is opened now.
    async fn number(&self, attempt: &mut Attempt) -> Result<(SessionId, u64), Error> {
        loop {
            if let Some(number) = self.0.take_number() {
                return Ok(number);
            }
            let opening = tokio::time::timeout_at(attempt.deadline, self.0.opening.lock()).await;
            let Ok(_opening) = opening else {
                return Err(attempt.given_up());
            };
            if let Some(number) = self.0.take_number() {
                return Ok(number);
            }
            if self.0.sessions.lock().len() >= self.0.config.sessions {
                // A session whose oldest command hangs has no number free though there is a place.
                attempt
                    .pause("all sessions wait for their oldest command")
                    .await?;
                continue;
            }
            let command = Command::Session(SessionCommand::Open);
            // A session that is opened twice is left alone and ends by itself, so what became of this says nothing of the command.
            let may_have_run = attempt.may_have_run;
            let opened = self.try_each(None, &command, attempt).await;
            attempt.may_have_run = may_have_run;
            match opened.map_err(|error| attempt.seen_so(error))? {
                Outcome::Done(Done::SessionOpened(id)) => {
                    self.0.sessions.lock().push(Numbers::new(id));
                }
                Outcome::Refused(refusal) => return Err(Error::Refused(refusal)),
                other @ (Outcome::Done(_) | Outcome::Unknown(_)) => {
                    return Err(unexpected(&other));
                }
            }
        }
    }

    /// Sends a command until somebody says what became of it.
    async fn try_each(
        &self,
        numbered: Option<&Numbered<'_>>,
        command: &Command,
        attempt: &mut Attempt,
    ) -> Result<Outcome, Error> {
        loop {
            let (place, client) = self.next(attempt).await?;
            let request = CommandRequest {
                ticket: numbered.and_then(Numbered::ticket),
                command: command.clone(),
            };
            let options = attempt.options(self.0.config.attempt);
            match client.with(options).command(&request).await {
                Ok(outcome) => {
                    // An outcome that is not known for good is so whoever says it.
                    self.0.served(place);
                    return Ok(outcome);
                }
                Err(CallError::App(refused)) => self.heed(place, refused, attempt).await?,
                Err(CallError::Rpc(problem)) => self.move_on(place, &problem, attempt).await?,
            }
        }
    }

    /// Asks a question of whoever can answer it.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn query(&self, query: Query, freshness: Freshness) -> Result<Answer, Error> {
        let mut attempt = Attempt::new(self.0.config.timeout);
        let request = QueryRequest { query, freshness };
        loop {
            let (place, client) = self.next(&mut attempt).await?;
            let options = attempt.options(self.0.config.attempt);
            match client.with(options).query(&request).await {
                Ok(answer) => {
                    self.0.served(place);
                    return Ok(answer);
                }
                Err(CallError::App(refused)) => self.heed(place, refused, &mut attempt).await?,
                Err(CallError::Rpc(problem)) => {
                    self.move_on(place, &problem, &mut attempt).await?;
                }
            }
            // A question changes nothing.
            attempt.may_have_run = false;
        }
    }

    /// How the log does, as the node sees it that is asked first.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn status(&self) -> Result<LogStatus, Error> {
        let mut attempt = Attempt::new(self.0.config.timeout);
        loop {
            let (place, client) = self.next(&mut attempt).await?;
            let options = attempt.options(self.0.config.attempt);
            match client.with(options).status().await {
                Ok(status) => return Ok(status),
                Err(CallError::App(refused)) => self.heed(place, refused, &mut attempt).await?,
                Err(CallError::Rpc(problem)) => {
                    self.move_on(place, &problem, &mut attempt).await?;
                }
            }
            attempt.may_have_run = false;
        }
    }

    /// Who votes, who should, and why, as the leader sees it.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn voters(&self) -> Result<Voters, Error> {
        let mut attempt = Attempt::new(self.0.config.timeout);
        loop {
            let (place, client) = self.next(&mut attempt).await?;
            let options = attempt.options(self.0.config.attempt);
            match client.with(options).voters().await {
                Ok(voters) => {
                    self.0.served(place);
                    return Ok(voters);
                }
                Err(CallError::App(refused)) => self.heed(place, refused, &mut attempt).await?,
                Err(CallError::Rpc(problem)) => {
                    self.move_on(place, &problem, &mut attempt).await?;
                }
            }
            attempt.may_have_run = false;
        }
    }

    /// Has another voter lead.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn transfer(&self, to: NodeId) -> Result<(), Error> {
        let mut attempt = Attempt::new(self.0.config.timeout);
        loop {
            let (place, client) = self.next(&mut attempt).await?;
            let options = attempt.options(self.0.config.attempt);
            match client.with(options).transfer(&to).await {
                Ok(()) => return Ok(()),
                Err(CallError::App(refused)) => self.heed(place, refused, &mut attempt).await?,
                Err(CallError::Rpc(problem)) => {
                    self.move_on(place, &problem, &mut attempt).await?;
                }
            }
        }
    }

    /// Closes the sessions, so that the cluster need not remember them for an hour more. Takes at most the timeout of the settings; one
    /// that cannot be closed ends by itself. Commands that are under way in clones may be told that their outcome is unknown.
    pub async fn close(&self) {
        let sessions: Vec<SessionId> = {
            let mut open = self.0.sessions.lock();
            open.drain(..).map(|numbers| numbers.session()).collect()
        };
        let mut attempt = Attempt::new(self.0.config.timeout);
        for session in sessions {
            let command = Command::Session(SessionCommand::Close(session));
            if let Err(error) = self.try_each(None, &command, &mut attempt).await {
                debug!(%error, %session, "a session is left to end by itself");
                return;
            }
        }
    }

    /// How many nodes are known.
    pub(crate) fn places(&self) -> usize {
        self.0.nodes.lock().known.len()
    }

    /// A client for the node asked first, and which one that is, or who was not reached.
    pub(crate) async fn first(&self) -> Result<(usize, KeeperClient), (usize, Problem)> {
        self.0.reach(REACHED).await
    }

    /// The same, trying each until one is reached.
    async fn next(&self, attempt: &mut Attempt) -> Result<(usize, KeeperClient), Error> {
        loop {
            match self.0.reach(REACHED.min(attempt.left())).await {
                Ok(reached) => return Ok(reached),
                // Nothing was asked of it.
                Err((place, problem)) => self.pass_over(place, &problem, attempt).await?,
            }
        }
    }

    /// Another node is asked first from now on.
    pub(crate) fn turn_from(&self, place: usize, leader: Option<&Whereabouts>) {
        self.0.turn(place, leader);
    }

    /// Does what a node advises.
    async fn heed(
        &self,
        place: usize,
        refused: Refused,
        attempt: &mut Attempt,
    ) -> Result<(), Error> {
        let why = refused.to_string();
        self.0.answered(place);
        match refused {
            Refused::NotLeader { leader } => {
                let is_known = leader.is_some();
                self.0.turn(place, leader.as_ref());
                if is_known && attempt.pause == FIRST_PAUSE {
                    // The first hint is followed at once.
                    attempt.pause *= 2;
                    attempt.why = why;
                    return attempt.check();
                }
                attempt.pause(&why).await
            }
            Refused::Busy { retry_after_ms } => {
                attempt.pause = attempt.pause.max(Duration::from_millis(retry_after_ms));
                attempt.pause(&why).await
            }
            Refused::OutcomeUnknown => {
                attempt.may_have_run = true;
                self.0.turn(place, None);
                attempt.pause(&why).await
            }
            Refused::Unavailable { .. } => {
                self.0.turn(place, None);
                attempt.pause(&why).await
            }
            Refused::Senseless { why } => Err(Error::Failed { why }),
            Refused::NoRight(no_right) => Err(Error::NoRight(no_right)),
            // Commands and questions never hear of snapshots.
            Refused::SnapshotUnderWay | Refused::NoSnapshot { .. } => Err(Error::Failed { why }),
        }
    }

    /// A node did not answer.
    async fn move_on(
        &self,
        place: usize,
        problem: &Problem,
        attempt: &mut Attempt,
    ) -> Result<(), Error> {
        attempt.may_have_run |= problem.changed != convoke_types::Changed::No;
        self.pass_over(place, problem, attempt).await
    }

    async fn pass_over(
        &self,
        place: usize,
        problem: &Problem,
        attempt: &mut Attempt,
    ) -> Result<(), Error> {
        debug!(%problem, "a node did not answer; trying another");
        self.0.avoid(place);
        self.0.turn(place, None);
        attempt.pause(&problem.to_string()).await
    }
}

/// Whether a known target is as good a way to a node as what was said of it.
fn leads_to(target: &Target, leader: &Whereabouts) -> bool {
    match target.node {
        Some(id) => id == leader.node && target.addresses == leader.addresses,
        // Given by where it is; under two names a node that does not answer would be asked twice. One that has moved is found where it
        // is said to be first.
        None => {
            let is_among = |address| leader.addresses.contains(address);
            let first = leader.addresses.first();
            first.is_some_and(|first| target.addresses.contains(first))
                && target.addresses.iter().all(is_among)
        }
    }
}

/// A key as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What it holds, if it is there.
    pub item: Option<Item>,
    /// After which change of all.
    pub revision: Revision,
    /// Of a stale read: how long ago the node last knew that it was up to date, if it ever did.
    pub age: Option<Duration>,
}

/// A list, page by page.
#[derive(Debug)]
pub struct Pages {
    store: Store,
    /// What was not told yet; nothing at the end.
    rest: Option<Range>,
}

impl Pages {
    /// The next page, or nothing at the end. Only the last one may be empty.
    ///
    /// # Errors
    /// As [`Error`] says. Asked again, it goes on with the page that failed.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        let Some(range) = &self.rest else {
            return Ok(None);
        };
        let page = self.store.list(range.clone()).await?;
        let last = page.items.last().map(|listed| listed.key.clone());
        self.rest = match (last, self.rest.take()) {
            (Some(last), Some(range)) if page.more => Some(Range {
                from: last,
                after: true,
                ..range
            }),
            _ => None,
        };
        Ok(Some(page))
    }
}

/// A number that is given back whatever becomes of the command.
struct Numbered<'a> {
    store: &'a Store,
    session: SessionId,
    sequence: u64,
}

impl Numbered<'_> {
    fn ticket(&self) -> Option<Ticket> {
        let sessions = self.store.0.sessions.lock();
        let known = sessions
            .iter()
            .find(|numbers| numbers.session() == self.session);
        // A session that somebody else found to be over is asked once more, to be told so as well.
        Some(known.map_or(
            Ticket {
                session: self.session,
                sequence: self.sequence,
                settled_before: self.sequence,
            },
            |numbers| numbers.ticket(self.sequence),
        ))
    }
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        let mut sessions = self.store.0.sessions.lock();
        let known = sessions
            .iter_mut()
            .find(|numbers| numbers.session() == self.session);
        if let Some(numbers) = known {
            numbers.settle(self.sequence);
        }
    }
}

impl Nodes {
    /// Who comes after a place.
    fn next(&self, place: usize) -> usize {
        (place + 1) % self.known.len()
    }

    /// Who comes after a place and answered when it was last asked, or if none did the next one.
    fn next_answering(&self, place: usize) -> usize {
        let all = self.known.len();
        (1..=all)
            .map(|distance| (place + distance) % all)
            .find(|next| self.known[*next].avoided_until.is_none())
            .unwrap_or_else(|| self.next(place))
    }

    /// Has a node be asked first. One that does not answer is asked by one call now and then, and the others do not wait with it.
    fn prefer(&mut self, wanted: usize, instead_of: usize) {
        let now = Instant::now();
        match &mut self.known[wanted].avoided_until {
            None => self.favourite = wanted,
            Some(until) => {
                if *until <= now {
                    *until = now + AVOIDED;
                    self.trial = Some(wanted);
                }
                self.favourite = self.next_answering(instead_of);
            }
        }
    }
}

impl Inner {
    /// Who is asked next.
    fn favourite(&self) -> usize {
        let mut nodes = self.nodes.lock();
        nodes.trial.take().unwrap_or(nodes.favourite)
    }

    /// Who is asked next, with an open link. Who is known alone is not left for another, so its link may take as long as its answer.
    async fn reach(&self, time: Duration) -> Result<(usize, KeeperClient), (usize, Problem)> {
        let place = self.favourite();
        let (node, is_alone) = {
            let nodes = self.nodes.lock();
            (nodes.known[place].clone(), nodes.known.len() == 1)
        };
        if !is_alone {
            let reached = node.channel.connect_within(time).await;
            reached.map_err(|problem| (place, problem))?;
        }
        Ok((place, node.client))
    }

    /// Asks somebody else than `place` first: the leader, if one is named. Whoever turned before us has done so for us.
    fn turn(&self, place: usize, leader: Option<&Whereabouts>) {
        let mut nodes = self.nodes.lock();
        if nodes.favourite != place {
            return;
        }
        let Some(leader) = leader else {
            let next = nodes.next(place);
            return nodes.prefer(next, place);
        };
        let mut known = nodes.known.iter();
        let known = known.position(|node| leads_to(&node.target, leader));
        let known = match known {
            Some(known) => known,
            None => {
                let target = Target {
                    addresses: leader.addresses.clone(),
                    node: Some(leader.node),
                };
                if nodes.known.len() == nodes.given + NAMED_MOST {
                    let oldest = nodes.given;
                    nodes.known.remove(oldest);
                }
                nodes.known.push(node(&self.endpoint, target, &self.config));
                nodes.known.len() - 1
            }
        };
        nodes.prefer(known, place);
    }

    /// It did what it was asked. If it was on trial, it is asked first from now on.
    fn served(&self, place: usize) {
        if self.answered(place) {
            self.nodes.lock().favourite = place;
        }
    }

    /// It answered. Says whether that is news.
    fn answered(&self, place: usize) -> bool {
        let mut nodes = self.nodes.lock();
        let node = nodes.known.get_mut(place);
        node.is_some_and(|node| node.avoided_until.take().is_some())
    }

    /// It did not answer. Places may have moved since it was asked, then another one is spared for a moment.
    fn avoid(&self, place: usize) {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.known.get_mut(place) {
            node.avoided_until = Some(Instant::now() + AVOIDED);
        }
    }

    fn take_number(&self) -> Option<(SessionId, u64)> {
        let mut sessions = self.sessions.lock();
        sessions
            .iter_mut()
            .find_map(|numbers| Some((numbers.session(), numbers.take()?)))
    }

    fn forget(&self, session: SessionId) {
        self.sessions
            .lock()
            .retain(|numbers| numbers.session() != session);
    }
}

fn node(endpoint: &Endpoint, target: Target, config: &StoreConfig) -> Node {
    let channel = Channel::new(endpoint, target.clone(), config.channel.clone());
    Node {
        target,
        client: KeeperClient::new(channel.clone()),
        channel,
        avoided_until: None,
    }
}

impl Attempt {
    fn new(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            pause: FIRST_PAUSE,
            may_have_run: false,
            why: "no attempt was made in time".to_owned(),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn options(&self, longest: Duration) -> CallOptions {
        CallOptions::new()
            .timeout(self.left().min(longest))
            .attempts(1)
    }

    /// Waits before the next attempt, if there will be one.
    async fn pause(&mut self, why: &str) -> Result<(), Error> {
        why.clone_into(&mut self.why);
        if Instant::now() + self.pause >= self.deadline {
            return Err(self.given_up());
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if Instant::now() >= self.deadline {
            return Err(self.given_up());
        }
        Ok(())
    }

    /// An error of something else on the way, as it is for the command.
    fn seen_so(&self, error: Error) -> Error {
        match error {
            Error::Failed { why } | Error::OutcomeUnknown { why } => {
                Self { why, ..*self }.given_up()
            }
            error @ (Error::Refused(_) | Error::NoRight(_) | Error::Unexpected { .. }) => error,
        }
    }

    fn given_up(&self) -> Error {
        let why = self.why.clone();
        if self.may_have_run {
            Error::OutcomeUnknown { why }
        } else {
            Error::Failed { why }
        }
    }
}

/// What was asked for, out of what came; if it is something else, that is the error.
macro_rules! the {
    ($came:expr, $pattern:pat => $value:expr) => {{
        let came = $came;
        let $pattern = came else {
            return Err($crate::client::unexpected(&came));
        };
        Ok($value)
    }};
}
pub(crate) use the;

pub(crate) fn unexpected(what: &impl std::fmt::Debug) -> Error {
    Error::Unexpected {
        what: format!("{what:?}"),
    }
}

#[cfg(test)]
mod tests {
    use convoke_rpc::identity::Development;

    use super::*;

    fn whereabouts(number: u8) -> Whereabouts {
        Whereabouts {
            node: NodeId::from_public_key([number; 32]),
            addresses: vec![([127, 0, 0, 1], u16::from(number)).into()],
        }
    }

    fn target(number: u8) -> Target {
        let Whereabouts { node, addresses } = whereabouts(number);
        Target {
            addresses,
            node: Some(node),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_does_not_answer_is_left_alone_for_a_moment() {
        let endpoint = Endpoint::development(&Development::new()).expect("loopback is there");
        let store = Store::new(&endpoint, [1, 2, 3].map(target), StoreConfig::default());
        let inner = &store.0;
        let favourite = || inner.favourite();
        inner.turn(0, Some(&whereabouts(3)));
        assert_eq!(favourite(), 2, "a hint is followed");
        inner.avoid(2);
        inner.turn(2, None);
        assert_eq!(favourite(), 0);
        inner.turn(0, Some(&whereabouts(3)));
        assert_eq!(favourite(), 1, "the others still name it");
        inner.turn(1, None);
        assert_eq!(favourite(), 0, "and it is not asked in its turn");
        tokio::time::advance(AVOIDED).await;
        inner.turn(0, Some(&whereabouts(3)));
        assert_eq!(favourite(), 2, "one call finds out whether it is back");
        assert_eq!(favourite(), 1, "and the others do not wait for that");
        inner.turn(1, Some(&whereabouts(3)));
        assert_eq!(favourite(), 0, "nor is it asked by a second one so soon");
        inner.served(2);
        assert_eq!(favourite(), 2, "it is");
    }

    #[test]
    fn a_node_that_has_moved_is_not_looked_for_where_it_was() {
        let [old, new] = [1, 2].map(|port| std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let leader = Whereabouts {
            node: NodeId::from_public_key([7; 32]),
            addresses: vec![new, old],
        };
        assert!(!leads_to(&Target::from(old), &leader));
        assert!(leads_to(&Target::from(new), &leader));
        let with = |addresses, node| Target { addresses, node };
        assert!(leads_to(&with(vec![old, new], None), &leader));
        assert!(leads_to(&with(vec![new, old], Some(leader.node)), &leader));
        assert!(!leads_to(&with(vec![old], Some(leader.node)), &leader));
    }

    #[tokio::test]
    async fn a_node_that_was_given_without_its_name_is_not_known_twice() {
        let endpoint = Endpoint::development(&Development::new()).expect("loopback is there");
        let given = [1, 2, 3].map(|number| Target::from(whereabouts(number).addresses[0]));
        let store = Store::new(&endpoint, given, StoreConfig::default());
        store.0.turn(0, Some(&whereabouts(3)));
        assert_eq!(store.0.favourite(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nobody_else_to_ask_asks_again() {
        let endpoint = Endpoint::development(&Development::new()).expect("loopback is there");
        let store = Store::new(&endpoint, [target(1)], StoreConfig::default());
        store.0.avoid(0);
        store.0.turn(0, None);
        assert_eq!(store.0.favourite(), 0);
    }
}
