//! Locks: who holds which, who waits, and when a lease is over.
//!
//! - A lock is there while somebody holds it. It goes to the next who waits in the turn in which its holder gives it back, runs out of
//!   time, or ends its session; that is one change, and the fence of the new grant is its revision.
//! - A lease runs while the time of the log is before its end. Time goes by with batches only, so what is over ends with the next one,
//!   in the order of the ends, then of the names.
//! - Fences are revisions, so they grow over all locks, and over snapshots, leaders and recoveries.
//! - When a term begins, every lease that runs is as long again as it was asked for, once until its owner says something. Otherwise a row
//!   of leaders would keep alive for ever what nobody holds any more.
//!
//! Deliberately not here: sessions, and whether somebody may take locks at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::wire::store::{
    Done, Fence, Holder, LEASE_MS, LOCK_NAME_BYTES, LOCK_NOTE_BYTES, LOCK_QUEUE, LOCK_WAITS, LOCKS,
    Lock, LockCommand, LockFound, LockNews, LockQuery, LockRefusal, News, PAGE_ITEMS, Refusal,
    Revision, SessionId,
};
use convoke_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::session::Sessions;
use crate::shards::{Keyed, Shards};
use crate::turn::Turn;

/// A page of a list ends when it has so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// A lock as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    name: String,
    holder: Holder,
    /// A new leader has extended the lease, and its owner has not said anything since.
    is_extended: bool,
    queue: VecDeque<Wanted>,
}

impl Keyed for Held {
    type Key = str;

    fn key(&self) -> &str {
        &self.name
    }
}

impl Held {
    fn place(&self, session: SessionId) -> Option<usize> {
        self.queue.iter().position(|it| it.session == session)
    }

    fn lock(&self) -> Lock {
        Lock {
            name: self.name.clone(),
            holder: self.holder.clone(),
            queue: self.queue.iter().map(|it| it.session).collect(),
        }
    }

    /// About as many as it takes in an answer.
    fn bytes(&self) -> usize {
        self.name.len() + self.holder.note.len() + self.queue.len() * size_of::<SessionId>() + 96
    }
}

/// Who wants a lock, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    session: SessionId,
    node: NodeId,
    lease_ms: u64,
    note: String,
}

/// All locks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    held: Shards<Held>,
}

/// What follows from the locks.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// Each lock once, by when its lease is over.
    due: BTreeSet<(Timestamp, String)>,
    /// What each session holds or waits for.
    sessions: BTreeMap<SessionId, BTreeSet<String>>,
    /// Places in all queues together.
    waiting: usize,
}

impl Register {
    pub(crate) fn enter(&mut self, held: &Held) {
        self.due.insert((held.holder.until, held.name.clone()));
        self.come(held.holder.session, &held.name);
        for waiter in &held.queue {
            self.come(waiter.session, &held.name);
        }
        self.waiting += held.queue.len();
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    fn come(&mut self, session: SessionId, name: &str) {
        self.sessions
            .entry(session)
            .or_default()
            .insert(name.to_owned());
    }

    fn leave(&mut self, session: SessionId, name: &str) {
        if let Some(names) = self.sessions.get_mut(&session) {
            names.remove(name);
            if names.is_empty() {
                self.sessions.remove(&session);
            }
        }
    }

    fn move_due(&mut self, name: &str, from: Timestamp, to: Timestamp) {
        self.due.remove(&(from, name.to_owned()));
        self.due.insert((to, name.to_owned()));
    }
}

type Result<T> = std::result::Result<T, Refusal>;

impl Locks {
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.held.iter()
    }

    pub(crate) fn from(&self, bound: Bound<&str>) -> impl Iterator<Item = &Arc<Held>> {
        self.held.from(bound)
    }

    /// Takes a lock back from a snapshot.
    pub(crate) fn restore(&mut self, held: Arc<Held>) {
        self.held.insert(held);
    }

