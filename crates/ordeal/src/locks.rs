//! Clients of locks, and who hears the news of them.
//!
//! A client wants one of a few locks, has it for a moment, and loses it in one of several ways. It goes by hand, so that it knows what was
//! sent when, or with what programs use ([`Store::lock`]). While it has the lock, and afterwards with the fence it had, it writes a key under
//! it; so does one that neither renews nor gives back, as a program would that stands still without knowing it.
//!
//! | a client | then |
//! | --- | --- |
//! | gives the lock back, or ends its session | its fence is over at once |
//! | says nothing any more | its lease ends by itself, and is extended at most once |
//! | gives up while it waits | whoever is behind it moves up |
//!
//! Deliberately not here: judging (`ledger`).

use std::sync::Arc;
use std::time::Duration;

use convoke_store::{Error, Event, Held, LockConfig, Store};
use convoke_trial::{Random, mix};
use convoke_types::wire::store::{
    Command, Done, Fence, Fenced, KvCommand, LockCommand, LockRefusal, News, Refusal, Revision,
    SessionCommand, SessionId,
};

use crate::clients::Desk;
use crate::history::{Value, bytes_of, value_of};
use crate::ledger::{Lock, Take, sure};

/// Locks that clients want.
const LOCKS: u64 = 3;
/// Keys under locks begin so.
const PREFIX: &str = "fenced/";
/// A client remembers so many fences that it had, to try them.
const OLD: usize = 8;
/// Client and counter make a take, and a value.
const COUNTER_BITS: u32 = 32;
/// A client waits so long in a queue, at most and a little more.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between two looks at whether it is one's turn.
const TURN: Duration = Duration::from_millis(25);
/// Somebody who waits asks again after so many looks.
const TURNS: u32 = 12;
/// Between two things that a holder does.
const PACE: Duration = Duration::from_millis(60);
/// Whoever says nothing any more looks so often whether it still holds.
const LOOK: Duration = Duration::from_millis(200);
/// After so many looks somebody else may have the trouble: nobody leads for long, or the lock is somebody else's.
const LOOKS: u32 = 100;
/// A watcher that hears nothing says so often how far it is.
const HEAR: Duration = Duration::from_millis(200);

/// A lock has a name.
fn name_of(lock: Lock) -> String {
    format!("ordeal/{lock}")
}

fn lock_named(name: &str) -> Option<Lock> {
    name.strip_prefix("ordeal/")?.parse().ok()
}

fn note_of(take: Take) -> String {
    format!("{take:x}")
}

fn take_noted(note: &str) -> Take {
    Take::from_str_radix(note, 16).unwrap_or(Take::MAX)
}

fn key_of(lock: Lock) -> Vec<u8> {
    format!("{PREFIX}{lock}").into_bytes()
}

impl Desk {
    /// Hears the news of everything beside keys until the desk is closed, first of all from this node.
    pub(crate) async fn hear(self: Arc<Self>, first: usize) {
        let mut news = self.store_from(first).news(Some(Revision(0)));
        // Everything behind it was heard.
        let mut since = Some(Revision(0));
        while !self.is_closed() {
            match tokio::time::timeout(HEAR, news.next()).await {
                Ok(Ok(Event::News(what))) => self.take_news(what),
                Ok(Ok(Event::Resync(_))) => since = None,
                Ok(Ok(Event::Complete(revision))) => since = Some(revision),
                Ok(Ok(other)) => self
                    .book
                    .broken(format!("who hears news is told {other:?}")),
                Ok(Err(error)) => self
                    .book
                    .broken(format!("who hears news is sent away: {error}")),
                Err(_) => {}
            }
            if let (Some(since), Some(caught)) = (since, news.caught()) {
                self.ledger.heard(Revision(since.0 + 1), caught);
            }
        }
    }

    fn take_news(&self, news: News) {
        let now = self.book.now();
        match news {
            News::Lock(news) => {
                let Some(lock) = lock_named(&news.name) else {
                    let what = format!("there is news of a lock nobody wanted: {news:?}");
                    return self.book.broken(what);
                };
                let holder = news.holder.as_ref();
                let holder = holder.map(|it| (take_noted(&it.note), it.fence.0));
                let broken = self.ledger.news(lock, news.revision, holder, now);
                self.found(broken);
            }
            News::Proposal(proposal, _) => self.found(self.ballots.heard(&proposal)),
            News::Node(..) | News::Issuers(_) | News::Mark(_) | News::Custody(..) => {}
        }
    }