    pub(crate) fn apply(
        &mut self,
        command: LockCommand,
        principal: NodeId,
        sessions: &mut Sessions,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        match command {
            LockCommand::Acquire {
                name,
                session,
                lease_ms,
                note,
                waits,
            } => {
                let wanted = Wanted {
                    session,
                    node: principal,
                    lease_ms,
                    note,
                };
                check(&name, &wanted)?;
                sessions.touch(session, principal, turn.now)?;
                self.acquire(name, wanted, waits, register, turn)
            }
            LockCommand::Renew { name, fence } => {
                let session = self.holds(&name, fence, principal)?;
                sessions.touch(session, principal, turn.now)?;
                self.renew(&name, None, register, turn.now);
                Ok(Done::Renewed)
            }
            LockCommand::Release { name, session } => {
                sessions.touch(session, principal, turn.now)?;
                self.release(&name, session, sessions, register, turn)
            }
        }
    }

    /// The session of a grant, if it holds and is this node's.
    pub(crate) fn holds(&self, name: &str, found: Fence, principal: NodeId) -> Result<SessionId> {
        let holder = self.held.get(name).map(|held| &held.holder);
        match holder {
            Some(holder) if holder.fence != found => Err(LockRefusal::Lost {
                found,
                holds: Some(holder.fence),
            }
            .into()),
            Some(holder) if holder.node != principal => Err(LockRefusal::NotGranted(found).into()),
            Some(holder) => Ok(holder.session),
            None => Err(LockRefusal::Lost { found, holds: None }.into()),
        }
    }

    fn acquire(
        &mut self,
        name: String,
        wanted: Wanted,
        waits: bool,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        let Some(held) = self.held.get(&name) else {
            if self.held.len() >= LOCKS {
                let limit = LOCKS as u64;
                return Err(LockRefusal::TooMany { limit }.into());
            }
            register.come(wanted.session, &name);
            let fence = self.grant(name, wanted, VecDeque::new(), register, turn);
            return Ok(Done::Acquired(fence));
        };
        let fence = held.holder.fence;
        if held.holder.session == wanted.session {
            self.renew(&name, Some(wanted.lease_ms), register, turn.now);
            return Ok(Done::Acquired(fence));
        }
        if !waits {
            return Err(LockRefusal::Held(fence).into());
        }
        self.wait(&name, wanted, register)
    }

    fn wait(&mut self, name: &str, wanted: Wanted, register: &mut Register) -> Result<Done> {
        let held = self.held.get_mut(name).expect("it was looked at just now");
        let place = if let Some(place) = held.place(wanted.session) {
            held.queue[place] = wanted;
            place
        } else {
            has_room(LOCK_QUEUE, held.queue.len(), true)?;
            has_room(LOCK_WAITS, register.waiting, false)?;
            register.come(wanted.session, name);
            register.waiting += 1;
            held.queue.push_back(wanted);
            held.queue.len() - 1
        };
        let before = u32::try_from(place).expect("a queue is bounded far below this");
        Ok(Done::Queued(before))
    }

    /// The session's entry in the register is its caller's.
    fn grant(
        &mut self,
        name: String,
        to: Wanted,
        queue: VecDeque<Wanted>,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Fence {
        let since = turn.now;
        let until = since + Duration::from_millis(to.lease_ms);
        register.due.insert((until, name.clone()));
        let revision = turn.change(|revision| {
            let holder = Holder {
                session: to.session,
                node: to.node,
                note: to.note,
                fence: Fence(revision.0),
                since,
                until,
                lease_ms: to.lease_ms,
            };
            let news = told(revision, &name, Some(holder.clone()));
            self.held.insert(Arc::new(Held {
                name,
                holder,
                is_extended: false,
                queue,
            }));
            news
        });
        Fence(revision.0)
    }

    /// The lease begins anew.
    fn renew(
        &mut self,
        name: &str,
        lease_ms: Option<u64>,
        register: &mut Register,
        now: Timestamp,
    ) {
        let Some(held) = self.held.get_mut(name) else {
            return;
        };
        let holder = &mut held.holder;
        holder.lease_ms = lease_ms.unwrap_or(holder.lease_ms);
        let until = now + Duration::from_millis(holder.lease_ms);
        register.move_due(name, holder.until, until);
        holder.until = until;
        held.is_extended = false;
    }

    fn release(
        &mut self,
        name: &str,
        session: SessionId,
        sessions: &Sessions,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        let held = self.held.get(name);
        let is_there =
            held.is_some_and(|it| it.holder.session == session || it.place(session).is_some());
        if !is_there {
            return Err(LockRefusal::NotHeld.into());
        }
        self.part(name, session, sessions, register, turn);
        Ok(Done::Released)
    }

    /// The session neither holds the lock nor waits for it from here on.
    fn part(
        &mut self,
        name: &str,
        session: SessionId,
        sessions: &Sessions,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) {
        let Some(held) = self.held.get_mut(name) else {
            return;
        };
        if held.holder.session == session {
            self.pass_on(name, sessions, register, turn);
        } else if let Some(place) = held.place(session) {
            held.queue.remove(place);
            register.waiting -= 1;
            register.leave(session, name);
        }
    }

    /// Whoever holds the lock does not any more; the next whose session is open does.
    fn pass_on(
        &mut self,
        name: &str,
        sessions: &Sessions,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) {
        let Some(held) = self.held.remove(name) else {
            return;
        };
        let mut held = Arc::unwrap_or_clone(held);
        register.due.remove(&(held.holder.until, name.to_owned()));
        register.leave(held.holder.session, name);
        while let Some(next) = held.queue.pop_front() {
            register.waiting -= 1;
            if sessions.is_open(next.session) {
                self.grant(held.name, next, held.queue, register, turn);
                return;
            }
            register.leave(next.session, name);
        }
        turn.change(|revision| told(revision, name, None));
    }

    /// A session is over, and so is what it held and waited for.
    pub(crate) fn end(
        &mut self,
        session: SessionId,
        sessions: &Sessions,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) {
        for name in register.sessions.remove(&session).unwrap_or_default() {
            self.part(&name, session, sessions, register, turn);
        }
    }

    /// Another leader leads: nobody could renew anything for a while.
    pub(crate) fn extend(&mut self, register: &mut Register, now: Timestamp) {
        let running = self.held.iter().filter(|held| !held.is_extended);
        let names: Vec<String> = running.map(|held| held.name.clone()).collect();
        for name in names {
            self.renew(&name, None, register, now);
            if let Some(held) = self.held.get_mut(&name) {
                held.is_extended = true;
            }
        }
    }

    /// Ends the leases that are over.
    pub(crate) fn expire(
        &mut self,
        sessions: &Sessions,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) {
        while let Some((at, _)) = register.due.first()
            && *at <= turn.now
            && let Some((_, name)) = register.due.pop_first()
        {
            self.pass_on(&name, sessions, register, turn);
        }
    }

    pub(crate) fn find(&self, query: &LockQuery) -> LockFound {
        match query {
            LockQuery::Get(name) => LockFound::Lock(self.held.get(name).map(|held| held.lock())),
            LockQuery::List { after, limit } => LockFound::Locks(self.page(after, *limit)),
        }
    }

    fn page(&self, after: &str, limit: u32) -> Vec<Lock> {
        let limit = match limit {
            0 => PAGE_ITEMS,
            limit => limit.min(PAGE_ITEMS),
        };
        let mut bytes = 0;
        let behind = self.held.from(Bound::Excluded(after)).take(limit as usize);
        let fits = behind.take_while(|held| {
            let has_room = bytes < PAGE_BYTES;
            bytes += held.bytes();
            has_room
        });
        fits.map(|held| held.lock()).collect()
    }
}

fn told(revision: Revision, name: &str, holder: Option<Holder>) -> News {
    News::Lock(Box::new(LockNews {
        revision,
        name: name.to_owned(),
        holder,
    }))
}

fn check(name: &str, wanted: &Wanted) -> Result<()> {
    if name.is_empty() || name.len() > LOCK_NAME_BYTES {
        return Err(LockRefusal::BadName {
            found: name.len() as u64,
            limit: LOCK_NAME_BYTES as u64,
        }
        .into());
    }
    if wanted.note.len() > LOCK_NOTE_BYTES {
        return Err(LockRefusal::BadNote {
            found: wanted.note.len() as u64,
            limit: LOCK_NOTE_BYTES as u64,
        }
        .into());
    }
    let (from_ms, to_ms) = LEASE_MS;
    let found_ms = wanted.lease_ms;
    if !(from_ms..=to_ms).contains(&found_ms) {
        return Err(LockRefusal::BadLease {
            found_ms,
            from_ms,
            to_ms,
        }
        .into());
    }
    Ok(())
}

fn has_room(limit: usize, waiting: usize, own: bool) -> Result<()> {
    let refusal = LockRefusal::TooManyWait {
        limit: limit as u64,
        own,
    };
    (waiting < limit)
        .then_some(())
        .ok_or(Refusal::Lock(refusal))
}