    /// Watches the keys under locks until the desk is closed.
    pub(crate) async fn watch_fenced(self: Arc<Self>) {
        let mut watch = self.store_from(0).watch(PREFIX, Some(Revision(0)));
        while !self.is_closed() {
            let Ok(event) = tokio::time::timeout(HEAR, watch.next()).await else {
                continue;
            };
            match event {
                Ok(Event::Change(change)) => {
                    if let Some(item) = change.item {
                        let now = self.book.now();
                        let value = value_of(&item.value);
                        self.found(self.ledger.saw(value, item.changed, now));
                    }
                }
                Ok(_) => {}
                Err(error) => self.book.broken(format!("a watcher is sent away: {error}")),
            }
        }
    }

    /// A client of locks, until all is to be calm.
    pub(crate) async fn locker(self: Arc<Self>, number: u64) {
        let mut locker = Locker {
            store: self.store_from(number as usize),
            random: Random::from_seed(mix(self.seed(), 2_000 + number)),
            number,
            counter: 0,
            old: Vec::new(),
            desk: self,
        };
        while !locker.desk.is_calm() {
            locker.step().await;
        }
    }
}

/// A lock that a client has, or had.
#[derive(Clone, Copy, Debug)]
struct Grant {
    take: Take,
    lock: Lock,
    fence: u64,
    lease: Duration,
}

struct Locker {
    desk: Arc<Desk>,
    store: Store,
    random: Random,
    number: u64,
    counter: u64,
    /// Grants that may be over.
    old: Vec<Grant>,
}

/// What came of an attempt to do something with a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Done,
    /// The fence does not hold.
    Lost,
    /// Nobody knows, or nothing happened.
    Nothing,
}

impl Locker {
    async fn step(&mut self) {
        let pause = Duration::from_millis(self.random.below(150));
        tokio::time::sleep(pause).await; // tidy: the pace of a client
        let lock = self.random.below(LOCKS) as Lock;
        let lease = Duration::from_millis(1_000 + self.random.below(2_000));
        let take = self.fresh();
        let floor = self.desk.book.floor();
        self.desk
            .ledger
            .takes(take, lock, floor, self.desk.book.now());
        if self.random.chance(0.3) {
            self.as_programs_do(take, lock, lease).await;
        } else {
            self.by_hand(take, lock, lease).await;
        }
        if let Some(grant) = self.some_old() {
            self.write(grant).await;
        }
    }

    fn fresh(&mut self) -> u64 {
        self.counter += 1;
        (self.number + 1) << COUNTER_BITS | self.counter
    }

    fn some_old(&mut self) -> Option<Grant> {
        let number = self.random.below(OLD as u64) as usize;
        self.old.get(number).copied()
    }

    fn remember(&mut self, grant: Grant) {
        if self.old.len() == OLD {
            self.old.remove(0);
        }
        self.old.push(grant);
    }

    /// Writes down what a refusal means for a fence, or that it means nothing.
    fn refused(&self, grant: Grant, refusal: Refusal) -> Came {
        let now = self.desk.book.now();
        if let Refusal::Lock(LockRefusal::Lost { found, holds }) = refusal
            && found.0 == grant.fence
        {
            let instead = holds.map(|fence| fence.0);
            let Grant {
                take, lock, fence, ..
            } = grant;
            self.desk
                .found(self.desk.ledger.lost(take, lock, fence, instead, now));
        } else {
            self.desk.book.broken(format!(
                "what take {:x} does with fence {} is refused without reason: {refusal}",
                grant.take, grant.fence
            ));
        }
        Came::Lost
    }

    fn puzzled(&self, what: &str, error: &dyn std::fmt::Display) {
        self.desk.book.broken(format!("{what}: {error}"));
    }

    /// Has a command carried out; nothing if nobody knows whether it was. A refusal is for the caller.
    async fn command(&self, command: Command) -> Option<Result<Done, Refusal>> {
        match self.store.command(command).await {
            Ok(done) => Some(Ok(done)),
            Err(Error::Refused(refusal)) => Some(Err(refusal)),
            Err(Error::Failed { .. } | Error::OutcomeUnknown { .. }) => None,
            Err(error) => {
                self.puzzled("a command that makes sense is not taken", &error);
                None
            }
        }
    }

    /// Writes the key of a lock with a fence.
    async fn write(&mut self, grant: Grant) -> Came {
        let value: Value = self.fresh();
        let Grant { lock, fence, .. } = grant;
        let book = &self.desk.book;
        let sent = self.desk.ledger.writes(value, lock, fence, book.now());
        let command = Command::Fenced(Fenced {
            lock: name_of(lock),
            fence: Fence(fence),
            command: KvCommand::Put {
                key: key_of(lock),
                value: bytes_of(value),
            },
        });
        let ledger = &self.desk.ledger;
        let floor = book.floor();
        match self.store.command(command).await {
            Ok(Done::Put(revision)) => {
                self.desk
                    .found(ledger.written(value, sent, revision, book.now()));
                book.decided(floor, revision);
                Came::Done
            }
            Err(Error::Refused(refusal)) => {
                self.desk
                    .found(ledger.not_written(value, sent, true, book.now()));
                self.refused(grant, refusal)
            }
            Err(Error::Failed { .. }) => {
                self.desk
                    .found(ledger.not_written(value, sent, false, book.now()));
                Came::Nothing
            }
            Err(Error::OutcomeUnknown { .. }) => Came::Nothing,
            Ok(other) => {
                book.broken(format!("{other:?} came of a fenced command"));
                Came::Nothing
            }
            Err(error) => {
                self.puzzled("a fenced command is not taken", &error);
                Came::Nothing
            }
        }
    }

    async fn renew(&self, grant: Grant) -> Came {
        let Grant {
            take,
            lock,
            fence,
            lease,
        } = grant;
        let (book, ledger) = (&self.desk.book, &self.desk.ledger);
        let sent = ledger.send(lock, fence, book.now());
        let command = LockCommand::Renew {
            name: name_of(lock),
            fence: Fence(fence),
        };
        match self.command(Command::Lock(command)).await {
            Some(Ok(_)) => {
                let broken = ledger.renewed(take, fence, sent, book.now(), lease);
                self.desk.found(broken);
                Came::Done
            }
            Some(Err(refusal)) => self.refused(grant, refusal),
            None => Came::Nothing,
        }
    }

    async fn close(&self, session: SessionId) -> bool {
        let command = SessionCommand::Close(session);
        let closed = self.command(Command::Session(command)).await;
        matches!(closed, Some(Ok(_)))
    }

    async fn by_hand(&mut self, take: Take, lock: Lock, lease: Duration) {
        let open = Command::Session(SessionCommand::Open);
        let Some(Ok(Done::SessionOpened(session))) = self.command(open).await else {
            return self.desk.ledger.stops(take, self.desk.book.now());
        };
        let Some(grant) = self.wait_for(take, lock, lease, session).await else {
            self.desk.ledger.stops(take, self.desk.book.now());
            self.close(session).await;
            return;
        };
        self.hold(grant).await;
        self.let_go(grant, session).await;
        self.remember(grant);
    }

    /// Takes the lock, or does not have it in time.
    async fn wait_for(
        &mut self,
        take: Take,
        lock: Lock,
        lease: Duration,
        session: SessionId,
    ) -> Option<Grant> {
        let patience = PATIENCE.mul_f64(self.random.below(100) as f64 / 100.0);
        let waits = self.random.chance(0.8);
        let until = self.desk.book.now() + patience;
        loop {
            let (book, ledger) = (&self.desk.book, &self.desk.ledger);
            let sent = book.now();
            let command = LockCommand::Acquire {
                name: name_of(lock),
                session,
                lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
                note: note_of(take),
                waits,
            };
            match self.command(Command::Lock(command)).await {
                Some(Ok(Done::Acquired(Fence(fence)))) => {
                    let now = book.now();
                    self.desk
                        .found(ledger.granted(take, fence, sent, now, Some(lease)));
                    book.knows(Revision(fence));
                    return Some(Grant {
                        take,
                        lock,
                        fence,
                        lease,
                    });
                }
                Some(Ok(Done::Queued(before))) => ledger.queued(take, before, book.now()),
                Some(Err(Refusal::Lock(LockRefusal::Held(_)))) if !waits => return None,
                Some(other) => {
                    book.broken(format!("{other:?} came of wanting lock {lock}"));
                    return None;
                }
                None => {}
            }
            for _ in 0..TURNS {
                if self.desk.book.now() >= until || self.desk.is_calm() {
                    return None;
                }
                if self.desk.ledger.is_granted(take) {
                    break;
                }
                tokio::time::sleep(TURN).await; // tidy: between two looks, with a deadline
            }
        }
    }

    /// Holds the lock for a moment: renews it and writes under it.
    async fn hold(&mut self, grant: Grant) {
        let until = self.desk.book.now() + Duration::from_millis(self.random.below(3_000));
        let mut renewed = self.desk.book.now();
        while self.desk.book.now() < until {
            let now = self.desk.book.now();
            let came = if now >= renewed + sure(grant.lease) / 2 {
                renewed = now;
                self.renew(grant).await
            } else {
                self.write(grant).await
            };
            if came == Came::Lost {
                return;
            }
            let pause = self.random.below(2 * PACE.as_millis() as u64);
            tokio::time::sleep(Duration::from_millis(pause)).await; // tidy: the pace of a client
        }
    }

    /// Lets go of a lock, or only thinks no more of it; and then tries the fence it had.
    async fn let_go(&mut self, grant: Grant, session: SessionId) {
        let Grant {
            take, lock, fence, ..
        } = grant;
        let way = self.random.below(10);
        if way < 5 {
            self.desk.ledger.stops(take, self.desk.book.now());
            let command = LockCommand::Release {
                name: name_of(lock),
                session,
            };
            match self.command(Command::Lock(command)).await {
                Some(Ok(_) | Err(Refusal::Lock(LockRefusal::NotHeld))) => {
                    self.desk.ledger.over(lock, fence, self.desk.book.now());
                }
                Some(Err(refusal)) => self.puzzled("a lock cannot be given back", &refusal),
                None => {}
            }
            self.write(grant).await;
        } else if way < 8 {
            self.say_nothing(grant).await;
        }
        self.desk.ledger.stops(take, self.desk.book.now());
        if self.close(session).await {
            self.desk.ledger.over(lock, fence, self.desk.book.now());
            self.write(grant).await;
        }
    }

    /// Renews no more, as if it stood still, and looks what becomes of its lease. Then it writes.
    async fn say_nothing(&mut self, grant: Grant) {
        let mut until = None;
        let mut extended = 0;
        for _ in 0..LOOKS {
            if let Ok(found) = self.store.holder(name_of(grant.lock)).await {
                let own = found.filter(|lock| lock.holder.fence.0 == grant.fence);
                let Some(lock) = own else {
                    break;
                };
                let before = until.replace(lock.holder.until);
                if before.is_some_and(|before| before < lock.holder.until) {
                    extended += 1;
                    let now = self.desk.book.now();
                    self.desk.ledger.extended(grant.lock, grant.fence, now);
                }
                if extended > 1 {
                    self.desk.book.broken(format!(
                        "the lease of fence {} was extended {extended} times, and its owner said nothing",
                        grant.fence
                    ));
                    return;
                }
            }
            // Somebody has to go on when all is to be calm.
            if self.desk.is_calm() {
                return;
            }
            tokio::time::sleep(LOOK).await; // tidy: between two looks, for a bounded number of times
        }
        self.write(grant).await;
    }

    /// Takes the lock as programs do, and holds it until it is lost or enough.
    async fn as_programs_do(&mut self, take: Take, lock: Lock, lease: Duration) {
        let patience = PATIENCE.mul_f64(self.random.below(100) as f64 / 100.0);
        let config = LockConfig {
            lease,
            note: note_of(take),
            patience: Some(patience),
        };
        let held = match self.store.lock(name_of(lock), config).await {
            Ok(held) => held,
            Err(error) => {
                self.desk.ledger.stops(take, self.desk.book.now());
                let is_expected = matches!(
                    error,
                    Error::Refused(Refusal::Lock(LockRefusal::Held(_)))
                        | Error::Failed { .. }
                        | Error::OutcomeUnknown { .. }
                );
                if !is_expected {
                    self.puzzled("a lock cannot be taken", &error);
                }
                return;
            }
        };
        let grant = Grant {
            take,
            lock,
            fence: held.fence().0,
            lease,
        };
        let now = self.desk.book.now();
        let broken = self.desk.ledger.granted(take, grant.fence, now, now, None);
        self.desk.found(broken);
        self.desk.book.knows(Revision(grant.fence));
        self.work_under(&held, grant).await;
        self.desk.ledger.stops(take, self.desk.book.now());
        if self.random.chance(0.7) {
            if held.release().await.is_ok() {
                let now = self.desk.book.now();
                self.desk.ledger.over(lock, grant.fence, now);
            }
        } else {
            drop(held);
        }
        self.write(grant).await;
        self.remember(grant);
    }

    /// Writes as long as the lock is held, and writes down that it is.
    async fn work_under(&mut self, held: &Held, grant: Grant) {
        let begun = self.desk.book.now();
        let until = begun + Duration::from_millis(self.random.below(5_000));
        loop {
            // Whoever has not lost it afterwards had it then.
            let now = self.desk.book.now();
            if held.is_lost() {
                break;
            }
            let broken = self.desk.ledger.holds(grant.take, grant.fence, begun, now);
            self.desk.found(broken);
            if now >= until {
                break;
            }
            if self.random.chance(0.3) {
                self.write(grant).await;
            }
            tokio::time::sleep(PACE / 3).await; // tidy: the pace of a client
        }
    }
}
